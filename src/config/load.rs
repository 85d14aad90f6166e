//! TOML text to a [`Config`]: every mistake is found at once, with its file, line and component.

use super::deserialize::{deserialize, take_keys};
use super::interpolate::interpolate_into;
use super::{Config, GlobalOptions, Registry, SinkEntry, SinkOptions, SourceEntry, TransformEntry};
use crate::env::Env;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::ops::Range;
use toml::de::{DeTable, DeValue};
use toml::{Table, Value};

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The file, if it is in one.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// Where in the configuration: `sinks.loki.endpoint`.
    pub path: String,
    /// What is wrong, what was expected, what to do.
    pub message: String,
}

/// Every mistake of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    /// A mistake of a whole component.
    pub fn new(message: impl Into<String>) -> Problem {
        Problem::at("", message)
    }

    /// A mistake in the option at this path.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem { file: None, line: None, path: path.into(), message: message.into() }
    }

    /// The same mistake, its path below `parent`.
    pub(crate) fn below(mut self, parent: &str) -> Problem {
        self.path = match (parent, self.path.as_str()) {
            (parent, "") => parent.to_owned(),
            ("", path) => path.to_owned(),
            (parent, path) => format!("{parent}.{path}"),
        };
        self
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

impl Config {
    /// The configuration that this TOML text describes. `file` is its name in messages; `${NAME}` is
    /// looked up in `env`.
    ///
    /// # Errors
    /// Every mistake in it.
    pub fn from_toml(text: &str, file: &str, registry: &Registry, env: &Env) -> Result<Config, Problems> {
        Config::from_files(&[(file.to_owned(), text.to_owned())], registry, env)
    }

    /// The configuration that these files, names and texts, describe together.
    ///
    /// # Errors
    /// Every mistake in them.
    pub fn from_files(
        files: &[(String, String)],
        registry: &Registry,
        env: &Env,
    ) -> Result<Config, Problems> {
        let mut loader = Loader {
            registry,
            env,
            config: Config::default(),
            global: Table::new(),
            ids: BTreeMap::new(),
            problems: Vec::new(),
        };
        for (file, text) in files {
            loader.load(file, text);
        }
        loader.check_inputs();
        if loader.problems.is_empty() { Ok(loader.config) } else { Err(Problems(loader.problems)) }
    }
}

struct Loader<'a> {
    registry: &'a Registry,
    env: &'a Env,
    config: Config,
    /// What holds for all, of every file so far.
    global: Table,
    /// Each component's id with its table and the place of its definition.
    ids: Ids,
    problems: Vec<Problem>,
}

#[derive(Clone)]
struct Place {
    file: String,
    line: Option<usize>,
}

impl Loader<'_> {
    fn load(&mut self, file: &str, text: &str) {
        let (parsed, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            for error in errors {
                let line = error.span().map(|span| line_of(text, span.start));
                let has_reference =
                    line.and_then(|line| text.lines().nth(line - 1)).is_some_and(|line| line.contains('$'));
                let hint = if has_reference { "; a ${NAME} must stand in quotes" } else { "" };
                let problem = Problem::new(format!("{}{hint}", error.message().trim_end()));
                self.problems.push(Problem { file: Some(file.to_owned()), line, ..problem });
            }
            return;
        }
        let table: Table = match toml::from_str(text) {
            Ok(table) => table,
            Err(error) => {
                let problem = Problem::new(error.message().trim_end());
                self.problems.push(Problem { file: Some(file.to_owned()), ..problem });
                return;
            }
        };
        let lines = Lines::new(text, parsed.get_ref());
        self.load_table(file, &lines, table);
    }

    fn load_table(&mut self, file: &str, lines: &Lines, mut table: Table) {
        for kind in ["sources", "transforms", "sinks"] {
            match table.remove(kind) {
                None => {}
                Some(Value::Table(components)) => {
                    for (id, component) in components {
                        self.load_component(file, lines, kind, &id, component);
                    }
                }
                Some(_) => self.report(
                    file,
                    lines,
                    vec![Problem::at(kind, "expected tables, one for each component")],
                ),
            }
        }
        let mut used = Vec::new();
        let mut global = Value::Table(table);
        if let Err(problems) = self.interpolate(&mut global, "", &mut used) {
            self.report(file, lines, problems);
            return;
        }
        let Value::Table(global) = global else { return };
        if global.is_empty() {
            return;
        }
        // The tables of several files are taken together; a later file's key wins.
        let mut merged = std::mem::take(&mut self.global);
        for (key, value) in global.clone() {
            match (merged.get_mut(&key), value) {
                (Some(Value::Table(known)), Value::Table(more)) => known.extend(more),
                (_, value) => drop(merged.insert(key, value)),
            }
        }
        match (deserialize::<GlobalOptions>(global), deserialize::<GlobalOptions>(merged.clone())) {
            (Ok(_), Ok(all)) => self.config.global = all,
            (Ok(_), Err(problems)) | (Err(problems), _) => self.report(file, lines, redact(problems, &used)),
        }
        self.global = merged;
    }

    fn load_component(&mut self, file: &str, lines: &Lines, kind: &'static str, id: &str, component: Value) {
        let path = format!("{kind}.{}", quote_key(id));
        let place = Place { file: file.to_owned(), line: lines.line(&path) };
        if let Some((other, first)) = self.ids.get(id) {
            let line = first.line.map(|line| format!(":{line}")).unwrap_or_default();
            let message = format!(
                "the id `{id}` is already that of one of the {other} ({}{line}); ids must differ, so rename one of them",
                first.file
            );
            self.report(file, lines, vec![Problem::at(path, message)]);
            return;
        }
        self.ids.insert(id.to_owned(), (kind, place));
        let place = |problems: Vec<Problem>| problems.into_iter().map(|problem| problem.below(&path));
        match self.parse_component(kind, id, component) {
            Ok(warnings) => {
                let warnings = place(warnings).map(|warning| lines.place(file, warning));
                self.config.warnings.extend(warnings);
            }
            Err(problems) => self.report(file, lines, place(problems).collect()),
        }
    }

    /// Adds a component; what of it should be written otherwise.
    fn parse_component(
        &mut self,
        kind: &str,
        id: &str,
        mut component: Value,
    ) -> Result<Vec<Problem>, Vec<Problem>> {
        let mut used = Vec::new();
        self.interpolate(&mut component, "", &mut used)?;
        let Value::Table(mut table) = component else {
            return Err(vec![Problem::new("expected a table with a `type`")]);
        };
        let Some(Value::String(name)) = table.remove("type") else {
            return Err(vec![Problem::at(
                "type",
                format!("missing: expected the name of one of the {kind}"),
            )]);
        };
        let parsed = self.parse_by_type(kind, id, &name, table);
        parsed.map_err(|problems| redact(problems, &used))
    }

    fn parse_by_type(
        &mut self,
        kind: &str,
        id: &str,
        name: &str,
        mut table: Table,
    ) -> Result<Vec<Problem>, Vec<Problem>> {
        let id = id.to_owned();
        match kind {
            "sources" => {
                let (config, warnings) = self.registry.parse_source(name, table)?;
                self.config.sources.push(SourceEntry { id, config, fingerprint: None });
                Ok(warnings)
            }
            "transforms" => {
                let inputs = deserialize::<Inputs>(take_keys(&mut table, &["inputs"]));
                let parsed = both(inputs, self.registry.parse_transform(name, table));
                let (inputs, (config, warnings)) = parsed?;
                self.config.transforms.push(TransformEntry {
                    id,
                    inputs: inputs.inputs,
                    config,
                    fingerprint: None,
                });
                Ok(warnings)
            }
            _ => {
                let keys = ["inputs", "buffer", "healthcheck", "acknowledgements", "proxy"];
                let mut options = take_keys(&mut table, &keys);
                // What of it is the sink's own: Splunk has acknowledgements too.
                if let Some(Value::Table(all)) = options.get_mut("acknowledgements") {
                    let enabled = take_keys(all, &["enabled"]);
                    let own = std::mem::replace(all, enabled);
                    if !own.is_empty() {
                        table.insert("acknowledgements".to_owned(), Value::Table(own));
                    }
                }
                let options = deserialize::<SinkOptions>(options);
                let (options, (config, warnings)) = both(options, self.registry.parse_sink(name, table))?;
                self.config.sinks.push(SinkEntry { id, options, config, fingerprint: None });
                Ok(warnings)
            }
        }
    }

    /// Resolves the references in every string of the value; `used` collects what came in, so that no
    /// message repeats it.
    fn interpolate(&self, value: &mut Value, path: &str, used: &mut Vec<String>) -> Result<(), Vec<Problem>> {
        let mut problems = Vec::new();
        match value {
            Value::String(text) if text.contains('$') => {
                match interpolate_into(text, self.env, is_header(path), used) {
                    Ok(resolved) => *text = resolved,
                    Err(errors) => problems.extend(errors.into_iter().map(|error| Problem::at(path, error))),
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    problems.extend(
                        self.interpolate(item, &format!("{path}[{index}]"), used).err().into_iter().flatten(),
                    );
                }
            }
            Value::Table(table) => {
                for (key, item) in table.iter_mut() {
                    let path = Problem::at(quote_key(key), "").below(path).path;
                    problems.extend(self.interpolate(item, &path, used).err().into_iter().flatten());
                }
            }
            _ => {}
        }
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    fn report(&mut self, file: &str, lines: &Lines, problems: Vec<Problem>) {
        self.problems.extend(problems.into_iter().map(|problem| lines.place(file, problem)));
    }

    /// Every input must be there, and nobody may feed himself.
    fn check_inputs(&mut self) {
        let mut feeds: HashMap<String, Vec<String>> = HashMap::new();
        let transforms =
            self.config.transforms.iter_mut().map(|entry| ("transforms", &entry.id, &mut entry.inputs));
        let sinks = self.config.sinks.iter_mut().map(|entry| ("sinks", &entry.id, &mut entry.options.inputs));
        let mut problems = Vec::new();
        for (kind, id, inputs) in transforms.chain(sinks) {
            let mut resolved = BTreeSet::new();
            for input in inputs.iter() {
                let found: Vec<_> =
                    producers(&self.ids).filter(|other| glob(input, other) && *other != id).collect();
                if found.is_empty() {
                    let mut known: Vec<_> = producers(&self.ids).map(|id| format!("`{id}`")).collect();
                    known.sort();
                    let message = match known.is_empty() {
                        true => format!("no component is called `{input}`; there are no sources yet"),
                        false => {
                            format!("no component is called `{input}`, expected one of {}", known.join(", "))
                        }
                    };
                    problems
                        .push((id.clone(), Problem::at(format!("{kind}.{}.inputs", quote_key(id)), message)));
                }
                resolved.extend(found.into_iter().cloned());
            }
            if inputs.is_empty() {
                let message = "empty: expected the ids of the components that feed it";
                problems.push((id.clone(), Problem::at(format!("{kind}.{}.inputs", quote_key(id)), message)));
            }
            *inputs = resolved.into_iter().collect();
            feeds.insert(id.clone(), inputs.clone());
        }
        for id in feeds.keys() {
            if reaches(&feeds, id, id) {
                let message = format!("`{id}` feeds itself through its inputs; break the circle");
                problems
                    .push((id.clone(), Problem::at(format!("transforms.{}.inputs", quote_key(id)), message)));
            }
        }
        problems.sort_by(|a, b| a.1.path.cmp(&b.1.path));
        for (id, problem) in problems {
            let place = self.ids.get(&id).map(|(_, place)| place.clone());
            let file = place.as_ref().map(|place| place.file.clone());
            self.problems.push(Problem { file, line: place.and_then(|place| place.line), ..problem });
        }
    }
}

type Ids = BTreeMap<String, (&'static str, Place)>;

/// Whether the option at this path is a header, whose value is a template: a key from the environment
/// must not be read as one.
fn is_header(path: &str) -> bool {
    path.rsplit_once('.').is_some_and(|(parent, _)| parent == "headers" || parent.ends_with(".headers"))
}

fn producers<'a>(ids: &'a Ids) -> impl Iterator<Item = &'a String> + use<'a> {
    ids.iter().filter(|(_, (kind, _))| *kind != "sinks").map(|(id, _)| id)
}

/// Whether `to` is among the inputs of `from`, or of one of those.
fn reaches(feeds: &HashMap<String, Vec<String>>, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![from];
    while let Some(id) = next.pop() {
        for input in feeds.get(id).into_iter().flatten() {
            if input == to {
                return true;
            }
            if seen.insert(input) {
                next.push(input);
            }
        }
    }
    false
}

/// Whether the name fits the pattern, in which `*` stands for any characters.
fn glob(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = rest.split('*').collect();
    let (last, middle) = parts.split_last().unwrap_or((&"", &[]));
    for part in middle {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(last)
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

/// The messages without the values that came from the environment.
fn redact(problems: Vec<Problem>, used: &[String]) -> Vec<Problem> {
    let hide = |mut message: String| {
        for value in used.iter().filter(|value| !value.is_empty()) {
            let escaped = format!("{value:?}");
            message = message.replace(&escaped, "(a value from the environment)");
            // A short value would be found in ordinary words; serde quotes what it repeats.
            if value.len() > 3 {
                message = message.replace(value.as_str(), "(a value from the environment)");
            }
        }
        message
    };
    problems.into_iter().map(|problem| Problem { message: hide(problem.message), ..problem }).collect()
}

fn quote_key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_bare { key.to_owned() } else { format!("{key:?}") }
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The line of every key of a file, by its path.
struct Lines(HashMap<String, usize>);

impl Lines {
    fn new(text: &str, table: &DeTable<'_>) -> Lines {
        let mut lines = Lines(HashMap::new());
        lines.add(text, "", table);
        lines
    }

    fn add(&mut self, text: &str, parent: &str, table: &DeTable<'_>) {
        for (key, value) in table {
            let path = Problem::at(quote_key(key.get_ref()), "").below(parent).path;
            let Range { start, .. } = key.span();
            self.0.entry(path.clone()).or_insert_with(|| line_of(text, start));
            if let DeValue::Table(inner) = value.get_ref() {
                self.add(text, &path, inner);
            }
        }
    }

    /// The problem with its file and line.
    fn place(&self, file: &str, problem: Problem) -> Problem {
        Problem { file: Some(file.to_owned()), line: self.line(&problem.path), ..problem }
    }

    /// The line of the path, or of the nearest thing above it that is written down.
    fn line(&self, path: &str) -> Option<usize> {
        let mut path = path;
        loop {
            if let Some(line) = self.0.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }
}

#[cfg(test)]
mod tests;
