//! Values that are assigned to what is called a secret: `password=`, `api_key:`, `--token`.

use super::{secret, values};
use crate::detect::Local;

/// How sure a name makes that what is assigned to it is a secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strength {
    /// A password: people choose words too.
    Password,
    /// A token or key: made by a machine.
    Token,
}

/// Names and what they promise.
pub const NAMES: &[(&str, Strength)] = &[
    ("password", Strength::Password),
    ("passwd", Strength::Password),
    ("passphrase", Strength::Password),
    ("passcode", Strength::Password),
    ("passwort", Strength::Password),
    ("kennwort", Strength::Password),
    ("contraseña", Strength::Password),
    ("contrasena", Strength::Password),
    ("senha", Strength::Password),
    ("mot de passe", Strength::Password),
    ("wachtwoord", Strength::Password),
    ("lösenord", Strength::Password),
    ("hasło", Strength::Password),
    ("şifre", Strength::Password),
    ("пароль", Strength::Password),
    ("密码", Strength::Password),
    ("パスワード", Strength::Password),
    ("비밀번호", Strength::Password),
    ("pwd", Strength::Password),
    ("_pass", Strength::Password),
    ("userpass", Strength::Password),
    ("dbpass", Strength::Password),
    ("psk=", Strength::Password),
    ("pass=", Strength::Password),
    ("pass:", Strength::Password),
    ("secret", Strength::Token),
    ("token", Strength::Token),
    ("apikey", Strength::Token),
    ("api_key", Strength::Token),
    ("api-key", Strength::Token),
    ("api key", Strength::Token),
    ("access_key", Strength::Token),
    ("accesskey", Strength::Token),
    ("access-key", Strength::Token),
    ("auth_key", Strength::Token),
    ("authkey", Strength::Token),
    ("private_key", Strength::Token),
    ("privatekey", Strength::Token),
    ("encryption_key", Strength::Token),
    ("signing_key", Strength::Token),
    ("credential", Strength::Token),
    ("_auth", Strength::Token),
];

/// Ends of names that say something about a secret rather than hold one.
const ABOUT: [&str; 30] = [
    "field",
    "label",
    "reset",
    "length",
    "policy",
    "url",
    "uri",
    "path",
    "file",
    "regex",
    "type",
    "hint",
    "expir",
    "count",
    "limit",
    "name",
    "endpoint",
    "format",
    "placeholder",
    "input",
    "valid",
    "error",
    "board",
    "word",
    "izer",
    "tokens",
    "class",
    "text",
    "_by_",
    "_through",
];

/// What stands between a name and its value.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Joint {
    /// `=` with nothing around it.
    Tight,
    /// `:`, `=>`, `=` with space around it.
    Loose,
    /// A bracket, a comma or a space, and a quotation mark.
    Quoted,
    /// The space after an option of a command line.
    Option,
    /// A verb.
    Said,
    /// A comparison.
    Compared,
}

/// Looks at what is assigned to the name at `start..end`.
pub fn check(strength: Strength, text: &[u8], start: usize, end: usize, found: &mut Vec<Local>) {
    let mut at = end;
    while at < text.len()
        && at < end + 24
        && (text[at].is_ascii_alphanumeric() || matches!(text[at], b'_' | b'-' | b'.'))
    {
        at += 1;
    }
    let tail = &text[end..at];
    if ABOUT.iter().any(|word| values::contains(tail, word)) || is_other_word(text, start, end) {
        return;
    }
    // `pass=` and `pass:` bring their joint along.
    if matches!(text[end - 1], b'=' | b':') {
        at = end - 1;
    }
    let Some((joint, from)) = joint(text, start, at) else { return };
    let Some((from, to, quoted)) = value(text, from) else { return };
    let value = &text[from..to];
    if values::stands_for_another(value) || value.len() > 512 {
        return;
    }
    // What a shell would put in, and ids of a page's elements.
    if !quoted && value.contains(&b'$') || matches!(value[0], b'#' | b',' | b'.' | b'\'') {
        return;
    }
    // Words for what would stand there, and what anonymous logins say by custom (RFC 1635).
    let words = ["secret", "password", "passwd", "example", "pass", "pwd"];
    let word = words.iter().any(|word| value.eq_ignore_ascii_case(word.as_bytes()));
    if strength == Strength::Password && (word || value.ends_with(b"@")) {
        return;
    }
    let is_option = strength == Strength::Token && value[0] == b'-';
    let is_typed = joint == Joint::Loose && text.get(to) == Some(&b'<');
    if !quoted && (is_option || is_typed || joint == Joint::Loose && is_code(value)) || value.ends_with(b"()")
    {
        return;
    }
    // The first of several arguments is whose it is.
    if joint == Joint::Quoted && text[..from - 1].ends_with(b"(") && text.get(to + 1) == Some(&b',') {
        return;
    }
    // An id tells apart and opens nothing; services whose keys are such ids are in `contexts`.
    if values::is_uuid(value) {
        return;
    }
    // Such a key has forty letters; `contexts` knows it.
    let name = &text[start.saturating_sub(12)..at];
    if values::contains(name, "aws_") && values::contains(name, "key") {
        return;
    }
    if let Some((confidence, why)) = judge(strength, joint, value, quoted) {
        let kind = if strength == Strength::Password { "password" } else { "secret_value" };
        found.push(secret(kind, from, to, confidence, why));
    }
}

/// Whether the name is the end of a word that has nothing to do with it: `bypass`, or of a path.
fn is_other_word(text: &[u8], start: usize, end: usize) -> bool {
    let before = &text[..start];
    let ends = |word: &str| {
        before.len() >= word.len()
            && before[before.len() - word.len()..].eq_ignore_ascii_case(word.as_bytes())
    };
    values::contains(&text[start..end.min(start + 5)], "pass")
        && (["by", "com", "sur", "tres", "over", "under"].iter().any(|word| ends(word)) || ends("/"))
}

/// Whether it is written in code: another variable of that name, a member, a type, a number.
fn is_code(value: &[u8]) -> bool {
    let is_name = value.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'.' | b':'));
    let nouns = ["password", "passwd", "token", "secret"];
    let mut parts = value.split(|b| matches!(b, b'_' | b'.' | b':'));
    let mut is_member = || {
        value.contains(&b'.') && parts.all(|part| part.len() < 16 && part.iter().all(u8::is_ascii_alphabetic))
    };
    let number = value.strip_prefix(b"0x").filter(|digits| digits.len() <= 8);
    is_name
        && (nouns.iter().any(|noun| values::contains(value, noun))
            || value.windows(2).any(|two| two == b"::")
            || value[0] == b'_'
            || is_constant(value)
            || is_member())
        || number.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
}

/// Whether it is written as constants are, in words of capitals.
fn is_constant(value: &[u8]) -> bool {
    let name = value.rsplit(|b| *b == b'.').next().unwrap_or(value);
    !name.iter().any(u8::is_ascii_lowercase)
        && name.iter().filter(|b| **b == b'_').count() > 1
        && name.iter().filter(|b| b.is_ascii_digit()).count() * 6 < name.len()
}

/// The joint after the name that ends at `at`, and where what follows begins.
fn joint(text: &[u8], start: usize, at: usize) -> Option<(Joint, usize)> {
    let mut here = at;
    while here < text.len() && matches!(text[here], b'"' | b'\'' | b'\\' | b']' | b'`') {
        here += 1;
    }
    let closed = here > at;
    let spaces = |from: usize| text[from..].iter().take(64).take_while(|b| matches!(b, b' ' | b'\t')).count();
    let quote = |place: usize| matches!(text.get(place), Some(b'"' | b'\'' | b'`'));
    let after = here + spaces(here);
    let spaced = after > here;
    match text.get(after)? {
        // `<password>…</password>`, and `key="Password" value="…"`.
        b'>' if !spaced && !closed && opens_tag(text, start) => Some((Joint::Quoted, after + 1)),
        b'v' if closed && spaced && text[after..].starts_with(b"value=") => Some((Joint::Tight, after + 6)),
        b'=' | b'!' if text.get(after + 1) == Some(&b'=') => {
            let from = after + 2 + usize::from(text.get(after + 2) == Some(&b'='));
            quote(from + spaces(from)).then_some((Joint::Compared, from))
        }
        b'=' if text.get(after + 1) == Some(&b'>') => Some((Joint::Loose, after + 2)),
        b'=' => {
            let tight = !spaced && !matches!(text.get(after + 1), Some(b' ' | b'\t'));
            Some((if tight { Joint::Tight } else { Joint::Loose }, after + 1))
        }
        b':' if matches!(text.get(after + 1), Some(b'=')) => Some((Joint::Loose, after + 2)),
        b':' if matches!(text.get(after + 1), Some(b':' | b'/')) => None,
        b':' => Some((Joint::Loose, after + 1)),
        b',' if closed && quote(after + 1 + spaces(after + 1)) => Some((Joint::Quoted, after + 1)),
        b'(' if quote(after + 1) => Some((Joint::Quoted, after + 1)),
        b'"' | b'\'' if spaced && !closed => Some((Joint::Quoted, after)),
        _ if spaced && !closed => {
            let word: Vec<u8> =
                text[after..].iter().take(5).take_while(|b| !b" :".contains(b)).copied().collect();
            if matches!(word.as_slice(), b"is" | b"was" | b"ist" | b"est" | b"es" | b"are") {
                let next = after + word.len();
                return Some((Joint::Said, next + usize::from(text.get(next) == Some(&b':'))));
            }
            let begins = start - text[..start].iter().rev().take(32).take_while(|b| is_option(**b)).count();
            (begins < text.len()
                && text[begins] == b'-'
                && (begins == 0 || text[begins - 1].is_ascii_whitespace()))
            .then_some((Joint::Option, after))
        }
        _ => None,
    }
}

/// Whether the name that holds `at` is that of a tag that opens.
fn opens_tag(text: &[u8], at: usize) -> bool {
    let name = |b: &&u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
    let before = text[..at].iter().rev().take(32).take_while(name).count();
    at > before && text[at - before - 1] == b'<'
}

const fn is_option(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// The value that begins at `at` or after space, and whether it stands in quotation marks.
fn value(text: &[u8], at: usize) -> Option<(usize, usize, bool)> {
    let mut from =
        at + text[at.min(text.len())..].iter().take(24).take_while(|b| matches!(b, b' ' | b'\t')).count();
    if matches!(text.get(from), Some(b'b' | b'u' | b'f' | b'r' | b'@'))
        && matches!(text.get(from + 1), Some(b'"' | b'\''))
    {
        from += 1;
    }
    while text.get(from) == Some(&b'\\') && matches!(text.get(from + 1), Some(b'"' | b'\'' | b'\\')) {
        from += 1;
    }
    let first = *text.get(from)?;
    if matches!(first, b'"' | b'\'' | b'`') {
        let inside = &text[from + 1..];
        let length = inside.iter().take(600).position(|b| *b == first || *b == b'\n' || *b == b'\\')?;
        (inside[length] != b'\n').then_some((from + 1, from + 1 + length, true))
    } else {
        let rest = &text[from..];
        let ends = |b: &u8| b.is_ascii_whitespace() || b"\"'`;,<>(){}[]&|\\".contains(b);
        let length = rest.iter().take(600).position(ends).unwrap_or(rest.len().min(600));
        // A call is no value.
        if length == 0 || matches!(rest.get(length), Some(b'(' | b'[')) {
            return None;
        }
        let length = if matches!(rest[length - 1], b'.' | b':') { length - 1 } else { length };
        Some((from, from + length, false))
    }
}

/// How sure it is that the value is a secret, if at all.
fn judge(strength: Strength, joint: Joint, value: &[u8], quoted: bool) -> Option<(f32, &'static str)> {
    let digit = value.iter().any(u8::is_ascii_digit);
    let letter = value.iter().any(u8::is_ascii_alphabetic);
    let symbol = value.iter().any(|b| b.is_ascii_punctuation() && !b"._-/:".contains(b));
    let spaced = value.iter().any(u8::is_ascii_whitespace);
    match strength {
        Strength::Password => {
            if value.len() < 4 || spaced && value.len() > 40 {
                return None;
            }
            let plain = !digit && !symbol;
            match joint {
                _ if spaced => None,
                Joint::Said => ((digit && letter) || symbol && letter && value.len() > 6)
                    .then_some((0.6, "said to be a password")),
                Joint::Tight => (!plain || quoted || !value.contains(&b'.'))
                    .then_some((if plain { 0.5 } else { 0.85 }, "assigned to a password")),
                Joint::Compared => {
                    (value.len() > 5 && !values::is_word(value)).then_some((0.6, "compared with a password"))
                }
                Joint::Loose if !quoted => ((digit && letter) || symbol || digit && value.len() > 5)
                    .then_some((0.75, "assigned to a password")),
                Joint::Loose | Joint::Quoted => {
                    Some((if plain { 0.5 } else { 0.85 }, "assigned to a password"))
                }
                Joint::Option => (!value.starts_with(b"-") && (!plain || quoted))
                    .then_some((0.7, "an option for a password")),
            }
        }
        Strength::Token => {
            if values::counts(value) {
                return None;
            }
            let random = digit && letter && values::distinct(value) > 5 && !values::is_word(value)
                || symbol && letter && values::distinct(value) > 7
                || letter && value.len() >= 16 && values::entropy(value) > 3.5 && !values::is_word(value);
            let compared =
                joint == Joint::Compared && value.len() >= 10 && !spaced && symbol | value.contains(&b'-');
            if compared && !values::is_word(value) && values::distinct(value) > 6 {
                return Some((0.4, "compared with what is called a secret"));
            }
            (value.len() >= 8 && !spaced && random && joint != Joint::Said && !is_place(value)).then_some((
                if value.len() >= 16 { 0.8 } else { 0.6 },
                "a random value assigned to what is called a secret",
            ))
        }
    }
}

/// Whether it reads as a path, a host or a version rather than as something random.
fn is_place(value: &[u8]) -> bool {
    value.starts_with(b"/")
        || value.starts_with(b"./")
        || values::contains(value, "://")
        || value.iter().filter(|b| **b == b'/').count() > 3 && values::entropy(value) < 4.0
        || value.iter().filter(|b| matches!(b, b'-' | b'.' | b'_')).count() * 5 > value.len()
            && values::entropy(value) < 3.6
}
