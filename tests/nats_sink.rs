//! The sink `nats` against the real nats-server, with and without JetStream.

mod support;

use async_nats::{Client, Subscriber};
use async_trait::async_trait;
use futures::StreamExt;
use log_shipper::config::{Config, Registry, Result, Source, SourceConfig, SourceContext, SourceEntry};
use log_shipper::env::Env;
use log_shipper::event::LogEvent;
use log_shipper::topology::{DropReason, Report, RunningTopology, SinkSnapshot, Topology, TopologyOptions};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use support::certificates::Certificates;
use support::nats_server::{NatsServer, Options, TlsFiles};
use support::publisher::fly_event;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// No test takes longer than this; a machine under load still passes.
const LIMIT: Duration = Duration::from_secs(120);

const INPUT: &str = include_str!("golden/input.jsonl");

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, test).await.expect("the test takes too long")
}

// === feeding the sink ===

/// A source of the chunks that a test sends to it.
#[derive(Debug)]
struct Feed(Mutex<Option<mpsc::UnboundedReceiver<Vec<String>>>>);

#[async_trait]
impl SourceConfig for Feed {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let mut chunks = self.0.lock().unwrap().take().expect("it is built once");
        Ok(Box::pin(async move {
            while let Some(chunk) = chunks.recv().await {
                let events = chunk.into_iter().map(|line| LogEvent::from_json(line.into()).unwrap());
                cx.output.send(events.collect()).await;
            }
            Ok(())
        }))
    }
}

/// A topology of a feed and the sink.
struct Shipper {
    feed: mpsc::UnboundedSender<Vec<String>>,
    running: RunningTopology,
}

const SUBJECT: &str = "subject = 'shipped'";
const BY_APP: &str = "subject = 'shipped.{{ fly.app.name }}'";
const STREAM: &str = "subject = 'shipped.{{ fly.app.name }}'\njetstream = true";
const STREAM_WITH_IDS: &str = "subject = 'shipped.{{ fly.app.name }}'
    jetstream = {enabled = true, headers = {message_id = '{{ n }}'}}";

fn config(url: &str, options: &str, env: &Env) -> Result<Config, String> {
    let options = if options.contains("encoding") {
        options.to_owned()
    } else {
        format!("encoding.codec = 'json'\n{options}")
    };
    let text = format!(
        "sources.in.type = 'stdin'\n[sinks.out]\ntype = 'nats'\ninputs = ['in']\nurl = '{url}'
        request.retry_initial_backoff_secs = 0.02\nrequest.retry_max_duration_secs = 0.1\n{options}"
    );
    Config::from_toml(&text, "test.toml", &Registry::builtin(), env).map_err(|error| error.to_string())
}

impl Shipper {
    async fn start(url: &str, options: &str) -> Shipper {
        Shipper::start_in(url, options, Env::default()).await
    }

    async fn start_in(url: &str, options: &str, env: Env) -> Shipper {
        let mut config = config(url, options, &env).unwrap();
        config.global.healthchecks.enabled = false;
        let (feed, chunks) = mpsc::unbounded_channel();
        config.sources = vec![SourceEntry::new("in", Feed(Mutex::new(Some(chunks))))];
        let options = TopologyOptions::default().with_env(env);
        Shipper {
            feed,
            running: Topology::start(config, &options, std::future::pending::<()>()).await.unwrap(),
        }
    }

    fn send(&self, lines: impl IntoIterator<Item = String>) {
        self.feed.send(lines.into_iter().collect()).unwrap();
    }

    fn books(&self) -> SinkSnapshot {
        self.running.counts().sinks[0].1
    }

    async fn until(&self, reached: impl Fn(&SinkSnapshot) -> bool) {
        while !reached(&self.books()) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    /// Delivers everything, and closes the books: so many delivered, so many rejected, none lost.
    #[track_caller]
    fn closes(self, delivered: u64, rejected: u64) -> impl Future<Output = ()> {
        let caller = std::panic::Location::caller();
        async move {
            let report = self.end().await;
            let books = report.sinks[0].1;
            let expected = (delivered + rejected, delivered, rejected, 0, 0);
            let seen =
                (books.received, books.delivered, books.rejected, books.dropped_total(), books.buffered);
            assert_eq!(seen, expected, "{caller}: {report}");
        }
    }

    async fn end(mut self) -> Report {
        drop(self.feed);
        self.running.finished().await;
        assert!(self.running.failures().is_empty(), "{:?}", self.running.failures());
        self.running.counts()
    }
}

/// An event of this number and app.
fn line(n: u64, app: &str) -> String {
    json!({"n": n, "fly": {"app": {"name": app}}, "message": format!("number {n}")}).to_string()
}

fn lines(numbers: std::ops::Range<u64>) -> Vec<String> {
    numbers.map(|n| line(n, "web")).collect()
}

// === the other side ===

async fn subscribe(url: &str, subject: &str) -> Subscriber {
    let client = async_nats::connect(url).await.unwrap();
    let subscriber = client.subscribe(subject.to_owned()).await.unwrap();
    client.flush().await.unwrap();
    subscriber
}

async fn next_text(subscriber: &mut Subscriber) -> String {
    String::from_utf8(subscriber.next().await.unwrap().payload.to_vec()).unwrap()
}

async fn jetstream_server() -> NatsServer {
    NatsServer::with(Options { jetstream: true, ..Options::default() }).await
}

/// Asks JetStream, and waits until it is there to answer.
async fn ask(client: &Client, question: &str, body: Value) -> Value {
    loop {
        let answer = client.request(format!("$JS.API.{question}"), body.to_string().into()).await;
        match answer {
            Ok(answer) => return serde_json::from_slice(&answer.payload).unwrap(),
            Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
        }
    }
}

/// Makes the stream `S` of these subjects, with more options.
async fn make_stream(client: &Client, subjects: &[&str], options: Value) {
    let mut config = json!({"name": "S", "subjects": subjects, "storage": "file"});
    config.as_object_mut().unwrap().extend(options.as_object().unwrap().clone());
    let answer = ask(client, "STREAM.CREATE.S", config).await;
    assert!(answer["error"].is_null(), "{answer}");
}

/// How often each event is in the stream `S`, by its number.
async fn stored(client: &Client) -> BTreeMap<u64, u32> {
    let info = ask(client, "STREAM.INFO.S", json!({})).await;
    let mut stored = BTreeMap::new();
    for sequence in 1..=info["state"]["last_seq"].as_u64().unwrap() {
        let message = ask(client, "STREAM.MSG.GET.S", json!({"seq": sequence})).await;
        let data = base64::Engine::decode(
            &base64::engine::general_purpose::STANDARD,
            message["message"]["data"].as_str().unwrap(),
        );
        let event: Value = serde_json::from_slice(&data.unwrap()).unwrap();
        *stored.entry(event["n"].as_u64().unwrap()).or_default() += 1;
    }
    stored
}

fn once(numbers: std::ops::Range<u64>) -> BTreeMap<u64, u32> {
    numbers.map(|n| (n, 1)).collect()
}

// === core NATS ===

/// As Vector's: the JSON as it came, and nothing else.
#[tokio::test]
async fn golden_nats() {
    in_time(async {
        let nats = NatsServer::start().await;
        let mut seen = subscribe(&nats.url(), ">").await;
        let shipper =
            Shipper::start(&nats.url(), "subject = 'shipped.{{ fly.region }}.{{ fly.app.name }}.%F'").await;
        shipper.send(INPUT.lines().map(str::to_owned));
        for line in INPUT.lines() {
            let message = seen.next().await.unwrap();
            let event: Value = serde_json::from_str(line).unwrap();
            let (region, app) = (&event["fly"]["region"], &event["fly"]["app"]["name"]);
            let subject =
                format!("shipped.{}.{}.2026-11-22", region.as_str().unwrap(), app.as_str().unwrap());
            assert_eq!(message.subject.as_str(), subject);
            assert_eq!(message.payload, line.as_bytes());
            assert!(message.reply.is_none() && message.headers.is_none());
        }
        shipper.closes(5, 0).await;
    })
    .await;
}

#[tokio::test]
async fn an_event_is_written_as_the_encoding_says() {
    in_time(async {
        let nats = NatsServer::start().await;
        let mut seen = subscribe(&nats.url(), ">").await;
        for (encoding, expected) in [
            ("encoding = {codec = 'text'}", "number 7"),
            ("encoding = {codec = 'json', only_fields = ['n']}", r#"{"n":7}"#),
        ] {
            let shipper = Shipper::start(&nats.url(), &format!("{SUBJECT}\n{encoding}")).await;
            shipper.send([line(7, "web")]);
            assert_eq!(next_text(&mut seen).await, expected);
            shipper.closes(1, 0).await;
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fifty_thousand_events_arrive_once_and_in_order() {
    in_time(async {
        const EVENTS: u64 = 50_000;
        let nats = NatsServer::start().await;
        let client = async_nats::ConnectOptions::new().subscription_capacity(EVENTS as usize * 2);
        let client = client.connect(nats.url()).await.unwrap();
        let mut seen = client.subscribe("shipped.>").await.unwrap();
        client.flush().await.unwrap();
        let shipper = Shipper::start(&nats.url(), BY_APP).await;
        for start in (0..EVENTS).step_by(500) {
            shipper.send((start..start + 500).map(|n| fly_event(n).1));
        }
        for n in 0..EVENTS {
            let message = seen.next().await.unwrap();
            assert_eq!(message.payload, fly_event(n).1.as_bytes());
        }
        shipper.closes(EVENTS, 0).await;
    })
    .await;
}

#[tokio::test]
async fn events_that_make_no_subject_are_rejected_and_the_others_arrive() {
    in_time(async {
        let nats = NatsServer::start().await;
        let mut seen = subscribe(&nats.url(), ">").await;
        let long = "x".repeat(2000);
        let bad = [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a\tb",
            "a\r\nPUB evil 0\r\n",
            "*",
            ">",
            "a.>",
            "a.*.b",
            "\u{a0}",
            &long,
        ];
        let shipper = Shipper::start(&nats.url(), BY_APP).await;
        let good = ["a", "a.b", "a*", "é日", "$JS", "_INBOX.x"];
        shipper.send(
            bad.iter().chain(&good).zip(0..).map(|(app, n)| line(n, app)).chain([r#"{"n":99}"#.to_owned()]),
        );
        for app in good {
            assert_eq!(seen.next().await.unwrap().subject.as_str(), format!("shipped.{app}"));
        }
        shipper.closes(good.len() as u64, bad.len() as u64 + 1).await;

        // At the start of the subject, what is the server's own is the template's to say.
        let shipper = Shipper::start(&nats.url(), "subject = '{{ fly.app.name }}.x'").await;
        shipper.send(["$SYS", "$JS.API", "_INBOX.a", "a", "_b"].iter().zip(0..).map(|(app, n)| line(n, app)));
        for subject in ["a.x", "_b.x"] {
            assert_eq!(seen.next().await.unwrap().subject.as_str(), subject);
        }
        shipper.closes(2, 3).await;
        let shipper = Shipper::start(&nats.url(), "subject = '$$x.{{ fly.app.name }}'").await;
        shipper.send([line(0, "a")]);
        assert_eq!(seen.next().await.unwrap().subject.as_str(), "$x.a");
        shipper.closes(1, 0).await;
    })
    .await;
}

#[tokio::test]
async fn an_event_larger_than_the_server_takes_is_rejected_and_the_connection_stays() {
    in_time(async {
        let extra = "max_payload: 1000".to_owned();
        let nats = NatsServer::with(Options { extra, jetstream: true, ..Options::default() }).await;
        let client = async_nats::connect(nats.url()).await.unwrap();
        make_stream(&client, &["shipped.*"], json!({})).await;
        let exact = |n: u64, size: usize| {
            let empty = json!({"n": n, "fly": {"app": {"name": "web"}}, "message": ""}).to_string();
            empty.replace("\"message\":\"\"", &format!("\"message\":\"{}\"", "x".repeat(size - empty.len())))
        };
        // With an id, the headers count too.
        for (options, headers) in
            [(BY_APP, 0), (STREAM, 0), (STREAM_WITH_IDS, "NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n".len())]
        {
            let shipper = Shipper::start(&nats.url(), options).await;
            shipper.send([
                line(0, "web"),
                exact(1, 1000 - headers),
                exact(2, 1001 - headers),
                exact(3, 5000),
                line(4, "web"),
            ]);
            shipper.closes(3, 2).await;
        }
        assert!(!nats.log().contains("maximum payload"), "{}", nats.log());
    })
    .await;
}

/// The limit of an account comes in a second `INFO`, when the server knows who we are; a message that was
/// written before it came costs the connection, but no other event.
#[tokio::test]
async fn the_limit_of_an_account_counts() {
    in_time(async {
        let extra =
            r#"accounts: { A: { users: [ { user: "u", password: "p" } ], limits: { max_payload: 500 } } }"#;
        let nats = NatsServer::with(Options { extra: extra.to_owned(), ..Options::default() }).await;
        let shipper = Shipper::start(&as_user("u", &nats), SUBJECT).await;
        shipper.send([line(0, "web"), line(1, &"x".repeat(600)), line(2, "web")]);
        shipper.closes(2, 1).await;
    })
    .await;
}

#[tokio::test]
async fn a_limit_that_a_server_does_not_tell_costs_the_largest_events_only() {
    in_time(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let shipper = Shipper::start(&url, SUBJECT).await;
        let events =
            [line(0, "web"), line(1, "long"), line(2, "longest"), line(3, "web"), line(4, "longest")];
        shipper.send(events.clone());
        for expected in [&[0, 1, 2, 3, 4][..], &[0, 1, 3], &[0, 3]] {
            let mut stream = greet(&listener).await;
            for n in expected {
                assert!(read_line(&mut stream).await.starts_with("PUB shipped "));
                assert_eq!(read_line(&mut stream).await, events[*n]);
            }
            assert_eq!(read_line(&mut stream).await, "PING");
            let is_last = expected.len() == 2;
            let answer: &[u8] = if is_last { b"PONG\r\n" } else { b"-ERR 'Maximum Payload Violation'\r\n" };
            stream.write_all(answer).await.unwrap();
            if is_last {
                shipper.until(|books| books.delivered == 2).await;
            }
        }
        shipper.closes(2, 3).await;
    })
    .await;
}

/// A user who may publish to these subjects.
fn may_publish(subjects: &str) -> Options {
    let extra = format!(
        r#"accounts: {{ A: {{ jetstream: enabled, users: [
            {{ user: "u", password: "p", permissions: {{ publish: [{subjects}], subscribe: ["_INBOX.>"] }} }},
            {{ user: "admin", password: "p" }},
            {{ user: "deaf", password: "p", permissions: {{ subscribe: ["x"] }} }}
        ] }} }}"#
    );
    Options { extra, jetstream: true, ..Options::default() }
}

async fn administrator(nats: &NatsServer) -> Client {
    let options = async_nats::ConnectOptions::with_user_and_password("admin".into(), "p".into());
    options.connect(nats.url()).await.unwrap()
}

fn as_user(user: &str, nats: &NatsServer) -> String {
    nats.url().replace("nats://", &format!("nats://{user}:p@"))
}

#[tokio::test]
async fn a_subject_that_is_forbidden_is_rejected_and_does_not_stop_the_others() {
    in_time(async {
        let nats = NatsServer::with(may_publish(r#""shipped.a", "shipped.b""#)).await;
        let admin = administrator(&nats).await;
        make_stream(&admin, &["shipped.*"], json!({})).await;
        let mut seen = admin.subscribe("shipped.>").await.unwrap();
        admin.flush().await.unwrap();
        for options in [BY_APP, STREAM] {
            let shipper = Shipper::start(&as_user("u", &nats), options).await;
            shipper.send(
                ["a", "sec\\\"ret", "b", "other", "a", "sec\\\"ret"]
                    .iter()
                    .zip(0..)
                    .map(|(app, n)| line(n, app)),
            );
            for app in ["a", "b", "a"] {
                assert_eq!(seen.next().await.unwrap().subject.as_str(), format!("shipped.{app}"));
            }
            // Next time too, and one that is forbidden alone.
            shipper.until(|books| books.rejected == 3).await;
            shipper.send([line(6, "other")]);
            shipper.until(|books| books.rejected == 4).await;
            shipper.closes(3, 4).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_only_subject_forbidden_holds_the_events_until_a_person_has_mended_it() {
    in_time(async {
        for options in [SUBJECT, "subject = 'shipped'\njetstream = true"] {
            let mut nats = NatsServer::with(may_publish(r#""other""#)).await;
            let admin = administrator(&nats).await;
            make_stream(&admin, &["shipped"], json!({})).await;
            let shipper = Shipper::start(&as_user("u", &nats), options).await;
            shipper.send(lines(0..10));
            while nats.log().matches("Publish Violation").count() < 20 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            assert_eq!(shipper.books().buffered, 10);
            nats.reconfigure(may_publish(r#""shipped""#)).await;
            shipper.closes(10, 0).await;
            assert_eq!(stored(&admin).await, once(0..10), "{options}");

            // For as long as one says.
            let elsewhere = options.replace("'shipped", "'elsewhere");
            let options = format!("{elsewhere}\nrequest.hold_secs = 0.3");
            let shipper = Shipper::start(&as_user("u", &nats), &options).await;
            shipper.send(lines(0..10));
            shipper.closes(0, 10).await;
        }
    })
    .await;
}

// === the connection ===

#[tokio::test]
async fn a_server_that_is_down_at_first_gets_everything_when_it_comes_up() {
    in_time(async {
        let mut nats = jetstream_server().await;
        let client = async_nats::connect(nats.url()).await.unwrap();
        make_stream(&client, &["shipped.*"], json!({})).await;
        for (options, round) in [(BY_APP, 0), (STREAM, 1)] {
            nats.stop().await;
            let shipper = Shipper::start(&nats.url(), options).await;
            shipper.send(lines(round * 10..round * 10 + 10));
            shipper.until(|books| books.received == 10).await;
            nats.start_again().await;
            shipper.closes(10, 0).await;
        }
        assert_eq!(stored(&client).await, once(0..20));
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_restarts_in_the_middle_loses_nothing() {
    in_time(async {
        const EVENTS: u64 = 3_000;
        for (options, is_exact) in [(STREAM_WITH_IDS, true), (STREAM, false), (BY_APP, false)] {
            let mut nats = jetstream_server().await;
            let client = async_nats::connect(nats.url()).await.unwrap();
            make_stream(&client, &["shipped.*"], json!({})).await;
            let shipper = Shipper::start(&nats.url(), options).await;
            let restarts = async {
                for done in [500, 1500] {
                    shipper.until(|books| books.delivered >= done).await;
                    nats.restart().await;
                }
            };
            let feed = async {
                for start in (0..EVENTS).step_by(100) {
                    shipper.send(lines(start..start + 100));
                    shipper.until(|books| books.delivered + 300 >= start).await;
                }
            };
            tokio::join!(restarts, feed);
            shipper.closes(EVENTS, 0).await;
            let stored = stored(&client).await;
            // In core mode the server has what it says it has, but its stream perhaps no time to store it.
            let is_core = options == BY_APP;
            assert!(is_core || stored.len() as u64 == EVENTS, "{} of {EVENTS}", stored.len());
            assert!(!is_exact || stored.values().all(|times| *times == 1), "{options}: a copy was stored");
        }
    })
    .await;
}

/// A server of one's own: reads `CONNECT` and the first `PING`, and answers.
async fn greet(listener: &TcpListener) -> BufReader<TcpStream> {
    let (mut stream, _) = listener.accept().await.unwrap();
    stream.write_all(b"INFO {\"headers\":true}\r\n").await.unwrap();
    let mut stream = BufReader::new(stream);
    while read_line(&mut stream).await != "PING" {}
    stream.write_all(b"PONG\r\n").await.unwrap();
    stream
}

async fn read_line(stream: &mut BufReader<TcpStream>) -> String {
    let mut line = String::new();
    stream.read_line(&mut line).await.unwrap();
    line.trim_end().to_owned()
}

#[tokio::test]
async fn what_is_unanswered_when_the_connection_is_lost_or_silent_is_published_again() {
    in_time(async {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let shipper = Shipper::start(&url, &format!("{SUBJECT}\nrequest.timeout_secs = 2")).await;
        shipper.send([r#"{"n":0}"#.to_owned(), r#"{"n":1}"#.to_owned()]);
        let expected = "PUB shipped 7\r\n{\"n\":0}\r\nPUB shipped 7\r\n{\"n\":1}\r\nPING\r\n";
        // Closed, silent, refused, answered only to another `PING`'s count, and answered.
        for answer in ["close", "", "-ERR 'Stale Connection'\r\n", "PING\r\n+OK\r\n", "PONG\r\n"] {
            let mut stream = greet(&listener).await;
            let mut heard = vec![0; expected.len()];
            stream.read_exact(&mut heard).await.unwrap();
            assert_eq!(String::from_utf8(heard).unwrap(), expected, "before {answer:?}");
            if answer == "close" {
                continue;
            }
            assert_eq!(shipper.books().delivered, 0);
            stream.write_all(answer.as_bytes()).await.unwrap();
            if answer == "PONG\r\n" {
                shipper.until(|books| books.delivered == 2).await;
                break;
            }
            // Until the sink has lost its patience.
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
            let expected_rest = if answer.starts_with("PING") { "PONG\r\n" } else { "" };
            assert_eq!(String::from_utf8(rest).unwrap(), expected_rest);
        }
        shipper.closes(2, 0).await;
    })
    .await;
}

#[tokio::test]
async fn pings_of_the_server_are_answered_while_nothing_is_published() {
    in_time(async {
        // So many, so that a machine under load may take its time.
        let extra = "ping_interval: \"50ms\"\nping_max: 1000\ntrace: true".to_owned();
        let nats = NatsServer::with(Options { extra, ..Options::default() }).await;
        let shipper = Shipper::start(&nats.url(), SUBJECT).await;
        shipper.send([line(0, "web")]);
        shipper.until(|books| books.delivered == 1).await;
        while nats.log().matches("<<- [PONG]").count() < 6 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        shipper.send([line(1, "web")]);
        shipper.closes(2, 0).await;
        assert!(!nats.log().contains("Stale"), "{}", nats.log());
    })
    .await;
}

#[tokio::test]
async fn a_wrong_password_is_replaced_in_its_file_and_read_anew() {
    in_time(async {
        let options = Options { user_password: Some(("u".into(), "right".into())), ..Options::default() };
        let nats = NatsServer::with(options).await;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("password");
        std::fs::write(&path, "wrong\n").unwrap();
        let env = Env::from_pairs([("PASSWORD_FILE", path.to_str().unwrap())]);
        let auth =
            "auth = {strategy = 'user_password', user_password = {user = 'u', password = '${PASSWORD}'}}";
        let shipper = Shipper::start_in(&nats.url(), &format!("{SUBJECT}\n{auth}"), env).await;
        shipper.send(lines(0..3));
        while nats.log().matches("authentication error").count() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert_eq!(shipper.books().buffered, 3);
        std::fs::write(&path, "right\n").unwrap();
        shipper.closes(3, 0).await;
    })
    .await;
}

#[tokio::test]
async fn connects_through_tls_after_or_before_the_servers_greeting() {
    in_time(async {
        let certificates = Certificates::generate();
        let trust = format!("tls.ca_file = '{}'", certificates.ca.display());
        for (handshake_first, options) in
            [(None, trust.clone()), (Some("true"), format!("{trust}\ntls_first = true"))]
        {
            let tls = TlsFiles { handshake_first, ..certificates.tls() };
            let nats = NatsServer::with(Options { tls: Some(tls), ..Options::default() }).await;
            let url = nats.url().replace("127.0.0.1", "localhost");
            let shipper = Shipper::start(&url, &format!("{SUBJECT}\n{options}")).await;
            // More than fits into what either side takes at once.
            shipper.send((0..5_000).map(|n| fly_event(n).1));
            shipper.closes(5_000, 0).await;
        }
    })
    .await;
}

#[tokio::test]
async fn the_books_balance_when_the_deadline_comes_first() {
    in_time(async {
        let mut nats = NatsServer::start().await;
        nats.stop().await;
        let mut shipper = Shipper::start(&nats.url(), SUBJECT).await;
        shipper.send(lines(0..10));
        shipper.until(|books| books.received == 10).await;
        drop(shipper.feed);
        let report = shipper.running.stop(Duration::from_millis(50)).await;
        let books = report.sinks[0].1;
        assert_eq!((books.dropped_for(DropReason::Shutdown), books.buffered), (10, 0), "{report}");
    })
    .await;
}

// === JetStream ===

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_gets_each_event_once_also_when_they_are_sent_twice_with_ids() {
    in_time(async {
        const EVENTS: u64 = 3_000;
        let nats = jetstream_server().await;
        let client = async_nats::connect(nats.url()).await.unwrap();
        make_stream(&client, &["shipped.*"], json!({})).await;
        for _ in 0..2 {
            let shipper = Shipper::start(&nats.url(), STREAM_WITH_IDS).await;
            shipper.send(lines(0..EVENTS));
            shipper.closes(EVENTS, 0).await;
        }
        assert_eq!(stored(&client).await, once(0..EVENTS));
        // Without ids, as in Vector, nobody knows a copy.
        let shipper = Shipper::start(&nats.url(), STREAM).await;
        shipper.send(lines(0..10));
        shipper.closes(10, 0).await;
        assert_eq!(stored(&client).await.values().sum::<u32>(), EVENTS as u32 + 10);
    })
    .await;
}

#[tokio::test]
async fn without_a_stream_events_wait_for_it_and_others_go_on() {
    in_time(async {
        let nats = jetstream_server().await;
        let client = async_nats::connect(nats.url()).await.unwrap();
        make_stream(&client, &["shipped.a"], json!({})).await;
        let shipper = Shipper::start(&nats.url(), STREAM).await;
        shipper.send((0..10).map(|n| line(n, if n % 2 == 0 { "a" } else { "b" })));
        shipper.until(|books| books.delivered == 5).await;
        shipper.send([line(10, "a")]);
        shipper.until(|books| books.delivered == 6).await;
        let config = json!({"name": "S", "subjects": ["shipped.*"], "storage": "file"});
        assert!(ask(&client, "STREAM.UPDATE.S", config).await["error"].is_null());
        shipper.closes(11, 0).await;
        assert_eq!(stored(&client).await, once(0..11));

        // As often as one says, and as long.
        for option in ["retry_attempts = 2", "give_up_after_secs = 0.3"] {
            let options = format!("subject = 'nowhere'\njetstream = true\nrequest.{option}");
            let shipper = Shipper::start(&nats.url(), &options).await;
            shipper.send(lines(0..3));
            shipper.closes(0, 3).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_a_stream_refuses_is_rejected_or_waits_for_room() {
    in_time(async {
        let nats = jetstream_server().await;
        let client = async_nats::connect(nats.url()).await.unwrap();
        let limits = json!({"max_msg_size": 200, "max_msgs": 2, "discard": "new"});
        make_stream(&client, &["shipped.*"], limits).await;
        let shipper = Shipper::start(&nats.url(), STREAM).await;
        let too_long = json!({"n": 9, "fly": {"app": {"name": "a"}}, "message": "x".repeat(300)}).to_string();
        shipper.send([line(0, "a"), too_long, line(1, "a"), line(2, "a"), line(3, "a")]);
        shipper.until(|books| (books.delivered, books.rejected, books.buffered) == (2, 1, 2)).await;
        assert!(ask(&client, "STREAM.PURGE.S", json!({})).await["error"].is_null());
        shipper.closes(4, 1).await;
    })
    .await;
}

#[tokio::test]
async fn an_account_without_room_is_waited_for() {
    in_time(async {
        let extra = r#"accounts: { A: { jetstream: { max_mem: 0, max_file: 2000 }, users: [
            { user: "admin", password: "p" }
        ] } }"#;
        let nats =
            NatsServer::with(Options { extra: extra.into(), jetstream: true, ..Options::default() }).await;
        let admin = administrator(&nats).await;
        make_stream(&admin, &["shipped.*"], json!({})).await;
        let shipper = Shipper::start(&as_user("admin", &nats), STREAM).await;
        shipper.send((0..2).map(|n| line(n, &"a".repeat(700))));
        shipper.until(|books| books.delivered == 1).await;
        while !nats.log().contains("resource limits exceeded for account") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!((shipper.books().delivered, shipper.books().buffered), (1, 1));
        assert!(ask(&admin, "STREAM.PURGE.S", json!({})).await["error"].is_null());
        shipper.closes(2, 0).await;
    })
    .await;
}

#[tokio::test]
async fn an_answer_that_is_not_a_streams_or_does_not_come_is_waited_for_and_the_message_published_again() {
    in_time(async {
        let nats = jetstream_server().await;
        let client = async_nats::connect(nats.url()).await.unwrap();
        // Nobody says that no stream takes it, since somebody listens, and answers.
        let mut listener = client.subscribe("shipped.*").await.unwrap();
        client.flush().await.unwrap();
        let shipper =
            Shipper::start(&nats.url(), &format!("{STREAM_WITH_IDS}\nrequest.timeout_secs = 0.1")).await;
        shipper.send([line(0, "a")]);
        for _ in 0..2 {
            let message = listener.next().await.unwrap();
            client.publish(message.reply.unwrap(), "thanks".into()).await.unwrap();
        }
        assert_eq!(shipper.books().buffered, 1);
        make_stream(&client, &["shipped.*"], json!({})).await;
        shipper.closes(1, 0).await;
        assert_eq!(stored(&client).await, once(0..1));
    })
    .await;
}

/// A message that the sink has written: where its answer goes, and what it is.
async fn read_message(stream: &mut BufReader<TcpStream>) -> Option<(String, String)> {
    let line = read_line(stream).await;
    let reply = line.strip_prefix("PUB shipped.a ")?.split(' ').next()?.to_owned();
    Some((reply, read_line(stream).await))
}

/// A stream's answer: it has stored the message.
fn confirmation(reply: &str) -> String {
    let answer = r#"{"stream":"S","seq":1}"#;
    format!("MSG {reply} 1 {}\r\n{answer}\r\n", answer.len())
}

#[tokio::test]
async fn what_was_not_sent_because_a_stream_is_silent_uses_up_no_attempt() {
    in_time(async {
        const EVENTS: u64 = 2_000;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let options = format!("{STREAM}\nrequest.timeout_secs = 2\nrequest.retry_attempts = 0");
        let shipper = Shipper::start(&url, &options).await;
        shipper.send((0..EVENTS).map(|n| line(n, "a")));
        let mut stream = greet(&listener).await;
        for n in 0..1024 {
            assert_eq!(read_message(&mut stream).await.unwrap().1, line(n, "a"));
        }
        // Once behind the messages, and once because nothing else has come.
        assert_eq!(read_line(&mut stream).await, "PING");
        stream.write_all(b"PONG\r\n").await.unwrap();
        assert_eq!(read_line(&mut stream).await, "PING");
        stream.write_all(b"PONG\r\n").await.unwrap();
        for n in 1024..EVENTS {
            let (reply, text) = read_message(&mut stream).await.unwrap();
            assert_eq!(text, line(n, "a"));
            stream.write_all(confirmation(&reply).as_bytes()).await.unwrap();
        }
        shipper.closes(EVENTS - 1024, 1024).await;
    })
    .await;
}

#[tokio::test]
async fn so_many_messages_wait_for_their_answers_and_no_more() {
    in_time(async {
        const EVENTS: u64 = 2_000;
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("nats://{}", listener.local_addr().unwrap());
        let shipper = Shipper::start(&url, STREAM).await;
        shipper.send((0..EVENTS).map(|n| line(n, "a")));
        let mut stream = greet(&listener).await;
        let mut waiting = Vec::new();
        // It asks whether we are there when it may not go on.
        while let Some((reply, text)) = read_message(&mut stream).await {
            assert_eq!(text, line(waiting.len() as u64, "a"));
            waiting.push(reply);
        }
        assert_eq!((waiting.len(), shipper.books().delivered), (1024, 0));
        // In any order, and with something between that nobody has asked for.
        for n in 0..10 {
            let reply = waiting.swap_remove(n * 7);
            stream.write_all(confirmation(&reply).as_bytes()).await.unwrap();
            stream.write_all(confirmation("_INBOX.other.1").as_bytes()).await.unwrap();
            let (reply, text) = read_message(&mut stream).await.unwrap();
            assert_eq!(text, line(1024 + n as u64, "a"));
            waiting.push(reply);
        }
        stream.write_all(b"PONG\r\n").await.unwrap();
        let mut left = EVENTS - 1034;
        while let Some(reply) = waiting.pop() {
            stream.write_all(confirmation(&reply).as_bytes()).await.unwrap();
            if left > 0 {
                waiting.push(read_message(&mut stream).await.unwrap().0);
                left -= 1;
            }
        }
        shipper.closes(EVENTS, 0).await;
    })
    .await;
}

#[tokio::test]
async fn nothing_is_published_where_the_streams_answers_could_not_be_heard() {
    in_time(async {
        let mut nats = NatsServer::with(may_publish(r#""shipped""#)).await;
        let admin = administrator(&nats).await;
        make_stream(&admin, &["shipped"], json!({})).await;
        let shipper = Shipper::start(&as_user("deaf", &nats), "subject = 'shipped'\njetstream = true").await;
        shipper.send(lines(0..3));
        while nats.log().matches("Subscription Violation").count() < 3 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let info = ask(&admin, "STREAM.INFO.S", json!({})).await;
        assert_eq!((info["state"]["messages"].as_u64(), shipper.books().buffered), (Some(0), 3));
        let Options { extra, .. } = may_publish(r#""shipped""#);
        let mended = extra.replace("subscribe: [\"x\"]", "subscribe: [\"_INBOX.>\"]");
        nats.reconfigure(Options { extra: mended, jetstream: true, ..Options::default() }).await;
        shipper.closes(3, 0).await;
        assert_eq!(stored(&admin).await, once(0..3));
    })
    .await;
}

// === at the start ===

#[tokio::test]
async fn a_healthcheck_tells_a_wrong_password_from_a_server_that_is_down() {
    in_time(async {
        let options =
            Options { user_password: Some(("u".into(), "p".into())), jetstream: true, ..Options::default() };
        let mut nats = NatsServer::with(options).await;
        let client = async_nats::ConnectOptions::with_user_and_password("u".into(), "p".into());
        let client = client.connect(nats.url()).await.unwrap();
        make_stream(&client, &["shipped", "shipped.*"], json!({})).await;
        let right = as_user("u", &nats);
        let wrong = right.replace(":p@", ":s3cr3t@");
        let several = format!("nats://u:p@127.0.0.1:1,{right}");
        for (url, options, expected) in [
            (&right, SUBJECT, ""),
            (&several, SUBJECT, ""),
            (&right, STREAM, ""),
            (&right, "subject = 'shipped'\njetstream = true", ""),
            (&right, "subject = 'elsewhere'\njetstream = true", "no JetStream stream takes the subject"),
            (&wrong, SUBJECT, "does not accept our credentials: Authorization Violation"),
        ] {
            assert_health(url, options, expected).await;
        }
        nats.stop().await;
        assert_health(&right, SUBJECT, "cannot connect to NATS: connection refused").await;
        let plain = NatsServer::start().await;
        assert_health(&plain.url(), STREAM, "JetStream is not enabled").await;

        // Who may not ask is not ill for that; who may not hear the answers is.
        let nats = NatsServer::with(may_publish(r#""shipped""#)).await;
        assert_health(&as_user("u", &nats), STREAM, "").await;
        assert_health(&as_user("deaf", &nats), STREAM, "must be allowed to subscribe to _INBOX.>").await;
    })
    .await;
}

async fn assert_health(url: &str, options: &str, expected: &str) {
    let mut config = config(url, options, &Env::default()).unwrap();
    config.sources = vec![SourceEntry::new("in", Feed(Mutex::new(Some(mpsc::unbounded_channel().1))))];
    let topology = TopologyOptions::default().with_require_healthy(true);
    let error = match Topology::start(config, &topology, std::future::pending::<()>()).await {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    assert!(error.contains(expected) && error.is_empty() == expected.is_empty(), "{options}: {error}");
    assert!(!error.contains("s3cr3t"), "{error}");
}

#[tokio::test]
async fn options_that_cannot_work_are_refused_and_none_shows_a_secret() {
    for (options, words) in [
        ("subject = 'a b'", "subject: \"a b\" cannot be published to"),
        ("subject = 'a.>'", "without white space and wildcards"),
        ("subject = ''", "cannot be published to"),
        ("subject = 'a'\nurl = 'http://u:s3cr3t@h'", "url: server 1"),
        ("subject = 'a'\ntls.enabled = false\ntls_first = true", "tls_first: it needs TLS"),
        ("subject = 'a'\ntls.ca_file = '/nowhere/ca.pem'", "tls.ca_file: cannot read"),
        ("subject = 'a'\njetstream.headers.message_id = '{{ n }}'", "set jetstream.enabled = true"),
        ("subject = 'a'\njetstream = 'yes'", "expected true, false or a table"),
        ("subject = 'a'\nrequest.concurrency = 4\nrequest.x = 1", "unknown field `x`"),
        ("subject = 'a'\nauth.strategy = 'basic'", "`user_password`, `token`"),
    ] {
        let text = match options.contains("url") {
            true => options.to_owned(),
            false => format!("url = 'nats://u:s3cr3t@h'\n{options}"),
        };
        let text = format!(
            "sources.in.type = 'stdin'\n[sinks.out]\ntype = 'nats'\ninputs = ['in']\nencoding.codec = 'json'\n{text}"
        );
        let error = match Config::from_toml(&text, "test.toml", &Registry::builtin(), &Env::default()) {
            Err(error) => error.to_string(),
            Ok(config) => {
                assert!(!format!("{config:?} {config:#?}").contains("s3cr3t"), "{config:?}");
                Topology::build(config, &TopologyOptions::default()).await.expect_err(options).to_string()
            }
        };
        assert!(error.contains(words) && error.contains("sinks.out"), "{options}: {error}");
        assert!(!error.contains("s3cr3t"), "{options}: {error}");
    }
}
