//! `log-shipper validate`

use super::config_args::ConfigArgs;
use super::{Failure, plural, print_config_warnings, print_problems, print_warnings, start_failure};
use crate::config::{NOT_LOOKED_AT, Problems, Registry};
use crate::env::{Env, PLACEHOLDER};
use crate::topology::{Topology, TopologyOptions};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// `validate`'s arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: log-shipper validate vector.toml --no-environment")]
pub(super) struct Args {
    /// Configuration files; the same as with -c.
    #[arg(value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Do without the variables, certificates and files that the configuration names.
    #[arg(long)]
    no_environment: bool,
}

pub(super) fn run(args: &Args, registry: &Registry, env: &Env) -> Result<(), Failure> {
    let env = if args.no_environment { env.with_placeholder(PLACEHOLDER) } else { env.clone() };
    let config = args.config.and(&args.files).load(registry, &env, print_warnings)?;
    print_config_warnings(&config, &env);
    let (sources, transforms, sinks) = (config.sources.len(), config.transforms.len(), config.sinks.len());
    let dead_letters = config.dead_letters.as_ref().map(|sink| format!(", dead letters: {}", sink.r#type));
    // By their beginning `sinks.loki`: one may lack several variables.
    let unseen = config.warnings.iter().filter(|warning| warning.message == NOT_LOOKED_AT);
    let component = |path: &str| path.split('.').take(2).collect::<Vec<_>>().join(".");
    let unseen: BTreeSet<_> = unseen.map(|warning| component(&warning.path)).collect();
    if args.no_environment {
        let problems = config.check_transforms();
        if !problems.is_empty() {
            return Err(print_problems(&Problems(problems), &env));
        }
    } else {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
        let options = TopologyOptions::default().with_env(env.clone());
        let built = runtime.block_on(Topology::build(config, &options));
        built.map_err(|error| start_failure(&error, &env))?;
    }
    let dead_letters = dead_letters.unwrap_or_default();
    let count = |number: usize, one: &str| plural(number as u64, one, &format!("{one}s"));
    let unseen = match unseen.len() {
        0 => String::new(),
        _ => format!("; not looked at: {}", unseen.into_iter().collect::<Vec<_>>().join(", ")),
    };
    println!(
        "valid: {}, {}, {}{dead_letters}{unseen}",
        count(sources, "source"),
        count(transforms, "transform"),
        count(sinks, "sink")
    );
    Ok(())
}
