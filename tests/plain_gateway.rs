//! Peers that are not ours: `hoop` as a program, against a gateway that knows nothing of our extensions and is played by
//! the test. Conformance lists 15.1 (agent) and 15.3 (client) of the fact sheet of the wire.

mod client;
mod gateway;
mod life;
mod recorded;
mod sessions;
mod tree;
