//! Components by themselves, from their tables: for whoever builds a configuration in code, or wants one piece only.

use super::{Component, Loader};
use crate::config::format::join;
use crate::config::{Config, Problems, Registry, SinkEntry, SourceEntry, TransformEntry};
use crate::env::Env;
use toml::{Table, Value};

impl SourceEntry {
    /// The source that this table describes, as it stands below `[sources.ID]`, `type` included.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_table(id: &str, table: Table, registry: &Registry, env: &Env) -> Result<Self, Problems> {
        single("sources", id, table, registry, env, |config| config.sources.pop())
    }
}

impl TransformEntry {
    /// The transform that this table describes, as it stands below `[transforms.ID]`, `type` and `inputs` included.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_table(id: &str, table: Table, registry: &Registry, env: &Env) -> Result<Self, Problems> {
        single("transforms", id, table, registry, env, |config| config.transforms.pop())
    }
}

impl SinkEntry {
    /// The sink that this table describes, as it stands below `[sinks.ID]`, `type` included. It may lack `inputs`, as
    /// one that runs by itself does.
    ///
    /// ```
    /// use log_shipper::config::{Registry, SinkEntry};
    /// use log_shipper::env::Env;
    ///
    /// let table = toml::from_str("type = 'loki'\nendpoint = 'https://logs.example'\nlabels.app = '{{ fly.app.name }}'")?;
    /// let sink = SinkEntry::from_table("out", table, &Registry::builtin(), &Env::default())?;
    /// assert_eq!(sink.r#type, "loki");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_table(id: &str, mut table: Table, registry: &Registry, env: &Env) -> Result<Self, Problems> {
        table.entry("inputs").or_insert_with(|| Value::Array(Vec::new()));
        single("sinks", id, table, registry, env, |config| config.sinks.pop())
    }
}

fn single<T>(
    kind: &'static str,
    id: &str,
    table: Table,
    registry: &Registry,
    env: &Env,
    take: impl FnOnce(&mut Config) -> Option<T>,
) -> Result<T, Problems> {
    let mut loader = Loader::new(registry, env);
    let (id, path, options) = (id.to_owned(), join(kind, id), Value::Table(table));
    loader.make_component(Component { kind, id, options, path });
    let made = take(&mut loader.config);
    for warning in &loader.config.warnings {
        tracing::warn!("{warning}");
    }
    match made {
        Some(made) if loader.problems.is_empty() => Ok(made),
        _ => Err(Problems(loader.problems)),
    }
}
