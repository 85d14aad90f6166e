//! `fly.toml`. What Fly.io makes of it is not tested.

use super::{API_PORT, METRICS_PORT, bytes, check_shutdown, check_variables, path, read, ships};
use toml::{Table, Value};

/// The repository's own.
pub(super) fn repository() -> Table {
    read("fly.toml").parse().unwrap()
}

/// What is run: the command of the only process.
pub(super) fn args(fly: &Table) -> Vec<&str> {
    fly["processes"]["app"].as_str().unwrap().split(' ').collect()
}

pub(super) fn env(fly: &Table) -> Vec<(&str, &str)> {
    let env = fly["env"].as_table().unwrap();
    env.iter()
        .map(|(name, value)| (name.as_str(), value.as_str().expect("Fly.io takes only strings")))
        .collect()
}

/// What every such file has to have.
#[track_caller]
pub(super) fn check(fly: &Table) {
    for public in ["services", "http_service"] {
        assert!(!fly.contains_key(public), "{public} would be reachable from the internet");
    }
    let checks = fly["checks"].as_table().unwrap();
    assert_eq!(checks.len(), 1);
    let health = &checks["health"];
    assert_eq!(health["type"].as_str(), Some("http"));
    assert_eq!(health["path"].as_str(), Some("/health"));
    assert_eq!(health["port"].as_integer(), Some(API_PORT.into()));
    assert_eq!(fly["metrics"]["port"].as_integer(), Some(METRICS_PORT.into()));
    assert_eq!(fly["metrics"]["path"].as_str(), Some("/metrics"));
    assert_eq!(fly["restart"][0]["policy"].as_str(), Some("always"));
    let limit = fly["kill_timeout"].as_integer().unwrap();
    assert!(limit <= 300, "Fly.io allows 300 s");
    check_shutdown(&args(fly), limit.try_into().unwrap());
    check_variables("fly.toml", env(fly).into_iter().map(|(name, _)| name));
    assert!(
        env(fly).iter().all(|(name, _)| !name.starts_with("FLY_")),
        "Fly.io keeps these names for itself"
    );
    // Secrets are elsewhere.
    assert!(env(fly).iter().all(|(name, _)| ["ORG", "SUBJECT", "QUEUE"].contains(name)), "{:?}", env(fly));
}

#[test]
fn it_is_whole_and_private() {
    let fly = repository();
    check(&fly);
    assert!(path(fly["build"]["dockerfile"].as_str().unwrap()).exists());
    assert!(bytes(fly["vm"][0]["memory"].as_str().unwrap()) >= 256 << 20);
}

#[test]
fn what_is_commented_out_fits_as_well() {
    // A line that would be TOML is one that is meant to be switched on.
    let text = read("fly.toml");
    let lines = text.lines().map(|line| match line.strip_prefix("# ") {
        Some(rest) if rest.starts_with('[') || rest.contains(" = ") => rest,
        _ => line,
    });
    let fly: Table = lines.collect::<Vec<_>>().join("\n").parse().unwrap();
    assert_eq!(fly["mounts"]["destination"], fly["env"]["DATA_DIR"]);
    assert_eq!(fly["env"]["API_TAIL"], Value::from("true"));
    check_variables("fly.toml", env(&fly).into_iter().map(|(name, _)| name));
}

#[tokio::test]
async fn its_command_ships_with_its_environment() {
    let fly = repository();
    ships(&args(&fly), env(&fly).into_iter().chain([("FLY_APP_NAME", "log-shipper")])).await;
}
