//! What a test's own thread logs.

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

const WITHIN: Duration = Duration::from_secs(20);

/// The lines that are logged in this thread while it lives.
#[derive(Clone, Debug, Default)]
pub struct LogLines(Arc<Mutex<Vec<u8>>>);

impl LogLines {
    /// Keeps what is logged from now on, from the level `DEBUG`. Whoever drops the guard ends it.
    pub fn keep() -> (LogLines, DefaultGuard) {
        let lines = LogLines::default();
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(tracing::Level::DEBUG)
            .with_ansi(false)
            .with_writer(lines.clone())
            .finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    /// Waits until one of them holds this text.
    pub async fn wait_for(&self, text: &str) {
        let found = async {
            while self.with(text).is_empty() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let found = tokio::time::timeout(WITHIN, found).await;
        assert!(found.is_ok(), "`{text}` is not in the log:\n{}", self.with("").join("\n"));
    }

    /// Those of them that hold this text.
    pub fn with(&self, text: &str) -> Vec<String> {
        let bytes = self.0.lock().unwrap().clone();
        let all = String::from_utf8(bytes).expect("text");
        all.lines().filter(|line| line.contains(text)).map(str::to_owned).collect()
    }
}

impl Write for LogLines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for LogLines {
    type Writer = LogLines;

    fn make_writer(&'a self) -> LogLines {
        self.clone()
    }
}
