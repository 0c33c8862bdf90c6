//! The vocabulary of the wire: packets, their types and spec keys, capabilities, and the encodings inside them.
//!
//! Rules: no I/O; every decoder takes bytes from outside, is bounded and never panics; what is not known is ignored.
//! Source of the names and values: hoop's public wire, service `protobuf.Transport`.

pub mod bodies;
pub mod capabilities;
pub mod connection_type;
pub mod environment;
pub mod gob;
pub mod name;
pub mod packet;
pub mod params;
pub mod spec;
pub mod terminal;

/// The generated gRPC contract of `proto/transport.proto`.
#[allow(
    missing_docs,
    unreachable_pub,
    clippy::all,
    clippy::pedantic,
    reason = "generated code"
)]
pub mod rpc {
    tonic::include_proto!("protobuf");
}

pub use capabilities::Capabilities;
pub use packet::{Packet, PacketType};

/// Largest gRPC message that either side accepts, in bytes: 17 MiB, the reference gateway's limit.
pub const MAX_MESSAGE: usize = 17 * 1024 * 1024;

/// Largest payload that we put into one packet, in bytes. Small packets let sessions take turns on a link.
pub const MAX_PAYLOAD: usize = 16 * 1024;

/// HTTP/2 flow-control window of one stream, in bytes: the most that a slow reader leaves in flight per session and hop.
pub const STREAM_WINDOW: u32 = 256 * 1024;

/// Sessions that one agent serves at a time.
pub const MAX_SESSIONS: u32 = 128;

/// HTTP/2 flow-control window of a connection, in bytes. Every session may be stalled with a full stream window and the
/// control stream must still get through, hence one window more than there are sessions.
pub const CONNECTION_WINDOW: u32 = (MAX_SESSIONS + 1) * STREAM_WINDOW;

/// How often an agent or a client sends a `GatewayKeepAlive` packet.
pub const KEEP_ALIVE: std::time::Duration = std::time::Duration::from_secs(10);

/// How long a sent `GatewayKeepAlive` may stay unanswered by a peer that shares our capabilities.
pub const KEEP_ALIVE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(15);
