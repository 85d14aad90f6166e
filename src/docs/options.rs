//! A JSON Schema of a component as a table of options.

use super::{head, row};
use serde_json::{Map, Value};

/// An option: its dotted path, what it may be, and what it does.
pub(super) struct OptionRow {
    pub(super) path: String,
    /// Kinds and words in backticks, with `or` between them.
    pub(super) kind: String,
    pub(super) about: String,
    pub(super) is_required: bool,
}

/// The options of a component's schema whose first name this holds for.
pub(super) fn rows(schema: &Value, is_wanted: impl Fn(&str) -> bool) -> Vec<OptionRow> {
    let mut rows = Vec::new();
    let empty = Map::new();
    let definitions = schema.get("$defs").and_then(Value::as_object).unwrap_or(&empty);
    Walk { definitions, rows: &mut rows }.table(schema, "", &is_wanted);
    rows
}

/// The options as a table.
pub(super) fn table(rows: &[OptionRow]) -> String {
    let mut text = head(["option", "type", "what it does"]);
    for option in rows {
        let required = if option.is_required { "**Required.** " } else { "" };
        let about = format!("{required}{}", option.about);
        text.push_str(&row([&format!("`{}`", option.path), &option.kind, about.trim()]));
    }
    text
}

struct Walk<'a> {
    definitions: &'a Map<String, Value>,
    rows: &'a mut Vec<OptionRow>,
}

impl Walk<'_> {
    fn table(&mut self, schema: &Value, prefix: &str, is_wanted: &dyn Fn(&str) -> bool) {
        let required = schema.get("required").and_then(Value::as_array);
        let is_required = |name: &str| required.is_some_and(|all| all.iter().any(|known| known == name));
        for (name, option) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
            let is_deprecated = option.get("deprecated").is_some_and(|value| value == true);
            if is_wanted(name) && !is_deprecated {
                self.option(option, format!("{prefix}{name}"), is_required(name));
            }
        }
    }

    fn option(&mut self, option: &Value, path: String, is_required: bool) {
        let alternatives = self.alternatives(option);
        let text = |schema: &Value| schema.get("description").and_then(Value::as_str).map(str::to_owned);
        let about = text(option).or_else(|| text(&self.resolve(option))).unwrap_or_default();
        let mut about = about.replace("\n\n", " ");
        if let Some(default) = option.get("default")
            && !about.contains("Default")
            && !is_empty(default)
        {
            about = format!("{} Default: `{}`.", about.trim(), plain(default));
        }
        let mut kinds: Vec<String> = Vec::new();
        for kind in alternatives.iter().map(|alternative| self.kind(alternative)) {
            if !kind.is_empty() && !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        // What all strings are, a word need not say.
        if kinds.len() > 1 && kinds.iter().any(|kind| kind.starts_with('`')) {
            kinds.retain(|kind| kind != "string");
        }
        // Of a definition that contains itself, one level is enough.
        let depth = path.matches('.').count();
        let prefix = format!("{path}.");
        let items = format!("{path}[].");
        self.rows.push(OptionRow { path, kind: kinds.join(" or "), about, is_required });
        if depth >= 3 {
            return;
        }
        let tag = tag(&alternatives);
        if let Some(tag) = &tag {
            let words: Vec<_> = alternatives.iter().filter_map(|one| word(one, tag)).collect();
            let kind = words.iter().map(|word| format!("`{word}`")).collect::<Vec<_>>().join(" or ");
            let about = "Which of them; the others below are for the one that they name.".to_owned();
            self.rows.push(OptionRow { path: format!("{prefix}{tag}"), kind, about, is_required: true });
        }
        for alternative in &alternatives {
            let first = self.rows.len();
            self.table(alternative, &prefix, &|name| tag.as_deref() != Some(name));
            if let Some(word) = tag.as_deref().and_then(|tag| word(alternative, tag)) {
                for option in self.rows.iter_mut().skip(first) {
                    // What is deeper down is said of the table that holds it.
                    if !option.path[prefix.len()..].contains('.') {
                        option.about = format!("`{word}`: {}", option.about);
                    }
                }
            }
            if let Some(item) = alternative.get("items") {
                for item in self.alternatives(item) {
                    // A list of what may also stand alone has the same options.
                    if !alternatives.contains(&item) {
                        self.table(&item, &items, &|_| true);
                    }
                }
            }
        }
    }

    /// What a schema may be, without references and nested alternatives.
    fn alternatives(&self, schema: &Value) -> Vec<Value> {
        let schema = self.resolve(schema);
        let nested = ["anyOf", "oneOf"].iter().find_map(|key| schema.get(key).and_then(Value::as_array));
        match nested {
            Some(nested) if schema.get("properties").is_none() => nested
                .iter()
                .filter(|one| !is_reference(one))
                .flat_map(|one| self.alternatives(one))
                .collect(),
            Some(nested) => {
                // Some tables choose by a word which other options they have.
                let nested = nested.iter().flat_map(|one| self.alternatives(one));
                let mut all = vec![schema.clone()];
                all.extend(nested.filter(|one| one.get("properties").is_some()));
                all
            }
            None => vec![schema],
        }
    }

    fn resolve(&self, schema: &Value) -> Value {
        let reference = schema.get("$ref").and_then(Value::as_str);
        let name = reference.and_then(|reference| reference.strip_prefix("#/$defs/"));
        match name.and_then(|name| self.definitions.get(name)) {
            Some(definition) => self.resolve(definition),
            None => schema.clone(),
        }
    }

    fn kind(&self, schema: &Value) -> String {
        if let Some(word) = schema.get("const") {
            return format!("`{}`", plain(word));
        }
        if let Some(words) = schema.get("enum").and_then(Value::as_array) {
            let words: Vec<_> = words.iter().map(|word| format!("`{}`", plain(word))).collect();
            return words.join(" or ");
        }
        let name = match schema.get("type") {
            Some(Value::String(name)) => name.as_str(),
            Some(Value::Array(names)) => names.first().and_then(Value::as_str).unwrap_or_default(),
            _ => return String::new(),
        };
        match name {
            "array" => {
                let item = schema.get("items").map(|item| self.alternatives(item)).unwrap_or_default();
                match item.first().map(|item| self.kind(item)).filter(|kind| !kind.starts_with('`')) {
                    Some(kind) if !kind.is_empty() => format!("list of {kind}s"),
                    _ => "list".to_owned(),
                }
            }
            "object" => "table".to_owned(),
            "string" if schema.get("writeOnly").is_some_and(|value| value == true) => "secret".to_owned(),
            name => name.to_owned(),
        }
    }
}

/// The option by whose word tables of several kinds are told apart.
fn tag(alternatives: &[Value]) -> Option<String> {
    let [first, _, ..] = alternatives else { return None };
    let mut names = first.get("properties")?.as_object()?.keys();
    let is_tag = |name: &&String| alternatives.iter().all(|one| word(one, name).is_some());
    names.find(is_tag).cloned()
}

/// The only word that an option of this table may be.
fn word(table: &Value, option: &str) -> Option<String> {
    table.pointer(&format!("/properties/{option}/const")).map(plain)
}

/// Whether this only says that a value may come from elsewhere.
fn is_reference(schema: &Value) -> bool {
    schema.get("description").is_some_and(|text| text == "A value from elsewhere.")
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty() || fields.values().all(Value::is_object),
        Value::String(text) => text.is_empty(),
        _ => false,
    }
}

/// A value as it is written in a configuration.
fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
