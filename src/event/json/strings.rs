//! [`map_strings`]: a value with some of its strings changed.

use super::walk::{Walk, unescape};
use super::write::write_string;

/// The value with its strings as `change` makes them, keys left alone; `None` if it changes none. The value is
/// checked text. What stands between the strings stays byte for byte.
pub fn map_strings(text: &str, mut change: impl FnMut(&str) -> Option<String>) -> Option<String> {
    let mut walk = Walk::new(text);
    let mut out = Vec::new();
    let (mut copied, mut at) = (0, 0);
    while let Some(found) = memchr::memchr(b'"', &text.as_bytes()[at..]) {
        let start = at + found;
        at = walk.value(start);
        // Of strings, only a key has a colon behind it.
        if walk.byte(walk.space(at)) == Some(b':') {
            continue;
        }
        if let Some(changed) = change(&unescape(&text[start + 1..at - 1])) {
            out.extend_from_slice(&text.as_bytes()[copied..start]);
            write_string(&changed, &mut out);
            copied = at;
        }
    }
    if copied == 0 {
        return None;
    }
    out.extend_from_slice(&text.as_bytes()[copied..]);
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: Option<&str>) {
        let longer = |text: &str| text.starts_with('x').then(|| format!("{text}\""));
        assert_eq!(map_strings(text, longer).as_deref(), expected, "{text}");
    }

    #[test]
    fn changes_values_and_no_keys() {
        check("1", None);
        check(r#""a""#, None);
        check(r#""x""#, Some(r#""x\"""#));
        check(r#"{"x" : 1, "y":["a",{"x":"b"}]}"#, None);
        check(
            r#"{ "x" : "x", "y" : ["x\"", {"x":"\u0078"}, "a:" ] }"#,
            Some(r#"{ "x" : "x\"", "y" : ["x\"\"", {"x":"x\""}, "a:" ] }"#),
        );
    }
}
