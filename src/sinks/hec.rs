//! Splunk's HTTP Event Collector (HEC), which `splunk_hec_logs` and `humio_logs` speak.
//!
//! Source: docs.splunk.com (format events for HTTP Event Collector, HTTP Event Collector REST API
//! endpoints, troubleshoot HTTP Event Collector); library.humio.com (ingesting with HEC).

use super::codec::{Codec, EncodeError, EncodingConfig, Framing, Splice, write_integer, write_seconds};
use super::http_sink::{HealthcheckRequest, HttpOptions, check_endpoint};
use super::verdict::{EntryVerdict, SideRequest, Verdict, describe};
use super::{Batch, BatchLimits, Partition, judge_2xx};
use crate::config::{Result, Seconds};
use crate::event::{Field, LogEvent, Lookup, Path, PathError, Segment, Timestamp, json};
use crate::healthcheck::Unhealthy;
use crate::secret::SensitiveString;
use crate::template::{RenderError, Template, UNRESERVED};
use crate::uuid::uuid_v4;
use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, Response};
use percent_encoding::utf8_percent_encode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::time::Duration;

/// The options of both sinks, and what follows from them.
#[derive(Clone, Debug)]
pub(super) struct Hec {
    pub(super) endpoint: String,
    pub(super) token: SensitiveString,
    pub(super) target: EndpointTarget,
    pub(super) encoding: EncodingConfig,
    pub(super) host_key: OptionalPath,
    pub(super) timestamp_key: OptionalPath,
    pub(super) timestamp_nanos_key: Option<String>,
    pub(super) auto_extract_timestamp: bool,
    pub(super) indexed_fields: Vec<Path>,
    pub(super) index: Option<Template>,
    pub(super) source: Option<Template>,
    pub(super) sourcetype: Option<Template>,
    pub(super) acknowledgements: Acknowledgements,
    pub(super) prepared: Prepared,
}

/// Splunk's own part of the `acknowledgements` table: whether and how to ask if what was taken is indexed.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Acknowledgements {
    /// Whether to ask at all, where the collector gives a number to ask with. Default: true.
    indexer_acknowledgements_enabled: bool,
    /// Seconds between two times. Default: 10.
    query_interval: Seconds,
    /// How many times; then the batch is sent again, up to three times. (Vector rejects it at once.) Default: 30.
    retry_limit: NonZeroUsize,
    /// How many may be unanswered in Vector. Here bytes limit that: what waits may have to be sent again.
    #[serde(rename = "max_pending_acks")]
    _max_pending_acks: u64,
}

const DEFAULT_RETRY_LIMIT: NonZeroUsize = NonZeroUsize::new(30).expect("30 is not 0");

impl Default for Acknowledgements {
    fn default() -> Acknowledgements {
        Acknowledgements {
            indexer_acknowledgements_enabled: true,
            query_interval: Seconds(Duration::from_secs(10)),
            retry_limit: DEFAULT_RETRY_LIMIT,
            _max_pending_acks: 1_000_000,
        }
    }
}

/// Whether the one number that was asked for is indexed. A collector that does not know the question has no
/// acknowledgements, as in Vector.
fn judge_ack(response: &Response<Bytes>) -> Verdict {
    #[derive(Deserialize)]
    struct Answer {
        acks: BTreeMap<String, bool>,
    }
    match response.status().as_u16() {
        200 => match serde_json::from_slice::<Answer>(response.body()) {
            Ok(answer) if answer.acks.values().any(|is_indexed| *is_indexed) => Verdict::Delivered,
            _ => Verdict::Retry { after: None },
        },
        400 | 404 => Verdict::Delivered,
        _ => Verdict::Retry { after: None },
    }
}

/// What follows from the options, worked out once.
#[derive(Clone, Debug, Default)]
pub(super) struct Prepared {
    /// Names the sender; Splunk wants one for its acknowledgements, the same in all requests.
    channel: String,
    /// The fields of `host_key` and `timestamp_key`, if there are such, then the indexed ones.
    lookup: Lookup,
    /// The names of the indexed fields, as they are written between quotes.
    indexed: Vec<String>,
    nanos_key: Option<String>,
}

/// Where events go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum EndpointTarget {
    /// Each with its time and place.
    #[default]
    Event,
    /// As lines; Splunk finds the time in them.
    Raw,
}

/// The path of a field; empty for none.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "String")]
#[schemars(inline, with = "String")]
pub(super) struct OptionalPath(Option<Path>);

impl OptionalPath {
    pub(super) fn host() -> OptionalPath {
        OptionalPath(Some(Path::root_field("host")))
    }

    pub(super) fn timestamp() -> OptionalPath {
        OptionalPath(Some(Path::root_field("timestamp")))
    }
}

impl Serialize for OptionalPath {
    fn serialize<S: Serializer>(&self, serializer: S) -> std::result::Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.as_ref().map(Path::to_string).unwrap_or_default())
    }
}

impl TryFrom<String> for OptionalPath {
    type Error = PathError;

    fn try_from(text: String) -> Result<OptionalPath, PathError> {
        if text.is_empty() { Ok(OptionalPath(None)) } else { Path::parse(&text).map(Some).map(OptionalPath) }
    }
}

/// Splunk Cloud takes so many bytes in a request. A larger one has been seen to get the answer of a first
/// event that is no JSON.
const CLOUD_BODY: usize = 5 << 20;

impl Hec {
    /// Checks the options and works out what follows from them.
    pub(super) fn prepare(&mut self, options: &mut HttpOptions) -> Result<()> {
        for (option, template) in
            [("index", &mut self.index), ("source", &mut self.source), ("sourcetype", &mut self.sourcetype)]
        {
            template.iter_mut().for_each(|template| options.confine(option, template));
        }
        check_endpoint("endpoint", &self.endpoint)?;
        self.token.to_header("Splunk ")?;
        if self.auto_extract_timestamp && self.target == EndpointTarget::Raw {
            return Err("auto_extract_timestamp: the raw endpoint always does that; leave it out".into());
        }
        let keys = self.host_key.0.iter().chain(&self.timestamp_key.0).cloned();
        self.prepared = Prepared {
            channel: uuid_v4(rand::random()),
            lookup: Lookup::new(keys.chain(self.indexed_fields.iter().cloned())),
            indexed: self.indexed_fields.iter().map(|field| escaped(&flat_name(field))).collect(),
            nanos_key: self.timestamp_nanos_key.as_deref().map(escaped),
        };
        Ok(())
    }

    /// As Vector.
    pub(super) fn limits() -> BatchLimits {
        BatchLimits { max_bytes: 1_000_000, ..BatchLimits::DEFAULT }
    }

    /// Objects one after another; raw events are lines, which Vector sends without a line's end.
    pub(super) fn framing(&self) -> Framing {
        match self.target {
            EndpointTarget::Event => Framing::CONCATENATED,
            EndpointTarget::Raw => Framing::NEWLINE_DELIMITED,
        }
    }

    /// Of raw events the query, since they have their place in it. Otherwise the index, if it is an event's
    /// to choose: one that Splunk refuses then harms no event of another.
    ///
    /// # Errors
    /// If the event would lead out of where a template says.
    pub(super) fn partition(&self, event: &LogEvent) -> Result<Partition, EncodeError> {
        for (option, template) in self.templates() {
            if let Err(error @ RenderError::Escapes { .. }) = template.render(event) {
                return Err(EncodeError { reason: format!("{option}: {error}") });
            }
        }
        Ok(match (self.target, &self.index) {
            (EndpointTarget::Event, Some(index)) if index.as_static().is_none() => {
                vec![index.render(event).unwrap_or_default()]
            }
            (EndpointTarget::Event, _) => Partition::new(),
            (EndpointTarget::Raw, _) => {
                let found = self.host_key.0.as_ref().and_then(|path| event.get(path));
                let mut query = String::new();
                for (name, value) in self.places(event, found) {
                    query.push(if query.is_empty() { '?' } else { '&' });
                    query.push_str(name);
                    query.push('=');
                    query.extend(utf8_percent_encode(&value, UNRESERVED));
                }
                vec![query]
            }
        })
    }

    /// Those of the templates that are not the same for every event.
    fn templates(&self) -> impl Iterator<Item = (&'static str, &Template)> {
        let all = [("index", &self.index), ("source", &self.source), ("sourcetype", &self.sourcetype)];
        all.into_iter()
            .filter_map(|(option, template)| Some((option, template.as_ref()?)))
            .filter(|(_, template)| template.as_static().is_none())
    }

    /// Where an event belongs; a template whose field it lacks is left out. `found` is the field of
    /// `host_key`.
    fn places<'a>(
        &self,
        event: &'a LogEvent,
        found: Option<Field<'a>>,
    ) -> impl Iterator<Item = (&'static str, Cow<'a, str>)> {
        let host = self.host_key.0.is_some().then(|| match found.filter(|field| !field.is_null()) {
            Some(field) => Some(field.to_text()),
            None => event.host().or_else(|| event.instance()),
        });
        let render = |template: &Option<Template>| template.as_ref()?.render(event).ok().map(Cow::from);
        let places = [
            ("host", host.flatten()),
            ("source", render(&self.source)),
            ("sourcetype", render(&self.sourcetype)),
            ("index", render(&self.index)),
        ];
        places.into_iter().filter_map(|(name, value)| Some((name, value?)))
    }

    /// With the codec `json` the event is an object, with any other it is text. The collector has a place
    /// for the time and the host. It has none for the level: an object holds its own.
    pub(super) fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) {
        if self.target == EndpointTarget::Raw {
            return self.write_text(event, out);
        }
        let (found, time) = event.look_up(&self.prepared.lookup);
        let mut found = found.into_iter();
        let host = self.host_key.0.as_ref().and_then(|_| found.next().flatten());
        let own = self.timestamp_key.0.as_ref().map(|_| found.next().flatten());
        let time = own.map(|field| field.and_then(Field::as_timestamp).unwrap_or(time));
        let time = time.filter(|_| !self.auto_extract_timestamp);
        let mut object = Splice::open(out);
        match self.encoding.codec {
            Codec::Json { .. } => self.write_object(event, time, object.key("event")),
            _ => {
                let mut text = Vec::new();
                self.write_text(event, &mut text);
                object.string("event", &String::from_utf8_lossy(&text));
            }
        }
        if let Some(time) = time {
            write_seconds(time, object.key("time"));
        }
        for (name, value) in self.places(event, host) {
            object.string(name, &value);
        }
        if self.encoding.is_text() || !self.prepared.indexed.is_empty() {
            self.write_fields(event, found, &mut object);
        }
        object.close();
    }

    /// The indexed fields that the event has, and of what is sent as text alone its level, app, region and
    /// instance.
    fn write_fields<'a>(
        &self,
        event: &LogEvent,
        indexed: impl Iterator<Item = Option<Field<'a>>>,
        object: &mut Splice<'_>,
    ) {
        let mut has = Vec::new();
        let mut fields = Splice::open(object.key("fields"));
        for (name, field) in self.prepared.indexed.iter().zip(indexed) {
            if let Some(field) = field.filter(|field| !field.is_null()) {
                write_indexed(&field.to_json(), fields.key(name));
                has.push(name.as_str());
            }
        }
        if self.encoding.is_text() {
            let known = event.semantics();
            let values = [
                ("level", known.level().map(|level| level.as_str().into())),
                ("app", known.app()),
                ("region", known.region()),
                ("instance", known.instance()),
            ];
            for (name, value) in values {
                if let Some(value) = value.filter(|_| !has.contains(&name)) {
                    fields.string(name, &value);
                }
            }
        }
        fields.close();
    }

    /// The event without the field of the root that is its time already.
    fn write_object(&self, event: &LogEvent, time: Option<Timestamp>, out: &mut Vec<u8>) {
        let sent = self.encoding.transformer.apply(event);
        let time_key = self.timestamp_key.0.as_ref().and_then(Path::as_root_field);
        let time_key = time_key.filter(|_| time.is_some());
        let mut has_nanos = false;
        let mut object = Splice::open_with(out, &sent.json(), |name, value| {
            has_nanos |= Some(name) == self.timestamp_nanos_key.as_deref();
            Some(name) == time_key && Field::Json(value).as_timestamp().is_some()
        });
        if let (Some(key), Some(time), false) = (&self.prepared.nanos_key, time, has_nanos) {
            // As Vector: those that a time in milliseconds lacks.
            write_integer(i64::from(time.subsecond_nanos() % 1_000_000), object.key(key));
        }
        object.close();
    }

    /// The event as text. Splunk refuses a blank one: what has no message goes as JSON.
    fn write_text(&self, event: &LogEvent, out: &mut Vec<u8>) {
        let start = out.len();
        self.encoding.encode(event, out);
        if out.len() == start {
            out.extend_from_slice(self.encoding.transformer.apply(event).json().as_bytes());
        }
    }

    fn authorized(&self, builder: http::request::Builder) -> Result<http::request::Builder> {
        Ok(builder.header(AUTHORIZATION, self.token.to_header("Splunk ")?))
    }

    fn uri(&self, path: &str, query: &str) -> String {
        format!("{}/services/collector/{path}{query}", self.endpoint.trim_end_matches('/'))
    }

    pub(super) fn request(&self, batch: &Batch) -> Result<http::request::Builder> {
        let (uri, content_type) = match self.target {
            EndpointTarget::Raw => {
                let query = batch.partition().first().map_or("", String::as_str);
                (self.uri("raw", query), "text/plain")
            }
            EndpointTarget::Event => {
                let query = if self.auto_extract_timestamp { "?auto_extract_timestamp=true" } else { "" };
                (self.uri("event", query), "application/json")
            }
        };
        let builder = Request::post(uri)
            .header(CONTENT_TYPE, content_type)
            .header("X-Splunk-Request-Channel", &self.prepared.channel);
        self.authorized(builder)
    }

    /// What 400 means is in the answer's code. An event that is refused by its number was preceded by good
    /// ones, which are stored, and stops those behind it, which are sent again: so others have measured;
    /// that the vendor means it so is unverified.
    pub(super) fn verdict(&self, response: &Response<Bytes>, batch: &Batch) -> Verdict {
        #[derive(Deserialize)]
        struct Answer {
            code: u16,
            #[serde(rename = "ackId")]
            ack_id: Option<u64>,
            #[serde(rename = "invalid-event-number")]
            number: Option<usize>,
        }
        let answer = serde_json::from_slice::<Answer>(response.body()).ok();
        if let Some(Answer { ack_id: Some(ack_id), .. }) = &answer
            && response.status() == 200
            && self.acknowledgements.indexer_acknowledgements_enabled
        {
            return self.confirmation(*ack_id).unwrap_or(Verdict::Delivered);
        }
        let Some(Answer { code, number, .. }) = answer.filter(|_| response.status() == 400) else {
            return Verdict::of_status(response);
        };
        match (code, number) {
            // An index that is not there or not the token's. If events choose it, all in the batch have
            // chosen this one; if not, a person can mend it. The number counts from one, it seems.
            (7, _) => match self.index.as_ref().is_some_and(|index| index.as_static().is_none()) {
                true => Verdict::Rejected { reason: describe(response) },
                false => Verdict::Unauthorized,
            },
            // The channel, acknowledgements, the way of authorisation: it is not the events that are bad.
            (10 | 11 | 14 | 16, _) => Verdict::Unauthorized,
            (6, Some(0)) if batch.len() > 1 && batch.body().len() > CLOUD_BODY => Verdict::TooLarge,
            // 6 no JSON, 12 and 13 no event, 15 bad fields: the number counts from zero.
            (_, Some(number)) if !batch.is_empty() => {
                let number = number.min(batch.len() - 1);
                let mut verdicts = vec![EntryVerdict::Delivered; number];
                verdicts.push(EntryVerdict::Rejected { status: None, reason: describe(response) });
                verdicts.resize(batch.len(), EntryVerdict::Retry);
                Verdict::Partial(verdicts)
            }
            _ => Verdict::of_status(response),
        }
    }

    pub(super) fn healthcheck(&self) -> Result<Option<HealthcheckRequest>> {
        let request = self.authorized(Request::get(self.uri("health/1.0", "")))?.body(Bytes::new())?;
        let judge = |response: &Response<Bytes>| match response.status().as_u16() {
            400 => Err(Unhealthy::Unauthorized { reason: describe(response) }),
            503 => Err(Unhealthy::Down {
                reason: format!("the collector's queues are full: {}", describe(response)),
            }),
            _ => judge_2xx(response),
        };
        Ok(Some(HealthcheckRequest::new(request, judge)))
    }

    /// What to ask until the collector says that it has indexed what it took under this number.
    fn confirmation(&self, ack_id: u64) -> Option<Verdict> {
        let Acknowledgements { query_interval, retry_limit, .. } = self.acknowledgements;
        let request = Request::post(self.uri("ack", ""))
            .header(CONTENT_TYPE, "application/json")
            .header("X-Splunk-Request-Channel", &self.prepared.channel);
        let request = self.authorized(request).ok()?.body(format!("{{\"acks\":[{ack_id}]}}").into()).ok()?;
        let ask = Box::new(SideRequest { request, judge: judge_ack });
        Some(Verdict::Confirm { ask, every: query_interval.0, times: retry_limit.get() })
    }
}

/// Appends the value of an indexed field. One that is no string, number or list of these would make Splunk
/// refuse the event, and goes as text.
fn write_indexed(value: &str, out: &mut Vec<u8>) {
    let is_nested = value.starts_with('{') || json::elements(value).any(|item| item.starts_with(['{', '[']));
    match is_nested {
        true => json::write_string(value, out),
        false => out.extend_from_slice(value.as_bytes()),
    }
}

/// The steps of a path joined by dots, without quotes: HEC's fields are flat, and LogScale's tags begin
/// with `#`.
fn flat_name(path: &Path) -> String {
    let step = |segment: &Segment| match segment {
        Segment::Field(name) => name.to_string(),
        Segment::Index(position) => position.to_string(),
    };
    path.segments().iter().map(step).collect::<Vec<_>>().join(".")
}

fn escaped(name: &str) -> String {
    let mut out = Vec::with_capacity(name.len());
    json::write_escaped(name, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}
