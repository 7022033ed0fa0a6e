//! `type`: input without a terminal.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_model::api;
use sessile_model::ids::AppName;
use sessile_model::problem::ProblemKind;
use zeroize::Zeroizing;

use crate::client::Daemon;
use crate::failure::{Failure, Outcome, Status};
use crate::keys::Keys;
use crate::output::print_json;
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
  sessile type amber -- --version          text that begins with a dash

Text comes first, then keys. Keys: enter, tab, esc, space, backspace, up, down, left, right, home,
end, pageup, pagedown, insert, delete, f1 to f12, ctrl-X, alt-X, comma, or a character."
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
}

impl Args {
    /// Types, in order; returns when the app's input has taken it.
    pub fn run(self, json: bool) -> Outcome {
        if self.text.is_none() && self.key.is_empty() {
            return Err(Failure::new(ProblemKind::BadRequest, "there is nothing to type")
                .hint("give a text, --key, or - to type what comes on standard input"));
        }
        let daemon = Daemon::reach()?;
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

    fn send(&self, daemon: &Daemon, bytes: &[u8]) -> Result<usize, Failure> {
        for chunk in bytes.chunks(CHUNK) {
            let input = api::Input { app: self.app.clone(), data: STANDARD.encode(chunk) };
            let () = daemon.post(&self.session.path("/input"), &input)?;
        }
        Ok(bytes.len())
    }
}
