//! JSON as RFC 8259 has it: no comments, no commas at the end.

use super::references::{Quoted, Syntax, quote};
use super::{Key, Kind, Node, SyntaxError};
use jsonc_parser::ast::{ObjectPropName, Value as Ast};
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use std::ops::Range;
use toml::Value;

const STRICT: ParseOptions = ParseOptions {
    allow_comments: false,
    allow_loose_object_property_names: false,
    allow_trailing_commas: false,
    allow_missing_commas: false,
    allow_single_quoted_strings: false,
    allow_hexadecimal_numbers: false,
    allow_unary_plus_numbers: false,
    allow_bare_decimal_point_numbers: false,
    allow_non_finite_numbers: false,
    allow_extended_string_escapes: false,
};

pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let quoted = quote(text, Syntax::Json);
    if let Some(at) = quoted.too_deep {
        return Err(SyntaxError::new("nested too deeply", at..at + 1));
    }
    let parsed = parse_to_ast(&quoted.text, &CollectOptions::default(), &STRICT).map_err(|error| {
        let range = error.range();
        let mut message = error.kind().to_string();
        // Our messages begin with a small letter.
        if let Some(first) = message.get_mut(..1) {
            first.make_ascii_lowercase();
        }
        SyntaxError::new(message, range.start..range.end)
    })?;
    let Some(root) = parsed.value else {
        return Err(SyntaxError::new("empty: expected a JSON object", 0..0));
    };
    Convert { text, quoted: &quoted }.node(root)
}

struct Convert<'a> {
    text: &'a str,
    quoted: &'a Quoted,
}

impl Convert<'_> {
    fn node(&self, value: Ast<'_>) -> Result<Node, SyntaxError> {
        let range = value.range();
        let span = range.start..range.end;
        let kind = match value {
            Ast::NullKeyword(_) => Kind::Null,
            Ast::BooleanLit(literal) => Kind::Scalar(Value::Boolean(literal.value)),
            Ast::StringLit(literal) => {
                Kind::Scalar(Value::String(match self.quoted.references.get(&span.start) {
                    Some(reference) => self.text[reference.clone()].to_owned(),
                    None => literal.value.into_owned(),
                }))
            }
            Ast::NumberLit(literal) => Kind::Scalar(number(literal.value, &span)?),
            Ast::Array(array) => {
                let items: Result<Vec<_>, _> =
                    array.elements.into_iter().map(|item| self.node(item)).collect();
                Kind::List(items?)
            }
            Ast::Object(object) => {
                let mut entries = Vec::with_capacity(object.properties.len());
                for property in object.properties {
                    let range = property.name.range();
                    let key = Key {
                        name: match property.name {
                            ObjectPropName::String(literal) => literal.value.into_owned(),
                            ObjectPropName::Word(word) => word.value.to_owned(),
                        },
                        span: range.start..range.end,
                    };
                    if self.quoted.references.contains_key(&key.span.start) {
                        let message = "a reference to a variable cannot be a key; write the name";
                        return Err(SyntaxError::new(message, key.span));
                    }
                    entries.push((key, self.node(property.value)?));
                }
                Kind::Table(entries)
            }
        };
        Ok(Node { span, kind })
    }
}

fn number(text: &str, span: &Range<usize>) -> Result<Value, SyntaxError> {
    if !text.contains(['.', 'e', 'E']) {
        return match text.parse() {
            Ok(number) => Ok(Value::Integer(number)),
            Err(_) => Err(SyntaxError::new("a whole number that is too large", span.clone())),
        };
    }
    match text.parse::<f64>() {
        Ok(number) if number.is_finite() => Ok(Value::Float(number)),
        _ => Err(SyntaxError::new("a number that is too large", span.clone())),
    }
}
