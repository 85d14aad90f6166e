//! The source `log_shipper_nats` of a custom Vector build: log-shipper's `nats`, with the options that it has there.

use async_trait::async_trait;
use chrono::DateTime;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use log_shipper::config::{Registry, SourceEntry};
use log_shipper::env::Env;
use log_shipper::event::LogEvent;
use log_shipper::finalizer::EventStatus;
use log_shipper::topology::{EventStream, TopologyOptions};
use serde::{Deserialize, Serialize};
use std::fmt;
use vector::config::{SourceConfig, SourceContext};
use vector::sources::Source;
use vector_lib::config::{DataType, LogNamespace, SourceOutput};
use vector_lib::configurable::NamedComponent;
use vector_lib::event::{AddBatchNotifier, BatchNotifier, BatchStatus, Event, LogEvent as Theirs};
use vector_lib::schema::Definition;
use vrl::value::Value;

/// The most events that are passed on together.
const CHUNK: usize = 1_000;

/// The options are those of `nats`. Vector has put the environment's variables in already.
#[derive(Clone, Serialize, Deserialize)]
pub struct LogShipperNats {
    #[serde(flatten)]
    options: toml::Table,
}

/// The options may hold a password.
impl fmt::Debug for LogShipperNats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogShipperNats").finish_non_exhaustive()
    }
}

impl NamedComponent for LogShipperNats {
    fn get_component_name(&self) -> &'static str {
        "log_shipper_nats"
    }
}

#[async_trait]
#[typetag::serde(name = "log_shipper_nats")]
impl SourceConfig for LogShipperNats {
    async fn build(&self, cx: SourceContext) -> vector::Result<Source> {
        let mut table = self.options.clone();
        table.insert("type".to_owned(), "nats".into());
        let entry = SourceEntry::from_table(cx.key.id(), table, &Registry::builtin())?;
        Ok(Box::pin(run(entry, cx)))
    }

    fn outputs(&self, _: LogNamespace) -> Vec<SourceOutput> {
        vec![SourceOutput::new_maybe_logs(DataType::Log, Definition::any())]
    }

    fn can_acknowledge(&self) -> bool {
        true
    }
}

async fn run(entry: SourceEntry, cx: SourceContext) -> Result<(), ()> {
    let SourceContext { mut shutdown, mut out, acknowledgements, .. } = cx;
    let failed = |error: &dyn fmt::Display| tracing::error!("log_shipper_nats: {error}");
    // Secrets that come from files are read anew at each connect.
    let options = TopologyOptions::default().with_env(Env::from_process());
    let events = EventStream::start(entry, &options).await.map_err(|error| failed(&error))?;
    let mut chunks = events.ready_chunks(CHUNK);
    let mut receipts = FuturesUnordered::new();
    let mut is_stopping = false;
    loop {
        let chunk = tokio::select! {
            _ = &mut shutdown, if !is_stopping => {
                // What has been sent to us still comes, and is waited for; then the stream ends.
                is_stopping = true;
                chunks.get_ref().shut_down();
                continue;
            }
            Some(()) = receipts.next() => continue,
            chunk = chunks.next() => chunk,
        };
        let Some(chunk) = chunk else { break };
        let (mut logs, mut taken) = (Vec::with_capacity(chunk.len()), Vec::new());
        for mut event in chunk {
            let ours = event.take_finalizers();
            let mut log = give(event);
            if !ours.is_empty() && acknowledgements {
                // Each has one of its own, so that what is refused brings back no other.
                let (batch, receipt) = BatchNotifier::new_with_receiver();
                log.add_batch_notifier(batch);
                receipts.push(receipt.map(move |status| ours.answer(status_of(status))));
            } else {
                taken.push(ours);
            }
            logs.push(Event::Log(log));
        }
        out.send_batch(logs).await.map_err(|error| failed(&error))?;
        taken.into_iter().for_each(|ours| ours.answer(EventStatus::Delivered));
    }
    while receipts.next().await.is_some() {}
    // The last acknowledgements are still to be sent.
    let report = chunks.into_inner().stop(std::time::Duration::from_secs(5)).await;
    report.failures.iter().for_each(|failure| failed(failure));
    if report.failures.is_empty() { Ok(()) } else { Err(()) }
}

fn status_of(status: BatchStatus) -> EventStatus {
    match status {
        BatchStatus::Delivered => EventStatus::Delivered,
        BatchStatus::Rejected => EventStatus::Rejected,
        BatchStatus::Errored => EventStatus::Errored,
    }
}

/// The event as theirs. Its own time becomes one that every sink of Vector's knows: as text, most of them ignore it.
fn give(event: LogEvent) -> Theirs {
    let time = DateTime::from_timestamp_nanos(event.timestamp().nanos());
    let mut value = into_value(event);
    value.insert(vrl::path!("timestamp"), Value::Timestamp(time));
    Theirs::from(value)
}

/// Nothing is copied where both sides have the same release of vrl. With another one, `Value` is another type, and comes
/// out of JSON: `serde_json::from_str(&event.json()).unwrap_or_default()`.
fn into_value(event: LogEvent) -> Value {
    event.into_value()
}
