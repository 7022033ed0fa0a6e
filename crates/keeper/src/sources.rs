//! What the keeper waits for: descriptors, and what they are about.
//!
//! As long as somebody types, few of them matter and each look at one costs who waits for the echo of a key.
//! All others are then tied into a bundle, one descriptor that is readable when one of them is:
//!
//! ```text
//!  idle:    poll ── all
//!  typing:  poll ─┬ where keys and echoes come from
//!                 └ bundle (epoll) ── all others
//! ```
//!
//! It is tied anew at each wait, before a key comes: one that was kept would miss a descriptor that was closed
//! meanwhile where another has its number now.

use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;
use sessile_model::ids::AppName;
use sessile_model::quantity::Millis;

use crate::agent;
use crate::channels::door;
use crate::client::{Attachment, ClientId};
use crate::hold::Hold;
use crate::keeper::Keeper;
use crate::roles::Place;
use crate::task::INPUT_QUEUE;

/// Most connections at once; further ones wait in the backlog.
const MAX_CLIENTS: usize = 256;
/// How long after a key somebody is taken to type.
const TYPES: Millis = Millis(10_000);

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

impl Source {
    /// Whether it is on the way between a key and its echo.
    fn is_typing(&self) -> bool {
        match self {
            Self::Input | Self::Echo(_) | Self::Terminal(_) | Self::Typed(_) => true,
            Self::Anchor
            | Self::Link
            | Self::Notify
            | Self::Listener
            | Self::App(_)
            | Self::Knock
            | Self::Gateway
            | Self::Guard
            | Self::Relay(_)
            | Self::Tor
            | Self::Agent(_)
            | Self::Door(_)
            | Self::Client(_)
            | Self::Owner(_) => false,
        }
    }
}

/// A descriptor, what it is about, and what of it is waited for.
struct Watch<'a> {
    source: Source,
    fd: BorrowedFd<'a>,
    flags: PollFlags,
}

/// One descriptor for many, which is readable when one of them is ready.
#[derive(Debug)]
pub(crate) struct Bundle(OwnedFd);

impl Bundle {
    fn tie(watches: &[Watch<'_>]) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for watch in watches {
            let flags = epoll::EventFlags::from_bits_retain(watch.flags.bits().into());
            epoll::add(&epoll, watch.fd, epoll::EventData::new_u64(0), flags)?;
        }
        Ok(Self(epoll))
    }
}

/// Those that are ready, and whether one of the bundle's is.
#[derive(Default)]
struct Ready {
    sources: Vec<(Source, PollFlags)>,
    bundled: bool,
}

/// Waits until one is ready.
fn wait(watches: &[Watch<'_>], bundle: Option<&Bundle>, timeout: Option<Duration>) -> Ready {
    let timeout = timeout.map(|time| Timespec {
        tv_sec: time.as_secs().min(86_400) as i64,
        tv_nsec: i64::from(time.subsec_nanos()),
    });
    let mut fds: Vec<PollFd<'_>> =
        watches.iter().map(|watch| PollFd::from_borrowed_fd(watch.fd, watch.flags)).collect();
    fds.extend(bundle.map(|bundle| PollFd::new(&bundle.0, PollFlags::IN)));
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
        self.bundle = None;
        let types = self.typed_at.is_some_and(|at| self.now.since(at) < TYPES);
        if types
            && self.is_calm
            && let Ok(bundle) = Bundle::tie(&self.others())
        {
            let ready = wait(&self.typing(), Some(&bundle), timeout);
            if !ready.bundled {
                self.bundle = Some(bundle).filter(|_| !ready.sources.is_empty());
                return ready.sources;
            }
            timeout = Some(Duration::ZERO);
        }
        let mut all = self.others();
        all.extend(self.typing());
        let ready = wait(&all, None, timeout).sources;
        self.is_calm = ready.iter().all(|(source, _)| source.is_typing());
        ready
    }

    /// Waits until something is ready of what somebody waits for who types, or of the bundle.
    pub(crate) fn poll_typing(&self, timeout: Duration) -> Vec<Source> {
        let ready = wait(&self.typing(), self.bundle.as_ref(), Some(timeout)).sources;
        ready.into_iter().map(|(source, _)| source).collect()
    }

    /// What is on the way between keys and their echoes.
    fn typing(&self) -> Vec<Watch<'_>> {
        let mut all = Vec::new();
        let mut watch = |source, fd, flags| all.push(Watch { source, fd, flags });
        for (name, task) in &self.tasks {
            let Some(sink) = task.sink() else { continue };
            if !task.pending.is_empty() {
                watch(Source::Input, sink, PollFlags::OUT);
            }
            if task.awaits_echo() {
                watch(Source::Echo(name.clone()), sink, PollFlags::IN);
            }
        }
        for (place, attachment, hold) in self.held() {
            if let Some(terminal) = hold.waits_for() {
                watch(Source::Terminal(place), terminal, PollFlags::OUT);
            }
            // One read at a time is on its way: what is not read stays in the terminal.
            let free = self.tasks.get(&attachment.task).is_some_and(|task| task.pending.is_empty());
            if let Some(typed) = hold.typed().filter(|_| free) {
                watch(Source::Typed(place), typed, PollFlags::IN);
            }
        }
        all
    }

    /// Attachments whose terminals were handed over.
    fn held(&self) -> impl Iterator<Item = (Place, &Attachment, &Hold)> {
        self.clients.iter().flat_map(|(&id, client)| {
            let attachments = client.attachments.iter();
            attachments.filter_map(move |(&channel, attachment)| {
                attachment.shows.hold().map(|hold| ((id, channel), attachment, hold))
            })
        })
    }

    /// All else.
    fn others(&self) -> Vec<Watch<'_>> {
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
        }
        for (place, _, hold) in self.held() {
            watch(Source::Owner(place), hold.process(), PollFlags::IN);
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _, pipe};
    use std::os::fd::AsFd;

    use super::*;

    fn watch<'a>(fd: &'a impl AsFd, flags: PollFlags) -> Watch<'a> {
        Watch { source: Source::Notify, fd: fd.as_fd(), flags }
    }

    #[test]
    fn a_bundle_is_ready_when_one_in_it_is() {
        let ((one, mut to_one), (other, to_other)) = (pipe().unwrap(), pipe().unwrap());
        let now = Some(Duration::ZERO);
        let (in_it, beside) = ([watch(&one, PollFlags::IN), watch(&other, PollFlags::empty())], []);
        let bundle = Bundle::tie(&in_it).unwrap();
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
    fn a_bundle_holds_each_descriptor_once() {
        let (one, _to_one) = pipe().unwrap();
        assert!(Bundle::tie(&[watch(&one, PollFlags::IN), watch(&one, PollFlags::OUT)]).is_err());
    }
}
