//! The books as others see them: the page of metrics, the last lines of the log, the exit code.

use crate::support::http_server::{HttpServer, Reply};
use crate::support::nats_server::NatsServer;
use crate::support::ports::free_port;
use crate::support::program::Program;
use crate::support::publisher::Publisher;
use crate::{check_books, in_time, start, until};
use log_shipper::config::{Config, Registry};
use log_shipper::env::Env;
use log_shipper::topology::{DropReason, Report, RunningTopology};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// What a page says: the value of each sample, by its name and labels.
type Samples = BTreeMap<String, u64>;

/// Sends this request, and returns the status and the body of the answer; `None` if there was no whole one.
async fn ask(port: u16, request: &str) -> Option<(u16, String)> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await.ok()?;
    stream.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some((head.split(' ').nth(1)?.parse().ok()?, body.to_owned()))
}

const GET: &str = "GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n";

/// Asks until the page is there.
async fn scrape(port: u16) -> Samples {
    loop {
        if let Some((200, body)) = ask(port, GET).await {
            return parse(&body);
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Reads the text format, as strictly as it is written.
fn parse(text: &str) -> Samples {
    let mut samples = Samples::new();
    assert!(text.ends_with('\n'));
    for line in text.lines().filter(|line| !line.starts_with("# HELP ") && !line.starts_with("# TYPE ")) {
        let (series, value) = line.rsplit_once(' ').unwrap_or_else(|| panic!("no sample: {line}"));
        let value: f64 = value.parse().unwrap_or_else(|error| panic!("{line}: {error}"));
        // What is no whole number are measures, which are not of the books.
        let value = value as u64;
        assert_eq!(samples.insert(series.to_owned(), value), None, "twice: {line}");
    }
    samples
}

fn series(name: &str, id: &str, kind: &str, r#type: &str, more: &str) -> String {
    format!("{name}{{component_id=\"{id}\",component_kind=\"{kind}\",component_type=\"{type}\"{more}}}")
}

/// The sum of the samples of this name that have this label.
fn sum(samples: &Samples, name: &str, label: &str) -> u64 {
    let start = format!("{name}{{");
    let is_one = |series: &&String| series.starts_with(&start) && series.contains(label);
    samples.iter().filter(|(series, _)| is_one(series)).map(|(_, value)| value).sum()
}

/// Every sink, and all together: received = delivered + rejected + dropped + buffered.
#[track_caller]
fn check_balance(samples: &Samples, sinks: &[&str]) {
    for id in sinks {
        let id = format!("component_id=\"{id}\",component_kind=\"sink\"");
        let of = |name: &str| sum(samples, &format!("vector_{name}"), &id);
        // Those that are rejected are among the discarded.
        let found =
            of("component_sent_events_total") + of("component_discarded_events_total") + of("buffer_events");
        assert_eq!(of("component_received_events_total"), found, "{id}: {samples:#?}");
    }
    let outcome = |outcome: &str| sum(samples, "log_shipper_events_total", &format!("outcome=\"{outcome}\""));
    let settled = outcome("delivered") + outcome("rejected") + outcome("dropped");
    assert_eq!(outcome("received"), settled + samples["log_shipper_buffered_events"], "{samples:#?}");
}

/// The page says what the report says.
#[track_caller]
fn check_same(samples: &Samples, report: &Report, types: &[(&str, &str)]) {
    for (id, r#type) in types {
        let sink = &report.sinks.iter().find(|(other, _)| other == id).unwrap().1;
        let get = |name: &str, more: &str| samples[&series(name, id, "sink", r#type, more)];
        assert_eq!(get("vector_component_received_events_total", ""), sink.received);
        assert_eq!(get("vector_component_sent_events_total", ""), sink.delivered);
        assert_eq!(get("vector_buffer_events", ""), sink.buffered);
        assert_eq!(get("log_shipper_truncated_events_total", ""), sink.truncated);
        let rejected = ",intentional=\"false\",reason=\"rejected\"";
        assert_eq!(get("vector_component_discarded_events_total", rejected), sink.rejected);
        for &reason in DropReason::ALL {
            let word = reason.as_str();
            let more = format!(",intentional=\"{}\",reason=\"{word}\"", reason == DropReason::Filtered);
            assert_eq!(get("vector_component_discarded_events_total", &more), sink.dropped_for(reason));
        }
    }
    let totals = report.totals();
    assert_eq!(samples["log_shipper_events_total{outcome=\"received\"}"], totals.events.received);
    assert_eq!(samples["log_shipper_dead_letters_total"], totals.dead_letters);
}

fn exporter(port: u16, options: &str) -> String {
    format!(
        "[sources.metrics]\ntype = 'internal_metrics'\n[sinks.page]\ntype = 'prometheus_exporter'\n\
         inputs = ['metrics']\naddress = '127.0.0.1:{port}'\n{options}\n"
    )
}

#[tokio::test]
async fn the_page_is_the_report_and_balances_at_every_moment() {
    const EVENTS: u64 = 2000;
    in_time(async {
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        http.respond_with(|request| Reply::status(if request.text().contains("\"n\":1") { 400 } else { 200 }));
        let dir = tempfile::tempdir().unwrap();
        let port = free_port();
        let text = format!(
            "{}[sources.nats]\ntype = 'nats'\nurl = '{}'\nconnection_name = 'test'\nsubject = 'logs.>'\n\
             decoding.codec = 'json'\n\
             [transforms.some]\ntype = 'filter'\ninputs = ['nats']\ncondition = '.n != 7'\n\
             [sinks.http]\ntype = 'http'\ninputs = ['some']\nuri = '{}'\nencoding.codec = 'json'\n\
             batch = {{max_events = 20, timeout_secs = 0.05}}\nbuffer = {{max_events = 100, when_full = 'drop_oldest'}}\n\
             [sinks.all]\ntype = 'blackhole'\ninputs = ['nats']\n\
             [dead_letters]\ntype = 'file'\npath = '{}/dead.jsonl'\n",
            exporter(port, ""),
            nats.url(),
            http.url("/"),
            dir.path().display(),
        );
        let mut running = start(&text, Env::default()).await;
        nats.wait_for_subscription("logs.>").await;
        let url = nats.url();
        let publishing = tokio::spawn(async move {
            let mut publisher = Publisher::connect(&url, None).await;
            for n in 0..EVENTS {
                publisher.publish("logs.app", format!("{{\"n\":{n}}}")).await;
            }
            publisher.publish("logs.app", "no JSON").await;
            publisher.flush().await;
        });
        let sinks = ["http", "all", "dead_letters", "page"];
        let mut last = 0;
        loop {
            let samples = scrape(port).await;
            check_balance(&samples, &sinks);
            let received = samples[&series("vector_component_received_events_total", "nats", "source", "nats", "")];
            assert!(received >= last);
            last = received;
            if received > EVENTS {
                break;
            }
        }
        publishing.await.unwrap();
        until(&running, |report| report.sinks.iter().all(|(_, sink)| sink.buffered == 0)).await;
        let (samples, report) = (scrape(port).await, running.counts());
        check_books(&report);
        check_balance(&samples, &sinks);
        let types =
            [("http", "http"), ("all", "blackhole"), ("dead_letters", "file"), ("page", "prometheus_exporter")];
        check_same(&samples, &report, &types);
        let of_filter = |more| series("vector_component_discarded_events_total", "some", "transform", "filter", more);
        assert_eq!(samples[&of_filter(",intentional=\"true\",reason=\"discarded\"")], 1);
        assert_eq!(samples[&series("log_shipper_undecodable_events_total", "nats", "source", "nats", "")], 1);
        let rejected = report.totals().events.rejected;
        assert!(rejected > 0 && samples["log_shipper_dead_letters_total"] == rejected, "{report}");
        let report = running.stop(Duration::from_secs(10)).await;
        check_books(&report);
        check_same(&parse(&report.to_prometheus()), &report, &types);
        assert_eq!(report.totals().lost, 0, "{report}");
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err(), "somebody still listens");
    })
    .await;
}

#[tokio::test]
async fn there_is_one_page_and_only_for_those_who_may_see_it() {
    in_time(async {
        let port = free_port();
        let auth = "auth = {strategy = 'basic', user = 'u', password = '${PASSWORD}'}";
        let env = Env::from_pairs([("PASSWORD", "s3cr3t")]);
        let mut running = start(&exporter(port, auth), env).await;
        let request = |line: &str, header: &str| format!("{line} HTTP/1.1\r\nHost: h\r\n{header}\r\n");
        // Base64 of `u:s3cr3t` and of `u:s3cr3u`.
        let (right, wrong) =
            ("Authorization: Basic dTpzM2NyM3Q=\r\n", "Authorization: Basic dTpzM2NyM3U=\r\n");
        while ask(port, GET).await.is_none() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        for (line, header, status) in [
            ("GET /metrics", right, 200),
            ("GET /metrics?x=y", right, 200),
            ("HEAD /metrics", right, 200),
            ("GET /metrics", "", 401),
            ("GET /metrics", wrong, 401),
            ("GET /", right, 404),
            ("GET /metrics/../etc/passwd", right, 404),
            ("POST /metrics", right, 405),
        ] {
            let (found, body) = ask(port, &request(line, header)).await.unwrap();
            assert_eq!(found, status, "{line} {header}: {body}");
            assert_eq!(body.contains("log_shipper_build_info"), status == 200 && !line.starts_with("HEAD"));
            assert!(!body.contains("s3cr3t"));
        }
        assert!(!running.stop(Duration::from_secs(5)).await.has_losses());
        for (options, expected) in [
            ("tls.enabled = true", "tls: the page has no TLS"),
            ("auth = {strategy = 'aws', service = 'es', auth = {}}", "a page cannot ask for a signature"),
        ] {
            let text = exporter(port, options);
            let config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default()).unwrap();
            let options = log_shipper::topology::TopologyOptions::default();
            let error =
                log_shipper::topology::Topology::build(config, &options).await.unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    })
    .await;
}

#[tokio::test]
async fn whoever_misuses_the_page_harms_nobody() {
    in_time(async {
        let port = free_port();
        let text = format!(
            "{}[sources.demo]\ntype = 'demo_logs'\nformat = 'fly'\ninterval = 0.001\n\
             [sinks.out]\ntype = 'blackhole'\ninputs = ['demo']\n",
            exporter(port, "")
        );
        let mut running = start(&text, Env::default()).await;
        scrape(port).await;
        let delivered = |running: &RunningTopology| running.counts().totals().events.delivered;
        let before = delivered(&running);
        // A thousand that say nothing.
        let mut silent = Vec::new();
        for _ in 0..1000 {
            silent.push(TcpStream::connect(("127.0.0.1", port)).await.unwrap());
        }
        let started = Instant::now();
        scrape(port).await;
        assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
        // A head without an end, in one piece and in many; a body without an end; no HTTP at all.
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(1 << 20));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(10_000));
        for request in [long.as_str(), &many, "\0\0\0 \r\n\r\n"] {
            let answer = ask(port, request).await;
            assert!(answer.as_ref().is_none_or(|(status, _)| *status >= 400), "{answer:?}");
        }
        let mut endless = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        endless
            .write_all(b"POST /metrics HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000000\r\n\r\n")
            .await
            .unwrap();
        // It is cut off long before it has said everything.
        let mut sent = 0;
        while endless.write_all(&[b'x'; 4096]).await.is_ok() {
            sent += 4096;
            assert!(sent < 200_000_000, "nobody stops it");
        }
        let (samples, now) = (scrape(port).await, delivered(&running));
        check_balance(&samples, &["out", "page"]);
        assert!(now > before, "nothing was shipped meanwhile");
        assert!(!running.stop(Duration::from_secs(10)).await.has_losses());
    })
    .await;
}

#[tokio::test]
async fn a_reload_keeps_the_port_and_one_that_is_taken_is_waited_for() {
    in_time(async {
        let port = free_port();
        let other = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
        let demo = "[sources.demo]\ntype = 'demo_logs'\nformat = 'fly'\ninterval = 0.001\n\
                    [sinks.out]\ntype = 'blackhole'\ninputs = ['demo']\n";
        let load = |options: &str| {
            let text = exporter(port, options) + demo;
            Config::from_toml(&text, "test", &Registry::builtin(), &Env::default()).unwrap()
        };
        let mut running = start(&(exporter(port, "") + demo), Env::default()).await;
        // Logs are shipped without it.
        until(&running, |report| report.totals().events.delivered > 100).await;
        drop(other);
        scrape(port).await;
        for options in ["suppress_timestamp = true", "suppress_timestamp = false", ""] {
            let changes = running.reload(load(options)).await.unwrap();
            assert_eq!(changes.to_string(), "changed sinks.page");
            // At once: nobody has let go of the port.
            let (status, body) = ask(port, GET).await.expect("the port is closed");
            assert_eq!(status, 200, "{body}");
        }
        assert!(!running.stop(Duration::from_secs(10)).await.has_losses());
    })
    .await;
}

/// How the program ends, by what became of the events.
#[tokio::test]
async fn the_exit_code_says_whether_something_was_lost() {
    in_time(async {
        for (reply, signals, deadline, code, words) in [
            (Reply::status(200), 1, "10", 0, "delivered 10, rejected 0, dropped 0, buffered 0, lost 0"),
            // What is refused is no loss, as everybody can read.
            (Reply::status(400), 1, "10", 0, "delivered 0, rejected 10, dropped 0, buffered 0, lost 0"),
            (
                Reply::Never,
                1,
                "0.2",
                1,
                "delivered 0, rejected 0, dropped 10 (shutdown 10), buffered 0, lost 10",
            ),
            (
                Reply::Never,
                2,
                "3600",
                1,
                "delivered 0, rejected 0, dropped 10 (shutdown 10), buffered 0, lost 10",
            ),
        ] {
            let (nats, http) = (NatsServer::start().await, HttpServer::start().await);
            http.default_reply(reply.clone());
            let (nats_url, url) = (nats.url(), http.url("/"));
            let env = [("NATS_URL", nats_url.as_str()), ("HTTP_URL", &url), ("HTTP_TOKEN", "s3cr3t")];
            let args = ["run", "--graceful-shutdown-limit-secs", deadline];
            let mut program = Program::start(&args, &env, "connected to NATS").await;
            nats.wait_for_subscription("logs.>").await;
            let mut publisher = Publisher::connect(&nats.url(), None).await;
            publisher.publish_events(0..10).await;
            publisher.flush().await;
            http.wait_for(1).await;
            program.signal("-TERM").await;
            let started = Instant::now();
            if signals == 2 {
                program.wait_for_log("stopping: delivering what is left").await;
                program.signal("-TERM").await;
            }
            let (found, log) = program.ended().await;
            assert_eq!(found, Some(code), "{reply:?}: {log}");
            assert!(started.elapsed() < Duration::from_secs(10), "{reply:?} took {:?}", started.elapsed());
            assert!(log.contains(&format!("all sinks: received 10, {words}")), "{reply:?}: {log}");
            assert_eq!(log.contains("second signal: stopping at once"), signals == 2, "{log}");
            assert!(!log.contains("s3cr3t"), "{log}");
        }
    })
    .await;
}
