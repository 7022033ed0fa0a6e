//! One sandbox of the session, as the keeper holds it.

use std::os::fd::OwnedFd;

use sessile_anchor::control::Control;
use sessile_model::property::Property;
use sessile_model::quantity::Timestamp;
use sessile_sandbox::capture::{Capture, Listeners, Watch};
use sessile_sandbox::probe::HostFacts;

/// A sandbox: its first process and what reaches into it.
#[derive(Debug)]
pub struct App {
    /// Process id of its init on the host.
    pub pid: u32,
    /// Its init.
    pub init: OwnedFd,
    /// Its init's control socket.
    pub control: Control,
    /// Where new terminals come from.
    pub ptmx: OwnedFd,
    /// Its network namespace.
    pub netns: Option<OwnedFd>,
    /// Where what it sends arrives, when it has a route.
    pub listeners: Option<Listeners>,
    /// How its network is captured, when it has a route.
    pub capture: Option<Capture>,
    /// The rules that capture it, once they were looked at.
    pub watch: Option<Watch>,
    /// Number of its next task.
    pub next_task: u32,
    /// Its init is gone, and everything in it.
    pub gone: bool,
    /// The Landlock version it is confined by; 0 for none.
    pub landlock_abi: u8,
    /// What its init said of the inside when it was last asked.
    pub evidence: String,
    /// What the host showed of it then: all four properties are judged by one look.
    pub host: Option<HostFacts>,
    /// What the last quick look found wrong, and when that was: one look serves all properties.
    pub faults: Option<(Timestamp, Vec<(Property, String)>)>,
}

/// The names under which the anchor keeps an app's descriptors; those of its listeners, where it has
/// a route, come behind.
pub const PARTS: [&str; 4] = ["init", "control", "ptmx", "netns"];
