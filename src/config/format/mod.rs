//! TOML, YAML and JSON: a text to one neutral tree, and the place of everything in it.
//!
//! - this file: [`Format`], [`Document`]; the tree that each format makes, bounded in depth and size
//! - `toml`, `yaml`, `json`: a file a format
//! - `references`: `${NAME}` where no quotes are around it

mod json;
mod references;
mod toml;
mod yaml;

use super::problem::{Place, Places, Problem, Source, is_secret, is_secret_url};
use ::toml::{Table, Value};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// The formats of configuration files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `.toml`.
    #[default]
    Toml,
    /// `.yaml`, `.yml`.
    Yaml,
    /// `.json`.
    Json,
}

impl Format {
    /// The format that a file's name tells by its extension.
    pub fn of_name(name: &str) -> Option<Format> {
        match Path::new(name).extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "toml" => Some(Format::Toml),
            "yaml" | "yml" => Some(Format::Yaml),
            "json" => Some(Format::Json),
            _ => None,
        }
    }
}

/// The deepest nesting of tables and lists. Deeper than any configuration; values are walked and dropped
/// recursively.
const MAX_DEPTH: usize = 100;
/// The longest text, in bytes.
const MAX_BYTES: usize = 16 << 20;
/// The most values, so that no aliases can make a small text into a huge tree.
const MAX_NODES: usize = 1 << 20;
/// The most mistakes of syntax that are told of a text.
const MAX_ERRORS: usize = 20;

/// A text as a tree.
#[derive(Debug)]
pub(super) struct Document {
    /// The text.
    pub source: Arc<Source>,
    /// What it says. What is null is absent.
    pub table: Table,
    /// Where.
    pub places: Places,
}

/// Bytes of a text.
type Span = Range<usize>;

/// A value as it stands in a text.
#[derive(Clone, Debug)]
struct Node {
    span: Range<usize>,
    kind: Kind,
}

#[derive(Clone, Debug)]
enum Kind {
    Null,
    /// Anything but a list or a table.
    Scalar(Value),
    List(Vec<Node>),
    Table(Vec<(Key, Node)>),
}

#[derive(Clone, Debug)]
struct Key {
    name: String,
    span: Range<usize>,
}

/// What is wrong with a text, and where.
#[derive(Debug)]
struct SyntaxError {
    message: String,
    span: Range<usize>,
}

impl SyntaxError {
    fn new(message: impl Into<String>, span: Range<usize>) -> SyntaxError {
        SyntaxError { message: message.into(), span }
    }
}

impl Document {
    /// Reads the text; `name` is the file's, for messages.
    pub(super) fn parse(name: &str, text: &str, format: Format) -> Result<Document, Vec<Problem>> {
        // Some editors begin a file with a mark that is no part of its text.
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        if text.len() > MAX_BYTES {
            let message = format!("it has {} MiB, expected at most {}", text.len() >> 20, MAX_BYTES >> 20);
            return Err(vec![Problem { file: Some(name.to_owned()), ..Problem::new(message) }]);
        }
        let parsed = match format {
            Format::Toml => toml::parse(text),
            Format::Yaml => yaml::parse(text).map_err(|error| vec![error]),
            Format::Json => json::parse(text).map_err(|error| vec![error]),
        };
        let walked = parsed.and_then(|root| {
            let mut walk = Walk::default();
            let value = walk.value(root, "", None, MAX_DEPTH);
            match value {
                _ if !walk.errors.is_empty() => Err(walk.errors),
                Some(Value::Table(table)) => Ok((table, walk)),
                None => Ok((Table::new(), walk)),
                Some(_) => Err(vec![SyntaxError::new("expected a table of options", 0..0)]),
            }
        });
        match walked {
            Ok((table, walk)) => {
                let source = Arc::new(Source::new(name, text, walk.secrets));
                let places = walk
                    .places
                    .into_iter()
                    .map(|(path, key, value)| (path, Place { source: Arc::clone(&source), key, value }));
                Ok(Document { places: places.collect(), source, table })
            }
            Err(errors) => {
                // Nobody knows where in a broken text its secrets are.
                let source = Arc::new(Source::broken(name, text));
                let problem = |error: SyntaxError| Problem::new(error.message).in_source(&source, error.span);
                // After some mistakes the others are most likely their consequences.
                Err(errors.into_iter().take(MAX_ERRORS).map(problem).collect())
            }
        }
    }
}

/// From nodes to values.
#[derive(Default)]
struct Walk {
    /// By path, the spans of key and value.
    places: Vec<(String, Option<Span>, Option<Span>)>,
    secrets: Vec<Range<usize>>,
    errors: Vec<SyntaxError>,
    nodes: usize,
}

/// Whether a component stands at this path.
fn is_component(path: &str) -> bool {
    ["sources.", "transforms.", "sinks."]
        .iter()
        .filter_map(|kind| path.strip_prefix(kind))
        .any(|id| !id.is_empty() && (!id.contains('.') || id.starts_with('"') && id.ends_with('"')))
}

impl Walk {
    /// The node's value; nothing if it is null.
    fn value(&mut self, node: Node, path: &str, key: Option<Range<usize>>, depth: usize) -> Option<Value> {
        self.nodes += 1;
        if depth == 0 || self.nodes > MAX_NODES {
            let limit =
                if depth == 0 { "nested too deeply" } else { "more values than a configuration can have" };
            // Once is enough.
            if self.errors.is_empty() {
                self.errors.push(SyntaxError::new(limit, node.span));
            }
            return None;
        }
        let is_collection = matches!(node.kind, Kind::List(_) | Kind::Table(_));
        if !path.is_empty() {
            let is_table = matches!(node.kind, Kind::Table(_));
            self.places.push((path.to_owned(), key, (!is_table).then(|| node.span.clone())));
        }
        if !is_collection && is_secret(path) {
            self.secrets.push(node.span.clone());
        }
        match node.kind {
            // A component whose options have all been taken out is still one that somebody wants.
            Kind::Null if is_component(path) => Some(Value::Table(Table::new())),
            Kind::Null => None,
            Kind::Scalar(value) => {
                if value.as_str().is_some_and(is_secret_url) {
                    self.secrets.push(node.span);
                }
                Some(value)
            }
            Kind::List(items) => {
                let mut list = Vec::with_capacity(items.len());
                for (index, item) in items.into_iter().enumerate() {
                    let span = item.span.clone();
                    let is_null = matches!(item.kind, Kind::Null);
                    list.extend(self.value(item, &format!("{path}[{index}]"), None, depth - 1));
                    if is_null {
                        self.errors.push(SyntaxError::new("a list cannot have a null in it", span));
                    }
                }
                Some(Value::Array(list))
            }
            Kind::Table(entries) => {
                let mut table = Table::new();
                let mut seen = std::collections::HashSet::new();
                for (key, node) in entries {
                    if !seen.insert(key.name.clone()) {
                        let message = format!("the key `{}` stands here twice; remove one", key.name);
                        self.errors.push(SyntaxError::new(message, key.span));
                        continue;
                    }
                    let path = join(path, &key.name);
                    if let Some(value) = self.value(node, &path, Some(key.span), depth - 1) {
                        table.insert(key.name, value);
                    }
                }
                Some(Value::Table(table))
            }
        }
    }
}

/// The path of a key below another.
pub(super) fn join(parent: &str, key: &str) -> String {
    let key = quote_key(key);
    if parent.is_empty() { key } else { format!("{parent}.{key}") }
}

/// The key as it stands in a path.
pub(super) fn quote_key(key: &str) -> String {
    let is_bare = !key.is_empty() && key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if is_bare { key.to_owned() } else { format!("{key:?}") }
}

#[cfg(test)]
mod tests;
