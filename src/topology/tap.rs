//! [`Tap`]: what the sources send, shown to whoever looks at it now.
//!
//! While nobody looks it costs one load of an atomic number a chunk. Whoever looks gets at most so many events a
//! second, and is told how many were left out; nobody who reads slowly holds up an event.

use crate::event::{Level, LogEvent, Timestamp};
use crate::nats::SubjectFilter;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// The most events that one looker gets in a second, and that wait for one.
pub const TAP_EVENTS_PER_SECOND: u32 = 200;
const WAITING: usize = TAP_EVENTS_PER_SECOND as usize;

/// The most bytes of a message that are shown, and of each other text.
const MAX_MESSAGE: usize = 4 << 10;
const MAX_TEXT: usize = 256;

/// A look at the events that the sources of a topology send; a clone is the same.
#[derive(Clone, Debug, Default)]
pub struct Tap(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// How many look.
    count: AtomicUsize,
    lookers: Mutex<Vec<Looker>>,
}

#[derive(Debug)]
struct Looker {
    filter: SubjectFilter,
    events: mpsc::Sender<TappedEvent>,
    skipped: Arc<AtomicU64>,
    /// When the current second began, and how many events it has had.
    second: (Instant, u32),
}

/// What is shown of an event: each text cut where it is too long.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TappedEvent {
    /// Its own time.
    pub time: Timestamp,
    /// The subject that it came with.
    pub subject: Option<String>,
    /// The app.
    pub app: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The machine.
    pub instance: Option<String>,
    /// How bad it is.
    pub level: Option<Level>,
    /// The message, or the whole event where it has none; at most 4 KiB.
    pub message: String,
}

/// Whoever looks; dropped, he does no more.
#[derive(Debug)]
pub struct TapReceiver {
    events: mpsc::Receiver<TappedEvent>,
    skipped: Arc<AtomicU64>,
    tap: Tap,
}

impl Tap {
    fn lookers(&self) -> MutexGuard<'_, Vec<Looker>> {
        self.0.lookers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From now on shows the events whose subject fits; one without a subject fits `>`.
    pub fn look(&self, filter: SubjectFilter) -> TapReceiver {
        let (sender, events) = mpsc::channel(WAITING);
        let skipped = Arc::<AtomicU64>::default();
        let looker =
            Looker { filter, events: sender, skipped: Arc::clone(&skipped), second: (Instant::now(), 0) };
        let mut lookers = self.lookers();
        lookers.push(looker);
        self.0.count.store(lookers.len(), Ordering::Relaxed);
        drop(lookers);
        TapReceiver { events, skipped, tap: self.clone() }
    }

    /// Shows a chunk to whoever looks.
    pub(super) fn show(&self, events: &[LogEvent]) {
        if self.0.count.load(Ordering::Relaxed) > 0 {
            self.lookers().iter_mut().for_each(|looker| looker.take(events));
        }
    }
}

impl Looker {
    fn take(&mut self, events: &[LogEvent]) {
        let now = Instant::now();
        if now.duration_since(self.second.0) >= Duration::from_secs(1) {
            self.second = (now, 0);
        }
        let fits = |event: &&LogEvent| self.filter.matches(event.subject().unwrap_or(NO_SUBJECT));
        for event in events.iter().filter(fits) {
            let is_shown = self.second.1 < TAP_EVENTS_PER_SECOND
                && match self.events.try_reserve() {
                    Ok(place) => {
                        place.send(TappedEvent::new(event));
                        true
                    }
                    Err(_) => false,
                };
            match is_shown {
                true => self.second.1 += 1,
                false => drop(self.skipped.fetch_add(1, Ordering::Relaxed)),
            }
        }
    }
}

/// A subject that no app has: `>` fits it, and `*`, which nobody asks for.
const NO_SUBJECT: &str = "-";

impl TapReceiver {
    /// The next event; waits for it. Safe to cancel.
    pub async fn next(&mut self) -> Option<TappedEvent> {
        self.events.recv().await
    }

    /// How many events were left out since this was asked last.
    pub fn take_skipped(&self) -> u64 {
        self.skipped.swap(0, Ordering::Relaxed)
    }
}

impl Drop for TapReceiver {
    fn drop(&mut self) {
        self.events.close();
        let mut lookers = self.tap.lookers();
        lookers.retain(|looker| !looker.events.is_closed());
        self.tap.0.count.store(lookers.len(), Ordering::Relaxed);
    }
}

impl TappedEvent {
    fn new(event: &LogEvent) -> TappedEvent {
        let known = event.semantics();
        let short = |text: std::borrow::Cow<'_, str>| cut(&text, MAX_TEXT);
        TappedEvent {
            time: known.timestamp(),
            subject: event.subject().map(|subject| cut(subject, MAX_TEXT)),
            app: known.app().map(short),
            region: known.region().map(short),
            instance: known.instance().map(short),
            level: known.level(),
            message: match known.message() {
                Some(message) => cut(&message, MAX_MESSAGE),
                None => cut(&event.json(), MAX_MESSAGE),
            },
        }
    }
}

/// The text, or as much of its beginning as is not too much.
fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let end = text.floor_char_boundary(limit - '…'.len_utf8());
    format!("{}…", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytestring::ByteString;

    fn event(subject: &str, message: &str) -> LogEvent {
        let event = LogEvent::from_message(message.as_bytes(), Timestamp::now());
        if subject.is_empty() { event } else { event.with_subject(ByteString::from(subject)) }
    }

    fn filter(text: &str) -> SubjectFilter {
        SubjectFilter::parse(text).unwrap()
    }

    #[test]
    fn shows_what_fits_and_nothing_when_nobody_looks() {
        let tap = Tap::default();
        let events =
            [event("logs.web.ord.1", "a"), event("logs.db.ord.1", "b"), event("", &"ä".repeat(5_000))];
        tap.show(&events);
        let mut web = tap.look(filter("logs.web.>"));
        let mut all = tap.look(filter(">"));
        tap.show(&events);
        let seen = web.events.try_recv().unwrap();
        assert_eq!((seen.message.as_str(), seen.app.as_deref()), ("a", Some("web")));
        assert!(web.events.try_recv().is_err());
        let messages: Vec<_> =
            std::iter::from_fn(|| all.events.try_recv().ok()).map(|event| event.message).collect();
        assert_eq!(&messages[..2], ["a", "b"]);
        assert!(messages[2].len() <= MAX_MESSAGE && messages[2].ends_with("ä…"), "{}", messages[2].len());
        drop((web, all));
        assert_eq!(tap.0.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let tap = Tap::default();
        let mut slow = tap.look(filter("logs.>"));
        let events: Vec<_> = (0..1_000).map(|_| event("logs.web.ord.1", "x")).collect();
        tap.show(&events);
        let seen = std::iter::from_fn(|| slow.events.try_recv().ok()).count();
        assert_eq!((seen, slow.take_skipped()), (WAITING, 1_000 - WAITING as u64));
        assert_eq!(slow.take_skipped(), 0);
    }
}
