//! The session's guard, as the keeper sees it: started when the first line is to pass, told what to judge,
//! listened to, ended.
//!
//! ```text
//!  a line ─► admitted ─► guard ─► decided: audit ─► admitted again ─► log ─► said
//!                          │            └─ confirm: question, audit ─┘
//!                          └─ dead or silent: refused
//! ```
//!
//! The keeper never waits for it: a line that is not judged yet is looked at again. What guards know is with the
//! anchor (`guard/memory`, secret memory), so one that dies, alone or with its keeper, is followed by one that knows the same values.

mod answerer;
mod given;
mod memory;
mod outgoing;
mod passage;
mod questions;
mod told;

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

use rustix::process::{Signal, pidfd_send_signal};
use serde::{Deserialize, Serialize};
use sessile_journal::audit::{Audit, AuditError};
use sessile_model::guarding::{
    AuditEntry, GuardReceipt, Judgement, Memory, Numbered, Order, Report, Text, VERSION,
};
use sessile_model::hex;
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::receipt::Residue;
use sessile_model::{Problem, ProblemKind};
use sessile_sandbox::service::{self, ServicePlan};
use sessile_sandbox::wipe::overwrite_file;
use sessile_vault::keys::Purpose;

pub use passage::{Passage, Passed, Passing, What};
pub use questions::FIRST_QUESTION;
pub use told::Watched;

use crate::bringup::failed;
use crate::keeper::Keeper;
use crate::route::{ends, link};
use memory::{Former, Kept};

/// Guards that are started within [`WINDOW`]; then lines are refused until it has passed.
const STARTS: usize = 5;
const WINDOW: Millis = Millis(60_000);
/// How long a guard may take to say what it is asked, its start included.
const PATIENCE: Millis = Millis(8_000);
/// How long it may take to end by itself.
const FAREWELL: Duration = Duration::from_millis(900);
/// How far its user id is from the first of the session's.
const USER_OFFSET: u32 = 1002;
/// Names under which the anchor keeps what is the guard's.
const IMAGE: &str = "guard/image";
const PROCESS: &str = "guard/process";
const MEMORY: &str = "guard/memory";

/// What the record and the receipt say of a session's guard. A session without is not guarded.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct GuardFacts {
    /// From 0, public, to 4, critical: the most that has passed.
    sensitivity: u8,
    /// As last told.
    risk: u32,
    refused: u64,
    redacted: u64,
    asked: u64,
    /// Why what it knows is less protected than memory can be.
    weaker_because: Option<String>,
    /// Messages that were said, once the conversation is over.
    messages: u64,
    /// What became of it, once it is erased.
    erased: Option<GuardReceipt>,
}

impl GuardFacts {
    /// What the receipt says.
    pub(crate) fn receipt(&self) -> Option<GuardReceipt> {
        self.erased.clone()
    }
}

/// What the keeper holds of its session's guard.
#[derive(Debug, Default)]
pub struct GuardState {
    image: Option<OwnedFd>,
    house: Option<House>,
    /// When guards were started.
    starts: Vec<Timestamp>,
    memory: Option<Kept>,
    /// What guards knew, as the version before kept it.
    former: Option<Former>,
    given: given::Given,
    audit: Option<Audit>,
    /// The last matter's number.
    last: u32,
    /// What it was asked and has not said.
    asked: Option<Asked>,
    /// What the last guard was asked that ended before it had begun: nothing has looked at it.
    unseen: Option<u32>,
    /// What it has said, and nobody has heard yet.
    judged: BTreeMap<u32, Box<Judgement>>,
    /// Lines that wait for somebody's answer.
    held: BTreeMap<u32, questions::Held>,
    /// Why the gateway was given none, where it was given none last.
    unfit: Option<String>,
    /// One was killed rather than asked to end.
    killed: bool,
}

#[derive(Debug)]
struct House {
    link: OwnedFd,
    process: OwnedFd,
    /// It has begun.
    is_ready: bool,
}

/// A matter that the guard is looking at.
#[derive(Debug)]
struct Asked {
    number: u32,
    at: Timestamp,
    /// Nobody waits for it any more.
    is_given_up: bool,
}

impl GuardState {
    /// What a predecessor left with the anchor. A guard of its own is ended: it hears nobody any more.
    pub(crate) fn adopt(store: &mut BTreeMap<String, OwnedFd>) -> Self {
        let process = store.remove(PROCESS);
        if let Some(process) = &process {
            let _ = pidfd_send_signal(process, Signal::KILL);
        }
        let file = store.remove(MEMORY);
        let again = file.as_ref().and_then(|file| file.try_clone().ok());
        let memory = again.and_then(|file| Kept::adopt(file).ok());
        let former = file.filter(|_| memory.is_none()).and_then(Former::adopt);
        let image = store.remove(IMAGE);
        let mut state = Self { image, memory, former, killed: process.is_some(), ..Self::default() };
        state.adopt_given(store);
        state
    }

    /// The program of guards and relays.
    pub(crate) fn image(&self) -> Option<BorrowedFd<'_>> {
        self.image.as_ref().map(|image| image.as_fd())
    }

    /// The link to watch.
    pub(crate) fn link(&self) -> Option<BorrowedFd<'_>> {
        self.house.as_ref().map(|house| house.link.as_fd())
    }
}

impl Keeper {
    /// Makes ready what a guard needs, where the session has something to guard.
    pub(crate) fn prepare_guard(&mut self) -> Result<GuardFacts, Problem> {
        let kept = Kept::create().map_err(|e| failed("no memory for the guard", &e))?;
        self.keep(MEMORY, &kept).map_err(|e| failed("the anchor", &e))?;
        let weaker_because = kept.weaker_because().map(str::to_owned);
        self.guard.memory = Some(kept);
        self.guard.audit = Some(self.open_audit().map_err(|e| failed("the session's audit", &e))?);
        Ok(GuardFacts { weaker_because, ..GuardFacts::default() })
    }

    /// Takes what the version before kept in an ordinary memory file into secret memory. Where that fails
    /// nothing passes: what guards knew is lost.
    fn secure_memory(&mut self) {
        let Some(former) = self.guard.former.take() else { return };
        if let Ok(kept) = former.kept()
            && self.keep(MEMORY, &kept).is_ok()
        {
            self.guard.memory = Some(kept);
        }
        let _ = overwrite_file(former.file());
    }

    fn open_audit(&self) -> Result<Audit, AuditError> {
        Audit::open(&self.seat.state, self.seat.id)
    }

    /// Goes on with the audit of a predecessor. What is to be told where that is not possible: then no line
    /// passes.
    pub(crate) fn heed_audit(&mut self) -> Option<String> {
        self.facts.as_ref()?.guard.as_ref().filter(|guard| guard.erased.is_none())?;
        self.secure_memory();
        match self.open_audit() {
            Ok(mut audit) => {
                if self.may_route() && self.guard.memory.as_ref().is_some_and(|kept| kept.has_judged) {
                    // The next line comes soon, and says what is wrong where this fails.
                    let _ = self.start_guard();
                }
                // A matter's number, and a question's, is never another's.
                let numbers = Numbered::of(&audit.take_entries());
                self.guard.last = numbers.last;
                self.guard.audit = Some(audit);
                // Whoever waited asks again, and what they ask is another matter.
                let given_up = numbers
                    .open
                    .into_iter()
                    .try_for_each(|number| self.close(number, "given up with its keeper"));
                given_up.err().map(|problem| problem.detail)
            }
            Err(error) => Some(format!("the guard lets nothing pass: {error}")),
        }
    }

    /// Starts the guard, unless it runs.
    fn start_guard(&mut self) -> Result<(), Problem> {
        if self.guard.house.is_some() {
            return Ok(());
        }
        let now = self.now;
        self.guard.starts.retain(|&at| now.since(at) < WINDOW);
        if self.guard.starts.len() >= STARTS {
            return Err(down("it does not stay up").hint("try again in a minute"));
        }
        self.guard.starts.push(now);
        self.begin_guard().inspect_err(|_| self.cut_guard())
    }

    fn begin_guard(&mut self) -> Result<(), Problem> {
        let missing = || down("this session was opened without its program");
        let image = self.guard.image.as_ref().ok_or_else(missing)?;
        let memory = self.guard.memory.as_ref().and_then(|kept| kept.read().ok());
        let memory = memory.ok_or_else(|| down("what it knew is lost"))?;
        let key = self.root_key.as_ref().ok_or_else(|| down("the session has no keys"))?;
        let key = Text(hex::text(key.derive(&Purpose::Guard).expose()));
        let (ours, theirs) = link::pair().map_err(|e| failed("the guard's link", &e))?;
        let facts = self.facts()?;
        let spec = facts.spec.guard.clone();
        let plan = ServicePlan {
            name: c"sessile-guard",
            arguments: &[],
            image: image.as_fd(),
            socket: Some(theirs.as_fd()),
            folder: None,
            anchor: self.seat.anchor.as_fd(),
            user: facts.subordinate_base.map(|base| base + USER_OFFSET),
        };
        let (_, process) = service::start(&plan).map_err(|e| failed("the guard", &e))?;
        let kept = self.keep(PROCESS, &process);
        self.guard.house = Some(House { link: ours, process, is_ready: false });
        kept.map_err(|e| failed("the anchor", &e))?;
        let (given, variables) = (self.given_values(), self.given_variables());
        self.order_guard(&Order::Begin { version: VERSION, spec, key, memory, given, variables })
    }

    fn order_guard(&self, order: &Order) -> Result<(), Problem> {
        let Some(house) = &self.guard.house else { return Ok(()) };
        link::send(&house.link, order, &[]).map_err(|e| failed("the guard takes no orders", &e))
    }

    /// Takes what the guard says.
    pub(crate) fn hear_guard(&mut self) {
        loop {
            let Some(house) = &self.guard.house else { return };
            match link::receive(&house.link) {
                Ok(Some(report)) => self.take_guard_report(report),
                Ok(None) => return,
                Err(_) => return self.cut_guard(),
            }
        }
    }

    fn take_guard_report(&mut self, report: Report) {
        match report {
            Report::Unknown => {}
            Report::Ready { weaker_because } => {
                let kept = self.guard.memory.as_ref().and_then(Kept::weaker_because);
                let weaker_because = weaker_because.or_else(|| kept.map(str::to_owned));
                if let Some(house) = &mut self.guard.house {
                    house.is_ready = true;
                }
                if self
                    .facts
                    .as_ref()
                    .and_then(|facts| facts.guard.as_ref())
                    .is_some_and(|guard| guard.weaker_because != weaker_because)
                {
                    self.note_guard(|guard| guard.weaker_because = weaker_because);
                }
            }
            // What waits is refused.
            Report::Failed { .. } => self.cut_guard(),
            Report::Risk { level, risk } => {
                self.keep_memory(|memory| memory.risk = risk);
                self.note_guard(|facts| facts.risk = level);
            }
            Report::Weighed { ticket, weighed } => self.weigh(ticket, *weighed),
            Report::Left { ticket } => self.leave_part(ticket),
            Report::Judged { number, judgement } => {
                let Some(asked) = self.guard.asked.take_if(|asked| asked.number == number) else { return };
                if asked.is_given_up {
                    // One that takes no orders is found out by its link.
                    let _ = self.order_guard(&Order::Dropped { number });
                } else {
                    self.guard.judged.insert(number, judgement);
                }
            }
        }
    }

    /// Ends a guard that has been silent for too long.
    pub(crate) fn check_guard(&mut self) {
        self.settle_parts();
        let now = self.now;
        let is_late = |asked: &Asked| now.since(asked.at) >= PATIENCE;
        if self.guard.asked.as_ref().is_some_and(is_late) {
            // It may have said it while this keeper was stopped.
            self.hear_guard();
        }
        if self.guard.asked.as_ref().is_some_and(is_late) {
            self.cut_guard();
        }
    }

    /// When the guard is to have said what it was asked.
    pub(crate) fn guard_is_due(&self) -> Option<Timestamp> {
        let asked = self.guard.asked.as_ref().map(|asked| asked.at.plus(PATIENCE));
        asked.into_iter().chain(self.held_until()).min()
    }

    /// Kills the guard. What it was asked is not said; the next line starts another.
    fn cut_guard(&mut self) {
        let asked = self.guard.asked.take().map(|asked| asked.number);
        self.leave_parts();
        let Some(house) = self.guard.house.take() else { return };
        self.guard.unseen = asked.filter(|_| !house.is_ready);
        let _ = pidfd_send_signal(&house.process, Signal::KILL);
        self.guard.killed = true;
        let _ = self.seat.link.remove(PROCESS);
    }

    /// Changes what guards know, lastingly. Returns whether it is so.
    fn keep_memory(&mut self, change: impl FnOnce(&mut Memory)) -> bool {
        self.guard.memory.as_mut().is_some_and(|kept| kept.change(change).is_ok())
    }

    /// Writes a line of the audit; what is not in it is not done.
    fn audit(&mut self, entry: &AuditEntry, lasting: bool) -> Result<(), Problem> {
        let audit = self.guard.audit.as_mut().ok_or_else(|| down("its audit cannot be written"))?;
        let written = audit.append(entry).and_then(|()| if lasting { audit.sync() } else { Ok(()) });
        written.map_err(|error| {
            let kind = match &error {
                AuditError::Full => ProblemKind::Exhausted,
                AuditError::Io(_) | AuditError::Encode(_) | AuditError::Broken(_) => ProblemKind::Failed,
            };
            Problem::new(kind, format!("the guard lets nothing pass: {}", crate::bringup::causes(&error)))
        })
    }

    /// Writes that something which was held is not done, though nobody has answered.
    fn close(&mut self, number: u32, why: &str) -> Result<(), Problem> {
        let entry = AuditEntry::given_up(number, self.now, why);
        self.audit(&entry, true)
    }

    /// Nobody waits any more for the held that are meant: the audit says so.
    fn give_up_held(&mut self, why: &str, is_meant: impl Fn(u32, &questions::Held) -> bool) {
        let gone: Vec<u32> = self
            .guard
            .held
            .extract_if(.., |question, held| is_meant(*question, held))
            .map(|(question, _)| question)
            .collect();
        for question in gone {
            // Where it cannot be written nothing passes any more either.
            let _ = self.close(question - FIRST_QUESTION, why);
        }
    }

    /// Notes something of the guard for the record.
    fn note_guard(&mut self, note: impl FnOnce(&mut GuardFacts)) {
        if let Some(guard) = self.facts.as_mut().and_then(|facts| facts.guard.as_mut()) {
            note(guard);
            self.changed = true;
        }
    }

    /// Sets the risk to nothing, which is in the audit before.
    pub(crate) fn reset_risk(&mut self, why: &str) -> Result<(), Problem> {
        if why.trim().is_empty() {
            return Err(Problem::new(ProblemKind::BadRequest, "say why: it is journaled"));
        }
        let level = self.facts()?.guard.as_ref().map(|guard| guard.risk);
        let level = level.ok_or_else(|| {
            Problem::new(
                ProblemKind::Conflict,
                "the session has no guard yet: nothing has come that passes one",
            )
        })?;
        let why = crate::route::short_reason(why);
        self.audit(&AuditEntry::RiskReset { at: self.now, level, why: why.clone() }, true)?;
        self.keep_memory(|memory| memory.risk = serde_json::Value::Null);
        self.note_guard(|guard| guard.risk = 0);
        let (at_ms, who) = (self.session_ms(), "operator".to_owned());
        let told = self.order_guard(&Order::ResetRisk { at_ms, who, why });
        if told.is_err() {
            // The next one begins with none.
            self.cut_guard();
        }
        Ok(())
    }

    /// The wipe's part: the guard overwrites what it knows and ends, and what was kept for its successor
    /// is overwritten.
    pub(crate) fn erase_guard(&mut self) -> Option<std::io::Result<u64>> {
        let ended = self.guard.house.take().is_none_or(|house| {
            let asked = link::send(&house.link, &Order::Quit, &[]).is_ok();
            let ended = asked && ends(&house.process, FAREWELL);
            if !ended {
                let _ = pidfd_send_signal(&house.process, Signal::KILL);
                self.guard.killed = true;
            }
            ended
        });
        self.guard.image = None;
        for name in [PROCESS, IMAGE] {
            let _ = self.seat.link.remove(name);
        }
        let messages = self.messages();
        let former = self.guard.former.take().map(|former| overwrite_file(former.file()));
        let overwritten = self.guard.memory.take().map(Kept::overwrite).or(former);
        let _ = self.seat.link.remove(MEMORY);
        self.give_up_held("given up with its session", |_, _| true);
        let audit = self.guard.audit.take();
        if let Some(audit) = &audit {
            // The receipt says how many lines there are; where they are not lasting, that is seen.
            let _ = audit.sync();
        }
        let (killed, bytes) =
            (self.guard.killed, overwritten.as_ref().and_then(|done| done.as_ref().ok().copied()));
        self.note_guard(|facts| {
            facts.messages = messages;
            facts.erased.get_or_insert_with(|| GuardReceipt {
                overwritten: bytes.unwrap_or(0),
                ended: ended && !killed,
                entries: audit.as_ref().map_or(0, Audit::entries),
                head: audit.as_ref().map_or_else(String::new, Audit::head),
            });
        });
        overwritten
    }

    /// What a guard that was killed may have left in memory.
    pub(crate) fn guard_residue(&self) -> Option<Residue> {
        self.guard.killed.then(|| Residue {
            what: "the guard's memory".to_owned(),
            why: "a guard was killed, or died, before it could overwrite what it knew".to_owned(),
            mend: Some("boot with init_on_free=1".to_owned()),
        })
    }
}

/// Why nothing passes: that is nobody's fault who speaks.
fn down(why: &str) -> Problem {
    Problem::new(ProblemKind::Failed, format!("the session's guard lets nothing pass: {why}"))
}
