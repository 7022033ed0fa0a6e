//! Sequences that no recording has: made up, and hostile.

mod oracle;

use oracle::{Oracle, cells, difference, difference_of_part};
use proptest::collection::vec;
use proptest::prelude::*;
use sessile_model::spec::WindowSize;
use sessile_terminal::{DEFAULT_LINES, Scrollback, Terminal, Viewport};

/// Bytes that an app writes at once, readable when a test fails.
#[derive(Clone)]
struct Token(Vec<u8>);

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

fn joined(tokens: &[Token]) -> Vec<u8> {
    tokens.iter().flat_map(|token| token.0.iter().copied()).collect()
}

fn number() -> impl Strategy<Value = u32> {
    prop_oneof![8 => 0..30u32, 1 => Just(65_535u32), 1 => Just(1_000_000_000u32)]
}

/// Something that an app may write.
fn token() -> impl Strategy<Value = Token> {
    let csi = |prefix: &'static str, finals: &'static str| {
        (vec(number(), 0..4), 0..finals.len()).prop_map(move |(numbers, at)| {
            let numbers: Vec<String> = numbers.iter().map(u32::to_string).collect();
            format!("\x1b[{prefix}{}{}", numbers.join(";"), &finals[at..=at]).into_bytes()
        })
    };
    let known =
        |texts: &'static [&'static str]| (0..texts.len()).prop_map(move |at| texts[at].as_bytes().to_vec());
    prop_oneof![
        6 => "[a-z ]{1,12}".prop_map(String::into_bytes),
        3 => known(&["你", "好", "e\u{301}", "👍", "\u{200d}", "é", "─", "\u{fffd}", "\u{17d8}"]),
        3 => known(&["\r", "\n", "\r\n", "\t", "\x08", "\x0e", "\x0f"]),
        6 => csi("", "ABCDEFGHJKLMPSTXZ@dfr`"),
        4 => (0..12u32, 0..256u32).prop_map(|(kind, color)| match kind {
            0 => format!("\x1b[38;5;{color}m"),
            1 => format!("\x1b[48;5;{color}m"),
            2 => format!("\x1b[38;2;{color};2;3m"),
            3 => "\x1b[m".to_owned(),
            4 => format!("\x1b[4:{}m", color % 6),
            5 => format!("\x1b[58:5:{color}m"),
            _ => format!("\x1b[{}m", color % 60),
        }.into_bytes()),
        2 => known(&[
            "\x1b7", "\x1b8", "\x1bM", "\x1bD", "\x1bE", "\x1bH", "\x1b[3g", "\x1b(0", "\x1b(B", "\x1b)0", "\x1b=", "\x1b>",
            "\x1b#8", "\x1b[!p", "\x1b[s", "\x1b[u", "\x1b[2J", "\x1b[3J", "\x1b[J",
        ]),
        2 => known(&[
            "\x1b[?1049h", "\x1b[?1049l", "\x1b[?6h", "\x1b[?6l", "\x1b[?7l", "\x1b[?7h", "\x1b[4h", "\x1b[4l", "\x1b[20h",
            "\x1b[?45h", "\x1b[?45l", "\x1b[?1045h", "\x1b[?1045l", "\x1b[?41h", "\x1b[?69h", "\x1b[?69l", "\x1b[?3h", "\x1b[?47h",
            "\x1b[?47l", "\x1b[?6s", "\x1b[?6r", "\x1b[?7s", "\x1b[?7r", "\x1b[?69s", "\x1b[?69r", "\x1b[?42h", "\x1b[?42l",
            "\x1b[?25l", "\x1b[?1000h", "\x1b[?1002h", "\x1b[?1006h", "\x1b[?1000l", "\x1b[?2004h", "\x1b[?1004h", "\x1b[?1h",
        ]),
        3 => (0..12u32, 0..14u32).prop_map(|(left, width)| {
            format!("\x1b[?69h\x1b[{left};{}s", left + width).into_bytes()
        }),
        3 => csi("", "rs"),
        2 => known(&[
            "\x1b[64\"p", "\x1b6", "\x1b9", "\x1bV", "\x1bW", "\x1b[1\"q", "\x1b[0\"q", "\x1b[?K", "\x1b[?1K", "\x1b[?2J", "\x1b[?J", "\x1b[?1J",
            "\x1b['}", "\x1b['~", "\x1b[2'}", "\x1b[3'~", "\x1b[ @", "\x1b[2 A", "\x1b[2*x", "\x1b[*x", "\x1bN", "\x1bO",
            "\x1b(K", "\x1b[#{", "\x1b[1;30;4#{", "\x1b[31;7#p", "\x1b[#}", "\x1b[#q", "\x1b)%6", "\x1b*0", "\x1b+A", "\x1bn", "\x1bo",
        ]),
        3 => (vec(0..14u32, 8), 0..6usize, prop::sample::select(vec![0, 1, 4, 7, 22, 27])).prop_map(|(n, kind, attribute)| {
            let area = format!("{};{};{};{}", n[0], n[1], n[0] + n[2], n[1] + n[3]);
            match kind {
                0 => format!("\x1b[{};{area}$x", 33 + n[4]),
                1 => format!("\x1b[{area}$z"),
                2 => format!("\x1b[{area}${{"),
                3 => format!("\x1b[{area};1;{};{};1$v", n[4], n[5]),
                4 => format!("\x1b[{area};{attribute}$r"),
                _ => format!("\x1b[{area};{attribute}$t"),
            }.into_bytes()
        }),
        1 => known(&[
            "\x1b]8;;http://a/\x1b\\", "\x1b]8;id=x;http://b/\x07", "\x1b]8;;\x07", "\x1b]2;title\x07", "\x1b]0;\x07",
            "\x1b[22t", "\x1b[23t", "\x1b]4;1;#ff0000\x07", "\x1b]104\x07", "\x1b[>5u", "\x1b[<u", "\x1b[=3;2u", "\x1b[4 q",
            "\x1bP$qm\x1b\\", "\x1b_x\x1b\\", "\x1b]133;A\x07",
        ]),
        1 => vec(any::<u8>(), 1..6),
    ]
    .prop_map(Token)
}

fn sizes() -> impl Strategy<Value = WindowSize> {
    (1u16..12, 2u16..30).prop_map(|(rows, columns)| WindowSize { rows, cols: columns })
}

fn fed(size: WindowSize, parts: &[&[u8]]) -> Terminal {
    let mut terminal = Terminal::new(size, DEFAULT_LINES);
    parts.iter().for_each(|part| terminal.feed(part));
    terminal
}

fn dumped(terminal: &Terminal) -> String {
    String::from_utf8_lossy(&terminal.dump(Scrollback::With)).into_owned()
}

/// What follows whatever an app wrote, and tells apart what looks the same.
const PROBES: [&str; 8] = [
    "\u{18}\x1b\\\x1b[#}p\x1b[#}e\x1b[#}n\x1b[#}s",
    "\u{18}\x1b\\\x1b[?J\x1b[1J",
    "\u{18}\x1b\\\x1b[J\x1b[?1J",
    "\u{18}\x1b\\#[~abcdefghijklmnopqrstuvwxyzabcdefghijklmn",
    "\u{18}\x1b\\\x1b8\x1b[?7h#[~xyz\x0e#[~\n\n\x08\x08\x08\x1b[L",
    "\u{18}\x1b\\\x1b[?6;7;69rq\x08\x08\x1b[8Dz\x1b[M",
    "\u{18}\x1b\\\x1b[?1049l\x1b8one",
    "\u{18}\x1b\\\x1b[?47l\x1b[?47h\x1b8one\x1b['}\x1b[1;1;9;9;7$r",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    /// However the bytes are cut when they are fed.
    #[test]
    fn cuts_between_feeds_mean_nothing(size in sizes(), tokens in vec(token(), 1..40), at in any::<prop::sample::Index>()) {
        let bytes = joined(&tokens);
        let (one, other) = bytes.split_at(at.index(bytes.len()));
        prop_assert_eq!(dumped(&fed(size, &[&bytes])), dumped(&fed(size, &[one, other])));
    }

    /// A dump makes the same terminal, and what follows does the same to it.
    #[test]
    fn a_dump_stands_for_what_was_fed(size in sizes(), tokens in vec(token(), 1..40), at in any::<prop::sample::Index>()) {
        let bytes = joined(&tokens);
        let (before, after) = bytes.split_at(at.index(bytes.len()));
        let dump = fed(size, &[before]).dump(Scrollback::With);
        let (whole, returned) = (fed(size, &[&bytes]), fed(size, &[&dump, after]));
        let bytes_of_dump = dump;
        let dump = String::from_utf8_lossy(&bytes_of_dump);
        prop_assert_eq!(difference(&cells(&whole), &cells(&returned)), None, "dump {:?}", dump);
        prop_assert_eq!(whole.cursor(), returned.cursor(), "dump {:?}", dump);
        prop_assert_eq!(whole.history(), returned.history(), "dump {:?}", dump);
        let modes = |terminal: &Terminal| {
            let mut oracle = Oracle::new(size);
            oracle.feed(&terminal.dump(Scrollback::Without));
            oracle.stop_sync();
            (oracle.modes(), oracle.cursor())
        };
        prop_assert_eq!(modes(&whole), modes(&returned), "dump {:?}", dump);
        // What does not show until it is tried: margins, what is spared from erasing, saved cursors,
        // the character sets, modes put aside.
        for probe in PROBES {
            let tried = |parts: &[&[u8]]| {
                let terminal = fed(size, &[parts, &[probe.as_bytes()]].concat());
                (cells(&terminal), terminal.cursor())
            };
            let (ours, theirs) = (tried(&[&bytes]), tried(&[&bytes_of_dump, after]));
            prop_assert_eq!(difference(&ours.0, &theirs.0), None, "probe {:?}, dump {:?}", probe, dump);
            prop_assert_eq!(ours.1, theirs.1, "probe {:?}, dump {:?}", probe, dump);
        }
    }

    /// A part of the screen in a smaller window is that part, whatever is written and whoever changes size; and
    /// what is drawn once it fits again makes a terminal as if that had never been.
    #[test]
    fn a_window_shows_its_part(
        size in sizes(), window in sizes(),
        steps in vec((vec(token(), 0..6), prop::option::weighted(0.1, sizes()), prop::option::weighted(0.1, sizes())), 1..16),
    ) {
        let mut terminal = fed(size, &[]);
        let mut viewport = Viewport::new(window);
        let mut oracle = Oracle::new(window);
        for (tokens, app, window) in steps {
            if let Some(window) = window {
                viewport.resize(window);
                oracle.resize(window);
            }
            if let Some(app) = app {
                terminal.resize(app);
            }
            terminal.feed(&joined(&tokens));
            let bytes = viewport.draw(&terminal, None);
            oracle.feed(&bytes);
            let bytes = String::from_utf8_lossy(&bytes);
            prop_assert_eq!(difference_of_part(&terminal, &viewport, &oracle), None, "drawn by {:?}", bytes);
            prop_assert_eq!(viewport.draw(&terminal, None), b"");
        }
        let dump = terminal.dump_before_sequence(Scrollback::Without);
        oracle.feed(&viewport.leave());
        oracle.resize(terminal.size());
        oracle.feed(&dump);
        oracle.stop_sync();
        let mut fresh = Oracle::new(terminal.size());
        fresh.feed(&dump);
        fresh.stop_sync();
        prop_assert_eq!(difference(&oracle.rows(), &fresh.rows()), None);
        prop_assert_eq!((oracle.cursor(), oracle.modes()), (fresh.cursor(), fresh.modes()));
    }

    /// Through other sizes and back, nothing is lost.
    #[test]
    fn a_size_that_returns_brings_everything_back(
        size in sizes(), tokens in vec(token(), 1..40), others in vec(sizes(), 1..4),
    ) {
        let mut terminal = fed(size, &[&joined(&tokens)]);
        let (before, cursor) = (cells(&terminal), terminal.cursor());
        let history = terminal.history();
        others.into_iter().for_each(|other| terminal.resize(other));
        terminal.resize(size);
        prop_assert_eq!(difference(&cells(&terminal), &before), None);
        prop_assert_eq!(terminal.cursor(), cursor);
        prop_assert_eq!(terminal.history(), history);
    }

    /// Any bytes and any sizes leave a terminal that can be looked at.
    #[test]
    fn bytes_do_no_harm(bytes in vec(any::<u8>(), 0..600), size in sizes(), other in (0u16..40, 0u16..40)) {
        let mut terminal = fed(size, &[&bytes]);
        terminal.resize(WindowSize { rows: other.0, cols: other.1 });
        terminal.feed(&bytes);
        let _ = (dumped(&terminal), terminal.text(), terminal.grid(), terminal.history());
    }
}

/// Streams whose screen did not come back with its size.
#[test]
fn sizes_that_once_lost_something_return() {
    let streams: [(_, &[u8], _); 4] = [
        // A marker for a wide character in a row that moved away from that character.
        ((2, 7), "\t\x08 a   aaa你e\u{301}aa你\x1b[Taa".as_bytes(), (1, 2)),
        // A cursor that stands behind such a marker's neighbour.
        ((2, 2), "a aa \x0e    你\x1bM".as_bytes(), (1, 5)),
        // Text that wraps below the scroll region, where no next row is.
        ((4, 5), "  aa\x1b[B你\x1b[F\x1b[L\x1b[0;3r\x1b[3M".as_bytes(), (1, 2)),
        ((11, 5), "\x1b[0;2r\x1b[30m\x1b[11H\x1b[5`你".as_bytes(), (1, 2)),
    ];
    for ((rows, cols), stream, (other_rows, other_cols)) in streams {
        let mut terminal = fed(WindowSize { rows, cols }, &[stream]);
        let (before, cursor, history) = (cells(&terminal), terminal.cursor(), terminal.history());
        terminal.resize(WindowSize { rows: other_rows, cols: other_cols });
        terminal.resize(WindowSize { rows, cols });
        let stream = String::from_utf8_lossy(stream);
        assert_eq!(difference(&cells(&terminal), &before), None, "{stream:?}");
        assert_eq!((terminal.cursor(), terminal.history()), (cursor, history), "{stream:?}");
    }
}

/// Bytes that cost out of proportion elsewhere.
#[test]
fn hostile_streams_stay_bounded() {
    let size = WindowSize { rows: 24, cols: 80 };
    let mut terminal = Terminal::new(size, DEFAULT_LINES);
    let floods: [&[u8]; 15] = [
        b"\x1b[1000000000@\x1b[1000000000L\x1b[1000000000T\x1b[1000000000S",
        b"x\x1b[1000000000b",
        b"\x1b[1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1;1m",
        b"\x1b[22t\x1b]2;a title that is put aside\x07",
        b"\x1b[>1u\x1b[?12345h\x1b[?54321h",
        b"\x1b]8;;http://example.org/some/long/address/that/takes/memory\x07x",
        "e\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}\u{301}".as_bytes(),
        b"\x1b[6n\x1b[c\x1b[>q",
        b"\x1b]133;A\x07\x1b]133;D;0\x07",
        b"\x1b[?69h\x1b[2;70s\x1b[65535L\x1b[65535S\x1b[65535'}\x1b[65535'~\x1b9\x1b6x\x1b[65535b\x1b[?69l",
        b"\x1b[?1045h\x1b[65535D\x1b[?69h\x1b[79;80s\x1b[65535D\x1b[?69l\x1b[?1045l",
        b"\x1bVguarded\x1b[2J\x1bW\x1b[1$z\x1b[65$x\x1b[;;;;;2;2$v\x1b[;;;;0$t\x1b[;;;;1$r\x1b[${",
        b"\x1b[?1;2;3;4;5;6;7;8;9;1000;1001;1002;1003;2004s\x1b[?1;2;3;4;5;6;7;8;9;1000;1001;1002;1003;2004r",
        b"\x1bN\x1bO\x1b[?42h\x1b(K\x1b)%6\x1b[64\"p",
        b"\x1b[1;30#{\x1b[#{\x1b[#{\x1b[#}",
    ];
    for flood in floods {
        (0..2000).for_each(|_| terminal.feed(flood));
    }
    for number in 0..200_000u32 {
        terminal
            .feed(format!("\x1b[38;2;{};{};{}mx", number & 255, number >> 8 & 255, number >> 16).as_bytes());
        if number % 1000 == 0 {
            terminal.feed(b"\x1b[2;2;9;9;0$t\x1b[2*x\x1b[;;;;4$t\x1b[*x");
        }
        if number % 7 == 0 {
            terminal.feed(format!("\x1b]8;;http://example.org/{number}\x07y").as_bytes());
        }
    }
    terminal.feed(b"\x1b]2;");
    (0..2000).for_each(|_| terminal.feed(&[b'a'; 10_000]));
    terminal.feed(b"\x1b\\\x1bP");
    (0..200).for_each(|_| terminal.feed(&[b'1'; 10_000]));
    terminal.feed(b"\x1b\\\x1b[!p\x1bc\x1b[Hhere");
    assert!(terminal.text().starts_with("here"), "{}", terminal.text());
    let answers: usize = terminal.take_questions().iter().map(|question| question.answer.len()).sum();
    assert!(answers <= 4096, "{answers}");
    assert!(terminal.take_marks().len() <= 256);
    assert!(terminal.dump(Scrollback::With).len() < 8 << 20);
}

/// Where lines do not wrap, what is written in the last column is written without wrapping: some terminals then take
/// no more where wrapping was turned off only behind it.
#[test]
fn a_last_column_is_written_as_the_app_wrote_it() {
    let size = WindowSize { rows: 3, cols: 10 };
    let terminal = fed(size, &[b"\x1b[?7labcdefghijkl"]);
    let dump = dumped(&terminal);
    let last = dump.rfind("\x1b[1;10H").unwrap();
    assert!(dump[..last].contains("\x1b[?7l"), "{dump:?}");
}

/// Both screens have put aside a cursor with the same pen, which leaving the alternate one takes away.
#[test]
fn what_both_screens_put_aside_is_put_aside() {
    let size = WindowSize { rows: 1, cols: 2 };
    let pen = "\x1b]8;id=x;http://b/\x07\x1b[1;31m";
    let bytes = format!("\x1b[?1049h{pen}\x1b[s\x1b[?1049l{pen}\x1b[saa").into_bytes();
    let dump = fed(size, &[&bytes]).dump(Scrollback::With);
    let tried = |bytes: &[u8]| cells(&fed(size, &[bytes, b"\x18\x1b[?1049l\x1b8one"]));
    assert_eq!(difference(&tried(&bytes), &tried(&dump)), None, "{:?}", String::from_utf8_lossy(&dump));
}
