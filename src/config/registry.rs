//! [`Registry`]: every component by name, as a plain value.

use super::deserialize::{deserialize, take_keys};
use super::{Problem, SinkConfig, SourceConfig, TransformConfig};
use crate::sinks::HttpSink;
use crate::sinks::http_sink::{HTTP_OPTIONS, HttpSinkConfig};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use toml::Table;

type Parse<T> = Box<dyn Fn(Table) -> Result<Box<T>, Vec<Problem>> + Send + Sync>;

/// Every source, transform and sink that a configuration may name.
#[derive(Default)]
pub struct Registry {
    sources: BTreeMap<&'static str, Entry<dyn SourceConfig>>,
    transforms: BTreeMap<&'static str, Entry<dyn TransformConfig>>,
    sinks: BTreeMap<&'static str, Entry<dyn SinkConfig>>,
}

struct Entry<T: ?Sized> {
    info: ComponentInfo,
    parse: Parse<T>,
}

/// What a component is, for lists and help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ComponentInfo {
    /// Its `type` in a configuration.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Its options in TOML, without `type` and `inputs`; a configuration made of it loads.
    pub example: &'static str,
}

/// The three kinds of component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ComponentKind {
    /// Where events come from.
    Source,
    /// What changes them.
    Transform,
    /// Where they go.
    Sink,
}

impl ComponentKind {
    /// All kinds, in the order of an event's way.
    pub const ALL: [ComponentKind; 3] =
        [ComponentKind::Source, ComponentKind::Transform, ComponentKind::Sink];

    /// The table of a configuration that holds them.
    pub const fn plural(self) -> &'static str {
        match self {
            ComponentKind::Source => "sources",
            ComponentKind::Transform => "transforms",
            ComponentKind::Sink => "sinks",
        }
    }
}

impl Registry {
    /// No components.
    pub fn empty() -> Registry {
        Registry::default()
    }

    /// Every component of this crate.
    pub fn builtin() -> Registry {
        let mut registry = Registry::empty();
        crate::sources::register(&mut registry);
        crate::transforms::register(&mut registry);
        crate::sinks::register(&mut registry);
        registry
    }

    /// Adds a source; one of the same name is replaced.
    pub fn source<T: SourceConfig + DeserializeOwned + 'static>(&mut self, info: ComponentInfo) {
        let parse = |table| Ok(Box::new(deserialize::<T>(table)?) as Box<dyn SourceConfig>);
        self.sources.insert(info.name, Entry { info, parse: Box::new(parse) });
    }

    /// Adds a transform; one of the same name is replaced.
    pub fn transform<T: TransformConfig + DeserializeOwned + 'static>(&mut self, info: ComponentInfo) {
        let parse = |table| Ok(Box::new(deserialize::<T>(table)?) as Box<dyn TransformConfig>);
        self.transforms.insert(info.name, Entry { info, parse: Box::new(parse) });
    }

    /// Adds a sink; one of the same name is replaced.
    pub fn sink<T: SinkConfig + DeserializeOwned + 'static>(&mut self, info: ComponentInfo) {
        let parse = |table| Ok(Box::new(deserialize::<T>(table)?) as Box<dyn SinkConfig>);
        self.sinks.insert(info.name, Entry { info, parse: Box::new(parse) });
    }

    /// Adds an HTTP sink, with all options of the kernel; one of the same name is replaced.
    pub fn http_sink<S: HttpSink>(&mut self) {
        let info = ComponentInfo { name: S::NAME, summary: S::SUMMARY, example: S::EXAMPLE };
        let parse = |mut table: Table| {
            let options = take_keys(&mut table, HTTP_OPTIONS);
            match (deserialize(options), deserialize::<S>(table)) {
                (Ok(options), Ok(sink)) => {
                    let config = HttpSinkConfig::new(sink, options)
                        .map_err(|error| vec![Problem::new(error.to_string())])?;
                    Ok(Box::new(config) as Box<dyn SinkConfig>)
                }
                (options, sink) => Err([options.err(), sink.err()].into_iter().flatten().flatten().collect()),
            }
        };
        self.sinks.insert(S::NAME, Entry { info, parse: Box::new(parse) });
    }

    /// The components of a kind, by name.
    pub fn components(&self, kind: ComponentKind) -> Vec<ComponentInfo> {
        match kind {
            ComponentKind::Source => self.sources.values().map(|entry| entry.info).collect(),
            ComponentKind::Transform => self.transforms.values().map(|entry| entry.info).collect(),
            ComponentKind::Sink => self.sinks.values().map(|entry| entry.info).collect(),
        }
    }

    pub(super) fn parse_source(
        &self,
        name: &str,
        table: Table,
    ) -> Result<Box<dyn SourceConfig>, Vec<Problem>> {
        parse(&self.sources, name, table)
    }

    pub(super) fn parse_transform(
        &self,
        name: &str,
        table: Table,
    ) -> Result<Box<dyn TransformConfig>, Vec<Problem>> {
        parse(&self.transforms, name, table)
    }

    pub(super) fn parse_sink(&self, name: &str, table: Table) -> Result<Box<dyn SinkConfig>, Vec<Problem>> {
        parse(&self.sinks, name, table)
    }
}

fn parse<T: ?Sized>(
    entries: &BTreeMap<&'static str, Entry<T>>,
    name: &str,
    table: Table,
) -> Result<Box<T>, Vec<Problem>> {
    let Some(entry) = entries.get(name) else {
        let names: Vec<_> = entries.keys().map(|name| format!("`{name}`")).collect();
        let message = format!("unknown type `{name}`, expected one of {}", names.join(", "));
        return Err(vec![Problem::at("type", message)]);
    };
    (entry.parse)(table)
}

impl fmt::Debug for Registry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut map = f.debug_map();
        for kind in ComponentKind::ALL {
            let names: Vec<_> = self.components(kind).iter().map(|info| info.name).collect();
            map.entry(&kind.plural(), &names);
        }
        map.finish()
    }
}
