use super::*;
use crate::providers::PROVIDERS;
use bytes::Bytes;
use proptest::prelude::*;
use vrl::compiler::TargetValue;
use vrl::compiler::runtime::Runtime;
use vrl::value::Secrets;

fn compiled(source: &str) -> Program {
    Program::compile(source, Access::ReadWrite, TimeZone::Local)
        .unwrap_or_else(|error| panic!("{source}: {error}"))
        .0
}

fn event(text: &str) -> LogEvent {
    LogEvent::from_json(Bytes::copy_from_slice(text.as_bytes())).expect(text)
}

fn is_text(event: &LogEvent) -> bool {
    matches!(event.root(), Field::Json(_))
}

/// What VRL's own runtime makes of the whole tree.
fn by_the_runtime(program: &Program, text: &str) -> Result<Value, String> {
    let value = serde_json::from_str(text).unwrap();
    let metadata = Value::Object(Default::default());
    let mut target = TargetValue { value, metadata, secrets: Secrets::new() };
    let result = Runtime::default().resolve(&mut target, &program.program, &TimeZone::Local);
    result.map(|_| target.value).map_err(|error| error.to_string())
}

/// What ours makes of it, as text or as a tree.
fn by_us(program: &mut Program, mut event: LogEvent) -> Result<Value, String> {
    let before = event.clone();
    match program.run(&mut event) {
        Ok(None) => Ok(event.into_value()),
        Ok(Some(root)) => Ok(root),
        Err(failure) => {
            if is_text(&before) {
                assert_eq!(event.json(), before.json(), "a program that failed has changed the text");
            }
            Err(failure.0.to_string())
        }
    }
}

#[track_caller]
fn check_same(source: &str, program: &mut Program, text: &str) {
    let expected = by_the_runtime(program, text);
    let raw = event(text);
    assert_eq!(by_us(program, raw.clone()), expected, "{source} on the text {text}");
    let mut tree = raw;
    tree.value_mut();
    assert_eq!(by_us(program, tree), expected, "{source} on the tree {text}");
}

const PROGRAMS: &[&str] = &[
    ".a = 1",
    ".a.b = .b",
    ".a[1].c = .c.a",
    ".a = del(.b)",
    "del(.a)",
    "del(.a.b)",
    "del(.a.b, compact: true)",
    "del(.a[0], compact: true)",
    "del(.missing)",
    "if exists(.a) { .b = del(.a) }",
    "if exists(.a.b) { .c = .a.b } else { .c = \"none\" }",
    "if is_null(.a) { .a = \"null\" }",
    ".\"a b\" = .\"\\\"\"",
    ".b = . ",
    ".b = encode_json(.)",
    ". |= {\"a\": 1, \"d\": .b}",
    ". = merge(., {\"b\": .a})",
    ". = .a",
    ". = [.a, .b]",
    ". = {\"a\": .b}",
    ".new = .a; .a = .new; del(.new)",
    ".a = .; .b = .a.a",
    "del(.); .x = 1",
    ".a, err = to_int(.b)\n.err = err",
    ".a = downcase(string!(.a))",
    ".a = downcase(to_string(.a) ?? \"x\")",
    ".a = to_int!(.a)",
    ".b = 2; .a = to_int!(.a)",
    "if .a == .b { abort }; .c = true",
    "if exists(.a) { abort \"no \\\"a\\\"\" }",
    ".u = to_unix_timestamp(parse_timestamp(.a, \"%+\") ?? t'2026-11-22T05:00:00Z', unit: \"milliseconds\")",
    ".t = t'2026-11-22T05:00:00Z'; .b = format_timestamp!(.t, \"%Y\")",
    ".r = r'a.c'",
    ".keys = keys(.)",
    "for_each(.) -> |key, value| { if is_string(value) { . = set!(., [key], \"s\") } }",
    ". = map_keys(.) -> |key| { upcase(key) }",
    ". = compact(.)",
    ".a = set!(., [\"b\"], 1)",
    ".x = get!(., [\"a\", \"b\"])",
    "%m = .a; .b = %m",
    "x = .a; x.b = 1; .c = x",
    ".a = {\"b\": .a}; del(.a.b.b)",
    ". = unnest!(.a)",
    ".log.level = .a; del(.a); .a.log = del(.log)",
    ".f = 1.0; .g = -0.0; .i = 9223372036854775807",
    ". = [.b]; .[0] = 1; .[1] = .[0]",
    ".a = merge(object(.a) ?? {}, {\"b\": .c})",
    "return .a",
    ". = parse_json!(.message)",
    ". = parse_json(.message) ?? .",
    ". = parse_json(.message) ?? {\"bad\": .message}",
    ". = (parse_json(string(.message) ?? \"\") ?? {\"none\": true})",
    ". = object!(parse_json!(string!(.message)))",
    ". = parse_json!(.message); .a = 1",
    ". = parse_json!(.a.message)\n\n# A comment with an é.\n.level = downcase(string!(.level))\ndel(.b)",
    ". = parse_json!(.message); if .a == null { abort }; . = .a",
    ". |= object!(parse_json!(.message))",
    ". |= object(parse_json(.message) ?? {}) ?? {}",
    ". = merge(., object!(parse_json!(.message)))",
    ". = merge(object!(parse_json!(.message)), .)",
    ". = merge(., object(parse_json!(.a.message)) ?? {\"none\": 1})\n.level = upcase(to_string(.level) ?? \"x\")",
    ". = parse_json!(string!(.message), max_depth: 1)",
    "original = .\n. = parse_json!(.message)\n.original = original",
];

#[test]
fn every_program_does_the_same_on_text_on_a_tree_and_by_vrls_own_runtime() {
    for source in PROGRAMS {
        let mut program = compiled(source);
        for text in [
            "{}",
            r#"{"a":1}"#,
            r#"{"a":{"b":{"b":[]}},"b":"x"}"#,
            r#"{"b":"X","a":{"b":1}}"#,
            r#"{ "a" : [ {"c":1}, null ] , "b" : 12345678901234567890, "c" : 1.0e2 }"#,
            r#"{"a":"2026-11-22T05:00:00.5+01:00","a":"12","b":"\u00e9\n","b":7}"#,
            r#"{"\u0061":null,"a b":1,"\"":"quote","log":{"x":1}}"#,
            r#"{"message":"{\"a\":{\"b\":[1]},\"level\":\"WARN\"}","a":{"message":" {\"level\":\"X\",\"b\":1.50}\n"},"z":1}"#,
            r#"{"message":"[{\"a\":1}]","a":{"message":"{\"level\":1}"}}"#,
            r#"{"message":"not {json}","b":2}"#,
            r#"{"message":"true","b":2}"#,
            r#"{"message":"2026 {","b":2}"#,
            r#"{"message":null,"b":2}"#,
            r#"{"message":"\ufeff{\"a\":1}"}"#,
            r#"{"message":"{}"}"#,
            r#"{"message":"{\"a\":null,\"a\":[\"x\"]}"}"#,
            r#"{"message":{"a":1}}"#,
        ] {
            check_same(source, &mut program, text);
        }
    }
}

/// JSON as text, in forms that a serialiser would not choose.
fn any_text() -> impl Strategy<Value = String> {
    let string = prop_oneof![
        Just("\"\"".to_owned()),
        "[a-zA-Z0-9 {}:,]{0,12}".prop_map(|text| format!("\"{text}\"")),
        any::<String>().prop_map(|text| json::string(&text)),
        Just(r#""\u00e9\ud83d\ude80\/\"\\""#.to_owned()),
        Just(r#""2026-11-22T05:00:00Z""#.to_owned()),
    ];
    let leaf = prop_oneof![
        4 => string,
        1 => Just("null".to_owned()),
        1 => any::<bool>().prop_map(|value| value.to_string()),
        1 => any::<i64>().prop_map(|value| value.to_string()),
        1 => prop::sample::select(vec!["1.50", "-0.0", "1E+2", "18446744073709551615", "123456789012345678901234"])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(3, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|items| format!("[{}]", items.join(" , "))),
            any_object_of(inner),
        ]
    })
}

fn any_object_of(value: impl Strategy<Value = String>) -> impl Strategy<Value = String> {
    let key = prop::sample::select(vec![
        "a",
        "b",
        "c",
        "message",
        "level",
        "log",
        "\\u0061",
        "a b",
        "\\\"",
        "",
        "é",
        "timestamp",
        "new",
    ]);
    let space = prop::sample::select(vec!["", "", " ", "\t "]);
    prop::collection::vec((key, space, value), 0..6).prop_map(|members| {
        let members =
            members.iter().map(|(key, space, value)| format!("{space}\"{key}\"{space}:{space}{value}"));
        format!("{{{}}}", members.collect::<Vec<_>>().join(","))
    })
}

/// An event, whose message is an event, now and then.
fn any_event() -> impl Strategy<Value = String> {
    (any_object_of(any_text()), any_object_of(any_text()), any::<bool>()).prop_map(
        |(outer, inner, has_inner)| match outer.strip_prefix('{') {
            Some(rest) if has_inner => {
                let comma = if rest.trim() == "}" { "" } else { "," };
                format!("{{\"message\":{}{comma}{rest}", json::string(&inner))
            }
            _ => outer,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn every_program_does_the_same_on_any_event(texts in prop::collection::vec(any_event(), 8)) {
        thread_local! {
            static ALL: std::cell::RefCell<Vec<(&'static str, Program)>> =
                std::cell::RefCell::new(PROGRAMS.iter().map(|source| (*source, compiled(source))).collect());
        }
        ALL.with_borrow_mut(|programs| {
            for (source, program) in programs {
                texts.iter().for_each(|text| check_same(source, program, text));
            }
        });
    }
}

#[test]
fn what_a_program_does_not_touch_stays_byte_for_byte() {
    #[track_caller]
    fn check(source: &str, text: &str, expected: &str) {
        let mut event = event(text).with_subject("logs.a.b.c".into());
        assert_eq!(compiled(source).run(&mut event), Ok(None), "{source}");
        assert!(is_text(&event), "{source} has made a tree");
        assert_eq!(event.json(), expected, "{source}");
        assert_eq!(event.subject(), Some("logs.a.b.c"));
    }
    let odd = r#"{"n" : 1.50 , "e":1E+2,"big":12345678901234567890, "a":"x" , "u":"\u00e9\/", "n":-0.0}"#;
    check(".none == 1", odd, odd);
    check("del(.none)", odd, odd);
    check(".missing.x == .n", odd, odd);
    check("length(.) == 1 || exists(.a)", odd, odd);
    check(".a = 1", odd, &odd.replace("\"x\"", "1"));
    check("del(.a)", odd, &odd.replace(r#" "a":"x" , "#, r#""#).replace(", \"u\"", ",\"u\""));
    check(".z = .a", odd, &odd.replace('}', r#","z":"x"}"#));
    check(
        ".z = encode_json(.a); del(.n)",
        odd,
        r#"{"e":1E+2,"big":12345678901234567890, "a":"x" , "u":"\u00e9\/","z":"\"x\""}"#,
    );
    check(".dt = del(.timestamp)", r#"{"timestamp":"x","a":1}"#, r#"{"a":1,"dt":"x"}"#);
    check(".a.b = 1", r#"{"b":1.0,"a":{"c":2.0}}"#, r#"{"b":1.0,"a":{"b":1,"c":2.0}}"#);
    check(". = parse_json!(.message)", r#"{"message":"{ \"a\" : 1.50 }","b":1}"#, r#"{ "a" : 1.50 }"#);
    check(
        ". = parse_json!(string!(.log.message))\n.level = upcase!(.level)",
        r#"{"log":{"message":"{\"a\":1.50,\"level\":\"warn\",\"u\":\"\\u00e9\"}"}}"#,
        r#"{"a":1.50,"level":"WARN","u":"\u00e9"}"#,
    );
    check(
        ". = parse_json(.message) ?? .",
        r#"{"message":"plain","b":1.50}"#,
        r#"{"message":"plain","b":1.50}"#,
    );
}

#[test]
fn a_value_without_a_json_form_makes_a_tree() {
    for source in [".t = now()", ".t = [t'2026-11-22T05:00:00Z']", ".r = r'x'", ".b = decode_base16!(\"ff\")"]
    {
        let mut event = event(r#"{"a":1}"#);
        assert_eq!(compiled(source).run(&mut event), Ok(None));
        assert!(!is_text(&event), "{source}");
    }
}

#[test]
fn what_is_nested_too_deeply_for_text_makes_a_tree() {
    let mut program = compiled(".a.b = parse_json!(.message)");
    for (depth, stays_text) in [(125, true), (126, false), (127, false)] {
        let message = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
        let text = format!("{{\"message\":\"{message}\"}}");
        check_same(".a.b = parse_json!(.message)", &mut program, &text);
        let mut event = event(&text);
        assert_eq!(program.run(&mut event), Ok(None));
        assert_eq!(is_text(&event), stays_text, "{depth}");
        assert!(!stays_text || json::is_object(&event.json()), "{depth}");
    }
}

#[test]
fn an_expression_that_would_take_too_much_memory_is_a_mistake_of_the_program() {
    let error = Program::compile(". = match!(.a, r'(a{1000}){1000}')", Access::ReadWrite, TimeZone::Local);
    let error = error.map(|_| ()).unwrap_err();
    assert!(error.contains("exceeds size limit") && error.contains("(a{1000}){1000}"), "{error}");
}

#[test]
fn the_first_statement_is_recognised_if_it_parses_the_message() {
    for (source, expected) in [
        (". = parse_json!(.message)", true),
        ("# first\n. = parse_json!(value: .a.message)\n.b = 1", true),
        (". = parse_json(.message) ?? .", true),
        (". = object!(parse_json!(string!(.message)))", true),
        (". = parse_json!(.message) # last", true),
        (". = parse_json!(.)", false),
        (". = parse_json!(%message)", false),
        (". = parse_json!(x)", false),
        (". = parse_json!(.message, max_depth: 3)", false),
        (". |= object!(parse_json!(.message))", true),
        (". = merge(., object!(parse_json!(.message)))", true),
        (". = merge(., object!(parse_json!(.message)), deep: true)", false),
        (". = merge(object!(parse_json!(.message)), .)", false),
        (". |= parse_yaml!(.message)", false),
        (".a = parse_json!(.message)", false),
        ("%a = parse_json!(.message)", false),
        (". = parse_yaml!(.message)", false),
        (".a = 1\n. = parse_json!(.message)", false),
    ] {
        let ast = vrl::parser::parse(source).unwrap();
        assert_eq!(ParseJson::recognise(&ast).is_some(), expected, "{source}");
    }
}

#[test]
fn errors_of_what_follows_the_first_statement_name_the_same_place() {
    let source = ". = parse_json!(.message) ; # é\n.a = to_int!(.a)";
    let text = r#"{"message":"{\"a\":\"x\"}"}"#;
    assert!(compiled(source).first.unwrap().rest.is_some());
    check_same(source, &mut compiled(source), text);
    let failure = compiled(source).run(&mut event(text)).unwrap_err();
    assert!(failure.message().contains("to_int"), "{failure}");
}

#[test]
fn every_providers_program_leaves_text_as_text() {
    for provider in PROVIDERS {
        for remap in provider.remap {
            for text in [
                r#"{"timestamp":"2026-11-22T05:00:00.000137Z","log":{"level":"warn"},"host":"h","message":"m","fly":{"app":{"name":"a","instance":"i"},"region":"r"},"n":1.50}"#,
                r#"{"timestamp":"soon","log":{},"n":1.50}"#,
            ] {
                let mut event = event(text);
                assert_eq!(compiled(remap.program).run(&mut event), Ok(None), "{}", provider.name);
                assert!(is_text(&event), "{}: {}", provider.name, remap.program);
                assert!(event.json().contains(r#""n":1.50"#));
            }
        }
    }
}

/// What one transform puts beside the event, the next one finds there; no destination gets it.
#[test]
fn metadata_goes_with_the_event() {
    let compile =
        |source: &str, access| Program::compile(source, access, time_zone(None).unwrap()).unwrap().0;
    for is_tree in [false, true] {
        let mut event = LogEvent::from_json(r#"{"app":"x"}"#.into()).unwrap();
        if is_tree {
            event.value_mut();
        }
        compile("%app = .app\n%gone = 1", Access::ReadWrite).run(&mut event).unwrap();
        compile(".other = 1", Access::ReadWrite).run(&mut event).unwrap();
        compile("del(%gone)", Access::ReadWrite).run(&mut event).unwrap();
        let mut asked = compile("%app == \"x\" && is_null(%gone)", Access::ReadOnly);
        assert_eq!(asked.evaluate(&event), Ok(Value::Boolean(true)));
        assert_eq!(asked.evaluate(&event.without_receipts()), Ok(Value::Boolean(true)));
        assert_eq!(event.json(), r#"{"app":"x","other":1}"#);
        compile("del(%app)", Access::ReadWrite).run(&mut event).unwrap();
        assert_eq!(event.metadata(), None);
    }
}
