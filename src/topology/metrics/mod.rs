//! What Prometheus reads: the books of all components, and what is measured beside them.
//!
//! - `families`: [`metric_families`], the table of all metrics: their names, types and labels, and where their values are
//! - `page`: the text format; `measures`: what a report knows beside the books
//! - `meters`: what is measured of a sink, `http` of its requests; `histogram`, `utilization`: how

mod families;
mod histogram;
mod http;
mod measures;
mod meters;
mod page;
#[cfg(test)]
mod tests;
mod utilization;

pub use families::{Family, MetricKind, Origin, metric_families};
pub(crate) use http::{ErrorKind, Failure};
pub(super) use measures::{Measures, SinkMeasures, SourceMeasures, TransformMeasures};
pub use meters::BufferFill;
pub(crate) use meters::{Fill, Held, SinkMeters};
pub use page::PROMETHEUS_CONTENT_TYPE;
pub(crate) use utilization::Utilization;
