//! What a tor says of itself through its control socket.

use std::io::{self, BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

/// A connection that goes through a tor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Way {
    /// The circuit's number in that tor.
    pub circuit: u64,
    /// The user by whom it is kept apart.
    pub user: String,
}

/// A connection to a tor's control socket.
#[derive(Debug)]
pub struct Tor {
    socket: UnixStream,
    answers: BufReader<UnixStream>,
}

impl Tor {
    /// Speaks to the tor with this control socket.
    ///
    /// # Errors
    /// When it cannot be reached or refuses.
    pub fn at(socket: &Path) -> io::Result<Self> {
        let socket = UnixStream::connect(socket)?;
        let answers = BufReader::new(socket.try_clone()?);
        let mut tor = Self { socket, answers };
        tor.ask("AUTHENTICATE")?;
        Ok(tor)
    }

    /// Asks something, and returns the lines of the answer without their codes.
    ///
    /// # Errors
    /// When it refuses or ends.
    pub fn ask(&mut self, command: &str) -> io::Result<Vec<String>> {
        self.socket.write_all(format!("{command}\r\n").as_bytes())?;
        let mut lines = Vec::new();
        loop {
            let line = self.line()?;
            let refused = || io::Error::other(format!("{command}: {line}"));
            let rest = line.strip_prefix("250").ok_or_else(refused)?;
            match rest.as_bytes().first() {
                Some(b' ') => return Ok(lines),
                Some(b'+') => loop {
                    let data = self.line()?;
                    if data == "." {
                        break;
                    }
                    lines.push(data);
                },
                Some(_) => {
                    let (_, value) = rest.split_once('=').unwrap_or_default();
                    lines.extend((!value.is_empty()).then(|| value.to_owned()));
                }
                None => return Err(refused()),
            }
        }
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        match self.answers.read_line(&mut line)? {
            0 => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(line.trim_end().to_owned()),
        }
    }

    /// The ways over which its open connections to a port go, oldest first.
    ///
    /// # Errors
    /// When it refuses or ends.
    pub fn ways(&mut self, port: u16) -> io::Result<Vec<Way>> {
        let streams = self.ask("GETINFO stream-status")?;
        let circuits = self.ask("GETINFO circuit-status")?;
        // By the user rather than by the number alone: a circuit may have several legs.
        let user = |circuit: &str| {
            let line = circuits.iter().find(|line| line.split(' ').next() == Some(circuit))?;
            line.split(' ').find_map(|word| word.strip_prefix("SOCKS_USERNAME=")).map(str::to_owned)
        };
        let mut found = Vec::new();
        for line in &streams {
            let words: Vec<&str> = line.split(' ').collect();
            let &[number, "SUCCEEDED", circuit, target, ..] = &words[..] else { continue };
            let (Ok(number), Ok(id)) = (number.parse::<u64>(), circuit.parse()) else { continue };
            if let (true, Some(user)) = (target.ends_with(&format!(":{port}")), user(circuit)) {
                found.push((number, Way { circuit: id, user }));
            }
        }
        found.sort_by_key(|(number, _)| *number);
        Ok(found.into_iter().map(|(_, way)| way).collect())
    }

    /// The fingerprints of the relays by which it may enter the network, in the order in which it
    /// chose them.
    ///
    /// # Errors
    /// When it refuses or ends.
    pub fn guards(&mut self) -> io::Result<Vec<String>> {
        let lines = self.ask("GETINFO entry-guards")?;
        let fingerprint = |line: &String| Some(line.strip_prefix('$')?.chars().take(40).collect());
        Ok(lines.iter().filter_map(fingerprint).collect())
    }
}
