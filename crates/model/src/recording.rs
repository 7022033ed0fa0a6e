//! Recordings of terminals as text: [asciicast](https://docs.asciinema.org/manual/asciicast/v3/),
//! version 3 written, versions 2 and 3 read.
//!
//! A recording is a line with a header and one line for each thing that happened. What is written
//! grows by whole lines, so that a recording is valid wherever it ends.

mod read;
mod write;

pub use read::{Happened, Happening, Header, MAX_EVENTS, MAX_LINE, ReadError, Reader};
pub use write::{Partial, Writer, header};

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::quantity::{Millis, Timestamp};
    use crate::spec::WindowSize;

    /// Everything in a recording; it must be valid.
    fn read(text: &str) -> (Header, Vec<Happened>) {
        let mut reader = Reader::default();
        let happened = text.lines().filter_map(|line| reader.line(line.as_bytes()).unwrap()).collect();
        (reader.header().unwrap().clone(), happened)
    }

    #[derive(Clone, Debug)]
    enum Step {
        Output(Vec<u8>),
        Input(Vec<u8>),
        Resize(u16, u16),
        Marker(String),
    }

    fn step() -> impl Strategy<Value = Step> {
        let piece = || {
            prop_oneof![
                any::<String>().prop_map(String::into_bytes),
                proptest::collection::vec(any::<u8>(), 0..20),
                // The ends and beginnings of characters.
                proptest::sample::select(vec![
                    &b"\xe2"[..],
                    b"\x82",
                    b"\xac",
                    b"\xf0\x9f",
                    b"\x98\x80",
                    b"\xc3",
                    b"\xa9"
                ])
                .prop_map(<[u8]>::to_vec),
            ]
        };
        prop_oneof![
            4 => piece().prop_map(Step::Output),
            2 => piece().prop_map(Step::Input),
            1 => (1..=1000u16, 1..=200u16).prop_map(|(cols, rows)| Step::Resize(cols, rows)),
            1 => any::<String>().prop_map(Step::Marker),
        ]
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(steps in proptest::collection::vec((step(), 0..100_000u64), 0..40), cut in 0..40usize) {
            let size = WindowSize { cols: 80, rows: 24 };
            let mut now = Timestamp::from_millis(1_700_000_000_000);
            let began = now;
            let mut text = header(size, Some("xterm"), now);
            let mut writer = Writer::begin(now);
            let (mut output, mut input, mut sizes, mut markers) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (index, (step, wait)) in steps.into_iter().enumerate() {
                if index == cut {
                    // Another goes on from what this one holds.
                    let (at, out, inp) = writer.state();
                    writer = Writer::resume(at, out, inp);
                }
                now = now.plus(Millis(wait));
                text += &match step {
                    Step::Output(bytes) => {
                        output.extend_from_slice(&bytes);
                        writer.output(now, &bytes)
                    }
                    Step::Input(bytes) => {
                        input.extend_from_slice(&bytes);
                        writer.input(now, &bytes)
                    }
                    Step::Resize(cols, rows) => {
                        sizes.push(WindowSize { cols, rows });
                        writer.resize(now, WindowSize { cols, rows })
                    }
                    Step::Marker(label) => {
                        let line = writer.marker(now, &label);
                        markers.push(label);
                        line
                    }
                };
                prop_assert!(text.ends_with('\n'));
            }
            text += &writer.exit(now, 3);
            let (head, happened) = read(&text);
            prop_assert_eq!((head.version, head.size), (3, size));
            let mut found = (String::new(), String::new(), Vec::new(), Vec::new(), Vec::new());
            for event in &happened {
                match &event.what {
                    Happening::Output(text) => found.0 += text,
                    Happening::Input(text) => found.1 += text,
                    Happening::Resize(size) => found.2.push(*size),
                    Happening::Marker(label) => found.3.push(label.clone()),
                    Happening::Exit(status) => found.4.push(status.clone()),
                    Happening::Other => prop_assert!(false, "{:?}", event),
                }
            }
            prop_assert_eq!(found.0, String::from_utf8_lossy(&output));
            prop_assert_eq!(found.1, String::from_utf8_lossy(&input));
            prop_assert_eq!((found.2, found.3, found.4), (sizes, markers, vec!["3".to_owned()]));
            prop_assert!(happened.is_sorted_by_key(|event| event.at));
            let last = happened.last().unwrap().at;
            prop_assert_eq!(last, Duration::from_millis(now.since(began).0));
        }

        #[test]
        fn no_text_makes_a_reader_panic(lines in proptest::collection::vec("[ -~]{0,60}", 0..6)) {
            let mut reader = Reader::default();
            for line in lines {
                let _ = reader.line(line.as_bytes());
            }
        }
    }

    #[test]
    fn a_clock_that_goes_back_takes_no_time() {
        let mut writer = Writer::begin(Timestamp::from_millis(5_000));
        assert_eq!(writer.output(Timestamp::from_millis(6_050), b"a"), "[1.050, \"o\", \"a\"]\n");
        assert_eq!(writer.output(Timestamp::from_millis(1_000), b"b"), "[0.000, \"o\", \"b\"]\n");
        assert_eq!(writer.output(Timestamp::from_millis(1_002), b"c"), "[0.002, \"o\", \"c\"]\n");
    }

    #[test]
    fn the_header_says_what_is_needed() {
        let text = header(WindowSize { cols: 80, rows: 24 }, Some("xterm"), Timestamp::from_millis(1_500));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let wanted = serde_json::json!({
            "version": 3, "term": { "cols": 80, "rows": 24, "type": "xterm" }, "timestamp": 1
        });
        assert_eq!(value, wanted);
    }

    #[test]
    fn recordings_of_others() {
        let (head, happened) = read(
            "{\"version\": 2, \"width\": 90, \"height\": 20, \"idle_time_limit\": 2.5}\n\
             [0.5, \"o\", \"a\"]\n[1.25, \"r\", \"100x30\"]\n\n[1.25, \"z\", {\"x\": 1}]\n",
        );
        assert_eq!((head.size.cols, head.size.rows), (90, 20));
        assert_eq!(head.idle_limit, Some(Duration::from_millis(2_500)));
        let times: Vec<u128> = happened.iter().map(|event| event.at.as_millis()).collect();
        assert_eq!(times, [500, 1250, 1250]);
        assert_eq!(happened[1].what, Happening::Resize(WindowSize { cols: 100, rows: 30 }));
        assert_eq!(happened[2].what, Happening::Other);
        let (_, happened) = read(
            "{\"version\":3,\"term\":{\"cols\":1,\"rows\":1}}\n# note\n[1,\"x\",\"0\"]\n[1,\"m\",\"\"]\n",
        );
        let times: Vec<u64> = happened.iter().map(|event| event.at.as_secs()).collect();
        assert_eq!(times, [1, 2]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_line() {
        let good = "{\"version\":3,\"term\":{\"cols\":80,\"rows\":24}}";
        let refused = |lines: &[&str]| {
            let mut reader = Reader::default();
            lines.iter().find_map(|line| reader.line(line.as_bytes()).err()).map(|e| e.to_string())
        };
        for (lines, words) in [
            (&["hello"][..], "not a recording"),
            (&["{\"version\":1}"], "version 1"),
            (&["{\"version\":3}"], "size"),
            (&["{\"version\":3,\"term\":{\"cols\":0,\"rows\":24}}"], "size"),
            (&[good, "[1,\"o\"]"], "line 2"),
            (&[good, "[-1,\"o\",\"x\"]"], "line 2"),
            (&[good, "[1e300,\"o\",\"x\"]"], "line 2"),
            (&[good, "", "[1,\"o\",7]"], "line 3"),
            (&[good, "[1,\"r\",\"80\"]"], "line 2"),
            (&[good, &format!("[1,\"o\",\"{}\"]", "x".repeat(MAX_LINE))], "longer"),
        ] {
            let said = refused(lines).unwrap_or_else(|| panic!("{words}: accepted"));
            assert!(said.contains(words), "{said}");
        }
        assert_eq!(refused(&[good, "[1,\"o\",\"x\"]"]), None);
    }
}
