//! What destinations do to us, and what becomes of the events then.

use crate::support::certificates::Certificates;
use crate::support::http_server::{HttpServer, Reply, Request};
use crate::support::log_lines::LogLines;
use crate::{check_books, in_time, soak, start};
use async_trait::async_trait;
use log_shipper::config::{Config, Registry, Result, Source, SourceConfig, SourceContext};
use log_shipper::env::Env;
use log_shipper::event::LogEvent;
use log_shipper::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
use log_shipper::topology::{Report, RunningTopology, SinkSnapshot, Topology, TopologyOptions};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;

/// Pauses of tests, and no chance in them.
const QUICK: &str = "request.retry_initial_backoff_secs = 0.01\nrequest.retry_max_duration_secs = 0.03\nrequest.retry_jitter_mode = 'None'";

/// An `http` sink with JSON arrays.
fn http(id: &str, server: &HttpServer, options: &str) -> String {
    let uri = server.url("/");
    format!(
        "[sinks.{id}]\ntype = 'http'\ninputs = ['in']\nuri = '{uri}'\nencoding.codec = 'json'\n{QUICK}\n{options}\n"
    )
}

/// The dead letters.
fn letters(server: &HttpServer) -> String {
    http("dead_letters", server, "batch.timeout_secs = 0.05")
}

/// A source of these events, in chunks; it ends at once, and their receipts are answered later.
#[derive(Debug)]
struct Numbered {
    events: Vec<String>,
    chunk: usize,
    answers: mpsc::UnboundedSender<(u64, EventStatus)>,
}

#[async_trait]
impl SourceConfig for Numbered {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let (events, chunk, answers) = (self.events.clone(), self.chunk, self.answers.clone());
        Ok(Box::pin(async move {
            for (index, texts) in events.chunks(chunk).enumerate() {
                let first = index * chunk;
                let event = |(n, text): (usize, &String)| {
                    let batch = BatchNotifier::keyed((first + n) as u64, answers.clone());
                    let event = LogEvent::from_json(text.clone().into()).unwrap();
                    event.with_finalizers(EventFinalizers::new(batch))
                };
                cx.output.send(texts.iter().enumerate().map(event).collect()).await;
            }
            Ok(())
        }))
    }
}

/// `{"n": 0}`, `{"n": 1}`, ...
fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("{{\"n\":{n}}}")).collect()
}

/// What runs, and the answers to its events.
struct Shipper {
    running: RunningTopology,
    answers: mpsc::UnboundedReceiver<(u64, EventStatus)>,
}

impl Shipper {
    /// Sends these events to these sinks; the one of the name `dead_letters` gets what the others refuse.
    async fn start(sinks: &str, events: Vec<String>) -> Shipper {
        let text = format!("[sources.in]\ntype = 'stdin'\n{sinks}");
        let mut config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default())
            .unwrap_or_else(|problems| panic!("{problems}"));
        config.sources.clear();
        let (sender, answers) = mpsc::unbounded_channel();
        let mut config = config.source("in", Numbered { events, chunk: 100, answers: sender });
        let at = config.sinks.iter().position(|sink| sink.id == "dead_letters");
        config.dead_letters = at.map(|at| config.sinks.remove(at));
        let running =
            Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
        Shipper { running, answers }
    }

    /// Waits until all is done; the books, which balance, and how often each receipt was answered how.
    async fn finish(mut self) -> (Report, BTreeMap<u64, Vec<EventStatus>>) {
        self.running.finished().await;
        let report = self.running.counts();
        check_books(&report);
        assert!(!self.running.stop(Duration::from_secs(5)).await.has_losses());
        let mut answers = BTreeMap::<u64, Vec<_>>::new();
        while let Some((key, status)) = self.answers.recv().await {
            answers.entry(key).or_default().push(status);
        }
        (report, answers)
    }
}

/// What the books say of a sink.
fn books(report: &Report, id: &str) -> SinkSnapshot {
    report.sinks.iter().find(|(other, _)| other == id).unwrap().1
}

/// Waits until the books say so.
async fn wait_for_books(running: &RunningTopology, condition: impl Fn(&Report) -> bool) -> Report {
    loop {
        let report = running.counts();
        if condition(&report) {
            return report;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The numbers of a request's events.
fn numbers_of(request: &Request) -> Vec<u64> {
    let events = request.json();
    let events = events.as_array().unwrap();
    events.iter().map(|event| event["n"].as_u64().unwrap()).collect()
}

/// The letters that a server has got.
fn letters_of(server: &HttpServer) -> Vec<Value> {
    server.requests().iter().flat_map(|request| request.json().as_array().unwrap().clone()).collect()
}

#[tokio::test]
async fn a_destination_that_refuses_us_for_a_while_loses_nothing() {
    in_time(async {
        let (log, _guard) = LogLines::keep();
        let server = HttpServer::start().await;
        let refusals = 12;
        for _ in 0..refusals {
            server.push(Reply::status(401).body("who are you?"));
        }
        let dead = HttpServer::start().await;
        let options = "batch.max_events = 10\nrequest.headers.authorization = 'Bearer s3cr3t'";
        let sinks = http("out", &server, options) + &letters(&dead);
        let (report, _) = Shipper::start(&sinks, numbers(100)).await.finish().await;
        assert_eq!((books(&report, "out").delivered, books(&report, "out").rejected), (100, 0));
        assert!(dead.requests().is_empty());
        assert_eq!(server.requests().len(), refusals + 10, "one batch at a time asks whether it is over");
        let host = server.url("");
        for words in [
            format!("{host} refuses us: status 401 Unauthorized: who are you?; held until it accepts us, for at most 15 min; check the key, token or password, and what it may do"),
            format!("{host} accepts us again after"),
        ] {
            assert_eq!(log.with(&words).len(), 1, "{words}:\n{}", log.with("").join("\n"));
        }
        assert!(log.with("s3cr3t").is_empty());
    })
    .await;
}

#[tokio::test]
async fn a_destination_that_refuses_us_for_too_long_gets_no_more_of_our_time() {
    in_time(async {
        let server = HttpServer::start().await;
        server.default_reply(Reply::status(401).body("no"));
        let dead = HttpServer::start().await;
        let sinks = http("out", &server, "batch.max_events = 10\nrequest.hold_secs = 0.3") + &letters(&dead);
        let start = Instant::now();
        let (report, answers) = Shipper::start(&sinks, numbers(100)).await.finish().await;
        assert!(start.elapsed() >= Duration::from_millis(300));
        let out = books(&report, "out");
        assert_eq!((out.delivered, out.rejected, books(&report, "dead_letters").delivered), (0, 100, 100));
        let letters = letters_of(&dead);
        assert_eq!(letters.len(), 100);
        for letter in &letters {
            assert_eq!(letter["status"], 401);
            let reason = letter["reason"].as_str().unwrap();
            assert!(
                reason.starts_with("held for ") && reason.ends_with("status 401 Unauthorized: no"),
                "{reason}"
            );
        }
        assert!(letters.iter().any(|letter| letter["attempts"].as_u64().unwrap() > 1));
        assert!(answers.values().all(|statuses| *statuses == [EventStatus::Rejected]));
    })
    .await;
}

#[tokio::test]
async fn without_dead_letters_events_are_held_on() {
    in_time(async {
        let server = HttpServer::start().await;
        server.default_reply(Reply::status(403));
        let shipper = Shipper::start(&http("out", &server, "batch.max_events = 10"), numbers(100)).await;
        server.wait_for(20).await;
        let report = shipper.running.counts();
        check_books(&report);
        assert_eq!((books(&report, "out").rejected, books(&report, "out").buffered), (0, 100));
        server.default_reply(Reply::status(200));
        let (report, _) = shipper.finish().await;
        assert_eq!(books(&report, "out").delivered, 100);
    })
    .await;
}

#[tokio::test]
async fn what_is_tried_again_is_given_up_at_last() {
    in_time(async {
        let server = HttpServer::start().await;
        server.default_reply(Reply::status(503).body("busy"));
        let dead = HttpServer::start().await;
        let options = "batch.max_events = 10\nrequest.give_up_after_secs = 0.3";
        let sinks = http("out", &server, options) + &letters(&dead);
        let (report, _) = Shipper::start(&sinks, numbers(30)).await.finish().await;
        assert_eq!(books(&report, "out").rejected, 30);
        for letter in letters_of(&dead) {
            assert_eq!(letter["status"], 503);
            let reason = letter["reason"].as_str().unwrap();
            assert!(
                reason.starts_with("given up after ") && reason.contains("503") && reason.ends_with("busy"),
                "{reason}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn a_status_does_what_the_user_says() {
    in_time(async {
        let (log, _guard) = LogLines::keep();
        for (policy, status, delivered, requests) in [
            ("failure_policy = {404 = 'reject'}", 404, 0, 1),
            ("failure_policy = {4xx = 'hold'}", 400, 4, 3),
            ("failure_policy = {4xx = 'hold', 400 = 'retry'}", 400, 4, 3),
            ("failure_policy = {4xx = 'reject'}\nretry_strategy.type = 'all'", 429, 0, 1),
            ("failure_policy = {5xx = 'hold'}\nretry_strategy.type = 'none'", 503, 4, 3),
            // It is split whatever the policy says.
            ("failure_policy = {4xx = 'reject'}", 413, 4, 5),
        ] {
            let server = HttpServer::start().await;
            server.push(Reply::status(status));
            server.push(Reply::status(status));
            let (report, _) = Shipper::start(&http("out", &server, policy), numbers(4)).await.finish().await;
            let found = (books(&report, "out").delivered, server.requests().len());
            assert_eq!(found, (delivered, requests), "{policy}, {status}");
        }
        log.wait_for("it is held because failure_policy says so").await;
    })
    .await;
}

#[tokio::test]
async fn a_refused_partition_does_not_stop_the_others() {
    in_time(async {
        let server = HttpServer::start().await;
        server.respond_with(|request| Reply::status(if request.path_and_query == "/lost" { 404 } else { 200 }));
        let dead = HttpServer::start().await;
        let events = (0..600).map(|n| {
            let to = if n % 2 == 0 { "lost" } else { "found" };
            format!("{{\"n\":{n},\"to\":\"{to}\"}}")
        });
        let uri = server.url("/{{ to }}");
        let options = format!("batch.max_events = 10\nrequest.hold_secs = 2\n{QUICK}");
        let sinks = format!(
            "[sinks.out]\ntype = 'http'\ninputs = ['in']\nuri = '{uri}'\nencoding.codec = 'json'\n{options}\n{}",
            letters(&dead)
        );
        let shipper = Shipper::start(&sinks, events.collect()).await;
        let report = wait_for_books(&shipper.running, |report| books(report, "out").delivered == 300).await;
        assert_eq!(books(&report, "out").rejected, 0, "all the others are there before anything is given up");
        let (report, _) = shipper.finish().await;
        assert_eq!((books(&report, "out").delivered, books(&report, "out").rejected), (300, 300));
        let letters = letters_of(&dead);
        assert_eq!(letters.len(), 300);
        assert!(letters.iter().all(|letter| letter["event"]["to"] == "lost" && letter["status"] == 404));
    })
    .await;
}

#[tokio::test]
async fn a_failing_destination_is_asked_by_one_request_at_a_time() {
    in_time(async {
        let (log, _guard) = LogLines::keep();
        let server = HttpServer::start().await;
        // Eight requests at once, and an answer takes a while: so overlaps would be seen.
        server.default_reply(Reply::status(503).late(Duration::from_millis(5)));
        let options = "batch.max_events = 1\nrequest.concurrency = 8\nrequest.circuit_breaker.failures = 8";
        let shipper = Shipper::start(&http("out", &server, options), numbers(40)).await;
        let requests = server.wait_for(30).await;
        // Those that were under way when it opened have their answers at the latest with the second eight.
        let probes = &requests[16..];
        for pair in probes.windows(2) {
            let between = pair[1].at - pair[0].at;
            assert!(between >= Duration::from_millis(10), "two requests within {between:?}");
        }
        let good = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&good);
        server.respond_with(move |_| {
            count.fetch_add(1, Ordering::Relaxed);
            Reply::status(200)
        });
        let (report, _) = shipper.finish().await;
        assert_eq!(books(&report, "out").delivered, 40);
        assert_eq!(good.load(Ordering::Relaxed), 40, "each batch once more");
        assert_eq!(log.with("8 requests in a row have failed").len(), 1, "{}", log.with("").join("\n"));
        assert_eq!(log.with("the destination answers again after").len(), 1, "{}", log.with("").join("\n"));
    })
    .await;
}

#[tokio::test]
async fn a_new_key_ends_the_waiting() {
    in_time(async {
        let server = HttpServer::start().await;
        server.respond_with(|request| {
            Reply::status(if request.header("authorization") == Some("Bearer new") { 200 } else { 401 })
        });
        let text = |key: &str| {
            let options = format!(
                "[sinks.out]\ntype = 'http'\ninputs = ['in']\nuri = '{}'\nencoding.codec = 'json'\nbatch.max_events = 2",
                server.url("/")
            );
            // Nobody waits for an hour in vain.
            let pauses = "request.retry_initial_backoff_secs = 3600\nrequest.retry_max_duration_secs = 3600\nrequest.retry_jitter_mode = 'None'";
            format!(
                "[sources.in]\ntype = 'demo_logs'\nformat = 'json'\ncount = 10\ninterval = 0\n{options}\n{pauses}\nauth.strategy = 'bearer'\nauth.token = '{key}'"
            )
        };
        let mut running = start(&text("old"), Env::default()).await;
        server.wait_for(1).await;
        let config = Config::from_toml(&text("new"), "test", &Registry::builtin(), &Env::default()).unwrap();
        running.reload(config).await.unwrap();
        running.finished().await;
        let report = running.stop(Duration::from_secs(5)).await;
        check_books(&report);
        assert_eq!((books(&report, "out").delivered, books(&report, "out").rejected), (10, 0));
    })
    .await;
}

#[tokio::test]
async fn what_is_too_large_is_split_until_it_fits() {
    in_time(async {
        let server = HttpServer::start().await;
        server.respond_with(|request| {
            let numbers = numbers_of(request);
            Reply::status(if numbers.contains(&5) || numbers.len() > 2 { 413 } else { 200 })
        });
        let dead = HttpServer::start().await;
        let sinks = http("out", &server, "batch.max_events = 8") + &letters(&dead);
        let (report, answers) = Shipper::start(&sinks, numbers(16)).await.finish().await;
        assert_eq!((books(&report, "out").delivered, books(&report, "out").rejected), (15, 1));
        let [letter] = &letters_of(&dead)[..] else { panic!("{:?}", letters_of(&dead)) };
        // Eight, four, two, one.
        assert_eq!(
            (&letter["event"], &letter["status"], &letter["attempts"]),
            (&json!({"n": 5}), &json!(413), &json!(4))
        );
        assert!(letter["reason"].as_str().unwrap().contains("too large"), "{letter}");
        for (n, statuses) in answers {
            let expected = if n == 5 { EventStatus::Rejected } else { EventStatus::Delivered };
            assert_eq!(statuses, [expected], "{n}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_pause_that_is_asked_for_is_kept_by_all_requests() {
    in_time(async {
        const ANSWER: Duration = Duration::from_millis(300);
        const PAUSE: Duration = Duration::from_secs(1);
        let server = HttpServer::start().await;
        for _ in 0..4 {
            server.push(Reply::status(429).header("retry-after", "1").late(ANSWER));
        }
        let options = "batch.max_events = 1\nrequest.concurrency = 4";
        let (report, _) = Shipper::start(&http("out", &server, options), numbers(12)).await.finish().await;
        assert_eq!(books(&report, "out").delivered, 12);
        let requests = server.requests();
        assert_eq!(requests.len(), 16);
        let first = requests.iter().map(|request| request.at).min().unwrap();
        let begun = requests.iter().filter(|request| request.at < first + ANSWER + PAUSE).count();
        assert_eq!(begun, 4, "no request begins before the time is over");
    })
    .await;
}

#[tokio::test]
async fn of_a_mixed_answer_each_event_gets_its_own() {
    in_time(async {
        // 1 in 5 is refused, 1 in 5 comes again.
        let fate = |n: u64, is_first: bool| match n % 5 {
            1 => (400, "no such field"),
            2 if is_first => (429, "slow down"),
            _ => (201, ""),
        };
        let elasticsearch = HttpServer::start().await;
        elasticsearch.respond_with(move |request| {
            let lines = request.json_lines();
            let numbers = lines.iter().filter_map(|line| line["n"].as_u64());
            let numbers: Vec<_> = numbers.collect();
            let is_first = numbers.len() > 4;
            let items = numbers.into_iter().map(|n| match fate(n, is_first) {
                (201, _) => json!({"create": {"status": 201}}),
                (status, reason) => json!({"create": {"status": status, "error": {"type": "t", "reason": reason}}}),
            });
            let body = json!({"errors": true, "items": items.collect::<Vec<_>>()});
            Reply::status(200).body(body.to_string())
        });
        let honeycomb = HttpServer::start().await;
        honeycomb.respond_with(move |request| {
            let body = request.json();
            let entries = body.as_array().unwrap();
            let answers = entries.iter().map(|entry| match fate(entry["data"]["n"].as_u64().unwrap(), entries.len() > 4) {
                (201, _) => json!({"status": 202}),
                (status, reason) => json!({"status": status, "error": reason}),
            });
            Reply::status(200).body(Value::from(answers.collect::<Vec<_>>()).to_string())
        });
        let dead = HttpServer::start().await;
        let sinks = format!(
            "[sinks.es]\ntype = 'elasticsearch'\ninputs = ['in']\nendpoints = ['{}']\nhealthcheck = false\n{QUICK}\n\
             [sinks.hc]\ntype = 'honeycomb'\ninputs = ['in']\nendpoint = '{}'\napi_key = 'k'\ndataset = 'd'\nhealthcheck = false\n{QUICK}\n{}",
            elasticsearch.url(""),
            honeycomb.url(""),
            letters(&dead)
        );
        let (report, answers) = Shipper::start(&sinks, numbers(20)).await.finish().await;
        for (id, server) in [("es", &elasticsearch), ("hc", &honeycomb)] {
            assert_eq!((books(&report, id).delivered, books(&report, id).rejected), (16, 4), "{id}");
            assert_eq!(server.requests().len(), 2, "{id}");
            let again = server.requests()[1].text();
            let is_there = |n: u64| again.contains(&format!("\"n\":{n},")) || again.contains(&format!("\"n\":{n}}}"));
            let there: Vec<_> = (0..20).filter(|n| is_there(*n)).collect();
            assert_eq!(there, [2, 7, 12, 17], "{id}: only what is to come again: {again}");
        }
        let letters = letters_of(&dead);
        assert_eq!(letters.len(), 8);
        for letter in letters {
            assert_eq!(letter["event"]["n"].as_u64().unwrap() % 5, 1);
            assert_eq!((&letter["status"], &letter["attempts"]), (&json!(400), &json!(1)), "{letter}");
            assert!(letter["reason"].as_str().unwrap().contains("no such field"), "{letter}");
        }
        for (n, statuses) in answers {
            let expected = if n % 5 == 1 { EventStatus::Rejected } else { EventStatus::Delivered };
            assert_eq!(statuses, [expected], "{n}");
        }
    })
    .await;
}

/// What stands in front of a destination that speaks TLS.
enum Front {
    Tls(TlsAcceptor),
    /// It resets every connection.
    Reset,
}

/// A destination that speaks TLS, with a certificate that can be replaced.
async fn tls_front(server: &HttpServer, front: Arc<Mutex<Front>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let behind = server.port();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let acceptor = match &*front.lock().unwrap() {
                Front::Tls(acceptor) => acceptor.clone(),
                Front::Reset => {
                    stream.set_zero_linger().unwrap();
                    continue;
                }
            };
            tokio::spawn(async move {
                let Ok(mut stream) = acceptor.accept(stream).await else { return };
                let mut server = TcpStream::connect(("127.0.0.1", behind)).await.unwrap();
                let _ = copy_bidirectional(&mut stream, &mut server).await;
            });
        }
    });
    port
}

#[tokio::test]
async fn a_destination_whose_certificate_is_bad_gets_its_events_when_that_is_mended() {
    in_time(async {
        let certificates = Certificates::generate();
        let ca = certificates.ca.display();
        for (front, words) in [
            (Front::Tls(certificates.acceptor_for("127.0.0.1", 2001)), &["its certificate has expired", "valid until 2001-01-01", "out of date"][..]),
            (Front::Tls(certificates.acceptor_for("other.example", 4000)), &["its certificate is for another name", "for other.example, not for 127.0.0.1"]),
            (Front::Reset, &["cannot connect to 127.0.0.1:"]),
        ] {
            let (log, _guard) = LogLines::keep();
            let server = HttpServer::start().await;
            let front = Arc::new(Mutex::new(front));
            let port = tls_front(&server, Arc::clone(&front)).await;
            let sinks = format!(
                "[sinks.out]\ntype = 'http'\ninputs = ['in']\nuri = 'https://127.0.0.1:{port}/'\nencoding.codec = 'json'\nbatch.max_events = 10\ntls.ca_file = '{ca}'\n{QUICK}\n"
            );
            let shipper = Shipper::start(&sinks, numbers(30)).await;
            log.wait_for("5 requests in a row have failed").await;
            for word in words {
                assert!(!log.with(word).is_empty(), "`{word}`:\n{}", log.with("").join("\n"));
            }
            assert_eq!(books(&shipper.running.counts(), "out").buffered, 30);
            *front.lock().unwrap() = Front::Tls(certificates.acceptor_for("127.0.0.1", 4000));
            let (report, _) = shipper.finish().await;
            assert_eq!((books(&report, "out").delivered, books(&report, "out").rejected), (30, 0));
            log.wait_for("the destination answers again").await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_black_hole_does_not_slow_down_the_others() {
    in_time(async {
        const EVENTS: u64 = 5000;
        let hole = HttpServer::start().await;
        hole.default_reply(Reply::Never);
        let mut times = Vec::new();
        for has_hole in [false, true] {
            let servers = [HttpServer::start().await, HttpServer::start().await];
            let mut sinks = http("a", &servers[0], "batch.max_events = 100\nbuffer.when_full = 'block'");
            sinks += &http("b", &servers[1], "batch.max_events = 100\nbuffer.when_full = 'block'");
            if has_hole {
                sinks += &http(
                    "hole",
                    &hole,
                    "buffer.max_events = 500\nbuffer.when_full = 'drop_oldest'\nbatch.max_events = 100",
                );
            }
            let start = Instant::now();
            let mut shipper = Shipper::start(&sinks, numbers(usize::try_from(EVENTS).unwrap())).await;
            let report = wait_for_books(&shipper.running, |report| {
                ["a", "b"].iter().all(|id| books(report, id).delivered == EVENTS)
            })
            .await;
            times.push(start.elapsed());
            if has_hole {
                assert_eq!(books(&report, "hole").delivered, 0);
                hole.wait_for(1).await;
            }
            let report = shipper.running.stop(Duration::from_millis(50)).await;
            check_books(&report);
        }
        let [without, with] = times[..] else { unreachable!() };
        assert!(
            with < without * 5 + Duration::from_secs(1),
            "{without:?} without the hole, {with:?} with it"
        );
    })
    .await;
}

/// A destination that fails at random; what it has taken is written down.
struct Chaos {
    rng: Mutex<SmallRng>,
    taken: Mutex<Vec<u64>>,
}

impl Chaos {
    fn new(seed: u64) -> Arc<Chaos> {
        Arc::new(Chaos { rng: Mutex::new(SmallRng::seed_from_u64(seed)), taken: Mutex::default() })
    }

    /// The reply to these events; of an answer with entries, what is said of each is `entry`'s to write.
    fn reply(&self, numbers: Vec<u64>, entries: Option<&dyn Fn(Vec<u16>) -> Value>) -> Reply {
        let mut rng = self.rng.lock().unwrap();
        let ok = |numbers: Vec<u64>, rng: &mut SmallRng| {
            let statuses: Vec<_> = match entries {
                // Most of them are taken.
                Some(_) => numbers
                    .iter()
                    .map(|_| {
                        *[200, 200, 200, 200, 200, 200, 429, 503, 400]
                            .get(rng.random_range(0..20))
                            .unwrap_or(&200)
                    })
                    .collect(),
                None => vec![200; numbers.len()],
            };
            let taken = numbers.iter().zip(&statuses).filter(|(_, status)| **status == 200);
            self.taken.lock().unwrap().extend(taken.map(|(n, _)| *n));
            Reply::status(200).body(entries.map_or_else(String::new, |entries| entries(statuses).to_string()))
        };
        match rng.random_range(0..100) {
            0..3 => Reply::status(400).body("bad"),
            3..8 => Reply::status([401, 403, 404][rng.random_range(0..3)]),
            8..18 => Reply::status([429, 500, 503, 408][rng.random_range(0..4)]),
            18..20 => Reply::status(429).header("retry-after", "0"),
            20..25 => Reply::Reset,
            25..35 => Reply::status(413),
            35..45 => ok(numbers, &mut rng).late(Duration::from_millis(rng.random_range(0..5))),
            _ => ok(numbers, &mut rng),
        }
    }
}

#[tokio::test]
async fn every_event_ends_in_exactly_one_place_whatever_the_destinations_do() {
    let events = 50_000 * usize::try_from(soak()).unwrap().min(20);
    in_time(async {
        let mut servers = Vec::new();
        let chaos: Vec<_> = (0..3).map(|n| Chaos::new(20_261_122 + n)).collect();
        for chaos in &chaos {
            servers.push((HttpServer::start().await, Arc::clone(chaos)));
        }
        let chaos_of = |n: usize| Arc::clone(&chaos[n]);
        let chaos_http = chaos_of(0);
        servers[0].0.respond_with(move |request| chaos_http.reply(numbers_of(request), None));
        let chaos_es = chaos_of(1);
        servers[1].0.respond_with(move |request| {
            let numbers = request.json_lines().iter().filter_map(|line| line["n"].as_u64()).collect();
            chaos_es.reply(numbers, Some(&|statuses| {
                let items: Vec<_> = statuses.iter().map(|status| json!({"create": {"status": status}})).collect();
                json!({"errors": statuses.iter().any(|status| *status != 200), "items": items})
            }))
        });
        let chaos_hc = chaos_of(2);
        servers[2].0.respond_with(move |request| {
            let body = request.json();
            let numbers = body.as_array().unwrap().iter().map(|entry| entry["data"]["n"].as_u64().unwrap());
            chaos_hc.reply(numbers.collect(), Some(&|statuses| {
                statuses.iter().map(|status| json!({"status": status})).collect()
            }))
        });
        let dead = HttpServer::start().await;
        let options = format!("batch.max_events = 200\nrequest.concurrency = 8\n{QUICK}\nrequest.retry_initial_backoff_secs = 0.001")
            .replace("request.retry_initial_backoff_secs = 0.01\n", "");
        let sinks = format!(
            "[sinks.http]\ntype = 'http'\ninputs = ['in']\nuri = '{}'\nencoding.codec = 'json'\n{options}\n\
             [sinks.es]\ntype = 'elasticsearch'\ninputs = ['in']\nendpoints = ['{}']\n{options}\n\
             [sinks.hc]\ntype = 'honeycomb'\ninputs = ['in']\nendpoint = '{}'\napi_key = 'k'\ndataset = 'd'\n{options}\n{}",
            servers[0].0.url("/"),
            servers[1].0.url(""),
            servers[2].0.url(""),
            letters(&dead)
        );
        let (report, answers) = Shipper::start(&sinks, numbers(events)).await.finish().await;
        // What each sink has refused, by number.
        let mut refused: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        for letter in letters_of(&dead) {
            let sink = letter["sink"].as_str().unwrap().to_owned();
            assert!(letter["attempts"].as_u64().unwrap() > 0 && !letter["status"].is_null(), "{letter}");
            refused.entry(sink).or_default().push(letter["event"]["n"].as_u64().unwrap());
        }
        refused.values_mut().for_each(|numbers| numbers.sort_unstable());
        let all: Vec<_> = (0..events as u64).collect();
        for (id, chaos) in ["http", "es", "hc"].iter().zip(&chaos) {
            let taken = chaos.taken.lock().unwrap().clone();
            let refused = &refused[*id];
            let counts = books(&report, id);
            assert_eq!((counts.delivered, counts.rejected), (taken.len() as u64, refused.len() as u64), "{id}");
            let mut found = [&taken[..], refused].concat();
            found.sort_unstable();
            assert!(found == all, "{id}: every event is in exactly one place");
            assert!(!refused.is_empty() && taken.len() > events / 2, "{id}: {counts}");
        }
        assert_eq!(answers.len(), events);
        for (n, statuses) in answers {
            let is_refused = refused.values().any(|refused| refused.binary_search(&n).is_ok());
            let expected = if is_refused { EventStatus::Rejected } else { EventStatus::Delivered };
            assert_eq!(statuses, [expected], "{n}: its receipt is answered once");
        }
    })
    .await;
}
