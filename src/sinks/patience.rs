//! [`Patience`]: for how long events are tried, and for how long they are held, before they are refused.

use crate::config::Seconds;
use std::time::Duration;
use tokio::time::Instant;

/// How long events are held where they can become dead letters, nobody else keeps them, and the user says
/// nothing else.
const HOLD: Duration = Duration::from_secs(15 * 60);

/// Where patience ends.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// How long events are held for a destination that refuses us; nothing: as long as they are tried.
    pub(super) hold: Option<Duration>,
    /// How long events are tried.
    pub(super) give_up_after: Duration,
}

impl Limits {
    /// Only where refused events become dead letters and nobody keeps them meanwhile (`is_urgent`, see
    /// [`SinkCounts::is_hold_urgent`](crate::topology::SinkCounts)), they are held for less than they are tried
    /// without the user's word: nobody should lose events to a default, nor drain a stream into a file.
    pub(super) fn new(hold: Option<Seconds>, give_up_after: Seconds, is_urgent: bool) -> Limits {
        let default = is_urgent.then_some(HOLD);
        Limits { hold: hold.map(|seconds| seconds.0).or(default), give_up_after: give_up_after.0 }
    }

    /// For how long events are held at most, in words.
    pub(super) fn shown(&self) -> String {
        shown(self.hold.map_or(self.give_up_after, |hold| hold.min(self.give_up_after)))
    }
}

/// Since when events are tried, and since when a destination refuses us with them.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Patience {
    since: Option<Instant>,
    held_since: Option<Instant>,
}

impl Patience {
    /// They are tried; the first time counts.
    pub(super) fn begin(&mut self, now: Instant) {
        self.since.get_or_insert(now);
    }

    /// The answer was that we are refused (`is_hold`), or another that calls for one more attempt.
    pub(super) fn answered(&mut self, is_hold: bool, now: Instant) {
        self.held_since = is_hold.then(|| self.held_since.unwrap_or(now));
    }

    /// Another key, or another address: who was refused was not the same.
    pub(super) fn forget_hold(&mut self) {
        self.held_since = None;
    }

    /// When it is over, if they have been tried at all.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        let end = |since: Option<Instant>, limit: Option<Duration>| since?.checked_add(limit?);
        let ends = [end(self.since, Some(limits.give_up_after)), end(self.held_since, limits.hold)];
        ends.into_iter().flatten().min()
    }

    /// If it is over: for how long they were tried or held, in words.
    pub(super) fn over(&self, limits: &Limits, now: Instant) -> Option<String> {
        if self.deadline(limits)? > now {
            return None;
        }
        let held = self.held_since.map(|since| now - since);
        let tried = self.since.map_or(Duration::ZERO, |since| now - since);
        Some(match held {
            Some(held) if limits.hold.is_some_and(|limit| held >= limit) => held_for(held),
            _ => format!("given up after {}", shown(tried)),
        })
    }
}

/// Why events are refused that were held for so long.
pub(super) fn held_for(duration: Duration) -> String {
    format!("held for {}", shown(duration))
}

/// A duration in a word or two, rounded down to what a person wants to know.
pub(super) fn shown(duration: Duration) -> String {
    match duration.as_secs() {
        0 => format!("{} ms", duration.as_millis()),
        seconds @ 1..120 => format!("{seconds} s"),
        seconds @ 120..7200 => format!("{} min", seconds / 60),
        seconds => format!("{} h", seconds / 3600),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn the_default_loses_nothing() {
        let give_up = Seconds(seconds(86400));
        for (hold, is_urgent, expected, words) in [
            (None, false, None, "24 h"),
            (None, true, Some(900), "15 min"),
            (Some(60), false, Some(60), "60 s"),
            (Some(60), true, Some(60), "60 s"),
            (Some(1_000_000), true, Some(1_000_000), "24 h"),
        ] {
            let limits = Limits::new(hold.map(|hold| Seconds(seconds(hold))), give_up, is_urgent);
            assert_eq!(limits.hold.map(|hold| hold.as_secs()), expected, "{hold:?} {is_urgent}");
            assert_eq!(limits.shown(), words);
        }
    }

    #[test]
    fn counts_from_the_first_attempt_and_from_the_first_refusal() {
        let start = Instant::now();
        let at = |second| start + seconds(second);
        let limits = Limits { hold: Some(seconds(100)), give_up_after: seconds(1000) };
        let mut patience = Patience::default();
        assert_eq!(patience.deadline(&limits), None, "what was never tried is not given up");
        patience.begin(at(0));
        patience.begin(at(5));
        assert_eq!(patience.deadline(&limits), Some(at(1000)));
        patience.answered(true, at(10));
        patience.answered(true, at(50));
        assert_eq!(patience.deadline(&limits), Some(at(110)), "held since the first refusal");
        assert_eq!(patience.over(&limits, at(109)), None);
        assert_eq!(patience.over(&limits, at(110)).unwrap(), "held for 100 s");
        patience.answered(false, at(60));
        assert_eq!(patience.deadline(&limits), Some(at(1000)), "it does not refuse us any more");
        patience.answered(true, at(950));
        assert_eq!(patience.over(&limits, at(1000)).unwrap(), "given up after 16 min");
        patience.forget_hold();
        let endless = Limits { hold: None, give_up_after: Duration::MAX };
        assert_eq!(patience.deadline(&endless), None);
    }

    #[test]
    fn durations_are_shown_shortly() {
        for (duration, words) in [
            (Duration::from_millis(40), "40 ms"),
            (seconds(1), "1 s"),
            (seconds(119), "119 s"),
            (seconds(180), "3 min"),
            (seconds(7199), "119 min"),
            (seconds(86400), "24 h"),
        ] {
            assert_eq!(shown(duration), words);
        }
    }
}
