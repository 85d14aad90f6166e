//! `log-shipper top` as its users see it: as text, and in a pseudo terminal.

mod support;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use std::io::Write;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus};
use std::sync::Arc;
use std::time::{Duration, Instant};
use support::http_server::{HttpServer, Reply};
use support::program::{Ended, Program, run};
use support::terminal::{PseudoTerminal, resize};

const LIMIT: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// What a shipper says whose sink has this state.
fn status(healthy: bool, state: &str) -> Value {
    let component = |kind: &str, id: &str, component_type: &str, state: &str| {
        json!({
            "id": id, "kind": kind, "type": component_type, "inputs": [], "dead_letters": false, "state": state,
            "since": null, "last_event": null, "trouble": null, "received": 1000, "received_bytes": 0,
            "sent": 900, "rejected": 0, "dropped": {}, "errors": 4, "disconnects": 0, "pending": 0,
            "buffered": 100, "buffer": null, "lag_secs": null, "held_batches": 0,
            "rates": {"received": 10.0, "sent": 9.0, "errors": 0.5},
        })
    };
    let mut sink = component("sink", "datadog", "datadog_logs", state);
    let mut reasons = json!([]);
    if state == "failing" {
        let advice = "look at DATADOG_API_KEY";
        sink["trouble"] =
            json!({"at": "2026-11-22T12:00:00Z", "text": "bad \u{1b}[31mkey", "advice": advice});
        reasons = json!([{
            "component": "sinks.datadog", "fatal": !healthy, "problem": "unauthorised",
            "since": null, "advice": advice,
        }]);
    }
    json!({
        "version": "1.2.3", "now": "2026-11-22T12:00:03Z", "started": "2026-11-22T11:00:00Z", "uptime_secs": 3603.0,
        "health": {"healthy": healthy, "reasons": reasons}, "tail": false,
        "totals": {"received": 1000, "delivered": 900, "rejected": 0, "dropped": {}, "buffered": 100,
                   "dead_letters": 0, "lost": 0},
        "components": [component("source", "nats", "nats", "working"), sink],
    })
}

fn answering(status: Value) -> impl Fn(&support::http_server::Request) -> Reply {
    move |request| match request.path_and_query.as_str() {
        "/api/status" => Reply::status(200).body(status.to_string()),
        "/api/history" => Reply::status(200).body(r#"{"step_secs":10,"times":[],"components":{}}"#),
        _ => Reply::status(404),
    }
}

async fn once(server: &HttpServer, more: &[&str]) -> Ended {
    let url = server.url("");
    run(&[&["top", "--once", "--url", &url], more].concat(), &[]).await
}

#[tokio::test]
async fn once_prints_a_table_and_ends_as_the_shipper_is() {
    let server = HttpServer::start().await;
    server.respond_with(answering(status(true, "working")));
    let ended = once(&server, &[]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let row = ended.out.lines().find(|line| line.contains("datadog")).expect("a row of the sink");
    let cells: Vec<_> = row.split_whitespace().collect();
    assert_eq!(cells, ["sink", "datadog", "datadog_logs", "working", "10", "9.0", "0.5", "4"]);
    assert!(ended.out.contains("logs flow\n") && ended.out.contains("up 1 h\n"), "{}", ended.out);

    server.respond_with(answering(status(false, "failing")));
    let ended = once(&server, &[]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    for expected in [
        "LOGS DO NOT FLOW: sinks.datadog: unauthorised",
        "sinks.datadog (12:00:00 UTC, 3 s ago): bad \u{fffd}[31mkey; look at DATADOG_API_KEY",
    ] {
        assert!(ended.out.contains(expected), "{expected:?} is not in {}", ended.out);
    }
    assert!(!ended.out.contains('\u{1b}'), "{:?}", ended.out);

    let ended = once(&server, &["--format", "json"]).await;
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let said: Value = serde_json::from_str(&ended.out).expect("JSON");
    assert_eq!(said["components"][1]["trouble"]["advice"], "look at DATADOG_API_KEY");
}

#[tokio::test]
async fn every_other_answer_is_told_with_what_to_do() {
    let server = HttpServer::start().await;
    let late = Reply::status(200).late(Duration::from_secs(30));
    for (reply, expected) in [
        (Reply::status(200).body("<html>"), "its answer is not a shipper's"),
        (Reply::status(200).body("{\"health\": 1}"), "its answer is not a shipper's"),
        (Reply::status(200).body("[".repeat(100_000)), "its answer is not a shipper's"),
        (Reply::status(200).body(" ".repeat(5 << 20)), "its answer is larger than 3 MiB"),
        (Reply::status(403), "it answers 403 Forbidden; ask at the API's own address"),
        (Reply::status(421), "it answers 421 Misdirected Request; ask at the API's own address"),
        (Reply::status(404), "it answers 404 Not Found; something else answers there"),
        (Reply::status(500), "it answers 500"),
        (Reply::status(302).header("location", "/elsewhere"), "it answers 302"),
        (Reply::Reset, "the connection failed"),
        (late, "no answer within 3 s"),
    ] {
        server.push(reply);
        let ended = once(&server, &[]).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(1), ""), "{expected}: {ended:?}");
        let place = format!("no status from {}", server.url("/api/status"));
        assert!(
            ended.err.contains(&place) && ended.err.contains(expected),
            "{expected:?} is not in {}",
            ended.err
        );
        assert!(ended.err.len() < 1000, "{}", ended.err);
    }
    let mut server = server;
    server.stop().await;
    let ended = once(&server, &[]).await;
    assert_eq!(ended.code, Some(1));
    assert!(ended.err.contains("cannot connect") && ended.err.contains("api.enabled"), "{}", ended.err);
}

#[tokio::test]
async fn the_address_comes_from_the_environment_as_well() {
    let server = HttpServer::start().await;
    server.respond_with(answering(status(true, "working")));
    let address = format!("0.0.0.0:{}", server.port());
    let ended = run(&["top", "--once"], &[("API_ADDRESS", &address)]).await;
    assert_eq!(ended.code, Some(0), "{ended:?}");
}

#[tokio::test]
async fn what_cannot_be_is_bad_usage() {
    for (args, expected) in [
        (&["top", "--url", "http://127.0.0.1:1"][..], "--once"),
        (&["top", "--once", "--interval", "0"], "--interval 0: expected seconds, 0.2 to 3600"),
        (&["top", "--once", "--interval", "NaN"], "--interval NaN"),
        (&["top", "--once", "--url", "nowhere"], "--url"),
        (&["top", "--format", "json"], "--once"),
    ] {
        let ended = run(args, &[]).await;
        assert_eq!((ended.code, ended.out.as_str()), (Some(64), ""), "{args:?}: {ended:?}");
        assert!(ended.err.contains(expected), "{expected:?} is not in {}", ended.err);
    }
}

/// `top` in a pseudo terminal; killed when dropped.
struct Session {
    child: Child,
    terminal: PseudoTerminal,
    /// So much of what it has said has been waited for.
    seen: usize,
}

impl Session {
    fn start(url: &str, size: (u16, u16)) -> Session {
        let terminal = PseudoTerminal::open(size);
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-shipper"));
        command.args(["top", "--url", url, "--interval", "0.2"]).env_clear().env("TERM", "xterm-256color");
        // A group of its own, as a shell gives it: Ctrl-Z stops the whole group.
        command.stdin(terminal.side()).stdout(terminal.side()).stderr(terminal.side()).process_group(0);
        let child = command.spawn().expect("the program starts");
        Session { child, terminal, seen: 0 }
    }

    fn said(&self) -> String {
        self.terminal.said()
    }

    /// Waits until this has been written, behind what was waited for last.
    fn wait_for(&mut self, words: &str) {
        self.seen = self.wait(words, |session| {
            let said = session.said();
            said.get(session.seen..)?.find(words).map(|at| session.seen + at + words.len())
        });
    }

    #[track_caller]
    fn wait<T>(&mut self, what: &str, mut look: impl FnMut(&mut Session) -> Option<T>) -> T {
        let start = Instant::now();
        loop {
            if let Some(found) = look(self) {
                return found;
            }
            assert!(start.elapsed() < LIMIT, "no {what:?} in {:?}", self.said());
            std::thread::sleep(POLL_EVERY);
        }
    }

    fn press(&mut self, keys: &str) {
        self.terminal.keys.write_all(keys.as_bytes()).expect("the terminal takes keys");
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).expect("it runs");
    }

    fn is_stopped(&self) -> bool {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).expect("it runs");
        stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T'))
    }

    /// Waits for the end, and demands that the terminal is as it was.
    #[track_caller]
    fn ended(mut self) -> ExitStatus {
        let status = self.wait("an end", |session| session.child.try_wait().expect("a status"));
        assert!(!self.terminal.is_raw(), "the terminal is still raw");
        self.wait("the old screen", |session| session.terminal.is_given_back().then_some(()));
        status
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The blocking side of a test, beside the server.
async fn beside(test: impl FnOnce() + Send + 'static) {
    tokio::task::spawn_blocking(test).await.expect("the session goes well");
}

#[tokio::test]
async fn a_person_looks_chooses_and_leaves() {
    let server = Arc::new(HttpServer::start().await);
    server.respond_with(answering(status(false, "failing")));
    let url = server.url("");
    let asked = Arc::clone(&server);
    beside(move || {
        let mut session = Session::start(&url, (80, 24));
        session.wait_for("unauthorised");
        session.wait_for("DATADOG_API_KEY");
        assert!(session.terminal.is_raw());
        // The type is for those who have room.
        assert!(!session.said().contains("TYPE"));
        resize(&session.terminal.keys, (140, 40));
        session.signal(Signal::WINCH);
        session.wait_for("TYPE");
        session.press("?");
        session.wait_for("Ctrl-Z");
        session.press("\u{1b}");
        session.press("s");
        session.wait_for("rate");
        session.press("p");
        session.wait_for("PAUSED");
        session.press("p");
        session.press("j");
        // Of the sink's details, and only there.
        session.wait_for("trouble");
        // Asked again and again.
        let asks =
            || asked.requests().iter().filter(|request| request.path_and_query == "/api/status").count();
        let until = Instant::now() + LIMIT;
        while asks() < 2 {
            assert!(Instant::now() < until, "it is asked once only");
            std::thread::sleep(POLL_EVERY);
        }
        session.press("q");
        assert_eq!(session.ended().code(), Some(0));
    })
    .await;
    // The history is asked for once.
    let requests = server.requests();
    let of = |path: &str| requests.iter().filter(|request| request.path_and_query == path).count();
    assert_eq!(of("/api/history"), 1);
}

#[tokio::test]
async fn whatever_ends_it_the_terminal_is_what_it_was() {
    let server = HttpServer::start().await;
    server.respond_with(answering(status(true, "working")));
    let url = server.url("");
    beside(move || {
        for end in ["\u{3}", "\u{1b}", "TERM", "INT", "HUP"] {
            let mut session = Session::start(&url, (80, 24));
            session.wait_for("datadog");
            match end {
                "TERM" => session.signal(Signal::TERM),
                "INT" => session.signal(Signal::INT),
                "HUP" => session.signal(Signal::HUP),
                keys => session.press(keys),
            }
            assert_eq!(session.ended().code(), Some(0), "{end:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn control_z_gives_the_terminal_to_the_shell_for_a_while() {
    let server = HttpServer::start().await;
    server.respond_with(answering(status(true, "working")));
    let url = server.url("");
    beside(move || {
        let mut session = Session::start(&url, (80, 24));
        session.wait_for("datadog");
        session.press("\u{1a}");
        session.wait("stop", |session| session.is_stopped().then_some(()));
        assert!(!session.terminal.is_raw());
        session.wait_for("\u{1b}[?1049l");
        session.signal(Signal::CONT);
        session.wait_for("datadog");
        assert!(session.terminal.is_raw());
        session.press("q");
        assert_eq!(session.ended().code(), Some(0));
    })
    .await;
}

#[tokio::test]
async fn it_waits_for_a_shipper_that_is_not_there_and_comes_back_to_one_that_is() {
    let mut server = HttpServer::start().await;
    server.respond_with(answering(status(true, "working")));
    let url = server.url("");
    server.stop().await;
    let (to_session, from_test) = std::sync::mpsc::channel::<()>();
    let (to_test, mut from_session) = tokio::sync::mpsc::channel::<()>(1);
    let session = beside(move || {
        let mut session = Session::start(&url, (80, 24));
        session.wait_for("ANSWER");
        session.wait_for("api.enabled");
        to_test.blocking_send(()).unwrap();
        session.wait_for("logs flow");
        from_test.recv().unwrap();
        session.wait_for("ANSWER");
        session.press("q");
        assert_eq!(session.ended().code(), Some(0));
    });
    let test = async {
        from_session.recv().await.expect("it says that nobody answers");
        server.start_again().await;
        server.wait_for(2).await;
        to_session.send(()).unwrap();
        server.stop().await;
    };
    tokio::join!(session, test);
}

#[tokio::test]
async fn a_real_shipper_tells_of_a_sink_that_fails_and_of_its_recovery() {
    let server = HttpServer::start().await;
    server.default_reply(Reply::status(401));
    let config = format!(
        "[api]\nenabled = true\naddress = '127.0.0.1:0'\n[sources.demo]\ntype = 'demo_logs'\nformat = 'fly'\n\
         interval = 0.05\n[sinks.out]\ntype = 'http'\ninputs = ['demo']\nuri = '{}'\nencoding.codec = 'json'\n\
         batch.timeout_secs = 0.05\nrequest.retry_initial_backoff_secs = 1\n\
         request.retry_max_duration_secs = 1\nhealthcheck.enabled = false\n",
        server.url("/")
    );
    let mut shipper = Program::run(&config, &[]);
    shipper.wait_for_log("the API is at http://").await;
    let log = shipper.log();
    let (_, rest) = log.split_once("the API is at ").expect("it was there");
    let url = rest.split_whitespace().next().expect("an address").to_owned();
    let until = async |code: i32, words: &str| {
        let asked = async {
            loop {
                let ended = run(&["top", "--once", "--url", &url], &[]).await;
                if ended.code == Some(code) && ended.out.contains(words) {
                    return ended;
                }
            }
        };
        tokio::time::timeout(LIMIT, asked).await.unwrap_or_else(|_| panic!("never {code} with {words:?}"))
    };
    let ended = until(1, "LOGS DO NOT FLOW").await;
    for expected in ["sinks.out", "401", "failing", "demo_logs"] {
        assert!(ended.out.contains(expected), "{expected:?} is not in {}", ended.out);
    }
    // In the terminal as well.
    let place = url.clone();
    beside(move || {
        let mut session = Session::start(&place, (100, 30));
        session.wait_for("401");
        session.wait_for("demo_logs");
        session.press("q");
        assert_eq!(session.ended().code(), Some(0));
    })
    .await;
    server.default_reply(Reply::status(200));
    let ended = until(0, "logs flow").await;
    // What went wrong is still told.
    assert!(ended.out.contains("last trouble:") && ended.out.contains("401"), "{}", ended.out);
}
