//! The route tor, over a Tor network of the tests' own.

use std::fs;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::Signal;

use crate::support::tor_network::{self, HOST, Way, ways};
use crate::support::{Running, World, processes, skip};

/// A server on the host's loopback, which greets whoever comes and keeps the connections.
struct Server {
    listener: TcpListener,
    port: u16,
}

impl Server {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        Self { listener, port }
    }

    /// Greets the next visitor.
    fn greet(&self) -> TcpStream {
        let (mut visitor, _) = self.listener.accept().unwrap();
        visitor.write_all(b"hello\n").unwrap();
        visitor
    }

    fn rule(&self) -> String {
        format!("{HOST}:{}", self.port)
    }

    /// A script that reads the greeting and stays. A network that has just come up may refuse a
    /// circuit at first.
    fn visit(&self) -> String {
        let port = self.port;
        format!(
            "until exec 3<>/dev/tcp/{HOST}/{port} && read -r line <&3; do sleep 0.2; done; echo \"$line\"; sleep infinity"
        )
    }
}

/// The lines for tor, in a file of the caller's.
fn lines(world: &World, text: &str) -> PathBuf {
    let path = world.home().join("tor");
    fs::write(&path, text).unwrap();
    world.give_to_caller(&path);
    path
}

/// Opens a session by tor that may reach the server, and returns its id.
fn open(world: &World, network: &str, server: &Server, name: &str, script: &str) -> String {
    open_with(world, network, server, (name, script), &[])
}

/// The same with further options.
fn open_with(
    world: &World,
    network: &str,
    server: &Server,
    (name, script): (&str, &str),
    options: &[&str],
) -> String {
    let config = lines(world, network);
    let config = config.to_str().unwrap();
    let rule = server.rule();
    let arguments = [
        "run",
        "--detach",
        "--name",
        name,
        "--route",
        "tor",
        "--tor-config",
        config,
        "--allow",
        &rule,
        "--no-questions",
    ];
    world.must(&[&arguments, options, &["--", "bash", "-c", script]].concat());
    world.show(name)["id"].as_str().unwrap().to_owned()
}

/// A process of a session's own that is not its apps'.
fn service(world: &World, session: &str, name: &str) -> Option<u32> {
    let anchor = processes::part(world, "anchor", session)?;
    processes::tree(anchor).into_iter().find(|p| p.line().split(' ').next() == Some(name)).map(|p| p.pid)
}

fn tor(world: &World, session: &str) -> u32 {
    service(world, session, "tor").expect("the session has no tor")
}

/// Whom a process runs as.
fn user(pid: u32) -> u32 {
    fs::metadata(format!("/proc/{pid}/stat")).map(|_| ()).unwrap();
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("Uid:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

/// The rest of a line's word that begins like this.
fn word(line: &str, start: &str) -> Option<String> {
    line.split(' ').find_map(|word| word.strip_prefix(start)).map(str::to_owned)
}

/// How a session ended, once it has.
fn closed(world: &World, session: &str) -> String {
    processes::eventually("the session is closed", || {
        let record = world.show(session);
        (record["state"] == "closed").then(|| record["outcome"].to_string())
    })
}

/// How many new identities a session's journal knows of.
fn renewals(world: &World, session: &str) -> usize {
    let log = fs::read(world.state().join("sessions").join(session).join("log")).unwrap();
    String::from_utf8_lossy(&log).matches("identity_renewed").count()
}

/// Whether control sockets can be found, which only root sees.
fn sees_control() -> bool {
    let root = rustix::process::getuid().is_root();
    if !root {
        skip("circuits are read from tor's control socket, which only root finds");
    }
    root
}

for_root_and_user! {
    fn an_allowed_host_is_reached_by_name_and_nothing_is_left(world) {
        let Some(network) = tor_network::lines() else { return };
        let server = Server::new();
        let id = open(world, &network, &server, "onion", &server.visit());
        let visitor = server.greet();
        world.must(&["wait", "onion", "--pattern", "hello", "--timeout", "60s"]);
        let shown = world.must(&["net", "onion"]);
        assert!(shown.contains("route tor") && shown.contains(&server.rule()), "{shown}");
        let record = world.show("onion");
        assert!(record["properties"]["identity"]["evidence"].to_string().contains("route tor"));
        // What no rule names is refused before tor hears of it.
        let http = "exec 3<>/dev/tcp/elsewhere.example/80; printf 'GET / HTTP/1.1\\r\\nHost: elsewhere.example\\r\\n\\r\\n' >&3; cat <&3";
        let text = world.must(&["exec", "onion", "--", "bash", "-c", http]);
        assert!(text.starts_with("HTTP/1.1 403"), "{text}");
        let pid = tor(world, &id);
        let gateway = service(world, &id, "sessile-gateway").unwrap();
        assert_eq!(user(pid), user(gateway));
        assert_ne!(user(pid), 0, "tor runs as root");
        let folder = fs::metadata(format!("/proc/{pid}/cwd/tor"));
        if sees_control() {
            let folder = folder.unwrap();
            assert_eq!((folder.mode() & 0o777, folder.uid()), (0o700, user(pid)));
        }
        world.must(&["end", "onion", "--grace", "0s"]);
        drop(visitor);
        assert!(processes::wait_for_end(pid, Duration::from_secs(10)));
        let receipt = world.must(&["receipt", &id]);
        assert!(receipt.contains("retired") && receipt.contains("tor's memory"), "{receipt}");
    }

    fn sessions_and_apps_share_no_circuit_and_a_new_identity_takes_others(world) {
        let Some(network) = tor_network::lines() else { return };
        let server = Server::new();
        let one = open(world, &network, &server, "one", &server.visit());
        let mut visitors = vec![server.greet()];
        world.must(&["exec", "one", "--detach", "--", "bash", "-c", &server.visit()]);
        visitors.push(server.greet());
        world.must(&["exec", "one", "--app", "second", "--detach", "--", "bash", "-c", &server.visit()]);
        visitors.push(server.greet());
        let two = open(world, &network, &server, "two", &server.visit());
        visitors.push(server.greet());
        let (first, other) = (tor(world, &one), tor(world, &two));
        assert_ne!(first, other);
        let before: Option<Vec<Way>> = sees_control().then(|| {
            let folder = |pid: u32| {
                let folder = fs::metadata(format!("/proc/{pid}/cwd/tor")).unwrap();
                (folder.dev(), folder.ino())
            };
            assert_ne!(folder(first), folder(other), "guards are shared");
            ways(other, server.port, 1);
            let ways = ways(first, server.port, 3);
            assert_eq!(ways[0].user, ways[1].user, "two connections of an app: {ways:?}");
            assert_ne!(ways[0].user, ways[2].user, "{ways:?}");
            assert!(ways[..2].iter().all(|way| way.circuit != ways[2].circuit), "{ways:?}");
            ways
        });
        assert_eq!(renewals(world, &one), 0);
        world.must(&["route", "one", "--new-identity"]);
        assert_eq!((renewals(world, &one), renewals(world, &two)), (1, 0));
        // What went on under the old one has ended; the other session's has not.
        for visitor in &mut visitors[..3] {
            assert_eq!(visitor.read(&mut [0; 16]).unwrap_or(0), 0);
        }
        world.must(&["exec", "one", "--detach", "--", "bash", "-c", &server.visit()]);
        visitors.push(server.greet());
        if let Some(before) = before {
            let after = ways(first, server.port, 1);
            let known = |way: &Way| before.iter().any(|b| b.circuit == way.circuit || b.user == way.user);
            assert!(!known(&after[0]), "{before:?} {after:?}");
            ways(other, server.port, 1);
        }
        drop(visitors);
    }

    fn when_tor_dies_nothing_leaves_and_the_session_fails(world) {
        let Some(network) = tor_network::lines() else { return };
        let server = Server::new();
        let script = format!(
            "exec 3<>/dev/tcp/{HOST}/{0}; while echo more >&3; do :; done 2>&-; \
             while :; do exec 4<>/dev/tcp/{HOST}/{0} && echo again >&4; done 2>&-",
            server.port
        );
        let id = open(world, &network, &server, "cut", &script);
        let mut visitor = server.greet();
        visitor.read_exact(&mut [0; 64]).unwrap();
        let gateway = service(world, &id, "sessile-gateway").unwrap();
        processes::kill(tor(world, &id));
        // What had left before is read to its end.
        let _ = visitor.read_to_end(&mut Vec::new());
        assert!(processes::wait_for_end(gateway, Duration::from_secs(10)));
        let outcome = closed(world, &id);
        assert!(outcome.contains("failed") && outcome.contains("tor ended"), "{outcome}");
        server.listener.set_nonblocking(true).unwrap();
        assert_eq!(server.listener.accept().unwrap_err().kind(), ErrorKind::WouldBlock, "somebody came again");
    }

    fn a_tor_that_does_not_answer_is_given_up(world) {
        let Some(network) = tor_network::lines() else { return };
        let server = Server::new();
        let id = open(world, &network, &server, "mute", &server.visit());
        let mut visitor = server.greet();
        processes::signal(tor(world, &id), Signal::STOP);
        let outcome = closed(world, &id);
        assert!(outcome.contains("failed") && outcome.contains("tor does not answer"), "{outcome}");
        assert_eq!(visitor.read(&mut [0; 16]).unwrap_or(0), 0);
    }

    fn a_route_outlives_its_keeper_and_comes_back_with_another_gateway(world) {
        let Some(network) = tor_network::lines() else { return };
        let server = Server::new();
        let id = open(world, &network, &server, "long", &server.visit());
        let visitor = server.greet();
        world.must(&["wait", "long", "--pattern", "hello", "--timeout", "60s"]);
        let (before, gateway) = (tor(world, &id), service(world, &id, "sessile-gateway").unwrap());
        processes::kill(processes::part(world, "keeper", &id).unwrap());
        let net = world.json(&["net", "long", "--json"]);
        // Not the first one, where the network refused it.
        let goes_on = |flow: &serde_json::Value| flow["open"] == true;
        assert!(net["flows"].as_array().unwrap().iter().any(goes_on), "{net}");
        assert_eq!(tor(world, &id), before);
        processes::kill(gateway);
        assert!(processes::wait_for_end(before, Duration::from_secs(30)), "tor outlives its gateway");
        world.must(&["exec", "long", "--detach", "--", "bash", "-c", &server.visit()]);
        let again = server.greet();
        assert_ne!(tor(world, &id), before);
        drop((visitor, again));
    }

    fn pinned_entry_guards_are_shared_and_stay(world) {
        let Some(network) = tor_network::lines() else { return };
        let server = Server::new();
        let kept = || fs::read_to_string(world.state().join("entry-guards")).ok();
        let pinned = ["--tor-entry", "pinned", "--accept-weaker", "routing"];
        world
            .sessile(&["run", "--route", "tor", "--tor-entry", "pinned", "--", "true"])
            .refused_with(64, &["--accept-weaker routing"]);
        let id = open(world, &network, &server, "own", &server.visit());
        let visitor = server.greet();
        world.must(&["end", "own", "--grace", "0s"]);
        drop(visitor);
        assert_eq!(kept(), None, "guards of session {id} are kept");
        let mut first = String::new();
        for name in ["one", "two"] {
            let id = open_with(world, &network, &server, (name, &server.visit()), &pinned);
            let visitor = server.greet();
            let record = world.show(name);
            assert!(record["properties"]["routing"]["weaker_because"][0].as_str().unwrap().contains("pinned"));
            assert!(record["properties"]["identity"]["evidence"].to_string().contains("shared with other"));
            if sees_control() && name == "two" {
                let guards = tor_network::control(tor(world, &id)).guards().unwrap();
                let known: Vec<_> = first.lines().filter_map(|guard| word(guard, "rsa_id=")).collect();
                assert!(known.len() > 2 && guards.starts_with(&known), "{first}{guards:?}");
            }
            world.must(&["end", name, "--grace", "0s"]);
            drop(visitor);
            assert!(world.must(&["receipt", &id]).contains("which entry guards tor chose"));
            let now = kept().unwrap();
            assert!(now.contains(" confirmed_on=") && !now.contains("pb_"), "{now}");
            // Chosen at the same moments: the same choice.
            let moments = |text: &str| text.lines().filter_map(|g| word(g, "sampled_on=")).collect::<Vec<_>>();
            assert!(first.is_empty() || moments(&now).starts_with(&moments(&first)), "{first}{now}");
            first = now;
        }
        let mode = fs::metadata(world.state().join("entry-guards")).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    fn a_session_that_finds_no_network_can_be_called_off(world) {
        if !tor_network::can_be() { return };
        // Nobody is there.
        let key = "0123456789ABCDEF0123456789ABCDEF01234567";
        let text = format!("TestingTorNetwork 1\nDirAuthority x orport=1 v3ident={key} 127.0.0.1:1 {key}\n");
        let config = lines(world, &text);
        let arguments =
            ["run", "--detach", "--name", "lost", "--route", "tor", "--tor-config", config.to_str().unwrap(), "--", "true"];
        let call_off: [&dyn Fn(u32); 2] = [
            &|_| drop(world.must(&["end", "lost"])),
            // Ctrl-C: whoever opened it has left.
            &|opener| processes::signal(opener, Signal::INT),
        ];
        for call_off in call_off {
            // Whatever started the tests may ignore that signal.
            let mut opening = world.command_behind(&["env", "--default-signal=INT"], &arguments);
            opening.stdin(Stdio::null());
            let opening = Running::start(opening);
            let pid = processes::eventually("tor is started", || {
                let listed = world.json(&["ls", "--json"]);
                let id = listed.as_array().unwrap().first()?["id"].as_str().unwrap().to_owned();
                service(world, &id, "tor")
            });
            call_off(opening.pid());
            assert_ne!(opening.finish().code, 0);
            assert!(processes::wait_for_end(pid, Duration::from_secs(10)));
            processes::eventually("nothing is listed", || {
                world.json(&["ls", "--json"]).as_array().unwrap().is_empty().then_some(())
            });
        }
    }

    fn what_cannot_be_is_refused_with_what_to_do(world) {
        let bare = ["run", "--route", "tor", "--", "true"];
        let path = format!("PATH={}", world.home().display());
        world.run(world.command_behind(&["env", &path], &bare)).refused_with(69, &["apt install tor"]);
        world.must(&["daemon", "stop"]);
        let config = lines(world, "UseBridges 1\nSocksPort 9050\n");
        let config = config.to_str().unwrap();
        world
            .sessile(&["run", "--route", "tor", "--tor-config", config, "--", "true"])
            .refused_with(64, &["line 2", "SocksPort"]);
        let config = lines(world, "UseBridges 1\n");
        let config = config.to_str().unwrap();
        world.sessile(&["run", "--tor-config", config, "--", "true"]).refused_with(64, &["--route tor"]);
        for (name, route, sees) in [
            ("a", "direct", "this host's address"),
            ("b", "none", ""),
            ("c", "socks5://127.0.0.1:9", "the proxy's address"),
        ] {
            world.must(&["run", "--detach", "--name", name, "--route", route, "--", "sleep", "infinity"]);
            let shown = world.show(name)["properties"]["identity"]["evidence"].to_string();
            assert_eq!(shown.contains("whoever is reached sees"), !sees.is_empty(), "{shown}");
            assert!(shown.contains(sees), "{shown}");
            let words = [format!("the route {route} has no identity"), "--route tor".to_owned()];
            let refused = world.sessile(&["route", name, "--new-identity"]);
            refused.refused_with(73, &words.each_ref().map(String::as_str));
        }
    }
}
