//! The anchor: holds descriptors, pumps output, is the parent of apps and keeper.
//!
//! One thread, one `poll`, tables of fixed size. It uses no heap, and what it is sent can make it
//! refuse but not end: a keeper's death leaves it pumping and holding, and only Quit, Kill or
//! SIGKILL end it. While no keeper lives it sees to its own socket, by which the next one is asked
//! for. It ends by itself when that socket is removed and it holds nothing, as after a wipe, or
//! cannot bind another.

mod children;
mod held;
mod operations;
mod peer;
mod place;
mod pumps;
mod store;

use std::ffi::c_char;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd, RawFd};
use std::ptr::null_mut;

use crate::protocol::{MAX_PUMPS, Name};
use crate::{inherit, sys};
use children::Children;
use held::Held;
use operations::After;
use peer::{Packet, Peer};
use place::Place;
use pumps::Pumps;
use store::Store;

/// Descriptors by number, as ARCHITECTURE.md has them.
const LISTENER: RawFd = 3;
const KEEPER_LISTENER: RawFd = 4;
const IMAGE: RawFd = 5;
const KEEPER_IMAGE: RawFd = 6;
/// May be absent.
const GATEWAY_IMAGE: RawFd = 7;
/// May be absent.
const GUARD_IMAGE: RawFd = 8;
/// The names under which the keeper finds the images that it starts.
const GATEWAY_NAME: &str = "gateway/image";
const GUARD_NAME: &str = "guard/image";

/// Most supervisors served at once; a further one takes the place of the one served longest.
const SUPERVISORS: usize = 4;
/// Most packets taken from one socket before others get their turn.
const PACKETS_PER_TURN: usize = 64;
/// How long to rest when the system is out of memory or descriptors, in milliseconds.
const REST_MS: i32 = 100;
/// How often the socket is looked at while no keeper lives, in milliseconds.
const LOOK_MS: i32 = 1_000;

/// Places in the poll set; pumps follow behind.
const AT_SIGNALS: usize = 0;
const AT_LINK: usize = 1;
const AT_LISTENER: usize = 2;
const AT_SUPERVISORS: usize = 3;
const AT_PUMPS: usize = AT_SUPERVISORS + SUPERVISORS;

struct Anchor {
    signals: Held,
    listener: Held,
    place: Place,
    link: Peer,
    supervisors: [Peer; SUPERVISORS],
    /// Where the next supervisor goes.
    next_supervisor: usize,
    /// The listener cannot accept now and is left out for one turn.
    rest: bool,
    children: Children,
    store: Store,
    pumps: Pumps,
}

/// All zeros until used, so that its tables take no memory until used.
static mut ANCHOR: Anchor = Anchor {
    signals: Held::NONE,
    listener: Held::NONE,
    place: Place::UNKNOWN,
    link: Peer::NONE,
    supervisors: [const { Peer::NONE }; SUPERVISORS],
    next_supervisor: 0,
    rest: false,
    children: Children::NONE,
    store: Store::EMPTY,
    pumps: Pumps::EMPTY,
};

/// Runs the anchor. `arguments` are session id, runtime folder and state folder.
///
/// # Safety
/// To be called once, by `main`, before any other thread exists. `arguments` are C strings and
/// `environment` a list of C strings with NULL at its end, all living as long as the process.
pub unsafe fn run(arguments: [*const c_char; 3], environment: *const *const c_char) -> ! {
    // SAFETY: the caller promises that this runs once and alone, so this is the only reference.
    #[expect(clippy::deref_addrof, reason = "a reference to a `static mut` is not made by name")]
    let anchor = unsafe { &mut *(&raw mut ANCHOR) };
    if anchor.start(arguments, environment).is_err() {
        exit(1);
    }
    loop {
        anchor.turn();
    }
}

fn exit(code: i32) -> ! {
    // SAFETY: ends the process; there is nothing to flush.
    unsafe { libc::_exit(code) }
}

impl Anchor {
    fn start(&mut self, arguments: [*const c_char; 3], environment: *const *const c_char) -> io::Result<()> {
        // SAFETY: numbers and literals only. The calls give this process a session, a folder and a
        // name of its own, close what it was not meant to inherit, and fill 0 to 2, so that no
        // descriptor it receives can land there.
        unsafe {
            libc::setsid();
            libc::chdir(c"/".as_ptr());
            libc::prctl(libc::PR_SET_NAME, c"sessile-anchor".as_ptr());
            libc::prctl(libc::PR_SET_DUMPABLE, 0);
            libc::syscall(libc::SYS_close_range, GUARD_IMAGE + 1, u32::MAX, 0);
            loop {
                let fd = sys::check(libc::open(c"/dev/null".as_ptr(), libc::O_RDWR))?;
                if fd > 2 {
                    libc::close(fd);
                    break;
                }
            }
        }
        // Before anything else is opened, which could land where nothing was handed down.
        let gateway = inherit::take(GATEWAY_IMAGE);
        let guard = inherit::take(GUARD_IMAGE);
        let listener = inherit::take(LISTENER)?;
        sys::set_nonblocking(listener.as_fd())?;
        self.listener.set(listener);
        self.place.note(&self.listener);
        self.signals.set(children::watch()?);
        self.children.start(
            [inherit::take(KEEPER_LISTENER)?, inherit::take(IMAGE)?, inherit::take(KEEPER_IMAGE)?],
            arguments,
            environment,
        )?;
        for (image, name) in [(gateway, GATEWAY_NAME), (guard, GUARD_NAME)] {
            if let (Ok(image), Some(name)) = (image, Name::new(name)) {
                self.store.put(&name, image);
            }
        }
        // Without a keeper the anchor is still of use: the daemon can have another one started.
        if let Ok(link) = self.children.spawn_keeper() {
            self.link.set(link);
        }
        Ok(())
    }

    fn turn(&mut self) {
        let mut set = [libc::pollfd { fd: -1, events: libc::POLLIN, revents: 0 }; AT_PUMPS + MAX_PUMPS];
        set[AT_SIGNALS].fd = self.signals.number();
        set[AT_LINK] = self.link.wanted();
        set[AT_LISTENER].fd = if self.rest { -1 } else { self.listener.number() };
        for (place, supervisor) in set[AT_SUPERVISORS..AT_PUMPS].iter_mut().zip(&self.supervisors) {
            *place = supervisor.wanted();
        }
        let look = if self.children.keeper() == 0 {
            self.pumps.inherit();
            LOOK_MS
        } else {
            self.pumps.look()
        };
        let pumps = self.pumps.arm(&mut set[AT_PUMPS..]);
        let timeout = if std::mem::take(&mut self.rest) { REST_MS } else { look };
        // SAFETY: so many entries are initialised, and the array outlives the call.
        let ready = unsafe { libc::poll(set.as_mut_ptr(), (AT_PUMPS + pumps) as libc::nfds_t, timeout) };
        if ready < 0 {
            if sys::errno() != libc::EINTR {
                // SAFETY: polls nothing: rests, so that a lack of memory does not make it spin.
                unsafe { libc::poll(null_mut(), 0, REST_MS) };
            }
            return;
        }
        // Pumps first: what follows may change their places.
        for (i, place) in set[AT_PUMPS..].iter().enumerate().take(pumps) {
            if place.revents != 0 {
                self.pumps.turn(i);
            }
        }
        if set[AT_SIGNALS].revents != 0 {
            self.children.reap(&self.signals);
        }
        if set[AT_LINK].revents != 0 {
            self.serve_link();
        }
        for i in 0..SUPERVISORS {
            if set[AT_SUPERVISORS + i].revents != 0 {
                self.serve_supervisor(i);
            }
        }
        if set[AT_LISTENER].revents != 0 {
            self.accept();
        }
        if self.children.keeper() == 0 && !self.is_of_use() {
            self.children.kill(&self.signals);
            exit(0);
        }
    }

    /// Whether another keeper can be asked for, by a socket that is bound again where it must be. A
    /// keeper that is done leaves neither a socket nor anything to hold.
    fn is_of_use(&mut self) -> bool {
        (self.store.len() > 0 || !self.place.is_gone()) && self.place.insist(&mut self.listener)
    }

    /// Answers what the keeper asks; closes the link when the keeper has.
    fn serve_link(&mut self) {
        for _ in 0..PACKETS_PER_TURN {
            let Some(packet) = self.link.receive() else { return };
            let (request, fd) = match packet {
                Packet::Closed => return self.link.clear(),
                Packet::Malformed(request) => {
                    self.link.refuse(&request);
                    continue;
                }
                Packet::Request(request, fd) => (request, fd),
            };
            let (reply, entry) = self.for_keeper(&request, fd);
            let fd = entry.map_or(&Held::NONE, |i| self.store.fd(i));
            self.link.answer(&reply, fd);
            if operations::is_quit(&reply) {
                // Its last child first, so that no other process has to let it go.
                self.children.wait_for_keeper(&self.signals);
                exit(0);
            }
        }
    }

    fn serve_supervisor(&mut self, i: usize) {
        for _ in 0..PACKETS_PER_TURN {
            let Some(packet) = self.supervisors[i].receive() else { return };
            let (request, fd) = match packet {
                Packet::Closed => return self.supervisors[i].clear(),
                Packet::Malformed(request) => {
                    self.supervisors[i].refuse(&request);
                    continue;
                }
                Packet::Request(request, fd) => (request, fd),
            };
            let (reply, after) = self.for_supervisor(&request, fd);
            self.supervisors[i].answer(&reply, &Held::NONE);
            match after {
                After::GoOn => {}
                After::Exit => exit(0),
            }
        }
    }

    fn accept(&mut self) {
        let flags = libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: no address is asked for.
        let accepted =
            sys::owned(unsafe { libc::accept4(self.listener.number(), null_mut(), null_mut(), flags) });
        match accepted {
            Ok(socket) if is_own_user(&socket) => {
                let i = self.next_supervisor % SUPERVISORS;
                self.next_supervisor = (i + 1) % SUPERVISORS;
                let free = self.supervisors.iter().position(Peer::is_none);
                self.supervisors[free.unwrap_or(i)].set(socket);
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => self.rest = true,
        }
    }
}

fn is_own_user(socket: &OwnedFd) -> bool {
    let mut peer = libc::ucred { pid: 0, uid: u32::MAX, gid: u32::MAX };
    let mut len = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: `peer` has the length that is passed; geteuid takes nothing.
    unsafe {
        let rc = libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut peer).cast(),
            &raw mut len,
        );
        rc == 0 && peer.uid == libc::geteuid()
    }
}
