//! What was said and read in a conversation, and where a value of it stands.

use std::collections::HashMap;

use serde::Serialize;

use super::fields::{self, Field};
use crate::marking::{Event, Integrity, Lowered, Lowering, Marking, Readers};
use crate::tools::words::{self, About};
use crate::tools::{ENTRIES, Tool};

/// Shorter values stand in any text.
const MIN_CHARS: usize = 6;
/// Values that are a choice among few, and stand in any text.
const ENUM_WORDS: &[&str] = &[
    "active",
    "always",
    "cancelled",
    "confirmed",
    "credit",
    "daily",
    "default",
    "disabled",
    "enabled",
    "failed",
    "female",
    "friday",
    "hidden",
    "inactive",
    "medium",
    "monday",
    "monthly",
    "normal",
    "number",
    "object",
    "pending",
    "personal",
    "private",
    "public",
    "saturday",
    "string",
    "success",
    "sunday",
    "thursday",
    "tuesday",
    "unknown",
    "urgent",
    "wednesday",
    "weekly",
    "yearly",
];

/// Who or what said a text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum Source {
    /// The person whose session it is.
    User,
    /// A tool that was called.
    Result {
        /// Which.
        tool: String,
    },
}

/// Where a value stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Place {
    /// What the text came with.
    pub event: Event,
    /// Who or what said it.
    #[serde(flatten)]
    pub source: Source,
    /// The field of a result, where it has fields.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// From where to where in the text as it came, in bytes; none where it stands there in another
    /// spelling, behind escapes for instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub span: Option<(usize, usize)>,
}

/// What is known of a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// How it is marked.
    pub marking: Marking,
    /// Where it stands; nowhere where it matches nothing.
    pub places: Vec<Place>,
}

/// Why a marking is not lowered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotLowered {
    /// Nobody answers for it.
    #[error("who orders it and why must be said")]
    NobodyAnswers,
    /// It names what is not there.
    #[error("there is no such span of a text that was read")]
    NoSuchSpan,
}

struct Said {
    event: Event,
    source: Source,
    text: String,
    folded: String,
    fields: Vec<Folded>,
    /// Whether any of it is neither the user's, nor a trusted field, nor without words.
    is_untrusted: bool,
    marking: Marking,
}

struct Folded {
    name: Option<String>,
    value: String,
}

/// Everything that was said and read.
#[derive(Default)]
pub(super) struct Known {
    said: Vec<Said>,
    /// Trusted fields by their values: text, and field of it.
    trusted: HashMap<String, Vec<(usize, usize)>>,
    /// Values that were found in texts, with what was found.
    found: Vec<(String, Marking)>,
    lowered: Vec<(String, Lowered)>,
    has_untrusted: bool,
    /// Of all that tools returned.
    returned: Marking,
}

/// A value as it is looked for.
struct Needle<'a> {
    exact: &'a str,
    folded: String,
}

impl<'a> Needle<'a> {
    fn new(value: &'a str) -> Self {
        let value = value.trim();
        let bare =
            ["https://", "http://"].iter().find_map(|scheme| value.strip_prefix(scheme)).unwrap_or(value);
        let exact = bare.strip_suffix('/').filter(|rest| !rest.is_empty()).unwrap_or(bare);
        Self { exact, folded: exact.to_ascii_lowercase() }
    }

    fn matches_nothing(&self) -> bool {
        self.exact.chars().count() < MIN_CHARS || ENUM_WORDS.contains(&self.folded.as_str())
    }

    /// Where it stands whole in a text: no longer word, address or path goes on around it.
    fn whole(&self, said: &Said) -> Option<(usize, usize)> {
        // What comes after a slash may tell upper case from lower case.
        let (needle, text) = if self.exact.contains('/') {
            (self.exact, &said.text)
        } else {
            (self.folded.as_str(), &said.folded)
        };
        text.match_indices(needle)
            .map(|(start, _)| (start, start + needle.len()))
            .find(|(start, end)| begins(&text[..*start]) && ends(&text[*end..]))
    }
}

fn goes_on(c: char) -> bool {
    c.is_alphanumeric()
        || matches!(
            c,
            '_' | '-' | '.' | '@' | '/' | '\\' | '%' | '+' | '~' | '#' | '&' | '=' | '?' | '$' | ':'
        )
}

fn begins(before: &str) -> bool {
    let before = ["https://", "http://"]
        .iter()
        .find_map(|scheme| {
            before
                .len()
                .checked_sub(scheme.len())
                .filter(|at| before.is_char_boundary(*at) && before[*at..].eq_ignore_ascii_case(scheme))
        })
        .map_or(before, |at| &before[..at]);
    let mut back = before.chars().rev();
    match back.next() {
        None => true,
        // "#general", "@ann".
        Some('#' | '@') => back.next().is_none_or(|c| c.is_whitespace() || matches!(c, '(' | '"' | '\'')),
        Some(c) => !goes_on(c),
    }
}

fn ends(after: &str) -> bool {
    let after = after.strip_prefix('/').unwrap_or(after);
    let mut chars = after.chars();
    match chars.next() {
        None => true,
        // A sentence's end.
        Some('.' | ':' | '?') => {
            chars.next().is_none_or(|c| c.is_whitespace() || matches!(c, '"' | '\'' | ')' | ']'))
        }
        Some(c) => !goes_on(c),
    }
}

impl Known {
    pub(super) fn user_says(
        &mut self,
        event: Event,
        text: &str,
        marks: &[(core::ops::Range<usize>, Marking)],
    ) {
        let marking = Marking { integrity: Integrity::User, origins: [event].into(), ..Marking::default() };
        self.add(event, Source::User, text, marking, Vec::new(), false, marks);
    }

    pub(super) fn tool_returns(
        &mut self,
        event: Event,
        (name, tool): (&str, &Tool),
        text: &str,
        marks: &[(core::ops::Range<usize>, Marking)],
    ) {
        let readers = tool.readers.clone().map_or(Readers::Anyone, Readers::Only);
        let marking = Marking { readers, origins: [event].into(), ..Marking::default() };
        self.returned = self.returned.join(&marking);
        let index = self.said.len();
        let fields = fields::read(text);
        let mut is_untrusted = false;
        for (at, field) in fields.iter().enumerate() {
            if is_trusted(tool, field) {
                self.trusted.entry(Needle::new(&field.value).folded).or_default().push((index, at));
            } else {
                is_untrusted |= !fields::is_inert(&field.value);
            }
        }
        let source = Source::Result { tool: name.to_owned() };
        self.add(event, source, text, marking, fields, is_untrusted, marks);
    }

    #[allow(clippy::too_many_arguments)]
    fn add(
        &mut self,
        event: Event,
        source: Source,
        text: &str,
        marking: Marking,
        fields: Vec<Field>,
        is_untrusted: bool,
        marks: &[(core::ops::Range<usize>, Marking)],
    ) {
        for (span, found) in marks {
            if let Some(value) = text.get(span.clone()).filter(|value| value.chars().count() >= MIN_CHARS) {
                self.found.push((value.to_ascii_lowercase(), marking.join(found)));
            }
        }
        self.has_untrusted |= is_untrusted;
        let fold = |field: Field| Folded { name: field.name, value: field.value.to_ascii_lowercase() };
        self.said.push(Said {
            event,
            source,
            text: text.to_owned(),
            folded: text.to_ascii_lowercase(),
            fields: fields.into_iter().map(fold).collect(),
            is_untrusted,
            marking,
        });
    }

    pub(super) const fn has_untrusted(&self) -> bool {
        self.has_untrusted
    }

    pub(super) fn lower(&mut self, order: Lowering) -> Result<Lowered, NotLowered> {
        if order.who.trim().is_empty() || order.why.trim().is_empty() {
            return Err(NotLowered::NobodyAnswers);
        }
        let said = self.said.iter().find(|said| said.event == order.event).ok_or(NotLowered::NoSuchSpan)?;
        let text = said.text.get(order.span.clone()).map(str::trim);
        let text = text.filter(|text| !text.is_empty()).ok_or(NotLowered::NoSuchSpan)?;
        let lowered = Lowered { from: said.marking.clone(), order };
        self.lowered.push((Needle::new(text).exact.to_owned(), lowered.clone()));
        Ok(lowered)
    }

    /// What was found in texts and stands in this value.
    pub(super) fn found_in(&self, value: &str) -> Marking {
        let folded = value.to_ascii_lowercase();
        let lowest = Marking { integrity: Integrity::System, ..Marking::default() };
        let inside = self.found.iter().filter(|(found, _)| folded.contains(found.as_str()));
        inside.fold(lowest, |all, (_, marking)| all.join(marking))
    }

    /// Where a value stands that an argument of a tool has.
    pub(super) fn standing(&self, tool: &Tool, argument: &str, value: &str) -> Standing {
        let needle = Needle::new(value);
        let lowered = self.lowered.iter().rev().find(|(text, _)| *text == needle.exact);
        if let Some((_, lowered)) = lowered {
            let said = self.said.iter().find(|said| said.event == lowered.order.event);
            let span = Some((lowered.order.span.start, lowered.order.span.end));
            let place =
                |said: &Said| Place { event: said.event, source: said.source.clone(), field: None, span };
            return Standing {
                marking: lowered.order.to.clone(),
                places: said.map(place).into_iter().collect(),
            };
        }
        let about = words::about(argument);
        if needle.matches_nothing() {
            let is_own_id = about == About::Identifier && tool.is_own_change();
            let by_id =
                is_own_id.then(|| self.trusted_field(&needle, |name| is_id(name, argument))).flatten();
            return by_id.unwrap_or_else(|| self.unmatched());
        }
        let user = self.said.iter().enumerate().filter(|(_, said)| said.source == Source::User);
        let mut user = user.filter_map(|(at, said)| Some((at, said, needle.whole(said)?)));
        let user = user.next();
        let untrusted = self.said.iter().position(|said| said.is_untrusted && said.holds(&needle).is_some());
        if let Some((at, said, span)) = user
            && untrusted.is_none_or(|first| at < first)
        {
            let place = Place { event: said.event, source: Source::User, field: None, span: Some(span) };
            return Standing { marking: said.marking.clone(), places: vec![place] };
        }
        let trusted = match about {
            // A name that somebody chose is no place on the network, path or key.
            About::Url | About::PathOrCommand | About::Credential => None,
            About::Identifier if !tool.is_own_change() => None,
            About::Identifier => self.trusted_field(&needle, |name| is_id(name, argument)),
            About::Destination | About::Content | About::Other => {
                self.trusted_field(&needle, |name| words::about(name) != About::Identifier)
            }
        };
        trusted.or_else(|| self.elsewhere(&needle)).unwrap_or_else(|| self.unmatched())
    }

    /// The trusted field that has this very value.
    fn trusted_field(&self, needle: &Needle<'_>, is_meant: impl Fn(&str) -> bool) -> Option<Standing> {
        let mut places = Vec::new();
        let mut marking: Option<Marking> = None;
        for (text, field) in self.trusted.get(&needle.folded).into_iter().flatten() {
            let Some((said, field)) = self.said.get(*text).and_then(|s| Some((s, s.fields.get(*field)?)))
            else {
                continue;
            };
            if is_meant(field.name.as_deref().unwrap_or(ENTRIES)) {
                let trusted = Marking { integrity: Integrity::TrustedTool, ..said.marking.clone() };
                marking = Some(marking.map_or_else(|| trusted.clone(), |all| all.join(&trusted)));
                places.push(said.place(needle, field.name.clone()));
            }
        }
        marking.map(|marking| Standing { marking, places })
    }

    /// Where it stands in anything that tools returned.
    fn elsewhere(&self, needle: &Needle<'_>) -> Option<Standing> {
        let results = self.said.iter().filter(|said| said.source != Source::User);
        let held = results.filter_map(|said| Some((said, said.holds(needle)?)));
        let mut places = Vec::new();
        let mut marking: Option<Marking> = None;
        for (said, field) in held {
            let untrusted = Marking { integrity: Integrity::Untrusted, ..said.marking.clone() };
            marking = Some(marking.map_or_else(|| untrusted.clone(), |all| all.join(&untrusted)));
            places.push(said.place(needle, field));
        }
        marking.map(|marking| Standing { marking, places })
    }

    /// What matches nothing is the model's own: made of the user's words as long as nothing else was
    /// read, and of anything that was read from then on.
    fn unmatched(&self) -> Standing {
        let integrity = if self.has_untrusted { Integrity::Untrusted } else { Integrity::User };
        Standing { marking: Marking { integrity, ..self.returned.clone() }, places: Vec::new() }
    }
}

impl Said {
    /// Whether a value stands anywhere in it, and in which field.
    fn holds(&self, needle: &Needle<'_>) -> Option<Option<String>> {
        let field = self.fields.iter().find(|field| field.value.contains(&needle.folded));
        match field {
            Some(field) => Some(field.name.clone()),
            None => self.folded.contains(&needle.folded).then_some(None),
        }
    }

    fn place(&self, needle: &Needle<'_>, field: Option<String>) -> Place {
        let span = self.folded.find(&needle.folded).map(|start| (start, start + needle.folded.len()));
        Place { event: self.event, source: self.source.clone(), field, span }
    }
}

/// Whether a field of a result is the service's own word.
fn is_trusted(tool: &Tool, field: &Field) -> bool {
    let name = field.name.as_deref().unwrap_or(ENTRIES);
    let is_named = |trusted: &String| trusted == name || plain(trusted) == plain(name);
    tool.trusted_fields.iter().any(is_named) && fields::is_name(&field.value)
}

/// Whether a field's name is that of an identifier that the argument takes.
fn is_id(field: &str, argument: &str) -> bool {
    let (field, argument) = (plain(field), plain(argument));
    field == "id" || field == argument || field.strip_suffix("_id") == Some(argument.as_str())
}

fn plain(name: &str) -> String {
    name.trim_end_matches('_').to_ascii_lowercase().replace([' ', '-'], "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_stands_whole_or_not_at_all() {
        for (text, value, expected) in [
            ("Write to ann@corp.example.", "ann@corp.example", true),
            ("(ann@corp.example), please", "Ann@Corp.example", true),
            ("Post it in #general, \"@charlie\"", "general", true),
            ("Post it in #general, \"@charlie\"", "charlie", true),
            ("Ask Charlie's team", "charlie", true),
            ("See https://www.news.example/ for it", "www.news.example", true),
            ("See www.news.example: today", "https://www.news.example/", true),
            ("Is it www.news.example?", "http://www.news.example", true),
            ("See www.news.example/a", "www.news.example", false),
            ("See www.news.example/a", "www.news.example/A", false),
            ("See www.news.example", "news.example", false),
            ("See evil-news.example", "news.example", false),
            ("ann@corp.example", "corp.example", false),
            ("ann@corp.example.evil", "ann@corp.example", false),
            ("joann@corp.example", "ann@corp.example", false),
            ("https://user:www.news.example", "www.news.example", false),
            ("/srv/report/old", "/srv/report", false),
            ("reporting", "report", false),
            ("reporting on the report", "report", true),
        ] {
            let mut known = Known::default();
            known.user_says(Event(0), text, &[]);
            let whole = Needle::new(value).whole(&known.said[0]);
            assert_eq!(whole.is_some(), expected, "{text:?} {value:?} {whole:?}");
        }
    }

    #[test]
    fn what_is_short_or_a_word_of_a_choice_matches_nothing() {
        for (value, expected) in
            [("Alice", true), ("Charlie", false), ("private", true), ("Monthly", true), ("", true)]
        {
            assert_eq!(Needle::new(value).matches_nothing(), expected, "{value}");
        }
    }
}
