//! What the keeper waits for: descriptors, and what they are about.
//!
//! As long as somebody types, few of them matter and each look at one costs who waits for the echo of a key.
//! All others are then tied into a bundle, one descriptor that is readable when one of them is:
//!
//! ```text
//!  idle:    poll ── all
//!  typing:  poll ─┬ where who typed last does it, and where the echo comes from
//!                 └ bundle (epoll) ── all others
//! ```
//!
//! A bundle is kept from key to key, a second or two at most: it does not notice where a descriptor was closed and
//! another has its number by now.

use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use sessile_model::ids::AppName;
use sessile_model::quantity::{Millis, Timestamp};

use crate::agent;
use crate::channels::door;
use crate::client::ClientId;
use crate::keeper::Keeper;
use crate::roles::Place;
use crate::task::INPUT_QUEUE;

/// Most connections at once; further ones wait in the backlog.
const MAX_CLIENTS: usize = 256;
/// How long after a key somebody is taken to type.
const TYPES: Millis = Millis(10_000);

/// How long a bundle is kept. Making one takes memory that is given back later, which costs who types meanwhile.
const KEPT: Millis = Millis(1_000);

/// What a ready descriptor is about.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    Anchor,
    Link,
    Notify,
    Listener,
    App(AppName),
    Input,
    /// A terminal's output, which is read here.
    Echo(AppName),
    /// An app sent something, and no gateway runs.
    Knock,
    Gateway,
    Guard,
    /// The relay of an MCP server.
    Relay(AppName),
    Tor,
    Agent(agent::Part),
    /// Something of apps' conversation.
    Door(door::Part),
    Client(ClientId),
    /// The process of a client that has handed over its terminal.
    Owner(Place),
    /// A terminal that was handed over.
    Terminal(Place),
    /// Where a client that has handed over its terminal types.
    Typed(Place),
}

/// Who typed last at a terminal that is read here.
#[derive(Clone, Debug)]
pub(crate) struct Typist {
    pub place: Place,
    pub task: AppName,
    pub at: Timestamp,
    /// It was no more than keys: who pastes waits for no echo.
    pub is_keys: bool,
}

impl Typist {
    /// Whether something is between this one's keys and their echo.
    fn waits_for(&self, source: &Source) -> bool {
        match source {
            Source::Echo(task) => *task == self.task,
            Source::Terminal(place) | Source::Typed(place) => *place == self.place,
            Source::Anchor
            | Source::Link
            | Source::Notify
            | Source::Listener
            | Source::App(_)
            | Source::Input
            | Source::Knock
            | Source::Gateway
            | Source::Guard
            | Source::Relay(_)
            | Source::Tor
            | Source::Agent(_)
            | Source::Door(_)
            | Source::Client(_)
            | Source::Owner(_) => false,
        }
    }
}

/// A descriptor, what it is about, and what of it is waited for.
struct Watch<'a> {
    source: Source,
    fd: BorrowedFd<'a>,
    flags: PollFlags,
}

impl Watch<'_> {
    fn by_number(&self) -> (RawFd, PollFlags) {
        (self.fd.as_raw_fd(), self.flags)
    }
}

/// One descriptor for many, which is readable when one of them is ready.
#[derive(Debug)]
pub(crate) struct Bundle {
    epoll: OwnedFd,
    behind: Vec<(RawFd, PollFlags)>,
    tied_at: Timestamp,
}

impl Bundle {
    fn tie(watches: &[Watch<'_>], now: Timestamp) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for watch in watches {
            let flags = epoll::EventFlags::from_bits_retain(watch.flags.bits().into());
            epoll::add(&epoll, watch.fd, epoll::EventData::new_u64(0), flags)?;
        }
        Ok(Self { epoll, behind: watches.iter().map(Watch::by_number).collect(), tied_at: now })
    }

    fn is_for(&self, watches: &[Watch<'_>], now: Timestamp) -> bool {
        now.since(self.tied_at) < KEPT && self.behind.iter().copied().eq(watches.iter().map(Watch::by_number))
    }

    /// To wait for all of them.
    pub(crate) fn fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// Those that are ready, and whether one of the bundle's is.
#[derive(Default)]
struct Ready {
    sources: Vec<(Source, PollFlags)>,
    bundled: bool,
}

/// A time to wait, a day at most.
pub(crate) fn timespec(time: Duration) -> Timespec {
    Timespec { tv_sec: time.as_secs().min(86_400) as i64, tv_nsec: i64::from(time.subsec_nanos()) }
}

/// Waits until one is ready.
fn wait(watches: &[Watch<'_>], bundle: Option<&Bundle>, timeout: Option<Duration>) -> Ready {
    let timeout = timeout.map(timespec);
    let mut fds: Vec<PollFd<'_>> =
        watches.iter().map(|watch| PollFd::from_borrowed_fd(watch.fd, watch.flags)).collect();
    fds.extend(bundle.map(|bundle| PollFd::from_borrowed_fd(bundle.fd(), PollFlags::IN)));
    if poll(&mut fds, timeout.as_ref()).is_err() {
        return Ready::default();
    }
    let bundled = bundle.is_some() && fds.last().is_some_and(|fd| !fd.revents().is_empty());
    let ready = watches.iter().zip(&fds).filter(|(_, fd)| !fd.revents().is_empty());
    Ready { sources: ready.map(|(watch, fd)| (watch.source.clone(), fd.revents())).collect(), bundled }
}

impl Keeper {
    /// Waits until something is ready, or for so long.
    pub(crate) fn poll(&mut self, mut timeout: Option<Duration>) -> Vec<(Source, PollFlags)> {
        let bundle = self.bundle.take();
        let typist = self.typist.as_ref().filter(|typist| self.now.since(typist.at) < TYPES);
        if self.is_calm
            && let Some(typist) = typist
            && let Ok((bundle, theirs)) = self.tied(bundle, typist)
        {
            let ready = wait(&theirs, Some(&bundle), timeout);
            if !ready.bundled {
                // What goes by time may close descriptors.
                self.bundle = Some(bundle).filter(|_| !ready.sources.is_empty());
                return ready.sources;
            }
            timeout = Some(Duration::ZERO);
        }
        let ready = wait(&self.watches(), None, timeout).sources;
        let is_theirs = |source| typist.is_some_and(|typist| typist.waits_for(source));
        self.is_calm = ready.iter().all(|(source, _)| is_theirs(source));
        ready
    }

    /// What somebody waits for who types, and all else in a bundle: in this one, if it still fits.
    fn tied(&self, bundle: Option<Bundle>, typist: &Typist) -> Result<(Bundle, Vec<Watch<'_>>), Errno> {
        let all = self.watches().into_iter();
        let (theirs, others): (Vec<_>, Vec<_>) = all.partition(|watch| typist.waits_for(&watch.source));
        let bundle = bundle.filter(|bundle| bundle.is_for(&others, self.now));
        Ok((bundle.map_or_else(|| Bundle::tie(&others, self.now), Ok)?, theirs))
    }

    fn watches(&self) -> Vec<Watch<'_>> {
        let mut all = Vec::new();
        let mut watch = |source, fd, flags| all.push(Watch { source, fd, flags });
        if !self.anchor_is_dead {
            watch(Source::Anchor, self.seat.anchor.as_fd(), PollFlags::IN);
            watch(Source::Link, self.seat.link.as_fd(), PollFlags::IN);
        }
        if let Some(notify) = &self.notify {
            watch(Source::Notify, notify.as_fd(), PollFlags::IN);
        }
        if self.clients.len() < MAX_CLIENTS {
            watch(Source::Listener, self.seat.listener.as_fd(), PollFlags::IN);
        }
        for (name, app) in self.apps.iter().filter(|(_, app)| !app.gone) {
            watch(Source::App(name.clone()), app.control.as_fd(), PollFlags::IN);
        }
        for (name, task) in &self.tasks {
            let Some(sink) = task.sink() else { continue };
            if !task.pending.is_empty() {
                watch(Source::Input, sink, PollFlags::OUT);
            }
            if task.awaits_echo() {
                watch(Source::Echo(name.clone()), sink, PollFlags::IN);
            }
        }
        for listener in self.unserved() {
            watch(Source::Knock, listener, PollFlags::IN);
        }
        if let Some(link) = self.route.link() {
            watch(Source::Gateway, link, PollFlags::IN);
        }
        if let Some(link) = self.guard.link() {
            watch(Source::Guard, link, PollFlags::IN);
        }
        for (name, link) in self.servers.links() {
            watch(Source::Relay(name.clone()), link, PollFlags::IN);
        }
        if let Some(tor) = self.route.tor() {
            watch(Source::Tor, tor, PollFlags::IN);
        }
        let flags = |reads, writes| {
            let reads = if reads { PollFlags::IN } else { PollFlags::empty() };
            reads | if writes { PollFlags::OUT } else { PollFlags::empty() }
        };
        for (part, fd, reads, writes) in self.agents.watched() {
            watch(Source::Agent(part), fd, flags(reads, writes));
        }
        for (part, fd, reads, writes) in self.talk.doors.watched() {
            watch(Source::Door(part), fd, flags(reads, writes));
        }
        for (&id, client) in &self.clients {
            let held_up = client
                .attachments
                .values()
                .any(|a| self.tasks.get(&a.task).is_some_and(|t| t.pending_bytes() >= INPUT_QUEUE));
            let mut flags = if held_up || client.closing { PollFlags::empty() } else { PollFlags::IN };
            if client.has_output() {
                flags |= PollFlags::OUT;
            }
            watch(Source::Client(id), client.fd(), flags);
            for (&channel, attachment) in &client.attachments {
                let Some(hold) = attachment.shows.hold() else { continue };
                watch(Source::Owner((id, channel)), hold.process(), PollFlags::IN);
                if let Some(terminal) = hold.waits_for() {
                    watch(Source::Terminal((id, channel)), terminal, PollFlags::OUT);
                }
                // One read at a time is on its way: what is not read stays in the terminal.
                let free = self.tasks.get(&attachment.task).is_some_and(|task| task.pending.is_empty());
                if let Some(typed) = hold.typed().filter(|_| free) {
                    watch(Source::Typed((id, channel)), typed, PollFlags::IN);
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _, pipe};
    use std::os::fd::AsFd;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(5_000);

    fn watch<'a>(fd: &'a impl AsFd, flags: PollFlags) -> Watch<'a> {
        Watch { source: Source::Notify, fd: fd.as_fd(), flags }
    }

    #[test]
    fn a_bundle_is_ready_when_one_in_it_is() {
        let ((one, mut to_one), (other, to_other)) = (pipe().unwrap(), pipe().unwrap());
        let now = Some(Duration::ZERO);
        let (in_it, beside) = ([watch(&one, PollFlags::IN), watch(&other, PollFlags::empty())], []);
        let bundle = Bundle::tie(&in_it, NOW).unwrap();
        let is_ready = || wait(&beside, Some(&bundle), now).bundled;
        assert!(!is_ready());
        to_one.write_all(b"!").unwrap();
        assert!(is_ready());
        (&one).read_exact(&mut [0]).unwrap();
        assert!(!is_ready());
        drop(to_other);
        assert!(is_ready(), "a line that was hung up is news to all");
    }

    #[test]
    fn a_bundle_is_for_what_was_tied_and_for_a_second() {
        let ((one, _to_one), (other, _to_other)) = (pipe().unwrap(), pipe().unwrap());
        let reads = || watch(&one, PollFlags::IN);
        let writes = || watch(&one, PollFlags::OUT);
        let another = || watch(&other, PollFlags::IN);
        let (now, then) = (NOW, NOW.plus(Millis(999)));
        let bundle = Bundle::tie(&[reads(), another()], now).unwrap();
        assert!(
            bundle.is_for(&[reads(), another()], then)
                && !bundle.is_for(&[reads(), another()], now.plus(KEPT))
        );
        assert!(!bundle.is_for(&[writes(), another()], now) && !bundle.is_for(&[reads()], now));
        assert!(Bundle::tie(&[reads(), writes()], now).is_err(), "each once");
    }
}
