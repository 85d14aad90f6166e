//! The text that Prometheus reads: its text format, version 0.0.4.

use super::families::{Family, MetricKind, metric_families};
use super::histogram::HistogramSnapshot;
use super::measures::{SinkMeasures, SourceMeasures, TransformMeasures};
use crate::config::ComponentKind;
use crate::topology::{Report, SinkSnapshot, SourceSnapshot, TransformSnapshot};
use std::fmt::Write;

/// The `Content-Type` of [`Report::to_prometheus`].
pub const PROMETHEUS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Report {
    /// The books and what is measured, in Prometheus's text format: the families of [`metric_families`] that have
    /// values. The order of the lines is always the same.
    pub fn to_prometheus(&self) -> String {
        let mut text = String::new();
        for family in metric_families() {
            let mut page = Page { report: self, family, has_head: false, text };
            (family.write)(&mut page);
            text = page.text;
        }
        text
    }
}

/// The labels that a sample has beside those of its component.
pub(super) type Labels<'a> = &'a [(&'a str, &'a str)];

/// The text so far, and the family that is written.
pub(super) struct Page<'a> {
    pub(super) report: &'a Report,
    family: &'static Family,
    has_head: bool,
    text: String,
}

/// A source with what is known of it.
pub(super) struct Source<'a> {
    pub(super) books: &'a SourceSnapshot,
    pub(super) measures: &'a SourceMeasures,
}

/// A transform with what is known of it.
pub(super) struct Transform<'a> {
    pub(super) books: &'a TransformSnapshot,
    pub(super) measures: &'a TransformMeasures,
}

/// A sink with what is known of it.
pub(super) struct Sink<'a> {
    pub(super) id: &'a str,
    pub(super) books: &'a SinkSnapshot,
    pub(super) measures: &'a SinkMeasures,
}

/// What is counted, as a sample's value.
pub(super) fn count(number: u64) -> Option<f64> {
    // What is more than 2^53 Prometheus rounds, too.
    Some(number as f64)
}

impl<'a> Page<'a> {
    fn line(&mut self, suffix: &str, labels: Labels<'_>, value: f64) {
        let Family { name, kind, help, .. } = self.family;
        // Writing into memory cannot fail.
        if !std::mem::replace(&mut self.has_head, true) {
            let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
        }
        let labels: Vec<_> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
        let _ = match labels.is_empty() {
            true => writeln!(self.text, "{name}{suffix} {value}"),
            false => writeln!(self.text, "{name}{suffix}{{{}}} {value}", labels.join(",")),
        };
    }

    /// A sample of the process, or of all sinks.
    pub(super) fn sample(&mut self, labels: Labels<'_>, value: Option<f64>) {
        if let Some(value) = value {
            self.line("", labels, value);
        }
    }

    fn component(&mut self, kind: ComponentKind, id: &str, more: Labels<'_>, value: Option<f64>) {
        let Some(value) = value else { return };
        let report = self.report;
        self.line("", &[&of_component(report, kind, id), more].concat(), value);
    }

    /// A number of each source that has it.
    pub(super) fn each_source(&mut self, more: Labels<'_>, get: fn(&Source<'_>) -> Option<f64>) {
        let report = self.report;
        for ((id, books), measures) in report.sources.iter().zip(&report.measures.sources) {
            self.component(ComponentKind::Source, id, more, get(&Source { books, measures }));
        }
    }

    /// A number of each transform that has it.
    pub(super) fn each_transform(&mut self, more: Labels<'_>, get: fn(&Transform<'_>) -> Option<f64>) {
        let report = self.report;
        for ((id, books), measures) in report.transforms.iter().zip(&report.measures.transforms) {
            self.component(ComponentKind::Transform, id, more, get(&Transform { books, measures }));
        }
    }

    /// A number of each sink that has it.
    pub(super) fn each_sink(&mut self, more: Labels<'_>, get: impl Fn(&Sink<'_>) -> Option<f64>) {
        self.sinks(|page, sink| page.of_sink(sink, more, get(sink)));
    }

    /// All sinks.
    pub(super) fn sinks(&mut self, mut write: impl FnMut(&mut Page<'a>, &Sink<'a>)) {
        let report = self.report;
        for ((id, books), measures) in report.sinks.iter().zip(&report.measures.sinks) {
            write(self, &Sink { id, books, measures });
        }
    }

    pub(super) fn of_source(&mut self, id: &str, value: Option<f64>) {
        self.component(ComponentKind::Source, id, &[], value);
    }

    pub(super) fn component_type(&self, sink: &Sink<'_>) -> &'a str {
        self.report.component_type(ComponentKind::Sink, sink.id)
    }

    pub(super) fn of_sink(&mut self, sink: &Sink<'_>, more: Labels<'_>, value: Option<f64>) {
        self.component(ComponentKind::Sink, sink.id, more, value);
    }

    /// A histogram of a sink.
    pub(super) fn histogram(&mut self, sink: &Sink<'_>, more: Labels<'_>, histogram: &HistogramSnapshot) {
        debug_assert_eq!(self.family.kind, MetricKind::Histogram);
        let report = self.report;
        let labels = [&of_component(report, ComponentKind::Sink, sink.id), more].concat();
        for (bound, below) in histogram.cumulative() {
            let labels = [labels.as_slice(), &[("le", bound.as_str())]].concat();
            self.line("_bucket", &labels, below as f64);
        }
        self.line("_sum", &labels, histogram.sum());
        self.line("_count", &labels, histogram.count() as f64);
    }
}

/// The labels of a component.
fn of_component<'a>(report: &'a Report, kind: ComponentKind, id: &'a str) -> [(&'a str, &'a str); 3] {
    let component_type = report.component_type(kind, id);
    [("component_id", id), ("component_kind", kind.singular()), ("component_type", component_type)]
}

/// A label's value as it stands between quotes.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
