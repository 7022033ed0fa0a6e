//! Policy files, read where the command line or the configuration names them.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use sessile_model::network::{MAX_POLICY_BYTES, PolicyText};
use sessile_model::problem::ProblemKind;

use crate::failure::Failure;
use crate::{files, tools};

/// The folder in a folder of policies whose files are the guard's.
const OF_GUARD: &str = "guard";

/// Files of policies that were checked.
#[derive(Debug)]
pub struct Read {
    /// The texts about connections and requests.
    pub texts: Vec<PolicyText>,
    /// The texts about messages and calls of tools.
    pub guard: Vec<PolicyText>,
    /// What none of the guard's is about, where there are some: calls of tools, messages.
    pub silent: Vec<&'static str>,
    /// How many policies stand in them.
    pub count: usize,
    /// What is doubtful about them.
    pub warnings: Vec<String>,
}

/// Reads files, or the `.cedar` files of folders, each once, and checks them together. Those that lie in a
/// folder's `guard`, or name its actions, are the guard's. `~/` is the caller's home; other relative paths
/// begin at the folder.
///
/// # Errors
/// The first file that cannot be read, or all that is wrong with what they say.
pub fn read(files: &[PathBuf], folder: &Path, home: &Path) -> Result<Read, Failure> {
    let mut paths: Vec<(PathBuf, bool)> = Vec::new();
    for file in files {
        let path = folder.join(tools::expanded(&file.to_string_lossy(), home));
        let found = match path.is_dir() {
            true => of_folder(&path)?,
            false => vec![(path, false)],
        };
        paths.extend(found);
    }
    let (mut texts, mut guard, mut seen) = (Vec::new(), Vec::new(), BTreeSet::new());
    for (path, is_guards) in paths.into_iter().filter(|(path, _)| seen.insert(path.clone())) {
        let text = text(&path)?;
        let place = if is_guards || sessile_policy::guard::is_meant(&text) { &mut guard } else { &mut texts };
        place.push(text);
    }
    let (policies, mut doubtful) = sessile_policy::load(&texts).map_err(|flaws| {
        wrong(
            &flaws,
            "`sessile policy schema` shows what policies may speak of, `sessile policy --help` examples",
        )
    })?;
    let (mut count, mut silent) = (policies.len(), Vec::new());
    if !guard.is_empty() {
        let (policies, more) = sessile_policy::guard::load(&guard).map_err(|flaws| {
            wrong(&flaws, "`sessile guard policy --schema` shows what policies of the guard may speak of")
        })?;
        count += policies.len();
        silent = policies.silent_about();
        doubtful.extend(more);
    }
    let warnings = doubtful.iter().map(|flaw| format!("warning: {flaw}")).collect();
    Ok(Read { texts, guard, silent, count, warnings })
}

/// What is said of policies of the guard that are not about something that may come before them; `whose` it is.
pub fn silence(silent: &[&str], whose: &str) -> Option<String> {
    let what = silent.join(" or ");
    (!silent.is_empty()).then(|| {
        format!(
            "note: no policy that is named is about {what}, so that {whose} is refused: the shipped ones are not asked \
             beside them; `sessile guard policy` prints those, to add some"
        )
    })
}

/// The `.cedar` files of a folder and of the one in it that is the guard's, and which are the guard's.
///
/// # Errors
/// When one cannot be read, or there is none.
pub fn of_folder(folder: &Path) -> Result<Vec<(PathBuf, bool)>, Failure> {
    let (mut found, guard) = (listed(folder)?, folder.join(OF_GUARD));
    if guard.is_dir() {
        found.extend(listed(&guard)?.into_iter().map(|(path, _)| (path, true)));
    }
    if found.is_empty() {
        let shown = folder.display();
        let what = format!(
            "{shown} holds no .cedar file: looked for {shown}/*.cedar and {shown}/{OF_GUARD}/*.cedar"
        );
        return Err(Failure::new(ProblemKind::BadRequest, what).hint(
            "`sessile policy --help` shows policies about connections and requests; `sessile guard policy` prints \
             those of the guard that are shipped, to begin with",
        ));
    }
    Ok(found)
}

/// The `.cedar` files of a folder, in order.
fn listed(folder: &Path) -> Result<Vec<(PathBuf, bool)>, Failure> {
    let unread = |e| Failure::system(format!("read {}", folder.display()), &e);
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        if path.extension().is_some_and(|end| end == "cedar") {
            found.push((path, false));
        }
    }
    found.sort();
    Ok(found)
}

fn wrong(flaws: &[sessile_policy::Flaw], hint: &str) -> Failure {
    let all: Vec<String> = flaws.iter().map(ToString::to_string).collect();
    Failure::new(ProblemKind::BadRequest, all.join("\n")).hint(hint)
}

fn text(path: &Path) -> Result<PolicyText, Failure> {
    let text = files::text(path, MAX_POLICY_BYTES)?.as_str().to_owned();
    let shown = path.display();
    let name = path.file_name().map_or_else(|| shown.to_string(), |n| n.to_string_lossy().into_owned());
    Ok(PolicyText { name, text })
}
