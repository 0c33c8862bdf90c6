//! A descriptor in tokio's reactor.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::unix::AsyncFd;

/// Registers a descriptor for both directions. It must be non-blocking and of a kind that can be polled. To be called
/// inside a runtime.
pub fn async_fd(fd: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: an OwnedFd is open, names the same file until it is dropped, and the AsyncFd owns it.
    Ok(unsafe { AsyncFd::register(fd) }?)
}
