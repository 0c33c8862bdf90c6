//! The harness: what tests start, talk to and wait for.

pub(crate) mod console;
pub(crate) mod gateway;
pub(crate) mod hoop;
pub(crate) mod web;
