//! `record`: starts and stops the recording of a terminal.

use sessile_model::SessionRecord;
use sessile_model::api;
use sessile_model::ids::AppName;
use sessile_model::spec::Recording;

use crate::client::Daemon;
use crate::failure::{Outcome, Status};
use crate::output::{print_json, say};
use crate::selector::SessionSelector;

/// Record a terminal of a session, or stop
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile record amber start               what main shows from now on; `show` lists recordings
  sessile record amber start --app tests
  sessile record amber stop
  sessile export amber --recording work.cast
  sessile play work.cast
  sessile run --record --detach -- make    from the first byte

A recording is kept on session storage, where no app sees it, and is WIPED WITH THE SESSION unless
it was exported. It takes a quarter of that storage at most, and stops there. It holds all that the
terminal shows, and with --input all that is typed: passwords among it. Whoever is attached is told.
Started again, it goes on in the same file.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// What to do
    action: Action,
    /// The app, or APP.N for a further command [default: main]
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// Record what is typed as well, PASSWORDS AMONG IT
    #[arg(long)]
    input: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Action {
    /// Record from now on.
    Start,
    /// Record no longer.
    Stop,
}

impl Args {
    /// Does it.
    pub fn run(self, json: bool) -> Outcome {
        let start = (self.action == Action::Start).then_some(Recording { input: self.input });
        let name = self.app.clone().unwrap_or_else(AppName::main);
        let daemon = Daemon::reach()?;
        let () = daemon.post(&self.session.path("/recording"), &api::Record { app: self.app, start })?;
        if json {
            print_json(&daemon.get::<SessionRecord>(&self.session.path(""))?)?;
        } else {
            let what = if start.is_some() { "is recorded" } else { "is recorded no longer" };
            say(&format!("{name} {what}; `sessile export {} --recording FILE` keeps it", self.session));
        }
        Ok(Status::OK)
    }
}
