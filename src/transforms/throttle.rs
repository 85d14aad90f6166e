//! `throttle`: lets so many events through in a time.

use super::{AnyCondition, Condition, optional_condition};
use crate::config::{
    ComponentInfo, Problem, Problems, Result, Seconds, Transform, TransformConfig, TransformContext,
};
use crate::event::LogEvent;
use crate::template::Template;
use crate::topology::Outputs;
use governor::clock::{Clock, MonotonicClock};
use governor::middleware::NoOpMiddleware;
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use schemars::JsonSchema;
use serde::Deserialize;
use std::num::NonZeroU32;
use std::time::Duration;

/// The configuration of the `throttle` transform: Vector's.
///
/// `threshold` events may come at once; each of them gives its place back after a `threshold`th of the
/// window. So with a threshold of 10 and a window of 60 seconds one event passes every 6 seconds, and up to
/// 10 in a row after a minute without any.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ThrottleConfig {
    /// How many events are let through in a window; more than 0.
    threshold: NonZeroU32,
    /// The window, in seconds.
    window_secs: Seconds,
    /// Events whose text for this template is the same have a threshold of their own; those that lack one of
    /// its fields share one, and are not errors. Default: all share one.
    key_field: Option<Template>,
    /// Events for which this holds are let through, and take no place.
    exclude: Option<AnyCondition>,
    /// What is measured.
    #[serde(default)]
    #[serde(rename = "internal_metrics")]
    _internal_metrics: InternalMetrics,
}

/// The `internal_metrics` table.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct InternalMetrics {
    /// Whether discarded events are counted by key; read so that Vector's configurations load.
    #[serde(rename = "emit_events_discarded_per_key")]
    _emit_events_discarded_per_key: bool,
}

impl ThrottleConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "throttle",
        "Let so many events through in a time, of each key.",
        "threshold = 100\nwindow_secs = 1\nkey_field = \"{{ fly.app.name }}\"",
    );

    fn build_with<C: Clock + Clone>(&self, cx: &TransformContext, clock: C) -> Result<Throttle<C>, Problems> {
        let window = self.window_secs.0;
        let mut problems = Vec::new();
        let exclude = optional_condition(self.exclude.as_ref(), "exclude", cx, &mut problems);
        let quota = Quota::with_period(window / self.threshold.get());
        if quota.is_none() {
            let message = format!(
                "{} events in {window:?} are more than one a nanosecond; expected fewer, or a longer `window_secs`",
                self.threshold
            );
            problems.push(Problem::at("threshold", message));
        }
        match quota {
            Some(quota) if problems.is_empty() => {
                let quota = quota.allow_burst(self.threshold);
                Ok(Throttle {
                    limiter: RateLimiter::hashmap_with_clock(quota, clock.clone()),
                    quota,
                    clock,
                    key_field: self.key_field.clone(),
                    // Not all the time, and also within a long window: places are given back before its end.
                    forget_every: window.clamp(Duration::from_secs(1), Duration::from_secs(60)),
                    exclude,
                })
            }
            _ => Err(Problems(problems)),
        }
    }
}

impl TransformConfig for ThrottleConfig {
    fn build(&self, cx: &TransformContext) -> Result<Box<dyn Transform>> {
        Ok(Box::new(self.build_with(cx, MonotonicClock)?))
    }
}

/// `None` is the key of events without one.
type Limiter<C> =
    RateLimiter<Option<String>, HashMapStateStore<Option<String>>, C, NoOpMiddleware<<C as Clock>::Instant>>;

struct Throttle<C: Clock> {
    limiter: Limiter<C>,
    quota: Quota,
    clock: C,
    key_field: Option<Template>,
    forget_every: Duration,
    exclude: Option<Condition>,
}

/// As many keys are remembered. If still more come within a window, all are forgotten, and may have a threshold's
/// events once more: a key that is different for every event must not fill the memory.
const MOST_KEYS: usize = 100_000;

impl<C: Clock + Clone> Throttle<C> {
    fn forget_if_too_many(&mut self) {
        if self.limiter.len() <= MOST_KEYS {
            return;
        }
        self.limiter.retain_recent();
        if self.limiter.len() > MOST_KEYS / 2 {
            self.limiter = RateLimiter::hashmap_with_clock(self.quota, self.clock.clone());
        }
    }
}

impl<C: Clock + Clone + Send> Transform for Throttle<C> {
    fn transform(&mut self, event: LogEvent, outputs: &mut Outputs) {
        if self.exclude.as_mut().is_some_and(|condition| condition.check(&event)) {
            return outputs.push(event);
        }
        let key = self.key_field.as_ref().and_then(|template| template.render(&event).ok());
        match self.limiter.check_key(&key) {
            Ok(_) => outputs.push(event),
            Err(_) => outputs.discard(event),
        }
        if key.is_some() {
            self.forget_if_too_many();
        }
    }

    fn flush_every(&self) -> Option<Duration> {
        self.key_field.is_some().then_some(self.forget_every)
    }

    /// Forgets the keys that have all their places back, as if they had never come: what is held are the keys
    /// of about one window.
    fn flush(&mut self, _outputs: &mut Outputs) {
        self.limiter.retain_recent();
        self.limiter.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Run, deliver};
    use super::*;
    use crate::event::Field;
    use crate::finalizer::EventStatus;
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;

    fn throttle(config: &str) -> (Run<Throttle<FakeRelativeClock>>, FakeRelativeClock) {
        let config: ThrottleConfig = toml::from_str(config).unwrap();
        let clock = FakeRelativeClock::default();
        (Run::new(config.build_with(&TransformContext::default(), clock.clone()).unwrap()), clock)
    }

    /// How many of so many events pass at each time, in milliseconds from the one before.
    #[track_caller]
    fn check(config: &str, arrivals: &[(u64, usize)], expected: &[usize]) {
        let (mut run, clock) = throttle(config);
        let passed: Vec<_> = arrivals
            .iter()
            .map(|(milliseconds, events)| {
                clock.advance(Duration::from_millis(*milliseconds));
                (0..*events).map(|_| run.give("{}").len()).sum::<usize>()
            })
            .collect();
        assert_eq!(passed, expected, "{config}");
    }

    #[test]
    fn lets_a_burst_through_and_then_one_event_for_each_part_of_the_window() {
        let config = "threshold = 2\nwindow_secs = 5";
        check(config, &[(0, 3), (2000, 1), (3000, 3), (5000, 1)], &[2, 0, 2, 1]);
        check(config, &[(0, 2), (2499, 1), (1, 2), (2500, 2)], &[2, 0, 1, 1]);
        check("threshold = 1\nwindow_secs = 0.5", &[(0, 2), (499, 1), (1, 2)], &[1, 0, 1]);
        check("threshold = 1000\nwindow_secs = 1", &[(0, 1001), (10, 20)], &[1000, 10]);
    }

    #[test]
    fn each_key_has_a_threshold_of_its_own() {
        let (mut run, _) = throttle("threshold = 1\nwindow_secs = 5\nkey_field = '{{ app }}-{{ n }}'");
        for (event, expected) in [
            (r#"{"app":"a","n":1}"#, 1),
            (r#"{"app":"b","n":1}"#, 1),
            (r#"{"app":"a","n":2}"#, 1),
            (r#"{"app":"a","n":1}"#, 0),
            // Those that lack a field are thrown together.
            (r#"{"app":"a"}"#, 1),
            (r#"{"n":1}"#, 0),
            ("{}", 0),
        ] {
            assert_eq!(run.give(event).len(), expected, "{event}");
        }
        assert_eq!(run.counts().errors, 0);
    }

    #[test]
    fn what_is_excluded_passes_and_takes_no_place() {
        let (mut run, _) = throttle("threshold = 1\nwindow_secs = 5\nexclude = 'exists(.special)'");
        let special = r#"{"special":null}"#;
        for (event, expected) in [(special, 1), ("{}", 1), ("{}", 0), (special, 1)] {
            assert_eq!(run.give(event).len(), expected, "{event}");
        }
    }

    #[test]
    fn works_on_text() {
        let (mut run, _) =
            throttle("threshold = 1\nwindow_secs = 5\nkey_field = '{{ a.b }}'\nexclude = '.x == 1'");
        assert!(matches!(run.give(r#"{"a":{"b":1}}"#)[0].root(), Field::Json(_)), "a tree was made");
    }

    #[test]
    fn forgets_keys_that_have_their_places_back() {
        let (mut run, clock) = throttle("threshold = 2\nwindow_secs = 10\nkey_field = '{{ k }}'");
        assert_eq!(run.transform.flush_every(), Some(Duration::from_secs(10)));
        for key in 0..100 {
            run.give(&format!("{{\"k\":{key}}}"));
        }
        run.flush();
        assert_eq!(run.transform.limiter.len(), 100, "they would have another chance too many");
        run.give("{\"k\":7}");
        // A key is kept for as long as its places need to come back, and one more.
        clock.advance(Duration::from_secs(10));
        run.flush();
        assert_eq!(run.transform.limiter.len(), 1, "this one came twice");
        clock.advance(Duration::from_secs(5));
        run.flush();
        assert!(run.transform.limiter.is_empty());
    }

    #[test]
    fn forgets_all_when_there_are_too_many() {
        let (mut run, _) = throttle("threshold = 1\nwindow_secs = 86400\nkey_field = '{{ k }}'");
        let most = (0..MOST_KEYS + 2).map(|key| {
            run.give(&format!("{{\"k\":{key}}}"));
            run.transform.limiter.len()
        });
        assert_eq!(most.max(), Some(MOST_KEYS));
        assert_eq!(run.transform.limiter.len(), 1);
    }

    #[test]
    fn looks_for_such_keys_at_times_that_suit_the_window() {
        for (window, expected) in [("0.01", 1), ("30", 30), ("86400", 60)] {
            let (run, _) =
                throttle(&format!("threshold = 1\nwindow_secs = {window}\nkey_field = '{{{{ k }}}}'"));
            assert_eq!(run.transform.flush_every(), Some(Duration::from_secs(expected)), "{window}");
        }
        assert_eq!(throttle("threshold = 1\nwindow_secs = 1").0.transform.flush_every(), None);
    }

    #[test]
    fn what_is_left_out_is_answered_as_delivered_and_counted() {
        throttle("threshold = 1\nwindow_secs = 1").0.check_left_out([r#"{"a":1}"#, "{}"]);
    }

    #[test]
    fn says_what_is_wrong() {
        for (config, words) in [
            ("window_secs = 1", "missing field `threshold`"),
            ("threshold = 1", "missing field `window_secs`"),
            ("threshold = 0\nwindow_secs = 1", "nonzero u32"),
            ("threshold = 1\nwindow_secs = 0", "more than zero"),
            ("threshold = 1\nwindow_secs = -1.5", "more than zero"),
            ("threshold = 1\nwindow_secs = 1\nkey_field = '{{ a b }}'", "not a field path"),
            ("threshold = 1\nwindow_secs = 1\ninternal_metrics.per_key = true", "unknown field `per_key`"),
        ] {
            let error = toml::from_str::<ThrottleConfig>(config).unwrap_err().to_string();
            assert!(error.contains(words), "{config}: {error}");
        }
        let config = "threshold = 4294967295\nwindow_secs = 1\nexclude = '.a'\ninternal_metrics.emit_events_discarded_per_key = true";
        let config: ThrottleConfig = toml::from_str(config).unwrap();
        let error = config.build_with(&TransformContext::default(), MonotonicClock).err().unwrap();
        assert_eq!(error.0.len(), 2, "all mistakes at once");
        assert!(error.to_string().contains("more than one a nanosecond"), "{error}");
    }

    proptest! {
        /// In no time more events pass than the burst and those whose places came back, and none is left out
        /// that comes when a place is free.
        #[test]
        fn passes_what_the_rate_allows(
            threshold in 1..10u32,
            period in 1..1000u64,
            gaps in prop::collection::vec(0..3000u64, 0..60),
        ) {
            let window = u64::from(threshold) * period;
            let (mut run, clock) = throttle(&format!("threshold = {threshold}\nwindow_secs = {}", window as f64 / 1e3));
            // Milliseconds for which places are still taken: the definition, in whole numbers.
            let mut taken = 0;
            for gap in gaps {
                clock.advance(Duration::from_millis(gap));
                taken -= gap.min(taken);
                let is_free = taken + period <= window;
                taken += if is_free { period } else { 0 };
                let passed = run.give("{}");
                prop_assert_eq!(!passed.is_empty(), is_free);
                deliver(passed);
            }
            prop_assert!(run.statuses().iter().all(|status| *status == Some(EventStatus::Delivered)));
        }
    }
}
