//! What it costs to carry events from NATS to their destinations.
//!
//! Each round measures child processes with the same events, one after the other:
//!
//! - log-shipper in each of the `scenarios`, which takes the events from a real nats-server and sends
//!   them to receivers in this process;
//! - Vector, if VECTOR names one or PATH has one, with the same configuration;
//! - the `baseline`, which is this program again and only receives the events with async-nats.
//!
//! ```text
//! cargo bench --bench nats_to_wire -- --help
//! ```
//!
//! The `facts` are measured once, after the last round.
//!
//! It ends with failure when log-shipper loses an event or delivers one twice.

mod baseline;
mod document;
mod facts;
mod measure;
mod program;
mod receiver;
mod report;
mod scenarios;
mod stream;
#[path = "../../tests/support/mod.rs"]
mod support;

use baseline::{BASELINE, subscribe_and_count};
use clap::Parser;
use clap::builder::PossibleValuesParser;
use facts::FACTS;
use report::{Results, Series, number};
use scenarios::{SCENARIOS, Shipper};
use std::path::PathBuf;
use std::process::ExitCode;
use stream::Stream;

/// What went wrong, for a person.
pub type Result<T> = std::result::Result<T, String>;

/// What every program that is measured subscribes to.
pub const SUBJECT: &str = "logs.>";

/// Events of a measurement, where nobody says how many.
const EVENTS: u64 = 400_000;

/// Bytes of a made-up event, about.
pub const EVENT_BYTES: u64 = 386;

/// Measures what it costs to carry events from NATS to their destinations.
#[derive(Debug, Parser)]
#[command(name = "nats_to_wire")]
struct Arguments {
    /// Events of a measurement. Default: 400,000, or all of the input.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    events: Option<u64>,
    /// Rounds; min and median of them are reported.
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u64).range(1..))]
    rounds: u64,
    /// Events published in a second. The default is more than any Fly organisation has, and less than two
    /// cores take with the server, the publisher and the receiver on them.
    #[arg(long, value_name = "N", default_value_t = 150_000, value_parser = clap::value_parser!(u64).range(1..))]
    rate: u64,
    /// Events as JSON, one a line: the scenarios' events. Each has a unique `"n":<number>`, from 0 on, and
    /// `fly` fields, which its subject is made of. Default: made-up events of Fly's shape.
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Measures only these.
    #[arg(long, value_name = "NAME", value_delimiter = ',', value_parser = names())]
    only: Vec<String>,
    /// Writes what was measured into BENCHMARKS.md.
    #[arg(long)]
    write: bool,
    /// Cargo's, for every benchmark.
    #[arg(long, hide = true)]
    bench: bool,
}

fn names() -> PossibleValuesParser {
    SCENARIOS.iter().map(|scenario| scenario.name).chain(FACTS.iter().copied()).into()
}

impl Arguments {
    fn stream(&self) -> Result<Stream> {
        match (&self.input, self.events) {
            (None, events) => Ok(Stream::generated(events.unwrap_or(EVENTS))),
            (Some(file), events) => {
                let most = events.map_or(usize::MAX, |n| usize::try_from(n).expect("events fit in memory"));
                Stream::from_file(file, most)
            }
        }
    }

    /// What was asked for, in a line.
    fn describe(&self, stream: &Stream) -> String {
        let whose = if self.input.is_some() { "events of a file" } else { "made-up events" };
        let only = if self.only.is_empty() { "" } else { "; only a part was measured" };
        format!(
            "- run: {} {whose} of {} bytes on average, {} a second; rounds: {}{only}\n",
            number(stream.events as f64, 0),
            number(stream.average(), 1),
            number(self.rate as f64, 0),
            self.rounds
        )
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [command, url, events] = arguments.as_slice()
        && command == BASELINE
    {
        subscribe_and_count(url, events.parse().expect("a number of events"));
        return ExitCode::SUCCESS;
    }
    // `cargo test --all-targets` runs this program too, without `--bench`.
    if !arguments.iter().any(|argument| argument == "--bench") {
        println!("nats_to_wire measures only under `cargo bench`");
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    match runtime.block_on(run(&Arguments::parse())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("{problem}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: &Arguments) -> Result<()> {
    let stream = arguments.stream()?;
    let vector = Shipper::vector();
    let chosen = SCENARIOS.iter().filter(|scenario| arguments.wants(scenario.name));
    let series: Vec<Series> = chosen.map(Series::new).collect();
    let rounds = if series.is_empty() { 0 } else { arguments.rounds };
    let mut results = Results { series, baseline: Vec::new(), facts: Vec::new() };
    for round in 1..=rounds {
        println!("round {round} of {rounds}");
        measure_round(&mut results, vector.as_ref(), &stream, arguments.rate).await?;
    }
    for fact in FACTS.iter().filter(|fact| arguments.wants(fact)) {
        println!("{fact}");
        let events = arguments.events.unwrap_or(EVENTS);
        let measured = facts::measure(fact, events, arguments.rate).await;
        results.facts.extend(measured.map_err(|problem| format!("{fact}: {problem}"))?);
    }
    let measured = format!(
        "{}{}{}{}",
        document::circumstances(vector.as_ref()),
        arguments.describe(&stream),
        report::costs(&results),
        report::facts(&results.facts)
    );
    println!("\n{measured}");
    if arguments.write { document::write(&measured) } else { Ok(()) }
}

/// Measures everything once, one after the other, so that whatever else the machine does hits all alike.
async fn measure_round(
    results: &mut Results,
    vector: Option<&Shipper>,
    stream: &Stream,
    rate: u64,
) -> Result<()> {
    for Series { scenario, ours, vectors } in &mut results.series {
        let shippers = [(Some(&Shipper::LogShipper), ours), (vector, vectors)];
        for (shipper, rounds) in shippers.into_iter().filter_map(|(shipper, rounds)| Some((shipper?, rounds)))
        {
            let measured = measure::shipper(shipper, scenario, stream, rate).await;
            let measured = measured.map_err(|problem| format!("{}: {problem}", scenario.name))?;
            println!("{:<20} {:<11} {}", scenario.name, shipper.name(), report::line(&measured));
            rounds.push(measured);
        }
    }
    let measured = measure::baseline(stream, rate).await?;
    println!("{BASELINE:<32} {}", report::line(&measured));
    results.baseline.push(measured);
    Ok(())
}
