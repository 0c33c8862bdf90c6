//! The harness: what tests start, talk to and wait for.

pub(crate) mod gateway;
