//! Every sink through the public API, against destinations that answer as the test says.

mod support;

use async_trait::async_trait;
use futures::future::join_all;
use http::Method;
use log_shipper::config::{
    ComponentInfo, ComponentKind, Config, Registry, Result, Source, SourceConfig, SourceContext,
};
use log_shipper::env::Env;
use log_shipper::event::LogEvent;
use log_shipper::topology::{
    DropReason, Report, RunningTopology, SinkSnapshot, Topology, TopologyOptions, WhenFull,
};
use prost::Message;
use serde::Deserialize;
use serde_json::{Value, json};
use std::io::Read;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use support::http_server::{HttpServer, Reply, Request};
use tempfile::TempDir;
use tokio::time::timeout;

/// More than anything here takes on a busy machine.
const WITHIN: Duration = Duration::from_secs(30);

/// What `tests/golden/input.jsonl` holds was sent by Vector 0.58 too; the comments on the expected
/// requests below say where ours differ from its, and why.
const INPUT: &str = include_str!("golden/input.jsonl");

// === feeding sinks ===

/// A source of these events, chunk by chunk. It then stays until it is told to stop.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Scripted {
    chunks: Vec<Vec<String>>,
}

#[async_trait]
impl SourceConfig for Scripted {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let Scripted { chunks } = self.clone();
        Ok(Box::pin(async move {
            for chunk in chunks {
                let events = chunk.into_iter().map(|line| LogEvent::from_json(line.into()).unwrap());
                cx.output.send(events.collect()).await;
            }
            cx.shutdown.cancelled().await;
            Ok(())
        }))
    }
}

/// The configuration of these sinks, which take their events from `in`.
fn load(sinks: &str) -> Result<Config, String> {
    load_with(sinks, &Env::default())
}

fn load_with(sinks: &str, env: &Env) -> Result<Config, String> {
    let mut registry = Registry::builtin();
    registry.source::<Scripted>(ComponentInfo { name: "scripted", summary: "For tests.", example: "" });
    let text = format!("[sources.in]\ntype = 'scripted'\n{sinks}");
    Config::from_toml(&text, "test.toml", &registry, env).map_err(|error| error.to_string())
}

fn sink(id: &str, kind: &str, options: &str) -> String {
    format!("[sinks.{id}]\ninputs = ['in']\ntype = '{kind}'\n{options}\n")
}

/// A configuration that runs: without healthchecks, which would be requests that no test asked for.
#[track_caller]
fn scripted(sinks: &str, chunks: Vec<Vec<String>>) -> Config {
    let mut config = load(sinks).unwrap_or_else(|error| panic!("{error}\n{sinks}"));
    config.global.healthchecks.enabled = false;
    config.sources = vec![("in".to_owned(), Box::new(Scripted { chunks }))];
    config
}

/// Ships the events, one chunk, until every sink has answered for all of them, or `WITHIN` has passed
/// and the books show what was given up.
async fn ship(sinks: &str, lines: &[String]) -> Report {
    ship_chunks(sinks, vec![lines.to_vec()]).await
}

async fn ship_chunks(sinks: &str, chunks: Vec<Vec<String>>) -> Report {
    let config = scripted(sinks, chunks);
    start(config).await.stop(WITHIN).await
}

async fn start(config: Config) -> RunningTopology {
    let options = TopologyOptions::default();
    timeout(WITHIN, Topology::start(config, &options)).await.expect("in time").expect("a start")
}

#[track_caller]
fn books(report: &Report, id: &str) -> SinkSnapshot {
    let (_, books) = report.sinks.iter().find(|(other, _)| other == id).expect("the sink's books");
    let known = books.delivered + books.rejected + books.dropped_total() + books.buffered;
    assert_eq!(books.received, known, "{report}");
    assert_eq!(books.dropped_for(DropReason::Unanswered), 0, "{report}");
    *books
}

/// The books of the sink `out` are closed, and say this.
#[track_caller]
fn check_books(report: &Report, delivered: u64, rejected: u64, context: &str) {
    let books = books(report, "out");
    assert_eq!((books.delivered, books.rejected), (delivered, rejected), "{context}: {report}");
    assert_eq!((books.received, books.buffered), (delivered + rejected, 0), "{context}: {report}");
}

// === events ===

/// The event of this number, from this app.
fn line(n: u64, app: &str) -> String {
    let time = format!("2026-11-22T05:00:{:02}Z", n % 60);
    json!({"n": n, "fly": {"app": {"name": app}}, "message": format!("number {n}"), "timestamp": time})
        .to_string()
}

fn lines(count: u64) -> Vec<String> {
    (0..count).map(|n| line(n, "web")).collect()
}

/// The events in a request, in whatever form a sink sends them.
fn events(request: &Request) -> Vec<Value> {
    let parsed = |line: &str| serde_json::from_str(line).expect("a line of JSON");
    match request.header("content-type") {
        Some("application/x-protobuf") => {
            let push = push_request(request);
            let entries = push.streams.iter().flat_map(|stream| &stream.entries);
            entries.map(|entry| parsed(&entry.line)).collect()
        }
        Some("application/x-ndjson") => request.json_lines(),
        _ => match request.json() {
            Value::Array(events) => {
                events.into_iter().map(|event| event.get("data").cloned().unwrap_or(event)).collect()
            }
            push => {
                let streams = push["streams"].as_array().expect("streams").iter();
                let values = streams.flat_map(|stream| stream["values"].as_array().expect("values"));
                values.map(|value| parsed(value[1].as_str().expect("a line"))).collect()
            }
        },
    }
}

/// The numbers of a request's events.
fn numbers(request: &Request) -> Vec<u64> {
    events(request).iter().map(|event| event["n"].as_u64().expect("a number")).collect()
}

fn all_numbers(requests: &[Request]) -> Vec<Vec<u64>> {
    requests.iter().map(numbers).collect()
}

// Loki's messages, written anew from its push.proto: the sink's own could share a mistake with it.

#[derive(Clone, PartialEq, Message)]
struct PushRequest {
    #[prost(message, repeated, tag = "1")]
    streams: Vec<Stream>,
}

#[derive(Clone, PartialEq, Message)]
struct Stream {
    #[prost(string, tag = "1")]
    labels: String,
    #[prost(message, repeated, tag = "2")]
    entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Time>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    structured_metadata: Vec<LabelPair>,
}

#[derive(Clone, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

fn push_request(request: &Request) -> PushRequest {
    // Loki wants the block of snappy with or without a Content-Encoding.
    let body = snap::raw::Decoder::new().decompress_vec(&request.raw_body).expect("a block of snappy");
    PushRequest::decode(body.as_slice()).expect("a push request")
}

// === every sink ===

/// Every sink, and the secret that its example holds.
const SINKS: &[(&str, Option<&str>)] = &[
    ("axiom", Some("TOKEN")),
    ("blackhole", None),
    ("console", None),
    ("datadog_logs", Some("KEY")),
    ("file", None),
    ("honeycomb", Some("KEY")),
    ("http", Some("TOKEN")),
    ("loki", None),
    ("nats", None),
];

/// A sink over HTTP whose destination is at URL.
struct HttpRow {
    name: &'static str,
    kind: &'static str,
    options: &'static str,
}

const fn row(name: &'static str, kind: &'static str, options: &'static str) -> HttpRow {
    HttpRow { name, kind, options }
}

const HTTP_SINKS: &[HttpRow] = &[
    row("axiom", "axiom", "url = 'URL'\ntoken = 's3cr3t-axiom'\ndataset = 'DS'"),
    row("datadog_logs", "datadog_logs", "endpoint = 'URL'\ndefault_api_key = 's3cr3t-datadog'"),
    row("honeycomb", "honeycomb", "endpoint = 'URL'\napi_key = 's3cr3t-honeycomb'\ndataset = 'DS'"),
    row(
        "http",
        "http",
        "uri = 'URL/in'\nencoding.codec = 'json'\nauth = {strategy = 'bearer', token = 's3cr3t-http'}",
    ),
    row(
        "loki as JSON",
        "loki",
        "endpoint = 'URL'\nencoding.codec = 'json'\nlabels.app = '{{ fly.app.name }}'\ncompression = 'gzip'\nauth = {strategy = 'basic', user = 'u', password = 's3cr3t-loki'}",
    ),
    row(
        "loki as protobuf",
        "loki",
        "endpoint = 'URL'\nencoding.codec = 'json'\nlabels.app = '{{ fly.app.name }}'\nauth = {strategy = 'custom', value = 's3cr3t-loki'}",
    ),
];

const FAST: &str = "request.retry_initial_backoff_secs = 0.01\n";

impl HttpRow {
    fn toml(&self, server: &HttpServer, extra: &str) -> String {
        sink("out", self.kind, &format!("{FAST}{}\n{extra}", self.options.replace("URL", &server.url(""))))
    }
}

#[test]
fn every_sink_has_its_rows() {
    let infos = Registry::builtin().components(ComponentKind::Sink);
    let registered: Vec<_> = infos.iter().map(|info| info.name).collect();
    let rows: Vec<_> = SINKS.iter().map(|(name, _)| *name).collect();
    assert_eq!(registered, rows, "each sink needs a row in SINKS, and one over HTTP another in HTTP_SINKS");
    for name in registered {
        let is_http = HTTP_SINKS.iter().any(|row| row.kind == name);
        // Batches are what all HTTP sinks have, and no other.
        let has_batches = load(&sink("out", name, "batch.max_bytes = 0"))
            .is_err_and(|error| !error.contains("unknown field `batch`"));
        assert_eq!(is_http, has_batches, "{name} and its row in HTTP_SINKS");
    }
}

/// The files of `src/sinks` that are no destinations.
const KERNEL: &[&str] =
    &["auth", "batch", "codec", "compression", "delivery", "http_sink", "mod", "request", "verdict"];

#[test]
fn every_file_of_a_component_is_registered() {
    let registry = Registry::builtin();
    for (kind, others) in [
        (ComponentKind::Source, &["mod"][..]),
        (ComponentKind::Transform, &["mod"]),
        (ComponentKind::Sink, KERNEL),
    ] {
        let folder = format!("{}/src/{}", env!("CARGO_MANIFEST_DIR"), kind.plural());
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        files.retain(|file| !others.contains(&file.as_str()));
        files.sort();
        let registered: Vec<_> = registry.components(kind).iter().map(|info| info.name.to_owned()).collect();
        assert_eq!(registered, files, "{kind:?}");
    }
}

#[tokio::test]
async fn proxies_of_the_environment_and_of_the_sink_are_used() {
    let (proxy, other) = (HttpServer::start().await, HttpServer::start().await);
    let (url, other_url) = (proxy.url(""), other.url(""));
    for (variables, options, is_proxied) in [
        (vec![("http_proxy", url.as_str())], String::new(), true),
        (vec![("HTTP_PROXY", url.as_str())], String::new(), true),
        (vec![("http_proxy", other_url.as_str())], format!("proxy.http = '{url}'"), true),
        (vec![("http_proxy", url.as_str()), ("no_proxy", "127.0.0.1")], String::new(), false),
        (vec![("http_proxy", url.as_str())], "proxy.enabled = false".to_owned(), false),
    ] {
        let destination = HttpServer::start().await;
        let before = proxy.requests().len();
        let config = scripted(&http(&destination, &options), vec![lines(1)]);
        let options = TopologyOptions { env: Env::from_pairs(variables), ..TopologyOptions::default() };
        let mut running = Topology::start(config, &options).await.unwrap();
        check_books(&running.stop(WITHIN).await, 1, 0, "through the proxy or not");
        assert_eq!(proxy.requests().len() - before, usize::from(is_proxied));
        assert_eq!(destination.requests().len(), usize::from(!is_proxied));
        if is_proxied {
            let host = format!("127.0.0.1:{}", destination.port());
            assert_eq!(proxy.requests()[before].header("host"), Some(host.as_str()));
        }
    }
    assert!(other.requests().is_empty());
}

#[test]
fn every_example_loads_and_hides_its_secrets() {
    for (info, (_, secret)) in Registry::builtin().components(ComponentKind::Sink).iter().zip(SINKS) {
        let secrets = secret.map(|secret| (format!("\"{secret}\""), format!("s3cr3t-{}", info.name)));
        let example = match &secrets {
            None => info.example.to_owned(),
            Some((placeholder, secret)) => info.example.replace(placeholder, &format!("\"{secret}\"")),
        };
        assert_eq!(example.contains("s3cr3t"), secret.is_some(), "{example}");
        let config = load(&sink("out", info.name, &example)).unwrap_or_else(|error| panic!("{error}"));
        assert!(!format!("{config:?} {config:#?}").contains("s3cr3t"), "{config:?}");
    }
    for row in HTTP_SINKS {
        assert!(row.options.contains("s3cr3t"), "{}", row.name);
        // A header of the user's may be a key too, and a URI may have a password in it.
        let more = "request.headers.X-Key = 's3cr3t'\nproxy.http = 'http://user:s3cr3t@proxy:1'";
        let options = row.options.replace("URL", "http://127.0.0.1:1");
        let config = load(&sink("out", row.kind, &format!("{options}\n{more}"))).unwrap();
        assert!(!format!("{config:?} {config:#?}").contains("s3cr3t"), "{config:?}");
    }
}

/// What a destination does, how many events each request then has of a batch of four, and how many
/// are delivered.
type Case = (&'static str, fn(&HttpServer), &'static [usize], u64);

/// Four, in two, and each half in two.
const SPLIT: &[usize] = &[4, 2, 1, 1, 2, 1, 1];

const CASES: &[Case] = &[
    ("200", |_| {}, &[4], 4),
    ("202", |server| push(server, &[202]), &[4], 4),
    ("204", |server| push(server, &[204]), &[4], 4),
    ("400 is for good", |server| server.default_reply(Reply::status(400)), &[4], 0),
    ("401 holds", |server| push(server, &[401, 401]), &[4, 4, 4], 4),
    ("403 and 404 hold", |server| push(server, &[403, 404]), &[4, 4, 4], 4),
    ("301 holds, and is not followed", |server| server.push(redirect(server)), &[4, 4], 4),
    ("413 for more than one event", |server| server.respond_with(takes_one), SPLIT, 4),
    ("413 always", |server| server.default_reply(Reply::status(413)), SPLIT, 0),
    (RETRY_AFTER, |server| server.push(Reply::status(429).header("retry-after", "1")), &[4, 4], 4),
    ("408, 500 and 503 pass", |server| push(server, &[408, 500, 503]), &[4, 4, 4, 4], 4),
    (NO_ANSWER, |server| server.push(Reply::Never), &[4, 4], 4),
    ("the connection is reset", |server| server.push(Reply::Reset), &[4, 4], 4),
];

const RETRY_AFTER: &str = "429 with a Retry-After of a second";
const NO_ANSWER: &str = "no answer";

/// Queues answers of these statuses; 0 is a reset.
fn push(server: &HttpServer, statuses: &[u16]) {
    for status in statuses {
        server.push(if *status == 0 { Reply::Reset } else { Reply::status(*status) });
    }
}

fn redirect(server: &HttpServer) -> Reply {
    Reply::status(301).header("location", &server.url("/elsewhere"))
}

fn takes_one(request: &Request) -> Reply {
    Reply::status(if events(request).len() > 1 { 413 } else { 200 })
}

#[tokio::test]
async fn every_http_sink_does_what_the_answers_ask_for() {
    for case in CASES {
        // The sinks at the same time, because some of the cases take a second.
        join_all(HTTP_SINKS.iter().map(|row| check_case(row, case))).await;
    }
}

async fn check_case(row: &HttpRow, case: &Case) {
    let (name, script, expected_sizes, delivered) = *case;
    let context = format!("{}, {name}", row.name);
    let server = HttpServer::start().await;
    script(&server);
    // Only a case without an answer waits so long; the others shall not on a busy machine.
    let timeout_secs = if name == NO_ANSWER { 1 } else { 60 };
    let extra = format!("request.timeout_secs = {timeout_secs}");
    let report = ship(&row.toml(&server, &extra), &lines(4)).await;
    check_books(&report, delivered, 4 - delivered, &context);

    let requests = server.requests();
    let sizes: Vec<_> = requests.iter().map(|request| events(request).len()).collect();
    assert_eq!(sizes, expected_sizes, "{context}");
    assert_eq!(server.queued(), 0, "{context}");
    // The requests of single events after splits, or the last attempt: no event is left out or twice.
    let accepted: Vec<_> = match expected_sizes {
        SPLIT => requests.iter().map(numbers).filter(|numbers| numbers.len() == 1).flatten().collect(),
        _ => requests.last().map(numbers).unwrap_or_default(),
    };
    assert_eq!(accepted, [0, 1, 2, 3], "{context}");
    for request in &requests {
        assert_eq!(request.path_and_query, requests[0].path_and_query, "{context}");
    }
    if name == RETRY_AFTER {
        let pause = requests[1].at - requests[0].at;
        assert!(pause >= Duration::from_secs(1), "{context}: {pause:?}");
    }
}

#[tokio::test]
async fn a_destination_that_is_down_gets_everything_when_it_comes_up() {
    join_all(HTTP_SINKS.iter().map(|row| async move {
        let mut server = HttpServer::start().await;
        server.stop().await;
        let config = scripted(&row.toml(&server, ""), vec![lines(4)]);
        let mut running = start(config).await;
        server.start_again().await;
        check_books(&running.stop(WITHIN).await, 4, 0, row.name);
        assert_eq!(all_numbers(&server.requests()), [[0, 1, 2, 3]], "{}", row.name);
    }))
    .await;
}

#[tokio::test]
async fn healthchecks_tell_a_good_key_from_a_bad_one() {
    // Who, what is asked, the answers that are good, and those that are not.
    type Statuses = &'static [u16];
    let rows: [(&str, &str, &str, Statuses, Statuses); 6] = [
        ("axiom", "POST /v1/datasets/DS/ingest?timestamp-field=timestamp", "", &[200, 204], &[401, 403, 500]),
        ("datadog_logs", "GET /api/v1/validate", "", &[200], &[403, 500]),
        ("honeycomb", "POST /1/batch/DS", "", &[200, 400], &[401, 500]),
        ("http", "HEAD /health", "healthcheck.uri = 'URL/health'", &[200], &[204, 401, 404]),
        ("loki as JSON", "GET /ready", "", &[200, 404], &[401, 503]),
        ("loki as protobuf", "GET /ready", "", &[200, 404], &[401, 503]),
    ];
    let options = TopologyOptions { require_healthy: true, ..TopologyOptions::default() };
    for (row, (name, asked, extra, good, bad)) in HTTP_SINKS.iter().zip(rows) {
        assert_eq!(row.name, name);
        for status in good.iter().chain(bad) {
            let server = HttpServer::start().await;
            server.default_reply(Reply::status(*status).body("s3cr3t"));
            let extra = extra.replace("URL", &server.url(""));
            let mut config = scripted(&row.toml(&server, &extra), vec![]);
            config.global.healthchecks.enabled = true;
            let started = timeout(WITHIN, Topology::start(config, &options)).await.expect("in time");
            let requests = server.requests();
            assert_eq!(requests.len(), 1, "{name}");
            assert_eq!(format!("{} {}", requests[0].method, requests[0].path_and_query), asked, "{name}");
            // Basic authentication has it in base64.
            let is_key = |text: &str| text.contains("s3cr3t") || text.starts_with("Basic ");
            let shows_key = requests[0].headers.values().any(|value| value.to_str().is_ok_and(is_key));
            assert!(shows_key, "{name}: {:?}", requests[0].headers);
            match started {
                Ok(_) => assert!(good.contains(status), "{name}: {status} is no good sign"),
                Err(error) => {
                    let error = error.to_string();
                    assert!(bad.contains(status), "{name}, {status}: {error}");
                    assert!(error.contains("sinks.out: healthcheck failed"), "{name}: {error}");
                }
            }
        }
    }
}

#[tokio::test]
async fn a_healthcheck_that_nobody_requires_holds_nothing_up() {
    let row = &HTTP_SINKS[1];
    for (extra, asks) in [("", true), ("healthcheck = false", false)] {
        let server = HttpServer::start().await;
        server.respond_with(|request| Reply::status(if request.method == Method::GET { 403 } else { 200 }));
        let mut config = scripted(&row.toml(&server, extra), vec![lines(1)]);
        config.global.healthchecks.enabled = true;
        check_books(&start(config).await.stop(WITHIN).await, 1, 0, extra);
        let asked = server.requests().iter().any(|request| request.method == Method::GET);
        assert_eq!(asked, asks, "{extra}");
    }
}

// === one request of each, as it goes over the wire ===

fn input() -> Vec<Value> {
    INPUT.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
}

/// The one request that the five events of the input become; it goes to this path and has these
/// headers, or has not.
async fn golden(kind: &str, options: &str, path: &str, headers: &[(&str, Option<&str>)]) -> Request {
    let server = HttpServer::start().await;
    let lines: Vec<_> = INPUT.lines().map(str::to_owned).collect();
    let report = ship(&sink("out", kind, &options.replace("URL", &server.url(""))), &lines).await;
    check_books(&report, 5, 0, kind);
    let mut requests = server.requests();
    assert_eq!(requests.len(), 1, "{kind}");
    let request = requests.remove(0);
    assert_eq!((&request.method, request.path_and_query.as_str()), (&Method::POST, path), "{kind}");
    for (name, value) in headers {
        assert_eq!(request.header(name), *value, "{kind}: {name}");
    }
    assert!(request.header("user-agent").is_some_and(|agent| agent.starts_with("log-shipper/")), "{kind}");
    request
}

// In all of them `source_type = "stdin"` is absent: Vector's stdin source adds it, not a sink.

/// As Vector's, but for the parameter `timestamp-field`, without which Axiom takes the time of receipt
/// for an event's own, and for the top-level `level`, the only one that Axiom knows.
#[tokio::test]
async fn golden_axiom() {
    let headers = [
        ("content-type", Some("application/x-ndjson")),
        ("authorization", Some("Bearer TOKEN")),
        ("content-encoding", Some("gzip")),
        ("x-axiom-org-id", Some("ORG")),
    ];
    let options = "url = 'URL'\ntoken = 'TOKEN'\ndataset = 'DS'\norg_id = 'ORG'\ncompression = 'gzip'";
    let request =
        golden("axiom", options, "/v1/datasets/DS/ingest?timestamp-field=timestamp", &headers).await;
    let mut expected = input();
    for (event, level) in expected.iter_mut().zip(["info", "info", "info", "error"]) {
        event["level"] = level.into();
    }
    assert_eq!(request.json_lines(), expected);
}

/// Vector sends the members as they are, renames `host` and loses `timestamp`. Ours has the time in
/// the milliseconds that Datadog reads, and its reserved attributes.
#[tokio::test]
async fn golden_datadog_logs() {
    let headers = [
        ("content-type", Some("application/json")),
        ("dd-api-key", Some("KEY")),
        ("dd-evp-origin", Some("log-shipper")),
        ("content-encoding", Some("gzip")),
    ];
    let options = "endpoint = 'URL'\ndefault_api_key = 'KEY'\ncompression = 'gzip'";
    let request = golden("datadog_logs", options, "/api/v2/logs", &headers).await;
    let added = [
        (1_795_323_600_000_u64, Some("info"), "sandwich", "region:syd,app:sandwich,instance:b921527403e430"),
        (1_795_323_600_000, Some("info"), "salad-api", "region:ams,app:salad-api,instance:27bddfab1031d0"),
        (1_795_323_600_000, Some("info"), "sandwich", "region:syd,app:sandwich,instance:ee635e506bf2ef"),
        (1_795_323_600_999, Some("error"), "sandwich", "region:ord,app:sandwich,instance:e784079b449483"),
        (1_795_323_601_000, None, "sandwich", "region:ord,app:sandwich,instance:e784079b449483"),
    ];
    let mut expected = input();
    for (event, (millis, status, service, tags)) in expected.iter_mut().zip(added) {
        let event = event.as_object_mut().unwrap();
        let host = event.remove("host").unwrap();
        event.insert("hostname".into(), host);
        event.insert("timestamp".into(), millis.into());
        event.insert("service".into(), service.into());
        event.insert("ddsource".into(), "fly".into());
        event.insert("ddtags".into(), tags.into());
        event.extend(status.map(|status| ("status".to_owned(), status.into())));
    }
    assert_eq!(request.json(), Value::from(expected));
}

/// As Vector's, but for `time`, which is the event's and not that of sending, and for the
/// `Content-Type`, which Vector leaves out.
#[tokio::test]
async fn golden_honeycomb() {
    let headers = [
        ("content-type", Some("application/json")),
        ("x-honeycomb-team", Some("KEY")),
        ("content-encoding", Some("gzip")),
    ];
    let options = "endpoint = 'URL'\napi_key = 'KEY'\ndataset = 'DS'\ncompression = 'gzip'";
    let request = golden("honeycomb", options, "/1/batch/DS", &headers).await;
    let keys = "event.provider fly.app.instance fly.app.name fly.region host log.level message n";
    let flat = |event: &Value| {
        let field = |key: &str| event.pointer(&format!("/{}", key.replace('.', "/"))).cloned();
        Value::Object(keys.split(' ').filter_map(|key| Some((key.to_owned(), field(key)?))).collect())
    };
    let times = ["00.000000000", "00.000137000", "00.000274000", "00.999999999", "01.000000000"];
    let expected: Vec<_> = input()
        .iter()
        .zip(times)
        .map(|(event, time)| json!({"time": format!("2026-11-22T05:00:{time}Z"), "data": flat(event)}))
        .collect();
    assert_eq!(request.json(), Value::from(expected));
}

/// As Vector's, but that the members of an event keep their order, which Vector sorts.
#[tokio::test]
async fn golden_http() {
    let authorization = ("authorization", Some("Bearer TOKEN"));
    let options = "uri = 'URL/in'\nencoding.codec = 'json'\nauth = {strategy = 'bearer', token = 'TOKEN'}";
    let headers = [("content-type", Some("application/json")), authorization, ("content-encoding", None)];
    let request = golden("http", options, "/in", &headers).await;
    assert_eq!(request.text(), format!("[{}]", INPUT.trim_end().replace('\n', ",")));

    let options = "uri = 'URL/in'\nencoding.codec = 'json'\nframing.method = 'newline_delimited'\ncompression = 'gzip'\nrequest.headers = {'X-API-Key' = 'KEY'}";
    let headers = [
        ("content-type", Some("application/x-ndjson")),
        ("x-api-key", Some("KEY")),
        ("content-encoding", Some("gzip")),
    ];
    let request = golden("http", options, "/in", &headers).await;
    assert_eq!(request.text(), INPUT.trim_end(), "the last line has no end, as Vector's");

    let messages: String =
        input().iter().map(|event| format!("{}\n", event["message"].as_str().unwrap())).collect();
    let headers = [("content-type", Some("text/plain")), ("content-encoding", None)];
    let request = golden("http", "uri = 'URL/in'\nencoding.codec = 'text'", "/in", &headers).await;
    assert_eq!(request.text(), messages);

    let options = "uri = 'URL/in'\nencoding.codec = 'logfmt'\nframing.method = 'newline_delimited'";
    let request = golden("http", options, "/in", &[("content-type", None)]).await;
    assert_eq!(request.text(), LOGFMT);
}

const LOGFMT: &str = r#"event.provider=app fly.app.instance=b921527403e430 fly.app.name=sandwich fly.region=syd host=31e2 log.level=info message="Jun 17 04:09:45 combo su(pam_unix)[29190]: session closed for user news" timestamp=2026-11-22T05:00:00.000000000Z n=0
event.provider=app fly.app.instance=27bddfab1031d0 fly.app.name=salad-api fly.region=ams host=1332 log.level=info message="- 1131566525 2005.11.09 aadmin2 Nov 9 12:02:05 src@aadmin2 dhcpd: DHCPDISCOVER from 00:11:43:e3:ba:c3 via eth1: network A_net: no free leases" timestamp=2026-11-22T05:00:00.000137000Z n=1
event.provider=app fly.app.instance=ee635e506bf2ef fly.app.name=sandwich fly.region=syd host=1e84 log.level=info message="Jun 18 02:08:10 combo ftpd[31273]: connection from 82.252.162.81 (lns-vlq-45-tou-82-252-162-81.adsl.proxad.net) at Sat Jun 18 02:08:10 2005 " timestamp=2026-11-22T05:00:00.000274000Z n=2
event.provider=app fly.app.instance=e784079b449483 fly.app.name=sandwich fly.region=ord host=31e2 log.level=error message="{\"level\":\"error\",\"msg\":\"naïve café 日本語 🚀 \\\"quoted\\\"\",\"status\":500}" timestamp=2026-11-22T05:00:00.999999999Z n=3
event.provider=runner fly.app.instance=e784079b449483 fly.app.name=sandwich fly.region=ord host=31e2 message="no log.level here	with a tab" timestamp=2026-11-22T05:00:01Z n=4
"#;

const LOKI: &str = "endpoint = 'URL'\nencoding.codec = 'json'\nauth = {strategy = 'basic', user = 'USER', password = 'PASS'}\nlabels = {event_provider = '{{ event.provider }}', fly_region = '{{ fly.region }}', fly_app_name = '{{ fly.app.name }}', fly_app_instance = '{{ fly.app.instance }}', host = '{{ host }}', level = '{{ log.level }}'}";

/// Each event's labels by name, and its time in nanoseconds.
fn loki_streams() -> Vec<(Vec<(&'static str, String)>, u64)> {
    let names = ["event_provider", "fly_app_instance", "fly_app_name", "fly_region", "host", "level"];
    let paths =
        ["/event/provider", "/fly/app/instance", "/fly/app/name", "/fly/region", "/host", "/log/level"];
    let labels = |event: &Value| {
        let label = |(name, path)| Some((name, event.pointer(path)?.as_str()?.to_owned()));
        names.into_iter().zip(paths).filter_map(label).collect()
    };
    let times = [0, 137_000, 274_000, 999_999_999, 1_000_000_000];
    let start = 1_795_323_600_000_000_000;
    input().iter().zip(times).map(|(event, nanos)| (labels(event), start + nanos)).collect()
}

/// An event without its `timestamp`, which is the time of the entry.
fn loki_line(event: &Value) -> Value {
    let mut event = event.clone();
    event.as_object_mut().unwrap().remove("timestamp");
    event
}

/// As Vector's, but for the time of the entries, which is the events' own and not that of sending, and
/// the empty metadata of each, which says nothing and which old servers refuse.
#[tokio::test]
async fn golden_loki_as_json() {
    let headers = [
        ("content-type", Some("application/json")),
        ("authorization", Some("Basic VVNFUjpQQVNT")),
        ("content-encoding", None),
        ("x-scope-orgid", Some("TENANT")),
    ];
    let options = format!("{LOKI}\ncompression = 'none'\ntenant_id = 'TENANT'");
    let request = golden("loki", &options, "/loki/api/v1/push", &headers).await;
    let mut body = request.json();
    // The line is JSON in a string; whether its members are those of the event is what counts.
    for stream in body["streams"].as_array_mut().unwrap() {
        stream["values"][0][1] = serde_json::from_str(stream["values"][0][1].as_str().unwrap()).unwrap();
    }
    let streams = loki_streams().into_iter().zip(input());
    let expected: Vec<_> = streams
        .map(|((labels, nanos), event)| {
            let labels: Value = labels.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
            json!({"stream": labels, "values": [[nanos.to_string(), loki_line(&event)]]})
        })
        .collect();
    assert_eq!(body, json!({"streams": expected}));
}

#[tokio::test]
async fn loki_labels_and_lines_of_unusual_events() {
    let wildcard = "labels.'l_*' = '{{ labels }}'\nlabels.n = '{{ n }}'";
    let same = "labels.'{{ a }}' = '1'\nlabels.'{{ b }}' = '2'";
    // The options, the event, and its labels and line.
    let rows = [
        (wildcard, r#"{"n":1,"labels":{"a":"x","B":2}}"#, r#"{"l_a":"x","l_b":"2","n":"1"}"#, None),
        // A string that looks like an object, and is none.
        (wildcard, r#"{"n":1,"labels":"{\"a\""}"#, r#"{"n":"1"}"#, None),
        (wildcard, r#"{"n":1,"labels":"{\"é"}"#, r#"{"n":"1"}"#, None),
        (wildcard, r#"{"n":1,"labels":"{\"a\":3}"}"#, r#"{"l_a":"3","n":"1"}"#, None),
        (wildcard, r#"{"n":1,"labels":{"a":"1","a":"2"}}"#, r#"{"l_a":"2","n":"1"}"#, None),
        (same, r#"{"a":"x","b":"x"}"#, r#"{"x":"2"}"#, None),
        ("labels.a = '{{ a }}'", r#"{"a":"x\/y"}"#, r#"{"a":"x/y"}"#, Some(r#"{"a":"x\/y"}"#)),
        (
            "labels.a = '{{ a }}'\nremove_label_fields = true",
            r#"{"z":1, "timestamp":"2026-11-22T05:00:00Z","a":"x", "n":1.10}"#,
            r#"{"a":"x"}"#,
            Some(r#"{"z":1,"n":1.10}"#),
        ),
        (
            "labels.a = '{{ a }}'\nencoding.codec = 'logfmt'",
            r#"{"z":1,"timestamp":"2026-11-22T05:00:00Z","a":"x","n":18446744073709551616}"#,
            r#"{"a":"x"}"#,
            Some("z=1 a=x n=18446744073709551616"),
        ),
    ];
    for (options, event, labels, line) in rows {
        let codec = if options.contains("codec") { "" } else { "encoding.codec = 'json'\n" };
        let server = HttpServer::start().await;
        let sink = format!(
            "[sinks.out]\ntype = 'loki'\ninputs = ['in']\nendpoint = '{}'\ncompression = 'none'\nbatch.timeout_secs = 0.05\n{codec}{options}",
            server.url("")
        );
        check_books(&ship(&sink, &[event.to_owned()]).await, 1, 0, event);
        let body = server.requests()[0].json();
        assert_eq!(body["streams"][0]["stream"], serde_json::from_str::<Value>(labels).unwrap(), "{event}");
        if let Some(line) = line {
            assert_eq!(body["streams"][0]["values"][0][1], line, "{event}");
        }
    }
}

/// Vector sends the same messages; the capture is of its JSON, whose labels and lines these are.
#[tokio::test]
async fn golden_loki_as_protobuf() {
    let headers = [
        ("content-type", Some("application/x-protobuf")),
        ("authorization", Some("Basic VVNFUjpQQVNT")),
        ("content-encoding", Some("snappy")),
        ("x-scope-orgid", None),
    ];
    let options = format!("{LOKI}\nstructured_metadata.trace = '{{{{ n }}}}'");
    let push = push_request(&golden("loki", &options, "/loki/api/v1/push", &headers).await);
    assert_eq!(push.streams.len(), 5);
    for ((stream, (labels, nanos)), event) in push.streams.iter().zip(loki_streams()).zip(input()) {
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
        assert_eq!(stream.labels, format!("{{{}}}", labels.join(", ")));
        let entry = &stream.entries[0];
        assert_eq!(serde_json::from_str::<Value>(&entry.line).unwrap(), loki_line(&event));
        let time = entry.timestamp.as_ref().unwrap();
        assert_eq!(u64::try_from(time.seconds * 1_000_000_000 + i64::from(time.nanos)).unwrap(), nanos);
        let pair = LabelPair { name: "trace".into(), value: event["n"].to_string() };
        assert_eq!((stream.entries.len(), &entry.structured_metadata), (1, &vec![pair]));
    }
}

// === answers that take a part ===

#[tokio::test]
async fn partial_answers_resend_and_reject_what_they_name() {
    let honeycomb =
        r#"[{"status":202},{"status":400,"error":"bad"},{"status":429},{"status":202},{"status":500}]"#;
    // The sink, the first answer, the events that are sent again, and how many are rejected.
    let rows: [(&str, u16, &str, &[u64], u64); 9] = [
        ("honeycomb", 200, honeycomb, &[2, 4], 1),
        ("honeycomb", 200, r#"[{"status":202}]"#, &[], 0),
        ("axiom", 200, r#"{"ingested":3,"failed":2,"failures":[{"error":"x"}]}"#, &[], 2),
        ("axiom", 200, r#"{"ingested":0,"failed":99}"#, &[], 5),
        ("loki as JSON", 400, "2 errors like: entry too far behind", &[], 2),
        ("loki as JSON", 400, "entry for stream '{}' has timestamp too old", &[], 1),
        ("loki as JSON", 400, "unexpected end of JSON input", &[], 5),
        ("loki as protobuf", 400, "2 errors like: entry too far behind", &[], 2),
        ("loki as protobuf", 260, "blocked", &[], 5),
    ];
    for (name, status, answer, resent, rejected) in rows {
        let row = HTTP_SINKS.iter().find(|row| row.name == name).expect("a row");
        let server = HttpServer::start().await;
        server.push(Reply::status(status).body(answer));
        let report = ship(&row.toml(&server, ""), &lines(5)).await;
        check_books(&report, 5 - rejected, rejected, answer);
        let sent: Vec<_> = [&[0, 1, 2, 3, 4], resent].into_iter().filter(|sent| !sent.is_empty()).collect();
        assert_eq!(all_numbers(&server.requests()), sent, "{name}: {answer}");
    }
}

// === options ===

/// An `http` sink to this server that sends JSON to `/in`, unless the options say otherwise.
fn http(server: &HttpServer, options: &str) -> String {
    let mut all = format!("{FAST}{options}");
    for (option, default) in [("uri = ", "'URL/in'"), ("encoding.codec = ", "'json'")] {
        if !options.contains(option) {
            all.push_str(&format!("\n{option}{default}"));
        }
    }
    sink("out", "http", &all.replace("URL", &server.url("")))
}

/// The requests of an `http` sink that delivers all these events.
async fn http_requests(options: &str, lines: &[String]) -> Vec<Request> {
    let server = HttpServer::start().await;
    let report = ship(&http(&server, options), lines).await;
    check_books(&report, lines.len() as u64, 0, options);
    server.requests()
}

#[tokio::test]
async fn every_compression_is_undone() {
    // Large bodies are compressed in threads of their own.
    for count in [50, 2_000] {
        every_compression_of(&lines(count)).await;
    }
}

async fn every_compression_of(lines: &[String]) {
    let plain = format!("[{}]", lines.join(","));
    for (compression, encoding) in [
        ("'none'", None),
        ("'gzip'", Some("gzip")),
        ("{algorithm = 'gzip', level = 9}", Some("gzip")),
        ("'zlib'", Some("deflate")),
        ("'zstd'", Some("zstd")),
        ("{algorithm = 'zstd', level = 'best'}", Some("zstd")),
        ("'snappy'", Some("snappy")),
    ] {
        let requests = http_requests(&format!("compression = {compression}"), lines).await;
        assert_eq!(requests[0].header("content-encoding"), encoding, "{compression}");
        assert_eq!(requests[0].text(), plain, "{compression}");
        assert_eq!(requests[0].raw_body.len() < plain.len() / 2, encoding.is_some(), "{compression}");
    }
}

#[tokio::test]
async fn batches_are_as_large_as_allowed_and_no_larger() {
    let requests = http_requests("batch.max_events = 2\nrequest.concurrency = 1", &lines(5)).await;
    assert_eq!(all_numbers(&requests), [vec![0, 1], vec![2, 3], vec![4]]);

    let max = 500;
    let long = |n: usize| format!("{{\"n\":{n},\"message\":\"{}\"}}", "é\\n".repeat(n * 37 % 61));
    let mut lines: Vec<_> = (0..60).map(long).collect();
    // The one in the middle is larger than a batch, and is sent alone.
    lines[30] = format!("{{\"n\":30,\"message\":\"{}\"}}", "x".repeat(max));
    for (options, overhead) in [
        ("", 2),
        ("framing.method = 'newline_delimited'", 0),
        ("payload_prefix = '{\"logs\":'\npayload_suffix = '}'", 11),
    ] {
        let options = format!("{options}\nbatch.max_bytes = {max}\nrequest.concurrency = 1");
        let mut sent = 0;
        for request in http_requests(&options, &lines).await {
            let text = request.text();
            let own: Vec<_> = lines[sent..].iter().take_while(|line| text.contains(*line)).collect();
            sent += own.len();
            // Between two of them stands a comma or a line break.
            let length = own.iter().map(|line| line.len() + 1).sum::<usize>() - 1 + overhead;
            assert_eq!(text.len(), length, "{options}");
            assert!(length <= max || own.len() == 1, "{options}: {length}");
            if let Some(next) = lines.get(sent) {
                assert!(length + 1 + next.len() > max, "{options}: there was room for the next");
            }
        }
        assert_eq!(sent, lines.len(), "{options}");
    }
}

#[tokio::test]
async fn a_batch_is_sent_when_its_time_has_come_or_its_source_ends() {
    for (seconds, least) in [(0.3, Duration::from_millis(300)), (3600.0, Duration::ZERO)] {
        let server = HttpServer::start().await;
        let began = Instant::now();
        let toml = http(&server, &format!("batch.timeout_secs = {seconds:?}"));
        let mut running = start(scripted(&toml, vec![lines(3)])).await;
        if !least.is_zero() {
            server.wait_for(1).await;
        }
        check_books(&running.stop(WITHIN).await, 3, 0, &toml);
        let requests = server.requests();
        assert_eq!(all_numbers(&requests), [[0, 1, 2]]);
        assert!(requests[0].at - began >= least, "{:?}", requests[0].at - began);
    }
}

#[tokio::test]
async fn headers_and_uris_may_differ_from_event_to_event() {
    let mut events: Vec<_> = ["a", "b", "a", "b"].into_iter().zip(0..).map(|(app, n)| line(n, app)).collect();
    events.push(r#"{"n":4}"#.to_owned());
    let days = ["/in%20/a?day=2026-11-22", "/in%20/b?day=2026-11-22"];
    for (options, expected) in [
        ("request.headers = {X-Key = 'K 1', X-App = '{{ fly.app.name }}'}", ["/in a", "/in b"]),
        ("headers.X-Key = 'K 1'\nheaders.X-App = '{{ fly.app.name }}'", ["/in a", "/in b"]),
        ("uri = 'URL/in%20/{{ fly.app.name }}?day=%F'\nrequest.headers.X-Key = 'K 1'", days),
    ] {
        let server = HttpServer::start().await;
        let report = ship(&http(&server, options), &events).await;
        check_books(&report, 4, 1, "the one without an app cannot be sent anywhere");
        let describe = |request: &Request| {
            assert_eq!(request.header("x-key"), Some("K 1"), "{options}");
            let to = format!("{} {}", request.path_and_query, request.header("x-app").unwrap_or_default());
            (to.trim_end().to_owned(), numbers(request))
        };
        let mut sent: Vec<_> = server.requests().iter().map(describe).collect();
        // Batches of different partitions have no order.
        sent.sort();
        let [a, b] = expected.map(str::to_owned);
        assert_eq!(sent, [(a, vec![0, 2]), (b, vec![1, 3])], "{options}");
    }
}

#[tokio::test]
async fn what_an_event_brings_into_a_uri_stays_one_part_of_a_segment() {
    for (app, path) in [
        ("a/../../admin", "/in/a%2F..%2F..%2Fadmin/x"),
        ("a?x=1", "/in/a%3Fx%3D1/x"),
        ("a#b", "/in/a%23b/x"),
        ("a b", "/in/a%20b/x"),
    ] {
        let requests = http_requests("uri = 'URL/in/{{ fly.app.name }}/x'", &[line(0, app)]).await;
        assert_eq!(requests[0].path_and_query, path);
    }
    let server = HttpServer::start().await;
    let report = ship(&http(&server, "uri = 'URL/in/{{ fly.app.name }}/x'"), &[line(0, "..")]).await;
    check_books(&report, 0, 1, "two dots lead upwards, however they are written");
}

#[tokio::test]
async fn a_key_in_a_header_is_no_template() {
    for key in ["a%Yb", "ab%zz", "a{{n}}b", "100%%", "\\%Y"] {
        let server = HttpServer::start().await;
        let sink = http(&server, "request.headers.X-API-Key = 'K ${KEY}'");
        let mut config = load_with(&sink, &Env::from_pairs([("KEY", key)])).unwrap();
        config.sources = vec![("in".to_owned(), Box::new(Scripted { chunks: vec![lines(1)] }))];
        start(config).await.stop(WITHIN).await;
        assert_eq!(server.requests()[0].header("x-api-key"), Some(format!("K {key}").as_str()));
    }
}

#[tokio::test]
async fn a_body_of_many_loki_streams_is_within_the_limit() {
    for compression in ["none", "snappy"] {
        let server = HttpServer::start().await;
        let options = format!(
            "endpoint = '{}'\nencoding.codec = 'json'\nlabels.n = '{{{{ n }}}}'\ncompression = '{compression}'\n\
             batch.max_bytes = 3000\nhealthcheck = false",
            server.url("")
        );
        let report = ship(&sink("out", "loki", &options), &lines(100)).await;
        check_books(&report, 100, 0, compression);
        let bodies: Vec<_> = server.requests().iter().map(|request| request.body().len()).collect();
        assert!(bodies.len() > 3 && bodies.iter().all(|size| *size <= 3000), "{compression}: {bodies:?}");
    }
}

#[tokio::test]
async fn too_large_is_split_whatever_the_retry_strategy() {
    for strategy in ["{type = 'all'}", "{type = 'none'}", "{type = 'custom', status_codes = [503]}"] {
        let server = HttpServer::start().await;
        server.respond_with(takes_one);
        let report = ship(&http(&server, &format!("retry_strategy = {strategy}")), &lines(4)).await;
        check_books(&report, 4, 0, strategy);
    }
}

#[tokio::test]
async fn every_strategy_of_authentication() {
    for (options, expected) in [
        ("", None),
        ("auth = {strategy = 'basic', user = 'USER', password = 'PASS'}", Some("Basic VVNFUjpQQVNT")),
        // Of two dollar signs one is left, because one alone would begin a reference.
        ("auth = {strategy = 'bearer', token = 'T$$1'}", Some("Bearer T$1")),
        ("auth = {strategy = 'custom', value = 'Token x'}", Some("Token x")),
        ("request.headers.authorization = 'Own x'", Some("Own x")),
    ] {
        let requests = http_requests(options, &lines(1)).await;
        assert_eq!(requests[0].header("authorization"), expected, "{options}");
    }
    let server = HttpServer::start().await;
    let uri = format!("uri = 'http://USER:PASS@127.0.0.1:{}/in'", server.port());
    check_books(&ship(&http(&server, &uri), &lines(1)).await, 1, 0, &uri);
    assert_eq!(server.requests()[0].header("authorization"), Some("Basic VVNFUjpQQVNT"));
}

#[tokio::test]
async fn what_of_an_event_is_sent_and_how() {
    let line =
        r#"{"a":{"b":1,"c":2},"d":"x y","message":"m","timestamp":"2026-11-22T05:00:00.5Z"}"#.to_owned();
    let whole = serde_json::from_str::<Value>(&line).unwrap();
    for (options, expected) in [
        ("", json!([whole])),
        ("encoding.only_fields = ['a.b', 'message']", json!([{"a": {"b": 1}, "message": "m"}])),
        ("encoding.except_fields = ['a', 'message', 'timestamp']\nmethod = 'put'", json!([{"d": "x y"}])),
        (
            "encoding.only_fields = ['timestamp']\nencoding.timestamp_format = 'unix_ms'",
            json!([{"timestamp": 1_795_323_600_500_u64}]),
        ),
        (
            "payload_prefix = '{\"logs\":'\npayload_suffix = ',\"k\":1}'\nencoding.only_fields = ['d']",
            json!({"logs": [{"d": "x y"}], "k": 1}),
        ),
    ] {
        let requests = http_requests(options, std::slice::from_ref(&line)).await;
        assert_eq!(requests[0].json(), expected, "{options}");
        assert_eq!(requests[0].method == Method::PUT, options.contains("put"), "{options}");
    }
    for (framing, expected) in [
        ("method = 'bytes'", "mm"),
        ("method = 'character_delimited', character_delimited.delimiter = '|'", "m|m"),
    ] {
        let options = format!("encoding.codec = 'text'\nframing = {{{framing}}}");
        let requests = http_requests(&options, &[line.clone(), line.clone()]).await;
        assert_eq!(requests[0].text(), expected, "{framing}");
    }
}

#[tokio::test]
async fn as_many_requests_at_once_as_allowed() {
    for (concurrency, expected) in
        [("1", [[0], [0], [1], [2]]), ("'none'", [[0], [0], [1], [2]]), ("3", [[0], [1], [2], [0]])]
    {
        let server = HttpServer::start().await;
        // The first event's request gets no answer: the others wait behind it, or go on beside it.
        let never = AtomicBool::new(true);
        server.respond_with(move |request| match numbers(request) == [0] {
            true if never.swap(false, Ordering::Relaxed) => Reply::Never,
            _ => Reply::status(200),
        });
        let options =
            format!("request.concurrency = {concurrency}\nrequest.timeout_secs = 1\nbatch.max_events = 1");
        check_books(&ship(&http(&server, &options), &lines(3)).await, 3, 0, concurrency);
        let mut sent = all_numbers(&server.requests());
        if concurrency == "3" {
            // Those under way at once arrive in any order.
            sent[..3].sort();
        }
        assert_eq!(sent, expected, "{concurrency}");
    }
}

#[tokio::test]
async fn no_more_bytes_at_once_than_memory_has_room_for() {
    let server = HttpServer::start().await;
    server.default_reply(Reply::Never);
    let megabyte = format!(r#"{{"message":"{}"}}"#, "x".repeat(1 << 20));
    let options = "request.concurrency = 100\nbatch.max_events = 1";
    let mut running = start(scripted(&http(&server, options), vec![vec![megabyte; 60]])).await;
    server.wait_for(16).await;
    let report = running.stop(Duration::from_millis(300)).await;
    assert_eq!(server.requests().len(), 16, "16 MiB, and not one more");
    assert_eq!(books(&report, "out").dropped_for(DropReason::Shutdown), 60);
}

#[tokio::test]
async fn no_more_requests_than_the_rate_limit() {
    let options = "request.rate_limit_num = 2\nrequest.rate_limit_duration_secs = 0.3\nbatch.max_events = 1";
    let began = Instant::now();
    let requests = http_requests(options, &lines(5)).await;
    assert_eq!(requests.len(), 5);
    for (request, least) in requests.iter().zip([0, 0, 300, 300, 600]) {
        assert!(request.at - began >= Duration::from_millis(least), "{:?}", request.at - began);
    }
}

#[tokio::test]
async fn retries_follow_the_options() {
    let none = "retry_strategy.type = 'none'";
    let custom = "retry_strategy = {type = 'custom', status_codes = [418]}";
    // The options, the statuses (0 is a reset), and how many of the two events are rejected.
    let rows: [(&str, &[u16], u64); 11] = [
        ("request.retry_attempts = 2", &[500, 500, 500], 2),
        ("request.retry_attempts = 2", &[500, 0, 200], 0),
        ("request.retry_attempts = 0", &[503], 2),
        // A key is mended by a person, who may take his time.
        ("request.retry_attempts = 1", &[401, 401, 401, 200], 0),
        (none, &[500], 2),
        (none, &[401], 2),
        (none, &[0], 2),
        ("retry_strategy.type = 'all'", &[400, 501, 418, 200], 0),
        (custom, &[418, 200], 0),
        (custom, &[503], 2),
        ("retry_strategy.type = 'default'", &[500, 418], 2),
    ];
    for (options, statuses, rejected) in rows {
        let server = HttpServer::start().await;
        push(&server, statuses);
        let report = ship(&http(&server, options), &lines(2)).await;
        check_books(&report, 2 - rejected, rejected, options);
        assert_eq!(server.requests().len(), statuses.len(), "{options}");
    }
}

#[tokio::test]
async fn options_that_cannot_work_are_refused() {
    for (name, options, words) in [
        ("http", "tls.ca_file = '/nowhere/ca.pem'", "tls.ca_file: cannot read /nowhere/ca.pem"),
        ("loki as JSON", "tls.ca_file = '-----BEGIN NOTHING'", "tls.ca_file: no certificate"),
        ("http", "tls.crt_file = 'x'", "set tls.key_file as well"),
        ("loki as protobuf", "compression = 'zstd'", "compression: Loki does not read zlib or zstd"),
        ("loki as protobuf", "compression = 'zlib'", "compression: Loki does not read zlib or zstd"),
        ("loki as protobuf", "labels.'a-b' = 'x'", "`a-b` is not a label's name"),
        ("datadog_logs", "batch.max_events = 1001", "batch.max_events: 1001 is more"),
        ("datadog_logs", "batch.max_bytes = 5_000_001", "at most 5000000"),
        ("axiom", "batch.max_events = 10_001", "at most 10000"),
        ("axiom", "region = 'eu'", "url and region exclude each other"),
        ("honeycomb", "batch.max_bytes = 5_000_001", "at most 5000000"),
        ("http", "batch.timeout_secs = 0", "more than zero"),
        ("http", "request.concurrency = 0", "at least 1"),
        ("http", "request.headers.'a b' = 'x'", "`a b` is not the name of a header"),
        ("http", "request.headers.Authorization = 'x'", "auth: request.headers has an Authorization"),
        ("http", "compression = 'brotli'", "none, gzip, zlib, zstd, snappy"),
        ("http", "payload_prefix = '{'", "must be JSON"),
        ("http", "retry_strategy.type = 'some'", "unknown variant `some`"),
        ("http", "buffer = {max_events = 1, max_size = 1}", "max_events and max_size exclude each other"),
        ("honeycomb", "nonsense = 1", "unknown field `nonsense`"),
    ] {
        let row = HTTP_SINKS.iter().find(|row| row.name == name).expect("a row");
        let toml = sink("out", row.kind, &format!("{}\n{options}", row.options.replace("URL", "http://h")));
        let error = match load(&toml) {
            Err(error) => error,
            Ok(config) => {
                Topology::build(config, &TopologyOptions::default()).await.expect_err(options).to_string()
            }
        };
        assert!(error.contains(words) && error.contains("sinks.out"), "{name}, {options}: {error}");
        assert!(!error.contains("s3cr3t"), "{name}, {options}: {error}");
    }
}

// === sinks that are not HTTP ===

#[tokio::test]
async fn blackhole_counts_what_it_takes() {
    check_books(&ship(&sink("out", "blackhole", ""), &lines(5)).await, 5, 0, "");
}

#[tokio::test]
async fn file_writes_by_app_and_by_the_events_own_day() {
    let directory = TempDir::new().unwrap();
    let root = directory.path().display();
    let path = format!("path = '{root}/{{{{ fly.app.name }}}}/%F.log'\nencoding.codec = 'json'");
    let other_day = line(2, "a").replace("2026-11-22", "2026-11-23");
    let chunks = vec![
        vec![line(0, "a"), line(1, "b"), other_day.clone()],
        vec![line(3, "a"), line(4, "../climbs"), r#"{"n":5}"#.to_owned()],
    ];
    let report = ship_chunks(&sink("out", "file", &path), chunks).await;
    check_books(&report, 4, 2, "one would climb out, and one has no app");
    let read = |name: &str| std::fs::read_to_string(directory.path().join(name)).expect(name);
    assert_eq!(read("a/2026-11-22.log"), format!("{}\n{}\n", line(0, "a"), line(3, "a")));
    assert_eq!(read("b/2026-11-22.log"), format!("{}\n", line(1, "b")));
    assert_eq!(read("a/2026-11-23.log"), format!("{other_day}\n"));
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 2, "nothing else is there");
}

#[tokio::test]
async fn file_appends_compressed_members_that_read_as_one() {
    let directory = TempDir::new().unwrap();
    for compression in ["gzip", "zstd"] {
        let file = directory.path().join(compression);
        let path = file.display();
        let options = format!("path = '{path}'\nencoding.codec = 'text'\ncompression = '{compression}'");
        for _ in 0..2 {
            let chunks = lines(3).chunks(2).map(<[String]>::to_vec).collect();
            check_books(&ship_chunks(&sink("out", "file", &options), chunks).await, 3, 0, compression);
        }
        let packed = std::fs::read(&file).unwrap();
        let mut text = String::new();
        match compression {
            "gzip" => flate2::read::MultiGzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap(),
            _ => zstd::stream::read::Decoder::new(&packed[..]).unwrap().read_to_string(&mut text).unwrap(),
        };
        assert_eq!(text, "number 0\nnumber 1\nnumber 2\n".repeat(2), "{compression}");
    }
    for compression in ["zlib", "snappy"] {
        let options = format!("path = 'x'\nencoding.codec = 'text'\ncompression = '{compression}'");
        let config = load(&sink("out", "file", &options)).unwrap();
        let error = Topology::build(config, &TopologyOptions::default()).await.unwrap_err().to_string();
        assert!(error.contains("none, gzip or zstd"), "{error}");
    }
}

// === several sinks ===

#[tokio::test]
async fn a_dead_destination_harms_no_other() {
    let (alive, dead) = (HttpServer::start().await, HttpServer::start().await);
    dead.default_reply(Reply::Never);
    // The one that is alive must not lose what it has had no time to take, so it blocks; the dead one
    // has the topology's policy.
    let block = "batch.max_events = 5\nbuffer = {max_events = 10, when_full = 'block'}";
    let default = "batch.max_events = 5\nbuffer.max_events = 10";
    let toml = http(&alive, block) + &http(&dead, default).replace("[sinks.out]", "[sinks.dead]");
    let chunks = lines(200).chunks(5).map(<[String]>::to_vec).collect();
    let config = scripted(&toml, chunks);
    let options = TopologyOptions { when_full: WhenFull::DropOldest, ..TopologyOptions::default() };
    let mut running = Topology::start(config, &options).await.unwrap();
    let requests = alive.wait_for(40).await;
    dead.wait_for(1).await;

    let report = timeout(WITHIN, running.stop(Duration::from_millis(200))).await.expect("the deadline holds");
    check_books(&report, 200, 0, "alive");
    let mut delivered = all_numbers(&requests).concat();
    delivered.sort();
    assert_eq!(delivered, (0..200).collect::<Vec<_>>());
    let books = books(&report, "dead");
    assert_eq!((books.received, books.delivered, books.rejected), (200, 0, 0), "{report}");
    assert_eq!(books.buffered, 0, "the books are closed: {report}");
    // What was in the request, what was ready behind it, and the buffer.
    let given_up = books.dropped_for(DropReason::Shutdown);
    assert!((15..=20).contains(&given_up), "{report}");
    assert_eq!(books.dropped_for(DropReason::BufferFull), 200 - given_up, "{report}");
}
