//! Questions that reach a person outside by a command of theirs.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Stdio;

use crate::support::{World, processes};

/// A program of the caller's with this script.
fn program(world: &World, name: &str, script: &str) -> PathBuf {
    let path = world.folder().join(name);
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

/// A program that writes what it is told into a file, which is there when it is complete.
fn note(world: &World) -> (String, PathBuf) {
    let notes = world.folder().join("notes");
    fs::create_dir(&notes).unwrap();
    world.give_to_caller(&notes);
    let out = notes.join("note");
    let script =
        format!("{{ env | grep ^SESSILE_QUESTION_; cat; }} > {0}.part && mv {0}.part {0}", out.display());
    (program(world, "tell", &script).to_str().unwrap().to_owned(), out)
}

fn told(note: &PathBuf) -> String {
    processes::eventually("the command was told", || fs::read_to_string(note).ok())
}

fn line<'a>(note: &'a str, name: &str) -> &'a str {
    note.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).unwrap()
}

/// What an app does that waits for an answer: it says whether it was let through to a refusal.
const ASKS: &str =
    "exec 3<>/dev/tcp/asks.example/80; printf 'GET / HTTP/1.1\r\nHost: asks.example\r\n\r\n' >&3; cat <&3";

for_root_and_user! {
    fn a_question_reaches_a_command_and_is_answered_by_what_it_was_told(world) {
        let (tell, out) = note(world);
        world.must(&["run", "--detach", "--name", "asker", "--on-question", &tell, "--", "bash", "-c", ASKS]);
        let note = told(&out);
        let id = line(&note, "SESSILE_QUESTION_ID");
        assert_eq!(line(&note, "SESSILE_QUESTION_HOST"), "asks.example");
        assert_eq!(line(&note, "SESSILE_QUESTION_PORT"), "80");
        assert_eq!(line(&note, "SESSILE_QUESTION_APP"), "main");
        assert_eq!(line(&note, "SESSILE_QUESTION_SESSION"), world.show("asker")["id"]);
        let json: serde_json::Value = serde_json::from_str(note.lines().last().unwrap()).unwrap();
        assert_eq!(json, world.json(&["questions", "--json"])[0]);
        world.must(&["answer", id, "deny"]);
        world.must(&["wait", "asker", "--exit", "--timeout", "60s"]);
        assert!(world.must(&["output", "asker"]).contains("403 Forbidden"));
        assert!(!world.state().join("on-question.log").exists());
    }

    fn configuration_names_it_and_a_later_daemon_tells_what_is_open(world) {
        let (tell, out) = note(world);
        let config = world.folder().join("config/sessile/config.toml");
        fs::create_dir_all(config.parent().unwrap()).unwrap();
        fs::write(&config, format!("[run]\non_question = \"{tell}\"\n")).unwrap();
        // It asks when it is told to, while there is no daemon.
        let script = format!("until [ -e go ]; do sleep 0.1; done; {ASKS}");
        world.must(&["run", "--detach", "--name", "asker", "--", "bash", "-c", &script]);
        let id = world.show("asker")["id"].as_str().unwrap().to_owned();
        processes::kill(processes::daemon_of(world).unwrap().pid);
        world.write("go", "");
        processes::eventually("it asks", || crate::network::gateway(world, &id));
        assert!(!out.exists());
        world.must(&["ls"]);
        let note = told(&out);
        // Once: asking for it again tells nobody again.
        fs::remove_file(&out).unwrap();
        processes::kill(processes::part(world, "keeper", &id).unwrap());
        world.must(&["answer", line(&note, "SESSILE_QUESTION_ID"), "deny"]);
        world.must(&["wait", "asker", "--exit", "--timeout", "60s"]);
    }

    /// One that has only no more to say still waits.
    fn a_question_is_withdrawn_when_nobody_waits_any_more(world) {
        world.must(&["run", "--detach", "--name", "asker", "--", "sleep", "infinity"]);
        let hosts = || -> Vec<String> {
            let asked = world.json(&["questions", "--json"]);
            asked.as_array().unwrap().iter().map(|q| q["host"].as_str().unwrap().to_owned()).collect()
        };
        let waits = "import socket\ns = socket.create_connection(('waits.example', 80))\n\
                     s.sendall(b'GET / HTTP/1.1\\r\\nHost: waits.example\\r\\n\\r\\n')\n\
                     s.shutdown(socket.SHUT_WR)\nprint(s.recv(100))";
        let waiting = world.start(&["exec", "asker", "--", "python3", "-c", waits], Stdio::null());
        processes::eventually("it asks", || (hosts() == ["waits.example"]).then_some(()));
        let leaves = "exec 3<>/dev/tcp/leaves.example/80; printf 'GET / HTTP/1.1\\r\\nHost: leaves.example\\r\\n\\r\\n' >&3; read -r go";
        let mut leaving = world.start(&["exec", "asker", "--", "bash", "-c", leaves], Stdio::piped());
        processes::eventually("the other asks", || (hosts().len() == 2).then_some(()));
        leaving.feed(b"go\n".to_vec());
        drop(leaving.finish());
        processes::eventually("its question is withdrawn", || (hosts() == ["waits.example"]).then_some(()));
        let asked = world.json(&["questions", "--json"]);
        world.must(&["answer", asked[0]["id"].as_str().unwrap(), "deny"]);
        assert!(waiting.finish().succeeded().contains("403 Forbidden"));
    }

    /// The last call of the minute says how many were not told of.
    fn an_app_that_asks_much_silences_nobody(world) {
        let notes = world.folder().join("notes");
        fs::create_dir(&notes).unwrap();
        world.give_to_caller(&notes);
        let out = notes.join("told");
        let tell = format!("echo \"$SESSILE_QUESTION_HOST $SESSILE_QUESTION_MORE.\" >> {}", out.display());
        let script = "for i in $(seq 41); do (exec 3<>/dev/tcp/h$i.example/80; cat <&3) & done; wait";
        world.must(&["run", "--detach", "--name", "flood", "--on-question", &tell, "--", "bash", "-c", script]);
        let told = processes::eventually("it says that more wait", || {
            fs::read_to_string(&out).ok().filter(|told| told.lines().any(|line| !line.ends_with(" .")))
        });
        let last = told.lines().find(|line| !line.ends_with(" .")).unwrap();
        let more = last.trim_end_matches('.').rsplit(' ').next().unwrap();
        assert!(more.parse::<usize>().unwrap() <= 10, "{told}");
        assert!(told.lines().count() >= 28, "{told}");
        processes::eventually("all wait", || {
            (world.json(&["questions", "--json"]).as_array().unwrap().len() == 41).then_some(())
        });
        world.must(&["end", "flood", "--grace", "0s"]);
    }

    fn a_command_that_fails_is_noted_and_harms_nothing(world) {
        world.must(&["run", "--detach", "--name", "asker", "--on-question", "exit 7", "--", "bash", "-c", ASKS]);
        let log = processes::eventually("the failure is noted", || {
            fs::read_to_string(world.state().join("on-question.log")).ok().filter(|log| log.ends_with('\n'))
        });
        let asked = world.json(&["questions", "--json"]);
        let id = asked[0]["id"].as_str().unwrap();
        assert!(log.contains(&format!("{id}: the command failed: exit status: 7")), "{log}");
        assert!(!log.contains("asks.example"), "what was asked outlives the session: {log}");
        world.must(&["answer", id, "deny"]);
        world.must(&["wait", "asker", "--exit", "--timeout", "60s"]);
        assert!(world.must(&["output", "asker"]).contains("403 Forbidden"));
        world.sessile(&["run", "--on-question", "", "--", "true"]).refused_with(64, &["on_question"]);
    }
}
