//! What is measured of a sink beside its books.

use super::histogram::{Histogram, HistogramSnapshot, LAG, REQUESTS, ROUND_TRIP};
use super::http::{HttpMeters, HttpSnapshot};
use super::utilization::Utilization;
use crate::event::Timestamp;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

/// What is measured of a sink beside its books: once for each chunk, batch or request, and never for an event. A
/// sink that takes the place of another goes on with these.
#[derive(Debug)]
pub(crate) struct SinkMeters {
    received_bytes: AtomicU64,
    delivered_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    unsent: AtomicU64,
    buffer_sent: AtomicU64,
    held_batches: AtomicU64,
    held_events: AtomicU64,
    lag: Histogram,
    /// Of the last batch, in microseconds and one more; 0 is never.
    last_lag: AtomicU64,
    limit: Histogram,
    in_flight: Histogram,
    observed_rtt: Histogram,
    averaged_rtt: Histogram,
    http: HttpMeters,
    waiting: Utilization,
    buffer: Mutex<Option<Weak<dyn Fill>>>,
}

/// A longer lag counts as one of so much: an event may say that it is of 1970.
const LONGEST_LAG: Duration = Duration::from_secs(30 * 86400);

/// Where a buffer says what it holds.
pub(crate) trait Fill: fmt::Debug + Send + Sync {
    fn fill(&self) -> BufferFill;
}

/// What a sink's buffer holds and may hold.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferFill {
    /// `memory`, `disk` or `overflow`.
    pub kind: &'static str,
    /// How many bytes it holds: in memory about, on disk those of the files.
    pub bytes: u64,
    /// How many bytes it may hold; nothing if it counts events.
    pub max_bytes: Option<u64>,
    /// How many events it holds.
    pub events: u64,
    /// How many events it may hold; nothing if it counts bytes.
    pub max_events: Option<u64>,
}

/// What is measured of a sink, at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct MetersSnapshot {
    pub(crate) received_bytes: u64,
    pub(crate) delivered_bytes: u64,
    pub(crate) sent_bytes: u64,
    /// Events that the sink itself has refused.
    pub(crate) unsent: u64,
    pub(crate) buffer_sent: u64,
    pub(crate) lag: HistogramSnapshot,
    pub(crate) limit: HistogramSnapshot,
    pub(crate) in_flight: HistogramSnapshot,
    pub(crate) observed_rtt: HistogramSnapshot,
    pub(crate) averaged_rtt: HistogramSnapshot,
    pub(crate) http: HttpSnapshot,
    /// In thousandths.
    pub(crate) utilization: u64,
}

impl Default for SinkMeters {
    fn default() -> SinkMeters {
        SinkMeters {
            received_bytes: AtomicU64::default(),
            delivered_bytes: AtomicU64::default(),
            sent_bytes: AtomicU64::default(),
            unsent: AtomicU64::default(),
            buffer_sent: AtomicU64::default(),
            held_batches: AtomicU64::default(),
            held_events: AtomicU64::default(),
            lag: Histogram::new(&LAG),
            last_lag: AtomicU64::default(),
            limit: Histogram::new(&REQUESTS),
            in_flight: Histogram::new(&REQUESTS),
            observed_rtt: Histogram::new(&ROUND_TRIP),
            averaged_rtt: Histogram::new(&ROUND_TRIP),
            http: HttpMeters::default(),
            waiting: Utilization::of_waiting(),
            buffer: Mutex::default(),
        }
    }
}

fn add(counter: &AtomicU64, number: usize) {
    counter.fetch_add(number as u64, Ordering::Relaxed);
}

impl SinkMeters {
    /// Counts the bytes of events that were handed to the buffer.
    pub(crate) fn add_received_bytes(&self, bytes: usize) {
        add(&self.received_bytes, bytes);
    }

    /// Counts the bytes of events that were delivered, as they came.
    pub(crate) fn add_delivered_bytes(&self, bytes: usize) {
        add(&self.delivered_bytes, bytes);
    }

    /// Counts bytes that the destination has taken, as they were sent.
    pub(crate) fn add_sent_bytes(&self, bytes: usize) {
        add(&self.sent_bytes, bytes);
    }

    /// Counts events that the sink itself has refused.
    pub(crate) fn add_unsent(&self, events: usize) {
        add(&self.unsent, events);
    }

    /// Counts events that the sink has taken from its buffer.
    pub(crate) fn add_buffer_sent(&self, events: usize) {
        add(&self.buffer_sent, events);
    }

    /// A batch whose first event happened then has been delivered now.
    pub(crate) fn delivered(&self, time: Timestamp) {
        let nanos = Timestamp::now().nanos().saturating_sub(time.nanos());
        let lag = Duration::from_nanos(u64::try_from(nanos).unwrap_or(0)).min(LONGEST_LAG);
        self.lag.observe_time(lag);
        self.last_lag.store(lag.as_micros() as u64 + 1, Ordering::Relaxed);
    }

    /// Seconds from an event's own time to its delivery, of the last batch.
    pub(crate) fn last_lag(&self) -> Option<Duration> {
        self.last_lag.load(Ordering::Relaxed).checked_sub(1).map(Duration::from_micros)
    }

    /// A batch is held until the guard is dropped.
    pub(crate) fn hold(self: &Arc<Self>, events: usize) -> Held {
        add(&self.held_batches, 1);
        add(&self.held_events, events);
        Held { meters: Arc::clone(self), events }
    }

    /// Batches that are held, and their events.
    pub(crate) fn held(&self) -> (u64, u64) {
        (self.held_batches.load(Ordering::Relaxed), self.held_events.load(Ordering::Relaxed))
    }

    /// An attempt has ended, of so many under way, when so many were allowed; with the mean round trip of a window
    /// that has ended with it.
    pub(crate) fn adapted(
        &self,
        limit: usize,
        in_flight: usize,
        round_trip: Duration,
        mean: Option<Duration>,
    ) {
        self.limit.observe(limit as u64);
        self.in_flight.observe(in_flight as u64);
        self.observed_rtt.observe_time(round_trip);
        mean.iter().for_each(|mean| self.averaged_rtt.observe_time(*mean));
    }

    /// The requests.
    pub(crate) fn http(&self) -> &HttpMeters {
        &self.http
    }

    /// How long the sink waits for its buffer.
    pub(crate) fn waiting(&self) -> &Utilization {
        &self.waiting
    }

    /// Who says what the buffer holds.
    pub(crate) fn set_buffer(&self, buffer: Weak<dyn Fill>) {
        *self.buffer.lock().unwrap_or_else(PoisonError::into_inner) = Some(buffer);
    }

    /// What the buffer holds, if there is one.
    pub(crate) fn buffer(&self) -> Option<BufferFill> {
        let buffer = self.buffer.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Some(buffer?.upgrade()?.fill())
    }

    pub(crate) fn snapshot(&self) -> MetersSnapshot {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        MetersSnapshot {
            received_bytes: read(&self.received_bytes),
            delivered_bytes: read(&self.delivered_bytes),
            sent_bytes: read(&self.sent_bytes),
            unsent: read(&self.unsent),
            buffer_sent: read(&self.buffer_sent),
            lag: self.lag.snapshot(),
            limit: self.limit.snapshot(),
            in_flight: self.in_flight.snapshot(),
            observed_rtt: self.observed_rtt.snapshot(),
            averaged_rtt: self.averaged_rtt.snapshot(),
            http: self.http.snapshot(),
            utilization: (self.waiting.share() * 1000.0).round() as u64,
        }
    }
}

/// A batch that is held, for as long as this exists.
#[derive(Debug)]
pub(crate) struct Held {
    meters: Arc<SinkMeters>,
    events: usize,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.meters.held_batches.fetch_sub(1, Ordering::Relaxed);
        self.meters.held_events.fetch_sub(self.events as u64, Ordering::Relaxed);
    }
}
