//! What is typed, on its way to the app it is typed to.

use rustix::io::Errno;
use sessile_model::ids::AppName;
use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::wire::{self, Pastes, Reply};
use sessile_model::{Problem, ProblemKind};
use sessile_terminal::Said;

use crate::client::ClientId;
use crate::keeper::Keeper;
use crate::queries::Heard;
use crate::roles::Place;
use crate::task::{Input, InputSource, PendingInput, Streams, Task};

/// How long an app may take nothing of what a request typed.
const PATIENCE: Millis = Millis(20_000);
/// Why an attachment is ended whose client sends more at once.
const TOO_LONG: &str =
    "a frame of input has more than 4096 bytes: nothing of it was written, nor of what follows";

impl Task {
    /// When what requests typed is given up, where some waits.
    pub(crate) fn given_up_at(&self) -> Option<Timestamp> {
        let is_request = |pending: &PendingInput| match pending {
            PendingInput::Bytes { from, .. } => matches!(from, InputSource::Request { .. }),
            PendingInput::End => false,
        };
        self.pending.iter().any(is_request).then(|| self.fed_at.plus(PATIENCE))
    }
}

impl Keeper {
    /// Takes a frame of input.
    pub(crate) fn input_frame(&mut self, id: ClientId, channel: u16, payload: &[u8]) {
        let Ok((sequence, bytes)) = wire::split_number(payload) else { return };
        let attachment = self.clients.get(&id).and_then(|c| c.attachments.get(&channel));
        let Some(client) = attachment.map(|attachment| attachment.client) else { return };
        if bytes.len() > wire::MAX_INPUT {
            // What comes behind it would confirm it too.
            return self.break_off((id, channel), TOO_LONG);
        }
        let source = InputSource::Frame { connection: id, channel, client, sequence };
        if self.input((id, channel), source, bytes) == Input::Dropped
            && let Some(client) = self.clients.get_mut(&id)
        {
            // It is not to be sent again later.
            client.confirm(channel, sequence, bytes.len(), self.now);
        }
    }

    /// Takes input of an attachment.
    pub(crate) fn input(&mut self, place: Place, source: InputSource, bytes: &[u8]) -> Input {
        let (id, channel) = place;
        let attachment = self.clients.get_mut(&id).and_then(|c| c.attachments.get_mut(&channel));
        let Some(attachment) = attachment.filter(|attachment| !attachment.read_only) else {
            return Input::Ignored;
        };
        let client = attachment.client;
        let name = attachment.task.clone();
        let said = if attachment.raw { vec![Said::Typed] } else { attachment.replies.read(bytes) };
        let Some(task) = self.tasks.get_mut(&name) else { return Input::Ignored };
        let heard = task.queries.hear(client, &said);
        let types = heard == Heard::Typed;
        if heard != Heard::Answers && !task.may_type(place, attachment) {
            return Input::Dropped;
        }
        if types {
            task.typist = Some(place);
            self.count_typed(&name, Some(client), bytes.len());
        }
        self.push_input(&name, source, bytes.to_vec());
        if types {
            // A terminal that refuses a size it accepted before has gone; its end is told apart.
            let _ = self.follow_size(&name, place);
        }
        Input::Taken
    }

    /// Has a task given bytes, behind those that wait.
    pub(crate) fn push_input(&mut self, name: &AppName, from: InputSource, bytes: Vec<u8>) {
        self.active_now();
        if let Some(task) = self.tasks.get_mut(name) {
            if task.pending.is_empty() {
                task.fed_at = self.now;
            }
            task.pending.push_back(PendingInput::Bytes { from, bytes, written: 0 });
        }
    }

    /// Writes input that waits, as far as its tasks take it now. Returns whose did.
    pub(crate) fn write_pending_input(&mut self) -> Vec<AppName> {
        let names: Vec<AppName> =
            self.tasks.iter().filter(|(_, t)| !t.pending.is_empty()).map(|(n, _)| n.clone()).collect();
        for name in &names {
            while self.write_one(name) {}
        }
        names
    }

    /// Writes the first pending input of a task. Returns whether to go on with the next.
    fn write_one(&mut self, name: &AppName) -> bool {
        let Some(task) = self.tasks.get_mut(name) else { return false };
        let Some(front) = task.pending.front_mut() else { return false };
        let PendingInput::Bytes { from, bytes, written } = front else {
            task.pending.pop_front();
            self.close_input(name);
            return true;
        };
        let (from, was) = (*from, *written);
        if was == 0
            && let InputSource::Frame { client, sequence, .. } = from
            && let Some(ledger) = &mut self.ledger
        {
            ledger.begin(client, sequence);
        }
        let sink = match &mut task.streams {
            Streams::Terminal { master, output, .. } => {
                if from != InputSource::Screen {
                    output.borrow();
                }
                Some(&*master)
            }
            Streams::Pipes { stdin, .. } => stdin.as_ref(),
        };
        let outcome = match sink {
            Some(sink) => rustix::io::write(sink, &bytes[was..]),
            None => Err(Errno::PIPE),
        };
        // What the screen model answers is nobody's input.
        if let (Ok(n), Some(recorder)) = (outcome, &mut task.recorder)
            && from != InputSource::Screen
        {
            recorder.input(&bytes[was..was + n], self.now);
        }
        if outcome.is_ok_and(|n| n > 0) {
            task.fed_at = self.now;
        }
        match outcome {
            Ok(n) if was + n < bytes.len() => {
                *written = was + n;
                return true;
            }
            Err(Errno::AGAIN) => return false,
            Err(Errno::INTR) => return true,
            // Nobody reads any more: like a shell's pipe, what is left is dropped.
            Ok(_) | Err(_) => bytes.fill(0),
        }
        let (refused, length) = (outcome.is_err(), bytes.len());
        task.pending.pop_front();
        if let (Some((client, sequence)), Some(ledger)) = (from.numbered(), &mut self.ledger) {
            ledger.finish(client, sequence);
        }
        match from {
            InputSource::Frame { connection, channel, sequence, .. } => {
                if let Some(c) = self.clients.get_mut(&connection) {
                    c.confirm(channel, sequence, length, self.now);
                }
            }
            InputSource::Request { connection, channel, current } => {
                let reply = if refused {
                    Reply::Problem(Problem::new(ProblemKind::Conflict, "the command reads no input any more"))
                } else {
                    current.map_or(Reply::Done, Reply::Typed)
                };
                self.reply(connection, channel, &reply);
            }
            InputSource::Terminal { .. } | InputSource::Screen => {}
        }
        if refused {
            self.close_input(name);
        }
        true
    }

    /// Gives up on what requests typed, where nothing of it was taken for long.
    pub(crate) fn give_up_on_input(&mut self) {
        let mut told = Vec::new();
        for task in self.tasks.values_mut().filter(|task| task.given_up_at().is_some_and(|at| at <= self.now))
        {
            let name = task.name.clone();
            task.pending.retain_mut(|pending| {
                let PendingInput::Bytes { from, bytes, written } = pending else { return true };
                let InputSource::Request { connection, channel, .. } = *from else { return true };
                bytes.fill(0);
                told.push((connection, channel, name.clone(), *written, bytes.len()));
                false
            });
        }
        for (connection, channel, name, taken, all) in told {
            let detail =
                format!("{name} has taken {taken} of the last {all} bytes, and nothing for {PATIENCE}");
            let problem = Problem::new(ProblemKind::Timeout, detail);
            let hint =
                "it reads no input now; what it did not take was dropped: type that again when it reads";
            self.reply(connection, channel, &Reply::Problem(problem.hint(hint)));
        }
    }

    /// Closes a task's standard input. A terminal's stays open.
    pub(crate) fn close_input(&mut self, name: &AppName) {
        let Some(task) = self.tasks.get_mut(name) else { return };
        if let Streams::Pipes { stdin, out, .. } = &mut task.streams
            && stdin.take().is_some()
        {
            let _ = self.seat.link.remove(&format!("io/{}/sink", out.io));
            task.pending.clear();
        }
    }
}

/// Lines as a shell that takes pastes reads them as one command, with what ends it behind; `None` for a single line, and
/// for what holds other keys.
pub fn pasted(typed: &[u8]) -> Option<Vec<u8>> {
    let is_end = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let text = typed.trim_ascii_end();
    let end = typed.get(text.len()..).and_then(|end| end.last()).filter(|end| is_end(end))?;
    let is_text = |byte: &u8| is_end(byte) || *byte == b'\t' || !byte.is_ascii_control();
    let lines = text.iter().any(is_end) && text.iter().all(is_text);
    let [begin, over] = Pastes::MARKS;
    lines.then(|| [begin, text, over, &[*end]].concat())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_pasted_and_nothing_else() {
        assert_eq!(pasted(b"a\n\tb\r").unwrap(), b"\x1b[200~a\n\tb\x1b[201~\r");
        assert_eq!(pasted(b"a\nb\n\n").unwrap(), b"\x1b[200~a\nb\x1b[201~\n");
        for typed in
            [&b""[..], b"\r", b"a\r", b"a\n", b"a\nb", b"a\nb\x03\r", b"a\n\x1b[201~b\r", b"\x0ba\nb\r"]
        {
            assert_eq!(pasted(typed), None, "{:?}", typed.escape_ascii());
        }
    }
}
