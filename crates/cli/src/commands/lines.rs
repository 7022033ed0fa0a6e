//! `send`, `recv`, `offered`: what is said in a session, by its protocol or without one, by hand or from a script.

use std::io::IsTerminal as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sessile_model::problem::ProblemKind;
use sessile_model::protocol::{
    Hear, LONGEST_PAYLOAD, LONGEST_WORD, NOT_HEARD, Offer, Said, Say, Stand, Take,
};
use sessile_model::quantity::Millis;

use crate::failure::{Failure, Outcome, Status};
use crate::files;
use crate::output::{print, print_json, printable, say, table};
use crate::standard;
use crate::talk::{Place, Talk, waiting};

/// Say a line in a session: to an app or the operator, or as its protocol has it
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile send amber main 'What is new?'                 # a session without a protocol
  git diff | sessile send amber main -
  sessile send . operator 'Not much.'                    # from a script inside
  sessile send amber --as User Agent prompt 'What is new?'
  git diff | sessile send amber --as Coder Reviewer change -
  sessile send . --as Agent User part 'Not much.'        # from a script inside

Once this command has ended with 0, the line is delivered once, whatever dies. Without a protocol the
operator and the apps, each by its name, say what they like to each other; where sixteen lines wait already
there is no room (71), and --timeout waits for some. What a protocol does not allow now is refused (73); so
is a role that somebody else speaks for (77). Lines of a protocol are signed by a key that is made with the
first one: an operator's in the state folder, an app's in its own sandbox.")]
pub struct SendArgs {
    /// The session; inside one, . for that
    session: Place,
    /// As which role; without a protocol it goes without saying
    #[arg(long = "as", value_name = "ROLE")]
    role: Option<String>,
    /// To which role, or without a protocol to which app
    to: String,
    /// What it is called; without a protocol it may be left out
    label: Option<String>,
    /// What it carries, where the protocol has a type for it: a text, '' for an empty one, or - for standard input
    payload: Option<String>,
    /// Give up where there is no room for this long
    #[arg(long, value_name = "TIME")]
    timeout: Option<Millis>,
}

/// Hear the next line for a role
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile recv amber                                     # what apps say to the operator
  sessile recv amber --as Agent
  sessile recv amber --as Agent --from User --timeout 5s --json | jq -r .payload
  heard=$(sessile recv . --as Agent --with-label)        # in a script inside

Who said it and what it is called is on standard error, what it carries on standard output; a
terminal gets escape sequences made visible. It counts as heard once it is written there. Exit code 124 when nothing comes in time.")]
pub struct RecvArgs {
    /// The session; inside one, . for that
    session: Place,
    /// As which role; without a protocol it goes without saying
    #[arg(long = "as", value_name = "ROLE")]
    role: Option<String>,
    /// From this role, or without a protocol from this app
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
    /// The role; without a protocol it goes without saying
    #[arg(long = "as", value_name = "ROLE")]
    role: Option<String>,
}

impl SendArgs {
    /// Says it.
    pub fn run(self, json: bool) -> Outcome {
        let Some(word) = self.label else {
            let detail = "say what: a text, or - for standard input; with a protocol, its label before it";
            return Err(Failure::new(ProblemKind::BadRequest, detail));
        };
        let role = self.role.unwrap_or_default();
        let mut line = Say {
            role: role.clone(),
            to: self.to,
            label: String::new(),
            payload: String::new(),
            token: token()?,
            timeout: self.timeout,
            seal: None,
        };
        let said = if let Some(text) = self.payload {
            let payload = carried(&text)?;
            line.label = word;
            line.payload = STANDARD.encode(&payload);
            let talk = Arc::new(Talk::reach(self.session)?);
            waiting::asked(&talk, &role, self.timeout, move |talk| talk.say(line, Some(&payload), None))?
        } else {
            // One word is a label where there is a protocol, and else what is said.
            let input = if word == "-" { Some(carried(&word)?) } else { None };
            let talk = Arc::new(Talk::reach(self.session)?);
            waiting::asked(&talk, &role, self.timeout, move |talk| say_one(talk, line, word, input))?
        };
        if json {
            print_json(&said)?;
        }
        Ok(Status::OK)
    }
}

/// What a line carries: a text, or standard input.
fn carried(text: &str) -> Result<Vec<u8>, Failure> {
    match text {
        "-" => {
            standard::input_is_open()?;
            Ok(files::standard_input(LONGEST_PAYLOAD)?.to_vec())
        }
        text if text.len() > LONGEST_PAYLOAD => {
            let detail = format!("a payload has at most {LONGEST_PAYLOAD} bytes");
            Err(Failure::new(ProblemKind::BadRequest, detail))
        }
        text => Ok(text.as_bytes().to_vec()),
    }
}

/// Says one word: a label that carries nothing, or where there is no protocol this text, or what came by standard
/// `input`.
fn say_one(talk: &Talk, mut line: Say, word: String, input: Option<Vec<u8>>) -> Result<Said, Failure> {
    let is_label = input.is_none() && word.len() <= LONGEST_WORD;
    let label = if is_label { word.clone() } else { String::new() };
    let stand = Stand { role: line.role.clone(), to: line.to.clone(), label };
    let standing = talk.stand(&stand)?;
    if !standing.free {
        line.label = word;
        return talk.say(line, None, Some(standing));
    }
    let payload = match input {
        Some(input) => input,
        None => carried(&word)?,
    };
    line.payload = STANDARD.encode(&payload);
    talk.say_once(&line)
}

impl RecvArgs {
    /// Hears it, writes it, and takes it.
    pub fn run(self, json: bool) -> Outcome {
        standard::output_is_open()?;
        let talk = Arc::new(Talk::reach(self.session)?);
        let token = token()?;
        let role = self.role.unwrap_or_default();
        let hear =
            Hear { role: role.clone(), from: self.from, token: Some(token.clone()), timeout: self.timeout };
        let heard = waiting::asked(&talk, &role, self.timeout, move |talk| talk.hear(hear))?;
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
            say(format!("{} says {}", printable(&heard.from), printable(&heard.label)).trim_end());
            standard::write_all(&shown)?;
        }
        taken(&talk, Take { role, from: heard.from, sequence: heard.sequence, token: Some(token) })?;
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
        let role = self.role.unwrap_or_default();
        if !role.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '-')) {
            return Err(Failure::new(ProblemKind::BadRequest, format!("{role} is no name of a role")));
        }
        let talk = Arc::new(Talk::reach(self.session)?);
        let offers = waiting::promptly(&talk, move |talk| talk.offered(&role))?;
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
    let mut now = if offer.ready { "now" } else { "not yet" }.to_owned();
    if let Some(left) = offer.left {
        now += &format!(", for another {:.1}s", left.as_duration().as_secs_f64());
    }
    if offer.ended {
        now += ", and its app has ended";
    }
    vec![format!("{verb} {}", printable(&what)), format!("{to} {}", printable(&offer.peer)), now]
}

/// Names the line, so that it is said once should the daemon die and be asked again.
fn token() -> Result<String, Failure> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes)
        .map_err(|e| Failure::new(ProblemKind::Failed, format!("no random numbers: {e}")))?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}
