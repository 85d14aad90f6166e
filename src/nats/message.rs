//! [`Message`]: what a server sends.

use bytes::Bytes;
use bytestring::ByteString;
use std::ops::Range;

/// A message as it came.
#[derive(Clone, Debug)]
pub struct Message {
    /// Which subscription it came on, from 0, in the order in which they were made.
    pub subscription: usize,
    /// Its subject.
    pub subject: ByteString,
    /// Its payload: like the subject a slice of the block that was read, so that to keep one is to keep
    /// all of that.
    pub payload: Payload,
}

/// What a message carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Payload {
    /// UTF-8.
    Text(ByteString),
    /// Anything else.
    Binary(Bytes),
}

impl Payload {
    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8] {
        match self {
            Payload::Text(text) => text.as_bytes(),
            Payload::Binary(bytes) => bytes,
        }
    }
}

impl From<Bytes> for Payload {
    fn from(bytes: Bytes) -> Payload {
        // A clone of the bytes is a reference to them.
        ByteString::try_from(bytes.clone()).map_or(Payload::Binary(bytes), Payload::Text)
    }
}

/// What was read together: messages are slices of it.
pub(super) struct Block {
    bytes: Bytes,
    /// Nearly always all of it is text, and a part of text need not be checked again.
    text: Option<ByteString>,
}

impl Block {
    pub(super) fn new(bytes: Bytes) -> Block {
        let text = ByteString::try_from(bytes.clone()).ok();
        Block { bytes, text }
    }

    pub(super) fn slice(&self, range: Range<usize>) -> Payload {
        let part = self.text.as_ref().and_then(|text| Some(text.slice_ref(text.get(range.clone())?)));
        part.map_or_else(|| self.bytes.slice(range).into(), Payload::Text)
    }

    /// The same as text, whatever it is.
    pub(super) fn text(&self, range: Range<usize>) -> ByteString {
        match self.slice(range) {
            Payload::Text(text) => text,
            Payload::Binary(bytes) => String::from_utf8_lossy(&bytes).into_owned().into(),
        }
    }
}

impl Message {
    /// Gives the message memory of its own.
    pub fn detach(&mut self) {
        match &mut self.payload {
            // One piece of memory for both.
            Payload::Text(text) => {
                let own = ByteString::from([&*self.subject, &**text].concat());
                (self.subject, *text) = own.split_at(self.subject.len());
            }
            Payload::Binary(bytes) => {
                self.subject = String::from(&*self.subject).into();
                *bytes = Bytes::copy_from_slice(bytes);
            }
        }
    }
}
