//! Rings: what a reader sees, whatever a writer does meanwhile.

#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

mod pattern;

use std::fs::File;
use std::io::{self, Write as _};
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::os::unix::fs::FileExt as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use pattern::{byte_at, bytes_at};
use sessile_anchor::ring::{MAX_CAPACITY, ReadOutcome, Ring, RingError, WriteOutcome};

const PAGE: u64 = 4096;

/// Writes so many bytes through a pipe; they fit both ring and pipe.
fn write(ring: &Ring, len: usize) {
    let (source, mut writer) = io::pipe().unwrap();
    writer.write_all(&bytes_at(ring.head(), len)).unwrap();
    drop(writer);
    let end = ring.head() + len as u64;
    while ring.head() < end {
        assert!(matches!(ring.write_from(source.as_fd()).unwrap(), WriteOutcome::Bytes(_)));
    }
}

fn read(ring: &Ring, from: u64, len: usize) -> (u64, Vec<u8>) {
    let mut bytes = vec![0; len];
    let ReadOutcome { start, len } = ring.read(from, &mut bytes);
    bytes.truncate(len);
    (start, bytes)
}

#[test]
fn offsets_grow_while_bytes_wrap_around() {
    let (writer, file) = Ring::create(PAGE).unwrap();
    let reader = Ring::open(file.as_fd()).unwrap();
    assert_eq!((reader.head(), reader.oldest(), reader.capacity()), (0, 0, PAGE));
    for len in [1, 7, 1000, 3000, 4095, 4096, 13, 2048] {
        let before = writer.head();
        write(&writer, len);
        assert_eq!(reader.head(), before + len as u64);
        assert_eq!(read(&reader, before, len), (before, bytes_at(before, len)));
        let oldest = reader.head().saturating_sub(PAGE);
        assert_eq!(reader.oldest(), oldest);
        assert_eq!(read(&reader, 0, 1 << 20), (oldest, bytes_at(oldest, (reader.head() - oldest) as usize)));
        assert_eq!(
            read(&reader, oldest + 1, 5),
            (oldest + 1, bytes_at(oldest + 1, 5.min(reader.head() as usize - 1)))
        );
        for beyond in [reader.head(), reader.head() + 1, u64::MAX] {
            assert_eq!(read(&reader, beyond, 10).1.len(), 0);
        }
    }
    assert_eq!(read(&reader, 3, 0).1.len(), 0);
}

#[test]
fn the_end_is_told_and_taken_back() {
    let (ring, _file) = Ring::create(PAGE).unwrap();
    let (source, mut writer) = io::pipe().unwrap();
    let source = OwnedFd::from(source);
    // SAFETY: sets a flag of our own pipe.
    unsafe { libc::fcntl(source.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(ring.write_from(source.as_fd()).unwrap(), WriteOutcome::WouldBlock);
    assert!(!ring.ended());
    let (ended, _) = io::pipe().unwrap();
    assert_eq!(ring.write_from(ended.as_fd()).unwrap(), WriteOutcome::Ended);
    assert!(ring.ended());
    writer.write_all(b"x").unwrap();
    assert_eq!(ring.write_from(source.as_fd()).unwrap(), WriteOutcome::Bytes(1));
    assert!(!ring.ended());
    assert!(ring.write_from(File::open("/").unwrap().as_fd()).is_err());
}

#[test]
fn nothing_at_or_behind_the_floor_is_overwritten() {
    let (ring, _file) = Ring::create(PAGE).unwrap();
    write(&ring, 5000);
    assert!(!ring.is_full());
    assert!(!ring.set_floor(Some(4000)));
    write(&ring, 4000 + 4096 - 5000);
    assert!(ring.is_full());
    let (source, mut feed) = io::pipe().unwrap();
    feed.write_all(&bytes_at(ring.head(), 100)).unwrap();
    assert_eq!(ring.write_from(source.as_fd()).unwrap(), WriteOutcome::Full);
    assert_eq!(read(&ring, 0, 5000), (4000, bytes_at(4000, 4096)));
    // A floor that makes no room is no reason to try again; one that does is, once.
    assert!(!ring.set_floor(Some(4000)));
    assert!(ring.set_floor(Some(4060)));
    assert_eq!(ring.write_from(source.as_fd()).unwrap(), WriteOutcome::Bytes(60));
    assert_eq!(ring.write_from(source.as_fd()).unwrap(), WriteOutcome::Full);
    assert!(ring.set_floor(None));
    assert_eq!(ring.write_from(source.as_fd()).unwrap(), WriteOutcome::Bytes(40));
    assert!(!ring.set_floor(None));
    // A floor whose bytes are long gone holds everything back, and one ahead holds nothing.
    ring.set_floor(Some(10));
    assert!(ring.is_full());
    ring.set_floor(Some(u64::MAX));
    assert!(!ring.is_full());
}

#[test]
fn a_reader_never_sees_a_byte_of_another_offset() {
    let (ring, file) = Ring::create(4 * PAGE).unwrap();
    let (source, mut feed) = io::pipe().unwrap();
    let done = AtomicBool::new(false);
    const TOTAL: u64 = 48 << 20;
    thread::scope(|scope| {
        scope.spawn(move || {
            let pattern = bytes_at(0, 1 << 20);
            let mut offset = 0;
            while offset < TOTAL {
                let at = (offset % (1 << 20)) as usize;
                let len = (pattern.len() - at).min(8191);
                feed.write_all(&pattern[at..at + len]).unwrap();
                offset += len as u64;
            }
        });
        scope.spawn(|| {
            while !matches!(ring.write_from(source.as_fd()).unwrap(), WriteOutcome::Ended) {}
            done.store(true, Ordering::Release);
        });
        let reader = Ring::open(file.as_fd()).unwrap();
        let mut bytes = vec![0; 16 << 10];
        let (mut from, mut seen, mut lost) = (0, 0, 0);
        loop {
            let last = done.load(Ordering::Acquire);
            // From the far end, where the writer is close behind.
            from = from.max(reader.oldest());
            let got = reader.read(from, &mut bytes);
            assert!(got.start >= from);
            lost += got.start - from;
            for (i, byte) in bytes[..got.len].iter().enumerate() {
                let offset = got.start + i as u64;
                assert_eq!(*byte, byte_at(offset % (1 << 20)), "offset {offset}");
            }
            seen += got.len;
            from = got.start + got.len as u64;
            if last && got.len == 0 {
                break;
            }
        }
        eprintln!("{seen} bytes seen, {lost} lost while they were copied");
        assert!(seen > 0);
    });
}

#[test]
fn a_floor_set_during_a_flood_holds() {
    let (ring, file) = Ring::create(4 * PAGE).unwrap();
    let (source, mut feed) = io::pipe().unwrap();
    const TOTAL: u64 = 8 << 20;
    thread::scope(|scope| {
        scope.spawn(move || {
            let pattern = bytes_at(0, TOTAL as usize);
            feed.write_all(&pattern).unwrap();
        });
        scope.spawn(|| while !matches!(ring.write_from(source.as_fd()).unwrap(), WriteOutcome::Ended) {});
        let reader = Ring::open(file.as_fd()).unwrap();
        let mut floor = 0;
        while !reader.ended() {
            reader.set_floor(Some(floor));
            if reader.oldest() <= floor {
                for _ in 0..20 {
                    let (start, bytes) = read(&reader, floor, 512);
                    assert_eq!(start, floor, "a byte behind the floor was lost");
                    assert!(bytes.iter().zip(floor..).all(|(b, o)| *b == byte_at(o)));
                }
            }
            reader.set_floor(None);
            floor = reader.head().saturating_sub(3 * PAGE);
        }
    });
}

#[test]
fn memory_comes_with_bytes_and_all_of_it_is_overwritten() {
    let (ring, file) = Ring::create(1 << 20).unwrap();
    let file = File::from(file);
    assert_eq!(ring.overwrite(), 0);
    write(&ring, 10_000);
    assert_eq!(ring.overwrite(), 3 * PAGE);
    assert_eq!(read(&ring, 0, 10_000), (0, vec![0; 10_000]));
    let mut all = vec![0; (1 << 20) + 4096];
    file.read_exact_at(&mut all, 0).unwrap();
    assert!(all[4096..].iter().all(|&b| b == 0));
    use std::os::unix::fs::MetadataExt as _;
    assert_eq!(file.metadata().unwrap().blocks() * 512, 4 * PAGE);
}

#[test]
fn capacities_are_checked() {
    for bad in [0, 1, 2048, PAGE + 1, 3 * PAGE, MAX_CAPACITY * 2, u64::MAX] {
        assert_eq!(Ring::create(bad).unwrap_err().kind(), io::ErrorKind::InvalidInput, "{bad}");
    }
}

#[test]
fn a_damaged_ring_is_refused() {
    let word = |at: u64, value: u64| {
        let (ring, file) = Ring::create(PAGE).unwrap();
        write(&ring, 100);
        drop(ring);
        let file = File::from(file);
        file.write_all_at(&value.to_le_bytes(), at).unwrap();
        Ring::open(file.as_fd())
    };
    assert!(matches!(word(0, 1), Err(RingError::NotARing)));
    assert!(matches!(word(8, 2), Err(RingError::Version(2))));
    for capacity in [0, 1, 2 * PAGE, u64::MAX] {
        assert!(matches!(word(16, capacity), Err(RingError::Capacity { .. })));
    }
    assert!(matches!(word(24, u64::MAX), Err(RingError::Damaged("head"))));
    assert!(matches!(word(32, u64::MAX - 1), Err(RingError::Damaged("floor"))));
    for claimed in [100 + PAGE + 1, u64::MAX] {
        assert!(matches!(word(40, claimed), Err(RingError::Damaged("claim"))));
    }
    for flags in [2, 2 << 32, u64::MAX] {
        assert!(matches!(word(48, flags), Err(RingError::Damaged("flags"))));
    }
    assert!(word(48, 1).is_ok());

    let plain = tempfile::tempfile().unwrap();
    plain.set_len(2 * PAGE).unwrap();
    assert!(matches!(Ring::open(plain.as_fd()), Err(RingError::NotSealed)));
    let (_, file) = Ring::create(PAGE).unwrap();
    assert!(File::from(file).set_len(PAGE).is_err());
}

#[test]
fn damage_after_opening_does_no_harm() {
    let (_, file) = Ring::create(PAGE).unwrap();
    let ring = Ring::open(file.as_fd()).unwrap();
    let file = File::from(file);
    let (source, mut feed) = io::pipe().unwrap();
    feed.write_all(&[1; 60_000]).unwrap();
    let mut out = [0; 8192];
    for at in (0..56).step_by(8) {
        for value in [0u64, 1, PAGE, u64::MAX / 2, u64::MAX - 1, u64::MAX] {
            file.write_all_at(&value.to_le_bytes(), at).unwrap();
            for from in [0, 1, PAGE, u64::MAX] {
                assert!(ring.read(from, &mut out).len <= out.len());
            }
            ring.set_floor(Some(value));
            let _ = (ring.is_full(), ring.oldest(), ring.overwrite());
            let _ = ring.write_from(source.as_fd());
            ring.set_floor(None);
        }
    }
}
