//! [`LogLimit`]: at most one line in a while for something that keeps happening.

use std::num::NonZeroU64;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Lets one message pass in each interval, and counts the others.
#[derive(Debug)]
pub struct LogLimit {
    interval: Duration,
    state: Mutex<(Option<Instant>, u64)>,
}

impl LogLimit {
    /// One message in ten seconds.
    pub const fn every_10_s() -> LogLimit {
        LogLimit::every(Duration::from_secs(10))
    }

    /// One message in a minute.
    pub const fn every_minute() -> LogLimit {
        LogLimit::every(Duration::from_secs(60))
    }

    const fn every(interval: Duration) -> LogLimit {
        LogLimit { interval, state: Mutex::new((None, 0)) }
    }

    /// Whether to say it now: if so, how many times it has been left unsaid since the last time. As a field of a log
    /// line that is left away where nothing was left unsaid.
    pub fn allow(&self) -> Option<Option<NonZeroU64>> {
        self.allow_at(Instant::now())
    }

    fn allow_at(&self, now: Instant) -> Option<Option<NonZeroU64>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let (last, unsaid) = *state;
        if last.is_some_and(|last| now.duration_since(last) < self.interval) {
            state.1 += 1;
            return None;
        }
        *state = (Some(now), 0);
        Some(NonZeroU64::new(unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_it_once_in_an_interval_and_counts_the_rest() {
        let limit = LogLimit::every_10_s();
        let start = Instant::now();
        let at = |seconds| limit.allow_at(start + Duration::from_secs(seconds));
        assert_eq!(
            [at(0), at(1), at(9), at(10), at(11), at(25)],
            [Some(None), None, None, Some(NonZeroU64::new(2)), None, Some(NonZeroU64::new(1))]
        );
    }
}
