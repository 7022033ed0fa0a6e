//! What an app and an SSH agent say: the agent protocol, and what a signature is for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use sessile_fuzz::plant;
use sessile_keeper::fuzz::agent::{self, MAX_MESSAGE, Request};

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    stream(data);
    message(data);
});

/// However a stream is cut, the same messages come out of it.
fn stream(data: &[u8]) {
    let mut rest = data;
    while let Ok(Some((whole, used))) = agent::take(rest) {
        assert_eq!(used, whole.len() + 4);
        assert!(!whole.is_empty() && whole.len() <= MAX_MESSAGE);
        assert_eq!(agent::take(&rest[..used]), Ok(Some((whole, used))));
        assert_eq!(agent::take(&rest[..used - 1]), Ok(None));
        message(whole);
        rest = &rest[used..];
    }
}

fn message(message: &[u8]) {
    match agent::request(message) {
        // What is passed on is what was asked, byte by byte.
        Ok(Request::List) => assert_eq!(agent::list()[4..], *message),
        Ok(Request::Sign(wanted)) => {
            assert_eq!(wanted.message()[4..], *message);
            is_text(&wanted.purpose(), 400);
            is_text(&agent::kind(&wanted.key), 80);
            assert_eq!(agent::fingerprint(&wanted.key).len(), 50);
        }
        Ok(Request::Other) | Err(_) => {}
    }
    if let Ok(keys) = agent::keys(message) {
        keys.iter().for_each(|key| is_text(&key.comment, 80));
        let told = agent::told(&keys);
        assert!(told.len() <= message.len() + 4, "an app is told no more than the agent said");
        let again = agent::keys(&told[4..]).expect("what is told can be read");
        assert!(again.iter().zip(&keys).all(|(a, b)| a.blob == b.blob && a.comment.is_empty()));
    }
    if let Some(signature) = agent::signature(message) {
        assert_eq!(signature[4..], *message);
    }
}

/// What people are shown is short and has no controls.
fn is_text(text: &str, most: usize) {
    assert!(text.chars().count() <= most && !text.chars().any(char::is_control), "{text:?}");
}

fn seeds() -> Vec<Vec<u8>> {
    let string = |bytes: &[u8]| [&(bytes.len() as u32).to_be_bytes(), bytes].concat();
    let framed = |message: &[u8]| string(message);
    let key = [string(b"ssh-ed25519"), string(&[7; 32])].concat();
    let sign = |data: &[u8]| [vec![13], string(&key), string(data), vec![0; 4]].concat();
    let names: Vec<u8> =
        [b"root".as_slice(), b"ssh-connection", b"publickey-hostbound-v00@openssh.com"].map(string).concat();
    let login =
        [string(b"session"), vec![50], names, vec![1], string(b"ssh-ed25519"), string(&key), string(b"host")];
    let sshsig = [b"SSHSIG".to_vec(), string(b"git"), string(b""), string(b"sha512"), string(&[1; 64])];
    let keys = [vec![12, 0, 0, 0, 1], string(&key), string(b"ann@workstation")];
    let mut seeds = vec![vec![11], sign(&login.concat()), sign(&sshsig.concat()), keys.concat()];
    seeds.push([vec![14], string(b"signature")].concat());
    seeds.push(vec![5]);
    let all: Vec<u8> = seeds.iter().flat_map(|message| framed(message)).collect();
    seeds.push(all);
    seeds
}
