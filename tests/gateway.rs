//! The gateway on its wire: fake agents and clients, real sockets, a real database.

mod api;
mod isolation;
mod refusals;
mod sessions;
mod streams;
