//! The relay of an MCP server: between those inside who call its tools and the server in its sandbox.
//!
//! ```text
//!  guest ─ its app's socket ─┐              ┌─ pipes ─ server
//!                            ├─► relay ─────┤
//!  guest ────────────────────┘     │        └─
//!                     Asks ────────┴──► keeper ──► guard
//!                          Decided ◄──┘
//! ```
//!
//! Another process than the guard, of the same program: it reads what a server wrote before anything has looked at
//! it, and where that takes it over, it has what is of this server and no more. It is confined as a guard is.
//! `desk` decides what is done, `shape` what of a server's words goes on, `wire` reads and writes lines.

pub(crate) mod desk;
mod shape;
mod wire;

use std::collections::BTreeMap;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, read, write};
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg,
};
use sessile_model::guarding::Text;
use sessile_model::mcp::{MAX_PACKET, MAX_PART, Order, Report, VERSION};
use zeroize::Zeroizing;

use crate::confine;
use desk::{Deed, Desk, MOST_GUESTS};
use wire::{Lines, MOST_OF_GUEST, MOST_OF_SERVER};

/// Bytes read at once.
const CHUNK: usize = 64 << 10;
/// Bytes that wait to be written, beyond which no more is read from whom they answer.
const MOST_WAITING: usize = 1 << 20;
/// Bytes that wait for a guest, beyond which it is taken for one that reads no more: more than all that it may
/// ask for at once.
const MOST_FOR_GUEST: usize = 64 << 20;
/// Bytes that wait for a server, beyond which it is taken for one that reads no more.
const MOST_FOR_SERVER: usize = 8 << 20;

/// Serves the server whose streams come with the first order, until the keeper's end of the socket is gone.
///
/// # Errors
/// When this process was not started by a keeper, cannot be confined, or its link fails.
pub fn run() -> io::Result<()> {
    let link = confine::link()?;
    confine::confine()?;
    let Some((Order::Begin { version: VERSION, .. }, fds)) = receive(&link)? else { return Ok(()) };
    let Ok([input, output]) = <[OwnedFd; 2]>::try_from(fds) else { return Ok(()) };
    let began = Instant::now();
    let mut relay = Relay {
        link,
        began,
        desk: Desk::begin(0),
        server: Some(Peer {
            reads: output,
            writes: Some(input),
            lines: Lines::new(MOST_OF_SERVER),
            waits: Vec::new(),
        }),
        guests: BTreeMap::new(),
    };
    while relay.turn()? {}
    Ok(())
}

/// Somebody who is read and written to.
struct Peer {
    reads: OwnedFd,
    /// Another descriptor where it is written to by another.
    writes: Option<OwnedFd>,
    lines: Lines,
    waits: Vec<u8>,
}

struct Relay {
    link: OwnedFd,
    began: Instant,
    desk: Desk,
    server: Option<Peer>,
    guests: BTreeMap<u32, Peer>,
}

#[derive(Clone, Copy)]
enum Source {
    Keeper,
    /// The server, and whether it is to be written to.
    Server {
        writes: bool,
    },
    Guest(u32),
}

/// The other side is gone, or wrote a line that is too long.
enum Over {
    Gone,
    TooLong,
}

impl Peer {
    fn sink(&self) -> BorrowedFd<'_> {
        self.writes.as_ref().map_or_else(|| self.reads.as_fd(), AsFd::as_fd)
    }

    /// Writes what waits, as far as it is taken now.
    fn flush(&mut self) -> Result<(), Over> {
        while !self.waits.is_empty() {
            match write(self.sink(), &self.waits) {
                Ok(count) => drop(self.waits.drain(..count)),
                Err(Errno::AGAIN) => return Ok(()),
                Err(Errno::INTR) => {}
                Err(_) => return Err(Over::Gone),
            }
        }
        Ok(())
    }

    /// Reads once; the lines that are whole.
    fn lines(&mut self, chunk: &mut [u8]) -> (Vec<Vec<u8>>, Result<(), Over>) {
        match read(&self.reads, &mut *chunk) {
            Ok(0) => return (Vec::new(), Err(Over::Gone)),
            Ok(count) => self.lines.push(&chunk[..count]),
            Err(Errno::AGAIN | Errno::INTR) => return (Vec::new(), Ok(())),
            Err(_) => return (Vec::new(), Err(Over::Gone)),
        }
        let mut all = Vec::new();
        loop {
            match self.lines.next() {
                Ok(Some(line)) => all.push(line),
                Ok(None) => return (all, Ok(())),
                Err(wire::TooLong) => return (all, Err(Over::TooLong)),
            }
        }
    }
}

impl Relay {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Waits, hears what there is and does what comes of it. Returns whether it goes on.
    fn turn(&mut self) -> io::Result<bool> {
        self.carry_out()?;
        for (source, flags) in self.wait()? {
            match source {
                Source::Keeper => match receive(&self.link)? {
                    Some((order, fds)) => self.obey(order, fds),
                    None => return Ok(false),
                },
                Source::Server { writes: true } => {
                    if self.server.as_mut().is_some_and(|server| server.flush().is_err()) {
                        self.lose_server("the server has ended");
                    }
                }
                Source::Server { writes: false } => self.hear_server(),
                Source::Guest(guest) => self.hear_guest(guest, flags),
            }
        }
        self.desk.tick(self.now_ms());
        Ok(true)
    }

    fn wait(&self) -> io::Result<Vec<(Source, PollFlags)>> {
        let mut sources = vec![Source::Keeper];
        let mut fds = vec![PollFd::new(&self.link, PollFlags::IN)];
        if let Some(server) = &self.server {
            sources.push(Source::Server { writes: false });
            fds.push(PollFd::new(&server.reads, PollFlags::IN));
            if !server.waits.is_empty() {
                sources.push(Source::Server { writes: true });
                fds.push(PollFd::from_borrowed_fd(server.sink(), PollFlags::OUT));
            }
        }
        for (&number, guest) in &self.guests {
            let reads = if guest.waits.len() < MOST_WAITING { PollFlags::IN } else { PollFlags::empty() };
            let writes = if guest.waits.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            sources.push(Source::Guest(number));
            fds.push(PollFd::new(&guest.reads, reads | writes));
        }
        let timeout = self.desk.due_ms().map(|due| {
            let wait = due.saturating_sub(self.now_ms());
            Timespec { tv_sec: (wait / 1000) as i64, tv_nsec: (wait % 1000 * 1_000_000) as i64 }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(errno.into()),
        }
        let ready = sources.into_iter().zip(fds.iter().map(PollFd::revents));
        Ok(ready.filter(|(_, flags)| !flags.is_empty()).collect())
    }

    fn obey(&mut self, order: Order, mut fds: Vec<OwnedFd>) {
        let now_ms = self.now_ms();
        match order {
            Order::Guest { app } => {
                let (Some(socket), true) = (fds.pop(), self.guests.len() < MOST_GUESTS) else { return };
                if let Some(number) = self.desk.welcome(app) {
                    let (lines, waits) = (Lines::new(MOST_OF_GUEST), Vec::new());
                    self.guests.insert(number, Peer { reads: socket, writes: None, lines, waits });
                }
            }
            Order::Decided { number, verdict } => self.desk.decided(number, verdict, now_ms),
            Order::Again => self.desk.forget_asked(now_ms),
            Order::Begin { .. } | Order::Unknown => {}
        }
    }

    fn hear_server(&mut self) {
        let Some(server) = &mut self.server else { return };
        let (lines, outcome) = server.lines(&mut vec![0; CHUNK]);
        let now_ms = self.now_ms();
        for line in lines {
            self.desk.hear_server(&line, now_ms);
        }
        match outcome {
            Ok(()) => {}
            Err(Over::Gone) => self.lose_server("the server has ended"),
            Err(Over::TooLong) => self.lose_server("the server wrote a line that is too long"),
        }
    }

    fn lose_server(&mut self, why: &str) {
        self.server = None;
        self.desk.server_is_gone(why);
    }

    fn hear_guest(&mut self, number: u32, flags: PollFlags) {
        let Some(guest) = self.guests.get_mut(&number) else { return };
        let mut outcome = guest.flush();
        if outcome.is_ok() && flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            let (lines, read) = guest.lines(&mut vec![0; CHUNK]);
            for line in lines {
                self.desk.hear_guest(number, &line);
            }
            outcome = read;
        }
        if outcome.is_err() {
            self.guests.remove(&number);
            self.desk.dismiss(number);
        }
    }

    /// Does what is to be done until nothing more is.
    fn carry_out(&mut self) -> io::Result<()> {
        loop {
            let deeds = self.desk.take_deeds();
            if deeds.is_empty() {
                return Ok(());
            }
            for deed in deeds {
                self.carry_out_one(deed)?;
            }
        }
    }

    fn carry_out_one(&mut self, deed: Deed) -> io::Result<()> {
        match deed {
            Deed::ToServer(line) => {
                let Some(server) = &mut self.server else { return Ok(()) };
                server.waits.extend(line);
                if server.flush().is_err() {
                    self.lose_server("the server has ended");
                } else if server.waits.len() > MOST_FOR_SERVER {
                    self.lose_server("the server does not read what it is told");
                }
            }
            Deed::ToGuest(number, line) => {
                let Some(guest) = self.guests.get_mut(&number) else { return Ok(()) };
                guest.waits.extend(line);
                if guest.flush().is_err() || guest.waits.len() > MOST_FOR_GUEST {
                    self.guests.remove(&number);
                    self.desk.dismiss(number);
                }
            }
            Deed::Ask { number, app, what, text } => {
                let text = Zeroizing::new(text);
                let mut rest = text.as_str();
                while !rest.is_empty() {
                    let (part, behind) = rest.split_at(rest.floor_char_boundary(MAX_PART));
                    tell(&self.link, &Report::Part { text: Text(part.to_owned()) })?;
                    rest = behind;
                }
                tell(&self.link, &Report::Asks { number, app, what })?;
            }
            Deed::GiveUp(number) => tell(&self.link, &Report::GivenUp { number })?,
            Deed::Unread(tools) => tell(&self.link, &Report::Unread { tools })?,
            Deed::Over(why) => {
                self.server = None;
                tell(&self.link, &Report::Over { why })?;
            }
        }
        Ok(())
    }
}

/// Waits for the next order; `None` when nobody holds the other end.
fn receive(link: &OwnedFd) -> io::Result<Option<(Order, Vec<OwnedFd>)>> {
    let mut bytes = vec![0u8; MAX_PACKET];
    loop {
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let received =
            recvmsg(link, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC);
        let length = match received {
            Err(Errno::INTR) => continue,
            Err(Errno::CONNRESET) => return Ok(None),
            received => received?.bytes,
        };
        if length == 0 {
            return Ok(None);
        }
        let mut fds = Vec::new();
        for message in control.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                fds.extend(rights);
            }
        }
        // What does not parse comes from a later version: not obeyed.
        if let Ok(order) = serde_json::from_slice(&bytes[..length]) {
            return Ok(Some((order, fds)));
        }
    }
}

/// Tells the keeper something; waits where there is none just now.
fn tell(link: &OwnedFd, report: &Report) -> io::Result<()> {
    let bytes = Zeroizing::new(serde_json::to_vec(report)?);
    loop {
        let mut control = SendAncillaryBuffer::default();
        match sendmsg(link, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            sent => return sent.map(drop).map_err(io::Error::from),
        }
    }
}
