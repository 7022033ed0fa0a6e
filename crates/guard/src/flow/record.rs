//! A record that the user named, and the identifier by which a call destroys it.
//!
//! Which of one's own records is destroyed is the user's to say, and users say its name, not its number.
//! An identifier stands for what the user said where all of this holds:
//!
//! - a field that is trusted has it, in a table of a result that lists what the call destroys: events for
//!   `cancel_event`, files for `delete_file`;
//! - in the same table stands a title or name, which the user said whole, before anything else had it;
//! - the user's sentence has the verb of the call, or another of taking away, and denies nothing;
//! - no other table has that name or that identifier.
//!
//! Who writes a title that the user does not say has nothing destroyed, and who writes the same one has a
//! question asked.

use super::known::{Folded, Known, Said, Source, Standing, is_id};
use super::needle::Needle;
use crate::marking::{Integrity, Marking};
use crate::tools::words::{self, About};

/// An identifier that stands in more places is not looked up.
const MAX_PLACES: usize = 64;
/// Fields by which a record is called.
const NAMES: [&str; 6] = ["title", "name", "filename", "file_name", "subject", "label"];
/// Verbs of taking away, which users take for each other.
const TAKING_AWAY: [&str; 7] = ["cancel", "delete", "discard", "drop", "erase", "remove", "trash"];
/// Words by which a sentence may deny what else it says.
const DENYING: [&str; 16] = [
    "but", "cannot", "don", "dont", "except", "if", "instead", "keep", "never", "no", "not", "only", "other",
    "rather", "unless", "without",
];

impl Known {
    /// The record that this identifier names, where the user asked for what the tool does to it.
    pub(super) fn named_record(&self, needle: &Needle<'_>, tool: &str, argument: &str) -> Option<Standing> {
        let (verb, destroyed) = destroyed(tool)?;
        let lists = |said: &Said| match &said.source {
            Source::User => false,
            Source::Result { tool } => listed(tool).is_some_and(|listed| listed == destroyed),
        };
        let results: Vec<(usize, &Said)> = self.said.iter().enumerate().filter(|(_, s)| lists(s)).collect();
        let trusted = self.trusted.get(&needle.folded).filter(|places| places.len() <= MAX_PLACES)?;
        let has_id = |text: usize, at: usize, field: &Folded| {
            let is_named = field.name.as_deref().is_some_and(|name| is_id(name, argument));
            is_named && trusted.contains(&(text, at))
        };
        let mut found: Option<(&Said, &Folded, &str)> = None;
        for (text, said) in &results {
            for (_, id) in said.fields.iter().enumerate().filter(|(at, field)| has_id(*text, *at, field)) {
                let name = self.called(said, id.record, verb)?;
                if found.is_some_and(|(_, _, other)| other != name) {
                    return None;
                }
                found = found.or(Some((said, id, name)));
            }
        }
        let (said, id, name) = found?;
        let is_another = |(text, said): &(usize, &Said)| {
            let mut named = said.fields.iter().filter(|field| is_name(field) && field.value.trim() == name);
            named.any(|named| {
                let mut same =
                    said.fields.iter().enumerate().filter(|(_, field)| field.record == named.record);
                !same.any(|(at, field)| has_id(*text, at, field))
            })
        };
        if results.iter().any(is_another) {
            return None;
        }
        let field = id.name.clone();
        let marking = Marking { integrity: Integrity::TrustedTool, ..said.marking.clone() };
        Some(Standing { marking, places: vec![said.place(needle, field)] })
    }

    /// The one name of a record, where the user said it in a sentence that asks for this.
    fn called<'a>(&self, said: &'a Said, record: usize, verb: &str) -> Option<&'a str> {
        let mut names = said.fields.iter().filter(|field| field.record == record && is_name(field));
        let name = names.next().filter(|_| names.next().is_none() && record > 0)?.value.trim();
        let needle = Needle::new(name);
        if needle.matches_nothing() || needle.is_disguised() {
            return None;
        }
        let (user, span) = self.user_first(&needle, About::Other)?;
        let sentence = words::split(sentence(&user.folded, span.start, span.end));
        let own = words::split(name);
        let asks = |word: &String| word == verb || is_taking_away(word);
        let denies = |word: &String| DENYING.contains(&word.as_str()) && !own.contains(word);
        (sentence.iter().any(asks) && !sentence.iter().any(denies)).then_some(name)
    }
}

fn is_taking_away(verb: &str) -> bool {
    TAKING_AWAY.contains(&verb)
}

fn is_name(field: &Folded) -> bool {
    field.name.as_deref().is_some_and(|name| NAMES.contains(&name.to_ascii_lowercase().as_str()))
}

/// The verb and the object of a tool that takes something away: `cancel`, `event`.
fn destroyed(tool: &str) -> Option<(&'static str, String)> {
    let words = words::split(tool);
    let verb = TAKING_AWAY.into_iter().find(|verb| words.iter().any(|word| word == verb))?;
    Some((verb, words::singular(words::object(&words, verb).last()?).to_owned()))
}

/// What a tool lists.
fn listed(tool: &str) -> Option<String> {
    let words = words::split(tool);
    let verb = words.iter().find(|word| words::doing(word) == Some(words::Doing::Reads))?;
    Some(words::singular(words::object(&words, verb).last()?).to_owned())
}

/// The sentence around a span: from the end of the one before to its own.
fn sentence(text: &str, start: usize, end: usize) -> &str {
    let ends = |(_, two): &(usize, &[u8])| {
        matches!(two[0], b'\n' | b';') || matches!(two[0], b'.' | b'!' | b'?') && two[1].is_ascii_whitespace()
    };
    let bytes = text.as_bytes();
    let from = bytes[..start].windows(2).enumerate().rfind(ends).map_or(0, |(at, _)| at + 1);
    let to =
        bytes[end..].windows(2).enumerate().find(|two| ends(two)).map_or(bytes.len(), |(at, _)| end + at);
    text.get(from..to).unwrap_or(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tools_and_what_they_are_about() {
        assert_eq!(destroyed("cancel_calendar_event"), Some(("cancel", "event".to_owned())));
        assert_eq!(destroyed("files.delete_file"), Some(("delete", "file".to_owned())));
        assert_eq!(destroyed("run_shell"), None);
        assert_eq!(listed("search_files_by_filename").as_deref(), Some("file"));
        assert_eq!(listed("get_day_calendar_events").as_deref(), Some("event"));
    }

    #[test]
    fn sentences() {
        let text = "Read it. Delete plan.docx, now! And go.";
        let at = text.find("plan.docx").unwrap();
        assert_eq!(sentence(text, at, at + 9).trim(), "Delete plan.docx, now");
        assert_eq!(sentence("plan", 0, 4), "plan");
    }
}
