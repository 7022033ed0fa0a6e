//! The command as people use it, end to end: every test has an installation of its own.
//!
//! As root each test runs twice, as root and as the unprivileged user that `cargo xtask setup`
//! makes; otherwise once, as the user who runs it, and the other run is a visible skip.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails there")]

#[macro_use]
mod support;

mod acceptance;
mod agent;
mod answers;
mod asked;
mod attach;
mod canary;
mod clients;
mod clock;
mod commands;
mod completions;
mod continuity;
mod copies;
mod credentials;
mod directory;
mod documents;
mod elsewhere;
mod endings;
mod exit_codes;
mod faults;
mod full;
mod gateways;
mod guarded;
mod handed;
mod hostile;
mod inspecting;
mod kill_loop;
mod kill_random;
mod leaks;
mod lines;
mod lines_free;
mod lines_inside;
mod lines_lost;
mod lines_signed;
mod mcp;
mod network;
mod oracle;
mod other_sizes;
mod outgoing;
mod outgoing_held;
mod outgoing_secrets;
mod policies;
mod project;
mod protocols;
mod recording;
mod returning;
mod routes;
mod run;
mod sealed;
mod shipped;
mod sockets;
mod spare;
mod stopped;
mod successors;
mod survival;
mod tor;
mod traces;
mod upgrade;
mod variables;
mod websocket;
mod wipe;
