//! Credentials for the gateway: which header of which host, and where its value is.

use std::path::Path;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};
use sessile_model::credential::{Credential, MAX_VALUES, SecretText, is_header};
use sessile_model::network::{MAX_UPSTREAM_CA, Target};
use sessile_model::problem::ProblemKind;
use sessile_model::spec::Spec;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::failure::Failure;
use crate::files;
use crate::tools::expanded;

/// What stands before a value that is a bearer's token (RFC 6750, section 2.1).
const BEARER: &str = "Bearer ";

/// The value of `--credential`: `HOST[:PORT]=HEADER:[bearer:]env:VAR` or `…:file:PATH`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CredentialArgument {
    target: Target,
    header: String,
    bearer: bool,
    source: Source,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Source {
    Env(String),
    File(String),
}

/// Why a text is not a credential. What follows the host is not repeated: it may be the secret.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum InvalidCredential {
    /// Not of that form.
    #[error(
        "expected HOST[:PORT]=HEADER:env:VAR or HOST[:PORT]=HEADER:file:PATH; the secret itself does not \
         belong on a command line, where every user of this machine can see it"
    )]
    Form,
    /// Not one host.
    #[error("a credential is for one host, such as api.example.com")]
    Host,
    /// Not a header that can be one.
    #[error("this header cannot be a credential")]
    Header,
}

impl FromStr for CredentialArgument {
    type Err = InvalidCredential;

    fn from_str(text: &str) -> Result<Self, InvalidCredential> {
        let (host, rest) = text.split_once('=').ok_or(InvalidCredential::Form)?;
        let target: Target = host.parse().map_err(|_| InvalidCredential::Host)?;
        if !target.is_exact() {
            return Err(InvalidCredential::Host);
        }
        let (header, rest) = rest.split_once(':').ok_or(InvalidCredential::Form)?;
        let (bearer, rest) = match rest.strip_prefix("bearer:") {
            Some(rest) => (true, rest),
            None => (false, rest),
        };
        let source = match rest.split_once(':') {
            Some(("env", name)) if !name.is_empty() => Source::Env(name.to_owned()),
            Some(("file", path)) if !path.is_empty() => Source::File(path.to_owned()),
            Some(_) | None => return Err(InvalidCredential::Form),
        };
        if !is_header(header) {
            return Err(InvalidCredential::Header);
        }
        Ok(Self { target, header: header.to_owned(), bearer, source })
    }
}

impl<'de> Deserialize<'de> for CredentialArgument {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

impl CredentialArgument {
    /// The credential with its value, for a session that is given the rest of `spec`. That others
    /// may read its file goes to `notices`.
    ///
    /// # Errors
    /// When the variable is not set or the file cannot be read, or the session is given it.
    pub fn resolve(
        &self,
        spec: &Spec,
        home: &Path,
        notices: &mut Vec<String>,
    ) -> Result<Credential, Failure> {
        let read = match &self.source {
            Source::Env(name) if spec.env.iter().any(|variable| variable.name == *name) => {
                return Err(given(name, "variable", "leave out its --env"));
            }
            Source::Env(name) => Zeroizing::new(std::env::var(name).map_err(|_| {
                Failure::new(ProblemKind::BadRequest, format!("the variable {name} is not set, or not UTF-8"))
                    .hint(format!("set it to the value of {} for {}", self.header, self.target))
            })?),
            Source::File(path) => {
                let path = expanded(path, home);
                let read = files::text(&path, MAX_VALUES)?;
                if is_seen(&path, spec) {
                    return Err(given(&path.display(), "file", "keep it elsewhere, such as in your home"));
                }
                notices.extend(files::exposure(&path).map(|exposed| format!("warning: {exposed}")));
                read
            }
        };
        let value = read.strip_suffix('\n').map_or(read.as_str(), |v| v.strip_suffix('\r').unwrap_or(v));
        if value.is_empty() {
            let detail = format!("the credential for {} is empty", self.target);
            return Err(Failure::new(ProblemKind::BadRequest, detail));
        }
        let scheme = if self.bearer { BEARER } else { "" };
        Ok(Credential {
            target: self.target.clone(),
            header: self.header.clone(),
            value: SecretText([scheme, value].concat()),
        })
    }
}

fn given(source: &dyn std::fmt::Display, kind: &str, hint: &str) -> Failure {
    let why =
        format!("the session is given the {kind} {source} itself: programs inside could read the credential");
    Failure::new(ProblemKind::BadRequest, why).hint(hint)
}

/// Whether a file is below the project or a mount.
fn is_seen(path: &Path, spec: &Spec) -> bool {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let file = real(path);
    let project = spec.project.iter().map(|project| &project.path);
    let mut shown = project.chain(spec.mounts.iter().map(|mount| &mount.source));
    shown.any(|folder| file.starts_with(real(Path::new(folder))))
}

/// The certificates of a file, in PEM.
///
/// # Errors
/// When it cannot be read, is too large, or holds none.
pub fn certificates(path: &Path) -> Result<String, Failure> {
    let text = files::text(path, MAX_UPSTREAM_CA)?;
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        let detail = format!("{} holds no certificate in PEM", path.display());
        return Err(Failure::new(ProblemKind::BadRequest, detail));
    }
    Ok(text.as_str().to_owned())
}

#[cfg(test)]
mod tests {
    use sessile_model::spec::{EnvVar, Mount};

    use super::*;

    #[test]
    fn a_value_comes_from_a_file_or_a_variable() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "s3cret\n").unwrap();
        let spec = Spec::default();
        let resolve = |text: &str, spec: &Spec| {
            text.parse::<CredentialArgument>().unwrap().resolve(spec, folder.path(), &mut Vec::new())
        };
        let of = |text: String| resolve(&text, &spec).unwrap();
        let plain = of(format!("api.example.com=X-Key:file:{}", file.display()));
        assert_eq!((plain.header.as_str(), plain.value.0.as_str()), ("X-Key", "s3cret"));
        let bearer = of(format!("api.example.com:8443=Authorization:bearer:file:{}", file.display()));
        assert_eq!(bearer.value.0, "Bearer s3cret");
        assert_eq!(bearer.target.to_string(), "api.example.com:8443");
        let home = of("a.example=X-Key:file:~/token".to_owned());
        assert_eq!(home.value.0, "s3cret");
        assert!(resolve("a.example=X-Key:env:NEVER_SET_HERE", &spec).is_err());
        // What the session itself is given is no secret of it.
        let path = folder.path().to_str().unwrap().to_owned();
        let mount = Mount { source: path, target: "/x".into(), writable: false, from_tools: false };
        let env = vec![EnvVar { name: "HOME".into(), value: "x".into() }];
        let giving = Spec { mounts: vec![mount], env, ..Spec::default() };
        for source in ["file:~/token", "env:HOME"] {
            let refused = resolve(&format!("a.example=X-Key:{source}"), &giving).unwrap_err();
            assert!(format!("{refused:?}").contains("could read the credential"), "{refused:?}");
        }
    }

    #[test]
    fn what_is_no_credential_is_refused_without_repeating_it() {
        for (text, why) in [
            ("a.example", InvalidCredential::Form),
            ("a.example=Authorization", InvalidCredential::Form),
            ("a.example=Authorization:s3cret", InvalidCredential::Form),
            ("a.example=Authorization:Bearer s3cret", InvalidCredential::Form),
            ("a.example=Authorization:env:", InvalidCredential::Form),
            ("*.example=Authorization:env:A", InvalidCredential::Host),
            ("a b=Authorization:env:A", InvalidCredential::Host),
            ("a.example=Host:env:A", InvalidCredential::Header),
        ] {
            let refused = text.parse::<CredentialArgument>().unwrap_err();
            assert!(!refused.to_string().contains("s3cret"));
            assert_eq!(refused, why, "{text}");
        }
    }
}
