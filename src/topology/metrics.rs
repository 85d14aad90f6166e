//! The books as Prometheus reads them: the text format, version 0.0.4.
//!
//! What Vector counts too has Vector's name and labels, with the prefix that its source `internal_metrics` puts
//! before them, so that dashboards made for Vector show it; what only we count begins with `log_shipper_`.

use super::books::Report;
use super::outcome::DropReason;
use crate::config::ComponentKind;
use std::fmt::Write;

/// The `Content-Type` of [`Report::to_prometheus`].
pub const PROMETHEUS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

impl Report {
    /// The books in Prometheus's text format. The order of the lines is always the same.
    pub fn to_prometheus(&self) -> String {
        let mut page = Page { report: self, text: String::new() };
        page.of_vector();
        page.of_sources();
        page.of_sinks();
        page.of_everything();
        page.text
    }
}

/// The text, and where it comes from.
struct Page<'a> {
    report: &'a Report,
    text: String,
}

/// The labels that a sample has beside those of its component.
type Labels<'a> = &'a [(&'a str, &'a str)];

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";

impl Page<'_> {
    fn family(&mut self, name: &str, kind: &str, help: &str) {
        // Writing into memory cannot fail.
        let _ = writeln!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}");
    }

    fn sample(&mut self, name: &str, labels: Labels<'_>, value: u64) {
        let labels: Vec<_> =
            labels.iter().map(|(label, value)| format!("{label}=\"{}\"", escape(value))).collect();
        let _ = match labels.is_empty() {
            true => writeln!(self.text, "{name} {value}"),
            false => writeln!(self.text, "{name}{{{}}} {value}", labels.join(",")),
        };
    }

    fn component(&mut self, name: &str, kind: ComponentKind, id: &str, more: Labels<'_>, value: u64) {
        let report = self.report;
        let of_component = [
            ("component_id", id),
            ("component_kind", kind.singular()),
            ("component_type", report.component_type(kind, id)),
        ];
        self.sample(name, &[&of_component, more].concat(), value);
    }

    /// A number of each source.
    fn each_source(&mut self, name: &str, more: Labels<'_>, get: fn(&super::SourceSnapshot) -> u64) {
        for (id, source) in &self.report.sources {
            self.component(name, ComponentKind::Source, id, more, get(source));
        }
    }

    /// A number of each transform.
    fn each_transform(&mut self, name: &str, more: Labels<'_>, get: fn(&super::TransformSnapshot) -> u64) {
        for (id, transform) in &self.report.transforms {
            self.component(name, ComponentKind::Transform, id, more, get(transform));
        }
    }

    /// A number of each sink.
    fn each_sink(&mut self, name: &str, more: Labels<'_>, get: impl Fn(&super::SinkSnapshot) -> u64) {
        for (id, sink) in &self.report.sinks {
            self.component(name, ComponentKind::Sink, id, more, get(sink));
        }
    }

    fn of_vector(&mut self) {
        let name = "vector_component_received_events_total";
        self.family(name, COUNTER, "Events that came into the component.");
        self.each_source(name, &[], |source| source.received);
        self.each_transform(name, &[], |transform| transform.received);
        self.each_sink(name, &[], |sink| sink.received);
        let name = "vector_component_received_bytes_total";
        self.family(name, COUNTER, "Bytes of the payloads that the source received.");
        self.each_source(name, &[], |source| source.received_bytes);
        let name = "vector_component_sent_events_total";
        self.family(name, COUNTER, "Events that were passed on, or that the destination has.");
        self.each_source(name, &[], |source| source.received);
        self.each_transform(name, &[], |transform| transform.sent);
        self.each_sink(name, &[], |sink| sink.delivered);

        let name = "vector_component_discarded_events_total";
        self.family(name, COUNTER, "Events that went no further, on purpose or not, and why.");
        let label = |is_intentional: bool| ("intentional", if is_intentional { "true" } else { "false" });
        self.each_source(name, &[label(true), ("reason", "excluded")], |source| source.excluded);
        self.each_transform(name, &[label(true), ("reason", "discarded")], |transform| transform.discarded);
        self.each_transform(name, &[label(false), ("reason", "failed")], |transform| transform.failed);
        self.each_transform(name, &[label(false), ("reason", "shutdown")], |transform| transform.lost);
        self.each_transform(name, &[label(false), ("reason", "returned")], |transform| transform.returned);
        self.each_sink(name, &[label(false), ("reason", "rejected")], |sink| sink.rejected);
        for reason in DropReason::ALL {
            let labels = [label(reason == DropReason::Filtered), ("reason", reason.as_str())];
            self.each_sink(name, &labels, |sink| sink.dropped_for(reason));
        }

        let name = "vector_component_errors_total";
        self.family(name, COUNTER, "Events that could not be read, processed or sent.");
        let labels = |kind, stage| [("error_type", kind), ("stage", stage)];
        self.each_source(name, &labels("parser_failed", "receiving"), |source| source.undecodable);
        self.each_transform(name, &labels("processing_failed", "processing"), |transform| transform.errors);
        self.each_sink(name, &labels("request_failed", "sending"), |sink| sink.rejected);

        let name = "vector_buffer_events";
        self.family(
            name,
            GAUGE,
            "Events on their way through the sink: in its buffer, a batch or a request.",
        );
        self.each_sink(name, &[], |sink| sink.buffered);
    }

    fn of_sources(&mut self) {
        let name = "log_shipper_undecodable_events_total";
        self.family(name, COUNTER, "Payloads that were no JSON object and became a message.");
        self.each_source(name, &[], |source| source.undecodable);
        let name = "log_shipper_excluded_messages_total";
        self.family(name, COUNTER, "Messages left out because their subject or app is excluded.");
        self.each_source(name, &[], |source| source.excluded);
        let name = "log_shipper_joined_messages_total";
        self.family(name, COUNTER, "Messages that became part of another event: lines of a stack trace.");
        self.each_source(name, &[], |source| source.joined);
        let name = "log_shipper_disconnects_total";
        self.family(name, COUNTER, "How often the source's connection was lost.");
        self.each_source(name, &[], |source| source.disconnects);
        let name = "log_shipper_resubscribes_total";
        self.family(name, COUNTER, "How often a fresh connection took the place of a silent one.");
        self.each_source(name, &[], |source| source.resubscribes);
    }

    fn of_sinks(&mut self) {
        let name = "log_shipper_truncated_events_total";
        self.family(name, COUNTER, "Events whose message was cut, because the destination takes no more.");
        self.each_sink(name, &[], |sink| sink.truncated);
        let name = "log_shipper_recovered_events_total";
        self.family(
            name,
            COUNTER,
            "Of the received: events that an earlier run had left in the buffer on disk.",
        );
        self.each_sink(name, &[], |sink| sink.recovered);
        let name = "log_shipper_lost_events_total";
        self.family(
            name,
            COUNTER,
            "Events given up by a shutdown or a faulty sink, and dead letters that were not written.",
        );
        self.each_sink(name, &[], super::SinkSnapshot::given_up);
    }

    fn of_everything(&mut self) {
        let totals = self.report.totals();
        let name = "log_shipper_dead_letters_total";
        self.family(name, COUNTER, "Refused events that were written as dead letters.");
        self.sample(name, &[], totals.dead_letters);
        let name = "log_shipper_events_total";
        self.family(
            name,
            COUNTER,
            "The books of all sinks together: received = delivered + rejected + dropped + log_shipper_buffered_events.",
        );
        let outcome = |outcome| ("outcome", outcome);
        let all = totals.events;
        self.sample(name, &[outcome("received")], all.received);
        self.sample(name, &[outcome("delivered")], all.delivered);
        self.sample(name, &[outcome("rejected")], all.rejected);
        for reason in DropReason::ALL {
            self.sample(name, &[outcome("dropped"), ("reason", reason.as_str())], all.dropped_for(reason));
        }
        let name = "log_shipper_buffered_events";
        self.family(name, GAUGE, "Events on their way through all sinks.");
        self.sample(name, &[], all.buffered);
        let name = "log_shipper_build_info";
        self.family(name, GAUGE, "The version that runs.");
        self.sample(name, &[("version", env!("CARGO_PKG_VERSION"))], 1);
    }
}

/// A label's value as it stands between quotes.
fn escape(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::super::{Books, Description, Outcome};
    use super::*;
    use crate::event::LogEvent;

    #[test]
    fn the_text_is_what_prometheus_reads() {
        let books = Books::default();
        let id = "a \"b\"\\\nc";
        let description = Description {
            kind: ComponentKind::Sink,
            id: id.to_owned(),
            r#type: "loki".to_owned(),
            inputs: Vec::new(),
            has_destination: true,
        };
        books.describe(vec![description], None);
        let counts = books.sink(id);
        counts.add_received(3);
        counts.settle_events(vec![LogEvent::from_json("{}".into()).unwrap()], &Outcome::unsent("no"));
        let text = books.snapshot().to_prometheus();
        let labels = r#"component_id="a \"b\"\\\nc",component_kind="sink",component_type="loki""#;
        for line in [
            "# TYPE vector_component_received_events_total counter".to_owned(),
            format!("vector_component_received_events_total{{{labels}}} 3"),
            format!(
                "vector_component_discarded_events_total{{{labels},intentional=\"false\",reason=\"rejected\"}} 1"
            ),
            "# TYPE vector_buffer_events gauge".to_owned(),
            format!("vector_buffer_events{{{labels}}} 2"),
            "log_shipper_events_total{outcome=\"rejected\"} 1".to_owned(),
            "log_shipper_dead_letters_total 0".to_owned(),
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\nshould be in\n{text}");
        }
        // Every sample stands under its family, and every family stands there once.
        let mut families = std::collections::HashSet::new();
        let mut family = "";
        for line in text.lines() {
            match line.strip_prefix("# HELP ") {
                Some(rest) => {
                    family = rest.split(' ').next().unwrap();
                    assert!(families.insert(family), "{family} comes twice");
                }
                None => assert!(line.starts_with("# TYPE") || line.starts_with(family), "{line}"),
            }
        }
        assert_eq!(text, books.snapshot().to_prometheus());
    }
}
