//! `datadog_logs`: Datadog's logs API.
//!
//! Source: docs.datadoghq.com/api/latest/logs. Reserved attributes: `message`, `status`, `timestamp`
//! (milliseconds), `hostname`, `service`, `ddsource`, `ddtags`.

use super::codec::{EncodeError, Splice, Transformer, write_integer};
use super::compression::{Algorithm, Compression};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink};
use super::{Batch, BatchLimits, judge_2xx};
use crate::config::Result;
use crate::event::{Level, LogEvent, json};
use crate::secret::SensitiveString;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Uri};
use serde::Deserialize;
use std::time::Duration;

/// Delivers events to Datadog.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatadogLogs {
    /// The API key.
    #[serde(alias = "api_key")]
    default_api_key: SensitiveString,
    /// The Datadog site. Default: `datadoghq.com`.
    #[serde(default = "default_site")]
    site: String,
    /// Another endpoint than the site's.
    endpoint: Option<String>,
    /// What of an event is sent.
    #[serde(default)]
    encoding: Transformer,
}

fn default_site() -> String {
    "datadoghq.com".to_owned()
}

impl DatadogLogs {
    fn uri(&self, host: &str, path: &str) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{}{path}", endpoint.trim_end_matches('/')),
            None => format!("https://{host}.{}{path}", self.site),
        }
    }
}

impl HttpSink for DatadogLogs {
    const NAME: &'static str = "datadog_logs";
    const SUMMARY: &'static str = "Deliver events to Datadog's logs.";
    const EXAMPLE: &'static str = "default_api_key = \"KEY\"\nsite = \"datadoghq.eu\"";

    fn configure(&mut self, _options: &mut HttpOptions) -> Result<()> {
        self.encoding.check()?;
        self.default_api_key.to_header("")?;
        if self.uri("http-intake.logs", "/").parse::<Uri>().is_err() {
            return Err(
                "site, endpoint: they make no URL; expected a site such as datadoghq.eu, or https://HOST"
                    .into(),
            );
        }
        Ok(())
    }

    /// As Vector: some room below the vendor's 5 MB, and 5 s. An event has at most 1 MB.
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            max_bytes: 4_250_000,
            max_events: 1000,
            timeout: Duration::from_secs(5),
            max_event_bytes: 1_000_000,
        }
    }

    fn vendor_limits(&self) -> (usize, usize) {
        (5_000_000, 1000)
    }

    fn compression(&self) -> Compression {
        Algorithm::Zstd.into()
    }

    /// The event's own members, but for those that Datadog reserves: these get the event's time in
    /// milliseconds, its level, host, app and place. Vector loses the time of an event whose
    /// `timestamp` is a string; a `status` that is no level is kept under Vector's name for it.
    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let event = self.encoding.apply(event);
        let text = event.json();
        let known = event.semantics();
        let mut object = Splice::open(out);
        let (mut service, mut source, mut own_tags, mut level) = (None, None, None, known.level());
        for (key, value) in json::members(&text) {
            match key {
                "timestamp" | "host" | "hostname" => {}
                "service" => service = Some(value),
                "ddsource" => source = Some(value),
                "ddtags" => own_tags = value.strip_prefix('"').and_then(|text| text.strip_suffix('"')),
                "status" => {
                    match value.strip_prefix('"').and_then(|text| Level::from_word(text.strip_suffix('"')?)) {
                        Some(own) => level = level.or(Some(own)),
                        None => object.key("_RESERVED_status").extend_from_slice(value.as_bytes()),
                    }
                }
                _ => object.key(key).extend_from_slice(value.as_bytes()),
            }
        }
        write_integer(known.timestamp().millis(), object.key("timestamp"));
        if let Some(level) = level {
            object.string("status", level.as_str());
        }
        if let Some(host) = known.host().or_else(|| known.instance()) {
            object.string("hostname", &host);
        }
        let app = known.app();
        match (service, &app) {
            (Some(own), _) => object.key("service").extend_from_slice(own.as_bytes()),
            (None, Some(app)) => object.string("service", app),
            (None, None) => {}
        }
        match source {
            Some(own) => object.key("ddsource").extend_from_slice(own.as_bytes()),
            None => object.string("ddsource", if app.is_some() { "fly" } else { "log-shipper" }),
        }
        let tags = [("region", known.region()), ("app", app), ("instance", known.instance())];
        let mut tags: Vec<_> =
            tags.into_iter().filter_map(|(name, value)| Some(format!("{name}:{}", value?))).collect();
        tags.extend(own_tags.filter(|tags| !tags.is_empty()).map(|tags| json::unescape(tags).into_owned()));
        if !tags.is_empty() {
            object.string("ddtags", &tags.join(","));
        }
        object.close();
        Ok(())
    }

    fn request(&self, _batch: &Batch) -> Result<http::request::Builder> {
        let builder = Request::post(self.uri("http-intake.logs", "/api/v2/logs"))
            .header(CONTENT_TYPE, "application/json")
            .header("DD-API-KEY", self.default_api_key.to_header("")?)
            .header("DD-EVP-ORIGIN", "log-shipper")
            .header("DD-EVP-ORIGIN-VERSION", env!("CARGO_PKG_VERSION"));
        Ok(builder)
    }

    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        let request = Request::get(self.uri("api", "/api/v1/validate"))
            .header("DD-API-KEY", self.default_api_key.to_header("")?)
            .body(Bytes::new())?;
        Ok(Some(HealthcheckRequest { request, judge: judge_2xx }))
    }
}
