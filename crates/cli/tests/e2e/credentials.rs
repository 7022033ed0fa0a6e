//! Credentials that the gateway sets and no program inside sees, and the TLS that it opens for it.

use std::fs;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::Path;

use crate::network::gateway;
use crate::support::stand_in::{Authority, StandIn, files_with, holds};
use crate::support::{Finished, World, processes, skip};

/// The secret. Each run has its own, so that nothing of an earlier one is found.
fn secret() -> String {
    let mut bytes = [0; 16];
    fs::File::open("/dev/urandom").unwrap().read_exact(&mut bytes).unwrap();
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Opens a session in the background, with the secret in the caller's environment.
fn open(world: &World, name: &str, secret: &str, arguments: &[&str]) -> String {
    let all =
        [&["run", "--detach", "--name", name, "--no-questions"], arguments, &["--", "sleep", "infinity"]];
    let mut command = world.command(&all.concat());
    command.env("API_TOKEN", secret);
    world.run(command).succeeded();
    world.show(name)["id"].as_str().unwrap().to_owned()
}

/// `curl` in a session.
fn curl(world: &World, name: &str, arguments: &[&str]) -> Finished {
    let all = ["exec", name, "--", "curl", "-sS", "-i", "--max-time", "30"];
    world.sessile(&[&all[..], arguments].concat())
}

fn url(port: u16) -> String {
    format!("https://host.sessile:{port}/")
}

/// Places where the secret is and must not be: in this world's files, in what programs were started
/// with, and in all that the apps of a session can see or have in memory.
fn seen(world: &World, name: &str, secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let mut found: Vec<String> = ["state", "run", "home", "project", "config"]
        .iter()
        .flat_map(|part| files_with(&world.folder().join(part), bytes))
        .map(|path| path.display().to_string())
        .collect();
    for pid in processes::all().into_keys() {
        for what in ["cmdline", "environ"] {
            let path = format!("/proc/{pid}/{what}");
            if pid != std::process::id() && fs::read(&path).is_ok_and(|text| holds(&text, bytes)) {
                found.push(path);
            }
        }
    }
    let main = world.main_pid(name);
    for folder in ["home", "tmp", "run", "etc", "var/tmp", "dev"] {
        let within = files_with(Path::new(&format!("/proc/{main}/root/{folder}")), bytes);
        found.extend(within.iter().map(|path| path.display().to_string()));
    }
    if memory_holds(main, bytes) {
        found.push("the app's memory".to_owned());
    }
    let inside = "env; cat /proc/*/environ /proc/*/cmdline 2>/dev/null | tr '\\0' '\\n'; mount";
    if world.must(&["exec", name, "--", "sh", "-c", inside]).contains(secret) {
        found.push("what a program inside reads of itself and others".to_owned());
    }
    found
}

fn memory_holds(pid: u32, bytes: &[u8]) -> bool {
    let Ok(mut memory) = fs::File::open(format!("/proc/{pid}/mem")) else {
        skip("an app's memory is not looked into");
        return false;
    };
    let maps = fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    maps.lines().filter(|line| line.contains(" r")).any(|line| {
        let (from, to) = line.split_once(' ').unwrap().0.split_once('-').unwrap();
        let [from, to] = [from, to].map(|number| u64::from_str_radix(number, 16).unwrap());
        let mut part = vec![0; usize::try_from(to - from).unwrap()];
        // Some mappings, those of the kernel among them, cannot be read.
        memory.seek(SeekFrom::Start(from)).and_then(|_| memory.read_exact(&mut part)).is_ok()
            && holds(&part, bytes)
    })
}

for_root_and_user! {
    fn a_credential_is_set_outside_and_seen_nowhere_inside(world) {
        let authority = Authority::new(world, "world");
        let host = StandIn::new(&authority, "host.sessile");
        let secret = secret();
        let credential = format!("host.sessile:{}=Authorization:bearer:env:API_TOKEN", host.port);
        open(world, "agent", &secret, &["--credential", &credential, "--upstream-ca", authority.path()]);
        let answer = curl(world, "agent", &["-H", "Authorization: mine", &url(host.port)]).succeeded();
        let line = format!("Authorization: Bearer {secret}\r\n");
        let heard = host.heard();
        assert!(heard.len() == 1 && heard[0].contains(&line) && !heard[0].contains("mine"), "{heard:?}");
        // What the host says of it does not come back.
        assert!(answer.contains("200 OK") && answer.contains("Bearer ****"), "{answer}");
        assert!(answer.contains("X-Echo: Authorization: Bearer -"), "{answer}");
        assert!(!answer.contains(&secret), "{answer}");
        assert_eq!(seen(world, "agent", &secret), Vec::<String>::new());
        // The search sees it where it is: outside, and inside, in the project.
        let stray = world.write("stray", &secret);
        let found = seen(world, "agent", &secret);
        assert!(found.len() == 2 && found.iter().all(|place| place.ends_with("/stray")), "{found:?}");
        fs::remove_file(stray).unwrap();

        let record = world.show("agent");
        let granted = record["grants"].as_array().unwrap().iter().find(|g| g["kind"] == "credential");
        let granted = granted.unwrap_or_else(|| panic!("no such grant: {record:#}"));
        assert_eq!(granted["header"], "Authorization");
        assert_eq!(granted["target"], format!("host.sessile:{}", host.port));
        world.must(&["end", "agent", "--grace", "0s"]);
        let left = files_with(&world.state(), secret.as_bytes());
        assert!(left.is_empty(), "{left:?}");
    }

    fn programs_inside_trust_the_session_by_every_way(world) {
        let authority = Authority::new(world, "world");
        let host = StandIn::new(&authority, "host.sessile");
        let rule = format!("host.sessile:{}", host.port);
        let given = ["--allow", &rule, "--intercept", &rule, "--upstream-ca", authority.path()];
        open(world, "trusting", "unused", &given);
        let to = url(host.port);
        let python = format!("import urllib.request as u; print(u.urlopen('{to}').status)");
        for command in [
            // By variables, and by where the system keeps them.
            &["curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}\n", &to][..],
            &["env", "-i", "curl", "-sS", "-o", "/dev/null", "-w", "%{http_code}\n", &to],
            &["python3", "-c", &python],
            &["env", "-i", "python3", "-c", &python],
        ] {
            let said = world.must(&[&["exec", "trusting", "--"], command].concat());
            assert_eq!(said, "200\n", "{command:?}");
        }
        let heard = host.heard();
        assert!(heard.len() == 4 && heard.iter().all(|head| !head.contains("Authorization")), "{heard:?}");
        // A program that trusts this one authority alone is not deceived, and the flow says why.
        let pinned = curl(world, "trusting", &["--cacert", authority.path(), &to]);
        assert_eq!(pinned.code, 60, "{}", pinned.err);
        let shown = world.json(&["net", "trusting", "--json"]);
        assert!(shown.to_string().contains("does not trust the session's certificate authority"), "{shown}");
        // Nor one that speaks HTTP/2 alone.
        let http2 = format!(
            "import socket, ssl; c = ssl.create_default_context(); c.set_alpn_protocols(['h2']); \
             c.wrap_socket(socket.create_connection(('host.sessile', {})), server_hostname='host.sessile')",
            host.port
        );
        let other = world.sessile(&["exec", "trusting", "--", "python3", "-c", &http2]);
        // As OpenSSL says it, in one version or another.
        let said = other.err.to_lowercase().replace('_', " ");
        assert!(other.code != 0 && said.contains("no application protocol"), "{}", other.err);
        assert_eq!(host.heard().len(), 4);
        // Outside, nobody trusts it.
        assert!(!fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap_or_default().contains("sessile"));
    }

    fn no_other_host_gets_it(world) {
        let authority = Authority::new(world, "world");
        let [host, opened, passed] = [(); 3].map(|()| StandIn::new(&authority, "host.sessile"));
        let secret = secret();
        let token = world.folder().join("token");
        fs::write(&token, format!("{secret}\n")).unwrap();
        world.give_to_caller(&token);
        let credential = format!("host.sessile:{}=X-Api-Key:file:{}", host.port, token.display());
        let rules = [opened.port, passed.port].map(|port| format!("host.sessile:{port}"));
        open(world, "one", "unused", &[
            "--credential", &credential, "--upstream-ca", authority.path(),
            "--allow", &rules[0], "--intercept", &rules[0], "--allow", &rules[1],
        ]);
        assert!(curl(world, "one", &[&url(host.port)]).succeeded().contains("200 OK"));
        assert!(host.heard()[0].contains(&format!("X-Api-Key: {secret}\r\n")));
        assert!(curl(world, "one", &[&url(opened.port)]).succeeded().contains("200 OK"));
        // This one's TLS is its own: the session's authority is not in its way.
        let through = curl(world, "one", &["--cacert", authority.path(), &url(passed.port)]).succeeded();
        assert!(through.contains("200 OK"), "{through}");
        for other in [&opened, &passed] {
            assert!(other.heard().len() == 1 && !other.heard()[0].contains("X-Api-Key"), "{:?}", other.heard());
        }
        // Nor a request inside its TLS that is for another.
        let elsewhere = curl(world, "one", &["-H", "Host: other.example", &url(host.port)]).succeeded();
        assert!(elsewhere.contains("403 Forbidden") && host.heard().len() == 1, "{elsewhere}");
        // Nor whoever listens there without TLS.
        let plain = curl(world, "one", &[&format!("http://host.sessile:{}/", host.port)]);
        assert!(!plain.text().contains("200 OK") && host.heard().len() == 1, "{}", plain.text());
    }

    fn a_host_that_cannot_prove_its_name_gets_nothing(world) {
        let [trusted, stranger] = ["world", "stranger"].map(|name| Authority::new(world, name));
        let hosts = [StandIn::new(&stranger, "host.sessile"), StandIn::new(&trusted, "other.example")];
        let credentials = hosts
            .iter()
            .map(|host| format!("host.sessile:{}=Authorization:env:API_TOKEN", host.port))
            .collect::<Vec<_>>();
        open(world, "strict", &secret(), &[
            "--credential", &credentials[0], "--credential", &credentials[1], "--upstream-ca", trusted.path(),
        ]);
        for host in &hosts {
            let answer = curl(world, "strict", &[&url(host.port)]).succeeded();
            assert!(answer.contains("502 Bad Gateway") && answer.contains("certificate"), "{answer}");
            assert!(host.heard().is_empty(), "{:?}", host.heard());
        }
    }

    fn a_policy_judges_requests_inside_opened_tls(world) {
        let authority = Authority::new(world, "world");
        let host = StandIn::new(&authority, "host.sessile");
        let file = world.folder().join("reads.cedar");
        let forbid = r#"@id("reads") forbid (principal, action == Action::"request", resource)
                        unless { context.method == "GET" };"#;
        fs::write(&file, forbid).unwrap();
        let rule = format!("host.sessile:{}", host.port);
        open(world, "judged", "unused", &[
            "--allow", &rule, "--intercept", &rule, "--upstream-ca", authority.path(),
            "--policy", file.to_str().unwrap(),
        ]);
        assert!(curl(world, "judged", &[&url(host.port)]).succeeded().contains("200 OK"));
        let refused = curl(world, "judged", &["-X", "DELETE", &url(host.port)]).succeeded();
        assert!(refused.contains("403 Forbidden") && refused.contains("policy reads"), "{refused}");
        assert_eq!(host.heard().len(), 1);
    }

    fn a_credential_outlives_keeper_and_gateway(world) {
        let authority = Authority::new(world, "world");
        let host = StandIn::new(&authority, "host.sessile");
        let secret = secret();
        let credential = format!("host.sessile:{}=Authorization:env:API_TOKEN", host.port);
        let id = open(world, "long", &secret, &["--credential", &credential, "--upstream-ca", authority.path()]);
        let works = || assert!(curl(world, "long", &[&url(host.port)]).succeeded().contains("200 OK"));
        works();
        processes::kill(processes::part(world, "keeper", &id).unwrap());
        works();
        processes::kill(gateway(world, &id).unwrap());
        works();
        let line = format!("Authorization: {secret}\r\n");
        assert!(host.heard().len() == 3 && host.heard().iter().all(|head| head.contains(&line)));
    }

    fn without_its_credential_a_session_does_not_go_on(world) {
        let daemon = world.daemon_with("skip=adopt.interception");
        let authority = Authority::new(world, "world");
        let host = StandIn::new(&authority, "host.sessile");
        let credential = format!("host.sessile:{}=Authorization:env:API_TOKEN", host.port);
        let id = open(world, "lost", &secret(), &["--credential", &credential, "--upstream-ca", authority.path()]);
        processes::kill(processes::part(world, "keeper", &id).unwrap());
        let record = processes::eventually("the session ends", || {
            let record = world.show(&id);
            (record["state"] == "closed").then_some(record)
        });
        assert!(record.to_string().contains("credentials are lost"), "{record:#}");
        assert_eq!(record["outcome"]["kind"], "failed", "{record:#}");
        assert!(host.heard().is_empty());
        world.must(&["daemon", "stop"]);
        daemon.finish().ended_with(0);
    }

    fn a_secret_does_not_belong_on_a_command_line(world) {
        let refused = world.sessile(&["run", "--credential", "a.example=Authorization:hush-hush", "--", "true"]);
        refused.refused_with(64, &["env:VAR", "file:PATH"]);
        let unset = world.sessile(&["run", "--credential", "a.example=Authorization:env:API_TOKEN", "--", "true"]);
        unset.refused_with(64, &["API_TOKEN is not set"]);
        let key = world.write("key", "hush-hush");
        let own = format!("a.example=Authorization:file:{}", key.display());
        let given = world.sessile(&["run", "--credential", &own, "--", "true"]);
        given.refused_with(64, &["programs inside could read the credential"]);
        world
            .sessile(&["run", "--route", "none", "--intercept", "a.example", "--", "true"])
            .refused_with(64, &["route none"]);
    }
}
