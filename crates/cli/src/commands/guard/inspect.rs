//! `guard inspect`: what stands in a text.

use std::path::PathBuf;

use sessile_guard::{Category, Inspector, Integrity, Raw, Registry};
use sessile_model::problem::ProblemKind;

use crate::failure::{Failure, Outcome, Status};
use crate::files;
use crate::output::{print, print_json, table};

/// Most bytes of a text.
const MOST_TEXT: usize = 16 << 20;
/// Most bytes of a file of values.
const MOST_TAINT: usize = 4 << 20;

/// Find secrets, personal data and injected instructions in a text
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile guard inspect mail.txt
  git diff | sessile guard inspect --json
  sessile guard inspect answer.txt --taint-file known-values.txt
  pass show db | sessile guard inspect answer.txt --taint-file -

Each finding has its place, in bytes from the text's beginning, how sure it is, and why; what was found
is not printed. The exit code is 0 whatever is found.")]
pub struct Args {
    /// The text: a file, or - for standard input
    #[arg(default_value = "-", hide_default_value = true, value_name = "FILE")]
    file: PathBuf,
    /// Also find this value, however it is spelled; other users of this machine may see it
    #[arg(long, value_name = "VALUE")]
    taint: Vec<String>,
    /// Also find the values in this file, one a line; - for standard input
    #[arg(long, value_name = "FILE")]
    taint_file: Vec<PathBuf>,
}

impl Args {
    pub fn run(self, json: bool) -> Outcome {
        let values = self.taint_file.iter().map(|path| ("--taint-file", path.as_path()));
        files::one_standard(std::iter::once(("FILE", self.file.as_path())).chain(values))?;
        let mut text = files::input(&self.file, MOST_TEXT)?;
        let inspected =
            Inspector::with_registry(self.registry()?).inspect(Raw::new(std::mem::take(&mut *text)));
        let report = inspected.report(Integrity::Untrusted);
        if json {
            print_json(&report)?;
            return Ok(Status::OK);
        }
        if report.findings.is_empty() {
            print("nothing found\n")?;
            return Ok(Status::OK);
        }
        let head = ["WHAT", "KIND", "BYTES", "LINE", "SURE", "WHY"];
        let mut rows = vec![head.map(str::to_owned).to_vec()];
        rows.extend(report.findings.iter().map(|finding| {
            let line = inspected.text()[..finding.span.start].matches('\n').count() + 1;
            vec![
                category(finding.category).to_owned(),
                finding.kind.to_owned(),
                format!("{}-{}", finding.span.start, finding.span.end),
                line.to_string(),
                format!("{:.2}", finding.confidence),
                finding.why.clone().into_owned(),
            ]
        }));
        print(&table(&rows))?;
        Ok(Status::OK)
    }
}

impl Args {
    fn registry(&self) -> Result<Registry, Failure> {
        let mut registry = Registry::new(key()?);
        let mut add = |value: &str, source: &str| {
            registry.add(value).map(drop).map_err(|e| {
                Failure::new(ProblemKind::BadRequest, format!("{source}: {e}"))
                    .hint("a value has at least six letters, eight if all are digits, of at least four kinds")
            })
        };
        for (number, value) in (1..).zip(&self.taint) {
            add(value, &format!("--taint, value {number}"))?;
        }
        for path in &self.taint_file {
            let text = files::input(path, MOST_TAINT)?;
            let shown = files::shown(path);
            for (number, value) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
                add(value, &format!("{shown}: line {number}"))?;
            }
        }
        Ok(registry)
    }
}

/// A key for the ids of this one run.
fn key() -> Result<[u8; 32], Failure> {
    let mut key = [0; 32];
    let flags = rustix::rand::GetRandomFlags::empty();
    rustix::rand::getrandom(&mut key, flags).map_err(|e| Failure::system("get random bytes", &e.into()))?;
    Ok(key)
}

const fn category(category: Category) -> &'static str {
    match category {
        Category::Secret => "secret",
        Category::Personal => "personal",
        Category::Injection => "injection",
        Category::Taint => "taint",
    }
}
