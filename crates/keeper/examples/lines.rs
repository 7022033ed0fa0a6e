//! What a line costs from who says it to who has heard it: `cargo xtask bench protocol` runs it.
//!
//! ```text
//! lines inside SIGNED ROLE ROUNDS     by the socket that SESSILE_SOCKET names
//! lines outside SIGNED ROLE ROUNDS SOCKET SESSION     by the daemon's
//! ```
//!
//! `User` says `ping` and `Agent` answers `pong`, over and over, each by one connection that stays. `User` prints
//! the nanoseconds of half a round: of one line that was said, heard and taken.

#![allow(clippy::disallowed_methods, reason = "measuring takes a clock")]
#![allow(clippy::unwrap_used, reason = "what cannot go on ends there")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use sessile_model::hex;
use sessile_protocol::machine::Signature;
use sessile_protocol::monitor::endpoint::Endpoint;
use sessile_protocol::monitor::seal::{Position, SecretKey};
use sessile_protocol::monitor::setup::SessionId;
use sessile_protocol::plan::Digest;

const PAYLOAD: [u8; 100] = [b'x'; 100];

/// A connection by which lines are said and heard.
enum Way {
    Inside(BufReader<UnixStream>),
    Outside(BufReader<UnixStream>, String),
}

impl Way {
    fn ask(&mut self, what: &str, body: &Value) -> Value {
        match self {
            Self::Inside(stream) => {
                let mut line = serde_json::to_vec(&json!({ what: body })).unwrap();
                line.push(b'\n');
                stream.get_mut().write_all(&line).unwrap();
                let mut answer = String::new();
                stream.read_line(&mut answer).unwrap();
                let answer: Value = serde_json::from_str(&answer).unwrap();
                assert!(answer.get("problem").is_none(), "{answer}");
                answer.as_object().and_then(|all| all.values().next()).cloned().unwrap_or_default()
            }
            Self::Outside(stream, session) => {
                let body = body.to_string();
                let head = format!(
                    "POST /v1/sessions/{session}/{what} HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n\
                     content-length: {}\r\n\r\n",
                    body.len()
                );
                stream.get_mut().write_all((head + &body).as_bytes()).unwrap();
                let (mut length, mut status) = (0, String::new());
                stream.read_line(&mut status).unwrap();
                loop {
                    let mut header = String::new();
                    stream.read_line(&mut header).unwrap();
                    let header = header.trim_end().to_ascii_lowercase();
                    if header.is_empty() {
                        break;
                    }
                    if let Some(bytes) = header.strip_prefix("content-length: ") {
                        length = bytes.parse().unwrap();
                    }
                }
                let mut answer = vec![0; length];
                stream.read_exact(&mut answer).unwrap();
                assert!(status.starts_with("HTTP/1.1 2"), "{status} {}", String::from_utf8_lossy(&answer));
                serde_json::from_slice(&answer).unwrap_or_default()
            }
        }
    }
}

/// Somebody who says and hears.
struct Speaker {
    way: Way,
    role: String,
    peer: &'static str,
    label: &'static str,
    signs: Option<(Endpoint, Signature, String, String)>,
    said: u64,
}

impl Speaker {
    fn new(mut way: Way, signed: bool, role: &str) -> Self {
        let (peer, label) = if role == "User" { ("Agent", "ping") } else { ("User", "pong") };
        let signs = signed.then(|| {
            let standing = way.ask("stand", &json!({"role": role, "to": peer, "label": label}));
            let text = |name: &str| standing[name].as_str().unwrap();
            let session = SessionId(hex::bytes(text("session")).unwrap());
            let key = SecretKey::from_seed(&[role.len() as u8; 32]);
            let public = hex::text(&key.public().to_bytes());
            let plan = Digest(hex::bytes(text("protocol")).unwrap());
            let mut endpoint = Endpoint::new(key, session, plan, standing["epoch"].as_u64().unwrap(), role);
            let link = Digest(hex::bytes(text("link")).unwrap());
            endpoint.resume(peer, Position { sequence: standing["sequence"].as_u64().unwrap(), link });
            let message = Signature { label: label.into(), payload: vec!["Text".into()] };
            (endpoint, message, public, text("session").to_owned())
        });
        Self { way, role: role.to_owned(), peer, label, signs, said: 0 }
    }

    fn say(&mut self) {
        self.said += 1;
        let token = hex::text(&[[self.role.len() as u8; 8], self.said.to_be_bytes()].concat());
        let mut line = json!({
            "role": self.role, "to": self.peer, "label": self.label, "payload": STANDARD.encode(PAYLOAD),
            "token": token,
        });
        if let Some((endpoint, message, public, session)) = &mut self.signs {
            let sealed = endpoint.seal(self.peer, message, &PAYLOAD);
            let seal = &sealed.seal;
            line["seal"] = json!({
                "key": public, "session": session, "epoch": seal.epoch, "sequence": seal.position.sequence,
                "link": hex::text(&seal.position.link.0), "signature": hex::text(&seal.signature),
            });
            self.way.ask("say", &line);
            endpoint.taken(sealed);
        } else {
            self.way.ask("say", &line);
        }
    }

    fn hear(&mut self) {
        let heard = self.way.ask("hear", &json!({"role": self.role, "token": "00".repeat(16)}));
        self.way
            .ask("take", &json!({"role": self.role, "from": heard["from"], "sequence": heard["sequence"]}));
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (place, signed, role) = (&*arguments[0], arguments[1] == "signed", &*arguments[2]);
    let rounds: u64 = arguments[3].parse().unwrap();
    let way = if place == "inside" {
        let socket = std::env::var_os("SESSILE_SOCKET").unwrap();
        Way::Inside(BufReader::new(UnixStream::connect(socket).unwrap()))
    } else {
        let stream = UnixStream::connect(&arguments[4]).unwrap();
        Way::Outside(BufReader::new(stream), arguments[5].clone())
    };
    let mut speaker = Speaker::new(way, signed, role);
    if role == "Agent" {
        for _ in 0..=rounds {
            speaker.hear();
            speaker.say();
        }
        return;
    }
    // The first round waits for the other to begin.
    speaker.say();
    speaker.hear();
    let begun = Instant::now();
    for _ in 0..rounds {
        speaker.say();
        speaker.hear();
    }
    println!("{:.0}", begun.elapsed().as_secs_f64() * 1e9 / (2 * rounds) as f64);
}
