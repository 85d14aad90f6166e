//! Labels and structured metadata: templates of names and values.

use crate::config::Result;
use crate::event::{Field, Path, Timestamp, json};
use crate::sinks::codec::Splice;
use crate::template::Template;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// A label of an event.
pub(super) struct Label<'a> {
    pub(super) name: Cow<'a, str>,
    value: Value<'a>,
}

/// A label's value. Most are a string of the event, which need not be read and written again.
enum Value<'a> {
    /// A JSON string, with its quotes.
    Json(&'a str),
    Text(Cow<'a, str>),
}

impl<'a> Label<'a> {
    pub(super) fn new(name: impl Into<Cow<'a, str>>, value: impl Into<Cow<'a, str>>) -> Label<'a> {
        Label { name: name.into(), value: Value::Text(value.into()) }
    }

    pub(super) fn value(&self) -> Cow<'_, str> {
        match &self.value {
            Value::Json(json) => Field::Json(json).to_text(),
            Value::Text(text) => Cow::Borrowed(text),
        }
    }
}

/// Templates of names and values, by name.
#[derive(Debug, Default)]
pub(super) struct Pairs(Vec<Pair>);

#[derive(Debug)]
struct Pair {
    name: Template,
    value: Template,
    /// The value is an object, and its members the pairs.
    is_wildcard: bool,
}

impl Pairs {
    pub(super) fn new(option: &str, templates: &BTreeMap<String, Template>) -> Result<Pairs> {
        let mut pairs = Pairs::default();
        for (name, value) in templates {
            let wildcard = name.strip_suffix('*');
            let template = Template::parse(wildcard.unwrap_or(name))?;
            let is_label = |text: &str| {
                let starts = text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
                starts && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            };
            if template
                .as_static()
                .is_some_and(|text| !(is_label(text) || wildcard.is_some() && text.is_empty()))
            {
                return Err(format!("{option}: `{name}` is not a label's name; expected letters, digits and `_`, or a trailing `*`").into());
            }
            pairs.0.push(Pair { name: template, value: value.clone(), is_wildcard: wildcard.is_some() });
        }
        Ok(pairs)
    }

    /// Every field that they need, in their order.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.0.iter().flat_map(|pair| pair.name.paths().chain(pair.value.paths()))
    }

    /// The names and values, by name, for an event with these fields at [`Pairs::paths`].
    pub(super) fn render<'a>(&'a self, mut fields: &[Option<Field<'a>>], time: Timestamp) -> Vec<Label<'a>> {
        let mut plain = Vec::with_capacity(self.0.len());
        let mut expanded = Vec::new();
        for Pair { name: pair_name, value, is_wildcard } in &self.0 {
            let mut take_fields = |template: &Template| {
                let (own, rest) = fields.split_at(template.paths().count());
                fields = rest;
                own
            };
            let (name_fields, value_fields) = (take_fields(pair_name), take_fields(value));
            let name = match pair_name.as_static() {
                // It has been checked.
                Some(name) => Cow::Borrowed(name),
                None => match pair_name.render_fields(name_fields, time) {
                    Ok(name) => label_name(name),
                    Err(_) => continue,
                },
            };
            if let [Some(Field::Json(json))] = value_fields
                && json.starts_with('"')
                // The same text with other escapes is the same label.
                && !json.contains('\\')
                && value.as_field().is_some()
                && !is_wildcard
            {
                plain.push(Label { name, value: Value::Json(json) });
                continue;
            }
            let Ok(value) = value.render_fields(value_fields, time) else { continue };
            if !is_wildcard {
                plain.push(Label::new(name, value));
                continue;
            }
            // A string may say that it is an object, and be none.
            if !json::is_object(&value) {
                continue;
            }
            for (key, inner) in json::members(&value) {
                let inner = Field::Json(inner);
                if !inner.is_null() {
                    let key = format!("{name}{}", json::unescape(key)).to_lowercase();
                    expanded.push(Label::new(label_name(key.into()), inner.to_text().into_owned()));
                }
            }
        }
        // A label that is named wins over one that a wildcard brings.
        expanded.retain(|label| !plain.iter().any(|other| other.name == label.name));
        plain.extend(expanded);
        plain.sort_by(|a, b| a.name.cmp(&b.name));
        // Of several, the last one counts.
        plain.dedup_by(|later, earlier| {
            let is_same = later.name == earlier.name;
            if is_same {
                std::mem::swap(later, earlier);
            }
            is_same
        });
        plain
    }
}

/// The name with `_` for every character that a label can't have.
fn label_name(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.bytes().all(|byte| is_allowed(char::from(byte))) {
        return text;
    }
    text.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect::<String>().into()
}

/// Labels as JSON.
pub(super) fn write_object(labels: &[Label<'_>], out: &mut Vec<u8>) {
    let mut object = Splice::open(out);
    for label in labels {
        match &label.value {
            Value::Json(json) => object.key(&label.name).extend_from_slice(json.as_bytes()),
            Value::Text(text) => object.string(&label.name, text),
        }
    }
    object.close();
}

/// Labels as a selector, `{a="b", c="d"}`, with the escapes of a Go string, which Vector leaves out.
pub(super) fn write_selector(labels: &[Label<'_>], out: &mut Vec<u8>) {
    for (index, label) in labels.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b", " });
        out.extend_from_slice(label.name.as_bytes());
        out.extend_from_slice(b"=\"");
        for byte in label.value().bytes() {
            match byte {
                b'\n' => out.extend_from_slice(b"\\n"),
                b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
                _ => out.push(byte),
            }
        }
        out.push(b'"');
    }
    out.push(b'}');
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_labels() {
        let labels =
            [Label::new("a", "x\"y\\z\n"), Label { name: "b".into(), value: Value::Json("\"\\u00e9\"") }];
        let mut selector = Vec::new();
        write_selector(&labels, &mut selector);
        assert_eq!(String::from_utf8(selector).unwrap(), r#"{a="x\"y\\z\n", b="é"}"#);
    }
}
