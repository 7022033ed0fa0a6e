//! One client's conversation with a keeper, and with the next one if that goes away.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use sessile_model::problem::ProblemKind;
use sessile_model::receipt::SignedReceipt;
use sessile_model::spec::WindowSize;
use sessile_model::state::{Exit, State};
use sessile_model::wire::{self, Attach, Event, FLAG_STDERR, FrameType, Header, NO_OFFSET, Reply, Request};
use signal_hook::consts::{SIGCONT, SIGHUP, SIGKILL, SIGPIPE, SIGTERM, SIGTSTP, SIGWINCH};

use super::away::Inquiry;
use super::handing::{Hand, Joining};
use super::input::{InputQueue, Outgoing, client_number};
use super::link::Link;
use super::signals::Signals;
use super::sink::{Sink, Written, wait_writable};
use super::terminal::RawMode;
use super::{Mode, Parting, Target, Until, terminal_size};
use crate::failure::{Failure, plain};

/// The channel of the one attachment.
pub(super) const CHANNEL: u16 = 1;
/// Output waiting for our streams beyond which the keeper is not read.
const MAX_PENDING: usize = 256 << 10;
/// Connections lost in a row, without being attached in between, after which to give up.
const MAX_LOST: u32 = 20;
/// How long a command has to end after its reader went away.
const PIPE_GRACE: Duration = Duration::from_secs(1);

/// An attachment under way.
#[derive(Debug)]
pub struct Conversation<'a> {
    pub(super) target: &'a Target,
    pub(super) mode: &'a Mode,
    until: Until,
    /// Names our input across connections.
    client: u64,
    pub(super) link: Link,
    pub(super) joined: bool,
    joining_since: Instant,
    nudged: bool,
    /// It was said here that the keeper is away.
    pub(super) told_away: bool,
    /// What the daemon is asked about it.
    pub(super) inquiry: Option<Inquiry>,
    /// When the keeper was last seen to take what was typed here; `None` while it has all of it. Behind: whether it
    /// was asked about since.
    pub(super) untaken: Option<(Instant, bool)>,
    pub(super) pastes: (Instant, wire::Pastes),
    lost: u32,
    pub(super) input: InputQueue,
    pub(super) out: Sink,
    err: Sink,
    /// Where output shows, in terminal mode.
    pub(super) terminal: Option<RawMode>,
    /// Who writes to it.
    pub(super) hand: Hand,
    /// Its size, as the keeper was told.
    pub(super) size: Option<WindowSize>,
    /// Signals for the app that came before we were attached.
    forward: Vec<i32>,
    reader_gone: Option<Instant>,
    exit: Option<Exit>,
}

impl<'a> Conversation<'a> {
    /// Connects and asks to be attached.
    ///
    /// # Errors
    /// When nobody listens.
    pub fn begin(target: &'a Target, mode: &'a Mode, until: Until) -> Result<Self, Failure> {
        let link = target.way.open(target.session).map_err(|e| {
            // Its socket may go between the daemon's leave and now.
            if [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused].contains(&e.kind()) {
                return Failure::new(ProblemKind::Conflict, "the session is ending or has ended");
            }
            Failure::new(ProblemKind::Failed, format!("cannot reach the session's keeper: {}", plain(&e)))
        })?;
        let since = match mode {
            Mode::Follow { since } => *since,
            Mode::Terminal { .. } | Mode::Streams { .. } => 0,
        };
        let mut conversation = Self {
            target,
            mode,
            until,
            client: client_number(),
            link,
            joined: false,
            joining_since: Instant::now(),
            nudged: false,
            told_away: false,
            inquiry: None,
            untaken: None,
            pastes: (Instant::now(), wire::Pastes::default()),
            lost: 0,
            input: InputQueue::default(),
            out: Sink::from(since),
            err: Sink::default(),
            terminal: None,
            hand: Hand::to(&target.way),
            size: None,
            forward: Vec::new(),
            reader_gone: None,
            exit: None,
        };
        conversation.join(Joining::First)?;
        if !matches!(mode, Mode::Terminal { .. }) {
            conversation.link.flush();
        }
        Ok(conversation)
    }

    /// Asks to be attached, at first or again.
    pub(super) fn join(&mut self, joining: Joining) -> Result<(), Failure> {
        let (read_only, raw, size) = match self.mode {
            Mode::Terminal { read_only, .. } => (*read_only, false, Some(terminal_size())),
            Mode::Streams { .. } => (false, true, None),
            Mode::Follow { .. } => (true, true, None),
        };
        let fresh_screen = match (self.mode, joining) {
            (Mode::Terminal { from_start, .. }, Joining::First) => !from_start,
            // How far a keeper came that wrote to the terminal itself is not known.
            (Mode::Terminal { .. }, Joining::Again) => self.hand.was_given(),
            (Mode::Terminal { .. }, Joining::Stopped) => true,
            (Mode::Streams { .. } | Mode::Follow { .. }, _) => false,
        };
        self.size = size;
        let attach = Attach {
            app: self.target.app.clone(),
            read_only,
            exclusive: self.takes_over(),
            size,
            resume_from: (!fresh_screen).then(|| self.out.received()),
            raw,
            client: self.client,
        };
        self.joined = false;
        self.joining_since = Instant::now();
        self.nudged = false;
        self.request(&Request::Attach(attach))?;
        if joining == Joining::First { Ok(()) } else { self.hand_over(true) }
    }

    /// Whether nobody else is to type.
    fn takes_over(&self) -> bool {
        match self.mode {
            Mode::Terminal { exclusive, .. } => *exclusive,
            Mode::Streams { .. } | Mode::Follow { .. } => false,
        }
    }

    pub(super) fn request(&mut self, request: &Request) -> Result<(), Failure> {
        self.link.request(CHANNEL, request).map_err(|e| Failure::system("write a request", &e))
    }

    /// Goes on until it is over.
    ///
    /// # Errors
    /// When the keeper refuses, or speaks another language.
    pub fn run(&mut self, mut signals: Signals) -> Result<Parting, Failure> {
        let mut typed = vec![0u8; 64 << 10];
        loop {
            self.send()?;
            let ready = self.wait(&signals)?;
            if ready.signal
                && let Some(parting) = self.signalled(&signals.take())?
            {
                return Ok(parting);
            }
            if ready.out
                && self.write_out() == Written::Closed
                && let Some(parting) = self.unread()
            {
                return Ok(parting);
            }
            if ready.err {
                self.err.write(io::stderr());
            }
            if ready.stdin && !self.hand.types() {
                return Ok(Parting::Signalled(SIGHUP));
            }
            if ready.stdin
                && let Some(parting) = self.read_input(&mut typed)
            {
                return Ok(parting);
            }
            if ready.link {
                self.link.receive();
            }
            if let Some(parting) = self.take_frames()? {
                return self.finish(parting);
            }
            if self.link.has_ended()
                && let Some(parting) = self.reconnect()?
            {
                return self.finish(parting);
            }
            self.see_to_deadlines()?;
        }
    }

    /// Hands the link what may be sent, and sends what it takes.
    fn send(&mut self) -> Result<(), Failure> {
        if self.joined {
            for signal in std::mem::take(&mut self.forward) {
                self.request(&Request::Signal { signal })?;
            }
            while let Some(outgoing) = self.input.next() {
                self.put_input(outgoing)?;
            }
            if self.input.is_under_way() {
                self.untaken.get_or_insert_with(|| (Instant::now(), false));
            }
            self.hand_typing()?;
            if matches!(self.mode, Mode::Streams { .. }) {
                if let Some(offset) = self.out.confirm() {
                    self.link.put_numbered(FrameType::OutputDone, 0, CHANNEL, offset, &[]);
                }
                if let Some(offset) = self.err.confirm() {
                    self.link.put_numbered(FrameType::OutputDone, FLAG_STDERR, CHANNEL, offset, &[]);
                }
            }
        }
        self.link.flush();
        Ok(())
    }

    pub(super) fn put_input(&mut self, outgoing: Outgoing) -> Result<(), Failure> {
        match outgoing {
            Outgoing::Bytes(sequence, bytes) => {
                self.link.put_numbered(FrameType::Input, 0, CHANNEL, sequence, &bytes);
                Ok(())
            }
            Outgoing::End => self.request(&Request::CloseInput),
        }
    }

    /// Waits for the next thing to do.
    fn wait(&self, signals: &Signals) -> Result<Ready, Failure> {
        let (stdin, stdout, stderr) = (io::stdin(), io::stdout(), io::stderr());
        let reads_input =
            !matches!(self.mode, Mode::Follow { .. }) && self.exit.is_none() && self.input.room() > 0;
        let mut link = PollFlags::empty();
        link.set(PollFlags::IN, self.out.pending() + self.err.pending() < MAX_PENDING);
        link.set(PollFlags::OUT, self.link.has_unsent());
        let mut fds = vec![PollFd::new(signals, PollFlags::IN), PollFd::new(&self.link, link)];
        let mut place = |wanted: bool, fd| {
            wanted.then(|| {
                fds.push(fd);
                fds.len() - 1
            })
        };
        // Where the keeper reads, no more than that the terminal hangs up is news.
        let types = if self.hand.types() { PollFlags::IN } else { PollFlags::empty() };
        let stdin = place(reads_input, PollFd::new(&stdin, types));
        let out = place(self.out.pending() > 0, PollFd::new(&stdout, PollFlags::OUT));
        let err = place(self.err.pending() > 0, PollFd::new(&stderr, PollFlags::OUT));
        let timeout = self.next_deadline().map(|at| {
            let left = at.saturating_duration_since(Instant::now());
            Timespec { tv_sec: left.as_secs() as i64, tv_nsec: i64::from(left.subsec_nanos()) }
        });
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(Failure::system("wait", &e.into())),
        }
        let happened = |index: usize| !fds[index].revents().is_empty();
        Ok(Ready {
            signal: happened(0),
            link: fds[1].revents().intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR),
            stdin: stdin.is_some_and(happened),
            out: out.is_some_and(happened),
            err: err.is_some_and(happened),
        })
    }

    fn write_out(&mut self) -> Written {
        match &mut self.terminal {
            Some(terminal) => terminal.show(&mut self.out),
            None => self.out.write(io::stdout()),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let nudge = (!self.joined && !self.nudged).then(|| self.joining_since + self.target.way.patience());
        let kill = self.reader_gone.map(|since| since + PIPE_GRACE);
        let inquiry = self.inquiry.as_ref().map(|inquiry| inquiry.look);
        nudge
            .into_iter()
            .chain(kill)
            .chain(inquiry)
            .chain(self.untaken_until())
            .chain(self.hand.look_at())
            .min()
    }

    fn see_to_deadlines(&mut self) -> Result<(), Failure> {
        let now = Instant::now();
        if !self.joined && !self.nudged && now >= self.joining_since + self.target.way.patience() {
            self.nudged = true;
            self.miss_keeper()?;
        }
        if self.reader_gone.is_some_and(|since| now >= since + PIPE_GRACE) {
            self.reader_gone = None;
            self.forward.push(SIGKILL);
        }
        self.look_at_untaken(now)?;
        self.hear_inquiry(now);
        self.look_at_typing(now)
    }

    fn signalled(&mut self, signals: &[i32]) -> Result<Option<Parting>, Failure> {
        for &signal in signals {
            match (self.mode, signal) {
                (Mode::Terminal { .. }, SIGWINCH) => self.tell_size()?,
                (Mode::Terminal { .. }, SIGTSTP | SIGCONT) => {
                    let parting = if signal == SIGTSTP { self.stop()? } else { self.go_on()? };
                    if parting.is_some() {
                        return Ok(parting);
                    }
                }
                (Mode::Terminal { .. } | Mode::Follow { .. }, _)
                | (Mode::Streams { returning: true }, SIGTERM | SIGHUP) => {
                    return Ok(Some(Parting::Signalled(signal)));
                }
                (Mode::Streams { .. }, _) => self.forward.push(signal),
            }
        }
        Ok(None)
    }

    /// Our reader is gone: the app is told as a pipe would tell it.
    fn unread(&mut self) -> Option<Parting> {
        match self.mode {
            Mode::Terminal { .. } => Some(Parting::Signalled(SIGHUP)),
            Mode::Follow { .. } => Some(Parting::Unread),
            Mode::Streams { .. } => {
                if self.exit.is_none() {
                    self.forward.push(SIGPIPE);
                    self.reader_gone = Some(Instant::now());
                }
                None
            }
        }
    }

    pub(super) fn take_frames(&mut self) -> Result<Option<Parting>, Failure> {
        while let Some((header, payload)) = self.link.next_frame().map_err(|e| garbled(&e))? {
            if let Some(parting) = self.frame(header, &payload)? {
                return Ok(Some(parting));
            }
        }
        Ok(None)
    }

    fn frame(&mut self, header: Header, payload: &[u8]) -> Result<Option<Parting>, Failure> {
        let Some(kind) = FrameType::from_byte(header.kind) else { return Ok(None) };
        match kind {
            FrameType::Hello | FrameType::Request | FrameType::Input | FrameType::OutputDone => Ok(None),
            FrameType::Reply => self.reply(header.channel, payload),
            // An event of a newer keeper is not for us.
            FrameType::Event => serde_json::from_slice(payload).map_or(Ok(None), |event| self.event(event)),
            FrameType::InputDone => {
                let (sequence, _) = wire::split_number(payload).map_err(|e| garbled(&e))?;
                self.input.confirmed(sequence);
                self.untaken = None;
                self.wipe_notice()?;
                Ok(None)
            }
            FrameType::Output => {
                let (offset, bytes) = wire::split_number(payload).map_err(|e| garbled(&e))?;
                let error = header.flags & FLAG_STDERR != 0;
                let sink = if error { &mut self.err } else { &mut self.out };
                let lost = sink.take(offset, bytes);
                if lost > 0 {
                    let bytes = crate::output::counted(lost, "byte", "bytes");
                    self.notice(&format!("no longer kept: {bytes} of output"))?;
                }
                Ok(None)
            }
            FrameType::Dump => {
                let (offset, bytes) = wire::split_number(payload).map_err(|e| garbled(&e))?;
                // A part is drawn over the one before, and puts no title aside.
                let terminal = self.terminal.as_ref().filter(|_| offset != NO_OFFSET);
                let before = terminal.map(RawMode::before_dump).unwrap_or_default();
                self.out.redraw(offset, &[&before, bytes].concat());
                Ok(None)
            }
        }
    }

    fn reply(&mut self, channel: u16, payload: &[u8]) -> Result<Option<Parting>, Failure> {
        let reply: Reply = serde_json::from_slice(payload).map_err(|e| {
            Failure::new(ProblemKind::Internal, format!("the keeper's answer is not understood: {e}"))
        })?;
        match reply {
            Reply::Attached { exclusive, .. } if self.takes_over() && !exclusive => {
                let detail = "this session's keeper is of an earlier version: typing cannot be taken over";
                Err(Failure::new(ProblemKind::Conflict, detail).hint("attach without --exclusive"))
            }
            Reply::Attached { input_done, input_started, .. } => {
                if self.wipe_notice()? {
                    return Ok(None);
                }
                self.joined = true;
                self.lost = 0;
                self.tell_size()?;
                let (again, uncertain) = self.input.rejoined(input_done, input_started);
                for outgoing in again {
                    self.put_input(outgoing)?;
                }
                if let Some(uncertain) = uncertain {
                    self.notice(&format!(
                        "the keeper was replaced; whether {uncertain} arrived is uncertain, it was not sent again"
                    ))?;
                }
                Ok(None)
            }
            Reply::Problem(problem) if channel == CHANNEL && !self.joined => Err(problem.into()),
            Reply::HandedOver { number, taken } => {
                self.hand.answered(number, taken);
                Ok(None)
            }
            Reply::ReadsTyped { number, taken, last } => {
                self.input.go_on_from(last.unwrap_or(0));
                if self.hand.answered_typing(number, taken) {
                    self.wipe_notice()?;
                }
                Ok(None)
            }
            Reply::Record(record) => {
                let ends = matches!(record.state, State::Ending | State::Failed | State::Closed);
                Ok(if ends { None } else { self.exited(None) })
            }
            // A signal or a window size for a command that has just ended.
            Reply::Problem(_) => {
                // Or an earlier keeper's, which takes no terminals.
                self.hand.refused();
                Ok(None)
            }
            Reply::Done => Ok(None),
            Reply::Screen(_)
            | Reply::Commands(_)
            | Reply::Typed(_)
            | Reply::Recorded(_)
            | Reply::Output(_)
            | Reply::Started(_)
            | Reply::Waited(_)
            | Reply::Receipt(_)
            | Reply::Exported(_)
            | Reply::Changes(_)
            | Reply::Questions(_)
            | Reply::Traffic(_)
            | Reply::Cookies(_)
            | Reply::Said(_)
            | Reply::Heard(_)
            | Reply::Offers(_)
            | Reply::Stands(_)
            | Reply::TalkClosed(_)
            | Reply::Delegated(_)
            | Reply::Published(_)
            | Reply::Applied(_) => Ok(None),
        }
    }

    fn event(&mut self, event: Event) -> Result<Option<Parting>, Failure> {
        Ok(match event {
            Event::Record(_) => None,
            Event::Exited { exit } => {
                self.exit = Some(exit);
                match self.until {
                    Until::Exited => self.exited(None),
                    Until::Settled => {
                        // Whether the command's end is the session's, the keeper knows; where it
                        // is, the receipt follows.
                        let show = self.link.request(0, &Request::Show { follow: false });
                        if show.is_err() { self.exited(None) } else { None }
                    }
                }
            }
            Event::Changed { modes } => {
                self.changed(&modes);
                None
            }
            Event::LetGo { number, modes, lost, last } => {
                self.has_let_go(number, &modes, lost, last)?;
                None
            }
            Event::Leave => Some(Parting::Detached),
            Event::More => {
                self.hand.more = true;
                None
            }
            Event::Detached { why } => match self.exit {
                Some(_) => self.exited(None),
                None => Some(Parting::Dismissed(why)),
            },
            Event::Notice { text } => {
                self.notice(&crate::output::printable(&text))?;
                None
            }
            Event::Asked { .. } => None,
            Event::Closed(receipt) => match self.exit {
                Some(_) => self.exited(Some(receipt)),
                None => Some(Parting::Closed(receipt)),
            },
        })
    }

    fn exited(&mut self, receipt: Option<Box<SignedReceipt>>) -> Option<Parting> {
        self.exit.clone().map(|exit| Parting::Exited { exit, receipt })
    }

    /// The keeper went away. `Some`: for good.
    fn reconnect(&mut self) -> Result<Option<Parting>, Failure> {
        self.lost += 1;
        let over = self.exit.is_some() && self.until == Until::Exited;
        if over || self.lost > MAX_LOST {
            return Ok(Some(Parting::Lost(self.exit.clone())));
        }
        match self.target.way.open(self.target.session) {
            Ok(link) => {
                self.link = link;
                self.hand.lost_keeper();
                self.join(Joining::Again)?;
                Ok(None)
            }
            Err(_) => Ok(Some(Parting::Lost(self.exit.clone()))),
        }
    }

    /// Writes what is still to be written, then hands on how it ended.
    fn finish(&mut self, parting: Parting) -> Result<Parting, Failure> {
        while self.out.pending() > 0 && self.write_out() == Written::Some {
            wait_writable(io::stdout());
        }
        while self.err.pending() > 0 && self.err.write(io::stderr()) == Written::Some {
            wait_writable(io::stderr());
        }
        if let Some(offset) = self.out.confirm() {
            self.confirm_last(0, offset);
        }
        if let Some(offset) = self.err.confirm() {
            self.confirm_last(FLAG_STDERR, offset);
        }
        if self.out.is_closed() && !matches!(self.mode, Mode::Terminal { .. }) {
            if let Some(error) = self.out.failure() {
                return Err(Failure::system("write the output", &error));
            }
            return Ok(Parting::Unread);
        }
        Ok(parting)
    }

    fn confirm_last(&mut self, flags: u8, offset: u64) {
        if matches!(self.mode, Mode::Streams { .. }) {
            self.link.put_numbered(FrameType::OutputDone, flags, CHANNEL, offset, &[]);
            self.link.flush();
        }
    }
}

/// What `poll` found.
#[derive(Clone, Copy, Debug)]
struct Ready {
    signal: bool,
    link: bool,
    stdin: bool,
    out: bool,
    err: bool,
}

fn garbled(error: &wire::FrameError) -> Failure {
    Failure::new(ProblemKind::Internal, format!("the keeper sent something that is not understood: {error}"))
}
