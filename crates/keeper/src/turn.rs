//! The loop around the machine: wait, stamp the time, hand in what happened, carry out what the
//! machine asks, show clients what is new.

use std::time::Duration;

use rustix::event::PollFlags;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};
use sessile_model::ids::AppName;
use sessile_model::quantity::Timestamp;
use sessile_session::Event;

use crate::client::{Client, ClientId};
use crate::keeper::Keeper;
use crate::output::{self, Why};
use crate::sources::Source;
use crate::task::Task;

/// How often a component without a descriptor to wait on is looked at while something is awaited.
const LOOK_AGAIN: Duration = Duration::from_millis(10);
/// How long a keeper that is done lets its clients take their last bytes.
const LAST_WORDS: Duration = Duration::from_secs(5);

impl Keeper {
    /// Runs until the session is closed and its clients were told.
    pub fn run(mut self) {
        let mut done_at = None;
        loop {
            self.now = self.clock.now();
            let more = self.settle_and_show();
            if self.finished {
                let done_at = *done_at.get_or_insert(self.now);
                let waited = self.now.since(done_at).as_duration();
                if waited > LAST_WORDS || !self.clients.values().any(Client::has_output) {
                    self.leave();
                    return;
                }
            }
            self.wait(more);
        }
    }

    /// Carries out effects and queues output until nothing new comes of it. Returns whether there
    /// is more to do at once.
    fn settle_and_show(&mut self) -> bool {
        // Before all that can wait: somebody waits for what a key does. What else came is shown meanwhile.
        let typed_to = self.write_pending_input();
        let mut more = !typed_to.is_empty() && self.show_news();
        more |= self.await_echo(&typed_to);
        if self.machine.as_ref().and_then(|m| m.next_deadline()).is_some_and(|at| at <= self.now) {
            self.advance(Event::Tick);
        }
        self.give_up_on_input();
        self.keep_listening();
        self.await_opening();
        self.settle();
        more |= self.show_news();
        self.save_screens();
        self.heed_recorders();
        self.answer_readers();
        self.check_waits();
        self.check_guard();
        self.check_lines();
        self.check_asks();
        self.give_up_on_answers();
        self.look_at_agents();
        self.keep_guards();
        self.write_pending_input();
        self.release_floors();
        self.hear_queued();
        if self.tasks.values().any(|task| task.exit.is_some() && self.unreported.contains(&task.name)) {
            // What a command wrote and how it ended reach its clients before its end has
            // consequences: a wipe takes its time.
            self.sync_log();
            self.flush_clients();
        }
        self.report_exits();
        let main = AppName::main();
        if self.clients.values().flat_map(|c| c.attachments.values()).any(|a| a.told_exit && a.task == main) {
            self.collect();
        }
        self.check_signalled();
        self.settle();
        self.answer_opener();
        self.sync_log();
        more |= self.flush_clients();
        more || !self.effects.is_empty()
    }

    /// Shows what apps wrote. Returns whether there is more.
    pub(crate) fn show_news(&mut self) -> bool {
        let more = self.absorb_output();
        for client in self.clients.values_mut() {
            output::serve(client, &mut self.tasks, self.now);
        }
        more
    }

    /// Sends what clients take now and forgets those that are gone. Returns whether one has room
    /// for more than it was given.
    fn flush_clients(&mut self) -> bool {
        let mut more = false;
        let mut gone = Vec::new();
        for (&id, client) in &mut self.clients {
            let outcome = client.flush(self.now);
            if outcome.is_err() || (client.closing && !client.has_output()) {
                gone.push(id);
            } else if client.room() > 0 && self.tasks.values().any(|t| has_more(client, t, self.now)) {
                more = true;
            }
        }
        for id in gone {
            self.drop_client(id);
        }
        more
    }

    fn wait(&mut self, more: bool) {
        let timeout = if more { Some(Duration::ZERO) } else { self.next_look() };
        let ready = self.poll(timeout);
        self.now = self.clock.now();
        let is_alone = !more && ready.len() == 1;
        for (source, flags) in ready {
            match source {
                Source::Anchor => self.anchor_died(),
                Source::Link => self.hear_anchor(),
                Source::Notify => self.silence_notify(),
                Source::Listener => self.accept(),
                Source::App(app) => self.hear_app(&app),
                // Written in the next turn.
                Source::Input => {}
                Source::Echo(name) => self.read_echo(&name),
                Source::Knock => self.start_gateway(),
                Source::Gateway => self.hear_gateway(),
                Source::Guard => self.hear_guard(),
                Source::Relay(name) => self.hear_relay(&name),
                Source::Tor => self.look_at_tor(),
                Source::Agent(part) => self.tend_agent(&part, flags.contains(PollFlags::HUP)),
                Source::Door(part) => self.tend_door(&part, flags.contains(PollFlags::HUP)),
                Source::Client(id) => self.hear_client(id, flags),
                Source::Owner(place) => self.lose(place, Why::Lost),
                Source::Typed(place) => {
                    self.read_typed(place);
                    if is_alone {
                        // There is nothing else to show. What more there is, the next turn finds.
                        let typed_to = self.write_pending_input();
                        let _ = self.await_echo(&typed_to);
                    }
                }
                Source::Terminal(place) => {
                    if flags.intersects(PollFlags::HUP | PollFlags::ERR) {
                        self.lose(place, Why::Lost);
                    }
                }
            }
        }
    }

    /// How long nothing needs a look unless a descriptor says so.
    fn next_look(&self) -> Option<Duration> {
        let machine = self.machine.as_ref().and_then(|m| m.next_deadline());
        let waits =
            self.waits.iter().filter_map(|w| self.tasks.get(&w.task).and_then(|t| w.next(t, self.now)));
        let exits = self
            .tasks
            .values()
            .filter(|t| self.unreported.contains(&t.name))
            .filter_map(|t| t.drained_by())
            .map(|at| if at > self.now { at } else { self.now.plus(sessile_model::Millis(50)) });
        let hold = self.hold_until.values().copied();
        let confirm = self.clients.values().filter_map(Client::confirm_by);
        let next = machine
            .into_iter()
            .chain(self.tasks.values().filter_map(Task::given_up_at))
            .chain(confirm)
            .chain(waits)
            .chain(self.agents.next(self.now))
            .chain(self.next_line())
            .chain(exits)
            .chain(hold)
            .chain(self.next_notice())
            .min();
        let wait = next.map(|at| at.since(self.now).as_duration());
        let look = (self.signalled.is_some() || self.finished).then_some(LOOK_AGAIN);
        let listening = self.until_look().map(sessile_model::Millis::as_duration);
        let ready = self.until_ready().map(sessile_model::Millis::as_duration);
        let save = self.until_save().map(sessile_model::Millis::as_duration);
        [wait, look, listening, ready, save].into_iter().flatten().min()
    }

    pub(crate) fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        match accept_with(&self.seat.listener, flags) {
            Ok(socket) if crate::seat::is_ours(&socket) => {
                self.next_client += 1;
                self.clients.insert(ClientId(self.next_client), Client::new(socket));
            }
            // Someone else's process, or one that left again.
            Ok(_) | Err(Errno::AGAIN | Errno::INTR | Errno::CONNABORTED) => {}
            Err(_) => {}
        }
    }

    fn hear_client(&mut self, id: ClientId, flags: PollFlags) {
        if !flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        let Some(client) = self.clients.get_mut(&id) else { return };
        if client.closing || client.receive().is_err() {
            self.drop_client(id);
            return;
        }
        loop {
            let Some(client) = self.clients.get_mut(&id) else { return };
            match client.next_frame() {
                Ok(Some((header, payload))) => self.handle_frame(id, header, payload),
                Ok(None) => return,
                Err(_) => {
                    self.drop_client(id);
                    return;
                }
            }
        }
    }
}

/// Whether the task wrote something this client has room for but has not been given.
fn has_more(client: &Client, task: &Task, now: Timestamp) -> bool {
    let limit = task.readable();
    client.attachments.values().any(|a| {
        if a.task == task.name && a.sees_part(task) {
            return client.takes_part(a) && a.part_is_due(task, now);
        }
        a.task == task.name
            && !a.shows.is_away()
            && a.shows.hold().is_none_or(|hold| !hold.is_blocked())
            && (a.out < limit || task.error_output().is_some_and(|err| a.err < err.ring.head()))
    })
}
