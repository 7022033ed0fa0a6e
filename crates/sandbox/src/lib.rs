//! Namespaces, mounts, filters, control groups, probes, and the overwriting of memory and storage.
//!
//! Takes a plan, reports an outcome; knows neither sessions nor keepers.
//!
//! | module | subject |
//! |---|---|
//! | [`space`] | a session's namespaces and storage |
//! | [`app`] | launching an app's sandbox |
//! | [`capture`] | where what an app sends arrives |
//! | [`target`] | where granted folders may appear inside |
//! | [`seccomp`] | the system calls an app may make |
//! | [`cgroup`] | limits, freezing and killing by control groups |
//! | [`processes`] | freezing and killing without them |
//! | [`identity`] | what programs can read about who and where they are |
//! | [`probe`] | whether the four properties hold |
//! | [`survey`] | what this machine gives and the commands that mend it |
//! | [`files`] | copying a project in, its changes back, and exports |
//! | [`wipe`] | overwriting memory and storage |
//! | [`background`] | what a process beside a terminal's foreground needs |
//! | [`streams`] | standard streams that a program was started without |

#![warn(missing_docs)]

pub mod app;
pub mod background;
pub mod capture;
pub mod cgroup;
mod confine;
mod etc;
pub mod files;
#[cfg(feature = "fuzz")]
pub mod fuzz;
pub mod identity;
mod launcher;
pub mod probe;
pub mod processes;
mod root;
pub mod seccomp;
pub mod service;
pub mod space;
mod step;
pub mod streams;
pub mod survey;
mod sys;
pub mod target;
pub mod wipe;

pub use step::Step;
