//! The page of metrics after known traffic.

use crate::support::http_server::{HttpServer, Reply};
use crate::support::ports::free_port;
use crate::{check_books, in_time, until};
use async_trait::async_trait;
use log_shipper::config::{Config, Registry, Result, Source, SourceConfig, SourceContext};
use log_shipper::env::Env;
use log_shipper::event::{LogEvent, Timestamp};
use log_shipper::topology::{RunningTopology, Topology, TopologyOptions, metric_families};
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;
use tokio::sync::mpsc;

/// A source of what the test sends.
struct Fed(Mutex<Option<mpsc::UnboundedReceiver<Vec<String>>>>);

impl std::fmt::Debug for Fed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Fed")
    }
}

#[async_trait]
impl SourceConfig for Fed {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let mut chunks = self.0.lock().unwrap().take().ok_or("it is built once")?;
        Ok(Box::pin(async move {
            cx.ready.set();
            while let Some(chunk) = chunks.recv().await {
                let event = |text: String| LogEvent::from_json(text.into()).unwrap();
                cx.output.send(chunk.into_iter().map(event).collect()).await;
            }
            Ok(())
        }))
    }
}

struct Shipper {
    running: RunningTopology,
    input: mpsc::UnboundedSender<Vec<String>>,
}

impl Shipper {
    async fn start(rest: &str) -> Shipper {
        let text = format!("[sources.in]\ntype = 'stdin'\n{rest}");
        let mut config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default())
            .unwrap_or_else(|problems| panic!("{problems}"));
        config.sources.clear();
        let (input, chunks) = mpsc::unbounded_channel();
        let config = config.source("in", Fed(Mutex::new(Some(chunks))));
        let running =
            Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
        Shipper { running, input }
    }

    fn send(&self, events: &[String]) {
        self.input.send(events.to_vec()).unwrap();
    }

    fn page(&self) -> Page {
        Page::of(&self.running.counts().to_prometheus())
    }

    /// Waits until a value is what is expected.
    async fn wait(&self, name: &str, labels: &[&str], expected: f64) {
        while self.page().get(name, labels) != Some(expected) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// The series of a page, each with its value.
struct Page(BTreeMap<String, f64>);

impl Page {
    fn of(text: &str) -> Page {
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        Page(
            samples
                .map(|line| {
                    let (series, value) = line.rsplit_once(' ').unwrap();
                    (series.to_owned(), value.parse().unwrap())
                })
                .collect(),
        )
    }

    /// The one series of this name that has all these labels.
    fn get(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let is_one = |series: &str| {
            let of_name = series == name || series.starts_with(&format!("{name}{{"));
            of_name && labels.iter().all(|label| series.contains(label))
        };
        let mut found = self.0.iter().filter(|(series, _)| is_one(series));
        let (_, value) = found.next()?;
        assert!(found.next().is_none(), "{name} {labels:?} are several");
        Some(*value)
    }
}

/// An event of so many seconds ago.
fn event(n: usize, age: u64) -> String {
    let nanos = Timestamp::now().nanos() - i64::try_from(age).unwrap() * 1_000_000_000;
    format!("{{\"timestamp\":{nanos},\"n\":{n}}}")
}

const OUT: &str = "component_id=\"out\"";

fn sink(id: &str, uri: &str, options: &str) -> String {
    format!(
        "[sinks.{id}]\ntype = 'http'\ninputs = ['in']\nuri = '{uri}'\nencoding.codec = 'json'\n\
         batch.timeout_secs = 0.02\nrequest.retry_initial_backoff_secs = 0.02\n\
         request.retry_max_duration_secs = 0.02\nrequest.retry_jitter_mode = 'None'\n{options}\n"
    )
}

#[tokio::test]
async fn each_answer_is_found_on_the_page() {
    in_time(async {
        let server = HttpServer::start().await;
        // A batch of one event each: 503 and then taken; taken; refused; too large; no answer, and then taken.
        for reply in [
            Reply::status(503),
            Reply::status(200),
            Reply::status(400),
            Reply::status(413),
            Reply::Never,
            Reply::status(201),
        ] {
            server.push(reply);
        }
        let options = "request.timeout_secs = 0.5\nbuffer = {max_events = 500, when_full = 'drop_newest'}";
        let shipper = Shipper::start(&sink("out", &server.url("/"), options)).await;
        let mut bytes = 0;
        for (n, (settled, age)) in
            [("sent", 100), ("rejected", 0), ("rejected", 0), ("sent", 7)].into_iter().enumerate()
        {
            let text = event(n, age);
            bytes += text.len();
            shipper.send(&[text]);
            until(&shipper.running, |report| {
                let sink = &report.sinks[0].1;
                sink.received == n as u64 + 1 && sink.buffered == 0
            })
            .await;
            let before = shipper.running.counts();
            assert_eq!(before.sinks[0].1.delivered + before.sinks[0].1.rejected, n as u64 + 1, "{settled}");
        }
        let page = shipper.page();
        let check = |name: &str, labels: &[&str], expected: f64| {
            let labels = [&[OUT], labels].concat();
            assert_eq!(page.get(name, &labels), Some(expected), "{name} {labels:?} in {:#?}", page.0);
        };
        check("vector_component_received_events_total", &[], 4.0);
        check("vector_component_received_event_bytes_total", &[], bytes as f64);
        check("vector_component_sent_events_total", &[], 2.0);
        check("vector_component_sent_event_bytes_total", &[], (event(0, 0).len() * 2) as f64);
        check("vector_component_discarded_events_total", &["reason=\"rejected\""], 2.0);
        let sent: usize = server
            .requests()
            .iter()
            .enumerate()
            .filter(|(n, _)| [1, 5].contains(n))
            .map(|(_, request)| request.body().len())
            .sum();
        check("vector_component_sent_bytes_total", &["protocol=\"http\""], sent as f64);
        for (status, class) in [(503, "5xx"), (200, "2xx"), (400, "4xx"), (413, "4xx"), (201, "2xx")] {
            let label = format!("status=\"{status}\"");
            check("vector_http_client_responses_total", &[&label], 1.0);
            let expected = if class == "5xx" { 1.0 } else { 2.0 };
            check(
                "vector_http_client_response_rtt_seconds_count",
                &[&format!("status=\"{class}\"")],
                expected,
            );
            if class != "2xx" {
                let code = format!("error_code=\"http_response_{status}\"");
                check("vector_component_errors_total", &[&code, "error_type=\"request_failed\""], 1.0);
            }
        }
        check("vector_component_errors_total", &["error_code=\"timeout\""], 1.0);
        check("vector_component_errors_total", &["error_type=\"encoder_failed\""], 0.0);
        check("vector_http_client_requests_sent_total", &["method=\"POST\""], 6.0);
        check("vector_http_client_errors_total", &["error_kind=\"timeout\""], 1.0);
        check("vector_http_client_rtt_seconds_count", &[], 6.0);
        check("vector_http_client_rtt_seconds_bucket", &["le=\"0.25\""], 5.0);
        check("vector_adaptive_concurrency_observed_rtt_count", &[], 6.0);
        check("vector_buffer_max_event_size", &[], 500.0);
        check("vector_buffer_sent_events_total", &[], 4.0);
        check("vector_buffer_byte_size", &[], 0.0);
        check("log_shipper_retries_total", &[], 2.0);
        check("log_shipper_sink_up", &[], 1.0);
        check("log_shipper_held_batches", &[], 0.0);
        // The lag of those that were delivered: some time more than 100 s, and than 7 s.
        check("log_shipper_lag_seconds_count", &[], 2.0);
        check("log_shipper_lag_seconds_bucket", &["le=\"5\""], 0.0);
        check("log_shipper_lag_seconds_bucket", &["le=\"60\""], 1.0);
        check("log_shipper_lag_seconds_bucket", &["le=\"300\""], 2.0);
        let lag = page.get("log_shipper_lag_seconds_sum", &[OUT]).unwrap();
        assert!((107.0..150.0).contains(&lag), "{lag}");
        let component =
            shipper.running.books().components().into_iter().find(|one| one.description.id == "out").unwrap();
        assert!((7.0..40.0).contains(&component.last_lag.unwrap().as_secs_f64()), "{component:?}");
        assert_eq!(component.buffer.unwrap().max_events, Some(500));
        let now = Timestamp::now().nanos() as f64 / 1e9;
        let last = page.get("log_shipper_last_delivery_seconds", &[OUT]).unwrap();
        assert!((now - 60.0..=now).contains(&last), "{last} {now}");
        assert_eq!(page.get("log_shipper_source_up", &["component_id=\"in\""]), Some(1.0));
        let since = page.get("log_shipper_seconds_since_last_event", &["component_id=\"in\""]).unwrap();
        assert!((0.0..60.0).contains(&since), "{since}");
        let Shipper { mut running, input } = shipper;
        drop(input);
        check_books(&running.stop(Duration::from_secs(10)).await);
    })
    .await;
}

#[tokio::test]
async fn what_is_held_is_told_and_that_nobody_is_there() {
    in_time(async {
        let server = HttpServer::start().await;
        let refuse = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(true));
        let refuses = std::sync::Arc::clone(&refuse);
        server.respond_with(move |_| {
            Reply::status(if refuses.load(std::sync::atomic::Ordering::SeqCst) { 401 } else { 200 })
        });
        let nowhere = format!("http://127.0.0.1:{}/", free_port());
        let sinks =
            [sink("out", &server.url("/"), "batch.max_events = 5"), sink("gone", &nowhere, "")].concat();
        let shipper = Shipper::start(&sinks).await;
        shipper.send(&(0..5).map(|n| event(n, 0)).collect::<Vec<_>>());
        shipper.wait("log_shipper_held_batches", &[OUT], 1.0).await;
        shipper.wait("log_shipper_held_events", &[OUT], 5.0).await;
        shipper.wait("log_shipper_sink_up", &[OUT], 0.0).await;
        shipper.wait("log_shipper_sink_up", &["component_id=\"gone\""], 0.0).await;
        let page = shipper.page();
        assert!(
            page.get("vector_http_client_errors_total", &["component_id=\"gone\"", "error_kind=\"connect\""])
                >= Some(1.0)
        );
        assert_eq!(page.get("vector_buffer_events", &[OUT]), Some(5.0));
        assert_eq!(page.get("log_shipper_last_delivery_seconds", &[OUT]), None);
        refuse.store(false, std::sync::atomic::Ordering::SeqCst);
        shipper.wait("vector_component_sent_events_total", &[OUT], 5.0).await;
        shipper.wait("log_shipper_held_batches", &[OUT], 0.0).await;
        shipper.wait("log_shipper_held_events", &[OUT], 0.0).await;
        shipper.wait("log_shipper_sink_up", &[OUT], 1.0).await;
        let Shipper { mut running, .. } = shipper;
        check_books(&running.abort().await);
    })
    .await;
}

/// Lag and bytes are measured of sinks that are not HTTP, too, and the work of a transform.
#[tokio::test]
async fn files_and_transforms_are_measured() {
    in_time(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        let shipper = Shipper::start(&format!(
            "[transforms.some]\ntype = 'filter'\ninputs = ['in']\ncondition = '.n != 7'\n\
             [sinks.out]\ntype = 'file'\ninputs = ['some']\npath = '{}'\nencoding.codec = 'json'\n\
             [sinks.none]\ntype = 'blackhole'\ninputs = ['in']\n",
            path.display()
        ))
        .await;
        let events: Vec<_> = (0..10).map(|n| event(n, 20)).collect();
        shipper.send(&events);
        shipper.wait("vector_component_sent_events_total", &[OUT], 9.0).await;
        shipper.wait("vector_component_sent_events_total", &["component_id=\"none\""], 10.0).await;
        let page = shipper.page();
        let some = "component_id=\"some\"";
        let all: usize = events.iter().map(String::len).sum();
        for (name, label, expected) in [
            ("vector_component_received_event_bytes_total", some, all),
            ("vector_component_sent_event_bytes_total", some, all - events[7].len()),
            ("vector_component_sent_event_bytes_total", OUT, all - events[7].len()),
            ("vector_component_sent_bytes_total", OUT, std::fs::metadata(&path).unwrap().len() as usize),
            ("log_shipper_lag_seconds_count", OUT, 1),
            ("log_shipper_lag_seconds_count", "component_id=\"none\"", 1),
        ] {
            assert_eq!(page.get(name, &[label]), Some(expected as f64), "{name} {label}");
        }
        for id in [some, OUT] {
            let share = page.get("vector_utilization", &[id]).unwrap();
            assert!((0.0..=1.0).contains(&share), "{id} {share}");
        }
        let Shipper { mut running, .. } = shipper;
        check_books(&running.abort().await);
    })
    .await;
}

/// Many instances and names, and ten thousand errors: as many lines as before.
#[tokio::test]
async fn the_page_does_not_grow_with_what_comes() {
    in_time(async {
        let server = HttpServer::start().await;
        server.respond_with(|request| Reply::status(if request.text().contains("\"bad\"") { 400 } else { 200 }));
        let options = "batch.max_events = 1\nrequest.concurrency = 20";
        let shipper = Shipper::start(&sink("out", &server.url("/"), options)).await;
        let event = |n: usize, kind: &str| {
            let (app, instance) = (n % 50, n % 200);
            format!("{{\"fly\":{{\"app\":{{\"name\":\"app{app}\",\"instance\":\"i{instance}\"}}}},\"{kind}\":{n}}}")
        };
        let mut total = 0;
        let mut lines = Vec::new();
        for round in [20, 2_000] {
            let events: Vec<_> = (0..round).map(|n| event(n, if n % 2 == 0 { "bad" } else { "good" })).collect();
            shipper.send(&events);
            total += round as u64;
            until(&shipper.running, |report| {
                let sink = &report.sinks[0].1;
                sink.received == total && sink.buffered == 0
            })
            .await;
            lines.push(shipper.running.counts().to_prometheus().lines().count());
        }
        assert_eq!(lines[0], lines[1]);
        let page = shipper.page();
        assert_eq!(page.get("vector_component_errors_total", &[OUT, "error_code"]), Some(1_010.0));
        let Shipper { mut running, .. } = shipper;
        check_books(&running.abort().await);
    })
    .await;
}

/// The names that dashboards and the book are made of.
#[test]
fn the_table_can_be_printed() {
    assert!(metric_families().len() > 50);
    assert!(
        metric_families()
            .iter()
            .any(|row| row.name == "vector_component_errors_total" && row.labels.contains(&"stage"))
    );
}
