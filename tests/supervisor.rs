//! The supervisor against the yardstick: the same command without it.

mod agent;
mod exit;
mod fidelity;
mod init;
mod signals;
mod terminal;
