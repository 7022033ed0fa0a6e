//! What is looked for in a text: secrets, personal data, injected instructions.

pub mod injection;
pub mod personal;
pub mod secrets;
mod words;

use core::ops::Range;
use std::borrow::Cow;

use crate::finding::Category;
use crate::taint::TaintId;

/// A finding in the text it was looked for in, which may have been decoded from another.
#[derive(Clone, Debug, PartialEq)]
pub struct Local {
    /// What exactly.
    pub kind: &'static str,
    /// What it is about.
    pub category: Category,
    /// Where in the searched text, in bytes.
    pub span: Range<usize>,
    /// From 0 to 1.
    pub confidence: f32,
    /// Why.
    pub why: Cow<'static, str>,
    /// The registered value that it is.
    pub taint: Option<TaintId>,
}
