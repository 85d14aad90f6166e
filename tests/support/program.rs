//! log-shipper itself, as a process: what it says, what it takes of memory, and its books at the end.

use std::process::{Output, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

const LIMIT: Duration = Duration::from_secs(60);
const POLL_EVERY: Duration = Duration::from_millis(10);

/// The path of the program.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_log-shipper");

/// Many run side by side, and each would like to have the same ports.
pub const NO_PORTS: [(&str, &str); 2] = [("API_ADDRESS", "off"), ("METRICS_ADDRESS", "off")];

fn command(args: &[&str], env: &[(&str, &str)]) -> Command {
    prepare(Command::new(PROGRAM), args, env)
}

fn prepare(mut command: Command, args: &[&str], env: &[(&str, &str)]) -> Command {
    command.args(args).env_clear().envs(NO_PORTS).envs(env.iter().copied()).kill_on_drop(true);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// What a command that has ended has said.
#[derive(Debug)]
pub struct Ended {
    pub code: Option<i32>,
    pub out: String,
    pub err: String,
}

/// Runs a command to its end.
pub async fn run(args: &[&str], env: &[(&str, &str)]) -> Ended {
    run_with(Stdio::null(), args, env).await
}

/// The same with this as its standard input.
pub async fn run_with(input: impl Into<Stdio>, args: &[&str], env: &[(&str, &str)]) -> Ended {
    let output =
        timeout(LIMIT, command(args, env).stdin(input).output()).await.expect("the command takes too long");
    let Output { status, stdout, stderr } = output.expect("the command starts");
    let text = |bytes| String::from_utf8(bytes).expect("text");
    Ended { code: status.code(), out: text(stdout), err: text(stderr) }
}

/// A command that runs until it is told to stop; killed when dropped.
pub struct Program {
    child: Child,
    log: Arc<Mutex<String>>,
    /// Reads the log, up to its end.
    reader: JoinHandle<()>,
    /// Its configuration, if it was given one as text.
    _directory: Option<TempDir>,
    /// So much of the log has been waited for.
    seen: usize,
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

impl Program {
    /// Starts a command, and waits until its log has these words.
    pub async fn start(args: &[&str], env: &[(&str, &str)], words: &str) -> Program {
        let mut program = Program::spawn(command(args, env), None);
        program.wait_for_log(words).await;
        program
    }

    /// The same, with its standard output in this file.
    pub async fn start_into(
        file: std::fs::File,
        args: &[&str],
        env: &[(&str, &str)],
        words: &str,
    ) -> Program {
        let mut program = Program::spawn_into(file.into(), command(args, env), None);
        program.wait_for_log(words).await;
        program
    }

    /// Starts a command where no file may be longer than so many half KiB: what a full disk is to one file.
    pub async fn start_with_short_files(blocks: u32, args: &[&str], words: &str) -> Program {
        let mut shell = Command::new("sh");
        // Without the trap, the first byte too many would end it.
        shell.args(["-c", &format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$@\""), "sh", PROGRAM]);
        let mut program = Program::spawn(prepare(shell, args, &[]), None);
        program.wait_for_log(words).await;
        program
    }

    /// Starts `run` with this configuration (TOML). After a signal it has a fifth of a second to deliver what is left.
    pub fn run(config: &str, env: &[(&str, &str)]) -> Program {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("vector.toml");
        std::fs::write(&path, config).expect("a file to write");
        let path = path.to_str().expect("a temporary path is UTF-8");
        Program::spawn(
            command(&["run", "--graceful-shutdown-limit-secs", "0.2", "-c", path], env),
            Some(directory),
        )
    }

    fn spawn(command: Command, directory: Option<TempDir>) -> Program {
        Program::spawn_into(Stdio::null(), command, directory)
    }

    fn spawn_into(output: Stdio, mut command: Command, directory: Option<TempDir>) -> Program {
        let mut child = command.stdout(output).spawn().expect("the command starts");
        let mut lines = BufReader::new(child.stderr.take().expect("a pipe")).lines();
        let log: Arc<Mutex<String>> = Arc::default();
        let said = Arc::clone(&log);
        let reader = tokio::spawn(async move {
            while let Some(line) = lines.next_line().await.expect("text") {
                let mut log = said.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Program { child, log, reader, _directory: directory, seen: 0 }
    }

    /// What it has logged so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until there are these words in the log, behind those that were waited for last.
    pub async fn wait_for_log(&mut self, words: &str) {
        let said = async {
            loop {
                let has_ended = self.reader.is_finished();
                let log = self.log();
                if let Some(at) = log.get(self.seen..).and_then(|new| new.find(words)) {
                    return self.seen + at + words.len();
                }
                assert!(!has_ended, "it has ended without {words:?}:\n{log}");
                sleep(POLL_EVERY).await;
            }
        };
        match timeout(LIMIT, said).await {
            Ok(seen) => self.seen = seen,
            Err(_) => panic!("no {words:?} in the log:\n{}", self.log()),
        }
    }

    /// Sends a signal: `-TERM`.
    pub async fn signal(&self, signal: &str) {
        let pid = self.child.id().expect("it runs").to_string();
        let status = Command::new("kill").args([signal, &pid]).status().await;
        assert!(status.expect("kill is there").success());
    }

    /// Waits for its end: the exit code, and its whole log.
    pub async fn ended(mut self) -> (Option<i32>, String) {
        let status = timeout(LIMIT, self.child.wait()).await;
        let status = status.unwrap_or_else(|_| panic!("it does not end:\n{}", self.log()));
        let reader = &mut self.reader;
        timeout(LIMIT, reader).await.expect("its log does not end").expect("text");
        (status.expect("a status").code(), self.log())
    }

    /// Sends the signal to stop, waits for the end, and gives the books of the sinks.
    pub async fn stop(self) -> Vec<(String, Book)> {
        self.signal("-TERM").await;
        let (_, log) = self.ended().await;
        let books: Vec<_> = log.lines().filter_map(book).collect();
        assert!(!books.is_empty(), "no books in the log: {log}");
        books
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
}

/// What the log says at the end of this sink.
pub fn book_of(log: &str, sink: &str) -> Option<Book> {
    log.lines().filter_map(book).find(|(name, _)| name == sink).map(|(_, book)| book)
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
