//! The lifecycle of one session as a pure machine.
//!
//! ```text
//!             open        steps in order, then four properties verified
//!      ─────────────► Bringup ─────────────────────────► Active ◄────► Paused
//!                        │ │                               │ │           │ │
//!        a step fails,   │ │ end, time to live             │ │ end, exit,│ │
//!        a property is   │ │                               │ │ deadlines │ │
//!        broken          │ └───────► Ending ◄──────────────│─┴───────────│─┘
//!                        │              │  anchor dies,    │             │
//!                        │              ▼  property broken │             │
//!                        └─────────► Failed ◄──────────────┴─────────────┘
//!                                       │        component failed, property broken
//!              Ending ──── wipe ───► Closed ◄──── wipe ──── Failed
//! ```
//!
//! The driver (the keeper) owns the only loop. It stamps the time, calls [`Session::advance`] with
//! one [`Event`], drains [`Effects`] and carries them out in their order. Outcomes come back only
//! as further events. Clients' requests are put to [`Session::admit`] first, which changes nothing.
//!
//! What holds, and the test that holds it:
//! - No clock, entropy, file or log is touched (`clippy.toml`).
//! - A step of bring-up is asked for only after the one before it is done, the main command only
//!   after all four properties were found good (`tests/properties.rs`; the simulator).
//! - On failure the first effect is [`Effect::CutRoute`] (the simulator).
//! - The wipe's steps are taken once each and in order, whatever comes in (`wipe.rs`; the
//!   simulator), and only their evidence makes a closed session.
//! - A snapshot taken between any two events restores to the same behaviour
//!   (`tests/properties.rs`), and a wipe whose checkpoint is already overwritten goes on from the
//!   journal ([`Session::recover`]).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod admission;
mod advance;
mod down;
mod effect;
mod entry;
mod event;
mod live;
mod opening;
mod recover;
mod running;
mod session;
mod step;
mod teardown;
mod wipe;

pub use admission::{Admission, Denied, Request};
pub use effect::{Effect, Effects};
pub use entry::{Entry, Fact, Note, Violation};
pub use event::{Event, Turn};
pub use opening::{DEFAULT_LINGER, MainCommand, Opening};
pub use recover::Unrecoverable;
pub use running::{PROBE_INTERVAL, SILENT_PROBES};
pub use session::{DEFAULT_GRACE, Session};
pub use step::BringupStep;
pub use wipe::WipeReceipt;
