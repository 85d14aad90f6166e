//! log-shipper's own log: on standard error, as text or JSON, filtered by `LOG_SHIPPER_LOG`. A message that is
//! repeated is counted instead of written again.

use super::{Failure, is_coloured, progress};
use crate::env::Env;
use crate::redact::one_line;
use clap::ValueEnum;
use std::collections::HashMap;
use std::fmt::{Debug, Write as _};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::filter::{LevelFilter, ParseError};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt};
use tracing_subscriber::registry::LookupSpan;
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
    let filter = with_repetitions(&filter).map_err(|error| {
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

/// The filter that is asked for. What it lets through is counted when it is repeated, so that it lets the count through
/// too, which this module says: as high a level as it has anywhere is enough for that.
fn with_repetitions(filter: &str) -> Result<EnvFilter, ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    let most = filter.max_level_hint().unwrap_or(LevelFilter::TRACE);
    Ok(filter.add_directive(format!("{}={most}", module_path!()).parse()?))
}

/// Says what has not been said yet, at the end.
pub(super) fn flush() {
    if let Some(fold) = FOLD.get() {
        fold.end();
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

/// So many messages are remembered at once.
const MOST_KNOWN: usize = 64;

/// So many characters of a message name it when its repetitions are told, and as many of its fields.
const MOST_NAME: usize = 200;

/// Counts a message that is repeated, instead of letting it through.
#[derive(Clone, Debug)]
struct Fold {
    window: Duration,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    /// The messages that were written lately, by what stands for all that each says: at most [`MOST_KNOWN`].
    known: HashMap<u64, Known>,
    /// Whether a thread waits for the end of a window: never more than one.
    is_watched: bool,
    /// Nothing is counted any more, because nobody would tell it.
    has_ended: bool,
}

/// A message that was written.
#[derive(Debug)]
struct Known {
    level: Level,
    name: String,
    since: Instant,
    repeated: u64,
}

impl Fold {
    fn new(window: Duration) -> Fold {
        Fold { window, state: Arc::default() }
    }

    /// Repetitions are told under this lock, so that whoever ends the process waits for them; what tells them does not
    /// come here again, see [`REPEATED`].
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a message is to be written. Repetitions whose time is over are told first.
    fn lets_through(&self, key: u64, level: Level, name: impl FnOnce() -> String) -> bool {
        let now = Instant::now();
        let mut state = self.state();
        if state.has_ended {
            return true;
        }
        let is_over = |known: &Known| now.saturating_duration_since(known.since) >= self.window;
        if let Some(known) = state.known.get_mut(&key).filter(|known| !is_over(known)) {
            known.repeated += 1;
            if !std::mem::replace(&mut state.is_watched, true) {
                drop(state);
                self.clone().watch();
            }
            return false;
        }
        self.tell(&mut state, is_over);
        if state.known.len() >= MOST_KNOWN
            && let Some(oldest) = state.known.values().map(|known| known.since).min()
        {
            self.tell(&mut state, |known| known.since == oldest);
        }
        state.known.insert(key, Known { level, name: name(), since: now, repeated: 0 });
        true
    }

    /// Forgets these messages, the oldest first, and says how often each was repeated.
    fn tell(&self, state: &mut State, is_told: impl Fn(&Known) -> bool) {
        let mut told: Vec<_> =
            state.known.extract_if(|_, known| is_told(known)).map(|(_, known)| known).collect();
        told.sort_by_key(|known| known.since);
        told.iter().for_each(|known| known.say(self.window));
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

    /// Tells the repetitions whose time is over; how long it is until there may be some to tell: one that begins later
    /// also ends later. `None`, and nobody watches any more, if there are none.
    fn tell_or_wait(&self) -> Option<Duration> {
        let mut state = self.state();
        self.tell(&mut state, |known| known.since.elapsed() >= self.window);
        let repeated = state.known.values().filter(|known| known.repeated > 0);
        let left = repeated.map(|known| self.window.saturating_sub(known.since.elapsed())).min();
        state.is_watched = left.is_some();
        left
    }

    /// Tells all. What is said later is not counted.
    fn end(&self) {
        let mut state = self.state();
        state.has_ended = true;
        self.tell(&mut state, |_| true);
    }
}

/// What marks our own words, which are never counted.
const REPEATED: &str = "repeated";

impl Known {
    fn say(&self, window: Duration) {
        let Known { level, name, since, repeated } = self;
        let times = match repeated {
            0 => return,
            1 => "once".to_owned(),
            many => format!("{many} times"),
        };
        // Seconds that have begun; at the end, or for want of room, it is told early.
        let seconds = since.elapsed().min(window).as_secs_f64().ceil().max(1.0);
        macro_rules! say {
            ($level:ident) => {
                tracing::$level!(name: "repeated", repeated, "`{name}` was repeated {times} in {seconds} s")
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

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Fold {
    fn event_enabled(&self, event: &Event<'_>, cx: Context<'_, S>) -> bool {
        if event.metadata().name() == REPEATED {
            return true;
        }
        let mut text = Text::default();
        event.record(&mut text);
        let mut hasher = DefaultHasher::new();
        event.metadata().callsite().hash(&mut hasher);
        cx.event_span(event).map(|span| span.id()).hash(&mut hasher);
        text.hash(&mut hasher);
        self.lets_through(hasher.finish(), *event.metadata().level(), || text.name())
    }
}

/// What a message says, and its fields, each with a space before it.
#[derive(Default, Hash)]
struct Text {
    message: String,
    fields: String,
}

impl Text {
    /// What it is called when its repetitions are told. The fields tell one component's from another's.
    fn name(&self) -> String {
        let message = beginning(&self.message);
        match self.fields.is_empty() {
            true => message,
            false => format!("{message} {}", beginning(&self.fields)),
        }
    }
}

/// As much of a text as names it.
fn beginning(text: &str) -> String {
    let mut beginning = one_line(text, MOST_NAME);
    if text.trim().chars().nth(MOST_NAME).is_some() {
        beginning.pop();
        beginning.push('…');
    }
    beginning
}

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            name => write!(self.fields, " {name}={value:?}"),
        };
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

    fn name(key: u64) -> impl FnOnce() -> String {
        move || format!("m{key}")
    }

    #[test]
    fn what_comes_again_is_counted() {
        for (keys, expected) in [
            (&[1, 1, 1][..], &[true, false, false][..]),
            (&[2, 1, 2, 2], &[true, true, false, false]),
            (&[1, 2, 1, 2, 3, 1], &[true, true, false, false, true, false]),
        ] {
            let fold = Fold::new(Duration::from_secs(600));
            let through: Vec<_> =
                keys.iter().map(|key| fold.lets_through(*key, Level::INFO, name(*key))).collect();
            assert_eq!(through, expected, "{keys:?}");
        }
        // After the time it is news again.
        let short = Fold::new(Duration::ZERO);
        assert!((0..2).all(|_| short.lets_through(1, Level::INFO, name(1))));
    }

    #[test]
    fn one_thread_and_a_few_messages_however_many_are_repeated() {
        let (fold, lines) = (Fold::new(Duration::from_secs(600)), Lines::default());
        // As if it were there.
        fold.state().is_watched = true;
        tracing::subscriber::with_default(log(&fold, &lines), || {
            for key in 0..1000 {
                assert!(fold.lets_through(key, Level::INFO, name(key)));
                assert!(!fold.lets_through(key, Level::INFO, name(key)));
                assert!(fold.state().known.len() <= MOST_KNOWN);
            }
            let left = fold.tell_or_wait().expect("the last ones are repeated");
            assert!(left > Duration::from_secs(500), "{left:?}");
            // Nobody but the log and we has the state: no thread was begun.
            assert_eq!(Arc::strong_count(&fold.state), 2);
            fold.end();
            assert_eq!((fold.tell_or_wait(), fold.state().is_watched), (None, false));
        });
        let told = lines.text();
        for (line, key) in told.lines().zip(0..1000) {
            assert!(line.starts_with(&format!(" INFO `m{key}` was repeated once in ")), "{line}");
        }
        assert_eq!(told.lines().count(), 1000, "each in its turn, and none is lost");
    }

    #[test]
    fn what_was_repeated_is_told_when_its_time_is_over() {
        let (fold, lines) = (Fold::new(Duration::ZERO), Lines::default());
        tracing::subscriber::with_default(log(&fold, &lines), || {
            let repeat = |key, repeated| {
                let known = Known { level: Level::WARN, name: name(key)(), since: Instant::now(), repeated };
                fold.state().known.insert(key, known);
            };
            repeat(1, 2);
            assert_eq!(fold.tell_or_wait(), None);
            repeat(2, 3);
            repeat(3, 0);
            assert!(fold.lets_through(4, Level::INFO, name(4)), "news brings it too");
        });
        let expected = " WARN `m1` was repeated 2 times in 1 s repeated=2\n \
                        WARN `m2` was repeated 3 times in 1 s repeated=3\n";
        assert_eq!(lines.text(), expected);
        assert_eq!(fold.state().known.len(), 1);
    }

    #[test]
    fn only_the_same_words_at_the_same_place_are_the_same_message() {
        let (fold, lines) = (Fold::new(Duration::from_secs(600)), Lines::default());
        tracing::subscriber::with_default(log(&fold, &lines), || {
            for number in [1, 1, 2] {
                tracing::info!(number, "one");
            }
            for span in [tracing::info_span!("a"), tracing::info_span!("b")] {
                span.in_scope(|| (0..2).for_each(|_| tracing::info!("within")));
            }
            tracing::info!("other");
        });
        let text = lines.text();
        for (words, times) in [("one number=1", 1), ("one number=2", 1), ("within", 2), ("other", 1)] {
            assert_eq!(text.matches(words).count(), times, "{words}: {text}");
        }
    }

    #[test]
    fn the_count_comes_through_every_filter_that_lets_the_message_through() {
        for filter in [
            "info",
            "log_shipper::cli::reload=info",
            "warn,log_shipper::cli::reload=info",
            "off,log_shipper::cli::reload=trace",
            "info,log_shipper::cli::log=off",
            "[span]=info",
        ] {
            let (fold, lines) = (Fold::new(Duration::from_secs(600)), Lines::default());
            let log = log(&fold, &lines).with(with_repetitions(filter).unwrap());
            tracing::subscriber::with_default(log, || {
                let _span = tracing::info_span!(target: "log_shipper::cli::reload", "span").entered();
                (0..3).for_each(|_| tracing::info!(target: "log_shipper::cli::reload", "again"));
                fold.end();
            });
            let text = lines.text();
            let [said, told] = text.lines().collect::<Vec<_>>()[..] else { panic!("{filter}: {text}") };
            assert!(said.ends_with("again") && told.contains("was repeated 2 times"), "{filter}: {text}");
        }
        // Nothing else is let through with it.
        for (filter, most) in [("off", LevelFilter::OFF), ("warn,hyper=info", LevelFilter::INFO)] {
            assert_eq!(with_repetitions(filter).unwrap().max_level_hint(), Some(most), "{filter}");
        }
        assert!(with_repetitions("log_shipper=loud").is_err());
    }

    #[test]
    fn nothing_is_left_unsaid_at_the_end() {
        let (fold, lines) = (Fold::new(Duration::from_secs(600)), Lines::default());
        let long = "ä".repeat(300);
        tracing::subscriber::with_default(log(&fold, &lines), || {
            for _ in 0..4 {
                // Two sinks that fail in turn.
                ["a", "b"].iter().for_each(|sink| tracing::warn!(sink, "fails"));
            }
            (0..2).for_each(|_| tracing::error!("two\nlines {long}"));
            fold.end();
            fold.end();
            (0..2).for_each(|_| tracing::info!("after the end"));
        });
        let text = lines.text();
        let told: Vec<_> = text.lines().filter(|line| line.contains(" was repeated ")).collect();
        let named = format!("two lines {}…", "ä".repeat(MOST_NAME - "two lines …".chars().count()));
        let expected = [
            " WARN `fails sink=\"a\"` was repeated 3 times in 1 s repeated=3".to_owned(),
            " WARN `fails sink=\"b\"` was repeated 3 times in 1 s repeated=3".to_owned(),
            format!("ERROR `{named}` was repeated once in 1 s repeated=1"),
        ];
        assert_eq!(told, expected, "{text}");
        assert_eq!(text.matches("WARN fails").count(), 2, "{text}");
        assert!(text.ends_with(" INFO after the end\n INFO after the end\n"), "{text}");
    }
}
