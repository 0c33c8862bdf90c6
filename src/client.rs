//! What people type: consoles, tasks and lists.

mod escape;
pub mod http;
mod input;
mod modes;
mod output;
