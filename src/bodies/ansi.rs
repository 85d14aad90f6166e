//! Colours, and other escape sequences for terminals.

use super::{raw_message, regex};
use crate::event::json;
use regex::Regex;
use std::sync::LazyLock;

/// ECMA-48: control sequences (`ESC [ ... m`), commands with a text of their own (`ESC ] ... BEL`), and short ones.
/// One that is cut off at the end of a line goes as well.
pub(super) const ANSI: &str =
    r"\x1b(?:\[[0-?]*[ -/]*(?:[@-~]|$)|\][^\x07\x1b]*(?:\x07|\x1b\\|$)|[ -/]*[0-Z\\^-~])";

static REGEX: LazyLock<Regex> = LazyLock::new(|| regex(ANSI));

/// What finds them in a text.
#[cfg(feature = "cli")]
pub(crate) fn escape_sequences() -> &'static Regex {
    &REGEX
}

/// The event with a message without them; `None` if there are none.
pub(super) fn strip(text: &str) -> Option<String> {
    let raw = raw_message(text)?;
    // In JSON, an escape character is escaped.
    memchr::memchr(b'\\', raw.as_bytes())?;
    let message = json::unescape(raw);
    memchr::memchr(0x1b, message.as_bytes())?;
    let stripped = REGEX.replace_all(&message, "");
    Some(json::replace(text, &[("message", Some(json::string(&stripped)))]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(message: &str, expected: &str) {
        let text = format!(r#"{{"message":{}}}"#, json::string(message));
        let stripped = strip(&text).unwrap_or(text);
        assert_eq!(stripped, format!(r#"{{"message":{}}}"#, json::string(expected)));
    }

    #[test]
    fn takes_colours_out() {
        check("plain \\ text", "plain \\ text");
        check("\x1b[32minfo\x1b[0m: \x1b[1;38;5;208mx\x1b[m", "info: x");
        check("\x1b]8;;http://a\x07link\x1b]8;;\x1b\\ \x1b(Bend\x1b[2K", "link end");
        check("cut off \x1b[3", "cut off ");
        check("[32m is no colour", "[32m is no colour");
        assert_eq!(strip(r#"{"message":1}"#), None);
        assert_eq!(strip(r#"{"a":"\u001b[0m"}"#), None);
    }
}
