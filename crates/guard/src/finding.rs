//! What the inspection of a text finds.

use core::ops::Range;
use std::borrow::Cow;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::Confidentiality;
use crate::taint::TaintId;

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Category {
    /// A secret that opens something, or names what it opens.
    Secret,
    /// Data about a person.
    Personal,
    /// Words that are to make a model do something else than what it was asked.
    Injection,
    /// A value that this session has registered.
    Taint,
}

/// One thing found in a text.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Finding {
    /// What exactly: `github_token`, `card`, `instruction`.
    pub kind: &'static str,
    /// What it is about.
    pub category: Category,
    /// Where in the original text, in bytes of UTF-8, on character boundaries.
    #[serde(serialize_with = "as_pair")]
    pub span: Range<usize>,
    /// From 0 to 1: how sure the detector is.
    pub confidence: f32,
    /// Why, without the text itself.
    pub why: Cow<'static, str>,
    /// The registered value that it is, where it is one.
    #[serde(skip)]
    pub taint: Option<TaintId>,
    /// What was found, as it reads without its encoding.
    #[serde(skip)]
    pub value: FoundValue,
}

/// What was found. It never shows, and is overwritten when dropped.
#[derive(Clone, Default, PartialEq)]
pub struct FoundValue(Zeroizing<String>);

impl FoundValue {
    pub(crate) fn of(text: &str) -> Self {
        Self(Zeroizing::new(text.to_owned()))
    }

    /// The text.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl core::fmt::Debug for FoundValue {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("FoundValue(<redacted>)")
    }
}

impl Finding {
    /// How much it counts in a text's score.
    pub(crate) fn weight(&self) -> f32 {
        if self.category == Category::Personal { self.confidence / 2.0 } else { self.confidence }
    }

    /// How sensitive the found text is.
    #[must_use]
    pub fn confidentiality(&self) -> Confidentiality {
        match self.category {
            // What merely names an account or a host opens nothing.
            Category::Secret if self.confidence < 0.35 => Confidentiality::Sensitive,
            Category::Secret | Category::Taint => Confidentiality::Critical,
            Category::Personal => match self.kind {
                "card" | "iban" | "us_ssn" => Confidentiality::HighlySensitive,
                _ => Confidentiality::Sensitive,
            },
            Category::Injection => Confidentiality::Normal,
        }
    }
}

fn as_pair<S: serde::Serializer>(span: &Range<usize>, serializer: S) -> Result<S::Ok, S::Error> {
    (span.start, span.end).serialize(serializer)
}

/// Of findings of one category that overlap, keeps the surest; sorts by place.
pub(crate) fn settle(mut findings: Vec<Finding>) -> Vec<Finding> {
    if findings.len() < 2 {
        return findings;
    }
    findings.sort_by(|a, b| {
        a.category
            .cmp(&b.category)
            .then(b.confidence.total_cmp(&a.confidence))
            .then(b.span.len().cmp(&a.span.len()))
            .then(a.span.start.cmp(&b.span.start))
    });
    // Kept spans of one category never overlap, so their starts find the only neighbours.
    let mut kept: Vec<Finding> = Vec::with_capacity(findings.len());
    let mut taken: std::collections::BTreeMap<(Category, usize), usize> = std::collections::BTreeMap::new();
    for finding in findings {
        let (category, span) = (finding.category, finding.span.clone());
        let before = taken.range(..(category, span.end.max(span.start + 1))).next_back();
        if before.is_some_and(|((other, _), end)| *other == category && *end > span.start) {
            continue;
        }
        taken.insert((category, span.start), span.end);
        kept.push(finding);
    }
    kept.sort_by_key(|finding| (finding.span.start, finding.span.end, finding.category));
    kept
}
