//! `log-shipper completion SHELL`

use super::{Cli, Failure};
use clap::{CommandFactory, ValueEnum};
use clap_complete::Shell;

/// `completion`'s arguments.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example: log-shipper completion bash > /etc/bash_completion.d/log-shipper")]
pub(super) struct Args {
    /// The shell.
    shell: Supported,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Supported {
    Bash,
    Fish,
    Zsh,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let shell = match args.shell {
        Supported::Bash => Shell::Bash,
        Supported::Fish => Shell::Fish,
        Supported::Zsh => Shell::Zsh,
    };
    clap_complete::generate(shell, &mut Cli::command(), "log-shipper", &mut std::io::stdout());
    Ok(())
}
