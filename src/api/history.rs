//! Rates of the last seconds, and the last hour of every component, in a bounded memory.

use super::status::{ComponentStatus, Rates, Series};
use crate::event::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// How long a step of the history is, and how many of them there are: an hour.
const STEP: Duration = Duration::from_secs(10);
const STEPS: usize = 360;

/// Rates are those of so many seconds.
const RECENT: Duration = Duration::from_secs(5);

/// The most components that are remembered: of 300, a megabyte or three.
const MAX_COMPONENTS: usize = 300;

/// The components' last seconds and their last hour.
#[derive(Debug, Default)]
pub(super) struct History {
    /// When each step ended, in seconds since the epoch, the oldest first.
    times: VecDeque<i64>,
    /// When the current step began: how long the topology had been up.
    step_began: Option<Duration>,
    components: BTreeMap<String, Remembered>,
}

/// What is remembered of a component.
#[derive(Debug, Default)]
struct Remembered {
    /// Of the last seconds, the oldest first.
    recent: VecDeque<(Duration, Counts)>,
    /// As the current step began.
    at_step: Option<Counts>,
    /// The largest of the current step; less than nothing if there was none.
    lag: Option<f64>,
    /// As many as there are times: nothing where it was not there.
    steps: VecDeque<Option<Step>>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    received: u64,
    sent: u64,
    errors: u64,
}

/// A step of a component's, in few bytes: there are hundreds of thousands of them.
#[derive(Clone, Copy, Debug)]
struct Step {
    received: f32,
    sent: f32,
    errors: f32,
    buffered: Option<f32>,
    fill: Option<f32>,
    lag: Option<f32>,
}

impl History {
    /// Takes what the components are at this moment; `uptime` tells how much time has passed, whatever the clock does.
    pub(super) fn sample(
        &mut self,
        components: &[(String, ComponentStatus)],
        uptime: Duration,
        now: Timestamp,
    ) {
        for (name, status) in components {
            let is_known = self.components.contains_key(name);
            if !is_known && self.components.len() >= MAX_COMPONENTS {
                // One that is there no more makes room.
                let is_gone = |old: &&String| !components.iter().any(|(other, _)| other == *old);
                let Some(gone) = self.components.keys().find(is_gone).cloned() else { continue };
                self.components.remove(&gone);
            }
            let steps = self.times.len();
            let known = self.components.entry(name.clone()).or_insert_with(|| Remembered {
                steps: std::iter::repeat_n(None, steps).collect(),
                ..Remembered::default()
            });
            known.note(status, uptime);
        }
        for (name, known) in &mut self.components {
            if !components.iter().any(|(other, _)| other == name) {
                (known.recent, known.at_step, known.lag) = Default::default();
            }
        }
        let began = *self.step_began.get_or_insert(uptime);
        if uptime.saturating_sub(began) >= STEP {
            self.end_step(components, uptime - began, now);
            self.step_began = Some(uptime);
        }
    }

    fn end_step(&mut self, components: &[(String, ComponentStatus)], elapsed: Duration, now: Timestamp) {
        self.times.push_back(now.seconds());
        for (name, known) in &mut self.components {
            let status = components.iter().find(|(other, _)| other == name).map(|(_, status)| status);
            let step = status.map(|status| known.end_step(status, elapsed));
            known.steps.push_back(step);
        }
        if self.times.len() > STEPS {
            self.times.pop_front();
            for known in self.components.values_mut() {
                known.steps.pop_front();
            }
        }
        // What was removed an hour ago is forgotten.
        self.components.retain(|_, known| known.steps.iter().any(Option::is_some));
    }

    /// How fast this component goes.
    pub(super) fn rates(&self, name: &str) -> Rates {
        let recent = self.components.get(name).map(|known| &known.recent);
        let ends = recent.and_then(|recent| recent.front().zip(recent.back()));
        let Some(((begin, before), (end, after))) = ends else { return Rates::default() };
        let seconds = end.saturating_sub(*begin).as_secs_f64();
        if seconds <= 0.0 {
            return Rates::default();
        }
        Rates {
            received: rate(before.received, after.received, seconds),
            sent: rate(before.sent, after.sent, seconds),
            errors: rate(before.errors, after.errors, seconds),
        }
    }

    /// The last hour.
    pub(super) fn to_json(&self) -> super::status::History {
        let series = self.components.iter().map(|(name, known)| {
            let each = |get: &dyn Fn(&Step) -> Option<f32>| {
                known.steps.iter().map(|step| step.as_ref().and_then(get).map(shortest)).collect()
            };
            let series = Series {
                received: each(&|step| Some(step.received)),
                sent: each(&|step| Some(step.sent)),
                errors: each(&|step| Some(step.errors)),
                buffered: each(&|step| step.buffered),
                buffer_fill: each(&|step| step.fill),
                lag_secs: each(&|step| step.lag),
            };
            (name.clone(), series)
        });
        super::status::History {
            step_secs: STEP.as_secs(),
            times: self.times.iter().copied().collect(),
            components: series.collect(),
        }
    }
}

impl Remembered {
    fn note(&mut self, status: &ComponentStatus, uptime: Duration) {
        let counts = Counts::of(status);
        self.at_step.get_or_insert(counts);
        self.recent.push_back((uptime, counts));
        while self.recent.len() > 2 && uptime.saturating_sub(self.recent[1].0) >= RECENT {
            self.recent.pop_front();
        }
        if let Some(lag) = status.lag_secs {
            self.lag = Some(self.lag.map_or(lag, |most| most.max(lag)));
        }
    }

    fn end_step(&mut self, status: &ComponentStatus, elapsed: Duration) -> Step {
        let after = Counts::of(status);
        let before = self.at_step.replace(after).unwrap_or(after);
        let seconds = elapsed.as_secs_f64();
        let is_sink = status.kind == "sink";
        let fill = status.buffer.as_ref().and_then(|buffer| {
            let part = |held: u64, most: Option<u64>| {
                most.filter(|most| *most > 0).map(|most| held as f32 / most as f32)
            };
            part(buffer.bytes, buffer.max_bytes).or_else(|| part(buffer.events, buffer.max_events))
        });
        Step {
            received: rate(before.received, after.received, seconds) as f32,
            sent: rate(before.sent, after.sent, seconds) as f32,
            errors: rate(before.errors, after.errors, seconds) as f32,
            buffered: is_sink.then_some(status.buffered as f32),
            fill,
            lag: self.lag.take().map(|lag| lag as f32),
        }
    }
}

impl Counts {
    fn of(status: &ComponentStatus) -> Counts {
        Counts { received: status.received, sent: status.sent, errors: status.errors }
    }
}

fn rate(before: u64, after: u64, seconds: f64) -> f64 {
    after.saturating_sub(before) as f64 / seconds
}

/// The same number with three places: what more there is, is noise.
fn shortest(number: f32) -> f64 {
    (f64::from(number) * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sink(received: u64) -> ComponentStatus {
        ComponentStatus {
            kind: "sink".to_owned(),
            received,
            sent: received / 2,
            buffered: received - received / 2,
            lag_secs: Some(received as f64 / 1000.0),
            ..ComponentStatus::default()
        }
    }

    /// A second after another, from this one up to that, with what is there.
    fn run(history: &mut History, seconds: std::ops::Range<u64>, names: &[&str]) {
        for second in seconds {
            let components: Vec<_> =
                names.iter().map(|name| (name.to_string(), sink(second * 100))).collect();
            let now = Timestamp::from_nanos(1_000_000_000 * (1_700_000_000 + second as i64));
            history.sample(&components, Duration::from_secs(second), now);
        }
    }

    #[test]
    fn rates_are_those_of_the_last_seconds() {
        let mut history = History::default();
        run(&mut history, 0..1, &["sinks.a"]);
        assert_eq!(history.rates("sinks.a"), Rates::default());
        run(&mut history, 1..60, &["sinks.a"]);
        assert_eq!(history.rates("sinks.a"), Rates { received: 100.0, sent: 50.0, errors: 0.0 });
        // It stands still.
        for second in 60..66 {
            let now = Timestamp::from_nanos(0);
            history.sample(&[("sinks.a".to_owned(), sink(5_900))], Duration::from_secs(second), now);
        }
        assert_eq!(history.rates("sinks.a").received, 0.0);
        assert_eq!(history.rates("sinks.b"), Rates::default());
    }

    #[test]
    fn an_hour_is_kept_and_what_is_gone_for_longer_is_forgotten() {
        let mut history = History::default();
        run(&mut history, 0..100, &["sinks.a", "sinks.b"]);
        run(&mut history, 100..200, &["sinks.a"]);
        run(&mut history, 200..301, &["sinks.a", "sinks.c"]);
        let json = history.to_json();
        assert_eq!((json.step_secs, json.times.len()), (10, 30));
        assert_eq!(json.times[0], 1_700_000_010);
        let a = &json.components["sinks.a"];
        assert_eq!(a.received, vec![Some(100.0); 30]);
        assert_eq!(a.sent, vec![Some(50.0); 30]);
        assert_eq!((a.buffered[0], a.lag_secs[0], a.buffer_fill[0]), (Some(500.0), Some(1.0), None));
        let there = |name: &str| json.components[name].received.iter().filter(|step| step.is_some()).count();
        assert_eq!((there("sinks.b"), there("sinks.c")), (9, 11));
        for series in json.components.values() {
            assert_eq!(series.received.len(), json.times.len());
        }
        run(&mut history, 301..4_000, &["sinks.a"]);
        let json = history.to_json();
        assert_eq!(json.times.len(), STEPS);
        assert_eq!(json.components.keys().collect::<Vec<_>>(), ["sinks.a"]);
    }

    #[test]
    fn so_many_components_and_no_more() {
        let mut history = History::default();
        for round in 0..20 {
            let names: Vec<_> = (0..50).map(|number| format!("sinks.{round}_{number}")).collect();
            let names: Vec<_> = names.iter().map(String::as_str).collect();
            run(&mut history, round * 20..(round + 1) * 20, &names);
        }
        assert_eq!(history.components.len(), MAX_COMPONENTS);
        assert!(history.components.values().all(|known| known.recent.len() <= 7));
        assert!((0..50).all(|number| history.components.contains_key(&format!("sinks.19_{number}"))));
    }
}
