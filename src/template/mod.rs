//! [`Template`]: `"{{ fly.app.name }}/%F/"`, parsed once and rendered for each event.
//!
//! - `confinement`: what an event may decide where a template says where something goes

mod confinement;

pub(crate) use confinement::SWITCH;

use crate::event::{Field, LogEvent, Lookup, Path, PathError, Timestamp};
use chrono::format::{Item, Numeric, Pad, StrftimeItems};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use snafu::Snafu;
use std::borrow::Cow;
use std::fmt;
use std::fmt::Write as _;
use std::str::FromStr;

/// What stays as it is in a URI (RFC 3986 section 2.3).
pub(crate) const UNRESERVED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Text with references to fields (`{{ fly.app.name }}`) and parts of the event's time (`%Y-%m-%d`,
/// chrono's strftime, in UTC).
///
/// As in Vector, but: the time is the event's own even if it is a string; in a URI a `%` with two
/// hexadecimal digits is a percent-encoded byte, not a date; and `\\%` and `\\{{` mean the characters
/// themselves, as Vector's manual says and its parser does not.
///
/// ```
/// use log_shipper::event::LogEvent;
/// use log_shipper::template::Template;
///
/// let template = Template::parse("logs/{{ fly.app.name }}/%F").unwrap();
/// let text = r#"{"fly":{"app":{"name":"web"}},"timestamp":"2026-01-02T03:04:05Z"}"#;
/// let event = LogEvent::from_json(text.into()).unwrap();
/// assert_eq!(template.render(&event).unwrap(), "logs/web/2026-01-02");
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Template {
    text: String,
    parts: Vec<Part>,
    lookup: Lookup,
    /// Whether what is rendered must not lead out of its place.
    is_confined: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Field(Path),
    /// A strftime format that chrono has accepted.
    Time(Vec<Item<'static>>),
}

/// A text is not a template.
#[derive(Debug, Snafu)]
#[non_exhaustive]
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

/// An event makes no text of a template.
#[derive(Clone, Debug, PartialEq, Eq, Snafu)]
#[non_exhaustive]
pub enum RenderError {
    /// It lacks fields that the template needs.
    #[snafu(display("the event has no field {}, which a template needs", names(paths)))]
    Missing {
        /// Which ones.
        paths: Vec<String>,
    },
    /// It would lead out of the place that the template names.
    #[snafu(display(
        "the event brings in a `..` (or, in a URI, a NUL), by which {text:?} would be another place; it is taken with {SWITCH} = true"
    ))]
    Escapes {
        /// What would have come out.
        text: String,
    },
}

fn names(paths: &[String]) -> String {
    paths.iter().map(|path| format!("`{path}`")).collect::<Vec<_>>().join(" and ")
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
        let mut literal = String::new();
        let mut rest = text;
        while let Some(first) = rest.chars().next() {
            if let Some((escaped, after)) = escape(rest) {
                push_literal(&std::mem::take(&mut literal), text, is_uri, &mut parts)?;
                push_text(escaped, &mut parts);
                rest = after;
            } else if let Some((inner, after)) = reference(rest) {
                push_literal(&std::mem::take(&mut literal), text, is_uri, &mut parts)?;
                let path = Path::parse(inner);
                let path = path.map_err(|source| TemplateError::BadPath { text: text.to_owned(), source })?;
                parts.push(Part::Field(path));
                rest = after;
            } else {
                literal.push(first);
                rest = &rest[first.len_utf8()..];
            }
        }
        push_literal(&literal, text, is_uri, &mut parts)?;
        let paths = parts.iter().filter_map(|part| match part {
            Part::Field(path) => Some(path.clone()),
            _ => None,
        });
        Ok(Template { text: text.to_owned(), lookup: Lookup::new(paths), parts, is_confined: false })
    }

    /// A template that is this text, whatever stands in it.
    pub fn literal(text: &str) -> Template {
        let parts = if text.is_empty() { Vec::new() } else { vec![Part::Literal(text.to_owned())] };
        Template { text: Template::escape(text), parts, lookup: Lookup::default(), is_confined: false }
    }

    /// This text as part of a template that means nothing but itself.
    pub fn escape(text: &str) -> String {
        text.replace('%', "\\%").replace("{{", "\\{{")
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

    /// The field whose text the template is, if it is nothing else.
    pub fn as_field(&self) -> Option<&Path> {
        match self.parts.as_slice() {
            [Part::Field(path)] => Some(path),
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
        if let Some(text) = self.as_static() {
            return Ok(text.to_owned());
        }
        let (fields, time) = event.look_up(&self.lookup);
        self.render_fields(&fields, time).map(Cow::into_owned)
    }

    /// The text for this event, in which each value of a field is percent-encoded: in a URI, it is a part
    /// of one segment and nothing else.
    ///
    /// # Errors
    /// If the event lacks a field, or brings in a `.` or `..` as a segment of its own or between slashes, which no
    /// encoding keeps from being a way up.
    pub fn render_uri(&self, event: &LogEvent) -> Result<String, RenderError> {
        let mut out = String::new();
        let (mut missing, mut escapes) = (Vec::new(), false);
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Time(items) => write_time(event.timestamp(), items, &mut out),
                Part::Field(path) => match event.get(path).map(Field::to_text) {
                    Some(value) => {
                        escapes |= confinement::climbs(&value) || value.contains('\0');
                        out.extend(utf8_percent_encode(&value, UNRESERVED));
                    }
                    None => missing.push(path.to_string()),
                },
            }
        }
        if !missing.is_empty() {
            return Err(RenderError::Missing { paths: missing });
        }
        let path = out.split(['?', '#']).next().unwrap_or_default();
        match escapes || path.split('/').any(|segment| matches!(segment, "." | "..")) {
            true => Err(RenderError::Escapes { text: out }),
            false => Ok(out),
        }
    }

    /// The text for an event whose fields at [`Template::paths`] and whose time have been looked up already.
    ///
    /// # Errors
    /// As [`Template::render`].
    pub fn render_fields<'a>(
        &'a self,
        fields: &[Option<Field<'a>>],
        time: Timestamp,
    ) -> Result<Cow<'a, str>, RenderError> {
        let rendered = self.join(fields, time)?;
        match self.is_confined && self.as_static().is_none() && confinement::climbs(&rendered) {
            true => Err(RenderError::Escapes { text: rendered.into_owned() }),
            false => Ok(rendered),
        }
    }

    fn join<'a>(
        &'a self,
        fields: &[Option<Field<'a>>],
        time: Timestamp,
    ) -> Result<Cow<'a, str>, RenderError> {
        let mut fields = fields.iter().copied();
        let mut value = |path: &Path| match fields.next().flatten() {
            Some(field) if field.is_null() => Ok(Cow::Borrowed("<null>")),
            Some(field) => Ok(field.to_text()),
            None => Err(path.to_string()),
        };
        // Most templates are a text or a field, which need not be copied.
        match self.parts.as_slice() {
            [] => return Ok(Cow::Borrowed("")),
            [Part::Literal(text)] => return Ok(Cow::Borrowed(text)),
            [Part::Field(path)] => {
                return value(path).map_err(|path| RenderError::Missing { paths: vec![path] });
            }
            _ => {}
        }
        // Longer than most.
        let mut out = String::with_capacity(64);
        let mut missing = Vec::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => out.push_str(text),
                Part::Time(items) => write_time(time, items, &mut out),
                Part::Field(path) => match value(path) {
                    Ok(value) => out.push_str(&value),
                    Err(path) => missing.push(path),
                },
            }
        }
        if missing.is_empty() { Ok(Cow::Owned(out)) } else { Err(RenderError::Missing { paths: missing }) }
    }
}

/// What keys and names are made of most (`%F`, `%Y.%m.%d`, `%H`) is written here; chrono, which writes all
/// else, takes some 550 instructions more for a date.
fn write_time(time: Timestamp, items: &[Item<'static>], out: &mut String) {
    let start = out.len();
    let (year, month, day) = time.date();
    let second = time.seconds().rem_euclid(24 * 3600);
    for item in items {
        let (number, width) = match item {
            Item::Literal(text) | Item::Space(text) => {
                out.push_str(text);
                continue;
            }
            Item::Numeric(Numeric::Year, Pad::Zero) if (0..10_000).contains(&year) => (year, 4),
            Item::Numeric(Numeric::Month, Pad::Zero) => (month, 2),
            Item::Numeric(Numeric::Day, Pad::Zero) => (day, 2),
            Item::Numeric(Numeric::Hour, Pad::Zero) => (second / 3600, 2),
            Item::Numeric(Numeric::Minute, Pad::Zero) => (second / 60 % 60, 2),
            Item::Numeric(Numeric::Second, Pad::Zero) => (second % 60, 2),
            _ => {
                out.truncate(start);
                // The format was checked when it was parsed; writing to a string cannot fail.
                let _ = write!(out, "{}", time.to_chrono().format_with_items(items.iter()));
                return;
            }
        };
        let mut digits = [b'0'; 4];
        let mut rest = number;
        for digit in digits[..width].iter_mut().rev() {
            *digit += (rest % 10) as u8;
            rest /= 10;
        }
        out.extend(digits[..width].iter().map(|digit| char::from(*digit)));
    }
}

/// What an escape at the start of the text stands for, and the text after it.
fn escape(text: &str) -> Option<(&'static str, &str)> {
    ["%", "{{"].into_iter().find_map(|plain| Some((plain, text.strip_prefix('\\')?.strip_prefix(plain)?)))
}

/// What stands in the braces at the start of the text, and the text after them.
fn reference(text: &str) -> Option<(&str, &str)> {
    let (inner, after) = text.strip_prefix("{{")?.split_once("}}")?;
    // As Vector: without anything in them, or with a brace, they are text.
    (!inner.is_empty() && !inner.contains('}')).then(|| (inner.trim(), after))
}

/// Adds text that means itself.
fn push_text(text: &str, parts: &mut Vec<Part>) {
    match parts.last_mut() {
        Some(Part::Literal(last)) => last.push_str(text),
        _ => parts.push(Part::Literal(text.to_owned())),
    }
}

fn push_literal(part: &str, text: &str, is_uri: bool, parts: &mut Vec<Part>) -> Result<(), TemplateError> {
    if part.is_empty() {
        return Ok(());
    }
    let escaped = if is_uri { escape_percent_encoding(part) } else { part.to_owned() };
    let items: Vec<_> = StrftimeItems::new(&escaped).collect();
    // Some formats can be read but not written.
    let mut written = String::new();
    let epoch = Timestamp::from_nanos(0).to_chrono();
    let has_error = items.contains(&Item::Error);
    if has_error || write!(written, "{}", epoch.format_with_items(items.iter())).is_err() {
        return Err(TemplateError::BadTime { text: text.to_owned(), part: part.to_owned() });
    }
    let is_time = items.iter().any(|item| matches!(item, Item::Numeric(..) | Item::Fixed(_)));
    if is_time {
        parts.push(Part::Time(items.into_iter().map(Item::to_owned).collect()));
    } else {
        push_text(part, parts);
    }
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

impl JsonSchema for Template {
    fn schema_name() -> Cow<'static, str> {
        "Template".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string"})
    }

    fn inline_schema() -> bool {
        true
    }
}

/// Its fields only: a secret may stand between them, as in a header or a URI.
impl fmt::Debug for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Template").field(&self.paths().map(Path::to_string).collect::<Vec<_>>()).finish()
    }
}

impl FromStr for Template {
    type Err = TemplateError;

    fn from_str(text: &str) -> Result<Template, TemplateError> {
        Template::parse(text)
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
    use proptest::prelude::*;

    fn event() -> LogEvent {
        let text = r#"{"fly":{"app":{"name":"sandwich"}},"n":7,"ok":true,"none":null,"a b":"quoted","list":[1,2],"quote":"a\"b","timestamp":"2026-11-22T05:06:07.5Z"}"#;
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
        check("a\\%Yb\\{{n}}\\x%Y", "a%Yb{{n}}\\x2026");
        check("{{ unclosed", "{{ unclosed");
        check("}} {", "}} {");
        check("{{}}{{ a}b }}", "{{}}{{ a}b }}");
        check("{{ .\"a b\" }}|{{ fly.\"app\".name }}|{{ list[-1] }}", "quoted|sandwich|2");
    }

    #[test]
    fn a_format_that_cannot_be_written_is_refused() {
        for text in ["out%#z/x", "%E"] {
            assert!(matches!(Template::parse(text), Err(TemplateError::BadTime { .. })), "{text}");
        }
    }

    #[test]
    fn a_time_in_a_tree_is_written_as_its_text() {
        let mut event = event();
        event.value_mut();
        let time = vrl::value::Value::Timestamp("2026-11-22T05:06:07.5Z".parse().unwrap());
        event.insert(&Path::root_field("at"), time);
        let rendered = Template::parse("{{ at }}").unwrap().render(&event).unwrap();
        assert_eq!(rendered, "2026-11-22T05:06:07.500Z");
    }

    #[test]
    fn a_uri_keeps_its_percent_encoding() {
        let uri = Template::parse_uri("http://h/%20/%C3%A9?d=%F").unwrap();
        assert_eq!(uri.render(&event()).unwrap(), "http://h/%20/%C3%A9?d=2026-11-22");
        assert_eq!(Template::parse_uri("http://h/%20/x").unwrap().as_static(), Some("http://h/%20/x"));
    }

    #[test]
    fn escaped_text_means_itself() {
        for text in ["a%Yb", "ab%zz", "a{{n}}b", "100%%", "\\%Y \\{{n}} \\", "{{{ }}", "%{{"] {
            let template = Template::parse(&Template::escape(text)).unwrap();
            assert_eq!(template.as_static(), Some(text));
        }
    }

    #[test]
    fn in_a_uri_a_value_is_one_part_of_a_segment() {
        let uri = Template::parse_uri("http://h/{{ v }}/x").unwrap();
        let render = |value: &str| {
            let event = LogEvent::from_json(format!("{{\"v\":\"{value}\"}}").into()).unwrap();
            uri.render_uri(&event).ok()
        };
        assert_eq!(render("a/..b/c?d#e f").as_deref(), Some("http://h/a%2F..b%2Fc%3Fd%23e%20f/x"));
        assert_eq!(render("é-1_~.").as_deref(), Some("http://h/%C3%A9-1_~./x"));
        for value in [".", "..", "a/../b", "../", "a\\\\..", "\\u0000"] {
            assert_eq!(render(value), None, "{value}");
        }
        let twice = Template::parse_uri("http://h/{{ v }}{{ v }}/x").unwrap();
        let event = LogEvent::from_json("{\"v\":\".\"}".into()).unwrap();
        assert!(twice.render_uri(&event).is_err());
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
        let error = Template::parse("{{ a }}-{{ n }}-{{ b }}").unwrap().render(&event()).unwrap_err();
        assert_eq!(error, RenderError::Missing { paths: vec!["a".to_owned(), "b".to_owned()] });
    }

    proptest! {
        /// What is written here is what chrono writes.
        #[test]
        fn times_are_as_chrono_writes_them(nanos in any::<i64>(), which in 0..8usize) {
            let format = ["%F", "%Y.%m.%d", "%H:%M:%S x", "%Y/%j", "%s", "%d-%b %k", "a %F b %T c", "%Y%m%dT%H%M%S%.3f"][which];
            let time = Timestamp::from_nanos(nanos);
            let event = LogEvent::from_json_at("{}".into(), time).unwrap();
            let rendered = Template::parse(format).unwrap().render(&event).unwrap();
            prop_assert_eq!(rendered, time.to_chrono().format(format).to_string());
        }
    }

    #[test]
    fn knows_whether_it_is_the_same_for_every_event() {
        assert_eq!(Template::parse("a/b").unwrap().as_static(), Some("a/b"));
        assert_eq!(Template::parse("a/%F").unwrap().as_static(), None);
        assert_eq!(Template::parse("{{a}}").unwrap().as_static(), None);
    }
}
