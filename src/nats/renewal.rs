//! [`Renewal`]: a second connection takes the place of the first, without loss and without anything twice.
//!
//! 1. `Opening`: the second one is opened and signs in. The first one reads on; if the second cannot be opened,
//!    that is all.
//! 2. `Both`: the second one subscribes, and when the server has confirmed that, both get messages for a moment.
//!    Those of the second wait unread, so that those of the first come before them.
//! 3. `Draining`: the server is told to send no more to the first, and what it has sent is read to the end.
//! 4. `Catching`: the second one is the one that reads. Outside of a queue group, what the first one has brought
//!    since step 2 is left out here, until the server has answered behind the last such message.

use super::connector::{Connector, Subscription};
use super::link::{CONNECT_TIMEOUT, Link, LinkError, within};
use super::message::Message;
use super::twice::Twice;
use crate::status::Doubt;
use futures::future::BoxFuture;
use std::time::Duration;
use tokio::time::Instant;

/// How long both of two subscribers read when one is to take the place of the other. A NATS server that is just
/// delivering a message may not know of a subscription yet that it has confirmed, and does not deliver to one that
/// has ended meanwhile; and the other servers of its cluster hear of it a little later.
pub(crate) const OVERLAP: Duration = Duration::from_millis(100);

/// How long the first one may be silent while it is drained. One that is silent for longer was dead before.
pub(super) const DRAIN_PATIENCE: Duration = Duration::from_secs(5);

/// A connection and what has made it.
pub(super) type Second = Box<(Connector, Link)>;

/// How far a second connection is.
#[derive(Default)]
pub(super) enum Renewal {
    /// There is none.
    #[default]
    No,
    Opening {
        second: BoxFuture<'static, Result<Second, LinkError>>,
    },
    Both {
        second: BoxFuture<'static, Result<Second, LinkError>>,
        /// What the first one has brought meanwhile; none in a queue group, where a message comes to one of them.
        twice: Option<Twice>,
    },
    Draining {
        second: Second,
        twice: Option<Twice>,
        since: Instant,
    },
    Catching {
        twice: Twice,
        /// When to ask the server for the answer behind which nothing comes a second time; none once it is asked.
        ask_at: Option<Instant>,
    },
}

/// How many attempts in a row to renew a silent subscription have failed: while there are any, it may be dead.
#[derive(Debug, Default)]
pub(super) struct Doubts(u32);

impl Doubts {
    /// Another attempt, which began then, has failed. That is no doubt if something has come meanwhile.
    pub(super) fn renewal_failed(&mut self, silent_since: Instant, began: Instant) -> Option<Doubt> {
        if silent_since > began {
            return None;
        }
        self.0 = self.0.saturating_add(1);
        Some(Doubt { silent_since, failed_renewals: self.0 })
    }

    /// Something has come, or another connection has taken its place; whether it was doubted.
    pub(super) fn end(&mut self) -> bool {
        std::mem::take(&mut self.0) > 0
    }
}

/// What has happened to a second connection.
pub(super) enum Step {
    /// It is there, or cannot be.
    Opened(Result<Second, LinkError>),
    /// It is subscribed, and was for a moment, or cannot be.
    Subscribed(Result<Second, LinkError>),
    /// It is time to ask for the answer behind which nothing comes a second time.
    Ask,
}

impl Renewal {
    /// Begins to open a second connection, to another server if there is one.
    pub(super) fn open(connector: &Connector) -> Renewal {
        let mut twin = connector.twin();
        let second = async move {
            // Not subscribed yet, so that what the first one brings until then need not be remembered.
            let link = twin.connect_once(&[]).await?;
            Ok(Box::new((twin, link)))
        };
        Renewal::Opening { second: Box::pin(second) }
    }

    /// Subscribes on the second connection.
    pub(super) fn subscribe(mut second: Second, subscriptions: &[Subscription]) -> Renewal {
        let is_shared = subscriptions.iter().any(|(_, queue)| queue.is_some());
        second.1.subscribe(subscriptions);
        let second = async move {
            let link = &mut second.1;
            within(CONNECT_TIMEOUT, async {
                link.flush().await?;
                link.wait_for_pong().await
            })
            .await?;
            tokio::time::sleep(OVERLAP).await;
            Ok(second)
        };
        Renewal::Both { second: Box::pin(second), twice: (!is_shared).then(Twice::default) }
    }

    /// After the first one's end.
    pub(super) fn catch(twice: Option<Twice>) -> Renewal {
        let ask_at = Some(Instant::now() + OVERLAP);
        twice.map_or(Renewal::No, |twice| Renewal::Catching { twice, ask_at })
    }

    /// Waits for what happens by itself. Safe to cancel; what has happened must lead on to another state.
    pub(super) async fn step(&mut self) -> Step {
        match self {
            Renewal::Opening { second } => Step::Opened(second.await),
            Renewal::Both { second, .. } => Step::Subscribed(second.await),
            Renewal::Catching { ask_at: Some(at), .. } => {
                tokio::time::sleep_until(*at).await;
                Step::Ask
            }
            Renewal::No | Renewal::Draining { .. } | Renewal::Catching { ask_at: None, .. } => {
                std::future::pending().await
            }
        }
    }

    /// Remembers what the first connection brings, and leaves out what the second brings once more.
    pub(super) fn sort_out(&mut self, chunk: &mut Vec<Message>) {
        match self {
            Renewal::Both { twice: Some(twice), .. } | Renewal::Draining { twice: Some(twice), .. } => {
                chunk.iter().for_each(|message| twice.note(message));
            }
            Renewal::Catching { twice, .. } => chunk.retain(|message| !twice.take(message)),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_counted_until_something_comes() {
        let mut doubts = Doubts::default();
        assert!(!doubts.end(), "nothing was doubted");
        let silent_since = Instant::now();
        let began = silent_since + Duration::from_secs(1);
        let dead = |doubts: &mut Doubts| doubts.renewal_failed(silent_since, began).unwrap().counts_as_dead();
        assert_eq!([dead(&mut doubts), dead(&mut doubts), dead(&mut doubts)], [false, true, true]);
        assert!(doubts.end());
        assert_eq!([dead(&mut doubts), dead(&mut doubts)], [false, true], "it begins anew");
        assert!(doubts.end());
        // A message has come while it was tried.
        let came = began + Duration::from_secs(1);
        assert_eq!(doubts.renewal_failed(came, began), None);
        assert!(!doubts.end(), "nothing was doubted");
    }
}
