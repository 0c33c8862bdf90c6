//! No key, value or assignment panics; the text is `key`, a line end, `value`.
#![no_main]

use std::collections::BTreeMap;

use hoop::protocol::environment::{client_variable, decode_variables};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (key, value) = text.split_once('\n').unwrap_or((text, ""));
    let map = BTreeMap::from([(key.to_owned(), value.to_owned())]);
    for variable in decode_variables(&map).unwrap_or_default() {
        variable.reference();
    }
    if let Ok((key, value)) = client_variable(text) {
        let map = BTreeMap::from([(key, value)]);
        // Only a zero byte in the value stands between a client and its variable.
        assert!(decode_variables(&map).is_ok() || text.contains('\0'));
    }
});
