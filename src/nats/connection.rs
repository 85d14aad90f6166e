//! [`Connection`]: a client that connects, and connects again, for ever.
//!
//! It has no task and no queue of its own: whoever asks for the next chunk reads the socket. While
//! nobody asks, messages wait in the server, and nothing is dropped here.

use super::connector::{Connector, Role, Subscription};
use super::link::{Info, Link, LinkError, is_permissions_violation};
use super::message::{Message, Payload};
use super::options::ConnectionOptions;
use super::protocol::{Op, parse, shown};
use bytes::Buf;
use bytestring::ByteString;
use futures::FutureExt;
use std::ops::Range;

/// One client that reads, connected or trying to be.
pub struct Connection {
    connector: Connector,
    subscriptions: Vec<Subscription>,
    link: Option<Link>,
    drain: Drain,
    disconnects: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    /// The server knows; so many of its answers to our `PING`s are still to come, and the last is the end.
    Asked {
        pongs: u32,
    },
    Done,
}

impl Connection {
    /// The client; it connects when it is first asked for something.
    pub fn new(options: ConnectionOptions) -> Connection {
        Connection {
            connector: Connector::new(options, Role::Reader),
            subscriptions: Vec::new(),
            link: None,
            drain: Drain::No,
            disconnects: 0,
        }
    }

    /// Adds a subscription, before the first message is asked for. The server hears of it at each new
    /// connection.
    pub fn subscribe(&mut self, subject: &str, queue: Option<&str>) {
        self.subscriptions.push((subject.to_owned(), queue.map(str::to_owned)));
    }

    /// Waits until there is a connection on which the server knows of every subscription. Safe to cancel.
    pub async fn connect(&mut self) {
        if self.link.is_none() && self.drain == Drain::No {
            self.link = Some(self.connector.connect(&self.subscriptions).await);
        }
    }

    /// Waits for messages, connecting first where there is no connection: everything that one read brings,
    /// at least one message. `None` after [`Connection::drain`], when there are no more. Safe to cancel.
    pub async fn next_chunk(&mut self) -> Option<Vec<Message>> {
        loop {
            if self.drain == Drain::Done {
                return None;
            }
            if self.link.is_none() {
                if self.drain != Drain::No {
                    return None;
                }
                self.connect().await;
            }
            let mut chunk = Vec::new();
            match self.exchange(&mut chunk).await {
                Ok(()) => {}
                Err(error) => self.disconnected(&error),
            }
            if !chunk.is_empty() {
                return Some(chunk);
            }
        }
    }

    /// Writes what is to be written and reads once; what is whole is put into the chunk.
    async fn exchange(&mut self, chunk: &mut Vec<Message>) -> Result<(), LinkError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        if !link.is_deaf && link.flush().await.is_err() {
            // It may have sent a lot before it went.
            link.is_deaf = true;
        }
        // What came together with the answer to our first PING is there already.
        if !self.take(chunk)? {
            let Some(link) = &mut self.link else { return Ok(()) };
            let next_ping = link.next_ping;
            tokio::select! {
                // First, because after a long wait for a full buffer the time for a ping has passed, though
                // there is much to read.
                biased;
                read = link.read() => read?,
                () = tokio::time::sleep_until(next_ping) => link.ping()?,
            }
            self.take(chunk)?;
        }
        // An answer to the server's ping should not wait until the chunk has found its way. What does not go
        // out at once goes with the next.
        if let Some(link) = self.link.as_mut().filter(|link| !link.is_deaf && link.output.has_remaining()) {
            let _ = link.flush().now_or_never();
        }
        Ok(())
    }

    /// Takes every whole operation from what has been read; whether there was any.
    fn take(&mut self, chunk: &mut Vec<Message>) -> Result<bool, LinkError> {
        let Some(link) = &mut self.link else { return Ok(false) };
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
                        Op::Message { sid, subject, payload }
                            if (1..=self.subscriptions.len() as u64).contains(&sid) =>
                        {
                            let shift = |range: Range<usize>| range.start + at..range.end + at;
                            messages.push((sid, shift(subject), shift(payload)));
                        }
                        // Of a subscription that we do not have.
                        Op::Message { .. } => {}
                        Op::Ping => link.output.extend_from_slice(b"PONG\r\n"),
                        Op::Pong => {
                            link.unanswered = link.unanswered.saturating_sub(1);
                            self.drain = match self.drain {
                                Drain::Asked { pongs: 0 | 1 } => Drain::Done,
                                Drain::Asked { pongs } => Drain::Asked { pongs: pongs - 1 },
                                other => other,
                            };
                        }
                        Op::Ok => {}
                        Op::Info(range) => infos.extend(serde_json::from_slice::<Info>(&rest[range])),
                        Op::Error(range) => {
                            let message = shown(&rest[range]);
                            // Only this leaves the connection open.
                            match is_permissions_violation(&message) {
                                true => self.connector.log.refused(&message),
                                false => failure = Some(LinkError::Refused { message }),
                            }
                        }
                    }
                    at += length;
                }
            }
        }
        let block = link.take_block(at);
        // Nearly always all of it is text, and a part of text need not be checked again.
        let text = ByteString::try_from(block.clone()).ok();
        let slice =
            |range: Range<usize>| match text.as_ref().and_then(|text| Some((text, text.get(range.clone())?)))
            {
                Some((text, part)) => Payload::Text(text.slice_ref(part)),
                None => block.slice(range).into(),
            };
        chunk.reserve_exact(messages.len());
        for (sid, subject, payload) in messages {
            let subject = match slice(subject) {
                Payload::Text(subject) => subject,
                Payload::Binary(subject) => String::from_utf8_lossy(&subject).into_owned().into(),
            };
            let subscription = usize::try_from(sid).unwrap_or_default().saturating_sub(1);
            chunk.push(Message { subscription, subject, payload: slice(payload) });
        }
        infos.iter().for_each(|info| self.connector.heed(info));
        match failure {
            Some(error) => Err(error),
            None => Ok(at > 0),
        }
    }

    fn disconnected(&mut self, error: &LinkError) {
        self.disconnects += 1;
        self.connector.lost(self.link.take(), error);
    }

    /// How often the connection has been lost: a server that stopped or broke, or that cut us off because
    /// we read too slowly, which it does not tell.
    pub fn disconnects(&self) -> u64 {
        self.disconnects
    }

    /// Tells the server to send nothing more. What it has sent is still to be taken;
    /// [`Connection::next_chunk`] then ends. Without a connection there is nothing to wait for.
    pub fn drain(&mut self) {
        self.drain = Drain::Done;
        if let Some(link) = &mut self.link {
            self.drain = Drain::Asked { pongs: link.unanswered + 1 };
            for index in 0..self.subscriptions.len() {
                link.write(&[format!("UNSUB {}\r\n", index + 1).as_bytes()]);
            }
            link.write(&[b"PING\r\n"]);
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("options", &self.connector.options).finish_non_exhaustive()
    }
}
