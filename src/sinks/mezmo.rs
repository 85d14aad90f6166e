//! `mezmo`: Mezmo's (once LogDNA's) ingestion API, events as lines with metadata.
//!
//! Source: docs.mezmo.com/reference/ingest: `hostname` must be there; `app`, `level`, `env` and `file` have
//! places of their own; times are best as milliseconds; a request has at most 10 MB. The parameter `now`
//! is left out: it only corrects the clock of a sender whose clock is wrong.

use super::codec::{EncodeError, Framing, Splice, Transformer, write_integer};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink, check_endpoint};
use super::verdict::Verdict;
use super::{Auth, Batch, BatchLimits, Partition, judge_empty};
use crate::config::Result;
use crate::event::{Field, LogEvent};
use crate::secret::SensitiveString;
use crate::template::{Template, UNRESERVED};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use percent_encoding::utf8_percent_encode;
use schemars::JsonSchema;
use serde::Deserialize;
use std::borrow::Cow;

/// Delivers events to Mezmo.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Mezmo {
    /// The ingestion key.
    api_key: SensitiveString,
    /// Mezmo's address. Default: `https://logs.mezmo.com`.
    #[serde(default = "default_endpoint")]
    endpoint: String,
    /// The host that lines come from; a template. For an event that lacks its fields: the machine, the
    /// `host`, or `log-shipper`.
    hostname: Template,
    /// The host's MAC address.
    mac: Option<String>,
    /// The host's IP address.
    ip: Option<String>,
    /// The host's tags; templates. A tag whose field an event lacks is left out.
    #[serde(default)]
    tags: Vec<Template>,
    /// The app of a line whose event has none, and no `file`. Default: `log-shipper`.
    #[serde(default = "own_name")]
    default_app: String,
    /// The environment of a line whose event has no `env`. Default: `production`.
    #[serde(default = "default_env")]
    default_env: String,
    /// What of an event is sent.
    #[serde(default)]
    encoding: Transformer,
}

fn default_endpoint() -> String {
    "https://logs.mezmo.com".to_owned()
}

fn own_name() -> String {
    "log-shipper".to_owned()
}

fn default_env() -> String {
    "production".to_owned()
}

/// What stands around the lines.
const ENVELOPE: (&str, &str) = ("{\"lines\":", "}");
const MAX_BYTES: usize = 10_000_000;

impl Mezmo {
    /// The query of an event's request.
    fn query(&self, event: &LogEvent) -> String {
        let rendered = self.hostname.render(event).ok().filter(|hostname| !hostname.is_empty());
        let hostname = rendered.map(Cow::from).or_else(|| event.instance()).or_else(|| event.host());
        let hostname = hostname.unwrap_or(Cow::Borrowed("log-shipper"));
        let mut query = String::new();
        let parameters =
            [("hostname=", Some(&*hostname)), ("&mac=", self.mac.as_deref()), ("&ip=", self.ip.as_deref())];
        for (name, value) in parameters {
            if let Some(value) = value {
                query.push_str(name);
                query.extend(utf8_percent_encode(value, UNRESERVED));
            }
        }
        let tags = self.tags.iter().filter_map(|tag| tag.render(event).ok());
        for (index, tag) in tags.enumerate() {
            query.push_str(if index == 0 { "&tags=" } else { "," });
            query.extend(utf8_percent_encode(&tag, UNRESERVED));
        }
        query
    }

    fn post(&self, query: &str) -> Result<http::request::Builder> {
        let auth = Auth::Basic { user: self.api_key.clone(), password: SensitiveString::default() };
        let uri = format!("{}/logs/ingest?{query}", self.endpoint.trim_end_matches('/'));
        auth.authorize(Request::post(uri).header(CONTENT_TYPE, "application/json"))
    }
}

impl HttpSink for Mezmo {
    const NAME: &'static str = "mezmo";
    const SUMMARY: &'static str = "Deliver events to Mezmo (LogDNA).";
    const EXAMPLE: &'static str = "api_key = \"KEY\"\nhostname = \"{{ fly.app.instance }}\"";
    const NOTES: &'static str = "- A request has at most 10,000,000 bytes; it is sent after 1 s at the latest. An event may be as \
        large as a request.";

    const RENAMED: &'static [(&'static str, &'static str)] = &[("host", "endpoint")];

    fn configure(&mut self, _options: &mut HttpOptions) -> Result<()> {
        self.encoding.check()?;
        self.post("")?;
        check_endpoint("endpoint", &self.endpoint)
    }

    fn limits(&self) -> BatchLimits {
        let envelope = ENVELOPE.0.len() + "[]".len() + ENVELOPE.1.len();
        BatchLimits { max_bytes: MAX_BYTES, max_event_bytes: MAX_BYTES - envelope, ..BatchLimits::DEFAULT }
    }

    fn vendor_limits(&self) -> (usize, usize) {
        (MAX_BYTES, usize::MAX)
    }

    fn framing(&self) -> Framing {
        Framing::JSON_ARRAY.wrapped(ENVELOPE.0, ENVELOPE.1)
    }

    /// The query: host and tags are those of all lines in a request. No event is lost for want of them.
    fn partition(&self, event: &LogEvent) -> Result<Partition, EncodeError> {
        Ok(vec![self.query(event)])
    }

    /// The message is the line; an event without one is the line itself, since no line is shown empty.
    /// `app`, `env` and `file` of the event's own go to their places, the rest is metadata. The time, the
    /// level and the Fly app, which Vector leaves among the metadata, have their places too.
    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let sent = self.encoding.apply(event);
        let text = sent.json();
        // Of the whole event, whatever part of it is sent.
        let known = event.semantics();
        let (mut line, mut app, mut env, mut file) = (None, None, None, None);
        let mut object = Splice::open(out);
        let meta = Splice::open_with(object.key("meta"), &text, |name, value| {
            let field = Field::Json(value);
            let (place, text) = match name {
                "timestamp" => return field.as_timestamp().is_some(),
                "message" if !field.is_null() => (&mut line, Some(field.to_text())),
                "app" => (&mut app, field.as_str()),
                "env" => (&mut env, field.as_str()),
                "file" => (&mut file, field.as_str()),
                _ => return false,
            };
            *place = text;
            place.is_some()
        });
        meta.close();
        object.string("line", line.as_deref().unwrap_or(&text));
        write_integer(known.timestamp().millis(), object.key("timestamp"));
        if let Some(level) = known.level() {
            object.string("level", level.as_str());
        }
        match app.or_else(|| known.app()) {
            Some(app) => object.string("app", &app),
            None if file.is_none() => object.string("app", &self.default_app),
            None => {}
        }
        object.string("env", env.as_deref().unwrap_or(&self.default_env));
        if let Some(file) = file {
            object.string("file", &file);
        }
        object.close();
        Ok(())
    }

    /// The header has it in another form.
    fn secrets(&self) -> Vec<&SensitiveString> {
        vec![&self.api_key]
    }

    fn request(&self, batch: &Batch) -> Result<http::request::Builder> {
        self.post(batch.partition().first().map_or("", String::as_str))
    }

    /// Mezmo has been seen to answer 400 "Message size too large" where others answer 413.
    fn verdict(&self, response: &Response<Bytes>, _batch: &Batch) -> Verdict {
        let is_too_large = String::from_utf8_lossy(response.body()).contains("too large");
        if response.status() == 400 && is_too_large {
            return Verdict::TooLarge;
        }
        Verdict::of_status(response)
    }

    /// No lines, so nothing is stored. Whether Mezmo calls that a bad request is not documented; either
    /// way it has let the key pass.
    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        let request = self.post("hostname=log-shipper")?.body(Bytes::from_static(b"{\"lines\":[]}"))?;
        Ok(Some(HealthcheckRequest::new(request, judge_empty)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(text: &str) -> LogEvent {
        LogEvent::from_json(text.to_owned().into()).unwrap()
    }

    fn sink(options: &str) -> Mezmo {
        let text = format!("api_key = 'k'\nhostname = '{{{{ h }}}}'\n{options}");
        toml::from_str(&text).unwrap()
    }

    #[test]
    fn a_host_is_found_for_every_event() {
        let options = "mac = 'a:b'\nip = '::1'\ntags = ['{{ none }}', 't&{{ n }}', 'é']";
        for (text, hostname) in [
            (r#"{"h":"a b/c","n":1}"#, "a%20b%2Fc"),
            (r#"{"h":"","n":1,"fly":{"app":{"instance":"i"}},"host":"x"}"#, "i"),
            (r#"{"n":1,"host":"x"}"#, "x"),
            (r#"{"n":1}"#, "log-shipper"),
        ] {
            let query = format!("hostname={hostname}&mac=a%3Ab&ip=%3A%3A1&tags=t%261,%C3%A9");
            assert_eq!(sink(options).query(&event(text)), query);
        }
    }

    #[track_caller]
    fn check(options: &str, text: &str, expected: &str) {
        let mut out = Vec::new();
        sink(options).encode(&event(text), &mut out).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), expected);
    }

    #[test]
    fn what_an_event_has_goes_to_its_place() {
        check(
            "",
            r#"{"message":"m","timestamp":1795323600,"app":"a","env":"e","file":"f","level":"WARN","x":1}"#,
            r#"{"meta":{"level":"WARN","x":1},"line":"m","timestamp":1795323600000,"level":"warn","app":"a","env":"e","file":"f"}"#,
        );
        check(
            "default_app = 'd'\nencoding.except_fields = ['timestamp']",
            r#"{"timestamp":1795323600,"app":{"name":"a"}}"#,
            r#"{"meta":{"app":{"name":"a"}},"line":"{\"app\":{\"name\":\"a\"}}","timestamp":1795323600000,"app":"d","env":"production"}"#,
        );
        check(
            "default_env = 'd'",
            r#"{"file":"f","message":{"a":1},"ts":1795323600,"timestamp":"soon"}"#,
            r#"{"meta":{"ts":1795323600,"timestamp":"soon"},"line":"{\"a\":1}","timestamp":1795323600000,"env":"d","file":"f"}"#,
        );
    }
}
