//! `honeycomb`: Honeycomb's batch API, events flattened to dotted keys.
//!
//! Source: docs.honeycomb.io (events API): at most 5 MB in a request and 1 MB in an event, both
//! uncompressed; the answer has a status for each event, in order.

use super::codec::{EncodeError, Splice, Transformer};
use super::compression::{Algorithm, Compression};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink, check_endpoint};
use super::verdict::{EntryVerdict, Verdict, shorten};
use super::{Batch, BatchLimits, judge_empty};
use crate::config::Result;
use crate::event::{Field, LogEvent, json};
use crate::secret::SensitiveString;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use schemars::JsonSchema;
use serde::Deserialize;

/// Delivers events to Honeycomb.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Honeycomb {
    /// The API key.
    api_key: SensitiveString,
    /// The dataset.
    dataset: String,
    /// The API's address. Default: `https://api.honeycomb.io`; in the EU, `https://api.eu1.honeycomb.io`.
    #[serde(default = "default_endpoint")]
    endpoint: String,
    /// What of an event is sent.
    #[serde(default)]
    encoding: Transformer,
}

fn default_endpoint() -> String {
    "https://api.honeycomb.io".to_owned()
}

impl Honeycomb {
    fn post(&self) -> Result<http::request::Builder> {
        let dataset = utf8_percent_encode(&self.dataset, NON_ALPHANUMERIC);
        Ok(Request::post(format!("{}/1/batch/{dataset}", self.endpoint.trim_end_matches('/')))
            .header(CONTENT_TYPE, "application/json")
            .header("X-Honeycomb-Team", self.api_key.to_header("")?))
    }
}

impl HttpSink for Honeycomb {
    const NAME: &'static str = "honeycomb";
    const SUMMARY: &'static str = "Deliver events to Honeycomb.";
    const EXAMPLE: &'static str = "api_key = \"KEY\"\ndataset = \"DATASET\"";
    const NOTES: &'static str = "- A request has at most 100,000 bytes (up to 5,000,000 may be set); it is sent after 1 s at the \
        latest. An event has at most 1,000,000 bytes, 65,536 of them in the message.\n\
        - The answer has a status for each event: 429 and 5xx come again, other failures are rejected one by \
        one.";

    fn configure(&mut self, _options: &mut HttpOptions) -> Result<()> {
        self.encoding.check()?;
        self.api_key.to_header("")?;
        check_endpoint("endpoint", &self.endpoint)
    }

    /// Vector's 100 KB for a batch; Honeycomb's 1 MB for an event and 64 KB for a string.
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            max_bytes: 100_000,
            max_event_bytes: 1_000_000,
            max_message_bytes: 64 << 10,
            ..BatchLimits::DEFAULT
        }
    }

    fn vendor_limits(&self) -> (usize, usize) {
        (5_000_000, usize::MAX)
    }

    fn compression(&self) -> Compression {
        Algorithm::Zstd.into()
    }

    /// `time` is the event's own; Vector sends the time of sending, and loses a `timestamp` that is a
    /// string. A `timestamp` that is no time stays among the data.
    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let time = event.timestamp();
        let event = self.encoding.apply(event);
        out.extend_from_slice(b"{\"time\":\"");
        time.write_rfc3339(out);
        out.extend_from_slice(b"\",\"data\":");
        let mut data = Splice::open(out);
        json::flatten(&event.json(), "[", &mut |key, value| {
            // No column has an empty name.
            if key.is_empty() {
                return;
            }
            if !json::key_is(key, "timestamp") || Field::Json(value).as_timestamp().is_none() {
                data.key(key).extend_from_slice(value.as_bytes());
            }
        });
        data.close();
        out.push(b'}');
        Ok(())
    }

    fn request(&self, _batch: &Batch) -> Result<http::request::Builder> {
        self.post()
    }

    /// A status for each event: 202 is stored, 429 and 5xx come again, anything else never.
    fn verdict(&self, response: &Response<Bytes>, batch: &Batch) -> Verdict {
        #[derive(Deserialize)]
        struct Status {
            status: u16,
            #[serde(default)]
            error: String,
        }
        if !response.status().is_success() {
            return Verdict::of_status(response);
        }
        match serde_json::from_slice::<Vec<Status>>(response.body()) {
            Ok(statuses)
                if statuses.len() == batch.len() && statuses.iter().any(|entry| entry.status >= 300) =>
            {
                let verdict = |entry: Status| match entry.status {
                    200..=299 => EntryVerdict::Delivered,
                    429 | 500..=599 => EntryVerdict::Retry,
                    status => EntryVerdict::Rejected {
                        status: Some(status),
                        reason: format!("Honeycomb answers {status}: {}", shorten(&entry.error)),
                    },
                };
                Verdict::Partial(statuses.into_iter().map(verdict).collect())
            }
            _ => Verdict::Delivered,
        }
    }

    /// An empty batch stores nothing: Honeycomb answers 400 to a key that it knows.
    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        let request = self.post()?.body(Bytes::from_static(b"[]"))?;
        Ok(Some(HealthcheckRequest::new(request, judge_empty)))
    }
}
