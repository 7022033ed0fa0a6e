//! Who answers about what the guard holds is who shows it: a name alone makes nobody another.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Stdio;

use serde_json::{Value, json};
use sessile_model::{SessionId, hex};
use sessile_protocol::monitor::approval::Approval;
use sessile_protocol::monitor::seal::SecretKey;
use sessile_protocol::monitor::setup;

use crate::guarded::{DESK, ODD, RULES, hear, question, ruled, say};
use crate::lines::rest;
use crate::support::processes::{self, kill, kill_quietly, part};
use crate::support::{Running, World};

/// A line of a role that is held, and the question about it.
fn held(world: &World, role: &str, to: &str, label: &str) -> (Running, String) {
    let waiting = world.start(&["send", "desk", "--as", role, to, label, ODD], Stdio::null());
    let asked = question(world);
    assert_eq!(asked["line"]["from"], role, "{asked}");
    (waiting, asked["id"].as_str().unwrap().to_owned())
}

fn denied(world: &World, (waiting, question): (Running, String)) {
    // Whoever said it may deny it.
    world.must(&["answer", &question, "deny"]);
    waiting.finish().refused_with(77, &["refused by policy; do not retry"]);
}

/// The last answer in the audit.
fn last_answer(world: &World) -> Value {
    let audit = world.json(&["audit", "desk", "--json"]);
    audit.as_array().unwrap().iter().rfind(|entry| entry["kind"] == "answered").unwrap().clone()
}

/// How each thing ended that was held, where nobody said more why; none is open.
pub fn ended(world: &World, session: &str) -> Vec<String> {
    let audit = world.json(&["audit", session, "--json"]);
    let of_kind =
        |kind: &'static str| audit.as_array().unwrap().iter().filter(move |entry| entry["kind"] == kind);
    let held = of_kind("decided")
        .filter(|entry| entry["effect"] == "confirm")
        .map(|entry| entry["number"].as_u64().unwrap());
    let held: BTreeSet<u64> = held.collect();
    let answers: Vec<&Value> = of_kind("answered").collect();
    let answered: BTreeSet<u64> = answers.iter().map(|entry| entry["number"].as_u64().unwrap()).collect();
    if held != answered {
        return Vec::new();
    }
    assert_eq!(answers.len(), held.len(), "each is answered once: {audit:#}");
    answers.iter().map(|entry| entry["why"].as_str().unwrap_or_default().to_owned()).collect()
}

fn allows(world: &World, question: &str, more: &[&str]) -> crate::support::Finished {
    world.sessile(&[&["answer", question, "allow"][..], more].concat())
}

for_root_and_user! {
    fn a_name_alone_makes_nobody_another(world) {
        ruled(world, &[]);
        // It is `operator:bob` who speaks for this role, and so says whoever says it.
        say(world, "User", "Agent", "ask", "hello");
        hear(world, "Agent");
        let (mut waiting, id) = held(world, "Agent", "Tool", "call");
        allows(world, &id, &[]).refused_with(77, &["nothing shows that operator is somebody else", "--by NAME", "sessile operators NAME"]);
        allows(world, &id, &["--by", "ann"]).refused_with(77, &["nothing shows that operator:ann is somebody else"]);
        for own in ["bob", "operator:bob"] {
            allows(world, &id, &["--by", own]).refused_with(77, &["operator:bob has said it, and somebody else"]);
        }
        // One who is made now was nobody when it was held.
        let made = world.json(&["operators", "ann", "--json"]);
        assert_eq!((&made[0]["operator"], &made[0]["here"]), (&"operator:ann".into(), &true.into()));
        allows(world, &id, &["--by", "ann"]).refused_with(77, &["not known as that of operator:ann when this was held"]);
        assert!(!waiting.has_ended());
        denied(world, (waiting, id));
        assert_eq!(last_answer(world)["by"], "operator");
        assert_eq!(last_answer(world)["key"], Value::Null);
        // From then on she is.
        let (waiting, id) = held(world, "Agent", "Tool", "call");
        allows(world, &id, &["--by", "ann"]).succeeded();
        waiting.finish().succeeded();
        let answer = last_answer(world);
        assert_eq!((&answer["by"], &answer["key"], &answer["verdict"]), (&"operator:ann".into(), &made[0]["key"], &"allow".into()));
        assert!(world.must(&["audit", "desk"]).contains("operator:ann, signed"));
    }

    fn a_key_is_one_persons_whatever_they_are_called(world) {
        world.write("rules/guard.cedar", RULES);
        let file = world.write("desk.scr", DESK);
        let roles = ["User=operator:operator", "Agent=operator:bob", "Tool=operator:carol"];
        let roles = roles.iter().flat_map(|role| ["--role", role]);
        let run = ["run", "--detach", "--name", "desk", "--policy", "rules", "--protocol", file.to_str().unwrap()];
        let run: Vec<&str> = run.into_iter().chain(roles).chain(["--", "sleep", "infinity"]).collect();
        world.must(&run);
        assert_eq!(world.show("desk")["protocol"]["roles"]["User"], "operator");
        say(world, "User", "Agent", "ask", "hello");
        hear(world, "Agent");
        say(world, "Agent", "Tool", "call", "hello");
        hear(world, "Tool");
        say(world, "Agent", "User", "answer", "hello");
        hear(world, "User");
        let folder = world.state().join("operators");
        // The operator's key under another name.
        fs::copy(folder.join("operator.key"), folder.join("operator-eve.key")).unwrap();
        fs::set_permissions(folder.join("operator-eve.key"), fs::Permissions::from_mode(0o600)).unwrap();
        world.give_to_caller(&folder.join("operator-eve.key"));
        world.must(&["operators", "eve"]);
        // Ann's lies elsewhere: here is its public half.
        let ann = SecretKey::from_seed(&[7; 32]);
        let public = hex::text(&ann.public().to_bytes());
        assert!(world.must(&["operators", "ann", "--key", &public]).contains("elsewhere"));
        for (key, words) in [
            ("07".repeat(32), "nobody has this key: it is no point of the curve"),
            ("00".repeat(32), "nobody has this key: it is no point of the curve, or one that verifies what anybody signs"),
            (format!("01{}", "00".repeat(31)), "or one that verifies what anybody signs"),
            (public[..60].to_owned(), "it has 60 digits, and an Ed25519 key 64"),
            (format!("{public}00"), "it has 66 digits"),
            ("5f1c\u{2026}".to_owned(), "it is not of hexadecimal digits alone"),
        ] {
            let next = "`sessile operators` shows the right one where its secret half is";
            world.sessile(&["operators", "zoe", "--key", &key]).refused_with(64, &[words, next]);
        }
        assert!(!world.must(&["operators"]).contains("zoe"));
        world.sessile(&["operators", "bob", "--key", &public]).refused_with(73, &["known by another key already"]);
        let key = world.write("ann.key", &format!("sessile-line-key {}\n", "07".repeat(32)));
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let key = key.to_str().unwrap();

        let (waiting, id) = held(world, "User", "Agent", "ask");
        for own in ["operator", "operator:operator"] {
            allows(world, &id, &["--by", own]).refused_with(77, &["operator has said it, and somebody else"]);
        }
        allows(world, &id, &["--by", "eve"]).refused_with(77, &["the key of operator:eve is that of operator too"]);
        allows(world, &id, &["--by", "ann"]).refused_with(77, &["the answer is not signed"]);
        allows(world, &id, &["--by", "bob", "--key-file", key]).refused_with(77, &["not known as that of operator:bob"]);
        allows(world, &id, &["--by", "ann", "--key-file", "no.key"]).refused_with(66, &["no.key"]);
        allows(world, &id, &["--by", "ann", "--key-file", key]).succeeded();
        waiting.finish().succeeded();
        assert_eq!(hear(world, "Agent"), ODD);
        assert_eq!(last_answer(world)["key"], public.as_str());
        // One who has said something before is known by that.
        let (waiting, id) = held(world, "Agent", "Tool", "call");
        allows(world, &id, &["--by", "operator"]).succeeded();
        waiting.finish().succeeded();
    }

    fn by_rest_a_name_is_a_word_too(world) {
        ruled(world, &[]);
        let ann = SecretKey::from_seed(&[7; 32]);
        let public = hex::text(&ann.public().to_bytes());
        world.must(&["operators", "ann", "--key", &public]);
        let (waiting, id) = held(world, "User", "Agent", "ask");
        let path = format!("POST /v1/questions/{id}");
        let post = |body: &Value| rest(world, &path, body);
        let session: SessionId = world.show("desk")["id"].as_str().unwrap().parse().unwrap();
        let number: u32 = id.rsplit_once('-').unwrap().1.parse().unwrap();
        let answer = Approval { session: setup::SessionId(session.as_bytes()), question: number, allows: true, by: "operator:ann" };
        let sealed = |signature: [u8; 64], key: &str| {
            json!({"verdict": "allow", "by": "ann", "seal": {"key": key, "signature": hex::text(&signature)}})
        };
        for (body, words) in [
            (json!({"verdict": "allow"}), "operator has said it"),
            (json!({"verdict": "allow", "by": "ann"}), "nothing shows"),
            (sealed(Approval { allows: false, ..answer }.sign(&ann), &public), "the signature is not of this answer"),
            (sealed(Approval { question: number + 1, ..answer }.sign(&ann), &public), "the signature is not of this answer"),
            (sealed(Approval { session: setup::SessionId([1; 16]), ..answer }.sign(&ann), &public), "the signature is not"),
            (sealed(answer.sign(&SecretKey::from_seed(&[8; 32])), &public), "the signature is not of this answer"),
        ] {
            let (status, problem) = post(&body);
            assert_eq!((status, &problem["kind"]), (403, &"denied".into()), "{body}: {problem}");
            assert!(problem["detail"].as_str().unwrap().contains(words), "{body}: {problem}");
            assert!(problem["hint"].is_string(), "{problem}");
        }
        assert_eq!(post(&json!({"verdict": "allow", "by": "A B"})).0, 400);
        world.sessile(&["answer", &id, "allow", "--by", "A B"]).refused_with(64, &["operator names are 1 to 24"]);
        assert_eq!(post(&sealed(answer.sign(&ann), "07")).0, 400);
        assert_eq!(post(&sealed(answer.sign(&ann), &public)).0, 200);
        waiting.finish().succeeded();
        assert_eq!(hear(world, "Agent"), ODD);
    }

    /// What nobody signs is said by a name alone, which is not another's for that.
    fn of_lines_without_signatures_it_is_shown_as_well(world) {
        ruled(world, &["--unsigned"]);
        let (waiting, id) = held(world, "User", "Agent", "ask");
        allows(world, &id, &[]).refused_with(77, &["operator has said it"]);
        allows(world, &id, &["--by", "ann"]).refused_with(77, &["nothing shows"]);
        denied(world, (waiting, id));
        world.must(&["operators", "ann"]);
        let (waiting, id) = held(world, "User", "Agent", "ask");
        allows(world, &id, &["--by", "ann"]).succeeded();
        waiting.finish().succeeded();
    }

    /// What was held and is not done has an end in the audit, whatever dies, and no question is another's.
    fn what_is_held_ends(world) {
        let id = ruled(world, &[]);
        world.must(&["operators", "ann"]);
        let (waiting, first) = held(world, "User", "Agent", "ask");
        kill(part(world, "keeper", &id).unwrap());
        // Whoever says it says it again.
        let second = processes::eventually("it is asked again", || {
            let asked = question(world)["id"].as_str().unwrap().to_owned();
            (asked != first).then_some(asked)
        });
        let audit = world.json(&["audit", "desk", "--json"]);
        let gone = audit.as_array().unwrap().iter().find(|entry| entry["kind"] == "answered").unwrap();
        assert_eq!((&gone["verdict"], &gone["by"], &gone["why"]), (&"deny".into(), &Value::Null, &"given up with its keeper".into()));
        assert!(first.ends_with(&format!("{}", 2_000_000_000 + gone["number"].as_u64().unwrap())));
        allows(world, &first, &["--by", "ann"]).refused_with(66, &["there is no such question"]);
        allows(world, &second, &["--by", "ann"]).succeeded();
        waiting.finish().succeeded();
        hear(world, "Agent");
        assert_eq!(ended(world, "desk"), ["given up with its keeper", ""]);
        assert!(world.must(&["audit", "desk"]).contains("nobody"));
        // One who leaves.
        let (waiting, _) = held(world, "Agent", "Tool", "call");
        kill(waiting.pid());
        processes::eventually("it is given up", || (ended(world, "desk").last()? == "nobody waited for it any more").then_some(()));
        // Two keepers in a row, and the session's end.
        let (_waiting, third) = held(world, "Agent", "Tool", "call");
        for _ in 0..2 {
            kill(part(world, "keeper", &id).unwrap());
            processes::eventually("it is asked again", || (question(world)["id"] != third.as_str()).then_some(()));
        }
        world.must(&["end", "desk", "--grace", "0s"]);
        let why = ended(world, &id);
        assert_eq!(why.last().map(String::as_str), Some("given up with its session"), "{why:?}");
        assert!(world.json(&["audit", &id, "--verify", "--json"])["signed"].as_bool().unwrap());
        let audit = world.json(&["audit", &id, "--json"]);
        let numbers: Vec<u64> = audit.as_array().unwrap().iter().filter(|entry| entry["kind"] == "decided").map(|entry| entry["number"].as_u64().unwrap()).collect();
        assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len(), "{numbers:?}");
    }

    fn what_was_held_in_a_session_that_is_lost_ends_too(world) {
        let id = ruled(world, &[]);
        let (_waiting, _) = held(world, "User", "Agent", "ask");
        let keeper = part(world, "keeper", &id).unwrap();
        kill(part(world, "anchor", &id).unwrap());
        // It dies with its anchor, if not by this.
        kill_quietly(keeper);
        processes::eventually("the session is closed", || (world.show(&id)["state"] == "closed").then_some(()));
        assert_eq!(ended(world, &id), ["given up with its session"]);
        assert!(world.json(&["audit", &id, "--verify", "--json"])["signed"].as_bool().unwrap());
    }
}
