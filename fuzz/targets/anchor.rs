//! Packets of the anchor and of init, a command's block, a ring that another process made.

#![no_main]

use std::ffi::CString;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use libfuzzer_sys::fuzz_target;
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::io::{pread, pwrite};
use rustix::net::{AddressFamily, SendFlags, SocketFlags, SocketType, send, socketpair};
use sessile_anchor::control::{BLOCK_HEADER, BLOCK_MAGIC, Block, Command, Control, ControlEvent, Kind};
use sessile_anchor::init::read_block;
use sessile_anchor::protocol::{Code, Name, Operation, REPLY_LEN, REQUEST_LEN, Reply, Request};
use sessile_anchor::ring::Ring;
use sessile_fuzz::{Draw, plant};

fuzz_target!(init: plant(seeds()), |data: &[u8]| {
    let mut draw = Draw(data);
    match draw.byte() % 5 {
        0 => packets(draw.0),
        1 => init(draw),
        2 => block(draw),
        3 => command(draw),
        _ => ring(draw),
    }
});

fn packets(data: &[u8]) {
    let request = Request::decode(data);
    let packet = request.encode();
    assert_eq!(Request::decode(&packet), request);
    if data.len() >= REQUEST_LEN {
        // All but the reserved number comes back.
        assert_eq!((&packet[..12], &packet[16..]), (&data[..12], &data[16..REQUEST_LEN]));
    }
    let reply = Reply::decode(data);
    assert_eq!(reply.is_some(), data.len() >= REPLY_LEN);
    if let Some(reply) = reply {
        assert_eq!(reply.encode(), data[..REPLY_LEN]);
        name(&reply.name);
        assert!(Code::from_number(reply.code).is_none_or(|code| code as u32 == reply.code));
    }
    request.names.iter().for_each(name);
    assert!(Operation::from_number(request.operation).is_none_or(|o| o as u16 == request.operation));
}

fn name(name: &Name) {
    if let Some(text) = name.as_str().filter(|text| !text.is_empty()) {
        assert!(name.is_valid());
        assert_eq!(Name::new(text), Some(*name), "a name has one form");
    } else {
        assert!(!name.is_valid());
    }
}

/// Packets from an init, which an app may have taken over.
fn init(mut draw: Draw<'_>) {
    let pair = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None);
    let (ours, theirs) = pair.expect("a pair of sockets");
    let mut expected = Vec::new();
    let mut gone = false;
    for _ in 0..16 {
        let packet = draw.run();
        if draw.is_empty() && packet.is_empty() {
            break;
        }
        send(&theirs, packet, SendFlags::NOSIGNAL).expect("room for a packet");
        // An empty packet is as the end of the connection.
        gone |= packet.is_empty();
        let word = |place: usize| Some(u32::from_le_bytes(*packet.get(place * 4..)?.first_chunk()?));
        if let (Some(kind), Some(task), Some(status)) = (word(0), word(2), word(3))
            && kind == Kind::Exited as u32
            && !gone
        {
            expected.push(ControlEvent::Exited { task, status: status.cast_signed() });
        }
    }
    drop(theirs);
    expected.push(ControlEvent::Gone);
    let mut control = Control::from_fd(ours);
    for event in expected {
        assert_eq!(control.try_event().expect("the socket works"), Some(event));
    }
}

/// A block that no keeper wrote.
fn block(mut draw: Draw<'_>) {
    let strings = draw.byte();
    let mut bytes = BLOCK_MAGIC.to_vec();
    if strings == 0 {
        bytes = draw.0.to_vec();
    } else {
        let numbers =
            [draw.0.len() as u32 - 2.min(draw.0.len() as u32), draw.byte().into(), draw.byte().into()];
        bytes.extend(numbers.iter().flat_map(|number| number.to_le_bytes()));
        bytes.extend_from_slice(draw.0);
    }
    let file = file(&bytes, bytes.len() as u64);
    let read = read_block(file.as_raw_fd());
    if let Some(parts) = &read {
        let joined: Vec<u8> = parts.iter().flatten().flat_map(|s| s.as_bytes_with_nul()).copied().collect();
        assert_eq!(joined, bytes[BLOCK_HEADER..], "every byte is in one string");
    }
    let is_block = bytes.len() >= BLOCK_HEADER && bytes.starts_with(&BLOCK_MAGIC);
    let mut after = vec![0; bytes.len()];
    pread(&file, &mut after, 0).expect("the block");
    if is_block {
        assert!(after.iter().all(|&byte| byte == 0), "a block is overwritten whatever comes of it");
    } else {
        assert!(read.is_none() && after == bytes, "what is no block is left alone");
    }
}

/// A command as a keeper writes it and init reads it.
fn command(mut draw: Draw<'_>) {
    let cwd = String::from_utf8_lossy(draw.run()).into_owned();
    let [argc, envc] = [draw.byte() % 16, draw.byte() % 16];
    let mut strings = |count: u8| -> Vec<String> {
        (0..count).map(|_| String::from_utf8_lossy(draw.run()).into_owned()).collect()
    };
    let (argv, env) = (strings(argc), strings(envc));
    let has_nul = argv.iter().chain(&env).chain([&cwd]).any(|string| string.contains('\0'));
    let written = Block::of(&Command { argv: &argv, env: &env, cwd: &cwd });
    assert_eq!(written.is_err(), has_nul || argv.is_empty());
    let Ok(block) = written else { return };
    let read = read_block(block.as_fd().as_raw_fd()).expect("what a keeper writes, init reads");
    let c = |strings: &[String]| -> Vec<CString> {
        strings.iter().map(|s| CString::new(s.as_str()).expect("no NUL")).collect()
    };
    assert_eq!(read, [c(&[cwd]), c(&argv), c(&env)]);
}

fn ring(mut draw: Draw<'_>) {
    let capacity = if draw.byte() == 0 { u64::from(draw.word()) * 16 } else { 4096 };
    let from = u64::from(draw.word());
    let header = draw.bytes(56);
    let file = file(header, 4096 + capacity);
    let Ok(ring) = Ring::open(file.as_fd()) else { return };
    assert_eq!(ring.capacity(), capacity);
    assert!(ring.head().saturating_sub(ring.oldest()) <= capacity);
    let mut out = [0; 8192];
    for from in [from, ring.oldest(), ring.head(), ring.head().saturating_sub(from), u64::MAX] {
        let got = ring.read(from, &mut out);
        assert!(got.len as u64 <= capacity && got.start >= from);
        assert!(got.len == 0 || got.start + got.len as u64 <= ring.head());
    }
    ring.set_floor(Some(from));
    ring.is_full();
    assert!(ring.overwrite() <= capacity);
}

fn file(bytes: &[u8], size: u64) -> OwnedFd {
    let file = memfd_create("fuzz", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING).expect("a memory file");
    ftruncate(&file, size).expect("its size");
    pwrite(&file, bytes, 0).expect("its bytes");
    ftruncate(&file, size).expect("its size");
    fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW).expect("seals");
    file
}

fn seeds() -> Vec<Vec<u8>> {
    let mut request = Request::new(Operation::Pump, 7);
    request.names = ["a", "b/c", "notify"].map(|name| Name::new(name).expect("a name"));
    let reply = Reply { name: Name::new("io/1/ring").expect("a name"), ..Reply::to(&request, Code::System) };
    let exited: Vec<u8> = [Kind::Exited as u32, 0, 3, 256].into_iter().flat_map(u32::to_le_bytes).collect();
    let (_, ring) = Ring::create(4096).expect("a ring");
    let mut header = [0; 56];
    pread(&ring, &mut header, 0).expect("its header");
    vec![
        [&[0][..], &request.encode()].concat(),
        [&[0][..], &reply.encode()].concat(),
        [&[1, 16][..], &exited, &[16], &exited].concat(),
        b"\x02\x01\x02\x01/\0/bin/true\0-x\0SECRET=canary\0".to_vec(),
        b"\x03\x01/\x02\x01\x09/bin/true\x02-x\x03A=b".to_vec(),
        [&[4, 1, 0, 0][..], &header].concat(),
    ]
}
