//! The configurations of `examples/configs`, each as it is in the program itself, between a real nats-server and
//! destinations on loopback. Only addresses are others.

mod support;

use async_nats::ConnectOptions;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use flate2::read::MultiGzDecoder;
use futures::StreamExt;
use http::Method;
use nkeys::KeyPair;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use support::certificates::Certificates;
use support::http_server::{HttpServer, Reply, Request};
use support::jetstream::JetStream;
use support::nats_server::{NatsServer, Options};
use support::ports::free_port;
use support::program::{Book, Program, run};
use support::publisher::Publisher;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use toml::Table;

/// Where Fly's machines find their logs, as it stands in the examples.
const FLY: &str = "nats://[fdaa::3]:4223";
const USER: (&str, &str) = ("acme", "FlyV1 t0ken");
const FLY_ENV: [(&str, &str); 2] = [("ORG", USER.0), ("ACCESS_TOKEN", USER.1)];
const LIMIT: Duration = Duration::from_secs(30);

fn examples() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/configs")
}

/// An example in a directory of its own, with other addresses.
struct Example {
    path: String,
    _directory: TempDir,
}

impl Example {
    /// Each of the texts to be replaced stands in the example.
    #[track_caller]
    fn new(name: &str, replaced: &[(&str, &str)]) -> Example {
        let mut text = std::fs::read_to_string(examples().join(name)).expect(name);
        for (old, new) in replaced {
            assert_eq!(text.matches(old).count(), 1, "{name}: {old}");
            text = text.replace(old, new);
        }
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file to write");
        Example { path: path.to_str().expect("UTF-8").to_owned(), _directory: directory }
    }

    async fn start(&self, env: &[(&str, &str)]) -> Program {
        Program::start(&["run", "-c", &self.path], env, "connected to NATS").await
    }
}

/// The log stream of an organisation.
async fn fly() -> NatsServer {
    let user_password = Some((USER.0.to_owned(), USER.1.to_owned()));
    NatsServer::with(Options { user_password, ..Options::default() }).await
}

fn with_fly_env<'a>(more: &[(&'a str, &'a str)]) -> Vec<(&'a str, &'a str)> {
    FLY_ENV.iter().chain(more).copied().collect()
}

/// An event as Fly sends it; `n` tells it from others, and makes its time.
fn event(n: u64, app: &str, level: &str, message: &str) -> Value {
    json!({
        "event": {"provider": "app"},
        "fly": {"app": {"instance": format!("machine-{app}"), "name": app}, "region": "ams"},
        "host": "b7c1",
        "log": {"level": level},
        "message": message,
        "timestamp": time(n),
        "n": n,
    })
}

/// The time of an event, and the same in nanoseconds.
fn time(n: u64) -> String {
    format!("2026-11-22T05:00:00.{:09}Z", n * 1_000_001)
}

fn nanoseconds(n: u64) -> String {
    (1_795_323_600_000_000_000 + n * 1_000_001).to_string()
}

/// Publishes the events, once the example is there to hear them.
async fn publish(nats: &NatsServer, events: &[Value]) {
    nats.wait_for_subscription("logs.>").await;
    let mut publisher = Publisher::connect(&nats.url(), Some(USER)).await;
    for event in events {
        let app = &event["fly"]["app"];
        let [name, instance] = [&app["name"], &app["instance"]].map(|text| text.as_str().expect("text"));
        publisher.publish(&format!("logs.{name}.ams.{instance}"), event.to_string()).await;
    }
    publisher.flush().await;
}

/// The requests that bring something: no healthchecks.
fn sent(requests: &[Request]) -> impl Iterator<Item = &Request> {
    requests.iter().filter(|request| [Method::POST, Method::PUT].contains(&request.method))
}

/// The events of requests whose bodies are lines of JSON, or one array.
fn events(requests: &[Request]) -> Vec<Value> {
    let values = sent(requests).flat_map(Request::json_lines);
    values.flat_map(|value| if let Value::Array(items) = value { items } else { vec![value] }).collect()
}

/// The numbers of events, each as often as it is there.
fn numbers<'a>(events: impl IntoIterator<Item = &'a Value>) -> Vec<u64> {
    let number = |event: &Value| event["n"].as_u64().unwrap_or_else(|| panic!("no number: {event}"));
    let mut numbers: Vec<_> = events.into_iter().map(number).collect();
    numbers.sort_unstable();
    numbers
}

/// Each of these sinks has delivered so many, and nothing else has become of any.
#[track_caller]
fn check_books(books: &[(String, Book)], expected: &[(&str, u64)]) {
    let books: HashMap<_, _> = books.iter().map(|(name, book)| (name.as_str(), book.clone())).collect();
    let all = |count: u64| Book { received: count, delivered: count, ..Book::default() };
    assert_eq!(books, expected.iter().map(|(name, count)| (*name, all(*count))).collect());
}

#[tokio::test]
async fn each_example_is_valid_without_its_environment() {
    let mut count = 0;
    for entry in std::fs::read_dir(examples()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "md") {
            continue;
        }
        let ended = run(&["validate", "--no-environment", "-c", path.to_str().unwrap()], &[]).await;
        assert_eq!(ended.code, Some(0), "{}: {}", path.display(), ended.err);
        // A component that needs variables which are not set is not looked at any further, and that is said.
        let warnings = ended.err.lines().filter(|line| line.starts_with("warning"));
        let others: Vec<_> =
            warnings.filter(|line| !line.contains("it depends on the environment")).collect();
        assert!(others.is_empty(), "{}: {others:?}", path.display());
        count += 1;
    }
    assert!(count > 7, "{count}");
}

#[tokio::test]
async fn fly_to_loki() {
    let (nats, loki) = (fly().await, HttpServer::start().await);
    let example = Example::new("fly-to-loki.toml", &[(FLY, &nats.url())]);
    let address = loki.url("");
    let env = [("LOKI_URL", address.as_str()), ("LOKI_USERNAME", "7"), ("LOKI_PASSWORD", "glc_x")];
    let program = example.start(&with_fly_env(&env)).await;
    let apps = ["web", "api"];
    let levels = ["info", "error"];
    let mut published: Vec<_> =
        (0..200).map(|n| event(n, apps[n as usize % 2], levels[n as usize / 2 % 2], "GET / 200")).collect();
    published[7]["message"] = r#"{"msg":"paid","host":"spoofed","amount":12}"#.into();
    publish(&nats, &published).await;

    /// Labels, time and line of each event.
    fn lines(requests: &[Request]) -> Vec<(Value, String, Value)> {
        let pushes = sent(requests).map(Request::json);
        let streams = pushes.flat_map(|push| push["streams"].as_array().expect("streams").clone());
        let of_stream = |stream: Value| {
            let values = stream["values"].as_array().expect("values").clone();
            let labels = stream["stream"].clone();
            values.into_iter().map(move |value| {
                let text = |at: usize| value[at].as_str().expect("text");
                (labels.clone(), text(0).to_owned(), serde_json::from_str(text(1)).expect("JSON"))
            })
        };
        streams.flat_map(of_stream).collect()
    }
    let requests = loki.wait_until(|requests| lines(requests).len() >= 200).await;
    check_books(&program.stop().await, &[("loki", 200)]);
    for request in sent(&requests) {
        assert_eq!(request.path_and_query, "/loki/api/v1/push");
        assert_eq!(request.header("authorization"), Some("Basic NzpnbGNfeA=="));
        assert_eq!(request.header("content-encoding"), Some("gzip"));
    }
    let lines = lines(&loki.requests());
    assert_eq!(numbers(lines.iter().map(|(.., line)| line)), Vec::from_iter(0..200));
    for (labels, time, line) in lines {
        let n = line["n"].as_u64().unwrap();
        let event = &published[n as usize];
        let expected =
            json!({"app": event["fly"]["app"]["name"], "region": "ams", "level": event["log"]["level"]});
        assert_eq!((labels, time), (expected, nanoseconds(n)), "{line}");
        assert_eq!(line["host"], "b7c1");
        let message = if n == 7 { "paid" } else { "GET / 200" };
        assert_eq!(line["message"], message);
        assert_eq!(line["app"]["amount"], if n == 7 { json!(12) } else { Value::Null });
    }
}

#[tokio::test]
async fn fly_to_s3_and_datadog() {
    let (nats, s3, datadog) = (fly().await, HttpServer::start().await, HttpServer::start().await);
    // The sink knows a site, which is not here.
    let site = r#"site = "${DATADOG_SITE:-datadoghq.com}""#;
    let endpoint = format!("endpoint = \"{}\"", datadog.url(""));
    let example = Example::new("fly-to-s3-and-datadog.toml", &[(FLY, &nats.url()), (site, &endpoint)]);
    let address = s3.url("");
    let env = [
        ("BUCKET_NAME", "logs"),
        ("AWS_ENDPOINT_URL_S3", address.as_str()),
        ("AWS_ACCESS_KEY_ID", "tid_x"),
        ("AWS_SECRET_ACCESS_KEY", "tsec_x"),
        ("DATADOG_API_KEY", "dd-key"),
    ];
    let program = example.start(&with_fly_env(&env)).await;
    let apps = ["web", "wiki", "checkout", "blog"];
    let of = |n: u64| (apps[n as usize % 4], if n.is_multiple_of(5) { "error" } else { "info" });
    let mut published: Vec<_> = (0..200).map(|n| event(n, of(n).0, of(n).1, "done")).collect();
    // The last of all comes out at both ends.
    published.push(event(200, "payments", "fatal", "no connection"));
    publish(&nats, &published).await;
    let expected: Vec<u64> =
        (0..=200).filter(|n| n % 5 == 0 || ["web", "checkout"].contains(&of(*n).0)).collect();
    let requests = datadog.wait_until(|requests| events(requests).len() >= expected.len()).await;
    // An object is closed after five minutes, or at the end.
    check_books(&program.stop().await, &[("archive", 201), ("datadog", expected.len() as u64)]);

    assert_eq!(numbers(&events(&datadog.requests())), expected);
    assert!(sent(&requests).all(|request| request.header("dd-api-key") == Some("dd-key")));
    let requests = s3.requests();
    assert_eq!(numbers(&events(&requests)), Vec::from_iter(0..=200));
    let mut objects = BTreeSet::new();
    for request in sent(&requests) {
        let key = request.path_and_query.split_once("/fly/").expect("a key").1;
        let (app, rest) = key.split_once('/').unwrap();
        assert!(rest.starts_with("2026-11-22/"), "{key}");
        assert!(request.json_lines().iter().all(|event| event["fly"]["app"]["name"] == app), "{key}");
        assert!(request.header("authorization").unwrap().contains("Credential=tid_x/"));
        objects.insert(app.to_owned());
    }
    assert_eq!(objects.len(), 5, "{objects:?}");
}

#[tokio::test]
async fn slack_alerts() {
    let (nats, slack) = (fly().await, HttpServer::start().await);
    slack.default_reply(Reply::status(200).body("ok"));
    let example = Example::new("slack-alerts.toml", &[(FLY, &nats.url())]);
    let address = slack.url("/services/T/B/X");
    let program = example.start(&with_fly_env(&[("SLACK_WEBHOOK_URL", &address)])).await;
    let mut published: Vec<_> = (0..50).map(|n| event(n, "web", "info", "GET-/-200")).collect();
    for n in 50..60 {
        published.push(event(n, "web", "info", &format!("out of memory: number-{n}")));
    }
    published.push(event(60, "db", "info", "thread 'main' panicked: number-60"));
    published.push(event(61, "db", "fatal", "number-61"));
    publish(&nats, &published).await;
    let text = |requests: &[Request]| sent(requests).map(Request::text).collect::<String>();
    slack.wait_until(|requests| text(requests).contains("number-61")).await;
    let books = program.stop().await;
    let text = text(&slack.requests());
    let said: Vec<_> = (50..62).filter(|n| text.contains(&format!("number-{n}"))).collect();
    assert_eq!(said, [50, 51, 52, 60, 61], "{text}");
    assert!(!text.contains("GET"), "{text}");
    assert!(slack.requests().iter().all(|request| request.path_and_query == "/services/T/B/X"));
    check_books(&books, &[("slack", 5)]);
}

#[tokio::test]
async fn redact_and_sample() {
    let (nats, honeycomb) = (fly().await, HttpServer::start().await);
    honeycomb.respond_with(|request| {
        let count =
            if request.method == Method::POST { request.json().as_array().map_or(0, Vec::len) } else { 0 };
        Reply::status(200).body(json!(vec![json!({"status": 202}); count]).to_string())
    });
    // There is an endpoint, of which the example does not speak.
    let dataset = r#"dataset = "${HONEYCOMB_DATASET}""#;
    let endpoint = format!("{dataset}\nendpoint = \"{}\"", honeycomb.url(""));
    let example = Example::new("redact-and-sample.toml", &[(FLY, &nats.url()), (dataset, &endpoint)]);
    let env = [("HONEYCOMB_API_KEY", "hny-key"), ("HONEYCOMB_DATASET", "fly")];
    let program = example.start(&with_fly_env(&env)).await;

    // Each app's first, 11th, 21st and 31st of 35, none of their copies, and every error.
    let mut published = Vec::new();
    for n in 0..35 {
        for (start, app) in [(0, "web"), (100, "api")] {
            let message = format!("request-{n} with token=s3cr3t-{n} and card 4111 1111 1111 1111");
            let mut event = event(start + n, app, "info", &message);
            event["user"] = json!({"id": 7, "email": "s3cr3t@example.com"});
            event["headers"] = json!({"authorization": "Bearer s3cr3t.s3cr3t", "ssn": "078-05-1120"});
            published.push(event.clone());
            published.push(event);
        }
    }
    for n in 200..220 {
        published.push(event(n, "web", "error", &format!("number-{n} failed: password=s3cr3t")));
    }
    publish(&nats, &published).await;

    let events = |requests: &[Request]| -> Vec<Value> {
        events(requests).into_iter().map(|event| event["data"].clone()).collect()
    };
    let expected: Vec<u64> = [0, 10, 20, 30, 100, 110, 120, 130].into_iter().chain(200..220).collect();
    let requests = honeycomb.wait_until(|requests| events(requests).len() >= expected.len()).await;
    check_books(&program.stop().await, &[("honeycomb", expected.len() as u64)]);
    assert!(sent(&requests).all(|request| request.path_and_query == "/1/batch/fly"));
    let events = events(&honeycomb.requests());
    assert_eq!(numbers(&events), expected);
    let text = json!(events).to_string();
    for secret in ["s3cr3t", "4111", "1120"] {
        assert!(!text.contains(secret), "{secret}: {text}");
    }
    assert!(text.contains("request-10 with [REDACTED] and card [REDACTED]"), "{text}");
}

#[tokio::test]
async fn multiline() {
    let (nats, elasticsearch) = (fly().await, HttpServer::start().await);
    elasticsearch.default_reply(Reply::status(200).body(r#"{"took":1,"errors":false,"items":[]}"#));
    let example = Example::new("multiline.yaml", &[(FLY, &nats.url())]);
    let address = elasticsearch.url("");
    let env = [
        ("ELASTICSEARCH_URL", address.as_str()),
        ("ELASTICSEARCH_USER", "elastic"),
        ("ELASTICSEARCH_PASSWORD", "changeme"),
    ];
    let program = example.start(&with_fly_env(&env)).await;
    let lines =
        ["Exception in thread main", "\tat Main.run(Main.java:7)", "Caused by: no disk", "\t... 3 more"];
    let mut published = Vec::new();
    // The traces of two machines, line by line in turn.
    for (n, line) in (0..).zip(lines) {
        published.push(event(n, "web", "error", line));
        published.push(event(10 + n, "api", "info", line));
    }
    published.push(event(20, "web", "info", "GET / 200"));
    publish(&nats, &published).await;
    let documents = |requests: &[Request]| -> Vec<Value> {
        events(requests).into_iter().filter(|line| line.get("message").is_some()).collect()
    };
    let requests = elasticsearch.wait_until(|requests| documents(requests).len() >= 3).await;
    check_books(&program.stop().await, &[("elasticsearch", 3)]);
    assert!(sent(&requests).all(|request| request.path_and_query.starts_with("/_bulk")));
    let documents = documents(&elasticsearch.requests());
    let documents: BTreeMap<_, _> =
        documents.iter().map(|document| (document["n"].as_u64().unwrap(), document)).collect();
    let of = |level: &str, app: &str, n: u64, message: &str| {
        let time = time(n);
        (level.to_owned(), app.to_owned(), time, message.to_owned())
    };
    let found: BTreeSet<_> = documents
        .values()
        .map(|document| {
            let text =
                |path: &str| document.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
            (text("/log/level"), text("/fly/app/name"), text("/@timestamp"), text("/message"))
        })
        .collect();
    let trace = lines.join("\n");
    let expected =
        [of("error", "web", 0, &trace), of("info", "api", 10, &trace), of("info", "web", 20, "GET / 200")];
    assert_eq!(found, expected.into_iter().collect(), "{documents:?}");
}

#[tokio::test]
async fn archive_and_tail() {
    let (nats, archive) = (fly().await, tempfile::tempdir().unwrap());
    let folder = format!("{}/", archive.path().display());
    let example = Example::new("archive-and-tail.json", &[(FLY, &nats.url()), ("/var/log/fly/", &folder)]);
    let tail = archive.path().join("tail.log");
    let args = ["run", "-c", &example.path];
    let env = with_fly_env(&[]);
    let program = Program::start_into(File::create(&tail).unwrap(), &args, &env, "connected to NATS").await;
    let published: Vec<_> = (0..100)
        .map(|n| {
            event(n, ["web", "api"][n as usize % 2], if n % 11 == 0 { "error" } else { "info" }, "disk full")
        })
        .collect();
    publish(&nats, &published).await;
    let lines = || std::fs::read_to_string(&tail).unwrap();
    let written = async {
        while lines().lines().count() < 10 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let is_in_time = tokio::time::timeout(LIMIT, written).await.is_ok();
    assert!(is_in_time, "{}\n{}", lines(), program.log());
    check_books(&program.stop().await, &[("archive", 100), ("tail", 10)]);

    let expected: Vec<_> = (0..100)
        .filter(|n| n % 11 == 0)
        .map(|n| {
            let app = ["web", "api"][n % 2];
            format!("fly.app.name={app} message=\"disk full\" timestamp={}", time(n as u64))
        })
        .collect();
    assert_eq!(lines().lines().collect::<Vec<_>>(), expected);
    for (first, app) in [(0, "web"), (1, "api")] {
        let path = archive.path().join(app).join("2026-11-22.log.gz");
        let mut text = String::new();
        MultiGzDecoder::new(File::open(path).unwrap()).read_to_string(&mut text).unwrap();
        let events: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(numbers(&events), (first..100).step_by(2).collect::<Vec<_>>());
        assert!(events.iter().all(|event| event["fly"]["app"]["name"] == app));
    }
}

/// An operator, an account and a user of a nats-server, as `nsc` would make them.
struct Credentials {
    /// What the server's configuration says of them.
    server: String,
    /// The user's file.
    file: String,
}

impl Credentials {
    fn generate() -> Credentials {
        let (operator, account, user) =
            (KeyPair::new_operator(), KeyPair::new_account(), KeyPair::new_user());
        let operator_jwt = jwt(&operator, &operator, json!({"type": "operator"}));
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
            "conn": -1, "leaf": -1
        });
        let account_jwt = jwt(&operator, &account, json!({"type": "account", "limits": limits}));
        let user_jwt = jwt(&account, &user, json!({"type": "user", "subs": -1, "data": -1, "payload": -1}));
        let server = format!(
            "operator: \"{operator_jwt}\"\nresolver: MEMORY\nresolver_preload: {{ {}: \"{account_jwt}\" }}",
            account.public_key()
        );
        let file = format!(
            "-----BEGIN NATS USER JWT-----\n{user_jwt}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            user.seed().expect("a seed")
        );
        Credentials { server, file }
    }
}

/// What one says of another, signed.
fn jwt(issuer: &KeyPair, subject: &KeyPair, mut nats: Value) -> String {
    nats["version"] = 2.into();
    let claims = json!({
        "jti": "test", "iat": 1_700_000_000, "iss": issuer.public_key(), "name": "test",
        "sub": subject.public_key(), "nats": nats
    });
    let header = json!({"typ": "JWT", "alg": "ed25519-nkey"});
    let [header, claims] = [header, claims].map(|part| URL_SAFE_NO_PAD.encode(part.to_string()));
    let text = format!("{header}.{claims}");
    let signature = URL_SAFE_NO_PAD.encode(issuer.sign(text.as_bytes()).expect("a signature"));
    format!("{text}.{signature}")
}

#[tokio::test]
async fn own_nats_tls() {
    let (certificates, credentials) = (Certificates::generate(), Credentials::generate());
    let directory = tempfile::tempdir().unwrap();
    let creds = directory.path().join("shipper.creds");
    std::fs::write(&creds, &credentials.file).unwrap();
    let options =
        Options { tls: Some(certificates.mutual_tls()), extra: credentials.server, ..Options::default() };
    let (nats, http) = (NatsServer::with(options).await, HttpServer::start().await);
    let port = nats.port();
    let names = "tls://nats-1.example.com:4222,tls://nats-2.example.com:4222";
    let local = format!("tls://localhost:{port},tls://127.0.0.1:{port}");
    let example = Example::new("own-nats-tls.toml", &[(names, &local)]);
    let address = http.url("/in");
    let text = |path: &'_ Path| path.to_str().unwrap().to_owned();
    let files = [&certificates.ca, &certificates.client_cert, &certificates.client_key, &creds];
    let files = files.map(|path| text(path));
    let mut env: Vec<_> = ["NATS_CA", "NATS_CERT", "NATS_KEY", "NATS_CREDS"]
        .into_iter()
        .zip(files.iter().map(String::as_str))
        .collect();
    env.extend([("INGEST_URL", address.as_str()), ("INGEST_TOKEN", "s3cr3t")]);
    // Two of them share the messages.
    let programs = [example.start(&env).await, example.start(&env).await];
    let subscribed = async {
        while nats.subscriptions().await.iter().filter(|subject| *subject == "apps.*.logs").count() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(LIMIT, subscribed).await.expect("two subscriptions");

    let client = ConnectOptions::with_credentials(&credentials.file)
        .unwrap()
        .add_root_certificates(certificates.ca.clone())
        .add_client_certificate(certificates.client_cert.clone(), certificates.client_key.clone())
        .require_tls(true)
        .connect(format!("tls://localhost:{port}"))
        .await
        .unwrap();
    for n in 0..500 {
        let event = event(n, "web", "info", "GET / 200").to_string();
        client.publish(format!("apps.app{}.logs", n % 3), event.into()).await.unwrap();
    }
    client.flush().await.unwrap();
    http.wait_until(|requests| events(requests).len() >= 500).await;
    let mut delivered = 0;
    for program in programs {
        let books = program.stop().await;
        let [(_, book)] = books.as_slice() else { panic!("{books:?}") };
        assert!(book.delivered > 0, "one of two has got nothing");
        delivered += book.delivered;
    }
    assert_eq!(delivered, 500);
    let requests = http.requests();
    let events = events(&requests);
    assert_eq!(numbers(&events), Vec::from_iter(0..500));
    for event in events {
        let n = event["n"].as_u64().unwrap();
        assert_eq!(event["nats_subject"], format!("apps.app{}.logs", n % 3));
        assert_eq!(event["timestamp"], time(n));
    }
    for request in sent(&requests) {
        assert_eq!(request.header("authorization"), Some("Bearer s3cr3t"));
        assert_eq!(request.header("content-encoding"), Some("gzip"));
    }
}

/// Three replicas of the example, and the stream that they share.
struct Replicas {
    jetstream: JetStream,
    http: HttpServer,
    programs: Vec<Program>,
    _nats: NatsServer,
    _example: Example,
}

const MESSAGES: u64 = 3000;

impl Replicas {
    async fn start() -> Replicas {
        let user_password = Some((USER.0.to_owned(), USER.1.to_owned()));
        let options = Options { user_password, jetstream: true, ..Options::default() };
        let (nats, http) = (NatsServer::with(options).await, HttpServer::start().await);
        // So that there is always something that is delivered, but not acknowledged.
        http.respond_with(|_| Reply::status(200).body("{}").late(Duration::from_millis(20)));
        let login = ConnectOptions::with_user_and_password(USER.0.to_owned(), USER.1.to_owned());
        let jetstream = JetStream::connect_with(login, nats.url()).await;
        let stream = json!({"name": "LOGS", "subjects": ["logs.>"], "storage": "file"});
        let answer = jetstream.ask("STREAM.CREATE.LOGS", stream).await;
        assert!(answer["error"].is_null(), "{answer}");
        let example = Example::new("jetstream-three-replicas.toml", &[]);
        let (url, address) = (nats.url(), http.url("/in"));
        let env = [
            ("NATS_URL", url.as_str()),
            ("NATS_USER", USER.0),
            ("NATS_PASSWORD", USER.1),
            ("INGEST_URL", address.as_str()),
            ("INGEST_TOKEN", "s3cr3t"),
        ];
        let mut programs = Vec::new();
        for _ in 0..3 {
            programs.push(example.start(&env).await);
        }
        let replicas = Replicas { jetstream, http, programs, _nats: nats, _example: example };
        // All three ask for messages.
        replicas.wait_for_consumer(|consumer| consumer["num_waiting"].as_u64() >= Some(3)).await;
        replicas
    }

    async fn wait_for_consumer(&self, is_right: impl Fn(&Value) -> bool) {
        let mut last = Value::Null;
        let right = async {
            while !is_right(&last) {
                tokio::time::sleep(Duration::from_millis(10)).await;
                last = self.jetstream.ask("CONSUMER.INFO.LOGS.log-shipper-replicas", json!({})).await;
            }
        };
        let is_in_time = tokio::time::timeout(LIMIT, right).await.is_ok();
        assert!(is_in_time, "the consumer is not as it should be: {last}");
    }

    async fn wait_until_acknowledged(&self) {
        let is_done = |info: &Value| info["num_ack_pending"] == 0 && info["num_pending"] == 0;
        self.wait_for_consumer(is_done).await;
    }

    /// How often each has been delivered.
    fn delivered(&self) -> HashMap<u64, usize> {
        let mut counts = HashMap::new();
        for n in numbers(&events(&self.http.requests())) {
            *counts.entry(n).or_default() += 1;
        }
        counts
    }

    async fn wait_for(&self, count: usize) {
        self.http.wait_until(|requests| events(requests).len() >= count).await;
    }
}

#[tokio::test]
async fn jetstream_three_replicas_deliver_everything_once() {
    let mut replicas = Replicas::start().await;
    replicas.jetstream.publish(0..MESSAGES / 2).await;
    replicas.wait_for(500).await;
    // One is stopped in the middle, as at a rolling upgrade: what it has, it delivers.
    let (mut books, stopped) = (Vec::new(), replicas.programs.remove(0));
    let (_, stopped) = tokio::join!(replicas.jetstream.publish(MESSAGES / 2..MESSAGES), stopped.stop());
    books.extend(stopped);
    replicas.wait_until_acknowledged().await;
    for program in std::mem::take(&mut replicas.programs) {
        books.extend(program.stop().await);
    }
    assert_eq!(replicas.delivered(), (0..MESSAGES).map(|n| (n, 1)).collect());
    let delivered: Vec<_> = books.iter().map(|(_, book)| book.delivered).collect();
    assert_eq!(delivered.iter().sum::<u64>(), MESSAGES, "{delivered:?}");
    assert!(delivered.iter().all(|count| *count > 0), "one of three has got nothing: {delivered:?}");
}

#[tokio::test]
async fn jetstream_three_replicas_lose_nothing_when_one_is_killed() {
    let mut replicas = Replicas::start().await;
    let killed = replicas.programs.remove(0);
    let kill = async {
        replicas.wait_for(500).await;
        killed.signal("-KILL").await;
        killed.ended().await.0
    };
    let (_, code) = tokio::join!(replicas.jetstream.publish(0..MESSAGES), kill);
    assert_eq!(code, None, "it has ended by itself");
    replicas.wait_until_acknowledged().await;
    let delivered = replicas.delivered();
    let missing: Vec<_> = (0..MESSAGES).filter(|n| !delivered.contains_key(n)).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let copies = delivered.values().filter(|count| **count > 1).count();
    // Its batches under way, and what had come to it: not everything again.
    assert!(copies < 1000, "{copies}");
}

/// What a sink of the example with everything is told beside what the example says, so that it finds this server.
fn moved(sink: &str, url: &str, path: &str) -> Table {
    let text = match sink {
        "axiom" => format!("url = '{url}'"),
        "elasticsearch" => format!("endpoints = ['{url}']"),
        "http" => format!("uri = '{url}/in'"),
        // Its protocol buffers are for others to read.
        "loki" => format!("endpoint = '{url}'\ncompression = 'gzip'"),
        "slack" => format!("webhook_url = '{url}/services/T/B/X'\nkeywords = 'number'"),
        "file" => format!("path = '{path}/{{{{ fly.app.name }}}}-%F.log'"),
        _ => format!("endpoint = '{url}'"),
    };
    text.parse().expect("TOML")
}

#[tokio::test]
async fn every_option() {
    let nats = NatsServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_str().expect("UTF-8");
    let text = std::fs::read_to_string(examples().join("every-option.toml")).unwrap();
    let mut config: Table = text.parse().unwrap();
    config["sources"]["in"]["url"] = nats.url().into();
    let sinks = config["sinks"].as_table_mut().unwrap();
    let papertrail = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let metrics = format!("127.0.0.1:{}", free_port());
    let mut servers = BTreeMap::new();
    for (name, sink) in sinks.iter_mut() {
        let sink = sink.as_table_mut().unwrap();
        match name.as_str() {
            "blackhole" | "console" => {}
            "file" => sink.extend(moved(name, "", path)),
            "nats" => sink.extend(Table::from_iter([("url".to_owned(), nats.url().into())])),
            "papertrail" => {
                sink.insert("endpoint".into(), papertrail.local_addr().unwrap().to_string().into());
                sink.insert("tls".into(), toml::toml! { enabled = false }.into());
                // That would be another connection.
                sink.insert("healthcheck".into(), false.into());
            }
            "prometheus_exporter" => sink.extend([("address".to_owned(), metrics.clone().into())]),
            _ => {
                let server = HttpServer::start().await;
                sink.extend(moved(name, &server.url(""), path));
                servers.insert(name.clone(), server);
            }
        }
    }
    assert!(servers.len() >= 15, "{:?}", servers.keys());
    let file = directory.path().join("every-option.toml");
    std::fs::write(&file, config.to_string()).unwrap();
    let shipped = async_nats::connect(nats.url()).await.unwrap();
    let mut shipped = shipped.subscribe("shipped.web").await.unwrap();

    let console = directory.path().join("console.log");
    let args = ["run", "-c", file.to_str().unwrap()];
    let program = Program::start_into(File::create(&console).unwrap(), &args, &[], "connected to NATS").await;
    // What is shown in one message for people.
    const EVENTS: u64 = 10;
    let published: Vec<_> = (0..EVENTS).map(|n| event(n, "web", "info", &format!("number-{n}."))).collect();
    publish(&nats, &published).await;
    let lines = async move {
        let mut text = String::new();
        papertrail.accept().await.unwrap().0.read_to_string(&mut text).await.unwrap();
        text
    };
    let lines = tokio::spawn(lines);
    let mut texts = BTreeMap::new();
    let mut subjects = String::new();
    for _ in 0..EVENTS {
        let message = tokio::time::timeout(LIMIT, shipped.next()).await.expect("in time").unwrap();
        subjects.push_str(std::str::from_utf8(&message.payload).unwrap());
    }
    texts.insert("nats", subjects);
    let mut stream = TcpStream::connect(&metrics).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    assert!(page.contains("component_sent_events_total"), "{page}");
    // What is in open batches is delivered at the end.
    let books: HashMap<_, _> = program.stop().await.into_iter().collect();
    texts.insert("papertrail", tokio::time::timeout(LIMIT, lines).await.expect("an end").unwrap());
    texts.insert("console", std::fs::read_to_string(&console).unwrap());
    texts.insert("file", std::fs::read_to_string(directory.path().join("web-2026-11-22.log")).unwrap());
    for (name, server) in &servers {
        texts.insert(name, sent(&server.requests()).map(Request::text).collect());
    }
    assert_eq!(texts.len(), servers.len() + 4);
    for (name, text) in texts {
        let missing: Vec<_> = (0..EVENTS).filter(|n| !text.contains(&format!("number-{n}."))).collect();
        assert!(missing.is_empty(), "{name}: {missing:?} {text}");
        let expected = Book { received: EVENTS, delivered: EVENTS, ..Book::default() };
        assert_eq!(books.get(name), Some(&expected), "{name}");
    }
}
