//! What `GET /api/status` says, and `/api/events` every second: how a topology gets on, for the status page and `top`.
//!
//! Times are RFC 3339 in UTC. Counts are those since the start, and never get smaller. Rates are of the last few
//! seconds.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// How a topology gets on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct TopologyStatus {
    /// log-shipper's version.
    pub version: String,
    /// When this was said.
    pub now: String,
    /// When the process started: another time means that it has been started again, and its counts from 0.
    pub started: String,
    /// Seconds since then.
    pub uptime_secs: f64,
    /// Whether logs can flow.
    pub health: Health,
    /// Whether `/api/tail` shows events.
    pub tail: bool,
    /// The books of all sinks together.
    pub totals: Totals,
    /// Every component: sources, transforms, sinks, in the order of the configuration.
    pub components: Vec<ComponentStatus>,
}

/// Whether logs can flow.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Health {
    /// Whether they can: every source is connected, and not every destination fails.
    pub healthy: bool,
    /// Why not; and what else is wrong, though logs flow.
    pub reasons: Vec<Reason>,
}

/// Something that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Reason {
    /// Which component, as it stands in the configuration: `sources.nats`.
    pub component: String,
    /// Whether no logs flow because of it.
    pub fatal: bool,
    /// What is wrong.
    pub problem: String,
    /// Since when.
    pub since: Option<String>,
    /// What to do.
    pub advice: String,
}

/// The books of all sinks together.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Totals {
    /// Events that came in.
    pub received: u64,
    /// Events that the destinations have.
    pub delivered: u64,
    /// Events refused for good.
    pub rejected: u64,
    /// Events given up, by the reason.
    pub dropped: BTreeMap<String, u64>,
    /// Events on their way.
    pub buffered: u64,
    /// Refused events that were kept.
    pub dead_letters: u64,
    /// Events lost that nobody chose to lose.
    pub lost: u64,
}

/// How a component gets on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct ComponentStatus {
    /// Its id.
    pub id: String,
    /// `source`, `transform` or `sink`.
    pub kind: String,
    /// Its type.
    #[serde(rename = "type")]
    pub component_type: String,
    /// What feeds it: ids, or `id.output`.
    pub inputs: Vec<String>,
    /// Whether it is the sink of the dead letters.
    pub dead_letters: bool,
    /// `starting`, `working`, `failing`, or of a source `ended`; a transform is always `working`.
    pub state: String,
    /// Since when.
    pub since: Option<String>,
    /// When the last event came to a source, or a sink last delivered one.
    pub last_event: Option<String>,
    /// What went wrong last, though all may be well since.
    pub trouble: Option<Trouble>,
    /// Events that came in.
    pub received: u64,
    /// Of a source: bytes of payloads.
    pub received_bytes: u64,
    /// Events passed on, or delivered.
    pub sent: u64,
    /// Of a sink: events refused for good.
    pub rejected: u64,
    /// Events that went no further, by the reason: `buffer_full`, `excluded`, `discarded`, `failed`, ...
    pub dropped: BTreeMap<String, u64>,
    /// What could not be read, processed or sent, tries included.
    pub errors: u64,
    /// Of a source: how often the connection was lost.
    pub disconnects: u64,
    /// Of a source of a stream: messages that wait there.
    pub pending: u64,
    /// Of a sink: events on their way.
    pub buffered: u64,
    /// Of a sink: what its buffer holds and may hold.
    pub buffer: Option<Buffer>,
    /// Of a sink: seconds from an event's own time to its delivery, of the last batch.
    pub lag_secs: Option<f64>,
    /// Of a sink: batches that are held until the destination accepts us.
    pub held_batches: u64,
    /// How fast it goes.
    pub rates: Rates,
}

/// What went wrong, and what to do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Trouble {
    /// When.
    pub at: String,
    /// What; without secrets.
    pub text: String,
    /// What to do.
    pub advice: String,
}

/// A sink's buffer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Buffer {
    /// `memory`, `disk` or `overflow`.
    pub kind: String,
    /// How many bytes it holds.
    pub bytes: u64,
    /// How many it may hold; nothing if it counts events.
    pub max_bytes: Option<u64>,
    /// How many events it holds.
    pub events: u64,
    /// How many it may hold; nothing if it counts bytes.
    pub max_events: Option<u64>,
}

/// How fast a component goes, in a second.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Rates {
    /// Events that come in.
    pub received: f64,
    /// Events passed on, or delivered.
    pub sent: f64,
    /// What goes wrong.
    pub errors: f64,
}

/// What `GET /api/history` says: the last hour, one value for each step of each component.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct History {
    /// Seconds of a step.
    pub step_secs: u64,
    /// When each step ended, in seconds since the epoch, the oldest first.
    pub times: Vec<i64>,
    /// By a component's kind and id: `sinks.loki`.
    pub components: BTreeMap<String, Series>,
}

/// A component's last hour; nothing stands for a time at which it was not there.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Series {
    /// Events received in a second.
    pub received: Vec<Option<f64>>,
    /// Events passed on or delivered in a second.
    pub sent: Vec<Option<f64>>,
    /// Errors in a second.
    pub errors: Vec<Option<f64>>,
    /// Of a sink: events on their way at the end of the step.
    pub buffered: Vec<Option<f64>>,
    /// Of a sink: how full its buffer was at the end of the step, 0 to 1.
    pub buffer_fill: Vec<Option<f64>>,
    /// Of a sink: seconds from an event's own time to its delivery, the longest of the step.
    pub lag_secs: Vec<Option<f64>>,
}
