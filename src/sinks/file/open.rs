//! [`OpenFile`]: a file that is appended to, and what becomes of half a write.

use std::io;
use std::path::Path;
use tokio::fs::{File, OpenOptions};
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::time::Instant;

/// What is written goes through a copy that each open file keeps: bytes of that. Tokio's default is 2 MiB.
const MAX_COPY: usize = 64 << 10;

pub(super) struct OpenFile {
    file: File,
    /// How much of it is whole.
    length: u64,
    /// Whether it is one that can be put aside: no terminal, no pipe.
    is_regular: bool,
    used: Instant,
}

impl OpenFile {
    /// Opens a file, and makes it and its directory if they are not there. If it does not end with the
    /// terminator, a crash has cut its last line off: that line is ended, so that it does not spoil the next one.
    /// A new file that is private can be read by its owner alone.
    pub(super) async fn open(path: &Path, terminator: &[u8], is_private: bool) -> io::Result<OpenFile> {
        if let Some(parent) = path.parent() {
            tokio::fs::create_dir_all(parent).await?;
        }
        let mut options = OpenOptions::new();
        options.create(true).append(true);
        if is_private {
            options.mode(0o600);
        }
        let mut file = options.open(path).await?;
        file.set_max_buf_size(MAX_COPY);
        let metadata = file.metadata().await?;
        let (length, is_regular) = (metadata.len(), metadata.is_file());
        let mut open = OpenFile { file, length, is_regular, used: Instant::now() };
        if is_regular && length > 0 && !terminator.is_empty() && is_cut_off(path, terminator).await {
            open.append(path, terminator).await?;
        }
        Ok(open)
    }

    /// When it was last written to.
    pub(super) fn used(&self) -> Instant {
        self.used
    }

    /// Whether so many more bytes are too many. An empty file takes any number.
    pub(super) fn is_full(&self, more: usize, most: usize) -> bool {
        self.is_regular && self.length > 0 && self.length.saturating_add(more as u64) > most as u64
    }

    /// Appends all of it, or nothing if that can be helped.
    pub(super) async fn append(&mut self, path: &Path, bytes: &[u8]) -> io::Result<()> {
        let written = async {
            self.file.write_all(bytes).await?;
            self.file.flush().await
        };
        if let Err(error) = written.await {
            self.take_back(path, bytes).await;
            return Err(error);
        }
        self.length += bytes.len() as u64;
        self.used = Instant::now();
        Ok(())
    }

    /// Takes back what has come through of a write that failed: it would stand there twice after the next attempt.
    /// If somebody else writes to the file too, or this fails as well, a cut-off line is the lesser evil.
    async fn take_back(&mut self, path: &Path, bytes: &[u8]) {
        let read = async {
            let mut file = File::open(path).await?;
            file.seek(io::SeekFrom::Start(self.length)).await?;
            let mut tail = Vec::new();
            file.take(bytes.len() as u64).read_to_end(&mut tail).await?;
            Ok::<_, io::Error>(tail)
        };
        if self.is_regular && read.await.is_ok_and(|tail| bytes.starts_with(&tail)) {
            let _ = self.file.set_len(self.length).await;
        }
    }
}

/// Whether the file ends with something else than this. One that may only be written to is taken as it is.
async fn is_cut_off(path: &Path, terminator: &[u8]) -> bool {
    let read = async {
        let mut file = File::open(path).await?;
        let back = i64::try_from(terminator.len()).map_err(io::Error::other)?;
        file.seek(io::SeekFrom::End(-back)).await?;
        let mut end = Vec::new();
        file.read_to_end(&mut end).await?;
        Ok::<_, io::Error>(end)
    };
    read.await.is_ok_and(|end| end != terminator)
}
