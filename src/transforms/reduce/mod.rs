//! `reduce`: makes one event of several.
//!
//! - this file: which events belong together, and when they are all there
//! - `merge`: what becomes of their fields

mod merge;
#[cfg(test)]
mod tests;

use super::key::write_field;
use super::{AnyCondition, Condition, optional_condition};
use crate::config::{ComponentInfo, Problem, Problems, Result, Transform, TransformConfig, TransformContext};
use crate::event::{LogEvent, Lookup, Path, Timestamp};
use crate::finalizer::EventFinalizers;
use crate::log_limit::LogLimit;
use crate::topology::Outputs;
use governor::clock::{Clock, MonotonicClock, Reference};
use lru::LruCache;
use merge::{MergeStrategy, Merged, Strategies};
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::num::{NonZeroU64, NonZeroUsize};
use std::time::Duration;
use vrl::value::Value;

/// The configuration of the `reduce` transform: Vector's.
///
/// Events of a group become one, which is put out when its last event has come: by a condition, by their
/// number, or by time; and at the end of the topology. It has the NATS subject and the time of receipt of the
/// first event, and whoever delivers it answers for all of them.
///
/// A field for which `merge_strategies` names nothing is merged by the type of its first value: numbers are
/// summed, also those of `group_by`; of times (which are text until `remap` makes times of them) the first
/// stays, and the last is added as `<field>_end`; objects are merged member by member; of all else the first
/// value stays. A value of a type that cannot be merged is left out, and its event is counted among the
/// errors.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReduceConfig {
    /// The fields that tell the groups: events belong together if each of these has the same value of the
    /// same type, or is missing. Default: none, and all events are one group.
    #[serde(default)]
    group_by: Vec<Path>,
    /// How the values of a field are merged: `array`, `concat` (with spaces), `concat_newline`, `concat_raw`,
    /// `discard` (all but the first), `flat_unique`, `longest_array`, `max`, `min`, `retain` (the last),
    /// `shortest_array` or `sum`. A path may lead into objects, but not into arrays.
    #[serde(default)]
    merge_strategies: BTreeMap<String, MergeStrategy>,
    /// Holds for the first event of a group: what there is of the group before it is put out. Not together
    /// with `ends_when`.
    starts_when: Option<AnyCondition>,
    /// Holds for the last event of a group, which is put out with it.
    ends_when: Option<AnyCondition>,
    /// How many milliseconds after the last event of a group it is put out. Default: 30000.
    #[serde(default = "default_expire_after")]
    expire_after_ms: u64,
    /// How many milliseconds after the first event of a group it is put out. Default: only when something
    /// else says so.
    end_every_period_ms: Option<u64>,
    /// How often, in milliseconds, it is looked which groups have waited long enough. Default: 1000.
    #[serde(default = "default_flush_period")]
    flush_period_ms: NonZeroU64,
    /// How many events make a group full. Default: any number.
    max_events: Option<NonZeroUsize>,
    /// How many groups are held: for one more, the group whose last event is oldest is put out. Default: any
    /// number, which ever new values of `group_by` make as large as `expire_after_ms` lets them.
    max_groups: Option<NonZeroUsize>,
}

const fn default_expire_after() -> u64 {
    30_000
}

const fn default_flush_period() -> NonZeroU64 {
    NonZeroU64::new(1000).unwrap()
}

impl ReduceConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "reduce",
        "Make one event of several: the lines of a stack trace, the steps of a request.",
        "group_by = [\"fly.app.instance\"]\nmerge_strategies.message = \"concat_newline\"\nstarts_when = \"!starts_with(string(.message) ?? \\\"\\\", \\\" \\\")\"\nexpire_after_ms = 2000",
    );

    fn build_with<C: Clock>(&self, cx: &TransformContext, clock: C) -> Result<Reduce<C>, Problems> {
        let mut problems = Vec::new();
        let starts_when = optional_condition(self.starts_when.as_ref(), "starts_when", cx, &mut problems);
        let ends_when = optional_condition(self.ends_when.as_ref(), "ends_when", cx, &mut problems);
        if self.starts_when.is_some() && self.ends_when.is_some() {
            let message = "it and `ends_when` exclude each other; keep one of them";
            problems.push(Problem::at("starts_when", message));
        }
        let mut strategies = Strategies::default();
        for (name, strategy) in &self.merge_strategies {
            let inserted = match Path::parse(name) {
                Ok(path) => strategies.insert(&path, *strategy).map_err(|()| {
                    format!("`{name}` leads into an array; expected the path of a field, or of the array")
                }),
                Err(error) => Err(error.to_string()),
            };
            if let Err(message) = inserted {
                problems.push(Problem::at("merge_strategies", message));
            }
        }
        if !problems.is_empty() {
            return Err(Problems(problems));
        }
        Ok(Reduce {
            id: cx.id.clone(),
            group_by: Lookup::new(self.group_by.iter().cloned()),
            strategies,
            starts_when,
            ends_when,
            expire_after: Duration::from_millis(self.expire_after_ms),
            end_every_period: self.end_every_period_ms.map(Duration::from_millis),
            flush_period: Duration::from_millis(self.flush_period_ms.get()),
            max_events: self.max_events.map_or(usize::MAX, NonZeroUsize::get),
            max_groups: self.max_groups.map_or(usize::MAX, NonZeroUsize::get),
            groups: LruCache::unbounded(),
            clock,
            key: Vec::new(),
            mismatched: LogLimit::every_10_s(),
        })
    }
}

impl TransformConfig for ReduceConfig {
    fn build(&self, cx: &TransformContext) -> Result<Box<dyn Transform>> {
        Ok(Box::new(self.build_with(cx, MonotonicClock)?))
    }
}

/// Events that belong together, as far as they have come.
struct Group<I> {
    merged: Merged,
    finalizers: EventFinalizers,
    subject: Option<String>,
    received: Timestamp,
    events: usize,
    began: I,
    last: I,
}

impl<I: Reference> Group<I> {
    fn new(first: &LogEvent, now: I) -> Group<I> {
        Group {
            merged: Merged::default(),
            finalizers: EventFinalizers::default(),
            subject: first.subject().map(str::to_owned),
            received: first.received(),
            events: 0,
            began: now,
            last: now,
        }
    }

    fn finish(self) -> LogEvent {
        let event = LogEvent::from_value(self.merged.finish())
            .with_received(self.received)
            .with_finalizers(self.finalizers);
        match self.subject {
            Some(subject) => event.with_subject(subject.into()),
            None => event,
        }
    }
}

struct Reduce<C: Clock> {
    id: String,
    group_by: Lookup,
    strategies: Strategies,
    starts_when: Option<Condition>,
    ends_when: Option<Condition>,
    expire_after: Duration,
    end_every_period: Option<Duration>,
    flush_period: Duration,
    max_events: usize,
    max_groups: usize,
    /// By the values of `group_by`, the one whose last event is oldest last.
    groups: LruCache<Vec<u8>, Group<C::Instant>>,
    clock: C,
    /// The key of the event at hand.
    key: Vec<u8>,
    mismatched: LogLimit,
}

impl<C: Clock> Reduce<C> {
    /// Adds an event to its group, and says how many that has now.
    fn add(&mut self, mut event: LogEvent, outputs: &Outputs) -> usize {
        let now = self.clock.now();
        let group = self.groups.get_or_insert_mut_ref(self.key.as_slice(), || Group::new(&event, now));
        group.events += 1;
        group.last = now;
        group.finalizers.merge(event.take_finalizers());
        let mut mismatches = Vec::new();
        if let Value::Object(object) = event.into_value() {
            group.merged.add(object, &self.strategies, &mut mismatches);
        }
        if let Some(field) = mismatches.first() {
            outputs.counts().add_errors(1);
            if let Some(unsaid) = self.mismatched.allow() {
                tracing::warn!(
                    transform = self.id,
                    unsaid,
                    "the field `{field}` of an event is not of a type that can be merged with those before it, and is left out"
                );
            }
        }
        group.events
    }

    /// Puts out the group of the event at hand.
    fn put_out(&mut self, outputs: &mut Outputs) {
        if let Some(group) = self.groups.pop(self.key.as_slice()) {
            outputs.push(group.finish());
        }
    }
}

impl<C> Transform for Reduce<C>
where
    C: Clock + Send,
{
    fn transform(&mut self, event: LogEvent, outputs: &mut Outputs) {
        let holds = |condition: &mut Option<Condition>| {
            condition.as_mut().is_some_and(|condition| condition.check(&event))
        };
        let (starts_here, ends_here) = (holds(&mut self.starts_when), holds(&mut self.ends_when));
        self.key.clear();
        let (fields, _) = event.look_up(&self.group_by);
        fields.iter().for_each(|field| write_field(*field, &mut self.key));
        drop(fields);
        if starts_here {
            self.put_out(outputs);
        }
        if self.add(event, outputs) >= self.max_events || ends_here {
            self.put_out(outputs);
        } else if self.groups.len() > self.max_groups
            && let Some((_, group)) = self.groups.pop_lru()
        {
            outputs.push(group.finish());
        }
    }

    fn flush_every(&self) -> Option<Duration> {
        Some(self.flush_period)
    }

    fn flush(&mut self, outputs: &mut Outputs) {
        let now = self.clock.now();
        let since = |then: C::Instant| Duration::from(now.duration_since(then));
        let is_due = |group: &Group<C::Instant>| {
            since(group.last) >= self.expire_after
                || self.end_every_period.is_some_and(|period| since(group.began) >= period)
        };
        // The oldest first.
        let due = self.groups.iter().rev().filter(|(_, group)| is_due(group));
        let due: Vec<_> = due.map(|(key, _)| key.clone()).collect();
        for group in due.iter().filter_map(|key| self.groups.pop(key)) {
            outputs.push(group.finish());
        }
    }

    fn finish(&mut self, outputs: &mut Outputs) {
        while let Some((_, group)) = self.groups.pop_lru() {
            outputs.push(group.finish());
        }
    }
}
