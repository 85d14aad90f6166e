//! A small message broker inside the process, a part of the `demo` command.
//!
//! It lets the demonstration run without a NATS server at hand. It is not a
//! server: it listens on the loopback address only, lets everyone in, keeps
//! nothing, and forgets everything when it is dropped.
//!
//! It speaks core NATS as a client sees it: `INFO`, `CONNECT`, `PING`, `PONG`,
//! `PUB`, `HPUB`, `SUB` with queue groups, `UNSUB`, `MSG`, `HMSG`, `+OK` and
//! `-ERR`. It has no JetStream, TLS or clusters, and of the options in `CONNECT`
//! it heeds only `verbose`; a message goes to its own publisher too, and a
//! request that no one is subscribed to gets no answer.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use memchr::memchr;
use serde_json::{Map, Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;

use crate::nats::subject::{SubjectFilter, is_valid_subject};

const MAX_CONTROL_LINE: usize = 4096;
const MAX_PAYLOAD: usize = 1024 * 1024;
/// How many bytes may wait for a client before it counts as a slow consumer.
const MAX_PENDING: usize = 64 * 1024 * 1024;
/// One read takes in many small messages.
const READ_SIZE: usize = 64 * 1024;
/// An emptied buffer larger than this is given back.
const KEPT_CAPACITY: usize = 1024 * 1024;
/// How long a client that is being closed has to take its last bytes.
const LINGER: Duration = Duration::from_secs(1);
/// How long to wait when the system has no socket to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// The demo's message broker, which runs until it is dropped.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
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
        let hub = Hub::default();
        let subscribed = hub.subscribed.subscribe();
        let mut accepting = JoinSet::new();
        accepting.spawn(accept_clients(listener, address, Arc::new(Mutex::new(hub))));
        Ok(Broker { address, subscribed, _accepting: accepting })
    }

    /// Where clients connect to, such as `nats://127.0.0.1:4222`.
    pub fn url(&self) -> String {
        format!("nats://{}", self.address)
    }

    /// Waits until clients have made so many subscriptions: what is published
    /// before that reaches nobody.
    pub async fn wait_for_subscriptions(&self, count: usize) {
        // Fails only when the broker has ended, and then there is nothing to wait for.
        let _ = self.subscribed.clone().wait_for(|subscribed| *subscribed >= count).await;
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
    let answers = std::mem::take(&mut lock(&outbox.state).queue);
    (answers, read)
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

/// What a client did that ends its connection, in the words of a NATS server.
type Violation = &'static str;
const UNKNOWN_OPERATION: Violation = "Unknown Protocol Operation";
const PARSER_ERROR: Violation = "Parser Error";
const CONTROL_LINE_EXCEEDED: Violation = "maximum control line exceeded";
const PAYLOAD_EXCEEDED: Violation = "Maximum Payload Violation";

/// One command of a client, borrowed from its input.
#[derive(Debug, PartialEq, Eq)]
enum Command<'a> {
    /// The options.
    Connect(Map<String, Value>),
    Ping,
    Pong,
    Publish(Message<'a>),
    /// The subject, the queue group and the sid.
    Subscribe(&'a str, Option<&'a str>, &'a str),
    /// The sid, and after how many messages in all the subscription ends.
    Unsubscribe(&'a str, usize),
}

#[derive(Debug, PartialEq, Eq)]
struct Message<'a> {
    /// The operation that delivers it.
    delivery: &'static str,
    subject: &'a str,
    /// The reply subject, if any, and the sizes, which a delivery repeats.
    tail: String,
    /// The headers, if any, and the payload.
    body: &'a [u8],
}

/// A command and the input after it, or `None` when more input is needed.
type Parsed<'a> = Result<Option<(Command<'a>, &'a [u8])>, Violation>;

/// Reads the command at the start of `input`.
fn parse_command(input: &[u8]) -> Parsed<'_> {
    let window = &input[..input.len().min(MAX_CONTROL_LINE + b"\r\n".len())];
    let line = match memchr(b'\n', window) {
        Some(line_end) => &window[..line_end],
        None if window.len() < MAX_CONTROL_LINE + b"\r\n".len() => return Ok(None),
        None => return Err(CONTROL_LINE_EXCEEDED),
    };
    let rest = &input[line.len() + 1..];
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.len() > MAX_CONTROL_LINE {
        return Err(CONTROL_LINE_EXCEEDED);
    }
    let line = std::str::from_utf8(line).map_err(|_| PARSER_ERROR)?;
    let (operation, arguments) = line.split_once([' ', '\t']).unwrap_or((line, ""));
    let words: Vec<&str> = arguments.split_ascii_whitespace().collect();
    let command = match (operation.to_ascii_uppercase().as_str(), &words[..]) {
        ("PUB", [subject, size] | [subject, _, size]) => {
            return parse_message("MSG ", subject, &words[1..], "0", size, rest);
        }
        ("HPUB", [subject, headers, size] | [subject, _, headers, size]) => {
            return parse_message("HMSG ", subject, &words[1..], headers, size, rest);
        }
        ("SUB", [subject, sid]) => Command::Subscribe(subject, None, sid),
        ("SUB", [subject, queue, sid]) => Command::Subscribe(subject, Some(queue), sid),
        ("UNSUB", [sid]) => Command::Unsubscribe(sid, 0),
        ("UNSUB", [sid, max]) => Command::Unsubscribe(sid, parse_number(max)?),
        ("PING", []) => Command::Ping,
        ("PONG", []) => Command::Pong,
        ("CONNECT", _) => Command::Connect(serde_json::from_str(arguments).map_err(|_| PARSER_ERROR)?),
        ("PUB" | "HPUB" | "SUB" | "UNSUB" | "PING" | "PONG", _) => return Err(PARSER_ERROR),
        _ => return Err(UNKNOWN_OPERATION),
    };
    Ok(Some((command, rest)))
}

fn parse_message<'a>(
    delivery: &'static str,
    subject: &'a str,
    tail: &[&str],
    header_size: &str,
    size: &str,
    input: &'a [u8],
) -> Parsed<'a> {
    let size = parse_number(size)?;
    if size > MAX_PAYLOAD {
        return Err(PAYLOAD_EXCEEDED);
    }
    if parse_number(header_size)? > size {
        return Err(PARSER_ERROR);
    }
    let Some((body, after_body)) = input.split_at_checked(size) else {
        return Ok(None);
    };
    let rest = match after_body.split_first_chunk() {
        Some((b"\r\n", rest)) => rest,
        Some(_) => return Err(PARSER_ERROR),
        None => return Ok(None),
    };
    let message = Message { delivery, subject, tail: tail.join(" "), body };
    Ok(Some((Command::Publish(message), rest)))
}

/// Unlike `str::parse` alone, this takes no sign.
fn parse_number(digits: &str) -> Result<usize, Violation> {
    match digits.bytes().all(|byte| byte.is_ascii_digit()) {
        true => digits.parse().map_err(|_| PARSER_ERROR),
        false => Err(PARSER_ERROR),
    }
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

/// Who is subscribed to what.
#[derive(Default)]
struct Hub {
    groups: Vec<Group>,
    /// How many subscriptions there have been.
    subscribed: watch::Sender<usize>,
}

/// Subscriptions of which one gets each message. A subscription that names no
/// queue is a group of its own. As in a NATS server, a queue group is known by
/// its name alone, whatever the filters of its members.
struct Group {
    queue: Option<String>,
    members: Vec<Subscription>,
    /// The place of the member to ask first.
    turn: usize,
}

/// A subscription is known by its client and the client's name for it.
struct Subscription {
    outbox: Arc<Outbox>,
    sid: String,
    filter: SubjectFilter,
    delivered: usize,
    max: Option<usize>,
}

impl Hub {
    fn subscribe(&mut self, outbox: &Arc<Outbox>, filter: SubjectFilter, queue: Option<&str>, sid: &str) {
        // A NATS server keeps the first of two subscriptions with one name.
        if self.find(outbox, sid).is_some() {
            return;
        }
        self.subscribed.send_modify(|count| *count += 1);
        let subscription =
            Subscription { outbox: Arc::clone(outbox), sid: sid.to_owned(), filter, delivered: 0, max: None };
        let joined = |group: &&mut Group| queue.is_some() && group.queue.as_deref() == queue;
        match self.groups.iter_mut().find(joined) {
            Some(group) => group.members.push(subscription),
            None => self.groups.push(Group {
                queue: queue.map(str::to_owned),
                members: vec![subscription],
                turn: 0,
            }),
        }
    }

    /// Ends a subscription once it has been sent `max` messages in all.
    fn unsubscribe(&mut self, outbox: &Arc<Outbox>, sid: &str, max: usize) {
        if let Some(subscription) = self.find(outbox, sid) {
            subscription.max = Some(max);
            self.retain(|subscription| !subscription.is_spent());
        }
    }

    fn leave(&mut self, outbox: &Arc<Outbox>) {
        self.retain(|subscription| !Arc::ptr_eq(&subscription.outbox, outbox));
    }

    fn publish(&mut self, message: &Message<'_>) {
        self.groups.retain_mut(|group| {
            group.deliver(message);
            !group.members.is_empty()
        });
    }

    fn find(&mut self, outbox: &Arc<Outbox>, sid: &str) -> Option<&mut Subscription> {
        let mut all = self.groups.iter_mut().flat_map(|group| &mut group.members);
        all.find(|s| Arc::ptr_eq(&s.outbox, outbox) && s.sid == sid)
    }

    fn retain(&mut self, keep: impl Fn(&Subscription) -> bool) {
        self.groups.retain_mut(|group| {
            group.members.retain(&keep);
            !group.members.is_empty()
        });
    }
}

impl Group {
    /// Gives the message to the first member in turn that takes it.
    fn deliver(&mut self, message: &Message<'_>) {
        let count = self.members.len();
        let mut in_turn = (self.turn..self.turn + count).map(|place| place % count);
        let Some(taker) = in_turn.find(|&place| self.members[place].deliver(message)) else {
            return;
        };
        self.turn = (taker + 1) % count;
        if self.members[taker].is_spent() {
            self.members.remove(taker);
            self.turn = taker;
        }
    }
}

impl Subscription {
    /// Queues the message for the client if it is wanted and there is room.
    fn deliver(&mut self, message: &Message<'_>) -> bool {
        if !self.filter.matches(message.subject) {
            return false;
        }
        let taken = self.outbox.push(&[
            message.delivery.as_bytes(),
            message.subject.as_bytes(),
            b" ",
            self.sid.as_bytes(),
            b" ",
            message.tail.as_bytes(),
            b"\r\n",
            message.body,
            b"\r\n",
        ]);
        self.delivered += usize::from(taken);
        taken
    }

    fn is_spent(&self) -> bool {
        self.max.is_some_and(|max| self.delivered >= max)
    }
}

/// What waits to be written to one client. It never makes a publisher wait.
#[derive(Default)]
struct Outbox {
    state: Mutex<OutboxState>,
    /// There is something to write, or there will be no more.
    changed: Notify,
    overflowed: Notify,
}

#[derive(Default)]
struct OutboxState {
    queue: Vec<u8>,
    /// How much of the batch with the writer is not written yet.
    in_flight: usize,
    is_closed: bool,
}

impl Outbox {
    /// Queues the parts as one piece, unless the outbox is closed or this makes
    /// it overflow.
    fn push(&self, parts: &[&[u8]]) -> bool {
        let mut state = lock(&self.state);
        if state.is_closed {
            return false;
        }
        let size: usize = parts.iter().map(|part| part.len()).sum();
        if state.queue.len() + state.in_flight + size > MAX_PENDING {
            state.is_closed = true;
            state.queue = Vec::new();
            self.overflowed.notify_one();
            return false;
        }
        let was_empty = state.queue.is_empty();
        for part in parts {
            state.queue.extend_from_slice(part);
        }
        // Behind an earlier piece, the writer has been woken already.
        if was_empty {
            self.changed.notify_one();
        }
        true
    }

    /// Lets the writer end after what is queued.
    fn finish(&self) {
        lock(&self.state).is_closed = true;
        self.changed.notify_one();
    }

    /// Swaps all that is queued into `batch`, waiting for something to be there.
    /// Returns false when there will be nothing more.
    async fn take(&self, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        batch.shrink_to(KEPT_CAPACITY);
        loop {
            {
                let mut state = lock(&self.state);
                if !state.queue.is_empty() {
                    std::mem::swap(batch, &mut state.queue);
                    state.in_flight = batch.len();
                    return true;
                }
                if state.is_closed {
                    return false;
                }
            }
            self.changed.notified().await;
        }
    }
}

/// Writes what is queued, as much at once as there is, until the outbox ends.
async fn write_outbox(outbox: &Outbox, writer: &mut WriteHalf<'_>) -> io::Result<()> {
    let mut batch = Vec::new();
    while outbox.take(&mut batch).await {
        let mut unsent = &batch[..];
        while !unsent.is_empty() {
            let written = writer.write(unsent).await?;
            unsent = &unsent[written..];
            lock(&outbox.state).in_flight = unsent.len();
        }
    }
    writer.shutdown().await
}

#[cfg(test)]
mod tests {
    use std::future::Future;

    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use tokio::io::{AsyncBufReadExt, BufReader};

    use super::*;

    /// One client of the broker, talking bytes.
    struct Client {
        stream: BufReader<TcpStream>,
    }

    impl Client {
        /// Connects and takes the INFO, but sends nothing.
        async fn open(broker: &Broker) -> Client {
            let stream = TcpStream::connect(broker.address).await.unwrap();
            stream.set_nodelay(true).unwrap();
            let mut client = Client { stream: BufReader::new(stream) };
            let info = client.line().await;
            let options = info.strip_prefix("INFO ").unwrap();
            let options: Value = serde_json::from_str(options).unwrap();
            assert_eq!(options["max_payload"], MAX_PAYLOAD);
            assert_eq!(options["headers"], true);
            assert_eq!(options["proto"], 1);
            client
        }

        async fn connect(broker: &Broker) -> Client {
            let mut client = Client::open(broker).await;
            client.send("CONNECT {\"verbose\":false}\r\n").await;
            client
        }

        async fn send(&mut self, bytes: impl AsRef<[u8]>) {
            self.stream.write_all(bytes.as_ref()).await.unwrap();
        }

        async fn line(&mut self) -> String {
            let mut line = String::new();
            self.stream.read_line(&mut line).await.unwrap();
            line
        }

        /// Everything the broker sent before its answer to a PING.
        async fn received(&mut self) -> String {
            self.send("PING\r\n").await;
            let mut received = String::new();
            loop {
                let line = self.line().await;
                assert!(!line.is_empty(), "closed after {received:?}");
                if line == "PONG\r\n" {
                    return received;
                }
                received.push_str(&line);
            }
        }

        /// Everything until the broker closes the connection.
        async fn remainder(&mut self) -> String {
            let mut remainder = String::new();
            self.stream.read_to_string(&mut remainder).await.unwrap();
            remainder
        }
    }

    /// A test that hangs fails instead.
    async fn in_time<T>(test: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(30), test).await.expect("the test ends in time")
    }

    #[tokio::test]
    async fn url_names_the_loopback_address() {
        in_time(async {
            let broker = Broker::start().await.unwrap();
            let port = broker.address.port();
            assert_eq!(broker.url(), format!("nats://127.0.0.1:{port}"));
        })
        .await;
    }

    #[tokio::test]
    async fn connect_decides_whether_commands_are_acknowledged() {
        async fn check(sent: &str, expected: &str) {
            let broker = Broker::start().await.unwrap();
            let mut client = Client::open(&broker).await;
            client.send(sent).await;
            assert_eq!(client.received().await, expected, "{sent:?}");
        }
        in_time(async {
            check("", "").await;
            check("PONG\r\n", "").await;
            check("CONNECT {\"verbose\":false}\r\n", "").await;
            check("CONNECT {\"verbose\":true}\r\n", "+OK\r\n").await;
            check("connect {\"user\":\"a\", \"pass\":\"b\"}\r\n", "+OK\r\n").await;
            check("SUB a 1\r\nUNSUB 1\r\n", "+OK\r\n+OK\r\n").await;
            check("sub\ta\t1\npub  a  1 \nx\r\n", "+OK\r\nMSG a 1 1\r\nx\r\n+OK\r\n").await;
        })
        .await;
    }

    #[tokio::test]
    async fn messages_reach_the_filters_that_match() {
        in_time(async {
            let broker = Broker::start().await.unwrap();
            let mut subscriber = Client::connect(&broker).await;
            let mut publisher = Client::connect(&broker).await;
            subscriber.send("SUB logs.web 1\r\nSUB logs.* 2\r\nSUB logs.> 3\r\nSUB other 4\r\n").await;
            assert_eq!(subscriber.received().await, "");

            publisher
                .send("PUB logs.web 2\r\nhi\r\nPUB logs.db.x answers 0\r\n\r\nPUB logs 1\r\nx\r\n")
                .await;
            assert_eq!(publisher.received().await, "");
            assert_eq!(
                subscriber.received().await,
                "MSG logs.web 1 2\r\nhi\r\nMSG logs.web 2 2\r\nhi\r\nMSG logs.web 3 2\r\nhi\r\n\
                 MSG logs.db.x 3 answers 0\r\n\r\n"
            );
        })
        .await;
    }

    #[tokio::test]
    async fn headers_are_forwarded() {
        in_time(async {
            let broker = Broker::start().await.unwrap();
            let mut client = Client::connect(&broker).await;
            client.send("SUB a 1\r\n").await;
            client.send("HPUB a 18 20\r\nNATS/1.0\r\nK: v\r\n\r\nhi\r\n").await;
            client.send("HPUB a back 12 12\r\nNATS/1.0\r\n\r\n\r\n").await;
            assert_eq!(
                client.received().await,
                "HMSG a 1 18 20\r\nNATS/1.0\r\nK: v\r\n\r\nhi\r\n\
                 HMSG a 1 back 12 12\r\nNATS/1.0\r\n\r\n\r\n"
            );
        })
        .await;
    }

    #[tokio::test]
    async fn a_queue_group_shares_messages_in_turn() {
        in_time(async {
            let broker = Broker::start().await.unwrap();
            let mut workers = Vec::new();
            // The filters differ: it is the name that makes the group.
            for filter in ["jobs", "jobs", "*"] {
                let mut worker = Client::connect(&broker).await;
                worker.send(format!("SUB {filter} workers 7\r\n")).await;
                assert_eq!(worker.received().await, "");
                workers.push(worker);
            }
            let mut witness = Client::connect(&broker).await;
            witness.send("SUB jobs 1\r\nSUB jobs auditors 2\r\n").await;
            assert_eq!(witness.received().await, "");

            let mut publisher = Client::connect(&broker).await;
            for number in 0..9 {
                publisher.send(format!("PUB jobs 1\r\n{number}\r\n")).await;
            }
            assert_eq!(publisher.received().await, "");

            for (first, worker) in workers.iter_mut().enumerate() {
                let shared: String =
                    (first..9).step_by(3).map(|number| format!("MSG jobs 7 1\r\n{number}\r\n")).collect();
                assert_eq!(worker.received().await, shared);
            }
            let all: String =
                (0..9).map(|n| format!("MSG jobs 1 1\r\n{n}\r\nMSG jobs 2 1\r\n{n}\r\n")).collect();
            assert_eq!(witness.received().await, all);

            // Those who remain take over from one who left.
            workers[1].send("UNSUB 7\r\n").await;
            assert_eq!(workers[1].received().await, "");
            publisher.send("PUB jobs 1\r\na\r\nPUB jobs 1\r\nb\r\n").await;
            assert_eq!(publisher.received().await, "");
            assert_eq!(workers[0].received().await, "MSG jobs 7 1\r\na\r\n");
            assert_eq!(workers[2].received().await, "MSG jobs 7 1\r\nb\r\n");
        })
        .await;
    }

    #[tokio::test]
    async fn unsub_ends_a_subscription_now_or_later() {
        async fn check(commands: &str, delivered: usize) {
            let broker = Broker::start().await.unwrap();
            let mut client = Client::connect(&broker).await;
            client.send(commands.replace('|', "\r\n")).await;
            let received = client.received().await;
            assert_eq!(received, "MSG a 1 1\r\nx\r\n".repeat(delivered), "{commands}");
        }
        in_time(async {
            check("SUB a 1|PUB a 1|x|UNSUB 1|PUB a 1|x|", 1).await;
            check("SUB a 1|UNSUB 1 2|PUB a 1|x|PUB a 1|x|PUB a 1|x|", 2).await;
            check("SUB a g 1|UNSUB 1 2|PUB a 1|x|PUB a 1|x|PUB a 1|x|", 2).await;
            check("SUB a 1|PUB a 1|x|PUB a 1|x|UNSUB 1 2|PUB a 1|x|", 2).await;
            check("SUB a 1|UNSUB 2|UNSUB 1 0|PUB a 1|x|", 0).await;
            check("SUB a 1|SUB b 1|UNSUB 1|SUB a 1|PUB a 1|x|", 1).await;
            check("SUB a 1|SUB a 1|PUB a 1|x|", 1).await;
        })
        .await;
    }

    #[tokio::test]
    async fn input_may_be_split_anywhere() {
        in_time(async {
            let broker = Broker::start().await.unwrap();
            let mut client = Client::open(&broker).await;
            let commands = "CONNECT {\"verbose\":false}\r\nSUB a.* g 1\r\nPUB a.b 4\r\n\r\nhi\r\n\
                            HPUB a.b r 12 13\r\nNATS/1.0\r\n\r\nx\r\n";
            for byte in commands.bytes() {
                client.send([byte]).await;
                // Gives the broker's task a chance to read this byte alone.
                tokio::task::yield_now().await;
            }
            assert_eq!(
                client.received().await,
                "MSG a.b 1 4\r\n\r\nhi\r\nHMSG a.b 1 r 12 13\r\nNATS/1.0\r\n\r\nx\r\n"
            );
        })
        .await;
    }

    #[test]
    fn a_cut_command_asks_for_more() {
        #[track_caller]
        fn check(command: &str) {
            for cut in 0..command.len() {
                let parsed = parse_command(&command.as_bytes()[..cut]);
                assert_eq!(parsed, Ok(None), "{command:?} cut at {cut}");
            }
            let followed = format!("{command}PING");
            let (_, rest) = parse_command(followed.as_bytes()).unwrap().unwrap();
            assert_eq!(rest, b"PING", "{command:?}");
        }
        check("PING\r\n");
        check("CONNECT {\"name\": \"a b\"}\r\n");
        check("SUB a.b g 1\r\n");
        check("UNSUB 1 5\r\n");
        check("PUB a 0\r\n\r\n");
        check("PUB a r 5\r\n\r\n\r\n!\r\n");
        check("HPUB a 12 14\r\nNATS/1.0\r\n\r\nhi\r\n");
    }

    #[tokio::test]
    async fn breaking_the_protocol_is_answered_and_ends_the_connection() {
        async fn check(sent: impl AsRef<[u8]>, reason: &str) {
            let broker = Broker::start().await.unwrap();
            let mut client = Client::connect(&broker).await;
            client.send(&sent).await;
            let answer = client.remainder().await;
            let sent = String::from_utf8_lossy(sent.as_ref());
            assert_eq!(answer, format!("-ERR '{reason}'\r\n"), "{sent:.60?}");
        }
        in_time(async {
            check("HELLO\r\nPING\r\n", UNKNOWN_OPERATION).await;
            check("\r\n", UNKNOWN_OPERATION).await;
            check("PINGS\r\n", UNKNOWN_OPERATION).await;
            check(b"\xff\xfe\n", PARSER_ERROR).await;
            check("CONNECT\r\n", PARSER_ERROR).await;
            check("CONNECT []\r\n", PARSER_ERROR).await;
            check("SUB a\r\n", PARSER_ERROR).await;
            check("SUB a b c d\r\n", PARSER_ERROR).await;
            check("UNSUB\r\n", PARSER_ERROR).await;
            check("UNSUB 1 x\r\n", PARSER_ERROR).await;
            check("PUB a\r\n", PARSER_ERROR).await;
            check("PUB a +1\r\nx\r\n", PARSER_ERROR).await;
            check("PUB a 99999999999999999999999\r\n", PARSER_ERROR).await;
            check("PUB a 1\r\nxyz\r\n", PARSER_ERROR).await;
            check("HPUB a 5\r\n", PARSER_ERROR).await;
            check("HPUB a 6 5\r\n", PARSER_ERROR).await;
            check("PUB a 1048577\r\n", PAYLOAD_EXCEEDED).await;
            check("HPUB a 1 1048577\r\n", PAYLOAD_EXCEEDED).await;
            // More than the system buffers: what follows must not cost the client the answer.
            check("x".repeat(16 * 1024 * 1024), CONTROL_LINE_EXCEEDED).await;
            check(format!("SUB {} 1\r\n", "x".repeat(4096)), CONTROL_LINE_EXCEEDED).await;
        })
        .await;
    }

    #[tokio::test]
    async fn the_limits_themselves_are_allowed() {
        in_time(async {
            let broker = Broker::start().await.unwrap();
            let mut client = Client::connect(&broker).await;
            let subject = "x".repeat(MAX_CONTROL_LINE - "SUB  1".len());
            client.send(format!("SUB {subject} 1\r\nSUB a 2\r\n")).await;
            let payload = "y".repeat(MAX_PAYLOAD);
            client.send(format!("PUB a {MAX_PAYLOAD}\r\n{payload}\r\n")).await;
            let expected = format!("MSG a 2 {MAX_PAYLOAD}\r\n{payload}\r\n");
            assert!(client.received().await == expected, "the payload differs");
        })
        .await;
    }

    #[tokio::test]
    async fn a_bad_subject_is_answered_and_forgiven() {
        in_time(async {
            let broker = Broker::start().await.unwrap();
            let mut client = Client::connect(&broker).await;
            client.send("SUB > 1\r\nSUB a..b 2\r\nPUB a.* 1\r\nx\r\nPUB a 1\r\ny\r\n").await;
            assert_eq!(
                client.received().await,
                "-ERR 'Invalid Subject'\r\n-ERR 'Invalid Publish Subject'\r\nMSG a 1 1\r\ny\r\n"
            );
        })
        .await;
    }

    #[tokio::test]
    async fn messages_of_a_publisher_keep_their_order() {
        in_time(async {
            let broker = Broker::start().await.unwrap();
            let mut subscriber = Client::connect(&broker).await;
            subscriber.send("SUB n 1\r\n").await;
            assert_eq!(subscriber.received().await, "");
            let mut publisher = Client::connect(&broker).await;
            let published: String = (10_000..30_000).map(|n| format!("PUB n 5\r\n{n}\r\n")).collect();
            publisher.send(published).await;
            assert_eq!(publisher.received().await, "");
            let expected: String = (10_000..30_000).map(|n| format!("MSG n 1 5\r\n{n}\r\n")).collect();
            assert!(subscriber.received().await == expected, "the order differs");
        })
        .await;
    }

    #[tokio::test]
    async fn a_slow_consumer_is_closed_and_no_one_else() {
        in_time(async {
            let broker = Broker::start().await.unwrap();
            let mut slow = Client::connect(&broker).await;
            slow.send("SUB a 1\r\n").await;
            assert_eq!(slow.received().await, "");

            let mut publisher = Client::connect(&broker).await;
            let message = format!("PUB a {MAX_PAYLOAD}\r\n{}\r\n", "x".repeat(MAX_PAYLOAD));
            let published = 2 * MAX_PENDING / MAX_PAYLOAD;
            for _ in 0..published {
                publisher.send(&message).await;
            }
            assert_eq!(publisher.received().await, "");

            // What the system had buffered still arrives, and then the end.
            let received = tokio::io::copy(&mut slow.stream, &mut tokio::io::sink()).await;
            assert!(received.is_ok_and(|bytes| bytes < MAX_PENDING as u64));
            publisher.send("SUB b 1\r\nPUB b 0\r\n\r\n").await;
            assert_eq!(publisher.received().await, "MSG b 1 0\r\n\r\n");
        })
        .await;
    }

    #[tokio::test]
    async fn dropping_the_broker_closes_its_clients() {
        in_time(async {
            let broker = Broker::start().await.unwrap();
            let mut client = Client::connect(&broker).await;
            assert_eq!(client.received().await, "");
            let address = broker.address;
            drop(broker);
            assert_eq!(client.remainder().await, "");
            assert!(TcpStream::connect(address).await.is_err());
        })
        .await;
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: 256,
            rng_seed: RngSeed::Fixed(4222),
            failure_persistence: None,
            ..ProptestConfig::default()
        })]

        #[test]
        fn hostile_input_is_parsed_or_refused(
            start in "((H?PUB|SUB|UNSUB|CONNECT|PING|pong)[ \t]+)?",
            rest in prop_oneof![
                "[a-z0-9 .{}\"*>]{0,16}\r?\n[\\PC\r\n]{0,16}".prop_map(String::into_bytes),
                prop::collection::vec(any::<u8>(), 0..64),
            ],
        ) {
            let input = [start.as_bytes(), &rest].concat();
            if let Ok(Some((_, unread))) = parse_command(&input) {
                prop_assert!(unread.len() < input.len());
                prop_assert!(input.ends_with(unread));
            }
        }
    }
}
