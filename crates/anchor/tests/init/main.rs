//! The real init, asked to do everything it can.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod bounds;
mod commands;
mod confinement;
mod support;
