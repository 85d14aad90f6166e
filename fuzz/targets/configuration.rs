//! Any text as a configuration: it loads, or its mistakes are named, and no secret is among the words.

#![no_main]

use libfuzzer_sys::fuzz_target;
use log_shipper::config::{Config, Registry};
use log_shipper::env::Env;
use std::sync::LazyLock;

const SECRET: &str = "s3cr3t-w0rd";

static REGISTRY: LazyLock<Registry> = LazyLock::new(Registry::builtin);
static ENV: LazyLock<Env> = LazyLock::new(|| Env::from_pairs([("S", SECRET), ("N", "7")]));

fuzz_target!(|text: &str| {
    // Who writes the secret into his configuration has shown it himself.
    if text.contains(SECRET) {
        return;
    }
    match Config::from_toml(text, "fuzz.toml", &REGISTRY, &ENV) {
        Ok(config) => {
            for warning in config.warnings {
                assert!(!warning.to_string().contains(SECRET), "{warning}");
            }
        }
        Err(problems) => {
            assert!(!problems.0.is_empty());
            assert!(!problems.to_string().contains(SECRET), "{problems}");
        }
    }
});
