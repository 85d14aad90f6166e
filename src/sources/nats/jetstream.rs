//! JetStream: what a stream keeps for us, acknowledged when every sink that must deliver it has, or has it on disk.

use super::decode::Decoder;
use super::in_flight::{Arrival, InFlight, Waiting};
use crate::bodies::{Bodies, Passed};
use crate::config::{Result, SourceContext};
use crate::deadline::sleep_until;
use crate::event::{LogEvent, Timestamp};
use crate::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
use crate::log_limit::LogLimit;
use crate::nats::{Ack, AckSubject, Delivery, PullConsumer};
use crate::topology::{SourceCounts, SourceSender};
use futures::future::BoxFuture;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

/// How long a message that has failed waits until it is delivered again, the first time and at most.
const FIRST_DELAY: Duration = Duration::from_secs(1);
const LONGEST_DELAY: Duration = Duration::from_secs(60);
/// How often we look for messages that are on their way for long, at most.
const SHORTEST_LOOK: Duration = Duration::from_millis(20);

pub(super) async fn run(
    cx: SourceContext,
    mut consumer: PullConsumer,
    decoder: Decoder,
    bodies: Option<Bodies>,
    dedupe: bool,
) -> Result<()> {
    let SourceContext { id, output, shutdown, ready, .. } = cx;
    let (sender, mut answers) = unbounded_channel();
    let counts = Arc::clone(output.counts());
    let in_flight = InFlight::new(dedupe);
    let mut ledger = Ledger {
        id,
        decoder,
        in_flight,
        sender,
        next_look: Instant::now(),
        failed: LogLimit::every_10_s(),
        counts,
    };
    let mut way = Way { output, bodies, waiting: VecDeque::new(), sending: None };
    tokio::select! {
        () = consumer.connect() => ready.set(),
        () = shutdown.cancelled() => {}
    }
    let (mut is_draining, mut is_drained) = (false, false);
    while !(is_drained && way.is_free()) {
        // While a buffer is full, no more is asked for; what was asked for already waits here. Answers go back
        // all the same.
        consumer.pause(!way.is_free());
        let flush_at = way.bodies.as_ref().and_then(Bodies::deadline);
        tokio::select! {
            chunk = read(&mut consumer, is_drained) => {
                let is_end = !is_drained && chunk.is_none();
                is_drained |= is_end;
                let events = ledger.take(chunk.unwrap_or_default(), &mut consumer);
                way.take(events, is_end, &ledger.counts);
            }
            () = way.sent() => {}
            Some(answer) = answers.recv() => ledger.answered(answer, &mut answers, &mut consumer),
            () = tokio::time::sleep_until(ledger.next_look) => ledger.look(&mut consumer),
            () = sleep_until(flush_at) => way.flush(&ledger.counts),
            () = shutdown.cancelled(), if !is_draining => {
                is_draining = true;
                consumer.drain();
            }
        }
        ledger.counts.set_disconnects(consumer.disconnects());
        ledger.counts.set_resubscribes(consumer.moves());
    }
    // Nothing more comes: this is how the sinks learn that they have to send what they have.
    drop(way);
    while !(ledger.in_flight.is_empty() && consumer.has_acknowledged()) {
        tokio::select! {
            () = consumer.keep_up() => {}
            Some(answer) = answers.recv() => ledger.answered(answer, &mut answers, &mut consumer),
            () = tokio::time::sleep_until(ledger.next_look) => ledger.look(&mut consumer),
        }
    }
    Ok(())
}

/// The next messages, as long as there are any. Safe to cancel.
async fn read(consumer: &mut PullConsumer, is_drained: bool) -> Option<Vec<Delivery>> {
    if !is_drained {
        return consumer.next_chunk().await;
    }
    consumer.keep_up().await;
    None
}

/// What is owed to the consumer.
struct Ledger {
    id: String,
    decoder: Decoder,
    in_flight: InFlight,
    /// Where the answers for events go.
    sender: UnboundedSender<(u64, EventStatus)>,
    /// When to look for messages of which the consumer should hear.
    next_look: Instant,
    failed: LogLimit,
    counts: Arc<SourceCounts>,
}

impl Ledger {
    /// The events of the messages that are to be shipped; each owes an answer.
    fn take(&mut self, chunk: Vec<Delivery>, consumer: &mut PullConsumer) -> Vec<LogEvent> {
        let now = Instant::now();
        let mut events = Vec::with_capacity(chunk.len());
        if let Some(last) = chunk.last() {
            self.counts.set_pending(last.ack.pending);
        }
        let mut done = |delivery: &Delivery| {
            consumer.acknowledge(delivery.generation, &delivery.reply, Ack::Delivered);
        };
        for mut delivery in chunk {
            if self.decoder.excludes(&delivery.message) {
                self.counts.add_excluded(1);
                done(&delivery);
                continue;
            }
            match self.in_flight.arrive(&mut delivery, now) {
                Arrival::Settled => done(&delivery),
                Arrival::UnderWay => {}
                Arrival::New { key } => {
                    let batch = BatchNotifier::keyed(key, self.sender.clone());
                    // A backlog keeps its times, also those of lines that name none.
                    let stored =
                        Timestamp::from_nanos(i64::try_from(delivery.ack.timestamp).unwrap_or(i64::MAX));
                    let (event, is_decoded) = self.decoder.event(delivery.message, stored);
                    self.counts.add_undecodable(usize::from(!is_decoded));
                    events.push(event.with_finalizers(EventFinalizers::new(batch)));
                }
            }
        }
        events
    }

    /// Tells the consumer what became of a message, and of all others of which that is known by now.
    fn answered(
        &mut self,
        first: (u64, EventStatus),
        answers: &mut UnboundedReceiver<(u64, EventStatus)>,
        consumer: &mut PullConsumer,
    ) {
        let mut next = Some(first);
        while let Some((key, status)) = next {
            let generation = self.in_flight.generation();
            if let Some(Waiting { reply, ack, .. }) =
                self.in_flight.answered(key, status != EventStatus::Errored)
            {
                let answer = match status {
                    EventStatus::Delivered => Ack::Delivered,
                    // If there are dead letters, its own has been written.
                    EventStatus::Rejected => Ack::Never,
                    EventStatus::Errored => {
                        self.has_failed(&ack, consumer);
                        Ack::Again(delay(ack.delivered))
                    }
                };
                consumer.acknowledge(generation, &reply, answer);
            }
            next = answers.try_recv().ok();
        }
    }

    fn has_failed(&self, ack: &AckSubject, consumer: &PullConsumer) {
        if consumer.max_deliver().is_some_and(|limit| ack.delivered >= limit)
            && let Some(unsaid) = self.failed.allow()
        {
            tracing::error!(
                source = self.id,
                unsaid,
                "message {} of the JetStream stream could not be delivered, and the consumer will not send it again, because its max_deliver of {} is reached; it is still in the stream",
                ack.stream_sequence,
                ack.delivered
            );
        }
    }

    /// Tells the consumer of the messages that are on their way for long, so that it does not deliver them again.
    fn look(&mut self, consumer: &mut PullConsumer) {
        let (now, ack_wait) = (Instant::now(), consumer.ack_wait());
        let generation = self.in_flight.generation();
        // What could not be said now would count as said.
        if consumer.is_reading() {
            self.in_flight.unheard_for(ack_wait / 2, now, |reply| {
                consumer.acknowledge(generation, reply, Ack::InProgress);
            });
        }
        self.next_look = now + (ack_wait / 8).max(SHORTEST_LOOK);
    }
}

/// From a message that failed so many times to its next delivery: longer each time, and drawn at random, so
/// that many do not come back together.
fn delay(delivered: u64) -> Duration {
    let times = u32::try_from(delivered).unwrap_or(u32::MAX).clamp(1, 10);
    let longest = LONGEST_DELAY.min(FIRST_DELAY * (1 << (times - 1)));
    longest.mul_f64(rand::random_range(0.75..=1.0))
}

/// The way of events to the sinks.
struct Way {
    output: SourceSender,
    bodies: Option<Bodies>,
    /// What came while a buffer was full: no more than was asked for at once.
    waiting: VecDeque<Vec<LogEvent>>,
    sending: Option<BoxFuture<'static, ()>>,
}

impl Way {
    /// Whether the sinks have taken everything.
    fn is_free(&self) -> bool {
        self.sending.is_none()
    }

    /// Sends events, and at the end also those that wait for lines that belong to them.
    fn take(&mut self, events: Vec<LogEvent>, is_end: bool, counts: &SourceCounts) {
        let Some(bodies) = &mut self.bodies else { return self.send(events) };
        let mut passed = bodies.pass(events, Instant::now());
        self.pass(passed, counts);
        if is_end && let Some(bodies) = &mut self.bodies {
            passed = bodies.flush_all();
            self.pass(passed, counts);
        }
    }

    /// Sends what has waited long enough for lines that belong to it.
    fn flush(&mut self, counts: &SourceCounts) {
        if let Some(bodies) = &mut self.bodies {
            let passed = bodies.flush(Instant::now());
            self.pass(passed, counts);
        }
    }

    fn pass(&mut self, passed: Passed, counts: &SourceCounts) {
        counts.add_excluded(passed.excluded);
        counts.add_joined(passed.joined);
        self.send(passed.events);
    }

    fn send(&mut self, events: Vec<LogEvent>) {
        if events.is_empty() {
            return;
        }
        self.waiting.push_back(events);
        if self.sending.is_none() {
            self.next();
        }
    }

    fn next(&mut self) {
        let output = self.output.clone();
        self.sending = self.waiting.pop_front().map(|events| {
            let sending: BoxFuture<'static, ()> = Box::pin(async move { output.send(events).await });
            sending
        });
    }

    /// Waits until a chunk is with the sinks; without one, for ever. Safe to cancel.
    async fn sent(&mut self) {
        match &mut self.sending {
            Some(sending) => sending.await,
            None => std::future::pending().await,
        }
        self.next();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_fails_waits_longer_each_time() {
        for (delivered, longest) in [(0, 1), (1, 1), (2, 2), (3, 4), (6, 32), (7, 60), (u64::MAX, 60)] {
            let longest = Duration::from_secs(longest);
            let delays: Vec<_> = (0..50).map(|_| delay(delivered)).collect();
            assert!(delays.iter().all(|delay| *delay <= longest && *delay >= longest * 3 / 4), "{delivered}");
        }
    }
}
