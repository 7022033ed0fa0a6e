//! Hearing: a line is looked at, written out by who asked for it, and taken.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use sessile_model::protocol::Speaker;
use sessile_model::quantity::Timestamp;
use sessile_protocol::machine::Role;
use sessile_protocol::monitor::RecvError;
use sessile_protocol::monitor::event::{Event, What};

use super::{Channels, Heard, LineError, Token};

/// Of how many lines it is known who took them, should they be taken again.
pub(super) const REMEMBERED: usize = 256;

/// The last lines that were taken with a token: listener, speaker, the how-manieth, and by whom.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Takes(VecDeque<(u16, u16, u64, Token)>);

impl Takes {
    /// Keeps what a record of the log says was taken, and with which token.
    pub(super) fn follow(&mut self, note: &[u8], events: &[Event]) {
        let Ok(token) = note.try_into().map(Token) else { return };
        for event in events {
            match event.what {
                What::Received { from, to, sequence, .. } => {
                    if self.0.len() == REMEMBERED {
                        self.0.pop_front();
                    }
                    self.0.push_back((to.0, from.0, sequence, token));
                }
                What::Opened { .. }
                | What::Sent { .. }
                | What::Introduced { .. }
                | What::EpochAdvanced { .. }
                | What::Closed { .. }
                | What::Faulted { .. } => {}
            }
        }
    }

    fn by(&self, (listener, from, sequence): (Role, Role, u64)) -> Option<Token> {
        let taken = self.0.iter().find(|(l, f, s, _)| (*l, *f, *s) == (listener.0, from.0, sequence));
        taken.map(|(_, _, _, token)| *token)
    }
}

impl Channels {
    /// What a role would hear next, from somebody or from whomever. It stays until it is
    /// [taken](Self::take); for a moment it is for those with this token alone.
    ///
    /// # Errors
    /// When there is nothing, or the role is not to listen.
    pub fn look(
        &mut self,
        asked: &Speaker,
        (role, from): (&str, Option<&str>),
        token: Option<Token>,
        now: Timestamp,
    ) -> Result<Heard, LineError> {
        let (listener, from) = (self.spoken(asked, role)?, from.map(|from| self.role(from)).transpose()?);
        if self.held.is_anothers(&listener, token, now) {
            return Err(LineError::Held(role.to_owned()));
        }
        match self.monitor.peek(listener, from) {
            Ok(delivery) => {
                let (from, sequence) = (delivery.from, delivery.sequence);
                let heard = Heard {
                    from: self.name(from).to_owned(),
                    label: self.plan.messages()[delivery.message.0 as usize].label.to_string(),
                    payload: delivery.payload.bytes().to_vec(),
                    sequence,
                };
                self.held.put(listener, token, (from, sequence), now);
                Ok(heard)
            }
            Err(RecvError::Violation(violation)) => {
                self.refuse(&violation);
                self.settle(&[])?;
                Err(self.violated(&violation, "listen".to_owned()))
            }
            Err(RecvError::Empty) => Err(LineError::Nothing(role.to_owned())),
            Err(RecvError::Done | RecvError::Ended | RecvError::UnknownRole(_)) => Err(self.over(role)),
        }
    }

    /// When a line that somebody has is others' again.
    pub fn released(&self, now: Timestamp) -> Option<Timestamp> {
        self.held.released(now)
    }

    /// Takes a message that was looked at: it is written where it was to go. Once taken, taking it again
    /// changes nothing.
    ///
    /// # Errors
    /// When it is not the next one, nobody has looked at it, or another than with this token did last.
    pub fn take(
        &mut self,
        asked: &Speaker,
        role: &str,
        (from, sequence): (&str, u64),
        token: Option<Token>,
    ) -> Result<(), LineError> {
        let (listener, from) = (self.spoken(asked, role)?, self.role(from)?);
        let anothers = |by: Option<Token>| by.is_some() && token.is_some() && by != token;
        let sent = self.monitor.position(from, listener).ok_or(LineError::NotNext)?.sequence;
        if sequence < sent - self.monitor.queued(from, listener) as u64 {
            return match anothers(self.taken.by((listener, from, sequence))) {
                true => Err(LineError::Anothers(role.to_owned())),
                false => Ok(()),
            };
        }
        match self.monitor.peek(listener, Some(from)) {
            Ok(delivery) if delivery.sequence == sequence => {}
            Ok(_) | Err(_) => return Err(LineError::NotNext),
        }
        let by = self.held.by(&listener, (&from, sequence)).ok_or(LineError::NotHeard)?;
        if anothers(by) {
            return Err(LineError::Anothers(role.to_owned()));
        }
        let by = token.or(by);
        self.monitor.recv(listener, Some(from)).map_err(|_| LineError::NotNext)?;
        let note = by.as_ref().map_or(&[][..], |by| &by.0);
        let events = self.settle(note)?;
        self.taken.follow(note, &events);
        self.held.drop_of(&listener);
        Ok(())
    }
}
