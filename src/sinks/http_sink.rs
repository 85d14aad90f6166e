//! The HTTP kernel: everything that sinks over HTTP have in common.
//!
//! A destination implements [`HttpSink`], which says only what differs and does no I/O. The kernel
//! batches, compresses, sends, retries, splits, holds, counts and answers the receipts.

use super::batch::{Batch, BatchConfig, BatchLimits, Partition};
use super::client::SigningClient;
use super::codec::{EncodeError, Framing};
use super::compression::{Algorithm, Compression};
use super::failure_policy::FailurePolicy;
use super::gate::Gate;
use super::healthcheck::healthcheck;
use super::intake::{Aside, RunningHttpSink, Shared, Succession};
use super::plain_http;
use super::request::{Controller, RateLimit, RequestConfig, hold_warning};
use super::verdict::Verdict;
use crate::config::{Problem, Result, SinkConfig, SinkContext, StreamSink};
use crate::env::Env;
use crate::event::LogEvent;
use crate::healthcheck::Healthcheck;
use crate::http::HttpClient;
use crate::log_limit::LogLimit;
use crate::providers;
use crate::secret::SensitiveString;
use crate::template::Template;
use crate::tls::TlsConfig;
use bytes::Bytes;
use http::Response;
use http::header::{HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use toml::{Table, Value};

pub use super::client::Signer;
pub use super::healthcheck::{HealthcheckRequest, judge_2xx, judge_empty};

/// A destination over HTTP: what is its own, and nothing else. It does no I/O, asks no clock and
/// logs nothing.
///
/// ```
/// use log_shipper::config::{ComponentKind, Registry, Result};
/// use log_shipper::event::LogEvent;
/// use log_shipper::schemars;
/// use log_shipper::secret::SensitiveString;
/// use log_shipper::sinks::codec::EncodeError;
/// use log_shipper::sinks::{Batch, HttpSink};
///
/// #[derive(Debug, serde::Deserialize, schemars::JsonSchema)]
/// #[serde(deny_unknown_fields)]
/// struct Acme {
///     /// The API token.
///     token: SensitiveString,
/// }
///
/// impl HttpSink for Acme {
///     const NAME: &'static str = "acme";
///     const SUMMARY: &'static str = "Deliver events to Acme.";
///     const EXAMPLE: &'static str = "token = \"${ACME_TOKEN}\"";
///
///     fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
///         out.extend_from_slice(event.json().as_bytes());
///         Ok(())
///     }
///
///     fn request(&self, _batch: &Batch) -> Result<http::request::Builder> {
///         let token = self.token.to_header("Bearer ")?;
///         Ok(http::Request::post("https://acme.example/logs").header("Authorization", token))
///     }
/// }
///
/// let mut registry = Registry::builtin();
/// registry.http_sink::<Acme>();
/// assert!(registry.component_schema(ComponentKind::Sink, "acme").is_some());
/// ```
pub trait HttpSink: DeserializeOwned + Debug + Send + Sync + 'static {
    /// The `type` in a configuration.
    const NAME: &'static str;
    /// One sentence for lists.
    const SUMMARY: &'static str;
    /// Its own options in TOML; a configuration made of it loads.
    const EXAMPLE: &'static str;

    /// What its page in the book says beside its options, in Markdown: limits, answers. Default: nothing.
    const NOTES: &'static str = "";
    /// Old and new dotted names of its options: the old ones are read too, with a warning. Default: none.
    const RENAMED: &'static [(&'static str, &'static str)] = &[];
    /// The options that say how the destination is reached and who we are, and have no part in how events are
    /// encoded: when only these change, a reload sends what has been encoded already with the new ones.
    const ACCESS: &'static [&'static str] = &[
        "api_key",
        "auth",
        "default_api_key",
        "default_token",
        "endpoint",
        "license_key",
        "push_api_key",
        "site",
        "token",
    ];

    /// Looks at the kernel's options before anything starts: to refuse what the destination does not
    /// take, or to set what follows from its own options.
    ///
    /// # Errors
    /// If the options cannot work with this destination.
    fn configure(&mut self, _options: &mut HttpOptions) -> Result<()> {
        Ok(())
    }

    /// The sink with what the environment says where its options do not, as the vendor's own tools would find
    /// it there: a region, an endpoint. Asked for before a batch is made; when a configuration is read, [`HttpSink::healthcheck`]
    /// or [`HttpSink::request`], of a batch without events, is asked before it, to see whether a key would go as plain text.
    /// Default: the sink as it is.
    ///
    /// # Errors
    /// If something is missing everywhere.
    fn in_environment(&self, _env: &Env) -> Result<Option<Self>> {
        Ok(None)
    }

    /// The limits of a batch where the user sets none. Default: [`BatchLimits::DEFAULT`].
    fn limits(&self) -> BatchLimits {
        BatchLimits::DEFAULT
    }

    /// The most bytes (encoded) and events that the vendor takes in one request: the user may not set
    /// more. Default: no limit.
    fn vendor_limits(&self) -> (usize, usize) {
        (usize::MAX, usize::MAX)
    }

    /// The compression where the user sets none. Default: none.
    fn compression(&self) -> Compression {
        Algorithm::None.into()
    }

    /// How the entries of a body are joined. Default: a JSON array.
    fn framing(&self) -> Framing {
        Framing::JSON_ARRAY
    }

    /// Whether the event is for this destination at all; one that is not counts as filtered. Default: yes.
    fn wants(&self, _event: &LogEvent) -> bool {
        true
    }

    /// What an event must have in common with others to share a request with them: parts of the URI
    /// or of a header. [`HttpSink::request`] finds it in [`Batch::partition`].
    ///
    /// # Errors
    /// If the event lacks what is needed; it is then rejected.
    fn partition(&self, _event: &LogEvent) -> Result<Partition, EncodeError> {
        Ok(Partition::new())
    }

    /// Appends an event as the destination wants it. Called once for each event.
    ///
    /// # Errors
    /// If the event cannot be written; it is then rejected. What was appended is taken back.
    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError>;

    /// The body of a batch, where it is not the framed entries themselves. Default: `None`.
    fn assemble(&self, _batch: &Batch) -> Option<Vec<u8>> {
        None
    }

    /// The request without its body: method, URI, headers. Made anew for each attempt.
    ///
    /// # Errors
    /// If a secret cannot stand in a header, or a rendered URI is none.
    fn request(&self, batch: &Batch) -> Result<http::request::Builder>;

    /// What signs every request, the healthcheck's too, just before it is sent: for what depends on the hour,
    /// or on the body as it is sent. Default: nothing.
    ///
    /// # Errors
    /// If the options do not say how.
    fn signer(&self, _cx: &SinkContext, _client: &HttpClient) -> Result<Option<Arc<dyn Signer>>> {
        Ok(None)
    }

    /// Secrets that stand elsewhere than in a header, and that an answer may repeat; no log shows them. Default:
    /// none.
    fn secrets(&self) -> Vec<&SensitiveString> {
        Vec::new()
    }

    /// What an answer means. Default: [`Verdict::of_status`].
    fn verdict(&self, response: &Response<Bytes>, _batch: &Batch) -> Verdict {
        Verdict::of_status(response)
    }

    /// How to ask the destination whether it is well and knows us; `uri` is the user's, if he gave
    /// one. Default: not at all.
    ///
    /// # Errors
    /// If the request cannot be made.
    fn healthcheck(&self, _uri: Option<&str>) -> Result<Option<HealthcheckRequest>> {
        Ok(None)
    }
}

/// What of an [`HttpSink`] is needed once it runs, as a trait object: the kernel is compiled once and not for
/// each of sixteen sinks (12.7 instead of 13.6 MB), and a call through it is nothing beside the encoding of an
/// event.
pub(super) trait Destination: Send + Sync {
    fn framing(&self) -> Framing;
    fn wants(&self, event: &LogEvent) -> bool;
    fn partition(&self, event: &LogEvent) -> Result<Partition, EncodeError>;
    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError>;
    fn assemble(&self, batch: &Batch) -> Option<Vec<u8>>;
    fn request(&self, batch: &Batch) -> Result<http::request::Builder>;
    fn secrets(&self) -> Vec<&SensitiveString>;
    fn verdict(&self, response: &Response<Bytes>, batch: &Batch) -> Verdict;
}

impl<S: HttpSink> Destination for S {
    fn framing(&self) -> Framing {
        HttpSink::framing(self)
    }

    fn wants(&self, event: &LogEvent) -> bool {
        HttpSink::wants(self, event)
    }

    fn partition(&self, event: &LogEvent) -> Result<Partition, EncodeError> {
        HttpSink::partition(self, event)
    }

    fn encode(&self, event: &LogEvent, out: &mut Vec<u8>) -> Result<(), EncodeError> {
        HttpSink::encode(self, event, out)
    }

    fn assemble(&self, batch: &Batch) -> Option<Vec<u8>> {
        HttpSink::assemble(self, batch)
    }

    fn request(&self, batch: &Batch) -> Result<http::request::Builder> {
        HttpSink::request(self, batch)
    }

    fn secrets(&self) -> Vec<&SensitiveString> {
        HttpSink::secrets(self)
    }

    fn verdict(&self, response: &Response<Bytes>, batch: &Batch) -> Verdict {
        HttpSink::verdict(self, response, batch)
    }
}

/// The URL of an endpoint, for a sink's `configure`.
///
/// # Errors
/// If it is none, is not HTTP, or has a user and password in it, which would not be sent.
pub fn check_endpoint(option: &str, url: &str) -> Result<()> {
    match url.parse::<http::Uri>() {
        Ok(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
            Err(format!("{option}: it has a user and password in it; use the sink's own options for them")
                .into())
        }
        Ok(uri) if matches!(uri.scheme_str(), Some("http" | "https")) => Ok(()),
        _ => Err(format!("{option}: not a URL; expected one such as https://logs.example").into()),
    }
}

// === options ===

/// The keys of a sink's table that are the kernel's.
pub(crate) const HTTP_OPTIONS: &[&str] = &[
    "batch",
    "compression",
    "dangerously_allow_unconfined_template_resolution",
    "failure_policy",
    "request",
    "retry_strategy",
    "tls",
];

/// Those of them that have no part in how events are encoded.
const HTTP_ACCESS: &[&str] = &["batch", "failure_policy", "request", "retry_strategy", "tls"];

/// A number that stands for all that decides how a sink encodes events and what of them belongs into one request:
/// its table without what only says how the destination is reached. A URI and headers are a part of it where an
/// event decides them.
pub(crate) fn wire(table: &Table, access: &[&str]) -> u64 {
    let is_template = |value: &Value| {
        let template = value.as_str().map(Template::parse);
        template.is_none_or(|template| template.is_ok_and(|template| template.as_static().is_none()))
    };
    let mut wire = Table::new();
    for (key, value) in table {
        let is_access = access.contains(&key.as_str()) || HTTP_ACCESS.contains(&key.as_str());
        if !is_access && (key != "uri" || is_template(value)) {
            wire.insert(key.clone(), value.clone());
        }
    }
    let headers = table.get("request").and_then(|request| request.get("headers")).and_then(Value::as_table);
    for (name, value) in headers.into_iter().flatten().filter(|(_, value)| is_template(value)) {
        wire.insert(format!("request.headers.{name}"), value.clone());
    }
    let mut hasher = DefaultHasher::new();
    wire.to_string().hash(&mut hasher);
    hasher.finish()
}

/// The options that every HTTP sink has.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct HttpOptions {
    /// When a batch is sent.
    pub batch: BatchConfig,
    /// How its body is compressed.
    pub compression: Option<Compression>,
    /// How requests are sent.
    pub request: RequestConfig,
    /// What becomes of a batch that is answered with a status that is no success: a table of statuses (`404`) and
    /// classes (`5xx`) to `retry`, `hold` or `reject`. What is not in it goes by `retry_strategy`, and by the
    /// destination's own rules: 408, 429, 5xx are tried again; 401, 402, 403, 404, 407 and redirects are held;
    /// others are refused. An answer that speaks of single events stays the destination's own. Ours.
    pub failure_policy: FailurePolicy,
    /// Which answers are tried again.
    pub retry_strategy: RetryStrategy,
    /// TLS.
    pub tls: TlsConfig,
    /// Whether an event may decide everything where a template says where something goes: how it begins, the host
    /// of `http`'s `uri`, a `..` in a path. Vector refuses a template that begins with a field without this; here
    /// that is a warning, since older configurations have no such switch. Default: false.
    pub dangerously_allow_unconfined_template_resolution: bool,
    /// What [`HttpSink::configure`] has found that works, but should be written otherwise.
    #[serde(skip)]
    pub warnings: Vec<Problem>,
}

/// Which answers are tried again: Vector's `retry_strategy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum RetryStrategy {
    /// As the destination's rules say.
    #[default]
    Default,
    /// None: what is not a success, or gets no answer, is rejected.
    None,
    /// Everything that is not a success.
    All,
    /// Exactly these statuses.
    Custom {
        /// The statuses.
        status_codes: Vec<u16>,
    },
}

/// An [`HttpSink`] with the kernel's options: the configuration of a sink.
#[derive(Debug)]
pub struct HttpSinkConfig<S> {
    sink: Arc<S>,
    options: HttpOptions,
    limits: BatchLimits,
    compression: Compression,
    headers: Vec<(HeaderName, Template)>,
    wire: Option<u64>,
}

impl HttpOptions {
    /// Keeps events from leading out of the place that this template names, for a sink's `configure`; a template
    /// that an event begins is told of. Nothing with the switch that allows all.
    pub fn confine(&mut self, option: &str, template: &mut Template) {
        if !self.dangerously_allow_unconfined_template_resolution {
            self.warnings.extend(template.confine().map(|message| Problem::at(option, message)));
        }
    }
}

impl<S: HttpSink> HttpSinkConfig<S> {
    /// The sink with these options.
    ///
    /// # Errors
    /// If they do not fit together.
    pub fn new(mut sink: S, mut options: HttpOptions) -> Result<HttpSinkConfig<S>> {
        sink.configure(&mut options)?;
        let limits = options.batch.limits(sink.limits(), sink.vendor_limits())?;
        let compression = options.compression.unwrap_or_else(|| sink.compression());
        if options.tls.enabled == Some(false) {
            return Err("tls.enabled: whether TLS is used is for the URL's scheme to say, http or https; leave it out".into());
        }
        options.warnings.extend(hold_warning(options.request.hold_secs, options.request.give_up_after_secs));
        let mut headers = Vec::new();
        for (name, value) in std::mem::take(&mut options.request.headers) {
            let mut value = value;
            options.confine(&format!("request.headers.{name}"), &mut value);
            let name = &name;
            let parsed = HeaderName::try_from(name)
                .map_err(|_| format!("request.headers: `{name}` is not the name of a header"))?;
            let text = value.as_static();
            if text.is_some_and(|text| HeaderValue::from_str(text).is_err()) {
                return Err(format!(
                    "request.headers.{name}: its value has a character that no header can carry"
                )
                .into());
            }
            headers.push((parsed, value));
        }
        options.warnings.extend(plain_http::warning(&sink, &headers));
        Ok(HttpSinkConfig { sink: Arc::new(sink), options, limits, compression, headers, wire: None })
    }

    /// The same, with a number that stands for all options but [`HttpSink::ACCESS`] and those of the kernel that
    /// have no part in how events are encoded.
    pub(crate) fn with_wire(self, wire: u64) -> HttpSinkConfig<S> {
        HttpSinkConfig { wire: Some(wire), ..self }
    }
}

impl<S: HttpSink> HttpSinkConfig<S> {
    pub(crate) fn take_warnings(&mut self) -> Vec<Problem> {
        std::mem::take(&mut self.options.warnings)
    }

    /// The sink's own healthcheck, with the headers of the user's that are the same for every request: a
    /// gateway may want one.
    fn healthcheck(&self, sink: &S, cx: &SinkContext) -> Result<Option<HealthcheckRequest>> {
        let uri = cx.healthcheck.uri.as_ref().map(SensitiveString::expose);
        let Some(mut check) = sink.healthcheck(uri)? else { return Ok(None) };
        for (name, template) in &self.headers {
            if let Some(text) = template.as_static() {
                for request in &mut check.requests {
                    request.headers_mut().insert(name.clone(), SensitiveString::from(text).to_header("")?);
                }
            }
        }
        Ok(Some(check))
    }
}

impl<S: HttpSink> SinkConfig for HttpSinkConfig<S> {
    fn build(&self, cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)> {
        let timeout = self.options.request.timeout_secs.0;
        let client = HttpClient::new(&self.options.tls, &cx.proxy, timeout)?;
        let sink = self.sink.in_environment(&cx.env)?.map_or_else(|| Arc::clone(&self.sink), Arc::new);
        let signer = sink.signer(cx, &client)?;
        let meters = Arc::clone(cx.books.sink(&cx.id).meters());
        meters.http().set_used();
        let client = SigningClient { client, signer, timeout, meters: Arc::clone(&meters) };
        let secrets: Vec<_> = sink.secrets().into_iter().cloned().collect();
        let healthcheck =
            self.healthcheck(&sink, cx)?.map(|check| healthcheck(client.clone(), check, secrets));
        let shared = Arc::new(Shared {
            id: cx.id.clone(),
            sink,
            client,
            compression: self.compression,
            headers: self.headers.clone(),
            controller: Controller::new(&self.options.request),
            rate_limit: RateLimit::new(&self.options.request),
            memory: cx.memory.clone(),
            options: self.options.clone(),
            gate: Gate::new(&cx.id, &self.options.request, Arc::clone(&meters))
                .with_variables(providers::variables_of(&cx.id, S::NAME, &cx.env)),
            meters,
            status: cx.status.clone(),
            retry_log: LogLimit::every_10_s(),
            reject_log: LogLimit::every_10_s(),
            truncate_log: LogLimit::every_10_s(),
            limits: self.limits,
            aside: Aside::default(),
            wire: self.wire,
            succession: Succession::default(),
        });
        Ok((Box::new(RunningHttpSink { shared }), healthcheck))
    }
}
