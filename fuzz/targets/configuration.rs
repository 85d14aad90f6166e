//! Any text as a configuration, in each format: it loads, or its mistakes are named, and no secret is among the words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use log_shipper::config::{Config, Format, Registry, Severity};
use log_shipper::env::Env;
use std::sync::LazyLock;

/// With characters that a message may escape, and of two lines.
const SECRET: &str = "s3cr3t\"\\\n-w0rd-";
const SHOWN: [&str; 2] = ["s3cr3t", "-w0rd-"];

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::builtin);
static ENV: LazyLock<Env> = LazyLock::new(|| {
    // With a placeholder, no backend of secrets is asked, which may be any command.
    Env::from_pairs([("S", SECRET), ("N", "7")]).with_placeholder("x")
});

fuzz_target!(|text: &str| {
    // Who writes the secret into his configuration has shown it himself.
    if is_shown(text) {
        return;
    }
    for format in [Format::Toml, Format::Yaml, Format::Json] {
        check(text, format);
    }
});

fn is_shown(text: &str) -> bool {
    SHOWN.iter().any(|part| text.contains(part))
}

fn check(text: &str, format: Format) {
    match Config::from_text(text, "fuzz", format, &REGISTRY, &ENV) {
        Ok(config) => {
            for warning in config.warnings {
                assert!(!is_shown(&warning.render(Severity::Warning, false)), "{warning}");
            }
        }
        Err(problems) => {
            assert!(!problems.0.is_empty());
            assert!(!is_shown(&problems.render(false)) && !is_shown(&problems.to_string()), "{problems}");
        }
    }
}
