//! [`Queue`]: chunks in memory, measured in bytes or events.

use super::{Capacity, WhenFull};
use crate::event::LogEvent;
use std::collections::VecDeque;

/// Chunks that wait, oldest first.
#[derive(Debug, Default)]
pub(super) struct Queue {
    /// Each with its size.
    chunks: VecDeque<(usize, Vec<LogEvent>)>,
    /// In the unit of the capacity.
    size: usize,
    events: usize,
    bytes: usize,
}

/// What became of a chunk.
pub(super) enum Pushed {
    /// It is in; these were dropped for it, or of it.
    In(Vec<Vec<LogEvent>>),
    /// It has to wait.
    Full(Vec<LogEvent>),
}

impl Queue {
    pub(super) fn is_empty(&self) -> bool {
        self.chunks.is_empty()
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// How many events are in it.
    pub(super) fn events(&self) -> usize {
        self.events
    }

    /// How many bytes they take in memory, about.
    pub(super) fn bytes(&self) -> usize {
        self.bytes
    }

    fn count_in(&mut self, events: &[LogEvent]) {
        self.events += events.len();
        self.bytes += bytes_of(events);
    }

    fn count_out(&mut self, events: &[LogEvent]) {
        self.events -= events.len();
        self.bytes = self.bytes.saturating_sub(bytes_of(events));
    }

    /// Whether there is room for the chunk as it is.
    pub(super) fn fits(&self, events: &[LogEvent], capacity: Capacity) -> bool {
        self.size + capacity.measure(events) <= capacity.limit()
    }

    /// Puts a chunk in as the policy allows. What is larger than the whole capacity may come in when the queue is
    /// empty, if it waits for its turn; otherwise only a single event may.
    pub(super) fn push(
        &mut self,
        mut events: Vec<LogEvent>,
        capacity: Capacity,
        when_full: WhenFull,
    ) -> Pushed {
        let mut dropped = Vec::new();
        // What many pushes have made has room for twice as many.
        if events.capacity() / 5 * 4 > events.len() {
            events.shrink_to_fit();
        }
        // How much is too much.
        let excess = (self.size + capacity.measure(&events)).saturating_sub(capacity.limit());
        match when_full {
            _ if excess == 0 => {}
            WhenFull::Block if self.size > 0 => return Pushed::Full(events),
            WhenFull::Block => {}
            WhenFull::DropNewest => {
                events.reverse();
                let keep = usize::from(self.size == 0);
                let count = capacity.count_of(excess, &events).min(events.len() - keep);
                let left_out: Vec<_> = events.drain(..count).collect();
                events.reverse();
                // A buffer that is always nearly full would come to hold one event of each block, and all of the blocks.
                if LogEvent::detach_few(&mut events, &left_out) {
                    events.shrink_to_fit();
                }
                dropped.push(left_out);
            }
            WhenFull::DropOldest => {
                let mut excess = excess;
                while excess > 0
                    && let Some((front_size, front)) = self.chunks.front_mut()
                {
                    let count = capacity.count_of(excess, front);
                    let oldest: Vec<_> = front.drain(..count).collect();
                    let weight = capacity.measure(&oldest);
                    *front_size -= weight;
                    let is_empty = front.is_empty();
                    if is_empty {
                        self.chunks.pop_front();
                    }
                    self.size -= weight;
                    self.count_out(&oldest);
                    excess = excess.saturating_sub(weight);
                    dropped.push(oldest);
                }
                let count = capacity.count_of(excess, &events).min(events.len() - 1);
                dropped.push(events.drain(..count).collect());
            }
        }
        self.push_now(events, capacity);
        Pushed::In(dropped)
    }

    /// Puts a chunk in, whether there is room or not.
    pub(super) fn push_now(&mut self, events: Vec<LogEvent>, capacity: Capacity) {
        if !events.is_empty() {
            let size = capacity.measure(&events);
            self.size += size;
            self.count_in(&events);
            self.chunks.push_back((size, events));
        }
    }

    /// Puts a chunk back that was taken out.
    pub(super) fn push_back_first(&mut self, events: Vec<LogEvent>, capacity: Capacity) {
        if !events.is_empty() {
            let size = capacity.measure(&events);
            self.size += size;
            self.count_in(&events);
            self.chunks.push_front((size, events));
        }
    }

    /// Takes the oldest chunk out.
    pub(super) fn pop(&mut self) -> Option<Vec<LogEvent>> {
        let (size, events) = self.chunks.pop_front()?;
        self.size -= size;
        self.count_out(&events);
        Some(events)
    }

    /// Takes everything out.
    pub(super) fn take(&mut self) -> impl Iterator<Item = Vec<LogEvent>> + use<> {
        (self.size, self.events, self.bytes) = (0, 0, 0);
        std::mem::take(&mut self.chunks).into_iter().map(|(_, events)| events)
    }

    /// Measures what is in it anew.
    pub(super) fn measure(&mut self, capacity: Capacity) {
        self.size = 0;
        for (size, events) in &mut self.chunks {
            *size = capacity.measure(events);
            self.size += *size;
        }
    }
}

fn bytes_of(events: &[LogEvent]) -> usize {
    events.iter().map(LogEvent::size).sum()
}
