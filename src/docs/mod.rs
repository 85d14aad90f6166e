//! What is printed from the code, pages of the book and a configuration: `log-shipper docs --out .` writes them, and a test
//! compares them with what is there.
//!
//! - `destinations`: a page for each provider, and the one that lists them
//! - `components`: sources, transforms and sinks, with their options
//! - `options`: a JSON Schema as rows of options
//! - `variables`: the environment
//! - `commands`: the command line; `metrics`: what Prometheus reads
//! - `every_option`: the configuration that shows every option

mod commands;
mod components;
mod destinations;
mod every_option;
mod metrics;
mod options;
mod variables;

use crate::config::{EnvironmentError, Registry};
use std::fmt;

/// A page: its path from the root of the repository, and its text.
pub(crate) struct Page {
    pub(crate) path: String,
    pub(crate) text: String,
}

impl Page {
    /// One of the book.
    fn new(path: impl fmt::Display, text: String) -> Page {
        let text = format!("{NOTE}\n{}\n", text.trim_end());
        Page { path: format!("docs/src/{path}"), text }
    }
}

/// What stands at the head of each page, for whoever would edit it.
const NOTE: &str = "<!-- Printed from the code by `log-shipper docs --out .`: change it there. -->\n";

/// All pages.
pub(crate) fn pages(registry: &Registry, program: clap::Command) -> Result<Vec<Page>, EnvironmentError> {
    let mut pages = destinations::pages(registry)?;
    pages.extend(components::pages(registry));
    pages.push(variables::page());
    pages.push(metrics::page());
    pages.push(commands::page(program));
    pages.push(every_option::page(registry));
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
