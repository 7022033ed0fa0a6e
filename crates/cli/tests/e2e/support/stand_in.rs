//! A TLS server on the host's loopback that stands in for a service of the world.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use super::World;

/// A certificate authority and the file with its certificate.
pub struct Authority {
    key: KeyPair,
    /// The certificate in PEM, where commands of the world may read it.
    pub file: PathBuf,
}

impl Authority {
    /// A new one, in the project of a world.
    pub fn new(world: &World, name: &str) -> Self {
        let key = KeyPair::generate().unwrap();
        let certificate = params(name).self_signed(&key).unwrap();
        let file = world.write(&format!("{name}.pem"), &certificate.pem());
        Self { key, file }
    }

    /// The file as an argument.
    pub fn path(&self) -> &str {
        self.file.to_str().unwrap()
    }

    fn server(&self, host: &str) -> ServerConfig {
        let name = self.file.file_stem().unwrap().to_str().unwrap();
        let issuer = Issuer::new(params(name), &self.key);
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new([host.to_owned()]).unwrap().signed_by(&key, &issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![certificate.der().clone()], key)
            .unwrap()
    }
}

fn params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params
}

/// What is answered to a request with this head and body: a whole response.
type Answer = fn(&str, &[u8]) -> Vec<u8>;

/// A request's head and body.
type Heard = (String, Vec<u8>);

/// Answers requests until it is dropped.
pub struct StandIn {
    /// Where it listens on the loopback.
    pub port: u16,
    heard: Arc<Mutex<Vec<Heard>>>,
    over: Arc<AtomicBool>,
    serving: Option<JoinHandle<()>>,
}

impl StandIn {
    /// One with a certificate for `host` of this authority, which answers with the request's own
    /// head, in a header and as the body.
    pub fn new(authority: &Authority, host: &str) -> Self {
        Self::answering(authority, host, |head, _| {
            let said: Vec<&str> = head.lines().filter(|line| line.to_lowercase().contains("auth")).collect();
            let (echo, length) = (said.join(", "), head.len());
            format!("HTTP/1.1 200 OK\r\nX-Echo: {echo}\r\nContent-Length: {length}\r\n\r\n{head}")
                .into_bytes()
        })
    }

    /// One that answers so.
    pub fn answering(authority: &Authority, host: &str, answer: Answer) -> Self {
        let config = Arc::new(authority.server(host));
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let heard: Arc<Mutex<Vec<Heard>>> = Arc::default();
        let over = Arc::new(AtomicBool::new(false));
        let (list, ends) = (Arc::clone(&heard), Arc::clone(&over));
        let serving = std::thread::spawn(move || {
            while let Ok((stream, _)) = listener.accept() {
                if ends.load(Ordering::SeqCst) {
                    break;
                }
                let (config, list) = (Arc::clone(&config), Arc::clone(&list));
                // One that breaks off has been refused, which is what a test looks at.
                std::thread::spawn(move || serve(config, stream, &list, answer));
            }
        });
        Self { port, heard, over, serving: Some(serving) }
    }

    /// The heads of all requests so far.
    pub fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().iter().map(|(head, _)| head.clone()).collect()
    }

    /// Their bodies.
    pub fn bodies(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap().iter().map(|(_, body)| body.clone()).collect()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        drop(TcpStream::connect(("127.0.0.1", self.port)));
        let _ = self.serving.take().map(JoinHandle::join);
    }
}

fn serve(
    config: Arc<ServerConfig>,
    stream: TcpStream,
    heard: &Mutex<Vec<Heard>>,
    answer: Answer,
) -> Option<()> {
    let stream = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
    let mut stream = BufReader::with_capacity(1, stream);
    loop {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if stream.read_line(&mut head).ok()? == 0 {
                return None;
            }
        }
        let length = head.lines().filter_map(|line| line.split_once(": ")).find_map(|(name, value)| {
            if name.eq_ignore_ascii_case("content-length") { value.parse().ok() } else { None }
        });
        let mut body = vec![0; length.unwrap_or(0)];
        stream.read_exact(&mut body).ok()?;
        let answered = answer(&head, &body);
        heard.lock().unwrap().push((head, body));
        stream.get_mut().write_all(&answered).ok()?;
        stream.get_mut().flush().ok()?;
    }
}

/// Files below a folder that hold these bytes. What cannot be read is left out.
pub fn files_with(folder: &Path, bytes: &[u8]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            // A folder's entry does not tell what is mounted over it: a device, for one.
            let Ok(kind) = entry.path().symlink_metadata().map(|found| found.file_type()) else { continue };
            if kind.is_dir() {
                folders.push(entry.path());
            } else if kind.is_file() && fs::read(entry.path()).is_ok_and(|text| holds(&text, bytes)) {
                found.push(entry.path());
            }
        }
    }
    found
}

/// Whether some bytes are among others.
pub fn holds(within: &[u8], bytes: &[u8]) -> bool {
    within.windows(bytes.len()).any(|window| window == bytes)
}
