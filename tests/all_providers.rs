//! Every destination of the environment at once, in one process, from a real NATS server.

mod support;

use log_shipper::providers::{PROVIDERS, Provider};
use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::Duration;
use support::http_server::{HttpServer, Request};
use support::nats_server::NatsServer;
use support::program::NO_PORTS;
use support::publisher::Publisher;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;
use tokio::process::Command;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const EVENTS: usize = 10_000;
const LIMIT: Duration = Duration::from_secs(120);

/// What every destination is given, whatever its variables are called.
fn value(variable: &str) -> &'static str {
    match variable {
        "PAPERTRAIL_ENDPOINT" => "127.0.0.1:1",
        "SLACK_ALERT_KEYWORDS" => "/./",
        // Of alternatives only one is right.
        "NEW_RELIC_INSERT_KEY" | "SIGNOZ_URI" => "",
        name if ["_URL", "_URI", "LOGS_ENDPOINT"].iter().any(|end| name.ends_with(end)) => "http://replaced",
        _ => "9e885f1a-0e02-4a3c-9b5e-6f7b1e3f5a10",
    }
}

/// An event that every destination's answer can be found again by.
fn event(n: usize) -> (String, String) {
    let app = ["web", "api", "worker"][n % 3];
    let text = format!(
        r#"{{"event":{{"provider":"app"}},"fly":{{"app":{{"instance":"i{}","name":"{app}"}},"region":"ord"}},"host":"h","log":{{"level":"info"}},"message":"evt-{n:05} a \"quoted\" line","timestamp":"2026-11-22T05:{:02}:{:02}.{:09}Z"}}"#,
        n % 5,
        n / 60 % 60,
        n % 60,
        n
    );
    (format!("logs.{app}.ord.i{}", n % 5), text)
}

/// The numbers of the events in a text.
fn numbers(text: &str) -> impl Iterator<Item = usize> + '_ {
    text.split("evt-").skip(1).filter_map(|rest| rest.get(..5)?.parse().ok())
}

/// Events that a message for people counts and does not show.
fn summed_up(text: &str) -> usize {
    let count = |rest: &str| rest.split(' ').next()?.parse::<usize>().ok();
    text.split("\"and ").skip(1).filter_map(count).sum()
}

/// Where a destination is in this test.
enum Destination {
    Http(HttpServer),
    Lines(JoinHandle<String>),
}

impl Destination {
    async fn start(provider: &Provider, sink: &mut toml::Table) -> Destination {
        sink.insert("healthcheck".into(), false.into());
        if provider.sink == "papertrail" {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            sink.insert("endpoint".into(), listener.local_addr().unwrap().to_string().into());
            sink.insert("tls".into(), toml::toml! { enabled = false }.into());
            return Destination::Lines(tokio::spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut text = String::new();
                stream.read_to_string(&mut text).await.unwrap();
                text
            }));
        }
        let server = HttpServer::start().await;
        let (option, path) = match provider.sink {
            "axiom" => ("url", ""),
            "http" => ("uri", "/"),
            "elasticsearch" => ("endpoints", ""),
            "slack" => ("webhook_url", "/"),
            _ => ("endpoint", ""),
        };
        sink.insert(option.into(), server.url(path).into());
        if provider.sink == "slack" {
            // A thousand events a second would be ten seconds.
            sink.insert("request".into(), toml::toml! { rate_limit_num = 1000 }.into());
        }
        Destination::Http(server)
    }

    /// All that has come, as text.
    async fn text(self) -> String {
        match self {
            Destination::Http(server) => server.requests().iter().map(Request::text).collect(),
            Destination::Lines(lines) => timeout(LIMIT, lines).await.expect("an end").unwrap(),
        }
    }
}

#[tokio::test]
async fn all_providers_at_once_get_every_event() {
    let nats = NatsServer::start().await;
    let url = nats.url();
    let mut variables = vec![("NATS_URL", url.as_str())];
    let all = PROVIDERS.iter().flat_map(|provider| provider.variables);
    variables.extend(
        all.filter(|variable| variable.is_required()).map(|variable| (variable.name, value(variable.name))),
    );
    variables.extend([("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "SECRET")]);
    let command = |args: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-shipper"));
        command.args(args).env_clear().envs(NO_PORTS).envs(variables.iter().copied()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    };

    // What `run` would use, with each destination replaced by a local one.
    let generated = timeout(LIMIT, command(&["generate"]).output()).await.expect("in time").unwrap();
    let generated = String::from_utf8(generated.stdout).unwrap();
    let mut table: toml::Table = generated.parse().unwrap();
    let sinks = table["sinks"].as_table_mut().unwrap();
    assert_eq!(sinks.len(), 25, "{generated}");
    let mut destinations = Vec::new();
    for provider in PROVIDERS {
        let sink = sinks[provider.name].as_table_mut().unwrap();
        destinations.push((provider.name, Destination::start(provider, sink).await));
    }
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("vector.toml");
    std::fs::write(&path, table.to_string()).unwrap();

    let mut shipper = command(&["run", "-c", path.to_str().unwrap()]).spawn().unwrap();
    nats.wait_for_subscription("logs.>").await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    for n in 0..EVENTS {
        let (subject, payload) = event(n);
        publisher.publish(&subject, payload).await;
    }
    publisher.flush().await;
    let (_, Destination::Http(http)) = destinations.iter().find(|(name, _)| *name == "http").unwrap() else {
        panic!("it speaks HTTP")
    };
    let has_all = |requests: &[Request]| {
        requests.iter().map(|request| numbers(&request.text()).count()).sum::<usize>() >= EVENTS
    };
    http.wait_until(has_all).await;

    let pid = shipper.id().unwrap();
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let memory = status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default();
    // For whoever wants to know; what is claimed of memory is the benchmark's.
    println!("25 destinations, {EVENTS} events to each, most resident memory so far: {memory}");
    // What is in open batches, S3's objects for one, is delivered at the end.
    assert!(Command::new("kill").args(["-TERM", &pid.to_string()]).status().await.unwrap().success());
    let mut log = String::new();
    let mut stderr = shipper.stderr.take().unwrap();
    timeout(LIMIT, stderr.read_to_string(&mut log)).await.expect("it stops").unwrap();
    assert_eq!(timeout(LIMIT, shipper.wait()).await.expect("it stops").unwrap().code(), Some(0), "{log}");

    let expected: BTreeSet<_> = (0..EVENTS).collect();
    for (name, destination) in destinations {
        assert!(
            log.contains(&format!(
                "sink {name}: received {EVENTS}, delivered {EVENTS}, rejected 0, dropped 0, buffered 0"
            )),
            "{name}: {log}"
        );
        let text = destination.text().await;
        let found: Vec<_> = numbers(&text).collect();
        if name == "slack" {
            assert_eq!(found.len() + summed_up(&text), EVENTS, "{name}");
            continue;
        }
        assert_eq!(found.len(), EVENTS, "{name}: each event once");
        assert!(found.into_iter().collect::<BTreeSet<_>>() == expected, "{name}");
    }
}
