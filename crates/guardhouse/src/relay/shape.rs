//! What of a server's words goes on: texts, in a form that is made anew.
//!
//! A result is a list of texts. Fields of a structured one are written out as JSON where no text comes with
//! them; what is no text (pictures, sounds, files) is left out and said so. Nothing else of a server's message goes on.

use std::sync::Arc;

use rmcp::model::{CallToolResult, ContentBlock, ResourceContents, Tool};
use serde_json::Value;
use sessile_model::guarding::{Found, without};
use sessile_model::mcp::Hints;

/// Most bytes of a tool's name.
const MOST_OF_NAME: usize = 128;

/// Texts that are judged together, and come apart again.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Pieces(Vec<String>);

impl Pieces {
    /// Those of a result.
    pub fn of_result(result: CallToolResult) -> Self {
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
            && let Some(structured) = result.structured_content
        {
            all.push(structured.to_string());
        }
        Self(all)
    }

    /// One.
    pub fn of_text(text: String) -> Self {
        Self(vec![text])
    }

    /// Those of a list of tools: two of each.
    pub fn of_tools(tools: &[Tool]) -> Self {
        let texts = |tool: &Tool| {
            let description = tool.description.as_deref().unwrap_or_default().to_owned();
            [description, Value::Object((*tool.input_schema).clone()).to_string()]
        };
        Self(tools.iter().flat_map(texts).collect())
    }

    /// All of them, as they are judged.
    pub fn together(&self) -> String {
        self.0.join("\n")
    }

    /// The same without some spans of [`together`](Self::together).
    pub fn without(self, spans: &[(usize, usize)]) -> Self {
        let mut begin = 0;
        let mut rest = Vec::with_capacity(self.0.len());
        for piece in self.0 {
            let end = begin + piece.len();
            let inside: Vec<(usize, usize)> = spans
                .iter()
                .map(|&(a, b)| (a.clamp(begin, end) - begin, b.clamp(begin, end) - begin))
                .filter(|(a, b)| a < b)
                .collect();
            rest.push(if inside.is_empty() { piece } else { left_out(&piece, &inside) });
            begin = end + 1;
        }
        Self(rest)
    }

    /// As a result.
    pub fn result(self, is_error: bool) -> CallToolResult {
        let blocks = self.0.into_iter().map(ContentBlock::text).collect();
        result_of(blocks, is_error)
    }

    /// Tools with these texts in place of theirs; one whose schema is none any more is left out.
    pub fn tools(self, tools: &[Tool]) -> Vec<Tool> {
        let (pairs, _) = self.0.as_chunks::<2>();
        tools
            .iter()
            .zip(pairs)
            .filter_map(|(tool, [description, schema])| {
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
            })
            .collect()
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

/// Whether a tool can be called by its name.
pub fn is_name(name: &str) -> bool {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-./".contains(c);
    !name.is_empty() && name.len() <= MOST_OF_NAME && name.chars().all(is_plain)
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
        Pieces::of_result(serde_json::from_value(result).unwrap())
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
        let pieces = || Pieces(vec!["abc".into(), String::new(), "defg".into()]);
        assert_eq!(pieces().together(), "abc\n\ndefg");
        assert_eq!(pieces().without(&[]), pieces());
        assert_eq!(pieces().without(&[(1, 7)]).0, ["a[redacted]", "", "[redacted]fg"]);
        assert_eq!(pieces().without(&[(5, 9), (6, 7)]).0, ["abc", "", "[redacted]"]);
        assert_eq!(pieces().without(&[(3, 5), (90, 99)]), pieces());
    }

    #[test]
    fn a_tool_without_a_schema_is_left_out() {
        let tools: Vec<Tool> = serde_json::from_value(json!([
            {"name": "a", "description": "about a", "inputSchema": {"type": "object"}, "annotations": {"title": "t"}},
            {"name": "b", "inputSchema": {"type": "object"}},
        ]))
        .unwrap();
        let text = Pieces::of_tools(&tools).together();
        assert_eq!(Pieces::of_tools(&tools).tools(&tools).len(), 2);
        let at = text.rfind("type").unwrap();
        let shown = Pieces::of_tools(&tools).without(&[(at - 1, at + 1)]).tools(&tools);
        assert_eq!(
            serde_json::to_value(shown).unwrap(),
            json!([
                {"name": "a", "description": "about a", "inputSchema": {"type": "object"}, "annotations": {}},
            ])
        );
    }
}
