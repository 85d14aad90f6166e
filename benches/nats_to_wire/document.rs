//! BENCHMARKS.md: the last measurement between two markers, and around them what people wrote.

use crate::Result;
use crate::scenarios::Shipper;
use crate::support::nats_server;
use log_shipper::event::Timestamp;
use std::ffi::OsStr;
use std::io::ErrorKind;
use std::process::Command;

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/BENCHMARKS.md");
const BEGIN: &str = "<!-- measured: begin -->";
const END: &str = "<!-- measured: end -->";

/// The document where there is none yet.
const NEW: &str = "\
# Benchmarks

What it costs to carry events from NATS to their destinations, measured end to end by `make bench`
(`benches/nats_to_wire/`). A real nats-server, the publisher and the destinations run on the same machine, over
loopback, without TLS. Every destination counts: each event must arrive exactly once, or the benchmark fails.

- **CPU s/M** is user and system time of the measured process for a million events, from its idle state to the
  last arrival.
- **events/s** counts from the first publish to the last arrival, without the last request, which waits for its
  batch's timeout. Where the publisher has a steady rate, it can be no more than that.
- **peak RSS** is the peak of resident memory since the process started.
- **bytes/event** are the bytes of request bodies, at all destinations together.

The baseline is a program that subscribes with async-nats and only counts: what any program in log-shipper's place
has to pay at least. Vector, where there is one (`VECTOR=/path/to/vector make bench`), runs the same configuration,
with its own defaults for everything that is not in it. Everything in a round is measured one after the other, and
rounds follow each other, so that noise hits all alike.

<!-- measured: begin -->
<!-- measured: end -->
";

/// Puts the measurement in the place of the last one.
pub fn write(measured: &str) -> Result<()> {
    let old = match std::fs::read_to_string(PATH) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => NEW.to_owned(),
        Err(error) => return Err(format!("BENCHMARKS.md cannot be read: {error}")),
    };
    let new =
        replaced(&old, measured).ok_or("BENCHMARKS.md has lost its two markers; nothing was written")?;
    std::fs::write(PATH, new).map_err(|error| format!("BENCHMARKS.md cannot be written: {error}"))
}

fn replaced(text: &str, measured: &str) -> Option<String> {
    let (before, rest) = text.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{}\n\n{END}{after}", measured.trim()))
}

/// When, on what and with which programs it was measured.
pub fn circumstances(vector: Option<&Shipper>) -> String {
    let unknown = || "unknown".to_owned();
    let vector = match vector {
        Some(Shipper::Vector(program)) => first_line_of(program, &["--version"]).unwrap_or_else(unknown),
        _ => "no Vector".to_owned(),
    };
    format!(
        "- date: {}\n- machine: {}, {} cores, Linux {}\n- versions: log-shipper {} at {}; {}; {}; {vector}\n",
        &Timestamp::now().to_rfc3339()[..10],
        cpu_model().unwrap_or_else(unknown),
        std::thread::available_parallelism().map_or(0, usize::from),
        kernel().unwrap_or_else(unknown),
        env!("CARGO_PKG_VERSION"),
        commit().unwrap_or_else(unknown),
        first_line_of("rustc", &["--version"]).unwrap_or_else(unknown),
        first_line_of(nats_server::program(), &["--version"]).unwrap_or_else(unknown),
    )
}

fn cpu_model() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let (_, model) = text.lines().find(|line| line.starts_with("model name"))?.split_once(':')?;
    Some(model.trim().to_owned())
}

/// Its version, without what a builder has added to it.
fn kernel() -> Option<String> {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").ok()?;
    release.trim().split('-').next().map(str::to_owned)
}

/// The commit that was measured, and whether it was just that.
fn commit() -> Option<String> {
    let repository = ["-C", env!("CARGO_MANIFEST_DIR")];
    let commit = first_line_of("git", &[&repository[..], &["rev-parse", "--short", "HEAD"]].concat())?;
    // The rest, as this document, is no part of the program.
    let changes = ["status", "--porcelain", "--", "src", "benches", "Cargo.toml", "Cargo.lock"];
    let is_changed = first_line_of("git", &[&repository[..], &changes].concat()).is_some();
    Some(if is_changed { format!("{commit} with changes") } else { commit })
}

fn first_line_of(program: impl AsRef<OsStr>, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    String::from_utf8(output.stdout).ok()?.lines().next().map(str::to_owned)
}
