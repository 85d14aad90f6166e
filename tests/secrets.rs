//! No secret is in what the program says, whatever is asked of it: every command, with every secret set, against
//! destinations and a NATS server that repeat what they were sent.

mod support;

use aho_corasick::AhoCorasick;
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use futures::stream::{self, StreamExt};
use log_shipper::providers::PROVIDERS;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use support::http_server::{HttpServer, Reply, Request};
use support::program;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(10);

// === the secrets, and how they are looked for ===

/// The words that must not be seen, two in each secret, so that half of one is found too.
#[derive(Default)]
struct Markers {
    /// What each belongs to, and the word.
    words: Vec<(String, String)>,
    /// Looks for all forms of all words at once: the texts are long, and tests are not optimised.
    searcher: OnceLock<AhoCorasick>,
}

/// How many forms a word has.
const FORMS: usize = 7;

impl Markers {
    fn add(&mut self, name: &str, word: String) {
        self.words.push((name.to_owned(), word));
        self.searcher = OnceLock::new();
    }

    /// A word that is nowhere else.
    fn word(&mut self, name: &str) -> String {
        let word = format!("Zq{:02}Marker{:02}xK", self.words.len(), self.words.len() * 7 % 100);
        self.add(name, word.clone());
        word
    }

    /// A secret with everything in it that has ever broken a configuration made of text.
    fn awkward(&mut self, name: &str) -> String {
        format!(r##"{}"q\z$HOME ${{X}} 'r' #{{s}} %Y {{{{ t }}}} {}"##, self.word(name), self.word(name))
    }

    /// A secret that stands in a URL.
    fn word_of_url(&mut self, name: &str) -> String {
        format!("{}-{}", self.word(name), self.word(name))
    }

    /// A secret of the form that a variable expects.
    fn uuid(&mut self, name: &str) -> String {
        let n = self.words.len();
        let uuid = format!("9e885f1a-0e02-4a3c-9b5e-6f7b1e3f{n:04}");
        self.add(name, format!("6f7b1e3f{n:04}"));
        uuid
    }

    /// The secrets in a text: as they are, which is also how JSON and URLs write their words, and in base64.
    fn found_in(&self, text: &str) -> Vec<String> {
        let searcher = self.searcher.get_or_init(|| {
            let forms: Vec<_> = self.words.iter().flat_map(|(_, word)| forms(word)).collect();
            AhoCorasick::new(forms).expect("not too many words")
        });
        // Of each word, where it is first.
        let mut found = BTreeMap::new();
        for hit in searcher.find_overlapping_iter(text) {
            found.entry(hit.pattern().as_usize() / FORMS).or_insert(hit.range());
        }
        let show = |(word, at): (usize, Range<usize>)| {
            let start = text.floor_char_boundary(at.start.saturating_sub(300));
            let end = text.ceil_char_boundary((at.start + 100).min(text.len()));
            format!("{} ({}): ...{}...", self.words[word].0, &text[at], &text[start..end])
        };
        found.into_iter().map(show).collect()
    }
}

/// A word as it is, and what it becomes inside of base64, wherever it begins there.
fn forms(word: &str) -> [String; FORMS] {
    let mut forms = vec![word.to_owned()];
    for offset in 0..3 {
        let bytes = [&b"___"[..offset], word.as_bytes()].concat();
        // Without the first letters, which what stands before has a part in, and the last ones.
        let (start, end) = (offset.div_ceil(3) * 4, bytes.len() / 3 * 4);
        for engine in [&STANDARD, &URL_SAFE] {
            forms.push(engine.encode(&bytes)[start..end].to_owned());
        }
    }
    forms.try_into().expect("so many")
}

#[test]
fn a_secret_is_found_in_every_form() {
    let mut markers = Markers::default();
    let secret = markers.awkward("A");
    for text in [
        format!("x{secret}y"),
        serde_json::to_string(&secret).unwrap(),
        format!("{secret:?}"),
        STANDARD.encode(format!("user:{secret}")),
        STANDARD.encode(format!("user1:{secret}")),
        STANDARD.encode(format!("user12:{secret}")),
        percent_encoding::utf8_percent_encode(&secret, percent_encoding::NON_ALPHANUMERIC).to_string(),
        // The end of it alone.
        secret[secret.len() - 20..].to_owned(),
    ] {
        assert!(!markers.found_in(&text).is_empty(), "{text}");
    }
    assert!(markers.found_in("Zq00 and Marker").is_empty());
}

// === destinations and a server that repeat what they hear ===

/// What came, as often as a destination could think of it: as it is, in JSON, decoded, in a URL.
fn repeat(request: &Request) -> String {
    let mut text = format!("no: {} ", request.path_and_query);
    for (name, value) in &request.headers {
        let value = String::from_utf8_lossy(value.as_bytes());
        let bare = value.split_once(' ').map_or(&*value, |(_, rest)| rest);
        let decoded = STANDARD.decode(bare).map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        let _ = write!(
            text,
            "{name}={value} {} {} {} ",
            serde_json::to_string(bare).unwrap(),
            percent_encoding::utf8_percent_encode(bare, percent_encoding::NON_ALPHANUMERIC),
            decoded.unwrap_or_default(),
        );
    }
    text
}

/// Headers that are of no interest, and would push what is out of the beginning that the log shows.
fn interesting(request: &Request) -> Request {
    let mut request = request.clone();
    for name in ["host", "accept", "content-length", "content-type", "content-encoding", "user-agent"] {
        request.headers.remove(name);
    }
    request
}

/// A destination that refuses in turn for good, for our key, and for now, and says what it was sent.
async fn repeating_server() -> HttpServer {
    let server = HttpServer::start().await;
    let count = AtomicUsize::new(0);
    server.respond_with(move |request| {
        let status = [401, 400, 500, 404, 407, 413, 301][count.fetch_add(1, Ordering::Relaxed) % 7];
        let text = repeat(&interesting(request));
        // From the start, and from somewhere in it.
        let skipped = if count.load(Ordering::Relaxed).is_multiple_of(2) { 0 } else { text.len() / 2 };
        Reply::status(status)
            .header("location", "http://127.0.0.1:1/elsewhere")
            .body(text[text.floor_char_boundary(skipped)..].to_owned())
    });
    server
}

/// A NATS server that lets nobody in, and says what he has called himself.
struct RepeatingNats {
    port: u16,
    refused: Arc<AtomicUsize>,
}

impl RepeatingNats {
    async fn start() -> RepeatingNats {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let refused = Arc::<AtomicUsize>::default();
        let count = Arc::clone(&refused);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let count = Arc::clone(&count);
                tokio::spawn(async move {
                    let (reader, mut writer) = stream.into_split();
                    let info = r#"{"server_id":"x","version":"2.10.0","max_payload":1048576,"headers":true,"auth_required":true,"nonce":"nonce"}"#;
                    writer.write_all(format!("INFO {info}\r\n").as_bytes()).await.ok()?;
                    let mut lines = BufReader::new(reader).lines();
                    let line = lines.next_line().await.ok()??;
                    let options: serde_json::Value =
                        serde_json::from_str(line.strip_prefix("CONNECT ")?).unwrap();
                    // Only what says who we are: the log shows but the beginning.
                    let names = ["user", "pass", "auth_token", "jwt", "nkey", "sig"];
                    let said: Vec<_> =
                        names.iter().filter_map(|name| Some((name, options.get(name)?))).collect();
                    let plain: Vec<_> = said.iter().filter_map(|(_, value)| value.as_str()).collect();
                    let text = match count.fetch_add(1, Ordering::Relaxed) % 2 {
                        0 => format!("{said:?}"),
                        _ => plain.join(" "),
                    };
                    writer
                        .write_all(format!("-ERR 'Authorization Violation {text}'\r\n").as_bytes())
                        .await
                        .ok()
                });
            }
        });
        RepeatingNats { port, refused }
    }
}

/// A proxy that lets nobody through, and repeats what it was sent.
async fn repeating_proxy() -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::<AtomicUsize>::default();
    let asked = Arc::clone(&count);
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let asked = Arc::clone(&asked);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.unwrap_or(0) > 0 {}
                let head = String::from_utf8_lossy(&head).replace("\r\n", " ");
                asked.fetch_add(1, Ordering::Relaxed);
                let answer = format!(
                    "HTTP/1.1 407 {head}\r\nproxy-authenticate: {head}\r\ncontent-length: {}\r\n\r\n{head}",
                    head.len()
                );
                let _ = stream.write_all(answer.as_bytes()).await;
            });
        }
    });
    (port, count)
}

// === the scene ===

struct Scene {
    markers: Markers,
    /// What the user has written: secrets may be in there.
    inputs: TempDir,
    /// Where the program works: it may write here.
    work: TempDir,
    server: HttpServer,
    nats: RepeatingNats,
    proxied: Arc<AtomicUsize>,
    variables: Vec<(String, String)>,
}

fn is_secret(variable: &str) -> bool {
    let words = ["_KEY", "TOKEN", "PASSWORD", "_AUTH", "SECRET"];
    words.iter().any(|word| variable.contains(word))
        && !["AWS_ACCESS_KEY_ID", "SLACK_ALERT_KEYWORDS"].contains(&variable)
}

impl Scene {
    async fn set() -> Scene {
        let mut markers = Markers::default();
        let (inputs, work) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (server, nats) = (repeating_server().await, RepeatingNats::start().await);
        let (proxy, proxied) = repeating_proxy().await;
        let mut variables = Vec::new();
        let mut known = BTreeSet::new();
        for variable in PROVIDERS.iter().flat_map(|provider| provider.variables) {
            let name = variable.name;
            if !known.insert(name) {
                continue;
            }
            let url = |path: &str| server.url(path);
            let value = match name {
                "HYPERDX_API_KEY" | "LOGFLARE_SOURCE_TOKEN" => markers.uuid(name),
                "NEW_RELIC_INSERT_KEY" | "DATADOG_SITE" | "SEMATEXT_REGION" | "NEW_RELIC_REGION" => continue,
                "PAPERTRAIL_ENDPOINT" => "127.0.0.1:1".to_owned(),
                "PAPERTRAIL_ENCODING_CODEC" | "UPTRACE_SINK_ENCODING" => "json".to_owned(),
                "SLACK_ALERT_KEYWORDS" => "/./".to_owned(),
                "SLACK_WEBHOOK_URL" => url(&format!("/services/T/B/{}", markers.word_of_url(name))),
                "HTTP_URL" => url(&format!("/in?api-key={}", markers.word_of_url(name))),
                "OPENOBSERVE_URI" | "SIGNOZ_URI" => url("/in"),
                "LOKI_URL"
                | "OPSVERSE_LOGS_ENDPOINT"
                | "ERASEARCH_URL"
                | "HUMIO_ENDPOINT"
                | "S3_ENDPOINT" => url(""),
                "AWS_REGION" => "eu-west-1".to_owned(),
                "AWS_ACCESS_KEY_ID" => "AKIDEXAMPLE".to_owned(),
                name if is_secret(name) => markers.awkward(name),
                _ => "plain".to_owned(),
            };
            variables.push((name.to_owned(), value));
        }
        // Some secrets come from files.
        for name in ["AXIOM_TOKEN", "HTTP_TOKEN", "LOKI_PASSWORD"] {
            let (_, secret) = variables.iter_mut().find(|(known, _)| known == name).unwrap();
            let path = inputs.path().join(name);
            std::fs::write(&path, format!("{secret}\n")).unwrap();
            *secret = path.to_str().unwrap().to_owned();
            variables.iter_mut().find(|(known, _)| known == name).unwrap().0.push_str("_FILE");
        }
        let mut add = |name: &str, value: String| variables.push((name.to_owned(), value));
        add("AWS_SESSION_TOKEN", markers.awkward("AWS_SESSION_TOKEN"));
        let password = markers.word_of_url("HTTPS_PROXY");
        add("HTTPS_PROXY", format!("http://user:{password}@127.0.0.1:{proxy}"));
        add("NO_PROXY", "127.0.0.1".to_owned());
        add("ACCESS_TOKEN", markers.awkward("ACCESS_TOKEN"));
        let password = markers.word_of_url("NATS_URL");
        add("NATS_URL", format!("nats://user:{password}@127.0.0.1:{}", nats.port));
        add("DATA_DIR", work.path().join("data").to_str().unwrap().to_owned());
        add("HOME", work.path().to_str().unwrap().to_owned());
        add("LOG_SHIPPER_LOG", "trace".to_owned());
        Scene { markers, inputs, work, server, nats, proxied, variables }
    }

    fn command(&self, args: &[&str], more: &[(&str, &str)]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_log-shipper"));
        command.args(args).env_clear().kill_on_drop(true).current_dir(self.work.path());
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.envs(more.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a command to its end; what it says, and with which code it ends.
    async fn run(&self, args: &[&str], more: &[(&str, &str)]) -> (String, Option<i32>) {
        let output = timeout(LIMIT, self.command(args, more).output()).await;
        let output = output.unwrap_or_else(|_| panic!("{args:?} does not end")).unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (text(&output.stdout) + &text(&output.stderr), output.status.code())
    }

    /// The same, and looks at what it said.
    async fn check(
        &self,
        args: &[&str],
        more: &[(&str, &str)],
        leaks: &mut Vec<String>,
    ) -> (String, Option<i32>) {
        let (text, code) = self.run(args, more).await;
        leaks.extend(
            self.markers.found_in(&text).into_iter().map(|leak| format!("{args:?} {more:?}: {leak}")),
        );
        (text, code)
    }

    /// A file of the user's.
    fn input(&self, name: &str, text: &str) -> String {
        let path = self.inputs.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    /// What the environment means, with every destination here, a NATS server that lets nobody in, events, dead
    /// letters and metrics.
    async fn configuration(&self, metrics: u16) -> String {
        let off = [("METRICS_ADDRESS", "off")];
        let generated = self.command(&["generate"], &off).output().await.unwrap();
        let mut table: toml::Table = String::from_utf8(generated.stdout).unwrap().parse().unwrap();
        let sinks = table["sinks"].as_table_mut().unwrap();
        assert_eq!(sinks.len(), PROVIDERS.len());
        for provider in PROVIDERS {
            let sink = sinks[provider.name].as_table_mut().unwrap();
            let (option, url) = match provider.sink {
                "papertrail" | "slack" => continue,
                "http" if provider.name == "http" => continue,
                "axiom" => ("url", self.server.url("")),
                "http" => ("uri", self.server.url("/")),
                "elasticsearch" => ("endpoints", self.server.url("")),
                _ => ("endpoint", self.server.url("")),
            };
            sink.insert(option.into(), url.into());
            sink.insert("batch".into(), toml::toml! { timeout_secs = 0.1 }.into());
        }
        sinks.insert(
            "metrics".into(),
            toml::toml! {
                type = "prometheus_exporter"
                inputs = ["counts"]
            }
            .into(),
        );
        sinks["metrics"]
            .as_table_mut()
            .unwrap()
            .insert("address".into(), format!("127.0.0.1:{metrics}").into());
        let mut events = toml::toml! {
            type = "demo_logs"
            format = "fly"
            interval = 0.01
        };
        events.insert("count".into(), 50.into());
        // The place of Fly's logs is taken by what comes at once; the other source goes on trying.
        let sources = table["sources"].as_table_mut().unwrap();
        let (name, nats) = sources.clone().into_iter().next().unwrap();
        sources.insert(name, events.into());
        sources.insert("refused".into(), nats);
        sources.insert("counts".into(), toml::toml! { type = "internal_metrics" }.into());
        let mut letters = toml::toml! { type = "file" };
        letters.insert("path".into(), self.work.path().join("letters.jsonl").to_str().unwrap().into());
        table.insert("dead_letters".into(), letters.into());
        table["sinks"]["loki"].as_table_mut().unwrap().insert(
            "buffer".into(),
            toml::toml! { type = "disk"
            max_size = 268435488 }
            .into(),
        );
        table["sinks"]["aws_s3"]
            .as_table_mut()
            .unwrap()
            .insert("inputs".into(), toml::Value::Array(vec!["refused".into()]));
        let path = self.work.path().join("data");
        std::fs::create_dir_all(&path).unwrap();
        table.insert("data_dir".into(), path.to_str().unwrap().into());
        table.to_string()
    }
}

/// A process whose output is looked at while it runs.
struct Watched {
    child: Child,
    text: Arc<std::sync::Mutex<String>>,
}

impl Watched {
    fn start(mut command: Command) -> Watched {
        let mut child = command.spawn().unwrap();
        let text = Arc::<std::sync::Mutex<String>>::default();
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        for mut stream in [Box::new(stdout) as Box<dyn tokio::io::AsyncRead + Send + Unpin>, Box::new(stderr)]
        {
            let text = Arc::clone(&text);
            tokio::spawn(async move {
                let mut bytes = vec![0; 1 << 16];
                while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                    text.lock().unwrap().push_str(&String::from_utf8_lossy(&bytes[..read]));
                }
            });
        }
        Watched { child, text }
    }

    async fn until(&self, what: &str, mut is_so: impl FnMut(&str) -> bool) {
        let waited = timeout(LIMIT, async {
            while !is_so(&self.text.lock().unwrap()) {
                sleep(POLL_EVERY).await;
            }
        });
        if waited.await.is_err() {
            panic!("not in time: {what}\n{}", self.text.lock().unwrap());
        }
    }

    async fn stop(mut self) -> String {
        let pid = self.child.id().expect("it runs").to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().await.unwrap().success());
        timeout(LIMIT, self.child.wait()).await.expect("it does not end").unwrap();
        // The tasks that read it have what was in the pipes.
        let mut length = usize::MAX;
        while length != self.text.lock().unwrap().len() {
            length = self.text.lock().unwrap().len();
            sleep(POLL_EVERY).await;
        }
        self.text.lock().unwrap().clone()
    }
}

/// The page of the metrics.
async fn page(port: u16) -> String {
    let mut stream = tokio::net::TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    timeout(LIMIT, stream.read_to_string(&mut text)).await.expect("a page").unwrap();
    text
}

/// All files below a directory.
fn files(directory: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { all.extend(files(&path)) } else { all.push(path) }
    }
    all
}

/// The names of the commands, as `--help` lists them.
async fn commands(args: &[&str]) -> Vec<String> {
    let help = program::run(&[args, &["--help"]].concat(), &[]).await.out;
    let Some((_, list)) = help.split_once("Commands:\n") else { return Vec::new() };
    let list = list.split("\n\n").next().unwrap();
    let name = |line: &str| line.strip_prefix("  ")?.split_whitespace().next().map(str::to_owned);
    // A line of a description that goes on is further to the right.
    let lines = list.lines().filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    lines.filter_map(name).filter(|name| name != "help").collect()
}

// === the tests ===

/// Every command that ends by itself, with the code that it ends with. A command that has no line here is looked for
/// in `--help`, and missed.
const CASES: &[(&str, &[&str], i32)] = &[
    // With `run` in the environment, below.
    ("run", &["run", "--require-healthy"], 78),
    ("demo", &["demo", "--count", "20", "--rate", "1000"], 1),
    ("generate", &["generate"], 0),
    ("generate", &["generate", "--example"], 0),
    ("validate", &["validate"], 0),
    ("validate", &["validate", "--no-environment"], 0),
    ("validate", &["validate", "CONFIG"], 0),
    ("check", &["check"], 1),
    ("check", &["check", "--format", "json"], 1),
    ("check", &["check", "-c", "CONFIG"], 1),
    ("providers", &["providers"], 0),
    ("providers", &["providers", "--format", "json"], 0),
    ("providers", &["providers", "--format", "markdown"], 0),
    ("list", &["list", "--options"], 0),
    ("list", &["list", "--format", "json"], 0),
    ("graph", &["graph"], 0),
    ("graph", &["graph", "--format", "dot"], 0),
    ("graph", &["graph", "-c", "CONFIG"], 0),
    ("schema", &["schema"], 0),
    ("buffer ls", &["buffer", "ls"], 0),
    ("buffer ls", &["buffer", "ls", "-c", "CONFIG", "--format", "json"], 0),
    ("buffer inspect", &["buffer", "inspect", "loki", "-c", "CONFIG", "--limit", "3"], 0),
    ("buffer drain", &["buffer", "drain", "loki", "-c", "CONFIG"], 0),
    ("replay", &["replay", "LETTERS", "--dry-run"], 0),
    ("replay", &["replay", "LETTERS", "--sink", "http", "-c", "REPLAY"], 1),
    ("test", &["test", "CONFIG"], 78),
    ("test", &["test", "TESTS"], 1),
    ("tail", &["tail", "--count", "1"], 1),
    ("tail", &["tail", "--since", "1m", "--stream", "S"], 1),
    ("tail", &["tail", "-c", "CONFIG"], 1),
    // With a shipper that runs, above.
    ("top", &["top", "--once", "--url", "http://127.0.0.1:1"], 1),
    ("health", &["health", "--url", "http://127.0.0.1:1"], 1),
    ("init", &["init", "--destination", "loki,datadog", "--app", "shipper", "--yes", "--force"], 0),
    ("vrl", &["vrl", "--null-input", r#".a = get_env_var("PATH") ?? 1"#], 0),
    ("vrl", &["vrl", "--null-input", ".a = = ."], 78),
    ("completion", &["completion", "bash"], 0),
];

fn has_log(name: &str) -> bool {
    ["run", "demo", "replay", "check", "tail"].contains(&name)
}

fn opens_buffers(name: &str) -> bool {
    ["run", "replay"].contains(&name) || name.starts_with("buffer ")
}

#[tokio::test]
async fn no_command_shows_a_secret() {
    let scene = Scene::set().await;
    let mut leaks = Vec::new();
    let metrics = support::ports::free_port();
    let config = scene.input("vector.toml", &scene.configuration(metrics).await);

    // Two that run until they are told to stop: they also leave the files that the others look at.
    for format in ["text", "json"] {
        let api = format!("127.0.0.1:{}", support::ports::free_port());
        let more = [("LOG_SHIPPER_LOG_FORMAT", format), ("API_ADDRESS", &api), ("API_TAIL", "true")];
        let (before, refused) =
            (scene.proxied.load(Ordering::Relaxed), scene.nats.refused.load(Ordering::Relaxed));
        let args = ["run", "--graceful-shutdown-limit-secs", "0.2"];
        let program = Watched::start(scene.command(&args, &more));
        program
            .until("healthchecks through the proxy, and NATS", |_| {
                scene.proxied.load(Ordering::Relaxed) > before + 5
                    && scene.nats.refused.load(Ordering::Relaxed) > refused + 1
            })
            .await;
        let (health, top) = (format!("http://{api}/health"), format!("http://{api}"));
        let (text, code) = scene.check(&["health", "--url", &health], &[], &mut leaks).await;
        assert_eq!(code, Some(1), "{text}");
        let (text, code) =
            scene.check(&["top", "--once", "--format", "json", "--url", &top], &[], &mut leaks).await;
        assert!(code == Some(1) && text.contains("Authorization Violation"), "{text}");
        let text = program.stop().await;
        leaks.extend(scene.markers.found_in(&text).into_iter().map(|leak| format!("run ({format}): {leak}")));

        let (before, refused) = (scene.server.requests().len(), scene.nats.refused.load(Ordering::Relaxed));
        let args = ["run", "--graceful-shutdown-limit-secs", "0.2", "-c", &config];
        let program = Watched::start(scene.command(&args, &more[..1]));
        program
            .until("requests, refusals and letters", |text| {
                scene.server.requests().len() > before + 60
                    && scene.nats.refused.load(Ordering::Relaxed) > refused + 1
                    && text.contains("rejected: ")
                    && text.contains("will be sent again")
            })
            .await;
        let page = page(metrics).await;
        assert!(page.contains("component_received_events_total"), "{page}");
        leaks.extend(scene.markers.found_in(&page).into_iter().map(|leak| format!("the metrics: {leak}")));
        let text = program.stop().await;
        assert!(text.contains("Authorization Violation"), "{text}");
        leaks.extend(
            scene.markers.found_in(&text).into_iter().map(|leak| format!("run -c ({format}): {leak}")),
        );
    }
    let letters = scene.work.path().join("letters.jsonl");
    assert!(letters.metadata().is_ok_and(|metadata| metadata.len() > 0), "no dead letters");

    let tests = scene.input(
        "tests.toml",
        "[sources.s]\ntype='stdin'\n[sinks.o]\ntype='blackhole'\ninputs=['t']\n\
         [transforms.t]\ntype='remap'\ninputs=['s']\nsource='.a = 1'\n[[tests]]\nname='t'\n\
         [[tests.inputs]]\ninsert_at='t'\nvalue='x'\n[[tests.outputs]]\nextract_from='t'\n\
         conditions=[{type='vrl',source='.a == 2'}]\n",
    );
    // One round of refusals is enough.
    let mut table: toml::Table = std::fs::read_to_string(&config).unwrap().parse().unwrap();
    let policy = toml::toml! {
        "3xx" = "reject"
        "4xx" = "reject"
        "5xx" = "reject"
    };
    table["sinks"]["http"].as_table_mut().unwrap().insert("failure_policy".into(), policy.into());
    let replay = scene.input("replay.toml", &table.to_string());
    let place = |arg: &&'static str| match *arg {
        "CONFIG" => config.clone(),
        "LETTERS" => letters.to_str().unwrap().to_owned(),
        "TESTS" => tests.clone(),
        "REPLAY" => replay.clone(),
        other => other.to_owned(),
    };
    let mut missing: BTreeSet<String> = BTreeSet::new();
    for name in commands(&[]).await {
        let below = commands(&[&name]).await;
        match below.as_slice() {
            [] => missing.extend([name]),
            below => missing.extend(below.iter().map(|second| format!("{name} {second}"))),
        }
    }
    assert!(missing.len() >= 15, "{missing:?}");
    for (name, ..) in CASES {
        missing.remove(*name);
    }
    assert!(missing.is_empty(), "without a case here: {missing:?}");
    let case = async |((name, args, expected), format): (&(&str, &[&'static str], i32), &'static str)| {
        let (mut leaks, mut unexpected) = (Vec::new(), Vec::new());
        let args: Vec<_> = args.iter().map(place).collect();
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let mut more = vec![("LOG_SHIPPER_LOG_FORMAT", format)];
        // It takes seconds to end, because nothing can be delivered: with places of its own it is beside the others.
        let [api, metrics] = [(); 2].map(|()| format!("127.0.0.1:{}", support::ports::free_port()));
        let data_dir = scene.work.path().join(format!("{name}-{format}")).to_str().unwrap().to_owned();
        if *name == "demo" {
            std::fs::create_dir(&data_dir).unwrap();
            more.extend([("API_ADDRESS", &*api), ("METRICS_ADDRESS", &*metrics), ("DATA_DIR", &*data_dir)]);
        }
        let (text, code) = scene.check(&args, &more, &mut leaks).await;
        if code != Some(*expected) {
            unexpected.push(format!("{args:?}: {code:?}, {}", &text[text.len().saturating_sub(1500)..]));
        }
        (leaks, unexpected)
    };
    // Without a log there is but one form.
    let formats = |name| if has_log(name) { &["text", "json"][..] } else { &["text"] };
    let all = CASES.iter().flat_map(|case| formats(case.0).iter().map(move |format| (case, *format)));
    // Those that open buffers do so one after the other.
    let (in_turn, others): (Vec<_>, Vec<_>) = all.partition(|((name, ..), _)| opens_buffers(name));
    let in_turn = stream::iter(in_turn).then(case);
    let others = stream::iter(others).map(case).buffer_unordered(4);
    let ended: Vec<_> = stream::select(in_turn, others).collect().await;
    let mut unexpected = Vec::new();
    for (found, other) in ended {
        leaks.extend(found);
        unexpected.extend(other);
    }
    let names: BTreeSet<_> = CASES.iter().map(|(name, ..)| *name).collect();
    for name in names {
        let help = [&name.split(' ').collect::<Vec<_>>()[..], &["--help"]].concat();
        scene.check(&help, &[], &mut leaks).await;
    }

    for path in files(scene.work.path()) {
        let text = String::from_utf8_lossy(&std::fs::read(&path).unwrap()).into_owned();
        leaks.extend(
            scene.markers.found_in(&text).into_iter().map(|leak| format!("{}: {leak}", path.display())),
        );
    }
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n\n"));
    assert!(unexpected.is_empty(), "{}", unexpected.join("\n\n"));
}

/// Configurations with mistakes in them, each with a secret near by: `SECRET` stands for it.
const BAD: &[(&str, &str)] = &[
    // Where something else is expected.
    ("a.toml", "[sinks.a]\ntype='axiom'\ninputs=['s']\ntoken='SECRET'\ndataset=['x']\n"),
    ("a.toml", "[sinks.a]\ntype='axiom'\ninputs=['s']\ntoken=['SECRET']\ndataset='d'\n"),
    ("a.toml", "[sinks.a]\ntype='axiom'\ninputs=['s']\ntoken={value='SECRET'}\ndataset='d'\n"),
    ("a.toml", "[sinks.a]\ntype='axiom'\ninputs=['s']\ntokn='SECRET'\ndataset='d'\n"),
    ("a.toml", "[sinks.a]\ntype='axiom'\ninputs=['s']\ndataset='d'\n[sinks.a.token]\nSECRET='x'\n"),
    (
        "a.toml",
        "[sinks.a]\ntype='http'\ninputs=['s']\nuri='not a url'\nauth={strategy='basic',user='u',password=5,passwordd='SECRET'}\n",
    ),
    ("a.toml", "[sinks.a]\ntype='http'\ninputs=['s']\nuri='http://u:SECRET@[bad'\nencoding.codec='json'\n"),
    (
        "a.toml",
        "[sinks.a]\ntype='loki'\ninputs=['s']\nendpoint='http://u:SECRET@h'\nlabels.a='b'\nencoding.codec='json'\n",
    ),
    (
        "a.toml",
        "[sinks.a]\ntype='slack'\ninputs=['s']\nwebhook_url='hooks.slack.com/services/SECRET'\nkeywords='x'\n",
    ),
    ("a.toml", "[sinks.a]\ntype='axiom'\ninputs=['s']\ntoken='SECRET'\ndataset='d'\nbatch={max_bytes='x'}\n"),
    ("a.toml", "[sinks.a]\ntype='datadog_logs'\ninputs=['s']\ndefault_api_key=\"SECRET\\n\"\n"),
    ("a.toml", "[sources.n]\ntype='nats'\nurl='http://u:SECRET@h'\nconnection_name='x'\nsubject='a'\n"),
    (
        "a.toml",
        "[sources.n]\ntype='nats'\nurl='nats://u:SECRET@h'\nconnection_name='x'\nsubject='a'\nauth={strategy='nkey',nkey={nkey='U',seed='SECRET'}}\n",
    ),
    (
        "a.toml",
        "[sources.n]\ntype='nats'\nurl='nats://u:SECRET@h,nats://v:SECRET@i'\nconnection_name='x'\nsubject='a b'\n",
    ),
    (
        "a.toml",
        "[sources.n]\ntype='nats'\nurl='nats://h'\nconnection_name='x'\nsubject='a'\nauth={strategy='credentials_file',credentials_file={path='-----BEGIN SECRET'}}\n",
    ),
    (
        "a.toml",
        "[sinks.a]\ntype='http'\ninputs=['s']\nuri='https://h'\nencoding.codec='json'\nproxy.https='ftp://u:SECRET@'\n",
    ),
    (
        "a.toml",
        "[sinks.a]\ntype='http'\ninputs=['s']\nuri='https://h'\nencoding.codec='json'\ntls={key_file='k',key_pass='SECRET',crt_fil='x'}\n",
    ),
    (
        "a.toml",
        "[sinks.a]\ntype='aws_s3'\ninputs=['s']\nbucket='b'\nauth={access_key_id='i',secret_access_key='SECRET',regio='x'}\n",
    ),
    // Texts that cannot be parsed.
    ("a.toml", "[sinks.a]\ntype='axiom'\ntoken='SECRET\ndataset='d'\n"),
    ("a.toml", "[sinks.a]\ntoken=SECRET\n"),
    ("a.toml", "[sinks.a]\ntoken=\"SECRET\" x\n"),
    ("a.toml", "[sinks.a]\ntoken='SECRET'\ntoken='SECRET'\n"),
    ("a.yaml", "sinks:\n  a:\n    type: axiom\n    token: \"SECRET\n    dataset: d\n"),
    ("a.yaml", "sinks:\n  a:\n    token: 'SECRET' x\n"),
    ("a.yaml", "sinks:\n  a: {type: axiom, token: [SECRET], dataset: {a: x}}\n"),
    ("a.json", "{\"sinks\": {\"a\": {\"type\": \"axiom\", \"token\": \"SECRET}}}"),
    ("a.json", "{\"sinks\": {\"a\": {\"token\": \"SECRET\" \"x\"}}}"),
    // From the environment, and from a backend.
    (
        "a.toml",
        "[sinks.a]\ntype='http'\ninputs=['s']\nuri='${VALUE}'\nbatch={max_bytes='${VALUE}'}\nencoding.codec='json'\n",
    ),
    (
        "a.toml",
        "[sinks.a]\ntype='http'\ninputs=['s']\nuri='http://h/{{ ${VALUE}'\nencoding.codec='${VALUE}'\n",
    ),
    ("a.toml", "[transforms.a]\ntype='remap'\ninputs=['s']\nsource='.a = \"${VALUE}'\n"),
    (
        "a.toml",
        "[secret.b]\ntype='exec'\ncommand=['sh','-c','echo SECRET']\n[sinks.a]\ntype='axiom'\ninputs=['s']\ntoken='SECRET[b.k]'\ndataset='d'\n",
    ),
    (
        "a.toml",
        "[secret.b]\ntype='file'\npath='INPUTS/not.json'\n[sinks.a]\ntype='axiom'\ninputs=['s']\ntoken='SECRET[b.k]'\ndataset='d'\n",
    ),
];

#[tokio::test]
async fn no_mistake_in_a_configuration_shows_a_secret() {
    let mut markers = Markers::default();
    let secret = format!("{}{}", markers.word("first"), markers.word("second"));
    let directory = tempfile::tempdir().unwrap();
    let inputs = directory.path().to_str().unwrap();
    std::fs::write(directory.path().join("not.json"), format!("{{\"k\": {secret}}}")).unwrap();
    let env = [("VALUE", secret.as_str()), ("LOG_SHIPPER_LOG", "trace")];
    let mut leaks = Vec::new();
    let one = async |(n, (name, text)): (usize, &(&str, &str))| {
        // The name of a reference is no secret.
        let text = text.replace("SECRET[", "\0").replace("SECRET", &secret).replace('\0', "SECRET[");
        let path = directory.path().join(format!("{n}{name}"));
        std::fs::write(&path, text.replace("INPUTS", inputs)).unwrap();
        let path = path.to_str().unwrap();
        let mut leaks = Vec::new();
        for args in
            [&["validate", "-c", path][..], &["run", "-c", path], &["validate", "--no-environment", path]]
        {
            let ended = program::run(args, &env).await;
            let said = ended.out + &ended.err;
            let is_bad = ended.code == Some(78) || args.contains(&"--no-environment");
            assert!(is_bad && said.len() > 20, "{args:?}: {:?}: {text}\n{said}", ended.code);
            leaks.extend(markers.found_in(&said).into_iter().map(|leak| format!("{args:?}: {text}\n{leak}")));
        }
        leaks
    };
    let found: Vec<_> = stream::iter(BAD.iter().enumerate()).map(one).buffer_unordered(4).collect().await;
    leaks.extend(found.concat());
    // And the environment itself.
    for (name, value) in [
        ("HTTP_URL", format!("u:{secret}@h")),
        ("HTTP_URL", format!("ftp://h/{secret}")),
        ("SLACK_WEBHOOK_URL", format!("not-a-url-{secret}")),
        ("SLACK_ALERT_KEYWORDS", format!("/({secret}/")),
        ("LOKI_URL", format!("http://u:{secret}@h")),
        ("HYPERDX_API_KEY", secret.clone()),
        ("AXIOM_TOKEN", format!("{secret}\n{secret}")),
        ("NATS_URL", format!("http://u:{secret}@h")),
        ("NATS_NKEY", secret.clone()),
        ("NATS_CREDS", format!("-----BEGIN {secret}")),
        ("NATS_CREDS", format!("/nowhere\n{secret}")),
        ("HTTPS_PROXY", format!("ftp:u:{secret}@h:x")),
        ("AXIOM_TOKN", secret.clone()),
        ("LOG_SHIPPER_LOG", format!("a={secret}=b")),
        ("NATS_KEY", secret.clone()),
    ] {
        let good = [
            ("ACCESS_TOKEN", "t"),
            ("AXIOM_TOKEN", "t"),
            ("AXIOM_DATASET", "d"),
            ("HTTP_URL", "http://127.0.0.1:1"),
            ("HTTP_TOKEN", "t"),
            ("SLACK_WEBHOOK_URL", "http://127.0.0.1:1/x"),
            ("SLACK_ALERT_KEYWORDS", "x"),
            ("LOKI_URL", "http://127.0.0.1:1"),
            ("LOKI_USERNAME", "u"),
            ("LOKI_PASSWORD", "p"),
        ];
        let mut env: Vec<_> = good.into_iter().filter(|(known, _)| *known != name).collect();
        env.push((name, &value));
        for args in [&["validate"][..], &["generate"], &["check"], &["providers"], &["graph"]] {
            let ended = program::run(args, &env).await;
            let said = ended.out + &ended.err;
            leaks.extend(markers.found_in(&said).into_iter().map(|leak| format!("{args:?} {name}: {leak}")));
        }
    }
    assert!(leaks.is_empty(), "{} leaks:\n{}", leaks.len(), leaks.join("\n\n"));
}

/// Options whose names sound like a secret's and that are none.
const NO_SECRETS: &[&str] = &[
    // Names of fields, files and things, switches, and what only tells who somebody is.
    "access_key_id",
    "emit_events_discarded_per_key",
    "id_key",
    "kms_key",
    "pid_key",
    "sample_rate_key",
    "account_id",
    "auth",
    "authorization",
    "host_key",
    "key_field",
    "key_file",
    "key_prefix",
    "message_key",
    "server_side_encryption",
    "ssekms_key_id",
    "subject_key_field",
    "timestamp_key",
    "timestamp_nanos_key",
    "token_file",
    "credentials_file",
    "web_identity_token_file",
];

/// The options below a schema whose name says that they hold a secret, and whether they are marked as such.
fn secret_options(
    path: &str,
    schema: &serde_json::Value,
    root: &serde_json::Value,
    found: &mut Vec<(String, bool)>,
    depth: usize,
) {
    if depth == 0 {
        return;
    }
    match schema {
        serde_json::Value::Object(map) => {
            if let Some(reference) = map.get("$ref").and_then(|name| name.as_str()) {
                let target = root.pointer(reference.trim_start_matches('#')).unwrap();
                secret_options(path, target, root, found, depth - 1);
            }
            for (key, value) in map {
                if key == "properties" {
                    for (name, option) in value.as_object().unwrap() {
                        let words: Vec<_> = name.split('_').collect();
                        let is_secret =
                            ["key", "token", "password", "secret", "credentials", "pass", "seed", "webhook"]
                                .iter()
                                .any(|word| words.contains(word));
                        let text = option.to_string();
                        let is_text = text.contains("\"string\"");
                        if is_secret && is_text && !NO_SECRETS.contains(&name.as_str()) {
                            found.push((format!("{path}.{name}"), text.contains("\"password\"")));
                        }
                        secret_options(&format!("{path}.{name}"), option, root, found, depth - 1);
                    }
                } else if !["example", "examples", "default", "enum", "const", "$defs"]
                    .contains(&key.as_str())
                {
                    secret_options(path, value, root, found, depth - 1);
                }
            }
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| secret_options(path, item, root, found, depth - 1));
        }
        _ => {}
    }
}

#[test]
fn every_option_that_sounds_like_a_secret_is_one() {
    let registry = log_shipper::config::Registry::builtin();
    let mut found = Vec::new();
    for kind in log_shipper::config::ComponentKind::ALL {
        for info in registry.components(kind) {
            let schema = serde_json::to_value(registry.component_schema(kind, info.name)).unwrap();
            secret_options(info.name, &schema, &schema, &mut found, 24);
        }
    }
    found.sort();
    found.dedup();
    assert!(found.len() > 15, "{found:?}");
    let open: Vec<_> = found.iter().filter(|(_, is_marked)| !is_marked).map(|(path, _)| path).collect();
    assert!(open.is_empty(), "not a SensitiveString: {open:#?}");
}
