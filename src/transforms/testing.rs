//! What the tests of transforms share.

use crate::config::Transform;
use crate::event::LogEvent;
use crate::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
use crate::topology::{Outputs, TransformSnapshot};
use std::sync::Arc;
use tokio::sync::oneshot::Receiver;

/// A transform, what it has put out so far, and a receipt for each event it was given.
pub(super) struct Run<T> {
    pub(super) transform: T,
    pub(super) outputs: Outputs,
    receipts: Vec<Receiver<EventStatus>>,
}

impl<T: Transform> Run<T> {
    pub(super) fn new(transform: T) -> Run<T> {
        Run { transform, outputs: Outputs::new(0, Arc::default()), receipts: Vec::new() }
    }

    /// Gives it an event of this JSON; what came out of it.
    pub(super) fn give(&mut self, text: &str) -> Vec<LogEvent> {
        self.give_event(LogEvent::from_json(text.to_owned().into()).expect(text))
    }

    /// The same for an event.
    pub(super) fn give_event(&mut self, event: LogEvent) -> Vec<LogEvent> {
        let (batch, receipt) = BatchNotifier::new_with_receiver();
        self.receipts.push(receipt);
        self.transform.transform(event.with_finalizers(EventFinalizers::new(batch)), &mut self.outputs);
        self.outputs.take().0
    }

    /// What it puts out when its time has come.
    pub(super) fn flush(&mut self) -> Vec<LogEvent> {
        self.transform.flush(&mut self.outputs);
        self.outputs.take().0
    }

    /// What it puts out at the end.
    pub(super) fn finish(&mut self) -> Vec<LogEvent> {
        self.transform.finish(&mut self.outputs);
        self.outputs.take().0
    }

    /// The receipts of all events, in their order: `None` for those that are unanswered.
    pub(super) fn statuses(&mut self) -> Vec<Option<EventStatus>> {
        self.receipts.iter_mut().map(|receipt| receipt.try_recv().ok()).collect()
    }

    /// Of two events, the first is passed on and owes its receipt, and the second is left out, answered and counted.
    #[track_caller]
    pub(super) fn check_left_out(&mut self, [passed, left_out]: [&str; 2]) {
        let events = self.give(passed);
        assert_eq!(events.len(), 1);
        assert!(self.give(left_out).is_empty());
        assert_eq!(self.statuses(), [None, Some(EventStatus::Delivered)]);
        assert_eq!(self.counts().discarded, 1);
        deliver(events);
        assert_eq!(self.statuses()[0], Some(EventStatus::Delivered));
    }

    pub(super) fn counts(&self) -> TransformSnapshot {
        self.outputs.counts().snapshot()
    }
}

/// The events as JSON.
pub(super) fn texts(events: &[LogEvent]) -> Vec<String> {
    events.iter().map(|event| event.json().into_owned()).collect()
}

/// Has their receivers told that the events have arrived.
pub(super) fn deliver(events: Vec<LogEvent>) {
    for mut event in events {
        event.take_finalizers().answer(EventStatus::Delivered);
    }
}
