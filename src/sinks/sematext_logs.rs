//! `sematext_logs`: Sematext Logs, a bulk API in which the token is the index.
//!
//! Source: sematext.com/docs/logs (Elasticsearch API, common schema): an event's time is `@timestamp`, its
//! level `severity`, its host `os.host`.

use super::codec::{EncodeError, Framing, Splice, Transformer};
use super::elasticsearch::bulk::{self, Action, write_action};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink, check_endpoint};
use super::{Batch, BatchLimits, Verdict, judge_2xx};
use crate::config::Result;
use crate::event::{Field, LogEvent};
use crate::secret::SensitiveString;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Delivers events to Sematext.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SematextLogs {
    /// The Logs App's token.
    token: SensitiveString,
    /// Where the account is. Default: `us`.
    #[serde(default)]
    region: Region,
    /// Another endpoint than the region's.
    endpoint: Option<String>,
    /// What of an event is sent.
    #[serde(default)]
    encoding: Transformer,
}

#[derive(Clone, Copy, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(transform = crate::config::schema::old_words(&["US", "EU"]))]
enum Region {
    /// The United States.
    #[default]
    #[serde(alias = "US")]
    Us,
    /// The European Union.
    #[serde(alias = "EU")]
    Eu,
}

impl SematextLogs {
    fn uri(&self, path: &str) -> String {
        let endpoint = match (&self.endpoint, self.region) {
            (Some(endpoint), _) => endpoint.trim_end_matches('/'),
            (None, Region::Us) => "https://logsene-receiver.sematext.com",
            (None, Region::Eu) => "https://logsene-receiver.eu.sematext.com",
        };
        format!("{endpoint}{path}")
    }
}

impl HttpSink for SematextLogs {
    const NAME: &'static str = "sematext_logs";
    const SUMMARY: &'static str = "Deliver events to Sematext Logs.";
    const EXAMPLE: &'static str = "token = \"TOKEN\"\nregion = \"eu\"";
    const NOTES: &'static str = "- A request has at most 10,000,000 bytes and 10,000 documents; it is sent after 1 s at the latest.\n\
        - The answer has a status for each document: 429 and 5xx come again, other failures are rejected one \
        by one.";
    const RENAMED: &'static [(&'static str, &'static str)] = &[("host", "endpoint")];

    fn configure(&mut self, _options: &mut HttpOptions) -> Result<()> {
        self.encoding.check()?;
        check_endpoint("endpoint", &self.uri("/"))
    }

    /// Of so many documents the answer is still of a size that is read whole.
    fn limits(&self) -> BatchLimits {
        BatchLimits { max_events: bulk::MAX_DOCUMENTS, ..BatchLimits::DEFAULT }
    }

    fn vendor_limits(&self) -> (usize, usize) {
        (usize::MAX, bulk::MAX_DOCUMENTS)
    }

    fn framing(&self) -> Framing {
        Framing::NEWLINE_DELIMITED
    }

    /// As Vector, and a `severity` where the event has none. A `timestamp` that is no time stays.
    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        write_action(Action::Index, self.token.expose(), Some("logs"), &[], out);
        out.push(b'\n');
        let sent = self.encoding.apply(event);
        let text = sent.json();
        let known = event.semantics();
        let (mut has_severity, mut host) = (false, None);
        let mut document = Splice::open_with(out, &text, |name, value| match name {
            "timestamp" => Field::Json(value).as_timestamp().is_some(),
            "@timestamp" => true,
            "host" => {
                host = Some(value);
                true
            }
            _ => {
                has_severity |= name == "severity";
                false
            }
        });
        document.string("@timestamp", &known.timestamp().to_rfc3339());
        if let Some(host) = host {
            document.key("os.host").extend_from_slice(host.as_bytes());
        }
        if let Some(level) = known.level().filter(|_| !has_severity) {
            document.string("severity", level.as_str());
        }
        document.close();
        Ok(())
    }

    fn request(&self, _batch: &Batch) -> Result<http::request::Builder> {
        Ok(Request::post(self.uri("/_bulk?timeout=60s")).header(CONTENT_TYPE, "application/x-ndjson"))
    }

    /// An answer names the index, which is the token.
    fn secrets(&self) -> Vec<&SensitiveString> {
        vec![&self.token]
    }

    fn verdict(&self, response: &Response<Bytes>, batch: &Batch) -> Verdict {
        bulk::verdict(response, batch.len())
    }

    /// The cluster's health, as Vector; it says nothing of the token, for which Sematext has no question.
    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        let request = Request::get(self.uri("/_cluster/health")).body(Bytes::new())?;
        Ok(Some(HealthcheckRequest::new(request, judge_2xx)))
    }
}
