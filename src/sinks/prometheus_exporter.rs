//! `prometheus_exporter`: Vector's page of metrics. Log-shipper's own come in a later version; until then the
//! sink is there so that Vector's configurations load, and it discards what it is given.

use super::BlackholeConfig;
use crate::config::{ComponentInfo, Result, SinkConfig, SinkContext, StreamSink};
use crate::healthcheck::Healthcheck;
use serde::Deserialize;
use std::net::SocketAddr;

/// A sink that discards, for now. Its options are Vector's, and without effect.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PrometheusExporterConfig {
    /// Where the page would be.
    pub address: Option<SocketAddr>,
    /// The name space of metrics without one.
    #[serde(alias = "namespace")]
    pub default_namespace: Option<String>,
    /// The bounds of histograms.
    pub buckets: Option<Vec<f64>>,
    /// The quantiles of summaries.
    pub quantiles: Option<Vec<f64>>,
    /// Whether distributions are summaries.
    pub distributions_as_summaries: Option<bool>,
    /// Seconds after which a metric that nothing has changed is forgotten.
    pub flush_period_secs: Option<u64>,
    /// Whether samples have no times.
    pub suppress_timestamp: Option<bool>,
    /// Who may see the page.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub auth: Option<toml::Table>,
    /// The page's certificates.
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    pub tls: Option<toml::Table>,
}

impl PrometheusExporterConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "prometheus_exporter",
        "Nothing yet: log-shipper's own metrics come in a later version.",
        "address = \"127.0.0.1:9598\"",
    );
}

impl SinkConfig for PrometheusExporterConfig {
    fn build(&self, cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)> {
        tracing::warn!(
            sink = cx.id,
            "prometheus_exporter: our own metrics come in a later version; there is no page"
        );
        BlackholeConfig::default().build(cx)
    }
}
