//! What is known of a span of text: who may read it, and how far it is to be trusted.
//!
//! The two lattices of information flow (Denning 1976 for confidentiality, Biba 1977 for
//! integrity). Joining only raises the first and only lowers the second.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

/// How much harm it does when the text is read by whom it is not meant for; ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Confidentiality {
    /// Anyone may read it.
    Public,
    /// Nothing is known that makes it sensitive.
    #[default]
    Normal,
    /// Personal data, say an address.
    Sensitive,
    /// Data that harms a person when it is known, say a card's number.
    HighlySensitive,
    /// A secret that opens something.
    Critical,
}

/// How far the text may decide what is done; ordered from the most trusted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Integrity {
    /// The installation's own.
    System,
    /// Said by the person whose session it is.
    User,
    /// A field of a tool that `tools.toml` declares as trusted.
    TrustedTool,
    /// Anything else: the web, a file, a mail, a model.
    #[default]
    Untrusted,
}

/// Who may read a text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Readers {
    /// Anyone.
    #[default]
    Anyone,
    /// These and no other: hosts, accounts, addresses, as the declared sinks name them.
    Only(BTreeSet<String>),
}

/// What is known of a span of text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marking {
    /// How sensitive it is.
    pub confidentiality: Confidentiality,
    /// How far it is trusted.
    pub integrity: Integrity,
    /// Who may read it.
    pub readers: Readers,
}

impl Readers {
    /// Those who may read both.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        match (self, other) {
            (Self::Anyone, readers) | (readers, Self::Anyone) => readers.clone(),
            (Self::Only(ours), Self::Only(theirs)) => {
                Self::Only(ours.intersection(theirs).cloned().collect())
            }
        }
    }
}

impl Marking {
    /// What is known of a text made of both.
    #[must_use]
    pub fn join(&self, other: &Self) -> Self {
        Self {
            confidentiality: self.confidentiality.max(other.confidentiality),
            integrity: self.integrity.max(other.integrity),
            readers: self.readers.join(&other.readers),
        }
    }
}
