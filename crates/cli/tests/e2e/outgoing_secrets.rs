//! Whose a secret is that apps send: the first host's that it authenticates at, a credential's own host's, or nobody's.

use std::fs;

use serde_json::Value;

use crate::guarded::{guard, guarded};
use crate::outgoing::{HIDDEN, Host, PERCENT, TOKEN, VALUE, decided, passes, refused};
use crate::support::processes::{self, kill, part};
use crate::support::stand_in::{Authority, StandIn, files_with, holds};

for_root_and_user! {
    fn a_secret_is_the_first_hosts_that_it_authenticates_at(world) {
        let authority = Authority::new(world, "world");
        let [first, other] = [(); 2].map(|()| StandIn::new(&authority, "host.sessile"));
        let rules = [&first, &other].map(|host| format!("host.sessile:{}", host.port));
        let [to_first, to_other] = [&first, &other].map(|host| format!("https://host.sessile:{}/", host.port));
        world.must(&[
            "run", "--detach", "--name", "desk", "--upstream-ca", authority.path(),
            "--allow", &rules[0], "--intercept", &rules[0], "--allow", &rules[1], "--intercept", &rules[1],
            "--", "sleep", "infinity",
        ]);
        let id = world.show("desk")["id"].as_str().unwrap().to_owned();
        assert!(guarded(world)["guarded"].to_string().contains(&rules[1]), "{}", guarded(world));
        assert!(guard(world, &id).is_none(), "nothing was sent");
        let bearer = format!("Authorization: Bearer {TOKEN}");
        // Where it stands is not where it authenticates.
        refused(world, &[&to_first, "-d", TOKEN]);
        refused(world, &[&to_first, "-H", &format!("X-Note: {TOKEN}")]);
        refused(world, &[&format!("{to_first}?key={TOKEN}")]);
        passes(world, &[&to_first, "-H", &bearer]);
        passes(world, &[&to_first, "-H", &bearer, "-d", TOKEN]);
        refused(world, &[&to_other, "-H", &bearer]);
        refused(world, &[&to_other, "-d", TOKEN]);
        // Nor is one that looks like nothing anybody else's.
        let opaque = "X-Api-Key: w8Zq71kdMm2x90Ttq3";
        passes(world, &[&to_other, "-H", opaque]);
        refused(world, &[&to_first, "-H", opaque]);
        // A guard and a keeper that die change nothing of it.
        kill(guard(world, &id).unwrap().pid);
        refused(world, &[&to_other, "-H", &bearer]);
        kill(part(world, "keeper", &id).unwrap());
        refused(world, &[&to_other, "-H", &bearer]);
        passes(world, &[&to_first, "-H", &bearer]);
        assert_eq!((first.heard().len(), other.heard().len()), (3, 1));
        let effects: Vec<Value> = decided(world, &id).iter().map(|entry| entry["effect"].clone()).collect();
        assert_eq!(effects.iter().filter(|effect| *effect == "pass").count(), 2, "{effects:?}");
    }

    fn a_password_is_the_first_hosts_that_it_logs_in_to(world) {
        let [first, other] = [(); 2].map(|()| Host::new());
        let rules = [&first, &other].map(Host::rule);
        world.must(&["run", "--detach", "--name", "desk", "--allow", &rules[0], "--allow", &rules[1], "--", "sleep", "infinity"]);
        let id = world.show("desk")["id"].as_str().unwrap().to_owned();
        passes(world, &[&first.url("/"), "-u", "ann:Tr0ub4dor3xyz"]);
        let elsewhere = || {
            refused(world, &[&other.url("/"), "-d", "it is Tr0ub4dor3xyz"]);
            refused(world, &[&other.url("/"), "-u", "ann:Tr0ub4dor3xyz"]);
            refused(world, &[&other.url("/"), "-u", "somebody.else:Tr0ub4dor3xyz"]);
            refused(world, &[&other.url("/"), "-x", &other.url(""), "-U", "x:Tr0ub4dor3xyz"]);
        };
        elsewhere();
        passes(world, &[&other.url("/"), "-u", "ann:w8Zq71kdMm2x", "-d", "ann"]);
        passes(world, &[&first.url("/"), "-d", "it is Tr0ub4dor3xyz"]);
        kill(guard(world, &id).unwrap().pid);
        kill(part(world, "keeper", &id).unwrap());
        elsewhere();
        assert!(other.heard().iter().all(|said| !said.contains("Tr0ub4dor3xyz") && !said.contains("Tr0ub")));
        assert!(files_with(&world.state(), b"Tr0ub4dor3xyz").is_empty());
    }

    fn a_credential_is_known_to_the_guard(world) {
        let authority = Authority::new(world, "world");
        let (owner, host) = (StandIn::new(&authority, "host.sessile"), Host::new());
        let credential = format!("host.sessile:{}=Authorization:bearer:env:API_TOKEN", owner.port);
        let mut command = world.command(&[
            "run", "--detach", "--name", "desk", "--credential", &credential, "--upstream-ca", authority.path(),
            "--allow", &host.rule(), "--", "sleep", "infinity",
        ]);
        command.env("API_TOKEN", VALUE);
        world.run(command).succeeded();
        let to_owner = format!("https://host.sessile:{}/", owner.port);
        passes(world, &[&to_owner]);
        // It has told somebody inside, who tells nobody else.
        refused(world, &[&host.url("/"), "-d", HIDDEN]);
        passes(world, &[&to_owner, "-d", VALUE]);
        assert!(host.heard().is_empty());
    }

    fn a_secret_of_the_environment_leaves_for_nobody(world) {
        let host = Host::new();
        let mut command = world.command(&[
            "run", "--detach", "--name", "desk", "--allow", &host.rule(), "--env", "DEPLOY_TOKEN", "--env", "SETTING",
            "--env", "MODE_KEY=debug", "--", "sleep", "infinity",
        ]);
        command.env("DEPLOY_TOKEN", VALUE).env("SETTING", TOKEN);
        world.run(command).succeeded();
        let id = world.show("desk")["id"].as_str().unwrap().to_owned();
        let inside = world.must(&["exec", "desk", "--", "sh", "-c", "printf %s $DEPLOY_TOKEN | wc -c"]);
        assert_eq!(inside.trim(), VALUE.len().to_string(), "the app itself has it");
        passes(world, &[&host.url("/"), "-d", "debug: all is well"]);
        let url = host.url("/");
        // Nobody says it here but the app, from its variables.
        let late = "Zq81-mRt4-vWx2-pLk7";
        for (name, value) in [("DEPLOY_TOKEN", VALUE), ("SETTING", TOKEN), ("LATE_PASSWORD", late)] {
            let script = format!("curl -sS -i --max-time 60 -d \"the ${name}\" {url}");
            let own: &[&str] = if value == late { &["--env", name] } else { &[] };
            let mut command = world.command(&[&["exec", "desk"], own, &["--", "sh", "-c", &script]].concat());
            command.env("LATE_PASSWORD", late);
            let said = world.run(command).succeeded();
            assert!(said.contains("403 Forbidden"), "{name}: {said}");
        }
        // It is in no file, in nobody's arguments, and in none of the files that outlive a keeper.
        let values = [VALUE, TOKEN, late];
        for folder in [world.state(), world.runtime()] {
            assert!(values.iter().all(|value| files_with(&folder, value.as_bytes()).is_empty()));
        }
        let anchor = part(world, "anchor", &id).unwrap();
        for process in processes::tree(anchor) {
            let own = process.line();
            let is_ours = own.starts_with("sessile") || own.contains("/sessile");
            assert!(!is_ours || values.iter().all(|value| !own.contains(value)), "{own}");
        }
        let mut files = 0;
        for file in fs::read_dir(format!("/proc/{anchor}/fd")).into_iter().flatten().flatten() {
            let Ok(name) = fs::read_link(file.path()) else { continue };
            let name = name.to_string_lossy().into_owned();
            if name.starts_with("/memfd:") && !name.starts_with("/memfd:secret") {
                let bytes = fs::read(file.path()).unwrap_or_default();
                files += usize::from(!bytes.is_empty());
                assert!(values.iter().all(|value| !holds(&bytes, value.as_bytes())), "{name}");
            }
        }
        assert!(files > 1 || !rustix::process::getuid().is_root(), "none could be read");
        let bearer = [VALUE, TOKEN].map(|value| format!("Authorization: Bearer {value}"));
        let nowhere = || {
            refused(world, &[&url, "-d", VALUE]);
            refused(world, &[&url, "-d", HIDDEN]);
            refused(world, &[&format!("{url}?q={PERCENT}")]);
            // Nor is it the first host's, as what an app found by itself is.
            bearer.iter().for_each(|field| refused(world, &[&url, "-H", field]));
        };
        nowhere();
        // Whoever dies is followed by one that knows the same.
        kill(guard(world, &id).unwrap().pid);
        nowhere();
        refused(world, &[&url, "-d", late]);
        kill(part(world, "keeper", &id).unwrap());
        nowhere();
        refused(world, &[&url, "-d", late]);
        let heard = host.heard();
        assert!(heard.iter().all(|said| !said.contains(VALUE) && !said.contains(TOKEN)), "{heard:?}");
        world.must(&["end", "desk", "--grace", "1s"]);
        assert!([VALUE, TOKEN, late].iter().all(|value| files_with(&world.state(), value.as_bytes()).is_empty()));
    }
}
