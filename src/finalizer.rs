//! Receipts: how a source learns what became of its events.
//!
//! A source that must know makes a [`BatchNotifier`] for a chunk of events and gives each event its
//! [`EventFinalizers`]. Whoever ends an event's way answers them with an [`EventStatus`]. When the
//! last one is answered, the receiver of the batch gets the worst status of all.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};
use tokio::sync::{mpsc, oneshot};

/// What became of an event, or of a batch of them; a greater one outranks a lesser: an event that one
/// destination has refused for good and another has not got yet is not done with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub enum EventStatus {
    /// It has reached its destination, or was dropped on purpose.
    #[default]
    Delivered,
    /// It failed for good.
    Rejected,
    /// It failed, and may succeed when it is sent again.
    Errored,
}

/// The receipt of one batch.
///
/// ```
/// use log_shipper::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
///
/// let (batch, mut answer) = BatchNotifier::new_with_receiver();
/// let (one, other) = (EventFinalizers::new(batch.clone()), EventFinalizers::new(batch));
/// one.answer(EventStatus::Delivered);
/// assert!(answer.try_recv().is_err(), "one event is still on its way");
/// other.answer(EventStatus::Errored);
/// assert_eq!(answer.try_recv(), Ok(EventStatus::Errored), "the worst of them");
/// ```
#[derive(Debug)]
pub struct BatchNotifier {
    status: AtomicU8,
    /// How many receipts were let go without an answer.
    unanswered: AtomicU32,
    answer: Option<Answer>,
}

enum Answer {
    Once(oneshot::Sender<EventStatus>),
    Keyed(u64, mpsc::UnboundedSender<(u64, EventStatus)>),
    Call(Box<dyn FnOnce(EventStatus) + Send + Sync>),
    Kept(u64, Arc<dyn KeepsBlocks>),
}

impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Answer::Once(_) => "Once",
            Answer::Keyed(..) => "Keyed",
            Answer::Call(_) => "Call",
            Answer::Kept(..) => "Kept",
        })
    }
}

/// Has events on disk, in blocks, until they are answered for.
pub(crate) trait KeepsBlocks: fmt::Debug + Send + Sync {
    /// All events of the block with this number have been answered for, but so many were let go. Called by
    /// whoever answers for the last one.
    fn answered(&self, block: u64, status: EventStatus, unanswered: u32);
}

impl BatchNotifier {
    /// A notifier, and the receiver of its one answer: it comes when every clone of every finalizer
    /// made of it is answered.
    pub fn new_with_receiver() -> (Arc<BatchNotifier>, oneshot::Receiver<EventStatus>) {
        let (answer, receiver) = oneshot::channel();
        (BatchNotifier::new(Answer::Once(answer)), receiver)
    }

    /// A notifier whose one answer comes with this key, through a channel that many of them share: for a source
    /// that has to know what became of each message.
    pub fn keyed(key: u64, answers: mpsc::UnboundedSender<(u64, EventStatus)>) -> Arc<BatchNotifier> {
        BatchNotifier::new(Answer::Keyed(key, answers))
    }

    /// A notifier that calls this with its one answer: for receipts of another program's that events bring along. It
    /// is called by whoever answers last, and must not take long.
    pub fn calling(answer: impl FnOnce(EventStatus) + Send + Sync + 'static) -> Arc<BatchNotifier> {
        BatchNotifier::new(Answer::Call(Box::new(answer)))
    }

    /// A notifier for a block of events that are on disk.
    pub(crate) fn kept(block: u64, keeper: Arc<dyn KeepsBlocks>) -> Arc<BatchNotifier> {
        BatchNotifier::new(Answer::Kept(block, keeper))
    }

    fn new(answer: Answer) -> Arc<BatchNotifier> {
        Arc::new(BatchNotifier {
            status: AtomicU8::new(0),
            unanswered: AtomicU32::new(0),
            answer: Some(answer),
        })
    }

    fn update(&self, status: EventStatus) {
        self.status.fetch_max(status as u8, Ordering::AcqRel);
    }
}

impl Drop for BatchNotifier {
    fn drop(&mut self) {
        let status = match *self.status.get_mut() {
            0 => EventStatus::Delivered,
            1 => EventStatus::Rejected,
            _ => EventStatus::Errored,
        };
        let unanswered = *self.unanswered.get_mut();
        // If nobody waits any more, the source has gone, and with it the need to know.
        match self.answer.take() {
            None => {}
            Some(Answer::Once(answer)) => drop(answer.send(status)),
            Some(Answer::Keyed(key, answers)) => drop(answers.send((key, status))),
            Some(Answer::Call(answer)) => answer(status),
            Some(Answer::Kept(block, keeper)) => keeper.answered(block, status, unanswered),
        }
    }
}

/// The receipts that an event owes. Dropped without an answer, they say [`EventStatus::Errored`].
/// A clone owes an answer of its own: it goes with the clone of the event.
#[derive(Clone, Debug, Default)]
pub struct EventFinalizers(Owed);

#[derive(Clone, Debug, Default)]
enum Owed {
    #[default]
    Nothing,
    One(Arc<BatchNotifier>),
    /// Of an event that was made of several.
    Many(Vec<Arc<BatchNotifier>>),
}

impl EventFinalizers {
    /// A receipt owed to this batch.
    pub fn new(batch: Arc<BatchNotifier>) -> EventFinalizers {
        EventFinalizers(Owed::One(batch))
    }

    /// Takes over what the other owes.
    pub fn merge(&mut self, mut other: EventFinalizers) {
        let theirs = std::mem::take(&mut other.0);
        self.0 = match (std::mem::take(&mut self.0), theirs) {
            (Owed::Nothing, owed) | (owed, Owed::Nothing) => owed,
            // An event may be made of very many, one after the other.
            (Owed::Many(mut batches), theirs) => {
                batches.extend(theirs.into_batches());
                Owed::Many(batches)
            }
            (ours, theirs) => Owed::Many([ours, theirs].into_iter().flat_map(Owed::into_batches).collect()),
        };
    }

    /// Whether nobody wants to know.
    pub fn is_empty(&self) -> bool {
        matches!(self.0, Owed::Nothing)
    }

    /// Whether the event is on disk until it is answered for.
    pub(crate) fn is_kept(&self) -> bool {
        matches!(&self.0, Owed::One(batch) if matches!(batch.answer, Some(Answer::Kept(..))))
    }

    /// Says something of the event while others still have to say something: the worst counts.
    pub fn note(&self, status: EventStatus) {
        match &self.0 {
            Owed::Nothing => {}
            Owed::One(batch) => batch.update(status),
            Owed::Many(batches) => batches.iter().for_each(|batch| batch.update(status)),
        }
    }

    /// Answers every receipt.
    pub fn answer(mut self, status: EventStatus) {
        self.settle(status);
    }

    fn settle(&mut self, status: EventStatus) {
        self.note(status);
        self.0 = Owed::Nothing;
    }
}

impl Owed {
    fn into_batches(self) -> Vec<Arc<BatchNotifier>> {
        match self {
            Owed::Nothing => Vec::new(),
            Owed::One(batch) => vec![batch],
            Owed::Many(batches) => batches,
        }
    }
}

impl Drop for EventFinalizers {
    fn drop(&mut self) {
        if let Owed::One(batch) = &self.0 {
            batch.unanswered.fetch_add(1, Ordering::AcqRel);
        }
        self.settle(EventStatus::Errored);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_status_is_the_answer_and_comes_last() {
        use EventStatus::{Delivered, Errored, Rejected};
        for (statuses, expected) in [
            (vec![Delivered, Delivered], Delivered),
            (vec![Delivered, Errored], Errored),
            (vec![Errored, Rejected], Errored),
        ] {
            let (batch, mut receiver) = BatchNotifier::new_with_receiver();
            let owed: Vec<_> = statuses.iter().map(|_| EventFinalizers::new(Arc::clone(&batch))).collect();
            drop(batch);
            for (finalizers, status) in owed.into_iter().zip(statuses) {
                assert!(receiver.try_recv().is_err(), "answered before the last event was");
                finalizers.answer(status);
            }
            assert_eq!(receiver.try_recv(), Ok(expected));
        }
    }

    #[test]
    fn an_unanswered_receipt_and_an_unanswered_clone_are_errors() {
        let (batch, mut receiver) = BatchNotifier::new_with_receiver();
        let owed = EventFinalizers::new(batch);
        let clone = owed.clone();
        owed.answer(EventStatus::Delivered);
        assert!(receiver.try_recv().is_err());
        drop(clone);
        assert_eq!(receiver.try_recv(), Ok(EventStatus::Errored));
    }

    #[test]
    fn merged_receipts_are_answered_together() {
        let (first, mut first_receiver) = BatchNotifier::new_with_receiver();
        let (second, mut second_receiver) = BatchNotifier::new_with_receiver();
        let mut owed = EventFinalizers::new(first);
        owed.merge(EventFinalizers::default());
        owed.merge(EventFinalizers::new(second));
        owed.answer(EventStatus::Rejected);
        assert_eq!(first_receiver.try_recv(), Ok(EventStatus::Rejected));
        assert_eq!(second_receiver.try_recv(), Ok(EventStatus::Rejected));
    }

    #[test]
    fn keyed_answers_share_a_channel_and_what_was_noted_stays() {
        let (answers, mut receiver) = mpsc::unbounded_channel();
        let [first, second] =
            [7, 8].map(|key| EventFinalizers::new(BatchNotifier::keyed(key, answers.clone())));
        second.note(EventStatus::Rejected);
        assert!(receiver.try_recv().is_err(), "answered too early");
        second.answer(EventStatus::Delivered);
        drop(first);
        assert_eq!(receiver.try_recv(), Ok((8, EventStatus::Rejected)));
        assert_eq!(receiver.try_recv(), Ok((7, EventStatus::Errored)));
    }

    #[test]
    fn an_answer_is_called_once_with_the_worst() {
        let (said, heard) = std::sync::mpsc::sync_channel(2);
        let batch = BatchNotifier::calling(move |status| said.send(status).unwrap());
        let [first, second] = [(); 2].map(|()| EventFinalizers::new(Arc::clone(&batch)));
        drop(batch);
        first.answer(EventStatus::Rejected);
        assert!(heard.try_recv().is_err(), "called too early");
        second.answer(EventStatus::Delivered);
        assert_eq!(heard.iter().collect::<Vec<_>>(), [EventStatus::Rejected]);
    }

    #[test]
    fn a_batch_without_events_is_delivered() {
        let (batch, mut receiver) = BatchNotifier::new_with_receiver();
        drop(batch);
        assert_eq!(receiver.try_recv(), Ok(EventStatus::Delivered));
    }
}
