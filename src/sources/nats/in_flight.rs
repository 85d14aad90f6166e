//! [`InFlight`]: the messages of a consumer that are on their way, and those that were not long ago.

use crate::nats::{AckSubject, Delivery};
use foldhash::{HashMap, HashMapExt};
use std::time::Duration;
use tokio::time::Instant;

/// What is known of the messages that a consumer has given us.
#[derive(Debug)]
pub(super) struct InFlight {
    /// By their places in the stream.
    messages: HashMap<u64, Waiting>,
    /// Which consumer they are of.
    generation: u64,
    /// Counts the times at which all that was known has lost its meaning.
    epoch: u64,
    settled: Settled,
    /// Whether a message that we are done with is recognised.
    dedupe: bool,
}

/// A message on its way.
#[derive(Debug)]
pub(super) struct Waiting {
    /// Where its acknowledgement goes.
    pub(super) reply: Box<str>,
    /// What that says.
    pub(super) ack: AckSubject,
    /// When the consumer last heard of it.
    progress: Instant,
}

/// What a message that has come is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Arrival {
    /// To be shipped, and answered by this key.
    New {
        /// The key.
        key: u64,
    },
    /// On its way already; its acknowledgement goes where this one says.
    UnderWay,
    /// We are done with it, and the consumer does not know.
    Settled,
}

/// The places of messages that we are done with, of which the consumer may have missed that we are: always of the
/// same size. A message takes the place of the one that came so many before it.
#[derive(Debug)]
struct Settled(Box<[(u64, u64)]>);

/// A power of two, some times of what is usually on its way. It takes 1 MiB.
const REMEMBERED: usize = 1 << 16;
/// The bits of a key that hold a place in a stream; those above hold the epoch.
const PLACE_BITS: u32 = 48;

impl InFlight {
    pub(super) fn new(dedupe: bool) -> InFlight {
        InFlight { messages: HashMap::new(), generation: 0, epoch: 0, settled: Settled::new(), dedupe }
    }

    fn key(&self, place: u64) -> u64 {
        (self.epoch << PLACE_BITS) | (place & ((1 << PLACE_BITS) - 1))
    }

    /// Another consumer, or another stream: nobody waits for an answer any more.
    fn forget(&mut self) {
        self.messages.clear();
        self.settled = Settled::new();
        self.epoch += 1;
    }

    /// Takes note of a message that has come.
    pub(super) fn arrive(&mut self, delivery: &mut Delivery, now: Instant) -> Arrival {
        let ack = delivery.ack;
        let place = ack.stream_sequence;
        if delivery.generation != self.generation {
            self.generation = delivery.generation;
            self.forget();
        }
        let waiting = Waiting { reply: std::mem::take(&mut delivery.reply), ack, progress: now };
        match self.messages.get_mut(&place) {
            Some(known) if known.ack.timestamp == ack.timestamp => {
                *known = waiting;
                return Arrival::UnderWay;
            }
            // A stream that was made anew begins to count from the beginning.
            Some(_) => self.forget(),
            None if self.dedupe && self.settled.has(&ack) => {
                delivery.reply = waiting.reply;
                return Arrival::Settled;
            }
            None => {}
        }
        self.messages.insert(place, waiting);
        Arrival::New { key: self.key(place) }
    }

    /// The message of this key is answered. `None` if its consumer is no longer there.
    pub(super) fn answered(&mut self, key: u64, is_settled: bool) -> Option<Waiting> {
        let place = key & ((1 << PLACE_BITS) - 1);
        if self.key(place) != key {
            return None;
        }
        let waiting = self.messages.remove(&place)?;
        if is_settled {
            self.settled.add(&waiting.ack);
        }
        Some(waiting)
    }

    /// Those of which the consumer has not heard for so long; it hears now.
    pub(super) fn unheard_for(&mut self, time: Duration, now: Instant, mut tell: impl FnMut(&str)) {
        for waiting in self.messages.values_mut() {
            if now.duration_since(waiting.progress) >= time {
                waiting.progress = now;
                tell(&waiting.reply);
            }
        }
    }

    /// Which of the consumers of this name they are of.
    pub(super) fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }
}

impl Settled {
    fn new() -> Settled {
        Settled(vec![(0, 0); REMEMBERED].into())
    }

    fn slot(place: u64) -> usize {
        // It is less than the length.
        (place % REMEMBERED as u64) as usize
    }

    fn add(&mut self, ack: &AckSubject) {
        self.0[Settled::slot(ack.stream_sequence)] = (ack.stream_sequence, ack.timestamp);
    }

    fn has(&self, ack: &AckSubject) -> bool {
        self.0[Settled::slot(ack.stream_sequence)] == (ack.stream_sequence, ack.timestamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::Message;

    fn delivery(place: u64, delivered: u64, timestamp: u64, generation: u64) -> Delivery {
        let payload = bytes::Bytes::from_static(b"{}").into();
        Delivery {
            message: Message { subscription: 0, subject: "s".into(), payload },
            reply: format!("{place}.{delivered}").into(),
            ack: AckSubject { delivered, stream_sequence: place, timestamp, pending: 0 },
            generation,
        }
    }

    fn arrive(table: &mut InFlight, place: u64, delivered: u64, timestamp: u64, generation: u64) -> Arrival {
        table.arrive(&mut delivery(place, delivered, timestamp, generation), Instant::now())
    }

    #[track_caller]
    fn new(arrival: Arrival) -> u64 {
        let Arrival::New { key } = arrival else { panic!("{arrival:?}") };
        key
    }

    #[test]
    fn a_message_that_comes_again_is_not_shipped_again() {
        for dedupe in [true, false] {
            let mut table = InFlight::new(dedupe);
            let key = new(arrive(&mut table, 7, 1, 70, 0));
            assert_eq!(arrive(&mut table, 7, 2, 70, 0), Arrival::UnderWay);
            // It is answered where it came last.
            assert_eq!(&*table.answered(key, true).unwrap().reply, "7.2");
            assert!(table.answered(key, true).is_none());
            let again = arrive(&mut table, 7, 3, 70, 0);
            assert_eq!(again == Arrival::Settled, dedupe, "{again:?}");
        }
    }

    #[test]
    fn what_has_failed_is_shipped_again() {
        let mut table = InFlight::new(true);
        let key = new(arrive(&mut table, 7, 1, 70, 0));
        assert_eq!(table.answered(key, false).unwrap().ack.delivered, 1);
        new(arrive(&mut table, 7, 2, 70, 0));
    }

    #[test]
    fn another_consumer_or_stream_knows_nothing_of_what_was() {
        for (timestamp, generation) in [(70, 1), (71, 0)] {
            let mut table = InFlight::new(true);
            let settled = new(arrive(&mut table, 8, 1, 80, 0));
            table.answered(settled, true).unwrap();
            let old = new(arrive(&mut table, 7, 1, 70, 0));
            let key = new(arrive(&mut table, 7, 1, timestamp, generation));
            assert_ne!(old, key);
            assert!(table.answered(old, true).is_none(), "that was another message");
            new(arrive(&mut table, 8, 1, 80, generation));
            assert_eq!(table.messages.len(), 2);
            assert!(table.answered(key, true).is_some());
        }
    }

    #[test]
    fn so_many_messages_are_remembered() {
        let mut table = InFlight::new(true);
        for place in 1..=REMEMBERED as u64 + 1 {
            let key = new(arrive(&mut table, place, 1, place, 0));
            table.answered(key, true).unwrap();
        }
        assert_eq!(arrive(&mut table, 2, 2, 2, 0), Arrival::Settled);
        new(arrive(&mut table, 1, 2, 1, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn the_consumer_hears_of_what_takes_long() {
        let mut table = InFlight::new(true);
        new(arrive(&mut table, 1, 1, 1, 0));
        tokio::time::advance(Duration::from_secs(3)).await;
        new(arrive(&mut table, 2, 1, 2, 0));
        let told = |after: u64, table: &mut InFlight| {
            let mut told = Vec::new();
            let now = Instant::now() + Duration::from_secs(after);
            table.unheard_for(Duration::from_secs(5), now, |reply| told.push(reply.to_owned()));
            told
        };
        assert_eq!(told(1, &mut table), [""; 0]);
        assert_eq!(told(2, &mut table), ["1.1"]);
        assert_eq!(told(5, &mut table), ["2.1"]);
        assert_eq!(told(7, &mut table), ["1.1"]);
    }
}
