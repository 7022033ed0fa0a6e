//! `guard policy`: the policy that is shipped, and the words policies may use.

use std::path::Path;

use sessile_model::network::{MAX_POLICY_BYTES, PolicyText};
use sessile_model::problem::ProblemKind;
use sessile_policy::guard::{self, Policies};

use crate::failure::{Failure, Outcome, Status};
use crate::output::{print, print_json, say};
use crate::{files, policies};

/// Print the policy about calls and messages that holds where no other is named
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile guard policy > work/calls.cedar
  sessile guard policy --schema
  sessile guard trace trace.json --tools tools.toml --policy work

Policies are written in Cedar (https://docs.cedarpolicy.com). @effect says what a permit permits, from the
strictest: RequireConfirmation, ProcessInTee, Redact, ProcessLocal. A forbid rejects. The strictest that
applies wins, and where nothing applies the call is rejected. @unverified says what is done instead of
ProcessInTee where no trusted execution environment was verified; without it the call is rejected.")]
pub struct Args {
    /// Print what such policies may speak of, as a schema of Cedar
    #[arg(long)]
    schema: bool,
}

impl Args {
    pub fn run(self, json: bool) -> Outcome {
        let (key, text) = if self.schema { ("schema", guard::SCHEMA) } else { ("policy", guard::SHIPPED) };
        if json {
            print_json(&serde_json::json!({ key: text }))?
        } else {
            print(text)?
        }
        Ok(Status::OK)
    }
}

/// The policies of a folder's `.cedar` files and those of its `guard`, or of one file; the shipped ones where none is
/// named.
///
/// # Errors
/// When a file cannot be read, or all that is wrong with what the files say.
pub fn read(folder: Option<&Path>) -> Result<Policies, Failure> {
    let Some(folder) = folder else { return guard::shipped().map_err(|flaws| wrong(&flaws)) };
    let shown = folder.display();
    let paths = match folder.is_dir() {
        true => policies::of_folder(folder)?.into_iter().map(|(path, _)| path).collect(),
        false => vec![folder.to_owned()],
    };
    let text = |path: &std::path::PathBuf| {
        let text = files::text(path, MAX_POLICY_BYTES)?.as_str().to_owned();
        let name = path.file_name().map_or_else(|| shown.to_string(), |n| n.to_string_lossy().into_owned());
        Ok(PolicyText { name, text })
    };
    let texts = paths.iter().map(text).collect::<Result<Vec<_>, Failure>>()?;
    let (policies, doubtful) = guard::load(&texts).map_err(|flaws| wrong(&flaws))?;
    doubtful.iter().for_each(|flaw| say(&format!("sessile: warning: {flaw}")));
    // Messages are not judged here.
    let silent: Vec<&str> =
        policies.silent_about().into_iter().filter(|what| *what == "calls of tools").collect();
    if let Some(note) = policies::silence(&silent, "each call") {
        say(&format!("sessile: {note}"));
    }
    Ok(policies)
}

fn wrong(flaws: &[sessile_policy::Flaw]) -> Failure {
    let all: Vec<String> = flaws.iter().map(ToString::to_string).collect();
    Failure::new(ProblemKind::BadRequest, all.join("\n")).hint(
        "`sessile guard policy --schema` shows what policies may speak of, `sessile guard policy` an example",
    )
}
