//! The kernel made safe: signals, starting and waiting for processes, descriptors, terminals.
//!
//! Rules: the only `unsafe` of the program besides the entry symbol; one operation per block, with the contract it relies
//! on. Nothing here decides anything. Code that runs between fork and exec neither allocates nor takes a lock. Masks and
//! dispositions use the raw system calls, because libc hides signals 32 and 33, which an application may inherit blocked
//! or ignored.
//!
//! Sources: the Linux manual, section 2, page named at each function; 64-bit Linux is taken for granted.

pub mod exec;
pub mod fd;
pub mod inherited;
pub mod process;
pub mod pty;
#[cfg(feature = "wire")]
pub mod reactor;
pub mod signal;
pub mod spawn;
pub mod tree;
pub mod tty;
pub mod wait;
pub mod waiting;

pub use inherited::Inherited;
pub use nix::errno::Errno;
pub use nix::unistd::Pid;
