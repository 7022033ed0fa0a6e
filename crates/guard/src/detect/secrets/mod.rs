//! Secrets: tokens known by how they begin, values beside the name of what they open, values
//! assigned to what is called a secret, and whole shapes such as keys and connection strings.
//!
//! One pass finds every word that any rule begins with; what stands there is then checked at
//! that place alone. Nothing is judged by its entropy without such a word beside it, so that
//! digests, commit ids and UUIDs stay what they are.

mod assigned;
mod blanks;
mod contexts;
mod pattern;
mod shapes;
mod tokens;
mod values;

use core::ops::Range;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::OnceLock;

use super::Local;
use super::words::Words;
use crate::finding::Category;
use pattern::Pattern;

/// Bytes between a service's name and the value it is told apart by.
const REACH: usize = 72;

/// What is done where a word stands.
#[derive(Clone, Debug)]
enum Rule {
    Token { kind: &'static str, pattern: Pattern, confidence: f32 },
    Inner { kind: &'static str, before: Pattern, least: usize, most: usize, pattern: Pattern },
    Context { kind: &'static str, pattern: Pattern },
    Assigned(assigned::Strength),
    Shape(shapes::Shape),
}

/// The detector, built once.
#[derive(Debug)]
pub struct Secrets {
    words: Words,
    rules: Vec<Vec<Rule>>,
}

impl Secrets {
    /// The one detector of this process.
    pub fn shipped() -> &'static Self {
        static SHIPPED: OnceLock<Secrets> = OnceLock::new();
        SHIPPED.get_or_init(Self::new)
    }

    fn new() -> Self {
        let mut words: Vec<String> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut rules: Vec<Vec<Rule>> = Vec::new();
        let mut add = |word: &str, rule: Rule| {
            let word = word.to_ascii_lowercase();
            let place = *places.entry(word.clone()).or_insert_with(|| {
                words.push(word);
                rules.push(Vec::new());
                rules.len() - 1
            });
            rules[place].push(rule);
        };
        for (rows, confidence) in [(tokens::TOKENS, 0.95), (tokens::IDENTIFIERS, 0.3)] {
            for (kind, written) in rows {
                let pattern = Pattern::new(written);
                let word = pattern.prefix().to_owned();
                add(&word, Rule::Token { kind, pattern, confidence });
            }
        }
        for (kind, class, least, most, written) in tokens::INNER {
            let pattern = Pattern::new(written);
            let word = pattern.prefix().to_owned();
            add(
                &word,
                Rule::Inner { kind, before: Pattern::new(class), least: *least, most: *most, pattern },
            );
        }
        for (kind, names, written) in contexts::CONTEXTS {
            for name in names.split('|') {
                add(name, Rule::Context { kind, pattern: Pattern::new(written) });
            }
        }
        for (name, strength) in assigned::NAMES {
            add(name, Rule::Assigned(*strength));
        }
        for (word, shape) in shapes::SHAPES {
            add(word, Rule::Shape(*shape));
        }
        Self { words: Words::new(&words), rules }
    }

    /// The patterns of all rules: for measuring what a scan rule by rule would cost.
    pub fn patterns() -> impl Iterator<Item = &'static str> {
        let tokens = tokens::TOKENS.iter().chain(tokens::IDENTIFIERS).map(|(_, written)| *written);
        tokens.chain(contexts::CONTEXTS.iter().map(|(_, _, written)| *written))
    }

    /// Every secret found in the text.
    pub fn scan(&self, text: &str, found: &mut Vec<Local>) {
        let bytes = text.as_bytes();
        let before = found.len();
        self.words.each(bytes, |hit| {
            for rule in &self.rules[hit.word] {
                self.apply(rule, bytes, hit.span(), found);
            }
        });
        let mut at = 0;
        found.retain(|local| {
            at += 1;
            at <= before || !blanks::is_none(bytes, local)
        });
    }

    fn apply(&self, rule: &Rule, text: &[u8], word: Range<usize>, found: &mut Vec<Local>) {
        let Range { start, end } = word;
        match rule {
            Rule::Token { kind, pattern, confidence } => {
                let Some(end) = pattern.ends(text, start) else { return };
                let token = &text[start..end];
                let short = pattern.prefix().len() < 4;
                if short && !values::mixed(token) || values::in_base64(text, start, end) {
                    return;
                }
                let (confidence, why) = values::weigh(token, *confidence);
                found.push(secret(kind, start, end, confidence, why));
            }
            Rule::Inner { kind, before, least, most, pattern } => {
                let Some(end) = pattern.ends_inside(text, start) else { return };
                let known = text[..start].iter().rev().take(most + 1);
                let length = known.take_while(|byte| before.begins_with(**byte)).count();
                if (*least..=*most).contains(&length) && !values::counts(&text[start - length..end]) {
                    found.push(secret(kind, start - length, end, 0.95, "the form of its issuer's tokens"));
                }
            }
            Rule::Context { kind, pattern } => beside(kind, pattern, text, start, end, found),
            Rule::Assigned(strength) => assigned::check(*strength, text, start, end, found),
            Rule::Shape(shape) => shape(text, start, end, found),
        }
    }
}

/// A finding of this detector.
fn secret(kind: &'static str, start: usize, end: usize, confidence: f32, why: &'static str) -> Local {
    Local {
        kind,
        category: Category::Secret,
        span: start..end,
        confidence,
        why: Cow::Borrowed(why),
        taint: None,
    }
}

/// Words that say that what is assigned opens something.
const HINTS: [&str; 18] = [
    "key", "secret", "token", "pass", "auth", "login", "licen", "bearer", "cred", "id", "clientid", "unseal",
    "access", "sid", "appid", "code=", "crumb", "pat",
];

/// A value of that shape, assigned within reach of the service's name.
fn beside(
    kind: &'static str,
    pattern: &Pattern,
    text: &[u8],
    start: usize,
    end: usize,
    found: &mut Vec<Local>,
) {
    let from = start - text[..start].iter().rev().take(32).take_while(|b| is_name(**b)).count();
    let limit = text.len().min(end + REACH);
    let (mut at, mut assigned, mut lines) = (end, false, 0);
    // The rest of the name that the service's name stands in.
    while at < limit && is_name(text[at]) {
        at += 1;
    }
    while at < limit {
        match text[at] {
            b'=' | b':' | b',' | b'(' | b'>' | b'\'' | b'"' => assigned = true,
            b'#' | b'@' => return,
            b'\n' => lines += 1,
            _ => {}
        }
        if lines > 2 {
            return;
        }
        let fresh =
            is_value(text[at]) && (at == 0 || !is_value(text[at - 1]) || matches!(text[at - 1], b'=' | b'/'));
        if assigned
            && fresh
            && let Some(end) = pattern.ends(text, at)
        {
            let hinted = HINTS.iter().any(|hint| values::contains(&text[from..at], hint));
            let value = &text[at..end];
            if hinted && !values::is_word(value) && !(*kind == *"api_key" && values::counts(value)) {
                let (confidence, why) = values::weigh(&text[at..end], 0.8);
                let why =
                    if confidence < 0.8 { why } else { "a value of this shape beside the service's name" };
                found.push(secret(kind, at, end, confidence, why));
                return;
            }
        }
        at += 1;
    }
}

/// Part of an identifier.
const fn is_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.')
}

/// Part of what stands as one value.
const fn is_value(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'/' | b'.')
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn kinds(text: &str) -> Vec<&'static str> {
        let mut found = Vec::new();
        Secrets::shipped().scan(text, &mut found);
        found.iter().map(|local| local.kind).collect()
    }

    #[test]
    fn every_token_rule_begins_with_at_least_two_known_letters() {
        for (kind, written) in tokens::TOKENS.iter().chain(tokens::IDENTIFIERS) {
            assert!(Pattern::new(written).prefix().len() >= 2, "{kind}: {written}");
        }
    }

    #[test]
    fn what_only_looks_random_is_no_secret() {
        for text in [
            "commit 3f786850e387550fdab836ed7e6dc881de23001b",
            "id: 123e4567-e89b-12d3-a456-426614174000",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "uses: github/codeql-action@3f786850e387550fdab836ed7e6dc881de23001b",
            "the github key of actions: checkout@3f786850e387550fdab836ed7e6dc881de23001b",
            "integrity sha512-9a0b1c2d3e4f5a6b7c8d9e0f1a2b3c4d5e6f7a8b9c0d1e2f3a4b5c6d7e8f9a0b==",
            "Please enter your password: it must have twelve letters.",
            "password = self.password_of(user)",
            "let token: Option<String> = None;",
            "max_tokens: 4096",
            "token: 123e4567-e89b-12d3-a456-426614174000",
            "password = \"password\"",
            "password=secret&x=1",
        ] {
            assert_eq!(kinds(text), Vec::<&str>::new(), "{text}");
        }
    }

    #[test]
    fn a_service_s_name_makes_a_value_of_its_shape_a_secret() {
        assert_eq!(kinds("DATADOG_API_KEY=0123456789abcdef0123456789abcdee").first(), Some(&"datadog_key"));
        assert!(kinds("datadog 0123456789abcdef0123456789abcdee").is_empty());
    }

    #[test]
    fn passwords_are_found_in_whatever_they_stand() {
        for text in [
            "password=Tr0ub4dor&3",
            "<password>Tr0ub4dor3</password>",
            "<add key=\"ClearTextPassword\" value=\"Tr0ub4dor3\" />",
            "define('DB_PASSWORD', 'Tr0ub4dor3');",
            "mysql -u root -pTr0ub4dor3 shop",
            "curl --user ann:Tr0ub4dor3 https://example.org",
            "postgres://ann:Tr0ub4dor3@db.example.org/shop",
            "jdbc:oracle:thin:ann/Tr0ub4dor3@db:1521:xe",
            "machine example.org\n  login ann\n  password Tr0ub4dor3\n",
            "my password is Tr0ub4dor3!",
            "--password Tr0ub4dor3",
            "Server=db;User Id=ann;Password=troubadour;Database=shop;",
            "Authorization: Basic YW5uOlRyMHViNGRvcjM=",
            "$secure = ConvertTo-SecureString \"Tr0ub4dor3\" -AsPlainText -Force",
            "new NetworkCredential(\"ann\", \"Tr0ub4dor3\")",
            "user: ann\npassword: 'two words'",
            "root:$6$rounds=5000$abcdefgh$0123456789abcdefABCDEFghijklmnopqrstuvwxyz",
            "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXk\n-----END OPENSSH PRIVATE KEY-----",
        ] {
            assert!(!kinds(text).is_empty(), "{text}");
        }
    }
}
