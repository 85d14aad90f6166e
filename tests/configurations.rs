//! Whole configurations: fly-log-shipper's as Vector 0.29 spells them, the same as Vector 0.58 does, and our
//! examples. Each loads, and says of what is spelt in the old way how it is spelt now.

mod support;

use log_shipper::config::{Config, ConfigFile, Problem, Registry, SourceEntry};
use log_shipper::env::Env;
use log_shipper::providers::{PROVIDERS, Provider};
use log_shipper::topology::{Topology, TopologyOptions};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use support::certificates::Certificates;
use support::http_server::{HttpServer, Request};
use support::one_event::OneEvent;
use tokio::io::AsyncReadExt;
use tokio::net::TcpListener;

/// As fly-log-shipper has them once its shell has chosen the sinks: what is ours is said in its README.
const OLD: &str = "fly_log_shipper";
/// The same with nothing in them that Vector 0.58 refuses or warns about.
const NEW: &str = "vector_0_58";
/// Some of those in YAML and JSON, a file for each component.
const DIRECTORY: &str = "directory";

/// What is said of the old files: the option, and its new name.
const WARNINGS: &[(&str, &str)] = &[
    ("sinks.aws_cloudwatch.stream_name", "dangerously_allow_unconfined_template_resolution"),
    ("sinks.aws_s3.key_prefix", "dangerously_allow_unconfined_template_resolution"),
    ("sinks.erasearch.endpoint", "`endpoints`"),
    ("sinks.highlight.headers", "`request.headers`"),
    ("sinks.logdna.type", "`mezmo`"),
    ("sinks.uptrace.headers", "`request.headers`"),
];

/// What every pipeline has, beside the providers' sinks.
const ALWAYS: [&str; 2] = ["blackhole", "fly_log_metrics_prometheus"];

const LIMIT: Duration = Duration::from_secs(60);

fn path(relative: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(relative)
}

/// The main file of a spelling, and a provider's.
fn files(spelling: &str, provider: &str) -> Vec<ConfigFile> {
    let names = ["vector.toml".to_owned(), format!("sinks/{provider}.toml")];
    names.iter().map(|name| read(&format!("tests/configs/{spelling}/{name}"))).collect()
}

fn read(relative: &str) -> ConfigFile {
    ConfigFile::new(relative, &std::fs::read_to_string(path(relative)).unwrap())
}

#[track_caller]
fn load(files: &[ConfigFile], env: &Env) -> Config {
    Config::from_files(files, &Registry::builtin(), env).unwrap_or_else(|problems| panic!("{problems}"))
}

async fn build(config: Config, env: &Env) {
    let options = TopologyOptions::default().with_env(env.clone());
    Topology::build(config, &options).await.unwrap_or_else(|error| panic!("{error}"));
}

/// The variables of all providers. What is an address is this one; anything else is called as its variable.
fn variables(address: &str) -> Vec<(&'static str, String)> {
    let value = |name: &str| match name {
        "PAPERTRAIL_ENDPOINT" => address.rsplit('/').next().unwrap_or_default().to_owned(),
        "PAPERTRAIL_ENCODING_CODEC" | "UPTRACE_SINK_ENCODING" => "json".to_owned(),
        "UPTRACE_SINK_INPUT" => "log_json".to_owned(),
        "SLACK_ALERT_KEYWORDS" => "[r'SIGTERM', r'(?i)reboot\\b']".to_owned(),
        "AWS_REGION" => "eu-west-1".to_owned(),
        "SEMATEXT_REGION" | "NEW_RELIC_REGION" => "eu".to_owned(),
        name if ["_URL", "_URI", "_ENDPOINT"].iter().any(|end| name.ends_with(end)) => address.to_owned(),
        name => name.to_lowercase(),
    };
    let variables = PROVIDERS.iter().flat_map(|provider| provider.variables).map(|variable| variable.name);
    variables.chain(["ACCESS_TOKEN"]).map(|name| (name, value(name))).collect()
}

/// An address at which there is nothing.
const NOWHERE: &str = "https://192.0.2.1:9";

fn somewhere() -> Env {
    Env::from_pairs(variables(NOWHERE))
}

/// The warnings are those of the table whose option is of one of these sinks, and no others.
#[track_caller]
fn check_warnings(spelling: &str, sinks: &[&str], warnings: &[Problem]) {
    let is_of_them = |path: &str| sinks.iter().any(|sink| path.starts_with(&format!("sinks.{sink}.")));
    let mut expected: Vec<_> = WARNINGS.iter().filter(|(path, _)| is_of_them(path)).collect();
    expected.retain(|_| spelling == OLD);
    let said: BTreeSet<_> = warnings.iter().map(|warning| warning.path.as_str()).collect();
    assert_eq!(said, expected.iter().map(|(path, _)| *path).collect(), "{warnings:?}");
    for (path, name) in expected {
        let says = |warning: &Problem| warning.path == *path && warning.message.contains(name);
        assert!(warnings.iter().any(says), "{path}: {name} in {warnings:?}");
    }
}

fn all_sinks() -> Vec<&'static str> {
    PROVIDERS.iter().map(|provider| provider.name).collect()
}

#[tokio::test]
async fn each_provider_loads_and_builds_in_both_spellings() {
    for spelling in [OLD, NEW] {
        for Provider { name, .. } in PROVIDERS {
            let config = load(&files(spelling, name), &somewhere());
            let ids: BTreeSet<_> = config.sinks.iter().map(|sink| sink.id.as_str()).collect();
            assert_eq!(ids, [*name].into_iter().chain(ALWAYS).collect(), "{spelling}");
            check_warnings(spelling, &[name], &config.warnings);
            build(config, &somewhere()).await;
        }
    }
}

#[tokio::test]
async fn all_providers_load_and_build_together() {
    for spelling in [OLD, NEW] {
        let root = path("tests/configs").join(spelling);
        let (files, problems) = ConfigFile::read(&[root.join("vector.toml")], &[root.join("sinks")]);
        assert!(problems.is_empty(), "{problems:?}");
        let config = load(&files, &somewhere());
        assert_eq!(config.sinks.len(), PROVIDERS.len() + ALWAYS.len(), "{spelling}");
        check_warnings(spelling, &all_sinks(), &config.warnings);
        build(config, &somewhere()).await;
    }
}

/// The command line that fly-log-shipper gives to Vector: what is said to a person.
#[test]
fn validate_takes_them_as_vector_is_given_them() {
    let validate = |spelling: &str, option: &str, variables: Vec<(&str, String)>| {
        let root = path("tests/configs").join(spelling);
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-shipper"));
        command.env_clear().envs(variables).args(["validate", option, "-c"]).arg(root.join("vector.toml"));
        let output = command.arg("-C").arg(root.join("sinks")).output().unwrap();
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{spelling}: {stderr}");
        stderr
    };
    let old = validate(OLD, "--log-format=text", variables(NOWHERE));
    let new = validate(NEW, "--log-format=text", variables(NOWHERE));
    for (path, name) in WARNINGS {
        assert!(old.contains(path) && old.contains(name), "{path}: {name} in {old}");
        assert!(!new.contains(path), "{path}: {new}");
    }
    // Some values are then not known, and those components not looked at.
    validate(OLD, "--no-environment", vec![]);
    validate(NEW, "--no-environment", vec![]);
}

/// The other two formats say the same: each file is written in them, and nothing changes.
#[test]
fn the_same_in_json_and_in_yaml() {
    for (spelling, extension) in [(OLD, "json"), (OLD, "yaml"), (NEW, "json"), (NEW, "yaml")] {
        for Provider { name, .. } in PROVIDERS {
            let translate = |file: &ConfigFile| {
                let table: toml::Table = file.text.parse().unwrap();
                // What is JSON is YAML too.
                ConfigFile::new(&format!("{}.{extension}", file.name), &json!(table).to_string())
            };
            let files: Vec<_> = files(spelling, name).iter().map(translate).collect();
            check_warnings(spelling, &[name], &load(&files, &somewhere()).warnings);
        }
    }
}

/// What a message was that NATS brought, before anything has read it.
fn message_of_nats(payload: &OneEvent) -> OneEvent {
    let event = json!({"message": payload.0, "source_type": "nats", "subject": "logs.web.ord.machine1"});
    OneEvent(event.to_string())
}

/// The sink's options with its destination at this address, if the environment does not say where that is.
fn redirect(file: &ConfigFile, sink: &str, address: &str) -> ConfigFile {
    let mut table: toml::Table = file.text.parse().unwrap();
    let Some(options) = table.get_mut("sinks").and_then(|sinks| sinks.get_mut(sink)) else {
        return file.clone();
    };
    let options = options.as_table_mut().unwrap();
    if let Some(uri) = options.get_mut("uri") {
        if let Some(rest) = uri.as_str().unwrap().strip_prefix("https://") {
            let path = rest.find(['/', '?']).map_or("", |at| &rest[at..]);
            *uri = format!("{address}{path}").into();
        }
    } else if options["type"].as_str() == Some("papertrail") {
        options.insert("tls".to_owned(), toml::toml! { enabled = false }.into());
    } else if !options.contains_key("endpoint") && !options.contains_key("endpoints") {
        let option = if options["type"].as_str() == Some("axiom") { "url" } else { "endpoint" };
        options.insert(option.to_owned(), address.into());
    }
    ConfigFile::new(&file.name, &table.to_string())
}

fn redirected(files: &[ConfigFile], sink: &str, address: &str) -> Vec<ConfigFile> {
    files.iter().map(|file| redirect(file, sink, address)).collect()
}

/// Runs the sink of this id alone, with one message in front of `log_json`.
async fn run(files: &[ConfigFile], sink: &str, address: &str, payload: &OneEvent) {
    let env = Env::from_pairs(variables(address));
    let mut config = load(files, &env);
    config.sources = vec![SourceEntry::new("nats", message_of_nats(payload))];
    config.sinks.retain(|entry| entry.id == sink);
    config.sinks[0].options.healthcheck.enabled = false;
    let options = TopologyOptions::default().with_env(env);
    let mut running = Topology::start(config, &options, std::future::pending::<()>()).await.unwrap();
    tokio::time::timeout(LIMIT, running.finished()).await.expect("the test takes too long");
    assert_eq!(running.counts().sinks[0].1.delivered, 1, "{sink}");
}

/// What of a request does not depend on when it is sent.
fn lasting(request: &Request) -> Value {
    let changing = ["authorization", "host", "x-amz-date", "x-splunk-request-channel"]
        .map(http::HeaderName::from_static);
    let is_signed = request.headers.contains_key("x-amz-date");
    let headers: BTreeSet<_> = request
        .headers
        .iter()
        .filter(|(name, _)| !changing.contains(name) || (!is_signed && *name == "authorization"))
        .map(|(name, value)| format!("{name}: {}", String::from_utf8_lossy(value.as_bytes())))
        .collect();
    // The name of an object ends with when it was made, and Mezmo is told what the time is.
    let place = match request.path_and_query.split_once("now=") {
        Some((place, _)) => place,
        None if is_signed => request.path_and_query.rsplit_once('/').unwrap().0,
        None => &request.path_and_query,
    };
    json!({"method": request.method.as_str(), "place": place, "headers": headers, "body": request.text()})
}

async fn request_of(files: &[ConfigFile], sink: &str, payload: &OneEvent) -> Value {
    let server = HttpServer::start().await;
    run(&redirected(files, sink, &server.url("")), sink, &server.url(""), payload).await;
    lasting(&server.requests()[0])
}

/// Papertrail's is a line of syslog.
async fn line_of(files: &[ConfigFile], sink: &str, payload: &OneEvent) -> Value {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let read = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text.into()
    };
    let files = redirected(files, sink, &address);
    tokio::join!(run(&files, sink, &address, payload), read).1
}

/// A line of text, and one of JSON that some of the programs take apart.
fn payloads() -> [OneEvent; 2] {
    ["reboot \"now\"", r#"{"msg":"reboot","level":"odd","n":1}"#].map(OneEvent::with_message)
}

#[tokio::test]
async fn both_spellings_send_the_same() {
    for payload in payloads() {
        for Provider { name, sink, .. } in PROVIDERS {
            let (old, new) = (files(OLD, name), files(NEW, name));
            let (old, new) = if *sink == "papertrail" {
                (line_of(&old, name, &payload).await, line_of(&new, name, &payload).await)
            } else {
                (request_of(&old, name, &payload).await, request_of(&new, name, &payload).await)
            };
            assert_eq!(old, new, "{name}");
            assert!(old.to_string().contains("reboot"), "{name}: {old}");
        }
    }
}

/// `-C` with a file for each component, in YAML and JSON, sends what the same in TOML sends.
#[tokio::test]
async fn a_directory_of_yaml_and_json_sends_the_same() {
    let (files_of_directory, problems) = ConfigFile::read(&[], &[path("tests/configs").join(DIRECTORY)]);
    assert!(problems.is_empty(), "{problems:?}");
    let config = load(&files_of_directory, &somewhere());
    assert!(config.warnings.is_empty(), "{:?}", config.warnings);
    let ids: BTreeSet<_> = config.sinks.iter().map(|sink| sink.id.clone()).collect();
    build(config, &somewhere()).await;
    assert!(ids.len() >= 3);
    let [payload, _] = payloads();
    for id in ids {
        let server = HttpServer::start().await;
        // The address of each of these is a variable.
        run(&files_of_directory, &id, &server.url(""), &payload).await;
        let expected = request_of(&files(NEW, &id), &id, &payload).await;
        assert_eq!(lasting(&server.requests()[0]), expected, "{id}");
    }
}

/// Nothing is told of an example, and what it names can be made.
#[tokio::test]
async fn each_example_loads_and_builds_without_a_warning() {
    let files = Certificates::generate();
    let variables = [
        ("NATS_CA", files.ca.as_path()),
        ("NATS_CERT", files.client_cert.as_path()),
        ("NATS_KEY", files.client_key.as_path()),
        // The placeholder is no name of a bucket, and no NATS server.
        ("BUCKET_NAME", Path::new("bucket")),
        ("NATS_URL", Path::new("nats://localhost:4222")),
    ];
    let env = Env::from_pairs(variables).with_placeholder("https://placeholder.invalid");
    let (mut count, mut tests) = (0, 0);
    let directory = path("examples/configs");
    for entry in std::fs::read_dir(&directory).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        if name == "README.md" {
            continue;
        }
        let readme = std::fs::read_to_string(directory.join("README.md")).unwrap();
        assert!(readme.contains(&format!("[`{name}`]({name})")), "{name} is not in the README");
        let config = load(&[read(&format!("examples/configs/{name}"))], &env);
        assert!(config.warnings.is_empty(), "{name}: {:?}", config.warnings);
        tests += config.tests.len();
        if !config.tests.is_empty() {
            run_tests(&directory.join(&name));
        }
        build(config, &env).await;
        count += 1;
    }
    assert_eq!((count, tests), (9, 9));
}

fn run_tests(file: &Path) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_log-shipper"));
    let output = command.env_clear().args(["test", "-c"]).arg(file).output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}: {}", file.display(), String::from_utf8_lossy(&said));
}
