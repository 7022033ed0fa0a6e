//! A keeper or daemon that is stopped: it answers nobody, and nobody waits for it for ever.

use rustix::process::Signal;

use crate::support::emulator::seen_resized;
use crate::support::processes::{self, Process, is_stopped, part};
use crate::support::{Terminal, World};

/// Has the daemon lose patience soon.
const ORDERS: &str = "silence=2000";

fn stopped_keeper(world: &World, id: &str) -> Process {
    let keeper = Process::of(part(world, "keeper", id).unwrap()).unwrap();
    processes::signal(keeper.pid, Signal::STOP);
    processes::eventually("the keeper is stopped", || is_stopped(keeper).then_some(()));
    keeper
}

fn shown_by(client: &Terminal) -> String {
    seen_resized(&[((80, 24), &client.bytes())]).join("\n")
}

for_root_and_user! {
    fn a_wait_with_a_timeout_ends(world) {
        let id = world.open("stuck", &["sleep", "1000"]);
        let keeper = stopped_keeper(world, &id);
        // The test's own limit is what a wait that hangs would meet.
        world.sessile(&["wait", "stuck", "--timeout", "1s"]).refused_with(124, &["in time"]);
        assert!(is_stopped(keeper));
        processes::signal(keeper.pid, Signal::CONT);
        // Nothing came of it: the same keeper goes on.
        world.sessile(&["wait", "stuck", "--timeout", "1s"]).ended_with(124);
        assert_eq!(part(world, "keeper", &id), Some(keeper.pid));
    }

    fn it_is_named_to_who_waits_and_ends_all_the_same(world) {
        // By its silence alone it would be waited for until this test is given up.
        let daemon = world.daemon_with("silence=3600000");
        let id = world.open("stuck", &["sleep", "1000"]);
        let keeper = stopped_keeper(world, &id);
        let advice = format!("kill -CONT {}", keeper.pid);
        world.sessile(&["wait", "stuck", "--exit"]).refused_with(124, &["is stopped", &advice, "sessile end"]);
        world.sessile(&["screen", "stuck"]).refused_with(124, &["is stopped", &advice]);
        assert!(is_stopped(keeper));
        world.must(&["end", "stuck", "--grace", "1h"]);
        assert!(!keeper.runs());
        assert_eq!(world.show(&id)["outcome"]["kind"], "ended");
        world.must(&["daemon", "stop"]);
        daemon.finish().succeeded();
    }

    fn it_is_named_to_who_attaches(world) {
        let id = world.open("stuck", &["cat"]);
        world.must(&["type", "stuck", "before", "--key", "enter"]);
        world.must(&["wait", "stuck", "--pattern", "before", "--timeout", "30s"]);
        let keeper = stopped_keeper(world, &id);
        let mut waiting = world.terminal(&["attach", "stuck"]);
        waiting.expect(&format!("process {}, is stopped by a signal", keeper.pid));
        waiting.expect(&format!("kill -CONT {}", keeper.pid));
        let mut leaving = world.terminal(&["attach", "stuck"]);
        leaving.expect("is stopped by a signal");
        leaving.send("lost");
        leaving.send("\x1c");
        leaving.expect("the last 4 bytes typed reached nobody");
        assert_eq!(leaving.finish(), 0);
        waiting.send("typed meanwhile\r");
        processes::signal(keeper.pid, Signal::CONT);
        world.must(&["wait", "stuck", "--pattern", "typed meanwhile\\ntyped meanwhile", "--timeout", "30s"]);
        assert!(!world.must(&["screen", "stuck"]).contains("lost"));
        processes::eventually("what was said is drawn over", || {
            let shown = shown_by(&waiting);
            (shown.contains("before") && shown.contains("typed meanwhile") && !shown.contains("stopped")).then_some(())
        });
        waiting.send("\x1c");
        assert_eq!(waiting.finish(), 0);
    }

    fn it_is_named_to_who_types(world) {
        let id = world.open("stuck", &["cat"]);
        let mut client = world.terminal(&["attach", "stuck"]);
        client.send("before\r");
        world.must(&["wait", "stuck", "--pattern", "before\\nbefore", "--timeout", "30s"]);
        let keeper = stopped_keeper(world, &id);
        client.send("meanwhile\r");
        client.expect(&format!("process {}, is stopped by a signal", keeper.pid));
        processes::signal(keeper.pid, Signal::CONT);
        world.must(&["wait", "stuck", "--pattern", "meanwhile\\nmeanwhile", "--timeout", "30s"]);
        client.send("after\r");
        world.must(&["wait", "stuck", "--pattern", "after\\nafter", "--timeout", "30s"]);
        processes::eventually("what was said is drawn over", || {
            let shown = shown_by(&client);
            (shown.contains("after") && !shown.contains("stopped")).then_some(())
        });
        client.send("\x1c");
        assert_eq!(client.finish(), 0);
        assert_eq!(part(world, "keeper", &id), Some(keeper.pid));
    }

    fn a_daemon_that_is_stopped_is_named(world) {
        world.open("quiet", &["sleep", "1000"]);
        let daemon = processes::daemon_of(world).unwrap();
        // A wait that takes long by design is none of this, however long before it began.
        let wait = world.start(&["wait", "quiet", "--timeout", "20s"], std::process::Stdio::null());
        let waited = wait.finish();
        waited.ended_with(124);
        assert!(!waited.err.contains("has not answered") && !waited.err.contains("stopped"), "{}", waited.err);
        processes::signal(daemon.pid, Signal::STOP);
        processes::eventually("the daemon is stopped", || is_stopped(daemon).then_some(()));
        let named = format!("process {}", daemon.pid);
        let advice = format!("kill -CONT {}", daemon.pid);
        world.sessile(&["ls"]).refused_with(124, &[&named, "is stopped by a signal", &advice]);
        processes::signal(daemon.pid, Signal::CONT);
        assert_eq!(world.json(&["ls", "--json"])[0]["name"], "quiet");
    }

    fn a_daemon_that_lets_nobody_in_is_named(world) {
        use std::os::fd::OwnedFd;
        use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with};

        world.open("quiet", &["sleep", "1000"]);
        let daemon = processes::daemon_of(world).unwrap();
        processes::signal(daemon.pid, Signal::STOP);
        processes::eventually("the daemon is stopped", || is_stopped(daemon).then_some(()));
        let address = SocketAddrUnix::new(world.runtime().join("daemon.sock")).unwrap();
        let knock = || -> rustix::io::Result<OwnedFd> {
            let socket = socket_with(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::NONBLOCK, None)?;
            connect(&socket, &address)?;
            Ok(socket)
        };
        let waiting: Vec<OwnedFd> = std::iter::from_fn(|| knock().ok()).collect();
        world.sessile(&["ls"]).refused_with(124, &["the daemon has not answered", "kill -CONT"]);
        processes::signal(daemon.pid, Signal::CONT);
        drop(waiting);
        assert_eq!(world.json(&["ls", "--json"])[0]["name"], "quiet");
    }

    fn an_end_replaces_it(world) {
        let daemon = world.daemon_with(ORDERS);
        let id = world.open("stuck", &["sleep", "1000"]);
        let other = world.open("other", &["cat"]);
        let others = processes::casts(world)[&other];
        let app = Process::of(world.main_pid("stuck")).unwrap();
        let keeper = stopped_keeper(world, &id);
        // The directory needs no keeper.
        let listed = world.json(&["ls", "--json"]);
        assert_eq!(listed.as_array().unwrap().len(), 2, "{listed}");
        assert_eq!(world.show("stuck")["state"], "active");
        let end = world.start(&["end", "stuck", "--grace", "1s", "--json"], std::process::Stdio::null());
        // Another session is served meanwhile.
        world.must(&["type", "other", "undisturbed", "--key", "enter"]);
        world.must(&["wait", "other", "--pattern", "undisturbed", "--timeout", "30s"]);
        end.finish().succeeded();
        assert!(!keeper.runs() && !app.runs());
        let record = world.show(&id);
        assert_eq!(record["state"], "closed", "{record}");
        assert_eq!(record["outcome"]["kind"], "ended", "{record}");
        let receipt = world.must(&["receipt", &id, "--verify"]);
        assert!(!receipt.contains("FAILED"), "{receipt}");
        // Nothing of the other one was touched.
        let now = processes::casts(world)[&other];
        assert_eq!((now.anchor, now.keeper), (others.anchor, others.keeper));
        world.must(&["end", "other", "--grace", "0s"]);
        world.must(&["daemon", "stop"]);
        daemon.finish().succeeded();
    }
}
