use proptest::collection::{btree_map, vec};
use proptest::prelude::{Strategy, any, proptest};

use super::vectors::{
    EVERY_KIND, LATE_DEFINITIONS, NESTED_DEFINITION, PARAMS, SMALL_PARAMS, STRING_MAP, STRINGS,
    TIME, unhex,
};
use super::{
    BTreeMap, Error, MAX_DEPTH, MAX_SIZE, MAX_VALUES, Value, decode, decode_string_map,
    decode_strings, encode_string_map, encode_strings,
};

const ALL: [&str; 8] = [
    STRINGS,
    STRING_MAP,
    SMALL_PARAMS,
    PARAMS,
    EVERY_KIND,
    LATE_DEFINITIONS,
    NESTED_DEFINITION,
    TIME,
];

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries
        .iter()
        .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
        .collect()
}

fn field<'a, 'v>(value: &'v Value<'a>, name: &str) -> &'v Value<'a> {
    let Value::Struct(fields) = value else {
        panic!("not a struct: {value:?}");
    };
    &fields
        .iter()
        .find(|(n, _)| *n == name)
        .expect("the field is declared")
        .1
}

#[test]
fn strings_are_those_of_go_both_ways() {
    let items = ["--posix".to_owned(), "-x".to_owned()];
    assert_eq!(decode_strings(&unhex(STRINGS)).unwrap(), items);
    assert_eq!(encode_strings(&items), unhex(STRINGS));
}

#[test]
fn maps_are_those_of_go_both_ways() {
    let entries = map(&[("envvar:K", "dg==")]);
    assert_eq!(decode_string_map(&unhex(STRING_MAP)).unwrap(), entries);
    let of_type_65 = STRING_MAP.replace("ff83", "ff81").replace("ff84", "ff82");
    assert_eq!(encode_string_map(&entries), unhex(&of_type_65));
}

#[test]
fn every_kind_of_type_is_decoded() {
    let bytes = unhex(EVERY_KIND);
    let value = decode(&bytes).unwrap();
    let inner = |a, b| Value::Struct(vec![("A", a), ("B", b)]);
    let expected = [
        ("B", Value::Bool(true)),
        ("I", Value::Int(-129)),
        ("U", Value::Uint(300)),
        ("F", Value::Float(17.5)),
        ("C", Value::Complex(1.0, -2.0)),
        ("S", Value::Text(b"s")),
        ("By", Value::Bytes(b"\0\xff")),
        (
            "Ar",
            Value::List(vec![Value::Int(1), Value::Int(0), Value::Int(-1)]),
        ),
        (
            "Sl",
            Value::List(vec![
                inner(Value::Int(1), Value::Nil),
                inner(Value::Nil, Value::Nil),
            ]),
        ),
        (
            "M",
            Value::Map(vec![(
                Value::Text(b"k"),
                inner(Value::Int(2), Value::Bytes(b"x")),
            )]),
        ),
        ("P", inner(Value::Int(5), Value::Nil)),
        ("An", Value::Int(i64::MIN)),
        ("Nest", inner(Value::Int(7), Value::Nil)),
        ("Floats", Value::List(vec![Value::Float(0.5)])),
        (
            "NilAny",
            Value::List(vec![Value::Nil, Value::Text(b"x"), Value::Float(1.5)]),
        ),
    ];
    for (name, expected) in expected {
        assert_eq!(*field(&value, name), expected, "{name}");
    }
    assert!(matches!(field(&value, "T"), Value::Bytes(time) if time.len() == 15));
    assert_eq!(*field(field(&value, "Rec"), "B"), Value::Bool(true));
    assert_eq!(*field(field(&value, "Rec"), "Rec"), Value::Nil);
}

#[test]
fn definitions_inside_interfaces_are_found() {
    let bytes = unhex(LATE_DEFINITIONS);
    let inner = Value::Struct(vec![("A", Value::Int(1)), ("B", Value::Nil)]);
    let list = Value::List(vec![
        Value::Map(vec![(Value::Text(b"z"), inner)]),
        Value::Text(b"t"),
    ]);
    assert_eq!(
        decode(&bytes).unwrap(),
        Value::Map(vec![(Value::Text(b"k"), list)])
    );

    let bytes = unhex(NESTED_DEFINITION);
    let value = decode(&bytes).unwrap();
    assert_eq!(*field(field(field(&value, "I"), "I"), "A"), Value::Int(3));
    assert!(matches!(decode(&unhex(TIME)), Ok(Value::Bytes(_))));
}

#[test]
fn a_value_of_another_type_is_refused() {
    assert_eq!(
        decode_strings(&unhex(STRING_MAP)),
        Err(Error::Unexpected("a list of strings"))
    );
    assert_eq!(
        decode_string_map(&unhex(STRINGS)),
        Err(Error::Unexpected("a map of strings"))
    );
    let not_utf8 = STRINGS.replace("2d78", "2dff");
    assert_eq!(decode_strings(&unhex(&not_utf8)), Err(Error::NotUtf8));
}

#[test]
fn what_no_encoder_writes_is_refused() {
    let cases = [
        ("", Error::Truncated),
        ("00", Error::Truncated),
        ("04 ff82 00 00", Error::UnknownType(65)),
        ("03 04 00 02 00", Error::Malformed("bytes after the value")),
        ("03 04 01 02", Error::Malformed("no zero before a value")),
        (
            "0b 04 00 f7 010101010101010101",
            Error::Malformed("an integer of more than eight bytes"),
        ),
        (
            "0b 0b 02 01 02 0c 00 01 0c 00 00 00",
            Error::Malformed("a definition of a predefined type"),
        ),
        ("03 ff81 00", Error::Malformed("a type of no kind")),
        ("04 ff81 08 00", Error::Malformed("a type of unknown kind")),
        (
            "06 ff81 02 00 01 00 00",
            Error::Malformed("a type of two kinds"),
        ),
        (
            "0d ff81 02 01 02 ff82 00 01 0c 00 00 00",
            Error::Malformed("a definition of another length than said"),
        ),
        (
            "05 ff81 02 00 00 05 ff81 02 00 00",
            Error::Malformed("a type defined twice"),
        ),
        (
            "05 ff81 03 00 00 05 ff82 01 00 00",
            Error::Malformed("a field that its type does not have"),
        ),
        (
            "05 ff81 03 00 00 0c ff82 f8 ffffffffffffffff 01 00",
            Error::Malformed("a field that its type does not have"),
        ),
        (
            "0d ff81 03 02 02 020400 020400 00 00  0f ff82 01 02 01 02 f8 ffffffffffffffff 00",
            Error::Malformed("a field number out of range"),
        ),
        ("05 0c 00 f8 ffffffff", Error::Truncated),
    ];
    for (hex, error) in cases {
        assert_eq!(decode(&unhex(hex)), Err(error), "{hex}");
    }
}

#[test]
fn lengths_of_every_width_survive() {
    for len in [0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000] {
        let items = ["x".repeat(len)];
        assert_eq!(decode_strings(&encode_strings(&items)).unwrap(), items);
    }
}

#[test]
fn the_size_has_a_limit() {
    let with_text_of = |len: usize| encode_strings(&["x".repeat(len)]);
    let overhead = with_text_of(MAX_SIZE - 100).len() - (MAX_SIZE - 100);
    let largest = with_text_of(MAX_SIZE - overhead);
    assert_eq!(largest.len(), MAX_SIZE);
    assert!(decode(&largest).is_ok());
    let one_more = with_text_of(MAX_SIZE - overhead + 1);
    assert_eq!(decode(&one_more), Err(Error::TooLarge));
}

#[test]
fn the_number_of_values_has_a_limit() {
    // The definition and the list itself count too.
    let largest = encode_strings(&vec![""; MAX_VALUES - 2]);
    assert!(decode(&largest).is_ok());
    let one_more = encode_strings(&vec![""; MAX_VALUES - 1]);
    assert_eq!(decode(&one_more), Err(Error::TooManyValues));
}

#[test]
fn the_depth_has_a_limit() {
    // A list whose elements are of its own type, each holding one of the next.
    let nested = |depth: usize| {
        let definition = unhex("0d ff81 02 01 02 ff82 00 01 ff82 00 00");
        let mut value = unhex("ff82 00");
        value.extend(vec![1; depth - 1]);
        value.push(0);
        let mut bytes = definition;
        bytes.push(u8::try_from(value.len()).unwrap());
        bytes.extend(value);
        bytes
    };
    assert!(decode(&nested(MAX_DEPTH)).is_ok());
    assert_eq!(decode(&nested(MAX_DEPTH + 1)), Err(Error::TooDeep));
}

#[test]
fn every_truncation_is_an_error() {
    for hex in ALL {
        let bytes = unhex(hex);
        assert!(decode(&bytes).is_ok());
        for len in 0..bytes.len() {
            let (head, _) = bytes.split_at(len);
            assert!(decode(head).is_err(), "{len} bytes of {hex}");
        }
    }
}

fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let edits = vec((any::<proptest::sample::Index>(), any::<u8>()), 1..6);
    (0..ALL.len(), edits).prop_map(|(index, edits)| {
        let mut bytes = unhex(ALL[index]);
        for (place, byte) in edits {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes
    })
}

proptest! {
    #[test]
    fn strings_survive(items in vec(any::<String>(), 0..9)) {
        assert_eq!(decode_strings(&encode_strings(&items)).unwrap(), items);
    }

    #[test]
    fn maps_survive(entries in btree_map(any::<String>(), any::<String>(), 0..9)) {
        assert_eq!(decode_string_map(&encode_string_map(&entries)).unwrap(), entries);
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        decode(&bytes).ok();
    }

    #[test]
    fn no_damage_panics(bytes in damaged()) {
        decode(&bytes).ok();
    }
}
