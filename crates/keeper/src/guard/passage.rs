//! A line's way past the guard.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_model::guarding::{
    AuditEntry, Decided, Effect, Judgement, Matter, NO_POLICY, Order, Part, Text, degree_name, without,
};
use sessile_model::hex;
use sessile_model::mcp::Hints;
use sessile_model::protocol::Speaker;
use sessile_model::quantity::Timestamp;
use sessile_model::{Problem, ProblemKind};
use sessile_vault::keys::{DerivedKey, Purpose};

use super::{Asked, down};
use crate::keeper::Keeper;

/// What one who is refused is told, whatever the reason.
const REFUSED: &str = "refused by policy; do not retry";

/// How far a line has come.
#[derive(Debug, Default)]
pub enum Passage {
    /// It waits for its turn.
    #[default]
    Waiting,
    /// The guard looks at it.
    Judging(u32),
    /// Somebody outside is asked about it.
    Held {
        /// The matter's number.
        number: u32,
        /// The question's.
        question: u32,
        /// What the guard said.
        judgement: Box<Judgement>,
    },
    /// It may be said.
    Cleared {
        /// The matter's number.
        number: u32,
        /// What it carries instead.
        instead: Option<Vec<u8>>,
        /// What the guard said.
        judgement: Box<Judgement>,
    },
}

/// What passes.
#[derive(Clone, Copy, Debug)]
pub struct Passing<'a> {
    /// The role that speaks.
    pub from: &'a str,
    /// Who speaks for it.
    pub by: &'a Speaker,
    /// The public key by which it is signed, where it is.
    pub key: Option<[u8; 32]>,
    /// The role that is to hear it.
    pub to: &'a str,
    /// What it is called.
    pub label: &'a str,
    /// What it carries.
    pub payload: &'a [u8],
    /// What it is.
    pub what: What,
    /// Of a call, arguments that the tool's server does not name.
    pub undeclared: &'a [String],
}

/// What passes: to the guard each is another matter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Somebody says something.
    Line,
    /// A tool is called, of which its server says this.
    Call(Hints),
    /// A tool has returned something.
    Returned,
}

impl Passage {
    /// What is to be left out of what may go on, where something is.
    pub(crate) fn left_out(&self) -> Option<Vec<(usize, usize)>> {
        match self {
            Self::Cleared { instead: Some(_), judgement, .. } => {
                Some(judgement.found.iter().map(|found| found.span).collect())
            }
            Self::Cleared { .. } | Self::Waiting | Self::Judging(_) | Self::Held { .. } => None,
        }
    }
}

/// What came of looking.
#[derive(Debug)]
pub enum Passed {
    /// It is to be looked at again.
    Waits,
    /// It may be said, with this instead of what it carries.
    Goes(Option<Vec<u8>>),
}

impl Keeper {
    /// Takes a line as far past the guard as it comes now.
    ///
    /// # Errors
    /// When it is refused, or cannot be judged.
    pub(crate) fn pass_guard(&mut self, passage: &mut Passage, line: Passing<'_>) -> Result<Passed, Problem> {
        if self.facts()?.guard.is_none() {
            // A session that an earlier version opened has none.
            return Ok(Passed::Goes(None));
        }
        loop {
            *passage = match std::mem::take(passage) {
                Passage::Waiting if self.guard.asked.is_some() => return Ok(Passed::Waits),
                Passage::Waiting => {
                    *passage = Passage::Judging(self.ask_guard(line)?);
                    return Ok(Passed::Waits);
                }
                Passage::Judging(number) => match self.guard.judged.remove(&number) {
                    Some(judgement) => self.act(number, judgement, line)?,
                    None if self.guard.asked.as_ref().is_some_and(|asked| asked.number == number) => {
                        *passage = Passage::Judging(number);
                        return Ok(Passed::Waits);
                    }
                    // Another is started, as often as one may be.
                    None if self.guard.unseen == Some(number) => Passage::Waiting,
                    None => return Err(down("it ended while it looked at this").hint("say it again")),
                },
                Passage::Held { number, question, judgement } => match self.heard_about(question, number) {
                    None => {
                        *passage = Passage::Held { number, question, judgement };
                        return Ok(Passed::Waits);
                    }
                    Some(is_allowed) => {
                        let is_allowed = is_allowed.inspect_err(|_| self.drop_matter(number))?;
                        if !is_allowed {
                            return Err(self.refuse_matter(number));
                        }
                        Passage::Cleared { number, instead: None, judgement }
                    }
                },
                Passage::Cleared { number, instead, judgement } => {
                    let goes = Passed::Goes(instead.clone());
                    *passage = Passage::Cleared { number, instead, judgement };
                    return Ok(goes);
                }
            };
        }
    }

    fn ask_guard(&mut self, line: Passing<'_>) -> Result<u32, Problem> {
        self.guard.last += 1;
        let number = self.guard.last;
        let matter = matter(line);
        let order = Order::Judge { number, at_ms: self.session_ms(), matter };
        loop {
            self.start_guard()?;
            if self.order_guard(&order).is_ok() {
                break;
            }
            // It has ended and has not seen this: another is started, as often as one may be.
            self.cut_guard();
        }
        if self.guard.memory.as_ref().is_some_and(|kept| !kept.has_judged) {
            self.keep_memory(|memory| memory.has_judged = true);
        }
        self.guard.asked = Some(Asked { number, at: self.now, is_given_up: false });
        Ok(number)
    }

    /// The session's milliseconds.
    pub(super) fn session_ms(&self) -> u64 {
        self.facts.as_ref().map_or(0, |facts| self.now.since(facts.created_at).0)
    }

    /// Journals what was decided, and does it.
    fn act(&mut self, number: u32, judgement: Box<Judgement>, line: Passing<'_>) -> Result<Passage, Problem> {
        let key = self.root_key.as_ref().map(|key| key.derive(&Purpose::Audit));
        let key = key.ok_or_else(|| down("the session has no keys"));
        let decided = key.map(|key| decided(&key, (number, self.now), &judgement, line));
        let lasting = judgement.effect != Effect::Pass || !judgement.found.is_empty();
        let audited = decided.and_then(|entry| self.audit(&AuditEntry::Decided(Box::new(entry)), lasting));
        if let Err(problem) = audited {
            self.drop_matter(number);
            return Err(problem);
        }
        let sensitivity = judgement.confidentiality;
        if self.facts()?.guard.as_ref().is_some_and(|guard| guard.sensitivity < sensitivity) {
            self.note_guard(|guard| guard.sensitivity = sensitivity);
        }
        Ok(match judgement.effect {
            Effect::Pass => Passage::Cleared { number, instead: None, judgement },
            Effect::Redact => {
                self.note_guard(|guard| guard.redacted += 1);
                let instead = Some(without(line.payload, &judgement.found));
                Passage::Cleared { number, instead, judgement }
            }
            Effect::Confirm => {
                self.note_guard(|guard| guard.asked += 1);
                let question = self.ask_operators(number, &judgement, line, None);
                Passage::Held { number, question, judgement }
            }
            Effect::Reject => return Err(self.refuse_matter(number)),
        })
    }

    fn refuse_matter(&mut self, number: u32) -> Problem {
        self.note_guard(|guard| guard.refused += 1);
        self.drop_matter(number);
        Problem::new(ProblemKind::Denied, REFUSED)
    }

    fn drop_matter(&mut self, number: u32) {
        // One that takes no orders is found out by its link.
        let _ = self.order_guard(&Order::Dropped { number });
    }

    /// What guards are to know of a line that is about to be said.
    pub(crate) fn learn(&mut self, passage: &Passage) -> Result<(), Problem> {
        let Passage::Cleared { judgement, instead: None, .. } = passage else { return Ok(()) };
        if judgement.learns.is_empty() {
            return Ok(());
        }
        match self.keep_memory(|memory| memory.learn(judgement.learns.clone())) {
            true => Ok(()),
            false => Err(down("what it knows cannot be kept")),
        }
    }

    /// A line was said.
    pub(crate) fn passed(&mut self, passage: &mut Passage) {
        if let Passage::Cleared { number, .. } = std::mem::take(passage) {
            let _ = self.order_guard(&Order::Delivered { number });
            // The record counts messages.
            self.changed = true;
        }
    }

    /// A line will not be said, or nobody waits for it any more.
    pub(crate) fn give_up(&mut self, passage: Passage) {
        match passage {
            Passage::Waiting => {}
            Passage::Judging(number) => {
                if let Some(asked) = self.guard.asked.as_mut().filter(|asked| asked.number == number) {
                    asked.is_given_up = true;
                }
                if self.guard.judged.remove(&number).is_some() {
                    self.drop_matter(number);
                }
            }
            Passage::Held { number, question, .. } => {
                self.withdraw(question);
                self.drop_matter(number);
            }
            Passage::Cleared { number, .. } => self.drop_matter(number),
        }
    }
}

/// Stands for the policies where a line is refused for its label, or a call for its tool's name, which is then in no
/// audit.
const LABEL: &str = "label";
/// Stands there for a tool's name.
const WITHHELD: &str = "(name withheld)";

/// What the guard is asked about.
fn matter(line: Passing<'_>) -> Matter {
    let text = || Text(String::from_utf8_lossy(line.payload).into_owned());
    match line.what {
        What::Line => Matter::Line {
            speaker: line.from.to_owned(),
            by_operator: matches!(line.by, Speaker::Operator(_)),
            to: line.to.to_owned(),
            label: Text(line.label.to_owned()),
            payload: Text(STANDARD.encode(line.payload)),
        },
        What::Call(hints) => Matter::Call {
            speaker: line.from.to_owned(),
            tool: line.to.to_owned(),
            arguments: text(),
            hints,
            undeclared: line.undeclared.to_vec(),
        },
        What::Returned => {
            Matter::Returned { tool: line.from.to_owned(), to: line.to.to_owned(), text: text() }
        }
    }
}

/// What the audit has of a judgement: kinds, lengths and commitments.
pub(super) fn decided(
    key: &DerivedKey,
    (number, at): (u32, Timestamp),
    judgement: &Judgement,
    line: Passing<'_>,
) -> Decided {
    let commitment = |bytes: &[u8]| hex::text(&key.commit(bytes));
    let found = judgement.found.iter().map(|found| {
        let bytes = line.payload.get(found.span.0..found.span.1).unwrap_or_default();
        Part {
            kind: found.kind.clone(),
            length: bytes.len() as u64,
            commitment: commitment(bytes),
            of: found.of.clone(),
        }
    });
    let is_named = judgement.policies != [LABEL];
    let to = match line.what {
        What::Call(_) if !is_named => {
            let server = line.to.split_once('/').map_or("", |(server, _)| server);
            format!("{server}/{WITHHELD}")
        }
        What::Call(_) | What::Line | What::Returned => line.to.to_owned(),
    };
    Decided {
        number,
        at,
        from: line.from.to_owned(),
        to,
        label: if is_named || matches!(line.what, What::Call(_)) {
            line.label.to_owned()
        } else {
            String::new()
        },
        by: line.by.to_string(),
        bytes: line.payload.len() as u64,
        commitment: commitment(line.payload),
        found: found.collect(),
        confidentiality: degree_name(judgement.confidentiality).to_owned(),
        suspicion: judgement.suspicion,
        risk: judgement.risk,
        effect: judgement.effect,
        policies: judgement.policies.clone(),
        // What else the guard says may be of what was said.
        because: judgement.policies.is_empty().then(|| NO_POLICY.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sessile_model::guarding::{Found, Value};
    use sessile_vault::keys::RootKey;
    use sha2::{Digest as _, Sha256};

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// Payloads are of letters that nothing else in an entry is of.
        #[test]
        fn nothing_of_what_was_said_is_in_an_entry(
            payload in "[G-Z ]{8,200}",
            spans in proptest::collection::vec((0usize..220, 0usize..220), 0..8),
        ) {
            let found = spans.iter().map(|&(a, b)| Found {
                kind: "card".into(),
                span: (a.min(b), a.max(b)),
                confidentiality: 3,
                of: None,
            });
            let value = Value { value: Text(payload.clone()), confidentiality: 3, owner: "a".into(), readers: Default::default() };
            let judgement = Judgement {
                effect: Effect::Reject,
                policies: vec!["p".into()],
                because: Some(payload.clone()),
                found: found.collect(),
                confidentiality: 3,
                suspicion: 0,
                risk: 0,
                learns: vec![value],
            };
            let by = Speaker::Operator(None);
            let line = Passing { from: "a", by: &by, key: None, to: "b", label: "c", payload: payload.as_bytes(), what: What::Line, undeclared: &[] };
            let key = RootKey::generate().unwrap().derive(&Purpose::Audit);
            let at = (1, Timestamp::from_millis(0));
            let entry = AuditEntry::Decided(Box::new(decided(&key, at, &judgement, line)));
            let mut entry = serde_json::to_value(&entry).unwrap();
            // The time's own letters are no payload's.
            entry["at"].take();
            let text = entry.to_string();
            prop_assert!(!text.bytes().any(|byte| (b'G'..=b'Z').contains(&byte)), "{}", text);
            prop_assert!(!text.contains(&hex::text(&Sha256::digest(&payload))[..32]), "a digest can be guessed");
            // Nor a tool's name that tells something.
            let to = format!("desk/{}", payload.replace(' ', "_"));
            let refused = Judgement { policies: vec![LABEL.into()], learns: Vec::new(), ..judgement };
            let line = Passing { to: &to, what: What::Call(Hints::default()), ..line };
            let entry = decided(&key, at, &refused, line);
            prop_assert_eq!(&*entry.to, "desk/(name withheld)");
            let named = Judgement { policies: vec!["p".into()], ..refused };
            prop_assert_eq!(decided(&key, at, &named, line).to, to);
        }
    }
}
