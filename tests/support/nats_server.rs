//! The real nats-server on loopback.

use super::ports::free_port;
use std::fmt::Write as _;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

/// A source of a configuration that reads `logs.>`; `{nats}` stands for the server's URL.
pub const NATS_SOURCE: &str = "
    [sources.nats]
    type = 'nats'
    url = '{nats}'
    connection_name = 'test'
    subject = 'logs.>'
    decoding.codec = 'json'
    subject_key_field = ''
";

const READY_WITHIN: Duration = Duration::from_secs(15);
const ENDED_WITHIN: Duration = Duration::from_secs(60);
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(5);

// The server has no way to call us, so its readiness is asked for again and
// again; this many ports are tried before giving up on finding a free one.
const PORTS_TRIED: usize = 10;

/// How the server is set up; the default lets everybody in without TLS.
#[derive(Clone, Debug, Default)]
pub struct Options {
    pub user_password: Option<(String, String)>,
    /// nats-server refuses a token next to a user.
    pub token: Option<String>,
    /// Public key (`U...`) of a user who signs in with an nkey. It may stand
    /// next to `user_password`, so that a test can publish with the latter.
    pub nkey: Option<String>,
    pub tls: Option<TlsFiles>,
    /// Whether it has JetStream; what that stores stays over restarts.
    pub jetstream: bool,
    /// Lines added at the end of the configuration file.
    pub extra: String,
}

/// PEM files of a server that speaks TLS.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    pub cert: PathBuf,
    pub key: PathBuf,
    /// With an authority here, clients must show a certificate of it.
    pub ca: Option<PathBuf>,
    /// The server's `handshake_first`: TLS from the first byte, for `auto` and a duration such as `300ms`
    /// only if the client begins with it before then.
    pub handshake_first: Option<&'static str>,
}

/// A running (or stopped) nats-server, killed when dropped.
pub struct NatsServer {
    directory: TempDir,
    name: String,
    port: u16,
    monitor_port: u16,
    handshake_first: bool,
    child: Option<Child>,
}

enum StartError {
    /// The process ended by itself, which is what it does when its port is taken.
    Exited,
    NotReady,
}

impl NatsServer {
    /// Starts a server that lets everybody in.
    pub async fn start() -> Self {
        Self::with(Options::default()).await
    }

    /// Starts a server with these options.
    pub async fn with(options: Options) -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let mut server = Self {
            directory: TempDir::new().expect("a temporary directory"),
            name: format!(
                "log-shipper-test-{}-{}",
                std::process::id(),
                COUNTER.fetch_add(1, Ordering::Relaxed)
            ),
            port: 0,
            monitor_port: 0,
            handshake_first: false,
            child: None,
        };
        for _ in 0..PORTS_TRIED {
            server.port = free_port();
            server.monitor_port = free_port();
            server.write_config(&options);
            match server.launch().await {
                Ok(()) => return server,
                Err(StartError::Exited) => {}
                Err(StartError::NotReady) => break,
            }
        }
        panic!("nats-server did not start; its log:\n{}", server.log());
    }

    /// `nats://127.0.0.1:PORT`, without credentials.
    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The port of clients, which stays the same over restarts.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// What the server has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    /// Kills the server and starts it on the same port.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.start_again().await;
    }

    /// Kills the server; its port refuses connections until it starts again.
    // Asynchronous like its counterparts, so that a test reads evenly.
    #[allow(clippy::unused_async)]
    pub async fn stop(&mut self) {
        self.kill();
    }

    /// Starts a stopped server on the same port.
    pub async fn start_again(&mut self) {
        assert!(self.child.is_none(), "nats-server is already running");
        if self.launch().await.is_err() {
            panic!("nats-server did not start again; its log:\n{}", self.log());
        }
    }

    /// Restarts the server on the same port with other options.
    pub async fn reconfigure(&mut self, options: Options) {
        self.kill();
        self.write_config(&options);
        self.start_again().await;
    }

    /// Tells the server to let go of its clients, one after the other, and then to end, as at a rolling upgrade.
    pub async fn lame_duck(&self) {
        let pid = self.child.as_ref().expect("nats-server runs").id();
        let signal = Command::new(program()).arg("--signal").arg(format!("ldm={pid}")).output();
        let output = signal.unwrap_or_else(|error| panic!("{} does not start: {error}", program().display()));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    /// Waits until the server has ended by itself; it can then start again.
    pub async fn wait_for_end(&mut self) {
        let ended = timeout(ENDED_WITHIN, async {
            while !self.exited() {
                sleep(POLL_EVERY).await;
            }
        });
        ended.await.unwrap_or_else(|_| panic!("nats-server does not end; its log:\n{}", self.log()));
        self.kill();
    }

    /// Of how many servers it tells its clients, itself among them.
    pub async fn known_servers(&self) -> usize {
        let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)).await else { return 0 };
        let mut line = String::new();
        if BufReader::new(stream).read_line(&mut line).await.is_err() {
            return 0;
        }
        let info: serde_json::Value =
            serde_json::from_str(line.trim_start_matches("INFO ")).unwrap_or_default();
        info["connect_urls"].as_array().map_or(0, Vec::len)
    }

    /// Subjects the connected clients are subscribed to, one for each subscription.
    pub async fn subscriptions(&self) -> Vec<String> {
        let Some(body) = self.monitor("/connz?subs=1&limit=4096").await else {
            return Vec::new();
        };
        let connz: serde_json::Value = serde_json::from_str(&body).expect("connz is JSON");
        connz["connections"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|connection| connection["subscriptions_list"].as_array())
            .flatten()
            .filter_map(|subject| subject.as_str().map(str::to_owned))
            .collect()
    }

    /// Waits until a client is subscribed to exactly this subject.
    pub async fn wait_for_subscription(&self, subject: &str) {
        let found = timeout(SUBSCRIBED_WITHIN, async {
            while !self.subscriptions().await.iter().any(|s| s == subject) {
                sleep(POLL_EVERY).await;
            }
        });
        if found.await.is_err() {
            panic!(
                "no subscription to {subject} within {SUBSCRIBED_WITHIN:?}; there are {:?}; \
                 log of nats-server:\n{}",
                self.subscriptions().await,
                self.log()
            );
        }
    }

    fn log_path(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    fn config_path(&self) -> PathBuf {
        self.directory.path().join("server.conf")
    }

    fn write_config(&mut self, options: &Options) {
        self.handshake_first = options.tls.as_ref().is_some_and(|tls| tls.handshake_first.is_some());
        let mut text = config(&self.name, self.port, self.monitor_port, options);
        if options.jetstream {
            let store = quoted_path(&self.directory.path().join("jetstream"));
            line(&mut text, &format!("jetstream {{ store_dir: {store} }}"));
        }
        std::fs::write(self.config_path(), text).expect("a file in the temporary directory");
    }

    async fn launch(&mut self) -> Result<(), StartError> {
        // Appending keeps the log of the run before a restart.
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.log_path())
            .expect("a log file in the temporary directory");
        let program = program();
        let child = Command::new(&program)
            .arg("--config")
            .arg(self.config_path())
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle of the log file"))
            .stderr(log)
            .spawn()
            .unwrap_or_else(|error| panic!("{} does not start: {error}", program.display()));
        self.child = Some(child);

        let ready = timeout(READY_WITHIN, async {
            loop {
                if self.exited() {
                    return Err(StartError::Exited);
                }
                if self.is_ready().await {
                    return Ok(());
                }
                sleep(POLL_EVERY).await;
            }
        });
        let result = ready.await.unwrap_or(Err(StartError::NotReady));
        if result.is_err() {
            self.kill();
        }
        result
    }

    fn exited(&mut self) -> bool {
        let child = self.child.as_mut().expect("nats-server was started");
        child.try_wait().expect("the state of a child").is_some()
    }

    async fn is_ready(&self) -> bool {
        if self.handshake_first {
            // No line comes before the handshake, or not at once, so the monitor is asked.
            return self.monitor("/varz").await.is_some_and(|body| body.contains(&self.name))
                && self.monitor("/healthz").await.is_some();
        }
        let Ok(stream) = TcpStream::connect(("127.0.0.1", self.port)).await else {
            return false;
        };
        let mut line = String::new();
        // The name tells our server from another one that took the port first.
        BufReader::new(stream).read_line(&mut line).await.is_ok()
            && line.starts_with("INFO ")
            && line.contains(&self.name)
    }

    /// The body of an answer with status 200 from the server's monitor.
    async fn monitor(&self, path: &str) -> Option<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.monitor_port)).await.ok()?;
        // HTTP/1.0 makes the server close the connection at the end of the body.
        let request = format!("GET {path} HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).await.ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        (head.split(' ').nth(1) == Some("200")).then(|| body.to_owned())
    }

    fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // The process may have ended by itself; waiting reaps it either way.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The program: LOG_SHIPPER_NATS_SERVER, or the one in `.tools`.
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("LOG_SHIPPER_NATS_SERVER") {
        return PathBuf::from(path);
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(".tools/bin/nats-server");
    assert!(
        path.exists(),
        "{} is missing: `make test` installs it and runs the tests \
         (or set LOG_SHIPPER_NATS_SERVER to the path of a nats-server)",
        path.display()
    );
    path
}

fn config(name: &str, port: u16, monitor_port: u16, options: &Options) -> String {
    let mut text = format!(
        "server_name: \"{name}\"\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitor_port}\"\n"
    );
    let mut users = String::new();
    if let Some((user, password)) = &options.user_password {
        line(&mut users, &format!("    {{ user: {}, password: {} }}", quoted(user), quoted(password)));
    }
    if let Some(nkey) = &options.nkey {
        line(&mut users, &format!("    {{ nkey: {} }}", quoted(nkey)));
    }
    if let Some(token) = &options.token {
        assert!(users.is_empty(), "nats-server refuses a token next to a user");
        line(&mut text, &format!("authorization {{ token: {} }}", quoted(token)));
    } else if !users.is_empty() {
        line(&mut text, &format!("authorization {{\n  users = [\n{users}  ]\n}}"));
    }
    if let Some(tls) = &options.tls {
        line(&mut text, "tls {");
        line(&mut text, &format!("  cert_file: {}", quoted_path(&tls.cert)));
        line(&mut text, &format!("  key_file: {}", quoted_path(&tls.key)));
        if let Some(ca) = &tls.ca {
            line(&mut text, &format!("  ca_file: {}", quoted_path(ca)));
            line(&mut text, "  verify: true");
        }
        if let Some(value) = tls.handshake_first {
            line(&mut text, &format!("  handshake_first: {}", quoted(value)));
        }
        line(&mut text, "}");
    }
    line(&mut text, &options.extra);
    text
}

fn line(text: &mut String, content: &str) {
    writeln!(text, "{content}").expect("a String takes everything");
}

fn quoted_path(path: &Path) -> String {
    quoted(path.to_str().expect("a temporary path is UTF-8"))
}

/// A string of the configuration file, which knows the escapes `\"` and `\\`.
fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
