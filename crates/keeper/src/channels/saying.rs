//! Saying a line: admitted first, then, past the guard, admitted again and said.

use sessile_model::protocol::Speaker;
use sessile_protocol::machine::Role;
use sessile_protocol::monitor::event::Payload;
use sessile_protocol::monitor::{Admitted, Line, SendError};

use super::repeats::Mark;
use super::{Channels, LineError, Sealed, Token, seals, sequence_of};

impl Channels {
    /// Says a line that needs no guard: as [`admit`](Self::admit), then [`deliver`](Self::deliver).
    ///
    /// # Errors
    /// As theirs.
    #[cfg(test)]
    pub fn send(
        &mut self,
        asked: &Speaker,
        way: (&str, &str),
        line: (&str, &[u8]),
        by: (Token, Option<&Sealed>),
    ) -> Result<u64, LineError> {
        match self.admit(asked, way, line, by)? {
            Some(sequence) => Ok(sequence),
            None => self.deliver(asked, way, line, by, None),
        }
    }

    /// Whether a line may be said now: nothing has changed then, but that a key which comes with it for the
    /// first time is its speaker's from now on. A violation is noted. Of a line that was said before, the
    /// how-manieth it was.
    ///
    /// # Errors
    /// When it may not be said.
    pub fn admit(
        &mut self,
        asked: &Speaker,
        (role, to): (&str, &str),
        (label, payload): (&str, &[u8]),
        (token, sealed): (Token, Option<&Sealed>),
    ) -> Result<Option<u64>, LineError> {
        let (from, to) = (self.spoken(asked, role)?, self.role(to)?);
        if let Some(sequence) = self.repeated((from, to), (label, payload), (token, sealed))? {
            return Ok(Some(sequence));
        }
        let admitted = self.admitted((from, to), label, payload, sealed)?;
        if let Err(SendError::Violation(violation)) = &admitted {
            self.refuse(violation);
        }
        self.settle(&[])?;
        match admitted {
            Ok(_) => Ok(None),
            Err(error) => Err(self.unsaid(error, role, to, label)),
        }
    }

    fn admitted(
        &mut self,
        (from, to): (Role, Role),
        label: &str,
        payload: &[u8],
        sealed: Option<&Sealed>,
    ) -> Result<Result<Admitted, SendError>, LineError> {
        let message = match self.monitor.message_called(from, to, label) {
            Ok(message) => message,
            Err(error) => return Ok(Err(error)),
        };
        self.carries(message, payload)?;
        let (payload, seal) = seals::sealed_payload(payload, sealed);
        let line = Line { from, to, message, payload, seal };
        match self.introduced(&line, sealed)? {
            Some(error) => Ok(Err(error)),
            None => Ok(self.monitor.admit(line)),
        }
    }

    /// Says a line as a role, if it still may be said, and has the other hear something instead of what it
    /// carries where that is given. One that was said before changes nothing. Gives
    /// the how-manieth line it is from that role to that other. What was admitted once and waited is no
    /// violation.
    ///
    /// # Errors
    /// When it is not said.
    pub fn deliver(
        &mut self,
        asked: &Speaker,
        (role, to): (&str, &str),
        (label, payload): (&str, &[u8]),
        (token, sealed): (Token, Option<&Sealed>),
        instead: Option<&[u8]>,
    ) -> Result<u64, LineError> {
        let (from, to) = (self.spoken(asked, role)?, self.role(to)?);
        if let Some(sequence) = self.repeated((from, to), (label, payload), (token, sealed))? {
            return Ok(sequence);
        }
        let mark = Mark::of((role, self.name(to)), (label, payload), (token, sealed));
        let admitted = self.admitted((from, to), label, payload, sealed)?;
        let sent = admitted.and_then(|admitted| {
            let admitted = match instead {
                Some(instead) => admitted.delivering(Payload::new(instead)),
                None => admitted,
            };
            self.monitor.commit(admitted)
        });
        let note = mark.encoded();
        let events = self.settle(if sent.is_ok() { &note } else { &[] })?;
        match sent {
            Ok(_) => {
                let sequence = sequence_of(&events);
                self.said.remember(mark, sequence);
                Ok(sequence)
            }
            Err(error) => Err(self.unsaid(error, role, to, label)),
        }
    }
}
