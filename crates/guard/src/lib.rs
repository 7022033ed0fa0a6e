//! The guard: what passes between who speaks and who listens is inspected, marked and decided.
//!
//! Pure: no clock, no randomness, no file, no network. Keys, time and texts come in as arguments.
//!
//! | module | subject |
//! |---|---|
//! | `marking` | what is known of a span of text: [`Marking`] |
//! | [`flow`] | where what a call is given came from, and what follows from it |
//! | [`tools`] | what tools are declared to do, and a rule that derives it |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod flow;
mod marking;
pub mod tools;

pub use marking::{Confidentiality, Event, Integrity, Lowered, Lowering, Marking, Readers};
