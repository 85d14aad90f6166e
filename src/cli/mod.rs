//! The command line. Data goes to standard output, messages to standard error. Exit codes: 0 done, 1
//! failed while running, 64 bad usage, 78 bad configuration.
//!
//! - this file: the arguments, the exit code
//! - `log`: log-shipper's own log; `progress`: how far a long command is
//! - `config_args`: `-c` and `-C`; `api_url`: where the API is
//! - a file for each command, and for `run`: `banner` and `pulse`, what it says at its start and each minute,
//!   `reload` and `machines`

mod api_url;
mod banner;
mod buffer;
mod check;
mod completion;
mod config_args;
mod demo;
mod docs;
mod generate;
mod graph;
mod health;
mod init;
mod list;
mod log;
mod machines;
mod progress;
mod providers;
mod pulse;
mod reload;
mod replay;
mod run;
mod schema;
mod tail;
mod test;
mod top;
mod validate;
mod vrl;

use crate::config::files::UNREADABLE;
use crate::config::{Config, Environment, Problems, Registry, Severity};
use crate::env::Env;
use crate::topology::StartError;
use clap::{Parser, Subcommand};
use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Arc;

/// Reads logs from NATS subjects and ships them to log aggregators.
///
/// Without a command: the same as `run`.
#[derive(Debug, Parser)]
#[command(name = "log-shipper", version, args_conflicts_with_subcommands = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    run: run::Args,
    /// How log-shipper's own log is written; also LOG_SHIPPER_LOG_FORMAT.
    #[arg(long, global = true, value_enum)]
    log_format: Option<log::Format>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Ship logs: from a configuration, or from the environment's secrets.
    Run(run::Args),
    /// Show everything at work in one process: a broker, sample apps, the pipeline.
    Demo(demo::Args),
    /// Print the configuration that `run` would use.
    Generate(generate::Args),
    /// Report every mistake in a configuration.
    Validate(validate::Args),
    /// Run the tests of a configuration's transforms.
    Test(test::Args),
    /// Draw what feeds what.
    Graph(graph::Args),
    /// Ask NATS and every destination whether they are well and know us.
    Check(check::Args),
    /// Show the logs as they come, straight from NATS.
    Tail(tail::Args),
    /// Watch a running shipper: rates, errors, buffers, and what to do.
    Top(top::Args),
    /// Look into the sinks' buffers on disk.
    Buffer(buffer::Args),
    /// Write a fly.toml for a destination, and print what to run on Fly.io.
    Init(init::Args),
    /// Ask a running log-shipper whether logs flow.
    Health(health::Args),
    /// List the destinations that secrets of the environment switch on.
    Providers(providers::Args),
    /// List the components of configurations, with their options.
    List(list::Args),
    /// Send dead letters again: events that a sink has refused.
    Replay(replay::Args),
    /// Print the JSON Schema of configurations, for editors and checks.
    Schema(schema::Args),
    /// Try a program of VRL on events.
    Vrl(vrl::Args),
    /// Print the completions of a shell.
    Completion(completion::Args),
    /// Write the pages of the book that are printed from the code.
    #[command(hide = true)]
    Docs(docs::Args),
}

/// How a command that did not do its work ends.
#[derive(Debug)]
enum Failure {
    /// It failed at work: exit code 1.
    Failed(String),
    /// Its arguments do not say enough, or something wrong: exit code 64.
    Usage(String),
    /// Its configuration is wrong: exit code 78, as sysexits.h has it.
    Config(String),
}

const EXIT_USAGE: u8 = 64;
const EXIT_CONFIG: u8 = 78;

/// The whole program, with these components.
pub fn main(registry: Registry) -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to standard output and are no failure.
            let is_failure = error.use_stderr();
            let _ = error.print();
            return if is_failure { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
        }
    };
    let (registry, env) = (Arc::new(registry), Env::from_process());
    // Whoever looks at the logs of others wants to see ours only if something is wrong.
    let level = if matches!(cli.command, Some(Command::Tail(_))) { "warn" } else { "info" };
    let result = log::start(cli.log_format, level, &env).and_then(|()| {
        match cli.command.unwrap_or(Command::Run(cli.run)) {
            Command::Run(args) => run::run(&args, &registry, &env),
            Command::Demo(args) => demo::run(&args, &registry, &env),
            Command::Generate(args) => generate::run(&args, &env),
            Command::Validate(args) => validate::run(&args, &registry, &env),
            Command::Test(args) => test::run(&args, &registry, &env),
            Command::Graph(args) => graph::run(&args, &registry, &env),
            Command::Check(args) => check::run(&args, &registry, &env),
            Command::Tail(args) => tail::run(&args, &registry, &env),
            Command::Top(args) => top::run(&args, &env),
            Command::Buffer(args) => buffer::run(&args, &registry, &env),
            Command::Init(args) => init::run(&args),
            Command::Health(args) => health::run(&args, &env),
            Command::Providers(args) => providers::run(&args, &env),
            Command::List(args) => list::run(&args, &registry),
            Command::Replay(args) => replay::run(&args, &registry, &env),
            Command::Schema(args) => schema::run(&args, &registry),
            Command::Vrl(args) => vrl::run(&args),
            Command::Completion(args) => completion::run(&args),
            Command::Docs(args) => docs::run(&args, &registry),
        }
    });
    log::flush();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Failed(message)) => {
            eprintln!("log-shipper: {message}");
            ExitCode::FAILURE
        }
        Err(Failure::Usage(message)) => {
            eprintln!("log-shipper: {message}");
            ExitCode::from(EXIT_USAGE)
        }
        Err(Failure::Config(message)) => {
            eprintln!("log-shipper: {message}");
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

impl Failure {
    fn config(error: impl std::fmt::Display) -> Failure {
        Failure::Config(error.to_string())
    }

    fn failed(error: impl std::fmt::Display) -> Failure {
        Failure::Failed(error.to_string())
    }
}

/// Shows a configuration's mistakes on standard error, and gives what then is left to say.
fn print_problems(problems: &Problems, env: &Env) -> Failure {
    eprintln!("{}\n", problems.render(is_coloured(env)));
    let unreadable = problems.0.iter().filter(|problem| problem.message.starts_with(UNREADABLE)).count();
    // What is in a file that nobody can read is no mistake in it.
    if unreadable == problems.0.len() {
        let parts = plural(unreadable as u64, "part", "parts");
        return Failure::Config(format!("{parts} of the configuration cannot be read; see above"));
    }
    let many = if problems.0.len() == 1 { "a mistake" } else { "mistakes" };
    Failure::Config(format!("the configuration has {many}"))
}

/// Shows a topology that does not start.
fn start_failure(error: &StartError, env: &Env) -> Failure {
    match error {
        StartError::Build { problems } => print_problems(problems, env),
        StartError::Unhealthy { .. } | StartError::Ending => Failure::config(error),
    }
}

/// Shows a configuration's warnings on standard error, for a command without a log.
fn print_config_warnings(config: &Config, env: &Env) {
    let is_coloured = is_coloured(env);
    config
        .warnings
        .iter()
        .for_each(|warning| eprintln!("{}\n", warning.render(Severity::Warning, is_coloured)));
}

/// Whether standard error is a terminal, whose user likes colours.
fn is_coloured(env: &Env) -> bool {
    std::io::stderr().is_terminal() && env.get("NO_COLOR").is_ok_and(|value| value.is_none())
}

/// An environment's warnings, for a command without a log.
fn print_warnings(environment: &Environment) {
    environment.warnings.iter().for_each(|warning| eprintln!("warning: {warning}"));
}

/// Data, to standard output. Whoever has read enough of it closes it, which is no failure.
fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(Failure::failed(error)),
        _ => Ok(()),
    }
}

/// A value as JSON, for people and programs.
fn print_json(value: &impl serde::Serialize) -> Result<(), Failure> {
    print(&format!("{}\n", serde_json::to_string_pretty(value).map_err(Failure::failed)?))
}

/// `1 sink`, `2 sinks`.
fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{count} {}", if count == 1 { one } else { many })
}

/// Rows as columns of equal width.
fn print_table(rows: &[Vec<String>]) -> Result<(), Failure> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    print(&rows.iter().map(line).collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_arguments_fit_together_and_every_command_has_an_example() {
        let mut command = Cli::command();
        command.clone().debug_assert();
        command.build();
        for command in command.get_subcommands().filter(|command| command.get_name() != "help") {
            let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
            assert!(help.contains("log-shipper"), "{} has no example", command.get_name());
        }
    }
}
