//! [`Sampler`]: looks at the books every second, and tells whoever listens.

use super::history::History;
use super::snapshot::{Snapshot, status};
use super::status::TopologyStatus;
use crate::topology::Observer;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How often it looks.
pub(super) const EVERY: Duration = Duration::from_secs(1);

/// The history of a topology, and what it says every second.
#[derive(Debug)]
pub(super) struct Sampler {
    history: Mutex<History>,
    said: watch::Sender<Arc<str>>,
}

impl Sampler {
    pub(super) fn new(observer: &Observer) -> Sampler {
        let mut history = History::default();
        let now = Snapshot::take(observer);
        history.sample(&now.components(false), observer.uptime(), now.now());
        Sampler { history: Mutex::new(history), said: watch::Sender::new(Arc::from("")) }
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks.
    pub(super) fn sample(&self, observer: &Observer, shows_events: bool) {
        let now = Snapshot::take(observer);
        self.history().sample(&now.components(false), observer.uptime(), now.now());
        // Written once, for all who listen.
        if self.said.receiver_count() > 0
            && let Ok(text) = serde_json::to_string(&status(&now, observer, &self.history(), shows_events))
        {
            self.said.send_replace(Arc::from(text));
        }
    }

    /// How the topology gets on now.
    pub(super) fn status(&self, observer: &Observer, shows_events: bool) -> TopologyStatus {
        status(&Snapshot::take(observer), observer, &self.history(), shows_events)
    }

    /// The last hour.
    pub(super) fn to_json(&self) -> super::status::History {
        self.history().to_json()
    }

    /// What is said from now on, every second, as JSON.
    pub(super) fn listen(&self) -> watch::Receiver<Arc<str>> {
        self.said.subscribe()
    }
}
