//! `type`: input without a terminal.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_model::api::{self, AwaitedCommand, Waited};
use sessile_model::ids::AppName;
use sessile_model::problem::ProblemKind;
use sessile_model::quantity::Millis;
use zeroize::Zeroizing;

use super::finished::{self, Cut, Finished};
use super::text;
use crate::client::Daemon;
use crate::failure::{Failure, Outcome, Status};
use crate::keys::Keys;
use crate::output::{print_json, say};
use crate::selector::SessionSelector;

/// Bytes of one request.
const CHUNK: usize = 64 << 10;

/// Type text or keys into an app; needs no terminal
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "sessile type [OPTIONS] <SESSION> <TEXT>
       sessile type [OPTIONS] <SESSION> [TEXT] --key <KEYS>",
    after_help = "Examples:
  sessile type amber 'git status' --key enter
  sessile type amber --key ctrl-c,up,enter
  sessile type amber - < script            from standard input
  sessile type amber 'make test' --wait    prints what it wrote, and exits as it does
  sessile type amber -- --version          text that begins with a dash

Text comes first, then keys. Keys: enter, tab, esc, space, backspace, up, down, left, right, home,
end, pageup, pagedown, insert, delete, f1 to f12, ctrl-X, alt-X, comma, or a character.

With --wait, what is typed is for the shell: for the command that it runs, else for the next one. Enter
comes behind the text unless --key says otherwise. Several lines are one command: its output is that of all,
its status that of the last. bash, zsh and fish that Sessile starts on a terminal
say where their commands begin and how they end; nothing is to be installed. What they say comes through
the terminal: a program that writes the same marks can lie about it."
)]
#[group(required = true, multiple = true, args = ["text", "key"])]
pub struct Args {
    /// The session
    session: SessionSelector,
    /// The text; `-` reads standard input
    #[arg(allow_negative_numbers = true)]
    text: Option<String>,
    /// Keys by name, separated by commas
    #[arg(long, short = 'k', value_name = "KEYS")]
    key: Vec<Keys>,
    /// The app [default: main]
    #[arg(long, value_name = "APP")]
    app: Option<AppName>,
    /// Wait for the shell's command to end; print its output and pass on its exit status
    #[arg(long, short = 'w')]
    wait: bool,
    /// Give up waiting after this long; the command goes on
    #[arg(long, value_name = "TIME", requires = "wait")]
    timeout: Option<Millis>,
    /// Print the bytes of its output as they were written
    #[arg(long, requires = "wait")]
    raw: bool,
}

impl Args {
    /// Types, in order; returns when the app's input has taken it.
    pub fn run(self, json: bool) -> Outcome {
        if self.text.is_none() && self.key.is_empty() {
            return Err(Failure::new(ProblemKind::BadRequest, "there is nothing to type")
                .hint("give a text, --key, or - to type what comes on standard input"));
        }
        let daemon = Daemon::reach()?;
        if self.wait {
            return self.converse(&daemon, json);
        }
        let mut typed = 0;
        if let Some(text) = &self.text
            && text != "-"
        {
            typed += self.send(&daemon, text.as_bytes())?;
        }
        if self.text.as_deref() == Some("-") {
            let mut chunk = Zeroizing::new(vec![0u8; CHUNK]);
            loop {
                let count = std::io::stdin().lock().read(&mut chunk);
                match count.map_err(|e| Failure::system("read standard input", &e))? {
                    0 => break,
                    count => typed += self.send(&daemon, &chunk[..count])?,
                }
            }
        }
        let keys: Vec<u8> = self.key.iter().flat_map(Keys::bytes).collect();
        if !keys.is_empty() {
            typed += self.send(&daemon, &keys)?;
        }
        if json {
            print_json(&serde_json::json!({ "typed": typed }))?;
        }
        Ok(Status::OK)
    }

    /// Types, waits for the shell's command, and shows it.
    fn converse(&self, daemon: &Daemon, json: bool) -> Outcome {
        let text = self.text.as_deref().unwrap_or_default();
        if text == "-" || text.len() > CHUNK {
            return Err(Failure::new(
                ProblemKind::BadRequest,
                "--wait is for one command, given as an argument",
            ));
        }
        let mut bytes = Zeroizing::new(text.as_bytes().to_vec());
        bytes.extend(self.key.iter().flat_map(Keys::bytes));
        if self.key.is_empty() && !text.ends_with(['\r', '\n']) {
            bytes.push(b'\r');
        }
        let input = api::Input { app: self.app.clone(), data: STANDARD.encode(&bytes), command: true };
        let typed: api::Typed = daemon.post(&self.session.path("/input"), &input)?;
        let wait = api::Wait {
            app: self.app.clone(),
            command: Some(AwaitedCommand { number: Some(typed.command), blanks: Some(typed.blanks) }),
            timeout: self.timeout,
            ..api::Wait::default()
        };
        if typed.running {
            say(&format!(
                "sessile: command {} runs already: what was typed is for it, and what follows is its output and status",
                typed.command
            ));
        }
        if !typed.running && !typed.pasted && text.trim_end().contains(['\r', '\n']) {
            say(
                "sessile: the shell took no paste, so each line is a command of its own; what follows is of the first",
            );
        }
        match daemon.post_timed(&self.session.path("/wait"), |waited| wait.after(waited))? {
            Waited::Command { command } => {
                let finished = Finished::read(daemon, &self.session, self.app.as_ref(), command)?;
                finished.print(Cut::Said, self.raw, json)?;
                finished::status(&command)
            }
            Waited::Exited { exit } => {
                say(&format!("sessile: the shell ended before it ran a command ({})", text::exit(&exit)));
                Ok(Status(exit.shell_code()))
            }
            Waited::Matched { .. } | Waited::Quiet => Err(Failure::new(
                ProblemKind::Internal,
                "the daemon waited for something else than was asked",
            )),
        }
    }

    fn send(&self, daemon: &Daemon, bytes: &[u8]) -> Result<usize, Failure> {
        for chunk in bytes.chunks(CHUNK) {
            let input = api::Input { app: self.app.clone(), data: STANDARD.encode(chunk), command: false };
            let () = daemon.post(&self.session.path("/input"), &input)?;
        }
        Ok(bytes.len())
    }
}
