//! The gateway on its wire: fake agents and clients, real sockets, a real database.

mod api;
mod captures;
mod isolation;
mod local;
mod refusals;
mod sessions;
mod streams;
