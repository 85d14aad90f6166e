//! The environment's variables to a configuration, by the table of providers.
//!
//! What comes out is TOML that a stock Vector runs as well, with secrets as `${NAME}`: it is built as
//! values and serialised, so that nothing in a variable can break it.
//!
//! - this file: [`Environment`], the destinations
//! - `source`: where events come from
//! - `delivery`: where they wait, and where those go that are refused
//! - `api`: where the API and the metrics are
//! - `misspelt`: what looks like a mistake
//! - `text`: what `generate` prints
//! - `variables`: every variable that is no destination's

mod api;
mod delivery;
mod misspelt;
mod source;
mod text;
mod variables;

use super::bodies::{self, Bodies, Form};
use super::{Config, DEAD_LETTERS, Problem, Problems, Registry};
use crate::env::{Env, EnvError};
use crate::providers::{self, Provider, Remap, Setting, State};
#[cfg(feature = "cli")]
pub(crate) use api::{api_address, api_table};
use delivery::{dead_letters, set_buffers};
use misspelt::misspelt;
pub use misspelt::variables;
use snafu::{Snafu, ensure};
pub(crate) use source::nats_source;
#[cfg(feature = "cli")]
pub(crate) use source::subscription;
pub use text::{example, generate};
use toml::{Table, Value};
pub use variables::{CoreVariable, VARIABLES, VariableGroup};

/// What the environment says.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Environment {
    /// The configuration that log-shipper runs.
    pub table: Table,
    /// The same for a stock Vector, which has no transform like ours for log bodies.
    pub(crate) for_vector: Table,
    /// The providers that are on.
    pub enabled: Vec<&'static Provider>,
    /// How many providers are off, because none of their variables is set.
    pub off: usize,
    /// What looks like a mistake but does not keep us from starting.
    pub warnings: Vec<String>,
}

/// The environment does not say enough.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum EnvironmentError {
    /// What the variables hold makes no components.
    #[snafu(display("{problems}"))]
    Components {
        /// What is wrong with each.
        problems: Problems,
    },
    /// A variable can't be read.
    #[snafu(transparent)]
    Variable {
        /// Why.
        source: EnvError,
    },
    /// There is no way to sign in to NATS.
    #[snafu(display(
        "ACCESS_TOKEN is not set: it is the Fly.io token that reads the logs (`fly tokens create readonly`). For a NATS server of your own, set NATS_URL"
    ))]
    NoAccessToken,
    /// A switch is neither on nor off.
    #[snafu(display("{name} is neither true nor false; set it to one of them"))]
    NotASwitch {
        /// The variable.
        name: &'static str,
    },
    /// A variable holds something else than it can.
    #[snafu(display("{name} is wrong: {reason}"))]
    Unexpected {
        /// The variable.
        name: String,
        /// Why, and what was expected.
        reason: String,
    },
    /// No provider is on.
    #[snafu(display("no destination: set the secrets of at least one (`log-shipper providers` lists them){}", hints.iter().map(|hint| format!("\n{hint}")).collect::<String>()))]
    NoDestination {
        /// What looks like a mistake.
        hints: Vec<String>,
    },
    /// The generated configuration cannot be written.
    #[snafu(display("the configuration cannot be written: {source}"))]
    Serialize {
        /// Why.
        source: toml::ser::Error,
    },
}

/// The configuration that the environment's variables stand for.
///
/// # Errors
/// If there is no way to sign in to NATS, if there is no destination, or if a variable holds what it cannot.
pub fn from_environment(env: &Env) -> Result<Environment, EnvironmentError> {
    let mut source = nats_source(env)?;
    let mut environment = destinations(env, "nats")?;
    set_buffers(env, &mut environment)?;
    let sources =
        |source: &Table| -> Table { [("nats".to_owned(), source.clone().into())].into_iter().collect() };
    environment.table.insert("sources".to_owned(), sources(&source).into());
    if let Some(dead_letters) = dead_letters(env, &source)? {
        environment.table.insert(DEAD_LETTERS.to_owned(), dead_letters.into());
    }
    Bodies::unset_source(&mut source);
    // Vector's consumers are made by others.
    if let Some(Value::Table(jetstream)) = source.get_mut("jetstream") {
        jetstream.remove("create");
    }
    environment.for_vector.insert("sources".to_owned(), sources(&source).into());
    api::set_api(env, &mut environment)?;
    ensure!(!environment.enabled.is_empty(), NoDestinationSnafu { hints: environment.warnings });
    Ok(environment)
}

impl Environment {
    /// The configuration, without what there is to say of the environment.
    pub(crate) fn load(&self, registry: &Registry, env: &Env) -> Result<Config, Problems> {
        Config::from_toml(&self.table.to_string(), "environment", registry, env)
    }
}

impl Config {
    /// The configuration that the environment's variables stand for, as `log-shipper run` takes it without a file. Its
    /// warnings name destinations that are off because a variable is missing, and what looks misspelt.
    ///
    /// # Errors
    /// As [`from_environment`], and every mistake that the components find in what the variables hold.
    pub fn from_environment(registry: &Registry, env: &Env) -> Result<Config, EnvironmentError> {
        let environment = from_environment(env)?;
        let config = environment.load(registry, env);
        let mut config = config.map_err(|problems| EnvironmentError::Components { problems })?;
        config.warnings.extend(environment.warnings.into_iter().map(Problem::new));
        Ok(config)
    }
}

/// The sinks of every provider that is on, and their transforms, fed by the source of this id.
pub(crate) fn destinations(env: &Env, source: &str) -> Result<Environment, EnvironmentError> {
    let (mut enabled, mut off) = (Vec::new(), 0);
    let mut warnings = Vec::new();
    if env.get("JETSTREAM_CONSUMER")?.is_some() && env.get("JETSTREAM_STREAM")?.is_none() {
        warnings.push("JETSTREAM_CONSUMER has no effect, because JETSTREAM_STREAM is not set".to_owned());
    }
    for resolved in providers::resolve(env)? {
        match resolved.state {
            State::Off => off += 1,
            State::Incomplete(missing) => warnings.push(format!(
                "{} is off: {} {} not set, though other variables of it are",
                resolved.provider.title,
                missing.join(" and "),
                if missing.len() == 1 { "is" } else { "are" }
            )),
            State::On => enabled.push(resolved.provider),
        }
        warnings.extend(resolved.warnings);
    }
    warnings.extend(misspelt(env)?);
    let bodies = Bodies::from_env(env)?;
    let table = |form| {
        let mut table = Table::new();
        let inputs = bodies.add(form, source, &enabled, &mut table);
        for (provider, input) in enabled.iter().zip(inputs) {
            add_provider(provider, env, input, &mut table)?;
        }
        Ok::<_, EnvError>(table)
    };
    let (table, for_vector) = (table(Form::Own)?, table(Form::Vector)?);
    Ok(Environment { table, for_vector, enabled, off, warnings })
}

/// Adds the sink of a provider, and the transform in front of it, if it has one.
fn add_provider(
    provider: &Provider,
    env: &Env,
    mut input: String,
    table: &mut Table,
) -> Result<(), EnvError> {
    let mut program = Vec::new();
    for line in provider.remap {
        if applies(line, env)? {
            program.push(line.program);
        }
    }
    if !program.is_empty() {
        let program = program.join("\n");
        let id = format!("{}_fields", provider.name);
        set(table, &format!("transforms.{id}.type"), "remap");
        set(table, &format!("transforms.{id}.inputs"), vec![input]);
        set(table, &format!("transforms.{id}.source"), program);
        input = id;
    }
    let mut sink = Table::new();
    set(&mut sink, "type", provider.sink);
    set(&mut sink, "inputs", vec![input]);
    sink.extend(provider_options(provider, env)?);
    set(table, &format!("sinks.{}", provider.name), sink);
    Ok(())
}

/// The options of a provider's sink, without its inputs.
pub(crate) fn provider_options(provider: &Provider, env: &Env) -> Result<Table, EnvError> {
    let mut options = Table::new();
    set(&mut options, "type", provider.sink);
    for (path, setting) in provider.set {
        let value: Option<Value> = match setting {
            Setting::Text(text) => resolve(provider, text, env)?.map(Value::from),
            Setting::List(text) => resolve(provider, text, env)?.map(|text| vec![text].into()),
            Setting::Unless(other, _) if env.get(other)?.is_some() => None,
            Setting::Unless(_, text) => resolve(provider, text, env)?.map(Value::from),
            Setting::Integer(number) => Some((*number).into()),
            Setting::Bool(switch) => Some((*switch).into()),
        };
        if let Some(value) = value {
            set(&mut options, path, value);
        }
    }
    Ok(options)
}

/// Whether a line of a provider's program is for the host that it is sent to.
fn applies(line: &Remap, env: &Env) -> Result<bool, EnvError> {
    let Some((variable, domain)) = line.unless_host else { return Ok(true) };
    let url = env.get(variable)?.and_then(|url| url.parse::<http::Uri>().ok());
    Ok(url.is_some_and(|url| {
        let host = url.host().unwrap_or_default();
        host != domain && !host.ends_with(&format!(".{domain}"))
    }))
}

/// The text with each `${NAME}` under the name that is set, or with its default; nothing if one has neither.
fn resolve(provider: &Provider, text: &str, env: &Env) -> Result<Option<String>, EnvError> {
    let mut resolved = text.to_owned();
    for variable in provider.variables {
        let place = format!("${{{}}}", variable.name);
        let reference = match (variable.set_as(env)?, variable.default()) {
            (Some(name), _) => format!("${{{name}}}"),
            (None, Some(default)) => format!("${{{}:-{default}}}", variable.name),
            (None, None) if text.contains(&place) => return Ok(None),
            (None, None) => continue,
        };
        resolved = resolved.replace(&place, &reference);
    }
    Ok(Some(resolved))
}

/// Whether this variable is true; it is false if it is not set.
pub(super) fn is_on(env: &Env, name: &'static str) -> Result<bool, EnvironmentError> {
    Ok(switch(env, name)? == Some(true))
}

/// Whether this variable is true; it is if it is not set.
pub(super) fn is_on_by_default(env: &Env, name: &'static str) -> Result<bool, EnvironmentError> {
    Ok(switch(env, name)? != Some(false))
}

fn switch(env: &Env, name: &'static str) -> Result<Option<bool>, EnvironmentError> {
    match env.get(name)?.as_deref() {
        Some("true" | "1") => Ok(Some(true)),
        Some("false" | "0") => Ok(Some(false)),
        Some(_) => NotASwitchSnafu { name }.fail(),
        None => Ok(None),
    }
}

/// The text as interpolation leaves it: a `$` of its own doubled.
pub(super) fn escape(text: &str) -> String {
    text.replace('$', "$$")
}

/// Puts a value at a dotted path.
pub(super) fn set(table: &mut Table, path: &str, value: impl Into<Value>) {
    match path.split_once('.') {
        None => drop(table.insert(path.to_owned(), value.into())),
        Some((first, rest)) => {
            let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                set(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests;
