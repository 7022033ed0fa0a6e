//! What a keeper finds of its predecessor: the checkpoint's two halves, the input ledger and the log of
//! what was said.

#![no_main]

use std::os::fd::OwnedFd;

use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};
use sessile_fuzz::{Draw, plant};
use sessile_keeper::fuzz::{ChannelLog, Checkpoint, InputLedger, LedgerRow};

/// Where the second half begins, and how long both are.
const HALF: u64 = 4 << 20;

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    let mut draw = Draw(data);
    match draw.byte() % 4 {
        0 => found(draw),
        1 => damaged(draw),
        2 => said(draw),
        _ => ledger(draw),
    }
});

/// Any bytes at all.
fn found(mut draw: Draw<'_>) {
    let file = file(if draw.byte() == 0 { 2 * HALF } else { draw.word().into() });
    let first = draw.run();
    let _ = pwrite(&file, first, 0);
    let _ = pwrite(&file, draw.0, HALF);
    if let Ok((mut checkpoint, document)) = Checkpoint::adopt::<serde_json::Value>(file) {
        assert!(document.to_string().len() < HALF as usize);
        goes_on(&mut checkpoint);
    }
}

/// Two writes, then damage: what is read is one of the two, and never a mixture.
fn damaged(mut draw: Draw<'_>) {
    let documents = [String::from_utf8_lossy(draw.run()).into_owned(), "b".repeat(usize::from(draw.byte()))];
    let mut checkpoint = Checkpoint::create().expect("a memory file");
    for document in &documents {
        checkpoint.write(document).expect("a small document");
    }
    let at = u64::from(draw.word());
    let half = u64::from(draw.byte() & 1) * HALF;
    pwrite(checkpoint.fd(), draw.0, half + at).expect("damage within the file");
    let file = checkpoint.fd().try_clone_to_owned().expect("a descriptor");
    let (mut checkpoint, document) = Checkpoint::adopt::<String>(file).expect("the other half is whole");
    assert!(documents.contains(&document), "{document:?}");
    goes_on(&mut checkpoint);
}

/// A successor's own write counts.
fn goes_on(checkpoint: &mut Checkpoint) {
    checkpoint.write(&"next").expect("a small document");
    let file = checkpoint.fd().try_clone_to_owned().expect("a descriptor");
    let (_, document) = Checkpoint::adopt::<String>(file).expect("what was just written");
    assert_eq!(document, "next");
}

/// A log of lines with anything written over it: it is damaged, or goes on.
fn said(mut draw: Draw<'_>) {
    let bodies: Vec<&[u8]> = (0..=draw.byte() % 4).map(|_| draw.run()).collect();
    let mut log = ChannelLog::begin(bodies[0]).expect("a memory file");
    for body in &bodies[1..] {
        log.append(body).expect("a short record");
    }
    let again = |log: &ChannelLog| ChannelLog::adopt(log.fd().try_clone_to_owned().expect("a descriptor"));
    let (whole, records) = again(&log).expect("nothing was damaged");
    assert_eq!(records, bodies);
    let (at, damage) = (u64::from(draw.word()), draw.0);
    pwrite(whole.fd(), damage, at).expect("damage within the limit");
    if let Ok((mut log, mut records)) = again(&whole) {
        log.append(b"next").expect("a short record");
        records.push(b"next".to_vec());
        assert_eq!(again(&log).expect("what was just read and written").1, records);
    }
}

fn ledger(mut draw: Draw<'_>) {
    let rows = file(128 * 24);
    let size = usize::from(draw.word()) % (128 * 24 + 1);
    let _ = pwrite(&rows, draw.bytes(size), 0);
    if draw.byte() & 1 == 1 {
        ftruncate(&rows, size as u64).expect("a shorter file");
    }
    let mut ledger = InputLedger::adopt(rows).expect("any ledger can be read");
    while !draw.is_empty() {
        let client = u64::from(draw.byte()) + 1;
        let sequence = u64::from(draw.word());
        ledger.begin(client, sequence);
        let before = ledger.of(client);
        assert_eq!(before.started, sequence);
        if draw.byte() & 1 == 1 {
            ledger.finish(client, sequence);
            assert_eq!(ledger.of(client), LedgerRow { client, started: sequence, done: sequence });
        }
        let again = ledger.fd().try_clone_to_owned().expect("a descriptor");
        let again = InputLedger::adopt(again).expect("a ledger");
        assert_eq!(again.of(client), ledger.of(client), "a successor knows the same");
    }
    let mut byte = [0];
    assert_eq!(pread(ledger.fd(), &mut byte, 128 * 24), Ok(0), "a ledger does not grow");
}

fn file(size: u64) -> OwnedFd {
    let file = memfd_create("fuzz", MemfdFlags::CLOEXEC).expect("a memory file");
    ftruncate(&file, size).expect("its size");
    file
}

fn seeds() -> Vec<Vec<u8>> {
    let mut checkpoint = Checkpoint::create().expect("a memory file");
    checkpoint.write(&"document").expect("a small document");
    let mut half = [0; 64];
    pread(checkpoint.fd(), &mut half, HALF).expect("the half");
    vec![
        [&[0, 0, 0][..], &half].concat(),
        b"\x01\x05hello\x05\x08\x00\x01damage".to_vec(),
        [&[2, 2, 3][..], b"one", &[3], b"two", &[40, 0], b"damage"].concat(),
        [&[3, 48, 0][..], &[1; 48], &[0, 5, 1, 0, 1, 5, 2, 0, 0]].concat(),
    ]
}
