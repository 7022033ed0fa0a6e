//! What is read of the SSH agent protocol (draft-ietf-sshm-ssh-agent), and what is made of it.
//!
//! A message is a length of four bytes and as many bytes, the first of which says what it is. Apps
//! and agents are both read strictly: what is not understood whole is refused.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Most bytes of a message, as OpenSSH has it.
pub const MAX_MESSAGE: usize = 256 << 10;
/// Most keys of an agent.
const MAX_KEYS: usize = 256;
/// Most characters of a word that came from inside or from a key's comment.
const MAX_WORD: usize = 80;

const FAILURE: u8 = 5;
const REQUEST_IDENTITIES: u8 = 11;
const IDENTITIES_ANSWER: u8 = 12;
const SIGN_REQUEST: u8 = 13;
const SIGN_RESPONSE: u8 = 14;
/// Flags of a request to sign: which hash RSA is to use.
const KNOWN_FLAGS: u32 = 2 | 4;
/// What a client that logs in signs (RFC 4252).
const USERAUTH_REQUEST: u8 = 50;

/// The answer to whatever is not done.
pub const REFUSAL: &[u8] = &[0, 0, 0, 1, FAILURE];

/// Why bytes are not a message.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum Malformed {
    /// It is longer than [`MAX_MESSAGE`], or empty.
    #[error("a message of {len} bytes")]
    Length {
        /// The announced length.
        len: u32,
    },
    /// Its content is not what it says.
    #[error("the message is cut, or goes on beyond its end")]
    Content,
}

/// What an app asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// The keys.
    List,
    /// A signature.
    Sign(SignRequest),
    /// Anything else: it is refused.
    Other,
}

/// A signature that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignRequest {
    /// The public key.
    pub key: Vec<u8>,
    /// What is to be signed.
    pub data: Vec<u8>,
    flags: u32,
}

/// A key that an agent holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// The public key.
    pub blob: Vec<u8>,
    /// What its owner calls it: not for apps, it names people and machines.
    pub comment: String,
}

/// Takes the first whole message out of a buffer: the message, and how many bytes it took.
///
/// # Errors
/// When it is longer than a message may be.
pub fn take(buffer: &[u8]) -> Result<Option<(&[u8], usize)>, Malformed> {
    let Some(head) = buffer.first_chunk::<4>() else { return Ok(None) };
    let len = u32::from_be_bytes(*head);
    if len == 0 || len as usize > MAX_MESSAGE {
        return Err(Malformed::Length { len });
    }
    let end = 4 + len as usize;
    Ok(buffer.get(4..end).map(|message| (message, end)))
}

/// What an app's message asks.
///
/// # Errors
/// When it is one of those that are passed on, and malformed.
pub fn request(message: &[u8]) -> Result<Request, Malformed> {
    let mut rest = Reader(message);
    match rest.byte()? {
        REQUEST_IDENTITIES => rest.end().map(|()| Request::List),
        SIGN_REQUEST => {
            let (key, data, flags) = (rest.string()?.to_vec(), rest.string()?.to_vec(), rest.number()?);
            rest.end()?;
            if flags & !KNOWN_FLAGS != 0 {
                return Ok(Request::Other);
            }
            Ok(Request::Sign(SignRequest { key, data, flags }))
        }
        _ => Ok(Request::Other),
    }
}

/// The question for an agent's keys, with its length.
pub fn list() -> Vec<u8> {
    framed(&[REQUEST_IDENTITIES])
}

/// An agent's keys.
///
/// # Errors
/// When the message is no such answer.
pub fn keys(message: &[u8]) -> Result<Vec<Key>, Malformed> {
    let mut rest = Reader(message);
    if rest.byte()? != IDENTITIES_ANSWER {
        return Err(Malformed::Content);
    }
    let count = rest.number()? as usize;
    if count > MAX_KEYS {
        return Err(Malformed::Content);
    }
    let mut keys = Vec::new();
    for _ in 0..count {
        let (blob, comment) = (rest.string()?.to_vec(), rest.string()?);
        keys.push(Key { blob, comment: word(comment) });
    }
    rest.end().map(|()| keys)
}

/// Keys as an app is told of them: without comments.
pub fn told(keys: &[Key]) -> Vec<u8> {
    let mut message = vec![IDENTITIES_ANSWER];
    message.extend((keys.len() as u32).to_be_bytes());
    for key in keys {
        put(&mut message, &key.blob);
        put(&mut message, b"");
    }
    framed(&message)
}

impl SignRequest {
    /// As the agent is asked, with its length.
    pub fn message(&self) -> Vec<u8> {
        let mut message = vec![SIGN_REQUEST];
        put(&mut message, &self.key);
        put(&mut message, &self.data);
        message.extend(self.flags.to_be_bytes());
        framed(&message)
    }

    /// What the signature is for, as far as that can be seen. Names come from inside.
    pub fn purpose(&self) -> String {
        login(&self.data, &self.key)
            .or_else(|| signed(&self.data))
            .unwrap_or_else(|| format!("something unknown, {} bytes long", self.data.len()))
    }
}

/// An agent's signature as the app is told, with its length; `None` where the message is none.
pub fn signature(message: &[u8]) -> Option<Vec<u8>> {
    let mut rest = Reader(message);
    let is_one = rest.byte().ok()? == SIGN_RESPONSE && rest.string().is_ok() && rest.end().is_ok();
    is_one.then(|| framed(message))
}

/// A public key's name as OpenSSH shows it.
pub fn fingerprint(key: &[u8]) -> String {
    format!("SHA256:{}", STANDARD_NO_PAD.encode(Sha256::digest(key)))
}

/// A public key's kind.
pub fn kind(key: &[u8]) -> String {
    Reader(key).string().map(word).unwrap_or_default()
}

/// The proof of a login (RFC 4252, section 7; OpenSSH's form that names the server's key, too).
fn login(data: &[u8], key: &[u8]) -> Option<String> {
    let mut rest = Reader(data);
    rest.string().ok()?;
    if rest.byte().ok()? != USERAUTH_REQUEST {
        return None;
    }
    let (user, service, method) = (rest.string().ok()?, rest.string().ok()?, rest.string().ok()?);
    let is_bound = match method {
        b"publickey" => false,
        b"publickey-hostbound-v00@openssh.com" => true,
        _ => return None,
    };
    let has_signature = rest.byte().ok()? != 0;
    rest.string().ok()?;
    let same_key = rest.string().ok()? == key;
    let server = match is_bound {
        true => format!("the server with the key {}", fingerprint(rest.string().ok()?)),
        false => "a server that is not named".to_owned(),
    };
    rest.end().ok()?;
    (has_signature && same_key && service == b"ssh-connection")
        .then(|| format!("logging in by SSH as {} at {server}", word(user)))
}

/// A signature over a file or a message (OpenSSH's `PROTOCOL.sshsig`).
fn signed(data: &[u8]) -> Option<String> {
    let mut rest = Reader(data.strip_prefix(b"SSHSIG")?);
    let namespace = rest.string().ok()?;
    // What is reserved, which hash, and the hash.
    for _ in 0..3 {
        rest.string().ok()?;
    }
    rest.end().ok()?;
    Some(match namespace {
        b"git" => "signing a commit or tag of git".to_owned(),
        _ => format!("signing in the namespace {}", word(namespace)),
    })
}

/// Text of somebody else's that is shown: short, and of characters that show.
fn word(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars()
        .map(|c| if c.is_alphanumeric() || (c.is_ascii() && !c.is_ascii_control()) { c } else { '?' })
        .take(MAX_WORD)
        .collect()
}

fn put(message: &mut Vec<u8>, string: &[u8]) {
    message.extend((string.len() as u32).to_be_bytes());
    message.extend(string);
}

fn framed(message: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(4 + message.len());
    put(&mut out, message);
    out
}

/// What is left of a message.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn byte(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.0.split_first().ok_or(Malformed::Content)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u32, Malformed> {
        let (head, rest) = self.0.split_first_chunk::<4>().ok_or(Malformed::Content)?;
        self.0 = rest;
        Ok(u32::from_be_bytes(*head))
    }

    fn string(&mut self) -> Result<&'a [u8], Malformed> {
        let len = self.number()? as usize;
        let (string, rest) = self.0.split_at_checked(len).ok_or(Malformed::Content)?;
        self.0 = rest;
        Ok(string)
    }

    fn end(&self) -> Result<(), Malformed> {
        if self.0.is_empty() { Ok(()) } else { Err(Malformed::Content) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(parts: &[&[u8]]) -> Vec<u8> {
        let mut out = Vec::new();
        parts.iter().for_each(|part| put(&mut out, part));
        out
    }

    fn sign(data: Vec<u8>) -> SignRequest {
        SignRequest { key: strings(&[b"ssh-ed25519", &[7; 32]]), data, flags: 0 }
    }

    #[test]
    fn only_two_requests_are_passed_on() {
        let request_of = |message: &[u8]| request(message);
        assert_eq!(request_of(&[REQUEST_IDENTITIES]), Ok(Request::List));
        let wanted = sign(b"data".to_vec());
        let framed = wanted.message();
        let (message, used) = take(&framed).unwrap().unwrap();
        assert_eq!(used, framed.len());
        assert_eq!(request_of(message), Ok(Request::Sign(wanted.clone())));
        let flagged = SignRequest { flags: 8, ..wanted };
        assert_eq!(request_of(&flagged.message()[4..]), Ok(Request::Other));
        // Adding, removing and locking keys, smartcards, extensions.
        for kind in (0..=255).filter(|kind| ![REQUEST_IDENTITIES, SIGN_REQUEST].contains(kind)) {
            assert_eq!(request_of(&[kind, 0, 0, 0, 0]), Ok(Request::Other), "{kind}");
        }
    }

    #[test]
    fn what_is_cut_or_too_long_is_refused() {
        let whole = sign(b"data".to_vec()).message();
        for end in 0..whole.len() {
            assert_eq!(take(&whole[..end]), Ok(None));
        }
        for end in 5..whole.len() {
            assert_eq!(request(&whole[4..end]), Err(Malformed::Content), "{end}");
        }
        assert_eq!(request(&[&whole[4..], &[0]].concat()), Err(Malformed::Content));
        assert_eq!(request(&[REQUEST_IDENTITIES, 0]), Err(Malformed::Content));
        assert_eq!(take(&[0, 4, 0, 1]), Err(Malformed::Length { len: (256 << 10) + 1 }));
        assert_eq!(take(&[0; 4]), Err(Malformed::Length { len: 0 }));
    }

    #[test]
    fn apps_are_told_of_keys_without_comments() {
        let mut answer = vec![IDENTITIES_ANSWER, 0, 0, 0, 2];
        answer.extend(strings(&[b"one", b"ann@workstation", b"two", b"e\x1b[31mvil"]));
        let known = keys(&answer).unwrap();
        assert_eq!((known[0].comment.as_str(), known[1].comment.as_str()), ("ann@workstation", "e?[31mvil"));
        let told = told(&known);
        assert!(!told.windows(3).any(|bytes| bytes == b"ann"));
        let (message, _) = take(&told).unwrap().unwrap();
        let again = keys(message).unwrap();
        assert_eq!(again.iter().map(|key| key.blob.clone()).collect::<Vec<_>>(), [b"one", b"two"]);
        assert!(keys(&[IDENTITIES_ANSWER, 0xff, 0xff, 0xff, 0xff]).is_err());
        assert!(keys(&[FAILURE]).is_err());
        assert!(keys(&answer[..answer.len() - 1]).is_err());
    }

    #[test]
    fn what_a_signature_is_for_is_said_as_far_as_it_is_seen() {
        let mut wanted = sign(Vec::new());
        let login = |method: &[u8], key: &[u8], tail: &[&[u8]]| {
            let front = [strings(&[b"session"]), vec![USERAUTH_REQUEST]].concat();
            let names = strings(&[b"root", b"ssh-connection", method]);
            [front, names, vec![1], strings(&[b"ssh-ed25519", key]), strings(tail)].concat()
        };
        wanted.data = login(b"publickey", &wanted.key, &[]);
        assert_eq!(wanted.purpose(), "logging in by SSH as root at a server that is not named");
        wanted.data = login(b"publickey-hostbound-v00@openssh.com", &wanted.key, &[b"host"]);
        assert!(wanted.purpose().contains("root at the server with the key SHA256:"));
        wanted.data = login(b"publickey", b"another key", &[]);
        assert!(wanted.purpose().starts_with("something unknown"), "{}", wanted.purpose());
        wanted.data = [b"SSHSIG".to_vec(), strings(&[b"git", b"", b"sha512", b"hash"])].concat();
        assert_eq!(wanted.purpose(), "signing a commit or tag of git");
        wanted.data = [b"SSHSIG".to_vec(), strings(&[b"a\nb", b"", b"sha512", b"hash"])].concat();
        assert_eq!(wanted.purpose(), "signing in the namespace a?b");
        wanted.data = b"SSHSIG".to_vec();
        assert_eq!(wanted.purpose(), "something unknown, 6 bytes long");
    }

    #[test]
    fn signatures_are_passed_on_whole_or_not_at_all() {
        let answer = [vec![SIGN_RESPONSE], strings(&[b"signature"])].concat();
        assert_eq!(signature(&answer).unwrap()[4..], answer);
        assert_eq!(signature(&answer[..9]), None);
        assert_eq!(signature(&[FAILURE]), None);
    }
}
