//! What clients and the daemon ask, and the answers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_model::api;
use sessile_model::ids::AppName;
use sessile_model::quantity::Millis;
use sessile_model::spec::WindowSize;
use sessile_model::state::EndedBy;
use sessile_model::wire::{self, Attach, FrameType, Reply, Request};
use sessile_model::{Problem, ProblemKind};
use sessile_session::{Admission, Event, Request as Ask};
use zeroize::Zeroize as _;

use crate::channels::Caller;
use crate::client::{Attachment, ClientId, Notice};
use crate::input::pasted;
use crate::keeper::Keeper;
use crate::output::Why;
use crate::screen::ScreenModel;
use crate::task::{InputSource, PendingInput, Task};
use crate::waits::{PendingWait, speaking};

/// Most bytes of output in one answer.
const MAX_OUTPUT: u32 = 4 << 20;
/// Most conditions waited for at once.
const MAX_WAITS: usize = 256;
/// Time that apps get to save when the request names none.
const DEFAULT_GRACE: Millis = Millis(10_000);
/// Longest time that apps get to save.
const MAX_GRACE: Millis = Millis(3_600_000);

/// How a request goes on.
enum Answer {
    /// With this reply, now.
    Now(Reply),
    /// Later, by what the request left behind.
    Later,
}

impl From<Reply> for Answer {
    fn from(reply: Reply) -> Self {
        Self::Now(reply)
    }
}

impl Keeper {
    /// Takes one frame of a client.
    pub(crate) fn handle_frame(&mut self, id: ClientId, header: wire::Header, payload: Vec<u8>) {
        let channel = header.channel;
        let outcome = match FrameType::from_byte(header.kind) {
            Some(FrameType::Request) => match serde_json::from_slice::<Request>(&payload) {
                Ok(request) => self.request(id, channel, request),
                Err(error) => {
                    let detail = format!("the request does not parse: {error}");
                    Err(Problem::new(ProblemKind::BadRequest, detail))
                }
            },
            Some(FrameType::Input) => {
                self.input_frame(id, channel, &payload);
                Ok(Answer::Later)
            }
            Some(FrameType::OutputDone) => {
                self.output_done(id, channel, header.flags, &payload);
                Ok(Answer::Later)
            }
            // A peer's introduction needs no answer; the rest only a keeper sends, or a later
            // version knows.
            Some(
                FrameType::Hello
                | FrameType::Reply
                | FrameType::Event
                | FrameType::Output
                | FrameType::Dump
                | FrameType::InputDone,
            )
            | None => Ok(Answer::Later),
        };
        let reply = match outcome {
            Ok(Answer::Later) => return,
            Ok(Answer::Now(reply)) => reply,
            Err(problem) => Reply::Problem(problem),
        };
        self.reply(id, channel, &reply);
    }

    /// Queues an answer, if the connection still is.
    pub(crate) fn reply(&mut self, id: ClientId, channel: u16, reply: &Reply) {
        if let Some(client) = self.clients.get_mut(&id) {
            client.reply(channel, reply);
        }
    }

    fn request(&mut self, id: ClientId, channel: u16, request: Request) -> Result<Answer, Problem> {
        match request {
            Request::Open(open) => {
                if let Err(problem) = self.open(*open) {
                    // Nothing was begun: there is nothing to wipe and nothing to stay for.
                    self.finished |= self.machine.is_none();
                    return Err(problem);
                }
                self.opener = Some((id, channel));
                Ok(Answer::Later)
            }
            Request::Show { follow } => {
                if let Some(client) = self.clients.get_mut(&id) {
                    client.follows |= follow;
                }
                let record = if follow { self.record()? } else { self.measured_record()? };
                if follow {
                    self.ring(None, Some(id));
                }
                Ok(Reply::Record(Box::new(record)).into())
            }
            Request::Attach(attach) => {
                self.attach(id, channel, &attach)?;
                Ok(Answer::Later)
            }
            Request::Detach => {
                self.detach(id, channel);
                Ok(Reply::Done.into())
            }
            Request::HandOver(asked) => Ok(self.hand_over(id, channel, &asked).into()),
            Request::ReadTyped(asked) => Ok(self.read_typed_at(id, channel, asked).into()),
            Request::LetGo => {
                self.lose((id, channel), Why::Asked);
                Ok(Reply::Done.into())
            }
            Request::Tell { text } => {
                self.tell_back(id, channel, text);
                Ok(Reply::Done.into())
            }
            Request::Resize(size) => self.client_resized(id, channel, size).map(Answer::Now),
            Request::CloseInput => {
                let task = self.attached_task(id, channel)?;
                task.pending.push_back(PendingInput::End);
                Ok(Reply::Done.into())
            }
            Request::Signal { signal } => self.signal_task(id, channel, signal).map(Answer::Now),
            Request::Screen { app, history } => {
                let task = self.task(app.as_ref())?;
                let screen = task.screen().ok_or_else(no_terminal)?;
                Ok(Reply::Screen(screen.describe(history.unwrap_or(0) as usize)).into())
            }
            Request::Commands { app } => {
                let task = self.task(app.as_ref())?;
                Ok(Reply::Commands(speaking(task)?.describe()).into())
            }
            Request::Output { app, since, max, keep } => {
                self.output(app.as_ref(), since, max, keep).map(Answer::Now)
            }
            Request::Input(input) => self.type_input(id, channel, &input),
            Request::Exec(exec) => {
                self.admit(&Ask::Exec)?;
                let task = self.exec(exec)?;
                Ok(Reply::Started(api::ExecStarted { task: task.to_string() }).into())
            }
            Request::Wait(wait) => self.wait_for(id, channel, &wait),
            Request::Pause => {
                self.ask(&Ask::Pause, Event::PauseRequested)?;
                Ok(Reply::Done.into())
            }
            Request::Resume => {
                self.ask(&Ask::Resume, Event::ResumeRequested)?;
                Ok(Reply::Done.into())
            }
            Request::End { grace, by } => self.end(id, channel, grace, by),
            Request::Export(export) => {
                self.admit(&Ask::Export)?;
                self.export(&export).map(|done| Reply::Exported(done).into())
            }
            Request::Record(record) => {
                self.admit(if record.start.is_some() { &Ask::Exec } else { &Ask::Export })?;
                self.record_task(&record)?;
                Ok(Reply::Done.into())
            }
            Request::Recorded { app, from, wait } => {
                self.admit(&Ask::Export)?;
                let recorded = self.recorded((id, channel), app.as_ref(), from, wait)?;
                Ok(recorded.map_or(Answer::Later, |recorded| Reply::Recorded(recorded).into()))
            }
            Request::Diff => {
                self.admit(&Ask::Diff)?;
                self.diff().map(|changes| Reply::Changes(changes).into())
            }
            Request::Apply(apply) => {
                self.admit(&Ask::Apply)?;
                self.apply(&apply).map(|applied| Reply::Applied(applied).into())
            }
            Request::Questions => Ok(Reply::Questions(self.questions()).into()),
            Request::Answer { question, answer } => {
                self.answer(question, &answer)?;
                Ok(Reply::Done.into())
            }
            Request::Traffic => Ok(match self.view_traffic(id, channel)? {
                Some(traffic) => Reply::Traffic(traffic).into(),
                None => Answer::Later,
            }),
            Request::Cookies => {
                self.admit(&Ask::Diff)?;
                Ok(Reply::Cookies(self.cookies()).into())
            }
            Request::KeepCookies(document) => {
                self.admit(&Ask::Export)?;
                self.keep_cookies(document)?;
                Ok(Reply::Done.into())
            }
            Request::Say(say) => {
                self.say(Caller::Client { connection: id, channel }, say).map(|()| Answer::Later)
            }
            Request::Hear(hear) => {
                self.hear(Caller::Client { connection: id, channel }, hear).map(|()| Answer::Later)
            }
            Request::Take(take) => {
                self.take_line(&Caller::Client { connection: id, channel }, &take)?;
                Ok(Reply::Done.into())
            }
            Request::Stand(stand) => self
                .standing(&Caller::Client { connection: id, channel }, &stand)
                .map(|it| Reply::Stands(it).into()),
            Request::CloseTalk(close) => self
                .close_talk(&Caller::Client { connection: id, channel }, &close)
                .map(|record| Reply::TalkClosed(record).into()),
            Request::Delegate(wanted) => self
                .delegate(&Caller::Client { connection: id, channel }, &wanted)
                .map(|given| Reply::Delegated(given).into()),
            Request::Offered { role } => self
                .offers(&Caller::Client { connection: id, channel }, &role)
                .map(|offers| Reply::Offers(offers).into()),
            Request::Publish(publish) => {
                self.admit(&Ask::Exec)?;
                self.publish_port(&publish).map(|published| Reply::Published(published).into())
            }
            Request::NewIdentity => {
                self.admit(&Ask::Exec)?;
                self.renew_identity(id, channel)?;
                Ok(Answer::Later)
            }
            Request::ResetRisk(reset) => {
                self.admit(&Ask::Exec)?;
                self.reset_risk(&reset.why)?;
                Ok(Reply::Done.into())
            }
            Request::Collect => {
                self.ask(&Ask::Collect, Event::Collected)?;
                Ok(Reply::Done.into())
            }
        }
    }

    /// Asks the machine for leave.
    pub(crate) fn admit(&self, ask: &Ask) -> Result<Admission, Problem> {
        Ok(self.session()?.admit(ask)?)
    }

    /// Asks the machine for leave and hands in what follows from it.
    fn ask(&mut self, ask: &Ask, event: Event) -> Result<(), Problem> {
        match self.admit(ask)? {
            Admission::Granted => self.advance(event),
            Admission::Already => {}
        }
        Ok(())
    }

    /// The task of this name; `main` when none is named.
    pub(crate) fn task(&self, name: Option<&AppName>) -> Result<&Task, Problem> {
        let main = AppName::main();
        let name = name.unwrap_or(&main);
        self.tasks.get(name).ok_or_else(|| no_task(name, self.tasks.keys()))
    }

    fn attached_task(&mut self, id: ClientId, channel: u16) -> Result<&mut Task, Problem> {
        let attachment = self.clients.get(&id).and_then(|c| c.attachments.get(&channel));
        let attachment = attachment.ok_or_else(not_attached)?;
        let task = self.tasks.get_mut(&attachment.task).ok_or_else(not_attached)?;
        if task.may_type((id, channel), attachment) { Ok(task) } else { Err(not_attached()) }
    }

    fn attach(&mut self, id: ClientId, channel: u16, attach: &Attach) -> Result<(), Problem> {
        self.admit(&Ask::Attach)?;
        if let Some(size) = attach.size {
            check_size(size)?;
        }
        if channel == 0 {
            return Err(Problem::new(ProblemKind::BadRequest, "channel 0 is the connection itself"));
        }
        let task = self.task(attach.app.as_ref())?;
        if attach.exclusive {
            Self::check_take_over(task, attach.read_only)?;
        }
        let output = task.output();
        let offset = match (attach.resume_from, attach.raw) {
            // It was shown a part of the screen, which no output goes on from.
            (Some(from), false) if from > output.ring.head() && task.screen().is_some() => u64::MAX,
            (Some(from), _) => from.min(output.ring.head()),
            (None, true) => output.ring.oldest(),
            // Behind everything: the first thing this attachment gets is a fresh screen.
            (None, false) if task.screen().is_some() => u64::MAX,
            (None, false) => output.ring.oldest(),
        };
        let err = task.error_output().map_or(0, |err| err.ring.oldest());
        let ledger = self.ledger_of(attach.client);
        let name = task.name.clone();
        let attachment = Attachment {
            task: name.clone(),
            read_only: attach.read_only,
            raw: attach.raw,
            client: attach.client,
            size: attach.size,
            fresh: offset == u64::MAX,
            out: if offset == u64::MAX { 0 } else { offset },
            err,
            confirmed: (if offset == u64::MAX { 0 } else { offset }, err),
            told_exit: false,
            replies: Default::default(),
            shows: Default::default(),
            view: None,
            notice: Notice::None,
        };
        self.hold_until.remove(&name);
        let Some(client) = self.clients.get_mut(&id) else { return Err(not_attached()) };
        let replaced = client.attachments.insert(channel, attachment);
        client.reply(
            channel,
            &Reply::Attached {
                input_done: ledger.done,
                input_started: ledger.started,
                offset: if offset == u64::MAX { 0 } else { offset },
                exclusive: attach.exclusive,
            },
        );
        if attach.exclusive {
            self.take_over(&name, (id, channel));
        }
        // It is attached all the same; a terminal that refuses has gone.
        let _ = self.follow_size(&name, (id, channel));
        self.begin_part((id, channel));
        let notices = self.recording_notice(&name).into_iter().chain(self.open_questions());
        let notices = notices.chain(self.held_notice(&name, (id, channel)));
        for text in notices.collect::<Vec<_>>() {
            if let Some(client) = self.clients.get_mut(&id) {
                client.tell(channel, &wire::Event::Notice { text });
            }
        }
        if replaced.is_none() {
            self.advance(Event::ClientAttached);
        }
        self.changed = true;
        Ok(())
    }

    fn client_resized(&mut self, id: ClientId, channel: u16, size: WindowSize) -> Result<Reply, Problem> {
        check_size(size)?;
        let client = self.clients.get_mut(&id).ok_or_else(not_attached)?;
        let attachment = client.attachments.get_mut(&channel).ok_or_else(not_attached)?;
        attachment.size = Some(size);
        let name = attachment.task.clone();
        self.changed = true;
        self.follow_size(&name, (id, channel))?;
        Ok(Reply::Done)
    }

    pub(crate) fn resize_task(&mut self, name: &AppName, size: WindowSize) -> Result<(), Problem> {
        let Some(task) = self.tasks.get_mut(name) else { return Ok(()) };
        // Asked with every key: whose it is decides the size.
        if task.screen().is_none_or(|screen| screen.size() == size) {
            return Ok(());
        }
        task.resize(size)
            .map_err(|e| Problem::new(ProblemKind::Failed, format!("the terminal refused its size: {e}")))?;
        if let Some(recorder) = &mut task.recorder {
            recorder.resize(size, self.now);
        }
        self.save_resized(name);
        self.changed = true;
        Ok(())
    }

    fn signal_task(&mut self, id: ClientId, channel: u16, signal: i32) -> Result<Reply, Problem> {
        if !(1..=64).contains(&signal) {
            return Err(Problem::new(ProblemKind::BadRequest, "not a signal number (1 to 64)"));
        }
        let task = self.attached_task(id, channel)?;
        let (app, number, running) = (task.app.clone(), task.number, task.exit.is_none());
        if running {
            self.signal(&app, number, signal)?;
        }
        Ok(Reply::Done)
    }

    fn type_input(&mut self, id: ClientId, channel: u16, input: &api::Input) -> Result<Answer, Problem> {
        let mut bytes = STANDARD
            .decode(&input.data)
            .map_err(|_| Problem::new(ProblemKind::BadRequest, "the input is not standard base64"))?;
        if input.command {
            // What is told is what runs now, not what ran when the output was last looked at.
            self.absorb_output();
        }
        let task = self.task(input.app.as_ref())?;
        let name = task.name.clone();
        let mut current = if input.command { Some(speaking(task)?.current()) } else { None };
        if let Some(typed) = &mut current
            && !typed.running
            && task.screen().is_some_and(ScreenModel::takes_pastes)
            && let Some(pasted) = pasted(&bytes)
        {
            bytes.zeroize();
            (bytes, typed.pasted) = (pasted, true);
        }
        self.admit(&Ask::Input { app: name.clone() })?;
        if self.tasks.get(&name).is_some_and(|task| task.holder().is_some()) {
            let detail = format!("a client has taken over typing in {name}");
            return Err(Problem::new(ProblemKind::Conflict, detail)
                .hint("it is handed back when that client leaves; `sessile show` lists who is attached"));
        }
        if self.tasks.get(&name).is_none_or(|t| t.sink().is_none()) {
            return Err(Problem::new(ProblemKind::Conflict, format!("the input of {name} is closed")));
        }
        if bytes.is_empty() {
            return Ok(current.map_or(Reply::Done, Reply::Typed).into());
        }
        if let Some(task) = self.tasks.get_mut(&name) {
            if input.command {
                task.promised = Some(self.now);
            }
            self.count_typed(&name, None, bytes.len());
        }
        self.push_input(&name, InputSource::Request { connection: id, channel, current }, bytes);
        Ok(Answer::Later)
    }

    fn output_done(&mut self, id: ClientId, channel: u16, flags: u8, payload: &[u8]) {
        let Ok((offset, _)) = wire::split_number(payload) else { return };
        let Some(attachment) = self.clients.get_mut(&id).and_then(|c| c.attachments.get_mut(&channel)) else {
            return;
        };
        // A client cannot confirm what it was not given, nor take a confirmation back.
        if flags & wire::FLAG_STDERR == 0 {
            attachment.confirmed.0 = offset.min(attachment.out).max(attachment.confirmed.0);
        } else {
            attachment.confirmed.1 = offset.min(attachment.err).max(attachment.confirmed.1);
        }
    }

    fn output(
        &mut self,
        app: Option<&AppName>,
        since: Option<u64>,
        max: Option<u32>,
        keep: bool,
    ) -> Result<Reply, Problem> {
        let task = self.task(app)?;
        let ring = &task.output().ring;
        let mut data = vec![0; max.unwrap_or(MAX_OUTPUT).min(MAX_OUTPUT) as usize];
        let wanted = since.unwrap_or_else(|| ring.oldest());
        let got = ring.read(wanted.min(ring.head()), &mut data);
        data.truncate(got.len);
        let end = got.start + got.len as u64;
        let complete = end >= ring.head() && task.is_drained(self.now);
        let exit = if complete { task.exit.clone() } else { None };
        let lost = got.start.saturating_sub(wanted);
        let name = task.name.clone();
        if let Some(task) = self.tasks.get_mut(&name) {
            task.promised = task.promised.filter(|_| !complete).map(|_| self.now);
        }
        if exit.is_some() && name == AppName::main() && !keep {
            self.collect();
        }
        Ok(Reply::Output(api::Output { start: got.start, end, lost, data: STANDARD.encode(&data), exit }))
    }

    /// The main command's output and end have reached someone.
    pub(crate) fn collect(&mut self) {
        if self.machine.as_ref().is_some_and(sessile_session::Session::has_result_to_collect) {
            self.advance(Event::Collected);
        }
    }

    fn wait_for(&mut self, id: ClientId, channel: u16, wait: &api::Wait) -> Result<Answer, Problem> {
        if self.waits.len() >= MAX_WAITS {
            return Err(Problem::new(ProblemKind::Exhausted, "too many clients wait already"));
        }
        let task = self.task(wait.app.as_ref())?;
        let pending = PendingWait::new(id, channel, wait, task, self.now)?;
        self.waits.push(pending);
        Ok(Answer::Later)
    }

    fn end(
        &mut self,
        id: ClientId,
        channel: u16,
        grace: Option<Millis>,
        by: EndedBy,
    ) -> Result<Answer, Problem> {
        let grace = grace.unwrap_or(DEFAULT_GRACE).min(MAX_GRACE);
        // Whoever asks while the wipe is on its way waits for the same receipt.
        match self.admit(&Ask::End)? {
            Admission::Granted => self.advance(Event::EndRequested { by, grace }),
            Admission::Already => {}
        }
        self.enders.push((id, channel));
        Ok(Answer::Later)
    }
}

/// Both sides of a window from 1 to its greatest.
fn check_size(size: WindowSize) -> Result<(), Problem> {
    if size.is_valid() {
        return Ok(());
    }
    let detail = format!("a terminal cannot have {}×{} cells", size.cols, size.rows);
    Err(Problem::new(ProblemKind::BadRequest, detail)
        .hint(format!("columns and rows go from 1 to {}", WindowSize::MAX)))
}

fn not_attached() -> Problem {
    Problem::new(ProblemKind::Conflict, "this channel is not attached to an app it may write to")
}

fn no_terminal() -> Problem {
    Problem::new(ProblemKind::Conflict, "this command has no terminal, so there is no screen")
        .hint("`sessile output` shows what it wrote")
}

fn no_task<'a>(name: &AppName, known: impl Iterator<Item = &'a AppName>) -> Problem {
    let known: Vec<&str> = known.map(AppName::as_str).collect();
    let problem = Problem::new(ProblemKind::NotFound, format!("no app or command named {name}"));
    if known.is_empty() {
        problem.hint("nothing was started in this session yet; `sessile exec` starts a command")
    } else {
        problem.hint(format!("there is {}", known.join(", ")))
    }
}
