//! [`flatten`]: the leaves of an object.

use super::walk::Walk;
use std::fmt::Write as _;

/// Calls `leaf` for everything in the object that is not an object or array itself, with its keys, as they
/// are written between quotes, joined by dots; `array` stands before an array's index and decides its form:
/// `.` for `a.0`, `[` for `a[0]`; if it is empty, an array is a leaf. An empty object or array always is
/// one. The object is checked text.
pub fn flatten<'a>(object: &'a str, array: &str, leaf: &mut dyn FnMut(&str, &'a str)) {
    let walk = Walk::new(object);
    let start = walk.space(0);
    if walk.byte(start) == Some(b'{') {
        Flatten { walk, array, key: String::new(), leaf }.object(start, "");
    }
}

struct Flatten<'a, 's> {
    walk: Walk<'a>,
    array: &'s str,
    key: String,
    leaf: &'s mut dyn FnMut(&str, &'a str),
}

impl Flatten<'_, '_> {
    /// Passes the value at `at`.
    fn value(&mut self, at: usize) -> usize {
        let (end, is_leaf) = match self.walk.byte(at) {
            Some(b'{') => self.object(at, "."),
            Some(b'[') if !self.array.is_empty() => self.array(at),
            _ => (self.walk.value(at), true),
        };
        if is_leaf {
            (self.leaf)(&self.key, &self.walk.text[at..end]);
        }
        end
    }

    /// Where it ends, and whether it is empty. `dot` stands before its keys.
    fn object(&mut self, start: usize, dot: &str) -> (usize, bool) {
        let length = self.key.len();
        let first = self.walk.space(start + 1);
        let mut at = first;
        while let Some(b'"') = self.walk.byte(at) {
            let key = self.walk.key(at);
            self.key.push_str(dot);
            self.key.push_str(&self.walk.text[key.start..key.end]);
            let end = self.value(key.value);
            self.key.truncate(length);
            at = self.walk.comma(end);
        }
        (at + 1, at == first)
    }

    fn array(&mut self, start: usize) -> (usize, bool) {
        let length = self.key.len();
        let first = self.walk.space(start + 1);
        let mut at = first;
        let mut index = 0;
        while !matches!(self.walk.byte(at), None | Some(b']')) {
            let closing = if self.array == "[" { "]" } else { "" };
            // Writing to a string cannot fail.
            let _ = write!(self.key, "{}{index}{closing}", self.array);
            let end = self.value(at);
            self.key.truncate(length);
            at = self.walk.comma(end);
            index += 1;
        }
        (at + 1, at == first)
    }
}
