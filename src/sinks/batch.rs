//! Batches: events encoded straight into the body they will be sent in.

use super::codec::Framing;
use super::truncate::Oversized;
use crate::config::Seconds;
use crate::event::{LogEvent, Timestamp};
use crate::topology::{Outcome, Receipts, Rejection, SinkCounts, SinkMemory};
use bytes::Bytes;
use foldhash::fast::RandomState;
use schemars::JsonSchema;
use serde::Deserialize;
use snafu::Snafu;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When a batch is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchLimits {
    /// Bytes of the encoded body with its framing, before compression.
    pub max_bytes: usize,
    /// Events.
    pub max_events: usize,
    /// The age of its first event.
    pub timeout: Duration,
    /// Bytes of one encoded event; of a larger one the message is cut, or it is rejected. Default: no limit,
    /// so that an event larger than a batch is sent alone.
    pub max_event_bytes: usize,
    /// Bytes of an event's message itself, before it is encoded; of a longer one the rest is cut, or the event
    /// is rejected. Default: no limit.
    pub max_message_bytes: usize,
}

impl BatchLimits {
    /// Vector's limits for most HTTP sinks: 10 MB, a second.
    pub const DEFAULT: BatchLimits = BatchLimits {
        max_bytes: 10_000_000,
        max_events: usize::MAX,
        timeout: Duration::from_secs(1),
        max_event_bytes: usize::MAX,
        max_message_bytes: usize::MAX,
    };
}

/// The `batch` table of a sink.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchConfig {
    /// Bytes of the encoded body, before compression.
    pub max_bytes: Option<usize>,
    /// Events.
    pub max_events: Option<usize>,
    /// Seconds after its first event at which a batch is sent, full or not.
    pub timeout_secs: Option<Seconds>,
    /// Bytes of one encoded event (log-shipper's own option). Default: what the vendor takes.
    pub max_event_bytes: Option<usize>,
    /// What becomes of a larger one (log-shipper's own option). Default: its message is cut.
    #[serde(default)]
    pub when_event_too_large: Oversized,
}

impl BatchConfig {
    /// The sink's limits with the user's in their place.
    ///
    /// # Errors
    /// If a limit is zero, or above one that the vendor sets (`vendor`: bytes and events).
    pub fn limits(&self, default: BatchLimits, vendor: (usize, usize)) -> Result<BatchLimits, String> {
        let limit = |name: &str, value: Option<usize>, default: usize, vendor: usize| match value {
            None => Ok(default),
            Some(0) => Err(format!("batch.{name}: 0 is too little; expected at least 1")),
            Some(value) if value > vendor => Err(format!(
                "batch.{name}: {value} is more than the destination takes; expected at most {vendor}"
            )),
            Some(value) => Ok(value),
        };
        Ok(BatchLimits {
            max_bytes: limit("max_bytes", self.max_bytes, default.max_bytes, vendor.0)?,
            max_events: limit("max_events", self.max_events, default.max_events, vendor.1)?,
            timeout: self.timeout_secs.map_or(default.timeout, |seconds| seconds.0),
            max_event_bytes: limit(
                "max_event_bytes",
                self.max_event_bytes,
                default.max_event_bytes,
                usize::MAX,
            )?,
            max_message_bytes: default.max_message_bytes,
        })
    }
}

/// What events must have in common to share a request: the rendered parts of its URI and headers.
pub type Partition = Vec<String>;

/// Encoded events on their way: a body, and where in it each entry stands.
#[derive(Debug)]
pub struct Batch {
    id: u128,
    time: Timestamp,
    is_part: bool,
    partition: Partition,
    framing: Arc<Framing>,
    body: Bytes,
    entries: Vec<Range<usize>>,
    receipts: Receipts,
}

/// What a place in a body needs, and room for more of them.
const SIZE_OF_ENTRY: usize = size_of::<Range<usize>>() * 3 / 2;

/// What an event's receipt needs, if somebody asks for one.
const SIZE_OF_RECEIPT: usize = 64;

impl Batch {
    /// One without events, for a look at the request that carries it.
    pub(super) fn empty(partition: Partition) -> Batch {
        Batch {
            id: 0,
            time: Timestamp::from_nanos(0),
            is_part: false,
            partition,
            framing: Arc::new(Framing::JSON_ARRAY),
            body: Bytes::new(),
            entries: Vec::new(),
            receipts: Receipts::new(Arc::default()),
        }
    }

    /// A number of its own, made at random; the halves of a split batch, and what a partial answer leaves of
    /// one, have others.
    pub fn id(&self) -> u128 {
        self.id
    }

    /// Whether it is a part of what was one batch.
    pub fn is_part(&self) -> bool {
        self.is_part
    }

    /// When its first event happened.
    pub fn time(&self) -> Timestamp {
        self.time
    }

    /// What its events have in common.
    pub fn partition(&self) -> &[String] {
        &self.partition
    }

    /// How many events it has.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether it has none (left).
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many bytes it holds in memory, about.
    pub(super) fn size(&self) -> usize {
        self.body.len() + self.entries.len() * SIZE_OF_ENTRY + self.receipts.size()
    }

    /// The encoded events, without their framing.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.entries.iter().map(|range| &self.body[range.clone()])
    }

    /// All of it, framed.
    pub fn body(&self) -> Bytes {
        self.body.clone()
    }

    /// Whether all its events become dead letters if they are refused.
    pub(super) fn keeps_events(&self) -> bool {
        self.receipts.keep_events()
    }

    /// Whether its events are not to be held for long.
    pub(super) fn is_hold_urgent(&self) -> bool {
        self.keeps_events() && self.receipts.counts().is_hold_urgent()
    }

    /// Waits until there is room for its events among the dead letters, if there are any.
    pub(super) async fn room_for_dead_letters(&self) {
        self.receipts.counts().room_for_dead_letters().await;
    }

    /// Answers for all its events. A batch that is dropped without it counts as unanswered.
    pub fn settle(mut self, outcome: &Outcome) {
        self.receipts.settle(outcome);
    }

    /// Answers for all its events, of which so many were refused, and nobody knows which.
    pub(super) fn settle_some(mut self, rejected: usize, rejection: Rejection) {
        self.receipts.settle_some(rejected, rejection);
    }

    /// Answers for each event that `judge` has an outcome for, and keeps the others.
    pub(super) fn settle_each(mut self, judge: impl Fn(usize) -> Option<Outcome>) -> Batch {
        let kept: Vec<_> = (0..self.len()).filter(|index| judge(*index).is_none()).collect();
        self.receipts.settle_each(&judge);
        let mut rest =
            OpenBatch::new(self.partition.clone(), Arc::clone(&self.framing), self.time, self.body.len());
        for index in &kept {
            rest.add(&self.body[self.entries[*index].clone()]);
        }
        let (body, entries) = rest.finish_body();
        Batch { id: rand::random(), is_part: true, body, entries, ..self }
    }

    /// The first and the second half; of a single event, nothing is left for the second.
    pub(super) fn split(mut self) -> (Batch, Batch) {
        let middle = self.len().div_ceil(2);
        let second_receipts = self.receipts.split_off(middle);
        let half = |entries: &[Range<usize>], receipts| {
            let (partition, framing) = (self.partition.clone(), Arc::clone(&self.framing));
            let mut open = OpenBatch::new(partition, framing, self.time, self.body.len() / 2);
            entries.iter().for_each(|range| open.add(&self.body[range.clone()]));
            Batch { is_part: true, ..open.finish(receipts) }
        };
        let (first, second) = self.entries.split_at(middle);
        let second = half(second, second_receipts);
        let first = half(first, self.receipts);
        (first, second)
    }
}

/// A batch that still takes events.
#[derive(Debug)]
struct OpenBatch {
    time: Timestamp,
    partition: Partition,
    framing: Arc<Framing>,
    body: Vec<u8>,
    entries: Vec<Range<usize>>,
}

impl OpenBatch {
    fn new(partition: Partition, framing: Arc<Framing>, time: Timestamp, capacity: usize) -> OpenBatch {
        let mut body = Vec::with_capacity(capacity);
        body.extend_from_slice(&framing.prefix);
        OpenBatch { time, partition, framing, body, entries: Vec::new() }
    }

    fn separate(&mut self) {
        if !self.entries.is_empty() {
            self.body.extend_from_slice(&self.framing.separator);
        }
    }

    fn add(&mut self, entry: &[u8]) {
        self.separate();
        let start = self.body.len();
        self.body.extend_from_slice(entry);
        self.entries.push(start..self.body.len());
    }

    fn finished_len(&self) -> usize {
        self.body.len() + self.framing.suffix.len()
    }

    fn finish_body(mut self) -> (Bytes, Vec<Range<usize>>) {
        self.body.extend_from_slice(&self.framing.suffix);
        // It may have to wait for long; what it does not need is for others.
        if self.body.capacity() / 5 * 4 > self.body.len() {
            self.body.shrink_to_fit();
        }
        (self.body.into(), self.entries)
    }

    fn finish(self, receipts: Receipts) -> Batch {
        let (time, partition, framing) = (self.time, self.partition.clone(), Arc::clone(&self.framing));
        let (body, entries) = self.finish_body();
        Batch { id: rand::random(), time, is_part: false, partition, framing, body, entries, receipts }
    }
}

/// Collects events into batches, one open batch for each partition.
#[derive(Debug)]
pub struct Batcher {
    limits: BatchLimits,
    framing: Arc<Framing>,
    counts: Arc<SinkCounts>,
    /// Looked into for every event, hence the quick hash.
    open: HashMap<Partition, Opened, RandomState>,
    /// The bytes that all open batches hold.
    open_bytes: usize,
    memory: SinkMemory,
    /// The size of the last full batch: what the next one will need.
    usual_size: usize,
}

#[derive(Debug)]
struct Opened {
    batch: OpenBatch,
    receipts: Receipts,
    since: Instant,
}

impl Opened {
    /// How many bytes it holds in memory, about.
    fn size(&self) -> usize {
        self.batch.body.len().max(LEAST_ROOM)
            + self.batch.entries.len() * SIZE_OF_ENTRY
            + self.receipts.size()
    }
}

/// Room for the first events of a batch.
const LEAST_ROOM: usize = 4 << 10;

/// How many batches are open at once; the oldest makes room for one more, so that a template that is
/// different for every event costs requests, and not memory.
const MAX_OPEN: usize = 1000;

/// An event did not get into a batch.
#[derive(Debug, PartialEq, Eq, Snafu)]
#[non_exhaustive]
pub enum PushError {
    /// It could not be encoded.
    #[snafu(display("{reason}"))]
    Encode {
        /// Why.
        reason: String,
    },
    /// It is larger than the destination takes.
    #[snafu(display("it has {size} bytes, and the destination takes at most {limit}"))]
    TooLarge {
        /// The bytes it has.
        size: usize,
        /// The bytes it may have.
        limit: usize,
    },
}

impl Batcher {
    /// No batches yet; events that get into none are counted in these books.
    pub fn new(limits: BatchLimits, framing: Framing, counts: Arc<SinkCounts>) -> Batcher {
        let framing = Arc::new(framing);
        Batcher {
            limits,
            framing,
            counts,
            open: HashMap::default(),
            open_bytes: 0,
            memory: SinkMemory::default(),
            usual_size: LEAST_ROOM,
        }
    }

    /// The same, with so much memory: batches become smaller than the destination takes, if need be.
    #[must_use]
    pub fn with_memory(self, memory: SinkMemory) -> Batcher {
        Batcher { memory, ..self }
    }

    /// Encodes an event into the open batch of its partition, and hands every batch that is full then
    /// to `ready`.
    ///
    /// # Errors
    /// If the event gets into none; it has then been answered for as rejected.
    pub fn push(
        &mut self,
        partition: Partition,
        event: LogEvent,
        encode: impl FnOnce(&LogEvent, &mut Vec<u8>) -> Result<(), String>,
        ready: &mut impl Extend<Batch>,
    ) -> Result<(), PushError> {
        let limits = self.limits;
        if self.open.len() >= MAX_OPEN && !self.open.contains_key(&partition) {
            let oldest = self.open.iter().min_by_key(|(_, opened)| opened.since);
            let oldest = oldest.map(|(partition, _)| partition.clone()).unwrap_or_default();
            ready.extend(self.close(&oldest));
        }
        // Room for a whole batch, but not for many of them at once.
        let room = if self.open.is_empty() { self.usual_size } else { LEAST_ROOM };
        let opened = self.open.entry(partition).or_insert_with_key(|partition| Opened {
            batch: OpenBatch::new(partition.clone(), Arc::clone(&self.framing), event.timestamp(), room),
            receipts: Receipts::new(Arc::clone(&self.counts)),
            since: Instant::now(),
        });
        let mark = opened.batch.body.len();
        // A batch without entries has just been opened.
        let counted = if opened.batch.entries.is_empty() { 0 } else { opened.size() };
        let most = self.memory.batch();
        opened.batch.separate();
        let start = opened.batch.body.len();
        let encoded = encode(&event, &mut opened.batch.body).map_err(|reason| PushError::Encode { reason });
        let size = opened.batch.body.len() - start;
        let is_too_large = size > limits.max_event_bytes;
        let too_large = PushError::TooLarge { size, limit: limits.max_event_bytes };
        let checked = encoded.and(if is_too_large { Err(too_large) } else { Ok(()) });
        if let Err(error) = checked {
            opened.batch.body.truncate(mark);
            if opened.batch.entries.is_empty() {
                let partition = opened.batch.partition.clone();
                self.open.remove(&partition);
            }
            self.counts.settle_events(vec![event], &Outcome::unsent(error.to_string()));
            return Err(error);
        }
        let needed = opened.size() + SIZE_OF_ENTRY + SIZE_OF_RECEIPT;
        let is_too_much = opened.batch.finished_len() > limits.max_bytes || needed > most;
        if is_too_much && !opened.batch.entries.is_empty() {
            // It does not fit any more: it becomes the first of the next batch.
            let (partition, framing) = (opened.batch.partition.clone(), Arc::clone(&self.framing));
            let mut next = OpenBatch::new(partition, framing, event.timestamp(), opened.batch.body.len());
            next.add(&opened.batch.body[start..]);
            opened.batch.body.truncate(mark);
            self.usual_size = opened.batch.finished_len();
            let full = std::mem::replace(&mut opened.batch, next);
            let receipts = std::mem::replace(&mut opened.receipts, Receipts::new(Arc::clone(&self.counts)));
            opened.since = Instant::now();
            ready.extend([full.finish(receipts)]);
        } else {
            opened.batch.entries.push(start..start + size);
        }
        opened.receipts.push(event);
        self.open_bytes = self.open_bytes + opened.size() - counted;
        let batch = &opened.batch;
        if batch.finished_len() >= limits.max_bytes
            || batch.entries.len() >= limits.max_events
            || opened.size() >= most
        {
            let partition = opened.batch.partition.clone();
            self.usual_size = opened.batch.finished_len();
            ready.extend(self.close(&partition));
        }
        while self.open_bytes > self.memory.open() {
            let largest = self.open.iter().max_by_key(|(_, opened)| opened.size());
            let Some(largest) = largest.map(|(partition, _)| partition.clone()) else { break };
            ready.extend(self.close(&largest));
        }
        Ok(())
    }

    /// When the oldest open batch is to be sent.
    pub fn deadline(&self) -> Option<Instant> {
        self.open.values().map(|opened| opened.since + self.limits.timeout).min()
    }

    /// The batches whose time has come.
    pub fn close_expired(&mut self, now: Instant) -> Vec<Batch> {
        let expired = self.open.iter().filter(|(_, opened)| opened.since + self.limits.timeout <= now);
        let expired: Vec<_> = expired.map(|(partition, _)| partition.clone()).collect();
        expired.iter().filter_map(|partition| self.close(partition)).collect()
    }

    /// All open batches.
    pub fn close_all(&mut self) -> Vec<Batch> {
        self.open_bytes = 0;
        self.open.drain().map(|(_, opened)| opened.batch.finish(opened.receipts)).collect()
    }

    fn close(&mut self, partition: &Partition) -> Option<Batch> {
        let opened = self.open.remove(partition)?;
        self.open_bytes -= opened.size();
        Some(opened.batch.finish(opened.receipts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LIMITS: BatchLimits = BatchLimits { max_bytes: 20, max_events: 4, ..BatchLimits::DEFAULT };

    fn batcher(limits: BatchLimits, framing: Framing) -> (Batcher, Arc<SinkCounts>) {
        let counts = Arc::new(SinkCounts::default());
        (Batcher::new(limits, framing, Arc::clone(&counts)), counts)
    }

    /// Pushes an entry of that text.
    fn push(
        batcher: &mut Batcher,
        counts: &SinkCounts,
        partition: &str,
        text: &str,
        ready: &mut Vec<Batch>,
    ) -> Result<(), PushError> {
        counts.add_received(1);
        let event = LogEvent::from_json("{}".into()).unwrap();
        let encode = |_: &LogEvent, out: &mut Vec<u8>| {
            out.extend_from_slice(text.as_bytes());
            if text == "bad" { Err("bad".to_owned()) } else { Ok(()) }
        };
        batcher.push(vec![partition.to_owned()], event, encode, ready)
    }

    fn bodies(batches: &[Batch]) -> Vec<String> {
        batches.iter().map(|batch| String::from_utf8(batch.body().to_vec()).unwrap()).collect()
    }

    #[test]
    fn closes_by_bytes_and_by_count() {
        let (mut batcher, counts) = batcher(LIMITS, Framing::JSON_ARRAY);
        let mut ready = Vec::new();
        for text in ["aaaaaa", "bbbbbb", "cccccc", "d", "e", "f", "g", "hhhhhhhhhhhhhhhhhhhhhhhhhh", "i"] {
            push(&mut batcher, &counts, "p", text, &mut ready).unwrap();
        }
        ready.extend(batcher.close_all());
        assert_eq!(
            bodies(&ready),
            ["[aaaaaa,bbbbbb]", "[cccccc,d,e,f]", "[g]", "[hhhhhhhhhhhhhhhhhhhhhhhhhh]", "[i]"]
        );
        ready.into_iter().for_each(|batch| batch.settle(&Outcome::Delivered));
        assert_eq!(counts.snapshot().delivered, 9);
    }

    #[test]
    fn keeps_partitions_apart_and_closes_by_time() {
        let (mut batcher, counts) = batcher(LIMITS, Framing::NEWLINE_DELIMITED);
        let mut ready = Vec::new();
        for (partition, text) in [("p", "1"), ("q", "2"), ("p", "3")] {
            push(&mut batcher, &counts, partition, text, &mut ready).unwrap();
        }
        let deadline = batcher.deadline().unwrap();
        assert!(batcher.close_expired(deadline - Duration::from_millis(1)).is_empty());
        let mut expired = batcher.close_expired(deadline + Duration::from_secs(1));
        expired.sort_by(|a, b| a.partition().cmp(b.partition()));
        assert_eq!(bodies(&expired), ["1\n3\n", "2\n"]);
        assert_eq!(batcher.deadline(), None);
    }

    #[test]
    fn batches_stay_within_the_memory_of_the_sink() {
        // An eighth for a batch, a quarter for all that are open.
        let memory = SinkMemory::within(64 << 10);
        let (batcher, counts) = batcher(BatchLimits::DEFAULT, Framing::JSON_ARRAY);
        let mut batcher = batcher.with_memory(memory.clone());
        let mut ready = Vec::new();
        let text = "x".repeat(1000);
        for n in 0..200 {
            push(&mut batcher, &counts, &(n % 3).to_string(), &text, &mut ready).unwrap();
            let open: usize = batcher.open.values().map(Opened::size).sum();
            assert_eq!(open, batcher.open_bytes);
            assert!(open <= memory.open(), "{open}");
        }
        assert!(ready.len() > 200 / 10 && ready.iter().all(|batch| batch.size() <= memory.batch()));
        // One that is larger than all of it goes alone.
        ready.clear();
        push(&mut batcher, &counts, "0", &text.repeat(100), &mut ready).unwrap();
        assert_eq!(ready.pop().map(|batch| batch.len()), Some(1));
        batcher.close_all();
        assert_eq!(batcher.open_bytes, 0);
    }

    #[test]
    fn an_event_that_gets_into_no_batch_is_rejected_and_leaves_no_trace() {
        let limits = BatchLimits { max_event_bytes: 5, ..LIMITS };
        let (mut batcher, counts) = batcher(limits, Framing::JSON_ARRAY);
        let mut ready = Vec::new();
        assert_eq!(
            push(&mut batcher, &counts, "p", "bad", &mut ready),
            Err(PushError::Encode { reason: "bad".into() })
        );
        assert_eq!(batcher.deadline(), None);
        push(&mut batcher, &counts, "p", "1", &mut ready).unwrap();
        push(&mut batcher, &counts, "p", "bad", &mut ready).unwrap_err();
        assert_eq!(
            push(&mut batcher, &counts, "p", "toolong", &mut ready),
            Err(PushError::TooLarge { size: 7, limit: 5 })
        );
        push(&mut batcher, &counts, "p", "2", &mut ready).unwrap();
        assert_eq!(bodies(&batcher.close_all()), ["[1,2]"]);
        assert_eq!(counts.snapshot().rejected, 3);
    }

    #[test]
    fn splits_and_keeps_what_is_not_settled() {
        let (mut batcher, counts) = batcher(BatchLimits::DEFAULT, Framing::JSON_ARRAY);
        let mut ready = Vec::new();
        for n in 0..5 {
            push(&mut batcher, &counts, "p", &n.to_string(), &mut ready).unwrap();
        }
        let (first, second) = batcher.close_all().remove(0).split();
        assert_eq!(bodies(&[first, second]), ["[0,1,2]", "[3,4]"]);
        assert_eq!(counts.snapshot().dropped_total(), 5, "dropped without an answer");

        for n in 0..5 {
            push(&mut batcher, &counts, "p", &n.to_string(), &mut ready).unwrap();
        }
        let batch = batcher.close_all().remove(0);
        let rest = batch.settle_each(|index| (index % 2 == 0).then_some(Outcome::Delivered));
        assert_eq!(rest.entries().collect::<Vec<_>>(), [b"1", b"3"]);
        assert_eq!(bodies(&[rest]), ["[1,3]"]);
        assert_eq!(counts.snapshot().delivered, 3);
    }

    #[test]
    fn the_users_limits_are_checked() {
        let limits = |text: &str| {
            let config: BatchConfig = toml::from_str(text).map_err(|error| error.message().to_owned())?;
            config.limits(LIMITS, (1000, 10))
        };
        assert_eq!(limits("").unwrap(), LIMITS);
        assert_eq!(
            limits("max_bytes = 1000\ntimeout_secs = 0.5").unwrap().timeout,
            Duration::from_millis(500)
        );
        assert!(limits("max_bytes = 1001").unwrap_err().contains("at most 1000"));
        assert!(limits("max_events = 11").unwrap_err().contains("at most 10"));
        assert!(limits("max_events = 0").unwrap_err().contains("at least 1"));
        assert!(limits("timeout_secs = 0").unwrap_err().contains("more than zero"));
    }

    proptest! {
        #[test]
        fn every_event_is_in_one_batch_in_order_and_within_the_limits(
            sizes in prop::collection::vec((0..3usize, 1..30usize), 0..60),
            max_bytes in 4..60usize,
            max_events in 1..8usize,
        ) {
            let limits = BatchLimits { max_bytes, max_events, ..BatchLimits::DEFAULT };
            let (mut batcher, counts) = batcher(limits, Framing::JSON_ARRAY);
            let mut ready = Vec::new();
            let mut expected = [Vec::new(), Vec::new(), Vec::new()];
            for (n, (partition, size)) in sizes.iter().enumerate() {
                let text = format!("{n}").repeat(*size);
                push(&mut batcher, &counts, &partition.to_string(), &text, &mut ready).unwrap();
                expected[*partition].push(text);
            }
            ready.extend(batcher.close_all());
            let mut seen = [Vec::new(), Vec::new(), Vec::new()];
            for batch in &ready {
                prop_assert!(batch.len() <= max_events && !batch.is_empty());
                prop_assert!(batch.body().len() <= max_bytes || batch.len() == 1);
                let partition: usize = batch.partition()[0].parse().unwrap();
                seen[partition].extend(batch.entries().map(|entry| String::from_utf8(entry.to_vec()).unwrap()));
            }
            prop_assert_eq!(seen, expected);
            prop_assert_eq!(counts.snapshot().buffered, sizes.len() as u64);
        }
    }
}
