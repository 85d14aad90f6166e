//! Walking text that has passed the check.

use super::super::path::{Path, Segment};
use super::check::skip_space;
use super::marks::Marks;
use std::borrow::Cow;

/// A walk along checked text. Each method takes the index it starts at and returns the one after what it
/// has passed.
#[derive(Clone)]
pub(super) struct Walk<'a> {
    pub(super) text: &'a str,
    marks: Marks<'a>,
    /// Whether the string that was passed last has escapes in it.
    has_escapes: bool,
}

/// A key, as it is written between its quotes, and where its value starts.
pub(super) struct Key {
    pub(super) start: usize,
    pub(super) end: usize,
    pub(super) has_escapes: bool,
    pub(super) value: usize,
}

impl<'a> Walk<'a> {
    pub(super) fn new(text: &'a str) -> Walk<'a> {
        Walk { text, marks: Marks::new(text.as_bytes()), has_escapes: false }
    }

    #[inline]
    pub(super) fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    #[inline]
    pub(super) fn space(&self, at: usize) -> usize {
        skip_space(self.text.as_bytes(), at)
    }

    /// The key at `at`.
    #[inline(always)]
    pub(super) fn key(&mut self, at: usize) -> Key {
        let end = self.string(at);
        let colon = self.space(end);
        Key { start: at + 1, end: end - 1, has_escapes: self.has_escapes, value: self.space(colon + 1) }
    }

    /// The name that a key stands for.
    #[inline]
    pub(super) fn name(&self, key: &Key) -> Cow<'a, str> {
        let written = &self.text[key.start..key.end];
        if key.has_escapes { unescape(written) } else { Cow::Borrowed(written) }
    }

    /// Passes the comma behind a value, if there is one, and the white space around it.
    #[inline]
    pub(super) fn comma(&self, at: usize) -> usize {
        let at = self.space(at);
        if self.byte(at) == Some(b',') { self.space(at + 1) } else { at }
    }

    #[inline]
    pub(super) fn value(&mut self, at: usize) -> usize {
        match self.byte(at) {
            Some(b'"') => self.string(at),
            Some(b'{' | b'[') => self.container(at),
            _ => {
                let rest = self.text.as_bytes().get(at..).unwrap_or_default();
                let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
                at + rest.iter().position(ends).unwrap_or(rest.len())
            }
        }
    }

    #[inline(always)]
    fn string(&mut self, start: usize) -> usize {
        match self.marks.next(start + 1) {
            Some(found) if self.byte(found) == Some(b'"') => {
                self.has_escapes = false;
                found + 1
            }
            Some(found) => self.string_from_escape(found),
            None => self.text.len(),
        }
    }

    #[inline(never)]
    fn string_from_escape(&mut self, mut at: usize) -> usize {
        self.has_escapes = true;
        while let Some(found) = self.marks.next(at + 2) {
            if self.byte(found) == Some(b'"') {
                return found + 1;
            }
            at = found;
        }
        self.text.len()
    }

    fn container(&mut self, start: usize) -> usize {
        let (mut at, mut depth) = (start, 0usize);
        while let Some(byte) = self.byte(at) {
            match byte {
                b'"' => {
                    at = self.string(at);
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
        self.text.len()
    }
}

/// The members of an object: key as written (between its quotes, escapes untouched) and the text of
/// its value, in the order of the text, duplicates included.
#[derive(Clone)]
pub struct Members<'a> {
    walk: Walk<'a>,
    at: usize,
}

/// The members of the object that `text` is. `text` has passed [`is_object`](super::is_object) or is part
/// of text that has; of anything but an object there are none.
pub fn members(text: &str) -> Members<'_> {
    let start = skip_space(text.as_bytes(), 0);
    let is_object = text.as_bytes().get(start) == Some(&b'{');
    let at = if is_object { skip_space(text.as_bytes(), start + 1) } else { text.len() };
    Members { walk: Walk::new(text), at }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let walk = &mut self.walk;
        if walk.byte(self.at) != Some(b'"') {
            return None;
        }
        let key = walk.key(self.at);
        let end = walk.value(key.value);
        self.at = walk.comma(end);
        Some((&walk.text[key.start..key.end], &walk.text[key.value..end]))
    }
}

/// The elements of the array that `text` is: checked text, as for [`members`].
pub fn elements(text: &str) -> impl Iterator<Item = &str> {
    let mut walk = Walk::new(text);
    let start = walk.space(0);
    let is_array = walk.byte(start) == Some(b'[');
    let mut at = if is_array { walk.space(start + 1) } else { text.len() };
    std::iter::from_fn(move || {
        if matches!(walk.byte(at), None | Some(b']')) {
            return None;
        }
        let (value, end) = (at, walk.value(at));
        at = walk.comma(end);
        Some(&text[value..end])
    })
}

/// The value at a path in checked text. Of duplicate keys the last one counts, as in every parser that
/// builds a map.
pub fn get<'a>(text: &'a str, path: &Path) -> Option<&'a str> {
    path.segments().iter().try_fold(text, |value, segment| match segment {
        Segment::Field(name) => {
            members(value).filter(|(key, _)| key_is(key, name)).last().map(|(_, value)| value)
        }
        Segment::Index(position) => element_at(value, *position),
    })
}

/// The object without some of its root members, in pieces: each is given to `piece`, and together they are
/// an object: an empty one, if the text is none. What stands between two members that stay, stays as it is. `is_unwanted` sees the name and
/// the value of each.
pub fn without<'a>(
    text: &'a str,
    mut is_unwanted: impl FnMut(&str, &'a str) -> bool,
    piece: &mut impl FnMut(&'a str),
) {
    let mut walk = Walk::new(text);
    let first = walk.space(0);
    if walk.byte(first) != Some(b'{') {
        return piece("{}");
    }
    let mut at = walk.space(first + 1);
    // The members in a row that stay, and whether any stayed before them.
    let (mut start, mut end, mut has_more) = (at, at, false);
    let mut flush = |start: usize, end: usize| {
        if start < end {
            piece(if has_more { "," } else { "{" });
            piece(&text[start..end]);
            has_more = true;
        }
    };
    while let Some(b'"') = walk.byte(at) {
        let key = walk.key(at);
        let value_end = walk.value(key.value);
        let next = walk.comma(value_end);
        if is_unwanted(&walk.name(&key), &text[key.value..value_end]) {
            flush(start, end);
            start = next;
        } else {
            end = value_end;
        }
        at = next;
    }
    flush(start, end);
    piece(if has_more { "}" } else { "{}" });
}

pub(super) fn element_at(text: &str, position: isize) -> Option<&str> {
    if position >= 0 {
        return elements(text).nth(position as usize);
    }
    let count = elements(text).count();
    elements(text).nth(count.checked_sub(position.unsigned_abs())?)
}

/// Whether a key as written is this name.
pub fn key_is(key: &str, name: &str) -> bool {
    // An escape is longer than what it stands for.
    key == name || key.len() > name.len() && key.contains('\\') && unescape(key) == name
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
