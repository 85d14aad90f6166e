//! Components by themselves, from their tables: for whoever builds a configuration in code, or wants one piece only.
//! Such a table is what the program means: nothing in it is looked up.

use super::{Component, Loader};
use crate::config::format::join;
use crate::config::{Config, Problems, Registry, SinkEntry, SourceEntry, TransformEntry};
use crate::env::Env;
use toml::{Table, Value};

impl SourceEntry {
    /// The source that this table describes, as it stands below `[sources.ID]`, `type` included. Its texts are taken as they are: `${NAME}` is no reference.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_table(id: &str, table: Table, registry: &Registry) -> Result<Self, Problems> {
        single("sources", id, table, registry, None, |config| config.sources.pop())
    }
}

impl TransformEntry {
    /// The transform that this table describes, as it stands below `[transforms.ID]`, `type` and `inputs` included. Its texts are
    /// taken as they are: `${NAME}` is no reference.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_table(id: &str, table: Table, registry: &Registry) -> Result<Self, Problems> {
        single("transforms", id, table, registry, None, |config| config.transforms.pop())
    }
}

impl SinkEntry {
    /// The sink that this table describes, as it stands below `[sinks.ID]`, `type` included. It may lack `inputs`, as
    /// one that runs by itself does. Its texts are taken as they are: `${NAME}` is no reference.
    ///
    /// ```
    /// use log_shipper::config::{Registry, SinkEntry};
    ///
    /// let table = toml::from_str("type = 'axiom'\ntoken = 'TOKEN'\ndataset = 'logs'")?;
    /// let sink = SinkEntry::from_table("out", table, &Registry::builtin())?;
    /// assert_eq!(sink.r#type, "axiom");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_table(id: &str, table: Table, registry: &Registry) -> Result<Self, Problems> {
        sink(id, table, registry, None)
    }

    /// The same of a table whose texts have references: `${NAME}` is looked up in this environment. What
    /// [`providers::resolve`](crate::providers::resolve) gives is one.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_table_with_env(
        id: &str,
        table: Table,
        registry: &Registry,
        env: &Env,
    ) -> Result<Self, Problems> {
        sink(id, table, registry, Some(env))
    }
}

fn sink(id: &str, mut table: Table, registry: &Registry, env: Option<&Env>) -> Result<SinkEntry, Problems> {
    table.entry("inputs").or_insert_with(|| Value::Array(Vec::new()));
    single("sinks", id, table, registry, env, |config| config.sinks.pop())
}

/// `env`: where references are looked up; without one there are none.
fn single<T>(
    kind: &'static str,
    id: &str,
    table: Table,
    registry: &Registry,
    env: Option<&Env>,
    take: impl FnOnce(&mut Config) -> Option<T>,
) -> Result<T, Problems> {
    let empty = Env::default();
    let mut loader = Loader { is_verbatim: env.is_none(), ..Loader::new(registry, env.unwrap_or(&empty)) };
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
