//! Fields of an event, and those with a meaning, whatever they are called.

use super::{Level, Path, Segment, Timestamp, json, parse_value, value_json};
use std::borrow::Cow;
use std::ops::Range;
use std::sync::LazyLock;
use vrl::value::Value;

/// A field of an event, as text or as part of a tree.
#[derive(Clone, Copy, Debug)]
pub enum Field<'a> {
    /// The JSON text of its value.
    Json(&'a str),
    /// The value itself.
    Value(&'a Value),
}

impl<'a> From<&'a str> for Field<'a> {
    fn from(json: &'a str) -> Field<'a> {
        Field::Json(json)
    }
}

impl<'a> Field<'a> {
    /// The text of a string; `None` if the field is anything else.
    pub fn as_str(self) -> Option<Cow<'a, str>> {
        match self {
            Field::Json(text) => {
                let inner = text.strip_prefix('"')?.strip_suffix('"')?;
                Some(json::unescape(inner))
            }
            Field::Value(value) => value.to_str_lossy(),
        }
    }

    /// The field as text for people: a string or a time without its quotes, anything else as JSON.
    pub fn to_text(self) -> Cow<'a, str> {
        self.as_str().unwrap_or_else(|| match self {
            Field::Json(text) => Cow::Borrowed(text),
            Field::Value(time @ Value::Timestamp(_)) => time.to_string_lossy(),
            Field::Value(value) => Cow::Owned(value_json(value)),
        })
    }

    /// The field as JSON.
    pub fn to_json(self) -> Cow<'a, str> {
        match self {
            Field::Json(text) => Cow::Borrowed(text),
            Field::Value(value) => Cow::Owned(value_json(value)),
        }
    }

    /// The field as a tree.
    pub fn to_value(self) -> Value {
        match self {
            Field::Json(text) => parse_value(text),
            Field::Value(value) => value.clone(),
        }
    }

    /// Whether the field is `null`.
    pub fn is_null(self) -> bool {
        match self {
            Field::Json(text) => text == "null",
            Field::Value(value) => value.is_null(),
        }
    }

    /// The time that the field holds: RFC 3339 text, or a count since the epoch.
    pub fn as_timestamp(self) -> Option<Timestamp> {
        if let Field::Value(Value::Timestamp(time)) = self {
            return time.timestamp_nanos_opt().map(Timestamp::from_nanos);
        }
        let text = self.to_text();
        Timestamp::parse_rfc3339(&text).or_else(|| Timestamp::parse_epoch(&text))
    }

    fn level(self) -> Option<Level> {
        let text = self.to_text();
        Level::from_word(&text).or_else(|| Level::from_number(text.parse().ok()?))
    }
}

/// The fields of an event that have a meaning, whatever they are called. Made by
/// [`LogEvent::semantics`](super::LogEvent::semantics).
///
/// ```
/// use log_shipper::event::{Level, LogEvent};
///
/// let text = r#"{"msg":"x","severity":"ERROR","fly":{"app":{"name":"web"}}}"#;
/// let event = LogEvent::from_json(text.into()).unwrap();
/// let semantics = event.semantics();
/// assert_eq!(semantics.level(), Some(Level::Error));
/// assert_eq!(semantics.app().as_deref(), Some("web"));
/// assert_eq!(semantics.host(), None);
/// ```
#[derive(Debug)]
pub struct Semantics<'a> {
    pub(super) fields: [Option<Field<'a>>; KNOWN],
    pub(super) subject: Option<&'a str>,
    pub(super) received: Timestamp,
}

/// The names under which the meanings are looked for, in the order in which they count.
static KNOWN_PATHS: [&[&str]; KNOWN] = [
    &["timestamp"],
    &["@timestamp"],
    &["time"],
    &["ts"],
    &["log", "level"],
    &["level"],
    &["severity"],
    &["host"],
    &["message"],
    &["fly", "app", "name"],
    &["fly", "region"],
    &["fly", "app", "instance"],
];
pub(super) const KNOWN: usize = 12;

/// Some of the names: those from `START` up to `END`.
pub(crate) struct Known<const START: usize, const END: usize> {
    pub(super) lookup: LazyLock<json::Lookup>,
}

impl<const START: usize, const END: usize> Known<START, END> {
    const fn new() -> Self {
        Known { lookup: LazyLock::new(|| json::Lookup::new(known_paths(START..END))) }
    }

    pub(super) const fn range(&self) -> Range<usize> {
        START..END
    }
}

fn known_paths(range: Range<usize>) -> impl Iterator<Item = Path> {
    let segment = |name: &&str| Segment::Field((*name).into());
    KNOWN_PATHS[range].iter().map(move |names| Path::from_segments(names.iter().map(segment).collect()))
}

pub(super) static EVERYTHING: Known<0, KNOWN> = Known::new();
pub(crate) static TIME: Known<0, 4> = Known::new();
pub(crate) static LEVEL: Known<4, 7> = Known::new();
pub(super) static HOST: Known<7, 8> = Known::new();
pub(super) static MESSAGE: Known<8, 9> = Known::new();
pub(super) static APP: Known<9, 10> = Known::new();
pub(super) static REGION: Known<10, 11> = Known::new();
pub(super) static INSTANCE: Known<11, 12> = Known::new();

/// Fields, and with them those that hold an event's time, prepared to be looked up together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    pub(super) paths: json::Lookup,
    /// How many there are without those of the time.
    fields: usize,
}

impl Lookup {
    /// A lookup of these fields.
    pub fn new(paths: impl IntoIterator<Item = Path>) -> Lookup {
        let mut paths: Vec<_> = paths.into_iter().collect();
        let fields = paths.len();
        paths.extend(known_paths(TIME.range()));
        Lookup { paths: json::Lookup::new(paths), fields }
    }

    /// How many fields it looks for.
    pub fn len(&self) -> usize {
        self.fields
    }

    /// Whether there are none; the time is looked for all the same.
    pub fn is_empty(&self) -> bool {
        self.fields == 0
    }
}

/// The time alone.
impl Default for Lookup {
    fn default() -> Lookup {
        Lookup::new([])
    }
}

impl<'a> Semantics<'a> {
    /// When the event happened: the first of `timestamp`, `@timestamp`, `time` and `ts` that holds
    /// RFC 3339 text or a count since the epoch; without one, the time of receipt.
    pub fn timestamp(&self) -> Timestamp {
        self.fields[TIME.range()]
            .iter()
            .flatten()
            .find_map(|field| field.as_timestamp())
            .unwrap_or(self.received)
    }

    /// How serious the event is: the first of `log.level`, `level` and `severity` that holds a word
    /// or number of a level.
    pub fn level(&self) -> Option<Level> {
        self.fields[LEVEL.range()].iter().flatten().find_map(|field| field.level())
    }

    /// The host: `host`.
    pub fn host(&self) -> Option<Cow<'a, str>> {
        self.text(&HOST)
    }

    /// The message: `message`, as JSON if it is not a string; `None` if it is missing or null.
    pub fn message(&self) -> Option<Cow<'a, str>> {
        self.text(&MESSAGE)
    }

    /// The Fly app: `fly.app.name`, else the subject's second token.
    pub fn app(&self) -> Option<Cow<'a, str>> {
        self.text(&APP).or_else(|| self.token(0))
    }

    /// The Fly region: `fly.region`, else the subject's third token.
    pub fn region(&self) -> Option<Cow<'a, str>> {
        self.text(&REGION).or_else(|| self.token(1))
    }

    /// The Fly machine: `fly.app.instance`, else the rest of the subject.
    pub fn instance(&self) -> Option<Cow<'a, str>> {
        self.text(&INSTANCE).or_else(|| self.token(2))
    }

    fn text<const AT: usize, const END: usize>(&self, _: &Known<AT, END>) -> Option<Cow<'a, str>> {
        self.fields[AT].filter(|field| !field.is_null()).map(Field::to_text)
    }

    fn token(&self, which: usize) -> Option<Cow<'a, str>> {
        fly_tokens(self.subject?).map(|tokens| Cow::Borrowed(tokens[which]))
    }
}

/// `app`, `region` and `instance` of a subject `logs.<app>.<region>.<instance>`.
pub(super) fn fly_tokens(subject: &str) -> Option<[&str; 3]> {
    let mut tokens = subject.strip_prefix("logs.")?.splitn(3, '.');
    Some([tokens.next()?, tokens.next()?, tokens.next()?])
}
