//! What is wrong with a machine, and what is said of it.

use crate::diagnostic::{Code, Move, Problem};
use crate::local::Action;
use crate::session::{RoleId, Whole};
use crate::syntax::Symbols;

/// Who did what.
pub(super) type Done = (RoleId, Action);

/// In which way a machine is wrong.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// The send belongs to another branch.
    Send,
    /// The message may be there before this one, which comes first in its branch.
    Receive { other: Action },
}

/// What is wrong with the machine of a role.
#[derive(Debug)]
pub(super) struct Fault {
    pub kind: Kind,
    pub role: RoleId,
    /// What is sent or received.
    pub action: Action,
    /// A run that shows it, whose last move is the one that no run of the protocol has; empty where none
    /// was found within the limits.
    pub run: Vec<Done>,
}

impl Fault {
    /// How many moves show it.
    pub(super) fn moves(&self) -> usize {
        if self.run.is_empty() { usize::MAX } else { self.run.len() }
    }

    pub(super) fn problem(&self, whole: &Whole, symbols: &Symbols) -> Problem {
        let name = |role: RoleId| whole.role(role, symbols);
        let shown = |action: &Action| whole.messages.shown(action.message, symbols);
        let (role, one) = (name(self.role), shown(&self.action));
        let (code, text) = match &self.kind {
            Kind::Send => {
                (Code::SendValidity, format!("{role} may send {one}, but cannot know that it should"))
            }
            Kind::Receive { other } => {
                let (from, second, other) = (name(self.action.peer), name(other.peer), shown(other));
                let text = format!(
                    "{role} may take {one} from {from} where {other} from {second} comes first, and cannot \
                     tell the branch"
                );
                (Code::ReceiveValidity, text)
            }
        };
        let step = |(role, action): &Done| Move {
            role: name(*role).into(),
            act: action.act,
            peer: name(action.peer).into(),
            message: shown(action).into(),
        };
        Problem::at(code, self.action.span, text).with_trace(self.run.iter().map(step).collect())
    }
}
