//! What an app writes to its terminal, with resizes in between: the screen model.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::{Draw, plant};
use sessile_keeper::fuzz::ScreenModel;
use sessile_model::spec::WindowSize;
use sessile_terminal::{Replies, Scrollback, Viewport};

/// Most bytes that draw one cell: its attributes, its text, its share of moves.
const CELL: usize = 256;

fuzz_target!(init: plant(seeds()), |data: &[u8]| screen(data));

fn screen(data: &[u8]) {
    let mut draw = Draw(data);
    let mut model = ScreenModel::new(size(&mut draw), 0);
    let mut window = Viewport::new(size(&mut draw));
    let mut at = 0;
    while !draw.is_empty() {
        let run = match draw.byte() {
            0 => {
                let size = size(&mut draw);
                model.resize(size, model.offset());
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
        for question in model.take_questions() {
            assert!(question.at.start < question.at.end && question.at.end <= model.understood());
        }
        assert!(model.understood() <= at);
        let _ = model.draw_part(&mut window, None);
        assert_eq!(model.draw_part(&mut window, None), b"", "nothing has changed");
    }
    shown(&model);
    // What is typed is read for a terminal's answers.
    Replies::default().read(data);
}

fn shown(model: &ScreenModel) {
    let WindowSize { cols, rows } = model.size();
    let described = model.describe(usize::MAX);
    assert_eq!((described.cols, described.rows), (cols, rows));
    assert_eq!(described.lines.len(), usize::from(rows));
    let json = serde_json::to_vec(&described.history).map_or(0, |json| json.len());
    assert!(json <= 4 << 20, "{json} bytes of history");
    assert!(described.title.len() <= 4096);
    let commands = model.commands().describe();
    assert!(commands.finished.len() <= 32 && commands.running.len() <= 16);
    assert!(
        commands
            .finished
            .iter()
            .all(|c| c.output_to.is_some_and(|to| c.output_from <= to && to <= model.offset()))
    );
    assert!(described.cursor.0 < rows && described.cursor.1 <= cols);
    assert_eq!(model.text(), described.lines.join("\n"));
    let clean = |text: &str| !text.chars().any(|c| c.is_control() && c != '\n');
    assert!(clean(&model.text()), "the text of a screen has no controls");
    let dump = model.dump(Scrollback::Without);
    let titles = 40 * 1100;
    assert!(
        dump.len() <= (usize::from(cols) + 1) * usize::from(rows) * CELL + titles + (32 << 10),
        "{}",
        dump.len()
    );
    // Whoever attaches sees the same. A screen of one column has no place for a wide character.
    if cols > 1 {
        let mut again = ScreenModel::new(model.size(), 0);
        again.feed(0, &dump);
        assert_eq!(again.text(), model.text(), "{:?}", String::from_utf8_lossy(&dump));
        let _ = model.dump(Scrollback::With);
    }
}

fn size(draw: &mut Draw<'_>) -> WindowSize {
    let wide = draw.byte();
    // Mostly small screens, where edges are near.
    let side = |draw: &mut Draw<'_>| if wide == 255 { draw.word() } else { u16::from(draw.byte() % 32) };
    WindowSize { cols: side(draw), rows: side(draw) }.clamped()
}

fn seeds() -> Vec<Vec<u8>> {
    let written: [&[u8]; 15] = [
        b"\x1b]133;P;aid=7\x07$ \x1b]133;C;aid=7\x1b\\out\x1b]133;D;1;aid=7\x07",
        b"\x1b]2;build\x07one\r\n\x1b[31mtwo\x1b[m\r\n\x1b[?2004h",
        b"\x1b[65535@\x1b[65535L\x1b[65535T\x1b[65535P\x1b[65535M\x1b[65535S\x1b[65535X",
        b"\x1b[?1049h\x1b[2J\x1b[H\x1b[5;10r\x1b[?6h\x1b[99;99Hx\x1bM\x1b[?1049l",
        b"\x1b[?69h\x1b[2;5s\x1b[2;4rabcdefgh\x1b[L\x1b['}\x1b6\x1b9\x1b[?6h\x1b[M\x1b[?45h\x08\x1b[9D\x1b[?6;69s\x1b[?69l",
        b"\x1b[64\"p\x1b[1\"qab\x1b[0\"qc\x1bVd\x1bW\x1b[?J\x1b[2J\x1b[42;1;1;3;3$x\x1b[1;1;2;2;1;2;2$v\x1b[${\x1b[$z\x1b[;;;;7$t",
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
