//! Sessions with a protocol: what roles say and hear, and what becomes of it.

use std::fs;
use std::io::Read as _;
use std::process::Stdio;

use serde_json::Value;

use crate::support::TALK;
use crate::support::processes::{self, daemon_of, kill, part};
use crate::support::{Running, World, skip};

/// Protocols whose lines have to be said in time.
const TIMED: &str = "global protocol Patient(role User, role Agent) {
    choice at User { ask() from User to Agent within 1s; } or late { bye() from User to Agent; }
}
global protocol Impatient(role User, role Agent) { ask() from User to Agent within 1s; }
";

/// Which of two waits for the other is not said: C is never told what A has chosen.
const UNSAFE: &str = "module bad;
global protocol Bad(role User, role Agent, role C) {
    choice at User { a() from User to Agent; a() from C to Agent; }
    or { b() from User to Agent; b() from C to Agent; }
}
";

pub fn protocol(world: &World, text: &str) -> String {
    world.write("talk.scr", text).to_str().unwrap().to_owned()
}

pub const OPERATORS: [&str; 4] = ["--role", "User=operator", "--role", "Agent=operator:bob"];

/// A session with this protocol, whose roles two operators speak for; its id.
pub fn opened(world: &World, name: &str, protocol: &str, more: &[&str]) -> String {
    let run = ["run", "--detach", "--name", name, "--protocol", protocol];
    world.must(&[&run[..], &OPERATORS, more, &["--", "sleep", "infinity"]].concat());
    world.show(name)["id"].as_str().unwrap().to_owned()
}

pub fn send<'a>(session: &'a str, role: &'a str, rest: &[&'a str]) -> Vec<&'a str> {
    [&["send", session, "--as", role], rest].concat()
}

pub fn recv<'a>(session: &'a str, role: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["recv", session, "--as", role], more].concat()
}

pub fn status(world: &World, session: &str) -> Value {
    world.show(session)["protocol"].clone()
}

/// What a session's log holds: its lines are JSON within frames.
pub fn journaled(world: &World, id: &str, words: &str) -> bool {
    let log = fs::read(world.state().join("sessions").join(id).join("log")).unwrap();
    log.windows(words.len()).any(|window| window == words.as_bytes())
}

/// What the other operators of this protocol know of a choice doubles with each round.
fn subsets(last: usize) -> String {
    let bit = |bit: u8, next: &str| format!("{bit}() from User to Agent; {bit}() from Agent to C; {next}");
    let rest = format!("choice at User {{ {} }} or {{ {} }}", bit(0, ""), bit(1, "")).repeat(last);
    let (zero, one) = (bit(0, "continue X;"), bit(1, "continue X;"));
    format!(
        "module endless; global protocol Endless(role User, role Agent, role C) {{ rec X {{
            choice at User {{ {zero} }} or {{ {one} }}
            or {{ 2() from User to Agent; 1() from Agent to C; {rest} }} }} }}"
    )
}

/// Asks the daemon as a program of the caller's would; the status and the answer.
pub fn rest(world: &World, what: &str, body: &Value) -> (u16, Value) {
    let script = "import http.client, json, socket, sys
class Here(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(sys.argv[1])
here = Here('x')
here.request(sys.argv[2], sys.argv[3], sys.stdin.read(), {'content-type': 'application/json'})
answer = here.getresponse()
print(answer.status, answer.read().decode())";
    let socket = world.runtime().join("daemon.sock");
    let (method, path) = what.split_once(' ').unwrap();
    let mut command =
        world.command_behind(&["python3", "-c", script, socket.to_str().unwrap(), method, path], &[]);
    command.stdin(Stdio::piped());
    let mut running = Running::start(command);
    running.feed(body.to_string().into_bytes());
    let said = running.finish().succeeded();
    let (status, answer) = said.split_once(' ').unwrap();
    (status.parse().unwrap(), serde_json::from_str(answer).unwrap_or(Value::Null))
}

for_root_and_user! {
    fn two_operators_speak_as_the_protocol_has_it(world) {
        let file = protocol(world, TALK);
        opened(world, "talk", &format!("{file}#Talk"), &["--unsigned"]);
        let shown = status(world, "talk");
        assert_eq!((&shown["name"], &shown["status"]["kind"]), (&"Talk".into(), &"active".into()), "{shown}");
        assert_eq!(shown["roles"], serde_json::json!({"User": "operator", "Agent": "operator:bob"}));
        assert!(world.must(&["show", "talk"]).contains("Talk (active; lines are not signed)"));

        // One who listens before anything is said waits for it.
        let mut waiting = world.start(&recv("talk", "Agent", &["--json"]), Stdio::null());
        assert_eq!(world.must(&["offered", "talk", "--as", "User"]), "say ask(Text)  to Agent  now\n");
        world.must(&send("talk", "User", &["Agent", "ask", "why \u{1b}[31m?"]));
        let mut heard = String::new();
        waiting.take_output().read_to_string(&mut heard).unwrap();
        let heard: Value = serde_json::from_str(&heard).unwrap();
        assert_eq!(heard["from"], "User");
        assert_eq!((&heard["label"], &heard["sequence"]), (&"ask".into(), &0.into()));
        assert_eq!(heard["payload"], "why \u{1b}[31m?");
        waiting.finish().succeeded();

        // What is not valid text, from standard input, arrives as it is.
        let bytes = b"\xff\x00\n answer";
        world.sessile_with_input(&send("talk", "Agent", &["User", "answer", "-"]), bytes).succeeded();
        let finished = world.sessile(&recv("talk", "User", &["--from", "Agent"]));
        assert_eq!((finished.code, &finished.out[..], finished.err.as_str()), (0, &bytes[..], "Agent says answer\n"));
        let said = world.json(&[&send("talk", "User", &["Agent", "ask", "?"])[..], &["--json"]].concat());
        assert_eq!(said, serde_json::json!({"sequence": 1}));
        let offered = world.json(&["offered", "talk", "--as", "Agent", "--json"]);
        let ask = serde_json::json!([{"says": false, "peer": "User", "label": "ask", "payload": ["Text"], "ready": true}]);
        assert_eq!(offered, ask);
        world.must(&recv("talk", "Agent", &[]));
        // The same by REST, where a line that is said or taken twice is said and taken once.
        let bye = serde_json::json!({"role": "Agent", "to": "User", "label": "bye", "token": "0123456789abcdef".repeat(2)});
        let sequence = serde_json::json!({"sequence": 1});
        for _ in 0..2 {
            assert_eq!(rest(world, "POST /v1/sessions/talk/say", &bye), (200, sequence.clone()));
        }
        let (status_code, heard) = rest(world, "POST /v1/sessions/talk/hear", &serde_json::json!({"role": "User"}));
        let bye = serde_json::json!({"from": "Agent", "label": "bye", "payload": "", "sequence": 1});
        assert_eq!((status_code, heard), (200, bye));
        let take = serde_json::json!({"role": "User", "from": "Agent", "sequence": 1});
        for _ in 0..2 {
            assert_eq!(rest(world, "POST /v1/sessions/talk/take", &take).0, 204);
        }
        processes::eventually("it is over", || (status(world, "talk")["status"]["kind"] == "closed").then_some(()));
        world.sessile(&send("talk", "User", &["Agent", "ask", "?"])).refused_with(73, &["nothing more to say"]);
        assert_eq!(world.must(&["offered", "talk", "--as", "User"]), "");
    }

    fn a_refusal_says_what_is_offered_and_is_journaled(world) {
        let file = protocol(world, TALK);
        let id = opened(world, "talk", &format!("{file}#Talk"), &[]);
        world.sessile(&send("talk", "Agent", &["User", "answer", "the payload"]))
            .refused_with(73, &["Agent may not say answer to User now (not-offered)", "it may hear ask from User"]);
        world.sessile(&send("talk", "User", &["Agent", "shout"]))
            .refused_with(73, &["unknown-message", "it may say ask to Agent"]);
        world.sessile(&recv("talk", "User", &[])).refused_with(73, &["User may not listen now"]);
        world.sessile(&recv("talk", "Agent", &["--timeout", "10ms"])).refused_with(124, &["nothing has arrived for Agent"]);
        world.sessile(&send("talk", "Nobody", &["Agent", "ask", "?"])).refused_with(64, &["no role Nobody: there are User, Agent"]);
        let long = "x".repeat((64 << 10) + 1);
        world.sessile(&send("talk", "User", &["Agent", "ask", &long])).refused_with(64, &["at most 65536 bytes"]);
        world.sessile_with_input(&send("talk", "User", &["Agent", "ask", "-"]), long.as_bytes()).refused_with(64, &["65536"]);
        for violation in [
            r#"{"role":"Agent","code":"not-offered","label":"answer"}"#,
            r#"{"role":"User","code":"unknown-message","label":"(no such label)"}"#,
            r#"{"role":"User","code":"not-offered","label":null}"#,
        ] {
            assert!(journaled(world, &id, violation), "{violation}");
        }
        assert!(!journaled(world, &id, "the payload") && !journaled(world, &id, "shout"));
        let shown = status(world, "talk");
        assert_eq!((&shown["violations"], &shown["status"]["kind"]), (&3.into(), &"active".into()), "{shown}");
        let shown = world.must(&["show", "talk"]);
        let lines: Vec<&str> = shown.lines().filter(|line| line.starts_with("violation")).collect();
        let said = ["not-offered: Agent says answer", "unknown-message: User says (no such label)", "not-offered: User listens"];
        assert!(lines.len() == 3 && lines.iter().zip(said).all(|(line, said)| line.ends_with(said)), "{shown}");
        // Nothing has changed for who keeps to it.
        world.must(&send("talk", "User", &["Agent", "ask", &long[1..]]));
        assert_eq!(world.must(&recv("talk", "Agent", &[])), &long[1..]);
        world.sessile(&["run", "--detach", "--name", "plain", "--", "sleep", "infinity"]).succeeded();
        world.sessile(&send("plain", "User", &["Agent", "ask", "?"])).refused_with(64, &["nobody is called User here: there are operator, main"]);
    }

    fn a_conversation_that_is_closed_offers_what_can_still_come(world) {
        let file = protocol(world, TALK);
        opened(world, "talk", &format!("{file}#Talk"), &[]);
        world.must(&send("talk", "User", &["Agent", "ask", "?"]));
        world.must(&["close", "talk"]);
        // Nobody says anything more: what waits for that has nothing to wait for.
        let none = world.sessile(&["offered", "talk", "--as", "User"]);
        assert_eq!((none.succeeded().as_str(), none.err.trim()), ("", "nothing"));
        assert!(world.must(&["offered", "talk", "--as", "Agent"]).contains("hear ask(Text)"));
        world.sessile(&send("talk", "User", &["Agent", "ask", "?"])).refused_with(73, &["the conversation was closed"]);
        assert_eq!(world.must(&recv("talk", "Agent", &[])), "?");
    }

    fn a_violation_ends_the_session_where_that_was_asked_for(world) {
        let file = protocol(world, TALK);
        let id = opened(world, "talk", &format!("{file}#Talk"), &["--on-violation", "fault"]);
        assert!(world.must(&["show", "talk"]).contains("a violation ends the session"));
        world.sessile(&send("talk", "Agent", &["User", "bye"])).refused_with(73, &["not-offered"]);
        processes::eventually("it has ended", || (world.show(&id)["state"] == "closed").then_some(()));
        let record = world.show(&id);
        let violation = serde_json::json!({"kind": "faulted", "violation": "not-offered: Agent says bye"});
        assert_eq!((&record["outcome"], &record["protocol"]["status"]), (&violation, &violation), "{record}");
        assert!(world.must(&["ls", "--all"]).contains("closed, faulted"));
        let shown = world.must(&["show", &id]);
        assert!(shown.contains("ended for breaking its protocol (not-offered: Agent says bye)"), "{shown}");
        world.must(&["receipt", &id, "--verify"]);
    }

    /// What was acknowledged outlives whoever kept it, and is delivered once.
    fn what_was_said_survives_the_keeper_and_the_daemon(world) {
        let file = protocol(world, TALK);
        let id = opened(world, "talk", &format!("{file}#Talk"), &[]);
        let kill_both = || {
            kill(daemon_of(world).unwrap().pid);
            kill(part(world, "keeper", &id).unwrap());
        };
        world.must(&send("talk", "User", &["Agent", "ask", "first"]));
        kill_both();
        assert_eq!(world.must(&recv("talk", "Agent", &[])), "first");
        // What was heard is not heard again, whoever has forgotten it.
        kill_both();
        let offered = world.must(&["offered", "talk", "--as", "Agent"]);
        assert_eq!(offered, "say answer(Text)  to User  now\nsay bye()         to User  now\n");
        world.must(&send("talk", "Agent", &["User", "answer", "1"]));
        world.must(&recv("talk", "User", &[]));
        // One who listens goes on listening.
        let waiting = world.start(&recv("talk", "Agent", &[]), Stdio::null());
        kill(part(world, "keeper", &id).unwrap());
        world.must(&send("talk", "User", &["Agent", "ask", "second"]));
        assert_eq!(waiting.finish().succeeded(), "second");
    }

    /// Keeper and daemon die at any moment, over and over: every line arrives once, in its order.
    fn lines_arrive_once_whatever_dies_and_when(world) {
        let file = protocol(world, "module talk; type <rust> \"String\" from \"std\" as Text; global protocol Flow(role User, role Agent) {
            rec Next { item(Text) from User to Agent; continue Next; } }");
        let id = opened(world, "talk", &file, &[]);
        let numbers: Vec<String> = (0..24).map(|number| number.to_string()).collect();
        let (told, tells) = std::sync::mpsc::channel();
        let heard: Vec<String> = std::thread::scope(|scope| {
            let (numbers, id) = (&numbers, &id);
            scope.spawn(move || {
                for number in numbers {
                    world.must(&send("talk", "User", &["Agent", "item", number]));
                }
            });
            // After every other line that arrives, whatever the others have come to by then.
            scope.spawn(move || {
                while let (Ok(()), Ok(())) = (tells.recv(), tells.recv()) {
                    let keeper = processes::eventually("a keeper runs", || part(world, "keeper", id));
                    processes::kill_quietly(keeper);
                    // The one that serves: a command whose daemon dies as it starts says so and ends.
                    world.must(&["ls"]);
                    let told = world.sessile(&["daemon", "status", "--json"]);
                    let status: Value = serde_json::from_slice(&told.out).unwrap_or_default();
                    if let Some(daemon) = status["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()) {
                        processes::kill_quietly(daemon);
                    }
                }
            });
            let listens = |_| {
                let heard = world.must(&recv("talk", "Agent", &[]));
                told.send(()).unwrap();
                heard
            };
            let heard = numbers.iter().map(listens).collect();
            drop(told);
            heard
        });
        assert_eq!(heard, numbers);
        world.sessile(&recv("talk", "Agent", &["--timeout", "1ms"])).refused_with(124, &[]);
    }

    /// A line counts as heard when it was written out, and not before.
    fn a_line_that_was_not_written_is_heard_again(world) {
        let file = protocol(world, TALK);
        opened(world, "talk", &format!("{file}#Talk"), &[]);
        let payload = "x".repeat(64 << 10);
        world.must(&send("talk", "User", &["Agent", "ask", &payload]));
        // Its reader takes nothing more: a pipe holds less than the line, so that it is never written whole.
        let mut stuck = world.start(&recv("talk", "Agent", &["--json"]), Stdio::null());
        let mut output = stuck.take_output();
        output.read_exact(&mut [0]).unwrap();
        kill(stuck.pid());
        drop(output);
        assert_eq!(world.must(&recv("talk", "Agent", &[])), payload);
        world.sessile(&recv("talk", "Agent", &[])).refused_with(73, &["may not listen now"]);
    }

    fn what_is_not_safe_or_not_spoken_for_opens_nothing(world) {
        let good = protocol(world, &format!("{TALK}{TIMED}"));
        let bad = world.write("bad.scr", UNSAFE).to_str().unwrap().to_owned();
        let talk = format!("{good}#Talk");
        let run = |arguments: &[&str]| world.sessile(&[&["run", "--protocol"], arguments, &["--", "true"]].concat());
        run(&[&[&*bad][..], &OPERATORS, &["--role", "C=operator:c"]].concat()).refused_with(64, &["error[P05", "is refused"]);
        run(&[&talk, "--role", "User=operator"]).refused_with(64, &["nobody speaks for the role Agent"]);
        run(&[&[&*talk][..], &OPERATORS, &["--role", "C=operator:c"]].concat())
            .refused_with(64, &["no role C: there are User, Agent"]);
        run(&[&talk, "--role", "User=operator", "--role", "Agent=operator"])
            .refused_with(64, &["operator speaks for one role, and not for both"]);
        run(&[&talk, "--role", "User=operator", "--role", "User=operator:b"]).refused_with(64, &["names User twice"]);
        run(&[&[&*good][..], &OPERATORS].concat()).refused_with(64, &["Talk"]);
        run(&[&[&*format!("{good}#Nothing")][..], &OPERATORS].concat()).refused_with(64, &["Nothing"]);
        run(&[&talk, "--role", "User=somebody"]).refused_with(64, &["operator, operator:NAME or app:NAME"]);
        run(&[&talk]).refused_with(64, &["--role"]);
        // One whose check does not come to an end is not known to be safe.
        let endless = world.write("endless.scr", &subsets(24)).to_str().unwrap().to_owned();
        run(&[&[&*endless][..], &OPERATORS, &["--role", "C=operator:c"]].concat()).refused_with(71, &["error[P099]", "was not decided"]);
        // The daemon takes nobody's word for it.
        let spec = |text: &str, roles: Value| {
            let module = text.split([' ', ';']).nth(1).unwrap();
            let files = serde_json::json!([{"name": format!("{module}.scr"), "text": text}]);
            serde_json::json!({"command": ["true"], "protocol": {"files": files, "name": null, "roles": roles}})
        };
        let three = serde_json::json!({"User": "operator", "Agent": "operator:b", "C": "operator:c"});
        let two = serde_json::json!({"User": "operator", "Agent": "operator"});
        let large = format!("{UNSAFE}{}", " ".repeat(256 << 10));
        for (spec, status, words) in [
            (spec(UNSAFE, three.clone()), 400, "error[P05"),
            (spec(&subsets(24), three.clone()), 507, "it is not known whether the protocol is safe"),
            (spec(&large, three), 400, "at most 64 files with 262144 bytes"),
            (spec(&UNSAFE[..40], two.clone()), 400, "error[P00"),
            (spec("module m; global protocol P(role User, role Agent) { m() from User to Agent; }", two), 400, "one role"),
        ] {
            let (found, answer) = rest(world, "POST /v1/sessions", &spec);
            assert_eq!(found, status, "{answer}");
            assert!(answer["detail"].as_str().unwrap().contains(words), "{answer}");
        }
        assert_eq!(world.json(&["ls", "--json"]), serde_json::json!([]));
        let left = fs::read_dir(world.state().join("sessions")).map_or(0, |all| {
            all.filter(|entry| !world.runtime().join("sessions").join(entry.as_ref().unwrap().file_name()).join("spare").exists()).count()
        });
        assert_eq!(left, 0, "something of a session that was refused is left");
    }

    /// Time stands still while the session is paused.
    fn a_deadline_waits_for_a_session_that_is_paused(world) {
        let file = protocol(world, &format!("{TALK}{TIMED}"));
        opened(world, "patient", &format!("{file}#Patient"), &[]);
        let offered = || world.must(&["offered", "patient", "--as", "User"]);
        world.must(&["pause", "patient"]);
        let before = offered();
        assert!(before.contains("now, for another 0.") || before.contains("now, for another 1.0s"), "{before}");
        assert_eq!(world.sessile(&recv("patient", "Agent", &["--timeout", "1500ms"])).code, 124);
        assert_eq!(offered(), before);
        world.must(&["resume", "patient"]);
        processes::eventually("the time is over", || offered().contains("bye()").then_some(()));
        world.must(&send("patient", "User", &["Agent", "bye"]));
        // Where nothing is said of it, the end of the time ends the conversation, and not the session.
        opened(world, "impatient", &format!("{file}#Impatient"), &[]);
        processes::eventually("it is faulted", || {
            (status(world, "impatient")["status"]["violation"] == "deadline: User").then_some(())
        });
        assert_eq!(world.show("impatient")["state"], "active");
        world.sessile(&recv("impatient", "Agent", &[])).refused_with(73, &["nothing more", "deadline: User"]);
        world.sessile(&send("impatient", "User", &["Agent", "ask"])).refused_with(73, &["nothing more", "deadline: User"]);
    }

    /// However often: that nobody counts for a moment adds nothing to a time.
    fn a_deadline_is_not_put_off_by_keepers_that_die(world) {
        let file = protocol(world, &format!("{TALK}{TIMED}"));
        let id = opened(world, "patient", &format!("{file}#Patient"), &[]);
        for _ in 0..3 {
            kill(processes::eventually("a keeper runs", || part(world, "keeper", &id)));
            // Each is there for less than the time.
            std::thread::sleep(std::time::Duration::from_millis(600));
        }
        kill(processes::eventually("a keeper runs", || part(world, "keeper", &id)));
        assert!(world.must(&["offered", "patient", "--as", "User"]).contains("bye()"));
    }

    /// While a session ends, what was said can be heard; what was not is listed.
    fn the_end_of_a_session_ends_its_conversation(world) {
        let file = protocol(world, TALK);
        let run = ["run", "--detach", "--name", "talk", "--protocol", &*format!("{file}#Talk")];
        // It takes its time to go.
        let app = ["--", "sh", "-c", "trap : TERM; echo ready; while :; do sleep 0.05; done"];
        world.must(&[&run[..], &OPERATORS, &app].concat());
        world.must(&["wait", "talk", "--pattern", "ready"]);
        let id = world.show("talk")["id"].as_str().unwrap().to_owned();
        world.must(&send("talk", "User", &["Agent", "ask", "last"]));
        let ending = world.start(&["end", "talk", "--grace", "60s"], Stdio::null());
        processes::eventually("nothing more is said", || {
            (status(world, &id)["status"]["kind"] == "draining").then_some(())
        });
        world.sessile(&send(&id, "User", &["Agent", "ask", "?"])).refused_with(73, &[]);
        let listens = recv(&id, "Agent", &["--from", "User"]);
        assert_eq!(world.must(&listens), "last");
        world.must(&["end", &id, "--grace", "0s"]);
        ending.finish().succeeded();
        assert_eq!(status(world, &id)["status"]["kind"], "closed");

        let id = opened(world, "cut", &format!("{file}#Talk"), &["--keep-record"]);
        world.must(&send("cut", "User", &["Agent", "ask", "unheard"]));
        world.must(&["end", "cut", "--grace", "0s"]);
        let shown = status(world, &id);
        assert_eq!(shown["status"]["kind"], "cancelled");
        let unheard = serde_json::json!([{"from": "User", "to": "Agent", "label": "ask", "sequence": 0}]);
        assert_eq!(shown["unheard"], unheard);
        assert!(world.must(&["show", &id]).contains("ask from User to Agent, number 0"));
    }

    /// A log that is damaged is not taken for one in which nothing was said.
    fn damage_is_said(world) {
        let file = protocol(world, TALK);
        let id = opened(world, "talk", &format!("{file}#Talk"), &[]);
        world.must(&send("talk", "User", &["Agent", "ask", "?"]));
        let anchor = part(world, "anchor", &id).unwrap();
        let Ok(descriptors) = fs::read_dir(format!("/proc/{anchor}/fd")) else {
            return skip("what an anchor holds is not for this user to see");
        };
        let log = descriptors.flatten().map(|entry| entry.path()).find(|path| {
            fs::read_link(path).is_ok_and(|target| target.to_string_lossy().contains("memfd:sessile-channels"))
        });
        let log = fs::File::options().write(true).open(log.expect("the anchor holds the log")).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&log, b"?", 40).unwrap();
        kill(part(world, "keeper", &id).unwrap());
        world.sessile(&recv("talk", "Agent", &[])).refused_with(75, &["is lost", "damaged at byte 8"]);
        world.sessile(&send("talk", "User", &["Agent", "ask", "?"])).refused_with(75, &["is lost"]);
        let record = world.show("talk");
        assert_eq!(record["protocol"]["status"]["kind"], "lost");
        assert!(record["notices"].to_string().contains("damaged at byte 8"), "{record}");
    }
}
