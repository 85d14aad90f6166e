//! The form of a block on disk: some events with a header and checksums.
//!
//! All numbers are little-endian. The header:
//!
//! | bytes | what |
//! |---|---|
//! | 0..4 | the mark; text never holds its first byte |
//! | 4 | [`DONE`] when the block has been answered for; the only byte that is ever written again |
//! | 5..8 | 0 |
//! | 8..16 | the sequence number |
//! | 16..20 | how many events it holds |
//! | 20..24 | how many bytes follow the header |
//! | 24..32 | when its first event was received, in nanoseconds since 1970 |
//! | 32..36 | CRC-32 of what follows the header |
//! | 36..40 | CRC-32 of the header without byte 4 and this |
//!
//! Then, for each event: the lengths of its text, of its subject and of its metadata (four bytes each, all
//! bits set for nothing), the time of receipt (eight), and these texts.

use crate::event::{LogEvent, Timestamp};
use bytes::{Buf, Bytes};
use bytestring::ByteString;

/// How long a header is.
pub(super) const HEADER: usize = 40;
/// The byte of the header that says whether the block is still wanted.
pub(super) const STATE: u64 = 4;
/// What it says when it is not. Any other value means that it is: should the byte be damaged, the events come
/// again.
pub(super) const DONE: u8 = 0xA5;
/// The last digit is the version of the form. No UTF-8 text contains the first two, so that a block can be
/// found again behind a damaged one, whatever people log.
pub(super) const MARK: [u8; 4] = [0xFF, 0xFE, b'B', b'1'];

const EVENT: usize = 20;
const NOTHING: u32 = u32::MAX;

/// What stands before the events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) is_done: bool,
    pub(super) sequence: u64,
    pub(super) events: u32,
    /// Without the header.
    pub(super) length: u32,
    pub(super) oldest: Timestamp,
    checksum: u32,
}

impl Header {
    /// Reads a header; nothing if it is none, or damaged.
    pub(super) fn parse(bytes: &[u8; HEADER]) -> Option<Header> {
        let (head, checksum) = bytes.split_at(36);
        if head[..4] != MARK || checksum != header_checksum(head).to_le_bytes() {
            return None;
        }
        let mut rest = &head[8..];
        Some(Header {
            is_done: head[STATE as usize] == DONE,
            sequence: rest.get_u64_le(),
            events: rest.get_u32_le(),
            length: rest.get_u32_le(),
            oldest: Timestamp::from_nanos(rest.get_i64_le()),
            checksum: rest.get_u32_le(),
        })
    }

    /// How many bytes the block takes with its header.
    pub(super) fn total(&self) -> u64 {
        HEADER as u64 + u64::from(self.length)
    }

    /// The events of the block, if they are what was written.
    pub(super) fn decode(&self, payload: Vec<u8>) -> Option<Vec<LogEvent>> {
        if crc32fast::hash(&payload) != self.checksum {
            return None;
        }
        decode(payload.into(), self.events)
    }
}

fn header_checksum(head: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&head[..4]);
    hasher.update(&head[5..36]);
    hasher.finalize()
}

/// A block that is being made.
#[derive(Debug)]
pub(super) struct Builder {
    /// Begins with room for the header.
    bytes: Vec<u8>,
    events: u32,
    oldest: Timestamp,
}

impl Builder {
    pub(super) fn new() -> Builder {
        Builder { bytes: vec![0; HEADER], events: 0, oldest: Timestamp::from_nanos(0) }
    }

    /// Adds an event. Its receipts stay with it.
    pub(super) fn push(&mut self, event: &LogEvent) {
        let text = event.json();
        let metadata = event.metadata().and_then(|metadata| serde_json::to_string(metadata).ok());
        let subject = event.subject();
        // The length of a string in memory is far below four gigabytes: NATS and the readers of lines see to it.
        let length = |text: Option<&str>| {
            text.map_or(NOTHING, |text| u32::try_from(text.len()).unwrap_or(NOTHING)).to_le_bytes()
        };
        let subject_length = length(subject);
        self.bytes.extend_from_slice(&length(Some(&text)));
        self.bytes.extend_from_slice(&subject_length);
        self.bytes.extend_from_slice(&length(metadata.as_deref()));
        self.bytes.extend_from_slice(&event.received().nanos().to_le_bytes());
        for text in [Some(&*text), subject, metadata.as_deref()].into_iter().flatten() {
            self.bytes.extend_from_slice(text.as_bytes());
        }
        if self.events == 0 {
            self.oldest = event.received();
        }
        self.events += 1;
    }

    /// How many bytes it has so far, with its header.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(super) fn events(&self) -> u32 {
        self.events
    }

    /// Begins the next block in the same memory.
    pub(super) fn clear(&mut self) {
        self.bytes.truncate(HEADER);
        self.events = 0;
    }

    /// The block as it is written.
    pub(super) fn finish(&mut self, sequence: u64) -> &[u8] {
        let length = u32::try_from(self.bytes.len() - HEADER).unwrap_or(u32::MAX);
        let checksum = crc32fast::hash(&self.bytes[HEADER..]);
        let header = &mut self.bytes[..HEADER];
        header[..4].copy_from_slice(&MARK);
        header[4..8].fill(0);
        header[8..16].copy_from_slice(&sequence.to_le_bytes());
        header[16..20].copy_from_slice(&self.events.to_le_bytes());
        header[20..24].copy_from_slice(&length.to_le_bytes());
        header[24..32].copy_from_slice(&self.oldest.nanos().to_le_bytes());
        header[32..36].copy_from_slice(&checksum.to_le_bytes());
        let checksum = header_checksum(header);
        header[36..].copy_from_slice(&checksum.to_le_bytes());
        &self.bytes
    }
}

/// The events in this, if there are exactly so many. Each is a slice of it.
fn decode(payload: Bytes, count: u32) -> Option<Vec<LogEvent>> {
    let mut rest = payload;
    // Each takes some bytes, whatever the count says.
    let mut events = Vec::with_capacity((count as usize).min(rest.len() / EVENT));
    while !rest.is_empty() {
        if rest.len() < EVENT {
            return None;
        }
        let lengths = [rest.get_u32_le(), rest.get_u32_le(), rest.get_u32_le()];
        let received = Timestamp::from_nanos(rest.get_i64_le());
        let [text, subject, metadata] = lengths.map(|length| take(&mut rest, length));
        // The checksum vouches for it that the text is the one that was checked when the event came.
        let mut event = LogEvent::from_checked_text(text.ok()??, received);
        if let Some(subject) = subject.ok()? {
            event = event.with_subject(subject);
        }
        if let Some(metadata) = metadata.ok()? {
            event.set_metadata(serde_json::from_str(&metadata).ok()?);
        }
        events.push(event);
    }
    (events.len() == count as usize).then_some(events)
}

/// The next text of this length, if there is to be one.
fn take(rest: &mut Bytes, length: u32) -> Result<Option<ByteString>, ()> {
    if length == NOTHING {
        return Ok(None);
    }
    let length = length as usize;
    if length > rest.len() {
        return Err(());
    }
    ByteString::try_from(rest.split_to(length)).map(Some).map_err(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use vrl::value::Value;

    fn parse(bytes: &[u8]) -> Option<(Header, Vec<LogEvent>)> {
        let header = Header::parse(bytes.first_chunk()?)?;
        let payload = bytes.get(HEADER..header.total() as usize)?;
        Some((header, header.decode(payload.to_vec())?))
    }

    #[test]
    fn what_was_written_is_read_and_a_flipped_bit_is_noticed() {
        let time = Timestamp::from_nanos(1_790_000_000_123_456_789);
        let mut first = LogEvent::from_json_at(r#"{"message":"häßlich","n":1}"#.into(), time)
            .unwrap()
            .with_subject("logs.a.b.c".into());
        first.set_metadata(serde_json::from_str::<Value>(r#"{"secret":{"a":[1,2]}}"#).unwrap());
        let second = LogEvent::from_value(serde_json::from_str::<Value>(r#"{"tree":{"b":null}}"#).unwrap());
        let mut builder = Builder::new();
        builder.push(&second);
        builder.clear();
        builder.push(&first);
        builder.push(&second);
        let bytes = builder.finish(7).to_vec();
        let (header, events) = parse(&bytes).unwrap();
        assert_eq!((header.sequence, header.events, header.oldest, header.is_done), (7, 2, time, false));
        assert_eq!(header.total(), bytes.len() as u64);
        for (read, written) in events.iter().zip([&first, &second]) {
            assert_eq!(read.json(), written.json());
            assert_eq!(read.subject(), written.subject());
            assert_eq!(read.received(), written.received());
            assert_eq!(read.metadata(), written.metadata());
        }
        for at in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[at / 8] ^= 1 << (at % 8);
            match parse(&damaged) {
                None => {}
                // Only the byte that is no part of either sum.
                Some((header, _)) => assert!(at / 8 == STATE as usize && !header.is_done, "bit {at}"),
            }
        }
        let mut done = bytes.clone();
        done[STATE as usize] = DONE;
        assert!(parse(&done).unwrap().0.is_done);
        for length in 0..bytes.len() {
            assert!(parse(&bytes[..length]).is_none());
        }
    }
}
