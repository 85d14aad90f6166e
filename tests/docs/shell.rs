//! A page's commands, run by bash in a directory of their own: log-shipper is the real one, against a real NATS
//! server and an HTTP server; what the page has of `fly`, `docker`, `kubectl` and the like does nothing.

use super::blocks;
use super::markdown::{Page, root};
use super::support::http_server::HttpServer;
use super::support::jetstream::JetStream;
use super::support::nats_server::{NatsServer, Options};
use serde_json::json;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;
use tokio::process::Command;
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);

/// Programs that are only called.
const STAND_INS: &[&str] = &[
    "cp",
    "curl",
    "docker",
    "fly",
    "git",
    "install",
    "journalctl",
    "kubectl",
    "make",
    "nats",
    "nats-server",
    "sudo",
    "systemctl",
];

/// What log-shipper says once it runs.
const RUNS: &str = "connected to NATS|cannot connect to NATS|reading through|sample apps publish";

/// What the commands find at the addresses that pages have.
pub struct Servers {
    nats: NatsServer,
    pub http: HttpServer,
}

impl Servers {
    pub async fn start() -> Servers {
        let nats = NatsServer::with(Options { jetstream: true, ..Options::default() }).await;
        let client = JetStream::connect(nats.url()).await;
        let answer = client.ask("STREAM.CREATE.LOGS", json!({"name": "LOGS", "subjects": ["logs.>"]})).await;
        assert!(answer["error"].is_null(), "{answer}");
        let event = r#"{"message":"slow","level":"warn"}"#;
        client.client.publish("logs.web.lhr.machine0", event.into()).await.unwrap();
        client.client.flush().await.unwrap();
        Servers { nats, http: HttpServer::start().await }
    }

    /// The text with addresses and values that are there.
    fn fill_in(&self, text: &str, home: &Path) -> String {
        let nats = format!("127.0.0.1:{}", self.nats.port());
        let text = text.replace("localhost:4222", &nats).replace("[fdaa::3]:4223", &nats);
        let text = text.replace("/var/log", &home.join("log").display().to_string());
        // Several run at once, and `API_ADDRESS` is not for files.
        let api = "[api]\nenabled = true\n";
        let text = text.replace(api, &format!("{api}address = \"127.0.0.1:0\"\n"));
        let vendor = regex::Regex::new(r"https://[a-z.-]+\.example").unwrap();
        let text = vendor.replace_all(&text, self.http.url("").trim_end_matches('/'));
        let value = regex::Regex::new(r"\b([A-Z][A-Z0-9_]*)=\.\.\.").unwrap();
        let url = self.http.url("/ingest");
        let value = value.replace_all(&text, |found: &regex::Captures<'_>| {
            let name = &found[1];
            let is_address = ["URL", "URI", "ENDPOINT"].iter().any(|word| name.ends_with(word));
            format!("{name}={}", if is_address { &url } else { "x" })
        });
        value.into_owned()
    }
}

/// Runs all commands of a page, in order; each finds the configurations that stand before it as `vector.toml`. The error
/// is what went wrong.
pub async fn try_run(page: &Page, servers: &Servers) -> Result<(), String> {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path();
    prepare(home);
    // What would read Fly.io's own NATS reads ours.
    let url = servers.nats.url();
    let mut script = format!("set -eo pipefail\nexport NATS_URL={url}\n");
    script.push_str("trap 'code=$?; log-shipper stop || code=$?; exit $code' EXIT\n");
    for block in blocks(page, &["sh", "toml", "yaml"]) {
        let text = servers.fill_in(&block.text, home);
        match block.language.as_str() {
            "sh" => {
                writeln!(script, "echo '--- line {}' >&2", block.line).unwrap();
                script.push_str(&text);
            }
            _ if block.has("part") => {}
            language => {
                writeln!(script, "cat > vector.{language} <<'END OF FILE'\n{text}END OF FILE").unwrap();
            }
        }
    }
    let path = format!("{}:/usr/local/bin:/usr/bin:/bin", home.join("bin").display());
    let mut bash = Command::new("bash");
    bash.args(["-c", &script]).current_dir(home).env_clear().env("PATH", path).env("HOME", home);
    // Several run at once.
    bash.env("API_ADDRESS", "off").env("METRICS_ADDRESS", "off");
    bash.stdin(Stdio::null()).kill_on_drop(true);
    let output = timeout(LIMIT, bash.output()).await.map_err(|_| "it takes too long".to_owned())?;
    let output = output.map_err(|error| error.to_string())?;
    let said = String::from_utf8_lossy(&output.stderr);
    match output.status.success() && !said.contains("ERROR") {
        true => Ok(()),
        false => Err(format!("{}: {}:\n{script}\nsays\n{said}", page.path.display(), output.status)),
    }
}

/// Puts the programs and files that commands name where they are looked for.
fn prepare(home: &Path) {
    std::fs::create_dir_all(home.join("bin")).unwrap();
    std::fs::create_dir_all(home.join("target/release")).unwrap();
    let program = |path: &str, text: &str| {
        let path = home.join(path);
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    };
    for name in STAND_INS {
        program(&format!("bin/{name}"), "#!/bin/sh\nexit 0\n");
    }
    // What would run for ever goes on behind the commands that follow, until the next one, or the page's end.
    let real = env!("CARGO_BIN_EXE_log-shipper");
    let wrapper = format!(
        r#"#!/bin/bash
stop() {{
  [ -e "$HOME/pid" ] || return 0
  kill -TERM "$(cat "$HOME/pid")" 2>/dev/null
  for i in $(seq 1500); do [ -e "$HOME/code" ] && break; sleep 0.02; done
  cat "$HOME/run.log" >&2
  code=$(cat "$HOME/code" || echo 98)
  rm -f "$HOME/pid" "$HOME/code"
  return "$code"
}}
case "${{1:-run}}" in
  stop) stop; exit ;;
  run|-*) case "$*" in *--help*|--version) exec "{real}" "$@" ;; esac ;;
  demo) case "$*" in *--count*) exec "{real}" "$@" ;; esac ;;
  test)
    # A page need not have tests to show how they are run.
    said=$("{real}" "$@" 2>&1) || [[ "$said" == *"there is no [[tests]]"* ]] || {{ echo "$said" >&2; exit 1; }}
    exit 0 ;;
  *) exec "{real}" "$@" ;;
esac
stop || exit
: > "$HOME/run.log"
(
  "{real}" "$@" 2>"$HOME/run.log" & echo $! > "$HOME/pid"
  wait $!; echo $? > "$HOME/code.new"; mv "$HOME/code.new" "$HOME/code"
) &
for i in $(seq 1500); do
  grep -qE "{RUNS}" "$HOME/run.log" && exit 0
  [ -e "$HOME/code" ] && break
  sleep 0.02
done
stop && echo "it does not run" >&2
exit 99
"#
    );
    program("bin/log-shipper", &wrapper);
    program("target/release/log-shipper", &wrapper);
    // What `cargo run` would build is there already; the rest of cargo does nothing.
    let cargo = r#"#!/bin/bash
while [ "$#" -gt 0 ]; do
  [ "$1" = -- ] && { shift; exec log-shipper "$@"; }
  shift
done
"#;
    program("bin/cargo", cargo);
    // A publisher that knows as much of NATS's protocol as it needs.
    let nats = r#"#!/bin/bash
[ "$1" = pub ] || exit 0
address=${NATS_URL#nats://}
exec 3<>"/dev/tcp/${address%:*}/${address#*:}"
printf 'CONNECT {"verbose":false}\r\nPUB %s %d\r\n%s\r\nPING\r\n' "$2" "${#3}" "$3" >&3
while read -r line <&3; do case "$line" in PONG*) exit 0 ;; -ERR*) echo "$line" >&2; exit 1 ;; esac; done
exit 1
"#;
    program("bin/nats", nats);
    // Somebody's own.
    std::fs::copy(root().join("examples/configs/fly-to-loki.toml"), home.join("vector.toml")).unwrap();
    let event = r#"{"log":{"level":"warn"},"level":"warn","message":"m","timestamp":"2026-01-02T03:04:05Z"}"#;
    std::fs::write(home.join("events.jsonl"), format!("{event}\n")).unwrap();
}
