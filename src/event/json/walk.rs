//! Walking text that has passed the check.

use super::super::path::{Path, Segment};
use super::check::skip_space;
use super::marks::Marks;
use std::borrow::Cow;
use wide::u8x16;

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

    #[inline]
    fn byte(&self, at: usize) -> Option<u8> {
        self.text.as_bytes().get(at).copied()
    }

    #[inline]
    fn space(&self, at: usize) -> usize {
        skip_space(self.text.as_bytes(), at)
    }

    /// The key at `at` as written between its quotes, and where its value starts.
    #[inline]
    fn key(&mut self, at: usize) -> (&'a str, usize) {
        let end = self.string(at);
        let colon = self.space(end);
        (&self.text[at + 1..end - 1], self.space(colon + 1))
    }

    /// Passes the comma behind a value, if there is one, and the white space around it.
    #[inline]
    fn comma(&self, at: usize) -> usize {
        let at = self.space(at);
        if self.byte(at) == Some(b',') { self.space(at + 1) } else { at }
    }

    #[inline]
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

    #[inline]
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
        let (key, value) = walk.key(self.at);
        let end = walk.value(value);
        self.at = walk.comma(end);
        Some((key, &walk.text[value..end]))
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

/// Looks up several paths in one pass over checked text: `found[i]` becomes the text of the value at
/// `paths[i]`. Of duplicate keys the last one counts, as in every parser that builds a map.
pub fn find<'a>(text: &'a str, paths: &[&Path], found: &mut [Option<&'a str>]) {
    let start = skip_space(text.as_bytes(), 0);
    // As many as a set of bits has room for; more than one pass is rarely needed.
    for (paths, found) in paths.chunks(32).zip(found.chunks_mut(32)) {
        let wanted = (0..paths.len()).fold(0u32, |bits, index| bits | 1 << index);
        Search { walk: Walk::new(text), paths, found }.value(start, 0, wanted);
    }
}

/// The object without some of its root members, in pieces: each is given to `piece`, and together they are
/// an object. What stands between two members that stay, stays as it is.
pub fn without<'a>(text: &'a str, is_unwanted: impl Fn(&str) -> bool, piece: &mut impl FnMut(&'a str)) {
    let mut walk = Walk::new(text);
    let mut at = walk.space(walk.space(0) + 1);
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
        let (key, value) = walk.key(at);
        let value_end = walk.value(value);
        let next = walk.comma(value_end);
        if is_unwanted(&unescape(key)) {
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

/// A walk that goes into a value if a path does, and passes it otherwise.
struct Search<'a, 's> {
    walk: Walk<'a>,
    paths: &'s [&'s Path],
    found: &'s mut [Option<&'a str>],
}

impl Search<'_, '_> {
    /// Passes the value at `at`. `wanted` has a bit for each path whose first `level` segments lead to it.
    fn value(&mut self, at: usize, level: usize, wanted: u32) -> usize {
        let mut deeper = wanted;
        for index in bits(wanted) {
            // A duplicate that lacks the rest of the path hides an earlier one.
            self.found[index] = None;
            if self.paths[index].segments().len() == level {
                deeper &= !(1 << index);
            }
        }
        let end = match self.walk.byte(at) {
            Some(b'{') if deeper != 0 => self.object(at, level, deeper),
            Some(b'[') if deeper != 0 => self.array(at, level, deeper),
            _ => self.walk.value(at),
        };
        for index in bits(wanted & !deeper) {
            self.found[index] = Some(&self.walk.text[at..end]);
        }
        end
    }

    fn object(&mut self, start: usize, level: usize, wanted: u32) -> usize {
        let mut tags = [0; 32];
        for index in bits(wanted) {
            if let Segment::Field(name) = &self.paths[index].segments()[level] {
                tags[index] = tag(name);
            }
        }
        let mut at = self.walk.space(start + 1);
        while let Some(b'"') = self.walk.byte(at) {
            let (key, value) = self.walk.key(at);
            let key = unescape(key);
            let mut matching = 0u32;
            for index in bits(wanted & places_of(tag(&key), &tags)) {
                if let Segment::Field(name) = &self.paths[index].segments()[level]
                    && **name == *key
                {
                    matching |= 1 << index;
                }
            }
            let end = match matching {
                0 => self.walk.value(value),
                _ => self.value(value, level + 1, matching),
            };
            at = self.walk.comma(end);
        }
        at + 1
    }

    /// Arrays are rare, and an index may count from the end: their elements are looked up by themselves.
    fn array(&mut self, start: usize, level: usize, wanted: u32) -> usize {
        let end = self.walk.value(start);
        let text = &self.walk.text[start..end];
        for index in bits(wanted) {
            if let Segment::Index(position) = self.paths[index].segments()[level]
                && let Some(element) = element_at(text, position)
            {
                let mut search = Search { walk: Walk::new(element), paths: self.paths, found: self.found };
                search.value(0, level + 1, 1 << index);
            }
        }
        end
    }
}

/// A byte that tells most names from each other, so that few of them have to be compared with a key.
#[inline]
fn tag(name: &str) -> u8 {
    let first = name.as_bytes().first().copied().unwrap_or_default();
    first ^ (name.len() as u8).wrapping_mul(32)
}

/// A bit for each place that has this tag.
#[inline]
fn places_of(tag: u8, tags: &[u8; 32]) -> u32 {
    let (halves, _) = tags.as_chunks();
    let places = |half: &[u8; 16]| u8x16::new(*half).simd_eq(u8x16::splat(tag)).to_bitmask();
    places(&halves[0]) | places(&halves[1]) << 16
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
