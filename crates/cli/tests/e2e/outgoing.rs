//! Requests that the gateway sees pass the session's guard: what the session keeps, and secrets, leave for hosts
//! that may read them and for no other.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use serde_json::Value;

use crate::guarded::{guard, guarded, hear, opened, say};
use crate::support::processes::{self, eventually, kill, signal};
use crate::support::stand_in::{files_with, holds};
use crate::support::{Finished, World};
use crate::wipe::receipt;

/// What a user tells an agent, and the same where nobody would look for it.
pub const VALUE: &str = "k3Yq-Zt91-pLm4-wXyZ";
pub const HIDDEN: &str = "azNZcS1adDkxLXBMbTQtd1h5Wg==";
pub const PERCENT: &str = "%6B3Yq%2DZt91%2DpLm4%2DwXyZ";
/// A token that looks like one.
pub const TOKEN: &str = "glpat-Zx71kdMm2x90Ttq3Wv8L";

/// A host on the loopback that keeps what each connection says in plaintext, and answers whole requests.
pub struct Host {
    port: u16,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    over: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl Host {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let (heard, over) = (Arc::<Mutex<Vec<Vec<u8>>>>::default(), Arc::<AtomicBool>::default());
        let (list, ends) = (Arc::clone(&heard), Arc::clone(&over));
        let serving = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if ends.load(Ordering::SeqCst) {
                    break;
                }
                let list = Arc::clone(&list);
                std::thread::spawn(move || hears(stream, &list));
            }
        });
        Self { port, heard, over, serving: Some(serving) }
    }

    pub fn rule(&self) -> String {
        format!("host.sessile:{}", self.port)
    }

    pub fn url(&self, target: &str) -> String {
        format!("http://host.sessile:{}{target}", self.port)
    }

    /// What each connection has said so far, those that said nothing aside.
    pub fn heard(&self) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        heard
            .iter()
            .filter(|said| !said.is_empty())
            .map(|said| String::from_utf8_lossy(said).into_owned())
            .collect()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        let _ = self.serving.take().map(JoinHandle::join);
    }
}

fn hears(mut stream: TcpStream, heard: &Mutex<Vec<Vec<u8>>>) {
    let place = {
        let mut heard = heard.lock().unwrap();
        heard.push(Vec::new());
        heard.len() - 1
    };
    let mut bytes = vec![0; 64 << 10];
    while let Ok(count @ 1..) = stream.read(&mut bytes) {
        let said = {
            let mut heard = heard.lock().unwrap();
            heard[place].extend_from_slice(&bytes[..count]);
            heard[place].clone()
        };
        if is_whole(&said) {
            let _ =
                stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nok\n");
        }
    }
}

/// Whether a request is complete.
fn is_whole(said: &[u8]) -> bool {
    let Some(end) = said.windows(4).position(|window| window == b"\r\n\r\n") else { return false };
    let (head, body) = (String::from_utf8_lossy(&said[..end]).to_lowercase(), &said[end + 4..]);
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")?.parse::<usize>().ok());
    match head.contains("transfer-encoding: chunked") {
        true => body.ends_with(b"0\r\n\r\n"),
        false => body.len() >= length.unwrap_or(0),
    }
}

/// A session with the roles of a desk, in which the user has told the agent a value, and these hosts.
pub fn told(world: &World, more: &[&str]) -> String {
    let id = opened(world, "desk", more);
    say(world, "User", "Agent", "ask", &format!("{{\"password\": \"{VALUE}\"}}"));
    assert!(hear(world, "Agent").contains(VALUE));
    id
}

pub fn curl(world: &World, arguments: &[&str]) -> Finished {
    let all = ["exec", "desk", "--", "curl", "-sS", "-i", "--max-time", "60"];
    world.sessile(&[&all[..], arguments].concat())
}

pub fn passes(world: &World, arguments: &[&str]) {
    let said = curl(world, arguments).succeeded();
    assert!(said.contains("200 OK"), "{arguments:?}: {said}");
}

/// Refused, and nothing is said of why.
pub fn refused(world: &World, arguments: &[&str]) {
    let said = curl(world, arguments).succeeded();
    assert!(
        said.contains("403 Forbidden") && said.contains("refused by policy. Do not retry"),
        "{arguments:?}: {said}"
    );
    for word in ["password", "token", "taint", "secret", "guard"] {
        assert!(!said.contains(word), "{said}");
    }
}

/// The entries of the audit that are about requests.
pub fn decided(world: &World, session: &str) -> Vec<Value> {
    let audit = world.json(&["audit", session, "--json"]);
    let is_request =
        |entry: &&Value| entry["label"].as_str().is_some_and(|label| label.starts_with("request "));
    audit.as_array().unwrap().iter().filter(is_request).cloned().collect()
}

pub fn question(world: &World) -> Value {
    eventually("somebody is asked", || {
        world.json(&["questions", "--json"]).as_array().unwrap().first().cloned()
    })
}

/// A script that sends a body in chunks, each by itself, and prints the answer.
fn chunks(port: u16, parts: &[&str]) -> String {
    let sent: String =
        parts.iter().map(|part| format!("printf '%s\\r\\n' '{:x}' '{part}' >&3\n", part.len())).collect();
    format!(
        "exec 3<>/dev/tcp/host.sessile/{port}\n\
         printf 'POST / HTTP/1.1\\r\\nHost: host.sessile:{port}\\r\\nTransfer-Encoding: chunked\\r\\n\\r\\n' >&3\n\
         {sent}printf '0\\r\\n\\r\\n' >&3\ncat <&3"
    )
}

for_root_and_user! {
    fn what_was_guarded_is_said_after_the_end_too_and_names_no_host(world) {
        let host = Host::new();
        let id = opened(world, "desk", &["--allow", &host.rule(), "--intercept", &host.rule()]);
        let before = guarded(world);
        assert!(before["guarded"].to_string().contains(&host.rule()), "{before}");
        world.must(&["end", "desk", "--grace", "0s"]);
        let after = world.json(&["show", &id, "--json"])["guard"].clone();
        let told = after["guarded"].to_string();
        assert!(told.contains("requests of apps: HTTP/1 in plaintext, and in TLS to hosts that were named"), "{after}");
        assert!(told.contains("User to Agent") && !after.to_string().contains("host.sessile"), "{after}");
        assert_eq!(after["blind"], before["blind"]);
        // In no file, the journal's log among them, while the daemon lives.
        let rule = host.rule();
        for file in ["journal.sqlite", "journal.sqlite-wal"] {
            let bytes = fs::read(world.state().join(file)).unwrap();
            assert!(!bytes.windows(rule.len()).any(|window| window == rule.as_bytes()), "{file}");
        }
    }

    fn what_was_said_in_a_channel_leaves_with_no_request(world) {
        let host = Host::new();
        let id = told(world, &["--allow", &host.rule()]);
        let shown = guarded(world);
        assert!(shown["guarded"].to_string().contains("requests of apps: HTTP/1 in plaintext"), "{shown}");
        assert!(shown["blind"].to_string().contains("other TLS, WebSockets"), "{shown}");
        passes(world, &[&host.url("/?q=1"), "-d", "all is well"]);
        assert!(decided(world, &id).is_empty(), "what has nothing of it is not written");
        for arguments in [
            &[&host.url(&format!("/?q={VALUE}"))[..]],
            &[&host.url(&format!("/?q={PERCENT}"))],
            &[&host.url(&format!("/{HIDDEN}"))],
            &[&host.url("/"), "-H", &format!("X-Note: {VALUE}")],
            &[&host.url("/"), "-H", &format!("Authorization: Bearer {VALUE}")],
            &[&host.url("/"), "-H", &format!("Cookie: a={HIDDEN}")],
            &[&host.url("/"), "-d", &format!("note={VALUE}")],
            &[&host.url("/"), "-d", &format!("{{\"note\": \"{HIDDEN}\"}}")],
            &[&host.url("/"), "-d", &format!("note={PERCENT}"), "-H", "Transfer-Encoding: chunked"],
        ] as [&[&str]; 9] {
            refused(world, arguments);
        }
        // In chunks, each of which says nothing.
        let (one, other) = VALUE.split_at(7);
        for parts in [vec![one, other], vec![&HIDDEN[..9], &HIDDEN[9..]]] {
            let said = world.sessile(&["exec", "desk", "--", "bash", "-c", &chunks(host.port, &parts)]).out;
            assert!(String::from_utf8_lossy(&said).contains("403 Forbidden"), "{parts:?}");
        }
        let clean = world.sessile(&["exec", "desk", "--", "bash", "-c", &chunks(host.port, &["all ", "is well"])]);
        assert!(clean.succeeded().contains("200 OK"));
        // Compressed, and so that nobody here sees it.
        let packed = "printf '%s' '{\"a\": \"VALUE\"}' | CODE | curl -sS -i -H 'Content-Encoding: NAME' --data-binary @- URL";
        let packed = |value: &str, code: &str, name: &str| {
            let script = packed.replace("VALUE", value).replace("CODE", code).replace("NAME", name);
            let script = script.replace("URL", &host.url("/"));
            world.must(&["exec", "desk", "--", "bash", "-c", &script])
        };
        assert!(packed(VALUE, "gzip", "gzip").contains("403 Forbidden"));
        assert!(packed("all is well", "cat", "br").contains("403 Forbidden"));
        assert!(packed("all is well", "gzip", "gzip").contains("200 OK"));
        // Longer than anything is kept, with the value near its end.
        let long = |value: &str, cut: &str| {
            let script = format!("(seq 1 90000; printf '%s' '{value}'; seq 1 2000) | gzip -n | {cut} \
                | curl -sS -i -H 'Content-Encoding: gzip' -H 'Expect:' --data-binary @- {}", host.url("/long"));
            String::from_utf8_lossy(&world.sessile(&["exec", "desk", "--", "bash", "-c", &script]).out).into_owned()
        };
        for (value, cut, answer) in
            [("", "cat", "200 OK"), (VALUE, "cat", "403 Forbidden"), ("", "head -c 150000", "403 Forbidden")]
        {
            let said = long(value, cut);
            assert!(said.contains(answer), "{value} {cut}: {said}");
        }
        // What went of it is read by the host a moment later.
        eventually("the first is whole, and most of the others has come", || {
            let heard = host.heard.lock().unwrap();
            let lengths: Vec<_> = heard.iter().filter(|said| said.starts_with(b"POST /long")).map(Vec::len).collect();
            let [whole, told, cut] = lengths.as_slice() else { return None };
            assert!(told < whole && cut < whole, "{lengths:?}");
            (*whole > 180_000 && *told > 64 << 10 && *cut > 64 << 10).then_some(())
        });
        let heard: Vec<String> = host.heard().into_iter().filter(|said| !said.starts_with("POST /long")).collect();
        let whole: Vec<&String> = heard.iter().filter(|said| is_whole(said.as_bytes()) && !said.contains("br\r\n")).collect();
        assert_eq!(whole.len(), 3, "{heard:#?}");
        for said in &heard {
            for value in [VALUE, HIDDEN, PERCENT, one, other] {
                assert!(!said.contains(value), "{said}");
            }
        }
        // It is written, counted, and said to nobody inside.
        let entries = decided(world, &id);
        assert_eq!(entries.len(), 15, "{entries:#?}");
        assert!(entries.iter().all(|entry| entry["effect"] == "reject" && entry["by"] == "app:main"), "{entries:#?}");
        let shown = guarded(world);
        assert_eq!(shown["refused"], 15, "{shown}");
        assert!(shown["risk"].as_u64().unwrap() > 20, "{shown}");
        let net = world.json(&["net", "desk", "--json"]).to_string();
        assert!(net.contains("a request was not sent: refused by policy"), "{net}");
    }

    fn what_is_cut_or_packed_and_does_not_say_so_leaves_with_no_request(world) {
        let host = Host::new();
        told(world, &["--allow", &host.rule()]);
        let (one, rest) = VALUE.split_at(7);
        let json = format!("{{\"a\": \"see {one}\", \"b\": \"and {rest}\"}}");
        for arguments in [
            &[&host.url(&format!("/?a=see.{one}&n=12&b=and.{rest}"))[..]] as &[&str],
            &[&host.url("/"), "-H", &format!("X-A: {one}"), "-H", "X-N: some", "-H", &format!("X-B: {rest}")],
            &[&host.url("/"), "-d", &json],
            &[&host.url("/"), "-d", &format!("begin with {rest}, before it {one}")],
        ] {
            refused(world, arguments);
        }
        // One request after the other.
        passes(world, &[&host.url("/"), "-d", &format!("part 1: {one} (more follows)")]);
        passes(world, &[&host.url("/"), "-d", "all is well"]);
        refused(world, &[&host.url("/"), "-d", &format!("part 2: {rest} (that is all)")]);
        let sent = |value: &str, how: &str| {
            let script = format!("printf '%s' '{{\"a\": \"{value}\"}}' | {how} {}", host.url("/packed"));
            world.must(&["exec", "desk", "--", "bash", "-c", &script])
        };
        for how in [
            "gzip -n | curl -sS -i --data-binary @-",
            "gzip | gzip | curl -sS -i --data-binary @-",
            "gzip | gzip | curl -sS -i -H 'Content-Encoding: gzip' --data-binary @-",
            "gzip | curl -sS -i -F 'f=@-;filename=f.gz'",
            "gzip | curl -sS -i -H 'Transfer-Encoding: chunked' -T -",
            "gzip | base64 -w 0 | curl -sS -i --data-binary @-",
        ] {
            assert!(sent("all is well", how).contains("200 OK"), "{how}");
            assert!(sent(VALUE, how).contains("403 Forbidden"), "{how}");
        }
        for said in host.heard() {
            assert!(!said.contains(VALUE) && !said.contains(rest), "{said}");
        }
    }

    fn a_guard_that_dies_or_hangs_within_a_body_lets_nothing_through(world) {
        let host = Host::new();
        let id = told(world, &["--allow", &host.rule()]);
        // Half of a body with the begin of something at its end, then the rest once a file is there.
        let upload = |number: usize, (one, other): (&str, &str)| {
            let port = host.port;
            let length = 80_000 + one.len() + other.len();
            let script = format!(
                "exec 3<>/dev/tcp/host.sessile/{port}\n\
                 printf 'POST /{number} HTTP/1.1\\r\\nHost: host.sessile:{port}\\r\\nContent-Length: {length}\\r\\n\\r\\n' >&3\n\
                 (head -c 40000 /dev/zero | tr '\\0' x; printf '%s' '{one}') >&3\n\
                 until test -e /tmp/{number}; do sleep 0.05; done\n\
                 (printf '%s' '{other}'; head -c 40000 /dev/zero | tr '\\0' y) >&3\ncat <&3"
            );
            let uploading = world.start(&["exec", "desk", "--", "bash", "-c", &script], Stdio::null());
            eventually("some of the body has come", || {
                host.heard().get(number).filter(|said| said.len() > 10_000).map(drop)
            });
            uploading
        };
        let goes_on = |number: usize| world.must(&["exec", "desk", "--", "touch", &format!("/tmp/{number}")]);
        // The next guard is shown what was kept back, and knows the same.
        let uploading = upload(0, VALUE.split_at(9));
        kill(guard(world, &id).unwrap().pid);
        goes_on(0);
        let answer = uploading.finish();
        assert!(String::from_utf8_lossy(&answer.out).contains("403 Forbidden"), "{}", answer.text());
        let uploading = upload(1, "all is well".split_at(5));
        kill(guard(world, &id).unwrap().pid);
        goes_on(1);
        assert!(uploading.finish().succeeded().contains("200 OK"));
        // One that is stopped says nothing: what it was shown is refused.
        let uploading = upload(2, ("", ""));
        let stopped = guard(world, &id).unwrap();
        signal(stopped.pid, rustix::process::Signal::STOP);
        goes_on(2);
        let answer = uploading.finish();
        assert!(String::from_utf8_lossy(&answer.out).contains("503 Service Unavailable"), "{}", answer.text());
        let heard = host.heard();
        assert!(heard.len() == 3 && is_whole(heard[1].as_bytes()) && heard[1].contains("xall is welly"));
        for said in [&heard[0], &heard[2]] {
            assert!(said.len() < 41_000 && !said.contains('y') && !said.contains(&VALUE[..9]), "{}", said.len());
        }
        passes(world, &[&host.url("/")]);
        refused(world, &[&host.url("/"), "-d", VALUE]);
        assert!(!stopped.runs(), "it is ended where it says nothing");
    }

    fn nothing_of_a_request_stays_anywhere(world) {
        let host = Host::new();
        let run = ["run", "--detach", "--name", "desk", "--allow", &host.rule(), "--", "sleep", "infinity"];
        world.must(&run);
        let id = world.show("desk")["id"].as_str().unwrap().to_owned();
        assert!(receipt_room_only(world, &id), "nothing was sent, so nothing is written");
        let kept = "Tq7vZx3mWk9Lr2";
        let bearer = format!("Authorization: Bearer {kept}");
        passes(world, &[&host.url("/"), "-H", &bearer]);
        refused(world, &[&host.url("/"), "-d", &format!("here it is: {TOKEN}")]);
        let guard = guard(world, &id).unwrap();
        let values = [kept, TOKEN, "here it is"];
        let seen = |folder: &std::path::Path| {
            let found = |value: &&&str| !files_with(folder, value.as_bytes()).is_empty();
            values.iter().filter(found).count()
        };
        assert_eq!(seen(&world.state()) + seen(&world.runtime()), 0);
        // Parts of this session; beside it others run whose callers say such values.
        let runtime = world.runtime();
        for pid in processes::all().into_keys() {
            let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            if pid == guard.pid || holds(&line, runtime.as_os_str().as_encoded_bytes()) {
                assert!(values.iter().all(|value| !holds(&line, value.as_bytes())));
            }
        }
        let audit = fs::read(world.state().join("sessions").join(&id).join("audit")).unwrap();
        assert!(!holds(&audit, b"host.sessile"), "a host's name may be what somebody wants to tell");
        assert!(!world.must(&["audit", "desk"]).contains(kept));
        world.must(&["end", "desk", "--grace", "1s"]);
        assert!(!guard.runs());
        let told = receipt(world, &id)["guard"].clone();
        assert_eq!((&told["ended"], &told["entries"]), (&true.into(), &2.into()), "{told}");
        assert!(told["overwritten"].as_u64().unwrap() > 0);
        assert!(world.must(&["audit", &id, "--verify"]).contains("2"));
        assert_eq!(seen(&world.state()), 0);
    }
}

/// Whether a session has no audit yet.
fn receipt_room_only(world: &World, id: &str) -> bool {
    !world.state().join("sessions").join(id).join("audit").exists()
}
