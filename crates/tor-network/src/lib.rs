//! A Tor network of one's own on the host's loopback: three directory authorities and three relays,
//! all of them exits. For tests and measurements; needs the host's `tor` and `tor-gencert`.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

mod control;

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::time::{Duration, Instant};

pub use control::{Tor, Way};

const AUTHORITIES: usize = 3;
const RELAYS: usize = 3;
/// How long the nodes may take to agree.
const PATIENCE: Duration = Duration::from_secs(90);
/// Stands for the host's loopback address, by a line for tor: the exit then connects to it.
pub const HOST: &str = "reached.example";
/// What a client needs to join, besides the authorities.
const CLIENT: &str = "TestingTorNetwork 1\nAssumeReachable 1\nMapAddress reached.example 127.0.0.1\n";
/// Kills the processes that it was told of and removes the folder, once its input is at its end.
const JANITOR: &str = "trap '' INT TERM HUP; while read -r pid; do pids=\"$pids $pid\"; done; \
                       kill -9 $pids; rm -rf \"$0\"";

/// A running network. It ends with this value, or with this process, however that ends.
#[derive(Debug)]
pub struct TorNetwork {
    folder: PathBuf,
    nodes: Vec<Child>,
    authorities: String,
    janitor: Child,
    /// The janitor's input.
    orders: Option<ChildStdin>,
}

/// Whether this host has what a network is made of.
pub fn is_possible() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_installed = |program| std::env::split_paths(&path).any(|f| File::open(f.join(program)).is_ok());
    ["tor", "tor-gencert"].into_iter().all(is_installed)
}

impl TorNetwork {
    /// Starts a network and waits until its authorities agree on all nodes.
    ///
    /// # Errors
    /// When a node cannot be made, or they do not agree in time.
    pub fn start() -> io::Result<Self> {
        let folder = tempfile::Builder::new().prefix("tor-network").tempdir()?.keep();
        let mut janitor = Command::new("sh");
        let janitor = janitor.args(["-c", JANITOR]).arg(&folder);
        let mut janitor =
            janitor.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        let orders = janitor.stdin.take();
        let mut network = Self { folder, nodes: Vec::new(), authorities: String::new(), janitor, orders };
        network.begin()?;
        Ok(network)
    }

    /// The lines by which a tor joins it.
    pub fn lines(&self) -> String {
        format!("{CLIENT}{}", self.authorities)
    }

    fn begin(&mut self) -> io::Result<()> {
        let ports = free_ports(2 * (AUTHORITIES + RELAYS))?;
        let places: Vec<(PathBuf, &[u16])> = ports
            .chunks(2)
            .enumerate()
            .map(|(number, ports)| (self.folder.join(format!("n{number}")), ports))
            .collect();
        // Keys take their time.
        let lines: Vec<io::Result<String>> = std::thread::scope(|scope| {
            let authorities = places.iter().take(AUTHORITIES);
            let making: Vec<_> =
                authorities.map(|(folder, ports)| scope.spawn(|| make_authority(folder, ports))).collect();
            let failed = || io::Error::other("an authority cannot be made");
            making.into_iter().map(|made| made.join().unwrap_or_else(|_| Err(failed()))).collect()
        });
        for line in lines {
            self.authorities.push_str(&line?);
        }
        for (number, (folder, ports)) in places.iter().enumerate() {
            self.begin_node(folder, ports, number < AUTHORITIES)?;
        }
        let consensus = self.folder.join("n0/cached-microdesc-consensus");
        let deadline = Instant::now() + PATIENCE;
        while exits(&consensus) < AUTHORITIES + RELAYS {
            if Instant::now() > deadline {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the Tor network does not agree"));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    fn begin_node(&mut self, folder: &Path, ports: &[u16], authority: bool) -> io::Result<()> {
        private_folder(folder)?;
        let &[directory, onion] = ports else { return Err(io::ErrorKind::InvalidInput.into()) };
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let mut text = format!(
            "TestingTorNetwork 1\nDataDirectory {0}\nNickname {name}\nAddress 127.0.0.1\nAssumeReachable 1\n\
             ORPort 127.0.0.1:{onion}\nSocksPort 0\nContactInfo none@example.com\nExitRelay 1\n\
             ExitPolicyRejectPrivate 0\nExitPolicy accept *:*\nEnforceDistinctSubnets 0\n\
             Log notice file {0}/log\n__OwningControllerProcess {1}\n{2}",
            folder.display(),
            std::process::id(),
            self.authorities
        );
        if authority {
            text.push_str(&format!(
                "DirPort 127.0.0.1:{directory}\nAuthoritativeDirectory 1\nV3AuthoritativeDirectory 1\n\
                 TestingV3AuthInitialVotingInterval 5\nTestingV3AuthInitialVoteDelay 2\n\
                 TestingV3AuthInitialDistDelay 2\nV3AuthVotingInterval 10\nV3AuthVoteDelay 2\n\
                 V3AuthDistDelay 2\nTestingDirAuthVoteExit *\nTestingDirAuthVoteHSDir *\n\
                 TestingDirAuthVoteGuard *\nTestingMinExitFlagThreshold 0\n"
            ));
        }
        fs::write(folder.join("torrc"), text)?;
        let node = tor(folder, "torrc").spawn()?;
        if let Some(orders) = &mut self.orders {
            writeln!(orders, "{}", node.id())?;
        }
        self.nodes.push(node);
        Ok(())
    }
}

impl Drop for TorNetwork {
    fn drop(&mut self) {
        self.orders = None;
        for process in std::iter::once(&mut self.janitor).chain(&mut self.nodes) {
            // One that is gone already is what is wanted.
            let _ = process.wait();
        }
    }
}

/// How many exits a consensus knows.
fn exits(consensus: &Path) -> usize {
    let text = fs::read_to_string(consensus).unwrap_or_default();
    text.lines().filter(|line| line.starts_with("s ") && line.contains(" Exit ")).count()
}

/// Makes an authority's keys, and returns the line by which the others know it.
fn make_authority(folder: &Path, ports: &[u16]) -> io::Result<String> {
    let &[directory, onion] = ports else { return Err(io::ErrorKind::InvalidInput.into()) };
    let keys = folder.join("keys");
    private_folder(folder)?;
    private_folder(&keys)?;
    let certificate = keys.join("authority_certificate");
    let mut making = Command::new("tor-gencert");
    making.args(["--create-identity-key", "--passphrase-fd", "0", "-m", "2", "-a"]);
    making.arg(format!("127.0.0.1:{directory}"));
    for (option, file) in [("-i", "authority_identity_key"), ("-s", "authority_signing_key")] {
        making.arg(option).arg(keys.join(file));
    }
    making.arg("-c").arg(&certificate);
    let mut making = making.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    if let Some(mut input) = making.stdin.take() {
        input.write_all(b"test\n")?;
    }
    if !making.wait()?.success() {
        return Err(io::Error::other("tor-gencert failed"));
    }
    let malformed = || io::Error::other("tor tells no fingerprint");
    let text = fs::read_to_string(&certificate)?;
    let identity = text.lines().find_map(|line| line.strip_prefix("fingerprint ")).ok_or_else(malformed)?;
    // Any authority will do to have a relay make its keys.
    let draft = format!(
        "DataDirectory {}\nORPort 127.0.0.1:{onion}\n\
         DirAuthority x orport=1 no-v2 v3ident={identity} 127.0.0.1:1 {}\n",
        folder.display(),
        "0".repeat(40)
    );
    fs::write(folder.join("draft"), draft)?;
    let listed = tor(folder, "draft").arg("--list-fingerprint").stdout(Stdio::piped()).output()?;
    let listed = String::from_utf8_lossy(&listed.stdout);
    let (name, fingerprint) = listed.lines().last().and_then(|l| l.split_once(' ')).ok_or_else(malformed)?;
    Ok(format!(
        "DirAuthority {name} orport={onion} no-v2 v3ident={identity} 127.0.0.1:{directory} {}\n",
        fingerprint.replace(' ', "")
    ))
}

fn tor(folder: &Path, config: &str) -> Command {
    let mut command = Command::new("tor");
    command.arg("-f").arg(folder.join(config)).arg("--defaults-torrc").arg(folder.join("none"));
    command.args(["--ignore-missing-torrc", "--quiet"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn private_folder(path: &Path) -> io::Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, fs::Permissions::from_mode(0o700))
}

/// Ports of the loopback that were free a moment ago.
fn free_ports(count: usize) -> io::Result<Vec<u16>> {
    let held = (0..count).map(|_| TcpListener::bind("127.0.0.1:0")).collect::<io::Result<Vec<_>>>()?;
    held.iter().map(|listener| Ok(listener.local_addr()?.port())).collect()
}
