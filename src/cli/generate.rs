//! `log-shipper generate`

use super::{Failure, print};
use crate::config::{example, from_environment, generate};
use crate::env::Env;
use clap::ValueEnum;

/// `generate`'s arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: ACCESS_TOKEN=... AXIOM_TOKEN=... AXIOM_DATASET=fly log-shipper generate > vector.toml"
)]
pub(super) struct Args {
    /// The format: TOML.
    #[arg(long, value_enum, default_value = "toml")]
    format: Format,
    /// An example with every destination, whatever the environment says.
    #[arg(long)]
    example: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    Toml,
}

pub(super) fn run(args: &Args, env: &Env) -> Result<(), Failure> {
    let Format::Toml = args.format;
    if args.example {
        print(&example().map_err(Failure::failed)?)?;
        return Ok(());
    }
    let environment = from_environment(env).map_err(Failure::config)?;
    environment.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
    print(&generate(&environment).map_err(Failure::failed)?)?;
    Ok(())
}
