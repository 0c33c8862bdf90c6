//! Descriptors: what is inherited, what is ours, and datagrams that carry one.
//!
//! Everything opened here is close-on-exec. A descriptor number from outside becomes an [`OwnedFd`] once, in [`take_fd`].
//! Sources: `open(2)` on `O_PATH`, `close_range(2)`, `unix(7)` on `SCM_RIGHTS`.

use std::io;
use std::io::{IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::path::Path;

use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl, open};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg,
    sendmsg, socketpair,
};
use nix::sys::stat::Mode;

/// Lowest number of a descriptor that is not standard input, output or error.
const FIRST: RawFd = 3;

/// Highest number that is tried where the open descriptors can be neither named nor closed as a range.
const LAST_TRIED: RawFd = 65_536;

/// Opens a file or directory as a place only (`O_PATH`), without permission to read it.
pub fn open_path(path: &Path) -> Result<OwnedFd, Errno> {
    open(path, OFlag::O_PATH | OFlag::O_CLOEXEC, Mode::empty())
}

/// Opens `/dev/null`, or where there is none a place that can be neither read nor written.
pub fn open_null() -> Result<OwnedFd, Errno> {
    open(
        "/dev/null",
        OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY,
        Mode::empty(),
    )
    .or_else(|_| open_path(Path::new("/")))
}

/// Takes ownership of a descriptor that was handed to this process under a known number, and makes it close-on-exec.
/// `None` if there is none, or if it is close-on-exec already and so somebody's own.
pub fn take_fd(number: RawFd) -> Option<OwnedFd> {
    let flags = get_flags(number).ok()?;
    if flags.contains(FdFlag::FD_CLOEXEC) {
        return None;
    }
    // SAFETY: it is open, and not close-on-exec, so nobody in this process has taken or made it.
    let fd = unsafe { OwnedFd::from_raw_fd(number) };
    set_cloexec(&fd).ok()?;
    Some(fd)
}

/// Makes a descriptor close-on-exec.
pub fn set_cloexec(fd: &OwnedFd) -> Result<(), Errno> {
    fcntl(fd, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map(drop)
}

/// Makes the open file behind a descriptor non-blocking, for everybody who shares it.
pub fn set_nonblocking(fd: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OFlag::from_bits_truncate(fcntl(fd, FcntlArg::F_GETFL)?);
    fcntl(fd, FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK)).map(drop)
}

/// A second descriptor of the same open file, close-on-exec.
pub fn duplicate(fd: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let number = fcntl(fd, FcntlArg::F_DUPFD_CLOEXEC(FIRST))?;
    // SAFETY: the kernel just gave us this descriptor.
    Ok(unsafe { OwnedFd::from_raw_fd(number) })
}

/// Whether two processes of ours can talk through it: a connected pair of sockets that keep messages apart.
pub fn seqpacket_pair() -> Result<(OwnedFd, OwnedFd), Errno> {
    socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )
}

/// Sends one datagram, a descriptor with it if there is one. Never raises SIGPIPE; blocks only if the socket does.
pub fn send_with_fd(
    socket: BorrowedFd<'_>,
    datagram: &[u8],
    fd: Option<BorrowedFd<'_>>,
) -> io::Result<()> {
    let fds = fd.map(|fd| [fd.as_raw_fd()]);
    let rights = fds.as_ref().map(|fds| ControlMessage::ScmRights(fds));
    let rights = rights.as_slice();
    loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(datagram)],
            rights,
            MsgFlags::MSG_NOSIGNAL,
            None,
        ) {
            Err(Errno::EINTR) => {}
            result => return result.map(drop).map_err(io::Error::from),
        }
    }
}

/// Receives one datagram into `buffer`: its length and the descriptor that came with it. Length 0 is end-of-file.
/// A datagram larger than the buffer is an error (`EMSGSIZE`).
pub fn recv_with_fd(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
) -> io::Result<(usize, Option<OwnedFd>)> {
    let mut space = cmsg_space!([RawFd; 1]);
    let mut parts = [IoSliceMut::new(buffer)];
    let message = loop {
        match recvmsg::<()>(
            socket.as_raw_fd(),
            &mut parts,
            Some(&mut space),
            MsgFlags::MSG_CMSG_CLOEXEC,
        ) {
            Err(Errno::EINTR) => {}
            result => break result?,
        }
    };
    let mut received = None;
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(fds) = control {
            for number in fds {
                // SAFETY: the kernel just gave us this descriptor with the datagram.
                received = Some(unsafe { OwnedFd::from_raw_fd(number) });
            }
        }
    }
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return Err(Errno::EMSGSIZE.into());
    }
    Ok((message.bytes, received))
}

/// Puts `/dev/null` in the place of a standard descriptor, whatever it was.
pub fn replace_by_null(number: RawFd) -> Result<(), Errno> {
    let null = open_null()?;
    // SAFETY: changes what the number means; standard descriptors belong to the process, nobody owns them as OwnedFd.
    Errno::result(unsafe { libc::dup2(null.as_raw_fd(), number) }).map(drop)
}

/// Standard input, output and error, whatever they are at the time.
pub fn standard() -> [BorrowedFd<'static>; 3] {
    // SAFETY: they stay open for the whole life of the process: closed ones are filled at its start.
    [0, 1, 2].map(|number| unsafe { BorrowedFd::borrow_raw(number) })
}

/// Fills the closed ones of 0, 1 and 2, so that no file of ours lands there. The fillers are close-on-exec: a child sees
/// what we were given. Tells which they are.
pub fn fill_standard() -> [bool; 3] {
    [0, 1, 2].map(|number| {
        let closed = get_flags(number).is_err();
        if closed && let Ok(filler) = open_path(Path::new("/")) {
            // The lowest free number is this one, because the lower ones are open by now. It stays open for good.
            std::mem::forget(filler);
        }
        closed
    })
}

/// Closes every descriptor from 3 on but these.
pub fn close_all_except(keep: &[RawFd]) {
    let mut keep: Vec<RawFd> = keep
        .iter()
        .copied()
        .filter(|&number| number >= FIRST)
        .collect();
    keep.sort_unstable();
    let mut first = FIRST;
    let mut ranges = Vec::with_capacity(keep.len() + 1);
    for number in keep {
        if number > first {
            ranges.push((first, number - 1));
        }
        first = number + 1;
    }
    ranges.push((first, RawFd::MAX));
    if ranges
        .iter()
        .all(|&(first, last)| close_range(first, last, 0).is_ok())
    {
        return;
    }
    for number in open_numbers() {
        if ranges
            .iter()
            .any(|&(first, last)| (first..=last).contains(&number))
        {
            // SAFETY: the caller names what it owns; everything else was inherited and belongs to nobody here.
            unsafe { libc::close(number) };
        }
    }
}

/// `close_range(2)`. Async-signal-safe.
pub(crate) fn close_range(first: RawFd, last: RawFd, flags: u32) -> Result<(), Errno> {
    // SAFETY: as for `close`: the callers keep what is owned out of the range, or only set flags.
    Errno::result(unsafe { libc::syscall(libc::SYS_close_range, first, last, flags) }).map(drop)
}

/// The numbers of the open descriptors, or of all that may be.
fn open_numbers() -> Vec<RawFd> {
    let Ok(entries) = std::fs::read_dir("/proc/self/fd") else {
        return (FIRST..LAST_TRIED).collect();
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

fn get_flags(number: RawFd) -> Result<FdFlag, Errno> {
    // SAFETY: only asks; a number that is not open is answered with EBADF.
    let flags = Errno::result(unsafe { libc::fcntl(number, libc::F_GETFD) })?;
    Ok(FdFlag::from_bits_truncate(flags))
}

#[cfg(test)]
mod tests {
    use super::{recv_with_fd, send_with_fd, seqpacket_pair, set_nonblocking, take_fd};
    use std::io::ErrorKind;
    use std::os::fd::{AsFd, AsRawFd};

    #[test]
    fn datagrams_keep_their_borders_and_carry_a_descriptor() {
        let (here, there) = seqpacket_pair().unwrap();
        let (carried, _other) = seqpacket_pair().unwrap();
        send_with_fd(here.as_fd(), b"one", None).unwrap();
        send_with_fd(here.as_fd(), b"two", Some(carried.as_fd())).unwrap();
        let mut buffer = [0; 16];
        let (length, fd) = recv_with_fd(there.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fd.is_none()), (&b"one"[..], true));
        let (length, fd) = recv_with_fd(there.as_fd(), &mut buffer).unwrap();
        assert_eq!((&buffer[..length], fd.is_some()), (&b"two"[..], true));
        set_nonblocking(there.as_fd()).unwrap();
        let empty = recv_with_fd(there.as_fd(), &mut buffer).unwrap_err();
        assert_eq!(empty.kind(), ErrorKind::WouldBlock);
        send_with_fd(here.as_fd(), &[0; 17], None).unwrap();
        assert_eq!(
            recv_with_fd(there.as_fd(), &mut buffer)
                .unwrap_err()
                .raw_os_error(),
            Some(libc::EMSGSIZE)
        );
        drop(here);
        assert_eq!(recv_with_fd(there.as_fd(), &mut buffer).unwrap().0, 0);
    }

    #[test]
    fn only_what_was_inherited_can_be_taken() {
        let (here, _there) = seqpacket_pair().unwrap();
        assert!(
            take_fd(here.as_raw_fd()).is_none(),
            "a descriptor of our own was taken a second time"
        );
        assert!(take_fd(9999).is_none());
    }
}
