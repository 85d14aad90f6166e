//! [`Outputs`]: where a transform puts what becomes of its events.

use super::counts::TransformCounts;
use crate::event::LogEvent;
use crate::finalizer::EventStatus;
use std::sync::Arc;

/// The names of a transform's outputs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutputNames {
    /// Whether it has the output that other components name by the transform's id alone.
    pub has_default: bool,
    /// The others: `_unmatched` of the transform `route` is the input `route._unmatched`.
    pub named: Vec<String>,
}

impl OutputNames {
    /// What other components name as their inputs, for the transform of this id; the default output first.
    pub fn inputs(&self, id: &str) -> Vec<String> {
        let default = self.has_default.then(|| id.to_owned());
        default.into_iter().chain(self.named.iter().map(|name| format!("{id}.{name}"))).collect()
    }
}

impl Default for OutputNames {
    fn default() -> OutputNames {
        OutputNames { has_default: true, named: Vec::new() }
    }
}

/// Where a transform puts what becomes of the events it is given, and its books.
#[derive(Debug)]
pub struct Outputs {
    default: Vec<LogEvent>,
    named: Vec<Vec<LogEvent>>,
    counts: Arc<TransformCounts>,
}

impl Outputs {
    /// Empty outputs for a transform with so many named ones.
    pub fn new(named: usize, counts: Arc<TransformCounts>) -> Outputs {
        Outputs { default: Vec::new(), named: (0..named).map(|_| Vec::new()).collect(), counts }
    }

    /// Passes an event on.
    pub fn push(&mut self, event: LogEvent) {
        self.default.push(event);
    }

    /// Passes an event on through a named output, by its place in [`OutputNames::named`].
    pub fn push_to(&mut self, named: usize, event: LogEvent) {
        self.named[named].push(event);
    }

    /// Leaves an event out on purpose.
    pub fn discard(&mut self, mut event: LogEvent) {
        self.counts.add_discarded(1);
        event.take_finalizers().answer(EventStatus::Delivered);
    }

    /// Leaves an event out because it could not be processed.
    pub fn fail(&mut self, mut event: LogEvent) {
        self.counts.add_failed(1);
        event.take_finalizers().answer(EventStatus::Rejected);
    }

    /// The books: for what is counted beside an event's way.
    pub fn counts(&self) -> &TransformCounts {
        &self.counts
    }

    /// Events are slices of what was read together. If most of these bytes have been left out, those that came
    /// through get memory of their own, so that a buffer full of them is not a multiple of its size.
    pub(super) fn detach_few(&mut self, bytes: usize) {
        let events = || self.named.iter().flatten().chain(&self.default);
        if events().map(LogEvent::body_size).sum::<usize>() < bytes / 2 {
            self.named.iter_mut().flatten().chain(&mut self.default).for_each(LogEvent::detach);
        }
    }

    /// What came out: the default output's events, and those of each named one. It is empty then.
    pub fn take(&mut self) -> (Vec<LogEvent>, Vec<Vec<LogEvent>>) {
        let named = self.named.iter_mut().map(std::mem::take).collect();
        (std::mem::take(&mut self.default), named)
    }
}
