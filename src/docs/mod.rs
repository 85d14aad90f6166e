//! The pages of the book that are printed from the code: `log-shipper docs --out docs/src` writes them, and a test
//! compares them with what is there.
//!
//! - `destinations`: a page for each provider, and the one that lists them
//! - `components`: sources, transforms and sinks, with their options
//! - `options`: a JSON Schema as rows of options
//! - `variables`: the environment
//! - `commands`: the command line; `metrics`: what Prometheus reads

mod commands;
mod components;
mod destinations;
mod metrics;
mod options;
mod variables;

use crate::config::{EnvironmentError, Registry};

/// A page: its path below `docs/src`, and its text.
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Page {
    fn new(path: impl Into<String>, text: String) -> Page {
        let text = format!("{NOTE}\n{}\n", text.trim_end());
        Page { path: path.into(), text }
    }
}

/// What stands at the head of each page, for whoever would edit it.
const NOTE: &str = "<!-- Printed from the code by `log-shipper docs --out docs/src`: change it there. -->\n";

/// All pages.
pub(crate) fn pages(registry: &Registry, program: clap::Command) -> Result<Vec<Page>, EnvironmentError> {
    let mut pages = destinations::pages(registry)?;
    pages.extend(components::pages(registry));
    pages.push(variables::page());
    pages.push(metrics::page());
    pages.push(commands::page(program));
    Ok(pages)
}

/// A row of a table.
fn row<const N: usize>(cells: [&str; N]) -> String {
    let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
    format!("| {} |\n", cells.join(" | "))
}

/// The head of a table.
fn head<const N: usize>(titles: [&str; N]) -> String {
    format!("{}|{}\n", row(titles), "---|".repeat(N))
}
