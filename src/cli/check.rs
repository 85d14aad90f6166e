//! `log-shipper check`

use super::config_args::ConfigArgs;
use super::{Failure, print_config_warnings, print_json, print_table, print_warnings, run, start_failure};
use crate::config::Registry;
use crate::env::Env;
use crate::healthcheck::Unhealthy;
use crate::topology::{Check, Topology, TopologyOptions};
use clap::ValueEnum;
use futures::future::join_all;
use std::num::NonZero;
use std::time::Duration;

/// `check`'s arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  log-shipper check\n  log-shipper check -c vector.toml --format json")]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The format.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

/// What was found of one component.
struct Finding {
    component: String,
    endpoint: String,
    /// `None`: there was nothing to ask.
    result: Option<Result<(), Unhealthy>>,
    latency: Duration,
}

/// Asks NATS and every destination, side by side, whether they are well and know us.
pub(super) fn run(args: &Args, registry: &Registry, env: &Env) -> Result<(), Failure> {
    let config = args.config.load(registry, env, print_warnings)?;
    print_config_warnings(&config, env);
    let options = TopologyOptions { env: env.clone(), ..TopologyOptions::default() };
    let findings = run::block_on(NonZero::<usize>::MIN, async {
        let topology = Topology::build(config, &options).await;
        let topology = topology.map_err(|error| start_failure(&error, env))?;
        Ok(join_all(topology.into_checks().into_iter().map(look)).await)
    })?;
    match args.format {
        Format::Table => print_table(&table(&findings))?,
        Format::Json => {
            let all: Vec<_> = findings.iter().map(Finding::json).collect();
            print_json(&all)?;
        }
    }
    let is_ill = |finding: &&Finding| matches!(finding.result, Some(Err(_)));
    match findings.iter().filter(is_ill).count() {
        0 => Ok(()),
        ill => Err(Failure::Failed(format!("{ill} of {} are not well; see above", findings.len()))),
    }
}

async fn look(check: Check) -> Finding {
    let Check { component, healthcheck, timeout } = check;
    match healthcheck {
        None => Finding { component, endpoint: String::new(), result: None, latency: Duration::ZERO },
        Some(healthcheck) => {
            let endpoint = healthcheck.endpoint().to_owned();
            let (result, latency) = healthcheck.run(timeout).await;
            Finding { component, endpoint, result: Some(result), latency }
        }
    }
}

impl Finding {
    fn summary(&self) -> &'static str {
        match &self.result {
            None => "not asked",
            Some(Ok(())) => "ok",
            Some(Err(unhealthy)) => unhealthy.summary(),
        }
    }

    fn json(&self) -> serde_json::Value {
        let unhealthy = self.result.as_ref().and_then(|result| result.as_ref().err());
        serde_json::json!({
            "component": self.component,
            "endpoint": self.endpoint,
            "result": self.summary(),
            "latency_ms": self.result.as_ref().map(|_| self.latency.as_millis()),
            "reason": unhealthy.map(ToString::to_string),
            "advice": unhealthy.map(Unhealthy::advice),
        })
    }
}

fn table(findings: &[Finding]) -> Vec<Vec<String>> {
    let mut rows =
        vec![["COMPONENT", "ENDPOINT", "RESULT", "LATENCY", "WHAT TO DO"].map(str::to_owned).to_vec()];
    for finding in findings {
        let advice = match &finding.result {
            None => "nothing: it has no healthcheck, or it is off".to_owned(),
            Some(Ok(())) => String::new(),
            Some(Err(unhealthy)) => format!("{}; {unhealthy}", unhealthy.advice()),
        };
        let latency = finding.result.as_ref().map(|_| format!("{} ms", finding.latency.as_millis()));
        rows.push(vec![
            finding.component.clone(),
            finding.endpoint.clone(),
            finding.summary().to_owned(),
            latency.unwrap_or_default(),
            advice,
        ]);
    }
    rows
}
