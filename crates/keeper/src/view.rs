//! What a client is shown whose window has another size than the app's terminal: the part around the cursor, or all
//! of it in a corner.
//!
//! ```text
//!  the app's bytes ──── its window gets another size than the terminal ────► its part of the screen, as often
//!        ▲                                                                   as the client takes it
//!        └──────────── it fits again: a fresh screen first ─────────────────────────┘
//! ```
//!
//! Bytes that were written for so many columns wrap elsewhere in others, and for so many rows they scroll elsewhere. So
//! it is drawn from the screen model, and once what was drawn before is taken: whoever is slow skips what was shown between.
//! A sentence for whoever watches stands in the window's last row for a while, and nowhere else.

use std::collections::VecDeque;

use sessile_model::quantity::{Millis, Timestamp};
use sessile_model::spec::WindowSize;
use sessile_terminal::{Viewport, token};

use crate::client::{Attachment, Client, Notice};
use crate::keeper::Keeper;
use crate::roles::Place;
use crate::screen::ScreenModel;
use crate::task::Task;

/// How long a sentence covers a row.
const NOTICE: Millis = Millis(3_000);
/// Most sentences that wait for one another.
const MAX_NOTICES: usize = 8;

/// What an attachment is shown in place of the app's bytes.
#[derive(Debug)]
pub struct View {
    viewport: Viewport,
    /// The offset and the size of the screen that was drawn last.
    drawn: Option<(u64, WindowSize)>,
    /// The first is shown until then, once it is shown.
    notices: VecDeque<String>,
    until: Option<Timestamp>,
    /// Nothing more is shown: the screen is wiped.
    over: bool,
}

/// What there is to show.
#[derive(Clone, Copy)]
struct Scene<'a> {
    screen: &'a ScreenModel,
    window: WindowSize,
    /// The app has ended: what it wrote last is covered by nothing.
    ended: bool,
    now: Timestamp,
}

impl View {
    fn new(window: WindowSize, screen: WindowSize) -> Self {
        let WindowSize { cols, rows } = screen;
        let mut view = Self {
            viewport: Viewport::new(window),
            drawn: None,
            notices: VecDeque::new(),
            until: None,
            over: false,
        };
        if window.cols < cols || window.rows < rows {
            view.tell(&format!(
                "smaller than the app's {cols}x{rows}, a part is shown: it follows the cursor"
            ));
        }
        view
    }

    /// Has a sentence stand in the last row for a while.
    pub fn tell(&mut self, text: &str) {
        if self.notices.len() < MAX_NOTICES {
            self.notices.push_back(format!("[sessile: {text}]"));
        }
    }

    /// Whatever the window shows: all of it is drawn anew.
    pub fn forget(&mut self) {
        self.viewport.forget();
        self.drawn = None;
    }

    /// Shows nothing more: what there was is wiped.
    pub fn end(&mut self) {
        self.over = true;
        self.viewport.forget();
    }

    /// What makes the window one in which the app's screen can be drawn.
    pub fn leave(mut self) -> Vec<u8> {
        self.viewport.leave()
    }

    fn is_due(&self, scene: Scene<'_>) -> bool {
        let is_drawn = self.drawn == Some((scene.screen.offset(), scene.screen.size()))
            && self.viewport.window() == scene.window;
        let next_notice = match self.until {
            Some(until) => until <= scene.now || scene.ended,
            None => !self.notices.is_empty(),
        };
        !self.over && (!is_drawn || next_notice)
    }

    fn draw(&mut self, scene: Scene<'_>) -> Vec<u8> {
        if scene.ended {
            self.notices.clear();
        }
        if self.until.is_some_and(|until| until <= scene.now) {
            self.until = None;
            self.notices.pop_front();
        }
        if self.until.is_none() || self.notices.is_empty() {
            self.until = (!self.notices.is_empty()).then(|| scene.now.plus(NOTICE));
        }
        self.viewport.resize(scene.window);
        self.drawn = Some((scene.screen.offset(), scene.screen.size()));
        scene.screen.draw_part(&mut self.viewport, self.notices.front().map(String::as_str))
    }
}

impl Attachment {
    /// Whether what it has seen is nothing that output goes on from.
    pub fn needs_screen(&self) -> bool {
        self.fresh || self.view.is_some() || self.notice == Notice::Over
    }

    /// Lets a sentence that stands among what the app has drawn stand for a while.
    pub fn note_time(&mut self, now: Timestamp) {
        self.notice = match self.notice {
            Notice::Told => Notice::Until(now.plus(NOTICE)),
            Notice::Until(until) if until <= now => Notice::Over,
            other @ (Notice::None | Notice::Until(_) | Notice::Over) => other,
        };
    }

    /// Whether its window has another size than the task's terminal.
    pub fn sees_part(&self, task: &Task) -> bool {
        let (Some(window), Some(screen)) = (self.size, task.screen()) else { return false };
        !self.raw && window != screen.size()
    }

    /// Whether what it was last shown of a part is not as that is now.
    pub fn part_is_due(&self, task: &Task, now: Timestamp) -> bool {
        let Some(scene) = self.scene(task, now) else { return false };
        self.view.as_ref().is_none_or(|view| view.is_due(scene))
    }

    fn scene<'a>(&self, task: &'a Task, now: Timestamp) -> Option<Scene<'a>> {
        Some(Scene { screen: task.screen()?, window: self.size?, ended: task.exit.is_some(), now })
    }

    /// The view that it has, or a new one.
    fn view(&mut self, scene: Scene<'_>) -> &mut View {
        self.view.get_or_insert_with(|| Box::new(View::new(scene.window, scene.screen.size())))
    }

    /// What shows its part as it is now, where that is news.
    pub fn next_part(&mut self, task: &mut Task, now: Timestamp) -> Option<Vec<u8>> {
        if !self.part_is_due(task, now) {
            return None;
        }
        let scene = self.scene(task, now)?;
        let offset = scene.screen.offset();
        let (fresh, client) = (self.fresh, self.client);
        let view = self.view(scene);
        // Here as well it is to be found out where the terminal is this very one.
        let mut bytes = if fresh && view.drawn.is_none() { token(client) } else { Vec::new() };
        bytes.extend(view.draw(scene));
        let from = if self.fresh { 0 } else { self.out };
        self.out = offset;
        let answers = task.queries.skipped(self.client, from, offset, now);
        task.answer(answers);
        Some(bytes)
    }
}

impl Client {
    /// Whether something drawn for an attachment would be taken now.
    pub fn takes_part(&self, attachment: &Attachment) -> bool {
        !attachment.shows.is_away()
            && !attachment.told_exit
            && attachment.shows.hold().map_or(!self.has_output(), |hold| !hold.is_blocked())
    }
}

impl Keeper {
    /// Where an attachment that has come sees a part, what it is told from now on is told there.
    pub(crate) fn begin_part(&mut self, (id, channel): Place) {
        let attachment = self.clients.get_mut(&id).and_then(|client| client.attachments.get_mut(&channel));
        let Some(attachment) = attachment else { return };
        let Some(task) = self.tasks.get(&attachment.task).filter(|task| attachment.sees_part(task)) else {
            return;
        };
        if let Some(scene) = attachment.scene(task, self.now) {
            attachment.view(scene);
        }
    }

    /// When the first sentence ends that stands in a window.
    pub(crate) fn next_notice(&self) -> Option<Timestamp> {
        let shown = self.clients.values().flat_map(|client| {
            let attachments = client.attachments.values().filter(|&a| client.takes_part(a));
            attachments.filter(|a| self.tasks.get(&a.task).is_some_and(|task| a.sees_part(task)))
        });
        let in_views = shown.filter_map(|a| a.view.as_ref().filter(|view| !view.over)?.until);
        let all = self.clients.values().flat_map(|client| client.attachments.values());
        let among = all.filter_map(|a| match a.notice {
            Notice::Until(until) => Some(until),
            Notice::None | Notice::Told | Notice::Over => None,
        });
        in_views.chain(among).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WINDOW: WindowSize = WindowSize { cols: 60, rows: 4 };

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn screen() -> ScreenModel {
        let mut screen = ScreenModel::new(WindowSize { cols: 100, rows: 30 }, 0);
        screen.feed(0, b"one\r\ntwo\r\n3\r\n4\r\n\x1b[H");
        screen
    }

    fn scene(screen: &ScreenModel, millis: i64) -> Scene<'_> {
        Scene { screen, window: WINDOW, ended: false, now: at(millis) }
    }

    fn shown(bytes: &[u8]) -> String {
        let mut window = ScreenModel::new(WINDOW, 0);
        window.feed(0, bytes);
        window.text()
    }

    #[test]
    fn a_sentence_covers_the_last_row_for_three_seconds() {
        let screen = screen();
        let mut view = View::new(WINDOW, screen.size());
        let mut bytes = view.draw(scene(&screen, 0));
        let first = "one\ntwo\n3\n[sessile: smaller than the app's 100x30, a part is shown: it";
        assert_eq!(shown(&bytes), first);
        view.tell("another");
        assert!(!view.is_due(scene(&screen, 2_999)) && view.until == Some(at(3_000)));
        assert!(view.is_due(scene(&screen, 3_000)));
        bytes.extend(view.draw(scene(&screen, 3_000)));
        assert_eq!(shown(&bytes), "one\ntwo\n3\n[sessile: another]");
        assert!(!view.is_due(scene(&screen, 5_999)) && view.is_due(scene(&screen, 6_000)));
        bytes.extend(view.draw(scene(&screen, 6_000)));
        assert_eq!(shown(&bytes), "one\ntwo\n3\n4");
        assert!(!view.is_due(scene(&screen, 99_999)) && view.until.is_none());
        // What an app wrote last is covered by nothing.
        view.tell("once more");
        bytes.extend(view.draw(scene(&screen, 7_000)));
        let ended = Scene { ended: true, ..scene(&screen, 7_001) };
        assert!(view.is_due(ended));
        bytes.extend(view.draw(ended));
        assert_eq!(shown(&bytes), "one\ntwo\n3\n4");
        assert!(!view.is_due(ended));
    }

    #[test]
    fn it_is_drawn_when_something_is_another() {
        let mut screen = screen();
        let mut view = View::new(WINDOW, screen.size());
        view.notices.clear();
        let _ = view.draw(scene(&screen, 0));
        assert!(!view.is_due(scene(&screen, 1)));
        assert!(view.is_due(Scene { window: WindowSize { cols: 61, rows: 4 }, ..scene(&screen, 1) }));
        screen.feed(screen.offset(), b"x");
        assert!(view.is_due(scene(&screen, 1)));
        assert_eq!(view.draw(scene(&screen, 1)), b"\x1b[1Hxne\x1b[K\x1b[1;2H");
        screen.resize(WindowSize { cols: 90, rows: 30 }, 1);
        assert!(view.is_due(scene(&screen, 1)));
        let _ = view.draw(scene(&screen, 1));
        view.forget();
        assert!(view.is_due(scene(&screen, 1)));
        view.end();
        assert!(!view.is_due(scene(&screen, 1)));
    }
}
