//! `SECRET[backend.key]` in the values of a configuration, and the backends of `[secret.NAME]`: a file, a
//! directory, a command.
//!
//! Each backend is asked once, for all of its keys that a configuration uses. What it answers is not looked
//! at for more references.

use super::Problem;
use super::deserialize::{References, deserialize};
use super::format::join;
use super::suggest::nearest;
use crate::env::Env;
use crate::files::read_text;
use crate::secret::SensitiveString;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};
use toml::{Table, Value};

/// The backend and the key of a reference.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct SecretName {
    backend: String,
    key: String,
}

/// The reference at the start of a text, and what follows it.
pub(super) fn parse_secret(text: &str) -> Option<(SecretName, &str)> {
    let (inner, after) = text.strip_prefix("SECRET[")?.split_once(']')?;
    let (backend, key) = inner.split_once('.')?;
    let is_word = |text: &str, more: &[char]| {
        !text.is_empty() && text.chars().all(|c| c.is_alphanumeric() || c == '_' || more.contains(&c))
    };
    let is_name = is_word(backend, &['-']) && is_word(key, &['.', '-', '/']);
    is_name.then(|| (SecretName { backend: backend.to_owned(), key: key.to_owned() }, after))
}

/// Adds the references in every string of a value.
pub(super) fn collect(value: &Value, names: &mut BTreeSet<SecretName>) {
    match value {
        Value::String(text) => {
            let mut rest = text.as_str();
            while let Some(at) = rest.find("SECRET[") {
                rest = &rest[at..];
                match parse_secret(rest) {
                    Some((name, after)) => {
                        names.insert(name);
                        rest = after;
                    }
                    None => rest = &rest[1..],
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, names)),
        Value::Table(table) => table.values().for_each(|value| collect(value, names)),
        _ => {}
    }
}

/// What the backends have answered.
#[derive(Debug, Default)]
pub(super) struct Secrets {
    backends: BTreeSet<String>,
    values: HashMap<SecretName, Result<SensitiveString, String>>,
}

impl Secrets {
    /// Backends that cannot be asked, because their own options are wrong.
    pub(super) fn unusable(table: &Table) -> Secrets {
        Secrets { backends: table.keys().cloned().collect(), ..Secrets::default() }
    }

    /// Asks the backends of the `secret` table for these secrets. With a placeholder for what the
    /// environment does not have, nothing is read and nothing is run.
    pub(super) fn load(table: &Table, names: BTreeSet<SecretName>, env: &Env) -> (Secrets, Vec<Problem>) {
        let mut secrets = Secrets::unusable(table);
        let mut wanted: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for name in names {
            wanted.entry(name.backend).or_default().push(name.key);
        }
        let mut problems = Vec::new();
        for (backend, options) in table {
            let path = join("secret", backend);
            match Backend::parse(options) {
                Err(errors) => problems.extend(errors.into_iter().map(|error| error.below(&path))),
                Ok(parsed) if env.placeholder().is_none() => {
                    let keys = wanted.remove(backend).unwrap_or_default();
                    let mut answers = if keys.is_empty() { HashMap::new() } else { parsed.ask(&keys) };
                    secrets.values.extend(keys.into_iter().map(|key| {
                        let answer =
                            answers.remove(&key).unwrap_or_else(|| Err("it has no such key".to_owned()));
                        let answer = answer.and_then(|value| match value.is_empty() {
                            true => Err("it is empty".to_owned()),
                            false => Ok(SensitiveString::from(value)),
                        });
                        (SecretName { backend: backend.clone(), key }, answer)
                    }));
                }
                Ok(_) => {}
            }
        }
        (secrets, problems)
    }

    /// The secret, or why there is none.
    pub(super) fn get(&self, name: &SecretName, env: &Env) -> Result<String, String> {
        let SecretName { backend, key } = name;
        if !self.backends.contains(backend) {
            let near = nearest(backend, self.backends.iter().map(String::as_str));
            let hint = near.map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            return Err(format!("SECRET[{backend}.{key}]: there is no [secret.{backend}]{hint}"));
        }
        if let Some(placeholder) = env.placeholder() {
            return Ok(placeholder.to_owned());
        }
        match self.values.get(name) {
            Some(Ok(value)) => Ok(value.expose().to_owned()),
            Some(Err(error)) => Err(format!("SECRET[{backend}.{key}]: {error}")),
            // The backend's own options are wrong, which has been told.
            None => Err(format!("SECRET[{backend}.{key}]: [secret.{backend}] cannot be used")),
        }
    }
}

/// A backend's options.
#[derive(JsonSchema)]
#[schemars(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Backend {
    File(FileBackend),
    Directory(DirectoryBackend),
    Exec(ExecBackend),
}

/// A file with a JSON object of strings.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FileBackend {
    /// Where it is.
    path: PathBuf,
}

/// A directory with a file for each key.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DirectoryBackend {
    /// Where it is.
    path: PathBuf,
    /// Whether white space at the end of a file is left out. Default: false.
    #[serde(default)]
    remove_trailing_whitespace: bool,
}

/// A command that is given the keys as JSON and answers with JSON.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecBackend {
    /// The program and its arguments.
    command: Vec<String>,
    /// How many seconds it may take. Default: 5.
    #[serde(default = "default_timeout")]
    timeout: u64,
    /// How it is asked.
    #[serde(default)]
    protocol: Protocol,
}

/// Seconds: a command that takes longer will not come back.
const MOST_TIMEOUT: u64 = 3600;

fn default_timeout() -> u64 {
    5
}

#[derive(Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Protocol {
    /// The version of the protocol. Only `v1`, which is the default.
    #[serde(default)]
    version: Version,
}

#[derive(Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum Version {
    /// Keys as JSON to the program's input, and an object of values from its output.
    #[default]
    V1,
}

/// The most that is read of a backend's answer, in bytes.
const MAX_ANSWER: u64 = 16 << 20;

type Answers = HashMap<String, Result<String, String>>;

impl Backend {
    fn parse(options: &Value) -> Result<Backend, Vec<Problem>> {
        let Value::Table(table) = options else {
            return Err(vec![Problem::new("expected a table with a `type`")]);
        };
        let mut table = table.clone();
        let kind = table.remove("type");
        let none = References::new();
        match kind.as_ref().and_then(Value::as_str) {
            Some("file") => deserialize(table, &none).map(Backend::File),
            Some("directory") => deserialize(table, &none).map(Backend::Directory),
            Some("exec") => match deserialize::<ExecBackend>(table, &none) {
                Ok(exec) if exec.command.is_empty() => {
                    Err(vec![Problem::at("command", "empty: expected a program and its arguments")])
                }
                exec => exec.map(Backend::Exec),
            },
            Some(other) => {
                let is_vendors = other.starts_with("aws_") || other.starts_with("azure_");
                let hint = match nearest(other, ["file", "directory", "exec"]) {
                    Some(near) => format!("; did you mean `{near}`?"),
                    None if is_vendors => {
                        " here; use `exec` with a command that asks that service".to_owned()
                    }
                    None => ", expected `file`, `directory` or `exec`".to_owned(),
                };
                let what = if is_vendors { "is not supported" } else { "is unknown" };
                Err(vec![Problem::at("type", format!("the backend `{other}` {what}{hint}"))])
            }
            None => Err(vec![Problem::at("type", "missing: expected `file`, `directory` or `exec`")]),
        }
    }

    /// The values of these keys, or why there is none.
    fn ask(&self, keys: &[String]) -> Answers {
        let all = |error: String| keys.iter().map(|key| (key.clone(), Err(error.clone()))).collect();
        match self {
            Backend::File(file) => file.ask().unwrap_or_else(all),
            Backend::Directory(directory) => {
                keys.iter().map(|key| (key.clone(), directory.read(key))).collect()
            }
            Backend::Exec(exec) => exec.ask(keys).unwrap_or_else(all),
        }
    }
}

impl FileBackend {
    fn ask(&self) -> Result<Answers, String> {
        let path = self.path.display();
        let text = read_text(&self.path, MAX_ANSWER as usize)
            .map_err(|error| format!("cannot read {path}: {error}; expected a file with a JSON object"))?;
        // The library's message would repeat what it found.
        let values: HashMap<String, serde_json::Value> = serde_json::from_str(&text)
            .map_err(|error| format!("{path}, line {}: expected a JSON object of strings", error.line()))?;
        let answer = |(key, value): (String, serde_json::Value)| match value {
            serde_json::Value::String(value) => (key, Ok(value)),
            _ => (key, Err(format!("its value in {path} is not a string"))),
        };
        Ok(values.into_iter().map(answer).collect())
    }
}

impl DirectoryBackend {
    fn read(&self, key: &str) -> Result<String, String> {
        // A key is a file in the directory, and not one anywhere else.
        if !Path::new(key).components().all(|part| matches!(part, Component::Normal(_))) {
            return Err("its key is no name of a file in the directory".to_owned());
        }
        let path = self.path.join(key);
        let mut text = read_text(&path, MAX_ANSWER as usize)
            .map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        if self.remove_trailing_whitespace {
            text.truncate(text.trim_end().len());
        }
        Ok(text)
    }
}

/// What a command answers for one key.
#[derive(Deserialize)]
struct ExecAnswer {
    value: Option<String>,
    error: Option<String>,
}

impl ExecBackend {
    fn ask(&self, keys: &[String]) -> Result<Answers, String> {
        let Protocol { version: Version::V1 } = self.protocol;
        let query = serde_json::json!({ "version": "1.0", "secrets": keys }).to_string();
        let output = self.run(query)?;
        let answers: HashMap<String, ExecAnswer> = serde_json::from_slice(&output).map_err(|error| {
            format!(
                "`{}` did not answer as expected (line {}, column {}): {{\"key\": {{\"value\": ..., \"error\": null}}}}",
                self.command[0],
                error.line(),
                error.column()
            )
        })?;
        let answer = |(key, answer): (String, ExecAnswer)| match (answer.value, answer.error) {
            (_, Some(error)) => (key, Err(format!("`{}` says: {error}", self.command[0]))),
            (Some(value), None) => (key, Ok(value)),
            (None, None) => (key, Err(format!("`{}` has no value for it", self.command[0]))),
        };
        Ok(answers.into_iter().map(answer).collect())
    }

    /// What the command writes to its standard output, in time.
    fn run(&self, query: String) -> Result<Vec<u8>, String> {
        let name = &self.command[0];
        let deadline = Instant::now() + Duration::from_secs(self.timeout.min(MOST_TIMEOUT));
        let mut child = Command::new(name)
            .args(&self.command[1..])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("cannot run `{name}`: {error}"))?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        // A command that does not read what it is given, or does not end, must not hold us up.
        std::thread::spawn(move || {
            stdin.map(|mut stdin| stdin.write_all(query.as_bytes()));
        });
        let (sender, receiver) = mpsc::channel();
        std::thread::spawn(move || {
            let mut output = Vec::new();
            let read = stdout.map(|stdout| stdout.take(MAX_ANSWER).read_to_end(&mut output));
            // Nobody waits for it after the deadline.
            let _ = sender.send(read.unwrap_or(Ok(0)).map(|_| output));
        });
        let output = receiver.recv_timeout(deadline.saturating_duration_since(Instant::now()));
        // It has closed its output, and is about to end.
        let status = loop {
            match child.try_wait() {
                Ok(None) if output.is_ok() && Instant::now() < deadline => {
                    std::thread::sleep(Duration::from_millis(1));
                }
                Ok(None) => break None,
                status => break status.ok().flatten(),
            }
        };
        match (output, status) {
            (Ok(Ok(output)), Some(status)) if status.success() => Ok(output),
            (Ok(Err(error)), _) => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("cannot read what `{name}` answers: {error}"))
            }
            (_, Some(status)) if !status.success() => Err(format!("`{name}` failed ({status})")),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                Err(format!("`{name}` took longer than {} s and was stopped (its `timeout`)", self.timeout))
            }
        }
    }
}

#[cfg(test)]
mod tests;
