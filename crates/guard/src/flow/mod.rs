//! Where what a call is given came from, and what follows from it.
//!
//! A [`Conversation`] holds what the user said and what tools returned. Each value of a call's arguments
//! is looked for in it, whole: what the user said first is the user's; what a trusted field holds is the
//! service's own word; what stands anywhere else in a result is untrusted, and so is what stands nowhere
//! once anything untrusted was read. No text is searched for attacks here: a call is held because of
//! where its destination came from.
//!
//! | room | subject |
//! |---|---|
//! | `fields` | the fields of a result, by `literal` (Python, JSON) and `block` (YAML) |
//! | `known` | what was said, and where a value of it stands, as a `needle` |
//! | `record` | the record that the user named, and a call destroys |
//! | `readers` | whether a destination is among those who may read a text |
//! | `judge` | from a call's arguments to what policies are asked |
//! | [`trace`] | an agent's trace, judged call by call |
//!
//! The model is that of information-flow control for agents (Costa et al., "Securing AI Agents with
//! Information-Flow Control", 2025; Debenedetti et al., "Defeating Prompt Injections by Design", 2025).

mod block;
mod fields;
mod judge;
mod known;
mod literal;
mod needle;
mod readers;
mod record;
pub mod trace;
mod unique;

use core::fmt;
use core::ops::Range;

use crate::marking::{Event, Lowered, Lowering, Marking};
use crate::tools::Tool;
use known::Known;

pub use judge::{Argument, Because, Call, Carried, Judgement, verdict};
pub use known::{NotLowered, Place, Source};

/// Everything that was said to an agent and returned to it, in order.
#[derive(Default)]
pub struct Conversation {
    known: Known,
}

impl fmt::Debug for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Texts stay out of logs.
        f.debug_struct("Conversation").finish_non_exhaustive()
    }
}

impl Conversation {
    /// The user says something. `marks` is what was found in it.
    pub fn user_says(&mut self, event: Event, text: &str, marks: &[(Range<usize>, Marking)]) {
        self.known.user_says(event, text, marks);
    }

    /// A tool returns something; one that nobody declared has no `tool`. `marks` is what was found in it.
    pub fn tool_returns(
        &mut self,
        event: Event,
        name: &str,
        tool: Option<&Tool>,
        text: &str,
        marks: &[(Range<usize>, Marking)],
    ) {
        let unknown = Tool::unknown();
        self.known.tool_returns(event, (name, tool.unwrap_or(&unknown)), text, marks);
    }

    /// Whether anything was read that nobody trusted answers for.
    #[must_use]
    pub fn has_untrusted(&self) -> bool {
        self.known.has_untrusted()
    }

    /// Takes a span for what the order says. The answer is for the journal; there is no other way to
    /// lower a marking.
    ///
    /// # Errors
    /// When nobody answers for it, or there is no such span.
    pub fn lower(&mut self, order: Lowering) -> Result<Lowered, NotLowered> {
        self.known.lower(order)
    }
}

#[cfg(test)]
mod adversaries;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
