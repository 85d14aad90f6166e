//! `log-shipper providers [NAME]`

use super::{Failure, print, print_json, print_table};
use crate::env::Env;
use crate::providers::{Need, PROVIDERS, Provider, State, Variable};
use clap::ValueEnum;

/// `providers`' arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: log-shipper providers loki")]
pub(super) struct Args {
    /// Only this one.
    name: Option<String>,
    /// The format.
    #[arg(long, value_enum, default_value = "table")]
    format: Format,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    Table,
    Json,
    /// The README's table: without what is set here.
    Markdown,
}

pub(super) fn run(args: &Args, env: &Env) -> Result<(), Failure> {
    let chosen: Vec<_> = PROVIDERS
        .iter()
        .filter(|provider| args.name.as_ref().is_none_or(|name| name == provider.name))
        .collect();
    if let (true, Some(name)) = (chosen.is_empty(), &args.name) {
        let names: Vec<_> = PROVIDERS.iter().map(|provider| provider.name).collect();
        return Err(Failure::Usage(format!(
            "no provider is called `{name}`; expected one of {}",
            names.join(", ")
        )));
    }
    if args.format == Format::Markdown {
        print(&markdown(&chosen))?;
        return Ok(());
    }
    let mut rows =
        vec![["PROVIDER", "STATE", "VARIABLE", "SET", "WHAT IT HOLDS"].map(str::to_owned).to_vec()];
    let mut objects = Vec::new();
    for provider in chosen {
        let resolved = provider.resolve(env).map_err(Failure::config)?;
        let (state, missing) = match resolved.state {
            State::On => ("on", Vec::new()),
            State::Off => ("off", Vec::new()),
            State::Incomplete(missing) => ("incomplete", missing),
        };
        let mut variables = Vec::new();
        for (index, (variable, set_as)) in resolved.variables.into_iter().enumerate() {
            let is_first = index == 0;
            rows.push(vec![
                if is_first { provider.name } else { "" }.to_owned(),
                if is_first { state } else { "" }.to_owned(),
                variable.name.to_owned(),
                set_text(variable, set_as, &missing).to_owned(),
                about(variable),
            ]);
            variables.push(serde_json::json!({
                "name": variable.name,
                "or": variable.or,
                "required": variable.is_required(),
                "default": variable.default(),
                "set": set_as.is_some(),
                "about": variable.about,
            }));
        }
        objects.push(serde_json::json!({
            "name": provider.name,
            "title": provider.title,
            "sink": provider.sink,
            "state": state,
            "missing": missing,
            "variables": variables,
        }));
    }
    match args.format {
        Format::Json => print_json(&objects),
        _ => print_table(&rows),
    }
}

fn set_text(variable: &Variable, set_as: Option<&str>, missing: &[String]) -> &'static str {
    match (set_as, variable.is_required()) {
        (Some(_), _) => "yes",
        (None, true)
            if missing.iter().any(|missing| missing.split(" or ").any(|name| name == variable.name)) =>
        {
            "MISSING"
        }
        (None, true) => "no",
        (None, false) if variable.default().is_some() => "default",
        (None, false) => "optional",
    }
}

fn about(variable: &Variable) -> String {
    let or = variable.or.map(|or| format!(" (also {or})")).unwrap_or_default();
    let default = variable.default().map(|default| format!(", `{default}` if not set")).unwrap_or_default();
    format!("{}{or}{default}", variable.about)
}

fn markdown(providers: &[&Provider]) -> String {
    let mut text = String::from("| destination | secrets | optional |\n|---|---|---|\n");
    for provider in providers {
        let cell = |is_required: bool| {
            let variables =
                provider.variables.iter().filter(|variable| variable.is_required() == is_required);
            let separator = |variable: &Variable| match variable.need {
                Need::OneOf(_) => " or ",
                _ => ", ",
            };
            let separator = variables.clone().next_back().map_or("", separator);
            let cells = variables.map(|variable| match (variable.or, variable.default()) {
                (Some(or), _) => format!("`{}` (or `{or}`)", variable.name),
                (None, Some(default)) => format!("`{}` (`{default}`)", variable.name),
                (None, None) => format!("`{}`", variable.name),
            });
            cells.collect::<Vec<_>>().join(separator)
        };
        text.push_str(&format!("| {} | {} | {} |\n", provider.title, cell(true), cell(false)));
    }
    text
}
