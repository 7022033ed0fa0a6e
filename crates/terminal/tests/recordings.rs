//! Recorded output of real programs: what is shown is what another terminal shows, and a dump made
//! anywhere in it changes nothing.

#![allow(clippy::unwrap_used, clippy::disallowed_methods)]

mod oracle;

use std::path::PathBuf;

use oracle::{Oracle, cells, difference, difference_of_part};
use sessile_model::spec::WindowSize;
use sessile_terminal::{Scrollback, Terminal, Viewport};

struct Recording {
    name: String,
    size: WindowSize,
    bytes: Vec<u8>,
}

/// The recordings, or none with a word on why.
fn recordings() -> Vec<Recording> {
    let corpora = std::env::var_os("SESSILE_CORPORA").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora"),
        PathBuf::from,
    );
    let folder = corpora.join("terminal");
    let Ok(entries) = std::fs::read_dir(&folder) else {
        eprintln!(
            "SKIPPED: no recordings in {}; SESSILE_CORPORA names the folder of corpora",
            folder.display()
        );
        return Vec::new();
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "recording"));
    paths.sort();
    paths
        .into_iter()
        .map(|path| {
            let size: serde_json::Value =
                serde_json::from_slice(&std::fs::read(path.with_extension("size.json")).unwrap()).unwrap();
            let number = |key: &str| u16::try_from(size[key].as_u64().unwrap()).unwrap();
            Recording {
                name: path.file_stem().unwrap().to_string_lossy().into_owned(),
                size: WindowSize { rows: number("screen_lines"), cols: number("columns") },
                bytes: std::fs::read(&path).unwrap(),
            }
        })
        .collect()
}

fn terminal(size: WindowSize, bytes: &[u8]) -> Terminal {
    let mut terminal = Terminal::new(size, 20_000);
    terminal.feed(bytes);
    terminal
}

fn oracle(size: WindowSize, parts: &[&[u8]]) -> Oracle {
    let mut oracle = Oracle::new(size);
    parts.iter().for_each(|part| oracle.feed(part));
    oracle
}

#[test]
fn what_is_shown_is_what_another_terminal_shows() {
    let mut failures = Vec::new();
    for recording in recordings() {
        let ours = terminal(recording.size, &recording.bytes);
        let theirs = oracle(recording.size, &[&recording.bytes]);
        if let Some(difference) = difference(&cells(&ours), &theirs.rows()) {
            failures.push(format!("{}: {difference}", recording.name));
        }
        let (row, column, _) = theirs.cursor();
        if ours.cursor() != (row as u16, column as u16) {
            failures.push(format!("{}: cursor {:?}, not {:?}", recording.name, ours.cursor(), (row, column)));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What differs between a terminal that saw everything and one that was given a dump in between.
fn cut(recording: &Recording, at: usize, whole: &Oracle) -> Option<String> {
    let (before, after) = recording.bytes.split_at(at);
    let dump = terminal(recording.size, before).dump(Scrollback::With);
    let theirs = oracle(recording.size, &[&dump, after]);
    let name = &recording.name;
    if let Some(difference) = difference(&theirs.rows(), &whole.rows()) {
        return Some(format!("{name} at {at}: {difference}"));
    }
    if theirs.cursor() != whole.cursor() {
        return Some(format!("{name} at {at}: cursor {:?}, not {:?}", theirs.cursor(), whole.cursor()));
    }
    if theirs.modes() != whole.modes() {
        return Some(format!("{name} at {at}: modes {}, not {}", theirs.modes(), whole.modes()));
    }
    None
}

#[test]
fn a_dump_at_fixed_cuts_changes_nothing() {
    let mut failures = Vec::new();
    for recording in recordings() {
        let whole = oracle(recording.size, &[&recording.bytes]);
        for percent in [0, 10, 50, 90, 100] {
            failures.extend(cut(&recording, recording.bytes.len() * percent / 100, &whole));
        }
    }
    assert!(failures.is_empty(), "{} misses:\n{}", failures.len(), failures.join("\n"));
}

#[test]
fn a_dump_at_any_cut_changes_nothing() {
    const CUTS: usize = 60;
    let mut failures = Vec::new();
    let mut cuts = 0;
    for recording in recordings() {
        let whole = oracle(recording.size, &[&recording.bytes]);
        let mut seed = 0x9e37_79b9_7f4a_7c15_u64;
        for _ in 0..CUTS {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            failures.extend(cut(&recording, (seed >> 33) as usize % recording.bytes.len(), &whole));
            cuts += 1;
        }
    }
    failures.iter().for_each(|failure| eprintln!("missed: {failure}"));
    assert!(failures.len() * 1000 <= cuts, "{} of {cuts} cuts", failures.len());
}

#[test]
fn a_dump_of_a_loaded_dump_is_that_dump() {
    for recording in recordings() {
        for percent in [5, 35, 65, 100] {
            let bytes = &recording.bytes[..recording.bytes.len() * percent / 100];
            let once = terminal(recording.size, bytes).dump(Scrollback::With);
            let again = terminal(recording.size, &once).dump(Scrollback::With);
            let differs = once
                .iter()
                .zip(&again)
                .position(|(one, other)| one != other)
                .unwrap_or(once.len().min(again.len()));
            let part = |bytes: &[u8]| {
                String::from_utf8_lossy(&bytes[differs.saturating_sub(40)..bytes.len().min(differs + 40)])
                    .into_owned()
            };
            assert!(
                once == again,
                "{} at {percent} %: {:?} and {:?}",
                recording.name,
                part(&once),
                part(&again)
            );
        }
    }
}

/// In a window of half the columns and a third of the rows, and in one that has more, drawn as often as a slow client
/// takes it.
#[test]
fn a_window_of_another_size_shows_its_part() {
    let windows = |WindowSize { rows, cols }| {
        [WindowSize { rows: rows / 3, cols: cols / 2 }, WindowSize { rows: rows + 7, cols: cols + 30 }]
    };
    let mut failures = Vec::new();
    let all = recordings();
    for (recording, window) in all.iter().flat_map(|it| windows(it.size).map(|window| (it, window))) {
        let mut whole = terminal(recording.size, b"");
        let (mut viewport, mut shown) = (Viewport::new(window), Oracle::new(window));
        for (number, piece) in recording.bytes.chunks(recording.bytes.len() / 40 + 1).enumerate() {
            whole.feed(piece);
            shown.feed(&viewport.draw(&whole, None));
            if let Some(difference) = difference_of_part(&whole, &viewport, &shown) {
                failures.push(format!("{} after piece {number}: {difference}", recording.name));
                break;
            }
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}
