//! `guard tools`: declarations of tools from their descriptions.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sessile_guard::tools::{Derived, Tools, derive, suites};
use sessile_model::problem::ProblemKind;

use crate::failure::{Failure, Outcome, Status};
use crate::files;
use crate::output::{print, print_json, printable};

/// Most bytes of a file that describes or declares tools.
const MOST: usize = 16 << 20;

/// Derive a tools.toml from descriptions of tools, by a rule that reads their names
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile guard tools descriptions.json > tools.toml
  sessile guard tools suites.json --suite banking > banking.toml

FILE is a list of tools as MCP servers describe them (`name`, `description`, `inputSchema`), what a server
answers to `tools/list`, or a table of such lists by suite. The rule stands in docs/guard-flow.md. Read what
it prints before you use it: a name is not proof of what a tool does.")]
pub struct Args {
    /// The descriptions: a file, or - for standard input
    file: PathBuf,
    /// Only this suite's tools; else those of all, by the stricter where a name stands in several
    #[arg(long, value_name = "NAME")]
    suite: Option<String>,
}

impl Args {
    pub fn run(self, json: bool) -> Outcome {
        let shown = files::shown(&self.file);
        let text = files::input(&self.file, MOST)?;
        let bad = |what: String| {
            Failure::new(ProblemKind::BadRequest, format!("{shown}: {what}"))
                .hint("`sessile guard tools --help` shows the form")
        };
        let document: Value = serde_json::from_str(&text).map_err(|e| bad(format!("it is not JSON: {e}")))?;
        let mut suites = suites(&document).map_err(|e| bad(e.to_string()))?;
        if let Some(suite) = &self.suite {
            suites.retain(|(name, _)| name.as_ref() == Some(suite));
            if suites.is_empty() {
                return Err(bad(format!("no suite is called {suite:?}")));
            }
        }
        let described: Vec<Value> = suites.into_iter().flat_map(|(_, tools)| tools).collect();
        let derived = derive(&described).map_err(|e| bad(e.to_string()))?;
        if json {
            print_json(&json!({
                "tools": derived.tools.iter().collect::<std::collections::BTreeMap<_, _>>(),
                "undeclared": derived.undeclared,
                "trusted_fields": derived.tools.trusted_fields(),
            }))?;
        } else {
            print(&text_of(&derived))?;
        }
        Ok(Status::OK)
    }
}

fn text_of(derived: &Derived) -> String {
    let mut text = format!(
        "# Derived from descriptions of tools; read it before you use it.\n# Trusted fields: {}.\n",
        derived.tools.trusted_fields()
    );
    for name in &derived.undeclared {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "# Not declared, so destructive and open-world: {}", printable(name));
    }
    text + &derived.tools.to_toml(|name| derived.why.get(name).map(|why| printable(why)))
}

/// Reads a `tools.toml`; without one no tool is declared.
///
/// # Errors
/// When it cannot be read, or what is wrong with it.
pub fn read(file: Option<&Path>) -> Result<Tools, Failure> {
    let Some(file) = file else { return Ok(Tools::default()) };
    let text = files::input(file, MOST)?;
    Tools::parse(&text).map_err(|e| {
        Failure::new(ProblemKind::BadRequest, format!("{}: {e}", files::shown(file)))
            .hint("`sessile guard tools` derives one from descriptions of tools")
    })
}
