//! What it costs to carry events from NATS to an HTTP destination.
//!
//! Each round measures two child processes with the same events:
//!
//! - `log-shipper`, which takes the events from a real nats-server and posts
//!   them to a receiver in this process;
//! - `subscribe-and-count`, which is this program again and only receives the
//!   events with async-nats: what any program in its place has to pay at least.
//!
//! ```text
//! cargo bench --bench nats_to_wire -- [--events N] [--rounds N]
//! ```
//!
//! It ends with failure when an event is lost or arrives twice.

#[path = "../tests/support/mod.rs"]
mod support;

use futures::StreamExt;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::http_server::CountingServer;
use support::nats_server::{NatsServer, Options};
use support::publisher::{Publisher, fly_event, frame};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};
use tokio::time::{interval, timeout};

const EVENTS: u64 = 400_000;
const ROUNDS: usize = 3;

const SUBJECT: &str = "logs.>";
// Probes have a subject and numbers of their own, so they are never counted.
const PROBE: &str = "logs.probe";
const END_OF_PROBES: &str = "logs.probe.end";
/// Events a second: more than any Fly organisation has, and less than the machine can take with the
/// server, the publisher and the receiver on it.
const RATE: u64 = 150_000;
const TICK: Duration = Duration::from_millis(2);
const FIRST_PROBE: u64 = 1 << 40;
const PROBE_EVERY: Duration = Duration::from_millis(20);

const START_WITHIN: Duration = Duration::from_secs(20);
const STOP_WITHIN: Duration = Duration::from_secs(20);
/// Events that have not come after so long without any other are lost.
const PATIENCE: Duration = Duration::from_secs(20);
const ROUND_WITHIN: Duration = Duration::from_secs(300);

const BASELINE: &str = "subscribe-and-count";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, url, count] = arguments.as_slice()
        && command == BASELINE
    {
        subscribe_and_count(url, count.parse().expect("a number of events"));
        return ExitCode::SUCCESS;
    }
    // `cargo test --all-targets` runs this program too, without `--bench`.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nats_to_wire measures only under `cargo bench`");
        return ExitCode::SUCCESS;
    }
    let events = option(&arguments, "--events").unwrap_or(EVENTS);
    let rate = option(&arguments, "--rate").unwrap_or(RATE);
    let rounds =
        option(&arguments, "--rounds").map_or(ROUNDS, |n| usize::try_from(n).expect("a number of rounds"));
    assert!(events > 0 && rounds > 0 && rate > 0, "nothing to measure");

    tokio::runtime::Runtime::new().expect("a runtime").block_on(measure(events, rounds, rate))
}

/// The number after `name`; everything else is cargo's business.
fn option(arguments: &[String], name: &str) -> Option<u64> {
    let at = arguments.iter().position(|argument| argument == name)?;
    let number = arguments.get(at + 1).and_then(|text| text.parse().ok());
    Some(number.unwrap_or_else(|| panic!("{name} needs a number")))
}

async fn measure(events: u64, rounds: usize, rate: u64) -> ExitCode {
    let stream = Stream::new(events, rate);
    println!("{events} events of {:.1} bytes on average, {rate} a second, {rounds} rounds", stream.average);
    let mut shipper = Vec::new();
    let mut baseline = Vec::new();
    for round in 1..=rounds {
        for (name, results) in [("log-shipper", &mut shipper), (BASELINE, &mut baseline)] {
            let result = if name == BASELINE {
                measure_baseline(&stream).await
            } else {
                measure_shipper(&stream).await
            };
            match result {
                Ok(result) => {
                    println!(
                        "round {round} {name:<19} {:>7.2} CPU s/M {:>9.0} events/s {:>7.1} MiB",
                        result.cpu, result.rate, result.memory
                    );
                    results.push(result);
                }
                Err(problem) => {
                    println!("round {round} {name}: {problem}");
                    return ExitCode::FAILURE;
                }
            }
        }
    }
    report(&shipper, &baseline);
    ExitCode::SUCCESS
}

/// The events of all rounds, as the bytes that publish them.
struct Stream {
    events: u64,
    average: f64,
    // Made once and before measuring, for making them takes the processor
    // from the program measured.
    lines: Vec<u8>,
    /// Events published in a second.
    rate: u64,
}

impl Stream {
    fn new(events: u64, rate: u64) -> Self {
        let mut lines = Vec::new();
        let mut bytes = 0;
        for n in 0..events {
            let (subject, event) = fly_event(n);
            bytes += event.len();
            frame(&mut lines, &subject, event.as_bytes());
        }
        Self { events, average: bytes as f64 / events as f64, lines, rate }
    }

    /// Publishes everything at the stream's rate, a piece in each tick; a piece may end inside an
    /// event, which is all the same to the server.
    async fn publish(&self, publisher: &mut Publisher) {
        let mut ticks = interval(TICK);
        let ticks_a_second = 1.0 / TICK.as_secs_f64();
        let events_a_tick = self.rate as f64 / ticks_a_second;
        let piece = (self.lines.len() as f64 / self.events as f64 * events_a_tick).ceil() as usize;
        for piece in self.lines.chunks(piece) {
            ticks.tick().await;
            publisher.publish_framed(piece).await;
        }
        publisher.flush().await;
    }
}

struct Measurement {
    /// Seconds of CPU for a million events.
    cpu: f64,
    /// Events a second, from the first published to the last arrived.
    rate: f64,
    /// Peak of resident memory in MiB.
    memory: f64,
}

async fn measure_shipper(stream: &Stream) -> Result<Measurement, String> {
    let nats = nats_server().await;
    let arrivals = Arc::new(Arrivals::new(stream.events));
    let seen = arrivals.clone();
    let mut receiver = CountingServer::start(move |body| seen.take(body)).await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;

    let mut command = Command::new(env!("CARGO_BIN_EXE_log-shipper"));
    command
        .env_clear()
        .env("NATS_URL", nats.url())
        .env("SUBJECT", SUBJECT)
        .env("HTTP_URL", receiver.url("/"))
        .env("HTTP_TOKEN", "bench");
    let mut program = Program::start(command, "log-shipper", false);

    let mut ticks = interval(PROBE_EVERY);
    let mut probe = FIRST_PROBE;
    let ready = timeout(START_WITHIN, async {
        let arrived = receiver.wait_until(START_WITHIN, || arrivals.probed());
        tokio::pin!(arrived);
        loop {
            tokio::select! {
                found = &mut arrived => return found,
                _ = ticks.tick() => {
                    publisher.publish(PROBE, fly_event(probe).1).await;
                    publisher.flush().await;
                    probe += 1;
                }
            }
        }
    });
    if !ready.await.unwrap_or(false) {
        panic!("no event came through log-shipper within {START_WITHIN:?}; it said:\n{}", program.output());
    }

    let before = program.cpu_seconds();
    let started = Instant::now();
    stream.publish(&mut publisher).await;
    // Both totals are looked at when the program has stopped.
    let arrived = receiver.wait_until(PATIENCE, || arrivals.distinct() == stream.events);
    if timeout(ROUND_WITHIN, arrived).await.is_err() {
        panic!(
            "only {} of {} events came within {ROUND_WITHIN:?}; log-shipper said:\n{}",
            arrivals.distinct(),
            stream.events,
            program.output()
        );
    }
    let measurement = program.measurement(before, started, stream.events);
    program.stop().await;
    receiver.stop().await;

    let (distinct, total) = (arrivals.distinct(), arrivals.total());
    if distinct < stream.events {
        return Err(format!("LOST {}; it said:\n{}", stream.events - distinct, program.output()));
    }
    if total > distinct {
        return Err(format!("DUPLICATED {}", total - distinct));
    }
    Ok(measurement)
}

async fn measure_baseline(stream: &Stream) -> Result<Measurement, String> {
    let nats = nats_server().await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;

    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.env_clear().args([BASELINE, &nats.url(), &stream.events.to_string()]);
    let mut program = Program::start(command, BASELINE, true);

    let mut ticks = interval(PROBE_EVERY);
    let ready = timeout(START_WITHIN, async {
        loop {
            tokio::select! {
                line = program.line() => {
                    assert_eq!(line, "ready");
                    break;
                }
                _ = ticks.tick() => {
                    publisher.publish(PROBE, "{}").await;
                    publisher.flush().await;
                }
            }
        }
        publisher.publish(END_OF_PROBES, "{}").await;
        publisher.flush().await;
        assert_eq!(program.line().await, "counting");
    });
    if ready.await.is_err() {
        panic!("{BASELINE} was not ready within {START_WITHIN:?}");
    }

    let before = program.cpu_seconds();
    let started = Instant::now();
    stream.publish(&mut publisher).await;
    // The child gives up by itself, and earlier, when no event comes any more.
    let line = timeout(ROUND_WITHIN, program.line())
        .await
        .unwrap_or_else(|_| panic!("{BASELINE} counts for too long"));
    let measurement = program.measurement(before, started, stream.events);
    program.stop().await;

    let counted: u64 = line.parse().expect("a number of events");
    if counted < stream.events {
        return Err(format!("LOST {}", stream.events - counted));
    }
    Ok(measurement)
}

async fn nats_server() -> NatsServer {
    // A server with its usual patience cuts a subscriber off that is behind by
    // 64 MB. Here all events are published at once, much faster than in life.
    let extra = "max_pending: 1073741824\nwrite_deadline: \"120s\"".to_owned();
    NatsServer::with(Options { extra, ..Options::default() }).await
}

/// The child process that is measured.
struct Program {
    name: &'static str,
    child: Child,
    lines: Option<Lines<BufReader<ChildStdout>>>,
    directory: TempDir,
}

impl Program {
    /// Starts it, to be killed when dropped; its lines are read or its output kept.
    fn start(mut command: Command, name: &'static str, read_lines: bool) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        // A file and no pipe, so that a talkative program never waits for us.
        let output = File::create(output_path(&directory)).expect("a temporary file");
        let errors = output.try_clone().expect("a second handle of a file");
        let mut child = command
            .stdin(Stdio::null())
            .stdout(if read_lines { Stdio::piped() } else { output.into() })
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{name} does not start: {error}"));
        let lines = child.stdout.take().map(|out| BufReader::new(out).lines());
        Self { name, child, lines, directory }
    }

    async fn line(&mut self) -> String {
        let lines = self.lines.as_mut().expect("its lines are read");
        match lines.next_line().await.expect("a line of text") {
            Some(line) => line,
            None => panic!("{} ended; it said:\n{}", self.name, self.output()),
        }
    }

    /// The last lines of its output.
    fn output(&self) -> String {
        let output = std::fs::read(output_path(&self.directory)).unwrap_or_default();
        let output = String::from_utf8_lossy(&output);
        let lines: Vec<&str> = output.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }

    fn measurement(&self, before: f64, started: Instant, events: u64) -> Measurement {
        let events = events as f64;
        Measurement {
            rate: events / started.elapsed().as_secs_f64(),
            cpu: (self.cpu_seconds() - before) / events * 1e6,
            memory: self.peak_memory(),
        }
    }

    fn cpu_seconds(&self) -> f64 {
        let stat = self.proc_file("stat");
        // The second field is the name in brackets, which may hold blanks.
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // Fields 14 and 15 of proc(5), utime and stime; here the third is the first.
        let ticks: f64 =
            [fields[11], fields[12]].iter().map(|field| field.parse::<f64>().expect("clock ticks")).sum();
        ticks / clock_ticks()
    }

    fn peak_memory(&self) -> f64 {
        let status = self.proc_file("status");
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak of resident memory");
        let kib: f64 = peak.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        kib / 1024.0
    }

    fn proc_file(&self, name: &str) -> String {
        let read = self.child.id().and_then(|id| std::fs::read_to_string(format!("/proc/{id}/{name}")).ok());
        match read {
            Some(text) => text,
            None => panic!("{} has ended; it said:\n{}", self.name, self.output()),
        }
    }

    async fn stop(&mut self) {
        let id = self.child.id().expect("a process that still runs");
        let sent =
            Command::new("kill").args(["-TERM", &id.to_string()]).status().await.expect("the command kill");
        assert!(sent.success(), "{} takes no signal", self.name);
        if timeout(STOP_WITHIN, self.child.wait()).await.is_err() {
            panic!("{} did not stop within {STOP_WITHIN:?}", self.name);
        }
    }
}

fn output_path(directory: &TempDir) -> PathBuf {
    Path::join(directory.path(), "output")
}

fn clock_ticks() -> f64 {
    // Linux has told every program the same number for decades.
    const USUAL: f64 = 100.0;
    std::process::Command::new("getconf")
        .arg("CLK_TCK")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse().ok())
        .unwrap_or(USUAL)
}

/// Which events have arrived.
struct Arrivals {
    events: u64,
    // One bit for each event, so that a repeated one hides no lost one.
    seen: Mutex<Vec<u64>>,
    distinct: AtomicU64,
    total: AtomicU64,
    probes: AtomicU64,
}

impl Arrivals {
    fn new(events: u64) -> Self {
        let words = usize::try_from(events.div_ceil(64)).expect("events fit in memory");
        Self {
            events,
            seen: Mutex::new(vec![0; words]),
            distinct: AtomicU64::new(0),
            total: AtomicU64::new(0),
            probes: AtomicU64::new(0),
        }
    }

    /// Notes the number of each event in a body, whatever format surrounds it.
    fn take(&self, body: &[u8]) {
        // A message that holds JSON itself has its quotes escaped, so it never matches.
        const KEY: &[u8] = b"\"n\":";
        let (mut distinct, mut total, mut probes) = (0, 0, 0);
        let mut seen = self.seen.lock().expect("no other body panicked");
        for at in memchr::memmem::find_iter(body, KEY) {
            let digits = body[at + KEY.len()..].trim_ascii_start();
            let n = digits
                .iter()
                .take_while(|byte| byte.is_ascii_digit())
                .fold(0_u64, |n, digit| n.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
            if n >= self.events {
                probes += 1;
                continue;
            }
            total += 1;
            let word = &mut seen[usize::try_from(n / 64).expect("events fit in memory")];
            let bit = 1 << (n % 64);
            if *word & bit == 0 {
                *word |= bit;
                distinct += 1;
            }
        }
        self.total.fetch_add(total, Ordering::Relaxed);
        self.distinct.fetch_add(distinct, Ordering::Relaxed);
        self.probes.fetch_add(probes, Ordering::Relaxed);
    }

    fn distinct(&self) -> u64 {
        self.distinct.load(Ordering::Relaxed)
    }

    fn total(&self) -> u64 {
        self.total.load(Ordering::Relaxed)
    }

    fn probed(&self) -> bool {
        self.probes.load(Ordering::Relaxed) > 0
    }
}

/// The baseline: receives, counts, and does nothing else.
fn subscribe_and_count(url: &str, count: u64) {
    // One thread, which is the cheapest way to receive.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = async_nats::ConnectOptions::new()
            // With the usual capacity async-nats drops what comes in too fast.
            .subscription_capacity(usize::try_from(count).expect("events fit in memory") + 1024)
            .connect(url)
            .await
            .expect("a connection");
        let mut messages = client.subscribe(SUBJECT).await.expect("a subscription");

        let mut ready = false;
        loop {
            let message = messages.next().await.expect("a message");
            if message.subject.as_str() == END_OF_PROBES {
                println!("counting");
                break;
            }
            if !ready {
                println!("ready");
                ready = true;
            }
        }
        let mut counted = 0;
        while counted < count {
            // One timer for many messages, for the timer is no part of the cost.
            let more = timeout(PATIENCE, async {
                for _ in 0..(count - counted).min(1000) {
                    messages.next().await.expect("a message");
                    counted += 1;
                }
            });
            if more.await.is_err() {
                break;
            }
        }
        println!("{counted}");
        // The measuring process reads our costs while we wait for its signal.
        timeout(STOP_WITHIN, std::future::pending::<()>()).await.ok();
    });
}

fn report(shipper: &[Measurement], baseline: &[Measurement]) {
    type Column = (&'static str, usize, fn(&Measurement) -> f64);
    let columns: [Column; 3] =
        [("CPU s/M events", 2, |m| m.cpu), ("events/s", 0, |m| m.rate), ("peak RSS MiB", 1, |m| m.memory)];
    println!();
    println!("{:<16} {:>23} {:>27} {:>13}", "", "log-shipper", BASELINE, "ratio");
    println!("{:<16} {:>11} {:>11} {:>13} {:>13} {:>13}", "", "min", "median", "min", "median", "of medians");
    for (name, digits, value) in columns {
        let (a_min, a_median) = min_and_median(shipper.iter().map(value).collect());
        let (b_min, b_median) = min_and_median(baseline.iter().map(value).collect());
        println!(
            "{name:<16} {a_min:>11.digits$} {a_median:>11.digits$} {b_min:>13.digits$} \
             {b_median:>13.digits$} {:>13.2}",
            a_median / b_median
        );
    }
}

fn min_and_median(mut values: Vec<f64>) -> (f64, f64) {
    values.sort_by(f64::total_cmp);
    let upper = values[values.len() / 2];
    let lower = values[(values.len() - 1) / 2];
    (values[0], f64::midpoint(lower, upper))
}
