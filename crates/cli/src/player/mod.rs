//! Replays a recording on this terminal.
//!
//! ```text
//!  file ──► Source: lines, limits ──► Timeline: when each is due ──► Player: shows what is no question, waits, hears keys
//! ```

mod keys;
mod silent;
mod source;
mod timeline;

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sessile_model::recording::Happening;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::attachment::{RawMode, Signals, Sink, Written};
use crate::failure::{Failure, Outcome, Status};
use keys::{Key, KeyParser};
pub use silent::Silent;
pub use source::Source;
pub use timeline::Timeline;

/// How far an arrow key seeks.
const LEAP: Duration = Duration::from_secs(5);
/// Bytes that wait for the terminal beyond which no further event is read.
const MAX_PENDING: usize = 64 << 10;
/// Events that are read between two looks at the keys.
const BATCH: usize = 512;

/// How to play.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// How many times as fast as it was recorded.
    pub speed: f64,
    /// Where to begin.
    pub seek: Duration,
    /// The longest pause.
    pub idle_limit: Option<Duration>,
}

/// Plays to the end of the recording, or until somebody quits.
///
/// # Errors
/// When the terminal cannot be used, or the recording cannot be read.
pub fn play(source: Source, pace: Pace) -> Outcome {
    let signals =
        Signals::catch(&[SIGTERM, SIGHUP, SIGINT]).map_err(|e| Failure::system("catch signals", &e))?;
    let terminal = RawMode::enter().map_err(|e| Failure::system("use the terminal", &e))?;
    let mut player = Player {
        source,
        timeline: Timeline::new(pace.idle_limit),
        idle_limit: pace.idle_limit,
        clock: Clock { position: Duration::ZERO, since: Some(Instant::now()), speed: pace.speed },
        next: None,
        latest: Duration::ZERO,
        seek: Some(pace.seek),
        terminal,
        silent: Silent::default(),
        out: Sink::default(),
    };
    let outcome = player.run(signals);
    player.terminal.give_back(b"\r\n");
    outcome
}

/// Where in the recording it is, as time passes.
#[derive(Clone, Copy, Debug)]
struct Clock {
    position: Duration,
    /// Since when it has been there; `None` while it stands still.
    since: Option<Instant>,
    speed: f64,
}

impl Clock {
    fn now(&self) -> Duration {
        let passed = self.since.map_or(Duration::ZERO, |since| since.elapsed());
        self.position.saturating_add(scaled(passed, self.speed))
    }

    /// Goes on from there, running or standing as before.
    fn set(&mut self, position: Duration) {
        self.position = position;
        self.since = self.since.map(|_| Instant::now());
    }

    fn stand(&mut self) {
        self.position = self.now();
        self.since = None;
    }

    fn turn(&mut self) {
        match self.since {
            Some(_) => self.stand(),
            None => self.since = Some(Instant::now()),
        }
    }

    /// How long until that position is reached; `None` while it stands still.
    fn until(&self, position: Duration) -> Option<Duration> {
        self.since.map(|_| scaled(position.saturating_sub(self.now()), 1.0 / self.speed))
    }
}

/// Far times stay in bounds rather than panic.
fn scaled(time: Duration, factor: f64) -> Duration {
    Duration::try_from_secs_f64(time.as_secs_f64() * factor).unwrap_or(Duration::MAX)
}

struct Player {
    source: Source,
    timeline: Timeline,
    idle_limit: Option<Duration>,
    clock: Clock,
    /// The next event, and when it is due.
    next: Option<(Duration, Happening)>,
    /// When the latest that was read is due.
    latest: Duration,
    /// Where to go as soon as nothing waits for the terminal.
    seek: Option<Duration>,
    terminal: RawMode,
    silent: Silent,
    out: Sink,
}

impl Player {
    fn run(&mut self, mut signals: Signals) -> Outcome {
        let mut keys = KeyParser::default();
        self.fetch()?;
        loop {
            if self.out.pending() == 0
                && let Some(to) = self.seek.take()
            {
                self.go_to(to)?;
            }
            self.show_due()?;
            let over = self.next.is_none() && self.out.pending() == 0 && self.seek.is_none();
            // A full screen would be gone before anybody has seen it.
            if over && !self.terminal.shows_alternate() {
                return Ok(Status::OK);
            }
            let ready = self.wait(&signals)?;
            if ready.signal
                && let Some(signal) = signals.take().first()
            {
                return Ok(Status(128 + u8::try_from(*signal).unwrap_or(0)));
            }
            if ready.out && self.terminal.show(&mut self.out) == Written::Closed {
                return Err(Failure::ClosedPipe);
            }
            if ready.keys {
                let mut buffer = [0; 256];
                let count = match rustix::io::read(io::stdin(), &mut buffer) {
                    Ok(0) => return Ok(Status::OK),
                    Ok(count) => count,
                    Err(Errno::INTR | Errno::AGAIN) => 0,
                    Err(errno) => return Err(Failure::system("read the terminal", &errno.into())),
                };
                for &byte in &buffer[..count] {
                    match keys.take(byte) {
                        Some(Key::Quit) => return Ok(Status::OK),
                        Some(key) if over && key != Key::Back => return Ok(Status::OK),
                        Some(key) => self.press(key)?,
                        None => {}
                    }
                }
            }
        }
    }

    fn press(&mut self, key: Key) -> Result<(), Failure> {
        // Time goes on behind the end.
        let end = if self.next.is_none() { self.latest } else { Duration::MAX };
        let from = self.seek.unwrap_or_else(|| self.clock.now().min(end));
        match key {
            Key::Pause => self.clock.turn(),
            Key::Step => {
                self.clock.stand();
                if let Some((due, happening)) = self.next.take() {
                    self.clock.set(due);
                    self.show(&happening);
                    self.fetch()?;
                }
            }
            Key::Forward => self.seek = Some(from.saturating_add(LEAP)),
            Key::Back => self.seek = Some(from.saturating_sub(LEAP)),
            Key::Quit => {}
        }
        Ok(())
    }

    /// Goes to another place: back from the beginning, on a screen without what was there.
    fn go_to(&mut self, to: Duration) -> Result<(), Failure> {
        if to < self.clock.now() {
            self.source.rewind()?;
            self.timeline = Timeline::new(self.idle_limit);
            self.silent = Silent::default();
            let blank = [&self.terminal.undo()[..], b"\x1b[H\x1b[2J"].concat();
            self.put(&blank);
            self.fetch()?;
        }
        self.clock.set(to);
        Ok(())
    }

    /// Reads the next event.
    fn fetch(&mut self) -> Result<(), Failure> {
        self.next = self.source.next()?.map(|happened| (self.timeline.due(happened.at), happened.what));
        if let Some((due, _)) = &self.next {
            self.latest = *due;
        }
        Ok(())
    }

    /// Shows what is due, as far as the terminal keeps up.
    fn show_due(&mut self) -> Result<(), Failure> {
        for _ in 0..BATCH {
            let Some((_, happening)) = self.next.take_if(|(due, _)| *due <= self.clock.now()) else { break };
            self.show(&happening);
            self.fetch()?;
            if self.out.pending() >= MAX_PENDING {
                break;
            }
        }
        Ok(())
    }

    fn show(&mut self, happening: &Happening) {
        match happening {
            Happening::Output(text) => {
                let shown = self.silent.pass(text.as_bytes());
                self.put(&shown);
            }
            Happening::Input(_)
            | Happening::Resize(_)
            | Happening::Marker(_)
            | Happening::Exit(_)
            | Happening::Other => {}
        }
    }

    fn put(&mut self, bytes: &[u8]) {
        self.out.take(self.out.received(), bytes);
    }

    fn wait(&self, signals: &Signals) -> Result<Ready, Failure> {
        let due = match &self.next {
            // The terminal first.
            _ if self.out.pending() >= MAX_PENDING => None,
            Some((due, _)) => self.clock.until(*due),
            None => None,
        };
        let timeout = due.map(|time| Timespec {
            tv_sec: time.as_secs().min(86_400) as i64,
            tv_nsec: i64::from(time.subsec_nanos()),
        });
        let (stdin, stdout) = (io::stdin(), io::stdout());
        let wanted = if self.out.pending() > 0 { PollFlags::OUT } else { PollFlags::empty() };
        let mut fds = [
            PollFd::new(signals, PollFlags::IN),
            PollFd::new(&stdin, PollFlags::IN),
            PollFd::new(&stdout, wanted),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(errno) => return Err(Failure::system("wait", &errno.into())),
        }
        let happened = |index: usize| !fds[index].revents().is_empty();
        Ok(Ready { signal: happened(0), keys: happened(1), out: happened(2) && self.out.pending() > 0 })
    }
}

/// What `poll` found.
#[derive(Clone, Copy, Debug)]
struct Ready {
    signal: bool,
    keys: bool,
    out: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_times_do_not_panic() {
        assert_eq!(scaled(Duration::from_secs(10), 2.0), Duration::from_secs(20));
        assert_eq!(scaled(Duration::MAX, 1000.0), Duration::MAX);
        assert_eq!(scaled(Duration::MAX, f64::INFINITY), Duration::MAX);
        let mut clock = Clock { position: Duration::MAX, since: Some(Instant::now()), speed: 2.0 };
        assert_eq!(clock.until(Duration::ZERO), Some(Duration::ZERO));
        clock.turn();
        assert_eq!((clock.now(), clock.until(Duration::MAX)), (Duration::MAX, None));
    }
}
