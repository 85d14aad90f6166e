use super::super::testing::{Run, deliver, texts};
use super::*;
use crate::finalizer::EventStatus;
use governor::clock::FakeRelativeClock;
use proptest::prelude::*;

fn reduce(config: &str) -> (Run<Reduce<FakeRelativeClock>>, FakeRelativeClock) {
    let config: ReduceConfig = toml::from_str(config).unwrap();
    let clock = FakeRelativeClock::default();
    (Run::new(config.build_with(&TransformContext::default(), clock.clone()).unwrap()), clock)
}

/// What events become that are one group: once for all, and with the errors that come of it.
#[track_caller]
fn check(config: &str, events: &[&str], expected: &str, errors: u64) {
    let (mut run, _) = reduce(config);
    for event in events {
        assert!(run.give(event).is_empty(), "{config}: {event} came out");
    }
    assert_eq!(texts(&run.finish()), [expected], "{config}");
    assert_eq!(run.counts().errors, errors, "{config}: errors");
}

#[test]
fn merges_by_the_type_of_the_first_value() {
    for (events, expected, errors) in [
        // Strings, booleans, nulls and arrays: the first.
        ([r#"{"a":"x"}"#, r#"{"a":"y"}"#], r#"{"a":"x"}"#, 0),
        ([r#"{"a":true}"#, r#"{"a":false}"#], r#"{"a":true}"#, 0),
        ([r#"{"a":null}"#, r#"{"a":1}"#], r#"{"a":null}"#, 0),
        ([r#"{"a":[1]}"#, r#"{"a":[2,3]}"#], r#"{"a":[1]}"#, 0),
        ([r#"{"a":"x"}"#, r#"{"a":1}"#], r#"{"a":"x"}"#, 0),
        // Text that holds a time is a string.
        (
            [r#"{"timestamp":"2026-11-22T05:00:00Z"}"#, r#"{"timestamp":"2026-11-22T06:00:00Z"}"#],
            r#"{"timestamp":"2026-11-22T05:00:00Z"}"#,
            0,
        ),
        // Numbers: their sum.
        ([r#"{"a":1}"#, r#"{"a":2}"#], r#"{"a":3}"#, 0),
        ([r#"{"a":1}"#, r#"{"a":2.5}"#], r#"{"a":3.5}"#, 0),
        ([r#"{"a":0.5}"#, r#"{"a":1}"#], r#"{"a":1.5}"#, 0),
        ([r#"{"a":1}"#, r#"{"a":"2"}"#], r#"{"a":1}"#, 1),
        ([r#"{"a":9223372036854775807}"#, r#"{"a":1}"#], r#"{"a":9.223372036854776e+18}"#, 0),
        ([r#"{"a":1e308}"#, r#"{"a":1e308}"#], r#"{"a":1e+308}"#, 1),
        // Objects: each member by itself.
        (
            [r#"{"a":{"n":1,"s":"x"}}"#, r#"{"a":{"n":2,"s":"y","t":"z"}}"#],
            r#"{"a":{"n":3,"s":"x","t":"z"}}"#,
            0,
        ),
        ([r#"{"a":{"b":{"c":1}}}"#, r#"{"a":{"b":{"c":2}}}"#], r#"{"a":{"b":{"c":3}}}"#, 0),
        ([r#"{"a":{}}"#, r#"{"a":{"b":1}}"#], r#"{"a":{"b":1}}"#, 0),
        ([r#"{"a":{"b":1}}"#, r#"{"a":1}"#], r#"{"a":{"b":1}}"#, 1),
        ([r#"{"a":"x"}"#, r#"{"a":{"b":1}}"#], r#"{"a":"x"}"#, 0),
        // What only one of them has.
        ([r#"{"a":1}"#, r#"{"b c":2}"#], r#"{"a":1,"b c":2}"#, 0),
    ] {
        check("", &events, expected, errors);
    }
}

#[test]
fn of_times_the_first_and_the_last_stay() {
    let times = ["2026-11-22T05:00:00Z", "2026-11-22T07:00:00.5Z", "2026-11-22T06:00:00Z"];
    let timed = |time: &str, own_end: bool| {
        let mut event = LogEvent::from_json("{}".into()).unwrap();
        // JSON has no times; a tree may hold one.
        event.value_mut();
        event.insert(&Path::parse("a.at").unwrap(), Value::Timestamp(time.parse().unwrap()));
        if own_end {
            event.insert(&Path::parse("a.at_end").unwrap(), Value::from("mine"));
        }
        event
    };
    let (mut run, _) = reduce("");
    times.iter().for_each(|time| drop(run.give_event(timed(time, false))));
    assert_eq!(
        texts(&run.finish()),
        [r#"{"a":{"at":"2026-11-22T05:00:00Z","at_end":"2026-11-22T06:00:00Z"}}"#]
    );
    run.give_event(timed(times[0], false));
    run.give(r#"{"a":{"at":"no time"}}"#);
    assert_eq!(
        texts(&run.finish()),
        [r#"{"a":{"at":"2026-11-22T05:00:00Z","at_end":"2026-11-22T05:00:00Z"}}"#]
    );
    assert_eq!(run.counts().errors, 1);
    // A field of the event's own is not overwritten.
    run.give_event(timed(times[0], true));
    assert_eq!(texts(&run.finish()), [r#"{"a":{"at":"2026-11-22T05:00:00Z","at_end":"mine"}}"#]);
}

#[test]
fn merges_by_the_strategy_it_is_told() {
    for (strategy, values, expected, errors) in [
        ("array", vec!["1", "[2]", "null", "\"x\""], r#"[1,[2],null,"x"]"#, 0),
        ("concat", vec!["\"a\"", "\"b\"", "\"é\""], r#""a b é""#, 0),
        ("concat", vec!["\"a\"", "1", "\"b\""], r#""a b""#, 1),
        ("concat", vec!["[1]", "[2,[3]]", "4"], "[1,2,[3],4]", 0),
        ("concat", vec!["1", "\"a\""], "\"a\"", 1),
        ("concat_newline", vec!["\"a\"", "\"b\""], r#""a\nb""#, 0),
        ("concat_newline", vec!["[1]", "\"b\"", "[2]"], "\"b\"", 2),
        ("concat_raw", vec!["\"a\"", "\"b\"", "\"\""], r#""ab""#, 0),
        ("discard", vec!["1", "2"], "1", 0),
        ("discard", vec!["{\"x\":1}", "{\"y\":2}"], "{\"x\":1}", 0),
        ("retain", vec!["1", "\"x\"", "null"], "\"x\"", 0),
        ("retain", vec!["null"], "null", 0),
        ("flat_unique", vec!["1", "[2,1,\"1\"]", "{\"a\":3,\"b\":2}", "[[1]]"], r#"[1,2,"1",3,[1]]"#, 0),
        ("longest_array", vec!["[1]", "[2,3]", "[4,5]", "7"], "[2,3]", 1),
        ("shortest_array", vec!["[1,2]", "[3]", "[4]", "\"\""], "[3]", 1),
        ("shortest_array", vec!["1", "[3]"], "[3]", 1),
        ("max", vec!["2", "3", "\"9\"", "1"], "3", 1),
        ("max", vec!["1.5", "3"], "3.0", 0),
        ("max", vec!["3", "1.5", "3.5"], "3.5", 0),
        ("max", vec!["\"x\"", "3"], "3", 1),
        ("min", vec!["2", "-3", "null"], "-3", 1),
        ("min", vec!["2", "1.5", "1.75"], "1.5", 0),
        ("sum", vec!["1", "2", "0.5", "true"], "3.5", 1),
        ("sum", vec!["{}", "2"], "2", 1),
    ] {
        for (path, open, close) in
            [("a", r#"{"a":"#, "}"), ("x.\"y z\"", r#"{"x":{"y z":"#, "}}"), ("x.y", r#"{"x":{"y":"#, "}}")]
        {
            let config = format!("merge_strategies = {{ '{path}' = '{strategy}' }}");
            let events: Vec<_> = values.iter().map(|value| format!("{open}{value}{close}")).collect();
            let events: Vec<_> = events.iter().map(String::as_str).collect();
            check(&config, &events, &format!("{open}{expected}{close}"), errors);
        }
    }
}

#[test]
fn a_strategy_covers_what_is_in_its_field() {
    let events = [r#"{"a":{"b":1,"c":{"d":1}}}"#, r#"{"a":{"b":2,"c":{"d":2}}}"#];
    check("merge_strategies.a = 'array'", &events, r#"{"a":[{"b":1,"c":{"d":1}},{"b":2,"c":{"d":2}}]}"#, 0);
    check("merge_strategies.'a.c' = 'retain'", &events, r#"{"a":{"b":3,"c":{"d":2}}}"#, 0);
    let both = "merge_strategies = { a = 'discard', 'a.b' = 'array' }";
    check(both, &events, r#"{"a":{"b":1,"c":{"d":1}}}"#, 0);
}

#[test]
fn events_of_the_same_values_are_a_group() {
    let (mut run, _) =
        reduce("group_by = ['id', 'fly.app']\nmerge_strategies = { id = 'discard', n = 'array' }");
    for event in [
        r#"{"id":1,"fly":{"app":"a"},"n":0}"#,
        r#"{"id":"1","fly":{"app":"a"},"n":1}"#,
        r#"{"id":1,"fly":{"app":"b"},"n":2}"#,
        r#"{"n":3,"fly":{"app":"a"},"id":1}"#,
        r#"{"id":1,"n":4}"#,
        r#"{"n":5}"#,
        r#"{"id":null,"n":6}"#,
        r#"{"n":7}"#,
    ] {
        run.give(event);
    }
    assert_eq!(
        texts(&run.finish()),
        [
            r#"{"fly":{"app":"a"},"id":"1","n":[1]}"#,
            r#"{"fly":{"app":"b"},"id":1,"n":[2]}"#,
            r#"{"fly":{"app":"a"},"id":1,"n":[0,3]}"#,
            r#"{"id":1,"n":[4]}"#,
            r#"{"id":null,"n":[6]}"#,
            r#"{"n":[5,7]}"#,
        ]
    );
    assert!(run.finish().is_empty());
}

/// What comes out at each of these events, whose `n` is gathered; and at the end.
#[track_caller]
fn check_ends(config: &str, events: &[&str], expected: &[&[&str]]) {
    let (mut run, _) = reduce(&format!("{config}\nmerge_strategies.n = 'array'"));
    let mut seen: Vec<_> = events.iter().map(|event| texts(&run.give(event))).collect();
    seen.push(texts(&run.finish()));
    assert_eq!(seen, expected, "{config}");
}

#[test]
fn a_group_ends_with_the_event_for_which_the_condition_holds() {
    let config = "ends_when = 'exists(.end)'\ngroup_by = ['g']";
    let events = [
        r#"{"g":"a","n":1}"#,
        r#"{"g":"b","n":2,"end":1}"#,
        r#"{"g":"a","n":3,"end":1}"#,
        r#"{"g":"a","n":4}"#,
    ];
    check_ends(
        config,
        &events,
        &[
            &[],
            &[r#"{"end":1,"g":"b","n":[2]}"#],
            &[r#"{"end":1,"g":"a","n":[1,3]}"#],
            &[],
            &[r#"{"g":"a","n":[4]}"#],
        ],
    );
}

#[test]
fn a_group_begins_with_the_event_for_which_the_condition_holds() {
    let config = "starts_when = '.s == true'\ngroup_by = ['g']\nmerge_strategies.s = 'discard'";
    let events = [
        r#"{"n":1}"#,
        r#"{"n":2,"s":true}"#,
        r#"{"n":3}"#,
        r#"{"n":4,"s":true}"#,
        r#"{"n":5,"s":true,"g":1}"#,
    ];
    check_ends(
        config,
        &events,
        &[
            &[],
            &[r#"{"n":[1]}"#],
            &[],
            &[r#"{"n":[2,3],"s":true}"#],
            &[],
            &[r#"{"n":[4],"s":true}"#, r#"{"g":1,"n":[5],"s":true}"#],
        ],
    );
}

#[test]
fn a_group_is_full_with_so_many_events() {
    let events = [r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":3}"#];
    check_ends("max_events = 2", &events, &[&[], &[r#"{"n":[1,2]}"#], &[], &[r#"{"n":[3]}"#]]);
    check_ends("max_events = 1", &events, &[&[r#"{"n":[1]}"#], &[r#"{"n":[2]}"#], &[r#"{"n":[3]}"#], &[]]);
    // Also if they begin one.
    check_ends(
        "max_events = 1\nstarts_when = 'true'",
        &events,
        &[&[r#"{"n":[1]}"#], &[r#"{"n":[2]}"#], &[r#"{"n":[3]}"#], &[]],
    );
    check_ends(
        "max_events = 2\nstarts_when = '.n == 2'",
        &events,
        &[&[], &[r#"{"n":[1]}"#], &[r#"{"n":[2,3]}"#], &[]],
    );
}

#[test]
fn for_one_group_too_many_the_oldest_is_put_out() {
    let events = [r#"{"g":"a","n":1}"#, r#"{"g":"b","n":2}"#, r#"{"g":"a","n":3}"#, r#"{"g":"c","n":4}"#];
    check_ends(
        "max_groups = 2\ngroup_by = ['g']",
        &events,
        &[&[], &[], &[], &[r#"{"g":"b","n":[2]}"#], &[r#"{"g":"a","n":[1,3]}"#, r#"{"g":"c","n":[4]}"#]],
    );
    // A group that is full at once needs no place.
    check_ends(
        "max_groups = 1\nmax_events = 1\ngroup_by = ['g']",
        &events[..2],
        &[&[r#"{"g":"a","n":[1]}"#], &[r#"{"g":"b","n":[2]}"#], &[]],
    );
}

#[test]
fn groups_are_put_out_when_their_time_has_come() {
    let gathered = "group_by = ['g']\nmerge_strategies.n = 'array'";
    let [a, b] = [r#"{"g":"a","n":1}"#, r#"{"g":"b","n":2}"#];
    let (mut run, clock) = reduce(gathered);
    assert_eq!(run.transform.flush_every(), Some(Duration::from_secs(1)));
    run.give(a);
    clock.advance(Duration::from_secs(20));
    run.give(b);
    run.give(a);
    clock.advance(Duration::from_millis(29_999));
    assert!(run.flush().is_empty());
    clock.advance(Duration::from_millis(1));
    assert_eq!(texts(&run.flush()), [r#"{"g":"b","n":[2]}"#, r#"{"g":"a","n":[1,1]}"#]);
    assert!(run.flush().is_empty());

    let (mut run, clock) = reduce(&format!(
        "expire_after_ms = 400\nend_every_period_ms = 1000\nflush_period_ms = 50\n{gathered}"
    ));
    assert_eq!(run.transform.flush_every(), Some(Duration::from_millis(50)));
    run.give(b);
    for _ in 0..3 {
        run.give(a);
        clock.advance(Duration::from_millis(300));
    }
    assert_eq!(texts(&run.flush()), [r#"{"g":"b","n":[2]}"#], "expired");
    run.give(a);
    clock.advance(Duration::from_millis(100));
    assert_eq!(texts(&run.flush()), [r#"{"g":"a","n":[1,1,1,1]}"#], "its period is over");
    run.give(a);
    assert!(run.flush().is_empty(), "a new period");
}

#[test]
fn the_merged_event_stands_for_all() {
    let (mut run, _) = reduce("max_events = 3");
    let first = LogEvent::from_json("{\"n\":1}".into()).unwrap();
    let first = first.with_subject("logs.a.b.c".into()).with_received(Timestamp::from_nanos(7));
    run.give_event(first);
    run.give_event(LogEvent::from_json("{\"n\":1}".into()).unwrap().with_subject("logs.x.y.z".into()));
    assert_eq!(run.statuses(), [None, None]);
    let mut merged = run.give("{\"n\":1}");
    assert_eq!(texts(&merged), ["{\"n\":3}"]);
    assert_eq!(merged[0].subject(), Some("logs.a.b.c"));
    assert_eq!(merged[0].received().nanos(), 7);
    assert_eq!(run.statuses(), [None, None, None], "it is still on its way");
    merged.remove(0).take_finalizers().answer(EventStatus::Rejected);
    assert_eq!(run.statuses(), [Some(EventStatus::Rejected); 3]);
}

#[test]
fn what_is_given_up_is_not_lost_in_silence() {
    let (mut run, _) = reduce("");
    run.give("{}");
    run.give("{}");
    run.transform.groups.clear();
    assert_eq!(run.statuses(), [Some(EventStatus::Errored); 2]);
}

/// A stack trace, as in the example of the configuration.
#[test]
fn the_example_joins_the_lines_of_a_stack_trace() {
    let (mut run, _) = reduce(ReduceConfig::INFO.example);
    let line =
        |text: &str| serde_json::json!({"message": text, "fly": {"app": {"instance": "i"}}}).to_string();
    let mut out = Vec::new();
    for text in ["it broke", "  at one", "  at two", "all well"] {
        out.extend(run.give(&line(text)));
    }
    out.extend(run.finish());
    assert_eq!(
        texts(&out),
        [line("it broke\n  at one\n  at two"), line("all well")].map(|json| sorted(&json))
    );
}

fn sorted(json: &str) -> String {
    serde_json::from_str::<Value>(json).map(|value| serde_json::to_string(&value).unwrap()).unwrap()
}

#[test]
fn says_what_is_wrong() {
    for (config, words) in [
        ("starts_when = 'true'\nends_when = 'true'", "starts_when: it and `ends_when` exclude each other"),
        ("merge_strategies.'a[0]' = 'array'", "merge_strategies: `a[0]` leads into an array"),
        ("merge_strategies.'a b' = 'array'", "merge_strategies: `a b` is not a field path"),
        ("ends_when = '.a'", "ends_when: the condition is not always true or false"),
    ] {
        let config: ReduceConfig = toml::from_str(config).unwrap();
        let error = config.build_with(&TransformContext::default(), MonotonicClock).err().unwrap();
        assert!(error.to_string().contains(words), "{error}");
    }
    let all = "starts_when = '.a'\nends_when = '.a'\nmerge_strategies = { 'a[0]' = 'sum', 'a b' = 'sum' }";
    let all: ReduceConfig = toml::from_str(all).unwrap();
    let error = all.build_with(&TransformContext::default(), MonotonicClock).err().unwrap();
    assert_eq!(error.0.len(), 5, "all mistakes at once: {error}");
    for (config, words) in [
        ("merge_strategies.a = 'concat_all'", "unknown variant `concat_all`"),
        ("group_by = ['a b']", "not a field path"),
        ("max_events = 0", "nonzero"),
        ("max_groups = 0", "nonzero"),
        ("flush_period_ms = 0", "nonzero"),
        ("expire_after_ms = -1", "u64"),
        ("group = ['a']", "unknown field `group`"),
    ] {
        let error = toml::from_str::<ReduceConfig>(config).unwrap_err().to_string();
        assert!(error.contains(words), "{config}: {error}");
    }
}

proptest! {
    /// However events are grouped and whenever groups are put out: each event is in one merged event, and is
    /// answered for once that has arrived, and not before.
    #[test]
    fn every_event_is_in_one_merged_event(
        steps in prop::collection::vec((0..4u8, any::<bool>(), 0..800u64), 0..60),
        max_events in 1..6usize,
        max_groups in 1..4usize,
        conditions in prop::sample::select(vec!["", "starts_when = '.last == true'", "ends_when = '.last == true'"]),
    ) {
        let (mut run, clock) = reduce(&format!(
            "{conditions}\ngroup_by = ['g']\nmax_events = {max_events}\nmax_groups = {max_groups}\nexpire_after_ms = 1000\nend_every_period_ms = 2000\nmerge_strategies = {{ g = 'flat_unique', index = 'array', last = 'discard' }}"
        ));
        let mut out = Vec::new();
        for (index, (group, last, milliseconds)) in steps.iter().enumerate() {
            out.extend(run.give(&format!(
                "{{\"g\":{group},\"last\":{last},\"index\":{index},\"count\":1}}"
            )));
            clock.advance(Duration::from_millis(*milliseconds));
            out.extend(run.flush());
        }
        out.extend(run.finish());
        prop_assert!(run.statuses().iter().all(Option::is_none));
        let mut found = Vec::new();
        for event in &out {
            let event: serde_json::Value = serde_json::from_str(&event.json()).unwrap();
            prop_assert_eq!(event["g"].as_array().unwrap().len(), 1, "of one group");
            let indices = event["index"].as_array().unwrap();
            prop_assert_eq!(event["count"].as_u64(), Some(indices.len() as u64));
            prop_assert!(indices.len() <= max_events);
            prop_assert!(indices.is_sorted_by_key(|index| index.as_u64()));
            found.extend(indices.iter().filter_map(|index| index.as_u64()));
        }
        found.sort_unstable();
        prop_assert_eq!(found, (0..steps.len() as u64).collect::<Vec<_>>());
        deliver(out);
        prop_assert!(run.statuses().iter().all(|status| *status == Some(EventStatus::Delivered)));
    }
}
