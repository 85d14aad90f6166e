//! The way of an event to a request: from the buffer into a batch, and how many batches are under way.

use super::batch::{Batch, BatchLimits, Batcher, Partition, PushError};
use super::client::SigningClient;
use super::codec::EncodeError;
use super::compression::Compression;
use super::gate::Gate;
use super::http_sink::{Destination, HttpOptions};
use super::request::{Controller, RateLimit};
use super::truncate::{Oversized, encode_within, with_shorter_message};
use crate::config::{Result, StreamSink};
use crate::deadline::sleep_until;
use crate::event::LogEvent;
use crate::log_limit::LogLimit;
use crate::status::Status;
use crate::template::Template;
use crate::topology::{BufferReceiver, DropReason, Outcome, SinkCounts, SinkMemory, SinkMeters};
use async_trait::async_trait;
use http::header::HeaderName;
use std::any::Any;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) struct RunningHttpSink {
    pub(super) shared: Arc<Shared>,
}

/// What the requests of a sink share.
pub(super) struct Shared {
    pub(super) id: String,
    pub(super) sink: Arc<dyn Destination>,
    pub(super) client: SigningClient,
    pub(super) limits: BatchLimits,
    pub(super) compression: Compression,
    pub(super) headers: Vec<(HeaderName, Template)>,
    pub(super) controller: Controller,
    pub(super) rate_limit: RateLimit,
    pub(super) memory: SinkMemory,
    pub(super) options: HttpOptions,
    pub(super) gate: Gate,
    pub(super) meters: Arc<SinkMeters>,
    pub(super) status: Status,
    pub(super) retry_log: LogLimit,
    pub(super) reject_log: LogLimit,
    pub(super) truncate_log: LogLimit,
    pub(super) aside: Aside,
    /// Stands for all options that decide how events are encoded; nothing if they are not known.
    pub(super) wire: Option<u64>,
    pub(super) succession: Succession,
}

/// Whether another sink has taken the place of this one.
#[derive(Default)]
pub(super) struct Succession {
    successor: OnceLock<Arc<Shared>>,
    has_begun: CancellationToken,
}

impl Succession {
    fn begin(&self, successor: Arc<Shared>) {
        // Of a sink that is replaced twice, the first successor has one of its own.
        if self.successor.set(successor).is_ok() {
            self.has_begun.cancel();
        }
    }

    /// Who sends what this sink has encoded.
    pub(super) fn successor(&self) -> Option<&Arc<Shared>> {
        self.successor.get()
    }

    /// Waits until somebody else is there to send.
    pub(super) async fn begun(&self) {
        self.has_begun.cancelled().await;
    }

    /// Waits for so long, or until somebody else is there to send.
    pub(super) async fn pause(&self, duration: Duration) {
        let _ = tokio::time::timeout(duration, self.has_begun.cancelled()).await;
    }
}

#[async_trait]
impl StreamSink for RunningHttpSink {
    fn handle(&self) -> Option<Arc<dyn Any + Send + Sync>> {
        let shared: Arc<dyn Any + Send + Sync> = self.shared.clone();
        Some(shared)
    }

    /// What has been encoded already is sent by this sink, if it would have encoded it in the same way: with its
    /// key, to its address.
    fn succeed(&self, predecessor: Arc<dyn Any + Send + Sync>) {
        let Ok(old) = predecessor.downcast::<Shared>() else { return };
        if old.wire.is_some() && old.wire == self.shared.wire {
            old.succession.begin(Arc::clone(&self.shared));
        }
    }

    /// Events come in, are encoded into batches, and the batches go out, as many at once as the
    /// controller allows. While a full batch has to wait, nothing more is taken from the buffer.
    async fn run(self: Box<Self>, mut input: BufferReceiver) -> Result<()> {
        let shared = self.shared;
        let batcher = Batcher::new(shared.limits, shared.sink.framing(), Arc::clone(input.counts()));
        let mut batcher = batcher.with_memory(shared.memory.clone());
        let counts = Arc::clone(input.counts());
        let mut ready: VecDeque<Batch> = VecDeque::new();
        let mut under_way = JoinSet::new();
        let bytes_under_way: Arc<AtomicUsize> = Arc::default();
        let mut has_more = true;
        // Whether the sink has refused some of what it took last.
        let mut has_refused = false;
        loop {
            // Those that have stepped aside are no requests under way.
            let requests = |tasks: usize| tasks.saturating_sub(shared.aside.count());
            while !ready.is_empty()
                && requests(under_way.len()) < shared.controller.limit(requests(under_way.len()) + 1)
                && (under_way.is_empty()
                    || bytes_under_way.load(Ordering::Relaxed) < shared.memory.under_way())
                && let Some(batch) = ready.pop_front()
            {
                let held = Held::new(&bytes_under_way, batch.size());
                let delivery = Arc::clone(&shared).deliver(batch);
                under_way.spawn(async move {
                    delivery.await;
                    drop(held);
                });
            }
            if !has_more && ready.is_empty() && under_way.is_empty() {
                return Ok(());
            }
            let deadline = batcher.deadline().map(Instant::from_std);
            let next = async {
                // Else the dead letters would grow for as long as nobody takes them.
                if has_refused {
                    counts.room_for_dead_letters().await;
                }
                input.recv().await
            };
            tokio::select! {
                Some(ended) = under_way.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(sink = shared.id, "a request has ended without an answer: {error}");
                    }
                }
                () = shared.aside.stepped(), if !ready.is_empty() => {}
                () = sleep_until(deadline) => ready.extend(batcher.close_expired(Instant::now().into_std())),
                events = next, if has_more && ready.is_empty() => match events {
                    Some(events) => has_refused = shared.take(events, &counts, &mut batcher, &mut ready),
                    None => {
                        has_more = false;
                        ready.extend(batcher.close_all());
                    }
                },
            }
        }
    }
}

/// Bytes under way, for as long as this exists: a destination that answers slowly gets more requests, and each of
/// them holds its body.
struct Held {
    total: Arc<AtomicUsize>,
    bytes: usize,
}

impl Held {
    fn new(total: &Arc<AtomicUsize>, bytes: usize) -> Held {
        total.fetch_add(bytes, Ordering::Relaxed);
        Held { total: Arc::clone(total), bytes }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.total.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

/// The batches that wait for a word on what they have sent; they are no requests under way.
#[derive(Debug, Default)]
pub(super) struct Aside {
    count: AtomicUsize,
    changed: Notify,
}

/// One of them, for as long as this exists.
pub(super) struct SteppedAside<'a>(&'a Aside);

impl Aside {
    pub(super) fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    pub(super) fn step(&self) -> SteppedAside<'_> {
        self.count.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_one();
        SteppedAside(self)
    }

    /// Waits until one more has stepped aside.
    async fn stepped(&self) {
        self.changed.notified().await;
    }
}

impl Drop for SteppedAside<'_> {
    fn drop(&mut self) {
        self.0.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Shared {
    /// Puts events into their batches; whether the sink itself has refused any.
    fn take(
        &self,
        mut events: Vec<LogEvent>,
        counts: &SinkCounts,
        batcher: &mut Batcher,
        ready: &mut VecDeque<Batch>,
    ) -> bool {
        let unwanted: Vec<_> = events.extract_if(.., |event| !self.sink.wants(event)).collect();
        if counts.keeps_events() {
            LogEvent::detach_few(&mut events, &unwanted);
        }
        counts.settle_events(unwanted, &Outcome::Dropped(DropReason::Filtered));
        let mut has_refused = false;
        for event in events {
            has_refused |= self.take_one(event, counts, batcher, ready).is_err();
        }
        has_refused
    }

    /// Puts an event into its batch.
    fn take_one(
        &self,
        event: LogEvent,
        counts: &SinkCounts,
        batcher: &mut Batcher,
        ready: &mut VecDeque<Batch>,
    ) -> Result<(), PushError> {
        let partition = self.partition(&event);
        let partition_error = partition.as_ref().err().map(|error| error.reason.clone());
        let cuts = self.options.batch.when_event_too_large == Oversized::Truncate;
        let limit = if cuts { self.limits.max_event_bytes } else { usize::MAX };
        let shorter = with_shorter_message(&event, self.limits.max_message_bytes);
        let mut is_cut = shorter.is_some();
        let encode = |event: &LogEvent, out: &mut Vec<u8>| match (&partition_error, &shorter) {
            (Some(reason), _) => Err(reason.clone()),
            (None, Some(_)) if !cuts => {
                Err(format!("its message has more than {} bytes", self.limits.max_message_bytes))
            }
            (None, shorter) => {
                let encode = |event: &LogEvent, out: &mut Vec<u8>| self.sink.encode(event, out);
                let event = shorter.as_ref().unwrap_or(event);
                is_cut |= encode_within(event, limit, out, encode).map_err(|error| error.reason)?;
                Ok(())
            }
        };
        let pushed = batcher.push(partition.unwrap_or_default(), event, encode, ready);
        match &pushed {
            Ok(()) if is_cut => {
                counts.add_truncated(1);
                if let Some(unsaid) = self.truncate_log.allow() {
                    tracing::warn!(
                        sink = self.id,
                        unsaid,
                        "an event is larger than the destination takes: its message has been cut"
                    );
                }
            }
            Ok(()) => {}
            Err(error) => self.log_rejected(1, &error.to_string()),
        }
        pushed
    }

    /// The sink's own partition, and the values of headers that differ from event to event.
    fn partition(&self, event: &LogEvent) -> Result<Partition, EncodeError> {
        let mut partition = self.sink.partition(event)?;
        for (_, template) in self.headers.iter().filter(|(_, template)| template.as_static().is_none()) {
            partition
                .push(template.render(event).map_err(|error| EncodeError { reason: error.to_string() })?);
        }
        check_partition(&partition)?;
        Ok(partition)
    }
}

/// Bytes of what events of a request have in common, in all: its path, a tenant, the values of headers. Servers take some
/// 8 KiB of such, and it is kept for each of a thousand open batches, where the bytes of events are counted and these are
/// not: a field of a megabyte in a template must not make a gigabyte of them.
const MAX_PARTITION: usize = 16 << 10;

fn check_partition(partition: &Partition) -> Result<(), EncodeError> {
    let length: usize = partition.iter().map(String::len).sum();
    if length <= MAX_PARTITION {
        return Ok(());
    }
    Err(EncodeError {
        reason: format!(
            "what its fields make of the URI and the headers has {length} bytes, more than {MAX_PARTITION}; \
             expected short values in templates"
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_template_makes_of_a_huge_field_is_no_partition() {
        for (lengths, is_taken) in
            [(&[][..], true), (&[MAX_PARTITION], true), (&[MAX_PARTITION - 1, 2], false), (&[1 << 20], false)]
        {
            let partition = lengths.iter().map(|length| "x".repeat(*length)).collect();
            let checked = check_partition(&partition);
            assert_eq!(checked.is_ok(), is_taken, "{lengths:?}");
            assert!(checked.map_err(|error| error.reason.len() < 200).err().unwrap_or(true));
        }
    }

    #[test]
    fn what_is_kept_of_a_block_does_not_keep_the_whole() {
        let block: String = (0..8).map(|n| format!("{{\"n\":{n}}}")).collect();
        let block = bytes::Bytes::from(block);
        let is_in_block = |event: &LogEvent| block.as_ptr_range().contains(&event.json().as_ptr());
        for (wanted, expected) in [(3, false), (5, true)] {
            let slices = (0..8).map(|n| LogEvent::from_json(block.slice(n * 7..n * 7 + 7)).unwrap());
            let mut kept: Vec<_> = slices.collect();
            let left_out = kept.split_off(wanted);
            LogEvent::detach_few(&mut kept, &left_out);
            assert!(kept.iter().all(|event| is_in_block(event) == expected), "{wanted}");
            assert_eq!(kept[0].json(), "{\"n\":0}");
        }
    }
}
