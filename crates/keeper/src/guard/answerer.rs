//! Who answers about what is held, as far as it is shown: all who may ask are one user, and a name is a word.
//!
//! By a signature, with a key that was known as the named operator's before the line was held. The installation
//! knows those in its folder of operators, and where it has none the session knows the one that signs the lines of the
//! operator's role.

use std::fs::{self, OpenOptions};
use std::io::Read as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;
use sessile_model::api::{Answer, AnswerSeal, Verdict};
use sessile_model::hex;
use sessile_model::ids::SessionId;
use sessile_model::protocol::{Speaker, public_of};
use sessile_model::{Problem, ProblemKind};
use sessile_protocol::monitor::approval::Approval;
use sessile_protocol::monitor::seal::PublicKey;
use sessile_protocol::monitor::setup;

use crate::channels::Conversation;
use crate::keeper::Keeper;

/// Most files that are looked at in the folder of operators, and most bytes of one.
const MOST_FILES: usize = 1024;
const MOST_BYTES: u64 = 256;
/// What one may do who is not believed.
const HINT: &str = "`sessile answer … --by NAME` is signed with NAME's key; `sessile operators NAME` makes one, which \
                    counts for what is held from then on";

/// A public key's bytes.
type Key = [u8; 32];

/// Whose something is that is held, and who was known when it was.
#[derive(Clone, Debug)]
pub(super) struct Cause {
    by: Speaker,
    /// By which key it was signed, where it was.
    key: Option<Key>,
    known: Vec<(Speaker, Key)>,
}

/// Who answers.
#[derive(Debug)]
pub(super) struct Answerer {
    pub by: Speaker,
    /// The key that shows it.
    pub key: Option<String>,
}

impl Cause {
    pub(super) fn by(&self) -> &Speaker {
        &self.by
    }

    /// Who gives this answer.
    ///
    /// # Errors
    /// When it is signed and the signature does not fit, or it allows what they have said themselves, as far as is
    /// shown.
    pub(super) fn answerer(
        &self,
        (session, question): (SessionId, u32),
        answer: &Answer,
    ) -> Result<Answerer, Problem> {
        let by = answer.by.clone().map_or(Speaker::Operator(None), Speaker::operator);
        let allows = answer.verdict == Verdict::Allow;
        let signed = answer.seal.as_ref().map(|seal| {
            let name = by.to_string();
            let session = setup::SessionId(session.as_bytes());
            signer(seal, &Approval { session, question, allows, by: &name })
        });
        let signed = signed.transpose()?;
        let shown = signed.filter(|key| self.known.contains(&(by.clone(), *key)));
        if allows && matches!(self.by, Speaker::Operator(_)) {
            self.is_another(&by, signed, shown)?;
        }
        Ok(Answerer { by, key: shown.map(|key| hex::text(&key)) })
    }

    fn is_another(&self, by: &Speaker, signed: Option<Key>, shown: Option<Key>) -> Result<(), Problem> {
        let said = &self.by;
        let detail = match (signed, shown) {
            _ if by == said => format!("{said} has said it, and somebody else is to allow it"),
            (_, Some(key)) if self.key == Some(key) || self.known.contains(&(said.clone(), key)) => {
                format!(
                    "the key of {by} is that of {said} too, who has said it: somebody else is to allow it"
                )
            }
            (_, Some(_)) => return Ok(()),
            (Some(_), None) => format!("the key was not known as that of {by} when this was held"),
            (None, None) => {
                format!(
                    "{said} has said it, and nothing shows that {by} is somebody else: the answer is not signed"
                )
            }
        };
        Err(Problem::new(ProblemKind::Denied, detail).hint(HINT))
    }
}

/// The key by which an answer is signed.
fn signer(seal: &AnswerSeal, answer: &Approval<'_>) -> Result<Key, Problem> {
    let key = hex::bytes(&seal.key).and_then(|bytes| PublicKey::from_bytes(&bytes).ok());
    let (Some(key), Some(signature)) = (key, hex::bytes(&seal.signature)) else {
        let detail = "an answer's seal is an Ed25519 key in 64 hexadecimal digits and a signature in 128";
        return Err(Problem::new(ProblemKind::BadRequest, detail));
    };
    match answer.is_signed_by(&key, &signature) {
        true => Ok(key.to_bytes()),
        false => {
            let detail = format!("the signature is not of this answer by {}", answer.by);
            Err(Problem::new(ProblemKind::Denied, detail)
                .hint("it is of the session, the question, the verdict and the name (`docs/lines.md`)"))
        }
    }
}

impl Keeper {
    /// What is to be remembered of who caused something that is held.
    pub(super) fn cause(&self, by: &Speaker, key: Option<Key>) -> Cause {
        let mut known = installed(&self.seat.operators);
        if let Conversation::Held(channels) = &self.talk.conversation {
            let has_one = |speaker: &Speaker| known.iter().any(|(other, _)| other == speaker);
            let of_session = channels.keys_of_operators();
            let more: Vec<_> = of_session.into_iter().filter(|(speaker, _)| !has_one(speaker)).collect();
            known.extend(more);
        }
        Cause { by: by.clone(), key, known }
    }
}

/// The operators whose keys the installation has. What cannot be read shows nothing.
fn installed(folder: &Path) -> Vec<(Speaker, Key)> {
    let files = fs::read_dir(folder).into_iter().flatten().flatten().take(MOST_FILES);
    let known = files.filter_map(|file| public_of(file.file_name().to_str()?, &text(&file.path())?));
    known.collect()
}

fn text(path: &Path) -> Option<String> {
    if path.extension()? != "pub" {
        return None;
    }
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits() as i32).open(path).ok()?;
    let mut text = String::new();
    file.take(MOST_BYTES).read_to_string(&mut text).ok()?;
    Some(text)
}
