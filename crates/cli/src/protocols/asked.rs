//! The protocol that a command line asks for.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr;

use sessile_model::problem::ProblemKind;
use sessile_model::protocol::{Closing, OnViolation, ProtocolFile, ProtocolSpec, Signing, Speaker};
use sessile_protocol::{Discipline, Limits, check};

use super::{File, refused};
use crate::failure::Failure;
use crate::options::SessionOptions;

/// Who speaks for a role: `ROLE=SPEAKER`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleArgument(String, Speaker);

impl FromStr for RoleArgument {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (role, speaker) = text.split_once('=').ok_or("it is ROLE=SPEAKER, such as user=operator")?;
        Ok(Self(role.to_owned(), speaker.parse().map_err(|e| format!("{e}"))?))
    }
}

/// Who may close the conversation: `ROLE`, `ROLE=drain` or `ROLE=abort`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloserArgument(String, Closing);

impl FromStr for CloserArgument {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            None | Some((_, "drain")) => {
                Ok(Self(text.split('=').next().unwrap_or_default().to_owned(), Closing::Drain))
            }
            Some((role, "abort")) => Ok(Self(role.to_owned(), Closing::Abort)),
            Some(_) => Err("it is ROLE, ROLE=drain or ROLE=abort"),
        }
    }
}

/// What becomes of a violation, as it is typed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum ViolationArgument {
    /// It is refused
    Refuse,
    /// It ends the session
    Fault,
}

/// Reads and checks the protocol that a session is to have.
///
/// # Errors
/// When it cannot be read, is not accepted, or a role is named twice.
pub fn asked(options: &SessionOptions, folder: &Path) -> Result<Option<ProtocolSpec>, Failure> {
    let Some(wanted) = &options.protocol else { return Ok(None) };
    let name = wanted.protocol.as_deref();
    let is_shipped = wanted.path.as_os_str().as_encoded_bytes().starts_with(b"@");
    let path = if is_shipped { wanted.path.clone() } else { folder.join(&wanted.path) };
    let mut file = File::read(&path, &[])?;
    let found =
        file.look(|source, loader| check(source, loader, name, Discipline::Complete, Limits::default()))?;
    if let Err(all) = found {
        return Err(refused(file.name(), &all, false));
    }
    let mut roles = BTreeMap::new();
    for RoleArgument(role, speaker) in &options.role {
        if roles.insert(role.clone(), speaker.clone()).is_some() {
            let detail = format!("--role names {role} twice");
            return Err(Failure::new(ProblemKind::BadRequest, detail));
        }
    }
    let mut files = vec![ProtocolFile { name: file.short_name().to_owned(), text: file.text().to_owned() }];
    files.extend(file.imported().map(|(name, text)| ProtocolFile { name, text }));
    let on_violation = match options.on_violation {
        Some(ViolationArgument::Fault) => OnViolation::Fault,
        Some(ViolationArgument::Refuse) | None => OnViolation::Refuse,
    };
    let mut closers = BTreeMap::new();
    for CloserArgument(role, how) in &options.closer {
        if !roles.contains_key(role) {
            let detail = format!("--closer names {role}, and --role does not");
            return Err(Failure::new(ProblemKind::BadRequest, detail));
        }
        if closers.insert(role.clone(), *how).is_some() {
            return Err(Failure::new(ProblemKind::BadRequest, format!("--closer names {role} twice")));
        }
    }
    let signing = if options.unsigned { Signing::Unsigned } else { Signing::Signed };
    let name = name.map(str::to_owned);
    Ok(Some(ProtocolSpec { files, name, roles, on_violation, signing, closers }))
}
