//! The check of untrusted text.

use super::marks::Marks;

/// How deep arrays and objects may nest: what `serde_json`, and so Vector and most destinations,
/// refuse beyond. A deeper payload is kept as plain text.
pub const MAX_DEPTH: usize = 127;

/// Whether the text is exactly one JSON object (RFC 8259, white space around it allowed) that
/// `serde_json` would parse: no lone surrogates, finite numbers, at most [`MAX_DEPTH`] levels.
pub fn is_object(text: &str) -> bool {
    Scan { marks: Marks::new(text.as_bytes()) }.object().is_some()
}

/// The checking walk. Each method takes the index it starts at and returns the one after what it
/// has read, `None` if the text is not JSON. What each string passes through is inlined, and what few
/// do is not: that leaves the walk's state in registers.
struct Scan<'a> {
    marks: Marks<'a>,
}

impl Scan<'_> {
    #[inline(always)]
    fn object(&mut self) -> Option<()> {
        let start = skip_space(self.marks.bytes(), 0);
        if self.marks.bytes().get(start) != Some(&b'{') {
            return None;
        }
        let end = self.value(start)?;
        (skip_space(self.marks.bytes(), end) == self.marks.bytes().len()).then_some(())
    }

    /// Walks a value without recursion: `objects` is a stack of one bit a level, set for an object.
    #[inline(always)]
    fn value(&mut self, start: usize) -> Option<usize> {
        let bytes = self.marks.bytes();
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
                b'-' | b'0'..=b'9' => at = Self::number(bytes, at)?,
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
    #[inline(always)]
    fn key(&mut self, at: usize) -> Option<usize> {
        if *self.marks.bytes().get(at)? != b'"' {
            return None;
        }
        let at = skip_space(self.marks.bytes(), self.string(at)?);
        if *self.marks.bytes().get(at)? != b':' {
            return None;
        }
        Some(skip_space(self.marks.bytes(), at + 1))
    }

    #[inline(always)]
    fn string(&mut self, start: usize) -> Option<usize> {
        let mut at = start + 1;
        loop {
            at = self.marks.next(at)?;
            match self.marks.bytes()[at] {
                b'"' => return Some(at + 1),
                b'\\' => at = escape(self.marks.bytes(), at)?,
                // A control character has no place in a string.
                _ => return None,
            }
        }
    }

    #[inline(never)]
    fn number(bytes: &[u8], start: usize) -> Option<usize> {
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
pub(super) fn skip_space(bytes: &[u8], at: usize) -> usize {
    match bytes.get(at) {
        Some(0..=b' ') => skip_some_space(bytes, at),
        _ => at,
    }
}

/// Compact JSON has none.
#[cold]
fn skip_some_space(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
        at += 1;
    }
    at
}

/// The index after the escape that starts at `at` with its backslash; a surrogate must have its
/// other half right behind it, because half a character is not text.
#[inline(never)]
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
