//! The keeper's socket: frames and messages between a keeper, its clients and the daemon.
//!
//! A frame is an eight byte header and a payload:
//!
//! ```text
//!  0        4      5      6        8
//!  +--------+------+------+--------+----------------+
//!  | length | type | flags| channel| payload …      |
//!  +--------+------+------+--------+----------------+
//!    u32 LE   u8     u8     u16 LE   length bytes
//! ```
//!
//! The first frame each way is [`FrameType::Hello`]. A receiver ignores frames of a type, events of
//! a kind and fields that it does not know, so that either side can be the newer one; a request of
//! an unknown kind, or with an unknown field in the body that says what to do, is refused. Channels tell apart what a client has open
//! at once: 0 is the connection itself, others are attachments, numbered by the client.
//!
//! | type | payload |
//! |---|---|
//! | Hello | JSON [`Hello`] |
//! | Request | JSON [`Request`]; answered on the same channel by one Reply |
//! | Reply | JSON [`Reply`] |
//! | Event | JSON [`Event`] |
//! | Output | `u64 LE` offset of the first byte, then bytes of the app's output |
//! | Dump | `u64 LE` offset the screen reflects, or [`NO_OFFSET`], then bytes that draw it |
//! | Input | `u64 LE` sequence number, then at most [`MAX_INPUT`] bytes |
//! | InputDone | `u64 LE` sequence number up to which input was written to the app |
//! | OutputDone | `u64 LE` offset up to which the client has passed the output on |
//!
//! An app whose streams are pipes has two outputs: [`FLAG_STDERR`] marks Output and OutputDone
//! frames of its standard error, whose offsets count by themselves. A raw attachment that may
//! write is lossless: the keeper drops no byte above the last OutputDone of its stream, and lets
//! the app block instead.

mod attach;
mod pastes;

use serde::{Deserialize, Serialize};
use thiserror::Error;

pub use attach::{Attach, HandOver, ReadTyped};
pub use pastes::Pastes;

use crate::api;
use crate::ids::AppName;
use crate::problem::Problem;
use crate::protocol;
use crate::quantity::Millis;
use crate::receipt::SignedReceipt;
use crate::record::SessionRecord;
use crate::spec::{Spec, WindowSize};
use crate::state::{EndedBy, Exit};

/// Version of this protocol. A keeper serves clients of its own and the previous version.
pub const VERSION: u32 = 1;
/// Bytes of a frame's header.
pub const HEADER_LEN: usize = 8;
/// Largest payload a receiver accepts.
pub const MAX_PAYLOAD: usize = 16 << 20;
/// Largest run of input bytes in one frame: what may be uncertain after a keeper's death.
pub const MAX_INPUT: usize = 4096;
/// Flag of Output and OutputDone frames: they are about the app's standard error.
pub const FLAG_STDERR: u8 = 0x01;

/// The offset of a Dump after which no output follows: it draws a part of the screen, for a client whose window is
/// smaller. A client that names it to go on from is drawn the screen. A double holds it, as every number in JSON is
/// one to some.
pub const NO_OFFSET: u64 = (1 << 53) - 1;

/// A frame's type.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum FrameType {
    /// Introduces a peer.
    Hello = 1,
    /// Asks for something.
    Request = 2,
    /// Answers a request.
    Reply = 3,
    /// Tells something unasked.
    Event = 4,
    /// Bytes an app wrote.
    Output = 5,
    /// Bytes that draw the screen as it is.
    Dump = 6,
    /// Bytes for an app.
    Input = 7,
    /// Confirms input.
    InputDone = 8,
    /// Confirms output.
    OutputDone = 9,
}

impl FrameType {
    /// The type with this number; `None` for one from the future.
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Hello),
            2 => Some(Self::Request),
            3 => Some(Self::Reply),
            4 => Some(Self::Event),
            5 => Some(Self::Output),
            6 => Some(Self::Dump),
            7 => Some(Self::Input),
            8 => Some(Self::InputDone),
            9 => Some(Self::OutputDone),
            _ => None,
        }
    }
}

/// A frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Payload bytes that follow.
    pub len: u32,
    /// The type's number, known or not.
    pub kind: u8,
    /// [`FLAG_STDERR`] or 0; other bits are reserved, 0 when sent, ignored when received.
    pub flags: u8,
    /// 0 for the connection itself, else an attachment.
    pub channel: u16,
}

impl Header {
    /// As bytes.
    pub fn encode(self) -> [u8; HEADER_LEN] {
        let l = self.len.to_le_bytes();
        let c = self.channel.to_le_bytes();
        [l[0], l[1], l[2], l[3], self.kind, self.flags, c[0], c[1]]
    }

    /// From bytes.
    ///
    /// # Errors
    /// When the payload would be larger than [`MAX_PAYLOAD`].
    pub fn decode(b: [u8; HEADER_LEN]) -> Result<Self, FrameError> {
        let len = u32::from_le_bytes([b[0], b[1], b[2], b[3]]);
        if len as usize > MAX_PAYLOAD {
            return Err(FrameError::TooLarge { len });
        }
        Ok(Self { len, kind: b[4], flags: b[5], channel: u16::from_le_bytes([b[6], b[7]]) })
    }
}

/// Why bytes are not a frame.
#[derive(Debug, Error, PartialEq, Eq, Clone)]
pub enum FrameError {
    /// The payload is over the limit.
    #[error("a frame of {len} bytes is over the limit")]
    TooLarge {
        /// The announced length.
        len: u32,
    },
    /// The payload does not fit its type.
    #[error("a {what} frame is malformed")]
    Malformed {
        /// The frame's type.
        what: &'static str,
    },
}

/// Appends one frame to `out`.
///
/// # Panics
/// When the payload is larger than [`MAX_PAYLOAD`]; callers split or refuse before.
pub fn put_frame(out: &mut Vec<u8>, kind: FrameType, channel: u16, parts: &[&[u8]]) {
    put_flagged_frame(out, kind, 0, channel, parts);
}

/// Appends one frame with these flags to `out`.
///
/// # Panics
/// As [`put_frame`].
pub fn put_flagged_frame(out: &mut Vec<u8>, kind: FrameType, flags: u8, channel: u16, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|p| p.len()).sum();
    assert!(len <= MAX_PAYLOAD, "frame over the limit");
    let header = Header { len: len as u32, kind: kind as u8, flags, channel };
    out.extend_from_slice(&header.encode());
    for part in parts {
        out.extend_from_slice(part);
    }
}

/// A frame's header, its payload, and the bytes of the buffer that both took.
pub type Taken<'a> = (Header, &'a [u8], usize);

/// Takes the first whole frame out of `buffer`.
/// `Ok(None)`: more bytes are needed.
///
/// # Errors
/// When the announced payload is over the limit; the connection cannot be used any more.
pub fn take_frame(buffer: &[u8]) -> Result<Option<Taken<'_>>, FrameError> {
    let Some(head) = buffer.first_chunk::<HEADER_LEN>() else { return Ok(None) };
    let header = Header::decode(*head)?;
    let end = HEADER_LEN + header.len as usize;
    match buffer.get(HEADER_LEN..end) {
        Some(payload) => Ok(Some((header, payload, end))),
        None => Ok(None),
    }
}

/// Splits the payload of Output, Dump, Input and InputDone frames into number and bytes.
///
/// # Errors
/// When it is shorter than its number.
pub fn split_number(payload: &[u8]) -> Result<(u64, &[u8]), FrameError> {
    let (number, rest) =
        payload.split_first_chunk::<8>().ok_or(FrameError::Malformed { what: "numbered" })?;
    Ok((u64::from_le_bytes(*number), rest))
}

/// The first frame each way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The sender's [`VERSION`].
    pub version: u32,
    /// The sender's program version, for messages.
    pub program: String,
}

/// What a client or the daemon asks of a keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "snake_case")]
pub enum Request {
    /// Assemble the session. Only the first one counts. Answered when it is active or failed.
    Open(Box<Open>),
    /// The record. Also subscribes the connection to [`Event::Record`] when `follow` is set.
    Show {
        /// Send the record again whenever it changes.
        follow: bool,
    },
    /// Attach this channel to an app's terminal or streams.
    Attach(Attach),
    /// End this channel's attachment.
    Detach,
    /// What this channel is to show goes to the terminal that comes with this frame, and no longer by
    /// frames: see [`HandOver`].
    HandOver(HandOver),
    /// Read what is typed at the terminal that comes with this frame: see [`ReadTyped`].
    ReadTyped(ReadTyped),
    /// Write nothing more to the terminal that was handed over, and read nothing there. [`Event::LetGo`] comes
    /// first.
    LetGo,
    /// A sentence of the client's own, for the terminal that it has handed over.
    Tell {
        /// The sentence.
        text: String,
    },
    /// The client's window changed.
    Resize(WindowSize),
    /// Closes the app's standard input, where it is a pipe.
    CloseInput,
    /// Sends the app's foreground process a signal, by number.
    Signal {
        /// The signal's number.
        signal: i32,
    },
    /// The screen.
    Screen {
        /// The app; `main` when absent.
        app: Option<AppName>,
        /// Most lines wanted of those that scrolled off; none when absent.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        history: Option<u32>,
    },
    /// What the shell on an app's terminal said of its commands.
    Commands {
        /// The app; `main` when absent.
        app: Option<AppName>,
    },
    /// A stretch of output.
    Output {
        /// The app; `main` when absent.
        app: Option<AppName>,
        /// First offset wanted; from the oldest when absent.
        since: Option<u64>,
        /// Most bytes wanted.
        max: Option<u32>,
        /// Leave the result of a command that has ended to be collected by somebody else.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        keep: bool,
    },
    /// Types into an app. Answered when the bytes were written.
    Input(api::Input),
    /// Starts a command.
    Exec(api::Exec),
    /// Waits for a condition.
    Wait(api::Wait),
    /// Freezes the apps.
    Pause,
    /// Thaws the apps.
    Resume,
    /// Ends the session. Answered with the receipt.
    End {
        /// Time that apps get to save.
        grace: Option<Millis>,
        /// Who or what asks.
        by: EndedBy,
    },
    /// Copies something out.
    Export(api::Export),
    /// Starts or stops the recording of a terminal.
    Record(api::Record),
    /// A stretch of a recording.
    Recorded {
        /// The app, or `APP.N`; `main` when absent.
        app: Option<AppName>,
        /// First byte wanted.
        from: u64,
        /// Answer when there is more than that, or will be no more.
        wait: bool,
    },
    /// What a copied project changed.
    Diff,
    /// Writes a copied project's changes back.
    Apply(api::Apply),
    /// What the session's apps wait for somebody to decide.
    Questions,
    /// Answers a question.
    Answer {
        /// Its number.
        question: u32,
        /// The answer.
        answer: api::Answer,
    },
    /// The session's traffic.
    Traffic,
    /// The session's cookies.
    Cookies,
    /// Replaces them.
    KeepCookies(api::Cookies),
    /// Says a line of the session's protocol.
    Say(protocol::Say),
    /// What a role hears next.
    Hear(protocol::Hear),
    /// Takes what was heard.
    Take(protocol::Take),
    /// What a role may do next.
    Offered {
        /// The role.
        role: String,
    },
    /// What is to be signed with a role's next line.
    Stand(protocol::Stand),
    /// Closes the session's conversation.
    CloseTalk(protocol::CloseTalk),
    /// Has another speak for a role.
    Delegate(protocol::Delegate),
    /// Publishes an app's port on the host's loopback.
    Publish(api::Publish),
    /// Takes on a new identity on the route.
    NewIdentity,
    /// Sets the session's risk to nothing.
    ResetRisk(api::ResetRisk),
    /// Marks the result of a lingering session as collected, which ends it.
    Collect,
}

/// What a keeper needs to assemble a session.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// What was asked for, checked and complete; the name is set.
    pub spec: Spec,
    /// First of 65536 host user ids for a root session; `None` for a rootless one.
    pub subordinate_base: Option<u32>,
    /// For the route tor: where its program is on the host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tor: Option<String>,
}

/// The answer to a [`Request`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "reply", content = "body", rename_all = "snake_case")]
#[allow(clippy::large_enum_variant)]
pub enum Reply {
    /// It was done.
    Done,
    /// The record.
    Record(Box<SessionRecord>),
    /// Attached, with what became of the input that this client sent before it lost its
    /// connection: up to `input_done` it was written, above `input_started` it was not (and may be
    /// sent again), between them it is uncertain.
    Attached {
        /// Highest sequence number of this client that was written to the app; 0 for none.
        input_done: u64,
        /// Highest sequence number of this client whose write was begun; 0 for none.
        input_started: u64,
        /// Output offset from which live bytes follow.
        offset: u64,
        /// Typing was taken over as asked; an earlier keeper cannot.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        exclusive: bool,
    },
    /// Whether the keeper writes to the terminal that was handed over; else frames go on.
    HandedOver {
        /// The number it was handed over with.
        number: u32,
        /// It does.
        taken: bool,
    },
    /// Whether the keeper reads what is typed at the terminal; else it comes by frames.
    ReadsTyped {
        /// The number it was handed over with.
        number: u32,
        /// It does.
        taken: bool,
        /// The number of the last input that was read, where any was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<u64>,
    },
    /// The screen.
    Screen(api::Screen),
    /// Output.
    Output(api::Output),
    /// What the shell said of its commands.
    Commands(api::Commands),
    /// Typed, and which command it is for.
    Typed(api::Typed),
    /// A started command.
    Started(api::ExecStarted),
    /// What a wait saw.
    Waited(api::Waited),
    /// The session is wiped.
    Receipt(SignedReceipt),
    /// What was exported.
    Exported(api::Exported),
    /// A stretch of a recording.
    Recorded(api::Recorded),
    /// What a copied project changed.
    Changes(api::Changes),
    /// What was written back.
    Applied(api::Applied),
    /// What somebody is to decide.
    Questions(Vec<api::Question>),
    /// The traffic.
    Traffic(api::Traffic),
    /// The cookies.
    Cookies(api::Cookies),
    /// A line was said.
    Said(protocol::Said),
    /// A line that was heard.
    Heard(protocol::Heard),
    /// What a role may do next.
    Offers(Vec<protocol::Offer>),
    /// What is to be signed with a role's next line.
    Stands(protocol::Standing),
    /// How the conversation stands, now that it is closed.
    TalkClosed(protocol::ProtocolRecord),
    /// A role was handed over.
    Delegated(protocol::Delegated),
    /// Where a port is published.
    Published(api::Published),
    /// It was refused or failed.
    Problem(Problem),
}

/// What a keeper tells unasked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", content = "body", rename_all = "snake_case")]
pub enum Event {
    /// The record changed (only to connections that follow it).
    Record(Box<SessionRecord>),
    /// The attached app's command ended; its last output was sent before.
    Exited {
        /// How.
        exit: Exit,
    },
    /// The channel's attachment is over.
    Detached {
        /// Why, in a sentence.
        why: String,
    },
    /// What is next written to the terminal that was handed over changes it. Told before it is written.
    Changed {
        /// What is changed, to hand it over with the terminal again; means something to keepers.
        modes: String,
    },
    /// The keeper has stopped writing to the terminal that was handed over.
    LetGo {
        /// The number it was handed over with.
        number: u32,
        /// What is changed of it.
        modes: String,
        /// Nobody asked for that: its client did not own it any more, or it was gone.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        lost: bool,
        /// The number of the last input that was read there, where any was.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        last: Option<u64>,
    },
    /// The key that leaves was typed at a terminal that the keeper reads.
    Leave,
    /// More was read with it, behind it, and thrown away: what comes at once is the rest of that. Before
    /// [`Self::Leave`].
    More,
    /// A sentence for the person at the terminal.
    Notice {
        /// The sentence.
        text: String,
    },
    /// An app waits for an answer, and somebody is to be told of it (only to connections that
    /// follow the record).
    Asked {
        /// What is asked.
        question: Box<api::Question>,
        /// The command that tells it.
        command: String,
    },
    /// The session is wiped; the connection closes.
    Closed(Box<SignedReceipt>),
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn frames_round_trip() {
        let mut out = Vec::new();
        put_frame(&mut out, FrameType::Input, 3, &[&7u64.to_le_bytes(), b"ls\n"]);
        put_frame(&mut out, FrameType::Hello, 0, &[b"{}"]);
        let (header, payload, used) = take_frame(&out).unwrap().unwrap();
        assert_eq!((FrameType::from_byte(header.kind), header.channel), (Some(FrameType::Input), 3));
        assert_eq!(split_number(payload).unwrap(), (7, &b"ls\n"[..]));
        assert_eq!(take_frame(&out[used..]).unwrap().unwrap().1, b"{}");
        assert_eq!(take_frame(&out[..used - 1]).unwrap(), None);
    }

    #[test]
    fn oversized_frames_are_refused_before_they_are_read() {
        let bytes = [0xff, 0xff, 0xff, 0xff, 1, 0, 0, 0];
        assert_eq!(take_frame(&bytes), Err(FrameError::TooLarge { len: u32::MAX }));
    }

    #[test]
    fn the_deepest_metadata_can_be_handed_on() {
        let nested = |depth| (1..depth).fold(serde_json::json!([]), |inner, _| serde_json::json!([inner]));
        let spec = |depth| Spec {
            metadata: [("k".to_owned(), nested(depth - 1))].into_iter().collect(),
            ..Spec::default()
        };
        let deepest = spec(Spec::MAX_METADATA_DEPTH);
        assert!(!deepest.is_too_deep() && spec(Spec::MAX_METADATA_DEPTH + 1).is_too_deep());
        let open = |spec| Request::Open(Box::new(Open { spec, subordinate_base: None, tor: None }));
        let json = serde_json::to_vec(&open(deepest.clone())).unwrap();
        assert_eq!(serde_json::from_slice::<Request>(&json).unwrap(), open(deepest));
        // A specification can be read that could not be handed on.
        let deep = spec(126);
        let json = serde_json::to_vec(&deep).unwrap();
        assert!(serde_json::from_slice::<Spec>(&json).is_ok());
        assert!(serde_json::from_slice::<Request>(&serde_json::to_vec(&open(deep)).unwrap()).is_err());
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = take_frame(&bytes).map(|f| f.map(|(_, p, _)| (
                split_number(p).is_ok(),
                serde_json::from_slice::<Request>(p).is_ok(),
                serde_json::from_slice::<Reply>(p).is_ok(),
            )));
        }
    }
}
