//! Walking text that has passed the check.

use super::super::path::{Path, Segment};
use super::check::skip_space;
use super::marks::Marks;
use std::borrow::Cow;

/// A walk along checked text. Each method takes the index it starts at and returns the one after what it
/// has passed.
#[derive(Clone)]
struct Walk<'a> {
    text: &'a str,
    marks: Marks<'a>,
}

impl<'a> Walk<'a> {
    fn new(text: &'a str) -> Walk<'a> {
        Walk { text, marks: Marks::new(text.as_bytes()) }
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    fn space(&self, at: usize) -> usize {
        skip_space(self.text.as_bytes(), at)
    }

    fn value(&mut self, at: usize) -> usize {
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

    fn string(&mut self, start: usize) -> usize {
        let mut at = start + 1;
        while let Some(found) = self.marks.next(at) {
            if self.byte(found) == Some(b'"') {
                return found + 1;
            }
            at = found + 2;
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
    Members { walk: Walk::new(text), at: if is_object { start + 1 } else { text.len() } }
}

impl<'a> Iterator for Members<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let walk = &mut self.walk;
        let key = walk.space(self.at);
        if walk.byte(key) != Some(b'"') {
            return None;
        }
        let key_end = walk.string(key);
        let colon = walk.space(key_end);
        let value = walk.space(colon + 1);
        let value_end = walk.value(value);
        let comma = walk.space(value_end);
        self.at = comma + usize::from(walk.byte(comma) == Some(b','));
        Some((&walk.text[key + 1..key_end - 1], &walk.text[value..value_end]))
    }
}

/// The elements of the array that `text` is: checked text, as for [`members`].
pub fn elements(text: &str) -> impl Iterator<Item = &str> {
    let mut walk = Walk::new(text);
    let start = walk.space(0);
    let is_array = walk.byte(start) == Some(b'[');
    let mut at = if is_array { start + 1 } else { text.len() };
    std::iter::from_fn(move || {
        let value = walk.space(at);
        if matches!(walk.byte(value), None | Some(b']')) {
            return None;
        }
        let end = walk.value(value);
        let comma = walk.space(end);
        at = comma + usize::from(walk.byte(comma) == Some(b','));
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
