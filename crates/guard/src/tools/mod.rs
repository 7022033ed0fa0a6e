//! What tools are declared to do: `tools.toml`, and what servers say of themselves.
//!
//! A declaration uses the words of MCP's tool annotations (`readOnlyHint`, `destructiveHint`,
//! `idempotentHint`, `openWorldHint`, with MCP's defaults) and adds which arguments decide where a call
//! goes (`sinks`), which fields of a result are the service's own word (`trusted_fields`), and who may
//! read a result (`readers`). A tool without a declaration is destructive and open-world, and each of
//! its arguments is a sink. What a server says of itself only tightens; only `tools.toml` loosens.

mod derive;
mod lists;
pub(crate) mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use serde::{Deserialize, Serialize};

pub(crate) use derive::kind;
pub use derive::{Derived, NotDescribed, Suite, derive, suites};

/// Stands for every argument, or for a result that is not in a field.
const ALL: &str = "*";
/// Stands for the entries of a list without names, and for a result that is one value.
pub(crate) const ENTRIES: &str = "[]";

const fn yes() -> bool {
    true
}

/// One tool's declaration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tool {
    /// It changes nothing.
    #[serde(rename = "readOnlyHint", default)]
    pub is_read_only: bool,
    /// It may destroy something, or change what was there.
    #[serde(rename = "destructiveHint", default = "yes")]
    pub is_destructive: bool,
    /// To call it twice is as to call it once.
    #[serde(rename = "idempotentHint", default)]
    pub is_idempotent: bool,
    /// It reaches somebody or something outside.
    #[serde(rename = "openWorldHint", default = "yes")]
    pub is_open_world: bool,
    /// The arguments that decide where a call goes or on what it acts; `["*"]`, or none given, for all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sinks: Option<BTreeSet<String>>,
    /// The fields of a result that are the service's own word; `"[]"` for a list's entries without names.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub trusted_fields: BTreeSet<String>,
    /// Who may read a result; anyone where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub readers: Option<BTreeSet<String>>,
}

/// What a server says of one of its tools.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Annotations {
    /// MCP's `readOnlyHint`.
    #[serde(default)]
    pub read_only_hint: Option<bool>,
    /// MCP's `destructiveHint`.
    #[serde(default)]
    pub destructive_hint: Option<bool>,
    /// MCP's `idempotentHint`.
    #[serde(default)]
    pub idempotent_hint: Option<bool>,
    /// MCP's `openWorldHint`.
    #[serde(default)]
    pub open_world_hint: Option<bool>,
}

/// All declarations of a `tools.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tools {
    #[serde(default)]
    tools: BTreeMap<String, Tool>,
}

/// Why a `tools.toml` is refused.
#[derive(Debug, thiserror::Error)]
pub enum NotRead {
    /// It is no TOML, or has keys that are not known.
    #[error("{0}")]
    Form(#[from] toml::de::Error),
    /// It contradicts itself.
    #[error("the tool {tool:?} cannot be both readOnlyHint and destructiveHint")]
    Contradiction {
        /// The tool.
        tool: String,
    },
}

impl Tool {
    /// What is assumed of a tool that nobody declared.
    #[must_use]
    pub const fn unknown() -> Self {
        Self {
            is_read_only: false,
            is_destructive: true,
            is_idempotent: false,
            is_open_world: true,
            sinks: None,
            trusted_fields: BTreeSet::new(),
            readers: None,
        }
    }

    /// Whether an argument decides where a call goes or on what it acts.
    #[must_use]
    pub fn is_sink(&self, argument: &str) -> bool {
        self.sinks.as_ref().is_none_or(|sinks| sinks.contains(ALL) || sinks.contains(argument))
    }

    /// Whether a call tells nobody anything and changes nothing.
    #[must_use]
    pub const fn is_free(&self) -> bool {
        self.is_read_only && !self.is_open_world
    }

    /// Whether it changes records of the session's own and reaches nobody else.
    #[must_use]
    pub const fn is_own_change(&self) -> bool {
        !self.is_read_only && !self.is_destructive && !self.is_open_world
    }

    /// The declaration together with what the server says: it only tightens.
    #[must_use]
    pub fn tightened(mut self, server: Annotations) -> Self {
        if self.is_read_only && server.read_only_hint == Some(false) {
            self.is_read_only = false;
            // What a reading tool declares says nothing of what it changes.
            self.is_destructive = server.destructive_hint.unwrap_or(true);
            self.sinks = None;
        }
        if server.destructive_hint == Some(true) && !self.is_read_only {
            self.is_destructive = true;
        }
        self.is_open_world |= server.open_world_hint == Some(true);
        self.is_idempotent &= server.idempotent_hint != Some(false);
        self
    }
}

impl Tools {
    /// Reads a `tools.toml`.
    ///
    /// # Errors
    /// When it has another form, keys that are not known, or contradicts itself.
    pub fn parse(text: &str) -> Result<Self, NotRead> {
        let mut tools: Self = toml::from_str(text)?;
        let said: toml::Table = toml::from_str(text)?;
        for (name, tool) in &mut tools.tools {
            let hint = said.get("tools").and_then(|t| t.get(name)).and_then(|t| t.get("destructiveHint"));
            if tool.is_read_only && hint.is_none() {
                tool.is_destructive = false;
            }
            if tool.is_read_only && tool.is_destructive {
                return Err(NotRead::Contradiction { tool: name.clone() });
            }
        }
        Ok(tools)
    }

    /// A tool's declaration, where there is one.
    #[must_use]
    pub fn declared(&self, name: &str) -> Option<&Tool> {
        self.tools.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tool)> {
        self.tools.iter().map(|(name, tool)| (name.as_str(), tool))
    }

    /// Adds a declaration, or takes the place of the one that was there.
    pub fn declare(&mut self, name: &str, tool: Tool) {
        self.tools.insert(name.to_owned(), tool);
    }

    /// How many fields are trusted, of all tools together.
    #[must_use]
    pub fn trusted_fields(&self) -> usize {
        self.tools.values().map(|tool| tool.trusted_fields.len()).sum()
    }

    /// As a `tools.toml`.
    #[must_use]
    pub fn to_toml(&self, comment: impl Fn(&str) -> Option<String>) -> String {
        let mut text = String::new();
        for (name, tool) in &self.tools {
            let name = if name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') {
                name.clone()
            } else {
                toml::Value::String(name.clone()).to_string()
            };
            // Writing to a string cannot fail.
            let _ = write!(text, "\n[tools.{name}]");
            if let Some(comment) = comment(&name) {
                let _ = write!(text, " # {comment}");
            }
            text.push('\n');
            text.push_str(&toml::to_string(tool).unwrap_or_default());
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_declaration_has_the_defaults_of_the_protocol() {
        let tools =
            Tools::parse("[tools.a]\n[tools.b]\nreadOnlyHint = true\nopenWorldHint = false\n").unwrap();
        assert_eq!(*tools.declared("a").unwrap(), Tool::unknown());
        let b = tools.declared("b").unwrap();
        assert!(b.is_free() && !b.is_destructive && !Tool::unknown().is_free());
        assert!(Tool::unknown().is_sink("anything"));
        for bad in [
            "[tools.a]\nreadonlyhint = true",
            "[tool.a]",
            "[tools.a]\nreadOnlyHint = true\ndestructiveHint = true",
            "[tools.a]\nsinks = \"url\"",
        ] {
            assert!(Tools::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let text =
            "[tools.\"a.b/c\"]\nsinks = [\"url\"]\ntrusted_fields = [\"[]\"]\nreaders = []\n[tools.d]\n";
        let tools = Tools::parse(text).unwrap();
        assert_eq!(Tools::parse(&tools.to_toml(|_| Some("why".to_owned()))).unwrap(), tools);
    }

    #[test]
    fn what_a_server_says_only_tightens() {
        let hints = [None, Some(false), Some(true)];
        let open = |tool: &Tool| u8::from(tool.is_open_world);
        let destroys = |tool: &Tool| u8::from(tool.is_destructive);
        for bits in 0..8u8 {
            let is_read_only = bits & 1 != 0;
            let tool = Tool {
                is_read_only,
                is_destructive: bits & 2 != 0 && !is_read_only,
                is_open_world: bits & 4 != 0,
                sinks: Some(["url".to_owned()].into()),
                ..Tool::unknown()
            };
            for read_only_hint in hints {
                for destructive_hint in hints {
                    for open_world_hint in hints {
                        let server = Annotations {
                            read_only_hint,
                            destructive_hint,
                            idempotent_hint: None,
                            open_world_hint,
                        };
                        let other = tool.clone().tightened(server);
                        assert!(!other.is_read_only || tool.is_read_only, "{tool:?} {server:?}");
                        assert!(destroys(&other) >= destroys(&tool) && open(&other) >= open(&tool));
                        assert!(other.is_sink("url"));
                    }
                }
            }
        }
        let loosening = Annotations {
            read_only_hint: Some(true),
            destructive_hint: Some(false),
            idempotent_hint: Some(true),
            open_world_hint: Some(false),
        };
        assert_eq!(Tool::unknown().tightened(loosening), Tool::unknown());
    }
}
