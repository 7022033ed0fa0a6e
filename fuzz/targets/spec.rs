//! What callers write: a specification as a request's body, quantities, ids and names.

#![no_main]

use std::str::FromStr;

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::{plant, survives};
use sessile_model::quantity::{ByteSize, Millis, Timestamp};
use sessile_model::wire::{Open, Request};
use sessile_model::{AppName, ProfileName, Property, SessionId, SessionName, Spec};

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    if let Ok(spec) = serde_json::from_slice::<Spec>(data) {
        specification(spec);
    }
    let Ok(text) = std::str::from_utf8(data) else { return };
    quantities(text);
    names(text);
});

fn specification(spec: Spec) {
    if spec.is_too_deep() {
        return;
    }
    survives(&spec);
    if let Some(size) = spec.terminal {
        assert!(size.clamped().is_valid());
    }
    let mut blank = spec.clone();
    blank.env.iter_mut().for_each(|variable| variable.value.clear());
    assert_eq!(format!("{blank:?}"), format!("{spec:?}"), "a variable's value shows");
    // The daemon hands it on inside a request, which the keeper must be able to read.
    survives(&Request::Open(Box::new(Open { spec, subordinate_base: Some(1), tor: None })));
}

fn quantities(text: &str) {
    if let Ok(size) = text.parse::<ByteSize>() {
        assert_eq!(Some(size.0), reckoned(text, &SIZES), "{text:?}");
    }
    if let Ok(millis) = text.parse::<Millis>() {
        assert_eq!(Some(millis.0), reckoned(text, &TIMES), "{text:?}");
        assert_eq!(millis.to_string().parse(), Ok(millis), "{text:?}");
    }
    if let Ok(time) = text.parse::<Timestamp>() {
        assert_eq!(time.to_string().parse(), Ok(time), "{text:?}");
        survives(&time);
        let _ = (time.plus(Millis(u64::MAX)), time.since(Timestamp::from_millis(i64::MIN)));
    }
}

const SIZES: [(&str, u128); 16] = [
    ("", 1),
    ("B", 1),
    ("K", 1 << 10),
    ("k", 1 << 10),
    ("KB", 1 << 10),
    ("kB", 1 << 10),
    ("KiB", 1 << 10),
    ("kiB", 1 << 10),
    ("M", 1 << 20),
    ("MB", 1 << 20),
    ("MiB", 1 << 20),
    ("G", 1 << 30),
    ("GB", 1 << 30),
    ("GiB", 1 << 30),
    ("T", 1 << 40),
    ("TiB", 1 << 40),
];
const TIMES: [(&str, u128); 7] = [
    ("ms", 1),
    ("", 1_000),
    ("s", 1_000),
    ("m", 60_000),
    ("min", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];

/// The same by another way: digits, a point, digits, blanks, a unit of the list.
fn reckoned(text: &str, units: &[(&str, u128)]) -> Option<u64> {
    let text = text.trim();
    let (number, unit) = match text.char_indices().find(|(_, c)| !matches!(c, '0'..='9' | '.')) {
        Some((at, _)) => (&text[..at], text[at..].trim_start()),
        None => (text, ""),
    };
    let unit = if unit == "TB" { "T" } else { unit };
    let factor = units.iter().find(|(name, _)| *name == unit)?.1;
    let mut value: u128 = 0;
    let mut scale: Option<u128> = None;
    for c in number.chars() {
        match (c.to_digit(10), &mut scale) {
            (Some(digit), None) => value = value.checked_mul(10)?.checked_add(digit.into())?,
            (Some(digit), Some(scale)) => {
                *scale = scale.checked_mul(10)?;
                value = value.checked_mul(10)?.checked_add(digit.into())?;
            }
            (None, None) => scale = Some(1),
            (None, Some(_)) => return None,
        }
    }
    u64::try_from(value.checked_mul(factor)? / scale.unwrap_or(1)).ok()
}

fn names(text: &str) {
    if let Ok(id) = text.parse::<SessionId>() {
        assert_eq!(id.to_string(), text.to_ascii_lowercase());
        assert_eq!(id.short().len(), 8);
        survives(&id);
    }
    if let Some(name) = named::<SessionName>(text, SessionName::MAX_LEN) {
        assert_eq!(name.as_str(), text);
        assert!(text.parse::<SessionId>().is_err(), "a name is never an id");
        survives(&name);
    }
    named::<AppName>(text, AppName::MAX_LEN).inspect(survives);
    named::<ProfileName>(text, ProfileName::MAX_LEN).inspect(survives);
    if let Ok(property) = text.parse::<Property>() {
        assert_eq!(property.as_str(), text);
    }
}

/// A name, which is safe as a file's name, in a terminal and in a shell.
fn named<T: FromStr>(text: &str, longest: usize) -> Option<T> {
    let name = text.parse().ok()?;
    assert!((1..=longest).contains(&text.len()) && !text.starts_with(['.', '-']));
    assert!(text.bytes().all(|b| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.')));
    Some(name)
}

fn seeds() -> Vec<String> {
    let spec = serde_json::json!({
        "name": "amber-otter",
        "command": ["sh", "-c", "true"],
        "project": {"path": "/srv/x", "access": "copy", "allow_hooks": false},
        "mounts": [{"source": "/data", "target": "/data", "writable": true}],
        "env": [{"name": "TOKEN", "value": "hunter2hunter2"}],
        "terminal": {"cols": 80, "rows": 24},
        "term": "xterm-256color",
        "limits": {"memory": 1 << 30, "cpu_percent": 150, "pids": 10, "storage": 1 << 20, "storage_inodes": 99},
        "ttl": 1, "idle_timeout": 2, "linger": 3, "keep": true, "keep_record": true,
        "accept_weaker": ["amnesia"], "hold_output": true, "profile": "work", "preset": "p",
        "user": "u", "channel": "c", "chat": "h", "labels": {"a": "b"},
        "metadata": {"deep": [[[{"x": [1, -2, 0.1, 1e300, null, true]}]]]},
        "output_ring": 4096,
    });
    let texts = [
        "1.5MiB",
        "2 G",
        "10KB",
        "0.000001T",
        "300ms",
        "1.5h",
        "7d",
        "5min",
        "2026-01-31T12:00:00.123Z",
        "0000-01-01T00:00:00+23:59",
        "9999-12-31T23:59:60-00:01",
        "01234567-89ab-7fff-bfff-ffffffffffff",
        "amber-otter",
        "routing",
    ];
    texts.into_iter().map(str::to_owned).chain([spec.to_string(), "{}".to_owned()]).collect()
}
