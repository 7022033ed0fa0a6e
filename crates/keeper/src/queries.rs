//! What an app asks of its terminal, and who answers: of the clients that may type one, else the
//! keeper. Never two, and never nobody.
//!
//! ```text
//!  asked ── nobody is attached ──────────► answered by the screen model
//!    └── somebody is ──► open, to one ──► answered by that terminal
//!                             └── it leaves, or never gets the question ──► by the screen model
//! ```
//!
//! In what the others are given, a question is so many NUL bytes. Which client was asked from which
//! offset on outlives the keeper, so that a successor shows each question to the same one.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

use sessile_model::quantity::{Millis, Timestamp};
use sessile_terminal::{Question, Said};

use crate::client::{Client, ClientId};
use crate::task::Task;

/// How far back questions are known, in bytes: a terminal's client that is further behind gets a fresh
/// screen instead of what it missed.
pub const KNOWN: u64 = 512 << 10;
/// Most questions that are known.
const MAX_KNOWN: usize = 16 << 10;
/// Most questions that wait for a client's answer.
const MAX_OPEN: usize = 256;
/// How long an answer is waited for. Not every terminal answers every question, and an app that has
/// given up takes a late answer for input.
const PATIENCE: Millis = Millis(3_000);
/// Most changes of who answers that are kept.
pub const MAX_TURNS: usize = 32;
/// Ends a sequence that a client was given the beginning of.
const CANCEL: u8 = 0x18;

/// What a client sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Answers that were awaited, and nothing else.
    Answers,
    /// What its terminal told unasked, and perhaps answers.
    Told,
    /// Somebody typed.
    Typed,
}

/// From this offset on, who answers: a client by its number, 0 for the keeper.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The ring offset.
    pub from: u64,
    /// The client's number.
    pub client: u64,
}

/// What was asked on one terminal.
#[derive(Debug, Default)]
pub struct Queries {
    /// Lately, in order.
    asked: VecDeque<Asked>,
    /// No question from this offset on is missing in `asked`.
    known_from: u64,
    /// Clients were asked and have not answered.
    open: VecDeque<Open>,
    turns: Vec<Turn>,
    /// Questions up to this offset were settled by a predecessor.
    settled: u64,
}

#[derive(Debug)]
struct Asked {
    at: Range<u64>,
    client: u64,
}

#[derive(Debug)]
struct Open {
    question: Question,
    client: u64,
    since: Timestamp,
}

impl Queries {
    /// What a predecessor left: questions from `known_from` on are read again, and those up to
    /// `settled` were settled, by whose turn it was.
    pub fn adopt(known_from: u64, settled: u64, turns: Vec<Turn>) -> Self {
        Self { known_from, settled, turns, ..Self::default() }
    }

    /// Takes note of a question. Returns what is to be answered at once.
    pub fn ask(&mut self, question: Question, answerer: Option<u64>, now: Timestamp) -> Vec<u8> {
        let at = question.at.clone();
        if at.end <= self.settled {
            let client = self.turn_at(at.end);
            self.know(at, client);
            return Vec::new();
        }
        let client = answerer.unwrap_or(0);
        if self.turns.last().map_or(0, |turn| turn.client) != client {
            if self.turns.len() == MAX_TURNS {
                self.turns.remove(0);
            }
            self.turns.push(Turn { from: at.end - 1, client });
        }
        self.know(at, client);
        if client == 0 {
            return question.answer;
        }
        if self.open.len() == MAX_OPEN {
            self.open.pop_front();
        }
        self.open.push_back(Open { question, client, since: now });
        Vec::new()
    }

    /// Who answers from which offset on, the latest last.
    pub fn turns(&self) -> &[Turn] {
        &self.turns
    }

    /// Whose turn it was when the question was complete that ends here.
    fn turn_at(&self, end: u64) -> u64 {
        self.turns.iter().rev().find(|turn| turn.from < end).map_or(0, |turn| turn.client)
    }

    fn know(&mut self, at: Range<u64>, client: u64) {
        // Several may be asked by one sequence.
        if self.asked.back().is_some_and(|last| last.at.end >= at.end) {
            return;
        }
        if self.asked.len() == MAX_KNOWN {
            self.forget_oldest();
        }
        self.asked.push_back(Asked { at, client });
    }

    /// Forgets what nobody needs where the terminal has written up to `offset`.
    pub fn forget_before(&mut self, offset: u64) {
        let known = offset.saturating_sub(KNOWN);
        while self.asked.front().is_some_and(|asked| asked.at.end <= known) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some(asked) = self.asked.pop_front() {
            self.known_from = self.known_from.max(asked.at.end);
        }
    }

    /// From where on it is known what is a question.
    pub fn known_from(&self) -> u64 {
        self.known_from
    }

    /// Makes NUL bytes of the questions that are not this client's, in output that begins at `start`.
    /// Returns how much of it to send: a question is not parted.
    pub fn conceal(&self, client: u64, start: u64, bytes: &mut [u8]) -> usize {
        let end = start + bytes.len() as u64;
        let first = self.asked.partition_point(|asked| asked.at.end <= start);
        for asked in self.asked.range(first..).take_while(|asked| asked.at.start < end) {
            if asked.at.end > end && asked.at.start > start {
                return (asked.at.start - start) as usize;
            }
            if asked.client == client {
                continue;
            }
            let from = asked.at.start.saturating_sub(start) as usize;
            let to = (asked.at.end.min(end) - start) as usize;
            bytes[from..to].fill(0);
            if asked.at.start < start {
                bytes[from] = CANCEL;
            }
        }
        bytes.len()
    }

    /// Takes from what a client's terminal says the answers that are awaited, and tells what else it is.
    pub fn hear(&mut self, client: u64, said: &[Said]) -> Heard {
        // What is not over may be the beginning of anything.
        let mut typed = said.is_empty();
        let mut told = false;
        for said in said {
            match said {
                Said::Typed => typed = true,
                Said::Focus => told = true,
                Said::Sequence(form) => {
                    let is_it = |open: &Open| open.client == client && open.question.form == *form;
                    match self.open.iter().position(is_it) {
                        // Terminals answer in order: those before it get no answer.
                        Some(at) => {
                            let mut index = 0;
                            self.open.retain(|open| {
                                index += 1;
                                open.client != client || index > at + 1
                            });
                        }
                        None => typed = true,
                    }
                }
            }
        }
        match (typed, told) {
            (true, _) => Heard::Typed,
            (false, true) => Heard::Told,
            (false, false) => Heard::Answers,
        }
    }

    /// A client is gone: what is to be answered in its place.
    pub fn left(&mut self, client: u64, now: Timestamp) -> Vec<u8> {
        self.withdraw(client, now, |_| true)
    }

    /// A client went on at `to` without what it was to be given before: what is to be answered in its
    /// place. It was given what lies before `from`.
    pub fn skipped(&mut self, client: u64, from: u64, to: u64, now: Timestamp) -> Vec<u8> {
        self.withdraw(client, now, |at| at.start >= from && at.end <= to)
    }

    fn withdraw(&mut self, client: u64, now: Timestamp, which: impl Fn(&Range<u64>) -> bool) -> Vec<u8> {
        let mut answers = Vec::new();
        self.open.retain(|open| {
            if open.client != client || !which(&open.question.at) {
                return true;
            }
            if now.since(open.since) < PATIENCE {
                answers.extend(&open.question.answer);
            }
            false
        });
        answers
    }
}

impl Task {
    /// The number of the client whose terminal answers: of those that may, the one that typed last,
    /// else the first.
    pub fn answerer(&self, clients: &BTreeMap<ClientId, Client>) -> Option<u64> {
        let attached = clients.iter().flat_map(|(&id, client)| {
            client.attachments.iter().map(move |(&channel, attachment)| ((id, channel), attachment))
        });
        // A terminal that only watches answers, too, but into nowhere. One that is drawn a part is asked nothing.
        let mut may = attached.filter(|&(place, a)| {
            a.task == self.name
                && !a.raw
                && !a.shows.is_away()
                && !a.sees_part(self)
                && self.may_type(place, a)
        });
        let first = may.next()?;
        let typed = |(place, _): &(_, _)| Some(*place) == self.typist;
        let chosen = if typed(&first) { first } else { may.find(typed).unwrap_or(first) };
        Some(chosen.1.client)
    }
}

#[cfg(test)]
mod tests {
    use sessile_model::spec::WindowSize;
    use sessile_terminal::{DEFAULT_LINES, Replies, Terminal};

    use super::*;

    const TEXT: &[u8] = b"one\x1b[6ntwo\x1b[c\x1b[18t.";

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn questions(text: &[u8]) -> Vec<Question> {
        let mut terminal = Terminal::new(WindowSize::default(), DEFAULT_LINES);
        terminal.feed(text);
        terminal.take_questions()
    }

    fn asked(answerer: Option<u64>) -> (Queries, Vec<u8>) {
        let mut queries = Queries::default();
        let asked = questions(TEXT).into_iter();
        let answers = asked.flat_map(|question| queries.ask(question, answerer, at(0))).collect();
        (queries, answers)
    }

    fn shown_to(queries: &Queries, client: u64, size: usize) -> Vec<u8> {
        let mut shown = Vec::new();
        while shown.len() < TEXT.len() {
            let mut piece = TEXT[shown.len()..TEXT.len().min(shown.len() + size)].to_vec();
            let whole = queries.conceal(client, shown.len() as u64, &mut piece);
            assert!(whole > 0, "it goes on");
            shown.extend(&piece[..whole]);
        }
        shown
    }

    #[test]
    fn one_is_shown_the_question_and_the_others_as_many_bytes() {
        let (queries, answers) = asked(Some(7));
        assert_eq!(answers, b"");
        for size in 8..TEXT.len() {
            assert_eq!(shown_to(&queries, 7, size), TEXT);
            assert_eq!(shown_to(&queries, 8, size), b"one\0\0\0\0two\0\0\0\0\0\0\0\0.");
        }
        let (queries, answers) = asked(None);
        assert_eq!(answers, b"\x1b[1;4R\x1b[?62;22c\x1b[8;24;80t");
        assert_eq!(shown_to(&queries, 7, 99), b"one\0\0\0\0two\0\0\0\0\0\0\0\0.");
    }

    #[test]
    fn a_question_that_was_begun_before_it_was_one_is_cancelled() {
        let (queries, _) = asked(None);
        let mut piece = TEXT[5..9].to_vec();
        queries.conceal(7, 5, &mut piece);
        assert_eq!(piece, b"\x18\0tw");
    }

    #[test]
    fn who_leaves_before_the_answer_is_stood_in_for() {
        let (mut queries, _) = asked(Some(7));
        assert_eq!(queries.hear(7, &Replies::default().read(b"\x1b[5;5R")), Heard::Answers);
        assert_eq!(queries.left(8, at(10)), b"");
        assert_eq!(queries.left(7, at(10)), b"\x1b[?62;22c\x1b[8;24;80t");
        assert_eq!(queries.left(7, at(10)), b"", "once");
        // Terminals answer in order: what comes before an answer gets none.
        let (mut queries, _) = asked(Some(7));
        assert_eq!(queries.hear(7, &Replies::default().read(b"\x1b[8;1;1t")), Heard::Answers);
        assert_eq!(queries.left(7, at(10)), b"");
        // An answer is for its own question, also behind one like it that has none.
        let mut queries = Queries::default();
        for question in questions(b"\x1b[14t\x1b[?1$p\x1b]4;1;?\x07\x1b[?2$p\x1b[18t") {
            queries.ask(question, Some(7), at(0));
        }
        assert_eq!(queries.hear(7, &Replies::default().read(b"\x1b[?2;1$y\x1b[8;1;1t")), Heard::Answers);
        assert_eq!(queries.left(7, at(10)), b"");
        // Nobody waits for ever.
        let (mut queries, _) = asked(Some(7));
        assert_eq!(queries.left(7, at(3_000)), b"");
    }

    #[test]
    fn who_is_not_given_the_question_is_stood_in_for() {
        let (mut queries, _) = asked(Some(7));
        assert_eq!(queries.skipped(7, 4, 14, at(10)), b"\x1b[?62;22c");
        assert_eq!(queries.left(7, at(10)), b"\x1b[1;4R\x1b[8;24;80t");
    }

    #[test]
    fn answers_are_told_from_keys() {
        let (mut queries, _) = asked(Some(7));
        let read = |bytes: &[u8]| Replies::default().read(bytes);
        assert_eq!(queries.hear(7, &read(b"ls\r")), Heard::Typed);
        assert_eq!(queries.hear(7, &read(b"\x1b")), Heard::Typed);
        assert_eq!(queries.hear(7, &read(b"\x1b[I\x1b[3;4R\x1b[?1;2c")), Heard::Told);
        assert_eq!(queries.hear(7, &read(b"\x1b[3;4R")), Heard::Typed, "nobody asked for a second one");
        assert_eq!(queries.hear(8, &read(b"\x1b[8;1;1t")), Heard::Typed, "another was asked");
    }

    #[test]
    fn a_successor_shows_each_question_to_the_same_client() {
        let mut queries = Queries::default();
        for (question, client) in questions(TEXT).into_iter().zip([Some(7), Some(8), None]) {
            queries.ask(question, client, at(0));
        }
        let turns = queries.turns().to_vec();
        let mut again = Queries::adopt(0, 14, turns);
        let answers: Vec<u8> = questions(TEXT).into_iter().flat_map(|q| again.ask(q, None, at(0))).collect();
        assert_eq!(answers, b"\x1b[8;24;80t", "only what nobody was asked");
        assert_eq!(shown_to(&again, 7, 99), b"one\x1b[6ntwo\0\0\0\0\0\0\0\0.");
        assert_eq!(shown_to(&again, 8, 99), b"one\0\0\0\0two\x1b[c\0\0\0\0\0.");
    }

    #[test]
    fn only_so_many_questions_are_known() {
        let mut queries = Queries::default();
        let mut ask = |at: u64| {
            let question = Question { at: at..at + 3, ..questions(b"\x1b[c").remove(0) };
            queries.ask(question, None, Timestamp::from_millis(0));
        };
        (0..MAX_KNOWN as u64 + 2).for_each(|n| ask(3 * n));
        assert_eq!((queries.known_from(), queries.asked.len()), (6, MAX_KNOWN));
        queries.forget_before(KNOWN + 30);
        assert_eq!(queries.known_from(), 30);
    }
}
