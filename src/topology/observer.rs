//! [`Observer`]: what can be seen of a topology from outside.

use super::books::Books;
use super::tap::Tap;
use crate::event::Timestamp;
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// What can be seen of a topology from outside, while it runs and afterwards; a clone sees the same. A reload changes
/// what it sees. It holds up nothing, and the topology ends without regard to it.
#[derive(Clone, Debug)]
pub struct Observer {
    books: Books,
    tap: Tap,
    /// Cancelled when the sources are told to stop; and when they have ended, or nothing of it is left.
    shutdown: CancellationToken,
    ended: CancellationToken,
    started: Timestamp,
    start: Instant,
}

impl Observer {
    /// Of a topology that starts now.
    pub(super) fn new(books: &Books, tap: &Tap, shutdown: &CancellationToken) -> Observer {
        Observer {
            books: books.clone(),
            tap: tap.clone(),
            shutdown: shutdown.clone(),
            ended: CancellationToken::new(),
            started: Timestamp::now(),
            start: Instant::now(),
        }
    }

    /// The books of all components.
    pub fn books(&self) -> &Books {
        &self.books
    }

    /// The events that the sources send.
    pub fn tap(&self) -> &Tap {
        &self.tap
    }

    /// Whether the topology stops, or has stopped: nothing is received any more.
    pub fn is_stopping(&self) -> bool {
        self.shutdown.is_cancelled() || self.ended.is_cancelled()
    }

    /// To be cancelled when the sources have ended.
    pub(super) fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// When it started.
    pub fn started(&self) -> Timestamp {
        self.started
    }

    /// How long ago that is.
    pub fn uptime(&self) -> Duration {
        self.start.elapsed()
    }
}
