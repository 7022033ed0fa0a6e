//! The Tor network that all tests of a run share, and what their sessions' tors say of themselves.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

pub use sessile_tor_network::{HOST, TorNetwork, Way};
use sessile_tor_network::{Tor, is_possible};

use super::processes::eventually;

/// Whether there can be one; says so where not.
pub fn can_be() -> bool {
    let possible = is_possible();
    if !possible {
        super::skip("there is no tor: cargo xtask setup installs it");
    }
    possible
}

/// The lines by which a tor joins the network, which is up then; none when this host has no tor.
pub fn lines() -> Option<String> {
    // Ends with this process: it takes longer to come up than most tests.
    static SHARED: Mutex<Option<TorNetwork>> = Mutex::new(None);
    if !can_be() {
        return None;
    }
    // A test that failed while it made one has left none.
    let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
    Some(shared.get_or_insert_with(|| TorNetwork::start().unwrap()).lines())
}

/// The control socket of a session's tor, found by its working folder, which only root sees.
pub fn control(tor: u32) -> Tor {
    Tor::at(&PathBuf::from(format!("/proc/{tor}/cwd/tor/control"))).unwrap()
}

/// The ways over which a tor's open connections to a port go, oldest first, once there are so many.
#[track_caller]
pub fn ways(tor: u32, port: u16, count: usize) -> Vec<Way> {
    let mut tor = control(tor);
    // Whom a host greets may still wait for tor's word that it is connected.
    eventually("tor has so many connections", || {
        Some(tor.ways(port).unwrap()).filter(|ways| ways.len() == count)
    })
}
