//! The options that every sink has.

use super::BufferConfig;
use crate::http::ProxyConfig;
use crate::secret::SensitiveString;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::time::Duration;

/// `acknowledgements`: a boolean or `{ enabled }`.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(from = "BoolOr<AcknowledgementsTable>")]
#[schemars(with = "BoolOr<AcknowledgementsTable>")]
pub struct AcknowledgementsConfig {
    /// Whether sources that can wait for this sink's deliveries do so.
    pub enabled: Option<bool>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AcknowledgementsTable {
    /// Whether sources that can wait for this sink's deliveries do so.
    enabled: Option<bool>,
}

/// A switch that may be a table.
#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected true, false or a table with known fields")]
pub(crate) enum BoolOr<T> {
    Bool(bool),
    Table(T),
}

impl From<BoolOr<AcknowledgementsTable>> for AcknowledgementsConfig {
    fn from(either: BoolOr<AcknowledgementsTable>) -> AcknowledgementsConfig {
        match either {
            BoolOr::Bool(enabled) => AcknowledgementsConfig { enabled: Some(enabled) },
            BoolOr::Table(table) => AcknowledgementsConfig { enabled: table.enabled },
        }
    }
}

/// The options that every sink has.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SinkOptions {
    /// The ids of the components that feed the sink; `*` stands for any characters.
    pub inputs: Vec<String>,
    /// The buffer in front of it: a table, or a list of two, of which the first is in memory, with `when_full =
    /// "overflow"`, and the second on disk.
    #[serde(default)]
    pub buffer: BufferConfig,
    /// Its healthcheck.
    #[serde(default)]
    pub healthcheck: HealthcheckConfig,
    /// Whether sources that can wait for its deliveries do so: the `nats` source with `jetstream`. Default: what holds
    /// for all components, or true.
    #[serde(default)]
    pub acknowledgements: AcknowledgementsConfig,
    /// Its proxies.
    #[serde(default)]
    pub proxy: ProxyConfig,
}

/// `healthcheck`: a boolean or a table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "BoolOr<HealthcheckTable>")]
#[schemars(with = "BoolOr<HealthcheckTable>")]
pub struct HealthcheckConfig {
    /// Whether it runs. Default: true.
    pub enabled: bool,
    /// How long it may take. Default: 10 s.
    pub timeout: Duration,
    /// What to ask instead of the sink's own endpoint, for sinks that say so (`http`, `axiom`).
    pub uri: Option<SensitiveString>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct HealthcheckTable {
    /// Whether it runs. Default: true.
    enabled: Option<bool>,
    /// How many seconds it may take. Default: 10.
    timeout: Option<Seconds>,
    /// What to ask instead of the sink's own endpoint, for sinks that say so (`http`, `axiom`).
    uri: Option<SensitiveString>,
}

impl Default for HealthcheckConfig {
    fn default() -> HealthcheckConfig {
        HealthcheckConfig { enabled: true, timeout: Duration::from_secs(10), uri: None }
    }
}

impl From<BoolOr<HealthcheckTable>> for HealthcheckConfig {
    fn from(either: BoolOr<HealthcheckTable>) -> HealthcheckConfig {
        let default = HealthcheckConfig::default();
        match either {
            BoolOr::Bool(enabled) => HealthcheckConfig { enabled, ..default },
            BoolOr::Table(table) => HealthcheckConfig {
                enabled: table.enabled.unwrap_or(true),
                timeout: table.timeout.map_or(default.timeout, |seconds| seconds.0),
                uri: table.uri,
            },
        }
    }
}

/// A duration written as seconds, with or without a fraction; greater than zero.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "f64")]
pub struct Seconds(pub Duration);

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let seconds = self.0.as_secs_f64();
        // A whole number of seconds is shown as one.
        if seconds.fract() == 0.0 {
            serializer.serialize_u64(self.0.as_secs())
        } else {
            serializer.serialize_f64(seconds)
        }
    }
}

impl JsonSchema for Seconds {
    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "number", "exclusiveMinimum": 0})
    }

    fn inline_schema() -> bool {
        true
    }
}

impl TryFrom<f64> for Seconds {
    type Error = String;

    fn try_from(seconds: f64) -> Result<Seconds, String> {
        // Ten years: what is longer is a mistake, and would overflow where times are added.
        const MOST: Duration = Duration::from_secs(10 * 365 * 24 * 3600);
        let duration = Duration::try_from_secs_f64(seconds).ok();
        let duration = duration.filter(|duration| !duration.is_zero() && *duration <= MOST);
        duration
            .map(Seconds)
            .ok_or_else(|| format!("`{seconds}` is not a time; expected seconds, more than zero"))
    }
}
