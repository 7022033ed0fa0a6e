//! A coding agent at work in a session: its real client, against a service that stands in for its
//! model's, with a key that it cannot read, and a package from the real registry.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use serde_json::{Value, json};

use crate::support::skip;
use crate::support::stand_in::{Authority, StandIn, files_with};

/// What the model has the agent do, one after the other.
const STEPS: [&str; 4] = [
    "npm install is-number --no-audit --no-fund && node -p 'require(\"is-number\")(5)'",
    "cat /proc/*/environ | tr '\\0' '\\n' | grep -i key; cat /proc/*/cmdline | tr '\\0' ' '",
    "(setsid node -e 'require(\"http\").createServer((q, s) => s.end(\"a page\")).listen(3000)' >/dev/null 2>&1 &)",
    "curl -sS -m 20 http://elsewhere.example/; curl -sS -m 20 https://pypi.org/",
];

/// The agent's client, where `cargo xtask setup` has put it and it can run.
fn client() -> Option<PathBuf> {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap().join("agent");
    // With no more than a session has of the caller's surroundings.
    let works = |program: &str, arguments: &[&str]| {
        let mut command = Command::new(program);
        command.args(arguments).env_clear().env("HOME", "/nonexistent");
        command.env("PATH", "/usr/local/bin:/usr/bin:/bin");
        command.env("NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/ca-certificates.crt");
        command.output().is_ok_and(|output| output.status.success())
    };
    if !folder.join("node_modules/@google/gemini-cli").exists() {
        skip(
            "the agent's client is not installed: cargo xtask setup does it where there are npm and a registry",
        );
        return None;
    }
    if !works("node", &["-e", "process.exit(+(process.versions.node.split('.')[0] < 20))"]) {
        skip("the agent's client needs Node.js 20");
        return None;
    }
    let cache = folder.join("cache");
    if !works("npm", &["view", "is-number", "version", "--cache", cache.to_str().unwrap()]) {
        skip("there is no registry of npm to be reached");
        return None;
    }
    Some(folder)
}

/// What the model says to a request.
fn model(_: &str, body: &[u8]) -> Vec<u8> {
    let asked: Value = serde_json::from_slice(body).unwrap_or_default();
    let done = asked["contents"].to_string().matches("\"functionResponse\"").count();
    let part = match STEPS.get(done) {
        Some(command) => {
            json!({ "functionCall": { "name": "run_shell_command", "args": { "command": command, "description": "a step" } } })
        }
        None => json!({ "text": "All done." }),
    };
    let answer = json!({
        "candidates": [{ "content": { "role": "model", "parts": [part] }, "finishReason": "STOP", "index": 0 }],
        "usageMetadata": { "promptTokenCount": 1, "candidatesTokenCount": 1, "totalTokenCount": 2 },
    });
    let text = format!("data: {answer}\r\n\r\n");
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {}\r\n\r\n",
        text.len()
    );
    (head + &text).into_bytes()
}

for_root_and_user! {
    fn an_agent_works_without_its_key_and_reaches_nothing_else(world) {
        let Some(installed) = client() else { return };
        let agent = world.folder().join("agent");
        let copied = Command::new("cp").arg("-r").arg(&installed).arg(&agent).status().unwrap();
        assert!(copied.success());
        let secret = format!("key-{}", fs::read_to_string("/proc/sys/kernel/random/uuid").unwrap().trim());
        let authority = Authority::new(world, "world");
        let service = StandIn::answering(&authority, "host.sessile", model);
        let script = format!(
            "mkdir -p ~/.gemini && echo '{{\"security\":{{\"auth\":{{\"selectedType\":\"gemini-api-key\"}}}}}}' > ~/.gemini/settings.json
             export GEMINI_API_KEY=placeholder GOOGLE_GEMINI_BASE_URL=https://host.sessile:{}
             node /mnt/agent/node_modules/@google/gemini-cli/bundle/gemini.js --yolo --skip-trust -m gemini-2.5-flash -p 'do it'
             echo it ended with $?; exec sleep infinity",
            service.port
        );
        let mount = format!("{}:/mnt/agent", agent.display());
        let credential = format!("host.sessile:{}=x-goog-api-key:env:MODEL_KEY", service.port);
        let mut command = world.command(&[
            "run", "--detach", "--name", "agent", "--no-questions", "--mount", &mount, "--allow", "@npm",
            "--credential", &credential, "--upstream-ca", authority.path(), "--", "bash", "-c", &script,
        ]);
        command.env("MODEL_KEY", &secret);
        world.run(command).succeeded();
        world.must(&["wait", "agent", "--pattern", "it ended with", "--timeout", "180s"]);
        let said = world.must(&["output", "agent"]);
        assert!(said.contains("All done.") && said.contains("it ended with 0"), "{said}");

        // The service was asked with the key, and by nobody with anything else.
        let heads = service.heard();
        assert!(heads.len() > STEPS.len(), "{heads:?}");
        let key = format!("x-goog-api-key: {secret}\r\n");
        assert!(heads.iter().all(|head| head.contains(&key) && !head.contains("placeholder")), "{heads:?}");
        // What the agent told the model of each step.
        let bodies = service.bodies();
        let last: Value = serde_json::from_slice(bodies.last().unwrap()).unwrap();
        let told = last["contents"].to_string();
        for expected in ["added 1 package", "true", "GEMINI_API_KEY=placeholder", "may not reach elsewhere.example"] {
            assert!(told.contains(expected), "{expected}: {told}");
        }
        assert!(bodies.iter().all(|body| !String::from_utf8_lossy(body).contains(&secret)));
        assert!(world.project().join("node_modules/is-number/package.json").exists());
        let inside = PathBuf::from(format!("/proc/{}/root", world.main_pid("agent")));
        for folder in ["home", "tmp", "run", "var/tmp"] {
            assert_eq!(files_with(&inside.join(folder), secret.as_bytes()), Vec::<PathBuf>::new());
        }

        // Its page, from outside.
        let shown = world.json(&["port", "agent", "3000:0", "--json"]);
        let local = shown["address"].as_str().unwrap().to_owned();
        let mut page = TcpStream::connect(local.trim_start_matches("http://").trim_end_matches('/')).unwrap();
        page.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        page.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        page.read_to_string(&mut text).unwrap();
        assert!(text.starts_with("HTTP/1.1 200") && text.contains("a page"), "{text}");

        let flows = world.json(&["net", "agent", "--json"])["flows"].clone();
        for flow in flows.as_array().unwrap() {
            let host = flow["host"].as_str().unwrap();
// Its own reports to its maker among what is refused.
            let is_meant = host == "host.sessile" || host.contains("registry");
            let expected = if is_meant { "allow" } else { "deny" };
            assert_eq!(flow["verdict"], expected, "{flow}");
        }
        assert!(flows.to_string().contains("registry") && flows.to_string().contains("pypi.org"), "{flows}");
        world.must(&["end", "agent", "--grace", "0s"]);
        assert_eq!(files_with(&world.state(), secret.as_bytes()), Vec::<PathBuf>::new());
    }
}
