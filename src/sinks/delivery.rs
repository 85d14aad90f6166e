//! The way of a batch: to the destination, until every event in it has been answered for.

use super::batch::Batch;
use super::client::SendError;
use super::compression::Algorithm;
use super::failure_policy::FailureAction;
use super::gate::{Entry, Heard, Passage, Refused, Visitor};
use super::http_sink::RetryStrategy;
use super::intake::Shared;
use super::patience::{self, Limits, Patience};
use super::request::{Backoff, Concurrency};
use super::verdict::{
    EntryVerdict, Reason, SideRequest, Verdict, describe, retry_after, secrets_of, shorten, shorten_to,
};
use crate::config::Result;
use crate::healthcheck::{CHECK_THE_ADDRESS, advice_for_trouble};
use crate::redact::Redactor;
use crate::secret::SensitiveString;
use crate::topology::{Failure, Outcome, Rejection};
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, HeaderValue};
use http::{Request, Response};
use std::cell::LazyCell;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::Semaphore;
use tokio::time::Instant;

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

/// Characters of a reason that are kept, for the log and for dead letters, should a sink not have shortened it.
const MAX_REASON: usize = 1000;

/// How soon a destination is first asked whether it keeps a batch.
const FIRST_CONFIRMATION: Duration = Duration::from_secs(1);

/// How often a batch is sent again that a destination takes and never confirms.
const MAX_UNCONFIRMED: usize = 3;

impl Shared {
    /// Sends a batch until every event in it has been answered for.
    pub(super) async fn deliver(self: Arc<Self>, batch: Batch) {
        let mut sender = self;
        let mut waiting = vec![(batch, Tries::default())];
        while let Some((batch, tries)) = waiting.pop() {
            match sender.deliver_one(batch, tries).await {
                Left::Nothing => {}
                // The first half goes first, to keep the order.
                Left::Halves(first, second, tries) => {
                    waiting.extend([(second, tries.clone()), (first, tries)]);
                }
                Left::ForSuccessor(batch, mut tries, successor) => {
                    tries.patience.forget_hold();
                    sender = successor;
                    waiting.push((batch, tries));
                }
            }
        }
    }

    /// Sends a batch; gives back what others have to send.
    async fn deliver_one(self: &Arc<Self>, batch: Batch, mut tries: Tries) -> Left {
        let mut backoff = Backoff::new(&self.options.request);
        let (mut attempts, mut unconfirmed) = (0usize, 0usize);
        let Some((mut batch, mut body)) = self.make_body(batch, &tries).await else { return Left::Nothing };
        loop {
            let passage = match self.enter(&batch, &tries).await {
                Entry::Passed(passage) => passage,
                Entry::Replaced(successor) => return Left::ForSuccessor(batch, tries, successor),
                Entry::Over => {
                    let reason = tries.over(&self.limits_of(&batch));
                    self.reject(batch, reason, &tries).await;
                    return Left::Nothing;
                }
                Entry::Refused(last, age) => {
                    tries.status = last.status;
                    let reason = format!("{}: {}", patience::held_for(age), last.reason);
                    self.reject(batch, reason, &tries).await;
                    return Left::Nothing;
                }
            };
            let verdict = self.attempt(&batch, &body, passage, &mut tries).await;
            let verdict = match verdict {
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
                    self.reject(batch, reason, &tries).await;
                    return Left::Nothing;
                }
                Verdict::RejectedSome { count, reason } => {
                    self.reject_some(batch, count, reason, &tries).await;
                    return Left::Nothing;
                }
                Verdict::TooLarge if batch.len() > 1 => {
                    let (first, second) = batch.split();
                    return Left::Halves(first, second, tries);
                }
                Verdict::TooLarge => {
                    let reason = "the destination answers that this one event is too large";
                    self.reject(batch, reason.to_owned(), &tries).await;
                    return Left::Nothing;
                }
                Verdict::Partial(verdicts) => {
                    let before = batch.len();
                    batch = self.settle_partial(batch, &verdicts, &tries).await;
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
                    let Some(rest) = self.make_body(batch, &tries).await else { return Left::Nothing };
                    (batch, body) = rest;
                    backoff.pause()
                }
                // How often we ask meanwhile has no limit: the time has one.
                Verdict::Unauthorized => backoff.pause(),
                Verdict::Retry { after } => {
                    attempts += 1;
                    if let Some(after) = after {
                        self.gate.close_for(after);
                    }
                    // In addition, so that `Retry-After: 0` is no busy loop, and a pause that ends for
                    // all requests at once does not send them all at once.
                    backoff.pause()
                }
                // It has been made, and it may take a moment until it is there; but no attempt has failed.
                Verdict::Missing { .. } | Verdict::Confirm { .. } => backoff.pause(),
            };
            if self.options.request.retry_attempts.is_some_and(|most| attempts > most) {
                let reason = tries.and_last("request.retry_attempts is used up");
                self.reject(batch, reason, &tries).await;
                return Left::Nothing;
            }
            // Where all wait for one probe, pauses of their own would only keep them from being it.
            if !self.gate.is_shut(batch.partition()) {
                let deadline = tries.patience.deadline(&self.limits_of(&batch));
                let left = deadline.map_or(pause, |deadline| deadline - Instant::now());
                self.succession.pause(pause.min(left)).await;
            }
        }
    }

    /// How long a batch is tried and held.
    fn limits_of(&self, batch: &Batch) -> Limits {
        let request = &self.options.request;
        Limits::new(request.hold_secs, request.give_up_after_secs, batch.is_hold_urgent())
    }

    fn visitor<'a>(&'a self, batch: &'a Batch, tries: &Tries) -> Visitor<'a> {
        // One after the other is also an order; and of one partition nobody is held up.
        let is_ordered = self.options.request.concurrency == Concurrency::Fixed(1);
        let may_be_overtaken = !is_ordered && !batch.partition().is_empty();
        Visitor {
            partition: batch.partition(),
            events: batch.len(),
            attempts: tries.attempts,
            patience: tries.patience,
            limits: self.limits_of(batch),
            aside: may_be_overtaken.then_some(&self.aside),
        }
    }

    /// Waits until a request with this batch may begin.
    async fn enter(&self, batch: &Batch, tries: &Tries) -> Entry<'_> {
        loop {
            let entry = self.gate.pass(&self.visitor(batch, tries), &self.controller, &self.succession).await;
            let Entry::Passed(passage) = entry else { return entry };
            self.rate_limit.ready().await;
            if let Some(successor) = self.succession.successor() {
                return Entry::Replaced(Arc::clone(successor));
            }
            // That may have taken a while.
            if passage.is_good() {
                return Entry::Passed(passage);
            }
        }
    }

    /// One request, and its answer's verdict.
    async fn attempt(&self, batch: &Batch, body: &Bytes, passage: Passage<'_>, tries: &mut Tries) -> Verdict {
        let mut request = match self.request(batch, body) {
            Ok(request) => request,
            Err(error) => {
                return Verdict::Rejected { reason: format!("the request cannot be made: {error}") };
            }
        };
        let start = Instant::now();
        tries.patience.begin(start);
        if tries.attempts > 0 {
            self.meters.http().retried();
        }
        tries.attempts += 1;
        let answer = self.client.send(&mut request).await;
        let verdict = match &answer {
            Ok(response) => self.judge(response, batch),
            Err(error) => self.unanswered(error),
        };
        let pushed_back = matches!(verdict, Verdict::Retry { .. });
        let round_trip = start.elapsed();
        let mean = self.controller.observe(round_trip, pushed_back, Instant::now());
        if self.controller.is_adaptive() {
            let (limit, under_way) = (self.controller.limit(0), self.gate.under_way());
            self.meters.adapted(limit, under_way, round_trip, mean);
        }
        self.measure(&verdict, &answer, body);
        tries.status = answer.as_ref().ok().map(|response| response.status().as_u16());
        let mut heard = self.heard(&verdict, &answer, &request);
        let verdict = match verdict {
            // All of it is one attempt: who may write, but not make what is missing, is refused.
            Verdict::Missing { first } => {
                let (made, heard_last) = self.make_missing(first).await;
                heard = heard_last.or(heard);
                if made == Verdict::Delivered { Verdict::Missing { first: Vec::new() } } else { made }
            }
            verdict => self.shown(verdict, &request),
        };
        tries.patience.answered(matches!(heard, Some(Heard::Refused(_))), Instant::now());
        match (&heard, &verdict, &answer) {
            (Some(Heard::Failed(reason) | Heard::Refused(Refused { reason, .. })), ..) => {
                tries.last = reason.to_string();
            }
            (_, Verdict::Partial(_), Ok(response)) => {
                tries.last = self.redactor(&request).hide(&describe(response))
            }
            _ => {}
        }
        if let Some(heard) = heard {
            self.log_retry(&heard, batch.len());
            self.note(&heard);
            passage.report(heard, batch.partition(), batch.len(), &self.limits_of(batch));
        }
        verdict
    }

    /// Counts what was sent, or that it was sent in vain.
    fn measure(&self, verdict: &Verdict, answer: &Result<Response<Bytes>, SendError>, body: &Bytes) {
        if answer.as_ref().is_ok_and(|response| response.status().is_success()) {
            self.meters.add_sent_bytes(body.len());
        }
        match verdict {
            Verdict::Delivered | Verdict::Missing { .. } | Verdict::Confirm { .. } => {}
            _ => self.meters.http().failed(match answer {
                Ok(response) => Failure::Status(response.status().as_u16()),
                Err(error) => error.failure(),
            }),
        }
    }

    /// What an answer says about the destination, if there was a request.
    fn heard(
        &self,
        verdict: &Verdict,
        answer: &Result<Response<Bytes>, SendError>,
        request: &Request<Bytes>,
    ) -> Option<Heard> {
        let reason = || {
            let reason = answer.as_ref().map_or_else(|error| error.to_string().into(), Reason::of);
            let redactor = self.redactor(request);
            reason.map(|text| redactor.hide(&text))
        };
        match verdict {
            Verdict::Retry { .. } => Some(Heard::Failed(reason())),
            Verdict::Unauthorized => {
                let status = answer.as_ref().ok().map(|response| response.status().as_u16());
                Some(Heard::Refused(Refused { to: address(request), status, reason: reason() }))
            }
            _ => answer.is_ok().then_some(Heard::Answered),
        }
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

    /// What takes our secrets out of what a destination says, which may repeat them.
    fn redactor(&self, request: &Request<Bytes>) -> Redactor {
        let own = self.sink.secrets();
        Redactor::new(secrets_of(request).chain(own.into_iter().map(SensitiveString::expose)))
    }

    /// The verdict with reasons that are fit for the log.
    fn shown(&self, verdict: Verdict, request: &Request<Bytes>) -> Verdict {
        // Of ten thousand entries each may have a reason; most answers have none.
        let redactor = LazyCell::new(|| self.redactor(request));
        verdict.map_reasons(|reason| redactor.hide(&shorten_to(&reason, MAX_REASON)))
    }

    /// Notes what stands in the way of delivery.
    fn note(&self, heard: &Heard) {
        match heard {
            // Whether its answer was a good one, the outcome of the events tells.
            Heard::Answered => {}
            Heard::Failed(Reason { text, answer }) => {
                let advice = advice_for_trouble(text).unwrap_or(CHECK_THE_ADDRESS);
                self.status.failing_with(text, answer.clone(), advice);
            }
            Heard::Refused(refused) => {
                let Reason { text, answer } = &refused.reason;
                let text = format!("{} refuses us: {text}", refused.to);
                self.status.failing_with(text, answer.clone(), self.gate.advice(refused));
            }
        }
    }

    /// Says why a batch is still here; that it is held says the gate.
    fn log_retry(&self, heard: &Heard, events: usize) {
        if let Heard::Failed(reason) = heard
            && let Some(unsaid) = self.retry_log.allow()
        {
            let advice = advice_for_trouble(&reason.text);
            tracing::warn!(sink = self.id, events, unsaid, advice, "will be sent again: {reason}");
        }
    }

    /// Makes what the destination lacks; what the last answer says of the batch, and of the destination.
    async fn make_missing(&self, first: Vec<SideRequest>) -> (Verdict, Option<Heard>) {
        let mut last = (Verdict::Delivered, None);
        for side in first {
            let mut backoff = Backoff::new(&self.options.request);
            // What was made before it is there now, and would not be asked for again.
            for attempt in 1.. {
                last = self.ask(&side).await;
                match &last {
                    (Verdict::Delivered, _) => break,
                    (Verdict::Retry { .. }, heard) if attempt < MAX_ATTEMPTS_AT_MISSING => {
                        heard.iter().for_each(|heard| self.log_retry(heard, 0));
                        self.succession.pause(backoff.pause()).await;
                    }
                    _ => return last,
                }
            }
        }
        last
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
            match self.ask(ask).await.0 {
                Verdict::Retry { .. } => {}
                verdict => return verdict,
            }
        }
        Verdict::Retry { after: None }
    }

    /// One side request, its answer's verdict, and what that says of the destination.
    async fn ask(&self, side: &SideRequest) -> (Verdict, Option<Heard>) {
        self.gate.pause(&self.succession).await;
        let mut request = side.request.clone();
        let answer = self.client.send(&mut request).await;
        let verdict = match &answer {
            Ok(response) => (side.judge)(response),
            Err(error) => self.unanswered(error),
        };
        let heard = self.heard(&verdict, &answer, &request);
        let verdict = match verdict {
            // It must not ask for further ones.
            Verdict::Missing { .. } | Verdict::Confirm { .. } => Verdict::Retry { after: None },
            verdict => self.shown(verdict, &request),
        };
        (verdict, heard)
    }

    fn judge(&self, response: &Response<Bytes>, batch: &Batch) -> Verdict {
        let verdict = self.sink.verdict(response, batch);
        // Sending the same again would be in vain, whatever the strategy says.
        if matches!(verdict, Verdict::TooLarge | Verdict::Missing { .. } | Verdict::Confirm { .. }) {
            return verdict;
        }
        let status = response.status();
        let is_success = status.is_success();
        let retry = || Verdict::Retry { after: retry_after(response, SystemTime::now()) };
        let reject = || Verdict::Rejected { reason: describe(response) };
        let speaks_of_events = matches!(verdict, Verdict::Partial(_) | Verdict::RejectedSome { .. });
        match self.options.failure_policy.action(status.as_u16()) {
            Some(FailureAction::Retry) if !speaks_of_events => return retry(),
            Some(FailureAction::Hold) if !speaks_of_events => return Verdict::Unauthorized,
            Some(FailureAction::Reject) if !speaks_of_events => return reject(),
            _ => {}
        }
        match &self.options.retry_strategy {
            RetryStrategy::All if !is_success => retry(),
            RetryStrategy::None if !is_success => reject(),
            RetryStrategy::Custom { status_codes } if !is_success => {
                if status_codes.contains(&status.as_u16()) { retry() } else { reject() }
            }
            _ => verdict,
        }
    }

    /// Makes the body of a batch, as it is sent; a batch of which none can be made is rejected. To compress a
    /// large body takes milliseconds, so that is done in a thread of its own: events come in meanwhile.
    async fn make_body(self: &Arc<Self>, batch: Batch, tries: &Tries) -> Option<(Batch, Bytes)> {
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
                self.reject(batch, error.to_string(), tries).await;
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

    async fn settle_partial(&self, batch: Batch, verdicts: &[EntryVerdict], tries: &Tries) -> Batch {
        let rejected: Vec<_> = verdicts
            .iter()
            .filter_map(|verdict| match verdict {
                EntryVerdict::Rejected { reason, .. } => Some(reason),
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
            Some(EntryVerdict::Rejected { status, reason }) => {
                let rejection = tries.rejection(reason.clone());
                Some(Outcome::Rejected(Rejection { status: status.or(rejection.status), ..rejection }))
            }
        })
    }

    async fn reject_some(&self, batch: Batch, count: usize, reason: String, tries: &Tries) {
        let all = batch.len();
        if count >= all {
            return self.reject(batch, reason, tries).await;
        }
        let reason =
            format!("{count} of {all} were refused, and the destination does not say which: {reason}");
        self.log_rejected(count, &reason);
        batch.room_for_dead_letters().await;
        batch.settle_some(count, tries.rejection(reason));
    }

    async fn reject(&self, batch: Batch, reason: String, tries: &Tries) {
        self.log_rejected(batch.len(), &reason);
        batch.room_for_dead_letters().await;
        batch.settle(&Outcome::Rejected(tries.rejection(reason)));
    }

    pub(super) fn log_rejected(&self, events: usize, reason: &str) {
        if let Some(unsaid) = self.reject_log.allow() {
            tracing::error!(sink = self.id, events, unsaid, "rejected: {reason}");
        }
    }
}

/// What has been tried with a batch; its halves, and what a partial answer leaves of it, have it from there.
#[derive(Clone, Debug, Default)]
struct Tries {
    attempts: usize,
    /// The last answer's.
    status: Option<u16>,
    /// Why it has to be sent again.
    last: String,
    patience: Patience,
}

impl Tries {
    /// Why there is no patience left.
    fn over(&self, limits: &Limits) -> String {
        self.and_last(&self.patience.over(limits, Instant::now()).unwrap_or_default())
    }

    /// The text, and the last answer.
    fn and_last(&self, text: &str) -> String {
        if self.last.is_empty() { text.to_owned() } else { format!("{text}: {}", self.last) }
    }

    fn rejection(&self, reason: String) -> Rejection {
        Rejection { reason, status: self.status, attempts: self.attempts }
    }
}

/// What is left of a batch that a sink has tried to send.
enum Left {
    Nothing,
    /// It was too large.
    Halves(Batch, Batch, Tries),
    /// Another sink has taken the place of the one that had it.
    ForSuccessor(Batch, Tries, Arc<Shared>),
}

/// Where a request goes, as far as anybody may know: a path or a query may be a key.
fn address(request: &Request<Bytes>) -> String {
    let uri = request.uri();
    let port = uri.port_u16().map(|port| format!(":{port}")).unwrap_or_default();
    format!("{}://{}{port}", uri.scheme_str().unwrap_or("http"), uri.host().unwrap_or_default())
}
