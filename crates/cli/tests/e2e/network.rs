//! Where packets go: allowed, asked, denied; seen, published, and what survives what.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::thread::JoinHandle;

use crate::support::{World, processes};

/// A server on the host's loopback that greets whoever comes, then says back each line it hears,
/// until the other side leaves. Ends after so many visitors.
fn echo(visitors: usize) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        let serve = |stream: TcpStream| {
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let mut stream = stream;
            let _ = stream.write_all(b"hello\n");
            while let Some(Ok(line)) = lines.next() {
                if stream.write_all(format!("{line} back\n").as_bytes()).is_err() {
                    break;
                }
            }
        };
        let served: Vec<_> = (0..visitors)
            .map(|_| {
                let (stream, _) = listener.accept().unwrap();
                std::thread::spawn(move || serve(stream))
            })
            .collect();
        served.into_iter().for_each(|thread| thread.join().unwrap());
    });
    (port, serving)
}

/// An HTTP server on the host's loopback that answers every request with `hi`, as often as that.
fn answers_hi(requests: usize) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serving = std::thread::spawn(move || {
        for _ in 0..requests {
            let (stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(&stream).lines();
            let head: Vec<_> = lines.by_ref().map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
            assert!(head[0].starts_with("GET / HTTP"), "{head:?}");
            (&stream)
                .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nhi\n")
                .unwrap();
        }
    });
    (port, serving)
}

/// A script that reads the greeting of a host.
pub fn greet(host: &str, port: u16) -> String {
    format!("exec 3<>/dev/tcp/{host}/{port} && read -r line <&3 && echo \"$line\"")
}

/// The gateway of a session, while it runs.
pub fn gateway(world: &World, session: &str) -> Option<u32> {
    let anchor = processes::part(world, "anchor", session)?;
    processes::tree(anchor).into_iter().find(|p| p.line().starts_with("sessile-gateway")).map(|p| p.pid)
}

/// The id of the first question that is asked.
pub fn question(world: &World) -> String {
    processes::eventually("a question is asked", || {
        let asked = world.json(&["questions", "--json"]);
        asked.as_array().unwrap().first().map(|q| q["id"].as_str().unwrap().to_owned())
    })
}

for_root_and_user! {
    fn a_denied_host_is_not_reached_whatever_is_allowed(world) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let allow = format!("host.sessile:{port}");
        let script = greet("host.sessile", port);
        let denied = ["run", "--allow", &allow, "--deny", "host.sessile", "--", "bash", "-c", &script];
        assert_ne!(world.sessile(&denied).code, 0);
        listener.set_nonblocking(true).unwrap();
        assert!(listener.accept().is_err(), "the host was reached");
    }

    fn an_allowed_host_is_reached_and_its_connection_shows(world) {
        let (port, serving) = echo(1);
        let rule = format!("host.sessile:{port}");
        let script = format!("{}; echo done; sleep infinity", greet("host.sessile", port));
        world.must(&["run", "--detach", "--name", "net", "--allow", &rule, "--", "bash", "-c", &script]);
        world.must(&["wait", "net", "--pattern", "done", "--timeout", "30s"]);
        assert!(world.must(&["output", "net"]).contains("hello"));
        let traffic = world.json(&["net", "net", "--json"]);
        let flow = &traffic["flows"][0];
        assert_eq!(flow["host"], "host.sessile");
        assert_eq!((&flow["verdict"], &flow["by"]), (&"allow".into(), &format!("allow {rule}").into()));
        assert_eq!(flow["received"], 6);
        let shown = world.must(&["net", "net"]);
        assert!(shown.contains("route direct") && shown.contains(&rule), "{shown}");
        let record = world.show("net");
        assert!(record["grants"].to_string().contains(&rule));
        assert!(record["properties"]["identity"]["evidence"].to_string().contains("this host's address"));
        world.must(&["end", "net", "--grace", "0s"]);
        serving.join().unwrap();
    }

    /// Who speaks HTTP is told why, others by the end of the connection, and the table says it too.
    fn a_host_that_does_not_answer_is_said(world) {
        // Taken, and given back: nobody listens there.
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let proxy = format!("socks5://127.0.0.1:{port}");
        for (name, host, route, why) in
            [("gone", "host.sessile", "direct", "refused"), ("astray", "far.example", &proxy, "proxy is not reached")]
        {
            let rule = format!("{host}:{port}");
            let get = format!(
                "exec 3<>/dev/tcp/{host}/{port}; printf 'GET / HTTP/1.1\\r\\nHost: {host}:{port}\\r\\n\\r\\n' >&3; cat <&3"
            );
            let script = format!("{get}; echo done; sleep infinity");
            let run = ["run", "--detach", "--name", name, "--route", route, "--allow", &rule];
            world.must(&[&run[..], &["--", "bash", "-c", &script]].concat());
            world.must(&["wait", name, "--pattern", "done", "--timeout", "30s"]);
            let text = world.must(&["output", name]);
            assert!(text.contains("502 Bad Gateway") && text.contains(why), "{text}");
            processes::eventually("its end is entered", || {
                let traffic = world.json(&["net", name, "--json"]);
                traffic["flows"][0]["problem"].as_str().filter(|problem| problem.contains(why)).map(drop)
            });
        }
    }

    /// Servers put up with more than a reader of first bytes may.
    fn what_only_resembles_tls_or_http_reaches_nobody(world) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let script = format!(
            "import socket, ssl
names, out = ssl.create_default_context(), ssl.MemoryBIO()
try: names.wrap_bio(ssl.MemoryBIO(), out, server_hostname='other.example').do_handshake()
except ssl.SSLWantReadError: pass
hello, empty = out.read(), b'\\x16\\x03\\x01\\x00\\x00'
host = b'\\r\\nHost: other.example\\r\\n\\r\\n'
for words in [hello, empty + hello, b'GET /' + host, b' GET / HTTP/1.1' + host, b'GET\\x0b/\\x0bHTTP/1.1' + host, b'plain words\\r\\n']:
    stream = socket.create_connection(('host.sessile', {port}))
    stream.sendall(words)
    stream.shutdown(socket.SHUT_WR)
    try: stream.recv(1000)
    except OSError: pass
"
        );
        let rule = format!("host.sessile:{port}");
        let reached = std::thread::spawn(move || {
            // The last of them is neither, and passes.
            loop {
                let (mut stream, _) = listener.accept().unwrap();
                let mut heard = Vec::new();
                let _ = stream.read_to_end(&mut heard);
                if !heard.is_empty() {
                    return heard;
                }
            }
        });
        world.must(&["run", "--no-questions", "--allow", &rule, "--", "python3", "-c", &script]);
        assert_eq!(String::from_utf8_lossy(&reached.join().unwrap()), "plain words\r\n");
    }

    /// That is not a matter of what is allowed.
    fn a_cap_that_is_reached_is_said(world) {
        let (port, serving) = echo(1);
        let rule = format!("host.sessile:{port}");
        let first = format!("exec 4<>/dev/tcp/host.sessile/{port}; echo hello >&4; head -c 1 <&4 >/dev/null");
        let second = format!(
            "exec 3<>/dev/tcp/host.sessile/{port}; printf 'GET / HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n' >&3; cat <&3"
        );
        let script = format!("{first}; {second}");
        let finished = world.sessile(&["run", "--net-connections", "1", "--allow", &rule, "--", "bash", "-c", &script]);
        let text = finished.succeeded();
        assert!(text.contains("503 Service Unavailable") && text.contains("cap on connections"), "{text}");
        assert!(!text.contains("to allow it"), "{text}");
        serving.join().unwrap();
    }

    fn what_no_rule_names_waits_for_an_answer(world) {
        let (port, serving) = echo(1);
        let rule = format!("host.sessile:{port}");
        // It goes on when input comes, which is when somebody is attached.
        let script = format!("read -r go; {}", greet("host.sessile", port));
        let mut running = world.start(&["run", "--ask", &rule, "--", "bash", "-c", &script], Stdio::piped());
        running.feed(b"go\n".to_vec());
        let id = question(world);
        let said = world.sessile(&["answer", &id, "allow", "--why", "a test"]);
        said.ended_with(0);
        assert!(said.err.contains(&format!("allowed: main to {rule}")), "{}", said.err);
        let finished = running.finish();
        assert_eq!(finished.succeeded(), "hello\n");
        assert!(finished.err.contains(&format!("sessile answer {id} allow|deny")), "{}", finished.err);
        world.sessile(&["answer", &id, "allow"]).refused_with(73, &["has ended"]);
        serving.join().unwrap();
    }

    fn an_answer_of_no_is_final_when_it_is_for_always(world) {
        let script = "for i in 1 2; do exec 3<>/dev/tcp/192.0.34.1/80; printf 'GET / HTTP/1.1\\r\\nHost: 192.0.34.1\\r\\n\\r\\n' >&3; cat <&3; done";
        let running = world.start(&["run", "--", "bash", "-c", script], Stdio::null());
        let id = question(world);
        world.must(&["answer", &id, "deny", "--always"]);
        let finished = running.finish();
        let text = finished.text();
        assert_eq!(text.matches("403 Forbidden").count(), 2, "{text}");
        assert!(text.contains("Do not retry"), "{text}");
        assert!(world.json(&["questions", "--json"]).as_array().unwrap().is_empty());
    }

    fn the_rest_is_refused_at_once(world) {
        let (port, serving) = echo(1);
        let http = "printf 'GET / HTTP/1.1\\r\\nHost: x\\r\\n\\r\\n' >&3; cat <&3";
        // The host's loopback by address, by a name that no rule allows, private and metadata
        // addresses, and a host that was not named.
        for (address, to) in [
            ("192.168.7.7", 80),
            ("169.254.169.254", 80),
            ("host.sessile", port),
            ("elsewhere.example", 443),
        ] {
            let script = format!("exec 3<>/dev/tcp/{address}/{to}; {http}");
            let text = world.must(&["run", "--no-questions", "--", "bash", "-c", &script]);
            assert!(text.starts_with("HTTP/1.1 403"), "{address}: {text}");
        }
        // Its own loopback is its own.
        let script = greet("127.0.0.1", port);
        world.sessile(&["run", "--no-questions", "--", "bash", "-c", &script]).ended_with(1);
        let rule = format!("host.sessile:{port}");
        world.must(&["run", "--allow", &rule, "--", "bash", "-c", &greet("host.sessile", port)]);
        serving.join().unwrap();
    }

    fn a_request_for_another_host_than_was_asked_for_is_refused(world) {
        let (port, serving) = echo(2);
        let rule = format!("host.sessile:{port}");
        let script = format!(
            "exec 3<>/dev/tcp/host.sessile/{port}; printf 'GET / HTTP/1.1\\r\\nHost: evil.example\\r\\n\\r\\n' >&3; cat <&3"
        );
        let text = world.must(&["run", "--allow", &rule, "--", "bash", "-c", &script]);
        assert!(text.contains("403 Forbidden") && text.contains("spoke to evil.example"), "{text}");
        assert!(!text.contains("back"), "the request reached the host: {text}");
        drop(TcpStream::connect(("127.0.0.1", port)));
        serving.join().unwrap();
    }

    fn without_a_route_there_is_no_gateway(world) {
        world.must(&["run", "--route", "none", "--detach", "--name", "shut", "--", "sleep", "infinity"]);
        let id = world.show("shut")["id"].as_str().unwrap().to_owned();
        let finished = world.sessile(&["exec", "shut", "--", "bash", "-c", &greet("192.0.34.1", 80)]);
        assert_ne!(finished.code, 0);
        assert_eq!(gateway(world, &id), None);
        world.sessile(&["port", "shut", "3000"]).refused_with(73, &["route is none"]);
    }

    fn a_port_is_published_on_the_hosts_loopback(world) {
        let serve = "import socket\ns = socket.create_server(('127.0.0.1', 3000))\nprint('up', flush=True)\n\
                     while True:\n  c, _ = s.accept()\n  c.sendall(b'from inside\\n')\n  c.close()";
        world.must(&["run", "--detach", "--name", "web", "--", "python3", "-c", serve]);
        world.must(&["wait", "web", "--pattern", "up", "--timeout", "30s"]);
        let address = world.must(&["port", "web", "3000:0"]);
        let read = || {
            let mut text = String::new();
            TcpStream::connect(address.trim()).unwrap().read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(read(), "from inside\n");
        // Another gateway takes the port over.
        let id = world.show("web")["id"].as_str().unwrap().to_owned();
        processes::kill(gateway(world, &id).unwrap());
        assert!(world.show("web")["grants"].to_string().contains("\"port\""));
        world.must(&["end", "web", "--grace", "0s"]);
        assert!(TcpStream::connect(address.trim()).is_err());
    }

    fn a_connection_survives_its_keeper(world) {
        let (port, serving) = echo(1);
        let rule = format!("host.sessile:{port}");
        let script = format!(
            "exec 3<>/dev/tcp/host.sessile/{port}; read -r line <&3; echo \"$line\"; read -r word; \
             echo \"$word\" >&3; read -r line <&3; echo \"$line\"; sleep infinity"
        );
        world.must(&["run", "--detach", "--name", "long", "--allow", &rule, "--", "bash", "-c", &script]);
        world.must(&["wait", "long", "--pattern", "hello", "--timeout", "30s"]);
        let id = world.show("long")["id"].as_str().unwrap().to_owned();
        let before = gateway(world, &id).unwrap();
        processes::kill(processes::part(world, "keeper", &id).unwrap());
        world.must(&["type", "long", "still", "--key", "enter"]);
        world.must(&["wait", "long", "--pattern", "still back", "--timeout", "30s"]);
        assert_eq!(gateway(world, &id), Some(before));
        assert_eq!(world.json(&["net", "long", "--json"])["flows"][0]["open"], true);
        world.must(&["end", "long", "--grace", "0s"]);
        serving.join().unwrap();
    }

    fn a_gateway_that_dies_is_replaced_when_it_is_needed(world) {
        let (port, serving) = echo(2);
        let rule = format!("host.sessile:{port}");
        world.must(&["run", "--detach", "--name", "again", "--allow", &rule, "--", "sleep", "infinity"]);
        let id = world.show("again")["id"].as_str().unwrap().to_owned();
        let greeting = || world.must(&["exec", "again", "--", "bash", "-c", &greet("host.sessile", port)]);
        assert_eq!(gateway(world, &id), None);
        assert_eq!(greeting(), "hello\n");
        processes::kill(gateway(world, &id).unwrap());
        assert_eq!(greeting(), "hello\n");
        let receipt = world.must(&["end", "again", "--json"]);
        assert!(!receipt.is_empty());
        serving.join().unwrap();
    }

    fn cookies_are_kept_for_the_session_and_no_longer(world) {
        world.must(&["run", "--detach", "--name", "jar", "--", "sleep", "infinity"]);
        let set = ["cookies", "jar", "set", "app.example.com", "sid", "--from", "-", "--secure"];
        world.sessile_with_input(&set, b"hush-hush\n").ended_with(0);
        let netscape = ".example.org\tTRUE\t/\tFALSE\t0\tlang\ten\nbroken line\n";
        let imported = world.sessile_with_input(&["cookies", "jar", "import", "-"], netscape.as_bytes());
        assert!(imported.err.contains("entry 2 was not taken") && imported.err.contains("1 added"), "{}", imported.err);
        let listed = world.must(&["cookies", "jar", "list"]);
        assert!(listed.contains("sid") && listed.contains(".example.org") && !listed.contains("hush"), "{listed}");
        // Another keeper has them too.
        let id = world.show("jar")["id"].as_str().unwrap().to_owned();
        processes::kill(processes::part(world, "keeper", &id).unwrap());
        let exported = world.must(&["cookies", "jar", "export", "--format", "storage-state"]);
        assert!(exported.contains("hush-hush") && exported.contains("lang"), "{exported}");
        world.sessile(&["cookies", "jar", "delete"]).refused_with(64, &["--all"]);
        world.must(&["cookies", "jar", "delete", "--domain", "example.com"]);
        let left = world.json(&["cookies", "jar", "list", "--json"]);
        assert_eq!(left.as_array().unwrap().len(), 1);
        world.must(&["end", "jar", "--grace", "0s"]);
        world.sessile(&["cookies", "jar", "list"]).ended_with(66);
    }

    fn where_nothing_can_be_redirected_a_proxy_is_the_way(world) {
        let (port, serving) = answers_hi(5);
        let daemon = world.daemon_with("capture=explicit");
        let rule = format!("host.sessile:{port}");
        let from = format!("http://{rule}/");
        world.must(&["run", "--detach", "--name", "proxied", "--no-questions", "--allow", &rule, "--", "sleep", "infinity"]);
        let curl = |arguments: &[&str]| {
            let all = ["exec", "proxied", "--", "curl", "-sS", "--max-time", "30"];
            world.sessile(&[&all[..], arguments].concat())
        };
        // As the environment says, then each language by name.
        assert_eq!(curl(&[&from]).succeeded(), "hi\n");
        for proxy in ["socks5h://127.0.0.1:1012", "socks5h://[::1]:1012", "http://127.0.0.1:1012", "http://[::1]:1012"] {
            assert_eq!(curl(&["--proxytunnel", "--proxy", proxy, &from]).succeeded(), "hi\n", "{proxy}");
        }
        serving.join().unwrap();
        assert!(curl(&["http://elsewhere.example/"]).text().contains("Do not retry"));
        let refused = curl(&["https://elsewhere.example/"]);
        assert!(refused.code != 0 && refused.err.contains("403"), "{}", refused.err);
        for to in ["elsewhere.example", "127.0.0.1", "169.254.169.254", "[::1]"] {
            let url = format!("http://{to}:{port}/");
            assert_ne!(curl(&["--noproxy", "", "--proxy", "socks5h://127.0.0.1:1012", &url]).code, 0, "{to}");
        }
        // Past the proxy there is nothing at all.
        for to in ["192.0.2.1", "host.sessile", "[2001:db8::1]"] {
            assert_ne!(curl(&["--noproxy", "*", &format!("http://{to}:{port}/")]).code, 0, "{to}");
        }
        let record = world.show("proxied");
        let routing = record["properties"]["routing"]["evidence"].to_string();
        assert!(routing.contains("nothing is redirected") && routing.contains("there are no routes"), "{routing}");
        let flows = world.json(&["net", "proxied", "--json"])["flows"].as_array().unwrap().len();
        assert!(flows >= 9, "{flows}");
        world.must(&["end", "proxied", "--grace", "0s"]);
        world.must(&["daemon", "stop"]);
        daemon.finish().ended_with(0);
    }
}
