//! The dashboard and the alerts ask for what the program shows.

use super::{read, yaml};
use crate::support::http_server::HttpServer;
use crate::support::nats_server::NatsServer;
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::publisher::Publisher;
use regex::Regex;
use serde_json::Value;
use std::collections::BTreeSet;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

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

/// The page of a pipeline that has shipped an event.
async fn page() -> String {
    let (nats, loki) = (NatsServer::start().await, HttpServer::start().await);
    let port = free_port();
    let config = format!(
        "[sources.nats]\ntype = 'nats'\nurl = '{}'\nsubject = 'logs.>'\nconnection_name = 'test'\n\
         decoding.codec = 'json'\n\
         [transforms.level]\ntype = 'remap'\ninputs = ['nats']\nsource = '.level = \"info\"'\n\
         [sinks.loki]\ntype = 'loki'\ninputs = ['level']\nendpoint = '{}'\nencoding.codec = 'json'\nlabels.a = 'b'\n\
         batch.timeout_secs = 0.05\n\
         [sinks.metrics]\ntype = 'prometheus_exporter'\ninputs = ['nats']\naddress = '127.0.0.1:{port}'\n",
        nats.url(),
        loki.url("")
    );
    let program = Program::run(&config, &[]);
    nats.wait_for_subscription("logs.>").await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    publisher.publish_events(0..1).await;
    publisher.flush().await;
    loki.wait_until(|requests| requests.iter().any(|request| request.path_and_query.contains("push"))).await;
    let mut connection = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    connection.write_all(b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n").await.unwrap();
    let mut text = String::new();
    connection.read_to_string(&mut text).await.unwrap();
    program.stop().await;
    assert!(text.starts_with("HTTP/1.1 200"), "{text}");
    text
}

#[tokio::test]
async fn every_name_and_label_is_on_the_page_of_the_program() {
    let page = page().await;
    let mut names: BTreeSet<String> = BTreeSet::new();
    for family in page.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let (name, kind) = family.split_once(' ').unwrap();
        match kind {
            "histogram" => {
                names.extend(["_bucket", "_sum", "_count"].map(|suffix| format!("{name}{suffix}")))
            }
            _ => drop(names.insert(name.to_owned())),
        }
    }
    let label = Regex::new(r#"[{,]\s*([a-z_]+)="#).unwrap();
    let mut labels: BTreeSet<&str> = page
        .lines()
        .flat_map(|line| label.captures_iter(line))
        .map(|found| found.get(1).unwrap().as_str())
        .collect();
    labels.extend(OF_PROMETHEUS);

    let metric = Regex::new(r"\b(?:vector|log_shipper)_[a-z0-9_]+").unwrap();
    let selector = Regex::new(r#"[{,]\s*([a-z_]+)\s*(?:=~|!~|!=|=)"#).unwrap();
    let by = Regex::new(r"\b(?:by|without)\s*\(([^)]*)\)").unwrap();
    let all: Vec<_> = dashboard().into_iter().chain(alerts()).collect();
    for (title, expression) in &all {
        let found: Vec<_> = metric.find_iter(expression).map(|found| found.as_str()).collect();
        assert!(!found.is_empty(), "{title}: {expression}");
        for name in &found {
            assert!(names.contains(*name), "{title}: the program has no {name}; it has {names:?}");
        }
        let of_selectors = selector.captures_iter(expression).map(|found| found.get(1).unwrap().as_str());
        let grouped =
            by.captures_iter(expression).flat_map(|found| found.get(1).unwrap().as_str().split(','));
        for name in of_selectors.chain(grouped.map(str::trim)) {
            assert!(labels.contains(name), "{title}: the program has no label {name}; it has {labels:?}");
        }
        for (open, close) in [('(', ')'), ('{', '}'), ('[', ']')] {
            assert_eq!(
                expression.matches(open).count(),
                expression.matches(close).count(),
                "{title}: {expression}"
            );
        }
    }
}
