//! [`Link`]: an open connection to one server.

use super::AuthError;
use super::connector::Subscription;
use super::message::Block;
use super::options::PING_INTERVAL;
use super::protocol::{Op, ProtocolError, parse, shown};
use crate::connect_error::in_words;
use crate::tls::is_not_tls;
use bytes::{Buf, Bytes, BytesMut};
use serde::Deserialize;
use snafu::{ResultExt, Snafu};
use std::io;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, timeout};

/// An open connection.
pub(super) struct Link {
    pub(super) stream: Box<dyn Stream>,
    pub(super) input: BytesMut,
    /// What is still to be written; kept here, so that a write that is cancelled half-way goes on.
    pub(super) output: BytesMut,
    /// Something was written that a layer below may still hold.
    is_unflushed: bool,
    /// The peer does not take any more; what it has sent can still be read.
    pub(super) is_deaf: bool,
    pub(super) opened: Instant,
    /// When something last came.
    pub(super) last_read: Instant,
    /// `PING`s of ours without an answer.
    pub(super) unanswered: u32,
    doubt: Doubt,
    /// When it is time for [`Link::ping`].
    pub(super) next_ping: Instant,
    /// How long it may be silent before we ask whether it is there, and how long that may take.
    pub(super) ping_interval: Duration,
    /// How much room is made for the next read: more while reads fill it, less while they don't.
    pub(super) room: usize,
    /// Bytes of headers and payload that the server takes in a message.
    pub(super) max_payload: usize,
}

/// Whether the server is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Doubt {
    No,
    /// It has been asked, and nothing has come since.
    Asked,
    /// The time for its answer is over but for a last look.
    LastLook,
}

pub(super) trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Stream for T {}

/// How long a connection may take to be there, and then the server from its first packet to its answer to
/// our `PING`.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long its `INFO` may take. A server that wants TLS first lets us wait for it, and a limit below that
/// for everything lets the log say so.
const INFO_TIMEOUT: Duration = Duration::from_secs(4);
/// How long a silent connection is read for at the end before it counts as dead: while a sink's buffer is full nobody
/// reads, and what has come then must be seen first.
const LAST_LOOK: Duration = Duration::from_millis(100);
/// Room for a read: as much as a slow stream needs, and as a fast one can use.
const ROOM: std::ops::RangeInclusive<usize> = 16 << 10..=256 << 10;

/// There is no connection, or no longer one.
#[derive(Debug, Snafu)]
#[snafu(visibility(pub(super)))]
pub(super) enum LinkError {
    #[snafu(display("{}", in_words(source)))]
    Io { source: io::Error },
    #[snafu(display("the server has closed the connection"))]
    Closed,
    #[snafu(display("nothing has come for {} s, nor an answer to a ping", silence.as_secs_f32()))]
    Silent { silence: Duration },
    #[snafu(display("no answer within {} s", limit.as_secs_f32()))]
    Timeout { limit: Duration },
    #[snafu(display(
        "no INFO from the server: {source}; if it wants TLS first (its handshake_first), set tls_first (NATS_TLS_FIRST=true)"
    ))]
    NoInfo { source: Box<LinkError> },
    #[snafu(display(
        "the server does not begin with TLS: {source}; set handshake_first in its tls block, or take tls_first (NATS_TLS_FIRST) out"
    ))]
    NotTlsFirst { source: io::Error },
    #[snafu(display("the name {host} has no address"))]
    NoAddress { host: String },
    #[snafu(transparent)]
    Protocol { source: ProtocolError },
    #[snafu(display("the server's INFO cannot be read: {source}"))]
    Info { source: serde_json::Error },
    #[snafu(display("TLS is required, but tls.enabled is false"))]
    TlsSwitchedOff,
    #[snafu(transparent)]
    Auth { source: AuthError },
    #[snafu(display("the server is about to stop"))]
    LameDuck,
    /// The server says why it ends the connection.
    #[snafu(display("{message}"))]
    Refused { message: String },
}

/// What we read of `INFO`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Info {
    pub(super) nonce: String,
    pub(super) headers: bool,
    /// Bytes; below 1, no limit.
    pub(super) max_payload: i64,
    pub(super) tls_required: bool,
    pub(super) connect_urls: Vec<String>,
    pub(super) ldm: bool,
}

impl Info {
    /// Bytes of headers and payload that the server takes in a message, if it says so.
    pub(super) fn max_payload(&self) -> Option<usize> {
        usize::try_from(self.max_payload).ok().filter(|limit| *limit > 0)
    }
}

impl LinkError {
    /// The same error, of a handshake that a connection begins with: where TLS should have answered, a
    /// server without TLS first says its `INFO`.
    pub(super) fn of_tls_first(self) -> LinkError {
        match self {
            LinkError::Io { source } if is_not_tls(&source) => LinkError::NotTlsFirst { source },
            other => other,
        }
    }
}

/// What comes of this, if it comes in time.
pub(super) async fn within<T>(
    limit: Duration,
    work: impl Future<Output = Result<T, LinkError>>,
) -> Result<T, LinkError> {
    timeout(limit, work).await.unwrap_or(Err(LinkError::Timeout { limit }))
}

impl Link {
    pub(super) fn new(stream: Box<dyn Stream>) -> Link {
        Link {
            stream,
            input: BytesMut::new(),
            output: BytesMut::new(),
            is_unflushed: false,
            is_deaf: false,
            opened: Instant::now(),
            last_read: Instant::now(),
            unanswered: 0,
            doubt: Doubt::No,
            next_ping: Instant::now() + PING_INTERVAL,
            ping_interval: PING_INTERVAL,
            room: *ROOM.start(),
            max_payload: usize::MAX,
        }
    }

    pub(super) fn write(&mut self, parts: &[&[u8]]) {
        parts.iter().for_each(|part| self.output.extend_from_slice(part));
    }

    pub(super) async fn flush(&mut self) -> Result<(), LinkError> {
        while self.output.has_remaining() {
            self.is_unflushed = true;
            self.stream.write_buf(&mut self.output).await.context(IoSnafu)?;
        }
        self.stream.flush().await.context(IoSnafu)?;
        self.is_unflushed = false;
        Ok(())
    }

    /// Reads; what is to be written goes out meanwhile. Ends when something has come, or when all is written.
    /// Safe to cancel.
    pub(super) async fn exchange(&mut self) -> Result<(), LinkError> {
        if self.is_deaf || (self.output.is_empty() && !self.is_unflushed) {
            return self.read().await;
        }
        let room = self.make_room();
        let Link { stream, input, output, is_unflushed, .. } = self;
        let (mut reader, mut writer) = tokio::io::split(stream);
        let write = async {
            *is_unflushed = true;
            while output.has_remaining() {
                if writer.write_buf(output).await? == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
            }
            writer.flush().await?;
            *is_unflushed = false;
            Ok::<_, io::Error>(())
        };
        tokio::select! {
            biased;
            written = write => {
                // It may have sent a lot before it went.
                self.is_deaf = written.is_err();
                Ok(())
            }
            read = reader.read_buf(input) => self.has_read(read, room),
        }
    }

    pub(super) async fn read(&mut self) -> Result<(), LinkError> {
        let room = self.make_room();
        let read = self.stream.read_buf(&mut self.input).await;
        self.has_read(read, room)
    }

    /// Reads, or writes a part of `run` and then of what is to be written, whichever comes first: so neither
    /// side waits for the other to read. Safe to cancel.
    pub(super) async fn transfer(&mut self, run: &mut &[u8]) -> Result<(), LinkError> {
        let room = self.make_room();
        let is_deaf = self.is_deaf;
        let (mut reader, mut writer) = tokio::io::split(&mut self.stream);
        let write = async {
            let written = match (run.has_remaining(), self.output.has_remaining()) {
                _ if is_deaf => std::future::pending().await,
                (true, _) => writer.write_buf(run).await,
                (false, true) => writer.write_buf(&mut self.output).await,
                (false, false) => match writer.flush().await {
                    Ok(()) => std::future::pending().await,
                    Err(error) => Err(error),
                },
            };
            matches!(written, Ok(1..))
        };
        tokio::select! {
            read = reader.read_buf(&mut self.input) => self.has_read(read, room),
            has_written = write => {
                // It may have said why before it went.
                self.is_deaf = !has_written;
                Ok(())
            }
        }
    }

    /// Takes so many bytes of what has been read; messages are slices of them. A huge message has made a block of
    /// up to twice its size: neither it nor the small ones that come after it keep the whole of that.
    pub(super) fn take_block(&mut self, length: usize) -> Block {
        let all = self.input.capacity();
        let block = self.input.split_to(length).freeze();
        if length == 0 || all <= 2 * *ROOM.end() {
            return Block::new(block);
        }
        self.input = BytesMut::from(&*self.input);
        Block::new(if length < all / 5 * 4 { Bytes::copy_from_slice(&block) } else { block })
    }

    fn make_room(&mut self) -> usize {
        if self.input.capacity() - self.input.len() < self.room / 4 {
            self.input.reserve(self.room);
        }
        self.input.capacity() - self.input.len()
    }

    fn has_read(&mut self, read: io::Result<usize>, room: usize) -> Result<(), LinkError> {
        let read = read.context(IoSnafu)?;
        if read == 0 {
            return ClosedSnafu.fail();
        }
        self.room = if read == room { self.room * 2 } else { self.room.max(read * 2) / 2 };
        self.room = self.room.clamp(*ROOM.start(), *ROOM.end());
        self.last_read = Instant::now();
        self.next_ping = self.last_read + self.ping_interval;
        self.doubt = Doubt::No;
        Ok(())
    }

    /// Nothing has come for a while: asks whether the server is there. To be called again at [`Link::next_ping`],
    /// while somebody reads in between.
    ///
    /// # Errors
    /// If nothing has come since it was asked, within the same time: it is not there.
    pub(super) fn ping(&mut self) -> Result<(), LinkError> {
        let wait = match self.doubt {
            Doubt::No => {
                self.unanswered += 1;
                self.write(&[b"PING\r\n"]);
                self.doubt = Doubt::Asked;
                self.ping_interval.saturating_sub(LAST_LOOK)
            }
            Doubt::Asked => {
                self.doubt = Doubt::LastLook;
                LAST_LOOK
            }
            Doubt::LastLook => return SilentSnafu { silence: self.last_read.elapsed() }.fail(),
        };
        self.next_ping = Instant::now() + wait;
        Ok(())
    }

    /// Tells the server of these subscriptions, numbered from 1, and asks it to answer behind them.
    pub(super) fn subscribe(&mut self, subscriptions: &[Subscription]) {
        for (index, (subject, queue)) in subscriptions.iter().enumerate() {
            let queue = queue.as_deref().unwrap_or_default();
            self.write(&[format!("SUB {subject} {queue} {}\r\n", index + 1).as_bytes()]);
        }
        self.write(&[b"PING\r\n"]);
    }

    /// The first thing that a server says, if it says it in plain text.
    pub(super) async fn read_plain_info(&mut self) -> Result<Info, LinkError> {
        within(INFO_TIMEOUT, self.read_info()).await.map_err(|error| match error {
            // One that wants TLS first waits for us, and in the end closes the connection.
            LinkError::Timeout { .. } | LinkError::Closed | LinkError::Io { .. } => {
                LinkError::NoInfo { source: Box::new(error) }
            }
            other => other,
        })
    }

    /// The first thing that a server says.
    pub(super) async fn read_info(&mut self) -> Result<Info, LinkError> {
        loop {
            if let Some((op, length)) = parse(&self.input)? {
                let Op::Info(range) = op else {
                    return Err(ProtocolError::Line { line: shown(&self.input[..length]) }.into());
                };
                let info = serde_json::from_slice(&self.input[range]).context(InfoSnafu)?;
                self.input.advance(length);
                return Ok(info);
            }
            self.read().await?;
        }
    }

    /// Reads up to the answer to our `PING`. A server that refuses us says so instead.
    pub(super) async fn wait_for_pong(&mut self) -> Result<(), LinkError> {
        let mut at = 0;
        loop {
            while let Some((op, length)) = parse(&self.input[at..])? {
                match op {
                    Op::Pong => {
                        // What came before stays, for the first chunk.
                        let before = self.input.split_to(at);
                        self.input.advance(length);
                        let after = std::mem::replace(&mut self.input, before);
                        self.input.unsplit(after);
                        return Ok(());
                    }
                    Op::Error(range) => {
                        let range = range.start + at..range.end + at;
                        let message = shown(&self.input[range]);
                        // Of one subscription; the first chunk will say it.
                        match is_permissions_violation(&message) {
                            true => at += length,
                            false => return RefusedSnafu { message }.fail(),
                        }
                    }
                    _ => at += length,
                }
            }
            self.read().await?;
        }
    }
}

pub(super) fn is_permissions_violation(message: &str) -> bool {
    message.to_lowercase().contains("permissions violation")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{DuplexStream, duplex};

    fn link() -> (Link, DuplexStream) {
        let (ours, theirs) = duplex(1024);
        (Link::new(Box::new(ours)), theirs)
    }

    /// A peer that takes nothing more: what it sends is read all the same, and when that ends too, it is dead after
    /// two intervals, though a write still waits.
    #[tokio::test(start_paused = true)]
    async fn a_write_that_hangs_holds_up_no_read_and_no_verdict() {
        let (mut link, mut other) = link();
        link.write(&[&[b'x'; 5_000]]);
        let flushed = timeout(Duration::from_secs(1), link.flush()).await;
        assert!(flushed.is_err(), "nobody has read so much");
        other.write_all(b"PING\r\n").await.unwrap();
        while link.input.is_empty() {
            link.exchange().await.unwrap();
        }
        let begin = Instant::now();
        let error = loop {
            let due = link.next_ping;
            let step = tokio::select! {
                moved = link.exchange() => moved,
                () = tokio::time::sleep_until(due) => link.ping(),
            };
            if let Err(error) = step {
                break error.to_string();
            }
        };
        assert_eq!(begin.elapsed().as_secs(), 2 * PING_INTERVAL.as_secs());
        assert_eq!(error, "nothing has come for 40 s, nor an answer to a ping");
    }

    /// Nobody has looked for a while: what has come meanwhile counts, though the time for an answer has passed.
    #[tokio::test(start_paused = true)]
    async fn an_answer_that_nobody_has_read_is_an_answer() {
        let (mut link, mut other) = link();
        tokio::time::advance(PING_INTERVAL).await;
        link.ping().unwrap();
        other.write_all(b"PONG\r\n").await.unwrap();
        tokio::time::advance(5 * PING_INTERVAL).await;
        // As for a connection of whose answer the runtime has not heard yet.
        link.ping().unwrap();
        assert!(link.next_ping > Instant::now(), "there is time to read");
        while link.input.is_empty() {
            link.exchange().await.unwrap();
        }
        assert_eq!(link.doubt, Doubt::No);
    }

    #[test]
    fn an_error_of_the_system_is_said_in_a_persons_words() {
        let refused = LinkError::Io { source: io::Error::from_raw_os_error(111) };
        assert_eq!(refused.to_string(), "connection refused");
        let unknown = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let unknown = LinkError::Io { source: io::Error::new(io::ErrorKind::InvalidData, unknown) };
        assert!(unknown.to_string().contains("is of an unknown authority"), "{unknown}");
    }

    /// A server that announces a huge message, and sends little of it, costs little.
    #[tokio::test]
    async fn what_is_announced_takes_no_memory_until_it_comes() {
        let (mut link, mut other) = link();
        other.write_all(b"HMSG a 1 134217728 134217728\r\nNATS/1.0\r\n").await.unwrap();
        for _ in 0..100 {
            link.read().await.unwrap();
            // As much as the other end takes without a reader.
            other.write_all(&[b'x'; 1000]).await.unwrap();
            assert_eq!(parse(&link.input), Ok(None));
        }
        assert!(link.input.capacity() <= 2 * *ROOM.end(), "{}", link.input.capacity());
    }

    #[tokio::test(start_paused = true)]
    async fn says_what_a_server_without_a_greeting_may_want() {
        let (mut link, _silent) = link();
        let error = link.read_plain_info().await.unwrap_err().to_string();
        assert!(error.contains("no answer within 4 s") && error.contains("set tls_first"), "{error}");
        let (mut link, closed) = self::link();
        drop(closed);
        let error = link.read_plain_info().await.unwrap_err().to_string();
        assert!(error.contains("closed the connection") && error.contains("set tls_first"), "{error}");
        let (mut link, mut other) = self::link();
        other.write_all(b"HTTP/1.1 400 Bad Request\r\n").await.unwrap();
        let error = link.read_plain_info().await.unwrap_err().to_string();
        assert!(error.contains("HTTP/1.1 400") && !error.contains("tls_first"), "{error}");
    }
}
