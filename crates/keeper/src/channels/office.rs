//! How a conversation is closed by who may, and how a role is handed over.

use std::collections::BTreeMap;

use sessile_model::hex;
use sessile_model::protocol::{
    CloseTalk, Closing, Delegate, Delegated, ProtocolRecord, ProtocolSpec, Speaker,
};
use sessile_model::{Problem, ProblemKind};
use sessile_protocol::monitor::event::{By, Close};
use sessile_protocol::monitor::setup::{Closer, Participant};
use sessile_protocol::monitor::{CloseError, DelegateError, Monitor};
use sessile_protocol::plan::Plan;
use sessile_session::Note;

use super::requests::refused;
use super::{Caller, Channels, Conversation, LineError, OpeningError};
use crate::keeper::Keeper;

/// Who may close the conversation beside operators.
pub(super) fn closers(spec: &ProtocolSpec, plan: &Plan) -> Result<Vec<Closer>, OpeningError> {
    let closer = |(name, how): (&String, &Closing)| {
        let role = plan.role(name).ok_or_else(|| OpeningError::Closer(name.clone()))?;
        Ok(Closer { role, may_abort: *how == Closing::Abort })
    };
    spec.closers.iter().map(closer).collect()
}

/// Who speaks for each role now.
pub(super) fn speakers(plan: &Plan, monitor: &Monitor) -> BTreeMap<String, Speaker> {
    let speaker = |name: &str| monitor.participant(plan.role(name)?)?.name().parse().ok();
    plan.roles().iter().filter_map(|name| Some((name.to_string(), speaker(name)?))).collect()
}

impl Channels {
    /// Closes the conversation, as an operator or as a role, and says whether it was open until now.
    ///
    /// # Errors
    /// When who asks may not, or it cannot be logged.
    pub fn conclude(&mut self, asked: &Speaker, role: Option<&str>, how: Closing) -> Result<bool, LineError> {
        let by = match (role, asked) {
            (Some(role), _) => By::Role(self.spoken(asked, role)?),
            (None, Speaker::Operator(_)) => By::Operator,
            (None, Speaker::App(_)) => return Err(LineError::NoOperator(asked.clone())),
        };
        let how = match how {
            Closing::Drain => Close::Drain,
            Closing::Abort => Close::Abort,
        };
        match self.monitor.close(by, how) {
            Ok(()) => self.settle(&[]).map(|_| true),
            Err(CloseError::Ended) => Ok(false),
            Err(CloseError::NotAllowed) => Err(LineError::NotCloser(role.unwrap_or_default().to_owned())),
        }
    }

    /// Has another speak for a role: an operator whichever, who speaks for a role that one.
    ///
    /// # Errors
    /// When who asks may not, the other cannot, or it cannot be logged.
    pub fn delegate(&mut self, asked: &Speaker, wanted: &Delegate) -> Result<Delegated, LineError> {
        let role = self.role(&wanted.role)?;
        let by = match asked {
            Speaker::Operator(_) => By::Operator,
            Speaker::App(_) => By::Role(self.spoken(asked, &wanted.role)?),
        };
        let withdrawn = self.monitor.key(role).map(|key| hex::text(&key.to_bytes()));
        let from = self.speakers.get(&wanted.role).cloned().unwrap_or_else(|| asked.clone());
        let to = Participant::new(&wanted.to.to_string());
        let given = self.monitor.delegate(by, role, to, None);
        let given = given.map_err(|error| self.ungiven(error, wanted, &from))?;
        self.settle(&[])?;
        self.speakers.insert(wanted.role.clone(), wanted.to.clone());
        // What the one before had and did not take, the next one hears.
        self.held.drop_of(&role);
        Ok(Delegated {
            session: hex::text(&given.session.0),
            role: wanted.role.clone(),
            by: match by {
                By::Operator => "operator".to_owned(),
                By::Role(_) => wanted.role.clone(),
            },
            from,
            to: wanted.to.clone(),
            withdrawn,
            epoch: given.epoch,
            state: hex::text(&given.state.0),
        })
    }

    fn ungiven(&self, error: DelegateError, wanted: &Delegate, from: &Speaker) -> LineError {
        match error {
            DelegateError::HasRole if wanted.to == *from => {
                LineError::SameSpeaker(wanted.role.clone(), from.clone())
            }
            DelegateError::HasRole => LineError::HasRole(wanted.to.clone()),
            DelegateError::TooOften => LineError::TooOften(wanted.role.clone()),
            DelegateError::Ended => self.over(&wanted.role),
            // None of these is asked for.
            DelegateError::UnknownRole(_)
            | DelegateError::NotAllowed
            | DelegateError::Name
            | DelegateError::Key => self.over(&wanted.role),
        }
    }
}

impl Keeper {
    /// Closes the conversation, and tells how it stands.
    pub(crate) fn close_talk(
        &mut self,
        caller: &Caller,
        close: &CloseTalk,
    ) -> Result<ProtocolRecord, Problem> {
        let role = close.role.as_deref();
        let asked = self.asks_for_lines(caller, role)?;
        if let Conversation::None = self.talk.conversation
            && let Some(ended) = self.protocol_record()
        {
            return Ok(ended);
        }
        let concluded = self.channels()?.conclude(&asked, role, close.how);
        if concluded.map_err(|error| refused(&self.heed_loss(error)))? {
            self.note(Note::TalkClosed { role: close.role.clone(), how: close.how });
        }
        self.journal_violations();
        let none = || Problem::new(ProblemKind::Failed, "the session has no conversation any more");
        self.protocol_record().ok_or_else(none)
    }

    /// Has another speak for a role.
    pub(crate) fn delegate(&mut self, caller: &Caller, wanted: &Delegate) -> Result<Delegated, Problem> {
        let asked = match caller {
            // Whoever runs the session gives any role away.
            Caller::Client { .. } => Speaker::Operator(None),
            Caller::Guest(_) => self.asks_for_lines(caller, Some(&wanted.role))?,
        };
        let delegated = self.channels()?.delegate(&asked, wanted);
        let delegated = delegated.map_err(|error| refused(&self.heed_loss(error)))?;
        let Delegated { role, by, from, to, epoch, .. } = delegated.clone();
        self.note(Note::Delegated { role, by, from, to, epoch });
        self.changed = true;
        self.renew_channels();
        Ok(delegated)
    }
}
