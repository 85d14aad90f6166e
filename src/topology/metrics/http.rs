//! [`HttpMeters`]: the requests of a sink, and how they were answered.

use super::histogram::{Histogram, HistogramSnapshot, ROUND_TRIP};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The methods that are told apart; all others are the last.
const METHODS: [&str; 7] = ["DELETE", "GET", "HEAD", "PATCH", "POST", "PUT", "other"];

/// The classes of statuses, whose round trips are told apart.
pub(crate) const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Why there was no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ErrorKind {
    /// No connection.
    Connect,
    /// It took too long.
    Timeout,
    /// The connection broke.
    Transport,
}

impl ErrorKind {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            ErrorKind::Connect => "connect",
            ErrorKind::Timeout => "timeout",
            ErrorKind::Transport => "transport",
        }
    }
}

/// Why a request has not delivered all that was in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Failure {
    /// The destination has answered with this status.
    Status(u16),
    /// It has not answered.
    Unanswered(ErrorKind),
    /// The request could not be signed.
    Unsigned,
}

impl Failure {
    /// The `error_code`: Vector's where it has one.
    pub(crate) fn code(self) -> String {
        match self {
            Failure::Status(status) => format!("http_response_{status}"),
            Failure::Unanswered(kind) => kind.as_str().to_owned(),
            Failure::Unsigned => "unsigned".to_owned(),
        }
    }
}

/// The requests of one sink. Per request a lock, and nothing for each event.
#[derive(Debug)]
pub(crate) struct HttpMeters {
    numbers: Mutex<Numbers>,
    round_trip: Histogram,
    by_class: [Histogram; CLASSES.len()],
    is_used: AtomicBool,
}

/// Bounded: there are no more methods, statuses and kinds than these keys can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Numbers {
    requests: [u64; METHODS.len()],
    responses: BTreeMap<u16, u64>,
    unanswered: BTreeMap<ErrorKind, u64>,
    failures: BTreeMap<Failure, u64>,
    retries: u64,
}

/// The requests of a sink at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct HttpSnapshot {
    numbers: Numbers,
    is_used: bool,
    pub(crate) round_trip: HistogramSnapshot,
    by_class: [HistogramSnapshot; CLASSES.len()],
}

impl Default for HttpMeters {
    fn default() -> HttpMeters {
        HttpMeters {
            numbers: Mutex::default(),
            round_trip: Histogram::new(&ROUND_TRIP),
            by_class: CLASSES.map(|_| Histogram::new(&ROUND_TRIP)),
            is_used: AtomicBool::new(false),
        }
    }
}

impl HttpMeters {
    fn numbers(&self) -> MutexGuard<'_, Numbers> {
        self.numbers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The sink is one that sends requests.
    pub(crate) fn set_used(&self) {
        self.is_used.store(true, Ordering::Relaxed);
    }

    /// A request is about to be sent.
    pub(crate) fn sending(&self, method: &str) {
        let place = METHODS.iter().position(|known| *known == method).unwrap_or(METHODS.len() - 1);
        self.numbers().requests[place] += 1;
    }

    /// An answer has come.
    pub(crate) fn answered(&self, status: u16, round_trip: Duration) {
        // Of numbers that are no statuses, all count as one.
        let status = if (100..600).contains(&status) { status } else { 599 };
        *self.numbers().responses.entry(status).or_default() += 1;
        self.round_trip.observe_time(round_trip);
        if let Some(class) = self.by_class.get(usize::from(status / 100 - 1)) {
            class.observe_time(round_trip);
        }
    }

    /// No answer has come.
    pub(crate) fn unanswered(&self, kind: ErrorKind, after: Duration) {
        *self.numbers().unanswered.entry(kind).or_default() += 1;
        self.round_trip.observe_time(after);
    }

    /// A request has not delivered all that was in it.
    pub(crate) fn failed(&self, failure: Failure) {
        *self.numbers().failures.entry(failure).or_default() += 1;
    }

    /// A batch is sent again.
    pub(crate) fn retried(&self) {
        self.numbers().retries += 1;
    }

    pub(crate) fn snapshot(&self) -> HttpSnapshot {
        HttpSnapshot {
            numbers: self.numbers().clone(),
            is_used: self.is_used.load(Ordering::Relaxed),
            round_trip: self.round_trip.snapshot(),
            by_class: self.by_class.each_ref().map(Histogram::snapshot),
        }
    }
}

impl HttpSnapshot {
    /// Whether the sink is one that sends requests.
    pub(crate) fn is_used(&self) -> bool {
        self.is_used
    }

    /// By method, those that there were.
    pub(crate) fn requests(&self) -> impl Iterator<Item = (&'static str, u64)> {
        METHODS.into_iter().zip(self.numbers.requests).filter(|(_, requests)| *requests > 0)
    }

    pub(crate) fn responses(&self) -> impl Iterator<Item = (u16, u64)> {
        self.numbers.responses.iter().map(|(status, responses)| (*status, *responses))
    }

    pub(crate) fn unanswered(&self) -> impl Iterator<Item = (ErrorKind, u64)> {
        self.numbers.unanswered.iter().map(|(kind, times)| (*kind, *times))
    }

    pub(crate) fn failures(&self) -> impl Iterator<Item = (Failure, u64)> {
        self.numbers.failures.iter().map(|(failure, times)| (*failure, *times))
    }

    /// By class of statuses, those that there were.
    pub(crate) fn response_round_trips(&self) -> impl Iterator<Item = (&'static str, &HistogramSnapshot)> {
        CLASSES.into_iter().zip(&self.by_class).filter(|(_, round_trips)| round_trips.count() > 0)
    }

    pub(crate) fn retries(&self) -> u64 {
        self.numbers.retries
    }
}
