//! Lines of a session without a protocol: the operator and the apps, each by its name, say to each other what they like.
//!
//! ```text
//! a line ─► speaker? ─► room? ─► guard ─► still room? ─► log ─► acknowledged
//! a recv ─► speaker? ─► looked at ─► written out by who asked ─► taken: log
//! ```
//!
//! There is nothing of it before the first line. As with a protocol, nothing is acknowledged before it is in the
//! log, and what could not be logged did not happen. Of what several have said the oldest is heard first.

use std::collections::{BTreeMap, VecDeque};
use std::os::fd::{BorrowedFd, OwnedFd};

use serde::{Deserialize, Serialize};
use sessile_model::ids::AppName;
use sessile_model::protocol::{LONGEST_PAYLOAD, Signing, Speaker, Standing};
use sessile_model::quantity::Timestamp;

use super::holds::Holds;
use super::listening::REMEMBERED;
use super::log::{Log, LogError};
use super::repeats::{Mark, Repeats};
use super::{AdoptError, Fields, Heard, LineError, Offered, Token, put_field};

/// The name under which the anchor keeps the log.
pub const NAME: &str = "lines";
/// What the operator is called.
pub const OPERATOR: &str = "operator";
/// How many lines wait from one to another.
const CAPACITY: usize = 16;
/// How many wait at most.
const MOST_WAITING: usize = 256;
/// In how many directions something was said at most.
const MOST_WAYS: usize = 256;

/// A session's lines.
#[derive(Debug)]
pub struct Free {
    known: Known,
    log: Log,
    held: Holds<String>,
    /// Nothing more is said.
    is_over: bool,
}

/// What the log has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Known {
    /// What waits, in the order in which it was said.
    lines: VecDeque<Line>,
    /// How many lines were said, by whom to whom.
    said: BTreeMap<String, BTreeMap<String, u64>>,
    repeats: Repeats,
    taken: VecDeque<Taken>,
}

/// A line that waits. What it carries stands behind it in the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Line {
    from: String,
    to: String,
    label: String,
    sequence: u64,
    #[serde(skip)]
    payload: Vec<u8>,
}

/// A line that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Taken {
    listener: String,
    from: String,
    sequence: u64,
    by: Option<Token>,
}

/// What is appended to the log.
#[derive(Serialize, Deserialize)]
enum Step {
    /// A line was said. What it carries is the next field.
    Said(Line, Mark),
    /// One was taken.
    Taken(Taken),
}

/// What somebody who takes part is called.
pub fn name_of(speaker: &Speaker) -> String {
    match speaker {
        Speaker::Operator(_) => OPERATOR.to_owned(),
        Speaker::App(app) => app.to_string(),
    }
}

impl Known {
    fn count(&self, from: &str, to: &str) -> u64 {
        self.said.get(from).and_then(|said| said.get(to)).copied().unwrap_or(0)
    }

    fn waiting<'a>(&'a self, from: &'a str, to: &'a str) -> impl Iterator<Item = &'a Line> {
        self.lines.iter().filter(move |line| line.from == from && line.to == to)
    }

    /// Does what is in the log.
    fn follow(&mut self, step: Step) {
        match step {
            Step::Said(line, mark) => {
                self.repeats.remember(mark, line.sequence);
                let said = self.said.entry(line.from.clone()).or_default();
                said.insert(line.to.clone(), line.sequence + 1);
                self.lines.push_back(line);
            }
            Step::Taken(taken) => {
                let Taken { listener, from, sequence, .. } = &taken;
                self.lines
                    .retain(|line| (&line.to, &line.from, line.sequence) != (listener, from, *sequence));
                if self.taken.len() == REMEMBERED {
                    self.taken.pop_front();
                }
                self.taken.push_back(taken);
            }
        }
    }

    fn record(&self) -> Result<Vec<u8>, LogError> {
        let mut record = Vec::new();
        put_field(&mut record, &serde_json::to_vec(self).map_err(std::io::Error::from)?);
        for line in &self.lines {
            put_field(&mut record, &line.payload);
        }
        Ok(record)
    }
}

impl Free {
    /// Begins with nothing said.
    ///
    /// # Errors
    /// When there is no memory for the log.
    pub fn open() -> Result<Self, LogError> {
        let known = Known::default();
        let log = Log::begin(&known.record()?)?;
        Ok(Self { known, log, held: Holds::default(), is_over: false })
    }

    /// Takes over what a predecessor kept.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn adopt(file: OwnedFd) -> Result<Self, AdoptError> {
        let (log, records) = Log::adopt(file)?;
        let mut records = records.into_iter();
        let first = records.next().ok_or(AdoptError::Record)?;
        let mut fields = Fields(&first);
        let mut known: Known = serde_json::from_slice(fields.field()?).map_err(|_| AdoptError::Record)?;
        for line in &mut known.lines {
            line.payload = fields.field()?.to_vec();
        }
        for record in records {
            let mut fields = Fields(&record);
            let mut step = serde_json::from_slice(fields.field()?).map_err(|_| AdoptError::Record)?;
            if let Step::Said(line, _) = &mut step {
                line.payload = fields.field()?.to_vec();
            }
            known.follow(step);
        }
        Ok(Self { known, log, held: Holds::default(), is_over: false })
    }

    /// Whether a line may be said now: nothing has changed then. Of a line that was said before, the how-manieth
    /// it was.
    ///
    /// # Errors
    /// When it may not be said.
    pub fn admit(
        &self,
        asked: &Speaker,
        (from, to): (&str, &str),
        (label, payload): (&str, &[u8]),
        token: Token,
    ) -> Result<Option<u64>, LineError> {
        spoken(asked, from)?;
        if let Some((known, sequence)) = self.known.repeats.with(token) {
            let mark = Mark::of((from, to), (label, payload), (token, None));
            return if mark == known { Ok(Some(sequence)) } else { Err(LineError::Used) };
        }
        if self.is_over {
            return Err(LineError::Over(from.to_owned()));
        }
        if from == to {
            return Err(LineError::Itself(from.to_owned()));
        }
        if payload.len() > LONGEST_PAYLOAD {
            return Err(LineError::TooLong);
        }
        let ways = || self.known.said.values().map(BTreeMap::len).sum::<usize>();
        if self.known.count(from, to) == 0 && ways() >= MOST_WAYS {
            return Err(LineError::TooManyWays(MOST_WAYS));
        }
        match self.has_room(from, to) {
            true => Ok(None),
            false => Err(LineError::Full(to.to_owned())),
        }
    }

    fn has_room(&self, from: &str, to: &str) -> bool {
        self.known.lines.len() < MOST_WAITING && self.known.waiting(from, to).count() < CAPACITY
    }

    /// Says a line, if it still may be said, and has the other hear something instead of what it carries where
    /// that is given. One that was said before changes nothing. Gives the how-manieth line it is from the one to
    /// the other.
    ///
    /// # Errors
    /// When it is not said.
    pub fn deliver(
        &mut self,
        asked: &Speaker,
        (from, to): (&str, &str),
        (label, payload): (&str, &[u8]),
        token: Token,
        instead: Option<&[u8]>,
    ) -> Result<u64, LineError> {
        if let Some(sequence) = self.admit(asked, (from, to), (label, payload), token)? {
            return Ok(sequence);
        }
        let mark = Mark::of((from, to), (label, payload), (token, None));
        let sequence = self.known.count(from, to);
        self.log(Step::Said(
            Line {
                from: from.to_owned(),
                to: to.to_owned(),
                label: label.to_owned(),
                sequence,
                payload: instead.unwrap_or(payload).to_vec(),
            },
            mark,
        ))?;
        Ok(sequence)
    }

    /// What somebody would hear next, from this one or from whomever. It stays until it is [taken](Self::take);
    /// for a moment it is for those with this token alone.
    ///
    /// # Errors
    /// When there is nothing, or somebody else hears it.
    pub fn look(
        &mut self,
        asked: &Speaker,
        (listener, from): (&str, Option<&str>),
        token: Option<Token>,
        now: Timestamp,
    ) -> Result<Heard, LineError> {
        spoken(asked, listener)?;
        let role = listener.to_owned();
        if self.held.is_anothers(&role, token, now) {
            return Err(LineError::Held(role));
        }
        let is_next = |line: &&Line| line.to == listener && from.is_none_or(|from| line.from == from);
        let Some(line) = self.known.lines.iter().find(is_next) else {
            return Err(if self.is_over { LineError::Over(role) } else { LineError::Nothing(role) });
        };
        let heard = Heard {
            from: line.from.clone(),
            label: line.label.clone(),
            payload: line.payload.clone(),
            sequence: line.sequence,
        };
        self.held.put(role, token, (heard.from.clone(), heard.sequence), now);
        Ok(heard)
    }

    /// Whether something that somebody said waits to be heard.
    pub fn waits_from(&self, from: &str) -> bool {
        self.known.lines.iter().any(|line| line.from == from)
    }

    /// When a line that somebody has is others' again.
    pub fn released(&self, now: Timestamp) -> Option<Timestamp> {
        self.held.released(now)
    }

    /// Takes a line that was looked at. Once taken, taking it again changes nothing.
    ///
    /// # Errors
    /// When it is not the next one, nobody has looked at it, or another than with this token did last.
    pub fn take(
        &mut self,
        asked: &Speaker,
        listener: &str,
        (from, sequence): (&str, u64),
        token: Option<Token>,
    ) -> Result<(), LineError> {
        spoken(asked, listener)?;
        let anothers = |by: Option<Token>| by.is_some() && token.is_some() && by != token;
        let next = self.known.waiting(from, listener).next().map(|line| line.sequence);
        if sequence < next.unwrap_or_else(|| self.known.count(from, listener)) {
            let is_this = |taken: &&Taken| {
                (&*taken.listener, &*taken.from, taken.sequence) == (listener, from, sequence)
            };
            return match self.known.taken.iter().find(is_this) {
                Some(taken) if anothers(taken.by) => Err(LineError::Anothers(listener.to_owned())),
                Some(_) | None => Ok(()),
            };
        }
        if next != Some(sequence) {
            return Err(LineError::NotNext);
        }
        let (listener, from) = (listener.to_owned(), from.to_owned());
        let by = self.held.by(&listener, (&from, sequence)).ok_or(LineError::NotHeard)?;
        if anothers(by) {
            return Err(LineError::Anothers(listener));
        }
        let by = token.or(by);
        self.log(Step::Taken(Taken { listener: listener.clone(), from, sequence, by }))?;
        self.held.drop_of(&listener);
        Ok(())
    }

    /// What somebody may say, to each of these, or hear.
    ///
    /// # Errors
    /// When it is somebody else's to say.
    pub fn offered(&self, asked: &Speaker, role: &str, others: &[String]) -> Result<Vec<Offered>, LineError> {
        spoken(asked, role)?;
        let says = others.iter().filter(|to| *to != role && !self.is_over).map(|to| Offered {
            says: true,
            peer: to.clone(),
            label: String::new(),
            payload: vec!["text".to_owned()],
            ready: self.has_room(role, to),
            left: None,
        });
        let mut offers: Vec<Offered> = says.collect();
        for line in self.known.lines.iter().filter(|line| line.to == role) {
            if offers.iter().all(|offer| offer.says || offer.peer != line.from) {
                offers.push(Offered {
                    says: false,
                    peer: line.from.clone(),
                    label: line.label.clone(),
                    payload: vec!["text".to_owned()],
                    ready: true,
                    left: None,
                });
            }
        }
        Ok(offers)
    }

    /// How many lines were said.
    pub fn said(&self) -> u64 {
        self.known.said.values().flat_map(BTreeMap::values).sum()
    }

    /// Nothing more is said from here on; what was said can be heard.
    pub fn close(&mut self) {
        self.is_over = true;
    }

    /// The log's file, for the anchor's store.
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.log.fd()
    }

    /// Whether most of the log is over.
    pub fn is_worth_renewing(&self) -> bool {
        self.log.is_worth_renewing()
    }

    /// Goes on with a new log, once it is `kept` under the name of the one before, which is overwritten.
    ///
    /// # Errors
    /// When there is no memory for it, or it is not kept; then the log before goes on.
    pub fn renew<E: From<LogError>>(
        &mut self,
        kept: impl FnOnce(BorrowedFd<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        self.log.renew(&self.known.record()?, kept)
    }

    /// Logs something, and only then does it.
    fn log(&mut self, step: Step) -> Result<(), LogError> {
        let mut record = Vec::new();
        put_field(&mut record, &serde_json::to_vec(&step).map_err(std::io::Error::from)?);
        if let Step::Said(line, _) = &step {
            put_field(&mut record, &line.payload);
        }
        self.log.append(&record)?;
        self.known.follow(step);
        Ok(())
    }
}

/// What is told of a line before it is said: here it is not signed.
pub fn standing(session: String, asked: &Speaker, role: &str) -> Result<Standing, LineError> {
    spoken(asked, role)?;
    Ok(Standing {
        signing: Signing::Unsigned,
        speaker: asked.clone(),
        key: None,
        session,
        protocol: String::new(),
        epoch: 0,
        sequence: 0,
        link: String::new(),
        payload: Vec::new(),
        free: true,
    })
}

/// Whether this is who is called so.
fn spoken(asked: &Speaker, name: &str) -> Result<(), LineError> {
    if name_of(asked) == name {
        return Ok(());
    }
    let speaker = match name.parse::<AppName>() {
        Ok(app) if name != OPERATOR => Speaker::App(app),
        Ok(_) | Err(_) => Speaker::Operator(None),
    };
    Err(LineError::NotYours { role: name.to_owned(), speaker, asked: asked.clone() })
}

#[cfg(test)]
mod tests;
