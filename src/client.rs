//! What people type: consoles, tasks and lists.

pub mod http;
