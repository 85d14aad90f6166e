//! One program, from its start to its end, with all events on their way through it.

use crate::baseline::BASELINE;
use crate::program::Program;
use crate::receiver::Receiver;
use crate::scenarios::{Scenario, Shipper};
use crate::stream::Stream;
use crate::support::nats_server::{NatsServer, Options};
use crate::support::publisher::Publisher;
use crate::{Result, SUBJECT};
use std::time::{Duration, Instant};
use tempfile::TempDir;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

const START_WITHIN: Duration = Duration::from_secs(20);
/// Events that have not come after so long without any other are lost.
pub const PATIENCE: Duration = Duration::from_secs(20);
const ROUND_WITHIN: Duration = Duration::from_secs(300);
const POLL_EVERY: Duration = Duration::from_millis(5);

/// What one run cost.
#[derive(Clone, Copy, Debug)]
pub struct Measurement {
    /// Seconds of CPU for a million events.
    pub cpu: f64,
    /// Events a second.
    pub rate: f64,
    /// Peak of resident memory in MiB.
    pub memory: f64,
    /// Bytes of request bodies for an event, at all destinations together.
    pub bytes: f64,
    /// Events that did not arrive. Those of log-shipper found a full buffer, and are in its books.
    pub lost: u64,
    /// Events that arrived more than once.
    pub repeated: u64,
}

/// Measures a shipper; where the scenario has a steady rate, it is this one.
///
/// # Errors
/// If it fails, or if log-shipper loses an event or delivers one twice. Another's losses are figures.
pub async fn shipper(
    shipper: &Shipper,
    scenario: &Scenario,
    stream: &Stream,
    rate: u64,
) -> Result<Measurement> {
    let nats = nats_server(stream).await;
    let mut receivers = Vec::new();
    for sink in scenario.sinks {
        receivers.push(Receiver::start(sink.key(), stream.events).await);
    }
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    let urls: Vec<String> = receivers.iter().map(Receiver::url).collect();
    let directory = TempDir::new().expect("a temporary directory");
    let command = scenario.command(shipper, &nats.url(), &urls, directory.path());
    let mut program = Program::start(command, shipper.name())?;
    subscribed(&nats, &mut program).await?;

    let before = program.cpu_seconds()?;
    let start = Instant::now();
    stream.publish(&mut publisher, scenario.is_steady.then_some(rate)).await;
    let all = async {
        for receiver in &receivers {
            receiver.wait(PATIENCE).await;
        }
    };
    if timeout(ROUND_WITHIN, all).await.is_err() {
        return Err(program.problem(&format!("has not delivered everything within {ROUND_WITHIN:?}")));
    }
    let cpu = program.cpu_seconds()? - before;
    let memory = program.peak_memory()?;
    let ended = program.stop().await?;
    for receiver in &mut receivers {
        receiver.stop().await;
    }

    let bytes: u64 = receivers.iter().map(Receiver::bytes).sum();
    let measurement = Measurement {
        cpu: cpu / stream.events as f64 * 1e6,
        rate: receivers.iter().map(|receiver| receiver.rate_since(start)).fold(f64::INFINITY, f64::min),
        memory,
        bytes: bytes as f64 / stream.events as f64,
        lost: receivers.iter().map(Receiver::missing).sum(),
        repeated: receivers.iter().map(Receiver::repeated).sum(),
    };
    if matches!(shipper, Shipper::LogShipper) {
        check(&measurement, program.counted("buffer_full")).map_err(|what| program.problem(&what))?;
        if !ended.success() {
            return Err(program.problem(&format!("ended with {ended}")));
        }
    }
    Ok(measurement)
}

/// Every event must be at every destination exactly once, but for those that the books say were dropped.
fn check(measurement: &Measurement, dropped: u64) -> Result<()> {
    let Measurement { lost, repeated, .. } = measurement;
    if *lost != dropped {
        return Err(format!("LOST {lost} events, and counted {dropped} as dropped"));
    }
    if *repeated > 0 {
        return Err(format!("DUPLICATED {repeated} events"));
    }
    Ok(())
}

/// Measures the baseline.
pub async fn baseline(stream: &Stream, rate: u64) -> Result<Measurement> {
    let nats = nats_server(stream).await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    let mut command = Command::new(std::env::current_exe().expect("the path of this program"));
    command.env_clear().args([BASELINE, &nats.url(), &stream.events.to_string()]);
    let mut program = Program::start(command, BASELINE)?;
    subscribed(&nats, &mut program).await?;

    let before = program.cpu_seconds()?;
    let start = Instant::now();
    stream.publish(&mut publisher, Some(rate)).await;
    // The child gives up by itself, and earlier, when no event comes any more.
    let line = program.line(ROUND_WITHIN).await?;
    let measurement = Measurement {
        cpu: (program.cpu_seconds()? - before) / stream.events as f64 * 1e6,
        rate: stream.events as f64 / start.elapsed().as_secs_f64(),
        memory: program.peak_memory()?,
        bytes: 0.0,
        lost: 0,
        repeated: 0,
    };
    program.stop().await?;
    if line != stream.events.to_string() {
        return Err(program.problem(&format!("did not count all {} events", stream.events)));
    }
    Ok(measurement)
}

/// A server that waits for a slow subscriber. With its usual patience it cuts one off that is behind by
/// 64 MB, and here all events may be published at once.
async fn nats_server(stream: &Stream) -> NatsServer {
    let extra = format!("max_pending: {}\nwrite_deadline: \"120s\"", stream.most_pending());
    NatsServer::with(Options { extra, ..Options::default() }).await
}

/// Waits until the program gets what is published, and has nothing left to do for its start.
pub async fn subscribed(nats: &NatsServer, program: &mut Program) -> Result<()> {
    let subscription = async {
        while !program.has_ended() && !nats.subscriptions().await.iter().any(|subject| subject == SUBJECT) {
            sleep(POLL_EVERY).await;
        }
    };
    if timeout(START_WITHIN, subscription).await.is_err() {
        return Err(program.problem(&format!("did not subscribe within {START_WITHIN:?}")));
    }
    program.idle().await
}
