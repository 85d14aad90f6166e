//! The HTTP kernel: everything that sinks over HTTP have in common.
//!
//! A destination implements [`HttpSink`], which says only what differs and does no I/O. The kernel
//! batches, compresses, sends, retries, splits, holds, counts and answers the receipts.

use super::batch::{Batch, BatchConfig, BatchLimits, Batcher, Partition, PushError};
use super::codec::{EncodeError, Framing};
use super::compression::{Algorithm, Compression};
use super::request::{Backoff, Controller, RateLimit, RequestConfig};
use crate::config::{Error, Healthcheck, Result, SinkConfig, SinkContext, StreamSink};
use crate::event::LogEvent;
use crate::http::HttpClient;
use crate::log_limit::LogLimit;
use crate::secret::SensitiveString;
use crate::template::Template;
use crate::tls::TlsConfig;
use crate::topology::{BufferReceiver, Outcome};
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderName, HeaderValue, RETRY_AFTER};
use http::{Request, Response, StatusCode};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::collections::VecDeque;
use std::fmt::Debug;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;
use tokio::time::Instant;

/// A destination over HTTP: what is its own, and nothing else. It does no I/O, asks no clock and
/// logs nothing.
pub trait HttpSink: DeserializeOwned + Debug + Send + Sync + 'static {
    /// The `type` in a configuration.
    const NAME: &'static str;
    /// One sentence for lists.
    const SUMMARY: &'static str;
    /// Its own options in TOML; a configuration made of it loads.
    const EXAMPLE: &'static str;

    /// Looks at the kernel's options before anything starts: to refuse what the destination does not
    /// take, or to set what follows from its own options.
    ///
    /// # Errors
    /// If the options cannot work with this destination.
    fn configure(&mut self, _options: &mut HttpOptions) -> Result<()> {
        Ok(())
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

    /// The request without its body: method, URI, headers.
    ///
    /// # Errors
    /// If a secret cannot stand in a header, or a rendered URI is none.
    fn request(&self, batch: &Batch) -> Result<http::request::Builder>;

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

/// What an answer says about a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The destination has it.
    Delivered,
    /// It has some: one verdict for each entry, in order. Those that are missing count as delivered.
    Partial(Vec<EntryVerdict>),
    /// Not now; the destination may say after how long.
    Retry {
        /// The pause that it asks for.
        after: Option<Duration>,
    },
    /// Too much for one request: the batch is sent in two.
    TooLarge,
    /// The destination refuses us, not the events: a key that it does not know, an address where
    /// nobody listens. The batch is held and tried again, because a person can mend that.
    Unauthorized,
    /// Never.
    Rejected {
        /// Why, for the log.
        reason: String,
    },
}

/// What an answer says about one entry of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryVerdict {
    /// The destination has it.
    Delivered,
    /// Not now.
    Retry,
    /// Never.
    Rejected {
        /// Why, for the log.
        reason: String,
    },
}

impl Verdict {
    /// What a status means where the vendor says nothing else: 2xx is delivered; 408, 429 and 5xx are
    /// tried again, as `Retry-After` says; 413 is too large; 401, 403, 404, 407 and redirects are
    /// held; anything else is rejected, with the beginning of the answer as the reason.
    pub fn of_status(response: &Response<Bytes>) -> Verdict {
        match response.status().as_u16() {
            200..=299 => Verdict::Delivered,
            408 | 429 | 500 | 502..=599 => Verdict::Retry { after: retry_after(response, SystemTime::now()) },
            413 => Verdict::TooLarge,
            300..=399 | 401 | 403 | 404 | 407 => Verdict::Unauthorized,
            _ => Verdict::Rejected { reason: describe(response) },
        }
    }
}

/// The beginning of a destination's text, without control characters: fit for a line of the log.
pub fn shorten(text: &str) -> String {
    text.trim().chars().take(300).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// The status and the beginning of the body.
pub fn describe(response: &Response<Bytes>) -> String {
    let text = shorten(&String::from_utf8_lossy(response.body()));
    if text.is_empty() {
        format!("status {}", response.status())
    } else {
        format!("status {}: {text}", response.status())
    }
}

/// `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
fn retry_after(response: &Response<Bytes>, now: SystemTime) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    let date = UNIX_EPOCH + Duration::from_secs(u64::try_from(date.timestamp()).ok()?);
    Some(date.duration_since(now).unwrap_or_default())
}

/// A healthcheck's request and the judgement of its answer.
#[derive(Debug)]
pub struct HealthcheckRequest {
    /// What to ask.
    pub request: Request<Bytes>,
    /// Whether the answer shows a healthy destination; if not, why.
    pub judge: fn(&Response<Bytes>) -> Result<(), String>,
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

/// Any 2xx is healthy.
pub fn judge_2xx(response: &Response<Bytes>) -> Result<(), String> {
    match response.status() {
        status if status.is_success() => Ok(()),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(format!(
            "the destination does not accept our credentials ({}); check the key or token",
            describe(response)
        )),
        _ => Err(format!("the destination answers {}", describe(response))),
    }
}

// === options ===

/// The keys of a sink's table that are the kernel's.
pub(crate) const HTTP_OPTIONS: &[&str] = &[
    "batch",
    "compression",
    "dangerously_allow_unconfined_template_resolution",
    "request",
    "retry_strategy",
    "tls",
];

/// The options that every HTTP sink has.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpOptions {
    /// When a batch is sent.
    pub batch: BatchConfig,
    /// How its body is compressed.
    pub compression: Option<Compression>,
    /// How requests are sent.
    pub request: RequestConfig,
    /// Which answers are tried again.
    pub retry_strategy: RetryStrategy,
    /// TLS.
    pub tls: TlsConfig,
    /// Whether a template may decide everything, even the host of `http`'s `uri`; Vector asks for this
    /// wherever a template begins with a field. Default: false.
    pub dangerously_allow_unconfined_template_resolution: bool,
}

/// Which answers are tried again: Vector's `retry_strategy`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
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
        let mut headers = Vec::new();
        for (name, value) in &options.request.headers {
            let parsed = HeaderName::try_from(name)
                .map_err(|_| format!("request.headers: `{name}` is not the name of a header"))?;
            let text = value.as_static();
            if text.is_some_and(|text| HeaderValue::from_str(text).is_err()) {
                return Err(format!(
                    "request.headers.{name}: its value has a character that no header can carry"
                )
                .into());
            }
            headers.push((parsed, value.clone()));
        }
        Ok(HttpSinkConfig { sink: Arc::new(sink), options, limits, compression, headers })
    }
}

impl<S: HttpSink> HttpSinkConfig<S> {
    /// The sink's own healthcheck, with the headers of the user's that are the same for every request: a
    /// gateway may want one.
    fn healthcheck(&self, cx: &SinkContext) -> Result<Option<HealthcheckRequest>> {
        let uri = cx.healthcheck.uri.as_ref().map(SensitiveString::expose);
        let Some(mut check) = self.sink.healthcheck(uri)? else { return Ok(None) };
        for (name, template) in &self.headers {
            if let Some(text) = template.as_static() {
                check.request.headers_mut().insert(name.clone(), SensitiveString::from(text).to_header("")?);
            }
        }
        Ok(Some(check))
    }
}

impl<S: HttpSink> SinkConfig for HttpSinkConfig<S> {
    fn build(&self, cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Healthcheck)> {
        let timeout = self.options.request.timeout_secs.0;
        let client = HttpClient::new(&self.options.tls, &cx.proxy, timeout)?;
        let healthcheck = healthcheck(client.clone(), self.healthcheck(cx)?, timeout);
        let shared = Arc::new(Shared {
            id: cx.id.clone(),
            sink: Arc::clone(&self.sink),
            client,
            compression: self.compression,
            headers: self.headers.clone(),
            controller: Controller::new(&self.options.request),
            rate_limit: RateLimit::new(&self.options.request),
            options: self.options.clone(),
            not_before: Mutex::new(None),
            retry_log: LogLimit::every_10_s(),
            hold_log: LogLimit::every_10_s(),
            reject_log: LogLimit::every_10_s(),
        });
        Ok((Box::new(RunningHttpSink { shared, limits: self.limits }), healthcheck))
    }
}

fn healthcheck(client: HttpClient, check: Option<HealthcheckRequest>, timeout: Duration) -> Healthcheck {
    let check = check?;
    Some(Box::pin(async move {
        let response = client.send(check.request.clone(), timeout).await?;
        (check.judge)(&response).map_err(|reason| Error::from(hide_secrets(reason, &check.request)))
    }))
}

// === the running sink ===

struct RunningHttpSink<S> {
    shared: Arc<Shared<S>>,
    limits: BatchLimits,
}

/// What the requests of a sink share.
struct Shared<S> {
    id: String,
    sink: Arc<S>,
    client: HttpClient,
    compression: Compression,
    headers: Vec<(HeaderName, Template)>,
    controller: Controller,
    rate_limit: RateLimit,
    options: HttpOptions,
    /// No request begins before: the destination has asked for a pause with `Retry-After`.
    not_before: Mutex<Option<Instant>>,
    retry_log: LogLimit,
    hold_log: LogLimit,
    reject_log: LogLimit,
}

/// The longest pause that a destination can ask for, so that a wrong date does not silence us.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

#[async_trait]
impl<S: HttpSink> StreamSink for RunningHttpSink<S> {
    /// Events come in, are encoded into batches, and the batches go out, as many at once as the
    /// controller allows. While a full batch has to wait, nothing more is taken from the buffer.
    async fn run(self: Box<Self>, mut input: BufferReceiver) -> Result<()> {
        let shared = self.shared;
        let mut batcher = Batcher::new(self.limits, shared.sink.framing(), Arc::clone(input.counts()));
        let mut ready: VecDeque<Batch> = VecDeque::new();
        let mut under_way = JoinSet::new();
        let mut has_more = true;
        loop {
            while !ready.is_empty() && under_way.len() < shared.controller.limit(under_way.len() + 1) {
                if let Some(batch) = ready.pop_front() {
                    under_way.spawn(Arc::clone(&shared).deliver(batch));
                }
            }
            if !has_more && ready.is_empty() && under_way.is_empty() {
                return Ok(());
            }
            let deadline = batcher.deadline().map(Instant::from_std);
            tokio::select! {
                Some(ended) = under_way.join_next() => {
                    if let Err(error) = ended {
                        tracing::error!(sink = shared.id, "a request has ended without an answer: {error}");
                    }
                }
                () = sleep_until(deadline) => ready.extend(batcher.close_expired(Instant::now().into_std())),
                events = input.recv(), if has_more && ready.is_empty() => match events {
                    Some(events) => events.into_iter().for_each(|event| shared.take(event, &mut batcher, &mut ready)),
                    None => {
                        has_more = false;
                        ready.extend(batcher.close_all());
                    }
                },
            }
        }
    }
}

/// Never, without a deadline.
async fn sleep_until(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

impl<S: HttpSink> Shared<S> {
    /// Puts an event into its batch.
    fn take(&self, event: LogEvent, batcher: &mut Batcher, ready: &mut VecDeque<Batch>) {
        let partition = self.partition(&event);
        let partition_error = partition.as_ref().err().map(|error| error.reason.clone());
        let encode = |event: &LogEvent, out: &mut Vec<u8>| match &partition_error {
            Some(reason) => Err(reason.clone()),
            None => self.sink.encode(event, out).map_err(|error| error.reason),
        };
        let reason = match batcher.push(partition.unwrap_or_default(), event, encode, ready) {
            Ok(()) => return,
            Err(PushError::Encode(reason)) => reason,
            Err(PushError::TooLarge { size, limit }) => {
                format!("it has {size} bytes, and the destination takes at most {limit}")
            }
        };
        self.log_rejected(1, &reason);
    }

    /// The sink's own partition, and the values of headers that differ from event to event.
    fn partition(&self, event: &LogEvent) -> Result<Partition, EncodeError> {
        let mut partition = self.sink.partition(event)?;
        for (_, template) in self.headers.iter().filter(|(_, template)| template.as_static().is_none()) {
            partition
                .push(template.render(event).map_err(|error| EncodeError { reason: error.to_string() })?);
        }
        Ok(partition)
    }

    /// Sends a batch until every event in it has been answered for.
    async fn deliver(self: Arc<Self>, batch: Batch) {
        let mut waiting = vec![batch];
        while let Some(batch) = waiting.pop() {
            if let Some((first, second)) = self.deliver_one(batch).await {
                // The first half goes first, to keep the order.
                waiting.extend([second, first]);
            }
        }
    }

    /// Sends a batch; gives back its halves if it is too large.
    async fn deliver_one(&self, mut batch: Batch) -> Option<(Batch, Batch)> {
        let mut backoff = Backoff::new(&self.options.request);
        let mut attempts = 0usize;
        let mut request = match self.request(&batch) {
            Ok(request) => request,
            Err(error) => {
                self.reject(batch, &format!("the request cannot be made: {error}"));
                return None;
            }
        };
        loop {
            let pause = match self.attempt(&request, &batch).await {
                Verdict::Delivered => {
                    batch.settle(Outcome::Delivered);
                    return None;
                }
                Verdict::Rejected { reason } => {
                    self.reject(batch, &reason);
                    return None;
                }
                Verdict::TooLarge if batch.len() > 1 => return Some(batch.split()),
                Verdict::TooLarge => {
                    self.reject(batch, "the destination answers that this one event is too large");
                    return None;
                }
                Verdict::Partial(verdicts) => {
                    batch = self.settle_partial(batch, &verdicts, &request);
                    if batch.is_empty() {
                        return None;
                    }
                    match self.request(&batch) {
                        Ok(rest) => request = rest,
                        Err(error) => {
                            self.reject(batch, &format!("the request cannot be made: {error}"));
                            return None;
                        }
                    }
                    attempts += 1;
                    backoff.pause()
                }
                // Held: a person has to mend it, and how often we ask meanwhile has no limit.
                Verdict::Unauthorized => backoff.pause(),
                Verdict::Retry { after } => {
                    attempts += 1;
                    if let Some(after) = after {
                        self.pause_all(after);
                    }
                    // In addition, so that `Retry-After: 0` is no busy loop, and a pause that ends for
                    // all requests at once does not send them all at once.
                    backoff.pause()
                }
            };
            if self.options.request.retry_attempts.is_some_and(|most| attempts > most) {
                self.reject(batch, "request.retry_attempts is used up");
                return None;
            }
            tokio::time::sleep(pause).await;
        }
    }

    /// One request and its answer's verdict.
    async fn attempt(&self, request: &Request<Bytes>, batch: &Batch) -> Verdict {
        self.wait_for_pause().await;
        self.rate_limit.ready().await;
        let start = Instant::now();
        let answer = self.client.send(request.clone(), self.options.request.timeout_secs.0).await;
        let verdict = match &answer {
            Ok(response) => self.judge(response, batch),
            Err(_) if self.options.retry_strategy == RetryStrategy::None => {
                Verdict::Rejected { reason: "no answer, and retry_strategy is none".into() }
            }
            Err(_) => Verdict::Retry { after: None },
        };
        let pushed_back = matches!(verdict, Verdict::Retry { .. });
        self.controller.observe(start.elapsed(), pushed_back, Instant::now());
        let described = || match &answer {
            Ok(response) => hide_secrets(describe(response), request),
            Err(error) => error.to_string(),
        };
        match &verdict {
            Verdict::Retry { .. } => {
                if let Some(unsaid) = self.retry_log.allow() {
                    tracing::warn!(
                        sink = self.id,
                        events = batch.len(),
                        unsaid,
                        "will be sent again: {}",
                        described()
                    );
                }
            }
            Verdict::Unauthorized => {
                if let Some(unsaid) = self.hold_log.allow() {
                    tracing::error!(
                        sink = self.id,
                        events = batch.len(),
                        unsaid,
                        "held until the destination accepts us; check its key and address: {}",
                        described()
                    );
                }
            }
            Verdict::Rejected { .. } if answer.is_ok() => {
                return Verdict::Rejected { reason: described() };
            }
            _ => {}
        }
        verdict
    }

    fn judge(&self, response: &Response<Bytes>, batch: &Batch) -> Verdict {
        let verdict = self.sink.verdict(response, batch);
        // Sending the same again would be in vain, whatever the strategy says.
        if verdict == Verdict::TooLarge {
            return verdict;
        }
        let is_success = response.status().is_success();
        let retry = || Verdict::Retry { after: retry_after(response, SystemTime::now()) };
        match &self.options.retry_strategy {
            RetryStrategy::All if !is_success => retry(),
            RetryStrategy::None if !is_success => Verdict::Rejected { reason: describe(response) },
            RetryStrategy::Custom { status_codes } if !is_success => {
                match status_codes.contains(&response.status().as_u16()) {
                    true => retry(),
                    false => Verdict::Rejected { reason: describe(response) },
                }
            }
            _ => verdict,
        }
    }

    fn request(&self, batch: &Batch) -> Result<Request<Bytes>> {
        let mut builder = self.sink.request(batch)?;
        let mut dynamic = batch.partition().iter().rev();
        // The rendered headers stand at the end of the partition, in the order of their templates.
        for (name, template) in self.headers.iter().rev() {
            let text = match template.as_static() {
                Some(text) => text,
                None => dynamic.next().map_or("", String::as_str),
            };
            let mut value = HeaderValue::from_str(text)?;
            // A header of the user's may well be a key.
            value.set_sensitive(true);
            if let Some(headers) = builder.headers_mut() {
                headers.insert(name.clone(), value);
            }
        }
        let body = self.sink.assemble(batch).map_or_else(|| batch.body(), Bytes::from);
        if let Some(encoding) = self.compression.content_encoding()
            && let Some(headers) = builder.headers_mut()
        {
            headers.entry(CONTENT_ENCODING).or_insert(HeaderValue::from_static(encoding));
        }
        Ok(builder.body(self.compression.compress(body)?)?)
    }

    fn settle_partial(&self, batch: Batch, verdicts: &[EntryVerdict], request: &Request<Bytes>) -> Batch {
        let rejected: Vec<_> = verdicts
            .iter()
            .filter_map(|verdict| match verdict {
                EntryVerdict::Rejected { reason } => Some(reason),
                _ => None,
            })
            .collect();
        if let Some(first) = rejected.first() {
            self.log_rejected(rejected.len(), &hide_secrets(shorten(first), request));
        }
        batch.settle_each(|index| match verdicts.get(index) {
            None | Some(EntryVerdict::Delivered) => Some(Outcome::Delivered),
            Some(EntryVerdict::Retry) => None,
            Some(EntryVerdict::Rejected { .. }) => Some(Outcome::Rejected),
        })
    }

    fn reject(&self, batch: Batch, reason: &str) {
        self.log_rejected(batch.len(), reason);
        batch.settle(Outcome::Rejected);
    }

    fn log_rejected(&self, events: usize, reason: &str) {
        if let Some(unsaid) = self.reject_log.allow() {
            tracing::error!(sink = self.id, events, unsaid, "rejected: {reason}");
        }
    }

    fn pause_all(&self, after: Duration) {
        let until = Instant::now() + after.min(MAX_RETRY_AFTER);
        let mut not_before = self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
        *not_before = Some(not_before.map_or(until, |earlier| earlier.max(until)));
    }

    async fn wait_for_pause(&self) {
        loop {
            let until = *self.not_before.lock().unwrap_or_else(PoisonError::into_inner);
            match until.filter(|until| *until > Instant::now()) {
                Some(until) => tokio::time::sleep_until(until).await,
                None => return,
            }
        }
    }
}

/// A destination may repeat what we sent; our keys must not reach the log that way.
fn hide_secrets(mut text: String, request: &Request<Bytes>) -> String {
    for value in request.headers().values().filter(|value| value.is_sensitive()) {
        let Ok(value) = value.to_str() else { continue };
        let secret = value.split_once(' ').map_or(value, |(_, secret)| secret);
        for part in [value, secret].into_iter().filter(|part| part.len() > 3) {
            text = text.replace(part, "**REDACTED**");
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
        let builder = headers
            .iter()
            .fold(Response::builder().status(status), |builder, (name, value)| builder.header(*name, *value));
        builder.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    #[test]
    fn statuses_have_their_usual_meaning() {
        let retry = Verdict::Retry { after: None };
        for (status, verdict) in [
            (200, Verdict::Delivered),
            (204, Verdict::Delivered),
            (301, Verdict::Unauthorized),
            (401, Verdict::Unauthorized),
            (403, Verdict::Unauthorized),
            (404, Verdict::Unauthorized),
            (408, retry.clone()),
            (413, Verdict::TooLarge),
            (429, retry.clone()),
            (500, retry.clone()),
            (503, retry),
        ] {
            assert_eq!(Verdict::of_status(&response(status, &[], "")), verdict, "{status}");
        }
        for status in [400, 422, 501] {
            assert!(
                matches!(Verdict::of_status(&response(status, &[], "")), Verdict::Rejected { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn reads_retry_after() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_767);
        for (text, expected) in [
            ("3", Some(3)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            let after = retry_after(&response(429, &[("retry-after", text)], ""), now);
            assert_eq!(after.map(|after| after.as_secs()), expected, "{text}");
        }
        assert_eq!(retry_after(&response(429, &[], ""), now), None);
    }

    #[test]
    fn an_answer_is_described_shortly_and_without_our_keys() {
        let text = describe(&response(400, &[], &format!("bad\n\x1b[31m key s3cr3t {}", "x".repeat(5000))));
        assert!(
            text.starts_with("status 400 Bad Request: bad  [31m key s3cr3t x") && text.len() < 400,
            "{text}"
        );
        let mut request = Request::new(Bytes::new());
        let mut key = HeaderValue::from_static("Bearer s3cr3t");
        key.set_sensitive(true);
        request.headers_mut().insert("authorization", key);
        assert!(!hide_secrets(text, &request).contains("s3cr3t"));
    }
}
