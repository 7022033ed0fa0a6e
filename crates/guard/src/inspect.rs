//! From a text nobody has looked at to one that may be decided about.
//!
//! [`Raw`] has no way to give its text away; [`Inspector::inspect`] makes [`Inspected`] of it.

use core::ops::Range;
use std::borrow::Cow;
use std::collections::BTreeSet;

use serde::Serialize;
use zeroize::Zeroizing;

use crate::detect::secrets::Secrets;
use crate::detect::{Local, injection, personal};
use crate::finding::{Category, Finding, FoundValue, settle};
use crate::layer::{self, Layer};
use crate::taint::{Folded, Hit, Registry, Starts, TaintId, Trail, shifted};
use crate::{Integrity, Marking, Readers};

/// A text that nothing has looked at yet.
pub struct Raw(Zeroizing<String>);

impl Raw {
    /// A text as it came.
    #[must_use]
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }
}

impl core::fmt::Debug for Raw {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        write!(f, "Raw({} bytes)", self.0.len())
    }
}

/// A span of the text and what is known of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Span {
    /// In bytes of UTF-8, on character boundaries.
    pub span: (usize, usize),
    /// What was found there, and what follows from it.
    #[serde(flatten)]
    pub marking: Marking,
}

/// A text that has been looked at.
pub struct Inspected {
    text: Zeroizing<String>,
    findings: Vec<Finding>,
}

/// What an inspection says, as JSON.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// What was found, by place.
    pub findings: Vec<Finding>,
    /// What is known of which span.
    pub markings: Vec<Span>,
    /// From 0 to 1: the surest finding that a secret, a tainted value or an injection is there,
    /// or personal data, which counts half.
    pub score: f32,
}

/// Looks at texts.
#[derive(Debug)]
pub struct Inspector {
    secrets: &'static Secrets,
    registry: Option<Registry>,
}

impl Default for Inspector {
    fn default() -> Self {
        Self { secrets: Secrets::shipped(), registry: None }
    }
}

impl Inspector {
    /// One that also finds the values of this registry.
    #[must_use]
    pub fn with_registry(registry: Registry) -> Self {
        Self { registry: Some(registry), ..Self::default() }
    }

    /// The registered values, where it looks for some.
    #[must_use]
    pub fn registry(&self) -> Option<&Registry> {
        self.registry.as_ref()
    }

    /// The registered values.
    pub fn registry_mut(&mut self) -> Option<&mut Registry> {
        self.registry.as_mut()
    }

    /// Canonical letters of the longest registered value.
    #[must_use]
    pub fn longest(&self) -> usize {
        self.registry.as_ref().map_or(0, Registry::longest)
    }

    /// Looks at a text.
    #[must_use]
    pub fn inspect(&self, raw: Raw) -> Inspected {
        self.inspect_next(raw, &mut Trail::default())
    }

    /// Looks at a text that stands between others in a channel and goes on none of them; but pieces of a value may
    /// stand in all of them.
    #[must_use]
    pub fn inspect_beside(&self, raw: Raw, trail: &mut Trail) -> Inspected {
        let mut beside = trail.without_letters();
        let inspected = self.inspect_next(raw, &mut beside);
        trail.take_pieces(beside);
        inspected
    }

    /// Looks at a text that follows others in a channel.
    #[must_use]
    pub fn inspect_next(&self, raw: Raw, trail: &mut Trail) -> Inspected {
        let text = raw.0;
        let original = Layer::original(&text);
        let first = layer::normalise(&original).unwrap_or(original);
        let mut findings = Vec::new();
        let mut found = Vec::new();
        let layers = layer::unfold(first);
        let registry = self.registry.as_ref().filter(|registry| !registry.is_empty());
        let (mut letters, mut starts) = (Vec::new(), Starts::default());
        for (place, layer) in layers.iter().enumerate() {
            self.secrets.scan(&layer.text, &mut found);
            personal::scan(&layer.text, &mut found);
            injection::scan(&layer.text, &mut found);
            if let Some(registry) = registry {
                // Only what is said itself follows what was said before.
                let folded = if place == 0 { trail.fold(&layer.text) } else { Folded::new(&layer.text) };
                taint(registry, &layer.text, &folded, &mut found, &mut starts);
                letters.push(folded);
            }
            tell(&text, layer, &mut found, &mut findings);
        }
        if let Some((registry, folded)) = registry.zip(letters.first()) {
            trail.keep(folded, registry);
            // A value's pieces may each be written another way.
            for piece in registry.pieces(&starts, &letters, &mut trail.before) {
                let span = letters[piece.text].span(&piece.letters);
                push_span(span, (piece.id, IN_PIECES, PIECED), &mut found);
                tell(&text, &layers[piece.text], &mut found, &mut findings);
            }
        }
        drop(letters);
        Inspected { findings: settle(findings), text }
    }
}

/// Adds what was found in a layer to what was found in the text.
fn tell(text: &str, layer: &Layer<'_>, found: &mut Vec<Local>, findings: &mut Vec<Finding>) {
    for local in found.drain(..) {
        let why =
            if layer.depth > 0 { format!("{}, in {}", local.why, layer.coding).into() } else { local.why };
        findings.push(Finding {
            kind: local.kind,
            category: local.category,
            span: on_boundaries(text, layer.origin_of(local.span.clone())),
            confidence: local.confidence,
            why,
            taint: local.taint,
            value: FoundValue::of(&layer.text[local.span]),
        });
    }
}

/// Longest text in which letters are moved on in the alphabet, and put between others.
const SHORT: usize = 1024;
/// How sure it is that a value stands there: whole, in pieces that do not touch, half of it.
const WHOLE: f32 = 0.95;
const PIECED: f32 = 0.85;
const HALF: f32 = 0.7;
const IN_PIECES: &str = "a piece of a registered value, of which all are there";

fn taint(registry: &Registry, layer: &str, folded: &Folded<'_>, found: &mut Vec<Local>, starts: &mut Starts) {
    let mut hits = Vec::new();
    registry.search(folded, &mut hits, starts);
    push_taints(folded, &hits, found);
    if layer.len() > SHORT || !hits.is_empty() {
        return;
    }
    registry.search_between(folded, &mut hits);
    push_taints(folded, &hits, found);
    for (view, kept) in layer::views(layer) {
        let folded = Folded::new(&view);
        hits.clear();
        registry.search_whole(&folded, &mut hits);
        for hit in &hits {
            let span = folded.span(&hit.letters);
            for part in kept.iter().map(|part| part.start.max(span.start)..part.end.min(span.end)) {
                push_span(trimmed(&view, part), hit.taint(), found);
            }
        }
    }
    for by in (1..26).filter(|by| *by != 13) {
        let moved = Zeroizing::new(shifted(layer, by));
        let folded = Folded::new(&moved);
        hits.clear();
        registry.search_whole(&folded, &mut hits);
        push_taints(&folded, &hits, found);
    }
}

/// Without signs around the words of a span.
fn trimmed(text: &str, span: Range<usize>) -> Range<usize> {
    let Some(part) = text.get(span.clone()) else { return 0..0 };
    let is_sign = |c: char| !c.is_alphanumeric();
    let start = span.start + (part.len() - part.trim_start_matches(is_sign).len());
    start..start + part.trim_matches(is_sign).len()
}

fn push_taints(folded: &Folded<'_>, hits: &[Hit], found: &mut Vec<Local>) {
    for hit in hits {
        push_span(folded.span(&hit.letters), hit.taint(), found);
    }
}

impl Hit {
    fn taint(&self) -> Taint {
        (self.id, self.told, if self.half { HALF } else { WHOLE })
    }
}

/// Which value, how it is written, and how sure that is.
type Taint = (TaintId, &'static str, f32);

fn push_span(span: Range<usize>, (id, told, confidence): Taint, found: &mut Vec<Local>) {
    // What ended in a text before was found there.
    if !span.is_empty() {
        found.push(Local {
            kind: "tainted_value",
            category: Category::Taint,
            span,
            confidence,
            why: format!("{told} ({id})").into(),
            taint: Some(id),
        });
    }
}

/// The smallest span on character boundaries that holds this one.
fn on_boundaries(text: &str, span: Range<usize>) -> Range<usize> {
    let start = text.floor_char_boundary(span.start.min(text.len()));
    let end = text.ceil_char_boundary(span.end.min(text.len()));
    start..end.max(start)
}

impl Inspected {
    /// The text, for whoever has decided what becomes of it.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What was found, by place.
    #[must_use]
    pub fn findings(&self) -> &[Finding] {
        &self.findings
    }

    /// What is known of the spans in which something was found, where the text is trusted so far.
    #[must_use]
    pub fn markings(&self, integrity: Integrity) -> Vec<Span> {
        self.findings
            .iter()
            .map(|finding| Span {
                span: (finding.span.start, finding.span.end),
                marking: Marking {
                    confidentiality: finding.confidentiality(),
                    integrity,
                    readers: Readers::Anyone,
                    kinds: BTreeSet::from([Cow::Borrowed(finding.kind)]),
                    origins: BTreeSet::new(),
                },
            })
            .collect()
    }

    /// See [`Report::score`].
    #[must_use]
    pub fn score(&self) -> f32 {
        self.findings.iter().map(Finding::weight).fold(0.0, f32::max)
    }

    /// All of it, as JSON says it.
    #[must_use]
    pub fn report(&self, integrity: Integrity) -> Report {
        Report { findings: self.findings.clone(), markings: self.markings(integrity), score: self.score() }
    }
}

impl core::fmt::Debug for Inspected {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Inspected")
            .field("bytes", &self.text.len())
            .field("findings", &self.findings)
            .finish()
    }
}
