//! The books: every event that comes in is found again as delivered, rejected, dropped or buffered.

use crate::event::LogEvent;
use crate::finalizer::{EventFinalizers, EventStatus};
use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Why events were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// The sink's buffer was full.
    BufferFull,
    /// The sink's options say that it does not want them.
    Filtered,
    /// The shutdown's deadline came first.
    Shutdown,
    /// The sink gave no answer for them, which is a fault in the sink.
    Unanswered,
}

impl DropReason {
    /// All reasons.
    pub const ALL: [DropReason; 4] =
        [DropReason::BufferFull, DropReason::Filtered, DropReason::Shutdown, DropReason::Unanswered];

    /// The reason as a word for reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            DropReason::BufferFull => "buffer_full",
            DropReason::Filtered => "filtered",
            DropReason::Shutdown => "shutdown",
            DropReason::Unanswered => "unanswered",
        }
    }
}

/// What became of events that reached a sink.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The destination has them.
    Delivered,
    /// The destination, or the sink itself, refused them for good.
    Rejected,
    /// They were given up.
    Dropped(DropReason),
}

impl Outcome {
    fn status(self) -> EventStatus {
        match self {
            // What nobody wants has not failed.
            Outcome::Delivered | Outcome::Dropped(DropReason::Filtered) => EventStatus::Delivered,
            Outcome::Rejected => EventStatus::Rejected,
            Outcome::Dropped(_) => EventStatus::Errored,
        }
    }
}

/// The running books of one sink.
#[derive(Debug, Default)]
pub struct SinkCounts {
    received: AtomicU64,
    delivered: AtomicU64,
    rejected: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    truncated: AtomicU64,
    /// The shutdown's deadline has passed: what is unanswered from now on is nobody's fault.
    gave_up: AtomicBool,
}

/// The running books of one source.
#[derive(Debug, Default)]
pub struct SourceCounts {
    received: AtomicU64,
    received_bytes: AtomicU64,
    undecodable: AtomicU64,
    excluded: AtomicU64,
    joined: AtomicU64,
    disconnects: AtomicU64,
}

/// The running books of one transform.
#[derive(Debug, Default)]
pub struct TransformCounts {
    received: AtomicU64,
    sent: AtomicU64,
    discarded: AtomicU64,
    failed: AtomicU64,
    errors: AtomicU64,
    lost: AtomicU64,
}

/// The books of a transform at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TransformSnapshot {
    /// Events that came in.
    pub received: u64,
    /// Events that were passed on, through any output.
    pub sent: u64,
    /// Events left out on purpose.
    pub discarded: u64,
    /// Events left out because they could not be processed.
    pub failed: u64,
    /// How often an event could not be processed, whatever became of it.
    pub errors: u64,
    /// Events that it held back when the shutdown's deadline came.
    pub lost: u64,
}

/// The books of a sink at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SinkSnapshot {
    /// Events that were handed to the sink's buffer.
    pub received: u64,
    /// Events that the destination has.
    pub delivered: u64,
    /// Events refused for good.
    pub rejected: u64,
    /// Events given up, in the order of [`DropReason::ALL`].
    pub dropped: [u64; DropReason::ALL.len()],
    /// Of all these: events whose message was cut, because the destination does not take so much.
    pub truncated: u64,
    /// Events that are still on their way: in the buffer, in an open batch or in a request.
    pub buffered: u64,
}

/// The books of a source at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SourceSnapshot {
    /// Events received and passed on.
    pub received: u64,
    /// Bytes of their payloads.
    pub received_bytes: u64,
    /// Of the received: payloads that were no JSON object and became a message.
    pub undecodable: u64,
    /// Messages left out on purpose: the subject or the app is excluded.
    pub excluded: u64,
    /// Messages that have become part of another event: lines of a stack trace, but for its first.
    pub joined: u64,
    /// How often the connection was lost. What was published meanwhile, or waited in the server for us, is
    /// lost with it; only the server knows how much that was.
    pub disconnects: u64,
}

impl SinkCounts {
    pub(crate) fn add_received(&self, events: usize) {
        self.received.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Counts events whose message was cut; what becomes of them is counted besides.
    pub fn add_truncated(&self, events: usize) {
        self.truncated.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(crate) fn give_up(&self) {
        self.gave_up.store(true, Ordering::Relaxed);
    }

    /// Why an event that a sink let go without an answer was dropped.
    pub(crate) fn unanswered(&self) -> Outcome {
        let gave_up = self.gave_up.load(Ordering::Relaxed);
        Outcome::Dropped(if gave_up { DropReason::Shutdown } else { DropReason::Unanswered })
    }

    fn add(&self, outcome: Outcome, events: usize) {
        let counter = match outcome {
            Outcome::Delivered => &self.delivered,
            Outcome::Rejected => &self.rejected,
            Outcome::Dropped(reason) => &self.dropped[reason as usize],
        };
        counter.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Answers for these events and counts them.
    pub fn settle_events(&self, events: Vec<LogEvent>, outcome: Outcome) {
        self.add(outcome, events.len());
        for mut event in events {
            event.take_finalizers().answer(outcome.status());
        }
    }

    /// The books now. What is on its way is counted from its ends, and so belongs to the same moment
    /// only when nothing moves.
    pub fn snapshot(&self) -> SinkSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let delivered = read(&self.delivered);
        let rejected = read(&self.rejected);
        let dropped = self.dropped.each_ref().map(read);
        // Read last, so that what is settled in between is not missed.
        let received = read(&self.received);
        let settled = delivered + rejected + dropped.iter().sum::<u64>();
        let buffered = received.saturating_sub(settled);
        SinkSnapshot { received, delivered, rejected, dropped, truncated: read(&self.truncated), buffered }
    }
}

impl SinkSnapshot {
    /// How many events were dropped for this reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// How many events were dropped.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }
}

impl fmt::Display for SinkSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "received {}, delivered {}, rejected {}", self.received, self.delivered, self.rejected)?;
        write!(f, ", dropped {}", self.dropped_total())?;
        let reasons = DropReason::ALL.into_iter().filter(|reason| self.dropped_for(*reason) > 0);
        let named: Vec<_> =
            reasons.map(|reason| format!("{} {}", reason.as_str(), self.dropped_for(reason))).collect();
        if !named.is_empty() {
            write!(f, " ({})", named.join(", "))?;
        }
        if self.truncated > 0 {
            write!(f, ", truncated {}", self.truncated)?;
        }
        write!(f, ", buffered {}", self.buffered)
    }
}

impl TransformCounts {
    pub(crate) fn add_received(&self, events: usize) {
        self.received.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_sent(&self, events: usize) {
        self.sent.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_discarded(&self, events: usize) {
        self.discarded.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_failed(&self, events: usize) {
        self.failed.fetch_add(events as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_lost(&self, events: usize) {
        self.lost.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Counts events that could not be processed, whatever becomes of them.
    pub fn add_errors(&self, events: usize) {
        self.errors.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// The books now.
    pub fn snapshot(&self) -> TransformSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        TransformSnapshot {
            received: read(&self.received),
            sent: read(&self.sent),
            discarded: read(&self.discarded),
            failed: read(&self.failed),
            errors: read(&self.errors),
            lost: read(&self.lost),
        }
    }
}

impl fmt::Display for TransformSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "received {}, sent {}, discarded {}", self.received, self.sent, self.discarded)?;
        write!(f, ", failed {}, errors {}", self.failed, self.errors)?;
        if self.lost > 0 {
            write!(f, ", lost {}", self.lost)?;
        }
        Ok(())
    }
}

impl SourceCounts {
    /// Counts events that are passed on, and the bytes of their payloads.
    pub fn add_received(&self, events: usize, bytes: usize) {
        self.received.fetch_add(events as u64, Ordering::Relaxed);
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// Counts payloads that were no JSON object.
    pub fn add_undecodable(&self, events: usize) {
        self.undecodable.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Counts messages whose subject or app is excluded.
    pub fn add_excluded(&self, messages: usize) {
        self.excluded.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// Counts messages that have become part of another event.
    pub fn add_joined(&self, messages: usize) {
        self.joined.fetch_add(messages as u64, Ordering::Relaxed);
    }

    /// Sets how often the connection has been lost so far.
    pub fn set_disconnects(&self, times: u64) {
        self.disconnects.store(times, Ordering::Relaxed);
    }

    /// The books now.
    pub fn snapshot(&self) -> SourceSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SourceSnapshot {
            received: read(&self.received),
            received_bytes: read(&self.received_bytes),
            undecodable: read(&self.undecodable),
            excluded: read(&self.excluded),
            joined: read(&self.joined),
            disconnects: read(&self.disconnects),
        }
    }
}

impl fmt::Display for SourceSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "received {} ({} bytes)", self.received, self.received_bytes)?;
        write!(f, ", undecodable {}, excluded {}", self.undecodable, self.excluded)?;
        if self.joined > 0 {
            write!(f, ", joined {}", self.joined)?;
        }
        write!(f, ", disconnects {}", self.disconnects)
    }
}

/// The events that a sink has taken and not yet answered for, in order. Dropped, those that are left
/// count as [`DropReason::Unanswered`], or as
/// [`DropReason::Shutdown`] past its deadline.
#[derive(Debug)]
pub struct Receipts {
    counts: Arc<SinkCounts>,
    owed: Vec<EventFinalizers>,
}

impl Receipts {
    /// None yet, to be counted in these books.
    pub fn new(counts: Arc<SinkCounts>) -> Receipts {
        Receipts { counts, owed: Vec::new() }
    }

    /// Takes an event's receipts.
    pub fn push(&mut self, finalizers: EventFinalizers) {
        self.owed.push(finalizers);
    }

    /// How many events are unanswered.
    pub fn len(&self) -> usize {
        self.owed.len()
    }

    /// Whether every event has been answered for.
    pub fn is_empty(&self) -> bool {
        self.owed.is_empty()
    }

    /// Answers for all events.
    pub fn settle(&mut self, outcome: Outcome) {
        self.settle_range(0..self.owed.len(), outcome);
    }

    /// Answers for the events at these places; the later ones move up.
    pub fn settle_range(&mut self, range: Range<usize>, outcome: Outcome) {
        self.counts.add(outcome, range.len());
        for finalizers in self.owed.drain(range) {
            finalizers.answer(outcome.status());
        }
    }

    /// The events from this place on, as receipts of their own.
    pub fn split_off(&mut self, at: usize) -> Receipts {
        Receipts { counts: Arc::clone(&self.counts), owed: self.owed.split_off(at) }
    }

    /// Takes over the events of these receipts, behind its own.
    pub fn append(&mut self, mut other: Receipts) {
        self.owed.append(&mut other.owed);
    }

    /// Answers for each event that `judge` has an outcome for; the others stay, in order.
    pub fn settle_each(&mut self, judge: impl Fn(usize) -> Option<Outcome>) {
        let owed = std::mem::take(&mut self.owed);
        for (index, finalizers) in owed.into_iter().enumerate() {
            match judge(index) {
                None => self.owed.push(finalizers),
                Some(outcome) => {
                    self.counts.add(outcome, 1);
                    finalizers.answer(outcome.status());
                }
            }
        }
    }
}

impl Drop for Receipts {
    fn drop(&mut self) {
        self.settle(self.counts.unanswered());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finalizer::BatchNotifier;

    fn receipts(counts: &Arc<SinkCounts>, events: usize) -> Receipts {
        counts.add_received(events);
        let mut receipts = Receipts::new(Arc::clone(counts));
        (0..events).for_each(|_| receipts.push(EventFinalizers::default()));
        receipts
    }

    #[test]
    fn the_books_balance_whatever_happens() {
        let counts = Arc::new(SinkCounts::default());
        let mut first = receipts(&counts, 10);
        let mut second = first.split_off(6);
        first.settle_range(0..2, Outcome::Rejected);
        first.settle_each(|index| (index % 2 == 0).then_some(Outcome::Delivered));
        assert_eq!((first.len(), second.len()), (2, 4));
        assert_eq!(counts.snapshot().buffered, 6);
        let mut both = Receipts::new(Arc::clone(&counts));
        both.append(second.split_off(1));
        both.append(second);
        assert_eq!((both.len(), counts.snapshot().buffered), (4, 6));
        both.settle(Outcome::Delivered);
        assert!(both.is_empty());
        drop(first);
        let books = counts.snapshot();
        assert_eq!((books.received, books.delivered, books.rejected, books.buffered), (10, 6, 2, 0));
        assert_eq!(books.dropped_for(DropReason::Unanswered), 2);
        assert_eq!(
            books.to_string(),
            "received 10, delivered 6, rejected 2, dropped 2 (unanswered 2), buffered 0"
        );
    }

    #[test]
    fn outcomes_reach_the_source() {
        for (outcome, status) in [
            (Outcome::Delivered, EventStatus::Delivered),
            (Outcome::Rejected, EventStatus::Rejected),
            (Outcome::Dropped(DropReason::BufferFull), EventStatus::Errored),
        ] {
            let (batch, mut receiver) = BatchNotifier::new_with_receiver();
            let mut receipts = Receipts::new(Arc::default());
            receipts.push(EventFinalizers::new(batch));
            receipts.settle(outcome);
            assert_eq!(receiver.try_recv(), Ok(status));
        }
    }
}
