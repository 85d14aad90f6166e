//! The way of a batch: to the destination, until every event in it has been answered for.

use super::batch::Batch;
use super::client::SendError;
use super::compression::Algorithm;
use super::http_sink::RetryStrategy;
use super::intake::Shared;
use super::request::Backoff;
use super::verdict::{
    EntryVerdict, SideRequest, Verdict, describe, hide_secrets, redact, retry_after, shorten,
};
use crate::config::Result;
use crate::topology::{Outcome, Rejection};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderValue};
use http::{Request, Response};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::time::Instant;

/// The longest pause that a destination can ask for, so that a wrong date does not silence us.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

/// Bytes of a body that are worth a thread for its compression: with gzip, a fifth of a millisecond.
const LARGE_BODY: usize = 64 << 10;

/// Does work in a thread for such work, once there is a place for it.
async fn offload<T: Send + 'static>(places: Arc<Semaphore>, work: impl FnOnce() -> T + Send + 'static) -> T {
    // Nobody closes it; should somebody, more threads than places are no harm.
    let permit = places.acquire_owned().await.ok();
    let work = move || {
        let done = work();
        drop(permit);
        done
    };
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        // The runtime ends, and this task with it.
        Err(_) => std::future::pending().await,
    }
}

/// How often what a destination lacks is tried to be made by itself, before the batch is tried again.
const MAX_ATTEMPTS_AT_MISSING: usize = 8;

/// How soon a destination is first asked whether it keeps a batch.
const FIRST_CONFIRMATION: Duration = Duration::from_secs(1);

/// How often a batch is sent again that a destination takes and never confirms.
const MAX_UNCONFIRMED: usize = 3;

impl Shared {
    /// Sends a batch until every event in it has been answered for.
    pub(super) async fn deliver(self: Arc<Self>, batch: Batch) {
        let mut sender = self;
        let mut waiting = vec![batch];
        while let Some(batch) = waiting.pop() {
            match sender.deliver_one(batch).await {
                Left::Nothing => {}
                // The first half goes first, to keep the order.
                Left::Halves(first, second) => waiting.extend([second, first]),
                Left::ForSuccessor(batch, successor) => {
                    sender = successor;
                    waiting.push(batch);
                }
            }
        }
    }

    /// Sends a batch; gives back what others have to send.
    async fn deliver_one(self: &Arc<Self>, batch: Batch) -> Left {
        let mut backoff = Backoff::new(&self.options.request);
        let (mut attempts, mut unconfirmed) = (0usize, 0usize);
        let mut sent = Sent::default();
        let Some((mut batch, mut body)) = self.make_body(batch).await else { return Left::Nothing };
        loop {
            if let Some(successor) = self.succession.successor() {
                return Left::ForSuccessor(batch, Arc::clone(successor));
            }
            let Some((verdict, status)) = self.attempt(&batch, &body).await else { continue };
            sent.note(status);
            let verdict = match verdict {
                Verdict::Missing { first } => match self.make_missing(first).await {
                    Verdict::Delivered => {
                        // It may take a moment until it is there; and no attempt has failed.
                        tokio::time::sleep(backoff.pause()).await;
                        continue;
                    }
                    other => other,
                },
                Verdict::Confirm { ask, every, times } => match self.confirm(&ask, every, times).await {
                    Verdict::Retry { .. } if unconfirmed >= MAX_UNCONFIRMED => Verdict::Rejected {
                        reason:
                            "the destination has taken it again and again, and never said that it keeps it"
                                .into(),
                    },
                    verdict => {
                        unconfirmed += 1;
                        verdict
                    }
                },
                verdict => verdict,
            };
            let pause = match verdict {
                Verdict::Delivered => {
                    batch.settle(&Outcome::Delivered);
                    return Left::Nothing;
                }
                Verdict::Rejected { reason } => {
                    self.reject(batch, reason, sent).await;
                    return Left::Nothing;
                }
                Verdict::TooLarge if batch.len() > 1 => {
                    let (first, second) = batch.split();
                    return Left::Halves(first, second);
                }
                Verdict::TooLarge => {
                    let reason = "the destination answers that this one event is too large";
                    self.reject(batch, reason.to_owned(), sent).await;
                    return Left::Nothing;
                }
                Verdict::Partial(verdicts) => {
                    let before = batch.len();
                    batch = self.settle_partial(batch, &verdicts, sent).await;
                    if batch.is_empty() {
                        return Left::Nothing;
                    }
                    // It goes on: a destination that stops at each bad event has used up no patience by that.
                    if batch.len() < before {
                        backoff = Backoff::new(&self.options.request);
                        attempts = 0;
                    } else {
                        attempts += 1;
                    }
                    let Some(rest) = self.make_body(batch).await else { return Left::Nothing };
                    (batch, body) = rest;
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
                // Of a side request's answer, which must not ask for further ones.
                Verdict::Missing { .. } | Verdict::Confirm { .. } => {
                    attempts += 1;
                    backoff.pause()
                }
            };
            if self.options.request.retry_attempts.is_some_and(|most| attempts > most) {
                self.reject(batch, "request.retry_attempts is used up".to_owned(), sent).await;
                return Left::Nothing;
            }
            self.succession.pause(pause).await;
        }
    }

    /// One request, its answer's verdict and its status; nothing if somebody else is there to send it.
    async fn attempt(&self, batch: &Batch, body: &Bytes) -> Option<(Verdict, Option<u16>)> {
        self.wait_for_pause().await;
        self.rate_limit.ready().await;
        if self.succession.successor().is_some() {
            return None;
        }
        let mut request = match self.request(batch, body) {
            Ok(request) => request,
            Err(error) => {
                let reason = format!("the request cannot be made: {error}");
                return Some((Verdict::Rejected { reason }, None));
            }
        };
        let start = Instant::now();
        let answer = self.client.send(&mut request).await;
        let verdict = match &answer {
            Ok(response) => self.judge(response, batch),
            Err(error) => self.unanswered(error),
        };
        let pushed_back = matches!(verdict, Verdict::Retry { .. });
        self.controller.observe(start.elapsed(), pushed_back, Instant::now());
        self.log(&verdict, &answer, &request, batch.len());
        let status = answer.ok().map(|response| response.status().as_u16());
        Some((verdict.map_reasons(|reason| self.hide(reason, &request)), status))
    }

    fn unanswered(&self, error: &SendError) -> Verdict {
        match error {
            // Credentials are for a person to mend.
            SendError::Sign { .. } => Verdict::Unauthorized,
            SendError::NotText { .. } => Verdict::Rejected { reason: error.to_string() },
            SendError::Http { .. } if self.options.retry_strategy == RetryStrategy::None => {
                Verdict::Rejected { reason: "no answer, and retry_strategy is none".into() }
            }
            SendError::Http { .. } => Verdict::Retry { after: None },
        }
    }

    /// The text without our secrets, which a destination may repeat.
    fn hide(&self, text: String, request: &Request<Bytes>) -> String {
        let text = hide_secrets(text, request);
        self.sink.secrets().into_iter().fold(text, |text, secret| redact(&text, secret.expose()))
    }

    /// Says why a batch is still here.
    fn log(
        &self,
        verdict: &Verdict,
        answer: &Result<Response<Bytes>, SendError>,
        request: &Request<Bytes>,
        events: usize,
    ) {
        let described = || match answer {
            Ok(response) => self.hide(describe(response), request),
            Err(error) => error.to_string(),
        };
        match verdict {
            Verdict::Retry { .. } => {
                if let Some(unsaid) = self.retry_log.allow() {
                    tracing::warn!(sink = self.id, events, unsaid, "will be sent again: {}", described());
                }
            }
            Verdict::Unauthorized => {
                if let Some(unsaid) = self.hold_log.allow() {
                    tracing::error!(
                        sink = self.id,
                        events,
                        unsaid,
                        "held until the destination accepts us; check its key and address: {}",
                        described()
                    );
                }
            }
            _ => {}
        }
    }

    /// Makes what the destination lacks; what the answers say.
    async fn make_missing(&self, first: Vec<SideRequest>) -> Verdict {
        for side in first {
            let mut backoff = Backoff::new(&self.options.request);
            // What was made before it is there now, and would not be asked for again.
            for attempt in 1.. {
                let (answer, verdict) = self.ask(&side).await;
                self.log(&verdict, &answer, &side.request, 0);
                match verdict {
                    Verdict::Delivered => break,
                    Verdict::Retry { .. } if attempt < MAX_ATTEMPTS_AT_MISSING => {
                        tokio::time::sleep(backoff.pause()).await;
                    }
                    verdict => return verdict,
                }
            }
        }
        Verdict::Delivered
    }

    /// Asks until the destination says whether it keeps the batch. This takes none of the requests that may
    /// be under way, but the batch's body stays where it is: it may have to be sent again.
    async fn confirm(&self, ask: &SideRequest, every: Duration, times: usize) -> Verdict {
        let _aside = self.aside.step();
        // Most are soon confirmed, and until then their bytes are held.
        let mut pause = every.min(FIRST_CONFIRMATION);
        for _ in 0..times {
            tokio::time::sleep(pause).await;
            pause = every;
            match self.ask(ask).await.1 {
                Verdict::Retry { .. } => {}
                verdict => return verdict,
            }
        }
        Verdict::Retry { after: None }
    }

    /// One side request and its answer's verdict.
    async fn ask(&self, side: &SideRequest) -> (Result<Response<Bytes>, SendError>, Verdict) {
        self.wait_for_pause().await;
        let mut request = side.request.clone();
        let answer = self.client.send(&mut request).await;
        let verdict = match &answer {
            Ok(response) => (side.judge)(response),
            Err(error) => self.unanswered(error),
        };
        let verdict = verdict.map_reasons(|reason| self.hide(reason, &request));
        (answer, verdict)
    }

    fn judge(&self, response: &Response<Bytes>, batch: &Batch) -> Verdict {
        let verdict = self.sink.verdict(response, batch);
        // Sending the same again would be in vain, whatever the strategy says.
        if matches!(verdict, Verdict::TooLarge | Verdict::Missing { .. } | Verdict::Confirm { .. }) {
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

    /// Makes the body of a batch, as it is sent; a batch of which none can be made is rejected. To compress a
    /// large body takes milliseconds, so that is done in a thread of its own: events come in meanwhile.
    async fn make_body(self: &Arc<Self>, batch: Batch) -> Option<(Batch, Bytes)> {
        let is_long = self.compression.algorithm != Algorithm::None && batch.body().len() >= LARGE_BODY;
        let shared = Arc::clone(self);
        let make = move || {
            let body = shared.sink.assemble(&batch).map_or_else(|| batch.body(), Bytes::from);
            let body = shared.compression.compress(body);
            (batch, body)
        };
        let (batch, body) = if is_long { offload(self.memory.compressors(), make).await } else { make() };
        match body {
            Ok(body) => Some((batch, body)),
            Err(error) => {
                self.reject(batch, error.to_string(), Sent::default()).await;
                None
            }
        }
    }

    fn request(&self, batch: &Batch, body: &Bytes) -> Result<Request<Bytes>> {
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
        if let Some(encoding) = self.compression.content_encoding()
            && let Some(headers) = builder.headers_mut()
        {
            headers.entry(CONTENT_ENCODING).or_insert(HeaderValue::from_static(encoding));
        }
        Ok(builder.body(body.clone())?)
    }

    async fn settle_partial(&self, batch: Batch, verdicts: &[EntryVerdict], sent: Sent) -> Batch {
        let rejected: Vec<_> = verdicts
            .iter()
            .filter_map(|verdict| match verdict {
                EntryVerdict::Rejected { reason } => Some(reason),
                _ => None,
            })
            .collect();
        if let Some(first) = rejected.first() {
            self.log_rejected(rejected.len(), &shorten(first));
            batch.room_for_dead_letters().await;
        }
        batch.settle_each(|index| match verdicts.get(index) {
            None | Some(EntryVerdict::Delivered) => Some(Outcome::Delivered),
            Some(EntryVerdict::Retry) => None,
            Some(EntryVerdict::Rejected { reason }) => {
                Some(Outcome::Rejected(sent.rejection(reason.clone())))
            }
        })
    }

    async fn reject(&self, batch: Batch, reason: String, sent: Sent) {
        self.log_rejected(batch.len(), &reason);
        batch.room_for_dead_letters().await;
        batch.settle(&Outcome::Rejected(sent.rejection(reason)));
    }

    pub(super) fn log_rejected(&self, events: usize, reason: &str) {
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
                Some(_) if self.succession.successor().is_some() => return,
                Some(until) => self.succession.pause(until - Instant::now()).await,
                None => return,
            }
        }
    }
}

/// How often a batch was sent, and the last answer's status.
#[derive(Clone, Copy, Default)]
struct Sent {
    attempts: usize,
    status: Option<u16>,
}

impl Sent {
    fn note(&mut self, status: Option<u16>) {
        self.attempts += 1;
        self.status = status;
    }

    fn rejection(self, reason: String) -> Rejection {
        Rejection { reason, status: self.status, attempts: self.attempts }
    }
}

/// What is left of a batch that a sink has tried to send.
enum Left {
    Nothing,
    /// It was too large.
    Halves(Batch, Batch),
    /// Another sink has taken the place of the one that had it.
    ForSuccessor(Batch, Arc<Shared>),
}
