//! Buffers on disk: what was written survives a kill at any moment, and is deleted when it was delivered.

use crate::support::http_server::{HttpServer, Reply};
use crate::support::jetstream::JetStream;
use crate::support::nats_server::{NatsServer, Options};
use crate::support::ports::free_port;
use crate::support::publisher::Publisher;
use crate::{check_books, in_time, soak, start};
use log_shipper::config::{Config, Registry};
use log_shipper::env::Env;
use log_shipper::event::{LogEvent, Timestamp};
use log_shipper::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
use log_shipper::topology::disk::{self, BufferSummary, DiskSettings, directory};
use log_shipper::topology::{
    BufferReceiver, BufferSender, BufferSettings, Capacity, DropReason, Outcome, SinkCounts, Topology,
    TopologyOptions, WhenFull, disk_buffer,
};
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::process::{Output, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::process::{Child, Command};

const BIN: &str = env!("CARGO_BIN_EXE_log-shipper");

// === buffers by themselves ===

fn event(n: u64) -> LogEvent {
    // Long enough that some thousands fill a buffer.
    let text = format!("{{\"n\":{n},\"message\":\"{}\"}}", "x".repeat(300));
    LogEvent::from_json(text.into()).unwrap()
}

fn events(range: Range<u64>) -> Vec<LogEvent> {
    range.map(event).collect()
}

fn number(event: &LogEvent) -> u64 {
    serde_json::from_str::<serde_json::Value>(&event.json()).unwrap()["n"].as_u64().unwrap()
}

struct Buffer {
    sender: Option<BufferSender>,
    receiver: BufferReceiver,
    counts: Arc<SinkCounts>,
}

impl Buffer {
    fn open(directory: &Path, max_size: u64, when_full: WhenFull, overflow: Option<usize>) -> Buffer {
        let counts = Arc::<SinkCounts>::default();
        let capacity = overflow.map_or(Capacity::Bytes(16 << 20), Capacity::Events);
        let settings = BufferSettings { capacity, when_full, acknowledges: true };
        let (sink, directory) = ("out".to_owned(), directory.to_owned());
        let disk = DiskSettings { sink, directory, max_size, is_overflow: overflow.is_some() };
        let (sender, receiver) = disk_buffer(settings, disk, Arc::clone(&counts)).unwrap();
        Buffer { sender: Some(sender), receiver, counts }
    }

    async fn send(&self, range: Range<u64>) {
        self.sender.as_ref().unwrap().send(events(range)).await;
    }

    /// Ends the input, and takes all that is left and gives this answer to it.
    async fn drain(mut self, outcome: Outcome) -> Vec<u64> {
        self.sender = None;
        let mut seen = Vec::new();
        while let Some(events) = self.receiver.recv().await {
            seen.extend(events.iter().map(number));
            self.counts.settle_events(events, &outcome);
        }
        let books = self.counts.snapshot();
        let found = books.delivered + books.rejected + books.dropped_total() + books.buffered;
        assert_eq!(books.received, found, "{books}");
        seen
    }
}

fn summary(data_dir: &Path) -> BufferSummary {
    let list = disk::list(data_dir).unwrap();
    let [summary] = list.as_slice() else { panic!("{list:?}") };
    summary.clone()
}

fn on_disk(directory: &Path) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    disk::inspect(directory, |event| {
        numbers.insert(number(event));
        Ok(true)
    })
    .unwrap();
    numbers
}

/// Waits until this is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !is_so() {
        assert!(Instant::now() < end, "{what}: waited too long");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

async fn until_closed(directory: &Path) {
    let data_dir = directory.parent().unwrap().parent().unwrap();
    until("the buffer is closed", || !disk::list(data_dir).unwrap().iter().any(|buffer| buffer.is_open))
        .await;
}

#[tokio::test]
async fn a_source_hears_of_its_events_when_they_are_on_disk() {
    in_time(async {
        let data_dir = tempfile::tempdir().unwrap();
        let path = directory(data_dir.path(), "out");
        let buffer = Buffer::open(&path, 64 << 20, WhenFull::Block, None);
        let (batch, answer) = BatchNotifier::new_with_receiver();
        let with_receipt = |event: LogEvent| event.with_finalizers(EventFinalizers::new(Arc::clone(&batch)));
        buffer.sender.as_ref().unwrap().send(events(0..50).into_iter().map(with_receipt).collect()).await;
        drop(batch);
        // Nobody has taken one from the buffer.
        assert_eq!(answer.await.unwrap(), EventStatus::Delivered);
        assert_eq!(on_disk(&path), (0..50).collect());
        let seen = summary(data_dir.path());
        assert_eq!((seen.events, seen.segments, seen.is_open), (50, 1, true));
        assert!(seen.oldest.unwrap() <= Timestamp::now());
        // Another one cannot have it meanwhile.
        let error = disk::drain(&path, |_| panic!("it is open")).unwrap_err().to_string();
        assert!(
            error.contains(&format!("another log-shipper (process {}) has", std::process::id())),
            "{error}"
        );

        assert_eq!(buffer.drain(Outcome::Delivered).await, (0..50).collect::<Vec<_>>());
        until_closed(&path).await;
        let seen = summary(data_dir.path());
        assert_eq!((seen.events, seen.bytes, seen.segments), (0, 0, 0));
    })
    .await;
}

#[tokio::test]
async fn what_is_refused_is_deleted_and_what_is_unanswered_comes_again() {
    in_time(async {
        let data_dir = tempfile::tempdir().unwrap();
        let path = directory(data_dir.path(), "out");
        let mut buffer = Buffer::open(&path, 64 << 20, WhenFull::Block, None);
        // Some eight blocks.
        for n in 0..30 {
            buffer.send(n * 100..n * 100 + 100).await;
        }
        // The sink takes some, answers for a part of those, and ends.
        let (mut seen, mut left) = (Vec::new(), BTreeSet::from_iter(0..3000));
        while seen.len() < 3 {
            seen.push(buffer.receiver.recv().await.unwrap());
        }
        for (at, events) in seen.into_iter().enumerate() {
            match at {
                0 => {
                    events.iter().for_each(|event| assert!(left.remove(&number(event))));
                    buffer.counts.settle_events(events, &Outcome::Delivered);
                }
                1 => {
                    events.iter().for_each(|event| assert!(left.remove(&number(event))));
                    buffer.counts.settle_events(events, &Outcome::unsent("no"));
                }
                _ => drop(events),
            }
        }
        let Buffer { sender, receiver, counts } = buffer;
        drop((sender, receiver));
        until_closed(&path).await;
        let books = counts.snapshot();
        assert!(books.is_durable && books.lost() == 0, "{books}");
        assert_eq!(on_disk(&path), left);
        let buffer = Buffer::open(&path, 64 << 20, WhenFull::Block, None);
        let books = buffer.counts.snapshot();
        assert_eq!((books.recovered, books.received), (left.len() as u64, left.len() as u64));
        buffer.send(3000..3010).await;
        left.extend(3000..3010);
        assert_eq!(buffer.drain(Outcome::Delivered).await, left.into_iter().collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn a_full_buffer_does_what_its_policy_says() {
    in_time(async {
        for when_full in [WhenFull::Block, WhenFull::DropNewest, WhenFull::DropOldest] {
            let data_dir = tempfile::tempdir().unwrap();
            let path = directory(data_dir.path(), "out");
            let buffer = Buffer::open(&path, 1 << 20, when_full, None);
            // Some six megabytes, in front of a megabyte on disk.
            let (total, most) = (20_000, 1 << 20);
            if when_full != WhenFull::Block {
                for n in 0..total / 100 {
                    buffer.send(n * 100..n * 100 + 100).await;
                }
                let settled = || {
                    let books = buffer.counts.snapshot();
                    // What is not dropped is on disk.
                    books.received == total && summary(data_dir.path()).events == books.buffered
                };
                until("everything is on disk or dropped", settled).await;
                let books = buffer.counts.snapshot();
                let bytes = summary(data_dir.path()).bytes;
                assert!(bytes <= most && bytes > most / 2, "{when_full:?}: {bytes} bytes");
                assert_eq!(books.dropped_total(), books.dropped_for(DropReason::BufferFull));
                assert!(books.dropped_total() > 10_000, "{when_full:?}: {books}");
                let seen = buffer.drain(Outcome::Delivered).await;
                let left = total - books.dropped_total();
                assert_eq!(seen.len() as u64, left, "{when_full:?}");
                assert!(seen.is_sorted());
                if when_full == WhenFull::DropNewest {
                    assert_eq!(seen[..1000], (0..1000).collect::<Vec<_>>());
                } else {
                    // Blocks that were read ahead are older.
                    assert_eq!(seen[seen.len() - 1000..], (total - 1000..total).collect::<Vec<_>>());
                }
            } else {
                let Buffer { sender, mut receiver, counts } = buffer;
                let sender = sender.unwrap();
                let sending = tokio::spawn(async move {
                    for n in 0..2 * total / 100 {
                        sender.send(events(n * 100..n * 100 + 100)).await;
                    }
                });
                let mut seen = Vec::new();
                while let Some(events) = receiver.recv().await {
                    seen.extend(events.iter().map(number));
                    assert!(summary(data_dir.path()).bytes <= most);
                    counts.settle_events(events, &Outcome::Delivered);
                }
                sending.await.unwrap();
                assert_eq!(seen, (0..2 * total).collect::<Vec<_>>());
                assert_eq!(counts.snapshot().dropped_total(), 0);
            }
        }
    })
    .await;
}

#[tokio::test]
async fn what_memory_has_no_room_for_goes_to_disk_and_back() {
    in_time(async {
        let data_dir = tempfile::tempdir().unwrap();
        let path = directory(data_dir.path(), "out");
        let mut buffer = Buffer::open(&path, 64 << 20, WhenFull::Block, Some(100));
        for n in 0..50 {
            buffer.send(n * 20..n * 20 + 20).await;
        }
        until("the rest is on disk", || summary(data_dir.path()).events == 900).await;
        assert_eq!(on_disk(&path), (100..1000).collect());
        // From both, by turns.
        let mut seen = BTreeSet::new();
        for _ in 0..4 {
            let events = buffer.receiver.recv().await.unwrap();
            events.iter().for_each(|event| assert!(seen.insert(number(event))));
            buffer.counts.settle_events(events, &Outcome::Delivered);
        }
        assert!(seen.contains(&0) && seen.iter().any(|n| *n >= 100), "{seen:?}");
        // At the end memory goes to disk, too.
        let Buffer { sender, receiver, counts } = buffer;
        drop((sender, receiver));
        until_closed(&path).await;
        let left: BTreeSet<u64> = (0..1000).filter(|n| !seen.contains(n)).collect();
        assert_eq!(on_disk(&path), left);
        let books = counts.snapshot();
        assert_eq!((books.buffered, books.lost()), (left.len() as u64, 0), "{books}");
        let mut seen =
            Buffer::open(&path, 64 << 20, WhenFull::Block, Some(100)).drain(Outcome::Delivered).await;
        seen.sort_unstable();
        assert_eq!(seen, left.into_iter().collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn without_a_disk_the_buffer_is_one_in_memory_until_there_is_one() {
    in_time(async {
        let data_dir = tempfile::tempdir().unwrap();
        // No directory can be made here.
        let place = data_dir.path().join("buffer");
        std::fs::write(&place, "a file").unwrap();
        let path = directory(data_dir.path(), "out");
        let mut buffer = Buffer::open(&path, 64 << 20, WhenFull::DropNewest, None);
        buffer.send(0..10).await;
        let events = buffer.receiver.recv().await.unwrap();
        assert_eq!(events.len(), 10);
        buffer.counts.settle_events(events, &Outcome::Delivered);
        // The policy holds there, too: the memory has sixteen megabytes.
        buffer.send(10..60_000).await;
        let dropped = buffer.counts.snapshot().dropped_for(DropReason::BufferFull);
        assert!(dropped > 10_000, "{dropped}");
        let left = 60_000 - dropped;
        assert!(!buffer.counts.snapshot().is_durable);
        std::fs::remove_file(&place).unwrap();
        until("it is on disk", || {
            disk::list(data_dir.path()).unwrap().first().is_some_and(|buffer| buffer.events == left - 10)
        })
        .await;
        assert_eq!(buffer.drain(Outcome::Delivered).await, (10..left).collect::<Vec<_>>());

        // The same at the end: what is nowhere is lost, and counted.
        let data_dir = tempfile::tempdir().unwrap();
        std::fs::write(data_dir.path().join("buffer"), "a file").unwrap();
        let buffer = Buffer::open(&directory(data_dir.path(), "out"), 64 << 20, WhenFull::Block, None);
        buffer.send(0..10).await;
        let Buffer { sender, receiver, counts } = buffer;
        drop((sender, receiver));
        let books = || counts.snapshot();
        assert!(!books().is_durable);
        until("they are counted", || books().lost() == 10 && books().buffered == 0).await;
    })
    .await;
}

#[tokio::test]
async fn damage_is_counted_and_the_rest_is_delivered() {
    in_time(async {
        let mut random = SmallRng::seed_from_u64(7);
        for _ in 0..10 * soak() {
            let data_dir = tempfile::tempdir().unwrap();
            let path = directory(data_dir.path(), "out");
            std::fs::create_dir_all(&path).unwrap();
            let mut damaged_blocks = BTreeSet::new();
            for segment in 0..4 {
                let first = segment * 100;
                let blocks: Vec<_> = (first..first + 20).map(|n| events(n * 5..n * 5 + 5)).collect();
                let mut bytes = disk::write_segment(first, &blocks);
                let block = bytes.len() as u64 / 20;
                for _ in 0..random.random_range(0..4) {
                    let at = random.random_range(0..bytes.len());
                    bytes[at] ^= 1 << random.random_range(0..8);
                    damaged_blocks.insert(first + at as u64 / block);
                    damaged_blocks.insert(first + (at as u64 / block).saturating_sub(1));
                    damaged_blocks.insert(first + at as u64 / block + 1);
                }
                if random.random_bool(0.3) {
                    let length = random.random_range(0..bytes.len());
                    bytes.truncate(length);
                    damaged_blocks.extend(first + (length as u64 / block).saturating_sub(1)..first + 20);
                }
                std::fs::write(path.join(format!("{first:016x}.log")), bytes).unwrap();
            }
            let buffer = Buffer::open(&path, 64 << 20, WhenFull::Block, None);
            let counts = Arc::clone(&buffer.counts);
            let seen: BTreeSet<u64> = buffer.drain(Outcome::Delivered).await.into_iter().collect();
            for block in (0..4_u64).flat_map(|segment| segment * 100..segment * 100 + 20) {
                if !damaged_blocks.contains(&block) {
                    assert!(seen.contains(&(block * 5)), "block {block} is lost");
                }
            }
            let books = counts.snapshot();
            assert_eq!(books.dropped_total(), books.dropped_for(DropReason::Damaged), "{books}");
            until_closed(&path).await;
            assert_eq!(summary(data_dir.path()).segments, 0, "nothing needs deleting by hand");
        }
    })
    .await;
}

// === whole topologies ===

/// A sink that sends what the source says to this place.
fn sink(url: &str, buffer: &str) -> String {
    format!(
        "[sinks.out]\ntype = 'http'\ninputs = ['in']\nuri = '{url}'\nencoding.codec = 'json'\nbatch.max_events = 50\n\
         batch.timeout_secs = 0.05\nrequest.retry_initial_backoff_secs = 1\nrequest.retry_max_duration_secs = 1\n\
         healthcheck = false\nbuffer = {buffer}\n"
    )
}

/// The numbers that a destination has taken, and how often each.
fn delivered(http: &HttpServer, is_taken: impl Fn(usize) -> bool) -> BTreeMap<u64, usize> {
    let mut numbers = BTreeMap::new();
    for (_, request) in http.requests().iter().enumerate().filter(|(at, _)| is_taken(*at)) {
        for event in request.json().as_array().unwrap() {
            *numbers.entry(event["n"].as_u64().unwrap()).or_default() += 1;
        }
    }
    numbers
}

#[tokio::test]
async fn a_reload_from_memory_to_disk_and_back_loses_nothing() {
    in_time(async {
        let data_dir = tempfile::tempdir().unwrap();
        let nats = NatsServer::start().await;
        let http = HttpServer::start().await;
        http.default_reply(Reply::status(503));
        let text = |url: &str, buffer: &str| {
            format!(
                "data_dir = '{}'\n[sources.in]\ntype = 'nats'\nconnection_name = 'test'\nurl = '{}'\nsubject = 'logs.>'\ndecoding.codec = 'json'\n{}",
                data_dir.path().display(),
                nats.url(),
                sink(url, buffer)
            )
        };
        let (memory, on_disk) = ("{}", "{type = 'disk'}");
        let mut running = start(&text(&http.url("/"), memory), Env::default()).await;
        nats.wait_for_subscription("logs.>").await;
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        let mut next = 0;
        for buffer in [memory, on_disk, "{type = 'disk', max_size = 100000000}", memory, on_disk] {
            let config =
                Config::from_toml(&text(&http.url("/"), buffer), "test", &Registry::builtin(), &Env::default());
            running.reload(config.unwrap()).await.unwrap();
            for _ in 0..500 {
                publisher.publish("logs.a", format!("{{\"n\":{next}}}")).await;
                next += 1;
            }
            publisher.flush().await;
            let books = running.books();
            until("all are received", || books.snapshot().sinks[0].1.received == next).await;
        }
        let refused = http.requests().len();
        http.default_reply(Reply::status(200));
        let books = running.books();
        until("all are delivered", || books.snapshot().sinks[0].1.delivered == next).await;
        let report = running.stop(Duration::from_secs(10)).await;
        check_books(&report);
        assert!(!report.has_losses(), "{report}");
        let seen = delivered(&http, |at| at >= refused);
        assert!(seen.keys().copied().eq(0..next), "{} of {next}", seen.len());
        assert_eq!(summary(data_dir.path()).events, 0);
    })
    .await;
}

#[tokio::test]
async fn two_shippers_cannot_have_one_buffer_and_a_check_does_not_want_it() {
    in_time(async {
        let data_dir = tempfile::tempdir().unwrap();
        let text = format!(
            "data_dir = '{}'\n[sources.in]\ntype = 'nats'\nconnection_name = 'test'\nurl = 'nats://127.0.0.1:{}'\nsubject = '>'\n{}",
            data_dir.path().display(),
            free_port(),
            sink("http://127.0.0.1:9/", "{type = 'disk'}")
        );
        let config = || Config::from_toml(&text, "test", &Registry::builtin(), &Env::default()).unwrap();
        let options = TopologyOptions::default();
        let mut running = Topology::start(config(), &options, std::future::pending::<()>()).await.unwrap();
        let error = Topology::start(config(), &options, std::future::pending::<()>()).await.unwrap_err().to_string();
        assert!(error.contains("sinks.out.buffer") && error.contains("another log-shipper"), "{error}");
        assert_eq!(Topology::build(config(), &options).await.unwrap().into_checks().len(), 2);
        // A sink that is removed and comes back has its buffer again.
        let without = text.replace("sinks.out", "sinks.other");
        let without = Config::from_toml(&without, "test", &Registry::builtin(), &Env::default()).unwrap();
        running.reload(without).await.unwrap();
        running.reload(config()).await.unwrap();
        let begin = Instant::now();
        check_books(&running.stop(Duration::from_secs(10)).await);
        assert!(begin.elapsed() < Duration::from_secs(5), "an empty buffer holds up the end");
        let mut running = Topology::start(config(), &options, std::future::pending::<()>()).await.unwrap();
        check_books(&running.abort().await);
    })
    .await;
}

// === whole processes ===

/// A log-shipper that reads numbered lines.
struct Shipper {
    child: Child,
    input: tokio::process::ChildStdin,
}

impl Shipper {
    fn config(data_dir: &Path, url: &str, buffer: &str) -> String {
        let source = "[sources.in]\ntype = 'stdin'\ndecoding.codec = 'json'";
        format!("data_dir = '{}'\n{source}\n{}", data_dir.display(), sink(url, buffer))
    }

    fn start(config: &str, directory: &Path) -> Shipper {
        Shipper::start_with(Command::new(BIN), config, directory)
    }

    fn start_with(mut command: Command, config: &str, directory: &Path) -> Shipper {
        let path = directory.join("config.toml");
        std::fs::write(&path, config).unwrap();
        command.args(["run", "--graceful-shutdown-limit-secs", "2", "-c"]).arg(path);
        let child = command.stdin(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true).spawn();
        let mut child = child.unwrap();
        let input = child.stdin.take().unwrap();
        Shipper { child, input }
    }

    async fn write(&mut self, range: Range<u64>) {
        let text: String =
            range.map(|n| format!("{{\"n\":{n},\"message\":\"{}\"}}\n", "x".repeat(200))).collect();
        self.input.write_all(text.as_bytes()).await.unwrap();
    }

    async fn kill(mut self) -> String {
        self.child.kill().await.unwrap();
        self.output().await.1
    }

    /// Ends the input; gives the exit code and the log.
    async fn end(self) -> (Option<i32>, String) {
        self.output().await
    }

    async fn output(self) -> (Option<i32>, String) {
        let Shipper { child, input } = self;
        drop(input);
        let Output { status, stderr, .. } = child.wait_with_output().await.unwrap();
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }
}

async fn buffer_command(arguments: &[&str], data_dir: &Path) -> (Option<i32>, String, String) {
    let output = Command::new(BIN)
        .arg("buffer")
        .args(arguments)
        .args(["--data-dir", data_dir.to_str().unwrap()])
        .stdin(Stdio::null())
        .output();
    let Output { status, stdout, stderr } = output.await.unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (status.code(), text(stdout), text(stderr))
}

#[tokio::test]
async fn kills_lose_nothing_that_was_written() {
    in_time(async {
        let data_dir = tempfile::tempdir().unwrap();
        let path = directory(data_dir.path(), "out");
        let http = HttpServer::start().await;
        let config = Shipper::config(data_dir.path(), &http.url("/"), "{type = 'disk', max_size = 4000000}");
        let mut random = SmallRng::seed_from_u64(9);
        let mut next = 0;
        let mut taken = BTreeSet::new();
        let mut counted = 0;
        let collect = |taken: &mut BTreeSet<u64>, counted: &mut usize, is_up: bool| {
            let requests = http.requests();
            if is_up {
                for request in &requests[*counted..] {
                    for event in request.json().as_array().unwrap() {
                        taken.insert(event["n"].as_u64().unwrap());
                    }
                }
            }
            *counted = requests.len();
        };
        for round in 0..(6 * soak()).min(50) {
            // The destination is down in most rounds, so that something is left.
            let is_up = round % 3 == 1;
            http.default_reply(Reply::status(if is_up { 200 } else { 503 }));
            let mut shipper = Shipper::start(&config, data_dir.path());
            let first = next;
            let end = Instant::now() + Duration::from_millis(random.random_range(100..700));
            while Instant::now() < end {
                let count = random.random_range(1..60);
                shipper.write(next..next + count).await;
                next += count;
                tokio::time::sleep(Duration::from_millis(random.random_range(0..4))).await;
            }
            let log = shipper.kill().await;
            // A request may have been under way.
            tokio::time::sleep(Duration::from_millis(50)).await;
            collect(&mut taken, &mut counted, is_up);
            assert!(!log.contains("ERROR") || !log.contains("disk buffer"), "{log}");
            let written = on_disk(&path);
            // Of this round, what came later is lost, and nothing in between: it was still on its way to the disk.
            let known: Vec<u64> = written.union(&taken).copied().filter(|n| *n >= first).collect();
            assert!(known.iter().copied().eq(first..first + known.len() as u64), "a hole in round {round}");
            // All of it is delivered in the end, or still there at the next look.
            taken.extend(written);
        }
        assert!(taken.len() > 100, "{} events", taken.len());
        http.default_reply(Reply::status(200));
        let left = on_disk(&path);
        let before = http.requests().len();
        let (code, log) = Shipper::start(&config, data_dir.path()).end().await;
        assert_eq!(code, Some(0), "{log}");
        assert!(log.contains("from an earlier run") && log.contains("buffered 0 on disk"), "{log}");
        let seen = delivered(&http, |at| at >= before);
        assert!(seen.keys().copied().eq(left.iter().copied()), "{} of {}", seen.len(), left.len());
        assert!(seen.values().all(|times| *times == 1), "without a kill nothing comes twice");
        assert_eq!(summary(data_dir.path()).segments, 0);
    })
    .await;
}

/// What is on disk is acknowledged, while the destination has nothing of it; and then a kill costs nothing, even
/// if the stream is gone.
#[tokio::test]
async fn what_a_stream_has_heard_of_as_acknowledged_survives_a_kill() {
    in_time(async {
        let data_dir = tempfile::tempdir().unwrap();
        let path = directory(data_dir.path(), "out");
        let nats = NatsServer::with(Options { jetstream: true, ..Options::default() }).await;
        let js = JetStream::connect(nats.url()).await;
        js.make_stream(serde_json::json!({})).await;
        let http = HttpServer::start().await;
        http.default_reply(Reply::status(503));
        let config = format!(
            "data_dir = '{}'\n[sources.in]\ntype = 'nats'\nurl = '{}'\nconnection_name = 'test'\nsubject = 'logs.>'\n\
             decoding.codec = 'json'\njetstream = {{stream = 'S', consumer = 'C', ack_wait_secs = 1, create = true}}\n{}",
            data_dir.path().display(),
            nats.url(),
            sink(&http.url("/"), "{type = 'disk'}")
        );
        let (rounds, size) = ((3 * u64::from(soak())).min(50), 1000);
        let mut random = SmallRng::seed_from_u64(3);
        for round in 0..rounds {
            let shipper = Shipper::start(&config, data_dir.path());
            let load = js.publish(round * size..(round + 1) * size);
            let pause = Duration::from_millis(random.random_range(20..400));
            let kill = async {
                tokio::time::sleep(pause).await;
                shipper.kill().await;
            };
            tokio::join!(load, kill);
        }
        let shipper = Shipper::start(&config, data_dir.path());
        js.wait_until_acknowledged().await;
        shipper.kill().await;
        // All that the stream has forgotten is on disk.
        assert!(on_disk(&path).into_iter().eq(0..rounds * size));
        let before = http.requests().len();
        http.default_reply(Reply::status(200));
        let without = config.split("[sources.in]").next().unwrap().to_owned() + "[sources.in]\ntype = 'stdin'\n";
        let without = without + config.split("create = true}\n").nth(1).unwrap();
        let (code, log) = Shipper::start(&without, data_dir.path()).end().await;
        assert_eq!(code, Some(0), "{log}");
        let seen = delivered(&http, |at| at >= before);
        assert!(seen.keys().copied().eq(0..rounds * size), "{} delivered", seen.len());
    })
    .await;
}

#[tokio::test]
async fn what_is_left_at_the_end_is_no_loss_and_can_be_looked_at() {
    in_time(async {
        let data_dir = tempfile::tempdir().unwrap();
        let nobody = format!("http://127.0.0.1:{}/", free_port());
        let config = Shipper::config(data_dir.path(), &nobody, "{type = 'disk'}");
        let mut shipper = Shipper::start(&config, data_dir.path());
        shipper.write(0..1000).await;
        until("they are on disk", || {
            disk::list(data_dir.path()).unwrap().first().is_some_and(|buffer| buffer.events == 1000)
        })
        .await;
        let (code, out, _) = buffer_command(&["ls"], data_dir.path()).await;
        assert_eq!(code, Some(0));
        let row: Vec<_> = out.lines().nth(1).unwrap().split_whitespace().collect();
        assert!(matches!(row[..], ["out", "1000", _, _, "1", "yes"]), "{out}");
        let (code, _, error) = buffer_command(&["drain", "out"], data_dir.path()).await;
        assert!(code == Some(1) && error.contains("another log-shipper"), "{error}");
        // A signal to stop: what cannot be delivered stays.
        let pid = shipper.child.id().unwrap().to_string();
        assert!(Command::new("kill").arg(&pid).status().await.unwrap().success());
        let (code, log) = shipper.output().await;
        assert_eq!(code, Some(0), "{log}");
        assert!(
            log.contains("sink out: received 1000, delivered 0") && log.contains("buffered 1000 on disk"),
            "{log}"
        );

        let (_, out, _) = buffer_command(&["ls", "--format", "json"], data_dir.path()).await;
        let list: serde_json::Value = serde_json::from_str(&out).unwrap();
        assert_eq!(
            (&list[0]["sink"], &list[0]["events"], &list[0]["open"]),
            (&"out".into(), &1000.into(), &false.into())
        );
        let (code, out, _) = buffer_command(&["inspect", "out", "--limit", "3"], data_dir.path()).await;
        assert_eq!((code, out.lines().count()), (Some(0), 3));
        let (code, _, error) = buffer_command(&["inspect", "loki"], data_dir.path()).await;
        assert!(
            code == Some(1) && error.contains("sink loki has no buffer") && error.contains("out"),
            "{error}"
        );
        let (code, out, _) = buffer_command(&["drain", "out"], data_dir.path()).await;
        assert_eq!(code, Some(0));
        let numbers = out.lines().map(|line| number(&LogEvent::from_json(line.to_owned().into()).unwrap()));
        assert!(numbers.eq(0..1000));
        let (_, out, _) = buffer_command(&["drain", "out"], data_dir.path()).await;
        assert_eq!(out, "");
        assert_eq!(summary(data_dir.path()).segments, 0);
    })
    .await;
}

#[tokio::test]
async fn a_full_disk_is_an_alarm_and_no_loss() {
    in_time(async {
        let data_dir = tempfile::tempdir().unwrap();
        let http = HttpServer::start().await;
        http.default_reply(Reply::status(503));
        let config = Shipper::config(data_dir.path(), &http.url("/"), "{type = 'disk'}");
        // No file grows beyond 400 blocks of 512 or 1024 bytes, and a block of the buffer's has 128 KiB.
        let mut command = Command::new("sh");
        command.args(["-c", "trap '' XFSZ; ulimit -f 400; exec \"$0\" \"$@\"", BIN]);
        let mut shipper = Shipper::start_with(command, &config, data_dir.path());
        for n in 0..40 {
            shipper.write(n * 100..n * 100 + 100).await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        until("something is on disk", || {
            disk::list(data_dir.path()).unwrap().first().is_some_and(|buffer| buffer.events > 0)
        })
        .await;
        let refused = http.wait_for(1).await.len();
        http.default_reply(Reply::status(200));
        let (code, log) = shipper.end().await;
        assert_eq!(code, Some(0), "{log}");
        assert!(
            log.contains("ERROR") && log.contains("cannot be written, so that events are held in memory"),
            "{log}"
        );
        assert!(log.contains("received 4000, delivered 4000"), "{log}");
        let seen = delivered(&http, |at| at >= refused);
        assert!(seen.keys().copied().eq(0..4000), "{} of 4000", seen.len());
    })
    .await;
}

/// The most memory that a process has had, in bytes.
fn peak_memory(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() << 10
}

#[tokio::test]
async fn a_large_buffer_is_opened_in_little_memory() {
    in_time(async {
        let nobody = format!("http://127.0.0.1:{}/", free_port());
        let mut peaks = Vec::new();
        let segments = if soak() > 1 { 64 } else { 8 };
        for segments in [0, segments] {
            let data_dir = tempfile::tempdir().unwrap();
            let path = directory(data_dir.path(), "out");
            std::fs::create_dir_all(&path).unwrap();
            for segment in 0..segments {
                // 16 MiB, in blocks of 128 KiB.
                let text = format!("{{\"n\":1,\"message\":\"{}\"}}", "x".repeat(32 << 10));
                let event = LogEvent::from_json(text.into()).unwrap();
                let blocks = vec![vec![event; 4]; 128];
                let bytes = disk::write_segment(segment * 1000, &blocks);
                std::fs::write(path.join(format!("{:016x}.log", segment * 1000)), bytes).unwrap();
            }
            let buffer =
                "{type = 'disk', max_size = 10000000000}\nbatch.max_bytes = 1000000\nrequest.concurrency = 1";
            let config = Shipper::config(data_dir.path(), &nobody, buffer);
            let mut shipper = Shipper::start(&config, data_dir.path());
            shipper.write(0..100).await;
            // By now it has opened it, and has read as far ahead as it may.
            let events = segments * 128 * 4 + 100;
            until("it writes", || {
                disk::list(data_dir.path()).unwrap().first().is_some_and(|buffer| buffer.events == events)
            })
            .await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            peaks.push(peak_memory(shipper.child.id().unwrap()));
            shipper.kill().await;
        }
        let [empty, full] = peaks[..] else { panic!("{peaks:?}") };
        assert!(full < empty + (16 << 20), "{} MiB, and {} MiB when empty", full >> 20, empty >> 20);
    })
    .await;
}
