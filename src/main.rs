//! The `log-shipper` binary.

use log_shipper::config::Registry;
use std::process::ExitCode;

fn main() -> ExitCode {
    log_shipper::cli::main(Registry::builtin())
}
