//! JetStream's API, as far as it concerns the consumer of a stream: questions, answers, and what they mean.
//!
//! Source: docs.nats.io, "JetStream wire API reference"; the codes are those of nats-server's
//! `server/errors.json`.

use super::answer::ApiError;
use super::protocol::shown;
use super::subject::SubjectFilter;
use crate::event::Timestamp;
use crate::uuid::uuid_v4;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use std::time::Duration;

/// Which consumer of which stream, and how it is read.
#[derive(Clone, Debug)]
pub struct PullOptions {
    /// The stream.
    pub stream: String,
    /// The consumer.
    pub consumer: String,
    /// How many messages are asked for at once, at least 1.
    pub batch: usize,
    /// How many bytes of messages an answer has at most; 0 is no limit.
    pub max_bytes: usize,
    /// How the consumer is made where it does not exist, and changed where it is another; `None`: it is
    /// made by somebody else.
    pub create: Option<CreateOptions>,
}

/// How a consumer is made. Of a consumer that exists, only what is given here is changed.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    /// Which of the stream's subjects; none is all.
    pub filter_subjects: Vec<String>,
    /// Where it begins. Of a consumer that exists this cannot be changed.
    pub deliver_policy: DeliverPolicy,
    /// How long a message may be without a word from us until it is delivered again. Default: 30 s.
    pub ack_wait: Option<Duration>,
    /// How often a message is delivered at most; -1 is no limit, which is the default.
    pub max_deliver: Option<i64>,
    /// How many messages may be on their way at once, to all who share the consumer. Default: 50,000.
    pub max_ack_pending: Option<i64>,
    /// For a look beside the others: a consumer of our own, which waits for no acknowledgements, lives in the
    /// server's memory, and goes away by itself when nobody asks it for messages. Default: a durable one.
    pub look: Option<LookFrom>,
}

/// Where a look begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookFrom {
    /// With the first message that was stored at this time or later.
    Time(Timestamp),
    /// With the first behind this place of the stream.
    After(u64),
}

/// Where a consumer begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum DeliverPolicy {
    /// With the oldest message that the stream has.
    #[default]
    All,
    /// With the first that is stored after the consumer was made.
    New,
    /// With the newest.
    Last,
    /// With the newest of each subject.
    LastPerSubject,
}

/// How long a consumer for a look stays when nobody asks it for messages: a request waits for less.
const LOOK_ENDS_AFTER: Duration = Duration::from_secs(60);

pub(super) const DEFAULT_ACK_WAIT: Duration = Duration::from_secs(30);
/// Enough that a sink can fill its batches: what waits in them is on its way.
const DEFAULT_MAX_ACK_PENDING: i64 = 50_000;

/// "stream not found"
const NO_STREAM: u32 = 10059;
/// "consumer not found"
const NO_CONSUMER: u32 = 10014;

/// "JetStream not enabled"
const NOT_ENABLED: u32 = 10076;
/// "JetStream not enabled for account"
const NOT_ENABLED_FOR_ACCOUNT: u32 = 10039;

impl PullOptions {
    /// `$JS.API.CONSUMER.<what>.<stream>.<consumer>`
    pub(super) fn subject(&self, what: &str) -> String {
        format!("$JS.API.CONSUMER.{what}.{}.{}", self.stream, self.consumer)
    }

    /// What is asked to make the consumer, or to change the one that has this configuration; `None` if that
    /// is as it should be, or is none of our business.
    pub(super) fn creation(&self, existing: Option<&Map<String, Value>>) -> Option<Value> {
        let create = self.create.as_ref()?;
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        if let Some(from) = create.look {
            let mut config = json!({
                "name": self.consumer,
                "ack_policy": "none",
                "inactive_threshold": nanos(LOOK_ENDS_AFTER),
                "mem_storage": true,
                "num_replicas": 1,
            });
            match from {
                LookFrom::Time(time) => {
                    config["deliver_policy"] = "by_start_time".into();
                    config["opt_start_time"] = time.to_rfc3339().into();
                }
                LookFrom::After(place) => {
                    config["deliver_policy"] = "by_start_sequence".into();
                    config["opt_start_seq"] = place.saturating_add(1).into();
                }
            }
            if let Value::Object(config) = &mut config {
                set_filters(config, &create.filter_subjects);
            }
            // One that is there is ours, and as it should be.
            let is_new = existing.is_none();
            return is_new.then(|| json!({"stream_name": self.stream, "config": config, "action": "create"}));
        }
        let mut config = existing.cloned().unwrap_or_else(|| {
            let made = json!({
                "name": self.consumer,
                "durable_name": self.consumer,
                "ack_policy": "explicit",
                "deliver_policy": create.deliver_policy,
                "ack_wait": nanos(DEFAULT_ACK_WAIT),
                "max_deliver": -1,
                "max_ack_pending": DEFAULT_MAX_ACK_PENDING,
            });
            made.as_object().cloned().unwrap_or_default()
        });
        let mut is_changed = existing.is_none();
        let mut set = |name: &str, value: Option<Value>| {
            if let Some(value) = value
                && config.get(name) != Some(&value)
            {
                config.insert(name.to_owned(), value);
                is_changed = true;
            }
        };
        set("ack_wait", create.ack_wait.map(|wait| nanos(wait).into()));
        set("max_deliver", create.max_deliver.map(Value::from));
        set("max_ack_pending", create.max_ack_pending.map(Value::from));
        if filters(&config) != sorted(create.filter_subjects.clone()) {
            set_filters(&mut config, &create.filter_subjects);
            is_changed = true;
        }
        let action = if existing.is_some() { "update" } else { "create" };
        is_changed.then(|| json!({"stream_name": self.stream, "config": config, "action": action}))
    }

    /// Whether the consumer is one of our own, for a look beside the others.
    pub(super) fn is_look(&self) -> bool {
        self.create.as_ref().is_some_and(|create| create.look.is_some())
    }

    /// After the connection was lost, what was sent on it last may be lost with it: another consumer goes on behind
    /// what has come.
    pub(super) fn look_anew(&mut self, last: Option<u64>) {
        let Some(from) = self.create.as_mut().and_then(|create| create.look.as_mut()) else { return };
        if let Some(last) = last {
            *from = LookFrom::After(last);
        }
        self.consumer = LookFrom::name();
    }

    /// What the answer to a question for the consumer says.
    pub(super) fn read(&self, status: Option<u16>, answer: &[u8]) -> Found {
        let PullOptions { stream, consumer, .. } = self;
        if status.is_some() || answer.is_empty() {
            let why = "nobody answers for JetStream (no responders); is it enabled on the server and for the account?";
            return Found::NoJetStream(why.to_owned());
        }
        let read: ConsumerAnswer = match serde_json::from_slice(answer) {
            Ok(read) => read,
            Err(error) => return Found::Trouble(format!("JetStream's answer cannot be read: {error}")),
        };
        match read {
            ConsumerAnswer { error: Some(error), .. } => match error.err_code {
                NO_STREAM if self.is_look() => {
                    Found::NoStream(format!("there is no JetStream stream {stream}"))
                }
                NO_STREAM => Found::NoStream(format!(
                    "there is no JetStream stream {stream}; create it (`nats stream add {stream}`)"
                )),
                NO_CONSUMER => Found::NoConsumer(format!(
                    "the JetStream stream {stream} has no consumer {consumer}; create it (`nats consumer add {stream} {consumer} --pull --ack explicit`), or set jetstream.create = true"
                )),
                NOT_ENABLED | NOT_ENABLED_FOR_ACCOUNT => Found::NoJetStream(error.to_string()),
                _ => Found::Trouble(error.to_string()),
            },
            ConsumerAnswer { config, created, num_pending, .. } => {
                let known = serde_json::from_value::<ConsumerConfig>(Value::Object(config.clone()));
                let known = match known {
                    Ok(known) => known,
                    Err(error) => {
                        return Found::Trouble(format!("JetStream's answer cannot be read: {error}"));
                    }
                };
                let is_look = self.is_look();
                match known.unusable().filter(|_| !is_look) {
                    Some(why) => Found::Unusable(format!(
                        "the JetStream consumer {consumer} of stream {stream} {why}: make one with `nats consumer add {stream} NAME --pull --ack explicit`, or name one that does not exist, with jetstream.create = true"
                    )),
                    None => Found::Usable(Consumer { created, num_pending, limits: known, config }),
                }
            }
        }
    }
}

impl LookFrom {
    /// A name for a consumer that nobody else has.
    pub fn name() -> String {
        format!("log-shipper-tail-{}", uuid_v4(rand::random()))
    }
}

fn set_filters(config: &mut Map<String, Value>, filters: &[String]) {
    config.remove("filter_subject");
    config.remove("filter_subjects");
    match filters {
        [] => {}
        [one] => drop(config.insert("filter_subject".to_owned(), one.clone().into())),
        several => drop(config.insert("filter_subjects".to_owned(), several.into())),
    }
}

/// In which of the options that we set two configurations of a consumer differ, in words:
/// `filter_subjects logs.> -> web.>, ack_wait 30s -> 5s`.
pub(super) fn differences(old: &Map<String, Value>, new: &Map<String, Value>) -> String {
    let mut differences = Vec::new();
    let mut compare = |name: &str, old: String, new: String| {
        if old != new {
            differences.push(format!("{name} {old} -> {new}"));
        }
    };
    compare("filter_subjects", shown_filters(&filters(old)), shown_filters(&filters(new)));
    let wait = |config: &Map<String, Value>| {
        let nanos = config.get("ack_wait").and_then(Value::as_u64);
        nanos.map_or_else(|| "nothing".to_owned(), |nanos| format!("{:?}", Duration::from_nanos(nanos)))
    };
    compare("ack_wait", wait(old), wait(new));
    for name in ["max_deliver", "max_ack_pending"] {
        let number = |config: &Map<String, Value>| {
            config.get(name).map_or_else(|| "nothing".to_owned(), Value::to_string)
        };
        compare(name, number(old), number(new));
    }
    differences.join(", ")
}

/// Filters in a word or some; none is all.
fn shown_filters(filters: &[String]) -> String {
    if filters.is_empty() { "all".to_owned() } else { shown(filters.join(", ").as_bytes()) }
}

impl Consumer {
    /// Which subjects it is made for, in words.
    pub(super) fn filters(&self) -> String {
        shown_filters(&filters(&self.config))
    }

    /// If none of its filters can select anything that the stream takes: both, in words, with what to do.
    /// `answer` is that to a question for the stream. Of what comes from other streams nothing is known.
    pub(super) fn reads_nothing(&self, answer: &[u8]) -> Option<String> {
        let StreamAnswer { config } = serde_json::from_slice(answer).ok()?;
        let is_set = |value: &Option<Value>| value.as_ref().is_some_and(|value| !value.is_null());
        if [&config.mirror, &config.sources, &config.subject_transform].into_iter().any(is_set) {
            return None;
        }
        let ours = filters(&self.config);
        let parse = |subject: &String| SubjectFilter::parse(subject).ok();
        let wanted: Option<Vec<_>> = ours.iter().map(parse).collect();
        let taken: Option<Vec<_>> = config.subjects.iter().map(parse).collect();
        let (wanted, taken) = (wanted?, taken?);
        let is_none = wanted.is_empty() || taken.is_empty();
        if is_none || wanted.iter().any(|wanted| taken.iter().any(|taken| wanted.overlaps(taken))) {
            return None;
        }
        Some(format!(
            "is made for {}, and the stream takes {}, so that nothing will ever come: correct the source's subjects (or jetstream.filter_subjects), or the stream's (`nats stream edit`)",
            self.filters(),
            shown_filters(&config.subjects),
        ))
    }
}

/// What we read of the answer to a question for a stream.
#[derive(Debug, Deserialize)]
struct StreamAnswer {
    config: StreamConfig,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct StreamConfig {
    subjects: Vec<String>,
    mirror: Option<Value>,
    sources: Option<Value>,
    subject_transform: Option<Value>,
}

/// What there is at the server.
#[derive(Debug)]
pub(super) enum Found {
    Usable(Consumer),
    /// A person must change the consumer, or the configuration.
    Unusable(String),
    NoConsumer(String),
    NoStream(String),
    /// The server, or the account, has no JetStream; or not yet.
    NoJetStream(String),
    /// It may be better the next time.
    Trouble(String),
}

/// A consumer that can be read.
#[derive(Debug)]
pub(super) struct Consumer {
    /// When it was made: another time, another consumer.
    pub(super) created: String,
    /// Messages that it has not delivered yet.
    pub(super) num_pending: u64,
    pub(super) limits: ConsumerConfig,
    /// All of its configuration.
    pub(super) config: Map<String, Value>,
}

#[derive(Debug, Deserialize)]
struct ConsumerAnswer {
    error: Option<ApiError>,
    #[serde(default)]
    config: Map<String, Value>,
    #[serde(default)]
    created: String,
    #[serde(default)]
    num_pending: u64,
}

/// What we read of a consumer's configuration; times are in nanoseconds.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ConsumerConfig {
    ack_policy: String,
    deliver_subject: Option<String>,
    priority_groups: Option<Vec<String>>,
    ack_wait: u64,
    /// Instead of `ack_wait`, a time for each delivery.
    backoff: Option<Vec<u64>>,
    pub(super) max_deliver: i64,
    pub(super) max_ack_pending: i64,
    /// What a request may ask for at most; 0 or less is no limit.
    max_batch: i64,
    max_bytes: i64,
    max_expires: u64,
}

impl ConsumerConfig {
    /// Why we cannot read it, if so.
    fn unusable(&self) -> Option<String> {
        if self.deliver_subject.as_ref().is_some_and(|subject| !subject.is_empty()) {
            return Some("is a push consumer, and this source reads pull consumers".to_owned());
        }
        if self.ack_policy != "explicit" {
            let policy = &self.ack_policy;
            return Some(format!(
                "has the ack policy {policy}, and this source acks each message when it is delivered (explicit)"
            ));
        }
        let has_groups = self.priority_groups.as_ref().is_some_and(|groups| !groups.is_empty());
        has_groups.then(|| "has priority groups, which this source does not know".to_owned())
    }

    /// How long a message may be without a word from us, at the least.
    pub(super) fn ack_wait(&self) -> Duration {
        let backoff = self.backoff.iter().flatten().copied().min();
        let nanos = backoff.unwrap_or(self.ack_wait);
        if nanos == 0 { DEFAULT_ACK_WAIT } else { Duration::from_nanos(nanos) }
    }

    /// How many messages a request may ask for, of those that we want.
    pub(super) fn batch(&self, wanted: usize) -> usize {
        limited(wanted, self.max_batch)
    }

    /// How many bytes a request may ask for, of those that we want; 0 is no limit.
    pub(super) fn max_bytes(&self, wanted: usize) -> usize {
        let limit = usize::try_from(self.max_bytes).unwrap_or(0);
        if wanted == 0 { limit } else { limited(wanted, self.max_bytes) }
    }

    /// How long a request may wait, of the time that we want.
    pub(super) fn expires(&self, wanted: Duration) -> Duration {
        if self.max_expires == 0 { wanted } else { wanted.min(Duration::from_nanos(self.max_expires)) }
    }
}

fn limited(wanted: usize, limit: i64) -> usize {
    usize::try_from(limit).ok().filter(|limit| *limit > 0).map_or(wanted, |limit| wanted.min(limit))
}

/// A consumer's filters, sorted.
fn filters(config: &Map<String, Value>) -> Vec<String> {
    let one = config.get("filter_subject").and_then(Value::as_str).filter(|subject| !subject.is_empty());
    let several = config.get("filter_subjects").and_then(Value::as_array).into_iter().flatten();
    let filters = several.filter_map(Value::as_str).chain(one).map(str::to_owned);
    sorted(filters.collect())
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort_unstable();
    list
}

/// What a server says of a request for messages, instead of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// All is well, there is just nothing.
    Heartbeat,
    /// The request has come to its end.
    Ended,
    /// The next message is larger than the request allows.
    TooLarge,
    /// The consumer has too many requests already, of others.
    TooMany,
    /// The request, or the consumer, is no longer there.
    Gone,
}

impl Status {
    /// What a status means, by its number and text.
    pub(super) fn new(code: u16, text: &str) -> Status {
        match (code, text) {
            (100, _) => Status::Heartbeat,
            (404 | 408, _) | (409, "Batch Completed") => Status::Ended,
            (409, "Message Size Exceeds MaxBytes") => Status::TooLarge,
            (409, "Exceeded MaxWaiting") => Status::TooMany,
            // "Consumer Deleted", "Leadership Change", "Server Shutdown", "Consumer is push based", "Exceeded
            // MaxRequestBatch of 1", 503 for nobody who answers, and whatever comes to be.
            _ => Status::Gone,
        }
    }
}

/// The status that headers begin with, `NATS/1.0 408 Request Timeout`: its number and text.
pub(super) fn status(headers: &[u8]) -> Option<(u16, &str)> {
    let line = headers.split(|byte| *byte == b'\r').next()?;
    let line = std::str::from_utf8(line).ok()?.strip_prefix("NATS/1.0")?.trim();
    let (code, text) = line.split_once(' ').unwrap_or((line, ""));
    Some((code.parse().ok()?, text.trim()))
}

/// What the subject says that a message's acknowledgement goes to:
/// `$JS.ACK.<stream>.<consumer>.<deliveries>.<stream sequence>.<consumer sequence>.<time>.<pending>`, with
/// a domain and an account before the stream in newer servers, and more behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AckSubject {
    /// How often the message has been delivered, with this time.
    pub delivered: u64,
    /// Its place in the stream.
    pub stream_sequence: u64,
    /// When it was stored, in nanoseconds since the epoch. No other message of this place has the same.
    pub timestamp: u64,
    /// Messages behind it that the consumer has not delivered yet.
    pub pending: u64,
}

impl AckSubject {
    pub(super) fn parse(subject: &[u8]) -> Option<AckSubject> {
        let rest = subject.strip_prefix(b"$JS.ACK.")?;
        let names = match memchr::memchr_iter(b'.', rest).count() + 1 {
            7 => 2,
            9.. => 4,
            _ => return None,
        };
        let mut tokens = rest.split(|byte| *byte == b'.').skip(names);
        let mut next = || std::str::from_utf8(tokens.next()?).ok()?.parse().ok();
        let (delivered, stream_sequence, _consumer_sequence) = (next()?, next()?, next()?);
        Some(AckSubject { delivered, stream_sequence, timestamp: next()?, pending: next()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn options(create: Option<CreateOptions>) -> PullOptions {
        PullOptions { stream: "S".into(), consumer: "C".into(), batch: 200, max_bytes: 0, create }
    }

    #[test]
    fn an_ack_subject_is_read_in_both_forms() {
        let expected = AckSubject {
            delivered: 2,
            stream_sequence: 30,
            timestamp: 1_700_000_000_123_456_789,
            pending: 5,
        };
        for subject in [
            "$JS.ACK.S.C.2.30.4.1700000000123456789.5",
            "$JS.ACK.hub.ACCHASH.S.C.2.30.4.1700000000123456789.5",
            "$JS.ACK._.ACCHASH.S.C.2.30.4.1700000000123456789.5.random",
        ] {
            assert_eq!(AckSubject::parse(subject.as_bytes()), Some(expected), "{subject}");
        }
        for other in ["", "reply", "$JS.ACK.S.C.2.30.4.17", "$JS.ACK.S.C.2.x.4.17.5", "$JS.ACK.S.C.2..4.17.5"]
        {
            assert_eq!(AckSubject::parse(other.as_bytes()), None, "{other}");
        }
    }

    proptest! {
        #[test]
        fn any_ack_subject_ends_without_a_panic(tail in "[a-z0-9.$]{0,60}", bytes in prop::collection::vec(any::<u8>(), 0..60)) {
            let _ = AckSubject::parse(format!("$JS.ACK.{tail}").as_bytes());
            let _ = AckSubject::parse(&bytes);
            let _ = status(&bytes);
        }
    }

    #[test]
    fn a_status_says_what_to_do() {
        for (headers, expected) in [
            ("NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 1\r\n\r\n", Status::Heartbeat),
            ("NATS/1.0 404 No Messages\r\n\r\n", Status::Ended),
            ("NATS/1.0 408 Request Timeout\r\nNats-Pending-Messages: 7\r\n\r\n", Status::Ended),
            ("NATS/1.0 409 Batch Completed\r\n\r\n", Status::Ended),
            ("NATS/1.0 409 Message Size Exceeds MaxBytes\r\n\r\n", Status::TooLarge),
            ("NATS/1.0 409 Exceeded MaxWaiting\r\n\r\n", Status::TooMany),
            ("NATS/1.0 409 Consumer Deleted\r\n\r\n", Status::Gone),
            ("NATS/1.0 409 Leadership Change\r\n\r\n", Status::Gone),
            ("NATS/1.0 409 Server Shutdown\r\n\r\n", Status::Gone),
            ("NATS/1.0 409 Exceeded MaxRequestBatch of 10\r\n\r\n", Status::Gone),
            ("NATS/1.0 503\r\n\r\n", Status::Gone),
        ] {
            let (code, text) = status(headers.as_bytes()).unwrap();
            assert_eq!(Status::new(code, text), expected, "{headers}");
        }
        assert_eq!(status(b"NATS/1.0\r\nNats-Msg-Id: 1\r\n\r\n"), None);
        assert_eq!(status(b""), None);
    }

    fn config(json: Value) -> Map<String, Value> {
        json.as_object().unwrap().clone()
    }

    #[test]
    fn a_consumer_is_made_and_only_what_is_said_is_changed() {
        assert_eq!(options(None).creation(None), None);
        let create = CreateOptions { filter_subjects: vec!["logs.>".into()], ..CreateOptions::default() };
        let made = options(Some(create.clone())).creation(None).unwrap();
        assert_eq!(made["action"], "create");
        assert_eq!(made["config"]["filter_subject"], "logs.>");
        assert_eq!(made["config"]["max_ack_pending"], 50_000);
        // What somebody else has chosen stays, if nothing is said of it.
        let existing =
            config(json!({"name": "C", "filter_subject": "logs.>", "ack_wait": 5, "description": "d"}));
        assert_eq!(options(Some(create.clone())).creation(Some(&existing)), None);
        let create = CreateOptions { max_deliver: Some(3), ..create };
        let changed = options(Some(create.clone())).creation(Some(&existing)).unwrap();
        let mut expected = existing.clone();
        expected.insert("max_deliver".into(), 3.into());
        assert_eq!((&changed["action"], &changed["config"]), (&"update".into(), &Value::Object(expected)));
        let create = CreateOptions { filter_subjects: vec!["b".into(), "a".into()], ..create };
        let changed = options(Some(create.clone())).creation(Some(&existing)).unwrap();
        assert_eq!(changed["config"].get("filter_subject"), None);
        assert_eq!(changed["config"]["filter_subjects"], json!(["b", "a"]));
        let same = config(json!({"filter_subjects": ["a", "b"], "max_deliver": 3}));
        assert_eq!(options(Some(create)).creation(Some(&same)), None);
    }

    #[test]
    fn what_is_changed_is_said() {
        let old =
            config(json!({"filter_subject": "logs.>", "ack_wait": 30_000_000_000u64, "max_deliver": -1}));
        let new = config(
            json!({"filter_subjects": ["a", "b"], "ack_wait": 500_000_000, "max_deliver": 7, "description": "d"}),
        );
        assert_eq!(
            differences(&old, &new),
            "filter_subjects logs.> -> a, b, ack_wait 30s -> 500ms, max_deliver -1 -> 7"
        );
        assert_eq!(differences(&old, &old), "");
        let all = config(json!({"ack_wait": 30_000_000_000u64, "max_deliver": -1}));
        assert_eq!(differences(&old, &all), "filter_subjects logs.> -> all");
    }

    #[test]
    fn a_filter_that_selects_nothing_is_noticed() {
        for (filters, stream, expected) in [
            (json!(["logs.>"]), json!({"subjects": ["logs.*.error"]}), false),
            (json!(["logs.>"]), json!({"subjects": ["events.>", "metrics"]}), true),
            // Some of them is enough.
            (json!(["logs.>", "metrics"]), json!({"subjects": ["events.>", "metrics"]}), false),
            (json!([]), json!({"subjects": ["events.>"]}), false),
            // What comes from elsewhere has any subject.
            (json!(["logs.>"]), json!({"subjects": ["events.>"], "sources": [{"name": "T"}]}), false),
            (json!(["logs.>"]), json!({"mirror": {"name": "T"}}), false),
            (
                json!(["logs.>"]),
                json!({"subjects": ["a"], "subject_transform": {"src": "a", "dest": "logs.a"}}),
                false,
            ),
        ] {
            let answer = json!({"config": {"ack_policy": "explicit", "filter_subjects": filters}});
            let found = options(None).read(None, answer.to_string().as_bytes());
            let Found::Usable(consumer) = found else { panic!("{found:?}") };
            let words = consumer.reads_nothing(json!({"config": stream}).to_string().as_bytes());
            assert_eq!(words.is_some(), expected, "{filters} {stream}: {words:?}");
            if let Some(words) = words {
                assert!(words.contains("made for logs.>") && words.contains("events.>, metrics"), "{words}");
            }
            assert_eq!(consumer.reads_nothing(br#"{"error":{"code":503}}"#), None);
        }
    }

    #[test]
    fn only_a_pull_consumer_with_explicit_acks_can_be_read() {
        let read = |answer: Value| options(None).read(None, answer.to_string().as_bytes());
        let usable = read(
            json!({"created": "t", "num_pending": 4, "config": {"ack_policy": "explicit", "ack_wait": 9, "backoff": [7, 8]}}),
        );
        let Found::Usable(consumer) = usable else { panic!("{usable:?}") };
        assert_eq!((consumer.num_pending, consumer.limits.ack_wait().as_nanos()), (4, 7));
        for (config, words) in [
            (json!({"ack_policy": "none"}), "ack policy none"),
            (json!({"ack_policy": "all"}), "ack policy all"),
            (json!({"ack_policy": "explicit", "deliver_subject": "d"}), "push consumer"),
            (json!({"ack_policy": "explicit", "priority_groups": ["g"]}), "priority groups"),
        ] {
            let found = read(json!({"config": config}));
            let Found::Unusable(why) = found else { panic!("{found:?}") };
            assert!(why.contains(words) && why.contains("--pull --ack explicit"), "{why}");
        }
        let error = |code: u32| read(json!({"error": {"code": 404, "err_code": code, "description": "x"}}));
        assert!(matches!(error(10059), Found::NoStream(why) if why.contains("nats stream add S")));
        assert!(matches!(error(10014), Found::NoConsumer(why) if why.contains("jetstream.create")));
        assert!(matches!(error(1), Found::Trouble(why) if why.contains("404, 1: x")));
        assert!(matches!(options(None).read(Some(503), b""), Found::NoJetStream(_)));
        assert!(matches!(error(10039), Found::NoJetStream(_)));
        assert!(matches!(options(None).read(None, b"{"), Found::Trouble(_)));
    }
}
