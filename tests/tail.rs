//! `log-shipper tail` as its users see it, on a real nats-server.

mod support;

use serde_json::{Value, json};
use std::process::Stdio;
use std::time::Duration;
use support::jetstream::JetStream;
use support::nats_server::{NatsServer, Options};
use support::publisher::Publisher;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);

/// A tail, and what it prints.
struct Tail {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Tail {
    fn start(args: &[&str], env: &[(&str, &str)]) -> Tail {
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-shipper"));
        command.arg("tail").args(args).env_clear().envs(env.iter().copied()).kill_on_drop(true);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the command starts");
        let lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Tail { child, lines }
    }

    async fn line(&mut self) -> String {
        let line = timeout(LIMIT, self.lines.next_line()).await.expect("a line in time").expect("text");
        match line {
            Some(line) => line,
            None => panic!("it has ended: {}", self.messages().await),
        }
    }

    /// The numbers of so many events, in order: the stream may have stored them in another.
    async fn numbers(&mut self, many: usize) -> Vec<u64> {
        let mut numbers = Vec::new();
        while numbers.len() < many {
            let event: Value = serde_json::from_str(&self.line().await).expect("JSON");
            let n = event["n"].as_u64().expect("a number");
            assert_eq!(event.to_string(), value(&support::publisher::fly_event(n).1).to_string());
            numbers.push(n);
        }
        numbers.sort_unstable();
        numbers
    }

    async fn messages(&mut self) -> String {
        let mut text = String::new();
        let mut stderr = self.child.stderr.take().expect("a pipe");
        timeout(LIMIT, stderr.read_to_string(&mut text)).await.expect("an end").expect("text");
        text
    }

    /// Waits for its end: the exit code, and what else it has printed.
    async fn ended(&mut self) -> (Option<i32>, Vec<String>) {
        let mut rest = Vec::new();
        while let Some(line) = timeout(LIMIT, self.lines.next_line()).await.expect("an end").expect("text") {
            rest.push(line);
        }
        (timeout(LIMIT, self.child.wait()).await.expect("an end").expect("a status").code(), rest)
    }

    async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().await.expect("kill is there").success());
    }
}

fn value(text: &str) -> Value {
    serde_json::from_str(text).expect("JSON")
}

fn event(app: &str, level: &str, message: &str) -> String {
    json!({
        "fly": {"app": {"name": app, "instance": "1a"}, "region": "ord"},
        "log": {"level": level}, "message": message, "timestamp": "2026-11-22T10:00:00.5Z",
    })
    .to_string()
}

#[tokio::test]
async fn it_shows_what_comes_and_is_no_member_of_the_queue_group() {
    let nats = NatsServer::start().await;
    let url = nats.url();
    let env = [("NATS_URL", url.as_str()), ("QUEUE", "q"), ("SUBJECT", "logs.>")];
    let mut tail = Tail::start(&[], &env);
    nats.wait_for_subscription("logs.>").await;
    assert!(nats.subscriptions().await.iter().all(|subscription| !subscription.contains("q ")));
    let mut publisher = Publisher::connect(&url, None).await;
    publisher.publish("logs.web.ord.1a", event("web", "warn", "one\n")).await;
    publisher.publish("logs.web.ord.2b", "plain \u{1b}[2Jtext").await;
    publisher.publish("logs.api.ams.3c", r#"{"message":"cut o"#).await;
    publisher.flush().await;
    assert_eq!(tail.line().await, "2026-11-22T10:00:00.500Z web[1a] ord [warn]  one");
    let plain = tail.line().await;
    assert!(plain.ends_with(" web[2b] ord         plain text"), "{plain}");
    let cut = tail.line().await;
    assert!(cut.ends_with(r#" api[3c] ams         {"message":"cut o"#), "{cut}");
    tail.signal("-INT").await;
    assert_eq!(tail.ended().await, (Some(0), vec![]));
}

#[tokio::test]
async fn what_no_destination_sees_it_does_not_show_either() {
    let nats = NatsServer::start().await;
    let url = nats.url();
    let secret = "ann@example.org";
    for (subject, args) in [("logs.>", &["-n", "2"][..]), ("logs.web.>", &["-n", "2", "--json"])] {
        let redact = ("REDACT", "email, /k[$]-[0-9]{1,9}/");
        let mut tail = Tail::start(args, &[("NATS_URL", &url), ("SUBJECT", subject), redact]);
        nats.wait_for_subscription(subject).await;
        let mut publisher = Publisher::connect(&url, None).await;
        publisher.publish("logs.web.ord.1a", event("web", "info", &format!("{secret} has k$-77"))).await;
        publisher.publish("logs.web.ord.1a", format!("no JSON of {secret} with k$-77")).await;
        publisher.flush().await;
        let (code, lines) = tail.ended().await;
        assert_eq!((code, lines.len()), (Some(0), 2), "{lines:?}");
        let (json, text) = (&lines[0], &lines[1]);
        assert!(json.contains("[email] has [redacted]"), "{json}");
        assert!(text.contains("no JSON of [email] with [redacted]"), "{text}");
        assert!(lines.iter().all(|line| !line.contains(secret) && !line.contains("k$-77")), "{lines:?}");
    }
    // A configuration's source has the option itself.
    let mut tail = Tail::start(&[], &[("NATS_URL", &url), ("REDACT", "mail")]);
    assert_eq!(tail.ended().await.0, Some(78));
    assert!(tail.messages().await.contains("REDACT is wrong: `mail` is unknown"));
}

#[tokio::test]
async fn it_shows_what_is_asked_for_and_ends() {
    let nats = NatsServer::start().await;
    let url = nats.url();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    let config = format!(
        "[sources.logs]\ntype = 'nats'\nurl = '{url}'\nconnection_name = 'x'\nsubject = 'logs.>'\nqueue = 'q'\n\
         [sinks.out]\ntype = 'blackhole'\ninputs = ['logs']\n"
    );
    std::fs::write(&path, config).unwrap();
    let env = [("NATS_URL", url.as_str())];
    let first = [event("web", "info", "a"), event("api", "error", "b"), event("web", "error", "c 17")];
    for (args, subject, expected) in [
        (&["--json", "-n", "2"][..], "logs.>", vec![0, 1]),
        (&["--json", "-n", "1", "api"], "logs.api.>", vec![1]),
        (&["--json", "-n", "2", "logs.api.*.*", "logs.web.>"], "logs.web.>", vec![0, 1]),
        (&["--json", "-n", "2", "--level", "error"], "logs.>", vec![1, 2]),
        (&["--json", "-n", "1", "--app", "api", "--app", "other"], "logs.>", vec![1]),
        (&["--json", "-n", "1", "--grep", "/\\d+/"], "logs.>", vec![2]),
        (&["--json", "-n", "1", "--region", "ord", "--grep", "c 1"], "logs.>", vec![2]),
        (&["--json", "-n", "3", "-c", path.to_str().unwrap()], "logs.>", vec![0, 1, 2]),
    ] {
        let mut tail = Tail::start(args, &env);
        nats.wait_for_subscription(subject).await;
        let mut publisher = Publisher::connect(&url, None).await;
        for (subject, event) in ["logs.web.ord.1a", "logs.api.ord.1a", "logs.web.ord.1a"].iter().zip(&first) {
            publisher.publish(subject, event).await;
        }
        publisher.flush().await;
        let expected: Vec<_> = expected.into_iter().map(|at: usize| first[at].clone()).collect();
        assert_eq!(tail.ended().await, (Some(0), expected), "{args:?}");
    }
}

#[tokio::test]
async fn a_closed_pipe_ends_it() {
    let nats = NatsServer::start().await;
    let url = nats.url();
    let mut tail = Tail::start(&[], &[("NATS_URL", &url)]);
    nats.wait_for_subscription("logs.>").await;
    let mut publisher = Publisher::connect(&url, None).await;
    let publish = async |publisher: &mut Publisher| {
        publisher.publish("logs.web.ord.1a", event("web", "info", "x")).await;
        publisher.flush().await;
    };
    publish(&mut publisher).await;
    tail.line().await;
    let Tail { mut child, lines } = tail;
    drop(lines);
    publish(&mut publisher).await;
    assert_eq!(timeout(LIMIT, child.wait()).await.expect("an end").unwrap().code(), Some(0));
}

#[tokio::test]
async fn what_cannot_work_is_said() {
    let nats = NatsServer::with(Options { jetstream: true, ..Options::default() }).await;
    let url = nats.url();
    let no_server = ["nats://127.0.0.1:1"];
    for (args, env, code, words) in [
        (&[][..], &[][..], 78, "ACCESS_TOKEN is not set"),
        (&["logs..x"], &[("NATS_URL", url.as_str())], 64, "logs..x: "),
        (&["--since", "10m"], &[("NATS_URL", &url)], 78, "--stream NAME, or JETSTREAM_STREAM"),
        (&["--since", "10m", "--stream", "a.b"], &[("NATS_URL", &url)], 78, "cannot be the name of a stream"),
        (
            &["--since", "10m", "--stream", "NONE"],
            &[("NATS_URL", &url)],
            1,
            "there is no JetStream stream NONE; `nats stream ls` shows those that there are",
        ),
        (&["--since", "soon"], &[], 64, "such as 30s"),
        (&["--stream", "S"], &[], 64, "--since"),
        (&["--level", "loud"], &[], 64, "expected one of trace"),
        (&["--grep", "/(/"], &[], 64, "unclosed group"),
        (&[], &[("NATS_URL", no_server[0])], 1, "127.0.0.1:1"),
    ] {
        let mut tail = Tail::start(args, env);
        let messages = tail.messages().await;
        assert!(messages.contains(words), "{args:?}: {messages}");
        assert_eq!(tail.ended().await.0, Some(code), "{args:?}: {messages}");
    }
}

#[tokio::test]
async fn since_reads_a_stream_beside_its_consumer() {
    let mut nats = NatsServer::with(Options { jetstream: true, ..Options::default() }).await;
    let url = nats.url();
    let stream = JetStream::connect(&url).await;
    stream.make_stream(json!({})).await;
    stream.make_consumer(json!({})).await;
    stream.publish(0..300).await;
    let env = [("NATS_URL", url.as_str()), ("JETSTREAM_STREAM", "S"), ("JETSTREAM_CONSUMER", "C")];
    let mut tail = Tail::start(&["--json", "--since", "1h"], &env);
    assert_eq!(tail.numbers(300).await, Vec::from_iter(0..300));
    // The shipper's own consumer has given nothing away, and has nobody to wait for.
    let durable = stream.consumer().await;
    assert_eq!((&durable["num_pending"], &durable["num_ack_pending"]), (&json!(300), &json!(0)));
    let names = stream.ask("CONSUMER.NAMES.S", json!({})).await;
    let ours: Vec<_> = names["consumers"].as_array().unwrap().iter().filter(|name| *name != "C").collect();
    assert_eq!(ours.len(), 1, "{names}");
    let name = ours[0].as_str().unwrap();
    let look = stream.ask(&format!("CONSUMER.INFO.S.{name}"), json!({})).await;
    assert_eq!(look["config"]["durable_name"], Value::Null);
    assert_eq!(look["config"]["inactive_threshold"], 60_000_000_000_u64);
    // What comes is shown too, and after a new start of the server, nothing comes twice.
    nats.restart().await;
    stream.publish(300..310).await;
    assert_eq!(tail.numbers(10).await, Vec::from_iter(300..310));
    tail.signal("-TERM").await;
    assert_eq!(tail.ended().await, (Some(0), vec![]));
    // Only what is newer.
    stream.publish(310..320).await;
    let mut newer = Tail::start(&["--json", "--since", "0s", "-n", "1"], &env);
    let mut n = 320;
    // Whatever was stored before it began is not shown.
    let first = loop {
        stream.publish(n..n + 1).await;
        n += 1;
        if let Ok(line) = timeout(Duration::from_millis(50), newer.lines.next_line()).await {
            break line.expect("text").expect("a line");
        }
    };
    assert!(value(&first)["n"].as_u64().unwrap() >= 320, "{first}");
    assert_eq!(newer.ended().await.0, Some(0));
}
