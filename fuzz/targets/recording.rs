//! Recordings: those of anybody are read within limits, and what is written of any bytes is read back.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::{Draw, plant};
use sessile_model::Timestamp;
use sessile_model::recording::{Happened, Happening, Reader, Writer, header};
use sessile_model::spec::WindowSize;

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    read(data);
    written(data);
});

fn read(data: &[u8]) {
    let mut reader = Reader::default();
    let mut last = None;
    for line in data.split(|&byte| byte == b'\n') {
        let Ok(happened) = reader.line(line) else { return };
        let header = reader.header().expect("a line was read");
        assert!(header.size.is_valid());
        let Some(Happened { at, what }) = happened else { continue };
        assert!(last.is_none_or(|last| last <= at), "time goes back");
        last = Some(at);
        match what {
            Happening::Resize(size) => assert!(size.is_valid()),
            Happening::Output(text)
            | Happening::Input(text)
            | Happening::Marker(text)
            | Happening::Exit(text) => assert!(text.len() <= line.len()),
            Happening::Other => {}
        }
    }
}

/// Output and input cut anywhere, with a writer that goes on from another's state.
fn written(data: &[u8]) {
    let mut draw = Draw(data);
    let mut now = Timestamp::from_millis(1_000);
    let mut text = header(WindowSize::default(), None, now);
    let mut writer = Writer::begin(now);
    let (mut output, mut input) = (Vec::new(), Vec::new());
    while !draw.is_empty() {
        let kind = draw.byte();
        now = Timestamp::from_millis(now.as_millis() + i64::from(kind) - 40);
        let run = draw.run();
        match kind % 4 {
            0 => {
                let (at, held, typed) = writer.state();
                writer = Writer::resume(at, held, typed);
            }
            1 => {
                input.extend_from_slice(run);
                text += &writer.input(now, run);
            }
            _ => {
                output.extend_from_slice(run);
                text += &writer.output(now, run);
            }
        }
    }
    text += &writer.exit(now, 0);
    let mut reader = Reader::default();
    let (mut shown, mut typed) = (String::new(), String::new());
    for line in text.lines() {
        match reader.line(line.as_bytes()).expect("what is written is read").map(|happened| happened.what) {
            Some(Happening::Output(text)) => shown += &text,
            Some(Happening::Input(text)) => typed += &text,
            Some(Happening::Resize(_) | Happening::Marker(_) | Happening::Exit(_) | Happening::Other)
            | None => {}
        }
    }
    assert_eq!(shown, String::from_utf8_lossy(&output));
    assert_eq!(typed, String::from_utf8_lossy(&input));
}

fn seeds() -> Vec<Vec<u8>> {
    [
        "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24,\"type\":\"xterm\"},\"timestamp\":1}\n[0.5,\"o\",\"a\\u001b[1m\"]\n[0,\"r\",\"100x30\"]\n# note\n[1.25,\"i\",\"q\"]\n[1,\"m\",\"here\"]\n[1,\"x\",\"0\"]\n",
        "{\"version\":2,\"width\":80,\"height\":24,\"idle_time_limit\":2.5}\n[0.5,\"o\",\"a\"]\n[1e3,\"z\",{}]\n",
        "\u{2}\u{4}€ü\u{1}\u{2}x\u{0}",
    ]
    .map(|text| text.as_bytes().to_vec())
    .into()
}
