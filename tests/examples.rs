//! Each program in `examples/` runs, with real input, and does what it says.

mod support;

use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::Duration;
use support::http_server::HttpServer;
use support::nats_server::NatsServer;
use support::ports::free_port;
use support::program::NO_PORTS;
use support::publisher::Publisher;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::{TcpStream, UdpSocket};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

/// Those that a test here runs.
const RUN: [&str; 7] =
    ["axum_tail", "custom_sink", "custom_source", "custom_transform", "embed", "testing", "two_topologies"];

async fn in_time<T>(test: impl Future<Output = T>) -> T {
    timeout(LIMIT, test).await.expect("the test takes too long")
}

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name).with_extension("rs")
}

/// An example, built: beside the folder of this test's own program.
fn example(name: &str) -> Command {
    let tests = std::env::current_exe().unwrap();
    let path = tests.ancestors().nth(2).unwrap().join("examples").join(name);
    let modified = |path: &Path| path.metadata().and_then(|file| file.modified()).ok();
    assert!(
        modified(&path) >= modified(&source(name)),
        "{} is not there, or is older than its source: cargo build --examples",
        path.display()
    );
    let mut command = Command::new(path);
    command.env_clear().envs(NO_PORTS).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs one to its end, and gives what it has printed.
async fn output(command: &mut Command) -> String {
    let Output { status, stdout, stderr } = command.output().await.unwrap();
    assert!(status.success(), "{status}: {}", String::from_utf8_lossy(&stderr));
    String::from_utf8(stdout).unwrap()
}

/// One that runs until it is told to stop.
struct Running {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Running {
    fn start(command: &mut Command) -> Running {
        // Nobody would read what it logs.
        let mut child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Running { child, lines }
    }

    async fn next_line(&mut self) -> String {
        self.lines.next_line().await.unwrap().expect("it has ended")
    }

    /// Sends the signal of Ctrl-C, and gives what it prints up to its end.
    async fn stop(mut self) -> String {
        let pid = self.child.id().unwrap().to_string();
        assert!(Command::new("kill").args(["-INT", &pid]).status().await.unwrap().success());
        let mut rest = String::new();
        self.lines.into_inner().read_to_string(&mut rest).await.unwrap();
        assert!(self.child.wait().await.unwrap().success(), "{rest}");
        rest
    }
}

/// A configuration in a file, and `run` with it.
fn run_with(command: &mut Command, directory: &Path, config: &str) {
    let path = directory.join("vector.toml");
    std::fs::write(&path, config).unwrap();
    command.args(["run", "-c"]).arg(path);
}

#[test]
fn none_is_forgotten() {
    let files = std::fs::read_dir(source("embed").parent().unwrap()).unwrap();
    let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
    let names: BTreeSet<_> = names.filter_map(|name| name.strip_suffix(".rs").map(str::to_owned)).collect();
    assert_eq!(names, BTreeSet::from(RUN.map(str::to_owned)));
}

#[test]
fn a_sink_of_ones_own_takes_less_than_forty_lines() {
    let text = std::fs::read_to_string(source("custom_sink")).unwrap();
    assert!(text.lines().count() < 40, "{} lines", text.lines().count());
}

#[tokio::test]
async fn custom_sink() {
    in_time(async {
        let list = output(example("custom_sink").args(["list", "sinks"])).await;
        assert!(list.contains("Deliver events to Acme."), "{list}");

        let (server, directory) = (HttpServer::start().await, tempfile::tempdir().unwrap());
        let config = format!(
            "[sources.in]\ntype = 'demo_logs'\nformat = 'fly'\ninterval = 0.0\ncount = 5\n\
             [sinks.acme]\ninputs = ['in']\ntype = 'acme'\nendpoint = '{}'\ntoken = '${{ACME_TOKEN}}'\n\
             compression = 'gzip'\nbatch.max_events = 3",
            server.url("/v1")
        );
        let mut command = example("custom_sink");
        run_with(&mut command, directory.path(), &config);
        output(command.env("ACME_TOKEN", "secret-token")).await;
        let requests = server.requests();
        let lengths = requests.iter().map(|request| {
            assert_eq!(request.path_and_query, "/v1");
            assert_eq!(request.header("x-token"), Some("secret-token"));
            assert_eq!(request.header("content-encoding"), Some("gzip"));
            let events = request.json();
            let events = events.as_array().unwrap();
            assert!(events.iter().all(|event| event["fly"]["app"]["name"].is_string()), "{events:?}");
            events.len()
        });
        let mut lengths: Vec<_> = lengths.collect();
        lengths.sort_unstable();
        assert_eq!(lengths, [2, 3]);
    })
    .await;
}

#[tokio::test]
async fn custom_source() {
    in_time(async {
        let (address, directory) = (format!("127.0.0.1:{}", free_port()), tempfile::tempdir().unwrap());
        let config = format!(
            "[sources.in]\ntype = 'udp'\naddress = '{address}'\n\
             [sinks.out]\ntype = 'console'\ninputs = ['in']\nencoding.codec = 'json'"
        );
        let mut command = example("custom_source");
        run_with(&mut command, directory.path(), &config);
        let mut running = Running::start(&mut command);
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // Those that are sent before it listens are lost.
        let send = async {
            loop {
                let _ = socket.send_to(b"a \"line\"", &address).await;
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let line = tokio::select! {
            line = running.next_line() => line,
            () = send => unreachable!("it sends for ever"),
        };
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!((&event["message"], &event["host"]), (&"a \"line\"".into(), &"127.0.0.1".into()));
        running.stop().await;
    })
    .await;
}

#[tokio::test]
async fn custom_transform() {
    in_time(async {
        let directory = tempfile::tempdir().unwrap();
        let config = "[sources.in]\ntype = 'stdin'\ndecoding.codec = 'json'\n\
                      [transforms.number]\ntype = 'number'\ninputs = ['in']\nfield = 'n'\n\
                      [sinks.out]\ntype = 'console'\ninputs = ['number']\nencoding.codec = 'json'";
        let mut command = example("custom_transform");
        run_with(&mut command, directory.path(), config);
        let lines = directory.path().join("lines");
        std::fs::write(&lines, "{\"a\": 1.50}\n{\"n\":\"x\"}\n{}\n").unwrap();
        let text = output(command.stdin(std::fs::File::open(lines).unwrap())).await;
        assert_eq!(text, "{\"a\": 1.50,\"n\":1}\n{\"n\":2}\n{\"n\":3}\n");
    })
    .await;
}

#[tokio::test]
async fn embed() {
    in_time(async {
        let text = output(&mut example("embed")).await;
        let lines: Vec<_> = text.lines().collect();
        let events = lines.iter().filter(|line| line.contains("fly.app.name=")).count();
        assert_eq!(events, 5, "{text}");
        assert!(text.contains("sink out: received 5, delivered 5"), "{text}");
    })
    .await;
}

#[tokio::test]
async fn two_topologies() {
    in_time(async {
        let directory = tempfile::tempdir().unwrap();
        let text = output(example("two_topologies").arg(directory.path())).await;
        let (umbrella, acme) = (text.find("umbrella: ").unwrap(), text.find("acme: ").unwrap());
        assert!(umbrella < acme, "{text}");
        for (tenant, report) in [("umbrella", &text[umbrella..acme]), ("acme", &text[acme..])] {
            let events = std::fs::read_to_string(directory.path().join(format!("{tenant}.jsonl"))).unwrap();
            let count = events.lines().count();
            assert!(count > 0, "{tenant}: no event");
            assert!(
                report.contains(&format!("sink out: received {count}, delivered {count}")),
                "{tenant}: {count} events: {report}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn testing() {
    in_time(async {
        let (nats, server) = (NatsServer::start().await, HttpServer::start().await);
        let mut command = example("testing");
        let running = Running::start(command.env("NATS_URL", nats.url()).env("HTTP_URL", server.url("")));
        nats.wait_for_subscription("logs.>").await;
        publish(&nats, r#"{"message":"hello","fly":{"app":{"name":"web"}}}"#).await;
        let requests = server.wait_for(1).await;
        assert_eq!(requests[0].path_and_query, "/web");
        let report = running.stop().await;
        assert!(report.contains("sink out: received 1, delivered 1"), "{report}");
    })
    .await;
}

async fn publish(nats: &NatsServer, payload: &str) {
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    publisher.publish("logs.web.lhr.machine1", payload.as_bytes()).await;
    publisher.flush().await;
}

/// Starts the web app and gives its address.
async fn start_axum_tail(nats_url: Option<&str>) -> (Running, String) {
    let mut command = example("axum_tail");
    command.arg("127.0.0.1:0");
    let mut running = Running::start(match nats_url {
        Some(url) => command.env("NATS_URL", url),
        None => &mut command,
    });
    let line = running.next_line().await;
    let address = line.strip_prefix("http://").and_then(|rest| rest.strip_suffix("/tail"));
    let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
    (running, address)
}

/// Asks for a page, and gives its status and what comes then.
async fn get(address: &str, path: &str) -> (String, Lines<BufReader<impl AsyncRead + Unpin + use<>>>) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let status = lines.next_line().await.unwrap().unwrap();
    (status, lines)
}

/// The next line that has this in it.
async fn next_with(lines: &mut Lines<BufReader<impl AsyncRead + Unpin>>, words: &str) -> String {
    loop {
        let line = lines.next_line().await.unwrap().expect("the answer has ended");
        if line.contains(words) {
            return line;
        }
    }
}

#[tokio::test]
async fn axum_tail() {
    in_time(async {
        let nats = NatsServer::start().await;
        let (_running, address) = start_axum_tail(Some(&nats.url())).await;

        let (status, mut all) = get(&address, "/tail").await;
        assert_eq!(status, "HTTP/1.1 200 OK");
        let (_, mut others) = get(&address, "/tail?subject=logs.other.%3E").await;
        nats.wait_for_subscription("logs.>").await;
        nats.wait_for_subscription("logs.other.>").await;
        publish(&nats, r#"{"message":"hello"}"#).await;
        assert_eq!(
            next_with(&mut all, "data:").await,
            r#"data: {"message":"hello","subject":"logs.web.lhr.machine1"}"#
        );
        // Whoever asked for others' has heard nothing of it.
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publisher.publish("logs.other.lhr.machine1", br#"{"message":"other"}"#).await;
        publisher.flush().await;
        assert_eq!(
            next_with(&mut others, "data:").await,
            r#"data: {"message":"other","subject":"logs.other.lhr.machine1"}"#
        );

        // Who has gone away is subscribed no more.
        drop(others);
        while nats.subscriptions().await.iter().any(|subject| subject == "logs.other.>") {
            publisher.publish("logs.other.lhr.machine1", br#"{"message":"other"}"#).await;
            publisher.flush().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }

        let (status, mut answer) = get(&address, "/tail?subject=logs..web").await;
        assert_eq!(status, "HTTP/1.1 400 Bad Request");
        next_with(&mut answer, "subject").await;
    })
    .await;
}

#[tokio::test]
async fn axum_tail_without_nats() {
    in_time(async {
        let (_running, address) = start_axum_tail(None).await;
        let (_, mut answer) = get(&address, "/tail?subject=logs.web.%3E").await;
        assert_eq!(
            next_with(&mut answer, "data:").await,
            r#"data: {"message":"hello","subject":"logs.web.lhr.machine1"}"#
        );
    })
    .await;
}
