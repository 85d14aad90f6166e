//! [`Messages`]: what is published together, as it goes over the wire.

use std::ops::Range;

/// Messages on their way, encoded once: to publish one again is to write the same bytes.
#[derive(Debug, Default)]
pub struct Messages {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Debug)]
struct Entry {
    /// Where it stands.
    range: Range<usize>,
    /// Its number: greater than that of the one before it.
    number: u64,
    /// Bytes of its headers and its payload.
    size: usize,
}

impl Messages {
    /// Adds a message (`PUB`, or `HPUB` where it has an id). Its answer comes to `reply`, if there is one.
    pub(super) fn add(
        &mut self,
        number: u64,
        subject: &str,
        reply: Option<&str>,
        id: Option<&str>,
        payload: &[u8],
    ) {
        let headers = id.map_or_else(String::new, |id| format!("NATS/1.0\r\nNats-Msg-Id: {id}\r\n\r\n"));
        let size = headers.len() + payload.len();
        let start = self.bytes.len();
        let mut put = |text: &[u8]| self.bytes.extend_from_slice(text);
        let mut digits = itoa::Buffer::new();
        put(if id.is_some() { b"HPUB " } else { b"PUB " });
        put(subject.as_bytes());
        put(b" ");
        if let Some(reply) = reply {
            put(reply.as_bytes());
            put(b" ");
        }
        if id.is_some() {
            put(digits.format(headers.len()).as_bytes());
            put(b" ");
        }
        put(digits.format(size).as_bytes());
        put(b"\r\n");
        put(headers.as_bytes());
        put(payload);
        put(b"\r\n");
        self.entries.push(Entry { range: start..self.bytes.len(), number, size });
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All of them, as they go over the wire.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The subject of the message at this place.
    pub fn subject(&self, index: usize) -> &str {
        let mut words = self.bytes[self.range(index)].split(|byte| *byte == b' ');
        // It was a `str` when it was added.
        words.nth(1).and_then(|subject| std::str::from_utf8(subject).ok()).unwrap_or_default()
    }

    /// Where the message at this place stands in the bytes.
    pub(super) fn range(&self, index: usize) -> Range<usize> {
        self.entries[index].range.clone()
    }

    /// Bytes of headers and payload of the message at this place: what a server limits.
    pub(super) fn size(&self, index: usize) -> usize {
        self.entries[index].size
    }

    /// The place of the message with this number.
    pub(super) fn position(&self, number: u64) -> Option<usize> {
        self.entries.binary_search_by_key(&number, |entry| entry.number).ok()
    }

    /// Leaves out the messages at the places that are not to be kept.
    pub fn retain(&mut self, keep: impl Fn(usize) -> bool) {
        let mut end = 0;
        let mut index = 0;
        self.entries.retain_mut(|entry| {
            index += 1;
            if !keep(index - 1) {
                return false;
            }
            let length = entry.range.len();
            self.bytes.copy_within(entry.range.clone(), end);
            entry.range = end..end + length;
            end += length;
            true
        });
        self.bytes.truncate(end);
    }

    /// Adds messages that are younger than these.
    pub fn append(&mut self, other: &Messages) {
        let shift = self.bytes.len();
        self.bytes.extend_from_slice(&other.bytes);
        self.entries.extend(other.entries.iter().map(|entry| {
            let range = entry.range.start + shift..entry.range.end + shift;
            Entry { range, ..entry.clone() }
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(messages: &Messages) -> &str {
        std::str::from_utf8(messages.bytes()).unwrap()
    }

    #[test]
    fn are_written_as_the_protocol_wants_them() {
        let mut messages = Messages::default();
        messages.add(1, "a.b", None, None, b"{}");
        assert_eq!(text(&messages), "PUB a.b 2\r\n{}\r\n");
        messages.add(2, "a.c", Some("_INBOX.x.2"), None, b"");
        messages.add(3, "a.d", Some("_INBOX.x.3"), Some("7-1"), b"xyz");
        assert_eq!(
            text(&messages),
            "PUB a.b 2\r\n{}\r\nPUB a.c _INBOX.x.2 0\r\n\r\n\
             HPUB a.d _INBOX.x.3 30 33\r\nNATS/1.0\r\nNats-Msg-Id: 7-1\r\n\r\nxyz\r\n"
        );
        assert_eq!([0, 1, 2].map(|index| messages.size(index)), [2, 0, 33]);
    }

    #[test]
    fn are_found_and_kept_in_order() {
        let mut messages = Messages::default();
        for number in [3, 5, 8, 9] {
            messages.add(number, &format!("s.{number}"), None, None, number.to_string().as_bytes());
        }
        messages.retain(|index| index % 2 == 1);
        let mut younger = Messages::default();
        younger.add(12, "s.12", None, None, b"12");
        messages.append(&younger);
        assert_eq!(text(&messages), "PUB s.5 1\r\n5\r\nPUB s.9 1\r\n9\r\nPUB s.12 2\r\n12\r\n");
        assert_eq!([5, 9, 12, 3].map(|number| messages.position(number)), [Some(0), Some(1), Some(2), None]);
        assert_eq!([0, 1, 2].map(|index| messages.subject(index)), ["s.5", "s.9", "s.12"]);
        assert_eq!(&messages.bytes()[messages.range(2)], b"PUB s.12 2\r\n12\r\n");
    }
}
