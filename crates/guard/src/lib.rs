//! The guard: what passes between who speaks and who listens is inspected, marked and decided.
//!
//! Pure: no clock, no randomness, no file, no network. Keys, time and texts come in as arguments.
//!
//! | module | subject |
//! |---|---|
//! | `marking` | what is known of a span of text: [`Marking`] |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod marking;

pub use marking::{Confidentiality, Integrity, Marking, Readers};
