//! What reading policies of any kind has in common: limits, the schema, names and places.

use std::fmt;

use cedar_policy::{Policy, PolicyId, PolicySet, Schema, ValidationMode, Validator};
use miette::Diagnostic;
use sessile_model::network::{MAX_POLICIES, MAX_POLICY_BYTES, PolicyText};

use crate::bounds;

/// Something wrong with a policy, or doubtful.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Flaw {
    /// The text's name.
    pub name: String,
    /// Line and column, from 1, where that is known.
    pub place: Option<(usize, usize)>,
    /// What is wrong, and what to do where that is known.
    pub what: String,
}

impl fmt::Display for Flaw {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.place {
            Some((line, column)) => write!(f, "{}:{line}:{column}: {}", self.name, self.what),
            None => write!(f, "{}: {}", self.name, self.what),
        }
    }
}

/// Reads texts, checks them against a schema and hands each policy, with its number in its text from
/// 1, to `take`. The answer is what is doubtful.
///
/// # Errors
/// All that is wrong.
pub(crate) fn checked(
    schema: &str,
    texts: &[PolicyText],
    mut take: impl FnMut(&PolicyText, (usize, &Policy)) -> Result<(), Flaw>,
) -> Result<Vec<Flaw>, Vec<Flaw>> {
    if texts.is_empty() {
        return Ok(Vec::new());
    }
    let bytes: usize = texts.iter().map(|t| t.text.len()).sum();
    if bytes > MAX_POLICY_BYTES {
        let what = format!("the policies have {bytes} bytes, at most {MAX_POLICY_BYTES} are taken");
        return Err(vec![flaw(&texts[0], None, what)]);
    }
    let (schema, _) = Schema::from_cedarschema_str(schema).map_err(|e| internal(&e))?;
    let validator = Validator::new(schema);
    let (mut wrong, mut doubtful, mut count) = (Vec::new(), Vec::new(), 0);
    for text in texts {
        if let Err((offset, what)) = bounds::check(&text.text) {
            wrong.push(flaw(text, place(text, offset), what));
            continue;
        }
        let set = match text.text.parse::<PolicySet>() {
            Ok(set) => set,
            Err(errors) => {
                wrong.extend(errors.iter().map(|e| diagnosed(text, e)));
                continue;
            }
        };
        wrong.extend(set.templates().map(|_| {
            let what = "`?principal` and `?resource` are for templates, which nothing fills in here";
            flaw(text, None, what.to_owned())
        }));
        let checked = validator.validate(&set, ValidationMode::Strict);
        wrong.extend(checked.validation_errors().map(|e| diagnosed(text, e)));
        doubtful.extend(checked.validation_warnings().map(|w| diagnosed(text, w)));
        for policy in numbered(&set) {
            count += 1;
            wrong.extend(take(text, policy).err());
        }
    }
    if count > MAX_POLICIES {
        let what = format!("{count} policies, at most {MAX_POLICIES} are taken");
        wrong.push(flaw(&texts[0], None, what));
    }
    if wrong.is_empty() { Ok(in_order(doubtful)) } else { Err(in_order(wrong)) }
}

/// The name by which decisions are reported: a policy's `@id`, else its text's name and its number there.
pub(crate) fn id(text: &PolicyText, number: usize, policy: &Policy) -> Result<PolicyId, Flaw> {
    let own = format!("{} policy {number}", text.name);
    let id = policy.annotation("id").filter(|id| !id.is_empty()).map_or_else(|| own.clone(), str::to_owned);
    if id.len() > 128 || id.chars().any(char::is_control) {
        let what = format!("policy {number}: its @id is longer than 128 bytes or not printable");
        return Err(flaw(text, None, what));
    }
    Ok(PolicyId::new(id))
}

/// By their places. Cedar finds what is wrong once for each action; it is told once for each place.
fn in_order(mut flaws: Vec<Flaw>) -> Vec<Flaw> {
    flaws.sort_by(|a, b| (&a.name, a.place, &a.what).cmp(&(&b.name, b.place, &b.what)));
    flaws.dedup_by(|next, kept| next.place.is_some() && (&next.name, next.place) == (&kept.name, kept.place));
    flaws
}

/// A text's policies in their order there, with their numbers from 1.
fn numbered(set: &PolicySet) -> Vec<(usize, &Policy)> {
    let number = |id: &PolicyId| id.to_string().strip_prefix("policy").and_then(|n| n.parse::<usize>().ok());
    let mut all: Vec<_> = set.policies().map(|p| (number(p.id()).unwrap_or_default() + 1, p)).collect();
    all.sort_by_key(|(number, _)| *number);
    all
}

pub(crate) fn flaw(text: &PolicyText, place: Option<(usize, usize)>, what: String) -> Flaw {
    Flaw { name: text.name.clone(), place, what }
}

fn internal(error: &impl fmt::Display) -> Vec<Flaw> {
    vec![Flaw { name: "schema".to_owned(), place: None, what: error.to_string() }]
}

/// What Cedar found, with its place.
fn diagnosed(text: &PolicyText, found: &(impl Diagnostic + ?Sized)) -> Flaw {
    let offset = found.labels().and_then(|mut labels| labels.next()).map(|label| label.offset());
    let place = offset.and_then(|offset| place(text, offset));
    let mut what = found.to_string();
    // A validator's messages begin with an id that is only a number there.
    if let Some((_, rest)) = what.split_once("`, ").filter(|(id, _)| id.starts_with("for policy `")) {
        what = rest.to_owned();
    }
    if let Some(help) = found.help() {
        what = format!("{what} ({help})");
    }
    flaw(text, place, what)
}

/// Line and column of an offset in bytes.
fn place(text: &PolicyText, offset: usize) -> Option<(usize, usize)> {
    let before = text.text.get(..offset)?;
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().chars().count() + 1;
    Some((line, column))
}
