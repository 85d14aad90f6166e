//! Sinks: where events go. An HTTP destination is a file that implements [`HttpSink`], and a line in
//! `register`.
//!
//! The kernel of HTTP sinks:
//! - `http_sink`: the trait, and the options of every HTTP sink
//! - `intake`: the way of an event into a batch
//! - `delivery`: the way of a batch
//! - `batch`: events encoded into bodies
//! - `codec`: encodings and framings
//! - `compression`
//! - `request`: retries, rate limit, concurrency
//! - `gate`: where requests wait until they may begin; `breaker`: whether they may
//! - `patience`: how long events are tried and held; `failure_policy`: what the user says of a status
//! - `client`: requests that may have to be signed; `healthcheck`: what a destination is asked
//! - `plain_http`: whether keys go as plain text
//! - `verdict`: what an answer means
//! - `truncate`: events that are too large
//! - `auth`
//! - `hec`: Splunk's protocol, which two sinks speak
//!
//! The destinations over HTTP: `appsignal`, `aws_cloudwatch_logs`, `aws_s3`, `axiom`, `datadog_logs`,
//! `elasticsearch`, `honeycomb`, `http`, `humio_logs`, `loki`, `mezmo`, `new_relic`, `sematext_logs`, `slack`,
//! `splunk_hec_logs`. By themselves: `blackhole`, `console`, `file`, `nats`, `papertrail`,
//! `prometheus_exporter`. Made in code: `channel`.

mod appsignal;
mod auth;
mod aws_cloudwatch_logs;
mod aws_s3;
mod axiom;
mod batch;
mod blackhole;
mod breaker;
mod channel;
mod client;
pub mod codec;
pub mod compression;
mod console;
mod datadog_logs;
mod delivery;
mod elasticsearch;
mod failure_policy;
mod file;
mod gate;
mod healthcheck;
mod hec;
mod honeycomb;
mod http;
pub(crate) mod http_sink;
mod humio_logs;
mod intake;
mod loki;
mod mezmo;
mod nats;
mod new_relic;
mod papertrail;
mod patience;
mod plain_http;
#[cfg(feature = "api")]
mod prometheus_exporter;
mod request;
mod sematext_logs;
mod slack;
mod splunk_hec_logs;
mod truncate;
mod verdict;

pub use appsignal::AppSignal;
pub use auth::Auth;
pub use aws_cloudwatch_logs::AwsCloudwatchLogs;
pub use aws_s3::AwsS3;
pub use axiom::Axiom;
pub use batch::{Batch, BatchConfig, BatchLimits, Batcher, Partition, PushError};
pub use blackhole::BlackholeConfig;
pub use channel::{ChannelSink, EventReceiver, channel};
pub use console::ConsoleConfig;
pub use datadog_logs::DatadogLogs;
pub use elasticsearch::Elasticsearch;
pub use failure_policy::{FailureAction, FailurePolicy};
pub use file::FileConfig;
pub use honeycomb::Honeycomb;
pub use http::Http;
pub use http_sink::{
    HealthcheckRequest, HttpOptions, HttpSink, HttpSinkConfig, Signer, judge_2xx, judge_empty,
};
pub use humio_logs::HumioLogs;
pub use loki::Loki;
pub use mezmo::Mezmo;
pub use nats::NatsSinkConfig;
pub use new_relic::NewRelic;
pub use papertrail::PapertrailConfig;
#[cfg(feature = "api")]
pub use prometheus_exporter::PrometheusExporterConfig;
pub use sematext_logs::SematextLogs;
pub use slack::Slack;
pub use splunk_hec_logs::SplunkHecLogs;
pub use truncate::Oversized;
#[cfg(feature = "aws")]
pub(crate) use verdict::shorten_to;
pub use verdict::{EntryVerdict, SideRequest, Verdict, describe, shorten};

use crate::config::Registry;

pub(crate) fn register(registry: &mut Registry) {
    registry.http_sink::<AppSignal>();
    registry.http_sink::<AwsCloudwatchLogs>();
    registry.http_sink::<AwsS3>();
    registry.http_sink::<Axiom>();
    registry.sink::<BlackholeConfig>(BlackholeConfig::INFO);
    registry.sink::<ConsoleConfig>(ConsoleConfig::INFO);
    registry.http_sink::<DatadogLogs>();
    registry.http_sink::<Elasticsearch>();
    registry.sink::<FileConfig>(FileConfig::INFO);
    registry.http_sink::<Honeycomb>();
    registry.http_sink::<Http>();
    registry.http_sink::<HumioLogs>();
    registry.http_sink::<Loki>();
    registry.http_sink::<Mezmo>();
    registry.sink::<NatsSinkConfig>(NatsSinkConfig::INFO);
    registry.http_sink::<NewRelic>();
    registry.sink::<PapertrailConfig>(PapertrailConfig::INFO);
    #[cfg(feature = "api")]
    registry.sink::<PrometheusExporterConfig>(PrometheusExporterConfig::INFO);
    registry.http_sink::<SematextLogs>();
    registry.http_sink::<Slack>();
    registry.http_sink::<SplunkHecLogs>();
    registry.renamed_sink("logdna", Mezmo::NAME);
}
