//! The thread of a buffer on disk: it writes what comes in, reads ahead for the sink, and deletes what was
//! delivered. Nothing else touches the store.

use super::block::Builder;
use super::store::{Block, Limits, Recovered, Store};
use super::{Answered, Answers, Disk, DiskSettings, READ_AHEAD, Shared, with_receipts};
use crate::event::LogEvent;
use crate::finalizer::{EventFinalizers, EventStatus};
use crate::log_limit::LogLimit;
use crate::topology::buffer::{State, WhenFull};
use crate::topology::outcome::{DropReason, Outcome};
use std::collections::VecDeque;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long an event waits at most until the disk is told to keep it: whoever waits for that waits so long, and an
/// idle disk is told so often.
const SYNC_EVERY: Duration = Duration::from_millis(100);
/// The same in bytes.
const SYNC_BYTES: usize = 8 << 20;
/// So many bytes are taken from the queue before something else has its turn.
const TAKEN_AT_ONCE: usize = 1 << 20;
/// How long answers for what the sink still has are waited for at the end.
const LAST_ANSWERS: Duration = Duration::from_secs(1);
/// How often a segment that cannot be read is tried before it is given up.
const READ_ATTEMPTS: u32 = 5;
/// How long until that, and until a block that failed is read again.
const READ_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

pub(super) struct Worker {
    shared: Arc<Shared>,
    settings: DiskSettings,
    when_full: WhenFull,
    answers: Arc<Answers>,
    /// Nothing if it could not be opened.
    store: Option<Store>,
    builder: Builder,
    /// Taken from the queue and not yet written.
    batch: VecDeque<LogEvent>,
    /// How much room the next block needs, while there is none.
    needed: Option<usize>,
    unsynced: Unsynced,
    failure: Option<Failure>,
    read_attempts: u32,
    read_again: Option<Instant>,
    /// Blocks that the sink has not answered for.
    in_flight: usize,
    /// Blocks that failed, and when they are read again.
    put_back: VecDeque<(Instant, u64)>,
    closing_since: Option<Instant>,
    alarm: LogLimit,
    full_log: LogLimit,
}

/// What was appended since the last sync.
#[derive(Default)]
struct Unsynced {
    since: Option<Instant>,
    bytes: usize,
    receipts: Vec<EventFinalizers>,
}

/// The disk takes nothing.
struct Failure {
    pause: Duration,
    again: Instant,
    /// It is given another chance, and has not said yes or no.
    is_tried: bool,
}

/// Whether the sink may have another block ahead. When there is no sink any more, nothing is read: what is left in
/// memory must be written, for which there may be little time.
fn has_place(shared: &Shared) -> bool {
    let state = shared.state();
    let has_place = state.disk.as_ref().is_some_and(|disk| disk.ready.len() < READ_AHEAD);
    has_place && !state.is_closed && !is_closing(&state)
}

/// Whether nothing comes in or goes out any more.
fn is_closing(state: &State) -> bool {
    let is_closing = state.disk.as_ref().is_some_and(|disk| disk.is_closing);
    is_closing || (state.is_closed && state.senders == 0)
}

impl Worker {
    pub(super) fn new(
        shared: Arc<Shared>,
        settings: DiskSettings,
        store: Result<(Store, Recovered), String>,
        answers: Arc<Answers>,
    ) -> Worker {
        let when_full = shared.state().settings.when_full;
        let mut worker = Worker {
            shared,
            settings,
            when_full,
            answers,
            store: None,
            builder: Builder::new(),
            batch: VecDeque::new(),
            needed: None,
            unsynced: Unsynced::default(),
            failure: None,
            read_attempts: 0,
            read_again: None,
            in_flight: 0,
            put_back: VecDeque::new(),
            closing_since: None,
            alarm: LogLimit::every_minute(),
            full_log: LogLimit::every_minute(),
        };
        match store {
            Ok((store, recovered)) => worker.opened(store, recovered),
            Err(error) => worker.failed("cannot be used", &error),
        }
        worker
    }

    fn opened(&mut self, store: Store, recovered: Recovered) {
        let Recovered { events, damaged } = recovered;
        let sink = &self.settings.sink;
        if events > 0 {
            tracing::info!(sink, "{events} events are in the disk buffer from an earlier run");
        }
        if damaged > 0 {
            tracing::warn!(
                sink,
                "{damaged} bytes of the disk buffer are passed over: they are damaged, or were being written when the last run ended"
            );
        }
        self.shared.counts.add_recovered(usize::try_from(events).unwrap_or(usize::MAX));
        self.store = Some(store);
        self.shared.counts.set_durable(true);
    }

    pub(super) fn run(&mut self) {
        self.tell();
        loop {
            let was_closing = self.closing_since.is_some();
            let mut has_worked = self.take_settings();
            has_worked |= self.take_answers();
            has_worked |= self.write();
            has_worked |= self.sync();
            has_worked |= self.read();
            if self.is_at_the_end() && self.end() {
                return;
            }
            // At the end, there is room for what waited for some.
            has_worked |= was_closing != self.closing_since.is_some();
            if !has_worked {
                match self.next_deadline() {
                    None => std::thread::park(),
                    Some(deadline) => {
                        std::thread::park_timeout(deadline.saturating_duration_since(Instant::now()));
                    }
                }
            }
        }
    }

    /// Works on what the sides of the buffer see.
    fn with_disk<T>(&self, work: impl FnOnce(&mut Disk) -> T) -> Option<T> {
        self.shared.state().disk.as_mut().map(work)
    }

    /// Takes over what a reload has changed.
    fn take_settings(&mut self) -> bool {
        let (max_size, when_full) = {
            let state = self.shared.state();
            let Some(disk) = &state.disk else { return false };
            (disk.settings.max_size, state.settings.when_full)
        };
        if (max_size, when_full) == (self.settings.max_size, self.when_full) {
            return false;
        }
        (self.settings.max_size, self.when_full) = (max_size, when_full);
        self.store.iter_mut().for_each(|store| store.set_limits(Limits::new(max_size)));
        // What waits for room may have some, or is dropped.
        self.needed = None;
        true
    }

    fn next_deadline(&self) -> Option<Instant> {
        let sync = self.unsynced.since.map(|since| since + SYNC_EVERY);
        let retry = self.failure.as_ref().filter(|failure| !failure.is_tried).map(|failure| failure.again);
        let end = self.closing_since.map(|since| since + LAST_ANSWERS);
        let put_back = self.put_back.front().map(|(again, _)| *again).filter(|_| has_place(&self.shared));
        let read = [self.read_again, put_back].into_iter().flatten().max();
        let read = read.filter(|_| self.closing_since.is_none());
        [sync, retry, read, end].into_iter().flatten().min()
    }

    // === answers ===

    fn take_answers(&mut self) -> bool {
        let answers = self.answers.take();
        let has_answers = !answers.is_empty();
        let mut has_failed = false;
        for Answered { block, status, unanswered } in answers {
            self.in_flight = self.in_flight.saturating_sub(1);
            let Some(store) = &mut self.store else { continue };
            if status == EventStatus::Errored {
                has_failed = true;
                let events = store.put_back(block);
                self.put_back.push_back((Instant::now() + READ_PAUSE, block));
                if !self.shared.state().is_closed {
                    // Those of its events that have been counted, as delivered or refused, come in once more.
                    self.shared.counts.add_received(events.saturating_sub(u64::from(unanswered)) as usize);
                }
                continue;
            }
            if let Err(error) = store.ack(block) {
                self.alarm("does not delete what was delivered, which may come again", &error);
            }
        }
        if has_failed {
            self.tell();
        } else if has_answers {
            let stored = self.stored();
            self.with_disk(|disk| disk.stored = stored);
        }
        has_answers
    }

    // === writing ===

    fn write(&mut self) -> bool {
        self.try_again();
        if self.failure.as_ref().is_some_and(|failure| !failure.is_tried) {
            return false;
        }
        if let (Some(length), Some(store)) = (self.needed, &mut self.store)
            && self.closing_since.is_none()
            && !store.has_room(length)
        {
            return false;
        }
        self.needed = None;
        if self.batch.is_empty() && !self.take_batch() {
            return false;
        }
        let written = self.write_batch();
        self.tell();
        written
    }

    /// Gives a disk that took nothing another chance, now and then.
    fn try_again(&mut self) {
        let is_closing = self.closing_since.is_some();
        let Some(failure) = &mut self.failure else { return };
        if failure.is_tried || (Instant::now() < failure.again && !is_closing) {
            return;
        }
        failure.is_tried = true;
        if self.store.is_none() {
            match self.settings.open_store() {
                Ok((store, recovered)) => {
                    self.opened(store, recovered);
                    self.works();
                }
                Err(error) => self.failed("cannot be used", &error),
            }
        }
        self.tell();
    }

    fn take_batch(&mut self) -> bool {
        let mut bytes = 0;
        {
            let mut state = self.shared.state();
            let Some(disk) = &mut state.disk else { return false };
            while bytes < TAKEN_AT_ONCE
                && let Some(events) = disk.queue.pop()
            {
                bytes += events.iter().map(LogEvent::size).sum::<usize>();
                self.batch.extend(events);
            }
            disk.has_more |= !self.batch.is_empty();
            disk.unwritten = self.batch.len();
        }
        if !self.batch.is_empty() {
            self.shared.not_full.notify_waiters();
        }
        !self.batch.is_empty()
    }

    /// Writes what was taken, block for block, until there is no room.
    fn write_batch(&mut self) -> bool {
        let when_full = self.when_full;
        let mut has_written = false;
        while !self.batch.is_empty() {
            let Some(store) = &mut self.store else { break };
            let block_size = store.block_size();
            self.builder.clear();
            let mut count = 0;
            for event in &self.batch {
                self.builder.push(event);
                count += 1;
                if self.builder.len() >= block_size {
                    break;
                }
            }
            let length = self.builder.len();
            // At the end, what is left must go somewhere.
            let mut has_room = self.closing_since.is_some() || store.has_room(length);
            if !has_room && when_full == WhenFull::DropOldest {
                let dropped = store.drop_oldest(length);
                self.shared.counts.add(&Outcome::Dropped(DropReason::BufferFull), dropped as usize);
                has_room = store.has_room(length);
            }
            if !has_room {
                if self.full_log.allow().is_some() {
                    tracing::warn!(
                        sink = self.settings.sink,
                        "the disk buffer is full: buffer.max_size is {} bytes",
                        self.settings.max_size
                    );
                }
                if when_full == WhenFull::Block {
                    self.needed = Some(length);
                    break;
                }
                let dropped = self.batch.drain(..count).collect();
                self.shared.drop_events(dropped, DropReason::BufferFull);
                has_written = true;
                continue;
            }
            if let Err(error) = store.append(&mut self.builder) {
                self.failed("cannot be written", &error);
                break;
            }
            self.unsynced.since.get_or_insert_with(Instant::now);
            self.unsynced.bytes += length;
            let receipts = self.batch.drain(..count).map(|mut event| event.take_finalizers());
            self.unsynced.receipts.extend(receipts.filter(|receipts| !receipts.is_empty()));
            let unwritten = self.batch.len();
            self.with_disk(|disk| disk.unwritten = unwritten);
            has_written = true;
            self.works();
        }
        has_written
    }

    fn sync(&mut self) -> bool {
        let Some(since) = self.unsynced.since else { return false };
        let is_due = since.elapsed() >= SYNC_EVERY
            || self.unsynced.bytes >= SYNC_BYTES
            || self.closing_since.is_some();
        let Some(store) = self.store.as_mut().filter(|_| is_due) else { return false };
        let Unsynced { receipts, .. } = std::mem::take(&mut self.unsynced);
        let status = match store.sync() {
            Ok(()) => EventStatus::Delivered,
            Err(error) => {
                self.failed("cannot be written", &error);
                // They may be there all the same, and come twice.
                EventStatus::Errored
            }
        };
        receipts.into_iter().for_each(|receipts| receipts.answer(status));
        true
    }

    /// From now on events go from memory to the sink.
    fn failed(&mut self, what: &str, error: &dyn fmt::Display) {
        let pause = self.failure.as_ref().map_or(Duration::from_secs(1), |failure| failure.pause * 2);
        let pause = pause.min(LONGEST_PAUSE);
        self.failure = Some(Failure { pause, again: Instant::now() + pause, is_tried: false });
        self.alarm(&format!("{what}, so that events are held in memory"), error);
        let batch = std::mem::take(&mut self.batch);
        {
            let mut state = self.shared.state();
            let capacity = state.settings.capacity;
            if let Some(disk) = &mut state.disk {
                let capacity = disk.queue_capacity(capacity);
                disk.queue.push_back_first(batch.into(), capacity);
                disk.unwritten = 0;
            }
        }
        self.tell();
    }

    fn works(&mut self) {
        if self.failure.take().is_some() {
            tracing::info!(sink = self.settings.sink, "the disk buffer can be used again");
            self.tell();
        }
    }

    fn alarm(&self, what: &str, error: &dyn fmt::Display) {
        if self.alarm.allow().is_some() {
            let directory = self.settings.directory.display();
            tracing::error!(sink = self.settings.sink, "the disk buffer {directory} {what}: {error}");
        }
    }

    // === reading ===

    fn read(&mut self) -> bool {
        let mut has_read = false;
        if self.read_again.is_some_and(|again| Instant::now() < again) || self.closing_since.is_some() {
            return false;
        }
        self.read_again = None;
        while let Some(store) = &mut self.store
            && has_place(&self.shared)
        {
            let put_back = self.put_back.front().filter(|(again, _)| *again <= Instant::now());
            let put_back = put_back.map(|(_, block)| *block);
            let next = match put_back {
                Some(block) => store.read_again(block),
                None if store.unread() > 0 => store.next(),
                None => break,
            };
            if put_back.is_some() && next.is_ok() {
                self.put_back.pop_front();
            }
            let damaged = store.take_damaged();
            if damaged > 0 {
                tracing::warn!(
                    sink = self.settings.sink,
                    "{damaged} events of the disk buffer are damaged and cannot be delivered"
                );
                self.shared.counts.add(&Outcome::Dropped(DropReason::Damaged), damaged as usize);
            }
            has_read |= damaged > 0 || matches!(next, Ok(Some(_)));
            match next {
                Ok(Some(Block { sequence, events })) => {
                    self.read_attempts = 0;
                    self.in_flight += 1;
                    let events = with_receipts(sequence, events, &self.answers);
                    // What is left of it is dropped outside of the lock.
                    let mut left = Some(events);
                    {
                        let mut state = self.shared.state();
                        if !state.is_closed
                            && let (Some(disk), Some(events)) = (&mut state.disk, left.take())
                        {
                            disk.ready.push_back(events);
                        }
                    }
                    drop(left);
                    self.shared.not_empty.notify_one();
                }
                Ok(None) if put_back.is_some() => {}
                Ok(None) => break,
                Err(error) => {
                    self.read_attempts += 1;
                    self.alarm("cannot be read", &error);
                    if self.read_attempts >= READ_ATTEMPTS {
                        self.read_attempts = 0;
                        let Some(store) = &mut self.store else { break };
                        match self.put_back.pop_front_if(|(_, block)| put_back == Some(*block)) {
                            Some((_, block)) => drop(store.give_up(block)),
                            None => store.skip_segment(),
                        }
                        continue;
                    }
                    self.read_again = Some(Instant::now() + READ_PAUSE);
                    break;
                }
            }
        }
        if has_read {
            self.tell();
        }
        has_read
    }

    /// Events on disk that are not answered for, and the bytes of all files.
    fn stored(&self) -> (u64, u64) {
        self.store.as_ref().map_or((0, 0), |store| (store.events(), store.bytes()))
    }

    /// Tells the sides of the buffer how things are.
    fn tell(&mut self) {
        let unwritten = self.batch.len();
        let has_more = unwritten > 0 || self.store.as_ref().is_some_and(Store::has_more);
        let is_failing = self.failure.as_ref().is_some_and(|failure| !failure.is_tried);
        let stored = self.stored();
        self.with_disk(|disk| {
            disk.has_more = has_more;
            disk.unwritten = unwritten;
            disk.stored = stored;
            disk.is_failing = is_failing;
        });
        // The end of the input is something to be told, too.
        self.shared.not_empty.notify_one();
    }

    // === the end ===

    fn is_at_the_end(&mut self) -> bool {
        let (is_closing, is_idle, is_retired) = {
            let state = self.shared.state();
            let Some(disk) = &state.disk else { return true };
            let is_idle = disk.queue.is_empty() && disk.ready.is_empty();
            (is_closing(&state), is_idle, disk.is_retired)
        };
        if is_retired && !is_closing {
            // It is emptied first, and nobody waits for an answer.
            self.closing_since = None;
            return is_idle
                && self.batch.is_empty()
                && self.unsynced.since.is_none()
                && self.in_flight == 0
                && self.store.as_ref().is_none_or(|store| !store.has_more());
        }
        if !is_closing {
            self.closing_since = None;
            return false;
        }
        let since = *self.closing_since.get_or_insert_with(Instant::now);
        let is_written = (is_idle && self.batch.is_empty() && self.unsynced.since.is_none())
            || self.failure.as_ref().is_some_and(|failure| !failure.is_tried);
        is_written && (self.in_flight == 0 || since.elapsed() >= LAST_ANSWERS)
    }

    /// Lets go of the disk, unless somebody wants the buffer again.
    fn end(&mut self) -> bool {
        self.closing_since.get_or_insert_with(Instant::now);
        loop {
            self.take_answers();
            if let Some(store) = &mut self.store {
                // What cannot be deleted comes again.
                let _ = store.sweep();
            }
            let mut state = self.shared.state();
            let is_wanted = !is_closing(&state) && !state.disk.as_ref().is_some_and(|disk| disk.is_retired);
            if is_wanted {
                self.closing_since = None;
                return false;
            }
            let Some(disk) = &mut state.disk else { return true };
            let left: Vec<_> = disk.queue.take().collect();
            disk.unwritten = left.iter().map(Vec::len).sum();
            if left.is_empty() {
                let is_emptied = disk.is_retired && self.store.as_ref().is_none_or(Store::is_empty);
                // From here on somebody else may open it.
                drop(self.store.take());
                disk.ended.cancel();
                drop(state);
                if is_emptied {
                    self.shared.counts.set_durable(false);
                }
                self.shared.not_empty.notify_waiters();
                return true;
            }
            drop(state);
            self.batch.extend(left.into_iter().flatten());
            if self.failure.is_none() {
                self.write_batch();
                self.sync();
            }
            let mut lost = vec![std::mem::take(&mut self.batch).into()];
            let has_failed = self.failure.is_some();
            let is_given_up = self.with_disk(|disk| {
                disk.unwritten = 0;
                if has_failed {
                    lost.extend(disk.queue.take());
                }
                disk.is_given_up
            });
            // Then they have been counted.
            if is_given_up != Some(true) {
                lost.into_iter().for_each(|events| self.shared.settle_unanswered(events));
            }
        }
    }
}
