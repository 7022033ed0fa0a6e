//! What was said and read in a conversation, and where a value of it stands.

use core::ops::Range;
use std::collections::HashMap;

use serde::Serialize;

use super::fields::{self, Field};
use super::needle::{MIN_CHARS, Needle};
use crate::marking::{Event, Integrity, Lowered, Lowering, Marking, Readers};
use crate::tools::words::{self, About};
use crate::tools::{ENTRIES, Tool};

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

pub(super) struct Said {
    pub event: Event,
    pub source: Source,
    pub text: String,
    pub folded: String,
    pub fields: Vec<Folded>,
    /// Whether any of it is neither the user's, nor a trusted field, nor without words.
    is_untrusted: bool,
    pub marking: Marking,
}

/// A field, its value in small letters.
pub(super) struct Folded {
    pub name: Option<String>,
    pub value: String,
    pub record: usize,
}

/// Everything that was said and read.
#[derive(Default)]
pub(super) struct Known {
    pub said: Vec<Said>,
    /// Trusted fields by their values: text, and field of it.
    pub trusted: HashMap<String, Vec<(usize, usize)>>,
    /// Values that were found in texts, with what was found.
    found: Vec<(String, Marking)>,
    lowered: Vec<(String, Lowered)>,
    has_untrusted: bool,
    /// Of all that tools returned.
    returned: Marking,
}

impl Known {
    pub(super) fn user_says(&mut self, event: Event, text: &str, marks: &[(Range<usize>, Marking)]) {
        let marking = Marking { integrity: Integrity::User, origins: [event].into(), ..Marking::default() };
        self.add(event, Source::User, text, marking, Vec::new(), false, marks);
    }

    pub(super) fn tool_returns(
        &mut self,
        event: Event,
        (name, tool): (&str, &Tool),
        text: &str,
        marks: &[(Range<usize>, Marking)],
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
                // A number from outside may be somebody's telephone or account.
                let is_inert = if tool.is_open_world { fields::is_void } else { fields::is_inert };
                is_untrusted |= !is_inert(&field.value);
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
        marks: &[(Range<usize>, Marking)],
    ) {
        for (span, found) in marks {
            if let Some(value) = text.get(span.clone()).filter(|value| value.chars().count() >= MIN_CHARS) {
                self.found.push((value.to_ascii_lowercase(), marking.join(found)));
            }
        }
        self.has_untrusted |= is_untrusted;
        let fold = |field: Field| Folded {
            name: field.name,
            value: field.value.to_ascii_lowercase(),
            record: field.record,
        };
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
    pub(super) fn standing(&self, tool: (&str, &Tool), argument: &str, value: &str) -> Standing {
        let (name, tool) = tool;
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
        if !needle.matches_nothing()
            && let Some((said, span)) = self.user_first(&needle, about)
        {
            let span = Some((span.start, span.end));
            let place = Place { event: said.event, source: Source::User, field: None, span };
            return Standing { marking: said.marking.clone(), places: vec![place] };
        }
        let trusted = match about {
            // A name that somebody chose is no place on the network, path or key.
            About::Url | About::PathOrCommand | About::Credential => None,
            About::Identifier if tool.is_own_change() => {
                self.trusted_field(&needle, |name| is_id(name, argument))
            }
            About::Identifier => self.named_record(&needle, name, argument),
            About::Destination | About::Content | About::Other if needle.matches_nothing() => None,
            About::Destination | About::Content | About::Other => {
                self.trusted_field(&needle, |name| words::about(name) != About::Identifier)
            }
        };
        let elsewhere = || (!needle.matches_nothing()).then(|| self.elsewhere(&needle)).flatten();
        trusted.or_else(elsewhere).unwrap_or_else(|| self.unmatched())
    }

    /// What the user said that has this value whole, before anything untrusted had it, and where.
    pub(super) fn user_first(&self, needle: &Needle<'_>, about: About) -> Option<(&Said, Range<usize>)> {
        let is_number = about == About::Destination;
        let grouped = |said: &Said| is_number.then(|| needle.grouped(&said.folded)).flatten();
        let place = |said: &Said| needle.whole(&said.text, &said.folded).or_else(|| grouped(said));
        let mut user = self.said.iter().enumerate().filter(|(_, said)| said.source == Source::User);
        let (at, said, span) = user.find_map(|(at, said)| Some((at, said, place(said)?)))?;
        let has_it =
            |said: &Said| said.is_untrusted && (said.holds(needle).is_some() || grouped(said).is_some());
        (!self.said[..at].iter().any(has_it)).then_some((said, span))
    }

    /// The trusted field that has this very value.
    fn trusted_field(&self, needle: &Needle<'_>, is_meant: impl Fn(&str) -> bool) -> Option<Standing> {
        if self.misleads(needle) {
            return None;
        }
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

    /// Whether a value that somebody chose looks like another one that is meant.
    fn misleads(&self, needle: &Needle<'_>) -> bool {
        let is_another = |seen: String| {
            let user = |said: &Said| said.source == Source::User && said.folded.contains(&seen);
            self.trusted.contains_key(&seen) || self.said.iter().any(user)
        };
        needle.is_disguised() || needle.looks_like().is_some_and(is_another)
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

    pub(super) fn place(&self, needle: &Needle<'_>, field: Option<String>) -> Place {
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
pub(super) fn is_id(field: &str, argument: &str) -> bool {
    let (field, argument) = (plain(field), plain(argument));
    field == "id" || field == argument || field.strip_suffix("_id") == Some(argument.as_str())
}

fn plain(name: &str) -> String {
    name.trim_end_matches('_').to_ascii_lowercase().replace([' ', '-'], "_")
}
