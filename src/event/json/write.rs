//! Writing strings.

use super::marks::Marks;
use std::ops::Range;

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
