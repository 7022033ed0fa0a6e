//! The gateway's end of the socket to its keeper.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg,
};
use sessile_model::gateway::{ENCLOSED, MAX_ORDER, MAX_PACKET, Order, Report};
use tokio::io::Interest;
use tokio::net::UnixDatagram;

/// Descriptors that come with one order at most.
const MAX_FDS: usize = 4;

/// A socket to the keeper, which keeps the bounds of messages as datagrams do.
#[derive(Debug)]
pub struct Link(UnixDatagram);

impl Link {
    /// Takes over a SEQPACKET socket.
    ///
    /// # Errors
    /// When the system refuses to watch it.
    pub fn new(socket: OwnedFd) -> io::Result<Self> {
        let flags = rustix::fs::fcntl_getfl(&socket)?;
        rustix::fs::fcntl_setfl(&socket, flags | rustix::fs::OFlags::NONBLOCK)?;
        let socket = std::os::unix::net::UnixDatagram::from(socket);
        UnixDatagram::from_std(socket).map(Self)
    }

    /// The next order and its descriptors; `None` when nobody holds the other end.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn next(&self) -> io::Result<Option<(Order, Vec<OwnedFd>)>> {
        let mut bytes = vec![0u8; MAX_PACKET];
        loop {
            let (length, fds) = self.0.async_io(Interest::READABLE, || receive(&self.0, &mut bytes)).await?;
            if length == 0 {
                return Ok(None);
            }
            let packet = bytes.get(..length).unwrap_or_default();
            if packet == ENCLOSED {
                match fds.into_iter().next().map(enclosed).transpose()? {
                    Some(Ok(order)) => return Ok(Some((order, Vec::new()))),
                    Some(Err(_)) | None => continue,
                }
            }
            // What does not parse comes from a later version, or is a mistake of ours: not obeyed.
            if let Ok(order) = serde_json::from_slice(packet) {
                return Ok(Some((order, fds)));
            }
        }
    }

    /// Tells the keeper something. Without a keeper the socket fills; what is told then is lost,
    /// and a keeper that takes over asks for what it needs.
    pub async fn tell(&self, report: &Report) {
        let Ok(bytes) = serde_json::to_vec(report) else { return };
        let send = || {
            let mut control = SendAncillaryBuffer::default();
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, flags).map_err(io::Error::from)
        };
        let sent = self.0.async_io(Interest::WRITABLE, send);
        let _ = tokio::time::timeout(std::time::Duration::from_millis(200), sent).await;
    }
}

/// An order that lies in a memory file.
fn enclosed(file: OwnedFd) -> io::Result<serde_json::Result<Order>> {
    let file = File::from(file);
    let length = file.metadata()?.len().min(MAX_ORDER as u64);
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(MAX_ORDER)];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(serde_json::from_slice(&bytes))
}

fn receive(socket: impl AsFd, bytes: &mut [u8]) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_FDS))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
    let mut fds = Vec::new();
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            fds.extend(rights);
        }
    }
    Ok((received.bytes, fds))
}
