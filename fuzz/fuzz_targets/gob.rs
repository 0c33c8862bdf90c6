//! No bytes panic; what is a list or map of strings means the same after we encoded it.
#![no_main]

use hoop::protocol::gob;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(items) = gob::decode_strings(bytes) {
        assert_eq!(gob::decode_strings(&gob::encode_strings(&items)), Ok(items));
    }
    if let Ok(map) = gob::decode_string_map(bytes) {
        assert_eq!(
            gob::decode_string_map(&gob::encode_string_map(&map)),
            Ok(map)
        );
    }
});
