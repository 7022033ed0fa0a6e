//! Requests that are held until somebody has answered.

use std::fs;
use std::os::unix::fs::FileExt as _;
use std::process::Stdio;

use serde_json::json;

use crate::answers::ended;
use crate::guarded::{denied_by_nobody, guard, guarded, impatient};
use crate::outgoing::{HIDDEN, Host, VALUE, passes, question, told};
use crate::support::processes::{eventually, kill, part};
use crate::support::stand_in::holds;
use crate::support::{World, skip};
use crate::wipe::receipt;

for_root_and_user! {
    fn what_was_said_leaves_for_a_host_that_somebody_allows(world) {
        let host = Host::new();
        world.write("rules/guard.cedar", "@id(\"all\") permit (principal, action == Action::\"message\", resource);
            @id(\"requests\") permit (principal, action == Action::\"send\", resource);
            @id(\"leaks\") @effect(\"RequireConfirmation\") permit (principal, action == Action::\"send\", resource)
            when { context.confidentiality >= 3 && !context.withinReaders };");
        let id = told(world, &["--policy", "rules", "--allow", &host.rule()]);
        let url = host.url("/");
        let body = format!("password={VALUE}");
        let send = ["exec", "desk", "--", "curl", "-sS", "-i", &url, "-d", &body];
        let waiting = world.start(&send, Stdio::null());
        let asked = question(world);
        let line = &asked["line"];
        assert_eq!((&line["from"], &line["by"], &line["to"]), (&"main".into(), &"app:main".into(), &host.rule().into()));
        assert_eq!((&line["label"], &line["policies"]), (&"request body".into(), &json!(["leaks"])));
        assert!(line["found"].to_string().contains(VALUE) && line["found"].to_string().contains("User"), "{line}");
        assert!(host.heard().is_empty(), "nothing of it is sent before");
        let number = asked["id"].as_str().unwrap();
        world.sessile(&["answer", number, "allow", "--always"]).refused_with(64, &["by itself"]);
        world.must(&["answer", number, "deny", "--why", "not there"]);
        assert!(waiting.finish().succeeded().contains("403 Forbidden"));
        // Whoever leaves takes the question along.
        let waiting = world.start(&send, Stdio::null());
        question(world);
        kill(guard(world, &id).unwrap().pid);
        eventually("nobody is asked any more", || (world.json(&["questions", "--json"]) == json!([])).then_some(()));
        assert!(waiting.finish().succeeded().contains("503 Service Unavailable"));
        assert_eq!(ended(world, "desk"), ["not there", "given up with its guard"]);
        let waiting = world.start(&send, Stdio::null());
        question(world);
        kill(part(world, "keeper", &id).unwrap());
        assert!(!waiting.finish().succeeded().contains("200 OK"));
        eventually("it is given up", || (ended(world, "desk").last()? == "given up with its keeper").then_some(()));
        // So does an app that has left, though its connection may look as one that has no more to say.
        for (number, path) in ["/left", &format!("/left?q={VALUE}")].into_iter().enumerate() {
            let url = host.url(path);
            let mut send = vec!["exec", "desk", "--", "curl", "-sS", "--max-time", "2", &url];
            send.extend(["-d", &body].into_iter().filter(|_| number == 0));
            let leaves = world.start(&send, Stdio::null());
            question(world);
            leaves.finish().ended_with(28);
            eventually("nobody is asked any more", || (world.json(&["questions", "--json"]) == json!([])).then_some(()));
        }
        assert!(host.heard().is_empty(), "{:?}", host.heard());
        let waiting = world.start(&send, Stdio::null());
        world.must(&["answer", question(world)["id"].as_str().unwrap(), "allow"]);
        assert!(waiting.finish().succeeded().contains("200 OK"));
        assert!(host.heard().last().unwrap().ends_with(&body));
        // From then on it may read it.
        passes(world, &[&host.url(&format!("/?q={VALUE}"))]);
        let told = world.must(&["audit", "desk"]);
        assert!(told.contains("request body") && told.contains("not there"), "{told}");
    }

    fn what_an_answer_allows_is_kept_where_nobody_reads_it_and_past_every_death(world) {
        let host = Host::new();
        world.write("rules/guard.cedar", "@id(\"requests\") permit (principal, action == Action::\"send\", resource);
            @id(\"leaks\") @effect(\"RequireConfirmation\") permit (principal, action == Action::\"send\", resource)
            when { !context.withinReaders };");
        let mut command = world.command(&[
            "run", "--detach", "--name", "desk", "--policy", "rules", "--allow", &host.rule(), "--env", "DEPLOY_TOKEN",
            "--", "sleep", "infinity",
        ]);
        command.env("DEPLOY_TOKEN", VALUE);
        world.run(command).succeeded();
        let id = world.show("desk")["id"].as_str().unwrap().to_owned();
        let url = host.url("/");
        let waiting = world.start(&["exec", "desk", "--", "curl", "-sS", "-i", &url, "-d", HIDDEN], Stdio::null());
        world.must(&["answer", question(world)["id"].as_str().unwrap(), "allow"]);
        assert!(waiting.finish().succeeded().contains("200 OK"));
        let allowed = || passes(world, &[&url, "-d", HIDDEN]);
        allowed();
        let unread = || {
            for part in ["anchor", "keeper"].map(|name| part(world, name, &id).unwrap()) {
                nothing_of_it_is_read(world, part);
            }
        };
        unread();
        kill(guard(world, &id).unwrap().pid);
        allowed();
        kill(guard(world, &id).unwrap().pid);
        kill(part(world, "keeper", &id).unwrap());
        allowed();
        unread();
        world.must(&["end", "desk", "--grace", "1s"]);
        let told = receipt(world, &id)["guard"].clone();
        assert!(told["overwritten"].as_u64().unwrap() > 0, "{told}");
    }

    fn a_request_that_nobody_answers_about_is_denied(world) {
        let (daemon, host) = (impatient(world), Host::new());
        world.write("rules/guard.cedar", "@id(\"all\") permit (principal, action == Action::\"message\", resource);
            @id(\"leaks\") @effect(\"RequireConfirmation\") permit (principal, action == Action::\"send\", resource);");
        told(world, &["--policy", "rules", "--allow", &host.rule()]);
        let url = host.url("/");
        let waiting = world.start(&["exec", "desk", "--", "curl", "-sS", "-i", &url], Stdio::null());
        let asked = question(world)["id"].as_str().unwrap().to_owned();
        let said = waiting.finish().succeeded();
        assert!(said.contains("403 Forbidden") && said.contains("refused by policy. Do not retry"), "{said}");
        denied_by_nobody(world);
        world.sessile(&["answer", &asked, "allow"]).refused_with(66, &["there is no such question"]);
        assert!(host.heard().is_empty(), "nothing of it was sent");
        assert_eq!(guarded(world)["refused"], 1);
        world.must(&["end", "desk", "--grace", "0s"]);
        world.must(&["daemon", "stop"]);
        daemon.finish().ended_with(0);
    }
}

/// The value is in no memory file that can be read of a process, and its secret memory cannot be: neither
/// by its descriptor nor where it is mapped.
fn nothing_of_it_is_read(world: &World, process: u32) {
    if !world.is_root() {
        return;
    }
    let (mut read, mut secret) = (0, 0);
    for file in fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten() {
        let Ok(name) = fs::read_link(file.path()) else { continue };
        let name = name.to_string_lossy().into_owned();
        if name.contains("secretmem") {
            secret += 1;
            assert!(fs::read(file.path()).is_err(), "{name} is read");
        } else if name.starts_with("/memfd:secret") && guarded(world)["weaker_because"].is_string() {
            skip(
                "memfd_secret is not available: what guards know can be read by whoever may trace the keeper",
            );
        } else if name.starts_with("/memfd:") {
            let bytes = fs::read(file.path()).unwrap_or_default();
            read += usize::from(!bytes.is_empty());
            assert!(!holds(&bytes, VALUE.as_bytes()), "{name} holds it");
        }
    }
    assert!(read > 1, "none could be read");
    let memory = fs::File::open(format!("/proc/{process}/mem")).unwrap();
    for line in fs::read_to_string(format!("/proc/{process}/maps")).unwrap().lines() {
        if line.contains("secretmem") {
            let start = u64::from_str_radix(line.split_once('-').unwrap().0, 16).unwrap();
            assert!(memory.read_exact_at(&mut [0; 64], start).is_err(), "{line} is read");
        }
    }
    assert!(secret > 0 || guarded(world)["weaker_because"].is_string(), "it has no secret memory");
}
