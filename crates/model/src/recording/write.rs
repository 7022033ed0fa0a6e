//! Writing a recording, line by line.

use serde_json::json;

use crate::quantity::Timestamp;
use crate::spec::WindowSize;

/// The first line of a recording that begins now.
pub fn header(size: WindowSize, term: Option<&str>, now: Timestamp) -> String {
    let mut terminal = json!({ "cols": size.cols, "rows": size.rows });
    if let Some(term) = term {
        terminal["type"] = term.into();
    }
    let seconds = now.as_millis().div_euclid(1_000);
    format!("{}\n", json!({ "version": 3, "term": terminal, "timestamp": seconds }))
}

/// The beginning of a character whose end has not come: at most three bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Partial {
    bytes: [u8; 3],
    len: u8,
}

impl Partial {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    /// From [`Self::bytes`]; none where they are not such a beginning.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let begins = std::str::from_utf8(bytes)
            .is_err_and(|error| error.valid_up_to() == 0 && error.error_len().is_none());
        let mut partial = Self::default();
        if let (true, Some(place)) = (begins, partial.bytes.get_mut(..bytes.len())) {
            place.copy_from_slice(bytes);
            partial.len = bytes.len() as u8;
        }
        partial
    }

    /// Text of what was held back and these bytes, without a character that they begin. What is no
    /// character becomes U+FFFD.
    fn join(&mut self, bytes: &[u8]) -> String {
        let all = [self.bytes(), bytes].concat();
        *self = Self::default();
        let mut text = String::with_capacity(all.len());
        let mut rest = all.as_slice();
        while let Err(error) = std::str::from_utf8(rest) {
            let (good, bad) = rest.split_at(error.valid_up_to());
            text.extend(std::str::from_utf8(good));
            match error.error_len() {
                Some(len) => {
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &bad[len..];
                }
                None => {
                    *self = Self::from_bytes(bad);
                    return text;
                }
            }
        }
        text.extend(std::str::from_utf8(rest));
        text
    }

    /// What stands for a character whose end never came.
    fn give_up(&mut self) -> String {
        let text = String::from_utf8_lossy(self.bytes()).into_owned();
        *self = Self::default();
        text
    }
}

/// Makes the lines behind the header. Times are to the millisecond.
#[derive(Clone, Debug)]
pub struct Writer {
    /// When the last line's event happened.
    at: Timestamp,
    output: Partial,
    input: Partial,
}

impl Writer {
    /// A writer whose first event is told by its distance from now.
    pub fn begin(now: Timestamp) -> Self {
        Self::resume(now, Partial::default(), Partial::default())
    }

    /// A writer that goes on from another's [`Self::state`].
    pub fn resume(at: Timestamp, output: Partial, input: Partial) -> Self {
        Self { at, output, input }
    }

    /// When the last line's event happened, and what is held back of output and of input.
    pub fn state(&self) -> (Timestamp, Partial, Partial) {
        (self.at, self.output, self.input)
    }

    /// Bytes that a program wrote. Nothing where they only begin a character.
    pub fn output(&mut self, now: Timestamp, bytes: &[u8]) -> String {
        let text = self.output.join(bytes);
        self.text(now, "o", &text)
    }

    /// Bytes that were typed.
    pub fn input(&mut self, now: Timestamp, bytes: &[u8]) -> String {
        let text = self.input.join(bytes);
        self.text(now, "i", &text)
    }

    /// The terminal's size changed.
    pub fn resize(&mut self, now: Timestamp, size: WindowSize) -> String {
        self.line(now, "r", &format!("{}x{}", size.cols, size.rows))
    }

    /// A place with a name.
    pub fn marker(&mut self, now: Timestamp, label: &str) -> String {
        self.line(now, "m", label)
    }

    /// No more comes of what was begun.
    pub fn finish(&mut self, now: Timestamp) -> String {
        let (output, input) = (self.output.give_up(), self.input.give_up());
        self.text(now, "o", &output) + &self.text(now, "i", &input)
    }

    /// The program ended with this status.
    pub fn exit(&mut self, now: Timestamp, status: i32) -> String {
        self.finish(now) + &self.line(now, "x", &status.to_string())
    }

    fn text(&mut self, now: Timestamp, code: &str, text: &str) -> String {
        if text.is_empty() { String::new() } else { self.line(now, code, text) }
    }

    fn line(&mut self, now: Timestamp, code: &str, data: &str) -> String {
        let waited = now.since(self.at).0;
        self.at = now;
        let data = serde_json::Value::from(data);
        format!("[{}.{:03}, \"{code}\", {data}]\n", waited / 1_000, waited % 1_000)
    }
}
