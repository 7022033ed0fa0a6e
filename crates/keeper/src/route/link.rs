//! The keeper's end of the sockets to its gateway and its guard.

use std::fs::File;
use std::io::{IoSlice, IoSliceMut, Write as _};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
    SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sessile_model::gateway::{ENCLOSED, MAX_ORDER, MAX_PACKET};

/// A pair of ends: the keeper's and the other program's.
///
/// # Errors
/// When the system is out of descriptors.
pub fn pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
}

/// Sends an order with at most four descriptors, a long one with none. Never waits.
///
/// # Errors
/// When the other program is gone or takes nothing any more.
pub fn send<T: Serialize>(socket: impl AsFd, order: &T, fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let bytes = serde_json::to_vec(order).map_err(|_| Errno::INVAL)?;
    if bytes.len() > MAX_PACKET {
        if bytes.len() > MAX_ORDER || !fds.is_empty() {
            return Err(Errno::MSGSIZE);
        }
        let enclosed = memfd_create(c"order", MemfdFlags::CLOEXEC)?;
        File::from(enclosed.try_clone().map_err(|_| Errno::MFILE)?)
            .write_all(&bytes)
            .map_err(|_| Errno::NOMEM)?;
        return send_packet(socket, ENCLOSED, &[enclosed.as_fd()]);
    }
    send_packet(socket, &bytes, fds)
}

fn send_packet(socket: impl AsFd, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !fds.is_empty() && !control.push(SendAncillaryMessage::ScmRights(fds)) {
        return Err(Errno::NOBUFS);
    }
    let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags).map(drop)
}

/// The next report, if one waits. Never waits.
///
/// # Errors
/// `PIPE` when the other program is gone; else what the system says.
pub fn receive<T: DeserializeOwned>(socket: impl AsFd) -> Result<Option<T>, Errno> {
    let mut bytes = vec![0u8; MAX_PACKET];
    loop {
        let mut control = RecvAncillaryBuffer::default();
        match recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::DONTWAIT) {
            Ok(received) if received.bytes == 0 => return Err(Errno::PIPE),
            // What does not parse comes from a later version.
            Ok(received) => {
                if let Ok(report) = serde_json::from_slice(&bytes[..received.bytes]) {
                    return Ok(Some(report));
                }
            }
            Err(Errno::AGAIN) => return Ok(None),
            Err(Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
    }
}
