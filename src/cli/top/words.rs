//! What the screen and `--once` say in the same words.

use super::figures::{bytes, count, duration, epoch, moment, rate};
use super::state::{Live, fill};
use crate::api::status::{ComponentStatus, Health, Reason, TopologyStatus};
use std::collections::BTreeMap;

/// How good or bad a thing is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Warning,
    Bad,
    Plain,
}

/// Whether logs flow, and what to do if they do not.
pub(super) struct Headline {
    pub(super) tone: Tone,
    pub(super) text: String,
    pub(super) advice: String,
}

/// The topology's health in a sentence.
pub(super) fn headline(health: &Health, now: f64) -> Headline {
    let fatal = health.reasons.iter().find(|reason| reason.fatal);
    let Some(reason) = fatal.or(health.reasons.first()) else {
        return match health.healthy {
            true => Headline { tone: Tone::Good, text: "logs flow".into(), advice: String::new() },
            false => Headline { tone: Tone::Bad, text: "LOGS DO NOT FLOW".into(), advice: String::new() },
        };
    };
    let (tone, start) = match health.healthy {
        true => (Tone::Warning, "logs flow, but"),
        false => (Tone::Bad, "LOGS DO NOT FLOW:"),
    };
    let more = match health.reasons.len() - 1 {
        0 => String::new(),
        more => format!(" (and {more} more)"),
    };
    Headline { tone, text: format!("{start} {}{more}", problem(reason, now)), advice: reason.advice.clone() }
}

/// What is wrong, where, and for how long.
pub(super) fn problem(reason: &Reason, now: f64) -> String {
    let since = reason.since.as_deref().and_then(epoch);
    let since = since.map(|since| format!(", for {}", duration((now - since).floor())));
    let place = match reason.component.as_str() {
        "" => String::new(),
        component => format!("{component}: "),
    };
    format!("{place}{}{}", reason.problem, since.unwrap_or_default())
}

/// The sums of the whole topology, the most important first.
pub(super) fn totals(live: &Live, status: &TopologyStatus) -> Vec<String> {
    let (received, sent, errors) = live.total_rates();
    let totals = &status.totals;
    vec![
        format!("lost {}", count(totals.lost)),
        format!("received {}/s", rate(received)),
        format!("delivered {}/s", rate(sent)),
        format!("errors {}/s", rate(errors)),
        format!("on their way {}", count(totals.buffered)),
        format!("refused {}", count(totals.rejected)),
        format!("dead letters {}", count(totals.dead_letters)),
    ]
}

/// `buffer_full 12, excluded 3`.
pub(super) fn reasons(counts: &BTreeMap<String, u64>) -> String {
    let counts = counts.iter().filter(|(_, number)| **number > 0);
    let counts: Vec<_> = counts.map(|(reason, number)| format!("{reason} {}", count(*number))).collect();
    if counts.is_empty() { "none".to_owned() } else { counts.join(", ") }
}

/// How full a sink's buffer is: `42%`.
pub(super) fn percent(component: &ComponentStatus) -> Option<String> {
    fill(component).map(|fill| format!("{:.0}%", fill * 100.0))
}

/// What is known of a component beyond its row: a name and a text each.
pub(super) fn details(component: &ComponentStatus, now: f64) -> Vec<(&'static str, String, Tone)> {
    let mut lines = Vec::new();
    let mut line = |name, text: String| lines.push((name, text, Tone::Plain));
    let is_sink = component.kind == "sink";
    let mut counts = vec![
        format!("received {}", count(component.received)),
        format!("{} {}", if is_sink { "delivered" } else { "sent" }, count(component.sent)),
    ];
    if component.received_bytes > 0 {
        counts.push(bytes(component.received_bytes));
    }
    if is_sink {
        counts.push(format!("refused {}", count(component.rejected)));
        counts.push(format!("on their way {}", count(component.buffered)));
    }
    counts.push(format!("errors {}", count(component.errors)));
    line("counts", counts.join(", "));
    line("dropped", reasons(&component.dropped));
    if let Some(buffer) = &component.buffer {
        let of = |max: Option<String>| max.map(|max| format!(" of {max}")).unwrap_or_default();
        let text = format!(
            "{}: {}{}, {}{} events",
            buffer.kind,
            bytes(buffer.bytes),
            of(buffer.max_bytes.map(bytes)),
            count(buffer.events),
            of(buffer.max_events.map(count))
        );
        let held = match component.held_batches {
            0 => String::new(),
            held => format!("; {} batches wait until the destination accepts us", count(held)),
        };
        line("buffer", text + &held);
    }
    if let Some(last) = &component.last_event {
        line("last event", moment(last, now));
    }
    if let Some(lag) = component.lag_secs {
        line("lag", format!("{} from an event's own time to its delivery", duration(lag)));
    }
    if component.kind == "source" {
        let pending = match component.pending {
            0 => String::new(),
            pending => format!("; {} messages wait in the stream", count(pending)),
        };
        line("connection", format!("lost {} times{pending}", count(component.disconnects)));
    }
    if !component.inputs.is_empty() {
        line("inputs", component.inputs.join(", "));
    }
    if component.dead_letters {
        line("takes", "the dead letters".to_owned());
    }
    lines
}

/// What a state is worth.
pub(super) fn state_tone(state: &str) -> Tone {
    match state {
        "working" => Tone::Good,
        "failing" => Tone::Bad,
        "starting" => Tone::Warning,
        _ => Tone::Plain,
    }
}
