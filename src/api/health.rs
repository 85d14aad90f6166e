//! Whether logs can flow. The rules:
//!
//! - Every source must be connected: subscribed, or with its consumer found. One that a connection was lost of, or that
//!   has never had one, is a reason for no.
//! - A subscription that is quiet is renewed after `idle_resubscribe_secs`. Where that cannot be done, it may be dead
//!   without a sign of it: that is told, and counts as no once a second attempt in a row has failed too. Attempts are
//!   counted; what time it is has no part in that.
//! - Not every destination may fail. One counts as failing that has failed for a few seconds, as one refused request or a
//!   reset is no more than that, and where something still waits or the last failure is not long ago: nobody else would
//!   take its word back on an app that is quiet. One that works makes up for others. The sink of the dead letters has no part in
//!   this, and neither have sinks without a destination (`blackhole`, `console`, `prometheus_exporter`), unless there
//!   are no others. A sink that has sent nothing yet does not fail.
//! - A topology that stops receives nothing any more.

use super::status::{Health, Reason};
use crate::config::{ComponentKind, DEAD_LETTERS};
use crate::event::Timestamp;
use crate::status::{Doubt, State, StatusSnapshot};
use crate::topology::Component;

/// Whether logs can flow, and what is wrong.
pub(super) fn health(components: &[Component], is_stopping: bool, now: Timestamp) -> Health {
    let mut reasons = of_sources(components, is_stopping, now);
    reasons.extend(of_sinks(components, now));
    answer(reasons)
}

/// Whether every source is connected.
pub(super) fn readiness(components: &[Component], is_stopping: bool, now: Timestamp) -> Health {
    answer(of_sources(components, is_stopping, now))
}

fn answer(reasons: Vec<Reason>) -> Health {
    Health { healthy: !reasons.iter().any(|reason| reason.fatal), reasons }
}

fn of_kind(
    components: &[Component],
    kind: ComponentKind,
) -> impl Iterator<Item = (&Component, &StatusSnapshot)> {
    let of_kind = components.iter().filter(move |component| component.description.kind == kind);
    of_kind.filter_map(|component| Some((component, component.status.as_ref()?)))
}

fn of_sources(components: &[Component], is_stopping: bool, now: Timestamp) -> Vec<Reason> {
    let stopping = is_stopping.then(|| Reason {
        component: String::new(),
        fatal: true,
        problem: "it is stopping: nothing is received any more".to_owned(),
        since: None,
        advice: "start it again, if nobody stopped it on purpose; its log says why".to_owned(),
    });
    let sources = of_kind(components, ComponentKind::Source);
    let reasons = sources.filter_map(|(component, status)| match (status.state, status.doubt) {
        (State::Working | State::Failing, Some(doubt)) => Some(of_doubt(component, status, doubt, now)),
        (State::Starting, _) => Some(reason(component, status, true, "it is not connected yet")),
        (State::Failing, None) => Some(reason(component, status, true, "it is not connected")),
        (State::Ended, _) => Some(Reason {
            problem: "it has come to the end of its input".to_owned(),
            advice: "nothing, if it was to end".to_owned(),
            ..reason(component, status, false, "")
        }),
        (State::Working, None) => None,
    });
    stopping.into_iter().chain(reasons).collect()
}

/// A subscription that may be dead without a sign of it.
fn of_doubt(component: &Component, status: &StatusSnapshot, doubt: Doubt, now: Timestamp) -> Reason {
    let silence = doubt.silent_since.elapsed();
    let nanos = i64::try_from(silence.as_nanos()).unwrap_or(i64::MAX);
    let since = Timestamp::from_nanos(now.nanos().saturating_sub(nanos));
    let is_dead = doubt.counts_as_dead();
    let problem = format!(
        "nothing has come for {} s, and the subscription cannot be renewed: it {} dead",
        silence.as_secs(),
        if is_dead { "counts as" } else { "may be" }
    );
    Reason { problem, since: Some(since.to_rfc3339()), ..reason(component, status, is_dead, "") }
}

/// So long must a sink have failed to count as failing.
const FAILING_FOR: i64 = 3;
/// So long does a failure count after which nothing waits any more.
const FAILED_LATELY: i64 = 60;

/// Whether a sink that fails keeps logs from flowing.
fn stands_in_the_way(component: &Component, status: &StatusSnapshot, now: Timestamp) -> bool {
    let seconds_since = |time: Option<Timestamp>| time.map_or(0, |time| now.seconds() - time.seconds());
    let last = status.trouble.as_ref().map(|trouble| trouble.at);
    status.state == State::Failing
        && seconds_since(status.since) >= FAILING_FOR
        && (component.buffered > 0 || seconds_since(last) < FAILED_LATELY)
}

fn of_sinks(components: &[Component], now: Timestamp) -> Vec<Reason> {
    let sinks: Vec<_> = of_kind(components, ComponentKind::Sink).collect();
    let is_failing = |(_, status): &&(&Component, &StatusSnapshot)| status.state == State::Failing;
    let is_letters = |component: &Component| component.description.id == DEAD_LETTERS;
    let has_destination = |(component, _): &&(&Component, &StatusSnapshot)| {
        component.description.has_destination && !is_letters(component)
    };
    let mut counted: Vec<_> = sinks.iter().filter(has_destination).collect();
    if counted.is_empty() {
        counted = sinks.iter().filter(|(component, _)| !is_letters(component)).collect();
    }
    let all_fail = !counted.is_empty()
        && counted.iter().all(|(component, status)| stands_in_the_way(component, status, now));
    let reason = |sink: &(&Component, &StatusSnapshot)| {
        let is_fatal = all_fail && counted.iter().any(|counted| std::ptr::eq(counted.0, sink.0));
        reason(sink.0, sink.1, is_fatal, "what it sent last was not taken")
    };
    sinks.iter().filter(is_failing).map(reason).collect()
}

/// With what went wrong last, if that is known.
fn reason(component: &Component, status: &StatusSnapshot, fatal: bool, otherwise: &str) -> Reason {
    let trouble = status.trouble.as_ref();
    Reason {
        component: super::snapshot::name(&component.description),
        fatal,
        problem: trouble.map_or(otherwise, |trouble| &trouble.text).to_owned(),
        since: status.since.map(Timestamp::to_rfc3339),
        advice: trouble.map_or("wait: it is tried again", |trouble| &trouble.advice).to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::status::{Doubt, Status};
    use crate::topology::Description;
    use std::time::Duration;
    use tokio::time::Instant;

    fn component(kind: ComponentKind, id: &str, has_destination: bool, status: &Status) -> Component {
        let description = Description {
            kind,
            id: id.to_owned(),
            r#type: "x".to_owned(),
            inputs: Vec::new(),
            has_destination,
        };
        Component { status: Some(status.snapshot()), ..Component::new(description) }
    }

    fn status(state: State) -> Status {
        let status = Status::default();
        match state {
            State::Starting => {}
            State::Working => status.working(),
            State::Failing => status.failing("status 401", "check the key"),
            State::Ended => status.ended(),
        }
        status
    }

    #[test]
    fn one_destination_that_works_is_enough_and_none_is_not() {
        use State::{Failing, Starting, Working};
        // (id, whether it has a destination, state), whether logs can flow, how many reasons there are
        type Sinks<'a> = &'a [(&'a str, bool, State)];
        let cases: &[(Sinks<'_>, bool, usize)] = &[
            (&[], true, 0),
            (&[("a", true, Starting)], true, 0),
            (&[("a", true, Working)], true, 0),
            (&[("a", true, Failing)], false, 1),
            (&[("a", true, Failing), ("b", true, Working)], true, 1),
            (&[("a", true, Failing), ("b", true, Starting)], true, 1),
            (&[("a", true, Failing), ("b", true, Failing)], false, 2),
            (&[("a", true, Failing), ("console", false, Working)], false, 1),
            (&[("console", false, Working)], true, 0),
            (&[("console", false, Failing)], false, 1),
            (&[("a", true, Failing), (DEAD_LETTERS, true, Working)], false, 1),
            (&[("a", true, Working), (DEAD_LETTERS, true, Failing)], true, 1),
        ];
        for (sinks, healthy, reasons) in cases {
            let source = component(ComponentKind::Source, "nats", false, &status(Working));
            let sinks_of = sinks.iter().map(|(id, destination, state)| {
                component(ComponentKind::Sink, id, *destination, &status(*state))
            });
            let components: Vec<_> = std::iter::once(source).chain(sinks_of).collect();
            let at = |seconds: i64| {
                let now = Timestamp::from_nanos(Timestamp::now().nanos() + seconds * 1_000_000_000);
                health(&components, false, now)
            };
            assert!(at(0).healthy, "one request that failed is no more than that: {sinks:?}");
            let health = at(4);
            assert_eq!((health.healthy, health.reasons.len()), (*healthy, *reasons), "{sinks:?}");
            assert!(readiness(&components, false, Timestamp::now()).healthy, "sinks have no part in it");
            assert!(at(62).healthy, "nothing waits, and nothing has failed for a minute: {sinks:?}");
        }
        let mut waiting = component(ComponentKind::Sink, "a", true, &status(Failing));
        waiting.buffered = 1;
        let later = Timestamp::from_nanos(Timestamp::now().nanos() + 3600 * 1_000_000_000);
        assert!(!health(&[waiting], false, later).healthy, "an event still waits for it");
    }

    #[test]
    fn every_source_must_be_connected() {
        let states =
            [(State::Starting, false), (State::Working, true), (State::Failing, false), (State::Ended, true)];
        for (state, expected) in states {
            let source = component(ComponentKind::Source, "nats", false, &status(state));
            let other = component(ComponentKind::Source, "other", false, &status(State::Working));
            let components = [source, other];
            let health = health(&components, false, Timestamp::now());
            assert_eq!(health.healthy, expected, "{state:?}");
            assert_eq!(health, readiness(&components, false, Timestamp::now()));
        }
        let source = component(ComponentKind::Source, "nats", false, &status(State::Working));
        assert!(!health(&[source], true, Timestamp::now()).healthy, "it stops");
    }

    #[tokio::test(start_paused = true)]
    async fn a_quiet_subscription_counts_as_dead_after_two_attempts_however_late_it_is() {
        let status = status(State::Working);
        let silent_since = Instant::now();
        let failed = |failed_renewals| {
            let doubt = Doubt { silent_since, failed_renewals };
            status.doubtful(doubt, "cannot open a second connection", "wait");
        };
        // The wall clock says whatever it likes: here it is 1970.
        let now = || {
            let components = [component(ComponentKind::Source, "nats", false, &status)];
            health(&components, false, Timestamp::from_nanos(0))
        };
        failed(1);
        tokio::time::advance(Duration::from_secs(3600)).await;
        let health = now();
        assert!(health.healthy, "one attempt has failed: {health:?}");
        assert!(health.reasons[0].problem.contains("nothing has come for 3600 s"), "{health:?}");
        assert_eq!(health.reasons[0].since.as_deref(), Some("1969-12-31T23:00:00.000000000Z"));
        failed(2);
        let health = now();
        assert!(!health.healthy && health.reasons[0].problem.contains("counts as dead"), "{health:?}");
        status.working();
        assert_eq!(now().reasons, []);
    }
}
