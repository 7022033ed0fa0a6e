//! The keeper: the process that runs one session.
//!
//! ```text
//!   clients, daemon ──frames──► requests ──► admit ──► event ─┐
//!   inits, rings, clocks, the anchor ────────────────► event ─┤
//!                                                             ▼
//!                                            machine (sessile_session), pure
//!                                                             │ effects, in order
//!        journal · checkpoint · bring-up · commands · wipe ◄──┘
//! ```
//!
//! One thread, one [`turn`] after the other; nobody else touches its state. Descriptors that must
//! outlive it are with the anchor under names; [`adopt`] finds them again.

#![forbid(unsafe_code)]

mod adopt;
mod agent;
mod app;
mod bell;
mod bringup;
mod channels;
mod checkpoint;
mod client;
mod clock;
mod cookies;
mod echo;
mod facts;
mod guard;
mod guarded;
mod halves;
mod handed;
mod hold;
mod input;
mod keeper;
mod ledger;
mod listening;
mod mcp;
mod output;
mod plan;
mod project;
mod queries;
mod record;
mod recorded;
mod recorder;
mod recordings;
mod rehearsal;
mod requests;
mod roles;
mod route;
mod saved_screen;
mod screen;
mod seat;
mod shell;
mod sources;
mod spawn;
mod task;
mod turn;
mod unlogged;
mod unopened;
#[cfg(test)]
mod version_1;
mod view;
mod waits;
mod watched;
mod wipe;

pub use keeper::Keeper;
pub use seat::{Seat, SeatError};

/// What the fuzz targets reach.
#[cfg(feature = "fuzz")]
pub mod fuzz {
    pub use crate::agent::protocol as agent;
    pub use crate::channels::log::Log as ChannelLog;
    pub use crate::checkpoint::Checkpoint;
    pub use crate::ledger::{InputLedger, LedgerRow};
    pub use crate::screen::ScreenModel;
}
