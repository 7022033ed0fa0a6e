//! Reading a recording that anybody may have written, line by line.

use std::time::Duration;

use serde_json::Value;
use thiserror::Error;

use crate::spec::WindowSize;

/// Longest line that is read, in bytes.
pub const MAX_LINE: usize = 4 << 20;
/// Most events that are read.
pub const MAX_EVENTS: u64 = 50_000_000;
/// Longest time that a recording may span, in seconds: ten years.
const MAX_SPAN_S: f64 = 10.0 * 366.0 * 86_400.0;

/// What the first line says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header {
    /// The format's version, 2 or 3.
    pub version: u8,
    /// The terminal's size at the beginning.
    pub size: WindowSize,
    /// The longest pause that a player is to keep.
    pub idle_limit: Option<Duration>,
}

/// One line behind the header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Happened {
    /// When, from the beginning.
    pub at: Duration,
    /// What.
    pub what: Happening,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happening {
    /// A program wrote this.
    Output(String),
    /// This was typed.
    Input(String),
    /// The terminal's size became this.
    Resize(WindowSize),
    /// A place with a name.
    Marker(String),
    /// The program ended with this status.
    Exit(String),
    /// Something that this version does not know.
    Other,
}

/// Why a text is not a recording.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ReadError {
    /// The first line is no header.
    #[error("not a recording: its first line is not an asciicast header")]
    NotARecording,
    /// A version that this program does not read.
    #[error("a recording of version {version}; versions 2 and 3 can be read")]
    Version {
        /// The version.
        version: u64,
    },
    /// The header names no size that a terminal can have.
    #[error("the recording's header names no terminal size from 1 to {} a side", WindowSize::MAX)]
    Size,
    /// A line is over the limit.
    #[error("line {line} is longer than {MAX_LINE} bytes")]
    TooLong {
        /// Which, from 1.
        line: u64,
    },
    /// There are more events than the limit.
    #[error("the recording has more than {MAX_EVENTS} events")]
    TooMany,
    /// A line is no event.
    #[error("line {line} is not an event: {why}")]
    BadEvent {
        /// Which, from 1.
        line: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// Takes a recording's lines in order.
#[derive(Clone, Debug, Default)]
pub struct Reader {
    header: Option<Header>,
    lines: u64,
    events: u64,
    at: Duration,
}

impl Reader {
    /// The header, once its line was read.
    pub fn header(&self) -> Option<&Header> {
        self.header.as_ref()
    }

    /// Takes the next line, without its end. `None` for the header, comments and blank lines.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub fn line(&mut self, line: &[u8]) -> Result<Option<Happened>, ReadError> {
        self.lines += 1;
        if line.len() > MAX_LINE {
            return Err(ReadError::TooLong { line: self.lines });
        }
        let line = line.trim_ascii();
        let Some(header) = &self.header else {
            self.header = Some(parse_header(line)?);
            return Ok(None);
        };
        if line.is_empty() || line.starts_with(b"#") {
            return Ok(None);
        }
        if self.events >= MAX_EVENTS {
            return Err(ReadError::TooMany);
        }
        let is_relative = header.version >= 3;
        let number = self.lines;
        let bad = |why| ReadError::BadEvent { line: number, why };
        let (time, what) = parse_event(line).map_err(bad)?;
        // Version 2 tells times from the beginning; one that goes back is taken for no time.
        let at = if is_relative { self.at.saturating_add(time) } else { self.at.max(time) };
        if at.as_secs_f64() > MAX_SPAN_S {
            return Err(bad("it lies more than ten years behind the beginning"));
        }
        self.events += 1;
        self.at = at;
        Ok(Some(Happened { at, what }))
    }
}

fn parse_header(line: &[u8]) -> Result<Header, ReadError> {
    let value: Value = serde_json::from_slice(line).map_err(|_| ReadError::NotARecording)?;
    let version = value.get("version").and_then(Value::as_u64).ok_or(ReadError::NotARecording)?;
    let (cols, rows) = match version {
        2 => (value.get("width"), value.get("height")),
        3 => {
            let terminal = value.get("term");
            (terminal.and_then(|t| t.get("cols")), terminal.and_then(|t| t.get("rows")))
        }
        version => return Err(ReadError::Version { version }),
    };
    let side = |value: Option<&Value>| value.and_then(Value::as_u64).and_then(|n| u16::try_from(n).ok());
    let (Some(cols), Some(rows)) = (side(cols), side(rows)) else { return Err(ReadError::Size) };
    let size = WindowSize { cols, rows };
    if !size.is_valid() {
        return Err(ReadError::Size);
    }
    let idle_limit = value.get("idle_time_limit").and_then(Value::as_f64).and_then(seconds);
    Ok(Header { version: version as u8, size, idle_limit })
}

fn parse_event(line: &[u8]) -> Result<(Duration, Happening), &'static str> {
    let value: Value = serde_json::from_slice(line).map_err(|_| "it is not JSON")?;
    let Some([time, code, data]) = value.as_array().map(Vec::as_slice) else {
        return Err("it is not a list of time, code and data");
    };
    let time = time.as_f64().and_then(seconds).ok_or("its time is not a number of seconds")?;
    let code = code.as_str().ok_or("its code is not a text")?;
    if !matches!(code, "o" | "i" | "r" | "m" | "x") {
        return Ok((time, Happening::Other));
    }
    let data = data.as_str().ok_or("its data is not a text")?;
    let what = match code {
        "o" => Happening::Output(data.to_owned()),
        "i" => Happening::Input(data.to_owned()),
        "m" => Happening::Marker(data.to_owned()),
        "x" => Happening::Exit(data.to_owned()),
        _ => Happening::Resize(parse_size(data).ok_or("its data is not a size, such as 80x24")?),
    };
    Ok((time, what))
}

fn parse_size(text: &str) -> Option<WindowSize> {
    let (cols, rows) = text.split_once('x')?;
    let size = WindowSize { cols: cols.parse().ok()?, rows: rows.parse().ok()? };
    size.is_valid().then_some(size)
}

/// A number of seconds that a recording may name.
fn seconds(number: f64) -> Option<Duration> {
    // Whole microseconds: sums of them are exact.
    (0.0..=MAX_SPAN_S).contains(&number).then(|| Duration::from_micros((number * 1e6).round() as u64))
}
