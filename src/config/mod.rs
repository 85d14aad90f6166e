//! Configuration: what a topology is made of, from code, from text or from the environment.
//!
//! - this file: the component traits, [`Config`], and the options that every sink has
//! - `registry`: [`Registry`], every component by name
//! - `files`: the files and directories of a configuration
//! - `format`: TOML, YAML and JSON to one tree, with the place of everything in it
//! - `load`: those trees to a [`Config`]; `deserialize`: every mistake at once; `renamed`: old names
//! - `global`: the options for all components; `connect`: who feeds whom
//! - `interpolate`: `${NAME}` in the values; `secrets`: `SECRET[backend.key]`
//! - `problem`: a mistake, its place, and how it is shown; `suggest`: what was meant
//! - `fingerprint`: by which a reload can tell what has changed
//! - `schema`: the JSON Schema of all of this
//! - `environment`: the environment's variables to TOML text, by the table of providers; `bodies`: what they say of
//!   log bodies
//! - `unit_test`: `[[tests]]`

mod bodies;
mod connect;
mod deserialize;
mod environment;
mod files;
mod fingerprint;
mod format;
mod global;
mod interpolate;
mod load;
mod problem;
mod registry;
mod renamed;
pub(crate) mod schema;
mod secrets;
mod suggest;
mod unit_test;

pub use environment::{Environment, EnvironmentError, example, from_environment, generate};
pub(crate) use environment::{destinations, subscription};
pub use files::ConfigFile;
pub use format::Format;
pub use global::{ApiOptions, SchemaOptions, TelemetryOptions, TelemetryTags, WildcardMatching};
pub use interpolate::interpolate;
pub use problem::{Places, Problem, Problems, Severity};
pub use registry::{ComponentInfo, ComponentKind, Registry};
pub use unit_test::{InputKind, OneOrMany, TestInput, TestOutput, UnitTest};

use crate::env::Env;
use crate::event::LogEvent;
use crate::healthcheck::Healthcheck;
use crate::http::ProxyConfig;
use crate::secret::SensitiveString;
use crate::topology::{
    BufferReceiver, BufferSettings, Capacity, OutputNames, Outputs, SourceSender, WhenFull,
};
use async_trait::async_trait;
use futures::future::BoxFuture;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize, Serializer};
use std::any::Any;
use std::borrow::Cow;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// Any error that a component reports; its text says what was wrong and what to do.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of building or running a component.
pub type Result<T, E = Error> = std::result::Result<T, E>;

// === the component traits ===

/// A running source: it ends when it is told to, or when its input ends.
pub type Source = BoxFuture<'static, Result<()>>;

/// The configuration of a source.
#[async_trait]
pub trait SourceConfig: Debug + Send + Sync {
    /// Makes the source. Does not wait for the network.
    ///
    /// # Errors
    /// If the configuration cannot work: a file that cannot be read, options that exclude each other.
    async fn build(&self, cx: SourceContext) -> Result<Source>;

    /// One look at where the source reads from, if there is something to ask. Default: none.
    ///
    /// # Errors
    /// If the configuration cannot work.
    fn healthcheck(&self, _env: &Env) -> Result<Option<Healthcheck>> {
        Ok(None)
    }

    /// Whether the source waits for its events' receipts before it tells its peer that they arrived.
    fn can_acknowledge(&self) -> bool {
        false
    }
}

/// What a source is given.
#[derive(Debug)]
pub struct SourceContext {
    /// The component's id.
    pub id: String,
    /// Where events go.
    pub output: SourceSender,
    /// Tells the source to stop: to take what has already been sent to it, and end.
    pub shutdown: CancellationToken,
    /// To be told when events can come: a source whose place this one takes goes on until then.
    pub ready: Ready,
    /// The environment, for secrets that are read anew.
    pub env: Env,
}

/// Whether a source is ready for events: connected, subscribed.
#[derive(Clone, Debug, Default)]
pub struct Ready(CancellationToken);

impl Ready {
    /// It is.
    pub fn set(&self) {
        self.0.cancel();
    }

    /// Waits until it is.
    pub async fn wait(&self) {
        self.0.cancelled().await;
    }
}

/// The configuration of a transform.
pub trait TransformConfig: Debug + Send + Sync {
    /// Makes the transform.
    ///
    /// # Errors
    /// If the configuration cannot work.
    fn build(&self, cx: &TransformContext) -> Result<Box<dyn Transform>>;

    /// What other components may name as their inputs. Default: the transform's id.
    fn outputs(&self) -> OutputNames {
        OutputNames::default()
    }
}

/// What a transform is given.
#[derive(Clone, Debug, Default)]
pub struct TransformContext {
    /// The component's id.
    pub id: String,
    /// The time zone of dates that name none, as in Vector's `timezone`: `local` or a name of the IANA
    /// database. `None`: local.
    pub timezone: Option<String>,
    /// Which fields have a meaning for transforms.
    pub log_schema: LogSchema,
}

/// Changes events on their way. Runs where its events come from, under a lock.
pub trait Transform: Send {
    /// Takes an event and puts what becomes of it into `outputs`: nothing, one event or several.
    fn transform(&mut self, event: LogEvent, outputs: &mut Outputs);

    /// How often [`Transform::flush`] is to be called, for a transform that holds events back.
    fn flush_every(&self) -> Option<Duration> {
        None
    }

    /// Puts out what has waited long enough.
    fn flush(&mut self, _outputs: &mut Outputs) {}

    /// Puts out all that it holds: no more events come.
    fn finish(&mut self, _outputs: &mut Outputs) {}
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

/// The configuration of a sink.
pub trait SinkConfig: Debug + Send + Sync {
    /// Makes the sink and its healthcheck, where there is something to ask. Does not wait for the network.
    ///
    /// # Errors
    /// If the configuration cannot work.
    fn build(&self, cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)>;

    /// What works, but should be written otherwise. Default: nothing.
    fn warnings(&self) -> Vec<Problem> {
        Vec::new()
    }
}

/// What a sink is given.
#[derive(Clone, Debug)]
pub struct SinkContext {
    /// The component's id.
    pub id: String,
    /// The proxies to use.
    pub proxy: ProxyConfig,
    /// The options of the sink's healthcheck.
    pub healthcheck: HealthcheckConfig,
    /// The environment, for secrets that are read anew and credentials that a vendor's own rules find there.
    pub env: Env,
}

/// A running sink.
#[async_trait]
pub trait StreamSink: Send {
    /// Takes events until there are no more, and answers for each of them: through
    /// [`Receipts`](crate::topology::Receipts) or
    /// [`SinkCounts::settle_events`](crate::topology::SinkCounts::settle_events).
    ///
    /// # Errors
    /// If the sink cannot go on; what it holds is then lost, and counted.
    async fn run(self: Box<Self>, input: BufferReceiver) -> Result<()>;

    /// What a sink that takes the place of this one needs to finish its work. Default: nothing, and this one
    /// goes on with what it has taken until that is done.
    fn handle(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        None
    }

    /// Takes the place of a sink of the same type whose options differ only in how the destination is reached,
    /// by its [`StreamSink::handle`].
    fn succeed(&self, _predecessor: Arc<dyn Any + Send + Sync>) {}
}

// === the configuration ===

/// A whole configuration: components by id, and who feeds whom.
#[derive(Debug, Default)]
pub struct Config {
    /// The sources, by id.
    pub sources: Vec<SourceEntry>,
    /// The transforms.
    pub transforms: Vec<TransformEntry>,
    /// The sinks.
    pub sinks: Vec<SinkEntry>,
    /// What holds for all.
    pub global: GlobalOptions,
    /// What works, but should be written otherwise.
    pub warnings: Vec<Problem>,
    /// The tests of its transforms.
    pub tests: Vec<UnitTest>,
    /// Where everything stands that was loaded from a text: for mistakes that are found later.
    pub places: Places,
}

/// A source in a configuration.
#[derive(Debug)]
pub struct SourceEntry {
    /// Its id.
    pub id: String,
    /// Its `type`; `custom` for one that was made in code.
    pub r#type: String,
    /// Its own options.
    pub config: Box<dyn SourceConfig>,
    /// What stands for all that it was made from: another number after a reload means that it has to be
    /// made anew. `None` for a component that was built in code.
    pub fingerprint: Option<u64>,
}

/// The type of a component that no registry has made.
const CUSTOM: &str = "custom";

impl SourceEntry {
    /// A source that is built in code.
    pub fn new(id: &str, config: impl SourceConfig + 'static) -> SourceEntry {
        SourceEntry {
            id: id.to_owned(),
            r#type: CUSTOM.to_owned(),
            config: Box::new(config),
            fingerprint: None,
        }
    }
}

/// A transform in a configuration.
#[derive(Debug)]
pub struct TransformEntry {
    /// Its id.
    pub id: String,
    /// Its `type`; `custom` for one that was made in code.
    pub r#type: String,
    /// The ids of the components that feed it.
    pub inputs: Vec<String>,
    /// Its own options.
    pub config: Box<dyn TransformConfig>,
    /// As [`SourceEntry::fingerprint`]; its inputs have no part in it.
    pub fingerprint: Option<u64>,
}

/// A sink in a configuration.
#[derive(Debug)]
pub struct SinkEntry {
    /// Its id.
    pub id: String,
    /// Its `type`; `custom` for one that was made in code.
    pub r#type: String,
    /// The options that every sink has.
    pub options: SinkOptions,
    /// Its own options.
    pub config: Box<dyn SinkConfig>,
    /// As [`SourceEntry::fingerprint`]; its inputs have no part in it.
    pub fingerprint: Option<u64>,
}

impl Config {
    /// Adds a source.
    #[must_use]
    pub fn source(mut self, id: &str, config: impl SourceConfig + 'static) -> Config {
        self.sources.push(SourceEntry::new(id, config));
        self
    }

    /// Adds a transform that takes the events of these components.
    #[must_use]
    pub fn transform(mut self, id: &str, inputs: &[&str], config: impl TransformConfig + 'static) -> Config {
        let inputs = inputs.iter().map(ToString::to_string).collect();
        self.transforms.push(TransformEntry {
            id: id.to_owned(),
            r#type: CUSTOM.to_owned(),
            inputs,
            config: Box::new(config),
            fingerprint: None,
        });
        self
    }

    /// Adds a sink that takes the events of these components.
    #[must_use]
    pub fn sink(mut self, id: &str, inputs: &[&str], config: impl SinkConfig + 'static) -> Config {
        let inputs = inputs.iter().map(ToString::to_string).collect();
        let options = SinkOptions { inputs, ..SinkOptions::default() };
        self.sinks.push(SinkEntry {
            id: id.to_owned(),
            r#type: CUSTOM.to_owned(),
            options,
            config: Box::new(config),
            fingerprint: None,
        });
        self
    }
}

/// Options for all components.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct GlobalOptions {
    /// Proxies, where a sink names none.
    pub proxy: ProxyConfig,
    /// Whether healthchecks run at all, and whether the start waits for them.
    pub healthchecks: HealthchecksOptions,
    /// Whether sources wait for deliveries, where a sink says nothing. No source of this version waits.
    pub acknowledgements: AcknowledgementsConfig,
    /// Where Vector keeps disk buffers; read so that its configurations load.
    pub data_dir: Option<std::path::PathBuf>,
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
    /// The buffer in front of it.
    #[serde(default)]
    pub buffer: BufferConfig,
    /// Its healthcheck.
    #[serde(default)]
    pub healthcheck: HealthcheckConfig,
    /// Whether sources wait for its deliveries.
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

/// The `buffer` table of a sink.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(try_from = "BufferTable")]
#[schemars(with = "BufferTable")]
pub struct BufferConfig {
    capacity: Option<Capacity>,
    when_full: Option<WhenFull>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct BufferTable {
    /// Only `memory`, which is the default.
    #[schemars(extend("enum" = ["memory"]))]
    r#type: Option<String>,
    /// How many events it holds; either this or `max_size`.
    #[schemars(range(min = 1))]
    max_events: Option<usize>,
    /// How many bytes it holds. Default: 16 MiB.
    #[schemars(range(min = 1))]
    max_size: Option<usize>,
    /// What becomes of an event that does not fit. Default: `drop_newest`, and `block` behind a source that can
    /// wait.
    #[schemars(extend("enum" = ["block", "drop_newest", "drop_oldest"]))]
    when_full: Option<String>,
}

impl TryFrom<BufferTable> for BufferConfig {
    type Error = String;

    fn try_from(table: BufferTable) -> Result<BufferConfig, String> {
        match table.r#type.as_deref() {
            None | Some("memory") => {}
            Some("disk") => {
                return Err("buffer.type: disk buffers are not supported yet; use `memory`".into());
            }
            Some(other) => return Err(format!("buffer.type: `{other}` is unknown; expected `memory`")),
        }
        let capacity = match (table.max_events, table.max_size) {
            (Some(_), Some(_)) => {
                return Err("buffer: max_events and max_size exclude each other; keep one of them".into());
            }
            (Some(0), _) | (_, Some(0)) => return Err("buffer: its size is 0; expected at least 1".into()),
            (Some(events), None) => Some(Capacity::Events(events)),
            (None, Some(bytes)) => Some(Capacity::Bytes(bytes)),
            (None, None) => None,
        };
        let when_full = match table.when_full.as_deref() {
            None => None,
            Some("block") => Some(WhenFull::Block),
            Some("drop_newest") => Some(WhenFull::DropNewest),
            Some("drop_oldest") => Some(WhenFull::DropOldest),
            Some("overflow") => {
                return Err("buffer.when_full: `overflow` is not supported yet; use `block`, `drop_newest` or `drop_oldest`".into());
            }
            Some(other) => {
                return Err(format!(
                    "buffer.when_full: `{other}` is unknown; expected `block`, `drop_newest` or `drop_oldest`"
                ));
            }
        };
        Ok(BufferConfig { capacity, when_full })
    }
}

/// What a buffer holds where the configuration does not say: bytes of memory. A destination that is
/// slow for some seconds loses nothing, and a dead one stays far below a small machine's memory.
pub const DEFAULT_BUFFER_BYTES: usize = 16 << 20;

impl BufferConfig {
    /// The settings, with `when_full` where the configuration names no policy.
    pub fn settings(self, when_full: WhenFull) -> BufferSettings {
        BufferSettings {
            capacity: self.capacity.unwrap_or(Capacity::Bytes(DEFAULT_BUFFER_BYTES)),
            when_full: self.when_full.unwrap_or(when_full),
        }
    }
}
