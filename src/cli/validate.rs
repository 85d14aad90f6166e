//! `log-shipper validate`

use super::config_args::ConfigArgs;
use super::{Failure, print_config_warnings, print_problems, print_warnings, start_failure};
use crate::config::{Config, Problems, Registry, TransformContext};
use crate::env::{Env, PLACEHOLDER};
use crate::topology::{Topology, TopologyOptions};
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
    if args.no_environment {
        compile_transforms(&config).map_err(|problems| print_problems(&problems, &env))?;
    } else {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
        let options = TopologyOptions { env: env.clone(), ..TopologyOptions::default() };
        let built = runtime.block_on(Topology::build(config, &options));
        built.map_err(|error| start_failure(&error, &env))?;
    }
    println!("valid: {sources} sources, {transforms} transforms, {sinks} sinks");
    Ok(())
}

/// Builds the transforms alone: their programs are in the configuration, or in files beside it.
fn compile_transforms(config: &Config) -> Result<(), Problems> {
    let mut problems = Vec::new();
    for entry in &config.transforms {
        let cx = TransformContext {
            id: entry.id.clone(),
            timezone: config.global.timezone.clone(),
            log_schema: config.global.log_schema.clone(),
        };
        // A program's file may be one of those that are not here.
        let is_in_a_file = |option: &&str| config.places.has(&format!("transforms.{}.{option}", entry.id));
        if ["file", "files"].iter().any(is_in_a_file) {
            continue;
        }
        if let Err(error) = entry.config.build(&cx) {
            let mistakes = config.places.of_component("transforms", &entry.id, error);
            // What stands in a program instead of a variable is no expression.
            problems.extend(mistakes.into_iter().filter(|problem| !problem.message.contains(PLACEHOLDER)));
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Problems(problems)) }
}
