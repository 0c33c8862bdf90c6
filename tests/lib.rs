//! Everything that needs processes, sockets or a database, in one binary.

mod gateway;
mod support;
