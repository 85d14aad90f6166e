use super::*;
use crate::config::LogSchema;
use crate::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
use crate::topology::{TransformCounts, TransformSnapshot};
use std::io::Write as _;
use std::sync::Arc;

fn config(toml: &str) -> RemapConfig {
    toml::from_str(toml).unwrap_or_else(|error| panic!("{toml}: {error}"))
}

/// What came out: the default output, the output `dropped`, the books, and the answer to the receipts.
#[derive(Debug, Default, PartialEq)]
struct Seen {
    passed: Vec<String>,
    rerouted: Vec<String>,
    counts: TransformSnapshot,
    answer: EventStatus,
}

fn run(config: &RemapConfig, cx: &TransformContext, text: &str, as_tree: bool) -> Seen {
    let mut remap = config.build(cx).unwrap();
    let counts = Arc::new(TransformCounts::default());
    let mut outputs = Outputs::new(config.outputs().named.len(), Arc::clone(&counts));
    let (batch, mut answer) = BatchNotifier::new_with_receiver();
    let mut event = LogEvent::from_json(bytes::Bytes::copy_from_slice(text.as_bytes())).expect(text);
    event = event.with_subject("logs.a.b.c".into()).with_finalizers(EventFinalizers::new(batch));
    if as_tree {
        event.value_mut();
    }
    remap.transform(event, &mut outputs);
    let (passed, mut named) = outputs.take();
    let texts = |events: Vec<LogEvent>| {
        let text = |mut event: LogEvent| {
            assert_eq!(event.subject(), Some("logs.a.b.c"));
            event.take_finalizers().answer(EventStatus::Delivered);
            // Members in the order of their names, whether the event is text or a tree.
            serde_json::to_string(&event.into_value()).unwrap()
        };
        events.into_iter().map(text).collect()
    };
    let rerouted = if named.is_empty() { Vec::new() } else { texts(named.remove(DROPPED)) };
    let passed = texts(passed);
    Seen { passed, rerouted, counts: counts.snapshot(), answer: answer.try_recv().expect("an answer") }
}

#[track_caller]
fn check(toml: &str, text: &str, expected: Seen) {
    for as_tree in [false, true] {
        let cx = TransformContext { id: "r".to_owned(), ..TransformContext::default() };
        assert_eq!(run(&config(toml), &cx, text, as_tree), expected, "{toml}, as a tree: {as_tree}");
    }
}

fn passed(texts: &[&str]) -> Seen {
    Seen { passed: texts.iter().map(ToString::to_string).collect(), ..Seen::default() }
}

#[test]
fn the_program_changes_the_event() {
    check("source = '.b = del(.a)'", r#"{"a":1}"#, passed(&[r#"{"b":1}"#]));
    check("source = ''", r#"{"a":1}"#, passed(&[r#"{"a":1}"#]));
    check("source = '# nothing'", r#"{"a":1}"#, passed(&[r#"{"a":1}"#]));
    check("source = '.b = %x'\nruntime = 'ast'", r#"{"a":1}"#, passed(&[r#"{"a":1,"b":null}"#]));
    check("source = '. = parse_json!(.message)'", r#"{"message":"{\"a\":1}"}"#, passed(&[r#"{"a":1}"#]));
}

#[test]
fn an_event_that_is_no_object_any_more_is_one_or_several() {
    check(
        "source = '. = [{\"a\": 1}, .b, null]'",
        r#"{"b":{"c":2}}"#,
        passed(&[r#"{"a":1}"#, r#"{"c":2}"#, r#"{"message":null}"#]),
    );
    check("source = '. = .b'", r#"{"b":7}"#, passed(&[r#"{"message":7}"#]));
    check("source = '. = \"x\"'", r#"{"b":7}"#, passed(&[r#"{"message":"x"}"#]));
    check("source = '. = parse_json!(.b); . = .c'", r#"{"b":"{\"c\":[1]}"}"#, passed(&[r#"{"message":1}"#]));
    let counts = TransformSnapshot { discarded: 1, ..TransformSnapshot::default() };
    check("source = '. = []'", "{}", Seen { counts, ..Seen::default() });
    let log_schema = LogSchema { message_key: "m.text".to_owned(), ..LogSchema::default() };
    let cx = TransformContext { log_schema, ..TransformContext::default() };
    let seen = run(&RemapConfig::new(". = 1"), &cx, "{}", false);
    assert_eq!(seen, passed(&[r#"{"m":{"text":1}}"#]));
}

#[test]
fn what_a_program_fails_on_goes_on_or_is_dropped_or_rerouted() {
    const FAILS: &str = "source = '.x = 1; .b = to_int!(.a)'\n";
    const ABORTS: &str = "source = '.x = 1; if .a == \"x\" { abort \"bad \\\"a\\\"\" }'\n";
    let original = r#"{"a":"x"}"#;
    let errors = |failed| TransformSnapshot { errors: 1, failed, ..TransformSnapshot::default() };
    let message = r#"function call error for \"to_int\" at (13:24): Invalid integer \"x\": invalid digit found in string"#;
    let rerouted = |reason: &str, message: &str| {
        vec![format!(
            r#"{{"a":"x","metadata":{{"dropped":{{"component_id":"r","component_kind":"transform","component_type":"remap","message":"{message}","reason":"{reason}"}}}}}}"#
        )]
    };
    // What is not said is Vector's: an error lets the event go on, `abort` drops it.
    check(FAILS, original, Seen { counts: errors(0), ..passed(&[original]) });
    check(
        &format!("{FAILS}reroute_dropped = true"),
        original,
        Seen { counts: errors(0), ..passed(&[original]) },
    );
    let counts = errors(1);
    check(
        &format!("{FAILS}drop_on_error = true"),
        original,
        Seen { counts, answer: EventStatus::Rejected, ..Seen::default() },
    );
    check(
        &format!("{FAILS}drop_on_error = true\nreroute_dropped = true"),
        original,
        Seen { rerouted: rerouted("error", message), counts: errors(0), ..Seen::default() },
    );
    let counts = TransformSnapshot { discarded: 1, ..TransformSnapshot::default() };
    check(ABORTS, original, Seen { counts, ..Seen::default() });
    check(&format!("{ABORTS}drop_on_abort = false"), original, passed(&[original]));
    check(
        &format!("{ABORTS}reroute_dropped = true"),
        original,
        Seen { rerouted: rerouted("abort", r#"bad \"a\""#), ..Seen::default() },
    );
    check(&format!("{ABORTS}drop_on_error = true"), r#"{"a":1}"#, passed(&[r#"{"a":1,"x":1}"#]));
}

#[test]
fn the_reason_stands_beside_what_is_there_already() {
    let log_schema = LogSchema { metadata_key: "meta.why".to_owned(), ..LogSchema::default() };
    let cx = TransformContext { log_schema, ..TransformContext::default() };
    let seen = run(&config("source = 'abort'\nreroute_dropped = true"), &cx, r#"{"meta":{"x":1}}"#, false);
    assert!(seen.rerouted[0].starts_with(r#"{"meta":{"why":{"dropped":{"#), "{}", seen.rerouted[0]);
    assert!(seen.rerouted[0].ends_with(r#""message":"aborted","reason":"abort"}},"x":1}}"#));
}

#[test]
fn dropped_is_an_output_if_something_can_go_there() {
    assert_eq!(RemapConfig::new("").outputs(), OutputNames::default());
    let outputs = config("source = ''\nreroute_dropped = true").outputs();
    assert_eq!(outputs, OutputNames { has_default: true, named: vec!["dropped".to_owned()] });
}

#[test]
fn the_time_zone_is_ones_own_or_the_global_one() {
    const PROGRAM: &str = "source = '.t = to_unix_timestamp(parse_timestamp!(.t, \"%F %T\"))'\n";
    let cx = TransformContext { timezone: Some("Asia/Tokyo".to_owned()), ..TransformContext::default() };
    for (more, expected) in [("", 1_795_291_200), ("timezone = 'America/New_York'", 1_795_341_600)] {
        let seen = run(&config(&format!("{PROGRAM}{more}")), &cx, r#"{"t":"2026-11-22 05:00:00"}"#, false);
        assert_eq!(seen.passed, [format!(r#"{{"t":{expected}}}"#)]);
    }
}

#[test]
fn the_program_may_be_in_files() {
    let mut first = tempfile::NamedTempFile::new().unwrap();
    first.write_all(b".a = 1 # no line break").unwrap();
    let mut second = tempfile::NamedTempFile::new().unwrap();
    second.write_all(b".b = .a").unwrap();
    let (first, second) = (first.path().display(), second.path().display());
    check(&format!("file = '{first}'"), "{}", passed(&[r#"{"a":1}"#]));
    check(&format!("files = ['{first}', '{second}']"), "{}", passed(&[r#"{"a":1,"b":1}"#]));
}

#[test]
fn every_mistake_is_told_with_the_option_it_is_in() {
    for (toml, expected) in [
        ("", &["source: missing; expected a program"][..]),
        ("source = ''\nfile = 'x'", &["exclude each other"]),
        ("file = '/no/such.vrl'", &["file: /no/such.vrl: cannot be read"]),
        ("files = ['/no/such.vrl', '/nor/this.vrl']", &["files[0]: /no/such", "files[1]: /nor/this"]),
        (
            "source = '.a ='\ntimezone = 'Mars'",
            &["timezone: `Mars` is no time zone", "error[E204]: syntax error"],
        ),
        (
            "source = '.a = to_int(.a)'",
            &["source: the program does not compile", "error[E103]", ".a = to_int(.a)"],
        ),
        ("source = '.a = dns_lookup!(.a)'", &["undefined function"]),
    ] {
        let error = config(toml).build(&TransformContext::default()).err().expect(toml).to_string();
        expected.iter().for_each(|expected| assert!(error.contains(expected), "{toml}: {error}"));
    }
    for toml in ["source = ''\nruntime = 'wasm'", "source = ''\ndrop_on_errors = true"] {
        assert!(toml::from_str::<RemapConfig>(toml).is_err(), "{toml}");
    }
}
