//! The anchor's program, run as in life, with a stand-in for the keeper.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod lending;
mod pattern;
mod place;
mod stage;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt};
use std::thread;
use std::time::Duration;

use sessile_anchor::fds;
use sessile_anchor::link::{LinkError, Order};
use sessile_anchor::protocol::{Code, MAX_ENTRIES, MAX_PUMPS, Operation, REPLY_LEN, Reply, Request};
use sessile_anchor::ring::Ring;
use sessile_anchor::supervisor::{self, SupervisorError};

use pattern::{byte_at, bytes_at};
use stage::{Keeper, Stage, comes, eventfd, heard, terminal, wait_for, wait_until};

fn inode(fd: &OwnedFd) -> u64 {
    File::from(fd.try_clone().unwrap()).metadata().unwrap().ino()
}

/// Whether the anchor still serves both sockets.
fn assert_alive(stage: &Stage, keeper: &Keeper) {
    assert_eq!(supervisor::status(&stage.socket).unwrap().keeper, Some(keeper.pid as u32));
    keeper.link.version().unwrap();
}

/// Puts a ring and a notify eventfd and starts a pump.
fn pump(keeper: &Keeper, id: u32, source: &OwnedFd, capacity: u64, notify: &File) -> Ring {
    let (ring, file) = Ring::create(capacity).unwrap();
    let [a, b, c] = ["source", "ring", "notify"].map(|part| format!("io/{id}/{part}"));
    keeper.link.put(&a, source).unwrap();
    keeper.link.put(&b, &file).unwrap();
    keeper.link.put(&c, notify).unwrap();
    keeper.link.pump(id, &a, &b, &c).unwrap();
    ring
}

/// Lets the anchor finish what it has begun: each answer ends one of its turns.
fn settle(stage: &Stage) {
    for _ in 0..3 {
        supervisor::status(&stage.socket).unwrap();
    }
}

/// Whether the anchor rests and says nothing while there is nothing to do.
fn assert_idle(stage: &Stage, notify: &File) {
    let ran_ns = || {
        let text = std::fs::read_to_string(format!("/proc/{}/schedstat", stage.anchor.id())).unwrap();
        text.split(' ').next().unwrap().parse::<u64>().unwrap()
    };
    settle(stage);
    heard(notify);
    let before = ran_ns();
    assert!(!comes(notify, libc::POLLIN, Duration::from_millis(200)), "a ring without news");
    let ran = ran_ns() - before;
    assert!(ran < 20_000_000, "ran for {ran} of 200,000,000 ns");
}

/// Reads what is there from `*offset` on, checks each byte and moves the offset.
fn check(ring: &Ring, offset: &mut u64) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        let got = ring.read(*offset, &mut bytes);
        if got.len == 0 {
            return;
        }
        assert_eq!(got.start, *offset, "a gap");
        for (i, byte) in bytes[..got.len].iter().enumerate() {
            assert_eq!(*byte, byte_at(*offset + i as u64), "offset {}", *offset + i as u64);
        }
        *offset += got.len as u64;
    }
}

#[test]
fn the_keeper_finds_its_place() {
    let (stage, keeper) = Stage::new();
    let folder = stage.folder().display();
    assert_eq!(keeper.report[1], format!("keeper 0198-id {folder} /state"));
    let mut variables: Vec<&str> = keeper.report[2].split(' ').collect();
    variables.retain(|v| !matches!(*v, "PATH" | "RUST_BACKTRACE"));
    variables.iter().for_each(|v| assert!(v.starts_with("SESSILE_"), "{v}"));
    assert!(variables.contains(&"SESSILE_TEST"));
    // 0 to 6, and the descriptor by which the stand-in lists them.
    let mut open: Vec<u32> = keeper.report[3].split(' ').map(|n| n.parse().unwrap()).collect();
    open.sort_unstable();
    assert_eq!(open, (0..=7).collect::<Vec<u32>>());
    for field in keeper.report[4].split_whitespace().filter(|w| !w.ends_with(':')) {
        // Rust's own start-up ignores SIGPIPE (bit 12); 32 and 33 are the C library's own.
        assert_eq!(u64::from_str_radix(field, 16).unwrap() & !0x1_8000_1000, 0, "{}", keeper.report[4]);
    }
    assert_eq!(keeper.report[5], "/");

    let info = std::fs::read_to_string(format!("/proc/self/fdinfo/{}", keeper.anchor.as_raw_fd())).unwrap();
    assert!(info.contains(&format!("Pid:\t{}\n", stage.anchor.id())), "{info}");
    assert_eq!(std::fs::read(env!("CARGO_BIN_EXE_sessile-anchor")).unwrap().len() as u64, {
        File::from(keeper.image.try_clone().unwrap()).metadata().unwrap().len()
    });
    let peer = std::os::unix::net::UnixListener::from(keeper.listener.try_clone().unwrap());
    let path = peer.local_addr().unwrap().as_pathname().unwrap().to_owned();
    assert_eq!(path, stage.folder().join("keeper.sock"));
    assert_alive(&stage, &keeper);
}

#[test]
fn the_store_keeps_what_it_is_given() {
    let (stage, keeper) = Stage::new();
    let a: OwnedFd = eventfd().into();
    let b: OwnedFd = tempfile::tempfile().unwrap().into();
    assert!(keeper.link.list().unwrap().is_empty());
    keeper.link.put("storage", &a).unwrap();
    keeper.link.put("app/main/init", &b).unwrap();
    let list = keeper.link.list().unwrap();
    assert_eq!(list.iter().map(|(n, _)| n.as_str()).collect::<Vec<_>>(), ["storage", "app/main/init"]);
    assert_eq!(inode(&list[1].1), inode(&b));

    keeper.link.put("storage", &b).unwrap();
    let list = keeper.link.list().unwrap();
    assert_eq!((list.len(), inode(&list[0].1)), (2, inode(&b)));
    keeper.link.remove("storage").unwrap();
    assert!(matches!(keeper.link.remove("storage"), Err(LinkError::Refused(Code::NotFound))));
    assert_eq!(keeper.link.list().unwrap().len(), 1);
    assert!(matches!(keeper.link.put("a b", &a), Err(LinkError::BadName(_))));
    assert!(matches!(keeper.link.put("", &a), Err(LinkError::BadName(_))));

    for i in 1..MAX_ENTRIES {
        keeper.link.put(&format!("entry/{i}"), &a).unwrap();
    }
    assert!(matches!(keeper.link.put("more", &a), Err(LinkError::Refused(Code::StoreFull))));
    keeper.link.put("entry/7", &b).unwrap();
    let pid = keeper.pid;
    assert_ne!(pid, 0);
    keeper.kill();

    let keeper = stage.next_keeper();
    let status = supervisor::status(&stage.socket).unwrap();
    assert_eq!((status.version, status.entries, status.pumps), (1, MAX_ENTRIES as u32, 0));
    assert_eq!(status.anchor, stage.anchor.id());
    let list = keeper.link.list().unwrap();
    assert_eq!(list.len(), MAX_ENTRIES);
    let seventh = list.iter().find(|(name, _)| name == "entry/7").unwrap();
    assert_eq!(inode(&seventh.1), inode(&b));
}

#[test]
fn operations_that_are_sent_together_are_all_answered() {
    let (_stage, keeper) = Stage::new();
    let (a, b): (OwnedFd, OwnedFd) = (eventfd().into(), tempfile::tempfile().unwrap().into());
    let names: Vec<String> = (0..200).map(|i| format!("entry/{i}")).collect();
    let put = |name| Order::Put { name, fd: a.as_fd() };
    let mut orders: Vec<_> = names.iter().map(|name| put(name)).collect();
    orders.push(Order::Put { name: "entry/0", fd: b.as_fd() });
    keeper.link.carry_out(&orders).unwrap();
    let list = keeper.link.list().unwrap();
    assert_eq!(list.iter().map(|(name, _)| name).collect::<Vec<_>>(), names.iter().collect::<Vec<_>>());
    assert_eq!(inode(&list[0].1), inode(&b), "they are carried out in their order");

    // One that is refused is told, and takes no other with it.
    let pump = Order::Pump { id: 1, source: "entry/1", ring: "nothing", notify: "entry/2" };
    let some = [put("before"), pump, put("behind")];
    assert!(matches!(keeper.link.carry_out(&some), Err(LinkError::Refused(Code::NotFound))));
    assert!(matches!(keeper.link.carry_out(&[put("never"), put("")]), Err(LinkError::BadName(_))));
    let list = keeper.link.list().unwrap();
    assert_eq!(list[200..].iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["before", "behind"]);
    keeper.link.version().unwrap();
}

#[test]
fn a_dropped_entry_is_closed() {
    let (_stage, keeper) = Stage::new();
    let (reader, writer) = io::pipe().unwrap();
    let writer: OwnedFd = writer.into();
    keeper.link.put("writer", &writer).unwrap();
    drop(writer);
    keeper.link.remove("writer").unwrap();
    wait_for(&reader, libc::POLLHUP);
}

#[test]
fn a_pipe_is_pumped_to_its_end() {
    let (stage, keeper) = Stage::new();
    let (source, mut writer) = io::pipe().unwrap();
    let source: OwnedFd = source.into();
    let notify = eventfd();
    let ring = pump(&keeper, 1, &source, 64 << 10, &notify);
    let mut offset = 0;
    for _ in 0..100 {
        writer.write_all(&bytes_at(offset, 3000)).unwrap();
        let end = offset + 3000;
        wait_until(&notify, "the bytes", || ring.head() == end);
        assert!(!ring.ended());
        check(&ring, &mut offset);
    }
    drop(writer);
    wait_until(&notify, "the end", || ring.ended());
    // Still at its end: no news.
    assert_idle(&stage, &notify);
    keeper.link.poke(1).unwrap();
    settle(&stage);
    assert_eq!(heard(&notify), 0);
    assert_idle(&stage, &notify);

    assert!(matches!(
        keeper.link.pump(1, "io/1/source", "io/1/ring", "io/1/notify"),
        Err(LinkError::Refused(Code::PumpExists))
    ));
    for (names, code) in [
        (["no", "io/1/ring", "io/1/notify"], Code::NotFound),
        (["io/1/source", "io/1/source", "io/1/notify"], Code::BadRing),
    ] {
        let [a, b, c] = names;
        assert!(matches!(keeper.link.pump(2, a, b, c), Err(LinkError::Refused(found)) if found == code));
    }
    keeper.link.unpump(1).unwrap();
    for refused in [keeper.link.unpump(1), keeper.link.poke(1)] {
        assert!(matches!(refused, Err(LinkError::Refused(Code::NotFound))));
    }
}

#[test]
fn pumps_have_a_limit_and_stop_apart() {
    let (stage, keeper) = Stage::new();
    let notify = eventfd();
    let mut pipes = Vec::new();
    for id in 0..MAX_PUMPS as u32 {
        let (source, writer) = io::pipe().unwrap();
        let source: OwnedFd = source.into();
        pipes.push((pump(&keeper, id, &source, 4096, &notify), writer));
    }
    let last = keeper.link.pump(999, "io/0/source", "io/0/ring", "io/0/notify");
    assert!(matches!(last, Err(LinkError::Refused(Code::PumpsFull))));
    // The last place moves to the stopped one's.
    keeper.link.unpump(3).unwrap();
    assert_eq!(supervisor::status(&stage.socket).unwrap().pumps, MAX_PUMPS as u32 - 1);
    for (id, (ring, writer)) in pipes.iter_mut().enumerate().rev() {
        writer.write_all(&bytes_at(0, 10)).unwrap();
        if id != 3 {
            wait_until(&notify, "the bytes", || ring.head() == 10);
        }
    }
    assert_eq!(pipes[3].0.head(), 0);
    // Nobody else holds the stopped one's source.
    keeper.link.remove("io/3/source").unwrap();
    wait_for(&pipes[3].1, libc::POLLERR);
}

#[test]
fn the_floor_holds_the_source_back() {
    let (stage, keeper) = Stage::new();
    let (source, mut writer) = io::pipe().unwrap();
    let source: OwnedFd = source.into();
    let notify = eventfd();
    let ring = pump(&keeper, 1, &source, 16 << 10, &notify);
    assert!(!ring.set_floor(Some(0)));
    let total = 300 << 10;
    let feeding = thread::spawn(move || writer.write_all(&bytes_at(0, total)).map(|()| writer));
    let mut offset = 0;
    let mut stops = 0;
    while offset < total as u64 {
        let limit = (offset + (16 << 10)).min(total as u64);
        wait_until(&notify, "a full ring", || ring.head() == limit);
        assert_eq!(ring.is_full(), limit == offset + (16 << 10));
        assert!(ring.oldest() <= offset);
        if offset == 0 {
            assert_idle(&stage, &notify);
        }
        check(&ring, &mut offset);
        // The pump stops a moment after the head has arrived; a poke then finds it willing.
        if ring.set_floor(Some(offset)) {
            stops += 1;
        }
        keeper.link.poke(1).unwrap();
    }
    assert!(stops > 0, "the floor never stopped the pump");
    drop(feeding.join().unwrap().unwrap());
    wait_until(&notify, "the end", || ring.ended());
}

#[test]
fn a_terminal_flows_again_when_it_is_opened_again() {
    let (_stage, keeper) = Stage::new();
    let (master, slave) = terminal();
    let path = format!("/proc/self/fd/{}", slave.as_raw_fd());
    let path = std::fs::read_link(path).unwrap();
    let notify = eventfd();
    let ring = pump(&keeper, 1, &master, 64 << 10, &notify);
    File::from(slave).write_all(&bytes_at(0, 100)).unwrap();
    wait_until(&notify, "the end", || ring.ended());
    assert_eq!(ring.head(), 100);

    let mut slave = File::options().read(true).write(true).custom_flags_noctty().open(&path).unwrap();
    slave.write_all(&bytes_at(100, 50)).unwrap();
    keeper.link.poke(1).unwrap();
    wait_until(&notify, "the bytes", || ring.head() == 150);
    assert!(!ring.ended());
    check(&ring, &mut 0);
}

trait NoControllingTerminal {
    fn custom_flags_noctty(&mut self) -> &mut Self;
}

impl NoControllingTerminal for std::fs::OpenOptions {
    fn custom_flags_noctty(&mut self) -> &mut Self {
        std::os::unix::fs::OpenOptionsExt::custom_flags(self, libc::O_NOCTTY)
    }
}

#[test]
fn a_successor_gets_every_byte_of_a_flood() {
    const TOTAL: u64 = 6 << 20;
    let (stage, mut keeper) = Stage::new();
    let (master, slave) = terminal();
    let (source, writer) = io::pipe().unwrap();
    let source: OwnedFd = source.into();
    let notify = eventfd();
    let mut rings =
        [pump(&keeper, 1, &master, 64 << 10, &notify), pump(&keeper, 2, &source, 64 << 10, &notify)];
    for ring in &rings {
        ring.set_floor(Some(0));
    }
    let flood = |mut to: File| {
        thread::spawn(move || {
            let mut offset = 0;
            while offset < TOTAL {
                let len = ((TOTAL - offset) as usize).min(10_007);
                to.write_all(&bytes_at(offset, len)).unwrap();
                offset += len as u64;
            }
            to
        })
    };
    let writers = [flood(slave.into()), flood(OwnedFd::from(writer).into())];
    let mut offsets = [0u64; 2];
    let mut deaths = 0;
    wait_until(&notify, "the flood", || {
        for (i, ring) in rings.iter().enumerate() {
            check(ring, &mut offsets[i]);
            if ring.set_floor(Some(offsets[i])) {
                keeper.link.poke(i as u32 + 1).unwrap();
            }
        }
        if offsets[0] / (1 << 20) > deaths {
            deaths += 1;
            // All that the keeper knew dies with it, but for how far it had read.
            // SAFETY: the pid is the anchor's child, which lives.
            unsafe { libc::kill(keeper.pid, libc::SIGKILL) };
            while let Err(error) = supervisor::spawn_keeper(&stage.socket, stage.keeper_image.as_fd()) {
                assert!(matches!(error, SupervisorError::KeeperLives), "{error}");
                thread::yield_now();
            }
            keeper = stage.keeper();
            let store = keeper.link.list().unwrap();
            rings = ["io/1/ring", "io/2/ring"].map(|name| {
                let (_, fd) = store.iter().find(|(n, _)| n == name).unwrap();
                Ring::open(fd.as_fd()).unwrap()
            });
            for id in [1, 2] {
                keeper.link.poke(id).unwrap();
            }
        }
        offsets == [TOTAL; 2]
    });
    assert!(deaths >= 5, "{deaths}");
    assert!(rings.iter().all(|ring| ring.head() == TOTAL));
    for writer in writers {
        drop(writer.join().unwrap());
    }
    wait_until(&notify, "both ends", || rings.iter().all(Ring::ended));
}

#[test]
fn only_a_dead_keeper_is_replaced() {
    let (stage, keeper) = Stage::new();
    let refused = supervisor::spawn_keeper(&stage.socket, stage.keeper_image.as_fd());
    assert!(matches!(refused, Err(SupervisorError::KeeperLives)));
    assert_alive(&stage, &keeper);
    keeper.kill();
    assert_eq!(supervisor::status(&stage.socket).unwrap().keeper, None);
    // An image that cannot be executed makes a keeper that dies at once, and nothing else.
    let text: OwnedFd = tempfile::tempfile().unwrap().into();
    supervisor::spawn_keeper(&stage.socket, text.as_fd()).unwrap();
    while supervisor::status(&stage.socket).unwrap().keeper.is_some() {
        thread::yield_now();
    }
    let keeper = stage.next_keeper();
    assert_alive(&stage, &keeper);
}

#[test]
fn kill_takes_every_child_along() {
    let (mut stage, mut keeper) = Stage::new();
    let ends = [keeper.sibling(), keeper.sibling(), keeper.sibling()];
    let killed = supervisor::kill(&stage.socket).unwrap();
    assert_eq!((killed.gone, killed.remaining), (4, 0));
    ends.iter().for_each(|end| wait_for(end, libc::POLLIN));
    assert!(stage.anchor.wait().unwrap().success());
    assert!(matches!(supervisor::status(&stage.socket), Err(SupervisorError::Gone)));
    assert!(matches!(keeper.link.version(), Err(LinkError::Gone)));
    std::fs::remove_file(&stage.socket).unwrap();
    assert!(matches!(supervisor::status(&stage.socket), Err(SupervisorError::Gone)));
}

#[test]
fn quit_ends_it_after_the_answer() {
    let (mut stage, keeper) = Stage::new();
    keeper.link.quit().unwrap();
    assert!(stage.anchor.wait().unwrap().success());
    wait_for(&keeper.anchor, libc::POLLIN);
}

#[test]
fn signals_do_not_end_it() {
    let (stage, keeper) = Stage::new();
    let end = [libc::SIGKILL, libc::SIGSTOP, libc::SIGCONT];
    let fatal =
        [libc::SIGSEGV, libc::SIGBUS, libc::SIGILL, libc::SIGFPE, libc::SIGTRAP, libc::SIGSYS, libc::SIGABRT];
    for signal in (1..=64).filter(|s| !end.contains(s) && !fatal.contains(s) && !(32..34).contains(s)) {
        // SAFETY: the pid is our child, which lives.
        unsafe { libc::kill(stage.anchor.id() as i32, signal) };
    }
    assert_alive(&stage, &keeper);
}

#[test]
fn nothing_it_is_sent_ends_it() {
    let (stage, keeper) = Stage::new();
    let null: OwnedFd = File::open("/dev/null").unwrap().into();
    let mut seed = 0x5eed_u64;
    let mut random = move || {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed
    };
    let ask = |socket: &OwnedFd, bytes: &[u8], handed: usize| {
        let handed = vec![null.as_fd(); handed];
        fds::send_with_fds(socket.as_fd(), bytes, &handed).unwrap();
        let mut reply = [0; 2 * REPLY_LEN];
        let (len, _) = fds::recv_with_fds(socket.as_fd(), &mut reply, 0).unwrap();
        assert_eq!(len, REPLY_LEN);
        Reply::decode(&reply).unwrap()
    };
    let socket = stage.connect();
    let link = keeper.link.as_fd().try_clone_to_owned().unwrap();
    for socket in [&socket, &link] {
        let mut request = Request::new(Operation::Hello, 7);
        assert_eq!(ask(socket, &request.encode(), 0).code, Code::Done as u32);
        assert_eq!(ask(socket, &request.encode(), 1).code, Code::Malformed as u32);
        assert_eq!(ask(socket, &request.encode(), 253).code, Code::Malformed as u32);
        assert_eq!(ask(socket, &request.encode()[..207], 0).code, Code::Malformed as u32);
        assert_eq!(ask(socket, &[0xff; 4096], 2).code, Code::Malformed as u32);
        assert_eq!(ask(socket, b"", 0).code, Code::Malformed as u32);
        request.version = 2;
        let reply = ask(socket, &request.encode(), 0);
        assert_eq!((reply.version, reply.code), (1, Code::UnsupportedVersion as u32));
        request.version = 1;
        request.operation = 4711;
        let reply = ask(socket, &request.encode(), 0);
        assert_eq!((reply.operation, reply.sequence), (4711, 7));
        assert_eq!(reply.code, Code::UnknownOperation as u32);
    }
    for (socket, other) in [(&socket, Operation::Quit), (&link, Operation::Kill)] {
        let reply = ask(socket, &Request::new(other, 1).encode(), 0);
        assert_eq!(reply.code, Code::UnknownOperation as u32);
    }
    for round in 0..4000 {
        let socket = if round % 2 == 0 { &socket } else { &link };
        let len = if round % 3 == 0 { (random() % 300) as usize } else { 208 };
        let mut bytes: Vec<u8> = (0..len).map(|_| random() as u8).collect();
        if len == 208 {
            // Well-formed but for its content; everything but the operations that are to end it.
            let operations = [1, 16, 17, 18, 19, 20, 21, 32, 33, 35];
            bytes[..4].copy_from_slice(&[1, 0, operations[(random() % 10) as usize], 0]);
        }
        ask(socket, &bytes, (random() % 3) as usize);
    }
    assert_alive(&stage, &keeper);

    // Nobody reads the answers for a while: that one is left alone, and loses none of them.
    let bytes = Request::new(Operation::Hello, 1).encode();
    for socket in [&socket, &link] {
        // SAFETY: sets a flag of our own socket.
        unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
        let mut sent = 0;
        loop {
            match fds::send_with_fds(socket.as_fd(), &bytes, &[]) {
                Ok(()) => sent += 1,
                Err(error) => break assert_eq!(error.kind(), io::ErrorKind::WouldBlock),
            }
            // So that it stops for answers unread, not for requests that have not been read yet.
            if sent % 64 == 0 {
                supervisor::status(&stage.socket).unwrap();
            }
        }
        for _ in 0..sent {
            wait_for(socket, libc::POLLIN);
            let (len, _) = fds::recv_with_fds(socket.as_fd(), &mut [0; 96], 0).unwrap();
            assert_eq!(len, REPLY_LEN);
        }
    }
    assert_alive(&stage, &keeper);
    // Many connect and say nothing.
    let silent: Vec<OwnedFd> = (0..12).map(|_| stage.connect()).collect();
    assert_alive(&stage, &keeper);
    drop(silent);
    assert_alive(&stage, &keeper);
}

#[test]
fn another_user_is_not_served() {
    let (stage, keeper) = Stage::new();
    // SAFETY: takes nothing.
    if unsafe { libc::geteuid() } != 0 {
        eprintln!("skipped: only root can become another user");
        return;
    }
    let open = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap()
    };
    for folder in stage.socket.ancestors().skip(1).take_while(|folder| folder.starts_with(stage.folder())) {
        open(folder, 0o755);
    }
    open(&stage.socket, 0o777);
    let socket = stage.socket.clone();
    let asked = thread::spawn(move || {
        // SAFETY: the raw call changes this thread alone, which then ends.
        let rc = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(rc, 0);
        supervisor::kill(&socket)
    });
    assert!(matches!(asked.join().unwrap(), Err(SupervisorError::Gone)));
    assert_alive(&stage, &keeper);
}

#[test]
fn a_long_path_is_reached() {
    let (stage, keeper) = Stage::new();
    let long = stage.folder().join("x".repeat(120));
    std::fs::create_dir(&long).unwrap();
    std::fs::rename(&stage.socket, long.join("anchor.sock")).unwrap();
    let status = supervisor::status(&long.join("anchor.sock")).unwrap();
    assert_eq!(status.keeper, Some(keeper.pid as u32));
}

#[test]
fn an_idle_anchor_is_small() {
    let (stage, keeper) = Stage::new();
    keeper.link.version().unwrap();
    let rollup = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", stage.anchor.id()));
    let Ok(rollup) = rollup else {
        eprintln!("skipped: an undumpable process is read by root alone");
        return;
    };
    for line in rollup.lines().filter(|l| ["Rss:", "Pss:", "Private"].iter().any(|w| l.starts_with(w))) {
        println!("{line}");
    }
    assert_alive(&stage, &keeper);
}
