//! `datadog_logs`: Datadog's logs API.
//!
//! Source: docs.datadoghq.com/api/latest/logs. Reserved attributes: `message`, `status`, `timestamp`
//! (milliseconds), `hostname`, `service`, `ddsource`, `ddtags`.

use super::codec::{EncodeError, Splice, Transformer, write_integer};
use super::compression::{Algorithm, Compression};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink, check_endpoint};
use super::{Batch, BatchLimits, judge_2xx};
use crate::config::Result;
use crate::env::Env;
use crate::event::{Field, Level, LogEvent, json};
use crate::secret::SensitiveString;
use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// Delivers events to Datadog.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatadogLogs {
    /// The API key. Default: `DD_API_KEY` of the environment.
    default_api_key: Option<SensitiveString>,
    /// The Datadog site. Default: `DD_SITE` of the environment, else `datadoghq.com`.
    site: Option<String>,
    /// Another endpoint than the site's.
    endpoint: Option<String>,
    /// Whether events look as those of Datadog's own agent: what Datadog does not reserve stands in `message`.
    /// Default: false.
    #[serde(default)]
    conforms_as_agent: bool,
    /// What of an event is sent.
    #[serde(default)]
    encoding: Transformer,
}

impl DatadogLogs {
    fn uri(&self, host: &str, path: &str) -> String {
        match &self.endpoint {
            Some(endpoint) => format!("{}{path}", endpoint.trim_end_matches('/')),
            None => {
                let site = self.site.as_deref().unwrap_or("datadoghq.com");
                format!("https://{host}.{site}{path}")
            }
        }
    }

    fn authorized(&self, builder: http::request::Builder) -> Result<http::request::Builder> {
        let key = self.default_api_key.as_ref();
        let key = key.ok_or("default_api_key: missing; set it, or DD_API_KEY in the environment")?;
        Ok(builder.header("DD-API-KEY", key.to_header("")?))
    }
}

/// Opens an object with the members that are not reserved, or, as the agent has it, with a `message` of them.
fn open_with<'a, 't>(
    out: &'a mut Vec<u8>,
    text: &'t str,
    as_agent: bool,
    is_reserved: impl FnMut(&str, &'t str) -> bool,
) -> Splice<'a> {
    if !as_agent {
        return Splice::open_with(out, text, is_reserved);
    }
    let mut object = Splice::open(out);
    Splice::open_with(object.key("message"), text, is_reserved).close();
    object
}

impl HttpSink for DatadogLogs {
    const NAME: &'static str = "datadog_logs";
    const SUMMARY: &'static str = "Deliver events to Datadog's logs.";
    const EXAMPLE: &'static str = "default_api_key = \"KEY\"\nsite = \"datadoghq.eu\"";
    const NOTES: &'static str = "- A request has at most 4,250,000 bytes (up to 5,000,000 may be set) and 1,000 events; it is sent \
        after 5 s at the latest. An event has at most 1,000,000 bytes.\n\
        - The answer is a status alone. A 403 is held, with an alarm.";

    const RENAMED: &'static [(&'static str, &'static str)] = &[("api_key", "default_api_key")];

    fn configure(&mut self, _options: &mut HttpOptions) -> Result<()> {
        self.encoding.check()?;
        if self.default_api_key.is_some() {
            self.authorized(Request::builder())?;
        }
        let option = if self.endpoint.is_some() { "endpoint" } else { "site" };
        check_endpoint(option, &self.uri("http-intake.logs", "/"))
    }

    fn in_environment(&self, env: &Env) -> Result<Option<DatadogLogs>> {
        let mut found = self.clone();
        if found.default_api_key.is_none() {
            found.default_api_key = env.get("DD_API_KEY")?.map(SensitiveString::from);
        }
        if found.site.is_none() {
            found.site = env.get("DD_SITE")?;
        }
        found.authorized(Request::builder())?;
        check_endpoint("site", &found.uri("http-intake.logs", "/"))?;
        Ok(Some(found))
    }

    /// As Vector: some room below the vendor's 5 MB, and 5 s. An event has at most 1 MB.
    fn limits(&self) -> BatchLimits {
        BatchLimits {
            max_bytes: 4_250_000,
            max_events: 1000,
            timeout: Duration::from_secs(5),
            max_event_bytes: 1_000_000,
            ..BatchLimits::DEFAULT
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
    /// `timestamp` is a string; a `status` or `timestamp` that is none is kept
    /// under Vector's name for it.
    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let sent = self.encoding.apply(event);
        let text = sent.json();
        // Of the whole event, whatever part of it is sent.
        let known = event.semantics();
        let (mut service, mut source, mut hostname, mut tags) = (None, None, None, Vec::new());
        let (mut own_time, mut own_status) = (None, None);
        let mut object = open_with(out, &text, self.conforms_as_agent, |name, value| {
            let field = Field::Json(value);
            match name {
                "timestamp" => own_time = Some(field),
                "status" => own_status = Some(field),
                "host" => {}
                "hostname" => hostname = Some(field.to_text()),
                "service" => service = Some(value),
                "ddsource" => source = Some(value),
                "ddtags" if value.starts_with('[') => {
                    tags.extend(json::elements(value).map(|tag| Field::Json(tag).to_text()));
                }
                "ddtags" => tags.push(field.to_text()),
                _ => return false,
            }
            true
        });
        let mut level = known.level();
        let own_level = |field: Field<'_>| field.as_str().and_then(|word| Level::from_word(&word));
        match own_status.map(|field| (own_level(field), field)) {
            None => {}
            Some((Some(own), _)) => level = level.or(Some(own)),
            Some((None, field)) => {
                object.key("_RESERVED_status").extend_from_slice(field.to_json().as_bytes())
            }
        }
        if let Some(field) = own_time.filter(|field| field.as_timestamp().is_none()) {
            object.key("_RESERVED_timestamp").extend_from_slice(field.to_json().as_bytes());
        }
        write_integer(known.timestamp().millis(), object.key("timestamp"));
        if let Some(level) = level {
            object.string("status", level.as_str());
        }
        if let Some(host) = known.host().or(hostname).or_else(|| known.instance()) {
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
        let places = [("region:", known.region()), ("app:", app), ("instance:", known.instance())];
        let places = places.into_iter().filter_map(|(name, value)| Some((name, value?)));
        let tags = tags.into_iter().filter(|tag| !tag.is_empty()).map(|tag| ("", tag));
        let mut tags = places.chain(tags).peekable();
        if tags.peek().is_some() {
            let out = object.key("ddtags");
            out.push(b'"');
            for (index, (name, value)) in tags.enumerate() {
                out.extend_from_slice(if index == 0 { b"" } else { b"," });
                out.extend_from_slice(name.as_bytes());
                json::write_escaped(&value, out);
            }
            out.push(b'"');
        }
        object.close();
        Ok(())
    }

    fn request(&self, _batch: &Batch) -> Result<http::request::Builder> {
        let builder = Request::post(self.uri("http-intake.logs", "/api/v2/logs"))
            .header(CONTENT_TYPE, "application/json")
            .header("DD-EVP-ORIGIN", "log-shipper")
            .header("DD-EVP-ORIGIN-VERSION", env!("CARGO_PKG_VERSION"));
        let builder =
            if self.conforms_as_agent { builder.header("DD-PROTOCOL", "agent-json") } else { builder };
        self.authorized(builder)
    }

    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        let request = self.authorized(Request::get(self.uri("api", "/api/v1/validate")))?;
        let request = request.body(Bytes::new())?;
        Ok(Some(HealthcheckRequest::new(request, judge_2xx)))
    }
}
