//! Messages of a JetStream stream: delivered, then acknowledged, whatever happens in between.

use crate::support::http_server::{HttpServer, Reply, Request};
use crate::support::jetstream::JetStream;
use crate::support::nats_cluster::NatsCluster;
use crate::support::nats_server::{NATS_SOURCE, NatsServer, Options};
use crate::support::program::Program;
use crate::support::publisher::Publisher;
use crate::{check_books, in_time, soak, start, until};
use async_nats::ServerAddr;
use chrono::{DateTime, Utc};
use futures::StreamExt;
use log_shipper::config::{Config, Registry};
use log_shipper::env::Env;
use log_shipper::topology::{RunningTopology, Topology, TopologyOptions};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};
use std::collections::HashMap;
use std::process::Stdio;
use std::time::Duration;

/// No test waits longer than this for what it has published.
const DELIVERED_WITHIN: Duration = Duration::from_secs(60);
const STOP: Duration = Duration::from_secs(20);

async fn server() -> NatsServer {
    NatsServer::with(Options { jetstream: true, ..Options::default() }).await
}

/// A source that reads the stream with these options, and sends lines.
fn config(nats: &str, http: &HttpServer, options: &str) -> String {
    let source = NATS_SOURCE.replace("{nats}", nats);
    format!(
        "{source}
         jetstream.stream = 'S'
         jetstream.consumer = 'C'
         {options}
         [sinks.http]
         type = 'http'
         inputs = ['nats']
         uri = '{}'
         encoding.codec = 'json'
         framing.method = 'newline_delimited'
         batch.timeout_secs = 0.05
         request.retry_initial_backoff_secs = 0.01
         request.retry_max_duration_secs = 0.1",
        http.url("/in")
    )
}

const CREATE: &str = "jetstream.create = true";

/// How often each number has been delivered.
fn numbers(requests: &[Request]) -> HashMap<u64, u32> {
    let mut numbers = HashMap::new();
    add_numbers(requests, &mut numbers);
    numbers
}

fn add_numbers(requests: &[Request], numbers: &mut HashMap<u64, u32>) {
    for event in requests.iter().flat_map(Request::json_lines) {
        *numbers.entry(event["n"].as_u64().expect("a number")).or_default() += 1;
    }
}

/// Waits until so many different numbers have been delivered.
async fn wait_for_numbers(http: &HttpServer, count: u64) {
    let (mut numbers, mut read) = (HashMap::new(), 0);
    let delivered = async {
        loop {
            let requests = http.requests();
            add_numbers(&requests[read..], &mut numbers);
            read = requests.len();
            if numbers.len() as u64 >= count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let is_in_time = tokio::time::timeout(DELIVERED_WITHIN, delivered).await.is_ok();
    assert!(is_in_time, "{} of {count} within {DELIVERED_WITHIN:?}", numbers.len());
}

/// Checks that each of these numbers has been delivered, and nothing else; how many came more than once.
#[track_caller]
fn check_numbers(requests: &[Request], count: u64) -> usize {
    let numbers = numbers(requests);
    let missing: Vec<u64> = (0..count).filter(|n| !numbers.contains_key(n)).collect();
    assert!(
        missing.is_empty(),
        "{} of {count} are lost: {:?}",
        missing.len(),
        &missing[..missing.len().min(20)]
    );
    assert_eq!(numbers.len() as u64, count);
    numbers.values().filter(|times| **times > 1).count()
}

async fn stop(mut running: RunningTopology) {
    let report = running.stop(STOP).await;
    check_books(&report);
    assert!(!report.has_losses(), "{report}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_delivered_then_acked_and_not_sent_again_by_the_next_run() {
    in_time(async {
        const EVENTS: u64 = 5_000;
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        js.publish(0..EVENTS).await;
        let http = HttpServer::start().await;
        let text = config(&nats.url(), &http, CREATE);
        let running = start(&text, Env::default()).await;
        wait_for_numbers(&http, EVENTS).await;
        let info = js.wait_until_acknowledged().await;
        assert_eq!(check_numbers(&http.requests(), EVENTS), 0);
        assert_eq!((&info["num_redelivered"], &info["delivered"]["stream_seq"]), (&json!(0), &json!(EVENTS)));
        let config = &info["config"];
        assert_eq!(
            (&config["ack_policy"], &config["filter_subject"]),
            (&json!("explicit"), &json!("logs.>"))
        );
        assert_eq!(config["max_ack_pending"], 50_000);
        stop(running).await;
        let running = start(&text, Env::default()).await;
        js.publish(EVENTS..EVENTS + 1).await;
        wait_for_numbers(&http, EVENTS + 1).await;
        assert_eq!(running.counts().sources[0].1.pending, 0);
        stop(running).await;
        assert_eq!(check_numbers(&http.requests(), EVENTS + 1), 0);
    })
    .await;
}

/// A backlog keeps its times, even those of lines that name none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_names_no_time_has_the_one_at_which_it_was_stored() {
    in_time(async {
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        const LINES: [&str; 2] = ["a plain line", r#"{"message":"no time"}"#];
        let mut stored = Vec::new();
        for (n, line) in LINES.iter().enumerate() {
            js.client.request("logs.web.ams.1", (*line).into()).await.expect("it is stored");
            let message = js.ask("STREAM.MSG.GET.S", json!({"seq": n + 1})).await;
            stored
                .push(message["message"]["time"].as_str().expect("a time").parse::<DateTime<Utc>>().unwrap());
        }
        let http = HttpServer::start().await;
        // Loki gets the time of each event beside it.
        let text = config(&nats.url(), &http, CREATE)
            .replace("type = 'http'", "type = 'loki'\ncompression = 'gzip'")
            .replace("uri = '", "endpoint = '")
            .replace("framing.method = 'newline_delimited'", "labels.app = 'x'");
        let running = start(&text, Env::default()).await;
        let streams = |requests: &[Request]| -> Vec<String> {
            let pushes = requests.iter().filter(|request| request.method == "POST").map(Request::json);
            let values = pushes.flat_map(|push| push["streams"][0]["values"].as_array().unwrap().clone());
            values.map(|value| value[0].as_str().unwrap().to_owned()).collect()
        };
        let requests = http.wait_until(|requests| streams(requests).len() == LINES.len()).await;
        let expected: Vec<_> =
            stored.iter().map(|time| time.timestamp_nanos_opt().unwrap().to_string()).collect();
        assert_eq!(streams(&requests), expected);
        stop(running).await;
    })
    .await;
}

/// What is still on its way when we are told to stop is delivered and acknowledged before the end.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_end_comes_when_everything_is_acked() {
    in_time(async {
        const EVENTS: u64 = 1_000;
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        js.publish(0..EVENTS).await;
        let http = HttpServer::start().await;
        // A batch that is never full and never old enough.
        let text = config(&nats.url(), &http, CREATE).replace("timeout_secs = 0.05", "timeout_secs = 3600");
        let running = start(&text, Env::default()).await;
        // Not what the server counts as delivered: that may still be in its queue for our connection, and then
        // comes again after `ack_wait`.
        until(&running, |report| report.sources[0].1.received == EVENTS).await;
        assert_eq!(http.requests().len(), 0);
        stop(running).await;
        let info = js.consumer().await;
        assert_eq!((&info["num_ack_pending"], &info["num_redelivered"]), (&json!(0), &json!(0)));
        assert_eq!(check_numbers(&http.requests(), EVENTS), 0);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_sink_slower_than_ack_wait_gets_nothing_twice() {
    in_time(async {
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        js.publish(0..300).await;
        let http = HttpServer::start().await;
        http.default_reply(Reply::Never);
        let options = format!("{CREATE}\njetstream.ack_wait_secs = 1");
        // Answered by nobody for three seconds, and then taken; and a buffer that is full meanwhile.
        let text = config(&nats.url(), &http, &options);
        let text = format!(
            "{text}\nrequest.timeout_secs = 3\nrequest.concurrency = 1\nbatch.max_events = 10\n\
             buffer = {{type = 'memory', max_events = 1, when_full = 'block'}}"
        );
        let running = start(&text, Env::default()).await;
        http.wait_for(2).await;
        http.default_reply(Reply::status(200));
        wait_for_numbers(&http, 300).await;
        let info = js.wait_until_acknowledged().await;
        assert_eq!(info["num_redelivered"], 0, "{info}");
        // As often as it was delivered: never more than once.
        assert_eq!(info["delivered"]["consumer_seq"], 300, "{info}");
        stop(running).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_poison_message_is_terminated_after_its_dead_letter() {
    in_time(async {
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        let mut terminated =
            js.client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_TERMINATED.S.C").await.unwrap();
        js.publish(0..20).await;
        let (http, letters) = (HttpServer::start().await, HttpServer::start().await);
        let is_poison = |request: &Request| request.json_lines().iter().any(|event| event["n"] == 7);
        http.respond_with(move |request| Reply::status(if is_poison(request) { 400 } else { 200 }));
        letters.default_reply(Reply::Never);
        let text = format!(
            "{}\nbatch.max_events = 1\n[sinks.letters]\ntype = 'http'\ninputs = ['nats']\nuri = '{}'\n\
             encoding.codec = 'json'\nrequest.timeout_secs = 1\nrequest.retry_initial_backoff_secs = 0.01",
            config(&nats.url(), &http, &format!("{CREATE}\njetstream.ack_wait_secs = 1")),
            letters.url("/")
        );
        let mut config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default()).unwrap();
        config.dead_letters = config.sinks.pop().map(|mut sink| {
            sink.id = "dead_letters".into();
            sink
        });
        let mut running =
            Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await.unwrap();
        letters.wait_for(1).await;
        // All others are done with; this one waits for its letter.
        js.wait_for_consumer(|info| info["num_ack_pending"] == 1 && info["ack_floor"]["stream_seq"] == 7)
            .await;
        letters.default_reply(Reply::status(200));
        let advisory: Value = serde_json::from_slice(&terminated.next().await.unwrap().payload).unwrap();
        assert_eq!((&advisory["stream_seq"], &advisory["deliveries"]), (&json!(8), &json!(1)));
        let info = js.wait_until_acknowledged().await;
        assert_eq!(info["delivered"]["consumer_seq"], 20, "it comes once: {info}");
        let report = running.stop(STOP).await;
        check_books(&report);
        assert_eq!(numbers(&http.requests())[&7], 1);
        let letter = letters.requests().pop().unwrap().json()[0].clone();
        assert_eq!((&letter["event"]["n"], &letter["status"]), (&json!(7), &json!(400)));
    })
    .await;
}

/// A message that a sink gives up for now is delivered again, and not at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_sink_has_no_room_for_comes_again_after_a_while() {
    in_time(async {
        const EVENTS: u64 = 200;
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        let mut naks = js.client.subscribe("$JS.EVENT.ADVISORY.CONSUMER.MSG_NAKED.S.C").await.unwrap();
        js.publish(0..EVENTS).await;
        let http = HttpServer::start().await;
        http.default_reply(Reply::status(503));
        let text = config(&nats.url(), &http, CREATE);
        let text = format!(
            "{text}\nrequest.concurrency = 1\nbatch.max_events = 1\nbuffer = {{type = 'memory', max_events = 50, when_full = 'drop_newest'}}"
        );
        let running = start(&text, Env::default()).await;
        naks.next().await.unwrap();
        let failed = std::time::Instant::now();
        http.default_reply(Reply::status(200));
        wait_for_numbers(&http, EVENTS).await;
        assert!(failed.elapsed() > Duration::from_millis(700), "they came back after {:?}", failed.elapsed());
        let info = js.wait_until_acknowledged().await;
        assert!(info["delivered"]["consumer_seq"].as_u64() > Some(EVENTS), "{info}");
        // What was dropped for the moment is no loss, but it stands in the books.
        let mut running = running;
        check_books(&running.stop(STOP).await);
        check_numbers(&http.requests(), EVENTS);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_is_deleted_is_made_again() {
    in_time(async {
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        let http = HttpServer::start().await;
        let options = format!("{CREATE}\njetstream.deliver_policy = 'new'");
        let running = start(&config(&nats.url(), &http, &options), Env::default()).await;
        for round in 0..3 {
            js.wait_for_consumer(|info| info["num_waiting"].as_u64() > Some(0)).await;
            js.publish(round * 50..(round + 1) * 50).await;
            wait_for_numbers(&http, (round + 1) * 50).await;
            js.wait_until_acknowledged().await;
            js.delete_consumer().await;
        }
        js.wait_for_consumer(|info| info["num_waiting"].as_u64() > Some(0)).await;
        stop(running).await;
        // Some may come again: a server has been seen to begin the new consumer where it had last saved the old one.
        check_numbers(&http.requests(), 150);
    })
    .await;
}

/// Neither the stream nor the consumer is there at first, and the consumer is not ours to make.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_and_a_consumer_are_waited_for() {
    in_time(async {
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        let http = HttpServer::start().await;
        let running = start(&config(&nats.url(), &http, ""), Env::default()).await;
        assert_eq!(js.consumer().await["error"]["err_code"], 10059);
        js.make_stream(json!({})).await;
        js.publish(0..100).await;
        js.make_consumer(json!({"max_ack_pending": 30})).await;
        wait_for_numbers(&http, 100).await;
        js.wait_until_acknowledged().await;
        js.delete_consumer().await;
        js.publish(100..200).await;
        js.make_consumer(json!({"deliver_policy": "by_start_sequence", "opt_start_seq": 101})).await;
        wait_for_numbers(&http, 200).await;
        js.wait_until_acknowledged().await;
        stop(running).await;
        assert_eq!(check_numbers(&http.requests(), 200), 0);
    })
    .await;
}

/// With numbers that begin anew, nothing of what was known holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stream_that_is_made_anew_is_read_from_its_beginning() {
    in_time(async {
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        js.publish(0..100).await;
        let http = HttpServer::start().await;
        let running = start(&config(&nats.url(), &http, CREATE), Env::default()).await;
        wait_for_numbers(&http, 100).await;
        js.wait_until_acknowledged().await;
        assert_eq!(js.ask("STREAM.DELETE.S", json!({})).await["success"], true);
        js.make_stream(json!({})).await;
        js.publish(100..200).await;
        wait_for_numbers(&http, 200).await;
        stop(running).await;
        assert_eq!(check_numbers(&http.requests(), 200), 0);
    })
    .await;
}

/// The log of one test's source is not ours to read, but the healthcheck says the same words.
#[tokio::test]
async fn a_consumer_that_cannot_be_read_is_said_to_be_so() {
    in_time(async {
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        let http = HttpServer::start().await;
        let look_at = async |nats: &NatsServer, options: &str| {
            let text = config(&nats.url(), &http, options);
            let config = Config::from_toml(&text, "test", &Registry::builtin(), &Env::default()).unwrap();
            let topology = Topology::build(config, &TopologyOptions::default()).await.unwrap();
            let mut checks = topology.into_checks();
            checks.retain(|check| check.component == "sources.nats");
            let check = checks.pop().unwrap();
            let (result, _) = check.healthcheck.unwrap().run(Duration::from_secs(10)).await;
            result.map_err(|error| format!("{}: {}; {error}", error.summary(), error.advice()))
        };
        let look = async |options: &str| look_at(&nats, options).await;
        let missing = look("").await.unwrap_err();
        assert!(missing.contains("no JetStream stream S") && missing.starts_with("not found: "), "{missing}");
        let plain = NatsServer::start().await;
        let why = look_at(&plain, CREATE).await.unwrap_err();
        assert!(why.starts_with("unusable: enable JetStream") && why.contains("no responders"), "{why}");
        js.make_stream(json!({})).await;
        let missing = look("").await.unwrap_err();
        assert!(missing.contains("no consumer C") && missing.contains("jetstream.create"), "{missing}");
        assert_eq!(look(CREATE).await, Ok(()));
        let unusable = [
            (json!({"ack_policy": "none"}), "ack policy none"),
            (json!({"ack_policy": "all"}), "ack policy all"),
            (json!({"deliver_subject": "push"}), "push consumer"),
        ];
        for (options, words) in unusable {
            js.make_consumer(options).await;
            let why = look(CREATE).await.unwrap_err();
            assert!(why.contains(words) && why.contains("--pull --ack explicit"), "{why}");
            assert!(why.starts_with("unusable: name another consumer"), "{why}");
            // The source waits, and goes on when the consumer is another.
            let running = start(&config(&nats.url(), &http, ""), Env::default()).await;
            js.delete_consumer().await;
            js.make_consumer(json!({})).await;
            js.wait_for_consumer(|info| info["num_waiting"].as_u64() > Some(0)).await;
            stop(running).await;
            js.delete_consumer().await;
        }
        js.make_consumer(json!({})).await;
        assert_eq!(look("").await, Ok(()));
        let mut nats = nats;
        let denied = "authorization { users: [{ user: u, password: p, permissions: { publish: { deny: \"$JS.API.>\" } } }] }\nno_auth_user: u";
        nats.reconfigure(Options { extra: denied.into(), jetstream: true, ..Options::default() }).await;
        let why = look_at(&nats, "").await.unwrap_err();
        assert!(why.contains("Permissions Violation") && why.contains("$JS.API.CONSUMER.>"), "{why}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_shippers_share_a_consumer_and_what_one_leaves_the_other_delivers() {
    in_time(async {
        const EVENTS: u64 = 4_000;
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        let (first, second) = (HttpServer::start().await, HttpServer::start().await);
        let options = format!("{CREATE}\njetstream.ack_wait_secs = 1\njetstream.batch_config.batch = 50");
        let mut doomed = start(&config(&nats.url(), &first, &options), Env::default()).await;
        let other = start(&config(&nats.url(), &second, &options), Env::default()).await;
        js.wait_for_consumer(|info| info["num_waiting"].as_u64() > Some(1)).await;
        js.publish(0..EVENTS / 2).await;
        wait_for_numbers(&first, 1).await;
        wait_for_numbers(&second, 1).await;
        js.wait_until_acknowledged().await;
        // What comes now it takes, and says nothing of it.
        let taken = first.requests().len();
        first.default_reply(Reply::Never);
        js.publish(EVENTS / 2..EVENTS).await;
        first.wait_until(|requests| requests.len() > taken).await;
        check_books(&doomed.abort().await);
        drop(doomed);
        js.wait_until_acknowledged().await;
        stop(other).await;
        let requests = [first.requests(), second.requests()].concat();
        check_numbers(&requests, EVENTS);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_server_restarts_again_and_again() {
    in_time(async {
        let restarts = if soak() > 1 { 20 } else { 5 };
        const ROUND: u64 = 1_000;
        let mut nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        let http = HttpServer::start().await;
        let options = format!("{CREATE}\njetstream.ack_wait_secs = 2");
        let running = start(&config(&nats.url(), &http, &options), Env::default()).await;
        for round in 0..restarts {
            let load = js.publish(round * ROUND..(round + 1) * ROUND);
            let restart = async {
                wait_for_numbers(&http, round * ROUND + 1).await;
                nats.restart().await;
            };
            tokio::join!(load, restart);
        }
        let events = restarts * ROUND;
        wait_for_numbers(&http, events).await;
        js.wait_until_acknowledged().await;
        let mut running = running;
        let report = running.stop(STOP).await;
        check_books(&report);
        assert!(report.sources[0].1.disconnects >= restarts, "{report}");
        let twice = check_numbers(&http.requests(), events);
        println!("{restarts} restarts, {events} messages, {twice} of them came more than once");
    })
    .await;
}

/// Each server of a cluster in its turn is stopped as for an upgrade, and started again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_a_cluster_is_upgraded() {
    in_time(async {
        let upgrades = if soak() > 1 { 20 } else { 2 };
        const ROUND: u64 = 1_000;
        let options = Options { jetstream: true, ..Options::default() };
        let mut cluster = NatsCluster::start(3, &options).await;
        let servers: Vec<ServerAddr> =
            cluster.servers.iter().map(|server| server.url().parse().unwrap()).collect();
        let js = JetStream::connect(servers).await;
        js.make_stream(json!({"num_replicas": 3})).await;
        let http = HttpServer::start().await;
        let options = format!("{CREATE}\njetstream.ack_wait_secs = 2");
        let running = start(&config(&cluster.urls(), &http, &options), Env::default()).await;
        for round in 0..upgrades {
            // The one that the source is connected to.
            let mut upgraded = None;
            while upgraded.is_none() {
                for (index, server) in cluster.servers.iter().enumerate() {
                    let has_source =
                        server.subscriptions().await.iter().any(|subject| subject.ends_with(".m.*"));
                    upgraded = upgraded.or(has_source.then_some(index));
                }
            }
            let upgraded = &mut cluster.servers[upgraded.unwrap()];
            let load = js.publish(round * ROUND..(round + 1) * ROUND);
            let upgrade = async {
                wait_for_numbers(&http, round * ROUND + 1).await;
                upgraded.lame_duck().await;
                upgraded.wait_for_end().await;
                upgraded.start_again().await;
            };
            tokio::join!(load, upgrade);
            cluster.wait_until_complete().await;
        }
        let events = upgrades * ROUND;
        wait_for_numbers(&http, events).await;
        let info = js.wait_until_acknowledged().await;
        assert_eq!(info["cluster"]["replicas"].as_array().map(Vec::len), Some(2), "{info}");
        let mut running = running;
        let report = running.stop(STOP).await;
        check_books(&report);
        let source = report.sources[0].1;
        assert!(source.resubscribes + source.disconnects >= upgrades, "{report}");
        let twice = check_numbers(&http.requests(), events);
        println!("{upgrades} upgrades, {events} messages, {twice} of them came more than once: {report}");
    })
    .await;
}

/// The server takes no acknowledgements from us, as if all were lost on their way, until it does.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_whose_ack_was_lost_is_acked_again_and_not_shipped_again() {
    in_time(async {
        let user = |name: &str, permissions: &str| format!("{{ user: {name}, password: p{permissions} }}");
        let options = |permissions: &str| {
            let users = format!("{}, {}", user("admin", ""), user("shipper", permissions));
            Options {
                extra: format!("authorization {{ users: [{users}] }}"),
                jetstream: true,
                ..Options::default()
            }
        };
        let deaf = options(", permissions: { publish: { deny: \"$JS.ACK.>\" } }");
        for dedupe in [true, false] {
            let mut nats = NatsServer::with(deaf.clone()).await;
            let admin = async_nats::ConnectOptions::with_user_and_password("admin".into(), "p".into());
            let js = JetStream::connect_with(admin, nats.url()).await;
            let shipper = nats.url().replace("nats://", "nats://shipper:p@");
            js.make_stream(json!({})).await;
            js.publish(0..50).await;
            let http = HttpServer::start().await;
            let options_of_source =
                format!("{CREATE}\njetstream.ack_wait_secs = 1\njetstream.dedupe = {dedupe}");
            let running = start(&config(&shipper, &http, &options_of_source), Env::default()).await;
            wait_for_numbers(&http, 50).await;
            // Each has come again.
            js.wait_for_consumer(|info| info["delivered"]["consumer_seq"].as_u64() >= Some(100)).await;
            nats.reconfigure(options("")).await;
            js.wait_until_acknowledged().await;
            stop(running).await;
            let twice = check_numbers(&http.requests(), 50);
            assert_eq!(twice > 0, !dedupe, "{twice} came more than once");
        }
    })
    .await;
}

/// A configuration that is loaded anew, with messages on their way.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reload_hands_over_without_loss() {
    in_time(async {
        const EVENTS: u64 = 3_000;
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        let http = HttpServer::start().await;
        let text = |batch: u32| {
            config(&nats.url(), &http, &format!("{CREATE}\njetstream.batch_config.batch = {batch}"))
        };
        let mut running = start(&text(10), Env::default()).await;
        let load = js.publish(0..EVENTS);
        let reloads = async {
            for round in 1..4 {
                wait_for_numbers(&http, u64::from(round) * 100).await;
                let config =
                    Config::from_toml(&text(10 + round), "test", &Registry::builtin(), &Env::default())
                        .unwrap();
                running.reload(config).await.unwrap();
            }
        };
        tokio::join!(load, reloads);
        wait_for_numbers(&http, EVENTS).await;
        let info = js.wait_until_acknowledged().await;
        assert_eq!(info["num_redelivered"], 0, "{info}");
        stop(running).await;
        assert_eq!(check_numbers(&http.requests(), EVENTS), 0);
    })
    .await;
}

/// The options of a consumer that is there are changed to what is said, and others stay as they are.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_is_changed_to_what_the_options_say() {
    in_time(async {
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        js.make_consumer(json!({"description": "by hand", "max_deliver": 7})).await;
        let http = HttpServer::start().await;
        let options = format!(
            "{CREATE}\njetstream.ack_wait_secs = 12.5\njetstream.max_ack_pending = 77\n\
             jetstream.filter_subjects = ['logs.web.>', 'logs.search.>']\njetstream.deliver_policy = 'new'"
        );
        let running = start(&config(&nats.url(), &http, &options), Env::default()).await;
        let info = js.wait_for_consumer(|info| info["num_waiting"].as_u64() > Some(0)).await;
        let config = &info["config"];
        assert_eq!((&config["description"], &config["max_deliver"]), (&json!("by hand"), &json!(7)));
        assert_eq!(
            (&config["ack_wait"], &config["max_ack_pending"]),
            (&json!(12_500_000_000u64), &json!(77))
        );
        assert_eq!(config["filter_subjects"], json!(["logs.web.>", "logs.search.>"]));
        // Where it begins cannot be changed.
        assert_eq!(config["deliver_policy"], "all");
        stop(running).await;
    })
    .await;
}

/// What is done to a consumer that others may share, and what will never come.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_is_said_what_becomes_of_a_consumer_and_when_it_can_read_nothing() {
    in_time(async {
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        let http = HttpServer::start().await;
        let run = |options: &str| Program::run(&config(&nats.url(), &http, options), &[]);
        let mut first = run(CREATE);
        first.wait_for_log("made the JetStream consumer C of stream S, for the subjects logs.>").await;
        js.wait_for_consumer(|info| info["num_waiting"].as_u64() > Some(0)).await;
        first.signal("-TERM").await;
        let (code, log) = first.ended().await;
        assert!(code == Some(0) && !log.contains("WARN"), "{log}");
        let mut second =
            run(&format!("{CREATE}\njetstream.filter_subjects = ['events.>']\njetstream.max_deliver = 9"));
        second
            .wait_for_log(
                "changed the JetStream consumer C of stream S: filter_subjects logs.> -> events.>, max_deliver -1 -> 9",
            )
            .await;
        second
            .wait_for_log("the JetStream consumer C of stream S is made for events.>, and the stream takes logs.>")
            .await;
        second.wait_for_log("nats stream edit").await;
        second.signal("-TERM").await;
        assert_eq!(second.ended().await.0, Some(0));
    })
    .await;
}

/// Whoever may not ask for the stream reads it all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_more_permissions_are_needed_than_before() {
    in_time(async {
        let users = "authorization { users: [{ user: admin, password: p }, { user: shipper, password: p, \
                     permissions: { publish: [\"$JS.API.CONSUMER.>\", \"$JS.ACK.>\"], subscribe: \"_INBOX.>\" } }] }";
        let nats =
            NatsServer::with(Options { extra: users.into(), jetstream: true, ..Options::default() }).await;
        let admin = async_nats::ConnectOptions::with_user_and_password("admin".into(), "p".into());
        let js = JetStream::connect_with(admin, nats.url()).await;
        js.make_stream(json!({})).await;
        js.publish(0..10).await;
        let http = HttpServer::start().await;
        let url = nats.url().replace("nats://", "nats://shipper:p@");
        let shipper = Program::run(&config(&url, &http, CREATE), &[]);
        wait_for_numbers(&http, 10).await;
        js.wait_until_acknowledged().await;
        shipper.signal("-TERM").await;
        let (code, log) = shipper.ended().await;
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("disconnects 0") && !log.contains("ERROR") && !log.contains("WARN"), "{log}");
    })
    .await;
}

/// A wrong key for as long as it takes: nothing becomes a dead letter, and what is not delivered at the end is the
/// stream's, which has lost nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_delivered_at_the_end_goes_back_to_the_stream() {
    in_time(async {
        const EVENTS: u64 = 100;
        let directory = tempfile::tempdir().unwrap();
        let letters = directory.path().join("dead.jsonl");
        for (has_letters, status) in [(false, 503), (true, 401)] {
            let nats = server().await;
            let js = JetStream::connect(nats.url()).await;
            js.make_stream(json!({})).await;
            js.publish(0..EVENTS).await;
            let http = HttpServer::start().await;
            http.default_reply(Reply::status(status));
            // One batch of all of them, so that its request says that all have come.
            let batch = format!("timeout_secs = 3600\nbatch.max_events = {EVENTS}");
            let mut text = config(&nats.url(), &http, CREATE).replace("timeout_secs = 0.05", &batch);
            if has_letters {
                text.push_str(&format!("\n[dead_letters]\ntype = 'file'\npath = '{}'", letters.display()));
            }
            let mut shipper = Program::run(&text, &[]);
            http.wait_for(1).await;
            if has_letters {
                shipper.wait_for_log("held until it accepts us, for at most 24 h").await;
            }
            shipper.signal("-TERM").await;
            let (code, log) = shipper.ended().await;
            assert_eq!(code, Some(0), "{log}");
            let words =
                format!("delivered 0, rejected 0, dropped {EVENTS} (returned {EVENTS}), buffered 0, lost 0");
            assert!(log.contains(&words), "{log}");
            let info = js.consumer().await;
            assert_eq!(
                (&info["num_ack_pending"], &info["num_pending"]),
                (&json!(EVENTS), &json!(0)),
                "{log}"
            );
        }
        assert!(!letters.exists() || std::fs::read(&letters).unwrap().is_empty());
    })
    .await;
}

/// The program itself, killed without a word at any moment.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_when_the_program_is_killed_again_and_again() {
    in_time(async {
        let kills = if soak() > 1 { 50 } else { 6 };
        const ROUND: u64 = 1_000;
        let nats = server().await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(json!({})).await;
        let http = HttpServer::start().await;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config.toml");
        let text = config(&nats.url(), &http, &format!("{CREATE}\njetstream.ack_wait_secs = 1"));
        std::fs::write(&path, format!("{text}\nbatch.max_events = 20")).unwrap();
        // A destination that takes its time, so that there is always something under way.
        http.respond_with(|_| {
            std::thread::sleep(Duration::from_millis(4));
            Reply::status(200)
        });
        let run = || {
            let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_log-shipper"));
            command.args(["run", "-c"]).arg(&path).env_clear().stderr(Stdio::null()).stdout(Stdio::null());
            command.kill_on_drop(true).spawn().unwrap()
        };
        let mut random = StdRng::seed_from_u64(9);
        for round in 0..kills {
            let mut child = run();
            let load = js.publish(round * ROUND..(round + 1) * ROUND);
            // Somewhere on the way of this round, whatever is under way just then.
            let moment = round * ROUND + random.random_range(0..ROUND * 3 / 4);
            let kill = async {
                wait_for_numbers(&http, moment + 1).await;
                tokio::time::sleep(Duration::from_millis(random.random_range(0..20))).await;
                child.kill().await.unwrap();
            };
            tokio::join!(load, kill);
        }
        let mut last = run();
        let events = kills * ROUND;
        wait_for_numbers(&http, events).await;
        js.wait_until_acknowledged().await;
        last.kill().await.unwrap();
        let twice = check_numbers(&http.requests(), events);
        println!("{kills} kills, {events} messages, {twice} of them came more than once");
    })
    .await;
}

/// A subject that wants an answer gets none from core NATS's reader.
#[tokio::test]
async fn without_jetstream_nobody_is_answered() {
    in_time(async {
        let nats = server().await;
        let http = HttpServer::start().await;
        let text = config(&nats.url(), &http, "").replace("jetstream.", "# jetstream.");
        let running = start(&text, Env::default()).await;
        nats.wait_for_subscription("logs.>").await;
        let js = JetStream::connect(nats.url()).await;
        let mut inbox = js.client.subscribe("reply.>").await.unwrap();
        js.client.flush().await.unwrap();
        js.client.publish_with_reply("logs.a.b.c", "reply.to", "{\"n\":0}".into()).await.unwrap();
        js.client.flush().await.unwrap();
        http.wait_for(1).await;
        stop(running).await;
        // Whatever it might have said is before this.
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publisher.publish("reply.mark", "mark").await;
        publisher.flush().await;
        assert_eq!(inbox.next().await.unwrap().payload, "mark");
    })
    .await;
}
