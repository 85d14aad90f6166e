//! The crate inside another program: its pieces by themselves, and whole topologies beside each other.

mod support;

use async_trait::async_trait;
use futures::{SinkExt, StreamExt, stream};
use log_shipper::config::{
    Config, Registry, SinkConfig, SinkContext, SinkEntry, Source, SourceConfig, SourceContext, SourceEntry,
    StreamSink,
};
use log_shipper::env::Env;
use log_shipper::event::{LogEvent, Timestamp};
use log_shipper::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
use log_shipper::healthcheck::Healthcheck;
use log_shipper::sources::Ended;
use log_shipper::topology::{
    BufferReceiver, EventSink, EventStream, Report, RunningTopology, Topology, TopologyOptions, WhenFull,
};
use log_shipper::{sinks, sources};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use support::http_server::{HttpServer, Reply};
use support::jetstream::JetStream;
use support::nats_server::{NatsServer, Options};
use support::publisher::Publisher;
use tokio::sync::oneshot;

const LIMIT: Duration = Duration::from_secs(60);

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, test).await.expect("the test takes too long")
}

fn sink(text: &str) -> SinkEntry {
    let table = toml::from_str(text).unwrap();
    SinkEntry::from_table("out", table, &Registry::builtin()).unwrap()
}

fn source(text: &str) -> SourceEntry {
    let table = toml::from_str(text).unwrap();
    SourceEntry::from_table("in", table, &Registry::builtin()).unwrap()
}

fn http(server: &HttpServer) -> SinkEntry {
    sink(&format!(
        "type = 'http'\nuri = '{}'\nencoding.codec = 'json'\nframing.method = 'newline_delimited'\n\
         batch.timeout_secs = 0.05\nrequest.retry_initial_backoff_secs = 0.01",
        server.url("/in")
    ))
}

fn event(n: u64) -> LogEvent {
    LogEvent::from_json(format!(r#"{{"n":{n}}}"#).into()).unwrap()
}

/// Received, delivered, rejected and dropped by the first sink.
fn book(report: &Report) -> (u64, u64, u64, u64) {
    let (_, sink) = &report.sinks[0];
    (sink.received, sink.delivered, sink.rejected, sink.dropped_total())
}

fn numbers(server: &HttpServer) -> Vec<u64> {
    numbers_after(0, server)
}

/// Without those of the first requests.
fn numbers_after(first: usize, server: &HttpServer) -> Vec<u64> {
    let lines = server.requests().into_iter().skip(first).flat_map(|request| request.json_lines());
    let mut numbers: Vec<u64> = lines.filter_map(|event| event["n"].as_u64()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn a_sink_takes_the_events_of_a_stream_and_answers_for_each() {
    in_time(async {
        let server = HttpServer::start().await;
        // One answer that is tried again: what the sink is by itself is what it is in a topology.
        server.push(Reply::status(503));
        let mut out = EventSink::start(http(&server), &TopologyOptions::default()).await.unwrap();
        let (batch, answer) = BatchNotifier::new_with_receiver();
        let events =
            (0..5_000).map(|n| Ok(event(n).with_finalizers(EventFinalizers::new(Arc::clone(&batch)))));
        stream::iter(events).forward(&mut out).await.unwrap();
        drop(batch);
        assert_eq!(answer.await, Ok(EventStatus::Delivered));
        assert_eq!(numbers_after(1, &server), (0..5_000).collect::<Vec<_>>());
        assert_eq!(book(&out.counts()), (5_000, 5_000, 0, 0));
        assert!(out.send(event(0)).await.is_err(), "it takes events after its end");
    })
    .await;
}

#[tokio::test]
async fn a_stopped_sink_says_what_was_given_up() {
    in_time(async {
        let server = HttpServer::start().await;
        server.default_reply(Reply::Never);
        let mut out = EventSink::start(http(&server), &TopologyOptions::default()).await.unwrap();
        let (batch, answer) = BatchNotifier::new_with_receiver();
        for n in 0..3 {
            out.send(event(n).with_finalizers(EventFinalizers::new(Arc::clone(&batch)))).await.unwrap();
        }
        drop(batch);
        server.wait_for(1).await;
        let report = out.stop(Duration::from_millis(50)).await;
        assert_eq!(book(&report), (3, 0, 0, 3));
        assert_eq!(answer.await, Ok(EventStatus::Errored));
    })
    .await;
}

/// What was sent and had no room anywhere is in the books as well.
#[tokio::test]
async fn what_waits_for_room_in_a_stopped_sink_is_counted() {
    in_time(async {
        let server = HttpServer::start().await;
        server.default_reply(Reply::Never);
        let mut entry = http(&server);
        entry.options.buffer =
            serde_json::from_value(json!({"max_events": 10, "when_full": "block"})).unwrap();
        let mut out = EventSink::start(entry, &TopologyOptions::default()).await.unwrap();
        let mut sent = 0;
        // Until one has no room for as long as it takes to be sure that nobody makes any.
        while tokio::time::timeout(Duration::from_millis(500), out.send(event(sent))).await.is_ok() {
            sent += 1;
        }
        assert!(sent > 1_000, "{sent}");
        let report = out.stop(Duration::from_millis(50)).await;
        assert_eq!(book(&report), (sent, 0, 0, sent));
        assert_eq!(report.totals().lost, sent);
    })
    .await;
}

/// `buffer` asks for room once more before it closes what is behind it.
#[tokio::test]
async fn a_sink_closes_though_somebody_has_asked_for_room() {
    in_time(async {
        let server = HttpServer::start().await;
        let mut out = EventSink::start(http(&server), &TopologyOptions::default()).await.unwrap().buffer(4);
        for n in 0..10 {
            out.feed(event(n)).await.unwrap();
        }
        out.close().await.unwrap();
        assert_eq!(numbers(&server), (0..10).collect::<Vec<_>>());
        assert_eq!(book(&out.into_inner().stop(Duration::ZERO).await), (10, 10, 0, 0));

        let (mut sender, source) = sources::channel(1);
        let mut config = Config::default().source("in", source);
        let mut entry = http(&server);
        entry.options.inputs = vec!["in".to_owned()];
        config.sinks.push(entry);
        let never = std::future::pending::<()>();
        let mut topology = Topology::start(config, &TopologyOptions::default(), never).await.unwrap();
        std::future::poll_fn(|cx| sender.poll_ready_unpin(cx)).await.unwrap();
        sender.close().await.unwrap();
        topology.finished().await;
    })
    .await;
}

#[tokio::test]
async fn what_a_program_has_not_taken_is_not_delivered() {
    in_time(async {
        let demo = source("type = 'demo_logs'\nformat = 'fly'\ninterval = 0.0\ncount = 100");
        let mut events = EventStream::start(demo, &TopologyOptions::default()).await.unwrap();
        for _ in 0..10 {
            events.next().await.unwrap();
        }
        while events.counts().sinks[0].1.received < 100 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let report = events.stop(Duration::from_secs(5)).await;
        assert_eq!(book(&report), (100, 10, 0, 90));
        assert_eq!(report.totals().lost, 90);
    })
    .await;
}

/// A stream that is slow slows its source down, whatever the options say of buffers.
#[tokio::test]
async fn a_stream_drops_nothing() {
    in_time(async {
        let demo = source("type = 'demo_logs'\nformat = 'fly'\ninterval = 0.0\ncount = 50000");
        let options = TopologyOptions::default().with_when_full(WhenFull::DropOldest);
        let mut events = EventStream::start(demo, &options).await.unwrap();
        events.next().await.unwrap();
        let received = events.counts().sinks[0].1.received;
        assert!(received < 5_000, "{received} events for one that was asked for");
        assert_eq!(events.by_ref().count().await, 49_999);
        assert_eq!(book(&events.counts()), (50_000, 50_000, 0, 0));
    })
    .await;
}

/// A source or sink that fails.
#[derive(Debug)]
struct Broken;

#[async_trait]
impl SourceConfig for Broken {
    async fn build(&self, _: SourceContext) -> log_shipper::config::Result<Source> {
        Ok(Box::pin(async { Err("the source is broken".into()) }))
    }
}

#[async_trait]
impl StreamSink for Broken {
    async fn run(self: Box<Self>, _: BufferReceiver) -> log_shipper::config::Result<()> {
        Err("the sink is broken".into())
    }
}

impl SinkConfig for Broken {
    fn build(
        &self,
        _: &SinkContext,
    ) -> log_shipper::config::Result<(Box<dyn StreamSink>, Option<Healthcheck>)> {
        Ok((Box::new(Broken), None))
    }
}

#[tokio::test]
async fn a_component_that_has_failed_says_why() {
    in_time(async {
        let options = TopologyOptions::default();
        let entry = Config::default().source("in", Broken).sources.remove(0);
        let mut events = EventStream::start(entry, &options).await.unwrap();
        assert!(events.next().await.is_none());
        assert!(
            events.counts().failures[0].contains("the source is broken"),
            "{:?}",
            events.counts().failures
        );

        let entry = Config::default().sink("out", &[], Broken).sinks.remove(0);
        let mut out = EventSink::start(entry, &options).await.unwrap();
        let Err(Ended { .. }) = out.close().await else { panic!("it closes as if all were well") };
        let report = out.stop(Duration::ZERO).await;
        assert!(report.failures[0].contains("the sink is broken"), "{:?}", report.failures);
    })
    .await;
}

#[tokio::test]
async fn no_two_components_have_one_id() {
    let (_sender, first) = sources::channel(1);
    let (_other, second) = sources::channel(1);
    let mut config = Config::default().source("in", first).source("in", second);
    let mut entry = sink("type = 'blackhole'");
    entry.options.inputs = vec!["in".to_owned()];
    entry.id = "in".to_owned();
    config.sinks.push(entry);
    let never = std::future::pending::<()>();
    let error = Topology::start(config, &TopologyOptions::default(), never).await.unwrap_err().to_string();
    assert!(error.contains("sources.in: another component has the same id"), "{error}");
    assert!(error.contains("sinks.in: another component has the same id"), "{error}");
}

#[tokio::test]
async fn a_channels_buffer_is_not_on_disk() {
    in_time(async {
        let directory = tempfile::tempdir().unwrap();
        let (mut sender, source) = sources::channel(1);
        let (sink, mut receiver) = sinks::channel(1);
        let mut config = Config::default().source("in", source).sink("out", &["in"], sink);
        config.sinks[0].options.buffer = serde_json::from_value(json!({"type": "disk"})).unwrap();
        let options = TopologyOptions::default().with_data_dir(directory.path());
        let mut topology = Topology::start(config, &options, std::future::pending::<()>()).await.unwrap();
        let _ = sender.send(event(0)).await;
        topology.ended().await;
        assert!(topology.failures()[0].contains("let it be in memory"), "{:?}", topology.failures());
        assert!(receiver.next().await.is_none());
        topology.stop(Duration::from_secs(5)).await;
        assert!(directory.path().join("buffer").is_dir(), "the options' directory is not used");
    })
    .await;
}

#[tokio::test]
async fn the_nats_source_is_a_stream_of_events_with_their_subjects() {
    in_time(async {
        let nats = NatsServer::start().await;
        let text = format!(
            "type = 'nats'\nurl = '{}'\nconnection_name = 'test'\nsubject = 'logs.>'\ndecoding.codec = 'json'",
            nats.url()
        );
        let mut events = EventStream::start(source(&text), &TopologyOptions::default()).await.unwrap();
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        // More than may be on its way at once.
        publisher.publish_events(0..5_000).await;
        publisher.flush().await;
        for n in 0..5_000 {
            let event = events.next().await.unwrap();
            assert!(event.subject().is_some_and(|subject| subject.starts_with("logs.")), "{event:?}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&event.json()).unwrap()["n"], n);
        }
        assert_eq!(events.counts().sources[0].1.received, 5_000);
        events.shut_down();
        assert!(events.next().await.is_none(), "an event that nobody published");
    })
    .await;
}

#[tokio::test]
async fn what_a_stream_has_not_answered_for_jetstream_sends_again() {
    in_time(async {
        let nats = NatsServer::with(Options { jetstream: true, ..Options::default() }).await;
        let jetstream = JetStream::connect(nats.url()).await;
        jetstream.make_stream(json!({})).await;
        jetstream.publish(0..10).await;
        let text = format!(
            "type = 'nats'\nurl = '{}'\nconnection_name = 'test'\nsubject = 'logs.>'\ndecoding.codec = 'json'\n\
             jetstream = {{ stream = 'S', consumer = 'C', create = true, ack_wait_secs = 1 }}",
            nats.url()
        );
        let mut events = EventStream::start(source(&text), &TopologyOptions::default()).await.unwrap();
        let mut times = [0; 10];
        let number = |event: &LogEvent| {
            serde_json::from_str::<serde_json::Value>(&event.json()).unwrap()["n"].as_u64().unwrap() as usize
        };
        // The odd ones are let go of at first.
        while times.iter().sum::<u32>() < 15 {
            let mut event = events.next().await.unwrap();
            let n = number(&event);
            times[n] += 1;
            if n % 2 == 0 || times[n] == 2 {
                event.take_finalizers().answer(EventStatus::Delivered);
            }
        }
        assert_eq!(times, [1, 2, 1, 2, 1, 2, 1, 2, 1, 2]);
        events.stop(Duration::from_secs(10)).await;
        jetstream.wait_until_acknowledged().await;
    })
    .await;
}

#[tokio::test]
async fn two_topologies_in_one_process_know_nothing_of_each_other() {
    in_time(async {
        let servers = [HttpServer::start().await, HttpServer::start().await];
        let mut running = Vec::new();
        for (index, server) in servers.iter().enumerate() {
            let (sender, source) = sources::channel(100);
            let mut config = Config::default().source("in", source);
            config.sinks.push({
                let mut sink = http(server);
                sink.options.inputs = vec!["in".to_owned()];
                sink
            });
            let (stop, stopped) = oneshot::channel::<()>();
            let topology = Topology::start(config, &TopologyOptions::default(), stopped).await.unwrap();
            running.push((index as u64, sender, stop, topology));
        }
        for (index, sender, ..) in &mut running {
            for n in 0..100 {
                sender.send(event(*index * 1_000 + n)).await.unwrap();
            }
        }
        let (_, mut first, stop, mut topology) = running.remove(0);
        stop.send(()).unwrap();
        topology.finished().await;
        assert!(first.send(event(0)).await.is_err(), "its source takes events after its end");
        assert_eq!(book(&topology.counts()), (100, 100, 0, 0));
        // The other one goes on.
        let (_, mut second, _stop, mut topology) = running.remove(0);
        second.send(event(1_100)).await.unwrap();
        second.close().await.unwrap();
        topology.finished().await;
        assert_eq!(book(&topology.stop(Duration::from_secs(5)).await), (101, 101, 0, 0));
        assert_eq!(numbers(&servers[0]), (0..100).collect::<Vec<_>>());
        assert_eq!(numbers(&servers[1]), (1_000..1_101).collect::<Vec<_>>());
    })
    .await;
}

/// A web server's handler is such a task.
#[tokio::test]
async fn everything_can_be_done_in_a_task() {
    in_time(async {
        let server = HttpServer::start().await;
        let (entry, url) = (http(&server), server.url("/other"));
        let done = tokio::spawn(async move {
            let options = TopologyOptions::default();
            let demo = source("type = 'demo_logs'\nformat = 'fly'\ninterval = 0.0\ncount = 3");
            let events: Vec<_> = EventStream::start(demo, &options).await.unwrap().collect().await;
            let mut out = EventSink::start(entry, &options).await.unwrap();
            stream::iter(events.into_iter().map(Ok)).forward(&mut out).await.unwrap();
            assert_eq!(book(&out.stop(Duration::from_secs(5)).await), (3, 3, 0, 0));

            let config = |uri: &str| {
                let text = format!(
                    "[sources.in]\ntype = 'demo_logs'\nformat = 'fly'\n[sinks.out]\ntype = 'http'\n\
                     inputs = ['in']\nencoding.codec = 'json'\nuri = '{uri}'"
                );
                Config::from_toml(&text, "task.toml", &Registry::builtin(), &Env::default()).unwrap()
            };
            let never = std::future::pending::<()>();
            let mut running = Topology::start(config(&url), &options, never).await.unwrap();
            running.reload(config(&format!("{url}/new"))).await.unwrap();
            running.stop(Duration::from_secs(5)).await.sinks.len()
        });
        assert_eq!(done.await.unwrap(), 1);
    })
    .await;
}

#[tokio::test]
async fn a_program_that_drops_its_end_of_a_channel_holds_up_nobody() {
    in_time(async {
        let server = HttpServer::start().await;
        let (mut sender, source) = sources::channel(10);
        let (nobody, receiver) = sinks::channel(1);
        let mut config = Config::default().source("in", source).sink("nobody", &["in"], nobody);
        let mut out = http(&server);
        out.options.inputs = vec!["in".to_owned()];
        config.sinks.push(out);
        let never = std::future::pending::<()>();
        let mut topology = Topology::start(config, &TopologyOptions::default(), never).await.unwrap();
        drop(receiver);
        for n in 0..1_000 {
            sender.send(event(n)).await.unwrap();
        }
        sender.close().await.unwrap();
        topology.finished().await;
        let report = topology.stop(Duration::from_secs(5)).await;
        assert_eq!(report.sinks.len(), 2);
        for (id, sink) in &report.sinks {
            let settled = sink.delivered + sink.rejected + sink.dropped_total() + sink.buffered;
            assert_eq!((sink.received, settled), (1_000, 1_000), "{id}");
        }
        assert_eq!(numbers(&server), (0..1_000).collect::<Vec<_>>());
    })
    .await;
}

#[test]
fn a_component_by_itself_tells_its_mistakes() {
    let registry = Registry::builtin();
    for (text, expected) in [
        ("uri = 'http://localhost'", "sinks.out.type: missing"),
        ("type = 'htp'", "did you mean `http`?"),
        ("type = 'http'\nencodng = 1", "sinks.out"),
        ("type = 'http'\nuri = 'http://localhost'\nencoding.codec = 'jsno'", "sinks.out.encoding"),
    ] {
        let problems = SinkEntry::from_table("out", toml::from_str(text).unwrap(), &registry).unwrap_err();
        assert!(problems.to_string().contains(expected), "{text}: {problems}");
    }
}

/// What a program has in its table has been looked up already: a password may look like a reference.
#[tokio::test]
async fn the_texts_of_a_table_are_taken_as_they_are() {
    in_time(async {
        let server = HttpServer::start().await;
        let text = format!(
            "type = 'http'\nuri = '{}'\nencoding.codec = 'json'\nbatch.timeout_secs = 0.05\n\
             auth = {{ strategy = 'bearer', token = '${{A}}$$SECRET[b.c]' }}",
            server.url("/in")
        );
        let entry = sink(&text);
        assert!(!format!("{entry:?}").contains("SECRET["), "{entry:?}");
        let mut out = EventSink::start(entry, &TopologyOptions::default()).await.unwrap();
        out.send(event(1)).await.unwrap();
        out.close().await.unwrap();
        assert_eq!(server.requests()[0].header("authorization"), Some("Bearer ${A}$$SECRET[b.c]"));
    })
    .await;
}

#[test]
fn a_configuration_is_made_of_the_environment() {
    let env =
        Env::from_pairs([("ACCESS_TOKEN", "x"), ("HTTP_URL", "http://localhost/in"), ("HTTP_TOKEN", "t")]);
    let config = Config::from_environment(&Registry::builtin(), &env).unwrap();
    let ids: Vec<_> = config.sinks.iter().map(|sink| sink.id.as_str()).collect();
    assert_eq!(ids, ["http"]);
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    // No destination holds up another, and what is off is said, as by the program itself.
    let options = config.sinks[0].options.buffer.settings(WhenFull::Block);
    assert_eq!(options.when_full, WhenFull::DropOldest);
    let env = Env::from_pairs([
        ("ACCESS_TOKEN", "x"),
        ("HTTP_URL", "http://localhost/in"),
        ("HTTP_TOKEN", "t"),
        ("HONEYCOMB_DATASET", "fly"),
    ]);
    let config = Config::from_environment(&Registry::builtin(), &env).unwrap();
    let warnings: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert!(warnings.iter().any(|warning| warning.contains("HONEYCOMB_API_KEY")), "{warnings:?}");
    let error = Config::from_environment(&Registry::builtin(), &Env::default()).unwrap_err();
    assert!(error.to_string().starts_with("ACCESS_TOKEN is not set"), "{error}");
}

/// A program may start them in a task of its own, and keep them in a state that its threads share.
#[test]
fn what_is_started_may_go_to_another_thread() {
    fn may_move<T: Send>(_: &T) {}
    fn may_be_shared<T: Send + Sync>() {}
    let options = TopologyOptions::default();
    let never = std::future::pending::<()>();
    may_move(&Topology::start(Config::default(), &options, never));
    let entry = sink("type = 'blackhole'");
    may_move(&EventSink::start(entry, &options));
    may_move(&EventStream::start(source("type = 'demo_logs'\nformat = 'fly'"), &options));
    may_be_shared::<RunningTopology>();
    may_be_shared::<Registry>();
    may_be_shared::<Config>();
    may_be_shared::<LogEvent>();
    may_be_shared::<EventSink>();
    may_be_shared::<EventStream>();
}

#[test]
fn the_time_of_an_event_made_here_is_now() {
    let before = Timestamp::now();
    let event = LogEvent::from_message(b"hello", Timestamp::now());
    assert!((before..=Timestamp::now()).contains(&event.timestamp()));
}
