//! TOML, by a parser that goes on after a mistake.

use super::references::{Quoted, Syntax, quote};
use super::{Key, Kind, MAX_ERRORS, Node, SyntaxError};
use std::ops::Range;
use toml::Spanned;
use toml::Value;
use toml::de::{DeTable, DeValue};

pub(super) fn parse(text: &str) -> Result<Node, Vec<SyntaxError>> {
    let quoted = quote(text, Syntax::Toml);
    if let Some(at) = quoted.too_deep {
        return Err(vec![SyntaxError::new("nested too deeply", at..at + 1)]);
    }
    let (root, errors) = DeTable::parse_recoverable(&quoted.text);
    let mut errors: Vec<_> = errors
        .iter()
        .take(MAX_ERRORS)
        .map(|error| SyntaxError::new(error.message().trim_end(), error.span().unwrap_or(0..0)))
        .collect();
    if !errors.is_empty() {
        return Err(errors);
    }
    let mut convert = Convert { text, quoted: &quoted, errors: &mut errors };
    let root = Node { span: 0..text.len(), kind: convert.table(root.get_ref()) };
    if errors.is_empty() { Ok(root) } else { Err(errors) }
}

struct Convert<'a> {
    text: &'a str,
    quoted: &'a Quoted,
    errors: &'a mut Vec<SyntaxError>,
}

impl Convert<'_> {
    fn table(&mut self, table: &DeTable<'_>) -> Kind {
        let entry = |(key, value): (&Spanned<_>, &Spanned<_>)| {
            let key = self.key(key);
            (key, self.node(value))
        };
        Kind::Table(table.iter().map(entry).collect())
    }

    fn key(&mut self, key: &Spanned<std::borrow::Cow<'_, str>>) -> Key {
        let span = key.span();
        if self.quoted.references.contains_key(&span.start) {
            self.errors.push(SyntaxError::new(
                "a reference to a variable cannot be a key; write the name",
                span.clone(),
            ));
        }
        Key { name: key.get_ref().to_string(), span }
    }

    fn node(&mut self, value: &Spanned<DeValue<'_>>) -> Node {
        let span = value.span();
        let kind = match value.get_ref() {
            DeValue::Table(table) => self.table(table),
            DeValue::Array(items) => Kind::List(items.iter().map(|item| self.node(item)).collect()),
            DeValue::String(text) => {
                Kind::Scalar(Value::String(match self.quoted.references.get(&span.start) {
                    Some(reference) => self.text[reference.clone()].to_owned(),
                    None => text.to_string(),
                }))
            }
            DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => Kind::Scalar(Value::Integer(number)),
                Err(_) => self.fail("a whole number that is too large", &span),
            },
            DeValue::Float(number) => match number.as_str().parse() {
                Ok(number) => Kind::Scalar(Value::Float(number)),
                Err(_) => self.fail("not a number", &span),
            },
            DeValue::Boolean(switch) => Kind::Scalar(Value::Boolean(*switch)),
            DeValue::Datetime(datetime) => Kind::Scalar(Value::Datetime(*datetime)),
        };
        Node { span, kind }
    }

    fn fail(&mut self, message: &str, span: &Range<usize>) -> Kind {
        self.errors.push(SyntaxError::new(message, span.clone()));
        Kind::Null
    }
}
