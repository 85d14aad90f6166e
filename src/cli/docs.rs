//! `log-shipper docs`, for whoever changes log-shipper itself.

use super::{Cli, Failure};
use crate::config::Registry;
use crate::docs::pages;
use clap::CommandFactory;
use std::path::PathBuf;

/// `docs`' arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: log-shipper docs --out .")]
pub(super) struct Args {
    /// The root of the repository: the book's pages are in `docs/src`, the example with every option in `examples/configs`.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

pub(super) fn run(args: &Args, registry: &Registry) -> Result<(), Failure> {
    for page in pages(registry, Cli::command()).map_err(Failure::failed)? {
        let path = args.out.join(&page.path);
        let failed = |error| Failure::failed(format!("{}: {error}", path.display()));
        if let Some(directory) = path.parent() {
            std::fs::create_dir_all(directory).map_err(failed)?;
        }
        std::fs::write(&path, page.text).map_err(failed)?;
    }
    Ok(())
}
