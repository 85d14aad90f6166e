//! [`Breaker`]: after so many failures in a row, one request at a time finds out whether it is over.

use super::request::Backoff;
use std::time::Duration;
use tokio::time::Instant;

/// A circuit breaker. Closed, it lets all requests go. So many failures in a row open it: then one request, the
/// probe, goes after each pause, and the first success closes it. It asks no clock and waits for nothing.
#[derive(Debug)]
pub(super) struct Breaker {
    /// How many failures in a row open it.
    limit: usize,
    failures: usize,
    open: Option<Open>,
}

#[derive(Debug)]
struct Open {
    since: Instant,
    backoff: Backoff,
    probe_at: Instant,
    is_probing: bool,
}

/// What a breaker lets a request do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum May {
    Go,
    /// It goes, and what becomes of it decides; [`Breaker::begin_probe`] says that it has.
    Probe,
    WaitUntil(Instant),
    /// Until the probe that is under way has its answer.
    WaitForProbe,
}

impl Breaker {
    pub(super) fn new(limit: usize) -> Breaker {
        Breaker { limit, failures: 0, open: None }
    }

    pub(super) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// What a request may do now; one that lets others go first comes so much later to a probe.
    pub(super) fn may(&self, now: Instant, later: Duration) -> May {
        match &self.open {
            None => May::Go,
            Some(open) if open.is_probing => May::WaitForProbe,
            Some(open) if open.probe_at + later <= now => May::Probe,
            Some(open) => May::WaitUntil(open.probe_at + later),
        }
    }

    pub(super) fn begin_probe(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_probing = true;
        }
    }

    /// A request has failed, and `was_probe` says whether it was the probe; whether that has opened the breaker.
    pub(super) fn failed(
        &mut self,
        now: Instant,
        was_probe: bool,
        backoff: impl FnOnce() -> Backoff,
    ) -> bool {
        self.failures += 1;
        match &mut self.open {
            Some(open) if was_probe => {
                open.is_probing = false;
                open.probe_at = now + open.backoff.pause();
                false
            }
            // It began before the breaker opened.
            Some(_) => false,
            None if self.failures < self.limit => false,
            None => {
                let mut backoff = backoff();
                let probe_at = now + backoff.pause();
                self.open = Some(Open { since: now, backoff, probe_at, is_probing: false });
                true
            }
        }
    }

    /// A request has succeeded; if that has closed the breaker, for how long it was open.
    pub(super) fn succeeded(&mut self, now: Instant) -> Option<Duration> {
        self.failures = 0;
        self.open.take().map(|open| now - open.since)
    }

    /// The probe has ended without a word: another request may be it.
    pub(super) fn abandon_probe(&mut self) {
        if let Some(open) = &mut self.open {
            open.is_probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{JitterMode, RequestConfig};
    use super::*;

    fn backoff() -> Backoff {
        Backoff::new(&RequestConfig { retry_jitter_mode: JitterMode::None, ..RequestConfig::default() })
    }

    #[test]
    fn opens_after_failures_in_a_row_and_closes_with_the_first_success() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let soon = Duration::ZERO;
        let mut breaker = Breaker::new(3);
        for _ in 0..2 {
            assert!(!breaker.failed(at(0), false, backoff));
        }
        assert_eq!(breaker.succeeded(at(0)), None, "a success resets the count");
        let opened: Vec<_> = (0..4).map(|_| breaker.failed(at(0), false, backoff)).collect();
        assert_eq!(opened, [false, false, true, false], "it opens once");
        assert_eq!(breaker.may(at(0), soon), May::WaitUntil(at(1)));
        assert_eq!(
            breaker.may(at(1), Duration::from_millis(5)),
            May::WaitUntil(at(1) + Duration::from_millis(5))
        );
        // The pauses between probes are those between the attempts of a request.
        let mut now = 0;
        for pause in [1, 2, 3, 5, 8, 13, 21, 30, 30] {
            assert_eq!(breaker.may(at(now), soon), May::WaitUntil(at(now + pause)));
            now += pause;
            assert_eq!(breaker.may(at(now), soon), May::Probe);
            breaker.begin_probe();
            assert_eq!(breaker.may(at(now), soon), May::WaitForProbe, "there is one probe");
            assert!(!breaker.failed(at(now), false, backoff), "one that began before says nothing");
            assert_eq!(breaker.may(at(now), soon), May::WaitForProbe);
            assert!(!breaker.failed(at(now), true, backoff));
        }
        now += 30;
        breaker.begin_probe();
        breaker.abandon_probe();
        assert_eq!(breaker.may(at(now), soon), May::Probe, "another may be it");
        assert_eq!(breaker.succeeded(at(now)), Some(Duration::from_secs(now)));
        assert_eq!((breaker.may(at(now), soon), breaker.is_open()), (May::Go, false));
        assert!(!breaker.failed(at(now), false, backoff), "it counts from nothing again");
    }
}
