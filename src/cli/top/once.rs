//! `--once`: what the screen would show, as plain text or JSON.

use super::client::{AskError, Client};
use super::figures::{count, duration, moment, rate, short_duration};
use super::state::{Answer, Live, State, key};
use super::words::{headline, percent, problem, totals};
use super::{Format, print, print_json, print_table};
use crate::api::status::TopologyStatus;
use crate::cli::Failure;

/// Asks once, prints, and fails unless logs flow.
pub(super) async fn run(client: &Client, format: Format) -> Result<(), Failure> {
    let status = client.status().await.map_err(|error| unreachable(client, &error))?;
    match format {
        Format::Json => print_json(&status)?,
        Format::Text => print_text(client.url(), &status)?,
    }
    match status.health.healthy {
        true => Ok(()),
        false => Err(Failure::Failed("logs do not flow; see above".to_owned())),
    }
}

fn unreachable(client: &Client, error: &AskError) -> Failure {
    Failure::Failed(format!("no status from {}/api/status: {error}; {}", client.url(), error.advice()))
}

fn print_text(url: &str, status: &TopologyStatus) -> Result<(), Failure> {
    let mut state = State::new(url, 1.0);
    state.take(Answer { result: Ok(status.clone()), history: None, elapsed_secs: 0.0 });
    let live = state.shown();
    print(&head(url, status, live))?;
    let mut rows = vec![
        ["KIND", "ID", "TYPE", "STATE", "RECV/S", "SENT/S", "ERR/S", "ERRORS", "LAG", "BUFFER"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(state.rows().into_iter().map(|component| {
        vec![
            component.kind.clone(),
            component.id.clone(),
            component.component_type.clone(),
            component.state.clone(),
            rate(component.rates.received),
            rate(component.rates.sent),
            rate(component.rates.errors),
            count(component.errors),
            component.lag_secs.map(short_duration).unwrap_or_default(),
            percent(component).unwrap_or_default(),
        ]
    }));
    print_table(&rows)?;
    let troubles = state.rows().into_iter().filter_map(|component| {
        let trouble = component.trouble.as_ref()?;
        let at = moment(&trouble.at, live.now);
        Some(format!("{} ({at}): {}; {}\n", key(component), trouble.text, trouble.advice))
    });
    let troubles: String = troubles.collect();
    if troubles.is_empty() { Ok(()) } else { print(&format!("\nlast trouble:\n{troubles}")) }
}

fn head(url: &str, status: &TopologyStatus, live: &Live) -> String {
    let headline = headline(&status.health, live.now);
    let mut text = format!(
        "log-shipper {} at {url}, up {}\n{}\n",
        status.version,
        duration(status.uptime_secs.floor()),
        headline.text
    );
    for reason in &status.health.reasons {
        text += &format!("- {}; {}\n", problem(reason, live.now), reason.advice);
    }
    text + &format!("{}\n\n", totals(live, status).join("   "))
}
