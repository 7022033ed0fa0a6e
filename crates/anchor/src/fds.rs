//! Packets that carry descriptors over unix sockets (unix(7), SCM_RIGHTS).

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::sys;

/// Most descriptors in one packet: the kernel's SCM_MAX_FD.
pub const MAX_FDS: usize = 253;
/// For [`recv_with_fds`]: return `WouldBlock` at once when no packet waits.
pub const NO_WAIT: i32 = libc::MSG_DONTWAIT;

/// Room for the control message with the most descriptors, aligned as `cmsghdr` must be.
#[repr(C, align(8))]
struct Control([u8; 16 + MAX_FDS * size_of::<RawFd>() + 4]);

impl Control {
    const fn new() -> Self {
        Self([0; 16 + MAX_FDS * size_of::<RawFd>() + 4])
    }
}

/// A connected pair of SOCK_SEQPACKET sockets, both closed at exec.
///
/// # Errors
/// What socketpair(2) says.
pub fn seqpacket_pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut pair = [0; 2];
    let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC;
    // SAFETY: the array has room for the two numbers.
    sys::check(unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()) })?;
    // SAFETY: both are new descriptors that nobody else knows.
    Ok(unsafe { (OwnedFd::from_raw_fd(pair[0]), OwnedFd::from_raw_fd(pair[1])) })
}

/// Sends one packet with descriptors, all or nothing. Never raises SIGPIPE.
///
/// # Errors
/// `InvalidInput` for more than [`MAX_FDS`] descriptors; `WouldBlock` when the socket is
/// nonblocking and the peer does not read; otherwise what sendmsg(2) says.
pub fn send_with_fds(sock: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>]) -> io::Result<()> {
    send(sock, bytes, fds, 0)
}

/// [`send_with_fds`] with flags of sendmsg(2).
pub(crate) fn send(sock: BorrowedFd<'_>, bytes: &[u8], fds: &[BorrowedFd<'_>], flags: i32) -> io::Result<()> {
    if fds.len() > MAX_FDS {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let mut control = Control::new();
    let mut part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a message header of zeros is an empty one.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    if !fds.is_empty() {
        let payload = size_of::<RawFd>() * fds.len();
        message.msg_control = control.0.as_mut_ptr().cast();
        // SAFETY: `control` is aligned and large enough for MAX_FDS descriptors, so the first
        // header and its payload lie within it.
        unsafe {
            message.msg_controllen = libc::CMSG_SPACE(payload as u32) as _;
            let header = libc::CMSG_FIRSTHDR(&raw const message);
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_RIGHTS;
            (*header).cmsg_len = libc::CMSG_LEN(payload as u32) as _;
            let data = libc::CMSG_DATA(header).cast::<RawFd>();
            for (i, fd) in fds.iter().enumerate() {
                data.add(i).write_unaligned(fd.as_raw_fd());
            }
        }
    }
    loop {
        // SAFETY: the header points at buffers that outlive the call.
        let rc = unsafe { libc::sendmsg(sock.as_raw_fd(), &raw const message, flags | libc::MSG_NOSIGNAL) };
        match sys::check_len(rc) {
            Ok(sent) if sent == bytes.len() => return Ok(()),
            Ok(_) => return Err(io::ErrorKind::WriteZero.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

/// Receives one packet and its descriptors, which are closed at exec.
///
/// `flags` are those of recvmsg(2): 0 or [`NO_WAIT`]. Returns length 0 when the peer has closed
/// (or sent an empty packet).
///
/// # Errors
/// `InvalidData` when bytes or descriptors were cut off (those that came are closed);
/// `WouldBlock` when no packet waits; otherwise what recvmsg(2) says.
pub fn recv_with_fds(sock: BorrowedFd<'_>, buf: &mut [u8], flags: i32) -> io::Result<(usize, Vec<OwnedFd>)> {
    let mut fds = Vec::new();
    let len = receive(sock, buf, flags, |fd| fds.push(fd))?;
    Ok((len, fds))
}

/// [`recv_with_fds`] without a heap: hands out each descriptor as it is found, also those of a
/// packet that is then refused.
pub(crate) fn receive(
    sock: BorrowedFd<'_>,
    buf: &mut [u8],
    flags: i32,
    mut found: impl FnMut(OwnedFd),
) -> io::Result<usize> {
    let mut control = Control::new();
    let mut part = libc::iovec { iov_base: buf.as_mut_ptr().cast(), iov_len: buf.len() };
    // SAFETY: a message header of zeros is an empty one.
    let mut message: libc::msghdr = unsafe { zeroed() };
    message.msg_iov = &raw mut part;
    message.msg_iovlen = 1;
    message.msg_control = control.0.as_mut_ptr().cast();
    message.msg_controllen = control.0.len() as _;
    let len = loop {
        let flags = flags | libc::MSG_CMSG_CLOEXEC;
        // SAFETY: the header points at buffers that outlive the call.
        match sys::check_len(unsafe { libc::recvmsg(sock.as_raw_fd(), &raw mut message, flags) }) {
            Ok(len) => break len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    // SAFETY: the kernel has written whole control messages within `control` and their lengths;
    // each descriptor in them is new and handed out once.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(&raw const message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_SOCKET && (*header).cmsg_type == libc::SCM_RIGHTS {
                let data = libc::CMSG_DATA(header);
                let prefix = data.offset_from(header.cast::<u8>()) as usize;
                let count = ((*header).cmsg_len as usize).saturating_sub(prefix) / size_of::<RawFd>();
                for i in 0..count {
                    let fd = ptr::read_unaligned(data.cast::<RawFd>().add(i));
                    found(OwnedFd::from_raw_fd(fd));
                }
            }
            header = libc::CMSG_NXTHDR(&raw const message, header);
        }
    }
    if message.msg_flags & (libc::MSG_TRUNC | libc::MSG_CTRUNC) != 0 {
        return Err(io::ErrorKind::InvalidData.into());
    }
    Ok(len)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::io::Read as _;
    use std::os::fd::AsFd as _;

    #[test]
    fn descriptors_arrive_closed_at_exec() {
        let (a, b) = seqpacket_pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        let null = File::open("/dev/null").unwrap();
        send_with_fds(a.as_fd(), b"hello", &[writer.as_fd(), null.as_fd()]).unwrap();
        drop(writer);
        let mut buf = [0; 16];
        let (len, fds) = recv_with_fds(b.as_fd(), &mut buf, 0).unwrap();
        assert_eq!((&buf[..len], fds.len()), (&b"hello"[..], 2));
        for fd in &fds {
            // SAFETY: F_GETFD returns a number.
            assert_eq!(unsafe { libc::fcntl(fd.as_raw_fd(), libc::F_GETFD) }, libc::FD_CLOEXEC);
        }
        drop(fds);
        assert_eq!(reader.read(&mut buf).unwrap(), 0);
        drop(a);
        assert_eq!(recv_with_fds(b.as_fd(), &mut buf, 0).unwrap().0, 0);
    }

    #[test]
    fn a_cut_packet_is_refused_and_its_descriptors_closed() {
        let (a, b) = seqpacket_pair().unwrap();
        let (mut reader, writer) = io::pipe().unwrap();
        send_with_fds(a.as_fd(), &[7; 32], &[writer.as_fd()]).unwrap();
        drop(writer);
        let mut buf = [0; 16];
        let error = recv_with_fds(b.as_fd(), &mut buf, NO_WAIT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        assert_eq!(reader.read(&mut buf).unwrap(), 0);
        let error = recv_with_fds(b.as_fd(), &mut buf, NO_WAIT).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn the_most_descriptors_fit_and_one_more_does_not() {
        let (a, b) = seqpacket_pair().unwrap();
        let null = File::open("/dev/null").unwrap();
        let many = vec![null.as_fd(); MAX_FDS];
        send_with_fds(a.as_fd(), b"x", &many).unwrap();
        let (_, fds) = recv_with_fds(b.as_fd(), &mut [0; 1], 0).unwrap();
        assert_eq!(fds.len(), MAX_FDS);
        let more = vec![null.as_fd(); MAX_FDS + 1];
        assert_eq!(send_with_fds(a.as_fd(), b"x", &more).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
