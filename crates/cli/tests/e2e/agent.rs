//! The user's SSH agent inside: never unless asked, and then each signature is a question.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use serde_json::Value;

use crate::support::processes::{self, kill, part};
use crate::support::{Finished, Running, World, skip};
use crate::wipe::receipt;

/// A real agent of the caller's with one key.
struct Agent {
    socket: PathBuf,
    _agent: Running,
}

/// Runs a script of the caller's outside, with this as `$1`.
fn outside(world: &World, script: &str, argument: &Path) -> Finished {
    let starter = ["sh", "-c", script, "sh", argument.to_str().unwrap()];
    world.run(world.command_behind(&starter, &[]))
}

impl Agent {
    fn start(world: &World) -> Option<Self> {
        if !Path::new("/usr/bin/ssh-agent").exists() {
            skip("there is no ssh-agent: cargo xtask setup installs it");
            return None;
        }
        let socket = world.home().join("agent.sock");
        let starter = ["sh", "-c", "exec ssh-agent -D -a \"$1\"", "sh", socket.to_str().unwrap()];
        let mut command = world.command_behind(&starter, &[]);
        command.stdin(Stdio::null());
        let agent = Running::start(command);
        processes::eventually("the agent listens", || std::os::unix::net::UnixStream::connect(&socket).ok());
        let script = "cd && ssh-keygen -q -t ed25519 -N '' -C ann@workstation -f key && \
                      SSH_AUTH_SOCK=$1 ssh-add -q key";
        outside(world, script, &socket).succeeded();
        let public = std::fs::read_to_string(world.home().join("key.pub")).unwrap();
        // Without its comment, which names people and machines.
        world.write("key.pub", public.strip_suffix(" ann@workstation\n").unwrap());
        world.write("message", "what is signed\n");
        Some(Self { socket, _agent: agent })
    }

    /// Runs a command of ours where the agent is named, as the caller's shell would.
    fn sessile(&self, world: &World, arguments: &[&str]) -> Finished {
        world.sessile_where("SSH_AUTH_SOCK", &self.socket, arguments)
    }
}

/// Types a command and waits for its end elsewhere.
fn typing(world: &World, session: &str, line: &str) -> Running {
    world.start(&["type", session, line, "--wait", "--timeout", "60s"], Stdio::null())
}

fn runs(world: &World, session: &str, line: &str) -> Finished {
    typing(world, session, line).finish()
}

/// The one question that is open.
fn question(world: &World) -> Value {
    processes::eventually("somebody is asked", || {
        let questions = world.json(&["questions", "--json"]);
        questions.as_array().unwrap().first().cloned()
    })
}

fn nobody_is_asked(world: &World) {
    processes::eventually("nobody is asked any more", || {
        world.json(&["questions", "--json"]).as_array().unwrap().is_empty().then_some(())
    });
}

fn grant(world: &World, session: &str) -> Option<Value> {
    let record = world.show(session);
    record["grants"].as_array().unwrap().iter().find(|grant| grant["kind"] == "ssh_agent").cloned()
}

const SIGN: &str = "rm -f message.sig; ssh-keygen -q -Y sign -n file -f key.pub message";

for_root_and_user! {
    fn each_signature_is_a_question(world) {
        let Some(agent) = Agent::start(world) else { return };
        agent.sessile(world, &["run", "--detach", "--name", "signer", "--forward-agent", "--", "bash"]).succeeded();
        let id = world.show("signer")["id"].as_str().unwrap().to_owned();
        // The keys are shown, without what their owner calls them.
        let listed = runs(world, "signer", "ssh-add -L");
        let public = std::fs::read_to_string(world.project().join("key.pub")).unwrap();
        assert!(listed.succeeded().trim_end().starts_with(&public), "{}", listed.text());
        assert!(!listed.text().contains("ann@workstation"), "{}", listed.text());
        // Nothing else is passed on: keys are neither removed nor added, nor is the agent locked.
        for line in ["ssh-add -D", "ssh-add -d key.pub", "ssh-keygen -q -t ed25519 -N '' -f /tmp/own && ssh-add /tmp/own"] {
            assert_ne!(runs(world, "signer", line).code, 0, "{line}");
        }
        let kept = outside(world, "SSH_AUTH_SOCK=$1 ssh-add -l", &agent.socket).succeeded();
        assert_eq!(kept.lines().count(), 1, "{kept}");

        let signing = typing(world, "signer", SIGN);
        let asked = question(world);
        assert_eq!(asked["signature"]["purpose"], "signing in the namespace file");
        assert_eq!(asked["signature"]["comment"], "ann@workstation");
        let fingerprint = asked["signature"]["key"].as_str().unwrap();
        assert!(kept.contains(fingerprint), "{kept} lacks {fingerprint}");
        let number = asked["id"].as_str().unwrap();
        assert!(world.must(&["questions"]).contains("a signature by SHA256:"));
        world.sessile(&["answer", number, "allow", "--always"]).refused_with(64, &["by itself"]);
        world.must(&["answer", number, "allow"]);
        signing.finish().succeeded();
        let check = "ssh-keygen -Y check-novalidate -n file -s \"$1/message.sig\" < \"$1/message\"";
        outside(world, check, &world.project()).succeeded();
        assert_eq!(grant(world, "signer").unwrap()["signatures"], 1);

        let signing = typing(world, "signer", SIGN);
        world.must(&["answer", question(world)["id"].as_str().unwrap(), "deny", "--why", "not now"]);
        assert_ne!(signing.finish().code, 0);
        assert!(!world.project().join("message.sig").exists());
        assert_eq!(grant(world, "signer").unwrap()["signatures"], 1);

        // Who asked has left: so has the question.
        let signing = typing(world, "signer", SIGN);
        question(world);
        world.must(&["type", "signer", "--key", "ctrl-c"]);
        assert_eq!(signing.finish().code, 130);
        nobody_is_asked(world);

        // A keeper that dies takes what was asked along; nothing is signed by that, and the next asks.
        let signing = typing(world, "signer", SIGN);
        let before = question(world);
        let keeper = part(world, "keeper", &id).unwrap();
        kill(keeper);
        assert_ne!(signing.finish().code, 0);
        let signing = typing(world, "signer", SIGN);
        let after = question(world);
        assert_ne!(before["id"], after["id"], "an answer to the one is none to the other");
        world.sessile(&["answer", before["id"].as_str().unwrap(), "allow"]).refused_with(66, &["there is no such question"]);
        world.must(&["answer", after["id"].as_str().unwrap(), "allow"]);
        signing.finish().succeeded();
        outside(world, check, &world.project()).succeeded();

        // Denied for good, the agent is gone.
        let signing = typing(world, "signer", SIGN);
        world.must(&["answer", question(world)["id"].as_str().unwrap(), "deny", "--always"]);
        assert_ne!(signing.finish().code, 0);
        assert_eq!(runs(world, "signer", "ssh-add -l").code, 2);
        world.must(&["end", "signer", "--grace", "0s"]);
        let receipt = receipt(world, &id);
        assert!(receipt["outside"].as_array().unwrap().contains(&serde_json::json!(
            {"kind": "ssh_agent", "app": "main", "signatures": 2}
        )), "{receipt}");
    }

    fn it_is_given_to_nobody_else(world) {
        let Some(agent) = Agent::start(world) else { return };
        world.sessile(&["run", "--forward-agent", "--", "true"]).refused_with(64, &["SSH_AUTH_SOCK"]);
        let bogus = world.write("bogus", "");
        world.sessile_where("SSH_AUTH_SOCK", &bogus, &["run", "--forward-agent", "--", "true"])
            .refused_with(64, &["no socket"]);
        agent.sessile(world, &["run", "--detach", "--name", "plain", "--", "bash"]).succeeded();
        let look = "echo [$SSH_AUTH_SOCK]; ls /run";
        assert_eq!(runs(world, "plain", look).succeeded(), "[]\nlock  sessile  user\n");
        assert_eq!(grant(world, "plain"), None);
        // One app of the session is given it, by name; the other is not.
        let listed = agent.sessile(world, &["exec", "plain", "--app", "keys", "--forward-agent", "--", "ssh-add", "-l"]);
        assert!(listed.succeeded().contains("ED25519"), "{}", listed.text());
        assert_eq!(grant(world, "plain").unwrap()["app"], "keys");
        assert_eq!(runs(world, "plain", look).succeeded(), "[]\nlock  sessile  user\n");
        // An agent that is gone is a refusal, not a wait.
        drop(agent);
        let refused = world.sessile(&["exec", "plain", "--app", "keys", "--", "ssh-add", "-l"]);
        assert_ne!(refused.code, 0);
    }

    /// Whatever an app says to the agent, the session goes on.
    fn noise_harms_nothing(world) {
        let Some(agent) = Agent::start(world) else { return };
        agent.sessile(world, &["run", "--detach", "--name", "noisy", "--forward-agent", "--", "bash"]).succeeded();
        let script = "import socket, os\n\
            path = os.environ['SSH_AUTH_SOCK']\n\
            def dial():\n    s = socket.socket(socket.AF_UNIX); s.settimeout(30); s.connect(path); return s\n\
            s = dial(); s.sendall(b'\\xff' * 4096); print(s.recv(1))\n\
            s = dial(); s.sendall(b'\\0\\0\\0\\1\\x13' * 1000); print(set(s.recv(5000, socket.MSG_WAITALL)[4::5]))\n\
            s = dial(); s.sendall(b'\\0\\0\\0\\1\\x0b' * 2000); s.close()\n\
            held = [dial() for _ in range(8)]\n\
            [s.sendall(b'\\0\\0\\0\\2\\x0b') for s in held]\n\
            s = dial(); s.sendall(b'\\0\\0\\0\\1\\x0b'); print(s.recv(5, socket.MSG_WAITALL)[4])\n";
        world.write("noise.py", script);
        let noise = runs(world, "noisy", "python3 noise.py");
        assert_eq!(noise.succeeded(), "b''\n{5}\n12\n");
        let signing = typing(world, "noisy", SIGN);
        world.must(&["answer", question(world)["id"].as_str().unwrap(), "allow"]);
        signing.finish().succeeded();
    }
}
