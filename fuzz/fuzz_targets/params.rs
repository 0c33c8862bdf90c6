//! No bytes panic; parameters mean the same after we encoded them.
#![no_main]

use hoop::protocol::params::ConnectionParams;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(params) = ConnectionParams::decode(bytes) {
        assert_eq!(ConnectionParams::decode(&params.encode()), Ok(params));
    }
});
