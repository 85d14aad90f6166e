//! [`Receipts`]: the events that a sink owes an answer for.

use super::counts::SinkCounts;
use super::outcome::{Outcome, Rejection};
use crate::event::{LogEvent, Timestamp};
use crate::finalizer::EventFinalizers;
use crate::status::Status;
use std::ops::Range;
use std::sync::Arc;

/// The events that a sink has taken and not yet answered for, in order. Dropped, those that are left
/// count as [`DropReason::Unanswered`](super::DropReason::Unanswered), or as
/// [`DropReason::Shutdown`](super::DropReason::Shutdown) past its deadline, unless they are still on disk, or their source gets them back
/// ([`DropReason::Returned`](super::DropReason::Returned)).
#[derive(Debug)]
pub struct Receipts {
    counts: Arc<SinkCounts>,
    /// That of the sink which has taken them: a reload may replace it before they are answered for.
    status: Status,
    /// How many of them, the first, nobody asks for, and are not kept: all, from core NATS without dead letters.
    plain: usize,
    owed: Vec<Owed>,
    /// The size of the events that are kept, as they came.
    kept: usize,
    /// The bytes of all events that are unanswered; about, once some have been answered for.
    bytes: usize,
    /// When the first of them happened.
    time: Option<Timestamp>,
}

/// What is owed for one event.
#[derive(Debug, Default)]
struct Owed {
    finalizers: EventFinalizers,
    /// The event itself, where a refused one becomes a dead letter.
    event: Option<Box<LogEvent>>,
}

impl Owed {
    fn into_event(mut self) -> Option<LogEvent> {
        self.event.take().map(|event| event.with_finalizers(self.finalizers))
    }
}

impl Receipts {
    /// None yet, to be counted in these books.
    pub fn new(counts: Arc<SinkCounts>) -> Receipts {
        let status = counts.status();
        Receipts { counts, status, plain: 0, owed: Vec::new(), kept: 0, bytes: 0, time: None }
    }

    /// Takes an event's receipts, and the event itself if it may become a dead letter.
    pub fn push(&mut self, mut event: LogEvent) {
        self.bytes += event.body_size();
        // It is searched for in the event, so that only one of a batch is asked.
        self.time.get_or_insert_with(|| event.timestamp());
        let finalizers = event.take_finalizers();
        let keeps = self.counts.keeps_events();
        if !keeps && self.owed.is_empty() && finalizers.is_empty() {
            self.plain += 1;
            return;
        }
        let event = keeps.then(|| Box::new(event));
        self.kept += event.as_ref().map_or(0, |event| event.size());
        self.owed.push(Owed { finalizers, event });
    }

    /// How many bytes they hold in memory, about; what has been answered for may still be among them.
    pub(crate) fn size(&self) -> usize {
        self.owed.len() * size_of::<Owed>() * 3 / 2 + self.kept
    }

    /// The books that they are counted in.
    pub fn counts(&self) -> &Arc<SinkCounts> {
        &self.counts
    }

    /// How many events are unanswered.
    pub fn len(&self) -> usize {
        self.plain + self.owed.len()
    }

    /// Whether every event has been answered for.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Whether all events are here, so that each can become a dead letter. What came before there were any is not.
    pub(crate) fn keep_events(&self) -> bool {
        self.counts.keeps_events() && self.plain == 0 && self.owed.iter().all(|owed| owed.event.is_some())
    }

    /// Answers for all events, of which the destination has refused so many and does not say which: they are counted
    /// like that, and as many as are left as delivered. Where there are dead letters all of them become one, lest the
    /// wrong ones do: there are then more letters than rejected events, and some of them have been delivered.
    pub(crate) fn settle_some(&mut self, rejected: usize, rejection: Rejection) {
        let rejected = rejected.min(self.len());
        let outcome = Outcome::Rejected(rejection);
        if !self.counts.keeps_events() {
            self.settle_range(0..rejected, &outcome);
            return self.settle(&Outcome::Delivered);
        }
        self.counts.add_of(&self.status, &outcome, rejected);
        self.counts.add_of(&self.status, &Outcome::Delivered, self.len() - rejected);
        let all = 0..self.len();
        self.measure(all.len(), all.len(), all.len() - rejected);
        self.answer(all, &outcome);
    }

    /// Answers for all events.
    pub fn settle(&mut self, outcome: &Outcome) {
        self.settle_range(0..self.len(), outcome);
    }

    /// Answers for the events at these places; the later ones move up.
    pub fn settle_range(&mut self, range: Range<usize>, outcome: &Outcome) {
        self.counts.add_of(&self.status, outcome, range.len());
        let delivered = if *outcome == Outcome::Delivered { range.len() } else { 0 };
        self.measure(self.len(), range.len(), delivered);
        self.answer(range, outcome);
    }

    /// Measures what has been answered for: of all, so many, of which so many are delivered.
    fn measure(&mut self, all: usize, settled: usize, delivered: usize) {
        let part = |events| self.bytes / all.max(1) * events + self.bytes % all.max(1) * events / all.max(1);
        let (settled, delivered_bytes) = (part(settled), part(delivered));
        self.bytes -= settled.min(self.bytes);
        if delivered > 0 {
            let meters = self.counts.meters();
            meters.add_delivered_bytes(delivered_bytes);
            self.time.iter().for_each(|time| meters.delivered(*time));
        }
    }

    /// Answers for these events, which have been counted.
    fn answer(&mut self, range: Range<usize>, outcome: &Outcome) {
        let is_rejected = matches!(outcome, Outcome::Rejected(_));
        let status = self.counts.answer_to(outcome);
        let mut refused = Vec::new();
        let plain = self.plain;
        self.plain -= range.end.min(plain) - range.start.min(plain);
        let owed = range.start.saturating_sub(plain)..range.end.saturating_sub(plain);
        for owed in self.owed.drain(owed) {
            match owed.event {
                Some(_) if is_rejected => refused.extend(owed.into_event()),
                _ => owed.finalizers.answer(status),
            }
        }
        for mut event in self.counts.bury(refused, outcome) {
            event.take_finalizers().answer(status);
        }
    }

    /// The events from this place on, as receipts of their own.
    pub fn split_off(&mut self, at: usize) -> Receipts {
        let all_events = self.len().max(1);
        let owed = self.owed.split_off(at.saturating_sub(self.plain));
        let all = (self.owed.len() + owed.len()).max(1);
        let kept = self.kept / all * owed.len();
        self.kept -= kept;
        let plain = self.plain.saturating_sub(at);
        self.plain -= plain;
        let bytes = self.bytes / all_events * (plain + owed.len());
        self.bytes -= bytes;
        let (counts, status) = (Arc::clone(&self.counts), self.status.clone());
        Receipts { counts, status, plain, owed, kept, bytes, time: self.time }
    }

    /// Takes over the events of these receipts, behind its own.
    pub fn append(&mut self, mut other: Receipts) {
        let plain = std::mem::take(&mut other.plain);
        if self.owed.is_empty() {
            self.plain += plain;
        } else {
            self.owed.extend((0..plain).map(|_| Owed::default()));
        }
        self.owed.append(&mut other.owed);
        self.kept += std::mem::take(&mut other.kept);
        self.bytes += std::mem::take(&mut other.bytes);
        self.time = self.time.into_iter().chain(other.time).min();
    }

    /// Answers for each event that `judge` has an outcome for; the others stay, in order.
    pub fn settle_each(&mut self, judge: impl Fn(usize) -> Option<Outcome>) {
        let all = self.len();
        let plain = std::mem::take(&mut self.plain);
        let owed = std::mem::take(&mut self.owed);
        let (mut delivered, mut refused) = (0, None);
        let mut settle = |outcome: Outcome, owed: Option<Owed>| {
            if outcome == Outcome::Delivered {
                delivered += 1;
            } else {
                self.counts.count(&outcome, 1);
            }
            if let Some(owed) = owed {
                let mut settled = Receipts::new(Arc::clone(&self.counts));
                settled.owed.push(owed);
                settled.answer(0..1, &outcome);
            }
            if matches!(outcome, Outcome::Rejected(_)) {
                refused = Some(outcome);
            }
        };
        let mut left = 0;
        for index in 0..plain {
            match judge(index) {
                None => left += 1,
                Some(outcome) => settle(outcome, None),
            }
        }
        let mut kept = Vec::new();
        for (index, owed) in owed.into_iter().enumerate() {
            match judge(plain + index) {
                None => kept.push(owed),
                Some(outcome) => settle(outcome, Some(owed)),
            }
        }
        (self.plain, self.owed) = (left, kept);
        self.counts.add_of(&self.status, &Outcome::Delivered, delivered);
        refused.iter().for_each(|outcome| self.counts.note(&self.status, outcome));
        self.measure(all, all - self.len(), delivered);
    }
}

impl Drop for Receipts {
    fn drop(&mut self) {
        self.counts.lose(self.plain);
        for owed in std::mem::take(&mut self.owed) {
            self.counts.let_go(owed.finalizers);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::buffer::{BufferReceiver, BufferSettings, Capacity, WhenFull, buffer};
    use super::super::dead_letters::DeadLetters;
    use super::*;
    use crate::finalizer::{BatchNotifier, EventStatus};
    use crate::topology::DropReason;

    fn event() -> LogEvent {
        LogEvent::from_json("{}".into()).unwrap()
    }

    /// What a replaced sink still hears of its own key says nothing of the new one.
    #[test]
    fn who_has_taken_the_events_hears_what_became_of_them() {
        for outcome in [Outcome::Delivered, Outcome::Rejected(Rejection::unsent("no"))] {
            let counts = Arc::<SinkCounts>::default();
            let old = counts.status();
            let mut owed = receipts(&counts, 4);
            let mut part = owed.split_off(2);
            let new = Status::default();
            counts.set_status(new.clone());
            let before = new.snapshot();
            owed.settle(&outcome);
            part.settle_each(|_| Some(outcome.clone()));
            assert_eq!(new.snapshot(), before, "{outcome:?}");
            assert_ne!(old.snapshot(), before, "{outcome:?}");
            receipts(&counts, 1).settle(&outcome);
            assert_ne!(new.snapshot(), before, "{outcome:?}");
        }
    }

    fn receipts(counts: &Arc<SinkCounts>, events: usize) -> Receipts {
        counts.add_received(events);
        let mut receipts = Receipts::new(Arc::clone(counts));
        (0..events).for_each(|_| receipts.push(event()));
        receipts
    }

    #[test]
    fn the_books_balance_whatever_happens() {
        let counts = Arc::new(SinkCounts::default());
        let mut first = receipts(&counts, 10);
        let mut second = first.split_off(6);
        first.settle_range(0..2, &Outcome::unsent("no"));
        first.settle_each(|index| (index % 2 == 0).then_some(Outcome::Delivered));
        assert_eq!((first.len(), second.len()), (2, 4));
        assert_eq!(counts.snapshot().buffered, 6);
        let mut both = Receipts::new(Arc::clone(&counts));
        both.append(second.split_off(1));
        both.append(second);
        assert_eq!((both.len(), counts.snapshot().buffered), (4, 6));
        both.settle(&Outcome::Delivered);
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

    /// Some events owe a receipt and others don't; whoever answers for a range of them finds the right ones.
    #[test]
    fn events_keep_their_places_whoever_asks_for_them() {
        let counts = Arc::new(SinkCounts::default());
        let asked: Vec<_> = [false, false, true, false, true]
            .into_iter()
            .map(|asks| asks.then(BatchNotifier::new_with_receiver))
            .collect();
        let mut receipts = receipts(&counts, 0);
        counts.add_received(7);
        for asked in &asked {
            let finalizers = asked.as_ref().map(|(batch, _)| EventFinalizers::new(Arc::clone(batch)));
            receipts.push(event().with_finalizers(finalizers.unwrap_or_default()));
        }
        let mut answers: Vec<_> =
            asked.into_iter().map(|asked| asked.map(|(_, receiver)| receiver)).collect();
        let mut heard = |index: usize| answers[index].as_mut().unwrap().try_recv();
        let mut last = receipts.split_off(4);
        let mut more = super::Receipts::new(Arc::clone(&counts));
        (0..2).for_each(|_| more.push(event()));
        last.append(more);
        assert_eq!((receipts.len(), last.len()), (4, 3));
        receipts.settle_range(1..3, &Outcome::Delivered);
        assert_eq!((receipts.len(), heard(2)), (2, Ok(EventStatus::Delivered)));
        last.settle_each(|index| (index != 0).then_some(Outcome::Delivered));
        assert_eq!((last.len(), heard(4)), (1, Err(tokio::sync::oneshot::error::TryRecvError::Empty)));
        last.settle(&Outcome::unsent("no"));
        receipts.settle(&Outcome::Delivered);
        assert_eq!(heard(4), Ok(EventStatus::Rejected));
        let books = counts.snapshot();
        assert_eq!((books.delivered, books.rejected, books.buffered), (6, 1, 0));
    }

    /// The buffer of dead letters, and its other end.
    fn dead_letters() -> (DeadLetters, BufferReceiver) {
        let settings =
            BufferSettings { capacity: Capacity::Events(10), when_full: WhenFull::Block, acknowledges: true };
        let (sender, receiver) = buffer(settings, Arc::default());
        (DeadLetters::new("out", sender), receiver)
    }

    #[test]
    fn what_came_before_there_were_dead_letters_cannot_become_one() {
        let counts = Arc::new(SinkCounts::default());
        let mut early = receipts(&counts, 2);
        assert!(!early.keep_events());
        let (letters, _receiver) = dead_letters();
        counts.set_dead_letters(Some(letters));
        assert!(!early.keep_events());
        let late = receipts(&counts, 2);
        assert!(late.keep_events());
        early.append(late);
        assert!(!early.keep_events());
        let mut late = early.split_off(2);
        assert!(late.keep_events() && !early.keep_events());
        counts.set_dead_letters(None);
        assert!(!late.keep_events(), "nobody takes them any more");
        late.settle(&Outcome::Delivered);
        early.settle(&Outcome::Delivered);
    }

    #[tokio::test]
    async fn of_a_batch_refused_in_part_all_become_letters() {
        let rejection = Rejection::unsent("2 of 5");
        for has_letters in [false, true] {
            let counts = Arc::new(SinkCounts::default());
            let (letters, mut receiver) = dead_letters();
            counts.set_dead_letters(has_letters.then_some(letters));
            let mut receipts = receipts(&counts, 5);
            receipts.settle_some(2, rejection.clone());
            let books = counts.snapshot();
            assert_eq!((books.rejected, books.delivered, books.buffered), (2, 3, 0));
            if has_letters {
                let letters = receiver.recv().await.unwrap();
                assert_eq!(letters.len(), 5);
                SinkCounts::default().settle_events(letters, &Outcome::Delivered);
            }
        }
    }

    #[test]
    fn events_are_held_for_long_where_somebody_keeps_them() {
        for (has_letters, sources_wait, is_durable, expected) in [
            (false, false, false, false),
            (true, false, false, true),
            (true, true, false, false),
            (true, false, true, false),
            (true, true, true, false),
        ] {
            let counts = Arc::new(SinkCounts::default());
            let (sender, _receiver) = buffer(
                BufferSettings {
                    capacity: Capacity::Events(1),
                    when_full: WhenFull::Block,
                    acknowledges: true,
                },
                Arc::default(),
            );
            counts.set_dead_letters(has_letters.then(|| DeadLetters::new("out", sender)));
            counts.set_sources_wait(sources_wait);
            counts.set_durable(is_durable);
            assert_eq!(counts.is_hold_urgent(), expected, "{has_letters} {sources_wait} {is_durable}");
        }
    }

    /// What a source waits for is not lost with the sink, whenever that ends.
    #[test]
    fn what_a_source_gets_back_is_not_lost() {
        for gave_up in [false, true] {
            let counts = Arc::new(SinkCounts::default());
            let (batch, mut receiver) = BatchNotifier::new_with_receiver();
            let mut receipts = receipts(&counts, 2);
            counts.add_received(3);
            for _ in 0..3 {
                receipts.push(event().with_finalizers(EventFinalizers::new(Arc::clone(&batch))));
            }
            drop(batch);
            if gave_up {
                counts.give_up();
            }
            drop(receipts);
            assert_eq!(receiver.try_recv(), Ok(EventStatus::Errored));
            let books = counts.snapshot();
            let reason = if gave_up { DropReason::Shutdown } else { DropReason::Unanswered };
            assert_eq!((books.dropped_for(DropReason::Returned), books.dropped_for(reason)), (3, 2));
            assert_eq!((books.lost(), books.buffered), (2, 0), "{books}");
        }
    }

    #[test]
    fn outcomes_reach_the_source() {
        for (outcome, status) in [
            (Outcome::Delivered, EventStatus::Delivered),
            (Outcome::unsent("no"), EventStatus::Rejected),
            (Outcome::Dropped(DropReason::BufferFull), EventStatus::Errored),
        ] {
            let (batch, mut receiver) = BatchNotifier::new_with_receiver();
            let mut receipts = Receipts::new(Arc::default());
            receipts.push(event().with_finalizers(EventFinalizers::new(batch)));
            receipts.settle(&outcome);
            assert_eq!(receiver.try_recv(), Ok(status));
        }
    }
}
