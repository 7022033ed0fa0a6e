//! Apps that take part in their session's conversation, by the socket that they are given.

use std::process::Stdio;

use crate::support::TALK;
use crate::support::World;
use crate::support::processes::{self, kill, part};

/// Answers until it is told to stop.
const AGENT: &str = "set -e
while question=$(sessile recv . --as Agent); do
    if [ \"$question\" = stop ]; then sessile send . --as Agent User bye; break; fi
    printf 'you said: %s' \"$question\" | sessile send . --as Agent User answer -
done
echo done
sleep infinity
";

fn opened(world: &World, name: &str, script: &str) -> String {
    let file = world.write("talk.scr", TALK);
    let roles = ["--role", "User=operator", "--role", "Agent=app:main"];
    let run = ["run", "--detach", "--name", name, "--protocol", file.to_str().unwrap()];
    world.must(&[&run[..], &roles, &["--", "sh", "-c", script]].concat());
    world.show(name)["id"].as_str().unwrap().to_owned()
}

fn asks(world: &World, question: &str) -> String {
    world.must(&["send", "talk", "--as", "User", "Agent", "ask", question]);
    world.must(&["recv", "talk", "--as", "User", "--timeout", "60s"])
}

for_root_and_user! {
    fn a_script_inside_speaks_for_its_role(world) {
        let id = opened(world, "talk", AGENT);
        assert_eq!(asks(world, "why?"), "you said: why?");
        // It waits for the next line, and goes on waiting when its keeper dies.
        for _ in 0..2 {
            kill(part(world, "keeper", &id).unwrap());
            assert_eq!(asks(world, "and now?"), "you said: and now?");
        }
        assert_eq!(asks(world, "stop"), "");
        world.must(&["wait", "talk", "--pattern", "done", "--timeout", "60s"]);
        processes::eventually("the conversation is over", || {
            (world.show("talk")["protocol"]["status"]["kind"] == "closed").then_some(())
        });
        let grants = world.show("talk")["grants"].to_string();
        assert!(grants.contains("\"target\":\"/sessile/bin/sessile\",\"writable\":false"), "{grants}");
    }

    fn nobody_waits_for_an_app_that_has_ended(world) {
        let file = world.write("talk.scr", TALK);
        let roles = ["--role", "User=operator", "--role", "Agent=app:helper"];
        let run = ["run", "--detach", "--name", "talk", "--protocol", file.to_str().unwrap()];
        world.must(&[&run[..], &roles, &["--", "sleep", "infinity"]].concat());
        let recv = ["recv", "talk", "--as", "User", "--timeout", "60s"];
        world.must(&["send", "talk", "--as", "User", "Agent", "ask", "?"]);
        // It has not begun, and is waited for.
        world.sessile(&["recv", "talk", "--as", "User", "--timeout", "10ms"]).refused_with(124, &["nothing has arrived"]);
        let waits = world.start(&recv, Stdio::null());
        let script = "sessile recv . --as Agent; sessile send . --as Agent User answer last";
        world.must(&["exec", "talk", "--app", "helper", "--", "sh", "-c", script]);
        assert_eq!(waits.finish().succeeded(), "last", "what was said is heard");
        world.must(&["send", "talk", "--as", "User", "Agent", "ask", "and now?"]);
        world.sessile(&recv).refused_with(73, &["nothing comes for User any more: app:helper", "sessile delegate"]);
        let offered = world.must(&["offered", "talk", "--as", "User"]);
        assert!(offered.contains("not yet, and its app has ended"), "{offered}");
        assert!(world.must(&["show", "talk"]).contains("Agent=app:helper (ended)"));
        // Another goes on in its place.
        world.must(&["delegate", "talk", "Agent", "operator:bob"]);
        assert_eq!(world.must(&["recv", "talk", "--as", "Agent"]), "and now?");
    }

    fn connections_that_say_nothing_keep_nobody_out_and_too_many_are_told(world) {
        opened(world, "talk", "sleep infinity");
        let script = "import os, socket\n\
            def connected():\n\
            \ts = socket.socket(socket.AF_UNIX); s.settimeout(20); s.connect(os.environ['SESSILE_SOCKET']); return s\n\
            idle = [connected() for _ in range(60)]\n\
            print(os.system('sessile offered . --as Agent'), flush=True)\n\
            idle += [connected() for _ in range(52)]\n\
            print(connected().recv(4096).decode(), flush=True)\n\
            idle.pop().close()\n\
            print(os.system('sessile offered . --as Agent'), flush=True)\n";
        world.write("idle.py", script);
        let told = world.must(&["exec", "talk", "--", "python3", "idle.py"]);
        let lines: Vec<&str> = told.lines().filter(|line| !line.is_empty()).collect();
        assert_eq!(lines.iter().filter(|line| **line == "0").count(), 2, "{told}");
        assert!(told.contains("112 connections of main are open already"), "{told}");
    }

    fn nobody_speaks_for_another(world) {
        opened(world, "talk", "sleep infinity");
        let inside = |app: &str, line: &str| world.sessile(&["exec", "talk", "--app", app, "--", "sh", "-c", line]);
        let say = "sessile send . --as Agent User answer x";
        inside("other", say).refused_with(77, &["app:main speaks for Agent, and not app:other"]);
        world.sessile(&["send", "talk", "--as", "Agent", "User", "answer", "x"])
            .refused_with(77, &["app:main speaks for Agent, and not operator"]);
        for line in ["sessile send . --as User Agent ask x", "sessile recv . --as User", "sessile offered . --as User"] {
            inside("main", line).refused_with(77, &["operator speaks for User, and not app:main"]);
        }
        // None of these has said anything, or taken anything from who may.
        assert_eq!(world.show("talk")["protocol"]["violations"], 0);
        inside("main", say).refused_with(73, &["it may hear ask from User"]);
        world.must(&["send", "talk", "--as", "User", "Agent", "ask", "x"]);
        let offered = inside("main", "sessile offered . --as Agent").succeeded();
        assert_eq!(offered, "hear ask(Text)  from User  now\n");
        let heard = inside("main", "sessile recv . --as Agent --json").succeeded();
        let heard: serde_json::Value = serde_json::from_str(&heard).unwrap();
        assert_eq!((&heard["from"], &heard["label"], &heard["payload"]), (&"User".into(), &"ask".into(), &"x".into()));
        // The program is there to be run, and not to be changed; the daemon is not there.
        let looks = "command -v sessile; echo x 2> /dev/null > /sessile/bin/sessile || echo kept; sessile ls";
        let looked = inside("main", looks);
        looked.refused_with(77, &["sessions are not nested"]);
        assert_eq!(looked.text(), "/sessile/bin/sessile\nkept\n");
        world.sessile(&["send", ".", "--as", "Agent", "User", "answer"]).refused_with(73, &["SESSILE_SOCKET"]);

        world.must(&["run", "--detach", "--name", "plain", "--", "sleep", "infinity"]);
        let look = "echo [$SESSILE_SOCKET]; ls /run; ls -d /sessile";
        let plain = world.sessile(&["exec", "plain", "--", "sh", "-c", look]);
        assert_eq!(plain.text(), "[/run/sessile]\nlock\nsessile\nuser\n/sessile\n");
    }

    /// Whatever an app says, and however many listen, the session goes on.
    fn noise_harms_nothing(world) {
        opened(world, "talk", AGENT);
        let script = "import os, socket\n\
            path = os.environ['SESSILE_SOCKET']\n\
            def dial():\n    s = socket.socket(socket.AF_UNIX); s.settimeout(30); s.connect(path); return s\n\
            s = dial(); s.sendall(b'\\xff\\n{}\\n[1]\\n{\"say\":{}}\\n'); f = s.makefile()\n\
            print({f.readline()[:11] for _ in range(4)})\n\
            s = dial()\n\
            try:\n    s.sendall(b'x' * (1 << 20)); print(s.recv(1))\n\
            except (BrokenPipeError, ConnectionResetError): print('refused')\n\
            held = [dial() for _ in range(14)]\n\
            [s.sendall(b'{\"offered\":{\"role\":\"Agent\"}}\\n' * 100) for s in held]\n\
            print(len(held[0].makefile().readline()) > 9)\n";
        world.write("noise.py", script);
        let noise = world.sessile(&["exec", "talk", "--app", "noisy", "--", "python3", "noise.py"]);
        let said = noise.succeeded();
        let lines: Vec<&str> = said.lines().collect();
        assert_eq!(lines[0], "{'{\"problem\":'}");
        assert!(matches!(lines[1], "refused" | "b''"), "{said}");
        assert_eq!(lines[2], "True");
        assert_eq!(asks(world, "still there?"), "you said: still there?");
        let stop = world.start(&["recv", "talk", "--as", "User"], Stdio::null());
        drop(stop);
        world.must(&["end", "talk", "--grace", "0s"]);
    }
}
