//! What a session keeps of its gateway when that dies: numbers, answers, bytes spent, ports.

use std::io::{Read as _, Write as _};
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
