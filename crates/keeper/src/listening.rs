//! Keeping the session's sockets where they are looked for.
//!
//! Somebody may remove them under a running session, alone or with the whole runtime folder.
//! Nothing can give a bound socket its name back, so the keeper binds another for its clients and
//! leaves it with the anchor, as the first one was: they wait in its backlog while no keeper runs.
//! For its own socket the anchor does the same when it is told, and by itself while no keeper runs.

use std::fs::{DirBuilder, symlink_metadata};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use sessile_model::quantity::Millis;
use sessile_model::state::State;

use crate::keeper::Keeper;

/// How often the sockets are looked at while the session runs.
const LOOK: Millis = Millis(1_000);
/// Connections that wait while the keeper does something else, or while none runs.
pub(crate) const BACKLOG: i32 = 128;
/// The sockets' names in the session's runtime folder.
pub(crate) const NAME: &str = "keeper.sock";
pub(crate) const ANCHOR: &str = "anchor.sock";
/// The name in the anchor's store of a socket that took the first one's place.
pub(crate) const HELD: &str = "listener";

/// The file that a socket is bound to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    device: u64,
    inode: u64,
}

impl Place {
    fn of(path: &Path) -> Option<Self> {
        let found = symlink_metadata(path).ok()?;
        Some(Self { device: found.dev(), inode: found.ino() })
    }
}

impl Keeper {
    /// Looks for the sockets where they are due, and has others bound when they are not those that
    /// were there. Where that cannot be done now, it is tried again at the next look.
    pub(crate) fn keep_listening(&mut self) {
        if self.until_look() != Some(Millis(0)) {
            return;
        }
        self.looked_at = Some(self.now);
        self.keep_own();
        self.keep_anchors();
        self.look_at_protected();
        self.retry_log();
    }

    fn keep_anchors(&mut self) {
        let path = self.seat.runtime.join(ANCHOR);
        let found = Place::of(&path);
        if found.is_none() || (self.anchor_place.is_some() && self.anchor_place != found) {
            // One that cannot is of an earlier version, or about to die.
            let _ = self.seat.link.listen();
            self.anchor_place = Place::of(&path);
        } else {
            self.anchor_place = found;
        }
    }

    fn keep_own(&mut self) {
        let path = self.seat.runtime.join(NAME);
        let found = Place::of(&path);
        if found.is_some() && (self.place.is_none() || self.place == found) {
            self.place = found;
            return;
        }
        let Ok(listener) = make_folders(&self.seat.runtime).and_then(|()| listen(&path)) else { return };
        // An anchor that does not take it is dead or about to die, and its keeper says so.
        let _ = self.keep(HELD, &listener);
        while is_ready(&self.seat.listener) {
            self.accept();
        }
        self.seat.listener = listener;
        self.place = Place::of(&path);
    }

    /// How long until the next look; `None`: for ever.
    pub(crate) fn until_look(&self) -> Option<Millis> {
        let left = self
            .looked_at
            .map_or(Millis(0), |looked_at| Millis(LOOK.0.saturating_sub(self.now.since(looked_at).0)));
        self.must_listen().then_some(left)
    }

    /// Whether clients are to find the session. One that ends removes its sockets itself.
    fn must_listen(&self) -> bool {
        match self.machine.as_ref().map(sessile_session::Session::state) {
            Some(State::Active | State::Paused) => true,
            Some(State::Bringup | State::Ending | State::Failed | State::Closed) | None => false,
        }
    }
}

/// Makes what is missing of `RUNTIME/sessions/ID`. A runtime folder that is there already must be
/// our own and closed to others: what is below it then is as well.
fn make_folders(folder: &Path) -> io::Result<()> {
    let [_, sessions, runtime] = folder.ancestors().take(3).collect::<Vec<_>>()[..] else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    for path in [runtime, sessions, folder] {
        match DirBuilder::new().mode(0o700).create(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let found = symlink_metadata(path)?;
        let ours = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o077 == 0;
        if !found.is_dir() || !ours {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
    }
    Ok(())
}

fn listen(path: &Path) -> io::Result<OwnedFd> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let flags = SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    rustix::net::bind(&socket, &SocketAddrUnix::new(path)?)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket)
}

/// Whether a client waits to be accepted.
pub(crate) fn is_ready(listener: &OwnedFd) -> bool {
    matches!(poll(&mut [PollFd::new(listener, PollFlags::IN)], Some(&Timespec::default())), Ok(1))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn a_socket_is_bound_where_none_or_another_is() {
        let top = tempfile::tempdir().unwrap();
        let folder = top.path().join("run/sessions/id");
        make_folders(&folder).unwrap();
        assert_eq!(symlink_metadata(&folder).unwrap().mode() & 0o777, 0o700);
        let path = folder.join(NAME);
        let first = listen(&path).unwrap();
        let place = Place::of(&path);
        let second = listen(&path).unwrap();
        assert_ne!(Place::of(&path), place);
        UnixStream::connect(&path).unwrap();
        assert!(is_ready(&second) && !is_ready(&first));
    }

    #[test]
    fn a_folder_that_others_can_change_is_not_used() {
        let top = tempfile::tempdir().unwrap();
        let run = top.path().join("run");
        std::fs::create_dir(&run).unwrap();
        std::fs::set_permissions(&run, std::fs::Permissions::from_mode(0o770)).unwrap();
        assert!(make_folders(&run.join("sessions/id")).is_err());
        let link = top.path().join("link");
        symlink(top.path(), &link).unwrap();
        assert!(make_folders(&link.join("sessions/id")).is_err());
        assert!(!run.join("sessions").exists() && !top.path().join("sessions").exists());
    }
}
