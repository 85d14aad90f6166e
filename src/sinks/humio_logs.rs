//! `humio_logs`: LogScale (once Humio), which takes what Splunk's collector takes; `hec` has all of it.

use super::codec::{EncodeError, EncodingConfig, Framing};
use super::hec::{Acknowledgements, EndpointTarget, Hec, OptionalPath, Prepared};
use super::http_sink::{HealthcheckRequest, HttpOptions, HttpSink};
use super::verdict::Verdict;
use super::{Batch, BatchLimits, Partition};
use crate::config::Result;
use crate::event::{LogEvent, Path};
use crate::secret::SensitiveString;
use crate::template::Template;
use bytes::Bytes;
use http::Response;
use schemars::JsonSchema;
use serde::Deserialize;

/// Delivers events to LogScale.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "Options")]
#[schemars(with = "Options")]
pub struct HumioLogs(Hec);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The ingest token.
    token: SensitiveString,
    /// LogScale's address, without the path. Default: `https://cloud.humio.com`.
    #[serde(default = "default_endpoint")]
    endpoint: String,
    /// How an event is written.
    encoding: EncodingConfig,
    /// The name of the parser; a template. Default: the token's.
    event_type: Option<Template>,
    /// The field that holds the host; for an event without it, `host` or the machine. Empty: none is sent.
    #[serde(default = "OptionalPath::host")]
    host_key: OptionalPath,
    /// Fields that are sent beside the event; one whose name begins with `#` is a tag.
    #[serde(default)]
    indexed_fields: Vec<Path>,
    /// The repository; a template. Default: the token's.
    index: Option<Template>,
    /// The source; a template. Default: none.
    source: Option<Template>,
    /// The field that holds the time; for an event without it, as always. Empty: no time is sent. (Vector
    /// reads the option and ignores it.)
    #[serde(default = "OptionalPath::timestamp")]
    timestamp_key: OptionalPath,
    /// A field to be added with the nanoseconds beyond LogScale's milliseconds. Default:
    /// `@timestamp.nanos`.
    #[serde(default = "default_nanos_key")]
    timestamp_nanos_key: Option<String>,
}

fn default_endpoint() -> String {
    "https://cloud.humio.com".to_owned()
}

fn default_nanos_key() -> Option<String> {
    Some("@timestamp.nanos".to_owned())
}

impl From<Options> for HumioLogs {
    fn from(options: Options) -> HumioLogs {
        HumioLogs(Hec {
            // fly-log-shipper's template needed the quotes in the secret itself.
            endpoint: options.endpoint.trim_matches('"').to_owned(),
            token: options.token,
            target: EndpointTarget::Event,
            encoding: options.encoding,
            host_key: options.host_key,
            timestamp_key: options.timestamp_key,
            timestamp_nanos_key: options.timestamp_nanos_key,
            auto_extract_timestamp: false,
            indexed_fields: options.indexed_fields,
            index: options.index,
            source: options.source,
            sourcetype: options.event_type,
            // As Vector: LogScale has none.
            acknowledgements: Acknowledgements::default(),
            prepared: Prepared::default(),
        })
    }
}

impl HttpSink for HumioLogs {
    const NAME: &'static str = "humio_logs";
    const SUMMARY: &'static str = "Deliver events to LogScale (Humio).";
    const EXAMPLE: &'static str = "token = \"TOKEN\"\nencoding.codec = \"json\"";
    const NOTES: &'static str = "- A request has at most 1,000,000 bytes; it is sent after 1 s at the latest.\n\
        - The answer names the first invalid event: that one is rejected, those before it are delivered, \
        those behind it come again.";

    const RENAMED: &'static [(&'static str, &'static str)] = &[("host", "endpoint")];

    fn configure(&mut self, options: &mut HttpOptions) -> Result<()> {
        self.0.prepare(options)
    }

    fn limits(&self) -> BatchLimits {
        Hec::limits()
    }

    fn framing(&self) -> Framing {
        self.0.framing()
    }

    fn partition(&self, event: &LogEvent) -> Result<Partition, EncodeError> {
        self.0.partition(event)
    }

    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        self.0.encode(event, out);
        Ok(())
    }

    fn request(&self, batch: &Batch) -> Result<http::request::Builder> {
        self.0.request(batch)
    }

    fn verdict(&self, response: &Response<Bytes>, batch: &Batch) -> Verdict {
        self.0.verdict(response, batch)
    }

    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        self.0.healthcheck()
    }
}
