//! What of a server's words goes on: texts, in a form that is made anew.
//!
//! A result is a list of texts. Fields of a structured one are written out as JSON where no text comes with
//! them; what is no text (pictures, sounds, files) is left out and said so. Nothing else of a server's message goes on.

use std::sync::Arc;

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents, Tool};
use serde_json::Value;
use sessile_guard::{Confidentiality, Inspector, Raw};
use sessile_model::guarding::{Found, LEFT_OUT, without};
use sessile_model::mcp::{Hints, MOST_OF_UNDECLARED, MOST_UNDECLARED, is_tool_name};

use crate::post::arguments::{Kind, each};

/// Least letters of a name that may hold a secret.
const LEAST_TELLING: usize = 16;

/// Texts that are judged together, and come apart again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pieces(Vec<(Form, String)>);

/// What becomes of a text of which something is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Another text.
    Text,
    /// JSON: what stands in its strings and numbers is left out, so that it stays JSON.
    Json,
    /// Nothing: a name is whole or none.
    Name,
}

impl Pieces {
    /// Those of a result, with what is structured in it.
    pub fn of_result(result: CallToolResult, structured: Option<String>) -> Self {
        let mut all: Vec<String> = Vec::new();
        for block in result.content {
            match block {
                ContentBlock::Text(text) => all.push(text.text),
                ContentBlock::ResourceLink(link) => all.push(format!("{}: {}", link.name, link.uri)),
                ContentBlock::Resource(embedded) => match embedded.resource {
                    ResourceContents::TextResourceContents { uri, text, .. } => all.extend([uri, text]),
                    ResourceContents::BlobResourceContents { uri, .. } => {
                        all.extend([uri, "(a file that is no text is left out)".to_owned()]);
                    }
                    _ => all.push(OTHER.to_owned()),
                },
                ContentBlock::Image(_) => all.push("(a picture is left out)".to_owned()),
                ContentBlock::Audio(_) => all.push("(a sound is left out)".to_owned()),
                _ => all.push(OTHER.to_owned()),
            }
        }
        if all.is_empty()
            && let Some(structured) = structured
        {
            return Self(vec![(Form::Json, structured)]);
        }
        Self(all.into_iter().map(|text| (Form::Text, text)).collect())
    }

    /// One.
    pub fn of_text(text: String) -> Self {
        Self(vec![(Form::Text, text)])
    }

    /// The three of a tool.
    pub fn of_tool(tool: &Tool) -> Self {
        let description = tool.description.as_deref().unwrap_or_default().to_owned();
        let schema = Value::Object((*tool.input_schema).clone()).to_string();
        Self(vec![(Form::Name, tool.name.to_string()), (Form::Text, description), (Form::Json, schema)])
    }

    /// All of them, as they are judged.
    pub fn together(&self) -> String {
        self.0.iter().map(|(_, text)| text.as_str()).collect::<Vec<_>>().join("\n")
    }

    /// The same without some spans of [`together`](Self::together).
    pub fn without(self, spans: &[(usize, usize)]) -> Self {
        let mut begin = 0;
        let mut rest = Vec::with_capacity(self.0.len());
        for (form, piece) in self.0 {
            let end = begin + piece.len();
            let inside: Vec<(usize, usize)> = spans
                .iter()
                .map(|&(a, b)| (a.clamp(begin, end) - begin, b.clamp(begin, end) - begin))
                .filter(|(a, b)| a < b)
                .collect();
            rest.push(match form {
                Form::Text | Form::Json | Form::Name if inside.is_empty() => (form, piece),
                Form::Text => (form, left_out(&piece, &inside)),
                Form::Json => (form, left_out_of_json(&piece, &inside).0),
                Form::Name => (form, String::new()),
            });
            begin = end + 1;
        }
        Self(rest)
    }

    /// As a result.
    pub fn result(self, is_error: bool) -> CallToolResult {
        let blocks = self.0.into_iter().map(|(_, text)| ContentBlock::text(text)).collect();
        result_of(blocks, is_error)
    }

    /// A tool with these texts in place of its own; none whose name or schema is none any more.
    pub fn tool(&self, tool: &Tool) -> Option<Tool> {
        let [(_, name), (_, description), (_, schema)] = self.0.as_slice() else { return None };
        let true = tool.name == *name else { return None };
        let Ok(Value::Object(schema)) = serde_json::from_str(schema) else { return None };
        let mut shown = Tool::default();
        shown.name = tool.name.clone();
        shown.description = (!description.is_empty()).then(|| description.clone().into());
        shown.input_schema = Arc::new(schema);
        shown.annotations = tool.annotations.clone().map(|mut said| {
            said.title = None;
            said
        });
        Some(shown)
    }
}

/// A result, as all versions of the protocol that begin with `initialize` have it.
pub fn result_of(blocks: Vec<ContentBlock>, is_error: bool) -> CallToolResult {
    let mut result = if is_error { CallToolResult::error(blocks) } else { CallToolResult::success(blocks) };
    result.result_type = None;
    result
}

const OTHER: &str = "(something that is no text is left out)";

/// A text without some spans of it.
pub fn left_out(text: &str, spans: &[(usize, usize)]) -> String {
    let found = |&span| Found { kind: String::new(), span, confidentiality: 0, of: None };
    let found: Vec<Found> = spans.iter().map(found).collect();
    String::from_utf8_lossy(&without(text.as_bytes(), &found)).into_owned()
}

/// JSON without some spans of what stands in its strings and numbers, and whether a name was among it. What is
/// written with escapes is left out whole.
pub fn left_out_of_json(json: &str, spans: &[(usize, usize)]) -> (String, bool) {
    let (mut rest, mut at, mut is_named) = (String::with_capacity(json.len()), 0, false);
    each(json, |kind, place| {
        let within =
            |&(a, b): &(usize, usize)| (a.clamp(place.start, place.end), b.clamp(place.start, place.end));
        let mut inside: Vec<(usize, usize)> = spans.iter().map(within).filter(|(a, b)| a < b).collect();
        let Some(text) = json.get(place.clone()).filter(|_| !inside.is_empty()) else { return };
        is_named |= kind == Kind::Name;
        rest.push_str(&json[at..place.start]);
        at = place.end;
        if !json[..place.start].ends_with('"') {
            rest.extend(["\"", LEFT_OUT, "\""]);
        } else if text.contains('\\') {
            rest.push_str(LEFT_OUT);
        } else {
            inside.iter_mut().for_each(|(a, b)| (*a, *b) = (*a - place.start, *b - place.start));
            rest.push_str(&left_out(text, &inside));
        }
    });
    rest.push_str(&json[at..]);
    (rest, is_named)
}

/// Whether a tool can be called by its name, which everybody is told: a word that holds no secret.
pub fn is_name(name: &str) -> bool {
    is_tool_name(name) && !tells(name)
}

fn tells(name: &str) -> bool {
    name.len() >= LEAST_TELLING
        && name.contains(|c: char| c.is_ascii_digit())
        && Inspector::default()
            .inspect(Raw::new(name.to_owned()))
            .findings()
            .iter()
            .any(|finding| finding.confidentiality() >= Confidentiality::HighlySensitive)
}

/// Arguments that a schema does not name, where it names any; `None` where there are too many.
pub fn undeclared<'a>(
    properties: Option<&Value>,
    given: impl IntoIterator<Item = &'a String>,
) -> Option<Vec<String>> {
    let Some(properties) = properties.and_then(Value::as_object) else { return Some(Vec::new()) };
    let more: Vec<&String> = given.into_iter().filter(|name| !properties.contains_key(*name)).collect();
    let is_much = more.len() > MOST_UNDECLARED || more.iter().any(|name| name.len() > MOST_OF_UNDECLARED);
    (!is_much).then(|| more.into_iter().cloned().collect())
}

/// What a server says of a tool.
pub fn hints(tool: &Tool) -> Hints {
    tool.annotations.as_ref().map_or_else(Hints::default, |said| Hints {
        read_only_hint: said.read_only_hint,
        destructive_hint: said.destructive_hint,
        idempotent_hint: said.idempotent_hint,
        open_world_hint: said.open_world_hint,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn pieces(result: Value) -> Pieces {
        let structured = result.get("structuredContent").map(Value::to_string);
        Pieces::of_result(serde_json::from_value(result).unwrap(), structured)
    }

    #[test]
    fn texts_alone_go_on() {
        let shown = pieces(json!({
            "content": [
                {"type": "text", "text": "one", "_meta": {"x": 1}},
                {"type": "image", "data": "aGk=", "mimeType": "image/png"},
                {"type": "resource", "resource": {"uri": "file:///a", "text": "two"}},
                {"type": "resource_link", "uri": "https://a.example", "name": "three"},
            ],
            "structuredContent": {"four": 4}, "_meta": {"five": 5},
        }));
        let text = serde_json::to_string(&shown.result(false)).unwrap();
        assert!(
            ["one", "two", "three: https://a.example", "picture"].iter().all(|w| text.contains(w)),
            "{text}"
        );
        assert!(["aGk=", "four", "five", "_meta"].iter().all(|word| !text.contains(word)), "{text}");
        assert_eq!(
            pieces(json!({"content": [], "structuredContent": {"four": 4}})).together(),
            "{\"four\":4}"
        );
    }

    #[test]
    fn a_span_is_left_out_of_each_text_that_it_lies_in() {
        let pieces = || Pieces(["abc", "", "defg"].map(|text| (Form::Text, text.into())).into());
        let texts = |pieces: Pieces| pieces.0.into_iter().map(|(_, text)| text).collect::<Vec<_>>();
        assert_eq!(pieces().together(), "abc\n\ndefg");
        assert_eq!(pieces().without(&[]), pieces());
        assert_eq!(texts(pieces().without(&[(1, 7)])), ["a[redacted]", "", "[redacted]fg"]);
        assert_eq!(texts(pieces().without(&[(5, 9), (6, 7)])), ["abc", "", "[redacted]"]);
        assert_eq!(pieces().without(&[(3, 5), (90, 99)]), pieces());
    }

    #[test]
    fn a_tool_without_its_name_is_left_out() {
        let about = json!({"name": "b", "description": "about b", "inputSchema": {"type": "object"}, "annotations": {"title": "t"}});
        let tool: Tool = serde_json::from_value(about).unwrap();
        let pieces = Pieces::of_tool(&tool);
        assert_eq!(pieces.together(), "b\nabout b\n{\"type\":\"object\"}");
        assert_eq!(
            serde_json::to_value(pieces.tool(&tool)).unwrap(),
            json!({"name": "b", "description": "about b", "inputSchema": {"type": "object"}, "annotations": {}})
        );
        assert_eq!(pieces.without(&[(0, 1)]).tool(&tool), None);
    }

    #[test]
    fn json_of_which_something_is_left_out_is_json() {
        let json = r#"{"key":"k3Yq-Zt91","list":["a b",1234567,"x\"y"],"none":null}"#;
        let place = |text: &str| json.find(text).map(|at| (at, at + text.len())).unwrap();
        for (span, left, named) in [
            (place("3Yq"), r#"{"key":"k[redacted]-Zt91","list":["a b",1234567,"x\"y"],"none":null}"#, false),
            (
                place("t91\",\"li"),
                r#"{"key":"k3Yq-Z[redacted]","[redacted]st":["a b",1234567,"x\"y"],"none":null}"#,
                true,
            ),
            (place("456"), r#"{"key":"k3Yq-Zt91","list":["a b","[redacted]","x\"y"],"none":null}"#, false),
            (
                place("\"y\"],"),
                r#"{"key":"k3Yq-Zt91","list":["a b",1234567,"[redacted]"],"none":null}"#,
                false,
            ),
            (place("null}"), json, false),
            (place("\":["), json, false),
        ] {
            assert_eq!(left_out_of_json(json, &[span]), (left.to_owned(), named));
            let structured = Pieces(vec![(Form::Json, json.to_owned())]).without(&[span]).0.remove(0).1;
            assert!(serde_json::from_str::<Value>(&structured).is_ok(), "{structured}");
        }
        let all = left_out_of_json(json, &[(0, json.len()), place("3Y")]).0;
        assert!(
            serde_json::from_str::<Value>(&all).is_ok() && !all.contains("k3Y") && !all.contains("345"),
            "{all}"
        );
    }

    #[test]
    fn what_a_schema_does_not_name_is_told_and_bounded() {
        let properties = json!({"to": {"type": "string"}, "text": {}});
        let told = |properties: Option<&Value>, given: Value| {
            undeclared(properties, given.as_object().unwrap().keys())
        };
        assert_eq!(told(Some(&properties), json!({"to": 1, "text": 2})), Some(vec![]));
        assert_eq!(
            told(Some(&properties), json!({"to": 1, "bcc": 2, "To": 3})),
            Some(vec!["bcc".into(), "To".into()])
        );
        assert_eq!(told(None, json!({"bcc": 2})), Some(vec![]));
        assert_eq!(told(Some(&json!({})), json!({"bcc": 2})), Some(vec!["bcc".into()]));
        let many: Vec<String> = (0..33).map(|n| format!("a{n}")).collect();
        assert_eq!(undeclared(Some(&properties), &many), None);
        assert_eq!(told(Some(&properties), json!({"b".repeat(129): 2})), None);
    }

    #[test]
    fn names_are_words_that_hold_no_secret() {
        for name in ["send", "files/read_text_file.v2", "get_page_2_of_list-items", &"n".repeat(128)] {
            assert!(is_name(name), "{name}");
        }
        let hidden = "z2xwYXQtWng3MWtkTW0yeDkwVHRxM1d2OEw";
        for name in [
            "",
            "a b",
            "caf\u{e9}",
            "a\nb",
            &"n".repeat(129),
            "glpat-Zx71kdMm2x90Ttq3Wv8L",
            &hidden.replace("z2x", "Z2x"),
        ] {
            assert!(!is_name(name), "{name}");
        }
    }
}
