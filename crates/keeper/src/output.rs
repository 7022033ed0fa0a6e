//! What apps wrote, on its way to clients: each attachment is an offset into a ring.

use std::collections::BTreeMap;

use sessile_model::ids::AppName;
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::wire::{self, Event, FrameType};
use sessile_terminal::{Scrollback, TerminalModes, token};
use zeroize::Zeroize as _;

use crate::client::{Attachment, Client, Notice, Shows};
use crate::hold::{Hold, Shown};
use crate::queries::KNOWN;
use crate::task::{Streams, Task};

/// Bytes taken from a ring at once.
const CHUNK: usize = 16 << 10;
/// Most bytes written to one terminal between two looks at everything else.
const TURN: u64 = 64 << 10;
/// How long a terminal's client that does not read may delay the news of its task's end.
const PATIENCE: Millis = Millis(2_000);

/// Fills the client's queue with what its attachments have not seen, as far as there is room.
/// Returns whether anything was queued.
pub fn serve(client: &mut Client, tasks: &mut BTreeMap<AppName, Task>, now: Timestamp) -> bool {
    let mut attachments = std::mem::take(&mut client.attachments);
    let mut queued = false;
    for (&channel, attachment) in &mut attachments {
        let Some(task) = tasks.get_mut(&attachment.task) else { continue };
        queued |= serve_one(client, channel, attachment, task, now);
        if !attachment.told_exit
            && task.is_drained(now)
            && task.promised_until() <= Some(now)
            && is_current(attachment, task, now)
            && let Some(exit) = task.exit.clone()
        {
            let_go(client, channel, attachment, Why::Over);
            client.tell(channel, &Event::Exited { exit });
            attachment.told_exit = true;
            queued = true;
        }
    }
    client.attachments = attachments;
    queued
}

/// Writes no more to the terminal that an attachment has, and tells its client.
pub fn let_go(client: &mut Client, channel: u16, attachment: &mut Attachment, why: Why) {
    let then = if why == Why::Over { Shows::ByFrames } else { Shows::Away };
    if let Shows::On(hold) = std::mem::replace(&mut attachment.shows, then) {
        let lost = why == Why::Lost;
        let last = hold.last_typed();
        client.tell(channel, &Event::LetGo { number: hold.number, modes: hold.modes(), lost, last });
    }
}

/// Why a terminal is let go of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// There is nothing more to show.
    Over,
    /// Its client asked for it.
    Asked,
    /// It is its client's no more, or gone.
    Lost,
}

/// Tells how tasks ended, to those who have not been told.
pub fn tell_exits(client: &mut Client, tasks: &BTreeMap<AppName, Task>) {
    let mut attachments = std::mem::take(&mut client.attachments);
    for (&channel, attachment) in attachments.iter_mut().filter(|(_, attachment)| !attachment.told_exit) {
        if let Some(exit) = tasks.get(&attachment.task).and_then(|task| task.exit.clone()) {
            let_go(client, channel, attachment, Why::Over);
            client.tell(channel, &Event::Exited { exit });
            attachment.told_exit = true;
        }
    }
    client.attachments = attachments;
}

/// Whether everything the task wrote has been queued for this attachment.
fn is_current(attachment: &Attachment, task: &Task, now: Timestamp) -> bool {
    !(attachment.sees_part(task) && attachment.part_is_due(task, now))
        && attachment.out >= task.output().ring.head()
        && attachment.shows.hold().is_none_or(Hold::is_empty)
        && task.error_output().is_none_or(|err| attachment.err >= err.ring.head())
}

/// Whether this attachment still has a claim on the rings of a task that has ended.
pub fn holds_end(attachment: &Attachment, task: &Task, now: Timestamp) -> bool {
    let waited = task.exited_at.map_or(Millis(0), |at| now.since(at));
    !attachment.told_exit && (attachment.raw || waited < PATIENCE)
}

fn serve_one(
    client: &mut Client,
    channel: u16,
    attachment: &mut Attachment,
    task: &mut Task,
    now: Timestamp,
) -> bool {
    if !attachment.raw && task.screen().is_some() {
        attachment.note_time(now);
    }
    match &mut attachment.shows {
        Shows::Away => return false,
        Shows::On(_) if !attachment.raw && task.screen().is_some() => {
            return show(client, channel, attachment, task, now);
        }
        Shows::ByFrames | Shows::On(_) => {}
    }
    let readable = task.readable();
    match &task.streams {
        Streams::Terminal { .. } if attachment.sees_part(task) => {
            if !client.takes_part(attachment) {
                return false;
            }
            let Some(part) = attachment.next_part(task, now) else { return false };
            client.put_numbered(FrameType::Dump, 0, channel, wire::NO_OFFSET, &part);
            true
        }
        Streams::Terminal { output, screen, .. } if !attachment.raw => {
            let behind = screen.offset().saturating_sub(attachment.out);
            let oldest = output.ring.oldest().max(task.queries.known_from()).max(screen.resized_at());
            if attachment.needs_screen() || attachment.out < oldest || behind > KNOWN {
                if client.room() == 0 {
                    return false;
                }
                let (offset, dump) = draw(attachment, task, oldest, now);
                client.put_numbered(FrameType::Dump, 0, channel, offset, &dump);
                return true;
            }
            let conceal = |start, bytes: &mut [u8]| task.queries.conceal(attachment.client, start, bytes);
            copy(client, channel, &output.ring, &mut attachment.out, readable, 0, conceal)
        }
        Streams::Terminal { output, .. } => {
            copy(client, channel, &output.ring, &mut attachment.out, u64::MAX, 0, as_it_is)
        }
        Streams::Pipes { out, err, .. } => {
            let some = copy(client, channel, &out.ring, &mut attachment.out, u64::MAX, 0, as_it_is);
            let flag = wire::FLAG_STDERR;
            copy(client, channel, &err.ring, &mut attachment.err, u64::MAX, flag, as_it_is) | some
        }
    }
}

/// What draws the screen for an attachment, which goes on from the offset that comes with it.
fn draw(attachment: &mut Attachment, task: &mut Task, oldest: u64, now: Timestamp) -> (u64, Vec<u8>) {
    let Some(screen) = task.screen() else { return (attachment.out, Vec::new()) };
    // Lines that scrolled off are for who comes; who fell behind has had them, or most.
    let scrollback = if attachment.fresh { Scrollback::With } else { Scrollback::Without };
    let oldest = if task.exit.is_some() { u64::MAX } else { oldest };
    let (offset, dump) = screen.dump_understood(scrollback, oldest);
    // One who comes is given a token: it comes back where its terminal is this very one.
    let token = if attachment.fresh { token(attachment.client) } else { Vec::new() };
    let from = if attachment.fresh { 0 } else { attachment.out };
    attachment.fresh = false;
    attachment.notice = Notice::None;
    attachment.out = offset;
    let answers = task.queries.skipped(attachment.client, from, offset, now);
    task.answer(answers);
    let left = attachment.view.take().map(|view| view.leave()).unwrap_or_default();
    (offset, [left, token, dump].concat())
}

/// Writes to the terminal that an attachment has. Returns whether anything was queued for its client.
fn show(
    client: &mut Client,
    channel: u16,
    attachment: &mut Attachment,
    task: &mut Task,
    now: Timestamp,
) -> bool {
    let Shows::On(mut hold) = std::mem::take(&mut attachment.shows) else { return false };
    let until = attachment.out.saturating_add(TURN);
    let mut told = false;
    let shown = loop {
        let mut changes = |modes: &TerminalModes| {
            told = true;
            let modes = serde_json::to_string(modes).unwrap_or_default();
            client.tell(channel, &Event::Changed { modes });
        };
        let shown = hold.write(&mut changes);
        if shown != Shown::All || attachment.out >= until || !next(&mut hold, attachment, task, now) {
            break shown;
        }
    };
    attachment.shows = Shows::On(hold);
    if shown == Shown::Lost {
        lose(client, channel, attachment, task, Why::Lost, now);
        return true;
    }
    told
}

/// Takes what an attachment is to be shown next. Returns whether there is anything.
fn next(hold: &mut Hold, attachment: &mut Attachment, task: &mut Task, now: Timestamp) -> bool {
    if attachment.sees_part(task) {
        if std::mem::take(&mut hold.redraw)
            && let Some(view) = &mut attachment.view
        {
            view.forget();
        }
        let part = attachment.next_part(task, now);
        let is_news = part.is_some();
        if let Some(part) = part {
            *hold.put() = part;
        }
        return is_news;
    }
    let readable = task.readable();
    let Streams::Terminal { output, screen, .. } = &task.streams else { return false };
    let behind = screen.offset().saturating_sub(attachment.out);
    let oldest = output.ring.oldest().max(task.queries.known_from()).max(screen.resized_at());
    if attachment.needs_screen() || hold.redraw || attachment.out < oldest || behind > KNOWN {
        hold.redraw = false;
        let before = hold.before_dump();
        *hold.put() = [before, draw(attachment, task, oldest, now).1].concat();
        return true;
    }
    let most = readable.min(output.ring.head()).saturating_sub(attachment.out).min(CHUNK as u64);
    if most == 0 {
        return false;
    }
    let bytes = hold.put();
    bytes.resize(most as usize, 0);
    let got = output.ring.read(attachment.out, bytes);
    let shown = task.queries.conceal(attachment.client, got.start, &mut bytes[..got.len]);
    bytes[shown..].zeroize();
    bytes.truncate(shown);
    attachment.out = got.start + shown as u64;
    shown > 0
}

/// Nothing more is shown to an attachment for now, and what its terminal was asked is answered in its place.
pub fn lose(
    client: &mut Client,
    channel: u16,
    attachment: &mut Attachment,
    task: &mut Task,
    why: Why,
    now: Timestamp,
) {
    let_go(client, channel, attachment, why);
    let answers = task.queries.left(attachment.client, now);
    task.answer(answers);
}

/// Output that nothing is concealed of.
fn as_it_is(_: u64, bytes: &mut [u8]) -> usize {
    bytes.len()
}

/// Queues ring bytes from `*from` up to `limit`, as far as there is room, and as far as `conceal`
/// leaves them.
fn copy(
    client: &mut Client,
    channel: u16,
    ring: &sessile_anchor::ring::Ring,
    from: &mut u64,
    limit: u64,
    flags: u8,
    conceal: impl Fn(u64, &mut [u8]) -> usize,
) -> bool {
    if limit.min(ring.head()) <= *from {
        return false;
    }
    let mut chunk = [0u8; CHUNK];
    let mut queued = false;
    loop {
        let want = CHUNK.min(client.room()).min(limit.saturating_sub(*from).min(CHUNK as u64) as usize);
        if want == 0 {
            return queued;
        }
        let got = ring.read(*from, &mut chunk[..want]);
        if got.len == 0 {
            return queued;
        }
        let shown = conceal(got.start, &mut chunk[..got.len]);
        client.put_numbered(FrameType::Output, flags, channel, got.start, &chunk[..shown]);
        chunk[..got.len].zeroize();
        *from = got.start + shown as u64;
        queued = true;
    }
}

/// The floors that raw attachments put under a task's rings: the least that any has confirmed.
/// `None`: nobody holds the pumps back.
pub fn floors<'a>(task: &AppName, clients: impl Iterator<Item = &'a Client>) -> (Option<u64>, Option<u64>) {
    let raw = clients
        .flat_map(|client| client.attachments.values())
        .filter(|a| a.raw && !a.read_only && a.task == *task)
        .map(|a| a.confirmed);
    raw.fold((None, None), |(out, err), (o, e)| {
        (Some(out.map_or(o, |x: u64| x.min(o))), Some(err.map_or(e, |x: u64| x.min(e))))
    })
}
