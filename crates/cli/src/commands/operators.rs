//! `operators`: whose keys are known here.

use sessile_model::OperatorName;
use sessile_model::hex;
use sessile_model::problem::ProblemKind;
use sessile_model::protocol::Speaker;
use sessile_protocol::monitor::seal::PublicKey;

use super::answer::operator;
use crate::failure::{Failure, Outcome, Status};
use crate::output::{counted, print, print_json, say, table};
use crate::startup;
use crate::talk::keys::{self, Known};

/// List the operators whose keys are known, or make another known
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:
  sessile operators
  sessile operators ann
  sessile operators bob --key 5f1c…          # 64 digits; the secret half is where bob keeps it

An operator is known by a key. NAME alone makes one in the state folder, with a public half beside it; --key makes one
known whose secret half lies elsewhere, which `answer --key-file` signs with. Whoever has a key may answer as its
operator, and one that lies in your state folder is yours too: what two people are to decide needs a key that is
elsewhere. A key that is known is never replaced; remove its files in `operators` of the state folder first.")]
pub struct Args {
    /// The operator
    #[arg(value_name = "NAME", value_parser = operator)]
    name: Option<OperatorName>,
    /// The public key by which they are known, whose secret half is elsewhere
    #[arg(long, value_name = "KEY", requires = "name", value_parser = public)]
    key: Option<PublicKey>,
}

impl Args {
    /// Lists them, or makes one known.
    pub fn run(self, json: bool) -> Outcome {
        let state = startup::folders()?.state;
        let all = || keys::known(&state).map_err(|e| Failure::system("read the keys of operators", &e));
        let Some(name) = self.name else {
            let known = all()?;
            if !json && known.is_empty() {
                say(
                    "no operator has a key yet: the first line that is signed makes one, or `sessile operators NAME`",
                );
                return Ok(Status::OK);
            }
            return shown(&known, json);
        };
        let speaker = Speaker::operator(name);
        let key = match self.key {
            Some(key) => {
                keys::publish(&state, &speaker, &key.to_bytes())?;
                key.to_bytes()
            }
            None if all()?.iter().any(|one| one.speaker == speaker && !one.is_here) => {
                return shown(
                    &all()?.into_iter().filter(|one| one.speaker == speaker).collect::<Vec<_>>(),
                    json,
                );
            }
            None => keys::load_operator(&state, &speaker)?.public().to_bytes(),
        };
        let known: Vec<Known> = all()?.into_iter().filter(|one| one.speaker == speaker).collect();
        if known.iter().all(|one| one.key != key) {
            let detail = format!("{speaker} is known by another key already");
            return Err(Failure::new(ProblemKind::Conflict, detail)
                .hint("`sessile operators` shows it; its files are in `operators` of the state folder"));
        }
        shown(&known, json)
    }
}

fn shown(known: &[Known], json: bool) -> Outcome {
    let place = |one: &Known| if one.is_here { "in the state folder" } else { "elsewhere" };
    if json {
        let all = known.iter().map(|one| {
            serde_json::json!({"operator": one.speaker, "key": hex::text(&one.key), "here": one.is_here})
        });
        print_json(&all.collect::<Vec<_>>())?;
        return Ok(Status::OK);
    }
    let mut rows = vec![["OPERATOR", "KEY", "SECRET HALF"].map(str::to_owned).to_vec()];
    rows.extend(
        known.iter().map(|one| vec![one.speaker.to_string(), hex::text(&one.key), place(one).to_owned()]),
    );
    print(&table(&rows))?;
    Ok(Status::OK)
}

fn public(text: &str) -> Result<PublicKey, String> {
    let next = "`sessile operators` shows the right one where its secret half is";
    let digits = text.chars().filter(char::is_ascii_hexdigit).count();
    if digits < text.chars().count() {
        return Err(format!("it is not of hexadecimal digits alone, as an Ed25519 key of 64 is: {next}"));
    }
    let key: [u8; 32] = hex::bytes(text).ok_or_else(|| {
        format!("it has {}, and an Ed25519 key 64: {next}", counted(digits as u64, "digit", "digits"))
    })?;
    PublicKey::from_bytes(&key).map_err(|_| {
        format!("nobody has this key: it is no point of the curve, or one that verifies what anybody signs; {next}")
    })
}
