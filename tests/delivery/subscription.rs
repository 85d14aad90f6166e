//! Core subscriptions: none stays silent, and nothing comes twice.

use crate::support::collector::Collector;
use crate::support::http_server::HttpServer;
use crate::support::log_lines::LogLines;
use crate::support::nats_cluster::NatsCluster;
use crate::support::nats_server::{NatsServer, Options};
use crate::support::program::NO_PORTS;
use crate::support::proxy::{Direction, Proxy};
use crate::support::publisher::{Publisher, fly_event, frame};
use crate::{check_books, in_time, soak};
use log_shipper::config::{Config, Registry};
use log_shipper::env::Env;
use log_shipper::topology::{Report, RunningTopology, SourceSnapshot, Topology, TopologyOptions};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};

/// The number of an event that may be lost or come several times.
const PROBE: u64 = 1 << 40;

/// Subscribes to `logs.>` and collects what comes.
struct Shipper {
    running: RunningTopology,
    collector: Collector,
}

impl Shipper {
    async fn start(url: &str, options: &str) -> Shipper {
        Shipper::start_in(url, options, Env::default()).await
    }

    async fn start_in(url: &str, options: &str, env: Env) -> Shipper {
        let text = format!(
            "[sources.nats]\ntype = 'nats'\nurl = '{url}'\nconnection_name = 'test'\nsubject = 'logs.>'\n\
             decoding.codec = 'json'\nsubject_key_field = ''\n{options}\n\
             [sinks.out]\ntype = 'blackhole'\ninputs = ['nats']\n"
        );
        let mut config = Config::from_toml(&text, "test", &Registry::builtin(), &env)
            .unwrap_or_else(|problems| panic!("{problems}"));
        config.sinks.clear();
        let collector = Collector::default();
        let mut config = config.sink("out", &["nats"], collector.clone());
        config.sinks[0].options.buffer = toml::from_str("max_events = 5000\nwhen_full = 'block'").unwrap();
        let options = TopologyOptions::default().with_env(env);
        Shipper {
            running: Topology::start(config, &options, std::future::pending::<()>()).await.unwrap(),
            collector,
        }
    }

    fn source(&self) -> SourceSnapshot {
        self.running.counts().sources[0].1
    }

    /// Waits until the books of the source are so.
    async fn wait_until(&self, condition: impl Fn(&SourceSnapshot) -> bool) {
        while !condition(&self.source()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The numbers that have come, sorted.
    fn numbers(&self) -> Vec<u64> {
        let mut numbers = self.collector.numbers();
        numbers.retain(|number| *number != PROBE);
        numbers.sort_unstable();
        numbers
    }

    /// Waits until all numbers below this one have come.
    async fn wait_for_all(&self, end: u64) {
        let begin = Instant::now();
        loop {
            let seen = self.numbers();
            let missing: Vec<_> = (0..end).filter(|n| seen.binary_search(n).is_err()).collect();
            if missing.is_empty() {
                return;
            }
            let is_late = begin.elapsed() > Duration::from_secs(30);
            assert!(!is_late, "{} are missing: {missing:?}; {}", missing.len(), self.source());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Stops, and looks at the books: all that has come was delivered, each of these numbers once.
    async fn stop(mut self, numbers: std::ops::Range<u64>) -> SourceSnapshot {
        let report = self.running.stop(Duration::from_secs(20)).await;
        check_all(&report);
        assert_eq!(self.numbers(), numbers.collect::<Vec<_>>(), "lost or twice; {report}");
        report.sources[0].1
    }
}

fn check_all(report: &Report) {
    check_books(report);
    assert!(!report.has_losses(), "{report}");
    let (source, sink) = (report.sources[0].1, report.sinks[0].1);
    assert_eq!(
        (source.received, sink.received, sink.delivered),
        (sink.received, sink.received, sink.received),
        "{report}"
    );
}

async fn publish(publisher: &mut Publisher, numbers: std::ops::Range<u64>) {
    publisher.publish_events(numbers).await;
    publisher.flush().await;
}

// === a server that is not there ===

#[tokio::test]
async fn a_server_that_is_down_at_the_start_is_found_when_it_comes() {
    in_time(async {
        let mut nats = NatsServer::start().await;
        nats.stop().await;
        let shipper = Shipper::start(&nats.url(), "").await;
        tokio::time::sleep(Duration::from_secs(60).min(Duration::from_secs(2) * soak())).await;
        nats.start_again().await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publish(&mut publisher, 0..1_000).await;
        shipper.collector.wait_for(1_000).await;
        assert_eq!(shipper.stop(0..1_000).await.disconnects, 0);
    })
    .await;
}

/// Publishes events with these numbers until the server goes; how many it has written at most.
fn publish_until_it_goes(url: &str, from: u64) -> tokio::task::JoinHandle<u64> {
    let address = url.strip_prefix("nats://").unwrap().to_owned();
    tokio::spawn(async move {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(b"CONNECT {\"verbose\":false}\r\n").await.unwrap();
        for number in from.. {
            let mut lines = Vec::new();
            let (subject, event) = fly_event(number);
            frame(&mut lines, &subject, event.as_bytes());
            if stream.write_all(&lines).await.is_err() {
                return number + 1;
            }
            // About five thousand a second.
            if number % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
        unreachable!("the server goes")
    })
}

/// Killed under load again and again: what was confirmed to us arrives, nothing comes twice, and each loss of the
/// connection is counted.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_killed_under_load_costs_only_what_it_had_in_hand() {
    in_time(async {
        let rounds = if soak() > 1 { 20 } else { 4 };
        let mut nats = NatsServer::start().await;
        let mut shipper = Shipper::start(&nats.url(), "").await;
        let (mut confirmed, mut published) = (Vec::new(), 0);
        for _ in 0..rounds {
            nats.wait_for_subscription("logs.>").await;
            let mut publisher = Publisher::connect(&nats.url(), None).await;
            let before = shipper.collector.len();
            publish(&mut publisher, published..published + 1_000).await;
            shipper.collector.wait_for(before + 1_000).await;
            confirmed.extend(published..published + 1_000);
            published += 1_000;
            let load = publish_until_it_goes(&nats.url(), published);
            shipper.collector.wait_for(before + 1_500).await;
            nats.restart().await;
            published = load.await.unwrap();
        }
        nats.wait_for_subscription("logs.>").await;
        let report = shipper.running.stop(Duration::from_secs(20)).await;
        check_all(&report);
        let seen = shipper.numbers();
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "an event came twice");
        assert!(seen.last().is_some_and(|last| *last < published), "an event that nobody has published");
        let missing: Vec<_> = confirmed.iter().filter(|number| seen.binary_search(number).is_err()).collect();
        assert!(missing.is_empty(), "lost though it had come: {missing:?}");
        assert_eq!(report.sources[0].1.disconnects, rounds, "{report}");
    })
    .await;
}

/// A rolling upgrade: each server in turn lets go of its clients and ends. We have gone to another before.
///
/// A cluster has one of our subscriptions: when a member of a queue group leaves under load, nats-server 2.15 now and
/// then gives a message twice to those that are in no group.
async fn rolling_upgrade(queue: &str) {
    let mut cluster = NatsCluster::start(3, &Options::default()).await;
    let shipper = Shipper::start(&cluster.urls(), &format!("queue = '{queue}'")).await;
    let mut next = 0;
    for round in 0..3 * if soak() > 1 { 7 } else { 1 } {
        let (upgraded, other) = (round % 3, (round + 1) % 3);
        let mut publisher = Publisher::connect(&cluster.servers[other].url(), None).await;
        // Until the servers have told each other of the subscription.
        let before = shipper.collector.len();
        while shipper.collector.len() == before {
            publish(&mut publisher, PROBE..PROBE + 1).await;
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        cluster.servers[upgraded].lame_duck().await;
        // What is begun is brought to its end: of what a publisher that is cut off has sent, a server may give a part
        // to some subscribers only.
        let has_ended = AtomicBool::new(false);
        let ended = async {
            cluster.servers[upgraded].wait_for_end().await;
            has_ended.store(true, Ordering::SeqCst);
        };
        let load = async {
            while !has_ended.load(Ordering::SeqCst) {
                publish(&mut publisher, next..next + 20).await;
                next += 20;
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::join!(ended, load);
        cluster.servers[upgraded].start_again().await;
        cluster.wait_until_complete().await;
        shipper.wait_for_all(next).await;
    }
    let books = shipper.stop(0..next).await;
    assert_eq!(books.disconnects, 0, "{books}");
    assert!(books.resubscribes > 0, "it was on one of the servers: {books}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_upgrade_of_a_cluster_loses_nothing() {
    in_time(rolling_upgrade("")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rolling_upgrade_of_a_cluster_loses_nothing_in_a_queue_group() {
    in_time(rolling_upgrade("shippers")).await;
}

/// There is no other server to go to: the connection stays until it is closed, and comes again.
#[tokio::test]
async fn a_single_server_that_is_about_to_stop_is_used_to_the_end() {
    in_time(async {
        let extra = "lame_duck_duration: \"30s\"\nlame_duck_grace_period: \"1s\"".to_owned();
        let mut nats = NatsServer::with(Options { extra, ..Options::default() }).await;
        let shipper = Shipper::start(&nats.url(), "").await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        nats.lame_duck().await;
        publish(&mut publisher, 0..1_000).await;
        shipper.collector.wait_for(1_000).await;
        nats.wait_for_end().await;
        shipper.wait_until(|source| source.disconnects == 1).await;
        nats.start_again().await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publish(&mut publisher, 1_000..2_000).await;
        shipper.collector.wait_for(2_000).await;
        let books = shipper.stop(0..2_000).await;
        assert_eq!((books.disconnects, books.resubscribes), (1, 0));
    })
    .await;
}

// === a network that says nothing ===

/// Each stage of a connection, from the first packet on, is bounded in time.
#[tokio::test]
async fn a_server_that_accepts_and_says_nothing_is_tried_again() {
    in_time(async {
        let stages = [
            ("no INFO", "", Direction::ToClient, 0),
            ("half an INFO", "", Direction::ToClient, 100),
            ("no answer to CONNECT", "", Direction::ToServer, 0),
            ("no handshake", "tls_first = true", Direction::ToServer, 0),
        ];
        let tried = stages.map(async |(stage, options, direction, bytes)| {
            let nats = NatsServer::start().await;
            let proxy = Proxy::start(nats.port()).await;
            proxy.limit(direction, Some(bytes));
            let begin = Instant::now();
            let shipper = Shipper::start(&proxy.nats_url(), options).await;
            while proxy.accepted() < 2 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            assert!(begin.elapsed() < Duration::from_secs(12), "{stage}: {:?}", begin.elapsed());
            if options.is_empty() {
                proxy.limit(direction, None);
                nats.wait_for_subscription("logs.>").await;
                let mut publisher = Publisher::connect(&nats.url(), None).await;
                publish(&mut publisher, 0..10).await;
                shipper.collector.wait_for(10).await;
                shipper.stop(0..10).await;
            }
        });
        futures::future::join_all(tried).await;
    })
    .await;
}

#[tokio::test]
async fn a_half_open_socket_is_found_within_two_intervals() {
    in_time(async {
        let interval = Duration::from_millis(300);
        let nats = NatsServer::start().await;
        let proxy = Proxy::start(nats.port()).await;
        let shipper = Shipper::start(&proxy.nats_url(), "ping_interval_secs = 0.3").await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publish(&mut publisher, 0..100).await;
        shipper.collector.wait_for(100).await;
        // It is well for many intervals, though nothing is published.
        tokio::time::sleep(5 * interval).await;
        assert_eq!((shipper.source().disconnects, proxy.accepted()), (0, 1));
        let begin = Instant::now();
        proxy.silence();
        shipper.wait_until(|source| source.disconnects == 1).await;
        let found = begin.elapsed();
        // A machine under load may be late, but not by a whole interval more.
        assert!(found < 3 * interval, "found after {found:?}");
        // The server does not know yet that the first one is gone.
        while nats.subscriptions().await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        publish(&mut publisher, 100..200).await;
        shipper.collector.wait_for(200).await;
        let books = shipper.stop(0..200).await;
        assert_eq!((books.disconnects, books.resubscribes), (1, 0));
    })
    .await;
}

/// A sink takes nothing for many intervals, the buffer is full and nobody reads: nothing is wrong with the
/// connection.
#[tokio::test]
async fn a_full_buffer_is_no_dead_connection() {
    in_time(async {
        let nats = NatsServer::start().await;
        let options = "ping_interval_secs = 0.1\nidle_resubscribe_secs = 0.5";
        let shipper = Shipper::start(&nats.url(), options).await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        for round in 0..3u64 {
            shipper.collector.hold(true);
            publish(&mut publisher, round * 30_000..(round + 1) * 30_000).await;
            tokio::time::sleep(Duration::from_millis(700)).await;
            shipper.collector.hold(false);
            shipper.collector.wait_for(usize::try_from((round + 1) * 30_000).unwrap()).await;
        }
        assert_eq!(shipper.stop(0..90_000).await.disconnects, 0);
    })
    .await;
}

// === a subscription that is quiet ===

/// An hour without logs, but for one line each five minutes, in simulated time: a fresh connection each time, no
/// alarm, and each line arrives once.
#[tokio::test(flavor = "current_thread")]
async fn an_idle_hour_is_no_alarm() {
    const STEP: Duration = Duration::from_millis(50);
    let (lines, _guard) = LogLines::keep();
    let nats = NatsServer::start().await;
    let shipper = Shipper::start(&nats.url(), "").await;
    nats.wait_for_subscription("logs.>").await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    tokio::time::pause();
    // As long as a thread works for the runtime, the clock does not run ahead by itself.
    let (end, ended) = std::sync::mpsc::channel::<()>();
    let holder = tokio::task::spawn_blocking(move || ended.recv());
    let begin = tokio::time::Instant::now();
    for swaps in 0..12 {
        let last = tokio::time::Instant::now();
        while shipper.source().resubscribes == swaps {
            // Large steps as long as only pings are due, small ones around the change.
            let is_due = last.elapsed() > Duration::from_secs(298);
            tokio::time::advance(if is_due { STEP } else { Duration::from_secs(2) }).await;
            // The server has answered what came before, and time has passed for our side to read it.
            publisher.flush().await;
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_micros(500))).await.unwrap();
            assert!(last.elapsed() < Duration::from_secs(310), "no fresh connection");
        }
        publish(&mut publisher, swaps..swaps + 1).await;
        let begin = Instant::now();
        while shipper.collector.len() as u64 <= swaps {
            tokio::task::spawn_blocking(|| std::thread::sleep(Duration::from_millis(1))).await.unwrap();
            assert!(begin.elapsed() < Duration::from_secs(20), "the line after change {swaps} has not come");
        }
    }
    assert!(begin.elapsed() >= Duration::from_secs(3_600), "{:?}", begin.elapsed());
    end.send(()).unwrap();
    holder.await.unwrap().unwrap();
    tokio::time::resume();
    let books = shipper.stop(0..12).await;
    assert_eq!((books.disconnects, books.resubscribes), (0, 12));
    assert_eq!(lines.with("WARN"), [""; 0]);
    assert_eq!(lines.with("ERROR"), [""; 0]);
    assert_eq!(lines.with("on a fresh connection").len(), 12);
}

/// The shortest pauses of a busy stream are taken for idleness: connections change all the time.
async fn change_under_load(queue: &str) {
    let nats = NatsServer::start().await;
    let options = format!("idle_resubscribe_secs = 0.002\nqueue = '{queue}'");
    let shipper = Shipper::start(&nats.url(), &options).await;
    nats.wait_for_subscription("logs.>").await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    let mut next = 0;
    let changes = 15 * u64::from(soak());
    while shipper.source().resubscribes < changes {
        publish(&mut publisher, next..next + 200).await;
        next += 200;
        tokio::time::sleep(Duration::from_millis(next / 200 % 12)).await;
    }
    publish(&mut publisher, next..next + 200).await;
    next += 200;
    shipper.collector.wait_for(usize::try_from(next).unwrap()).await;
    if queue.is_empty() {
        let numbers = shipper.collector.numbers();
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]), "not in the order of their publisher");
    }
    let books = shipper.stop(0..next).await;
    assert_eq!(books.disconnects, 0, "{books}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_changes_under_load_lose_nothing_and_bring_nothing_twice() {
    in_time(async { tokio::join!(change_under_load(""), change_under_load("shippers")) }).await;
}

/// Stopped at any moment of a change: what the server had sent by then is delivered, once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_end_in_the_middle_of_a_change_loses_nothing() {
    in_time(async {
        let nats = NatsServer::start().await;
        let rounds = 30 * u64::from(soak());
        for round in 0..rounds {
            let batches = 2 + round % 40;
            let queue = if round % 2 == 0 { "queue = 'shippers'" } else { "" };
            let options = format!("idle_resubscribe_secs = 0.001\n{queue}");
            let shipper = Shipper::start(&nats.url(), &options).await;
            nats.wait_for_subscription("logs.>").await;
            let mut publisher = Publisher::connect(&nats.url(), None).await;
            for start in 0..batches {
                publish(&mut publisher, start * 10..(start + 1) * 10).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            let books = shipper.stop(0..batches * 10).await;
            assert_eq!(books.disconnects, 0, "{books}");
            while !nats.subscriptions().await.is_empty() {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        }
    })
    .await;
}

/// The connection has died without a word, and its pings are far apart: the fresh one finds out.
#[tokio::test(flavor = "current_thread")]
async fn a_dead_connection_is_told_when_a_fresh_one_takes_its_place() {
    in_time(async {
        let (lines, _guard) = LogLines::keep();
        let nats = NatsServer::start().await;
        let proxy = Proxy::start(nats.port()).await;
        let options = "ping_interval_secs = 3600\nidle_resubscribe_secs = 1.5";
        let shipper = Shipper::start(&proxy.nats_url(), options).await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publish(&mut publisher, 0..100).await;
        shipper.collector.wait_for(100).await;
        proxy.silence();
        while nats.subscriptions().await.len() < 2 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        publish(&mut publisher, 100..200).await;
        shipper.collector.wait_for(200).await;
        let books = shipper.source();
        assert_eq!((books.disconnects, books.resubscribes), (1, 1));
        assert_eq!(lines.with("WARN").len(), 1);
        assert_eq!(lines.with("the connection to NATS was dead: nothing had come for").len(), 1);
        shipper.stop(0..200).await;
    })
    .await;
}

#[tokio::test(flavor = "current_thread")]
async fn without_a_second_connection_the_first_one_goes_on() {
    in_time(async {
        let (lines, _guard) = LogLines::keep();
        // Room for us, the publisher and none more.
        let nats =
            NatsServer::with(Options { extra: "max_connections: 2".into(), ..Options::default() }).await;
        let shipper = Shipper::start(&nats.url(), "idle_resubscribe_secs = 0.1").await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        while lines.with("cannot open a second connection").len() < 3 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        publish(&mut publisher, 0..100).await;
        shipper.collector.wait_for(100).await;
        let books = shipper.stop(0..100).await;
        assert_eq!((books.disconnects, books.resubscribes), (0, 0));
        assert_eq!(lines.with("WARN"), [""; 0]);
    })
    .await;
}

// === who we are ===

#[tokio::test]
async fn a_token_that_is_revoked_and_then_replaced_in_its_file_is_read_anew() {
    in_time(async {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        std::fs::write(&path, "old").unwrap();
        let env = Env::from_pairs([("TOKEN_FILE", path.to_str().unwrap())]);
        let with = |token: &str| Options { token: Some(token.into()), ..Options::default() };
        let mut nats = NatsServer::with(with("old")).await;
        let auth = "auth.strategy = 'token'\nauth.token.value = '${TOKEN}'";
        let shipper = Shipper::start_in(&nats.url(), auth, env).await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect_with_token(&nats.url(), "old").await;
        publish(&mut publisher, 0..100).await;
        shipper.collector.wait_for(100).await;
        nats.reconfigure(with("new")).await;
        while !nats.log().contains("authentication error") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        std::fs::write(&path, "new\n").unwrap();
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect_with_token(&nats.url(), "new").await;
        publish(&mut publisher, 100..200).await;
        shipper.collector.wait_for(200).await;
        assert_eq!(shipper.stop(0..200).await.disconnects, 1);
    })
    .await;
}

// === replicas ===

fn replica(nats: &str, http: &str) -> Child {
    Command::new(env!("CARGO_BIN_EXE_log-shipper"))
        .env_clear()
        .envs([("NATS_URL", nats), ("QUEUE", "auto"), ("FLY_APP_NAME", "shipper")])
        .envs(NO_PORTS)
        .envs([("HTTP_URL", http), ("HTTP_TOKEN", "t")])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap()
}

fn numbers(http: &HttpServer) -> Vec<u64> {
    let requests = http.requests();
    let events = requests.iter().flat_map(|request| request.json().as_array().cloned().unwrap_or_default());
    let mut numbers: Vec<u64> = events.filter_map(|event| event["n"].as_u64()).collect();
    numbers.sort_unstable();
    numbers
}

/// Two machines of one app; one is told to stop while both are busy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replica_that_stops_under_load_leaves_no_gap_and_no_overlap() {
    in_time(async {
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        let url = http.url("/");
        let (stopping, mut staying) = (replica(&nats.url(), &url), replica(&nats.url(), &url));
        while nats.subscriptions().await.iter().filter(|subject| *subject == "logs.>").count() < 2 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        let mut load = async |numbers: std::ops::Range<u64>| {
            for start in numbers.step_by(100) {
                publish(&mut publisher, start..start + 100).await;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        load(0..10_000).await;
        let pid = stopping.id().unwrap().to_string();
        let begin = Instant::now();
        let stopped = async {
            assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
            (stopping.wait_with_output().await.unwrap(), begin.elapsed())
        };
        let ((output, took), ()) = tokio::join!(stopped, load(10_000..30_000));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        assert!(took < Duration::from_secs(5), "it took {took:?}");
        http.wait_until(|requests| {
            requests.iter().map(|r| r.json().as_array().map_or(0, Vec::len)).sum::<usize>() >= 30_000
        })
        .await;
        assert_eq!(numbers(&http), (0..30_000).collect::<Vec<_>>());
        staying.start_kill().unwrap();
    })
    .await;
}
