//! The way of a batch: published, judged by its answers, and what of it is not taken yet once more.

use super::NatsSinkConfig;
use crate::config::{Result, SinkContext, StreamSink};
use crate::event::LogEvent;
use crate::log_limit::LogLimit;
use crate::nats::{Answer, Messages, Publisher};
use crate::sinks::patience::{self, Limits, Patience};
use crate::sinks::request::Backoff;
use crate::status::Status;
use crate::topology::{BufferReceiver, Outcome, Receipts, Rejection, SinkCounts, SinkMemory};
use async_trait::async_trait;
use futures::FutureExt;
use std::sync::Arc;
use tokio::time::Instant;

/// How much is published in one go: what has come in during a round trip goes with the next.
const MAX_BYTES: usize = 4 << 20;
/// How many events may wait for a retry while others go on.
const MAX_WAITING: usize = 1024;

/// A running sink.
pub(super) struct NatsSink {
    id: String,
    config: NatsSinkConfig,
    publisher: Publisher,
    backoff: Backoff,
    /// When what waits is published again.
    again: Instant,
    /// Where an event is encoded; kept for its memory.
    payload: Vec<u8>,
    memory: SinkMemory,
    status: Status,
    /// Whether the sink has refused some of what it took last.
    has_refused: bool,
    /// Since when the user may not publish.
    held_since: Option<Instant>,
    retry_log: LogLimit,
    hold_log: LogLimit,
    reject_log: LogLimit,
}

/// Events on their way.
struct Batch {
    messages: Messages,
    receipts: Receipts,
    /// What has been tried with each.
    tries: Vec<Tries>,
}

/// What has been tried with an event.
#[derive(Clone, Copy, Default)]
struct Tries {
    attempts: usize,
    /// How often it was refused for now.
    refusals: usize,
    patience: Patience,
}

impl Tries {
    /// An answer that calls for another attempt.
    fn note(&mut self, is_hold: bool, now: Instant) {
        self.attempts += 1;
        self.refusals += usize::from(!is_hold);
        self.patience.begin(now);
        self.patience.answered(is_hold, now);
    }

    fn rejection(&self, reason: String) -> Option<Outcome> {
        Some(Outcome::Rejected(Rejection { reason, status: None, attempts: self.attempts.max(1) }))
    }
}

impl Batch {
    fn new(counts: &Arc<SinkCounts>) -> Batch {
        Batch {
            messages: Messages::default(),
            receipts: Receipts::new(Arc::clone(counts)),
            tries: Vec::new(),
        }
    }

    fn is_empty(&self) -> bool {
        self.messages.is_empty()
    }

    fn has_room(&self, memory: &SinkMemory) -> bool {
        self.messages.len() < MAX_WAITING && self.messages.bytes().len() < most_bytes(memory)
    }

    /// Answers for each event that has an outcome, and keeps the others.
    fn settle(&mut self, outcomes: &[Option<Outcome>]) {
        let mut index = 0;
        self.tries.retain(|_| {
            index += 1;
            outcomes[index - 1].is_none()
        });
        self.messages.retain(|index| outcomes[index].is_none());
        self.receipts.settle_each(|index| outcomes[index].clone());
    }

    fn append(&mut self, other: Batch) {
        self.messages.append(&other.messages);
        self.receipts.append(other.receipts);
        self.tries.extend(other.tries);
    }
}

#[async_trait]
impl StreamSink for NatsSink {
    /// Publishes what comes in, one batch after the other. What is not taken for now waits, and others go on
    /// while there is room for more to wait.
    async fn run(mut self: Box<Self>, mut input: BufferReceiver) -> Result<()> {
        let counts = Arc::clone(input.counts());
        counts.announce_letters(&format!("the subject {}", self.config.subject.as_str()));
        let mut waiting = Batch::new(&counts);
        let mut has_more = true;
        while has_more || !waiting.is_empty() {
            let has_refused = self.has_refused;
            let next = async {
                // Else the dead letters would grow for as long as nobody takes them.
                if has_refused {
                    counts.room_for_dead_letters().await;
                }
                input.recv().await
            };
            let batch = tokio::select! {
                // In this order, so that what a lost connection has left unanswered goes first.
                biased;
                () = tokio::time::sleep_until(self.again), if !waiting.is_empty() => {
                    std::mem::replace(&mut waiting, Batch::new(&counts))
                }
                events = next, if has_more && waiting.has_room(&self.memory) => match events {
                    Some(events) => self.collect(events, &mut input),
                    None => {
                        has_more = false;
                        continue;
                    }
                },
                () = self.publisher.idle() => continue,
            };
            self.publish(batch, &mut waiting).await;
        }
        Ok(())
    }
}

impl NatsSink {
    pub(super) fn new(cx: &SinkContext, config: NatsSinkConfig, publisher: Publisher) -> NatsSink {
        NatsSink {
            id: cx.id.clone(),
            publisher,
            backoff: config.request.backoff(),
            config,
            again: Instant::now(),
            payload: Vec::new(),
            memory: cx.memory.clone(),
            status: cx.status.clone(),
            has_refused: false,
            held_since: None,
            retry_log: LogLimit::every_10_s(),
            hold_log: LogLimit::every_minute(),
            reject_log: LogLimit::every_10_s(),
        }
    }

    /// These events and what else is there already, encoded; no more, once the sink itself has refused any.
    fn collect(&mut self, mut events: Vec<LogEvent>, input: &mut BufferReceiver) -> Batch {
        let mut batch = Batch::new(input.counts());
        self.has_refused = false;
        loop {
            events.into_iter().for_each(|event| self.take(event, &mut batch, input.counts()));
            if self.has_refused || batch.messages.bytes().len() >= most_bytes(&self.memory) {
                return batch;
            }
            match input.recv().now_or_never().flatten() {
                Some(more) => events = more,
                None => return batch,
            }
        }
    }

    fn take(&mut self, event: LogEvent, batch: &mut Batch, counts: &SinkCounts) {
        let parts =
            self.config.subject(&event).and_then(|subject| Ok((subject, self.config.message_id(&event)?)));
        match parts {
            Ok((subject, id)) => {
                self.payload.clear();
                self.config.encoding.encode(&event, &mut self.payload);
                self.publisher.add(&mut batch.messages, &subject, id.as_deref(), &self.payload);
                batch.receipts.push(event);
                batch.tries.push(Tries::default());
            }
            Err(reason) => {
                self.has_refused = true;
                self.log_rejected(1, &reason);
                counts.settle_events(vec![event], &Outcome::unsent(reason));
            }
        }
    }

    /// Publishes a batch; what of it is to be published again then waits.
    async fn publish(&mut self, mut batch: Batch, waiting: &mut Batch) {
        if batch.is_empty() {
            return;
        }
        let answers = self.publisher.publish(&batch.messages).await;
        let is_lost = answers.contains(&Answer::Lost);
        let outcomes = self.judge(&answers, &mut batch);
        if outcomes.iter().flatten().any(|outcome| matches!(outcome, Outcome::Rejected(_))) {
            batch.receipts.counts().room_for_dead_letters().await;
        }
        batch.settle(&outcomes);
        if batch.is_empty() {
            if waiting.is_empty() {
                self.backoff = self.config.request.backoff();
            }
            return;
        }
        // The connection has pauses of its own.
        if is_lost {
            self.again = Instant::now();
        } else if waiting.is_empty() {
            self.again = Instant::now() + self.backoff.pause();
        }
        waiting.append(batch);
    }

    /// What becomes of each event; of those without an outcome, another attempt.
    fn judge(&mut self, answers: &[Answer], batch: &mut Batch) -> Vec<Option<Outcome>> {
        let now = Instant::now();
        let is_one_subject = self.config.subject.as_static().is_some();
        let request = &self.config.request;
        let is_urgent = batch.receipts.keep_events() && batch.receipts.counts().is_hold_urgent();
        let limits = Limits::new(request.hold_secs, request.give_up_after_secs, is_urgent);
        let mut rejected = Said::default();
        let mut held = Said::default();
        let mut refused = Said::default();
        let mut judge = |index: usize, answer: &Answer| {
            let tries = &mut batch.tries[index];
            match answer {
                Answer::Published => Some(Outcome::Delivered),
                // Neither counts as an attempt.
                Answer::Lost | Answer::Unsent => None,
                Answer::Retry { reason } => {
                    tries.note(false, now);
                    let over = if request.retry_attempts.is_some_and(|most| tries.refusals > most) {
                        Some("request.retry_attempts is used up".to_owned())
                    } else {
                        tries.patience.over(&limits, now)
                    };
                    let Some(over) = over else {
                        refused.add(|| reason.clone());
                        return None;
                    };
                    let reason = format!("{over}: {reason}");
                    rejected.add(|| reason.clone());
                    tries.rejection(reason)
                }
                Answer::Forbidden => {
                    tries.note(true, now);
                    let reason = || format!("the user may not publish to {}", batch.messages.subject(index));
                    match tries.patience.over(&limits, now) {
                        None if is_one_subject => {
                            held.add(reason);
                            None
                        }
                        over => {
                            let over = over.map(|over| format!("{over}: ")).unwrap_or_default();
                            let reason = format!("{over}{}", reason());
                            rejected.add(|| reason.clone());
                            tries.rejection(reason)
                        }
                    }
                }
                Answer::Rejected { reason } => {
                    tries.attempts += 1;
                    rejected.add(|| reason.clone());
                    tries.rejection(reason.clone())
                }
            }
        };
        let outcomes = answers.iter().enumerate().map(|(index, answer)| judge(index, answer)).collect();
        if let Some(reason) = &rejected.reason {
            self.log_rejected(rejected.events, reason);
        }
        if let Some(reason) = &refused.reason {
            let advice = "wait: it is published again";
            self.status.failing_with("NATS does not take it now", Some(reason.clone()), advice);
        }
        if let Some(reason) = refused.reason
            && let Some(unsaid) = self.retry_log.allow()
        {
            tracing::warn!(
                sink = self.id,
                events = refused.events,
                unsaid,
                "will be published again: {reason}"
            );
        }
        if let Some(reason) = held.reason {
            // It names the subject, which may be rendered from an event.
            let advice = "check the user and what it may publish to";
            self.status.failing_with("NATS does not let us publish", Some(reason.clone()), advice);
            self.held_since.get_or_insert(now);
            if let Some(unsaid) = self.hold_log.allow() {
                tracing::error!(
                    sink = self.id,
                    events = held.events,
                    unsaid,
                    "held until NATS lets us publish, for at most {}: {reason}",
                    limits.shown()
                );
            }
        } else if answers.contains(&Answer::Published)
            && let Some(since) = self.held_since.take()
        {
            let age = patience::shown(now - since);
            tracing::info!(sink = self.id, "NATS lets us publish again after {age}");
        }
        outcomes
    }

    fn log_rejected(&self, events: usize, reason: &str) {
        if let Some(unsaid) = self.reject_log.allow() {
            tracing::error!(sink = self.id, events, unsaid, "rejected: {reason}");
        }
    }
}

/// How many bytes of messages are published together, and may wait to be published again: there may be two copies of
/// each while they move.
fn most_bytes(memory: &SinkMemory) -> usize {
    MAX_BYTES.min(memory.batch())
}

/// What is said of some events: the reason of the first.
#[derive(Default)]
struct Said {
    events: usize,
    reason: Option<String>,
}

impl Said {
    fn add(&mut self, reason: impl FnOnce() -> String) {
        self.events += 1;
        self.reason.get_or_insert_with(reason);
    }
}
