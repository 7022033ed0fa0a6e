//! MCP servers as `--mcp NAME=COMMAND` names them.

use std::str::FromStr;

use sessile_model::mcp::{LONGEST_SERVER, McpServer};
use thiserror::Error;

/// `NAME=COMMAND`. The command is cut into words as a shell would, and no shell runs it: nothing in it is expanded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerArgument(pub McpServer);

/// Why it names no server.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidServer {
    /// There is no name or no command.
    #[error("it is NAME=COMMAND, such as files='mcp-server-filesystem /srv'")]
    Form,
    /// The name is none.
    #[error(
        "an MCP server's name is 1 to {LONGEST_SERVER} characters of a-z, 0-9, '-', '_' and '.', starting with a letter or digit, and this is {0:?}"
    )]
    Name(String),
    /// A quote is not closed.
    #[error("a quote in the command is not closed")]
    Quote,
}

impl FromStr for ServerArgument {
    type Err = InvalidServer;

    fn from_str(text: &str) -> Result<Self, InvalidServer> {
        let (name, command) = text.split_once('=').ok_or(InvalidServer::Form)?;
        let named = name.parse().ok().filter(|_| name.len() <= LONGEST_SERVER);
        let name = named.ok_or_else(|| InvalidServer::Name(name.to_owned()))?;
        let command = words(command)?;
        if command.is_empty() {
            return Err(InvalidServer::Form);
        }
        Ok(Self(McpServer { name, command }))
    }
}

/// The words of a command, with quotes and backslashes as in sh(1).
fn words(text: &str) -> Result<Vec<String>, InvalidServer> {
    let (mut words, mut word) = (Vec::new(), None::<String>);
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(InvalidServer::Quote)? {
                        '\'' => break,
                        c => word.push(c),
                    }
                }
            }
            '"' => {
                let word = word.get_or_insert_default();
                loop {
                    match chars.next().ok_or(InvalidServer::Quote)? {
                        '"' => break,
                        '\\' => match chars.next().ok_or(InvalidServer::Quote)? {
                            c @ ('"' | '\\' | '$' | '`') => word.push(c),
                            c => word.extend(['\\', c]),
                        },
                        c => word.push(c),
                    }
                }
            }
            '\\' => word.get_or_insert_default().push(chars.next().ok_or(InvalidServer::Quote)?),
            c if c.is_whitespace() => words.extend(word.take()),
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_cut_as_a_shell_would() {
        for (text, expected) in [
            ("a b  c", &["a", "b", "c"][..]),
            ("a 'b c' \"d \\\" \\x\"", &["a", "b c", "d \" \\x"]),
            (r"a\ b '' ''c", &["a b", "", "c"]),
            ("sh -c 'echo $HOME; x'", &["sh", "-c", "echo $HOME; x"]),
            ("$(id) `id` *", &["$(id)", "`id`", "*"]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        for text in ["a 'b", "a \"b", "a\\"] {
            assert_eq!(words(text), Err(InvalidServer::Quote), "{text}");
        }
    }

    #[test]
    fn it_has_a_name_and_a_command() {
        let server = "files=npx x=y".parse::<ServerArgument>().unwrap().0;
        assert_eq!(
            (server.name.to_string().as_str(), server.command),
            ("files", vec!["npx".into(), "x=y".into()])
        );
        for text in ["files", "files=", "files=  ", "=x", "A b=x", "files='x", "a-name-that-is-too-long=x"] {
            assert!(text.parse::<ServerArgument>().is_err(), "{text}");
        }
    }
}
