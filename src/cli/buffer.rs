//! `log-shipper buffer`: what is in the sinks' buffers on disk.

use super::config_args::ConfigArgs;
use super::progress::Progress;
use super::{Failure, print, print_json, print_table, print_warnings};
use crate::config::{GlobalOptions, Registry};
use crate::env::{Env, PLACEHOLDER};
use crate::event::LogEvent;
use crate::topology::disk::{self, BufferSummary};
use clap::{Subcommand, ValueEnum};
use serde_json::json;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};

/// `buffer`'s arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  log-shipper buffer ls --data-dir /data\n  log-shipper buffer inspect loki --limit 3\n  log-shipper buffer drain loki -c vector.toml > events.ndjson"
)]
pub(super) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// List the buffers.
    #[command(after_help = "Example: log-shipper buffer ls --data-dir /data")]
    Ls {
        #[command(flatten)]
        place: Place,
        /// The format.
        #[arg(long, value_enum, default_value = "table")]
        format: Format,
    },
    /// Print the events of a buffer, oldest first, a JSON object a line, and leave them where they are.
    #[command(after_help = "Example: log-shipper buffer inspect loki --limit 3")]
    Inspect {
        /// The sink's id.
        sink: String,
        /// Only so many.
        #[arg(long, value_name = "N")]
        limit: Option<usize>,
        #[command(flatten)]
        place: Place,
    },
    /// Print the events of a buffer, oldest first, a JSON object a line, and remove what has been printed. No process
    /// may have it open.
    #[command(after_help = "Example: log-shipper buffer drain loki > events.ndjson")]
    Drain {
        /// The sink's id.
        sink: String,
        #[command(flatten)]
        place: Place,
    },
}

/// Where the buffers are.
#[derive(Debug, clap::Args)]
struct Place {
    /// The directory of the buffers. Default: the configuration's `data_dir`; without one, DATA_DIR, and
    /// otherwise `/var/lib/vector/`.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["config", "config_dir"])]
    data_dir: Option<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

impl Place {
    fn data_dir(&self, registry: &Registry, env: &Env) -> Result<PathBuf, Failure> {
        if let Some(data_dir) = &self.data_dir {
            return Ok(data_dir.clone());
        }
        if !self.config.is_environment() {
            // The place of a buffer needs no secrets.
            let config = self.config.load(registry, &env.with_placeholder(PLACEHOLDER), print_warnings)?;
            return Ok(config.global.data_dir().to_owned());
        }
        let data_dir = env.get("DATA_DIR").map_err(Failure::config)?;
        Ok(data_dir.map_or_else(|| GlobalOptions::default().data_dir().to_owned(), PathBuf::from))
    }

    /// The directory of this sink's buffer.
    fn buffer(&self, sink: &str, registry: &Registry, env: &Env) -> Result<PathBuf, Failure> {
        let data_dir = self.data_dir(registry, env)?;
        let directory = disk::directory(&data_dir, sink);
        if directory.is_dir() {
            return Ok(directory);
        }
        let known = buffers(&data_dir)?;
        let known: Vec<_> = known.into_iter().map(|buffer| buffer.sink).collect();
        Err(Failure::Failed(match known.as_slice() {
            [] => format!("no buffer is in {}", data_dir.display()),
            _ => format!(
                "sink {sink} has no buffer in {}; these have one: {}",
                data_dir.display(),
                known.join(", ")
            ),
        }))
    }
}

pub(super) fn run(args: &Args, registry: &Registry, env: &Env) -> Result<(), Failure> {
    match &args.command {
        Command::Ls { place, format } => {
            let data_dir = place.data_dir(registry, env)?;
            list(&buffers(&data_dir)?, &data_dir, *format)
        }
        Command::Inspect { sink, limit, place } => {
            let directory = place.buffer(sink, registry, env)?;
            let mut left = limit.unwrap_or(usize::MAX);
            let mut out = io::BufWriter::new(io::stdout().lock());
            let printed = disk::inspect(&directory, |event| {
                if left == 0 {
                    return Ok(false);
                }
                left -= 1;
                write_line(&mut out, event)?;
                Ok(true)
            });
            match printed.and_then(|()| out.flush()) {
                // Whoever has read enough of it closes it.
                Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
                _ => Ok(()),
            }
        }
        Command::Drain { sink, place } => {
            let directory = place.buffer(sink, registry, env)?;
            // On a screen that the events go to as well, a bar would be in their way.
            let mut progress =
                Progress::new("draining events", disk::waiting(&directory), !io::stdout().is_terminal());
            let mut out = io::BufWriter::new(io::stdout().lock());
            let damaged = disk::drain(&directory, |events| {
                events.iter().try_for_each(|event| write_line(&mut out, event))?;
                // Only what has left us is removed.
                out.flush()?;
                progress.add(events.len() as u64);
                Ok(())
            });
            drop(progress);
            let damaged = damaged.map_err(Failure::failed)?;
            match damaged {
                0 => Ok(()),
                _ => Err(Failure::Failed(format!("{damaged} events were damaged and are lost"))),
            }
        }
    }
}

fn write_line(out: &mut impl Write, event: &LogEvent) -> io::Result<()> {
    out.write_all(event.json().as_bytes())?;
    out.write_all(b"\n")
}

fn buffers(data_dir: &Path) -> Result<Vec<BufferSummary>, Failure> {
    disk::list(data_dir).map_err(|error| Failure::Failed(format!("{}: {error}", data_dir.display())))
}

fn list(buffers: &[BufferSummary], data_dir: &Path, format: Format) -> Result<(), Failure> {
    if format == Format::Json {
        let rows = buffers.iter().map(|buffer| {
            json!({
                "sink": buffer.sink,
                "events": buffer.events,
                "bytes": buffer.bytes,
                "oldest": buffer.oldest.map(|oldest| oldest.to_rfc3339()),
                "segments": buffer.segments,
                "open": buffer.is_open,
            })
        });
        return print_json(&rows.collect::<Vec<_>>());
    }
    if buffers.is_empty() {
        return print(&format!("no buffers in {}\n", data_dir.display()));
    }
    let heads = ["SINK", "EVENTS", "BYTES", "OLDEST", "SEGMENTS", "OPEN"].map(str::to_owned).to_vec();
    let row = |buffer: &BufferSummary| {
        vec![
            buffer.sink.clone(),
            buffer.events.to_string(),
            buffer.bytes.to_string(),
            buffer.oldest.map_or_else(|| "-".to_owned(), |oldest| oldest.to_rfc3339()),
            buffer.segments.to_string(),
            if buffer.is_open { "yes" } else { "no" }.to_owned(),
        ]
    };
    print_table(&std::iter::once(heads).chain(buffers.iter().map(row)).collect::<Vec<_>>())
}
