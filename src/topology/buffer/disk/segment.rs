//! A segment: a file of blocks, one behind the other.

use super::block::{HEADER, Header, MARK};
use super::files::{SUFFIX, SegmentFile};
use memchr::memmem;
use std::io;

/// What the store knows of a segment.
#[derive(Debug)]
pub(super) struct Segment {
    /// The number of its first block, which is its name.
    pub(super) first: u64,
    /// Where its blocks end.
    pub(super) length: u64,
    /// Blocks that nobody has read yet.
    pub(super) waiting: Pile,
    /// Blocks that were read and are not answered for.
    pub(super) in_flight: Pile,
    /// Blocks that were read, failed, and are to be read again.
    pub(super) put_back: Pile,
    /// Open while there is something to do in it.
    pub(super) file: Option<Box<dyn SegmentFile>>,
}

/// How much there is of something.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Pile {
    pub(super) blocks: u64,
    pub(super) events: u64,
}

impl Pile {
    pub(super) fn add(&mut self, header: &Header) {
        self.blocks += 1;
        self.events += u64::from(header.events);
    }

    /// What was damaged when it was counted, and is not when it is read, was not added.
    pub(super) fn take(&mut self, header: &Header) {
        self.blocks = self.blocks.saturating_sub(1);
        self.events = self.events.saturating_sub(u64::from(header.events));
    }
}

impl Segment {
    pub(super) fn new(first: u64, file: Box<dyn SegmentFile>) -> Segment {
        let none = Pile::default();
        Segment { first, length: 0, waiting: none, in_flight: none, put_back: none, file: Some(file) }
    }

    /// Whether every block has been answered for.
    pub(super) fn is_done(&self) -> bool {
        self.waiting.blocks == 0 && self.has_answered()
    }

    /// Whether every block that was read has been answered for.
    pub(super) fn has_answered(&self) -> bool {
        self.in_flight.blocks == 0 && self.put_back.blocks == 0
    }

    pub(super) fn name(&self) -> String {
        name(self.first)
    }
}

/// The name of the segment that begins with this block.
pub(super) fn name(first: u64) -> String {
    format!("{first:016x}{SUFFIX}")
}

/// The number of the first block in a segment of this name.
pub(super) fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX).filter(|digits| digits.len() == 16)?;
    u64::from_str_radix(digits, 16).ok()
}

/// The first whole header at this place or behind it, and where it is. What is no header is passed over: it is
/// damaged, or the end of a block whose header is.
pub(super) fn next_header(
    file: &dyn SegmentFile,
    mut offset: u64,
    end: u64,
) -> io::Result<Option<(u64, Header)>> {
    let mut bytes = [0; HEADER];
    while offset + HEADER as u64 <= end {
        file.read_exact_at(&mut bytes, offset)?;
        if let Some(header) = Header::parse(&bytes).filter(|header| header.total() <= end - offset) {
            return Ok(Some((offset, header)));
        }
        match find_mark(file, offset + 1, end)? {
            Some(found) => offset = found,
            None => break,
        }
    }
    Ok(None)
}

fn find_mark(file: &dyn SegmentFile, mut offset: u64, end: u64) -> io::Result<Option<u64>> {
    const AT_ONCE: u64 = 64 << 10;
    let mut bytes = Vec::new();
    while offset + MARK.len() as u64 <= end {
        bytes.resize((end - offset).min(AT_ONCE) as usize, 0);
        file.read_exact_at(&mut bytes, offset)?;
        if let Some(found) = memmem::find(&bytes, &MARK) {
            return Ok(Some(offset + found as u64));
        }
        // A mark may begin in this piece and end in the next.
        offset += (bytes.len() - (MARK.len() - 1)) as u64;
    }
    Ok(None)
}

/// What is found in a segment that somebody left.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) waiting: Pile,
    /// The sequence number behind the last block.
    pub(super) next_sequence: u64,
    /// Bytes that are no whole block.
    pub(super) damaged: u64,
    pub(super) oldest: Option<crate::event::Timestamp>,
}

/// Looks at the header of each block. What cannot be read counts as damaged.
pub(super) fn scan(file: &dyn SegmentFile, end: u64) -> Found {
    let mut found = Found::default();
    let mut offset = 0;
    while let Ok(Some((at, header))) = next_header(file, offset, end) {
        found.damaged += at - offset;
        offset = at + header.total();
        found.next_sequence = found.next_sequence.max(header.sequence.saturating_add(1));
        if !header.is_done {
            found.waiting.add(&header);
            found.oldest = found.oldest.or(Some(header.oldest));
        }
    }
    found.damaged += end - offset;
    found
}
