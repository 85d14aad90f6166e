//! How far a long command is: a bar where standard error is a terminal, otherwise a line now and then.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::{IsTerminal, stderr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// The bar that is on the screen, so that whatever else is written goes beside it.
static SHOWN: Mutex<Option<ProgressBar>> = Mutex::new(None);

/// How long it takes until the next line, where there is no bar.
const NOW_AND_THEN: Duration = Duration::from_secs(10);

const STYLE: &str = "{msg} [{bar:30}] {human_pos} of {human_len} ({eta} left)";

fn shown() -> MutexGuard<'static, Option<ProgressBar>> {
    SHOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Does something that writes to standard error, with the bar out of its way.
pub(super) fn beside<T>(write: impl FnOnce() -> T) -> T {
    let bar = shown().clone();
    match bar {
        Some(bar) => bar.suspend(write),
        None => write(),
    }
}

/// How far a command is; the bar goes away with it.
pub(super) struct Progress {
    what: &'static str,
    total: u64,
    done: u64,
    bar: Option<ProgressBar>,
    next_line: Instant,
}

impl Progress {
    /// Of so many, none is done. `has_screen`: whether a bar would be alone on the terminal.
    pub(super) fn new(what: &'static str, total: u64, has_screen: bool) -> Progress {
        let bar = (has_screen && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(total).with_message(what);
            if let Ok(style) = ProgressStyle::with_template(STYLE) {
                bar.set_style(style.progress_chars("=> "));
            }
            *shown() = Some(bar.clone());
            bar
        });
        Progress { what, total, done: 0, bar, next_line: Instant::now() + NOW_AND_THEN }
    }

    /// So many are done.
    pub(super) fn set(&mut self, done: u64) {
        self.done = done;
        if let Some(bar) = &self.bar {
            return bar.set_position(done);
        }
        let now = Instant::now();
        if now >= self.next_line {
            self.next_line = now + NOW_AND_THEN;
            eprintln!("{}: {done} of {}", self.what, self.total);
        }
    }

    /// So many more are done.
    pub(super) fn add(&mut self, more: u64) {
        self.set(self.done + more);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = self.bar.take() {
            *shown() = None;
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_beside_a_bar_is_written_once() {
        *shown() = Some(ProgressBar::hidden());
        let mut times = 0;
        beside(|| times += 1);
        *shown() = None;
        beside(|| times += 1);
        assert_eq!(times, 2);
        // Standard error of a test may be a terminal.
        let mut progress = Progress::new("test", 10, false);
        progress.set(3);
        progress.add(4);
        assert_eq!((progress.done, progress.bar.is_none()), (7, true));
    }
}
