//! Telephone numbers, judged by the numbering plans of libphonenumber and by the words around.

use std::sync::OnceLock;

use aho_corasick::{AhoCorasick, AhoCorasickKind};
use phonenumber::country::Id;

use super::personal;
use crate::detect::Local;

/// How many numbers of one text are looked up in the numbering plans; the rest is judged by form
/// and words alone, so that a text of nothing but numbers costs no more.
#[derive(Debug)]
pub struct Budget(u32);

impl Default for Budget {
    fn default() -> Self {
        Self(16)
    }
}

/// Words before a number that say it is one to call.
const BEFORE: [&str; 41] = [
    "phone",
    "call",
    "tel",
    "mobile",
    "cell",
    "fax",
    "desk",
    "whatsapp",
    "sms",
    "dial",
    "reach me",
    "reach us",
    "hotline",
    "contact",
    "text me",
    "ring me",
    "handy",
    "mobil",
    "anruf",
    "telefon",
    "rufnummer",
    "téléphone",
    "portable",
    "appel",
    "teléfono",
    "móvil",
    "llam",
    "cellulare",
    "chiam",
    "telefone",
    "celular",
    "телефон",
    "电话",
    "電話",
    "手机",
    "전화",
    "my number",
    "his number",
    "her number",
    "their number",
    "our number",
];

/// Words before a number that say it is another one.
const OTHER: [&str; 12] = [
    "account",
    "card",
    "order",
    "invoice",
    "ticket",
    "ssn",
    "zip",
    "id ",
    "code",
    "passport",
    "licen",
    "social security",
];

/// Both, for one look at what stands before a number.
static FINDER: OnceLock<AhoCorasick> = OnceLock::new();

/// Words after a number that say so.
const AFTER: [&str; 10] =
    ["office", "fax", "mobile", "cell", "home", "work", "phone", "(cell)", "(mobile)", "(office)"];

/// Where numbers without a country may be from.
const COUNTRIES: [Id; 12] =
    [Id::US, Id::GB, Id::DE, Id::FR, Id::IT, Id::ES, Id::AU, Id::IN, Id::BR, Id::NL, Id::PL, Id::JP];

/// A number as it stands in the text.
struct Candidate {
    /// Where the number itself ends, and where its extension does.
    end: usize,
    whole_end: usize,
    digits: usize,
    separators: usize,
    slashes: usize,
}

/// Looks for a telephone number that begins at `at`; answers where it ends.
pub fn look(text: &str, at: usize, budget: &mut Budget, found: &mut Vec<Local>) -> Option<usize> {
    let bytes = text.as_bytes();
    let candidate = candidate(bytes, at)?;
    let number = &text[at..candidate.end];
    if !(7..=15).contains(&candidate.digits) || is_date(number) {
        return None;
    }
    let international = number.starts_with('+') || number.starts_with("00") && candidate.digits > 9;
    let named = spoken_of(text, at, candidate.whole_end);
    let formed = candidate.separators > 0 || number.starts_with(['+', '(']);
    let mut valid = |country: Option<Id>, number: &str| {
        budget.0 > 0 && {
            budget.0 -= 1;
            phonenumber::parse(country, number).is_ok_and(|parsed| phonenumber::is_valid(&parsed))
        }
    };
    // The words beside it are enough: plans are looked up where there are none.
    let (confidence, why) = if named {
        (0.85, "the words beside it say that it is called")
    } else if international && formed {
        let plus = if number.starts_with('+') {
            number.to_owned()
        } else {
            format!("+{}", number.trim_start_matches('0'))
        };
        if valid(None, &plus) {
            (0.97, "valid in its country's numbering plan")
        } else if candidate.separators > 1 {
            (0.6, "the form of an international number")
        } else {
            return None;
        }
    } else if candidate.slashes == 0 && plainly_formed(number, &candidate) {
        let countries = if number.starts_with(['0', '(']) { &COUNTRIES[..6] } else { &COUNTRIES[..1] };
        if !countries.iter().any(|country| valid(Some(*country), number)) {
            return None;
        }
        (0.7, "valid in a country's numbering plan")
    } else {
        return None;
    };
    found.push(personal("phone", at, candidate.whole_end, confidence, why));
    Some(candidate.whole_end)
}

/// The digits and what joins them.
fn candidate(bytes: &[u8], at: usize) -> Option<Candidate> {
    let (mut here, mut end, mut digits, mut separators, mut slashes) = (at, at, 0, 0, 0);
    let (mut run, mut open) = (0, 0);
    while here < bytes.len() && here < at + 40 {
        match bytes[here] {
            byte if byte.is_ascii_digit() => {
                digits += 1;
                run = 0;
                end = here + 1;
            }
            b'+' if here == at => {}
            b'(' if open == 0 => open = 1,
            b')' if open == 1 => open = 2,
            b' ' | b'-' | b'.' => {
                separators += u32::from(run == 0) as usize;
                run += 1;
            }
            b'/' => {
                slashes += 1;
                run += 1;
            }
            _ => break,
        }
        if run > 2 {
            break;
        }
        here += 1;
    }
    let rest = &bytes[end..];
    let gap = rest.iter().take(2).take_while(|b| **b == b' ').count();
    let word = ["extension", "ext.", "ext", "x", "#"].iter().find(|word| {
        rest.len() >= gap + word.len() && rest[gap..gap + word.len()].eq_ignore_ascii_case(word.as_bytes())
    });
    let mut whole_end = end;
    if let Some(word) = word {
        let from = gap + word.len();
        let from = from + rest[from..].iter().take(1).take_while(|b| **b == b' ').count();
        let more = rest[from..].iter().take(8).take_while(|b| b.is_ascii_digit()).count();
        if more > 0 {
            whole_end = end + from + more;
        }
    }
    let follows = bytes.get(whole_end).is_some_and(|b| b.is_ascii_alphanumeric() || *b == b'_');
    (!follows).then_some(Candidate { end, whole_end, digits, separators, slashes })
}

/// Whether it groups its digits as telephone numbers are: three or more groups, or an area in
/// brackets; no group of one digit but a trunk's.
fn plainly_formed(number: &str, candidate: &Candidate) -> bool {
    let groups: Vec<usize> =
        number.split(|c: char| !c.is_ascii_digit()).filter(|group| !group.is_empty()).map(str::len).collect();
    let bracket = number.starts_with('(') && number.contains(')');
    let american = matches!(groups.as_slice(), [3, 3, 4] | [1, 3, 3, 4]);
    let even =
        groups.len() >= 4 && number.starts_with('0') && groups.iter().all(|group| *group >= 2 && *group <= 4);
    candidate.digits >= 9 && candidate.separators <= 6 && (bracket || american || even)
}

fn is_date(number: &str) -> bool {
    let parts: Vec<&str> = number.split(['-', '/', '.', ' ']).take(4).collect();
    let small =
        |part: &str, most: u32| part.len() <= 2 && part.parse::<u32>().is_ok_and(|n| (1..=most).contains(&n));
    let year = |part: &str| part.len() == 4 && (part.starts_with("19") || part.starts_with("20"));
    match parts.as_slice() {
        [y, m, d, ..] if year(y) && small(m, 12) && small(d, 31) => true,
        [a, b, y, ..] if year(y) && small(a, 31) && small(b, 31) => true,
        _ => false,
    }
}

/// Whether words beside the number say that it is called.
fn spoken_of(text: &str, start: usize, end: usize) -> bool {
    let from = text.floor_char_boundary(start.saturating_sub(36));
    // Of the line and clause it stands in; what else is numbered there is another number.
    let clause = text[from..start].rsplit(['\n', ';']).next().unwrap_or_default();
    let finder = FINDER.get_or_init(|| {
        AhoCorasick::builder()
            .ascii_case_insensitive(true)
            .kind(Some(AhoCorasickKind::DFA))
            .build(BEFORE.iter().chain(&OTHER))
            .expect("few short words fit an automaton")
    });
    let mut last = None;
    for hit in finder.find_overlapping_iter(clause) {
        last = Some(hit.pattern().as_usize() < BEFORE.len());
    }
    if last == Some(true) {
        return true;
    }
    let to = text.floor_char_boundary((end + 12).min(text.len()));
    let after = text[end..to].trim_start_matches([' ', '\t', ',']).to_lowercase();
    AFTER
        .iter()
        .any(|word| after.strip_prefix(word).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric)))
}
