//! One command that runs or ran in an app's sandbox, with its terminal or pipes.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::termios::{Winsize, tcsetwinsize};
use sessile_anchor::ring::Ring;
use sessile_model::api::{Typed, Waited};
use sessile_model::ids::AppName;
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::record::AppRecord;
use sessile_model::spec::WindowSize;
use sessile_model::state::Exit;
use zeroize::Zeroize as _;

use sessile_terminal::Commands;

use crate::client::ClientId;
use crate::queries::Queries;
use crate::recorder::Recorder;
use crate::roles::Place;
use crate::saved_screen::SavedScreen;
use crate::screen::ScreenModel;

/// Most input bytes waiting for one task; a client that sends more is not read meanwhile.
pub const INPUT_QUEUE: usize = 64 << 10;
/// How long after a command's end its last output may still arrive when something else holds its
/// terminal or pipe open.
const LAST_OUTPUT_MS: u64 = 60;
/// How long a session is kept for who was promised its last output, and comes with another request.
const PROMISED: Millis = Millis(1_000);

/// One command.
#[derive(Debug)]
pub struct Task {
    /// `main`, an app's name, or `APP.N` for a command that joined an app.
    pub name: AppName,
    /// The app in whose sandbox it runs.
    pub app: AppName,
    /// Its number with that app's init.
    pub number: u32,
    /// Its command.
    pub argv: Vec<String>,
    /// Its process id on the host, once it runs and as long as it does.
    pub pid: Option<u32>,
    /// Its process id inside.
    pub inner_pid: Option<u32>,
    /// How it ended.
    pub exit: Option<Exit>,
    /// When it ended.
    pub exited_at: Option<Timestamp>,
    /// Its terminal or pipes.
    pub streams: Streams,
    /// Input not yet written.
    pub pending: VecDeque<PendingInput>,
    /// Its last output and exit status reached a client.
    pub collected: bool,
    /// What its exit does not say.
    pub note: Option<String>,
    /// Its recording, while it goes on.
    pub recorder: Option<Recorder>,
    /// What it asked of its terminal.
    pub queries: Queries,
    /// The attachment that typed last.
    pub typist: Option<Place>,
    /// Attachments that took over typing, the last one from those before it.
    pub takers: Vec<Place>,
    /// When it last took input, or some began to wait.
    pub fed_at: Timestamp,
    /// When somebody was last promised what a command in it wrote, and how that ended.
    pub promised: Option<Timestamp>,
}

/// Input on its way to a task.
#[derive(Debug)]
pub enum PendingInput {
    /// Bytes from a client.
    Bytes {
        /// Whom to tell when they are written.
        from: InputSource,
        /// The bytes.
        bytes: Vec<u8>,
        /// How many of them are written.
        written: usize,
    },
    /// The end of its standard input.
    End,
}

/// What became of an attachment's input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Input {
    /// It is written as soon as its task takes it.
    Taken,
    /// Another has taken over typing.
    Dropped,
    /// It only watches, or there is nobody to take it.
    Ignored,
}

/// Who sent input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InputSource {
    /// A frame of an attachment.
    Frame {
        /// The connection.
        connection: ClientId,
        /// Its channel.
        channel: u16,
        /// The number its frames are counted under.
        client: u64,
        /// The frame's sequence number.
        sequence: u64,
    },
    /// What an attachment's client typed at a terminal that is read here.
    Terminal {
        /// The number its input is counted under.
        client: u64,
        /// The input's sequence number, which is noted as begun.
        sequence: u64,
    },
    /// A request, answered when the bytes are written.
    Request {
        /// The connection.
        connection: ClientId,
        /// Its channel.
        channel: u16,
        /// What the answer is to say.
        current: Option<Typed>,
    },
    /// The screen model, which answers what an app asks of its terminal.
    Screen,
}

impl InputSource {
    /// The client and the sequence number that it is counted under.
    pub fn numbered(&self) -> Option<(u64, u64)> {
        match *self {
            Self::Frame { client, sequence, .. } | Self::Terminal { client, sequence } => {
                Some((client, sequence))
            }
            Self::Request { .. } | Self::Screen => None,
        }
    }
}

/// What [`Task::absorb`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Absorbed {
    /// There was something to absorb.
    pub some: bool,
    /// The app asked something of its terminal.
    pub asked: bool,
    /// The pump to poke: it waited for room.
    pub poke: Option<u32>,
    /// The clients whose terminals write into this very terminal.
    pub looped: Vec<u64>,
}

/// What a task reads from and writes to.
#[derive(Debug)]
pub enum Streams {
    /// A pseudo-terminal.
    Terminal {
        /// Its master.
        master: OwnedFd,
        /// What it wrote.
        output: Output,
        /// What it shows.
        screen: Box<ScreenModel>,
        /// What of that a successor finds.
        saved: SavedScreen,
    },
    /// Three pipes.
    Pipes {
        /// Where to write its standard input; `None` once closed.
        stdin: Option<OwnedFd>,
        /// Its standard output.
        out: Output,
        /// Its standard error.
        err: Output,
    },
}

/// One stream of bytes that the anchor pumps into a ring.
#[derive(Debug)]
pub struct Output {
    /// Its number in the anchor's store.
    pub io: u32,
    /// The ring.
    pub ring: Ring,
    /// The offset up to which it is read here, while that is borrowed.
    pub read_until: u64,
}

impl Output {
    /// One that the anchor reads.
    pub fn new(io: u32, ring: Ring) -> Self {
        Self { io, ring, read_until: 0 }
    }

    /// Moves the floor and says whether the pump was waiting for that.
    fn release(&self, floor: Option<u64>) -> bool {
        self.ring.set_floor(floor)
    }
}

impl Task {
    /// Feeds the screen model, and a recording, with what was written since, as far as it fits the
    /// buffer. What the app asks of its terminal is for the client of this number to answer, or it is
    /// answered here.
    pub fn absorb(&mut self, buffer: &mut [u8], answerer: Option<u64>, now: Timestamp) -> Absorbed {
        let Streams::Terminal { output, screen, saved, .. } = &mut self.streams else {
            return Absorbed::default();
        };
        let got = output.ring.read(screen.offset(), buffer);
        if got.len == 0 {
            return Absorbed::default();
        }
        screen.feed(got.start, &buffer[..got.len]);
        if let Some(recorder) = &mut self.recorder {
            recorder.output(got.start, &buffer[..got.len], now);
        }
        buffer[..got.len].zeroize();
        let questions = screen.take_questions();
        let asked = !questions.is_empty();
        let looped = screen.take_returned();
        let answers = questions.into_iter().flat_map(|question| self.queries.ask(question, answerer, now));
        let answers = answers.collect();
        self.queries.forget_before(screen.offset());
        saved.wrote(now);
        // The ring never overtakes the model, nor what is saved of it: a flood waits for them, not the
        // other way round.
        let poke = output.release(Some(saved.floor(screen.offset()))).then_some(output.io);
        self.answer(answers);
        Absorbed { some: true, asked, poke, looped }
    }

    /// Types what the screen model answers.
    pub fn answer(&mut self, bytes: Vec<u8>) {
        // An app that asks and never reads is not answered for ever.
        if !bytes.is_empty() && self.pending_bytes() < INPUT_QUEUE {
            self.pending.push_back(PendingInput::Bytes { from: InputSource::Screen, bytes, written: 0 });
        }
    }

    /// Ring offset up to which clients may be given the main output: of a terminal that still writes,
    /// not what may become a question.
    pub fn readable(&self) -> u64 {
        match &self.streams {
            Streams::Terminal { screen, .. } if self.exit.is_none() => screen.understood(),
            Streams::Terminal { screen, .. } => screen.offset(),
            Streams::Pipes { out, .. } => out.ring.head(),
        }
    }

    /// Lets raw readers hold back (`Some`) or no longer hold back (`None`) the pumps of a task with
    /// pipes. Returns the pumps to poke.
    pub fn hold_back(&self, out_floor: Option<u64>, err_floor: Option<u64>) -> Vec<u32> {
        let Streams::Pipes { out, err, .. } = &self.streams else { return Vec::new() };
        let mut poke = Vec::new();
        for (output, floor) in [(out, out_floor), (err, err_floor)] {
            if output.release(floor) {
                poke.push(output.io);
            }
        }
        poke
    }

    /// The main output: the terminal's or standard output.
    pub fn output(&self) -> &Output {
        match &self.streams {
            Streams::Terminal { output, .. } => output,
            Streams::Pipes { out, .. } => out,
        }
    }

    /// Standard error, where it is apart.
    pub fn error_output(&self) -> Option<&Output> {
        match &self.streams {
            Streams::Terminal { .. } => None,
            Streams::Pipes { err, .. } => Some(err),
        }
    }

    /// The screen, where it has one.
    pub fn screen(&self) -> Option<&ScreenModel> {
        match &self.streams {
            Streams::Terminal { screen, .. } => Some(screen),
            Streams::Pipes { .. } => None,
        }
    }

    /// Whether it wrote to its terminal what its screen does not show yet.
    pub fn has_news(&self) -> bool {
        self.screen().is_some_and(|screen| screen.offset() < self.output().ring.head())
    }

    /// Notes that what its shell ran has ended with it. Returns what is known of the commands, where
    /// that has changed.
    pub fn settle_commands(&mut self, now: Timestamp) -> Option<Commands> {
        let ended = self.is_drained(now).then(|| self.exit.as_ref().map(|exit| i32::from(exit.shell_code())));
        let Streams::Terminal { screen, .. } = &mut self.streams else { return None };
        if let Some(status) = ended {
            screen.end_commands(status);
        }
        screen.take_commands_changed().then(|| screen.commands().clone())
    }

    /// What the shell on its terminal said of its commands.
    pub fn commands(&self) -> Option<&Commands> {
        self.screen().map(ScreenModel::commands)
    }

    /// Whether the command has ended and all it wrote is in the rings.
    pub fn is_drained(&self, now: Timestamp) -> bool {
        let Some(at) = self.exited_at else { return false };
        let ended = match &self.streams {
            Streams::Terminal { output, screen, .. } => {
                output.ring.ended() && screen.offset() >= output.ring.head()
            }
            Streams::Pipes { out, err, .. } => out.ring.ended() && err.ring.ended(),
        };
        ended || now.since(at).0 >= LAST_OUTPUT_MS
    }

    /// When [`Self::is_drained`] becomes true at the latest, if it will by the mere passing of time.
    pub fn drained_by(&self) -> Option<Timestamp> {
        self.exited_at.map(|at| at.plus(Millis(LAST_OUTPUT_MS)))
    }

    /// Until when what it wrote is kept for who was promised it, though its end was told.
    pub fn promised_until(&self) -> Option<Timestamp> {
        Some(self.promised?.max(self.exited_at?).plus(PROMISED))
    }

    /// Somebody was told what came: whether they come for its output.
    pub fn promise_after(&mut self, waited: &Waited, now: Timestamp) {
        match waited {
            Waited::Command { command } => {
                self.promised = (command.output_to > Some(command.output_from)).then_some(now);
            }
            Waited::Exited { .. } => self.promised = None,
            Waited::Matched { .. } | Waited::Quiet => {}
        }
    }

    /// Where its input goes, while it takes any.
    pub fn sink(&self) -> Option<BorrowedFd<'_>> {
        match &self.streams {
            Streams::Terminal { master, .. } => Some(master.as_fd()),
            Streams::Pipes { stdin, .. } => stdin.as_ref().map(AsFd::as_fd),
        }
    }

    /// Bytes of input that wait.
    pub fn pending_bytes(&self) -> usize {
        self.pending
            .iter()
            .map(|p| match p {
                PendingInput::Bytes { bytes, written, .. } => bytes.len() - written,
                PendingInput::End => 0,
            })
            .sum()
    }

    /// Gives the terminal and the model a new size. Tasks with pipes have none.
    ///
    /// # Errors
    /// When the terminal refuses.
    pub fn resize(&mut self, size: WindowSize) -> Result<(), Errno> {
        let Streams::Terminal { master, output, screen, .. } = &mut self.streams else { return Ok(()) };
        if screen.size() == size {
            return Ok(());
        }
        let winsize = Winsize { ws_row: size.rows, ws_col: size.cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&*master, winsize)?;
        screen.resize(size, output.ring.head());
        Ok(())
    }

    /// As the session's record shows it.
    pub fn describe(&self) -> AppRecord {
        let size = self.screen().map(ScreenModel::size);
        AppRecord {
            name: self.name.clone(),
            argv: self.argv.clone(),
            pid: self.pid,
            exit: self.exit.clone(),
            cols: size.map(|s| s.cols),
            rows: size.map(|s| s.rows),
            output_bytes: self.output().ring.head() + self.error_output().map_or(0, |e| e.ring.head()),
            note: self.note.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn a_flood_is_absorbed_a_buffer_at_a_time() {
        let (ring, _file) = Ring::create(64 << 10).unwrap();
        let (source, mut sink) = std::io::pipe().unwrap();
        sink.write_all(&[b'x'; 10_000]).unwrap();
        ring.write_from(source.as_fd()).unwrap();
        let screen = Box::new(ScreenModel::new(WindowSize::default(), 0));
        let saved = SavedScreen::default();
        let streams =
            Streams::Terminal { master: source.into(), output: Output::new(1, ring), screen, saved };
        let mut task = Task {
            name: AppName::main(),
            app: AppName::main(),
            number: 1,
            argv: Vec::new(),
            pid: None,
            inner_pid: None,
            exit: None,
            exited_at: None,
            streams,
            pending: VecDeque::new(),
            collected: false,
            note: None,
            recorder: None,
            queries: Queries::default(),
            typist: None,
            takers: Vec::new(),
            fed_at: Timestamp::from_millis(0),
            promised: None,
        };
        let mut buffer = [0; 4096];
        let absorbed = Absorbed { some: true, ..Absorbed::default() };
        assert_eq!(task.absorb(&mut buffer, None, Timestamp::from_millis(0)), absorbed);
        assert_eq!(task.screen().map(ScreenModel::offset), Some(4096));
    }
}
