//! A process beside the client that gives the terminal back when the client cannot: after a
//! `kill -9`, or a crash.
//!
//! ```text
//!  client, keeper ──pipe: what would undo the app's output, whenever it changes──► guardian
//!    │                                                                                │
//!    └─ leaves: gives the terminal back, then kills the guardian   the pipe ends: gives
//!                                                                  the terminal back, ends
//! ```
//!
//! The pipe ends when nobody can write to the terminal any more: a keeper that has it holds the pipe too.
//!
//! The guardian is this program (`guard-terminal`, hidden), in a process group of its own so that
//! what hits the client's does not hit it.

use std::fmt;
use std::io::{self, PipeWriter, Read, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, Stdio};
use std::str::FromStr;

use rustix::fs::{OFlags, fcntl_setfl};
use rustix::pipe::PIPE_BUF;
use rustix::termios::{
    ControlModes, InputModes, LocalModes, OptionalActions, OutputModes, SpecialCodeIndex, Termios, tcgetattr,
    tcsetattr,
};
use sessile_anchor::inherit;
use sessile_sandbox::background;
use thiserror::Error;

use super::terminal::raw;
use crate::commands::guard_terminal;

/// A terminal's modes, as far as raw mode changes them. As text they are an argument of the
/// guardian's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SavedModes {
    input: u32,
    output: u32,
    control: u32,
    local: u32,
    min: u8,
    time: u8,
}

/// A text that is not a terminal's modes.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("not a terminal's modes")]
pub struct InvalidModes;

impl SavedModes {
    /// Those of a terminal.
    pub fn of(termios: &Termios) -> Self {
        Self {
            input: termios.input_modes.bits(),
            output: termios.output_modes.bits(),
            control: termios.control_modes.bits(),
            local: termios.local_modes.bits(),
            min: termios.special_codes[SpecialCodeIndex::VMIN],
            time: termios.special_codes[SpecialCodeIndex::VTIME],
        }
    }

    fn put_into(self, termios: &mut Termios) {
        termios.input_modes = InputModes::from_bits_retain(self.input);
        termios.output_modes = OutputModes::from_bits_retain(self.output);
        termios.control_modes = ControlModes::from_bits_retain(self.control);
        termios.local_modes = LocalModes::from_bits_retain(self.local);
        termios.special_codes[SpecialCodeIndex::VMIN] = self.min;
        termios.special_codes[SpecialCodeIndex::VTIME] = self.time;
    }

    /// Puts the modes back if they are still what the client made of them; whoever changed them
    /// since, such as a shell at its prompt, keeps its own.
    fn give_back(self, terminal: impl AsFd) -> io::Result<()> {
        let now = tcgetattr(&terminal)?;
        let mut before = now.clone();
        self.put_into(&mut before);
        let clients = raw(&before);
        let still_raw = now.input_modes == clients.input_modes
            && now.output_modes == clients.output_modes
            && now.local_modes == clients.local_modes;
        if still_raw {
            tcsetattr(&terminal, OptionalActions::Now, &before)?;
        }
        Ok(())
    }
}

impl fmt::Display for SavedModes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { input, output, control, local, min, time } = self;
        write!(f, "{input:x}:{output:x}:{control:x}:{local:x}:{min:x}:{time:x}")
    }
}

impl FromStr for SavedModes {
    type Err = InvalidModes;

    fn from_str(text: &str) -> Result<Self, InvalidModes> {
        let numbers: Result<Vec<u32>, _> = text.split(':').map(|n| u32::from_str_radix(n, 16)).collect();
        let Ok(&[input, output, control, local, min, time]) = numbers.as_deref() else {
            return Err(InvalidModes);
        };
        let byte = |number: u32| u8::try_from(number).map_err(|_| InvalidModes);
        Ok(Self { input, output, control, local, min: byte(min)?, time: byte(time)? })
    }
}

/// The client's end: the guardian watches until this is dropped, and is gone then.
#[derive(Debug)]
pub struct Guardian {
    process: Child,
    line: PipeWriter,
    told: Vec<u8>,
}

impl Guardian {
    /// Starts one for the terminal on standard input and output, whose modes these are. Does not
    /// wait for it.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn post(saved: SavedModes) -> io::Result<Self> {
        inherit::keep_to_ourselves()?;
        let (ear, line) = io::pipe()?;
        // A guardian that does not listen holds nobody up.
        fcntl_setfl(&line, OFlags::NONBLOCK)?;
        let terminal = io::stdin().as_fd().try_clone_to_owned()?;
        let process = Command::new("/proc/self/exe")
            .arg0("sessile")
            .args([guard_terminal::NAME, &saved.to_string()])
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(ear)
            .stdout(Stdio::inherit())
            .stderr(terminal)
            .spawn()?;
        Ok(Self { process, line, told: Vec::new() })
    }

    /// Its line, for who else writes to the terminal: it watches until that one has gone, too.
    pub fn line(&self) -> io::Result<OwnedFd> {
        self.line.as_fd().try_clone_to_owned()
    }

    /// Another has told it what undoes the output.
    pub fn was_told(&mut self, undo: Vec<u8>) {
        self.told = undo;
    }

    /// Tells it the bytes that undo what output has done to the terminal.
    pub fn tell(&mut self, undo: &[u8]) {
        if undo == self.told {
            return;
        }
        let Ok(length) = u16::try_from(undo.len()) else { return };
        let message = [&length.to_le_bytes(), undo].concat();
        // Whole or not at all (pipe(7)); what does not go now is told with the next change.
        if message.len() <= PIPE_BUF && rustix::io::write(&self.line, &message).is_ok() {
            self.told = undo.to_vec();
        }
    }
}

impl Drop for Guardian {
    fn drop(&mut self) {
        // Killed rather than asked: one that is stopped, or has not come to itself yet, goes too.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Be the guardian: waits for the client's end, then gives the terminal back. Standard input is
/// the pipe, standard output the terminal for bytes, standard error the one for modes.
///
/// # Errors
/// When the system refuses.
pub fn guard(saved: SavedModes) -> io::Result<()> {
    background::block_terminal_signals()?;
    let told = last_told(io::stdin().lock());
    saved.give_back(io::stderr())?;
    // A client that said nothing had shown nothing.
    let Some(mut undo) = told else { return Ok(()) };
    undo.extend_from_slice(b"\r\n");
    let mut terminal = io::stdout().lock();
    terminal.write_all(&undo)?;
    terminal.flush()
}

/// The last whole message, when no more can come; `None` when there was none.
fn last_told(mut ear: impl Read) -> Option<Vec<u8>> {
    let mut last = None;
    loop {
        let mut length = [0; 2];
        if ear.read_exact(&mut length).is_err() {
            return last;
        }
        let mut message = vec![0; u16::from_le_bytes(length).into()];
        if ear.read_exact(&mut message).is_err() {
            return last;
        }
        last = Some(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_survive_as_an_argument() {
        let saved = SavedModes { input: 0x4500, output: 5, control: 0xbf, local: 0x8a3b, min: 1, time: 255 };
        assert_eq!(saved.to_string(), "4500:5:bf:8a3b:1:ff");
        assert_eq!(saved.to_string().parse(), Ok(saved));
        for bad in ["", "1:2:3:4:5", "1:2:3:4:5:100", "1:2:3:4:5:6:7", "1:2:3:4:5:g"] {
            assert_eq!(bad.parse::<SavedModes>(), Err(InvalidModes), "{bad}");
        }
    }

    #[test]
    fn the_last_whole_message_counts() {
        assert_eq!(last_told(&b""[..]), None);
        assert_eq!(last_told(&b"\x01\0"[..]), None);
        assert_eq!(last_told(&b"\x01\0a\x02\0bc"[..]).as_deref(), Some(&b"bc"[..]));
        assert_eq!(last_told(&b"\x01\0a\x02\0b"[..]).as_deref(), Some(&b"a"[..]));
        assert_eq!(last_told(&b"\x01\0a\0\0\x07"[..]).as_deref(), Some(&b""[..]));
    }
}
