//! What a session keeps of its gateway when that dies: numbers, answers, bytes spent, ports.

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::time::Duration;

use crate::network::{gateway, greet};
use crate::support::{World, processes};

/// Asks a host for a page and shows the answer.
fn get(host: &str, port: u16) -> String {
    format!(
        "exec 3<>/dev/tcp/{host}/{port}; printf 'GET / HTTP/1.1\\r\\nHost: {host}:{port}\\r\\n\\r\\n' >&3; cat <&3"
    )
}

/// The id of the question about a host.
fn question(world: &World, host: &str) -> String {
    processes::eventually("a question is asked", || {
        let asked = world.json(&["questions", "--json"]);
        let about = asked.as_array().unwrap().iter().find(|question| question["host"] == host)?;
        Some(about["id"].as_str().unwrap().to_owned())
    })
}

/// Ends the gateway and the keeper of a session.
fn kill_both(world: &World, id: &str) {
    processes::kill(gateway(world, id).unwrap());
    processes::kill(processes::part(world, "keeper", id).unwrap());
}

fn read_all(address: &str) -> String {
    let mut text = String::new();
    let mut stream = TcpStream::connect(address.trim()).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.read_to_string(&mut text).unwrap();
    text
}

for_root_and_user! {
    fn a_questions_number_is_never_anothers(world) {
        world.must(&["run", "--detach", "--name", "asks", "--", "sleep", "infinity"]);
        let id = world.show("asks")["id"].as_str().unwrap().to_owned();
        let ask = |host: &str| world.start(&["exec", "asks", "--", "bash", "-c", &get(host, 80)], Stdio::null());
        let good = ask("good.example");
        let first = question(world, "good.example");
        processes::kill(gateway(world, &id).unwrap());
        drop(good.finish());
        let evil = ask("evil.example");
        let second = question(world, "evil.example");
        assert_ne!(first, second);
        world.sessile(&["answer", &first, "allow", "--always"]).refused_with(66, &["there is no such question"]);
        kill_both(world, &id);
        drop(evil.finish());
        let third = ask("third.example");
        let last = question(world, "third.example");
        assert!(last != first && last != second, "{first} {second} {last}");
        world.must(&["answer", &last, "deny"]);
        assert!(third.finish().text().contains("403 Forbidden"));
    }

    fn an_answer_for_always_outlives_gateway_and_keeper(world) {
        let served = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = served.local_addr().unwrap().port();
        let rule = format!("host.sessile:{port}");
        let serving = std::thread::spawn(move || {
            for _ in 0..2 {
                served.accept().unwrap().0.write_all(b"hello\n").unwrap();
            }
        });
        world.must(&["run", "--detach", "--name", "sure", "--ask", &rule, "--", "sleep", "infinity"]);
        let id = world.show("sure")["id"].as_str().unwrap().to_owned();
        let run = |script: &str| world.start(&["exec", "sure", "--", "bash", "-c", script], Stdio::null());
        let allowed = run(&greet("host.sessile", port));
        world.must(&["answer", &question(world, "host.sessile"), "allow", "--always"]);
        assert_eq!(allowed.finish().succeeded(), "hello\n");
        let denied = run(&get("evil.example", 80));
        world.must(&["answer", &question(world, "evil.example"), "deny", "--always"]);
        assert!(denied.finish().text().contains("403 Forbidden"));
        kill_both(world, &id);
        assert_eq!(run(&greet("host.sessile", port)).finish().succeeded(), "hello\n");
        assert!(run(&get("evil.example", 80)).finish().text().contains("403 Forbidden"));
        serving.join().unwrap();
    }

    fn bytes_are_spent_once_for_the_session(world) {
        let served = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = served.local_addr().unwrap().port();
        let rule = format!("host.sessile:{port}");
        let serving = std::thread::spawn(move || served.accept().unwrap().0.write_all(b"hello\n").unwrap());
        world.must(&[
            "run", "--detach", "--name", "poor", "--net-bytes", "6B", "--allow", &rule, "--", "sleep", "infinity",
        ]);
        let id = world.show("poor")["id"].as_str().unwrap().to_owned();
        let run = |script: &str| world.sessile(&["exec", "poor", "--", "bash", "-c", script]).text();
        run(&greet("host.sessile", port));
        serving.join().unwrap();
        processes::eventually("they are counted", || {
            let traffic = world.json(&["net", "poor", "--json"]);
            (traffic["flows"][0]["received"] == 6).then_some(())
        });
        kill_both(world, &id);
        let refused = run(&get("host.sessile", port));
        assert!(refused.contains("503") && refused.contains("cap on bytes"), "{refused}");
    }

    /// An app may know an address from the gateway before: it leads nowhere rather than to another name.
    fn an_address_from_before_leads_to_no_other_name(world) {
        let served = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = served.local_addr().unwrap().port();
        let rule = format!("host.sessile:{port}");
        let serving = std::thread::spawn(move || {
            for stream in served.incoming().take(2) {
                stream.unwrap().write_all(b"hello\n").unwrap();
            }
        });
        world.must(&["run", "--detach", "--name", "knows", "--allow", &rule, "--", "sleep", "infinity"]);
        let id = world.show("knows")["id"].as_str().unwrap().to_owned();
        let address = |host: &str| {
            let known = world.sessile(&["exec", "knows", "--", "getent", "ahostsv4", host]).succeeded();
            known.split_whitespace().next().unwrap().to_owned()
        };
        let said = |address: &str| {
            world.sessile(&["exec", "knows", "--", "bash", "-c", &greet(address, port)]).text()
        };
        let mut known = vec![address("other.example")];
        let ends: [fn(&World, &str); 2] =
            [|world, id| processes::kill(gateway(world, id).unwrap()), kill_both];
        for end in ends {
            end(world, &id);
            let host = address("host.sessile");
            for before in &known {
                let refused = said(before);
                assert!(!refused.contains("hello"), "{before} led to host.sessile: {refused}");
            }
            assert!(said(&host).contains("hello"));
            known.push(host);
            known.push(address("third.example"));
        }
        serving.join().unwrap();
    }

    /// What was cut off does not look whole, on either side.
    fn what_a_gateway_did_not_finish_is_no_end(world) {
        let served = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = served.local_addr().unwrap().port();
        let rule = format!("host.sessile:{port}");
        let (reset, resets) = std::sync::mpsc::channel();
        let serving = std::thread::spawn(move || {
            let talk = |spoke: bool| {
                let mut stream = served.accept().unwrap().0;
                stream.read_exact(&mut vec![0; spoke.into()]).unwrap();
                stream.write_all(b"half").unwrap();
                let error = stream.read(&mut [0]).unwrap_err();
                assert_eq!(error.kind(), ErrorKind::ConnectionReset);
            };
            talk(false);
            talk(true);
            // An answer that ends with the connection, and has not ended.
            let answers_half = || {
                let mut stream = served.accept().unwrap().0;
                let mut asked = Vec::new();
                while !asked.ends_with(b"\r\n\r\n") {
                    let mut byte = [0];
                    stream.read_exact(&mut byte).unwrap();
                    asked.extend(byte);
                }
                stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhalf").unwrap();
                stream
            };
            assert!(answers_half().read(&mut [0]).is_ok_and(|count| count == 0));
            let stream = answers_half();
            resets.recv().unwrap();
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
            drop(stream);
            // The host resets what the app hears.
            let mut stream = served.accept().unwrap().0;
            stream.write_all(b"half").unwrap();
            stream.read_exact(&mut [0]).unwrap();
            rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO)).unwrap();
        });
        let hear = "import socket, sys\n\
                    s = socket.create_connection(('host.sessile', int(sys.argv[1])))\n\
                    s.sendall(sys.argv[2].encode())\n\
                    said = b''\n\
                    while not said.endswith(b'half'): said += s.recv(99)\n\
                    print('half', flush=True)\n\
                    try: s.sendall(sys.argv[3].encode()); print(s.recv(1))\n\
                    except ConnectionResetError: print('reset')";
        world.must(&["run", "--detach", "--name", "cut", "--allow", &rule, "--", "sleep", "infinity"]);
        let id = world.show("cut")["id"].as_str().unwrap().to_owned();
        let port = port.to_string();
        let asks = format!("GET / HTTP/1.1\r\nHost: host.sessile:{port}\r\n\r\n");
        for (before, after, killed) in
            [("", "", true), ("\u{1}", "", true), (&*asks, "", true), (&*asks, "", false), ("", "\u{1}", false)]
        {
            let command = ["exec", "cut", "--", "python3", "-c", hear, &port, before, after];
            let mut hearing = world.start(&command, Stdio::null());
            let mut lines = BufReader::new(hearing.take_output()).lines();
            assert_eq!(lines.next().unwrap().unwrap(), "half");
            if killed {
                processes::kill(gateway(world, &id).unwrap());
            } else if !before.is_empty() {
                reset.send(()).unwrap();
            }
            let heard = lines.next().map(Result::unwrap);
            let ended = hearing.finish();
            assert_eq!(heard.as_deref(), Some("reset"), "{before:?}, {after:?}, {killed}: {}", ended.err);
            ended.ended_with(0);
        }
        serving.join().unwrap();
    }

    fn a_published_port_outlives_gateway_and_keeper(world) {
        let serve = "import socket\ns = socket.create_server(('127.0.0.1', 3000))\nprint('up', flush=True)\n\
                     while True:\n  c, _ = s.accept()\n  c.sendall(b'from inside\\n')\n  c.close()";
        world.must(&["run", "--detach", "--name", "web", "--", "python3", "-c", serve]);
        world.must(&["wait", "web", "--pattern", "up", "--timeout", "30s"]);
        let id = world.show("web")["id"].as_str().unwrap().to_owned();
        let first = world.must(&["port", "web", "3000:0"]);
        // Twice is beside, not instead.
        let second = world.must(&["port", "web", "3000:0"]);
        let taken = format!("3000:{}", second.trim().rsplit(':').next().unwrap());
        world.sessile(&["port", "web", &taken]).refused_with(73, &["cannot be used"]);
        for kill in [false, true] {
            if kill {
                processes::kill(processes::part(world, "keeper", &id).unwrap());
                world.must(&["show", "web"]);
            }
            for address in [&first, &second] {
                assert_eq!(read_all(address), "from inside\n");
                processes::kill(gateway(world, &id).unwrap());
                assert_eq!(read_all(address), "from inside\n");
            }
        }
        world.must(&["end", "web", "--grace", "0s"]);
        assert!(TcpStream::connect(first.trim()).is_err());
    }
}
