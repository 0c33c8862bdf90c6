//! Everything that needs more than one function: one binary, one module per area.

#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking, in its helpers too"
)]

mod applications;
mod client;
mod empty_image;
mod end_to_end;
mod faults;
mod gateway;
mod layering;
mod plain_gateway;
mod process;
mod protocol;
mod session_process;
mod supervisor;
mod support;
