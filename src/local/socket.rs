//! One private socket: its folder, its lock, its file.

use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg, OFlag};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, connect, socket};

/// A listening private socket.
#[derive(Debug)]
pub struct BoundSocket {
    /// Accepts clients; does not block.
    pub listener: UnixListener,
    /// Keeps the file until dropped.
    pub file: SocketFile,
}

/// The file of a listening socket; removed when dropped, unless another has taken its place.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// `O_PATH`. While it is open, the file's inode number is not given to another.
    held: File,
}

/// Holds a folder's lock until dropped.
pub(super) struct Lock(#[expect(dead_code, reason = "held, not used")] Flock<File>);

impl BoundSocket {
    /// Listens at `path`, replacing a file that nobody listens on. The caller holds the folder's lock and has seen that
    /// nobody does.
    pub(super) fn new(path: PathBuf, _held: &Lock) -> io::Result<Self> {
        match std::fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        listener.set_nonblocking(true)?;
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600))?;
        let held = File::options()
            .read(true)
            .custom_flags((OFlag::O_PATH | OFlag::O_NOFOLLOW).bits())
            .open(&path)?;
        Ok(Self {
            listener,
            file: SocketFile { path, held },
        })
    }
}

impl SocketFile {
    /// Where the socket lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn remove(&self) -> io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("/"));
        let _lock = lock(folder)?;
        let (ours, now) = (
            self.held.metadata()?,
            std::fs::symlink_metadata(&self.path)?,
        );
        if (now.dev(), now.ino()) == (ours.dev(), ours.ino()) {
            std::fs::remove_file(&self.path)?;
        }
        Ok(())
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            tracing::debug!("{} is not removed: {error}", self.path.display());
        }
    }
}

/// Makes the folder if need be, checks that it is ours alone, and locks it.
pub(super) fn lock(folder: &Path) -> io::Result<Lock> {
    if let Some(parent) = folder.parent()
        && parent.file_name().is_some_and(|name| name == ".hoop")
    {
        make(parent)?;
    }
    make(folder)?;
    let metadata = std::fs::symlink_metadata(folder)?;
    let wrong = |reason: String| io::Error::new(io::ErrorKind::PermissionDenied, reason);
    let mode = metadata.mode() & 0o777;
    if !metadata.is_dir() {
        return Err(wrong("is not a folder".to_owned()));
    }
    if metadata.uid() != nix::unistd::geteuid().as_raw() {
        return Err(wrong(format!(
            "it belongs to another user ({})",
            metadata.uid()
        )));
    }
    if mode & 0o077 != 0 {
        return Err(wrong(format!("its mode is {mode:o}, not 700")));
    }
    let file = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlag::O_CLOEXEC | OFlag::O_NOFOLLOW).bits())
        .open(folder.join("lock"))?;
    match Flock::lock(file, FlockArg::LockExclusive) {
        Ok(lock) => Ok(Lock(lock)),
        Err((_, errno)) => Err(errno.into()),
    }
}

/// Removes our sockets that nobody listens on. One that is just being made is not among them: its maker holds the lock.
pub(super) fn sweep(folder: &Path, extension: &str, _held: &Lock) {
    let Ok(entries) = std::fs::read_dir(folder) else {
        return;
    };
    let paths = entries.flatten().map(|entry| entry.path());
    for path in paths.filter(|path| path.extension().is_some_and(|end| end == extension)) {
        let is_socket =
            std::fs::symlink_metadata(&path).is_ok_and(|metadata| metadata.file_type().is_socket());
        if is_socket
            && probe(&path) == Err(Errno::ECONNREFUSED)
            && let Err(error) = std::fs::remove_file(&path)
        {
            tracing::debug!("{} is not removed: {error}", path.display());
        }
    }
}

fn make(folder: &Path) -> io::Result<()> {
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

/// Whether a client may use sockets in `folder`: only we or root can have put them there.
pub(super) fn is_trusted(folder: &Path) -> bool {
    std::fs::symlink_metadata(folder).is_ok_and(|metadata| {
        metadata.is_dir() && is_ours_or_roots(metadata.uid()) && metadata.mode() & 0o022 == 0
    })
}

/// Whether somebody listens at `path`. Never waits: a server that is stopped, with a full queue, is alive.
pub(super) fn is_alive(path: &Path) -> bool {
    let is_socket = std::fs::symlink_metadata(path)
        .is_ok_and(|metadata| metadata.file_type().is_socket() && is_ours_or_roots(metadata.uid()));
    is_socket && !matches!(probe(path), Err(Errno::ECONNREFUSED | Errno::ENOENT))
}

fn probe(path: &Path) -> nix::Result<()> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let end: OwnedFd = socket(AddressFamily::Unix, SockType::Stream, flags, None)?;
    connect(end.as_raw_fd(), &UnixAddr::new(path)?)
}

fn is_ours_or_roots(uid: u32) -> bool {
    uid == nix::unistd::geteuid().as_raw() || uid == 0
}
