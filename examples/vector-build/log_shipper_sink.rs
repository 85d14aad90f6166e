//! The sink `log_shipper` of a custom Vector build: any sink of log-shipper's, in the table `sink`.

use async_trait::async_trait;
use futures::{StreamExt, future, stream::BoxStream};
use log_shipper::config::{Registry, SinkEntry};
use log_shipper::env::Env;
use log_shipper::event::LogEvent;
use log_shipper::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
use log_shipper::http::ProxyConfig;
use log_shipper::topology::{EventSink, TopologyOptions};
use serde::{Deserialize, Serialize};
use std::fmt;
use vector::config::{SinkConfig, SinkContext};
use vector::sinks::{Healthcheck, VectorSink};
use vector_lib::config::{AcknowledgementsConfig, Input};
use vector_lib::configurable::NamedComponent;
use vector_lib::event::{Event, EventStatus as Theirs, Finalizable};
use vector_lib::sink::StreamSink;
use vrl::value::Value;

/// Vector's own options stand beside the table: `inputs`, `buffer`, `healthcheck`, `proxy`, `acknowledgements`.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogShipperSink {
    /// `type` and the options of that sink. Vector has put the environment's variables in already.
    sink: toml::Table,
    #[serde(default)]
    acknowledgements: AcknowledgementsConfig,
}

/// The options may hold keys.
impl fmt::Debug for LogShipperSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogShipperSink").field("type", &self.sink.get("type")).finish_non_exhaustive()
    }
}

impl NamedComponent for LogShipperSink {
    fn get_component_name(&self) -> &'static str {
        "log_shipper"
    }
}

impl LogShipperSink {
    fn entry(&self, cx: &SinkContext) -> vector::Result<SinkEntry> {
        let mut entry = SinkEntry::from_table("log_shipper", self.sink.clone(), &Registry::builtin())?;
        // Both sides write these options in the same way; no type of theirs has to be named.
        let theirs: ProxyConfig = toml::Value::try_from(&cx.proxy)?.try_into()?;
        entry.options.proxy = entry.options.proxy.or(&theirs);
        Ok(entry)
    }
}

#[async_trait]
#[typetag::serde(name = "log_shipper")]
impl SinkConfig for LogShipperSink {
    async fn build(&self, cx: SinkContext) -> vector::Result<(VectorSink, Healthcheck)> {
        let mut entry = self.entry(&cx)?;
        // This builds the sink as well, so that every mistake is told now.
        let check = EventSink::check(self.entry(&cx)?, &options()).await?;
        let healthcheck: Healthcheck = Box::pin(async move { Ok(check.run().await?) });
        // Vector asks when it wants to.
        entry.options.healthcheck.enabled = false;
        Ok((VectorSink::from_event_streamsink(Running(entry)), healthcheck))
    }

    fn input(&self) -> Input {
        Input::log()
    }

    fn acknowledgements(&self) -> &AcknowledgementsConfig {
        &self.acknowledgements
    }
}

/// The environment is where AWS's credentials may be.
fn options() -> TopologyOptions {
    TopologyOptions::default().with_env(Env::from_process())
}

struct Running(SinkEntry);

#[async_trait]
impl StreamSink<Event> for Running {
    /// Ends when Vector's stream has ended and every event has been answered for.
    async fn run(self: Box<Self>, input: BoxStream<'_, Event>) -> Result<(), ()> {
        let Running(entry) = *self;
        let failed = |error: &dyn fmt::Display| tracing::error!("log_shipper: {error}");
        let sink = EventSink::start(entry, &options()).await.map_err(|error| failed(&error))?;
        let events = input.filter_map(|event| future::ready(take(event).map(Ok)));
        events.forward(sink).await.map_err(|error| failed(&error))
    }
}

/// The event as ours, with its receipts: they are let go of when ours are answered.
fn take(event: Event) -> Option<LogEvent> {
    let Event::Log(mut log) = event else { return None };
    let theirs = log.take_finalizers();
    let (value, _metadata) = log.into_parts();
    let receipt = BatchNotifier::calling(move |status| {
        theirs.update_status(match status {
            EventStatus::Delivered => Theirs::Delivered,
            EventStatus::Rejected => Theirs::Rejected,
            EventStatus::Errored => Theirs::Errored,
        });
    });
    Some(from_value(value).with_finalizers(EventFinalizers::new(receipt)))
}

/// Nothing is copied where both sides have the same release of vrl. With another one, `Value` is another type, and goes
/// through JSON: `LogEvent::from_json(serde_json::to_vec(&value).unwrap_or_default().into())`.
fn from_value(value: Value) -> LogEvent {
    LogEvent::from_value(value)
}
