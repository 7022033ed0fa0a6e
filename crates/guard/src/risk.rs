//! How much a session's findings add up to: distinct kinds and repeated probes raise it, time
//! lowers it, and an operator resets it with a reason. It never locks anybody out for ever.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::finding::{Category, Finding};

/// Milliseconds in which what is not renewed halves.
pub const HALF_LIFE_MS: u64 = 10 * 60 * 1000;
/// The most it can be: from there it is at a tenth after less than an hour.
pub const MOST: f64 = 100.0;
/// Kinds that are remembered.
const MOST_KINDS: usize = 64;

/// A session's risk.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Risk {
    level: f64,
    at_ms: u64,
    /// How often each kind was found since the level was last below one.
    kinds: BTreeMap<String, u32>,
    resets: Vec<Reset>,
}

/// That somebody has reset it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// When, in the session's milliseconds.
    pub at_ms: u64,
    /// Who.
    pub who: String,
    /// Why.
    pub why: String,
}

impl Risk {
    /// The level at this time, from 0 to [`MOST`]. Time that runs backwards changes nothing.
    #[must_use]
    pub fn level(&self, now_ms: u64) -> f64 {
        let since = now_ms.saturating_sub(self.at_ms);
        #[expect(clippy::cast_precision_loss, reason = "of milliseconds, what is lost is nothing")]
        let halvings = since as f64 / HALF_LIFE_MS as f64;
        self.level * (-halvings * core::f64::consts::LN_2).exp()
    }

    /// Adds what was found in one text; answers the level after it.
    pub fn add(&mut self, findings: &[Finding], now_ms: u64) -> f64 {
        let mut level = self.level(now_ms);
        if level < 1.0 {
            self.kinds.clear();
        }
        self.at_ms = self.at_ms.max(now_ms);
        let mut counted: Vec<&str> = Vec::new();
        for finding in findings {
            // Ten of one kind in one text are one more of it, not ten.
            if counted.contains(&finding.kind) {
                continue;
            }
            counted.push(finding.kind);
            let weight = match finding.category {
                Category::Taint => 20.0,
                Category::Injection => 12.0,
                Category::Secret => 8.0,
                Category::Personal => 2.0,
            };
            if !self.kinds.contains_key(finding.kind) && self.kinds.len() >= MOST_KINDS {
                continue;
            }
            let times = self.kinds.entry(finding.kind.to_owned()).or_default();
            *times = times.saturating_add(1);
            // A new kind counts whole; the more often one is probed, the more each probe counts.
            let repeated = if *times == 1 { 1.0 } else { 0.5 + 0.1 * f64::from((*times).min(10)) };
            level += weight * f64::from(finding.confidence) * repeated;
        }
        self.level = level.min(MOST);
        self.level
    }

    /// Sets it to nothing.
    pub fn reset(&mut self, who: &str, why: &str, now_ms: u64) {
        self.level = 0.0;
        self.at_ms = self.at_ms.max(now_ms);
        self.kinds.clear();
        self.resets.push(Reset { at_ms: now_ms, who: who.to_owned(), why: why.to_owned() });
    }

    /// Who has reset it, when and why.
    #[must_use]
    pub fn resets(&self) -> &[Reset] {
        &self.resets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finding::FoundValue;

    fn finding(kind: &'static str, category: Category) -> Finding {
        Finding {
            kind,
            category,
            span: 0..1,
            confidence: 1.0,
            why: "".into(),
            taint: None,
            value: FoundValue::default(),
        }
    }

    #[test]
    fn distinct_kinds_and_repeated_probes_raise_it() {
        let (token, order) =
            (finding("github_token", Category::Secret), finding("instruction", Category::Injection));
        let mut once = Risk::default();
        once.add(&[token.clone(), token.clone(), token.clone()], 0);
        let mut distinct = Risk::default();
        distinct.add(&[token.clone(), order.clone()], 0);
        assert!(distinct.level(0) > once.level(0));
        let mut probed = once.clone();
        let steps: Vec<f64> =
            (0..5).map(|_| probed.level(0) - probed.add(std::slice::from_ref(&token), 0)).collect();
        assert!(steps.windows(2).all(|pair| pair[1] <= pair[0] && pair[1] < 0.0), "{steps:?}");
    }

    #[test]
    fn it_locks_nobody_out_for_ever() {
        let mut risk = Risk::default();
        for _ in 0..10_000 {
            risk.add(&[finding("tainted_value", Category::Taint)], 5);
        }
        assert!(risk.level(5) <= MOST);
        assert!(risk.level(5 + HALF_LIFE_MS) <= MOST / 2.0 + 1e-9);
        assert!(risk.level(5 + 7 * HALF_LIFE_MS) < 1.0);
        assert!(risk.level(0) <= MOST, "time that runs backwards");
        risk.reset("ann", "a test of the alarms", 6);
        assert!(risk.level(6).abs() < f64::EPSILON);
        assert_eq!(risk.resets().len(), 1);
    }
}
