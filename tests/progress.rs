//! How far a long command is: a bar for a person at a terminal, and none in a file.

mod support;

use log_shipper::topology::disk;
use std::fs::File;
use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use support::http_server::{HttpServer, Reply};
use support::ports::free_port;
use support::program::{NO_PORTS, Program};
use support::terminal::PseudoTerminal;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// Runs a command whose standard error is this, to its end; what it writes to standard output.
async fn run(args: &[&str], standard_error: impl Into<Stdio>) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_log-shipper"));
    command.args(args).env_clear().envs(NO_PORTS).env("TERM", "xterm-256color");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(standard_error).kill_on_drop(true);
    let child = command.spawn().expect("the program starts");
    let output = timeout(LIMIT, child.wait_with_output()).await.expect("it takes too long").unwrap();
    assert!(output.status.success(), "{args:?}: {}", output.status);
    String::from_utf8(output.stdout).expect("text")
}

/// How far the bars were that have been drawn: `sending letters [===>   ] 10 of 30 (2s left)`.
fn drawn(said: &str, what: &str, total: &str) -> Vec<u64> {
    let mut bars = Vec::new();
    for bar in said.split(&format!("{what} [")).skip(1) {
        let (_, figures) = bar.split_once("] ").unwrap_or_else(|| panic!("no figures in {bar:?}"));
        let (done, rest) = figures.split_once(" of ").unwrap_or_else(|| panic!("no total in {bar:?}"));
        assert!(rest.starts_with(&format!("{total} (")), "{bar:?}");
        bars.push(done.replace(',', "").parse().unwrap_or_else(|_| panic!("no number in {bar:?}")));
    }
    assert!(bars.is_sorted(), "{bars:?}");
    bars
}

/// Waits until a terminal says this.
fn wait_for(terminal: &PseudoTerminal, words: &str) {
    let until = Instant::now() + LIMIT;
    while !terminal.said().contains(words) {
        assert!(Instant::now() < until, "no {words:?} in {:?}", terminal.said());
        std::thread::sleep(POLL_EVERY);
    }
}

/// What a person still sees at the end has no bar in it: the last thing said of its line is that it is cleared.
#[track_caller]
fn check_cleared(terminal: &PseudoTerminal) {
    let said = terminal.said();
    assert!(said.rfind("\u{1b}[2K") > said.rfind(" left)"), "{said:?}");
}

/// The server answers each request only when the bar shows those before it.
#[tokio::test(flavor = "multi_thread")]
async fn a_bar_shows_how_many_letters_are_sent() {
    let http = HttpServer::start().await;
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_owned();
    let (letters, config) = (path("dead.jsonl"), path("vector.toml"));
    let letter = |n| format!("{{\"sink\":\"out\",\"reason\":\"no\",\"event\":{{\"n\":{n}}}}}\n");
    std::fs::write(&letters, (0..30).map(letter).collect::<String>()).unwrap();
    let text = format!(
        "[sources.in]\ntype = 'stdin'\n[sinks.out]\ntype = 'http'\ninputs = ['in']\nuri = '{}'\nencoding.codec = 'json'\n\
         batch.max_events = 10\nrequest.concurrency = 1\nhealthcheck.enabled = false\n",
        http.url("/")
    );
    std::fs::write(&config, text).unwrap();
    let args = ["replay", "-c", &config, &letters];

    let terminal = Arc::new(PseudoTerminal::open((80, 24)));
    let (screen, answered) = (Arc::clone(&terminal), AtomicU64::new(0));
    http.respond_with(move |_| {
        let done = answered.fetch_add(1, Ordering::Relaxed) * 10;
        wait_for(&screen, &format!("] {done} of 30 ("));
        Reply::status(200)
    });
    let out = run(&args, terminal.side()).await;
    assert!(out.ends_with("out   30       30         0        0\n"), "{out}");
    let mut bars = drawn(&terminal.said(), "sending letters", "30");
    bars.dedup();
    // The last may be gone before it is drawn.
    assert!(matches!(bars[..], [0, 10, 20] | [0, 10, 20, 30]), "{bars:?}");
    check_cleared(&terminal);

    http.respond_with(|_| Reply::status(200));
    let log = path("log");
    let out = run(&args, File::create(&log).unwrap()).await;
    assert!(out.ends_with("out   30       30         0        0\n"), "{out}");
    check_no_bar(&log);
}

/// In a file, a bar would be a line that is longer than everything else.
#[track_caller]
fn check_no_bar(log: &str) {
    let log = std::fs::read_to_string(log).unwrap();
    assert!(!log.contains(['\u{1b}', '\r']) && !log.contains(" left)"), "{log:?}");
}

#[tokio::test]
async fn a_bar_shows_how_many_events_are_drained() {
    const EVENTS: usize = 2000;
    let directory = tempfile::tempdir().unwrap();
    for is_terminal in [true, false] {
        let data_dir = directory.path().join(format!("data-{is_terminal}"));
        std::fs::create_dir(&data_dir).unwrap();
        fill(&data_dir, EVENTS).await;
        let args = ["buffer", "drain", "out", "--data-dir", data_dir.to_str().unwrap()];
        let log = directory.path().join("log");
        let terminal = PseudoTerminal::open((80, 24));
        let standard_error = if is_terminal { terminal.side() } else { File::create(&log).unwrap() };
        let out = run(&args, standard_error).await;
        assert_eq!(out.lines().count(), EVENTS);
        if is_terminal {
            wait_for(&terminal, "draining events [");
            let bars = drawn(&terminal.said(), "draining events", "2,000");
            assert!(bars.last().is_some_and(|last| (1..=2000).contains(last)), "{bars:?}");
            check_cleared(&terminal);
        } else {
            check_no_bar(log.to_str().unwrap());
        }
    }
}

/// Leaves so many events in the buffer on disk of a sink `out`.
async fn fill(data_dir: &Path, events: usize) {
    let config = format!(
        "data_dir = '{}'\n[sources.in]\ntype = 'demo_logs'\nformat = 'fly'\ninterval = 0\ncount = {events}\n\
         [sinks.out]\ntype = 'http'\ninputs = ['in']\nuri = 'http://127.0.0.1:{}/'\nencoding.codec = 'json'\n\
         healthcheck.enabled = false\nbuffer = {{type = 'disk', max_size = 268435488}}\n",
        data_dir.display(),
        free_port()
    );
    let program = Program::run(&config, &[]);
    let is_full =
        || disk::list(data_dir).is_ok_and(|list| list.first().is_some_and(|one| one.events == events as u64));
    let waited = timeout(LIMIT, async {
        while !is_full() {
            sleep(POLL_EVERY).await;
        }
    });
    assert!(waited.await.is_ok(), "{}", program.log());
    program.signal("-TERM").await;
    program.ended().await;
}
