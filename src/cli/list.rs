//! `log-shipper list`

use super::{Failure, print_table};
use crate::config::{ComponentKind, Registry};
use clap::ValueEnum;

/// `list`'s arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: log-shipper list sinks --options")]
pub(super) struct Args {
    /// Only these.
    kind: Option<Kind>,
    /// The format.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
    /// With an example of each one's options.
    #[arg(long)]
    options: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    Sources,
    Transforms,
    Sinks,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
}

pub(super) fn run(args: &Args, registry: &Registry) -> Result<(), Failure> {
    let kinds = match args.kind {
        None => ComponentKind::ALL.to_vec(),
        Some(Kind::Sources) => vec![ComponentKind::Source],
        Some(Kind::Transforms) => vec![ComponentKind::Transform],
        Some(Kind::Sinks) => vec![ComponentKind::Sink],
    };
    let components: Vec<_> = kinds
        .iter()
        .flat_map(|kind| registry.components(*kind).into_iter().map(|info| (kind.plural(), info)))
        .collect();
    if args.format == Format::Json {
        let rows: Vec<_> = components
            .iter()
            .map(|(kind, info)| serde_json::json!({"kind": kind, "type": info.name, "summary": info.summary, "example": info.example}))
            .collect();
        println!("{}", serde_json::to_string_pretty(&rows).map_err(Failure::failed)?);
        return Ok(());
    }
    if args.options {
        for (kind, info) in components {
            println!("# {}\n[{kind}.{}]\ntype = \"{}\"", info.summary, info.name, info.name);
            if kind != "sources" {
                println!("inputs = [\"...\"]");
            }
            println!("{}\n", info.example);
        }
        return Ok(());
    }
    let row = |(kind, info): &(&str, crate::config::ComponentInfo)| {
        vec![(*kind).to_owned(), info.name.to_owned(), info.summary.to_owned()]
    };
    print_table(&components.iter().map(row).collect::<Vec<_>>());
    Ok(())
}
