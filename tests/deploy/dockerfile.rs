//! `Dockerfile` and `.dockerignore`. No engine runs here: what the images have in them is not looked at.

use super::{API_PORT, METRICS_PORT, check_shutdown, fly, path, read};
use crate::support::program::run;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// The instructions, each with its arguments in one line.
fn instructions() -> Vec<(String, String)> {
    let text = read("Dockerfile");
    let lines = text.lines().filter(|line| !line.trim_start().starts_with('#'));
    let joined = lines.fold(String::new(), |text, line| match line.strip_suffix('\\') {
        Some(line) => text + line + " ",
        None => text + line + "\n",
    });
    let pairs = joined.lines().map(str::trim).filter(|line| !line.is_empty());
    pairs
        .map(|line| line.split_once(' ').expect(line))
        .map(|(name, rest)| (name.to_owned(), rest.trim().to_owned()))
        .collect()
}

fn arguments(name: &str) -> Vec<String> {
    instructions().into_iter().filter(|(found, _)| found == name).map(|(_, rest)| rest).collect()
}

/// A list in the form that needs no shell.
fn exec_form(text: &str) -> Vec<String> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The user that the image runs as.
pub(super) fn user() -> u64 {
    let user = arguments("USER").pop().unwrap();
    user.split(':').next().unwrap().parse().unwrap()
}

#[test]
fn the_stages_fit_together_and_have_the_versions_of_the_project() {
    let manifest: toml::Table = read("Cargo.toml").parse().unwrap();
    let version = manifest["package"]["rust-version"].as_str().unwrap();
    let stages = arguments("FROM");
    assert_eq!(stages[0], format!("rust:{version}-bookworm AS build"));
    // Debian 12 is bookworm: the program finds the C library that it was linked to.
    assert_eq!(stages[1..], ["gcr.io/distroless/cc-debian12:nonroot"]);
    assert_ne!(user(), 0);

    let ignored = read(".dockerignore");
    assert!(ignored.lines().any(|line| line == "*"), "everything is left out but for what is named");
    let makes: String = arguments("RUN").join("\n");
    let mut copied = Vec::new();
    for copy in arguments("COPY") {
        let (flags, rest): (Vec<&str>, Vec<&str>) = copy.split(' ').partition(|word| word.starts_with("--"));
        let (_, sources) = rest.split_last().unwrap();
        for &source in sources {
            if flags.contains(&"--from=build") {
                assert!(makes.contains(source), "no RUN makes {source}");
                continue;
            }
            assert!(path(source).exists(), "{source}");
            assert!(ignored.lines().any(|line| line == format!("!{source}")), "{source} is left out");
            copied.push(source.to_owned());
        }
    }
    assert_eq!(
        arguments("RUN").iter().filter(|run| run.contains("cargo build --locked --release")).count(),
        2
    );

    // Whatever the sources have within them is copied.
    let mut files = vec![path("src")];
    while let Some(file) = files.pop() {
        if file.is_dir() {
            files.extend(std::fs::read_dir(&file).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        // What is for tests of the documentation alone is at the end of a file, and not built here.
        let text = text.split("#[cfg(doctest)]").next().unwrap();
        for macro_name in ["include_str!(\"", "include_bytes!(\"", "include!(\""] {
            for (at, _) in text.match_indices(macro_name) {
                let name = text[at + macro_name.len()..].split('"').next().unwrap();
                let included = file.parent().unwrap().join(name).canonicalize();
                let included = included.unwrap_or_else(|error| panic!("{}: {name}: {error}", file.display()));
                let root = path("").canonicalize().unwrap();
                let from_root = included.strip_prefix(&root).unwrap();
                let is_copied = copied.iter().any(|copied| from_root.starts_with(copied));
                assert!(is_copied, "{} has {name} in it, which the Dockerfile does not copy", file.display());
            }
        }
    }
}

#[test]
fn the_layer_of_the_dependencies_is_a_project_that_cargo_takes() {
    let directory = tempfile::tempdir().unwrap();
    let tools = directory.path().join("tools");
    std::fs::create_dir(&tools).unwrap();
    // The real one would build for minutes.
    let cargo = tools.join("cargo");
    std::fs::write(&cargo, "#!/bin/sh\necho \"$@\" > called\n").unwrap();
    std::fs::set_permissions(&cargo, std::fs::Permissions::from_mode(0o755)).unwrap();
    let project = directory.path().join("src");
    std::fs::create_dir(&project).unwrap();
    for file in ["Cargo.toml", "Cargo.lock"] {
        std::fs::copy(path(file), project.join(file)).unwrap();
    }
    let search = format!("{}:/usr/bin:/bin", tools.display());
    let first = &arguments("RUN")[0];
    let output =
        Command::new("sh").args(["-ec", first]).current_dir(&project).env("PATH", search).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let called = std::fs::read_to_string(project.join("called")).unwrap();
    assert_eq!(called.trim(), "build --locked --release --bin log-shipper");

    let mut metadata = Command::new(env!("CARGO"));
    metadata.args(["metadata", "--no-deps", "--offline", "--format-version", "1"]).current_dir(&project);
    let output = metadata.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let targets = metadata["packages"][0]["targets"].as_array().unwrap();
    assert!(targets.iter().any(|target| target["kind"][0] == "bin" && target["name"] == "log-shipper"));
}

#[test]
fn the_program_links_to_nothing_that_the_image_has_not() {
    let output = Command::new("ldd").arg(env!("CARGO_BIN_EXE_log-shipper")).output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let names: Vec<_> = text.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"libc.so.6"), "{text}");
    for name in names {
        let known = ["linux-vdso.so.1", "libc.so.6", "libm.so.6", "libgcc_s.so.1"].contains(&name);
        assert!(known || name.contains("ld-linux"), "distroless/cc has no {name}");
    }
}

#[tokio::test]
async fn its_commands_are_those_of_the_program_and_need_no_shell() {
    let entrypoint = exec_form(&arguments("ENTRYPOINT").pop().unwrap());
    assert_eq!(entrypoint.len(), 1);
    let program = entrypoint[0].as_str();
    assert!(arguments("COPY").iter().any(|copy| copy.ends_with(&format!("/log-shipper {program}"))));
    let command = exec_form(&arguments("CMD").pop().unwrap());
    let healthcheck = arguments("HEALTHCHECK").pop().unwrap();
    let (_, health) = healthcheck.split_once("CMD ").unwrap();
    let health = exec_form(health);
    assert_eq!(health[0], program);
    for args in [&command[..], &health[1..]] {
        let args: Vec<_> = args.iter().map(String::as_str).chain(["--help"]).collect();
        let ended = run(&args, &[]).await;
        assert_eq!(ended.code, Some(0), "{args:?}: {}", ended.err);
    }
    let exposed = arguments("EXPOSE").pop().unwrap();
    assert_eq!(exposed, format!("{API_PORT} {METRICS_PORT}"));
    // Fly.io's check and Docker's ask the same port.
    assert_eq!(fly::repository()["checks"]["health"]["port"].as_integer(), Some(API_PORT.into()));
    // What is run instead has more time than Docker's ten seconds only where the platform gives it.
    assert!(!command.iter().any(|arg| arg.contains("graceful")), "the default is for any platform");
    check_shutdown(&fly::args(&fly::repository()), 30);
}
