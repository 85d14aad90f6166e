//! [`Store`]: a queue of blocks in segments, on disk.
//!
//! Blocks are appended to the last segment, read in order, and answered for in any order. A segment whose blocks
//! are all answered for is removed, and a block that is answered for is marked in its place, so that a restart
//! does not bring it again. An open store never appends to a segment that another one has left: what is
//! damaged at the end of that is passed over like damage anywhere else.

use super::block::{self, DONE, HEADER, Header, STATE};
use super::files::{Files, SegmentFile};
use super::segment::{self, Found, Segment, next_header, scan};
use crate::event::LogEvent;
use std::collections::{HashMap, VecDeque};
use std::io;

/// A queue of blocks on disk.
#[derive(Debug)]
pub(super) struct Store {
    files: Box<dyn Files>,
    limits: Limits,
    /// By their first block.
    segments: VecDeque<Segment>,
    /// The last segment is one that is being written.
    is_writing: bool,
    next_sequence: u64,
    /// The first block of the segment that is read, and the place in it.
    reading: (u64, u64),
    /// Blocks that were read and are not answered for, by their sequence numbers.
    in_flight: HashMap<u64, Place>,
    /// Events that were found to be damaged since somebody asked.
    damaged: u64,
    /// Why the end of a segment that is no longer written may not be on the disk, until somebody asks.
    sync_error: Option<io::Error>,
}

#[derive(Debug)]
struct Place {
    segment: u64,
    offset: u64,
    header: Header,
    is_put_back: bool,
}

/// How large the files of a store may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// Of all files.
    pub(super) store: u64,
    /// Of one: when a buffer that is full has to drop its oldest events, it drops so much at once.
    pub(super) segment: u64,
}

impl Limits {
    pub(super) fn new(max_size: u64) -> Limits {
        Limits { store: max_size, segment: (max_size / 16).clamp(64 << 10, 16 << 20) }
    }
}

/// What a store found when it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Recovered {
    pub(super) events: u64,
    /// Bytes that are no whole block: the end of what was being written, or damage.
    pub(super) damaged: u64,
}

/// A block that was read.
#[derive(Debug)]
pub(super) struct Block {
    pub(super) sequence: u64,
    pub(super) events: Vec<LogEvent>,
}

impl Store {
    /// Opens what is in the directory. Takes memory for each segment, not for what is in it.
    pub(super) fn open(files: Box<dyn Files>, limits: Limits) -> io::Result<(Store, Recovered)> {
        let mut numbers: Vec<u64> = files.names()?.iter().filter_map(|name| segment::number(name)).collect();
        numbers.sort_unstable();
        let mut store = Store {
            files,
            limits,
            segments: VecDeque::new(),
            is_writing: false,
            next_sequence: 0,
            reading: (0, 0),
            in_flight: HashMap::new(),
            damaged: 0,
            sync_error: None,
        };
        let mut recovered = Recovered::default();
        for first in &numbers {
            let first = *first;
            let file = store.files.open(&segment::name(first))?;
            let length = file.len()?;
            if numbers.last() == Some(&first) {
                // The others were brought to the disk when it was begun. If it does not work, it is no worse than
                // before.
                let _ = file.sync();
            }
            let Found { waiting, next_sequence, damaged, .. } = scan(&*file, length);
            store.next_sequence = store.next_sequence.max(next_sequence).max(first.saturating_add(1));
            recovered.events += waiting.events;
            recovered.damaged += damaged;
            store.segments.push_back(Segment { length, waiting, file: None, ..Segment::new(first, file) });
        }
        // What cannot be removed now is tried again.
        let _ = store.sweep();
        Ok((store, recovered))
    }

    /// Events that are not answered for.
    pub(super) fn events(&self) -> u64 {
        self.segments
            .iter()
            .map(|segment| segment.waiting.events + segment.in_flight.events + segment.put_back.events)
            .sum()
    }

    /// Blocks that nobody has read yet.
    pub(super) fn unread(&self) -> u64 {
        self.segments.iter().map(|segment| segment.waiting.blocks).sum()
    }

    /// Whether there is something to read, now or later.
    pub(super) fn has_more(&self) -> bool {
        self.segments.iter().any(|segment| segment.waiting.blocks + segment.put_back.blocks > 0)
    }

    /// Whether every block has been answered for.
    pub(super) fn is_empty(&self) -> bool {
        self.segments.iter().all(Segment::is_done)
    }

    /// Bytes of all files.
    pub(super) fn bytes(&self) -> u64 {
        self.segments.iter().map(|segment| segment.length).sum()
    }

    /// How large a block should be.
    pub(super) fn block_size(&self) -> usize {
        self.limits.segment.min(128 << 10) as usize
    }

    pub(super) fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Events that were found to be damaged since this was last asked.
    pub(super) fn take_damaged(&mut self) -> u64 {
        std::mem::take(&mut self.damaged)
    }

    /// Whether there is room for a block of this length. What is larger than the whole buffer may come in when that
    /// is empty.
    pub(super) fn has_room(&mut self, length: usize) -> bool {
        let is_full = |store: &Store| {
            let bytes = store.bytes();
            bytes > 0 && bytes + length as u64 > store.limits.store
        };
        if is_full(self) {
            // The segment that is being written may be full of what has been answered for.
            let _ = self.sweep();
        }
        !is_full(self)
    }

    // === writing ===

    /// Writes a block behind all others. It outlasts the process from here on, and a power cut from the next
    /// [`Store::sync`] on. After an error it is not there.
    pub(super) fn append(&mut self, block: &mut block::Builder) -> io::Result<()> {
        let length = block.len() as u64;
        let is_too_long = |segment: &Segment| segment.length + length > self.limits.segment;
        if !self.is_writing || self.segments.back().is_none_or(is_too_long) {
            self.begin_segment()?;
        }
        let sequence = self.next_sequence;
        // Not used again, even if it fails: what is left of it must not be taken for another.
        self.next_sequence += 1;
        let bytes = block.finish(sequence);
        let Some(segment) = self.segments.back_mut() else { return Err(io::ErrorKind::NotFound.into()) };
        let Some(file) = &segment.file else { return Err(io::ErrorKind::NotFound.into()) };
        if let Err(error) = file.write_all_at(bytes, segment.length) {
            // Should it stay, what was written of it is passed over when it is found.
            if file.truncate(segment.length).is_err() {
                self.finish_segment();
            }
            return Err(error);
        }
        segment.length += length;
        segment.waiting.blocks += 1;
        segment.waiting.events += u64::from(block.events());
        Ok(())
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        self.finish_segment();
        self.close_files();
        let first = self.next_sequence;
        // Its name is used up, whatever happens now.
        self.next_sequence += 1;
        let file = self.files.create(&segment::name(first))?;
        if let Err(error) = self.files.sync() {
            let _ = self.files.remove(&segment::name(first));
            return Err(error);
        }
        self.segments.push_back(Segment::new(first, file));
        self.is_writing = true;
        Ok(())
    }

    /// Lets the next block begin another segment.
    fn finish_segment(&mut self) {
        if let Err(error) = self.sync_segment() {
            self.sync_error = Some(error);
        }
        self.is_writing = false;
    }

    fn sync_segment(&mut self) -> io::Result<()> {
        let last = self.segments.back().filter(|_| self.is_writing);
        last.and_then(|segment| segment.file.as_ref()).map_or(Ok(()), |file| file.sync())
    }

    /// Brings everything that was appended to the disk. After an error nobody knows what is there of what was
    /// appended since the last time, and the next block begins another segment.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        let result = self.sync_segment();
        self.is_writing &= result.is_ok();
        self.sync_error.take().map_or(result, Err)
    }

    /// Makes room for a block of this length, if it can, by dropping the oldest blocks that nobody has read. Says
    /// how many events those were.
    pub(super) fn drop_oldest(&mut self, length: usize) -> u64 {
        let mut dropped = 0;
        while !self.has_room(length) {
            let Some(at) = self.segments.iter().position(|segment| segment.waiting.blocks > 0) else { break };
            if at + 1 == self.segments.len() {
                self.finish_segment();
            }
            if !self.segments[at].has_answered() {
                // The file stays until those are answered for; these must not come again meanwhile.
                self.mark_waiting(at);
            }
            let segment = &mut self.segments[at];
            dropped += std::mem::take(&mut segment.waiting).events;
            let _ = self.tidy(at);
        }
        dropped
    }

    fn mark_waiting(&mut self, at: usize) {
        let Segment { first, length, .. } = self.segments[at];
        let is_read = self.reading.0 == first;
        let mut offset = if is_read { self.reading.1 } else { 0 };
        if is_read {
            self.reading.1 = length;
        }
        let Ok(file) = self.file(at) else { return };
        while let Ok(Some((found, header))) = next_header(file, offset, length) {
            offset = found + header.total();
            let _ = file.write_all_at(&[DONE], found + STATE);
        }
    }

    // === reading ===

    /// The next block that nobody has read, or nothing. After an error it is tried again, unless
    /// [`Store::skip_segment`] gives it up.
    pub(super) fn next(&mut self) -> io::Result<Option<Block>> {
        loop {
            let (first, offset) = self.reading;
            let at = self.segments.partition_point(|segment| segment.first < first);
            let is_last = at + 1 >= self.segments.len();
            let Some(segment) = self.segments.get_mut(at) else { return Ok(None) };
            if segment.first != first {
                self.reading = (segment.first, 0);
                continue;
            }
            let is_written = is_last && self.is_writing;
            if offset >= segment.length || (segment.waiting.blocks == 0 && !is_written) {
                // What was counted when it was written, or when the store was opened, and is not there.
                self.damaged += std::mem::take(&mut segment.waiting).events;
                if is_written {
                    return Ok(None);
                }
                self.reading = (first + 1, 0);
                let _ = self.tidy(at);
                continue;
            }
            let length = segment.length;
            let file = self.file(at)?;
            let Some((found, header)) = next_header(file, offset, length)? else {
                self.reading.1 = length;
                continue;
            };
            let next = found + header.total();
            if header.is_done {
                self.reading.1 = next;
                continue;
            }
            let mut payload = vec![0; header.length as usize];
            file.read_exact_at(&mut payload, found + HEADER as u64)?;
            self.reading.1 = next;
            let segment = &mut self.segments[at];
            segment.waiting.take(&header);
            let place = Place { segment: first, offset: found, header, is_put_back: false };
            match header.decode(payload) {
                Some(events) => {
                    segment.in_flight.add(&header);
                    self.in_flight.insert(header.sequence, place);
                    return Ok(Some(Block { sequence: header.sequence, events }));
                }
                None => {
                    self.damaged += u64::from(header.events);
                    // Should it not work, it is found damaged once more.
                    let _ = self.file(at).and_then(|file| file.write_all_at(&[DONE], found + STATE));
                }
            }
        }
    }

    /// Gives up what is left of the segment that cannot be read.
    pub(super) fn skip_segment(&mut self) {
        let first = self.reading.0;
        let Some(at) = self.segments.iter().position(|segment| segment.first == first) else { return };
        if at + 1 == self.segments.len() {
            self.finish_segment();
        }
        self.reading.1 = self.segments[at].length;
    }

    // === answers ===

    /// A block is not wanted any more.
    pub(super) fn ack(&mut self, sequence: u64) -> io::Result<()> {
        let Some(place) = self.in_flight.remove(&sequence) else { return Ok(()) };
        let Ok(at) = self.segments.binary_search_by_key(&place.segment, |segment| segment.first) else {
            return Ok(());
        };
        let is_written = self.is_writing && at + 1 == self.segments.len();
        let segment = &mut self.segments[at];
        let pile = if place.is_put_back { &mut segment.put_back } else { &mut segment.in_flight };
        pile.take(&place.header);
        if !segment.is_done() || is_written {
            self.file(at)?.write_all_at(&[DONE], place.offset + STATE)?;
        }
        self.tidy(at)
    }

    /// A block that was read is to be read again, by [`Store::read_again`]. Says how many events it has.
    pub(super) fn put_back(&mut self, sequence: u64) -> u64 {
        let Store { segments, in_flight, .. } = self;
        let Some(place) = in_flight.get_mut(&sequence).filter(|place| !place.is_put_back) else { return 0 };
        place.is_put_back = true;
        if let Ok(at) = segments.binary_search_by_key(&place.segment, |segment| segment.first) {
            segments[at].in_flight.take(&place.header);
            segments[at].put_back.add(&place.header);
        }
        u64::from(place.header.events)
    }

    /// Reads a block that was put back; nothing if it is not wanted, or damaged by now. After an error it is tried
    /// again, unless [`Store::give_up`] gives it up.
    pub(super) fn read_again(&mut self, sequence: u64) -> io::Result<Option<Block>> {
        let Some(place) = self.in_flight.get(&sequence).filter(|place| place.is_put_back) else {
            return Ok(None);
        };
        let (first, offset, header) = (place.segment, place.offset, place.header);
        let Ok(at) = self.segments.binary_search_by_key(&first, |segment| segment.first) else {
            return Ok(None);
        };
        let mut payload = vec![0; header.length as usize];
        self.file(at)?.read_exact_at(&mut payload, offset + HEADER as u64)?;
        let Some(events) = header.decode(payload) else {
            // Should it not work, it is found damaged once more.
            let _ = self.give_up(sequence);
            return Ok(None);
        };
        self.segments[at].put_back.take(&header);
        self.segments[at].in_flight.add(&header);
        self.in_flight.insert(sequence, Place { segment: first, offset, header, is_put_back: false });
        Ok(Some(Block { sequence, events }))
    }

    /// Gives up a block that was put back and cannot be read.
    pub(super) fn give_up(&mut self, sequence: u64) -> io::Result<()> {
        self.damaged += self.in_flight.get(&sequence).map_or(0, |place| u64::from(place.header.events));
        self.ack(sequence)
    }

    /// Removes a segment if nobody wants anything of it, unless it is the one that is written and still short.
    fn tidy(&mut self, at: usize) -> io::Result<()> {
        let is_written = self.is_writing && at + 1 == self.segments.len();
        let segment = &mut self.segments[at];
        if !segment.is_done() || (is_written && segment.length < self.limits.segment / 2) {
            return Ok(());
        }
        self.remove(at)
    }

    fn remove(&mut self, at: usize) -> io::Result<()> {
        let is_written = self.is_writing && at + 1 == self.segments.len();
        match self.files.remove(&self.segments[at].name()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        self.segments.remove(at);
        self.is_writing &= !is_written;
        Ok(())
    }

    /// Removes every segment of which nobody wants anything.
    pub(super) fn sweep(&mut self) -> io::Result<()> {
        let mut result = Ok(());
        for at in (0..self.segments.len()).rev() {
            if self.segments[at].is_done() {
                result = self.remove(at).and(result);
            }
        }
        result
    }

    /// Lets go of files in which there is nothing to do for now.
    fn close_files(&mut self) {
        let last = self.segments.len().wrapping_sub(1);
        for (at, segment) in self.segments.iter_mut().enumerate() {
            let is_used =
                segment.first == self.reading.0 || !segment.has_answered() || (self.is_writing && at == last);
            if !is_used {
                segment.file = None;
            }
        }
    }

    /// A segment's file, opened if it is not.
    fn file(&mut self, at: usize) -> io::Result<&dyn SegmentFile> {
        let Some(segment) = self.segments.get_mut(at) else { return Err(io::ErrorKind::NotFound.into()) };
        let file = match segment.file.take() {
            Some(file) => file,
            None => self.files.open(&segment.name())?,
        };
        Ok(&**segment.file.insert(file))
    }
}
