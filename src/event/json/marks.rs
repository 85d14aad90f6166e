//! [`Marks`]: the bytes of a text at which a JSON string ends or has to be looked at.

use wide::u8x16;

/// The quotes, backslashes and control characters of a text, found a block at a time.
///
/// Most strings of a log event are shorter than a block. With the block's marks as the bits of a number,
/// the end of a string is a shift and a count of zeros away: a loop over its bytes, or a call into a
/// search routine, would cost the processor a wrong guess at the length of each of them.
#[derive(Clone)]
pub(super) struct Marks<'a> {
    bytes: &'a [u8],
    /// Where the block starts whose marks we have.
    base: usize,
    /// A bit for each of its bytes.
    marks: u64,
}

const BLOCK: usize = 64;

impl<'a> Marks<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Marks<'a> {
        // A base at which no byte stands: no block has been looked at.
        Marks { bytes, base: bytes.len(), marks: 0 }
    }

    /// The text.
    #[inline(always)]
    pub(super) fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The index of the first mark at `at` or behind it. Inlined, with the search that is not, so that
    /// the state stays in registers; [`is_object`](super::is_object) takes half the instructions for it.
    #[inline(always)]
    pub(super) fn next(&mut self, at: usize) -> Option<usize> {
        let offset = at.wrapping_sub(self.base);
        let here = if offset < BLOCK { self.marks >> offset } else { 0 };
        if here != 0 {
            return Some(at + here.trailing_zeros() as usize);
        }
        let from = if offset < BLOCK { self.base + BLOCK } else { at };
        (self.base, self.marks) = search(self.bytes, from)?;
        let at = from.max(self.base);
        Some(at + (self.marks >> (at - self.base)).trailing_zeros() as usize)
    }
}

/// The first block with a mark at `at` or behind it: where it starts, and its marks.
#[inline(never)]
fn search(bytes: &[u8], mut at: usize) -> Option<(usize, u64)> {
    while at < bytes.len() {
        let (base, marks) = block(bytes, at);
        if marks >> (at - base) != 0 {
            return Some((base, marks));
        }
        at = base + BLOCK;
    }
    None
}

/// The block that starts at `at`, or the last whole one of the text.
fn block(bytes: &[u8], at: usize) -> (usize, u64) {
    if let Some(block) = bytes.get(at..).and_then(|rest| rest.first_chunk()) {
        (at, marks_of(block))
    } else if let Some(block) = bytes.last_chunk() {
        (bytes.len() - BLOCK, marks_of(block))
    } else {
        (0, marks_of_few(bytes))
    }
}

/// A bit for each byte that is a mark.
#[inline]
fn marks_of(block: &[u8; BLOCK]) -> u64 {
    let (lanes, _) = block.as_chunks();
    lanes.iter().rev().fold(0, |marks, lane| marks << LANE | marks_of_lane(lane))
}

const LANE: usize = 16;

#[inline]
fn marks_of_lane(lane: &[u8; LANE]) -> u64 {
    let bytes = u8x16::new(*lane);
    let quotes = bytes.simd_eq(u8x16::splat(b'"'));
    let backslashes = bytes.simd_eq(u8x16::splat(b'\\'));
    let controls = bytes.min(u8x16::splat(0x1f)).simd_eq(bytes);
    u64::from((quotes | backslashes | controls).to_bitmask())
}

/// The same for fewer bytes than a block has.
fn marks_of_few(bytes: &[u8]) -> u64 {
    let (lanes, rest) = bytes.as_chunks();
    let whole = lanes.iter().rev().fold(0, |marks, lane| marks << LANE | marks_of_lane(lane));
    match bytes.last_chunk() {
        _ if rest.is_empty() => whole,
        // The last lane overlaps the one before it.
        Some(last) => whole | marks_of_lane(last) << (bytes.len() - LANE),
        None => (0..).zip(rest).fold(0, |marks, (place, byte)| marks | u64::from(is_mark(*byte)) << place),
    }
}

pub(super) fn is_mark(byte: u8) -> bool {
    byte < 0x20 || byte == b'"' || byte == b'\\'
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_byte_at_every_place_is_marked_or_not() {
        for byte in 0..=255 {
            for place in 0..BLOCK {
                let mut block = [b'x'; BLOCK];
                block[place] = byte;
                let expected = u64::from(is_mark(byte)) << place;
                assert_eq!(marks_of(&block), expected, "{byte} at {place}");
            }
        }
    }

    proptest! {
        #[test]
        fn finds_what_a_search_finds(
            bytes in prop::collection::vec(prop_oneof![4 => Just(b'x'), 1 => any::<u8>()], 0..300),
            starts in prop::collection::vec(0..320usize, 1..20),
        ) {
            // Forwards and back again.
            let mut marks = Marks::new(&bytes);
            for start in starts {
                let rest = bytes.get(start..).unwrap_or_default();
                let expected = rest.iter().position(|byte| is_mark(*byte)).map(|offset| start + offset);
                prop_assert_eq!(marks.next(start), expected);
            }
        }
    }
}
