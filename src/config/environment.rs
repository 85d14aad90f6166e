//! The environment's variables to a configuration, by the table of providers.
//!
//! What comes out is TOML that a stock Vector runs as well, with secrets as `${NAME}`: it is built as
//! values and serialised, so that nothing in a variable can break it.

use super::DEAD_LETTERS;
use super::bodies::{self, Bodies, Form};
use crate::env::{Env, EnvError};
use crate::memory::ByteSize;
use crate::nats::SubjectFilter;
use crate::providers::{Need, PROVIDERS, Provider, Remap, Setting, State};
use crate::template::Template;
use snafu::{ResultExt, Snafu, ensure};
use std::path::Path;
use toml::{Table, Value};

/// What the environment says.
#[derive(Clone, Debug)]
pub struct Environment {
    /// The configuration that log-shipper runs.
    pub table: Table,
    /// The same for a stock Vector, which has no transform like ours for log bodies.
    pub(crate) for_vector: Table,
    /// Whether refused events are kept, which a stock Vector cannot do.
    has_dead_letters: bool,
    /// The providers that are on.
    pub enabled: Vec<&'static Provider>,
    /// What looks like a mistake but does not keep us from starting.
    pub warnings: Vec<String>,
}

/// The environment does not say enough.
#[derive(Debug, Snafu)]
pub enum EnvironmentError {
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
    set_disk_buffers(env, &mut environment)?;
    let sources =
        |source: &Table| -> Table { [("nats".to_owned(), source.clone().into())].into_iter().collect() };
    environment.table.insert("sources".to_owned(), sources(&source).into());
    if let Some(dead_letters) = dead_letters(env, &source)? {
        environment.table.insert(DEAD_LETTERS.to_owned(), dead_letters.into());
        environment.has_dead_letters = true;
    }
    Bodies::unset_source(&mut source);
    environment.for_vector.insert("sources".to_owned(), sources(&source).into());
    ensure!(!environment.enabled.is_empty(), NoDestinationSnafu { hints: environment.warnings });
    Ok(environment)
}

/// Puts the sinks' buffers on disk, if the environment names a place for them.
fn set_disk_buffers(env: &Env, environment: &mut Environment) -> Result<(), EnvironmentError> {
    let max_size = env.get("BUFFER_MAX_SIZE")?.map(|text| {
        let wrong = |reason| EnvironmentError::Unexpected { name: "BUFFER_MAX_SIZE".to_owned(), reason };
        match text.parse::<ByteSize>().map_err(wrong)? {
            ByteSize(0) => Err(wrong("0 bytes hold nothing".to_owned())),
            ByteSize(bytes) => Ok(i64::try_from(bytes).unwrap_or(i64::MAX)),
        }
    });
    let max_size = max_size.transpose()?;
    if env.get("DATA_DIR")?.is_none() {
        if max_size.is_some() {
            let warning = "BUFFER_MAX_SIZE has no effect: set DATA_DIR to a directory for the buffers";
            environment.warnings.push(warning.to_owned());
        }
        return Ok(());
    }
    let ids: Vec<_> = environment.enabled.iter().map(|provider| provider.name).collect();
    let Environment { table, for_vector, .. } = environment;
    for (table, is_own) in [(table, true), (for_vector, false)] {
        set(table, "data_dir", "${DATA_DIR}");
        for id in &ids {
            set(table, &format!("sinks.{id}.buffer.type"), "disk");
            if is_own {
                if let Some(max_size) = max_size {
                    set(table, &format!("sinks.{id}.buffer.max_size"), max_size);
                }
                continue;
            }
            // Vector has no `drop_oldest`, which is what log-shipper does here, and no smaller buffers.
            let max_size = max_size.unwrap_or_default().max(VECTOR_DISK_BYTES);
            set(table, &format!("sinks.{id}.buffer.max_size"), max_size);
            set(table, &format!("sinks.{id}.buffer.when_full"), "drop_newest");
        }
    }
    Ok(())
}

/// The least that Vector takes for a buffer on disk: two of its files, and their headers.
const VECTOR_DISK_BYTES: i64 = 268_435_488;

/// The sinks of every provider that is on, and their transforms, fed by the source of this id.
pub(crate) fn destinations(env: &Env, source: &str) -> Result<Environment, EnvironmentError> {
    let mut enabled = Vec::new();
    let mut warnings = Vec::new();
    if env.get("JETSTREAM_CONSUMER")?.is_some() && env.get("JETSTREAM_STREAM")?.is_none() {
        warnings.push("JETSTREAM_CONSUMER has no effect, because JETSTREAM_STREAM is not set".to_owned());
    }
    for provider in PROVIDERS {
        match provider.state(env)? {
            State::Off => {}
            State::Incomplete(missing) => warnings.push(format!(
                "{} is off: {} {} not set, though other variables of it are",
                provider.title,
                missing.join(" and "),
                if missing.len() == 1 { "is" } else { "are" }
            )),
            State::On => {
                enabled.push(provider);
                warnings.extend(unexpected(provider, env)?);
            }
        }
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
    Ok(Environment { table, for_vector, has_dead_letters: false, enabled, warnings })
}

/// Warnings for values that cannot be right.
fn unexpected(provider: &Provider, env: &Env) -> Result<Vec<String>, EnvError> {
    let mut warnings = Vec::new();
    for variable in provider.variables {
        let (Some(expects), Some(name)) = (variable.expects, variable.set_as(env)?) else { continue };
        if env.get(name)?.is_some_and(|value| !(expects.fits)(&value)) {
            let title = provider.title;
            warnings.push(format!(
                "{name} is not {}: {title} would take what we send and throw it away",
                expects.what
            ));
        }
    }
    Ok(warnings)
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
    let sink = format!("sinks.{}", provider.name);
    set(table, &format!("{sink}.type"), provider.sink);
    set(table, &format!("{sink}.inputs"), vec![input]);
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
            set(table, &format!("{sink}.{path}"), value);
        }
    }
    Ok(())
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

/// The `nats` source: Fly's own NATS, or the server that the NATS CLI's variables name.
fn nats_source(env: &Env) -> Result<Table, EnvironmentError> {
    let is_set = |name: &str| Ok::<_, EnvError>(env.get(name)?.is_some());
    let mut source = subscription(env)?;
    let tls_first = is_on(env, "NATS_TLS_FIRST")?;
    let stream = env.get("JETSTREAM_STREAM")?;
    let is_own_server = is_own_server(env)?;
    let has_access_token = is_set("ACCESS_TOKEN")?;
    ensure!(is_own_server || has_access_token, NoAccessTokenSnafu);
    let url = if is_own_server {
        "${NATS_URL:-nats://localhost:4222}"
    } else {
        "nats://[${NETWORK:-fdaa}::3]:4223"
    };
    set(&mut source, "url", url);
    if is_set("NATS_CREDS")? {
        set(&mut source, "auth.strategy", "credentials_file");
        set(&mut source, "auth.credentials_file.path", "${NATS_CREDS}");
    } else if is_set("NATS_NKEY")? {
        set(&mut source, "auth.strategy", "nkey");
        set(&mut source, "auth.nkey.seed", "${NATS_NKEY}");
    } else if is_set("NATS_TOKEN")? {
        set(&mut source, "auth.strategy", "token");
        set(&mut source, "auth.token.value", "${NATS_TOKEN}");
    } else if is_set("NATS_USER")? && !is_set("NATS_PASSWORD")? {
        // As the NATS CLI has it: a user alone is a token.
        set(&mut source, "auth.strategy", "token");
        set(&mut source, "auth.token.value", "${NATS_USER}");
    } else if is_set("NATS_USER")? {
        set(&mut source, "auth.strategy", "user_password");
        set(&mut source, "auth.user_password.user", "${NATS_USER}");
        set(&mut source, "auth.user_password.password", "${NATS_PASSWORD}");
    } else if has_access_token && !env.get("NATS_URL")?.is_some_and(|url| url.contains('@')) {
        // A server whose URL says who we are must not get to see the token for another.
        set(&mut source, "auth.strategy", "user_password");
        set(&mut source, "auth.user_password.user", "${ORG:-personal}");
        set(&mut source, "auth.user_password.password", "${ACCESS_TOKEN}");
    }
    for (name, option) in [("NATS_CA", "ca_file"), ("NATS_CERT", "crt_file"), ("NATS_KEY", "key_file")] {
        if is_set(name)? {
            set(&mut source, "tls.enabled", true);
            set(&mut source, &format!("tls.{option}"), format!("${{{name}}}"));
        }
    }
    if tls_first {
        set(&mut source, "tls_first", true);
    }
    let queue = env.get("QUEUE")?;
    if let (Some(_), Some(_)) = (&stream, &queue) {
        let reason =
            "with JETSTREAM_STREAM, all that have the same JETSTREAM_CONSUMER share its messages; unset it";
        return UnexpectedSnafu { name: "QUEUE", reason }.fail();
    }
    match queue.as_deref() {
        // All machines of an app share the events, and no other app's.
        Some("auto") => set(&mut source, "queue", "${FLY_APP_NAME:-log-shipper}"),
        Some(queue) => set(&mut source, "queue", escape(queue)),
        None => {}
    }
    if let Some(stream) = stream {
        let consumer = env.get("JETSTREAM_CONSUMER")?.unwrap_or_else(|| JETSTREAM_CONSUMER.to_owned());
        set(&mut source, "jetstream.stream", escape(&stream));
        set(&mut source, "jetstream.consumer", escape(&consumer));
        set(&mut source, "jetstream.create", true);
    }
    Ok(source)
}

/// Where refused events go: to a file, or to a subject of the server that the logs come from.
fn dead_letters(env: &Env, source: &Table) -> Result<Option<Table>, EnvironmentError> {
    let unexpected = |name: &str, reason: &str| UnexpectedSnafu { name, reason }.fail();
    let mut sink = Table::new();
    match (env.get("DEAD_LETTERS")?, env.get("DEAD_LETTERS_SUBJECT")?, env.get("DATA_DIR")?) {
        (Some(_), Some(_), _) => {
            return unexpected(
                "DEAD_LETTERS_SUBJECT",
                "DEAD_LETTERS names a file for the same letters; take one of them",
            );
        }
        (Some(path), None, _) if path.contains("://") => {
            return unexpected(
                "DEAD_LETTERS",
                "it is a URL; expected the path of a file. A subject of your NATS server is DEAD_LETTERS_SUBJECT",
            );
        }
        (Some(path), None, _) => {
            set(&mut sink, "type", "file");
            set(&mut sink, "path", escape(&Template::escape(&path)));
        }
        (None, Some(subject), _) => {
            if !is_own_server(env)? {
                return unexpected(
                    "DEAD_LETTERS_SUBJECT",
                    "nobody may publish to Fly.io's own NATS; set DEAD_LETTERS to the path of a file, or NATS_URL to \
                     a server of your own",
                );
            }
            let subjects = list(env.get("SUBJECT")?);
            let subjects = if subjects.is_empty() { vec!["logs.>".to_owned()] } else { subjects };
            if let Some(read) = subjects.iter().find(|read| may_be_read(&subject, read)) {
                let reason = format!(
                    "letters would come back as logs, because SUBJECT has `{read}`; expected a subject beside it, \
                     such as dead.{{{{ sink }}}}"
                );
                return unexpected("DEAD_LETTERS_SUBJECT", &reason);
            }
            set(&mut sink, "type", "nats");
            set(&mut sink, "subject", escape(&subject));
            set(&mut sink, "connection_name", "log-shipper dead letters");
            let shared = ["url", "auth", "tls", "tls_first"];
            let shared = shared.iter().filter_map(|key| Some((*key, source.get(*key)?.clone())));
            sink.extend(shared.map(|(key, value)| (key.to_owned(), value)));
        }
        (None, None, Some(directory)) => {
            let path = Path::new(&directory).join("dead-letters.jsonl");
            set(&mut sink, "type", "file");
            set(&mut sink, "path", escape(&Template::escape(&path.to_string_lossy())));
        }
        (None, None, None) => return Ok(None),
    }
    Ok(Some(sink))
}

/// Whether what this template makes of an event may be a subject that is read.
fn may_be_read(template: &str, read: &str) -> bool {
    let fixed = template.split(['{', '%']).next().unwrap_or_default();
    // From the token on that an event has a part in, it may be anything.
    let pattern = match fixed.len() == template.len() {
        true => fixed.to_owned(),
        false => format!("{}>", fixed.rfind('.').map_or("", |dot| &fixed[..=dot])),
    };
    match (SubjectFilter::parse(&pattern), SubjectFilter::parse(read)) {
        (Ok(pattern), Ok(read)) => pattern.overlaps(&read),
        // What is wrong with it is said where it is used.
        _ => false,
    }
}

/// Whether the variables mean a NATS server of one's own, and not Fly's.
fn is_own_server(env: &Env) -> Result<bool, EnvironmentError> {
    // Fly's own NATS has no TLS and no JetStream, so that one of these alone means another server.
    let mut is_own_server = is_on(env, "NATS_TLS_FIRST")? || env.get("JETSTREAM_STREAM")?.is_some();
    for name in OWN_SERVER {
        is_own_server |= env.get(name)?.is_some();
    }
    Ok(is_own_server)
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

/// A `nats` source without its servers: what to subscribe to, and what a message is.
pub(crate) fn subscription(env: &Env) -> Result<Table, EnvironmentError> {
    let mut source = Table::new();
    set(&mut source, "type", "nats");
    set(&mut source, "connection_name", "log-shipper");
    let subjects = list(env.get("SUBJECT")?);
    match subjects.as_slice() {
        [] => set(&mut source, "subject", "logs.>"),
        [subject] => set(&mut source, "subject", escape(subject)),
        several => {
            set(&mut source, "subjects", several.iter().map(|subject| escape(subject)).collect::<Vec<_>>())
        }
    }
    let exclude = list(env.get("SUBJECT_EXCLUDE")?);
    if !exclude.is_empty() {
        set(&mut source, "exclude", exclude.iter().map(|subject| escape(subject)).collect::<Vec<_>>());
    }
    set(&mut source, "decoding.codec", "json");
    // A Fly event says for itself where it comes from, and stays the text that it came as.
    set(&mut source, "subject_key_field", "");
    Bodies::from_env(env)?.set_source(&mut source);
    Ok(source)
}

/// The variables that mean a NATS server of one's own.
const OWN_SERVER: &[&str] = &[
    "NATS_URL",
    "NATS_USER",
    "NATS_PASSWORD",
    "NATS_TOKEN",
    "NATS_CREDS",
    "NATS_NKEY",
    "NATS_CERT",
    "NATS_KEY",
    "NATS_CA",
];

/// The variables that are no provider's.
const CORE: &[&str] = &[
    "ORG",
    "ACCESS_TOKEN",
    "SUBJECT",
    "SUBJECT_EXCLUDE",
    "QUEUE",
    "NETWORK",
    "NATS_TLS_FIRST",
    "DATA_DIR",
    "BUFFER_MAX_SIZE",
    "JETSTREAM_STREAM",
    "JETSTREAM_CONSUMER",
    "DEAD_LETTERS",
    "DEAD_LETTERS_SUBJECT",
    crate::topology::MEMORY_LIMIT,
];

/// The consumer of the stream, where nothing else is said.
const JETSTREAM_CONSUMER: &str = "log-shipper";

/// Words divided by commas or white space.
fn list(text: Option<String>) -> Vec<String> {
    let text = text.unwrap_or_default();
    text.split([',', ' ', '\t', '\n']).filter(|word| !word.is_empty()).map(str::to_owned).collect()
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

/// Warnings for variables that are empty, and for those whose name is nearly that of one we know.
fn misspelt(env: &Env) -> Result<Vec<String>, EnvError> {
    let of_providers = PROVIDERS.iter().flat_map(|provider| provider.variables);
    let of_providers = of_providers.flat_map(|variable| [Some(variable.name), variable.or]).flatten();
    let known = CORE.iter().chain(OWN_SERVER).chain(bodies::VARIABLES).copied();
    let known: Vec<&str> = known.chain(of_providers).collect();
    let mut warnings = Vec::new();
    for name in env.names() {
        let base = name.strip_suffix("_FILE").unwrap_or(name);
        if known.contains(&base) || base.starts_with(bodies::ENRICH) {
            if env.lookup(name)?.is_some_and(|value| value.is_empty()) && env.get(base)?.is_none() {
                warnings.push(format!("{name} is empty, which counts as not set"));
            }
            continue;
        }
        let near = known.iter().filter(|known| known.len() > 6 && is_near(base, known));
        let nearest = near.min_by_key(|known| strsim::damerau_levenshtein(base, known));
        if let Some(nearest) = nearest
            && env.get(nearest)?.is_none()
        {
            warnings.push(format!("{name} is not known; did you mean {nearest}?"));
        }
    }
    Ok(warnings)
}

fn is_near(name: &str, known: &str) -> bool {
    // The beginning is what tells one product from another.
    name.get(..3) == known.get(..3) && strsim::damerau_levenshtein(name, known) <= 2
}

/// The configuration as text, with a word on where it comes from.
///
/// # Errors
/// If it cannot be serialised.
pub fn generate(environment: &Environment) -> Result<String, EnvironmentError> {
    let mut text = String::from(
        "# Generated by `log-shipper generate` from the environment; `log-shipper run -c FILE` runs it, and so does\n\
         # Vector 0.58 with --dangerously-allow-env-var-interpolation. Secrets stay in the environment.\n\n",
    );
    let source = environment.for_vector.get("sources").and_then(|sources| sources.get("nats"));
    let has = |option: &str| source.is_some_and(|source| source.get(option).is_some());
    if has("subjects") || has("exclude") {
        text.push_str("# `subjects` and `exclude` are log-shipper's own: Vector has one subject for each nats source.\n\n");
    }
    if has("tls_first") {
        text.push_str(
            "# `tls_first` is log-shipper's own: Vector cannot connect to a server that wants TLS first.\n\n",
        );
    }
    if environment.for_vector.contains_key("data_dir") {
        text.push_str(
            "# Where a buffer is full, log-shipper drops its oldest events, which Vector cannot.\n\n",
        );
    }
    if has("jetstream") {
        text.push_str(
            "# `jetstream.create` is log-shipper's own: for Vector, take it out and make the consumer yourself. Vector\n\
             # acknowledges a message before it is delivered, unless `acknowledgements.enabled = true` stands at a sink.\n\n",
        );
    }
    if environment.enabled.iter().any(|provider| provider.sink == "slack") {
        text.push_str("# `slack` is log-shipper's own: Vector has no such sink.\n\n");
    }
    if environment.has_dead_letters {
        text.push_str(
            "# Dead letters are left out, which Vector has not. log-shipper's own table for them is, for example:\n\
             # [dead_letters]\n# type = \"file\"\n# path = \"/data/dead-letters.jsonl\"\n\n",
        );
    }
    text.push_str(&toml::to_string_pretty(&environment.for_vector).context(SerializeSnafu)?);
    Ok(text)
}

/// An example of every provider, for `vector.toml.example`.
///
/// # Errors
/// If it cannot be serialised.
pub fn example() -> Result<String, EnvironmentError> {
    let mut text = String::from(
        "# An example of everything that the environment can switch on, printed by `log-shipper generate --example`.\n\
         # Keep the source and the destinations you use; ${NAME} is taken from the environment.\n\n",
    );
    let fly = Env::from_pairs([("ACCESS_TOKEN", "token")]);
    let sources: Table = [("nats".to_owned(), Value::Table(nats_source(&fly)?))].into_iter().collect();
    let section = |name: &str, table: Table| {
        let table: Table = [(name.to_owned(), Value::Table(table))].into_iter().collect();
        toml::to_string(&table).context(SerializeSnafu)
    };
    text.push_str("# Fly.io's logs. For a server of your own: url = \"nats://host:4222\" and its auth.\n");
    text.push_str(&section("sources", sources)?);
    for provider in PROVIDERS {
        let required = provider.variables.iter().filter(|variable| variable.need == Need::Required);
        // Of alternatives, the first.
        let alternative = provider.variables.iter().find(|variable| matches!(variable.need, Need::OneOf(_)));
        let env = Env::from_pairs(required.chain(alternative).map(|variable| (variable.name, "x")));
        let mut table = Table::new();
        add_provider(provider, &env, "nats".to_owned(), &mut table)?;
        text.push_str(&format!("\n# {}\n", provider.title));
        for variable in provider.variables {
            let default =
                variable.default().map(|default| format!(", {default} if not set")).unwrap_or_default();
            text.push_str(&format!("#   {}: {}{default}\n", variable.name, variable.about));
        }
        text.push_str(&toml::to_string(&table).context(SerializeSnafu)?);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Registry};

    fn environment(pairs: &[(&str, &str)]) -> Environment {
        from_environment(&Env::from_pairs(pairs.iter().copied())).unwrap()
    }

    const HTTP: [(&str, &str); 2] = [("HTTP_URL", "http://h/"), ("HTTP_TOKEN", "t")];

    #[test]
    fn every_provider_loads_and_so_does_what_is_generated() {
        let mut pairs = vec![("ACCESS_TOKEN", "token")];
        let required = PROVIDERS
            .iter()
            .flat_map(|provider| provider.variables)
            .filter(|variable| variable.is_required());
        pairs.extend(required.map(|variable| {
            let is_url = ["_URL", "_URI", "LOGS_ENDPOINT"].iter().any(|end| variable.name.ends_with(end));
            let other = if variable.name == "PAPERTRAIL_ENDPOINT" { "h:1" } else { "xxx" };
            (variable.name, if is_url { "http://h" } else { other })
        }));
        let env = Env::from_pairs(pairs);
        let environment = from_environment(&env).unwrap();
        assert_eq!(environment.enabled.len(), PROVIDERS.len());
        let registry = Registry::builtin();
        let config =
            Config::from_toml(&generate(&environment).unwrap(), "generated", &registry, &env).unwrap();
        assert_eq!(config.sinks.len(), PROVIDERS.len());
        Config::from_toml(&example().unwrap(), "example", &registry, &env).unwrap();
    }

    #[test]
    fn signs_in_where_the_environment_says() {
        let strategy = |more: &[(&str, &str)]| {
            let table = environment(&[&HTTP, more].concat()).table;
            let source = &table["sources"]["nats"];
            let strategy = source.get("auth").map_or("none", |auth| auth["strategy"].as_str().unwrap());
            (source["url"].as_str().unwrap().to_owned(), strategy.to_owned())
        };
        let own = "${NATS_URL:-nats://localhost:4222}";
        for (variables, url, expected) in [
            (&[("ACCESS_TOKEN", "t")][..], "nats://[${NETWORK:-fdaa}::3]:4223", "user_password"),
            (&[("NATS_URL", "nats://h")], own, "none"),
            (&[("NATS_USER", "u"), ("NATS_PASSWORD", "p")], own, "user_password"),
            (&[("NATS_TOKEN", "t")], own, "token"),
            (&[("NATS_CREDS", "/c")], own, "credentials_file"),
            (&[("NATS_NKEY", "SU")], own, "nkey"),
            (&[("NATS_URL", "nats://h"), ("ACCESS_TOKEN", "t")], own, "user_password"),
            (&[("NATS_URL", "nats://u:p@h"), ("ACCESS_TOKEN", "t")], own, "none"),
            (&[("NATS_USER", "t")], own, "token"),
        ] {
            assert_eq!(strategy(variables), (url.to_owned(), expected.to_owned()), "{variables:?}");
        }
        assert!(matches!(from_environment(&Env::from_pairs(HTTP)), Err(EnvironmentError::NoAccessToken)));
    }

    #[test]
    fn tls_comes_first_at_a_server_of_ones_own() {
        let tls_first = |value: &str| {
            let variables = [("ACCESS_TOKEN", "t"), ("NATS_TLS_FIRST", value)];
            from_environment(&Env::from_pairs([&HTTP[..], &variables].concat()))
        };
        let own = tls_first("true").unwrap();
        let source = &own.table["sources"]["nats"];
        assert_eq!(source["tls_first"].as_bool(), Some(true));
        assert_eq!(source["url"].as_str(), Some("${NATS_URL:-nats://localhost:4222}"));
        assert!(generate(&own).unwrap().contains("`tls_first` is log-shipper's own"));
        for value in ["false", ""] {
            let source = &tls_first(value).unwrap().table["sources"]["nats"];
            assert!(source.get("tls_first").is_none() && source["url"].as_str().unwrap().contains("fdaa"));
        }
        let error = tls_first("maybe").unwrap_err().to_string();
        assert!(error.contains("NATS_TLS_FIRST is neither true nor false"), "{error}");
    }

    #[test]
    fn refused_events_are_kept_where_the_environment_says() {
        let made = |more: &[(&str, &str)]| {
            let env = Env::from_pairs([&HTTP[..], &[("ACCESS_TOKEN", "t")], more].concat());
            let environment = from_environment(&env).map_err(|error| error.to_string())?;
            let text = environment.table.to_string();
            let config = Config::from_toml(&text, "environment", &Registry::builtin(), &env);
            let made = config.unwrap_or_else(|problems| panic!("{problems}")).dead_letters.is_some();
            let table = environment.table.get("dead_letters");
            assert_eq!(made, table.is_some());
            let generated = generate(&environment).unwrap();
            assert_eq!(generated.contains("# [dead_letters]"), made, "{generated}");
            assert!(!generated.contains("\n[dead_letters]"), "{generated}");
            let get =
                |key| table.and_then(|table| table.get(key)).and_then(Value::as_str).unwrap_or_default();
            Ok::<_, String>(format!("{} {}{}", get("type"), get("path"), get("subject")))
        };
        let own = ("NATS_URL", "nats://h");
        for (variables, expected) in [
            (&[][..], Ok(" ")),
            (&[("DEAD_LETTERS", "/data/100%.jsonl")][..], Ok("file /data/100\\%.jsonl")),
            (&[("DATA_DIR", "/data")], Ok("file /data/dead-letters.jsonl")),
            (&[("DATA_DIR", "/data"), ("DEAD_LETTERS", "/d")], Ok("file /d")),
            (&[own, ("DEAD_LETTERS_SUBJECT", "dead.{{ sink }}")], Ok("nats dead.{{ sink }}")),
            (&[("DEAD_LETTERS_SUBJECT", "dead")], Err("nobody may publish to Fly.io's own NATS")),
            (&[own, ("DEAD_LETTERS_SUBJECT", "logs.{{ sink }}")], Err("letters would come back as logs")),
            (&[own, ("DEAD_LETTERS_SUBJECT", "d"), ("DEAD_LETTERS", "/d")], Err("take one of them")),
            (&[("DEAD_LETTERS", "nats://h")], Err("it is a URL")),
        ] {
            match (made(variables), expected) {
                (Ok(found), Ok(expected)) => assert_eq!(found, expected, "{variables:?}"),
                (Err(found), Err(expected)) => assert!(found.contains(expected), "{found}"),
                (found, expected) => panic!("{variables:?}: {found:?} instead of {expected:?}"),
            }
        }
    }

    #[test]
    fn a_stream_is_read_at_a_server_of_ones_own() {
        let source = |more: &[(&str, &str)]| {
            let environment = environment(&[&HTTP[..], &[("ACCESS_TOKEN", "t")], more].concat());
            let text = generate(&environment).unwrap();
            assert_eq!(
                text.contains("`jetstream.create` is log-shipper's own"),
                text.contains("create = true")
            );
            (environment.table["sources"]["nats"].clone(), environment.warnings)
        };
        let (read, warnings) = source(&[("JETSTREAM_STREAM", "LOGS")]);
        let jetstream = &read["jetstream"];
        assert_eq!(jetstream["stream"].as_str(), Some("LOGS"));
        assert_eq!(jetstream["consumer"].as_str(), Some("log-shipper"));
        assert_eq!((jetstream["create"].as_bool(), warnings), (Some(true), vec![]));
        assert_eq!(read["url"].as_str(), Some("${NATS_URL:-nats://localhost:4222}"));
        let (read, _) = source(&[("JETSTREAM_STREAM", "LOGS"), ("JETSTREAM_CONSUMER", "c")]);
        assert_eq!(read["jetstream"]["consumer"].as_str(), Some("c"));
        let (read, warnings) = source(&[("JETSTREAM_CONSUMER", "c")]);
        assert!(read.get("jetstream").is_none() && warnings[0].contains("has no effect"), "{warnings:?}");
        let both = [("ACCESS_TOKEN", "t"), ("JETSTREAM_STREAM", "LOGS"), ("QUEUE", "q")];
        let error = from_environment(&Env::from_pairs([&HTTP[..], &both].concat())).unwrap_err();
        assert!(error.to_string().contains("QUEUE is wrong"), "{error}");
    }

    #[test]
    fn subjects_are_divided_and_kept_literally() {
        let variables = [
            ("ACCESS_TOKEN", "t"),
            ("SUBJECT", "logs.a.>, logs.$x.> "),
            ("SUBJECT_EXCLUDE", "logs.b.>"),
            ("QUEUE", "q"),
        ];
        let table = environment(&[&HTTP[..], &variables].concat()).table;
        let source = &table["sources"]["nats"];
        assert_eq!(source["subjects"].as_array().unwrap().len(), 2);
        assert_eq!(source["subjects"][1].as_str(), Some("logs.$$x.>"));
        assert_eq!(source["exclude"][0].as_str(), Some("logs.b.>"));
        assert_eq!(source["queue"].as_str(), Some("q"));
    }

    #[test]
    fn a_queue_that_is_found_out_is_named_after_the_app() {
        for (app, expected) in [(&[("FLY_APP_NAME", "my-shipper")][..], "my-shipper"), (&[], "log-shipper")] {
            let variables = [&HTTP[..], &[("ACCESS_TOKEN", "t"), ("QUEUE", "auto")], app].concat();
            let env = Env::from_pairs(variables);
            let text = from_environment(&env).unwrap().table.to_string();
            let config = Config::from_toml(&text, "environment", &Registry::builtin(), &env).unwrap();
            let source = format!("{:?}", config.sources);
            assert!(source.contains(&format!("queue: \"{expected}\"")), "{source}");
        }
    }

    #[test]
    fn says_what_looks_like_a_mistake() {
        let variables = [
            ("ACCESS_TOKEN", "t"),
            ("LOKI_URL", "http://l"),
            ("BETTERSTACK_SOURCE_TOKEN", "x"),
            ("AXIOM_TOKEN", ""),
            ("HTTP_PROXY", "http://proxy"),
        ];
        let warnings = environment(&[&HTTP[..], &variables].concat()).warnings.join("\n");
        for words in [
            "Grafana Loki is off: LOKI_USERNAME and LOKI_PASSWORD are not set",
            "BETTERSTACK_SOURCE_TOKEN is not known; did you mean BETTER_STACK_SOURCE_TOKEN?",
            "AXIOM_TOKEN is empty",
        ] {
            assert!(warnings.contains(words), "{warnings}");
        }
        assert!(!warnings.contains("HTTP_PROXY"), "{warnings}");
        let error =
            from_environment(&Env::from_pairs([("ACCESS_TOKEN", "t"), ("AXIOM_TOKN", "x")])).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no destination") && text.contains("did you mean AXIOM_TOKEN?"), "{text}");
    }

    #[test]
    fn a_data_directory_means_buffers_on_disk() {
        let with = |more: &[(&str, &str)]| {
            let access = [("ACCESS_TOKEN", "t")];
            from_environment(&Env::from_pairs([&HTTP[..], &access, more].concat()))
        };
        let buffer = |table: &Table| table["sinks"]["http"].get("buffer").map(ToString::to_string);
        assert_eq!(buffer(&with(&[]).unwrap().table), None);
        for (size, own, for_vector) in [
            (None, "{ type = \"disk\" }", 268_435_488),
            (Some("64M"), "{ max_size = 67108864, type = \"disk\" }", 268_435_488),
            (Some("2 GiB"), "{ max_size = 2147483648, type = \"disk\" }", 2_147_483_648_i64),
        ] {
            let size: Vec<_> = size.map(|size| ("BUFFER_MAX_SIZE", size)).into_iter().collect();
            let environment = with(&[&[("DATA_DIR", "/data")][..], &size].concat()).unwrap();
            assert_eq!(environment.table["data_dir"].as_str(), Some("${DATA_DIR}"));
            let own: Value = format!("x = {own}").parse::<Table>().unwrap()["x"].clone();
            assert_eq!(environment.table["sinks"]["http"]["buffer"], own);
            let buffer = &environment.for_vector["sinks"]["http"]["buffer"];
            assert_eq!(
                (buffer["max_size"].as_integer(), buffer["when_full"].as_str()),
                (Some(for_vector), Some("drop_newest"))
            );
            assert!(generate(&environment).unwrap().contains("drops its oldest"));
        }
        let warnings = with(&[("BUFFER_MAX_SIZE", "1G")]).unwrap().warnings.join("\n");
        assert!(warnings.contains("BUFFER_MAX_SIZE has no effect"), "{warnings}");
        for size in ["much", "0", "-1", "1.5G", "G", "99999999T"] {
            let error = with(&[("DATA_DIR", "/data"), ("BUFFER_MAX_SIZE", size)]).unwrap_err().to_string();
            assert!(error.contains("BUFFER_MAX_SIZE is wrong"), "{error}");
        }
    }

    #[test]
    fn generated_text_holds_no_secret() {
        let environment =
            environment(&[("ACCESS_TOKEN", "s3cr3t"), ("HTTP_URL", "http://h"), ("HTTP_TOKEN", "s3cr3t")]);
        assert!(!generate(&environment).unwrap().contains("s3cr3t"));
    }
}
