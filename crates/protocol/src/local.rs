//! What one role does of a protocol.

use std::time::Duration;

use crate::diagnostic::{Act, Code, Problem, Span};
use crate::limits::Budget;
use crate::session::{Global, Interaction, Meeting, MessageId, Node, RoleId, prune};

/// What one role does with another.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Action {
    pub act: Act,
    pub peer: RoleId,
    pub message: MessageId,
    pub within: Option<Duration>,
    pub late: bool,
    pub span: Span,
}

/// Two actions are one wherever they stand in the file.
impl PartialEq for Action {
    fn eq(&self, other: &Action) -> bool {
        self.key() == other.key()
    }
}

impl Eq for Action {}

impl Action {
    /// Everything of the action that a machine depends on.
    pub(crate) fn key(&self) -> (Act, RoleId, MessageId, Option<Duration>, bool) {
        (self.act, self.peer, self.message, self.within, self.late)
    }

    /// Whether both look the same from outside: their bounds may differ.
    pub(crate) fn is_like(&self, other: &Action) -> bool {
        (self.act, self.peer, self.message) == (other.act, other.peer, other.message)
    }

    /// What the role does in an interaction, where it takes part.
    pub(crate) fn of(role: RoleId, act: &Interaction) -> Option<Action> {
        let sends = act.from == role;
        if !sends && act.to != role {
            return None;
        }
        let kind = match (act.meeting, sends) {
            (Meeting::Message, true) => Act::Send,
            (Meeting::Message, false) => Act::Receive,
            (Meeting::Connect, true) => Act::Connect,
            (Meeting::Connect, false) => Act::Accept,
            (Meeting::Disconnect, true | false) => Act::Disconnect,
        };
        Some(Action {
            act: kind,
            peer: if sends { act.to } else { act.from },
            message: act.message,
            within: act.within.filter(|_| sends),
            late: act.late && sends,
            span: act.span,
        })
    }

    /// What the peer does when this role does this.
    pub(crate) fn dual(&self, role: RoleId) -> Action {
        let act = match self.act {
            Act::Send => Act::Receive,
            Act::Receive => Act::Send,
            Act::Connect => Act::Accept,
            Act::Accept => Act::Connect,
            Act::Disconnect => Act::Disconnect,
        };
        Action { act, peer: role, ..*self }
    }
}

/// What one role does.
pub(crate) type Local = Vec<Node<Action>>;

/// What a role does of a whole protocol: the rest is left out, and so are branches, recursions and
/// ways round in which the role does nothing.
pub(crate) fn project(body: &Global, role: RoleId, budget: &mut Budget) -> Result<Local, Problem> {
    let mut projection = Projection { role, unguarded: Vec::new(), budget };
    Ok(prune(projection.sequence(body)?))
}

struct Projection<'a> {
    role: RoleId,
    /// Recursions that were entered without the role doing anything since.
    unguarded: Vec<u32>,
    budget: &'a mut Budget,
}

impl Projection<'_> {
    fn sequence(&mut self, body: &Global) -> Result<Local, Problem> {
        let mut local = Vec::new();
        for node in body {
            self.budget.spend(1)?;
            if let Some(node) = self.node(node)? {
                local.push(node);
                self.unguarded.clear();
            }
        }
        Ok(local)
    }

    fn node(&mut self, node: &Node<Interaction>) -> Result<Option<Node<Action>>, Problem> {
        Ok(match node {
            Node::Act(act) => Action::of(self.role, act).map(Node::Act),
            Node::Continue { variable, span } => Some(Node::Continue { variable: *variable, span: *span }),
            Node::Choice { subject, branches, span } => {
                let mut kept = Vec::new();
                for branch in branches {
                    let before = self.unguarded.clone();
                    self.budget.spend(before.len())?;
                    let local = self.sequence(branch)?;
                    self.unguarded = before;
                    let round = matches!(local[..], [Node::Continue { variable, .. }]
                        if self.unguarded.contains(&variable));
                    if !local.is_empty() && !round {
                        kept.push(local);
                    }
                }
                if kept.is_empty() {
                    return Ok(None);
                }
                self.unguarded.clear();
                Some(Node::Choice { subject: *subject, branches: kept, span: *span })
            }
            Node::Recursion { variable, body } => {
                self.unguarded.push(*variable);
                let local = self.sequence(body)?;
                let round = matches!(local[..], [Node::Continue { variable: to, .. }] if to == *variable);
                if local.is_empty() || round {
                    return Ok(None);
                }
                self.unguarded.retain(|known| known != variable);
                Some(Node::Recursion { variable: *variable, body: local })
            }
        })
    }
}

/// Nothing follows a `continue`, in any branch that comes before it.
///
/// # Errors
/// When something does.
pub(crate) fn check_reachable<A>(
    body: &[Node<A>],
    span: impl Fn(&A) -> Span,
    budget: &mut Budget,
) -> Result<(), Problem> {
    Reach { span, budget }.sequence(body, After::default()).map(|_| ())
}

/// What comes before a place.
#[derive(Debug, Clone, Default)]
struct After {
    /// No way leads here.
    cut: bool,
    /// Where ways went back to.
    open: Vec<u32>,
}

struct Reach<'a, F> {
    span: F,
    budget: &'a mut Budget,
}

impl<F> Reach<'_, F> {
    fn sequence<A>(&mut self, body: &[Node<A>], mut after: After) -> Result<After, Problem>
    where
        F: Fn(&A) -> Span,
    {
        for node in body {
            self.budget.spend(1 + after.open.len())?;
            if after.cut || !after.open.is_empty() {
                let text = "this follows a `continue`";
                let problem = Problem::new(Code::Unreachable, text);
                return Err(match self.begin(node) {
                    Some(span) => Problem { span: Some(span), ..problem },
                    None => problem,
                });
            }
            match node {
                Node::Act(_) => {}
                Node::Continue { variable, .. } => {
                    after.cut = true;
                    after.open.push(*variable);
                }
                Node::Recursion { variable, body } => {
                    after = self.sequence(body, after)?;
                    after.open.retain(|open| open != variable);
                }
                Node::Choice { branches, .. } => {
                    let mut merged = After { cut: true, open: Vec::new() };
                    for branch in branches {
                        let branch = self.sequence(branch, after.clone())?;
                        merged.cut &= branch.cut;
                        merged.open.extend(branch.open);
                        merged.open.sort_unstable();
                        merged.open.dedup();
                    }
                    after = merged;
                }
            }
        }
        Ok(after)
    }

    fn begin<A>(&self, node: &Node<A>) -> Option<Span>
    where
        F: Fn(&A) -> Span,
    {
        match node {
            Node::Act(act) => Some((self.span)(act)),
            Node::Choice { span, .. } | Node::Continue { span, .. } => Some(*span),
            Node::Recursion { body, .. } => self.begin(body.first()?),
        }
    }
}
