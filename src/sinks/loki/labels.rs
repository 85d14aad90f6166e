//! Labels and structured metadata: templates of names and values.

use crate::config::Result;
use crate::event::{Field, Path, Timestamp, json};
use crate::sinks::codec::Splice;
use crate::template::Template;
use std::borrow::Cow;
use std::collections::BTreeMap;

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
    pub(super) fn render<'a>(
        &'a self,
        mut fields: &[Option<Field<'a>>],
        time: Timestamp,
    ) -> Vec<(Cow<'a, str>, Cow<'a, str>)> {
        let mut plain = Vec::with_capacity(self.0.len());
        let mut expanded = Vec::new();
        for Pair { name, value, is_wildcard } in &self.0 {
            let mut render = |template: &'a Template| {
                let (own, rest) = fields.split_at(template.paths().count());
                fields = rest;
                template.render_fields(own, time).ok()
            };
            let (Some(name), Some(value)) = (render(name), render(value)) else { continue };
            if !is_wildcard {
                plain.push((label_name(name), value));
                continue;
            }
            for (key, inner) in json::members(&value) {
                let inner = Field::Json(inner);
                if !inner.is_null() {
                    let key = format!("{name}{}", json::unescape(key)).to_lowercase();
                    expanded.push((label_name(key.into()), Cow::Owned(inner.to_text().into_owned())));
                }
            }
        }
        // A label that is named wins over one that a wildcard brings.
        expanded.retain(|(name, _)| !plain.iter().any(|(other, _)| other == name));
        plain.extend(expanded);
        plain.sort();
        plain.dedup_by(|a, b| a.0 == b.0);
        plain
    }
}

/// The name with `_` for every character that a label can't have.
fn label_name(text: Cow<'_, str>) -> Cow<'_, str> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || c == '_';
    if text.chars().all(is_allowed) {
        return text;
    }
    text.chars().map(|c| if is_allowed(c) { c } else { '_' }).collect::<String>().into()
}

/// Labels as JSON.
pub(super) fn write_object(pairs: &[(Cow<'_, str>, Cow<'_, str>)], out: &mut Vec<u8>) {
    let mut object = Splice::open(out);
    for (name, value) in pairs {
        object.string(name, value);
    }
    object.close();
}

/// Labels as a selector, `{a="b", c="d"}`, with the escapes of a Go string, which Vector leaves out.
pub(super) fn write_selector(pairs: &[(Cow<'_, str>, Cow<'_, str>)], out: &mut Vec<u8>) {
    for (index, (name, value)) in pairs.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{" } else { b", " });
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(b"=\"");
        for byte in value.bytes() {
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
        let labels = [("a".into(), "x\"y\\z\n".into()), ("b".into(), "é".into())];
        let mut selector = Vec::new();
        write_selector(&labels, &mut selector);
        assert_eq!(String::from_utf8(selector).unwrap(), r#"{a="x\"y\\z\n", b="é"}"#);
    }
}
