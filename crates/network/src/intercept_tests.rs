//! TLS on both sides, over sockets of this host's loopback.

use std::time::Duration;

use rcgen::{BasicConstraints, Certificate, IsCa, date_time_ymd};
use rustls::pki_types::UnixTime;
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::*;

struct Authority {
    certificate: Certificate,
    key: KeyPair,
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    Authority { certificate: params(name).self_signed(&key).unwrap(), key }
}

/// A session that trusts `world` beside this host's own, and its authority.
fn session(world: &Authority) -> (Interception, Authority) {
    let own = authority(AUTHORITY);
    let network = Network { upstream_ca: world.certificate.pem(), ..Network::default() };
    let credentials = [Credential {
        target: "a.example:443".parse().unwrap(),
        header: "Authorization".into(),
        value: SecretText("Bearer s3cret".into()),
    }];
    (Interception::new(&network, &SecretText(own.key.serialize_pem()), &credentials).unwrap(), own)
}

fn client(trusted: &Certificate, protocol: &[u8]) -> TlsConnector {
    client_at(trusted, protocol, Arc::new(DefaultTimeProvider))
}

fn client_at(trusted: &Certificate, protocol: &[u8], clock: Arc<dyn TimeProvider>) -> TlsConnector {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.der().clone()).unwrap();
    let mut config = ClientConfig::builder_with_details(Arc::new(ring::default_provider()), clock)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![protocol.to_vec()];
    TlsConnector::from(Arc::new(config))
}

/// Accepts an app that is such a client.
async fn accepted(session: &Interception, client: TlsConnector) -> Result<Vec<u8>, InterceptError> {
    let (app, ours) = tokio::io::duplex(1 << 16);
    let name = ServerName::try_from("a.example").unwrap();
    let (accepted, connected) = tokio::join!(session.accept("a.example", ours), client.connect(name, app));
    let mut accepted = accepted?;
    let mut connected = connected.unwrap();
    connected.write_all(b"hello").await.unwrap();
    connected.flush().await.unwrap();
    let mut heard = vec![0; 5];
    accepted.read_exact(&mut heard).await.unwrap();
    Ok(heard)
}

#[tokio::test]
async fn an_app_that_trusts_the_session_is_heard_and_another_is_told_apart() {
    let world = authority("world");
    let (session, own) = session(&world);
    assert_eq!(accepted(&session, client(&own.certificate, PROTOCOL)).await.unwrap(), b"hello");
    let stranger = accepted(&session, client(&world.certificate, PROTOCOL)).await;
    assert!(matches!(stranger, Err(InterceptError::App(_))), "{stranger:?}");
    let other_protocol = accepted(&session, client(&own.certificate, b"h2")).await;
    assert!(matches!(other_protocol, Err(InterceptError::App(_))), "{other_protocol:?}");
}

/// A clock that stands so many years after 1970.
#[derive(Debug)]
struct Years(u64);

impl TimeProvider for Years {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0 * 365 * 24 * 60 * 60)))
    }
}

#[tokio::test]
async fn an_app_trusts_the_session_whatever_the_clock_says() {
    let (session, own) = session(&authority("world"));
    for years in [8, 30, 56, 100, 400] {
        let client = client_at(&own.certificate, PROTOCOL, Arc::new(Years(years)));
        assert_eq!(accepted(&session, client).await.unwrap(), b"hello", "{years}");
    }
}

/// A host with a certificate for `name` by this authority is connected to as `a.example`.
async fn reached(session: &Interception, by: &Authority, issuer: &str, name: &str) -> bool {
    reached_with(session, by, issuer, CertificateParams::new([name.to_owned()]).unwrap()).await
}

async fn reached_with(
    session: &Interception,
    by: &Authority,
    issuer: &str,
    certificate: CertificateParams,
) -> bool {
    let key = KeyPair::generate().unwrap();
    let issuer = Issuer::new(params(issuer), &by.key);
    let certificate = certificate.signed_by(&key, &issuer).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der())),
        )
        .unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (accepted, _) = listener.accept().await.unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let (connected, _) =
        tokio::join!(session.connect("a.example", Stream::Tcp(stream)), acceptor.accept(accepted));
    connected.is_ok()
}

#[tokio::test]
async fn a_host_must_prove_its_name() {
    let (world, stranger) = (authority("world"), authority("world"));
    let (session, _) = session(&world);
    assert!(reached(&session, &world, "world", "a.example").await);
    assert!(!reached(&session, &world, "world", "b.example").await);
    assert!(!reached(&session, &stranger, "world", "a.example").await);
}

#[tokio::test]
async fn a_host_whose_certificate_is_over_or_not_yet_begun_is_refused() {
    let world = authority("world");
    let (session, _) = session(&world);
    let year = date_time_ymd;
    for (from, until, holds) in [(1990, 3000, true), (1990, 2000, false), (2990, 3000, false)] {
        let mut params = CertificateParams::new(["a.example".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (year(from, 1, 1), year(until, 1, 1));
        assert_eq!(reached_with(&session, &world, "world", params).await, holds, "{from} to {until}");
    }
}

#[test]
fn what_is_brokered_is_for_one_host_and_port() {
    let (session, _) = session(&authority("world"));
    assert_eq!(session.brokered("a.example", 443).len(), 1);
    assert_eq!(session.brokered("b.example", 443).len() + session.brokered("a.example", 8443).len(), 0);
    assert!(!format!("{session:?}").contains("s3cret"));
}

#[test]
fn certificates_are_remembered_within_bounds() {
    let (session, _) = session(&authority("world"));
    let first = session.server("h0.example").unwrap();
    assert!(Arc::ptr_eq(&first, &session.server("h0.example").unwrap()));
    for number in 0..MAX_CERTIFICATES + 3 {
        session.server(&format!("h{number}.example")).unwrap();
    }
    assert!(session.made.borrow().len() <= MAX_CERTIFICATES);
    session.server("192.0.2.1").unwrap();
}
