//! The child process that is measured.

use crate::Result;
use std::fs::File;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

/// Both shippers allow themselves 60 s with a configuration file.
const STOP_WITHIN: Duration = Duration::from_secs(80);
/// A program that used no clock tick of CPU for so long has nothing to do.
const IDLE_FOR: Duration = Duration::from_millis(300);
const IDLE_WITHIN: Duration = Duration::from_secs(20);
const POLL_EVERY: Duration = Duration::from_millis(5);

/// A running program, killed when dropped.
pub struct Program {
    name: &'static str,
    child: Child,
    directory: TempDir,
}

impl Program {
    pub fn start(mut command: Command, name: &'static str) -> Result<Self> {
        let directory = TempDir::new().expect("a temporary directory");
        // A file and no pipe, so that a talkative program never waits for us.
        let output = File::create(directory.path().join("output")).expect("a temporary file");
        let errors = output.try_clone().expect("a second handle of a file");
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{name} does not start: {error}"))?;
        Ok(Self { name, child, directory })
    }

    /// An error about the program, with the last lines of its output.
    pub fn problem(&self, what: &str) -> String {
        let output = self.output();
        let lines: Vec<&str> = output.lines().collect();
        format!("{} {what}; it said:\n{}", self.name, lines[lines.len().saturating_sub(20)..].join("\n"))
    }

    fn output(&self) -> String {
        let path: PathBuf = self.directory.path().join("output");
        String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into_owned()
    }

    /// Waits for the first line of its output.
    pub async fn line(&self, within: Duration) -> Result<String> {
        let deadline = Instant::now() + within;
        while Instant::now() < deadline {
            if let Some((line, _)) = self.output().split_once('\n') {
                return Ok(line.to_owned());
            }
            sleep(POLL_EVERY).await;
        }
        Err(self.problem(&format!("said nothing within {within:?}")))
    }

    /// The sum of the numbers that follow a word in the books of its sinks, which log-shipper prints when
    /// it stops.
    pub fn counted(&self, word: &str) -> u64 {
        let output = self.output();
        let books = output.lines().filter(|line| line.contains(" sink ") && line.contains(": received "));
        let number = |line: &str| {
            let (_, rest) = line.split_once(&format!("{word} "))?;
            rest.split(|c: char| !c.is_ascii_digit()).next()?.parse::<u64>().ok()
        };
        books.filter_map(number).sum()
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Seconds of CPU so far, its own and the kernel's on its behalf.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let stat = self.proc_file("stat")?;
        // The second field is the name in brackets, which may hold blanks.
        let (_, fields) = stat.rsplit_once(')').expect("a name in brackets");
        let fields: Vec<&str> = fields.split_whitespace().collect();
        // Fields 14 and 15 of proc(5), utime and stime; here the third is the first.
        let ticks: f64 =
            [fields[11], fields[12]].iter().map(|field| field.parse::<f64>().expect("clock ticks")).sum();
        Ok(ticks / clock_ticks())
    }

    /// The peak of resident memory so far, in MiB.
    pub fn peak_memory(&self) -> Result<f64> {
        let status = self.proc_file("status")?;
        let peak =
            status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("the peak of resident memory");
        let kib: f64 = peak.trim().trim_end_matches(" kB").parse().expect("a number of KiB");
        Ok(kib / 1024.0)
    }

    fn proc_file(&self, name: &str) -> Result<String> {
        let read = self.child.id().and_then(|id| std::fs::read_to_string(format!("/proc/{id}/{name}")).ok());
        read.ok_or_else(|| self.problem("has ended"))
    }

    /// Waits until it has nothing to do, or for as long as one can wait for a program that always does
    /// something.
    pub async fn idle(&self) -> Result<()> {
        let deadline = Instant::now() + IDLE_WITHIN;
        let mut before = self.cpu_seconds()?;
        loop {
            sleep(IDLE_FOR).await;
            let now = self.cpu_seconds()?;
            if now == before || Instant::now() > deadline {
                return Ok(());
            }
            before = now;
        }
    }

    /// Asks it to stop, and waits until it has.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        let Some(id) = self.child.id() else { return Err(self.problem("has ended")) };
        let sent =
            Command::new("kill").args(["-TERM", &id.to_string()]).status().await.expect("the command kill");
        assert!(sent.success(), "{} takes no signal", self.name);
        match timeout(STOP_WITHIN, self.child.wait()).await {
            Ok(ended) => Ok(ended.expect("the state of a child")),
            Err(_) => Err(self.problem(&format!("did not stop within {STOP_WITHIN:?}"))),
        }
    }
}

fn clock_ticks() -> f64 {
    // Linux has told every program the same number for decades.
    const USUAL: f64 = 100.0;
    std::process::Command::new("getconf")
        .arg("CLK_TCK")
        .output()
        .ok()
        .and_then(|output| String::from_utf8(output.stdout).ok()?.trim().parse().ok())
        .unwrap_or(USUAL)
}
