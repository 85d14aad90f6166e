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
//! - `hec`: Splunk's protocol, which two sinks speak
//!
//! The destinations: `appsignal`, `axiom`, `datadog_logs`, `honeycomb`, `http`, `humio_logs`, `loki`,
//! `mezmo`, `new_relic`, `splunk_hec_logs` over HTTP; `blackhole`, `console`, `file` by themselves.

mod appsignal;
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
mod hec;
mod honeycomb;
mod http;
pub(crate) mod http_sink;
mod humio_logs;
mod loki;
mod mezmo;
mod new_relic;
mod request;
mod splunk_hec_logs;
mod verdict;

pub use appsignal::AppSignal;
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
pub use humio_logs::HumioLogs;
pub use loki::Loki;
pub use mezmo::Mezmo;
pub use new_relic::NewRelic;
pub use splunk_hec_logs::SplunkHecLogs;
pub use verdict::{EntryVerdict, Verdict, describe};

use crate::config::{ComponentInfo, Registry};

pub(crate) fn register(registry: &mut Registry) {
    registry.http_sink::<AppSignal>();
    registry.http_sink::<Axiom>();
    registry.sink::<BlackholeConfig>(BlackholeConfig::INFO);
    registry.sink::<ConsoleConfig>(ConsoleConfig::INFO);
    registry.http_sink::<DatadogLogs>();
    registry.sink::<FileConfig>(FileConfig::INFO);
    registry.http_sink::<Honeycomb>();
    registry.http_sink::<Http>();
    registry.http_sink::<HumioLogs>();
    registry.http_sink::<Loki>();
    registry.http_sink::<Mezmo>();
    registry.http_sink::<NewRelic>();
    registry.http_sink::<SplunkHecLogs>();
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
