//! What is told of a conversation: how it stands, what was wrong with a line, and what was expected.

use sessile_model::protocol::{OnViolation, ProtocolRecord, ProtocolStatus, Unheard};
use sessile_protocol::machine::{Direction, Message, Role};
use sessile_protocol::monitor::SendError;
use sessile_protocol::monitor::event::{Offending, Status, Violation};

use super::{Channels, LineError, TalkFacts};

/// How much of what was expected is told.
const MOST_TOLD: usize = 8;

impl Channels {
    /// How the conversation stands, for the session's record.
    pub fn record(&self, facts: &TalkFacts) -> ProtocolRecord {
        let unheard = self.monitor.lost().iter().map(|lost| Unheard {
            from: self.name(lost.from).to_owned(),
            to: self.name(lost.to).to_owned(),
            label: self.plan.messages()[lost.message.0 as usize].label.to_string(),
            sequence: lost.sequence,
        });
        ProtocolRecord {
            name: self.plan.name().to_owned(),
            roles: self.speakers.clone(),
            on_violation: self.spec.on_violation,
            signing: self.signing(),
            closers: self.spec.closers.clone(),
            epoch: self.monitor.epoch(),
            status: match self.monitor.status() {
                Status::Active => ProtocolStatus::Active,
                Status::Draining { .. } => ProtocolStatus::Draining,
                Status::Closed { .. } => ProtocolStatus::Closed,
                Status::Cancelled { .. } => ProtocolStatus::Cancelled,
                Status::Faulted { violation } => {
                    ProtocolStatus::Faulted { violation: self.noted(violation).to_string() }
                }
            },
            violations: facts.violations,
            last_violations: facts.last_violations.iter().cloned().collect(),
            unheard: unheard.collect(),
        }
    }

    /// What was refused, or ended the conversation, since this was last asked, and whether the session
    /// is to end with it.
    pub fn take_violations(&mut self) -> (Vec<sessile_session::Violation>, bool) {
        let ends = match (self.monitor.status(), self.spec.on_violation) {
            (Status::Faulted { .. }, OnViolation::Fault) => true,
            (Status::Faulted { .. }, OnViolation::Refuse)
            | (
                Status::Active | Status::Draining { .. } | Status::Closed { .. } | Status::Cancelled { .. },
                _,
            ) => false,
        };
        (std::mem::take(&mut self.violations), ends)
    }

    pub(super) fn noted(&self, violation: &Violation) -> sessile_session::Violation {
        let label = |message: &Message| self.plan.messages()[message.0 as usize].label.to_string();
        sessile_session::Violation {
            role: self.name(violation.role).to_owned(),
            code: violation.code.name().to_owned(),
            label: match &violation.offending {
                Offending::Said { message, .. } | Offending::Arrived { message, .. } => Some(label(message)),
                // What nothing is called may be anything: it is kept nowhere.
                Offending::SaidUnknown { .. } => Some("(no such label)".to_owned()),
                Offending::Listened { .. } | Offending::Silence { .. } => None,
            },
        }
    }

    pub(super) fn unsaid(&self, error: SendError, role: &str, to: Role, label: &str) -> LineError {
        match error {
            SendError::Violation(violation) => {
                self.violated(&violation, format!("say {} to {}", plain(label), self.name(to)))
            }
            SendError::Full | SendError::Overflow => LineError::Full(self.name(to).to_owned()),
            SendError::TooLong { .. } => LineError::TooLong,
            SendError::Ambiguous => LineError::Ambiguous(label.to_owned()),
            SendError::Stale { .. } | SendError::Overtaken => LineError::Overtaken(role.to_owned()),
            SendError::NotSigned => LineError::NotSigned,
            SendError::Ended
            | SendError::UnknownRole(_)
            | SendError::UnknownMessage(_)
            | SendError::Guarded => self.over(role),
        }
    }

    /// Why there is nothing more for a role.
    pub(super) fn over(&self, role: &str) -> LineError {
        match self.monitor.status() {
            Status::Faulted { violation } => {
                LineError::Faulted(role.to_owned(), self.noted(violation).to_string())
            }
            Status::Draining { .. } | Status::Closed { by: Some(_) } | Status::Cancelled { .. } => {
                LineError::Concluded(role.to_owned())
            }
            Status::Active | Status::Closed { by: None } => LineError::Over(role.to_owned()),
        }
    }

    pub(super) fn violated(&self, violation: &Violation, what: String) -> LineError {
        let label = |message: Message| &self.plan.messages()[message.0 as usize].label;
        let expected = violation.expected.iter().map(|step| match step.direction {
            Direction::Send => format!("say {} to {}", label(step.message), self.name(step.peer)),
            Direction::Receive => format!("hear {} from {}", label(step.message), self.name(step.peer)),
        });
        let mut expected: Vec<String> = expected.take(MOST_TOLD).collect();
        if let more @ 1.. = violation.expected.len().saturating_sub(MOST_TOLD) {
            expected.push(format!("do one of {more} other things"));
        }
        let expected = expected.join(", or ");
        // Where the protocol allows it, it is the signature that does not fit.
        let is_allowed = violation.expected.iter().any(|step| {
            step.direction == Direction::Send
                && what == format!("say {} to {}", label(step.message), self.name(step.peer))
        });
        let expected = match expected {
            _ if is_allowed => "it is not signed as this line is to be signed now".to_owned(),
            none if none.is_empty() => "it is done".to_owned(),
            expected => format!("it may {expected}"),
        };
        LineError::Violation {
            code: violation.code.name(),
            role: self.name(violation.role).to_owned(),
            what,
            expected,
        }
    }
}

/// A label that somebody made up, in a sentence.
fn plain(label: &str) -> String {
    let shown = |c: char| if c.is_control() { c.escape_default().collect() } else { vec![c] };
    label.chars().flat_map(shown).collect()
}
