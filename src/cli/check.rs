//! `log-shipper check`

use super::config_args::ConfigArgs;
use super::{Failure, print_config_warnings, print_json, print_table, print_warnings, run, start_failure};
use crate::config::Registry;
use crate::env::Env;
use crate::healthcheck::Unhealthy;
use crate::providers;
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
    /// The secrets that its destination is known by, if they come from the environment.
    secrets: Vec<&'static str>,
}

/// Asks NATS and every destination, side by side, whether they are well and know us.
pub(super) fn run(args: &Args, registry: &Registry, env: &Env) -> Result<(), Failure> {
    let config = args.config.load(registry, env, print_warnings)?;
    print_config_warnings(&config, env);
    let options = TopologyOptions::default().with_env(env.clone());
    let mut findings = run::block_on(NonZero::<usize>::MIN, async {
        let topology = Topology::build(config, &options).await;
        let topology = topology.map_err(|error| start_failure(&error, env))?;
        Ok(join_all(topology.into_checks().into_iter().map(look)).await)
    })?;
    if args.config.is_environment() {
        findings.iter_mut().for_each(Finding::name_secrets);
    }
    match args.format {
        Format::Table => print_table(&table(&findings))?,
        Format::Json => {
            let all: Vec<_> = findings.iter().map(Finding::json).collect();
            print_json(&all)?;
        }
    }
    let (asked, not_asked) = {
        let asked = findings.iter().filter(|finding| finding.result.is_some()).count();
        (asked, findings.len() - asked)
    };
    let is_ill = |finding: &&Finding| matches!(finding.result, Some(Err(_)));
    match findings.iter().filter(is_ill).count() {
        0 => {
            let rest = match not_asked {
                0 => String::new(),
                _ => format!("; {not_asked} could not be asked"),
            };
            eprintln!("{asked} of {} are well{rest}", findings.len());
            Ok(())
        }
        ill => Err(Failure::Failed(format!("{ill} of {} are not well; see above", findings.len()))),
    }
}

async fn look(check: Check) -> Finding {
    let Check { component, healthcheck, timeout } = check;
    match healthcheck {
        None => Finding {
            component,
            endpoint: String::new(),
            result: None,
            latency: Duration::ZERO,
            secrets: Vec::new(),
        },
        Some(healthcheck) => {
            let endpoint = healthcheck.endpoint().to_owned();
            let (result, latency) = healthcheck.run(timeout).await;
            Finding { component, endpoint, result: Some(result), latency, secrets: Vec::new() }
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

    fn name_secrets(&mut self) {
        let provider = self.component.strip_prefix("sinks.").and_then(providers::find);
        let variables = provider.map_or(&[][..], |provider| provider.variables);
        self.secrets = variables
            .iter()
            .filter(|variable| variable.is_required())
            .map(|variable| variable.name)
            .collect();
    }

    /// What a person can do, with what is known of this component.
    fn advice(&self, unhealthy: &Unhealthy) -> String {
        let mut advice = providers::with_variables(unhealthy.advice(), &self.secrets);
        let is_here = ["127.0.0.1", "localhost", "[::1]"].iter().any(|name| self.endpoint.contains(name));
        if is_here && unhealthy.to_string().to_lowercase().contains("connection refused") {
            advice.push_str("; in a container, localhost is the container itself");
        }
        advice
    }

    fn json(&self) -> serde_json::Value {
        let unhealthy = self.result.as_ref().and_then(|result| result.as_ref().err());
        serde_json::json!({
            "component": self.component,
            "endpoint": self.endpoint,
            "result": self.summary(),
            "latency_ms": self.result.as_ref().map(|_| self.latency.as_millis()),
            "reason": unhealthy.map(ToString::to_string),
            "advice": unhealthy.map(|unhealthy| self.advice(unhealthy)),
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
            Some(Err(unhealthy)) => format!("{}; {unhealthy}", finding.advice(unhealthy)),
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
