//! Events on disk: they outlast the process, and are deleted when they have been delivered.
//!
//! - this file: [`DiskSettings`], and `Disk`, the part of a buffer that is on disk as the rest of it sees it
//! - `worker`: the thread that writes, reads and deletes
//! - `store`: a queue of blocks, in `segment`s; `block`: their form; `files`: what is asked of a directory
//! - `look`: what `log-shipper buffer` shows

mod block;
mod files;
mod look;
mod segment;
mod store;
mod worker;

#[cfg(test)]
mod simulated;
#[cfg(test)]
mod tests;

pub use files::OpenError;
pub use look::{BufferSummary, directory, drain, inspect, list, read_segment, waiting, write_segment};

use super::memory::Queue;
use super::{BufferFill, Capacity, Shared};
use crate::event::LogEvent;
use crate::finalizer::{BatchNotifier, EventFinalizers, EventStatus, KeepsBlocks};
use files::Directory;
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;
use store::{Limits, Recovered, Store};
use tokio_util::sync::CancellationToken;

/// Where a buffer is on disk, and how large it may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskSettings {
    /// The sink's id, for the log.
    pub sink: String,
    /// The directory, which is made if it is not there. Nobody else may use it.
    pub directory: PathBuf,
    /// How many bytes of files.
    pub max_size: u64,
    /// Whether only those events go to disk that the memory has no room for. Otherwise all do, and memory holds
    /// them while the disk cannot.
    pub is_overflow: bool,
}

/// What waits for the disk behind a memory that has a size of its own.
const OVERFLOW_QUEUE: Capacity = Capacity::Bytes(4 << 20);

/// How many blocks are read ahead.
const READ_AHEAD: usize = 4;

impl DiskSettings {
    /// Opens the buffer. A disk that cannot be used is tried again later.
    pub(crate) fn open(self) -> Result<OpenedDisk, OpenError> {
        let store = match self.open_store() {
            Err(OpenError::Io { source, .. }) => Err(source.to_string()),
            Err(locked) => return Err(locked),
            Ok(opened) => Ok(opened),
        };
        Ok(OpenedDisk { settings: self, store })
    }

    fn open_store(&self) -> Result<(Store, Recovered), OpenError> {
        let files = Directory::lock(&self.directory)?;
        Store::open(Box::new(files), Limits::new(self.max_size))
            .map_err(|source| OpenError::io(&self.directory, source))
    }
}

/// A buffer on disk that nothing uses yet; or why the disk cannot be used.
#[derive(Debug)]
pub(crate) struct OpenedDisk {
    settings: DiskSettings,
    store: Result<(Store, Recovered), String>,
}

/// What the sides of a buffer see of its disk.
#[derive(Debug)]
pub(super) struct Disk {
    settings: DiskSettings,
    /// On its way to the disk.
    pub(super) queue: Queue,
    /// Blocks that were read.
    ready: VecDeque<Vec<LogEvent>>,
    /// The worker has something that is in none of the two, or there is more on disk.
    has_more: bool,
    /// Events that the worker has taken from the queue and not written yet.
    unwritten: usize,
    /// Events on disk that are not answered for, and the bytes of all files.
    stored: (u64, u64),
    /// What was not written in time has been counted as lost.
    pub(super) is_given_up: bool,
    /// The disk takes nothing, so that what waits for it goes to the sink directly.
    is_failing: bool,
    /// New events go elsewhere: this one is emptied.
    is_retired: bool,
    /// Nothing comes in or goes out any more.
    is_closing: bool,
    /// Cancelled when the worker has ended, and the directory may be opened again.
    ended: CancellationToken,
    answers: Arc<Answers>,
}

/// What became of blocks, for the worker.
#[derive(Debug, Default)]
struct Answers {
    list: Mutex<Vec<Answered>>,
    worker: OnceLock<Thread>,
}

#[derive(Clone, Copy, Debug)]
struct Answered {
    block: u64,
    status: EventStatus,
    /// Of its events, those that were let go, and so are in no books.
    unanswered: u32,
}

impl KeepsBlocks for Answers {
    fn answered(&self, block: u64, status: EventStatus, unanswered: u32) {
        let answered = Answered { block, status, unanswered };
        self.list.lock().unwrap_or_else(PoisonError::into_inner).push(answered);
        self.wake();
    }
}

impl Answers {
    fn wake(&self) {
        if let Some(worker) = self.worker.get() {
            worker.unpark();
        }
    }

    fn take(&self) -> Vec<Answered> {
        std::mem::take(&mut self.list.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Disk {
    /// Whether new events may go to it.
    pub(super) fn takes_events(&self) -> bool {
        !self.is_retired && self.is_open()
    }

    /// Whether it has not been closed.
    pub(super) fn is_open(&self) -> bool {
        !self.ended.is_cancelled()
    }

    pub(super) fn is_overflow(&self) -> bool {
        self.settings.is_overflow
    }

    /// The id of the sink that it is the buffer of.
    pub(super) fn sink(&self) -> &str {
        &self.settings.sink
    }

    pub(super) fn is_at(&self, directory: &Path) -> bool {
        self.settings.directory == directory
    }

    /// What it holds, with what is in memory before it.
    pub(super) fn fill(&self, events: u64, bytes: u64, memory: Capacity) -> BufferFill {
        let ready: usize = self.ready.iter().map(Vec::len).sum();
        let waiting = (self.queue.events() + self.unwritten) as u64;
        let (stored_events, stored_bytes) = self.stored;
        let is_overflow = self.settings.is_overflow;
        let in_memory = memory.most().1.filter(|_| is_overflow).unwrap_or_default();
        BufferFill {
            kind: if is_overflow { "overflow" } else { "disk" },
            bytes: bytes + self.queue.bytes() as u64 + stored_bytes,
            max_bytes: Some(self.settings.max_size.saturating_add(in_memory)),
            // What has been read is on disk still.
            events: events + waiting + stored_events.max(ready as u64),
            max_events: None,
        }
    }

    /// How much waits for the disk at most, if the settings name this capacity.
    pub(super) fn queue_capacity(&self, capacity: Capacity) -> Capacity {
        if self.settings.is_overflow { OVERFLOW_QUEUE } else { capacity }
    }

    pub(super) fn next(&mut self) -> Option<Vec<LogEvent>> {
        let is_direct = self.is_failing || !self.is_open();
        self.ready.pop_front().or_else(|| if is_direct { self.queue.pop() } else { None })
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty() && self.ready.is_empty() && !(self.has_more && self.is_open())
    }

    pub(super) fn take_ready(&mut self) -> VecDeque<Vec<LogEvent>> {
        std::mem::take(&mut self.ready)
    }

    /// Takes other settings for the same directory; without any, it is emptied and then closed.
    pub(super) fn set_settings(&mut self, settings: Option<&DiskSettings>) {
        self.is_retired = settings.is_none();
        if let Some(settings) = settings {
            if !self.is_at(&settings.directory) {
                tracing::warn!(
                    sink = settings.sink,
                    "the disk buffer stays in {} until the next start",
                    self.settings.directory.display()
                );
            }
            let directory = self.settings.directory.clone();
            self.settings = DiskSettings { directory, ..settings.clone() };
        }
        self.wake();
    }

    pub(super) fn wake(&self) {
        self.answers.wake();
    }

    /// Lets go of what has not been written; the worker may be stuck for ever. Says how many events that it
    /// has taken are not written.
    pub(super) fn give_up(&mut self) -> (Vec<Vec<LogEvent>>, usize) {
        self.is_given_up = true;
        (self.queue.take().collect(), std::mem::take(&mut self.unwritten))
    }

    /// Asks the worker to end. Cancelled when it has.
    pub(super) fn close(&mut self) -> CancellationToken {
        self.is_closing = true;
        self.wake();
        self.ended.clone()
    }
}

impl Shared {
    /// Starts to use this disk.
    pub(super) fn attach(shared: &Arc<Shared>, opened: OpenedDisk) {
        let OpenedDisk { settings, store } = opened;
        let ended = CancellationToken::new();
        let answers = Arc::<Answers>::default();
        let sink = settings.sink.clone();
        let mut state = shared.state();
        // What one had that has ended.
        let queue = state.disk.take().map(|disk| disk.queue).unwrap_or_default();
        state.disk = Some(Disk {
            settings: settings.clone(),
            queue,
            ready: VecDeque::new(),
            // Until the worker has looked.
            has_more: true,
            unwritten: 0,
            stored: (0, 0),
            is_given_up: false,
            is_failing: false,
            is_retired: false,
            is_closing: false,
            ended: ended.clone(),
            answers: Arc::clone(&answers),
        });
        drop(state);
        let mut worker = worker::Worker::new(Arc::clone(shared), settings, store, Arc::clone(&answers));
        let guard = ended.clone().drop_guard();
        let thread = std::thread::Builder::new().name(format!("buffer {sink}"));
        let spawned = thread.spawn(move || {
            let _guard = guard;
            worker.run();
        });
        match spawned {
            Ok(thread) => drop(answers.worker.set(thread.thread().clone())),
            // The guard has said that it has ended: the buffer is one in memory.
            Err(error) => {
                shared.counts.set_durable(false);
                tracing::error!(sink, "the disk buffer cannot be used, because it gets no thread: {error}");
            }
        }
        // What was sent or answered before the thread was known.
        answers.wake();
    }
}

/// Gives each event of a block a receipt of the block's.
fn with_receipts(sequence: u64, events: Vec<LogEvent>, answers: &Arc<Answers>) -> Vec<LogEvent> {
    let keeper: Arc<dyn KeepsBlocks> = Arc::clone(answers) as _;
    let batch = BatchNotifier::kept(sequence, keeper);
    events.into_iter().map(|event| event.with_finalizers(EventFinalizers::new(Arc::clone(&batch)))).collect()
}
