//! `log-shipper replay`: dead letters are sent again.
//!
//! - this file: the command
//! - `letters`: the files, and what a line of them is

mod letters;

use super::config_args::ConfigArgs;
use super::progress::Progress;
use super::run::{StopSignals, block_on};
use super::{Failure, banner, print_config_warnings, print_table, start_failure};
use crate::config::{BufferConfig, Config, Registry, Source, SourceConfig, SourceContext, SourceEntry};
use crate::env::Env;
use crate::topology::{Books, Report, Topology, TopologyOptions, WhenFull};
use async_trait::async_trait;
use letters::Letters;
use std::collections::BTreeMap;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// `replay`'s arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  log-shipper replay dead-letters.jsonl --dry-run\n  log-shipper replay dead-letters.jsonl.1 dead-letters.jsonl -c vector.toml\n  zcat old.jsonl.gz | log-shipper replay - --sink loki"
)]
pub(super) struct Args {
    /// Files of dead letters, JSON lines, in this order; `-` is standard input; what comes through a pipe is read into
    /// memory first. They stay as they are: what is refused again goes to the configuration's dead letters, and where
    /// those would go to a file that is read here, or that a pipe may come from, to one beside it, FILE.again.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Send all of them to this sink, and not to those that refused them.
    #[arg(long, value_name = "ID")]
    sink: Option<String>,
    /// Send nothing, and show what would be sent.
    #[arg(long)]
    dry_run: bool,
}

/// How long is left to what is under way when a signal ends it.
const SHUTDOWN: Duration = Duration::from_secs(4);

/// How much is sent at once: events, and bytes of them.
const CHUNK: usize = 100;
const CHUNK_BYTES: usize = 256 << 10;

pub(super) fn run(args: &Args, registry: &Registry, env: &Env) -> Result<(), Failure> {
    let letters = Arc::new(Letters::open(&args.files)?);
    let found = look(&letters, args.sink.as_deref());
    if args.dry_run {
        print_table(&summary(&found.kinds))?;
        return found.result();
    }
    if found.sinks.is_empty() {
        eprintln!("there are no dead letters to send");
        return found.result();
    }
    let mut config = args.config.load(registry, env, banner::environment)?;
    print_config_warnings(&config, env);
    let again = prepare(&mut config, &found, &letters, args.sink.as_deref())?;
    let options = TopologyOptions::default().with_when_full(WhenFull::Block).with_env(env.clone());
    let report = block_on(NonZero::<usize>::MIN, async {
        let mut signals = StopSignals::catch()?;
        let topology = Topology::start(config, &options, std::future::pending::<()>()).await;
        let mut running = topology.map_err(|error| start_failure(&error, env))?;
        let progress = show_progress(running.books(), found.sinks.values().sum());
        tokio::select! {
            () = running.finished() => {}
            () = progress => {}
            () = signals.next() => {
                eprintln!("stopping: what is under way has {} s", SHUTDOWN.as_secs());
                tokio::select! {
                    _ = running.stop(SHUTDOWN) => {}
                    () = signals.next() => drop(running.abort().await),
                }
            }
        }
        match running.failures() {
            [] => Ok(running.counts()),
            [first, ..] => Err(Failure::Failed(format!("ended, because a component failed: {first}"))),
        }
    })?;
    let all_delivered = print_outcome(&found.sinks, &report, again.as_deref())?;
    found.result()?;
    match all_delivered {
        true => Ok(()),
        false => Err(Failure::Failed("not all letters were delivered; see the counts above".to_owned())),
    }
}

/// How often it is shown how far the sinks are.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Shows how many of the letters are answered for, for ever.
async fn show_progress(books: Books, letters: u64) {
    // What is written to standard output comes at the end.
    let mut progress = Progress::new("sending letters", letters, true);
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let all = books.snapshot().totals().events;
        progress.set(all.delivered + all.rejected + all.dropped_total());
    }
}

/// What the files hold.
#[derive(Default)]
struct Found {
    /// How many letters there are for each sink that is to get some.
    sinks: BTreeMap<String, u64>,
    /// How many there are by the sink that refused them, the status and the reason.
    kinds: BTreeMap<(String, Option<u16>, String), u64>,
    /// How many lines are no letters.
    skipped: u64,
}

impl Found {
    fn result(&self) -> Result<(), Failure> {
        match self.skipped {
            0 => Ok(()),
            1 => Err(Failure::Failed("a line was no dead letter, and was skipped; see above".to_owned())),
            many => Err(Failure::Failed(format!(
                "{many} lines were no dead letters, and were skipped; see above"
            ))),
        }
    }
}

/// How many reasons are told apart: they may have numbers in them.
const MAX_KINDS: usize = 1000;

/// How many bad lines are told one by one.
const MAX_TOLD: u64 = 20;

/// Reads all letters once, and tells what is none.
fn look(letters: &Letters, sink: Option<&str>) -> Found {
    let mut found = Found::default();
    for line in letters.read() {
        match line.letter {
            Ok(letter) => {
                let target = sink.unwrap_or(&letter.sink).to_owned();
                *found.sinks.entry(target).or_default() += 1;
                let mut kind = (letter.sink, letter.status, letter.reason);
                if found.kinds.len() >= MAX_KINDS && !found.kinds.contains_key(&kind) {
                    kind.2 = "(another reason)".to_owned();
                }
                *found.kinds.entry(kind).or_default() += 1;
            }
            Err(reason) => {
                found.skipped += 1;
                if found.skipped <= MAX_TOLD {
                    eprintln!("{}:{}: skipped: {reason}", line.file, line.number);
                }
            }
        }
    }
    if found.skipped > MAX_TOLD {
        eprintln!("and {} more lines", found.skipped - MAX_TOLD);
    }
    found
}

fn summary(kinds: &BTreeMap<(String, Option<u16>, String), u64>) -> Vec<Vec<String>> {
    let mut rows = vec![["SINK", "STATUS", "EVENTS", "REASON"].map(str::to_owned).to_vec()];
    for ((sink, status, reason), events) in kinds {
        let status = status.map(|status| status.to_string()).unwrap_or_default();
        // A reason may be several lines of an answer.
        let reason = reason.split_whitespace().collect::<Vec<_>>().join(" ");
        rows.push(vec![printable(sink), status, events.to_string(), printable(&reason)]);
    }
    rows
}

/// The text without what a terminal would take for a command.
fn printable(text: &str) -> String {
    text.chars().filter(|character| !character.is_control()).collect()
}

/// Leaves of the configuration only the sinks that get letters, each behind a source of them. Returns the file that
/// takes what is refused again, if there is one.
fn prepare(
    config: &mut Config,
    found: &Found,
    letters: &Arc<Letters>,
    only: Option<&str>,
) -> Result<Option<PathBuf>, Failure> {
    let known: Vec<_> = config.sinks.iter().map(|sink| format!("`{}`", sink.id)).collect();
    let is_known = |id: &str| config.sinks.iter().any(|sink| sink.id == id);
    let mut unknown = found.sinks.keys().map(String::as_str).filter(|id| !is_known(id));
    if let Some(id) = unknown.next() {
        let known = known.join(", ");
        let id = printable(id);
        return Err(Failure::Config(match only {
            Some(_) => format!("--sink: the configuration has no sink `{id}`; expected one of {known}"),
            None => format!(
                "there are letters of the sink `{id}`, which the configuration does not have; expected one of {known}. \
                 --sink ID sends all of them to another"
            ),
        }));
    }
    config.sources.clear();
    config.transforms.clear();
    config.sinks.retain(|sink| found.sinks.contains_key(&sink.id));
    for sink in &mut config.sinks {
        let input = format!("letters of {}", sink.id);
        let only = only.is_none().then(|| sink.id.clone());
        let source = Replay { letters: Arc::clone(letters), only };
        config.sources.push(SourceEntry::new(&input, source));
        sink.options.inputs = vec![input];
        // In memory and waiting: that of a shipper which runs beside us is its own, and no letter must be dropped.
        sink.options.buffer = BufferConfig::default();
    }
    Ok(config.dead_letters.as_mut().and_then(|sink| {
        sink.options.buffer = BufferConfig::default();
        sink.config.avoid_files(&|path| letters.is_read(path))
    }))
}

/// A source of the letters for one sink.
#[derive(Debug)]
struct Replay {
    letters: Arc<Letters>,
    /// Those that this sink has refused; `None`: all.
    only: Option<String>,
}

#[async_trait]
impl SourceConfig for Replay {
    async fn build(&self, cx: SourceContext) -> crate::config::Result<Source> {
        let (letters, only) = (Arc::clone(&self.letters), self.only.clone());
        Ok(Box::pin(async move {
            cx.ready.set();
            let is_wanted = |sink: &str| only.as_deref().is_none_or(|only| only == sink);
            let (mut chunk, mut bytes) = (Vec::new(), 0);
            // Lines that are no letters have been told.
            for (count, line) in letters.read().enumerate() {
                if count % CHUNK == 0 {
                    // To read takes no time to speak of, but a signal must come through.
                    tokio::task::yield_now().await;
                    if cx.shutdown.is_cancelled() {
                        break;
                    }
                }
                let Ok(letter) = line.letter else { continue };
                if is_wanted(&letter.sink) {
                    bytes += letter.event.size();
                    chunk.push(letter.event);
                }
                if chunk.len() >= CHUNK || bytes >= CHUNK_BYTES {
                    cx.output.send(std::mem::take(&mut chunk)).await;
                    bytes = 0;
                }
            }
            if !chunk.is_empty() && !cx.shutdown.is_cancelled() {
                cx.output.send(chunk).await;
            }
            Ok(())
        }))
    }
}

/// Shows what became of the letters, of which `again` has those that were refused again. Returns whether all were
/// delivered.
fn print_outcome(
    sinks: &BTreeMap<String, u64>,
    report: &Report,
    again: Option<&Path>,
) -> Result<bool, Failure> {
    let mut rows = vec![["SINK", "LETTERS", "DELIVERED", "REFUSED", "LOST"].map(str::to_owned).to_vec()];
    let mut all_delivered = true;
    for (id, letters) in sinks {
        let books = report.sinks.iter().find(|(other, _)| other == id).map(|(_, sink)| *sink);
        let (delivered, rejected) = books.map_or((0, 0), |sink| (sink.delivered, sink.rejected));
        let lost = letters.saturating_sub(delivered + rejected);
        all_delivered &= delivered == *letters;
        let numbers = [*letters, delivered, rejected, lost].map(|number| number.to_string());
        rows.push([vec![id.clone()], numbers.to_vec()].concat());
    }
    print_table(&rows)?;
    if let Some(books) = report.dead_letters().filter(|books| books.received > 0) {
        let absolute = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let place = again.map(|path| format!(", in {}", absolute(path).display())).unwrap_or_default();
        eprintln!(
            "refused again: {} of {} are dead letters once more{place}",
            books.delivered, books.received
        );
    }
    Ok(all_delivered)
}
