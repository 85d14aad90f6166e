//! What tells events from each other: the values of fields, written as bytes that are equal exactly if the
//! values and their types are.
//!
//! `1` and `"1"` differ, and so do a missing field and `null`; `1.0` and `1.00` are the same number, and the
//! order of an object's members does not count. Each value says where it ends, so that several in a row are
//! equal only if each is.

use crate::event::{Field, Segment, json};
use smallvec::SmallVec;
use std::borrow::Cow;
use vrl::value::Value;

const MISSING: u8 = 0;
const NULL: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const INTEGER: u8 = 4;
const FLOAT: u8 = 5;
const STRING: u8 = 6;
const TIME: u8 = 7;
const ARRAY: u8 = 8;
const OBJECT: u8 = 9;
const END: u8 = 10;

/// What is left of the paths of fields that do not count, below some value.
type LeftOut<'a> = SmallVec<[&'a [Segment]; 8]>;

/// Appends a field, or that there is none.
pub(super) fn write_field(field: Option<Field<'_>>, out: &mut Vec<u8>) {
    match field {
        None => out.push(MISSING),
        Some(Field::Value(Value::Timestamp(time))) => {
            out.push(TIME);
            out.extend_from_slice(&time.timestamp().to_le_bytes());
            out.extend_from_slice(&time.timestamp_subsec_nanos().to_le_bytes());
        }
        Some(field) => write_json(&field.to_json(), out),
    }
}

/// Appends a value of checked JSON.
fn write_json(text: &str, out: &mut Vec<u8>) {
    write_without(text, &[], out);
}

/// Appends a value of checked JSON but for what is at these paths in it. Of an object that holds nothing
/// else, nothing is left; of an element, its place. Whether something is left.
pub(super) fn write_without(text: &str, left_out: &[&[Segment]], out: &mut Vec<u8>) -> bool {
    match text.as_bytes().first() {
        Some(b'"') => write_string(&json::unescape(&text[1..text.len() - 1]), out),
        Some(b'{') => return write_object(text, left_out, out),
        Some(b'[') => write_array(text, left_out, out),
        Some(b't') => out.push(TRUE),
        Some(b'f') => out.push(FALSE),
        Some(b'-' | b'0'..=b'9') => write_number(text, out),
        _ => out.push(NULL),
    }
    true
}

fn write_object(text: &str, left_out: &[&[Segment]], out: &mut Vec<u8>) -> bool {
    let mut members: Vec<(Cow<'_, str>, &str)> =
        json::members(text).map(|(key, value)| (json::unescape(key), value)).collect();
    // Stable: duplicate keys keep their order, and the last one counts.
    members.sort_by(|(one, _), (other, _)| one.cmp(other));
    out.push(OBJECT);
    let mut is_left = members.is_empty();
    for (index, (key, value)) in members.iter().enumerate() {
        if members.get(index + 1).is_some_and(|(next, _)| next == key) {
            continue;
        }
        let below = below(left_out, |step| matches!(step, Segment::Field(name) if **name == **key));
        if below.iter().any(|rest| rest.is_empty()) {
            continue;
        }
        let start = out.len();
        write_string(key, out);
        if write_without(value, &below, out) {
            is_left = true;
        } else {
            out.truncate(start);
        }
    }
    out.push(END);
    is_left
}

fn write_array(text: &str, left_out: &[&[Segment]], out: &mut Vec<u8>) {
    out.push(ARRAY);
    // A position may count from the end; that is rare, and so the elements are counted only then.
    let count = if left_out.is_empty() { 0 } else { json::elements(text).count() };
    for (index, element) in json::elements(text).enumerate() {
        let is_here = |position: isize| {
            usize::try_from(position).map_or(count.checked_sub(position.unsigned_abs()), Some) == Some(index)
        };
        let below = below(left_out, |step| matches!(step, Segment::Index(position) if is_here(*position)));
        if below.iter().any(|rest| rest.is_empty()) || !write_without(element, &below, out) {
            out.push(MISSING);
        }
    }
    out.push(END);
}

/// What is left of those paths that go through this step.
fn below<'a>(paths: &[&'a [Segment]], goes_through: impl Fn(&Segment) -> bool) -> LeftOut<'a> {
    let rest = |path: &&'a [Segment]| path.split_first().filter(|(step, _)| goes_through(step));
    paths.iter().filter_map(|path| rest(path).map(|(_, rest)| rest)).collect()
}

fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(STRING);
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

/// JSON writes an integer in one way only, but a fraction in many.
fn write_number(text: &str, out: &mut Vec<u8>) {
    match text.parse::<f64>() {
        Ok(number) if text.contains(['.', 'e', 'E']) => {
            out.push(FLOAT);
            out.extend_from_slice(&number.to_bits().to_le_bytes());
        }
        _ => {
            out.push(INTEGER);
            out.extend_from_slice(text.as_bytes());
            out.push(END);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{LogEvent, Path};
    use proptest::prelude::*;

    fn key(text: &str, left_out: &[&str]) -> Vec<u8> {
        let paths: Vec<_> = left_out.iter().map(|path| Path::parse(path).unwrap()).collect();
        let paths: Vec<_> = paths.iter().map(Path::segments).collect();
        let mut out = Vec::new();
        write_without(text, &paths, &mut out);
        out
    }

    #[track_caller]
    fn check(one: &str, other: &str, left_out: &[&str], expected: bool) {
        assert_eq!(key(one, left_out) == key(other, left_out), expected, "{one} {other} {left_out:?}");
    }

    #[test]
    fn equal_values_have_equal_keys() {
        check(r#"{"a":1,"b":[true,null]}"#, r#"{ "b" : [ true , null ], "a" : 1 }"#, &[], true);
        check(r#""A\n""#, r#""\u0041\n""#, &[], true);
        check(r#"{"\u0061":1}"#, r#"{"a":1}"#, &[], true);
        check("1.0", "1.00", &[], true);
        check("1e2", "100.0", &[], true);
        check(r#"{"a":1,"a":2}"#, r#"{"a":2}"#, &[], true);
    }

    #[test]
    fn other_values_and_types_have_other_keys() {
        let others =
            ["1", "\"1\"", "1.5", "-1", "11", "true", "false", "null", "\"null\"", "\"\"", "[]", "{}", "[1]"];
        let more = [
            "[[1]]",
            "[1,1]",
            "[[1],1]",
            r#""\\""#,
            r#""\"""#,
            r#"{"a":1}"#,
            r#"{"b":1}"#,
            r#"{"a":{"b":1}}"#,
            "18446744073709551615",
        ];
        let all: Vec<_> = others.into_iter().chain(more).collect();
        for (index, one) in all.iter().enumerate() {
            all[index + 1..].iter().for_each(|other| check(one, other, &[], false));
        }
        check(r#"{"a":1,"a":2}"#, r#"{"a":1}"#, &[], false);
        check("18446744073709551615", "18446744073709551614", &[], false);
    }

    #[test]
    fn a_missing_field_is_not_null_and_a_time_is_not_its_text() {
        let keys = [None, Some(Field::Json("null")), Some(Field::Json("\"2026-11-22T05:00:00Z\""))];
        let time = Value::Timestamp("2026-11-22T05:00:00Z".parse().unwrap());
        let keys: Vec<_> = keys.into_iter().chain([Some(Field::Value(&time))]).collect();
        let keys: Vec<_> = keys
            .into_iter()
            .map(|field| {
                let mut out = Vec::new();
                write_field(field, &mut out);
                out
            })
            .collect();
        for (index, key) in keys.iter().enumerate() {
            assert!(!keys[index + 1..].contains(key), "{index}");
        }
    }

    #[test]
    fn what_is_left_out_does_not_count() {
        let text = r#"{"a":{"b":1,"c":2},"d":[1,{"e":2}]}"#;
        check(text, r#"{"a":{"b":7,"c":2},"d":[1,{"e":2}]}"#, &["a.b"], true);
        check(text, r#"{"a":{"b":1,"c":7},"d":[1,{"e":2}]}"#, &["a.b"], false);
        check(text, r#"{"a":7,"d":[1,{"e":2}]}"#, &["a"], true);
        check(text, r#"{"d":[1,{"e":2}]}"#, &["a.b", "a.c"], true);
        check(text, r#"{"a":{"b":1,"c":2},"d":[7,{"e":2}]}"#, &["d[0]"], true);
        check(text, r#"{"a":{"b":1,"c":2},"d":[1,{"e":7}]}"#, &["d[-1].e"], true);
        check(text, r#"{"a":{"b":1,"c":2},"d":[1,{"e":7}]}"#, &["d[0]"], false);
        check(text, text, &["x.y", "a.b.c"], true);
        check("{}", r#"{"a":{}}"#, &[], false);
    }

    proptest! {
        /// Whether an event is text or a tree makes no difference.
        #[test]
        fn a_tree_has_the_key_of_its_text(
            texts in prop::collection::vec("[a-c\"\\\\é\n]{0,4}", 3),
            number in any::<i64>(),
            fraction in -1e9..1e9f64,
        ) {
            let value = serde_json::json!({&texts[0]: {"x": fraction, "y": [number, &texts[1]]}, &texts[2]: null});
            let text = LogEvent::from_json(value.to_string().into()).unwrap();
            let mut tree = text.clone();
            tree.value_mut();
            prop_assert_eq!(key(&text.json(), &[]), key(&tree.json(), &[]));
        }
    }
}
