//! Requests that the session's gateway shows.
//!
//! A value that the session keeps goes to hosts among its readers. A secret that nobody knows of is the first
//! host's that it is sent to where HTTP has it authenticate, and no other's; anywhere else it is nobody's.
//! What has nothing of it is answered at once; about the rest the keeper is told first, which writes the audit.

mod head;
mod unpacked;
mod window;

use core::ops::Range;

use sessile_guard::packed::Packing;
use sessile_model::guarding::outgoing::{
    Coding, MOST_EXCERPT, MOST_TOLD, Place, Showing, Shown, Weighed, Word, reader,
};
use sessile_policy::guard::Outgoing;

use super::*;

pub(super) use unpacked::Streams;

/// Parts that wait for the keeper at most; more are refused.
const MOST_WAITING: usize = 256;
/// Values that are learned of requests at most, so that others have room.
const MOST_OF_REQUESTS: usize = 512;
/// How sure a secret is that nobody knows of: by the form that its issuer gives it, not by the words beside it.
/// Code and the texts that models are given are full of those.
const SURE: f32 = 0.9;
/// Bytes that a keeper is told of before what was found.
const BEFORE: usize = 64;

/// What is to be done about something that was shown.
#[derive(Clone, Debug, PartialEq)]
pub enum Act {
    /// The gateway is told.
    Say(Word),
    /// The keeper is.
    Tell(Report),
}

/// Parts of requests that wait for the keeper.
#[derive(Default)]
pub(super) struct Waiting {
    last: u32,
    parts: BTreeMap<u32, Part>,
}

struct Part {
    shown: Shown,
    place: Place,
    /// Bytes of the body that may go then.
    clear: usize,
    learns: Vec<Value>,
}

/// What was found in a part, and what may go of it.
struct Looked {
    found: Vec<Found>,
    /// Those of them that are not within their readers, or are learned.
    telling: Vec<(usize, usize)>,
    learns: Vec<Value>,
    kinds: BTreeSet<String>,
    confidentiality: u8,
    within_readers: bool,
    is_seen: bool,
    suspicion: u8,
    clear: usize,
}

impl Post {
    /// Says what is to become of something that a gateway shows.
    pub fn show(&mut self, showing: Showing, at_ms: u64) -> Vec<Act> {
        match showing {
            Showing::Part(shown) => self.pass(*shown, None, at_ms),
            Showing::Left { number } => {
                self.streams.leave(number);
                let left = self.waiting.parts.extract_if(.., |_, part| part.shown.number == number);
                left.map(|(ticket, _)| Act::Tell(Report::Left { ticket })).collect()
            }
            Showing::Unknown => Vec::new(),
        }
    }

    /// Goes on with what waited for the keeper.
    pub fn release(&mut self, ticket: u32, goes: bool, at_ms: u64) -> Vec<Act> {
        let Some(Part { shown, place, clear, learns }) = self.waiting.parts.remove(&ticket) else {
            return Vec::new();
        };
        if !goes {
            self.streams.leave(shown.stream);
            return vec![Act::Say(Word::Refused { number: shown.number })];
        }
        for value in learns {
            self.remember(value);
        }
        match place {
            Place::Head => self.pass(shown, Some(Place::Head), at_ms),
            Place::Body if may_be_packed(&shown) => self.pass(shown, Some(Place::Body), at_ms),
            Place::Body => vec![gone(shown.number, clear)],
        }
    }

    /// Nobody shows anything any more: what waits is left.
    pub fn unwatched(&mut self) -> Vec<Act> {
        self.streams.clear();
        let parts = std::mem::take(&mut self.waiting.parts);
        parts.into_keys().map(|ticket| Act::Tell(Report::Left { ticket })).collect()
    }

    /// Looks at what follows the part that went last.
    fn pass(&mut self, shown: Shown, after: Option<Place>, at_ms: u64) -> Vec<Act> {
        let bytes = |text: &Text| STANDARD.decode(text.0.as_bytes()).map(Zeroizing::new);
        let (Ok(head), Ok(body)) = (bytes(&shown.head), bytes(&shown.body)) else {
            return vec![Act::Say(Word::Refused { number: shown.number })];
        };
        if after.is_none() && !head.is_empty() {
            let looked = self.look_at_head(&shown, &head, at_ms);
            if let Some(acts) = self.weigh(&shown, Place::Head, &head, looked, at_ms) {
                return acts;
            }
        }
        if body.is_empty() {
            return vec![gone(shown.number, 0)];
        }
        let is_packed = may_be_packed(&shown);
        if is_packed && let Some(acts) = self.pass_packed(&shown, &body, after == Some(Place::Body), at_ms) {
            return acts;
        }
        let mut looked = self.look_at_window(&shown, way(&shown), (&body, shown.is_last), at_ms);
        looked.is_seen = shown.coding == Coding::Identity && !is_packed;
        let unseen =
            Shown { coding: if looked.is_seen { Coding::Identity } else { Coding::Unseen }, ..shown };
        let clear = looked.clear;
        let acts = self.weigh(&unseen, Place::Body, &body, looked, at_ms);
        acts.unwrap_or_else(|| vec![gone(unseen.number, clear)])
    }

    /// Asks the policies; `None` where it goes on and there is nothing to write of it.
    fn weigh(
        &mut self,
        shown: &Shown,
        place: Place,
        bytes: &[u8],
        looked: Looked,
        at_ms: u64,
    ) -> Option<Vec<Act>> {
        let risk = rounded(self.risk.level(at_ms));
        let ruling = self.policies.outgoing(&Outgoing {
            app: shown.app.as_str(),
            host: &shown.host,
            port: shown.port,
            method: &shown.method,
            place: place.name(),
            is_seen: looked.is_seen,
            suspicion: looked.suspicion,
            payload: Payload {
                confidentiality: looked.confidentiality,
                within_readers: looked.within_readers,
                kinds: looked.kinds.clone(),
                risk,
                tee: false,
            },
        });
        let effect = match ruling.effect {
            policy::Effect::ProcessLocal => Effect::Pass,
            policy::Effect::RequireConfirmation => Effect::Confirm,
            // Without a part of it, it would be another request; no environment is ever verified.
            policy::Effect::Redact | policy::Effect::ProcessInTee | policy::Effect::Reject => Effect::Reject,
        };
        if effect == Effect::Pass && looked.learns.is_empty() && looked.within_readers {
            return None;
        }
        let number = shown.number;
        if self.waiting.parts.len() >= MOST_WAITING {
            return Some(vec![Act::Say(Word::Refused { number })]);
        }
        self.waiting.last = self.waiting.last.wrapping_add(1);
        let ticket = self.waiting.last;
        let Looked { found, telling, learns, confidentiality, suspicion, clear, .. } = looked;
        let (excerpt, found) = excerpt(bytes, found, &telling);
        let judgement = Judgement {
            effect,
            policies: ruling.policies,
            because: ruling.failure,
            found,
            confidentiality,
            suspicion,
            risk,
            learns: learns.clone(),
        };
        let weighed = Weighed {
            app: shown.app.clone(),
            host: shown.host.clone(),
            port: shown.port,
            place,
            bytes: bytes.len() as u64,
            excerpt,
            judgement,
        };
        self.waiting.parts.insert(ticket, Part { shown: shown.clone(), place, clear, learns });
        let mut acts = vec![Act::Tell(Report::Weighed { ticket, weighed: Box::new(weighed) })];
        if effect == Effect::Confirm {
            acts.push(Act::Say(Word::Held { number }));
        }
        Some(acts)
    }

    /// What findings in a part come to. `authenticates` says whether a span lies where HTTP authenticates.
    fn known_there(
        &self,
        shown: &Shown,
        decoded: &Decoded,
        findings: &[Finding],
        authenticates: impl Fn(&Range<usize>) -> bool,
    ) -> Looked {
        let (to, from) = (reader(&shown.host, shown.port), format!("app:{}", shown.app));
        let mut looked = Looked::nothing();
        for finding in findings {
            let must_stay = finding.confidentiality() >= Confidentiality::HighlySensitive;
            let known = match finding.taint {
                Some(id) => self.values.get(id),
                None if must_stay => self.value_of(finding.value.expose()),
                None => None,
            };
            let is_secret = finding.category == Category::Secret && finding.confidence >= SURE;
            let confidentiality = match known {
                Some(value) => value.confidentiality,
                // What may be one, and is something else as often: a policy may look at its kind.
                None if finding.category == Category::Secret && !is_secret => {
                    Confidentiality::Sensitive.degree()
                }
                None => finding.confidentiality().degree(),
            };
            // A card, or whatever a registry has found and nobody knows any more, is its sender's to tell.
            let is_first = known.is_none() && is_secret && authenticates(&finding.span) && self.has_room();
            let said = known.map(|known| login::within(self.values.text(known))).unwrap_or_default();
            let mut inner = said.iter().filter_map(|text| self.value_of(text));
            let is_within = match known {
                Some(value) => value.readers.contains(&to) && inner.all(|value| value.readers.contains(&to)),
                None => !is_secret || is_first,
            };
            let span = decoded.origin(&finding.span);
            if !is_within || is_first {
                looked.telling.push((span.start, span.end));
                let (owner, mut readers) = known.map_or_else(
                    || (from.clone(), BTreeSet::new()),
                    |v| (v.owner.clone(), v.readers.clone()),
                );
                readers.insert(to.clone());
                let text = known.map_or_else(|| finding.value.expose(), |known| self.values.text(known));
                let value = Text(text.to_owned());
                looked.learn(Value { value, confidentiality, owner, readers });
                for inner in said.iter().filter_map(|text| self.value_of(text)) {
                    let Known { confidentiality, owner, .. } = inner.clone();
                    let value = Text(self.values.text(inner).to_owned());
                    let readers = inner.readers.iter().chain([&to]).cloned().collect();
                    looked.learn(Value { value, confidentiality, owner, readers });
                }
            }
            looked.within_readers &= is_within;
            looked.confidentiality = looked.confidentiality.max(confidentiality);
            if finding.category == Category::Injection {
                looked.suspicion = looked.suspicion.max(percent(finding.confidence));
            }
            looked.kinds.insert(finding.kind.to_owned());
            let of = known.map(|value| &value.owner).filter(|owner| **owner != from).cloned();
            let kind = finding.kind.to_owned();
            looked.found.push(Found { kind, span: (span.start, span.end), confidentiality, of });
        }
        looked
    }

    /// What of it counts as a risk: what does not belong there.
    fn count(&mut self, findings: &[Finding], looked: &Looked, decoded: &Decoded, at_ms: u64) {
        if looked.within_readers {
            return;
        }
        let told = |finding: &&Finding| {
            let span = decoded.origin(&finding.span);
            looked.telling.contains(&(span.start, span.end))
        };
        let counted: Vec<Finding> = findings.iter().filter(told).cloned().collect();
        self.risk.add(&counted, at_ms);
    }

    fn has_room(&self) -> bool {
        self.values.known().filter(|known| known.owner.starts_with("app:")).count() < MOST_OF_REQUESTS
    }
}

impl Looked {
    fn nothing() -> Self {
        Self {
            found: Vec::new(),
            telling: Vec::new(),
            learns: Vec::new(),
            kinds: BTreeSet::new(),
            confidentiality: Confidentiality::Normal.degree(),
            within_readers: true,
            is_seen: true,
            suspicion: 0,
            clear: 0,
        }
    }

    /// Learns a value once it has gone, as far as there is room.
    fn learn(&mut self, value: Value) {
        let so_far: usize = self.learns.iter().map(|value| value.value.0.len()).sum();
        let is_new = self.learns.iter().all(|known| known.value != value.value);
        if is_new && so_far + value.value.0.len() <= MOST_EXCERPT {
            self.learns.push(value);
        }
    }
}

/// From whom to whom something goes.
fn way(shown: &Shown) -> (String, String) {
    (format!("app:{}", shown.app), reader(&shown.host, shown.port))
}

/// How a body is packed that can be undone.
const fn packing(coding: Coding) -> Option<Packing> {
    match coding {
        Coding::Gzip => Some(Packing::Gzip),
        Coding::Deflate => Some(Packing::Deflate),
        Coding::Identity | Coding::Unseen => None,
    }
}

/// Whether some of a body is, or looks, packed in a way that can be undone.
const fn may_be_packed(shown: &Shown) -> bool {
    match shown.coding {
        Coding::Gzip | Coding::Deflate => true,
        Coding::Identity => shown.packed_from.is_some(),
        Coding::Unseen => false,
    }
}

fn gone(number: u64, clear: usize) -> Act {
    Act::Say(Word::Goes { number, body: u32::try_from(clear).unwrap_or(0) })
}

/// Also finds what stands in one field of a form or a query, with spaces as those write them. The sign before a
/// field is no part of it: `=45` is a letter to who reads it another way.
fn look_at_fields(inspector: &Inspector, text: &str, findings: &mut Vec<Finding>) {
    if !text.contains('%') {
        return;
    }
    // As long as before, so that places are the same.
    let apart = |c| if matches!(c, '=' | '&' | '?' | '+') { ' ' } else { c };
    let text = Zeroizing::new(text.replace("%20", "   "));
    let inspected = inspector.inspect(Raw::new(text.chars().map(apart).collect()));
    for finding in inspected.findings() {
        let is_known = findings.iter().any(|known| {
            known.category == finding.category
                && known.span.start < finding.span.end
                && known.span.end > finding.span.start
        });
        if !is_known {
            findings.push(finding.clone());
        }
    }
}

/// Bytes around what is to be told, and what was found among them.
fn excerpt(bytes: &[u8], found: Vec<Found>, telling: &[(usize, usize)]) -> (Text, Vec<Found>) {
    let start = telling.iter().map(|(start, _)| *start).min().unwrap_or(0).saturating_sub(BEFORE);
    let end = (start + MOST_EXCERPT).min(bytes.len());
    let start = start.min(end);
    let within = |found: &Found| found.span.0 >= start && found.span.0 < end;
    let mut told: Vec<Found> = found.into_iter().filter(within).collect();
    // What it is about comes first, where there is too much.
    told.sort_by_key(|found| (!telling.contains(&found.span), found.span));
    told.truncate(MOST_TOLD);
    for found in &mut told {
        found.span = (found.span.0 - start, found.span.1.min(end) - start);
    }
    told.sort_by_key(|found| found.span);
    (Text(STANDARD.encode(&bytes[start..end])), told)
}

#[cfg(test)]
mod tests;
