//! An event as a line for people. What an application logs must not be able to command the terminal, or to look like
//! another line.

use crate::bodies::escape_sequences;
use crate::event::{Level, LogEvent, Semantics};
use crate::redact::is_command;
use std::borrow::Cow;
use std::fmt::Write;

const RESET: &str = "\x1b[0m";
const DIM: &str = "\x1b[2m";
const CYAN: &str = "\x1b[36m";
/// The width of a level, such as ` [error]`; those that are longer are rare.
const LEVEL_WIDTH: usize = 8;

/// `2026-11-22T10:00:00.123Z web[1a2b] ord [info] message`, without what the event does not have.
pub(super) fn text(event: &LogEvent, meaning: &Semantics<'_>, has_colours: bool, out: &mut String) {
    let paint = |out: &mut String, colour: &str, text: &str| {
        if has_colours {
            let _ = write!(out, "{colour}{text}{RESET}");
        } else {
            out.push_str(text);
        }
    };
    paint(out, DIM, &millis(&meaning.timestamp().to_rfc3339()));
    let origin = meaning.app().or_else(|| meaning.host());
    let mut name = clean(origin.as_deref().or(event.subject()).unwrap_or_default(), false);
    if let Some(instance) = meaning.instance().filter(|instance| !instance.is_empty()) {
        name = format!("{name}[{}]", clean(&instance, false));
    }
    if !name.is_empty() {
        out.push(' ');
        paint(out, CYAN, &name);
    }
    if let Some(region) = meaning.region().filter(|region| !region.is_empty()) {
        out.push(' ');
        out.push_str(&clean(&region, false));
    }
    let width = meaning.level().map_or(0, |level| {
        out.push_str(" [");
        paint(out, colour(level), level.as_str());
        out.push(']');
        level.as_str().len() + 3
    });
    // The messages stand below one another, with a level or without.
    out.extend(std::iter::repeat_n(' ', LEVEL_WIDTH.saturating_sub(width) + 1));
    let message = meaning.message().unwrap_or_else(|| event.json());
    // Most applications end a line with a line break.
    out.push_str(&clean(message.trim_end_matches(['\n', '\r']), has_colours));
    out.push('\n');
}

/// The event as JSON, a line; what JSON allows between its values may be a line break.
pub(super) fn json(event: &LogEvent, out: &mut String) {
    for character in event.json().chars() {
        match character {
            '\n' | '\r' => out.push(' '),
            '\t' => out.push('\t'),
            // Such a character can only be in a string, where this means the same.
            character if is_command(character) => {
                let _ = write!(out, "\\u{:04x}", u32::from(character));
            }
            character => out.push(character),
        }
    }
    out.push('\n');
}

fn colour(level: Level) -> &'static str {
    match level {
        Level::Trace | Level::Debug => "\x1b[90m",
        Level::Info => "\x1b[32m",
        Level::Notice => "\x1b[34m",
        Level::Warn => "\x1b[33m",
        Level::Error => "\x1b[31m",
        Level::Critical | Level::Alert | Level::Emergency => "\x1b[1;31m",
    }
}

/// The time without what is finer than milliseconds.
fn millis(time: &str) -> Cow<'_, str> {
    match time.split_once('.') {
        Some((seconds, rest)) => {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            Cow::Owned(format!("{seconds}.{}{}", &rest[..digits.min(3)], &rest[digits..]))
        }
        None => Cow::Borrowed(time),
    }
}

/// The text without escape sequences for terminals.
pub(super) fn without_escapes(text: &str) -> Cow<'_, str> {
    escape_sequences().replace_all(text, "")
}

/// The text with its control characters escaped, but for tabs. Escape sequences are taken out; colours may stay.
fn clean(text: &str, keeps_colours: bool) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut end, mut is_coloured) = (0, false);
    for found in escape_sequences().find_iter(text) {
        push_escaped(&text[end..found.start()], &mut out);
        end = found.end();
        if keeps_colours && is_colour(found.as_str()) {
            out.push_str(found.as_str());
            is_coloured = true;
        }
    }
    push_escaped(&text[end..], &mut out);
    if is_coloured {
        out.push_str(RESET);
    }
    out
}

/// Whether an escape sequence does no more than choose a colour or a weight.
fn is_colour(sequence: &str) -> bool {
    let inner = sequence.strip_prefix("\x1b[").and_then(|rest| rest.strip_suffix('m'));
    inner.is_some_and(|inner| inner.bytes().all(|byte| byte.is_ascii_digit() || byte == b';' || byte == b':'))
}

fn push_escaped(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\t' => out.push('\t'),
            character if is_command(character) => out.extend(character.escape_default()),
            character => out.push(character),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;
    use bytes::Bytes;

    fn event(text: &str) -> LogEvent {
        LogEvent::from_json(Bytes::copy_from_slice(text.as_bytes())).unwrap()
    }

    #[track_caller]
    fn check(event: &LogEvent, has_colours: bool, expected: &str) {
        let mut out = String::new();
        text(event, &event.semantics(), has_colours, &mut out);
        assert_eq!(out, expected);
    }

    #[test]
    fn a_line_has_time_origin_level_and_message() {
        let fly = r#"{"fly":{"app":{"name":"web","instance":"1a"},"region":"ord"},"log":{"level":"warn"},"message":"a\tb","timestamp":"2026-11-22T10:00:00.123456789Z"}"#;
        check(&event(fly), false, "2026-11-22T10:00:00.123Z web[1a] ord [warn]  a\tb\n");
        check(
            &event(fly),
            true,
            "\x1b[2m2026-11-22T10:00:00.123Z\x1b[0m \x1b[36mweb[1a]\x1b[0m ord [\x1b[33mwarn\x1b[0m]  a\tb\n",
        );
        let plain = LogEvent::from_text(b"no json\n", Some("other.subject"), Timestamp::from_nanos(0));
        check(
            &plain.with_subject("other.subject".into()),
            false,
            "1970-01-01T00:00:00.000Z other.subject         no json\n",
        );
        let bare = event(r#"{"a":1,"ts":"1970-01-01T00:00:00Z"}"#);
        check(&bare, false, "1970-01-01T00:00:00.000Z         {\"a\":1,\"ts\":\"1970-01-01T00:00:00Z\"}\n");
    }

    #[test]
    fn no_event_commands_the_terminal_or_looks_like_two() {
        for (message, plain, coloured) in [
            ("\x1b[31mred\x1b[0m", "red", "\x1b[31mred\x1b[0m\x1b[0m"),
            ("\x1b[31mred", "red", "\x1b[31mred\x1b[0m"),
            ("\x1b]0;title\x07x\x1b[2J\x1b[1;1Hy", "xy", "xy"),
            ("a\nb\r\n", "a\\nb", "a\\nb"),
            (
                "\x08\x7f\u{9b}31m\u{202e}",
                "\\u{8}\\u{7f}\\u{9b}31m\\u{202e}",
                "\\u{8}\\u{7f}\\u{9b}31m\\u{202e}",
            ),
            ("\x1b", "\\u{1b}", "\\u{1b}"),
            ("\x1b[?25h\x1b[>4;1m", "", ""),
            ("ok ✓ é", "ok ✓ é", "ok ✓ é"),
        ] {
            let cleaned = |colours| clean(message.trim_end_matches(['\n', '\r']), colours);
            assert_eq!((cleaned(false).as_str(), cleaned(true).as_str()), (plain, coloured), "{message:?}");
        }
        let mean = event(
            "{\"message\":\"x\",\"fly\":{\"app\":{\"name\":\"a\\u001b[2Jb\",\"instance\":\"\\n\"},\"region\":\"\\u0007\"},\"ts\":\"1970-01-01T00:00:00Z\"}",
        );
        check(&mean, false, "1970-01-01T00:00:00.000Z ab[\\n] \\u{7}         x\n");
    }

    #[test]
    fn json_is_one_line_that_means_the_same() {
        let text = "{\"a\":\n \"\u{9b}\u{7f}\u{202e}é\",\r\n\t\"b\":1}";
        let mut line = String::new();
        json(&event(text), &mut line);
        assert_eq!(line, "{\"a\":  \"\\u009b\\u007f\\u202eé\",  \t\"b\":1}\n");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(value(&line), value(text));
    }
}
