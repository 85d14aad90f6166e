//! What `log-shipper buffer` shows of buffers on disk.

use super::DiskSettings;
use super::block::{Builder, HEADER};
use super::files::{Files, Glance, OpenError, SegmentFile, is_locked};
use super::segment::{next_header, number, scan};
use crate::event::{LogEvent, Timestamp};
use std::io;
use std::path::{Path, PathBuf};

/// A buffer on disk as a whole.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BufferSummary {
    /// The sink's id.
    pub sink: String,
    /// Events that were not delivered yet.
    pub events: u64,
    /// Bytes of all files.
    pub bytes: u64,
    /// When the oldest of the events was received.
    pub oldest: Option<Timestamp>,
    /// Files.
    pub segments: usize,
    /// Whether a process has it open.
    pub is_open: bool,
}

/// Where the buffer of a sink is, in the `data_dir`.
pub fn directory(data_dir: &Path, sink: &str) -> PathBuf {
    let mut name = String::new();
    for char in sink.chars() {
        match char {
            // What means something else in a path, or here.
            '/' | '%' | '\0' => name += &format!("%{:02x}", u32::from(char)),
            '.' if name.is_empty() => name += "%2e",
            _ => name.push(char),
        }
    }
    data_dir.join("buffer").join(name)
}

fn sink_of(name: &str) -> String {
    name.replace("%2e", ".").replace("%2f", "/").replace("%00", "\0").replace("%25", "%")
}

/// All buffers in this `data_dir`, by their sinks' ids.
///
/// # Errors
/// If it cannot be read. That nothing is there is no error.
pub fn list(data_dir: &Path) -> io::Result<Vec<BufferSummary>> {
    let entries = match std::fs::read_dir(data_dir.join("buffer")) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut summaries = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            summaries.push(summary(&sink_of(&entry.file_name().to_string_lossy()), &entry.path())?);
        }
    }
    summaries.sort_by(|a, b| a.sink.cmp(&b.sink));
    Ok(summaries)
}

/// How many events in this directory were not delivered yet, as far as that can be read.
pub fn waiting(directory: &Path) -> u64 {
    summary("", directory).map_or(0, |summary| summary.events)
}

fn summary(sink: &str, directory: &Path) -> io::Result<BufferSummary> {
    let mut summary = BufferSummary {
        sink: sink.to_owned(),
        events: 0,
        bytes: 0,
        oldest: None,
        segments: 0,
        is_open: is_locked(directory),
    };
    for_each_segment(directory, |file, length| {
        let found = scan(file, length);
        summary.events += found.waiting.events;
        summary.bytes += length;
        summary.oldest = summary.oldest.or(found.oldest);
        summary.segments += 1;
        Ok(true)
    })?;
    Ok(summary)
}

/// Looks at every segment in order, until `look` has seen enough. Another process may write and remove them
/// meanwhile.
fn for_each_segment(
    directory: &Path,
    mut look: impl FnMut(&dyn SegmentFile, u64) -> io::Result<bool>,
) -> io::Result<()> {
    let files = Glance(directory.to_owned());
    let mut names: Vec<_> = files.names()?.into_iter().filter(|name| number(name).is_some()).collect();
    names.sort_unstable();
    for name in names {
        let file = match files.open(&name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        let length = file.len()?;
        if !look(&*file, length)? {
            break;
        }
    }
    Ok(())
}

/// Gives the events in this directory that were not delivered yet to `see`, oldest first, until it answers no.
/// Nothing is changed, and a process may have the buffer open.
///
/// # Errors
/// If it cannot be read, or if `see` fails.
pub fn inspect(directory: &Path, mut see: impl FnMut(&LogEvent) -> io::Result<bool>) -> io::Result<()> {
    for_each_segment(directory, |file, length| {
        let mut offset = 0;
        while let Some((at, header)) = next_header(file, offset, length)? {
            offset = at + header.total();
            if header.is_done {
                continue;
            }
            let mut payload = vec![0; header.length as usize];
            file.read_exact_at(&mut payload, at + HEADER as u64)?;
            for event in header.decode(payload).unwrap_or_default() {
                if !see(&event)? {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    })
}

/// Takes the events in this directory out, oldest first: those that `take` has taken are removed. Says how many
/// could not be read.
///
/// # Errors
/// If a process has the buffer open, if it cannot be used, or if `take` fails; what it has not taken stays.
pub fn drain(
    directory: &Path,
    mut take: impl FnMut(&[LogEvent]) -> io::Result<()>,
) -> Result<u64, OpenError> {
    let settings = DiskSettings {
        sink: String::new(),
        directory: directory.to_owned(),
        max_size: u64::MAX,
        is_overflow: false,
    };
    let (mut store, _) = settings.open_store()?;
    let mut drain = || {
        while let Some(block) = store.next()? {
            take(&block.events)?;
            store.ack(block.sequence)?;
        }
        store.sweep()
    };
    let result = drain();
    let damaged = store.take_damaged();
    result.map(|()| damaged).map_err(|source| OpenError::io(directory, source))
}

/// The events in the bytes of a segment's file, whatever is in it; those that are damaged are left out.
pub fn read_segment(bytes: &[u8]) -> Vec<LogEvent> {
    let (file, end) = (Bytes(bytes.to_vec()), bytes.len() as u64);
    let (mut offset, mut events) = (0, Vec::new());
    while let Ok(Some((at, header))) = next_header(&file, offset, end) {
        offset = at + header.total();
        let payload = bytes.get(at as usize + HEADER..offset as usize).unwrap_or_default();
        events.extend(header.decode(payload.to_vec()).unwrap_or_default());
    }
    events
}

/// The bytes of a segment with these blocks of events, of which the first has this number: what a file of this
/// name (the number in hexadecimal digits, `0000000000000005.log`) holds.
pub fn write_segment(first: u64, blocks: &[Vec<LogEvent>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut builder = Builder::new();
    for (sequence, events) in (first..).zip(blocks) {
        builder.clear();
        events.iter().for_each(|event| builder.push(event));
        bytes.extend_from_slice(builder.finish(sequence));
    }
    bytes
}

/// A file that is only read.
#[derive(Debug)]
struct Bytes(Vec<u8>);

impl SegmentFile for Bytes {
    fn len(&self) -> io::Result<u64> {
        Ok(self.0.len() as u64)
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let start = usize::try_from(offset).unwrap_or(usize::MAX);
        let bytes = self.0.get(start..).and_then(|rest| rest.get(..buffer.len()));
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write_all_at(&self, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn truncate(&self, _: u64) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
