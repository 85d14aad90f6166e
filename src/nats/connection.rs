//! [`Connection`]: a client that connects, and connects again, for ever.
//!
//! It has no task and no queue of its own: whoever asks for the next chunk reads the socket. While
//! nobody asks, messages wait in the server, and nothing is dropped here.

use super::connection_log::ConnectionLog;
use super::link::{
    CONNECT_TIMEOUT, Info, InfoSnafu, IoSnafu, Link, LinkError, NoAddressSnafu, ROOM, TlsSwitchedOffSnafu,
    is_permissions_violation, within,
};
use super::message::{Message, Payload};
use super::options::{ConnectionOptions, TlsMode};
use super::protocol::{Op, parse, shown};
use bytes::{Buf, BytesMut};
use bytestring::ByteString;
use futures::FutureExt;
use rand::seq::SliceRandom;
use rustls::pki_types::ServerName;
use serde::Serialize;
use snafu::{OptionExt, ResultExt};
use std::io;
use std::net::IpAddr;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use zeroize::Zeroizing;

/// One client, connected or trying to be.
pub struct Connection {
    options: ConnectionOptions,
    tls: Option<TlsConnector>,
    /// For every server, also those that others tell us of.
    tls_mode: TlsMode,
    /// The configured servers, in an order of our own.
    servers: Vec<String>,
    /// Those that a server has told us of last.
    learned: Vec<String>,
    /// Whose turn it is.
    turn: usize,
    subscriptions: Vec<(String, Option<String>)>,
    link: Option<Link>,
    /// How often we have connected, or tried to, since a connection last held for a while.
    attempts: usize,
    drain: Drain,
    disconnects: u64,
    log: ConnectionLog,
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

/// How long a connection must have held for the next one to be made without a pause: a server that takes
/// us and lets us go again at once would have us back at once, for ever.
const HELD: Duration = Duration::from_secs(10);
/// How long the lookup of a name may take.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(15);

/// What we say in `CONNECT`.
#[derive(Serialize)]
struct Connect<'a> {
    verbose: bool,
    pedantic: bool,
    tls_required: bool,
    name: &'a str,
    lang: &'static str,
    version: &'static str,
    protocol: u8,
    echo: bool,
    headers: bool,
    #[serde(flatten)]
    credentials: super::auth::Credentials,
}

impl Connection {
    /// The client; it connects when it is first asked for something.
    pub fn new(options: ConnectionOptions) -> Connection {
        let log = ConnectionLog::new(&options.id);
        let tls = options.tls.as_ref().map(|tls| TlsConnector::from(Arc::new(tls.config.clone())));
        let mut servers = options.servers.urls.clone();
        // So that many clients do not all go to the first server of the list.
        servers.shuffle(&mut rand::rng());
        let has_tls_url = servers.iter().any(|server| server.starts_with("tls://"));
        let by_url = if has_tls_url { TlsMode::Required } else { TlsMode::IfAsked };
        let tls_mode = options.tls.as_ref().map_or(by_url, |tls| tls.mode.max(by_url));
        Connection {
            options,
            tls,
            tls_mode,
            servers,
            learned: Vec::new(),
            turn: 0,
            subscriptions: Vec::new(),
            link: None,
            attempts: 0,
            drain: Drain::No,
            disconnects: 0,
            log,
        }
    }

    /// Adds a subscription, before the first message is asked for. The server hears of it at each new
    /// connection.
    pub fn subscribe(&mut self, subject: &str, queue: Option<&str>) {
        self.subscriptions.push((subject.to_owned(), queue.map(str::to_owned)));
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

    /// Connects, however long it takes.
    async fn connect(&mut self) {
        while self.link.is_none() {
            tokio::time::sleep(reconnect_delay(self.attempts)).await;
            let count = self.servers.len() + self.learned.len();
            let server =
                self.servers.iter().chain(&self.learned).nth(self.turn % count).cloned().unwrap_or_default();
            self.turn = self.turn.wrapping_add(1);
            self.attempts += 1;
            match self.open(&server).await {
                Ok(link) => {
                    self.link = Some(link);
                    tracing::info!(source = self.log.id, "connected to NATS");
                }
                Err(error) => self.log.cannot_connect(&server, &error),
            }
        }
    }

    /// Connects to one of the addresses that the server's name has.
    async fn open(&mut self, server: &str) -> Result<Link, LinkError> {
        let (host, port) = super::servers::host_and_port(server);
        let lookup = timeout(LOOKUP_TIMEOUT, tokio::net::lookup_host((host.as_str(), port)));
        let found = lookup.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
        let mut addresses: Vec<_> = found.context(IoSnafu)?.collect();
        addresses.shuffle(&mut rand::rng());
        let mut link = NoAddressSnafu { host: &host }.fail();
        for address in addresses {
            let stream =
                within(CONNECT_TIMEOUT, async { TcpStream::connect(address).await.context(IoSnafu) });
            link = match stream.await {
                Ok(stream) => within(CONNECT_TIMEOUT, self.sign_in(&host, stream)).await,
                Err(error) => Err(error),
            };
            if link.is_ok() {
                break;
            }
        }
        link
    }

    async fn sign_in(&mut self, host: &str, stream: TcpStream) -> Result<Link, LinkError> {
        stream.set_nodelay(true).context(IoSnafu)?;
        let (mut link, info) = self.greet(host, Link::new(Box::new(stream))).await?;
        let env = &self.options.env;
        let credentials = match (&self.options.auth, &self.options.servers.userinfo) {
            (Some(auth), _) => auth.answer(info.nonce.as_bytes(), env)?,
            (None, Some((user, Some(password)))) => {
                super::auth::Credentials::user_password(&env.refresh(user), &env.refresh(password))
            }
            (None, Some((token, None))) => super::auth::Credentials::token(&env.refresh(token)),
            (None, None) => super::auth::Credentials::default(),
        };
        let connect = Connect {
            verbose: false,
            pedantic: false,
            tls_required: self.tls_mode != TlsMode::IfAsked,
            name: &self.options.name,
            lang: "rust",
            version: env!("CARGO_PKG_VERSION"),
            protocol: 1,
            echo: true,
            headers: true,
            credentials,
        };
        // Straight to the stream, so that no buffer keeps the secret.
        let connect = Zeroizing::new(serde_json::to_vec(&connect).context(InfoSnafu)?);
        for part in [b"CONNECT ", connect.as_slice(), b"\r\n"] {
            link.stream.write_all(part).await.context(IoSnafu)?;
        }
        for (index, (subject, queue)) in self.subscriptions.iter().enumerate() {
            let queue = queue.as_deref().unwrap_or_default();
            link.write(&[format!("SUB {subject} {queue} {}\r\n", index + 1).as_bytes()]);
        }
        link.write(&[b"PING\r\n"]);
        link.flush().await?;
        link.wait_for_pong().await?;
        Ok(link)
    }

    /// Reads `INFO`, and turns to TLS before or after it; the link is then as it stays.
    async fn greet(&mut self, host: &str, mut link: Link) -> Result<(Link, Info), LinkError> {
        if self.tls_mode == TlsMode::First {
            link = self.encrypt(host, link).await.map_err(LinkError::of_tls_first)?;
            let info = link.read_info().await?;
            self.learn(&info);
            return Ok((link, info));
        }
        let info = link.read_plain_info().await?;
        if info.tls_required || self.tls_mode == TlsMode::Required {
            link = self.encrypt(host, link).await?;
        } else {
            // What comes before TLS could come from anybody.
            self.learn(&info);
        }
        Ok((link, info))
    }

    async fn encrypt(&mut self, host: &str, link: Link) -> Result<Link, LinkError> {
        let tls = self.tls.as_ref().context(TlsSwitchedOffSnafu)?;
        let name = self.certified_name(host);
        let name = ServerName::try_from(name.clone()).ok().context(NoAddressSnafu { host: name })?;
        Ok(Link::new(Box::new(tls.connect(name, link.stream).await.context(IoSnafu)?)))
    }

    /// The name to ask for, and to expect in the certificate of this host. Servers tell each other's
    /// addresses, and certificates have names: for an address that is not configured, the name that is.
    fn certified_name(&self, host: &str) -> String {
        if let Some(name) = self.options.tls.as_ref().and_then(|tls| tls.server_name.as_ref()) {
            return name.clone();
        }
        let mut configured = self.servers.iter().map(|server| super::servers::host_and_port(server).0);
        let is_configured = configured.clone().any(|name| name == host);
        match host.parse::<IpAddr>() {
            Ok(_) if !is_configured => configured.next().unwrap_or_else(|| host.to_owned()),
            _ => host.to_owned(),
        }
    }

    /// Takes note of the servers of the cluster, those that are there now.
    fn learn(&mut self, info: &Info) {
        if info.connect_urls.is_empty() {
            return;
        }
        let is_new =
            |address: &&String| !self.servers.iter().any(|known| known.split("://").nth(1) == Some(address));
        self.learned =
            info.connect_urls.iter().filter(is_new).map(|address| format!("nats://{address}")).collect();
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
                                true => self.log.refused(&message),
                                false => failure = Some(LinkError::Refused { message }),
                            }
                        }
                    }
                    at += length;
                }
            }
        }
        let block = link.input.split_to(at).freeze();
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
        // A block that a huge message has made is not the one that small ones wait in.
        if link.input.is_empty() && link.input.capacity() > *ROOM.end() {
            link.input = BytesMut::new();
        }
        for info in infos {
            self.learn(&info);
            if info.ldm {
                tracing::info!(
                    source = self.log.id,
                    "the NATS server is about to stop; it will send us to another"
                );
            }
        }
        match failure {
            Some(error) => Err(error),
            None => Ok(at > 0),
        }
    }

    fn disconnected(&mut self, error: &LinkError) {
        if self.link.take().is_some_and(|link| link.opened.elapsed() >= HELD) {
            self.attempts = 0;
        }
        self.disconnects += 1;
        self.log.disconnected(error);
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

    /// Publishes a message; [`Connection::flush`] sends it. For the demo's sample apps.
    pub async fn publish(&mut self, subject: &str, payload: &[u8]) {
        if self.link.is_none() {
            self.connect().await;
        }
        if let Some(link) = &mut self.link {
            link.write(&[format!("PUB {subject} {}\r\n", payload.len()).as_bytes(), payload, b"\r\n"]);
        }
    }

    /// Sends what has been published.
    ///
    /// # Errors
    /// If the connection breaks; what was not sent is gone.
    pub async fn send(&mut self) -> Result<(), String> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let sent = link.flush().await;
        self.keep_if(sent)
    }

    /// Sends what has been published, and waits until the server has taken it.
    ///
    /// # Errors
    /// If the connection breaks.
    pub async fn flush(&mut self) -> Result<(), String> {
        let Some(link) = &mut self.link else { return Ok(()) };
        link.write(&[b"PING\r\n"]);
        let answered = match link.flush().await {
            Ok(()) => link.wait_for_pong().await,
            Err(error) => Err(error),
        };
        self.keep_if(answered)
    }

    fn keep_if(&mut self, result: Result<(), LinkError>) -> Result<(), String> {
        result.map_err(|error| {
            self.disconnected(&error);
            error.to_string()
        })
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("options", &self.options).finish_non_exhaustive()
    }
}

/// At once the first time, then from at most 100 ms up to at most 4 s, drawn at random so that many
/// clients do not come back together.
fn reconnect_delay(attempts: usize) -> Duration {
    if attempts == 0 {
        return Duration::ZERO;
    }
    let most = 4_000.min(100u64 << attempts.min(8));
    Duration::from_millis(rand::random_range(most / 2..=most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reconnects_at_once_then_slower_with_jitter() {
        assert_eq!(reconnect_delay(0), Duration::ZERO);
        for (attempts, most) in [(1, 200), (2, 400), (5, 3200), (6, 4000), (1_000_000, 4000)] {
            let delays: Vec<_> = (0..100).map(|_| reconnect_delay(attempts).as_millis()).collect();
            assert!(delays.iter().all(|delay| (most / 2..=most).contains(delay)), "{attempts}: {delays:?}");
            assert!(delays.iter().any(|delay| *delay != delays[0]), "no jitter");
        }
    }
}
