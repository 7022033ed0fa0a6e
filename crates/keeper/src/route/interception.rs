//! What opening TLS needs: the session's certificate authority and its credentials, in secret
//! memory that the anchor keeps, until the keys are destroyed.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair, KeyUsagePurpose};
use serde::{Deserialize, Serialize};
use sessile_model::credential::{Credential, HTTPS, SecretText};
use sessile_model::gateway::{AUTHORITY, Order};
use sessile_model::network::{TRUST_BUNDLES, Target};
use sessile_model::record::Grant;
use sessile_model::spec::Spec;
use sessile_model::state::Component;
use sessile_model::{Problem, ProblemKind};
use sessile_sandbox::app::CERTIFICATES;
use sessile_session::Event;
use sessile_vault::secret::SecretMemory;
use zeroize::Zeroize;

use crate::bringup::failed;
use crate::keeper::Keeper;

/// The name under which the anchor keeps it.
pub const KEPT: &str = "gateway/interception";
/// Variables by which programs find the certificates that they trust.
const VARIABLES: [&str; 9] = [
    "AWS_CA_BUNDLE",
    "CARGO_HTTP_CAINFO",
    "CURL_CA_BUNDLE",
    "DENO_CERT",
    "GIT_SSL_CAINFO",
    "NODE_EXTRA_CA_CERTS",
    "PIP_CERT",
    "REQUESTS_CA_BUNDLE",
    "SSL_CERT_FILE",
];

/// As secret memory has it.
#[derive(Serialize, Deserialize)]
struct Kept {
    certificate: String,
    key: SecretText,
    credentials: Vec<Credential>,
}

/// Takes the credentials out of a specification, and leaves what they imply: the host may be
/// reached, unless it is one to ask about, and its TLS is opened.
pub fn take_credentials(spec: &mut Spec) -> Vec<Credential> {
    let mut credentials = std::mem::take(&mut spec.credentials);
    for credential in &mut credentials {
        let target = Target { port: credential.target.port.or(Some(HTTPS)), ..credential.target.clone() };
        let network = &mut spec.network;
        let is_asked_about = network
            .ask
            .iter()
            .any(|ask| ask.host == target.host && (ask.port.is_none() || ask.port == target.port));
        if !is_asked_about && !network.allow.contains(&target) {
            network.allow.push(target.clone());
        }
        if !network.intercept.contains(&target) {
            network.intercept.push(target.clone());
        }
        credential.target = target;
    }
    credentials
}

/// Credentials as the record shows them.
pub fn grants(credentials: &[Credential]) -> impl Iterator<Item = Grant> {
    credentials
        .iter()
        .map(|c| Grant::Credential { target: Some(c.target.to_string()), header: c.header.clone() })
}

/// Variables that lead programs to the certificates, where TLS is opened.
pub fn variables(spec: &Spec) -> impl Iterator<Item = (String, String)> {
    let wanted = !spec.network.intercept.is_empty();
    let names = VARIABLES.into_iter().filter(move |_| wanted);
    names.map(|name| (name.to_owned(), format!("/etc/{CERTIFICATES}")))
}

/// A new authority: its certificate and its key, both in PEM.
fn authority() -> Result<(String, SecretText), rcgen::Error> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, AUTHORITY);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), SecretText(key.serialize_pem())))
}

impl Keeper {
    /// Puts a new authority and the credentials into secret memory, where a successor finds them.
    pub(crate) fn remember_interception(
        &mut self,
        spec: &Spec,
        credentials: Vec<Credential>,
    ) -> Result<(), Problem> {
        if spec.network.intercept.is_empty() {
            return Ok(());
        }
        let (certificate, key) = authority().map_err(|e| failed("the certificate authority", &e))?;
        let kept = Kept { certificate, key, credentials };
        let mut json = serde_json::to_vec(&kept).map_err(|e| failed("the credentials", &e))?;
        let outcome = SecretMemory::create(json.len()).map(|mut memory| {
            memory.expose_mut().copy_from_slice(&json);
            memory
        });
        json.zeroize();
        let memory = outcome.map_err(|e| failed("secret memory for the credentials", &e))?;
        self.keep(KEPT, &memory).map_err(|e| failed("the anchor", &e))?;
        self.route.interception = Some(memory);
        Ok(())
    }

    /// Overwrites the authority and the credentials.
    pub(crate) fn forget_interception(&mut self) {
        if let Some(mut memory) = self.route.interception.take() {
            memory.overwrite();
            let _ = self.seat.link.remove(KEPT);
        }
    }

    /// What is kept, where TLS is opened. That it is lost is an error: a session does not go on
    /// without what it was given.
    fn interception(&self) -> Result<Option<Kept>, Problem> {
        if self.facts()?.spec.network.intercept.is_empty() {
            return Ok(None);
        }
        let kept = self.route.interception.as_ref().and_then(|m| serde_json::from_slice(m.expose()).ok());
        kept.map(Some).ok_or_else(|| {
            Problem::new(ProblemKind::Failed, "the session's certificate authority and credentials are lost")
        })
    }

    /// The credentials, for the guard to know them; none where they are lost.
    pub(crate) fn credentials(&self) -> Vec<Credential> {
        self.interception().ok().flatten().map(|kept| kept.credentials).unwrap_or_default()
    }

    /// Looks whether a predecessor's authority and credentials are there.
    pub(crate) fn heed_interception(&mut self) {
        if let Err(problem) = self.interception().map(drop) {
            self.cut_gateway();
            self.advance(Event::ComponentFailed { component: Component::Route, cause: problem.detail });
        }
    }

    /// What a gateway is told of it.
    pub(crate) fn interception_order(&self) -> Result<Option<Order>, Problem> {
        let kept = self.interception()?;
        Ok(kept.map(|Kept { certificate: _, key, credentials }| Order::Intercept { key, credentials }))
    }

    /// Files of `/etc` by which apps trust the authority beside what this host trusts.
    pub(crate) fn certificates(&self) -> Result<Vec<(String, Vec<u8>)>, Problem> {
        let Some(Kept { certificate, .. }) = self.interception()? else { return Ok(Vec::new()) };
        let mut bundle = TRUST_BUNDLES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
        if !bundle.is_empty() && !bundle.ends_with(b"\n") {
            bundle.push(b'\n');
        }
        bundle.extend_from_slice(certificate.as_bytes());
        Ok(vec![(CERTIFICATES.to_owned(), bundle)])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn credential(target: &str) -> Credential {
        Credential {
            target: target.parse().unwrap(),
            header: "Authorization".into(),
            value: SecretText("s3cret".into()),
        }
    }

    #[test]
    fn a_credential_implies_its_host_and_leaves_the_specification() {
        let mut spec = Spec { credentials: vec![credential("a.example")], ..Spec::default() };
        spec.network.allow.push("a.example:443".parse().unwrap());
        let taken = take_credentials(&mut spec);
        assert_eq!(taken[0].target.to_string(), "a.example:443");
        assert_eq!(spec.network.allow, ["a.example:443".parse().unwrap()]);
        assert_eq!(spec.network.intercept, ["a.example:443".parse().unwrap()]);
        assert!(!serde_json::to_string(&spec).unwrap().contains("s3cret"));
        assert!(variables(&spec).any(|(name, _)| name == "SSL_CERT_FILE"));
        assert_eq!(variables(&Spec::default()).count(), 0);
    }

    #[test]
    fn a_credential_leaves_a_question_a_question() {
        let mut spec = Spec { credentials: vec![credential("a.example")], ..Spec::default() };
        spec.network.ask.push("a.example".parse().unwrap());
        take_credentials(&mut spec);
        assert!(spec.network.allow.is_empty());
        assert_eq!(spec.network.intercept.len(), 1);
    }

    #[test]
    fn every_authority_has_a_key_of_its_own() {
        let (one, other) = (authority().unwrap(), authority().unwrap());
        assert_ne!(one.0, other.0);
        assert_ne!(one.1.0, other.1.0);
    }
}
