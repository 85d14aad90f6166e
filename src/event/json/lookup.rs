//! [`Lookup`]: several paths, found in one walk.

use super::super::path::{Path, Segment};
use super::walk::{Walk, element_at};
use std::ops::Range;

/// Paths prepared to be looked up together: a tree of their steps.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lookup {
    paths: Vec<Path>,
    root: Node,
}

/// A value that paths lead to, or through.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Node {
    /// The paths that end here.
    here: Vec<usize>,
    /// Those that go on from here.
    below: Vec<usize>,
    fields: Vec<(Name, Node)>,
    elements: Vec<(isize, Node)>,
}

/// A key. Most are told from each other by their length and first eight bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Name {
    head: u64,
    text: Box<str>,
}

const HEAD: usize = 8;

impl Lookup {
    /// A lookup of these paths.
    pub fn new(paths: impl IntoIterator<Item = Path>) -> Lookup {
        let mut lookup = Lookup { paths: paths.into_iter().collect(), root: Node::default() };
        for (index, path) in lookup.paths.iter().enumerate() {
            let mut node = &mut lookup.root;
            for segment in path.segments() {
                node.below.push(index);
                node = node.child(segment);
            }
            node.here.push(index);
        }
        lookup
    }

    /// The paths.
    pub fn paths(&self) -> &[Path] {
        &self.paths
    }

    /// The values at the paths in checked text: `found[i]` becomes the text of the one at `paths()[i]`. Of
    /// duplicate keys the last one counts.
    ///
    /// # Panics
    /// If `found` has less room than there are paths.
    pub fn find<'a, T: From<&'a str>>(&self, text: &'a str, found: &mut [Option<T>]) {
        let mut walk = Walk::new(text);
        let start = walk.space(0);
        self.root.find(&mut walk, start, found);
    }
}

impl Node {
    fn child(&mut self, segment: &Segment) -> &mut Node {
        fn entry<K: PartialEq>(list: &mut Vec<(K, Node)>, key: K) -> &mut Node {
            let place = list.iter().position(|(other, _)| *other == key).unwrap_or_else(|| {
                list.push((key, Node::default()));
                list.len() - 1
            });
            &mut list[place].1
        }
        match segment {
            Segment::Field(name) => entry(
                &mut self.fields,
                Name { head: head_of(name.as_bytes(), 0..name.len()), text: name.clone() },
            ),
            Segment::Index(position) => entry(&mut self.elements, *position),
        }
    }

    /// Passes the value at `at`, and goes into it if a path does.
    fn find<'a, T: From<&'a str>>(&self, walk: &mut Walk<'a>, at: usize, found: &mut [Option<T>]) -> usize {
        for index in &self.below {
            // A duplicate that lacks the rest of the path hides an earlier one.
            found[*index] = None;
        }
        let end = match walk.byte(at) {
            Some(b'{') if !self.fields.is_empty() => self.find_in_object(walk, at, found),
            Some(b'[') if !self.elements.is_empty() => self.find_in_array(walk, at, found),
            _ => walk.value(at),
        };
        self.note(walk, at..end, found);
        end
    }

    #[inline]
    fn note<'a, T: From<&'a str>>(&self, walk: &Walk<'a>, value: Range<usize>, found: &mut [Option<T>]) {
        for index in &self.here {
            found[*index] = Some(walk.text[value.clone()].into());
        }
    }

    fn find_in_object<'a, T: From<&'a str>>(
        &self,
        walk: &mut Walk<'a>,
        start: usize,
        found: &mut [Option<T>],
    ) -> usize {
        let mut at = walk.space(start + 1);
        while let Some(b'"') = walk.byte(at) {
            let key = walk.key(at);
            let node = match key.has_escapes {
                false => self.field(walk.text.as_bytes(), key.start..key.end),
                true => {
                    let name = walk.name(&key);
                    self.field(name.as_bytes(), 0..name.len())
                }
            };
            let end = match node {
                None => walk.value(key.value),
                Some(node) if node.below.is_empty() => {
                    let end = walk.value(key.value);
                    node.note(walk, key.value..end, found);
                    end
                }
                Some(node) => node.find(walk, key.value, found),
            };
            at = walk.comma(end);
        }
        at + 1
    }

    /// The node of the name that stands there in the bytes.
    #[inline]
    fn field(&self, bytes: &[u8], name: Range<usize>) -> Option<&Node> {
        let head = head_of(bytes, name.clone());
        let is_it = |other: &Name| {
            let is_alike = other.head == head && other.text.len() == name.len();
            is_alike && (name.len() <= HEAD || other.text.as_bytes() == &bytes[name.clone()])
        };
        self.fields.iter().find(|(name, _)| is_it(name)).map(|(_, node)| node)
    }

    /// Arrays are rare, and an index may count from the end: their elements are looked up by themselves.
    fn find_in_array<'a, T: From<&'a str>>(
        &self,
        walk: &mut Walk<'a>,
        start: usize,
        found: &mut [Option<T>],
    ) -> usize {
        let end = walk.value(start);
        for (position, node) in &self.elements {
            if let Some(element) = element_at(&walk.text[start..end], *position) {
                node.find(&mut Walk::new(element), 0, found);
            }
        }
        end
    }
}

/// The first eight bytes of a part of the bytes, or as many as it has.
#[inline]
fn head_of(bytes: &[u8], part: Range<usize>) -> u64 {
    // Most often more bytes follow, so that eight can be read at once.
    match bytes.get(part.start..).and_then(|rest| rest.first_chunk::<HEAD>()) {
        Some(head) if part.len() >= HEAD => u64::from_le_bytes(*head),
        Some(head) => u64::from_le_bytes(*head) & ((1 << (8 * part.len())) - 1),
        None => bytes[part].iter().rev().fold(0, |head, byte| head << 8 | u64::from(*byte)),
    }
}
