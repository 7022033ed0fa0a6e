//! What clients say and hear.

use std::mem::discriminant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_model::protocol::{self, Hear, LONGEST_WORD, Said, Say, Speaker, Stand, Standing, Take, Told};
use sessile_model::quantity::Timestamp;
use sessile_model::state::State;
use sessile_model::{Problem, ProblemKind};
use sessile_session::Request as Ask;

use super::either::Lines;
use super::log::LogError;
use super::{Conversation, LineError, Sealed, Token};
use crate::client::ClientId;
use crate::guard::{Passage, Passed, Passing, What};
use crate::keeper::Keeper;

/// Most that wait for lines at once, and most that wait for room: together they leave connections for others.
const MOST_WAITING: usize = 96;

/// Who says or hears something, and where the answer goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// A client outside.
    Client {
        /// The connection.
        connection: ClientId,
        /// The channel on it.
        channel: u16,
    },
    /// A program inside, by the number of its connection.
    Guest(u32),
}

/// Somebody who waits for a line, or for room for one.
#[derive(Debug)]
pub struct PendingLine {
    caller: Caller,
    /// Who it was when it came: once another speaks for the role, it is not said or heard.
    speaker: Speaker,
    wish: Wish,
    deadline: Option<Timestamp>,
    /// How far past the guard it is.
    passage: Passage,
}

#[derive(Debug)]
enum Wish {
    Say { say: Say, payload: Vec<u8>, token: Token, sealed: Option<Sealed> },
    Hear { hear: Hear, token: Option<Token> },
}

impl Keeper {
    /// Says a line, or waits until there is room for it.
    pub(crate) fn say(&mut self, caller: Caller, mut say: Say) -> Result<(), Problem> {
        words(&[&say.role, &say.to, &say.label])?;
        shown(&[&say.role, &say.to, &say.label])?;
        say.role = self.meant(&caller, &say.role)?;
        let payload = STANDARD.decode(&say.payload).map_err(|_| bad("the payload is not base64"))?;
        let token = token(&say.token)?;
        let sealed = say.seal.as_ref().map(Sealed::try_from).transpose().map_err(|e| bad(&e.to_string()))?;
        let deadline = say.timeout.map(|timeout| self.now.plus(timeout));
        let speaker = self.asks_for_lines(&caller, Some(&say.role))?;
        say.to = self.addressed(&say.to).map_err(|error| refused(&error))?;
        self.wish(PendingLine {
            caller,
            speaker,
            wish: Wish::Say { say, payload, token, sealed },
            deadline,
            passage: Passage::Waiting,
        })
    }

    /// Gives a role the line that it hears next, or waits for it.
    pub(crate) fn hear(&mut self, caller: Caller, mut hear: Hear) -> Result<(), Problem> {
        words(&[&hear.role])?;
        hear.role = self.meant(&caller, &hear.role)?;
        let token = hear.token.as_deref().map(token).transpose()?;
        let deadline = hear.timeout.map(|timeout| self.now.plus(timeout));
        let speaker = self.asks_for_lines(&caller, Some(&hear.role))?;
        self.wish(PendingLine {
            caller,
            speaker,
            wish: Wish::Hear { hear, token },
            deadline,
            passage: Passage::Waiting,
        })
    }

    fn wish(&mut self, line: PendingLine) -> Result<(), Problem> {
        let is_alike = |other: &&PendingLine| discriminant(&other.wish) == discriminant(&line.wish);
        if self.talk.lines.iter().filter(is_alike).count() >= MOST_WAITING {
            let (detail, hint) = match line.wish {
                Wish::Hear { .. } => ("wait for a line", "one that listens is enough for each role"),
                Wish::Say { .. } => ("wait for room", "what was said is to be heard first"),
            };
            let detail = format!("{MOST_WAITING} {detail} of this session already");
            return Err(Problem::new(ProblemKind::Exhausted, detail).hint(hint));
        }
        self.talk.lines.push(line);
        Ok(())
    }

    /// While it ends, what was said can still be heard.
    fn admit_lines(&self) -> Result<(), Problem> {
        match self.session()?.state() {
            State::Ending => Ok(()),
            State::Bringup | State::Active | State::Paused | State::Failed | State::Closed => {
                self.admit(&Ask::Diff).map(drop)
            }
        }
    }

    /// Takes a line that was heard.
    pub(crate) fn take_line(&mut self, caller: &Caller, take: &Take) -> Result<(), Problem> {
        self.admit_lines()?;
        let role = self.meant(caller, &take.role)?;
        let asked = self.asks(caller, &role)?;
        let token = take.token.as_deref().map(token).transpose()?;
        let taken = self.lines()?.take(&asked, &role, (&take.from, take.sequence), token);
        taken.map_err(|error| refused(&self.heed_loss(error)))?;
        self.journal_violations();
        self.renew_channels();
        Ok(())
    }

    /// What a role may do next.
    pub(crate) fn offers(&mut self, caller: &Caller, role: &str) -> Result<Vec<protocol::Offer>, Problem> {
        self.admit_lines()?;
        let role = self.meant(caller, role)?;
        let asked = self.asks(caller, &role)?;
        let others = self.participants();
        self.tend_conversation();
        let offered = self.lines()?.offered(&asked, &role, &others).map_err(|error| refused(&error))?;
        let speaker = |peer: &str| match &self.talk.conversation {
            Conversation::Held(channels) => channels.speaker(peer).cloned(),
            Conversation::None | Conversation::Free(_) | Conversation::Lost { .. } => peer.parse().ok(),
        };
        let offer = |offered: super::Offered| protocol::Offer {
            ended: speaker(&offered.peer).is_some_and(|speaker| self.has_ended(&speaker)),
            says: offered.says,
            peer: offered.peer,
            label: offered.label,
            payload: offered.payload,
            ready: offered.ready,
            left: offered.left,
        };
        Ok(offered.into_iter().map(offer).collect())
    }

    /// Answers those whose line came, or could be said.
    pub(crate) fn check_lines(&mut self) {
        self.tend_conversation();
        self.hear_guests();
        let lines = std::mem::take(&mut self.talk.lines);
        for mut line in lines {
            let stays = match &line.caller {
                Caller::Client { connection, .. } => self.clients.contains_key(connection),
                Caller::Guest(number) => self.talk.doors.has(*number),
            };
            if !stays {
                self.give_up(line.passage);
                continue;
            }
            match self.carry_out_line(&mut line) {
                Some(answer) => {
                    self.give_up(line.passage);
                    self.answer_line(&line.caller, answer);
                }
                None => self.talk.lines.push(line),
            }
        }
        self.journal_violations();
        self.renew_channels();
    }

    /// When to look again if nothing else happens.
    pub(crate) fn next_line(&self) -> Option<Timestamp> {
        let heard = self.talk.doors.has_request().then_some(self.now);
        let guard = self.guard_is_due();
        let (released, expires) = match &self.talk.conversation {
            Conversation::Held(channels) => (channels.released(self.now), channels.expires()),
            Conversation::Free(free) => (free.released(self.now), None),
            Conversation::None | Conversation::Lost { .. } => (None, None),
        };
        let released = released.filter(|_| !self.talk.lines.is_empty());
        let waiting = self.talk.lines.iter().filter_map(|line| line.deadline);
        waiting.chain(guard).chain(expires).chain(released).chain(heard).min()
    }

    fn carry_out_line(&mut self, line: &mut PendingLine) -> Option<Result<Told, Problem>> {
        let done = match &line.wish {
            Wish::Say { say, payload, token, sealed } => {
                let by = (*token, sealed.as_ref());
                self.say_now(&line.speaker, (say, payload), by, &mut line.passage)
            }
            Wish::Hear { hear, token } => self.hear_now(&line.speaker, hear, *token),
        };
        match done {
            Ok(told) => Some(Ok(told)),
            Err(Unheard::Waits(problem)) => {
                line.deadline.is_some_and(|deadline| deadline <= self.now).then_some(Err(problem))
            }
            Err(Unheard::Refused(problem)) => Some(Err(problem)),
        }
    }

    fn say_now(
        &mut self,
        asked: &Speaker,
        (say, payload): (&Say, &[u8]),
        by: (Token, Option<&Sealed>),
        passage: &mut Passage,
    ) -> Result<Told, Unheard> {
        let (way, line) = ((&*say.role, &*say.to), (&*say.label, payload));
        if matches!(passage, Passage::Waiting) {
            // Nobody looks at, or is asked about, what may not be said.
            let said = self.lines()?.admit(asked, way, line, by);
            if let Some(sequence) = said.map_err(|error| self.unsaid(error, say))? {
                return Ok(Told::Said(Said { sequence }));
            }
            if self.is_free() {
                self.guard_from_now_on()?;
            }
        }
        let passing = Passing {
            from: way.0,
            by: asked,
            key: by.1.map(Sealed::key),
            to: way.1,
            label: line.0,
            payload,
            what: What::Line,
            undeclared: &[],
        };
        let instead = match self.pass_guard(passage, passing)? {
            Passed::Waits => return Err(Unheard::Waits(unanswered(passage))),
            Passed::Goes(instead) => instead,
        };
        self.learn(passage)?;
        let said = self.lines()?.deliver(asked, way, line, by, instead.as_deref());
        let sequence = said.map_err(|error| self.unsaid(error, say))?;
        self.passed(passage);
        Ok(Told::Said(Said { sequence }))
    }

    /// Why a line is not said. Without a protocol one that finds no room waits for it where it was said how long.
    fn unsaid(&mut self, error: LineError, say: &Say) -> Unheard {
        if let LineError::Full(_) = error
            && self.is_free()
            && say.timeout.is_none()
        {
            let problem = Problem::new(ProblemKind::Exhausted, error.to_string());
            let hint = "what was said is to be heard first (`sessile recv`); `--timeout TIME` waits for that";
            return Unheard::Refused(problem.hint(hint));
        }
        self.heed_loss(error).into()
    }

    fn hear_now(&mut self, asked: &Speaker, hear: &Hear, token: Option<Token>) -> Result<Told, Unheard> {
        let now = self.now;
        let from = hear.from.as_deref().map(|from| self.heard_from(from)).transpose();
        let from = from.map_err(|error| self.heed_loss(error))?;
        let from = from.as_deref();
        let heard = self.lines()?.look(asked, (&hear.role, from), token, now);
        let heard = match heard {
            Err(LineError::Nothing(role)) => Err(self.deserted(asked, &role, from)),
            heard => heard,
        };
        let heard = heard.map_err(|error| self.heed_loss(error))?;
        Ok(Told::Heard(protocol::Heard {
            from: heard.from,
            label: heard.label,
            payload: STANDARD.encode(heard.payload),
            sequence: heard.sequence,
        }))
    }

    /// Why nothing has arrived for a role: it comes later, or everybody who could say it is an app that has ended.
    fn deserted(&self, asked: &Speaker, role: &str, from: Option<&str>) -> LineError {
        let Conversation::Held(channels) = &self.talk.conversation else {
            return LineError::Nothing(role.to_owned());
        };
        let offered = channels.offered(asked, role).unwrap_or_default();
        let hears = |offer: &&super::Offered| !offer.says && from.is_none_or(|from| from == offer.peer);
        let mut speakers = offered.iter().filter(hears).map(|offer| channels.speaker(&offer.peer));
        match speakers.next().flatten().filter(|first| self.has_ended(first)) {
            Some(first) if speakers.all(|other| other.is_some_and(|other| self.has_ended(other))) => {
                LineError::Deserted(role.to_owned(), first.clone())
            }
            Some(_) | None => LineError::Nothing(role.to_owned()),
        }
    }

    /// Whether it is an app that has ended.
    fn has_ended(&self, speaker: &Speaker) -> bool {
        match speaker {
            Speaker::App(app) => self.tasks.get(app).is_some_and(|task| task.exit.is_some()),
            Speaker::Operator(_) => false,
        }
    }

    /// What is to be signed with a line.
    pub(crate) fn standing(&mut self, caller: &Caller, stand: &Stand) -> Result<Standing, Problem> {
        words(&[&stand.role, &stand.to, &stand.label])?;
        let stand = Stand { role: self.meant(caller, &stand.role)?, ..stand.clone() };
        let asked = self.asks_for_lines(caller, Some(&stand.role))?;
        let session = self.seat.id.as_bytes();
        self.lines()?.standing(session, &asked, &stand).map_err(|error| refused(&error))
    }

    /// Who asks, where lines are said and heard.
    pub(super) fn asks_for_lines(&mut self, caller: &Caller, role: Option<&str>) -> Result<Speaker, Problem> {
        self.admit_lines()?;
        self.asks(caller, role.unwrap_or_default())
    }

    /// Who asks: the app whose socket it is, or outside one of the operators. They are one user, and cannot
    /// be told apart here.
    fn asks(&mut self, caller: &Caller, role: &str) -> Result<Speaker, Problem> {
        if let Caller::Guest(number) = caller {
            let gone = || Problem::new(ProblemKind::Denied, "the app has hung up");
            return self.talk.doors.app(*number).map(|app| Speaker::App(app.clone())).ok_or_else(gone);
        }
        let speaker = match self.lines()? {
            Lines::Typed(channels) => channels.speaker(role),
            Lines::Free(_) => None,
        };
        Ok(match speaker {
            Some(Speaker::Operator(name)) => Speaker::Operator(name.clone()),
            Some(Speaker::App(_)) | None => Speaker::Operator(None),
        })
    }
}

/// Why a client has no answer.
enum Unheard {
    /// It comes later, if the client waits.
    Waits(Problem),
    Refused(Problem),
}

impl From<Problem> for Unheard {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem)
    }
}

impl From<LineError> for Unheard {
    fn from(error: LineError) -> Self {
        let problem = refused(&error);
        if problem.kind == ProblemKind::Timeout { Self::Waits(problem) } else { Self::Refused(problem) }
    }
}

/// What is told of a line that waits for the guard, or for an answer, for too long.
fn unanswered(passage: &Passage) -> Problem {
    let detail = match passage {
        Passage::Held { .. } => "nobody has answered yet whether it may be said",
        Passage::Waiting | Passage::Judging(_) | Passage::Cleared { .. } => "it was not looked at yet",
    };
    Problem::new(ProblemKind::Timeout, detail)
}

pub(super) fn refused(error: &LineError) -> Problem {
    let kind = match error {
        LineError::UnknownRole(..)
        | LineError::Nobody(..)
        | LineError::Itself(_)
        | LineError::Ambiguous(_)
        | LineError::TooLong
        | LineError::CarriesNothing(_)
        | LineError::NotSigned => ProblemKind::BadRequest,
        LineError::NotYours { .. }
        | LineError::OtherKey(_)
        | LineError::AnothersKey(_)
        | LineError::Withdrawn(_)
        | LineError::NoOperator(_)
        | LineError::NotCloser(_) => ProblemKind::Denied,
        LineError::Violation { .. }
        | LineError::Used
        | LineError::Overtaken(_)
        | LineError::SameSpeaker(..)
        | LineError::HasRole(_)
        | LineError::TooOften(_)
        | LineError::Over(_)
        | LineError::Concluded(_)
        | LineError::Deserted(..)
        | LineError::Faulted(..)
        | LineError::NotNext
        | LineError::NotHeard
        | LineError::Anothers(_) => ProblemKind::Conflict,
        LineError::Full(_) | LineError::Nothing(_) | LineError::Held(_) => ProblemKind::Timeout,
        LineError::TooManyWays(_) | LineError::Log(LogError::Full) => ProblemKind::Exhausted,
        LineError::Log(_) | LineError::Lost(_) => ProblemKind::Failed,
    };
    let problem = Problem::new(kind, error.to_string());
    match error {
        LineError::OtherKey(role) => problem.hint(format!(
            "where its key is lost, `sessile delegate SESSION {role} SPEAKER` withdraws it; the next one is then known"
        )),
        LineError::Withdrawn(role) => {
            problem.hint(format!(
                "hand {role} to another speaker and back (`sessile delegate`), and this key counts again; other sessions may know it"
            ))
        }
        LineError::Deserted(..) => {
            problem.hint("`sessile delegate SESSION ROLE SPEAKER` has another speak for the role")
        }
        LineError::NotCloser(_) => problem.hint("`sessile run --closer ROLE[=abort]` names those who may"),
        LineError::UnknownRole(..) => problem.hint("name one of these; `sessile show SESSION` tells who speaks for each"),
        LineError::Nobody(..) => problem.hint("name one of these, or start the app first (`sessile exec --detach --app NAME`)"),
        LineError::Itself(_)
        | LineError::TooManyWays(_)
        | LineError::NotYours { .. }
        | LineError::Violation { .. }
        | LineError::NotSigned
        | LineError::CarriesNothing(_)
        | LineError::Used
        | LineError::Overtaken(_)
        | LineError::AnothersKey(_)
        | LineError::NoOperator(_)
        | LineError::SameSpeaker(..)
        | LineError::HasRole(_)
        | LineError::TooOften(_)
        | LineError::Full(_)
        | LineError::Ambiguous(_)
        | LineError::TooLong
        | LineError::Held(_)
        | LineError::Nothing(_)
        | LineError::Over(_)
        | LineError::Concluded(_)
        | LineError::Faulted(..)
        | LineError::NotNext
        | LineError::NotHeard
        | LineError::Anothers(_)
        | LineError::Log(_)
        | LineError::Lost(_) => problem,
    }
}

fn bad(detail: &str) -> Problem {
    Problem::new(ProblemKind::BadRequest, detail)
}

/// Names are looked up, and said back where they are wrong.
fn words(all: &[&str]) -> Result<(), Problem> {
    if all.iter().any(|word| word.len() > LONGEST_WORD) {
        return Err(bad(&format!("a role or a label has at most {LONGEST_WORD} bytes")));
    }
    Ok(())
}

/// What is said is shown and kept by these: nothing that turns text or ends a line is in one.
fn shown(all: &[&str]) -> Result<(), Problem> {
    if all.iter().any(|word| word.chars().any(|c| !(c.is_alphanumeric() || "_-.:".contains(c)))) {
        return Err(bad(
            "a role or a label is of letters, digits, `_`, `-`, `.` and `:`; text goes behind it",
        ));
    }
    Ok(())
}

fn token(text: &str) -> Result<Token, Problem> {
    sessile_model::hex::bytes(text).map(Token).ok_or_else(|| bad("a token is 32 hexadecimal digits"))
}
