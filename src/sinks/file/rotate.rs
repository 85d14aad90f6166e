//! [`RotateConfig`]: a file that is full becomes `path.1`, what that was `path.2`, and so on; the oldest goes.

use schemars::JsonSchema;
use serde::Deserialize;
use std::ffi::OsString;
use std::io;
use std::num::NonZero;
use std::path::{Path, PathBuf};

/// The `rotate` table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct RotateConfig {
    /// The most bytes of a file; an event that is larger has one of its own. Default: 64 MiB.
    max_bytes: NonZero<usize>,
    /// The most files, with the one that is written to: with 3, there are `path`, `path.1` and `path.2`. When
    /// there would be one more, the oldest is removed. Default: 8.
    max_files: NonZero<u32>,
}

impl Default for RotateConfig {
    fn default() -> RotateConfig {
        RotateConfig {
            max_bytes: const { NonZero::new(64 << 20).unwrap() },
            max_files: const { NonZero::new(8).unwrap() },
        }
    }
}

impl RotateConfig {
    pub(super) fn max_bytes(self) -> usize {
        self.max_bytes.get()
    }

    /// Makes room for a new file of this name, and notes what goes. What fails half-way may be tried again: each
    /// step leaves every file under a name of its own.
    pub(super) async fn put_aside(self, path: &Path, removed: &mut Removed) -> io::Result<()> {
        let most = self.max_files.get();
        // There may have been more of them once.
        let mut surplus = most;
        while removed.remove(&numbered(path, surplus)).await? {
            surplus += 1;
        }
        if most == 1 {
            return removed.remove(path).await.map(drop);
        }
        // The first name that is free; without one, that of the oldest, which goes.
        let mut free = 1;
        while free + 1 < most && tokio::fs::try_exists(numbered(path, free)).await? {
            free += 1;
        }
        removed.remove(&numbered(path, free)).await?;
        for number in (1..free).rev() {
            tokio::fs::rename(numbered(path, number), numbered(path, number + 1)).await?;
        }
        tokio::fs::rename(path, numbered(path, 1)).await
    }
}

fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(format!(".{number}"));
    name.into()
}

/// The files that went.
#[derive(Debug, Default)]
pub(super) struct Removed {
    /// The last of them, under the name that it had.
    pub path: PathBuf,
    /// How long they were together.
    pub bytes: u64,
}

impl Removed {
    /// Removes a file. Returns whether there was one.
    async fn remove(&mut self, path: &Path) -> io::Result<bool> {
        let removing = async {
            let bytes = tokio::fs::symlink_metadata(path).await?.len();
            tokio::fs::remove_file(path).await?;
            Ok::<_, io::Error>(bytes)
        };
        match removing.await {
            Ok(bytes) => {
                self.path = path.to_owned();
                self.bytes += bytes;
                Ok(true)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{read_to_string, write};

    /// What is in `path`, `path.1` and so on, with a comma between two.
    fn files(path: &Path) -> String {
        let all = std::iter::once(path.to_owned()).chain((1..10).map(|number| numbered(path, number)));
        let all: Vec<_> = all.map(|path| read_to_string(path).unwrap_or_default()).collect();
        all.join(",").trim_end_matches(',').to_owned()
    }

    #[tokio::test]
    async fn the_oldest_goes_and_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let rotate = |max_files| RotateConfig {
            max_files: NonZero::new(max_files).unwrap(),
            ..RotateConfig::default()
        };
        for (number, max_files, expected, gone) in [
            (1, 3, ",1", 0),
            (2, 3, ",2,1", 0),
            (3, 3, ",3,2", 1),
            (4, 5, ",4,3,2", 0),
            // One that is missing is filled, and nothing is lost.
            (5, 5, ",5,4,3,2", 0),
            // Fewer than there were.
            (6, 2, ",6", 4),
            (7, 1, "", 2),
        ] {
            write(&path, number.to_string()).unwrap();
            let mut removed = Removed::default();
            rotate(max_files).put_aside(&path, &mut removed).await.unwrap();
            assert_eq!(files(&path), expected, "{number}");
            // Each holds one byte.
            assert_eq!(removed.bytes, gone, "{number}: {removed:?}");
        }
    }

    #[tokio::test]
    async fn a_second_attempt_loses_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        // As the first one has left it: `log.1` had been renamed, `log` not yet.
        for (name, text) in [("log", "4"), ("log.2", "3"), ("log.3", "2")] {
            write(dir.path().join(name), text).unwrap();
        }
        let rotate =
            RotateConfig { max_files: const { NonZero::new(4).unwrap() }, ..RotateConfig::default() };
        let mut removed = Removed::default();
        rotate.put_aside(&path, &mut removed).await.unwrap();
        assert_eq!((files(&path).as_str(), removed.bytes), (",4,3,2", 0));
    }
}
