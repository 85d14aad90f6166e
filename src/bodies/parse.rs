//! The application's own structure in the message: JSON and logfmt.

use super::{Object, RESERVED, raw_message, regex};
use crate::event::json;
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use std::borrow::Cow;
use std::sync::LazyLock;

/// What is looked for in a message, to be lifted into the event.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum LogParse {
    /// Nothing.
    #[default]
    Off,
    /// A JSON object; text may stand before or behind it.
    Json,
    /// logfmt: `level=info msg="so it goes"`, if the whole line is.
    Logfmt,
    /// A JSON object, else logfmt.
    Auto,
}

impl LogParse {
    /// All of them.
    pub const ALL: &'static [LogParse] = &[LogParse::Off, LogParse::Json, LogParse::Logfmt, LogParse::Auto];

    /// The word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            LogParse::Off => "off",
            LogParse::Json => "json",
            LogParse::Logfmt => "logfmt",
            LogParse::Auto => "auto",
        }
    }

    pub(super) const fn has_json(self) -> bool {
        matches!(self, LogParse::Json | LogParse::Auto)
    }

    pub(super) const fn has_logfmt(self) -> bool {
        matches!(self, LogParse::Logfmt | LogParse::Auto)
    }
}

/// An object in a message: from the first brace before a quote up to the last brace. [`find_object`] is the same.
pub(super) const OBJECT: &str = r#"(?s)^(?P<before>.*?)(?P<json>\{[ \t\r\n]*".*\})(?P<after>[^}]*)$"#;

/// A line that is logfmt: two pairs or more, and nothing else.
pub(super) const LOGFMT: &str = r#"^\s*[A-Za-z_@][A-Za-z0-9_@./-]*=(?:"(?:[^"\\]|\\.)*"|[^\s"]*)(?:\s+[A-Za-z_@][A-Za-z0-9_@./-]*=(?:"(?:[^"\\]|\\.)*"|[^\s"]*))+\s*$"#;

/// One of its pairs.
pub(super) const PAIR: &str = r#"(?P<key>[A-Za-z_@][A-Za-z0-9_@./-]*)=(?P<value>"(?:[^"\\]|\\.)*"|[^\s"]*)"#;

static LOGFMT_REGEX: LazyLock<Regex> = LazyLock::new(|| regex(LOGFMT));
static PAIR_REGEX: LazyLock<Regex> = LazyLock::new(|| regex(PAIR));

/// The event with the members of what its message holds; `None` if that is not what is looked for.
///
/// The message is then the text around the object, else the object's own `message`, else its `msg`. What would
/// overwrite a field of Fly's, or that text, comes to stand under `app`.
pub(super) fn lift(text: &str, mode: LogParse) -> Option<String> {
    let raw = raw_message(text)?;
    let may_be_json = mode.has_json() && memchr::memchr(b'{', raw.as_bytes()).is_some();
    let may_be_logfmt = mode.has_logfmt() && memchr::memchr_iter(b'=', raw.as_bytes()).nth(1).is_some();
    if !may_be_json && !may_be_logfmt {
        return None;
    }
    let message = json::unescape(raw);
    if may_be_json && let Some(found) = find_object(&message) {
        return merge(text, found.object, &found.text());
    }
    if may_be_logfmt && let Some(object) = logfmt(&message) {
        return merge(text, &object, "");
    }
    None
}

/// An object in a line.
pub(super) struct Found<'a> {
    pub(super) before: &'a str,
    pub(super) object: &'a str,
    pub(super) after: &'a str,
}

impl<'a> Found<'a> {
    /// The text around it.
    fn text(&self) -> Cow<'a, str> {
        match (self.before.trim(), self.after.trim()) {
            (before, "") => before.into(),
            ("", after) => after.into(),
            (before, after) => format!("{before} {after}").into(),
        }
    }
}

/// The object in a line, from the first brace before a quote up to the last brace, if that is one.
pub(super) fn find_object(line: &str) -> Option<Found<'_>> {
    let bytes = line.as_bytes();
    let end = memchr::memrchr(b'}', bytes)? + 1;
    let is_space = |byte: &&u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let is_start = |at: &usize| bytes[*at + 1..].iter().find(|byte| !is_space(byte)) == Some(&b'"');
    let start = memchr::memchr_iter(b'{', bytes).find(is_start).filter(|start| *start < end)?;
    let object = &line[start..end];
    json::is_object(object).then(|| Found { before: &line[..start], object, after: &line[end..] })
}

/// The object that a line of logfmt stands for: all its values are strings.
fn logfmt(line: &str) -> Option<String> {
    if !LOGFMT_REGEX.is_match(line) {
        return None;
    }
    let mut object = Object::with_capacity(line.len() * 2);
    for pair in PAIR_REGEX.captures_iter(line) {
        let value = &pair["value"];
        // Quoted as in JSON; with what JSON does not know, it stays as it is written.
        let inner = value.strip_prefix('"').map(|_| serde_json::from_str::<String>(value));
        let value = inner.and_then(Result::ok).map_or(Cow::Borrowed(value), Cow::Owned);
        object.push_name(&pair["key"], &json::string(&value));
    }
    Some(object.end())
}

/// The event `text` with the members of `object`, and with `line` as its message, if there is any.
fn merge(text: &str, object: &str, line: &str) -> Option<String> {
    let is_reserved = |key: &str| {
        RESERVED.iter().any(|name| json::key_is(key, name))
            || !line.is_empty() && json::key_is(key, "message")
    };
    let has_clash = json::members(object).any(|(key, _)| is_reserved(key));
    // The field that takes what clashes must not be overwritten either.
    let goes_below = |key: &str| has_clash && (is_reserved(key) || json::key_is(key, "app"));

    let mut names: Vec<_> = json::members(object).map(|(key, _)| json::unescape(key)).collect();
    names.sort_unstable();
    let is_in_object = |name: &str| names.binary_search_by(|other| (**other).cmp(name)).is_ok();
    let is_overwritten = |key: &str| {
        json::key_is(key, "message")
            || has_clash && json::key_is(key, "app")
            || !goes_below(key) && is_in_object(&json::unescape(key))
    };

    let mut out = Object::with_capacity(text.len() + object.len());
    json::members(text).filter(|(key, _)| !is_overwritten(key)).for_each(|(key, value)| out.push(key, value));
    if !line.is_empty() {
        out.push("message", &json::string(line));
    } else if !is_in_object("message")
        && let Some((_, msg)) = json::members(object).filter(|(key, _)| json::key_is(key, "msg")).last()
        && msg.starts_with('"')
    {
        out.push("message", msg);
    }
    json::members(object).filter(|(key, _)| !goes_below(key)).for_each(|(key, value)| out.push(key, value));
    if !has_clash {
        return Some(out.end());
    }
    let mut below = Object::with_capacity(object.len());
    json::members(object).filter(|(key, _)| goes_below(key)).for_each(|(key, value)| below.push(key, value));
    out.push("app", &below.end());
    let merged = out.end();
    // One level further down, it may be deeper than an event can be.
    json::is_object(&merged).then_some(merged)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[track_caller]
    fn check(mode: LogParse, message: &str, expected: Option<Value>) {
        let event = json!({"fly": {"region": "ord"}, "host": "h", "level": "old", "message": message});
        let lifted = lift(&event.to_string(), mode).map(|text| serde_json::from_str::<Value>(&text).unwrap());
        let expected = expected.map(|mut expected| {
            for (key, value) in event.as_object().unwrap() {
                if key != "message" && expected.get(key).is_none() {
                    expected[key] = value.clone();
                }
            }
            expected
        });
        assert_eq!(lifted, expected, "{message}");
    }

    #[test]
    fn lifts_json() {
        use LogParse::{Auto, Json, Off};
        for mode in [Json, Auto] {
            check(mode, r#"{"level":"warn","a":1}"#, Some(json!({"level": "warn", "a": 1})));
            check(mode, r#" { "message" : null } "#, Some(json!({"message": null})));
            check(mode, r#"{"msg":"m"}"#, Some(json!({"message": "m", "msg": "m"})));
            check(mode, r#"{"msg":1}"#, Some(json!({"msg": 1})));
            check(mode, r#"{"msg":"a","message":"b"}"#, Some(json!({"message": "b", "msg": "a"})));
            check(mode, r#"at 5: {"a":"b"}"#, Some(json!({"message": "at 5:", "a": "b"})));
            check(mode, r#"{"a":"}"} and on"#, Some(json!({"message": "and on", "a": "}"})));
            check(mode, r#"GET /{id}: {"a":1} ok"#, Some(json!({"message": "GET /{id}: ok", "a": 1})));
            for line in [
                "text",
                "",
                "{}",
                r#"{"a":1"#,
                r#"{"a":1}}"#,
                "[1]",
                "5",
                r#""s""#,
                r#"{"a":1} {"b":2}"#,
                "} {",
                "} {\"",
                "{\"",
            ] {
                check(mode, line, None);
            }
        }
        check(Off, r#"{"a":1}"#, None);
    }

    #[test]
    fn what_is_flys_stays_and_a_clash_lands_under_app() {
        use LogParse::Json;
        check(
            Json,
            r#"{"host":"x","fly":1,"timestamp":2,"log":{"level":"a"},"event":null,"level":"new"}"#,
            Some(
                json!({"level": "new", "app": {"host": "x", "fly": 1, "timestamp": 2, "log": {"level": "a"}, "event": null}}),
            ),
        );
        check(Json, r#"{"app":"x"}"#, Some(json!({"app": "x"})));
        check(Json, r#"{"app":"x","host":"y"}"#, Some(json!({"app": {"app": "x", "host": "y"}})));
        check(Json, r#"t {"message":"m"}"#, Some(json!({"message": "t", "app": {"message": "m"}})));
        check(Json, r#"t {"\u006dessage":"m"}"#, Some(json!({"message": "t", "app": {"message": "m"}})));
        check(Json, r#"{"\u0068ost":"m","a":1,"a":2}"#, Some(json!({"a": 2, "app": {"host": "m"}})));
    }

    #[test]
    fn an_object_as_deep_as_one_can_be_is_lifted_unless_it_would_be_deeper() {
        let nested = |key: &str| format!("{{\"{key}\":{}1{}}}", "[".repeat(126), "]".repeat(126));
        let lifted = |key: &str| lift(&json!({"message": nested(key)}).to_string(), LogParse::Json).is_some();
        assert!(lifted("a"));
        assert!(!lifted("host"));
    }

    #[test]
    fn lifts_logfmt() {
        use LogParse::{Auto, Json, Logfmt};
        for mode in [Logfmt, Auto] {
            check(
                mode,
                r#"level=warn msg="a \"b\" c" path=/x?y=z empty= n=5"#,
                Some(
                    json!({"level": "warn", "message": "a \"b\" c", "msg": "a \"b\" c", "path": "/x?y=z", "empty": "", "n": "5"}),
                ),
            );
            check(mode, r#"host=x a="\q""#, Some(json!({"app": {"host": "x"}, "a": "\"\\q\""})));
            for line in ["a=1", "hello a=1 b=2", "a=1 b=2 c", "1=2 3=4", "a=\"b c=d", "a = 1, b = 2"] {
                check(mode, line, None);
            }
        }
        check(Json, "a=1 b=2", None);
        check(Auto, r#"a=1 b={"c":2}"#, Some(json!({"message": "a=1 b=", "c": 2})));
    }
}
