//! The systemd unit. Where `systemd-analyze` is installed, it looks at it too.

use super::{check_shutdown, check_variables, path, read, ships};
use std::process::Command;

const UNIT: &str = "deploy/systemd/log-shipper.service";

/// The settings of a section: names and values, in order.
fn settings(text: &str, section: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut is_in = false;
    for line in text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')) {
        match line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            Some(name) => is_in = name == section,
            None => {
                let (name, value) = line.split_once('=').unwrap_or_else(|| panic!("{line}: no setting"));
                assert!(name.chars().all(char::is_alphanumeric), "{line}");
                found.extend(is_in.then(|| (name.to_owned(), value.to_owned())));
            }
        }
    }
    assert!(!found.is_empty(), "no section {section}");
    found
}

fn values<'a>(settings: &'a [(String, String)], name: &str) -> Vec<&'a str> {
    settings.iter().filter(|(found, _)| found == name).map(|(_, value)| value.as_str()).collect()
}

/// The variables of a file of them: comments and lines NAME=VALUE.
fn environment(text: &str) -> Vec<(&str, &str)> {
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(|line| line.split_once('=').expect(line)).collect()
}

/// The arguments behind the program's path.
fn args(service: &[(String, String)]) -> Vec<&str> {
    let [start] = values(service, "ExecStart")[..] else { panic!("one ExecStart") };
    let (program, args) = start.split_once(' ').unwrap();
    assert_eq!(program, "/usr/local/bin/log-shipper");
    args.split(' ').collect()
}

#[test]
fn its_settings_fit_together() {
    let text = read(UNIT);
    let service = settings(&text, "Service");
    check_shutdown(&args(&service), values(&service, "TimeoutStopSec")[0].parse().unwrap());
    assert_eq!(values(&service, "ExecReload"), ["/bin/kill -HUP $MAINPID"]);
    assert_eq!(values(&service, "RestartPreventExitStatus"), ["64 78"]);
    assert_eq!(values(&service, "Environment"), ["DATA_DIR=%S/log-shipper"]);
    assert_eq!(values(&service, "StateDirectory"), ["log-shipper"], "DATA_DIR is below it");
    assert_eq!(values(&service, "EnvironmentFile"), ["-/etc/log-shipper/log-shipper.env"]);
    assert_eq!(values(&settings(&text, "Install"), "WantedBy"), ["multi-user.target"]);
    check_variables(UNIT, ["DATA_DIR"]);

    let name = "deploy/systemd/log-shipper.env";
    let file = read(name);
    check_variables(name, environment(&file).into_iter().map(|(name, _)| name));
    let switched_on = file.lines().filter_map(|line| line.strip_prefix("# ")?.split_once('='));
    check_variables(name, switched_on.map(|(name, _)| name));

    // Each secret is handed over under the name under which it is read.
    let name = "deploy/systemd/secrets.conf";
    let secrets = settings(&read(name), "Service");
    let credentials = values(&secrets, "LoadCredential");
    let credentials: Vec<_> = credentials.iter().map(|value| value.split_once(':').unwrap().0).collect();
    let read = values(&secrets, "Environment");
    let read: Vec<_> = read.iter().map(|value| value.split_once("_FILE=%d/").expect("a file")).collect();
    assert_eq!(read, credentials.iter().map(|name| (*name, *name)).collect::<Vec<_>>());
    check_variables(name, credentials);
}

#[tokio::test]
async fn its_command_ships_with_its_environment() {
    let service = settings(&read(UNIT), "Service");
    let file = read("deploy/systemd/log-shipper.env");
    ships(&args(&service), environment(&file)).await;
}

#[test]
fn systemd_takes_it() {
    let Ok(version) = Command::new("systemd-analyze").arg("--version").output() else {
        eprintln!("systemd-analyze is not installed: the unit is parsed, but not verified");
        return;
    };
    assert!(version.status.success());
    // The program is where the tests have it.
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("log-shipper.service");
    let text = read(UNIT).replace("/usr/local/bin/log-shipper", env!("CARGO_BIN_EXE_log-shipper"));
    std::fs::write(&unit, text).unwrap();
    let drop_ins = directory.path().join("log-shipper.service.d");
    std::fs::create_dir(&drop_ins).unwrap();
    std::fs::copy(path("deploy/systemd/secrets.conf"), drop_ins.join("secrets.conf")).unwrap();
    let analyze = |args: &[&str]| {
        let output = Command::new("systemd-analyze").args(args).arg(&unit).output().unwrap();
        let text =
            format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{text}");
        text
    };
    let said = analyze(&["verify", "--man=no"]);
    assert!(!said.contains("log-shipper.service"), "{said}");
    // Out of 100: how much of the system it could touch. Anything below 40 counts as well protected.
    analyze(&["security", "--offline=true", "--threshold=15"]);
}
