//! The way of a chunk: from a source through transforms to the buffers of the sinks.

use super::buffer::BufferSender;
use super::counts::{SinkCounts, SourceCounts, TransformCounts};
use super::outcome::Outcome;
use super::outputs::{OutputNames, Outputs};
use super::tap::Tap;
use crate::config::Transform;
use crate::event::LogEvent;
use crate::finalizer::EventStatus;
use crate::status::Status;
use futures::future::BoxFuture;
use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Where a source's events go: to every consumer that names the source among its inputs.
#[derive(Clone, Debug)]
pub struct SourceSender {
    counts: Arc<SourceCounts>,
    status: Status,
    fanout: Fanout,
    tap: Tap,
    /// With the last clone of the last source's, the topology knows that nothing more comes.
    #[expect(dead_code, reason = "it is there to be dropped")]
    open: Arc<OpenSource>,
}

/// How many sources there are from which something may still come.
#[derive(Clone, Debug, Default)]
pub(super) struct OpenSources(Arc<OpenCount>);

#[derive(Debug, Default)]
struct OpenCount {
    count: AtomicUsize,
    changed: Notify,
}

#[derive(Debug)]
struct OpenSource(OpenSources);

impl OpenSources {
    fn open(&self) -> OpenSource {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        OpenSource(self.clone())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.count.load(Ordering::Acquire) == 0
    }

    /// Waits until a source is done that was not.
    pub(super) async fn changed(&self) {
        self.0.changed.notified().await;
    }
}

impl Drop for OpenSource {
    fn drop(&mut self) {
        let OpenSource(sources) = self;
        sources.0.count.fetch_sub(1, Ordering::AcqRel);
        sources.0.changed.notify_one();
    }
}

impl SourceSender {
    pub(super) fn new(
        counts: Arc<SourceCounts>,
        status: Status,
        fanout: Fanout,
        tap: Tap,
        sources: &OpenSources,
    ) -> SourceSender {
        SourceSender { counts, status, fanout, tap, open: Arc::new(sources.open()) }
    }

    /// Passes a chunk on. Waits while the buffer of a consumer is full whose policy is to block.
    pub async fn send(&self, events: Vec<LogEvent>) {
        self.status.received();
        self.counts.add_received(events.len(), body_sizes(&events));
        self.tap.show(&events);
        self.fanout.send(events).await;
        // A source with much to read would go on until its buffers are full, and a policy that drops would
        // drop, while the sinks wait for their turn in the same thread.
        tokio::task::yield_now().await;
    }

    /// How the source gets on with where its events come from.
    pub fn status(&self) -> &Status {
        &self.status
    }

    /// The source's books.
    pub fn counts(&self) -> &Arc<SourceCounts> {
        &self.counts
    }
}

/// The consumers of one output. A reload replaces all of them at once; a chunk that is already on its way
/// goes to those it was sent to.
#[derive(Clone, Debug, Default)]
pub(super) struct Fanout(Arc<Mutex<Arc<[Consumer]>>>);

/// Who takes the events of an output.
#[derive(Clone, Debug)]
pub(super) enum Consumer {
    Sink(BufferSender),
    /// Runs where its events come from: no task, no queue.
    Transform(Arc<TransformNode>),
}

impl Fanout {
    pub(super) fn set(&self, consumers: &[Consumer]) {
        // The old ones are dropped outside the lock: with the last sender of a buffer, its sink ends.
        let old = std::mem::replace(&mut *self.consumers(), consumers.into());
        drop(old);
    }

    fn consumers(&self) -> MutexGuard<'_, Arc<[Consumer]>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn send(&self, events: Vec<LogEvent>) {
        if events.is_empty() {
            return;
        }
        let consumers = Arc::clone(&self.consumers());
        let Some((last, others)) = consumers.split_last() else {
            SinkCounts::default().settle_events(events, &Outcome::Delivered);
            return;
        };
        for consumer in others {
            consumer.send(events.clone()).await;
        }
        last.send(events).await;
    }
}

impl Consumer {
    fn send(&self, events: Vec<LogEvent>) -> BoxFuture<'_, ()> {
        match self {
            Consumer::Sink(buffer) => Box::pin(buffer.send(events)),
            Consumer::Transform(node) => Box::pin(node.take(events)),
        }
    }
}

/// A transform with its place in the topology.
pub(super) struct TransformNode {
    pub(super) counts: Arc<TransformCounts>,
    /// How often [`TransformNode::flush`] wants to be called.
    pub(super) flush_every: Option<Duration>,
    /// The consumers of each output, by the name under which others take it as their input; that of the
    /// default output stands first.
    pub(super) fanouts: Vec<(String, Fanout)>,
    has_default: bool,
    state: Mutex<State>,
}

struct State {
    transform: Box<dyn Transform>,
    outputs: Outputs,
    /// Nothing is held back any more: the topology ends, or another transform has taken its place.
    is_finished: bool,
}

impl fmt::Debug for TransformNode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TransformNode").field("fanouts", &self.fanouts.len()).finish_non_exhaustive()
    }
}

fn body_sizes(events: &[LogEvent]) -> usize {
    events.iter().map(LogEvent::body_size).sum()
}

impl TransformNode {
    pub(super) fn new(
        id: &str,
        names: &OutputNames,
        transform: Box<dyn Transform>,
        counts: Arc<TransformCounts>,
    ) -> TransformNode {
        TransformNode {
            flush_every: transform.flush_every(),
            fanouts: names.inputs(id).into_iter().map(|name| (name, Fanout::default())).collect(),
            has_default: names.has_default,
            state: Mutex::new(State {
                transform,
                outputs: Outputs::new(names.named.len(), Arc::clone(&counts)),
                is_finished: false,
            }),
            counts,
        }
    }

    async fn take(&self, events: Vec<LogEvent>) {
        let bytes = body_sizes(&events);
        self.counts.add_received(events.len(), bytes);
        self.work(|State { transform, outputs, is_finished }| {
            events.into_iter().for_each(|event| transform.transform(event, outputs));
            if *is_finished {
                transform.finish(outputs);
            }
            outputs.detach_few(bytes);
        })
        .await;
    }

    /// Passes on what the transform has held back for long enough.
    pub(super) async fn flush(&self) {
        self.work(|state| state.transform.flush(&mut state.outputs)).await;
    }

    /// Passes on all that the transform holds back, now and from now on.
    pub(super) async fn finish(&self) {
        self.work(|state| {
            state.is_finished = true;
            state.transform.finish(&mut state.outputs);
        })
        .await;
    }

    /// Gives up what the transform holds back, and counts it: what a source waits for is not lost, it gets it back.
    pub(super) fn give_up(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let State { transform, outputs, .. } = &mut *state;
        transform.finish(outputs);
        let (default, named) = outputs.take();
        for mut event in named.into_iter().flatten().chain(default) {
            let finalizers = event.take_finalizers();
            match finalizers.is_empty() {
                true => self.counts.add_lost(1),
                false => self.counts.add_returned(1),
            }
            finalizers.answer(EventStatus::Errored);
        }
    }

    /// Does work under the lock, and passes on what comes out of it.
    async fn work(&self, work: impl FnOnce(&mut State)) {
        let (default, named) = {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            let working = self.counts.work().begin();
            work(&mut state);
            drop(working);
            state.outputs.take()
        };
        let outputs = self.has_default.then_some(default).into_iter().chain(named);
        for (events, (_, fanout)) in outputs.zip(&self.fanouts) {
            self.counts.add_sent(events.len(), body_sizes(&events));
            fanout.send(events).await;
        }
    }
}
