//! `find`: sessions by what their opener said of them.

use sessile_model::SessionRecord;

use super::list::print_records;
use crate::client::{Daemon, with_query};
use crate::failure::Outcome;
use crate::options::Label;

/// Find sessions by user, channel, chat or label
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile find --user ann
  sessile find --label team=red --label ci=yes --json

All conditions must hold.")]
#[group(required = true, multiple = true)]
pub struct Args {
    /// Whose it is
    #[arg(long, value_name = "TEXT")]
    user: Option<String>,
    /// Its channel
    #[arg(long, value_name = "TEXT")]
    channel: Option<String>,
    /// Its chat
    #[arg(long, value_name = "TEXT")]
    chat: Option<String>,
    /// A label with this value
    #[arg(long = "label", short = 'l', value_name = "K=V")]
    labels: Vec<Label>,
}

impl Args {
    /// Prints those that fit.
    pub fn run(self, json: bool) -> Outcome {
        let daemon = Daemon::reach()?;
        let mut pairs = vec![("user", self.user), ("channel", self.channel), ("chat", self.chat)];
        pairs.extend(self.labels.into_iter().map(|Label(k, v)| ("label", Some(format!("{k}={v}")))));
        let records: Vec<SessionRecord> = daemon.get(&with_query("/v1/sessions", &pairs))?;
        print_records(&records, "no session is like that", json)
    }
}
