//! What of the crate others can use, as a listing that is checked in: `public-api.txt`. A change to it is seen by
//! whoever makes it and whoever reviews it, and says whether the next version is a breaking one (docs/src/versions.md).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const HEAD: &str = "\
# The public API, every feature on, made from the crate's documentation by tests/public_api.rs. Do not edit it:
# `make api` writes it anew. What a change here means for the version: docs/src/versions.md.
";

/// What rustdoc knows of the crate, as JSON. The test fails where it cannot be had; it never skips.
fn rustdoc_json() -> PathBuf {
    let mut cargo = Command::new(env!("CARGO"));
    // What cargo tells a test of its package is no news that build scripts should be run again for.
    for (name, _) in std::env::vars_os() {
        let name = name.to_string_lossy();
        if ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "NEXTEST"]
            .iter()
            .any(|p| name.starts_with(p))
        {
            cargo.env_remove(&*name);
        }
    }
    let output = cargo
        .args(["rustdoc", "--locked", "--lib", "--all-features", "--"])
        .args(["-Z", "unstable-options", "--output-format", "json", "--cap-lints", "allow"])
        .env("RUSTDOC", format!("{ROOT}/tests/support/rustdoc_json.sh"))
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "cargo rustdoc: {}", String::from_utf8_lossy(&output.stderr));
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("doc/log_shipper.json")
}

/// One line for each public item, and for each trait that a type has; what a trait brings along is the trait's.
fn listing(json: &Path) -> Vec<String> {
    let builder = public_api::Builder::from_rustdoc_json(json);
    let api = builder.omit_blanket_impls(true).omit_auto_trait_impls(true).build().expect("the JSON that this compiler's rustdoc writes is of another version than public-api of Cargo.toml reads");
    let mut of_a_trait = false;
    let lines = api.items().map(ToString::to_string).filter(|line| {
        if line.starts_with("impl") {
            of_a_trait = line.contains(" for ");
            return true;
        }
        let is_member =
            ["pub fn ", "pub async fn ", "pub const fn ", "pub const ", "pub type ", "pub unsafe fn "]
                .iter()
                .find_map(|start| line.strip_prefix(start))
                .and_then(|path| {
                    path.split(['(', '<', ' ']).next()?.trim_end_matches(':').rsplit("::").nth(1)
                })
                .is_some_and(|parent| parent.starts_with(|c: char| c.is_ascii_uppercase()));
        of_a_trait &= is_member;
        !of_a_trait
    });
    lines.collect()
}

/// What is in one and not in the other, in words for the reader of a failed test.
fn differences(known: &[String], now: &[String]) -> String {
    let mut counts: BTreeMap<&str, i64> = BTreeMap::new();
    known.iter().for_each(|line| *counts.entry(line).or_default() -= 1);
    now.iter().for_each(|line| *counts.entry(line).or_default() += 1);
    let sign = |count: &i64| if *count < 0 { "gone:" } else { "new: " };
    let lines = counts.iter().filter(|(_, count)| **count != 0);
    lines.map(|(line, count)| format!("  {} {line}\n", sign(count))).collect()
}

#[test]
fn differences_are_what_is_gone_and_what_is_new() {
    let lines = |text: &str| text.split(' ').map(str::to_owned).collect::<Vec<_>>();
    assert_eq!(differences(&lines("a b b c"), &lines("c b d")), "  gone: a\n  gone: b\n  new:  d\n");
    assert_eq!(differences(&lines("a b"), &lines("b a")), "");
}

#[test]
fn the_public_api_is_the_one_that_is_written_down() {
    let file = Path::new(ROOT).join("public-api.txt");
    let now = listing(&rustdoc_json());
    assert!(
        now.iter().any(|line| line == "pub struct log_shipper::topology::Topology"),
        "{} lines",
        now.len()
    );
    if std::env::var_os("UPDATE_PUBLIC_API").is_some() {
        std::fs::write(&file, format!("{HEAD}\n{}\n", now.join("\n"))).unwrap();
    }
    let text = std::fs::read_to_string(&file).unwrap();
    let known: Vec<_> = text.lines().skip(HEAD.lines().count() + 1).map(str::to_owned).collect();
    let differences = differences(&known, &now);
    assert!(
        known == now,
        "the public API is not the one of public-api.txt:\n{differences}\
         if that is meant, run `make api`, and see docs/src/versions.md for what it means for the version"
    );
}
