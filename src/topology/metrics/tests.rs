use super::{Family, MetricKind, metric_families};
use crate::config::ComponentKind;
use crate::event::{LogEvent, Timestamp};
use crate::topology::{Books, Capacity, Description, DropReason, Outcome, Receipts, WhenFull, buffer};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

/// The series of a page, each with its value; every family is checked against the table on the way.
#[track_caller]
fn parse(text: &str) -> BTreeMap<String, f64> {
    let mut series = BTreeMap::new();
    let mut rows = metric_families().iter();
    let mut family: Option<&Family> = None;
    let mut types = Vec::new();
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            let (name, help) = rest.split_once(' ').unwrap();
            // In the order of the table, and each once.
            let row = rows.find(|row| row.name == name).unwrap_or_else(|| panic!("not in its place: {name}"));
            assert_eq!(row.help, help);
            family = Some(row);
        } else if let Some(rest) = line.strip_prefix("# TYPE ") {
            let row = family.unwrap();
            assert_eq!(rest, format!("{} {}", row.name, row.kind.as_str()));
            types.push(row.name);
        } else {
            let row = family.expect("a head stands before each sample");
            assert_eq!(types.last(), Some(&row.name));
            let (name, value) = line.rsplit_once(' ').unwrap();
            check_sample(row, name);
            let value: f64 = value.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
            assert!(value.is_finite() && value >= 0.0, "{line}");
            assert_eq!(series.insert(name.to_owned(), value), None, "twice: {line}");
        }
    }
    check_histograms(&series);
    series
}

/// The name and the labels are those of the table.
#[track_caller]
fn check_sample(row: &Family, series: &str) {
    let (name, labels) = series.split_once('{').unwrap_or((series, ""));
    let suffix = name.strip_prefix(row.name).unwrap_or_else(|| panic!("{series} is not of {}", row.name));
    let suffixes: &[&str] = match row.kind {
        MetricKind::Histogram => &["_bucket", "_sum", "_count"],
        _ => &[""],
    };
    assert!(suffixes.contains(&suffix), "{series}");
    // Each label's value stands between quotes, in which quotes are escaped.
    let mut rest = labels.strip_suffix('}').unwrap_or(labels);
    while !rest.is_empty() {
        let (label, value) = rest.split_once("=\"").unwrap_or_else(|| panic!("{series}"));
        assert!(row.labels.contains(&label) || (label == "le" && suffix == "_bucket"), "{series}: {label}");
        let mut is_escaped = false;
        let end = value.char_indices().find(|(_, c)| {
            let is_end = *c == '"' && !is_escaped;
            is_escaped = *c == '\\' && !is_escaped;
            is_end
        });
        let (end, _) = end.unwrap_or_else(|| panic!("no end: {series}"));
        assert!(!value[..end].contains('\n'));
        rest = value[end + 1..].trim_start_matches(',');
    }
}

/// The buckets go up, and the last of them is the count.
#[track_caller]
fn check_histograms(series: &BTreeMap<String, f64>) {
    let mut buckets: BTreeMap<String, Vec<(f64, f64)>> = BTreeMap::new();
    for (name, value) in series.iter().filter(|(name, _)| name.contains("_bucket{")) {
        let (labels, bound) = name.rsplit_once("le=\"").unwrap();
        let bound = bound.trim_end_matches("\"}");
        let bound = if bound == "+Inf" { f64::INFINITY } else { bound.parse().unwrap() };
        let key = labels.trim_end_matches([',', '{']).replacen("_bucket", "_count", 1);
        buckets.entry(key).or_default().push((bound, *value));
    }
    for (key, mut buckets) in buckets {
        buckets.sort_by(|a, b| a.0.total_cmp(&b.0));
        assert!(buckets.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1), "{key}: {buckets:?}");
        let (most, count) = buckets[buckets.len() - 1];
        assert_eq!(most, f64::INFINITY, "{key}");
        let full = if key.contains('{') { format!("{key}}}") } else { key };
        assert_eq!(series[&full], count, "{full}");
        assert!(series.contains_key(&full.replacen("_count", "_sum", 1)));
    }
}

fn description(kind: ComponentKind, id: &str, r#type: &str) -> Description {
    Description {
        kind,
        id: id.to_owned(),
        r#type: r#type.to_owned(),
        inputs: Vec::new(),
        has_destination: true,
    }
}

const ID: &str = "a \"b\"\\\nc";

fn event() -> LogEvent {
    LogEvent::from_json(r#"{"timestamp":"2024-01-01T00:00:00Z"}"#.into()).unwrap()
}

/// Books in which everything has happened that is counted.
async fn eventful() -> (Books, impl Drop) {
    let books = Books::default();
    let components = [
        description(ComponentKind::Source, "nats", "nats"),
        description(ComponentKind::Transform, "remap", "remap"),
        description(ComponentKind::Sink, ID, "loki"),
    ];
    books.describe(components.to_vec(), None);
    books.set_memory_limit(Some(256 << 20));
    let source = books.source("nats");
    source.add_received(3, 30);
    source.status().working();
    books.transform("remap").add_received(3, 30);
    let counts = books.sink(ID);
    let settings = crate::topology::BufferSettings {
        capacity: Capacity::EventsWithin { events: 10, bytes: 1000 },
        when_full: WhenFull::Block,
        acknowledges: true,
    };
    let (sender, mut receiver) = buffer(settings, Arc::clone(&counts));
    sender.send(vec![event(), event(), event()]).await;
    sender.send(vec![event()]).await;
    let mut receipts = Receipts::new(Arc::clone(&counts));
    receiver.recv().await.unwrap().into_iter().for_each(|event| receipts.push(event));
    receipts.settle_range(0..1, &Outcome::Delivered);
    receipts.settle_range(0..1, &Outcome::unsent("no"));
    receipts.settle(&Outcome::Dropped(DropReason::Filtered));
    let meters = counts.meters();
    let http = meters.http();
    http.set_used();
    http.sending("POST");
    http.answered(200, Duration::from_millis(20));
    http.unanswered(super::ErrorKind::Timeout, Duration::from_secs(60));
    http.failed(super::Failure::Status(503));
    meters.add_sent_bytes(100);
    meters.adapted(2, 1, Duration::from_millis(20), Some(Duration::from_millis(20)));
    let held = meters.hold(10);
    struct Kept<T>(#[allow(dead_code, reason = "it is there to be dropped")] T);
    impl<T> Drop for Kept<T> {
        fn drop(&mut self) {}
    }
    (books, Kept((sender, receiver, held)))
}

#[tokio::test]
async fn the_page_is_the_table_and_what_prometheus_reads() {
    let (books, _kept) = eventful().await;
    let text = books.snapshot().to_prometheus();
    let series = parse(&text);
    let labels = r#"component_id="a \"b\"\\\nc",component_kind="sink",component_type="loki""#;
    for (name, more, expected) in [
        ("vector_component_received_events_total", "", 4.0),
        ("vector_component_received_event_bytes_total", "", 4.0 * 36.0),
        ("vector_component_sent_events_total", "", 1.0),
        ("vector_component_sent_event_bytes_total", "", 36.0),
        ("vector_component_sent_bytes_total", ",protocol=\"http\"", 100.0),
        ("vector_component_discarded_events_total", ",intentional=\"false\",reason=\"rejected\"", 1.0),
        ("vector_component_discarded_events_total", ",intentional=\"true\",reason=\"filtered\"", 1.0),
        (
            "vector_component_errors_total",
            ",error_type=\"request_failed\",stage=\"sending\",error_code=\"http_response_503\"",
            1.0,
        ),
        ("vector_component_errors_total", ",error_type=\"encoder_failed\",stage=\"processing\"", 1.0),
        ("vector_buffer_events", "", 1.0),
        ("vector_buffer_size_events", "", 1.0),
        ("vector_buffer_max_size_events", "", 10.0),
        ("vector_buffer_max_byte_size", "", 1000.0),
        ("vector_buffer_sent_events_total", "", 3.0),
        ("vector_http_client_requests_sent_total", ",method=\"POST\"", 1.0),
        ("vector_http_client_responses_total", ",status=\"200\"", 1.0),
        ("vector_http_client_errors_total", ",error_kind=\"timeout\"", 1.0),
        ("vector_http_client_rtt_seconds_count", "", 2.0),
        ("vector_http_client_rtt_seconds_bucket", ",le=\"0.025\"", 1.0),
        ("vector_http_client_response_rtt_seconds_count", ",status=\"2xx\"", 1.0),
        ("vector_adaptive_concurrency_limit_sum", "", 2.0),
        ("log_shipper_lag_seconds_count", "", 1.0),
        ("log_shipper_lag_seconds_bucket", ",le=\"3600\"", 0.0),
        ("log_shipper_lag_seconds_sum", "", 30.0 * 86400.0),
        ("log_shipper_held_batches", "", 1.0),
        ("log_shipper_held_events", "", 10.0),
        ("log_shipper_sink_up", "", 1.0),
    ] {
        let key = format!("{name}{{{labels}{more}}}");
        assert_eq!(series.get(&key), Some(&expected), "{key} in\n{text}");
    }
    let bytes = series[&format!("vector_buffer_byte_size{{{labels}}}")];
    assert_eq!(bytes, event().size() as f64);
    assert_eq!(series["log_shipper_memory_limit_bytes"], f64::from(256 << 20));
    assert_eq!(series["log_shipper_events_total{outcome=\"rejected\"}"], 1.0);
    // What Linux alone tells may be missing.
    let missing: Vec<_> = metric_families()
        .iter()
        .filter(|row| {
            !text.contains(&format!("# TYPE {} ", row.name)) && row.name != "log_shipper_memory_bytes"
        })
        .map(|row| row.name)
        .collect();
    assert!(missing.is_empty(), "nothing has these: {missing:?}");
}

#[tokio::test]
async fn the_order_is_always_the_same() {
    let (books, _kept) = eventful().await;
    let names = || -> Vec<String> {
        let text = books.snapshot().to_prometheus();
        text.lines().map(|line| line.rsplit_once(' ').unwrap().0.to_owned()).collect()
    };
    assert_eq!(names(), names());
}

#[test]
fn the_table_is_in_order() {
    let names: BTreeSet<_> = metric_families().iter().map(|row| row.name).collect();
    assert_eq!(names.len(), metric_families().len(), "a name comes twice");
    for Family { name, kind, help, origin, .. } in metric_families() {
        let prefix = if *origin == super::Origin::Vector { "vector_" } else { "log_shipper_" };
        assert!(name.starts_with(prefix), "{name}");
        assert_eq!(*kind == MetricKind::Counter, name.ends_with("_total"), "{name}");
        assert!(help.ends_with(['.', ')']) && !help.contains(['\n', '\\']), "{name}: {help}");
    }
}

/// Before anything has happened there is no time of a last event, and nobody is said to be down.
#[test]
fn what_is_not_known_is_not_said() {
    let books = Books::default();
    let components =
        [description(ComponentKind::Source, "nats", "nats"), description(ComponentKind::Sink, "out", "http")];
    books.describe(components.to_vec(), None);
    books.source("nats");
    books.sink("out");
    let text = books.snapshot().to_prometheus();
    parse(&text);
    for name in ["seconds_since_last_event", "sink_up", "last_delivery_seconds", "memory_limit_bytes"] {
        assert!(!text.contains(&format!("log_shipper_{name}")), "{name}\n{text}");
    }
    assert!(text.contains(
        "log_shipper_source_up{component_id=\"nats\",component_kind=\"source\",component_type=\"nats\"} 0"
    ));
    books.sink("out").status().failing("no", "");
    books.sink("out").meters().delivered(Timestamp::from_nanos(i64::MAX));
    let series = parse(&books.snapshot().to_prometheus());
    let labels = "{component_id=\"out\",component_kind=\"sink\",component_type=\"http\"}";
    assert_eq!(series[&format!("log_shipper_sink_up{labels}")], 0.0);
    assert_eq!(series[&format!("log_shipper_lag_seconds_sum{labels}")], 0.0, "an event of the future");
}

/// The page does not grow with events, errors, names or time.
#[test]
fn the_page_does_not_grow() {
    let books = Books::default();
    books.describe(vec![description(ComponentKind::Sink, "out", "http")], None);
    let counts = books.sink("out");
    counts.meters().http().set_used();
    let traffic = |rounds: u64| {
        for n in 0..rounds {
            counts.add_received(1);
            let mut receipts = Receipts::new(Arc::clone(&counts));
            let text = format!(r#"{{"fly":{{"app":{{"name":"app{n}","instance":"i{}"}}}}}}"#, n % 200);
            receipts.push(LogEvent::from_json(text.into()).unwrap());
            let http = counts.meters().http();
            http.sending(["POST", "PUT", "M-SEARCH"][(n % 3) as usize]);
            let status = [200, 401, 503, 599, 700, 0][(n % 6) as usize];
            http.answered(status, Duration::from_millis(n));
            http.failed(super::Failure::Status(503));
            counts.status().failing(format!("error {n}"), "");
            receipts.settle(&match n % 2 {
                0 => Outcome::Delivered,
                _ => Outcome::unsent(format!("reason {n}")),
            });
        }
    };
    let lines = || books.snapshot().to_prometheus().lines().count();
    traffic(100);
    let before = lines();
    traffic(10_000);
    assert_eq!(lines(), before);
    parse(&books.snapshot().to_prometheus());
}

/// A thousand components come and go: their books are bounded, and what they add to the totals stays.
#[test]
fn what_was_removed_long_ago_is_only_in_the_totals() {
    let books = Books::default();
    let mut lines = Vec::new();
    for n in 0..1000 {
        let id = format!("sink{n}");
        books.describe(vec![description(ComponentKind::Sink, &id, "http")], None);
        let counts = books.sink(&id);
        counts.add_received(2);
        let outcome = if n % 2 == 0 { Outcome::Delivered } else { Outcome::Dropped(DropReason::Unanswered) };
        counts.settle_events(vec![event(), event()], &outcome);
        let report = books.snapshot();
        assert_eq!(report.totals().events.received, 2 * (n + 1), "it never goes down");
        assert_eq!(report.totals().lost, 2 * n.div_ceil(2), "{n}");
        if n % 100 == 99 {
            lines.push(report.to_prometheus().lines().count());
        }
    }
    assert!(lines[2..].iter().all(|count| *count == lines[2]), "{lines:?}");
    // What one of them still has is not forgotten.
    let busy = books.sink("sink998");
    busy.add_received(1);
    for n in 1000..1300 {
        books.describe(vec![description(ComponentKind::Sink, &format!("sink{n}"), "http")], None);
        books.sink(&format!("sink{n}"));
    }
    let report = books.snapshot();
    assert_eq!(report.totals().events.buffered, 1);
    assert!(report.sinks.iter().any(|(id, _)| id == "sink998"));
}

/// Why the sink itself refuses an event may quote that: a path that was rendered from it, a value.
#[test]
fn what_an_event_says_is_no_part_of_what_is_told_of_its_sink() {
    let books = Books::default();
    let counts = books.sink("out");
    let event = LogEvent::from_json("{}".into()).unwrap();
    counts.settle_events(vec![event], &Outcome::unsent("cannot write to /var/log/alice@example.com.log"));
    let trouble = counts.status().snapshot().trouble.unwrap();
    assert_eq!(trouble.text, "events cannot be sent as they are");
    assert_eq!(trouble.answer.as_deref(), Some("cannot write to /var/log/alice@example.com.log"));
}
