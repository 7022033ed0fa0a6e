//! The guard's end of the socket to its keeper.

use std::fs::File;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::FileExt as _;

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendFlags, recvmsg, sendmsg,
};
use sessile_model::guarding::{ENCLOSED, MAX_ORDER, MAX_PACKET, Order, Report};
use zeroize::Zeroizing;

/// A socket to the keeper, which keeps the bounds of messages.
#[derive(Debug)]
pub struct Link(OwnedFd);

impl Link {
    /// Takes over a SEQPACKET socket.
    pub fn new(socket: OwnedFd) -> Self {
        Self(socket)
    }

    /// Waits for the next order, and the descriptor that comes along; `None` when nobody holds the other end.
    ///
    /// # Errors
    /// When the socket fails.
    pub fn next(&self) -> io::Result<Option<(Order, Option<OwnedFd>)>> {
        let mut bytes = Zeroizing::new(vec![0u8; MAX_PACKET]);
        loop {
            let (length, file) = match receive(&self.0, &mut bytes, RecvFlags::empty()) {
                Err(Errno::INTR) => continue,
                Err(Errno::CONNRESET) => return Ok(None),
                received => received?,
            };
            if length == 0 {
                return Ok(None);
            }
            let packet = bytes.get(..length).unwrap_or_default();
            // What does not parse comes from a later version, or is a mistake of ours: not obeyed.
            return Ok(Some(match file {
                Some(file) if packet == ENCLOSED => {
                    (serde_json::from_slice(&enclosed(file)?).unwrap_or(Order::Unknown), None)
                }
                file => (serde_json::from_slice(packet).unwrap_or(Order::Unknown), file),
            }));
        }
    }

    /// Tells the keeper something.
    ///
    /// # Errors
    /// When the keeper is gone, or it is longer than a packet.
    pub fn tell(&self, report: &Report) -> io::Result<()> {
        let bytes = Zeroizing::new(serde_json::to_vec(report)?);
        if bytes.len() > MAX_PACKET {
            return Err(io::Error::other("a report is longer than a packet"));
        }
        loop {
            let mut control = SendAncillaryBuffer::default();
            match sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut control, SendFlags::NOSIGNAL) {
                Err(Errno::INTR) => {}
                sent => return sent.map(drop).map_err(io::Error::from),
            }
        }
    }
}

impl AsFd for Link {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// An order that lies in a memory file, which is overwritten.
fn enclosed(file: OwnedFd) -> io::Result<Zeroizing<Vec<u8>>> {
    let file = File::from(file);
    let length = usize::try_from(file.metadata()?.len()).unwrap_or(MAX_ORDER).min(MAX_ORDER);
    let mut bytes = Zeroizing::new(vec![0; length]);
    file.read_exact_at(&mut bytes, 0)?;
    file.write_all_at(&vec![0; length], 0)?;
    Ok(bytes)
}

pub(crate) fn receive(
    socket: &OwnedFd,
    bytes: &mut [u8],
    flags: RecvFlags,
) -> Result<(usize, Option<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let received = recvmsg(socket, &mut [IoSliceMut::new(bytes)], &mut control, flags)?;
    let mut file = None;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(rights) = message {
            file = rights.into_iter().next();
        }
    }
    Ok((received.bytes, file))
}
