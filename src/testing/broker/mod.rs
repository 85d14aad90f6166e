//! A small message broker inside the process: for tests, and for the `demo` command.
//!
//! It is not a server: it listens on the loopback address only, lets everyone
//! in, keeps nothing, and forgets everything when it is dropped.
//!
//! - this file: [`Broker`], and its connections to clients
//! - `protocol`: bytes to commands
//! - `hub`: who is subscribed to what, and what waits for each client
//!
//! It speaks core NATS as a client sees it: `INFO`, `CONNECT`, `PING`, `PONG`,
//! `PUB`, `HPUB`, `SUB` with queue groups, `UNSUB`, `MSG`, `HMSG`, `+OK` and
//! `-ERR`. It has no JetStream, TLS or clusters, and of the options in `CONNECT`
//! it heeds only `verbose`; a message goes to its own publisher too, and a
//! request that no one is subscribed to gets no answer.

mod hub;
mod protocol;
#[cfg(test)]
mod tests;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt;
use tokio::net::tcp::ReadHalf;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::nats::subject::{SubjectFilter, is_valid_subject};
use hub::{Hub, Outbox, write_outbox};
use protocol::{Command, MAX_PAYLOAD, Message, Violation, parse_command};

/// How long a test waits for a subscription.
const SUBSCRIPTIONS_WITHIN: Duration = Duration::from_secs(20);

/// One read takes in many small messages.
const READ_SIZE: usize = 64 * 1024;
/// How long a client that is being closed has to take its last bytes.
const LINGER: Duration = Duration::from_secs(1);
/// How long to wait when the system has no socket to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A NATS server as far as a test needs one: it listens on loopback, passes on what is published, and ends when it is
/// dropped. It speaks core NATS: subjects with wildcards, queue groups, headers, payloads of up to 1 MiB. It knows no
/// JetStream, TLS, passwords or clusters; for those, a test runs nats-server.
///
/// ```
/// use futures::StreamExt;
/// use log_shipper::config::{Registry, SourceEntry};
/// use log_shipper::testing::Broker;
/// use log_shipper::topology::{EventStream, TopologyOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let broker = Broker::start().await?;
/// let table = toml::from_str(&format!(
///     "type = 'nats'\nurl = '{}'\nconnection_name = 'test'\nsubject = 'logs.>'\ndecoding.codec = 'json'",
///     broker.url()
/// ))?;
/// let source = SourceEntry::from_table("in", table, &Registry::builtin())?;
/// let mut events = EventStream::start(source, &TopologyOptions::default()).await?;
///
/// broker.wait_for_subscriptions(1).await;
/// broker.publish("logs.web.lhr.machine1", r#"{"message":"hello"}"#);
/// let event = events.next().await.ok_or("the source has ended")?;
/// assert_eq!(event.message().as_deref(), Some("hello"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    hub: Arc<Mutex<Hub>>,
    subscribed: watch::Receiver<usize>,
    /// Dropping the set stops the accepting task, which owns all client tasks.
    _accepting: JoinSet<()>,
}

impl Broker {
    /// Starts a broker on a free port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// Fails when no port can be bound.
    pub async fn start() -> io::Result<Broker> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let hub = Arc::new(Mutex::new(Hub::default()));
        let subscribed = lock(&hub).subscribed.subscribe();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept_clients(listener, address, Arc::clone(&hub)));
        Ok(Broker { address, hub, subscribed, _accepting: accepting })
    }

    /// Where clients connect to, such as `nats://127.0.0.1:4222`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Waits until clients have made so many subscriptions since the start, those that have ended
    /// among them: what is published before that reaches nobody.
    ///
    /// # Panics
    ///
    /// If they do not come within 20 seconds; it says how many there were.
    pub async fn wait_for_subscriptions(&self, count: usize) {
        if timeout(SUBSCRIPTIONS_WITHIN, self.subscriptions(count)).await.is_err() {
            let subscribed = *self.subscribed.borrow();
            panic!(
                "{count} subscriptions did not come within {SUBSCRIPTIONS_WITHIN:?}; there were {subscribed}"
            );
        }
    }

    /// Waits for them without limit.
    pub(crate) async fn subscriptions(&self, count: usize) {
        // Fails only when the broker has ended, and then there is nothing to wait for.
        let _ = self.subscribed.clone().wait_for(|subscribed| *subscribed >= count).await;
    }

    /// Sends a message to whoever is subscribed now. It does not wait: a client that leaves 64 MiB
    /// unread is closed.
    ///
    /// # Panics
    ///
    /// If the subject is none that can be published to (`logs..web`, `logs.*`), or the payload is longer than 1 MiB.
    pub fn publish(&self, subject: &str, payload: impl AsRef<[u8]>) {
        let body = payload.as_ref();
        assert!(is_valid_subject(subject), "{subject:?} is no subject to publish to");
        assert!(
            body.len() <= MAX_PAYLOAD,
            "a payload of {} bytes; at most {MAX_PAYLOAD} are allowed",
            body.len()
        );
        lock(&self.hub).publish(&Message::new(subject, body));
    }
}

/// What a client hears that sends these pieces, one a read, and how much of them is read; for the fuzz targets.
#[doc(hidden)]
pub fn broker_answers(pieces: &[&[u8]]) -> (Vec<u8>, Result<usize, &'static str>) {
    let outbox = Arc::new(Outbox::default());
    let mut session =
        Session { hub: Arc::new(Mutex::new(Hub::default())), outbox: Arc::clone(&outbox), verbose: true };
    let (mut input, mut read) = (Vec::new(), Ok(0));
    for piece in pieces {
        input.extend_from_slice(piece);
        match session.obey_all(&input).map(<[u8]>::len) {
            Ok(unread) => {
                read = read.map(|read| read + input.len() - unread);
                input.drain(..input.len() - unread);
            }
            Err(violation) => {
                read = Err(violation);
                break;
            }
        }
    }
    (outbox.take_queued(), read)
}

async fn accept_clients(listener: TcpListener, address: SocketAddr, hub: Arc<Mutex<Hub>>) {
    let mut clients = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    clients.spawn(serve_client(stream, address, Arc::clone(&hub)));
                }
                // Trying again at once would only burn the processor.
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            // Finished tasks are taken out so that the set does not grow.
            Some(_) = clients.join_next() => {}
        }
    }
}

async fn serve_client(mut stream: TcpStream, address: SocketAddr, hub: Arc<Mutex<Hub>>) {
    // Writes are coalesced here, so Nagle's algorithm could only add delay. A
    // socket that refuses the option still works.
    let _ = stream.set_nodelay(true);
    let (mut reader, mut writer) = stream.split();
    let outbox = Arc::new(Outbox::default());
    outbox.push(&[b"INFO ", server_info(address).as_bytes(), b"\r\n"]);

    let mut session = Session {
        hub,
        outbox: Arc::clone(&outbox),
        // A NATS server acknowledges until CONNECT tells it not to.
        verbose: true,
    };
    let mut writing = std::pin::pin!(write_outbox(&outbox, &mut writer));
    let ended = tokio::select! {
        ended = session.read_commands(&mut reader) => Some(ended),
        _ = &mut writing => None,
        // A slow consumer is cut off mid-message, as a NATS server does it: its
        // socket is full, so there is no way to tell it why.
        () = outbox.overflowed.notified() => None,
    };
    lock(&session.hub).leave(&outbox);
    let Some(ended) = ended else { return };

    if let Err(violation) = ended {
        outbox.push(&[b"-ERR '", violation.as_bytes(), b"'\r\n"]);
    }
    outbox.finish();
    let _ = tokio::time::timeout(LINGER, async {
        writing.await?;
        // Closing a socket with unread input resets the connection, and the
        // client could lose the error it was sent.
        tokio::io::copy(&mut reader, &mut tokio::io::sink()).await
    })
    .await;
}

fn server_info(address: SocketAddr) -> String {
    json!({
        "server_id": "LOG-SHIPPER-DEMO",
        "version": "2.10.0-demo",
        "proto": 1,
        "host": address.ip(),
        "port": address.port(),
        "headers": true,
        "max_payload": MAX_PAYLOAD,
    })
    .to_string()
}

/// No code panics while it holds one of the locks, and if it did, the state
/// behind them is still whole: at worst a message is missing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The reading half of a client.
struct Session {
    hub: Arc<Mutex<Hub>>,
    outbox: Arc<Outbox>,
    verbose: bool,
}

impl Session {
    /// Obeys the client until it leaves, which is no error, or breaks the protocol.
    async fn read_commands(&mut self, reader: &mut ReadHalf<'_>) -> Result<(), Violation> {
        let mut input = BytesMut::new();
        loop {
            input.reserve(READ_SIZE);
            let Ok(1..) = reader.read_buf(&mut input).await else {
                return Ok(());
            };
            let unread = self.obey_all(&input)?.len();
            input.advance(input.len() - unread);
        }
    }

    /// Obeys every whole command in `input` and returns what is left of it.
    fn obey_all<'a>(&mut self, mut input: &'a [u8]) -> Result<&'a [u8], Violation> {
        // One lock for a whole read is far cheaper than one for every message.
        let hub = Arc::clone(&self.hub);
        let mut hub = lock(&hub);
        while let Some((command, rest)) = parse_command(input)? {
            self.obey(&command, &mut hub);
            input = rest;
        }
        Ok(input)
    }

    fn obey(&mut self, command: &Command<'_>, hub: &mut Hub) {
        match command {
            Command::Ping => return self.answer(b"PONG\r\n"),
            Command::Pong => return,
            Command::Connect(options) => {
                let verbose = options.get("verbose").and_then(Value::as_bool);
                self.verbose = verbose.unwrap_or(self.verbose);
            }
            Command::Unsubscribe(sid, max) => hub.unsubscribe(&self.outbox, sid, *max),
            // A NATS server keeps the connection when only a subject is bad.
            Command::Publish(message) if !is_valid_subject(message.subject) => {
                return self.answer(b"-ERR 'Invalid Publish Subject'\r\n");
            }
            Command::Publish(message) => hub.publish(message),
            Command::Subscribe(subject, queue, sid) => {
                let Ok(filter) = SubjectFilter::parse(subject) else {
                    return self.answer(b"-ERR 'Invalid Subject'\r\n");
                };
                hub.subscribe(&self.outbox, filter, *queue, sid);
            }
        }
        if self.verbose {
            self.answer(b"+OK\r\n");
        }
    }

    /// A client that leaves its answers unread overflows like any other, and
    /// the writing half sees to that.
    fn answer(&self, line: &[u8]) {
        self.outbox.push(&[line]);
    }
}
