//! Why a protocol is not opened, not gone on with, or a line not said or heard.

use sessile_model::protocol::{LONGEST_PAYLOAD, NOT_HEARD, Speaker, TooLarge};
use sessile_protocol::held::Unplanned;
use sessile_protocol::monitor::setup::OpenError;
use sessile_protocol::monitor::{Malformed, ReplayError, RestoreError};
use thiserror::Error;

use super::MOST_WAYS;
use super::log::LogError;

/// Why a protocol is not opened. Nothing of it is left.
#[derive(Debug, Error)]
pub enum OpeningError {
    /// Its files are too many or too long.
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    /// It is not proved safe, or its roles are not all spoken for.
    #[error(transparent)]
    Plan(#[from] Unplanned),
    /// Too many pairs of roles talk to each other.
    #[error("roles talk to each other in {0} directions; there may be {MOST_WAYS}")]
    TooManyWays(usize),
    /// The monitor does not open it.
    #[error("the protocol cannot be opened: {0}")]
    Open(#[from] OpenError),
    /// A role that does not exist may close it.
    #[error("the protocol has no role {0} that could close it")]
    Closer(String),
    /// It cannot be logged.
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Why what a predecessor kept is of no use.
#[derive(Debug, Error)]
pub enum AdoptError {
    /// The log is damaged.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A record has not the form of one.
    #[error("a record of the channels' log is malformed")]
    Record,
    /// The protocol in it is not accepted any more.
    #[error("the protocol in the log")]
    Opening(#[from] OpeningError),
    /// The state in it is no state of this protocol.
    #[error("the state in the log")]
    Restore(#[from] RestoreError),
    /// An event is malformed.
    #[error("an event in the log")]
    Event(#[from] Malformed),
    /// The events cannot have happened.
    #[error("the events in the log")]
    Replay(#[from] ReplayError),
}

/// Why a line is not said, or not heard. Nothing has changed, unless it is a violation and these end
/// the conversation.
#[derive(Debug, Error)]
pub enum LineError {
    /// There is no such role.
    #[error("the protocol has no role {0}: there are {1}")]
    UnknownRole(String, String),
    /// Without a protocol: nobody is called so.
    #[error("nobody is called {0} here: there are {1}")]
    Nobody(String, String),
    /// Without a protocol: who speaks is also who is to hear it.
    #[error("{0} cannot say anything to itself")]
    Itself(String),
    /// Without a protocol: too many talk to too many.
    #[error("something was said in {0} directions already, and there may be no more")]
    TooManyWays(usize),
    /// Somebody else speaks for the role.
    #[error("{speaker} speaks for {role}, and not {asked}")]
    NotYours {
        /// The role.
        role: String,
        /// Who speaks for it.
        speaker: Speaker,
        /// Who wanted to.
        asked: Speaker,
    },
    /// The protocol does not allow it now.
    #[error("{role} may not {what} now ({code}): {expected}")]
    Violation {
        /// Of which kind.
        code: &'static str,
        /// Whose violation it is.
        role: String,
        /// What it wanted.
        what: String,
        /// What it may do instead.
        expected: String,
    },
    /// Lines are not signed here.
    #[error("lines of this session are not signed")]
    NotSigned,
    /// Its token stands for another line.
    #[error("another line was said with this token, and this one was not")]
    Used,
    /// Since it was signed, another line was said, or the role handed over.
    #[error(
        "something was said as {0}, or a role handed over, since this was signed: it is to be signed again"
    )]
    Overtaken(String),
    /// The role is known by another key.
    #[error("{0} is known by another key than this line is signed by")]
    OtherKey(String),
    /// The key is another role's.
    #[error("the key that this line is signed by is another role's, and not {0}'s")]
    AnothersKey(String),
    /// The key was the role's once.
    #[error("the key that this line is signed by was withdrawn from {0}")]
    Withdrawn(String),
    /// An app closes what only an operator closes.
    #[error("{0} closes the conversation as its role, or not at all")]
    NoOperator(Speaker),
    /// The role may not close it, or not in this way.
    #[error("{0} may not close the conversation, or not in this way")]
    NotCloser(String),
    /// Who is given the role speaks for it already, and no key could be withdrawn.
    #[error("{1} speaks for {0} already, and is not known by a key that could be withdrawn")]
    SameSpeaker(String, Speaker),
    /// Who is given the role has another.
    #[error("{0} speaks for another role already")]
    HasRole(Speaker),
    /// The role was handed over too often.
    #[error("{0} was handed over so often that it stays where it is")]
    TooOften(String),
    /// There is no room for it yet.
    #[error("so much waits for {0} already that there is no room for more")]
    Full(String),
    /// Several messages have this label.
    #[error("several messages are called {0} there")]
    Ambiguous(String),
    /// The payload is too long.
    #[error("a payload has at most {LONGEST_PAYLOAD} bytes")]
    TooLong,
    /// What has no type in the protocol has no payload.
    #[error("{0} carries nothing, and is said without a payload")]
    CarriesNothing(String),
    /// Another listens as this role, and has not taken the line yet.
    #[error("another has this line for {0}")]
    Held(String),
    /// Nothing has arrived yet.
    #[error("nothing has arrived for {0} yet")]
    Nothing(String),
    /// Nothing can come any more: those who could say something are apps that have ended.
    #[error("nothing comes for {0} any more: {1}, which would have to say it, has ended")]
    Deserted(String, Speaker),
    /// The role is done, or the conversation is over.
    #[error("{0} has nothing more to say or to hear")]
    Over(String),
    /// The conversation was closed by who may.
    #[error("{0} has nothing more to say or to hear: the conversation was closed")]
    Concluded(String),
    /// A violation has ended the conversation, or a time that was over.
    #[error("{0} has nothing more to say or to hear: the conversation has ended by a violation ({1})")]
    Faulted(String, String),
    /// What is taken was not heard, or by a keeper before this one.
    #[error("{NOT_HEARD}")]
    NotHeard,
    /// What is taken another has, or has taken.
    #[error("another who listens as {0} has this line, or has taken it")]
    Anothers(String),
    /// What is taken is not what comes next.
    #[error("that message is not the next one")]
    NotNext,
    /// It cannot be logged.
    #[error(transparent)]
    Log(#[from] LogError),
    /// What is in the log cannot be gone back to.
    #[error(transparent)]
    Lost(#[from] AdoptError),
}
