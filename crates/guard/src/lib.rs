//! The guard: what passes between who speaks and who listens is inspected, marked and decided.
//!
//! Pure: no clock, no randomness, no file, no network. Keys, time and texts come in as arguments.
//!
//! | module | subject |
//! |---|---|
//! | `marking` | what is known of a span of text: [`Marking`] |
//! | `finding` | what an inspection finds: [`Finding`] |
//! | `detect` | secrets, personal data, injected instructions |
//! | `layer` | a text without disguises, and what is encoded in it |
//! | `letters` | small letters of scripts, looked up |
//! | `taint` | a session's own values, found again: [`Registry`] |
//! | [`destination`] | where a URL really leads |
//! | [`packed`] | compressed bodies, undone within bounds |
//! | [`risk`] | what a session's findings add up to |
//! | `stream` | a text in parts: [`Stream`] |
//! | `inspect` | the way from [`Raw`] to [`Inspected`] |
//! | [`flow`] | where what a call is given came from, and what follows from it |
//! | [`tools`] | what tools are declared to do, and a rule that derives it |
//! | [`variable`] | variables of an environment that hold a secret |

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod destination;
mod detect;
mod finding;
pub mod flow;
mod inspect;
mod layer;
mod letters;
mod marking;
pub mod packed;
pub mod risk;
mod stream;
mod taint;
pub mod tools;
pub mod variable;

pub use finding::{Category, Finding, FoundValue};
pub use inspect::{Inspected, Inspector, Raw, Report, Span};
pub use marking::{Confidentiality, Event, Integrity, Lowered, Lowering, Marking, Readers};
pub use stream::{LEAST_HELD, MOST_HELD, Stream};
pub use taint::{FILTER_BYTES, Heap, Refused, Registry, Room, Rooms, TaintId, Trail};

/// What training and measuring need: `cargo xtask train`, `cargo xtask bench guard`.
pub mod training {
    /// The patterns of the rules of secrets.
    #[must_use]
    pub fn patterns() -> Vec<&'static str> {
        crate::detect::secrets::Secrets::patterns().collect()
    }

    pub use crate::detect::injection::{Model, Sentence, Term, Window, pair, read, spelled, term, windows};
    pub use crate::taint::letters;
}
