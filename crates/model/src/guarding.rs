//! Messages between a keeper and its session's guard.
//!
//! A SEQPACKET socket; every packet is one JSON message of at most [`MAX_PACKET`] bytes, an [`Order`] from the
//! keeper or a [`Report`] from the guard. A longer order lies in a memory file of at most [`MAX_ORDER`] bytes,
//! which comes along as the only descriptor of a packet [`ENCLOSED`]. A guard knows nothing of before its first order, so one that
//! takes another's place is told. Receivers ignore messages that they do not know. Version [`VERSION`].

pub mod outgoing;
mod record;

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

use crate::api::Verdict;
use crate::mcp::Hints;
use crate::network::PolicyText;
use crate::quantity::Timestamp;
use crate::spec::EnvVar;

pub use record::{GuardRecord, requests_guarded};

/// Version of this protocol; stands in the first order.
pub const VERSION: u32 = 1;
/// Largest packet.
pub const MAX_PACKET: usize = 64 << 10;
/// A packet whose message lies in the memory file that comes along.
pub const ENCLOSED: &[u8] = b"@";
/// Largest order, in a memory file.
pub const MAX_ORDER: usize = 4 << 20;
/// Most findings in one report; what is beyond stands in the last one's span.
pub const MOST_FOUND: usize = 256;
/// Most bytes of a `tools.toml`.
pub const MAX_TOOLS_BYTES: usize = 256 << 10;
/// Most bytes of values that are learned of one matter.
pub const MOST_LEARNED: usize = 16 << 10;
/// Most values that are remembered.
pub const MOST_VALUES: usize = 1024;
/// Most bytes of them together.
pub const MOST_VALUE_BYTES: usize = 256 << 10;

/// By what a session's guard decides, besides what is shipped.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GuardSpec {
    /// Policies in Cedar about messages and calls, in place of the shipped ones where there are any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub policies: Vec<PolicyText>,
    /// What tools do: a `tools.toml`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tools: Option<String>,
}

impl GuardSpec {
    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty() && self.tools.is_none()
    }
}

/// A text of the session. It never shows in `Debug` and is overwritten when dropped.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Text(pub String);

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Text({} bytes)", self.0.len())
    }
}

impl Drop for Text {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

/// A value that a session has to keep, and from whom.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Value {
    /// The value.
    pub value: Text,
    /// From 3, highly sensitive, to 4, critical.
    pub confidentiality: u8,
    /// Who said it first: it is theirs to tell.
    pub owner: String,
    /// Who was told it.
    pub readers: BTreeSet<String>,
}

/// What a guard knows that its successor must know.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Memory {
    /// The values that were found, in order.
    pub values: Vec<Value>,
    /// The session's risk, as guards write it.
    pub risk: serde_json::Value,
    /// Something was judged before: texts that nobody remembers may have been read.
    pub has_judged: bool,
}

impl Memory {
    /// Remembers values, those that are known already with who knows them now too. Of others no more than
    /// guards do: [`MOST_VALUES`] of [`MOST_VALUE_BYTES`].
    pub fn learn(&mut self, values: Vec<Value>) {
        let mut bytes: usize = self.values.iter().map(|known| known.value.0.len()).sum();
        for value in values {
            if let Some(known) = self.values.iter_mut().find(|known| known.value == value.value) {
                known.readers.extend(value.readers.iter().cloned());
                continue;
            }
            let more = bytes + value.value.0.len();
            if self.values.len() < MOST_VALUES && more <= MOST_VALUE_BYTES {
                bytes = more;
                self.values.push(value);
            }
        }
    }
}

/// What a keeper tells its guard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Begin. The first order.
    Begin {
        /// [`VERSION`].
        version: u32,
        /// By what to decide.
        spec: GuardSpec,
        /// Keys the names of values: 64 hexadecimal digits.
        key: Text,
        /// What guards before this one knew.
        memory: Memory,
        /// Values that it is to know beside them, and that are kept elsewhere: credentials.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        given: Vec<Value>,
        /// What apps were given in their environment: those that are secrets it is to know as well.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        variables: Vec<EnvVar>,
    },
    /// Something was given to an app in its environment meanwhile.
    Given {
        /// What.
        variables: Vec<EnvVar>,
    },
    /// Look at requests that the session's gateway shows ([`outgoing`]): the socket to it comes along, in place
    /// of the one before.
    Watch {
        /// The session's milliseconds now; what comes later is counted from here.
        at_ms: u64,
    },
    /// What is to become of a part of a request that was weighed. It is in the audit by now.
    Release {
        /// As in the report.
        ticket: u32,
        /// Whether it goes on; what it teaches is known from then.
        goes: bool,
    },
    /// Look at something and say what is to be done with it.
    Judge {
        /// Comes back with the answer.
        number: u32,
        /// When, in the session's milliseconds.
        at_ms: u64,
        /// What.
        matter: Matter,
    },
    /// It was delivered: whoever it went to knows it now.
    Delivered {
        /// As in the order to judge it.
        number: u32,
    },
    /// It was not, and will not be.
    Dropped {
        /// As in the order to judge it.
        number: u32,
    },
    /// Set the risk to nothing.
    ResetRisk {
        /// When, in the session's milliseconds.
        at_ms: u64,
        /// Who says so.
        who: String,
        /// Why.
        why: String,
    },
    /// Overwrite what is known of the session, and end.
    Quit,
    /// From a later version.
    #[serde(other)]
    Unknown,
}

/// Something that passes the guard.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "matter", rename_all = "snake_case")]
pub enum Matter {
    /// Somebody says something to somebody.
    Line {
        /// The role that speaks.
        speaker: String,
        /// Whether an operator speaks for it.
        by_operator: bool,
        /// The role that is to hear it.
        to: String,
        /// What it is called.
        #[serde(default)]
        label: Text,
        /// What it carries, in base64.
        payload: Text,
    },
    /// A tool is called.
    Call {
        /// Who calls.
        speaker: String,
        /// The tool's name.
        tool: String,
        /// Its arguments: a JSON object.
        arguments: Text,
        /// What its server says of it: this only tightens.
        #[serde(default)]
        hints: Hints,
        /// Arguments that its server's schema does not name.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        undeclared: Vec<String>,
    },
    /// A tool has returned something.
    Returned {
        /// The tool's name.
        tool: String,
        /// Who is to read it.
        to: String,
        /// What it returned.
        text: Text,
    },
}

/// What a guard tells its keeper.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// It may be asked.
    Ready {
        /// Why what it knows is less protected than memory can be, in a sentence; nothing where it is not.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        weaker_because: Option<String>,
    },
    /// It cannot work by what it was told.
    Failed {
        /// Why, in a sentence without secrets.
        cause: String,
    },
    /// What is to be done, answering [`Order::Judge`].
    Judged {
        /// As in the order.
        number: u32,
        /// What.
        judgement: Box<Judgement>,
    },
    /// A part of a request waits for [`Order::Release`].
    Weighed {
        /// Its number with this guard.
        ticket: u32,
        /// What it is, and what was decided.
        weighed: Box<outgoing::Weighed>,
    },
    /// Nobody waits for it any more.
    Left {
        /// As in the report before.
        ticket: u32,
    },
    /// The risk, whenever it is another.
    Risk {
        /// From 0 to 100, as of now.
        level: u32,
        /// As guards write it.
        risk: serde_json::Value,
    },
    /// From a later version.
    #[serde(other)]
    Unknown,
}

/// What is to be done with something; ordered from the mildest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Effect {
    /// It goes on as it is.
    Pass,
    /// It goes on without what was found in it.
    Redact,
    /// Somebody outside is asked first.
    Confirm,
    /// It does not go on.
    Reject,
}

/// What a guard says of something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judgement {
    /// What is to be done.
    pub effect: Effect,
    /// The policies that determined it.
    pub policies: Vec<String>,
    /// Why it is so although no policy says it: for those outside alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What was found in it, by place.
    pub found: Vec<Found>,
    /// From 0, public, to 4, critical.
    pub confidentiality: u8,
    /// From 0 to 100: how much of it reads like instructions to a model.
    pub suspicion: u8,
    /// The session's risk with it.
    pub risk: u32,
    /// What is to be remembered once it is delivered: values that were found in it, with all who know
    /// them then; at most [`MOST_LEARNED`] bytes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub learns: Vec<Value>,
}

/// Something that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Found {
    /// What: `card`, `github_token`.
    pub kind: String,
    /// Where, in bytes of what was judged; the end is not part of it.
    pub span: (usize, usize),
    /// From 0, public, to 4, critical.
    pub confidentiality: u8,
    /// Who said it first, where somebody else did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// A line of a session's audit: what was decided, and never what was said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum AuditEntry {
    /// Something was judged.
    Decided(Box<Decided>),
    /// Somebody was asked about it, and this came of it.
    Answered {
        /// The matter's number.
        number: u32,
        /// When.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        at: Timestamp,
        /// What was answered.
        verdict: Verdict,
        /// Who answered, as they say: `operator` or `operator:NAME`; nobody where nobody did.
        by: Option<String>,
        /// The public key by which they have shown it, where they have: 64 hexadecimal digits.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key: Option<String>,
        /// Why, in their words; where nobody answered, how it ended.
        why: Option<String>,
    },
    /// The risk was set to nothing.
    RiskReset {
        /// When.
        #[cfg_attr(feature = "openapi", schema(value_type = String))]
        at: Timestamp,
        /// What it was.
        level: u32,
        /// Why, in the words of who did.
        why: String,
    },
}

impl AuditEntry {
    /// That something which was held is not done, though nobody has answered.
    pub fn given_up(number: u32, at: Timestamp, why: &str) -> Self {
        let (verdict, why) = (Verdict::Deny, Some(why.to_owned()));
        Self::Answered { number, at, verdict, by: None, key: None, why }
    }
}

/// The numbers of an audit, whose entries are JSON.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Numbered {
    /// The last matter's; 0 where there is none.
    pub last: u32,
    /// Those of what is held, and not answered about.
    pub open: BTreeSet<u32>,
}

impl Numbered {
    /// Of these entries. What is none of them has no number.
    pub fn of(entries: &[String]) -> Self {
        let mut numbers = Self::default();
        for entry in entries {
            match serde_json::from_str(entry) {
                Ok(AuditEntry::Decided(decided)) => {
                    numbers.last = numbers.last.max(decided.number);
                    if decided.effect == Effect::Confirm {
                        numbers.open.insert(decided.number);
                    }
                }
                Ok(AuditEntry::Answered { number, .. }) => {
                    numbers.last = numbers.last.max(number);
                    numbers.open.remove(&number);
                }
                Ok(AuditEntry::RiskReset { .. }) | Err(_) => {}
            }
        }
        numbers
    }
}

/// What was decided about something.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Decided {
    /// The matter's number.
    pub number: u32,
    /// When.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub at: Timestamp,
    /// The role that speaks.
    pub from: String,
    /// The role that is to hear it.
    pub to: String,
    /// What it is called.
    pub label: String,
    /// Who speaks for the role: `operator`, `operator:NAME` or `app:NAME`.
    pub by: String,
    /// How many bytes it carries.
    pub bytes: u64,
    /// A commitment to them.
    pub commitment: String,
    /// What was found in them.
    pub found: Vec<Part>,
    /// From `public` to `critical`.
    pub confidentiality: String,
    /// From 0 to 100: how much of it reads like instructions to a model.
    pub suspicion: u8,
    /// The session's risk with it.
    pub risk: u32,
    /// What was decided.
    pub effect: Effect,
    /// The policies that determined it.
    pub policies: Vec<String>,
    /// Why it is refused where no policy says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
}

/// What is said of something that no policy is about.
pub const NO_POLICY: &str = "no policy applies";

/// Something that was found, by its kind and length alone.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Part {
    /// What: `card`, `github_token`.
    pub kind: String,
    /// How many bytes it has.
    pub length: u64,
    /// A commitment to them.
    pub commitment: String,
    /// The role that said it first, where another did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
}

/// What became of what a session's guard knew, for the receipt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct GuardReceipt {
    /// Bytes of the registry and markings that were overwritten.
    pub overwritten: u64,
    /// Whether the guard's process overwrote what it knew and ended, or none ran. Otherwise it was killed.
    pub ended: bool,
    /// Entries of the audit.
    pub entries: u64,
    /// The last link of the audit, in hexadecimal.
    pub head: String,
}

/// What a degree of confidentiality is called.
pub fn degree_name(degree: u8) -> &'static str {
    match degree {
        0 => "public",
        1 => "normal",
        2 => "sensitive",
        3 => "highly_sensitive",
        _ => "critical",
    }
}

/// What takes the place of what is left out.
pub const LEFT_OUT: &str = "[redacted]";

/// A payload without what was found in it. Spans may overlap; those that do leave one gap.
pub fn without(payload: &[u8], found: &[Found]) -> Vec<u8> {
    let mut spans: Vec<(usize, usize)> = found.iter().map(|found| found.span).collect();
    spans.sort_unstable();
    let (mut rest, mut at) = (Vec::with_capacity(payload.len()), 0);
    for (start, end) in spans {
        let (start, end) = (start.min(payload.len()), end.min(payload.len()));
        if start >= end {
            continue;
        }
        if start >= at {
            rest.extend_from_slice(&payload[at..start]);
            rest.extend_from_slice(LEFT_OUT.as_bytes());
        }
        at = at.max(end);
    }
    rest.extend_from_slice(&payload[at.min(payload.len())..]);
    rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_leaves_one_gap() {
        let found =
            |start, end| Found { kind: String::new(), span: (start, end), confidentiality: 4, of: None };
        let rest = |found: &[Found]| String::from_utf8(without(b"0123456789", found)).unwrap();
        assert_eq!(rest(&[]), "0123456789");
        assert_eq!(rest(&[found(2, 5), found(4, 6), found(8, 99)]), "01[redacted]67[redacted]");
        assert_eq!(rest(&[found(0, 10), found(3, 4), found(50, 60), found(5, 5)]), "[redacted]");
    }

    #[test]
    fn no_more_is_remembered_than_guards_can_know() {
        let value = |text: String, reader: &str| Value {
            value: Text(text),
            confidentiality: 4,
            owner: "a".to_owned(),
            readers: [reader.to_owned()].into(),
        };
        let mut memory = Memory::default();
        memory.learn((0..2000).map(|number| value(format!("value {number}"), "b")).collect());
        assert_eq!(memory.values.len(), MOST_VALUES);
        // Who is told one that is known is known all the same.
        memory.learn(vec![value("value 0".to_owned(), "c"), value("another".to_owned(), "c")]);
        assert_eq!((memory.values.len(), memory.values[0].readers.len()), (MOST_VALUES, 2));
        let mut memory = Memory::default();
        memory.learn((0..20).map(|number| value(format!("{number:016384}"), "b")).collect());
        let bytes: usize = memory.values.iter().map(|known| known.value.0.len()).sum();
        assert!(bytes <= MOST_VALUE_BYTES && memory.values.len() == 16, "{bytes}");
    }

    #[test]
    fn what_is_of_the_session_does_not_show() {
        let matter = Matter::Line {
            speaker: "User".into(),
            by_operator: true,
            to: "Agent".into(),
            label: Text("lullaby".into()),
            payload: Text("aHVzaA==".into()),
        };
        let shown = format!("{matter:?}");
        assert!(!shown.contains("aHVzaA") && !shown.contains("lullaby"));
    }
}
