//! What each sink may hold, so that all of them together stay below the memory that the process has.
//!
//! The limit, less what the process needs for itself, is divided: a sink that wants less than an equal part gets
//! what it wants, and the rest is for the others. A share is nobody else's, so that no destination that takes
//! nothing leaves less for one that does. Of its share, at least a half is the sink's buffer, unless that wants less;
//! the remainder is for the bodies that are made of events and wait for an answer.

use super::buffer::Capacity;
use crate::config::DEFAULT_BUFFER_BYTES;
use crate::memory::{ByteSize, LimitOrigin, MemoryLimit, detect, resident};
use std::num::NonZero;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::Semaphore;

/// What the process will need beside what it has at the start: code that has not run yet, what is read from the
/// network, connections.
const HEADROOM: usize = 16 << 20;

/// What a sink needs beside what it holds: its connections, and of a block that was read together the part that
/// others have let go of.
const PER_SINK: usize = 256 << 10;

/// What a sink has at least: it takes a message of some hundred kilobytes through every step.
const LEAST_SHARE: usize = 2 << 20;

/// What of a share is not for the buffer, if memory does not matter.
const WORK: usize = 160 << 20;

/// The bytes of a buffer that is measured in events: with so many for each, it is never full for its bytes, since
/// NATS has no larger messages by default.
const BYTES_OF_EVENT: usize = 1 << 20;

/// With so many for each, nobody will notice.
const USUAL_BYTES_OF_EVENT: usize = 16 << 10;

/// What the process may take, found out once, and what its sinks share.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    detected: Option<MemoryLimit>,
    at_start: usize,
    compressors: Arc<Semaphore>,
}

impl Memory {
    /// Looks at the system.
    pub(super) fn at_start() -> Memory {
        let root = Path::new("/");
        let detected = detect(root).map(|limit| MemoryLimit {
            // The kernel and whatever else runs there need some of it.
            bytes: limit.bytes / 5 * 4,
            ..limit
        });
        let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
        Memory {
            detected,
            at_start: resident(root).unwrap_or_default(),
            compressors: Arc::new(Semaphore::new(processors)),
        }
    }

    /// What each of the sinks may hold, whose buffers are to have these capacities.
    ///
    /// # Errors
    /// If the limit that somebody has set is too small for them.
    pub(super) fn plan(
        &self,
        limit: Option<MemoryLimit>,
        buffers: &[(String, Capacity)],
    ) -> Result<Plan, String> {
        let Some(limit) = limit.or_else(|| self.detected.clone()) else { return Ok(Plan::default()) };
        let sinks = buffers.len();
        let own = self.at_start + HEADROOM + sinks * PER_SINK;
        // An allocator cannot use every hole.
        let available = limit.bytes.saturating_sub(own) / 8 * 7;
        let is_enough = available >= sinks * LEAST_SHARE;
        let least = ByteSize(own + (sinks * LEAST_SHARE).div_ceil(7) * 8 + (1 << 20));
        if !is_enough && matches!(limit.origin, LimitOrigin::Option | LimitOrigin::Variable) {
            return Err(format!(
                "{} is too little for {sinks} {}; expected at least {least}",
                ByteSize(limit.bytes),
                if sinks == 1 { "sink" } else { "sinks" },
            ));
        }
        let wants: Vec<usize> =
            buffers.iter().map(|(_, buffer)| bytes_of(*buffer).saturating_add(WORK)).collect();
        let parts = divide(available.max(sinks * LEAST_SHARE), &wants);
        let shares =
            buffers.iter().zip(&parts).map(|((id, buffer), bytes)| (id.clone(), Share::new(*bytes, *buffer)));
        let too_little = (!is_enough).then(|| {
            format!(
                "{} of memory ({}) may be too little; {least} would be enough",
                ByteSize(limit.bytes),
                limit.origin
            )
        });
        Ok(Plan { limit: Some(limit), shares: shares.collect(), too_little })
    }

    /// What a sink gets that has this share.
    pub(super) fn of_sink(&self, share: &Share) -> SinkMemory {
        SinkMemory(Arc::new(Limits { compressors: Arc::clone(&self.compressors), ..Limits::new(share) }))
    }
}

/// Parts of a whole: each as it is wanted, or if there is not enough, an equal one of what is left by those who
/// want less.
fn divide(whole: usize, wants: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..wants.len()).collect();
    order.sort_by_key(|index| wants[*index]);
    let mut left = whole;
    let mut parts = vec![0; wants.len()];
    for (done, index) in order.into_iter().enumerate() {
        parts[index] = wants[index].min(left / (wants.len() - done));
        left -= parts[index];
    }
    parts
}

fn bytes_of(buffer: Capacity) -> usize {
    match buffer {
        Capacity::Bytes(bytes) | Capacity::EventsWithin { bytes, .. } => bytes,
        Capacity::Events(events) => events.saturating_mul(BYTES_OF_EVENT),
    }
}

/// What a buffer of this capacity needs for events as they usually are.
fn expected_bytes(buffer: Capacity) -> usize {
    match buffer {
        Capacity::Events(events) => events.saturating_mul(USUAL_BYTES_OF_EVENT),
        bytes => bytes_of(bytes),
    }
}

/// Who may hold how much.
#[derive(Clone, Debug, Default)]
pub(super) struct Plan {
    limit: Option<MemoryLimit>,
    shares: Vec<(String, Share)>,
    too_little: Option<String>,
}

/// What one sink may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Share {
    bytes: usize,
    /// Its buffer.
    pub(super) buffer: Capacity,
    wanted: Capacity,
    work: Work,
}

/// What a sink may hold beside its buffer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Work {
    batch: usize,
    open: usize,
    under_way: usize,
}

impl Work {
    /// If memory does not matter: so much open that many prefixes of objects can be filled for minutes, and so much
    /// under way that a destination which answers slowly gets enough requests.
    const FULL: Work = Work { batch: 32 << 20, open: 32 << 20, under_way: 16 << 20 };

    /// Of a body under way there are two copies, one of them compressed, and while that is made, a third; one more
    /// than the limit says may be under way, since none has to wait because it is large.
    fn within(bytes: usize) -> Work {
        if bytes >= WORK {
            return Work::FULL;
        }
        let full = Work::FULL;
        Work {
            batch: full.batch.min(bytes / 8),
            open: full.open.min(bytes / 4),
            under_way: full.under_way.min(bytes / 8),
        }
    }
}

impl Share {
    fn new(bytes: usize, wanted: Capacity) -> Share {
        let most = (bytes / 2).max(bytes.saturating_sub(WORK));
        let buffer = bytes_of(wanted).min(most);
        Share {
            bytes,
            buffer: match wanted {
                Capacity::Bytes(_) => Capacity::Bytes(buffer),
                Capacity::Events(events) | Capacity::EventsWithin { events, .. } => {
                    Capacity::EventsWithin { events, bytes: buffer }
                }
            },
            wanted,
            work: Work::within(bytes - buffer),
        }
    }

    fn full(buffer: Capacity) -> Share {
        let bytes = bytes_of(buffer).saturating_add(WORK);
        Share { bytes, buffer, wanted: buffer, work: Work::FULL }
    }

    fn is_cut(&self) -> bool {
        bytes_of(self.buffer) < expected_bytes(self.wanted)
    }

    fn is_small(&self) -> bool {
        self.is_cut() || self.work != Work::FULL
    }
}

impl Plan {
    /// The share of the sink of this id, whose buffer is to have this capacity.
    pub(super) fn share(&self, id: &str, wanted: Capacity) -> Share {
        let share = self.shares.iter().find(|(known, _)| known == id);
        share.map_or_else(|| Share::full(wanted), |(_, share)| *share)
    }

    /// The bytes that the shares are parts of, if there is a limit.
    pub(super) fn limit(&self) -> Option<usize> {
        self.limit.as_ref().map(|limit| limit.bytes)
    }

    /// The share of each sink, by its id.
    pub(super) fn shares(&self) -> impl Iterator<Item = (&String, &Share)> {
        self.shares.iter().map(|(id, share)| (id, share))
    }

    /// Says who has less than he would have with more memory.
    pub(super) fn announce(&self) {
        let Some(limit) = &self.limit else { return };
        if let Some(too_little) = &self.too_little {
            tracing::warn!("{too_little}");
        }
        let small = || self.shares.iter().filter(|(_, share)| share.is_small());
        if small().next().is_some() {
            let shares: Vec<_> =
                small().map(|(id, share)| format!("{id} {}", ByteSize(share.bytes))).collect();
            tracing::info!(
                "memory: at most {} ({}); what each sink may hold of it: {}",
                ByteSize(limit.bytes),
                limit.origin,
                shares.join(", ")
            );
        }
        for (id, share) in small().filter(|(_, share)| share.is_cut()) {
            let wanted = match share.wanted {
                // Nobody has asked for it.
                Capacity::Bytes(DEFAULT_BUFFER_BYTES) => continue,
                Capacity::Bytes(bytes) => format!("max_size: {bytes} bytes are"),
                Capacity::Events(events) | Capacity::EventsWithin { events, .. } => {
                    format!("max_events: {events} may be")
                }
            };
            tracing::warn!(
                "sinks.{id}.buffer.{wanted} more than its share of the memory holds; the buffer has {} bytes",
                bytes_of(share.buffer)
            );
        }
    }
}

/// What a sink may hold in memory beside its buffer. A reload may change it while the sink runs.
#[derive(Clone, Debug)]
pub struct SinkMemory(Arc<Limits>);

#[derive(Debug)]
struct Limits {
    batch: AtomicUsize,
    open: AtomicUsize,
    under_way: AtomicUsize,
    compressors: Arc<Semaphore>,
}

impl Limits {
    fn new(share: &Share) -> Limits {
        let Work { batch, open, under_way } = share.work;
        Limits {
            batch: batch.into(),
            open: open.into(),
            under_way: under_way.into(),
            compressors: Arc::new(Semaphore::new(1)),
        }
    }
}

/// As much as a sink ever gets.
impl Default for SinkMemory {
    fn default() -> SinkMemory {
        SinkMemory(Arc::new(Limits::new(&Share::full(Capacity::Bytes(0)))))
    }
}

impl SinkMemory {
    /// Bytes of one batch with all that belongs to it, unless it is a single event.
    pub fn batch(&self) -> usize {
        self.0.batch.load(Ordering::Relaxed)
    }

    /// Bytes of all batches that still take events; the largest makes room.
    pub fn open(&self) -> usize {
        self.0.open.load(Ordering::Relaxed)
    }

    /// Bytes of the batches that are being sent, before compression: while there are so many, no other begins.
    pub fn under_way(&self) -> usize {
        self.0.under_way.load(Ordering::Relaxed)
    }

    /// Who holds one of these may compress a body: for as long as that takes, there is one copy more of it. They are
    /// shared by all sinks.
    pub fn compressors(&self) -> Arc<Semaphore> {
        Arc::clone(&self.0.compressors)
    }

    /// For a sink that has so much beside its buffer.
    #[cfg(test)]
    pub(crate) fn within(bytes: usize) -> SinkMemory {
        SinkMemory(Arc::new(Limits::new(&Share {
            work: Work::within(bytes),
            ..Share::full(Capacity::Bytes(0))
        })))
    }

    pub(super) fn set(&self, share: &Share) {
        let Work { batch, open, under_way } = share.work;
        self.0.batch.store(batch, Ordering::Relaxed);
        self.0.open.store(open, Ordering::Relaxed);
        self.0.under_way.store(under_way, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const M: usize = 1 << 20;

    fn memory(at_start: usize) -> Memory {
        Memory { detected: None, at_start, compressors: Arc::new(Semaphore::new(1)) }
    }

    fn limit(bytes: usize, origin: LimitOrigin) -> Option<MemoryLimit> {
        Some(MemoryLimit { bytes, origin })
    }

    fn plan(bytes: usize, buffers: &[Capacity]) -> Result<Plan, String> {
        let buffers: Vec<_> =
            buffers.iter().enumerate().map(|(n, buffer)| (n.to_string(), *buffer)).collect();
        memory(16 * M).plan(limit(bytes, LimitOrigin::Option), &buffers)
    }

    #[test]
    fn with_much_memory_every_sink_has_all_it_wants() {
        let buffers = [Capacity::Bytes(16 * M), Capacity::Events(500), Capacity::Bytes(1 << 30)];
        let plan = plan(8 << 30, &buffers).unwrap();
        for (n, buffer) in buffers.into_iter().enumerate() {
            let share = plan.share(&n.to_string(), buffer);
            assert!(!share.is_small(), "{share:?}");
            assert_eq!((bytes_of(share.buffer), share.work), (bytes_of(buffer), Work::FULL));
        }
    }

    #[test]
    fn what_one_does_not_want_others_have() {
        // 16 MiB at the start, 16 for what comes, a quarter for each sink; and an eighth of the rest is lost.
        let plan = plan(512 * M, &[Capacity::Bytes(M), Capacity::Bytes(1 << 30)]).unwrap();
        let (small, large) = (plan.share("0", Capacity::Bytes(M)), plan.share("1", Capacity::Bytes(1 << 30)));
        assert_eq!((small.bytes, small.is_small()), (M + WORK, false));
        assert_eq!(large.bytes, (512 * M - 32 * M - M / 2) / 8 * 7 - M - WORK);
        assert_eq!(large.buffer, Capacity::Bytes(large.bytes / 2));
        assert!(large.is_cut());
    }

    #[test]
    fn too_little_is_said_with_what_is_enough() {
        let buffers = [Capacity::Bytes(16 * M); 25];
        let error = plan(64 * M, &buffers).unwrap_err();
        assert_eq!(error, "64 MiB is too little for 25 sinks; expected at least 96 MiB");
        let plan = plan(96 * M, &buffers).unwrap();
        assert_eq!(plan.too_little, None);
        let buffers = [("a".to_owned(), Capacity::Bytes(16 * M))];
        let plan = memory(16 * M).plan(limit(20 * M, LimitOrigin::Machine), &buffers).unwrap();
        assert_eq!(
            plan.too_little.as_deref(),
            Some("20 MiB of memory (the machine's memory) may be too little; 35 MiB would be enough")
        );
        assert_eq!(plan.share("a", Capacity::Bytes(16 * M)).bytes, LEAST_SHARE);
    }

    proptest! {
        /// The shares never exceed what there is; every sink gets something, and as much as others or all it wants.
        #[test]
        fn shares_stay_within_the_limit(
            sinks in prop::collection::vec((any::<bool>(), 1..2000usize), 1..=50),
            bytes in 0..2000usize,
        ) {
            let buffers: Vec<_> = sinks.iter().map(|(is_bytes, size)| match is_bytes {
                true => Capacity::Bytes(size << 18),
                false => Capacity::Events(*size),
            }).collect();
            let limit = bytes * M;
            let Ok(plan) = plan(limit, &buffers) else {
                prop_assert!(limit < 16 * M + HEADROOM + sinks.len() * (PER_SINK + LEAST_SHARE * 8 / 7) + 2 * M);
                return Ok(());
            };
            let shares: Vec<_> = plan.shares.iter().map(|(_, share)| *share).collect();
            let total: usize = shares.iter().map(|share| share.bytes).sum();
            prop_assert!(total + 16 * M + HEADROOM + sinks.len() * PER_SINK <= limit, "{total}");
            let most = shares.iter().map(|share| share.bytes).max().unwrap();
            for (share, wanted) in shares.iter().zip(&buffers) {
                prop_assert!(share.bytes >= LEAST_SHARE);
                let has_all = share.bytes == bytes_of(*wanted) + WORK;
                prop_assert!(has_all || share.bytes + 50 >= most, "{share:?} of {most}");
                let Work { batch, open, under_way } = share.work;
                // The worst case: one batch more than the limit under way, two copies of each, and one being made.
                let held = bytes_of(share.buffer) + open + 2 * (under_way + batch) + batch;
                prop_assert!(held <= share.bytes, "{share:?}: {held}");
                prop_assert!(batch > 0 && under_way > 0 && bytes_of(share.buffer) > 0);
            }
        }
    }
}
