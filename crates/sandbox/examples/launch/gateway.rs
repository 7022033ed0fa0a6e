//! A stand-in for a gateway: says to each connection where it was going, and answers each query
//! for a name with the same address.

use std::error::Error;
use std::fs::File;
use std::io::Write;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, accept, recvfrom, sendto};
use sessile_sandbox::capture::{Listeners, original_destination};
use sessile_sandbox::space::Space;

/// The address of every name.
const ANSWER: [u8; 4] = [203, 0, 113, 9];

/// Serves until the process ends.
pub fn serve(listeners: Listeners) {
    std::thread::spawn(move || {
        loop {
            let sockets = listeners.tcp.iter().chain(&listeners.dns);
            let mut fds: Vec<PollFd<'_>> = sockets.map(|fd| PollFd::new(fd, PollFlags::IN)).collect();
            let _ = poll(&mut fds, None);
            for listener in &listeners.tcp {
                while let Ok(connection) = accept(listener) {
                    let said = match original_destination(connection.as_fd()) {
                        Ok(address) => address.to_string(),
                        Err(why) => why.to_string(),
                    };
                    let _ = writeln!(File::from(connection), "{said}");
                }
            }
            for socket in &listeners.dns {
                answer(socket);
            }
        }
    });
}

fn answer(socket: &OwnedFd) {
    let mut query = [0u8; 512];
    while let Ok((length, _, Some(from))) = recvfrom(socket, &mut query[..], RecvFlags::empty()) {
        let Some(reply) = query.get(..length).and_then(reply) else { continue };
        let Ok(from) = SocketAddr::try_from(from) else { continue };
        let _ = sendto(socket, &reply, SendFlags::empty(), &from);
    }
}

/// The answer to a query with one question (RFC 1035).
fn reply(query: &[u8]) -> Option<Vec<u8>> {
    let name = query.get(12..)?.iter().position(|&byte| byte == 0)?;
    let question = query.get(12..12 + name + 5)?;
    let wants_v4 = question.get(name + 1..name + 3)? == [0, 1];
    let mut reply = query.get(..2)?.to_vec();
    reply.extend([0x81, 0x80, 0, 1, 0, u8::from(wants_v4), 0, 0, 0, 0]);
    reply.extend(question);
    if wants_v4 {
        reply.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        reply.extend(ANSWER);
    }
    Some(reply)
}

/// Deletes the rules in an app's network namespace, as nobody inside can.
pub fn delete_rules(space: &Space, netns: &OwnedFd) -> Result<(), Box<dyn Error>> {
    // SAFETY: the child makes system calls only, and ends.
    let child = unsafe { libc::fork() };
    if child == 0 {
        let done = join(space.userns.as_raw_fd()) && join(netns.as_raw_fd()) && delete().is_ok();
        // SAFETY: ends the process at once.
        unsafe { libc::_exit(i32::from(!done)) }
    }
    let mut status = 0;
    // SAFETY: waits for the child made above.
    unsafe { libc::waitpid(child, &raw mut status, 0) };
    if status == 0 { Ok(()) } else { Err("the rules could not be deleted".into()) }
}

fn join(namespace: i32) -> bool {
    // SAFETY: takes numbers.
    unsafe { libc::setns(namespace, 0) == 0 }
}

fn delete() -> Result<(), Errno> {
    // SAFETY: takes numbers.
    let socket = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_NETFILTER) };
    let mut batch = Vec::new();
    // Begin, delete a table of the family inet, end.
    for (kind, flags, header, body) in [
        (16u16, 1u16, [0u8, 0, 0, 10], &b""[..]),
        (10 << 8 | 2, 5, [1, 0, 0, 0], b"\x0c\0\x01\0sessile\0"),
        (17, 1, [0, 0, 0, 10], b""),
    ] {
        batch.extend((20 + body.len() as u32).to_ne_bytes());
        batch.extend(kind.to_ne_bytes());
        batch.extend(flags.to_ne_bytes());
        batch.extend([0; 8]);
        batch.extend(header);
        batch.extend(body);
    }
    let mut answer = [0u8; 4096];
    // SAFETY: both buffers outlive the calls and have the lengths that are passed.
    let code = unsafe {
        libc::send(socket, batch.as_ptr().cast(), batch.len(), 0);
        libc::recv(socket, answer.as_mut_ptr().cast(), answer.len(), libc::MSG_DONTWAIT);
        i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]])
    };
    if code == 0 && answer[4] == 2 { Ok(()) } else { Err(Errno::from_raw_os_error(-code)) }
}
