//! How a topology is put together, goes over to another configuration, and ends: over the real nats-server
//! and real sockets.

mod support;

use async_trait::async_trait;
use log_shipper::config::{
    Config, Registry, Result, SinkConfig, SinkContext, Source, SourceConfig, SourceContext, StreamSink,
    Transform, TransformConfig, TransformContext,
};
use log_shipper::env::Env;
use log_shipper::event::LogEvent;
use log_shipper::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
use log_shipper::healthcheck::Healthcheck;
use log_shipper::sinks::BlackholeConfig;
use log_shipper::topology::{
    BufferReceiver, Outcome, OutputNames, Outputs, Report, RunningTopology, Topology, TopologyOptions,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use support::http_server::{HttpServer, Reply, Request};
use support::nats_server::{NATS_SOURCE, NatsServer};
use support::publisher::Publisher;
use tokio::sync::mpsc;

/// No test takes longer than this; a machine under load still passes.
const LIMIT: Duration = Duration::from_secs(60);

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, test).await.expect("the test takes too long")
}

// === reload ===

/// A shipper whose configuration is text in which `{nats}` and `{http}` stand for the servers.
struct Shipper {
    nats: NatsServer,
    http: HttpServer,
    running: RunningTopology,
}

impl Shipper {
    async fn start(text: &str) -> Shipper {
        let (nats, http) = (NatsServer::start().await, HttpServer::start().await);
        let config = load(text, &nats, &http);
        let running =
            Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
        nats.wait_for_subscription("logs.>").await;
        Shipper { nats, http, running }
    }

    async fn reload(&mut self, text: &str) -> String {
        let config = load(text, &self.nats, &self.http);
        self.running.reload(config).await.unwrap().to_string()
    }

    async fn publisher(&self) -> Publisher {
        Publisher::connect(&self.nats.url(), None).await
    }

    async fn stop(mut self) -> (Report, Vec<Request>) {
        let report = self.running.stop(Duration::from_secs(20)).await;
        assert!(!report.has_losses(), "{report}");
        (report, self.http.requests())
    }
}

fn load(text: &str, nats: &NatsServer, http: &HttpServer) -> Config {
    let text = text.replace("{nats}", &nats.url()).replace("{http}", &http.url(""));
    Config::from_toml(&text, "test.toml", &Registry::builtin(), &Env::default())
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// A sink that sends to this path at once.
fn sink(id: &str, inputs: &str, options: &str) -> String {
    format!(
        "[sinks.{id}]\ntype = 'http'\ninputs = {inputs}\nuri = '{{http}}/{id}'\nencoding.codec = 'json'\n\
         batch.timeout_secs = 0.01\nhealthcheck.enabled = false\n{options}\n"
    )
}

/// The numbers of the events that came to this path, in order.
fn numbers(requests: &[Request], path: &str) -> Vec<u64> {
    let to_path = requests.iter().filter(|request| request.path_and_query.ends_with(path));
    let events = to_path.flat_map(|request| request.json().as_array().cloned().unwrap_or_default());
    let mut numbers: Vec<u64> = events.filter_map(|event| event["n"].as_u64()).collect();
    numbers.sort_unstable();
    numbers
}

/// Sinks and transforms come, change and go while events flow; the source and one sink stay, and get every
/// event once, as does the sink that changes.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_flow_on_while_others_change() {
    in_time(async {
        let stays = sink("stays", "['nats']", "");
        let changes = |round: u32| sink("changes", "['nats']", &format!("batch.max_events = {}", round + 1));
        let first = format!("{NATS_SOURCE}{stays}{}", changes(0));
        let mut shipper = Shipper::start(&first).await;
        let mut publisher = shipper.publisher().await;
        let mut published = 0;
        for round in 1..=20 {
            publisher.publish_events(published..published + 500).await;
            publisher.flush().await;
            published += 500;
            let mut text = format!("{NATS_SOURCE}{stays}{}", changes(round));
            let mut expected = "changed sinks.changes".to_owned();
            if round % 2 == 1 {
                text += "[transforms.copy]\ntype = 'remap'\ninputs = ['nats']\nsource = '.copy = .n'\n";
                text += &sink("comes", "['copy']", "");
                expected = format!("added transforms.copy, sinks.comes; {expected}");
            } else {
                expected = format!("{expected}; removed transforms.copy, sinks.comes");
            }
            assert_eq!(shipper.reload(&text).await, expected);
            assert_eq!(shipper.reload(&text).await, "no component is different");
        }
        publisher.publish_events(published..published + 500).await;
        publisher.flush().await;
        published += 500;
        shipper.http.wait_until(|requests| numbers(requests, "/stays").len() as u64 >= published).await;
        let (report, requests) = shipper.stop().await;
        let all: Vec<u64> = (0..published).collect();
        assert_eq!(numbers(&requests, "/stays"), all, "{report}");
        assert_eq!(numbers(&requests, "/changes"), all, "{report}");
        let comes = numbers(&requests, "/comes");
        assert!(comes.windows(2).all(|pair| pair[0] < pair[1]), "an event came twice");
        assert_eq!(report.transforms[0].1.received, report.transforms[0].1.sent, "{report}");
        let comes_books = &report.sinks.iter().find(|(id, _)| id == "comes").unwrap().1;
        assert_eq!(comes_books.delivered as usize, comes.len(), "those of a removed sink were delivered");
    })
    .await;
}

/// The destination refuses the key, and nothing is sent again by itself for an hour: what waits in batches, in
/// the buffer and in front of it arrives as soon as the configuration has the new key.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_key_takes_effect_at_once_for_all_that_waits() {
    a_new_key("auth.strategy = 'bearer'\nauth.token = 'KEY'").await;
    a_new_key("request.headers.Authorization = 'Bearer KEY'").await;
}

async fn a_new_key(option: &str) {
    in_time(async {
        let with_key = |key: &str| {
            let option = option.replace("KEY", key);
            let options = format!(
                "{option}\nrequest.retry_initial_backoff_secs = 3600\n\
                 request.retry_max_duration_secs = 3600\nrequest.retry_jitter_mode = 'None'\nbuffer.max_events = 50\n\
                 request.concurrency = 2\nbatch.max_events = 100"
            );
            format!("{NATS_SOURCE}{}{}", sink("key", "['nats']", &options), sink("other", "['nats']", ""))
        };
        let mut shipper = Shipper::start(&with_key("old")).await;
        shipper.http.respond_with(|request| match request.header("authorization") {
            Some("Bearer old") => Reply::status(401),
            _ => Reply::status(200),
        });
        let mut publisher = shipper.publisher().await;
        publisher.publish_events(0..2_000).await;
        publisher.flush().await;
        shipper.http.wait_until(|requests| requests.iter().filter(|r| r.path_and_query.ends_with("/key")).count() >= 1).await;
        assert_eq!(shipper.reload(&with_key("new")).await, "changed sinks.key");
        shipper
            .http
            .wait_until(|requests| {
                let good = requests.iter().filter(|r| r.header("authorization") == Some("Bearer new"));
                numbers(&good.cloned().collect::<Vec<_>>(), "/key").len() >= 2_000
            })
            .await;
        let (report, requests) = shipper.stop().await;
        assert_eq!(numbers(&requests, "/other"), (0..2_000).collect::<Vec<_>>(), "{report}");
        let key = &report.sinks.iter().find(|(id, _)| id == "key").unwrap().1;
        assert_eq!((key.received, key.delivered), (2_000, 2_000), "{report}");
    })
    .await;
}

/// A sink that would encode events otherwise leaves what has been encoded to the old one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_encoded_otherwise_is_finished_by_the_old_sink() {
    in_time(async {
        let with = |framing: &str| {
            let options = format!("framing.method = '{framing}'\nrequest.retry_initial_backoff_secs = 0.01");
            format!("{NATS_SOURCE}{}", sink("out", "['nats']", &options))
        };
        let mut shipper = Shipper::start(
            &with("character_delimited\"\nframing.character_delimited.delimiter = \",").replace('"', "'"),
        )
        .await;
        shipper.http.default_reply(Reply::status(503));
        let mut publisher = shipper.publisher().await;
        publisher.publish_events(0..10).await;
        publisher.flush().await;
        shipper.http.wait_for(1).await;
        shipper.reload(&with("newline_delimited")).await;
        publisher.publish_events(10..20).await;
        publisher.flush().await;
        shipper.http.wait_until(|requests| requests.iter().any(|r| !r.text().starts_with('['))).await;
        shipper.http.default_reply(Reply::status(200));
        let (report, requests) = shipper.stop().await;
        assert_eq!(report.sinks[0].1.delivered, 20, "{report}");
        let last = |is_array: bool| {
            requests.iter().rfind(|request| request.text().starts_with('[') == is_array).unwrap()
        };
        assert_eq!(last(true).json().as_array().unwrap().len(), 10);
        assert_eq!(last(false).json_lines().len(), 10);
    })
    .await;
}

/// Another subscription: the old one goes on until the new one is there, so that nothing is missed.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_changed_source_misses_nothing() {
    in_time(async {
        let with = |name: &str| {
            let source = NATS_SOURCE.replace("'test'", &format!("'{name}'"));
            format!("{source}{}", sink("out", "['nats']", ""))
        };
        let mut shipper = Shipper::start(&with("first")).await;
        let mut publisher = shipper.publisher().await;
        let mut published = 0;
        for round in 0..10 {
            publisher.publish_events(published..published + 300).await;
            publisher.flush().await;
            published += 300;
            assert_eq!(shipper.reload(&with(&format!("round {round}"))).await, "changed sources.nats");
        }
        shipper
            .http
            .wait_until(|requests| {
                let mut seen = numbers(requests, "/out");
                seen.dedup();
                seen.len() as u64 == published
            })
            .await;
        // Only the last one is left.
        while shipper.nats.subscriptions().await.iter().filter(|subject| *subject == "logs.>").count() > 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        shipper.stop().await;
    })
    .await;
}

#[tokio::test]
async fn a_configuration_that_cannot_be_built_changes_nothing() {
    in_time(async {
        let good = format!("{NATS_SOURCE}{}", sink("out", "['nats']", ""));
        let mut shipper = Shipper::start(&good).await;
        let bad = format!("{good}{}", sink("bad", "['nats']", "tls.ca_file = '/nowhere.pem'"));
        let config = load(&bad, &shipper.nats, &shipper.http);
        let error = shipper.running.reload(config).await.unwrap_err().to_string();
        assert!(error.contains("sinks.bad") && error.contains("/nowhere.pem"), "{error}");
        let mut publisher = shipper.publisher().await;
        publisher.publish_events(0..10).await;
        publisher.flush().await;
        shipper.http.wait_until(|requests| numbers(requests, "/out").len() == 10).await;
        let (report, _) = shipper.stop().await;
        assert_eq!(report.sinks.len(), 1, "{report}");
    })
    .await;
}

// === transforms ===

/// A source of what the test sends.
#[derive(Debug)]
struct Channel(Mutex<Option<mpsc::Receiver<Vec<LogEvent>>>>);

fn channel() -> (mpsc::Sender<Vec<LogEvent>>, Channel) {
    let (sender, receiver) = mpsc::channel(1);
    (sender, Channel(Mutex::new(Some(receiver))))
}

#[async_trait]
impl SourceConfig for Channel {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let mut receiver = self.0.lock().unwrap().take().expect("built once");
        Ok(Box::pin(async move {
            cx.ready.set();
            loop {
                tokio::select! {
                    events = receiver.recv() => match events {
                        Some(events) => cx.output.send(events).await,
                        None => return Ok(()),
                    },
                    () = cx.shutdown.cancelled() => return Ok(()),
                }
            }
        }))
    }
}

/// Sends even numbers to `even`, leaves sevens out, fails at eights, and holds the others back.
#[derive(Clone, Debug)]
struct Sorting {
    flushes: Option<Duration>,
    held: Arc<Mutex<Vec<LogEvent>>>,
}

impl TransformConfig for Sorting {
    fn build(&self, _cx: &TransformContext) -> Result<Box<dyn Transform>> {
        Ok(Box::new(self.clone()))
    }

    fn outputs(&self) -> OutputNames {
        OutputNames { has_default: true, named: vec!["even".to_owned()] }
    }
}

impl Transform for Sorting {
    fn transform(&mut self, event: LogEvent, outputs: &mut Outputs) {
        match event.message().unwrap().parse::<u64>().unwrap() {
            7 => outputs.discard(event),
            8 => outputs.fail(event),
            n if n % 2 == 0 => outputs.push_to(0, event),
            _ => self.held.lock().unwrap().push(event),
        }
    }

    fn flush_every(&self) -> Option<Duration> {
        self.flushes
    }

    fn flush(&mut self, outputs: &mut Outputs) {
        self.held.lock().unwrap().drain(..).for_each(|event| outputs.push(event));
    }

    fn finish(&mut self, outputs: &mut Outputs) {
        self.flush(outputs);
    }
}

fn sorting(flushes: Option<Duration>) -> (Sorting, mpsc::Sender<Vec<LogEvent>>, Config) {
    let sorting = Sorting { flushes, held: Arc::default() };
    let (sender, source) = channel();
    let config = Config::default()
        .source("in", source)
        .transform("sorting", &["in"], sorting.clone())
        .sink("odd", &["sorting"], BlackholeConfig::default())
        .sink("even", &["sorting.even"], BlackholeConfig::default());
    (sorting, sender, config)
}

fn counted(numbers: std::ops::Range<u64>, batch: &Arc<BatchNotifier>) -> Vec<LogEvent> {
    let event = |n| LogEvent::from_json(format!("{{\"message\":\"{n}\"}}").into()).unwrap();
    numbers.map(|n| event(n).with_finalizers(EventFinalizers::new(Arc::clone(batch)))).collect()
}

fn delivered(report: &Report) -> Vec<u64> {
    report.sinks.iter().map(|(_, sink)| sink.delivered).collect()
}

#[tokio::test]
async fn a_transform_has_outputs_and_books_and_what_it_holds_comes_out_at_the_end() {
    in_time(async {
        let (_, sender, config) = sorting(None);
        let mut running =
            Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
        let (batch, status) = BatchNotifier::new_with_receiver();
        sender.send(counted(0..10, &batch)).await.unwrap();
        drop((batch, sender));
        running.finished().await;
        let report = running.counts();
        assert_eq!(delivered(&report), [4, 4], "{report}");
        let books = report.transforms[0].1;
        assert_eq!((books.received, books.sent, books.discarded, books.failed), (10, 8, 1, 1), "{report}");
        assert_eq!(status.await, Ok(EventStatus::Rejected), "eight has failed");
        assert!(!report.has_losses(), "{report}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_transform_holds_back_is_flushed_in_time() {
    in_time(async {
        let (sorting, sender, config) = sorting(Some(Duration::from_secs(3)));
        let mut running =
            Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
        let (batch, status) = BatchNotifier::new_with_receiver();
        sender.send(counted(0..4, &batch)).await.unwrap();
        drop(batch);
        assert_eq!(status.await, Ok(EventStatus::Delivered));
        assert_eq!(delivered(&running.counts()), [2, 2]);
        assert_eq!(sorting.held.lock().unwrap().len(), 0);
        assert_eq!(delivered(&running.stop(Duration::from_secs(9)).await), [2, 2]);
    })
    .await;
}

#[tokio::test]
async fn a_transform_that_is_replaced_or_removed_lets_go_of_what_it_holds() {
    in_time(async {
        let (_, sender, config) = sorting(None);
        let mut running =
            Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
        let books = running.books();
        let (batch, _status) = BatchNotifier::new_with_receiver();
        sender.send(counted(0..6, &batch)).await.unwrap();
        while books.snapshot().transforms[0].1.received < 6 {
            tokio::task::yield_now().await;
        }
        // Made in code, so that every component counts as changed.
        let (_, other, config) = self::sorting(None);
        assert_eq!(
            running.reload(config).await.unwrap().to_string(),
            "changed sources.in, transforms.sorting, sinks.odd, sinks.even"
        );
        while delivered(&books.snapshot()) != [3, 3] {
            tokio::task::yield_now().await;
        }
        other.send(counted(0..6, &batch)).await.unwrap();
        while books.snapshot().transforms[0].1.received < 12 {
            tokio::task::yield_now().await;
        }
        let (last, source) = channel();
        let config = Config::default().source("in", source).sink("odd", &["in"], BlackholeConfig::default());
        let changes = running.reload(config).await.unwrap();
        assert_eq!(changes.removed, ["transforms.sorting", "sinks.even"]);
        last.send(counted(0..6, &batch)).await.unwrap();
        drop((last, sender, other));
        running.finished().await;
        assert_eq!(delivered(&running.counts()), [3 + 3 + 6, 3 + 3], "{}", running.counts());
    })
    .await;
}

#[tokio::test]
async fn what_a_transform_holds_at_the_deadline_is_counted() {
    in_time(async {
        // Whoever waits for deliveries gets them back.
        for waits in [true, false] {
            let (_, sender, config) = sorting(None);
            let mut running =
                Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>())
                    .await
                    .unwrap();
            let (batch, status) = BatchNotifier::new_with_receiver();
            let mut events = counted(0..4, &batch);
            if !waits {
                events.iter_mut().for_each(|event| event.take_finalizers().answer(EventStatus::Delivered));
            }
            sender.send(events).await.unwrap();
            drop(batch);
            while running.counts().transforms[0].1.received < 4 {
                tokio::task::yield_now().await;
            }
            let report = running.abort().await;
            let transform = report.transforms[0].1;
            let expected = if waits { (0, 2) } else { (2, 0) };
            assert_eq!((transform.lost, transform.returned), expected, "{report}");
            assert_eq!(report.has_losses(), !waits);
            let expected = if waits { EventStatus::Errored } else { EventStatus::Delivered };
            assert_eq!(status.await, Ok(expected));
        }
    })
    .await;
}

/// A flush waits for room in one sink's buffer while the input ends: what follows in its chunk still arrives
/// everywhere.
#[tokio::test(start_paused = true)]
async fn a_flush_that_is_under_way_is_waited_for_at_the_end() {
    in_time(async {
        let (sender, source) = channel();
        let (gate, open) = tokio::sync::oneshot::channel();
        let sorting = Sorting { flushes: Some(Duration::from_secs(1)), held: Arc::default() };
        let again = Sorting { flushes: None, held: Arc::default() };
        let mut config = Config::default()
            .source("in", source)
            .transform("sorting", &["in"], sorting)
            .transform("again", &["sorting"], again)
            .sink("slow", &["sorting"], Gated(Mutex::new(Some(open))))
            .sink("odd", &["again"], BlackholeConfig::default());
        // Room for one event.
        config.sinks[0].options.buffer = toml::from_str("max_events = 1").unwrap();
        let mut running =
            Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
        let (batch, status) = BatchNotifier::new_with_receiver();
        for n in [1, 3] {
            sender.send(counted(n..n + 1, &batch)).await.unwrap();
            let passed = || running.counts().transforms[0].1.sent;
            let before = passed();
            while passed() == before {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        drop((batch, sender));
        let opened = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(5)).await;
            gate.send(()).unwrap();
        });
        running.finished().await;
        opened.await.unwrap();
        assert_eq!(delivered(&running.counts()), [2, 2], "{}", running.counts());
        assert_eq!(status.await, Ok(EventStatus::Delivered));
    })
    .await;
}

/// A sink that takes nothing until it is let.
#[derive(Debug)]
struct Gated(Mutex<Option<tokio::sync::oneshot::Receiver<()>>>);

struct RunningGated(tokio::sync::oneshot::Receiver<()>);

impl SinkConfig for Gated {
    fn build(&self, _cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)> {
        Ok((Box::new(RunningGated(self.0.lock().unwrap().take().expect("built once"))), None))
    }
}

#[async_trait]
impl StreamSink for RunningGated {
    async fn run(self: Box<Self>, mut input: BufferReceiver) -> Result<()> {
        self.0.await?;
        while let Some(events) = input.recv().await {
            input.counts().settle_events(events, &Outcome::Delivered);
        }
        Ok(())
    }
}

/// The input has ended, and a sink still delivers: another configuration would have nothing to read.
#[tokio::test]
async fn a_topology_that_ends_takes_no_other_configuration() {
    in_time(async {
        let (_, sender, config) = sorting(None);
        let mut running =
            Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
        drop(sender);
        running.finished().await;
        let error = running.reload(sorting(None).2).await.unwrap_err().to_string();
        assert!(error.contains("about to end"), "{error}");
        running.finished().await;
    })
    .await;
}

/// Few of many events come through: they do not keep the memory of all that was read with them.
#[tokio::test]
async fn what_comes_through_a_transform_does_not_keep_what_does_not() {
    in_time(async {
        let block = bytes::Bytes::from(vec![b' '; 1 << 20]);
        let text = format!("{{\"message\":\"{{}}\",\"x\":\"{}\"}}", "x".repeat(100));
        let mut all = bytes::BytesMut::from(&block[..]);
        let mut places = Vec::new();
        for n in [7, 7, 7, 7, 2, 7, 7] {
            let start = all.len();
            all.extend_from_slice(text.replace("{}", &n.to_string()).as_bytes());
            places.push(start..all.len());
        }
        let all = all.freeze();
        let events = places.into_iter().map(|place| LogEvent::from_json(all.slice(place)).unwrap()).collect();
        let (_, sender, mut config) = sorting(None);
        let (_gate, open) = tokio::sync::oneshot::channel();
        config.sinks.pop();
        let config = config.sink("even", &["sorting.even"], Gated(Mutex::new(Some(open))));
        let mut running =
            Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
        sender.send(events).await.unwrap();
        while running.counts().transforms[0].1.sent == 0 {
            tokio::task::yield_now().await;
        }
        assert!(all.is_unique(), "the event that waits keeps all that was read");
        running.abort().await;
    })
    .await;
}

#[tokio::test]
async fn inputs_that_nobody_has_and_circles_are_found() {
    let sorting = || Sorting { flushes: None, held: Arc::default() };
    let (_sender, source) = channel();
    let config = Config::default()
        .source("in", source)
        .transform("a", &["b"], sorting())
        .transform("b", &["a.even"], sorting())
        .sink("out", &["a", "nobody", "in.even"], BlackholeConfig::default());
    let error = Topology::build(config, &TopologyOptions::default()).await.unwrap_err().to_string();
    for expected in ["inputs.nobody: no component", "inputs.in.even: no component", "in a circle"] {
        assert!(error.contains(expected), "{error}");
    }
    assert!(!error.contains("inputs.a"), "{error}");
}
