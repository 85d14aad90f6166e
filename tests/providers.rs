//! Every provider: a secret from the environment reaches its destination byte for byte.

mod support;

use base64::Engine;
use log_shipper::config::{Config, Registry, from_environment, generate};
use log_shipper::env::Env;
use log_shipper::providers::PROVIDERS;
use log_shipper::topology::{Topology, TopologyOptions};
use std::time::Duration;
use support::http_server::{HttpServer, Request};

/// Everything that has ever broken a configuration made of text.
const SECRET: &str = r##"p"q\z$HOME ${X} 'r' #{s} %Y {{ t }} u"##;

const LIMIT: Duration = Duration::from_secs(60);

/// The option of the provider's sink that says where to, and the local value for it.
fn local(provider: &str, server: &HttpServer) -> (&'static str, String) {
    match provider {
        "axiom" => ("url", server.url("")),
        "better_stack" | "http" => ("uri", server.url("/")),
        "datadog" | "honeycomb" | "loki" => ("endpoint", server.url("")),
        other => panic!("say here how {other} is sent to a local server"),
    }
}

/// The secrets as the request shows them.
fn shown(provider: &str, request: &Request) -> Vec<String> {
    let header = |name: &str| request.header(name).unwrap_or_default().to_owned();
    let bearer = || header("authorization").strip_prefix("Bearer ").unwrap_or_default().to_owned();
    match provider {
        "axiom" | "better_stack" | "http" => vec![bearer()],
        "datadog" => vec![header("dd-api-key")],
        "honeycomb" => vec![header("x-honeycomb-team")],
        "loki" => {
            let encoded = header("authorization").strip_prefix("Basic ").unwrap_or_default().to_owned();
            let pair = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
            let pair = String::from_utf8(pair).unwrap();
            let (user, password) = pair.split_once(':').unwrap();
            vec![user.to_owned(), password.to_owned()]
        }
        other => panic!("say here where {other} shows its secrets"),
    }
}

#[tokio::test]
async fn secrets_arrive_byte_for_byte_and_are_seen_nowhere_else() {
    for provider in PROVIDERS {
        for from_file in [false, true] {
            tokio::time::timeout(LIMIT, one_secret(provider.name, from_file))
                .await
                .expect("the test takes too long");
        }
    }
}

async fn one_secret(name: &str, from_file: bool) {
    let provider = log_shipper::providers::find(name).unwrap();
    let server = HttpServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("secret");
    std::fs::write(&path, format!("{SECRET}\n")).unwrap();

    let mut pairs = vec![("ACCESS_TOKEN".to_owned(), "token".to_owned())];
    for variable in provider.variables.iter().filter(|variable| variable.is_required()) {
        match variable.name {
            "HTTP_URL" | "LOKI_URL" => pairs.push((variable.name.to_owned(), "http://replaced".to_owned())),
            name if from_file => pairs.push((format!("{name}_FILE"), path.to_str().unwrap().to_owned())),
            name => pairs.push((name.to_owned(), SECRET.to_owned())),
        }
    }
    let env = Env::from_pairs(pairs);
    let environment = from_environment(&env).unwrap();
    let text = generate(&environment).unwrap();
    assert!(!text.contains("p\"q") && !text.contains("p\\\"q"), "{name}: the generated text shows a secret");

    // The same configuration, with a source that sends one event, to the local server.
    let mut table: toml::Table = text.parse().unwrap();
    let source = toml::toml! { type = "demo_logs" format = "fly" interval = 0 count = 1 };
    table["sources"].as_table_mut().unwrap().insert("nats".into(), source.into());
    let (option, value) = local(name, &server);
    let sink = table["sinks"][name].as_table_mut().unwrap();
    sink.insert(option.into(), value.into());
    let config = Config::from_toml(&table.to_string(), "test", &Registry::builtin(), &env).unwrap();
    let debug = format!("{config:?}");
    // A dataset is no secret; it is all that may be seen.
    let hidden = debug.replace(&format!("dataset: {SECRET:?}"), "");
    assert!(!hidden.contains("q\\\\z$HOME") && !hidden.contains(SECRET), "{name}: {hidden}");

    let mut running =
        Topology::start(config, &TopologyOptions { env, ..TopologyOptions::default() }).await.unwrap();
    running.finished().await;
    assert_eq!(running.report().sinks[0].1.delivered, 1, "{name}");
    let requests = server.requests();
    let request =
        requests.iter().find(|request| !request.raw_body.is_empty() && request.text() != "[]").unwrap();
    let shown = shown(name, request);
    assert!(!shown.is_empty() && shown.iter().all(|secret| secret == SECRET), "{name}: {shown:?}");
}

#[tokio::test]
async fn each_row_sends_an_event_with_its_own_time_and_level() {
    const TIME: &str = "2026-11-22T05:00:00.000137000Z";
    const NANOS: i64 = 1_795_323_600_000_137_000;
    for provider in PROVIDERS {
        let server = HttpServer::start().await;
        let required = provider.variables.iter().filter(|variable| variable.is_required());
        let mut pairs: Vec<_> = required.map(|variable| (variable.name, "http://replaced")).collect();
        pairs.push(("ACCESS_TOKEN", "token"));
        let env = Env::from_pairs(pairs);
        let mut table: toml::Table = generate(&from_environment(&env).unwrap()).unwrap().parse().unwrap();
        let (option, value) = local(provider.name, &server);
        let sink = table["sinks"][provider.name].as_table_mut().unwrap();
        sink.insert(option.into(), value.into());
        sink.insert("healthcheck".into(), false.into());
        let config = Config::from_toml(&table.to_string(), "test", &Registry::builtin(), &env).unwrap();
        let config = Config { sources: vec![("nats".into(), Box::new(OneEvent))], ..config };
        let mut running = Topology::start(config, &TopologyOptions::default()).await.unwrap();
        running.finished().await;
        assert_eq!(running.report().sinks[0].1.delivered, 1, "{}", provider.name);
        let request = server.requests().remove(0);
        let (time, level) = match provider.name {
            "axiom" => {
                assert!(request.path_and_query.contains("timestamp-field=timestamp"));
                (request.json_lines()[0]["timestamp"] == TIME, request.json_lines()[0]["level"] == "warn")
            }
            "better_stack" => (request.json()[0]["dt"] == TIME, request.json()[0]["log"]["level"] == "warn"),
            "datadog" => {
                (request.json()[0]["timestamp"] == NANOS / 1_000_000, request.json()[0]["status"] == "warn")
            }
            "honeycomb" => {
                (request.json()[0]["time"] == TIME, request.json()[0]["data"]["log.level"] == "warn")
            }
            "http" => (request.json()[0]["timestamp"] == TIME, request.json()[0]["log"]["level"] == "warn"),
            "loki" => {
                let stream = &request.json()["streams"][0];
                (
                    stream["values"][0][0].as_str() == Some(&NANOS.to_string()),
                    stream["stream"]["level"] == "warn",
                )
            }
            other => panic!("say here where time and level go for {other}"),
        };
        assert!(time && level, "{}: {}", provider.name, request.text());
    }

    /// One Fly event.
    #[derive(Debug)]
    struct OneEvent;

    #[async_trait::async_trait]
    impl log_shipper::config::SourceConfig for OneEvent {
        async fn build(
            &self,
            cx: log_shipper::config::SourceContext,
        ) -> log_shipper::config::Result<log_shipper::config::Source> {
            let text = format!(
                r#"{{"event":{{"provider":"app"}},"fly":{{"app":{{"instance":"1","name":"a"}},"region":"ord"}},"host":"h","log":{{"level":"warn"}},"message":"m","timestamp":"{TIME}"}}"#
            );
            let event = log_shipper::event::LogEvent::from_json(text.into()).unwrap();
            Ok(Box::pin(async move {
                cx.output.send(vec![event]).await;
                Ok(())
            }))
        }
    }
}
