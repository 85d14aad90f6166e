//! What `run` says of itself: at its start, each minute, and when it says the same again and again.

mod support;

use serde_json::Value;
use std::process::Command;
use std::time::Duration;
use support::http_server::HttpServer;
use support::nats_server::NatsServer;
use support::ports::free_port;
use support::program::Program;
use support::publisher::Publisher;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);

#[tokio::test]
async fn the_banner_says_what_is_read_where_it_goes_and_what_is_off() {
    let (nats, loki) = (NatsServer::start().await, HttpServer::start().await);
    let (nats_url, loki_url) = (nats.url(), loki.url(""));
    let with_password = nats_url.replace("nats://", "nats://me:s3cr3t@");
    let env = [
        ("NATS_URL", with_password.as_str()),
        ("SUBJECT", "logs.web.>, logs.api.>"),
        ("QUEUE", "pool"),
        ("LOKI_URL", &loki_url),
        ("LOKI_USERNAME", "u"),
        ("LOKI_PASSWORD", "s3cr3t"),
        ("AXIOM_TOKEN", "s3cr3t"),
    ];
    let program = Program::start(&["run"], &env, "healthcheck passed").await;
    let log = program.log();
    for words in [
        "shipping to Grafana Loki (LOKI_URL",
        "Axiom is off: AXIOM_DATASET is not set",
        "other destinations are off, because none of their secrets is set (`log-shipper providers` lists them)",
        &format!(
            "reading source nats (nats): subjects logs.web.>, logs.api.> from {nats_url}, queue group pool"
        ),
    ] {
        assert!(log.contains(words), "{words}:\n{log}");
    }
    assert!(!log.contains("s3cr3t"), "{log}");
    program.stop().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_said_with_what_to_do() {
    let nats = format!("nats://127.0.0.1:{}", free_port());
    let loki = [("LOKI_URL", "http://127.0.0.1:1"), ("LOKI_USERNAME", "u"), ("LOKI_PASSWORD", "p")];
    let env = [&loki[..], &[("NATS_URL", &nats)]].concat();
    let program = Program::start(&["run"], &env, "cannot connect to NATS").await;
    let words = format!(
        "cannot connect to NATS at {nats}, will try again: connection refused; nothing listens there: check the host"
    );
    assert!(program.log().contains(&words), "{words}:\n{}", program.log());
    program.stop().await;
}

#[tokio::test]
async fn a_line_now_and_then_says_how_much_came_and_went() {
    let nats = NatsServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    let config = format!(
        "[sources.in]\ntype = 'nats'\nurl = '{}'\nconnection_name = 'x'\nsubject = 'logs.>'\n\
         [transforms.some]\ntype = 'filter'\ninputs = ['in']\ncondition = 'true'\n\
         [sinks.out]\ntype = 'blackhole'\ninputs = ['some']\n",
        nats.url()
    );
    std::fs::write(&path, config).unwrap();
    let args = ["run", "--pulse-secs", "0.2", "-c", path.to_str().unwrap()];
    let mut program =
        Program::start(&args, &[("LOG_SHIPPER_LOG_FORMAT", "json")], "reading source in (nats)").await;
    program.wait_for_log("transforms: some (filter)").await;
    program.wait_for_log("shipping to 1 sink: out (blackhole)").await;
    nats.wait_for_subscription("logs.>").await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    publisher.publish_events(0..30).await;
    publisher.flush().await;
    program.wait_for_log("in the last 0.2 s: received ").await;
    program.wait_for_log("no events in the last 2 s").await;
    program.signal("-TERM").await;
    let (_, log) = program.ended().await;
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let said = |words: &str| {
        lines.iter().filter_map(|line| line["message"].as_str()).filter(|text| text.contains(words)).count()
    };
    // One read may bring some of the events, and the next one the others.
    assert!((1..=3).contains(&said("in the last 0.2 s")), "{log}");
    assert_eq!(lines.iter().filter(|line| line["level"] == "WARN").count(), 0, "{log}");
}

#[tokio::test]
async fn what_is_said_again_is_counted() {
    const ROUNDS: u64 = 5;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    // Whoever writes into a pipe knows when the other side reads it, so that no signal comes while one is looked after.
    // Each text has a pipe of its own: what reads the last one may not have closed it yet.
    let next = dir.path().join("next");
    let pipe = || {
        assert!(Command::new("mkfifo").arg(&next).status().unwrap().success());
        std::fs::rename(&next, &path).unwrap();
    };
    pipe();
    let write = async |text: String| {
        let written = spawn_blocking({
            let path = path.clone();
            move || std::fs::write(path, text).unwrap()
        });
        timeout(LIMIT, written).await.expect("it reads").unwrap();
        pipe();
    };
    let same = "[sources.in]\ntype = 'demo_logs'\nformat = 'json'\ninterval = 60\n\
                [sinks.out]\ntype = 'blackhole'\ninputs = ['in']\n";
    let args = ["run", "-c", path.to_str().unwrap(), "--log-format", "json"];
    let (program, ()) =
        tokio::join!(Program::start(&args, &[], "shipping to 1 sink"), write(same.to_owned()));
    // Two messages that take turns.
    for _ in 0..ROUNDS {
        for text in [same, "[sinks]\nout = 1\n"] {
            program.signal("-HUP").await;
            write(text.to_owned()).await;
        }
    }
    program.signal("-HUP").await;
    write(same.replace("out", "other")).await;
    let mut program = program;
    program.wait_for_log("reloaded: added sinks.other").await;
    program.signal("-TERM").await;
    let (code, log) = program.ended().await;
    assert_eq!(code, Some(0), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for said in ["reloaded: no component is different", "the new configuration is refused"] {
        let text =
            |line: &&Value| line["message"].as_str().unwrap().trim_start_matches('`').starts_with(said);
        let is_count = |line: &&Value| !line["repeated"].is_null();
        let (counts, written): (Vec<_>, Vec<_>) = lines.iter().filter(text).partition(is_count);
        let repeated: u64 = counts.iter().map(|line| line["repeated"].as_u64().expect("a number")).sum();
        assert!(repeated > 0, "{log}");
        // None is lost, however long it took.
        assert_eq!(written.len() as u64 + repeated, ROUNDS, "{said}: {log}");
        let is_told =
            |line: &&Value| line["message"].as_str().is_some_and(|text| text.contains("` was repeated "));
        assert!(counts.iter().all(is_told), "{log}");
    }
}
