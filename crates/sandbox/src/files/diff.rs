//! What a session changed in its copy of a project, for people and programs to look at.

use rustix::fd::{AsFd, BorrowedFd};
use rustix::io::Errno;
use sessile_model::api::{Change, Changes};
use thiserror::Error;

use super::apply::left_out;
use super::baseline::{Baseline, Digest, Kind};
use super::beneath::{Parents, open_file};
use super::changes::{ChangesError, Delta, Deltas, Standing, changes, is_executable};
use super::content::{digest_of, digest_of_target, read_target, read_whole};
use super::tree::shown;
use super::unified::{Content, MAX_TEXT, Side, Unified, json_cost};

/// Bytes of all paths that one answer lists, as they are in JSON: with the text it fits a frame.
const MAX_PATHS: usize = 5 << 20;
/// Bytes that an entry takes beside its path.
const ENTRY: usize = 40;
/// What stands around the reason why it is left out.
const LEFT: usize = 10;

/// Why there is no diff.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DiffError {
    /// More than one answer can list.
    #[error(
        "{changed} paths changed, more than can be listed: remove what need not be kept inside, or take the folder out with `sessile export`"
    )]
    TooMany {
        /// Changed paths.
        changed: usize,
    },
    /// The copy holds too many files or cannot be read.
    #[error(transparent)]
    Changes(#[from] ChangesError),
}

/// What the session changed in `copy` since `baseline` was taken of `original`.
///
/// Each says whether `apply`, which takes the same `allow_hooks`, leaves it as it is, and why. Paths
/// that are not UTF-8 are escaped and named in a notice. The text
/// holds at most 1 MiB per file and 8 MiB in all; binary and larger files are named in it.
///
/// # Errors
/// As [`DiffError`]; nothing is changed by any of them.
pub fn diff(
    original: BorrowedFd<'_>,
    copy: BorrowedFd<'_>,
    baseline: &Baseline,
    allow_hooks: bool,
) -> Result<Changes, DiffError> {
    let deltas = changes(original, copy, baseline)?;
    let left = left_out(original, copy, &deltas.list, allow_hooks);
    let left = |path: &[u8]| left.get(path).map(ToString::to_string);
    let cost = |delta: &Delta| entry_cost(delta) + left(&delta.path).map_or(0, |why| why.len() + LEFT);
    let cost: usize = deltas.list.iter().map(cost).sum();
    if cost > MAX_PATHS {
        return Err(DiffError::TooMany { changed: deltas.list.len() });
    }
    let Deltas { list, omitted } = &deltas;
    let mut answer = Changes { seen: deltas.seen(), notices: omitted.sentences(), ..Changes::default() };
    let mut unified = Unified::new();
    let mut reading = Reading { originals: Parents::new(original), copies: Parents::new(copy) };
    for delta in list {
        let text = std::str::from_utf8(&delta.path);
        let path = text.map_or_else(|_| shown(&delta.path), str::to_owned);
        if delta.standing.is_conflict() {
            answer.conflicts.push(path.clone());
        }
        if text.is_err() {
            answer.notices.push(format!("{path} has a name that is not UTF-8: it will not be applied"));
        } else if !unified.is_full() {
            reading.add(&mut unified, &path, delta);
        }
        let left = left(&delta.path);
        answer.entries.push(Change { path, change: delta.change(), left });
    }
    answer.unified = unified.finish();
    Ok(answer)
}

/// Bytes of a path in every list it may be in.
fn entry_cost(delta: &Delta) -> usize {
    let name: usize = match std::str::from_utf8(&delta.path) {
        Ok(text) => text.chars().map(json_cost).sum(),
        Err(_) => 10 * delta.path.len() + 60,
    };
    if delta.standing.is_conflict() { 2 * name + ENTRY } else { name + ENTRY }
}

struct Reading<'a> {
    originals: Parents<'a>,
    copies: Parents<'a>,
}

impl Reading<'_> {
    fn add(&mut self, unified: &mut Unified, path: &str, delta: &Delta) {
        let old = delta.old.as_ref().filter(|old| old.kind != Kind::Folder);
        let new = delta.new.as_ref().filter(|new| new.meta.kind != Kind::Folder);
        if old.is_none() && new.is_none() {
            return;
        }
        if old.is_some() && !matches!(delta.standing, Standing::Untouched(_)) {
            return unified.remark(path, "changed outside too: not shown as text");
        }
        let old = old.map(|old| side(&mut self.originals, &delta.path, old.kind, old.mode, old.digest));
        let new =
            new.map(|new| side(&mut self.copies, &delta.path, new.meta.kind, new.meta.mode, new.digest));
        unified.add(path, old.as_ref(), new.as_ref());
    }
}

/// Reads one side. What is shown must be what [`Changes::seen`] stands for: a file that has just
/// changed again is not shown.
fn side(parents: &mut Parents<'_>, path: &[u8], kind: Kind, mode: u32, digest: Digest) -> Side {
    let mode = match kind {
        Kind::Link => "120000",
        Kind::File if is_executable(mode) => "100755",
        Kind::File | Kind::Folder | Kind::Fifo | Kind::Socket | Kind::Device => "100644",
    };
    let content = match content(parents, path, kind) {
        Ok(Read::Bytes(_, found)) if found != digest => Content::Omitted("is changing just now"),
        Ok(Read::Bytes(bytes, _)) => Content::from_bytes(bytes),
        Ok(Read::TooLarge) => Content::Omitted("is larger than 4 MiB"),
        Ok(Read::Gone) | Err(_) => Content::Omitted("is changing just now"),
    };
    Side { mode, content }
}

enum Read {
    Bytes(Vec<u8>, Digest),
    TooLarge,
    Gone,
}

fn content(parents: &mut Parents<'_>, path: &[u8], kind: Kind) -> Result<Read, Errno> {
    let (dir, name) = parents.of(path)?;
    if kind == Kind::Link {
        let target = read_target(dir, name)?;
        let digest = digest_of_target(&target);
        return Ok(Read::Bytes(target, digest));
    }
    let Some((file, meta)) = open_file(dir, name)? else { return Ok(Read::Gone) };
    let Some(bytes) = read_whole(file.as_fd(), meta.size, MAX_TEXT)? else { return Ok(Read::TooLarge) };
    let digest = digest_of(&bytes);
    Ok(Read::Bytes(bytes, digest))
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::{PermissionsExt, symlink};
    use std::path::Path;
    use std::process::{Command, Stdio};

    use super::super::testing::{copied, folder_fd, pair, snapshot, write};
    use super::*;

    fn run(original: &Path, copy: &Path, baseline: &Baseline) -> Changes {
        diff(folder_fd(original).as_fd(), folder_fd(copy).as_fd(), baseline, false).unwrap()
    }

    /// Pipes the diff into a tool; `None` when it is not installed.
    fn pipe(root: &Path, program: &str, args: &[&str], input: &str) -> Option<String> {
        let mut command = Command::new(program);
        command
            .args(args)
            .current_dir(root)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        // A repository above the temporary folder must not matter.
        command.env("GIT_CEILING_DIRECTORIES", root.parent().unwrap());
        let Ok(mut child) = command.spawn() else {
            eprintln!("skipped: {program} is not installed");
            return None;
        };
        child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
        let output = child.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{program}: {said}\n{input}");
        Some(said)
    }

    fn change_everything(root: &Path) {
        let long: String = (0..60).map(|i| format!("line {i}\n")).collect();
        write(root, "long", &long.replace("line 7\n", "seven\n").replace("line 50\n", "line 50\nmore\n"));
        write(root, "no newline", "end without");
        write(root, "gains newline", "x\n");
        write(root, "new/deep/file", "hello\n");
        write(root, "empty", "");
        write(root, "crlf", "a\r\nB\rc\r\n");
        write(root, "tab\tname", "2\n");
        write(root, "quote\"name", "2\n");
        write(root, "line\nbreak", "2\n");
        write(root, "grüß dich", "2\n");
        std::fs::set_permissions(root.join("script"), PermissionsExt::from_mode(0o755)).unwrap();
        std::fs::remove_file(root.join("gone")).unwrap();
        std::fs::remove_file(root.join("emptied away")).unwrap();
        std::fs::write(root.join("binary"), [0, 1, 2]).unwrap();
    }

    fn prepare(root: &Path) {
        let long: String = (0..60).map(|i| format!("line {i}\n")).collect();
        write(root, "long", &long);
        write(root, "no newline", "end with\n");
        write(root, "gains newline", "x");
        write(root, "crlf", "a\r\nb\rc\r\n");
        for name in ["tab\tname", "quote\"name", "line\nbreak", "grüß dich", "script", "gone"] {
            write(root, name, "1\n");
        }
        write(root, "emptied away", "");
    }

    #[test]
    fn git_apply_turns_the_original_into_the_copy() {
        let (from, to) = pair();
        prepare(from.path());
        symlink("old", from.path().join("link")).unwrap();
        write(from.path(), "becomes link", "text\n");
        let baseline = copied(from.path(), to.path());
        change_everything(to.path());
        std::fs::remove_file(to.path().join("link")).unwrap();
        symlink("new", to.path().join("link")).unwrap();
        std::fs::remove_file(to.path().join("becomes link")).unwrap();
        symlink("long", to.path().join("becomes link")).unwrap();
        let changes = run(from.path(), to.path(), &baseline);
        assert!(changes.unified.contains("# binary is binary"), "{}", changes.unified);
        assert_eq!((changes.conflicts.len(), changes.notices.len()), (0, 0));
        if pipe(from.path(), "git", &["apply", "-"], &changes.unified).is_some() {
            std::fs::remove_file(to.path().join("binary")).unwrap();
            assert_eq!(snapshot(from.path()), snapshot(to.path()));
        }
    }

    #[test]
    fn patch_turns_the_original_into_the_copy() {
        let (from, to) = pair();
        prepare(from.path());
        let baseline = copied(from.path(), to.path());
        change_everything(to.path());
        let changes = run(from.path(), to.path(), &baseline);
        if pipe(from.path(), "patch", &["-p1", "--binary", "-s"], &changes.unified).is_some() {
            std::fs::remove_file(to.path().join("binary")).unwrap();
            assert_eq!(snapshot(from.path()), snapshot(to.path()));
        }
    }

    #[test]
    fn names_that_are_not_text_are_escaped_and_noticed() {
        let (from, to) = pair();
        let baseline = copied(from.path(), to.path());
        std::fs::write(to.path().join(std::ffi::OsStr::from_bytes(b"caf\xe9")), "x").unwrap();
        let changes = run(from.path(), to.path(), &baseline);
        assert_eq!(changes.entries[0].path, "caf\\xE9");
        assert_eq!(changes.notices, ["caf\\xE9 has a name that is not UTF-8: it will not be applied"]);
        assert_eq!(changes.unified, "");
    }

    #[test]
    fn seen_stands_for_the_content() {
        let (from, to) = pair();
        let baseline = copied(from.path(), to.path());
        write(to.path(), "f", "1");
        let first = run(from.path(), to.path(), &baseline);
        assert_eq!(run(from.path(), to.path(), &baseline), first);
        write(to.path(), "f", "2");
        assert_ne!(run(from.path(), to.path(), &baseline).seen, first.seen);
    }

    #[test]
    fn what_is_shown_is_what_seen_stands_for() {
        let (_, to) = pair();
        write(to.path(), "f", "harmless now");
        let copy = folder_fd(to.path());
        let shown = |digest| side(&mut Parents::new(copy.as_fd()), b"f", Kind::File, 0o644, digest).content;
        assert_eq!(shown(digest_of(b"harmless now")), Content::Text("harmless now".into()));
        assert_eq!(shown(digest_of(b"evil before")), Content::Omitted("is changing just now"));
    }
}
