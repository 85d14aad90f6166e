use super::super::path::{Path, Segment};
use super::*;
use proptest::prelude::*;
use serde_json::{Map, Value};

fn checked(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).is_ok_and(is_object)
}

#[track_caller]
fn check(text: &[u8], expected: bool) {
    assert_eq!(checked(text), expected, "{}", String::from_utf8_lossy(text));
    let reference = serde_json::from_slice::<Map<String, Value>>(text).is_ok();
    assert_eq!(reference, expected, "serde_json differs: {}", String::from_utf8_lossy(text));
}

#[test]
fn checks_objects() {
    for text in [
        r#"{}"#,
        " \t\r\n{ } \n",
        r#"{"a":1}"#,
        r#"{"a":[],"b":{},"c":[{}],"d":[[1,2],[3]]}"#,
        r#"{"a":-0.5e-10,"b":0,"c":1E+2,"d":18446744073709551616}"#,
        r#"{"a":true,"b":false,"c":null}"#,
        r#"{"a\"b":"\\","c":"\u00e9\ud83d\ude80\/\b\f"}"#,
        r#"{"ключ":"日本語 🚀","a":1,"a":2}"#,
    ] {
        check(text.as_bytes(), true);
    }
    for text in [
        r#""#,
        r#"[]"#,
        r#"1"#,
        r#""a""#,
        r#"null"#,
        r#"{"#,
        r#"{"a"}"#,
        r#"{"a":}"#,
        r#"{"a":1,}"#,
        r#"{"a":1}}"#,
        r#"{"a":1} {}"#,
        r#"{a:1}"#,
        r#"{"a":01}"#,
        r#"{"a":1.}"#,
        r#"{"a":.5}"#,
        r#"{"a":1e}"#,
        r#"{"a":-}"#,
        r#"{"a":+1}"#,
        r#"{"a":tru}"#,
        r#"{"a":nul"#,
        r#"{"a":"\x"}"#,
        r#"{"a":"\u12g4"}"#,
        r#"{"a":"\ud83d"}"#,
        r#"{"a":"\udc00"}"#,
        r#"{"a":"\ud83d\u0041"}"#,
        r#"{"a":1e999}"#,
        r#"{"a":[1,]}"#,
        r#"{"a":[}"#,
        r#"{"a":{]}"#,
        r#"{"a":"b"#,
        r#"{"a":"b\"#,
        r#"{"a":1 "b":2}"#,
        r#"{,}"#,
        r#"{"a"::1}"#,
    ] {
        check(text.as_bytes(), false);
    }
    check(b"{\"a\":\"\x00\"}", false);
    check(b"{\"a\":\"\n\"}", false);
    check(b"{\"a\":\"\xff\"}", false);
    check(b"{\"a\":\"\xed\xa0\x80\"}", false);
    check(b"\xef\xbb\xbf{}", false);
    check(format!("{{\"a\":{}}}", "1".repeat(400)).as_bytes(), false);
}

#[test]
fn nests_as_deep_as_serde_json_does_and_no_deeper() {
    for depth in [1, 2, 63, 64, 65, 126, 127, 128, 129, 1000, 100_000] {
        let arrays = format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
        check(arrays.as_bytes(), depth <= MAX_DEPTH);
        let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
        check(objects.as_bytes(), depth <= MAX_DEPTH);
    }
}

/// Any JSON value, with the characters that make trouble well represented.
fn any_json() -> impl Strategy<Value = Value> {
    let text = prop_oneof!["[a-z.]{0,4}", "[\\PC\"\\\\\n\t\u{0}-\u{1f}é🚀]{0,12}"];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::from),
        text.clone().prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
            prop::collection::vec((text.clone(), inner), 0..6)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn any_object() -> impl Strategy<Value = Value> {
    prop::collection::vec(("[abc.]{0,2}", any_json()), 0..8)
        .prop_map(|members| Value::Object(members.into_iter().collect()))
}

proptest! {
    #[test]
    fn agrees_with_serde_json_on_any_object(object in any_object(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_vec_pretty(&object) } else { serde_json::to_vec(&object) };
        prop_assert!(checked(&text.unwrap()));
    }

    #[test]
    fn agrees_with_serde_json_on_damaged_text(
        object in any_object(),
        damage in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
            Just(b'"'), Just(b'\\'), Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b','), Just(b':'),
            Just(b'0'), Just(b'e'), Just(b'.'), Just(b'-'), Just(b' '), Just(b'u'), any::<u8>(),
        ], any::<bool>()), 1..4),
    ) {
        let mut text = serde_json::to_vec(&object).unwrap();
        for (place, byte, replace) in damage {
            let at = place.index(text.len());
            if replace { text[at] = byte } else { text.insert(at, byte) }
        }
        let reference = serde_json::from_slice::<Map<String, Value>>(&text).is_ok();
        prop_assert_eq!(checked(&text), reference, "{}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn agrees_with_serde_json_on_any_bytes(text in prop::collection::vec(any::<u8>(), 0..64)) {
        prop_assert_eq!(checked(&text), serde_json::from_slice::<Map<String, Value>>(&text).is_ok());
    }

    #[test]
    fn members_are_those_of_the_map(object in any_object(), pretty in any::<bool>()) {
        let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
        let seen: Map<String, Value> = members(&text)
            .map(|(key, value)| (unescape(key).into_owned(), serde_json::from_str(value).unwrap()))
            .collect();
        prop_assert_eq!(Value::Object(seen), object);
    }

    #[test]
    fn finds_what_the_map_holds(object in any_object(), names in prop::collection::vec("[abc.]{0,2}", 1..4)) {
        let text = serde_json::to_string(&object).unwrap();
        let path = Path::from_segments(names.iter().map(|name| Segment::Field(name.as_str().into())).collect());
        let expected = names.iter().try_fold(&object, |value, name| value.get(name));
        let parsed = |value: Option<&str>| value.map(|value| serde_json::from_str::<Value>(value).unwrap());
        prop_assert_eq!(parsed(get(&text, &path)), expected.cloned());
        // With others that share its steps.
        let steps = path.segments();
        let paths = (1..=steps.len()).map(|length| Path::from_segments(steps[..length].to_vec()));
        let lookup = Lookup::new(paths);
        let mut found = vec![None; steps.len()];
        lookup.find(&text, &mut found);
        for (found, path) in found.iter().zip(lookup.paths()) {
            prop_assert_eq!(*found, get(&text, path));
        }
    }

    #[test]
    fn writes_short_strings_as_serde_json_does(text in "[\\PC\"\\\\\u{0}-\u{22}\u{7f}-\u{ff}]{0,18}") {
        let mut out = Vec::new();
        write_string(&text, &mut out);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }

    #[test]
    fn without_leaves_out_what_is_unwanted(
        object in any_object(),
        unwanted in prop::collection::vec("[abc.]{0,2}", 0..4),
        pretty in any::<bool>(),
    ) {
        let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
        let mut left = String::new();
        without(&text, |key, _| unwanted.iter().any(|name| name == key), &mut |piece| left.push_str(piece));
        let mut expected = object;
        expected.as_object_mut().unwrap().retain(|key, _| !unwanted.contains(key));
        prop_assert_eq!(serde_json::from_str::<Value>(&left).unwrap(), expected, "{}", left);
    }

    #[test]
    fn writes_strings_as_serde_json_reads_them(text in any::<String>()) {
        let mut out = Vec::new();
        write_string(&text, &mut out);
        prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
    }
}

#[test]
fn finds_several_paths_at_once_and_the_last_of_duplicates() {
    let text = r#"{"a":{"b":1},"x":[1,[2,3]],"a":{"b":{"c":2}},"\u0061b":4,"a.b":5}"#;
    let paths = ["a.b", "a.b.c", "x[1][0]", "x[-1]", "ab", "\"a.b\"", "a.d", "x.y", "x[9]", "x[-9]"]
        .map(|path| Path::parse(path).unwrap());
    let mut found = [None; 10];
    Lookup::new(paths.clone()).find(text, &mut found);
    let expected = [
        Some(r#"{"c":2}"#),
        Some("2"),
        Some("2"),
        Some("[2,3]"),
        Some("4"),
        Some("5"),
        None,
        None,
        None,
        None,
    ];
    assert_eq!(found, expected);
    // A duplicate that lacks the rest of the path hides the earlier one.
    let mut found = [None::<&str>];
    Lookup::new([paths[0].clone()]).find(r#"{"a":{"b":1},"a":7}"#, &mut found);
    assert_eq!(found, [None]);
}

#[test]
fn escapes_every_character_at_every_place_of_a_short_string() {
    for length in 1..=17 {
        for place in 0..length {
            for byte in 0..128u8 {
                let mut text = "x".repeat(length);
                text.replace_range(place..=place, &char::from(byte).to_string());
                let mut out = Vec::new();
                write_string(&text, &mut out);
                assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
            }
        }
    }
}

#[test]
fn flattens_every_way() {
    let seen = |array| {
        let mut seen = Vec::new();
        flatten(r#" {"a":{"b":[1, {"c":2}]},"e":[],"":{"":3,"o":{}}} "#, array, &mut |key, value| {
            seen.push(format!("{key}={value}"))
        });
        seen.join(" ")
    };
    assert_eq!(seen("["), "a.b[0]=1 a.b[1].c=2 e=[] .=3 .o={}");
    assert_eq!(seen("."), "a.b.0=1 a.b.1.c=2 e=[] .=3 .o={}");
    assert_eq!(seen(""), r#"a.b=[1, {"c":2}] e=[] .=3 .o={}"#);
}

#[test]
fn replaces_members_and_leaves_the_others_as_they_are() {
    #[track_caller]
    fn check(text: &str, changes: &[(&str, Option<&str>)], expected: &str) {
        assert_eq!(replace(text, changes), expected);
    }
    check("{}", &[], "{}");
    check(" { } ", &[("a", None)], "{}");
    check("{}", &[("a\"", Some("1")), ("b", Some("{}"))], r#"{"a\"":1,"b":{}}"#);
    let text = r#"{"a" : 1.50 ,"b":[1, 2], "c":"x"}"#;
    check(text, &[("d", None)], text);
    check(text, &[("a", Some("2"))], r#"{"a" : 2 ,"b":[1, 2], "c":"x"}"#);
    check(text, &[("a", None)], r#"{"b":[1, 2], "c":"x"}"#);
    check(text, &[("b", None)], r#"{"a" : 1.50,"c":"x"}"#);
    check(text, &[("c", None)], r#"{"a" : 1.50 ,"b":[1, 2]}"#);
    check(text, &[("a", None), ("b", None), ("c", None)], "{}");
    check(text, &[("a", None), ("b", Some("{}")), ("c", None), ("d", Some("1"))], r#"{"b":{},"d":1}"#);
    check(text, &[("c", Some("1")), ("b", None)], r#"{"a" : 1.50,"c":1}"#);
    // Of duplicates one is left.
    check(r#"{"a":1,"b":2,"\u0061":3}"#, &[("a", Some("4"))], r#"{"a":4,"b":2}"#);
    check(r#"{"a":1,"a":2,"a":3}"#, &[("a", None)], "{}");
}

proptest! {
    #[test]
    fn replacing_is_what_a_map_does(
        members in prop::collection::vec(("[ab]{0,2}", 0..9, "[ ]{0,1}"), 0..6),
        changes in prop::collection::hash_map("[ab]{0,2}", prop::option::of(0..9i64), 0..4),
    ) {
        let text: Vec<_> =
            members.iter().map(|(key, value, space)| format!("{space}\"{key}\"{space}:{value}{space}")).collect();
        let text = format!("{{{}}}", text.join(","));
        let mut map: Map<String, Value> = serde_json::from_str(&text).unwrap();
        for (name, value) in &changes {
            match value {
                Some(value) => map.insert(name.clone(), Value::from(*value)),
                None => map.remove(name),
            };
        }
        let changes: Vec<_> =
            changes.iter().map(|(name, value)| (name.as_str(), value.as_ref().map(ToString::to_string))).collect();
        let replaced = replace(&text, &changes);
        prop_assert!(is_object(&replaced), "{}", replaced);
        prop_assert_eq!(serde_json::from_str::<Map<String, Value>>(&replaced).unwrap(), map);
    }
}
