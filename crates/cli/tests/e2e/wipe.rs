//! Ending, and the receipt.

use std::fs;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use sessile_model::Timestamp;

use crate::support::processes::{self, Process};
use crate::support::{World, skip};

/// The receipt in its envelope.
pub fn receipt(world: &World, session: &str) -> Value {
    let envelope = world.json(&["receipt", session, "--json"]);
    assert_eq!(envelope["payloadType"], "application/vnd.sessile.receipt+json;version=1");
    serde_json::from_slice(&STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap()).unwrap()
}

for_root_and_user! {
    fn an_end_leaves_a_receipt_that_verifies(world) {
        let id = world.open("brief", &["sleep", "infinity"]);
        let app = Process::of(world.main_pid("brief")).unwrap();
        world.must(&["end", "brief", "--grace", "1s"]);
        assert!(!app.runs());

        let record = world.show(&id);
        assert_eq!(record["state"], "closed");
        assert_eq!(record["outcome"]["kind"], "ended");
        assert_eq!(record["name"], Value::Null, "the name is dropped");
        assert_eq!(record["apps"][0]["argv"], serde_json::json!([]), "the arguments are dropped");

        let receipt = receipt(world, &id);
        assert_eq!(receipt["session"], id);
        let steps = receipt["steps"].as_array().unwrap();
        for step in ["freeze", "scrub_memory", "kill", "overwrite_storage", "unmount_storage", "destroy_keys", "verify"] {
            assert!(steps.iter().any(|line| line["step"] == step), "no {step} in {receipt}");
        }
        assert!(steps.iter().all(|line| line["evidence"]["kind"] != "failed"), "{receipt}");
        let at = |which: &str| serde_json::from_value::<Timestamp>(receipt[which].clone()).unwrap();
        let whole = at("ended_at").since(at("wipe_started_at"));
        let took: u64 = steps.iter().map(|line| line["took_us"].as_u64().unwrap()).sum();
        // Times are told in whole milliseconds.
        assert!(whole.0 + 2 >= took / 1000, "{whole:?} for steps of {took} us");
        assert_eq!(receipt["outside"][0]["kind"], "project");
        assert!(!receipt.to_string().contains(&*world.folder().to_string_lossy()), "a path is in the receipt");

        let key = world.json(&["daemon", "status", "--json"])["key"].as_str().unwrap().to_owned();
        world.must(&["receipt", &id, "--verify", "--key", &key]);
        let unanchored = world.sessile(&["receipt", &id, "--verify"]);
        unanchored.ended_with(0);
        assert!(format!("{}{}", unanchored.text(), unanchored.err).contains("unanchored"));
    }

    fn a_receipt_is_verified_from_a_file_and_a_forged_one_is_not(world) {
        let id = world.open("signed", &["sleep", "infinity"]);
        world.must(&["end", "signed", "--grace", "0s"]);
        let envelope = world.must(&["receipt", &id, "--json"]);
        let key = world.json(&["daemon", "status", "--json"])["key"].as_str().unwrap().to_owned();
        world.must(&["daemon", "stop"]);

        let file = world.write("receipt.json", &envelope);
        let verify = |key: &str| {
            world.sessile(&["receipt", "--verify", "--file", file.to_str().unwrap(), "--key", key])
        };
        verify(&key).ended_with(0);
        // The base point of the curve: a key, but not the one that signed.
        verify(&format!("ed25519:58{}", "66".repeat(31))).ended_with(77);
        world.write("receipt.json", &forged(&envelope));
        verify(&key).ended_with(77);
    }

    /// The commands of docs/receipt.md, which use nothing of ours.
    fn others_can_verify_it(world) {
        let id = world.open("public", &["sleep", "infinity"]);
        world.must(&["end", "public", "--grace", "0s"]);
        let envelope = world.must(&["receipt", &id, "--json"]);
        match others_verify(&envelope) {
            None => return skip("there is no openssl"),
            Some(right) => assert!(right, "OpenSSL does not verify {envelope}"),
        }
        assert_eq!(others_verify(&forged(&envelope)), Some(false), "OpenSSL verifies a forgery");
    }

    fn a_receipt_outlives_the_daemon(world) {
        let id = world.open("lasting", &["sleep", "infinity"]);
        world.must(&["end", "lasting", "--grace", "0s"]);
        world.must(&["daemon", "stop"]);
        assert_eq!(receipt(world, &id)["session"], id);
    }

    fn an_app_has_its_grace(world) {
        let script = "trap 'echo saved > saved; exit 0' TERM; echo ready; while :; do sleep 0.05; done";
        world.open("saver", &["sh", "-c", script]);
        world.must(&["wait", "saver", "--pattern", "ready", "--timeout", "30s"]);
        world.must(&["end", "saver", "--grace", "20s"]);
        assert_eq!(fs::read_to_string(world.project().join("saved")).unwrap(), "saved\n");
    }

    fn an_app_that_does_not_listen_ends_too(world) {
        world.open("deaf", &["sh", "-c", "trap '' TERM INT HUP; echo ready; while :; do sleep 1; done"]);
        world.must(&["wait", "deaf", "--pattern", "ready", "--timeout", "30s"]);
        let tree = processes::tree(world.main_pid("deaf"));
        world.must(&["end", "deaf", "--grace", "100ms"]);
        assert!(tree.iter().all(|process| !process.runs()));
    }

    fn ending_twice_is_said(world) {
        let id = world.open("once", &["sleep", "infinity"]);
        world.must(&["end", "once", "--grace", "0s"]);
        assert_eq!(world.sessile(&["end", "once"]).code, 66, "its name is free");
        assert_eq!(world.sessile(&["end", &id]).code, 0, "it is closed, which is what was asked for");
    }

    fn all_end_together(world) {
        for name in ["a", "b", "c"] {
            world.open(name, &["sleep", "infinity"]);
        }
        world.must(&["end", "--all", "--grace", "1s"]);
        let listed = world.json(&["ls", "--json"]);
        assert!(listed.as_array().unwrap().iter().all(|record| record["state"] == "closed"), "{listed}");
    }

    fn a_time_to_live_ends_it(world) {
        world.must(&["run", "--detach", "--name", "mortal", "--ttl", "1s", "--", "sleep", "infinity"]);
        let id = world.show("mortal")["id"].as_str().unwrap().to_owned();
        let record = processes::eventually("its time is up", || {
            Some(world.show(&id)).filter(|record| record["state"] == "closed")
        });
        assert_eq!(record["outcome"], serde_json::json!({"kind": "ended", "by": "time_to_live"}));
    }
}

/// The envelope with a payload that claims another time of the end, under the same signature.
fn forged(envelope: &str) -> String {
    let mut forged: Value = serde_json::from_str(envelope).unwrap();
    let payload = STANDARD.decode(forged["payload"].as_str().unwrap()).unwrap();
    let mut receipt: Value = serde_json::from_slice(&payload).unwrap();
    receipt["ended_at"] = "2000-01-01T00:00:00Z".into();
    forged["payload"] = STANDARD.encode(receipt.to_string()).into();
    forged.to_string()
}

/// Runs the commands that docs/receipt.md gives; `None` when they cannot run here.
fn others_verify(envelope: &str) -> Option<bool> {
    let document = include_str!("../../../../docs/receipt.md");
    let script = document.split("```sh\n").nth(1).unwrap().split("```").next().unwrap();
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("receipt.json"), envelope).unwrap();
    let script = format!("set -e\ncommand -v openssl >/dev/null || exit 99\n{script}");
    let output = Command::new("sh").args(["-c", &script]).current_dir(folder.path()).output().unwrap();
    match output.status.code() {
        Some(99) => None,
        Some(code) => Some(code == 0),
        None => panic!("{output:?}"),
    }
}

/// The same commands, on an envelope that a known key signed, and on one that was changed.
#[test]
fn the_documented_commands_tell_right_from_wrong() {
    // Public key, payload type, payload and signature of RFC 8032's first test key, made with
    // OpenSSL over the pre-authentication encoding.
    let envelope = include_str!("wipe/known.json");
    match others_verify(envelope) {
        None => skip("there is no openssl"),
        Some(right) => {
            assert!(right);
            assert_eq!(others_verify(&envelope.replacen("e30=", "e30K", 1)), Some(false));
        }
    }
}
