//! The program itself, as a process.

use std::process::{Output, Stdio};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::process::{Child, ChildStderr, Command};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(60);

const PROGRAM: &str = env!("CARGO_BIN_EXE_log-shipper");

fn command(args: &[&str], env: &[(&str, &str)]) -> Command {
    prepare(Command::new(PROGRAM), args, env)
}

fn prepare(mut command: Command, args: &[&str], env: &[(&str, &str)]) -> Command {
    command.args(args).env_clear().envs(env.iter().copied()).kill_on_drop(true);
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
    log: BufReader<ChildStderr>,
    /// What it has logged so far.
    pub logged: String,
}

impl Program {
    /// Starts a command, and waits until its log has these words.
    pub async fn start(args: &[&str], env: &[(&str, &str)], words: &str) -> Program {
        Program::spawn(command(args, env), words).await
    }

    /// The same where no file may be longer than so many half KiB: what a full disk is to one file.
    pub async fn start_with_short_files(blocks: u32, args: &[&str], words: &str) -> Program {
        let mut shell = Command::new("sh");
        // Without the trap, the first byte too many would end it.
        shell.args(["-c", &format!("ulimit -f {blocks}; trap '' XFSZ; exec \"$@\""), "sh", PROGRAM]);
        Program::spawn(prepare(shell, args, &[]), words).await
    }

    async fn spawn(mut command: Command, words: &str) -> Program {
        let mut child = command.spawn().expect("the command starts");
        let log = BufReader::new(child.stderr.take().expect("a pipe"));
        let mut program = Program { child, log, logged: String::new() };
        program.wait_for_log(words).await;
        program
    }

    /// Waits until a further line of the log has these words.
    pub async fn wait_for_log(&mut self, words: &str) {
        let start = self.logged.len();
        while !self.logged[start..].contains(words) {
            let read = timeout(LIMIT, self.log.read_line(&mut self.logged)).await;
            let read = read.unwrap_or_else(|_| panic!("no {words:?} in the log:\n{}", self.logged));
            assert_ne!(read.expect("text"), 0, "it has ended without {words:?}:\n{}", self.logged);
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
        let rest = self.log.read_to_string(&mut self.logged);
        timeout(LIMIT, rest).await.expect("it does not end").expect("text");
        let status = timeout(LIMIT, self.child.wait()).await.expect("it does not end");
        (status.expect("a status").code(), self.logged)
    }
}
