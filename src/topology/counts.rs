//! The books: every event that comes in is found again as delivered, rejected, dropped or buffered.

use super::dead_letters::DeadLetters;
use super::metrics::{SinkMeasures, SinkMeters, SourceMeasures, TransformMeasures, Utilization};
use super::outcome::{DropReason, Outcome, Rejection};
use crate::event::{LogEvent, Timestamp};
use crate::finalizer::{EventFinalizers, EventStatus};
use crate::status::{CurrentStatus, Status};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// The running books of one sink.
#[derive(Debug, Default)]
pub struct SinkCounts {
    received: AtomicU64,
    delivered: AtomicU64,
    rejected: AtomicU64,
    dropped: [AtomicU64; DropReason::ALL.len()],
    truncated: AtomicU64,
    /// Of the received: what an earlier run had left on disk.
    recovered: AtomicU64,
    /// The shutdown's deadline has passed: what is unanswered from now on is nobody's fault.
    gave_up: AtomicBool,
    /// The buffer is on disk: what is on its way is there, too.
    is_durable: AtomicBool,
    /// There are dead letters, or somebody else who wants the events themselves.
    keeps_events: AtomicBool,
    /// What comes in are dead letters: nobody takes what is refused here.
    holds_letters: AtomicBool,
    /// A source of the topology waits for deliveries: what is held here waits there, where it is kept.
    sources_wait: AtomicBool,
    dead_letters: Mutex<Option<DeadLetters>>,
    /// That of the sink that is there now.
    status: CurrentStatus,
    /// When something was last delivered, in nanoseconds since the epoch; 0 is never.
    last_delivery: AtomicI64,
    meters: Arc<SinkMeters>,
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
    resubscribes: AtomicU64,
    pending: AtomicU64,
    /// That of the source that is there now.
    status: CurrentStatus,
    /// When the last event came, in nanoseconds since the epoch; 0 is never.
    last_event: AtomicI64,
}

/// The running books of one transform.
#[derive(Debug)]
pub struct TransformCounts {
    received: AtomicU64,
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    work: Utilization,
    sent: AtomicU64,
    discarded: AtomicU64,
    failed: AtomicU64,
    errors: AtomicU64,
    lost: AtomicU64,
    returned: AtomicU64,
}

/// The books of a transform at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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
    /// The same, of sources that wait for deliveries: they get them back.
    pub returned: u64,
}

/// The books of a sink at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SinkSnapshot {
    /// Events that were handed to the sink's buffer.
    pub received: u64,
    /// Events that the destination has.
    pub delivered: u64,
    /// Events refused for good.
    pub rejected: u64,
    /// Events given up, in the order of [`DropReason::ALL`]: see [`SinkSnapshot::dropped_for`].
    pub(super) dropped: [u64; DropReason::ALL.len()],
    /// Of all these: events whose message was cut, because the destination does not take so much.
    pub truncated: u64,
    /// Events that are still on their way: in the buffer, in an open batch or in a request.
    pub buffered: u64,
    /// Of the received: events that an earlier run had left in the buffer on disk.
    pub recovered: u64,
    /// Whether the buffer is on disk: what is buffered at the end is then there for the next run.
    pub is_durable: bool,
    /// Whether the events are dead letters: one that is refused or dropped is lost.
    pub holds_letters: bool,
}

/// The books of a source at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
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
    /// How often a fresh connection has taken the place of one that brought nothing for a while, or whose server
    /// was about to stop. Nothing is lost with it.
    pub resubscribes: u64,
    /// Messages of a JetStream stream that its consumer had not delivered yet when the last one came.
    pub pending: u64,
}

impl SinkCounts {
    pub(crate) fn add_received(&self, events: usize) {
        self.received.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Counts events whose message was cut; what becomes of them is counted besides.
    pub fn add_truncated(&self, events: usize) {
        self.truncated.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Counts events that an earlier run has left in the buffer on disk; they count as received too.
    pub(crate) fn add_recovered(&self, events: usize) {
        self.recovered.fetch_add(events as u64, Ordering::Relaxed);
        self.add_received(events);
    }

    /// Whether the buffer is on disk, so that what is on its way is there, too.
    pub(crate) fn set_durable(&self, is_durable: bool) {
        self.is_durable.store(is_durable, Ordering::Relaxed);
    }

    /// Where refused events go; nowhere, if nothing is given.
    pub(super) fn set_dead_letters(&self, dead_letters: Option<DeadLetters>) {
        self.keeps_events.store(dead_letters.is_some(), Ordering::Relaxed);
        let mut slot = self.dead_letters.lock().unwrap_or_else(PoisonError::into_inner);
        let old = std::mem::replace(&mut *slot, dead_letters);
        drop(slot);
        // With the last of these, the sink of the dead letters ends.
        drop(old);
    }

    fn dead_letters(&self) -> Option<DeadLetters> {
        self.dead_letters.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether refused events go to dead letters, so that a sink has to keep the event itself.
    pub(crate) fn keeps_events(&self) -> bool {
        self.keeps_events.load(Ordering::Relaxed)
    }

    /// What comes in are dead letters.
    pub(super) fn set_holds_letters(&self) {
        self.holds_letters.store(true, Ordering::Relaxed);
    }

    /// Whether what comes in are dead letters.
    pub(crate) fn holds_letters(&self) -> bool {
        self.holds_letters.load(Ordering::Relaxed)
    }

    /// Logs where dead letters go; nothing for a sink of other events.
    pub(crate) fn announce_letters(&self, place: &str) {
        if self.holds_letters() {
            tracing::info!("dead letters go to {place}");
        }
    }

    /// What a source hears of this outcome. A letter that is refused was the last trace of its event: whoever has
    /// that still has to keep it.
    pub(super) fn answer_to(&self, outcome: &Outcome) -> EventStatus {
        match outcome.status() {
            EventStatus::Rejected if self.holds_letters() => EventStatus::Errored,
            status => status,
        }
    }

    pub(super) fn set_sources_wait(&self, wait: bool) {
        self.sources_wait.store(wait, Ordering::Relaxed);
    }

    /// Whether events are not to be held for long, because they can become dead letters, and neither a disk nor
    /// a source keeps them meanwhile.
    pub(crate) fn is_hold_urgent(&self) -> bool {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        is(&self.keeps_events) && !is(&self.is_durable) && !is(&self.sources_wait)
    }

    /// Waits until the dead letters have room for more. Asked before events are refused, where a sink can wait.
    pub async fn room_for_dead_letters(&self) {
        if let Some(dead_letters) = self.dead_letters() {
            dead_letters.room().await;
        }
    }

    pub(crate) fn give_up(&self) {
        self.gave_up.store(true, Ordering::Relaxed);
    }

    /// Answers for an event that a sink let go without an answer. It is lost only if it was nowhere but here: in
    /// a buffer on disk it stays, and a source that waits for deliveries gets it back.
    pub(super) fn let_go(&self, finalizers: EventFinalizers) {
        let is = |flag: &AtomicBool| flag.load(Ordering::Relaxed);
        let outcome = if finalizers.is_kept() && is(&self.is_durable) {
            Outcome::Kept
        } else {
            Outcome::Dropped(match finalizers.is_empty() {
                false => DropReason::Returned,
                true => self.why_lost(),
            })
        };
        self.add(&outcome, 1);
        match outcome {
            // What is in no books has no answer: the buffer must know.
            Outcome::Kept => drop(finalizers),
            outcome => finalizers.answer(outcome.status()),
        }
    }

    /// Counts events that a sink let go, and that nobody asks for.
    pub(super) fn lose(&self, events: usize) {
        self.add(&Outcome::Dropped(self.why_lost()), events);
    }

    fn why_lost(&self) -> DropReason {
        match self.gave_up.load(Ordering::Relaxed) {
            true => DropReason::Shutdown,
            false => DropReason::Unanswered,
        }
    }

    /// How the sink gets on with its destination.
    pub fn status(&self) -> Status {
        self.status.get()
    }

    /// Another sink has taken the place.
    pub(super) fn set_status(&self, status: Status) {
        self.status.set(status);
    }

    /// When something was last delivered.
    pub fn last_delivery(&self) -> Option<Timestamp> {
        read_time(&self.last_delivery)
    }

    /// What is measured beside the books.
    pub(crate) fn meters(&self) -> &Arc<SinkMeters> {
        &self.meters
    }

    /// What is measured now of the sink, which a reload has removed or not.
    pub(super) fn measures(&self, is_there: bool) -> SinkMeasures {
        SinkMeasures {
            is_there,
            state: self.status().state(),
            failures: self.status().failures(),
            last_delivery: self.last_delivery(),
            held: self.meters.held(),
            buffer: self.meters.buffer().filter(|_| is_there),
            meters: self.meters.snapshot(),
        }
    }

    /// Notes what an outcome says of the destination: once for all events that have it together, because it asks the
    /// clock and takes locks.
    pub(super) fn note(&self, status: &Status, outcome: &Outcome) {
        match outcome {
            Outcome::Delivered => {
                status.working();
                note_time(&self.last_delivery);
            }
            Outcome::Rejected(Rejection { reason, status: answer, attempts }) => {
                // The reason may quote the event, as a path that was rendered from it does.
                let text = match (answer, attempts) {
                    (None, 0) => "events cannot be sent as they are".to_owned(),
                    (None, _) => "events are refused".to_owned(),
                    (Some(answer), _) => format!("events are refused with status {answer}"),
                };
                status.refused(
                    text,
                    Some(reason.clone()),
                    "look at the event: dead letters keep what is refused",
                );
            }
            Outcome::Dropped(_) | Outcome::Kept => {}
        }
    }

    /// Counts events and notes what became of them.
    pub(super) fn add(&self, outcome: &Outcome, events: usize) {
        self.add_of(&self.status(), outcome, events);
    }

    /// The same of the sink with this status, which another may have replaced since.
    pub(super) fn add_of(&self, status: &Status, outcome: &Outcome, events: usize) {
        if events > 0 {
            self.note(status, outcome);
            self.count(outcome, events);
        }
    }

    pub(super) fn count(&self, outcome: &Outcome, events: usize) {
        if let Outcome::Rejected(Rejection { status: None, attempts: 0, .. }) = outcome {
            self.meters.add_unsent(events);
        }
        let counter = match outcome {
            Outcome::Delivered => &self.delivered,
            Outcome::Rejected(_) => &self.rejected,
            Outcome::Dropped(reason) => &self.dropped[*reason as usize],
            Outcome::Kept => return,
        };
        counter.fetch_add(events as u64, Ordering::Relaxed);
    }

    /// Answers for these events and counts them.
    pub fn settle_events(&self, events: Vec<LogEvent>, outcome: &Outcome) {
        self.add(outcome, events.len());
        let events = self.bury(events, outcome);
        for mut event in events {
            event.take_finalizers().answer(self.answer_to(outcome));
        }
    }

    /// Counts an event as delivered whose receipts go with it, to be answered by whoever takes it over.
    pub(crate) fn hand_over(&self, event: &LogEvent) {
        self.add(&Outcome::Delivered, 1);
        self.meters.add_delivered_bytes(event.body_size());
        self.meters.delivered(event.timestamp());
    }

    /// Makes dead letters of events that were refused, if there are any: their receipts are answered when they
    /// have been written. Gives back what is still to be answered.
    pub(super) fn bury(&self, events: Vec<LogEvent>, outcome: &Outcome) -> Vec<LogEvent> {
        match (outcome, self.keeps_events()) {
            (Outcome::Rejected(rejection), true) => match self.dead_letters() {
                Some(dead_letters) => {
                    dead_letters.write(events, rejection);
                    Vec::new()
                }
                None => events,
            },
            _ => events,
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
        SinkSnapshot {
            received,
            delivered,
            rejected,
            dropped,
            truncated: read(&self.truncated),
            buffered,
            recovered: read(&self.recovered),
            is_durable: self.is_durable.load(Ordering::Relaxed),
            holds_letters: self.holds_letters(),
        }
    }
}

impl SinkSnapshot {
    /// How many events were dropped for this reason.
    pub fn dropped_for(&self, reason: DropReason) -> u64 {
        self.dropped[reason as usize]
    }

    /// Events that nobody chose to lose and that are lost, or will be if nothing more happens.
    pub fn lost(&self) -> u64 {
        self.given_up() + if self.is_durable { 0 } else { self.buffered }
    }

    /// Events that nobody chose to lose and that are lost, whatever happens: of dead letters, those that were
    /// refused too, and all that were dropped but for those that the options leave out.
    pub(super) fn given_up(&self) -> u64 {
        if self.holds_letters {
            return self.rejected + self.dropped_total() - self.dropped_for(DropReason::Filtered);
        }
        self.dropped_for(DropReason::Shutdown) + self.dropped_for(DropReason::Unanswered)
    }

    /// How many events were dropped.
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }
}

impl fmt::Display for SinkSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "received {}", self.received)?;
        if self.recovered > 0 {
            write!(f, " ({} from an earlier run)", self.recovered)?;
        }
        write!(f, ", delivered {}, rejected {}", self.delivered, self.rejected)?;
        write!(f, ", dropped {}", self.dropped_total())?;
        let reasons = DropReason::ALL.iter().copied().filter(|reason| self.dropped_for(*reason) > 0);
        let named: Vec<_> =
            reasons.map(|reason| format!("{} {}", reason.as_str(), self.dropped_for(reason))).collect();
        if !named.is_empty() {
            write!(f, " ({})", named.join(", "))?;
        }
        if self.truncated > 0 {
            write!(f, ", truncated {}", self.truncated)?;
        }
        write!(f, ", buffered {}", self.buffered)?;
        f.write_str(if self.is_durable { " on disk" } else { "" })
    }
}

impl Default for TransformCounts {
    fn default() -> TransformCounts {
        TransformCounts {
            received: AtomicU64::default(),
            received_bytes: AtomicU64::default(),
            sent_bytes: AtomicU64::default(),
            work: Utilization::of_work(),
            sent: AtomicU64::default(),
            discarded: AtomicU64::default(),
            failed: AtomicU64::default(),
            errors: AtomicU64::default(),
            lost: AtomicU64::default(),
            returned: AtomicU64::default(),
        }
    }
}

impl TransformCounts {
    pub(crate) fn add_received(&self, events: usize, bytes: usize) {
        self.received.fetch_add(events as u64, Ordering::Relaxed);
        self.received_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(crate) fn add_sent(&self, events: usize, bytes: usize) {
        self.sent.fetch_add(events as u64, Ordering::Relaxed);
        self.sent_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    /// How long it works.
    pub(super) fn work(&self) -> &Utilization {
        &self.work
    }

    /// What is measured now of the transform, which a reload has removed or not.
    pub(super) fn measures(&self, is_there: bool) -> TransformMeasures {
        TransformMeasures {
            is_there,
            received_bytes: self.received_bytes.load(Ordering::Relaxed),
            sent_bytes: self.sent_bytes.load(Ordering::Relaxed),
            utilization: self.work.share(),
        }
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

    pub(crate) fn add_returned(&self, events: usize) {
        self.returned.fetch_add(events as u64, Ordering::Relaxed);
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
            returned: read(&self.returned),
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
        if self.returned > 0 {
            write!(f, ", returned {}", self.returned)?;
        }
        Ok(())
    }
}

/// Puts the time of the clock there.
fn note_time(place: &AtomicI64) {
    place.store(Timestamp::now().nanos(), Ordering::Relaxed);
}

fn read_time(place: &AtomicI64) -> Option<Timestamp> {
    Some(place.load(Ordering::Relaxed)).filter(|nanos| *nanos != 0).map(Timestamp::from_nanos)
}

impl SourceCounts {
    /// How the source gets on with where its events come from.
    pub fn status(&self) -> Status {
        self.status.get()
    }

    /// Another source has taken the place.
    pub(super) fn set_status(&self, status: Status) {
        self.status.set(status);
    }

    /// When the last event came.
    pub fn last_event(&self) -> Option<Timestamp> {
        read_time(&self.last_event)
    }

    /// What is measured now of the source, which a reload has removed or not.
    pub(super) fn measures(&self, is_there: bool) -> SourceMeasures {
        SourceMeasures {
            is_there,
            state: self.status().state(),
            failures: self.status().failures(),
            last_event: self.last_event(),
        }
    }

    /// Counts events that are passed on, and the bytes of their payloads.
    pub fn add_received(&self, events: usize, bytes: usize) {
        note_time(&self.last_event);
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

    /// Sets how often a fresh connection has taken the place of one that was still there.
    pub fn set_resubscribes(&self, times: u64) {
        self.resubscribes.store(times, Ordering::Relaxed);
    }

    /// Sets how many messages wait in a stream.
    pub fn set_pending(&self, messages: u64) {
        self.pending.store(messages, Ordering::Relaxed);
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
            resubscribes: read(&self.resubscribes),
            pending: read(&self.pending),
        }
    }
}

impl fmt::Display for SourceSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "received {} ({} bytes)", self.received, self.received_bytes)?;
        write!(f, ", not JSON {}, excluded {}", self.undecodable, self.excluded)?;
        if self.joined > 0 {
            write!(f, ", joined {}", self.joined)?;
        }
        write!(f, ", disconnects {}", self.disconnects)?;
        if self.resubscribes > 0 {
            write!(f, ", resubscribes {}", self.resubscribes)?;
        }
        if self.pending > 0 {
            write!(f, ", pending {}", self.pending)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is not JSON is delivered as text: no word of a loss.
    #[test]
    fn a_source_says_what_came_in_words_of_no_loss() {
        let counts = SourceCounts::default();
        counts.add_undecodable(2);
        let said = counts.snapshot().to_string();
        assert_eq!(said, "received 0 (0 bytes), not JSON 2, excluded 0, disconnects 0");
    }
}
