//! [`Gate`]: where every request of a sink waits until it may begin.
//!
//! It is closed to all after a `Retry-After`, and while the circuit breaker is open but for one probe; to the
//! batches of one partition, while the destination refuses us with that (a 404 for one of many addresses must not
//! stop the others); and it lets no more through than the controller allows, so that the batches that have waited
//! do not all go at once when it opens.

use super::batch::Partition;
use super::breaker::{Breaker, May};
use super::intake::{Aside, Shared, Succession};
use super::patience::{self, Limits, Patience};
use super::request::{Backoff, Controller, RequestConfig};
use super::verdict::Reason;
use crate::deadline::sleep_until;
use crate::healthcheck::CHECK_THE_KEY;
use crate::log_limit::LogLimit;
use crate::providers;
use crate::topology::{Held, SinkMeters};
use std::collections::HashMap;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The longest pause that a destination can ask for, so that a wrong date does not silence us.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(15 * 60);

/// How often the alarm is repeated.
const ALARM_EVERY: Duration = Duration::from_secs(60);

/// How many partitions that are refused are remembered while nothing waits for them.
const MAX_REFUSALS: usize = 1024;

/// How many batches that are held make room for others; what they hold in memory is bounded besides.
const MAX_ASIDE: usize = 256;

/// The gate of a sink.
#[derive(Debug)]
pub(super) struct Gate {
    id: String,
    request: RequestConfig,
    state: Mutex<State>,
    /// One more request may be under way.
    room: Notify,
    /// A breaker has changed.
    changed: Notify,
    /// Of hundreds of partitions that are refused at once, not each has to be told of.
    alarm_log: LogLimit,
    again_log: LogLimit,
    meters: Arc<SinkMeters>,
    /// The variables that say who we are, if the sink is that of the environment.
    variables: Vec<&'static str>,
}

#[derive(Debug)]
struct State {
    /// The destination has asked for a pause until then.
    not_before: Option<Instant>,
    under_way: usize,
    waiting: usize,
    breaker: Breaker,
    refusals: HashMap<Partition, Refusal>,
}

/// The destination refuses us with the batches of one partition.
#[derive(Debug)]
struct Refusal {
    since: Instant,
    breaker: Breaker,
    last: Refused,
    waiting_batches: usize,
    waiting_events: usize,
    /// When the alarm was last raised.
    said: Instant,
}

/// An answer that refuses us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Refused {
    /// Scheme, host and port.
    pub(super) to: String,
    pub(super) status: Option<u16>,
    pub(super) reason: Reason,
}

/// Who wants to send a request.
pub(super) struct Visitor<'a> {
    pub(super) partition: &'a [String],
    pub(super) events: usize,
    pub(super) attempts: usize,
    pub(super) patience: Patience,
    pub(super) limits: Limits,
    /// Where it steps while it is held, so that others are sent; nothing if they must not overtake it.
    pub(super) aside: Option<&'a Aside>,
}

/// What becomes of a visitor.
pub(super) enum Entry<'a> {
    Passed(Passage<'a>),
    /// Its own patience has an end.
    Over,
    /// Nothing of its partition has been taken for so long that it is not held either.
    Refused(Refused, Duration),
    Replaced(Arc<Shared>),
}

/// A request under way.
#[derive(Debug)]
pub(super) struct Passage<'a> {
    gate: &'a Gate,
    /// Whether it decides over the breaker.
    is_probe: bool,
    /// Whether it decides over its partition.
    probes: Option<Partition>,
}

/// What a request says about the destination.
#[derive(Debug)]
pub(super) enum Heard {
    /// It answers, and does not refuse us.
    Answered,
    /// It does not answer, or not now.
    Failed(Reason),
    Refused(Refused),
}

/// Why a visitor waits.
enum Closed {
    /// Until then at the latest, or until a breaker changes.
    Shut(Option<Instant>),
    /// As many requests are under way as may be.
    Full,
}

impl Gate {
    pub(super) fn new(id: &str, request: &RequestConfig, meters: Arc<SinkMeters>) -> Gate {
        Gate {
            id: id.to_owned(),
            request: request.clone(),
            state: Mutex::new(State {
                not_before: None,
                under_way: 0,
                waiting: 0,
                breaker: Breaker::new(request.circuit_breaker.failures.get()),
                refusals: HashMap::new(),
            }),
            room: Notify::new(),
            changed: Notify::new(),
            alarm_log: LogLimit::every_10_s(),
            again_log: LogLimit::every_10_s(),
            meters,
            variables: Vec::new(),
        }
    }

    /// The same, with variables to look at where we are not known.
    #[must_use]
    pub(super) fn with_variables(self, variables: Vec<&'static str>) -> Gate {
        Gate { variables, ..self }
    }

    /// What a person can do about a refusal.
    pub(super) fn advice(&self, refused: &Refused) -> String {
        let advice = refused.advice();
        match refused.is_of_credentials() {
            true => providers::with_variables(advice, &self.variables),
            false => advice.to_owned(),
        }
    }

    /// How many requests are under way.
    pub(super) fn under_way(&self) -> usize {
        self.state().under_way
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until a request may begin.
    pub(super) async fn pass(
        &self,
        visitor: &Visitor<'_>,
        controller: &Controller,
        succession: &Succession,
    ) -> Entry<'_> {
        let mut was_full = false;
        // Who was woken for the room and has no use for it now tells the next one.
        let pass_on = |was_full: bool| {
            if was_full {
                self.room.notify_one();
            }
        };
        loop {
            // Before the state is looked at, so that no change slips between.
            let mut room = pin!(self.room.notified());
            room.as_mut().enable();
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if let Some(successor) = succession.successor() {
                return Entry::Replaced(Arc::clone(successor));
            }
            let now = Instant::now();
            if visitor.patience.over(&visitor.limits, now).is_some() {
                pass_on(was_full);
                return Entry::Over;
            }
            let closed = {
                let mut state = self.state();
                match state.look(visitor, controller, now) {
                    Ok((is_probe, probes)) => {
                        state.under_way += 1;
                        drop(state);
                        // There may be room for the next one too.
                        pass_on(was_full);
                        return Entry::Passed(Passage { gate: self, is_probe, probes });
                    }
                    Err(Closed::Full) => Closed::Full,
                    Err(closed) => match self.refused_too_long(&mut state, visitor, now) {
                        Some(entry) => {
                            drop(state);
                            pass_on(was_full);
                            return entry;
                        }
                        None => closed,
                    },
                }
            };
            let waiting = Waiting::new(self, visitor);
            let _aside = waiting.step_aside(visitor);
            let deadline = visitor.patience.deadline(&visitor.limits);
            match closed {
                Closed::Full => {
                    was_full = true;
                    tokio::select! {
                        () = room => {}
                        () = succession.begun() => {}
                        () = sleep_until(deadline) => {}
                    }
                }
                Closed::Shut(until) => {
                    // Whoever waits for something else must not be told of room.
                    room.set(self.room.notified());
                    pass_on(std::mem::take(&mut was_full));
                    let ends = [until, deadline, waiting.alarm(visitor)];
                    tokio::select! {
                        () = changed => {}
                        () = succession.begun() => {}
                        () = sleep_until(ends.into_iter().flatten().min()) => {}
                    }
                }
            }
        }
    }

    /// Raises the alarm again when it is time; whether a batch of this partition is not even held any more.
    fn refused_too_long(&self, state: &mut State, visitor: &Visitor<'_>, now: Instant) -> Option<Entry<'_>> {
        let refusal = state.refusals.get_mut(visitor.partition)?;
        let (age, limit) = (now - refusal.since, visitor.limits.hold);
        if limit.is_some_and(|limit| age >= limit) {
            return Some(Entry::Refused(refusal.last.clone(), age));
        }
        if now >= refusal.said + ALARM_EVERY {
            refusal.said = now;
            if let Some(unsaid) = self.alarm_log.allow() {
                tracing::error!(
                    sink = self.id,
                    events = refusal.waiting_events,
                    unsaid,
                    "{} has refused us for {}: {}; {}",
                    refusal.last.to,
                    patience::shown(age),
                    refusal.last.reason,
                    self.advice(&refusal.last)
                );
            }
        }
        None
    }

    /// No request begins before so much time has passed.
    pub(super) fn close_for(&self, duration: Duration) {
        let until = Instant::now() + duration.min(MAX_RETRY_AFTER);
        let mut state = self.state();
        state.not_before = Some(state.not_before.map_or(until, |earlier| earlier.max(until)));
    }

    /// Waits until a pause that the destination has asked for is over.
    pub(super) async fn pause(&self, succession: &Succession) {
        loop {
            let until = self.state().not_before.filter(|until| *until > Instant::now());
            match until {
                Some(_) if succession.successor().is_some() => return,
                Some(until) => succession.pause(until - Instant::now()).await,
                None => return,
            }
        }
    }

    /// Whether requests that fail wait here, and need no pause of their own.
    pub(super) fn is_shut(&self, partition: &[String]) -> bool {
        let state = self.state();
        state.breaker.is_open() || state.refusals.contains_key(partition)
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(&self.request)
    }
}

impl State {
    /// Whether a request may begin: if so, whether it is the probe of the breaker, and of its partition.
    fn look(
        &mut self,
        visitor: &Visitor<'_>,
        controller: &Controller,
        now: Instant,
    ) -> Result<(bool, Option<Partition>), Closed> {
        // The batch that was tried least is the next probe, so that none stands in the way of the others.
        let later = match self.waiting {
            0 => Duration::ZERO,
            _ => Duration::from_millis(5) * u32::try_from(visitor.attempts.min(20)).unwrap_or(20),
        };
        let refusal = self.refusals.get_mut(visitor.partition);
        let mays = [
            self.not_before.filter(|until| *until > now).map_or(May::Go, May::WaitUntil),
            self.breaker.may(now, later),
            refusal.as_ref().map_or(May::Go, |refusal| refusal.breaker.may(now, later)),
        ];
        let until = mays.iter().filter_map(|may| match may {
            May::WaitUntil(until) => Some(*until),
            _ => None,
        });
        let until = until.max();
        if until.is_some() || mays.contains(&May::WaitForProbe) {
            return Err(Closed::Shut(until));
        }
        if self.under_way >= controller.limit(self.under_way + 1) {
            return Err(Closed::Full);
        }
        self.breaker.begin_probe();
        let probes = refusal.map(|refusal| {
            refusal.breaker.begin_probe();
            visitor.partition.to_vec()
        });
        Ok((mays[1] == May::Probe, probes))
    }

    /// A refusal that nobody waits for makes room for one more.
    fn forget_refusals(&mut self) {
        if self.refusals.len() >= MAX_REFUSALS {
            self.refusals.retain(|_, refusal| refusal.waiting_batches > 0);
        }
    }
}

impl Passage<'_> {
    /// Whether the request may still begin, if something else has kept it waiting.
    pub(super) fn is_good(&self) -> bool {
        let state = self.gate.state();
        state.not_before.is_none_or(|until| until <= Instant::now())
            && (self.is_probe || !state.breaker.is_open())
    }

    /// What has become of the request.
    pub(super) fn report(mut self, heard: Heard, partition: &[String], events: usize, limits: &Limits) {
        let now = Instant::now();
        let gate = self.gate;
        let (is_probe, probes) = (std::mem::take(&mut self.is_probe), self.probes.take().is_some());
        let mut state = gate.state();
        let mut has_changed = is_probe || probes;
        match heard {
            Heard::Answered => {
                if let Some(age) = state.breaker.succeeded(now) {
                    has_changed = true;
                    let age = patience::shown(age);
                    tracing::info!(sink = gate.id, "the destination answers again after {age}");
                }
                if let Some(refusal) = state.refusals.remove(partition) {
                    has_changed = true;
                    gate.accepted(&refusal, now);
                }
            }
            Heard::Failed(reason) => {
                // Whether it would refuse us nobody knows now.
                has_changed |= state.refusals.remove(partition).is_some();
                if gate.failed(&mut state, is_probe, &reason, now) {
                    has_changed = true;
                    state.refusals.clear();
                }
            }
            Heard::Refused(refused) => {
                // Of one partition only the first counts, since others may well be taken.
                if is_probe || !state.refusals.contains_key(partition) {
                    gate.failed(&mut state, is_probe, &refused.reason, now);
                }
                if let Some(refusal) = state.refusals.get_mut(partition) {
                    refusal.last = refused;
                    refusal.breaker.failed(now, probes, || gate.backoff());
                } else {
                    gate.alarm(&refused, events, limits);
                    state.forget_refusals();
                    let refusal = Refusal::new(refused, gate.backoff(), now);
                    state.refusals.insert(partition.to_vec(), refusal);
                }
            }
        }
        drop(state);
        if has_changed {
            gate.changed.notify_waiters();
        }
    }
}

impl Refusal {
    fn new(last: Refused, backoff: Backoff, now: Instant) -> Refusal {
        let mut breaker = Breaker::new(1);
        breaker.failed(now, false, || backoff);
        Refusal { since: now, breaker, last, waiting_batches: 0, waiting_events: 0, said: now }
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.under_way -= 1;
        // It has ended without a word.
        let is_silent = self.is_probe || self.probes.is_some();
        if self.is_probe {
            state.breaker.abandon_probe();
        }
        if let Some(refusal) = self.probes.as_ref().and_then(|partition| state.refusals.get_mut(partition)) {
            refusal.breaker.abandon_probe();
        }
        drop(state);
        self.gate.room.notify_one();
        if is_silent {
            self.gate.changed.notify_waiters();
        }
    }
}

impl Gate {
    /// Whether this failure has opened the breaker.
    fn failed(&self, state: &mut State, was_probe: bool, reason: &Reason, now: Instant) -> bool {
        let has_opened = state.breaker.failed(now, was_probe, || self.backoff());
        if has_opened {
            let failures = self.request.circuit_breaker.failures;
            tracing::warn!(
                sink = self.id,
                "{failures} requests in a row have failed; now and then one is tried, until one succeeds: {reason}"
            );
        }
        has_opened
    }

    fn alarm(&self, refused: &Refused, events: usize, limits: &Limits) {
        if let Some(unsaid) = self.alarm_log.allow() {
            tracing::error!(
                sink = self.id,
                events,
                unsaid,
                "{} refuses us: {}; held until it accepts us, for at most {}; {}",
                refused.to,
                refused.reason,
                limits.shown(),
                self.advice(refused)
            );
        }
    }

    fn accepted(&self, refusal: &Refusal, now: Instant) {
        if let Some(unsaid) = self.again_log.allow() {
            tracing::info!(
                sink = self.id,
                unsaid,
                "{} accepts us again after {}",
                refusal.last.to,
                patience::shown(now - refusal.since)
            );
        }
    }
}

impl Refused {
    fn is_of_credentials(&self) -> bool {
        matches!(self.status, None | Some(401 | 403 | 407))
    }

    /// What a person can do.
    fn advice(&self) -> &'static str {
        if self.is_of_credentials() {
            return CHECK_THE_KEY;
        }
        match self.status {
            Some(402) => "check whether somebody has to pay",
            Some(300..=399 | 404) => "check its address",
            _ => "the destination has to be mended; it is held because failure_policy says so",
        }
    }
}

/// A batch that waits, for as long as this exists.
struct Waiting<'a> {
    gate: &'a Gate,
    /// Whose refusal it waits for.
    partition: Option<&'a [String]>,
    events: usize,
    /// It is counted as held while it waits for a refusal's end.
    #[expect(dead_code, reason = "it is there to be dropped")]
    held: Option<Held>,
}

impl<'a> Waiting<'a> {
    fn new(gate: &'a Gate, visitor: &Visitor<'a>) -> Waiting<'a> {
        let mut state = gate.state();
        state.waiting += 1;
        let refusal = state.refusals.get_mut(visitor.partition);
        let partition = refusal.map(|refusal| {
            refusal.waiting_batches += 1;
            refusal.waiting_events += visitor.events;
            visitor.partition
        });
        let held = partition.is_some().then(|| gate.meters.hold(visitor.events));
        Waiting { gate, partition, events: visitor.events, held }
    }

    /// Makes room for the batches of others while this one is held.
    fn step_aside<'b>(&self, visitor: &Visitor<'b>) -> Option<super::intake::SteppedAside<'b>> {
        let aside = visitor.aside.filter(|aside| self.partition.is_some() && aside.count() < MAX_ASIDE)?;
        Some(aside.step())
    }

    /// When the alarm is to be raised again.
    fn alarm(&self, visitor: &Visitor<'_>) -> Option<Instant> {
        let state = self.gate.state();
        let refusal = state.refusals.get(self.partition?)?;
        let refused_at = visitor.limits.hold.and_then(|limit| refusal.since.checked_add(limit));
        Some((refusal.said + ALARM_EVERY).min(refused_at.unwrap_or(refusal.said + ALARM_EVERY)))
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.waiting -= 1;
        if let Some(refusal) = self.partition.and_then(|partition| state.refusals.get_mut(partition)) {
            // A refusal that came later, after this one had ended, does not count it.
            refusal.waiting_batches = refusal.waiting_batches.saturating_sub(1);
            refusal.waiting_events = refusal.waiting_events.saturating_sub(self.events);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::request::{Concurrency, JitterMode};
    use super::*;
    use futures::FutureExt;

    const NEVER: Limits = Limits { hold: None, give_up_after: Duration::from_secs(86400) };

    fn request(concurrency: usize) -> RequestConfig {
        RequestConfig {
            concurrency: Concurrency::Fixed(concurrency),
            retry_jitter_mode: JitterMode::None,
            ..RequestConfig::default()
        }
    }

    /// A gate, and what a request asks it with.
    struct Fixture {
        gate: Gate,
        controller: Controller,
        succession: Succession,
        start: Instant,
    }

    impl Fixture {
        fn new(concurrency: usize) -> Fixture {
            let request = request(concurrency);
            Fixture {
                gate: Gate::new("out", &request, Arc::default()),
                controller: Controller::new(&request),
                succession: Succession::default(),
                start: Instant::now(),
            }
        }

        async fn enter(&self, partition: &[String], patience: Patience, limits: Limits) -> Entry<'_> {
            let visitor = Visitor { partition, events: 10, attempts: 0, patience, limits, aside: None };
            self.gate.pass(&visitor, &self.controller, &self.succession).await
        }

        async fn pass(&self, partition: &[String]) -> Passage<'_> {
            match self.enter(partition, Patience::default(), NEVER).await {
                Entry::Passed(passage) => passage,
                _ => panic!("it does not pass"),
            }
        }

        /// One request of this partition that is heard of like this.
        async fn send(&self, partition: &[String], heard: Heard) {
            self.pass(partition).await.report(heard, partition, 10, &NEVER);
        }

        /// Seconds since the start.
        fn now(&self) -> u64 {
            self.start.elapsed().as_secs()
        }
    }

    fn failed() -> Heard {
        Heard::Failed("status 503".to_owned().into())
    }

    fn refused(status: u16) -> Heard {
        Heard::Refused(Refused {
            to: "https://h".into(),
            status: Some(status),
            reason: format!("status {status}").into(),
        })
    }

    fn partition(name: &str) -> Partition {
        vec![name.to_owned()]
    }

    #[tokio::test(start_paused = true)]
    async fn failures_of_different_batches_open_it_for_all_but_one() {
        let fixture = Fixture::new(3);
        for n in 0..5 {
            assert_eq!(fixture.now(), 0, "{n}");
            fixture.send(&partition(&format!("p{n}")), failed()).await;
        }
        let begun: Vec<_> = futures::future::join_all((0..4).map(|n| {
            let fixture = &fixture;
            async move {
                let partition = partition(&format!("q{n}"));
                let passage = fixture.pass(&partition).await;
                let begun = fixture.now();
                // Its answer takes ten seconds.
                tokio::time::sleep(Duration::from_secs(10)).await;
                let heard = if begun < 20 { failed() } else { Heard::Answered };
                passage.report(heard, &partition, 10, &NEVER);
                begun
            }
        }))
        .await;
        let mut begun = begun;
        begun.sort_unstable();
        // The first two are probes after pauses of 1 and 2 s; the third succeeds, and lets the fourth go.
        assert_eq!(begun, [1, 13, 26, 36]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_has_waited_does_not_all_go_at_once() {
        let fixture = Fixture::new(2);
        for _ in 0..5 {
            fixture.send(&[], failed()).await;
        }
        let sent = futures::future::join_all((0..5).map(|_| async {
            let passage = fixture.pass(&[]).await;
            let begun = fixture.now();
            tokio::time::sleep(Duration::from_secs(10)).await;
            passage.report(Heard::Answered, &[], 10, &NEVER);
            begun
        }));
        let mut begun = sent.await;
        begun.sort_unstable();
        assert_eq!(begun, [1, 11, 11, 21, 21], "the probe, and then two at once");
    }

    #[tokio::test(start_paused = true)]
    async fn any_success_resets_the_count() {
        let fixture = Fixture::new(1);
        for _ in 0..4 {
            for _ in 0..4 {
                fixture.send(&partition("a"), failed()).await;
            }
            fixture.send(&partition("b"), Heard::Answered).await;
        }
        assert_eq!(fixture.now(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_partition_waits_alone() {
        let fixture = Fixture::new(2);
        let (lost, found) = (partition("lost"), partition("found"));
        fixture.send(&lost, refused(404)).await;
        for _ in 0..20 {
            assert!(fixture.enter(&lost, Patience::default(), NEVER).now_or_never().is_none());
            fixture.send(&found, Heard::Answered).await;
        }
        assert_eq!(fixture.now(), 0);
        fixture.send(&lost, refused(404)).await;
        assert_eq!(fixture.now(), 1, "one asks after each pause");
        fixture.send(&lost, Heard::Answered).await;
        assert_eq!(fixture.now(), 3);
        fixture.send(&lost, Heard::Answered).await;
        assert_eq!(fixture.now(), 3);
        // Each of five others is refused, and nothing is taken: so it is the destination.
        for n in 0..5 {
            fixture.send(&partition(&format!("p{n}")), refused(401)).await;
        }
        assert!(fixture.enter(&found, Patience::default(), NEVER).now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_behind_a_hold_that_is_over_is_not_held() {
        let fixture = Fixture::new(1);
        let limits = Limits { hold: Some(Duration::from_secs(900)), ..NEVER };
        fixture.pass(&[]).await.report(refused(401), &[], 10, &limits);
        let mut attempts = 1;
        loop {
            match fixture.enter(&[], Patience::default(), limits).await {
                Entry::Passed(passage) => {
                    attempts += 1;
                    passage.report(refused(403), &[], 10, &limits);
                }
                Entry::Refused(last, age) => {
                    assert_eq!((last.status, age.as_secs(), fixture.now()), (Some(403), 900, 900));
                    break;
                }
                _ => panic!("neither over nor replaced"),
            }
        }
        assert!((30..40).contains(&attempts), "{attempts}: it was asked all the time");
        // One asks now and then all the same, and when it is taken the others are too.
        tokio::time::sleep(Duration::from_secs(30)).await;
        fixture.pass(&[]).await.report(Heard::Answered, &[], 10, &limits);
        assert!(matches!(fixture.enter(&[], Patience::default(), limits).await, Entry::Passed(_)));
    }

    #[tokio::test(start_paused = true)]
    async fn nobody_waits_longer_than_its_patience() {
        let fixture = Fixture::new(1);
        let mut patience = Patience::default();
        patience.begin(fixture.start);
        fixture.gate.close_for(Duration::from_secs(600));
        let limits = Limits { hold: None, give_up_after: Duration::from_secs(100) };
        assert!(matches!(fixture.enter(&[], patience, limits).await, Entry::Over));
        assert_eq!(fixture.now(), 100);
        // What was never tried waits for its turn.
        fixture.pass(&[]).await.report(Heard::Answered, &[], 10, &limits);
        assert_eq!(fixture.now(), 600);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_no_use_for_the_room_leaves_it_to_the_next() {
        let (lost, found) = (partition("lost"), partition("found"));
        let limits = Limits { hold: Some(Duration::ZERO), give_up_after: Duration::from_secs(100) };
        // What a visitor sees first when it is woken is for chance to decide.
        for n in 0..20 {
            for heard in [Heard::Answered, refused(404)] {
                let fixture = Fixture::new(1);
                let mut patience = Patience::default();
                if matches!(heard, Heard::Answered) {
                    patience.begin(Instant::now());
                }
                let passage = fixture.pass(&lost).await;
                let mut first = pin!(fixture.enter(&lost, patience, limits));
                let mut second = pin!(fixture.enter(&found, Patience::default(), NEVER));
                assert!(first.as_mut().now_or_never().is_none());
                assert!(second.as_mut().now_or_never().is_none());
                tokio::time::advance(Duration::from_secs(100)).await;
                let is_over = matches!(heard, Heard::Answered);
                passage.report(heard, &lost, 10, &limits);
                match first.await {
                    Entry::Over => assert!(is_over),
                    Entry::Refused(last, _) => assert_eq!((is_over, last.status), (false, Some(404))),
                    _ => panic!("neither over nor refused"),
                }
                assert!(matches!(second.now_or_never(), Some(Entry::Passed(_))), "round {n}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_held_takes_no_room_from_others() {
        let fixture = Fixture::new(1);
        let (lost, found, other) = (partition("lost"), partition("found"), partition("other"));
        fixture.send(&lost, refused(404)).await;
        let passage = fixture.pass(&found).await;
        let mut held = pin!(fixture.enter(&lost, Patience::default(), NEVER));
        let mut second = pin!(fixture.enter(&other, Patience::default(), NEVER));
        assert!(held.as_mut().now_or_never().is_none());
        assert!(second.as_mut().now_or_never().is_none());
        passage.report(Heard::Answered, &found, 10, &NEVER);
        assert!(matches!(second.now_or_never(), Some(Entry::Passed(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_let_go_lets_another_try() {
        let fixture = Fixture::new(1);
        fixture.send(&[], refused(401)).await;
        let probe = fixture.pass(&[]).await;
        assert!(fixture.enter(&[], Patience::default(), NEVER).now_or_never().is_none());
        drop(probe);
        fixture.send(&[], Heard::Answered).await;
        assert_eq!(fixture.now(), 1);
    }
}
