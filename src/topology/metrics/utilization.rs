//! [`Utilization`]: the share of time for which a component is at work.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The share is that of at least so much time.
const WINDOW: Duration = Duration::from_secs(5);

/// How long a component has worked, or waited, and what share of the time that is. The share is worked out when
/// somebody asks: there is no task for it.
#[derive(Debug)]
pub(crate) struct Utilization {
    start: Instant,
    /// Microseconds that were worked, or waited, and have ended.
    spent: AtomicU64,
    /// Microseconds from the start to when what has not ended began; 0 if there is nothing.
    since: AtomicU64,
    /// Whether what is measured is waiting.
    measures_waiting: bool,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    begin: u64,
    spent: u64,
    /// The share of the last whole window.
    last: Option<f64>,
}

impl Utilization {
    /// For what says when it works.
    pub(crate) fn of_work() -> Utilization {
        Utilization::new(false)
    }

    /// For what says when it waits for input: the rest of the time it works, or waits for others.
    pub(crate) fn of_waiting() -> Utilization {
        Utilization::new(true)
    }

    fn new(measures_waiting: bool) -> Utilization {
        Utilization {
            start: Instant::now(),
            spent: AtomicU64::new(0),
            since: AtomicU64::new(0),
            measures_waiting,
            window: Mutex::default(),
        }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.start.elapsed().as_micros()).unwrap_or(u64::MAX)
    }

    /// What is measured goes on until the guard is dropped. One at a time: of several, the last one counts.
    pub(crate) fn begin(&self) -> Spending<'_> {
        let since = self.now().max(1);
        self.since.store(since, Ordering::Relaxed);
        Spending { utilization: self, since }
    }

    /// The share now, 0 to 1.
    pub(crate) fn share(&self) -> f64 {
        self.share_at(self.now())
    }

    fn share_at(&self, now: u64) -> f64 {
        let since = self.since.load(Ordering::Relaxed);
        let under_way = if since == 0 { 0 } else { now.saturating_sub(since) };
        let spent = self.spent.load(Ordering::Relaxed) + under_way;
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        let length = now.saturating_sub(window.begin);
        let is_whole = u128::from(length) >= WINDOW.as_micros();
        if let Some(last) = window.last.filter(|_| !is_whole) {
            return last;
        }
        if length == 0 {
            return 0.0;
        }
        let share = (spent.saturating_sub(window.spent) as f64 / length as f64).min(1.0);
        let share = if self.measures_waiting { 1.0 - share } else { share };
        if is_whole {
            *window = Window { begin: now, spent, last: Some(share) };
        }
        share
    }
}

/// What is measured is under way, for as long as this exists.
pub(crate) struct Spending<'a> {
    utilization: &'a Utilization,
    since: u64,
}

impl Drop for Spending<'_> {
    fn drop(&mut self) {
        let utilization = self.utilization;
        utilization.spent.fetch_add(utilization.now().saturating_sub(self.since), Ordering::Relaxed);
        utilization.since.store(0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_share_is_that_of_a_window() {
        for (utilization, invert) in [(Utilization::of_work(), false), (Utilization::of_waiting(), true)] {
            let expect = |now: u64, expected: f64| {
                let expected = if invert { 1.0 - expected } else { expected };
                let share = utilization.share_at(now * 1_000_000);
                assert!((share - expected).abs() < 1e-9, "{now}: {share} {expected}");
            };
            utilization.spent.store(1_000_000, Ordering::Relaxed);
            expect(2, 0.5);
            expect(10, 0.1);
            utilization.spent.store(5_000_000, Ordering::Relaxed);
            expect(12, 0.1);
            expect(18, 0.5);
            // Since 20 s something has been under way.
            utilization.since.store(20_000_000, Ordering::Relaxed);
            expect(28, 0.8);
            expect(34, 1.0);
        }
    }

    #[test]
    fn what_has_ended_is_spent() {
        let utilization = Utilization::of_work();
        let spending = utilization.begin();
        std::thread::sleep(Duration::from_millis(2));
        drop(spending);
        assert!(utilization.spent.load(Ordering::Relaxed) >= 2_000);
        assert_eq!(utilization.since.load(Ordering::Relaxed), 0);
    }
}
