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
  sessile screen amber --json | jq .cursor")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// The app [default: main]
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
}

impl Args {
    /// Prints it: with JSON, also cursor, size and title.
    pub fn run(self, json: bool) -> Outcome {
        let daemon = Daemon::reach()?;
        let path = with_query(&self.session.path("/screen"), &[("app", self.app.map(|a| a.to_string()))]);
        let screen: api::Screen = daemon.get(&path)?;
        if json {
            print_json(&screen)?;
        } else {
            print(&text(&screen))?;
        }
        Ok(Status::OK)
    }
}

/// The lines down to the last one with something on it.
fn text(screen: &api::Screen) -> String {
    let used = screen.lines.iter().rposition(|l| !l.is_empty()).map_or(0, |at| at + 1);
    screen.lines[..used].iter().map(|l| format!("{l}\n")).collect()
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
        };
        assert_eq!(text(&screen), "a\n\nb\n");
        screen.lines.clear();
        assert_eq!(text(&screen), "");
    }
}
