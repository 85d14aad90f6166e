//! [`Publisher`]: a client that publishes, and learns what became of each message.
//!
//! Like [`Connection`](super::Connection) it has no task and no queue of its own: whoever publishes writes
//! and reads the socket.

use super::answer::{Answer, forbidden_subject, pub_ack, stream_names};
use super::connector::{Connector, Role, Subscription};
use super::link::{Info, Link, LinkError, TimeoutSnafu, is_permissions_violation};
use super::messages::Messages;
use super::options::ConnectionOptions;
use super::protocol::{Op, parse, shown};
use crate::healthcheck::Unhealthy;
use bytes::Buf;
use std::collections::HashSet;
use std::time::Duration;
use tokio::time::timeout;

/// When a message counts as published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Confirmation {
    /// When the server has answered a `PING` behind it. Core NATS has no other receipt: the server has it,
    /// and has given it to whoever was subscribed, or to nobody.
    Server,
    /// When a JetStream stream has stored it.
    Stream,
}

/// One client, connected or trying to be.
pub struct Publisher {
    connector: Connector,
    link: Option<Link>,
    confirmation: Confirmation,
    /// How long nothing may move while an answer is due.
    patience: Duration,
    /// Where streams answer, with a message's number as the last token.
    inbox: String,
    subscriptions: Vec<Subscription>,
    next_number: u64,
}

/// How many messages may wait for their stream's answer at once: a stream takes 10,000 from all clients
/// (`max_buffered_msgs` of nats-server), and refuses more.
const MAX_IN_FLIGHT: usize = 1024;
/// How many bytes of them.
const MAX_BYTES_IN_FLIGHT: usize = 4 << 20;

impl Publisher {
    /// The client; it connects when it is first asked for something.
    pub fn new(options: ConnectionOptions, confirmation: Confirmation, patience: Duration) -> Publisher {
        let inbox = format!("_INBOX.{:032x}", rand::random::<u128>());
        let subscriptions = match confirmation {
            Confirmation::Server => Vec::new(),
            Confirmation::Stream => vec![(format!("{inbox}.*"), None)],
        };
        let connector = Connector::new(options, Role::Publisher);
        Publisher { connector, link: None, confirmation, patience, inbox, subscriptions, next_number: 0 }
    }

    /// Encodes a message. The subject must be one that can be published to
    /// ([`is_valid_subject`](super::subject::is_valid_subject)); the id (`Nats-Msg-Id`), by which a stream
    /// knows a message that it has already, must have no line break.
    pub fn add(&mut self, messages: &mut Messages, subject: &str, id: Option<&str>, payload: &[u8]) {
        let number = self.next_number;
        self.next_number += 1;
        let reply = (self.confirmation == Confirmation::Stream).then(|| format!("{}.{number}", self.inbox));
        messages.add(number, subject, reply.as_deref(), id, payload);
    }

    /// Publishes messages, connecting first where there is no connection, and says for each what became of
    /// it. Not to be cancelled: the rest of a message that is written half-way would be missing.
    pub async fn publish(&mut self, messages: &Messages) -> Vec<Answer> {
        while self.link.is_none() {
            self.connect().await;
        }
        let mut round = Round::new(messages, self.confirmation, pub_ack);
        if let Err(error) = self.exchange(&mut round).await {
            round.disconnected(&error);
            self.connector.lost(self.link.take(), &error);
        }
        round.into_answers()
    }

    /// Keeps the connection alive while there is nothing to publish: connects, answers pings. Ends when
    /// something has happened. Safe to cancel.
    pub async fn idle(&mut self) {
        let Some(link) = &mut self.link else { return self.connect().await };
        let next_ping = link.next_ping;
        let mut nothing: &[u8] = &[];
        let moved = tokio::select! {
            moved = link.transfer(&mut nothing) => moved,
            () = tokio::time::sleep_until(next_ping) => link.ping(),
        };
        if let Err(error) = moved.and_then(|()| self.take(None)) {
            self.connector.lost(self.link.take(), &error);
        }
    }

    /// Whether a server is there and takes us, and a stream, where one is to answer, takes the subject. A
    /// user who may not ask for streams is not held to be ill for that.
    ///
    /// # Errors
    /// What is wrong.
    pub async fn check(mut self, subject: Option<&str>) -> Result<(), Unhealthy> {
        let unhealthy = |error: LinkError| match error {
            LinkError::Refused { .. } | LinkError::Auth { .. } => {
                Unhealthy::Unauthorized { reason: error.to_string() }
            }
            error => Unhealthy::Down { reason: format!("cannot connect to NATS: {error}") },
        };
        self.link = Some(self.connector.connect_once(&self.subscriptions).await.map_err(unhealthy)?);
        self.take(None).map_err(unhealthy)?;
        if self.confirmation == Confirmation::Server {
            return Ok(());
        }
        let mut question = Messages::default();
        let filter = subject.map_or(serde_json::json!({}), |subject| serde_json::json!({"subject": subject}));
        self.add(&mut question, "$JS.API.STREAM.NAMES", None, filter.to_string().as_bytes());
        let mut round = Round::new(&question, self.confirmation, stream_names);
        self.exchange(&mut round).await.map_err(unhealthy)?;
        match round.into_answers().pop() {
            Some(Answer::Retry { reason } | Answer::Rejected { reason }) => {
                Err(Unhealthy::NotFound { reason })
            }
            _ => Ok(()),
        }
    }

    async fn connect(&mut self) {
        self.link = Some(self.connector.connect(&self.subscriptions).await);
        // What came with the first answer: perhaps that we may not subscribe to where streams answer, and
        // then nothing must be published, since each attempt would be stored once more.
        if let Err(error) = self.take(None) {
            self.connector.lost(self.link.take(), &error);
        }
    }

    /// Writes messages and reads answers, until all are there or none will come.
    async fn exchange(&mut self, round: &mut Round<'_>) -> Result<(), LinkError> {
        let limit = self.patience;
        let Some(link) = &mut self.link else { return Ok(()) };
        round.reject_larger_than(link.max_payload);
        // A line that is written half-way has to be finished before a message.
        timeout(limit, link.flush()).await.unwrap_or(TimeoutSnafu { limit }.fail())?;
        let mut run: &[u8] = &[];
        loop {
            let Some(link) = &mut self.link else { return Ok(()) };
            if run.is_empty() && round.is_done() {
                return Ok(());
            }
            // Nor may a message begin within a line.
            if run.is_empty() && link.output.is_empty() {
                run = round.next_run();
                if run.is_empty() && round.pongs.is_none() {
                    round.ping(link);
                }
            }
            match timeout(limit, link.transfer(&mut run)).await {
                Ok(moved) => moved?,
                // Either the streams do not answer, or the server has gone since it answered.
                Err(_) if round.pongs == Some(0) && run.is_empty() && link.output.is_empty() => {
                    round.unanswered_at_doubt = Some(round.unanswered);
                    round.ping(link);
                }
                Err(_) => return TimeoutSnafu { limit }.fail(),
            }
            self.take(Some(round))?;
            if round.pongs == Some(0)
                && let Some(unanswered) = round.unanswered_at_doubt.take()
                && unanswered == round.unanswered
            {
                // Nothing is half written: no answer has made room for more, and the `PING` has arrived.
                round.give_up(limit);
                return Ok(());
            }
        }
    }

    /// Takes every whole operation from what has been read.
    fn take(&mut self, mut round: Option<&mut Round>) -> Result<(), LinkError> {
        let Some(link) = &mut self.link else { return Ok(()) };
        let mut at = 0;
        let taken = loop {
            let rest = &link.input[at..];
            let (op, length) = match parse(rest) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            match op {
                Op::Message { subject, payload, .. } => {
                    if let Some(round) = &mut round {
                        round.hear(&rest[subject], &rest[payload]);
                    }
                }
                Op::Ping => link.output.extend_from_slice(b"PONG\r\n"),
                Op::Pong => {
                    link.unanswered = link.unanswered.saturating_sub(1);
                    if let Some(round) = &mut round {
                        round.pong();
                    }
                }
                Op::Ok => {}
                Op::Info(range) => {
                    if let Ok(info) = serde_json::from_slice::<Info>(&rest[range]) {
                        link.max_payload = info.max_payload().unwrap_or(link.max_payload);
                        self.connector.heed(&info);
                    }
                }
                Op::Error(range) => match (forbidden_subject(&rest[range.clone()]), &mut round) {
                    (Some(subject), Some(round)) => round.forbid(subject),
                    (Some(_), None) => {}
                    (None, _) => {
                        let mut message = shown(&rest[range]);
                        if is_permissions_violation(&message) {
                            message.push_str("; the user must be allowed to subscribe to _INBOX.>, where JetStream answers");
                        }
                        break Err(LinkError::Refused { message });
                    }
                },
            }
            at += length;
        };
        link.input.advance(at);
        taken
    }
}

impl std::fmt::Debug for Publisher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publisher").field("options", &self.connector.options).finish_non_exhaustive()
    }
}

/// One way of messages to a server, and what is known of them.
struct Round<'a> {
    messages: &'a Messages,
    confirmation: Confirmation,
    /// What a message's answer says.
    read: fn(&[u8]) -> Option<Answer>,
    answers: Vec<Option<Answer>>,
    unanswered: usize,
    /// The first message that is not written yet.
    next: usize,
    in_flight: usize,
    bytes_in_flight: usize,
    /// How many answers to our `PING`s come until that to the last one of this round, once there is one.
    pongs: Option<u32>,
    /// How many messages were unanswered when nothing had moved for too long, until the server has answered
    /// the `PING` that followed.
    unanswered_at_doubt: Option<usize>,
    forbidden: HashSet<String>,
}

impl<'a> Round<'a> {
    fn new(
        messages: &'a Messages,
        confirmation: Confirmation,
        read: fn(&[u8]) -> Option<Answer>,
    ) -> Round<'a> {
        Round {
            messages,
            confirmation,
            read,
            answers: vec![None; messages.len()],
            unanswered: messages.len(),
            next: 0,
            in_flight: 0,
            bytes_in_flight: 0,
            pongs: None,
            unanswered_at_doubt: None,
            forbidden: HashSet::new(),
        }
    }

    fn ping(&mut self, link: &mut Link) {
        link.write(&[b"PING\r\n"]);
        link.unanswered += 1;
        self.pongs = Some(link.unanswered);
    }

    fn is_done(&self) -> bool {
        self.unanswered == 0
    }

    fn into_answers(self) -> Vec<Answer> {
        self.answers.into_iter().map(|answer| answer.unwrap_or(Answer::Lost)).collect()
    }

    /// The bytes of the next messages that may be written, so many of them as stand side by side.
    fn next_run(&mut self) -> &'a [u8] {
        while self.answers.get(self.next).is_some_and(Option::is_some) {
            self.next += 1;
        }
        let mut run = None;
        while self.answers.get(self.next).is_some_and(Option::is_none) && self.has_room() {
            let range = self.messages.range(self.next);
            self.in_flight += 1;
            self.bytes_in_flight += range.len();
            self.next += 1;
            let start = run.map_or(range.start, |(start, _)| start);
            run = Some((start, range.end));
        }
        run.map_or(&[], |(start, end)| &self.messages.bytes()[start..end])
    }

    fn has_room(&self) -> bool {
        self.confirmation == Confirmation::Server
            || (self.in_flight < MAX_IN_FLIGHT && self.bytes_in_flight < MAX_BYTES_IN_FLIGHT)
    }

    /// Only the first answer counts.
    fn answer(&mut self, index: usize, answer: Answer) {
        if self.answers[index].is_some() {
            return;
        }
        self.answers[index] = Some(answer);
        self.unanswered -= 1;
        if index < self.next {
            self.in_flight -= 1;
            self.bytes_in_flight -= self.messages.range(index).len();
        }
    }

    fn answer_all(&mut self, mut answer: impl FnMut(usize) -> Option<Answer>) {
        for index in 0..self.answers.len() {
            if self.answers[index].is_none()
                && let Some(answer) = answer(index)
            {
                self.answer(index, answer);
            }
        }
    }

    fn reject_larger_than(&mut self, limit: usize) {
        let messages = self.messages;
        self.answer_all(|index| {
            let size = messages.size(index);
            let reason =
                || format!("it has {size} bytes, and the server takes at most {limit} (max_payload)");
            (size > limit).then(|| Answer::Rejected { reason: reason() })
        });
    }

    /// A message in our inbox.
    fn hear(&mut self, subject: &[u8], payload: &[u8]) {
        let number =
            subject.rsplit(|byte| *byte == b'.').next().and_then(|token| std::str::from_utf8(token).ok());
        let index =
            number.and_then(|token| token.parse().ok()).and_then(|number| self.messages.position(number));
        if let (Some(index), Some(answer)) = (index, (self.read)(payload)) {
            self.answer(index, answer);
        }
    }

    fn pong(&mut self) {
        self.pongs = self.pongs.map(|pongs| pongs.saturating_sub(1));
        // What the server has refused, it has refused before.
        if self.pongs == Some(0) && self.confirmation == Confirmation::Server {
            self.answer_all(|_| Some(Answer::Published));
        }
    }

    /// The server says so for each message, but says nothing of which one: it is meant for all to the subject.
    fn forbid(&mut self, subject: String) {
        let messages = self.messages;
        if !self.forbidden.contains(&subject) {
            self.answer_all(|index| (messages.subject(index) == subject).then_some(Answer::Forbidden));
            self.forbidden.insert(subject);
        }
    }

    /// The server is there, so that it is the streams that do not answer.
    fn give_up(&mut self, limit: Duration) {
        let reason = format!(
            "no stream has confirmed it within {} s; does one take its subject?",
            limit.as_secs_f64()
        );
        let written = self.next;
        self.answer_all(|index| {
            let is_written = index < written;
            Some(if is_written { Answer::Retry { reason: reason.clone() } } else { Answer::Unsent })
        });
    }

    /// A server may take less than it has told. Which message it has refused it does not say, but if any,
    /// then the largest.
    fn disconnected(&mut self, error: &LinkError) {
        let LinkError::Refused { message } = error else { return };
        if !message.to_lowercase().contains("maximum payload") {
            return;
        }
        let messages = self.messages;
        let sizes = self.answers.iter().enumerate().filter(|(_, answer)| answer.is_none());
        let largest = sizes.map(|(index, _)| messages.size(index)).max();
        self.answer_all(|index| {
            let reason =
                || format!("it has {} bytes, and the server answers: {message}", messages.size(index));
            (Some(messages.size(index)) == largest).then(|| Answer::Rejected { reason: reason() })
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::Env;
    use crate::nats::PING_INTERVAL;
    use crate::nats::Servers;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    const LIMIT: Duration = Duration::from_secs(10);
    /// More than may wait for their answers at once.
    const MESSAGES: usize = MAX_IN_FLIGHT + OTHERS;
    const OTHERS: usize = 476;

    /// A client of JetStream without a connection, and what it is to publish.
    fn publisher() -> (Publisher, Messages) {
        let options = ConnectionOptions {
            id: "test".to_owned(),
            name: "test".to_owned(),
            servers: Servers::parse("nats://localhost").unwrap(),
            auth: None,
            tls: None,
            env: Env::default(),
            ping_interval: PING_INTERVAL,
            status: crate::status::Status::default(),
        };
        let mut publisher = Publisher::new(options, Confirmation::Stream, LIMIT);
        let mut messages = Messages::default();
        for _ in 0..MESSAGES {
            publisher.add(&mut messages, "s", None, b"{}");
        }
        (publisher, messages)
    }

    /// The other side of a connection that takes so many bytes until they are read.
    fn connect(publisher: &mut Publisher, room: usize) -> DuplexStream {
        let (ours, theirs) = duplex(room);
        publisher.link = Some(Link::new(Box::new(ours)));
        theirs
    }

    /// Messages as they go over the wire.
    fn bytes(messages: &Messages, range: std::ops::Range<usize>) -> &[u8] {
        &messages.bytes()[messages.range(range.start).start..messages.range(range.end - 1).end]
    }

    async fn hears(theirs: &mut DuplexStream, expected: &[u8]) {
        let mut heard = vec![0; expected.len()];
        timeout(10 * LIMIT, theirs.read_exact(&mut heard)).await.unwrap().unwrap();
        assert!(heard == expected, "{}", String::from_utf8_lossy(&heard));
    }

    /// The stream has stored the first so many messages.
    async fn confirm(theirs: &mut DuplexStream, inbox: &str, messages: usize) {
        let answer = r#"{"stream":"S","seq":1}"#;
        for number in 0..messages {
            let text = format!("MSG {inbox}.{number} 1 {}\r\n{answer}\r\n", answer.len());
            theirs.write_all(text.as_bytes()).await.unwrap();
        }
    }

    fn count(answers: &[Answer], like: impl Fn(&Answer) -> bool) -> usize {
        answers.iter().filter(|answer| like(answer)).count()
    }

    #[tokio::test(start_paused = true)]
    async fn a_stream_is_absent_only_if_the_server_is_there() {
        for is_there in [true, false] {
            let (mut publisher, messages) = publisher();
            let mut theirs = connect(&mut publisher, 1 << 20);
            let server = async {
                hears(&mut theirs, bytes(&messages, 0..MAX_IN_FLIGHT)).await;
                hears(&mut theirs, b"PING\r\n").await;
                theirs.write_all(b"PONG\r\n").await.unwrap();
                // Asked once more when nothing else has come.
                hears(&mut theirs, b"PING\r\n").await;
                if is_there {
                    theirs.write_all(b"PONG\r\n").await.unwrap();
                }
            };
            let (answers, ()) = tokio::join!(publisher.publish(&messages), server);
            let (written, others) = answers.split_at(MAX_IN_FLIGHT);
            let retried = count(written, |answer| matches!(answer, Answer::Retry { .. }));
            let unsent = count(others, |answer| *answer == Answer::Unsent);
            let lost = count(&answers, |answer| *answer == Answer::Lost);
            let expected = if is_there { (MAX_IN_FLIGHT, OTHERS, 0) } else { (0, 0, MESSAGES) };
            assert_eq!((retried, unsent, lost), expected);
            assert_eq!(publisher.link.is_some(), is_there);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_before_the_servers_has_all_others_waited_for() {
        let (mut publisher, messages) = publisher();
        let mut theirs = connect(&mut publisher, 1 << 20);
        let inbox = publisher.inbox.clone();
        let server = async {
            hears(&mut theirs, bytes(&messages, 0..MAX_IN_FLIGHT)).await;
            hears(&mut theirs, b"PING\r\n").await;
            theirs.write_all(b"PONG\r\n").await.unwrap();
            hears(&mut theirs, b"PING\r\n").await;
            confirm(&mut theirs, &inbox, OTHERS).await;
            theirs.write_all(b"PONG\r\n").await.unwrap();
            hears(&mut theirs, bytes(&messages, MAX_IN_FLIGHT..MESSAGES)).await;
            confirm(&mut theirs, &inbox, MESSAGES).await;
        };
        let (answers, ()) = tokio::join!(publisher.publish(&messages), server);
        assert_eq!(count(&answers, |answer| *answer == Answer::Published), MESSAGES);
    }

    /// The next would be written into the middle of it.
    #[tokio::test(start_paused = true)]
    async fn a_connection_with_a_message_that_is_written_half_way_is_not_kept() {
        let (mut publisher, messages) = publisher();
        let mut theirs = connect(&mut publisher, 1000);
        let inbox = publisher.inbox.clone();
        let server = async {
            hears(&mut theirs, bytes(&messages, 0..MAX_IN_FLIGHT)).await;
            hears(&mut theirs, b"PING\r\n").await;
            theirs.write_all(b"PONG\r\n").await.unwrap();
            confirm(&mut theirs, &inbox, MAX_IN_FLIGHT).await;
        };
        let (answers, ()) = tokio::join!(publisher.publish(&messages), server);
        assert_eq!(count(&answers, |answer| *answer == Answer::Published), MAX_IN_FLIGHT);
        assert_eq!(count(&answers, |answer| *answer == Answer::Lost), OTHERS);
        assert!(publisher.link.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_ping_that_is_written_half_way_is_finished_before_a_message() {
        let (mut publisher, messages) = publisher();
        let window = bytes(&messages, 0..MAX_IN_FLIGHT);
        let mut theirs = connect(&mut publisher, window.len() + "PIN".len());
        let inbox = publisher.inbox.clone();
        let server = async {
            // Time passes only when nobody can go on.
            tokio::time::sleep(Duration::from_secs(1)).await;
            confirm(&mut theirs, &inbox, 3).await;
            tokio::time::sleep(Duration::from_secs(1)).await;
            hears(&mut theirs, window).await;
            hears(&mut theirs, b"PING\r\n").await;
            hears(&mut theirs, bytes(&messages, MAX_IN_FLIGHT..MAX_IN_FLIGHT + 3)).await;
        };
        let (answers, ()) = tokio::join!(publisher.publish(&messages), server);
        assert_eq!(count(&answers, |answer| *answer == Answer::Published), 3);
    }
}
