//! [`Reader`]: one open connection that reads, up to the end of its drain.

use super::connector::Connector;
use super::link::{Info, Link, LinkError, is_permissions_violation};
use super::message::Message;
use super::protocol::{Op, parse, shown};
use bytes::Buf;
use futures::FutureExt;
use std::ops::Range;
use tokio::time::Instant;

/// One open connection on which the server knows of our subscriptions.
pub(super) struct Reader {
    pub(super) link: Link,
    subscriptions: usize,
    mark: Mark,
    /// When a message last came, or the connection began.
    pub(super) last_message: Instant,
    /// The server is about to stop.
    pub(super) is_leaving: bool,
}

/// A place in what the server sends: its answer to a `PING` of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mark {
    None,
    /// So many of its answers are still to come, and the last is the mark.
    Ahead {
        pongs: u32,
    },
    Reached,
}

impl Reader {
    pub(super) fn new(link: Link, subscriptions: usize) -> Reader {
        Reader { link, subscriptions, mark: Mark::None, last_message: Instant::now(), is_leaving: false }
    }

    /// Writes what is to be written and reads once; what is whole is put into the chunk, together with what
    /// came before a failure. Safe to cancel.
    pub(super) async fn read(
        &mut self,
        connector: &mut Connector,
        chunk: &mut Vec<Message>,
    ) -> Result<(), LinkError> {
        // What came together with the answer to our first PING is there already.
        if !self.take(connector, chunk)? {
            let next_ping = self.link.next_ping;
            tokio::select! {
                // First, because after a long wait for a full buffer the time for a ping has passed, though
                // there is much to read.
                biased;
                read = self.link.exchange() => read?,
                () = tokio::time::sleep_until(next_ping) => self.link.ping()?,
            }
            self.take(connector, chunk)?;
        }
        // An answer to the server's ping should not wait until the chunk has found its way. What does not go
        // out at once goes with the next.
        if !self.link.is_deaf && self.link.output.has_remaining() {
            let _ = self.link.flush().now_or_never();
        }
        Ok(())
    }

    /// Takes every whole operation from what has been read; whether there was any.
    fn take(&mut self, connector: &mut Connector, chunk: &mut Vec<Message>) -> Result<bool, LinkError> {
        let link = &mut self.link;
        let (mut at, mut messages) = (0, Vec::new());
        let mut infos = Vec::new();
        let mut failure = None;
        loop {
            let rest = &link.input[at..];
            match parse(rest) {
                Ok(None) => break,
                Err(error) => {
                    failure = Some(error.into());
                    break;
                }
                Ok(Some((op, length))) => {
                    match op {
                        Op::Message { sid, subject, payload, .. }
                            if (1..=self.subscriptions as u64).contains(&sid) =>
                        {
                            let shift = |range: Range<usize>| range.start + at..range.end + at;
                            messages.push((sid, shift(subject), shift(payload)));
                        }
                        // Of a subscription that we do not have.
                        Op::Message { .. } => {}
                        Op::Ping => link.output.extend_from_slice(b"PONG\r\n"),
                        Op::Pong => {
                            link.unanswered = link.unanswered.saturating_sub(1);
                            self.mark = match self.mark {
                                Mark::Ahead { pongs: 0 | 1 } => Mark::Reached,
                                Mark::Ahead { pongs } => Mark::Ahead { pongs: pongs - 1 },
                                other => other,
                            };
                        }
                        Op::Ok => {}
                        Op::Info(range) => infos.extend(serde_json::from_slice::<Info>(&rest[range])),
                        Op::Error(range) => {
                            let message = shown(&rest[range]);
                            // Only this leaves the connection open.
                            match is_permissions_violation(&message) {
                                true => connector.log.refused(&message),
                                false => failure = Some(LinkError::Refused { message }),
                            }
                        }
                    }
                    at += length;
                }
            }
        }
        let block = link.take_block(at);
        if !messages.is_empty() {
            self.last_message = link.last_read;
        }
        chunk.reserve_exact(messages.len());
        for (sid, subject, payload) in messages {
            let subscription = usize::try_from(sid).unwrap_or_default().saturating_sub(1);
            chunk.push(Message { subscription, subject: block.text(subject), payload: block.slice(payload) });
        }
        for info in &infos {
            connector.heed(info);
            self.is_leaving |= info.ldm;
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(at > 0),
        }
    }

    /// Asks the server for an answer behind what it has sent until then: see [`Reader::has_reached_mark`].
    pub(super) fn set_mark(&mut self) {
        self.link.unanswered += 1;
        self.mark = Mark::Ahead { pongs: self.link.unanswered };
        self.link.write(&[b"PING\r\n"]);
    }

    /// Tells the server to send nothing more. The mark is behind the last that it has sent.
    pub(super) fn drain(&mut self) {
        for index in 0..self.subscriptions {
            self.link.write(&[format!("UNSUB {}\r\n", index + 1).as_bytes()]);
        }
        self.set_mark();
    }

    /// Whether all that came before the mark that was set last has been read.
    pub(super) fn has_reached_mark(&self) -> bool {
        self.mark == Mark::Reached
    }
}
