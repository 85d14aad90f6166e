//! `stdin`: lines of standard input, each one event.

use super::nats::Decoding;
use crate::config::{ComponentInfo, Result, Source, SourceConfig, SourceContext};
use crate::event::{LogEvent, Path, Timestamp};
use crate::sources::nats::DecodingCodec;
use async_trait::async_trait;
use bytes::BytesMut;
use schemars::JsonSchema;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The configuration of the `stdin` source.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StdinConfig {
    /// What a line is. Default: `bytes`, the message.
    #[serde(default)]
    decoding: Decoding,
    /// The most bytes of a line; a longer one is cut there, and the rest of it is an event of its own.
    /// Default: 102,400.
    #[serde(default = "default_max_length")]
    max_length: usize,
}

fn default_max_length() -> usize {
    102_400
}

impl StdinConfig {
    pub(crate) const INFO: ComponentInfo =
        ComponentInfo::new("stdin", "Read lines of standard input.", "decoding.codec = \"json\"");
}

#[async_trait]
impl SourceConfig for StdinConfig {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        if self.max_length == 0 {
            return Err("max_length: 0 leaves nothing of a line; expected at least 1".into());
        }
        let config = self.clone();
        Ok(Box::pin(async move { config.run(tokio::io::stdin(), cx).await }))
    }
}

impl StdinConfig {
    async fn run(self, mut input: impl AsyncRead + Unpin, cx: SourceContext) -> Result<()> {
        let mut buffer = BytesMut::with_capacity(64 << 10);
        cx.ready.set();
        loop {
            let read = tokio::select! {
                read = input.read_buf(&mut buffer) => read?,
                () = cx.shutdown.cancelled() => 0,
            };
            let mut events = Vec::new();
            while let Some(line) = take_line(&mut buffer, self.max_length, read == 0) {
                events.push(self.decode(line, &cx));
            }
            if !events.is_empty() {
                cx.output.send(events).await;
            }
            if read == 0 {
                return Ok(());
            }
        }
    }

    fn decode(&self, line: BytesMut, cx: &SourceContext) -> LogEvent {
        let received = Timestamp::now();
        let event = match self.decoding.codec {
            DecodingCodec::Json => LogEvent::from_json(line.freeze()).unwrap_or_else(|line| {
                cx.output.counts().add_undecodable(1);
                LogEvent::from_message(&line, received)
            }),
            DecodingCodec::Bytes => {
                let mut event = LogEvent::from_message(&line, received);
                event.insert_missing(&Path::root_field("source_type"), "stdin");
                event
            }
        };
        event.with_received(received)
    }
}

/// The next line without its end; at the end of the input, what is left counts as one. Empty lines
/// are passed over.
fn take_line(buffer: &mut BytesMut, max_length: usize, is_end: bool) -> Option<BytesMut> {
    loop {
        let end = memchr::memchr(b'\n', &buffer[..buffer.len().min(max_length + 1)]);
        let mut line = match end {
            Some(end) => {
                let mut line = buffer.split_to(end + 1);
                line.truncate(end);
                line
            }
            None if buffer.len() > max_length => buffer.split_to(max_length),
            None if is_end && !buffer.is_empty() => buffer.split(),
            None => return None,
        };
        if line.last() == Some(&b'\r') {
            line.truncate(line.len() - 1);
        }
        if !line.is_empty() {
            return Some(line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(input: &str, max_length: usize, is_end: bool) -> Vec<String> {
        let mut buffer = BytesMut::from(input);
        let next = || take_line(&mut buffer, max_length, is_end);
        std::iter::from_fn(next).map(|line| String::from_utf8(line.to_vec()).unwrap()).collect()
    }

    #[test]
    fn takes_lines() {
        assert_eq!(lines("a\nb\r\n\n\r\nc", 100, false), ["a", "b"]);
        assert_eq!(lines("a\nb", 100, true), ["a", "b"]);
        assert_eq!(lines("abcdefg\nhi\n", 3, false), ["abc", "def", "g", "hi"]);
        assert_eq!(lines("abc\n", 3, false), ["abc"]);
        assert_eq!(lines("", 3, true), [""; 0]);
    }
}
