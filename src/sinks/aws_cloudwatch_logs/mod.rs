//! `aws_cloudwatch_logs`: log streams of Amazon CloudWatch Logs.
//!
//! - this file: the options, and the way of an event
//! - `api`: calls and what their answers mean
//!
//! Source: docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/API_PutLogEvents.html

mod api;

use super::codec::{EncodeError, EncodingConfig, Splice, write_integer};
use super::compression::Algorithm;
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink, Signer};
use super::{Batch, BatchLimits, EntryVerdict, Partition, SideRequest, Verdict};
use crate::aws::{self, AwsAuth, AwsError, Endpoint};
use crate::config::{Result, SinkContext};
use crate::env::Env;
use crate::event::{LogEvent, json};
use crate::http::HttpClient;
use crate::template::Template;
use api::{Rejected, call, judge, judge_made};
use bytes::Bytes;
use http::Response;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Delivers events to log streams.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AwsCloudwatchLogs {
    /// The group. What an event brings in that a name can't have becomes `_`.
    group_name: Template,
    /// The stream in the group; the same.
    stream_name: Template,
    /// Whether a group that is not there is made. Default: true.
    #[serde(default = "default_true")]
    create_missing_group: bool,
    /// Whether a stream that is not there is made. Default: true.
    #[serde(default = "default_true")]
    create_missing_stream: bool,
    /// How long a group that we make keeps its events.
    #[serde(default)]
    retention: Retention,
    /// The key with which a group that we make is encrypted.
    kms_key: Option<String>,
    /// Tags of a group that we make.
    #[serde(default)]
    tags: BTreeMap<String, String>,
    /// How an event is written. (Vector takes the field `timestamp` out if it is a time and no text. Here the
    /// whole event is sent: CloudWatch keeps milliseconds only.)
    encoding: EncodingConfig,
    /// The region. Default: as AWS's tools find it.
    region: Option<String>,
    /// Where the service is. Default: `AWS_ENDPOINT_URL_CLOUDWATCH_LOGS`, `AWS_ENDPOINT_URL`, else AWS's own
    /// in the region.
    endpoint: Option<String>,
    /// Who we are.
    #[serde(default)]
    auth: AwsAuth,
    /// Where events go, and the region.
    #[serde(skip)]
    found: Option<(Endpoint, String)>,
}

/// The `retention` table.
#[derive(Clone, Copy, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
struct Retention {
    /// Whether we say so at all. Default: false, and events are kept for ever.
    enabled: bool,
    /// The days: one of the numbers that AWS lets one choose, such as 7, 30 or 365.
    days: u32,
}

const fn default_true() -> bool {
    true
}

/// The days that AWS lets one choose.
const DAYS: [u32; 22] =
    [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653];

/// What a request may have: the sum of its messages and of 26 bytes for each. As it is encoded, an event is
/// longer than that, so that the kernel's limit on encoded bytes keeps this one too.
const MAX_BYTES: usize = 1_048_576;
const MAX_EVENTS: usize = 10_000;

const SECONDS_A_DAY: i64 = 86_400;

impl HttpSink for AwsCloudwatchLogs {
    const NAME: &'static str = "aws_cloudwatch_logs";
    const SUMMARY: &'static str = "Deliver events to Amazon CloudWatch Logs.";
    const EXAMPLE: &'static str = "group_name = \"fly\"\nstream_name = \"fly/{{ fly.app.name }}/{{ host }}\"\nregion = \"eu-west-1\"\nauth.access_key_id = \"ID\"\nauth.secret_access_key = \"KEY\"\nencoding.codec = \"json\"";
    const NOTES: &'static str = "- A request has at most 1,048,576 bytes (26 of them for each event), 10,000 events and events of one \
        UTC day; it is sent after 1 s at the latest. An event may be as large as a request.\n\
        - The answer names events that are too old, too new or expired: these are rejected. A group or \
        stream that is missing is made, unless that is switched off.";

    const RENAMED: &'static [(&'static str, &'static str)] = &[("assume_role", "auth.assume_role")];

    fn configure(&mut self, options: &mut HttpOptions) -> Result<()> {
        if options.compression.is_some_and(|compression| compression.algorithm != Algorithm::None) {
            return Err(
                "compression: CloudWatch takes requests uncompressed only (Vector reads the option and does \
                        nothing); leave it out"
                    .into(),
            );
        }
        options.confine("group_name", &mut self.group_name);
        options.confine("stream_name", &mut self.stream_name);
        for (option, template, is_allowed) in [
            ("group_name", &self.group_name, is_in_group as fn(char) -> bool),
            ("stream_name", &self.stream_name, is_in_stream),
        ] {
            let Some(text) = template.as_static() else { continue };
            if text.is_empty() || text.chars().count() > MAX_NAME || !text.chars().all(is_allowed) {
                return Err(format!(
                    "{option}: `{text}` is no name; expected 1 to {MAX_NAME} characters, in a group's letters, digits \
                     and `_-/.#`, in a stream's all but `:` and `*`"
                )
                .into());
            }
        }
        if self.retention.enabled && !DAYS.contains(&self.retention.days) {
            return Err(format!(
                "retention.days: {} is not one of AWS's; expected one of {DAYS:?}",
                self.retention.days
            )
            .into());
        }
        if let Some(endpoint) = &self.endpoint {
            Endpoint::parse("endpoint", endpoint)?;
        }
        self.auth.check()
    }

    fn in_environment(&self, env: &Env) -> Result<Option<AwsCloudwatchLogs>> {
        let region = aws::region(self.region.as_deref(), &self.auth, env)?;
        let variables = ["AWS_ENDPOINT_URL_CLOUDWATCH_LOGS"];
        let endpoint = aws::endpoint(self.endpoint.as_deref(), &variables, "logs", &region, env)?;
        Ok(Some(AwsCloudwatchLogs { found: Some((endpoint, region)), ..self.clone() }))
    }

    fn signer(&self, cx: &SinkContext, client: &HttpClient) -> Result<Option<Arc<dyn Signer>>> {
        let (_, region) = self.found()?;
        Ok(Some(Arc::new(self.auth.signer("logs", region, &cx.env, client)?)))
    }

    /// As Vector: all that the API takes, every second.
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            max_bytes: MAX_BYTES,
            max_events: MAX_EVENTS,
            // With the brackets of a body.
            max_event_bytes: MAX_BYTES - 2,
            ..BatchLimits::DEFAULT
        }
    }

    fn vendor_limits(&self) -> (usize, usize) {
        (MAX_BYTES, MAX_EVENTS)
    }

    /// A request's events may not be more than 24 hours apart, so that each day has requests of its own.
    fn partition(&self, event: &LogEvent) -> Result<Partition, EncodeError> {
        let day = event.timestamp().seconds().div_euclid(SECONDS_A_DAY);
        Ok(vec![
            name("group_name", &self.group_name, event, is_in_group)?,
            name("stream_name", &self.stream_name, event, is_in_stream)?,
            day.to_string(),
        ])
    }

    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let millis = event.timestamp().millis();
        // One such event would be the end of its whole request.
        if millis < 0 {
            return Err(EncodeError {
                reason: "its time is before 1970, which CloudWatch does not take".into(),
            });
        }
        out.extend_from_slice(TIMESTAMP);
        write_integer(millis, out);
        out.extend_from_slice(b",\"message\":\"");
        if self.encoding.is_plain_json() {
            json::write_escaped(&event.json(), out);
        } else {
            let mut text = Vec::new();
            self.encoding.encode(event, &mut text);
            if text.is_empty() {
                return Err(EncodeError {
                    reason: "its message is empty, which CloudWatch does not take".into(),
                });
            }
            json::write_escaped(&String::from_utf8_lossy(&text), out);
        }
        out.extend_from_slice(b"\"}");
        Ok(())
    }

    /// The events of a request have to be in the order of their times; those of one time keep theirs.
    fn assemble(&self, batch: &Batch) -> Option<Vec<u8>> {
        let [group, stream, ..] = batch.partition() else { return None };
        let entries: Vec<_> = batch.entries().collect();
        let mut out = Vec::with_capacity(batch.body().len() + group.len() + stream.len() + 64);
        let mut object = Splice::open(&mut out);
        object.string("logGroupName", group);
        object.string("logStreamName", stream);
        let events = object.key("logEvents");
        for (position, index) in order(batch).into_iter().enumerate() {
            events.push(if position == 0 { b'[' } else { b',' });
            events.extend_from_slice(entries[index]);
        }
        events.push(b']');
        object.close();
        Some(out)
    }

    fn request(&self, _batch: &Batch) -> Result<http::request::Builder> {
        Ok(call(&self.found()?.0, "PutLogEvents"))
    }

    /// What is missing is made only when the API says so: to ask before each batch, as Vector does, would
    /// soon be more than the API answers.
    fn verdict(&self, response: &Response<Bytes>, batch: &Batch) -> Verdict {
        if response.status().is_success() {
            return match Rejected::of(response) {
                None => Verdict::Delivered,
                Some(rejected) => {
                    let mut verdicts = vec![EntryVerdict::Delivered; batch.len()];
                    for (position, index) in order(batch).into_iter().enumerate() {
                        if let Some(reason) = rejected.reason(position) {
                            verdicts[index] =
                                EntryVerdict::Rejected { status: None, reason: reason.to_owned() };
                        }
                    }
                    Verdict::Partial(verdicts)
                }
            };
        }
        let error = AwsError::of(response);
        let [group, stream, ..] = batch.partition() else { return judge(response) };
        match error.code.as_str() {
            "ResourceNotFoundException" => self.make(group, stream, &error.message),
            _ => judge(response),
        }
    }

    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        let (endpoint, _) = self.found()?;
        // One that we may make, or whose name an event decides, need not be there.
        let group = self.group_name.as_static().filter(|_| !self.create_missing_group).map(str::to_owned);
        api::healthcheck(endpoint, group).map(Some)
    }
}

/// How an encoded event begins.
const TIMESTAMP: &[u8] = b"{\"timestamp\":";

/// The batch's events by time.
fn order(batch: &Batch) -> Vec<usize> {
    let time = |entry: &[u8]| {
        let digits = entry[TIMESTAMP.len()..].iter().take_while(|byte| byte.is_ascii_digit());
        digits.fold(0i64, |time, digit| time * 10 + i64::from(digit - b'0'))
    };
    let times: Vec<_> = batch.entries().map(time).collect();
    let mut order: Vec<_> = (0..times.len()).collect();
    order.sort_by_key(|index| times[*index]);
    order
}

/// The characters that a name may have.
const MAX_NAME: usize = 512;

fn is_in_group(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_-/.#".contains(c)
}

fn is_in_stream(c: char) -> bool {
    !matches!(c, ':' | '*') && !c.is_control()
}

/// The rendered name, with nothing in it that the API refuses: all events of the request would go with it.
fn name(
    option: &str,
    template: &Template,
    event: &LogEvent,
    is_allowed: fn(char) -> bool,
) -> Result<String, EncodeError> {
    let text =
        template.render(event).map_err(|error| EncodeError { reason: format!("{option}: {error}") })?;
    let name: String = text.chars().take(MAX_NAME).map(|c| if is_allowed(c) { c } else { '_' }).collect();
    match name.is_empty() {
        true => Err(EncodeError { reason: format!("{option}: it is empty for this event") }),
        false => Ok(name),
    }
}

impl AwsCloudwatchLogs {
    fn found(&self) -> Result<&(Endpoint, String)> {
        self.found.as_ref().ok_or_else(|| "the environment has not been looked at".into())
    }

    /// The calls that make what the API says is not there, if we may.
    fn make(&self, group: &str, stream: &str, message: &str) -> Verdict {
        let has_group = message.contains("log stream");
        if !(if has_group { self.create_missing_stream } else { self.create_missing_group }) {
            return Verdict::Unauthorized;
        }
        let mut calls = Vec::new();
        if !has_group {
            calls.push(("CreateLogGroup", self.create_group(group)));
            if self.retention.enabled {
                let days = serde_json::json!({"logGroupName": group, "retentionInDays": self.retention.days});
                calls.push(("PutRetentionPolicy", days));
            }
        }
        if self.create_missing_stream {
            let names = serde_json::json!({"logGroupName": group, "logStreamName": stream});
            calls.push(("CreateLogStream", names));
        }
        let side_request = |(operation, arguments): (&str, serde_json::Value)| {
            let request = call(&self.found()?.0, operation).body(arguments.to_string().into())?;
            Ok(SideRequest { request, judge: judge_made })
        };
        match calls.into_iter().map(side_request).collect::<Result<_>>() {
            Ok(first) => Verdict::Missing { first },
            Err(error) => Verdict::Rejected { reason: format!("the request cannot be made: {error}") },
        }
    }

    fn create_group(&self, group: &str) -> serde_json::Value {
        let mut arguments = serde_json::json!({"logGroupName": group});
        if let Some(key) = &self.kms_key {
            arguments["kmsKeyId"] = key.as_str().into();
        }
        if !self.tags.is_empty() {
            arguments["tags"] = serde_json::json!(self.tags);
        }
        arguments
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::Batcher;
    use proptest::prelude::*;

    fn sink(encoding: &str) -> AwsCloudwatchLogs {
        let text = format!("group_name = 'g'\nstream_name = 's'\nencoding.codec = '{encoding}'");
        toml::from_str(&text).unwrap()
    }

    /// The indexes of an answer count in the order of the request, the verdicts in that of the batch.
    #[test]
    fn each_event_gets_its_own_verdict() {
        let sink = sink("json");
        let mut batcher = Batcher::new(sink.limits(), sink.framing(), Arc::default());
        let mut ready = Vec::new();
        for minute in [4, 2, 0, 3, 1] {
            let event = format!(r#"{{"timestamp":"2026-11-22T05:0{minute}:00Z"}}"#);
            let event = LogEvent::from_json(event.into()).unwrap();
            let encode =
                |event: &LogEvent, out: &mut Vec<u8>| sink.encode(event, out).map_err(|error| error.reason);
            batcher.push(sink.partition(&event).unwrap(), event, encode, &mut ready).unwrap();
        }
        let batch = batcher.close_all().remove(0);
        let info = r#"{"tooOldLogEventEndIndex":1,"expiredLogEventEndIndex":2,"tooNewLogEventStartIndex":4}"#;
        let answer = Response::new(Bytes::from(format!("{{\"rejectedLogEventsInfo\":{info}}}")));
        let Verdict::Partial(verdicts) = sink.verdict(&answer, &batch) else { panic!("not in part") };
        let words = ["hours ahead", "", "14 days", "", "retention"];
        for (verdict, words) in verdicts.iter().zip(words) {
            match verdict {
                EntryVerdict::Rejected { reason, .. } => {
                    assert!(!words.is_empty() && reason.contains(words), "{reason}")
                }
                other => assert_eq!((other, words), (&EntryVerdict::Delivered, "")),
            }
        }
        assert_eq!(verdicts.len(), 5);
    }

    /// CloudWatch counts the bytes of a message, and 26 more; the kernel counts those of an entry.
    fn counts(encoding: &str, event: &str) -> (usize, usize) {
        let sink = sink(encoding);
        let mut entry = Vec::new();
        sink.encode(&LogEvent::from_json(event.to_owned().into()).unwrap(), &mut entry).unwrap();
        let parsed: serde_json::Value = serde_json::from_slice(&entry).unwrap();
        (entry.len(), parsed["message"].as_str().unwrap().len() + 26)
    }

    proptest! {
        #[test]
        fn an_entry_is_never_smaller_than_what_cloudwatch_counts(
            message in "[\\x00-\\x7f\u{80}-\u{10ffff}]{1,40}", seconds in 0..4_000_000_000u64,
        ) {
            let event = serde_json::json!({"message": message, "timestamp": seconds}).to_string();
            for encoding in ["json", "text", "logfmt"] {
                let (entry, counted) = counts(encoding, &event);
                prop_assert!(entry >= counted, "{encoding}: {entry} < {counted}");
            }
        }
    }

    #[test]
    fn the_shortest_entry_is_not_smaller_either() {
        let (entry, counted) = counts("text", r#"{"message":"m","timestamp":"1970-01-01T00:00:00Z"}"#);
        assert_eq!((entry, counted), (29, 27));
    }
}
