//! A session's lines: held to its protocol, or free where it has none.

use sessile_model::ids::AppName;
use sessile_model::protocol::{Speaker, Stand, Standing};
use sessile_model::quantity::Timestamp;
use sessile_model::state::State;
use sessile_model::{Problem, ProblemKind, hex};

use super::free::{self, Free};
use super::requests::refused;
use super::{Caller, Channels, Conversation, Heard, LineError, Offered, Sealed, Token};
use crate::bringup::failed;
use crate::keeper::Keeper;

/// What there is to speak by.
pub(super) enum Lines<'a> {
    /// The session's protocol.
    Typed(&'a mut Channels),
    /// None: who takes part says what they like.
    Free(&'a mut Free),
}

/// What comes with a line besides what it carries.
type By<'a> = (Token, Option<&'a Sealed>);

impl Lines<'_> {
    pub(super) fn admit(
        self,
        asked: &Speaker,
        way: (&str, &str),
        line: (&str, &[u8]),
        by: By<'_>,
    ) -> Result<Option<u64>, LineError> {
        match self {
            Self::Typed(channels) => channels.admit(asked, way, line, by),
            Self::Free(free) => free.admit(asked, way, line, unsigned(by)?),
        }
    }

    pub(super) fn deliver(
        self,
        asked: &Speaker,
        way: (&str, &str),
        line: (&str, &[u8]),
        by: By<'_>,
        instead: Option<&[u8]>,
    ) -> Result<u64, LineError> {
        match self {
            Self::Typed(channels) => channels.deliver(asked, way, line, by, instead),
            Self::Free(free) => free.deliver(asked, way, line, unsigned(by)?, instead),
        }
    }

    pub(super) fn look(
        self,
        asked: &Speaker,
        way: (&str, Option<&str>),
        token: Option<Token>,
        now: Timestamp,
    ) -> Result<Heard, LineError> {
        match self {
            Self::Typed(channels) => channels.look(asked, way, token, now),
            Self::Free(free) => free.look(asked, way, token, now),
        }
    }

    pub(super) fn take(
        self,
        asked: &Speaker,
        role: &str,
        which: (&str, u64),
        token: Option<Token>,
    ) -> Result<(), LineError> {
        match self {
            Self::Typed(channels) => channels.take(asked, role, which, token),
            Self::Free(free) => free.take(asked, role, which, token),
        }
    }

    pub(super) fn offered(
        self,
        asked: &Speaker,
        role: &str,
        others: &[String],
    ) -> Result<Vec<Offered>, LineError> {
        match self {
            Self::Typed(channels) => channels.offered(asked, role),
            Self::Free(free) => free.offered(asked, role, others),
        }
    }

    pub(super) fn standing(
        self,
        session: [u8; 16],
        asked: &Speaker,
        stand: &Stand,
    ) -> Result<Standing, LineError> {
        match self {
            Self::Typed(channels) => channels.standing(asked, stand),
            Self::Free(_) => free::standing(hex::text(&session), asked, &stand.role),
        }
    }
}

/// Lines without a protocol are not signed: who has the socket is their sender.
fn unsigned((token, sealed): By<'_>) -> Result<Token, LineError> {
    match sealed {
        Some(_) => Err(LineError::NotSigned),
        None => Ok(token),
    }
}

impl Keeper {
    /// What there is to speak by. Of a session without a protocol it is made when it is first asked for.
    pub(super) fn lines(&mut self) -> Result<Lines<'_>, Problem> {
        if matches!(self.talk.conversation, Conversation::None) && self.is_free() {
            self.open_free()?;
        }
        if let Conversation::Free(_) = self.talk.conversation {
            let Conversation::Free(free) = &mut self.talk.conversation else { return Err(over()) };
            return Ok(Lines::Free(free));
        }
        self.channels().map(Lines::Typed)
    }

    /// Whether the session has no protocol, so that anything may be said in it.
    pub(super) fn is_free(&self) -> bool {
        self.facts.as_ref().is_some_and(|facts| facts.spec.protocol.is_none())
    }

    fn open_free(&mut self) -> Result<(), Problem> {
        match self.session()?.state() {
            State::Active | State::Paused => {}
            State::Bringup | State::Ending | State::Failed | State::Closed => return Err(over()),
        }
        let free = Free::open().map_err(|e| failed("no memory for lines", &e))?;
        self.keep(free::NAME, &free.fd()).map_err(|e| failed("the anchor", &e))?;
        self.talk.conversation = Conversation::Free(Box::new(free));
        if let Some(facts) = &mut self.facts {
            facts.talk.free = true;
        }
        self.write_checkpoint();
        Ok(())
    }

    /// Those who take part where there is no protocol: the operator, and the apps that run. MCP servers take part
    /// by their tools alone.
    pub(super) fn participants(&self) -> Vec<String> {
        let apps = self.apps.iter().filter(|(name, app)| !app.gone && self.may_speak(name));
        std::iter::once(free::OPERATOR.to_owned()).chain(apps.map(|(name, _)| name.to_string())).collect()
    }

    fn may_speak(&self, app: &AppName) -> bool {
        let servers = self.facts.iter().flat_map(|facts| &facts.spec.mcp);
        app.as_str() != free::OPERATOR
            && servers.filter_map(|server| server.app()).all(|server| server != *app)
    }

    /// As whom somebody speaks or listens. Without a protocol that goes without saying.
    pub(super) fn meant(&self, caller: &Caller, role: &str) -> Result<String, Problem> {
        if !self.is_free() {
            let unsaid =
                || Problem::new(ProblemKind::BadRequest, "the session has a protocol: say as which role");
            return Some(role.to_owned())
                .filter(|role| !role.is_empty())
                .ok_or_else(|| unsaid().hint("`--as ROLE`; `sessile show` lists its roles"));
        }
        let own = match caller {
            Caller::Client { .. } => None,
            Caller::Guest(number) => self.talk.doors.app(*number),
        };
        match own {
            Some(app) if !self.may_speak(app) => {
                let why = if app.as_str() == free::OPERATOR {
                    "an app that is called operator says and hears nothing: that is the operator's name"
                } else {
                    "an MCP server takes part by its tools alone"
                };
                Err(Problem::new(ProblemKind::Denied, why))
            }
            Some(app) if role.is_empty() || app.as_str() == bare(role) => Ok(app.to_string()),
            None if role.is_empty() => Ok(free::OPERATOR.to_owned()),
            Some(_) | None => self.participant(role).map_err(|error| refused(&error)),
        }
    }

    /// To whom somebody speaks. Without a protocol it is somebody who is there to hear it.
    pub(super) fn addressed(&self, to: &str) -> Result<String, LineError> {
        if self.is_free() { self.participant(to) } else { Ok(to.to_owned()) }
    }

    /// From whom somebody wants to hear. Without a protocol it is somebody who can say something, or whose line waits.
    pub(super) fn heard_from(&self, from: &str) -> Result<String, LineError> {
        if !self.is_free() {
            return Ok(from.to_owned());
        }
        let waits = match &self.talk.conversation {
            Conversation::Free(free) => free.waits_from(bare(from)),
            Conversation::None | Conversation::Held(_) | Conversation::Lost { .. } => false,
        };
        if waits { Ok(bare(from).to_owned()) } else { self.participant(from) }
    }

    fn participant(&self, called: &str) -> Result<String, LineError> {
        let all = self.participants();
        match all.iter().find(|name| *name == bare(called)) {
            Some(name) => Ok(name.clone()),
            None => Err(LineError::Nobody(called.to_owned(), all.join(", "))),
        }
    }
}

/// An app may be named as where roles are given to speakers.
fn bare(name: &str) -> &str {
    name.strip_prefix("app:").unwrap_or(name)
}

fn over() -> Problem {
    Problem::new(ProblemKind::Conflict, "the session is not active: nothing more is said in it")
}
