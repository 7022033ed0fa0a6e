//! Bodies of the REST API. The daemon passes those about a session's inside on to its keeper.

mod commands;
mod guard;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use zeroize::Zeroize;

pub use self::commands::{AwaitedCommand, Commands, ShellCommand, ShellState, Typed};
pub use self::guard::{AnswerSeal, AuditTrail, HeldLine, HeldPart, ResetRisk};
use crate::ids::{AppName, OperatorName, SessionId};
use crate::quantity::{ByteSize, Millis, Timestamp};
use crate::record::{AppRecord, SessionRecord};
use crate::spec::{EnvVar, Recording, WindowSize};
use crate::state::Exit;

/// `POST /v1/sessions/{id}/attachments`: leave to attach, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Attachment {
    /// The session.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub session: SessionId,
    /// Path of the keeper's socket; it checks the caller's credentials again.
    pub socket: String,
    /// Its apps, as `GET /v1/sessions/{id}` has them; absent where that was answered already.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub apps: Option<Vec<AppRecord>>,
    /// Milliseconds until the session's next keeper starts, where keepers died too often: nobody answers until then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub keeper_starts_in: Option<Millis>,
}

/// `POST /v1/sessions`: the record of what was opened, and leave to attach to it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Opened {
    /// The session.
    #[serde(flatten)]
    pub record: SessionRecord,
    /// Where its keeper listens.
    pub attachment: Attachment,
}

/// `GET /v1/sessions/{id}/screen`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Screen {
    /// Columns.
    pub cols: u16,
    /// Rows.
    pub rows: u16,
    /// One text per row, trailing blanks removed.
    pub lines: Vec<String>,
    /// The cursor's row and column, from 0.
    pub cursor: (u16, u16),
    /// Whether the cursor shows.
    pub cursor_visible: bool,
    /// Whether the alternate screen shows.
    pub alternate: bool,
    /// The window title.
    pub title: String,
    /// Output offset this screen reflects.
    pub offset: u64,
    /// The rows with their colours and attributes.
    #[serde(default)]
    pub grid: Vec<ScreenRow>,
    /// The last lines that scrolled off the main screen, the oldest first, where they were asked for.
    /// What was wrapped is one line; the last one is `wrapped` where it goes on in the first row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<ScreenRow>,
    /// Lines that scrolled off and are kept, shown or not.
    #[serde(default)]
    pub history_lines: u64,
}

/// One row of a screen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScreenRow {
    /// Its text from the left; what follows the last run is blank.
    pub runs: Vec<ScreenRun>,
    /// The text goes on in the next row without a line break.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub wrapped: bool,
}

/// Text in one style.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ScreenRun {
    /// The text; cells that were not written are spaces.
    pub text: String,
    /// Its colour: a number of the palette's or `#rrggbb`; absent: the terminal's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub foreground: Option<String>,
    /// The colour behind it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub background: Option<String>,
    /// `bold`, `dim`, `italic`, `blink`, `inverse`, `hidden`, `strike`, `overline`, `underline`,
    /// `double-underline`, `curly-underline`, `dotted-underline` or `dashed-underline`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attributes: Vec<String>,
    /// Where a link leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// `GET /v1/sessions/{id}/output`: a stretch of an app's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Output {
    /// Offset of the first byte.
    pub start: u64,
    /// Offset behind the last byte: pass it as `since` next time.
    pub end: u64,
    /// Bytes that were asked for but are no longer in the ring.
    pub lost: u64,
    /// The bytes in standard base64.
    pub data: String,
    /// How the app's command ended; `None` while it runs.
    pub exit: Option<Exit>,
}

/// `POST /v1/sessions/{id}/input`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Input {
    /// The app; `main` when absent.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub app: Option<AppName>,
    /// The bytes in standard base64.
    pub data: String,
    /// Say which of the shell's commands they are for. Refused where no shell tells its commands.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub command: bool,
}

/// `POST /v1/sessions/{id}/exec`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Exec {
    /// The command.
    pub command: Vec<String>,
    /// The app whose sandbox it joins; a new name makes a sandbox of its own.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub app: Option<AppName>,
    /// Gives it a terminal of this size. Otherwise its streams are pipes.
    #[serde(default)]
    pub terminal: Option<WindowSize>,
    /// Further environment.
    #[serde(default)]
    pub env: Vec<EnvVar>,
    /// As in [`crate::spec::Spec::hold_output`].
    #[serde(default)]
    pub hold_output: bool,
    /// Socket of the SSH agent on the host that the app is given: each signature is a question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ssh_agent: Option<String>,
}

/// The answer to [`Exec`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ExecStarted {
    /// Names this command in `wait` and `output`: an app's name, or `APP.N` for a command that
    /// joined an app's sandbox.
    pub task: String,
}

/// `POST /v1/sessions/{id}/wait`: returns when the first of the conditions holds.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Wait {
    /// The app; `main` when absent.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub app: Option<AppName>,
    /// A regular expression to find in the screen's text or in output written since the call.
    pub pattern: Option<String>,
    /// No output for this long.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub quiet: Option<Millis>,
    /// The app's command has ended.
    pub exit: bool,
    /// A command of the shell on the app's terminal has ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub command: Option<AwaitedCommand>,
    /// Gives up after this long.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub timeout: Option<Millis>,
}

impl Wait {
    /// The same, asked again once so much of its time has passed.
    #[must_use]
    pub fn after(&self, waited: Duration) -> Self {
        Self { timeout: self.timeout.map(|timeout| timeout.less(waited)), ..self.clone() }
    }
}

/// What a [`Wait`] saw.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Waited {
    /// The pattern was found.
    Matched {
        /// The text that matched.
        text: String,
    },
    /// There was no output for that long.
    Quiet,
    /// The command ended.
    Exited {
        /// How.
        exit: Exit,
    },
    /// The shell's command ended.
    Command {
        /// How, and where its output is.
        command: ShellCommand,
    },
}

/// `POST /v1/sessions/{id}/end`.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct End {
    /// Time that apps get to save; 10 s when absent.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<u64>))]
    pub grace: Option<Millis>,
}

/// `POST /v1/sessions/{id}/export`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Export {
    /// The app whose files are meant; `main` when absent.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub app: Option<AppName>,
    /// Path inside; relative to the app's home.
    #[serde(default)]
    pub path: String,
    /// Absolute path on the host; must not exist.
    pub destination: String,
    /// The recording of the app's terminal (or that of `APP.N`, a further command's), not a path.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub recording: bool,
}

/// `POST /v1/sessions/{id}/recording`: starts or stops the recording of a terminal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Record {
    /// The app, or `APP.N`; `main` when absent.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub app: Option<AppName>,
    /// Starts it with this content; stops it when absent.
    #[serde(default)]
    pub start: Option<Recording>,
}

/// `GET /v1/sessions/{id}/recording`: a stretch of a recording, in whole lines of asciicast 3.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Recorded {
    /// Where in the recording the bytes end: pass it as `from` next time.
    pub to: u64,
    /// Bytes of the recording by now.
    pub len: u64,
    /// What becomes of it.
    pub state: crate::record::RecordingState,
    /// The bytes in standard base64.
    pub data: String,
}

/// The answer to [`Export`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Exported {
    /// Files written.
    pub files: u64,
    /// Their length together, in bytes.
    #[cfg_attr(feature = "openapi", schema(value_type = u64))]
    pub bytes: ByteSize,
    /// Paths left out and why (links that lead out, sockets, devices).
    pub skipped: Vec<String>,
}

/// `GET /v1/sessions/{id}/diff`: what a copied project changed.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Changes {
    /// One entry per changed path, sorted by path.
    pub entries: Vec<Change>,
    /// The changes of text files in unified format.
    pub unified: String,
    /// Changes to the original since the copy was made, at the same paths.
    pub conflicts: Vec<String>,
    /// What the lists above leave out and why, in sentences.
    #[serde(default)]
    pub notices: Vec<String>,
    /// Stands for exactly these changes: pass it as [`Apply::seen`].
    #[serde(default)]
    pub seen: String,
}

/// One changed path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Change {
    /// Relative to the project.
    pub path: String,
    /// What happened to it.
    pub change: ChangeKind,
    /// Why [`Apply`] leaves it as it is; absent when it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
}

/// What happened to a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChangeKind {
    /// It is new.
    Added,
    /// Its content, mode or kind differs.
    Modified,
    /// It is gone.
    Removed,
}

/// `POST /v1/sessions/{id}/apply`: carries out the changes that were shown.
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Apply {
    /// Only these paths; all when empty.
    pub paths: Vec<String>,
    /// Overwrite paths that changed outside meanwhile.
    pub force: bool,
    /// [`Changes::seen`] of the changes that were shown: refuses if the session has changed more
    /// since then. Not checked when absent.
    pub seen: Option<String>,
}

/// The answer to [`Apply`].
#[derive(Clone, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Applied {
    /// Paths written or removed.
    pub files: u64,
    /// Paths left as they were and why (protected, links that lead out, not text names).
    pub skipped: Vec<String>,
}

/// What becomes of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Verdict {
    /// It may go on.
    Allow,
    /// It may not.
    Deny,
}

/// Something that an app waits for somebody outside to decide.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Question {
    /// Names it: the session's short id and a number.
    pub id: String,
    /// The session.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub session: SessionId,
    /// The app that waits; `operator` where an operator does.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub app: AppName,
    /// The host it wants to reach; empty where it wants something else.
    pub host: String,
    /// The port; 0 where it wants something else.
    pub port: u16,
    /// The signature that it wants, where it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<Signature>,
    /// The line that is held until it is answered, where it is about one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<HeldLine>,
    /// When it was first asked.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub asked_at: Timestamp,
}

/// A signature by the user's SSH agent that an app wants.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Signature {
    /// The key's fingerprint: `SHA256:…`.
    pub key: String,
    /// The key's kind, such as `ssh-ed25519`.
    pub kind: String,
    /// What the agent calls the key.
    pub comment: String,
    /// What it is for, as far as that can be seen; names in it come from inside.
    pub purpose: String,
}

/// `POST /v1/questions/{id}`: answers a question.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Answer {
    /// What is decided.
    pub verdict: Verdict,
    /// For the rest of the session, not for this once.
    #[serde(default)]
    pub always: bool,
    /// Why, for the journal.
    #[serde(default)]
    pub why: Option<String>,
    /// As which operator: a word for the audit, unless `seal` shows it. Whoever said a line that is held may not allow
    /// it themselves.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub by: Option<OperatorName>,
    /// What shows that it is that operator who answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seal: Option<AnswerSeal>,
}

/// One connection of an app, or an attempt at one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Flow {
    /// Counts up from 1.
    pub number: u64,
    /// The app.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub app: AppName,
    /// The host that it asked for.
    pub host: String,
    /// The port.
    pub port: u16,
    /// What was decided; `None` while somebody is asked.
    pub verdict: Option<Verdict>,
    /// The rule or person that decided.
    pub by: String,
    /// When it began.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub opened_at: Timestamp,
    /// Whether it is open.
    pub open: bool,
    /// Bytes from the app.
    pub sent: u64,
    /// Bytes to the app.
    pub received: u64,
    /// Bytes both ways in the last whole second.
    pub rate: u64,
    /// What went wrong, if something did.
    pub problem: Option<String>,
}

/// `GET /v1/sessions/{id}/net`: a session's traffic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Traffic {
    /// The route.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub route: crate::network::Route,
    /// Connections, oldest first: those that are open, and the latest that are not.
    pub flows: Vec<Flow>,
    /// Packets that the rules in the apps' namespaces refused: what is neither TCP nor DNS.
    pub refused_packets: u64,
}

/// `/v1/sessions/{id}/cookies`: a session's cookies, as one document.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Cookies {
    /// Counts changes. Whoever writes must name the version that was read.
    pub version: u64,
    /// The jar as `sessile-jar` saves it, in JSON; empty when there is none.
    pub jar: String,
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cookies").field("version", &self.version).finish_non_exhaustive()
    }
}

impl Drop for Cookies {
    fn drop(&mut self) {
        self.jar.zeroize();
    }
}

/// `POST /v1/sessions/{id}/ports`: publishes an app's port on the host's loopback.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Publish {
    /// The app; `main` when absent.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub app: Option<AppName>,
    /// Its port.
    pub port: u16,
    /// The port on the host's loopback; the same when absent, 0 for any free one.
    #[serde(default)]
    pub local: Option<u16>,
}

/// The answer to [`Publish`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Published {
    /// The address on the host.
    pub address: String,
}

/// `GET /v1/daemon`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct DaemonStatus {
    /// Its version.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// Sessions that are not closed.
    pub sessions: u32,
    /// Sessions found and adopted at its start.
    pub adopted: u32,
    /// Things a user should know, such as a damaged journal that was moved aside.
    pub notices: Vec<String>,
    /// The installation's public key, as in receipts.
    pub key: String,
    /// Its socket; empty from one of an earlier version.
    #[serde(default)]
    pub socket: String,
}

/// Header of a request whose sender tells users what it hears, and of an answer that has something
/// to tell: see [`in_header`].
pub const LOSSES: &str = "sessile-losses";

/// Sentences as a header takes them: a JSON array in which all is ASCII.
pub fn in_header(sentences: &[String]) -> String {
    let json = serde_json::Value::from(sentences).to_string();
    let mut ascii = String::with_capacity(json.len());
    for character in json.chars() {
        if character.is_ascii_graphic() || character == ' ' {
            ascii.push(character);
        } else {
            // Outside of strings JSON as it is written here has neither.
            character.encode_utf16(&mut [0; 2]).iter().for_each(|unit| ascii += &format!("\\u{unit:04x}"));
        }
    }
    ascii
}

/// What a keeper says of an app when asked for all of them.
pub type Apps = Vec<AppRecord>;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_fit_a_header_and_come_back() {
        let sentences = ["plain, \"quoted\"".to_owned(), "zwölf\n\u{1f600}\u{7f}".to_owned()];
        let text = in_header(&sentences);
        assert!(text.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{text}");
        assert_eq!(serde_json::from_str::<Vec<String>>(&text).unwrap(), sentences);
    }
}
