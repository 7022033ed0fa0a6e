//! A Tor network of the tests' own on the host's loopback: three directory authorities and three
//! relays, all of them exits. It is shared by the tests that run at a time, and gone with the last.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, Weak};

use tempfile::TempDir;

use super::processes::eventually;

const AUTHORITIES: usize = 3;
const RELAYS: usize = 3;
/// Stands for the host's loopback address, by a line for tor: the exit then connects to it.
pub const HOST: &str = "reached.example";
/// What a session's tor needs to join, besides the authorities.
const CLIENT: &str = "TestingTorNetwork 1\nAssumeReachable 1\nMapAddress reached.example 127.0.0.1\n";

static SHARED: Mutex<Weak<TorNetwork>> = Mutex::new(Weak::new());

/// A running network.
#[derive(Debug)]
pub struct TorNetwork {
    folder: TempDir,
    nodes: Vec<Child>,
    authorities: String,
}

impl TorNetwork {
    /// The network, up and with a consensus; none when this host has no tor.
    pub fn shared() -> Option<Arc<Self>> {
        if ["tor", "tor-gencert"].iter().any(|program| !is_installed(program)) {
            super::skip("there is no tor: cargo xtask setup installs it");
            return None;
        }
        // A test that failed while it made one has left none.
        let mut shared = SHARED.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(running) = shared.upgrade() {
            return Some(running);
        }
        let network = Arc::new(Self::start());
        *shared = Arc::downgrade(&network);
        Some(network)
    }

    /// The lines by which a session's tor joins it.
    pub fn lines(&self) -> String {
        format!("{CLIENT}{}", self.authorities)
    }

    fn start() -> Self {
        let folder = tempfile::Builder::new().prefix("tor").tempdir().unwrap();
        let ports = free_ports(2 * (AUTHORITIES + RELAYS));
        let at = |name: &str| folder.path().join(name);
        let mut authorities = String::new();
        for (number, ports) in ports.chunks(2).take(AUTHORITIES).enumerate() {
            let name = format!("a{number}");
            authorities.push_str(&make_authority(&at(&name), &name, ports));
        }
        let mut network = Self { folder, nodes: Vec::new(), authorities };
        for (number, ports) in ports.chunks(2).enumerate() {
            let name = if number < AUTHORITIES { format!("a{number}") } else { format!("r{number}") };
            network.begin(&name, ports, number < AUTHORITIES);
        }
        let consensus = network.folder.path().join("a0/cached-microdesc-consensus");
        eventually("the network agrees on who is in it", || {
            let text = fs::read_to_string(&consensus).ok()?;
            let exits = text.lines().filter(|l| l.starts_with("s ") && l.contains(" Exit ")).count();
            (exits == AUTHORITIES + RELAYS).then_some(())
        });
        network
    }

    fn begin(&mut self, name: &str, ports: &[u16], authority: bool) {
        let folder = self.folder.path().join(name);
        private_folder(&folder);
        let mut text = format!(
            "TestingTorNetwork 1\nDataDirectory {}\nNickname {name}\nAddress 127.0.0.1\nAssumeReachable 1\n\
             ORPort 127.0.0.1:{}\nSocksPort 0\nContactInfo none@example.com\nExitRelay 1\n\
             ExitPolicyRejectPrivate 0\nExitPolicy accept *:*\nEnforceDistinctSubnets 0\n\
             Log notice file {}/log\n__OwningControllerProcess {}\n{}",
            folder.display(),
            ports[1],
            folder.display(),
            std::process::id(),
            self.authorities
        );
        if authority {
            text.push_str(&format!(
                "DirPort 127.0.0.1:{}\nAuthoritativeDirectory 1\nV3AuthoritativeDirectory 1\n\
                 TestingV3AuthInitialVotingInterval 5\nTestingV3AuthInitialVoteDelay 2\n\
                 TestingV3AuthInitialDistDelay 2\nV3AuthVotingInterval 10\nV3AuthVoteDelay 2\n\
                 V3AuthDistDelay 2\nTestingDirAuthVoteExit *\nTestingDirAuthVoteHSDir *\n\
                 TestingDirAuthVoteGuard *\nTestingMinExitFlagThreshold 0\n",
                ports[0]
            ));
        }
        fs::write(folder.join("torrc"), text).unwrap();
        self.nodes.push(tor(&folder, "torrc").spawn().unwrap());
    }
}

impl Drop for TorNetwork {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}

/// Makes an authority's keys, and returns the line by which the others know it.
fn make_authority(folder: &Path, name: &str, ports: &[u16]) -> String {
    let keys = folder.join("keys");
    private_folder(folder);
    private_folder(&keys);
    let certificate = keys.join("authority_certificate");
    let mut making = Command::new("tor-gencert");
    making.args(["--create-identity-key", "--passphrase-fd", "0", "-m", "2", "-a"]);
    making.arg(format!("127.0.0.1:{}", ports[0]));
    for (option, file) in [("-i", "authority_identity_key"), ("-s", "authority_signing_key")] {
        making.arg(option).arg(keys.join(file));
    }
    making.arg("-c").arg(&certificate);
    making.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut making = making.spawn().unwrap();
    making.stdin.take().unwrap().write_all(b"test\n").unwrap();
    assert!(making.wait().unwrap().success(), "tor-gencert failed");
    let text = fs::read_to_string(&certificate).unwrap();
    let identity = text.lines().find_map(|line| line.strip_prefix("fingerprint ")).unwrap();
    // Any authority will do to have a relay make its keys.
    let draft = format!(
        "DataDirectory {}\nORPort 127.0.0.1:{}\nDirAuthority x orport=1 no-v2 v3ident={identity} 127.0.0.1:1 {}\n",
        folder.display(),
        ports[1],
        "0".repeat(40)
    );
    fs::write(folder.join("draft"), draft).unwrap();
    let listed = tor(folder, "draft").arg("--list-fingerprint").stdout(Stdio::piped()).output().unwrap();
    let listed = String::from_utf8(listed.stdout).unwrap();
    let (_, fingerprint) = listed.lines().last().and_then(|line| line.split_once(' ')).unwrap();
    format!(
        "DirAuthority {name} orport={} no-v2 v3ident={identity} 127.0.0.1:{} {}\n",
        ports[1],
        ports[0],
        fingerprint.replace(' ', "")
    )
}

fn tor(folder: &Path, config: &str) -> Command {
    let mut command = Command::new("tor");
    command.arg("-f").arg(folder.join(config)).arg("--defaults-torrc").arg(folder.join("none"));
    command.args(["--ignore-missing-torrc", "--quiet"]);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn private_folder(path: &Path) {
    fs::create_dir_all(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o700)).unwrap();
}

/// Ports of the loopback that were free a moment ago.
fn free_ports(count: usize) -> Vec<u16> {
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap().port()).collect()
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| File::open(folder.join(program)).is_ok())
}

/// A connection that goes through a tor, as its control port shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The circuit's number in that tor.
    pub circuit: u64,
    /// The user by whom it is kept apart.
    pub user: String,
}

/// The ways over which a tor's open connections to a port go, oldest first, once there are so many.
/// Its control socket is found by its working folder, which only root sees.
#[track_caller]
pub fn ways(tor: u32, port: u16, count: usize) -> Vec<Way> {
    // Whom a host greets may still wait for tor's word that it is connected.
    eventually("tor has so many connections", || Some(ways_now(tor, port)).filter(|ways| ways.len() == count))
}

fn ways_now(tor: u32, port: u16) -> Vec<Way> {
    let mut control = UnixStream::connect(format!("/proc/{tor}/cwd/tor/control")).unwrap();
    let mut answers = BufReader::new(control.try_clone().unwrap()).lines().map(Result::unwrap);
    let mut ask = |command: &str| {
        control.write_all(format!("{command}\r\n").as_bytes()).unwrap();
        let mut lines = Vec::new();
        loop {
            let line = answers.next().unwrap();
            assert!(line.starts_with("250"), "{command}: {line}");
            match line.as_bytes()[3] {
                b' ' => return lines,
                // Data, up to a line with a dot alone.
                b'+' => lines.extend(answers.by_ref().take_while(|line| line != ".")),
                _ => lines.push(line),
            }
        }
    };
    ask("AUTHENTICATE");
    let streams = ask("GETINFO stream-status");
    let circuits = ask("GETINFO circuit-status");
    // By the user rather than by the number alone: a circuit may have several legs.
    let user = |circuit: &str| {
        let mut lines =
            circuits.iter().map(|line| line.split_once("circuit-status=").map_or(&**line, |(_, l)| l));
        let line = lines.find(|line| line.split(' ').next() == Some(circuit));
        line?.split(' ').find_map(|word| word.strip_prefix("SOCKS_USERNAME=")).map(str::to_owned)
    };
    let mut found = Vec::new();
    for line in streams {
        let line = line.split_once("stream-status=").map_or(line.as_str(), |(_, rest)| rest).to_owned();
        let words: Vec<&str> = line.split(' ').collect();
        let [number, "SUCCEEDED", circuit, target, ..] = words[..] else { continue };
        if let (true, Some(user)) = (target.ends_with(&format!(":{port}")), user(circuit)) {
            let number: u64 = number.parse().unwrap();
            let way = Way { circuit: circuit.parse().unwrap(), user };
            found.push((number, way));
        }
    }
    found.sort_by_key(|(number, _)| *number);
    found.into_iter().map(|(_, way)| way).collect()
}
