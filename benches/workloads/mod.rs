//! The steps of an event's way, each as a piece of work that can be repeated: what `micro` times, and
//! what `instructions` counts.

use bytes::Bytes;
use log_shipper::config::{TransformConfig, TransformContext};
use log_shipper::event::{LogEvent, Lookup, Path, Timestamp, json};
use log_shipper::nats::{SubjectFilter, protocol};
use log_shipper::sinks::codec::Framing;
use log_shipper::sinks::compression::{Algorithm, Compression};
use log_shipper::sinks::{
    AppSignal, AwsS3, Axiom, BatchLimits, Batcher, DatadogLogs, Elasticsearch, Honeycomb, Http, HttpOptions,
    HttpSink, HumioLogs, Loki, Mezmo, NewRelic, Partition, SematextLogs, Slack,
};
use log_shipper::template::Template;
use log_shipper::topology::{Outputs, SinkCounts};
use log_shipper::transforms::{FilterConfig, LogBodiesConfig, RemapConfig};
use serde::de::DeserializeOwned;
use std::hint::black_box;
use std::sync::{Arc, Mutex};

#[path = "../../tests/support/publisher.rs"]
#[allow(dead_code, reason = "only its events are used here")]
mod publisher;

/// How many events a piece of work is done on.
pub const EVENTS: usize = 1000;

/// A named piece of work on [`EVENTS`] events, 386 bytes each on average.
pub struct Workload {
    pub name: &'static str,
    pub run: Box<dyn Fn()>,
}

/// All of them, in the order of an event's way.
pub fn workloads() -> Vec<Workload> {
    let payloads: Vec<Bytes> = (0..EVENTS as u64).map(|n| publisher::fly_event(n).1.into()).collect();
    let received = Timestamp::now();
    let events: Vec<_> = payloads
        .iter()
        .map(|payload| LogEvent::from_json_at(payload.clone(), received).expect("an object"))
        .collect();
    let messages: Vec<_> = payloads.iter().map(|payload| LogEvent::from_message(payload, received)).collect();
    let body: Bytes = payloads.join(&b","[..]).into();
    let subjects: Vec<String> = (0..EVENTS as u64).map(|n| publisher::fly_event(n).0).collect();

    let labels = Lookup::new(LABELS.map(|path| Path::parse(path).expect("a path")));
    let template = Template::parse("{{ fly.app.name }}/{{ fly.region }}/%F").expect("a template");
    let filter = SubjectFilter::parse("logs.*.iad.>").expect("a filter");
    let gzip = |level| Compression { algorithm: Algorithm::Gzip, level };
    let zstd: Compression = Algorithm::Zstd.into();

    let texts = payloads.clone();
    let mut stream = Vec::new();
    for (subject, payload) in subjects.iter().zip(&payloads) {
        stream.extend_from_slice(format!("MSG {subject} 1 {}\r\n", payload.len()).as_bytes());
        stream.extend_from_slice(payload);
        stream.extend_from_slice(b"\r\n");
    }
    vec![
        work("parse_protocol", move || {
            let (mut at, mut count) = (0, 0);
            while let Some((_, length)) = protocol::parse(black_box(&stream[at..])).expect("the protocol") {
                at += length;
                count += 1;
            }
            assert_eq!(count, EVENTS);
        }),
        work("check_json", move || {
            for payload in &texts {
                let text = std::str::from_utf8(payload).expect("text");
                assert!(json::is_object(black_box(text)));
            }
        }),
        work("event_from_json", move || {
            for payload in &payloads {
                black_box(LogEvent::from_json_at(payload.clone(), received).expect("an object"));
            }
        }),
        work("match_subject", move || {
            let matching = subjects.iter().filter(|subject| filter.matches(black_box(subject))).count();
            assert!(matching > 0);
        }),
        on_each("look_up_six_fields_and_time", &events, move |event| {
            assert!(event.look_up(&labels).0.iter().all(Option::is_some));
        }),
        on_each("semantics", &events, |event| {
            let known = event.semantics();
            black_box((known.timestamp(), known.level(), known.app()));
        }),
        on_each("render_template", &events, move |event| {
            black_box(template.render(event).expect("every field"));
        }),
        // What the providers' configurations do, what everybody writes behind a `nats` source, and what costs a
        // tree of each event, for comparison.
        transform::<RemapConfig>("remap_copy", "source = '.level = .log.level'", &events),
        transform::<RemapConfig>(
            "remap_rename",
            "source = 'if exists(.timestamp) { .dt = del(.timestamp) }'",
            &events,
        ),
        transform::<RemapConfig>("remap_parse_json", "source = '. = parse_json!(.message)'", &messages),
        transform::<RemapConfig>("remap_whole", "source = '. = merge(., {\"a\": length(.)})'", &events),
        transform::<FilterConfig>("filter", "condition = '.log.level != \"trace\"'", &events),
        transform::<LogBodiesConfig>("log_bodies_level", "detect_level = true", &events),
        transform::<LogBodiesConfig>(
            "log_bodies_all",
            "detect_level = true\nstrip_ansi = true\nlog_parse = 'auto'\nredact = ['email', 'ipv4']",
            &events,
        ),
        encode::<AppSignal>("encode_appsignal", "push_api_key = \"k\"", &events),
        encode::<Axiom>("encode_axiom", "dataset = \"d\"\ntoken = \"t\"", &events),
        encode::<DatadogLogs>("encode_datadog_logs", "default_api_key = \"k\"", &events),
        encode::<Elasticsearch>(
            "encode_elasticsearch",
            "endpoints = \"http://localhost\"\nbulk.index = \"logs\"",
            &events,
        ),
        encode::<Honeycomb>("encode_honeycomb", "api_key = \"k\"\ndataset = \"d\"", &events),
        encode::<Http>("encode_http", "uri = \"http://localhost\"\nencoding.codec = \"json\"", &events),
        encode::<HumioLogs>(
            "encode_humio_logs",
            "token = \"t\"\nencoding.codec = \"json\"\nhost_key = \"fly.app.instance\"",
            &events,
        ),
        encode::<Loki>(
            "encode_loki",
            &format!(
                "endpoint = \"http://localhost\"\nencoding.codec = \"json\"\n[labels]\n{}",
                LABELS.map(|path| format!("{} = \"{{{{ {path} }}}}\"\n", path.replace('.', "_"))).concat()
            ),
            &events,
        ),
        encode::<Mezmo>("encode_mezmo", "api_key = \"k\"\nhostname = \"{{ fly.app.instance }}\"", &events),
        encode::<NewRelic>("encode_new_relic", "license_key = \"k\"", &events),
        encode::<SematextLogs>("encode_sematext_logs", "token = \"t\"", &events),
        on_each("slack_wants", &events, {
            let slack = "webhook_url = \"http://localhost\"\nkeywords = \"SIGTERM, /re(boot|start)/\"";
            let slack: Slack = toml::from_str(slack).expect("the sink's options");
            move |event| {
                black_box(slack.wants(event));
            }
        }),
        on_each("partition_aws_s3", &events, {
            let s3 = "bucket = \"logs\"\nkey_prefix = \"{{ fly.app.name }}/%F/\"\nencoding.codec = \"json\"";
            let s3: AwsS3 = toml::from_str(s3).expect("the sink's options");
            move |event| {
                black_box(s3.partition(event).expect("every field"));
            }
        }),
        batch(&events),
        compress("gzip", gzip(None), &body),
        compress("gzip_6", gzip(Some(6)), &body),
        compress("zstd", zstd, &body),
    ]
}

/// The labels of a careful Loki user.
const LABELS: [&str; 6] =
    ["event.provider", "fly.app.instance", "fly.app.name", "fly.region", "host", "log.level"];

fn work(name: &'static str, run: impl Fn() + 'static) -> Workload {
    Workload { name, run: Box::new(run) }
}

fn on_each(name: &'static str, events: &[LogEvent], run: impl Fn(&LogEvent) + 'static) -> Workload {
    let events = events.to_vec();
    work(name, move || events.iter().for_each(|event| run(black_box(event))))
}

fn encode<S: HttpSink>(name: &'static str, options: &str, events: &[LogEvent]) -> Workload {
    let mut sink: S = toml::from_str(options).expect("the sink's options");
    let mut kernel = HttpOptions { compression: Some(Algorithm::Gzip.into()), ..HttpOptions::default() };
    sink.configure(&mut kernel).expect("options that fit together");
    let events = events.to_vec();
    work(name, move || {
        // As in a batch: one body for all, of the size that the last one had.
        let mut body = Vec::with_capacity(EVENTS << 10);
        for event in &events {
            sink.encode(black_box(event), &mut body).expect("an event that can be encoded");
        }
        assert!(!black_box(body).is_empty());
    })
}

fn transform<T: TransformConfig + DeserializeOwned>(
    name: &'static str,
    options: &str,
    events: &[LogEvent],
) -> Workload {
    let config: T = toml::from_str(options).expect("the transform's options");
    let transform = config.build(&TransformContext::default()).expect("options that fit together");
    let transform = Mutex::new(transform);
    let events = events.to_vec();
    work(name, move || {
        let mut transform = transform.lock().expect("no other thread");
        let mut outputs = Outputs::new(0, Arc::default());
        for event in &events {
            transform.transform(black_box(event.clone()), &mut outputs);
        }
        assert_eq!(black_box(outputs.take().0).len(), EVENTS);
    })
}

fn batch(events: &[LogEvent]) -> Workload {
    let events = events.to_vec();
    work("batch", move || {
        let counts = Arc::new(SinkCounts::default());
        let limits = BatchLimits { max_bytes: 100_000, ..BatchLimits::DEFAULT };
        let mut batcher = Batcher::new(limits, Framing::JSON_ARRAY, counts);
        let mut ready = Vec::new();
        for event in &events {
            let encode = |event: &LogEvent, out: &mut Vec<u8>| {
                out.extend_from_slice(event.json().as_bytes());
                Ok(())
            };
            batcher.push(Partition::new(), event.clone(), encode, &mut ready).expect("an event that fits");
        }
        ready.extend(batcher.close_all());
        assert!(black_box(ready).len() > 1);
    })
}

fn compress(name: &'static str, compression: Compression, body: &Bytes) -> Workload {
    let body = body.clone();
    work(name, move || {
        assert!(compression.compress(black_box(body.clone())).expect("a body").len() < body.len() / 2);
    })
}
