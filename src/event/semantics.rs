//! Fields of an event, and those with a meaning, whatever they are called.

use super::{Level, Path, Segment, Timestamp, json, value_json};
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

    /// The field as text for people: a string without its quotes, anything else as JSON.
    pub fn to_text(self) -> Cow<'a, str> {
        self.as_str().unwrap_or_else(|| match self {
            Field::Json(text) => Cow::Borrowed(text),
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
#[derive(Debug)]
pub struct Semantics<'a> {
    pub(super) fields: [Option<Field<'a>>; KNOWN],
    pub(super) subject: Option<&'a str>,
    pub(super) received: Timestamp,
}

/// The names under which the meanings are looked for, in the order in which they count.
pub(super) static KNOWN_PATHS: LazyLock<[Path; KNOWN]> = LazyLock::new(|| {
    let nested = |names: &[&str]| {
        Path::from_segments(names.iter().map(|name| Segment::Field((*name).into())).collect())
    };
    [
        nested(&["timestamp"]),
        nested(&["@timestamp"]),
        nested(&["time"]),
        nested(&["ts"]),
        nested(&["log", "level"]),
        nested(&["level"]),
        nested(&["severity"]),
        nested(&["host"]),
        nested(&["message"]),
        nested(&["fly", "app", "name"]),
        nested(&["fly", "region"]),
        nested(&["fly", "app", "instance"]),
    ]
});
pub(super) const KNOWN: usize = 12;
pub(super) const TIME: Range<usize> = 0..4;
pub(super) const LEVEL: Range<usize> = 4..7;
pub(super) const HOST: Range<usize> = 7..8;
pub(super) const MESSAGE: Range<usize> = 8..9;
pub(super) const APP: Range<usize> = 9..10;
pub(super) const REGION: Range<usize> = 10..11;
pub(super) const INSTANCE: Range<usize> = 11..12;

impl<'a> Semantics<'a> {
    /// When the event happened: the first of `timestamp`, `@timestamp`, `time` and `ts` that holds
    /// RFC 3339 text or a count since the epoch; without one, the time of receipt.
    pub fn timestamp(&self) -> Timestamp {
        self.fields[TIME].iter().flatten().find_map(|field| field.as_timestamp()).unwrap_or(self.received)
    }

    /// How serious the event is: the first of `log.level`, `level` and `severity` that holds a word
    /// or number of a level.
    pub fn level(&self) -> Option<Level> {
        self.fields[LEVEL].iter().flatten().find_map(|field| field.level())
    }

    /// The host: `host`.
    pub fn host(&self) -> Option<Cow<'a, str>> {
        self.text(HOST)
    }

    /// The message: `message`, as JSON if it is not a string; `None` if it is missing or null.
    pub fn message(&self) -> Option<Cow<'a, str>> {
        self.text(MESSAGE)
    }

    /// The Fly app: `fly.app.name`, else the subject's second token.
    pub fn app(&self) -> Option<Cow<'a, str>> {
        self.text(APP).or_else(|| self.token(0))
    }

    /// The Fly region: `fly.region`, else the subject's third token.
    pub fn region(&self) -> Option<Cow<'a, str>> {
        self.text(REGION).or_else(|| self.token(1))
    }

    /// The Fly machine: `fly.app.instance`, else the rest of the subject.
    pub fn instance(&self) -> Option<Cow<'a, str>> {
        self.text(INSTANCE).or_else(|| self.token(2))
    }

    fn text(&self, which: Range<usize>) -> Option<Cow<'a, str>> {
        self.fields[which.start].filter(|field| !field.is_null()).map(Field::to_text)
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
