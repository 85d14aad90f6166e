//! `new_relic`: New Relic's Log API, events as flat attributes.
//!
//! Source: docs.newrelic.com/docs/logs/log-api (introduction, log event data): 1 MB in a request, after
//! compression; 255 attributes for a log, names of at most 255 characters. Of a value's text 4,094
//! characters can be searched and 128 KB more are stored, so that none is cut here.

use super::codec::{EncodeError, Framing, Splice, Transformer, write_integer};
use super::compression::{Algorithm, Compression};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink, check_endpoint};
use super::{Batch, BatchLimits, judge_empty};
use crate::config::Result;
use crate::event::{Field, LogEvent, json};
use crate::secret::SensitiveString;
use bytes::Bytes;
use http::Request;
use http::header::CONTENT_TYPE;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Delivers events to New Relic.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRelic {
    /// The licence key; either this or `insert_key`.
    license_key: Option<SensitiveString>,
    /// An Insights insert key, the older kind.
    insert_key: Option<SensitiveString>,
    /// The account. Only New Relic's other APIs ask for it; a licence key belongs to one.
    #[expect(dead_code, reason = "configurations for Vector have it")]
    account_id: Option<SensitiveString>,
    /// Where the account is: `us` or `eu`. Default: `us`.
    #[serde(default)]
    region: Region,
    /// Another address than the region's, without the path: for FedRAMP `https://gov-log-api.newrelic.com`.
    endpoint: Option<String>,
    /// Only `logs`, which is the default. (Vector's is `events`, which loses the text of a log.)
    #[serde(default)]
    api: Api,
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

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Api {
    #[default]
    Logs,
    Events,
    Metrics,
}

/// What stands around the logs.
const ENVELOPE: (&str, &str) = ("[{\"logs\":", "}]");
const MAX_BYTES: usize = 1_000_000;
/// How many attributes of an event's own are sent: there are at most 255, and six may be ours with the
/// message and the time.
const MAX_OWN: usize = 249;
const MAX_NAME: usize = 255;

impl NewRelic {
    fn post(&self) -> Result<http::request::Builder> {
        let endpoint = match (&self.endpoint, self.region) {
            (Some(endpoint), _) => endpoint.trim_end_matches('/'),
            (None, Region::Us) => "https://log-api.newrelic.com",
            (None, Region::Eu) => "https://log-api.eu.newrelic.com",
        };
        check_endpoint("endpoint", endpoint)?;
        let (header, key) = match (&self.license_key, &self.insert_key) {
            (Some(key), None) => ("Api-Key", key),
            (None, Some(key)) => ("X-Insert-Key", key),
            _ => return Err("license_key, insert_key: set one of them".into()),
        };
        Ok(Request::post(format!("{endpoint}/log/v1"))
            .header(CONTENT_TYPE, "application/json")
            .header(header, key.to_header("")?))
    }
}

impl HttpSink for NewRelic {
    const NAME: &'static str = "new_relic";
    const SUMMARY: &'static str = "Deliver events to New Relic's logs.";
    const EXAMPLE: &'static str = "license_key = \"KEY\"\nregion = \"us\"";
    const NOTES: &'static str = "- A request has at most 1,000,000 bytes and 100 events; it is sent after 1 s at the latest. An event \
        has at most 1,000,000 bytes and 249 attributes.\n\
        - The answer is a status alone. A 403 is held, with an alarm.";

    fn configure(&mut self, _options: &mut HttpOptions) -> Result<()> {
        if self.api != Api::Logs {
            return Err("api: only `logs` is there; log events are neither custom events nor metrics".into());
        }
        self.encoding.check()?;
        self.post()?;
        Ok(())
    }

    /// As Vector. The vendor's limit is for the compressed body; one within it before that always is. A
    /// larger event would be of no use: New Relic stores 132 KB of a value.
    fn limits(&self) -> BatchLimits {
        let envelope = ENVELOPE.0.len() + "[]".len() + ENVELOPE.1.len();
        BatchLimits {
            max_bytes: MAX_BYTES,
            max_events: 100,
            max_event_bytes: MAX_BYTES - envelope,
            ..BatchLimits::DEFAULT
        }
    }

    fn compression(&self) -> Compression {
        Algorithm::Gzip.into()
    }

    fn framing(&self) -> Framing {
        Framing::JSON_ARRAY.wrapped(ENVELOPE.0, ENVELOPE.1)
    }

    /// `message` and the event's time, all else as attributes with dotted names. An array is its JSON as
    /// text, as New Relic stores those in a message: the API takes none, and an attribute for each element
    /// would soon be too many. What is beyond the vendor's limits is left out and counted in the attribute
    /// `attributes_left_out`; what New Relic would do with it is not documented, and it says so to nobody
    /// who waits. `level`, `hostname` and `service.name` (the Fly app) are added where they are missing.
    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        let sent = self.encoding.apply(event);
        let text = sent.json();
        // Of the whole event, whatever part of it is sent.
        let known = event.semantics();
        let host = || known.host().or_else(|| known.instance());
        let mut wanted = [
            ("level", known.level().map(|level| level.as_str().into())),
            ("hostname", host()),
            ("service.name", known.app()),
        ];
        let mut message = None;
        let (mut count, mut left_out) = (0, 0);
        let mut object = Splice::open(out);
        write_integer(known.timestamp().millis(), object.key("timestamp"));
        let mut attributes = Splice::open(object.key("attributes"));
        json::flatten(&text, "", &mut |key, value| {
            let field = Field::Json(value);
            if field.is_null() || json::key_is(key, "timestamp") && field.as_timestamp().is_some() {
                return;
            }
            if json::key_is(key, "message") {
                message = Some(field.to_text());
                return;
            }
            let is_name = !key.is_empty() && (key.len() <= MAX_NAME || key.chars().count() <= MAX_NAME);
            if !is_name || count == MAX_OWN {
                left_out += 1;
                return;
            }
            count += 1;
            for (name, value) in &mut wanted {
                if json::key_is(key, name) {
                    *value = None;
                }
            }
            let out = attributes.key(key);
            match value.starts_with(['{', '[']) {
                true => json::write_string(value, out),
                false => out.extend_from_slice(value.as_bytes()),
            }
        });
        for (name, value) in wanted {
            if let Some(value) = value {
                attributes.string(name, &value);
            }
        }
        if left_out > 0 {
            write_integer(left_out, attributes.key("attributes_left_out"));
        }
        attributes.close();
        if let Some(message) = message {
            object.string("message", &message);
        }
        object.close();
        Ok(())
    }

    fn request(&self, _batch: &Batch) -> Result<http::request::Builder> {
        self.post()
    }

    /// No logs, so nothing is stored. Whether New Relic calls that a bad request is not documented; either
    /// way it has let the key pass.
    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        let request = self.post()?.body(Bytes::from_static(b"[{\"logs\":[]}]"))?;
        Ok(Some(HealthcheckRequest::new(request, judge_empty)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn encode(text: &str) -> Value {
        let sink: NewRelic =
            toml::from_str("license_key = 'k'\nencoding.except_fields = ['secret']").unwrap();
        let mut out = Vec::new();
        sink.encode(&LogEvent::from_json(text.to_owned().into()).unwrap(), &mut out).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    #[test]
    fn arrays_are_text_and_what_is_missing_is_added() {
        assert_eq!(
            encode(
                r#"{"ts":1795323600,"timestamp":"soon","a":{"b":[1,{"c":"x"}],"o":{}},"z":null,"":1,"secret":1}"#
            ),
            json!({
                "timestamp": 1_795_323_600_000_u64,
                "attributes": {
                    "a.b": r#"[1,{"c":"x"}]"#, "a.o": "{}", "timestamp": "soon", "ts": 1_795_323_600,
                    "attributes_left_out": 1,
                },
            })
        );
        let own = r#"{"timestamp":1795323600,"level":"loud","hostname":"h","service":{"name":"s"},"host":"x","fly":{"app":{"name":"w"}},"message":5}"#;
        assert_eq!(
            encode(own),
            json!({
                "timestamp": 1_795_323_600_000_u64,
                "message": "5",
                "attributes": {
                    "level": "loud", "hostname": "h", "service.name": "s", "host": "x", "fly.app.name": "w"
                },
            })
        );
    }

    #[test]
    fn no_log_has_more_than_the_vendor_takes() {
        let names = (0..300).map(|n| format!("\"{}{n}\":1", "é".repeat(if n == 0 { 255 } else { 252 })));
        let text = format!("{{{},\"host\":\"h\"}}", names.collect::<Vec<_>>().join(","));
        let attributes = encode(&text)["attributes"].as_object().unwrap().clone();
        assert_eq!(attributes["attributes_left_out"], 300 + 1 - 249);
        assert_eq!(attributes["hostname"], "h");
        assert!(attributes.len() <= 255 && attributes.keys().all(|key| key.chars().count() <= 255));
    }
}
