//! MCP servers behind the guard: what a session is told of them, and the messages between its keeper and the
//! relay of each.
//!
//! A relay holds a server's standard streams and the connections of those who call its tools; it reads what both
//! write and asks the keeper about each call, result and list before it passes on. The keeper asks the guard. Over
//! a SEQPACKET socket every packet is one JSON message of at most [`MAX_PACKET`] bytes, an [`Order`] from the keeper
//! or a [`Report`] from the relay. Receivers ignore messages that they do not know. Version [`VERSION`].

use serde::{Deserialize, Serialize};

use crate::guarding::Text;
use crate::ids::AppName;

/// Version of this protocol; stands in the first order.
pub const VERSION: u32 = 1;
/// Largest packet.
pub const MAX_PACKET: usize = 64 << 10;
/// Most bytes of a text in one packet: six are needed for one where it is escaped.
pub const MAX_PART: usize = 10_000;
/// Most bytes of what is asked about at once.
pub const MAX_TEXT: usize = 512 << 10;
/// Most that is asked about, and not answered, at once.
pub const MOST_ASKED: usize = 64;
/// Most bytes of all of it.
pub const MOST_ASKED_BYTES: usize = 4 << 20;
/// Longest name of one, in characters.
pub const LONGEST_SERVER: usize = 16;
/// Most servers of a session.
pub const MOST_SERVERS: usize = 16;
/// The variable that names a session's servers to its apps, with commas between.
pub const VARIABLE: &str = "SESSILE_MCP";

/// An MCP server that is started with a session, as the app `mcp-NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct McpServer {
    /// Its name; its tools are the guard's `NAME/TOOL`.
    #[cfg_attr(feature = "openapi", schema(value_type = String))]
    pub name: AppName,
    /// Its command and arguments.
    pub command: Vec<String>,
}

impl McpServer {
    /// The app in whose sandbox it runs; none where the name is too long for one.
    pub fn app(&self) -> Option<AppName> {
        format!("mcp-{}", self.name).parse().ok()
    }
}

/// What a server says of one of its tools, in MCP's words.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Hints {
    /// It changes nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_only_hint: Option<bool>,
    /// It may destroy something.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destructive_hint: Option<bool>,
    /// To call it twice is as to call it once.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub idempotent_hint: Option<bool>,
    /// It reaches somebody or something outside.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_world_hint: Option<bool>,
}

/// Most arguments that a tool's schema does not name.
pub const MOST_UNDECLARED: usize = 32;
/// Most bytes of the name of one.
pub const MOST_OF_UNDECLARED: usize = 128;
/// Most bytes of a tool's name.
const MOST_OF_NAME: usize = 128;

/// Whether this is a tool's name, as MCP has it: letters, digits and `_-./`.
pub fn is_tool_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    !name.is_empty() && name.len() <= MOST_OF_NAME && name.chars().all(is_plain)
}

/// What a keeper tells a relay.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "snake_case")]
pub enum Order {
    /// Begin. The first order; with it come the server's standard input and output.
    Begin {
        /// [`VERSION`].
        version: u32,
        /// What the server is called.
        name: String,
    },
    /// Somebody calls tools by the connection that comes along.
    Guest {
        /// Who: the name of an app.
        app: String,
    },
    /// What is to be done with what was asked about.
    Decided {
        /// As in the report.
        number: u32,
        /// What.
        verdict: Verdict,
    },
    /// Another keeper is there: what was asked of the one before will not be answered.
    Again,
    /// From a later version.
    #[serde(other)]
    Unknown,
}

/// What is to be done with something.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It goes on as it is.
    Pass,
    /// It goes on without these spans, in bytes of what was asked about; they may overlap.
    Without(Vec<(usize, usize)>),
    /// It does not go on.
    Refused,
    /// Nothing could be said of it, so it does not go on.
    Failed,
}

/// What a relay tells the keeper.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "report", rename_all = "snake_case")]
pub enum Report {
    /// A part of the text of the next report that has one.
    Part {
        /// At most [`MAX_PART`] bytes.
        text: Text,
    },
    /// May this go on? Its text came before.
    Asks {
        /// Comes back with the answer.
        number: u32,
        /// Who calls, or is to read it: an app.
        app: String,
        /// What it is.
        what: Asked,
    },
    /// Nobody waits for the answer any more.
    GivenUp {
        /// As in the report that asks.
        number: u32,
    },
    /// The server wrote a line that cannot be read, for which calls have no result.
    Unread {
        /// The tools that were called, by the server's own names of them.
        tools: Vec<String>,
    },
    /// The server has ended, or is spoken with no longer.
    Over {
        /// Why, in words of this program.
        why: String,
    },
    /// From a later version.
    #[serde(other)]
    Unknown,
}

/// What is asked about.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Asked {
    /// A call; the text is its arguments, a JSON object.
    Call {
        /// The tool, by the server's own name of it.
        tool: String,
        /// What the server says of it.
        hints: Hints,
        /// Arguments that the server's schema of it does not name: at most [`MOST_UNDECLARED`].
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        undeclared: Vec<String>,
    },
    /// What a call returned.
    Returned {
        /// The tool, by the server's own name of it.
        tool: String,
    },
    /// What the server says of one of its tools.
    List,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_part_fits_a_packet_however_it_is_escaped() {
        let part = Report::Part { text: Text("\u{1}".repeat(MAX_PART)) };
        assert!(serde_json::to_vec(&part).unwrap().len() < MAX_PACKET);
    }

    #[test]
    fn a_server_is_an_app_of_its_own() {
        let server = |name: &str| McpServer { name: name.parse().unwrap(), command: Vec::new() };
        assert_eq!(server("files").app().unwrap().to_string(), "mcp-files");
    }
}
