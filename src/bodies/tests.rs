//! The steps together, and beside what a stock Vector does with what `generate` writes.

use super::multiline::tests::TRACES;
use super::*;
use crate::config::{TransformConfig, TransformContext};
use crate::event::Timestamp;
use crate::topology::Outputs;
use crate::transforms::ReduceConfig;
use ::vrl::compiler::{CompileConfig, Context, Program, TargetValue, TimeZone, compile_with_external, state};
use ::vrl::value::{Secrets, Value};
use std::collections::BTreeMap;
use std::time::Duration;

fn options(text: &str) -> BodyOptions {
    toml::from_str(text).unwrap()
}

fn event(text: &str) -> LogEvent {
    LogEvent::from_json(text.to_owned().into()).unwrap()
}

fn value(event: &LogEvent) -> Value {
    serde_json::from_str(&event.json()).unwrap()
}

/// What ours makes of these events.
fn ours(options: &BodyOptions, events: Vec<LogEvent>) -> Vec<Value> {
    let Some(mut bodies) = options.build().unwrap() else { return events.iter().map(value).collect() };
    let mut passed = bodies.pass(events, Instant::now()).events;
    passed.append(&mut bodies.flush_all().events);
    passed.iter().map(value).collect()
}

/// A program of VRL, which must compile without a warning.
fn compile(source: &str) -> Program {
    let external = state::ExternalEnv::default();
    let result = compile_with_external(source, &::vrl::stdlib::all(), &external, CompileConfig::default());
    let result = result.unwrap_or_else(|errors| {
        panic!("{}", ::vrl::diagnostic::Formatter::new(source, errors));
    });
    assert!(result.warnings.is_empty(), "{}", ::vrl::diagnostic::Formatter::new(source, result.warnings));
    result.program
}

/// What it resolves to, and what becomes of the event.
fn run(program: &Program, event: Value) -> (Value, Value) {
    let mut target =
        TargetValue { value: event, metadata: Value::Object(BTreeMap::new()), secrets: Secrets::default() };
    let mut state = state::RuntimeState::default();
    let timezone = TimeZone::default();
    let mut context = Context::new(&mut target, &mut state, &timezone);
    let result = program.resolve(&mut context).unwrap_or_else(|error| panic!("{error} of {}", target.value));
    (result, target.value)
}

fn is_true(program: &Program, event: &Value) -> bool {
    run(program, event.clone()).0 == Value::Boolean(true)
}

/// What a `reduce` makes of these events, all of them within its time.
fn reduce(condition: &str, source: String, events: Vec<Value>) -> Vec<Value> {
    let mut table = toml::toml! {
        group_by = ["fly.app.name", "fly.app.instance"]
        merge_strategies.message = "concat_newline"
    };
    table.insert(condition.to_owned(), source.into());
    let config: ReduceConfig = table.try_into().unwrap();
    let mut reduce = config.build(&TransformContext::default()).unwrap();
    let mut outputs = Outputs::new(0, Default::default());
    events.into_iter().for_each(|event| reduce.transform(LogEvent::from_value(event), &mut outputs));
    reduce.finish(&mut outputs);
    outputs.take().0.iter().map(value).collect()
}

/// What Vector makes of these events.
fn vectors(options: &BodyOptions, mut events: Vec<Value>) -> Vec<Value> {
    if let Some(app) = &options.exclude_app {
        let condition = compile(&others_condition(app));
        events.retain(|event| is_true(&condition, event));
    }
    if options.strip_ansi {
        let program = compile(&ansi_program());
        events = events.into_iter().map(|event| run(&program, event).1).collect();
    }
    if options.multiline.enabled {
        for (condition, source) in [("starts_when", starts_when()), ("ends_when", ends_when())] {
            compile(&source);
            events = reduce(condition, source, events);
        }
    }
    if let Some(source) = program(options) {
        let program = compile(&source);
        events = events.into_iter().map(|event| run(&program, event).1).collect();
    }
    events
}

const ALL: &str = r#"
strip_ansi = true
log_parse = "auto"
detect_level = true
redact = ["email", "ip", "uuid", "credit_card", "us_social_security_number", "jwt", "bearer", "/it's|[a-z]+'s/"]
enrich = { env = "prod {{ x }}", "a b" = "\"'\\\n" }
"#;

const EACH: [&str; 10] = [
    "",
    "strip_ansi = true",
    "log_parse = 'json'",
    "log_parse = 'logfmt'",
    "log_parse = 'auto'",
    "detect_level = true",
    "log_parse = 'json'\ndetect_level = true",
    "redact = ['email', 'ip', 'ipv4', 'ipv6', 'uuid', 'bearer']",
    "enrich = { env = 'prod' }\nexclude_app = 'shipper'",
    ALL,
];

/// Both forms of each set of options make the same of these events.
#[track_caller]
fn compare(more: &str, events: &[LogEvent]) {
    for text in EACH {
        let options = options(&format!("{more}\n{text}"));
        let vectors = vectors(&options, events.iter().map(value).collect());
        let ours = ours(&options, events.to_vec());
        assert_eq!(ours.len(), vectors.len(), "{text}");
        let sort = |mut values: Vec<Value>| {
            // The order of what is left at the end is nobody's.
            if options.multiline.enabled {
                values.sort_by_key(ToString::to_string);
            }
            values
        };
        for (ours, vectors) in sort(ours).into_iter().zip(sort(vectors)) {
            assert_eq!(ours, vectors, "{text}");
        }
    }
}

/// Lines of every kind, whole.
fn lines() -> Vec<String> {
    let mut lines: Vec<String> = [
        "",
        "plain text",
        " \t ",
        "\r",
        "windows\r",
        "nul \0 in it",
        "naïve café 日本語 🚀 \"quoted\"\ttab",
        "\x1b[32mINFO\x1b[0m green [\x1b[31merror\x1b[0m] \x1b]0;title\x07\x1b(B\x1b[",
        "null",
        "5",
        "\"text\"",
        "[1,{\"level\":\"error\"}]",
        "{}",
        "{ }",
        r#"{"level":"error","msg":"m"}"#,
        r#"{"level":50,"time":1795323600000,"pid":1,"hostname":"h","msg":"pino"}"#,
        r#"{"level":5,"short_message":"gelf"}"#,
        r#"{"level":05}"#,
        r#"{"level":"05"}"#,
        r#"{"level":"050"}"#,
        r#"{"level":50.0,"severity":true,"lvl":null}"#,
        r#"{"level":-1,"severity":"Warning"}"#,
        r#"{"level":["error"],"lvl":{"error":1},"severity":"DEBUG"}"#,
        r#"{"log.level":"warn","message":"ecs"}"#,
        r#"{"log":{"level":"fatal","logger":"x"},"message":"ecs"}"#,
        r#"{"fly":{"app":{"name":"spoofed"}},"host":"x","timestamp":"1999","event":{},"log":"x","message":"m","level":"trace"}"#,
        r#"{"app":"mine"}"#,
        r#"{"app":{"mine":1},"host":"x"}"#,
        r#"{"app":null,"host":null,"message":null}"#,
        r#"{"message":{"nested":"object"}}"#,
        r#"{"message":"","msg":"other"}"#,
        r#"{"msg":5}"#,
        r#"{"msg":""}"#,
        r#"{"a":1,"a":{"b":2},"host":1,"host":2,"msg":"x","msg":1}"#,
        r#"{"n":9007199254740993,"m":-9223372036854775808,"x":9223372036854775807,"big":18446744073709551616,"f":1.0,"e":1e3,"z":-0}"#,
        r#"{"\u006dessage":"escaped","\u0068ost":"h","\u0061pp":1,"k\"ey":"v\\\n\u0000\ud83d\ude80"}"#,
        r#"{"bad":"\ud83d"}"#,
        r#"{"bad":1e999}"#,
        r#"{"cut":"of"#,
        r#"{"a":1"#,
        r#"text {"a":1}"#,
        r#"{"a":1} text"#,
        r#"before {"a":{"b":"}"}} after"#,
        r#" {"a":1} "#,
        r#"GET /{id}/{x} 200 {"ms":5} done"#,
        r#"{"a":1}{"b":2}"#,
        r#"{ "a" : 1 }"#,
        "{\n\"a\":1\n}",
        "{\u{a0}\"a\":1}",
        r#"{"":1,".":2,"a.b":3,"[0]":4}"#,
        r#"it's {"a":"O'Brien's"}"#,
        r#"}{"a":1"#,
        "level=error msg=\"so it goes\" n=5",
        "level=error",
        " at=info method=GET path=\"/a?b=c\" host=example.com fwd=\"1.2.3.4\" dyno=web.1 service=5ms empty= ",
        r#"a="q\"uote" b="\u00e9" c="\x" d="" e==="#,
        "a=1 a=2 app=x host=y timestamp=z",
        "k=v text",
        "time=\"2026-11-22\" level=warning msg=x",
        "lvl=3 severity=notice",
        "[ERROR] x",
        "[Sun Dec 04 04:47:44 2005] [error] mod_jk child",
        "2026-11-22T05:00:00.123Z WARN x",
        "05:00:00,5 [main] FATAL com.example: it",
        "E, [2026 #1] ERROR -- : rails",
        "\x1b[2m2026\x1b[0m \x1b[33m WARN\x1b[0m x",
        "ERROR:root:python",
        "worker [critical] x",
        "ERRORS INFO",
        "from a.b@example.com (10.1.2.3, fdaa:0:1::3, ::1) id 9e885f1a-0e02-4a3c-9b5e-6f7b1e3f5a10",
        "card 4111 1111 1111 1111, ssn 078-05-1120, 1795323600000137",
        "Authorization: Bearer eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2ln",
        r#"{"user":{"mail":["x@y.io",{"x@y.io":"x@y.io 1.2.3.4"}]},"n":4111111111111111}"#,
    ]
    .map(str::to_owned)
    .into();
    for depth in [10, 125, 126, 127, 1000] {
        lines.push(format!("{{\"deep\":{}1{}}}", "[".repeat(depth), "]".repeat(depth)));
        lines.push(format!("{{\"deep\":{}{}}}", "{\"a\":".repeat(depth), "}".repeat(depth)));
    }
    lines.extend(TRACES.map(str::to_owned));
    lines
}

/// Envelopes of every kind around a line.
fn envelopes(line: &str) -> Vec<LogEvent> {
    let message = json::string(line);
    let fly = r#""event":{"provider":"app"},"fly":{"app":{"instance":"i1","name":"web"},"region":"ord"},"host":"h1","timestamp":"2026-11-22T05:00:00.000137Z""#;
    let mut events: Vec<_> = [
        format!(r#"{{{fly},"log":{{"level":"info"}},"message":{message}}}"#),
        format!(r#"{{{fly},"log":{{"level":"warn","x":1}},"message":{message}}}"#),
        format!(r#"{{ "message" : {message}, "level":"debug", "app":{{"x":1}}, {fly} }}"#),
        format!(r#"{{"message":{message}}}"#),
        format!(r#"{{"log":null,"fly":null,"message":{message},"a":"a@b.io"}}"#),
        format!(r#"{{"log":"text","message":{message}}}"#),
        format!(r#"{{"log":{{"level":null}},"message":{message},"mess\u0061ge":{message}}}"#),
        format!(r#"{{"message":[{message}],"fly":{{"app":{{"name":"shipper"}}}}}}"#),
    ]
    .iter()
    .map(|text| event(text))
    .collect();
    events.push(LogEvent::from_text(line.as_bytes(), Some("logs.web.ord.i2"), Timestamp::from_nanos(0)));
    events
}

#[test]
fn vector_makes_the_same_of_every_kind_of_line() {
    let events: Vec<_> = lines().iter().flat_map(|line| envelopes(line)).collect();
    compare("", &events);
}

/// Lines cut, glued and coloured at random, always the same way.
#[test]
fn vector_makes_the_same_of_lines_at_random() {
    let lines = lines();
    let mut seed = 7u64;
    let mut random = |below: usize| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) as usize % below
    };
    let mut events = Vec::new();
    for _ in 0..1500 {
        let mut line = lines[random(lines.len())].clone();
        for _ in 0..random(4) {
            let other = &lines[random(lines.len())];
            let at = line.floor_char_boundary(random(line.len() + 1));
            match random(5) {
                0 => line.truncate(at),
                1 => line.push_str(other),
                2 => line = format!("{other} {line}"),
                3 => line.insert_str(
                    at,
                    ["{", "}", "\"", " ", "=", "[", "]", "\x1b[1m", "\\", "error"][random(10)],
                ),
                _ => line = format!("{} {line}", ["[WARN]", "level=error", "2026-11-22", "ERROR"][random(4)]),
            }
        }
        let mut envelopes = envelopes(&line);
        events.push(envelopes.swap_remove(random(envelopes.len())));
    }
    compare("", &events);
}

/// Stack traces of fifty instances, line by line.
#[test]
fn vector_joins_the_same_lines() {
    let traces: Vec<Vec<_>> = (0..50)
        .map(|n| {
            TRACES[n % TRACES.len()]
                .split('\n')
                .chain(["[ERROR] a@b.io", "between"])
                .chain(TRACES[n * 7 % TRACES.len()].split('\n'))
                .collect()
        })
        .collect();
    let longest = traces.iter().map(Vec::len).max().unwrap();
    let mut events = Vec::new();
    for row in 0..longest {
        for (instance, trace) in traces.iter().enumerate() {
            if let Some(line) = trace.get(row) {
                let app = if instance == 3 { "shipper" } else { "web" };
                events.push(event(&format!(
                    r#"{{"fly":{{"app":{{"instance":"{instance}","name":"{app}"}}}},"log":{{"level":"info"}},"message":{}}}"#,
                    json::string(line)
                )));
            }
        }
    }
    compare("multiline = true", &events);
}

/// Every word and number of a level is read alike.
#[test]
fn vector_reads_the_same_levels() {
    let words = crate::event::Level::WORDS.iter().map(|(word, _)| json::string(word));
    let numbers = (0..=100).flat_map(|number| [number.to_string(), format!("\"{number}\"")]);
    let events: Vec<_> =
        words.chain(numbers).map(|level| event(&format!(r#"{{"level":{level}}}"#))).collect();
    compare("", &events);
}

#[test]
fn lines_of_the_excluded_app_are_left_out_and_counted() {
    let mut bodies = options("exclude_app = 'shipper'").build().unwrap().unwrap();
    let of = |text: &str, subject: &str| event(text).with_subject(subject.into());
    let events = vec![
        of("{}", "logs.shipper.ord.1"),
        of("{}", "logs.shipper-2.ord.1"),
        of(r#"{"fly":{"app":{"name":"shipper"}}}"#, "logs.other.ord.1"),
        of(r#"{"fly":{"app":{"name":"shipper"}}}"#, "elsewhere"),
        event(r#"{"fly":{"app":{"name":"shipper"}}}"#),
        of("{}", "elsewhere"),
    ];
    let passed = bodies.pass(events, Instant::now());
    assert_eq!((passed.events.len(), passed.excluded, passed.joined), (3, 3, 0));
    assert_eq!(bodies.deadline(), None);
}

#[test]
fn the_steps_come_in_their_order() {
    let options = options(&format!("{ALL}\nmultiline = {{ timeout_ms = 10 }}"));
    let mut bodies = options.build().unwrap().unwrap();
    let now = Instant::now();
    let lines = ["\x1b[31m{\x1b[0m", "  \"level\": \"warn\",", "  \"to\": \"a@b.io\"", "}"];
    let lines =
        lines.map(|line| event(&format!(r#"{{"log":{{"level":"info"}},"message":{}}}"#, json::string(line))));
    let passed = bodies.pass(lines.into(), now);
    assert_eq!((passed.events.len(), passed.joined), (0, 3));
    assert_eq!(bodies.deadline(), Some(now + Duration::from_millis(10)));
    let passed = bodies.flush(now + Duration::from_millis(10));
    let expected =
        r#"{"log":{"level":"warn"},"level":"warn","to":"[email]","a b":"\"'\\\n","env":"prod {{ x }}"}"#;
    assert_eq!(passed.events[0].json(), expected);
}

#[test]
fn options_that_cannot_work_are_refused() {
    for (text, words) in [
        ("enrich = { host = 'x' }", "enrich.host: `host` is the event's own"),
        ("enrich = { message = 'x' }", "`message` is the event's own"),
        ("enrich = { '' = 'x' }", "a field without a name"),
        ("exclude_app = ''", "exclude_app: empty"),
    ] {
        let error = options(text).build().unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    assert!(options("").build().unwrap().is_none());
    for text in ["log_parse = 'xml'", "redact = ['mail']", "colour = true", "enrich = { a = 1 }"] {
        assert!(toml::from_str::<BodyOptions>(text).is_err(), "{text}");
    }
}
