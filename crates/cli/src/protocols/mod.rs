//! Protocol files: read where the command line names them, and shown.

pub mod asked;
pub mod diagnostics;
pub mod diagram;
pub mod machine;
pub mod shipped;
pub mod svg;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use sessile_model::problem::ProblemKind;
use sessile_protocol::{Diagnostic, Limits, Loader, Source, module_name};
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::files;
use crate::output::{colours, say};

/// A file, and which of its protocols is meant: `FILE` or `FILE#NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// The file, or `@NAME`.
    pub path: PathBuf,
    /// The protocol; `None` where the file is to have one alone, or all are meant.
    pub protocol: Option<String>,
}

impl FromStr for Wanted {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.rsplit_once('#') {
            Some((path, "")) => Err(format!(
                "it names no protocol behind its #: name it, as in {path}#Name, or leave the # out"
            )),
            Some((path, name)) => Ok(Self { path: path.into(), protocol: Some(name.to_owned()) }),
            None => Ok(Self { path: text.into(), protocol: None }),
        }
    }
}

/// A protocol's file, and where what it imports is looked for.
#[derive(Debug)]
pub struct File {
    name: String,
    text: Zeroizing<String>,
    imports: Imports,
}

/// Finds imported modules in files: `a.b.Name` in `a/b/Name.scr` below a folder.
#[derive(Debug)]
struct Imports {
    /// In the order in which they are searched.
    folders: Vec<PathBuf>,
    /// The first file that is there and could not be read.
    failure: Option<Failure>,
    /// What was imported, by its full name.
    found: BTreeMap<String, String>,
}

impl File {
    /// Reads the file, or takes the one that comes with the program and is named `@NAME`. Modules that it
    /// imports are looked for below the folder that its module's name begins in, in its own folder, then in these.
    ///
    /// # Errors
    /// When it cannot be read, or is too large.
    pub fn read(path: &Path, import_paths: &[PathBuf]) -> Result<Self, Failure> {
        if let Some(shipped) = path.to_str().map(shipped::named).transpose()?.flatten() {
            let folders = import_paths.to_vec();
            let imports = Imports { folders, failure: None, found: BTreeMap::new() };
            let text = Zeroizing::new(shipped.text.to_owned());
            return Ok(Self { name: shipped.file.to_owned(), text, imports });
        }
        // What is too much for a check is the check's to say.
        let text = files::text(path, 8 * Limits::default().bytes)?;
        let root = root(path, &text);
        let beside = path.parent().map(Path::to_owned).unwrap_or_default();
        let folders = root.into_iter().chain([beside]).chain(import_paths.iter().cloned()).collect();
        let name = path.display().to_string();
        Ok(Self { name, text, imports: Imports { folders, failure: None, found: BTreeMap::new() } })
    }

    /// As the caller names it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its name without the folder.
    pub fn short_name(&self) -> &str {
        self.name.rsplit('/').next().unwrap_or_default()
    }

    /// What stands in it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What it imports, as far as it was looked at: full names and texts.
    pub fn imported(&self) -> impl Iterator<Item = (String, String)> {
        self.imports.found.iter().map(|(name, text)| (name.clone(), text.clone()))
    }

    /// Has the checker look at it.
    ///
    /// # Errors
    /// When a file that it imports is there and cannot be read.
    pub fn look<T>(&mut self, look: impl FnOnce(&Source<'_>, &mut dyn Loader) -> T) -> Result<T, Failure> {
        let source = Source { name: &self.name, text: &self.text };
        let found = look(&source, &mut self.imports);
        match self.imports.failure.take() {
            Some(failure) => Err(failure),
            None => Ok(found),
        }
    }
}

impl Loader for Imports {
    fn load(&mut self, module: &str) -> Option<String> {
        let below: PathBuf = module.split('.').collect();
        for folder in &self.folders {
            let path = folder.join(&below).with_added_extension("scr");
            match path.metadata() {
                Err(error) if is_absent(&error) => {}
                Ok(_) | Err(_) => match files::text(&path, 8 * Limits::default().bytes) {
                    Ok(text) => {
                        self.found.insert(module.to_owned(), text.as_str().to_owned());
                        return Some(text.as_str().to_owned());
                    }
                    Err(failure) => {
                        self.failure.get_or_insert(failure);
                        return None;
                    }
                },
            }
        }
        None
    }
}

/// The folder below which the module `a.b.Name` in `a/b/Name.scr` is found under its name.
fn root(path: &Path, text: &str) -> Option<PathBuf> {
    let name = module_name(text)?;
    let (packages, _) = name.rsplit_once('.')?;
    let mut folder = std::path::absolute(path).ok()?;
    folder.pop();
    for package in packages.rsplit('.') {
        if folder.file_name()? != package {
            return None;
        }
        folder.pop();
    }
    Some(folder)
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// The failure of a command whose protocol is not accepted: 64, or 71 where the check did not come
/// to an answer.
pub fn refusal(detail: String, undecided: bool) -> Failure {
    let kind = if undecided { ProblemKind::Exhausted } else { ProblemKind::BadRequest };
    Failure::new(kind, detail)
}

/// Says what is wrong, and fails.
pub fn refused(file: &str, all: &[Diagnostic], json: bool) -> Failure {
    let undecided = all.iter().all(diagnostics::is_undecided);
    let detail = if json {
        all.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    } else {
        all.iter().for_each(tell);
        let verdict = if undecided { "was not decided" } else { "is refused" };
        format!("{file} {verdict}")
    };
    refusal(detail, undecided)
}

/// Says on standard error what is wrong.
pub fn tell(diagnostic: &Diagnostic) {
    say(&diagnostics::shown(diagnostic, colours(&io::stderr())));
}

/// A bound as files write it.
pub fn bound(within: Duration) -> String {
    let ms = within.as_millis();
    let units = [(3_600_000, "h"), (60_000, "m"), (1000, "s")];
    let unit = units.into_iter().find(|(length, _)| ms > 0 && ms.is_multiple_of(*length));
    let (length, unit) = unit.unwrap_or((1, "ms"));
    format!("{}{unit}", ms / length)
}

#[cfg(test)]
mod tests {
    use sessile_protocol::{Discipline, check};

    use super::*;

    fn checked(path: &Path, import_paths: &[PathBuf]) -> Result<String, Failure> {
        let mut file = File::read(path, import_paths)?;
        let found =
            file.look(|source, loader| check(source, loader, None, Discipline::Complete, Limits::default()))?;
        Ok(found.map_or_else(|all| all[0].message.clone(), |(protocol, _)| protocol.name.into()))
    }

    #[test]
    fn imports_are_found_beside_the_file_and_then_elsewhere() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        let main = "module main; import a.b.Other as Other;
            global protocol Main(role A, role B) { do Other.Other(A, B); }";
        let other = "module a.b.Other; aux global protocol Other(role A, role B) { m() from A to B; }";
        std::fs::write(at("main.scr"), main).unwrap();
        std::fs::create_dir_all(at("elsewhere/a/b")).unwrap();
        std::fs::write(at("elsewhere/a/b/Other.scr"), other).unwrap();
        assert_eq!(checked(&at("main.scr"), &[]).unwrap(), "there is no module a.b.Other");
        assert_eq!(checked(&at("main.scr"), &[at("none"), at("elsewhere")]).unwrap(), "Main");
        // What lies beside the file comes first, also when it cannot be read.
        std::fs::create_dir_all(at("a/b/Other.scr")).unwrap();
        let Err(Failure::Problem(problem)) = checked(&at("main.scr"), &[at("elsewhere")]) else {
            panic!("a folder was read")
        };
        assert!(problem.detail.ends_with("a/b/Other.scr is a folder, not a file"), "{}", problem.detail);
    }

    #[test]
    fn a_module_that_names_its_folders_is_their_root() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir_all(at("a/b")).unwrap();
        std::fs::create_dir_all(at("c")).unwrap();
        let main = "module a.b.main; import c.Other as Other;
            global protocol Main(role A, role B) { do Other.Other(A, B); }";
        let other = "module c.Other; aux global protocol Other(role A, role B) { m() from A to B; }";
        std::fs::write(at("a/b/main.scr"), main).unwrap();
        std::fs::write(at("c/Other.scr"), other).unwrap();
        assert_eq!(checked(&at("a/b/main.scr"), &[]).unwrap(), "Main");
        std::fs::create_dir(at("b")).unwrap();
        std::fs::write(at("b/main.scr"), main).unwrap();
        assert_eq!(checked(&at("b/main.scr"), &[]).unwrap(), "there is no module c.Other");
    }

    #[test]
    fn a_file_and_one_of_its_protocols() {
        let wanted = |text: &str| text.parse::<Wanted>().map(|it| (it.path, it.protocol));
        assert_eq!(wanted("a/b.scr"), Ok(("a/b.scr".into(), None)));
        assert_eq!(wanted("a#b.scr#Talk"), Ok(("a#b.scr".into(), Some("Talk".into()))));
        assert_eq!(wanted("@review#Review"), Ok(("@review".into(), Some("Review".into()))));
        assert!(wanted("a.scr#").unwrap_err().contains("a.scr#Name"));
    }

    #[test]
    fn bounds_are_written_as_in_files() {
        let cases = [(0, "0ms"), (1500, "1500ms"), (30_000, "30s"), (120_000, "2m"), (7_200_000, "2h")];
        for (ms, written) in cases {
            assert_eq!(bound(Duration::from_millis(ms)), written);
        }
    }
}
