//! The help of every command, and the exit codes.

use super::Page;
use clap::Command;

/// Characters of a line, whatever the terminal.
const WIDTH: usize = 100;

pub(super) fn page(program: Command) -> Page {
    let mut program = program.term_width(WIDTH).color(clap::ColorChoice::Never);
    program.build();
    let mut text = String::from(
        "# Command line\n\nData goes to standard output, messages to standard error.\n\n\
         | exit code | |\n|---|---|\n| 0 | done |\n| 1 | failed while running, or not everything was delivered |\n\
         | 64 | bad usage: an unknown command or option |\n| 78 | bad configuration: of the file, or of the environment |\n\n\
         Without a command log-shipper does what `run` does.\n",
    );
    let shown = |command: &&Command| !command.is_hide_set() && command.get_name() != "help";
    let names: Vec<_> =
        program.get_subcommands().filter(shown).map(|one| one.get_name().to_owned()).collect();
    for name in names {
        let Some(command) = program.find_subcommand_mut(&name) else { continue };
        add(command, &format!("log-shipper {name}"), &mut text);
        let inner: Vec<_> =
            command.get_subcommands().filter(shown).map(|one| one.get_name().to_owned()).collect();
        for inner in inner {
            if let Some(command) = command.find_subcommand_mut(&inner) {
                add(command, &format!("log-shipper {name} {inner}"), &mut text);
            }
        }
    }
    Page::new("reference/command-line.md", text)
}

fn add(command: &Command, name: &str, text: &mut String) {
    let help = command.clone().term_width(WIDTH).render_long_help().to_string();
    let help: Vec<_> = help.lines().map(str::trim_end).collect();
    text.push_str(&format!("\n## {name}\n\n```text\n{}\n```\n", help.join("\n").trim_end()));
}
