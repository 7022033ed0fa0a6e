//! Connections over sockets of this host's loopback.

use sessile_model::network::{Network, Route as Choice};
use tokio::net::TcpListener;

use super::*;
use crate::policy::Policy;
use crate::route::Route;

/// Both ends of a connection.
async fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let connecting = TcpStream::connect(listener.local_addr().unwrap());
    let (near, accepted) = tokio::join!(connecting, listener.accept());
    (near.unwrap(), accepted.unwrap().0)
}

/// The first flight of a client that asks for a host.
fn hello(host: &'static str) -> Vec<u8> {
    let provider = std::sync::Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    let name = rustls::pki_types::ServerName::try_from(host).unwrap();
    let mut client = rustls::ClientConnection::new(config.into(), name).unwrap();
    let mut bytes = Vec::new();
    client.write_tls(&mut bytes).unwrap();
    bytes
}

/// What a host hears of an app's first flight, with nothing to open TLS with yet.
async fn heard(intercept: &str) -> (Result<(), String>, Vec<u8>) {
    let network = Network { intercept: vec![intercept.parse().unwrap()], ..Network::default() };
    let policy = Policy::new(network.clone()).unwrap();
    let route = Route::new(&Choice::None, None, None).unwrap();
    let (reports, _told) = tokio::sync::mpsc::channel(8);
    let shared = Shared::new(&network, policy, route, reports);
    let app = AppName::main();
    let ((mut inside, stream), (world, mut host)) = tokio::join!(pair(), pair());
    inside.write_all(&hello("a.example")).await.unwrap();
    inside.shutdown().await.unwrap();
    let mut bytes = Vec::new();
    let passing = async {
        let of = (&app, 0, "a.example", 443);
        pass_through(&shared, of, Vec::new(), Stream::Tcp(stream), Stream::Tcp(world)).await
    };
    let hearing = async {
        host.read_to_end(&mut bytes).await.unwrap();
        host.shutdown().await.unwrap();
    };
    let (passed, ()) = tokio::join!(passing, hearing);
    (passed, bytes)
}

#[tokio::test]
async fn before_the_authority_is_there_an_intercepted_host_hears_nothing() {
    let (passed, bytes) = heard("a.example:443").await;
    assert!(passed.unwrap_err().contains("not here yet"));
    assert_eq!(bytes, b"");
    // Another host's TLS is its own.
    let (passed, bytes) = heard("b.example:443").await;
    passed.unwrap();
    assert_eq!(sight::look(&bytes), Sight::Tls { name: Some("a.example".to_owned()) });
}
