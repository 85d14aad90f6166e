//! Labels and structured metadata: templates of names and values.

use crate::config::Result;
use crate::event::{Field, LogEvent, Path, json};
use crate::sinks::codec::Splice;
use crate::template::Template;
use std::collections::BTreeMap;

/// Templates of names and values, and every field that they need.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    pairs: Vec<(Template, Template, bool)>,
    pub(super) paths: Vec<Path>,
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
            pairs.paths.extend(template.paths().chain(value.paths()).cloned());
            pairs.pairs.push((template, value.clone(), wildcard.is_some()));
        }
        if pairs.paths.len() > 32 {
            return Err(
                format!("{option}: they need {} fields; expected at most 32", pairs.paths.len()).into()
            );
        }
        Ok(pairs)
    }

    /// The names and values for this event, by name.
    pub(super) fn render(&self, event: &LogEvent) -> Vec<(String, String)> {
        let mut fields = Vec::new();
        event.get_all(&self.paths.iter().collect::<Vec<_>>(), &mut fields);
        let mut fields = fields.as_slice();
        let mut plain: Vec<(String, String)> = Vec::with_capacity(self.pairs.len());
        let mut expanded = Vec::new();
        let time = || event.timestamp();
        for (name, value, is_wildcard) in &self.pairs {
            let mut render = |template: &Template| {
                let (own, rest) = fields.split_at(template.paths().count());
                fields = rest;
                let mut text = String::new();
                template.render_fields(own, &time, &mut text).ok().map(|()| text)
            };
            let (Some(name), Some(value)) = (render(name), render(value)) else { continue };
            if !is_wildcard {
                plain.push((label_name(&name), value));
                continue;
            }
            for (key, inner) in json::members(&value) {
                let inner = Field::Json(inner);
                if !inner.is_null() {
                    let key = format!("{name}{}", json::unescape(key)).to_lowercase();
                    expanded.push((label_name(&key), inner.to_text().into_owned()));
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
fn label_name(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect()
}

/// Labels as JSON.
pub(super) fn object(pairs: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut object = Splice::open(&mut out);
    for (name, value) in pairs {
        object.string(name, value);
    }
    object.close();
    out
}

/// Labels as a selector, `{a="b", c="d"}`, with the escapes of a Go string, which Vector leaves out.
pub(super) fn selector(pairs: &[(String, String)]) -> Vec<u8> {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
    let labels: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escape(value))).collect();
    format!("{{{}}}", labels.join(", ")).into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_labels() {
        let labels = [("a".to_owned(), "x\"y\\z\n".to_owned()), ("b".to_owned(), "é".to_owned())];
        assert_eq!(String::from_utf8(selector(&labels)).unwrap(), r#"{a="x\"y\\z\n", b="é"}"#);
    }
}
