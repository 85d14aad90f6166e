//! Every metric.

use super::{Page, head, row};
use crate::topology::{Origin, metric_families};

pub(super) fn page() -> Page {
    let mut text = String::from(
        "# Metrics\n\n`GET /metrics` of the [API](../operating.md#the-api), and of the sink \
         [`prometheus_exporter`](sinks.md#prometheus_exporter), is Prometheus's text format. What Vector counts too has Vector's name \
         and labels, so that dashboards made for it go on; what only log-shipper counts begins with `log_shipper_`.\n\n\
         A counter only grows, until the process starts anew; a gauge goes up and down; a histogram has the series `_bucket` (with the label \
         `le`), `_sum` and `_count`. Labels are components, reasons, statuses and the like: their number does not grow with \
         the logs.\n",
    );
    for (origin, title) in [(Origin::LogShipper, "log-shipper's own"), (Origin::Vector, "Vector's names")] {
        text.push_str(&format!("\n## {title}\n\n"));
        text.push_str(&head(["metric", "type", "labels", "what it is"]));
        for family in metric_families().iter().filter(|family| family.origin == origin) {
            let labels: Vec<_> = family.labels.iter().map(|label| format!("`{label}`")).collect();
            let name = format!("`{}`", family.name);
            text.push_str(&row([&name, family.kind.as_str(), &labels.join(", "), family.help]));
        }
    }
    Page::new("reference/metrics.md", text)
}
