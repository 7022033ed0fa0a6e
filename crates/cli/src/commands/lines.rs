//! `send`, `recv`, `offered`: a session's protocol, spoken by hand or from a script.

use std::io::IsTerminal as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_model::problem::ProblemKind;
use sessile_model::protocol::{Hear, LONGEST_PAYLOAD, NOT_HEARD, Offer, Say, Take};
use sessile_model::quantity::Millis;

use crate::failure::{Failure, Outcome, Status};
use crate::files;
use crate::output::{print, print_json, printable, say, table};
use crate::standard;
use crate::talk::{Place, Talk, waiting};

/// Say a line of a session's protocol
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile send amber --as User Agent prompt 'What is new?'
  git diff | sessile send amber --as Coder Reviewer change -
  sessile send . --as Agent User part 'Not much.'        # from a script inside

Once this command has ended with 0, the line is delivered once, whatever dies. What the protocol does
not allow now is refused (73); so is a role that somebody else speaks for (77). It is signed by a key that
is made with the first line: an operator's in the state folder, an app's in its own sandbox.")]
pub struct SendArgs {
    /// The session; inside one, . for that
    session: Place,
    /// As which role
    #[arg(long = "as", value_name = "ROLE")]
    role: String,
    /// To which role
    to: String,
    /// What it is called
    label: String,
    /// What it carries, where the protocol has a type for it: a text, '' for an empty one, or - for standard input
    payload: Option<String>,
    /// Give up where there is no room for this long
    #[arg(long, value_name = "TIME")]
    timeout: Option<Millis>,
}

/// Hear the next line for a role
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile recv amber --as Agent
  sessile recv amber --as Agent --from User --timeout 5s --json | jq -r .payload
  heard=$(sessile recv . --as Agent --with-label)        # in a script inside

Who said it and what it is called is on standard error, what it carries on standard output; a
terminal gets escape sequences made visible. It counts as heard once it is written there. Exit code 124 when nothing comes in time.")]
pub struct RecvArgs {
    /// The session; inside one, . for that
    session: Place,
    /// As which role
    #[arg(long = "as", value_name = "ROLE")]
    role: String,
    /// From this role
    #[arg(long, value_name = "ROLE")]
    from: Option<String>,
    /// Give up after this long
    #[arg(long, value_name = "TIME")]
    timeout: Option<Millis>,
    /// Print what it is called too, on a line of its own before what it carries
    #[arg(long)]
    with_label: bool,
}

/// What a role may say or hear next
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile offered amber --as User
  sessile offered . --as Agent --json")]
pub struct OfferedArgs {
    /// The session; inside one, . for that
    session: Place,
    /// The role
    #[arg(long = "as", value_name = "ROLE")]
    role: String,
}

impl SendArgs {
    /// Says it.
    pub fn run(self, json: bool) -> Outcome {
        let payload = match self.payload.as_deref() {
            None => None,
            Some("-") => {
                standard::input_is_open()?;
                Some(files::standard_input(LONGEST_PAYLOAD)?.to_vec())
            }
            Some(text) if text.len() > LONGEST_PAYLOAD => {
                let detail = format!("a payload has at most {LONGEST_PAYLOAD} bytes");
                return Err(Failure::new(ProblemKind::BadRequest, detail));
            }
            Some(text) => Some(text.as_bytes().to_vec()),
        };
        let line = Say {
            role: self.role,
            to: self.to,
            label: self.label,
            payload: STANDARD.encode(payload.as_deref().unwrap_or_default()),
            token: token()?,
            timeout: self.timeout,
            seal: None,
        };
        let talk = Arc::new(Talk::reach(self.session)?);
        let role = line.role.clone();
        let said =
            waiting::asked(&talk, &role, self.timeout, move |talk| talk.say(line, payload.as_deref()))?;
        if json {
            print_json(&said)?;
        }
        Ok(Status::OK)
    }
}

impl RecvArgs {
    /// Hears it, writes it, and takes it.
    pub fn run(self, json: bool) -> Outcome {
        standard::output_is_open()?;
        let talk = Arc::new(Talk::reach(self.session)?);
        let token = token()?;
        let hear = Hear {
            role: self.role.clone(),
            from: self.from,
            token: Some(token.clone()),
            timeout: self.timeout,
        };
        let heard = waiting::asked(&talk, &self.role, self.timeout, move |talk| talk.hear(hear))?;
        let payload = STANDARD
            .decode(&heard.payload)
            .map_err(|e| Failure::new(ProblemKind::Internal, format!("the daemon's answer: {e}")))?;
        let shown = if std::io::stdout().is_terminal() {
            standard::visible(&payload).into_bytes()
        } else {
            payload.clone()
        };
        if json {
            let text = std::str::from_utf8(&payload).ok();
            let heard = serde_json::json!({
                "from": heard.from, "label": heard.label, "sequence": heard.sequence,
                "payload": text, "base64": heard.payload,
            });
            let text = serde_json::to_string_pretty(&heard)
                .map_err(|e| Failure::new(ProblemKind::Internal, format!("cannot write JSON: {e}")))?;
            standard::write_all((text + "\n").as_bytes())?;
        } else if self.with_label {
            // A label is a name of the protocol's, without a line's end.
            standard::write_all(&[heard.label.as_bytes(), b"\n", &shown].concat())?;
        } else {
            say(&format!("{} says {}", printable(&heard.from), printable(&heard.label)));
            standard::write_all(&shown)?;
        }
        taken(
            &talk,
            Take { role: self.role, from: heard.from, sequence: heard.sequence, token: Some(token) },
        )?;
        Ok(Status::OK)
    }
}

/// Takes a line. A keeper that died after it was heard leaves it to be heard again, and not to be written again.
fn taken(talk: &Talk, take: Take) -> Result<(), Failure> {
    match talk.take(take.clone()) {
        Err(Failure::Problem(problem)) if problem.detail == NOT_HEARD => {
            let (role, token) = (take.role.clone(), take.token.clone());
            let hear = Hear { role, from: Some(take.from.clone()), token, timeout: Some(Millis(0)) };
            let heard = talk.hear(hear)?;
            if heard.sequence != take.sequence {
                return Err(Failure::Problem(problem));
            }
            talk.take(take)
        }
        answer => answer,
    }
}

impl OfferedArgs {
    /// Prints it.
    pub fn run(self, json: bool) -> Outcome {
        // Names of roles have no character that means something in a path.
        if !self.role.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
            return Err(Failure::new(ProblemKind::BadRequest, format!("{} is no name of a role", self.role)));
        }
        let talk = Arc::new(Talk::reach(self.session)?);
        let offers = waiting::promptly(&talk, move |talk| talk.offered(&self.role))?;
        if json {
            print_json(&offers)?;
            return Ok(Status::OK);
        }
        let rows: Vec<Vec<String>> = offers.iter().map(row).collect();
        if rows.is_empty() {
            say("nothing");
        }
        print(&table(&rows))?;
        Ok(Status::OK)
    }
}

fn row(offer: &Offer) -> Vec<String> {
    let what = format!("{}({})", offer.label, offer.payload.join(", "));
    let (verb, to) = if offer.says { ("say", "to") } else { ("hear", "from") };
    let now = if offer.ready { "now" } else { "not yet" };
    vec![format!("{verb} {}", printable(&what)), format!("{to} {}", printable(&offer.peer)), now.to_owned()]
}

/// Names the line, so that it is said once should the daemon die and be asked again.
fn token() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|e| Failure::new(ProblemKind::Failed, format!("no random numbers: {e}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
