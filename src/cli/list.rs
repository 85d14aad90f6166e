//! `log-shipper list`

use super::{Failure, print, print_json, print_table};
use crate::config::{ComponentInfo, ComponentKind, Registry};
use clap::ValueEnum;
use serde_json::json;

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
        .flat_map(|kind| registry.components(*kind).into_iter().map(|info| (*kind, info)))
        .collect();
    if args.format == Format::Json {
        let rows: Vec<_> = components
            .iter()
            .map(|(kind, info)| {
                json!({
                    "kind": kind.plural(),
                    "type": info.name,
                    "summary": info.summary,
                    "example": info.example,
                    "schema": registry.component_schema(*kind, info.name),
                })
            })
            .collect();
        print_json(&rows)?;
        return Ok(());
    }
    if args.options {
        for (kind, info) in components {
            let ComponentInfo { name, summary, example, .. } = info;
            let inputs = if kind == ComponentKind::Source { "" } else { "inputs = [\"...\"]\n" };
            print(&format!(
                "# {summary}\n[{}.{name}]\ntype = \"{name}\"\n{inputs}{example}\n\n",
                kind.plural()
            ))?;
        }
        return Ok(());
    }
    let row = |(kind, info): &(ComponentKind, ComponentInfo)| {
        vec![kind.plural().to_owned(), info.name.to_owned(), info.summary.to_owned()]
    };
    print_table(&components.iter().map(row).collect::<Vec<_>>())
}
