//! Files that are read whole: bounds keep a wrong path (`/dev/zero`, a disk's image, a pipe that nobody writes into)
//! from filling the memory, and from holding us for ever.

use std::fs::File;
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::FileTypeExt;
use std::path::Path;
use std::sync::mpsc::channel;
use std::time::Duration;

/// How long whoever writes into a pipe may take for all of it.
const PATIENCE: Duration = Duration::from_secs(10);

/// The text of a file, or of a pipe such as a shell's `<(command)`, of at most so many bytes.
///
/// # Errors
/// If it cannot be read, is longer, is not UTF-8, is a device (but for `/dev/null`) or a socket; or if it is a pipe that
/// is not written to its end in ten seconds.
pub(crate) fn read_text(path: &Path, most: usize) -> Result<String> {
    read_text_within(path, most, PATIENCE)
}

/// Whether this is a pipe: what it has is read once.
pub(crate) fn is_pipe(path: &Path) -> bool {
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_fifo())
}

fn read_text_within(path: &Path, most: usize, patience: Duration) -> Result<String> {
    let kind = std::fs::metadata(path)?.file_type();
    // That a directory is none of them the system says itself.
    if kind.is_file() || kind.is_dir() || path == Path::new("/dev/null") {
        return read_all(path, most);
    }
    if !kind.is_fifo() {
        return Err(Error::new(
            ErrorKind::InvalidInput,
            "it is a device or a socket; expected a file or a pipe",
        ));
    }
    // To open a pipe may take for ever, as may each read. A thread that still waits then ends with the process.
    let (sender, receiver) = channel();
    let path = path.to_owned();
    let read = move || drop(sender.send(read_all(&path, most)));
    std::thread::Builder::new().name("pipe".to_owned()).spawn(read)?;
    receiver.recv_timeout(patience).unwrap_or_else(|_| {
        let seconds = patience.as_secs_f64();
        let what = format!("it is a pipe, and nobody has written it to its end within {seconds} s");
        Err(Error::new(ErrorKind::TimedOut, what))
    })
}

fn read_all(path: &Path, most: usize) -> Result<String> {
    let mut text = String::new();
    let most_and_one = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most_and_one).read_to_string(&mut text)?;
    match text.len() > most {
        true => Err(Error::new(
            ErrorKind::FileTooLarge,
            format!("it is larger than {most} bytes, the most that is read"),
        )),
        false => Ok(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_read_up_to_its_bound() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_text(&path, 5).unwrap(), "12345");
        let error = read_text(&path, 4).unwrap_err().to_string();
        assert_eq!(error, "it is larger than 4 bytes, the most that is read");
        assert_eq!(read_text(Path::new("/dev/null"), 4).unwrap(), "");
        let error = read_text(Path::new("/dev/zero"), 4).unwrap_err().to_string();
        assert_eq!(error, "it is a device or a socket; expected a file or a pipe");
        assert!(read_text(directory.path(), 4).is_err());
    }

    #[test]
    fn a_pipe_is_read_up_to_its_bound_and_not_for_ever() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(is_pipe(&path) && !is_pipe(directory.path()));
        let short = Duration::from_millis(20);
        let error = read_text_within(&path, 5, short).unwrap_err();
        assert_eq!(error.to_string(), "it is a pipe, and nobody has written it to its end within 0.02 s");
        // Another one, because somebody still waits at the first.
        let path = directory.path().join("other");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        for (most, expected) in [(5, Some("12345")), (4, None)] {
            let written = path.clone();
            // Whoever reads may have had enough before it is all written.
            let writer = std::thread::spawn(move || drop(std::fs::write(written, "12345")));
            assert_eq!(read_text(&path, most).ok().as_deref(), expected);
            writer.join().unwrap();
        }
    }
}
