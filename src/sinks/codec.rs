//! Encodings and framings: Vector's `encoding` and `framing` options.

use crate::event::{Field, LEVEL, Level, LogEvent, Path, TIME, Timestamp, json};
use schemars::JsonSchema;
use serde::Deserialize;
use snafu::Snafu;
use std::borrow::Cow;
use vrl::value::Value;

/// What of an event is sent: `only_fields`, `except_fields` and `timestamp_format`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Transformer {
    /// Only these fields. Default: all.
    only_fields: Option<Vec<Path>>,
    /// All but these fields.
    except_fields: Option<Vec<Path>>,
    /// How the field `timestamp` is written. Default: as it is.
    timestamp_format: Option<TimestampFormat>,
}

/// The `encoding` table of a sink that lets one choose the codec.
#[derive(Clone, Debug, PartialEq, Deserialize, JsonSchema)]
#[serde(try_from = "EncodingTable")]
#[schemars(with = "EncodingTable")]
pub struct EncodingConfig {
    /// How an event is written.
    pub codec: Codec,
    /// What of it is.
    pub transformer: Transformer,
}

/// How one event becomes bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Codec {
    /// The object: as it came, or over several lines.
    Json {
        /// Over several lines.
        pretty: bool,
    },
    /// `key=value` pairs, nested keys joined by dots.
    Logfmt,
    /// The message alone; of an event without one, nothing.
    Text,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum TimestampFormat {
    /// `2026-11-22T05:06:07.5Z`.
    Rfc3339,
    /// Whole seconds since the epoch.
    Unix,
    /// Seconds since the epoch, with a fraction.
    UnixFloat,
    /// Milliseconds since the epoch.
    UnixMs,
    /// Nanoseconds since the epoch.
    UnixNs,
    /// Microseconds since the epoch.
    UnixUs,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct EncodingTable {
    /// How an event is written: `json`, the event as it is; `logfmt`, `key=value` pairs; `text` (or
    /// `raw_message`), its message alone.
    #[schemars(extend("enum" = ["json", "logfmt", "raw_message", "text"]))]
    codec: String,
    /// Options of the codec `json`.
    json: Option<JsonTable>,
    /// Only these fields. Default: all.
    only_fields: Option<Vec<Path>>,
    /// All but these fields.
    except_fields: Option<Vec<Path>>,
    /// How the field `timestamp` is written. Default: as it is.
    timestamp_format: Option<TimestampFormat>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct JsonTable {
    /// Whether it is written over several lines. Default: false.
    #[serde(default)]
    pretty: bool,
}

impl TryFrom<EncodingTable> for EncodingConfig {
    type Error = String;

    fn try_from(table: EncodingTable) -> Result<EncodingConfig, String> {
        let codec = match table.codec.as_str() {
            "json" => Codec::Json { pretty: table.json.is_some_and(|json| json.pretty) },
            "logfmt" => Codec::Logfmt,
            "text" | "raw_message" => Codec::Text,
            other => {
                return Err(format!(
                    "encoding.codec: `{other}` is unknown, expected one of `json`, `logfmt`, `raw_message`, `text`"
                ));
            }
        };
        let transformer = Transformer {
            only_fields: table.only_fields,
            except_fields: table.except_fields,
            timestamp_format: table.timestamp_format,
        };
        transformer.check()?;
        Ok(EncodingConfig { codec, transformer })
    }
}

impl EncodingConfig {
    /// This codec, for all of an event.
    pub fn new(codec: Codec) -> EncodingConfig {
        EncodingConfig { codec, transformer: Transformer::default() }
    }

    /// Appends the event.
    pub fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) {
        let event = self.transformer.apply(event);
        match self.codec {
            Codec::Json { pretty: false } => out.extend_from_slice(event.json().as_bytes()),
            Codec::Json { pretty: true } => {
                let value = event.into_owned().into_value();
                // Writing a tree into memory cannot fail.
                let _ = serde_json::to_writer_pretty(out, &value);
            }
            Codec::Logfmt => write_logfmt(&event.json(), out),
            Codec::Text => out.extend_from_slice(event.message().unwrap_or_default().as_bytes()),
        }
    }

    /// Whether an event is written as the JSON object that it is, whole.
    pub fn is_plain_json(&self) -> bool {
        self.codec == Codec::Json { pretty: false } && self.transformer == Transformer::default()
    }

    /// Whether only the message is written.
    pub const fn is_text(&self) -> bool {
        matches!(self.codec, Codec::Text)
    }
}

impl Transformer {
    /// Whether the options fit together.
    ///
    /// # Errors
    /// If a field is both wanted and unwanted.
    pub fn check(&self) -> Result<(), String> {
        let only = self.only_fields.iter().flatten();
        let both = only.clone().find(|path| self.except_fields.iter().flatten().any(|other| other == *path));
        match both {
            None => Ok(()),
            Some(path) => Err(format!(
                "encoding: `{}` is in only_fields and in except_fields; take it out of one",
                path
            )),
        }
    }

    /// The event with what is to be sent of it; the event itself if that is all.
    pub fn apply<'a>(&self, event: &'a LogEvent) -> Cow<'a, LogEvent> {
        if *self == Transformer::default() {
            return Cow::Borrowed(event);
        }
        let mut event = event.without_receipts();
        let time = event.get(&Path::root_field("timestamp")).is_some().then(|| event.timestamp());
        let value = event.value_mut();
        for path in self.except_fields.iter().flatten() {
            value.remove(&path.to_vrl(), true);
        }
        if let Some(only) = &self.only_fields {
            let mut kept = Value::Object(Default::default());
            for path in only {
                let path = path.to_vrl();
                if let Some(field) = value.remove(&path, false) {
                    kept.insert(&path, field);
                }
            }
            *value = kept;
        }
        if let (Some(format), Some(time), Value::Object(map)) = (self.timestamp_format, time, value)
            && let Some(field) = map.get_mut("timestamp")
        {
            *field = format.write(time);
        }
        Cow::Owned(event)
    }
}

impl TimestampFormat {
    fn write(self, time: Timestamp) -> Value {
        match self {
            TimestampFormat::Rfc3339 => Value::from(time.to_rfc3339()),
            TimestampFormat::Unix => Value::from(time.seconds()),
            TimestampFormat::UnixFloat => Value::from_f64_or_zero(time.nanos() as f64 / 1e9),
            TimestampFormat::UnixMs => Value::from(time.millis()),
            TimestampFormat::UnixUs => Value::from(time.micros()),
            TimestampFormat::UnixNs => Value::from(time.nanos()),
        }
    }
}

/// Appends the object as `key=value` pairs.
fn write_logfmt(object: &str, out: &mut Vec<u8>) {
    let start = out.len();
    json::flatten(object, ".", &mut |key, value| {
        if out.len() > start {
            out.push(b' ');
        }
        write_logfmt_text(&json::unescape(key), out);
        out.push(b'=');
        write_logfmt_text(&Field::Json(value).to_text(), out);
    });
}

fn write_logfmt_text(text: &str, out: &mut Vec<u8>) {
    let is_plain = !text.is_empty() && !text.contains(|c: char| c.is_whitespace() || c == '"' || c == '=');
    if is_plain {
        out.extend_from_slice(text.as_bytes());
        return;
    }
    out.push(b'"');
    for byte in text.bytes() {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            _ => out.push(byte),
        }
    }
    out.push(b'"');
}

// === framing ===

/// How the entries of a body are joined.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Framing {
    /// Before the first entry.
    pub prefix: Cow<'static, [u8]>,
    /// Between two entries.
    pub separator: Cow<'static, [u8]>,
    /// After the last entry.
    pub suffix: Cow<'static, [u8]>,
}

impl Framing {
    const fn constant(prefix: &'static [u8], separator: &'static [u8], suffix: &'static [u8]) -> Framing {
        Framing {
            prefix: Cow::Borrowed(prefix),
            separator: Cow::Borrowed(separator),
            suffix: Cow::Borrowed(suffix),
        }
    }

    /// `[a,b]`
    pub const JSON_ARRAY: Framing = Framing::constant(b"[", b",", b"]");
    /// One a line, each line ended.
    pub const NEWLINE_DELIMITED: Framing = Framing::constant(b"", b"\n", b"\n");
    /// One a line, the last line not ended: how Vector's HTTP sinks send JSON.
    pub const NEWLINE_SEPARATED: Framing = Framing::constant(b"", b"\n", b"");
    /// Nothing between them.
    pub const CONCATENATED: Framing = Framing::constant(b"", b"", b"");

    /// The framing with more around it.
    #[must_use]
    pub fn wrapped(self, prefix: &str, suffix: &str) -> Framing {
        Framing {
            prefix: [prefix.as_bytes(), &self.prefix].concat().into(),
            separator: self.separator,
            suffix: [&self.suffix, suffix.as_bytes()].concat().into(),
        }
    }
}

/// The `framing` table.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "FramingTable")]
#[schemars(with = "FramingTable")]
#[non_exhaustive]
pub enum FramingConfig {
    /// Nothing between the events.
    Bytes,
    /// A line for each.
    NewlineDelimited,
    /// A character between them.
    CharacterDelimited(u8),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FramingTable {
    /// What stands between events: nothing, a line break, or a character.
    #[schemars(extend("enum" = ["bytes", "character_delimited", "newline_delimited"]))]
    method: String,
    /// Options of the method `character_delimited`.
    character_delimited: Option<CharacterDelimited>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct CharacterDelimited {
    /// One ASCII character.
    #[schemars(length(min = 1, max = 1))]
    delimiter: String,
}

impl TryFrom<FramingTable> for FramingConfig {
    type Error = String;

    fn try_from(table: FramingTable) -> Result<FramingConfig, String> {
        match (table.method.as_str(), table.character_delimited) {
            ("bytes", None) => Ok(FramingConfig::Bytes),
            ("newline_delimited", None) => Ok(FramingConfig::NewlineDelimited),
            ("character_delimited", Some(options)) => match options.delimiter.as_bytes() {
                [delimiter] => Ok(FramingConfig::CharacterDelimited(*delimiter)),
                _ => Err("framing.character_delimited.delimiter: expected one ASCII character".into()),
            },
            ("character_delimited", None) => {
                Err("framing.character_delimited.delimiter: missing; expected one ASCII character".into())
            }
            ("bytes" | "newline_delimited", Some(_)) => {
                Err("framing.character_delimited: only for the method `character_delimited`; take it out"
                    .into())
            }
            (other, _) => Err(format!(
                "framing.method: `{other}` is unknown, expected one of `bytes`, `character_delimited`, `newline_delimited`"
            )),
        }
    }
}

impl FramingConfig {
    /// What stands after each event in a stream.
    pub fn terminator(&self) -> &[u8] {
        match self {
            FramingConfig::Bytes => b"",
            FramingConfig::NewlineDelimited => b"\n",
            FramingConfig::CharacterDelimited(delimiter) => std::slice::from_ref(delimiter),
        }
    }
}

/// An event cannot be encoded.
#[derive(Debug, Snafu)]
#[snafu(display("{reason}"))]
#[non_exhaustive]
pub struct EncodeError {
    /// Why.
    pub reason: String,
}

/// Appends an integer in decimal digits.
pub fn write_integer(number: i64, out: &mut Vec<u8>) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// Appends a time as decimal seconds since the epoch, with as many digits as it has. A float would have lost
/// the nanoseconds.
pub fn write_seconds(time: Timestamp, out: &mut Vec<u8>) {
    const NANOS: u64 = 1_000_000_000;
    if time.nanos() < 0 {
        out.push(b'-');
    }
    let nanos = time.nanos().unsigned_abs();
    let text = format!("{}.{:09}", nanos / NANOS, nanos % NANOS);
    out.extend_from_slice(text.trim_end_matches('0').trim_end_matches('.').as_bytes());
}

/// A member that a destination wants, and what of an event belongs there.
#[derive(Clone, Copy, Debug)]
pub struct Missing {
    name: &'static str,
    /// What will do as well.
    or: Option<&'static str>,
    meaning: Meaning,
}

#[derive(Clone, Copy, Debug)]
enum Meaning {
    Time,
    Level(fn(Level) -> &'static str),
    Host,
    App,
}

impl Missing {
    /// The time, as RFC 3339.
    pub const fn time(name: &'static str) -> Missing {
        Missing { name, or: None, meaning: Meaning::Time }
    }

    /// The same, but not for an object that has a member of this other name.
    #[must_use]
    pub const fn or(self, other: &'static str) -> Missing {
        Missing { or: Some(other), ..self }
    }

    /// The level, in the usual words.
    pub const fn level(name: &'static str) -> Missing {
        Missing::level_as(name, Level::as_str)
    }

    /// The level, in the vendor's words.
    pub const fn level_as(name: &'static str, word: fn(Level) -> &'static str) -> Missing {
        Missing { name, or: None, meaning: Meaning::Level(word) }
    }

    /// The host, else the Fly machine.
    pub const fn host(name: &'static str) -> Missing {
        Missing { name, or: None, meaning: Meaning::Host }
    }

    /// The Fly app.
    pub const fn app(name: &'static str) -> Missing {
        Missing { name, or: None, meaning: Meaning::App }
    }
}

/// Appends the object `text`, which is the event or what of it is sent, with each of these members that it
/// lacks and the event knows.
pub fn write_with_missing<const N: usize>(
    event: &LogEvent,
    text: &str,
    members: &[Missing; N],
    out: &mut Vec<u8>,
) {
    let mut has = [false; N];
    let mut object = Splice::open_with(out, text, |name, _| {
        for (has, member) in has.iter_mut().zip(members) {
            *has |= member.name == name || member.or.is_some_and(|or| or == name);
        }
        false
    });
    let lacking = members.iter().zip(has).filter(|(_, has)| !has).map(|(member, _)| *member);
    let known = match (lacking.clone().next(), lacking.clone().nth(1)) {
        (None, _) => return object.close(),
        // One meaning is found sooner than all of them.
        (Some(Missing { meaning: Meaning::Time, .. }), None) => event.semantics_of(&TIME),
        (Some(Missing { meaning: Meaning::Level(_), .. }), None) => event.semantics_of(&LEVEL),
        _ => event.semantics(),
    };
    for Missing { name, meaning, .. } in lacking {
        let value = match meaning {
            Meaning::Time => Some(known.timestamp().to_rfc3339().into()),
            Meaning::Level(word) => known.level().map(|level| word(level).into()),
            Meaning::Host => known.host().or_else(|| known.instance()),
            Meaning::App => known.app(),
        };
        if let Some(value) = value {
            object.string(name, &value);
        }
    }
    object.close();
}

/// The object's members but for some, and then others: how a sink adds what its vendor wants without
/// building a tree.
pub struct Splice<'a> {
    out: &'a mut Vec<u8>,
    is_first: bool,
}

impl<'a> Splice<'a> {
    /// Opens an object in `out`.
    pub fn open(out: &'a mut Vec<u8>) -> Splice<'a> {
        out.push(b'{');
        Splice { out, is_first: true }
    }

    /// Opens an object in `out` with the members of another, but for the unwanted: `is_unwanted` sees the
    /// name and the value's JSON of each.
    pub fn open_with<'t>(
        out: &'a mut Vec<u8>,
        object: &'t str,
        is_unwanted: impl FnMut(&str, &'t str) -> bool,
    ) -> Splice<'a> {
        json::without(object, is_unwanted, &mut |piece| out.extend_from_slice(piece.as_bytes()));
        out.pop();
        let is_first = out.last() == Some(&b'{');
        Splice { out, is_first }
    }

    /// Adds a key, which is written as it is between quotes, and gives the place for its value.
    pub fn key(&mut self, key: &str) -> &mut Vec<u8> {
        self.out.extend_from_slice(if self.is_first { b"\"" } else { b",\"" });
        self.is_first = false;
        self.out.extend_from_slice(key.as_bytes());
        self.out.extend_from_slice(b"\":");
        self.out
    }

    /// Adds a string.
    pub fn string(&mut self, key: &str, text: &str) {
        json::write_string(text, self.key(key));
    }

    /// Closes the object.
    pub fn close(self) {
        self.out.push(b'}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::LogEvent;

    fn event(text: &str) -> LogEvent {
        LogEvent::from_json(bytes::Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    fn config(text: &str) -> Result<EncodingConfig, String> {
        #[derive(Deserialize)]
        struct Options {
            encoding: EncodingConfig,
        }
        let text = format!("[encoding]\n{text}");
        toml::from_str::<Options>(&text)
            .map(|options| options.encoding)
            .map_err(|error| error.message().to_owned())
    }

    #[track_caller]
    fn check(options: &str, text: &str, expected: &str) {
        let mut out = Vec::new();
        config(options).unwrap().encode(&event(text), &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn encodes() {
        check("codec='json'", r#" {"b":1, "a":[2]} "#, r#"{"b":1, "a":[2]}"#);
        check("codec='json'\njson.pretty=true", r#"{"a":1}"#, "{\n  \"a\": 1\n}");
        check("codec='text'", r#"{"message":"a\nb"}"#, "a\nb");
        check("codec='text'", r#"{"a":1}"#, "");
        check("codec='raw_message'", r#"{"message":{"a":1}}"#, r#"{"a":1}"#);
        check(
            "codec='logfmt'",
            r#"{"a":{"b":1,"c":"x y"},"l":[true,"q\"=\n"],"e":"","o":{},"n":null,"t":"no\ttab"}"#,
            "a.b=1 a.c=\"x y\" l.0=true l.1=\"q\\\"=\\n\" e=\"\" o={} n=null t=\"no\ttab\"",
        );
    }

    #[test]
    fn sends_only_what_is_wanted() {
        let text = r#"{"a":{"b":1,"c":2},"d":3,"timestamp":"2026-11-22T05:00:00.5Z"}"#;
        check("codec='json'\nonly_fields=['a.b','d','none']", text, r#"{"a":{"b":1},"d":3}"#);
        check("codec='json'\nexcept_fields=['a.b','a.c','timestamp']", text, r#"{"d":3}"#);
        check(
            "codec='json'\nonly_fields=['timestamp']\ntimestamp_format='unix_ms'",
            text,
            r#"{"timestamp":1795323600500}"#,
        );
        check(
            "codec='json'\nonly_fields=['timestamp']\ntimestamp_format='unix_float'",
            text,
            r#"{"timestamp":1795323600.5}"#,
        );
    }

    #[track_caller]
    fn check_missing<const N: usize>(members: [Missing; N], text: &str, expected: &str) {
        let event = event(text).with_received(Timestamp::from_nanos(0));
        let mut out = b"before".to_vec();
        write_with_missing(&event, text, &members, &mut out);
        assert_eq!(String::from_utf8(out).unwrap(), format!("before{expected}"));
    }

    #[test]
    fn adds_what_is_missing() {
        let all = [Missing::time("t"), Missing::level("level"), Missing::host("h"), Missing::app("a")];
        let open = r#"{"timestamp":"2026-11-22T05:00:00Z","log":{"level":"warning"},"host":"x", "fly":{"app":{"name":"web"}}"#;
        let whole = format!("{open}}}");
        let time = r#""t":"2026-11-22T05:00:00.000000000Z""#;
        check_missing(all, &whole, &format!(r#"{open},{time},"level":"warn","h":"x","a":"web"}}"#));
        check_missing([all[0]], &whole, &format!("{open},{time}}}"));
        check_missing([Missing::level_as("l", |_| "LOUD")], &whole, &format!(r#"{open},"l":"LOUD"}}"#));
        check_missing([Missing::host("host"), Missing::time("timestamp")], &whole, &whole);
        let received = r#""t":"1970-01-01T00:00:00.000000000Z""#;
        check_missing(all, "{}", &format!("{{{received}}}"));
        let own = r#"{"\u0074":1,"level":null, "h":0}"#;
        check_missing(all, own, own);
        check_missing([Missing::time("t").or("@t")], r#"{"@t":1}"#, r#"{"@t":1}"#);
        let machine = r#"{"fly":{"app":{"instance":"i"}}"#;
        check_missing(all, &format!("{machine}}}"), &format!(r#"{machine},{received},"h":"i"}}"#));
    }

    #[test]
    fn writes_seconds() {
        for (nanos, expected) in [
            (0, "0"),
            (1_795_323_600_000_137_000, "1795323600.000137"),
            (1_795_323_600_500_000_001, "1795323600.500000001"),
            (1_795_323_600_000_000_000, "1795323600"),
            (-500_000_000, "-0.5"),
            (i64::MIN, "-9223372036.854775808"),
        ] {
            let mut out = Vec::new();
            write_seconds(Timestamp::from_nanos(nanos), &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), expected);
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (options, words) in [
            ("codec='protobuf'", "`json`, `logfmt`"),
            ("", "missing field `codec`"),
            ("codec='json'\nonly_fields=['a']\nexcept_fields=['a']", "in only_fields and in except_fields"),
            ("codec='json'\nonly_fields=['a b']", "not a field path"),
            ("codec='json'\ntimestamp_format='iso'", "unix_ms"),
            ("codec='json'\npretty=true", "unknown field `pretty`"),
        ] {
            let error = config(options).unwrap_err();
            assert!(error.contains(words), "{options}: {error}");
        }
    }
}
