//! log-shipper's own log: on standard error, as text or JSON, filtered by `LOG_SHIPPER_LOG`. A message that is
//! repeated is counted instead of written again.

use super::{Failure, is_coloured, progress};
use crate::env::Env;
use clap::ValueEnum;
use std::fmt::{Debug, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, fmt};

/// How it is written.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Format {
    /// Lines for people.
    Text,
    /// A JSON object a line.
    Json,
}

/// For how long a message is not written again, as Vector's `internal_log_rate_limit`.
const WINDOW: Duration = Duration::from_secs(10);

/// The log of this process.
static FOLD: OnceLock<Fold> = OnceLock::new();

/// Starts the log, at this level if `LOG_SHIPPER_LOG` says nothing else.
pub(super) fn start(format: Option<Format>, level: &str, env: &Env) -> Result<(), Failure> {
    let format = match (format, env.get("LOG_SHIPPER_LOG_FORMAT").map_err(Failure::config)?.as_deref()) {
        (Some(format), _) => format,
        (None, None | Some("text")) => Format::Text,
        (None, Some("json")) => Format::Json,
        (None, Some(other)) => {
            return Err(Failure::Config(format!(
                "LOG_SHIPPER_LOG_FORMAT: `{other}` is unknown; expected text or json"
            )));
        }
    };
    let filter = env.get("LOG_SHIPPER_LOG").map_err(Failure::config)?.unwrap_or_else(|| level.to_owned());
    let filter = EnvFilter::try_new(filter).map_err(|error| {
        Failure::Config(format!("LOG_SHIPPER_LOG: {error}; expected a level such as info or debug"))
    })?;
    let fold = FOLD.get_or_init(|| Fold::new(WINDOW)).clone();
    let base = tracing_subscriber::registry().with(filter).with(fold);
    let lines = fmt::layer().with_writer(|| Stderr).with_target(false);
    match format {
        Format::Text => base.with(lines.with_ansi(is_coloured(env))).init(),
        Format::Json => base.with(lines.json().flatten_event(true)).init(),
    }
    Ok(())
}

/// Says what has not been said yet, at the end.
pub(super) fn flush() {
    if let Some(fold) = FOLD.get() {
        fold.flush();
    }
}

/// Standard error, beside a progress bar that may be there.
struct Stderr;

impl Write for Stderr {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        progress::beside(|| io::stderr().lock().write_all(bytes))?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

/// Counts a message that is repeated, instead of letting it through.
#[derive(Clone, Debug)]
struct Fold {
    window: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    last: Option<Last>,
    /// Whether a thread waits for the end of the window: never more than one.
    is_watched: bool,
}

/// The message that was written last.
#[derive(Debug)]
struct Last {
    /// Stands for all that it says.
    key: u64,
    level: Level,
    since: Instant,
    repeated: u64,
}

impl Fold {
    fn new(window: Duration) -> Fold {
        Fold { window, state: Arc::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message is to be written. What is to be said of the one before it is said first.
    fn lets_through(&self, key: u64, level: Level) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        if let Some(last) =
            state.last.as_mut().filter(|last| last.key == key && now - last.since < self.window)
        {
            last.repeated += 1;
            if !std::mem::replace(&mut state.is_watched, true) {
                drop(state);
                self.clone().watch();
            }
            return false;
        }
        let before = state.last.replace(Last { key, level, since: now, repeated: 0 });
        // To say something comes here again.
        drop(state);
        before.iter().for_each(Last::say);
        true
    }

    /// If nothing else comes until then, the repetitions are told all the same.
    fn watch(self) {
        let fold = self.clone();
        let watch = move || {
            while let Some(left) = fold.tell_or_wait() {
                std::thread::sleep(left);
            }
        };
        // Without a thread, the next message brings it, or the end.
        let thread = std::thread::Builder::new().name("log".to_owned()).stack_size(256 << 10).spawn(watch);
        if thread.is_err() {
            self.state().is_watched = false;
        }
    }

    /// Tells the repetitions whose time is over; how long it is until there may be some to tell. `None`, and nobody
    /// watches any more, if there are none.
    fn tell_or_wait(&self) -> Option<Duration> {
        let mut state = self.state();
        let left = match state.last.as_ref().filter(|last| last.repeated > 0) {
            Some(last) => self.window.saturating_sub(last.since.elapsed()),
            None => {
                state.is_watched = false;
                return None;
            }
        };
        if left.is_zero() {
            let last = state.last.take();
            drop(state);
            last.iter().for_each(Last::say);
        }
        Some(left)
    }

    fn flush(&self) {
        let last = self.state().last.take();
        last.iter().for_each(Last::say);
    }
}

/// What marks our own words, which are never counted.
const REPEATED: &str = "repeated";

impl Last {
    fn say(&self) {
        let Last { repeated, level, .. } = self;
        let times = match repeated {
            0 => return,
            1 => "once".to_owned(),
            many => format!("{many} times"),
        };
        macro_rules! say {
            ($level:ident) => {
                tracing::$level!(name: "repeated", repeated, "the last message was repeated {times}")
            };
        }
        match *level {
            Level::ERROR => say!(error),
            Level::WARN => say!(warn),
            Level::INFO => say!(info),
            Level::DEBUG => say!(debug),
            Level::TRACE => say!(trace),
        }
    }
}

impl<S: Subscriber> Layer<S> for Fold {
    fn event_enabled(&self, event: &Event<'_>, _cx: Context<'_, S>) -> bool {
        if event.metadata().name() == REPEATED {
            return true;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let mut hasher = DefaultHasher::new();
        event.metadata().callsite().hash(&mut hasher);
        text.0.hash(&mut hasher);
        self.lets_through(hasher.finish(), *event.metadata().level())
    }
}

/// All fields of a message as one text.
#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = writeln!(self.0, "{}={value:?}", field.name());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log in memory.
    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Lines {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn log(fold: &Fold, lines: &Lines) -> impl Subscriber + Send + Sync + use<> {
        let lines = lines.clone();
        let format = fmt::layer().with_writer(move || lines.clone()).with_target(false).without_time();
        tracing_subscriber::registry().with(fold.clone()).with(format.with_ansi(false))
    }

    #[test]
    fn what_comes_again_is_counted() {
        let fold = Fold::new(Duration::from_secs(600));
        for (keys, expected) in
            [(&[1, 1, 1][..], &[true, false, false][..]), (&[2, 1, 2, 2], &[true, true, true, false])]
        {
            let through: Vec<_> = keys.iter().map(|key| fold.lets_through(*key, Level::INFO)).collect();
            assert_eq!(through, expected, "{keys:?}");
        }
        assert_eq!(fold.state().last.take().map(|last| last.repeated), Some(1));
        // After the time it is news again.
        let short = Fold::new(Duration::ZERO);
        assert!(short.lets_through(1, Level::INFO) && short.lets_through(1, Level::INFO));
    }

    #[test]
    fn one_thread_watches_however_many_messages_are_repeated() {
        let fold = Fold::new(Duration::from_secs(600));
        // As if it were there.
        fold.state().is_watched = true;
        for key in 0..1000 {
            assert!(fold.lets_through(key, Level::INFO));
            assert!(!fold.lets_through(key, Level::INFO));
        }
        // Nobody but that one and we has the state.
        assert_eq!(Arc::strong_count(&fold.state), 1);
        let left = fold.tell_or_wait().expect("the last one is repeated");
        assert!(left > Duration::from_secs(500), "{left:?}");
        fold.flush();
        assert_eq!((fold.tell_or_wait(), fold.state().is_watched), (None, false));
        let short = Fold::new(Duration::ZERO);
        short.state().last = Some(Last { key: 1, level: Level::INFO, since: Instant::now(), repeated: 2 });
        assert_eq!(short.tell_or_wait(), Some(Duration::ZERO));
        assert!(short.state().last.is_none(), "it is told");
    }

    #[test]
    fn only_the_same_words_at_the_same_place_are_the_same_message() {
        let (fold, lines) = (Fold::new(Duration::from_secs(600)), Lines::default());
        tracing::subscriber::with_default(log(&fold, &lines), || {
            for number in [1, 1, 2] {
                tracing::info!(number, "one");
            }
            tracing::info!("other");
        });
        assert_eq!(lines.text().matches("one number=1").count(), 1, "{}", lines.text());
        assert_eq!(lines.text().matches("one number=2").count(), 1, "{}", lines.text());
        assert_eq!(lines.text().matches("other").count(), 1, "{}", lines.text());
    }

    #[test]
    fn nothing_is_left_unsaid_at_the_end() {
        let (fold, lines) = (Fold::new(Duration::from_secs(600)), Lines::default());
        tracing::subscriber::with_default(log(&fold, &lines), || {
            (0..4).for_each(|_| tracing::warn!("again"));
            fold.flush();
            fold.flush();
        });
        assert_eq!(lines.text(), " WARN again\n WARN the last message was repeated 3 times repeated=3\n");
    }
}
