//! What each operation does; [`crate::protocol`] says what it means.

use std::io;
use std::os::fd::OwnedFd;

use super::pumps::Refusal;
use super::{Anchor, children};
use crate::protocol::{Code, Operation, Reply, Request, VERSION};

/// Rounds that serve more packets than a socket's buffer holds.
const DRAIN_ROUNDS: usize = 8;

/// What to do once the reply is sent.
pub(super) enum After {
    GoOn,
    Exit,
}

/// The operation, or the code to refuse with: also for a wrong number of descriptors.
fn admit(request: &Request, fd: Option<&OwnedFd>) -> Result<Operation, Code> {
    if request.version != VERSION {
        return Err(Code::UnsupportedVersion);
    }
    let operation = Operation::from_number(request.operation).ok_or(Code::UnknownOperation)?;
    let takes_fd = matches!(operation, Operation::Put | Operation::SpawnKeeper);
    if takes_fd != fd.is_some() {
        return Err(Code::Malformed);
    }
    Ok(operation)
}

fn own_pid() -> u32 {
    // SAFETY: takes nothing and always succeeds.
    unsafe { libc::getpid() }.unsigned_abs()
}

/// Whether this reply to the keeper is the anchor's last word.
pub(super) fn is_quit(reply: &Reply) -> bool {
    reply.operation == Operation::Quit as u16 && reply.code == Code::Done as u32
}

/// The same reply, as refused by the system.
pub(super) fn refused(reply: &Reply, error: &io::Error) -> Reply {
    let errno = error.raw_os_error().unwrap_or(libc::EIO);
    let mut refused = *reply;
    refused.code = Code::System as u32;
    refused.values = [errno.unsigned_abs(), 0, 0, 0, 0];
    refused.name = crate::protocol::Name::EMPTY;
    refused
}

impl Anchor {
    /// Serves the link. The second part is the place of the entry whose descriptor goes along.
    pub(super) fn for_keeper(&mut self, request: &Request, fd: Option<OwnedFd>) -> (Reply, Option<usize>) {
        let Self { store, pumps, place, listener, .. } = self;
        let mut reply = Reply::to(request, Code::Done);
        let mut entry = None;
        let code = match admit(request, fd.as_ref()) {
            Err(code) => code,
            Ok(Operation::Hello) => {
                reply.values[0] = own_pid();
                Code::Done
            }
            Ok(Operation::Put) => fd.map_or(Code::Malformed, |fd| store.put(&request.names[0], fd)),
            Ok(Operation::Drop) => store.remove(&request.names[0]),
            Ok(Operation::List) => {
                let at = usize::try_from(request.id).unwrap_or(usize::MAX);
                match store.name(at) {
                    Some(name) => {
                        reply.name = name;
                        entry = Some(at);
                        Code::Done
                    }
                    None => Code::NoMore,
                }
            }
            Ok(Operation::Pump) => match pumps.start(request.id, &request.names, store) {
                Ok(()) => Code::Done,
                Err(Refusal::Code(code)) => code,
                Err(Refusal::System(error)) => return (refused(&reply, &error), None),
            },
            Ok(Operation::Unpump) => pumps.stop(request.id),
            Ok(Operation::Poke) => pumps.poke(request.id),
            Ok(Operation::Listen) => match place.restore(listener) {
                Ok(()) => Code::Done,
                Err(error) => return (refused(&reply, &error), None),
            },
            Ok(Operation::Quit) => Code::Done,
            Ok(Operation::Status | Operation::SpawnKeeper | Operation::Kill) => Code::UnknownOperation,
        };
        reply.code = code as u32;
        (reply, entry)
    }

    /// Serves the supervisor socket.
    pub(super) fn for_supervisor(&mut self, request: &Request, fd: Option<OwnedFd>) -> (Reply, After) {
        let mut reply = Reply::to(request, Code::Done);
        let operation = match admit(request, fd.as_ref()) {
            Ok(operation) => operation,
            Err(code) => return (Reply::to(request, code), After::GoOn),
        };
        match operation {
            Operation::Hello => reply.values[0] = own_pid(),
            Operation::Status => {
                self.children.reap(&self.signals);
                let count = |n| u32::try_from(n).unwrap_or(u32::MAX);
                let (pumps, entries) = (count(self.pumps.len()), count(self.store.len()));
                reply.values = [self.children.keeper(), pumps, entries, own_pid(), 0];
            }
            Operation::SpawnKeeper => {
                // The keeper's end may not have been noticed yet.
                self.children.reap(&self.signals);
                if self.children.keeper() != 0 {
                    return (Reply::to(request, Code::KeeperLives), After::GoOn);
                }
                // What the dead keeper had still asked for comes before what the next one asks.
                // (Its own children may hold the link open, so there may be no end to wait for.)
                for _ in 0..DRAIN_ROUNDS {
                    self.serve_link();
                }
                self.pumps.inherit();
                if let Some(image) = fd {
                    self.children.replace_image(image);
                }
                match self.children.spawn_keeper() {
                    Ok(link) => self.link.set(link),
                    Err(error) => return (refused(&reply, &error), After::GoOn),
                }
                reply.values[0] = self.children.keeper();
            }
            Operation::Kill => {
                let children::Killed { gone, remaining } = self.children.kill(&self.signals);
                reply.values = [gone, remaining, 0, 0, 0];
                return (reply, After::Exit);
            }
            Operation::Put
            | Operation::Drop
            | Operation::List
            | Operation::Pump
            | Operation::Unpump
            | Operation::Poke
            | Operation::Listen
            | Operation::Quit => reply.code = Code::UnknownOperation as u32,
        }
        (reply, After::GoOn)
    }
}
