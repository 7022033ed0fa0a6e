//! Turns to read that keepers borrow.

use std::fs::File;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::thread;
use std::time::{Duration, Instant};

use sessile_anchor::ring::{Ring, WriteOutcome};

use super::pump;
use super::stage::{Stage, eventfd, heard, terminal, wait_until};

/// No byte of it is zero.
fn byte_at(offset: u64) -> u8 {
    (offset % 251) as u8 + 1
}

fn bytes_at(offset: u64, len: usize) -> Vec<u8> {
    (offset..).take(len).map(byte_at).collect()
}

fn read(ring: &Ring, from: u64) -> Vec<u8> {
    let mut bytes = vec![0; 64 << 10];
    let got = ring.read(from, &mut bytes);
    bytes.truncate(got.len);
    bytes
}

/// Borrows the turn once the anchor has finished what it reads.
fn borrow(ring: &Ring) {
    let until = Instant::now() + Duration::from_secs(20);
    while !ring.borrow() {
        assert!(Instant::now() < until, "the turn is not to be had");
        thread::yield_now();
    }
}

/// Whatever moment a keeper that reads itself is killed at: the next one and the anchor find every byte, once.
#[test]
fn no_byte_is_lost_with_a_keeper_that_reads_itself() {
    const DEATHS: u64 = 40;
    let (stage, mut keeper) = Stage::new();
    let (master, slave) = terminal();
    let notify = eventfd();
    let ring = pump(&keeper, 1, &master, 64 << 10, &notify);
    ring.set_floor(Some(0));
    thread::spawn(move || {
        let mut slave = File::from(slave);
        let mut offset = 0;
        loop {
            let len = 1 + (offset * 7919 % 100) as usize;
            if slave.write_all(&bytes_at(offset, len)).is_err() {
                return;
            }
            offset += len as u64;
        }
    });
    let mut offset = 0;
    for death in 0..DEATHS {
        let entries = keeper.link.list().unwrap();
        let (_, file) = entries.iter().find(|(name, _)| name == "io/1/ring").unwrap();
        keeper.borrow(file, &master);
        let until = offset + (8 << 10) + death * 97;
        while offset < until || !ring.is_lent() {
            let bytes = read(&ring, offset);
            assert_eq!(bytes, bytes_at(offset, bytes.len()), "at {offset}, after {death} deaths");
            offset += bytes.len() as u64;
            if ring.set_floor(Some(offset)) {
                keeper.link.poke(1).unwrap();
            }
        }
        keeper.kill();
        keeper = stage.next_keeper();
        assert!(!ring.is_lent());
    }
}

#[test]
fn a_turn_that_is_not_borrowed_anew_is_the_anchors_again() {
    let (_stage, keeper) = Stage::new();
    let (master, slave) = terminal();
    let mut slave = File::from(slave);
    let notify = eventfd();
    let ring = pump(&keeper, 1, &master, 64 << 10, &notify);
    slave.write_all(b"1").unwrap();
    wait_until(&notify, "the first byte", || ring.head() == 1);
    thread::sleep(Duration::from_millis(50));
    heard(&notify);

    // A keeper that types, and then hangs.
    borrow(&ring);
    slave.write_all(b"2").unwrap();
    super::wait_for(&master, libc::POLLIN);
    assert_eq!(ring.read_borrowed(master.as_fd()).unwrap(), Some(WriteOutcome::Bytes(1)));
    slave.write_all(b"3").unwrap();
    thread::sleep(Duration::from_millis(100));
    assert_eq!((ring.head(), heard(&notify)), (2, 0), "somebody else read");
    wait_until(&notify, "the third byte", || ring.head() == 3);
    assert!(!ring.is_lent());

    // One that gives back.
    borrow(&ring);
    slave.write_all(b"4").unwrap();
    thread::sleep(Duration::from_millis(50));
    assert_eq!(ring.head(), 3);
    ring.give_back();
    keeper.link.poke(1).unwrap();
    wait_until(&notify, "the fourth byte", || ring.head() == 4);

    // One that goes on typing has it for as long.
    borrow(&ring);
    slave.write_all(b"5").unwrap();
    for _ in 0..25 {
        thread::sleep(Duration::from_millis(100));
        assert!(ring.borrow());
    }
    assert_eq!(ring.head(), 4);
    drop(keeper);

    // One whose pump has stopped has nothing to read.
    let (_stage, keeper) = Stage::new();
    let ring = pump(&keeper, 1, &master, 64 << 10, &notify);
    keeper.link.unpump(1).unwrap();
    assert!(!ring.borrow());
    keeper.link.pump(1, "io/1/source", "io/1/ring", "io/1/notify").unwrap();
    ring.overwrite();
    assert!(!ring.borrow(), "into a ring that was overwritten");
}
