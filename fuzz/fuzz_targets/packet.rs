//! No bytes panic; a packet means the same after we encoded it.
#![no_main]

use hoop::protocol::Packet;
use hoop::protocol::spec;
use libfuzzer_sys::fuzz_target;
use prost::Message;

fuzz_target!(|bytes: &[u8]| {
    let Ok(packet) = Packet::decode(bytes) else {
        return;
    };
    assert!(
        packet
            .kind()
            .is_none_or(|kind| kind.as_str() == packet.r#type)
    );
    packet.session_id();
    packet.text(spec::EXIT_CODE);
    assert_eq!(
        Packet::decode(packet.encode_to_vec().as_slice()),
        Ok(packet)
    );
});
