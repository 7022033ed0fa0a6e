//! The client's own terminal: raw while attached, always given back as it was.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{
    OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetpgrp, tcgetwinsize, tcsetattr,
};
use sessile_model::spec::WindowSize;
use sessile_terminal::{TerminalModes, notices};

use super::guardian::{Guardian, SavedModes};
use super::sink::{Sink, Written};
use crate::failure::plain;
use crate::output::say;

/// The settings to give back. In one place for the whole process, so that a panic, which unwinds
/// nothing in a release build, finds them too.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard input is a terminal in raw mode until this is dropped.
#[derive(Debug)]
pub struct RawMode {
    /// What has been done to the terminal by what was written to it.
    modes: TerminalModes,
    guardian: Option<Guardian>,
}

/// Standard input is a terminal, and a guardian stands ready to give it back as it is now.
#[derive(Debug)]
pub struct Guarded {
    saved: Termios,
    guardian: Option<Guardian>,
}

impl Guarded {
    /// Posts the guardian; nothing of the terminal changes.
    ///
    /// # Errors
    /// When standard input is not a terminal.
    pub fn post() -> io::Result<Self> {
        let saved = tcgetattr(io::stdin().as_fd())?;
        let guardian = Guardian::post(SavedModes::of(&saved))
            .inspect_err(|e| {
                say(&format!("sessile: a killed client will leave this terminal raw: {}", plain(e)));
            })
            .ok();
        Ok(Self { saved, guardian })
    }

    /// Makes the terminal raw.
    ///
    /// # Errors
    /// When it refuses.
    pub fn make_raw(self) -> io::Result<RawMode> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let earlier = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                earlier(info);
            }));
        });
        let raw = raw(&self.saved);
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.saved);
        tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &raw)?;
        let mut entered = RawMode { modes: TerminalModes::default(), guardian: self.guardian };
        entered.put_title_aside();
        Ok(entered)
    }
}

impl RawMode {
    /// Makes standard input raw, under a guardian of its own.
    ///
    /// # Errors
    /// When it is not a terminal.
    pub fn enter() -> io::Result<Self> {
        Guarded::post()?.make_raw()
    }

    /// Writes a piece of output to the terminal, on standard output, as far as it takes it.
    pub fn show(&mut self, output: &mut Sink) -> Written {
        let piece = output.next_piece().to_vec();
        // Told first: whatever of it is written before a kill can be undone.
        if let Some(guardian) = &mut self.guardian {
            guardian.tell(&self.modes.at_worst(&piece).undo());
        }
        let pending = output.pending();
        let written = output.write(io::stdout());
        self.modes.watch(&piece[..piece.len().min(pending - output.pending())]);
        if let Some(guardian) = &mut self.guardian {
            guardian.tell(&self.modes.undo());
        }
        written
    }

    /// What a keeper needs to write to the terminal itself, and what is changed of it.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn hand(&self) -> io::Result<(Vec<OwnedFd>, String)> {
        let mut descriptors = vec![io::stdout().as_fd().try_clone_to_owned()?];
        if let Some(guardian) = &self.guardian {
            descriptors.push(guardian.line()?);
        }
        Ok((descriptors, serde_json::to_string(&self.modes)?))
    }

    /// A keeper has changed the terminal, or is about to. It tells the guardian.
    pub fn changed(&mut self, modes: &str) {
        let Ok(modes) = serde_json::from_str(modes) else { return };
        self.modes = modes;
        if let Some(guardian) = &mut self.guardian {
            guardian.was_told(self.modes.undo());
        }
    }

    /// Gives the terminal back for as long as this process is stopped.
    pub fn pause(&mut self) {
        write_all(&[&self.undo()[..], b"\r\n"].concat());
        self.modes = TerminalModes::default();
        if let Some(guardian) = &mut self.guardian {
            guardian.tell(&self.modes.undo());
        }
        restore();
    }

    /// Makes the terminal raw again, whoever has changed it meanwhile. Stops this process until it is in
    /// the foreground.
    ///
    /// # Errors
    /// When it refuses.
    pub fn resume(&mut self) -> io::Result<()> {
        let now = tcgetattr(io::stdin().as_fd())?;
        let mut saved = SAVED.lock().unwrap_or_else(PoisonError::into_inner);
        let paused = saved.is_none();
        let raw = raw(saved.get_or_insert(now));
        drop(saved);
        tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &raw)?;
        if paused {
            self.put_title_aside();
        }
        Ok(())
    }

    fn put_title_aside(&mut self) {
        self.modes = TerminalModes::with_title_put_aside();
        if let Some(guardian) = &mut self.guardian {
            guardian.tell(&self.modes.undo());
        }
        // A terminal that does not know this keeps the title that it is given.
        let _ = rustix::io::write(io::stdout(), b"\x1b[22;0t");
    }

    /// Undoes what output has done to the terminal, writes these bytes behind that, and gives it back.
    pub fn give_back(self, last: &[u8]) {
        write_all(&[&self.undo()[..], last].concat());
    }

    /// Shows a sentence that is not the app's.
    pub fn tell(&self, text: &str) {
        let text = format!("[sessile: {text}]");
        if self.modes.is_between_sequences() {
            write_all(&notices(&[text], size(), &self.modes));
        } else {
            // Not among the app's output. The terminal is raw: a line break needs both halves.
            say(&format!("\r\n{text}\r"));
        }
    }

    /// What goes before a whole screen.
    pub fn before_dump(&self) -> Vec<u8> {
        self.modes.before_dump()
    }

    /// Whether output has left the alternate screen showing.
    pub fn shows_alternate(&self) -> bool {
        self.modes.shows_alternate()
    }

    /// The bytes that undo what output has done to the terminal.
    pub fn undo(&self) -> Vec<u8> {
        self.modes.undo()
    }
}

fn write_all(mut bytes: &[u8]) {
    while let Ok(n @ 1..) = rustix::io::write(io::stdout(), bytes) {
        bytes = &bytes[n..];
    }
}

/// Whether this process is in the foreground of its terminal.
pub fn is_in_front() -> bool {
    tcgetpgrp(io::stdin().as_fd()).is_ok_and(|front| front == rustix::process::getpgrp())
}

/// The settings that raw mode makes of these.
pub fn raw(settings: &Termios) -> Termios {
    let mut raw = settings.clone();
    raw.make_raw();
    raw.special_codes[SpecialCodeIndex::VMIN] = 1;
    raw.special_codes[SpecialCodeIndex::VTIME] = 0;
    raw
}

impl Drop for RawMode {
    fn drop(&mut self) {
        restore();
    }
}

fn restore() {
    if let Some(saved) = SAVED.lock().unwrap_or_else(PoisonError::into_inner).take() {
        // A terminal that is gone needs nothing given back.
        let _ = tcsetattr(io::stdin().as_fd(), OptionalActions::Now, &saved);
    }
}

/// The terminal's size as standard output (or input) tells it; 80 by 24 where neither does.
pub fn size() -> WindowSize {
    let told = tcgetwinsize(io::stdout().as_fd()).or_else(|_| tcgetwinsize(io::stdin().as_fd()));
    match told {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => {
            WindowSize { cols: size.ws_col, rows: size.ws_row }.clamped()
        }
        Ok(_) | Err(_) => WindowSize::default(),
    }
}
