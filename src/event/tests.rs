use super::*;
use proptest::prelude::*;

fn event(text: &str) -> LogEvent {
    LogEvent::from_json(Bytes::copy_from_slice(text.as_bytes())).expect(text)
}

const FLY: &str = r#"{"event":{"provider":"app"},"fly":{"app":{"instance":"b92","name":"sandwich"},"region":"syd"},"host":"31e2","log":{"level":"warn"},"message":"a \"quoted\" line","timestamp":"2026-11-22T05:00:00.000137000Z"}"#;

#[test]
fn a_fly_event_is_read_where_it_stands() {
    let mut fly = event(FLY);
    for _ in ["as text", "as a tree"] {
        assert_eq!(fly.timestamp().nanos(), 1_795_323_600_000_137_000);
        assert_eq!(fly.level(), Some(Level::Warn));
        assert_eq!(fly.host().as_deref(), Some("31e2"));
        assert_eq!(fly.message().as_deref(), Some(r#"a "quoted" line"#));
        assert_eq!(fly.app().as_deref(), Some("sandwich"));
        assert_eq!(fly.region().as_deref(), Some("syd"));
        assert_eq!(fly.instance().as_deref(), Some("b92"));
        assert_eq!(fly.json(), FLY);
        fly.value_mut();
    }
}

#[test]
fn time_is_found_under_its_usual_names() {
    let received = Timestamp::from_nanos(7);
    for (text, expected) in [
        (r#"{"timestamp":1795323600}"#, 1_795_323_600_000_000_000),
        (r#"{"timestamp":"1795323600123"}"#, 1_795_323_600_123_000_000),
        (r#"{"timestamp":"soon","@timestamp":"2026-11-22T05:00:00Z"}"#, 1_795_323_600_000_000_000),
        (r#"{"ts":1795323600.5}"#, 1_795_323_600_500_000_000),
        (r#"{"time":"2026-11-22T05:00:00Z","ts":1}"#, 1_795_323_600_000_000_000),
        (r#"{"timestamp":null}"#, 7),
        (r#"{"timestamp":{"a":1}}"#, 7),
        (r#"{}"#, 7),
    ] {
        let mut event = event(text).with_received(received);
        assert_eq!(event.timestamp().nanos(), expected, "{text}");
        event.value_mut();
        assert_eq!(event.timestamp().nanos(), expected, "{text} as a tree");
    }
}

#[test]
fn level_is_found_under_its_usual_names() {
    for (text, expected) in [
        (r#"{"log":{"level":"ERROR"},"level":"info"}"#, Some(Level::Error)),
        (r#"{"log":{"level":"blue"},"level":50}"#, Some(Level::Error)),
        (r#"{"severity":"Warning"}"#, Some(Level::Warn)),
        (r#"{"severity":4}"#, Some(Level::Warn)),
        (r#"{"level":"30"}"#, Some(Level::Info)),
        (r#"{"level":true}"#, None),
        (r#"{}"#, None),
    ] {
        assert_eq!(event(text).level(), expected, "{text}");
    }
}

#[test]
fn the_subject_fills_what_the_body_lacks() {
    let bare = event("{}").with_subject("logs.soup.ord.e784.extra".into());
    assert_eq!(bare.app().as_deref(), Some("soup"));
    assert_eq!(bare.region().as_deref(), Some("ord"));
    assert_eq!(bare.instance().as_deref(), Some("e784.extra"));
    let other = event("{}").with_subject("metrics.soup".into());
    assert_eq!(other.app(), None);
}

#[test]
fn what_is_no_object_becomes_a_message() {
    let received = Timestamp::from_nanos(1_795_323_600_000_137_000);
    let text = LogEvent::from_text(b"plain \"text\"\x00\xff\n", Some("logs.soup.ord.e784"), received);
    assert_eq!(
        text.json(),
        r#"{"message":"plain \"text\"\u0000�\n","fly":{"app":{"instance":"e784","name":"soup"},"region":"ord"},"timestamp":"2026-11-22T05:00:00.000137000Z"}"#
    );
    assert_eq!(text.timestamp(), received);
    assert_eq!(
        LogEvent::from_text(b"", None, received).json(),
        r#"{"message":"","timestamp":"2026-11-22T05:00:00.000137000Z"}"#
    );
    assert_eq!(LogEvent::from_value(Value::Integer(7)).json(), r#"{"message":7}"#);
}

#[test]
fn text_stays_text_where_fields_change() {
    #[track_caller]
    fn check(change: impl Fn(&mut LogEvent), expected: &str) {
        let mut changed = event(r#"{"a":1.50,"b":{"c":2.50}}"#);
        change(&mut changed);
        assert!(matches!(changed.root(), Field::Json(_)));
        assert_eq!(changed.json(), expected);
        let mut tree = event(r#"{"a":1.50,"b":{"c":2.50}}"#);
        tree.value_mut();
        change(&mut tree);
        assert_eq!(tree.into_value(), changed.into_value());
    }
    let insert = |path: &'static str, value: i64| {
        move |event: &mut LogEvent| event.insert(&Path::parse(path).unwrap(), Value::from(value))
    };
    check(insert("d", 3), r#"{"a":1.50,"b":{"c":2.50},"d":3}"#);
    check(insert("b.c", 3), r#"{"a":1.50,"b":{"c":3}}"#);
    check(insert("a.x[0]", 3), r#"{"a":{"x":[3]},"b":{"c":2.50}}"#);
    check(|event| event.replace_root_fields(&[("a", None), ("b", Some("[]"))]), r#"{"b":[]}"#);
}

#[test]
fn bytes_that_are_no_object_are_given_back() {
    for payload in [&b"text"[..], b"[1]", b"{\"a\":", b"\"a\"", b"", b"{\"a\":\"\xff\"}"] {
        assert_eq!(LogEvent::from_json(Bytes::from_static(payload)).unwrap_err(), payload);
    }
}

/// Any JSON whose numbers both a text and VRL's value can hold alike.
fn any_json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(serde_json::Value::from),
        any::<i64>().prop_map(serde_json::Value::from),
        (-1e15..1e15f64).prop_map(serde_json::Value::from),
        any::<String>().prop_map(serde_json::Value::from),
    ];
    leaf.prop_recursive(4, 32, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(serde_json::Value::from),
            prop::collection::hash_map("[a-c]{1,2}", inner, 0..5)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn text_and_tree_say_the_same(
        members in prop::collection::hash_map("[a-c]{1,2}", any_json(), 0..6),
        names in prop::collection::vec("[a-c]{1,2}", 1..4),
    ) {
        let object = serde_json::Value::Object(members.into_iter().collect());
        let raw = event(&object.to_string());
        let tree: Value = object.clone().into();

        let path = Path::from_segments(names.iter().map(|name| Segment::Field(name.as_str().into())).collect());
        let expected = tree.get(&path.to_vrl());
        let from_text = raw.get(&path).map(|field| serde_json::from_str::<Value>(&field.to_json()).unwrap());
        prop_assert_eq!(from_text.as_ref(), expected);

        let mut changed = raw.clone();
        prop_assert_eq!(&*changed.value_mut(), &tree);
        let from_tree = changed.get(&path).map(|field| field.to_json().into_owned());
        prop_assert_eq!(from_tree, expected.map(|value| serde_json::to_string(value).unwrap()));
        prop_assert_eq!(serde_json::from_str::<serde_json::Value>(&changed.json()).unwrap(), object.clone());
        prop_assert_eq!(raw.json(), object.to_string());
    }

    #[test]
    fn any_payload_becomes_an_event(payload in prop::collection::vec(any::<u8>(), 0..80), subject in "[a-z.*> ]{0,20}") {
        let event = match LogEvent::from_json(payload.into()) {
            Ok(event) => event,
            Err(payload) => LogEvent::from_text(&payload, Some(&subject), Timestamp::now()),
        };
        prop_assert!(serde_json::from_str::<serde_json::Value>(&event.json()).unwrap().is_object());
        let _ = event.semantics();
    }
}
