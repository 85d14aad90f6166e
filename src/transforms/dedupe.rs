//! `dedupe`: leaves out events that have been seen before.

use super::key::{write_field, write_without};
use crate::config::{ComponentInfo, LogSchema, Result, Transform, TransformConfig, TransformContext};
use crate::event::{LogEvent, Lookup, Path, PathError};
use crate::topology::Outputs;
use governor::clock::{Clock, MonotonicClock, Reference};
use lru::LruCache;
use schemars::JsonSchema;
use serde::Deserialize;
use std::hash::{BuildHasher, RandomState};
use std::num::NonZeroUsize;
use std::time::Duration;

/// The configuration of the `dedupe` transform: Vector's.
///
/// An event is a duplicate if the compared fields of it have the same values, of the same types, as those of
/// an event among the last ones. A field that is missing is equal to one that is missing.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DedupeConfig {
    /// Which fields are compared: `fields.match` or `fields.ignore`. Default: to match the message, the host
    /// and the timestamp, by the names of the global `log_schema`.
    fields: Option<Fields>,
    /// How many events are remembered.
    #[serde(default)]
    cache: CacheConfig,
    /// For how long. Default: until they are displaced by others.
    time_settings: Option<TimeSettings>,
}

/// The fields that are compared.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "FieldsTable")]
#[schemars(with = "FieldsTable")]
enum Fields {
    /// These.
    Match(Vec<Path>),
    /// All but these and what is in them.
    Ignore(Vec<Path>),
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct FieldsTable {
    /// The fields that are compared. A missing one is equal to a missing one.
    r#match: Option<Vec<Path>>,
    /// The fields that are not: all others are, and what is in these is not either.
    ignore: Option<Vec<Path>>,
}

impl TryFrom<FieldsTable> for Fields {
    type Error = &'static str;

    fn try_from(table: FieldsTable) -> Result<Fields, Self::Error> {
        match (table.r#match, table.ignore) {
            (Some(paths), None) => Ok(Fields::Match(paths)),
            (None, Some(paths)) => Ok(Fields::Ignore(paths)),
            (Some(_), Some(_)) => Err("`match` and `ignore` exclude each other; keep one of them"),
            (None, None) => Err("empty; expected `match` or `ignore`, each a list of fields"),
        }
    }
}

/// The `cache` table.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct CacheConfig {
    /// How many events are remembered: past that, the one that was seen longest ago is forgotten. Each takes
    /// some 100 bytes, however large it was. Default: 5000.
    num_events: NonZeroUsize,
}

impl Default for CacheConfig {
    fn default() -> CacheConfig {
        const NUM_EVENTS: NonZeroUsize = NonZeroUsize::new(5000).unwrap();
        CacheConfig { num_events: NUM_EVENTS }
    }
}

/// The `time_settings` table.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct TimeSettings {
    /// An event that was first seen as many milliseconds ago, or longer, is let through again.
    max_age_ms: u64,
    /// Whether that time begins anew with each duplicate that is left out. Default: false.
    #[serde(default)]
    refresh_on_drop: bool,
}

impl DedupeConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "dedupe",
        "Leave out events whose fields have been seen before.",
        "fields.match = [\"message\", \"fly.app.instance\"]\ncache.num_events = 5000",
    );

    fn build_with<C: Clock>(&self, schema: &LogSchema, clock: C) -> Result<Dedupe<C>, PathError> {
        let fields = match &self.fields {
            Some(fields) => fields.clone(),
            None => {
                let keys = [&schema.message_key, &schema.host_key, &schema.timestamp_key];
                Fields::Match(keys.into_iter().map(|key| Path::parse(key)).collect::<Result<_, _>>()?)
            }
        };
        Ok(Dedupe {
            compared: match fields {
                Fields::Match(paths) => Compared::Only(Lookup::new(paths)),
                Fields::Ignore(paths) => Compared::AllBut(paths),
            },
            // Not all of it at once: a cache may well be larger than the stream.
            seen: LruCache::sparse(self.cache.num_events),
            hashers: [RandomState::new(), RandomState::new()],
            max_age: self.time_settings.map(|settings| Duration::from_millis(settings.max_age_ms)),
            refresh_on_drop: self.time_settings.is_some_and(|settings| settings.refresh_on_drop),
            clock,
            key: Vec::new(),
        })
    }
}

impl TransformConfig for DedupeConfig {
    fn build(&self, cx: &TransformContext) -> Result<Box<dyn Transform>> {
        let dedupe = self.build_with(&cx.log_schema, MonotonicClock);
        Ok(Box::new(dedupe.map_err(|error| format!("log_schema: {error}"))?))
    }
}

struct Dedupe<C: Clock> {
    compared: Compared,
    /// When each event was first seen, or last if that is what counts.
    seen: LruCache<Hash, C::Instant>,
    hashers: [RandomState; 2],
    max_age: Option<Duration>,
    refresh_on_drop: bool,
    clock: C,
    /// Empty between events; kept for its memory.
    key: Vec<u8>,
}

/// 128 bits stand for an event, so that large ones cost no memory. Two events of the same hash would be taken
/// for duplicates, and one of them lost: that is less likely than any fault of the machine (at 5000
/// remembered events and a billion new ones, one in 10^25), and nobody can bring it about, because SipHash's
/// keys are random and known to this process alone.
type Hash = [u64; 2];

enum Compared {
    Only(Lookup),
    AllBut(Vec<Path>),
}

impl<C: Clock> Dedupe<C> {
    fn hash(&mut self, event: &LogEvent) -> Hash {
        self.key.clear();
        match &self.compared {
            Compared::Only(lookup) => {
                let (fields, _) = event.look_up(lookup);
                fields.iter().for_each(|field| write_field(*field, &mut self.key));
            }
            Compared::AllBut(paths) => {
                let paths: Vec<_> = paths.iter().map(Path::segments).collect();
                write_without(&event.json(), &paths, &mut self.key);
            }
        }
        self.hashers.each_ref().map(|hasher| hasher.hash_one(&self.key))
    }

    fn is_duplicate(&mut self, event: &LogEvent) -> bool {
        let hash = self.hash(event);
        let now = self.clock.now();
        let Some(seen) = self.seen.get_mut(&hash) else {
            self.seen.put(hash, now);
            return false;
        };
        let is_duplicate = self.max_age.is_none_or(|most| Duration::from(now.duration_since(*seen)) < most);
        if self.refresh_on_drop || !is_duplicate {
            *seen = now;
        }
        is_duplicate
    }
}

impl<C: Clock + Send> Transform for Dedupe<C> {
    fn transform(&mut self, event: LogEvent, outputs: &mut Outputs) {
        if self.is_duplicate(&event) {
            outputs.discard(event);
        } else {
            outputs.push(event);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Run, deliver};
    use super::*;
    use crate::finalizer::EventStatus;
    use governor::clock::FakeRelativeClock;
    use proptest::prelude::*;
    use std::collections::HashSet;

    fn dedupe(config: &str) -> Run<Dedupe<FakeRelativeClock>> {
        dedupe_at(config, FakeRelativeClock::default())
    }

    fn dedupe_at(config: &str, clock: FakeRelativeClock) -> Run<Dedupe<FakeRelativeClock>> {
        let config: DedupeConfig = toml::from_str(config).unwrap();
        Run::new(config.build_with(&LogSchema::default(), clock).unwrap())
    }

    /// Which of the events are let through, as text and as trees.
    #[track_caller]
    fn check(config: &str, events: &[&str], expected: &[usize]) {
        for is_tree in [false, true] {
            let mut run = dedupe(config);
            let is_passed = |event: &&str| {
                let mut event = LogEvent::from_json(event.to_string().into()).unwrap();
                if is_tree {
                    event.value_mut();
                }
                !run.give_event(event).is_empty()
            };
            let passed: Vec<_> = events.iter().map(is_passed).collect();
            let passed: Vec<_> = (0..events.len()).filter(|index| passed[*index]).collect();
            assert_eq!(passed, expected, "{config}, as a tree: {is_tree}");
        }
    }

    #[test]
    fn compares_message_host_and_timestamp_by_default() {
        let events = [
            r#"{"message":"a","host":"h","timestamp":"t","n":1}"#,
            r#"{"timestamp":"t","message":"a","n":2,"host":"h"}"#,
            r#"{"message":"b","host":"h","timestamp":"t"}"#,
            r#"{"message":"a","host":"i","timestamp":"t"}"#,
            r#"{"message":"a","host":"h","timestamp":"u"}"#,
            r#"{"message":"a","host":"h"}"#,
            r#"{"n":1}"#,
            r#"{"n":2}"#,
        ];
        check("", &events, &[0, 2, 3, 4, 5, 6]);
    }

    #[test]
    fn the_default_fields_have_the_names_of_the_schema() {
        let schema = LogSchema { message_key: "log.text".into(), ..LogSchema::default() };
        let config: DedupeConfig = toml::from_str("").unwrap();
        let mut run = Run::new(config.build_with(&schema, FakeRelativeClock::default()).unwrap());
        assert_eq!(run.give(r#"{"log":{"text":"a"},"message":"x"}"#).len(), 1);
        assert_eq!(run.give(r#"{"log":{"text":"a"},"message":"y"}"#).len(), 0);
        assert_eq!(run.give(r#"{"log":{"text":"b"},"message":"x"}"#).len(), 1);
    }

    #[test]
    fn compares_the_fields_it_is_told() {
        let events = [
            r#"{"a":1,"b":{"c":"x"},"d":1}"#,
            r#"{"b":{"c":"x"},"a":1,"d":2}"#,
            r#"{"a":"1","b":{"c":"x"},"d":1}"#,
            r#"{"a":1.0,"b":{"c":"x"},"d":1}"#,
            r#"{"a":1,"b":{"c":"y"},"d":1}"#,
            r#"{"a":1,"c":"x","d":1}"#,
            r#"{"a":1,"b":{"c":null},"d":1}"#,
        ];
        check("fields.match = ['a', 'b.c']", &events, &[0, 2, 3, 4, 5, 6]);
        check("fields.ignore = ['d']", &events, &[0, 2, 3, 4, 5, 6]);
        check("fields.ignore = ['a', 'b', 'c', 'd']", &events, &[0]);
        // Which of two fields holds a value makes a difference.
        check("fields.match = ['a', 'b']", &[r#"{"a":1}"#, r#"{"b":1}"#], &[0, 1]);
        check("fields.ignore = []", &[r#"{"a":1}"#, r#"{"b":1}"#, r#"{ "a" : 1 }"#], &[0, 1]);
        check("fields.match = ['tags[0]']", &[r#"{"tags":[1,2]}"#, r#"{"tags":[1,3]}"#], &[0]);
    }

    #[test]
    fn forgets_what_was_seen_longest_ago() {
        let config = "fields.match = ['a']\ncache.num_events = 2";
        let [a, b, c] = [r#"{"a":1}"#, r#"{"a":2}"#, r#"{"a":3}"#];
        check(config, &[a, b, a, b], &[0, 1]);
        check(config, &[a, b, c, a], &[0, 1, 2, 3]);
        // A duplicate that is left out has been seen all the same.
        check(config, &[a, b, a, c, a, b], &[0, 1, 3, 5]);
    }

    #[test]
    fn forgets_after_the_age_it_is_told() {
        for (refresh, expected) in [(false, [1, 0, 0, 1, 0]), (true, [1, 0, 0, 0, 0])] {
            let config = format!(
                "fields.match = ['a']\ntime_settings = {{ max_age_ms = 100, refresh_on_drop = {refresh} }}"
            );
            let clock = FakeRelativeClock::default();
            let mut run = dedupe_at(&config, clock.clone());
            let mut passed = Vec::new();
            for milliseconds in [0, 50, 49, 1, 99] {
                clock.advance(Duration::from_millis(milliseconds));
                passed.push(run.give(r#"{"a":1}"#).len());
            }
            assert_eq!(passed, expected, "refresh_on_drop = {refresh}");
        }
    }

    #[test]
    fn a_duplicate_is_answered_as_delivered_and_counted() {
        dedupe("fields.match = ['a']").check_left_out([r#"{"a":1,"b":1}"#, r#"{"a":1,"b":2}"#]);
    }

    #[test]
    fn says_what_is_wrong() {
        for (config, words) in [
            ("fields = {}", "expected `match` or `ignore`"),
            ("fields = { match = ['a'], ignore = ['b'] }", "exclude each other"),
            ("fields.match = ['a b']", "not a field path"),
            ("fields.only = ['a']", "unknown field `only`"),
            ("cache.num_events = 0", "nonzero"),
            ("time_settings = {}", "missing field `max_age_ms`"),
            ("timed = {}", "unknown field `timed`"),
        ] {
            let error = toml::from_str::<DedupeConfig>(config).unwrap_err().to_string();
            assert!(error.contains(words), "{config}: {error}");
        }
    }

    proptest! {
        /// As long as the cache suffices, what comes out is the first event of each kind.
        #[test]
        fn passes_first_occurrences(numbers in prop::collection::vec(0..20u8, 0..100)) {
            let mut run = dedupe("fields.match = ['a']\ncache.num_events = 20");
            let mut first = HashSet::new();
            for number in numbers {
                let passed = run.give(&format!("{{\"a\":{number}}}"));
                prop_assert_eq!(!passed.is_empty(), first.insert(number));
                deliver(passed);
            }
            prop_assert!(run.statuses().iter().all(|status| *status == Some(EventStatus::Delivered)));
        }
    }
}
