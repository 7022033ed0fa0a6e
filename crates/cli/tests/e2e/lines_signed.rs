//! Lines that are signed by who says them; roles that are handed over; conversations that are closed.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use serde_json::{Value, json};
use sessile_model::hex;
use sessile_protocol::machine::Signature;
use sessile_protocol::monitor::seal::{Position, SecretKey, Statement};
use sessile_protocol::monitor::setup::SessionId;
use sessile_protocol::plan::Digest;

use crate::lines::{OPERATORS, journaled, opened, protocol, recv, rest, send, status};
use crate::support::processes::{self, daemon_of, kill, part};
use crate::support::{Finished, Running, TALK, World};

pub const FLOW: &str = "module talk; type <rust> \"String\" from \"std\" as Text;
global protocol Flow(role User, role Agent) {
    rec Next { item(Text) from User to Agent; continue Next; } }";

/// The body of a line that a program signs by itself, as docs/protocol.md says.
fn signed(world: &World, session: &str, key: &SecretKey, line: [&str; 3], token: u8) -> Value {
    let [role, to, label] = line;
    let stand = json!({"role": role, "to": to, "label": label});
    let (found, standing) = rest(world, &format!("POST /v1/sessions/{session}/stand"), &stand);
    assert_eq!((found, &standing["signing"]), (200, &"signed".into()), "{standing}");
    let text = |name: &str| standing[name].as_str().unwrap();
    let names = standing["payload"].as_array().unwrap().iter().map(|name| name.as_str().unwrap().into());
    let sequence = standing["sequence"].as_u64().unwrap();
    let statement = Statement {
        session: SessionId(hex::bytes(text("session")).unwrap()),
        plan: Digest(hex::bytes(text("protocol")).unwrap()),
        epoch: standing["epoch"].as_u64().unwrap(),
        from: role,
        to,
        position: Position { sequence, link: Digest(hex::bytes(text("link")).unwrap()) },
        message: &Signature { label: label.into(), payload: names.collect() },
        payload: Digest::of(b""),
    };
    let signature = hex::text(&statement.seal(key).signature);
    let seal = json!({
        "key": hex::text(&key.public().to_bytes()), "session": text("session"), "epoch": standing["epoch"],
        "sequence": sequence, "link": text("link"), "signature": signature,
    });
    json!({"role": role, "to": to, "label": label, "token": hex::text(&[token; 16]), "seal": seal})
}

/// Another client of the same daemon, with a state folder of its own.
fn elsewhere(world: &World, arguments: &[&str]) -> Finished {
    let mut command = world.command(arguments);
    command.env("SESSILE_STATE_DIR", world.project().join("elsewhere"));
    Running::start(command).finish()
}

for_root_and_user! {
    fn a_line_is_its_senders_whatever_dies_and_whoever_else_asks(world) {
        let file = protocol(world, TALK);
        let id = opened(world, "talk", &format!("{file}#Talk"), &[]);
        world.must(&send("talk", "User", &["Agent", "ask", "why?"]));
        let key = world.state().join("operators/operator.key");
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        kill(daemon_of(world).unwrap().pid);
        kill(part(world, "keeper", &id).unwrap());
        world.must(&recv("talk", "Agent", &[]));
        world.must(&send("talk", "Agent", &["User", "answer", "so"]));
        world.must(&recv("talk", "User", &[]));

        // A program that signs nothing, with a key of its own, or what was signed before.
        let say = |body: &Value| rest(world, "POST /v1/sessions/talk/say", body);
        let bare = json!({"role": "User", "to": "Agent", "label": "ask", "token": "00".repeat(16)});
        let (found, answer) = say(&bare);
        assert_eq!((found, answer["detail"].as_str().unwrap().contains("unsigned")), (409, true), "{answer}");
        let stranger = SecretKey::from_seed(&[8; 32]);
        let (found, answer) = say(&signed(world, "talk", &stranger, ["User", "Agent", "ask"], 1));
        assert_eq!((found, answer["detail"].as_str().unwrap().contains("another key")), (403, true), "{answer}");
        let text = fs::read_to_string(&key).unwrap();
        let own = text.trim_end().rsplit(' ').next().and_then(hex::bytes::<32>).unwrap();
        let good = signed(world, "talk", &SecretKey::from_seed(&own), ["User", "Agent", "ask"], 2);
        let mut forged = good.clone();
        forged["payload"] = "aGk=".into();
        assert_eq!(say(&forged).0, 409);
        for _ in 0..2 {
            assert_eq!(say(&good), (200, json!({"sequence": 1})));
        }
        let mut repeated = good;
        repeated["token"] = "11".repeat(16).into();
        let (found, answer) = say(&repeated);
        assert_eq!((found, answer["detail"].as_str().unwrap().contains("replayed")), (409, true), "{answer}");
        assert_eq!(status(world, "talk")["violations"], 3);
        assert!(world.must(&recv("talk", "Agent", &[])).is_empty());
    }

    fn a_client_that_has_lost_its_key_is_told_and_known_again_once_the_role_is_handed_over(world) {
        let file = protocol(world, FLOW);
        let id = opened(world, "talk", &file, &["--on-violation", "fault"]);
        let item = send("talk", "User", &["Agent", "item", "?"]);
        world.must(&item);
        elsewhere(world, &item).refused_with(77, &["User is known by another key", "sessile delegate"]);
        let given = world.json(&["delegate", "talk", "User", "operator", "--json"]);
        assert_eq!((&given["epoch"], &given["by"], &given["to"]), (&1.into(), &"operator".into(), &"operator".into()));
        elsewhere(world, &item).succeeded();
        world.sessile(&item).refused_with(77, &["another key"]);
        // To another: who spoke before has nothing more to say.
        let receipt = world.must(&["delegate", "talk", "User", "operator:carol"]);
        assert!(receipt.starts_with("User: operator:carol instead of operator, by operator\n"), "{receipt}");
        assert!(receipt.contains(given["withdrawn"].as_str().unwrap()) ^ receipt.contains("key withdrawn: "), "{receipt}");
        world.must(&item);
        assert!(world.state().join("operators/operator-carol.key").exists());
        world.sessile(&["delegate", "talk", "User", "operator:bob"]).refused_with(73, &["operator:bob speaks for another role"]);
        let shown = status(world, "talk");
        assert_eq!((&shown["roles"]["User"], &shown["epoch"]), (&"operator:carol".into(), &2.into()));
        assert_eq!((&shown["violations"], &shown["status"]["kind"]), (&0.into(), &"active".into()));
        for (from, to, epoch) in [("operator", "operator", 1), ("operator", "operator:carol", 2)] {
            let fact = format!(r#"{{"fact":"delegated","role":"User","by":"operator","from":"{from}","to":"{to}","epoch":{epoch}}}"#);
            assert!(journaled(world, &id, &fact), "{fact}");
        }
    }

    /// Several clients of one operator speak at once; whoever is overtaken signs again.
    fn clients_that_speak_at_once_are_at_no_fault(world) {
        let file = protocol(world, FLOW);
        opened(world, "talk", &file, &["--on-violation", "fault"]);
        std::thread::scope(|scope| {
            for client in 0..4 {
                scope.spawn(move || {
                    for number in 0..3 {
                        world.must(&send("talk", "User", &["Agent", "item", &format!("{client}{number}")]));
                    }
                });
            }
        });
        let mut heard: Vec<String> = (0..12).map(|_| world.must(&recv("talk", "Agent", &[]))).collect();
        heard.sort();
        let said: Vec<String> = (0..4).flat_map(|c| (0..3).map(move |n| format!("{c}{n}"))).collect();
        assert_eq!(heard, said);
        assert_eq!(status(world, "talk")["violations"], 0);
    }

    fn a_conversation_is_closed_by_who_may(world) {
        let file = protocol(world, TALK);
        let id = opened(world, "talk", &format!("{file}#Talk"), &["--closer", "Agent"]);
        world.must(&send("talk", "User", &["Agent", "ask", "last"]));
        world.sessile(&["close", "talk", "--as", "User"]).refused_with(77, &["User may not close", "--closer"]);
        world.sessile(&["close", "talk", "--as", "Agent", "--abort"]).refused_with(77, &["not in this way"]);
        assert_eq!(world.must(&["close", "talk", "--as", "Agent"]), "nothing more is said; what was said can be heard\n");
        world.sessile(&send("talk", "Agent", &["User", "answer", ""])).refused_with(73, &["nothing more"]);
        kill(part(world, "keeper", &id).unwrap());
        assert_eq!(world.must(&recv("talk", "Agent", &[])), "last");
        processes::eventually("it is over", || (status(world, "talk")["status"]["kind"] == "closed").then_some(()));
        assert_eq!(world.must(&["close", "talk", "--abort"]), "over\n");
        assert!(journaled(world, &id, r#"{"fact":"talk_closed","role":"Agent","how":"drain"}"#));
        assert!(!journaled(world, &id, r#""how":"abort""#), "it was over");
        assert_eq!(world.show("talk")["state"], "active");

        opened(world, "cut", &format!("{file}#Talk"), &[]);
        world.must(&send("cut", "User", &["Agent", "ask", "unheard"]));
        let closed = world.json(&["close", "cut", "--abort", "--json"]);
        assert_eq!((&closed["status"]["kind"], &closed["unheard"][0]["label"]), (&"cancelled".into(), &"ask".into()));
        assert_eq!(world.must(&["close", "cut"]), "cut off\nnot heard: ask from User to Agent, number 0\n");
        let asked: Vec<&str> = [&["run", "--detach", "--protocol", &*file, "--closer", "Nobody"], &OPERATORS[..]].concat();
        world.sessile(&[&asked[..], &["--", "true"]].concat()).refused_with(64, &["--closer names Nobody"]);
    }

    /// An app has its key in its own sandbox, hands its own role over, and closes where it may.
    fn an_app_signs_with_a_key_that_no_other_sees(world) {
        let file = protocol(world, FLOW);
        let roles = ["--role", "User=app:main", "--role", "Agent=operator", "--closer", "User=abort"];
        let run = ["run", "--detach", "--name", "talk", "--protocol", &*file];
        world.must(&[&run[..], &roles, &["--", "sleep", "infinity"]].concat());
        let inside = |app: &str, line: &str| world.sessile(&["exec", "talk", "--app", app, "--", "sh", "-c", line]);
        inside("main", "sessile send . --as User Agent item ''").succeeded();
        assert_eq!(inside("main", "stat -c %a:%u /run/sessile.key").succeeded(), "600:1000\n");
        assert_ne!(inside("second", "test -e /run/sessile.key").code, 0);
        // What does not sign is refused, whoever's socket it comes by.
        let bare = "import os, socket\ns = socket.socket(socket.AF_UNIX); s.connect(os.environ['SESSILE_SOCKET'])\n\
            s.sendall(b'{\"say\":{\"role\":\"User\",\"to\":\"Agent\",\"label\":\"item\",\"token\":\"' + b'0' * 32 + b'\"}}\\n')\n\
            print(s.makefile().readline())";
        let told = world.sessile(&["exec", "talk", "--", "python3", "-c", bare]).succeeded();
        assert!(told.contains("(unsigned)"), "{told}");
        inside("main", "sessile delegate . Agent app:second").refused_with(77, &["operator speaks for Agent"]);
        inside("main", "sessile close .").refused_with(64, &["--as"]);
        let given = inside("main", "sessile delegate . User app:second --json").succeeded();
        let given: Value = serde_json::from_str(&given).unwrap();
        assert_eq!((&given["by"], &given["from"]), (&"User".into(), &"app:main".into()));
        inside("main", "sessile send . --as User Agent item ''").refused_with(77, &["app:second speaks for User"]);
        inside("second", "sessile send . --as User Agent item ''").succeeded();
        inside("main", "sessile close . --as User --abort").refused_with(77, &["app:second speaks for User"]);
        assert!(inside("second", "sessile close . --as User --abort").succeeded().starts_with("cut off\n"));
        assert_eq!(status(world, "talk")["unheard"].as_array().unwrap().len(), 2);
    }
}
