//! What goes through the adapters.

use crate::config::{ComponentKey, DataType, Input, LogNamespace, ProxyConfig, ShutdownSignal, SinkConfig};
use crate::config::{SinkContext, SourceConfig, SourceContext, SourceSender};
use crate::event::{AddBatchNotifier, BatchNotifier, BatchStatus, Event, EventStatus, Finalizable, LogEvent};
use crate::sinks::VectorSink;
use crate::support::http_server::{HttpServer, Reply};
use crate::support::jetstream::JetStream;
use crate::support::nats_server::{NatsServer, Options};
use crate::support::publisher::Publisher;
use futures::{StreamExt, stream};
use serde_json::json;
use std::path::Path;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use vrl::value::Value;

const LIMIT: Duration = Duration::from_secs(60);

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    tokio::time::timeout(LIMIT, test).await.expect("the test takes too long")
}

/// As Vector reads a configuration: by the tag, whatever the format.
fn sink(text: &str) -> Box<dyn SinkConfig> {
    let table: toml::Value = toml::from_str(text).unwrap();
    table.try_into().unwrap()
}

fn source(text: &str) -> Box<dyn SourceConfig> {
    let table: toml::Value = toml::from_str(text).unwrap();
    table.try_into().unwrap()
}

fn http(server: &HttpServer) -> String {
    format!(
        "type = 'log_shipper'\n[sink]\ntype = 'http'\nuri = '{}'\nencoding.codec = 'json'\n\
         batch.timeout_secs = 0.05\nrequest.retry_initial_backoff_secs = 0.01\n",
        server.url("/in")
    )
}

fn log(json: serde_json::Value) -> (LogEvent, crate::event::BatchStatusReceiver) {
    let mut log = LogEvent::from(Value::from(json));
    let (batch, receipt) = BatchNotifier::new_with_receiver();
    log.add_batch_notifier(batch);
    (log, receipt)
}

async fn build(sink: &dyn SinkConfig, proxy: ProxyConfig) -> (VectorSink, crate::sinks::Healthcheck) {
    sink.build(SinkContext { proxy }).await.unwrap_or_else(|error| panic!("{error}"))
}

#[tokio::test]
async fn events_of_vector_go_through_a_sink_of_ours_and_each_is_answered_for() {
    in_time(async {
        for (reply, expected) in [
            (Reply::status(200), BatchStatus::Delivered),
            (Reply::status(400).body("no"), BatchStatus::Rejected),
        ] {
            let server = HttpServer::start().await;
            server.default_reply(reply);
            let config = sink(&http(&server));
            assert_eq!((config.get_component_name(), config.input()), ("log_shipper", Input::log()));
            let (built, _) = build(&*config, ProxyConfig::default()).await;
            let ((first, one), (second, other)) =
                (log(json!({"message": "a"})), log(json!({"n": [1, {"b": null}]})));
            let events = [Event::Log(first), Event::Metric, Event::Log(second)];
            built.0.run(stream::iter(events).boxed()).await.unwrap();
            assert_eq!((one.await, other.await), (expected, expected));
            let bodies: Vec<_> = server.requests().iter().map(|request| request.json()).collect();
            assert_eq!(bodies, [json!([{"message": "a"}, {"n": [1, {"b": null}]}])]);
        }
    })
    .await;
}

#[tokio::test]
async fn an_event_that_is_never_taken_is_an_error_and_not_delivered() {
    in_time(async {
        let server = HttpServer::start().await;
        server.default_reply(Reply::Never);
        let (built, _) = build(&*sink(&http(&server)), ProxyConfig::default()).await;
        let (event, receipt) = log(json!({"message": "a"}));
        let events = stream::iter([Event::Log(event)]).chain(stream::pending()).boxed();
        let task = tokio::spawn(built.0.run(events));
        server.wait_for(1).await;
        task.abort();
        assert_eq!(receipt.await, BatchStatus::Errored);
    })
    .await;
}

#[tokio::test]
async fn the_healthcheck_and_the_proxies_are_passed_on() {
    in_time(async {
        let (server, proxy) = (HttpServer::start().await, HttpServer::start().await);
        server.default_reply(Reply::status(401));
        let text = "type = 'log_shipper'\n[sink]\ntype = 'axiom'\ntoken = 'T'\ndataset = 'd'\nurl = '{}'\n\
                    batch.timeout_secs = 0.05\n";
        let (_, check) = build(&*sink(&text.replace("{}", &server.url(""))), ProxyConfig::default()).await;
        let error = check.await.unwrap_err().to_string();
        assert!(error.contains("401"), "{error}");
        // A name that nobody has: only the proxy can answer.
        let theirs = ProxyConfig { http: Some(proxy.url("")), ..ProxyConfig::default() };
        let text = text.replace("{}", "http://axiom.invalid");
        let (built, check) = build(&*sink(&text), theirs).await;
        check.await.unwrap();
        let (event, receipt) = log(json!({"message": "a"}));
        built.0.run(stream::iter([Event::Log(event)]).boxed()).await.unwrap();
        assert_eq!(receipt.await, BatchStatus::Delivered);
        assert_eq!(proxy.requests().len(), 2, "the healthcheck and the event");
    })
    .await;
}

#[tokio::test]
async fn every_mistake_is_told_when_the_sink_is_built_and_no_key_is_shown() {
    let config = sink(
        "type = 'log_shipper'\nacknowledgements.enabled = true\n[sink]\ntype = 'axiom'\ntoken = 'KEY'\nx = 1",
    );
    assert_eq!(config.acknowledgements().enabled, Some(true));
    assert!(!format!("{config:?}").contains("KEY"));
    let Err(error) = config.build(SinkContext::default()).await else { panic!("it has mistakes") };
    let error = error.to_string();
    for part in ["dataset", "unknown field `x`"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    assert!(!error.contains("KEY"), "{error}");
    let config = source("type = 'log_shipper_nats'\nurl = 'nats://u:KEY@localhost'\nsubject = 'a..b'");
    assert!(!format!("{config:?}").contains("KEY"));
    assert!(config.build(context(true).0).await.is_err());
}

/// Nothing is copied on the way: what Vector made is what we encode, and the other way round.
#[test]
fn values_are_moved() {
    let text = bytes::Bytes::from_static(b"a message");
    let at = text.as_ptr();
    let value = Value::from(
        [("message", Value::Bytes(text))]
            .into_iter()
            .map(|(k, v)| (k.into(), v))
            .collect::<vrl::value::ObjectMap>(),
    );
    let event = log_shipper::event::LogEvent::from_value(value);
    let Value::Object(object) = event.into_value() else { panic!("an object") };
    let Some(Value::Bytes(bytes)) = object.get("message") else { panic!("{object:?}") };
    assert_eq!(bytes.as_ptr(), at);
}

/// What a source is given, what ends it, and where its events come out.
fn context(acknowledgements: bool) -> (SourceContext, oneshot::Sender<()>, mpsc::Receiver<Event>) {
    let (sender, events) = mpsc::channel(10);
    let (shutdown, trigger) = ShutdownSignal::new();
    let out = SourceSender(sender);
    (SourceContext { key: ComponentKey("nats".to_owned()), shutdown, out, acknowledgements }, trigger, events)
}

async fn next(events: &mut mpsc::Receiver<Event>) -> (Value, crate::event::EventFinalizers) {
    let Some(Event::Log(mut log)) = events.recv().await else { panic!("a log") };
    let finalizers = log.take_finalizers();
    (log.into_parts().0, finalizers)
}

fn number(value: &Value) -> i64 {
    value.get(vrl::path!("n")).and_then(Value::as_integer).expect("a number")
}

#[tokio::test]
async fn messages_of_nats_are_events_of_vector_with_their_own_time() {
    in_time(async {
        let nats = NatsServer::start().await;
        let text = format!(
            "type = 'log_shipper_nats'\nurl = '{}'\nconnection_name = 'vector'\nsubject = 'logs.>'\ndecoding.codec = 'json'",
            nats.url()
        );
        let config = source(&text);
        assert!(config.can_acknowledge());
        assert_eq!(config.outputs(LogNamespace::Legacy)[0].ty, DataType::Log);
        let (cx, trigger, mut events) = context(true);
        let running = tokio::spawn(config.build(cx).await.unwrap());
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publisher.publish("logs.app.ams.one", r#"{"n":-1,"timestamp":"2026-01-02T03:04:05.678Z"}"#).await;
        publisher.publish_events(0..2_500).await;
        publisher.flush().await;
        let (value, finalizers) = next(&mut events).await;
        let time = value.get(vrl::path!("timestamp")).and_then(Value::as_timestamp).expect("a time");
        assert_eq!(time.to_rfc3339(), "2026-01-02T03:04:05.678+00:00");
        assert_eq!(number(&value), -1);
        drop(finalizers);
        for n in 0..2_500 {
            assert_eq!(number(&next(&mut events).await.0), n);
        }
        trigger.send(()).unwrap();
        assert!(events.recv().await.is_none(), "an event that nobody published");
        running.await.unwrap().unwrap();
    })
    .await;
}

#[tokio::test]
async fn vector_s_acknowledgements_are_those_of_the_stream() {
    in_time(async {
        let nats = NatsServer::with(Options { jetstream: true, ..Options::default() }).await;
        let jetstream = JetStream::connect(nats.url()).await;
        jetstream.make_stream(json!({})).await;
        jetstream.publish(0..10).await;
        let text = format!(
            "type = 'log_shipper_nats'\nurl = '{}'\nconnection_name = 'vector'\nsubject = 'logs.>'\ndecoding.codec = 'json'\n\
             jetstream = {{ stream = 'S', consumer = 'C', create = true, ack_wait_secs = 1 }}",
            nats.url()
        );
        let (cx, trigger, mut events) = context(true);
        let running = tokio::spawn(source(&text).build(cx).await.unwrap());
        let mut times = [0; 10];
        while times.iter().sum::<u32>() < 15 {
            let (value, finalizers) = next(&mut events).await;
            let n = usize::try_from(number(&value)).unwrap();
            times[n] += 1;
            // The odd ones fail at first.
            let status = if n % 2 == 1 && times[n] == 1 { EventStatus::Errored } else { EventStatus::Delivered };
            finalizers.update_status(status);
        }
        assert_eq!(times, [1, 2, 1, 2, 1, 2, 1, 2, 1, 2]);
        jetstream.wait_until_acknowledged().await;
        trigger.send(()).unwrap();
        running.await.unwrap().unwrap();
    })
    .await;
}

#[test]
fn an_adapter_is_short() {
    for name in ["log_shipper_sink.rs", "log_shipper_source.rs"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/vector-build").join(name);
        let lines = std::fs::read_to_string(path).unwrap().lines().count();
        assert!(lines < 130, "{name} has {lines} lines");
    }
}
