//! The way out by a proxy, the caps on what goes out, and how it is seen.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::network::greet;
use crate::support::{World, processes};

/// A name that only the proxy knows.
const HOST: &str = "only.the.proxy.example";
/// How long a message of a thread may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// A SOCKS5 proxy (RFC 1928, 1929) on the host's loopback that asks for these credentials, if any,
/// answers for [`HOST`] alone, and is the host: it greets whoever was let through, and reads on to
/// the end. What it is asked for is told.
fn proxy(credentials: Option<(&'static str, &'static str)>) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // Whoever leaves in the middle is nothing to fail for.
            let asked = stream.and_then(|stream| converse(stream, credentials));
            if tell.send(asked.unwrap_or_else(|error| error.to_string())).is_err() {
                break;
            }
        }
    });
    (port, told)
}

fn converse(mut stream: TcpStream, credentials: Option<(&str, &str)>) -> std::io::Result<String> {
    let read = |length: usize, stream: &mut TcpStream| {
        let mut bytes = vec![0; length];
        stream.read_exact(&mut bytes).map(|()| bytes)
    };
    let head = read(2, &mut stream)?;
    let methods = read(head[1].into(), &mut stream)?;
    let method = if credentials.is_some() { 2 } else { 0 };
    if !methods.contains(&method) {
        stream.write_all(&[5, 255])?;
        return Ok("no acceptable method".to_owned());
    }
    stream.write_all(&[5, method])?;
    if let Some((user, password)) = credentials {
        let length = read(2, &mut stream)?[1];
        let given_user = read(length.into(), &mut stream)?;
        let length = read(1, &mut stream)?[0];
        let given_password = read(length.into(), &mut stream)?;
        let right = given_user == user.as_bytes() && given_password == password.as_bytes();
        stream.write_all(&[1, u8::from(!right)])?;
        if !right {
            return Ok("wrong credentials".to_owned());
        }
    }
    let head = read(4, &mut stream)?;
    assert_eq!(head[..3], [5, 1, 0]);
    let host = match head[3] {
        3 => {
            let length = read(1, &mut stream)?[0];
            String::from_utf8(read(length.into(), &mut stream)?).unwrap()
        }
        kind => format!("an address of kind {kind}"),
    };
    let port = read(2, &mut stream)?;
    let asked = format!("{host}:{}", u16::from_be_bytes([port[0], port[1]]));
    if host == HOST {
        stream.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0])?;
        stream.write_all(b"hello by the proxy\n")?;
        stream.shutdown(Shutdown::Write)?;
    } else {
        stream.write_all(&[5, 2, 0, 1, 0, 0, 0, 0, 0, 0])?;
    }
    Ok(asked)
}

/// A server on the host's loopback that sends so many bytes to each visitor, then ends.
fn pours(bytes: usize) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            std::thread::spawn(move || {
                let _ = stream.write_all(&vec![b'x'; bytes]);
                let _ = stream.shutdown(Shutdown::Write);
                let _ = stream.read_to_end(&mut Vec::new());
            });
        }
    });
    port
}

/// The first line that is what is waited for.
fn first(output: impl std::io::Read + Send + 'static, wanted: impl Fn(&str) -> bool) -> String {
    let (tell, told) = channel();
    std::thread::spawn(move || {
        // Read to the end, so that whoever writes can go on.
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let _ = tell.send(line);
        }
    });
    loop {
        let line = told.recv_timeout(PATIENCE).unwrap();
        if wanted(&line) {
            return line;
        }
    }
}

/// The last connection of a session, once it has ended.
fn ended(world: &World, session: &str) -> serde_json::Value {
    processes::eventually("the connection has ended", || {
        let traffic = world.json(&["net", session, "--json"]);
        let last = traffic["flows"].as_array().unwrap().last()?.clone();
        (last["open"] == false).then_some(last)
    })
}

for_root_and_user! {
    fn a_proxy_is_given_names_and_everything_leaves_by_it(world) {
        let (port, told) = proxy(None);
        // What the session would reach without the proxy.
        let direct = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = direct.local_addr().unwrap().port();
        let route = format!("socks5://127.0.0.1:{port}");
        let rule = format!("host.sessile:{other}");
        world.must(&["run", "--detach", "--name", "way", "--no-questions", "--route", &route, "--allow", HOST, "--allow", &rule]);
        let ask = |host: &str, port| world.sessile(&["exec", "way", "--", "bash", "-c", &greet(host, port)]);
        assert_eq!(ask(HOST, 443).succeeded(), "hello by the proxy\n");
        assert_eq!(told.recv_timeout(PATIENCE).unwrap(), format!("{HOST}:443"));
        // What is meant for this host's own loopback is not told to a stranger.
        assert_ne!(ask("host.sessile", other).code, 0);
        assert!(world.must(&["net", "way"]).contains("reached by the route direct alone"));
        // What no rule allows is not even asked for.
        assert_ne!(ask("elsewhere.example", 443).code, 0);
        assert!(told.try_recv().is_err());
        direct.set_nonblocking(true).unwrap();
        assert!(direct.accept().is_err(), "something left past the proxy");
        let evidence = world.show("way")["properties"]["identity"]["evidence"].to_string();
        assert!(evidence.contains("the proxy's address"), "{evidence}");
        let shown = world.must(&["net", "way"]);
        assert!(shown.contains(&route), "{shown}");
        world.must(&["end", "way", "--grace", "0s"]);
    }

    fn a_proxy_that_wants_credentials_gets_them_from_a_file_or_the_environment(world) {
        let (port, told) = proxy(Some(("me", "pass:word")));
        let route = format!("socks5://127.0.0.1:{port}");
        let file = world.folder().join("credentials");
        let run = |more: &[&str], variable: Option<&str>| {
            let script = greet(HOST, 443);
            let all = [&["run", "--no-questions", "--route", &route, "--allow", HOST], more, &["--", "bash", "-c", &script]];
            let mut command = world.command(&all.concat());
            if let Some(value) = variable {
                command.env("SESSILE_ROUTE_CREDENTIALS", value);
            }
            world.run(command)
        };
        let write = |text: &str| {
            std::fs::write(&file, text).unwrap();
            std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            world.give_to_caller(&file);
        };
        let name = file.to_str().unwrap();
        write("me:pass:word\n");
        let right = run(&["--route-credentials", name], None);
        assert_eq!(right.succeeded(), "hello by the proxy\n");
        assert!(!right.err.contains("pass:word") && !right.err.contains("warning"), "{}", right.err);
        assert_eq!(run(&[], Some("me:pass:word")).succeeded(), "hello by the proxy\n");
        assert_eq!(told.iter().take(2).collect::<Vec<_>>(), [format!("{HOST}:443"), format!("{HOST}:443")]);
        // Wrong or none: nothing is reached, and it is said why.
        write("me:wrong");
        for (more, told_here) in [(&["--route-credentials", name][..], "wrong credentials"), (&[], "no acceptable method")] {
            let finished = run(more, None);
            assert!(finished.code != 0 && finished.text().is_empty(), "{}", finished.text());
            assert_eq!(told.recv_timeout(PATIENCE).unwrap(), told_here);
        }
        world.must(&["run", "--detach", "--name", "wrong", "--route", &route, "--allow", HOST, "--route-credentials", name]);
        world.sessile(&["exec", "wrong", "--", "bash", "-c", &greet(HOST, 443)]);
        assert!(world.must(&["net", "wrong"]).contains("user or password is wrong"));
        let everything = world.must(&["show", "wrong", "--json"]) + &world.must(&["net", "wrong", "--json"]);
        assert!(!everything.contains("me:wrong") && !everything.contains("\"wrong\",\"password"), "{everything}");
        world.must(&["end", "wrong", "--grace", "0s"]);

        write("without a colon");
        run(&["--route-credentials", name], None).refused_with(64, &["USER:PASSWORD"]);
        run(&["--route-credentials", "/nonexistent"], None).refused_with(66, &["/nonexistent"]);
        world.sessile(&["run", "--route-credentials", name, "--", "true"]).refused_with(64, &["socks5"]);
        let inline = format!("socks5://me:pw@127.0.0.1:{port}");
        let refused = world.sessile(&["run", "--route", &inline, "--", "true"]);
        refused.refused_with(64, &["credentials do not belong on a command line"]);
    }

    fn without_its_proxy_nothing_leaves(world) {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let route = format!("socks5://127.0.0.1:{gone}");
        world.must(&["run", "--detach", "--name", "dead", "--route", &route, "--allow", HOST]);
        let finished = world.sessile(&["exec", "dead", "--", "bash", "-c", &greet(HOST, 443)]);
        assert!(finished.code != 0 && finished.text().is_empty());
        let shown = world.must(&["net", "dead"]);
        assert!(shown.to_lowercase().contains("connection refused"), "{shown}");
        world.must(&["end", "dead", "--grace", "0s"]);
    }

    fn connections_are_capped(world) {
        let port = pours(1);
        let rule = format!("host.sessile:{port}");
        // The first stays open until the second was refused.
        let script = format!(
            "exec 3<>/dev/tcp/host.sessile/{port}; read -r -n 1 <&3 && echo first; exec 4<>/dev/tcp/host.sessile/{port}; \
             read -r -n 1 <&4 || echo second refused; exec 3>&-; sleep infinity"
        );
        world.must(&["run", "--detach", "--name", "few", "--net-connections", "1", "--allow", &rule, "--", "bash", "-c", &script]);
        world.must(&["wait", "few", "--pattern", "second refused", "--timeout", "60s"]);
        assert!(world.must(&["output", "few"]).contains("first"));
        let shown = world.must(&["net", "few"]);
        assert!(shown.contains("the cap on connections is reached"), "{shown}");
        world.must(&["end", "few", "--grace", "0s"]);
    }

    fn bytes_are_capped_for_the_whole_session(world) {
        let port = pours(1 << 20);
        let rule = format!("host.sessile:{port}");
        world.must(&["run", "--detach", "--name", "little", "--net-bytes", "256K", "--allow", &rule]);
        let script = format!("exec 3<>/dev/tcp/host.sessile/{port}; cat <&3 2>/dev/null | wc -c");
        let count = |finished: String| finished.trim().parse::<u64>().unwrap();
        let first = count(world.sessile(&["exec", "little", "--", "bash", "-c", &script]).text());
        // What was on its way when the cap was reached may be counted and not arrive, or the other way.
        assert!(first > 0 && first < 1 << 20, "{first}");
        let flow = ended(world, "little");
        assert_eq!(flow["problem"], "the cap on bytes is reached", "{flow}");
        let second = world.sessile(&["exec", "little", "--", "bash", "-c", &script]).text();
        assert_eq!(second.trim().parse::<u64>().unwrap_or_default(), 0);
        world.must(&["end", "little", "--grace", "0s"]);
    }

    fn the_rate_is_capped(world) {
        let port = pours(1 << 20);
        let rule = format!("host.sessile:{port}");
        let script = format!("exec 3<>/dev/tcp/host.sessile/{port}; cat <&3 > /dev/null");
        world.must(&["run", "--detach", "--name", "slow", "--net-rate", "100K", "--allow", &rule, "--", "bash", "-c", &script]);
        let rate = processes::eventually("a whole second was measured", || {
            world.json(&["net", "slow", "--json"])["flows"][0]["rate"].as_u64().filter(|&rate| rate > 0)
        });
        // A tenth of a second's worth may belong to either of two seconds.
        assert!(rate <= 120 << 10, "{rate}");
        world.must(&["end", "slow", "--grace", "0s"]);
    }

    fn connections_are_followed(world) {
        let port = pours(5);
        let rule = format!("host.sessile:{port}");
        let script = format!("read -r go; {}; exec 3>&-; read -r go", greet("host.sessile", port));
        world.must(&["run", "--detach", "--name", "seen", "--allow", &rule, "--", "bash", "-c", &script]);
        let follow = |more: &[&str]| {
            let mut running = world.start(&[&["net", "seen", "--follow"], more].concat(), Stdio::null());
            let output = running.take_output();
            (running, output)
        };
        let ((lines, text), (documents, json)) = (follow(&[]), follow(&["--json"]));
        world.must(&["type", "seen", "--key", "enter"]);
        let line = first(text, |line| line.trim_end().ends_with("ended"));
        assert!(line.contains("host.sessile") && line.contains(&format!("allowed (allow {rule})")), "{line}");
        let parsed = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        let last = parsed(&first(json, |line| parsed(line)["open"] == false));
        assert_eq!((&last["host"], &last["received"]), (&"host.sessile".into(), &5.into()));
        // Both end with the session.
        world.must(&["end", "seen", "--grace", "0s"]);
        lines.finish().ended_with(0);
        documents.finish().ended_with(0);
    }

    fn lists_of_hosts_are_shown(world) {
        let shown = world.must(&["net", "--presets"]);
        assert!(shown.contains("@github") && shown.contains("github.com:443"), "{shown}");
        let lists = world.json(&["net", "--presets", "--json"]);
        assert!(lists["npm"].as_array().is_some_and(|hosts| !hosts.is_empty()), "{lists}");
        world.sessile(&["net", "--presets", "x"]).ended_with(64);
        world.sessile(&["net"]).ended_with(64);
    }
}
