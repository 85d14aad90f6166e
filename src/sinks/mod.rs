//! Sinks: where events go. An HTTP destination is a file that implements [`HttpSink`], and a line in
//! `register`.
//!
//! The kernel of HTTP sinks:
//! - `http_sink`: the trait, and the options of every HTTP sink
//! - `delivery`: the way of a batch
//! - `batch`: events encoded into bodies
//! - `codec`: encodings and framings
//! - `compression`
//! - `request`: retries, rate limit, concurrency
//! - `verdict`: what an answer means
//! - `auth`
//!
//! The destinations: `axiom`, `datadog_logs`, `honeycomb`, `http`, `loki` over HTTP; `blackhole`,
//! `console`, `file`, `nats` by themselves.

mod auth;
mod axiom;
mod batch;
mod blackhole;
pub mod codec;
pub mod compression;
mod console;
mod datadog_logs;
mod delivery;
mod file;
mod honeycomb;
mod http;
pub(crate) mod http_sink;
mod loki;
mod nats;
mod request;
mod verdict;

pub use auth::Auth;
pub use axiom::Axiom;
pub use batch::{Batch, BatchConfig, BatchLimits, Batcher, Partition, PushError};
pub use blackhole::BlackholeConfig;
pub use console::ConsoleConfig;
pub use datadog_logs::DatadogLogs;
pub use file::FileConfig;
pub use honeycomb::Honeycomb;
pub use http::Http;
pub use http_sink::{HealthcheckRequest, HttpOptions, HttpSink, HttpSinkConfig, judge_2xx};
pub use loki::Loki;
pub use nats::NatsSinkConfig;
pub use verdict::{EntryVerdict, Verdict, describe};

use crate::config::{ComponentInfo, Registry};

pub(crate) fn register(registry: &mut Registry) {
    registry.http_sink::<Axiom>();
    registry.sink::<BlackholeConfig>(BlackholeConfig::INFO);
    registry.sink::<ConsoleConfig>(ConsoleConfig::INFO);
    registry.http_sink::<DatadogLogs>();
    registry.sink::<FileConfig>(FileConfig::INFO);
    registry.http_sink::<Honeycomb>();
    registry.http_sink::<Http>();
    registry.http_sink::<Loki>();
    registry.sink::<NatsSinkConfig>(NatsSinkConfig::INFO);
}

impl ComponentInfo {
    pub(crate) const fn new(
        name: &'static str,
        summary: &'static str,
        example: &'static str,
    ) -> ComponentInfo {
        ComponentInfo { name, summary, example }
    }
}
