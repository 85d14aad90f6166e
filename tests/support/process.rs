//! log-shipper as a process of its own: what it takes of memory, what it logs, and its books at the end.

use std::fs::File;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

const WITHIN: Duration = Duration::from_secs(30);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// `log-shipper run` with a configuration; killed when dropped.
pub struct Shipper {
    child: Child,
    log: PathBuf,
    _dir: TempDir,
}

/// The counts of a sink, as the log gives them at the end.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Book {
    pub received: u64,
    pub delivered: u64,
    pub rejected: u64,
    pub dropped: u64,
    pub buffered: u64,
}

impl Shipper {
    /// Starts it with this configuration (TOML) and no other variables than these. After a signal it has a
    /// fifth of a second to deliver what is left.
    pub fn start(config: &str, env: &[(&str, &str)]) -> Shipper {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let (path, log) = (dir.path().join("vector.toml"), dir.path().join("log"));
        std::fs::write(&path, config).expect("a file to write");
        let child = Command::new(env!("CARGO_BIN_EXE_log-shipper"))
            .args(["run", "--graceful-shutdown-limit-secs", "0.2", "-c"])
            .arg(&path)
            .env_clear()
            .envs(env.iter().copied())
            .kill_on_drop(true)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).expect("a log"))
            .spawn()
            .expect("the program starts");
        Shipper { child, log, _dir: dir }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// The most memory it has taken so far, in bytes.
    pub fn peak_memory(&self) -> usize {
        self.status("VmHWM:")
    }

    /// The memory it takes now, in bytes.
    pub fn memory(&self) -> usize {
        self.status("VmRSS:")
    }

    fn status(&self, name: &str) -> usize {
        let pid = self.child.id().unwrap_or_else(|| panic!("it has ended: {}", self.log()));
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("a status");
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        let number = line.and_then(|line| line.trim().strip_suffix(" kB"));
        number.and_then(|number| number.parse::<usize>().ok()).unwrap_or_else(|| panic!("{status}")) * 1024
    }

    /// Waits until it has ended, and gives its exit code.
    pub async fn ended(&mut self) -> Option<i32> {
        let ended = timeout(WITHIN, self.child.wait()).await;
        ended.unwrap_or_else(|_| panic!("it does not end: {}", self.log())).expect("a status").code()
    }

    /// Sends the signal to stop, waits for the end, and gives the books of the sinks.
    pub async fn stop(mut self) -> Vec<(String, Book)> {
        let pid = self.child.id().expect("it runs").to_string();
        let killed = Command::new("kill").args(["-TERM", &pid]).status().await;
        assert!(killed.expect("kill").success());
        self.ended().await;
        let log = self.log();
        let books: Vec<_> = log.lines().filter_map(book).collect();
        assert!(!books.is_empty(), "no books in the log: {log}");
        books
    }

    /// Waits until there are these words in the log.
    pub async fn wait_for_log(&self, words: &str) {
        let said = async {
            while !self.log().contains(words) {
                sleep(POLL_EVERY).await;
            }
        };
        timeout(WITHIN, said).await.unwrap_or_else(|_| panic!("no {words:?} in the log: {}", self.log()));
    }
}

/// A line `... sink out: received 5, delivered 3, rejected 0, dropped 1 (shutdown 1), buffered 1`.
fn book(line: &str) -> Option<(String, Book)> {
    let (_, rest) = line.split_once("sink ")?;
    let (id, counts) = rest.split_once(": received ")?;
    let counts = format!("received {counts}");
    let count = |name: &str| {
        let (_, rest) = counts.split_once(&format!("{name} "))?;
        rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
    };
    let book = Book {
        received: count("received")?,
        delivered: count("delivered")?,
        rejected: count("rejected")?,
        dropped: count("dropped")?,
        buffered: count("buffered")?,
    };
    Some((id.to_owned(), book))
}
