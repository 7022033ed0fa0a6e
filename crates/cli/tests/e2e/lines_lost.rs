//! Lines that could get lost on their way between a session and who says or hears them, and do not.

use std::io::{BufRead as _, Read as _};
use std::process::Stdio;

use crate::lines::{opened, protocol, recv, rest, send};
use crate::lines_signed::FLOW;
use crate::support::processes;
use crate::support::{Running, TALK, World};

/// Has a shell run the command, with its descriptors as the shell puts it.
pub fn shell(world: &World, arguments: &[&str], redirection: &str) -> crate::support::Finished {
    let script = format!("exec \"$@\" {redirection}");
    let command = world.command_behind(&["sh", "-c", &script, "sh"], arguments);
    Running::start(command).finish()
}

for_root_and_user! {
    /// Where standard output is closed, or takes nothing, the line stays.
    fn a_line_that_cannot_be_written_stays(world) {
        let file = protocol(world, TALK);
        opened(world, "talk", &format!("{file}#Talk"), &[]);
        world.must(&send("talk", "User", &["Agent", "ask", "precious"]));
        let listens = recv("talk", "Agent", &["--timeout", "30s"]);
        let with_json = recv("talk", "Agent", &["--timeout", "30s", "--json"]);
        for redirection in [">&-", "1< /dev/null", "<> /dev/null >&0"] {
            for arguments in [&listens, &with_json] {
                shell(world, arguments, redirection).refused_with(64, &["standard output is closed"]);
            }
        }
        shell(world, &listens, "> /dev/full").refused_with(71, &["cannot write the output"]);
        assert_eq!(world.must(&listens), "precious");
        // What is not there is no empty line.
        let says = send("talk", "Agent", &["User", "answer", "-"]);
        shell(world, &says, "<&-").refused_with(64, &["standard input is closed"]);
        shell(world, &says, "< /dev/null").succeeded();
        shell(world, &recv("talk", "User", &["--timeout", "30s"]), "> /dev/null").succeeded();
        world.must(&send("talk", "User", &["Agent", "ask", "next"]));
    }

    /// Whoever is slow to write a line has it for a while; then it is the next one's, and both know.
    fn of_two_who_listen_one_has_the_line(world) {
        let file = protocol(world, TALK);
        let id = opened(world, "talk", &format!("{file}#Talk"), &[]);
        let payload = "x".repeat(64 << 10);
        // A pipe holds less than the line in JSON, so that it is not written whole before its reader goes on.
        let stuck = || {
            world.must(&send("talk", "User", &["Agent", "ask", &payload]));
            let mut stuck = world.start(&recv("talk", "Agent", &["--json"]), Stdio::null());
            let mut output = stuck.take_output();
            output.read_exact(&mut [0]).unwrap();
            (stuck, output)
        };
        let (slow, mut output) = stuck();
        assert_eq!(world.must(&recv("talk", "Agent", &[])), payload);
        output.read_to_end(&mut Vec::new()).unwrap();
        slow.finish().refused_with(73, &["another who listens as Agent has this line"]);
        // Nobody else has heard it, and the keeper that knew who had is dead: it is taken all the same.
        world.must(&send("talk", "Agent", &["User", "answer", "1"]));
        world.must(&recv("talk", "User", &[]));
        let (slow, mut output) = stuck();
        processes::kill(processes::part(world, "keeper", &id).unwrap());
        output.read_to_end(&mut Vec::new()).unwrap();
        slow.finish().succeeded();
        world.must(&send("talk", "Agent", &["User", "answer", "2"]));
        // By REST: what was not heard is not taken.
        let take = serde_json::json!({"role": "User", "from": "Agent", "sequence": 1});
        let (status, answer) = rest(world, "POST /v1/sessions/talk/take", &take);
        assert_eq!(status, 409, "{answer}");
        assert_eq!(world.must(&recv("talk", "User", &[])), "2");
    }

    fn what_a_line_carries_is_what_the_protocol_says(world) {
        let file = protocol(world, TALK);
        opened(world, "talk", &format!("{file}#Talk"), &[]);
        world.sessile(&send("talk", "User", &["Agent", "ask"])).refused_with(64, &["ask carries Text, and no payload is given"]);
        world.must(&send("talk", "User", &["Agent", "ask", ""]));
        assert_eq!(world.must(&recv("talk", "Agent", &[])), "");
        world.sessile(&send("talk", "Agent", &["User", "bye", "x"])).refused_with(64, &["bye carries nothing"]);
        assert_eq!(world.show("talk")["protocol"]["violations"], 0);
        world.must(&send("talk", "Agent", &["User", "bye"]));
    }

    /// Who waits for a line, or for room, while the role is given to another is told at once.
    fn who_waits_as_a_role_that_is_given_away_waits_no_longer(world) {
        let file = protocol(world, FLOW);
        opened(world, "talk", &file, &["--unsigned"]);
        let gives = |role: &str, mut waits: Running| {
            // It may have come after the role was given away; then it waits as who has it now.
            let mut names = ["ann", "bob"].iter().cycle();
            processes::eventually("it is told", || {
                let speaker = format!("operator:{}", names.next().unwrap());
                if !waits.has_ended() {
                    world.must(&["delegate", "talk", role, &speaker]);
                }
                waits.has_ended().then_some(())
            });
            waits.finish().refused_with(77, &[&format!("speaks for {role}, and not operator")]);
        };
        gives("Agent", world.start(&recv("talk", "Agent", &[]), Stdio::null()));
        for _ in 0..16 {
            world.must(&send("talk", "User", &["Agent", "item", ""]));
        }
        world.must(&["delegate", "talk", "Agent", "operator:carol"]);
        gives("User", world.start(&send("talk", "User", &["Agent", "item", ""]), Stdio::null()));
        // One that does not run may be started later; it is said.
        let given = world.sessile(&["delegate", "talk", "User", "app:nosuch"]);
        assert!(given.code == 0 && given.err.contains("no app nosuch runs yet"), "{}", given.err);
        assert_eq!(world.sessile(&["delegate", "talk", "User", "app:main"]).err, "");
    }

    /// However many listen, lines can be said, and those beyond the bound are told.
    fn many_who_listen_keep_nobody_from_speaking(world) {
        let file = protocol(world, FLOW);
        opened(world, "talk", &file, &[]);
        let script = r#"import socket, sys, threading
codes, ready = [], threading.Condition()
body = b'{"role":"Agent"}'
head = b'POST /v1/sessions/talk/hear HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n'
def hear():
    one = socket.socket(socket.AF_UNIX)
    one.connect(sys.argv[1])
    one.sendall(head % len(body) + body)
    status = one.makefile().readline().split()[1]
    with ready:
        codes.append(status)
        ready.notify()
for _ in range(400):
    threading.Thread(target=hear, daemon=True).start()
with ready:
    ready.wait_for(lambda: len(codes) >= 304)
print(set(codes), flush=True)
sys.stdin.read()
"#;
        let socket = world.runtime().join("daemon.sock");
        let mut command = world.command_behind(&["python3", "-c", script, socket.to_str().unwrap()], &[]);
        command.stdin(Stdio::piped());
        let mut many = Running::start(command);
        let mut told = String::new();
        std::io::BufReader::new(many.take_output()).read_line(&mut told).unwrap();
        assert_eq!(told, "{'507'}\n");
        world.sessile(&recv("talk", "Agent", &[])).refused_with(71, &["96 wait for a line of this session already"]);
        world.must(&send("talk", "User", &["Agent", "item", "x"]));
        many.feed(Vec::new());
    }

    /// With a session that is lost goes what was said in it, and the record says no more than is known.
    fn the_record_of_a_session_that_is_lost_claims_nothing(world) {
        let file = protocol(world, TALK);
        let id = opened(world, "talk", &format!("{file}#Talk"), &["--keep-record"]);
        world.must(&send("talk", "User", &["Agent", "ask", "unheard"]));
        for who in ["anchor", "keeper"] {
            processes::kill_quietly(processes::part(world, who, &id).unwrap());
        }
        let record = processes::eventually("it is lost", || {
            Some(world.show(&id)).filter(|record| record["state"] == "closed")
        });
        assert_eq!(record["protocol"]["status"]["kind"], "lost", "{record}");
        assert!(world.must(&["show", &id]).contains("never heard is not known"));
    }

    fn a_keeper_that_is_stopped_is_waited_for_no_longer_than_was_said(world) {
        let file = protocol(world, TALK);
        let id = opened(world, "talk", &format!("{file}#Talk"), &[]);
        let keeper = processes::part(world, "keeper", &id).unwrap();
        processes::signal(keeper, rustix::process::Signal::STOP);
        for line in [
            recv("talk", "Agent", &["--timeout", "10ms"]),
            send("talk", "User", &["Agent", "ask", "?", "--timeout", "10ms"]),
        ] {
            world.sessile(&line).refused_with(124, &["the session's keeper"]);
        }
        processes::signal(keeper, rustix::process::Signal::CONT);
        world.must(&send("talk", "User", &["Agent", "ask", "?"]));
    }
}
