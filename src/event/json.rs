//! JSON as text: is it one valid object, where is a field, what are its members.
//!
//! Nothing here builds a tree. [`is_object`] walks untrusted text once and says whether they are
//! one JSON object; every other function walks text that has passed that check, and therefore looks
//! only at brackets and quotes.

use super::path::{Path, Segment};
use std::borrow::Cow;

/// How deep arrays and objects may nest: what `serde_json`, and so Vector and most destinations,
/// refuse beyond. A deeper payload is kept as plain text.
pub const MAX_DEPTH: usize = 127;

/// Whether the text is exactly one JSON object (RFC 8259, white space around it allowed) that
/// `serde_json` would parse: no lone surrogates, finite numbers, at most [`MAX_DEPTH`] levels.
pub fn is_object(text: &str) -> bool {
    let bytes = text.as_bytes();
    // One vectorised pass asks for the whole text what would otherwise be asked of each byte of each
    // string. Most events have no control character at all.
    let has_controls = bytes.iter().fold(false, |found, byte| found | (*byte < 0x20));
    Scan { bytes, has_controls }.object().is_some()
}

/// The checking walk. Each method takes the index it starts at and returns the one after what it
/// has read, `None` if the text is not JSON.
struct Scan<'a> {
    bytes: &'a [u8],
    has_controls: bool,
}

impl Scan<'_> {
    fn object(&self) -> Option<()> {
        let start = skip_space(self.bytes, 0);
        if self.bytes.get(start) != Some(&b'{') {
            return None;
        }
        let end = self.value(start)?;
        (skip_space(self.bytes, end) == self.bytes.len()).then_some(())
    }

    /// Walks a value without recursion: `objects` is a stack of one bit a level, set for an object.
    fn value(&self, start: usize) -> Option<usize> {
        let bytes = self.bytes;
        let (mut objects, mut depth) = (0u128, 0usize);
        let mut at = start;
        loop {
            match *bytes.get(at)? {
                open @ (b'{' | b'[') => {
                    depth += 1;
                    if depth > MAX_DEPTH {
                        return None;
                    }
                    let is_object = open == b'{';
                    objects = objects << 1 | u128::from(is_object);
                    at = skip_space(bytes, at + 1);
                    // In ASCII both closing brackets stand two after the opening ones.
                    if *bytes.get(at)? != open + 2 {
                        if is_object {
                            at = self.key(at)?;
                        }
                        continue;
                    }
                    at += 1;
                    objects >>= 1;
                    depth -= 1;
                }
                b'"' => at = self.string(at)?,
                b'-' | b'0'..=b'9' => at = self.number(at)?,
                b't' => at = literal(bytes, at, b"true")?,
                b'f' => at = literal(bytes, at, b"false")?,
                b'n' => at = literal(bytes, at, b"null")?,
                _ => return None,
            }
            // A value has ended: close what ends with it, up to the next comma.
            loop {
                if depth == 0 {
                    return Some(at);
                }
                at = skip_space(bytes, at);
                let is_object = objects & 1 == 1;
                match *bytes.get(at)? {
                    b',' => {
                        at = skip_space(bytes, at + 1);
                        if is_object {
                            at = self.key(at)?;
                        }
                        break;
                    }
                    b'}' if is_object => {}
                    b']' if !is_object => {}
                    _ => return None,
                }
                at += 1;
                objects >>= 1;
                depth -= 1;
            }
        }
    }

    /// A key with its colon and the white space around.
    fn key(&self, at: usize) -> Option<usize> {
        if *self.bytes.get(at)? != b'"' {
            return None;
        }
        let at = skip_space(self.bytes, self.string(at)?);
        if *self.bytes.get(at)? != b':' {
            return None;
        }
        Some(skip_space(self.bytes, at + 1))
    }

    fn string(&self, start: usize) -> Option<usize> {
        let bytes = self.bytes;
        let mut at = start + 1;
        loop {
            at = find_quote_or_backslash(bytes, at)?;
            if bytes[at] == b'"' {
                break;
            }
            at = escape(bytes, at)?;
        }
        if self.has_controls && bytes[start + 1..at].iter().any(|byte| *byte < 0x20) {
            return None;
        }
        Some(at + 1)
    }

    fn number(&self, start: usize) -> Option<usize> {
        let bytes = self.bytes;
        let digits = |mut at: usize| {
            while matches!(bytes.get(at), Some(b'0'..=b'9')) {
                at += 1;
            }
            at
        };
        let mut at = start + usize::from(bytes[start] == b'-');
        at = match *bytes.get(at)? {
            b'0' => at + 1,
            b'1'..=b'9' => digits(at + 1),
            _ => return None,
        };
        if bytes.get(at) == Some(&b'.') {
            let end = digits(at + 1);
            if end == at + 1 {
                return None;
            }
            at = end;
        }
        let mut has_exponent = false;
        if matches!(bytes.get(at), Some(b'e' | b'E')) {
            has_exponent = true;
            at += 1;
            at += usize::from(matches!(bytes.get(at), Some(b'+' | b'-')));
            let end = digits(at);
            if end == at {
                return None;
            }
            at = end;
        }
        // Only an exponent or hundreds of digits can leave the range of a float.
        if has_exponent || at - start > 300 {
            let text = std::str::from_utf8(&bytes[start..at]).ok()?;
            text.parse::<f64>().ok().filter(|number| number.is_finite())?;
        }
        Some(at)
    }
}

fn literal(bytes: &[u8], at: usize, word: &[u8]) -> Option<usize> {
    bytes[at..].starts_with(word).then(|| at + word.len())
}

#[inline]
fn skip_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// The index of the next `"` or `\`, eight bytes at a time: most strings of a log event are short,
/// so that a call into a SIMD routine costs more than it saves.
#[inline]
fn find_quote_or_backslash(bytes: &[u8], mut at: usize) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    const QUOTES: u64 = ONES * b'"' as u64;
    const BACKSLASHES: u64 = ONES * b'\\' as u64;
    // A byte of `x` that is zero has its high bit set in the answer; the lowest such bit is exact.
    let zeros = |x: u64| x.wrapping_sub(ONES) & !x & HIGH;
    while let Some(chunk) = bytes.get(at..at + 8).and_then(|chunk| chunk.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let found = zeros(word ^ QUOTES) | zeros(word ^ BACKSLASHES);
        if found != 0 {
            return Some(at + found.trailing_zeros() as usize / 8);
        }
        at += 8;
    }
    let rest = bytes.get(at..)?;
    rest.iter().position(|byte| matches!(byte, b'"' | b'\\')).map(|offset| at + offset)
}

/// The index after the escape that starts at `at` with its backslash; a surrogate must have its
/// other half right behind it, because half a character is not text.
fn escape(bytes: &[u8], at: usize) -> Option<usize> {
    match *bytes.get(at + 1)? {
        b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => Some(at + 2),
        b'u' => match hex4(bytes, at + 2)? {
            0xD800..=0xDBFF => {
                let is_pair = bytes.get(at + 6..at + 8) == Some(b"\\u".as_slice())
                    && matches!(hex4(bytes, at + 8)?, 0xDC00..=0xDFFF);
                is_pair.then_some(at + 12)
            }
            0xDC00..=0xDFFF => None,
            _ => Some(at + 6),
        },
        _ => None,
    }
}

fn hex4(bytes: &[u8], at: usize) -> Option<u16> {
    let digits = bytes.get(at..at + 4)?;
    let mut number = 0u16;
    for digit in digits {
        number = number << 4 | char::from(*digit).to_digit(16)? as u16;
    }
    Some(number)
}

// === walking checked text ===

/// The index after the value that starts at `at` in checked text.
fn skip_value(bytes: &[u8], at: usize) -> usize {
    match bytes[at] {
        b'"' => skip_string(bytes, at),
        b'{' | b'[' => skip_container(bytes, at),
        _ => {
            let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
            at + bytes[at..].iter().position(ends).unwrap_or(bytes.len() - at)
        }
    }
}

fn skip_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(found) = find_quote_or_backslash(bytes, at) {
        if bytes[found] == b'"' {
            return found + 1;
        }
        at = found + 2;
    }
    bytes.len()
}

fn skip_container(bytes: &[u8], start: usize) -> usize {
    let (mut at, mut depth) = (start, 0usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = skip_string(bytes, at);
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => {
                depth -= 1;
                if depth == 0 {
                    return at + 1;
                }
            }
            _ => {}
        }
        at += 1;
    }
    bytes.len()
}

/// The members of an object: key as written (between its quotes, escapes untouched) and the text of
/// its value, in the order of the text, duplicates included.
#[derive(Clone)]
pub struct Members<'a> {
    text: &'a str,
    at: usize,
}

/// The members of the object that `text` is. `text` has passed [`is_object`] or is part of text
/// that has; of anything but an object there are none.
pub fn members(text: &str) -> Members<'_> {
    let start = skip_space(text.as_bytes(), 0);
    let is_object = text.as_bytes().get(start) == Some(&b'{');
    Members { text, at: if is_object { start + 1 } else { text.len() } }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.text.as_bytes();
        let key = skip_space(bytes, self.at);
        if bytes.get(key) != Some(&b'"') {
            return None;
        }
        let key_end = skip_string(bytes, key);
        let colon = skip_space(bytes, key_end);
        let value = skip_space(bytes, colon + 1);
        let value_end = skip_value(bytes, value);
        let comma = skip_space(bytes, value_end);
        self.at = comma + usize::from(bytes.get(comma) == Some(&b','));
        Some((&self.text[key + 1..key_end - 1], &self.text[value..value_end]))
    }
}

/// The elements of the array that `text` is: checked text, as for [`members`].
pub fn elements(text: &str) -> impl Iterator<Item = &str> {
    let bytes = text.as_bytes();
    let start = skip_space(bytes, 0);
    let is_array = bytes.get(start) == Some(&b'[');
    let mut at = if is_array { start + 1 } else { text.len() };
    std::iter::from_fn(move || {
        let value = skip_space(bytes, at);
        if matches!(bytes.get(value), None | Some(b']')) {
            return None;
        }
        let end = skip_value(bytes, value);
        let comma = skip_space(bytes, end);
        at = comma + usize::from(bytes.get(comma) == Some(&b','));
        Some(&text[value..end])
    })
}

/// Looks up several paths in one pass over checked text: `found[i]` becomes the text of the value at
/// `paths[i]`. Of duplicate keys the last one counts, as in every parser that builds a map.
pub fn find<'a>(text: &'a str, paths: &[&Path], found: &mut [Option<&'a str>]) {
    debug_assert!(paths.len() <= 32 && found.len() >= paths.len());
    let wanted = (0..paths.len()).fold(0u32, |bits, index| bits | 1 << index);
    find_below(text, paths, 0, wanted, found);
}

/// `wanted` has a bit for each path whose first `level` segments lead to `text`.
fn find_below<'a>(text: &'a str, paths: &[&Path], level: usize, wanted: u32, found: &mut [Option<&'a str>]) {
    for index in bits(wanted) {
        found[index] = (paths[index].segments().len() == level).then_some(text);
    }
    let deeper = bits(wanted).filter(|index| paths[*index].segments().len() > level);
    let wanted = deeper.fold(0, |bits, index| bits | 1 << index);
    if wanted == 0 {
        return;
    }
    for (key, value) in members(text) {
        let mut matching = 0u32;
        for index in bits(wanted) {
            if let Segment::Field(name) = &paths[index].segments()[level]
                && key_is(key, name)
            {
                matching |= 1 << index;
            }
        }
        if matching != 0 {
            find_below(value, paths, level + 1, matching, found);
        }
    }
    for index in bits(wanted) {
        if let Segment::Index(position) = paths[index].segments()[level]
            && let Some(value) = element_at(text, position)
        {
            find_below(value, paths, level + 1, 1 << index, found);
        }
    }
}

fn element_at(text: &str, position: isize) -> Option<&str> {
    if position >= 0 {
        return elements(text).nth(position as usize);
    }
    let count = elements(text).count();
    elements(text).nth(count.checked_sub(position.unsigned_abs())?)
}

fn bits(mut set: u32) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let index = set.trailing_zeros();
        set &= set.wrapping_sub(1);
        (index < 32).then_some(index as usize)
    })
}

/// Whether a key as written is this name.
pub fn key_is(key: &str, name: &str) -> bool {
    key == name || key.contains('\\') && unescape(key) == name
}

/// The text between the quotes of a checked string, its escapes resolved.
pub fn unescape(inner: &str) -> Cow<'_, str> {
    if memchr::memchr(b'\\', inner.as_bytes()).is_none() {
        return Cow::Borrowed(inner);
    }
    let mut quoted = String::with_capacity(inner.len() + 2);
    quoted.push('"');
    quoted.push_str(inner);
    quoted.push('"');
    // The check has let pass only what the parser takes; should they ever differ, the text as
    // written is better than none.
    Cow::Owned(serde_json::from_str(&quoted).unwrap_or_else(|_| inner.to_owned()))
}

// === writing ===

/// Appends `text` as a JSON string, quotes included.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}

/// Appends `text` escaped for the inside of a JSON string.
pub fn write_escaped(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    let mut written = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[written..at]);
        written = at + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            _ => {
                out.extend_from_slice(b"\\u00");
                out.extend_from_slice(&[HEX[usize::from(byte >> 4)], HEX[usize::from(byte & 15)]]);
            }
        }
    }
    out.extend_from_slice(&bytes[written..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::{Map, Value};

    fn checked(bytes: &[u8]) -> bool {
        std::str::from_utf8(bytes).is_ok_and(is_object)
    }

    #[track_caller]
    fn check(text: &[u8], expected: bool) {
        assert_eq!(checked(text), expected, "{}", String::from_utf8_lossy(text));
        let reference = serde_json::from_slice::<Map<String, Value>>(text).is_ok();
        assert_eq!(reference, expected, "serde_json differs: {}", String::from_utf8_lossy(text));
    }

    #[test]
    fn checks_objects() {
        for text in [
            r#"{}"#,
            " \t\r\n{ } \n",
            r#"{"a":1}"#,
            r#"{"a":[],"b":{},"c":[{}],"d":[[1,2],[3]]}"#,
            r#"{"a":-0.5e-10,"b":0,"c":1E+2,"d":18446744073709551616}"#,
            r#"{"a":true,"b":false,"c":null}"#,
            r#"{"a\"b":"\\","c":"\u00e9\ud83d\ude80\/\b\f"}"#,
            r#"{"ключ":"日本語 🚀","a":1,"a":2}"#,
        ] {
            check(text.as_bytes(), true);
        }
        for text in [
            r#""#,
            r#"[]"#,
            r#"1"#,
            r#""a""#,
            r#"null"#,
            r#"{"#,
            r#"{"a"}"#,
            r#"{"a":}"#,
            r#"{"a":1,}"#,
            r#"{"a":1}}"#,
            r#"{"a":1} {}"#,
            r#"{a:1}"#,
            r#"{"a":01}"#,
            r#"{"a":1.}"#,
            r#"{"a":.5}"#,
            r#"{"a":1e}"#,
            r#"{"a":-}"#,
            r#"{"a":+1}"#,
            r#"{"a":tru}"#,
            r#"{"a":nul"#,
            r#"{"a":"\x"}"#,
            r#"{"a":"\u12g4"}"#,
            r#"{"a":"\ud83d"}"#,
            r#"{"a":"\udc00"}"#,
            r#"{"a":"\ud83d\u0041"}"#,
            r#"{"a":1e999}"#,
            r#"{"a":[1,]}"#,
            r#"{"a":[}"#,
            r#"{"a":{]}"#,
            r#"{"a":"b"#,
            r#"{"a":"b\"#,
            r#"{"a":1 "b":2}"#,
            r#"{,}"#,
            r#"{"a"::1}"#,
        ] {
            check(text.as_bytes(), false);
        }
        check(b"{\"a\":\"\x00\"}", false);
        check(b"{\"a\":\"\n\"}", false);
        check(b"{\"a\":\"\xff\"}", false);
        check(b"{\"a\":\"\xed\xa0\x80\"}", false);
        check(b"\xef\xbb\xbf{}", false);
        check(format!("{{\"a\":{}}}", "1".repeat(400)).as_bytes(), false);
    }

    #[test]
    fn nests_as_deep_as_serde_json_does_and_no_deeper() {
        for depth in [1, 2, 63, 64, 65, 126, 127, 128, 129, 1000, 100_000] {
            let arrays = format!("{{\"a\":{}1{}}}", "[".repeat(depth - 1), "]".repeat(depth - 1));
            check(arrays.as_bytes(), depth <= MAX_DEPTH);
            let objects = format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
            check(objects.as_bytes(), depth <= MAX_DEPTH);
        }
    }

    /// Any JSON value, with the characters that make trouble well represented.
    fn any_json() -> impl Strategy<Value = Value> {
        let text = prop_oneof!["[a-z.]{0,4}", "[\\PC\"\\\\\n\t\u{0}-\u{1f}é🚀]{0,12}"];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<u64>().prop_map(Value::from),
            any::<f64>().prop_filter("finite", |x| x.is_finite()).prop_map(Value::from),
            text.clone().prop_map(Value::from),
        ];
        leaf.prop_recursive(5, 48, 6, move |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::from),
                prop::collection::vec((text.clone(), inner), 0..6)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    fn any_object() -> impl Strategy<Value = Value> {
        prop::collection::vec(("[abc.]{0,2}", any_json()), 0..8)
            .prop_map(|members| Value::Object(members.into_iter().collect()))
    }

    proptest! {
        #[test]
        fn agrees_with_serde_json_on_any_object(object in any_object(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_vec_pretty(&object) } else { serde_json::to_vec(&object) };
            prop_assert!(checked(&text.unwrap()));
        }

        #[test]
        fn agrees_with_serde_json_on_damaged_text(
            object in any_object(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), prop_oneof![
                Just(b'"'), Just(b'\\'), Just(b'{'), Just(b'}'), Just(b'['), Just(b']'), Just(b','), Just(b':'),
                Just(b'0'), Just(b'e'), Just(b'.'), Just(b'-'), Just(b' '), Just(b'u'), any::<u8>(),
            ], any::<bool>()), 1..4),
        ) {
            let mut text = serde_json::to_vec(&object).unwrap();
            for (place, byte, replace) in damage {
                let at = place.index(text.len());
                if replace { text[at] = byte } else { text.insert(at, byte) }
            }
            let reference = serde_json::from_slice::<Map<String, Value>>(&text).is_ok();
            prop_assert_eq!(checked(&text), reference, "{}", String::from_utf8_lossy(&text));
        }

        #[test]
        fn agrees_with_serde_json_on_any_bytes(text in prop::collection::vec(any::<u8>(), 0..64)) {
            prop_assert_eq!(checked(&text), serde_json::from_slice::<Map<String, Value>>(&text).is_ok());
        }

        #[test]
        fn members_are_those_of_the_map(object in any_object(), pretty in any::<bool>()) {
            let text = if pretty { serde_json::to_string_pretty(&object) } else { serde_json::to_string(&object) }.unwrap();
            let seen: Map<String, Value> = members(&text)
                .map(|(key, value)| (unescape(key).into_owned(), serde_json::from_str(value).unwrap()))
                .collect();
            prop_assert_eq!(Value::Object(seen), object);
        }

        #[test]
        fn finds_what_the_map_holds(object in any_object(), names in prop::collection::vec("[abc.]{0,2}", 1..4)) {
            let text = serde_json::to_string(&object).unwrap();
            let path = Path::from_segments(names.iter().map(|name| Segment::Field(name.as_str().into())).collect());
            let mut found = [None];
            find(&text, &[&path], &mut found);
            let expected = names.iter().try_fold(&object, |value, name| value.get(name));
            prop_assert_eq!(found[0].map(|value| serde_json::from_str::<Value>(value).unwrap()), expected.cloned());
        }

        #[test]
        fn writes_strings_as_serde_json_reads_them(text in any::<String>()) {
            let mut out = Vec::new();
            write_string(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text);
        }
    }

    #[test]
    fn finds_several_paths_at_once_and_the_last_of_duplicates() {
        let text = r#"{"a":{"b":1},"x":[1,[2,3]],"a":{"b":{"c":2}},"\u0061b":4,"a.b":5}"#;
        let paths = ["a.b", "a.b.c", "x[1][0]", "x[-1]", "ab", "\"a.b\"", "a.d", "x.y", "x[9]", "x[-9]"]
            .map(|path| Path::parse(path).unwrap());
        let mut found = [None; 10];
        find(text, &paths.each_ref(), &mut found);
        let expected = [
            Some(r#"{"c":2}"#),
            Some("2"),
            Some("2"),
            Some("[2,3]"),
            Some("4"),
            Some("5"),
            None,
            None,
            None,
            None,
        ];
        assert_eq!(found, expected);
        // A duplicate that lacks the rest of the path hides the earlier one.
        let mut found = [None];
        find(r#"{"a":{"b":1},"a":7}"#, &[&paths[0]], &mut found);
        assert_eq!(found, [None]);
    }
}
