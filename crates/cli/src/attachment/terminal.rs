//! The client's own terminal: raw while attached, always given back as it was.

use std::io;
use std::os::fd::AsFd as _;
use std::sync::{Mutex, Once, PoisonError};

use rustix::termios::{OptionalActions, SpecialCodeIndex, Termios, tcgetattr, tcgetwinsize, tcsetattr};
use sessile_model::spec::WindowSize;

/// The settings to give back. In one place for the whole process, so that a panic, which unwinds
/// nothing in a release build, finds them too.
static SAVED: Mutex<Option<Termios>> = Mutex::new(None);

/// Standard input is a terminal in raw mode until this is dropped.
#[derive(Debug)]
pub struct RawMode(());

impl RawMode {
    /// Makes standard input raw.
    ///
    /// # Errors
    /// When it is not a terminal.
    pub fn enter() -> io::Result<Self> {
        static HOOK: Once = Once::new();
        HOOK.call_once(|| {
            let earlier = std::panic::take_hook();
            std::panic::set_hook(Box::new(move |info| {
                restore();
                earlier(info);
            }));
        });
        let stdin = io::stdin();
        let saved = tcgetattr(stdin.as_fd())?;
        let mut raw = saved.clone();
        raw.make_raw();
        raw.special_codes[SpecialCodeIndex::VMIN] = 1;
        raw.special_codes[SpecialCodeIndex::VTIME] = 0;
        *SAVED.lock().unwrap_or_else(PoisonError::into_inner) = Some(saved);
        tcsetattr(stdin.as_fd(), OptionalActions::Now, &raw)?;
        Ok(Self(()))
    }
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
