//! `appsignal`: AppSignal's endpoint for Vector, `{"log": event}` for each event.
//!
//! Source: Vector's `appsignal` sink. What the endpoint makes of an event's fields is not documented; we
//! add those that docs.appsignal.com/logging/platforms/http documents for AppSignal's own JSON endpoint,
//! whose names and words for severity these are. That this one reads them too is unverified.

use super::codec::{EncodeError, Missing, Transformer, write_with_missing};
use super::compression::{Algorithm, Compression};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink, check_endpoint};
use super::{Batch, BatchLimits, judge_2xx};
use crate::config::Result;
use crate::event::{Level, LogEvent};
use crate::secret::SensitiveString;
use bytes::Bytes;
use http::Request;
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use schemars::JsonSchema;
use serde::Deserialize;

/// Delivers events to AppSignal.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AppSignal {
    /// The app's Push API key.
    push_api_key: SensitiveString,
    /// AppSignal's address. Default: `https://appsignal-endpoint.net`.
    #[serde(default = "default_endpoint")]
    endpoint: String,
    /// What of an event is sent.
    #[serde(default)]
    encoding: Transformer,
}

fn default_endpoint() -> String {
    "https://appsignal-endpoint.net".to_owned()
}

const WANTED: [Missing; 4] = [
    Missing::time("timestamp"),
    Missing::level_as("severity", severity),
    Missing::host("hostname"),
    Missing::app("group"),
];

/// AppSignal has the usual words, but that its highest is `fatal`.
const fn severity(level: Level) -> &'static str {
    match level {
        Level::Emergency => "fatal",
        level => level.as_str(),
    }
}

impl AppSignal {
    fn authorized(&self, builder: http::request::Builder) -> Result<http::request::Builder> {
        Ok(builder.header(AUTHORIZATION, self.push_api_key.to_header("Bearer ")?))
    }

    fn uri(&self, path: &str) -> String {
        format!("{}/vector/{path}", self.endpoint.trim_end_matches('/'))
    }
}

impl HttpSink for AppSignal {
    const NAME: &'static str = "appsignal";
    const SUMMARY: &'static str = "Deliver events to AppSignal.";
    const EXAMPLE: &'static str = "push_api_key = \"KEY\"";
    const NOTES: &'static str =
        "- A request has at most 450,000 bytes and 100 events; it is sent after 1 s at the latest.";

    fn configure(&mut self, _options: &mut HttpOptions) -> Result<()> {
        self.encoding.check()?;
        self.push_api_key.to_header("Bearer ")?;
        check_endpoint("endpoint", &self.endpoint)
    }

    /// As Vector; the vendor's own limits are not documented.
    fn limits(&self) -> BatchLimits {
        BatchLimits { max_bytes: 450_000, max_events: 100, ..BatchLimits::DEFAULT }
    }

    fn compression(&self) -> Compression {
        Algorithm::Gzip.into()
    }

    /// The event with `timestamp`, `severity`, `hostname` and `group` (the Fly app) where they are missing.
    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let sent = self.encoding.apply(event);
        out.extend_from_slice(b"{\"log\":");
        write_with_missing(event, &sent.json(), &WANTED, out);
        out.push(b'}');
        Ok(())
    }

    fn request(&self, _batch: &Batch) -> Result<http::request::Builder> {
        self.authorized(Request::post(self.uri("events")).header(CONTENT_TYPE, "application/json"))
    }

    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        let request = self.authorized(Request::get(self.uri("healthcheck")))?.body(Bytes::new())?;
        Ok(Some(HealthcheckRequest::new(request, judge_2xx)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(event: &str, expected: &str) {
        let sink: AppSignal =
            toml::from_str("push_api_key = 'k'\nencoding.except_fields = ['secret']").unwrap();
        let event = LogEvent::from_json(event.to_owned().into()).unwrap();
        let mut out = Vec::new();
        sink.encode(&event, &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), format!("{{\"log\":{expected}}}"));
    }

    #[test]
    fn adds_what_is_missing_and_leaves_what_is_there() {
        let own = r#"{"group":"g","hostname":"h","severity":"odd","timestamp":"t"}"#;
        check(own, own);
        check(
            r#"{"ts":1795323600,"level":"EMERG","secret":1,"fly":{"app":{"instance":"i"}}}"#,
            r#"{"fly":{"app":{"instance":"i"}},"level":"EMERG","ts":1795323600,"timestamp":"2026-11-22T05:00:00.000000000Z","severity":"fatal","hostname":"i"}"#,
        );
    }
}
