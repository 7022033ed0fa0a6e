//! Opening TLS: towards the host with its certificate verified, towards the app with one that the
//! session's own authority signs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, Issuer, KeyPair, KeyUsagePurpose};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore, ServerConfig};
use sessile_model::credential::{Credential, SecretText};
use sessile_model::gateway::AUTHORITY;
use sessile_model::network::{Network, TRUST_BUNDLES, Target};
use sessile_vault::secret::SecretError;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::{TlsAcceptor, TlsConnector, client, server};

use crate::http::visit::Brokered;
use crate::secret::Secret;
use crate::stream::Stream;

/// Most hosts whose certificates are remembered; beyond that all are made anew.
const MAX_CERTIFICATES: usize = 256;
/// The one protocol that is spoken inside.
const PROTOCOL: &[u8] = b"http/1.1";

/// Why TLS cannot be opened.
#[derive(Debug, Error)]
pub enum InterceptError {
    /// The session's authority is not one.
    #[error("the session's certificate authority: {0}")]
    Authority(#[from] rcgen::Error),
    /// The TLS library refuses.
    #[error("TLS: {0}")]
    Tls(#[from] rustls::Error),
    /// There is no secret memory.
    #[error("the credentials: {0}")]
    Secret(#[from] SecretError),
    /// The host's certificate, or what it speaks, is refused.
    #[error("{host} is not who it should be, or speaks no TLS that is understood: {why}")]
    Host {
        /// Its name.
        host: String,
        /// What is wrong.
        why: io::Error,
    },
    /// The app broke off.
    #[error(
        "the app broke off TLS: it does not trust the session's certificate authority, pins another, or \
         speaks no HTTP/1.1 ({0})"
    )]
    App(io::Error),
}

/// What a session's gateway opens TLS with.
pub struct Interception {
    credentials: Vec<(Target, String, Secret)>,
    issuer: Issuer<'static, KeyPair>,
    /// The key of every certificate that is made here.
    key: KeyPair,
    made: RefCell<HashMap<String, Arc<ServerConfig>>>,
    upstream: Arc<ClientConfig>,
}

impl std::fmt::Debug for Interception {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Interception").finish_non_exhaustive()
    }
}

impl Interception {
    /// With the session's authority (the key in PEM), for the hosts that its plan names.
    ///
    /// # Errors
    /// When the authority's key is not one.
    pub fn new(
        network: &Network,
        key: &SecretText,
        credentials: &[Credential],
    ) -> Result<Self, InterceptError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, AUTHORITY);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let issuer = Issuer::new(params, KeyPair::from_pem(&key.0)?);
        let mut upstream = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots(network))
            .with_no_client_auth();
        upstream.alpn_protocols = vec![PROTOCOL.to_vec()];
        let held = |c: &Credential| {
            Secret::new(c.value.0.as_bytes()).map(|value| (c.target.clone(), c.header.clone(), value))
        };
        Ok(Self {
            credentials: credentials.iter().map(held).collect::<Result<_, _>>()?,
            issuer,
            key: KeyPair::generate()?,
            made: RefCell::default(),
            upstream: Arc::new(upstream),
        })
    }

    /// What is set on requests to this host.
    pub fn brokered(&self, host: &str, port: u16) -> Vec<Brokered<'_>> {
        let fitting = self.credentials.iter().filter(|(target, _, _)| target.matches(host, port));
        fitting.map(|(_, header, value)| Brokered { header, value }).collect()
    }

    /// Speaks TLS with a host, whose certificate must be valid and its own.
    ///
    /// # Errors
    /// [`InterceptError::Host`].
    pub async fn connect(
        &self,
        host: &str,
        world: Stream,
    ) -> Result<client::TlsStream<Stream>, InterceptError> {
        let refused = |why| InterceptError::Host { host: host.to_owned(), why };
        let name = ServerName::try_from(host.to_owned()).map_err(|e| refused(io::Error::other(e)))?;
        TlsConnector::from(Arc::clone(&self.upstream)).connect(name, world).await.map_err(refused)
    }

    /// Speaks TLS with an app, as this host.
    ///
    /// # Errors
    /// [`InterceptError::App`], or when no certificate can be made.
    pub async fn accept<S>(&self, host: &str, app: S) -> Result<server::TlsStream<S>, InterceptError>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let config = self.server(host)?;
        TlsAcceptor::from(config).accept(app).await.map_err(InterceptError::App)
    }

    fn server(&self, host: &str) -> Result<Arc<ServerConfig>, InterceptError> {
        if let Some(made) = self.made.borrow().get(host) {
            return Ok(Arc::clone(made));
        }
        let mut params = CertificateParams::new([host.to_owned()])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "sessile");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&self.key, &self.issuer)?;
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(self.key.serialize_der()));
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)?;
        config.alpn_protocols = vec![PROTOCOL.to_vec()];
        let config = Arc::new(config);
        let mut made = self.made.borrow_mut();
        if made.len() >= MAX_CERTIFICATES {
            made.clear();
        }
        made.insert(host.to_owned(), Arc::clone(&config));
        Ok(config)
    }
}

/// What this host trusts, and what the session was given beside it.
fn roots(network: &Network) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let bundle = TRUST_BUNDLES.iter().find_map(|path| std::fs::read(path).ok()).unwrap_or_default();
    for pem in [bundle.as_slice(), network.upstream_ca.as_bytes()] {
        roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
    }
    roots
}

#[cfg(test)]
#[path = "intercept_tests.rs"]
mod tests;
