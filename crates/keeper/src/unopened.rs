//! A keeper that has not been told what to open.
//!
//! The daemon connects before it starts an anchor, so from its birth a keeper has somebody to hear
//! from. One that is not told at once is a spare: it makes ready what any session needs, whatever
//! its specification. When the last connection ends and nobody has told it anything, nobody will:
//! it removes what it made and ends, and its anchor with it.
//!
//! The file [`MARK`] in the session's runtime folder says that it is a spare, and which host user
//! ids its session will have: with these it makes namespaces, storage and the network of an app, as most
//! sessions want them. They are used if the session wants them so, and if nothing was mounted on the host since.

use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, OwnedFd};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use sessile_model::Problem;
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::spec::Limits;
use sessile_sandbox::app::Ahead;
use sessile_sandbox::space::{Space, SpacePlan};

use crate::bringup::{STORAGE, failed};
use crate::checkpoint::Checkpoint;
use crate::keeper::Keeper;
use crate::ledger::InputLedger;
use crate::wipe::{RECEIPT_BYTES, RECEIPT_ROOM};

/// How long a keeper waits to be told what to open before it makes things ready. A daemon that
/// starts it for a session tells it at once.
const PATIENCE: Millis = Millis(20);
/// By this file a daemon knows a spare that another one left. It holds the first host id in
/// decimal, or nothing for a rootless session.
const MARK: &str = "spare";
/// Bytes that are read of it.
const MAX_MARK: u64 = 16;
/// Readable, and exceptional when something was mounted or unmounted since it was opened (proc(5)).
const MOUNTS: &str = "/proc/self/mountinfo";

/// Namespaces and storage that wait for their session.
#[derive(Debug)]
pub(crate) struct SpaceAhead {
    plan: SpacePlan,
    pub(crate) space: Space,
    pub(crate) notify: OwnedFd,
    /// For the session's first app.
    pub(crate) app: Ahead,
    /// From before they were made.
    mounts: File,
}

impl SpaceAhead {
    /// Whether they are what would be made now.
    pub(crate) fn serves(&self, plan: &SpacePlan) -> bool {
        let mut mounts = [PollFd::new(&self.mounts, PollFlags::PRI)];
        let looked = poll(&mut mounts, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
        self.plan == *plan && looked == Ok(0)
    }
}

/// What such a keeper knows.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Unopened {
    since: Timestamp,
    /// Somebody has connected.
    is_known: bool,
    /// It has made ready what it can.
    is_ready: bool,
}

impl Unopened {
    /// One that was started just now.
    pub(crate) fn new(now: Timestamp) -> Self {
        Self { since: now, is_known: false, is_ready: false }
    }
}

impl Keeper {
    /// Makes things ready when it is time, and ends when nobody can tell it what to open any more.
    pub(crate) fn await_opening(&mut self) {
        let Some(unopened) = &mut self.unopened else { return };
        unopened.is_known |= !self.clients.is_empty();
        if unopened.is_known && self.clients.is_empty() && !crate::listening::is_ready(&self.seat.listener) {
            self.unopened = None;
            self.finished = true;
            // Where something stays, the next daemon removes it.
            let _ = self.remove_unopened();
            return;
        }
        if self.until_ready() == Some(Millis(0)) {
            if let Some(unopened) = &mut self.unopened {
                unopened.is_ready = true;
            }
            // What cannot be made now is tried again by the opening, which says why.
            let _ = self.make_ahead();
        }
    }

    /// How long until things are made ready; `None`: they are.
    pub(crate) fn until_ready(&self) -> Option<Millis> {
        let unopened = self.unopened.filter(|unopened| !unopened.is_ready)?;
        Some(Millis(PATIENCE.0.saturating_sub(self.now.since(unopened.since).0)))
    }

    fn make_ahead(&mut self) -> Result<(), Problem> {
        self.make_ready()?;
        if let Some(log) = &mut self.log {
            log.sync().map_err(|e| failed("the session's log cannot be made lasting", &e))?;
        }
        self.make_keys()?;
        self.make_space_ahead()
    }

    fn make_space_ahead(&mut self) -> Result<(), Problem> {
        let unreadable = |e: io::Error| failed("what the spare is for", &e);
        let mut mark = String::new();
        let read = File::open(self.seat.runtime.join(MARK))
            .and_then(|file| file.take(MAX_MARK).read_to_string(&mut mark));
        match read {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(unreadable(e)),
            Ok(_) => {}
        }
        let base = match mark.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|e| unreadable(io::Error::other(e)))?),
        };
        let mounts = File::open(MOUNTS).map_err(unreadable)?;
        let plan = self.space_plan(&Limits::default(), base);
        let (space, notify) = self.make_space(&plan)?;
        let app = Ahead::make(&space);
        self.ahead = Some(SpaceAhead { plan, space, notify, app, mounts });
        Ok(())
    }

    /// Makes what every session needs before its first entry, as far as it is not there.
    pub(crate) fn make_ready(&mut self) -> Result<(), Problem> {
        if self.log.is_none() {
            let log = self.open_log().map_err(|e| failed("the session's log cannot be made", &e))?;
            sessile_journal::file::reserve(&self.seat.state, RECEIPT_ROOM, RECEIPT_BYTES)
                .map_err(|e| failed("there is no room for the session's receipt", &e))?;
            self.log = Some(log);
        }
        if self.checkpoint.is_none() || self.ledger.is_none() {
            let checkpoint = Checkpoint::create().map_err(|e| failed("no memory for the checkpoint", &e))?;
            let ledger = InputLedger::create().map_err(|e| failed("no memory for the input ledger", &e))?;
            self.keep_all(&[("checkpoint", checkpoint.fd().as_fd()), ("ledger", ledger.fd().as_fd())])?;
            self.checkpoint = Some(checkpoint);
            self.ledger = Some(ledger);
        }
        Ok(())
    }

    /// Removes the folders of a session that nobody opened; its runtime folder last, which says
    /// whose they are.
    fn remove_unopened(&self) -> io::Result<()> {
        fs::remove_dir_all(&self.seat.state)?;
        for path in self.sockets() {
            fs::remove_file(path)?;
        }
        // There is none where it was told before it was ready.
        let _ = fs::remove_dir(self.seat.runtime.join(STORAGE));
        // There is none where a session was to be opened at once.
        let _ = fs::remove_file(self.seat.runtime.join(MARK));
        fs::remove_dir(&self.seat.runtime)
    }
}
