//! Sources: where events come from.
//!
//! - `channel`: events that a program sends, made in code
//! - `demo_logs`: made-up events
//! - `internal_metrics`: nothing
//! - `nats`: messages of NATS subjects
//! - `stdin`: lines of standard input

mod channel;
pub(crate) mod demo_logs;
mod internal_metrics;
mod nats;
mod stdin;

pub use channel::{ChannelSource, Ended, EventSender, channel};
pub use demo_logs::DemoLogsConfig;
pub use internal_metrics::{InternalMetricsConfig, InternalMetricsTags};
pub use nats::{Decoding, NatsConfig};
pub use stdin::StdinConfig;

use crate::config::Registry;

pub(crate) fn register(registry: &mut Registry) {
    registry.source::<DemoLogsConfig>(DemoLogsConfig::INFO);
    registry.source::<InternalMetricsConfig>(InternalMetricsConfig::INFO);
    registry.source::<NatsConfig>(NatsConfig::INFO);
    registry.source::<StdinConfig>(StdinConfig::INFO);
}
