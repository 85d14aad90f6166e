//! Any text with references: it is resolved or its mistakes are named, and what comes in is not looked at again.

#![no_main]

use libfuzzer_sys::fuzz_target;
use log_shipper::config::interpolate;
use log_shipper::env::Env;

fuzz_target!(|input: (&str, &str)| {
    let (text, value) = input;
    // What the environment cannot hold, and an empty value, which counts as not set.
    if value.contains('\0') || value.is_empty() {
        return;
    }
    let env = Env::from_pairs([("A", value)]);
    if let Err(errors) = interpolate(text, &env) {
        assert!(!errors.is_empty());
    }
    assert_eq!(interpolate(&text.replace('$', "$$"), &env).as_deref(), Ok(text));
    if !text.contains('$') {
        assert_eq!(interpolate(&format!("{text}${{A}}"), &env), Ok(format!("{text}{value}")));
    }
});
