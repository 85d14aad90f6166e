//! The dashboard and the alerts ask for what the program shows.

use super::{read, yaml};
use crate::support::http_server::HttpServer;
use crate::support::nats_server::NatsServer;
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::publisher::Publisher;
use log_shipper::topology::{MetricKind, metric_families};
use regex::Regex;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// How long it may take until everything has happened once.
const LIMIT: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(50);

/// Labels that Prometheus puts there by itself.
const OF_PROMETHEUS: [&str; 3] = ["job", "instance", "le"];

/// The expressions of the dashboard, with the titles of their panels.
fn dashboard() -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&read("deploy/grafana/log-shipper.json")).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64().unwrap()).collect();
    assert_eq!(ids.len(), panels.len(), "panels share an id");
    let mut expressions = Vec::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{title}");
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{title}");
        for target in panel["targets"].as_array().unwrap() {
            expressions.push((title.to_owned(), target["expr"].as_str().unwrap().to_owned()));
        }
    }
    for variable in dashboard["templating"]["list"].as_array().unwrap() {
        if let Some(query) = variable["query"]["query"].as_str() {
            expressions.push((variable["name"].as_str().unwrap().to_owned(), query.to_owned()));
        }
    }
    expressions
}

/// The expressions of the alerts, with their names.
fn alerts() -> Vec<(String, String)> {
    let mut expressions = Vec::new();
    for group in yaml("deploy/prometheus/alerts.yaml")[0]["groups"].as_array().unwrap() {
        for rule in group["rules"].as_array().unwrap() {
            let name = rule["alert"].as_str().unwrap();
            for text in [
                &rule["annotations"]["summary"],
                &rule["annotations"]["description"],
                &rule["labels"]["severity"],
            ] {
                assert!(!text.as_str().unwrap().is_empty(), "{name}");
            }
            expressions.push((name.to_owned(), rule["expr"].as_str().unwrap().to_owned()));
        }
    }
    expressions
}

/// The page of a pipeline that has shipped an event to one destination, and not to another that is down, once it has
/// all of these metrics.
async fn page(asked: &BTreeSet<&str>) -> String {
    let (nats, loki) = (NatsServer::start().await, HttpServer::start().await);
    let (port, nobody) = (free_port(), free_port());
    let directory = tempfile::tempdir().unwrap();
    let config = format!(
        "data_dir = '{}'\n\
         [sources.nats]\ntype = 'nats'\nurl = '{}'\nsubject = 'logs.>'\nconnection_name = 'test'\n\
         decoding.codec = 'json'\n\
         [transforms.level]\ntype = 'remap'\ninputs = ['nats']\nsource = '.level = \"info\"'\n\
         [sinks.loki]\ntype = 'loki'\ninputs = ['level']\nendpoint = '{}'\nencoding.codec = 'json'\nlabels.a = 'b'\n\
         batch.timeout_secs = 0.05\nrequest.concurrency = 'adaptive'\nbuffer = {{ type = 'memory', max_events = 500 }}\n\
         [sinks.down]\ntype = 'http'\ninputs = ['level']\nuri = 'http://127.0.0.1:{nobody}'\n\
         encoding.codec = 'json'\nbatch.timeout_secs = 0.05\nbuffer = {{ type = 'disk', max_size = 268435488 }}\n\
         [sinks.metrics]\ntype = 'prometheus_exporter'\ninputs = ['nats']\naddress = '127.0.0.1:{port}'\n",
        directory.path().display(),
        nats.url(),
        loki.url("")
    );
    let program = Program::run(&config, &[]);
    nats.wait_for_subscription("logs.>").await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    publisher.publish_events(0..1).await;
    publisher.flush().await;
    let start = Instant::now();
    let text = loop {
        let text = scrape(port).await;
        let missing: Vec<_> = asked.difference(&families(&text)).copied().collect();
        if missing.is_empty() {
            break text;
        }
        assert!(start.elapsed() < LIMIT, "the program does not show {missing:?}; it shows\n{text}");
        tokio::time::sleep(POLL_EVERY).await;
    };
    program.stop().await;
    text
}

async fn scrape(port: u16) -> String {
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).await.unwrap();
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text
}

/// The names of the metrics on a page.
fn families(page: &str) -> BTreeSet<&str> {
    page.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

/// The metrics that an expression asks for, each with the labels of its selector.
fn selectors(expression: &str) -> Vec<(&str, Vec<&str>)> {
    let metric = Regex::new(r"\b((?:vector|log_shipper)_[a-z0-9_]+)(?:\{([^}]*)\})?").unwrap();
    let label = Regex::new(r"([a-z_]+)\s*(?:=~|!~|!=|=)").unwrap();
    metric
        .captures_iter(expression)
        .map(|found| {
            let matchers = found.get(2).map_or("", |found| found.as_str());
            let labels = label.captures_iter(matchers).map(|found| found.get(1).unwrap().as_str());
            (found.get(1).unwrap().as_str(), labels.collect())
        })
        .collect()
}

#[tokio::test]
async fn every_name_and_label_is_on_the_page_of_the_program() {
    // A histogram is asked for by its series.
    let mut series = BTreeMap::new();
    for family in metric_families() {
        let suffixes: &[&str] = match family.kind {
            MetricKind::Histogram => &["_bucket", "_sum", "_count"],
            MetricKind::Counter | MetricKind::Gauge => &[""],
            other => panic!("{other:?}"),
        };
        series.extend(suffixes.iter().map(|suffix| (format!("{}{suffix}", family.name), family)));
    }
    let by = Regex::new(r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)").unwrap();
    let mut asked = BTreeSet::new();
    for (title, expression) in dashboard().into_iter().chain(alerts()) {
        let selectors = selectors(&expression);
        assert!(!selectors.is_empty(), "{title}: {expression}");
        let mut known: BTreeSet<&str> = OF_PROMETHEUS.into();
        for (name, matched) in selectors {
            let family = series.get(name).unwrap_or_else(|| panic!("{title}: the program has no {name}"));
            for label in matched {
                let is_known = family.labels.contains(&label) || OF_PROMETHEUS.contains(&label);
                assert!(is_known, "{title}: {name} has no label {label}");
            }
            known.extend(family.labels);
            asked.insert(family.name);
        }
        let grouped =
            by.captures_iter(&expression).flat_map(|found| found.get(1).unwrap().as_str().split(','));
        for label in grouped.map(str::trim) {
            assert!(known.contains(label), "{title}: no label {label} in {expression}");
        }
    }
    let page = page(&asked).await;
    for family in metric_families().iter().filter(|family| asked.contains(family.name)) {
        let line = format!("# TYPE {} {}", family.name, family.kind.as_str());
        assert!(page.lines().any(|found| found == line), "{line}");
    }
}
