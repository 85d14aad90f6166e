//! [`JetStreamConfig`]: the options of reading from a stream.

use crate::config::{Result, Seconds};
use crate::nats::{CreateOptions, DeliverPolicy, PullOptions, SubjectFilter};
use schemars::JsonSchema;
use serde::Deserialize;
use std::num::NonZero;

/// Reads a stream of JetStream through a durable pull consumer, instead of what is published while we are there.
///
/// A message is acknowledged when every sink has delivered it that must, or has it on disk (`buffer.type = 'disk'`):
/// all of them, unless `acknowledgements.enabled = false` stands at a sink. (In Vector, none must.) The consumer's `ack_policy` must be
/// `explicit`.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct JetStreamConfig {
    /// The stream.
    pub(super) stream: String,
    /// Its durable pull consumer. Several log-shippers that name the same share the messages.
    consumer: String,
    /// How messages are asked for.
    #[serde(default)]
    batch_config: BatchConfig,
    /// Whether the consumer is made where it does not exist, and changed where it is not as the options that
    /// follow say. Default: false, and it is waited for. Ours, as all
    /// but `stream`, `consumer` and `batch_config`.
    #[serde(default)]
    create: bool,
    /// Which of the stream's subjects the consumer is made for. Default: those of the source (`subject`,
    /// `subjects`).
    filter_subjects: Option<Vec<String>>,
    /// Where a consumer begins that is made. Default: `all`, with the oldest message that the stream has.
    deliver_policy: Option<DeliverPolicy>,
    /// How many seconds a message may take, without a sign from us, until it is delivered again. While it is on
    /// its way, such a sign is given in time. Default: 30.
    ack_wait_secs: Option<Seconds>,
    /// How often a message is delivered at most; -1 is no limit. With a limit, what fails so often is in the
    /// stream only. Default: -1.
    max_deliver: Option<i64>,
    /// How many messages may be on their way at once, to all that share the consumer; -1 is no limit. Fewer than
    /// sinks take into a batch make them wait for their batch's timeout. Default: 50,000.
    max_ack_pending: Option<i64>,
    /// Whether a message is not shipped again that was delivered, but comes again because the acknowledgement was
    /// lost on its way. Default: true; the last 65,536 places of the stream are remembered, until the end of
    /// the process.
    #[serde(default = "yes")]
    pub(super) dedupe: bool,
}

/// How messages are asked for.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct BatchConfig {
    /// How many messages are asked for at once. Default: 200.
    batch: NonZero<u32>,
    /// How many bytes of messages come at once at most; 0 is no limit. A larger message comes alone. Default: 0.
    max_bytes: usize,
}

impl Default for BatchConfig {
    fn default() -> BatchConfig {
        BatchConfig { batch: NonZero::new(200).unwrap_or(NonZero::<u32>::MIN), max_bytes: 0 }
    }
}

fn yes() -> bool {
    true
}

impl JetStreamConfig {
    /// The stream and the consumer, in words.
    pub(super) fn shown(&self) -> String {
        format!("stream {}, consumer {}", self.stream, self.consumer)
    }

    /// How the consumer is read, with the source's subjects as the filters of one that is made.
    pub(super) fn options(&self, subjects: &[SubjectFilter]) -> Result<PullOptions> {
        for (option, name) in [("stream", &self.stream), ("consumer", &self.consumer)] {
            let is_other = |c: char| c.is_whitespace() || c.is_control() || ".*>/\\".contains(c);
            if name.is_empty() || name.contains(is_other) {
                return Err(format!(
                    "jetstream.{option}: {name:?} cannot be a name; expected one word without `.`, `*`, `>` and slashes"
                )
                .into());
            }
        }
        for (option, value) in [("max_deliver", self.max_deliver), ("max_ack_pending", self.max_ack_pending)]
        {
            if value.is_some_and(|value| value < 1 && value != -1) {
                return Err(format!("jetstream.{option}: expected at least 1, or -1 for no limit").into());
            }
        }
        let only_for_creation = [
            ("filter_subjects", self.filter_subjects.is_some()),
            ("deliver_policy", self.deliver_policy.is_some()),
            ("ack_wait_secs", self.ack_wait_secs.is_some()),
            ("max_deliver", self.max_deliver.is_some()),
            ("max_ack_pending", self.max_ack_pending.is_some()),
        ];
        if let Some((option, _)) = only_for_creation.iter().find(|(_, is_set)| *is_set && !self.create) {
            return Err(format!(
                "jetstream.{option}: the consumer has it from whoever has made it; set jetstream.create = true to have it made so, or take this out"
            )
            .into());
        }
        let filter_subjects = match &self.filter_subjects {
            Some(filters) => {
                let parse = |filter: &String| SubjectFilter::parse(filter);
                filters
                    .iter()
                    .map(parse)
                    .collect::<std::result::Result<Vec<_>, _>>()
                    .map_err(|error| format!("jetstream.filter_subjects: {error}"))?
            }
            None => subjects.to_vec(),
        };
        let create = CreateOptions {
            filter_subjects: filter_subjects.iter().map(|filter| filter.as_str().to_owned()).collect(),
            deliver_policy: self.deliver_policy.unwrap_or_default(),
            ack_wait: self.ack_wait_secs.map(|seconds| seconds.0),
            max_deliver: self.max_deliver,
            max_ack_pending: self.max_ack_pending,
            look: None,
        };
        Ok(PullOptions {
            stream: self.stream.clone(),
            consumer: self.consumer.clone(),
            batch: usize::try_from(self.batch_config.batch.get()).unwrap_or(usize::MAX),
            max_bytes: self.batch_config.max_bytes,
            create: self.create.then_some(create),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(text: &str) -> Result<PullOptions> {
        let config: JetStreamConfig =
            toml::from_str(&format!("stream = 'S'\n{text}")).map_err(|error| error.to_string())?;
        config.options(&[SubjectFilter::parse("logs.>").unwrap()])
    }

    #[test]
    fn what_cannot_work_is_said() {
        for (text, words) in [
            ("", "missing field `consumer`"),
            ("consumer = 'a.b'", "jetstream.consumer: \"a.b\" cannot be a name"),
            ("consumer = ''", "cannot be a name"),
            ("consumer = 'C'\nbatch_config.batch = 0", "nonzero"),
            (
                "consumer = 'C'\nack_wait_secs = 5",
                "jetstream.ack_wait_secs: the consumer has it from whoever",
            ),
            ("consumer = 'C'\nmax_deliver = 5", "set jetstream.create = true"),
            ("consumer = 'C'\ncreate = true\nmax_deliver = 0", "jetstream.max_deliver: expected at least 1"),
            ("consumer = 'C'\ncreate = true\nfilter_subjects = ['a..b']", "jetstream.filter_subjects: "),
            ("consumer = 'C'\ncreate = true\ndeliver_policy = 'some'", "unknown variant"),
        ] {
            let error = options(text).unwrap_err().to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_consumer_is_made_for_the_sources_subjects() {
        assert!(options("consumer = 'C'").unwrap().create.is_none());
        let create = options("consumer = 'C'\ncreate = true").unwrap().create.unwrap();
        assert_eq!(create.filter_subjects, ["logs.>"]);
        let read = options(
            "consumer = 'C'\ncreate = true\nfilter_subjects = ['a', 'b.*']\nbatch_config.max_bytes = 9",
        )
        .unwrap();
        assert_eq!(read.create.unwrap().filter_subjects, ["a", "b.*"]);
        assert_eq!((read.batch, read.max_bytes), (200, 9));
    }
}
