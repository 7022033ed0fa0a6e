//! Policy files, read where the command line or the configuration names them.

use std::path::{Path, PathBuf};

use sessile_model::network::{MAX_POLICY_BYTES, PolicyText};
use sessile_model::problem::ProblemKind;

use crate::failure::Failure;
use crate::{files, tools};

/// Files of policies that were checked.
#[derive(Debug)]
pub struct Read {
    /// Their texts.
    pub texts: Vec<PolicyText>,
    /// How many policies stand in them.
    pub count: usize,
    /// What is doubtful about them.
    pub warnings: Vec<String>,
}

/// Reads files, each once, and checks them together. `~/` is the caller's home; other relative paths begin at the folder.
///
/// # Errors
/// The first file that cannot be read, or all that is wrong with what they say.
pub fn read(files: &[PathBuf], folder: &Path, home: &Path) -> Result<Read, Failure> {
    let mut paths: Vec<PathBuf> = Vec::new();
    for file in files {
        let path = folder.join(tools::expanded(&file.to_string_lossy(), home));
        if !paths.contains(&path) {
            paths.push(path);
        }
    }
    let texts = paths.iter().map(|path| text(path)).collect::<Result<Vec<_>, _>>()?;
    match sessile_policy::load(&texts) {
        Ok((policies, doubtful)) => {
            let warnings = doubtful.iter().map(|flaw| format!("warning: {flaw}")).collect();
            Ok(Read { texts, count: policies.len(), warnings })
        }
        Err(flaws) => {
            let all: Vec<String> = flaws.iter().map(ToString::to_string).collect();
            Err(Failure::new(ProblemKind::BadRequest, all.join("\n")).hint(
                "`sessile policy schema` shows what policies may speak of, `sessile policy --help` examples",
            ))
        }
    }
}

fn text(path: &Path) -> Result<PolicyText, Failure> {
    let text = files::text(path, MAX_POLICY_BYTES)?.as_str().to_owned();
    let shown = path.display();
    let name = path.file_name().map_or_else(|| shown.to_string(), |n| n.to_string_lossy().into_owned());
    Ok(PolicyText { name, text })
}
