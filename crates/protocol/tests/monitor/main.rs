//! The monitor, against protocols that are well-formed by construction.

mod draw;
mod global;
mod known;
mod soundness;
mod support;
mod world;
mod wrong;
