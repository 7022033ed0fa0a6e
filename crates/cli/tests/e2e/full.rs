//! The disk that holds the state is full.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use serde_json::Value;

use crate::support::processes;
use crate::support::{World, skip};

/// A small disk in the place of a world's state folder.
struct Disk<'w> {
    world: &'w World,
}

impl<'w> Disk<'w> {
    /// Mounts it, or says why not.
    fn new(world: &'w World) -> Option<Self> {
        if !rustix::process::geteuid().is_root() {
            skip("a disk of its own needs root to mount it");
            return None;
        }
        let options = std::ffi::CString::new(format!("size=4m,mode=0700,uid={}", world.uid())).unwrap();
        mount("sessile-test", world.state(), "tmpfs", MountFlags::NOSUID, &*options).unwrap();
        Some(Self { world })
    }

    fn filler(&self) -> PathBuf {
        self.world.state().join("filler")
    }

    /// Takes every byte that is left.
    fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        for size in [1 << 16, 1 << 12, 1] {
            while file.write_all(&vec![1; size]).is_ok() {}
        }
        assert_eq!(rustix::fs::statvfs(self.world.state()).unwrap().f_bavail, 0);
    }

    fn make_room(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    /// Ends what runs, so that the disk can go.
    fn remove(self) {
        self.world.must(&["end", "--all", "--grace", "0s"]);
        self.world.must(&["daemon", "stop"]);
    }
}

impl Drop for Disk<'_> {
    fn drop(&mut self) {
        let _ = unmount(self.world.state(), UnmountFlags::DETACH);
    }
}

fn receipt(world: &World, id: &str) -> Value {
    world.must(&["receipt", id, "--verify"]);
    let envelope = world.json(&["receipt", id, "--json"]);
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}

/// Everything was overwritten, and nothing failed.
#[track_caller]
fn is_wiped(receipt: &Value) {
    let steps = receipt["steps"].as_array().unwrap();
    let kind = |step: &str| &steps.iter().find(|line| line["step"] == step).unwrap()["evidence"]["kind"];
    assert_eq!(kind("overwrite_storage"), "overwritten", "{receipt}");
    assert_eq!(kind("verify"), "nothing_found", "{receipt}");
    assert!(steps.iter().all(|line| line["evidence"]["kind"] != "failed"), "{receipt}");
}

for_root_and_user! {
    fn a_session_ends_with_its_receipt(world) {
        let Some(disk) = Disk::new(world) else { return };
        let id = world.open("full", &["sh", "-c", "echo secret > /tmp/x; exec sleep infinity"]);
        disk.fill();
        assert_eq!(world.show("full")["state"], "active", "it goes on");
        assert_eq!(world.json(&["ls", "--json"])[0]["name"], "full");
        world.must(&["end", "full", "--grace", "0s"]);
        let told = receipt(world, &id);
        assert_eq!(told["outcome"]["kind"], "ended", "{told}");
        is_wiped(&told);
        assert_eq!(world.show(&id)["state"], "closed");
        assert_eq!(world.json(&["ls", "--all", "--json"])[0]["id"], *id);
        disk.make_room();
        world.open("next", &["sleep", "infinity"]);
        disk.remove();
    }

    fn a_session_whose_log_is_full_fails_closed(world) {
        let Some(disk) = Disk::new(world) else { return };
        let id = world.open("full", &["sh", "-c", "echo secret > /tmp/x; exec sleep infinity"]);
        disk.fill();
        // Each command is a line of the log, whose last block has room for a few.
        let failed = processes::eventually("the log is full", || {
            world.sessile(&["exec", "full", "--", "true"]);
            let record = world.show(&id);
            (record["state"] == "closed").then_some(record)
        });
        let told = receipt(world, &id);
        for outcome in [&failed["outcome"], &told["outcome"]] {
            assert_eq!((&outcome["kind"], &outcome["component"]), (&"failed".into(), &"journal".into()), "{outcome}");
            assert!(outcome["cause"].as_str().unwrap().contains("full"), "{outcome}");
        }
        is_wiped(&told);
        disk.make_room();
        world.open("next", &["sleep", "infinity"]);
        disk.remove();
    }

    fn a_journal_without_room_takes_the_receipt_in_later(world) {
        let Some(disk) = Disk::new(world) else { return };
        let daemon = world.daemon_with("stop=finish.leave@full");
        let id = world.open("full", &["sh", "-c", "echo secret > /tmp/x; exec sleep infinity"]);
        disk.fill();
        let ending = world.start(&["end", "full", "--grace", "0s"], std::process::Stdio::null());
        let keeper = processes::casts(world)[&id].keeper.unwrap();
        processes::eventually("the receipt is written", || processes::is_stopped(keeper).then_some(()));
        // What the receipt left of its room is gone before the daemon takes the session in.
        disk.fill();
        processes::signal(keeper.pid, rustix::process::Signal::CONT);
        ending.finish().succeeded();
        is_wiped(&receipt(world, &id));
        assert_eq!(world.show(&id)["state"], "closed");
        let folder = world.state().join("sessions").join(&id);
        assert!(folder.exists(), "there was room");
        disk.make_room();
        processes::eventually("the journal has it", || {
            (!folder.exists()).then_some(())
        });
        assert_eq!(world.show(&id)["state"], "closed");
        is_wiped(&receipt(world, &id));
        disk.remove();
        drop(daemon);
    }

    fn no_session_is_opened(world) {
        let Some(disk) = Disk::new(world) else { return };
        world.must(&["run", "--", "true"]);
        disk.fill();
        let before = world.json(&["ls", "--all", "--json"]);
        for _ in 0..3 {
            world.sessile(&["run", "--detach", "--name", "none", "--", "sleep", "infinity"]).refused_with(71, &["free some space"]);
        }
        assert_eq!(world.json(&["ls", "--all", "--json"]), before, "something of it is left");
        for sessions in [world.state().join("sessions"), world.runtime().join("sessions")] {
            assert_eq!(fs::read_dir(sessions).unwrap().count(), 0, "a folder is left");
        }
        assert_eq!(fs::read_dir(world.project()).unwrap().count(), 0, "something is left in the project");
        assert!(processes::casts(world).is_empty(), "a process is left");
        disk.make_room();
        world.open("none", &["sleep", "infinity"]);
        disk.remove();
    }
}
