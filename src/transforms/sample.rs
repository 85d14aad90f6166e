//! `sample`: lets a part of the events through.

use super::{AnyCondition, Condition, optional_condition};
use crate::config::{ComponentInfo, Problem, Problems, Result, Transform, TransformConfig, TransformContext};
use crate::event::{Field, LogEvent, Path};
use crate::template::Template;
use crate::topology::Outputs;
use lru::LruCache;
use schemars::JsonSchema;
use seahash::SeaHasher;
use serde::Deserialize;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::num::{NonZeroU64, NonZeroUsize};

/// The configuration of the `sample` transform: Vector's. One of `rate` and `ratio` is needed.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SampleConfig {
    /// One event of so many is let through, the first one first.
    rate: Option<u64>,
    /// The part of the events that is let through: more than 0, at most 1.
    ratio: Option<f64>,
    /// A field with the rate for its event: a whole number, or text that is one. Without a usable value the
    /// event falls under `rate` or `ratio`.
    rate_field: Option<Path>,
    /// A field with the ratio for its event: a number more than 0 and at most 1, or text that is one. Without
    /// a usable value the event falls under `rate` or `ratio`.
    ratio_field: Option<Path>,
    /// A field whose value decides: events of the same value are all let through or all left out, here and in
    /// every other shipper and Vector with the same `rate` or `ratio`. Events without the field are counted.
    key_field: Option<Path>,
    /// Events whose text for this template is the same are counted apart from others; those that lack one of
    /// its fields form a group of their own. Default: all are one group.
    group_by: Option<Template>,
    /// Where the rate or ratio is written, as text, into an event that is let through; empty for nowhere.
    /// Default: `sample_rate`.
    #[serde(default = "default_rate_key")]
    sample_rate_key: String,
    /// Events for which this holds are let through as they are, and not counted.
    exclude: Option<AnyCondition>,
}

fn default_rate_key() -> String {
    "sample_rate".to_owned()
}

/// How many groups are counted. Past that, the one whose last event is oldest is forgotten, so that a
/// template with ever new values does not fill the memory; its next event is the first one of a new count,
/// and passes.
const GROUPS: NonZeroUsize = NonZeroUsize::new(10_000).unwrap();

impl SampleConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "sample",
        "Let one event of so many through, or a part of them.",
        "rate = 10\ngroup_by = \"{{ fly.app.name }}\"",
    );

    fn share(&self) -> Result<Share, Problem> {
        match (self.rate, self.ratio) {
            (Some(rate), None) => NonZeroU64::new(rate)
                .map(Share::OneOf)
                .ok_or_else(|| Problem::at("rate", "it is 0; expected at least 1")),
            (None, Some(ratio)) => Share::part(ratio).ok_or_else(|| {
                Problem::at("ratio", format!("it is {ratio}; expected more than 0 and at most 1"))
            }),
            (Some(_), Some(_)) => {
                Err(Problem::at("rate", "it and `ratio` exclude each other; keep one of them"))
            }
            (None, None) => Err(Problem::at(
                "rate",
                "missing, and `ratio` too; expected one of them, also beside `rate_field` or `ratio_field`",
            )),
        }
    }

    fn own_share(&self) -> Result<Option<OwnShare>, Problem> {
        match (&self.rate_field, &self.ratio_field) {
            (None, None) => Ok(None),
            _ if self.key_field.is_some() => Err(Problem::at(
                "key_field",
                "it does not go with `rate_field` or `ratio_field`, by which events of one key would be told apart; keep one of them",
            )),
            (Some(path), None) => Ok(Some(OwnShare::Rate(path.clone()))),
            (None, Some(path)) => Ok(Some(OwnShare::Ratio(path.clone()))),
            (Some(_), Some(_)) => {
                Err(Problem::at("rate_field", "it and `ratio_field` exclude each other; keep one of them"))
            }
        }
    }

    fn rate_key(&self) -> Result<Option<Path>, Problem> {
        match self.sample_rate_key.as_str() {
            "" => Ok(None),
            key => {
                Path::parse(key).map(Some).map_err(|error| Problem::at("sample_rate_key", error.to_string()))
            }
        }
    }

    fn build_sample(&self, cx: &TransformContext) -> Result<Sample, Problems> {
        let mut problems = Vec::new();
        let exclude = optional_condition(self.exclude.as_ref(), "exclude", cx, &mut problems);
        match (self.share(), self.own_share(), self.rate_key()) {
            (Ok(share), Ok(own_share), Ok(rate_key)) if problems.is_empty() => Ok(Sample {
                share,
                own_share,
                key_field: self.key_field.clone(),
                group_by: self.group_by.clone(),
                groups: LruCache::sparse(GROUPS),
                rate_key,
                exclude,
            }),
            (share, own_share, rate_key) => {
                problems.extend([share.err(), own_share.err(), rate_key.err()].into_iter().flatten());
                Err(Problems(problems))
            }
        }
    }
}

impl TransformConfig for SampleConfig {
    fn build(&self, cx: &TransformContext) -> Result<Box<dyn Transform>> {
        Ok(Box::new(self.build_sample(cx)?))
    }
}

/// How much is let through.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Share {
    OneOf(NonZeroU64),
    /// More than 0, at most 1.
    Part(f64),
}

/// 2^64: how many hashes there are.
const HASHES: f64 = 18_446_744_073_709_551_616.0;

impl Share {
    fn part(ratio: f64) -> Option<Share> {
        (ratio > 0.0 && ratio <= 1.0).then_some(Share::Part(ratio))
    }

    /// Whether a value of this hash is among them. As in Vector, so that both choose the same.
    fn takes_hash(self, hash: u64) -> bool {
        match self {
            Share::OneOf(rate) => hash.is_multiple_of(rate.get()),
            Share::Part(ratio) => hash <= (ratio * HASHES) as u64,
        }
    }

    /// Whether the event is among them that follows so many others: the first one is, and of any number of
    /// events in a row there are as many as the share says, to within one.
    fn takes_next(self, before: u64) -> bool {
        match self {
            Share::OneOf(rate) => before.is_multiple_of(rate.get()),
            Share::Part(ratio) => {
                // In whole units of 2^-64, so that nothing is lost by rounding however many events there are.
                let part = ((ratio * HASHES) as u128).max(1);
                let taken = |events: u64| (u128::from(events) * part).div_ceil(1 << 64);
                taken(before + 1) > taken(before)
            }
        }
    }
}

impl fmt::Display for Share {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Share::OneOf(rate) => rate.fmt(f),
            Share::Part(ratio) => ratio.fmt(f),
        }
    }
}

/// The hash of a key: of the text that Vector makes of it, which for numbers is not always that of their
/// JSON.
fn hash_of(field: Field<'_>) -> u64 {
    match field.as_str() {
        Some(text) => seahash::hash(text.as_bytes()),
        None => seahash::hash(field.to_value().to_string_lossy().as_bytes()),
    }
}

/// The field with an event's own share.
enum OwnShare {
    Rate(Path),
    Ratio(Path),
}

impl OwnShare {
    fn of(&self, event: &LogEvent) -> Option<Share> {
        let text = |path| event.get(path).map(Field::to_text);
        match self {
            OwnShare::Rate(path) => text(path)?.parse().ok().map(Share::OneOf),
            OwnShare::Ratio(path) => text(path)?.parse().ok().and_then(Share::part),
        }
    }
}

/// How many events of a group there were.
#[derive(Default)]
struct Group {
    /// Of the common share.
    counted: u64,
    /// Of a share of their own.
    drawn: u64,
}

struct Sample {
    share: Share,
    own_share: Option<OwnShare>,
    key_field: Option<Path>,
    group_by: Option<Template>,
    /// By the group's text; `None` for events that have none.
    groups: LruCache<Option<String>, Group>,
    rate_key: Option<Path>,
    exclude: Option<Condition>,
}

impl Sample {
    /// Whether an event is let through that has this share, if it has one of its own.
    fn takes(&mut self, event: &LogEvent, own: Option<Share>) -> bool {
        if let Some(field) = self.key_field.as_ref().and_then(|path| event.get(path)) {
            return self.share.takes_hash(hash_of(field));
        }
        let group = self.group_by.as_ref().and_then(|template| template.render(event).ok());
        let count = self.groups.get_or_insert_mut_ref(&group, Group::default);
        match own {
            None => {
                count.counted += 1;
                self.share.takes_next(count.counted - 1)
            }
            // Events of several shares cannot be counted as one row: by the hash of its number, each has its
            // own chance, and the same one every time.
            Some(own) => {
                count.drawn += 1;
                let mut hasher = SeaHasher::new();
                (&group, count.drawn).hash(&mut hasher);
                own.takes_hash(hasher.finish())
            }
        }
    }
}

impl Transform for Sample {
    fn transform(&mut self, mut event: LogEvent, outputs: &mut Outputs) {
        if self.exclude.as_mut().is_some_and(|condition| condition.check(&event)) {
            return outputs.push(event);
        }
        let own = self.own_share.as_ref().and_then(|field| field.of(&event));
        if !self.takes(&event, own) {
            return outputs.discard(event);
        }
        if let Some(path) = &self.rate_key {
            event.insert(path, own.unwrap_or(self.share).to_string().into());
        }
        outputs.push(event);
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Run, deliver, texts};
    use super::*;
    use crate::finalizer::EventStatus;
    use proptest::prelude::*;

    fn sample(config: &str) -> Run<Sample> {
        let config: SampleConfig = toml::from_str(config).unwrap();
        Run::new(config.build_sample(&TransformContext::default()).unwrap())
    }

    /// Which of the events are let through.
    fn passed(run: &mut Run<Sample>, events: impl IntoIterator<Item = impl AsRef<str>>) -> Vec<bool> {
        events.into_iter().map(|event| !run.give(event.as_ref()).is_empty()).collect()
    }

    /// Which of so many events are let through: `x` for each that is.
    #[track_caller]
    fn check(config: &str, expected: &str) {
        let passed = passed(&mut sample(config), expected.chars().map(|_| "{}"));
        let seen: String = passed.into_iter().map(|passed| if passed { 'x' } else { '.' }).collect();
        assert_eq!(seen, expected, "{config}");
    }

    #[test]
    fn lets_the_first_event_through_and_then_its_share() {
        check("rate = 1", "xxx");
        check("rate = 3", "x..x..x.");
        check("ratio = 1", "xxx");
        check("ratio = 0.5", "x.x.x.");
        check("ratio = 0.25", "x...x...x");
        check("ratio = 0.75", "xxx.xxx.");
        check("ratio = 1e-30", "x.......");
    }

    #[test]
    fn counts_each_group_by_itself() {
        let groups = ["a", "a", "b", "a", "b", "b", "a", "b"];
        let events = groups.map(|group| format!("{{\"app\":\"{group}\"}}"));
        let mut run = sample("rate = 2\ngroup_by = '{{ app }}'");
        assert_eq!(passed(&mut run, &events), [true, false, true, true, false, true, false, false]);
        // Those without the field are a group too.
        assert_eq!(passed(&mut run, ["{}", "{}", "{\"app\":null}", "{}"]), [true, false, true, true]);
    }

    #[test]
    fn remembers_only_so_many_groups() {
        let mut run = sample("rate = 2\ngroup_by = '{{ n }}'");
        for number in 0..GROUPS.get() + 1 {
            assert_eq!(run.give(&format!("{{\"n\":{number}}}")).len(), 1);
        }
        assert_eq!(run.transform.groups.len(), GROUPS.get());
        // The first one was forgotten, the last one not.
        assert_eq!(run.give("{\"n\":0}").len(), 1);
        assert_eq!(run.give(&format!("{{\"n\":{GROUPS}}}")).len(), 0);
    }

    #[test]
    fn a_key_decides_by_its_hash_alone() {
        for config in ["rate = 4\nkey_field = 'user.id'", "ratio = 0.25\nkey_field = 'user.id'"] {
            let events: Vec<_> = (0..1000).map(|id| format!("{{\"user\":{{\"id\":{id}}}}}")).collect();
            let first = passed(&mut sample(config), &events);
            let mut run = sample(config);
            run.give("{}");
            assert_eq!(passed(&mut run, &events), first, "{config}: the same whatever came before");
            let taken = first.iter().filter(|passed| **passed).count();
            assert!((200..300).contains(&taken), "{config}: {taken}");
        }
        // A number and its text are the same key.
        for (value, text) in [
            ("7", "7"),
            ("1.50", "1.5"),
            ("2.0", "2"),
            ("null", "<null>"),
            ("true", "true"),
            ("[1, \"a\"]", "[1,\"a\"]"),
        ] {
            assert_eq!(hash_of(Field::Json(value)), seahash::hash(text.as_bytes()), "{value}");
        }
    }

    /// These are SeaHash's published values: what Vector takes is taken here.
    #[test]
    fn the_hash_is_seahash() {
        assert_eq!(seahash::hash(b"to be or not to be"), 1_988_685_042_348_123_509);
        let share = Share::part(0.2).unwrap();
        assert!(share.takes_hash(1_988_685_042_348_123_509));
        assert!(!share.takes_hash(u64::MAX / 4));
        assert!(Share::part(1.0).unwrap().takes_hash(u64::MAX));
    }

    #[test]
    fn events_without_the_key_are_counted() {
        let mut run = sample("rate = 2\nkey_field = 'k'");
        assert_eq!(passed(&mut run, ["{}", "{}", "{}"]), [true, false, true]);
    }

    #[test]
    fn an_event_may_have_a_share_of_its_own() {
        let all = |run: &mut Run<Sample>, text: &str| passed(run, (0..1000).map(|_| text));
        let count = |passed: &[bool]| passed.iter().filter(|passed| **passed).count();
        for (config, event, range) in [
            ("rate = 1\nratio_field = 'r'", "{\"r\":0.1}", 60..140),
            ("rate = 1\nratio_field = 'r'", "{\"r\":\"0.1\"}", 60..140),
            ("rate = 1000\nratio_field = 'r'", "{\"r\":1}", 1000..1001),
            ("rate = 1\nrate_field = 'r'", "{\"r\":10}", 60..140),
            ("rate = 1\nrate_field = 'r'", "{\"r\":\"10\"}", 60..140),
            // What is no share leaves the event to the common one.
            ("rate = 1000\nratio_field = 'r'", "{\"r\":1.5}", 1..2),
            ("rate = 1000\nratio_field = 'r'", "{\"r\":0}", 1..2),
            ("rate = 1000\nratio_field = 'r'", "{\"r\":true}", 1..2),
            ("rate = 1000\nratio_field = 'r'", "{}", 1..2),
            ("rate = 1000\nrate_field = 'r'", "{\"r\":0}", 1..2),
            ("rate = 1000\nrate_field = 'r'", "{\"r\":2.0}", 1..2),
        ] {
            let first = all(&mut sample(config), event);
            assert!(range.contains(&count(&first)), "{config} {event}: {}", count(&first));
            assert_eq!(all(&mut sample(config), event), first, "{config} {event}: the same every time");
        }
    }

    #[test]
    fn writes_the_rate_as_text() {
        for (config, event, expected) in [
            ("rate = 10", r#"{"a":1}"#, r#"{"a":1,"sample_rate":"10"}"#),
            ("ratio = 0.25", r#"{"a":1}"#, r#"{"a":1,"sample_rate":"0.25"}"#),
            ("ratio = 1.0", r#"{"sample_rate":3,"a":1}"#, r#"{"sample_rate":"1","a":1}"#),
            ("rate = 10\nsample_rate_key = ''", r#"{"a":1}"#, r#"{"a":1}"#),
            ("rate = 10\nsample_rate_key = 'meta.rate'", r#"{"a":1}"#, r#"{"a":1,"meta":{"rate":"10"}}"#),
            ("rate = 10\nratio_field = 'r'", r#"{"r":1}"#, r#"{"r":1,"sample_rate":"1"}"#),
            ("rate = 10\nrate_field = 'r'", r#"{"r":"1"}"#, r#"{"r":"1","sample_rate":"1"}"#),
        ] {
            assert_eq!(texts(&sample(config).give(event)), [expected], "{config}");
        }
    }

    #[test]
    fn what_is_excluded_passes_as_it_is_and_is_not_counted() {
        let mut run = sample("rate = 2\nexclude = '.level == \"error\"'");
        let error = r#"{"level":"error"}"#;
        assert_eq!(
            passed(&mut run, [error, "{}", error, "{}", error, "{}"]),
            [true, true, true, false, true, true]
        );
        assert_eq!(texts(&run.give(error)), [error]);
    }

    #[test]
    fn works_on_text() {
        let mut run = sample(
            "ratio = 1\nkey_field = 'k'\ngroup_by = '{{ g }}'\nsample_rate_key = 'm.rate'\nexclude = '.x == 1'",
        );
        let passed = run.give(r#"{"m":{"n":1.50}, "k":1}"#);
        assert!(matches!(passed[0].root(), Field::Json(_)), "a tree was made");
    }

    #[test]
    fn what_is_left_out_is_answered_as_delivered_and_counted() {
        sample("rate = 2").check_left_out(["{}", "{}"]);
    }

    #[test]
    fn says_what_is_wrong() {
        for (config, words) in [
            ("", "expected one of them"),
            ("ratio_field = 'r'", "expected one of them"),
            ("rate = 2\nratio = 0.5", "exclude each other"),
            ("rate = 0", "rate: it is 0"),
            ("ratio = 0.0", "ratio: it is 0"),
            ("ratio = 1.5", "ratio: it is 1.5"),
            ("ratio = nan", "ratio: it is NaN"),
            ("rate = 2\nrate_field = 'a'\nratio_field = 'b'", "exclude each other"),
            ("rate = 2\nrate_field = 'a'\nkey_field = 'b'", "key_field: it does not go"),
            ("rate = 2\nsample_rate_key = 'a b'", "sample_rate_key: `a b` is not a field path"),
        ] {
            let config: SampleConfig = toml::from_str(config).unwrap();
            let error = config.build_sample(&TransformContext::default()).err().unwrap().to_string();
            assert!(error.contains(words), "{error}");
        }
        let both: SampleConfig = toml::from_str("rate = 0\nsample_rate_key = ' '\nexclude = '.a'").unwrap();
        assert_eq!(
            both.build_sample(&TransformContext::default()).err().unwrap().0.len(),
            3,
            "all mistakes at once"
        );
        for (config, words) in [
            ("rate = -1", "u64"),
            ("rate = 2\nkey_field = 'a b'", "not a field path"),
            ("rate = 2\ngroup_by = '{{ a b }}'", "not a field path"),
            ("rate = 2\nkey = 'a'", "unknown field `key`"),
        ] {
            let error = toml::from_str::<SampleConfig>(config).unwrap_err().to_string();
            assert!(error.contains(words), "{config}: {error}");
        }
    }

    proptest! {
        /// In each group as many pass as the share says, to within one, and every event is answered.
        #[test]
        fn each_group_gets_its_share(
            ratio in 0.001..1.0f64,
            rate in 1..50u64,
            groups in prop::collection::vec(0..3usize, 0..300),
        ) {
            for config in [format!("ratio = {ratio}"), format!("rate = {rate}")] {
                let mut run = sample(&format!("{config}\ngroup_by = '{{{{ g }}}}'"));
                let (mut given, mut taken) = ([0; 3], [0; 3]);
                for group in &groups {
                    let passed = run.give(&format!("{{\"g\":{group}}}"));
                    given[*group] += 1;
                    taken[*group] += passed.len();
                    deliver(passed);
                }
                let share = if config.starts_with("ratio") { ratio } else { 1.0 / rate as f64 };
                for (given, taken) in given.into_iter().zip(taken) {
                    let exact = f64::from(given) * share;
                    prop_assert!((exact..exact + 1.0).contains(&(taken as f64 + 1e-9)), "{} of {}", taken, given);
                }
                prop_assert!(run.statuses().iter().all(|status| *status == Some(EventStatus::Delivered)));
                prop_assert_eq!(run.counts().discarded as usize, groups.len() - taken.iter().sum::<usize>());
            }
        }
    }
}
