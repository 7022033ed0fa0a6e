//! `attach`: returns to a session.

use std::io::IsTerminal as _;
use std::path::PathBuf;

use sessile_model::ids::AppName;
use sessile_model::{ProblemKind, SessionRecord};

use super::following;
use super::parting::{self, Watch};
use crate::attachment::{self, Guarded, Mode, Target, Until};
use crate::client::Daemon;
use crate::config;
use crate::failure::{Failure, Outcome};
use crate::keys::DetachKey;
use crate::selector::SessionSelector;
use crate::startup;

/// Return to a session
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile attach amber-otter
  sessile attach amber --read-only         watch, without typing
  sessile attach amber --exclusive         type alone: the others watch until you leave
  sessile attach amber --app tests         another app's terminal
  sessile attach amber --lossless | ./archive   from the recording (`run --record`), every byte of it
  ssh -fNL ~/far.sock:/run/user/1000/sessile/daemon.sock far; sessile attach amber --remote ~/far.sock

ctrl-\\ leaves; the session goes on. Leaving, closing the window and killing the client are the
same to the session. `sessile type S --key ctrl-\\` sends that key to the app itself.")]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// The app, or task as `exec --json` names it [default: main]
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// Watch only
    #[arg(long)]
    read_only: bool,
    /// Take over typing: the others watch until this one leaves
    #[arg(long, conflicts_with = "read_only")]
    exclusive: bool,
    /// For recorders: print what was and will be recorded, and miss nothing, however slowly this is read
    #[arg(long, conflicts_with_all = ["exclusive", "detach_key"])]
    lossless: bool,
    /// The socket of a daemon elsewhere, as `ssh -L` brings it here
    #[arg(long, value_name = "SOCKET")]
    remote: Option<PathBuf>,
    /// The key that leaves the session [default: ctrl-\]
    #[arg(long, value_name = "KEY")]
    detach_key: Option<DetachKey>,
}

impl Args {
    /// Attaches, and passes on the exit status if the command ends meanwhile.
    pub fn run(self, json: bool) -> Outcome {
        let config = config::load(&startup::config_file()?)?;
        let daemon = self.remote.as_deref().map_or_else(Daemon::reach, Daemon::behind)?;
        if self.lossless {
            return self.record(&daemon);
        }
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        // Posted, and coming to itself, while the daemon answers.
        let mut guarded = None;
        let leave = Target::leave(&daemon, &self.session, || {
            guarded = terminal.then(|| Guarded::post().ok()).flatten();
        })?;
        let apps = match leave.apps.clone() {
            Some(apps) => apps,
            // A daemon of an earlier version.
            None => daemon.get::<SessionRecord>(&self.session.path(""))?.apps,
        };
        let wanted = self.app.clone().unwrap_or_else(AppName::main);
        // A session without apps is the keeper's to explain.
        let has_terminal = apps.iter().find(|a| a.name == wanted).is_none_or(|a| a.cols.is_some());
        if self.exclusive && !has_terminal {
            return Err(Failure::new(ProblemKind::BadRequest, "only on a terminal can typing be taken over"));
        }
        let mode = match (has_terminal, terminal) {
            (true, true) => Mode::Terminal {
                detach_key: self.detach_key.or(config.detach_key).unwrap_or_default(),
                read_only: self.read_only,
                exclusive: self.exclusive,
                from_start: false,
            },
            (true, false) => {
                return Err(Failure::new(ProblemKind::BadRequest, "attach needs a terminal").hint(format!(
                    "`sessile output {0} --follow`, `sessile screen {0}` and `sessile type {0}` do without",
                    self.session
                )));
            }
            (false, _) if self.read_only => Mode::Follow { since: 0 },
            (false, _) => Mode::Streams { returning: true },
        };
        let target = Target::given(leave, self.app).by(self.remote);
        let parting = attachment::attach_guarded(&target, &mode, Until::Settled, guarded)?;
        let remote = target.way.remote();
        let watch = Watch { session: target.session, command: None, mode: &mode, remote, json };
        parting::conclude(&daemon, &watch, parting)
    }
    /// A terminal that is behind is drawn anew; a recorder is not.
    fn record(&self, daemon: &Daemon) -> Outcome {
        if std::io::stdout().is_terminal() {
            let detail = "--lossless is for recorders, which read standard output, and here it is a terminal";
            return Err(Failure::new(ProblemKind::BadRequest, detail).hint(format!(
                "`sessile attach {0} --lossless | PROGRAM`, or `sessile attach {0}`",
                self.session
            )));
        }
        following::follow(daemon, &self.session, self.app.as_ref())
    }
}
