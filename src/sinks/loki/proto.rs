//! Loki's messages (`pkg/push/push.proto`).

use super::labels::Label;
use crate::event::Timestamp;
use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

#[derive(Clone, PartialEq, Message)]
pub(super) struct Entry {
    #[prost(message, optional, tag = "1")]
    timestamp: Option<Time>,
    #[prost(string, tag = "2")]
    line: String,
    #[prost(message, repeated, tag = "3")]
    structured_metadata: Vec<LabelPair>,
}

#[derive(Clone, PartialEq, Message)]
struct Time {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

#[derive(Clone, PartialEq, Message)]
struct LabelPair {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    value: String,
}

impl Entry {
    pub(super) fn new(time: Timestamp, line: String, metadata: &[Label<'_>]) -> Entry {
        let nanos = i32::try_from(time.subsecond_nanos()).unwrap_or_default();
        let pairs = metadata
            .iter()
            .map(|label| LabelPair { name: label.name.to_string(), value: label.value().into_owned() });
        let timestamp = Some(Time { seconds: time.seconds(), nanos });
        Entry { timestamp, line, structured_metadata: pairs.collect() }
    }
}

/// A push request of these streams, whose entries have been encoded already: `streams = 1`, each
/// with `labels = 1` and `entries = 2`.
pub(super) fn write_streams(streams: &[(&[u8], Vec<super::Entry<'_>>)], out: &mut Vec<u8>) {
    let field_len = |bytes: &[u8]| key_len(1) + encoded_len_varint(bytes.len() as u64) + bytes.len();
    let write = |tag: u32, bytes: &[u8], out: &mut Vec<u8>| {
        encode_key(tag, WireType::LengthDelimited, out);
        encode_varint(bytes.len() as u64, out);
        out.extend_from_slice(bytes);
    };
    for (labels, entries) in streams {
        let length = field_len(labels) + entries.iter().map(|entry| field_len(entry.text)).sum::<usize>();
        encode_key(1, WireType::LengthDelimited, out);
        encode_varint(length as u64, out);
        write(1, labels, out);
        entries.iter().for_each(|entry| write(2, entry.text, out));
    }
}
