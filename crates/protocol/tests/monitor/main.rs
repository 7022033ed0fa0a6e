//! The monitor.

#![allow(
    clippy::unwrap_used,
    clippy::wildcard_enum_match_arm,
    reason = "a test that cannot go on fails there"
)]

mod bytes;
mod corpus;
mod course;
mod draw;
mod global;
mod keys;
mod known;
mod opening;
mod scribble;
mod seals;
mod soundness;
mod support;
mod time;
mod world;
mod wrong;
