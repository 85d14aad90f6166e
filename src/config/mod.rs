//! Configuration: what a topology is made of, from code, from text or from the environment.
//!
//! - this file: [`Config`]
//! - `component`: the traits of components; `sink_options`: the options that every sink has,
//!   of them `buffer`
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
mod buffer;
mod component;
mod connect;
mod deserialize;
mod environment;
pub(crate) mod files;
pub(crate) mod fingerprint;
mod format;
mod global;
mod interpolate;
mod load;
mod problem;
mod registry;
mod renamed;
pub(crate) mod schema;
mod secrets;
mod sink_options;
mod suggest;
mod unit_test;

#[cfg(feature = "cli")]
pub(crate) use bodies::redact_in_source;
pub use buffer::{BufferConfig, DEFAULT_BUFFER_BYTES, DEFAULT_DISK_BYTES, LEAST_DISK_BYTES};
pub use component::{
    Ready, SinkConfig, SinkContext, Source, SourceConfig, SourceContext, StreamSink, Tap, TapOptions,
    Transform, TransformConfig, TransformContext,
};
pub(crate) use environment::provider_options;
pub use environment::{
    CoreVariable, Environment, EnvironmentError, VARIABLES, VariableGroup, example, from_environment,
    generate, variables,
};
#[cfg(feature = "cli")]
pub(crate) use environment::{api_address, api_table, destinations, nats_source, subscription};
pub use files::ConfigFile;
pub use format::Format;
pub use global::{
    ApiOptions, GlobalOptions, HealthchecksOptions, LogSchema, SchemaOptions, TelemetryOptions,
    TelemetryTags, WildcardMatching,
};
pub use interpolate::interpolate;
#[cfg(feature = "cli")]
pub(crate) use load::NOT_LOOKED_AT;
pub(crate) use problem::is_secret;
pub use problem::{Places, Problem, Problems, Severity};
#[cfg(feature = "cli")]
pub(crate) use registry::SINK_OPTIONS;
pub use registry::{ComponentInfo, ComponentKind, Registry};
pub(crate) use sink_options::BoolOr;
pub use sink_options::{AcknowledgementsConfig, HealthcheckConfig, Seconds, SinkOptions};
pub use unit_test::{InputKind, OneOrMany, TestInput, TestOutput, UnitTest};

use crate::env::PLACEHOLDER;
use crate::topology::Description;
use std::fmt::Debug;

/// Any error that a component reports; its text says what was wrong and what to do.
pub type Error = Box<dyn std::error::Error + Send + Sync>;

/// The result of building or running a component.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// A whole configuration: components by id, and who feeds whom.
///
/// ```
/// use log_shipper::config::{Config, Registry};
/// use log_shipper::env::Env;
///
/// let text = r#"
///     [sources.in]
///     type = "demo_logs"
///     format = "fly"
///
///     [sinks.out]
///     type = "console"
///     inputs = ["in"]
///     encoding.codec = "${CODEC:-json}"
/// "#;
/// let load = |text: &str| Config::from_toml(text, "vector.toml", &Registry::builtin(), &Env::default());
/// let config = load(text).unwrap();
/// assert_eq!(config.sinks[0].id, "out");
/// // Every mistake at once, with its place.
/// let problems = load(&text.replace("console", "consle")).unwrap_err();
/// assert!(problems.to_string().contains("did you mean `console`?"));
/// ```
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct Config {
    /// The sources, by id.
    pub sources: Vec<SourceEntry>,
    /// The transforms.
    pub transforms: Vec<TransformEntry>,
    /// The sinks.
    pub sinks: Vec<SinkEntry>,
    /// The sink that gets what the others have refused for good: it has no inputs.
    pub dead_letters: Option<SinkEntry>,
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
#[non_exhaustive]
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
pub(crate) const CUSTOM: &str = "custom";

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
#[non_exhaustive]
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
#[non_exhaustive]
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

/// The id of the sink that gets dead letters.
pub(crate) const DEAD_LETTERS: &str = "dead_letters";

/// The sinks that write dead letters as JSON, where the configuration says nothing else.
const DEAD_LETTERS_DEFAULTS: &[&str] = &["file", "nats"];

impl SinkEntry {
    /// A sink that is built in code.
    pub fn new(id: &str, options: SinkOptions, config: impl SinkConfig + 'static) -> SinkEntry {
        SinkEntry {
            id: id.to_owned(),
            r#type: CUSTOM.to_owned(),
            options,
            config: Box::new(config),
            fingerprint: None,
        }
    }
}

impl Config {
    /// What is wrong with its transforms' programs, without anything else being built. Those that are in files
    /// are left out: the files may not be here yet.
    pub fn check_transforms(&self) -> Vec<Problem> {
        let is_in_a_file = |entry: &&TransformEntry| {
            let path = format::join("transforms", &entry.id);
            let has = |option| self.places.has(&format::join(&path, option));
            ["file", "files"].into_iter().any(has)
        };
        let problems = self.transforms.iter().filter(|entry| !is_in_a_file(entry)).flat_map(|entry| {
            let cx = TransformContext::new(&entry.id, &self.global);
            let error = entry.config.build(&cx).err();
            error.into_iter().flat_map(|error| self.places.of_component("transforms", &entry.id, error))
        });
        // What stands in a program instead of a variable is no expression.
        problems.filter(|problem| !problem.message.contains(PLACEHOLDER)).collect()
    }

    /// Every component: sources, transforms, sinks, that of the dead letters last.
    pub(crate) fn components(&self) -> Vec<Description> {
        let one = |kind, id: &str, r#type: &str, inputs: &[String]| Description {
            kind,
            id: id.to_owned(),
            r#type: r#type.to_owned(),
            inputs: inputs.to_vec(),
            has_destination: false,
        };
        let sources =
            self.sources.iter().map(|entry| one(ComponentKind::Source, &entry.id, &entry.r#type, &[]));
        let transforms = self
            .transforms
            .iter()
            .map(|entry| one(ComponentKind::Transform, &entry.id, &entry.r#type, &entry.inputs));
        let sinks = self.sinks.iter().chain(&self.dead_letters);
        let sinks = sinks.map(|entry| Description {
            has_destination: entry.config.has_destination(),
            ..one(ComponentKind::Sink, &entry.id, &entry.r#type, &entry.options.inputs)
        });
        sources.chain(transforms).chain(sinks).collect()
    }

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
        self.sinks.push(SinkEntry::new(id, options, config));
        self
    }

    /// Gives what sinks refuse for good to this one.
    #[must_use]
    pub fn dead_letters(mut self, config: impl SinkConfig + 'static) -> Config {
        self.dead_letters = Some(SinkEntry::new(DEAD_LETTERS, SinkOptions::default(), config));
        self
    }
}
