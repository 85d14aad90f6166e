//! Every sink through the public API, against destinations that answer as the test says.

mod support;

use async_trait::async_trait;
use futures::future::join_all;
use http::Method;
use log_shipper::config::{
    ComponentInfo, ComponentKind, Config, Registry, Result, Source, SourceConfig, SourceContext, SourceEntry,
};
use log_shipper::env::Env;
use log_shipper::event::LogEvent;
use log_shipper::topology::{
    DropReason, Report, RunningTopology, SinkSnapshot, Topology, TopologyOptions, WhenFull,
};
use prost::Message;
use schemars::JsonSchema;
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
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
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
    registry.source::<Scripted>(ComponentInfo::new("scripted", "For tests.", ""));
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
    config.sources = vec![SourceEntry::new("in", Scripted { chunks })];
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
    timeout(WITHIN, Topology::start(config, &options, std::future::pending::<()>()))
        .await
        .expect("in time")
        .expect("a start")
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
    let lines = match request.header("content-type") {
        Some("application/x-protobuf") => {
            let push = push_request(request);
            push.streams.into_iter().flat_map(|stream| stream.entries).map(|entry| entry.line).collect()
        }
        _ => request.text(),
    };
    // One document, or several.
    let documents = serde_json::Deserializer::from_str(&lines).into_iter::<Value>();
    documents.flat_map(|document| events_in(document.expect("JSON"))).collect()
}

/// What a destination's JSON has events in.
const WRAPPERS: [&str; 11] = [
    "attributes",
    "data",
    "event",
    "lines",
    "log",
    "logEvents",
    "logs",
    "message",
    "meta",
    "streams",
    "values",
];

/// The events in what stands around them: each is an object with a number.
fn events_in(value: Value) -> Vec<Value> {
    match value {
        Value::Array(values) => values.into_iter().flat_map(events_in).collect(),
        Value::String(text) => serde_json::from_str(&text).map_or_else(|_| Vec::new(), events_in),
        // Slack has only text.
        Value::Object(message) if message.contains_key("blocks") => {
            let texts = message["blocks"].as_array().expect("blocks").iter();
            let number = |text: &str| text.split("number ").nth(1)?.trim_end_matches('`').parse().ok();
            let number = |text: &Value| number(text["text"]["text"].as_str()?);
            texts.filter_map(number).map(|n: u64| json!({"n": n})).collect()
        }
        Value::Object(event) if event.contains_key("n") => vec![event.into()],
        Value::Object(mut wrapper) => {
            let inner = WRAPPERS.iter().filter_map(|name| wrapper.remove(*name));
            inner.flat_map(events_in).collect()
        }
        _ => Vec::new(),
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
    ("appsignal", Some("KEY")),
    ("aws_cloudwatch_logs", Some("KEY")),
    ("aws_s3", Some("KEY")),
    ("axiom", Some("TOKEN")),
    ("blackhole", None),
    ("console", None),
    ("datadog_logs", Some("KEY")),
    ("elasticsearch", Some("PASSWORD")),
    ("file", None),
    ("honeycomb", Some("KEY")),
    ("http", Some("TOKEN")),
    ("humio_logs", Some("TOKEN")),
    ("loki", None),
    ("mezmo", Some("KEY")),
    ("nats", None),
    ("new_relic", Some("KEY")),
    ("papertrail", None),
    ("prometheus_exporter", None),
    ("sematext_logs", Some("TOKEN")),
    ("slack", Some("https://hooks.slack.com/services/T/B/X")),
    ("splunk_hec_logs", Some("TOKEN")),
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
    row("appsignal", "appsignal", "endpoint = 'URL'\npush_api_key = 's3cr3t-appsignal'"),
    row(
        "aws_cloudwatch_logs",
        "aws_cloudwatch_logs",
        "endpoint = 'URL'\nregion = 'eu-west-1'\ngroup_name = 'G'\nstream_name = 'S'\nencoding.codec = 'json'\nauth = {access_key_id = 'ID', secret_access_key = 's3cr3t-logs'}",
    ),
    // With a key that is the same for the halves of a batch too.
    row(
        "aws_s3",
        "aws_s3",
        "endpoint = 'URL'\nregion = 'auto'\nbucket = 'logs'\nkey_prefix = 'p/'\nfilename_time_format = 'x'\nfilename_append_uuid = false\nencoding.codec = 'json'\nframing.method = 'newline_delimited'\nauth = {access_key_id = 'ID', secret_access_key = 's3cr3t-s3'}",
    ),
    row("axiom", "axiom", "url = 'URL'\ntoken = 's3cr3t-axiom'\ndataset = 'DS'"),
    row("datadog_logs", "datadog_logs", "endpoint = 'URL'\ndefault_api_key = 's3cr3t-datadog'"),
    row(
        "elasticsearch",
        "elasticsearch",
        "endpoints = ['URL']\nbulk.index = 'IDX'\nauth = {strategy = 'basic', user = 'u', password = 's3cr3t-es'}",
    ),
    row("honeycomb", "honeycomb", "endpoint = 'URL'\napi_key = 's3cr3t-honeycomb'\ndataset = 'DS'"),
    row(
        "http",
        "http",
        "uri = 'URL/in'\nencoding.codec = 'json'\nauth = {strategy = 'bearer', token = 's3cr3t-http'}",
    ),
    row(
        "humio_logs",
        "humio_logs",
        "endpoint = 'URL'\ntoken = 's3cr3t-humio'\nencoding.codec = 'json'\nhost_key = 'fly.app.instance'",
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
    row(
        "mezmo",
        "mezmo",
        "endpoint = 'URL'\napi_key = 's3cr3t-mezmo'\nhostname = '{{ fly.app.name }}'\ntags = ['{{ fly.app.name }}', 'x']",
    ),
    row("new_relic", "new_relic", "endpoint = 'URL'\nlicense_key = 's3cr3t-newrelic'"),
    row("sematext_logs", "sematext_logs", "endpoint = 'URL'\ntoken = 's3cr3t-sematext'"),
    row(
        "slack",
        "slack",
        "webhook_url = 'URL/s3cr3t-slack'\nkeywords = 'number'\nrequest.rate_limit_num = 100\nbatch.timeout_secs = 0.1",
    ),
    row(
        "splunk_hec_logs",
        "splunk_hec_logs",
        "endpoint = 'URL'\ndefault_token = 's3cr3t-splunk'\nencoding.codec = 'json'\nindex = '{{ fly.app.name }}'",
    ),
    row(
        "splunk_hec_logs raw",
        "splunk_hec_logs",
        "endpoint = 'URL'\ntoken = 's3cr3t-splunk'\nencoding.codec = 'json'\nendpoint_target = 'raw'\nindex = 'main'",
    ),
];

fn http_row(name: &str) -> &'static HttpRow {
    HTTP_SINKS.iter().find(|row| row.name == name).expect("a row")
}

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
const KERNEL: &[&str] = &[
    "auth",
    "batch",
    "breaker",
    "channel",
    "client",
    "codec",
    "compression",
    "delivery",
    "failure_policy",
    "gate",
    "healthcheck",
    "hec",
    "http_sink",
    "intake",
    "mod",
    "patience",
    "plain_http",
    "request",
    "truncate",
    "verdict",
];

#[test]
fn every_file_of_a_component_is_registered() {
    let registry = Registry::builtin();
    for (kind, others) in [
        (ComponentKind::Source, &["channel", "mod"][..]),
        (ComponentKind::Transform, &["condition", "key", "mod", "no_program", "program", "testing"]),
        (ComponentKind::Sink, KERNEL),
    ] {
        let folder = format!("{}/src/{}", env!("CARGO_MANIFEST_DIR"), kind.plural());
        let files = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let mut files: Vec<_> =
            files.map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned()).collect();
        files.retain(|file| !others.contains(&file.as_str()));
        files.sort();
        // A folder of the same name holds a file's tests.
        files.dedup();
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
        let options = TopologyOptions::default().with_env(Env::from_pairs(variables));
        let mut running = Topology::start(config, &options, std::future::pending::<()>()).await.unwrap();
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
        // A webhook's URL is one all the same.
        let scheme = secret.and_then(|secret| secret.split_once("//")).map_or("", |_| "https://");
        let secrets = secret.map(|secret| (format!("\"{secret}\""), format!("{scheme}s3cr3t-{}", info.name)));
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
        // The parts of a batch are objects of their own.
        let may_differ = row.kind == "aws_s3" && expected_sizes == SPLIT;
        assert!(may_differ || request.path_and_query == requests[0].path_and_query, "{context}");
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
    let rows: [(&str, &str, &str, Statuses, Statuses); 17] = [
        ("appsignal", "GET /vector/healthcheck", "", &[200, 204], &[401, 403, 500]),
        ("aws_cloudwatch_logs", "POST /", "", &[200], &[400, 403, 500]),
        ("aws_s3", "HEAD /logs", "", &[200], &[301, 400, 403, 404, 503]),
        ("axiom", "POST /v1/datasets/DS/ingest?timestamp-field=timestamp", "", &[200, 204], &[401, 403, 500]),
        ("datadog_logs", "GET /api/v1/validate", "", &[200], &[403, 500]),
        ("elasticsearch", "GET /_cluster/health", "", &[200], &[401, 403, 404, 503]),
        ("honeycomb", "POST /1/batch/DS", "", &[200, 400], &[401, 500]),
        ("http", "HEAD /health", "healthcheck.uri = 'URL/health'", &[200], &[204, 401, 404]),
        ("humio_logs", "GET /services/collector/health/1.0", "", &[200], &[401, 403, 503]),
        ("loki as JSON", "GET /ready", "", &[200, 404], &[401, 503]),
        ("loki as protobuf", "GET /ready", "", &[200, 404], &[401, 503]),
        ("mezmo", "POST /logs/ingest?hostname=log-shipper", "", &[200, 400], &[401, 403, 500]),
        ("new_relic", "POST /log/v1", "", &[202, 400], &[401, 403, 500]),
        // Without the token, which Sematext only knows as an index.
        ("sematext_logs", "GET /_cluster/health", "", &[200], &[401, 503]),
        // Nothing to show is no message.
        ("slack", "POST /s3cr3t-slack", "", &[400], &[403, 404, 410, 500]),
        ("splunk_hec_logs", "GET /services/collector/health/1.0", "", &[200], &[400, 401, 403, 503]),
        ("splunk_hec_logs raw", "GET /services/collector/health/1.0", "", &[200], &[400, 404]),
    ];
    let options = TopologyOptions::default().with_require_healthy(true);
    for (row, (name, asked, extra, good, bad)) in HTTP_SINKS.iter().zip(rows) {
        assert_eq!(row.name, name);
        for status in good.iter().chain(bad) {
            let server = HttpServer::start().await;
            server.default_reply(Reply::status(*status).body("s3cr3t"));
            let extra = extra.replace("URL", &server.url(""));
            let mut config = scripted(&row.toml(&server, &extra), vec![]);
            config.global.healthchecks.enabled = true;
            let started = timeout(WITHIN, Topology::start(config, &options, std::future::pending::<()>()))
                .await
                .expect("in time");
            let requests = server.requests();
            assert_eq!(requests.len(), 1, "{name}");
            assert_eq!(format!("{} {}", requests[0].method, requests[0].path_and_query), asked, "{name}");
            // Basic authentication has it in base64, and AWS's shows that we know it.
            let is_key = |text: &str| {
                text.contains("s3cr3t") || text.starts_with("Basic ") || text.starts_with("AWS4-HMAC-SHA256 ")
            };
            let shows_key = requests[0].headers.values().any(|value| value.to_str().is_ok_and(is_key));
            let has_other_place = ["sematext_logs", "slack"].contains(&name);
            assert!(shows_key || has_other_place, "{name}: {:?}", requests[0].headers);
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
    let row = http_row("datadog_logs");
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

/// As Vector's, but for what AppSignal documents for a log line and these events have elsewhere:
/// `severity`, `hostname` and `group`.
#[tokio::test]
async fn golden_appsignal() {
    let headers = [
        ("content-type", Some("application/json")),
        ("authorization", Some("Bearer KEY")),
        ("content-encoding", Some("gzip")),
    ];
    let options = "endpoint = 'URL/'\npush_api_key = 'KEY'";
    let request = golden("appsignal", options, "/vector/events", &headers).await;
    let severities = [Some("info"), Some("info"), Some("info"), Some("error"), None];
    let log = |(mut event, severity): (Value, Option<&str>)| {
        event["hostname"] = event["host"].clone();
        event["group"] = event["fly"]["app"]["name"].clone();
        if let Some(severity) = severity {
            event["severity"] = severity.into();
        }
        json!({ "log": event })
    };
    assert_eq!(request.json(), input().into_iter().zip(severities).map(log).collect::<Value>());
}

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

/// As Vector's, byte for byte but for the order of the members, which Vector sorts.
#[tokio::test]
async fn golden_elasticsearch() {
    let headers = [
        ("content-type", Some("application/x-ndjson")),
        ("authorization", Some("Bearer KEY")),
        ("content-encoding", None),
    ];
    let options = "endpoints = ['URL']\napi_version = 'v8'\nmode = 'bulk'\nbulk.index = 'IDX'\n\
                   request.headers.Authorization = 'Bearer KEY'";
    let request = golden("elasticsearch", options, "/_bulk?timeout=60s", &headers).await;
    let expected: String =
        INPUT.lines().map(|line| format!("{{\"index\":{{\"_index\":\"IDX\"}}}}\n{line}\n")).collect();
    assert_eq!(request.text(), expected);
}

#[tokio::test]
async fn elasticsearch_actions_and_documents() {
    let event = r#"{"a":"x","id":7,"timestamp":"2026-11-22T05:00:00Z"}"#;
    let time = r#""@timestamp":"2026-11-22T05:00:00.000000000Z""#;
    let stream = |name: &str, rest: &str| {
        format!(r#"{{"create":{{"_index":"{name}"}}}} {{{rest}{time},"data_stream":{{"#)
    };
    // The options, the event, and the two lines.
    let rows: [(&str, &str, String); 13] = [
        ("", event, format!(r#"{{"index":{{"_index":"vector-2026.11.22"}}}} {event}"#)),
        ("bulk.index = '{{ a }}-%F'\nbulk.action = 'create'", event, format!(r#"{{"create":{{"_index":"x-2026-11-22"}}}} {event}"#)),
        ("bulk.index = '{{ b }}'\nbulk.template_fallback_index = 'other'", event, format!(r#"{{"index":{{"_index":"other"}}}} {event}"#)),
        ("bulk.index = 'i'\napi_version = 'v6'\ndoc_type = 't'", event, format!(r#"{{"index":{{"_index":"i","_type":"t"}}}} {event}"#)),
        ("bulk.index = 'i'\nid_key = 'id'", event, r#"{"index":{"_index":"i","_id":"7"}} {"a":"x","timestamp":"2026-11-22T05:00:00Z"}"#.into()),
        ("bulk.index = 'i'\nid_key = 'id'", r#"{"timestamp":1795323600}"#, r#"{"index":{"_index":"i"}} {"timestamp":1795323600}"#.into()),
        (
            "bulk = {index = 'i', version = '{{ id }}', version_type = 'external'}\nid_key = 'a'", event,
            r#"{"index":{"_index":"i","_id":"x","version":7,"version_type":"external"}} {"id":7,"timestamp":"2026-11-22T05:00:00Z"}"#.into(),
        ),
        (
            "bulk = {index = 'i', action = 'update'}\nid_key = 'id'", r#"{"id":7,"timestamp":1795323600}"#,
            r#"{"update":{"_index":"i","_id":"7"}} {"doc":{"timestamp":1795323600},"doc_as_upsert":true}"#.into(),
        ),
        // Without a `timestamp` it would have no time there.
        (
            "bulk.index = 'i'", r#"{"time":1795323600}"#,
            r#"{"index":{"_index":"i"}} {"time":1795323600,"timestamp":"2026-11-22T05:00:00.000000000Z"}"#.into(),
        ),
        ("normal.index = 'i'\nmode = 'normal'", event, format!(r#"{{"index":{{"_index":"i"}}}} {event}"#)),
        ("mode = 'data_stream'", event, stream("logs-generic-default", r#""a":"x","id":7,"#) + r#""type":"logs","dataset":"generic","namespace":"default"}}"#),
        (
            "mode = 'data_stream'\ndata_stream = {dataset = '{{ a }}'}",
            r#"{"timestamp":"2026-11-22T05:00:00Z","data_stream":{"namespace":"mine","more":1}}"#,
            // The event's own dataset is missing, and so is the field of the template.
            String::new(),
        ),
        (
            "mode = 'data_stream'\ndata_stream = {dataset = 'd'}",
            r#"{"timestamp":"2026-11-22T05:00:00Z","data_stream":{"namespace":"mine","more":1}}"#,
            stream("logs-d-mine", "") + r#""more":1,"type":"logs","dataset":"d","namespace":"mine"}}"#,
        ),
    ];
    for (options, event, expected) in rows {
        let server = HttpServer::start().await;
        let toml = sink("out", "elasticsearch", &format!("endpoint = '{}'\n{options}", server.url("")));
        let delivered = u64::from(!expected.is_empty());
        check_books(&ship(&toml, &[event.to_owned()]).await, delivered, 1 - delivered, options);
        if delivered == 1 {
            assert_eq!(server.requests()[0].text().trim_end().replacen('\n', " ", 1), expected, "{options}");
        }
    }
}

#[tokio::test]
async fn elasticsearch_finds_out_that_documents_need_a_type() {
    let server = HttpServer::start().await;
    server.respond_with(|request| match request.path_and_query.as_str() {
        "/log-shipper/_doc/_bulk?timeout=60s" => Reply::status(200).body(r#"{"errors":false,"items":[]}"#),
        _ => Reply::status(400).body("Validation Failed: 1: type is missing;"),
    });
    let toml =
        format!("{FAST}endpoints = ['{}']\nbatch.max_events = 1\nrequest.concurrency = 1", server.url(""));
    check_books(&ship(&sink("out", "elasticsearch", &toml), &lines(3)).await, 3, 0, "an old server");
    assert_eq!(server.requests().len(), 4, "it asks once");
}

#[tokio::test]
async fn elasticsearch_goes_to_the_endpoint_that_is_there() {
    let (mut dead, alive) = (HttpServer::start().await, HttpServer::start().await);
    dead.stop().await;
    let user = alive.url("").replace("http://", "http://u:p%40ss@");
    let toml = format!(
        "{FAST}endpoints = ['{}', '{user}/']\nquery = {{a = 'b c', d = ['e', 'f']}}\npipeline = 'p'",
        dead.url("")
    );
    check_books(&ship(&sink("out", "elasticsearch", &toml), &lines(3)).await, 3, 0, "two endpoints");
    let requests = alive.requests();
    assert_eq!(requests[0].path_and_query, "/_bulk?timeout=60s&pipeline=p&a=b+c&d=e&d=f");
    assert_eq!(requests[0].header("authorization"), Some("Basic dTpwQHNz"));
}

/// An answer that is too long to be read whole says that something has failed, and not what.
#[tokio::test]
async fn elasticsearch_asks_halves_where_the_answer_is_too_long() {
    let server = HttpServer::start().await;
    server.respond_with(|request| {
        let documents = events(request).len();
        let long = r#"{"index":{"status":400,"error":{"type":"t","reason":"r"}}}"#;
        match documents {
            1 => Reply::status(200).body(format!("{{\"errors\":true,\"items\":[{long}]}}")),
            _ => Reply::status(200).body("{\"errors\":true,\"items\":[{\"index\":{\"sta"),
        }
    });
    let toml = format!("{FAST}endpoints = ['{}']", server.url(""));
    check_books(&ship(&sink("out", "elasticsearch", &toml), &lines(4)).await, 0, 4, "each on its own");
}

/// As Vector's, but for `severity`, which Sematext reads the level from.
#[tokio::test]
async fn golden_sematext_logs() {
    let headers = [("content-type", Some("application/x-ndjson")), ("authorization", None)];
    let request = golden(
        "sematext_logs",
        "endpoint = 'URL'\ntoken = 'TOKEN'\nregion = 'us'",
        "/_bulk?timeout=60s",
        &headers,
    )
    .await;
    let mut expected = Vec::new();
    let times = ["00.000000000", "00.000137000", "00.000274000", "00.999999999", "01.000000000"];
    let levels = [Some("info"), Some("info"), Some("info"), Some("error"), None];
    for ((mut event, time), level) in input().into_iter().zip(times).zip(levels) {
        let document = event.as_object_mut().unwrap();
        document.remove("timestamp");
        let host = document.remove("host").unwrap();
        document.insert("os.host".into(), host);
        document.insert("@timestamp".into(), format!("2026-11-22T05:00:{time}Z").into());
        document.extend(level.map(|level| ("severity".to_owned(), level.into())));
        expected.extend([json!({"index": {"_index": "TOKEN", "_type": "logs"}}), event]);
    }
    assert_eq!(request.json_lines(), expected);
}

/// Vector has no such sink: fly-log-shipper builds its message with VRL, one at most in a second.
#[tokio::test]
async fn golden_slack() {
    let server = HttpServer::start().await;
    let lines: Vec<_> = INPUT.lines().map(str::to_owned).collect();
    let options = format!(
        "webhook_url = '{}'\nkeywords = [\"level\", \"/session (closed|opened)/\"]",
        server.url("/T/B/X")
    );
    let report = ship(&sink("out", "slack", &options), &lines).await;
    let books = books(&report, "out");
    assert_eq!((books.received, books.delivered, books.dropped_for(DropReason::Filtered)), (5, 3, 2));
    assert!(!report.has_losses());
    let section = |text: &str| json!({"type": "section", "text": {"type": "mrkdwn", "text": text}});
    let date = |seconds: u64, time: &str| {
        format!("<!date^{seconds}^{{date_short}} {{time_secs}}|2026-11-22T05:00:{time}Z>")
    };
    let expected = json!({"text": "*sandwich* 3", "blocks": [
        section(&format!(
            "*sandwich | info | syd | b921527403e430* {}\n```Jun 17 04:09:45 combo su(pam_unix)[29190]: session closed for user news```",
            date(1_795_323_600, "00.000000000")
        )),
        section(&format!(
            "*sandwich | error | ord | e784079b449483* {}\n```{{\"level\":\"error\",\"msg\":\"naïve café 日本語 🚀 \\\"quoted\\\"\",\"status\":500}}```",
            date(1_795_323_600, "00.999999999")
        )),
        section(&format!(
            "*sandwich | ord | e784079b449483* {}\n```no log.level here\twith a tab```",
            date(1_795_323_601, "01.000000000")
        )),
    ]});
    let requests = server.requests();
    assert_eq!((requests.len(), requests[0].header("content-type")), (1, Some("application/json")));
    assert_eq!((requests[0].json(), requests[0].path_and_query.as_str()), (expected, "/T/B/X"));
}

#[tokio::test]
async fn slack_summarises_a_flood_and_cuts_what_is_long() {
    let server = HttpServer::start().await;
    let event = |n: u64, app: &str, message: &str| {
        json!({"n": n, "fly": {"app": {"name": app}}, "message": message, "timestamp": "2026-11-22T05:00:00Z"}).to_string()
    };
    let mut lines = vec![event(0, "a<b", &format!("x ```fence``` {}", "<é&".repeat(3_000)))];
    lines.extend((1..50).map(|n| event(n, if n % 7 == 0 { "api" } else { "web" }, "x short")));
    let options = format!("webhook_url = '{}'\nkeywords = 'x'", server.url("/"));
    check_books(&ship(&sink("out", "slack", &options), &lines).await, 50, 0, "all in one message");
    let requests = server.requests();
    assert_eq!(requests.len(), 1);
    let body = requests[0].json();
    let texts: Vec<_> = body["blocks"]
        .as_array()
        .unwrap()
        .iter()
        .map(|block| block["text"]["text"].as_str().unwrap())
        .collect();
    assert_eq!(texts.len(), 11);
    assert!(texts.iter().all(|text| text.chars().count() <= 3_000));
    assert!(
        texts[0].starts_with("*a&lt;b* <!date^") && texts[0].ends_with("... [truncated]```"),
        "{}",
        texts[0]
    );
    assert_eq!(texts[0].matches("```").count(), 2, "the message's own fence does not end it");
    assert_eq!(texts[10], "and 40 more: *web* 34, *api* 6");
    assert_eq!(body["text"], "*web* 42, *api* 7, *a&lt;b* 1");
}

#[tokio::test]
async fn slack_sends_a_request_a_second() {
    let server = HttpServer::start().await;
    let options = format!("webhook_url = '{}'\nkeywords = 'number'\nbatch.max_events = 1", server.url("/"));
    let began = Instant::now();
    check_books(&ship(&sink("out", "slack", &options), &lines(3)).await, 3, 0, "three messages");
    let last = server.requests()[2].at - began;
    assert!(last >= Duration::from_secs(2), "{last:?}");
}

/// What an agent of Datadog's sends has all else in `message`; the key and the site may be in the environment.
#[tokio::test]
async fn datadog_logs_like_an_agent() {
    let server = HttpServer::start().await;
    let toml =
        sink("out", "datadog_logs", &format!("endpoint = '{}'\nconforms_as_agent = true", server.url("")));
    let options = || TopologyOptions::default().with_env(Env::from_pairs([("DD_API_KEY", "s3cr3t")]));
    let event = r#"{"a":1,"message":"m","timestamp":"2026-11-22T05:00:00Z","level":"warn","fly":{"app":{"name":"web"}}}"#;
    let mut running = Topology::start(
        scripted(&toml, vec![vec![event.to_owned()]]),
        &options(),
        std::future::pending::<()>(),
    )
    .await
    .unwrap();
    check_books(&running.stop(WITHIN).await, 1, 0, "as an agent");
    let request = &server.requests()[0];
    assert_eq!(
        (request.header("dd-protocol"), request.header("dd-api-key")),
        (Some("agent-json"), Some("s3cr3t"))
    );
    let expected = json!([{
        "message": {"a": 1, "message": "m", "level": "warn", "fly": {"app": {"name": "web"}}},
        "timestamp": 1_795_323_600_000_u64, "status": "warn", "service": "web", "ddsource": "fly", "ddtags": "app:web",
    }]);
    assert_eq!(request.json(), expected);
    let error = Topology::build(scripted(&toml, vec![]), &TopologyOptions::default()).await.unwrap_err();
    assert!(error.to_string().contains("set it, or DD_API_KEY in the environment"), "{error}");
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

/// There is no request of Vector's to compare this with. By its source it sends the text of `timestamp`,
/// not milliseconds, `level` among the metadata alone, `vector` as the app of these events, and the
/// parameter `now`, behind a path of `//logs/ingest`.
#[tokio::test]
async fn golden_mezmo() {
    let headers = [
        ("content-type", Some("application/json")),
        ("authorization", Some("Basic S0VZOg==")),
        ("content-encoding", None),
    ];
    let options = "endpoint = 'URL/'\napi_key = 'KEY'\nhostname = 'h'\nmac = '02:00'\nip = '10.0.0.1'\ntags = ['a', 'b c']";
    let path = "/logs/ingest?hostname=h&mac=02%3A00&ip=10.0.0.1&tags=a,b%20c";
    let request = golden("mezmo", options, path, &headers).await;
    let millis = [600_000, 600_000, 600_000, 600_999, 601_000].map(|millis| 1_795_323_000_000_u64 + millis);
    let levels = [Some("info"), Some("info"), Some("info"), Some("error"), None];
    let lines = input().into_iter().zip(millis.into_iter().zip(levels)).map(|(mut event, (time, level))| {
        let members = event.as_object_mut().unwrap();
        let line = members.remove("message").unwrap();
        members.remove("timestamp");
        let app = event["fly"]["app"]["name"].clone();
        let mut line =
            json!({"line": line, "timestamp": time, "app": app, "env": "production", "meta": event});
        if let Some(level) = level {
            line["level"] = level.into();
        }
        line
    });
    assert_eq!(request.json(), json!({"lines": lines.collect::<Value>()}));
}

#[tokio::test]
async fn mezmo_gets_a_request_for_each_host() {
    let mut events: Vec<_> = ["a", "b", "a"].into_iter().zip(0..).map(|(app, n)| line(n, app)).collect();
    events.push(r#"{"n":3}"#.to_owned());
    let server = HttpServer::start().await;
    let row = HttpRow {
        options: "endpoint = 'URL'\napi_key = 'KEY'\nhostname = '{{ fly.app.name }}'",
        ..*http_row("mezmo")
    };
    check_books(&ship(&row.toml(&server, ""), &events).await, 4, 0, "none is lost for want of a host");
    let describe =
        |request: &Request| (request.path_and_query.replace("/logs/ingest?hostname=", ""), numbers(request));
    let mut sent: Vec<_> = server.requests().iter().map(describe).collect();
    sent.sort();
    let expected = [("a", vec![0, 2]), ("b", vec![1]), ("log-shipper", vec![3])];
    assert_eq!(sent, expected.map(|(host, numbers)| (host.to_owned(), numbers)));
}

/// There is no request of Vector's to compare this with. By its source it sends nested attributes and the
/// text of `timestamp`, nothing under `level`, `hostname` and `service.name`, and takes every answer for
/// success.
#[tokio::test]
async fn golden_new_relic() {
    let options = "endpoint = 'URL/'\nregion = 'EU'\naccount_id = '1'\napi = 'logs'\n";
    let millis = [600_000, 600_000, 600_000, 600_999, 601_000].map(|millis| 1_795_323_000_000_u64 + millis);
    let levels = [Some("info"), Some("info"), Some("info"), Some("error"), None];
    let logs = input().into_iter().zip(millis.into_iter().zip(levels)).map(|(event, (time, level))| {
        let mut attributes = json!({
            "event.provider": event["event"]["provider"],
            "fly.app.instance": event["fly"]["app"]["instance"],
            "fly.app.name": event["fly"]["app"]["name"],
            "fly.region": event["fly"]["region"],
            "host": event["host"],
            "n": event["n"],
            "hostname": event["host"],
            "service.name": event["fly"]["app"]["name"],
        });
        if let Some(level) = level {
            attributes["log.level"] = level.into();
            attributes["level"] = level.into();
        }
        json!({"timestamp": time, "message": event["message"], "attributes": attributes})
    });
    let logs: Value = logs.collect();
    for (key, header) in [("license_key", "api-key"), ("insert_key", "x-insert-key")] {
        let headers = [
            ("content-type", Some("application/json")),
            ("content-encoding", Some("gzip")),
            (header, Some("KEY")),
            ("authorization", None),
        ];
        let request = golden("new_relic", &format!("{options}{key} = 'KEY'"), "/log/v1", &headers).await;
        assert_eq!(request.json(), json!([{ "logs": logs }]));
    }
}

/// The events of a collector's request, which stand one after another.
fn collected(request: &Request) -> Vec<Value> {
    let text = request.text();
    serde_json::Deserializer::from_str(&text).into_iter().collect::<Result<_, _>>().expect("JSON")
}

/// As the collector gets an event: with its own time, and without the `timestamp` that it is.
fn collected_event((mut event, time): (Value, &str)) -> Value {
    event.as_object_mut().unwrap().remove("timestamp");
    let time: serde_json::Number = time.parse().unwrap();
    json!({"host": event["host"], "event": event, "time": time})
}

const SECONDS: [&str; 5] =
    ["1795323600", "1795323600.000137", "1795323600.000274", "1795323600.999999999", "1795323601"];

/// As Vector's, but for `time`, which it loses if it was a string, and the empty `fields`.
#[tokio::test]
async fn golden_splunk_hec_logs() {
    let headers = [
        ("content-type", Some("application/json")),
        ("authorization", Some("Splunk TOKEN")),
        ("content-encoding", None),
    ];
    let options = "endpoint = 'URL/'\ndefault_token = 'TOKEN'\nencoding.codec = 'json'";
    let request = golden("splunk_hec_logs", options, "/services/collector/event", &headers).await;
    let expected: Vec<_> = input().into_iter().zip(SECONDS).map(collected_event).collect();
    assert_eq!(collected(&request), expected);
    // No digit is lost on the wire, whatever a parser makes of it.
    for time in SECONDS {
        assert!(request.text().contains(&format!("\"time\":{time},")), "{time}");
    }
    let channel = request.header("x-splunk-request-channel").expect("a channel");
    let is_uuid = channel.len() == 36 && channel.split('-').map(str::len).eq([8, 4, 4, 4, 12]);
    assert!(is_uuid && channel.as_bytes()[14] == b'4', "{channel}");
}

/// As Vector's, but for `time` and the nanoseconds beyond its milliseconds, which it loses with a
/// `timestamp` that was a string, and the empty `fields`.
#[tokio::test]
async fn golden_humio_logs() {
    let headers = [
        ("content-type", Some("application/json")),
        ("authorization", Some("Splunk TOKEN")),
        ("content-encoding", Some("gzip")),
    ];
    let options = "endpoint = 'URL'\ntoken = 'TOKEN'\nencoding.codec = 'json'\nhost_key = 'fly.app.instance'\nindexed_fields = ['\"#env\"', 'fly.region']\nevent_type = 'json'\ncompression = 'gzip'";
    let request = golden("humio_logs", options, "/services/collector/event", &headers).await;
    let nanos = [0, 137_000, 274_000, 999_999, 0];
    let expected = input().into_iter().zip(SECONDS).zip(nanos).map(|(event, nanos)| {
        let mut expected = collected_event(event);
        expected["event"]["@timestamp.nanos"] = nanos.into();
        expected["host"] = expected["event"]["fly"]["app"]["instance"].clone();
        expected["fields"] = json!({"fly.region": expected["event"]["fly"]["region"]});
        expected["sourcetype"] = "json".into();
        expected
    });
    assert_eq!(collected(&request), expected.collect::<Vec<_>>());
}

/// The raw endpoint gets a line for each event, with its `timestamp`; Vector's lines have no end.
#[tokio::test]
async fn golden_splunk_hec_logs_raw() {
    let options = "endpoint = 'URL'\ndefault_token = 'TOKEN'\nencoding.codec = 'json'\nendpoint_target = 'raw'\nhost_key = ''\nindex = 'i n'\nsource = 'a&b'";
    let path = "/services/collector/raw?source=a%26b&index=i%20n";
    let request = golden("splunk_hec_logs", options, path, &[("content-type", Some("text/plain"))]).await;
    assert_eq!(request.text(), INPUT);
}

#[tokio::test]
async fn what_a_collector_gets_of_unusual_events() {
    let event = r#"{"n":1,"at":"2026-11-22T05:00:00.0005Z","host":"h","log":{"level":"warning"},"fly":{"app":{"name":"web","instance":"i"}},"a b":["x",2],"o":{"p":[{}]},"message":"m","none":null}"#;
    let without = |name: &str| {
        let mut event: Value = serde_json::from_str(event).unwrap();
        event.as_object_mut().unwrap().remove(name);
        event
    };
    let host = r#"host_key = '"a b"[0]'"#;
    let indexed = r#"indexed_fields = ['n', '"a b"', 'o', 'o.p', 'none', 'missing']"#;
    for (options, expected) in [
        ("timestamp_key = 'at'", json!({"event": without("at"), "time": 1_795_323_600.000_5, "host": "h"})),
        (
            "timestamp_key = 'at'\ntimestamp_nanos_key = 'nanos'\nencoding.only_fields = ['n']",
            json!({"event": {"n": 1, "nanos": 500_000}, "time": 1_795_323_600.000_5, "host": "h"}),
        ),
        ("timestamp_key = ''\nhost_key = ''", json!({"event": without("")})),
        ("auto_extract_timestamp = true\nhost_key = 'none'", json!({"event": without(""), "host": "h"})),
        (
            &format!(
                "timestamp_key = ''\n{host}\nsource = '{{{{ n }}}}'\nsourcetype = '{{{{ missing }}}}'\nindex = 'main'"
            ),
            json!({"event": without(""), "host": "x", "source": "1", "index": "main"}),
        ),
        (
            &format!("timestamp_key = ''\n{indexed}"),
            json!({
                "event": without(""), "host": "h",
                "fields": {"n": 1, "a b": ["x", 2], "o": r#"{"p":[{}]}"#, "o.p": "[{}]"},
            }),
        ),
        (
            "timestamp_key = ''\nencoding.codec = 'text'",
            json!({"event": "m", "host": "h", "fields": {"level": "warn", "app": "web", "instance": "i"}}),
        ),
        (
            "timestamp_key = ''\nencoding.codec = 'text'\nencoding.only_fields = ['n']\nindexed_fields = ['level']",
            json!({
                "event": r#"{"n":1}"#, "host": "h",
                "fields": {"level": "warn", "app": "web", "instance": "i"},
            }),
        ),
    ] {
        let codec = if options.contains("codec") { "" } else { "encoding.codec = 'json'\n" };
        let server = HttpServer::start().await;
        let options = format!("endpoint = '{}'\ntoken = 'T'\n{codec}{options}", server.url(""));
        check_books(
            &ship(&sink("out", "splunk_hec_logs", &options), &[event.to_owned()]).await,
            1,
            0,
            &options,
        );
        let request = &server.requests()[0];
        assert_eq!(collected(request), [expected], "{options}");
        assert_eq!(request.path_and_query.contains("?auto_extract"), options.contains("auto"), "{options}");
    }
}

#[tokio::test]
async fn what_splunk_cloud_finds_too_large_is_split() {
    let server = HttpServer::start().await;
    server.respond_with(|request| match request.raw_body.len() {
        0..=5_242_880 => Reply::status(200),
        _ => Reply::status(400).body(r#"{"text":"Invalid data format","code":6,"invalid-event-number":0}"#),
    });
    let large = |n: u64| json!({"n": n, "message": "x".repeat(3_000_000)}).to_string();
    let toml = http_row("splunk_hec_logs").toml(&server, "batch.max_bytes = 10_000_000");
    check_books(&ship(&toml, &[large(0), large(1)]).await, 2, 0, "in two");
    assert_eq!(all_numbers(&server.requests()), [vec![0, 1], vec![0], vec![1]]);
}

// === answers that take a part ===

#[tokio::test]
async fn partial_answers_resend_and_reject_what_they_name() {
    let honeycomb =
        r#"[{"status":202},{"status":400,"error":"bad"},{"status":429},{"status":202},{"status":500}]"#;
    // The sink, the first answer, the events that are sent again, and how many are rejected.
    let mixed = r#"{"took":1,"errors": true,"items":[{"index":{"status":201}},{"index":{"status":400,"error":
        {"type":"mapper_parsing_exception","reason":"bad"}}},{"index":{"status":429}},{"create":{"status":409}},
        {"index":{"status":503,"error":"busy"}}]}"#;
    let none = r#"{"errors":false,"items":[]}"#;
    let hec = |code, number| format!(r#"{{"text":"x","code":{code},"invalid-event-number":{number}}}"#);
    let [bad_third, bad_first, bad_last, beyond, refused, busy] =
        [hec(6, 2), hec(13, 0), hec(12, 4), hec(15, 5), hec(7, 1), hec(9, 2)];
    let rows: [(&str, u16, &str, &[u64], u64); 26] = [
        ("honeycomb", 200, honeycomb, &[2, 4], 1),
        ("elasticsearch", 200, mixed, &[2, 4], 1),
        ("elasticsearch", 200, none, &[], 0),
        ("sematext_logs", 200, mixed, &[2, 4], 1),
        ("honeycomb", 200, r#"[{"status":202}]"#, &[], 0),
        (
            "http",
            200,
            r#"{"code":200,"status":[{"name":"s","successful":3,"failed":2,"error":"old"}]}"#,
            &[],
            2,
        ),
        ("http", 400, r#"{"message":"some are bad","invalid":[{}]}"#, &[], 1),
        ("axiom", 200, r#"{"ingested":3,"failed":2,"failures":[{"error":"x"}]}"#, &[], 2),
        ("axiom", 200, r#"{"ingested":0,"failed":99}"#, &[], 5),
        ("loki as JSON", 400, "2 errors like: entry too far behind", &[], 2),
        ("loki as JSON", 400, "entry for stream '{}' has timestamp too old", &[], 1),
        ("loki as JSON", 400, "unexpected end of JSON input", &[], 5),
        ("loki as protobuf", 400, "2 errors like: entry too far behind", &[], 2),
        ("loki as protobuf", 260, "blocked", &[], 5),
        ("mezmo", 400, "no lines", &[], 5),
        ("humio_logs", 400, "no JSON of Splunk's", &[], 5),
        ("splunk_hec_logs", 400, &bad_third, &[3, 4], 1),
        ("splunk_hec_logs", 400, &bad_first, &[1, 2, 3, 4], 1),
        ("splunk_hec_logs", 400, &bad_last, &[], 1),
        // An event that is none of them can only be the last.
        ("splunk_hec_logs", 400, &beyond, &[], 1),
        ("splunk_hec_logs", 400, r#"{"text":"No data","code":5}"#, &[], 5),
        // An index of the events' own choice is refused with them; one of the options is held.
        ("splunk_hec_logs", 400, &refused, &[], 5),
        ("splunk_hec_logs raw", 400, &refused, &[0, 1, 2, 3, 4], 0),
        ("splunk_hec_logs", 400, r#"{"text":"Data channel is missing","code":10}"#, &[0, 1, 2, 3, 4], 0),
        ("splunk_hec_logs", 503, &busy, &[0, 1, 2, 3, 4], 0),
        ("splunk_hec_logs", 200, r#"{"text":"Success","code":0}"#, &[], 0),
    ];
    for (name, status, answer, resent, rejected) in rows {
        let row = http_row(name);
        let server = HttpServer::start().await;
        server.push(Reply::status(status).body(answer.to_owned()));
        let report = ship(&row.toml(&server, ""), &lines(5)).await;
        check_books(&report, 5 - rejected, rejected, answer);
        let sent: Vec<_> = [&[0, 1, 2, 3, 4], resent].into_iter().filter(|sent| !sent.is_empty()).collect();
        assert_eq!(all_numbers(&server.requests()), sent, "{name}: {answer}");
    }
}

/// What Splunk has taken counts as delivered when it says that it has indexed it, and comes again if it never
/// says so.
#[tokio::test]
async fn splunk_is_asked_whether_it_has_indexed_what_it_took() {
    let ack = |id: u64| Reply::status(200).body(format!(r#"{{"text":"Success","code":0,"ackId":{id}}}"#));
    let said = |said: &str| Reply::status(200).body(format!(r#"{{"acks":{{{said}}}}}"#));
    let (event, ask) = ("/services/collector/event", "/services/collector/ack");
    let off = "acknowledgements.indexer_acknowledgements_enabled = false";
    let rows: [(&str, Vec<Reply>, Vec<&str>); 5] = [
        ("", vec![ack(7), said(r#""7":false"#), said(r#""7":true"#)], vec![event, ask, ask]),
        // Not indexed in the time that it has.
        (
            "",
            vec![ack(1), said(""), said(""), ack(2), said(r#""2":true"#)],
            vec![event, ask, ask, event, ask],
        ),
        // It cannot be asked after all.
        ("", vec![ack(1), Reply::status(400)], vec![event, ask]),
        ("", vec![Reply::status(200).body(r#"{"text":"Success","code":0}"#)], vec![event]),
        (off, vec![ack(1)], vec![event]),
    ];
    for (options, replies, expected) in rows {
        let server = HttpServer::start().await;
        replies.into_iter().for_each(|reply| server.push(reply));
        let options = format!(
            "{FAST}endpoint = '{}'\ndefault_token = 'TOKEN'\nencoding.codec = 'json'\n{options}\n\
             acknowledgements.enabled = true\nacknowledgements.query_interval = 0.05\nacknowledgements.retry_limit = 2",
            server.url("")
        );
        check_books(&ship(&sink("out", "splunk_hec_logs", &options), &lines(2)).await, 2, 0, &options);
        let requests = server.requests();
        let paths: Vec<_> = requests.iter().map(|request| request.path_and_query.as_str()).collect();
        assert_eq!((paths, server.queued()), (expected, 0));
        let channel = requests[0].header("x-splunk-request-channel");
        for request in &requests {
            assert_eq!(request.header("x-splunk-request-channel"), channel);
            assert_eq!(request.header("authorization"), Some("Splunk TOKEN"));
        }
        if requests.len() > 1 {
            let id = if requests.len() == 3 { 7 } else { 1 };
            assert_eq!(requests[1].json(), json!({"acks": [id]}));
        }
    }
    let own = "url = 'URL'\ntoken = 't'\ndataset = 'd'\nacknowledgements = {enabled = true, retry_limit = 2}";
    let error = load(&sink("out", "axiom", own)).unwrap_err();
    assert!(error.contains("unknown field `acknowledgements`"), "{error}");
}

/// Each bad event ends a request, and none of the good ones behind it pays for that.
#[tokio::test]
async fn bad_events_use_up_no_retries_of_good_ones() {
    let server = HttpServer::start().await;
    let bad = Reply::status(400).body(r#"{"text":"x","code":6,"invalid-event-number":1}"#);
    server.push(bad.clone());
    server.push(bad);
    let row = HTTP_SINKS.iter().find(|row| row.name == "splunk_hec_logs").unwrap();
    let report = ship(&row.toml(&server, "request.retry_attempts = 0"), &lines(5)).await;
    check_books(&report, 3, 2, "no retries");
    assert_eq!(all_numbers(&server.requests()), [vec![0, 1, 2, 3, 4], vec![2, 3, 4], vec![4]]);
}

/// While batches wait for a word, others are sent, also by a sink that sends one at a time.
#[tokio::test]
async fn a_batch_that_waits_for_a_word_holds_up_no_other() {
    let server = HttpServer::start().await;
    server.respond_with(|request| match request.path_and_query.ends_with("/ack") {
        true => Reply::status(200).body(r#"{"acks":{"1":false}}"#),
        false => Reply::status(200).body(r#"{"text":"Success","code":0,"ackId":1}"#),
    });
    let options = format!(
        "endpoint = '{}'\ndefault_token = 'TOKEN'\nencoding.codec = 'json'\nacknowledgements.query_interval = 60\n\
         request.concurrency = 1\nbatch.max_events = 1",
        server.url("")
    );
    let mut running = start(scripted(&sink("out", "splunk_hec_logs", &options), vec![lines(20)])).await;
    server.wait_for(20).await;
    let report = running.stop(Duration::from_millis(200)).await;
    assert_eq!(books(&report, "out").dropped_for(DropReason::Shutdown), 20, "not confirmed is not delivered");
}

#[test]
fn old_names_of_sinks_and_options_are_read() {
    for (kind, options, words) in [
        (
            "logdna",
            "host = 'http://h'\napi_key = 'k'\nhostname = 'x'",
            ["the old name of `mezmo`", "`endpoint`"],
        ),
        ("humio_logs", "host = 'http://h'\ntoken = 't'\nencoding.codec = 'json'", ["`endpoint`", ""]),
        ("sematext_logs", "host = 'http://h'\ntoken = 't'", ["`endpoint`", ""]),
        (
            "elasticsearch",
            "endpoint = 'http://h'\nmode = 'normal'\nnormal.index = 'i'",
            ["`endpoints`", "`bulk`"],
        ),
        ("http", "uri = 'http://h'\nencoding.codec = 'json'\nheaders.a = 'b'", ["`request.headers`", ""]),
        (
            "splunk_hec_logs",
            "endpoint = 'http://h'\ntoken = 't'\nencoding.codec = 'json'",
            ["`default_token`", ""],
        ),
    ] {
        let config = load(&sink("out", kind, options)).unwrap_or_else(|error| panic!("{error}"));
        let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
        let all = warnings.join("\n");
        assert!(words.iter().all(|words| all.contains(words)) && all.contains("sinks.out"), "{kind}: {all}");
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

#[tokio::test(flavor = "multi_thread")]
async fn an_event_does_not_lead_out_of_where_a_template_says() {
    let events: Vec<_> =
        ["web", "../x", "a/../../b", ".."].iter().zip(0..).map(|(app, n)| line(n, app)).collect();
    let json = "encoding.codec = 'json'\nendpoint = 'URL'";
    for (name, options, refused) in [
        ("http", "uri = 'URL/in/{{ fly.app.name }}'\nencoding.codec = 'json'".to_owned(), 3),
        (
            "http",
            "uri = 'URL/in'\nrequest.headers.X-App = 'app/{{ fly.app.name }}'\nencoding.codec = 'json'"
                .to_owned(),
            3,
        ),
        ("splunk_hec_logs", format!("default_token = 't'\nindex = 'app/{{{{ fly.app.name }}}}'\n{json}"), 3),
        (
            "loki",
            format!(
                "tenant_id = 'app/{{{{ fly.app.name }}}}'\nlabels.app = '{{{{ fly.app.name }}}}'\n{json}"
            ),
            3,
        ),
        ("loki", format!("labels.app = '{{{{ fly.app.name }}}}'\n{json}"), 0),
        (
            "elasticsearch",
            "endpoints = ['URL']\nbulk.index = 'app/{{ fly.app.name }}'\nbulk.template_fallback_index = 'x'"
                .to_owned(),
            3,
        ),
        (
            "splunk_hec_logs",
            format!(
                "dangerously_allow_unconfined_template_resolution = true\ndefault_token = 't'\nindex = '{{{{ fly.app.name }}}}'\n{json}"
            ),
            0,
        ),
    ] {
        let server = HttpServer::start().await;
        let report = ship(&sink("out", name, &options.replace("URL", &server.url(""))), &events).await;
        check_books(&report, 4 - refused, refused, &options);
    }
}

#[tokio::test]
async fn an_event_that_is_too_large_is_cut_or_rejected() {
    let long = |n: u64, text: &str| json!({"n": n, "message": text}).to_string();
    let lines = [
        long(0, "short"),
        long(1, &"é\"".repeat(200)),
        format!(r#"{{"n":2,"other":"{}"}}"#, "x".repeat(300)),
    ];
    for (options, delivered, truncated) in [
        ("", 3, 0),
        ("batch.max_event_bytes = 200", 2, 1),
        ("batch = {max_event_bytes = 200, when_event_too_large = 'reject'}", 1, 0),
    ] {
        let server = HttpServer::start().await;
        let report = ship(&http(&server, options), &lines).await;
        check_books(&report, delivered, 3 - delivered, options);
        assert_eq!(books(&report, "out").truncated, truncated, "{options}");
        let sent = events(&server.requests()[0]);
        assert_eq!(sent.len() as u64, delivered, "{options}");
        if truncated == 1 {
            let message = sent[1]["message"].as_str().unwrap();
            assert!(message.starts_with("é\"é\"") && message.ends_with(" bytes]"), "{message}");
            assert!((150..=200).contains(&sent[1].to_string().len()), "{message}");
        }
    }
}

/// Honeycomb takes an event of a megabyte, but no string of more than 64 KB in it.
#[tokio::test]
async fn a_message_that_is_too_long_is_cut_or_rejected() {
    let lines = [
        json!({"n": 0, "message": "\"".repeat(65_536)}).to_string(),
        json!({"n": 1, "message": "é".repeat(40_000)}).to_string(),
    ];
    for (options, delivered, truncated) in [("", 2, 1), ("batch.when_event_too_large = 'reject'", 1, 0)] {
        let server = HttpServer::start().await;
        let row = HTTP_SINKS.iter().find(|row| row.name == "honeycomb").unwrap();
        let report = ship(&row.toml(&server, options), &lines).await;
        check_books(&report, delivered, 2 - delivered, options);
        assert_eq!(books(&report, "out").truncated, truncated, "{options}");
        let sent: Vec<_> = server.requests().iter().flat_map(events).collect();
        let lengths: Vec<_> = sent.iter().map(|event| event["message"].as_str().unwrap().len()).collect();
        assert!(lengths.iter().all(|length| (65_530..=65_536).contains(length)), "{lengths:?}");
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
        ("a/b..", "/in/a%2Fb../x"),
        ("a?x=1", "/in/a%3Fx%3D1/x"),
        ("a#b", "/in/a%23b/x"),
        ("a b", "/in/a%20b/x"),
    ] {
        let requests = http_requests("uri = 'URL/in/{{ fly.app.name }}/x'", &[line(0, app)]).await;
        assert_eq!(requests[0].path_and_query, path);
    }
    for app in ["..", "a/../../admin"] {
        let server = HttpServer::start().await;
        let report = ship(&http(&server, "uri = 'URL/in/{{ fly.app.name }}/x'"), &[line(0, app)]).await;
        check_books(&report, 0, 1, "two dots lead upwards, however they are written");
    }
}

#[tokio::test]
async fn a_key_in_a_header_is_no_template() {
    for key in ["a%Yb", "ab%zz", "a{{n}}b", "100%%", "\\%Y"] {
        let server = HttpServer::start().await;
        let sink = http(&server, "request.headers.X-API-Key = 'K ${KEY}'");
        let mut config = load_with(&sink, &Env::from_pairs([("KEY", key)])).unwrap();
        config.sources = vec![SourceEntry::new("in", Scripted { chunks: vec![lines(1)] })];
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
        ("mezmo", "batch.max_bytes = 10_000_001", "at most 10000000"),
        ("splunk_hec_logs raw", "auto_extract_timestamp = true", "auto_extract_timestamp: the raw"),
        ("splunk_hec_logs", "host_key = 'a b'", "not a field path"),
        ("splunk_hec_logs", "source = '{{ a b }}'", "not a field path"),
        ("new_relic", "insert_key = 's3cr3t'", "license_key, insert_key: set one of them"),
        ("new_relic", "api = 'events'", "api: only `logs`"),
        ("new_relic", "region = 'asia'", "unknown variant `asia`"),
        ("http", "batch.timeout_secs = 0", "more than zero"),
        ("http", "request.concurrency = 0", "at least 1"),
        ("http", "request.headers.'a b' = 'x'", "`a b` is not the name of a header"),
        ("http", "request.headers.Authorization = 'x'", "auth: request.headers has an Authorization"),
        ("http", "compression = 'brotli'", "none, gzip, zlib, zstd, snappy"),
        ("http", "payload_prefix = '{'", "must be JSON"),
        ("http", "retry_strategy.type = 'some'", "unknown variant `some`"),
        ("http", "buffer = {max_events = 1, max_size = 1}", "max_events and max_size exclude each other"),
        ("honeycomb", "nonsense = 1", "unknown field `nonsense`"),
        (
            "elasticsearch",
            "bulk.action = 'delete'",
            "`delete` is unknown; expected `index`, `create` or `update`",
        ),
        ("elasticsearch", "bulk.action = 'update'", "set id_key"),
        ("elasticsearch", "id_key = 'a..b'", "id_key: "),
        ("sematext_logs", "region = 'mars'", "unknown variant `mars`"),
    ] {
        let row = http_row(name);
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
    let options = TopologyOptions::default().with_when_full(WhenFull::DropOldest);
    let mut running = Topology::start(config, &options, std::future::pending::<()>()).await.unwrap();
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
