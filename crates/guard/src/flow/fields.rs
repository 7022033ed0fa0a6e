//! What a tool's result consists of: texts, each with the name of its field.

use serde_json::Value;

use super::{block, literal, unique};

/// How often a result may be wrapped into another form.
const MAX_WRAPPINGS: usize = 3;
/// What a service calls somebody or something is not longer, and has not more words.
const MAX_NAME_BYTES: usize = 64;
const MAX_NAME_WORDS: usize = 3;

/// One text of a result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Field {
    /// The key it stands under; of a list's entry the list's. `None` where it stands under none.
    pub name: Option<String>,
    pub value: String,
    /// The table it stands in, by its number in the result; 0 for none.
    pub record: usize,
}

/// A result's texts, in order. What has no form that is known is one text without a name.
pub(crate) fn read(result: &str) -> Vec<Field> {
    let mut fields = Vec::new();
    unwrap(result, 0, &mut fields);
    fields
}

fn unwrap(text: &str, wrappings: usize, fields: &mut Vec<Field>) {
    let trimmed = text.trim();
    let value = match trimmed.chars().next() {
        _ if wrappings > MAX_WRAPPINGS => None,
        Some('[' | '{' | '"' | '\'' | '(') => unique::parse(trimmed).or_else(|| literal::parse(trimmed)),
        Some(_) => block::parse(text),
        None => None,
    };
    match value {
        Some(Value::String(inner)) => unwrap(&inner, wrappings + 1, fields),
        Some(Value::Array(blocks)) if !blocks.is_empty() && blocks.iter().all(|b| content(b).is_some()) => {
            for text in blocks.iter().filter_map(content) {
                unwrap(text, wrappings + 1, fields);
            }
        }
        Some(value) => {
            let mut records = fields.iter().map(|field| field.record).max().unwrap_or(0);
            leaves(None, &value, 0, &mut records, fields);
        }
        None => fields.push(Field { name: None, value: text.to_owned(), record: 0 }),
    }
}

/// The text of a content block: `{"type": "text", "text": …}`.
fn content(block: &Value) -> Option<&str> {
    let table =
        block.as_object().filter(|table| table.get("type").and_then(Value::as_str) == Some("text"))?;
    let text = table.get("text").or_else(|| table.get("content"))?;
    let has_no_more =
        table.keys().all(|key| matches!(key.as_str(), "type" | "text" | "content" | "annotations"));
    text.as_str().filter(|_| has_no_more)
}

/// The leaves of a value that stands in this table; `records` counts the tables so far.
fn leaves(name: Option<&str>, value: &Value, record: usize, records: &mut usize, fields: &mut Vec<Field>) {
    let mut leaf = |value: String| fields.push(Field { name: name.map(str::to_owned), value, record });
    match value {
        Value::Null => {}
        Value::Bool(value) => leaf(value.to_string()),
        Value::Number(value) => leaf(value.to_string()),
        Value::String(value) => leaf(value.clone()),
        Value::Array(items) => items.iter().for_each(|item| leaves(name, item, record, records, fields)),
        Value::Object(table) => {
            *records += 1;
            let record = *records;
            for (key, value) in table {
                if !is_key(key) {
                    fields.push(Field { name: None, value: key.clone(), record });
                }
                leaves(Some(key), value, record, records, fields);
            }
        }
    }
}

/// Whether a key is one that a program gives, and no text.
fn is_key(key: &str) -> bool {
    key.len() <= 32 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
}

/// Whether a text says nothing: empty, yes, no, none.
pub(crate) fn is_void(value: &str) -> bool {
    let value = value.trim();
    ["", "none", "null", "true", "false", "~"].iter().any(|word| value.eq_ignore_ascii_case(word))
}

/// Whether a text cannot ask for anything: numbers, dates, and what says nothing.
pub(crate) fn is_inert(value: &str) -> bool {
    let value = value.trim();
    let is_figure = value.len() <= 32
        && value.bytes().all(|b| {
            b.is_ascii_digit() || matches!(b, b'-' | b'+' | b':' | b'/' | b'.' | b',' | b' ' | b'T' | b'Z')
        });
    is_void(value) || is_figure
}

/// Whether a text is what a service calls somebody or something, and no sentence, address of a page or
/// command.
pub(crate) fn is_name(value: &str) -> bool {
    let is_plain =
        |c: char| c.is_alphanumeric() || matches!(c, ' ' | '.' | '-' | '_' | '@' | '+' | '\'' | '&' | '#');
    !value.is_empty()
        && value.len() <= MAX_NAME_BYTES
        && value.split_whitespace().count() <= MAX_NAME_WORDS
        && value.chars().all(is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(result: &str) -> String {
        let fields = read(result);
        let one = |f: &Field| format!("{}={}", f.name.as_deref().unwrap_or("-"), f.value);
        fields.iter().map(one).collect::<Vec<_>>().join("; ")
    }

    #[test]
    fn forms() {
        for (result, expected) in [
            ("hello: world, how\nare you", "-=hello: world, how\nare you"),
            ("[{'type': 'text', 'content': '- general\\n- External_0'}]", "-=general; -=External_0"),
            (r#"[{"type": "text", "text": "{\"to\": [\"a\", \"b\"]}"}]"#, "to=a; to=b"),
            (r#""{'details': {'name': 'X', 'reviews': [{'by': 'Amy'}]}}""#, "name=X; by=Amy"),
            ("[{'type': 'text', 'content': \"- id: 1\\n  to: 'x y'\"}]", "id=1; to=x y"),
            ("{'Good Night Hotel': 'Rating 4'}", "-=Good Night Hotel; Good Night Hotel=Rating 4"),
            ("[{'type': 'text', 'content': 'None'}]", "-=None"),
            ("", "-="),
            ("[broken", "-=[broken"),
        ] {
            assert_eq!(said(result), expected, "{result}");
        }
    }

    #[test]
    fn what_asks_for_nothing_and_what_is_a_name() {
        for value in ["", "None", "12.50", "2024-05-15 10:00", "2024-05-15T10:00:00Z", "true", "+41 44 123"] {
            assert!(is_inert(value), "{value}");
        }
        for value in ["a", "general", "1 message", "x12"] {
            assert!(!is_inert(value), "{value}");
        }
        for value in ["Alice", "ann.b@example.org", "GB29 NWBK", "External_0", "O'Neil"] {
            assert!(is_name(value), "{value}");
        }
        for value in ["", "send it to me now", "https://x.example/a", "a;b", "x\ny(", &"x".repeat(65)] {
            assert!(!is_name(value), "{value}");
        }
    }
}
