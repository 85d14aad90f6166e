//! Who is subscribed to what, and what waits to be written to each client.

use std::io;
use std::sync::{Arc, Mutex};

use tokio::io::AsyncWriteExt;
use tokio::net::tcp::WriteHalf;
use tokio::sync::{Notify, watch};

use super::lock;
use super::protocol::Message;
use crate::nats::subject::SubjectFilter;

/// How many bytes may wait for a client before it counts as a slow consumer.
pub(super) const MAX_PENDING: usize = 64 * 1024 * 1024;
/// An emptied buffer larger than this is given back.
const KEPT_CAPACITY: usize = 1024 * 1024;

/// Who is subscribed to what.
#[derive(Debug, Default)]
pub(super) struct Hub {
    groups: Vec<Group>,
    /// How many subscriptions there have been.
    pub(super) subscribed: watch::Sender<usize>,
}

/// Subscriptions of which one gets each message. A subscription that names no
/// queue is a group of its own. As in a NATS server, a queue group is known by
/// its name alone, whatever the filters of its members.
#[derive(Debug)]
struct Group {
    queue: Option<String>,
    members: Vec<Subscription>,
    /// The place of the member to ask first.
    turn: usize,
}

/// A subscription is known by its client and the client's name for it.
#[derive(Debug)]
struct Subscription {
    outbox: Arc<Outbox>,
    sid: String,
    filter: SubjectFilter,
    delivered: usize,
    max: Option<usize>,
}

impl Hub {
    pub(super) fn subscribe(
        &mut self,
        outbox: &Arc<Outbox>,
        filter: SubjectFilter,
        queue: Option<&str>,
        sid: &str,
    ) {
        // A NATS server keeps the first of two subscriptions with one name.
        if self.find(outbox, sid).is_some() {
            return;
        }
        self.subscribed.send_modify(|count| *count += 1);
        let subscription =
            Subscription { outbox: Arc::clone(outbox), sid: sid.to_owned(), filter, delivered: 0, max: None };
        let joined = |group: &&mut Group| queue.is_some() && group.queue.as_deref() == queue;
        match self.groups.iter_mut().find(joined) {
            Some(group) => group.members.push(subscription),
            None => self.groups.push(Group {
                queue: queue.map(str::to_owned),
                members: vec![subscription],
                turn: 0,
            }),
        }
    }

    /// Ends a subscription once it has been sent `max` messages in all.
    pub(super) fn unsubscribe(&mut self, outbox: &Arc<Outbox>, sid: &str, max: usize) {
        if let Some(subscription) = self.find(outbox, sid) {
            subscription.max = Some(max);
            self.retain(|subscription| !subscription.is_spent());
        }
    }

    pub(super) fn leave(&mut self, outbox: &Arc<Outbox>) {
        self.retain(|subscription| !Arc::ptr_eq(&subscription.outbox, outbox));
    }

    pub(super) fn publish(&mut self, message: &Message<'_>) {
        self.groups.retain_mut(|group| {
            group.deliver(message);
            !group.members.is_empty()
        });
    }

    fn find(&mut self, outbox: &Arc<Outbox>, sid: &str) -> Option<&mut Subscription> {
        let mut all = self.groups.iter_mut().flat_map(|group| &mut group.members);
        all.find(|s| Arc::ptr_eq(&s.outbox, outbox) && s.sid == sid)
    }

    fn retain(&mut self, keep: impl Fn(&Subscription) -> bool) {
        self.groups.retain_mut(|group| {
            group.members.retain(&keep);
            !group.members.is_empty()
        });
    }
}

impl Group {
    /// Gives the message to the first member in turn that takes it.
    fn deliver(&mut self, message: &Message<'_>) {
        let count = self.members.len();
        let mut in_turn = (self.turn..self.turn + count).map(|place| place % count);
        let Some(taker) = in_turn.find(|&place| self.members[place].deliver(message)) else {
            return;
        };
        self.turn = (taker + 1) % count;
        if self.members[taker].is_spent() {
            self.members.remove(taker);
            self.turn = taker;
        }
    }
}

impl Subscription {
    /// Queues the message for the client if it is wanted and there is room.
    fn deliver(&mut self, message: &Message<'_>) -> bool {
        if !self.filter.matches(message.subject) {
            return false;
        }
        let taken = self.outbox.push(&[
            message.delivery.as_bytes(),
            message.subject.as_bytes(),
            b" ",
            self.sid.as_bytes(),
            b" ",
            message.tail.as_bytes(),
            b"\r\n",
            message.body,
            b"\r\n",
        ]);
        self.delivered += usize::from(taken);
        taken
    }

    fn is_spent(&self) -> bool {
        self.max.is_some_and(|max| self.delivered >= max)
    }
}

/// What waits to be written to one client. It never makes a publisher wait.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    state: Mutex<OutboxState>,
    /// There is something to write, or there will be no more.
    changed: Notify,
    pub(super) overflowed: Notify,
}

#[derive(Debug, Default)]
struct OutboxState {
    queue: Vec<u8>,
    /// How much of the batch with the writer is not written yet.
    in_flight: usize,
    is_closed: bool,
}

impl Outbox {
    /// Queues the parts as one piece, unless the outbox is closed or this makes
    /// it overflow.
    pub(super) fn push(&self, parts: &[&[u8]]) -> bool {
        let mut state = lock(&self.state);
        if state.is_closed {
            return false;
        }
        let size: usize = parts.iter().map(|part| part.len()).sum();
        if state.queue.len() + state.in_flight + size > MAX_PENDING {
            state.is_closed = true;
            state.queue = Vec::new();
            self.overflowed.notify_one();
            return false;
        }
        let was_empty = state.queue.is_empty();
        for part in parts {
            state.queue.extend_from_slice(part);
        }
        // Behind an earlier piece, the writer has been woken already.
        if was_empty {
            self.changed.notify_one();
        }
        true
    }

    /// What nobody has begun to write yet.
    pub(super) fn take_queued(&self) -> Vec<u8> {
        std::mem::take(&mut lock(&self.state).queue)
    }

    /// Lets the writer end after what is queued.
    pub(super) fn finish(&self) {
        lock(&self.state).is_closed = true;
        self.changed.notify_one();
    }

    /// Swaps all that is queued into `batch`, waiting for something to be there.
    /// Returns false when there will be nothing more.
    async fn take(&self, batch: &mut Vec<u8>) -> bool {
        batch.clear();
        batch.shrink_to(KEPT_CAPACITY);
        loop {
            {
                let mut state = lock(&self.state);
                if !state.queue.is_empty() {
                    std::mem::swap(batch, &mut state.queue);
                    state.in_flight = batch.len();
                    return true;
                }
                if state.is_closed {
                    return false;
                }
            }
            self.changed.notified().await;
        }
    }
}

/// Writes what is queued, as much at once as there is, until the outbox ends.
pub(super) async fn write_outbox(outbox: &Outbox, writer: &mut WriteHalf<'_>) -> io::Result<()> {
    let mut batch = Vec::new();
    while outbox.take(&mut batch).await {
        let mut unsent = &batch[..];
        while !unsent.is_empty() {
            let written = writer.write(unsent).await?;
            unsent = &unsent[written..];
            lock(&outbox.state).in_flight = unsent.len();
        }
    }
    writer.shutdown().await
}
