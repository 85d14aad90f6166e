//! What is logged in a test.

use std::io;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

const WITHIN: Duration = Duration::from_secs(20);

/// What is logged in this thread while it lives.
pub struct Log {
    text: watch::Receiver<String>,
    _guard: tracing::subscriber::DefaultGuard,
}

#[derive(Clone)]
struct LogWriter(watch::Sender<String>);

impl io::Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.send_modify(|text| text.push_str(&String::from_utf8_lossy(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Log {
    /// Begins to listen.
    pub fn start() -> Log {
        Log::from_level(tracing::Level::INFO)
    }

    /// Begins to listen, to all that is at least so serious.
    pub fn from_level(level: tracing::Level) -> Log {
        let (sender, text) = watch::channel(String::new());
        let writer = LogWriter(sender);
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(level)
            .with_ansi(false)
            .with_writer(move || writer.clone())
            .finish();
        Log { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    /// Waits until something with these words has been logged.
    pub async fn wait_for(&self, words: &str) {
        let mut text = self.text.clone();
        let found = timeout(WITHIN, text.wait_for(|text| text.contains(words))).await.is_ok();
        assert!(found, "`{words}` is not in the log:\n{}", *self.text.borrow());
    }

    /// The lines that have these words.
    pub fn with(&self, words: &str) -> Vec<String> {
        self.text.borrow().lines().filter(|line| line.contains(words)).map(str::to_owned).collect()
    }

    /// How many lines have these words.
    pub fn count(&self, words: &str) -> usize {
        self.with(words).len()
    }

    /// All of it.
    pub fn text(&self) -> String {
        self.text.borrow().clone()
    }
}
