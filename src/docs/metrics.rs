//! Every metric.

use super::{Page, head, row};
use crate::topology::{Origin, metric_families};

/// The labels of a component's metrics.
const COMPONENT: [&str; 3] = ["component_id", "component_kind", "component_type"];

pub(super) fn page() -> Page {
    let mut text = String::from(
        "# Metrics\n\n`GET /metrics` of the [API](../operating.md#the-api), and of the sink \
         [`prometheus_exporter`](sinks.md#prometheus_exporter), is Prometheus's text format. What Vector counts too has Vector's name \
         and labels, so that dashboards made for it go on; what only log-shipper counts begins with `log_shipper_`.\n\n\
         A counter only grows, until the process starts anew; a gauge goes up and down; a histogram has the series `_bucket` (with the label \
         `le`), `_sum` and `_count`. Where the labels say *component*, there are `component_id`, `component_kind` and `component_type`. Labels are components, reasons, statuses and the like: their number does not grow with \
         the logs.\n",
    );
    for (origin, title) in [(Origin::LogShipper, "log-shipper's own"), (Origin::Vector, "Vector's names")] {
        text.push_str(&format!("\n## {title}\n\n"));
        text.push_str(&head(["metric", "type", "labels", "what it is"]));
        for family in metric_families().iter().filter(|family| family.origin == origin) {
            // Those of a component are many metrics'.
            let is_component = family.labels.starts_with(&COMPONENT);
            let own = if is_component { &family.labels[COMPONENT.len()..] } else { family.labels };
            let component = is_component.then(|| "component".to_owned());
            let labels = component.into_iter().chain(own.iter().map(|label| format!("`{label}`")));
            let labels: Vec<_> = labels.collect();
            let name = format!("`{}`", family.name);
            text.push_str(&row([&name, family.kind.as_str(), &labels.join(", "), family.help]));
        }
    }
    Page::new("reference/metrics.md", text)
}
