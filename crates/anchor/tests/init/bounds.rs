//! Many tasks, keepers that come and go, and packets that make no sense.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{PipeReader, PipeWriter, Read as _, Seek as _};
use std::os::fd::{AsFd as _, BorrowedFd};

use sessile_anchor::control::{
    BLOCK_MAGIC, Command, Control, ControlError, ControlEvent, Kind, MAX_BLOCK, Stdio,
};
use sessile_anchor::fds::{NO_WAIT, recv_with_fds, send_with_fds};

use crate::support::{Init, PLAIN, Plan, folder, lease, memory_file, read_until, wait_readable};

fn packet(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

/// Sends a packet as is and returns the numbers of the next one that comes.
fn ask(init: &Init, words: &[u32], fds: &[BorrowedFd<'_>]) -> Vec<u32> {
    send_with_fds(init.socket().as_fd(), &packet(words), fds).unwrap();
    next(init)
}

/// The numbers of the next packet that comes.
fn next(init: &Init) -> Vec<u32> {
    while !wait_readable(init.socket()) {}
    let mut bytes = [0; 64];
    let (length, _) = recv_with_fds(init.socket().as_fd(), &mut bytes, NO_WAIT).unwrap();
    bytes[..length].chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
}

fn block(strings: &[&str], argc: u32, envc: u32) -> File {
    let strings: Vec<u8> = strings.iter().flat_map(|s| s.bytes().chain([0])).collect();
    let mut bytes = BLOCK_MAGIC.to_vec();
    bytes.extend(packet(&[strings.len() as u32, argc, envc]));
    bytes.extend(strings);
    memory_file(&bytes)
}

fn content(file: &mut File) -> Vec<u8> {
    let mut bytes = Vec::new();
    file.rewind().unwrap();
    file.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn a_block_is_overwritten_whatever_comes_of_it() {
    let init = Init::ready();
    let null = File::open("/dev/null").unwrap();
    let (done, started, not_started) = (Kind::Done as u32, Kind::Started as u32, Kind::NotStarted as u32);
    let sleep = ["/", "/bin/sleep", "30", "SECRET=canary"];
    let refused = |errno: i32| vec![done, 5, errno as u32];
    // Descriptors besides the block, a block and what is answered.
    let cases = [
        (1, 3, block(&sleep, 2, 1), None, started),
        // The number is taken.
        (1, 3, block(&sleep, 2, 1), Some(refused(libc::EEXIST)), done),
        (2, 3, block(&["/", "/no/such", "S=canary"], 1, 1), None, not_started),
        // Descriptors are missing, or too many.
        (3, 0, block(&sleep, 2, 1), Some(refused(libc::EBADF)), done),
        (3, 4, block(&sleep, 2, 1), Some(refused(libc::EBADF)), done),
        (3, 13, block(&sleep, 2, 1), Some(refused(libc::EMSGSIZE)), done),
        // The numbers do not add up.
        (3, 3, block(&sleep, 3, 1), Some(refused(libc::EINVAL)), done),
        (3, 3, block(&sleep, 1, 1), Some(refused(libc::EINVAL)), done),
        (3, 3, block(&sleep, 0, 3), Some(refused(libc::EINVAL)), done),
        (3, 3, block(&sleep, u32::MAX, u32::MAX), Some(refused(libc::EINVAL)), done),
    ];
    for (place, (task, others, mut file, answer, kind)) in cases.into_iter().enumerate() {
        let mut fds = vec![null.as_fd(); others + 1];
        let copy = file.try_clone().unwrap();
        fds[0] = copy.as_fd();
        let said = ask(&init, &[Kind::Start as u32, 5, task, 0], &fds);
        assert_eq!(&said[..2], [kind, 5], "case {place}: {said:?}");
        if let Some(answer) = answer {
            assert_eq!(said, answer, "case {place}");
        }
        // A packet that was cut is not looked at: its sender overwrites the block.
        let overwritten = content(&mut file).iter().all(|&byte| byte == 0);
        assert!(overwritten || others == 13, "case {place} is not overwritten");
    }
    // Other files are left alone.
    for bytes in [&b"NOTABLOCK and more than a header"[..], b"SESSCMD1", b""] {
        let mut file = memory_file(bytes);
        let copy = file.try_clone().unwrap();
        let fds = [copy.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
        assert_eq!(ask(&init, &[Kind::Start as u32, 5, 9, 0], &fds), refused(libc::EINVAL));
        assert_eq!(content(&mut file), bytes);
    }
    let mut huge = block(&sleep, 2, 1);
    huge.set_len(MAX_BLOCK as u64 + 1).unwrap();
    let fds = [huge.as_fd(), null.as_fd(), null.as_fd(), null.as_fd()];
    assert_eq!(ask(&init, &[Kind::Start as u32, 5, 9, 0], &fds), refused(libc::EINVAL));
    assert!(!content(&mut huge).is_empty());
    let said = ask(&init, &[Kind::Signal as u32, 6, 1, 9, 0], &[]);
    assert_eq!(said, [done, 6, 0]);
}

#[test]
fn packets_that_make_no_sense_are_answered_and_harm_nothing() {
    let mut init = Init::ready();
    // Too short for a sequence, unknown, meant for the other direction, incomplete.
    for (words, errno) in [
        (&[Kind::List as u32][..], libc::EBADMSG),
        (&[99, 5], libc::ENOSYS),
        (&[Kind::Ready as u32, 5, 1, 1], libc::ENOSYS),
        (&[Kind::Signal as u32, 5, 1, 9], libc::EINVAL),
        (&[Kind::Signal as u32, 5, 1, 9, 2], libc::EINVAL),
        (&[Kind::SignalAll as u32, 5], libc::EINVAL),
        (&[Kind::Start as u32, 5, 1], libc::EINVAL),
        (&[Kind::Start as u32, 5, 1, 2], libc::EINVAL),
        (&[Kind::List as u32, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], libc::EMSGSIZE),
    ] {
        let sequence = words.get(1).copied().unwrap_or(0);
        assert_eq!(ask(&init, words, &[]), [Kind::Done as u32, sequence, errno as u32], "{words:?}");
    }
    let seed = std::process::id().into();
    eprintln!("seed {seed}");
    let mut state: u64 = seed;
    let mut random = move |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % below
    };
    let null = File::open("/dev/null").unwrap();
    let valid = block(&["/", "/bin/true", "A=b"], 1, 1);
    for _ in 0..5_000 {
        let mut bytes: Vec<u8> = (0..random(100)).map(|_| random(256) as u8).collect();
        let words = [random(16) as u32, 5, random(4) as u32, random(66) as u32, random(3) as u32];
        // Gathering evidence takes its time and is not what this is about.
        if random(4) > 0 && words[0] != Kind::Probe as u32 {
            let meaning = packet(&words);
            let length = bytes.len().min(meaning.len());
            bytes[..length].copy_from_slice(&meaning[..length]);
        }
        let mut fds = vec![null.as_fd(); random(6) as usize];
        if random(2) == 0 && !fds.is_empty() {
            fds[0] = valid.as_fd();
        }
        send_with_fds(init.socket().as_fd(), &bytes, &fds).unwrap();
        let mut answer = [0; 1024];
        while recv_with_fds(init.socket().as_fd(), &mut answer, NO_WAIT).is_ok_and(|(n, _)| n > 0) {}
    }
    // It may be behind; when it answers the last packet, it has dealt with all of them.
    let last = [99, 0x1a57];
    let mut said = ask(&init, &last, &[]);
    while said.get(1) != Some(&last[1]) {
        said = next(&init);
    }
    assert_eq!(init.child.try_wait().unwrap(), None);
    // Old ends may still be told.
    let output = init.run(1_000, &["/bin/echo", "alive"], &[], "/").unwrap().drain().0;
    assert_eq!(output, "alive\n");
    let open = fs::read_dir(format!("/proc/{}/fd", init.child.id()));
    if let Ok(open) = open {
        assert_eq!(open.count(), 4, "descriptors are left open");
    }
}

#[test]
fn a_keeper_that_takes_over_finds_every_task() {
    let mut init = Init::ready();
    let first = init.script(1, "exit 4");
    assert_eq!(init.exit_of(1), 4 << 8);
    let second = init.script(2, "read line");
    // Its predecessor died with this end unread and these answers outstanding.
    let third = init.script(3, "exit 5");
    third.drain();
    for words in [&[Kind::Signal as u32, 5, 2, 0, 0][..], &[Kind::List as u32, 6], &[99, 7]] {
        send_with_fds(init.socket().as_fd(), &packet(words), &[]).unwrap();
    }
    init.control = Some(Control::from_fd(init.socket().try_clone().unwrap()));
    let tasks = init.control().list().unwrap();
    let states: Vec<_> = tasks.iter().map(|t| (t.task, t.status)).collect();
    assert_eq!(&states[..2], [(1, Some(4 << 8)), (2, None)]);
    assert_eq!(tasks[0].pid, first.pid);
    // Told now or listed, but not lost.
    if states[2].1.is_none() {
        assert_eq!(init.exit_of(3), 5 << 8);
    } else {
        assert_eq!(states[2], (3, Some(5 << 8)));
        if init.control().has_queued() {
            assert_eq!(init.exit_of(3), 5 << 8);
        }
    }
    second.drain();
    assert_eq!(init.exit_of(2), 1 << 8);
    assert!(init.control().try_event().unwrap().is_none());
}

#[test]
fn many_short_tasks_run_in_a_row() {
    let mut init = Init::ready();
    for task in 1..=300 {
        init.run(task, &["/bin/true"], &[], "/").unwrap().drain();
        assert_eq!(init.exit_of(task), 0);
    }
    let tasks = init.control().list().unwrap();
    let numbers: BTreeSet<u32> = tasks.iter().map(|t| t.task).collect();
    assert_eq!(numbers, (300 - 256 + 1..=300).collect());
}

/// The next tasks of which the successful end is told.
fn ends(init: &mut Init, count: usize) -> BTreeSet<u32> {
    let mut ended = BTreeSet::new();
    while ended.len() < count {
        let event = init.event();
        let ControlEvent::Exited { task, status: 0 } = event else { panic!("{event:?}") };
        assert!(ended.insert(task), "{task} is told twice");
    }
    ended
}

/// Has tasks that read one pipe and write another end while init cannot look, so that one signal
/// stands for all of them.
fn end_at_once(init: &mut Init, stdin: PipeWriter, ended: PipeReader) {
    // A further answer: init has let go of the pipes.
    init.control().list().unwrap();
    let pid = init.child.id() as i32;
    // SAFETY: numbers; the process is this test's child.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGSTOP) }, 0);
    drop(stdin);
    read_until(ended, |_| false);
    // SAFETY: as above.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGCONT) }, 0);
}

#[test]
fn ends_that_come_at_once_are_all_told() {
    let mut init = Init::ready();
    let (input, stdin) = std::io::pipe().unwrap();
    let (ended, output) = std::io::pipe().unwrap();
    let argv = ["/bin/cat".to_owned()];
    let command = Command { argv: &argv, env: &[], cwd: "/" };
    let pipes = Stdio::Pipes([input.as_fd(), output.as_fd(), output.as_fd()]);
    for task in 1..=150 {
        init.control().start(task, &command, pipes).unwrap();
    }
    drop((input, output));
    end_at_once(&mut init, stdin, ended);
    assert_eq!(ends(&mut init, 150), (1..=150).collect());
}

#[test]
fn a_full_table_refuses_and_no_end_is_lost() {
    // So small that most ends find it full.
    let mut init = Init::ready_as(Plan { send_buffer: Some(4096), ..PLAIN });
    let (input, stdin) = std::io::pipe().unwrap();
    let (ended, output) = std::io::pipe().unwrap();
    let argv = ["/bin/cat".to_owned()];
    let command = Command { argv: &argv, env: &[], cwd: "/" };
    let pipes = Stdio::Pipes([input.as_fd(), output.as_fd(), output.as_fd()]);
    for task in 1..=256 {
        init.control().start(task, &command, pipes).unwrap();
    }
    let refused = init.control().start(257, &command, pipes);
    assert!(matches!(refused, Err(ControlError::Refused { errno: libc::EAGAIN })), "{refused:?}");
    drop((input, output));
    end_at_once(&mut init, stdin, ended);
    assert_eq!(ends(&mut init, 256), (1..=256).collect());
    // A question among ends that wait finds its answer, and they are kept.
    let (input, stdin) = std::io::pipe().unwrap();
    let null = File::options().write(true).open("/dev/null").unwrap();
    for task in 301..=340 {
        let pipes = [input.as_fd(), null.as_fd(), null.as_fd()];
        init.control().start(task, &command, Stdio::Pipes(pipes)).unwrap();
    }
    drop((stdin, input));
    for task in 341..=345 {
        init.run(task, &["/bin/true"], &[], "/").unwrap().drain();
    }
    assert_eq!(init.control().list().unwrap().len(), 256);
    assert_eq!(ends(&mut init, 45), (301..=345).collect());
}

#[test]
fn an_execution_that_hangs_is_given_up() {
    let folder = folder();
    let path = folder.path().join("leased");
    fs::copy("/bin/true", &path).unwrap();
    let Some(_lease) = lease(&path) else {
        eprintln!("skipped: no lease on this file system");
        return;
    };
    let mut init = Init::ready();
    let outcome = init.run(1, &[path.to_str().unwrap()], &[], "/");
    assert_eq!(outcome.err(), Some(libc::ETIMEDOUT));
    init.run(1, &["/bin/true"], &[], "/").unwrap().drain();
    assert_eq!(init.exit_of(1), 0);
}

#[test]
fn it_ends_when_nobody_holds_the_other_end() {
    let mut init = Init::ready();
    // Not as long as the anchor holds it.
    init.control = None;
    init.control = Some(Control::from_fd(init.socket().try_clone().unwrap()));
    assert!(init.control().list().unwrap().is_empty());
    // Unread packets do not matter, nor does an empty one, which is not the end.
    send_with_fds(init.socket().as_fd(), b"", &[]).unwrap();
    assert!(init.control().list().unwrap().is_empty());
    send_with_fds(init.socket().as_fd(), &packet(&[Kind::List as u32, 5]), &[]).unwrap();
    assert_eq!(init.close().code(), Some(0));
}

#[test]
fn a_gone_init_is_told() {
    let mut init = Init::ready();
    init.child.kill().unwrap();
    assert_eq!(init.event(), ControlEvent::Gone);
    let gone = init.control().list();
    assert!(matches!(gone, Err(ControlError::Gone)), "{gone:?}");
}
