//! `port = ${PORT}`: in Vector, whose references are resolved before the text is parsed, no quotes are
//! needed. Here a reference outside of strings and comments is replaced by a string of the same length, so
//! that every place stays what it is, and known by its place.

use super::MAX_DEPTH;
use crate::config::interpolate::reference_len;
use std::collections::BTreeMap;
use std::ops::Range;

/// The text without bare references, and those references by where they begin.
pub(super) struct Quoted {
    pub text: String,
    pub references: BTreeMap<usize, Range<usize>>,
    /// Where the brackets or the dots of a key first go deeper than [`MAX_DEPTH`]: parsers that go on after
    /// a mistake take very long for such a text.
    pub too_deep: Option<usize>,
}

/// How the strings and comments of a format look.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Syntax {
    /// Four kinds of strings, and comments.
    Toml,
    /// One kind of string.
    Json,
    /// Two kinds of strings, and comments. Only between brackets does a reference need quotes.
    Yaml,
}

/// Replaces the bare references.
pub(super) fn quote(text: &str, syntax: Syntax) -> Quoted {
    let mut quoted =
        Quoted { text: String::with_capacity(text.len()), references: BTreeMap::new(), too_deep: None };
    let mut at = 0;
    let (mut brackets, mut dots) = (0_usize, 0_usize);
    while at < text.len() {
        let rest = &text[at..];
        match rest.as_bytes()[0] {
            b'[' | b'{' => brackets += 1,
            b']' | b'}' => brackets = brackets.saturating_sub(1),
            b'.' => dots += 1,
            b'"' | b'\'' | b' ' | b'\t' | b'-' | b'_' => {}
            byte if byte.is_ascii_alphanumeric() => {}
            _ => dots = 0,
        }
        if brackets.max(dots) > MAX_DEPTH && quoted.too_deep.is_none() {
            quoted.too_deep = Some(at);
        }
        let before = text[..at].chars().next_back();
        let begins = before.is_none_or(|c| c.is_whitespace() || "[{,:".contains(c));
        let len = match rest.as_bytes()[0] {
            b'"' | b'\'' if syntax == Syntax::Yaml && begins => {
                string(rest, &rest[..1], rest.starts_with('"'))
            }
            b'#' if syntax == Syntax::Yaml && before.is_none_or(char::is_whitespace) => {
                rest.find('\n').unwrap_or(rest.len())
            }
            b'$' | b'"' if syntax == Syntax::Yaml && brackets == 0 => 1,
            b'"' | b'\'' if syntax == Syntax::Toml => toml_string(rest),
            b'"' => string(rest, "\"", true),
            b'#' if syntax == Syntax::Toml => rest.find('\n').unwrap_or(rest.len()),
            b'$' => match reference_len(rest).filter(|len| !rest[..*len].contains(['\n', '\r'])) {
                Some(len) => {
                    quoted.references.insert(at, at..at + len);
                    quoted.text.push('"');
                    quoted.text.extend(std::iter::repeat_n('_', len - 2));
                    quoted.text.push('"');
                    at += len;
                    continue;
                }
                None => 1,
            },
            _ => rest.chars().next().map_or(1, char::len_utf8),
        };
        quoted.text.push_str(&rest[..len]);
        at += len;
    }
    quoted
}

fn toml_string(text: &str) -> usize {
    let (quote, triple) = if text.starts_with('"') { ("\"", "\"\"\"") } else { ("'", "'''") };
    let has_escapes = quote == "\"";
    if text.starts_with(triple) {
        string(text, triple, has_escapes)
    } else {
        string(text, quote, has_escapes)
    }
}

/// The length of the string at the start, with its quotes; one that has no end is one line long.
fn string(text: &str, quote: &str, has_escapes: bool) -> usize {
    let is_one_line = quote.len() == 1;
    let mut at = quote.len();
    while let Some(rest) = text.get(at..).filter(|rest| !rest.is_empty()) {
        if let Some(after) = rest.strip_prefix(quote) {
            // Up to two quotes may stand before the closing three.
            let more = after.bytes().take_while(|byte| *byte == quote.as_bytes()[0]).take(2);
            return at + quote.len() + if is_one_line { 0 } else { more.count() };
        }
        let mut chars = rest.chars();
        match chars.next() {
            Some('\n') if is_one_line => return at,
            Some('\\') if has_escapes => at += 1 + chars.next().map_or(0, char::len_utf8),
            first => at += first.map_or(1, char::len_utf8),
        }
    }
    text.len()
}
