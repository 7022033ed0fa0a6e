//! `screen`: what a terminal shows.

use sessile_model::api;
use sessile_model::ids::AppName;

use crate::client::{Daemon, with_query};
use crate::failure::{Outcome, Status};
use crate::output::{print, print_json};
use crate::selector::SessionSelector;

/// Print what is on the screen
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile screen amber
  sessile screen amber --history           with the lines that scrolled off, 2,000 at most
  sessile screen amber --history 50 --json | jq .history
  sessile screen amber --json | jq .cursor

What was wrapped is one line of history. Programs on the alternate screen (editors, pagers) leave
none.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// The app [default: main]
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// The last lines that scrolled off as well; all that are kept when no number is given
    #[arg(long, value_name = "LINES", num_args = 0..=1, default_missing_value = "4294967295")]
    history: Option<u32>,
}

impl Args {
    /// Prints it: with JSON, also cursor, size and title.
    pub fn run(self, json: bool) -> Outcome {
        let daemon = Daemon::reach()?;
        let pairs = [
            ("app", self.app.map(|a| a.to_string())),
            ("history", self.history.map(|lines| lines.to_string())),
        ];
        let path = with_query(&self.session.path("/screen"), &pairs);
        let screen: api::Screen = daemon.get(&path)?;
        if json {
            print_json(&screen)?;
        } else {
            print(&text(&screen))?;
        }
        Ok(Status::OK)
    }
}

/// What scrolled off, as far as it was asked for, and the lines down to the last one with something
/// on it.
fn text(screen: &api::Screen) -> String {
    let mut text = String::new();
    for row in &screen.history {
        let line: String = row.runs.iter().map(|run| run.text.as_str()).collect();
        match row.wrapped && !screen.alternate {
            true => text += &line,
            false => text = text + line.trim_end() + "\n",
        }
    }
    let used = screen.lines.iter().rposition(|l| !l.is_empty()).map_or(0, |at| at + 1);
    screen.lines[..used].iter().for_each(|l| text = std::mem::take(&mut text) + l + "\n");
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_at_the_end_are_left_out() {
        let mut screen = api::Screen {
            cols: 80,
            rows: 4,
            lines: vec!["a".into(), String::new(), "b".into(), String::new()],
            cursor: (0, 0),
            cursor_visible: true,
            alternate: false,
            title: String::new(),
            offset: 0,
            grid: Vec::new(),
            history: Vec::new(),
            history_lines: 0,
        };
        assert_eq!(text(&screen), "a\n\nb\n");
        let row = |text: &str, wrapped| api::ScreenRow {
            runs: vec![api::ScreenRun { text: text.into(), ..api::ScreenRun::default() }],
            wrapped,
        };
        screen.history = vec![row("off  ", false), row("of ", true)];
        assert_eq!(text(&screen), "off\nof a\n\nb\n");
        screen.alternate = true;
        assert_eq!(text(&screen), "off\nof\na\n\nb\n");
        screen.history.clear();
        screen.lines.clear();
        assert_eq!(text(&screen), "");
    }
}
