//! Values as Python writes them: what many tools print of a result.

use serde_json::{Map, Number, Value};

/// How deep a value may be nested.
const MAX_DEPTH: usize = 32;

/// The value that a text is, where it is one and nothing else: `None`, `True`, numbers, texts in either
/// quotes, lists, tuples and tables.
pub(crate) fn parse(text: &str) -> Option<Value> {
    let mut reader = Reader { rest: text };
    let value = reader.value(0)?;
    reader.space();
    reader.rest.is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn take(&mut self, word: &str) -> bool {
        let rest = self.rest.strip_prefix(word);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn value(&mut self, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        self.space();
        match self.rest.chars().next()? {
            '[' => self.list('[', ']', depth),
            '(' => self.list('(', ')', depth),
            '{' => self.table(depth),
            '\'' | '"' => self.text().map(Value::String),
            _ => self.word(),
        }
    }

    fn list(&mut self, open: char, close: char, depth: usize) -> Option<Value> {
        self.rest = self.rest.strip_prefix(open)?;
        let mut items = Vec::new();
        loop {
            self.space();
            if let Some(rest) = self.rest.strip_prefix(close) {
                self.rest = rest;
                return Some(Value::Array(items));
            }
            items.push(self.value(depth + 1)?);
            self.space();
            if !self.take(",") && !self.rest.starts_with(close) {
                return None;
            }
        }
    }

    fn table(&mut self, depth: usize) -> Option<Value> {
        self.rest = self.rest.strip_prefix('{')?;
        let mut table = Map::new();
        loop {
            self.space();
            if self.take("}") {
                return Some(Value::Object(table));
            }
            let key = match self.value(depth + 1)? {
                Value::String(key) => key,
                key @ (Value::Number(_) | Value::Bool(_) | Value::Null) => key.to_string(),
                Value::Array(_) | Value::Object(_) => return None,
            };
            self.space();
            if !self.take(":") {
                return None;
            }
            let value = self.value(depth + 1)?;
            // A key that is there twice: what a reader takes of it is not known.
            if table.insert(key, value).is_some() {
                return None;
            }
            self.space();
            if !self.take(",") && !self.rest.starts_with('}') {
                return None;
            }
        }
    }

    fn text(&mut self) -> Option<String> {
        let quote = self.rest.chars().next()?;
        let mut text = String::new();
        let mut chars = self.rest[quote.len_utf8()..].chars();
        loop {
            match chars.next()? {
                c if c == quote => break,
                '\\' => match chars.next()? {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    '\n' => {}
                    'x' => text.push(coded(&mut chars, 2)?),
                    'u' => text.push(coded(&mut chars, 4)?),
                    'U' => text.push(coded(&mut chars, 8)?),
                    c @ ('\\' | '\'' | '"') => text.push(c),
                    c => text.extend(['\\', c]),
                },
                c => text.push(c),
            }
        }
        self.rest = chars.as_str();
        Some(text)
    }

    fn word(&mut self) -> Option<Value> {
        let end = self.rest.find([',', ']', ')', '}', ':', ' ', '\n', '\t']).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        match word {
            "None" | "null" => Some(Value::Null),
            "True" | "true" => Some(Value::Bool(true)),
            "False" | "false" => Some(Value::Bool(false)),
            word => {
                let whole = word.parse::<i64>().ok().map(Number::from);
                whole.or_else(|| Number::from_f64(word.parse().ok()?)).map(Value::Number)
            }
        }
    }
}

/// The character whose number comes next, in so many digits.
fn coded(chars: &mut core::str::Chars<'_>, digits: usize) -> Option<char> {
    let number: String = chars.take(digits).collect();
    (number.len() == digits).then(|| u32::from_str_radix(&number, 16).ok().and_then(char::from_u32))?
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn values() {
        for (text, expected) in [
            ("None", json!(null)),
            (" [1, -2.5, True, 'a', ] ", json!([1, -2.5, true, "a"])),
            (
                r#"{'a': "it's", 'b': 'say \'x\'\n\x41\u00fc\q', 3: ()}"#,
                json!({"a": "it's", "b": "say 'x'\nAü\\q", "3": []}),
            ),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for bad in ["", "hello", "[1", "[1] x", "{'a'}", "{'a': 1, 'a': 2}", "'\\x4", "datetime(1)", "[1 2]"]
        {
            assert_eq!(parse(bad), None, "{bad}");
        }
        assert_eq!(parse(&"[".repeat(100_000)), None);
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in "[\\[\\]{}()'\",:\\\\xu a1ü\n]{0,40}") {
            let _ = parse(&text);
        }
    }
}
