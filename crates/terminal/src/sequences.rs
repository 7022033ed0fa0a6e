//! Carries out escape sequences: ECMA-48, DEC's, xterm's ("XTerm Control Sequences") and kitty's.

use std::borrow::Cow;

use vte::{Params, Perform};

use crate::attributes::Protection;
use crate::charset::Charset;
use crate::modes::private;
use crate::palette;
use crate::parameters::Parameters;
use crate::replies::Form;
use crate::screen::{Cursor, Screen};
use crate::state::{State, default_tabs};
use crate::tables::StyleId;
use crate::width::width;

/// Deepest stack of keyboard flags (kitty keyboard protocol asks for a limit).
const MAX_KEYBOARD: usize = 16;
/// Most private modes put aside.
const MAX_SAVED: usize = 64;
/// Longest id of a hyperlink, in bytes.
const MAX_LINK_ID: usize = 256;

impl Perform for State {
    // Text does not come this way: see `terminal.rs`.
    fn print(&mut self, character: char) {
        State::print(self, character);
    }

    fn execute(&mut self, byte: u8) {
        self.control(byte);
    }

    fn csi_dispatch(&mut self, parameters: &Params, intermediates: &[u8], ignored: bool, action: char) {
        if !ignored {
            self.control_sequence(&Parameters::from(parameters), intermediates, action);
        }
    }

    fn esc_dispatch(&mut self, intermediates: &[u8], ignored: bool, byte: u8) {
        if !ignored {
            self.escape_sequence(intermediates, byte);
        }
    }

    fn osc_dispatch(&mut self, parameters: &[&[u8]], _: bool) {
        if !std::mem::take(&mut self.string_is_cut) {
            self.system_command(parameters);
        }
    }

    fn hook(&mut self, _: &Params, intermediates: &[u8], _: bool, action: char) {
        self.device_string = match (intermediates, action) {
            (b"$", 'q') => Some((action, Vec::new())),
            (b"+", 'q') => Some(('+', Vec::new())),
            _ => None,
        };
    }

    fn put(&mut self, byte: u8) {
        if let Some((_, text)) = &mut self.device_string
            && text.len() < 16
        {
            text.push(byte);
        }
    }

    fn unhook(&mut self) {
        let is_cut = std::mem::take(&mut self.string_is_cut);
        match self.device_string.take().filter(|_| !is_cut) {
            Some(('q', setting)) => self.answer_setting(&setting),
            Some(_) => self.answer_capability(),
            None => {}
        }
    }
}

impl State {
    pub(crate) fn control_sequence(&mut self, parameters: &Parameters, intermediates: &[u8], action: char) {
        let number = |index: usize| parameters.number(index);
        let count = |index: usize| usize::from(number(index).max(1));
        match (intermediates, action) {
            ([], 'm') => {
                let pen = &mut self.screen_mut().cursor.pen;
                pen.select(parameters.iter());
                self.pen_changed();
            }
            ([b'#'], '{' | 'p') => self.pens.push(self.screen().cursor.pen, parameters),
            ([b'#'], '}' | 'q') => {
                let pen = self.screen().cursor.pen;
                self.screen_mut().cursor.pen = self.pens.pop(pen);
                self.pen_changed();
            }
            ([], 'H' | 'f') => self.go_to(count(0) - 1, count(1) - 1),
            ([], 'A') => self.go_vertically(-(count(0) as isize)),
            ([], 'B') => self.go_vertically(count(0) as isize),
            ([], 'e') => self.go_to(self.place().0 + count(0), self.place().1),
            ([], 'C') => self.go_right(count(0)),
            ([], 'a') => self.go_to_column(self.place().1 + count(0)),
            ([], 'j') => self.go_to_column(self.place().1.saturating_sub(count(0))),
            ([], 'k') => self.go_to(self.place().0.saturating_sub(count(0)), self.place().1),
            ([], 'D') => self.go_left(count(0)),
            ([], 'E') => {
                self.go_vertically(count(0) as isize);
                self.carriage_return();
            }
            ([], 'F') => {
                self.go_vertically(-(count(0) as isize));
                self.carriage_return();
            }
            ([], 'G' | '`') => self.go_to_column(count(0) - 1),
            ([], 'd') => self.go_to(count(0) - 1, self.place().1),
            ([], 'I') => self.tab_forward(count(0)),
            ([], 'Z') => self.tab_backward(count(0)),
            ([], 'g') => match number(0) {
                0 => {
                    let column = self.screen().cursor.column;
                    self.tabs[column] = false;
                }
                3 => self.tabs.fill(false),
                _ => {}
            },
            ([b'?'], 'W') if number(0) == 5 => self.tabs = default_tabs(self.tabs.len()),
            ([], 'J') => self.erase_in_display(number(0), false),
            ([], 'K') => self.erase_in_line(number(0), false),
            ([b'?'], 'J') if self.level.is_some() => self.erase_in_display(number(0), true),
            ([b'?'], 'K') if self.level.is_some() => self.erase_in_line(number(0), true),
            ([], 'X') => {
                let (cursor, columns) = (self.screen().cursor, self.columns);
                self.erase_cells(cursor.row, cursor.column, (cursor.column + count(0)).min(columns), false);
            }
            ([], '@' | 'P') => {
                let (column, end) = (self.screen().cursor.column, self.sides.1);
                match action {
                    _ if !self.is_within_sides(column) => {}
                    '@' => self.edit(|row, style| row.insert(column, end, count(0), style)),
                    _ => self.edit(|row, style| row.delete(column, end, count(0), style)),
                }
            }
            ([b'\''], '}' | '~') => {
                self.shift_columns(self.screen().cursor.column, count(0), action == '~');
            }
            ([b' '], '@' | 'A') => self.shift_columns(self.sides.0, count(0), action == '@'),
            ([b'$'], 'x') => self.fill_rectangle(parameters),
            ([b'$'], 'z') => self.erase_rectangle(parameters),
            ([b'$'], '{') => self.wipe_rectangle(parameters),
            ([b'$'], 'v') => self.copy_rectangle(parameters),
            ([b'$'], 'r' | 't') => self.change_rectangle(parameters, action == 't'),
            ([b'*'], 'x') if number(0) <= 2 => self.changes_rectangles = number(0) == 2,
            ([b'"'], 'q') => match number(0) {
                0 | 2 => self.protect(Protection::None),
                1 => self.protect(Protection::Selective),
                _ => {}
            },
            ([], 'L' | 'M') => {
                let Cursor { row, column, .. } = self.screen().cursor;
                if (self.margins.0..self.margins.1).contains(&row) && self.is_within_sides(column) {
                    if action == 'L' {
                        self.scroll_down(row, count(0));
                    } else {
                        self.scroll_up(row, count(0));
                    }
                }
            }
            ([], 'S') => self.scroll_up(self.margins.0, count(0)),
            ([], 'T' | '^') if parameters.len() <= 1 => self.scroll_down(self.margins.0, count(0)),
            ([], 'b') => {
                if let Some(last) = self.last {
                    // More than a screenful leaves the same as a screenful and what is left over,
                    // but in the history, where nobody misses it.
                    let most = self.rows * self.columns + self.columns;
                    let wanted = count(0);
                    let line = ((self.sides.1 - self.sides.0) / width(last).max(1)).max(1);
                    let repeats = if wanted > most { most + (wanted - most) % line } else { wanted };
                    (0..repeats).for_each(|_| self.print_mapped(last));
                }
            }
            ([], 'r') => self.set_margins(count(0), number(1)),
            ([], 's') if self.modes.private(private::SIDES) => self.set_sides(count(0), number(1)),
            ([], 's') => self.save_cursor(),
            ([b'?'], 's') => parameters.iter().for_each(|mode| self.save_mode(mode[0])),
            ([b'?'], 'r') => parameters.iter().for_each(|mode| self.restore_mode(mode[0])),
            ([], 'u') => self.restore_cursor(),
            ([], 'h') => parameters.iter().for_each(|mode| self.modes.set_ansi(mode[0], true)),
            ([], 'l') => parameters.iter().for_each(|mode| self.modes.set_ansi(mode[0], false)),
            ([b'?'], 'h') => parameters.iter().for_each(|mode| self.set_private_mode(mode[0], true)),
            ([b'?'], 'l') => parameters.iter().for_each(|mode| self.set_private_mode(mode[0], false)),
            ([b'!'], 'p') => self.soft_reset(),
            ([b'"'], 'p') => {
                self.level = (62..=65).contains(&number(0)).then(|| number(0) as u8);
                self.soft_reset();
            }
            ([b' '], 'q') if number(0) <= 6 => self.cursor_shape = number(0) as u8,
            ([], 't') => match number(0) {
                // Where the window is, how large, and what its titles are: titles are not told.
                number @ (11 | 13..=16 | 18 | 19) => self.answer_window(number),
                // An icon's title is none of ours.
                22 if number(1) != 1 => self.titles.push(),
                23 if number(1) != 1 => self.titles.pop(),
                _ => {}
            },
            ([b'>'], 'm') if number(0) == 4 => {
                self.modify_keys =
                    (parameters.len() > 1).then(|| number(1).min(3) as u8).filter(|&level| level > 0);
            }
            ([b'>'], 'n') if number(0) == 4 => self.modify_keys = None,
            ([b'?'], 'm') => self.asked(Form::control_about(b'>', b'm', number(0))),
            ([b'?'], 'S') => self.asked(Form::control_about(b'?', b'S', number(0))),
            ([], 'x') if number(0) <= 1 => self.asked(Form::control(0, b'x')),
            ([b'>' | b'=' | b'<' | b'?'], 'u') => self.keyboard(intermediates[0], parameters),
            ([], 'c') if number(0) == 0 => self.answer_attributes(None),
            ([b'>' | b'='], 'c') if number(0) == 0 => self.answer_attributes(Some(intermediates[0])),
            ([], 'n') => self.answer_status(number(0)),
            ([b'?'], 'n') => self.answer_private_status(number(0), number(1)),
            ([b'$'], 'p') => self.answer_mode(false, number(0)),
            ([b'?', b'$'], 'p') => self.answer_mode(true, number(0)),
            ([b'>'], 'q') if number(0) == 0 => self.answer_version(),
            _ => {}
        }
        self.part_behind();
    }

    fn escape_sequence(&mut self, intermediates: &[u8], byte: u8) {
        match (intermediates, byte) {
            ([], b'D') => self.line_feed(),
            ([], b'E') => {
                self.line_feed();
                self.carriage_return();
            }
            ([], b'H') => {
                let column = self.screen().cursor.column;
                self.tabs[column] = true;
            }
            ([], b'M') => self.reverse_line_feed(),
            ([], b'6') => self.index_columns(false),
            ([], b'9') => self.index_columns(true),
            ([], b'V') => self.protect(Protection::Ordinary),
            ([], b'W') => self.protect(Protection::None),
            ([], b'N') => self.single_shift = Some(2),
            ([], b'O') => self.single_shift = Some(3),
            ([], b'Z') => self.answer_attributes(None),
            ([], b'c') => self.reset(),
            ([], b'7') => self.save_cursor(),
            ([], b'8') => self.restore_cursor(),
            ([], b'=') => self.keypad = true,
            ([], b'>') => self.keypad = false,
            ([], b'n') => self.screen_mut().cursor.charsets.active = 2,
            ([], b'o') => self.screen_mut().cursor.charsets.active = 3,
            ([b'#'], b'8') => {
                let columns = self.columns;
                self.clear(0, self.rows);
                (self.margins, self.sides) = ((0, self.rows), (0, columns));
                self.settle_cursor();
                for row in &mut self.screen_mut().rows {
                    row.overwrite(0, columns).fill(crate::cell::Cell::ascii(b'E', StyleId::DEFAULT));
                }
            }
            ([set @ b'('..=b'+', rest @ ..], last) => {
                let national = self.modes.private(private::NATIONAL);
                if let Some(charset) = Charset::designated(&[rest, &[last]].concat(), national) {
                    self.screen_mut().cursor.charsets.sets[usize::from(set - b'(')] = charset;
                }
            }
            _ => {}
        }
        self.part_behind();
    }

    fn system_command(&mut self, parameters: &[&[u8]]) {
        let Some((command, rest)) = parameters.split_first() else { return };
        match (*command, rest) {
            // A title may contain what otherwise parts parameters.
            (b"0" | b"2", [_, ..]) => self.titles.set(&rest.join(&b';')),
            (b"4", _) => {
                for pair in rest.chunks_exact(2) {
                    if let Some(index) = parse::<u8>(pair[0]) {
                        self.set_palette(index, pair[1]);
                    }
                }
            }
            (b"10" | b"11" | b"12" | b"13" | b"14" | b"15" | b"16" | b"17" | b"18" | b"19", [b"?", ..])
            | (b"10" | b"11" | b"12" | b"17" | b"19", _) => {
                let first = parse::<u8>(command).unwrap_or(0);
                for (number, spec) in (first..=19).zip(rest) {
                    self.set_dynamic(number, spec);
                }
            }
            (b"104", [] | [b""]) => self.palette.clear(),
            (b"104", _) => {
                for index in rest.iter().filter_map(|index| parse::<u8>(index)) {
                    self.palette.remove(&index);
                }
            }
            (b"110" | b"111" | b"112" | b"117" | b"119", _) => {
                if let Some(number) = parse::<u8>(command) {
                    self.dynamic.remove(&(number - 100));
                }
            }
            (b"8", [attributes, uri @ ..]) => self.set_link(attributes, &uri.join(&b';')),
            (b"50", [shape]) => match shape.strip_prefix(b"CursorShape=") {
                Some(b"0") => self.cursor_shape = 2,
                Some(b"1") => self.cursor_shape = 6,
                Some(b"2") => self.cursor_shape = 4,
                Some(_) | None => {}
            },
            (b"52", [_, b"?"]) => self.asked(Form::command(52)),
            (crate::tokens::COMMAND, [text]) => self.tokens.note(text),
            (b"133", _) => self.marks.note(rest, self.answers.sequence.clone()),
            _ => {}
        }
    }

    /// REP repeats what was shown, whatever the character set is now.
    fn print_mapped(&mut self, character: char) {
        let charsets = std::mem::take(&mut self.screen_mut().cursor.charsets);
        let single_shift = self.single_shift.take();
        self.print(character);
        self.screen_mut().cursor.charsets = charsets;
        self.single_shift = single_shift;
    }

    fn set_private_mode(&mut self, number: u16, on: bool) {
        match number {
            3 => {
                // Columns stay as many as they are; the rest of DECCOLM is done.
                self.allow_sides(false);
                self.set_margins(1, 0);
                if !self.modes.private(private::KEEP_ON_COLUMN_MODE) {
                    self.clear(0, self.rows);
                }
            }
            private::KEYPAD => self.keypad = on,
            private::SIDES => self.allow_sides(on),
            47 | 1047 => self.switch_screen(on, number == 1047),
            1048 if on => self.save_cursor(),
            1048 => self.restore_cursor(),
            1049 => {
                if !on && self.on_alternate {
                    self.screen_mut().rows.iter_mut().for_each(|row| row.clear(StyleId::DEFAULT));
                }
                self.show_alternate(on);
            }
            private::ORIGIN => {
                self.modes.set_private(number, on);
                self.go_to(0, 0);
            }
            _ => self.modes.set_private(number, on),
        }
    }

    /// XTSAVE. What has other effects than its own is not put aside.
    fn save_mode(&mut self, number: u16) {
        if self.modes.is_known(number)
            && number != private::SYNCHRONIZED
            && (self.saved_modes.len() < MAX_SAVED || self.saved_modes.contains_key(&number))
        {
            self.saved_modes.insert(number, self.modes.private(number));
        }
    }

    /// XTRESTORE.
    fn restore_mode(&mut self, number: u16) {
        if let Some(&on) = self.saved_modes.get(&number) {
            self.set_private_mode(number, on);
        }
    }

    /// The older ways to the alternate screen: the cursor stays where it is, nothing is saved, and what
    /// stood there is there again.
    fn switch_screen(&mut self, on: bool, clears: bool) {
        if on == self.on_alternate {
            return;
        }
        let saved = self.main.saved;
        let cursor = self.screen().cursor;
        if on {
            let kept = self.alternate.take();
            self.show_alternate(true);
            let fresh = || Box::new(Screen::new(self.rows, self.columns));
            self.alternate = Some(kept.unwrap_or_else(fresh));
            self.main.saved = saved;
        } else {
            if clears {
                self.clear(0, self.rows);
            }
            self.show_alternate(false);
        }
        self.screen_mut().cursor = cursor;
        self.pen_changed();
    }

    /// DECSTR.
    fn soft_reset(&mut self) {
        for number in [private::AUTOWRAP, private::SHOW_CURSOR] {
            self.modes.set_private(number, true);
        }
        for number in [
            private::ORIGIN,
            private::APPLICATION_CURSOR,
            private::NATIONAL,
            private::REVERSE_WRAP,
            private::EXTENDED_REVERSE_WRAP,
        ] {
            self.modes.set_private(number, false);
        }
        self.allow_sides(false);
        self.single_shift = None;
        self.modes.set_ansi(crate::modes::ansi::INSERT, false);
        self.keypad = false;
        self.margins = (0, self.rows);
        let screen = self.screen_mut();
        screen.cursor.pen = crate::attributes::Style::default();
        screen.cursor.charsets = crate::charset::Charsets::default();
        screen.saved = crate::screen::SavedCursor::default();
        self.pen_changed();
    }

    fn keyboard(&mut self, kind: u8, parameters: &Parameters) {
        let number = |index: usize| parameters.number(index);
        let flags = (number(0) & 0x1f) as u8;
        let stack = &mut self.keyboard[usize::from(self.on_alternate)];
        let current = stack.len() - 1;
        match kind {
            b'>' => {
                if stack.len() > MAX_KEYBOARD {
                    stack.remove(0);
                }
                stack.push(flags);
            }
            b'<' => {
                stack.truncate(stack.len().saturating_sub(usize::from(number(0).max(1))));
                if stack.is_empty() {
                    stack.push(0);
                }
            }
            b'=' => match number(1) {
                2 => stack[current] |= flags,
                3 => stack[current] &= !flags,
                _ => stack[current] = flags,
            },
            _ => self.answer_keyboard(),
        }
    }

    fn set_palette(&mut self, index: u8, spec: &[u8]) {
        if spec == b"?" {
            let known = self.palette.get(&index).cloned();
            self.answer_color(4, &format!("4;{index}"), known);
        } else if let Some(spec) = color_spec(spec) {
            self.palette.insert(index, spec);
        }
    }

    fn set_dynamic(&mut self, number: u8, spec: &[u8]) {
        if spec == b"?" {
            let known = self.dynamic.get(&number).cloned();
            self.answer_color(number.into(), &number.to_string(), known);
        } else if let Some(spec) = color_spec(spec) {
            self.dynamic.insert(number, spec);
        }
    }

    fn set_link(&mut self, attributes: &[u8], uri: &[u8]) {
        let id = attributes.split(|&byte| byte == b':').find_map(|pair| pair.strip_prefix(b"id="));
        let id = id.filter(|id| id.len() <= MAX_LINK_ID).map_or(Cow::Borrowed(""), String::from_utf8_lossy);
        let uri = String::from_utf8_lossy(uri);
        let link = if uri.is_empty() { 0 } else { self.tables.intern_link(&id, &uri) };
        self.screen_mut().cursor.pen.link = link;
        self.pen_changed();
    }
}

fn parse<T: std::str::FromStr>(bytes: &[u8]) -> Option<T> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// A colour as an app may write it; what could end the sequence early is none.
fn color_spec(spec: &[u8]) -> Option<Box<str>> {
    let known = spec.iter().all(|byte| byte.is_ascii_alphanumeric() || b"#:/.- ".contains(byte));
    let text = std::str::from_utf8(spec).ok()?;
    (known && !text.is_empty() && text.len() <= palette::MAX_SPEC).then(|| text.into())
}
