//! `close`, `delegate`: the end of a session's conversation, and who speaks for a role.

use sessile_model::SessionRecord;
use sessile_model::problem::ProblemKind;
use sessile_model::protocol::{CloseTalk, Closing, Delegate, ProtocolStatus, Speaker};

use crate::failure::{Failure, Outcome, Status};
use crate::output::{print, print_json, printable, say};
use crate::talk::{Place, Talk};

/// Close a session's conversation; the session itself goes on
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile close amber                      # nothing more is said; what was said can still be heard
  sessile close amber --abort              # at once; what nobody has heard is listed
  sessile close . --as Agent               # from inside, where `run --closer Agent` allows it

A conversation that is closed already stays as it is, and how it stands is printed.")]
pub struct CloseArgs {
    /// The session; inside one, . for that
    session: Place,
    /// As which role [default: as an operator]
    #[arg(long = "as", value_name = "ROLE")]
    role: Option<String>,
    /// Do not wait until what was said is heard
    #[arg(long)]
    abort: bool,
}

/// Have another speak for a role of a session's protocol
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile delegate amber Agent operator:ann
  sessile delegate amber User operator     # to the same: its key is lost, and the next one is known instead
  sessile delegate . Agent app:second      # from inside: an app gives its own role, and no other

The key that the role was known by is withdrawn, and what is signed by it from then on is refused. What is
printed is the receipt.")]
pub struct DelegateArgs {
    /// The session; inside one, . for that
    session: Place,
    /// The role
    role: String,
    /// Who speaks for it from now on: operator, operator:NAME or app:NAME
    #[arg(value_name = "SPEAKER")]
    to: Speaker,
}

impl CloseArgs {
    /// Closes it.
    pub fn run(self, json: bool) -> Outcome {
        let how = if self.abort { Closing::Abort } else { Closing::Drain };
        if let (Place::Here, None) = (&self.session, &self.role) {
            return Err(Failure::new(ProblemKind::BadRequest, "inside, a role closes the conversation")
                .hint("name it with --as"));
        }
        let record = Talk::reach(self.session)?.close(CloseTalk { role: self.role, how })?;
        if json {
            print_json(&record)?;
            return Ok(Status::OK);
        }
        let mut text = match &record.status {
            ProtocolStatus::Active => "goes on".to_owned(),
            ProtocolStatus::Draining => "nothing more is said; what was said can be heard".to_owned(),
            ProtocolStatus::Closed => "over".to_owned(),
            ProtocolStatus::Cancelled => "cut off".to_owned(),
            ProtocolStatus::Faulted { violation } => format!("faulted: {}", printable(violation)),
            ProtocolStatus::Lost { why } => format!("lost: {}", printable(why)),
        };
        text.push('\n');
        for line in &record.unheard {
            let [label, from, to] = [&line.label, &line.from, &line.to].map(|word| printable(word));
            text += &format!("not heard: {label} from {from} to {to}, number {}\n", line.sequence);
        }
        print(&text)?;
        Ok(Status::OK)
    }
}

impl DelegateArgs {
    /// Hands it over.
    pub fn run(self, json: bool) -> Outcome {
        let wanted = Delegate { role: self.role, to: self.to };
        let talk = Talk::reach(self.session)?;
        let given = talk.delegate(wanted)?;
        if let (Talk::Outside(daemon, session), Speaker::App(app)) = (&talk, &given.to)
            && let Ok(record) = daemon.get::<SessionRecord>(&session.path(""))
            && !record.apps.iter().any(|one| one.name == *app && one.exit.is_none())
        {
            say(&format!("no app {app} runs yet: `sessile exec --app {app}` starts one"));
        }
        if json {
            print_json(&given)?;
            return Ok(Status::OK);
        }
        let role = printable(&given.role);
        let mut text =
            format!("{role}: {} instead of {}, by {}\n", given.to, given.from, printable(&given.by));
        text += &format!("session {}, epoch {}, after state {}\n", given.session, given.epoch, given.state);
        if let Some(key) = &given.withdrawn {
            text += &format!("key withdrawn: {key}\n");
        }
        print(&text)?;
        Ok(Status::OK)
    }
}
