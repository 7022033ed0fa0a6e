//! The terminal in the keeper's hand: it is given, taken back for as long as this process is stopped, and
//! given back as it was at the end.
//!
//! ```text
//!  Ours ──HandOver──► Asked ──taken──► Keepers ──LetGo asked, or its client did not own it──► Ours
//!    ▲                  │ refused: frames go on
//!    └──────────────────┘
//! ```
//!
//! Where it is the keeper's, nothing is written to it here. What the keeper changes of it, it tells before;
//! so whatever becomes of the keeper, what is to be undone is known.
//!
//! Once it is the keeper's, and everything that was typed before has arrived, the keeper reads there as well.
//! Nothing is read here then, unless the keeper leaves what is typed where it is: it hangs, or the app takes
//! nothing. Then what is typed is read here again, so that the key that leaves is found.

use std::io;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionread};
use rustix::process::{Signal, getpid, kill_process};
use sessile_model::wire::{HandOver, MAX_INPUT, ReadTyped, Request};
use signal_hook::consts::SIGHUP;
use zeroize::Zeroize as _;

use super::conversation::{CHANNEL, Conversation};
use super::sink::Sink;
use super::terminal::{RawMode, is_in_front};
use super::{Mode, Parting, Way, terminal_size};
use crate::failure::Failure;
use crate::output::{counted, say};

/// How long a keeper may take to let go. One that hangs writes nothing once this process has ended.
const PATIENCE: Duration = Duration::from_secs(2);
/// How often it is looked whether the keeper reads what is typed.
const LOOK: Duration = Duration::from_secs(1);
/// How soon again, where something was there that it had not read.
const LOOK_AGAIN: Duration = Duration::from_millis(300);
/// How long what came together with the key that leaves is thrown away, and how long nothing more of it has to come.
const PASTED: Duration = Duration::from_secs(2);
const BETWEEN: Timespec = Timespec { tv_sec: 0, tv_nsec: 200_000_000 };
/// How often a terminal that the keeper lost is handed over again before frames do.
const MAX_LOST: u32 = 3;

/// How an attachment begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Joining {
    /// For the first time.
    First,
    /// After the keeper went away.
    Again,
    /// After this process was stopped.
    Stopped,
}

/// Who writes to the terminal.
#[derive(Debug, Default)]
pub struct Hand {
    holder: Holder,
    /// Counts what was handed over.
    number: u32,
    /// The keeper cannot: it is not asked again.
    refused: bool,
    /// How often it was lost since this process was last stopped or attached.
    lost: u32,
    typing: Typing,
    /// More was read behind the key that leaves, in one go with it.
    pub more: bool,
}

/// Who reads what is typed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Typing {
    #[default]
    Ours,
    /// The keeper's.
    Keepers {
        /// It has said so.
        sure: bool,
        /// When to look next whether it reads.
        look: Instant,
        /// When it was looked last, something was there.
        unread: bool,
    },
    /// The keeper is to read no more. Until it says so nothing is read here, or one would read what comes behind
    /// what the other has read; but one that hangs is not waited for beyond this.
    Asked {
        /// When it is taken to hang.
        until: Instant,
    },
    /// It hangs.
    Hangs,
    /// The keeper cannot: it is not asked again.
    Refused,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Holder {
    #[default]
    Ours,
    Asked,
    Keepers,
}

impl Hand {
    /// By this way: nothing can be handed over by one that leads elsewhere.
    pub fn to(way: &Way) -> Self {
        Self { refused: way.remote().is_some(), ..Self::default() }
    }

    /// Whether a keeper was ever asked to write to the terminal and has not refused.
    pub fn was_given(&self) -> bool {
        self.number > 0 && !self.refused
    }

    /// The keeper's answer.
    pub fn answered(&mut self, number: u32, taken: bool) {
        if number == self.number {
            self.refused = !taken;
            self.holder = if taken { Holder::Keepers } else { Holder::Ours };
        }
    }

    /// Whether the keeper is taken to hang.
    pub fn hangs(&self) -> bool {
        self.typing == Typing::Hangs
    }

    /// The keeper's answer to who reads. Returns whether it was taken to hang.
    pub fn answered_typing(&mut self, number: u32, taken: bool) -> bool {
        if number != self.number {
            return false;
        }
        let hung = self.hangs();
        self.typing = match (self.typing, taken) {
            (Typing::Keepers { look, unread, .. }, true) => Typing::Keepers { sure: true, look, unread },
            (Typing::Refused, true) => {
                Typing::Keepers { sure: true, look: Instant::now() + LOOK, unread: false }
            }
            (Typing::Keepers { .. } | Typing::Refused, false) => Typing::Refused,
            (Typing::Asked { .. } | Typing::Hangs, false) | (Typing::Ours, _) => Typing::Ours,
            (asked @ (Typing::Asked { .. } | Typing::Hangs), true) => asked,
        };
        hung
    }

    /// Something that was asked is not known or cannot be.
    pub fn refused(&mut self) {
        if self.holder == Holder::Asked {
            self.answered(self.number, false);
        }
        if matches!(self.typing, Typing::Keepers { sure: false, .. }) {
            self.typing = Typing::Refused;
        }
    }

    /// Whether what is typed is read here.
    pub fn types(&self) -> bool {
        matches!(self.typing, Typing::Ours | Typing::Hangs | Typing::Refused)
    }

    /// When to look whether the keeper reads what is typed.
    pub fn look_at(&self) -> Option<Instant> {
        match self.typing {
            Typing::Keepers { look, .. } => Some(look),
            Typing::Asked { until } => Some(until),
            Typing::Ours | Typing::Hangs | Typing::Refused => None,
        }
    }

    /// The keeper reads no more.
    fn typing_ended(&mut self) {
        if self.typing != Typing::Refused {
            self.typing = Typing::Ours;
        }
    }

    /// The keeper is gone.
    pub fn lost_keeper(&mut self) {
        self.holder = Holder::Ours;
        self.lost = 0;
        self.typing_ended();
    }
}

impl Conversation<'_> {
    /// Has output show on this terminal, and only now asks for it: a key that leaves would be taken for
    /// a signal before.
    pub fn show_on(&mut self, terminal: RawMode) -> Result<(), Failure> {
        self.terminal = Some(terminal);
        self.hand_over(false)?;
        self.link.flush();
        Ok(())
    }

    /// Hands the terminal over to the keeper, if there is one and the keeper has not refused it.
    pub fn hand_over(&mut self, again: bool) -> Result<(), Failure> {
        let Some(terminal) = &self.terminal else { return Ok(()) };
        if self.hand.refused {
            return Ok(());
        }
        let (mut descriptors, modes) =
            terminal.hand().map_err(|e| Failure::system("hand over the terminal", &e))?;
        if self.hand.lost >= MAX_LOST {
            // With nothing handed over, frames go on.
            descriptors.clear();
        }
        self.hand.number += 1;
        self.hand.holder = Holder::Asked;
        let request = Request::HandOver(HandOver { number: self.hand.number, modes, again });
        self.link.hand(CHANNEL, &request, descriptors).map_err(|e| Failure::system("write a request", &e))
    }

    /// Reads what is typed here.
    pub(super) fn read_input(&mut self, buffer: &mut [u8]) -> Option<Parting> {
        let room = self.input.room().min(buffer.len());
        let typed = match rustix::io::read(io::stdin(), &mut buffer[..room]) {
            Ok(n) => &buffer[..n],
            Err(Errno::INTR | Errno::AGAIN) => return None,
            // A terminal that hung up.
            Err(_) => &buffer[..0],
        };
        let Mode::Terminal { detach_key, read_only, .. } = self.mode else {
            if typed.is_empty() {
                self.input.end();
            } else {
                self.input.push(typed);
            }
            return None;
        };
        if typed.is_empty() {
            return Some(Parting::Signalled(SIGHUP));
        }
        let (since, pastes) = &mut self.pastes;
        let leave = pastes.find(&detach_key.sent(), typed, since.elapsed());
        let end = leave.as_ref().map_or(typed.len(), |key| key.start);
        if !read_only {
            self.input.push(&typed[..end]);
        }
        self.hand.more = leave.as_ref().is_some_and(|key| key.end < typed.len());
        leave.map(|_| Parting::Detached)
    }

    /// Has the keeper read what is typed, where it writes to the terminal and has everything of before.
    pub fn hand_typing(&mut self) -> Result<(), Failure> {
        let Mode::Terminal { read_only: false, .. } = self.mode else { return Ok(()) };
        if self.hand.holder != Holder::Keepers || self.hand.typing != Typing::Ours {
            return Ok(());
        }
        // What a keeper has left there is read here first.
        let Some(last) = self.input.is_through().filter(|_| !is_typed()) else { return Ok(()) };
        let terminal = io::stdin().as_fd().try_clone_to_owned();
        let terminal = terminal.map_err(|e| Failure::system("hand over the terminal", &e))?;
        self.hand.typing = Typing::Keepers { sure: false, look: Instant::now() + LOOK, unread: false };
        self.ask_to_read(last, vec![terminal])
    }

    fn ask_to_read(&mut self, last: u64, descriptors: Vec<OwnedFd>) -> Result<(), Failure> {
        let Mode::Terminal { detach_key, .. } = self.mode else { return Ok(()) };
        let asked = ReadTyped { number: self.hand.number, last, leave: detach_key.sent().into() };
        let handed = self.link.hand(CHANNEL, &Request::ReadTyped(asked), descriptors);
        handed.map_err(|e| Failure::system("write a request", &e))
    }

    /// Looks whether the keeper reads what is typed, when it is time to. What it leaves for long is read here.
    pub fn look_at_typing(&mut self, now: Instant) -> Result<(), Failure> {
        self.hand.typing = match self.hand.typing {
            Typing::Keepers { sure, look, unread } if now >= look => match (is_typed(), unread) {
                (false, _) => Typing::Keepers { sure, look: now + LOOK, unread: false },
                (true, false) => Typing::Keepers { sure, look: now + LOOK_AGAIN, unread: true },
                (true, true) => {
                    self.ask_to_read(0, Vec::new())?;
                    Typing::Asked { until: now + LOOK }
                }
            },
            Typing::Asked { until } if now >= until => {
                self.miss_keeper()?;
                Typing::Hangs
            }
            Typing::Keepers { .. }
            | Typing::Asked { .. }
            | Typing::Ours
            | Typing::Hangs
            | Typing::Refused => {
                return Ok(());
            }
        };
        Ok(())
    }

    /// The keeper changes the terminal.
    pub fn changed(&mut self, modes: &str) {
        if let Some(terminal) = &mut self.terminal {
            terminal.changed(modes);
        }
    }

    /// The keeper has let go of the terminal.
    pub fn has_let_go(
        &mut self,
        number: u32,
        modes: &str,
        lost: bool,
        last: Option<u64>,
    ) -> Result<(), Failure> {
        if number != self.hand.number {
            return Ok(());
        }
        self.input.go_on_from(last.unwrap_or(0));
        self.hand.typing_ended();
        self.changed(modes);
        self.hand.holder = Holder::Ours;
        if lost && is_in_front() {
            self.hand.lost += 1;
            self.hand_over(true)?;
        }
        Ok(())
    }

    /// Takes the terminal back: nothing is written to it when this returns. What happens meanwhile may
    /// end the attachment.
    fn take_back(&mut self) -> Result<Option<Parting>, Failure> {
        if self.hand.holder == Holder::Ours {
            return Ok(None);
        }
        self.request(&Request::LetGo)?;
        let until = Instant::now() + PATIENCE;
        while self.hand.holder != Holder::Ours && !self.link.has_ended() {
            self.link.flush();
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let left = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) };
            let mut wanted = PollFlags::IN;
            wanted.set(PollFlags::OUT, self.link.has_unsent());
            // An interrupted wait is tried again.
            let _ = poll(&mut [PollFd::new(&self.link, wanted)], Some(&left));
            self.link.receive();
            if let Some(parting) = self.take_frames()? {
                return Ok(Some(parting));
            }
        }
        Ok(None)
    }

    /// Stops this process, as its signal asks, with the terminal as it was.
    pub fn stop(&mut self) -> Result<Option<Parting>, Failure> {
        let parting = self.take_back()?;
        if parting.is_none() {
            if let Some(terminal) = &mut self.terminal {
                terminal.pause();
            }
            kill_process(getpid(), Signal::STOP).map_err(|e| Failure::system("stop", &e.into()))?;
        }
        Ok(parting)
    }

    /// Shows the screen again, after this process was stopped, by itself or by another. What happens meanwhile may end
    /// the attachment.
    pub fn go_on(&mut self) -> Result<Option<Parting>, Failure> {
        let Some(terminal) = &mut self.terminal else { return Ok(None) };
        terminal.resume().map_err(|e| Failure::system("use the terminal", &e))?;
        self.hand.lost = 0;
        if !self.joined {
            return Ok(None);
        }
        if self.hand.refused {
            // What was under way is of before.
            if let Ok(link) = self.target.way.open(self.target.session) {
                self.link = link;
                self.out = Sink::default();
                self.join(Joining::Stopped)?;
            }
            return Ok(None);
        }
        self.tell_size()?;
        // It may have let go meanwhile, and then says up to where it has read.
        self.link.receive();
        let mut parting = self.take_frames()?;
        if parting.is_none() && self.hand.holder == Holder::Keepers {
            parting = self.take_back()?;
        }
        if parting.is_none() && self.hand.holder == Holder::Ours {
            self.hand_over(true)?;
        }
        Ok(parting)
    }

    /// Tells the keeper the terminal's size, where it has been told another.
    pub fn tell_size(&mut self) -> Result<(), Failure> {
        let size = self.size.is_some().then(terminal_size);
        match size.filter(|_| self.joined && size != self.size) {
            Some(now) => {
                self.size = size;
                self.request(&Request::Resize(now))
            }
            None => Ok(()),
        }
    }

    /// Gives the terminal back, and the keeper what was typed last.
    pub fn leave(&mut self, parting: &Result<Parting, Failure>) {
        // It ends in any case, and has an end already. What is shown may be ahead of what was told here.
        let _ = self.take_back();
        if matches!(parting, Ok(Parting::Detached)) && self.joined {
            while let Some(outgoing) = self.input.next() {
                if self.put_input(outgoing).is_err() {
                    break;
                }
            }
            // The link is dropped next; a keeper that does not read now has a full queue of ours.
            self.link.flush();
        }
        let discarded = matches!(parting, Ok(Parting::Detached))
            && self.terminal.is_some()
            && discard_typed(self.hand.more);
        if let Some(terminal) = self.terminal.take() {
            let has_exited = matches!(parting, Ok(Parting::Exited { .. }));
            terminal.give_back(if has_exited { b"" } else { b"\r\n" });
        }
        if discarded {
            say(
                "sessile: what came at once behind the key that leaves was thrown away: it was not meant for this shell",
            );
        }
        if self.input.unsent() > 0 && matches!(parting, Ok(Parting::Detached | Parting::Lost(_))) {
            let typed = counted(self.input.unsent() as u64, "byte", "bytes");
            say(&format!(
                "sessile: the last {typed} typed reached nobody: the session's keeper took nothing more"
            ));
        }
    }

    /// Says a sentence to the person who is attached.
    pub fn notice(&mut self, text: &str) -> Result<(), Failure> {
        match (self.mode, self.hand.holder) {
            (Mode::Terminal { .. }, Holder::Asked | Holder::Keepers) => {
                return self.request(&Request::Tell { text: text.to_owned() });
            }
            (Mode::Terminal { .. }, Holder::Ours) => {
                if let Some(terminal) = &self.terminal {
                    terminal.tell(text);
                }
            }
            (Mode::Streams { .. } | Mode::Follow { .. }, _) => say(&format!("sessile: {text}")),
        }
        Ok(())
    }
}

/// Throws away what came together with the key that leaves: no hands are so fast, so it is the rest of something that
/// was pasted, and is not for the shell outside. Where some of it was read already, the rest is waited for. Returns
/// whether there was any.
fn discard_typed(mut more: bool) -> bool {
    let began = Instant::now();
    let mut discarded = more;
    let mut rest = [0; MAX_INPUT];
    while (more || is_typed()) && began.elapsed() < PASTED {
        // It is read, and not flushed: only a reader has the terminal take in what waits before it.
        let comes = poll(&mut [PollFd::new(&io::stdin(), PollFlags::IN)], Some(&BETWEEN)) == Ok(1);
        more = comes && matches!(rustix::io::read(io::stdin(), &mut rest), Ok(1..));
        discarded |= more;
    }
    rest.zeroize();
    discarded
}

/// Whether something was typed that nobody has read.
fn is_typed() -> bool {
    ioctl_fionread(io::stdin()).is_ok_and(|count| count > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_to_the_terminal() {
        let mut hand = Hand { number: 2, holder: Holder::Asked, ..Hand::default() };
        hand.answered(1, true);
        assert_eq!(hand.holder, Holder::Asked, "an answer of before");
        hand.answered(2, true);
        assert_eq!(hand.holder, Holder::Keepers);
        hand.refused();
        assert_eq!(hand.holder, Holder::Keepers, "something else was refused");
        hand.lost_keeper();
        assert!(hand.was_given());
        hand.holder = Holder::Asked;
        hand.refused();
        assert!(hand.holder == Holder::Ours && !hand.was_given());
    }
}
