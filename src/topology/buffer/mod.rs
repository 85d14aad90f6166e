//! The bounded buffer in front of each sink: in memory, on disk, or in memory first and on disk when that is full.
//!
//! - this file: [`BufferSender`], [`BufferReceiver`], and what is between them
//! - `memory`: chunks in memory, and what happens when there are too many
//! - `disk`: blocks on disk

pub mod disk;
mod memory;

use super::counts::SinkCounts;
use super::metrics::{BufferFill, Fill};
use super::outcome::{DropReason, Outcome};
use crate::event::LogEvent;
use crate::finalizer::EventStatus;
use disk::{Disk, DiskSettings, OpenError, OpenedDisk};
use memory::{Pushed, Queue};
use serde::Deserialize;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use tokio::sync::Notify;

/// What happens to an event that finds the buffer full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum WhenFull {
    /// It waits, and so does the source behind it, and everybody whom that source feeds.
    Block,
    /// It is dropped.
    DropNewest,
    /// The oldest ones are dropped to make room for it. Ours; Vector does not have it.
    DropOldest,
}

/// How much a buffer holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capacity {
    /// Bytes of memory, about.
    Bytes(usize),
    /// Events.
    Events(usize),
    /// Events, and bytes too: an event takes its bytes or its part of all, whichever is more.
    EventsWithin {
        /// How many events.
        events: usize,
        /// How many bytes.
        bytes: usize,
    },
}

/// The size and policy of a buffer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BufferSettings {
    /// How much it holds. A chunk that is larger than the whole buffer is let in when it is empty.
    pub capacity: Capacity,
    /// What happens when that is reached.
    pub when_full: WhenFull,
    /// Whether sources that can wait for deliveries wait for this sink's. Otherwise an event counts as
    /// delivered, for its source, when it comes into the buffer.
    pub acknowledges: bool,
}

/// Makes a buffer in memory: the sending side may be cloned, and the receiving one sees its end when every
/// sender is gone.
pub fn buffer(settings: BufferSettings, counts: Arc<SinkCounts>) -> (BufferSender, BufferReceiver) {
    buffer_on(settings, None, counts)
}

/// Makes a buffer on disk, or one that is in memory first and goes on there. What an earlier run has left comes
/// first. Blocks while it looks at that.
///
/// # Errors
/// If another process has the buffer open. If the disk cannot be used, the events are held in memory until it can.
pub fn disk_buffer(
    settings: BufferSettings,
    disk: DiskSettings,
    counts: Arc<SinkCounts>,
) -> Result<(BufferSender, BufferReceiver), OpenError> {
    Ok(buffer_on(settings, Some(disk.open()?), counts))
}

pub(super) fn buffer_on(
    settings: BufferSettings,
    disk: Option<OpenedDisk>,
    counts: Arc<SinkCounts>,
) -> (BufferSender, BufferReceiver) {
    let state = State {
        settings,
        memory: Queue::default(),
        disk: None,
        is_disks_turn: false,
        senders: 1,
        receiver: 0,
        is_closed: false,
    };
    let shared = Arc::new(Shared {
        counts,
        state: Mutex::new(state),
        not_empty: Notify::new(),
        not_full: Notify::new(),
    });
    let fill: Weak<Shared> = Arc::downgrade(&shared);
    shared.counts.meters().set_buffer(fill);
    if let Some(disk) = disk {
        Shared::attach(&shared, disk);
    }
    (BufferSender(Arc::clone(&shared)), BufferReceiver { shared, number: 0 })
}

/// The side of a buffer that events go in.
#[derive(Debug)]
pub struct BufferSender(Arc<Shared>);

/// The side of a buffer that events come out.
#[derive(Debug)]
pub struct BufferReceiver {
    shared: Arc<Shared>,
    /// The buffer's receivers are numbered, and only the newest gets anything.
    number: u64,
}

#[derive(Debug)]
struct Shared {
    counts: Arc<SinkCounts>,
    state: Mutex<State>,
    not_empty: Notify,
    not_full: Notify,
}

#[derive(Debug)]
struct State {
    settings: BufferSettings,
    memory: Queue,
    disk: Option<Disk>,
    /// Of memory and disk, each has its turn.
    is_disks_turn: bool,
    senders: usize,
    /// The number of the receiver whom the chunks are for.
    receiver: u64,
    /// The receiver is gone: nothing that comes in would ever go out.
    is_closed: bool,
}

impl State {
    /// The queue that this chunk goes into, and how much that holds.
    fn queue_for(&mut self, events: &[LogEvent]) -> (&mut Queue, Capacity) {
        let capacity = self.settings.capacity;
        match &mut self.disk {
            Some(disk) if disk.takes_events() => {
                if disk.is_overflow() && self.memory.fits(events, capacity) {
                    (&mut self.memory, capacity)
                } else {
                    let capacity = disk.queue_capacity(capacity);
                    (&mut disk.queue, capacity)
                }
            }
            _ => (&mut self.memory, capacity),
        }
    }

    /// The next chunk for the receiver.
    fn next(&mut self) -> Option<Vec<LogEvent>> {
        self.is_disks_turn = !self.is_disks_turn;
        let State { memory, disk, .. } = self;
        let mut from_disk = || disk.as_mut().and_then(Disk::next);
        match self.is_disks_turn {
            true => from_disk().or_else(|| memory.pop()),
            false => memory.pop().or_else(from_disk),
        }
    }

    /// Whether nothing comes out any more, unless something comes in.
    fn is_empty(&self) -> bool {
        self.memory.is_empty() && self.disk.as_ref().is_none_or(Disk::is_empty)
    }
}

impl Fill for Shared {
    fn fill(&self) -> BufferFill {
        let state = self.state();
        let (events, bytes) = (state.memory.events() as u64, state.memory.bytes() as u64);
        if let Some(disk) = state.disk.as_ref().filter(|disk| disk.takes_events()) {
            return disk.fill(events, bytes, state.settings.capacity);
        }
        let (max_events, max_bytes) = state.settings.capacity.most();
        BufferFill { kind: "memory", bytes, max_bytes, events, max_events }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts events that have come to the buffer.
    fn receive(&self, events: &[LogEvent]) {
        self.counts.add_received(events.len());
        self.counts.meters().add_received_bytes(events.iter().map(LogEvent::body_size).sum());
    }

    fn drop_events(&self, events: Vec<LogEvent>, reason: DropReason) {
        self.counts.settle_events(events, &Outcome::Dropped(reason));
    }

    fn settle_unanswered(&self, events: Vec<LogEvent>) {
        for mut event in events {
            self.counts.let_go(event.take_finalizers());
        }
    }

    /// Puts these where they outlast the end, if there is such a place.
    fn keep_or_settle(&self, events: Vec<LogEvent>) {
        if events.is_empty() {
            return;
        }
        {
            let mut state = self.state();
            let capacity = state.settings.capacity;
            if let Some(disk) = state.disk.as_mut().filter(|disk| disk.is_open() && !disk.is_given_up) {
                let capacity = disk.queue_capacity(capacity);
                disk.queue.push_now(events, capacity);
                disk.wake();
                return;
            }
        }
        self.settle_unanswered(events);
    }
}

impl Capacity {
    fn limit(self) -> usize {
        match self {
            Capacity::Bytes(limit) | Capacity::Events(limit) => limit,
            Capacity::EventsWithin { events, .. } => self.part().saturating_mul(events),
        }
    }

    /// The events and the bytes that there may be.
    fn most(self) -> (Option<u64>, Option<u64>) {
        match self {
            Capacity::Bytes(bytes) => (None, Some(bytes as u64)),
            Capacity::Events(events) => (Some(events as u64), None),
            Capacity::EventsWithin { events, bytes } => (Some(events as u64), Some(bytes as u64)),
        }
    }

    /// The least that an event weighs.
    fn part(self) -> usize {
        match self {
            Capacity::Bytes(_) => 0,
            Capacity::Events(_) => 1,
            Capacity::EventsWithin { events, bytes } => (bytes / events.max(1)).max(1),
        }
    }

    fn weight(self, event: &LogEvent) -> usize {
        match self {
            Capacity::Events(_) => 1,
            Capacity::Bytes(_) | Capacity::EventsWithin { .. } => event.size().max(self.part()),
        }
    }

    fn measure(self, events: &[LogEvent]) -> usize {
        events.iter().map(|event| self.weight(event)).sum()
    }

    /// How many events from the start of these weigh at least so much: all, if they don't.
    fn count_of(self, weight: usize, events: &[LogEvent]) -> usize {
        let mut sum = 0;
        events
            .iter()
            .take_while(|event| {
                let is_short = sum < weight;
                sum += self.weight(event);
                is_short
            })
            .count()
    }
}

impl BufferSender {
    /// Puts a chunk in; waits for room only if the policy is to block.
    pub async fn send(&self, mut events: Vec<LogEvent>) {
        if events.is_empty() {
            return;
        }
        let shared = &*self.0;
        shared.receive(&events);
        if !shared.state().settings.acknowledges {
            events.iter_mut().for_each(|event| event.take_finalizers().answer(EventStatus::Delivered));
        }
        let mut waiting = Waiting { shared, events };
        loop {
            // Registered before the look at the state, so that a wake-up in between is not missed.
            let room = shared.not_full.notified();
            match self.try_send(std::mem::take(&mut waiting.events)) {
                None => return,
                Some(events) => waiting.events = events,
            }
            room.await;
        }
    }

    /// Puts a chunk in at once, whether there is room or not; see [`BufferSender::room`].
    pub(super) fn send_now(&self, events: Vec<LogEvent>) {
        if events.is_empty() {
            return;
        }
        let shared = &*self.0;
        shared.receive(&events);
        {
            let mut state = shared.state();
            if state.is_closed {
                drop(state);
                return shared.keep_or_settle(events);
            }
            let (queue, capacity) = state.queue_for(&events);
            queue.push_now(events, capacity);
            state.disk.iter().for_each(Disk::wake);
        }
        shared.not_empty.notify_one();
    }

    /// Waits until there is some room, or nobody who would make any.
    pub(super) async fn room(&self) {
        loop {
            let room = self.0.not_full.notified();
            {
                let mut state = self.0.state();
                let (queue, capacity) = state.queue_for(&[]);
                let has_room = queue.size() < capacity.limit();
                if state.is_closed || has_room {
                    return;
                }
            }
            room.await;
        }
    }

    /// From now on it holds so much. What is too much already stays until it is taken or makes room.
    pub(super) fn set_capacity(&self, capacity: Capacity) {
        {
            let mut state = self.0.state();
            state.settings.capacity = capacity;
            state.memory.measure(capacity);
        }
        self.0.not_full.notify_waiters();
    }

    /// Gives the chunk back if it has to wait.
    fn try_send(&self, events: Vec<LogEvent>) -> Option<Vec<LogEvent>> {
        let shared = &*self.0;
        let dropped = {
            let mut state = shared.state();
            if state.is_closed {
                drop(state);
                shared.keep_or_settle(events);
                return None;
            }
            let when_full = state.settings.when_full;
            let (queue, capacity) = state.queue_for(&events);
            let pushed = queue.push(events, capacity, when_full);
            state.disk.iter().for_each(Disk::wake);
            match pushed {
                Pushed::Full(events) => return Some(events),
                Pushed::In(dropped) => dropped,
            }
        };
        shared.not_empty.notify_one();
        // Outside the lock, because a finalizer may wake a source.
        for events in dropped {
            shared.drop_events(events, DropReason::BufferFull);
        }
        None
    }
}

/// A chunk that waits for room. If its source is ended meanwhile, it is counted.
struct Waiting<'a> {
    shared: &'a Shared,
    events: Vec<LogEvent>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.keep_or_settle(std::mem::take(&mut self.events));
    }
}

impl BufferSender {
    /// A receiver that takes the place of the last one, which sees the end of its input. What waits in the
    /// buffer, or for room in it, is for the new one.
    pub(super) fn hand_over(&self, settings: BufferSettings) -> BufferReceiver {
        let number = {
            let mut state = self.0.state();
            state.settings = settings;
            state.memory.measure(settings.capacity);
            state.receiver += 1;
            state.is_closed = false;
            // It reads for this one again, and may write more or drop more than before.
            state.disk.iter().for_each(Disk::wake);
            state.receiver
        };
        self.0.not_empty.notify_waiters();
        self.0.not_full.notify_waiters();
        BufferReceiver { shared: Arc::clone(&self.0), number }
    }

    /// Goes on with this disk; without one, in memory, when what is on disk has been delivered.
    pub(super) fn set_disk(&self, settings: Option<&DiskSettings>, opened: Option<OpenedDisk>) {
        let is_open = self.0.state().disk.as_mut().is_some_and(|disk| {
            disk.set_settings(settings);
            disk.is_open()
        });
        let opened = match (opened, settings) {
            // It was emptied and closed a moment ago, or somebody else had it open when one looked.
            (None, Some(settings)) if !is_open => match settings.clone().open() {
                Ok(opened) => Some(opened),
                Err(error) => {
                    let sink = &settings.sink;
                    tracing::error!(sink, "the buffer is in memory until the next start: {error}");
                    None
                }
            },
            (opened, _) => opened,
        };
        if let Some(opened) = opened {
            Shared::attach(&self.0, opened);
        }
    }

    /// The disk, if the buffer has one.
    pub(super) fn disk(&self) -> Option<DiskBuffer> {
        self.0.state().disk.as_ref().filter(|disk| disk.is_open())?;
        Some(DiskBuffer(Arc::clone(&self.0)))
    }
}

/// A buffer on disk that must be closed before the process ends.
#[derive(Debug)]
pub(super) struct DiskBuffer(Arc<Shared>);

impl DiskBuffer {
    /// A sender to it, if it is the buffer in this directory and still open: a sink that was removed may not be
    /// done with it when it is there again.
    pub(super) fn sender(&self, settings: &DiskSettings) -> Option<BufferSender> {
        let mut state = self.0.state();
        state.disk.as_ref().filter(|disk| disk.is_open() && disk.is_at(&settings.directory))?;
        state.senders += 1;
        Some(BufferSender(Arc::clone(&self.0)))
    }

    /// Whether this is the sender's.
    pub(super) fn is_of(&self, sender: &BufferSender) -> bool {
        Arc::ptr_eq(&self.0, &sender.0)
    }

    pub(super) fn is_open(&self) -> bool {
        self.0.state().disk.as_ref().is_some_and(Disk::is_open)
    }

    /// The id of the sink that it is the buffer of.
    pub(super) fn sink(&self) -> Option<String> {
        self.0.state().disk.as_ref().map(|disk| disk.sink().to_owned())
    }

    /// Counts as lost what has not been written yet, and says how much that is: [`DiskBuffer::close`] takes too
    /// long. What the worker writes all the same is delivered by the next run.
    pub(super) fn give_up(&self) -> usize {
        let (left, unwritten) = match &mut self.0.state().disk {
            Some(disk) if disk.is_open() => disk.give_up(),
            _ => return 0,
        };
        let lost = left.iter().map(Vec::len).sum::<usize>() + unwritten;
        left.into_iter().for_each(|events| self.0.settle_unanswered(events));
        self.0.counts.add(&Outcome::Dropped(DropReason::Shutdown), unwritten);
        lost
    }

    /// Writes what is still in memory, and waits until everything is on disk: when nothing comes in or goes out any
    /// more.
    pub(super) async fn close(&self) {
        let ended = {
            let mut state = self.0.state();
            state.is_closed = true;
            let Some(disk) = &mut state.disk else { return };
            disk.close()
        };
        ended.cancelled().await;
    }
}

impl Clone for BufferSender {
    fn clone(&self) -> BufferSender {
        self.0.state().senders += 1;
        BufferSender(Arc::clone(&self.0))
    }
}

impl Drop for BufferSender {
    fn drop(&mut self) {
        {
            let mut state = self.0.state();
            state.senders -= 1;
            state.disk.iter().for_each(Disk::wake);
        }
        self.0.not_empty.notify_one();
    }
}

impl BufferReceiver {
    /// The next chunk, or `None` when the buffer is empty and every sender is gone, or when another receiver
    /// has taken over. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Vec<LogEvent>> {
        loop {
            let more = self.shared.not_empty.notified();
            {
                let mut state = self.shared.state();
                if state.receiver != self.number {
                    return None;
                }
                if let Some(events) = state.next() {
                    state.disk.iter().for_each(Disk::wake);
                    drop(state);
                    self.shared.not_full.notify_waiters();
                    self.shared.counts.meters().add_buffer_sent(events.len());
                    return Some(events);
                }
                if state.senders == 0 && state.is_empty() {
                    return None;
                }
            }
            // Whoever does not wait here is at work, or waits for others.
            let _waiting = self.shared.counts.meters().waiting().begin();
            more.await;
        }
    }

    /// The books that this buffer's events are counted in.
    pub fn counts(&self) -> &Arc<SinkCounts> {
        &self.shared.counts
    }
}

/// What is left was not delivered: the shutdown's deadline ended the sink, or the sink failed. On disk it is there
/// for the next run.
impl Drop for BufferReceiver {
    fn drop(&mut self) {
        let (chunks, ready) = {
            let mut state = self.shared.state();
            if state.receiver != self.number {
                return;
            }
            state.is_closed = true;
            let ready = state.disk.as_mut().map(Disk::take_ready).unwrap_or_default();
            (state.memory.take(), ready)
        };
        chunks.for_each(|events| self.shared.keep_or_settle(events));
        // Unanswered, they stay on disk.
        drop(ready);
        self.shared.state().disk.iter().for_each(Disk::wake);
        self.shared.not_full.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finalizer::{BatchNotifier, EventFinalizers};
    use std::time::Duration;

    fn events(numbers: std::ops::Range<u32>) -> Vec<LogEvent> {
        numbers.map(|n| LogEvent::from_json(format!("{{\"n\":{n}}}").into()).unwrap()).collect()
    }

    fn text(events: &[LogEvent]) -> String {
        events.iter().map(|event| event.json().into_owned()).collect()
    }

    fn make(limit: usize, when_full: WhenFull) -> (BufferSender, BufferReceiver, Arc<SinkCounts>) {
        let counts = Arc::new(SinkCounts::default());
        let settings = BufferSettings { capacity: Capacity::Events(limit), when_full, acknowledges: true };
        let (sender, receiver) = buffer(settings, Arc::clone(&counts));
        (sender, receiver, counts)
    }

    #[tokio::test]
    async fn blocks_until_there_is_room() {
        let (sender, mut receiver, counts) = make(4, WhenFull::Block);
        sender.send(events(0..3)).await;
        let second = tokio::spawn(async move { sender.send(events(3..6)).await });
        tokio::time::timeout(Duration::from_secs(10), async {
            assert_eq!(text(&receiver.recv().await.unwrap()), r#"{"n":0}{"n":1}{"n":2}"#);
            assert_eq!(text(&receiver.recv().await.unwrap()), r#"{"n":3}{"n":4}{"n":5}"#);
            second.await.unwrap();
            assert!(receiver.recv().await.is_none());
        })
        .await
        .expect("the sender was not woken");
        assert_eq!(counts.snapshot().dropped_total(), 0);
    }

    #[tokio::test]
    async fn another_receiver_takes_over_what_waits() {
        let (sender, mut first, counts) = make(4, WhenFull::Block);
        sender.send(events(0..3)).await;
        let blocked = sender.clone();
        let blocked = tokio::spawn(async move { blocked.send(events(3..6)).await });
        tokio::task::yield_now().await;
        let waiting =
            tokio::spawn(async move { first.recv().await.is_some() && first.recv().await.is_some() });
        let settings = BufferSettings {
            capacity: Capacity::Bytes(1 << 20),
            when_full: WhenFull::DropOldest,
            acknowledges: true,
        };
        let mut second = sender.hand_over(settings);
        tokio::time::timeout(Duration::from_secs(10), async {
            assert!(!waiting.await.unwrap(), "the old receiver sees the end");
            blocked.await.unwrap();
            drop(sender);
            assert_eq!(text(&second.recv().await.unwrap()), r#"{"n":0}{"n":1}{"n":2}"#);
            assert_eq!(text(&second.recv().await.unwrap()), r#"{"n":3}{"n":4}{"n":5}"#);
            assert!(second.recv().await.is_none());
        })
        .await
        .expect("nobody was woken");
        assert_eq!((counts.snapshot().received, counts.snapshot().dropped_total()), (6, 0));
    }

    #[tokio::test]
    async fn drops_the_newest_or_the_oldest_and_counts_them() {
        for (when_full, expected) in [
            (WhenFull::DropNewest, [r#"{"n":0}{"n":1}"#, r#"{"n":2}{"n":3}"#]),
            (WhenFull::DropOldest, [r#"{"n":2}{"n":3}"#, r#"{"n":4}{"n":5}"#]),
        ] {
            let (sender, mut receiver, counts) = make(4, when_full);
            for start in [0, 2, 4] {
                sender.send(events(start..start + 2)).await;
            }
            drop(sender);
            for chunk in expected {
                assert_eq!(text(&receiver.recv().await.unwrap()), chunk, "{when_full:?}");
            }
            assert!(receiver.recv().await.is_none());
            let books = counts.snapshot();
            assert_eq!(
                (books.received, books.dropped_for(DropReason::BufferFull), books.buffered),
                (6, 2, 4)
            );
        }
    }

    #[tokio::test]
    async fn of_a_chunk_that_does_not_fit_whole_a_part_is_kept() {
        for (when_full, expected, dropped) in [
            (WhenFull::Block, vec![3, 5], 0),
            (WhenFull::DropNewest, vec![3, 1], 4),
            (WhenFull::DropOldest, vec![4], 4),
        ] {
            let (sender, mut receiver, counts) = make(4, when_full);
            sender.send(events(0..3)).await;
            let mut seen = Vec::new();
            if when_full == WhenFull::Block {
                seen.push(receiver.recv().await.unwrap().len());
            }
            sender.send(events(3..8)).await;
            drop(sender);
            while let Some(chunk) = receiver.recv().await {
                seen.push(chunk.len());
            }
            assert_eq!(seen, expected, "{when_full:?}");
            assert_eq!(counts.snapshot().dropped_for(DropReason::BufferFull), dropped);
        }
    }

    #[tokio::test]
    async fn an_event_larger_than_the_buffer_passes_alone() {
        for when_full in [WhenFull::Block, WhenFull::DropNewest, WhenFull::DropOldest] {
            let settings = BufferSettings { capacity: Capacity::Bytes(1), when_full, acknowledges: true };
            let (sender, mut receiver) = buffer(settings, Arc::default());
            sender.send(events(0..1)).await;
            assert_eq!(receiver.recv().await.unwrap().len(), 1);
        }
    }

    #[tokio::test]
    async fn what_is_left_at_the_end_is_counted() {
        let (sender, receiver, counts) = make(10, WhenFull::Block);
        sender.send(events(0..3)).await;
        drop(receiver);
        counts.give_up();
        sender.send(events(3..5)).await;
        let (batch, mut answer) = BatchNotifier::new_with_receiver();
        let owed = events(5..6).pop().unwrap().with_finalizers(EventFinalizers::new(batch));
        sender.send(vec![owed]).await;
        assert_eq!(answer.try_recv(), Ok(EventStatus::Errored));
        let books = counts.snapshot();
        let reasons = [DropReason::Unanswered, DropReason::Shutdown, DropReason::Returned];
        assert_eq!(reasons.map(|reason| books.dropped_for(reason)), [3, 2, 1]);
        assert_eq!((books.buffered, books.lost()), (0, 5));
    }

    #[tokio::test]
    async fn bytes_bound_the_memory() {
        let counts = Arc::new(SinkCounts::default());
        let size = events(0..1)[0].size();
        let settings = BufferSettings {
            capacity: Capacity::Bytes(size * 3),
            when_full: WhenFull::DropOldest,
            acknowledges: true,
        };
        let (sender, _receiver) = buffer(settings, Arc::clone(&counts));
        for n in 0..8 {
            sender.send(events(n..n + 1)).await;
        }
        assert_eq!(counts.snapshot().dropped_for(DropReason::BufferFull), 5);
    }

    #[tokio::test]
    async fn events_are_bounded_by_their_bytes_too() {
        let size = events(0..1)[0].size();
        // Of a third event, a byte is too much; or there are many bytes, and it is one too many.
        for (most_events, bytes, expected) in [(100, 3 * size - 1, 2), (3, 1 << 20, 3), (3, 2 * size + 2, 2)]
        {
            let counts = Arc::new(SinkCounts::default());
            let settings = BufferSettings {
                capacity: Capacity::EventsWithin { events: most_events, bytes },
                when_full: WhenFull::DropNewest,
                acknowledges: true,
            };
            let (sender, _receiver) = buffer(settings, Arc::clone(&counts));
            for n in 0..8 {
                sender.send(events(n..n + 1)).await;
            }
            assert_eq!(
                counts.snapshot().dropped_for(DropReason::BufferFull),
                8 - expected,
                "{most_events} in {bytes}"
            );
            sender.set_capacity(Capacity::Events(7));
            sender.send(events(8..12)).await;
            assert_eq!(counts.snapshot().buffered, (expected + 4).min(7), "{most_events} in {bytes}");
        }
    }

    #[tokio::test]
    async fn what_is_kept_of_a_block_does_not_keep_the_whole() {
        let block: String = (0..8).map(|n| format!("{{\"n\":{n}}}")).collect();
        let block = bytes::Bytes::from(block);
        let is_in_block = |event: &LogEvent| block.as_ptr_range().contains(&event.json().as_ptr());
        for (room, expected) in [(2, false), (6, true)] {
            let slices = (0..8).map(|n| LogEvent::from_json(block.slice(n * 7..n * 7 + 7)).unwrap());
            let (sender, mut receiver, _) = make(room, WhenFull::DropNewest);
            sender.send(slices.collect()).await;
            let kept = receiver.recv().await.unwrap();
            assert_eq!(kept.len(), room);
            assert!(kept.iter().all(|event| is_in_block(event) == expected), "{room}");
            assert_eq!(text(&kept[..1]), "{\"n\":0}");
        }
    }
}
