//! The JSON Schema (2020-12) of a whole configuration, made from the types that it is read into.
//!
//! What schemars makes of the types is for values that are final. In a configuration, a number may still be a
//! `"${NAME}"`, a table may have an option under an old name, and a component's table holds options of several
//! types. That is added here, once for all of them.

use super::renamed::EVERYWHERE;
use super::secrets::Backend;
use super::{ComponentKind, DEAD_LETTERS, DEAD_LETTERS_DEFAULTS, GlobalOptions, SinkOptions};
use schemars::generate::SchemaSettings;
use schemars::transform::{RecursiveTransform, Transform, transform_subschemas};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// What a component is to the schema.
pub(super) struct Component {
    pub(super) name: &'static str,
    pub(super) summary: &'static str,
    /// Types by which it was once called.
    pub(super) old_names: Vec<&'static str>,
    pub(super) renamed: &'static [(&'static str, &'static str)],
    pub(super) options: Options,
}

/// Makes the schema of a component's own options.
pub(super) type Options = fn(&mut SchemaGenerator) -> Schema;

/// The options of one type.
pub(super) fn options<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    T::json_schema(generator)
}

/// The options of two types in one table.
pub(super) fn options_of_both<A: JsonSchema, B: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    let mut schema = A::json_schema(generator);
    merge(&mut schema, B::json_schema(generator));
    schema
}

/// A string that is one reference to a value from elsewhere, which stands where a number or a switch may.
const REFERENCE: &str = r"^(\$\{[^}]+\}|\$[A-Za-z0-9_.]+|SECRET\[[^\]]+\])$";

/// The schema of a configuration of these components.
pub(super) fn whole<'a>(components: impl Fn(ComponentKind) -> Vec<Component> + 'a) -> Schema {
    let mut generator = generator();
    let mut properties = Map::new();
    let mut definitions = Map::new();
    for kind in ComponentKind::ALL {
        let components = components(kind);
        let plural = kind.plural();
        if kind == ComponentKind::Sink {
            properties
                .insert(DEAD_LETTERS.to_owned(), dead_letters(&components, &mut generator, &mut definitions));
        }
        let mut branches = Vec::new();
        for component in &components {
            let schema = table(kind, component, &mut generator);
            let name = format!("{plural}.{}", component.name);
            branches.push(json!({
                "if": {"properties": {"type": {"enum": types(component)}}, "required": ["type"]},
                "then": {"$ref": format!("#/$defs/{name}")},
            }));
            definitions.insert(name, schema.into());
        }
        let types: Vec<_> = components.iter().flat_map(types).collect();
        let singular = plural.trim_end_matches('s');
        let article = format!("A {singular}, by its `type`.");
        definitions.insert(
            singular.to_owned(),
            json!({
                "description": article,
                "type": "object",
                "properties": {"type": {"enum": types}},
                "required": ["type"],
                "allOf": branches,
            }),
        );
        let description = match kind {
            ComponentKind::Source => {
                "Where events come from: a table for each source, under an id of its own."
            }
            ComponentKind::Transform => {
                "What changes events on their way: a table for each transform, under an id of its own."
            }
            ComponentKind::Sink => "Where events go: a table for each sink, under an id of its own.",
        };
        properties.insert(
            plural.to_owned(),
            json!({
                "description": description,
                "type": "object",
                "additionalProperties": {"$ref": format!("#/$defs/{singular}")},
            }),
        );
    }
    let mut schema = Schema::try_from(json!({
        "title": "log-shipper",
        "description": "A configuration of log-shipper, under Vector's names.",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    }))
    .unwrap_or_default();
    merge(&mut schema, GlobalOptions::json_schema(&mut generator));
    merge(&mut schema, FurtherOptions::json_schema(&mut generator));
    finish(schema, definitions, generator)
}

/// The table of the sink that gets dead letters: a sink's, without inputs, and with less that must be said.
fn dead_letters(
    components: &[Component],
    generator: &mut SchemaGenerator,
    definitions: &mut Map<String, Value>,
) -> Value {
    let mut branches = Vec::new();
    for component in components {
        let mut schema = table(ComponentKind::Sink, component, generator);
        take_property(&mut schema, "inputs");
        let has_default = DEAD_LETTERS_DEFAULTS.contains(&component.name);
        let is_needed = |name: &str| name != "inputs" && !(has_default && name == "encoding");
        let required = schema.get_mut("required").and_then(Value::as_array_mut);
        required.into_iter().for_each(|names| names.retain(|name| name.as_str().is_some_and(is_needed)));
        let name = format!("{DEAD_LETTERS}.{}", component.name);
        branches.push(json!({
            "if": {"properties": {"type": {"enum": types(component)}}, "required": ["type"]},
            "then": {"$ref": format!("#/$defs/{name}")},
        }));
        definitions.insert(name, schema.into());
    }
    let types: Vec<_> = components.iter().flat_map(types).collect();
    json!({
        "description": "Where events go that a sink has refused for good, as letters with the reason: a sink without \
                        inputs, such as `file` or `nats`. Ours.",
        "type": "object",
        "properties": {"type": {"enum": types}},
        "required": ["type"],
        "allOf": branches,
    })
}

/// The schema of one component's table.
pub(super) fn component(kind: ComponentKind, component: &Component) -> Schema {
    let mut generator = generator();
    let schema = table(kind, component, &mut generator);
    finish(schema, Map::new(), generator)
}

fn generator() -> SchemaGenerator {
    SchemaSettings::draft2020_12().for_deserialize().into_generator()
}

fn finish(mut schema: Schema, mut definitions: Map<String, Value>, mut generator: SchemaGenerator) -> Schema {
    definitions.extend(generator.take_definitions(false));
    let root = schema.ensure_object();
    root.insert("$schema".to_owned(), json!("https://json-schema.org/draft/2020-12/schema"));
    if !definitions.is_empty() {
        root.insert("$defs".to_owned(), Value::Object(definitions));
    }
    add_old_names_everywhere(root);
    RecursiveTransform(readable).transform(&mut schema);
    with_references(&mut schema);
    schema
}

/// The current type and the old ones.
fn types(component: &Component) -> Vec<&'static str> {
    std::iter::once(component.name).chain(component.old_names.iter().copied()).collect()
}

/// A component's table: its own options and those that all of its kind have.
fn table(kind: ComponentKind, component: &Component, generator: &mut SchemaGenerator) -> Schema {
    let mut schema = (component.options)(generator);
    match kind {
        ComponentKind::Source => {}
        ComponentKind::Transform => merge(&mut schema, InputsOption::json_schema(generator)),
        ComponentKind::Sink => {
            let acknowledgements = take_property(&mut schema, "acknowledgements");
            merge(&mut schema, SinkOptions::json_schema(generator));
            if let Some(own) = acknowledgements {
                share_acknowledgements(&mut schema, own, generator);
            }
        }
    }
    add_old_names(&mut schema, component.renamed, generator);
    let types = types(component);
    let mut tag = json!({"description": "Which component this is.", "const": component.name});
    if types.len() > 1 {
        let old = |name: &&str| json!({"const": name, "deprecated": true, "description": "An old name."});
        let mut all = vec![json!({"const": component.name})];
        all.extend(component.old_names.iter().map(old));
        tag = json!({"description": "Which component this is.", "anyOf": all});
    }
    let root = schema.ensure_object();
    object(root, "properties").insert("type".to_owned(), tag);
    require(root, "type");
    root.insert("title".to_owned(), json!(component.name));
    root.insert("description".to_owned(), json!(component.summary));
    schema
}

/// What a configuration has beside the components and the [`GlobalOptions`]; the loader takes it out by name.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is only the schema")]
struct FurtherOptions {
    /// Where `SECRET[NAME.key]` comes from: a table for each backend, under its NAME.
    secret: Option<BTreeMap<String, Backend>>,
    /// Tests of transforms, in Vector's form.
    tests: Option<Vec<Map<String, Value>>>,
}

/// The one option of every transform.
#[derive(JsonSchema)]
#[schemars(deny_unknown_fields)]
#[expect(dead_code, reason = "it is only the schema")]
struct InputsOption {
    /// The ids of the components that feed the transform; `*` stands for any characters.
    inputs: Vec<String>,
}

/// A sink's own part of `acknowledgements` stands in one table with the `enabled` that every sink has.
fn share_acknowledgements(schema: &mut Schema, own: Value, generator: &SchemaGenerator) {
    let Some(mut own) = resolve(&own, generator.definitions()) else { return };
    let Some(common) = take_property(schema, "acknowledgements") else { return };
    let description = common.get("description").cloned().unwrap_or_default();
    let enabled = json!({"description": description, "type": "boolean"});
    if let Value::Object(own) = &mut own {
        object(own, "properties").insert("enabled".to_owned(), enabled);
    }
    let either = json!({"description": description, "anyOf": [{"type": "boolean"}, own]});
    object(schema.ensure_object(), "properties").insert("acknowledgements".to_owned(), either);
}

/// Adds the properties of `more`, and allows no others beside those of both.
fn merge(schema: &mut Schema, mut more: Schema) {
    let root = schema.ensure_object();
    let more = more.ensure_object();
    root.insert("type".to_owned(), json!("object"));
    if let Some(Value::Object(properties)) = more.remove("properties") {
        let known = object(root, "properties");
        for (name, property) in properties {
            known.entry(name).or_insert(property);
        }
    }
    for name in more.remove("required").as_ref().and_then(Value::as_array).into_iter().flatten() {
        require(root, name.as_str().unwrap_or_default());
    }
    // Alternatives know nothing of what stands beside them.
    let mut has_alternatives = false;
    for keyword in ["oneOf", "anyOf", "allOf"] {
        for alternative in root.get_mut(keyword).and_then(Value::as_array_mut).into_iter().flatten() {
            has_alternatives = true;
            if let Value::Object(alternative) = alternative {
                alternative.remove("additionalProperties");
            }
        }
    }
    let is_closed = root.remove("additionalProperties").is_some();
    root.remove("unevaluatedProperties");
    let keyword = if has_alternatives { "unevaluatedProperties" } else { "additionalProperties" };
    if is_closed || more.contains_key("additionalProperties") {
        root.insert(keyword.to_owned(), json!(false));
    }
}

fn object<'a>(parent: &'a mut Map<String, Value>, key: &str) -> &'a mut Map<String, Value> {
    let value = parent.entry(key).or_insert_with(|| json!({}));
    if !value.is_object() {
        *value = json!({});
    }
    match value {
        Value::Object(object) => object,
        // It was made one just before.
        _ => unreachable!(),
    }
}

fn require(schema: &mut Map<String, Value>, name: &str) {
    let required = schema.entry("required").or_insert_with(|| json!([]));
    if let Value::Array(names) = required
        && !names.iter().any(|known| known == name)
    {
        names.push(json!(name));
    }
}

fn take_property(schema: &mut Schema, name: &str) -> Option<Value> {
    schema.get_mut("properties")?.as_object_mut()?.remove(name)
}

/// What the schema is, if it refers to a definition, with what stands beside the reference.
fn resolve(schema: &Value, definitions: &Map<String, Value>) -> Option<Value> {
    // An option that may be left out is its type or null.
    let alternatives = schema.get("anyOf").and_then(Value::as_array);
    let reference = |schema: &Value| schema.get("$ref").and_then(Value::as_str).map(str::to_owned);
    let reference = reference(schema).or_else(|| alternatives.into_iter().flatten().find_map(reference));
    let Some(reference) = reference else { return Some(schema.clone()) };
    let mut resolved = definitions.get(reference.strip_prefix("#/$defs/")?)?.clone();
    for key in ["description", "default"] {
        if let Some(own) = schema.get(key) {
            resolved.as_object_mut()?.insert(key.to_owned(), own.clone());
        }
    }
    Some(resolved)
}

// === old names ===

/// Adds the component's options under the names that they once had.
fn add_old_names(schema: &mut Schema, renamed: &[(&str, &str)], generator: &SchemaGenerator) {
    let definitions = generator.definitions();
    for (old, new) in renamed {
        let root = schema.ensure_object();
        let Some(option) = find(root, new, definitions) else { continue };
        let same_table =
            old.rsplit_once('.').map(|(table, _)| table) == new.rsplit_once('.').map(|(table, _)| table);
        let name = new.rsplit('.').next().unwrap_or(new);
        if let Some(parent) = inner(root, old, definitions) {
            let old = old.rsplit('.').next().unwrap_or(old);
            object(parent, "properties").insert(old.to_owned(), deprecated(option, new));
            if same_table {
                require_either(parent, name, old);
            }
        }
        if !same_table && let Some(parent) = inner(root, new, definitions) {
            let required = parent.get_mut("required").and_then(Value::as_array_mut);
            required.into_iter().for_each(|names| names.retain(|known| known != name));
        }
    }
}

/// The table that holds the last part of the path; what is only referred to becomes the component's own.
fn inner<'a>(
    schema: &'a mut Map<String, Value>,
    path: &str,
    definitions: &Map<String, Value>,
) -> Option<&'a mut Map<String, Value>> {
    let Some((first, rest)) = path.split_once('.') else { return Some(schema) };
    let property = schema.get_mut("properties")?.get_mut(first)?;
    *property = resolve(property, definitions)?;
    inner(property.as_object_mut()?, rest, definitions)
}

fn find(schema: &mut Map<String, Value>, path: &str, definitions: &Map<String, Value>) -> Option<Value> {
    let name = path.rsplit('.').next()?;
    inner(schema, path, definitions)?.get("properties")?.get(name).cloned()
}

fn deprecated(mut option: Value, new: &str) -> Value {
    if let Value::Object(option) = &mut option {
        option.remove("default");
        option.insert("deprecated".to_owned(), json!(true));
        option.insert("description".to_owned(), json!(format!("The old name of `{new}`.")));
    }
    option
}

fn require_either(schema: &mut Map<String, Value>, new: &str, old: &str) {
    let Some(required) = schema.get_mut("required").and_then(Value::as_array_mut) else { return };
    let before = required.len();
    required.retain(|name| name != new);
    if required.len() < before {
        let either = json!({"anyOf": [{"required": [new]}, {"required": [old]}]});
        let all = schema.entry("allOf").or_insert_with(|| json!([]));
        all.as_array_mut().into_iter().for_each(|all| all.push(either.clone()));
    }
}

/// The same for what is renamed wherever it stands, as in `tls`: in the definition that all refer to.
fn add_old_names_everywhere(root: &mut Map<String, Value>) {
    for definition in
        root.get_mut("$defs").and_then(Value::as_object_mut).into_iter().flat_map(|all| all.values_mut())
    {
        let Some(properties) = definition.get_mut("properties").and_then(Value::as_object_mut) else {
            continue;
        };
        for (old, new) in EVERYWHERE {
            let (Some((_, old)), Some((_, name))) = (old.split_once('.'), new.split_once('.')) else {
                continue;
            };
            if let Some(option) = properties.get(name).cloned() {
                properties.insert(old.to_owned(), deprecated(option, new));
            }
        }
    }
}

/// An option that may also be written under this name, for `#[schemars(transform = ...)]` where serde has an
/// `alias`, which schemars does not see.
pub(crate) fn alias(old: &'static str, new: &'static str) -> impl Fn(&mut Schema) {
    move |schema| {
        let root = schema.ensure_object();
        let Some(option) = root.get("properties").and_then(|all| all.get(new)).cloned() else { return };
        object(root, "properties").insert(old.to_owned(), deprecated(option, new));
        require_either(root, new, old);
    }
}

/// The same for words of an option.
pub(crate) fn old_words(words: &'static [&'static str]) -> impl Fn(&mut Schema) {
    move |schema| {
        let root = schema.ensure_object();
        let current = Value::Object(std::mem::take(root));
        let old = json!({"enum": words, "deprecated": true, "description": "Another spelling."});
        *root = Map::from_iter([("anyOf".to_owned(), json!([current, old]))]);
    }
}

// === the last touches ===

/// Descriptions as sentences, without Rust's links; no null, which TOML has not; no widths of integers.
fn readable(schema: &mut Schema) {
    let Some(schema) = schema.as_object_mut() else { return };
    if let Some(Value::String(text)) = schema.get_mut("description") {
        *text = sentences(text);
    }
    if schema.get("default").is_some_and(Value::is_null) {
        schema.remove("default");
    }
    if let Some(Value::Array(types)) = schema.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            let only = only.clone();
            schema.insert("type".to_owned(), only);
        }
    }
    if let Some(Value::Array(values)) = schema.get_mut("enum") {
        values.retain(|value| !value.is_null());
    }
    if let Some(Value::Array(alternatives)) = schema.get_mut("anyOf") {
        alternatives.retain(|schema| schema.get("type").is_none_or(|name| name != "null"));
        if let [Value::Object(only)] = alternatives.as_slice() {
            let only = only.clone();
            schema.remove("anyOf");
            for (key, value) in only {
                schema.entry(key).or_insert(value);
            }
        }
    }
    if schema.get("type").is_some_and(|name| name == "integer" || name == "number") {
        schema.remove("format");
    }
}

/// A doc comment as text: lines of a paragraph joined, links as what they show.
fn sentences(text: &str) -> String {
    let paragraphs =
        text.split("\n\n").map(|paragraph| paragraph.split_whitespace().collect::<Vec<_>>().join(" "));
    let text = paragraphs.filter(|paragraph| !paragraph.is_empty()).collect::<Vec<_>>().join("\n\n");
    text.replace("[`", "`").replace("`]", "`")
}

/// A number, a switch, a list or a word may come from elsewhere: then it is a string that is one reference.
fn with_references(schema: &mut Schema) {
    // What has been changed has nothing more in it to change.
    if !add_reference(schema) {
        transform_subschemas(&mut with_references, schema);
    }
}

/// Whether there was something to add it to.
fn add_reference(schema: &mut Schema) -> bool {
    let Some(schema) = schema.as_object_mut() else { return true };
    if schema.contains_key("const") {
        return true;
    }
    let reference = json!({"description": "A value from elsewhere.", "type": "string", "pattern": REFERENCE});
    if let Some(name) = schema.get("type").and_then(Value::as_str)
        && matches!(name, "boolean" | "integer" | "number")
        && !schema.contains_key("enum")
    {
        let name = name.to_owned();
        schema.insert("type".to_owned(), json!([name, "string"]));
        schema.insert("pattern".to_owned(), json!(REFERENCE));
        return true;
    }
    // So may a list, and what is in it.
    if schema.get("type").is_some_and(|name| name == "array") {
        schema.insert("type".to_owned(), json!(["array", "string"]));
        schema.insert("pattern".to_owned(), json!(REFERENCE));
        return false;
    }
    // Words with a description each are alternatives already.
    let is_word = |schema: &Value| schema.get("type").is_some_and(|name| name == "string");
    if let Some(Value::Array(words)) = schema.get_mut("oneOf")
        && words.iter().all(is_word)
    {
        words.push(reference);
        let words = schema.remove("oneOf").unwrap_or_default();
        schema.insert("anyOf".to_owned(), words);
        return true;
    }
    let is_of_words = schema.get("type").is_some_and(|name| name == "string");
    if is_of_words && let Some(words) = schema.remove("enum") {
        schema.remove("type");
        schema.insert("anyOf".to_owned(), json!([{"type": "string", "enum": words}, reference]));
        return true;
    }
    false
}
