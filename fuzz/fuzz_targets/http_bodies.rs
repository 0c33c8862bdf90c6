//! No body panics; what was read can be written.
#![no_main]

use hoop::protocol::bodies::{
    Agent, Connection, CreateAgent, CreatedAgent, ErrorBody, HealthZ, PublicServerInfo, ServerInfo,
    Session, SessionList, UserInfo,
};
use libfuzzer_sys::fuzz_target;

macro_rules! read_and_write {
    ($bytes:ident: $($body:ty),*) => {
        $(if let Ok(body) = serde_json::from_slice::<$body>($bytes) {
            assert!(serde_json::to_vec(&body).is_ok());
        })*
    };
}

fuzz_target!(|bytes: &[u8]| {
    read_and_write!(bytes: Vec<Agent>, Vec<Connection>, CreateAgent, CreatedAgent, ErrorBody, HealthZ, PublicServerInfo,
        ServerInfo, Session, SessionList, UserInfo);
});
