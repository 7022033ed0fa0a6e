//! Sessile's vocabulary, shared by every crate above it.
//!
//! Pure: no clock, no randomness, no file, no log. Times come in as [`Timestamp`]s, entropy as
//! bytes. What crosses a process boundary (the REST API, the keeper's socket, the journal, the
//! receipt) is defined here and nowhere else.
//!
//! | module | subject |
//! |---|---|
//! | [`ids`] | newtypes for every identifier |
//! | [`hex`] | bytes as hexadecimal digits |
//! | [`quantity`] | byte sizes, durations, timestamps |
//! | [`network`] | routes, hosts and rules |
//! | [`credential`] | secrets that a gateway sets on requests |
//! | [`spec`] | what a client asks for when it opens a session |
//! | [`state`] | lifecycle states, phases, outcomes |
//! | [`property`] | the four enforcement properties and their evidence |
//! | [`record`] | the session record that `ls` and `show` print |
//! | [`recording`] | recordings of terminals as text, written and read |
//! | [`receipt`] | the signed account of a wipe |
//! | [`problem`] | error kinds, exit codes, problem details (RFC 9457) |
//! | [`protocol`] | a session's protocol, and who speaks for its roles |
//! | [`api`] | bodies of the REST API |
//! | [`wire`] | frames and messages on the keeper's socket |
//! | [`gateway`] | messages between a keeper and its gateway |
//! | [`mcp`] | MCP servers of a session, and messages between a keeper and their relays |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod api;
pub mod credential;
pub mod gateway;
pub mod guarding;
pub mod hex;
pub mod ids;
pub mod mcp;
pub mod network;
pub mod problem;
pub mod property;
pub mod protocol;
pub mod quantity;
pub mod receipt;
pub mod record;
pub mod recording;
pub mod spec;
pub mod state;
pub mod tor;
pub mod wire;

pub use ids::{AppName, OperatorName, ProfileName, SessionId, SessionName};
pub use problem::{Problem, ProblemKind};
pub use property::{Properties, Property, PropertyStatus};
pub use quantity::{ByteSize, Millis, Timestamp};
pub use record::SessionRecord;
pub use spec::Spec;
pub use state::{Outcome, Phase, State};

/// The program's version, as greetings and receipts have it.
pub fn version() -> &'static str {
    // Kept in one piece in every binary: tests make another version by changing its bytes.
    std::hint::black_box(env!("CARGO_PKG_VERSION"))
}
