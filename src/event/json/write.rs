//! Writing strings.

use super::marks::{Marks, is_mark};
use std::ops::Range;

/// Appends `text` as a JSON string, quotes included.
pub fn write_string(text: &str, out: &mut Vec<u8>) {
    out.push(b'"');
    write_escaped(text, out);
    out.push(b'"');
}

/// `text` as a JSON string, quotes included.
pub fn string(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    write_string(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

/// Appends `text` escaped for the inside of a JSON string.
pub fn write_escaped(text: &str, out: &mut Vec<u8>) {
    const HEX: &[u8; 16] = b"0123456789abcdef";
    let bytes = text.as_bytes();
    if is_short_and_plain(bytes) {
        return out.extend_from_slice(bytes);
    }
    let mut marks = Marks::new(bytes);
    let mut written = 0;
    while let Some(at) = marks.next(written) {
        let byte = bytes[at];
        push(bytes, written..at, out);
        written = at + 1;
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', byte]),
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

/// Whether these are few bytes, as names and labels have, and none of them a mark: found with arithmetic on
/// two words, which may overlap.
#[inline]
fn is_short_and_plain(bytes: &[u8]) -> bool {
    if let (Some(first), Some(last)) = (bytes.first_chunk(), bytes.last_chunk()) {
        bytes.len() <= 16 && !has_mark(u64::from_le_bytes(*first)) && !has_mark(u64::from_le_bytes(*last))
    } else {
        !bytes.iter().any(|byte| is_mark(*byte))
    }
}

/// Whether one of the eight bytes is a mark. Each line sets the high bit of some byte if, and only if, one
/// of them is: zero, in the first two, and less than a space, in the third.
#[inline]
fn has_mark(word: u64) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let quotes = word ^ (ONES * b'"' as u64);
    let backslashes = word ^ (ONES * b'\\' as u64);
    let found = quotes.wrapping_sub(ONES) & !quotes
        | backslashes.wrapping_sub(ONES) & !backslashes
        | word.wrapping_sub(ONES * b' ' as u64) & !word;
    found & HIGH != 0
}

/// Appends a part of the bytes. JSON in a string has an escape every few bytes: a copy of so few, whose
/// number the compiler does not know, costs more as a call than sixteen of which the rest is taken back.
#[inline]
fn push(bytes: &[u8], part: Range<usize>, out: &mut Vec<u8>) {
    const FEW: usize = 16;
    match bytes.get(part.start..).and_then(|rest| rest.first_chunk::<FEW>()) {
        Some(few) if part.len() <= FEW => {
            let length = out.len() + part.len();
            out.extend_from_slice(few);
            out.truncate(length);
        }
        _ => out.extend_from_slice(&bytes[part]),
    }
}
