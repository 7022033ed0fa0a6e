//! Whole connections between an app and a host, over pipes in memory.

use sessile_model::network::{Network, NetworkLimits, PolicyText};
use tokio::io::{AsyncReadExt as _, duplex};

use sessile_model::guarding::outgoing::{Showing, Shown, Word};
use tokio::task::LocalSet;

use super::*;
use crate::guard::tests::{goes, said, saying};

struct Talk {
    /// What the host was sent.
    asked: String,
    /// What the app was answered.
    answered: String,
    outcome: Result<(), Stopped>,
}

/// An app that says all this at once, and a host that says that at once.
async fn talk(says: &str, host_says: &str, brokered: &[Brokered<'_>]) -> Talk {
    talk_under("", says, host_says, brokered).await
}

/// The same under a policy.
async fn talk_under(policy: &str, says: &str, host_says: &str, brokered: &[Brokered<'_>]) -> Talk {
    talk_past(goes, policy, says, host_says, brokered).await
}

/// The same, past a guard that says this.
async fn talk_past(
    word: impl FnMut(&Shown) -> Word + Send + 'static,
    policy: &str,
    says: &str,
    host_says: &str,
    brokered: &[Brokered<'_>],
) -> Talk {
    let talking = async { talk_with((saying(word), policy), says, ("", host_says), brokered).await };
    LocalSet::new().run_until(talking).await
}

/// The same with a host that answers once it has heard this last.
async fn talk_after(
    word: impl FnMut(&Shown) -> Word + Send + 'static,
    says: &str,
    host: (&str, &str),
) -> Talk {
    let talking = async { talk_with((saying(word), ""), says, host, &[]).await };
    LocalSet::new().run_until(talking).await
}

async fn talk_with(
    (guard, policy): (Guard, &str),
    says: &str,
    (last, host_says): (&str, &str),
    brokered: &[Brokered<'_>],
) -> Talk {
    let text = PolicyText { name: "work.cedar".to_owned(), text: policy.to_owned() };
    let policy = RefCell::new(Policy::new(Network { policies: vec![text], ..Network::default() }).unwrap());
    let judge = Judge { policy: &policy, app: &AppName::main(), port: 80 };
    let (app, mut app_end) = duplex(1 << 20);
    let (world, world_end) = duplex(1 << 20);
    let (mut hears, mut answers) = tokio::io::split(world_end);
    let mut asked = Vec::new();
    let host = async {
        while !asked.ends_with(last.as_bytes()) {
            if hears.read_buf(&mut asked).await.unwrap() == 0 {
                break;
            }
        }
        answers.write_all(host_says.as_bytes()).await.unwrap();
        answers.shutdown().await.unwrap();
        hears.read_to_end(&mut asked).await.unwrap();
    };
    let flows = RefCell::new(Flows::new(NetworkLimits::default()));
    let (flows, guard) = (&flows, &guard);
    let visit =
        Visit { flows, flow: 0, host: "a.example", scheme: "http", brokered, judge, guard, socket: None };
    // The app has said all it has to say.
    let mut answered = String::new();
    let outcome = {
        let reading = async {
            app_end.shutdown().await.unwrap();
            app_end.read_to_string(&mut answered).await.unwrap();
        };
        tokio::join!(serve(&visit, app, world, says.as_bytes().to_vec()), reading, host).0
    };
    Talk { asked: String::from_utf8(asked).unwrap(), answered, outcome }
}

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

fn get(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[tokio::test]
async fn every_request_of_a_connection_is_judged() {
    let says = [get("/1", "a.example"), get("/2", "a.example"), get("/3", "b.example")].concat();
    let talk = talk(&says, &OK.repeat(3), &[]).await;
    assert_eq!(talk.asked, [get("/1", "a.example"), get("/2", "a.example")].concat());
    assert!(talk.answered.starts_with(&OK.repeat(2)), "{}", talk.answered);
    assert!(talk.answered.contains("403 Forbidden") && talk.answered.contains("spoke to b.example"));
    assert!(matches!(talk.outcome, Err(Stopped::OtherHost { .. })), "{:?}", talk.outcome);
}

#[tokio::test]
async fn a_request_in_the_shadow_of_another_does_not_reach_the_host() {
    let hidden = get("/hidden", "b.example");
    for lines in [
        format!("Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}", hidden.len()),
        format!("Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Transfer-Encoding: chunked\r\n\r\n0\n\n{hidden}"),
        format!("Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"),
        format!("Content-Length: 0\r\n\r\n{hidden}"),
        format!("\r\n\r\n\r\n{hidden}"),
    ] {
        let says = format!("POST /x HTTP/1.1\r\nHost: a.example\r\n{lines}");
        let talk = talk(&says, &OK.repeat(3), &[]).await;
        assert!(!talk.asked.contains("hidden"), "{says:?} became {:?}", talk.asked);
        assert!(talk.outcome.is_err(), "{says:?}");
    }
}

#[tokio::test]
async fn bodies_pass_whole_and_chunks_are_made_anew() {
    let says = "POST / HTTP/1.1\r\nHost: a.example\r\nTransfer-Encoding: chunked\r\n\r\n\
                5;x=y\r\nhello\r\n0\r\nX-T: secret\r\n\r\n";
    let answer = "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n\
                  3\r\nabc\r\n0\r\n\r\n";
    let talk = talk_after(goes, says, ("0\r\n\r\n", answer)).await;
    assert!(talk.asked.ends_with("\r\n\r\n5\r\nhello\r\n0\r\n\r\n"), "{}", talk.asked);
    assert_eq!(talk.answered, answer);
    talk.outcome.unwrap();
}

#[tokio::test]
async fn a_credential_goes_out_and_does_not_come_back() {
    let secret = Secret::new(b"Bearer s3cret").unwrap();
    let brokered = [Brokered { header: "Authorization", value: &secret }];
    let says = "GET / HTTP/1.1\r\nHost: a.example\r\nauthorization: mine\r\nAUTHORIZATION: two\r\n\r\n";
    let answer = "HTTP/1.1 200 OK\r\nAuthorization: Bearer s3cret\r\nX-Echo: got s3cret\r\n\
                  X-All: Bearer s3cret\r\nContent-Length: 22\r\n\r\nyou said Bearer s3cret";
    let talk = talk(&says.repeat(2), &answer.repeat(2), &brokered).await;
    assert_eq!(talk.asked.matches("Authorization: Bearer s3cret\r\n").count(), 2, "{}", talk.asked);
    assert!(!talk.asked.contains("mine") && !talk.asked.contains("two"));
    assert_eq!(talk.asked.matches("Accept-Encoding: identity\r\n").count(), 2, "{}", talk.asked);
    assert!(!talk.answered.contains("s3cret") && talk.answered.contains("X-Echo: got -\r\n"));
    assert!(talk.answered.ends_with("\r\n\r\nyou said Bearer ******"), "{}", talk.answered);
    let trace = "TRACE / HTTP/1.1\r\nHost: a.example\r\n\r\n";
    let talk = super::tests::talk(trace, OK, &brokered).await;
    assert!(talk.answered.contains("400 Bad Request") && talk.asked.is_empty(), "{}", talk.answered);
}

#[tokio::test]
async fn a_credential_that_comes_back_in_pieces_is_masked() {
    let secret = Secret::new(b"s3cret").unwrap();
    let brokered = [Brokered { header: "X-Key", value: &secret }];
    let chunks = "HTTP/1.1 200 s3cret\r\nTransfer-Encoding: chunked\r\n\r\n\
                  4\r\n-s3c\r\n5\r\nret-s\r\n0\r\n\r\n";
    let chunked = talk(&get("/", "a.example"), chunks, &brokered).await;
    let (_, body) = chunked.answered.split_once("\r\n\r\n").unwrap();
    assert_eq!(body, "1\r\n-\r\n7\r\n******-\r\n1\r\ns\r\n0\r\n\r\n");
    assert!(!chunked.answered.contains("s3cret"), "{}", chunked.answered);
    let until_close = talk(&get("/", "a.example"), "HTTP/1.1 200 OK\r\n\r\ns3cret s3", &brokered).await;
    assert!(until_close.answered.ends_with("\r\n\r\n****** s3"), "{}", until_close.answered);
}

#[tokio::test]
async fn a_websocket_becomes_a_relay() {
    let says = "GET / HTTP/1.1\r\nHost: a.example\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nraw\0";
    let answer = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01back";
    let upgraded = talk(says, answer, &[]).await;
    assert!(upgraded.asked.ends_with("\r\n\r\nraw\0"), "{:?}", upgraded.asked);
    assert!(upgraded.answered.ends_with("\r\n\r\n\x01back"), "{:?}", upgraded.answered);
    // Nobody asked for it.
    let talk = talk(&get("/", "a.example"), answer, &[]).await;
    assert!(talk.answered.contains("502 Bad Gateway"), "{}", talk.answered);
}

#[tokio::test]
async fn a_response_that_might_be_read_in_two_ways_is_not_passed_on() {
    let both = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\nok";
    for answer in [both, "HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "ICY 200 OK\r\n\r\n"] {
        let talk = talk(&get("/", "a.example"), answer, &[]).await;
        assert!(talk.answered.contains("502 Bad Gateway"), "{answer}: {}", talk.answered);
        assert!(matches!(talk.outcome, Err(Stopped::Response(_))));
    }
}

#[tokio::test]
async fn a_policy_looks_at_each_request() {
    let policy = r#"@id("reads") forbid (principal, action == Action::"request", resource == Host::"a.example")
        unless { context.method == "GET" && context.path like "/v1/*" };"#;
    let says = format!("{}{}", get("/v1/a", "a.example"), get("/v1/../b", "a.example"));
    let talked = talk_under(policy, &says, OK, &[]).await;
    assert_eq!(talked.asked, get("/v1/a", "a.example"));
    assert!(
        matches!(&talked.outcome, Err(Stopped::Forbidden { by }) if by == "policy reads"),
        "{:?}",
        talked.outcome
    );
    let answered = talked.answered;
    assert!(answered.starts_with(OK), "{answered}");
    assert!(answered.contains("403 Forbidden") && answered.contains("(policy reads)"), "{answered}");
}

/// Refuses what has this in it, and keeps back as many bytes as it has.
fn keeps(value: &'static str) -> impl FnMut(&Shown) -> Word + Send + 'static {
    move |shown| {
        let (number, (head, body)) = (shown.number, said(shown));
        let kept = if shown.is_last { 0 } else { value.len().min(body.len()) };
        match head.contains(value) || body.contains(value) {
            true => Word::Refused { number },
            false => Word::Goes { number, body: (body.len() - kept) as u32 },
        }
    }
}

fn post(fields: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: a.example\r\n{fields}\r\n\r\n{body}")
}

#[tokio::test]
async fn what_the_guard_refuses_is_not_sent() {
    let value = "k3Yq-Zt91-pLm4";
    let short = format!("Content-Length: {}", value.len() + 4);
    for says in [
        get(&format!("/?q={value}"), "a.example"),
        post(&format!("X-Note: {value}\r\nContent-Length: 0"), ""),
        // A body that is there is looked at with its head.
        post(&short, &format!("of, {value}")),
    ] {
        let talk = talk_past(keeps(value), "", &says, OK, &[]).await;
        assert_eq!(talk.asked, "", "{says}");
        assert!(talk.answered.starts_with("HTTP/1.1 403 Forbidden"), "{}", talk.answered);
        assert!(!talk.answered.contains(value) && matches!(talk.outcome, Err(Stopped::Withheld(_))));
    }
    let clean = post("Content-Length: 4", "body");
    let talk = talk_past(keeps(value), "", &clean, OK, &[]).await;
    assert_eq!((talk.asked, talk.answered.as_str()), (clean, OK));
}

#[tokio::test]
async fn a_body_that_is_refused_in_its_middle_is_never_whole() {
    let value = "k3Yq-Zt91-pLm4";
    let filler = "all is well. ".repeat(4000);
    for end in [filler.len(), 20_000, 16_380, 8995, 8192, 8190, 8180] {
        let text = format!("{}{value}{filler}", &filler[..end]);
        let length = post(&format!("Content-Length: {}", text.len()), &text);
        let chunks: String = text
            .as_bytes()
            .chunks(1000)
            .map(|part| format!("{:x}\r\n{}\r\n", part.len(), std::str::from_utf8(part).unwrap()))
            .collect();
        let chunked = post("Transfer-Encoding: chunked", &format!("{chunks}0\r\n\r\n"));
        for (says, last) in [(length, filler.as_str()), (chunked, "0\r\n\r\n")] {
            let talk = talk_after(keeps(value), &says, (last, "")).await;
            assert!(matches!(talk.outcome, Err(Stopped::Withheld(Withheld::Refused))), "{:?}", talk.outcome);
            assert!(!talk.asked.contains(&value[..8]) && !talk.asked.ends_with("0\r\n\r\n"));
            assert!(talk.asked.len() < end + 1000, "{} of {end}", talk.asked.len());
            assert!(talk.answered.starts_with("HTTP/1.1 403"), "{}", talk.answered);
        }
        let clean = post(&format!("Content-Length: {}", filler.len()), &filler);
        assert_eq!(talk_after(keeps(value), &clean, (&filler, OK)).await.asked, clean);
    }
}

#[tokio::test]
async fn what_is_compressed_is_shown_as_it_comes() {
    let codings = |name: &'static str, length: usize| async move {
        let (told, heard) = std::sync::mpsc::channel();
        let says = post(
            &format!("Content-Encoding: {name}\r\nContent-Length: {length}"),
            &format!("{}end", "z".repeat(length - 3)),
        );
        let word = move |shown: &Shown| {
            let length = said(shown).1.len();
            if length > 0 {
                let coding = serde_json::to_value(shown.coding).unwrap().as_str().unwrap().to_owned();
                told.send((coding, length, shown.stream, shown.at)).unwrap();
            }
            // Half of it is kept, until it ends.
            let goes = if shown.is_last { length } else { length / 2 };
            Word::Goes { number: shown.number, body: goes as u32 }
        };
        talk_after(word, &says, ("end", OK)).await.outcome.unwrap();
        heard.try_iter().collect::<Vec<_>>()
    };
    for (name, length, coding) in [
        ("gzip", 20_000, "gzip"),
        ("gzip", 200_000, "gzip"),
        ("identity, X-GZIP", 100, "gzip"),
        ("deflate", 150_000, "deflate"),
        ("br", 100, "unseen"),
        ("gzip, gzip", 100_000, "unseen"),
    ] {
        let told = codings(name, length).await;
        let mut at = 0;
        for (place, (shown_as, shown, stream, begins)) in told.iter().enumerate() {
            let is_last = place + 1 == told.len();
            assert_eq!((shown_as.as_str(), *stream, *begins), (coding, told[0].2, at), "{name}: {told:?}");
            at += if is_last { *shown as u64 } else { *shown as u64 / 2 };
        }
        assert_eq!(at, length as u64, "{name}: {told:?}");
    }
}

#[tokio::test]
async fn who_leaves_within_a_compressed_body_takes_it_along() {
    let (told, heard) = std::sync::mpsc::channel();
    let guard = Guard::new(tokio::sync::mpsc::channel(1).0);
    let socket = crate::guard::tests::played(move |showing| {
        let word = match showing {
            Showing::Part(shown) if said(shown).1.is_empty() => Some(goes(shown)),
            Showing::Part(shown) => {
                told.send((shown.stream, false)).unwrap();
                Some(Word::Goes { number: shown.number, body: 0 })
            }
            Showing::Left { number } => {
                told.send((*number, true)).unwrap();
                None
            }
            Showing::Unknown => None,
        };
        Some(word.map_or_else(Vec::new, |word| serde_json::to_vec(&word).unwrap()))
    });
    let says = post("Content-Encoding: gzip\r\nContent-Length: 20000", &"z".repeat(10_000));
    let talking = async {
        guard.begin_with(socket);
        talk_with((guard, ""), &says, ("nothing", ""), &[]).await
    };
    let talk = LocalSet::new().run_until(talking).await;
    assert!(talk.outcome.is_err(), "{:?}", talk.outcome);
    let (stream, _) = heard.recv().unwrap();
    assert!(heard.iter().any(|left| left == (stream, true)), "{stream} is left");
}

#[tokio::test]
async fn what_the_app_has_in_a_credentials_place_is_not_looked_at_nor_sent() {
    let secret = Secret::new(b"Bearer s3cret").unwrap();
    let brokered = [Brokered { header: "Authorization", value: &secret }];
    let says = "GET / HTTP/1.1\r\nHost: a.example\r\nauthorization: mine\r\n\r\n";
    let word = |shown: &Shown| {
        let head = said(shown).0;
        match head.contains("mine") || head.contains("s3cret") {
            true => Word::Refused { number: shown.number },
            false => goes(shown),
        }
    };
    let talk = talk_past(word, "", says, OK, &brokered).await;
    assert!(talk.asked.contains("Authorization: Bearer s3cret\r\n"), "{} {}", talk.asked, talk.answered);
}
