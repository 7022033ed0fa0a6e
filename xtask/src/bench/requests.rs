//! Requests over TLS and in plaintext: the far end, a server of the loopback, and the near end,
//! which runs in a session.

use std::fs;
use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

/// The host's loopback in a session, for which the certificate is.
const HOST: &str = "host.sessile";
const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 6\r\n\r\nhello\n";
/// Requests before the timed ones.
const WARM_UP: u32 = 20;

/// What a near end asks, and how often.
#[derive(Clone, Debug, clap::Args)]
pub struct Asked {
    #[arg(long)]
    port: u16,
    /// Requests.
    #[arg(long)]
    amount: u32,
    /// A connection for each request, rather than one for all.
    #[arg(long)]
    anew: bool,
    /// A file with certificates that are trusted beside those of SSL_CERT_FILE. Without it the
    /// requests are in plaintext.
    #[arg(long)]
    trusted: Option<PathBuf>,
}

/// Servers of the loopback that answer every request.
#[derive(Debug)]
pub struct Server {
    /// Where TLS is spoken. Both ports are the same server.
    pub tls: [u16; 2],
    /// Where plaintext is.
    pub plain: u16,
}

impl Server {
    /// Serves in threads of this process. The certificate of the authority is written to a file.
    ///
    /// # Errors
    /// When it cannot listen, or no certificate can be made.
    pub fn begin(authority: &Path) -> Result<Self> {
        let config = Arc::new(certified(authority)?);
        let secure = || {
            let config = Arc::clone(&config);
            listen(move |stream| {
                answer(StreamOwned::new(ServerConnection::new(Arc::clone(&config))?, stream))
            })
        };
        Ok(Self { tls: [secure()?, secure()?], plain: listen(answer)? })
    }
}

fn listen(serve: impl Fn(TcpStream) -> Result<()> + Send + Sync + 'static) -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let serve = Arc::clone(&serve);
            // One that breaks off is missed by its near end.
            std::thread::spawn(move || stream.set_nodelay(true).is_ok().then(|| serve(stream)));
        }
    });
    Ok(port)
}

fn answer(stream: impl Read + Write) -> Result<()> {
    let mut stream = BufReader::new(stream);
    let mut line = String::new();
    loop {
        line.clear();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            stream.get_mut().write_all(RESPONSE)?;
            stream.get_mut().flush()?;
        }
    }
}

fn certified(file: &Path) -> Result<ServerConfig> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "bench");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate()?;
    fs::write(file, params.self_signed(&key)?.pem())?;
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate()?;
    let certificate = CertificateParams::new([HOST.to_owned()])?.signed_by(&key, &issuer)?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    Ok(ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?)
}

fn trusting(file: &Path) -> Result<Arc<ClientConfig>> {
    let mut roots = RootCertStore::empty();
    let own = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    for path in [Some(file.to_owned()), own].into_iter().flatten() {
        roots.add_parsable_certificates(CertificateDer::pem_file_iter(path)?.filter_map(Result::ok));
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}

/// Asks, and returns how many requests are answered in a second.
///
/// # Errors
/// When a request is not answered as it should be.
pub fn ask(asked: &Asked) -> Result<u64> {
    let to = (HOST, asked.port).to_socket_addrs()?.next().context("no address")?;
    let trusted = asked.trusted.as_deref().map(trusting).transpose()?;
    let times = |count| match &trusted {
        Some(config) => times(count, asked.anew, || secure(to, config)),
        None => times(count, asked.anew, || plain(to)),
    };
    times(WARM_UP)?;
    let start = Instant::now();
    times(asked.amount)?;
    Ok((f64::from(asked.amount) / start.elapsed().as_secs_f64().max(f64::EPSILON)) as u64)
}

fn plain(to: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect(to)?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn secure(to: SocketAddr, config: &Arc<ClientConfig>) -> Result<StreamOwned<ClientConnection, TcpStream>> {
    let connection = ClientConnection::new(Arc::clone(config), ServerName::try_from(HOST)?)?;
    Ok(StreamOwned::new(connection, plain(to)?))
}

fn times<S: Read + Write>(count: u32, anew: bool, connect: impl Fn() -> Result<S>) -> Result<()> {
    let mut stream = connect()?;
    for number in 0..count {
        if anew && number > 0 {
            stream = connect()?;
        }
        once(&mut stream)?;
    }
    Ok(())
}

fn once(stream: &mut (impl Read + Write)) -> Result<()> {
    write!(stream, "GET / HTTP/1.1\r\nHost: {HOST}\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")?;
    stream.flush()?;
    let mut response = Vec::new();
    let mut part = [0; 4096];
    while !response.ends_with(b"\r\n\r\nhello\n") {
        let count = stream.read(&mut part)?;
        ensure!(count > 0, "no whole response: {}", String::from_utf8_lossy(&response));
        response.extend_from_slice(&part[..count]);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_answered_in_plaintext_and_over_tls() {
        let folder = std::env::temp_dir().join(format!("sessile-bench-requests-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let authority = folder.join("authority.pem");
        let server = Server::begin(&authority).unwrap();
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        let config = trusting(&authority).unwrap();
        for anew in [false, true] {
            times(3, anew, || plain(at(server.plain))).unwrap();
            for port in server.tls {
                times(3, anew, || secure(at(port), &config)).unwrap();
            }
        }
        // What is no certificate of the authority's is refused.
        let other = Server::begin(&folder.join("other.pem")).unwrap();
        assert!(times(1, false, || secure(at(other.tls[0]), &config)).is_err());
        fs::remove_dir_all(&folder).unwrap();
    }
}
