//! No text panics; a key is sent as it was written.
#![no_main]

use hoop::key::Dsn;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(Some(dsn)) = Dsn::parse(text) {
        assert_eq!(dsn.bearer().expose(), text);
        assert!(text.contains(dsn.address()) && !dsn.address().is_empty());
    }
});
