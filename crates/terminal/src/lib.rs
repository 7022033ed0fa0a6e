//! What a terminal shows, kept so that it can be drawn again exactly.
//!
//! Pure: bytes in ([`Terminal::feed`]), out come a [dump](Terminal::dump) for another terminal, text,
//! or a [grid](Terminal::grid); what an app asks of its terminal ([`Question`]) and what a shell says of its
//! commands ([`Mark`]) are there to be taken. [`Replies`] reads what other terminals answer.
//!
//! | module | subject |
//! |---|---|
//! | `terminal` | [`Terminal`]: text, and where in the bytes it is |
//! | `scanner` | sequences and characters that are not complete, strings that are too long |
//! | `state`, `sequences`, `parameters` | what text, controls and escape sequences do |
//! | `motion`, `erase`, `region` | cursor movement, erasing, columns between margins and rectangles |
//! | `screen`, `row`, `cell`, `attributes`, `tables` | the grid |
//! | `history` | what scrolled off |
//! | `modes`, `charset`, `titles`, `pens`, `palette` | the rest of what a terminal is |
//! | `resize` | another size |
//! | `dump`, `view` | writing it out |
//! | `viewport` | what a smaller terminal shows of it |
//! | `notice` | sentences that are not the app's |
//! | `answers`, `marks` | what is told to others |
//! | `replies`, `tokens` | what other terminals answer, and what comes back from them |
//! | `commands` | a shell's commands, by its marks |
//! | `undo` | what output did to a terminal that is given back |
//!
//! What holds, and the test that holds it:
//! - A dump at any byte, and the rest of the bytes after it, make another terminal what it would be
//!   had it seen them all (`tests/recordings.rs`).
//! - What is shown is what another implementation shows (`tests/recordings.rs`).
//! - A part of the screen in a smaller terminal is that part, after any output and in any size
//!   (`tests/properties.rs`, `tests/recordings.rs`).
//! - A dump of a loaded dump is that dump; any bytes leave a terminal whole (`tests/properties.rs`).

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod answers;
mod attributes;
mod cell;
mod charset;
mod commands;
mod dump;
mod erase;
mod history;
mod marks;
mod modes;
mod motion;
mod notice;
mod palette;
mod parameters;
mod pens;
mod region;
mod replies;
mod resize;
mod row;
mod scanner;
mod screen;
mod sequences;
mod state;
mod tables;
mod terminal;
mod titles;
mod tokens;
mod undo;
mod view;
mod viewport;
mod width;

pub use crate::answers::Question;
pub use crate::attributes::{Attributes, Color, Style, Underline};
pub use crate::commands::Commands;
pub use crate::dump::Scrollback;
pub use crate::history::DEFAULT_LINES;
pub use crate::marks::{Mark, MarkKind};
pub use crate::modes::private as private_mode;
pub use crate::notice::notices;
pub use crate::replies::{Form, Replies, Said};
pub use crate::terminal::Terminal;
pub use crate::tokens::token;
pub use crate::undo::TerminalModes;
pub use crate::viewport::Viewport;
