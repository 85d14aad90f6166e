//! [`Histogram`]: how often a number was how large, in fixed buckets.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The buckets of a histogram, and its unit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Buckets {
    /// The upper bounds, the smallest first, in the unit; what is larger goes into one more.
    bounds: &'static [u64],
    /// So many of the unit are one of what is shown.
    per_shown: u64,
}

/// Times are counted in microseconds and shown in seconds.
const MICROS: u64 = 1_000_000;

/// From an event's own time to its delivery: 10 ms to an hour.
pub(crate) static LAG: Buckets = Buckets {
    bounds: &[
        10_000,
        50_000,
        100_000,
        250_000,
        500_000,
        MICROS,
        5 * MICROS / 2,
        5 * MICROS,
        10 * MICROS,
        30 * MICROS,
        60 * MICROS,
        300 * MICROS,
        900 * MICROS,
        3600 * MICROS,
    ],
    per_shown: MICROS,
};

/// From a request to its answer: 5 ms to a minute.
pub(crate) static ROUND_TRIP: Buckets = Buckets {
    bounds: &[
        5_000,
        10_000,
        25_000,
        50_000,
        100_000,
        250_000,
        500_000,
        MICROS,
        5 * MICROS / 2,
        5 * MICROS,
        10 * MICROS,
        30 * MICROS,
        60 * MICROS,
    ],
    per_shown: MICROS,
};

/// How many requests there are, or may be.
pub(crate) static REQUESTS: Buckets = Buckets { bounds: &[1, 2, 4, 8, 16, 32, 64, 128, 256], per_shown: 1 };

/// Numbers by their size. No lock: what is read while something is written may lack that.
#[derive(Debug)]
pub(crate) struct Histogram {
    buckets: &'static Buckets,
    /// How many fell into each bucket, and not into the ones before.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// A histogram at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HistogramSnapshot {
    buckets: &'static Buckets,
    counts: Vec<u64>,
    sum: u64,
}

impl Histogram {
    pub(crate) fn new(buckets: &'static Buckets) -> Histogram {
        let counts = (0..=buckets.bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Histogram { buckets, counts, sum: AtomicU64::new(0) }
    }

    /// Takes note of a number, in the unit of the buckets.
    pub(crate) fn observe(&self, number: u64) {
        let place = self.buckets.bounds.partition_point(|bound| *bound < number);
        if let Some(count) = self.counts.get(place) {
            count.fetch_add(1, Ordering::Relaxed);
            self.sum.fetch_add(number, Ordering::Relaxed);
        }
    }

    pub(crate) fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_micros()).unwrap_or(u64::MAX));
    }

    pub(crate) fn snapshot(&self) -> HistogramSnapshot {
        HistogramSnapshot {
            buckets: self.buckets,
            counts: self.counts.iter().map(|count| count.load(Ordering::Relaxed)).collect(),
            sum: self.sum.load(Ordering::Relaxed),
        }
    }
}

impl HistogramSnapshot {
    /// How many numbers there were.
    pub(crate) fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Their sum, as it is shown.
    pub(crate) fn sum(&self) -> f64 {
        self.sum as f64 / self.buckets.per_shown as f64
    }

    /// The upper bound of each bucket as it is shown, and how many numbers are at most so large; the last is `+Inf`.
    pub(crate) fn cumulative(&self) -> impl Iterator<Item = (String, u64)> {
        let shown = |bound: &u64| (*bound as f64 / self.buckets.per_shown as f64).to_string();
        let bounds = self.buckets.bounds.iter().map(shown).chain(["+Inf".to_owned()]);
        let mut below = 0;
        bounds.zip(&self.counts).map(move |(bound, count)| {
            below += count;
            (bound, below)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_in_the_bucket_of_its_bound() {
        let histogram = Histogram::new(&LAG);
        for millis in [0, 10, 11, 2_500, 3_600_000, 3_600_001] {
            histogram.observe_time(Duration::from_millis(millis));
        }
        let now = histogram.snapshot();
        let below = |bound: &str| now.cumulative().find(|(other, _)| other == bound).unwrap().1;
        assert_eq!(["0.01", "0.05", "1", "2.5", "900", "3600", "+Inf"].map(below), [2, 3, 3, 4, 4, 5, 6]);
        assert_eq!((now.count(), now.sum()), (6, 7202.522));
    }

    #[test]
    fn the_bounds_go_up() {
        for buckets in [&LAG, &ROUND_TRIP, &REQUESTS] {
            assert!(buckets.bounds.is_sorted_by(|a, b| a < b), "{buckets:?}");
        }
    }
}
