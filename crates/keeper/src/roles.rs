//! Who of the attached clients may type, and who decides how large a terminal is.
//!
//! ```text
//!  operator ◄──── nobody holds typing ────► operator
//!     │ attach --exclusive                     │
//!     ▼                                        ▼
//!  exclusive ──── leaves: handed back ───► observer, until then
//! ```
//!
//! One that takes typing over from one that has taken it over hands it back to that one.

use sessile_model::Problem;
use sessile_model::ids::AppName;
use sessile_model::problem::ProblemKind;
use sessile_model::record::{ClientRecord, Role};
use sessile_model::spec::{SizePolicy, WindowSize};
use sessile_model::wire::Event as Told;
use sessile_session::{Event, Note};

use crate::client::{Attachment, ClientId};
use crate::keeper::Keeper;
use crate::ledger::{InputLedger, Typist};
use crate::task::Task;

/// Where an attachment is: its connection and its channel there.
pub type Place = (ClientId, u16);

const TAKEN: &str = "another client has taken over typing; this one watches until that one leaves, or `sessile attach \
                     --exclusive` takes typing back";
const LOOP: &str = "its terminal writes into this very session, so that all it shows would be shown again; attach from a \
                    terminal outside";
const HANDED_BACK: &str = "typing was handed back: this client may type again";

impl Task {
    /// The attachment that has taken over typing.
    pub fn holder(&self) -> Option<Place> {
        self.takers.last().copied()
    }

    /// Whether what this attachment types reaches the app.
    pub fn may_type(&self, place: Place, attachment: &Attachment) -> bool {
        !attachment.read_only && self.holder().is_none_or(|holder| holder == place)
    }

    fn role(&self, place: Place, attachment: &Attachment) -> Role {
        match (self.may_type(place, attachment), self.holder()) {
            (false, _) => Role::Observer,
            (true, Some(_)) => Role::Exclusive,
            (true, None) => Role::Operator,
        }
    }
}

impl Keeper {
    /// The size that a terminal begins with where this one was asked for.
    pub(crate) fn first_size(&self, asked: WindowSize) -> WindowSize {
        match self.size_policy() {
            SizePolicy::Fixed(size) => size,
            SizePolicy::Last | SizePolicy::Smallest => asked,
        }
    }

    fn size_policy(&self) -> SizePolicy {
        self.facts.as_ref().map(|facts| facts.spec.size).unwrap_or_default()
    }

    /// Follows an attachment that has come, has typed, or whose window has changed. Who may not type
    /// decides nothing.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub(crate) fn follow_size(&mut self, name: &AppName, place: Place) -> Result<(), Problem> {
        match self.size_policy() {
            SizePolicy::Fixed(_) => Ok(()),
            SizePolicy::Smallest => self.fit_smallest(name),
            SizePolicy::Last => {
                let Some(task) = self.tasks.get(name) else { return Ok(()) };
                let attachment = self.clients.get(&place.0).and_then(|c| c.attachments.get(&place.1));
                let size = attachment.filter(|a| task.may_type(place, a)).and_then(|a| a.size);
                size.map_or(Ok(()), |size| self.resize_task(name, size))
            }
        }
    }

    fn fit_smallest(&mut self, name: &AppName) -> Result<(), Problem> {
        let Some(task) = self.tasks.get(name) else { return Ok(()) };
        let sizes =
            self.attached(name).filter(|&(place, a)| task.may_type(place, a)).filter_map(|(_, a)| a.size);
        let smallest = sizes.reduce(|one, other| WindowSize {
            cols: one.cols.min(other.cols),
            rows: one.rows.min(other.rows),
        });
        smallest.map_or(Ok(()), |size| self.resize_task(name, size))
    }

    /// The attachments of a task.
    pub(crate) fn attached<'a>(
        &'a self,
        name: &'a AppName,
    ) -> impl Iterator<Item = (Place, &'a Attachment)> + 'a {
        let all = self.clients.iter().flat_map(|(&id, client)| {
            client.attachments.iter().map(move |(&channel, attachment)| ((id, channel), attachment))
        });
        all.filter(move |(_, attachment)| attachment.task == *name)
    }

    /// Whether an attachment may take over typing.
    ///
    /// # Errors
    /// When it only watches, or there is no terminal.
    pub(crate) fn check_take_over(task: &Task, read_only: bool) -> Result<(), Problem> {
        let bad = |what: &str| Err(Problem::new(ProblemKind::BadRequest, what));
        match (read_only, task.screen().is_some()) {
            (true, _) => bad("who only watches cannot take over typing"),
            (false, false) => bad("only on a terminal can typing be taken over"),
            (false, true) => Ok(()),
        }
    }

    /// An attachment takes over typing; the others that might have typed are told.
    pub(crate) fn take_over(&mut self, name: &AppName, place: Place) {
        let others = self.typists(name);
        if let Some(task) = self.tasks.get_mut(name) {
            task.takers.push(place);
        }
        self.tell_places(others.into_iter().filter(|&other| other != place), TAKEN);
        self.changed = true;
    }

    /// What somebody who attaches is told where another has taken over typing.
    pub(crate) fn held_notice(&self, name: &AppName, place: Place) -> Option<String> {
        let holder = self.tasks.get(name)?.holder()?;
        let watches = self.attached(name).any(|(other, a)| other == place && a.read_only);
        (holder != place && !watches).then(|| TAKEN.to_owned())
    }

    /// Those of a task's attachments that may type now.
    fn typists(&self, name: &AppName) -> Vec<Place> {
        let Some(task) = self.tasks.get(name) else { return Vec::new() };
        self.attached(name).filter(|&(place, a)| task.may_type(place, a)).map(|(place, _)| place).collect()
    }

    fn tell_places(&mut self, places: impl IntoIterator<Item = Place>, text: &str) {
        for (id, channel) in places {
            if let Some(client) = self.clients.get_mut(&id) {
                client.tell(channel, &Told::Notice { text: text.to_owned() });
            }
        }
    }

    /// Ends the attachment of a client whose terminal's output has come back as the app's: all that it is
    /// given would be written, and given to it again.
    pub(crate) fn break_loop(&mut self, name: &AppName, client: u64) {
        let of_client = self.attached(name).find(|(_, attachment)| attachment.client == client);
        if let Some((place, _)) = of_client {
            self.break_off(place, LOOP);
        }
    }

    /// Ends an attachment for a reason that its client is told.
    pub(crate) fn break_off(&mut self, (id, channel): Place, why: &str) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.let_go(channel);
            client.tell(channel, &Told::Detached { why: why.to_owned() });
        }
        self.detach(id, channel);
    }

    /// Sees to what an attachment leaves behind.
    pub(crate) fn attachment_left(&mut self, place: Place, attachment: &Attachment) {
        let name = &attachment.task;
        let now = self.now;
        if let Some(task) = self.tasks.get_mut(name) {
            let answers = task.queries.left(attachment.client, now);
            task.answer(answers);
            let held = task.holder() == Some(place);
            task.takers.retain(|taker| *taker != place);
            if held {
                let again = self.typists(name);
                self.tell_places(again, HANDED_BACK);
            }
        }
        if self.size_policy() == SizePolicy::Smallest {
            // A terminal that refuses has gone; its end is told apart.
            let _ = self.fit_smallest(name);
        }
        if let Some(typist) = self.typist(name, Some(attachment.client)) {
            self.account_for(typist);
        }
        self.advance(Event::ClientDetached);
    }

    fn typist(&self, name: &AppName, client: Option<u64>) -> Option<Typist> {
        Some(Typist { io: self.tasks.get(name)?.output().io, client: client.unwrap_or(0) })
    }

    /// Counts what a client, or a request, typed.
    pub(crate) fn count_typed(&mut self, name: &AppName, client: Option<u64>, bytes: usize) {
        let Some(typist) = self.typist(name, client) else { return };
        let bytes = bytes as u64;
        if !self.ledger.as_mut().is_some_and(|ledger| ledger.add_typed(typist, bytes)) {
            self.note(Note::Typed { app: name.clone(), client, bytes });
        }
    }

    /// Has the journal say how much somebody typed.
    fn account_for(&mut self, typist: Typist) {
        let bytes = self.ledger.as_mut().map_or(0, |ledger| ledger.take_typed(typist));
        let task = self.tasks.values().find(|task| task.output().io == typist.io);
        if let Some(app) = task.map(|task| task.name.clone()).filter(|_| bytes > 0) {
            self.note(Note::Typed { app, client: Some(typist.client).filter(|&client| client != 0), bytes });
        }
    }

    /// Has the journal say how much was typed by requests, and by whom that has not left, or did while no keeper was
    /// there.
    pub(crate) fn account_for_typing(&mut self) {
        for typist in self.ledger.as_ref().map(InputLedger::typists).unwrap_or_default() {
            self.account_for(typist);
        }
    }

    /// The attached clients, as the record shows them.
    pub(crate) fn describe_clients(&self) -> Vec<ClientRecord> {
        let typed = |task: &Task, attachment: &Attachment| {
            let typist = Typist { io: task.output().io, client: attachment.client };
            self.ledger.as_ref().map_or(0, |ledger| ledger.typed(typist))
        };
        let described = |task: &Task, place, attachment: &Attachment| ClientRecord {
            client: format!("{:016x}", attachment.client),
            app: task.name.clone(),
            role: task.role(place, attachment),
            cols: attachment.size.map(|size| size.cols),
            rows: attachment.size.map(|size| size.rows),
            typed_bytes: typed(task, attachment),
        };
        let mut all = Vec::new();
        for task in self.tasks.values() {
            all.extend(self.attached(&task.name).map(|(place, a)| described(task, place, a)));
        }
        all
    }
}
