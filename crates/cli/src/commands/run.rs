//! `run`: opens a session and, unless told otherwise, works in it.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sessile_model::network::Route;
use sessile_model::problem::ProblemKind;
use sessile_model::spec::Spec;
use sessile_model::{Millis, SessionRecord, api};

use super::parting::{self, Watch};
use crate::attachment::{self, Mode, Target, Until, terminal_size};
use crate::client::Daemon;
use crate::config::{self, Config};
use crate::failure::{Failure, Outcome, Status};
use crate::keys::DetachKey;
use crate::options::SessionOptions;
use crate::output::{print, print_json, say};
use crate::project::Surroundings;
use crate::request::{self, Place};
use crate::startup;

/// Open a session and run a command, or your shell, in it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile run                              a shell on the current folder
  sessile run -- make test                 streams, passes on the exit status, wipes
  sessile run --project .:copy -- claude   an agent on a private copy; `diff` and `apply` bring back
  sessile run --detach --name build --memory 4G -- make
  sessile run --no-project --env-file .env --ttl 1h -- ./job.sh

With a terminal it attaches; ctrl-\\ leaves, and the session goes on. When the command exits while
you watch, the session ends, wiped, unless --keep. Without a terminal the command's streams are
yours. Defaults and profiles live in config.toml (`sessile config check`).")]
pub struct Args {
    #[command(flatten)]
    options: SessionOptions,
    /// Open it and return; without a command it stays empty, for `exec`
    #[arg(long, short = 'd')]
    detach: bool,
    /// The key that leaves the session [default: ctrl-\]
    #[arg(long, value_name = "KEY", conflicts_with = "detach")]
    detach_key: Option<DetachKey>,
    /// The command and its arguments; your shell when there is none
    #[arg(trailing_var_arg = true, value_name = "CMD")]
    command: Vec<String>,
}

impl Args {
    /// Opens the session, attaches, passes on the exit status.
    pub fn run(self, json: bool) -> Outcome {
        let config_path = startup::config_file()?;
        let config = config::load(&config_path)?;
        let place = here(config_path, &self.options)?;
        let terminal = std::io::stdin().is_terminal() && std::io::stdout().is_terminal();
        let command = self.chosen_command(terminal)?;
        let has_command = !command.is_empty();
        let mut request = request::build(&self.options, command, &config, &place)?;
        request.spec.term = std::env::var("TERM").ok().filter(|t| terminal && is_term(t));
        // A detached command gets a terminal too: whoever comes back finds a screen.
        request.spec.terminal = (terminal || self.detach).then(terminal_size).filter(|_| has_command);
        request.spec.hold_output = !terminal && !self.detach;
        let asked = self.options.record || self.options.record_input;
        if !asked && request.spec.terminal.is_none() {
            // The default is for what can be recorded.
            request.spec.record = None;
        }
        if request.spec.record.is_some() {
            if request.spec.terminal.is_none() {
                let detail = "only a command on a terminal can be recorded, and here is none";
                return Err(Failure::new(ProblemKind::BadRequest, detail)
                    .hint("name a command, and with --detach it gets a terminal of its own"));
            }
            if !self.detach && !request.spec.keep {
                let notice =
                    "the recording is wiped with the session when its command exits; --keep leaves it";
                request.notices.push(notice.to_owned());
            }
        }
        for notice in &request.notices {
            say(&format!("sessile: {notice}"));
        }
        if request.spec.network.route == Route::Tor && std::io::stderr().is_terminal() {
            say("sessile: tor looks for its way into the network, which may take a minute");
        }
        let daemon = Daemon::reach()?;
        let answer: Result<api::Opened, Failure> = daemon.post("/v1/sessions", &request.spec);
        let api::Opened { record, attachment } = match &self.options.name {
            Some(name) => answer.map_err(|e| e.about(ProblemKind::Conflict, name.as_str()))?,
            None => answer?,
        };
        if self.detach {
            tell_of_servers(&daemon, &record, &request.spec);
            return opened(&record, json);
        }
        let target = Target::given(attachment, None);
        attend(&daemon, &target, &request.spec, terminal, self.detach_key(&config), json)
    }

    fn chosen_command(&self, terminal: bool) -> Result<Vec<String>, Failure> {
        match (self.command.is_empty(), self.detach) {
            (false, _) | (true, true) => Ok(self.command.clone()),
            (true, false) if terminal => Ok(vec![shell()]),
            (true, false) => Err(Failure::new(ProblemKind::BadRequest, "there is no terminal for a shell")
                .hint("name a command (`sessile run -- CMD`), or open an empty session with --detach")),
        }
    }

    fn detach_key(&self, config: &Config) -> DetachKey {
        self.detach_key.clone().or_else(|| config.detach_key.clone()).unwrap_or_default()
    }
}

fn attend(
    daemon: &Daemon,
    target: &Target,
    spec: &Spec,
    terminal: bool,
    detach_key: DetachKey,
    json: bool,
) -> Outcome {
    let mode = match terminal {
        true => Mode::Terminal { detach_key, read_only: false, exclusive: false, from_start: true },
        false => Mode::Streams { returning: false },
    };
    let until = if spec.keep { Until::Exited } else { Until::Settled };
    let watch = Watch {
        session: target.session,
        command: spec.command.first().map(String::as_str),
        mode: &mode,
        remote: None,
        json,
    };
    parting::attend(daemon, &watch, || attachment::attach(target, &mode, until))
}

/// How long servers are watched that were just started: one that is set up wrong ends at once.
const SERVERS_TIME: Duration = Duration::from_millis(300);

/// Says which MCP servers have ended already, where nobody is attached to be told.
fn tell_of_servers(daemon: &Daemon, record: &SessionRecord, spec: &Spec) {
    let until = Instant::now() + SERVERS_TIME;
    for server in &spec.mcp {
        let Some(app) = server.app() else { continue };
        let left = until.saturating_duration_since(Instant::now()).as_millis();
        let timeout = Some(Millis(u64::try_from(left).unwrap_or_default().max(1)));
        let wait = api::Wait { app: Some(app.clone()), exit: true, timeout, ..api::Wait::default() };
        // Whatever else comes of it, it runs.
        if let Ok(api::Waited::Exited { exit }) =
            daemon.post(&format!("/v1/sessions/{}/wait", record.id), &wait)
        {
            let (name, id, code) = (&server.name, record.id.short(), exit.shell_code());
            say(&format!("sessile: warning: the MCP server {name} has ended already (exit {code})"));
            say(&format!("hint: `sessile output {id} --app {app} --follow` shows what it wrote"));
        }
    }
}

fn opened(record: &SessionRecord, json: bool) -> Outcome {
    if json {
        print_json(record)?;
    } else {
        let name = record.name.as_ref().map_or_else(|| record.id.short(), ToString::to_string);
        print(&format!("{name}\n"))?;
    }
    Ok(Status::OK)
}

/// Where the caller is.
fn here(config: PathBuf, options: &SessionOptions) -> Result<Place, Failure> {
    let elsewhere =
        options.no_project || options.project.as_ref().is_some_and(|given| given.path.is_absolute());
    let folder = match startup::current_folder() {
        // Removed, and not what the session is about: only what is named relative to it is missing.
        Err(_) if elsewhere => PathBuf::new(),
        folder => folder?,
    };
    let folders = startup::folders()?;
    let surroundings = Surroundings::of_caller(vec![folders.runtime, folders.state, config]);
    let home = startup::home().or_else(|| surroundings.homes.first().cloned());
    Ok(Place {
        folder,
        home: home.unwrap_or_else(|| PathBuf::from("/nonexistent")),
        search: std::env::var("PATH").unwrap_or_default(),
        surroundings,
    })
}

/// The caller's shell where a session has it too, else one that it has.
fn shell() -> String {
    let own = std::env::var("SHELL").ok().filter(|s| s.starts_with("/usr/") || s.starts_with("/bin/"));
    own.into_iter()
        .chain(["/bin/bash".to_owned(), "/bin/sh".to_owned()])
        .find(|s| Path::new(s).is_file())
        .unwrap_or_else(|| "/bin/sh".to_owned())
}

fn is_term(term: &str) -> bool {
    !term.is_empty() && term.len() <= 64 && term.bytes().all(|b| b.is_ascii_graphic())
}
