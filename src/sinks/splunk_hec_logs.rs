//! `splunk_hec_logs`: Splunk's HTTP Event Collector; `hec` has all of it.

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

/// Delivers events to Splunk.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(from = "Options")]
#[schemars(with = "Options")]
pub struct SplunkHecLogs(Hec);

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Options {
    /// The collector's token.
    default_token: SensitiveString,
    /// The collector's address, without the path: `https://splunk.example:8088`.
    endpoint: String,
    /// How an event is written.
    encoding: EncodingConfig,
    /// The field that holds the host; for an event without it, `host` or the machine. Empty: none is sent.
    #[serde(default = "OptionalPath::host")]
    host_key: OptionalPath,
    /// Fields that are sent beside the event, to be indexed by themselves.
    #[serde(default)]
    indexed_fields: Vec<Path>,
    /// The index; a template. Default: the token's.
    index: Option<Template>,
    /// The source type; a template. Default: the token's.
    sourcetype: Option<Template>,
    /// The source; a template. Default: the token's.
    source: Option<Template>,
    /// The field that holds the time; for an event without it, as always. Empty: no time is sent.
    #[serde(default = "OptionalPath::timestamp")]
    timestamp_key: OptionalPath,
    /// A field to be added with the nanoseconds that the time in milliseconds lacks.
    timestamp_nanos_key: Option<String>,
    /// Whether Splunk finds the time in the event itself. Default: false.
    #[serde(default)]
    auto_extract_timestamp: bool,
    /// `event` or `raw`. Default: `event`.
    #[serde(default)]
    endpoint_target: EndpointTarget,
    /// Whether and how to ask Splunk if what it took is indexed.
    #[serde(default)]
    acknowledgements: Acknowledgements,
}

impl From<Options> for SplunkHecLogs {
    fn from(options: Options) -> SplunkHecLogs {
        SplunkHecLogs(Hec {
            endpoint: options.endpoint,
            token: options.default_token,
            target: options.endpoint_target,
            encoding: options.encoding,
            host_key: options.host_key,
            timestamp_key: options.timestamp_key,
            timestamp_nanos_key: options.timestamp_nanos_key,
            auto_extract_timestamp: options.auto_extract_timestamp,
            indexed_fields: options.indexed_fields,
            index: options.index,
            source: options.source,
            sourcetype: options.sourcetype,
            acknowledgements: options.acknowledgements,
            prepared: Prepared::default(),
        })
    }
}

impl HttpSink for SplunkHecLogs {
    const NAME: &'static str = "splunk_hec_logs";
    const SUMMARY: &'static str = "Deliver events to Splunk's HTTP Event Collector.";
    const EXAMPLE: &'static str =
        "endpoint = \"https://splunk.example:8088\"\ndefault_token = \"TOKEN\"\nencoding.codec = \"json\"";
    const NOTES: &'static str = "- A request has at most 1,000,000 bytes; it is sent after 1 s at the latest.\n\
        - The answer names the first invalid event: that one is rejected, those before it are delivered, \
        those behind it come again.\n\
        - An indexer that acknowledges is asked; what it never confirms is sent again.";

    const RENAMED: &'static [(&'static str, &'static str)] = &[("token", "default_token")];

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
