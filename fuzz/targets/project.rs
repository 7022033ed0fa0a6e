//! A copied project: the baseline that a keeper reads back, and diffs of what an app wrote.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::{Draw, plant, survives};
use sessile_sandbox::files::Baseline;
use sessile_sandbox::fuzz::unified;

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    if let Ok(baseline) = serde_json::from_slice::<Baseline>(data) {
        survives(&baseline);
        assert!(baseline.len() <= data.len());
    }
    let mut draw = Draw(data);
    let path = String::from_utf8_lossy(draw.run()).replace('\0', "");
    let sides = draw.byte();
    let old = draw.run().to_vec();
    let new = draw.0.to_vec();
    let (old, new) = match sides % 4 {
        0 => (None, Some(new)),
        1 => (Some(old), None),
        _ => (Some(old), Some(new)),
    };
    difference(&path, old, new);
});

fn difference(path: &str, old: Option<Vec<u8>>, new: Option<Vec<u8>>) {
    let diff = unified(path, old.clone(), new.clone());
    let is_text = |side: &Option<Vec<u8>>| {
        side.as_ref().is_none_or(|bytes| !bytes.contains(&0) && std::str::from_utf8(bytes).is_ok())
    };
    if !is_text(&old) || !is_text(&new) {
        assert!(diff.starts_with("# ") && diff.lines().count() == 1, "{diff:?}");
        return;
    }
    let (old, new) = (old.unwrap_or_default(), new.unwrap_or_default());
    let (head, body) = diff.split_at(diff.find("\n@@ ").map_or(diff.len(), |at| at + 1));
    // A path adds no line of its own.
    assert!(head.lines().count() <= 5 && head.starts_with("diff --git "), "{head:?}");
    assert_eq!(patched(&old, body.as_bytes()), new, "{diff}");
}

/// What a diff's hunks make of a text, as patch(1) does it: every line that is to be there is.
fn patched(old: &[u8], body: &[u8]) -> Vec<u8> {
    let mut rest: Vec<&[u8]> = old.split_inclusive(|&b| b == b'\n').collect();
    rest.reverse();
    let mut out: Vec<u8> = Vec::new();
    let mut taken = 0;
    let mut lines = body.split_inclusive(|&b| b == b'\n').peekable();
    while let Some(line) = lines.next() {
        if let Some(place) = line.strip_prefix(b"@@ -") {
            let from = place.split(|&b| b == b',' || b == b' ').next().expect("a number");
            let from: usize = std::str::from_utf8(from).expect("digits").parse().expect("a number");
            let is_insertion = place.split(|&b| b == b' ').next().is_some_and(|p| p.ends_with(b",0"));
            let until = if is_insertion { from } else { from - 1 };
            while taken < until {
                out.extend_from_slice(rest.pop().expect("lines before a hunk"));
                taken += 1;
            }
            continue;
        }
        let (&sign, text) = line.split_first().expect("a line");
        let is_last = lines.peek().is_some_and(|next| next.starts_with(b"\\"));
        let text = if is_last {
            lines.next();
            &text[..text.len() - 1]
        } else {
            text
        };
        if sign != b'+' {
            assert_eq!(rest.pop(), Some(text), "a line that is there");
            taken += 1;
        }
        if sign != b'-' {
            out.extend_from_slice(text);
        }
    }
    rest.iter().rev().for_each(|line| out.extend_from_slice(line));
    out
}

fn seeds() -> Vec<Vec<u8>> {
    let original = |path: serde_json::Value| {
        serde_json::json!([path, {
            "kind": "file", "mode": 493, "size": 7, "mtime_ns": -1,
            "stamp": {"inode": 7, "ctime_ns": 1}, "copy": {"inode": 8, "ctime_ns": 2},
            "digest": "ab".repeat(32),
        }])
    };
    let baseline = serde_json::json!({
        "started_ns": 1, "finished_ns": 2,
        "paths": [original("plain".into()), original(serde_json::json!([99, 233]))],
    });
    vec![
        baseline.to_string().into_bytes(),
        b"\x01f\x02\x09a\nb\nc\nd\n\na\nB\nc\nd\ne".to_vec(),
        b"\x03x\ny\x00\x00new\r\nfile".to_vec(),
        b"\x04 a\"\\\x01\x05gone\n".to_vec(),
    ]
}
