//! How requests are sent: Vector's `request.*` options, back-off, rate limit, adaptive concurrency.

use crate::config::{Problem, Seconds};
use crate::template::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// The `request` table of a sink.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RequestConfig {
    /// How many requests are under way at once: `none` (one), `adaptive`, or a number.
    pub concurrency: Concurrency,
    /// Seconds that one attempt may take. Default: 60.
    pub timeout_secs: Seconds,
    /// How many requests are begun within `rate_limit_duration_secs`. Default: no limit.
    pub rate_limit_num: Option<NonZeroU64>,
    /// The window of the rate limit, in seconds. Default: 1.
    pub rate_limit_duration_secs: Seconds,
    /// How often a failed request is tried again. Default: until `give_up_after_secs`.
    pub retry_attempts: Option<usize>,
    /// Seconds for which a batch is tried, from its first attempt; then its events are refused. Default: 86400, a
    /// day. Ours.
    pub give_up_after_secs: Seconds,
    /// Seconds for which a batch is held that the destination does not refuse, but us: a wrong key, a wrong address.
    /// Then its events are refused, and what comes behind it, until the destination accepts us. Default: 900 if
    /// there are dead letters, no source waits for deliveries (JetStream), and the sink's buffer is in memory; else
    /// as long as `give_up_after_secs` says, so that nobody loses events to a default, and what a stream or a disk
    /// keeps stays there. Ours.
    pub hold_secs: Option<Seconds>,
    /// Seconds before the first retry. Default: 1.
    pub retry_initial_backoff_secs: Seconds,
    /// The most seconds between two attempts. Default: 30.
    pub retry_max_duration_secs: Seconds,
    /// Whether the pauses are drawn at random, so that many senders do not come back at once.
    pub retry_jitter_mode: JitterMode,
    /// Headers of each request; their values may be templates.
    pub headers: BTreeMap<String, Template>,
    /// How the adaptive concurrency adapts.
    pub adaptive_concurrency: AdaptiveConcurrency,
    /// When a destination that fails gets only one request now and then. Ours.
    pub circuit_breaker: CircuitBreaker,
}

/// The `request.circuit_breaker` table.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CircuitBreaker {
    /// After how many failures in a row, of whatever batches, one request at a time is tried, with the pauses of
    /// retries between them, until one succeeds. Default: 5.
    #[schemars(with = "usize", range(min = 1))]
    pub failures: NonZeroUsize,
}

impl Default for CircuitBreaker {
    fn default() -> CircuitBreaker {
        CircuitBreaker { failures: const { NonZeroUsize::new(5).unwrap() } }
    }
}

/// What is wrong with a hold that never ends before events are given up.
pub(super) fn hold_warning(hold: Option<Seconds>, give_up_after: Seconds) -> Option<Problem> {
    let (hold, most) = (hold?.0, give_up_after.0);
    let message = format!(
        "{} s is longer than request.give_up_after_secs, {} s: events are held only for that long; raise it, or leave hold_secs out",
        hold.as_secs_f64(),
        most.as_secs_f64()
    );
    (hold > most).then(|| Problem::at("request.hold_secs", message))
}

impl Default for RequestConfig {
    fn default() -> RequestConfig {
        let seconds = |seconds| Seconds(Duration::from_secs(seconds));
        RequestConfig {
            concurrency: Concurrency::Adaptive,
            timeout_secs: seconds(60),
            rate_limit_num: None,
            rate_limit_duration_secs: seconds(1),
            retry_attempts: None,
            give_up_after_secs: seconds(86400),
            hold_secs: None,
            retry_initial_backoff_secs: seconds(1),
            retry_max_duration_secs: seconds(30),
            retry_jitter_mode: JitterMode::Full,
            headers: BTreeMap::new(),
            adaptive_concurrency: AdaptiveConcurrency::default(),
            circuit_breaker: CircuitBreaker::default(),
        }
    }
}

/// How many requests may be under way at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "ConcurrencyOption")]
#[schemars(with = "ConcurrencyOption")]
pub enum Concurrency {
    /// As many as the destination takes without slowing down.
    Adaptive,
    /// So many.
    Fixed(usize),
}

#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected `none`, `adaptive` or a number")]
enum ConcurrencyOption {
    Number(#[schemars(range(min = 1))] usize),
    Word(#[schemars(extend("enum" = ["none", "adaptive"]))] String),
}

impl Serialize for Concurrency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Concurrency::Adaptive => serializer.serialize_str("adaptive"),
            Concurrency::Fixed(number) => number.serialize(serializer),
        }
    }
}

impl TryFrom<ConcurrencyOption> for Concurrency {
    type Error = String;

    fn try_from(option: ConcurrencyOption) -> Result<Concurrency, String> {
        match option {
            ConcurrencyOption::Number(0) => {
                Err("request.concurrency: 0 would send nothing; expected at least 1".into())
            }
            ConcurrencyOption::Number(number) => Ok(Concurrency::Fixed(number)),
            ConcurrencyOption::Word(word) => match word.as_str() {
                "none" => Ok(Concurrency::Fixed(1)),
                "adaptive" => Ok(Concurrency::Adaptive),
                _ => Err(format!(
                    "request.concurrency: `{word}` is unknown; expected `none`, `adaptive` or a number"
                )),
            },
        }
    }
}

/// Whether pauses are drawn at random.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
pub enum JitterMode {
    /// From one millisecond to the whole pause.
    Full,
    /// Always the whole pause.
    None,
}

/// The `request.adaptive_concurrency` table.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "AdaptiveTable")]
#[schemars(with = "AdaptiveTable")]
pub struct AdaptiveConcurrency {
    /// Requests at once at the start. Default: 1.
    pub initial_concurrency: usize,
    /// What a limit that was too high is multiplied by. Default: 0.9.
    pub decrease_ratio: f64,
    /// How much a new round trip time counts in the mean. Default: 0.4.
    pub ewma_alpha: f64,
    /// How many standard deviations a round trip time may be above the mean. Default: 2.5.
    pub rtt_deviation_scale: f64,
    /// The most requests at once. Default: 200.
    pub max_concurrency_limit: usize,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct AdaptiveTable {
    /// Requests at once at the start. Default: 1.
    #[schemars(range(min = 1))]
    initial_concurrency: Option<usize>,
    /// What a limit that was too high is multiplied by, between 0 and 1. Default: 0.9.
    decrease_ratio: Option<f64>,
    /// How much a new round trip time counts in the mean, between 0 and 1. Default: 0.4.
    ewma_alpha: Option<f64>,
    /// How many standard deviations a round trip time may be above the mean. Default: 2.5.
    #[schemars(range(min = 0))]
    rtt_deviation_scale: Option<f64>,
    /// The most requests at once. Default: 200.
    #[schemars(range(min = 1))]
    max_concurrency_limit: Option<usize>,
}

impl TryFrom<AdaptiveTable> for AdaptiveConcurrency {
    type Error = String;

    fn try_from(table: AdaptiveTable) -> Result<AdaptiveConcurrency, String> {
        let default = AdaptiveConcurrency::default();
        let adaptive = AdaptiveConcurrency {
            initial_concurrency: table.initial_concurrency.unwrap_or(default.initial_concurrency),
            decrease_ratio: table.decrease_ratio.unwrap_or(default.decrease_ratio),
            ewma_alpha: table.ewma_alpha.unwrap_or(default.ewma_alpha),
            rtt_deviation_scale: table.rtt_deviation_scale.unwrap_or(default.rtt_deviation_scale),
            max_concurrency_limit: table.max_concurrency_limit.unwrap_or(default.max_concurrency_limit),
        };
        let is_share = |number: f64| number > 0.0 && number < 1.0;
        let fits = is_share(adaptive.decrease_ratio)
            && is_share(adaptive.ewma_alpha)
            && adaptive.rtt_deviation_scale.is_finite()
            && adaptive.rtt_deviation_scale >= 0.0
            && adaptive.initial_concurrency >= 1
            && adaptive.max_concurrency_limit >= adaptive.initial_concurrency;
        match fits {
            true => Ok(adaptive),
            false => Err("request.adaptive_concurrency: expected decrease_ratio and ewma_alpha between 0 and 1, \
                          rtt_deviation_scale of at least 0, and 1 <= initial_concurrency <= max_concurrency_limit"
                .into()),
        }
    }
}

impl Default for AdaptiveConcurrency {
    fn default() -> AdaptiveConcurrency {
        AdaptiveConcurrency {
            initial_concurrency: 1,
            decrease_ratio: 0.9,
            ewma_alpha: 0.4,
            rtt_deviation_scale: 2.5,
            max_concurrency_limit: 200,
        }
    }
}

/// The pauses between the attempts of one request: Fibonacci's numbers times the first, up to a
/// limit, with jitter.
#[derive(Debug)]
pub(super) struct Backoff {
    current: Duration,
    next: Duration,
    max: Duration,
    jitter: JitterMode,
}

impl Backoff {
    pub(super) fn new(config: &RequestConfig) -> Backoff {
        let initial = config.retry_initial_backoff_secs.0;
        let max = config.retry_max_duration_secs.0;
        Backoff { current: initial, next: initial * 2, max, jitter: config.retry_jitter_mode }
    }

    pub(super) fn pause(&mut self) -> Duration {
        let base = self.current.min(self.max);
        (self.current, self.next) = (self.next.min(self.max), (self.current + self.next).min(self.max));
        match self.jitter {
            JitterMode::None => base,
            JitterMode::Full => {
                let millis = u64::try_from(base.as_millis()).unwrap_or(u64::MAX).max(1);
                Duration::from_millis(rand::random_range(1..=millis))
            }
        }
    }
}

/// Lets so many requests begin in each window of time.
#[derive(Debug)]
pub(super) struct RateLimit {
    requests: Option<NonZeroU64>,
    window: Duration,
    state: Mutex<Option<(Instant, u64)>>,
}

impl RateLimit {
    pub(super) fn new(config: &RequestConfig) -> RateLimit {
        let window = config.rate_limit_duration_secs.0;
        RateLimit { requests: config.rate_limit_num, window, state: Mutex::new(None) }
    }

    /// Waits until a request may begin.
    pub(super) async fn ready(&self) {
        let Some(limit) = self.requests else { return };
        loop {
            let until = {
                let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
                let now = Instant::now();
                let (start, begun) =
                    state.filter(|(start, _)| *start + self.window > now).unwrap_or((now, 0));
                if begun < limit.get() {
                    *state = Some((start, begun + 1));
                    return;
                }
                start + self.window
            };
            tokio::time::sleep_until(until).await;
        }
    }
}

/// How many requests may be under way now. Adaptive, it goes up by one after a window of round trips
/// that were as fast as usual, and down by a factor after one that was slower or pushed back.
///
/// The algorithm is Vector's adaptive request concurrency, but it measures each attempt by itself: a
/// request that waits for its retry says nothing about the destination's speed.
#[derive(Debug)]
pub(super) struct Controller {
    options: Option<AdaptiveConcurrency>,
    state: Mutex<ControllerState>,
}

#[derive(Debug)]
struct ControllerState {
    limit: usize,
    /// The window's round trip times, in seconds: their sum and number.
    sum: f64,
    count: u32,
    window_end: Option<Instant>,
    reached_limit: bool,
    pushed_back: bool,
    /// Mean and variance of the past.
    past: Option<(f64, f64)>,
}

impl Controller {
    pub(super) fn new(config: &RequestConfig) -> Controller {
        let (options, limit) = match config.concurrency {
            Concurrency::Fixed(limit) => (None, limit),
            Concurrency::Adaptive => {
                (Some(config.adaptive_concurrency), config.adaptive_concurrency.initial_concurrency)
            }
        };
        let state = ControllerState {
            limit,
            sum: 0.0,
            count: 0,
            window_end: None,
            reached_limit: false,
            pushed_back: false,
            past: None,
        };
        Controller { options, state: Mutex::new(state) }
    }

    /// The limit now; `under_way` is how many requests there are.
    pub(super) fn limit(&self, under_way: usize) -> usize {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if under_way >= state.limit {
            state.reached_limit = true;
        }
        state.limit
    }

    /// Whether the limit changes with what is observed.
    pub(super) fn is_adaptive(&self) -> bool {
        self.options.is_some()
    }

    /// Takes note of an attempt that ended now; gives the mean round trip of a window that ends with it.
    pub(super) fn observe(&self, round_trip: Duration, pushed_back: bool, now: Instant) -> Option<Duration> {
        let options = self.options?;
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.pushed_back |= pushed_back;
        if !pushed_back {
            state.sum += round_trip.as_secs_f64();
            state.count += 1;
        }
        match (state.window_end, state.past) {
            (None, _) => {
                state.window_end = Some(now + round_trip);
                None
            }
            (Some(end), _) if now < end => None,
            (Some(_), past) => {
                let of_window = (state.count > 0).then(|| state.sum / f64::from(state.count));
                state.adapt(&options, past);
                let mean = state.past.map_or(0.0, |(mean, _)| mean);
                state.window_end = Some(now + Duration::from_secs_f64(mean.clamp(0.0, 60.0)));
                (state.sum, state.count, state.reached_limit, state.pushed_back) = (0.0, 0, false, false);
                Duration::try_from_secs_f64(of_window?).ok()
            }
        }
    }
}

impl ControllerState {
    fn adapt(&mut self, options: &AdaptiveConcurrency, past: Option<(f64, f64)>) {
        let mean = (self.count > 0).then(|| self.sum / f64::from(self.count));
        let (past_mean, deviation) =
            past.map_or((f64::INFINITY, 0.0), |(mean, variance)| (mean, variance.sqrt()));
        let is_fast = mean.is_some_and(|mean| mean <= past_mean);
        let is_slow =
            mean.is_some_and(|mean| mean >= past_mean + options.rtt_deviation_scale * deviation && !is_fast);
        if self.limit < options.max_concurrency_limit && self.reached_limit && !self.pushed_back && is_fast {
            self.limit += 1;
        } else if self.limit > 1 && (self.pushed_back || is_slow) {
            self.limit = ((self.limit as f64 * options.decrease_ratio) as usize).max(1);
        }
        let Some(mean) = mean else { return };
        self.past = Some(match past {
            None => (mean, 0.0),
            Some((past_mean, variance)) => {
                let delta = mean - past_mean;
                let step = options.ewma_alpha * delta;
                (past_mean + step, (1.0 - options.ewma_alpha) * (variance + delta * step))
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<RequestConfig, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn reads_vectors_options() {
        let defaults = config("").unwrap();
        assert_eq!(defaults.concurrency, Concurrency::Adaptive);
        assert_eq!(defaults.timeout_secs.0, Duration::from_secs(60));
        assert_eq!(config("concurrency = 'none'").unwrap().concurrency, Concurrency::Fixed(1));
        assert_eq!(config("concurrency = 7").unwrap().concurrency, Concurrency::Fixed(7));
        assert_eq!(config("headers.X-Key = '{{ app }}'").unwrap().headers.len(), 1);
        for (text, words) in [
            ("concurrency = 0", "at least 1"),
            ("concurrency = 'some'", "`none`, `adaptive`"),
            ("retry_initial_backoff_secs = 0", "more than zero"),
            ("rate_limit_num = 0", "nonzero"),
            ("retry_jitter_mode = 'full'", "`Full`"),
            ("adaptive_concurrency.decrease_ratio = 2.0", "between 0 and 1"),
            ("retries = 3", "unknown field"),
            ("hold_secs = 0", "more than zero"),
            ("give_up_after_secs = -1", "more than zero"),
            ("circuit_breaker.failures = 0", "nonzero"),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn pauses_grow_like_fibonaccis_numbers() {
        let mut config = RequestConfig { retry_jitter_mode: JitterMode::None, ..RequestConfig::default() };
        let mut backoff = Backoff::new(&config);
        let pauses: Vec<_> = (0..10).map(|_| backoff.pause().as_secs()).collect();
        assert_eq!(pauses, [1, 2, 3, 5, 8, 13, 21, 30, 30, 30]);
        config.retry_jitter_mode = JitterMode::Full;
        let mut backoff = Backoff::new(&config);
        for most in [1, 2, 3, 5] {
            assert!((1..=most * 1000).contains(&backoff.pause().as_millis()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn begins_no_more_requests_than_allowed() {
        let config = config("rate_limit_num = 2\nrate_limit_duration_secs = 10").unwrap();
        let limit = RateLimit::new(&config);
        let start = Instant::now();
        let mut begun = Vec::new();
        for _ in 0..5 {
            limit.ready().await;
            begun.push(start.elapsed().as_secs());
        }
        assert_eq!(begun, [0, 0, 10, 10, 20]);
    }

    #[test]
    fn adapts_to_the_destination() {
        let controller = Controller::new(&RequestConfig::default());
        let mut now = Instant::now();
        let mut run = |milliseconds: u64, pushed_back: bool, times: usize| {
            for _ in 0..times {
                let limit = controller.limit(usize::MAX);
                for _ in 0..limit {
                    now += Duration::from_millis(milliseconds);
                    controller.observe(Duration::from_millis(milliseconds), pushed_back, now);
                }
            }
            controller.limit(0)
        };
        let fast = run(10, false, 40);
        assert!(fast > 10, "a steady destination gets more requests: {fast}");
        let slow = run(100, false, 1);
        assert!(slow < fast, "a slower one fewer: {slow}");
        assert_eq!(run(10, true, 60), 1, "one that pushes back, one");
        assert!(run(10, false, 40) > 1, "and more again when it has recovered");
    }

    #[test]
    fn a_fixed_number_stays() {
        let config = RequestConfig { concurrency: Concurrency::Fixed(5), ..RequestConfig::default() };
        let controller = Controller::new(&config);
        controller.observe(Duration::from_secs(1), true, Instant::now());
        assert_eq!(controller.limit(0), 5);
    }
}
