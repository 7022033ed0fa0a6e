//! How fast text is taken in, beside another terminal's model: `cargo xtask bench terminal` runs it.
//!
//! Prints a line for each workload: its name, then the median rates in MB/s, ours and the other's.

#![allow(clippy::disallowed_methods, reason = "measuring takes a clock")]

use std::time::Instant;

use alacritty_terminal::event::VoidListener;
use alacritty_terminal::grid::Dimensions;
use alacritty_terminal::term::{Config, Term};
use alacritty_terminal::vte::ansi::Processor;
use sessile_model::spec::WindowSize;
use sessile_terminal::{DEFAULT_LINES, Scrollback, Terminal};

const SIZE: WindowSize = WindowSize { cols: 120, rows: 40 };
/// Bytes fed at once, as a keeper does.
const CHUNK: usize = 4 << 10;
const BYTES: usize = 16 << 20;
const ROUNDS: usize = 7;

struct Dims;

impl Dimensions for Dims {
    fn total_lines(&self) -> usize {
        SIZE.rows.into()
    }

    fn screen_lines(&self) -> usize {
        SIZE.rows.into()
    }

    fn columns(&self) -> usize {
        SIZE.cols.into()
    }
}

fn main() {
    for (name, bytes) in [
        ("plain text", plain()),
        ("text as an editor draws it", drawn()),
        ("characters beyond ASCII", wide()),
    ] {
        let mut rates = [Vec::new(), Vec::new()];
        for _ in 0..ROUNDS {
            rates[0].push(rate(&bytes, || ours(&bytes)));
            rates[1].push(rate(&bytes, || theirs(&bytes)));
        }
        let [ours, theirs] = rates.map(median);
        println!("{name}\t{ours:.0}\t{theirs:.0}");
    }
    let mut terminal = Terminal::new(SIZE, DEFAULT_LINES);
    terminal.feed(&plain()[..1 << 20]);
    terminal.feed(&drawn()[..1 << 20]);
    let mut times: Vec<f64> = (0..ROUNDS * 20)
        .map(|_| {
            let start = Instant::now();
            std::hint::black_box(terminal.dump(Scrollback::Without));
            start.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    times.sort_by(f64::total_cmp);
    println!("a dump of the screen\t{:.0}\t", times[times.len() / 2]);
}

fn ours(bytes: &[u8]) {
    let mut terminal = Terminal::new(SIZE, DEFAULT_LINES);
    bytes.chunks(CHUNK).for_each(|chunk| terminal.feed(chunk));
    std::hint::black_box(terminal.cursor());
}

fn theirs(bytes: &[u8]) {
    let config = Config { scrolling_history: DEFAULT_LINES, ..Config::default() };
    let mut term = Term::new(config, &Dims, VoidListener);
    let mut processor: Processor = Processor::new();
    bytes.chunks(CHUNK).for_each(|chunk| processor.advance(&mut term, chunk));
    std::hint::black_box(term.grid().cursor.point);
}

fn rate(bytes: &[u8], feed: impl FnOnce()) -> f64 {
    let start = Instant::now();
    feed();
    bytes.len() as f64 / 1e6 / start.elapsed().as_secs_f64()
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

/// Numbers that are the same in every run.
struct Draw(u64);

impl Draw {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

fn plain() -> Vec<u8> {
    let mut draw = Draw(1);
    let mut out = Vec::with_capacity(BYTES + 200);
    while out.len() < BYTES {
        let length = draw.below(110);
        out.extend((0..length).map(|_| b' ' + draw.below(95) as u8));
        out.extend(b"\r\n");
    }
    out
}

fn drawn() -> Vec<u8> {
    let mut draw = Draw(2);
    let mut out = Vec::with_capacity(BYTES + 200);
    while out.len() < BYTES {
        match draw.below(12) {
            0 => out.extend(format!("\x1b[{};{}H", draw.below(40) + 1, draw.below(120) + 1).bytes()),
            1 => out.extend(b"\x1b[K"),
            2 => out.extend(b"\r\n"),
            _ => {
                let color = draw.below(40) as u8;
                out.extend(format!("\x1b[38;2;{};{};{}m", color, 2 * color, 90 + color).bytes());
            }
        }
        let length = draw.below(9) + 1;
        out.extend((0..length).map(|_| b'a' + draw.below(26) as u8));
    }
    out
}

fn wide() -> Vec<u8> {
    let mut draw = Draw(3);
    let mut text = String::with_capacity(BYTES + 200);
    let known = ['\u{4f60}', '\u{597d}', '\u{e9}', '\u{2500}', 'a', ' ', '\u{1f44d}'];
    while text.len() < BYTES {
        for _ in 0..draw.below(50) {
            text.push(known[draw.below(known.len() as u64) as usize]);
        }
        text.push_str("\r\n");
    }
    text.into_bytes()
}
