//! What the manuals of the VT420 and VT510 and "XTerm Control Sequences" say that sequences do, one by
//! one. In what is written, `^` stands for ESC, and a cell that nothing was written in is shown as `.`.

use sessile_model::spec::WindowSize;
use sessile_terminal::{DEFAULT_LINES, Scrollback, Terminal};

/// Eight rows of twelve columns with the alphabet in the first five.
const FILLED: &str = "abcde\r\nfghij\r\nklmno\r\npqrst\r\nuvwxy";

fn fed(text: &str) -> Terminal {
    let mut terminal = Terminal::new(WindowSize { rows: 8, cols: 12 }, DEFAULT_LINES);
    terminal.feed(text.replace('^', "\x1b").as_bytes());
    terminal
}

/// The first rows, without what is empty at their ends, and the cursor as it is reported.
#[track_caller]
fn shows(text: &str, rows: &[&str], cursor: (u16, u16)) {
    let terminal = fed(text);
    let shown = terminal.text();
    let shown: Vec<&str> = shown.lines().collect();
    let expected: Vec<String> = rows.iter().map(|row| row.replace('.', " ").trim_end().to_owned()).collect();
    assert_eq!(shown[..rows.len()], expected, "{text:?}");
    let (row, column) = terminal.cursor();
    assert_eq!((row + 1, column + 1), cursor, "{text:?}");
    // And so does a terminal that is given a dump of it.
    let mut again = Terminal::new(terminal.size(), DEFAULT_LINES);
    again.feed(&terminal.dump(Scrollback::With));
    assert_eq!((again.text(), again.cursor()), (terminal.text(), terminal.cursor()), "{text:?}");
}

#[track_caller]
fn at(text: &str, cursor: (u16, u16)) {
    shows(text, &[], cursor);
}

/// What is answered, with `^` for ESC.
fn answers(text: &str) -> String {
    let questions = fed(text).take_questions();
    let answers =
        questions.into_iter().map(|question| String::from_utf8_lossy(&question.answer).into_owned());
    answers.collect::<String>().replace('\x1b', "^")
}

#[test]
fn text_wraps_between_the_margins() {
    shows("^[?69h^[2;4sabcdefgh", &["abcd", ".efg", ".h"], (3, 3));
    shows("^[?69h^[5;9s^[5;8r^[8;8Habcdef", &["", "", "", "", "", "", ".......ab", "....cdef"], (8, 9));
    shows("^[?7l^[?69h^[5;9s^[1;8Habcdef", &[".......af"], (1, 9));
    // From the right of them as well, and there without scrolling.
    shows("^[?69h^[3;5s^[1;11Habc", &["..........ab", "..c"], (2, 4));
    shows("^[?69h^[3;5s^[8;11Habc", &["", "", "", "", "", "", "", "..c.......ab"], (8, 4));
    // A wide character has no place in the last column of them.
    shows("^[?69h^[2;4s^[1;4H你", &["", ".你"], (2, 4));
    // Not without the mode, and no longer after it; margins of less than two columns are none.
    shows("^[3;5sabcdefgh", &["abcdefgh"], (1, 9));
    shows("^[?69h^[2;4s^[?69l^[Habcdefgh", &["abcdefgh"], (1, 9));
    shows("^[?69h^[2;4s^[1;2Habc^[?69lxy", &[".abc", "xy"], (2, 3));
    // Nor does a cursor that comes back to other margins wait for the next row.
    shows("^[?69h^[2;4s^[1;2Habc^7^[2;6s^8xy", &[".abxy"], (1, 6));
    shows("^[?69h^[4;4s^[5;4s^[Habcdefgh", &["abcdefgh"], (1, 9));
    // Repeating a character is writing it.
    shows("^[?69h^[2;4s^[1;2Ha^[3b", &[".aaa", ".a"], (2, 3));
    shows("^[?69h^[2;4s^[1;2Ha^[65535b", &[".aaa", ".aaa"], (8, 3));
}

#[test]
fn the_cursor_keeps_to_the_margins_it_starts_within() {
    let sides = "^[?69h^[5;10s";
    for (moves, cursor) in [
        ("^[3;7H^[99C", (3, 10)),
        ("^[3;11H^[99C", (3, 12)),
        ("^[3;2H^[99C", (3, 10)),
        ("^[3;7H^[99D", (3, 5)),
        ("^[3;4H^[99D", (3, 1)),
        ("^[3;7H\r", (3, 5)),
        ("^[3;4H\r", (3, 1)),
        ("^[3;11H\r", (3, 5)),
        ("^[3;5H\x08", (3, 5)),
        ("^[3;4H\x08", (3, 3)),
        ("^[3;7H^[E", (4, 5)),
        ("^[3;7H^[F", (2, 5)),
        ("^[3;7H^E", (4, 5)),
        ("^[3;2H\t\t", (3, 10)),
        ("^[3;11H\t", (3, 12)),
        ("^[3;7H^[2I", (3, 10)),
        ("^[3;10H^[2Z", (3, 1)),
        // What names a column goes anywhere.
        ("^[3;7H^[12G", (3, 12)),
        ("^[3;7H^[2`", (3, 2)),
        ("^[3;7H^[4a", (3, 11)),
        ("^[3;7H^[8d", (8, 7)),
        ("^[3;7H^[4e", (7, 7)),
        ("^[3;7H^[4j", (3, 3)),
        ("^[3;7H^[2k", (1, 7)),
        ("^[4;11f", (4, 11)),
    ] {
        at(&format!("{sides}{moves}"), cursor);
    }
    at("^[3;5r^[4;4H^[99e", (8, 4));
    at("^[3;5r^[4;4H^[99B", (5, 4));
    at("^[3;5r^[4;4H^[99A", (3, 4));
    at("^[3;5r^[2;4H^[99A", (1, 4));
}

#[test]
fn origin_mode_counts_from_the_margins() {
    let region = "^[3;6r^[?69h^[5;10s^[?6h";
    at(region, (3, 5));
    at(&format!("{region}^[2;3H"), (4, 7));
    at(&format!("{region}^[99;99H"), (6, 10));
    at(&format!("{region}^[4G"), (3, 8));
    at(&format!("{region}^[2;2H^[99a"), (4, 10));
    at(&format!("{region}^[2;2H^[99e"), (6, 6));
    at(&format!("{region}^[2;2H^[99j^[99k"), (3, 5));
    at(&format!("{region}^[2;3H^[3d"), (5, 7));
    at(&format!("{region}^[2;5H^[9Z"), (4, 5));
    at(&format!("{region}^[2;2H^[?6l"), (1, 1));
    // Margins move it home, which is in them.
    at("^[?6h^[3;5r", (3, 1));
    assert_eq!(answers(&format!("{region}^[2;3H^[6n^[?6n")), "^[2;3R^[?2;3;1R");
    // A cursor that was put aside comes back into them, or ends the mode.
    at(&format!("^[?6h^[2;2H^7^[?6l{region}^8"), (3, 5));
    at(&format!("^[2;2H^7{region}^8^[H"), (1, 1));
}

#[test]
fn lines_scroll_between_the_margins() {
    let region = format!("{FILLED}^[2;4r^[?69h^[2;4s");
    for (sequence, rows, cursor) in [
        ("^[2;3H^[M", ["abcde", "flmnj", "kqrso", "p...t", "uvwxy"], (2, 3)),
        ("^[2;3H^[L", ["abcde", "f...j", "kghio", "plmnt", "uvwxy"], (2, 3)),
        ("^[3;3H^[99M", ["abcde", "fghij", "k...o", "p...t", "uvwxy"], (3, 3)),
        ("^[1;1H^[S", ["abcde", "flmnj", "kqrso", "p...t", "uvwxy"], (1, 1)),
        ("^[1;1H^[T", ["abcde", "f...j", "kghio", "plmnt", "uvwxy"], (1, 1)),
        ("^[4;3H\n", ["abcde", "flmnj", "kqrso", "p...t", "uvwxy"], (4, 3)),
        ("^[4;3H^D", ["abcde", "flmnj", "kqrso", "p...t", "uvwxy"], (4, 3)),
        ("^[2;3H^M", ["abcde", "f...j", "kghio", "plmnt", "uvwxy"], (2, 3)),
        // Outside of them nothing moves, and the cursor stops at the edge of the region.
        ("^[2;5H^[M", ["abcde", "fghij", "klmno", "pqrst", "uvwxy"], (2, 5)),
        ("^[2;1H^[L", ["abcde", "fghij", "klmno", "pqrst", "uvwxy"], (2, 1)),
        ("^[5;3H^[M", ["abcde", "fghij", "klmno", "pqrst", "uvwxy"], (5, 3)),
        ("^[4;5H\n", ["abcde", "fghij", "klmno", "pqrst", "uvwxy"], (4, 5)),
        ("^[2;1H^M", ["abcde", "fghij", "klmno", "pqrst", "uvwxy"], (2, 1)),
    ] {
        shows(&format!("{region}{sequence}"), &rows, cursor);
    }
    let mut terminal = fed(&region);
    terminal.feed(b"\x1b[2^");
    assert_eq!(terminal.text(), fed(&format!("{region}^[2T")).text(), "SD has two names");
    assert!(
        fed(&format!("{FILLED}^[?69h^[2;4s^[8;2H\n\n")).history().is_empty(),
        "parts of rows are no lines"
    );
}

#[test]
fn what_moved_away_is_no_part_of_a_line() {
    let is_wrapped = |text: &str| fed(&format!("abcdefghijklmno{text}")).grid()[0].wrapped;
    assert!(is_wrapped(""));
    for moved in ["^[?69h^[2;4s^[1;2H^[M", "^[1;2H^['~", "^[42;1;2;1;2$x", "^[2;2;2;2;1;1;2$v", "^[1;2;1;2$z"]
    {
        assert!(!is_wrapped(moved), "{moved:?}");
    }
}

#[test]
fn characters_and_columns_move_between_the_margins() {
    let sides = format!("{FILLED}^[?69h^[2;4s");
    shows(&format!("{sides}^[2;3H^[@"), &["abcde", "fg.hj"], (2, 3));
    shows(&format!("{sides}^[2;3H^[P"), &["abcde", "fgi.j"], (2, 3));
    shows(&format!("{sides}^[2;3H^[99P"), &["abcde", "fg..j"], (2, 3));
    shows(&format!("{sides}^[2;5H^[@^[2;1H^[P"), &["abcde", "fghij"], (2, 1));
    shows(&format!("{sides}^[2;3H^[99X"), &["abcde", "fg"], (2, 3));
    shows(&format!("{sides}^[2;3H^[4hX^[4l"), &["abcde", "fgXhj"], (2, 4));
    shows(&format!("{sides}^[2;3H^[K"), &["abcde", "fg", "klmno"], (2, 3));
    let region = format!("{sides}^[2;4r");
    shows(&format!("{region}^[3;3H^['}}"), &["abcde", "fg.hj", "kl.mo", "pq.rt", "uvwxy"], (3, 3));
    shows(&format!("{region}^[3;3H^['~"), &["abcde", "fgi.j", "kln.o", "pqs.t", "uvwxy"], (3, 3));
    shows(&format!("{region}^[3;3H^[2 @"), &["abcde", "fi..j", "kn..o", "ps..t", "uvwxy"], (3, 3));
    shows(&format!("{region}^[3;3H^[2 A"), &["abcde", "f..gj", "k..lo", "p..qt", "uvwxy"], (3, 3));
    shows(&format!("{region}^[1;3H^['}}^[3;5H^['~"), &["abcde", "fghij", "klmno", "pqrst", "uvwxy"], (3, 5));
    // Back and forward index.
    shows(&format!("{region}^[3;2H^6"), &["abcde", "f.ghj", "k.lmo", "p.qrt", "uvwxy"], (3, 2));
    shows(&format!("{region}^[3;4H^9"), &["abcde", "fhi.j", "kmn.o", "prs.t", "uvwxy"], (3, 4));
    at(&format!("{region}^[3;3H^6"), (3, 2));
    at(&format!("{region}^[3;1H^6"), (3, 1));
    at(&format!("{region}^[3;5H^6"), (3, 4));
    at(&format!("{region}^[3;1H^9"), (3, 2));
    at(&format!("{region}^[3;12H^9"), (3, 12));
    shows("x^[H^6", &[".x"], (1, 1));
}

#[test]
fn halves_of_wide_characters_do_not_stay() {
    shows("a你b^[?69h^[3;5s^[1;3H^[L", &["a"], (1, 3));
    shows("a你bc^[?69h^[1;2s^[1;1H^[@", &[".a.bc"], (1, 1));
    shows("你好\r\n^[1;2;1;3;1;2;1;1$v", &["你好"], (2, 1));
    shows("abcd\r\n你^[2;2;2;2;1;1;2$v", &["a cd"], (2, 3));
    shows("你好^[1;2;1;3$z", &["...."], (1, 5));
}

#[test]
fn what_is_protected_is_spared() {
    let text = "^[64\"p^[1\"qab^[0\"qcd\r\n^[1\"qef^[2\"qgh^[1;3H";
    shows(&format!("{text}^[?2J"), &["ab", "ef"], (1, 3));
    shows(&format!("{text}^[?J"), &["ab", "ef"], (1, 3));
    shows(&format!("{text}^[2;3H^[?1J"), &["ab", "ef.h"], (2, 3));
    shows(&format!("{text}^[?K"), &["ab", "efgh"], (1, 3));
    shows(&format!("{text}^[?1K"), &["ab.d"], (1, 3));
    shows(&format!("{text}^[?2K"), &["ab"], (1, 3));
    shows(&format!("{text}^[1;1;2;4${{"), &["ab", "ef"], (1, 3));
    // Only where a terminal is asked for that does so.
    let passed_over = "ab^[1\"qcd^[0\"q^[?2J^[?2K";
    shows(passed_over, &["abcd"], (1, 5));
    shows(&format!("^[61\"p{passed_over}"), &["abcd"], (1, 5));
    shows(&format!("^[62\"p^[!p{passed_over}"), &["..cd"], (1, 5));
    shows(&format!("^[62\"p^c{passed_over}"), &["abcd"], (1, 5));
    // Attributes are another matter, and ordinary erasing spares nothing of it.
    shows("^[64\"p^[1\"q^[ma^[0m^[?2J", &["a"], (1, 2));
    shows(&format!("{text}^[2J"), &["", ""], (1, 3));
    shows(&format!("{text}^[1;1;2;4$z"), &["", ""], (1, 3));
    shows(&format!("{text}^[H^[9X"), &["", "efgh"], (1, 1));
    // Saved with the cursor, and off after a soft reset.
    shows("^[64\"p^[1\"q^7^[0\"q^8a^[?2J", &["a"], (1, 2));
    shows("^[64\"p^[1\"q^[!pa^[?2J", &[""], (1, 2));
    // What SPA guards is spared from the ordinary kind alone.
    let guarded = "^[64\"pa^Vb^Wc";
    shows(&format!("{guarded}^[2J"), &[".b"], (1, 4));
    shows(&format!("{guarded}^[1K"), &[".b"], (1, 4));
    shows(&format!("{guarded}^[H^[3X"), &[".b"], (1, 1));
    shows(&format!("{guarded}^[?2J"), &[""], (1, 4));
    shows(&format!("{guarded}^c"), &[""], (1, 1));
}

#[test]
fn rectangles() {
    shows(&format!("{FILLED}^[42;2;2;3;4$x"), &["abcde", "f***j", "k***o", "pqrst"], (5, 6));
    shows(&format!("{FILLED}^[2;2;3;4$z"), &["abcde", "f...j", "k...o", "pqrst"], (5, 6));
    shows(&format!("{FILLED}^[2;2;3;4${{"), &["abcde", "f...j", "k...o", "pqrst"], (5, 6));
    shows(&format!("{FILLED}^[1;1;2;3;1;3;3;1$v"), &["abcde", "fghij", "klabc", "pqfgh", "uvwxy"], (5, 6));
    // Onto itself.
    shows(&format!("{FILLED}^[1;1;3;3;1;2;2$v"), &["abcde", "fabcj", "kfgho", "pklmt", "uvwxy"], (5, 6));
    shows(&format!("{FILLED}^[;;2;2;;4;4$v"), &["abcde", "fghij", "klmno", "pqrab", "uvwfg"], (5, 6));
    // Without numbers all of the screen; none that ends before it begins; cut to the screen.
    shows("^[42$x", &["************"; 8], (1, 1));
    shows(&format!("{FILLED}^[42;4;4;3;3$x^[4;4;3;3$z"), &["abcde", "fghij", "klmno", "pqrst"], (5, 6));
    shows(
        "ab^[8;12H^[42;8;12;99;99$x^[1;1;1;2;1;8;12$v",
        &["ab", "", "", "", "", "", "", "...........a"],
        (8, 12),
    );
    // Controls fill nothing.
    shows("^[7$x^[127$x^[300$x", &[""], (1, 1));
    // Margins are nothing to them but in origin mode.
    let region = format!("{FILLED}^[3;4r^[?69h^[3;5s");
    shows(&format!("{region}^[42;1;1;2;2$x"), &["**cde", "**hij", "klmno"], (1, 1));
    shows(&format!("{region}^[?6h^[42;1;1;9;2$x"), &["abcde", "fghij", "kl**o", "pq**t", "uvwxy"], (3, 3));
    // Attributes are those of what is written.
    let terminal = fed("^[1;31m^[42;1;1;1;2$x");
    assert_eq!(terminal.grid()[0].runs[0].foreground.as_deref(), Some("1"));
    let attributes = |text: &str| -> Vec<String> {
        let runs = fed(text).grid().into_iter().flat_map(|row| row.runs);
        runs.map(|run| format!("{}{}", run.text, run.attributes.join("+"))).collect()
    };
    assert_eq!(attributes("^[2*xabc\r\nd^[1;2;2;2;1;7$r"), ["a", "bbold+inverse", "c", "d", " bold+inverse"]);
    assert_eq!(attributes("abc\r\nde^[1;2;2;2;4$r"), ["a", "bc         underline", "deunderline"]);
    assert_eq!(attributes("^[1mab^[1;1;1;1;1;4$t"), ["aunderline", "bbold"]);
    assert_eq!(attributes("^[1;3mab^[1;1;1;1;0$r"), ["aitalic", "bbold+italic"]);
    assert_eq!(attributes("^[1mab^[1;1;1;1;22$r^[1;2;1;2;31$r"), ["a", "bbold"]);
}

#[test]
fn reverse_wraparound() {
    // To the end of a row that goes on in this one.
    at("^[?45habcdefghijklm\x08\x08", (1, 12));
    at("^[?45habcdefghijklmn^[4D", (1, 11));
    at("^[?45h^[2;1H\x08", (2, 1));
    at("^[?45habcdefghijklmn^[65535D", (1, 1));
    // The step back from behind the last column is onto it.
    at("^[?45habcdefghijkl\x08", (1, 12));
    at("abcdefghijkl\x08", (1, 11));
    // Only where text wraps.
    at("^[?45habcdefghijklm^[?7l\x08\x08", (2, 1));
    at("^[?45h^[!pabcdefghijklm\x08\x08", (2, 1));
    // The extended form asks for no such row, and goes around the region.
    at("^[?1045h^[3;1H\x08", (2, 12));
    at("^[?1045h^[2;5r^[2;1H\x08", (5, 12));
    at("^[?1045h^[?69h^[5;10s^[3;5H\x08", (2, 10));
    at("^[?1045h^[?69h^[5;10s^[3;1H\x08", (2, 10));
    at("^[?1045h^[3;1H^[97D", (2, 12));
    at("^[?1045h^[3;1H^[65535D", (5, 10));
}

#[test]
fn tabs() {
    at("\t", (1, 9));
    at("^[2g^[3g\t", (1, 12));
    at("^[1;5H^H^[H\t", (1, 5));
    at("^[1;9H^[g^[H\t", (1, 12));
    at("^[3g^[?5W\t", (1, 9));
    at("^[1;12H^[Z", (1, 9));
    at("^[1;12H^[9Z", (1, 1));
    // In a mode of xterm's a tab behind the last column is carried out in the next row.
    at("^[?41habcdefghijkl\t", (2, 9));
}

#[test]
fn resets() {
    at("^[5;6H^[!p", (5, 6));
    at("^[5;6H^7^[!p^8", (1, 1));
    at("^[3;4r^[!p^[4;1H\r\n", (5, 1));
    at("^[?69h^[2;4s^[!p^[1;3Habc", (1, 6));
    at("^[?69h^[!p^[2;4s^[1;3Habc", (1, 6));
    at("^[?69h^[2;4s^[3;5r^[?3h", (1, 1));
    at("^[?69h^[2;4s^[3;5r^[?3h^[5;3Habc\r\n", (6, 1));
    shows("a^[?95h^[?3h", &["a"], (1, 1));
    shows("a^[?3l", &[""], (1, 1));
    shows("^[3;4r^[?69h^[2;4s^[5;5H^#8", &["EEEEEEEEEEEE"; 8], (5, 5));
    shows("^[3;4r^[?69h^[2;4s^#8^[4;1Habcdefgh\r\nx", &["EEEEEEEEEEEE"; 3], (5, 2));
    shows("^[?69h^[2;4s^cabcdef", &["abcdef"], (1, 7));
}

#[test]
fn the_alternate_screen() {
    shows("abc^[?1049h^[2;2Hdef^[?1049l", &["abc"], (1, 4));
    shows("abc^[?47h^[Hdef^[?47l", &["abc"], (1, 4));
    shows("abc^[?47h^[Hdef^[?47l^[?47h", &["def"], (1, 4));
    shows("abc^[?1047h^[Hdef^[?1047l^[?1047h", &[""], (1, 4));
    shows("abc^[?1049h^[Hdef^[?1049l^[?47h", &[""], (1, 4));
    at("^[2;3H^[?1048h^[5;5H^[?1048l", (2, 3));
    // Each has a cursor put aside of its own.
    at("^[2;3H^7^[?47h^[6;7H^7^[?47l^8", (2, 3));
    at("^[2;3H^7^[?47h^[6;7H^7^[?47l^8^[?47h^8", (6, 7));
}

#[test]
fn character_sets() {
    shows("^(0qx^(Bqx", &["─│qx"], (1, 5));
    shows("^)0q\x0eq\x0fq", &["q─q"], (1, 4));
    shows("^*0qq^nqq\x0fq", &["qq──q"], (1, 6));
    shows("^+0q^oq", &["q─"], (1, 3));
    // For one character alone.
    shows("^*0^Nqq^+A^O##", &["─q£#"], (1, 5));
    shows("^*0^Nq^[b", &["──"], (1, 3));
    shows("^(A#", &["£"], (1, 2));
    // National ones in their mode.
    shows("^(K[\\]{|}~", &["[\\]{|}~"], (1, 8));
    shows("^[?42h^(K[\\]{|}~", &["ÄÖÜäöüß"], (1, 8));
    shows("^[?42h^(R#@[\\]{|}~", &["£à°ç§éùè¨"], (1, 10));
    shows("^[?42h^(%6[\\]{|}^(H@", &["ÃÇÕãçõÉ"], (1, 8));
    shows("^[?42h^(K{^[!p{", &["ä{"], (1, 3));
    // Put aside with the cursor.
    shows("^(0^7^(B^8q", &["─"], (1, 2));
}

#[test]
fn modes_put_aside() {
    shows("^[?7s^[?7l^[?7r^[1;11Habc", &["..........ab", "c"], (2, 2));
    shows("^[?7l^[?7s^[?7h^[?7r^[1;11Habc", &["..........ac"], (1, 12));
    at("^[?7;45h^[?45s^[?45l^[?45r^[1;1Habcdefghijklm\x08\x08", (1, 12));
    assert_eq!(answers("^[?2004h^[?2004s^[?2004l^[?2004r^[?2004$p"), "^[?2004;1$y");
}

#[test]
fn what_is_asked_is_answered() {
    for (question, answer) in [
        ("^[?69$p^[?69h^[?69$p", "^[?69;2$y^[?69;1$y"),
        ("^[?66$p^=^[?66$p^[?66l^[?66$p", "^[?66;2$y^[?66;1$y^[?66;2$y"),
        ("^[?3$p^[?45$p^[?42$p^[?5$p^[?9999$p", "^[?3;4$y^[?45;2$y^[?42;2$y^[?5;2$y^[?9999;0$y"),
        ("^[4$p^[4h^[4$p^[20$p^[2$p^[12h^[12$p", "^[4;2$y^[4;1$y^[20;2$y^[2;2$y^[12;1$y"),
        ("^[1$p^[19$p^[99$p", "^[1;4$y^[19;4$y^[99;0$y"),
        ("^[?69h^[3;4s^P$qs^\\", "^P1$r3;4s^\\"),
        ("^[3;4r^P$qr^\\", "^P1$r3;4r^\\"),
        ("^P$q\"q^\\^[1\"q^P$q\"q^\\", "^P1$r0\"q^\\^P1$r1\"q^\\"),
        ("^P$q*x^\\^[2*x^P$q*x^\\", "^P1$r0*x^\\^P1$r2*x^\\"),
        ("^P$qt^\\^P$q$|^\\^P$q*|^\\", "^P1$r8t^\\^P1$r12$|^\\^P1$r8*|^\\"),
        (
            "^P$q\"p^\\^[65;1\"p^P$q\"p^\\^P$q$}^\\^P$q$~^\\",
            "^P1$r62;1\"p^\\^P1$r65;1\"p^\\^P1$r0$}^\\^P1$r0$~^\\",
        ),
        ("^[1;4m^P$qm^\\^[4 q^P$q q^\\", "^P1$r0;1;4m^\\^P1$r4 q^\\"),
        ("^P$qnone^\\", "^P0$r^\\"),
        ("^[?15n^[?25n^[?26n^[?55n^[?56n", "^[?13n^[?20n^[?27;1;0;0n^[?50n^[?57;0n"),
        ("^[?63;7n^[?75n^[?85n", "^P7!~0000^\\^[?70n^[?83n"),
        ("^[c^Z", "^[?62;22c^[?62;22c"),
        // What would tell an app more than what it wrote: titles, and what stands on the screen.
        ("^]2;title\x07^[20t^[21t", ""),
        ("secret^[1;1;1;1;1;6*y", ""),
    ] {
        assert_eq!(answers(question), answer, "{question:?}");
    }
}

#[test]
fn titles_of_icons_are_none_of_the_windows() {
    assert_eq!(fed("^]2;a\x07^[22;2t^]2;b\x07^[23;1t").title(), "b");
    assert_eq!(fed("^]2;a\x07^[22;1t^]2;b\x07^[23;2t").title(), "b");
    assert_eq!(fed("^]2;a\x07^[22;0t^]2;b\x07^]1;c\x07^[23;0t").title(), "a");
}

/// Margins are gone with another size, and there again with their own.
#[test]
fn margins_and_sizes() {
    let mut terminal = fed("^[2;4r^[?69h^[2;4s^[3;3Hxy");
    let narrow = WindowSize { rows: 5, cols: 3 };
    terminal.resize(narrow);
    let mut other = Terminal::new(narrow, DEFAULT_LINES);
    other.feed(&terminal.dump(Scrollback::With));
    assert_eq!(other.text(), terminal.text());
    terminal.resize(WindowSize { rows: 8, cols: 12 });
    terminal.feed(b"z\r\nend");
    let shown = terminal.text();
    assert_eq!(shown.lines().skip(1).take(3).collect::<Vec<_>>(), ["  xy", " z", " end"], "{shown:?}");
    // What waits for the next row in a last column writes on behind it where that is none any more.
    let mut terminal = fed("^[?1049habcdefghijkl");
    terminal.resize(WindowSize { rows: 8, cols: 14 });
    terminal.feed(b"x");
    assert_eq!(terminal.text().lines().next(), Some("abcdefghijklx"));
    let mut terminal = fed("^[2;4r^[?69h^[2;4s");
    terminal.resize(WindowSize { rows: 8, cols: 13 });
    terminal.feed(b"\x1b[1;2Habcdefgh");
    assert_eq!(terminal.text().lines().next(), Some(" abcdefgh"));
}

/// A terminal that is given a dump goes on as the first one would have, in what did not show yet too.
#[test]
fn what_does_not_show_is_in_a_dump() {
    for (before, after) in [
        ("^[?69h^[2;4s", "abcdef"),
        ("^[?69h", "^[2;4sabcdef"),
        ("^[?69h^[2;4s^[3;5r^[?6h^[2;2H", "a^[Hb^[99;99Hc^[6n"),
        ("^[?69h^[2;4s^[1;3Hab", "c"),
        ("^[?69h^[2;4s^[1;2Habc^7^[?69l^[H", "^[?69h^[2;4s^8d"),
        ("^[?69h^[2;4s^[1;2Habc^7^[?69l^[H", "abcdefgh"),
        ("^[?69h^[2;4s^[1;2Habc^[?69l", "xy"),
        ("^[?69h^[2;4s^[1;2Habc^[?69l^[?69h", "xy^[Habcdefgh^[2;4s^[Habcdefgh"),
        ("^[?69h^[2;4s^[1;2Habc^[;;;;1$r^[1;4H你^[?69l", "xy"),
        ("^[3;1H你^[?69h^[2;4s^[1;2Habc^[3;1;3;2;1;1;4$v", "xy"),
        ("^[?69h^[2;4s^[1;2Habc^[?1049h^[?69l", "^[?69h^[2;4s^[?1049ld"),
        ("^[?6h^[2;3H^7^[?6l^[5;6r", "^8a"),
        ("^[64\"pab^[1\"qc^[0\"qd", "^[?2J"),
        ("^[64\"p^[1\"q", "ab^[?2J"),
        ("^[64\"p", "ab^[?2J"),
        ("ab^Vc^Wd", "^[2J"),
        ("^V", "ab^[2J"),
        ("^[8;1H\n^V^[2;12Hx^7^W^[H", "y"),
        ("^V^7^W", "a^8b^[2J"),
        ("^[3;3H^Vab", "\r\n\r\n\r\n\r\n\r\n\r\n\r\n^[2J"),
        ("^*0^N", "qq"),
        ("^+0^O", "qq"),
        ("^*0^nq", "q"),
        ("^[?42h^(K^)%6^*=", "^[?42l[^(B\x0e[^n["),
        ("^[?42h", "^(K["),
        ("^(0^7^(B", "q^8q"),
        ("^[?45h", "abcdefghijklm\x08\x08x"),
        ("^[?1045h^[3;1H", "\x08x"),
        ("abcdefghijklm^[?45h", "\x08\x08x"),
        ("^[?7s^[?7l", "^[?7r^[1;11Habc"),
        ("^[?69s^[?69h^[2;4s", "^[?69rabcdef"),
        ("^[?2004h^[?2004s^[?2004l", "^[?2004r^[?2004$p"),
        ("^[2*x", "ab\r\ncd^[1;2;2;2;7$r"),
        ("^[?47h^[Habc^[31mdef^[2;2H^7^[?47l^[m", "^[?47h^8x"),
        ("^[?66h", "^[?66$p"),
        ("a^[?95h", "^[?3h"),
        ("^[?41h", "abcdefghijkl\tx"),
        ("^[65;1\"p", "^P$q\"p^\\"),
        ("^[>4;2m^[>4n^[>4;1m", ""),
    ] {
        let mut whole = fed(before);
        let mut returned = Terminal::new(whole.size(), DEFAULT_LINES);
        returned.feed(&whole.dump(Scrollback::With));
        for terminal in [&mut whole, &mut returned] {
            terminal.feed(after.replace('^', "\x1b").as_bytes());
        }
        let seen = |terminal: &mut Terminal| {
            let questions = terminal.take_questions();
            let answers: Vec<_> = questions.into_iter().map(|question| question.answer).collect();
            (terminal.grid(), terminal.cursor(), answers)
        };
        assert_eq!(seen(&mut whole), seen(&mut returned), "{before:?} and {after:?}");
    }
}

#[test]
fn pens_are_put_aside_and_come_back() {
    let runs = |text: &str| {
        let terminal = fed(text);
        let mut again = Terminal::new(terminal.size(), DEFAULT_LINES);
        // Whatever somebody has put aside there.
        again.feed(b"\x1b[33m\x1b[#{\x1b[#{");
        again.feed(&terminal.dump(Scrollback::With));
        again.feed("\x1b[#}z".as_bytes());
        let described = |terminal: &Terminal| {
            let runs = terminal.grid()[0].runs.clone().into_iter();
            let run = runs.map(|run| {
                format!("{}:{}:{}", run.text, run.foreground.unwrap_or_default(), run.attributes.join("+"))
            });
            run.collect::<Vec<_>>().join(" ")
        };
        let whole = fed(&format!("{text}^[#}}z"));
        assert_eq!(described(&again), described(&whole), "{text:?}");
        described(&terminal)
    };
    assert_eq!(runs("^[1;31ma^[#{^[0;4;32mb^[#}c"), "a:1:bold b:2:underline c:1:bold");
    // Only what is named, by today's numbers and the older ones.
    assert_eq!(runs("^[1;3;31ma^[1;30#{^[0;4;32mb^[#}c"), "a:1:bold+italic b:2:underline c:1:bold+underline");
    assert_eq!(runs("^[4;31;42ma^[21;10#p^[mb^[#qc"), "a:1:underline b:: c:1:underline");
    assert_eq!(runs("^[31ma^[99#{^[32mb^[#}c"), "a:1: b:2: c:1:", "what is not known names nothing");
    assert_eq!(runs("^[#}a^[31m^[#}b"), "a:: b:1:", "nothing was put aside");
    // Beyond ten they are counted.
    assert_eq!(
        runs(&format!("^[31m^[#{{^[32m{}^[33m{}a^[#}}b", "^[#{".repeat(12), "^[#}".repeat(12))),
        "a:2: b:1:"
    );
    assert_eq!(runs(&format!("^[31m^[#{{^[32m{}^[33ma", "^[#{".repeat(12))), "a:3:");
}
