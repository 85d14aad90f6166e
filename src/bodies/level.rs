//! The level that a line names, where the envelope has only the default.

use super::parse::find_object;
use super::regex;
use crate::event::{Level, Path, Segment, json};
use regex::Regex;
use std::sync::LazyLock;

/// Fly's level for whatever it does not know better.
pub(super) const DEFAULT: &str = "info";

/// A level as a field of an object, in the order in which they count.
pub(super) const FIELDS: [&[&str]; 5] =
    [&["level"], &["lvl"], &["severity"], &["log.level"], &["log", "level"]];

/// The words that mean a level wherever they stand in brackets or behind a `level=`.
macro_rules! words {
    () => {
        "trace|debug|info|notice|warning|warn|error|err|critical|crit|fatal|panic|alert|emergency|emerg|severe"
    };
}

/// `level=error` in a text. Numbers are left alone: `compression level=3` is no error.
pub(super) const PAIR: &str = concat!(
    r#"(?:^|[\s{(\[,;|])(?:level|lvl|severity)=["\x27]?(?i:(?P<word>"#,
    words!(),
    r#"))(?:["\x27\s,;)}\]|]|$)"#
);

/// A word where loggers put it: behind a time and names in brackets, by itself in capitals or in brackets.
pub(super) const START: &str = concat!(
    r"^(?:[DIWEF], )?(?:\x1b\[[0-9;]*m|[ \t0-9.,:/TZ+|-]|\[[^\[\]\n]{0,64}\])*?(?:\[(?:\x1b\[[0-9;]*m)*[ \t]*(?i:(?P<bracket>",
    words!(),
    r"))[ \t]*(?:\x1b\[[0-9;]*m)*\]|(?P<capitals>TRACE|DEBUG|INFO|NOTICE|WARN|WARNING|ERROR|ERR|CRITICAL|CRIT|FATAL|PANIC|ALERT|EMERGENCY|EMERG|SEVERE)(?:[ \t:,;|\]\x1b-]|$))"
);

/// A word in brackets anywhere in the first line.
pub(super) const BRACKET: &str =
    concat!(r"^[^\n]*?\[(?:\x1b\[[0-9;]*m)*[ \t]*(?i:(?P<word>", words!(), r"))[ \t]*(?:\x1b\[[0-9;]*m)*\]");

static PAIR_REGEX: LazyLock<Regex> = LazyLock::new(|| regex(PAIR));
static START_REGEX: LazyLock<Regex> = LazyLock::new(|| regex(START));
static BRACKET_REGEX: LazyLock<Regex> = LazyLock::new(|| regex(BRACKET));

/// Where the envelope has its level, the fields of a line that was lifted, and the message.
static LOOKUP: LazyLock<json::Lookup> = LazyLock::new(|| {
    let envelope: [&[&str]; 3] = [&["log"], &["log", "level"], &["message"]];
    // The line's own `log` has been put under `app`.
    let fields = FIELDS[..4].iter().copied().chain([&["app", "log", "level"][..]]);
    json::Lookup::new(envelope.into_iter().chain(fields).map(path))
});

/// The same fields in a line that is JSON.
static LINE_LOOKUP: LazyLock<json::Lookup> =
    LazyLock::new(|| json::Lookup::new(FIELDS.into_iter().map(path)));

fn path(names: &[&str]) -> Path {
    Path::from_segments(names.iter().map(|name| Segment::Field((*name).into())).collect())
}

/// The event with the level that its line names; `None` if it names none, or if the envelope has another than the
/// default.
pub(super) fn detect(text: &str) -> Option<String> {
    let mut found: [Option<&str>; 8] = [None; 8];
    LOOKUP.find(text, &mut found);
    let [log, known, message, fields @ ..] = found;
    if !known.is_none_or(|level| level == "null" || level == "\"info\"") {
        return None;
    }
    if !log.is_none_or(|log| log == "null" || log.starts_with('{')) {
        return None;
    }
    let level = fields.into_iter().flatten().find_map(of_field).or_else(|| {
        let raw = message?.strip_prefix('"')?.strip_suffix('"')?;
        of_line(&json::unescape(raw))
    })?;
    if known.is_some_and(|known| known.trim_matches('"') == level.as_str()) {
        return None;
    }
    let level = json::string(level.as_str());
    let log =
        json::replace(log.filter(|log| log.starts_with('{')).unwrap_or("{}"), &[("level", Some(level))]);
    Some(json::replace(text, &[("log", Some(log))]))
}

/// The level that a field holds: a word, or one or two digits.
fn of_field(json: &str) -> Option<Level> {
    let text = match json.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
        Some(inner) => json::unescape(inner),
        None => json.into(),
    };
    let is_number = text.len() <= 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { Level::from_number(text.parse().ok()?) } else { Level::from_word(&text) }
}

/// The level that a line names.
fn of_line(line: &str) -> Option<Level> {
    let bytes = line.as_bytes();
    let brace = memchr::memchr(b'{', bytes);
    if let Some(object) = brace.and_then(|_| find_object(line)) {
        let mut found: [Option<&str>; FIELDS.len()] = [None; FIELDS.len()];
        LINE_LOOKUP.find(object.object, &mut found);
        if let Some(level) = found.into_iter().flatten().find_map(of_field) {
            return Some(level);
        }
    }
    // To search is cheaper than to capture, and most lines name no level.
    let word = |regex: &Regex| {
        let captures = if regex.is_match(line) { regex.captures(line)? } else { return None };
        let word = captures.iter().skip(1).flatten().next()?;
        Level::from_word(word.as_str())
    };
    let has_pair = memchr::memchr(b'=', bytes).is_some();
    has_pair.then(|| word(&PAIR_REGEX)).flatten().or_else(|| {
        word(&START_REGEX).or_else(|| memchr::memchr(b'[', bytes).and_then(|_| word(&BRACKET_REGEX)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn detected(event: &Value) -> Option<Value> {
        detect(&event.to_string()).map(|text| serde_json::from_str(&text).unwrap())
    }

    #[track_caller]
    fn check(message: &str, expected: Option<&str>) {
        for log in [json!({"level": "info", "x": 1}), json!({}), Value::Null] {
            let event = json!({"log": log, "message": message});
            let level = detected(&event).map(|event| event["log"]["level"].as_str().unwrap().to_owned());
            let expected = expected.filter(|expected| *expected != "info" || log.get("level").is_none());
            assert_eq!(level.as_deref(), expected, "{message}");
        }
    }

    #[test]
    fn finds_the_level_of_a_line() {
        for (message, level) in [
            (r#"{"level":"error"}"#, "error"),
            (r#"{"level":50,"msg":"pino"}"#, "error"),
            (r#"{"lvl":"WARN"}"#, "warn"),
            (r#"{"severity":"CRITICAL"}"#, "critical"),
            (r#"{"log.level":"debug"}"#, "debug"),
            (r#"{"log":{"level":"debug"}}"#, "debug"),
            (r#"{"level":"blue","severity":"alert"}"#, "alert"),
            (r#"so: {"level":"\u0065rror"} it is"#, "error"),
            ("level=error msg=x", "error"),
            ("t=5 lvl=\"warn\" x", "warn"),
            ("severity=fatal", "critical"),
            ("[ERROR] x", "error"),
            ("[ warn ] x", "warn"),
            ("[\x1b[31merror\x1b[0m] x", "error"),
            ("[Sun Dec 04 04:47:44 2005] [notice] x", "notice"),
            ("2026/11/22 05:00:00 [warn] 7#7: x", "warn"),
            ("2026-11-22 05:00:00,123 ERROR x", "error"),
            ("2026-11-22T05:00:00.000Z  WARN app: x", "warn"),
            ("\x1b[2m2026-11-22T05:00:00Z\x1b[0m \x1b[31mERROR\x1b[0m app: x", "error"),
            ("05:00:00.123 [main] DEBUG com.example - x", "debug"),
            ("ERROR:root:x", "error"),
            ("WARNING: x", "warn"),
            ("FATAL", "critical"),
            ("E, [2026-11-22T05:00:00.1 #1] ERROR -- : x", "error"),
            ("worker 3 [ERROR] x", "error"),
            ("[INFO] ERROR", "info"),
        ] {
            check(message, Some(level));
        }
        for message in [
            "",
            "plain text",
            "an ERROR in the middle",
            "ERRORS: 5",
            "INFORMATION",
            "[errors] x",
            "compression level=3",
            "sublevel=error",
            "level=errors",
            r#"{"user":{"level":"error"}}"#,
            r#"{"level":123}"#,
            r#"{"level":3.5}"#,
            r#"{"level":null}"#,
            "first\n[error] second",
        ] {
            check(message, None);
        }
    }

    #[test]
    fn what_is_known_better_stays() {
        for log in [json!({"level": "warn"}), json!({"level": 1}), json!("text"), json!([1])] {
            assert_eq!(detected(&json!({"log": log, "message": "[ERROR]"})), None, "{log}");
        }
        assert_eq!(detected(&json!({"message": 1})), None);
        assert_eq!(detected(&json!({"message": {"level": "error"}})), None);
    }

    #[test]
    fn fields_of_the_event_come_before_its_message() {
        let event = json!({"level": 30, "log": {"level": null}, "message": "[ERROR]"});
        assert_eq!(detected(&event).unwrap()["log"], json!({"level": "info"}));
        let event = json!({"app": {"log": {"level": "warning"}}, "message": "[ERROR]"});
        assert_eq!(detected(&event).unwrap()["log"], json!({"level": "warn"}));
    }
}
