//! What the repository has for deploying: each file parsed, its names, ports and paths held against one another and
//! against the program, and the command lines in it run.
//!
//! No container runs here and nothing is deployed: what only Docker, Fly.io or Kubernetes can say is not tested.

#[path = "../support/mod.rs"]
mod support;

mod compose;
mod dockerfile;
mod fly;
mod health;
mod init;
mod kubernetes;
mod metrics;
mod systemd;

use saphyr::{LoadableYamlNode, Scalar, Yaml};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use support::http_server::HttpServer;
use support::jetstream::JetStream;
use support::nats_server::{NatsServer, Options};
use support::ports::free_port;
use support::program::Program;
use support::publisher::Publisher;

/// Where the API and the metrics are, in every file.
const API_PORT: u16 = 8686;
const METRICS_PORT: u16 = 9598;

fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn read(name: &str) -> String {
    std::fs::read_to_string(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// The documents of a YAML file, as JSON.
fn yaml(name: &str) -> Vec<Value> {
    let text = read(name);
    let documents = Yaml::load_from_str(&text).unwrap_or_else(|error| panic!("{name}: {error}"));
    documents.iter().map(|document| to_json(name, document)).collect()
}

fn to_json(name: &str, node: &Yaml<'_>) -> Value {
    match node {
        Yaml::Value(Scalar::Null) => Value::Null,
        Yaml::Value(Scalar::Boolean(value)) => json!(value),
        Yaml::Value(Scalar::Integer(value)) => json!(value),
        Yaml::Value(Scalar::FloatingPoint(value)) => json!(value.0),
        Yaml::Value(Scalar::String(value)) => json!(value),
        Yaml::Sequence(items) => items.iter().map(|item| to_json(name, item)).collect(),
        Yaml::Mapping(items) => {
            let key =
                |key: &Yaml<'_>| key.as_str().unwrap_or_else(|| panic!("{name}: the key {key:?}")).to_owned();
            Value::Object(items.iter().map(|(k, value)| (key(k), to_json(name, value))).collect())
        }
        other => panic!("{name}: {other:?}"),
    }
}

fn strings(list: &Value) -> Vec<&str> {
    let items = list.as_array().unwrap_or_else(|| panic!("{list} is no list"));
    items.iter().map(|item| item.as_str().unwrap_or_else(|| panic!("{item} is no text"))).collect()
}

/// Checks that the program reads variables of these names.
#[track_caller]
fn check_variables<'a>(file: &str, names: impl IntoIterator<Item = &'a str>) {
    let known = log_shipper::config::variables();
    let mut found = 0;
    for name in names {
        let base = name.strip_suffix("_FILE").unwrap_or(name);
        assert!(known.contains(&base), "{file}: the program does not read {name}");
        found += 1;
    }
    assert!(found > 0, "{file}: no variables");
}

/// `--graceful-shutdown-limit-secs`, which has to be less than what the platform waits.
#[track_caller]
fn check_shutdown(args: &[&str], platform_seconds: u64) {
    let at = args.iter().position(|arg| *arg == "--graceful-shutdown-limit-secs").expect("a limit");
    let limit: u64 = args[at + 1].parse().unwrap();
    assert!(limit < platform_seconds && platform_seconds <= 2 * limit, "{limit} s of {platform_seconds} s");
}

/// A number of bytes as Kubernetes, Docker and log-shipper write it: `512M`, `2Gi`, `256mb`.
fn bytes(text: &str) -> u64 {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let shift = match unit.to_lowercase().as_str() {
        "m" | "mb" | "mi" => 20,
        "g" | "gb" | "gi" => 30,
        _ => panic!("{text}: the unit"),
    };
    number.parse::<u64>().unwrap() << shift
}

/// Runs the program as a file says, but for the addresses of others: an event has to come out at Loki's side.
async fn ships(args: &[&str], variables: impl IntoIterator<Item = (&str, &str)>) {
    let mut env: BTreeMap<String, String> =
        variables.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    // Fly.io's own wants the organisation and a token; a server of one's own here wants nothing.
    let org = env.get("ORG").cloned();
    let stream = env.get("JETSTREAM_STREAM").cloned();
    let user_password = org.clone().map(|org| (org, "token".to_owned()));
    let nats =
        NatsServer::with(Options { user_password, jetstream: stream.is_some(), ..Options::default() }).await;
    let loki = HttpServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let mut set = |name: &str, value: &str| drop(env.insert(name.to_owned(), value.to_owned()));
    set("NATS_URL", &nats.url());
    if org.is_some() {
        set("ACCESS_TOKEN", "token");
    }
    set("LOKI_URL", &loki.url(""));
    set("LOKI_USERNAME", "user");
    set("LOKI_PASSWORD", "password");
    set("DATA_DIR", directory.path().to_str().unwrap());
    set("API_ADDRESS", &format!("127.0.0.1:{}", free_port()));
    set("METRICS_ADDRESS", &format!("127.0.0.1:{}", free_port()));
    set("LOG_SHIPPER_LOG", "info");
    env.remove("LOKI_PASSWORD_FILE");
    let env: Vec<_> = env.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let program = Program::start(args, &env, "shipping to Grafana Loki").await;
    match &stream {
        // It may come up before its stream is made.
        Some(stream) => {
            let config = json!({"name": stream, "subjects": ["logs.>"], "storage": "file"});
            let jetstream = JetStream::connect(nats.url()).await;
            let answer = jetstream.ask(&format!("STREAM.CREATE.{stream}"), config).await;
            assert!(answer["error"].is_null(), "{answer}");
        }
        None => nats.wait_for_subscription("logs.>").await,
    }
    let login = org.as_deref().map(|org| (org, "token"));
    let mut publisher = Publisher::connect(&nats.url(), login).await;
    publisher.publish_events(0..1).await;
    publisher.flush().await;
    let is_push =
        |request: &support::http_server::Request| request.path_and_query.starts_with("/loki/api/v1/push");
    loki.wait_until(|requests| requests.iter().any(is_push)).await;
    let books = program.stop().await;
    assert!(books.iter().any(|(sink, book)| sink == "loki" && book.delivered == 1), "{books:?}");
}

#[tokio::test]
async fn what_the_guide_names_is_there() {
    let guide = read("deploy/README.md");
    let mut commands = 0;
    let mut is_shell = false;
    for line in guide.lines() {
        if line.starts_with("```") {
            is_shell = line == "```sh";
        }
        let words: Vec<_> =
            line.split([' ', '`', '(', ')', ':']).map(|word| word.trim_end_matches(['.', ','])).collect();
        for word in words.iter().filter(|word| word.starts_with("deploy/")) {
            assert!(path(word).exists(), "{word}");
        }
        // The tables of the directories are told from within them.
        for word in
            words.iter().filter(|word| word.starts_with("prometheus/") || word.starts_with("grafana/"))
        {
            assert!(path("deploy").join(word).exists(), "{word}");
        }
        if is_shell && let Some(rest) = line.strip_prefix("log-shipper ") {
            let command = rest.split('#').next().unwrap().trim();
            let args: Vec<_> = command.split(' ').chain(["--help"]).collect();
            assert_eq!(support::program::run(&args, &[]).await.code, Some(0), "{command}");
            commands += 1;
        }
    }
    assert!(commands > 0);
}
