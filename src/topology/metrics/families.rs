//! The table of all metrics.
//!
//! What Vector counts too has Vector's name and labels, with the prefix that its source `internal_metrics` puts
//! before them, so that dashboards made for Vector show it; what only we count begins with `log_shipper_`. Where
//! Vector has renamed a metric, both names are here.
//!
//! Vector's metrics that are left out, because we could not say them honestly:
//! - `source_lag_time_seconds`, `component_latency_seconds`: an event's own time is not looked for before a batch is
//!   made of it; `log_shipper_lag_seconds` is what they are wanted for.
//! - `source_buffer_*`, `transform_buffer_*`, `source_send_*`: there is no buffer behind a source or a transform.
//! - `component_allocated_bytes`: nobody counts them; `log_shipper_memory_bytes` is the process's.
//! - `buffer_*_bytes_total`, `buffer_errors_total`, `buffer_send_duration_seconds`: they are not measured.
//! - `http_client_error_rtt_seconds`, `adaptive_concurrency_back_pressure` and the like: the others say it.
//! - `protocol_*`, `connection_*`, `open_connections`: the libraries' connections are not counted.
//!
//! Messages that NATS has cut off because we read too slowly cannot be counted: our client holds none back, and the
//! server closes the connection without a reason. What shows it is `log_shipper_disconnects_total`, and the server's
//! own count of slow consumers. A JetStream stream keeps what we have not read: `log_shipper_pending_messages`.

use super::page::{Page, Sink, Source, Transform, count};
use crate::memory::resident;
use crate::status::State;
use crate::topology::DropReason;
use std::path::Path;

/// A metric, with all the series of its name.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: MetricKind,
    /// What it counts or measures, and its unit.
    pub help: &'static str,
    /// The labels that its series have, or may have; those of a histogram's buckets have `le` besides.
    pub labels: &'static [&'static str],
    /// Whose name it is.
    pub origin: Origin,
    /// Writes the samples.
    pub(super) write: fn(&mut Page<'_>),
}

/// The type of a metric.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MetricKind {
    /// It only grows, until the process starts anew.
    Counter,
    /// It goes up and down.
    Gauge,
    /// How many were at most how large.
    Histogram,
}

impl MetricKind {
    /// As Prometheus calls it.
    pub const fn as_str(self) -> &'static str {
        match self {
            MetricKind::Counter => "counter",
            MetricKind::Gauge => "gauge",
            MetricKind::Histogram => "histogram",
        }
    }
}

/// Whose name a metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Origin {
    /// Vector's, as its source `internal_metrics` and its sink `prometheus_exporter` show it.
    Vector,
    /// Ours.
    LogShipper,
}

/// All metrics, in the order of the page.
pub fn metric_families() -> &'static [Family] {
    FAMILIES
}

use MetricKind::{Counter, Gauge, Histogram};
use Origin::{LogShipper, Vector};

/// The labels of every component.
macro_rules! component {
    ($($more:literal),*) => {
        &["component_id", "component_kind", "component_type" $(, $more)*]
    };
}

/// A row of the table.
const fn row(
    name: &'static str,
    kind: MetricKind,
    origin: Origin,
    labels: &'static [&'static str],
    help: &'static str,
    write: fn(&mut Page<'_>),
) -> Family {
    Family { name, kind, help, labels, origin, write }
}

static FAMILIES: &[Family] = &[
    // === of every component ===
    row(
        "vector_component_received_events_total",
        Counter,
        Vector,
        component!(),
        "Events that came into the component.",
        |page| {
            page.each_source(&[], |source| count(source.books.received));
            page.each_transform(&[], |transform| count(transform.books.received));
            page.each_sink(&[], |sink| count(sink.books.received));
        },
    ),
    row(
        "vector_component_received_event_bytes_total",
        Counter,
        Vector,
        component!(),
        "Bytes of the events that came into the component, as JSON.",
        |page| {
            page.each_source(&[], |source| count(source.books.received_bytes));
            page.each_transform(&[], |transform| count(transform.measures.received_bytes));
            page.each_sink(&[], |sink| count(sink.measures.meters.received_bytes));
        },
    ),
    row(
        "vector_component_received_bytes_total",
        Counter,
        Vector,
        component!(),
        "Bytes of the payloads that became the source's events.",
        |page| page.each_source(&[], |source| count(source.books.received_bytes)),
    ),
    row(
        "vector_component_sent_events_total",
        Counter,
        Vector,
        component!(),
        "Events that were passed on, or that the destination has.",
        |page| {
            page.each_source(&[], |source| count(source.books.received));
            page.each_transform(&[], |transform| count(transform.books.sent));
            page.each_sink(&[], |sink| count(sink.books.delivered));
        },
    ),
    row(
        "vector_component_sent_event_bytes_total",
        Counter,
        Vector,
        component!(),
        "Bytes of the events that were passed on or delivered, as JSON; of a batch delivered in part, about.",
        |page| {
            page.each_source(&[], |source| count(source.books.received_bytes));
            page.each_transform(&[], |transform| count(transform.measures.sent_bytes));
            page.each_sink(&[], |sink| count(sink.measures.meters.delivered_bytes));
        },
    ),
    row(
        "vector_component_sent_bytes_total",
        Counter,
        Vector,
        component!("protocol"),
        "Bytes that the destination has taken, as they were sent: encoded and compressed. Of HTTP, files, the console and Papertrail.",
        |page| {
            page.sinks(|page, sink| {
                let protocol = match page.component_type(sink) {
                    "console" => "console",
                    "file" => "file",
                    "papertrail" => "tcp",
                    _ => "http",
                };
                let bytes = Some(sink.measures.meters.sent_bytes).filter(|bytes| *bytes > 0);
                page.of_sink(sink, &[("protocol", protocol)], bytes.and_then(count));
            });
        },
    ),
    row(
        "vector_component_discarded_events_total",
        Counter,
        Vector,
        component!("intentional", "reason"),
        "Events that went no further, on purpose or not, and why.",
        discarded,
    ),
    row(
        "vector_component_errors_total",
        Counter,
        Vector,
        component!("error_type", "stage", "error_code"),
        "What went wrong: payloads that could not be read, events that could not be processed, requests that delivered nothing or not all, tries included.",
        errors,
    ),
    row(
        "vector_utilization",
        Gauge,
        Vector,
        component!(),
        "The share of time, 0 to 1, for which the component is at work, or a sink does not wait for events; over at least 5 s.",
        |page| {
            page.each_transform(&[], |transform| {
                Some(transform.measures.utilization).filter(|_| transform.measures.is_there)
            });
            page.each_sink(&[], |sink| there(sink, sink.measures.meters.utilization as f64 / 1000.0));
        },
    ),
    // === buffers ===
    row("vector_buffer_events", Gauge, Vector, component!(), ON_THEIR_WAY, buffered),
    row("vector_buffer_size_events", Gauge, Vector, component!(), ON_THEIR_WAY, buffered),
    row("vector_buffer_byte_size", Gauge, Vector, component!(), BUFFER_BYTES, buffer_bytes),
    row("vector_buffer_size_bytes", Gauge, Vector, component!(), BUFFER_BYTES, buffer_bytes),
    row("vector_buffer_max_event_size", Gauge, Vector, component!(), MAX_EVENTS, max_events),
    row("vector_buffer_max_size_events", Gauge, Vector, component!(), MAX_EVENTS, max_events),
    row("vector_buffer_max_byte_size", Gauge, Vector, component!(), MAX_BYTES, max_bytes),
    row("vector_buffer_max_size_bytes", Gauge, Vector, component!(), MAX_BYTES, max_bytes),
    row(
        "vector_buffer_received_events_total",
        Counter,
        Vector,
        component!(),
        "Events that were handed to the sink's buffer.",
        |page| page.each_sink(&[], |sink| count(sink.books.received)),
    ),
    row(
        "vector_buffer_sent_events_total",
        Counter,
        Vector,
        component!(),
        "Events that the sink has taken from its buffer.",
        |page| page.each_sink(&[], |sink| count(sink.measures.meters.buffer_sent)),
    ),
    row(
        "vector_buffer_discarded_events_total",
        Counter,
        Vector,
        component!("intentional"),
        "Events dropped because the buffer was full.",
        |page| {
            page.each_sink(&[("intentional", "false")], |sink| {
                count(sink.books.dropped_for(DropReason::BufferFull))
            });
        },
    ),
    // === requests ===
    row(
        "vector_http_client_requests_sent_total",
        Counter,
        Vector,
        component!("method"),
        "Requests that were sent, those of healthchecks included.",
        |page| {
            page.sinks(|page, sink| {
                for (method, requests) in sink.measures.meters.http.requests() {
                    page.of_sink(sink, &[("method", method)], count(requests));
                }
            });
        },
    ),
    row(
        "vector_http_client_responses_total",
        Counter,
        Vector,
        component!("status"),
        "Answers, by their status.",
        |page| {
            page.sinks(|page, sink| {
                for (status, responses) in sink.measures.meters.http.responses() {
                    page.of_sink(sink, &[("status", &status.to_string())], count(responses));
                }
            });
        },
    ),
    row(
        "vector_http_client_errors_total",
        Counter,
        Vector,
        component!("error_kind"),
        "Requests that got no answer: connect, timeout, transport.",
        |page| {
            page.sinks(|page, sink| {
                for (kind, times) in sink.measures.meters.http.unanswered() {
                    page.of_sink(sink, &[("error_kind", kind.as_str())], count(times));
                }
            });
        },
    ),
    row(
        "vector_http_client_rtt_seconds",
        Histogram,
        Vector,
        component!(),
        "Seconds from a request to its answer, or to when there was none.",
        |page| {
            page.sinks(|page, sink| {
                if sink.measures.meters.http.is_used() {
                    page.histogram(sink, &[], &sink.measures.meters.http.round_trip);
                }
            });
        },
    ),
    row(
        "vector_http_client_response_rtt_seconds",
        Histogram,
        Vector,
        component!("status"),
        "Seconds from a request to its answer, by the class of its status: 2xx, 4xx. (Vector: by status.)",
        |page| {
            page.sinks(|page, sink| {
                for (class, round_trips) in sink.measures.meters.http.response_round_trips() {
                    page.histogram(sink, &[("status", class)], round_trips);
                }
            });
        },
    ),
    row(
        "vector_adaptive_concurrency_limit",
        Histogram,
        Vector,
        component!(),
        "How many requests at once the adaptive concurrency allowed, at each answer.",
        |page| adaptive(page, |sink| &sink.measures.meters.limit),
    ),
    row(
        "vector_adaptive_concurrency_in_flight",
        Histogram,
        Vector,
        component!(),
        "How many requests were under way, at each answer.",
        |page| adaptive(page, |sink| &sink.measures.meters.in_flight),
    ),
    row(
        "vector_adaptive_concurrency_observed_rtt",
        Histogram,
        Vector,
        component!(),
        "Seconds of the round trips by which the concurrency adapts.",
        |page| adaptive(page, |sink| &sink.measures.meters.observed_rtt),
    ),
    row(
        "vector_adaptive_concurrency_averaged_rtt",
        Histogram,
        Vector,
        component!(),
        "Seconds of the mean round trip of each window.",
        |page| adaptive(page, |sink| &sink.measures.meters.averaged_rtt),
    ),
    // === the process ===
    row("vector_uptime_seconds", Gauge, Vector, &[], "Seconds since the start.", |page| {
        page.sample(&[], Some(page.report.measures.uptime.as_secs_f64()));
    }),
    row(
        "vector_started_total",
        Counter,
        Vector,
        &[],
        "How often the process has been started: once.",
        |page| {
            page.sample(&[], Some(1.0));
        },
    ),
    row(
        "vector_build_info",
        Gauge,
        Vector,
        &["version", "arch", "debug"],
        "What runs: log-shipper's version, the kind of processor, whether it is a debug build.",
        |page| {
            let debug = if cfg!(debug_assertions) { "true" } else { "false" };
            page.sample(
                &[("version", VERSION), ("arch", std::env::consts::ARCH), ("debug", debug)],
                Some(1.0),
            );
        },
    ),
    // === ours, of sources ===
    row(
        "log_shipper_source_up",
        Gauge,
        LogShipper,
        component!(),
        "Whether the source can receive: 1, or 0.",
        |page| {
            page.each_source(&[], |source| {
                let is_up = source.measures.state == State::Working;
                Some(f64::from(u8::from(is_up))).filter(|_| source.measures.is_there)
            });
        },
    ),
    row(
        "log_shipper_seconds_since_last_event",
        Gauge,
        LogShipper,
        component!(),
        "Seconds since the source last received an event; not there before the first.",
        since_last_event,
    ),
    row(
        "log_shipper_undecodable_events_total",
        Counter,
        LogShipper,
        component!(),
        "Payloads that were no JSON object and became a message.",
        |page| page.each_source(&[], |source| count(source.books.undecodable)),
    ),
    row(
        "log_shipper_excluded_messages_total",
        Counter,
        LogShipper,
        component!(),
        "Messages left out because their subject or app is excluded.",
        |page| page.each_source(&[], |source| count(source.books.excluded)),
    ),
    row(
        "log_shipper_joined_messages_total",
        Counter,
        LogShipper,
        component!(),
        "Messages that became part of another event: lines of a stack trace.",
        |page| page.each_source(&[], |source| count(source.books.joined)),
    ),
    row(
        "log_shipper_disconnects_total",
        Counter,
        LogShipper,
        component!(),
        "How often the source's connection was lost, and what waited in the server with it: because the network failed, or because we read too slowly, which the server does not tell.",
        |page| page.each_source(&[], |source| count(source.books.disconnects)),
    ),
    row(
        "log_shipper_resubscribes_total",
        Counter,
        LogShipper,
        component!(),
        "How often a fresh connection took the place of a silent one.",
        |page| page.each_source(&[], |source| count(source.books.resubscribes)),
    ),
    row(
        "log_shipper_pending_messages",
        Gauge,
        LogShipper,
        component!(),
        "Messages of a JetStream stream that its consumer had not delivered when the last one came.",
        |page| {
            page.each_source(&[], |source| count(source.books.pending).filter(|_| source.measures.is_there));
        },
    ),
    // === ours, of sinks ===
    row(
        "log_shipper_sink_up",
        Gauge,
        LogShipper,
        component!(),
        "Whether the destination took what was last sent: 1, or 0; not there before something was sent.",
        |page| {
            page.each_sink(&[], |sink| {
                let is_up = match sink.measures.state {
                    State::Starting | State::Ended => return None,
                    State::Working => 1.0,
                    State::Failing => 0.0,
                };
                there(sink, is_up)
            });
        },
    ),
    row(
        "log_shipper_lag_seconds",
        Histogram,
        LogShipper,
        component!(),
        "Seconds from an event's own time to its delivery: one value for each batch, of its first event; more than 30 days count as 30 days.",
        |page| page.sinks(|page, sink| page.histogram(sink, &[], &sink.measures.meters.lag)),
    ),
    row(
        "log_shipper_last_delivery_seconds",
        Gauge,
        LogShipper,
        component!(),
        "When the sink last delivered something, in seconds since the epoch; not there before the first.",
        |page| {
            page.each_sink(&[], |sink| there(sink, sink.measures.last_delivery?.nanos() as f64 / 1e9));
        },
    ),
    row(
        "log_shipper_retries_total",
        Counter,
        LogShipper,
        component!(),
        "How often something was sent again.",
        |page| {
            page.each_sink(&[], |sink| {
                let http = &sink.measures.meters.http;
                count(if http.is_used() { http.retries() } else { sink.measures.failures })
            });
        },
    ),
    row(
        "log_shipper_held_batches",
        Gauge,
        LogShipper,
        component!(),
        "Batches that wait until the destination accepts us; not the one that asks.",
        |page| page.each_sink(&[], |sink| there(sink, sink.measures.held.0 as f64)),
    ),
    row("log_shipper_held_events", Gauge, LogShipper, component!(), "The events of those batches.", |page| {
        page.each_sink(&[], |sink| there(sink, sink.measures.held.1 as f64))
    }),
    row(
        "log_shipper_truncated_events_total",
        Counter,
        LogShipper,
        component!(),
        "Events whose message was cut, because the destination takes no more.",
        |page| page.each_sink(&[], |sink| count(sink.books.truncated)),
    ),
    row(
        "log_shipper_recovered_events_total",
        Counter,
        LogShipper,
        component!(),
        "Of the received: events that an earlier run had left in the buffer on disk.",
        |page| page.each_sink(&[], |sink| count(sink.books.recovered)),
    ),
    row(
        "log_shipper_lost_events_total",
        Counter,
        LogShipper,
        component!(),
        "Events given up by a shutdown or a faulty sink, and dead letters that were not written.",
        |page| page.each_sink(&[], |sink| count(sink.books.given_up())),
    ),
    // === ours, of everything ===
    row(
        "log_shipper_dead_letters_total",
        Counter,
        LogShipper,
        &[],
        "Refused events that were written as dead letters.",
        |page| page.sample(&[], count(page.report.totals().dead_letters)),
    ),
    row(
        "log_shipper_events_total",
        Counter,
        LogShipper,
        &["outcome", "reason"],
        "The books of all sinks together: received = delivered + rejected + dropped + log_shipper_buffered_events.",
        outcomes,
    ),
    row(
        "log_shipper_buffered_events",
        Gauge,
        LogShipper,
        &[],
        "Events on their way through all sinks.",
        |page| page.sample(&[], count(page.report.totals().events.buffered)),
    ),
    row(
        "log_shipper_memory_bytes",
        Gauge,
        LogShipper,
        &[],
        "Bytes of memory that the process takes; not there where the system does not tell.",
        |page| page.sample(&[], resident(Path::new("/")).map(|bytes| bytes as f64)),
    ),
    row(
        "log_shipper_memory_limit_bytes",
        Gauge,
        LogShipper,
        &[],
        "Bytes of memory by which the sinks' shares are measured; not there without a limit.",
        |page| page.sample(&[], page.report.measures.memory_limit.and_then(count)),
    ),
    row("log_shipper_build_info", Gauge, LogShipper, &["version"], "The version that runs.", |page| {
        page.sample(&[("version", VERSION)], Some(1.0));
    }),
];

const VERSION: &str = env!("CARGO_PKG_VERSION");

const ON_THEIR_WAY: &str = "Events on their way through the sink: in its buffer, a batch or a request.";
const BUFFER_BYTES: &str = "Bytes in the sink's buffer: in memory about, on disk those of its files.";
const MAX_EVENTS: &str = "How many events the buffer may hold, if it counts events.";
const MAX_BYTES: &str = "How many bytes the buffer may hold, if it counts bytes.";

/// A number of a source, or of a transform.
type OfSource = fn(&Source<'_>) -> Option<f64>;
type OfTransform = fn(&Transform<'_>) -> Option<f64>;

/// A number of now, which a sink that a reload has removed does not have.
fn there(sink: &Sink<'_>, number: f64) -> Option<f64> {
    sink.measures.is_there.then_some(number)
}

fn buffered(page: &mut Page<'_>) {
    page.each_sink(&[], |sink| count(sink.books.buffered));
}

fn buffer_bytes(page: &mut Page<'_>) {
    page.each_sink(&[], |sink| count(sink.measures.buffer?.bytes));
}

fn max_events(page: &mut Page<'_>) {
    page.each_sink(&[], |sink| count(sink.measures.buffer?.max_events?));
}

fn max_bytes(page: &mut Page<'_>) {
    page.each_sink(&[], |sink| count(sink.measures.buffer?.max_bytes?));
}

/// A histogram of the adaptive concurrency, of sinks that have one.
fn adaptive(page: &mut Page<'_>, get: for<'b> fn(&'b Sink<'_>) -> &'b super::histogram::HistogramSnapshot) {
    page.sinks(|page, sink| {
        if get(sink).count() > 0 {
            page.histogram(sink, &[], get(sink));
        }
    });
}

fn since_last_event(page: &mut Page<'_>) {
    let Some(now) = page.report.measures.now else { return };
    let report = page.report;
    for ((id, _), measures) in report.sources.iter().zip(&report.measures.sources) {
        let Some(last) = measures.last_event.filter(|_| measures.is_there) else { continue };
        let seconds = now.nanos().saturating_sub(last.nanos()).max(0) as f64 / 1e9;
        page.of_source(id, Some(seconds));
    }
}

fn discarded(page: &mut Page<'_>) {
    let label = |is_intentional: bool| ("intentional", if is_intentional { "true" } else { "false" });
    page.each_source(&[label(true), ("reason", "excluded")], |source| count(source.books.excluded));
    let of_transforms: [(bool, &str, OfTransform); 4] = [
        (true, "discarded", |transform| count(transform.books.discarded)),
        (false, "failed", |transform| count(transform.books.failed)),
        (false, "shutdown", |transform| count(transform.books.lost)),
        (false, "returned", |transform| count(transform.books.returned)),
    ];
    for (is_intentional, reason, get) in of_transforms {
        page.each_transform(&[label(is_intentional), ("reason", reason)], get);
    }
    page.each_sink(&[label(false), ("reason", "rejected")], |sink| count(sink.books.rejected));
    for &reason in DropReason::ALL {
        let labels = [label(reason == DropReason::Filtered), ("reason", reason.as_str())];
        page.each_sink(&labels, |sink| count(sink.books.dropped_for(reason)));
    }
}

fn errors(page: &mut Page<'_>) {
    let labels = |kind, stage| [("error_type", kind), ("stage", stage)];
    let of_sources: [(&str, OfSource); 2] = [
        ("parser_failed", |source| count(source.books.undecodable)),
        ("connection_failed", |source| count(source.measures.failures)),
    ];
    for (kind, get) in of_sources {
        page.each_source(&labels(kind, "receiving"), get);
    }
    page.each_transform(&labels("processing_failed", "processing"), |transform| {
        count(transform.books.errors)
    });
    page.each_sink(&labels("encoder_failed", "processing"), |sink| {
        count(sink.measures.meters.unsent).filter(|_| sink.measures.meters.http.is_used())
    });
    page.sinks(|page, sink| {
        let http = &sink.measures.meters.http;
        let labels = labels("request_failed", "sending");
        if !http.is_used() {
            page.of_sink(sink, &labels, count(sink.measures.failures + sink.books.rejected));
        }
        for (failure, times) in http.failures() {
            let code = failure.code();
            page.of_sink(sink, &[labels.as_slice(), &[("error_code", &code)]].concat(), count(times));
        }
    });
}

fn outcomes(page: &mut Page<'_>) {
    let outcome = |outcome| ("outcome", outcome);
    let all = page.report.totals().events;
    page.sample(&[outcome("received")], count(all.received));
    page.sample(&[outcome("delivered")], count(all.delivered));
    page.sample(&[outcome("rejected")], count(all.rejected));
    for &reason in DropReason::ALL {
        let labels = [outcome("dropped"), ("reason", reason.as_str())];
        page.sample(&labels, count(all.dropped_for(reason)));
    }
}
