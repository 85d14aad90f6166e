//! [`Registry`]: every component by name, as a plain value.

use super::deserialize::{References, deserialize, take_keys};
use super::renamed::rename;
use super::schema::{self, Component, Options};
use super::suggest::{nearest, suggest};
use super::{Problem, SinkConfig, SourceConfig, TransformConfig};
use crate::sinks::HttpSink;
use crate::sinks::http_sink::{HTTP_OPTIONS, HttpOptions, HttpSinkConfig, wire};
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
use toml::Table;

type Parse<T> = Box<dyn Fn(Table, &References) -> Parsed<T> + Send + Sync>;

/// The options of every sink that are not its own.
pub(crate) const SINK_OPTIONS: &[&str] = &["inputs", "buffer", "healthcheck", "acknowledgements", "proxy"];

/// Every source, transform and sink that a configuration may name.
///
/// ```
/// use log_shipper::config::{ComponentKind, Registry};
///
/// let registry = Registry::builtin();
/// let sinks = registry.components(ComponentKind::Sink);
/// assert!(sinks.iter().any(|sink| sink.name == "loki"));
/// assert!(registry.component_schema(ComponentKind::Sink, "loki").is_some());
/// ```
///
/// A sink of one's own is a line, `registry.http_sink::<Acme>()`; see [`HttpSink`](crate::sinks::HttpSink).
#[derive(Default)]
pub struct Registry {
    sources: BTreeMap<&'static str, Entry<dyn SourceConfig>>,
    transforms: BTreeMap<&'static str, Entry<dyn TransformConfig>>,
    sinks: BTreeMap<&'static str, Entry<dyn SinkConfig>>,
    /// Old types of sinks, and what they are called now.
    renamed_sinks: BTreeMap<&'static str, &'static str>,
}

struct Entry<T: ?Sized> {
    info: ComponentInfo,
    parse: Parse<T>,
    /// The schema of its options.
    options: Options,
    renamed: &'static [(&'static str, &'static str)],
}

/// A component, and what in its options should be written otherwise.
type Parsed<T> = Result<(Box<T>, Vec<Problem>), Vec<Problem>>;

/// What a component is, for lists and help.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ComponentInfo {
    /// Its `type` in a configuration.
    pub name: &'static str,
    /// One sentence.
    pub summary: &'static str,
    /// Its options in TOML, without `type` and `inputs`; a configuration made of it loads.
    pub example: &'static str,
    /// What its page in the book says beside its options, in Markdown: limits, answers.
    pub notes: &'static str,
}

impl ComponentInfo {
    /// The component that is called so, with one sentence about it, and its options in TOML as an example.
    pub const fn new(name: &'static str, summary: &'static str, example: &'static str) -> ComponentInfo {
        ComponentInfo { name, summary, example, notes: "" }
    }

    /// The same with what its page in the book says beside its options.
    #[must_use]
    pub const fn with_notes(self, notes: &'static str) -> ComponentInfo {
        ComponentInfo { notes, ..self }
    }
}

/// The three kinds of component.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
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

    /// The kind as a word.
    pub const fn singular(self) -> &'static str {
        match self {
            ComponentKind::Source => "source",
            ComponentKind::Transform => "transform",
            ComponentKind::Sink => "sink",
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
    pub fn source<T: SourceConfig + DeserializeOwned + JsonSchema + 'static>(&mut self, info: ComponentInfo) {
        let parse = |table, references: &References| {
            Ok((Box::new(deserialize::<T>(table, references)?) as Box<dyn SourceConfig>, Vec::new()))
        };
        let entry = Entry { info, parse: Box::new(parse), options: schema::options::<T>, renamed: &[] };
        self.sources.insert(info.name, entry);
    }

    /// Adds a transform; one of the same name is replaced.
    pub fn transform<T: TransformConfig + DeserializeOwned + JsonSchema + 'static>(
        &mut self,
        info: ComponentInfo,
    ) {
        let parse = |table, references: &References| {
            Ok((Box::new(deserialize::<T>(table, references)?) as Box<dyn TransformConfig>, Vec::new()))
        };
        let entry = Entry { info, parse: Box::new(parse), options: schema::options::<T>, renamed: &[] };
        self.transforms.insert(info.name, entry);
    }

    /// Adds a sink; one of the same name is replaced.
    pub fn sink<T: SinkConfig + DeserializeOwned + JsonSchema + 'static>(&mut self, info: ComponentInfo) {
        let parse = |table, references: &References| {
            let sink = deserialize::<T>(table, references)?;
            let warnings = sink.warnings();
            Ok((Box::new(sink) as Box<dyn SinkConfig>, warnings))
        };
        let entry = Entry { info, parse: Box::new(parse), options: schema::options::<T>, renamed: &[] };
        self.sinks.insert(info.name, entry);
    }

    /// Another name for a sink, which it once had.
    pub fn renamed_sink(&mut self, old: &'static str, new: &'static str) {
        self.renamed_sinks.insert(old, new);
    }

    /// Adds an HTTP sink, with all options of the kernel; one of the same name is replaced.
    pub fn http_sink<S: HttpSink + JsonSchema>(&mut self) {
        let info = ComponentInfo { name: S::NAME, summary: S::SUMMARY, example: S::EXAMPLE, notes: S::NOTES };
        let parse = |mut table: Table, references: &References| {
            let wire = wire(&table, S::ACCESS);
            let options = take_keys(&mut table, HTTP_OPTIONS);
            match (deserialize(options, references), deserialize::<S>(table, references)) {
                (Ok(options), Ok(sink)) => {
                    let mut config = HttpSinkConfig::new(sink, options)
                        .map_err(|error| vec![Problem::new(error.to_string())])?
                        .with_wire(wire);
                    let warnings = config.take_warnings();
                    Ok((Box::new(config) as Box<dyn SinkConfig>, warnings))
                }
                (options, sink) => {
                    let problems = [options.err(), sink.err()].into_iter().flatten().flatten();
                    Err(problems.map(|problem| also(problem, HTTP_OPTIONS)).collect())
                }
            }
        };
        let options = schema::options_of_both::<S, HttpOptions>;
        self.sinks.insert(S::NAME, Entry { info, parse: Box::new(parse), options, renamed: S::RENAMED });
    }

    /// The components of a kind, by name.
    pub fn components(&self, kind: ComponentKind) -> Vec<ComponentInfo> {
        match kind {
            ComponentKind::Source => self.sources.values().map(|entry| entry.info).collect(),
            ComponentKind::Transform => self.transforms.values().map(|entry| entry.info).collect(),
            ComponentKind::Sink => self.sinks.values().map(|entry| entry.info).collect(),
        }
    }

    /// The JSON Schema (2020-12) of a whole configuration: every option of every component with its description
    /// and default. Old names are in it, as deprecated; a number, a switch or a word may be a `"${NAME}"`.
    pub fn schema(&self) -> Schema {
        schema::whole(|kind| self.described(kind))
    }

    /// The JSON Schema of the table of one component; `None` if there is none of this name.
    pub fn component_schema(&self, kind: ComponentKind, name: &str) -> Option<Schema> {
        let components = self.described(kind);
        let component = components.iter().find(|component| component.name == name)?;
        Some(schema::component(kind, component))
    }

    fn described(&self, kind: ComponentKind) -> Vec<Component> {
        match kind {
            ComponentKind::Source => self.sources.values().map(|entry| self.describe(entry)).collect(),
            ComponentKind::Transform => self.transforms.values().map(|entry| self.describe(entry)).collect(),
            ComponentKind::Sink => self.sinks.values().map(|entry| self.describe(entry)).collect(),
        }
    }

    fn describe<T: ?Sized>(&self, entry: &Entry<T>) -> Component {
        let ComponentInfo { name, summary, .. } = entry.info;
        let old = self.renamed_sinks.iter().filter(|(_, new)| **new == name);
        let old_names = old.map(|(old, _)| *old).collect();
        Component { name, summary, old_names, renamed: entry.renamed, options: entry.options }
    }

    pub(super) fn parse_source(
        &self,
        name: &str,
        table: Table,
        references: &References,
    ) -> Parsed<dyn SourceConfig> {
        parse(&self.sources, name, table, references, &[])
    }

    pub(super) fn parse_transform(
        &self,
        name: &str,
        table: Table,
        references: &References,
    ) -> Parsed<dyn TransformConfig> {
        parse(&self.transforms, name, table, references, &["inputs"])
    }

    pub(super) fn parse_sink(
        &self,
        name: &str,
        table: Table,
        references: &References,
    ) -> Parsed<dyn SinkConfig> {
        let new = self.renamed_sinks.get(name).copied();
        let (sink, mut warnings) = parse(&self.sinks, new.unwrap_or(name), table, references, SINK_OPTIONS)?;
        if let Some(new) = new {
            warnings.push(Problem::at("type", format!("`{name}` is the old name of `{new}`; use that")));
        }
        Ok((sink, warnings))
    }
}

/// `options` are those that the component has beside its own.
fn parse<T: ?Sized>(
    entries: &BTreeMap<&'static str, Entry<T>>,
    name: &str,
    mut table: Table,
    references: &References,
    options: &[&str],
) -> Parsed<T> {
    let Some(entry) = entries.get(name) else {
        let expected = match nearest(name, entries.keys().copied()) {
            Some(near) => format!("; did you mean `{near}`?"),
            None => {
                let names: Vec<_> = entries.keys().map(|name| format!("`{name}`")).collect();
                format!(", expected one of {}", names.join(", "))
            }
        };
        return Err(vec![Problem::at("type", format!("unknown type `{name}`{expected}"))]);
    };
    let mut references = references.clone();
    let mut warnings = rename(&mut table, entry.renamed, &mut references)?;
    let parsed = (entry.parse)(table, &references);
    let (component, more) = parsed
        .map_err(|problems| problems.into_iter().map(|problem| also(problem, options)).collect::<Vec<_>>())?;
    warnings.extend(more);
    Ok((component, warnings))
}

/// The problem of an unknown option, with the nearest of these as what may have been meant.
fn also(mut problem: Problem, options: &[&str]) -> Problem {
    // Deeper down there are other options.
    if !problem.path.contains(['.', '[']) && !problem.message.ends_with('?') {
        problem.message = suggest(&problem.message, options);
    }
    problem
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
