//! The command line as its users see it: what goes to which stream, and the exit codes.

mod support;

use std::path::Path;
use std::process::{Output, Stdio};
use std::time::Duration;
use support::certificates::Certificates;
use support::http_server::{HttpServer, Reply};
use support::nats_server::{NatsServer, Options, TlsFiles};
use support::program::{NO_PORTS, Program};
use support::publisher::Publisher;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::process::Command;

const LIMIT: Duration = Duration::from_secs(60);

fn command(args: &[&str], env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_log-shipper"));
    command.args(args).env_clear().envs(NO_PORTS).envs(env.iter().copied()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

async fn run(args: &[&str], env: &[(&str, &str)]) -> Output {
    let output = command(args, env).output();
    tokio::time::timeout(LIMIT, output).await.expect("the command takes too long").unwrap()
}

fn stdout(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn stderr(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

#[track_caller]
fn check(output: &Output, code: i32, out: &str, err: &str) {
    assert_eq!(output.status.code(), Some(code), "{}{}", stdout(output), stderr(output));
    assert!(stdout(output).contains(out), "{out:?} should be in {}", stdout(output));
    assert!(stderr(output).contains(err), "{err:?} should be in {}", stderr(output));
}

#[tokio::test]
async fn help_and_version_are_data_and_bad_usage_is_64() {
    check(&run(&["--version"], &[]).await, 0, env!("CARGO_PKG_VERSION"), "");
    for name in [
        "run",
        "demo",
        "generate",
        "validate",
        "check",
        "providers",
        "list",
        "replay",
        "completion",
        "schema",
        "test",
        "graph",
        "tail",
        "vrl",
    ] {
        let output = run(&[name, "--help"], &[]).await;
        check(&output, 0, "Usage:", "");
        assert!(stdout(&output).contains("Example"), "{name}");
    }
    for args in [&["no-such"][..], &["run", "--no-such"], &["demo", "--rate", "x"], &["completion", "csh"]] {
        check(&run(args, &[]).await, 64, "", "error: ");
    }
}

#[tokio::test]
async fn a_bad_configuration_is_78_with_every_mistake() {
    check(&run(&[], &[]).await, 78, "", "ACCESS_TOKEN is not set");
    let typo = [("ACCESS_TOKEN", "t"), ("AXIOM_TOKN", "x")];
    check(&run(&["run"], &typo).await, 78, "", "did you mean AXIOM_TOKEN?");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("bad.toml");
    std::fs::write(&path, "[sources.a]\ntype = 'nope'\n[sinks.b]\ntype = 'http'\ninputs = ['c']\n").unwrap();
    let output = run(&["run", "-c", path.to_str().unwrap()], &[]).await;
    let (all, path) = (stderr(&output), path.display());
    check(&output, 78, "", "error: sources.a.type: unknown type `nope`");
    for words in [
        format!(" --> {path}:2:8\n  |\n2 | type = 'nope'\n  |        ^^^^^^\n"),
        format!("error: sinks.b: missing field `uri`\n --> {path}:3:8\n"),
        "sinks.b.inputs[0]: no component is called `c`".to_owned(),
    ] {
        assert!(all.contains(&words), "{all}\nshould contain\n{words}");
    }
    assert!(!all.contains('\u{1b}'), "colours without a terminal: {all}");
    check(&run(&["run", "-c", "/nowhere.toml"], &[]).await, 78, "", "/nowhere.toml: cannot be read");
    check(
        &run(&["validate", "/nowhere.toml"], &[]).await,
        78,
        "",
        "there is no configuration to read there; expected the path",
    );
    check(
        &run(&["providers", "nope"], &[]).await,
        64,
        "",
        "expected one of appsignal, aws_cloudwatch, aws_s3, axiom",
    );
    for (rate, shown) in [("0", "0.0"), ("1e-300", "1e-300"), ("inf", "inf"), ("nan", "NaN")] {
        let expected = format!("--rate: {shown} is no rate; expected at least 0.001");
        check(&run(&["demo", "--rate", rate], &[]).await, 78, "", &expected);
    }
    check(&run(&["list"], &[("LOG_SHIPPER_LOG_FORMAT", "xml")]).await, 78, "", "expected text or json");
}

#[tokio::test]
async fn that_nothing_can_be_read_is_said_only_if_nothing_was_read() {
    let dir = tempfile::tempdir().unwrap();
    let good = dir.path().join("good.toml");
    let text = "sources.in = {type = 'stdin'}\nsinks.out = {type = 'blackhole', inputs = ['in']}\n";
    std::fs::write(&good, text).unwrap();
    let (good, dir) = (good.to_str().unwrap(), dir.path().to_str().unwrap());
    check(&run(&["validate", "-C", dir], &[]).await, 0, "valid: ", "");
    std::fs::create_dir(format!("{dir}/enrichment_tables")).unwrap();
    std::fs::create_dir(format!("{dir}/empty")).unwrap();
    let (missing, empty) = (&format!("{dir}/missing.toml"), &format!("{dir}/empty"));
    let (nothing, one, two) = (
        "there is no configuration to read there",
        "1 part of the configuration",
        "2 parts of the configuration",
    );
    for (args, expected) in [
        (&["-C", dir][..], one),
        (&["-c", good, "-c", missing], one),
        (&["-c", good, "-c", missing, "-c", &missing.replace("missing", "lost")], two),
        (&["-c", missing], nothing),
        (&["-c", missing, "-C", empty], nothing),
        (&["-C", empty], nothing),
    ] {
        let output = run(&[&["validate"], args].concat(), &[]).await;
        check(&output, 78, "", &format!("log-shipper: {expected}"));
        for other in [nothing, one, two].iter().filter(|other| **other != expected) {
            assert!(!stderr(&output).contains(other), "{args:?}: {}", stderr(&output));
        }
    }
}

#[tokio::test]
async fn tls_cannot_come_first_where_it_is_switched_off() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    let text = "[sources.nats]\ntype='nats'\nurl='nats://h'\nconnection_name='x'\nsubject='logs.>'\n\
                tls_first=true\ntls.enabled=false\n[sinks.out]\ntype='blackhole'\ninputs=['nats']\n";
    std::fs::write(&path, text).unwrap();
    let output = run(&["validate", "-c", path.to_str().unwrap()], &[]).await;
    check(&output, 78, "", "sources.nats: tls_first: it needs TLS, but tls.enabled is false; take one of");
}

#[tokio::test]
async fn a_directory_is_a_configuration_and_so_is_a_pattern() {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in [
        ("api.toml", "api.enabled = true\napi.address = '[::]:8686'\n"),
        ("main.yaml", "sources:\n  in: {type: demo_logs, format: fly, count: 3, interval: 0.001}\n"),
        (".hidden.toml", "broken"),
        ("notes.md", "# no configuration\n"),
        ("sinks/out.json", r#"{"type": "console", "inputs": ["in"], "encoding": {"codec": "json"}}"#),
    ] {
        let path = dir.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let path = dir.path().to_str().unwrap();
    let output = run(&["run", "-C", path], &[]).await;
    check(&output, 0, "{\"event\"", "sink out: received 3, delivered 3");
    check(
        &run(&["validate", "--config-dir", path], &[]).await,
        0,
        "valid: 1 source, 0 transforms, 1 sink",
        "",
    );
    let pattern = format!("{path}/*.yaml");
    check(&run(&["validate", "-c", &pattern], &[]).await, 78, "", "sinks: none: its events would go nowhere");
    check(&run(&["check", "-C", "/nowhere"], &[]).await, 78, "", "/nowhere: cannot be read");
}

#[tokio::test]
async fn warnings_are_shown_by_every_command_that_loads() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v.yml");
    let text = "sources:\n  in: {type: demo_logs, format: fly, count: 0}\n  idle: {type: demo_logs, format: fly, count: 0}\n\
                sinks:\n  out: {type: blackhole, inputs: [in]}\n";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    for args in
        [&["validate", "-c", path][..], &["validate", "--no-environment", "-c", path], &["check", "-c", path]]
    {
        let output = run(args, &[]).await;
        check(&output, 0, "", "warning: sources.idle: no component takes the events of `idle`");
        assert!(stderr(&output).contains("v.yml:3:3\n"), "{}", stderr(&output));
    }
    check(&run(&["run", "-c", path], &[]).await, 0, "", "v.yml:3:3: sources.idle: no component takes");
}

#[tokio::test]
async fn programs_are_compiled_without_the_environment_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("v.toml");
    let text = "[sources.in]\ntype='demo_logs'\nformat='fly'\ncount=${COUNT}\n\
                [transforms.t]\ntype='remap'\ninputs=['in']\nsource='.a = = .b'\n\
                [sinks.out]\ntype='blackhole'\ninputs=['t']\nprint_interval_secs=${SECRET}\n";
    let path = {
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let output = run(&["validate", "--no-environment", "-c", &path], &[]).await;
    check(&output, 78, "", "transforms.t");
    std::fs::write(&path, text.replace("= = .b", "= .b")).unwrap();
    check(&run(&["validate", "--no-environment", "-c", &path], &[]).await, 0, "valid: 1 source", "");
    let env = [("COUNT", "0"), ("SECRET", "5")];
    check(&run(&["validate", "-c", &path], &env).await, 0, "valid: 1 source", "");
}

#[tokio::test]
async fn validate_needs_no_secrets_if_it_is_told_so() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    let text = "[sources.nats]\ntype='nats'\nurl='${NATS}'\nconnection_name='x'\nsubject='logs.>'\n\
                [sinks.loki]\ntype='loki'\ninputs=['nats']\nendpoint='${LOKI_URL}'\nencoding.codec='json'\nlabels.a='b'\n\
                auth={strategy='basic',user='u',password='${PASSWORD}'}\n";
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let output = run(&["validate", "-c", path], &[]).await;
    for name in ["NATS", "LOKI_URL", "PASSWORD"] {
        check(&output, 78, "", &format!("variable {name} is not set"));
    }
    check(
        &run(&["validate", "-c", path, "--no-environment"], &[]).await,
        0,
        "valid: 1 source, 0 transforms, 1 sink",
        "",
    );
    let env = [("NATS", "nats://h"), ("LOKI_URL", "http://h"), ("PASSWORD", "p")];
    check(&run(&["validate", "-c", path], &env).await, 0, "valid", "");
    // What a variable alone decides is not looked at, and not forgotten.
    let example = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/configs/fly-to-s3-and-datadog.toml");
    check(
        &run(&["validate", "-c", example, "--no-environment"], &[]).await,
        0,
        "1 sink; not looked at: sinks.archive",
        "sinks.archive.bucket: it depends on the environment",
    );
    let bad_url = [("NATS", "http://u:s3cr3t@h"), ("LOKI_URL", "http://h"), ("PASSWORD", "p")];
    let output = run(&["validate", "-c", path], &bad_url).await;
    check(&output, 78, "", "sources.nats: url: server 1 of the list is not a URL");
    assert!(!stderr(&output).contains("s3cr3t"));
}

/// A shell's `<(command)` may come to nothing.
#[tokio::test]
async fn pipes_that_nobody_writes_into_hold_nothing_up() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let path = dir.path().join("vector.toml");
    let nats = NatsServer::start().await;
    let text = format!(
        "[sources.nats]\ntype='nats'\nurl='{}'\nconnection_name='x'\nsubject='logs.>'\n\
         auth={{strategy='credentials_file',credentials_file.path='{}'}}\n\
         [sinks.out]\ntype='blackhole'\ninputs=['nats']\n",
        nats.url(),
        pipe.display()
    );
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    check(&run(&["validate", "-c", path], &[]).await, 0, "valid: 1 source", "");
    // Who connects waits for the pipe, and nobody else does.
    let mut program = Program::start(&["run", "-c", path], &[], "shipping to 1 sink").await;
    program.signal("-HUP").await;
    program.wait_for_log("no component is different").await;
    program.signal("-TERM").await;
    let (code, log) = program.ended().await;
    assert_eq!(code, Some(0), "{log}");
}

/// Somebody believes that nothing is lost, or that nothing private is shipped.
#[tokio::test]
async fn variables_that_a_file_makes_void_are_told_where_that_hurts() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    let source = "[sources.nats]\ntype='nats'\nurl='nats://h'\nconnection_name='x'\nsubject='logs.>'\n";
    let sink = "[sinks.out]\ntype='blackhole'\ninputs=['nats']\n";
    let env = [("JETSTREAM_STREAM", "LOGS"), ("REDACT", "email")];
    for (options, warns) in
        [("", true), ("jetstream={stream='LOGS',consumer='c'}\nredact=['email']\n", false)]
    {
        std::fs::write(&path, format!("{source}{options}{sink}")).unwrap();
        let output = run(&["validate", "-c", path.to_str().unwrap()], &env).await;
        check(&output, 0, "valid: 1 source", "");
        for (name, _) in env {
            let words = format!("{name} has no effect with a configuration file");
            assert_eq!(stderr(&output).contains(&words), warns, "{}", stderr(&output));
        }
    }
}

#[tokio::test]
async fn generate_prints_what_run_would_use_without_secrets() {
    let env = [
        ("ACCESS_TOKEN", "s3cr3t"),
        ("AXIOM_TOKEN", "s3cr3t"),
        ("AXIOM_DATASET", "d"),
        ("SUBJECT", "logs.a.>"),
    ];
    let output = run(&["generate"], &env).await;
    check(&output, 0, "subject = \"logs.a.>\"", "");
    assert!(!stdout(&output).contains("s3cr3t") && stdout(&output).contains("${AXIOM_TOKEN}"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("generated.toml");
    std::fs::write(&path, &output.stdout).unwrap();
    check(
        &run(&["validate", "-c", path.to_str().unwrap()], &env).await,
        0,
        "1 source, 1 transform, 1 sink",
        "",
    );
}

#[tokio::test]
async fn the_files_that_are_printed_from_the_code_are_up_to_date() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let example = std::fs::read_to_string(root.join("vector.toml.example")).unwrap();
    let printed = stdout(&run(&["generate", "--example"], &[]).await);
    assert_eq!(example, printed, "run: log-shipper generate --example > vector.toml.example");
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let table = stdout(&run(&["providers", "--format", "markdown"], &[]).await);
    assert!(
        readme.contains(&table),
        "put the output of `log-shipper providers --format markdown` into the README:\n{table}"
    );
}

#[tokio::test]
async fn the_readmes_configuration_is_valid() {
    let readme = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let blocks: Vec<_> =
        readme.split("```toml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(!blocks.is_empty());
    for block in blocks {
        let path = dir.path().join("vector.toml");
        std::fs::write(&path, block).unwrap();
        let output = run(&["validate", "-c", path.to_str().unwrap()], &[("ACCESS_TOKEN", "t")]).await;
        check(&output, 0, "valid: 1 source, 0 transforms, 2 sinks", "");
    }
}

#[tokio::test]
async fn providers_show_what_is_set_and_what_is_missing() {
    let env = [("LOKI_URL", "http://h"), ("LOGTAIL_TOKEN", "s3cr3t")];
    let output = run(&["providers"], &env).await;
    check(&output, 0, "incomplete", "");
    assert!(!stdout(&output).contains("s3cr3t"));
    let output = run(&["providers", "--format", "json"], &env).await;
    let providers: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let state = |name: &str| {
        let provider =
            providers.as_array().unwrap().iter().find(|provider| provider["name"] == name).unwrap();
        (provider["state"].as_str().unwrap().to_owned(), provider["missing"].as_array().unwrap().len())
    };
    assert_eq!(state("loki"), ("incomplete".into(), 2));
    assert_eq!(state("better_stack"), ("on".into(), 0));
    assert_eq!(state("axiom"), ("off".into(), 0));
}

#[tokio::test]
async fn list_shows_components_and_their_options() {
    check(&run(&["list"], &[]).await, 0, "datadog_logs", "");
    check(&run(&["list", "sinks", "--options"], &[]).await, 0, "[sinks.loki]\ntype = \"loki\"", "");
    let output = run(&["list", "sources", "--format", "json"], &[]).await;
    let sources: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let names: Vec<_> =
        sources.as_array().unwrap().iter().map(|source| source["type"].as_str().unwrap()).collect();
    assert_eq!(names, ["demo_logs", "internal_metrics", "nats", "stdin"]);
}

#[tokio::test]
async fn completions_are_for_each_shell() {
    for (shell, words) in
        [("bash", "complete -F"), ("zsh", "#compdef log-shipper"), ("fish", "complete -c log-shipper")]
    {
        check(&run(&["completion", shell], &[]).await, 0, words, "");
    }
}

#[tokio::test]
async fn the_demo_ships_what_the_subject_says_and_ends_with_the_counts() {
    let lines = |output: &Output| -> Vec<serde_json::Value> {
        stdout(output).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let output = run(&["demo", "--count", "60", "--rate", "2000"], &[]).await;
    check(&output, 0, "", "sink console: received 60, delivered 60, rejected 0, dropped 0, buffered 0");
    assert_eq!(lines(&output).len(), 60);
    let output =
        run(&["demo", "--count", "60", "--rate", "2000"], &[("SUBJECT", "logs.*.ord.*, logs.sandwich.>")])
            .await;
    check(&output, 0, "", "received");
    let events = lines(&output);
    assert!((1..60).contains(&events.len()));
    assert!(
        events
            .iter()
            .all(|event| event["fly"]["region"] == "ord" || event["fly"]["app"]["name"] == "sandwich")
    );
}

#[tokio::test]
async fn the_demo_goes_on_until_it_is_interrupted() {
    let mut child = command(&["demo", "--rate", "100"], &[]).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for _ in 0..20 {
        let line = tokio::time::timeout(LIMIT, lines.next_line()).await.expect("no events").unwrap().unwrap();
        assert!(line.starts_with("{\"event\""), "{line}");
    }
    let log = BufReader::new(child.stderr.take().unwrap());
    let drained = tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    let (code, log) = end(child, log, "-INT").await;
    drained.await.unwrap();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("sink console: received") && log.contains("buffered 0"), "{log}");
}

#[tokio::test]
async fn the_demo_also_ships_to_every_destination_whose_secrets_are_set() {
    let http = HttpServer::start().await;
    let url = http.url("/");
    let env = [("HTTP_URL", url.as_str()), ("HTTP_TOKEN", "s3cr3t")];
    let output = run(&["demo", "--count", "25", "--rate", "1000"], &env).await;
    check(&output, 0, "", "sink http: received 25, delivered 25");
    assert!(!stderr(&output).contains("s3cr3t"));
    let events: usize = http.requests().iter().map(|request| request.json().as_array().unwrap().len()).sum();
    assert_eq!(events, 25);
}

#[tokio::test]
async fn standard_input_goes_through_a_configuration_to_standard_output() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    let text = "[sources.in]\ntype='stdin'\ndecoding.codec='json'\n\
                [transforms.rename]\ntype='remap'\ninputs=['in']\nsource='.b = del(.a)'\n\
                [sinks.out]\ntype='console'\ninputs=['rename']\nencoding.codec='json'\n";
    std::fs::write(&path, text).unwrap();
    for threads in ["1", "3"] {
        let mut command = command(&["run", "--threads", threads, "-c", path.to_str().unwrap()], &[]);
        let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(b"{\"a\":1}\nplain\n{\"a\":2}").await.unwrap();
        drop(stdin);
        let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
        check(&output, 0, "{\"b\":1}\n", "sink out: received 3, delivered 3");
        let lines = stdout(&output);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!((lines.len(), lines[2]), (3, "{\"b\":2}"));
        assert!(lines[1].contains("\"message\":\"plain\""), "{}", lines[1]);
    }
    let output = run(&["run", "--threads", "0"], &[]).await;
    check(&output, 64, "", "--threads");
}

#[tokio::test]
async fn transforms_send_events_through_their_named_outputs() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    let text = "[sources.in]\ntype='stdin'\ndecoding.codec='json'\n\
                [transforms.parse]\ntype='remap'\ninputs=['in']\nsource='. = parse_json!(.message)'\n\
                drop_on_error=true\nreroute_dropped=true\n\
                [transforms.by]\ntype='route'\ninputs=['parse']\nroute.errors='.level == \"error\"'\n\
                [transforms.low]\ntype='remap'\ninputs=['by._unmatched']\nsource='.low = true'\n\
                [transforms.seen]\ntype='filter'\ninputs=['low']\ncondition='.level != \"debug\"'\n\
                [sinks.out]\ntype='console'\ninputs=['by.errors','seen','parse.dropped']\nencoding.codec='json'\n";
    std::fs::write(&path, text).unwrap();
    let mut command = command(&["run", "-c", path.to_str().unwrap()], &[]);
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = r#"{"message":"{\"level\": \"error\",\"n\":1.50}"}
{"message":"{\"level\":\"info\"}"}
{"message":"{\"level\":\"debug\"}"}
plain
"#;
    stdin.write_all(lines.as_bytes()).await.unwrap();
    drop(stdin);
    let output = tokio::time::timeout(LIMIT, child.wait_with_output()).await.unwrap().unwrap();
    check(&output, 0, "{\"level\": \"error\",\"n\":1.50}\n", "sink out: received 3, delivered 3");
    check(&output, 0, "{\"level\":\"info\",\"low\":true}\n", "");
    check(&output, 0, "{\"message\":\"plain\"", "");
    check(&output, 0, "\"component_id\":\"parse\"", "");
}

#[tokio::test]
async fn vrl_runs_a_program_on_each_line() {
    let dir = tempfile::tempdir().unwrap();
    let (events, program) = (dir.path().join("events.jsonl"), dir.path().join("program.vrl"));
    std::fs::write(&events, "{\"a\":1,\"n\":1.50}\n\n{\"a\":\"x\"}\nplain\n").unwrap();
    std::fs::write(&program, ". = [.a, {\"b\": .message}]").unwrap();
    let (events, program) = (events.to_str().unwrap(), program.to_str().unwrap());

    let output = run(&["vrl", ".b = del(.a)\ndel(.timestamp)", "--input", events], &[]).await;
    check(&output, 0, "{\"n\":1.50,\"b\":1}\n{\"b\":\"x\"}\n{\"message\":\"plain\",\"b\":null}\n", "");
    let output = run(&["vrl", "--file", program, "--input", events], &[]).await;
    check(
        &output,
        0,
        "{\"message\":1}\n{\"b\":null}\n{\"message\":\"x\"}\n{\"b\":null}\n{\"message\":null}\n{\"b\":\"plain\"}\n",
        "",
    );
    let output = run(&["vrl", "-r", "to_int!(.a) + 1", "-i", events], &[]).await;
    check(&output, 1, "2\n1\n", "line 3: error[E000]: function call error for \"to_int\" at (0:11)");
    check(&output, 1, "", "the program failed on an event");
    // Standard input is empty here.
    check(&run(&["vrl", ".b = 1"], &[]).await, 0, "", "");
    check(&run(&["vrl", "-n", ".b = 1"], &[]).await, 0, "{\"b\":1}\n", "");
    let date = "to_unix_timestamp(parse_timestamp!(\"2026-11-22 05:00\", \"%F %H:%M\"))";
    let output = run(&["vrl", "-n", "-r", date, "--timezone", "Asia/Tokyo"], &[]).await;
    check(&output, 0, "1795291200\n", "");
    check(&run(&["vrl", ".a ="], &[]).await, 78, "", "error[E204]: syntax error");
    check(&run(&["vrl", ".", "--timezone", "Mars"], &[]).await, 78, "", "--timezone: `Mars` is no time zone");
    check(&run(&["vrl", "--file", "/no/such.vrl"], &[]).await, 78, "", "/no/such.vrl: cannot be read");
    check(&run(&["vrl", ".", "-i", "/no/such"], &[]).await, 1, "", "/no/such: cannot be read");
    check(&run(&["vrl"], &[]).await, 64, "", "error: ");
}

/// Starts `run` with these arguments and variables, and waits until its log has these words.
async fn start(
    args: &[&str],
    env: &[(&str, &str)],
    words: &str,
) -> (tokio::process::Child, BufReader<tokio::process::ChildStderr>) {
    let mut child = command(args, env).spawn().unwrap();
    let mut log = BufReader::new(child.stderr.take().unwrap());
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        let read =
            tokio::time::timeout(LIMIT, log.read_line(&mut line)).await.expect("no such line in the log");
        assert_ne!(read.unwrap(), 0, "the command has ended");
    }
    (child, log)
}

async fn end(
    mut child: tokio::process::Child,
    mut log: BufReader<tokio::process::ChildStderr>,
    signal: &str,
) -> (Option<i32>, String) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args([signal, &pid]).status().await.unwrap().success());
    let mut text = String::new();
    let rest = tokio::io::AsyncReadExt::read_to_string(&mut log, &mut text);
    tokio::time::timeout(LIMIT, rest).await.expect("it does not stop").unwrap();
    let status = tokio::time::timeout(LIMIT, child.wait()).await.expect("it does not stop").unwrap();
    (status.code(), text)
}

#[tokio::test]
async fn a_signal_delivers_what_is_left_and_reports_the_counts() {
    let nats = NatsServer::start().await;
    let http = HttpServer::start().await;
    let (nats_url, url) = (nats.url(), http.url("/"));
    let env = [("NATS_URL", nats_url.as_str()), ("HTTP_URL", &url), ("HTTP_TOKEN", "s3cr3t")];
    for signal in ["-TERM", "-INT"] {
        let (child, log) = start(&["run"], &env, "connected to NATS").await;
        nats.wait_for_subscription("logs.>").await;
        let before = http.requests().len();
        let mut publisher = Publisher::connect(&nats.url(), None).await;
        publisher.publish_events(0..500).await;
        publisher.flush().await;
        let (code, log) = end(child, log, signal).await;
        assert_eq!(code, Some(0), "{log}");
        assert!(
            log.contains("sink http: received 500, delivered 500, rejected 0, dropped 0, buffered 0"),
            "{log}"
        );
        assert!(!log.contains("s3cr3t"), "{log}");
        let events: usize =
            http.requests()[before..].iter().map(|request| request.json().as_array().unwrap().len()).sum();
        assert_eq!(events, 500);
        while nats.subscriptions().await.iter().any(|subject| subject == "logs.>") {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn the_log_says_who_has_to_begin_with_tls() {
    let destination = [("HTTP_URL", "http://127.0.0.1:1"), ("HTTP_TOKEN", "t")];
    let certificates = Certificates::generate();
    let tls = TlsFiles { handshake_first: Some("true"), ..certificates.tls() };
    let nats = NatsServer::with(Options { tls: Some(tls), ..Options::default() }).await;
    let url = nats.url().replace("127.0.0.1", "localhost");
    let env = [("NATS_URL", url.as_str()), ("NATS_CA", &certificates.ca_pem)];
    let env = [&env[..], &destination].concat();
    start(&["run"], &env, "wants TLS first (its handshake_first), set tls_first (NATS_TLS_FIRST=true)").await;
    let first = [&env[..], &[("NATS_TLS_FIRST", "true")]].concat();
    start(&["run"], &first, "connected to NATS").await;

    // Without TLS, and with TLS after INFO.
    for tls in [None, Some(certificates.tls())] {
        let nats = NatsServer::with(Options { tls, ..Options::default() }).await;
        let url = nats.url();
        let env = [("NATS_URL", url.as_str()), ("NATS_TLS_FIRST", "true")];
        let env = [&env[..], &destination].concat();
        start(&["run"], &env, "the server does not begin with TLS").await;
    }
}

#[tokio::test]
async fn what_is_not_delivered_before_the_deadline_is_reported_as_a_failure() {
    let nats = NatsServer::start().await;
    let http = HttpServer::start().await;
    http.default_reply(Reply::Never);
    let (nats_url, url) = (nats.url(), http.url("/"));
    let env = [
        ("NATS_URL", nats_url.as_str()),
        ("HTTP_URL", &url),
        ("HTTP_TOKEN", "t"),
        ("LOG_SHIPPER_LOG_FORMAT", "json"),
    ];
    let args = ["run", "--graceful-shutdown-limit-secs", "0.3"];
    let (child, log) = start(&args, &env, "connected to NATS").await;
    nats.wait_for_subscription("logs.>").await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    publisher.publish_events(0..10).await;
    publisher.flush().await;
    http.wait_for(1).await;
    let (code, log) = end(child, log, "-TERM").await;
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("dropped 10 (shutdown 10)"), "{log}");
    for line in log.lines().filter(|line| !line.starts_with("log-shipper:")) {
        assert!(serde_json::from_str::<serde_json::Value>(line).is_ok(), "not JSON: {line}");
    }
}

#[tokio::test]
async fn an_unhealthy_destination_keeps_it_from_starting_only_if_told_so() {
    let http = HttpServer::start().await;
    http.default_reply(Reply::status(401).body("unknown key s3cr3t-key"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    let text = format!(
        "[sources.in]\ntype='demo_logs'\nformat='fly'\ncount=0\n\
         [sinks.honeycomb]\ntype='honeycomb'\ninputs=['in']\napi_key='s3cr3t-key'\ndataset='d'\nendpoint='{}'\n",
        http.url("")
    );
    std::fs::write(&path, text).unwrap();
    let path = path.to_str().unwrap();
    let output = run(&["run", "-c", path, "--require-healthy"], &[]).await;
    check(
        &output,
        78,
        "",
        "sinks.honeycomb: healthcheck failed: the destination does not accept our credentials",
    );
    assert!(!stderr(&output).contains("s3cr3t"), "{}", stderr(&output));
    check(&run(&["run", "-c", path], &[]).await, 0, "", "");
    // A look that is a request like others is made when it is required.
    let text = format!(
        "[sources.in]\ntype='demo_logs'\nformat='fly'\ncount=0\n\
         [sinks.any]\ntype='http'\ninputs=['in']\nencoding.codec='json'\nuri='{}'\n",
        http.url("/in")
    );
    std::fs::write(path, text).unwrap();
    check(&run(&["run", "-c", path, "-r"], &[]).await, 78, "", "sinks.any: healthcheck failed");
    check(&run(&["run", "-c", path], &[]).await, 0, "", "");
}

#[tokio::test]
async fn check_tells_a_bad_key_from_a_destination_that_is_down() {
    let nats = NatsServer::start().await;
    let (good, bad) = (HttpServer::start().await, HttpServer::start().await);
    bad.default_reply(Reply::status(403).body("unknown token"));
    let (good_url, bad_url, nats_url) = (good.url(""), bad.url("/in"), nats.url());
    let well = [
        ("NATS_URL", nats_url.as_str()),
        ("LOKI_URL", good_url.as_str()),
        ("LOKI_USERNAME", "u"),
        ("LOKI_PASSWORD", "p"),
    ];
    let output = run(&["check"], &well).await;
    check(&output, 0, "sinks.loki    127.0.0.1", "");
    check(&output, 0, "sources.nats  nats://127.0.0.1", "");
    assert_eq!(stdout(&output).matches(" ok ").count(), 2, "{}", stdout(&output));
    assert_eq!(good.requests()[0].path_and_query, "/ready");

    let more = [
        ("HTTP_URL", bad_url.as_str()),
        ("HTTP_TOKEN", "s3cr3t"),
        ("SLACK_WEBHOOK_URL", "http://127.0.0.1:9/s3cr3t"),
        ("SLACK_ALERT_KEYWORDS", "x"),
        ("ERASEARCH_URL", "http://127.0.0.1:9"),
        ("ERASEARCH_AUTH", "s3cr3t"),
        ("ERASEARCH_INDEX", "i"),
    ];
    let all = [&well[..], &more].concat();
    let output = run(&["check"], &all).await;
    check(&output, 1, "bad key    ", "2 of 5 are not well");
    for words in ["check the key, token or password", "unknown token", "down       ", "not asked"] {
        check(&output, 1, words, "");
    }
    let output = run(&["check", "--format", "json"], &all).await;
    let findings: serde_json::Value = serde_json::from_str(&stdout(&output)).unwrap();
    let results: Vec<_> = findings.as_array().unwrap().iter().map(|finding| &finding["result"]).collect();
    assert_eq!(results, ["ok", "not asked", "bad key", "ok", "down"]);
    assert!(!format!("{}{}", stdout(&output), stderr(&output)).contains("s3cr3t"));
    // The question is a batch with nothing in it.
    assert_eq!(bad.requests()[0].text(), "[]");

    drop(nats);
    check(&run(&["check"], &well).await, 1, "cannot connect to NATS", "1 of 2 are not well");
}

#[tokio::test]
async fn check_has_advice_for_each_kind_of_failure() {
    let (nats, loki) = (NatsServer::start().await, HttpServer::start().await);
    let closed = Options { user_password: Some(("u".into(), "p".into())), ..Options::default() };
    let closed = NatsServer::with(closed).await;
    let certificates = Certificates::generate();
    let private = NatsServer::with(Options { tls: Some(certificates.tls()), ..Options::default() }).await;
    let (good_nats, good_loki) = (nats.url(), loki.url(""));
    let private = private.url().replace("nats://", "tls://").replace("127.0.0.1", "localhost");
    let plain = good_loki.replace("http://", "https://");
    let tls_to_plain = good_nats.replace("nats://", "tls://");
    for (replaced, words) in [
        (("NATS_URL", closed.url().as_str()), "(on Fly.io ORG and ACCESS_TOKEN)"),
        (("NATS_URL", "nats://127.0.0.1:1"), "nothing listens there"),
        (("NATS_URL", &private), "give that as tls.ca_file (NATS_CA for NATS)"),
        (("NATS_URL", &tls_to_plain), "TLS"),
        (("NATS_URL", "nats://nowhere.invalid"), "the name has no address"),
        (("JETSTREAM_STREAM", "S"), "enable JetStream on the server"),
        (("LOKI_URL", "http://127.0.0.1:1"), "in a container, localhost is the container itself"),
        (("LOKI_URL", "http://nowhere.invalid"), "the name has no address"),
        (("LOKI_URL", &plain), "it does not speak TLS at this port"),
    ] {
        let mut env = vec![
            ("NATS_URL", good_nats.as_str()),
            ("LOKI_URL", &good_loki),
            ("LOKI_USERNAME", "u"),
            ("LOKI_PASSWORD", "s3cr3t"),
        ];
        env.retain(|(name, _)| *name != replaced.0);
        env.push(replaced);
        let output = run(&["check"], &env).await;
        check(&output, 1, words, "1 of 2 are not well");
    }
    let well = [("NATS_URL", good_nats.as_str()), ("HTTP_URL", &good_loki), ("HTTP_TOKEN", "s3cr3t")];
    for (status, words) in [
        (401, "check the key, token or password, and what it may do (HTTP_"),
        (404, "check the address, and the name of the dataset, index, bucket or stream (HTTP_"),
        (503, "the destination has a problem of its own"),
    ] {
        loki.default_reply(Reply::status(status));
        check(&run(&["check"], &well).await, 1, words, "1 of 2 are not well");
    }
    loki.default_reply(Reply::status(200));
    check(&run(&["check"], &well).await, 0, " ok ", "2 of 2 are well");
}

#[tokio::test]
async fn a_closed_pipe_ends_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    let text = "[sources.in]\ntype='demo_logs'\nformat='fly'\ninterval=0.001\n\
                [sinks.out]\ntype='console'\ninputs=['in']\nencoding.codec='json'\n";
    std::fs::write(&path, text).unwrap();
    let mut child = command(&["run", "-c", path.to_str().unwrap()], &[]).spawn().unwrap();
    drop(child.stdout.take());
    let output =
        tokio::time::timeout(LIMIT, child.wait_with_output()).await.expect("it does not stop").unwrap();
    check(&output, 1, "", "sink out: cannot write to Stdout");
}

/// Reads the log until it has these words.
async fn wait_for_log(log: &mut BufReader<tokio::process::ChildStderr>, words: &str) {
    let mut line = String::new();
    while !line.contains(words) {
        line.clear();
        let read = tokio::time::timeout(LIMIT, log.read_line(&mut line)).await;
        assert_ne!(read.unwrap_or_else(|_| panic!("not in the log: {words}")).unwrap(), 0, "it has ended");
    }
}

async fn hang_up(child: &tokio::process::Child) {
    let pid = child.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-HUP", &pid]).status().await.unwrap().success());
}

/// A token in a file is replaced while the destination refuses the old one.
#[tokio::test]
async fn a_new_token_in_its_file_is_taken_by_itself() {
    let nats = NatsServer::start().await;
    let http = HttpServer::start().await;
    http.respond_with(|request| match request.header("authorization") {
        Some("Bearer new") => Reply::status(200),
        _ => Reply::status(401),
    });
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "old\n").unwrap();
    let (nats_url, url) = (nats.url(), http.url("/"));
    let env =
        [("NATS_URL", nats_url.as_str()), ("HTTP_URL", &url), ("HTTP_TOKEN_FILE", token.to_str().unwrap())];
    let (child, mut log) = start(&["run", "--watch-config"], &env, "connected to NATS").await;
    nats.wait_for_subscription("logs.>").await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    publisher.publish_events(0..100).await;
    publisher.flush().await;
    http.wait_for(1).await;
    // As Kubernetes and editors do it: another file of the same name.
    std::fs::write(dir.path().join("other"), "new\n").unwrap();
    std::fs::rename(dir.path().join("other"), &token).unwrap();
    wait_for_log(&mut log, "reloaded: changed sinks.http").await;
    http.wait_until(|requests| requests.iter().any(|r| r.header("authorization") == Some("Bearer new")))
        .await;
    let (code, log) = end(child, log, "-TERM").await;
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("sink http: received 100, delivered 100"), "{log}");
}

#[tokio::test]
async fn a_signal_reloads_and_a_bad_configuration_is_refused() {
    let nats = NatsServer::start().await;
    let http = HttpServer::start().await;
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    let text = format!(
        "sources.nats = {{type = 'nats', url = '{}', connection_name = 'x', subject = 'logs.>', decoding.codec = 'json'}}\n\
         sinks.out = {{type = 'http', inputs = ['nats'], uri = '{}', encoding.codec = 'json', healthcheck = false}}\n",
        nats.url(),
        http.url("/out")
    );
    std::fs::write(&path, &text).unwrap();
    let (child, mut log) = start(&["run", "-c", path.to_str().unwrap()], &[], "connected to NATS").await;
    nats.wait_for_subscription("logs.>").await;
    std::fs::write(&path, format!("{text}sinks.bad = {{type = 'nope', inputs = ['nats']}}\n")).unwrap();
    hang_up(&child).await;
    wait_for_log(&mut log, "the new configuration is refused, and the old one goes on").await;
    std::fs::write(&path, format!("{text}sinks.more = {{type = 'blackhole', inputs = ['nats']}}\n")).unwrap();
    hang_up(&child).await;
    wait_for_log(&mut log, "reloaded: added sinks.more").await;
    hang_up(&child).await;
    wait_for_log(&mut log, "reloaded: no component is different").await;
    let mut publisher = Publisher::connect(&nats.url(), None).await;
    publisher.publish_events(0..100).await;
    publisher.flush().await;
    http.wait_for(1).await;
    let (code, log) = end(child, log, "-TERM").await;
    assert_eq!(code, Some(0), "{log}");
    for sink in ["out", "more"] {
        assert!(log.contains(&format!("sink {sink}: received 100, delivered 100")), "{log}");
    }
}

/// A configuration with transforms, and these tests of them.
fn with_tests(tests: &str) -> String {
    format!(
        r#"
        sources.in = {{type = "nats", url = "${{URL}}", connection_name = "x", subject = "logs.>"}}
        transforms.parse = {{type = "remap", inputs = ["in"], source = """
            . = parse_json!(.message)
            if exists(.drop) {{ abort }}
        """, drop_on_error = true, reroute_dropped = true}}
        transforms.by_level = {{type = "route", inputs = ["parse"], route.errors = '.level == "error"'}}
        transforms.joined = {{type = "reduce", inputs = ["by_level.errors"]}}
        sinks.out = {{type = "http", inputs = ["joined", "parse.dropped", "by_level._unmatched"], uri = "${{URL}}", encoding.codec = "json"}}
        {tests}
        "#
    )
}

#[tokio::test]
async fn tests_of_a_configuration_pass_and_fail() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    let path = path.to_str().unwrap();
    let run_tests = async |tests: &str| {
        std::fs::write(path, with_tests(tests)).unwrap();
        run(&["test", path], &[]).await
    };
    let good = r#"
        [[tests]]
        name = "errors are joined at the end"
        inputs = [
            {insert_at = "parse", value = '{"level":"error","n":1}'},
            {insert_at = "parse", type = "vrl", source = '.message = encode_json({"level": "error", "n": 2})'},
            {insert_at = "by_level", type = "log", log_fields = {level = "error", n = 4}},
            {insert_at = "parse", value = '{"level":"info"}'},
        ]
        no_outputs_from = ["parse.dropped"]
        [[tests.outputs]]
        extract_from = "joined"
        conditions = ["assert_eq!(.n, 7)", {type = "vrl", source = '.level == "error"'}, {type = "is_log"}]
        [[tests.outputs]]
        # Each condition holds for one of the events.
        extract_from = ["by_level.errors", "by_level._unmatched"]
        conditions = ['.n == 1', '.n == 4', '.level == "info"']
        [[tests.outputs]]
        extract_from = ["by_level._unmatched"]
        conditions = ['.level == "info"']
        [[tests]]
        name = "what cannot be parsed is rerouted"
        input = {insert_at = "parse", value = "plain"}
        outputs = [{extract_from = "parse.dropped", conditions = ['.metadata.dropped.reason == "error"']}]
        no_outputs_from = ["parse"]
    "#;
    let output = run_tests(good).await;
    check(&output, 0, "test errors are joined at the end ... passed", "");
    check(&output, 0, "test what cannot be parsed is rerouted ... passed", "");

    let bad = r#"
        [[tests]]
        name = "wrong"
        input = {insert_at = "parse", value = '{"level":"info"}'}
        outputs = [
            {extract_from = "parse", conditions = ['assert_eq!(.level, "warn", message: "not a warning")', '.level == "x"']},
            {extract_from = ["joined", "by_level.errors"]},
        ]
        no_outputs_from = ["by_level._unmatched"]
        [[tests]]
        name = "unknown"
        input = {insert_at = "nowhere", value = "x"}
        outputs = [{extract_from = "out"}]
    "#;
    let output = run_tests(bad).await;
    for words in [
        "test wrong ... failed",
        "conditions[0]: not a warning",
        "conditions[1]: it does not hold",
        "nothing came out of `joined`, `by_level.errors`",
        "nothing should come out of `by_level._unmatched`, but this did: {\"level\":\"info\"}",
        "insert_at: no transform is called `nowhere`",
        "no transform has an output `out`",
    ] {
        check(&output, 1, words, "2 of 2 tests failed");
    }
    check(&run_tests("").await, 78, "", "there is no [[tests]]");
    check(
        &run_tests("[[tests]]\nname = 'x'\ninptus = []").await,
        78,
        "",
        "tests[0].inptus: unknown field `inptus`",
    );
}

/// A program that does not compile is told together with what is wrong elsewhere.
#[tokio::test]
async fn mistakes_of_programs_come_with_all_others() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.yaml");
    let text = "sources:\n  in: {type: stdin, max_lenth: 1}\ntransforms:\n  t:\n    type: remap\n    inputs: [in]\n    \
                source: |\n      .a = upcase(.b)\nsinks:\n  out: {type: blackhole, inputs: [t]}\n";
    std::fs::write(&path, text).unwrap();
    let output = run(&["validate", path.to_str().unwrap()], &[]).await;
    check(&output, 78, "", "unknown field `max_lenth`; did you mean `max_length`?");
    check(&output, 78, "", "error[E103]: unhandled fallible assignment");
    check(&output, 78, "", "vector.yaml:8:7");
}

#[tokio::test]
async fn a_topology_is_drawn_without_its_secrets() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("vector.toml");
    std::fs::write(&path, with_tests("")).unwrap();
    let path = path.to_str().unwrap();
    let output = run(&["graph", "-c", path], &[]).await;
    check(&output, 0, "n0([\"in<br><small>nats</small>\"])", "");
    check(&output, 0, "n2 -->|\"errors\"| n3", "");
    let output = run(&["graph", "-c", path, "--format", "dot"], &[]).await;
    check(&output, 0, "n1 -> n4 [label = \"dropped\"]", "");
}
