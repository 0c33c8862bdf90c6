//! The client against gateways that the tests play: what it sends, what it writes, how it leaves.

mod binary;
mod console;
mod fake;
mod http;
mod replay;
mod task;
