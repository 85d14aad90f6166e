//! Every provider: a secret from the environment reaches its destination byte for byte.

mod support;

use base64::Engine;
use log_shipper::config::{Config, Registry, SourceEntry, from_environment, generate};
use log_shipper::env::Env;
use log_shipper::providers::{PROVIDERS, Places, Provider, TimeForm, find};
use log_shipper::topology::{Topology, TopologyOptions};
use serde_json::{Value, json};
use std::time::Duration;
use support::http_server::{HttpServer, Request};
use support::one_event::{OneEvent, TIME};
use tokio::io::AsyncReadExt;

/// Everything that has ever broken a configuration made of text.
const SECRET: &str = r##"p"q\z$HOME ${X} 'r' #{s} %Y {{ t }} u"##;

/// AWS's libraries look for keys in the environment themselves.
const AWS_KEY: [(&str, &str); 2] = [("AWS_ACCESS_KEY_ID", "AKID"), ("AWS_SECRET_ACCESS_KEY", "secret")];

const LIMIT: Duration = Duration::from_secs(60);

/// The option of the provider's sink that says where to, and the local value for it.
fn local(provider: &Provider, server: &HttpServer) -> (&'static str, String) {
    match provider.sink {
        "axiom" => ("url", server.url("")),
        "http" => ("uri", server.url("/")),
        "elasticsearch" => ("endpoints", server.url("")),
        "slack" => ("webhook_url", server.url("/")),
        _ => ("endpoint", server.url("")),
    }
}

/// A value for a variable that is no secret, where not just any text will do.
fn harmless(variable: &str) -> Option<&'static str> {
    Some(match variable {
        "HTTP_URL"
        | "LOKI_URL"
        | "OPSVERSE_LOGS_ENDPOINT"
        | "ERASEARCH_URL"
        | "OPENOBSERVE_URI"
        | "SIGNOZ_URI"
        | "SLACK_WEBHOOK_URL" => "http://replaced",
        "ERASEARCH_INDEX" => "index",
        "SEMATEXT_REGION" => "eu",
        "AWS_REGION" => "eu-west-1",
        "AWS_BUCKET" => "bucket",
        "CLOUDWATCH_LOG_GROUP_NAME" => "group",
        "SLACK_ALERT_KEYWORDS" => "/./",
        // It stands in the URL.
        "LOGFLARE_SOURCE_TOKEN" => "9e885f1a-0e02-4a3c-9b5e-6f7b1e3f5a10",
        _ => return None,
    })
}

/// The secrets as the request shows them.
fn shown(provider: &Provider, request: &Request) -> Vec<String> {
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let bearer = || header("authorization").strip_prefix("Bearer ").unwrap_or_default().to_owned();
    let basic = || {
        let encoded = header("authorization").strip_prefix("Basic ").unwrap_or_default().to_owned();
        let pair = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
        let pair = String::from_utf8(pair).unwrap();
        let (user, password) = pair.split_once(':').unwrap();
        vec![user.to_owned(), password.to_owned()]
    };
    match provider.name {
        "axiom" | "better_stack" | "http" | "hyperdx" => vec![bearer()],
        "baselime" => vec![bearer(), header("x-api-key")],
        "datadog" => vec![header("dd-api-key")],
        // A signature shows the id of the key, and nothing of the key.
        "aws_cloudwatch" | "aws_s3" => {
            assert!(header("authorization").starts_with("AWS4-HMAC-SHA256 Credential=AKID/"));
            vec![]
        }
        "appsignal" => vec![bearer()],
        "humio" => vec![header("authorization").strip_prefix("Splunk ").unwrap().to_owned()],
        "logdna" => basic().into_iter().filter(|part| !part.is_empty()).collect(),
        "new_relic" => vec![header("api-key")],
        "erasearch" => vec![header("authorization")],
        "highlight" => vec![header("x-highlight-project")],
        "honeybadger" | "logflare" => vec![header("x-api-key")],
        "honeycomb" => vec![header("x-honeycomb-team")],
        "loki" | "opsverse" | "openobserve" => basic(),
        "sematext" => vec![request.json_lines()[0]["index"]["_index"].as_str().unwrap().to_owned()],
        "signoz" => vec![header("signoz-ingestion-key"), header("signoz-access-token")],
        "slack" => vec![],
        "uptrace" => {
            let dsn = header("uptrace-dsn");
            let (key, project) = dsn.split_once("@uptrace.dev/").unwrap();
            vec![key.strip_prefix("https://").unwrap().to_owned(), project.to_owned()]
        }
        other => panic!("say here where {other} shows its secrets"),
    }
}

/// What the destination receives for its one event: its members, and what stands around it.
fn entry(provider: &Provider, request: &Request) -> Value {
    match provider.sink {
        "axiom" => request.json_lines()[0].clone(),
        "elasticsearch" | "sematext_logs" => request.json_lines()[1].clone(),
        "honeycomb" => {
            let mut entry = request.json()[0].clone();
            let data = entry["data"].take();
            entry.as_object_mut().unwrap().extend(data.as_object().unwrap().clone());
            entry
        }
        "loki" => {
            let stream = &request.json()["streams"][0];
            json!({"labels": stream["stream"], "time": stream["values"][0][0]})
        }
        "slack" => request.json()["blocks"][0]["text"].clone(),
        "aws_cloudwatch_logs" => {
            let mut entry = request.json()["logEvents"][0].clone();
            entry["message"] = serde_json::from_str(entry["message"].as_str().unwrap()).unwrap();
            entry
        }
        "humio_logs" => request.json(),
        "mezmo" => request.json()["lines"][0].clone(),
        "new_relic" => {
            let mut log = request.json()[0]["logs"][0].clone();
            let attributes = log["attributes"].clone();
            log.as_object_mut().unwrap().extend(attributes.as_object().unwrap().clone());
            log
        }
        _ if request.header("content-type") == Some("application/x-ndjson") => {
            request.json_lines()[0].clone()
        }
        _ => request.json()[0].clone(),
    }
}

/// The member at a dotted path, or of that name.
fn at<'a>(entry: &'a Value, place: &str) -> &'a Value {
    entry.get(place).unwrap_or_else(|| place.split('.').fold(entry, |value, name| &value[name]))
}

/// Whether the value is this text, or has it in it: among tags, or in a message for people.
fn says(value: &Value, text: &str) -> bool {
    let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    let is_tag = |part: &str| part == text || part.rsplit_once(':').is_some_and(|(_, tag)| tag == text);
    value == text || value.split([',', ' ', '|', '*', '>', '\n']).any(is_tag)
}

/// The providers whose destinations speak HTTP.
fn over_http() -> impl Iterator<Item = &'static Provider> {
    PROVIDERS.iter().filter(|provider| provider.sink != "papertrail")
}

#[tokio::test]
async fn secrets_arrive_byte_for_byte_and_are_seen_nowhere_else() {
    for provider in over_http() {
        for from_file in [false, true] {
            tokio::time::timeout(LIMIT, one_secret(provider.name, from_file))
                .await
                .expect("the test takes too long");
        }
    }
}

async fn one_secret(name: &str, from_file: bool) {
    let provider = find(name).unwrap();
    let server = HttpServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();

    let mut pairs = vec![("ACCESS_TOKEN".to_owned(), "token".to_owned())];
    // Of two keys one is enough, and both are too many.
    let needed = provider.variables.iter().filter(|variable| variable.is_required());
    for variable in needed.filter(|variable| variable.name != "NEW_RELIC_INSERT_KEY") {
        match (variable.name, harmless(variable.name)) {
            (name, Some(value)) => pairs.push((name.to_owned(), value.to_owned())),
            (name, None) if from_file => {
                pairs.push((format!("{name}_FILE"), path.to_str().unwrap().to_owned()))
            }
            (name, None) => pairs.push((name.to_owned(), SECRET.to_owned())),
        }
    }
    pairs
        .extend(AWS_KEY.into_iter().chain(NO_PAGES).map(|(name, value)| (name.to_owned(), value.to_owned())));
    let env = Env::from_pairs(pairs);
    let environment = from_environment(&env).unwrap();
    let text = generate(&environment).unwrap();
    assert!(!text.contains("p\"q") && !text.contains("p\\\"q"), "{name}: the generated text shows a secret");

    // The same configuration, with a source that sends one event, to the local server.
    let mut table: toml::Table = text.parse().unwrap();
    let source = toml::toml! { type = "demo_logs" format = "fly" interval = 0 count = 1 };
    table["sources"].as_table_mut().unwrap().insert("nats".into(), source.into());
    let (option, value) = local(provider, &server);
    let sink = table["sinks"][name].as_table_mut().unwrap();
    sink.insert(option.into(), value.into());
    sink.insert("healthcheck".into(), false.into());
    let config = Config::from_toml(&table.to_string(), "test", &Registry::builtin(), &env).unwrap();
    let debug = format!("{config:?}");
    // A dataset is no secret; it is all that may be seen.
    let hidden = debug.replace(&format!("dataset: {SECRET:?}"), "");
    assert!(!hidden.contains("q\\\\z$HOME") && !hidden.contains(SECRET), "{name}: {hidden}");

    let mut running =
        Topology::start(config, &TopologyOptions::default().with_env(env), std::future::pending::<()>())
            .await
            .unwrap();
    running.finished().await;
    assert_eq!(running.counts().sinks[0].1.delivered, 1, "{name}");
    let shown = shown(provider, &server.requests()[0]);
    assert!(shown.iter().all(|secret| secret == SECRET), "{name}: {shown:?}");
    // A webhook's URL is all of Slack's secret, and it goes where the test says.
    assert!(!shown.is_empty() || ["aws_cloudwatch", "aws_s3", "slack"].contains(&name), "{name}");
}

/// Where the table of [`Places`] says that the time, the level and the origin of an event are, they are.
#[tokio::test]
async fn each_row_sends_an_event_with_its_own_time_level_and_origin() {
    for provider in over_http() {
        let required = provider.variables.iter().filter(|variable| variable.is_required());
        // Of alternatives the first.
        let is_first = |name: &str| !["SIGNOZ_URI", "NEW_RELIC_INSERT_KEY"].contains(&name);
        let names = required.map(|variable| variable.name).filter(|name| is_first(name));
        let pairs: Vec<_> = names.map(|name| (name, harmless(name).unwrap_or("x"))).collect();
        let entry = entry(provider, &one_request(provider, &pairs).await);
        let Places { time, time_form, level, host, app, region, instance, .. } = provider.places;
        let expected = match time_form {
            TimeForm::Rfc3339 => TIME.to_owned(),
            TimeForm::Seconds => format!("{}.{:06}", NANOS / 1_000_000_000, NANOS / 1_000 % 1_000_000),
            TimeForm::Millis => (NANOS / 1_000_000).to_string(),
            TimeForm::Micros => (NANOS / 1_000).to_string(),
            TimeForm::Nanos => NANOS.to_string(),
            other => panic!("{other:?}"),
        };
        let rows = [
            (time, expected.as_str()),
            (level, "warn"),
            (host, "h1"),
            (app, "web"),
            (region, "ord"),
            (instance, "machine1"),
        ];
        for (place, expected) in rows.into_iter().filter(|(place, _)| !place.is_empty()) {
            assert!(
                says(at(&entry, place), expected),
                "{}: {place} is not {expected}: {entry}",
                provider.name
            );
        }
    }
}

/// Papertrail's is a line of syslog, of which the message is the event.
#[tokio::test]
async fn papertrail_gets_an_event_with_its_own_time_level_and_origin() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let env = Env::from_pairs(
        [("ACCESS_TOKEN", "t"), ("PAPERTRAIL_ENDPOINT", address.as_str())].into_iter().chain(NO_PAGES),
    );
    let mut table: toml::Table = generate(&from_environment(&env).unwrap()).unwrap().parse().unwrap();
    let sink = table["sinks"]["papertrail"].as_table_mut().unwrap();
    sink.insert("tls".into(), toml::toml! { enabled = false }.into());
    sink.insert("healthcheck".into(), false.into());
    let config = Config::from_toml(&table.to_string(), "test", &Registry::builtin(), &env).unwrap();
    let mut config = config;
    config.sources = vec![SourceEntry::new("nats", OneEvent::of_fly())];
    let mut running =
        Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
    let read = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).await.unwrap();
        text
    };
    let (text, ()) =
        tokio::time::timeout(LIMIT, async { tokio::join!(read, running.finished()) }).await.expect("in time");
    let (header, message) = text.split_once(" - - ").unwrap();
    assert_eq!(header, "<12>1 2026-11-22T05:00:00.000137Z h1 web machine1");
    let message: Value = serde_json::from_str(message).unwrap();
    assert_eq!(message["fly"]["region"], "ord");
}

/// What is not Fly's has no app that an object or a stream could be named after, and goes there all the same.
#[tokio::test]
async fn an_event_that_is_not_flys_gets_its_place_too() {
    for (name, pairs, place) in [
        ("aws_s3", vec![("AWS_BUCKET", "bucket")], "/bucket/unknown/2026-11-22/"),
        (
            "aws_cloudwatch",
            vec![("AWS_REGION", "eu-west-1"), ("CLOUDWATCH_LOG_GROUP_NAME", "g")],
            "unknown/unknown",
        ),
    ] {
        let event = OneEvent(format!(r#"{{"message":"m","timestamp":"{TIME}"}}"#));
        let request = request_for(find(name).unwrap(), &pairs, event).await;
        let found = format!("{} {}", request.path_and_query, request.text());
        assert!(found.contains(place), "{name}: {found}");
    }
}

/// Two keys are one too many for New Relic: the licence key wins.
#[tokio::test]
async fn new_relic_takes_either_key() {
    let provider = find("new_relic").unwrap();
    for (pairs, api_key, insert_key) in [
        (vec![("NEW_RELIC_INSERT_KEY", "i")], None, Some("i")),
        (vec![("NEW_RELIC_LICENSE_KEY", "l"), ("NEW_RELIC_INSERT_KEY", "i")], Some("l"), None),
        (vec![("NEW_RELIC_LICENSE_KEY", "l"), ("NEW_RELIC_ACCOUNT_ID", "a")], Some("l"), None),
    ] {
        let request = one_request(provider, &pairs).await;
        assert_eq!((request.header("api-key"), request.header("x-insert-key")), (api_key, insert_key));
    }
}

/// A SigNoz of one's own wants numbers for times, and no key.
#[tokio::test]
async fn a_signoz_of_ones_own_gets_the_time_as_a_number() {
    let provider = find("signoz").unwrap();
    for (uri, is_number) in
        [("http://signoz.internal:8082", true), ("https://ingest.eu.signoz.cloud/logs/vector", false)]
    {
        let request = one_request(provider, &[("SIGNOZ_URI", uri)]).await;
        let entry = entry(provider, &request);
        let expected = if is_number { json!(NANOS) } else { json!(TIME) };
        assert_eq!((&entry["timestamp"], &entry["severity_text"]), (&expected, &json!("warn")), "{uri}");
        assert_eq!(request.header("signoz-ingestion-key"), None);
    }
}

#[test]
fn a_key_that_cannot_be_right_is_warned_about() {
    for (key, warnings) in [("x", 1), ("9e885f1a-0e02-4a3c-9b5e-6f7b1e3f5a10", 0)] {
        let env = Env::from_pairs([("ACCESS_TOKEN", "t"), ("HYPERDX_API_KEY", key)]);
        let environment = from_environment(&env).unwrap();
        assert_eq!(environment.warnings.len(), warnings, "{:?}", environment.warnings);
        assert!(environment.warnings.iter().all(|warning| warning.contains("is not a UUID")));
    }
}

const NANOS: i64 = 1_795_323_600_000_137_000;

/// Nothing is listened on.
const NO_PAGES: [(&str, &str); 2] = [("API_ADDRESS", "off"), ("METRICS_ADDRESS", "off")];

/// The one request for one event, in an environment with these variables.
async fn one_request(provider: &Provider, pairs: &[(&str, &str)]) -> Request {
    request_for(provider, pairs, OneEvent::of_fly()).await
}

/// The same for an event of this text.
async fn request_for(provider: &Provider, pairs: &[(&str, &str)], event: OneEvent) -> Request {
    let server = HttpServer::start().await;
    let all = pairs.iter().copied().chain(AWS_KEY).chain(NO_PAGES).chain([("ACCESS_TOKEN", "token")]);
    let env = Env::from_pairs(all);
    let mut table: toml::Table = generate(&from_environment(&env).unwrap()).unwrap().parse().unwrap();
    let (option, value) = local(provider, &server);
    let sink = table["sinks"][provider.name].as_table_mut().unwrap();
    sink.insert(option.into(), value.into());
    sink.insert("healthcheck".into(), false.into());
    let config = Config::from_toml(&table.to_string(), "test", &Registry::builtin(), &env).unwrap();
    let mut config = config;
    config.sources = vec![SourceEntry::new("nats", event)];
    let options = TopologyOptions::default().with_env(env);
    let mut running = Topology::start(config, &options, std::future::pending::<()>()).await.unwrap();
    tokio::time::timeout(LIMIT, running.finished()).await.expect("the test takes too long");
    assert_eq!(running.counts().sinks[0].1.delivered, 1, "{}", provider.name);
    server.requests().remove(0)
}
