//! The crate inside another program: its pieces by themselves, and whole topologies beside each other.

mod support;

use futures::{SinkExt, StreamExt, stream};
use log_shipper::config::{Config, Registry, SinkEntry, SourceEntry};
use log_shipper::env::Env;
use log_shipper::event::{LogEvent, Timestamp};
use log_shipper::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
use log_shipper::topology::{EventSink, EventStream, Report, Topology, TopologyOptions};
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
    SinkEntry::from_table("out", table, &Registry::builtin(), &Env::default()).unwrap()
}

fn source(text: &str) -> SourceEntry {
    let table = toml::from_str(text).unwrap();
    SourceEntry::from_table("in", table, &Registry::builtin(), &Env::default()).unwrap()
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
    let env = Env::from_pairs([("TOKEN", "secret-token")]);
    for (text, expected) in [
        ("uri = 'http://localhost'", "sinks.out.type: missing"),
        ("type = 'htp'", "did you mean `http`?"),
        ("type = 'http'\nencodng = 1", "sinks.out"),
        ("type = 'axiom'\ntoken = '${NOT_SET}'\ndataset = 'x'", "NOT_SET"),
    ] {
        let problems =
            SinkEntry::from_table("out", toml::from_str(text).unwrap(), &registry, &env).unwrap_err();
        assert!(problems.to_string().contains(expected), "{text}: {problems}");
    }
    let text = "type = 'axiom'\ntoken = '${TOKEN}'\ndataset = 'x'";
    let entry = SinkEntry::from_table("out", toml::from_str(text).unwrap(), &registry, &env).unwrap();
    assert!(!format!("{entry:?}").contains("secret-token"));
}

#[test]
fn a_configuration_is_made_of_the_environment() {
    let env =
        Env::from_pairs([("ACCESS_TOKEN", "x"), ("HTTP_URL", "http://localhost/in"), ("HTTP_TOKEN", "t")]);
    let config = Config::from_environment(&Registry::builtin(), &env).unwrap();
    let ids: Vec<_> = config.sinks.iter().map(|sink| sink.id.as_str()).collect();
    assert_eq!(ids, ["http"]);
    let error = Config::from_environment(&Registry::builtin(), &Env::default()).unwrap_err();
    assert!(error.to_string().starts_with("ACCESS_TOKEN is not set"), "{error}");
}

#[test]
fn the_time_of_an_event_made_here_is_now() {
    let before = Timestamp::now();
    let event = LogEvent::from_message(b"hello", Timestamp::now());
    assert!((before..=Timestamp::now()).contains(&event.timestamp()));
}
