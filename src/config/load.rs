//! Texts to a [`Config`]: every mistake is found at once, with its file, line and component.
//!
//! The texts are parsed, their tables for all components merged, the secrets that they name fetched, the
//! references resolved, and each component is made by its type; then `connect` looks at who feeds whom.

mod dead_letters;
mod single;

use super::connect::{Broken, Ids};
use super::deserialize::{References, Step, deserialize, take_keys, to_path};
use super::files::ConfigFile;
use super::fingerprint::fingerprint;
use super::format::{Document, join};
use super::global::merge;
use super::interpolate::{Lookup, is_reference};
use super::problem::{Place, is_secret};
use super::registry::SINK_OPTIONS;
use super::secrets::{Secrets, collect};
use super::{
    Config, DEAD_LETTERS, Format, GlobalOptions, Problem, Problems, Registry, SinkEntry, SinkOptions,
    SourceEntry, TransformEntry, UnitTest,
};
use crate::env::Env;
use std::collections::BTreeSet;
use toml::{Table, Value};

impl Config {
    /// The configuration that this TOML text describes. `file` is its name in messages; `${NAME}` is
    /// looked up in `env`.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_toml(text: &str, file: &str, registry: &Registry, env: &Env) -> Result<Config, Problems> {
        Config::from_text(text, file, Format::Toml, registry, env)
    }

    /// The configuration that a text of this format describes. `file` is its name in messages.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_text(
        text: &str,
        file: &str,
        format: Format,
        registry: &Registry,
        env: &Env,
    ) -> Result<Config, Problems> {
        let file = ConfigFile { format, ..ConfigFile::new(file, text) };
        Config::from_files(&[file], registry, env)
    }

    /// The configuration that these files describe together.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn from_files(files: &[ConfigFile], registry: &Registry, env: &Env) -> Result<Config, Problems> {
        let mut loader = Loader::new(registry, env);
        let are_whole = files.iter().filter(|file| !loader.parse(file)).count() == 0;
        loader.fetch_secrets();
        let dead_letters = loader.take_dead_letters();
        loader.make_global();
        let components = std::mem::take(&mut loader.components).into_iter().chain(dead_letters);
        for component in components {
            loader.make_component(component);
        }
        // Who feeds whom cannot be said without a file that nobody can read.
        if are_whole {
            let problems =
                super::connect::connect(&mut loader.config, &loader.ids, &loader.broken, env.placeholder());
            loader.problems.extend(problems);
        }
        let Loader { config, problems, .. } = loader;
        let mut problems: Vec<_> = problems.into_iter().map(|problem| config.places.place(problem)).collect();
        if problems.is_empty() {
            return Ok(config);
        }
        problems.extend(config.check_transforms());
        // In the order in which they are read.
        let order = |problem: &Problem| {
            files.iter().position(|file| Some(&file.name) == problem.file.as_ref()).unwrap_or(files.len())
        };
        problems.sort_by_cached_key(|problem| (order(problem), problem.line, problem.column));
        Err(Problems(problems))
    }
}

struct Loader<'a> {
    registry: &'a Registry,
    env: &'a Env,
    /// Whether texts are no references.
    is_verbatim: bool,
    secrets: Secrets,
    config: Config,
    /// What holds for all, of every file.
    global: Table,
    tests: Vec<Value>,
    components: Vec<Component>,
    ids: Ids,
    broken: Vec<Broken>,
    problems: Vec<Problem>,
}

/// A component as it is written down.
struct Component {
    kind: &'static str,
    id: String,
    options: Value,
    /// `sinks.out`.
    path: String,
}

/// A value whose references are resolved.
#[derive(Default)]
struct Resolved {
    /// What came in, so that no message repeats it.
    used: Vec<String>,
    references: References,
}

/// What is said of a component that is left out, because a placeholder stands for what is in the environment.
pub(crate) const NOT_LOOKED_AT: &str =
    "it depends on the environment, without which the component cannot be looked at";

/// Whether this may be in an option's path, such as `auth.keys[0]`.
fn is_of_a_path(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_.[]".contains(c)
}

const KINDS: [&str; 3] = ["sources", "transforms", "sinks"];

impl<'a> Loader<'a> {
    fn new(registry: &'a Registry, env: &'a Env) -> Loader<'a> {
        Loader {
            registry,
            env,
            is_verbatim: false,
            secrets: Secrets::default(),
            config: Config::default(),
            global: Table::new(),
            tests: Vec::new(),
            components: Vec::new(),
            ids: Ids::new(),
            broken: Vec::new(),
            problems: Vec::new(),
        }
    }
}

impl Loader<'_> {
    /// Takes a file apart. Returns whether it could be read.
    fn parse(&mut self, file: &ConfigFile) -> bool {
        let document = match Document::parse(&file.name, &file.text, file.format) {
            Ok(document) => document,
            Err(problems) => {
                self.problems.extend(problems);
                return false;
            }
        };
        let Document { source, mut table, places } = document;
        if let Some((kind, id)) = &file.component {
            // The whole file is one component.
            let place = Place { source, key: Some(0..0), value: None };
            let path = if *kind == "tests" {
                self.tests.push(Value::Table(table));
                format!("tests[{}]", self.tests.len() - 1)
            } else {
                self.add_component(kind, id.clone(), Value::Table(table), &place);
                join(kind, id)
            };
            self.config.places.insert(path.clone(), place);
            self.config.places.extend_below(&path, &places);
            return true;
        }
        for kind in KINDS {
            match table.remove(kind) {
                None => {}
                Some(Value::Table(components)) => {
                    for (id, options) in components {
                        if let Some(place) = places.get(&join(kind, &id)) {
                            self.add_component(kind, id, options, &place.clone());
                        }
                    }
                }
                Some(_) => {
                    let problem = Problem::at(kind, "expected tables, one for each component");
                    self.problems.push(places.place(problem));
                }
            }
        }
        match table.remove("tests") {
            None => {}
            Some(Value::Array(tests)) => {
                // Their places are those of the list that all files' tests make together.
                for index in 0..tests.len() {
                    let all = format!("tests[{}]", self.tests.len() + index);
                    self.config.places.extend_below(&all, &places.below(&format!("tests[{index}]")));
                }
                self.tests.extend(tests);
            }
            Some(_) => {
                self.problems.push(places.place(Problem::at("tests", "expected a list of tables")));
            }
        }
        let conflicts = merge(&mut self.global, table, "", &self.config.places, &places);
        self.problems.extend(conflicts.into_iter().map(|problem| places.place(problem)));
        self.config.places.extend(&places);
        true
    }

    fn add_component(&mut self, kind: &'static str, id: String, options: Value, place: &Place) {
        let path = join(kind, &id);
        if let Some((other, first)) = self.ids.get(&id) {
            let message = format!(
                "the id `{id}` is already that of one of the {other} ({}); ids must differ, so rename one of them",
                first.to_words()
            );
            let span = place.key.clone().unwrap_or(0..0);
            self.problems.push(Problem::at(path, message).in_source(&place.source, span));
            return;
        }
        if id.contains('.') {
            let message = format!(
                "the id `{id}` has a dot, which divides a transform's id from one of its outputs; write it without"
            );
            self.problems.push(Problem::at(path.clone(), message));
        }
        self.ids.insert(id.clone(), (kind, place.clone()));
        self.components.push(Component { kind, id, options, path });
    }

    fn fetch_secrets(&mut self) {
        let mut backends = match self.global.remove("secret") {
            None => Value::Table(Table::new()),
            Some(table @ Value::Table(_)) => table,
            Some(_) => {
                self.problems.push(Problem::at("secret", "expected tables, one for each backend"));
                return;
            }
        };
        let mut names = BTreeSet::new();
        let components = self.components.iter().map(|component| &component.options);
        components
            .chain(self.global.values())
            .chain(&self.tests)
            .for_each(|value| collect(value, &mut names));
        let result = self.resolve(&mut backends, "secret");
        let Value::Table(backends) = &backends else { return };
        match result {
            Ok(resolved) => {
                let (secrets, problems) = Secrets::load(backends, names, self.env);
                self.secrets = secrets;
                self.problems.extend(redact(hide(problems, backends), &resolved.used));
            }
            Err(problems) => {
                self.secrets = Secrets::unusable(backends);
                self.problems.extend(problems);
            }
        }
    }

    /// The sink of the dead letters, which all files' tables for it make together.
    fn take_dead_letters(&mut self) -> Option<Component> {
        let options = self.global.remove(DEAD_LETTERS)?;
        if let Some((kind, place)) = self.ids.get(DEAD_LETTERS) {
            let message = format!(
                "the id `{DEAD_LETTERS}` is that of one of the {kind} ({}); the table of this name makes a sink of \
                 this id, so rename the other",
                place.to_words()
            );
            self.problems.push(Problem::at(DEAD_LETTERS, message));
        }
        let (id, path) = (DEAD_LETTERS.to_owned(), DEAD_LETTERS.to_owned());
        Some(Component { kind: DEAD_LETTERS, id, options, path })
    }

    fn make_global(&mut self) {
        let mut tests = Value::Array(std::mem::take(&mut self.tests));
        let resolved = match self.resolve(&mut tests, "tests") {
            Ok(resolved) => resolved,
            Err(problems) => {
                self.problems.extend(problems);
                Resolved::default()
            }
        };
        let Value::Array(tests) = tests else { return };
        for (index, test) in tests.into_iter().enumerate() {
            match test {
                Value::Table(test) => match deserialize::<UnitTest>(test, &References::default()) {
                    Ok(test) => self.config.tests.push(test),
                    Err(problems) => {
                        let path = format!("tests[{index}]");
                        let problems = redact(problems, &resolved.used);
                        self.problems.extend(problems.into_iter().map(|problem| problem.below(&path)));
                    }
                },
                _ => self.problems.push(Problem::at(format!("tests[{index}]"), "expected a table")),
            }
        }
        let mut global = Value::Table(std::mem::take(&mut self.global));
        let resolved = match self.resolve(&mut global, "") {
            Ok(resolved) => resolved,
            Err(problems) => return self.problems.extend(problems),
        };
        let Value::Table(mut global) = global else { return };
        if let Some(Value::Table(tables)) = global.remove("enrichment_tables")
            && !tables.is_empty()
        {
            let message = "enrichment tables are not supported; take them out, and the programs that look something up in them";
            self.problems.push(Problem::at("enrichment_tables", message));
        }
        match deserialize::<GlobalOptions>(global.clone(), &resolved.references) {
            Ok(options) => self.config.global = options,
            Err(problems) => {
                let name = |mut problem: Problem| {
                    let tables = [&KINDS[..], &[DEAD_LETTERS]].concat();
                    problem.message = super::suggest::suggest(&problem.message, &tables);
                    problem
                };
                let problems = redact(hide(problems, &global), &resolved.used);
                self.problems.extend(problems.into_iter().map(name));
            }
        }
        self.global = global;
    }

    fn make_component(&mut self, component: Component) {
        let path = component.path.clone();
        let (kind, id) = (component.kind, component.id.clone());
        // Its inputs are looked at even if the rest of it is wrong, or cannot be known.
        let inputs = component.options.get("inputs").cloned().and_then(|mut inputs| {
            self.resolve(&mut inputs, "inputs").ok()?;
            inputs.try_into().ok()
        });
        let place = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.below(&path));
        match self.parse_component(component) {
            Ok(warnings) => {
                let warnings: Vec<_> =
                    place(warnings).map(|warning| self.config.places.place(warning)).collect();
                self.config.warnings.extend(warnings);
            }
            Err(problems) => {
                self.problems.extend(place(problems));
                self.broken.extend(inputs.map(|inputs| Broken { kind, id, inputs }));
            }
        }
    }

    /// Adds a component; what of it should be written otherwise.
    fn parse_component(&mut self, component: Component) -> Result<Vec<Problem>, Vec<Problem>> {
        let Component { kind, id, mut options, path } = component;
        let resolved = self.resolve(&mut options, "")?;
        self.config.places.hide(&resolved.used);
        let Value::Table(mut table) = options else {
            return Err(vec![Problem::new("expected a table with a `type`")]);
        };
        let written = table.clone();
        let Some(Value::String(name)) = table.remove("type") else {
            let kind = if kind == DEAD_LETTERS { "sinks, such as `file`" } else { kind };
            return Err(vec![Problem::at(
                "type",
                format!("missing: expected the name of one of the {kind}"),
            )]);
        };
        if kind == DEAD_LETTERS {
            dead_letters::set_defaults(&name, &mut table)?;
        }
        // How Vector's own graph of the topology draws the component.
        table.remove("graph");
        let fingerprint = Some(fingerprint(&name, &table, &self.global, self.env));
        let parsed = self.parse_by_type(kind, id, &name, table, &resolved.references, fingerprint);
        parsed.map_err(|problems| {
            let mistakes = self.without_unknown(problems, &path);
            redact(hide(mistakes, &written), &resolved.used)
        })
    }

    /// The problems but those of values that a placeholder stands for, because the true ones may be right: these
    /// are warned about.
    fn without_unknown(&mut self, problems: Vec<Problem>, path: &str) -> Vec<Problem> {
        let Some(placeholder) = self.env.placeholder() else { return problems };
        let is_known = |problem: &Problem| !problem.message.contains(placeholder);
        let (mistakes, unknown): (Vec<_>, Vec<_>) = problems.into_iter().partition(is_known);
        let warn = |Problem { path: option, message, .. }: Problem| {
            // Many a mistake of a whole table begins with the option that it is about.
            let named = message.split_once(": ").map(|(option, _)| option);
            let named = named.filter(|named| option.is_empty() && named.chars().all(is_of_a_path));
            Problem::at(named.unwrap_or(&option), NOT_LOOKED_AT).below(path)
        };
        let warnings: Vec<_> =
            unknown.into_iter().map(|problem| self.config.places.place(warn(problem))).collect();
        self.config.warnings.extend(warnings);
        mistakes
    }

    fn parse_by_type(
        &mut self,
        kind: &str,
        id: String,
        name: &str,
        mut table: Table,
        references: &References,
        fingerprint: Option<u64>,
    ) -> Result<Vec<Problem>, Vec<Problem>> {
        match kind {
            "sources" => {
                let (config, warnings) = self.registry.parse_source(name, table, references)?;
                self.config.sources.push(SourceEntry { id, r#type: name.to_owned(), config, fingerprint });
                Ok(warnings)
            }
            "transforms" => {
                let inputs = deserialize::<Inputs>(take_keys(&mut table, &["inputs"]), references);
                let parsed = both(inputs, self.registry.parse_transform(name, table, references));
                let (inputs, (config, warnings)) = parsed?;
                self.config.transforms.push(TransformEntry {
                    id,
                    r#type: name.to_owned(),
                    inputs: inputs.inputs,
                    config,
                    fingerprint,
                });
                Ok(warnings)
            }
            _ => {
                let mut options = take_keys(&mut table, SINK_OPTIONS);
                // What of it is the sink's own: Splunk has acknowledgements too.
                if let Some(Value::Table(all)) = options.get_mut("acknowledgements") {
                    let enabled = take_keys(all, &["enabled"]);
                    let own = std::mem::replace(all, enabled);
                    if !own.is_empty() {
                        table.insert("acknowledgements".to_owned(), Value::Table(own));
                    }
                }
                let options = deserialize::<SinkOptions>(options, references);
                let parsed = both(options, self.registry.parse_sink(name, table, references));
                let (options, (config, warnings)) = parsed?;
                let entry = SinkEntry { id, r#type: name.to_owned(), options, config, fingerprint };
                match kind {
                    DEAD_LETTERS => self.config.dead_letters = Some(entry),
                    _ => self.config.sinks.push(entry),
                }
                Ok(warnings)
            }
        }
    }

    /// Resolves the references in every string of the value. The problems' paths are below `path`.
    fn resolve(&self, value: &mut Value, path: &str) -> Result<Resolved, Vec<Problem>> {
        let mut resolved = Resolved::default();
        if self.is_verbatim {
            return Ok(resolved);
        }
        let lookup = Lookup { env: self.env, secrets: Some(&self.secrets) };
        let mut problems = Vec::new();
        resolve(value, &mut Vec::new(), &lookup, &mut resolved, &mut problems);
        if problems.is_empty() {
            return Ok(resolved);
        }
        Err(problems.into_iter().map(|problem| problem.below(path)).collect())
    }
}

fn resolve(
    value: &mut Value,
    steps: &mut Vec<Step>,
    lookup: &Lookup<'_>,
    resolved: &mut Resolved,
    problems: &mut Vec<Problem>,
) {
    match value {
        Value::String(text) if text.contains(['$', '[']) => {
            match lookup.resolve(text, is_header(steps), &mut resolved.used) {
                Ok(value) => {
                    if is_reference(text) {
                        resolved.references.insert(steps.clone());
                    }
                    *text = value;
                }
                Err(errors) => {
                    let path = to_path(steps);
                    problems.extend(errors.into_iter().map(|error| Problem::at(path.clone(), error)));
                }
            }
        }
        Value::Array(items) => {
            for (index, item) in items.iter_mut().enumerate() {
                steps.push(Step::Index(index));
                resolve(item, steps, lookup, resolved, problems);
                steps.pop();
            }
        }
        Value::Table(table) => {
            for (key, item) in table.iter_mut() {
                steps.push(Step::Key(key.to_owned()));
                resolve(item, steps, lookup, resolved, problems);
                steps.pop();
            }
        }
        _ => {}
    }
}

/// Whether the option is a header, whose value is a template: a key from the environment must not be read
/// as one.
fn is_header(steps: &[Step]) -> bool {
    matches!(steps, [.., Step::Key(parent), Step::Key(_)] if parent == "headers")
}

fn both<A, B>(a: Result<A, Vec<Problem>>, b: Result<B, Vec<Problem>>) -> Result<(A, B), Vec<Problem>> {
    match (a, b) {
        (Ok(a), Ok(b)) => Ok((a, b)),
        (a, b) => Err([a.err(), b.err()].into_iter().flatten().flatten().collect()),
    }
}

#[derive(serde::Deserialize)]
struct Inputs {
    inputs: Vec<String>,
}

/// The messages without the secrets that stand in the text itself: a mistake in one is told without it.
fn hide(problems: Vec<Problem>, table: &Table) -> Vec<Problem> {
    let mut secrets = Vec::new();
    let table = Value::Table(table.clone());
    collect_secrets(&table, "", &mut secrets);
    replace(problems, &secrets, "(a secret)")
}

fn collect_secrets(value: &Value, path: &str, secrets: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            table.iter().for_each(|(key, value)| collect_secrets(value, &join(path, key), secrets));
        }
        Value::Array(items) => items.iter().for_each(|item| collect_secrets(item, path, secrets)),
        Value::String(text) if is_secret(path) => secrets.push(text.clone()),
        Value::Integer(number) if is_secret(path) => secrets.push(number.to_string()),
        _ => {}
    }
}

/// The messages without the values that came from the environment.
fn redact(problems: Vec<Problem>, used: &[String]) -> Vec<Problem> {
    replace(problems, used, "(a value from the environment)")
}

fn replace(problems: Vec<Problem>, values: &[String], what: &str) -> Vec<Problem> {
    let values = || values.iter().map(String::as_str);
    problems.into_iter().map(|problem| problem.without(values(), what)).collect()
}

#[cfg(test)]
mod tests;
