//! The anchor's socket is removed from under it.

use std::fs::Permissions;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::fs::PermissionsExt as _;
use std::thread;
use std::time::{Duration, Instant};

use sessile_anchor::link::LinkError;
use sessile_anchor::supervisor::{self, SupervisorError};

use crate::assert_alive;
use crate::stage::{Keeper, Stage, wait_for};

#[test]
fn its_socket_comes_back_when_the_keeper_says_so_and_when_there_is_none() {
    let (stage, keeper) = Stage::new();
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    keeper.link.put("held", &file).unwrap();
    keeper.link.listen().unwrap();
    assert_alive(&stage, &keeper);
    std::fs::remove_file(&stage.socket).unwrap();
    keeper.link.listen().unwrap();
    assert_alive(&stage, &keeper);
    // Another file in its place is not it.
    std::fs::remove_file(&stage.socket).unwrap();
    std::fs::write(&stage.socket, "").unwrap();
    keeper.link.listen().unwrap();
    assert_alive(&stage, &keeper);

    std::fs::remove_file(&stage.socket).unwrap();
    keeper.kill();
    let keeper = until_another_keeper(&stage);
    // Also when it goes after the keeper.
    keeper.kill();
    std::fs::remove_file(&stage.socket).unwrap();
    let keeper = until_another_keeper(&stage);
    assert_eq!(keeper.link.list().unwrap()[0].0, "held");
    assert_alive(&stage, &keeper);
}

fn until_another_keeper(stage: &Stage) -> Keeper {
    let until = Instant::now() + Duration::from_secs(20);
    while let Err(error) = supervisor::spawn_keeper(&stage.socket, stage.keeper_image.as_fd()) {
        assert!(matches!(error, SupervisorError::Gone | SupervisorError::KeeperLives), "{error}");
        assert!(Instant::now() < until, "its socket does not come back");
        thread::sleep(Duration::from_millis(5));
    }
    stage.keeper()
}

#[test]
fn a_folder_that_others_can_change_gets_no_socket() {
    let (mut stage, keeper) = Stage::new();
    let file: OwnedFd = tempfile::tempfile().unwrap().into();
    keeper.link.put("held", &file).unwrap();
    let folder = stage.socket.parent().unwrap();
    std::fs::remove_file(&stage.socket).unwrap();
    std::fs::set_permissions(folder, Permissions::from_mode(0o770)).unwrap();
    assert!(matches!(keeper.link.listen(), Err(LinkError::System(_))));
    std::fs::set_permissions(folder, Permissions::from_mode(0o700)).unwrap();
    keeper.link.listen().unwrap();
    // Its folders are made again, unless something else is in their place.
    let runtime = stage.folder().join("run");
    std::fs::remove_dir_all(&runtime).unwrap();
    keeper.link.listen().unwrap();
    assert_alive(&stage, &keeper);
    std::fs::remove_dir_all(&runtime).unwrap();
    std::fs::write(&runtime, "").unwrap();
    let end = keeper.anchor.try_clone().unwrap();
    keeper.kill();
    wait_for(&end, libc::POLLIN);
    assert!(stage.anchor.wait().unwrap().success());
}

#[test]
fn it_ends_without_a_socket_when_it_holds_nothing() {
    let (mut stage, keeper) = Stage::new();
    std::fs::remove_file(&stage.socket).unwrap();
    keeper.kill();
    assert!(stage.anchor.wait().unwrap().success());
    assert!(!stage.socket.exists());
}
