//! `log-shipper top`: a running shipper in the terminal, over its API.
//!
//! - this file: the arguments, and the loop of questions, keys and drawing
//! - `client`: asks the API
//! - `state`: what is shown; `words` and `figures`: as text
//! - `view` and `columns`: draw it; `terminal`: the screen and its keys
//! - `once`: `--once`

mod client;
mod columns;
mod figures;
mod once;
mod state;
mod terminal;
mod view;
mod words;

#[cfg(test)]
mod tests;

use super::{Failure, api_url, print, print_json, print_table, run};
use crate::env::Env;
use clap::ValueEnum;
use client::{Client, clean};
use state::{Answer, Failed, State};
use std::io::IsTerminal;
use std::num::NonZero;
use std::time::Duration;
use terminal::{Input, Screen};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::{Sender, channel};
use tokio::time::{Instant, MissedTickBehavior};
use url::Url;
use view::Theme;

/// Where a shipper's API is that nobody has put elsewhere.
const DEFAULT_URL: &str = "http://127.0.0.1:8686";

/// Seconds between two questions.
const INTERVALS: std::ops::RangeInclusive<f64> = 0.2..=3600.0;

/// `top`'s arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  log-shipper top\n  log-shipper top --url http://my-shipper.internal:8686\n  fly ssh console --pty -C \"log-shipper top\"\n  log-shipper top --once --format json"
)]
pub(super) struct Args {
    /// The running shipper's API. Default: at API_ADDRESS, if that is set, or else http://127.0.0.1:8686.
    #[arg(long)]
    url: Option<String>,
    /// Seconds between two looks, 0.2 to 3600.
    #[arg(long, value_name = "SECONDS", default_value = "1")]
    interval: f64,
    /// Print the table once, as text, and end: with 0 if logs flow, with 1 if they do not or nobody answers.
    #[arg(long)]
    once: bool,
    /// The format of `--once`.
    #[arg(long, value_enum, default_value = "text", requires = "once")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// For people.
    Text,
    /// What the API says.
    Json,
}

/// Shows a running shipper.
pub(super) fn run(args: &Args, env: &Env) -> Result<(), Failure> {
    if !INTERVALS.contains(&args.interval) {
        return Err(Failure::Usage(format!(
            "--interval {}: expected seconds, {} to {}",
            args.interval,
            INTERVALS.start(),
            INTERVALS.end()
        )));
    }
    let client = Client::new(url(args.url.as_deref(), env)?).map_err(Failure::failed)?;
    if args.once {
        return run::block_on(NonZero::<usize>::MIN, once::run(&client, args.format));
    }
    if !std::io::stdout().is_terminal() {
        return Err(Failure::Usage(
            "top: standard output is no terminal to draw on; use --once for a text, or over ssh ask for a terminal \
             (fly ssh console --pty, ssh -t)"
                .to_owned(),
        ));
    }
    let theme = Theme { is_coloured: env.get("NO_COLOR").is_ok_and(|value| value.is_none()) };
    let state = State::new(client.url(), args.interval);
    run::block_on(NonZero::<usize>::MIN, watch(client, state, theme))
}

/// Where the API is.
fn url(given: Option<&str>, env: &Env) -> Result<Url, Failure> {
    let Some(text) = given else {
        let off = || {
            Failure::Usage(
                "API_ADDRESS is off, and with it the API that top asks; give it an address, or say with --url whose API \
                 to ask"
                    .to_owned(),
            )
        };
        return api_url::of_environment(env)?.ok_or_else(off);
    };
    let url = api_url::given(text, DEFAULT_URL)?;
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Failure::Usage(format!(
            "--url: neither `?` nor `#` belongs there; expected the API's URL, such as {DEFAULT_URL}"
        )));
    }
    Ok(url)
}

/// Asks, draws and obeys, up to the end.
async fn watch(client: Client, mut state: State, theme: Theme) -> Result<(), Failure> {
    let mut signals = run::StopSignals::catch()?;
    // A terminal that is closed takes nothing any more, but one that is not must be given back.
    let mut hangup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
    let (sender, mut answers) = channel(1);
    let interval = Duration::from_secs_f64(state.interval_secs);
    tokio::spawn(ask(client, interval, sender));
    let mut screen = Screen::open().map_err(lost)?;
    let mut inputs = terminal::inputs();
    loop {
        screen.draw(|frame| view::draw(frame, &state, theme)).map_err(lost)?;
        tokio::select! {
            answer = answers.recv() => match answer {
                Some(answer) => state.take(answer),
                None => return Err(Failure::Failed("top: nobody asks the shipper any more".to_owned())),
            },
            input = inputs.recv() => match input {
                Some(Ok(Input::Action(action))) => if !state.act(action) { return Ok(()) },
                Some(Ok(Input::Suspend)) => screen.suspend().map_err(lost)?,
                Some(Ok(Input::Other)) => {}
                Some(Err(error)) => return Err(lost(error)),
                None => return Err(Failure::Failed("top: the terminal sends no keys any more".to_owned())),
            },
            () = signals.next() => return Ok(()),
            _ = hangup.recv() => return Ok(()),
        }
    }
}

fn lost(error: std::io::Error) -> Failure {
    Failure::Failed(format!("top: the terminal cannot be used: {error}"))
}

/// Asks as long as anybody wants to know.
async fn ask(client: Client, interval: Duration, answers: Sender<Answer>) {
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut last = Instant::now();
    let mut has_history = false;
    loop {
        ticks.tick().await;
        let result = client
            .status()
            .await
            .map_err(|error| Failed { error: clean(&error.to_string()), advice: error.advice().to_owned() });
        // What was before is asked for once; it is nice to have, and no more.
        let history = match (&result, has_history) {
            (Ok(_), false) => {
                has_history = true;
                client.history().await.ok()
            }
            _ => None,
        };
        let now = Instant::now();
        let elapsed_secs = (now - last).as_secs_f64();
        last = now;
        if answers.send(Answer { result, history, elapsed_secs }).await.is_err() {
            return;
        }
    }
}
