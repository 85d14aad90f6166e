//! The files of a buffer: what the store asks of a directory, so that tests can let it fail.

use snafu::Snafu;
use std::fmt::Debug;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A directory of segments.
pub(super) trait Files: Debug + Send {
    /// The names of all segments' files.
    fn names(&self) -> io::Result<Vec<String>>;
    /// A file that was not there.
    fn create(&self, name: &str) -> io::Result<Box<dyn SegmentFile>>;
    /// A file that is there, to read it and to mark blocks in it.
    fn open(&self, name: &str) -> io::Result<Box<dyn SegmentFile>>;
    fn remove(&self, name: &str) -> io::Result<()>;
    /// From when this returns, files that were created are there after a power cut too.
    fn sync(&self) -> io::Result<()>;
}

/// A file of blocks.
pub(super) trait SegmentFile: Debug + Send {
    fn len(&self) -> io::Result<u64>;
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    fn truncate(&self, length: u64) -> io::Result<()>;
    fn sync(&self) -> io::Result<()>;
}

/// Of directories that are made, and of files: they hold everything that is logged, which is nobody else's business.
const DIRECTORY_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;

/// What segments' names end in.
pub(super) const SUFFIX: &str = ".log";
const LOCK: &str = "lock";

/// A buffer's directory cannot be opened.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum OpenError {
    /// Somebody else has it.
    #[snafu(display(
        "another log-shipper{} has the buffer {} open; stop it, or give one of them another data_dir",
        if owner.is_empty() { String::new() } else { format!(" (process {owner})") },
        directory.display()
    ))]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// The number of the process, if it has written it down.
        owner: String,
    },
    /// It cannot be made, read or written.
    #[snafu(display("the buffer {} cannot be used: {source}", directory.display()))]
    Io {
        /// The directory.
        directory: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl OpenError {
    pub(super) fn io(directory: &Path, source: io::Error) -> OpenError {
        OpenError::Io { directory: directory.to_owned(), source }
    }
}

/// A directory on disk, which nobody else has open.
#[derive(Debug)]
pub(super) struct Directory {
    path: PathBuf,
    /// The system lets go of the lock when the process ends, in whatever way.
    _lock: File,
}

impl Directory {
    /// Makes the directory if it is not there, and locks it.
    pub(super) fn lock(path: &Path) -> Result<Directory, OpenError> {
        let failed = |source| OpenError::io(path, source);
        DirBuilder::new().recursive(true).mode(DIRECTORY_MODE).create(path).map_err(failed)?;
        let mut options = OpenOptions::new();
        options.create(true).truncate(false).read(true).write(true).mode(FILE_MODE);
        let mut lock = options.open(path.join(LOCK)).map_err(failed)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::Error(source)) => return Err(failed(source)),
            Err(TryLockError::WouldBlock) => {
                let mut owner = String::new();
                // Who it is, is only a help.
                let _ = lock.take(20).read_to_string(&mut owner);
                return Err(OpenError::Locked { directory: path.to_owned(), owner: owner.trim().to_owned() });
            }
        }
        // On a full disk this fails, and is missed by nobody.
        let _ = lock.set_len(0).and_then(|()| write!(lock, "{}", std::process::id()));
        Ok(Directory { path: path.to_owned(), _lock: lock })
    }
}

/// Whether somebody has this buffer open now.
pub(super) fn is_locked(path: &Path) -> bool {
    let Ok(lock) = File::open(path.join(LOCK)) else { return false };
    matches!(lock.try_lock(), Err(TryLockError::WouldBlock))
}

impl Files for Directory {
    fn names(&self) -> io::Result<Vec<String>> {
        names(&self.path)
    }

    fn create(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        let mut options = OpenOptions::new();
        options.create_new(true).read(true).write(true).mode(FILE_MODE);
        Ok(Box::new(options.open(self.path.join(name))?))
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(OpenOptions::new().read(true).write(true).open(self.path.join(name))?))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.path.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }
}

impl SegmentFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.size())
    }

    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        FileExt::read_exact_at(self, buffer, offset)
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}

/// A directory that is only looked at, while somebody else may write it.
#[derive(Debug)]
pub(super) struct Glance(pub(super) PathBuf);

impl Files for Glance {
    fn names(&self) -> io::Result<Vec<String>> {
        names(&self.0)
    }

    fn create(&self, _: &str) -> io::Result<Box<dyn SegmentFile>> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn open(&self, name: &str) -> io::Result<Box<dyn SegmentFile>> {
        Ok(Box::new(File::open(self.0.join(name))?))
    }

    fn remove(&self, _: &str) -> io::Result<()> {
        Err(io::ErrorKind::ReadOnlyFilesystem.into())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

fn names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        let name = entry?.file_name();
        names.extend(name.to_str().filter(|name| name.ends_with(SUFFIX)).map(str::to_owned));
    }
    Ok(names)
}
