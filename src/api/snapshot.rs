//! The books and the components' states as `/api/status` says them.

use super::health::health;
use super::history::History;
use super::status::{Buffer, ComponentStatus, TopologyStatus, Totals, Trouble};
use crate::config::{ComponentKind, DEAD_LETTERS};
use crate::event::Timestamp;
use crate::status::State;
use crate::topology::{
    Component, Description, DropReason, Observer, Report, SinkSnapshot, SourceSnapshot, TransformSnapshot,
};
use std::collections::BTreeMap;

/// A component as it stands in the configuration: `sinks.loki`.
pub(super) fn name(description: &Description) -> String {
    let Description { kind, id, .. } = description;
    match kind {
        ComponentKind::Sink if id == DEAD_LETTERS => id.clone(),
        ComponentKind::Source => format!("sources.{id}"),
        ComponentKind::Transform => format!("transforms.{id}"),
        ComponentKind::Sink => format!("sinks.{id}"),
    }
}

/// What there is to see of a topology, all of one moment.
pub(super) struct Snapshot {
    now: Timestamp,
    components: Vec<Component>,
    report: Report,
}

impl Snapshot {
    /// Of this moment.
    pub(super) fn take(observer: &Observer) -> Snapshot {
        let books = observer.books();
        Snapshot { now: Timestamp::now(), components: books.components(), report: books.snapshot() }
    }

    /// When it was taken.
    pub(super) fn now(&self) -> Timestamp {
        self.now
    }

    /// Every component by its name, without its rates.
    /// `shows_events`: with what destinations have answered, which may repeat what they were sent.
    pub(super) fn components(&self, shows_events: bool) -> Vec<(String, ComponentStatus)> {
        let named = |one: &Component| (name(&one.description), component(one, &self.report, shows_events));
        self.components.iter().map(named).collect()
    }
}

/// All of it.
pub(super) fn status(
    snapshot: &Snapshot,
    observer: &Observer,
    history: &History,
    shows_events: bool,
) -> TopologyStatus {
    let Snapshot { now, components, report } = snapshot;
    let with_rates = |(name, mut component): (String, ComponentStatus)| {
        component.rates = history.rates(&name);
        component
    };
    TopologyStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        now: now.to_rfc3339(),
        started: observer.started().to_rfc3339(),
        uptime_secs: observer.uptime().as_secs_f64(),
        health: health(components, observer.is_stopping(), *now),
        tail: shows_events,
        totals: totals(report),
        components: snapshot.components(shows_events).into_iter().map(with_rates).collect(),
    }
}

fn totals(report: &Report) -> Totals {
    let totals = report.totals();
    let events = &totals.events;
    // What is on its way in memory would be lost at a crash, and is not lost yet.
    let in_memory =
        report.sinks.iter().filter(|(_, sink)| !sink.is_durable).map(|(_, sink)| sink.buffered).sum();
    Totals {
        received: events.received,
        delivered: events.delivered,
        rejected: events.rejected,
        dropped: dropped(events),
        buffered: events.buffered,
        dead_letters: totals.dead_letters,
        lost: totals.lost.saturating_sub(in_memory),
    }
}

fn dropped(sink: &SinkSnapshot) -> BTreeMap<String, u64> {
    let reasons = DropReason::ALL.iter().copied().map(|reason| (reason.as_str(), sink.dropped_for(reason)));
    named(reasons)
}

/// Those that have happened.
fn named<'a>(reasons: impl IntoIterator<Item = (&'a str, u64)>) -> BTreeMap<String, u64> {
    let happened = reasons.into_iter().filter(|(_, events)| *events > 0);
    happened.map(|(reason, events)| (reason.to_owned(), events)).collect()
}

fn component(component: &Component, report: &Report, shows_events: bool) -> ComponentStatus {
    let Component { description, status, last_event, buffer, last_lag, held_batches, failures, .. } =
        component;
    let id = &description.id;
    let state = status.as_ref().map_or(State::Working, |status| status.state);
    let trouble = status.as_ref().and_then(|status| status.trouble.clone());
    let mut of_kind = match description.kind {
        ComponentKind::Source => book(&report.sources, id).map(of_source),
        ComponentKind::Transform => book(&report.transforms, id).map(of_transform),
        ComponentKind::Sink => book(&report.sinks, id).map(of_sink),
    }
    .unwrap_or_default();
    of_kind.id = id.clone();
    of_kind.kind = description.kind.singular().to_owned();
    of_kind.component_type = description.r#type.clone();
    of_kind.inputs = description.inputs.clone();
    of_kind.state = match state {
        State::Starting => "starting",
        State::Working => "working",
        State::Failing => "failing",
        State::Ended => "ended",
    }
    .to_owned();
    of_kind.since = status.as_ref().and_then(|status| status.since).map(Timestamp::to_rfc3339);
    of_kind.last_event = last_event.map(Timestamp::to_rfc3339);
    of_kind.buffer = buffer.as_ref().map(|buffer| Buffer {
        kind: buffer.kind.to_owned(),
        bytes: buffer.bytes,
        max_bytes: buffer.max_bytes,
        events: buffer.events,
        max_events: buffer.max_events,
    });
    of_kind.lag_secs = last_lag.map(|lag| lag.as_secs_f64());
    of_kind.held_batches = *held_batches;
    of_kind.errors += failures;
    of_kind.trouble = trouble.map(|trouble| Trouble {
        at: trouble.at.to_rfc3339(),
        text: match trouble.answer {
            Some(answer) if shows_events => format!("{}: {answer}", trouble.text),
            Some(_) => format!("{} (the log says more)", trouble.text),
            None => trouble.text,
        },
        advice: trouble.advice,
    });
    of_kind
}

fn book<'a, T>(books: &'a [(String, T)], id: &str) -> Option<&'a T> {
    books.iter().find(|(other, _)| other == id).map(|(_, book)| book)
}

fn of_source(source: &SourceSnapshot) -> ComponentStatus {
    ComponentStatus {
        received: source.received,
        received_bytes: source.received_bytes,
        sent: source.received,
        dropped: named([("excluded", source.excluded)]),
        disconnects: source.disconnects,
        pending: source.pending,
        ..ComponentStatus::default()
    }
}

fn of_transform(transform: &TransformSnapshot) -> ComponentStatus {
    ComponentStatus {
        received: transform.received,
        sent: transform.sent,
        dropped: named([
            ("discarded", transform.discarded),
            ("failed", transform.failed),
            ("shutdown", transform.lost),
            ("returned", transform.returned),
        ]),
        errors: transform.errors,
        ..ComponentStatus::default()
    }
}

fn of_sink(sink: &SinkSnapshot) -> ComponentStatus {
    ComponentStatus {
        dead_letters: sink.holds_letters,
        received: sink.received,
        sent: sink.delivered,
        rejected: sink.rejected,
        dropped: dropped(sink),
        errors: sink.rejected,
        buffered: sink.buffered,
        ..ComponentStatus::default()
    }
}
