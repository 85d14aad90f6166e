//! The options for all components: those that Vector has beside its components' tables, and how several
//! files' are taken together.

use super::format::join;
use super::problem::Places;
use super::{AcknowledgementsConfig, Problem};
use crate::env::Env;
use crate::http::ProxyConfig;
use crate::memory::ByteSize;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
    /// The HTTP API: health, metrics, a status page.
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

/// The `api` table: an HTTP server with `/health`, `/metrics`, `/api/status` and a status page. It answers GET and HEAD
/// alone: there is nothing that a request could change.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApiOptions {
    /// Whether it listens. Default: false.
    pub enabled: bool,
    /// The address that it listens on. Default: `127.0.0.1:8686`, which nobody else can reach; on Fly.io `[::]:8686`,
    /// which the machines of the organisation reach by the private network, and Fly.io by its checks.
    pub address: Option<SocketAddr>,
    /// Whether it shows the logs that come in, to whoever reaches the address: `/api/tail`, and on the status page.
    /// Default: false. Ours; Vector does not have it.
    pub tail: bool,
    /// One more address, for `/metrics` alone. Default: none. Ours; Vector has the sink `prometheus_exporter` for it,
    /// and so have we.
    pub metrics_address: Option<SocketAddr>,
    /// Whether Vector serves a page to try its API on. Without effect.
    pub playground: Option<bool>,
    /// Whether Vector answers GraphQL. Without effect: there is none.
    pub graphql: Option<bool>,
}

/// The API's port, and that of the metrics alone.
const API_PORT: u16 = 8686;
const METRICS_PORT: u16 = 9598;

impl ApiOptions {
    /// The same with an address: the default of the machine with this environment.
    #[cfg(feature = "cli")]
    #[must_use]
    pub(crate) fn on_machine(&self, env: &Env) -> ApiOptions {
        let address = self.address.unwrap_or_else(|| ApiOptions::default_address(is_on_fly(env)));
        ApiOptions { address: Some(address), ..self.clone() }
    }

    /// The address that the API listens on, if it does; the default is loopback.
    pub fn address(&self) -> SocketAddr {
        self.address.unwrap_or_else(|| ApiOptions::default_address(false))
    }

    pub(crate) fn default_address(is_on_fly: bool) -> SocketAddr {
        SocketAddr::new(open_to(is_on_fly), API_PORT)
    }

    pub(crate) fn default_metrics_address(is_on_fly: bool) -> SocketAddr {
        SocketAddr::new(open_to(is_on_fly), METRICS_PORT)
    }
}

/// Whether this is the environment of a machine of Fly.io's.
pub(super) fn is_on_fly(env: &Env) -> bool {
    let is_set = |name| env.get(name).is_ok_and(|value| value.is_some());
    is_set("FLY_APP_NAME") && (is_set("FLY_MACHINE_ID") || is_set("FLY_ALLOC_ID"))
}

/// On Fly.io every address: a machine without `[[services]]` has none that the internet reaches.
fn open_to(is_on_fly: bool) -> IpAddr {
    if is_on_fly { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::LOCALHOST.into() }
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

#[cfg(test)]
mod tests {
    use crate::config::{Config, Registry};
    use crate::env::Env;

    #[test]
    fn what_is_no_address_is_named_and_what_is_one() {
        for option in ["api.address", "api.metrics_address", "sinks.m.address"] {
            let text = "[sources.in]\ntype = 'stdin'\n[sinks.m]\ntype = 'prometheus_exporter'\ninputs = ['in']\n\
                        [api]\nenabled = true\n";
            let text = match option.strip_prefix("api.") {
                Some(key) => format!("{text}{key} = 'localhost:1'\n"),
                None => text.replace("inputs", "address = 'localhost:1'\ninputs"),
            };
            let error = Config::from_toml(&text, "file", &Registry::builtin(), &Env::default()).unwrap_err();
            let error = error.to_string();
            let expected = "`localhost:1` is no address; expected an IP address and a port (ADDRESS:PORT), such as 127.0.0.1:8686";
            assert!(error.contains(option) && error.contains(expected), "{option}: {error}");
        }
    }
}
