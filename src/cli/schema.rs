//! `log-shipper schema`

use super::{Failure, print_json};
use crate::config::Registry;

/// `schema`'s arguments: none.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Example: log-shipper schema > log-shipper.schema.json, and as the first line of a configuration, for \
                  an editor: #:schema ./log-shipper.schema.json"
)]
pub(super) struct Args {}

pub(super) fn run(_args: &Args, registry: &Registry) -> Result<(), Failure> {
    print_json(&registry.schema())?;
    Ok(())
}
