//! Policy files in Cedar: what they allow, ask about and forbid, connections and requests.

use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::JoinHandle;

use crate::network::question;
use crate::support::World;

/// An HTTP server on the host's loopback that answers a connection's request with its first line.
/// Takes so many connections.
fn repeats_what_was_asked(connections: usize) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        for _ in 0..connections {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&stream).lines();
            let head: Vec<_> = lines.by_ref().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
            let Some(first) = head.first() else { continue };
            assert!(first.starts_with("GET /v1/a ") || first.starts_with("GET / "), "{first}");
            write!(
                &stream,
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{first}\n",
                first.len() + 1
            )
            .unwrap();
        }
    });
    (port, serving)
}

/// A file of policies outside of every session.
fn policy(world: &World, text: &str) -> String {
    let path: PathBuf = world.folder().join("work.cedar");
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A script that sends one request and prints what comes back.
fn ask(port: u16, method: &str, path: &str) -> String {
    format!(
        "exec 3<>/dev/tcp/host.sessile/{port}; \
         printf '{method} {path} HTTP/1.1\\r\\nHost: host.sessile:{port}\\r\\n\\r\\n' >&3; cat <&3"
    )
}

for_root_and_user! {
    fn a_policy_allows_by_app_and_port_and_judges_each_request(world) {
        let (port, serving) = repeats_what_was_asked(5);
        let file = policy(world, &format!(r#"
            @id("dev") permit (principal == App::"main", action, resource == Host::"host.sessile")
            when {{ context.port == {port} }};
            @id("reads") forbid (principal, action == Action::"request", resource == Host::"host.sessile")
            unless {{ context.method == "GET" && context.path like "/v1/*" }};
        "#));
        world.must(&["run", "--detach", "--name", "p", "--no-questions", "--policy", &file, "--", "sleep", "infinity"]);
        let asked = |app: &[&str], method: &str, path: &str| {
            let script = ask(port, method, path);
            world.sessile(&[&["exec", "p"], app, &["--", "bash", "-c", &script]].concat()).out
        };
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        assert!(text(asked(&[], "GET", "/v1/a")).ends_with("\nGET /v1/a HTTP/1.1\n"));
        for (method, path) in [("POST", "/v1/a"), ("GET", "/v2/a"), ("GET", "/v1/../a")] {
            let text = text(asked(&[], method, path));
            assert!(text.starts_with("HTTP/1.1 403") && text.contains("policy reads"), "{method} {path}: {text}");
        }
        let other = text(asked(&["--app", "other"], "GET", "/v1/a"));
        assert!(other.starts_with("HTTP/1.1 403") && other.contains("the host needs a rule"), "{other}");
        let unseen = format!("exec 3<>/dev/tcp/host.sessile/{port}; printf 'SSH-2.0-x\\r\\n' >&3; cat <&3");
        world.sessile(&["exec", "p", "--", "bash", "-c", &unseen]);
        let net = world.json(&["net", "p", "--json"]);
        let flows = net["flows"].as_array().unwrap();
        assert_eq!(flows[0]["by"], "policy dev");
        let last = flows.last().unwrap();
        assert_eq!(last["verdict"], "deny", "{net}");
        assert_eq!(last["by"], "policy reads is about requests, and these cannot be seen");
        assert!(world.show("p")["grants"].to_string().contains("work.cedar"));
        world.must(&["end", "p", "--grace", "0s"]);
        // Requests that were refused said nothing over their connections.
        serving.join().unwrap();
    }

    fn what_a_policy_forbids_no_option_and_no_answer_allows(world) {
        let file = policy(world, r#"
            @id("never") forbid (principal, action, resource in Host::"bad.example");
            @id("new") @decision("ask") permit (principal, action, resource in Host::"new.example");
        "#);
        let http = "printf 'GET / HTTP/1.1\\r\\nHost: a.bad.example\\r\\n\\r\\n' >&3; cat <&3";
        let script = format!("exec 3<>/dev/tcp/a.bad.example/80; {http}");
        let text = world.must(&["run", "--policy", &file, "--allow", "a.bad.example", "--", "bash", "-c", &script]);
        assert!(text.starts_with("HTTP/1.1 403") && text.contains("policy never"), "{text}");

        let script = "exec 3<>/dev/tcp/a.new.example/80; printf 'GET / HTTP/1.1\\r\\nHost: a.new.example\\r\\n\\r\\n' >&3; cat <&3";
        let running = world.start(
            &["run", "--policy", &file, "--allow", "a.new.example", "--no-questions", "--", "bash", "-c", script],
            Stdio::null(),
        );
        world.must(&["answer", &question(world), "deny"]);
        assert!(running.finish().text().contains("403 Forbidden"));
    }

    fn the_configuration_names_policies_too(world) {
        let file = policy(world, "@id(\"none\") forbid (principal, action, resource);");
        let config = world.folder().join("with-policies.toml");
        fs::write(&config, format!("[run]\npolicy = [{file:?}]\n")).unwrap();
        let with = |arguments: &[&str]| world.sessile_where("SESSILE_CONFIG", &config, arguments);
        assert!(with(&["config", "check"]).succeeded().contains("work.cedar"));
        let script = "exec 3<>/dev/tcp/a.example/80; printf 'GET / HTTP/1.1\\r\\nHost: a.example\\r\\n\\r\\n' >&3; cat <&3";
        let text = with(&["run", "--allow", "a.example", "--", "bash", "-c", script]).succeeded();
        assert!(text.starts_with("HTTP/1.1 403") && text.contains("policy none"), "{text}");
        policy(world, "forbid");
        for arguments in [&["config", "check"][..], &["run", "--", "true"]] {
            with(arguments).refused_with(64, &["work.cedar:1:"]);
        }
    }

    fn what_is_wrong_with_a_policy_is_said_with_its_place(world) {
        let file = policy(world, "permit (principal, action, resource)\nwhen { context.prot == 1 };\n");
        world.sessile(&["run", "--policy", &file, "--", "true"]).refused_with(64, &["work.cedar:2:8", "prot", "policy schema"]);
        world.sessile(&["policy", "check", &file]).refused_with(64, &["work.cedar:2:8"]);
        world.sessile(&["run", "--policy", "/nonexistent.cedar", "--", "true"]).refused_with(66, &["/nonexistent.cedar"]);
        let file = policy(world, "permit (principal, action == Action::\"connect\", resource);");
        assert_eq!(world.must(&["policy", "check", &file]), "valid: 1 policy\n");
        assert!(world.must(&["policy", "schema"]).contains("action connect"));
        assert!(world.sessile(&["ls", "--json"]).succeeded().trim() == "[]");
    }

    fn a_plan_of_thousands_of_rules_reaches_the_gateway(world) {
        let (port, serving) = repeats_what_was_asked(1);
        let many: Vec<String> = (0..4000).map(|n| format!("host-number-{n}.some.longer.name.example")).collect();
        let quoted = format!("{many:?}");
        let config = format!("[run]\nallow = {quoted}\n");
        let path = world.folder().join("many.toml");
        fs::write(&path, config).unwrap();
        let rule = format!("host.sessile:{port}");
        let script = ask(port, "GET", "/");
        let arguments = ["run", "--allow", &rule, "--", "bash", "-c", &script];
        let finished = world.sessile_where("SESSILE_CONFIG", &path, &arguments);
        assert!(finished.succeeded().contains("GET / HTTP/1.1"));
        serving.join().unwrap();
    }
}
