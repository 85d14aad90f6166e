//! `blackhole`: takes everything and keeps nothing.

use crate::config::{ComponentInfo, Result, SinkConfig, SinkContext, StreamSink};
use crate::healthcheck::Healthcheck;
use crate::topology::{BufferReceiver, Outcome, Receipts};
use async_trait::async_trait;
use schemars::JsonSchema;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// A sink that discards events and counts them.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlackholeConfig {
    /// Seconds between two reports of how much was discarded. Default: 0, no reports.
    #[serde(default)]
    pub print_interval_secs: u64,
    /// The most events taken in a second. Default: no limit.
    pub rate: Option<NonZeroU32>,
}

impl BlackholeConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "blackhole",
        "Discard events; for tests and benchmarks.",
        "print_interval_secs = 60",
    );
}

impl SinkConfig for BlackholeConfig {
    fn has_destination(&self) -> bool {
        false
    }

    fn build(&self, cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)> {
        let sink = Blackhole { id: cx.id.clone(), config: self.clone() };
        Ok((Box::new(sink), None))
    }
}

struct Blackhole {
    id: String,
    config: BlackholeConfig,
}

#[async_trait]
impl StreamSink for Blackhole {
    async fn run(self: Box<Self>, mut input: BufferReceiver) -> Result<()> {
        let period = Duration::from_secs(self.config.print_interval_secs.max(1));
        let mut reports = tokio::time::interval_at(tokio::time::Instant::now() + period, period);
        loop {
            let events = tokio::select! {
                events = input.recv() => events,
                _ = reports.tick(), if self.config.print_interval_secs > 0 => {
                    tracing::info!(sink = self.id, events = input.counts().snapshot().delivered, "discarded so far");
                    continue;
                }
            };
            let Some(events) = events else { return Ok(()) };
            let count = u32::try_from(events.len()).unwrap_or(u32::MAX);
            let mut receipts = Receipts::new(Arc::clone(input.counts()));
            events.into_iter().for_each(|event| receipts.push(event));
            if let Some(rate) = self.config.rate {
                tokio::time::sleep(Duration::from_secs(1) * count / rate.get()).await;
            }
            receipts.settle(&Outcome::Delivered);
        }
    }
}
