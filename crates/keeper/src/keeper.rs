//! The keeper's state, and the carrying out of what the machine asks.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use sessile_journal::log::Log;
use sessile_model::ids::AppName;
use sessile_model::quantity::Timestamp;
use sessile_model::record::Grant;
use sessile_model::state::{Component, State};
use sessile_model::wire::{Open, Reply};
use sessile_model::{Outcome, Problem, ProblemKind};
use sessile_sandbox::app::Ahead;
use sessile_sandbox::cgroup::Cgroup;
use sessile_sandbox::space::Space;
use sessile_sandbox::wipe::Scrub;
use sessile_session::{Effect, Effects, Entry, Event, Note, Opening, Session};
use sessile_terminal::Commands;
use sessile_vault::keys::RootKey;
use sessile_vault::secret::SecretMemory;

use crate::agent::{AgentFacts, Agents};
use crate::app::App;
use crate::bringup::{Begun, failed};
use crate::channels::Talk;
use crate::checkpoint::Checkpoint;
use crate::client::{Client, ClientId};
use crate::clock::Clock;
use crate::cookies::Kept;
use crate::facts::Facts;
use crate::guard::GuardState;
use crate::ledger::{InputLedger, LedgerRow};
use crate::listening::Place;
use crate::mcp::Servers;
use crate::recorded::Reader;
use crate::route::{RouteState, interception};
use crate::seat::Seat;
use crate::sources::{Bundle, Typist};
use crate::task::{Absorbed, Task};
use crate::unopened::{SpaceAhead, Unopened};
use crate::waits::PendingWait;
use crate::wipe::Signalled;

/// Most bytes of one task's output fed to its screen between two looks at everything else.
const ABSORB: usize = 64 << 10;
/// Most time for that: on a large screen, a few bytes may clear all of it.
const ABSORB_TIME: Duration = Duration::from_millis(50);

/// One session's keeper. Everything it holds is owned here; one thread, one loop.
#[derive(Debug)]
pub struct Keeper {
    pub(crate) seat: Seat,
    /// Where `now` comes from.
    pub(crate) clock: Clock,
    pub(crate) now: Timestamp,
    /// While it is a session's first keeper and waits to be told what to open.
    pub(crate) unopened: Option<Unopened>,
    /// Namespaces and storage that were made before it was told.
    pub(crate) ahead: Option<SpaceAhead>,
    /// What was made ahead for the first app.
    pub(crate) app_ahead: Ahead,
    pub(crate) machine: Option<Session>,
    pub(crate) effects: VecDeque<Effect>,
    /// The machine as each [`Effect::Checkpoint`] that is queued is to find it.
    snapshots: VecDeque<Session>,
    pub(crate) facts: Option<Facts>,

    pub(crate) log: Option<Log>,
    pub(crate) log_dirty: bool,
    /// What is to be logged once the log can be opened; `None` where nothing is held.
    pub(crate) unlogged: Option<Vec<Entry>>,
    pub(crate) checkpoint: Option<Checkpoint>,
    pub(crate) ledger: Option<InputLedger>,
    pub(crate) root_key: Option<RootKey>,
    pub(crate) environment: Option<SecretMemory>,
    /// What its roles say to each other, where it has a protocol.
    pub(crate) talk: Talk,
    /// The session's cookies, once there are some.
    pub(crate) cookies: Option<Kept>,
    /// What a copied project was when it was copied.
    pub(crate) baseline_file: Option<OwnedFd>,
    pub(crate) notify: Option<OwnedFd>,
    pub(crate) cgroup: Option<Cgroup>,
    pub(crate) space: Option<Space>,
    pub(crate) apps: BTreeMap<AppName, App>,
    pub(crate) tasks: BTreeMap<AppName, Task>,
    pub(crate) route: RouteState,
    pub(crate) agents: Agents,
    pub(crate) guard: GuardState,
    pub(crate) servers: Servers,

    pub(crate) clients: BTreeMap<ClientId, Client>,
    pub(crate) next_client: u32,
    /// Who asked for the session to be opened and has no answer yet.
    pub(crate) opener: Option<(ClientId, u16)>,
    /// Why opening failed, in more detail than the machine's outcome.
    pub(crate) open_problem: Option<Problem>,
    /// Who waits for the receipt.
    pub(crate) enders: Vec<(ClientId, u16)>,
    pub(crate) waits: Vec<PendingWait>,
    /// Who waits for more of a recording.
    pub(crate) readers: Vec<Reader>,
    /// Tasks whose end the machine has not been told.
    pub(crate) unreported: BTreeSet<AppName>,
    /// Inits that are frozen have not been asked what ended while no keeper ran.
    pub(crate) unheard: bool,
    /// Until when the output of a task is held back for a client that is about to attach.
    pub(crate) hold_until: BTreeMap<AppName, Timestamp>,
    /// Apps were asked to end and have time to do so.
    pub(crate) signalled: Option<Signalled>,
    /// What the scrub in progress has overwritten.
    pub(crate) scrub: Option<Scrub>,

    /// The record has changed in something the machine does not know of.
    pub(crate) changed: bool,
    pub(crate) anchor_is_dead: bool,
    /// When the sockets were looked at, and the files that this keeper's and the anchor's are bound
    /// to.
    pub(crate) looked_at: Option<Timestamp>,
    pub(crate) place: Option<Place>,
    pub(crate) anchor_place: Option<Place>,
    pub(crate) typist: Option<Typist>,
    /// Nothing but what that one waits for has happened since the last turn.
    pub(crate) is_calm: bool,
    /// All descriptors but those of that typing, as long as it goes on.
    pub(crate) bundle: Option<Bundle>,
    /// The receipt is out; only last words remain.
    pub(crate) finished: bool,
}

impl Keeper {
    /// A keeper without a session yet.
    pub fn new(seat: Seat) -> Self {
        let clock = Clock::begin();
        Self {
            seat,
            clock,
            now: clock.now(),
            unopened: None,
            ahead: None,
            app_ahead: Ahead::default(),
            machine: None,
            effects: VecDeque::new(),
            snapshots: VecDeque::new(),
            facts: None,
            log: None,
            log_dirty: false,
            unlogged: None,
            checkpoint: None,
            ledger: None,
            root_key: None,
            environment: None,
            talk: Talk::default(),
            cookies: None,
            baseline_file: None,
            notify: None,
            cgroup: None,
            space: None,
            apps: BTreeMap::new(),
            tasks: BTreeMap::new(),
            route: RouteState::default(),
            agents: Agents::default(),
            guard: GuardState::default(),
            servers: Servers::default(),
            clients: BTreeMap::new(),
            next_client: 0,
            opener: None,
            open_problem: None,
            enders: Vec::new(),
            waits: Vec::new(),
            readers: Vec::new(),
            unreported: BTreeSet::new(),
            unheard: false,
            hold_until: BTreeMap::new(),
            signalled: None,
            scrub: None,
            changed: false,
            anchor_is_dead: false,
            looked_at: None,
            place: None,
            anchor_place: None,
            typist: None,
            is_calm: false,
            bundle: None,
            finished: false,
        }
    }

    pub(crate) fn session(&self) -> Result<&Session, Problem> {
        self.machine.as_ref().ok_or_else(|| {
            Problem::new(ProblemKind::Conflict, "the session is not open yet").hint("try again in a moment")
        })
    }

    pub(crate) fn facts(&self) -> Result<&Facts, Problem> {
        self.facts.as_ref().ok_or_else(|| Problem::new(ProblemKind::Conflict, "the session is not open yet"))
    }

    /// Begins to assemble the session.
    ///
    /// # Errors
    /// When it was opened before, or its log or checkpoint cannot be made.
    pub(crate) fn open(&mut self, mut open: Open) -> Result<(), Problem> {
        if self.machine.is_some() {
            return Err(Problem::new(ProblemKind::Conflict, "this session was opened before"));
        }
        let opening = Opening::from(&open);
        self.unopened = None;
        // The host's clock may have been set while it waited.
        self.clock = Clock::begin();
        self.now = self.clock.now();
        self.make_ready()?;
        let variables = std::mem::take(&mut open.spec.env);
        self.remember_environment(&variables)?;
        let credentials = interception::take_credentials(&mut open.spec);
        let credential_grants: Vec<_> = interception::grants(&credentials).collect();
        self.remember_interception(&open.spec, credentials)?;
        self.open_channels(open.spec.protocol.as_ref())?;
        let guard = open.spec.is_guarded().then(|| self.prepare_guard()).transpose()?;
        let (claim_level, residue) = sessile_sandbox::survey::claim_level();
        let mut grants = crate::plan::grants(&open.spec, &variables);
        grants.extend(credential_grants);
        let agent = open.spec.ssh_agent.clone().map(|socket| AgentFacts { app: AppName::main(), socket });
        grants.extend(agent.iter().map(|agent| Grant::SshAgent { app: agent.app.clone(), signatures: 0 }));
        self.facts = Some(Facts {
            id: self.seat.id,
            spec: open.spec,
            subordinate_base: open.subordinate_base,
            tor: open.tor,
            created_at: self.now,
            last_activity: self.now,
            wipe_started_at: None,
            watched: None,
            grants,
            claim_level,
            residue,
            storage_noswap: false,
            next_io: 1,
            apps: Vec::new(),
            tasks: Vec::new(),
            notices: Vec::new(),
            memory_kills: 0,
            talk: Default::default(),
            guard,
            route: Default::default(),
            agents: agent.into_iter().collect(),
            signature_questions: 0,
        });
        let mut effects = Effects::new();
        let machine = Session::open(opening, self.now, &mut effects);
        self.go_on_as(machine, &mut effects);
        Ok(())
    }

    /// Hands one event to the machine.
    pub(crate) fn advance(&mut self, event: Event) {
        let Some(machine) = self.machine.take() else { return };
        let mut effects = Effects::new();
        let machine = machine.advance(event, self.now, &mut effects);
        self.go_on_as(machine, &mut effects);
    }

    /// Has something journaled that changes nothing else.
    pub(crate) fn note(&mut self, note: Note) {
        self.advance(Event::Noted(note));
    }

    /// Takes the machine as a call returned it, with the effects it asked for.
    pub(crate) fn go_on_as(&mut self, machine: Session, effects: &mut Effects) {
        for effect in effects.drain() {
            if effect == Effect::Checkpoint {
                // By its turn the machine may be further on, with entries that are not journaled.
                self.snapshots.push_back(machine.clone());
            }
            self.effects.push_back(effect);
        }
        self.machine = Some(machine);
    }

    /// Carries out effects until there are none.
    pub(crate) fn settle(&mut self) {
        while let Some(effect) = self.effects.pop_front() {
            self.carry_out(effect);
        }
        if std::mem::take(&mut self.changed) {
            self.write_checkpoint();
            self.publish();
        }
    }

    fn carry_out(&mut self, effect: Effect) {
        match effect {
            Effect::CutRoute => self.cut_route(),
            Effect::Journal(entry) => {
                let Some(log) = &mut self.log else { return self.hold_entry(entry) };
                let outcome = log.append(&entry);
                self.log_dirty = true;
                if let Err(error) = outcome {
                    self.log_failed("the session's log cannot be written", &error);
                }
            }
            Effect::Checkpoint => {
                if let Some(snapshot) = self.snapshots.pop_front() {
                    self.write_checkpoint_of(&snapshot);
                }
            }
            Effect::Do(step) => {
                let event = match self.bring_up(step) {
                    Ok(Begun::Done) => Event::StepDone { step },
                    Ok(Begun::Underway) => return,
                    Err(problem) => {
                        let cause = problem.detail.clone();
                        self.open_problem = Some(problem);
                        Event::StepFailed { step, cause }
                    }
                };
                self.advance(event);
            }
            Effect::Undo(step) => {
                self.undo(step);
                self.advance(Event::UndoDone { step });
            }
            Effect::Probe(property) => {
                let status = self.probe(property);
                self.advance(Event::Probed { property, status });
            }
            Effect::StartMain => self.start_main(),
            Effect::Freeze { turn } => {
                self.proceed("pause", "freeze");
                let event = match self.freeze() {
                    Ok(_) => Event::Frozen { turn },
                    Err(_) => Event::FreezeFailed { turn },
                };
                self.advance(event);
            }
            Effect::Thaw { turn } => {
                self.proceed("pause", "thaw");
                let event = match self.thaw() {
                    Ok(()) => Event::Thawed { turn },
                    Err(cause) => Event::ThawFailed { turn, cause },
                };
                self.advance(event);
            }
            Effect::Wipe { step, attempt, grace } => self.wipe(step, attempt, grace),
            Effect::RecordChanged => self.publish(),
            Effect::Finish => self.finish(),
        }
    }

    /// Tells whoever opened the session what came of it.
    pub(crate) fn answer_opener(&mut self) {
        let Some((id, channel)) = self.opener else { return };
        let has_servers = self
            .facts
            .as_ref()
            .is_some_and(|facts| !facts.spec.mcp.is_empty() && facts.spec.command.is_empty());
        if has_servers && self.machine.as_ref().is_some_and(|machine| machine.state() == State::Active) {
            // With a command they are started before it.
            self.start_servers();
        }
        let Some(machine) = &self.machine else { return };
        let reply = match (machine.state(), machine.outcome()) {
            (State::Bringup, _) => return,
            (State::Active | State::Paused, _) => match self.record() {
                Ok(record) => Reply::Record(Box::new(record)),
                Err(problem) => Reply::Problem(problem),
            },
            // A session that never came to be is answered when nothing of it is left.
            (State::Ending | State::Failed, _) => return,
            (State::Closed, outcome) => Reply::Problem(self.open_problem.take().unwrap_or_else(|| {
                let detail = outcome.as_ref().and_then(|outcome| self.outcome_detail(outcome));
                let why = match outcome {
                    Some(Outcome::Failed { component, cause }) => format!("{component}: {cause}"),
                    Some(Outcome::Cancelled { .. }) => {
                        detail.unwrap_or_else(|| "it was called off".to_owned())
                    }
                    Some(Outcome::Faulted { violation }) => violation,
                    Some(Outcome::Ended { .. }) | None => "it ended while it was opened".to_owned(),
                };
                Problem::new(ProblemKind::Failed, format!("the session could not be opened: {why}"))
            })),
        };
        self.opener = None;
        self.reply(id, channel, &reply);
    }

    /// Makes what was journaled lasting before anything that follows from it is sent.
    pub(crate) fn sync_log(&mut self) {
        if std::mem::take(&mut self.log_dirty)
            && let Some(Err(error)) = self.log.as_mut().map(|log| log.sync())
        {
            self.log_failed("the session's log cannot be made lasting", &error);
        }
    }

    /// A session that cannot be accounted for does not go on. One that is being wiped does: its
    /// receipt tells of every step, whatever the log lacks.
    pub(crate) fn log_failed(&mut self, what: &str, error: &(dyn std::error::Error + 'static)) {
        if self.machine.as_ref().is_some_and(|m| is_running(m.state())) {
            self.open_problem.get_or_insert_with(|| failed(what, error));
            let cause = format!("{what}: {error}");
            self.advance(Event::ComponentFailed { component: Component::Journal, cause });
        }
    }

    /// Feeds screens. Returns whether there may be more.
    pub(crate) fn absorb_output(&mut self) -> bool {
        let mut buffer = [0u8; 4 << 10];
        let mut more = false;
        let mut moved = false;
        let (mut looped, mut said) = (Vec::new(), Vec::new());
        let (clients, now) = (&self.clients, self.now);
        for task in self.tasks.values_mut() {
            let answerer = task.answerer(clients);
            let until = Instant::now() + ABSORB_TIME;
            for _ in 0..ABSORB / buffer.len() {
                let Absorbed { some, asked, poke, looped: returned } =
                    task.absorb(&mut buffer, answerer, now);
                looped.extend(returned.into_iter().map(|client| (task.name.clone(), client)));
                if asked {
                    task.note_settled(&self.seat.link);
                }
                if let Some(pump) = poke {
                    // A dead anchor pumps nothing; its death is told by its pidfd.
                    let _ = self.seat.link.poke(pump);
                }
                moved |= some;
                if !some || Instant::now() > until {
                    break;
                }
            }
            more |= task.has_news();
            said.extend(task.settle_commands(now).map(|commands| (task.name.clone(), commands)));
        }
        self.remember_commands(said);
        if moved {
            self.active_now();
        }
        for (name, client) in looped {
            self.break_loop(&name, client);
        }
        more
    }

    /// Feeds screens all that was written while no keeper ran: nobody is shown one of before. What is
    /// written meanwhile follows.
    pub(crate) fn catch_up(&mut self) {
        let largest = self.tasks.values().map(|task| task.output().ring.capacity()).max().unwrap_or(0);
        let rounds = 2 * usize::try_from(largest).unwrap_or(usize::MAX) / ABSORB + 1;
        for _ in 0..rounds {
            if !self.absorb_output() {
                return;
            }
        }
    }

    /// Notes what shells said of their commands for a successor: their marks may be in the ring no more
    /// by then.
    fn remember_commands(&mut self, said: Vec<(AppName, Commands)>) {
        let Some(facts) = self.facts.as_mut().filter(|_| !said.is_empty()) else { return };
        for (name, commands) in said {
            if let Some(task) = facts.tasks.iter_mut().find(|task| task.name == name) {
                task.commands = commands;
            }
        }
        self.write_checkpoint();
    }

    /// Lets pumps go on as far as those who read without loss have confirmed.
    pub(crate) fn release_floors(&mut self) {
        let now = self.now;
        self.hold_until.retain(|_, until| *until > now);
        for (name, task) in &self.tasks {
            if task.screen().is_some() || self.anchor_is_dead {
                continue;
            }
            let floors = if self.hold_until.contains_key(name) {
                (Some(0), Some(0))
            } else {
                crate::output::floors(name, self.clients.values())
            };
            for pump in task.hold_back(floors.0, floors.1) {
                let _ = self.seat.link.poke(pump);
            }
        }
    }

    /// Answers the waits whose condition holds.
    pub(crate) fn check_waits(&mut self) {
        let mut waits = std::mem::take(&mut self.waits);
        waits.retain_mut(|wait| {
            let outcome = match self.tasks.get(&wait.task) {
                Some(task) => wait.check(task, self.now),
                None => Some(Err(Problem::new(ProblemKind::Conflict, "the command is gone"))),
            };
            let Some(outcome) = outcome else { return self.clients.contains_key(&wait.connection) };
            let reply = match outcome {
                Ok(waited) => {
                    if let Some(task) = self.tasks.get_mut(&wait.task) {
                        task.promise_after(&waited, self.now);
                    }
                    Reply::Waited(waited)
                }
                Err(problem) => Reply::Problem(problem),
            };
            self.reply(wait.connection, wait.channel, &reply);
            false
        });
        self.waits = waits;
    }

    /// What is known of a client's input.
    pub(crate) fn ledger_of(&self, client: u64) -> LedgerRow {
        self.ledger.as_ref().map(|l| l.of(client)).unwrap_or_default()
    }

    /// Ends one channel's attachment.
    pub(crate) fn detach(&mut self, id: ClientId, channel: u16) {
        let removed = self.clients.get_mut(&id).and_then(|c| c.attachments.remove(&channel));
        if let Some(attachment) = removed {
            self.attachment_left((id, channel), &attachment);
        }
    }

    /// Forgets a connection and everything it had attached.
    pub(crate) fn drop_client(&mut self, id: ClientId) {
        let Some(client) = self.clients.remove(&id) else { return };
        for (&channel, attachment) in &client.attachments {
            self.attachment_left((id, channel), attachment);
        }
        self.enders.retain(|(ender, _)| *ender != id);
        if self.opener.is_some_and(|(opener, _)| opener == id) {
            self.opener = None;
        }
    }
}

/// Whether a failure still changes anything.
fn is_running(state: State) -> bool {
    match state {
        State::Bringup | State::Active | State::Paused => true,
        State::Ending | State::Failed | State::Closed => false,
    }
}
