//! [`PullConsumer`]: a client that reads a JetStream stream through a durable pull consumer, for ever.
//!
//! Like [`Connection`](super::Connection) it has no task and no queue of its own: whoever asks for the next
//! chunk reads the socket, and writes what is to be written. It finds the consumer, or makes it, asks for
//! messages, and asks for more when half of them have come, so that there is no pause. Whatever goes wrong
//! (nobody sends a heartbeat, the consumer is deleted, its leader changes, the server is about to stop) leads
//! back to the beginning, and never to the end.

use super::acks::{Ack, Acks};
use super::connector::{Connector, Role, Subscription, reconnect_delay};
use super::consumer_log::ConsumerLog;
use super::heard::{Heard, MESSAGES};
use super::jetstream_api::{AckSubject, Consumer, DEFAULT_ACK_WAIT, Found, PullOptions, Status};
use super::link::{Link, LinkError, TimeoutSnafu};
use super::message::Message;
use super::options::ConnectionOptions;
use super::pulls::{HEARTBEAT, Pulls};
use crate::healthcheck::Unhealthy;
use futures::future::BoxFuture;
use std::time::Duration;
use tokio::time::{Instant, sleep_until, timeout};

/// One client that reads a consumer, connected or trying to be.
pub struct PullConsumer {
    /// It is away while it connects.
    connector: Option<Connector>,
    /// Kept here, so that whoever asks for something does not begin from the beginning each time.
    connecting: Option<BoxFuture<'static, (Connector, Link)>>,
    link: Option<Link>,
    options: PullOptions,
    /// Where the server answers: `<inbox>.m.<number>` to requests for messages, `<inbox>.a.<number>` to
    /// questions.
    inbox: String,
    subscriptions: Vec<Subscription>,
    next_number: u64,
    phase: Phase,
    consumer: Option<Consumer>,
    /// Whether what the stream takes has been compared with what the consumer is made for.
    stream: StreamCheck,
    /// Counts the consumers of this name that there have been.
    generation: u64,
    /// What the server owes us.
    pulls: Pulls,
    /// When the consumer last gave a sign of life.
    heard: Instant,
    /// How often we have begun anew since then.
    attempts: usize,
    is_paused: bool,
    drain: Drain,
    acks: Acks,
    disconnects: u64,
    moves: u64,
    /// The place in the stream of the last message.
    last_place: Option<u64>,
    log: ConsumerLog,
}

/// A message, and what is known of its way.
#[derive(Debug)]
pub struct Delivery {
    /// The message.
    pub message: Message,
    /// Where its acknowledgement goes.
    pub reply: Box<str>,
    /// What that says.
    pub ack: AckSubject,
    /// Which of the consumers of this name delivers it: see [`PullConsumer::generation`].
    pub generation: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nothing is asked until then.
    Pause { until: Instant },
    /// A question is on its way.
    Asked { question: Question, number: u64, until: Instant },
    /// The consumer is there.
    Pulling,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    Info,
    Create,
    Update,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StreamCheck {
    ToDo,
    /// The question on its way. Nobody waits for its answer: it is only for a warning.
    Asked(u64),
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Drain {
    No,
    /// So many of its answers to our `PING`s are still to come until it has sent everything; if nothing comes until
    /// then, the connection is dead.
    Asked {
        pongs: u32,
        until: Instant,
    },
    Done,
}

/// How long a drain waits for the next word of the server.
const DRAIN_PATIENCE: Duration = Duration::from_secs(1);
/// How long the answer to a question may take: a cluster may be choosing a leader.
const PATIENCE: Duration = Duration::from_secs(5);

const OTHER_CONSUMER: &str =
    "name another consumer, or change this one: it must be a pull consumer with explicit acks";
const OTHER_STREAM: &str = "`nats stream ls` shows those that there are";
const ENABLE_JETSTREAM: &str = "enable JetStream on the server (`jetstream {}` in its configuration) and for the account, or read without a stream; if it has just started, wait: it is tried again";

impl PullConsumer {
    /// The client; it connects when it is first asked for something.
    pub fn new(connection: ConnectionOptions, options: PullOptions) -> PullConsumer {
        let inbox = format!("_INBOX.{:032x}", rand::random::<u128>());
        PullConsumer {
            log: ConsumerLog::new(&connection.id, &options, connection.status.clone()),
            connector: Some(Connector::new(connection, Role::Consumer)),
            connecting: None,
            link: None,
            options,
            subscriptions: vec![(format!("{inbox}.m.*"), None), (format!("{inbox}.a.*"), None)],
            inbox,
            next_number: 0,
            phase: Phase::Pause { until: Instant::now() },
            consumer: None,
            stream: StreamCheck::ToDo,
            generation: 0,
            pulls: Pulls::default(),
            heard: Instant::now(),
            attempts: 0,
            is_paused: false,
            drain: Drain::No,
            acks: Acks::default(),
            disconnects: 0,
            moves: 0,
            last_place: None,
        }
    }

    /// Waits for messages: everything that one read brings, at least one. `None` after
    /// [`PullConsumer::drain`], when there are no more. Safe to cancel.
    pub async fn next_chunk(&mut self) -> Option<Vec<Delivery>> {
        loop {
            if self.drain == Drain::Done {
                return None;
            }
            let mut chunk = Vec::new();
            self.step(&mut chunk).await;
            if !chunk.is_empty() {
                return Some(chunk);
            }
        }
    }

    /// Writes acknowledgements and answers the server, after the drain. Ends when something has happened.
    /// Safe to cancel.
    pub async fn keep_up(&mut self) {
        self.step(&mut Vec::new()).await;
    }

    /// Waits until the consumer has been found. Messages do not come before that. Safe to cancel.
    pub async fn connect(&mut self) {
        while self.phase != Phase::Pulling && self.drain != Drain::Done {
            self.keep_up().await;
        }
    }

    /// Whether no more messages are to be asked for: those that are on their way still come.
    pub fn pause(&mut self, is_paused: bool) {
        self.is_paused = is_paused;
    }

    /// Tells the server to send nothing more. What it has sent is still to be taken;
    /// [`PullConsumer::next_chunk`] then ends. What the consumer has counted as delivered and the server has not
    /// yet put on our connection does not come; the consumer delivers it again after its `ack_wait`.
    pub fn drain(&mut self) {
        self.pulls.clear();
        self.drain = match &mut self.link {
            None => Drain::Done,
            Some(link) => {
                link.write(&[format!("UNSUB {MESSAGES}\r\nPING\r\n").as_bytes()]);
                link.unanswered += 1;
                Drain::Asked { pongs: link.unanswered, until: Instant::now() + DRAIN_PATIENCE }
            }
        };
    }

    /// Acknowledges a message of this generation; the next step writes it.
    pub fn acknowledge(&mut self, generation: u64, reply: &str, ack: Ack) {
        // What is still on its way is said again in a while; without a connection that would only pile up.
        let is_late = ack == Ack::InProgress && self.phase != Phase::Pulling;
        if !self.options.is_look() && generation == self.generation && !is_late {
            self.acks.push(reply, ack);
        }
    }

    /// Whether the server has all acknowledgements.
    pub fn has_acknowledged(&self) -> bool {
        self.acks.is_empty()
    }

    /// Whether messages are asked for now, and acknowledgements go out.
    pub fn is_reading(&self) -> bool {
        self.phase == Phase::Pulling
    }

    /// How long a message may be without a word from us until it is delivered again.
    pub fn ack_wait(&self) -> Duration {
        self.consumer.as_ref().map_or(DEFAULT_ACK_WAIT, |consumer| consumer.limits.ack_wait())
    }

    /// How often a message is delivered at most, if there is a limit.
    pub fn max_deliver(&self) -> Option<u64> {
        let limit = self.consumer.as_ref()?.limits.max_deliver;
        u64::try_from(limit).ok().filter(|limit| *limit > 0)
    }

    /// How often the connection has been lost.
    pub fn disconnects(&self) -> u64 {
        self.disconnects
    }

    /// How often we have gone to another server, because ours was about to stop.
    pub fn moves(&self) -> u64 {
        self.moves
    }

    /// Whether a server is there and takes us, and has the stream and a consumer of it that can be read.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn check(mut self) -> Result<(), Unhealthy> {
        let unhealthy = |error: LinkError| match error {
            LinkError::Refused { .. } | LinkError::Auth { .. } => {
                Unhealthy::Unauthorized { reason: error.to_string() }
            }
            error => Unhealthy::Down { reason: format!("cannot read from NATS JetStream: {error}") },
        };
        if let Some(connector) = &mut self.connector {
            self.link = Some(connector.connect_once(&self.subscriptions).await.map_err(unhealthy)?);
        }
        self.ask(Question::Info);
        let answer = async {
            loop {
                if let Some((_, code, text)) = self.exchange(&mut Vec::new()).await?.answers.pop() {
                    return Ok(self.options.read(code, &text));
                }
            }
        };
        let found = timeout(PATIENCE, answer).await.unwrap_or(TimeoutSnafu { limit: PATIENCE }.fail());
        match found.map_err(unhealthy)? {
            Found::Usable(_) => Ok(()),
            Found::NoConsumer(_) if self.options.create.is_some() => Ok(()),
            Found::NoStream(reason) if self.options.is_look() => {
                Err(Unhealthy::Unusable { reason, advice: OTHER_STREAM })
            }
            Found::NoConsumer(reason) | Found::NoStream(reason) => Err(Unhealthy::NotFound { reason }),
            Found::Unusable(reason) => Err(Unhealthy::Unusable { reason, advice: OTHER_CONSUMER }),
            Found::NoJetStream(reason) => Err(Unhealthy::Unusable { reason, advice: ENABLE_JETSTREAM }),
            Found::Trouble(reason) => Err(Unhealthy::Down { reason }),
        }
    }

    /// Connects, or writes and reads once.
    async fn step(&mut self, chunk: &mut Vec<Delivery>) {
        if self.link.is_none() {
            self.reconnect().await;
        }
        match self.exchange(chunk).await {
            Ok(heard) => self.heed(heard),
            Err(error) => {
                match error {
                    LinkError::LameDuck => self.moves += 1,
                    _ => self.disconnects += 1,
                }
                if let Some(connector) = &mut self.connector {
                    connector.lost(self.link.take(), &error);
                }
                self.acks.disconnected();
                self.pulls.clear();
                self.options.look_anew(self.last_place);
                if self.drain != Drain::No {
                    self.drain = Drain::Done;
                }
            }
        }
    }

    async fn reconnect(&mut self) {
        if let Some(mut connector) = self.connector.take() {
            let subscriptions = self.subscriptions.clone();
            self.connecting = Some(Box::pin(async move {
                let link = connector.connect(&subscriptions).await;
                (connector, link)
            }));
        }
        if let Some(connecting) = &mut self.connecting {
            let (connector, link) = connecting.await;
            self.connecting = None;
            self.connector = Some(connector);
            self.link = Some(link);
            self.pause_until_next();
        }
    }

    /// Writes what is to be written, and reads; what is whole is put into the chunk.
    async fn exchange(&mut self, chunk: &mut Vec<Delivery>) -> Result<Heard, LinkError> {
        self.prepare();
        let until = self.deadline();
        let Some(link) = &mut self.link else { return Ok(Heard::default()) };
        tokio::select! {
            // First, because after a long wait for a full buffer a time has passed, though there is much to
            // read.
            biased;
            moved = link.exchange() => moved?,
            () = sleep_until(until) => self.overdue()?,
        }
        self.take(chunk)
    }

    /// Puts into the output what it is time for.
    fn prepare(&mut self) {
        let now = Instant::now();
        match self.phase {
            Phase::Pause { until } if until <= now => self.ask(Question::Info),
            Phase::Pause { .. } | Phase::Asked { .. } => {}
            Phase::Pulling => {
                self.pulls.forget_old(now);
                self.pull(now);
                if let Some(link) = &mut self.link {
                    self.acks.write(link);
                }
            }
        }
    }

    /// When there is something to do though nothing has come.
    fn deadline(&self) -> Instant {
        let of_phase = match self.phase {
            Phase::Pause { until } | Phase::Asked { until, .. } => Some(until),
            Phase::Pulling => (!self.pulls.is_empty()).then(|| self.heard + 2 * HEARTBEAT),
        };
        let next_ping = self.link.as_ref().map(|link| link.next_ping);
        let of_drain = match self.drain {
            Drain::Asked { until, .. } => Some(until),
            Drain::No | Drain::Done => None,
        };
        of_phase.into_iter().chain(next_ping).chain(of_drain).min().unwrap_or_else(Instant::now)
    }

    /// Nothing has come.
    fn overdue(&mut self) -> Result<(), LinkError> {
        let now = Instant::now();
        match self.phase {
            Phase::Asked { until, .. } if until <= now => return TimeoutSnafu { limit: PATIENCE }.fail(),
            Phase::Pulling if !self.pulls.is_empty() && self.heard + 2 * HEARTBEAT <= now => {
                self.begin_anew("it has missed two heartbeats");
            }
            _ => {}
        }
        if matches!(self.drain, Drain::Asked { until, .. } if until <= now) {
            self.drain = Drain::Done;
        }
        match &mut self.link {
            Some(link) if link.next_ping <= now => link.ping(),
            _ => Ok(()),
        }
    }

    /// A word to the subject of JetStream's API, with a place for its answer.
    fn request(&mut self, subject: &str, place: char, text: &[u8]) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        if let Some(link) = &mut self.link {
            let line = format!("PUB {subject} {}.{place}.{number} {}\r\n", self.inbox, text.len());
            link.write(&[line.as_bytes(), text, b"\r\n"]);
        }
        number
    }

    fn ask(&mut self, question: Question) {
        let existing = self.consumer.as_ref().filter(|_| question == Question::Update);
        let (what, text) = match question {
            Question::Info => ("INFO", String::new()),
            Question::Create | Question::Update => {
                let text = self.options.creation(existing.map(|consumer| &consumer.config));
                ("CREATE", text.unwrap_or_default().to_string())
            }
        };
        let number = self.request(&self.options.subject(what), 'a', text.as_bytes());
        self.phase = Phase::Asked { question, number, until: Instant::now() + PATIENCE };
    }

    /// Asks for messages, when half of what was asked for has come.
    fn pull(&mut self, now: Instant) {
        let Some(Consumer { limits, .. }) = &self.consumer else { return };
        if self.is_paused || self.drain != Drain::No {
            return;
        }
        let Some(request) = self.pulls.next(&self.options, limits) else { return };
        let number = self.request(&self.options.subject("MSG.NEXT"), 'm', request.text().as_bytes());
        if self.pulls.is_empty() {
            self.heard = now;
        }
        self.pulls.push(number, &request, now);
    }

    fn begin_anew(&mut self, why: &str) {
        self.log.is_broken(why);
        self.pause_until_next();
    }

    fn pause_until_next(&mut self) {
        self.pulls.clear();
        self.phase = Phase::Pause { until: Instant::now() + reconnect_delay(self.attempts) };
        self.attempts += 1;
    }

    /// Something that a person has to mend, or that passes.
    fn wait(&mut self, why: &str) {
        self.log.is_missing(why);
        self.pause_until_next();
    }

    /// Does what the words of the server say that are no messages.
    fn heed(&mut self, heard: Heard) {
        for (number, status, text) in heard.statuses {
            if !self.pulls.heard(number, status) {
                continue;
            }
            self.heard = Instant::now();
            match status {
                Status::Heartbeat | Status::Ended => self.attempts = 0,
                Status::TooLarge if self.pulls.is_stuck() => self.wait(
                    "the next message is larger than the consumer lets anybody ask for; raise its max_bytes \
                     (`nats consumer edit`), or take it off",
                ),
                Status::TooLarge => self.log.has_too_large_a_message(),
                Status::TooMany | Status::Gone => self.begin_anew(&text),
            }
        }
        for (number, code, text) in heard.answers {
            if let Phase::Asked { question, number: asked, .. } = self.phase
                && number == asked
            {
                self.answered(question, self.options.read(code, &text));
            } else if self.stream == StreamCheck::Asked(number) {
                self.stream = StreamCheck::Done;
                self.compare(&text);
            }
        }
    }

    /// Says if the stream takes nothing of what the consumer is made for.
    fn compare(&self, answer: &[u8]) {
        if let Some(why) = self.consumer.as_ref().and_then(|consumer| consumer.reads_nothing(answer)) {
            self.log.reads_nothing(&why);
        }
    }

    /// Says that a consumer, which others may share, is not what it was.
    fn announce(&mut self, question: Question, new: &Consumer) {
        let old = self.consumer.as_ref();
        match question {
            Question::Info if old.is_some_and(|old| old.created == new.created) => return,
            Question::Info => {}
            Question::Create => self.log.made(new),
            Question::Update => old.iter().for_each(|old| self.log.changed(old, new)),
        }
        self.stream = StreamCheck::ToDo;
    }

    fn answered(&mut self, question: Question, found: Found) {
        match (found, question) {
            (Found::Usable(consumer), _) => {
                let is_other = self.consumer.as_ref().is_some_and(|old| old.created != consumer.created);
                if is_other {
                    self.generation += 1;
                    self.acks.forget();
                }
                self.announce(question, &consumer);
                let is_right = self.options.creation(Some(&consumer.config)).is_none();
                self.consumer = Some(consumer);
                match question {
                    Question::Info if !is_right => self.ask(Question::Update),
                    _ => self.begin_pulling(),
                }
            }
            (Found::NoConsumer(_), Question::Info) if self.options.create.is_some() => {
                self.ask(Question::Create);
            }
            // The one that is there can be read all the same.
            (Found::Trouble(why), Question::Update) => {
                self.log.cannot_change(&why);
                self.begin_pulling();
            }
            (
                Found::Unusable(why)
                | Found::NoConsumer(why)
                | Found::NoStream(why)
                | Found::NoJetStream(why)
                | Found::Trouble(why),
                _,
            ) => self.wait(&why),
        }
    }

    fn begin_pulling(&mut self) {
        self.phase = Phase::Pulling;
        self.consumer.iter().for_each(|consumer| self.log.reads(consumer));
        if self.stream != StreamCheck::Done {
            let subject = format!("$JS.API.STREAM.INFO.{}", self.options.stream);
            self.stream = StreamCheck::Asked(self.request(&subject, 'a', b""));
        }
    }

    /// Takes every whole operation from what has been read: messages into the chunk.
    fn take(&mut self, chunk: &mut Vec<Delivery>) -> Result<Heard, LinkError> {
        let (Some(link), Some(connector)) = (&mut self.link, &mut self.connector) else {
            return Ok(Heard::default());
        };
        let (mut heard, taken) = Heard::take(link, &connector.log);
        if !heard.messages.is_empty() {
            self.heard = Instant::now();
            self.attempts = 0;
        }
        self.pulls.delivered(heard.messages.len());
        let generation = self.generation;
        let delivery = |(message, reply, ack)| Delivery { message, reply, ack, generation };
        chunk.extend(std::mem::take(&mut heard.messages).into_iter().map(delivery));
        if let Some(last) = chunk.last() {
            self.last_place = Some(last.ack.stream_sequence);
        }
        for _ in 0..heard.pongs {
            self.acks.pong();
            self.drain = match self.drain {
                Drain::Asked { pongs: 0 | 1, .. } => Drain::Done,
                Drain::Asked { pongs, until } => Drain::Asked { pongs: pongs - 1, until },
                other => other,
            };
        }
        heard.infos.iter().for_each(|info| connector.heed(info));
        taken?;
        // It gives its streams to others now, and would let us go in a while.
        if heard.infos.iter().any(|info| info.ldm) {
            return Err(LinkError::LameDuck);
        }
        Ok(heard)
    }
}

impl std::fmt::Debug for PullConsumer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PullConsumer").field("options", &self.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::nats::{CreateOptions, Servers};
    use std::ops::Range;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const INFO: &str = r#"{"created":"t1","config":{"ack_policy":"explicit","ack_wait":8000000000}}"#;
    const NO_CONSUMER: &str = r#"{"error":{"code":404,"err_code":10014,"description":"x"}}"#;

    /// The other side of a connection.
    struct Server {
        stream: DuplexStream,
        heard: String,
    }

    /// A client with a connection.
    fn connected(create: bool, max_bytes: usize) -> (PullConsumer, Server) {
        let connection = ConnectionOptions {
            id: "test".to_owned(),
            name: "test".to_owned(),
            servers: Servers::parse("nats://localhost:1").unwrap(),
            auth: None,
            tls: None,
            env: Env::default(),
            ping_interval: crate::nats::PING_INTERVAL,
            status: crate::status::Status::default(),
        };
        let create = create.then(CreateOptions::default);
        let options = PullOptions { stream: "S".into(), consumer: "C".into(), batch: 4, max_bytes, create };
        let mut consumer = PullConsumer::new(connection, options);
        let (ours, stream) = duplex(1 << 16);
        consumer.link = Some(Link::new(Box::new(ours)));
        (consumer, Server { stream, heard: String::new() })
    }

    impl Server {
        /// Waits for these words; what came with them, and where the answer goes.
        async fn hears(&mut self, words: &str) -> String {
            loop {
                if let Some(at) = self.heard.find(words) {
                    let rest = self.heard.split_off(at);
                    let end = rest.find("\r\n").unwrap() + 2;
                    self.heard = rest[end..].to_owned();
                    return rest[words.len()..end].split(' ').nth(1).unwrap_or_default().to_owned();
                }
                let mut bytes = [0; 4096];
                let length = self.stream.read(&mut bytes).await.unwrap();
                assert!(length > 0, "{words} was not heard: {}", self.heard);
                self.heard.push_str(std::str::from_utf8(&bytes[..length]).unwrap());
            }
        }

        async fn says(&mut self, text: &str) {
            self.stream.write_all(text.as_bytes()).await.unwrap();
        }

        async fn answers(&mut self, words: &str, text: &str) {
            let reply = self.hears(words).await;
            self.says(&format!("MSG {reply} 2 {}\r\n{text}\r\n", text.len())).await;
        }

        async fn sends_status(&mut self, reply: &str, status: &str) {
            let headers = format!("NATS/1.0 {status}\r\n\r\n");
            self.says(&format!("HMSG {reply} 1 {0} {0}\r\n{headers}\r\n", headers.len())).await;
        }

        async fn sends_messages(&mut self, places: Range<u64>) {
            for place in places {
                self.says(&format!("MSG logs.a 1 $JS.ACK.S.C.1.{place}.{place}.1700.0 2\r\n{{}}\r\n")).await;
            }
        }
    }

    const ASKS: &str = "PUB $JS.API.CONSUMER.INFO.S.C";
    const MAKES: &str = "PUB $JS.API.CONSUMER.CREATE.S.C";
    const PULLS: &str = "PUB $JS.API.CONSUMER.MSG.NEXT.S.C";

    /// Reads for as long as the server's part of it takes.
    async fn while_it_reads(consumer: &mut PullConsumer, server: impl Future<Output = ()>) -> Vec<u64> {
        let mut places = Vec::new();
        let read = async {
            loop {
                let chunk = consumer.next_chunk().await.unwrap();
                places.extend(chunk.iter().map(|delivery| delivery.ack.stream_sequence));
            }
        };
        tokio::select! {
            () = read => {}
            () = server => {}
        }
        places
    }

    #[tokio::test(start_paused = true)]
    async fn more_is_asked_for_when_half_has_come() {
        let (mut consumer, mut server) = connected(false, 0);
        let places = while_it_reads(&mut consumer, async {
            server.answers(ASKS, INFO).await;
            server.hears(PULLS).await;
            server.hears(r#""batch":4"#).await;
            server.sends_messages(1..2).await;
            server.sends_messages(2..3).await;
            // Two of four have come.
            server.hears(PULLS).await;
            server.hears(r#""batch":2"#).await;
            server.sends_messages(3..7).await;
            server.hears(PULLS).await;
            // The message and the request are under way in both directions.
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
        assert_eq!(places.await, [1, 2, 3, 4, 5, 6]);
    }

    #[tokio::test(start_paused = true)]
    async fn whatever_ends_a_request_leads_to_the_next() {
        let anew = [
            "409 Leadership Change",
            "409 Consumer Deleted",
            "409 Server Shutdown",
            "503",
            "409 Exceeded MaxWaiting",
        ];
        for (statuses, asks) in
            [(&["408 Request Timeout", "404 No Messages", "409 Batch Completed"][..], false), (&anew, true)]
        {
            let (mut consumer, mut server) = connected(false, 0);
            while_it_reads(&mut consumer, async {
                server.answers(ASKS, INFO).await;
                for status in statuses {
                    let reply = server.hears(PULLS).await;
                    server.sends_status(&reply, status).await;
                    if asks {
                        server.answers(ASKS, INFO).await;
                    }
                }
                server.hears(PULLS).await;
                assert!(!server.heard.contains(ASKS));
            })
            .await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_that_is_silent_is_asked_for_and_a_heartbeat_is_a_sign_of_life() {
        let (mut consumer, mut server) = connected(false, 0);
        while_it_reads(&mut consumer, async {
            server.answers(ASKS, INFO).await;
            let reply = server.hears(PULLS).await;
            for _ in 0..4 {
                tokio::time::sleep(HEARTBEAT).await;
                server.sends_status(&reply, "100 Idle Heartbeat").await;
            }
            let before = Instant::now();
            server.answers(ASKS, INFO).await;
            assert!((2 * HEARTBEAT..3 * HEARTBEAT).contains(&before.elapsed()), "{:?}", before.elapsed());
            server.hears(PULLS).await;
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_on_which_nobody_answers_is_given_up() {
        let (mut consumer, mut server) = connected(false, 0);
        let given_up = async {
            server.hears(ASKS).await;
            let mut rest = Vec::new();
            server.stream.read_to_end(&mut rest).await.unwrap();
        };
        while_it_reads(&mut consumer, given_up).await;
        assert_eq!((consumer.disconnects(), consumer.link.is_some()), (1, false));
    }

    #[tokio::test(start_paused = true)]
    async fn a_server_that_is_about_to_stop_is_left_with_what_it_has_sent() {
        let (mut consumer, mut server) = connected(false, 0);
        let places = while_it_reads(&mut consumer, async {
            server.answers(ASKS, INFO).await;
            server.hears(PULLS).await;
            server.sends_messages(1..2).await;
            server.says("INFO {\"ldm\":true}\r\n").await;
            let mut rest = Vec::new();
            server.stream.read_to_end(&mut rest).await.unwrap();
        });
        assert_eq!(places.await, [1]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_larger_than_a_request_is_asked_for_by_itself() {
        let (mut consumer, mut server) = connected(false, 1000);
        while_it_reads(&mut consumer, async {
            server.answers(ASKS, INFO).await;
            let reply = server.hears(PULLS).await;
            server.hears(r#""max_bytes":1000"#).await;
            server.sends_status(&reply, "409 Message Size Exceeds MaxBytes").await;
            server.hears(PULLS).await;
            server.hears(r#"{"batch":1,"#).await;
            server.sends_messages(1..2).await;
            server.hears(r#""max_bytes":1000"#).await;
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_larger_than_anybody_may_ask_for_is_asked_for_with_pauses() {
        let (mut consumer, mut server) = connected(false, 1000);
        while_it_reads(&mut consumer, async {
            let before = Instant::now();
            for _ in 0..10 {
                server.answers(ASKS, INFO).await;
                for _ in 0..2 {
                    let reply = server.hears(PULLS).await;
                    server.sends_status(&reply, "409 Message Size Exceeds MaxBytes").await;
                }
            }
            assert!(before.elapsed() > Duration::from_secs(5), "{:?}", before.elapsed());
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_on_a_connection_that_has_died_ends() {
        let (mut consumer, mut server) = connected(false, 0);
        while_it_reads(&mut consumer, async {
            server.answers(ASKS, INFO).await;
            server.hears(PULLS).await;
        })
        .await;
        consumer.drain();
        let before = Instant::now();
        assert!(consumer.next_chunk().await.is_none());
        assert_eq!(before.elapsed(), DRAIN_PATIENCE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_consumer_that_is_missing_is_made_or_waited_for() {
        let (mut consumer, mut server) = connected(true, 0);
        while_it_reads(&mut consumer, async {
            server.answers(ASKS, NO_CONSUMER).await;
            server.answers(MAKES, INFO).await;
            server.hears(PULLS).await;
        })
        .await;
        let (mut consumer, mut server) = connected(false, 0);
        while_it_reads(&mut consumer, async {
            let before = Instant::now();
            for _ in 0..30 {
                server.answers(ASKS, NO_CONSUMER).await;
            }
            assert!(before.elapsed() > Duration::from_secs(30), "a busy loop");
            server.answers(ASKS, INFO).await;
            server.hears(PULLS).await;
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn acks_for_a_consumer_that_is_no_longer_there_are_not_written() {
        let (mut consumer, mut server) = connected(false, 0);
        let begun = async {
            server.answers(ASKS, INFO).await;
            let reply = server.hears(PULLS).await;
            server.sends_status(&reply, "409 Consumer Deleted").await;
            server.hears(ASKS).await
        };
        let reply = tokio::select! {
            reply = begun => reply,
            _ = consumer.next_chunk() => unreachable!("no message was sent"),
        };
        consumer.acknowledge(0, "$JS.ACK.S.C.1.1.1.1700.0", Ack::Delivered);
        while_it_reads(&mut consumer, async {
            let other = INFO.replace("t1", "t2");
            server.says(&format!("MSG {reply} 2 {}\r\n{other}\r\n", other.len())).await;
            server.hears(PULLS).await;
            server.sends_messages(1..2).await;
        })
        .await;
        assert_eq!((consumer.generation, consumer.has_acknowledged()), (1, true));
        assert!(!server.heard.contains("+ACK"), "{}", server.heard);
        // Of the old one.
        consumer.acknowledge(0, "$JS.ACK.S.C.1.1.1.1700.0", Ack::Delivered);
        assert!(consumer.has_acknowledged());
        consumer.acknowledge(1, "$JS.ACK.S.C.1.1.1.1700.0", Ack::Delivered);
        while_it_reads(&mut consumer, async {
            server.hears("+ACK").await;
            server.hears("PING").await;
            server.says("PONG\r\n").await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        })
        .await;
        assert!(consumer.has_acknowledged());
    }

    #[tokio::test(start_paused = true)]
    async fn a_drain_ends_behind_the_last_message() {
        let (mut consumer, mut server) = connected(false, 0);
        while_it_reads(&mut consumer, async {
            server.answers(ASKS, INFO).await;
            server.hears(PULLS).await;
        })
        .await;
        consumer.drain();
        let rest = async {
            server.hears("UNSUB 1").await;
            server.sends_messages(1..3).await;
            server.says("PONG\r\n").await;
        };
        let read = async {
            let mut messages = 0;
            while let Some(chunk) = consumer.next_chunk().await {
                messages += chunk.len();
            }
            messages
        };
        assert_eq!(tokio::join!(rest, read).1, 2);
        assert!(!server.heard.contains(PULLS));
    }
}
