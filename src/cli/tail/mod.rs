//! `log-shipper tail`: what is on NATS, as it comes.
//!
//! - this file: the command
//! - `since`: from when on
//! - `filter`: which events are shown
//! - `line`: an event as a line

mod filter;
mod line;
mod since;

use super::config_args::ConfigArgs;
use super::run::{StopSignals, block_on};
use super::{Failure, print_problems, print_warnings};
use crate::config::{Config, Registry, Tap, TapOptions, nats_source, redact_in_source};
use crate::env::Env;
use crate::event::{Level, Timestamp};
use crate::nats::SubjectFilter;
use filter::{Filter, Pattern};
use futures::StreamExt;
use futures::stream::select_all;
use std::io::{ErrorKind, IsTerminal};
use std::num::NonZero;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use toml::Table;

/// `tail`'s arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  log-shipper tail\n  log-shipper tail myapp --level warn\n  log-shipper tail 'logs.*.ord.>' --grep '/timeout|refused/'\n  log-shipper tail --since 10m --stream LOGS --json | jq .message"
)]
pub(super) struct Args {
    /// Subjects, such as `logs.myapp.>`; `*` is one token, `>` all that follow. One word is an app: `myapp` is
    /// `logs.myapp.>`. Default: what the shipper reads (SUBJECT, or `logs.>`).
    #[arg(value_name = "SUBJECT")]
    subjects: Vec<String>,
    #[command(flatten)]
    config: ConfigArgs,
    /// The events' JSON as it came, but for what REDACT hides, a line each.
    #[arg(long)]
    json: bool,
    /// From a JetStream stream what it has since then, and then what comes: `30s`, `10m`, `2h`, `1d`, or a time
    /// such as 2026-11-22T10:00:00Z.
    #[arg(long, value_name = "TIME", value_parser = since::parse)]
    since: Option<Timestamp>,
    /// The stream for --since. Default: the configuration's, or JETSTREAM_STREAM.
    #[arg(long, value_name = "NAME", requires = "since")]
    stream: Option<String>,
    /// Only this app; may be given several times, as may the next two.
    #[arg(long)]
    app: Vec<String>,
    /// Only this region.
    #[arg(long)]
    region: Vec<String>,
    /// Only this instance (machine).
    #[arg(long)]
    instance: Vec<String>,
    /// Only this level and worse; what has no level is left out.
    #[arg(long, value_parser = level)]
    level: Option<Level>,
    /// Only messages with this text in them, or that fit a regular expression: `/text/`.
    #[arg(long, value_name = "TEXT", value_parser = Pattern::parse)]
    grep: Option<Pattern>,
    /// Stop after so many.
    #[arg(short = 'n', long, value_name = "N")]
    count: Option<NonZero<u64>>,
}

/// How long the server may take for its first word.
const PATIENCE: Duration = Duration::from_secs(10);

fn level(word: &str) -> Result<Level, String> {
    let words = || Level::ALL.map(Level::as_str).join(", ");
    Level::from_word(word).ok_or_else(|| format!("expected one of {}", words()))
}

/// A subject's filter; of one word, that of an app's logs.
fn subject(text: &String) -> Result<SubjectFilter, Failure> {
    let is_app = !text.contains(['.', '*', '>']);
    let filter = if is_app { format!("logs.{text}.>") } else { text.clone() };
    SubjectFilter::parse(&filter).map_err(|error| Failure::Usage(format!("{text}: {error}")))
}

pub(super) fn run(args: &Args, registry: &Registry, env: &Env) -> Result<(), Failure> {
    let options = TapOptions {
        subjects: args.subjects.iter().map(subject).collect::<Result<_, _>>()?,
        since: args.since,
        stream: args.stream.clone(),
    };
    let config = load(args, registry, env)?;
    let mut taps = Vec::new();
    for source in &config.sources {
        let tap = source.config.tap(&options, env).map_err(|error| {
            let hint = if args.since.is_some() { " (--stream NAME, or JETSTREAM_STREAM)" } else { "" };
            Failure::Config(format!("source {}: {error}{hint}", source.id))
        })?;
        taps.extend(tap);
    }
    if taps.is_empty() {
        return Err(Failure::Config("the configuration has no `nats` source to look at".to_owned()));
    }
    let filter = Filter {
        apps: args.app.clone(),
        regions: args.region.clone(),
        instances: args.instance.clone(),
        level: args.level,
        text: args.grep.clone(),
    };
    let is_terminal = std::io::stdout().is_terminal();
    let has_colours = is_terminal && env.get("NO_COLOR").is_ok_and(|value| value.is_none());
    block_on(NonZero::<usize>::MIN, async {
        let mut signals = StopSignals::catch()?;
        tokio::select! {
            ended = show(args, taps, &filter, has_colours) => ended,
            () = signals.next() => Ok(()),
        }
    })
}

/// The configuration's sources, or that of the environment: what is to become of the events is of no matter.
fn load(args: &Args, registry: &Registry, env: &Env) -> Result<Config, Failure> {
    if !args.config.is_environment() {
        return args.config.load(registry, env, print_warnings);
    }
    let mut source = nats_source(env).map_err(Failure::config)?;
    redact_in_source(env, &mut source).map_err(Failure::config)?;
    let sink: Table = [("type", "blackhole".into()), ("inputs", vec!["nats"].into())]
        .map(|(name, value): (&str, toml::Value)| (name.to_owned(), value))
        .into_iter()
        .collect();
    let component = |kind: &str, id: &str, table: Table| {
        let components: Table = [(id.to_owned(), table.into())].into_iter().collect();
        (kind.to_owned(), components.into())
    };
    let table: Table =
        [component("sources", "nats", source), component("sinks", "none", sink)].into_iter().collect();
    Config::from_toml(&table.to_string(), "environment", registry, env)
        .map_err(|problems| print_problems(&problems, env))
}

/// Shows what comes, until there is enough, or nobody reads it any more.
async fn show(args: &Args, taps: Vec<Tap>, filter: &Filter, has_colours: bool) -> Result<(), Failure> {
    let mut all = Vec::new();
    for Tap { check, events } in taps {
        let endpoint = check.endpoint().to_owned();
        // Later it is tried again for ever, and nobody would see that it is the address that is wrong.
        let (result, _) = check.run(PATIENCE).await;
        result.map_err(|error| Failure::Failed(format!("{endpoint}: {error}; {}", error.advice())))?;
        all.push(events);
    }
    let mut chunks = select_all(all);
    let mut stdout = tokio::io::stdout();
    let mut left = args.count.map_or(u64::MAX, NonZero::get);
    let mut out = String::new();
    while left > 0 {
        let Some(events) = chunks.next().await else { break };
        out.clear();
        for event in &events {
            let meaning = event.semantics();
            if left == 0 || !filter.allows(&meaning) {
                continue;
            }
            left -= 1;
            match args.json {
                true => line::json(event, &mut out),
                false => line::text(event, &meaning, has_colours, &mut out),
            }
        }
        let written = async {
            stdout.write_all(out.as_bytes()).await?;
            stdout.flush().await
        };
        match written.await {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => break,
            result => result.map_err(Failure::failed)?,
        }
    }
    Ok(())
}
