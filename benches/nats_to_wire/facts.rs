//! What is measured once in a run, because it hardly changes from one round to the next.

use crate::measure::{self, Measurement, PATIENCE, subscribed};
use crate::program::Program;
use crate::receiver::{IN_JSON, numbers};
use crate::report::number;
use crate::scenarios::{Scenario, Shipper, from_environment};
use crate::stream::Stream;
use crate::support::http_server::{CountingServer, HttpServer, Reply};
use crate::support::nats_server::NatsServer;
use crate::support::publisher::{Publisher, fly_event, frame};
use crate::{EVENT_BYTES, Result};
use log_shipper::config::DEFAULT_BUFFER_BYTES;
use log_shipper::sinks::BatchLimits;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{interval, timeout};

pub const FACTS: &[&str] = &["stalled", "latency", "subjects", "sizes", "startup", "binary"];

/// A line about something that was measured.
#[derive(Debug)]
pub struct Fact {
    pub name: &'static str,
    pub measured: String,
    /// Empty, if there is none.
    pub target: String,
}

impl Fact {
    fn new(name: &'static str, measured: String) -> Self {
        Self { name, measured, target: String::new() }
    }

    fn target(self, target: String) -> Self {
        Self { target, ..self }
    }
}

/// Measures one of [`FACTS`]; what needs many events gets so many, at this rate.
pub async fn measure(name: &str, events: u64, rate: u64) -> Result<Vec<Fact>> {
    match name {
        "stalled" => Ok(vec![stalled(rate).await?]),
        "latency" => Ok(vec![latency().await?]),
        "subjects" => subjects(events, rate).await,
        "sizes" => sizes(events, rate).await,
        "startup" => Ok(vec![startup().await?]),
        "binary" => Ok(vec![binary()]),
        other => Err(format!("{other} is no fact")),
    }
}

/// A destination that takes a request and never answers.
async fn stalled(rate: u64) -> Result<Fact> {
    let server = HttpServer::start().await;
    server.default_reply(Reply::Never);
    let nats = NatsServer::start().await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    let mut program = Program::start(from_environment(&nats.url(), &server.url("/")), "log-shipper")?;
    subscribed(&nats, &mut program).await?;

    // Half as much again as the buffer holds, because a little is in requests.
    let stream = Stream::generated(DEFAULT_BUFFER_BYTES as u64 * 3 / 2 / EVENT_BYTES);
    let mut peaks = Vec::new();
    for _ in 0..2 {
        stream.publish(&mut publisher, Some(rate)).await;
        program.idle().await?;
        peaks.push(program.peak_memory()?);
    }
    program.stop().await?;
    let (published, received) = (2 * stream.events, program.counted("received"));
    if received != published {
        return Err(program.problem(&format!("received {received} of {published} events")));
    }
    Ok(Fact::new(
        "stalled",
        format!(
            "a destination that never answers: peak RSS {:.1} MiB when the buffer of {} MiB is full, {:.1} MiB \
             after as many events again; {} of {} events dropped, the oldest, and counted",
            peaks[0],
            DEFAULT_BUFFER_BYTES >> 20,
            peaks[1],
            number(program.counted("buffer_full") as f64, 0),
            number(published as f64, 0),
        ),
    ))
}

const LATENCY_EVENTS: usize = 10_000;
const LATENCY_TICK: Duration = Duration::from_millis(1);

/// From just before an event is published to when the request that holds it has been read.
async fn latency() -> Result<Fact> {
    let arrived = Arc::new(Mutex::new(vec![None; LATENCY_EVENTS]));
    let noted = arrived.clone();
    let mut server = CountingServer::start(move |request| {
        let now = Instant::now();
        let mut noted = noted.lock().expect("no body panicked");
        for n in numbers(&request.body(), IN_JSON) {
            noted[usize::try_from(n).expect("a small number")] = Some(now);
        }
    })
    .await;
    let nats = NatsServer::start().await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    let mut program = Program::start(from_environment(&nats.url(), &server.url("/")), "log-shipper")?;
    subscribed(&nats, &mut program).await?;

    let published = publish_slowly(&mut publisher).await;
    server
        .wait_until(PATIENCE, || arrived.lock().expect("no body panicked").iter().all(Option::is_some))
        .await;
    program.stop().await?;
    server.stop().await;
    let arrived = arrived.lock().expect("no body panicked").clone();
    let mut latencies = Vec::new();
    for (published, arrived) in published.into_iter().zip(arrived) {
        let arrived = arrived.ok_or_else(|| program.problem("LOST an event"))?;
        latencies.push(milliseconds(arrived - published));
    }
    latencies.sort_by(f64::total_cmp);
    let percentile = |percent: usize| latencies[(latencies.len() - 1) * percent / 100];
    let batch_timeout = milliseconds(BatchLimits::DEFAULT.timeout);
    let measured = format!(
        "from publish to arrival: p50 {} ms, p99 {} ms, max {} ms; a batch is sent after {} ms, full or not",
        number(percentile(50), 1),
        number(percentile(99), 1),
        number(percentile(100), 1),
        number(batch_timeout, 0)
    );
    Ok(Fact::new("latency", measured).target(format!("p99 ≤ {} ms", number(batch_timeout + 5.0, 0))))
}

/// Publishes an event in each tick; gives back when.
async fn publish_slowly(publisher: &mut Publisher) -> Vec<Instant> {
    let mut ticks = interval(LATENCY_TICK);
    let mut published = Vec::with_capacity(LATENCY_EVENTS);
    let mut line = Vec::new();
    for n in 0..LATENCY_EVENTS as u64 {
        let (subject, event) = fly_event(n);
        line.clear();
        frame(&mut line, &subject, event.as_bytes());
        ticks.tick().await;
        published.push(Instant::now());
        publisher.publish_framed(&line).await;
    }
    published
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Few subjects and many; at Loki, each is a stream of its own.
async fn subjects(events: u64, rate: u64) -> Result<Vec<Fact>> {
    let (few, many) = (with_subjects(events, 10), with_subjects(events, 10_000));
    let mut facts = Vec::new();
    for name in ["http", "loki-gzip"] {
        let mut costs = Vec::new();
        for stream in [&few, &many] {
            costs.push(cost(&once(name, stream, rate).await?));
        }
        facts.push(Fact::new(
            "subjects",
            format!("`{name}`: {} with 10 subjects, {} with 10,000", costs[0], costs[1]),
        ));
    }
    Ok(facts)
}

/// Fly's events, with so many places that they come from.
fn with_subjects(events: u64, subjects: u64) -> Stream {
    let place = |app: &str, region: &str, instance: &str| {
        format!("\"instance\":\"{instance}\",\"name\":\"{app}\"}},\"region\":\"{region}\"")
    };
    Stream::new((0..events).map(|n| {
        let (subject, event) = fly_event(n);
        let tokens: Vec<&str> = subject.split('.').collect();
        let old = place(tokens[1], tokens[2], tokens[3]);
        assert!(event.contains(&old), "an event says where it comes from");
        let (app, instance) = (format!("app-{}", n % subjects / 10), format!("{:014x}", n % subjects));
        let event = event.replacen(&old, &place(&app, "ams", &instance), 1);
        (format!("logs.{app}.ams.{instance}"), event)
    }))
}

const SIZES: [(&str, u64); 4] = [("100 B", 100), ("1 KB", 1_000), ("10 KB", 10_000), ("100 KB", 100_000)];

/// Events of other sizes, fewer and slower the larger they are.
async fn sizes(events: u64, rate: u64) -> Result<Vec<Fact>> {
    let mut facts = Vec::new();
    for (name, size) in SIZES {
        let stream = of_size(size, (events * 1_000 / size).clamp(1, events));
        let rate = (rate * EVENT_BYTES / size).clamp(1, rate);
        let measured = once("http", &stream, rate).await?;
        facts.push(Fact::new(
            "sizes",
            format!("{name}: {}, {:.2} CPU s/GB", cost(&measured), measured.cpu * 1e3 / stream.average()),
        ));
    }
    Ok(facts)
}

fn of_size(size: u64, events: u64) -> Stream {
    const TEXT: &str = "GET /api/v1/orders 200 completed in 12.7ms request_id=01JD8Z ";
    let size = usize::try_from(size).expect("a small size");
    let text = TEXT.repeat(size / TEXT.len() + 1);
    let head = r#"{"fly":{"app":{"instance":"i","name":"a"},"region":"r"},"message":""#;
    Stream::new((0..events).map(|n| {
        let tail = format!("\",\"n\":{n}}}");
        let message = &text[..size - head.len() - tail.len()];
        ("logs.a.r.i".to_owned(), format!("{head}{message}{tail}"))
    }))
}

async fn once(scenario: &str, stream: &Stream, rate: u64) -> Result<Measurement> {
    measure::shipper(&Shipper::LogShipper, Scenario::named(scenario), stream, rate).await
}

fn cost(measured: &Measurement) -> String {
    let lost = match measured.lost {
        0 => String::new(),
        lost => format!(" ({} dropped)", number(lost as f64, 0)),
    };
    format!("{:.2} CPU s/M{lost}", measured.cpu)
}

const STARTS: usize = 20;
const START_WITHIN: Duration = Duration::from_secs(20);

/// From the start of the process to its subscription.
async fn startup() -> Result<Fact> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("nats://{}", listener.local_addr().expect("the address of a listener"));
    let mut times = Vec::new();
    for _ in 0..STARTS {
        let start = Instant::now();
        // Nothing is sent there.
        let program = Program::start(from_environment(&url, "http://127.0.0.1:9/"), "log-shipper")?;
        let subscribed = timeout(START_WITHIN, accept_subscriber(&listener)).await;
        let subscribed = subscribed.map_err(|_| program.problem("did not subscribe"))?;
        times.push(milliseconds(subscribed.expect("a client that speaks") - start));
    }
    times.sort_by(f64::total_cmp);
    let measured = format!(
        "from the start of the process to SUB: {:.1} ms, the median of {STARTS} ({:.1} to {:.1})",
        f64::midpoint(times[STARTS / 2 - 1], times[STARTS / 2]),
        times[0],
        times[STARTS - 1]
    );
    Ok(Fact::new("startup", measured).target("≤ 50 ms".to_owned()))
}

/// As much of a NATS server as a client needs to sign in; gives back when it has subscribed.
async fn accept_subscriber(listener: &TcpListener) -> std::io::Result<Instant> {
    let (stream, _) = listener.accept().await?;
    let mut stream: BufReader<TcpStream> = BufReader::new(stream);
    stream
        .write_all(b"INFO {\"server_id\":\"bench\",\"version\":\"2.0.0\",\"max_payload\":1048576}\r\n")
        .await?;
    let mut subscribed = None;
    let mut line = String::new();
    while stream.read_line(&mut line).await? > 0 {
        match line.trim_end() {
            "PING" => stream.write_all(b"PONG\r\n").await?,
            text if text.starts_with("SUB ") => subscribed = Some(Instant::now()),
            _ => {}
        }
        if let Some(subscribed) = subscribed {
            return Ok(subscribed);
        }
        line.clear();
    }
    Err(std::io::ErrorKind::UnexpectedEof.into())
}

/// The size of the program.
fn binary() -> Fact {
    let directory = TempDir::new().expect("a temporary directory");
    let copy = directory.path().join("log-shipper");
    std::fs::copy(Path::new(env!("CARGO_BIN_EXE_log-shipper")), &copy).expect("a copy of the program");
    // The program that is measured keeps its symbols, for profilers.
    let is_stripped =
        std::process::Command::new("strip").arg(&copy).status().is_ok_and(|status| status.success());
    let bytes = std::fs::metadata(&copy).expect("the size of a file").len();
    let how = if is_stripped { "stripped" } else { "unstripped" };
    Fact::new("binary", format!("{} bytes, {how}", number(bytes as f64, 0)))
        .target("≤ 25,000,000 bytes".to_owned())
}
