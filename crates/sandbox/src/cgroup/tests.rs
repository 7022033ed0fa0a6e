use std::process::{Child, Command};

use sessile_model::quantity::{ByteSize, Timestamp};

use super::*;

fn fresh_id(salt: u8) -> SessionId {
    let mut entropy = [salt; 10];
    entropy[..4].copy_from_slice(&std::process::id().to_le_bytes());
    SessionId::new(Timestamp::from_millis(0), entropy)
}

/// A running process inside the groups.
fn member(group: &Cgroup) -> Child {
    let child = Command::new("sleep").arg("60").spawn().unwrap();
    let paths = group.unified.iter().map(|u| &u.0).chain(group.single.iter().map(|s| &s.1));
    for path in paths {
        fs::write(path.join("cgroup.procs"), child.id().to_string()).unwrap();
    }
    child
}

fn state(pid: u32) -> String {
    fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default()
}

#[test]
fn a_group_freezes_counts_kills_and_goes() {
    let id = fresh_id(1);
    let Some(mut group) = Cgroup::create(id, &Limits::default()).unwrap() else {
        eprintln!("skipped: no control group can be made here");
        return;
    };
    let mut child = member(&group);
    if group.freeze().unwrap() {
        assert!(!state(child.id()).is_empty());
        assert!(group.thaw().unwrap());
    }
    assert!(Cgroup::reopen(id).is_some());
    assert_eq!(group.kill().unwrap(), 1);
    child.wait().unwrap();
    group.remove().unwrap();
    assert!(Cgroup::reopen(id).is_none());
}

#[test]
fn limits_are_written_or_refused_but_never_ignored() {
    let limits = Limits {
        memory: Some(ByteSize(64 << 20)),
        cpu_percent: Some(50),
        pids: Some(20),
        ..Limits::default()
    };
    let id = fresh_id(2);
    match Cgroup::create(id, &limits) {
        Ok(Some(mut group)) => {
            let mut child = member(&group);
            assert!(group.controls(Controller::Memory) && group.controls(Controller::Cpu));
            assert!(group.usage().memory.is_some());
            group.kill().unwrap();
            child.wait().unwrap();
            group.remove().unwrap();
        }
        Ok(None) => panic!("limits were ignored"),
        Err(CgroupError::CannotEnforce { limit, why, .. }) => {
            eprintln!("skipped: {limit}: {why}");
            assert!(Cgroup::reopen(id).is_none(), "a refused group was left behind");
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn without_control_groups_a_limit_is_refused_with_a_way_to_mend_it() {
    let none = Layout::default();
    assert!(Cgroup::create_in(&none, fresh_id(3), &Limits::default()).unwrap().is_none());
    let pids = Limits { pids: Some(10), ..Limits::default() };
    assert!(Cgroup::create_in(&none, fresh_id(3), &pids).unwrap().is_none());
    let memory = Limits { memory: Some(ByteSize(1)), ..Limits::default() };
    let error = Cgroup::create_in(&none, fresh_id(3), &memory).unwrap_err();
    let CgroupError::CannotEnforce { limit: "memory", mend, .. } = error else { panic!("{error}") };
    assert!(mend.contains("cgroup"));
}
