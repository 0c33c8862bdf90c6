//! No bytes panic; a size means the same after we wrote it.
#![no_main]

use hoop::protocol::terminal::WindowSize;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Some(size) = WindowSize::parse(bytes) {
        assert_eq!(WindowSize::parse(size.to_string().as_bytes()), Some(size));
    }
});
