//! The HTTP API: what it says is true, and whoever asks it in whatever way does no harm.

mod support;

use log_shipper::api;
use log_shipper::config::{ApiOptions, Config, Registry};
use log_shipper::env::Env;
use log_shipper::topology::{RunningTopology, Topology, TopologyOptions};
use serde_json::Value;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use support::http_server::{HttpServer, Reply};
use support::jetstream::JetStream;
use support::nats_server::{NATS_SOURCE, NatsServer, Options};
use support::program::{Program, run};
use support::proxy::{Direction, Proxy};
use support::publisher::Publisher;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::JoinHandle;

/// No test takes longer than this; a machine under load still passes.
const LIMIT: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(10);

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, test).await.expect("the test takes too long")
}

/// What was answered.
#[derive(Debug)]
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends these bytes, and reads up to the end.
async fn send(address: SocketAddr, request: &str) -> Answer {
    let mut stream = TcpStream::connect(address).await.expect("somebody listens");
    // It may be refused before all of it is there.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).expect("text");
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.get(9..12).and_then(|status| status.parse().ok()).unwrap_or(0);
    Answer { status, head: head.to_ascii_lowercase(), body: body.to_owned() }
}

async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, &format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n")).await
}

/// Asks until it answers with this status.
async fn until_status(address: SocketAddr, path: &str, status: u16) -> Answer {
    loop {
        let answer = get(address, path).await;
        if answer.status == status {
            return answer;
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

/// Server-sent events, as they come.
struct Events {
    stream: TcpStream,
    /// What has come of the next one.
    buffer: Vec<u8>,
}

impl Events {
    async fn of(address: SocketAddr, path: &str) -> Events {
        let mut stream = TcpStream::connect(address).await.expect("somebody listens");
        let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("it is taken");
        Events { stream, buffer: Vec::new() }
    }

    /// The next event and its name; nothing at the end. Safe to cancel.
    async fn any(&mut self) -> Option<(String, Value)> {
        loop {
            while let Some(end) = self.buffer.windows(2).position(|pair| pair == b"\n\n") {
                let event = self.buffer.drain(..end + 2).collect();
                let event = String::from_utf8(event).expect("text");
                let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name));
                if let (Some(name), Some(data)) = (field("event: "), field("data: ")) {
                    return Some((name.to_owned(), serde_json::from_str(data).expect("JSON")));
                }
            }
            if self.stream.read_buf(&mut self.buffer).await.ok()? == 0 {
                return None;
            }
        }
    }

    /// The next event of this name; nothing at the end. Safe to cancel.
    async fn next(&mut self, name: &str) -> Option<Value> {
        loop {
            match self.any().await? {
                (found, event) if found == name => return Some(event),
                _ => {}
            }
        }
    }
}

/// A topology with its API.
struct Shipper {
    running: RunningTopology,
    api: SocketAddr,
    serving: JoinHandle<()>,
}

impl Shipper {
    /// With `{nats}` for this URL.
    async fn start(nats: &str, config: &str, tail: bool) -> Shipper {
        let text = config.replace("{nats}", nats);
        let config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default())
            .unwrap_or_else(|problems| panic!("{problems}"));
        let running = Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>())
            .await
            .expect("it starts");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let api = listener.local_addr().expect("an address");
        let observer = running.observer();
        let options = ApiOptions { tail, ..ApiOptions::default() };
        let serving = tokio::spawn(async move { api::serve(&listener, observer, &options).await });
        Shipper { running, api, serving }
    }
}

impl Drop for Shipper {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

const BLACKHOLE: &str = "[sinks.out]\ntype = 'blackhole'\ninputs = ['nats']\n";

/// What `/health` says when it is well or not, as the book shows it.
fn in_the_book(is_healthy: bool) -> Value {
    let page = include_str!("../docs/src/operating.md");
    let blocks = page.split("```json\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut answers = blocks.filter_map(|block| serde_json::from_str::<Value>(block).ok());
    answers.find(|answer| answer["healthy"] == is_healthy).expect("the book shows it")
}

fn http_sink(id: &str, server: &HttpServer) -> String {
    let uri = server.url("/in");
    format!(
        "[sinks.{id}]\ntype = 'http'\ninputs = ['nats']\nuri = '{uri}'\nencoding.codec = 'json'\n\
         batch.timeout_secs = 0.01\nrequest.retry_initial_backoff_secs = 1\nrequest.retry_max_duration_secs = 1\n\
         healthcheck.enabled = false\n"
    )
}

// === routes ===

#[tokio::test]
async fn each_route_answers_and_none_can_be_written_to() {
    in_time(async {
        let nats = NatsServer::start().await;
        let shipper = Shipper::start(&nats.url(), &format!("{NATS_SOURCE}{BLACKHOLE}"), false).await;
        let api = shipper.api;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publisher.publish_events(0..10).await;
        publisher.flush().await;
        while shipper.running.counts().totals().events.delivered < 10 {
            tokio::time::sleep(POLL_EVERY).await;
        }
        for (path, status, content_type) in [
            ("/live", 200, "application/json"),
            ("/ready", 200, "application/json"),
            ("/health", 200, "application/json"),
            ("/metrics", 200, "text/plain; version=0.0.4"),
            ("/api/status", 200, "application/json"),
            ("/api/history", 200, "application/json"),
            ("/", 200, "text/html"),
            ("/api/tail", 403, "text/plain"),
            ("/graphql", 404, "application/json"),
        ] {
            let answer = get(api, path).await;
            assert_eq!(answer.status, status, "{path}: {answer:?}");
            for header in [
                &format!("content-type: {content_type}"),
                "content-security-policy: default-src 'none'",
                "frame-ancestors 'none'",
                "x-content-type-options: nosniff",
                "referrer-policy: no-referrer",
                "cache-control: no-",
            ] {
                assert!(answer.head.contains(header), "{path}: no {header} in {}", answer.head);
            }
            assert!(!answer.head.contains("access-control"), "{path}: {}", answer.head);
            let head = send(api, &format!("HEAD {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
            assert_eq!((head.status, head.body.as_str()), (status, ""), "{path}");
            for method in ["POST", "PUT", "DELETE", "OPTIONS", "PATCH", "BREW"] {
                let request =
                    format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 2\r\n\r\n{{}}");
                let answer = send(api, &request).await;
                assert_eq!(answer.status, 405, "{method} {path}");
                assert!(answer.head.contains("allow: get, head"), "{method} {path}: {}", answer.head);
            }
        }
        assert_eq!(get(api, "/health").await.json()["ok"], true);
        assert!(get(api, "/nothing").await.json()["routes"]["/health"].is_string());
        assert!(get(api, "/api/tail").await.body.contains("API_TAIL=true"));
        let metrics = get(api, "/metrics").await.body;
        assert!(
            metrics.contains("vector_component_received_events_total{component_id=\"nats\""),
            "{metrics}"
        );
        let status = get(api, "/api/status").await.json();
        assert_eq!(status["totals"]["delivered"], 10, "{status}");
        assert_eq!(status["components"][0]["id"], "nats");
        assert_eq!(status["components"][0]["state"], "working");
        assert_eq!(status["components"][1]["inputs"][0], "nats");
        let mut events = Events::of(api, "/api/events").await;
        for _ in 0..3 {
            let event = events.next("status").await.expect("one more");
            assert_eq!(event["totals"]["delivered"], 10);
        }
        // As soon as a second has passed, what was published in it is a rate.
        publisher.publish_events(10..2_000).await;
        publisher.flush().await;
        while events.next("status").await.expect("one more")["components"][0]["rates"]["received"] == 0.0 {}
    })
    .await;
}

// === health ===

#[tokio::test]
async fn health_is_a_no_while_nats_is_not_there() {
    in_time(async {
        let mut nats = NatsServer::start().await;
        nats.stop().await;
        let shipper = Shipper::start(&nats.url(), &format!("{NATS_SOURCE}{BLACKHOLE}"), false).await;
        let is_time = |value: &Value| value.as_str().is_some_and(|time| time.ends_with('Z'));
        for _ in 0..2 {
            // First it has not tried yet, or has lost the connection that there was.
            let is_tried = |answer: &Value| answer.to_string().contains("cannot connect");
            while !is_tried(&until_status(shipper.api, "/health", 503).await.json()) {
                tokio::time::sleep(POLL_EVERY).await;
            }
            for path in ["/health", "/ready"] {
                let answer = until_status(shipper.api, path, 503).await.json();
                assert_eq!((&answer["ok"], &answer["healthy"]), (&false.into(), &false.into()), "{answer}");
                let reason = &answer["reasons"][0];
                assert_eq!((&reason["component"], &reason["fatal"]), (&"sources.nats".into(), &true.into()));
                // The book shows it with the same words.
                let mut shown = in_the_book(false);
                let shown_since = shown["reasons"][0]["since"].take();
                assert!(is_time(&shown_since) && is_time(&reason["since"]), "{answer}");
                let in_book = shown.to_string().replace("nats://127.0.0.1:4222", &nats.url());
                let mut said = answer.clone();
                said["reasons"][0]["since"].take();
                assert_eq!(said.to_string(), in_book);
            }
            assert_eq!(get(shipper.api, "/live").await.status, 200);
            nats.start_again().await;
            until_status(shipper.api, "/health", 200).await;
            for path in ["/health", "/ready"] {
                assert_eq!(get(shipper.api, path).await.json(), in_the_book(true), "{path}");
            }
            nats.stop().await;
        }
    })
    .await;
}

/// A connection on which nothing comes through any more is no connection, which is found within two pings.
#[tokio::test]
async fn health_is_a_no_while_the_network_is_silent() {
    in_time(async {
        let nats = NatsServer::start().await;
        let proxy = Proxy::start(nats.port()).await;
        let config = format!("{NATS_SOURCE}ping_interval_secs = 1\n{BLACKHOLE}");
        let shipper = Shipper::start(&proxy.nats_url(), &config, false).await;
        until_status(shipper.api, "/health", 200).await;
        proxy.pause(Direction::ToClient);
        let begin = Instant::now();
        until_status(shipper.api, "/health", 503).await;
        // A machine under load may be late, but not by a whole interval more.
        assert!(begin.elapsed() < Duration::from_secs(3), "found after {:?}", begin.elapsed());
        proxy.resume(Direction::ToClient);
        until_status(shipper.api, "/health", 200).await;
    })
    .await;
}

/// The server takes no second connection, so that nobody can tell whether the quiet one lives: first that is said,
/// and then it counts as dead, until something comes.
#[tokio::test]
async fn a_quiet_subscription_that_cannot_be_renewed_is_doubted() {
    in_time(async {
        let options = Options { extra: "max_connections: 2".into(), ..Options::default() };
        let nats = NatsServer::with(options).await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        let config = format!("{NATS_SOURCE}idle_resubscribe_secs = 1\n{BLACKHOLE}");
        let shipper = Shipper::start(&nats.url(), &config, false).await;
        until_status(shipper.api, "/health", 200).await;
        loop {
            let health = get(shipper.api, "/health").await;
            let reason = &health.json()["reasons"][0];
            if !reason.is_null() {
                assert_eq!((health.status, &reason["fatal"]), (200, &false.into()), "{health:?}");
                assert!(reason["problem"].as_str().unwrap().contains("cannot be renewed"), "{health:?}");
                break;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
        until_status(shipper.api, "/health", 503).await;
        publisher.publish_events(0..1).await;
        publisher.flush().await;
        until_status(shipper.api, "/health", 200).await;
    })
    .await;
}

#[tokio::test]
async fn health_is_a_no_while_every_destination_fails() {
    in_time(async {
        let nats = NatsServer::start().await;
        let (one, other) = (HttpServer::start().await, HttpServer::start().await);
        one.default_reply(Reply::status(503));
        other.default_reply(Reply::status(401));
        let config =
            format!("{NATS_SOURCE}{BLACKHOLE}{}{}", http_sink("one", &one), http_sink("other", &other));
        let shipper = Shipper::start(&nats.url(), &config, false).await;
        until_status(shipper.api, "/health", 200).await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publisher.publish_events(0..10).await;
        publisher.flush().await;
        let answer = until_status(shipper.api, "/health", 503).await.json();
        let components: Vec<_> = answer["reasons"].as_array().unwrap().iter().collect();
        assert_eq!(components.len(), 2, "{answer}");
        assert!(components.iter().all(|reason| reason["fatal"] == true), "{answer}");
        assert_eq!(get(shipper.api, "/ready").await.status, 200, "sinks have no part in it");
        one.default_reply(Reply::status(200));
        let answer = until_status(shipper.api, "/health", 200).await.json();
        assert_eq!(answer["reasons"][0]["component"], "sinks.other", "{answer}");
        assert_eq!(answer["reasons"][0]["fatal"], false, "{answer}");
        let status = get(shipper.api, "/api/status").await.json();
        let state = |at: usize| status["components"][at]["state"].as_str().unwrap().to_owned();
        assert_eq!([state(0), state(1), state(2), state(3)], ["working", "working", "working", "failing"]);
    })
    .await;
}

/// What is said of a source is never what was said of the one whose place it has taken.
#[tokio::test]
async fn a_source_that_a_reload_has_replaced_is_not_asked_any_more() {
    in_time(async {
        let nats = NatsServer::start().await;
        let mut shipper = Shipper::start(&nats.url(), &format!("{NATS_SOURCE}{BLACKHOLE}"), false).await;
        until_status(shipper.api, "/health", 200).await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publisher.publish_events(0..10).await;
        publisher.flush().await;
        // It takes connections, and says nothing.
        let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", silent.local_addr().unwrap());
        let text = format!("{NATS_SOURCE}{BLACKHOLE}").replace("{nats}", &url);
        let config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default()).unwrap();
        shipper.running.reload(config).await.expect("it is a good one");
        let answer = get(shipper.api, "/ready").await;
        assert_eq!(answer.status, 503);
        assert_eq!(answer.json()["reasons"][0]["problem"], "it is not connected yet");
    })
    .await;
}

#[tokio::test]
async fn a_source_at_the_end_of_its_input_is_told_of_and_is_no_no() {
    in_time(async {
        let nats = NatsServer::start().await;
        let ends = "[sources.few]\ntype = 'demo_logs'\nformat = 'fly'\ninterval = 0\ncount = 3\n\
                    [sinks.few_out]\ntype = 'blackhole'\ninputs = ['few']\n";
        let shipper = Shipper::start(&nats.url(), &format!("{NATS_SOURCE}{BLACKHOLE}{ends}"), false).await;
        loop {
            let health = until_status(shipper.api, "/health", 200).await.json();
            let reason = &health["reasons"][0];
            if reason["component"] == "sources.few" {
                assert_eq!((&reason["fatal"], &health["healthy"]), (&false.into(), &true.into()), "{health}");
                break;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
        let status = get(shipper.api, "/api/status").await.json();
        let components = status["components"].as_array().unwrap();
        let few = components.iter().find(|component| component["id"] == "few").unwrap();
        assert_eq!(few["state"], "ended", "{few}");
    })
    .await;
}

#[tokio::test]
async fn a_stream_that_is_not_there_is_a_no() {
    in_time(async {
        let nats = NatsServer::with(Options { jetstream: true, ..Options::default() }).await;
        let config = format!(
            "{NATS_SOURCE}jetstream.stream = 'S'\njetstream.consumer = 'C'\njetstream.create = true\n{BLACKHOLE}"
        );
        let shipper = Shipper::start(&nats.url(), &config, false).await;
        let js = JetStream::connect(nats.url()).await;
        loop {
            let answer = until_status(shipper.api, "/health", 503).await;
            if answer.body.contains("stream") {
                break;
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
        js.make_stream(serde_json::json!({})).await;
        until_status(shipper.api, "/health", 200).await;
    })
    .await;
}

#[tokio::test]
async fn a_topology_that_has_ended_is_a_no_and_its_books_can_be_seen() {
    in_time(async {
        let nats = NatsServer::start().await;
        let mut shipper = Shipper::start(&nats.url(), &format!("{NATS_SOURCE}{BLACKHOLE}"), false).await;
        until_status(shipper.api, "/health", 200).await;
        shipper.running.stop(Duration::from_secs(5)).await;
        for path in ["/health", "/ready"] {
            let answer = get(shipper.api, path).await;
            assert!(answer.status == 503 && answer.body.contains("stopping"), "{answer:?}");
        }
        assert_eq!(get(shipper.api, "/live").await.status, 200);
        assert_eq!(get(shipper.api, "/api/status").await.json()["components"][0]["id"], "nats");

        // A source that comes to its end by itself.
        let config = "[sources.nats]\ntype = 'demo_logs'\nformat = 'fly'\ninterval = 0\ncount = 3\n";
        let mut shipper = Shipper::start("", &format!("{config}{BLACKHOLE}"), false).await;
        shipper.running.ended().await;
        assert_eq!(get(shipper.api, "/health").await.status, 503);
    })
    .await;
}

// === tail ===

#[tokio::test]
async fn the_tail_shows_what_fits_and_counts_what_is_too_much() {
    in_time(async {
        let nats = NatsServer::start().await;
        let shipper = Shipper::start(&nats.url(), &format!("{NATS_SOURCE}{BLACKHOLE}"), true).await;
        nats.wait_for_subscription("logs.>").await;
        let refused = get(shipper.api, "/api/tail?subject=logs..x").await;
        assert!(refused.status == 400 && refused.body.contains("token 2"), "{refused:?}");
        assert_eq!(get(shipper.api, "/api/status").await.json()["tail"], true);

        let mut web = Events::of(shipper.api, "/api/tail?subject=logs.web.%3E").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        let long = "x".repeat(10_000);
        let event = |message: &str| {
            serde_json::json!({"message": message, "log": {"level": "warn"}, "timestamp": "2026-01-02T03:04:05Z"})
                .to_string()
        };
        // It is looked at from some moment on.
        let line = loop {
            publisher.publish("logs.db.iad.2", event("not this")).await;
            publisher.publish("logs.web.ord.1", event("this <b>&\u{1b}[31m")).await;
            publisher.flush().await;
            if let Ok(line) = tokio::time::timeout(Duration::from_millis(50), web.next("line")).await {
                break line.expect("a line");
            }
        };
        assert_eq!(line["message"], "this <b>&\u{1b}[31m");
        assert!(line["time"].as_str().unwrap().starts_with("2026-01-02T03:04:05"), "{line}");
        let fields = ["app", "region", "instance", "level", "subject"].map(|name| line[name].as_str().unwrap());
        assert_eq!(fields, ["web", "ord", "1", "warn", "logs.web.ord.1"]);
        publisher.publish("logs.web.ord.1", event(&long)).await;
        publisher.flush().await;
        while web.next("line").await.expect("a line")["message"].as_str().unwrap().len() < 4_000 {}

        // More than anybody can read, while somebody reads nothing at all.
        let _deaf = Events::of(shipper.api, "/api/tail").await;
        let begin = Instant::now();
        for _ in 0..20_000 {
            publisher.publish("logs.web.ord.1", event("many")).await;
        }
        publisher.flush().await;
        let (mut lines, mut skipped) = (0, 0);
        while skipped < 1_000 {
            match web.any().await.expect("it goes on") {
                (name, event) if name == "skipped" => skipped += event["skipped"].as_u64().unwrap(),
                _ => lines += 1,
            }
        }
        let seconds = begin.elapsed().as_secs() + 2;
        assert!(lines <= 200 * seconds, "{lines} lines in {seconds} s");
        while shipper.running.counts().sources[0].1.received < 20_000 {
            tokio::time::sleep(POLL_EVERY).await;
        }
        let report = shipper.running.counts();
        assert_eq!(report.totals().lost, 0, "{report}");
    })
    .await;
}

// === hostile requests ===

#[tokio::test]
async fn what_a_browser_is_told_to_ask_by_a_stranger_is_refused() {
    in_time(async {
        let shipper = Shipper::start("nats://127.0.0.1:1", &format!("{NATS_SOURCE}{BLACKHOLE}"), true).await;
        let api = shipper.api;
        for (request, status) in [
            ("GET /live HTTP/1.1\r\nHost: evil.example\r\n\r\n".to_owned(), 421),
            ("GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n".to_owned(), 421),
            ("GET http://evil.example/live HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 421),
            ("GET /live HTTP/1.1\r\nHost: shipper.internal:8686\r\n\r\n".to_owned(), 200),
            ("GET /live HTTP/1.0\r\n\r\n".to_owned(), 200),
            (
                "GET /api/status HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n"
                    .to_owned(),
                403,
            ),
            (
                "GET /api/tail HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: cross-site\r\n\r\n".to_owned(),
                403,
            ),
            (
                "GET /api/status HTTP/1.1\r\nHost: localhost\r\nSec-Fetch-Site: same-origin\r\n\r\n"
                    .to_owned(),
                200,
            ),
            ("GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n".to_owned(), 404),
            (format!("GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n", "x".repeat(20 << 10)), 431),
            (format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(20 << 10)), 431),
            ("nonsense\r\n\r\n".to_owned(), 400),
            ("\u{0}\u{1}\r\n\r\n".to_owned(), 400),
        ] {
            let answer = send(api, &request).await;
            let shown = &request[..request.len().min(100)];
            assert_eq!(answer.status, status, "{shown:?}: {answer:?}");
        }
        assert_eq!(get(api, "/live").await.status, 200);
    })
    .await;
}

#[tokio::test]
async fn many_connections_keep_nobody_out() {
    in_time(async {
        let shipper = Shipper::start("nats://127.0.0.1:1", &format!("{NATS_SOURCE}{BLACKHOLE}"), false).await;
        let api = shipper.api;
        // Somebody else, who was here before all of them and has not said everything yet.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut modest = socket.connect(api).await.unwrap();
        modest.write_all(b"GET /live HTTP/1.1\r\n").await.unwrap();
        // Those that never say anything, and those that listen for ever.
        let mut silent = Vec::new();
        let mut listening = Vec::new();
        for _ in 0..30 {
            let mut events = Events::of(api, "/api/events").await;
            events.next("status").await.expect("it is told");
            listening.push(events);
        }
        for _ in 0..200 {
            silent.push(TcpStream::connect(api).await.unwrap());
        }
        assert_eq!(get(api, "/live").await.status, 200);
        modest.write_all(b"Host: localhost\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        modest.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer:?}");
        // Of those that listen, the oldest have gone, and the newest are still told.
        while listening[0].next("status").await.is_some() {}
        assert!(listening[29].next("status").await.is_some());
        // Whoever takes too long for a question is cut.
        let mut slow = TcpStream::connect(api).await.unwrap();
        slow.write_all(b"GET /live HT").await.unwrap();
        let begin = Instant::now();
        let mut rest = Vec::new();
        let _ = slow.read_to_end(&mut rest).await;
        assert!(begin.elapsed() < Duration::from_secs(9), "{:?}", begin.elapsed());
    })
    .await;
}

// === the program ===

/// The address behind these words in its log.
async fn address(program: &mut Program, words: &str) -> SocketAddr {
    program.wait_for_log(words).await;
    loop {
        let log = program.log();
        let (_, rest) = log.rsplit_once(words).expect("it was there");
        if let Some(end) = rest.find('/') {
            return rest[..end].parse().unwrap_or_else(|error| panic!("{error}: {rest}"));
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

const API: &str = "the API is at http://";

/// The destination repeats what it was sent, and refuses it.
#[tokio::test]
async fn no_route_shows_a_secret_or_a_log() {
    in_time(async {
        const SECRET: &str = "s3cr3t-t0ken";
        let (nats, http) = (NatsServer::start().await, HttpServer::start().await);
        http.respond_with(|request| {
            Reply::status(401).body(format!("no: {:?} {}", request.headers, request.text()))
        });
        let (nats_url, url) =
            (nats.url().replace("nats://", "nats://u:s3cr3t-t0ken@"), http.url("/s3cr3t-t0ken"));
        let mut program = Program::start(
            &["run"],
            &[
                ("NATS_URL", &nats_url),
                ("HTTP_URL", &url),
                ("HTTP_TOKEN", SECRET),
                ("API_ADDRESS", "127.0.0.1:0"),
                ("METRICS_ADDRESS", "127.0.0.1:0"),
            ],
            "shipping to",
        )
        .await;
        let metrics = address(&mut program, "metrics are at http://").await;
        let page = get(metrics, "/metrics").await;
        assert!(page.status == 200 && page.body.contains("vector_buffer_events"), "{page:?}");
        assert_eq!(get(metrics, "/api/status").await.status, 404);
        let log = program.log();
        let (_, api) = log.split_once(API).expect("the API is there");
        let api: SocketAddr = api.split('/').next().unwrap().parse().unwrap();
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publisher.publish("logs.a.b.c", r#"{"message":"the content of a log"}"#).await;
        publisher.flush().await;
        let health = until_status(api, "/health", 503).await;
        assert!(health.body.contains("401"), "{health:?}");
        for path in
            ["/", "/live", "/ready", "/health", "/metrics", "/api/status", "/api/history", "/api/tail"]
        {
            let answer = get(api, path).await;
            let text = format!("{answer:?}");
            assert!(!text.contains("s3cr3t") && !text.contains("content of a log"), "{path}: {text}");
        }
        let mut events = Events::of(api, "/api/events").await;
        let event = events.next("status").await.expect("it is told").to_string();
        assert!(!event.contains("s3cr3t") && !event.contains("content of a log"), "{event}");
        assert!(!program.log().contains("s3cr3t"), "{}", program.log());
    })
    .await;
}

#[tokio::test]
async fn a_port_that_is_taken_holds_up_nothing_and_a_reload_moves_the_server() {
    in_time(async {
        let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let taken_address = taken.local_addr().unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("vector.toml");
        let write = |api: &str, more: &str| {
            let source = "[sources.nats]\ntype = 'demo_logs'\nformat = 'fly'\ninterval = 0.01\n";
            std::fs::write(&path, format!("{api}{source}{BLACKHOLE}{more}")).unwrap();
        };
        let api_on = |address: &str| format!("[api]\nenabled = true\naddress = '{address}'\n");
        write(&api_on(&taken_address.to_string()), "");
        let args = ["run", "-c", path.to_str().unwrap()];
        let mut program = Program::start(&args, &[], "somebody listens on").await;
        assert!(program.log().contains("no API, will try again"), "{}", program.log());
        drop(taken);
        assert_eq!(address(&mut program, API).await, taken_address);
        let received = |status: &Value| status["totals"]["received"].as_u64().unwrap();
        while received(&get(taken_address, "/api/status").await.json()) < 5 {
            tokio::time::sleep(POLL_EVERY).await;
        }
        let before = get(taken_address, "/api/status").await.json();

        // Another component moves nothing.
        let mut events = Events::of(taken_address, "/api/events").await;
        write(&api_on(&taken_address.to_string()), "[sinks.more]\ntype = 'blackhole'\ninputs = ['nats']\n");
        program.signal("-HUP").await;
        program.wait_for_log("reloaded: ").await;
        while events.next("status").await.expect("it goes on")["components"].as_array().unwrap().len() < 3 {}

        write(&api_on("127.0.0.1:0"), "");
        program.signal("-HUP").await;
        let moved = address(&mut program, API).await;
        assert_ne!(moved, taken_address);
        while events.next("status").await.is_some() {}
        let after = get(moved, "/api/status").await.json();
        assert!(received(&after) > received(&before), "the counts go on");
        assert_eq!(after["started"], before["started"]);
        assert!(TcpStream::connect(taken_address).await.is_err(), "it has moved");

        // The same port of all addresses: what has listened there is not in its own way.
        write(&api_on(&format!("0.0.0.0:{}", moved.port())), "");
        program.signal("-HUP").await;
        program.wait_for_log(&format!("{API}0.0.0.0:")).await;
        assert_eq!(program.log().matches("will try again").count(), 1, "{}", program.log());
        assert_eq!(get(moved, "/live").await.status, 200);

        write("", "");
        program.signal("-HUP").await;
        program.wait_for_log("reloaded: the API is different; no component is different").await;
        while TcpStream::connect(moved).await.is_ok() {
            tokio::time::sleep(POLL_EVERY).await;
        }
        program.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_tail_that_others_can_reach_is_warned_of() {
    in_time(async {
        let config = format!(
            "[api]\nenabled = true\naddress = '0.0.0.0:0'\ntail = true\n[sources.nats]\ntype = 'demo_logs'\n\
             format = 'fly'\n{BLACKHOLE}"
        );
        let mut program = Program::run(&config, &[]);
        program.wait_for_log("api.tail is on and 0.0.0.0:0 is no loopback address").await;
        program.stop().await;
    })
    .await;
}

#[tokio::test]
async fn the_demo_says_where_its_page_is() {
    in_time(async {
        let env = [("API_ADDRESS", "127.0.0.1:0")];
        let mut demo = Program::start(&["demo", "--rate", "100"], &env, "sample apps publish").await;
        let log = demo.log();
        let api = match log.split_once(API) {
            Some((_, rest)) => rest.split('/').next().unwrap().parse().unwrap(),
            None => address(&mut demo, API).await,
        };
        let mut tail = Events::of(api, "/api/tail").await;
        assert!(tail.next("line").await.expect("a line")["message"].is_string());
        demo.stop().await;
        let ended = run(&["demo", "--count", "1", "--no-api"], &env).await;
        assert!(ended.code == Some(0) && !ended.err.contains("API"), "{ended:?}");
    })
    .await;
}

/// Thousands of questions of every kind leave nothing behind.
#[tokio::test]
async fn memory_is_flat_under_thousands_of_requests() {
    in_time(async {
        let config = format!(
            "[api]\nenabled = true\naddress = '127.0.0.1:0'\n[sources.nats]\ntype = 'demo_logs'\nformat = 'fly'\n\
             interval = 0.01\n{BLACKHOLE}"
        );
        let mut program = Program::run(&config, &[]);
        let api = address(&mut program, API).await;
        let ask = async |times: usize| {
            let paths = ["/health", "/api/status", "/api/history", "/metrics", "/", "/nothing", "/api/tail"];
            for path in paths.into_iter().cycle().take(times) {
                assert_ne!(get(api, path).await.status, 0, "{path}");
            }
            for _ in 0..times / 50 {
                Events::of(api, "/api/events").await.next("status").await.expect("it is told");
            }
        };
        ask(700).await;
        let before = program.memory();
        ask(3_500).await;
        let grown = program.memory().saturating_sub(before);
        assert!(grown < 4 << 20, "{grown} bytes more");
        let books = program.stop().await;
        assert!(books.iter().any(|(id, book)| id == "out" && book.delivered > 0), "{books:?}");
    })
    .await;
}
