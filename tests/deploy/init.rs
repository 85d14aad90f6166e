//! `log-shipper init`, with arguments and at a terminal.

use super::fly;
use crate::support::program::{self, Ended, run};
use log_shipper::providers::PROVIDERS;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use toml::Table;

async fn init(directory: &Path, args: &[&str]) -> Ended {
    let directory = directory.to_str().unwrap();
    run(&[&["init", "--dir", directory], args].concat(), &[]).await
}

fn written(directory: &Path) -> Table {
    std::fs::read_to_string(directory.join("fly.toml")).unwrap().parse().unwrap()
}

#[tokio::test]
async fn arguments_are_enough_and_every_destination_can_be_named() {
    for provider in PROVIDERS {
        let directory = tempfile::tempdir().unwrap();
        let ended =
            init(directory.path(), &["--destination", provider.name, "--app", "my-shipper", "--yes"]).await;
        assert_eq!(ended.code, Some(0), "{}", ended.err);
        fly::check(&written(directory.path()));
        for variable in provider.variables {
            assert!(ended.out.contains(variable.name), "{}", ended.out);
        }
    }
}

#[tokio::test]
async fn the_lines_name_the_app_and_have_places_for_secrets() {
    let directory = tempfile::tempdir().unwrap();
    let args = ["--destination", "loki,datadog", "--app", "my-shipper", "--org", "my-org", "--region", "fra"];
    let ended = init(directory.path(), &[&args[..], &["--subject", "logs.*.fra.>"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let commands: Vec<_> =
        ended.out.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).collect();
    assert_eq!(
        commands,
        [
            "fly apps create my-shipper --org my-org",
            "fly secrets set --app my-shipper --stage ACCESS_TOKEN=\"$(fly tokens create readonly my-org)\"",
            "fly secrets set --app my-shipper --stage LOKI_URL='...' LOKI_USERNAME='...' LOKI_PASSWORD='...'",
            "fly secrets set --app my-shipper --stage DATADOG_API_KEY='...'",
            &format!("fly deploy '{}'", directory.path().display()),
            "fly checks list --app my-shipper",
            "fly logs --app my-shipper",
            "fly proxy 8686 --app my-shipper",
        ]
    );
    assert!(ended.err.contains("no Dockerfile"), "{}", ended.err);
    let fly = written(directory.path());
    fly::check(&fly);
    assert_eq!(fly["app"].as_str(), Some("my-shipper"));
    assert_eq!(fly["primary_region"].as_str(), Some("fra"));
    assert_eq!(fly["env"]["ORG"].as_str(), Some("my-org"));
    assert_eq!(fly["env"]["SUBJECT"].as_str(), Some("logs.*.fra.>"));
}

#[tokio::test]
async fn a_file_that_is_there_stays_unless_it_is_forced() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("fly.toml");
    std::fs::write(&file, "app = \"mine\"\n").unwrap();
    let args = ["--destination", "axiom", "--app", "other", "--image", "example/log-shipper:1"];
    let ended = init(directory.path(), &args).await;
    assert!(ended.code == Some(1) && ended.err.contains("--force") && ended.out.is_empty(), "{ended:?}");
    assert_eq!(written(directory.path())["app"].as_str(), Some("mine"));
    let ended = init(directory.path(), &[&args[..], &["--force"]].concat()).await;
    assert_eq!(ended.code, Some(0), "{}", ended.err);
    let fly = written(directory.path());
    assert_eq!(fly["app"].as_str(), Some("other"));
    assert_eq!(fly["build"]["image"].as_str(), Some("example/log-shipper:1"));
    assert!(!ended.err.contains("Dockerfile"), "{}", ended.err);
}

#[tokio::test]
async fn without_anybody_to_ask_what_is_missing_is_named_and_nothing_written() {
    let directory = tempfile::tempdir().unwrap();
    let ended = init(directory.path(), &["--org", "Mine", "--region", "Europe"]).await;
    assert_eq!(ended.code, Some(64));
    for part in ["--destination and --app must be given", "--org: ", "--region: "] {
        assert!(ended.err.contains(part), "{part:?} should be in {}", ended.err);
    }
    let ended = init(directory.path(), &["--destination", "lokki", "--app", "a"]).await;
    assert!(ended.code == Some(64) && ended.err.contains("`lokki`"), "{ended:?}");
    assert!(!directory.path().join("fly.toml").exists() && ended.out.is_empty());
}

/// `init` at a terminal, which `script` plays, with somebody who types this.
async fn typed(directory: &Path, input: &str) -> (Option<i32>, String) {
    let line = format!("'{}' init --dir '{}'", program::PROGRAM, directory.display());
    let mut script = Command::new("script");
    script.args(["--quiet", "--return", "--command", &line, "/dev/null"]).env_clear().env("SHELL", "/bin/sh");
    script.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = script.spawn().expect("script, of util-linux, is installed");
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(input.as_bytes()).await.unwrap();
    let output = child.wait_with_output();
    let output =
        tokio::time::timeout(Duration::from_secs(30), output).await.expect("it waits for more").unwrap();
    drop(stdin);
    (output.status.code(), String::from_utf8(output.stdout).unwrap())
}

#[tokio::test]
async fn at_a_terminal_it_asks_until_it_knows() {
    let directory = tempfile::tempdir().unwrap();
    let loki = PROVIDERS.iter().position(|provider| provider.name == "loki").unwrap() + 1;
    let input = format!("nowhere\n{loki}, axiom\nMy Shipper\nmy-shipper\nmy-org\n\n\n");
    let (code, text) = typed(directory.path(), &input).await;
    assert_eq!(code, Some(0), "{text}");
    let fly = written(directory.path());
    fly::check(&fly);
    assert_eq!(fly["app"].as_str(), Some("my-shipper"));
    assert_eq!(fly["env"]["ORG"].as_str(), Some("my-org"));
    assert!(!fly.contains_key("primary_region"));
    for part in [
        "no destination is called `nowhere`",
        "`My Shipper` is no name",
        "Organisation whose logs are shipped [personal]: ",
        "LOKI_PASSWORD='...'",
        "AXIOM_TOKEN='...'",
    ] {
        assert!(text.contains(part), "{part:?} should be in {text}");
    }
}

#[tokio::test]
async fn at_a_terminal_the_end_of_the_input_is_no_answer() {
    let directory = tempfile::tempdir().unwrap();
    // Ctrl-D.
    let (code, text) = typed(directory.path(), "loki\n\u{4}").await;
    assert_eq!(code, Some(64), "{text}");
    assert!(text.contains("--app must be given"), "{text}");
    assert!(!directory.path().join("fly.toml").exists());
}
