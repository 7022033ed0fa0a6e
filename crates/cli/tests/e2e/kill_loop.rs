//! SIGKILL of each process at every transition: it ends with a closed record and nothing left.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;
use serde_json::Value;

use crate::support::processes::{self, Process};
use crate::support::{Leftovers, Running, World};

/// What a session is on its way to when its processes are killed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// It is being opened.
    Opening,
    /// It stands, with its app running.
    Active,
    /// It is being paused.
    Pausing,
    /// It stands, with its app frozen.
    Paused,
    /// It is being resumed.
    Resuming,
    /// It is being wiped.
    Ending,
}

/// Where its keeper stops, if it does.
const SCENES: [(Way, Option<&str>); 32] = [
    (Way::Opening, Some("bringup.preflight")),
    (Way::Opening, Some("bringup.journal")),
    (Way::Opening, Some("bringup.cgroup")),
    (Way::Opening, Some("bringup.keys")),
    (Way::Opening, Some("bringup.storage")),
    (Way::Opening, Some("bringup.route")),
    (Way::Opening, Some("bringup.sandbox")),
    (Way::Opening, Some("start.main")),
    (Way::Opening, Some("start.noted")),
    (Way::Active, None),
    (Way::Pausing, Some("pause.freeze")),
    (Way::Paused, None),
    (Way::Resuming, Some("pause.thaw")),
    (Way::Ending, Some("wipe.refuse_attaches")),
    (Way::Ending, Some("wipe.signal_apps")),
    (Way::Ending, Some("wipe.cut_route")),
    (Way::Ending, Some("wipe.freeze")),
    (Way::Ending, Some("wipe.scrub_open_files")),
    (Way::Ending, Some("wipe.scrub_memory")),
    (Way::Ending, Some("wipe.kill")),
    (Way::Ending, Some("wipe.unmount_apps")),
    (Way::Ending, Some("wipe.overwrite_storage")),
    (Way::Ending, Some("wipe.unmount_storage")),
    (Way::Ending, Some("wipe.overwrite_rings")),
    (Way::Ending, Some("wipe.destroy_keys")),
    (Way::Ending, Some("wipe.retire_route")),
    (Way::Ending, Some("wipe.finalise_audit")),
    (Way::Ending, Some("wipe.remove_traces")),
    (Way::Ending, Some("wipe.verify")),
    (Way::Ending, Some("finish.sign")),
    (Way::Ending, Some("finish.leave")),
    (Way::Active, None),
];

/// An app that has to be killed, so that every step of the wipe has something to do.
const STUBBORN: &str = "trap '' TERM HUP INT; while :; do sleep 60; done";

/// Who is killed.
#[derive(Clone, Copy, Debug)]
struct Victims {
    daemon: bool,
    keeper: bool,
    anchor: bool,
}

/// One session on its way.
struct Scene {
    name: String,
    way: Way,
    point: Option<&'static str>,
    /// Its opening, while that takes.
    opening: Option<Running>,
    /// What else was asked of it and is not answered.
    asked: Option<Running>,
    id: String,
    app: Option<Process>,
}

for_root_and_user! {
    fn the_daemon_is_killed(world) {
        kill_at_every_point(world, Victims { daemon: true, keeper: false, anchor: false });
    }

    fn the_keeper_is_killed(world) {
        kill_at_every_point(world, Victims { daemon: false, keeper: true, anchor: false });
    }

    fn the_anchor_is_killed(world) {
        kill_at_every_point(world, Victims { daemon: false, keeper: false, anchor: true });
    }

    fn daemon_and_keeper_are_killed(world) {
        kill_at_every_point(world, Victims { daemon: true, keeper: true, anchor: false });
    }

    fn keeper_and_anchor_are_killed(world) {
        kill_at_every_point(world, Victims { daemon: false, keeper: true, anchor: true });
    }

    fn all_three_are_killed(world) {
        kill_at_every_point(world, Victims { daemon: true, keeper: true, anchor: true });
    }
}

/// Takes one session to each point, all in one installation; kills; and sees to it that the next
/// commands find every session as it must be, end what lives, and leave nothing.
fn kill_at_every_point(world: &World, victims: Victims) {
    let orders: Vec<String> = SCENES
        .iter()
        .filter_map(|(_, point)| Some(format!("stop={0}@{1}", (*point)?, name_of((*point)?))))
        .collect();
    let daemon = world.daemon_with(&orders.join(","));
    let mut scenes = stage(world);
    let casts = processes::casts(world);
    if victims.daemon {
        processes::kill(daemon.pid());
    }
    for scene in &scenes {
        let cast = casts.get(&scene.id).copied().unwrap_or_default();
        // The anchor first: otherwise the daemon may replace the keeper before it dies as well. Until
        // then that one does nothing: it would wipe what it still holds, and be gone.
        if let Some(keeper) = cast.keeper.filter(|_| victims.anchor && victims.keeper) {
            processes::signal(keeper.pid, Signal::STOP);
        }
        let doomed = [cast.anchor.filter(|_| victims.anchor), cast.keeper.filter(|_| victims.keeper)];
        for process in doomed.into_iter().flatten() {
            assert!(process.runs(), "{} has lost {}", scene.name, process.line());
            processes::kill(process.pid);
        }
    }
    for keeper in casts.values().filter_map(|cast| cast.keeper).filter(|keeper| keeper.runs()) {
        processes::signal(keeper.pid, Signal::CONT);
    }
    world.must(&["ls", "--all", "--json"]);
    let acknowledged: Vec<bool> = scenes
        .iter_mut()
        .map(|scene| {
            drop(scene.asked.take().map(Running::finish));
            scene.opening.take().is_none_or(|opening| opening.finish().code == 0)
        })
        .collect();
    let records = settle(world, &scenes, victims);
    for (scene, acknowledged) in scenes.iter().zip(acknowledged) {
        check(world, scene, records.get(&scene.id), acknowledged, victims);
    }
    let leftovers = Leftovers::expect_none_of(world).and_of(scenes.into_iter().map(|scene| scene.id));
    world.must(&["daemon", "stop"]);
    drop(daemon);
    leftovers.check();
}

/// The session of this point.
fn name_of(point: &str) -> String {
    point.replace(['.', '_'], "-")
}

/// Takes every session to its point and returns when all stand there.
fn stage(world: &World) -> Vec<Scene> {
    let mut scenes: Vec<Scene> = SCENES
        .iter()
        .enumerate()
        .map(|(number, &(way, point))| {
            let name = point.map_or_else(|| format!("plain-{number}"), name_of);
            let run = ["run", "--detach", "--name", &name, "--", "sh", "-c", STUBBORN];
            let opening = Some(world.start(&run, std::process::Stdio::null()));
            Scene { name, way, point, opening, asked: None, id: String::new(), app: None }
        })
        .collect();
    let started = |line: &[&str]| Some(world.start(line, std::process::Stdio::null()));
    for scene in scenes.iter_mut().filter(|scene| scene.way != Way::Opening) {
        scene.opening.take().unwrap().finish().succeeded();
        scene.app = Process::of(world.main_pid(&scene.name));
        let name = scene.name.as_str();
        match scene.way {
            Way::Opening | Way::Active => {}
            Way::Pausing => scene.asked = started(&["pause", name]),
            Way::Paused => drop(world.must(&["pause", name])),
            Way::Resuming => {
                world.must(&["pause", name]);
                scene.asked = started(&["resume", name]);
            }
            Way::Ending => scene.asked = started(&["end", name, "--grace", "50ms"]),
        }
    }
    processes::eventually("every session is known", || {
        let listed = world.json(&["ls", "--all", "--json"]);
        for record in listed.as_array()? {
            let scene = scenes.iter_mut().find(|scene| record["name"] == *scene.name);
            scene.into_iter().for_each(|scene| scene.id = record["id"].as_str().unwrap().to_owned());
        }
        scenes.iter().all(|scene| !scene.id.is_empty()).then_some(())
    });
    for scene in scenes.iter().filter(|scene| scene.point.is_some()) {
        processes::eventually(&format!("{} is reached", scene.name), || {
            let keeper = processes::casts(world).get(&scene.id)?.keeper?;
            processes::is_stopped(keeper).then_some(())
        });
    }
    scenes
}

/// Waits until sessions that are to end are closed, ends the others, and returns all records by
/// id as they were before that.
fn settle(world: &World, scenes: &[Scene], victims: Victims) -> BTreeMap<String, Value> {
    let records = || -> BTreeMap<String, Value> {
        let listed = world.json(&["ls", "--all", "--json"]);
        let with_id = |record: &Value| (record["id"].as_str().unwrap().to_owned(), record.clone());
        listed.as_array().unwrap().iter().map(with_id).collect()
    };
    let found = processes::eventually("every session is settled", || {
        let found = records();
        let settled = scenes.iter().all(|scene| {
            let state = found.get(&scene.id).and_then(|record| record["state"].as_str());
            match state {
                Some("closed") | None => true,
                Some("active" | "paused") => scene.way != Way::Ending && !victims.anchor,
                Some(_) => false,
            }
        });
        settled.then_some(found)
    });
    world.must(&["end", "--all", "--grace", "0s"]);
    for (id, record) in records() {
        assert_eq!(record["state"], "closed", "{id}: {record}");
    }
    found
}

/// What must be true of one session.
#[track_caller]
fn check(world: &World, scene: &Scene, found: Option<&Value>, acknowledged: bool, victims: Victims) {
    let Scene { name, way, app, id, .. } = scene;
    let Some(found) = found else {
        assert!(*way == Way::Opening && !acknowledged, "{name} is forgotten ({victims:?})");
        return;
    };
    let mut found = found.clone();
    drop(found["properties"].take());
    let lives = found["state"] != "closed";
    match way {
        Way::Opening => {}
        Way::Ending if !victims.anchor => {
            assert_eq!(found["outcome"]["kind"], "ended", "{name}: {found} ({victims:?})");
        }
        Way::Ending => {}
        Way::Active | Way::Pausing | Way::Paused | Way::Resuming => {
            assert_eq!(lives, !victims.anchor, "{name}: {found} ({victims:?})");
        }
    }
    if lives {
        let pid = found["apps"][0]["pid"].as_u64();
        let same = app.is_none_or(|app| pid == Some(u64::from(app.pid)));
        assert!(same, "{name}: {app:?} is another: {found}");
        let frozen = matches!(way, Way::Paused | Way::Pausing);
        assert!(
            *way == Way::Opening
                || *way == Way::Resuming
                || (found["state"] == "paused") == frozen
                || *way == Way::Pausing,
            "{name}: {found}"
        );
    } else if victims.anchor && matches!(way, Way::Active | Way::Paused) {
        assert_eq!(found["outcome"]["kind"], "failed", "{name}: {found}");
        assert_eq!(found["outcome"]["component"], "anchor", "{name}: {found}");
    }
    let verified = world.sessile(&["receipt", id, "--verify"]);
    assert_eq!(verified.code, 0, "{name}: {found}: {}", verified.err);
    let receipt = receipt(world, id);
    let kind = |step: &str| {
        let lines = receipt["steps"].as_array().unwrap();
        let line = lines.iter().find(|line| line["step"] == step);
        line.unwrap_or_else(|| panic!("{name}: no {step} in {receipt}"))["evidence"]["kind"].clone()
    };
    if victims.anchor {
        let claims = kind("scrub_memory") == "overwritten";
        assert!(!claims || *way == Way::Ending, "{name}: nobody overwrote the apps: {receipt}");
    } else if *way != Way::Opening {
        // Whoever went on found the apps as they were, frozen or not, and overwrote everything.
        for step in ["scrub_memory", "overwrite_storage", "overwrite_rings"] {
            assert!(kind(step) == "overwritten", "{name}: {step} ({victims:?}): {receipt}");
        }
        let lines = receipt["steps"].as_array().unwrap();
        assert!(lines.iter().all(|line| line["evidence"]["kind"] != "failed"), "{name}: {receipt}");
    }
}

fn receipt(world: &World, id: &str) -> Value {
    let envelope = world.json(&["receipt", id, "--json"]);
    let payload = STANDARD.decode(envelope["payload"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&payload).unwrap()
}
