//! What an app writes to its terminal, with resizes in between: the sieve and the screen model.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::{Draw, plant};
use sessile_keeper::fuzz::{ScreenModel, Sieve};
use sessile_model::spec::WindowSize;

/// Longest string that may reach the parser, in bytes, and largest number that always may.
const MAX_STRING: usize = 16 << 10;
const MAX_COLOUR: u16 = 255;
/// Most bytes that draw one cell: its attributes, its text, its share of moves.
const CELL: usize = 256;

fuzz_target!(init: { tolerate_parser(); plant(seeds()) }, |data: &[u8]| {
    sieve(data);
    screen(data);
});

/// The screen model survives panics of the parser, which is not ours; all others are findings.
fn tolerate_parser() {
    let abort = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let place = panic.location().map_or("", |location| location.file());
        if !["/vt100-", "/vte-"].iter().any(|parser| place.contains(parser)) {
            abort(panic);
        }
    }));
}

fn screen(data: &[u8]) {
    let mut draw = Draw(data);
    let mut model = ScreenModel::new(size(&mut draw), 0);
    let mut at = 0;
    let mut resized = false;
    while !draw.is_empty() {
        let run = match draw.byte() {
            0 => {
                let size = size(&mut draw);
                model.resize(size);
                resized = true;
                assert_eq!(model.size(), size);
                continue;
            }
            // A run many times over, as a flood has it.
            1 => {
                let count = usize::from(draw.byte());
                draw.run().repeat(count)
            }
            _ => draw.run().to_vec(),
        };
        model.feed(at, &run);
        at += run.len() as u64;
        assert_eq!(model.offset(), at, "every byte is accounted for");
    }
    shown(&model, resized);
}

fn shown(model: &ScreenModel, resized: bool) {
    let WindowSize { cols, rows } = model.size();
    let described = model.describe();
    assert_eq!((described.cols, described.rows), (cols, rows));
    assert_eq!(described.lines.len(), usize::from(rows));
    assert!(described.title.len() <= 4096);
    assert!(described.cursor.0 < rows && described.cursor.1 <= cols);
    assert_eq!(model.text(), described.lines.join("\n"));
    let clean = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
    assert!(clean(&model.text()), "the text of a screen has no controls");
    let dump = model.dump();
    assert!(dump.len() <= (usize::from(cols) + 1) * usize::from(rows) * CELL + 8192, "{}", dump.len());
    // Whoever attaches sees the same. A screen of one column has no place for a wide character, and
    // one that became narrower may hold half of one.
    if cols > 1 && !resized {
        let mut again = ScreenModel::new(model.size(), 0);
        again.feed(0, &dump);
        assert_eq!(again.text(), model.text());
    }
}

/// What passes the sieve is, to the parser, what went in, but for strings and numbers that are
/// too large.
fn sieve(data: &[u8]) {
    let mut draw = Draw(data);
    let side = draw.word() % 1000;
    let pieces = usize::from(draw.byte()) + 1;
    let most = side.max(MAX_COLOUR);
    let (mut sieve, mut parser, mut passed) = (Sieve::default(), vte::Parser::new(), Said::default());
    for piece in draw.0.chunks(pieces) {
        sieve.pass(piece, side, |part| parser.advance(&mut passed, part));
    }
    let (mut parser, mut whole) = (vte::Parser::new(), Said::default());
    // In the same pieces: where characters that are no UTF-8 are cut makes a difference.
    draw.0.chunks(pieces).for_each(|piece| parser.advance(&mut whole, piece));
    for said in &mut whole.0 {
        if let Word::Control(params, intermediates, _) = said
            && !matches!(intermediates.first(), Some(b'<'..=b'?'))
        {
            params.iter_mut().flatten().for_each(|number| *number = (*number).min(most));
        }
    }
    for said in &passed.0 {
        if let Word::Command(bytes) = said {
            assert!(bytes.iter().map(Vec::len).sum::<usize>() <= MAX_STRING, "a string is cut");
        }
    }
    let is_short = |said: &Word| !matches!(said, Word::Command(b) if b.iter().map(|b| b.len() + 1).sum::<usize>() > MAX_STRING);
    if whole.0.iter().all(is_short) {
        assert_eq!(passed.0, whole.0, "what is ordinary passes");
    }
}

#[derive(Debug, Default)]
struct Said(Vec<Word>);

#[derive(Debug, PartialEq, Eq)]
enum Word {
    Print(char),
    Execute(u8),
    Control(Vec<Vec<u16>>, Vec<u8>, char),
    Escape(Vec<u8>, u8),
    Command(Vec<Vec<u8>>),
}

impl vte::Perform for Said {
    fn print(&mut self, c: char) {
        self.0.push(Word::Print(c));
    }

    fn execute(&mut self, byte: u8) {
        // A control within a number is carried out before it or after it, which is the same.
        self.0.push(Word::Execute(byte));
    }

    fn csi_dispatch(&mut self, params: &vte::Params, intermediates: &[u8], _: bool, action: char) {
        let params = params.iter().map(<[u16]>::to_vec).collect();
        self.0.push(Word::Control(params, intermediates.to_vec(), action));
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], _: bool, byte: u8) {
        self.0.push(Word::Escape(intermediates.to_vec(), byte));
    }

    fn osc_dispatch(&mut self, params: &[&[u8]], _: bool) {
        self.0.push(Word::Command(params.iter().map(|param| param.to_vec()).collect()));
    }
}

fn size(draw: &mut Draw<'_>) -> WindowSize {
    let wide = draw.byte();
    // Mostly small screens, where edges are near.
    let side = |draw: &mut Draw<'_>| if wide == 255 { draw.word() } else { u16::from(draw.byte() % 32) };
    WindowSize { cols: side(draw), rows: side(draw) }.clamped()
}

fn seeds() -> Vec<Vec<u8>> {
    let written: [&[u8]; 12] = [
        b"\x1b]2;build\x07one\r\n\x1b[31mtwo\x1b[m\r\n\x1b[?2004h",
        b"\x1b[65535@\x1b[65535L\x1b[65535T\x1b[65535P\x1b[65535M\x1b[65535S\x1b[65535X",
        b"\x1b[?1049h\x1b[2J\x1b[H\x1b[5;10r\x1b[?6h\x1b[99;99Hx\x1bM\x1b[?1049l",
        b"\x1b7\x1b[3;4H\x1b8\x1bc\x1b=\x1b>\x1b(0",
        "w\u{f3}de \u{4f60}\u{597d} e\u{301} \u{1f468}\u{200d}\u{1f469}".as_bytes(),
        b"\x1b[38;5;255;48;2;1;2;3;1;4;7mx\x1b[1J\x1b[2K\x1b[0K",
        b"\x1b]0;\x1b\x07]0;AAAA",
        b"a\x1b[6\x07553\x7f5Tb\x1bP65535@\x1b\\\x1b^x\x1b\\",
        b"\x1b[8;50;50t\x1b]52;c;aGk=\x07\x1b[?9;1000;1002;1006h",
        b"\x1b[A\x1b[B\x1b[C\x1b[D\x1b[E\x1b[F\x1b[G\x1b[d\x1b[J\x1b[K\x1b[?J\x1b[?K",
        b"\t\x08\x0b\x0c\x0e\x0f\x00\x7f\xc2\x9b\xff\xfe",
        b"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n\n\n\n\n",
    ];
    let mut seeds = Vec::new();
    for bytes in written {
        let run = [&[bytes.len() as u8][..], bytes].concat();
        seeds.push([&[0, 20, 5, 2][..], &run, &[0, 0, 9, 9, 2], &run].concat());
        seeds.push([&[255, 255, 1, 255, 0, 1, 40][..], &run].concat());
    }
    seeds
}
