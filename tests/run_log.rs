//! What `run` says of itself: at its start, each minute, and when it says the same again and again.

mod support;

use serde_json::Value;
use std::time::Duration;
use support::http_server::HttpServer;
use support::nats_server::NatsServer;
use support::program::Program;
use support::publisher::Publisher;
use tokio::time::{sleep, timeout};

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
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    let config = |id: &str| {
        let text = format!(
            "[sources.in]\ntype = 'demo_logs'\nformat = 'json'\ninterval = 60\n\
             [sinks.{id}]\ntype = 'blackhole'\ninputs = ['in']\n"
        );
        std::fs::write(&path, text).unwrap();
    };
    config("a");
    let args = ["run", "-c", path.to_str().unwrap(), "--log-format", "json"];
    let mut program = Program::start(&args, &[], "shipping to 1 sink").await;
    let same = "reloaded: no component is different";
    // A signal that comes while one is looked after counts as one with it: so until it has been said again.
    let said = async {
        for id in ["b", "a"].iter().cycle() {
            for _ in 0..5 {
                program.signal("-HUP").await;
                sleep(Duration::from_millis(20)).await;
            }
            config(id);
            program.signal("-HUP").await;
            program.wait_for_log(&format!("reloaded: added sinks.{id}")).await;
            if program.log().contains("the last message was repeated") {
                return;
            }
        }
    };
    timeout(LIMIT, said).await.expect("a repetition");
    for _ in 0..5 {
        program.signal("-HUP").await;
        sleep(Duration::from_millis(20)).await;
    }
    program.signal("-TERM").await;
    let (code, log) = program.ended().await;
    assert_eq!(code, Some(0), "{log}");
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    for pair in lines.windows(2) {
        let text = |line: &Value| line["message"].as_str().unwrap().to_owned();
        assert!(text(&pair[0]) != text(&pair[1]), "{log}");
        if text(&pair[1]).starts_with("the last message was repeated") {
            assert_eq!(text(&pair[0]), same);
            assert!(pair[1]["repeated"].as_u64().is_some_and(|times| times > 0), "{log}");
        }
    }
}
