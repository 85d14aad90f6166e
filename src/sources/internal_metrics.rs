//! `internal_metrics`: Vector's metrics of itself. Log-shipper's are no events: the sink `prometheus_exporter`
//! takes them from the books. The source is there so that Vector's configurations load, and produces nothing.

use crate::config::{ComponentInfo, Result, Seconds, Source, SourceConfig, SourceContext};
use async_trait::async_trait;
use serde::Deserialize;

/// A source of nothing.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InternalMetricsConfig {
    /// Seconds between two readings. Without effect.
    pub scrape_interval_secs: Option<Seconds>,
    /// The metrics' name space. Without effect.
    pub namespace: Option<String>,
    /// The metrics' tags. Without effect.
    #[serde(default)]
    pub tags: InternalMetricsTags,
}

/// The `tags` table.
#[derive(Clone, Debug, Default, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct InternalMetricsTags {
    /// The tag with the host's name.
    pub host_key: Option<String>,
    /// The tag with the process's number.
    pub pid_key: Option<String>,
}

impl InternalMetricsConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "internal_metrics",
        "Nothing: the sink prometheus_exporter has the metrics by itself.",
        "",
    );
}

#[async_trait]
impl SourceConfig for InternalMetricsConfig {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        tracing::info!(
            source = cx.id,
            "internal_metrics: it produces no events; the sink prometheus_exporter has the metrics by itself"
        );
        cx.ready.set();
        // It holds on to its output, so that what it feeds does not end before the others do.
        Ok(Box::pin(async move {
            cx.shutdown.cancelled().await;
            Ok(())
        }))
    }
}
