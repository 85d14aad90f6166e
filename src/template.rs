//! [`Template`]: `"{{ fly.app.name }}/%F/"`, parsed once and rendered for each event.

use crate::event::{Field, LogEvent, Path, PathError, Timestamp};
use chrono::format::{Item, StrftimeItems};
use serde::Deserialize;
use snafu::Snafu;
use std::fmt;
use std::fmt::Write as _;

/// Text with references to fields (`{{ fly.app.name }}`) and parts of the event's time (`%Y-%m-%d`,
/// chrono's strftime, in UTC).
///
/// As in Vector, but: the time is the event's own even if it is a string, and in a URI a `%` with two
/// hexadecimal digits is a percent-encoded byte, not a date.
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(Path),
    /// A strftime format that chrono has accepted.
    Time(String),
}

/// A text is not a template.
#[derive(Debug, Snafu)]
pub enum TemplateError {
    /// What stands in braces is no field path.
    #[snafu(display("template `{text}`: {source}"))]
    BadPath {
        /// The template.
        text: String,
        /// What is wrong with the path.
        source: PathError,
    },
    /// A `%` is followed by something that strftime does not know.
    #[snafu(display(
        "template `{text}`: `{part}` has a `%` that begins no date; expected one of chrono's such as %Y, %m, %d, %F, %H, or %% for a percent sign"
    ))]
    BadTime {
        /// The template.
        text: String,
        /// Its part with the mistake.
        part: String,
    },
}

/// An event lacks a field that a template needs.
#[derive(Debug, Snafu)]
#[snafu(display("the event has no field `{path}`, which a template needs"))]
pub struct RenderError {
    path: String,
}

impl Template {
    /// Parses a template.
    ///
    /// # Errors
    /// If a reference is not a field path or a `%` begins no date.
    pub fn parse(text: &str) -> Result<Template, TemplateError> {
        Template::parse_with(text, false)
    }

    /// Parses a template of a URI, in which `%2F` is a percent-encoded byte.
    ///
    /// # Errors
    /// As [`Template::parse`].
    pub fn parse_uri(text: &str) -> Result<Template, TemplateError> {
        Template::parse_with(text, true)
    }

    fn parse_with(text: &str, is_uri: bool) -> Result<Template, TemplateError> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((before, inner, after)) = next_reference(rest) {
            push_literal(before, text, is_uri, &mut parts)?;
            let path = Path::parse(inner)
                .map_err(|source| TemplateError::BadPath { text: text.to_owned(), source })?;
            parts.push(Part::Field(path));
            rest = after;
        }
        push_literal(rest, text, is_uri, &mut parts)?;
        Ok(Template { text: text.to_owned(), parts })
    }

    /// The template as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The text itself, if it is the same for every event.
    pub fn as_static(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Literal(text)] => Some(text),
            _ => None,
        }
    }

    /// The fields that the template needs, in its order.
    pub fn paths(&self) -> impl Iterator<Item = &Path> {
        self.parts.iter().filter_map(|part| match part {
            Part::Field(path) => Some(path),
            _ => None,
        })
    }

    /// The text for this event.
    ///
    /// # Errors
    /// If the event lacks a field that the template needs.
    pub fn render(&self, event: &LogEvent) -> Result<String, RenderError> {
        let mut out = String::new();
        let fields: Vec<_> = self.paths().map(|path| event.get(path)).collect();
        self.render_fields(&fields, &|| event.timestamp(), &mut out)?;
        Ok(out)
    }

    /// Appends the text for an event whose fields at [`Template::paths`] have been looked up already.
    ///
    /// # Errors
    /// As [`Template::render`]; `out` may have been added to.
    pub fn render_fields(
        &self,
        fields: &[Option<Field<'_>>],
        time: &dyn Fn() -> Timestamp,
        out: &mut String,
    ) -> Result<(), RenderError> {
        let mut fields = fields.iter();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Time(format) => {
                    // The format was checked when it was parsed; writing to a string cannot fail.
                    let _ = write!(out, "{}", time().to_chrono().format(format));
                }
                Part::Field(path) => match fields.next().copied().flatten() {
                    Some(field) if field.is_null() => out.push_str("<null>"),
                    Some(field) => out.push_str(&field.to_text()),
                    None => return Err(RenderError { path: path.to_string() }),
                },
            }
        }
        Ok(())
    }
}

/// The text before the next `{{ reference }}`, what stands in its braces, and the text after it.
fn next_reference(text: &str) -> Option<(&str, &str, &str)> {
    let open = text.find("{{")?;
    let close = open + 2 + text[open + 2..].find("}}")?;
    Some((&text[..open], text[open + 2..close].trim(), &text[close + 2..]))
}

fn push_literal(part: &str, text: &str, is_uri: bool, parts: &mut Vec<Part>) -> Result<(), TemplateError> {
    if part.is_empty() {
        return Ok(());
    }
    let escaped = if is_uri { escape_percent_encoding(part) } else { part.to_owned() };
    let items: Vec<_> = StrftimeItems::new(&escaped).collect();
    if items.contains(&Item::Error) {
        return Err(TemplateError::BadTime { text: text.to_owned(), part: part.to_owned() });
    }
    let is_time = items.iter().any(|item| matches!(item, Item::Numeric(..) | Item::Fixed(_)));
    parts.push(if is_time { Part::Time(escaped) } else { Part::Literal(part.to_owned()) });
    Ok(())
}

fn escape_percent_encoding(part: &str) -> String {
    let mut out = String::with_capacity(part.len() + 8);
    let mut rest = part;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let digits = rest.as_bytes().get(at + 1..at + 3);
        let is_encoded = digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        out.push_str(if is_encoded { "%%" } else { "%" });
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out
}

/// Its fields only: a secret may stand between them, as in a header or a URI.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.paths().map(Path::to_string).collect::<Vec<_>>()).finish()
    }
}

impl TryFrom<String> for Template {
    type Error = TemplateError;

    fn try_from(text: String) -> Result<Template, TemplateError> {
        Template::parse(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn event() -> LogEvent {
        let text = r#"{"fly":{"app":{"name":"sandwich"}},"n":7,"ok":true,"none":null,"list":[1,2],"quote":"a\"b","timestamp":"2026-11-22T05:06:07.5Z"}"#;
        LogEvent::from_json(Bytes::from_static(text.as_bytes())).unwrap()
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        let template = Template::parse(text).unwrap();
        let mut event = event();
        assert_eq!(template.render(&event).unwrap(), expected);
        event.value_mut();
        assert_eq!(template.render(&event).unwrap(), expected, "as a tree");
    }

    #[test]
    fn renders_fields_and_the_events_own_time() {
        check("", "");
        check("plain", "plain");
        check("{{ fly.app.name }}/%F/", "sandwich/2026-11-22/");
        check("{{n}}-{{ .ok }}-{{none}}-{{list}}-{{list[1]}}-{{quote}}", "7-true-<null>-[1,2]-2-a\"b");
        check("%Y%m%dT%H%M%S %% ", "20261122T050607 % ");
        check("100%%", "100%%");
        check("{{ unclosed", "{{ unclosed");
        check("}} {", "}} {");
    }

    #[test]
    fn a_uri_keeps_its_percent_encoding() {
        let uri = Template::parse_uri("http://h/%20/%C3%A9?d=%F").unwrap();
        assert_eq!(uri.render(&event()).unwrap(), "http://h/%20/%C3%A9?d=2026-11-22");
        assert_eq!(Template::parse_uri("http://h/%20/x").unwrap().as_static(), Some("http://h/%20/x"));
    }

    #[test]
    fn says_what_is_wrong() {
        for (text, words) in [
            ("{{ a b }}", "not a field path"),
            ("{{ }}", "not a field path"),
            ("x %Q y", "begins no date"),
            ("trailing %", "begins no date"),
        ] {
            let error = Template::parse(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
        let error = Template::parse("{{ fly.region }}").unwrap().render(&event()).unwrap_err().to_string();
        assert!(error.contains("`fly.region`"), "{error}");
    }

    #[test]
    fn knows_whether_it_is_the_same_for_every_event() {
        assert_eq!(Template::parse("a/b").unwrap().as_static(), Some("a/b"));
        assert_eq!(Template::parse("a/%F").unwrap().as_static(), None);
        assert_eq!(Template::parse("{{a}}").unwrap().as_static(), None);
    }
}
