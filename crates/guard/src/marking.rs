//! What is known of a span of text: who may read it, how far it is to be trusted, what was found in it
//! and where it came from.
//!
//! The two lattices of information flow (Denning 1976 for confidentiality, Biba 1977 for
//! integrity). Joining only raises the first and only lowers the second; what lowers a marking is a
//! [`Lowering`], which somebody answers for.

use core::ops::Range;
use std::borrow::Cow;
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

impl Confidentiality {
    /// Its number, from 0 for what anyone may read to 4.
    #[must_use]
    pub const fn degree(self) -> u8 {
        match self {
            Self::Public => 0,
            Self::Normal => 1,
            Self::Sensitive => 2,
            Self::HighlySensitive => 3,
            Self::Critical => 4,
        }
    }
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

/// What a text came with, by its number in the session's journal; in a trace by its place there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Event(pub u64);

/// What is known of a span of text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marking {
    /// How sensitive it is.
    pub confidentiality: Confidentiality,
    /// How far it is trusted.
    pub integrity: Integrity,
    /// Who may read it.
    pub readers: Readers,
    /// What was found in it, as findings name it: `card`, `github_token`.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub kinds: BTreeSet<Cow<'static, str>>,
    /// Where it came from.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub origins: BTreeSet<Event>,
}

/// Somebody's order to take a span for less confidential or more trusted than it is marked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lowering {
    /// Who orders it.
    pub who: String,
    /// Why.
    pub why: String,
    /// What the text came with.
    pub event: Event,
    /// Which part of that text, in bytes.
    pub span: Range<usize>,
    /// What it is marked from now on.
    pub to: Marking,
}

/// What was lowered: for the journal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lowered {
    /// The order.
    pub order: Lowering,
    /// What it was marked before.
    pub from: Marking,
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
            kinds: self.kinds.union(&other.kinds).cloned().collect(),
            origins: self.origins.union(&other.origins).copied().collect(),
        }
    }

    /// Whether nothing is taken for less confidential, more trusted or better known here than there.
    #[must_use]
    pub fn is_at_least(&self, other: &Self) -> bool {
        self.join(other) == *self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn readers() -> impl Strategy<Value = Readers> {
        prop_oneof![
            Just(Readers::Anyone),
            proptest::collection::btree_set("[a-c]", 0..3).prop_map(Readers::Only)
        ]
    }

    fn marking() -> impl Strategy<Value = Marking> {
        let confidentiality = prop_oneof![
            Just(Confidentiality::Public),
            Just(Confidentiality::Normal),
            Just(Confidentiality::Sensitive),
            Just(Confidentiality::HighlySensitive),
            Just(Confidentiality::Critical),
        ];
        let integrity = prop_oneof![
            Just(Integrity::System),
            Just(Integrity::User),
            Just(Integrity::TrustedTool),
            Just(Integrity::Untrusted),
        ];
        let kinds = proptest::collection::btree_set("[a-c]".prop_map(Cow::Owned), 0..3);
        let origins = proptest::collection::btree_set((0u64..4).prop_map(Event), 0..3);
        (confidentiality, integrity, readers(), kinds, origins).prop_map(
            |(confidentiality, integrity, readers, kinds, origins)| Marking {
                confidentiality,
                integrity,
                readers,
                kinds,
                origins,
            },
        )
    }

    fn admits(readers: &Readers, who: &str) -> bool {
        match readers {
            Readers::Anyone => true,
            Readers::Only(only) => only.contains(who),
        }
    }

    proptest! {
        #[test]
        fn a_join_only_raises(a in marking(), b in marking(), c in marking()) {
            let both = a.join(&b);
            prop_assert!(both.confidentiality >= a.confidentiality && both.confidentiality >= b.confidentiality);
            prop_assert!(both.integrity >= a.integrity && both.integrity >= b.integrity);
            for who in ["a", "b", "c", "d"] {
                let expected = admits(&a.readers, who) && admits(&b.readers, who);
                prop_assert_eq!(admits(&both.readers, who), expected);
            }
            prop_assert!(both.kinds.is_superset(&a.kinds) && both.origins.is_superset(&b.origins));
            prop_assert!(both.is_at_least(&a) && both.is_at_least(&b));
            prop_assert_eq!(&both, &b.join(&a));
            prop_assert_eq!(both.join(&c), a.join(&b.join(&c)));
            prop_assert_eq!(&a.join(&a), &a);
        }
    }
}
