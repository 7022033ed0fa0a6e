//! Lines of JSON-RPC: read within limits, and written.

use rmcp::model::{ContentBlock, ErrorCode};
use serde::de::{DeserializeSeed, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::shape::result_of;
use crate::exact;

/// Most bytes of a line that a server writes; a picture may be in it.
pub const MOST_OF_SERVER: usize = 2 << 20;
/// Most bytes of a line that a guest writes.
pub const MOST_OF_GUEST: usize = 1 << 20;
/// Most bytes of an id.
const MOST_OF_ID: usize = 128;

/// More was written without a line's end than a line may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLong;

/// What was read, cut into lines.
#[derive(Debug)]
pub struct Lines {
    bytes: Vec<u8>,
    /// Up to here there is no line's end.
    searched: usize,
    most: usize,
}

impl Lines {
    /// Of lines of so many bytes at most.
    pub fn new(most: usize) -> Self {
        Self { bytes: Vec::new(), searched: 0, most }
    }

    /// Takes what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole line, without its end.
    ///
    /// # Errors
    /// When it is too long.
    pub fn next(&mut self) -> Result<Option<Vec<u8>>, TooLong> {
        let found = self.bytes.iter().skip(self.searched).position(|byte| *byte == b'\n');
        match found.map(|at| self.searched + at) {
            Some(end) if end <= self.most => {
                let mut line: Vec<u8> = self.bytes.drain(..=end).collect();
                line.pop();
                self.searched = 0;
                Ok(Some(line))
            }
            None if self.bytes.len() <= self.most => {
                self.searched = self.bytes.len();
                Ok(None)
            }
            Some(_) | None => Err(TooLong),
        }
    }
}

/// A message, before what it is about is looked at.
#[derive(Debug, Deserialize)]
struct Envelope {
    jsonrpc: String,
    #[serde(default)]
    id: Option<Value>,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    params: Option<Box<RawValue>>,
    #[serde(default, deserialize_with = "present")]
    result: Option<Box<RawValue>>,
    #[serde(default)]
    error: Option<ErrorBody>,
}

/// An error, without what comes with it.
#[derive(Debug, Deserialize)]
pub struct ErrorBody {
    #[serde(default)]
    pub code: i64,
    #[serde(default)]
    pub message: String,
}

/// `null` is a result too.
fn present<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// A message. What it is about is JSON as it came ([`exact`]).
#[derive(Debug)]
pub enum Message {
    Request { id: Value, method: String, params: String },
    Notification { method: String, params: String },
    Response { id: Value, outcome: Result<String, ErrorBody> },
}

/// Reads a line; nothing where it is no message. JSON that is nested deeper than 127 is none.
pub fn read(line: &[u8]) -> Option<Message> {
    let envelope: Envelope = serde_json::from_slice(line).ok()?;
    let is_id = |id: &Value| match id {
        Value::Number(_) => true,
        Value::String(text) => text.len() <= MOST_OF_ID,
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => false,
    };
    if envelope.jsonrpc != "2.0" || envelope.id.as_ref().is_some_and(|id| !is_id(id)) {
        return None;
    }
    let written = |json: Option<Box<RawValue>>| match json {
        Some(json) => exact::written(json.get()).map(Some),
        None => Some(None),
    };
    let (params, result) = (written(envelope.params)?, written(envelope.result)?);
    let params = params.unwrap_or_else(|| "{}".to_owned());
    match (envelope.id, envelope.method, result, envelope.error) {
        (Some(id), Some(method), None, None) => Some(Message::Request { id, method, params }),
        (None, Some(method), None, None) => Some(Message::Notification { method, params }),
        (Some(id), None, Some(result), None) => Some(Message::Response { id, outcome: Ok(result) }),
        (Some(id), None, None, Some(error)) => Some(Message::Response { id, outcome: Err(error) }),
        _ => None,
    }
}

/// What can be told of a line that is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Broken {
    /// It is meant to answer this request.
    Answer(u64),
    /// It is meant to answer some request.
    SomeAnswer,
    /// It answers nothing: what servers print beside messages, or no answer.
    Other,
}

/// Whether a line that [`read`] takes for no message is meant as an answer: an object with `jsonrpc`, or a `result`,
/// and no `method`. It may be broken anywhere, nested too deep, or no text.
pub fn broken(line: &[u8]) -> Broken {
    let text = String::from_utf8_lossy(line);
    let mut told = Told::default();
    let whole = (&mut told).deserialize(&mut serde_json::Deserializer::from_str(&text)).is_ok();
    let method = told.has_method || (!whole && text.contains("\"method\""));
    match (told.is_message && !method, told.id) {
        (false, _) => Broken::Other,
        (true, Some(id)) => Broken::Answer(id),
        // Broken before it, it may be that of any.
        (true, None) if whole => Broken::Other,
        (true, None) => Broken::SomeAnswer,
    }
}

/// What an object says of itself, as far as it can be read.
#[derive(Default)]
struct Told {
    id: Option<u64>,
    is_message: bool,
    has_method: bool,
}

impl<'de> DeserializeSeed<'de> for &mut Told {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &mut Told {
    type Value = ();

    fn expecting(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "id" => {
                    self.id = map.next_value::<&RawValue>()?.get().parse().ok();
                    continue;
                }
                "jsonrpc" | "result" => self.is_message = true,
                "method" => self.has_method = true,
                _ => {}
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }
}

fn line(value: &impl Serialize) -> Vec<u8> {
    // What this program writes it can write.
    let mut bytes = serde_json::to_vec(value).unwrap_or_default();
    bytes.push(b'\n');
    bytes
}

#[derive(Serialize)]
struct Request<'a, P> {
    jsonrpc: &'static str,
    id: u64,
    method: &'a str,
    params: P,
}

/// A request.
pub fn request(id: u64, method: &str, params: &impl Serialize) -> Vec<u8> {
    line(&Request { jsonrpc: "2.0", id, method, params })
}

#[derive(Serialize)]
struct Called<'a> {
    name: &'a str,
    arguments: &'a RawValue,
}

/// A call of a tool with these arguments, as they are; `None` where they are no JSON object.
pub fn call(id: u64, name: &str, arguments: &str) -> Option<Vec<u8>> {
    let arguments: &RawValue = serde_json::from_str(arguments).ok()?;
    arguments.get().starts_with('{').then(|| request(id, "tools/call", &Called { name, arguments }))
}

/// A notification.
pub fn notification(method: &str, params: Option<&Value>) -> Vec<u8> {
    match params {
        Some(params) => line(&json!({"jsonrpc": "2.0", "method": method, "params": params})),
        None => line(&json!({"jsonrpc": "2.0", "method": method})),
    }
}

/// An answer.
pub fn answer(id: &Value, result: &impl Serialize) -> Vec<u8> {
    line(&json!({"jsonrpc": "2.0", "id": id, "result": result}))
}

/// A refusal.
pub fn error(id: &Value, code: ErrorCode, message: &str) -> Vec<u8> {
    line(&json!({"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message}}))
}

/// What a call came to, in words of this program.
pub fn failed_call(id: &Value, words: &str) -> Vec<u8> {
    answer(id, &result_of(vec![ContentBlock::text(words)], true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_however_they_come() {
        let mut lines = Lines::new(4);
        lines.push(b"ab");
        assert_eq!(lines.next(), Ok(None));
        lines.push(b"c\n\nabcd\nx");
        let mut all = Vec::new();
        while let Some(line) = lines.next().unwrap() {
            all.push(line);
        }
        assert_eq!(all, [&b"abc"[..], b"", b"abcd"]);
        lines.push(b"yzzz");
        assert_eq!(lines.next(), Err(TooLong));
        lines.push(b"\n");
        assert_eq!(lines.next(), Err(TooLong));
    }

    #[test]
    fn what_a_broken_line_is_meant_to_answer() {
        let deep = format!(r#"{{"jsonrpc":"2.0","id":7,"result":{}{}}}"#, "[".repeat(500), "]".repeat(500));
        for (line, told) in [
            (deep.as_bytes(), Broken::Answer(7)),
            (b"{\"jsonrpc\":\"2.0\",\"id\":7,\"result\":{\"content\":\"\xff\"}}", Broken::Answer(7)),
            (b"{\"result\":{\"a\":\"\xff\"},\"jsonrpc\":\"2.0\",\"id\":7}", Broken::Answer(7)),
            (br#"{"id":7,"result":{}}"#, Broken::Answer(7)),
            (br#"{"jsonrpc":"2.0","id":7}"#, Broken::Answer(7)),
            (br#"{"jsonrpc":"2.0","id":7,"result":1,"error":{"code":1}}"#, Broken::Answer(7)),
            (br#"{"jsonrpc":"2.0","id":7,"result":{"a":NaN}}"#, Broken::Answer(7)),
            (br#"{"jsonrpc":"2.0","result":{"a":NaN},"id":7}"#, Broken::SomeAnswer),
            (br#"{"result":{"a":"#, Broken::SomeAnswer),
            // Logs, and other things than answers.
            (b"", Broken::Other),
            (b"listening on 7", Broken::Other),
            (b"\xff\xfe", Broken::Other),
            (b"[1, 2]", Broken::Other),
            (br#"{"level":"info","id":7,"error":"x"}"#, Broken::Other),
            (br#"{"level":"info","jsonrpc"#, Broken::Other),
            (br#"{"jsonrpc":"2.0","error":{"code":1},"id":null}"#, Broken::Other),
            (b"{\"jsonrpc\":\"2.0\",\"method\":\"log\",\"params\":{\"a\":\"\xff\"}}", Broken::Other),
            (br#"{"jsonrpc":"2.0","params":{"a":NaN},"method":"log"}"#, Broken::Other),
        ] {
            assert!(read(line).is_none());
            assert_eq!(broken(line), told, "{}", String::from_utf8_lossy(line));
        }
    }

    #[test]
    fn what_is_no_message_is_none() {
        let deep =
            format!(r#"{{"jsonrpc":"2.0","method":"x","params":{}{}}}"#, "[".repeat(200), "]".repeat(200));
        for bad in [
            "",
            "hello",
            "[]",
            r#"[{"jsonrpc":"2.0","method":"x"}]"#,
            r#"{"jsonrpc":"1.0","method":"x"}"#,
            r#"{"jsonrpc":"2.0"}"#,
            r#"{"jsonrpc":"2.0","id":1}"#,
            r#"{"jsonrpc":"2.0","id":[],"method":"x"}"#,
            r#"{"jsonrpc":"2.0","id":1,"method":"x","result":1}"#,
            r#"{"jsonrpc":"2.0","id":1,"result":1,"error":{}}"#,
            &deep,
        ] {
            assert!(read(bad.as_bytes()).is_none(), "{bad}");
        }
        assert!(matches!(read(br#"{"jsonrpc":"2.0","id":1,"result":null}"#), Some(Message::Response { .. })));
        assert!(matches!(read(br#"{"jsonrpc":"2.0","id":"a","method":"x"}"#), Some(Message::Request { .. })));
    }
}
