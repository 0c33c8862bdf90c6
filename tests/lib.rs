//! Everything that needs more than one function: one binary, one module per area.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod gateway;
mod protocol;
mod support;
