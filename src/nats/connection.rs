//! [`Connection`]: a client that connects, and connects again, for ever.
//!
//! It has no task and no queue of its own: whoever asks for the next chunk reads the socket. While
//! nobody asks, messages wait in the server, and nothing is dropped here.
//!
//! A connection that is quiet may have been forgotten by its server, though it answers pings: if asked to
//! ([`Connection::renew_when_idle`]), a second one then takes its place, as it does when the server says that it is
//! about to stop. How, `renewal` says.

use super::connector::{Connector, Role, Subscription};
use super::link::LinkError;
use super::message::Message;
use super::options::ConnectionOptions;
use super::reader::Reader;
use super::renewal::{DRAIN_PATIENCE, Doubts, Renewal, Second, Step};
use super::twice::Twice;
use crate::deadline::sleep_until;
use std::time::Duration;
use tokio::time::Instant;

/// One client that reads, connected or trying to be.
pub struct Connection {
    connector: Connector,
    subscriptions: Vec<Subscription>,
    reader: Option<Reader>,
    renewal: Renewal,
    /// How long no message may come before the connection is renewed; none is for ever.
    idle_limit: Option<Duration>,
    /// The last attempt to renew it has failed; the next one waits until then.
    next_renewal: Instant,
    /// When the last attempt to renew it began.
    renewal_began: Instant,
    /// Nothing more is wanted than what the server has sent until then.
    is_ending: bool,
    /// It may be dead: nothing has come for long, and it could not be renewed.
    doubts: Doubts,
    disconnects: u64,
    resubscribes: u64,
}

/// How long after an attempt to move away from a server that is about to stop comes the next one: another may be
/// back then.
const MOVE_AGAIN: Duration = Duration::from_secs(1);

impl Connection {
    /// The client; it connects when it is first asked for something.
    pub fn new(options: ConnectionOptions) -> Connection {
        Connection {
            connector: Connector::new(options, Role::Reader),
            subscriptions: Vec::new(),
            reader: None,
            renewal: Renewal::No,
            idle_limit: None,
            next_renewal: Instant::now(),
            renewal_began: Instant::now(),
            is_ending: false,
            doubts: Doubts::default(),
            disconnects: 0,
            resubscribes: 0,
        }
    }

    /// Adds a subscription, before the first message is asked for. The server hears of it at each new
    /// connection.
    pub fn subscribe(&mut self, subject: &str, queue: Option<&str>) {
        self.subscriptions.push((subject.to_owned(), queue.map(str::to_owned)));
    }

    /// After how long without a message a fresh connection takes the place of the one there is, without loss and
    /// without anything twice. Default: never.
    pub fn renew_when_idle(&mut self, limit: Option<Duration>) {
        self.idle_limit = limit;
    }

    /// Waits until there is a connection on which the server knows of every subscription. Safe to cancel.
    pub async fn connect(&mut self) {
        if self.reader.is_none() && matches!(self.renewal, Renewal::Both { .. }) {
            // A second one was nearly there when the first was lost.
            let step = self.renewal.step().await;
            self.go_on(step);
        }
        if self.reader.is_none() && !self.is_ending {
            let link = self.connector.connect(&self.subscriptions).await;
            self.reader = Some(Reader::new(link, self.subscriptions.len()));
        }
    }

    /// Waits for messages, connecting first where there is no connection: everything that one read brings. That is
    /// nothing when the connection was lost or renewed. `None` after [`Connection::drain`], when there are no more.
    /// Safe to cancel.
    pub async fn next_chunk(&mut self) -> Option<Vec<Message>> {
        while !self.is_at_end() {
            self.connect().await;
            let deadline = self.deadline();
            let mut chunk = Vec::new();
            let counts = (self.disconnects, self.resubscribes);
            let Some(reader) = &mut self.reader else { break };
            tokio::select! {
                biased;
                step = self.renewal.step() => self.go_on(step),
                // Before the deadline, because after a long wait for a full buffer that has passed, though there is
                // much to read.
                read = reader.read(&mut self.connector, &mut chunk) => {
                    self.renewal.sort_out(&mut chunk);
                    match read {
                        Ok(()) => self.has_read(),
                        Err(error) => self.disconnected(&error),
                    }
                }
                () = sleep_until(deadline), if deadline.is_some() => self.deadline_passed(),
            }
            if !chunk.is_empty() && self.doubts.end() {
                self.connector.log.is_alive();
            }
            if !chunk.is_empty() || counts != (self.disconnects, self.resubscribes) {
                return Some(chunk);
            }
        }
        None
    }

    /// How often the connection has been lost: a server that stopped or broke, or that cut us off because
    /// we read too slowly, which it does not tell.
    pub fn disconnects(&self) -> u64 {
        self.disconnects
    }

    /// How often a fresh connection has taken the place of one that was quiet, or whose server was about to stop.
    pub fn resubscribes(&self) -> u64 {
        self.resubscribes
    }

    /// Tells the server to send nothing more. What it has sent is still to be taken;
    /// [`Connection::next_chunk`] then ends. Without a connection there is nothing to wait for.
    pub fn drain(&mut self) {
        self.is_ending = true;
        match &mut self.renewal {
            Renewal::No => {}
            Renewal::Opening { .. } => self.renewal = Renewal::No,
            // The first one is drained in its turn, and then the second.
            Renewal::Both { .. } | Renewal::Draining { .. } => return,
            Renewal::Catching { ask_at, .. } => *ask_at = None,
        }
        self.reader.iter_mut().for_each(Reader::drain);
    }

    fn is_at_end(&self) -> bool {
        let is_alone = matches!(self.renewal, Renewal::No | Renewal::Catching { .. });
        self.is_ending && is_alone && self.reader.as_ref().is_none_or(Reader::has_reached_mark)
    }
}

// === renewal ===

impl Connection {
    /// When the next step is due that nothing else leads to.
    fn deadline(&mut self) -> Option<Instant> {
        let reader = self.reader.as_ref()?;
        match &self.renewal {
            Renewal::Draining { since, .. } => Some(reader.link.last_read.max(*since) + DRAIN_PATIENCE),
            Renewal::No if !self.is_ending => {
                if reader.is_leaving && self.next_renewal <= Instant::now() {
                    // At once: there may be so much to read that no deadline is ever looked at.
                    self.renew();
                    return None;
                }
                let idle = self.idle_limit.map(|limit| reader.last_message + limit);
                let due = if reader.is_leaving { Some(self.next_renewal) } else { idle };
                due.map(|due| due.max(self.next_renewal))
            }
            _ => None,
        }
    }

    fn renew(&mut self) {
        self.renewal_began = Instant::now();
        self.renewal = Renewal::open(&self.connector);
    }

    fn deadline_passed(&mut self) {
        match std::mem::take(&mut self.renewal) {
            Renewal::Draining { second, twice, .. } => {
                let silence = self.reader.as_ref().map(|reader| reader.link.last_read.elapsed());
                self.connector.log.was_dead(silence.unwrap_or_default());
                self.disconnects += 1;
                self.replace(second, twice);
            }
            Renewal::No => self.renew(),
            other => self.renewal = other,
        }
    }

    /// Goes on with what has happened to the second connection.
    fn go_on(&mut self, step: Step) {
        match (step, std::mem::take(&mut self.renewal)) {
            (Step::Opened(Ok(second)), _) => {
                self.renewal = Renewal::subscribe(second, &self.subscriptions);
            }
            (Step::Subscribed(Ok(second)), Renewal::Both { twice, .. }) => match &mut self.reader {
                Some(first) => {
                    first.drain();
                    self.renewal = Renewal::Draining { second, twice, since: Instant::now() };
                }
                None => self.replace(second, twice),
            },
            (Step::Opened(Err(error)), _) => self.cannot_renew(&error),
            (Step::Subscribed(Err(error)), other) => {
                // As a member of a queue group it may have been given messages that are gone with it.
                self.disconnects += u64::from(matches!(other, Renewal::Both { twice: None, .. }));
                self.cannot_renew(&error);
                if self.is_ending {
                    self.reader.iter_mut().for_each(Reader::drain);
                }
            }
            (Step::Ask, Renewal::Catching { twice, .. }) => {
                self.reader.iter_mut().for_each(Reader::set_mark);
                self.renewal = Renewal::Catching { twice, ask_at: None };
            }
            (_, other) => self.renewal = other,
        }
    }

    /// The first one simply goes on being used.
    fn cannot_renew(&mut self, error: &LinkError) {
        let is_leaving = self.reader.as_ref().is_some_and(|reader| reader.is_leaving);
        let is_renewed = !is_leaving && self.idle_limit.is_some();
        let silent = self.reader.as_ref().filter(|_| is_renewed).map(|reader| reader.last_message);
        let doubt = silent.and_then(|since| self.doubts.renewal_failed(since, self.renewal_began));
        self.connector.log.cannot_renew(error, doubt);
        let pause = if is_leaving { MOVE_AGAIN } else { self.idle_limit.unwrap_or(MOVE_AGAIN) };
        self.next_renewal = Instant::now() + pause;
    }

    /// Looks whether the reader has come to where it was to come.
    fn has_read(&mut self) {
        if !self.reader.as_ref().is_some_and(Reader::has_reached_mark) {
            return;
        }
        match std::mem::take(&mut self.renewal) {
            Renewal::Draining { second, twice, .. } => self.replace(second, twice),
            Renewal::Catching { ask_at: None, .. } => {}
            other => self.renewal = other,
        }
    }

    /// Puts the second connection in the place of the first.
    fn replace(&mut self, second: Second, twice: Option<Twice>) {
        let (connector, link) = *second;
        self.connector = connector;
        self.resubscribes += 1;
        self.doubts.end();
        let first = self.reader.replace(Reader::new(link, self.subscriptions.len()));
        self.connector.log.renewed(first.is_some_and(|first| first.is_leaving));
        self.renewal = Renewal::catch(twice);
        if self.is_ending {
            self.drain();
        }
    }

    fn disconnected(&mut self, error: &LinkError) {
        self.disconnects += 1;
        self.doubts.end();
        self.connector.lost(self.reader.take().map(|reader| reader.link), error);
        match std::mem::take(&mut self.renewal) {
            Renewal::Draining { second, twice, .. } => self.replace(second, twice),
            // It is waited for: see `connect`.
            both @ Renewal::Both { .. } => self.renewal = both,
            // Where there is no server for a second one, or the second itself is lost.
            Renewal::No | Renewal::Opening { .. } | Renewal::Catching { .. } => {}
        }
    }
}

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("options", &self.connector.options).finish_non_exhaustive()
    }
}
