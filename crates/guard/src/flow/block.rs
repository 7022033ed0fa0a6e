//! Values as YAML writes them in its block style: what many tools print of a result.
//!
//! A part of YAML, read strictly: lists and tables by their indentation, texts plain or quoted that may
//! go on in deeper lines, `|` and `>`. What is anything else is no value here, so that no text is taken
//! for fields.

use serde_json::{Map, Value};

use super::literal;

/// How deep a value may be nested.
const MAX_DEPTH: usize = 32;

/// The list or table that a text is, where it is one and nothing else.
pub(crate) fn parse(text: &str) -> Option<Value> {
    let lines: Vec<Line<'_>> = text
        .lines()
        .map(|line| {
            let rest = line.trim_start_matches(' ');
            Line { indent: line.len() - rest.len(), text: rest.trim_end() }
        })
        .collect();
    let mut reader = Reader { lines, at: 0 };
    reader.skip_empty();
    let first = reader.lines.get(reader.at)?;
    let (indent, is_value) = (first.indent, first.is_entry() || key(first.text).is_some());
    if !is_value {
        return None;
    }
    let value = reader.node(indent, 0)?;
    reader.skip_empty();
    (reader.at == reader.lines.len()).then_some(value)
}

#[derive(Clone, Copy, Debug)]
struct Line<'a> {
    indent: usize,
    text: &'a str,
}

impl Line<'_> {
    fn is_entry(&self) -> bool {
        self.text == "-" || self.text.starts_with("- ")
    }
}

struct Reader<'a> {
    lines: Vec<Line<'a>>,
    at: usize,
}

/// A line's key and what follows it, where it begins with one.
fn key(text: &str) -> Option<(String, &str)> {
    if let Some(quote @ ('\'' | '"')) = text.chars().next() {
        let end = text[1..].find(quote)? + 1;
        let rest = text[end + 1..].strip_prefix(':')?;
        let is_key = rest.is_empty() || rest.starts_with(' ');
        return is_key.then(|| (text[1..end].to_owned(), rest.trim_start()));
    }
    let (key, rest) = match text.split_once(": ") {
        Some((key, rest)) => (key, rest),
        None => (text.strip_suffix(':')?, ""),
    };
    let is_plain =
        !key.is_empty() && !key.starts_with(['-', '[', '{', '|', '>', '&', '*', '!', '%', '@', '#', '?']);
    is_plain.then(|| (key.to_owned(), rest.trim_start()))
}

/// What follows the name by which a value is referred to again: `&id001`. No plain text begins so.
fn unanchored(text: &str) -> &str {
    match text.strip_prefix('&') {
        Some(rest) => rest.find(' ').map_or("", |end| rest[end..].trim_start()),
        None => text,
    }
}

impl<'a> Reader<'a> {
    fn peek(&self) -> Option<Line<'a>> {
        self.lines.get(self.at).copied()
    }

    fn skip_empty(&mut self) {
        while self.peek().is_some_and(|line| line.text.is_empty()) {
            self.at += 1;
        }
    }

    /// The list or table whose lines have this indentation.
    fn node(&mut self, indent: usize, depth: usize) -> Option<Value> {
        if depth > MAX_DEPTH {
            return None;
        }
        if self.peek()?.is_entry() { self.list(indent, depth) } else { self.table(indent, depth) }
    }

    fn list(&mut self, indent: usize, depth: usize) -> Option<Value> {
        let mut items = Vec::new();
        while let Some(line) = self.peek().filter(|line| line.indent == indent && line.is_entry()) {
            let rest = unanchored(line.text[1..].trim_start());
            let inner = indent + line.text.len() - rest.len();
            if rest.is_empty() {
                self.at += 1;
                items.push(self.below(indent, depth, false)?);
            } else if rest == "-" || rest.starts_with("- ") || key(rest).is_some() {
                self.lines[self.at] = Line { indent: inner, text: rest };
                items.push(self.node(inner, depth + 1)?);
            } else {
                self.at += 1;
                items.push(self.scalar(rest, indent)?);
            }
            self.skip_empty();
        }
        Some(Value::Array(items))
    }

    fn table(&mut self, indent: usize, depth: usize) -> Option<Value> {
        let mut table = Map::new();
        while let Some(line) = self.peek().filter(|line| line.indent == indent && !line.is_entry()) {
            let (key, rest) = key(line.text)?;
            let rest = unanchored(rest);
            self.at += 1;
            let value =
                if rest.is_empty() { self.below(indent, depth, true)? } else { self.scalar(rest, indent)? };
            // A key that is there twice: what a reader takes of it is not known.
            if table.insert(key, value).is_some() {
                return None;
            }
            self.skip_empty();
        }
        Some(Value::Object(table))
    }

    /// What stands in the lines below a key or a dash.
    fn below(&mut self, indent: usize, depth: usize, is_key: bool) -> Option<Value> {
        self.skip_empty();
        match self.peek() {
            Some(line) if line.indent > indent => self.node(line.indent, depth + 1),
            // A table's list need not be indented.
            Some(line) if is_key && line.indent == indent && line.is_entry() => self.node(indent, depth + 1),
            Some(_) | None => Some(Value::Null),
        }
    }

    /// A text that begins on this line; its further lines are deeper than `indent`.
    fn scalar(&mut self, first: &str, indent: usize) -> Option<Value> {
        let quote = first.chars().next()?;
        let mut text = first.to_owned();
        let is_block = matches!(first, "|" | "|-" | "|+" | ">" | ">-" | ">+");
        while self.peek().is_some() {
            // Empty lines belong to a text that goes on after them.
            let empty = self.lines[self.at..].iter().take_while(|line| line.text.is_empty()).count();
            let next = self.lines.get(self.at + empty).filter(|line| line.indent > indent);
            let Some(next) = next.copied() else {
                self.at += empty;
                break;
            };
            self.at += empty + 1;
            if quote == '"' && empty == 0 && ends_escaped(&text) {
                // The line's end is not part of the text.
                text.pop();
            } else if empty > 0 || is_block {
                text.push_str(&"\n".repeat(empty.max(1)));
            } else {
                text.push(' ');
            }
            // A space at a line's beginning is escaped.
            let escaped = next.text.strip_prefix('\\').filter(|rest| quote == '"' && rest.starts_with(' '));
            text.push_str(escaped.unwrap_or(next.text));
        }
        match quote {
            '\'' => {
                let inner = text.strip_prefix('\'')?.strip_suffix('\'')?.replace("''", "\u{0}");
                (!inner.contains('\'')).then(|| Value::String(inner.replace('\u{0}', "'")))
            }
            '"' => double(&text).map(Value::String),
            '[' | '{' => Some(literal::parse(&text).unwrap_or(Value::String(text))),
            _ if is_block => Some(Value::String(text[first.len()..].trim_start().to_owned())),
            _ => Some(Value::String(text)),
        }
    }
}

/// Whether a text ends in a backslash that no other one stands for.
fn ends_escaped(text: &str) -> bool {
    text.bytes().rev().take_while(|byte| *byte == b'\\').count() % 2 == 1
}

/// A text in double quotes, whose lines were joined.
fn double(text: &str) -> Option<String> {
    match literal::parse(text)? {
        Value::String(text) => Some(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn values() {
        for (text, expected) in [
            ("- a\n- b c", json!(["a", "b c"])),
            ("a: 1\nb:\n- x\n- y\nc:\n  d: e", json!({"a": "1", "b": ["x", "y"], "c": {"d": "e"}})),
            (
                "- body: Hey can you\n    come: now\n  to: Alice\n- body: 'it''s: so'\n  to: Bob\n",
                json!([{"body": "Hey can you come: now", "to": "Alice"}, {"body": "it's: so", "to": "Bob"}]),
            ),
            (
                "- id: '1'\n  who:\n  - a@x.example\n  text: \"one\\n\\\n    \\ two\"\n  none: []\n",
                json!([{"id": "1", "who": ["a@x.example"], "text": "one\n two", "none": []}]),
            ),
            ("a: |-\n  one\n  to: x\nb: 2", json!({"a": "one\nto: x", "b": "2"})),
            ("-\n  a: b", json!([{"a": "b"}])),
            ("a: \"one\\\n  two\\\\\n  three\\\n  \\ four\"", json!({"a": "onetwo\\ three four"})),
            ("a: &id001\n- x\nb: *id001\n", json!({"a": ["x"], "b": "*id001"})),
            (
                "- a: 'one\n\n\n    two'\n\n  b: c\n\n\n- a: d\n",
                json!([{"a": "one\n\ntwo", "b": "c"}, {"a": "d"}]),
            ),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
        for bad in ["", "hello", "Dear all,\nto: x", "a: 1\n b: 2\nc", "- a\nb", "a: 'x", "a: 1\na: 2"] {
            let value = parse(bad);
            assert!(value.is_none() || value == Some(json!({"a": "1 b: 2"})), "{bad}: {value:?}");
        }
        assert_eq!(parse(&"- ".repeat(100_000)), None);
        // Takes no more time than its length is worth.
        let empty = "\n".repeat(300_000);
        assert!(parse(&format!("a: x{empty}b: y{empty} z")).is_some());
    }

    /// A text that is a value's part never becomes a field, however it is written.
    #[test]
    fn a_text_makes_no_field_of_its_own() {
        for text in ["x\\n  to: EVIL", "to: EVIL", "x' to: EVIL"] {
            let quoted = format!("- body: \"{text}\"\n  to: Alice\n");
            let value = parse(&quoted).unwrap();
            assert_eq!(value[0]["to"], "Alice", "{quoted}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_to_its_end(text in "[-:a'\"|> \\[\\]\nü\\\\]{0,60}") {
            let _ = parse(&text);
        }
    }
}
