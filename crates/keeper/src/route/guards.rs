//! Entry guards that sessions share, where they ask for it (`--tor-entry pinned`): lines of tor's
//! own state, kept in the state folder from one session to the next.
//!
//! What is kept says which relays were chosen and when, not how much they were used.

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

/// Most bytes of tor's state, and of what is kept of it, that are read.
const MAX_STATE: u64 = 256 << 10;
/// How a line of tor's state begins that is about a guard.
const GUARD: &str = "Guard in=";
/// How words of such a line begin that count what went through it.
const COUNTS: &str = "pb_";

/// What is kept; nothing when none is.
///
/// # Errors
/// When it is there and cannot be read.
pub fn kept(path: &Path) -> io::Result<String> {
    match File::open(path) {
        Ok(file) => read(file),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(String::new()),
        Err(error) => Err(error),
    }
}

/// Reads tor's state, or what is kept of it, and returns its lines about guards.
///
/// # Errors
/// When it cannot be read.
pub fn read(file: File) -> io::Result<String> {
    let mut bytes = Vec::new();
    file.take(MAX_STATE).read_to_end(&mut bytes)?;
    Ok(guards(&String::from_utf8_lossy(&bytes)))
}

/// Keeps what a session's tor knows of its guards for the next, written under a name of the
/// session's own first. What stems from other guards than those that are kept is left out: of
/// sessions that begin at once, the first one's stay.
///
/// # Errors
/// When it cannot be written.
pub fn keep(path: &Path, session: &str, state: &str) -> io::Result<()> {
    // Before one of them was of use, another choice costs nothing.
    if !state.contains(" confirmed_on=") {
        return Ok(());
    }
    let known = kept(path)?;
    if known == state || (!known.is_empty() && choices(&known).is_disjoint(&choices(state))) {
        return Ok(());
    }
    let draft = path.with_extension(session);
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&draft)?;
    file.write_all(state.as_bytes())?;
    fs::rename(&draft, path)
}

fn guards(state: &str) -> String {
    let lines = state.lines().filter(|line| line.starts_with(GUARD) && line.is_ascii());
    let words = lines.map(|line| {
        let words: Vec<&str> = line.split(' ').filter(|word| !word.starts_with(COUNTS)).collect();
        words.join(" ") + "\n"
    });
    words.collect()
}

/// Which relays were chosen, and when.
fn choices(guards: &str) -> BTreeSet<(&str, &str)> {
    let choice = |line| Some((word(line, "rsa_id=")?, word(line, "sampled_on=")?));
    guards.lines().filter_map(choice).collect()
}

fn word<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split(' ').find_map(|word| word.strip_prefix(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn guard(id: &str, day: &str, rest: &str) -> String {
        format!("Guard in=default rsa_id={id} nickname=x sampled_on={day} listed=1 {rest}\n")
    }

    #[test]
    fn only_guards_are_kept_and_not_how_much_they_were_used() {
        let state =
            format!("# x\nTorVersion Tor 0.4\n{}LastWritten 2026\n", guard("A", "1", "pb_use_attempts=2.0"));
        assert_eq!(guards(&state), "Guard in=default rsa_id=A nickname=x sampled_on=1 listed=1\n");
    }

    #[test]
    fn the_first_choice_stays_and_grows() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("entry-guards");
        let of = |id, day, rest| guards(&guard(id, day, rest));
        keep(&path, "s", &of("A", "1", "")).unwrap();
        assert_eq!(kept(&path).unwrap(), "", "it was of no use yet");
        let first = of("A", "1", "confirmed_on=1");
        keep(&path, "s", &first).unwrap();
        assert_eq!(kept(&path).unwrap(), first);
        // The same relay, chosen by another session.
        keep(&path, "s", &of("A", "2", "confirmed_on=2")).unwrap();
        assert_eq!(kept(&path).unwrap(), first);
        let more = first.clone() + &of("B", "3", "");
        keep(&path, "s", &more).unwrap();
        assert_eq!(kept(&path).unwrap(), more);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
