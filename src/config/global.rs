//! The options for all components: those that Vector has beside its components' tables, and how several
//! files' are taken together.

use super::format::join;
use super::problem::Places;
use super::{AcknowledgementsConfig, Problem};
use crate::http::ProxyConfig;
use crate::memory::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Options for all components.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GlobalOptions {
    /// Proxies, where a sink names none.
    pub proxy: ProxyConfig,
    /// Whether healthchecks run at all, and whether the start waits for them.
    pub healthchecks: HealthchecksOptions,
    /// Whether sources wait for deliveries, where a sink says nothing. Default: true, unlike Vector's. Only the `nats`
    /// source with `jetstream` waits.
    pub acknowledgements: AcknowledgementsConfig,
    /// The directory of what outlasts the process: the sinks' buffers on disk are in `buffer/<sink>/` below it. Default:
    /// `/var/lib/vector/`.
    pub data_dir: Option<PathBuf>,
    /// How much memory the process may take: bytes, or a text such as `256M` or `1G`. It is divided among the sinks, so
    /// that their buffers and batches stay below it, however many destinations take nothing. Default: the variable
    /// `MEMORY_LIMIT`, or four fifths of what the control group or the machine has. Ours; Vector does not have it.
    pub memory_limit: Option<ByteSize>,
    /// The time zone of dates that name none, in transforms: `local` or a name of the IANA database.
    /// Default: `local`.
    pub timezone: Option<String>,
    /// Which fields have a meaning, for transforms.
    pub log_schema: LogSchema,
    /// Vector's API; read so that its configurations load.
    pub api: ApiOptions,
    /// Whether an input with a `*` may fit no component.
    pub wildcard_matching: WildcardMatching,
    /// Vector's types of events; without effect.
    pub schema: SchemaOptions,
    /// The tags of Vector's metrics; without effect.
    pub telemetry: TelemetryOptions,
    /// Seconds after which Vector forgets a metric that nothing has changed; without effect.
    pub expire_metrics_secs: Option<f64>,
    /// The same for some metrics; without effect.
    #[schemars(with = "Option<Vec<serde_json::Map<String, serde_json::Value>>>")]
    pub expire_metrics_per_metric_set: Option<Vec<toml::Table>>,
    /// How Vector smooths the fill of its buffers; without effect.
    pub buffer_utilization_ewma_alpha: Option<f64>,
    /// How Vector smooths its latencies; without effect.
    pub latency_ewma_alpha: Option<f64>,
    /// How often Vector makes its metrics anew, in seconds; without effect.
    pub metrics_storage_refresh_period: Option<f64>,
}

impl GlobalOptions {
    /// The directory of what outlasts the process.
    pub fn data_dir(&self) -> &Path {
        self.data_dir.as_deref().unwrap_or(Path::new("/var/lib/vector/"))
    }
}

/// The global `healthchecks` table.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HealthchecksOptions {
    /// Whether healthchecks run. Default: true.
    pub enabled: bool,
    /// Whether a failed one ends the start. Default: false.
    pub require_healthy: bool,
}

impl Default for HealthchecksOptions {
    fn default() -> HealthchecksOptions {
        HealthchecksOptions { enabled: true, require_healthy: false }
    }
}

/// The global `log_schema` table: which fields have a meaning, for transforms. Sinks know them by
/// [`Semantics`](crate::event::Semantics).
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LogSchema {
    /// The host. Default: `host`.
    pub host_key: String,
    /// The message. Default: `message`.
    pub message_key: String,
    /// Where the reason stands for which an event was rerouted. Default: `metadata`.
    pub metadata_key: String,
    /// The type of the source. Default: `source_type`.
    pub source_type_key: String,
    /// The time. Default: `timestamp`.
    pub timestamp_key: String,
}

impl Default for LogSchema {
    fn default() -> LogSchema {
        LogSchema {
            host_key: "host".to_owned(),
            message_key: "message".to_owned(),
            metadata_key: "metadata".to_owned(),
            source_type_key: "source_type".to_owned(),
            timestamp_key: "timestamp".to_owned(),
        }
    }
}

/// The `api` table. Read so that Vector's configurations load; nothing listens yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApiOptions {
    /// Whether Vector's API listens. Default: false.
    pub enabled: bool,
    /// The address that it listens on. Vector's default: `127.0.0.1:8686`.
    pub address: Option<std::net::SocketAddr>,
    /// Whether Vector serves a page to try its API on.
    pub playground: Option<bool>,
    /// Whether Vector answers GraphQL.
    pub graphql: Option<bool>,
}

/// The `schema` table. Without effect: what it switches on is Vector's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SchemaOptions {
    /// Whether Vector checks the types of events.
    pub enabled: bool,
    /// Whether it refuses a configuration for that.
    pub validation: bool,
    /// Whether a field has its meaning by a name space of its own.
    pub log_namespace: Option<bool>,
}

/// The `telemetry` table. Without effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryOptions {
    /// Which tags Vector's metrics have.
    pub tags: TelemetryTags,
}

/// The `telemetry.tags` table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryTags {
    /// Whether metrics have the tag `service`.
    pub emit_service: bool,
    /// Whether metrics have the tag `source`.
    pub emit_source: bool,
}

/// Whether an input with a `*` may fit no component at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WildcardMatching {
    /// It may not. The default.
    #[default]
    Strict,
    /// It may.
    Relaxed,
}

/// Takes the tables of several files together. An option that two of them give different values is told
/// with both places.
pub(super) fn merge(
    known: &mut Table,
    more: Table,
    path: &str,
    known_places: &Places,
    places: &Places,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, value) in more {
        let path = join(path, &key);
        match (known.get_mut(&key), value) {
            (None, value) => drop(known.insert(key, value)),
            (Some(Value::Table(known)), Value::Table(more)) => {
                problems.extend(merge(known, more, &path, known_places, places));
            }
            (Some(known), value) if *known == value => {}
            (Some(_), _) => {
                let first = known_places.get(&path).map(|place| place.to_words()).unwrap_or_default();
                let message = format!("it has another value in {first}; keep one of the two");
                problems.push(places.place(Problem::at(path, message)));
            }
        }
    }
    problems
}
