//! `log-shipper validate`

use super::{Failure, load, print_warnings};
use crate::config::Registry;
use crate::env::Env;
use crate::topology::{Topology, TopologyOptions};
use std::path::PathBuf;

/// `validate`'s arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: log-shipper validate -c vector.toml --no-environment")]
pub(super) struct Args {
    /// A configuration file; may be given several times. Without one: the environment.
    #[arg(short, long = "config", value_name = "FILE")]
    config: Vec<PathBuf>,
    /// Do without the variables, certificates and files that the configuration names.
    #[arg(long)]
    no_environment: bool,
}

pub(super) fn run(args: &Args, registry: &Registry, env: &Env) -> Result<(), Failure> {
    // What stands for a variable that is not here fits wherever a URL or a word does.
    let env =
        if args.no_environment { env.with_placeholder("https://placeholder.invalid") } else { env.clone() };
    let config = load(&args.config, registry, &env, print_warnings)?;
    config.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    let (sources, transforms, sinks) = (config.sources.len(), config.transforms.len(), config.sinks.len());
    if !args.no_environment {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::failed)?;
        let options = TopologyOptions { env, ..TopologyOptions::default() };
        runtime.block_on(Topology::build(config, &options)).map_err(Failure::config)?;
    }
    println!("valid: {sources} sources, {transforms} transforms, {sinks} sinks");
    Ok(())
}
