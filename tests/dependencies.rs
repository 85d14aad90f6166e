//! What the program is made of, held without a tool that may not be installed: what deny.toml allows, and nothing else.

use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::process::Command;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn rules() -> toml::Table {
    std::fs::read_to_string(format!("{ROOT}/deny.toml")).unwrap().parse().unwrap()
}

/// The names in a list of deny.toml: texts, or tables with a `crate`.
fn list(table: &str, key: &str) -> BTreeSet<String> {
    let rules = rules();
    let items = rules[table][key].as_array().unwrap();
    items.iter().map(|item| item.get("crate").unwrap_or(item).as_str().unwrap().to_owned()).collect()
}

/// The packages of the lock file: their names, versions and sources, on every platform.
fn locked() -> Vec<(String, String, Option<String>)> {
    let lock: toml::Table = std::fs::read_to_string(format!("{ROOT}/Cargo.lock")).unwrap().parse().unwrap();
    let text = |package: &toml::Value, key: &str| package.get(key)?.as_str().map(str::to_owned);
    let packages = lock["package"].as_array().unwrap().iter();
    packages.map(|p| (text(p, "name").unwrap(), text(p, "version").unwrap(), text(p, "source"))).collect()
}

fn metadata() -> Value {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        // Of other platforms' packages nothing may be here.
        .args(["--filter-platform", &host()])
        .current_dir(ROOT)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn host() -> String {
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).unwrap().to_owned()
}

/// Whether a licence expression can be met with these: `OR` (once `/`) is a choice, `AND` is both.
fn is_allowed(expression: &str, allowed: &BTreeSet<String>) -> bool {
    let text = expression.replace('/', " OR ").replace('(', " ( ").replace(')', " ) ");
    let words: Vec<_> = text.split_whitespace().collect();
    let mut at = 0;
    let is_met = any(&words, &mut at, allowed);
    assert_eq!(at, words.len(), "{expression:?} is no licence expression that this test can read");
    is_met
}

fn any(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut is_met = all(words, at, allowed);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        is_met |= all(words, at, allowed);
    }
    is_met
}

fn all(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let mut is_met = one(words, at, allowed);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        is_met &= one(words, at, allowed);
    }
    is_met
}

fn one(words: &[&str], at: &mut usize, allowed: &BTreeSet<String>) -> bool {
    let word = *words.get(*at).expect("a licence");
    *at += 1;
    if word == "(" {
        let is_met = any(words, at, allowed);
        assert_eq!(words.get(*at), Some(&")"));
        *at += 1;
        return is_met;
    }
    match words.get(*at) {
        Some(&"WITH") => {
            *at += 2;
            allowed.contains(&format!("{word} WITH {}", words[*at - 1]))
        }
        _ => allowed.contains(word),
    }
}

#[test]
fn licence_expressions_are_read_as_they_are_meant() {
    let allowed: BTreeSet<_> = ["MIT", "ISC", "A WITH x"].map(str::to_owned).into();
    for (expression, expected) in [
        ("MIT", true),
        ("GPL-3.0", false),
        ("GPL-3.0 OR MIT", true),
        ("GPL-3.0/MIT", true),
        ("GPL-3.0 AND MIT", false),
        ("(GPL-3.0 OR MIT) AND ISC", true),
        ("MIT AND (GPL-3.0 OR BSD)", false),
        ("A WITH x", true),
        ("A WITH y", false),
        ("A WITH y OR ISC", true),
    ] {
        assert_eq!(is_allowed(expression, &allowed), expected, "{expression}");
    }
}

#[test]
fn every_licence_is_one_that_is_allowed() {
    let allowed = list("licenses", "allow");
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 300, "{} packages are not all", packages.len());
    let bad: Vec<_> = packages
        .iter()
        .filter(|package| !package["license"].as_str().is_some_and(|text| is_allowed(text, &allowed)))
        .map(|package| format!("{}: {}", package["name"], package["license"]))
        .collect();
    assert!(bad.is_empty(), "not in deny.toml: {bad:#?}");
    // What is allowed for nobody is allowed for the next one, unseen.
    for licence in &allowed {
        let is_used = packages.iter().filter_map(|package| package["license"].as_str()).any(|text| {
            let others = allowed.iter().filter(|other| *other != licence).cloned().collect();
            !is_allowed(text, &others)
        });
        assert!(is_used, "no crate needs {licence} any more; take it out of deny.toml");
    }
}

/// `1.95` and `1.95.0` as numbers.
fn rust_version(text: &str) -> [u32; 3] {
    let mut parts = text.split('-').next().unwrap().split('.').map(|part| part.parse().unwrap());
    [0; 3].map(|zero| parts.next().unwrap_or(zero))
}

#[test]
fn rust_version_is_no_older_than_what_dependencies_need_and_no_newer_than_the_compiler() {
    assert!(
        rust_version("1.9") < rust_version("1.95") && rust_version("1.95") < rust_version("1.95.1-nightly")
    );
    let metadata = metadata();
    let packages = metadata["packages"].as_array().unwrap();
    let ours = packages.iter().find(|package| package["name"] == "log-shipper").unwrap();
    let ours = rust_version(ours["rust_version"].as_str().expect("Cargo.toml says no rust-version"));
    let needs = packages
        .iter()
        .filter_map(|package| Some((rust_version(package["rust_version"].as_str()?), package)));
    let needs: Vec<_> = needs.collect();
    assert!(needs.len() > 100, "{} packages with a rust-version are not all", needs.len());
    let newer: Vec<_> =
        needs.iter().filter(|(version, _)| *version > ours).map(|(v, p)| (v, &p["name"])).collect();
    assert!(newer.is_empty(), "these need a newer Rust than rust-version in Cargo.toml: {newer:?}");
    let output = Command::new("rustc").arg("-vV").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let compiler = text.lines().find_map(|line| line.strip_prefix("release: ")).unwrap();
    assert!(rust_version(compiler) >= ours, "rustc {compiler} is older than rust-version in Cargo.toml");
    // The page of the book says the same.
    let page = std::fs::read_to_string(format!("{ROOT}/docs/src/versions.md")).unwrap();
    assert!(page.contains(&format!("needs Rust {}.{},", ours[0], ours[1])), "docs/src/versions.md: {ours:?}");
}

#[test]
fn everything_is_from_the_rust_registry() {
    for (name, version, source) in locked() {
        match source.as_deref() {
            Some("registry+https://github.com/rust-lang/crates.io-index") => {}
            None => assert_eq!(name, "log-shipper", "{version}: from a directory"),
            Some(other) => panic!("{name} {version} is from {other}"),
        }
    }
}

#[test]
fn there_is_one_tls_stack() {
    let banned = list("bans", "deny");
    assert!(banned.len() >= 9, "{banned:?}");
    let locked = locked();
    let found: Vec<_> = locked.iter().filter(|(name, ..)| banned.contains(name)).collect();
    assert!(found.is_empty(), "{found:?}");
    for name in ["rustls", "ring", "rustls-webpki", "tokio-rustls"] {
        assert_eq!(locked.iter().filter(|(known, ..)| known == name).count(), 1, "{name}");
    }
}

#[test]
fn every_crate_that_is_there_twice_is_known() {
    let metadata = metadata();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let nodes: BTreeMap<String, &Value> = metadata["resolve"]["nodes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|node| (text(&node["id"]), node))
        .collect();
    let (mut todo, mut seen) = (vec![text(&metadata["resolve"]["root"])], BTreeSet::new());
    while let Some(id) = todo.pop() {
        if seen.insert(id.clone()) {
            let needs = nodes[&id]["deps"].as_array().unwrap().iter().filter(|dependency| {
                dependency["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev")
            });
            todo.extend(needs.map(|dependency| text(&dependency["pkg"])));
        }
    }
    let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        if seen.contains(package["id"].as_str().unwrap()) {
            versions.entry(text(&package["name"])).or_default().insert(text(&package["version"]));
        }
    }
    let doubled: BTreeSet<_> =
        versions.into_iter().filter(|(_, versions)| versions.len() > 1).map(|(name, _)| name).collect();
    assert_eq!(doubled, list("bans", "skip"), "there twice, and listed in deny.toml");
}
