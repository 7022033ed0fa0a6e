//! Carries out escape sequences: ECMA-48, DEC's, xterm's ("XTerm Control Sequences") and kitty's.

use std::borrow::Cow;

use vte::{Params, Perform};

use crate::charset::Charset;
use crate::modes::private;
use crate::palette;
use crate::parameters::Parameters;
use crate::replies::Form;
use crate::state::{State, default_tabs};
use crate::tables::StyleId;

/// Deepest stack of keyboard flags (kitty keyboard protocol asks for a limit).
const MAX_KEYBOARD: usize = 16;
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
            ([], 'H' | 'f') => self.go_to(count(0) - 1, count(1) - 1),
            ([], 'A') => self.go_vertically(-(count(0) as isize)),
            ([], 'B' | 'e') => self.go_vertically(count(0) as isize),
            ([], 'C' | 'a') => self.go_to_column(self.screen().cursor.column + count(0)),
            ([], 'D') => self.go_to_column(self.screen().cursor.column.saturating_sub(count(0))),
            ([], 'E') => {
                self.go_vertically(count(0) as isize);
                self.go_to_column(0);
            }
            ([], 'F') => {
                self.go_vertically(-(count(0) as isize));
                self.go_to_column(0);
            }
            ([], 'G' | '`') => self.go_to_column(count(0) - 1),
            ([], 'd') => self.go_to(count(0) - 1, self.screen().cursor.column),
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
            ([], 'J') => self.erase_in_display(number(0)),
            ([], 'K') => self.erase_in_line(number(0)),
            ([], 'X') => {
                let (column, columns) = (self.screen().cursor.column, self.columns);
                self.edit(|row, style| row.erase(column, (column + count(0)).min(columns), style));
            }
            ([], '@') => {
                let column = self.screen().cursor.column;
                self.edit(|row, style| row.insert(column, count(0), style));
            }
            ([], 'P') => {
                let column = self.screen().cursor.column;
                self.edit(|row, style| row.delete(column, count(0), style));
            }
            ([], 'L' | 'M') => {
                let row = self.screen().cursor.row;
                if (self.margins.0..self.margins.1).contains(&row) {
                    if action == 'L' {
                        self.scroll_down(row, count(0));
                    } else {
                        self.scroll_up(row, count(0));
                    }
                }
            }
            ([], 'S') => self.scroll_up(self.margins.0, count(0)),
            ([], 'T') if parameters.len() <= 1 => self.scroll_down(self.margins.0, count(0)),
            ([], 'b') => {
                if let Some(last) = self.last {
                    // More than a screenful leaves the same as a screenful and what is left over,
                    // but in the history, where nobody misses it.
                    let most = self.rows * self.columns + self.columns;
                    let wanted = count(0);
                    let repeats = if wanted > most { most + (wanted - most) % self.columns } else { wanted };
                    (0..repeats).for_each(|_| self.print_mapped(last));
                }
            }
            ([], 'r') => self.set_margins(count(0) - 1, number(1)),
            ([], 's') => self.save_cursor(),
            ([], 'u') => self.restore_cursor(),
            ([], 'h') => parameters.iter().for_each(|mode| self.modes.set_ansi(mode[0], true)),
            ([], 'l') => parameters.iter().for_each(|mode| self.modes.set_ansi(mode[0], false)),
            ([b'?'], 'h') => parameters.iter().for_each(|mode| self.set_private_mode(mode[0], true)),
            ([b'?'], 'l') => parameters.iter().for_each(|mode| self.set_private_mode(mode[0], false)),
            ([b'!'], 'p') => self.soft_reset(),
            ([b' '], 'q') if number(0) <= 6 => self.cursor_shape = number(0) as u8,
            ([], 't') => match number(0) {
                // Where the window is, how large, and what its titles are: titles are not told.
                number @ (11 | 13..=16 | 18 | 19) => self.answer_window(number),
                22 => self.titles.push(),
                23 => self.titles.pop(),
                _ => {}
            },
            ([b'>'], 'm') if number(0) == 4 => {
                self.modify_keys =
                    (parameters.len() > 1).then(|| number(1).min(3) as u8).filter(|&level| level > 0);
            }
            ([b'?'], 'm') => self.asked(Form::control(b'>', b'm')),
            ([b'?'], 'S') => self.asked(Form::control(b'?', b'S')),
            ([], 'x') if number(0) <= 1 => self.asked(Form::control(0, b'x')),
            ([b'>' | b'=' | b'<' | b'?'], 'u') => self.keyboard(intermediates[0], parameters),
            ([], 'c') if number(0) == 0 => self.answer_attributes(None),
            ([b'>' | b'='], 'c') if number(0) == 0 => self.answer_attributes(Some(intermediates[0])),
            ([], 'n') => self.answer_status(false, number(0)),
            ([b'?'], 'n') => self.answer_status(true, number(0)),
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
            ([], b'M') => {
                let row = self.screen().cursor.row;
                if row == self.margins.0 {
                    self.scroll_down(self.margins.0, 1);
                } else {
                    self.screen_mut().cursor.row = row.saturating_sub(1);
                }
            }
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
                for row in &mut self.screen_mut().rows {
                    row.overwrite(0, columns).fill(crate::cell::Cell::ascii(b'E', StyleId::DEFAULT));
                }
            }
            ([set @ b'('..=b'+'], designated) => {
                if let Some(charset) = Charset::from_byte(designated) {
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
        self.print(character);
        self.screen_mut().cursor.charsets = charsets;
    }

    fn erase_in_display(&mut self, what: u16) {
        let (rows, columns) = (self.rows, self.columns);
        let cursor = self.screen().cursor;
        match what {
            0 => {
                self.edit(|row, style| row.erase(cursor.column, columns, style));
                self.clear(cursor.row + 1, rows);
            }
            1 => {
                self.clear(0, cursor.row);
                self.edit(|row, style| row.erase(0, cursor.column + 1, style));
            }
            2 => {
                if !self.on_alternate {
                    // What was there can be looked up afterwards.
                    let filled =
                        self.main.rows.iter().rposition(|row| !row.is_blank()).map_or(0, |last| last + 1);
                    for row in &self.main.rows[..filled] {
                        self.history.push(row, &self.tables);
                    }
                }
                self.clear(0, rows);
            }
            3 => self.history.clear(),
            _ => {}
        }
    }

    fn erase_in_line(&mut self, what: u16) {
        let columns = self.columns;
        let cursor = self.screen().cursor;
        let (from, to) = match what {
            // The cursor is past the last column: nothing is to its right.
            0 if cursor.wraps => return,
            0 => (cursor.column, columns),
            1 => (0, cursor.column + 1),
            2 => (0, columns),
            _ => return,
        };
        self.edit(|row, style| row.erase(from, to, style));
    }

    fn set_margins(&mut self, top: usize, bottom: u16) {
        let bottom = if bottom == 0 { self.rows } else { usize::from(bottom).min(self.rows) };
        if top + 1 < bottom || (top + 1 == bottom && self.rows == 1) {
            self.margins = (top, bottom);
            self.go_to(0, 0);
        }
    }

    fn save_cursor(&mut self) {
        let origin = self.modes.private(private::ORIGIN);
        let screen = self.screen_mut();
        screen.saved.cursor = screen.cursor;
        screen.saved.origin = origin;
    }

    fn restore_cursor(&mut self) {
        let screen = self.screen_mut();
        screen.cursor = screen.saved.cursor;
        let origin = screen.saved.origin;
        self.modes.set_private(private::ORIGIN, origin);
        self.pen_changed();
    }

    fn set_private_mode(&mut self, number: u16, on: bool) {
        match number {
            3 => {
                // Columns stay as many as they are; the rest of DECCOLM is done.
                self.set_margins(0, 0);
                self.clear(0, self.rows);
            }
            47 | 1047 => self.switch_screen(on, number == 1047),
            1048 if on => self.save_cursor(),
            1048 => self.restore_cursor(),
            1049 => self.show_alternate(on),
            private::ORIGIN => {
                self.modes.set_private(number, on);
                self.go_to(0, 0);
            }
            _ => self.modes.set_private(number, on),
        }
    }

    /// The older ways to the alternate screen: the cursor stays where it is, nothing is saved.
    fn switch_screen(&mut self, on: bool, clears: bool) {
        if on == self.on_alternate {
            return;
        }
        let saved = self.main.saved;
        let cursor = self.screen().cursor;
        if on {
            let kept = self.alternate.take().filter(|_| !clears);
            self.show_alternate(true);
            if let Some(kept) = kept {
                self.alternate = Some(kept);
            }
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
        for (number, on) in
            [(private::ORIGIN, false), (private::AUTOWRAP, true), (private::SHOW_CURSOR, true)]
        {
            self.modes.set_private(number, on);
        }
        self.modes.set_private(private::APPLICATION_CURSOR, false);
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
