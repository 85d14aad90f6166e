//! [`Measures`]: what a report knows of its components beside their books.

use super::meters::{BufferFill, MetersSnapshot};
use crate::event::Timestamp;
use crate::status::State;
use std::time::Duration;

/// What is measured, at the moment of a report; of each kind in the order of the report's books.
#[derive(Clone, Debug, Default)]
pub(crate) struct Measures {
    pub(crate) sources: Vec<SourceMeasures>,
    pub(crate) transforms: Vec<TransformMeasures>,
    pub(crate) sinks: Vec<SinkMeasures>,
    pub(crate) now: Option<Timestamp>,
    pub(crate) uptime: Duration,
    pub(crate) memory_limit: Option<u64>,
}

/// Reports are the same whose books are: what is measured belongs to the moment at which one looks.
impl PartialEq for Measures {
    fn eq(&self, _: &Measures) -> bool {
        true
    }
}

impl Eq for Measures {}

/// What is measured of a source.
#[derive(Clone, Debug)]
pub(crate) struct SourceMeasures {
    /// Whether a reload has not removed it.
    pub(crate) is_there: bool,
    pub(crate) state: State,
    pub(crate) failures: u64,
    pub(crate) last_event: Option<Timestamp>,
}

/// What is measured of a transform.
#[derive(Clone, Debug)]
pub(crate) struct TransformMeasures {
    pub(crate) is_there: bool,
    pub(crate) received_bytes: u64,
    pub(crate) sent_bytes: u64,
    pub(crate) utilization: f64,
}

/// What is measured of a sink.
#[derive(Clone, Debug)]
pub(crate) struct SinkMeasures {
    pub(crate) is_there: bool,
    pub(crate) state: State,
    pub(crate) failures: u64,
    pub(crate) last_delivery: Option<Timestamp>,
    pub(crate) held: (u64, u64),
    pub(crate) buffer: Option<BufferFill>,
    pub(crate) meters: MetersSnapshot,
}
