//! [`Outcome`]: what becomes of events that reach a sink.

use crate::finalizer::EventStatus;

/// Why events were dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum DropReason {
    /// The sink's buffer was full.
    BufferFull,
    /// The sink's options say that it does not want them.
    Filtered,
    /// The shutdown's deadline came first, and they were nowhere else.
    Shutdown,
    /// The sink gave no answer for them, which is a fault in the sink, and they were nowhere else.
    Unanswered,
    /// They were in a buffer on disk, and could not be read again.
    Damaged,
    /// The sink let them go, as at the shutdown's deadline, but their source gets them back: it waits for
    /// deliveries, and the stream keeps them. No loss.
    Returned,
}

impl DropReason {
    /// All reasons.
    pub const ALL: &'static [DropReason] = &[
        DropReason::BufferFull,
        DropReason::Filtered,
        DropReason::Shutdown,
        DropReason::Unanswered,
        DropReason::Damaged,
        DropReason::Returned,
    ];

    /// The reason as a word for reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            DropReason::BufferFull => "buffer_full",
            DropReason::Filtered => "filtered",
            DropReason::Shutdown => "shutdown",
            DropReason::Unanswered => "unanswered",
            DropReason::Damaged => "damaged",
            DropReason::Returned => "returned",
        }
    }
}

/// What became of events that reached a sink.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// The destination has them.
    Delivered,
    /// The destination, or the sink itself, refused them for good: they become dead letters, if there are any.
    Rejected(Rejection),
    /// They were given up.
    Dropped(DropReason),
    /// They are still in the sink's buffer on disk, for the next run.
    Kept,
}

/// Why events were refused for good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Rejection {
    /// In words; without secrets.
    pub reason: String,
    /// The status of the destination's answer, if there was one.
    pub status: Option<u16>,
    /// How often they were sent.
    pub attempts: usize,
}

impl Rejection {
    /// By the sink itself: nothing was sent.
    pub fn unsent(reason: impl Into<String>) -> Rejection {
        Rejection { reason: reason.into(), ..Rejection::default() }
    }

    /// By the destination, at the last of so many attempts, with this status if its protocol has one.
    pub fn answered(reason: impl Into<String>, status: Option<u16>, attempts: usize) -> Rejection {
        Rejection { reason: reason.into(), status, attempts }
    }
}

impl Outcome {
    /// Refused by the sink itself, before anything was sent.
    pub fn unsent(reason: impl Into<String>) -> Outcome {
        Outcome::Rejected(Rejection::unsent(reason))
    }

    pub(super) fn status(&self) -> EventStatus {
        match self {
            // What nobody wants has not failed.
            Outcome::Delivered | Outcome::Dropped(DropReason::Filtered) => EventStatus::Delivered,
            Outcome::Rejected(_) => EventStatus::Rejected,
            Outcome::Dropped(_) | Outcome::Kept => EventStatus::Errored,
        }
    }
}
