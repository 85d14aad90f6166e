//! A directory in memory that fails when a test wants it to.

use super::files::{Files, SegmentFile};
use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// The disk; a clone is the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Disk(Arc<Mutex<World>>);

#[derive(Debug, Default)]
struct World {
    files: BTreeMap<String, Content>,
    /// What is no longer there, and is again after a power cut.
    removed: BTreeMap<String, Content>,
    /// How many steps were taken: whatever changes something.
    steps: u64,
    /// At this step the process is killed: of a write, so much of four parts is done.
    kill_at: Option<(u64, usize)>,
    is_dead: bool,
    /// Bytes of all files, at most.
    room: Option<usize>,
    is_read_only: bool,
    is_unreadable: bool,
    /// Writes do not come back.
    is_stuck: bool,
    /// How often something was read.
    reads: u64,
}

#[derive(Clone, Debug, Default)]
struct Content {
    now: Vec<u8>,
    synced: Vec<u8>,
    /// The directory was synced since it was made.
    is_named: bool,
}

#[derive(Debug)]
struct File {
    disk: Disk,
    name: String,
}

impl Disk {
    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap()
    }

    pub(super) fn steps(&self) -> u64 {
        self.world().steps
    }

    pub(super) fn kill_at(&self, step: u64, quarters: usize) {
        self.world().kill_at = Some((step, quarters));
    }

    pub(super) fn is_dead(&self) -> bool {
        self.world().is_dead
    }

    /// The next process.
    pub(super) fn revive(&self) {
        let mut world = self.world();
        (world.is_dead, world.kill_at) = (false, None);
    }

    pub(super) fn set_room(&self, room: Option<usize>) {
        self.world().room = room;
    }

    pub(super) fn set_read_only(&self, is_read_only: bool) {
        self.world().is_read_only = is_read_only;
    }

    pub(super) fn set_unreadable(&self, is_unreadable: bool) {
        self.world().is_unreadable = is_unreadable;
    }

    pub(super) fn set_stuck(&self, is_stuck: bool) {
        self.world().is_stuck = is_stuck;
    }

    pub(super) fn reads(&self) -> u64 {
        self.world().reads
    }

    /// Spoils a byte of the file that was made last.
    pub(super) fn damage(&self, offset: usize) {
        self.world().files.last_entry().unwrap().get_mut().now[offset] ^= 1;
    }

    /// What was synced is there; of the rest, what `luck` says.
    pub(super) fn cut_power(&self, mut luck: impl FnMut(usize) -> usize) {
        let mut world = self.world();
        let removed = std::mem::take(&mut world.removed);
        for (name, content) in removed {
            if luck(2) == 0 {
                world.files.insert(name, content);
            }
        }
        let names: Vec<_> = world.files.keys().cloned().collect();
        for name in names {
            let content = world.files.get_mut(&name).unwrap();
            if !content.is_named && luck(2) == 0 {
                world.files.remove(&name);
                continue;
            }
            let longest = content.now.len().max(content.synced.len());
            let length = content.synced.len() + luck(longest - content.synced.len() + 1);
            let mut left = vec![0; length];
            for (at, byte) in left.iter_mut().enumerate() {
                let synced = content.synced.get(at);
                let now = content.now.get(at);
                // Whole pieces of what was not synced are there or not.
                *byte = match (synced, now) {
                    (Some(synced), Some(now)) if synced != now => *[synced, now][luck(2)],
                    (Some(byte), _) => *byte,
                    (None, Some(now)) if luck(200) > 0 => *now,
                    _ => 0,
                };
            }
            *content = Content { now: left.clone(), synced: left, is_named: true };
        }
    }

    pub(super) fn contents(&self) -> Vec<(String, Vec<u8>)> {
        self.world().files.iter().map(|(name, content)| (name.clone(), content.now.clone())).collect()
    }

    pub(super) fn with_contents(contents: &[(String, Vec<u8>)]) -> Disk {
        let disk = Disk::default();
        for (name, bytes) in contents {
            let content = Content { now: bytes.clone(), synced: bytes.clone(), is_named: true };
            disk.world().files.insert(name.clone(), content);
        }
        disk
    }
}

fn dead() -> io::Error {
    io::Error::other("killed")
}

impl World {
    /// Takes a step; gives how many quarters of it are done.
    fn step(&mut self) -> io::Result<usize> {
        if self.is_dead {
            return Err(dead());
        }
        if self.is_read_only {
            return Err(io::ErrorKind::ReadOnlyFilesystem.into());
        }
        self.steps += 1;
        match self.kill_at {
            Some((step, quarters)) if self.steps > step => {
                self.is_dead = true;
                Ok(quarters)
            }
            _ => Ok(4),
        }
    }

    fn alive(&self) -> io::Result<()> {
        if self.is_dead { Err(dead()) } else { Ok(()) }
    }
}

impl Files for Disk {
    fn names(&self) -> io::Result<Vec<String>> {
        Ok(self.world().files.keys().cloned().collect())
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let mut world = self.world();
        if world.step()? == 4 || world.steps.is_multiple_of(2) {
            assert!(
                world.files.insert(name.to_owned(), Content::default()).is_none(),
                "{name} is used twice"
            );
        }
        world.alive()?;
        Ok(Box::new(File { disk: self.clone(), name: name.to_owned() }))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        self.world().alive()?;
        self.world().files.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Box::new(File { disk: self.clone(), name: name.to_owned() }))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut world = self.world();
        if world.step()? >= 2 {
            let content = world.files.remove(name).ok_or(io::ErrorKind::NotFound)?;
            world.removed.insert(name.to_owned(), content);
        }
        world.alive()
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world();
        if world.step()? == 4 {
            world.removed.clear();
            world.files.values_mut().for_each(|content| content.is_named = true);
        }
        world.alive()
    }
}

impl File {
    fn with<T>(&self, work: impl FnOnce(&mut World, &mut Content) -> io::Result<T>) -> io::Result<T> {
        let mut world = self.disk.world();
        // As with the system, a file that was removed can be worked on while it is open.
        let is_there = world.files.contains_key(&self.name);
        let files = if is_there { &mut world.files } else { &mut world.removed };
        let mut content = std::mem::take(files.get_mut(&self.name).ok_or(io::ErrorKind::NotFound)?);
        let result = work(&mut world, &mut content);
        let files = if is_there { &mut world.files } else { &mut world.removed };
        files.insert(self.name.clone(), content);
        result
    }
}

impl SegmentFile for File {
    fn len(&self) -> io::Result<u64> {
        self.with(|_, content| Ok(content.now.len() as u64))
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.with(|world, content| {
            world.alive()?;
            world.reads += 1;
            if world.is_unreadable {
                return Err(io::Error::other("a bad sector"));
            }
            let bytes = content.now.get(offset as usize..offset as usize + buffer.len());
            buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
            Ok(())
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        while self.disk.world().is_stuck {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.with(|world, content| {
            let mut length = bytes.len() * world.step()? / 4;
            let end = offset as usize + length;
            if end > content.now.len()
                && let Some(room) = world.room
            {
                let others: usize = world.files.values().map(|content| content.now.len()).sum();
                length = length.min((room.saturating_sub(others)).saturating_sub(offset as usize));
            }
            let end = offset as usize + length;
            if content.now.len() < end {
                content.now.resize(end, 0);
            }
            content.now[offset as usize..end].copy_from_slice(&bytes[..length]);
            world.alive()?;
            if length < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
        })
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.with(|world, content| {
            if world.step()? >= 2 {
                content.now.truncate(length as usize);
            }
            world.alive()
        })
    }

    fn sync(&self) -> io::Result<()> {
        self.with(|world, content| {
            if world.step()? == 4 {
                content.synced = content.now.clone();
            }
            world.alive()
        })
    }
}
