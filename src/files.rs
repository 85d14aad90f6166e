//! Files that are read whole: bounds keep a wrong path (`/dev/zero`, a disk's image, a pipe that nobody writes into)
//! from filling the memory, and from holding us for ever.

use std::fs::{File, OpenOptions};
use std::io::{Error, ErrorKind, Read, Result};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long whoever writes into a pipe may take for all of it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long until a pipe is looked at again.
const PAUSE: Duration = Duration::from_millis(2);

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
    read_pipe(path, most, patience)
}

/// Opened without waiting for whoever writes, and asked again and again: a thread that waits at a pipe cannot be called
/// back, and would take a part of what is written later for somebody else.
fn read_pipe(path: &Path, most: usize, patience: Duration) -> Result<String> {
    let mut pipe = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)?;
    let begun = Instant::now();
    let mut bytes = Vec::new();
    let mut part = [0; 16 << 10];
    loop {
        match pipe.read(&mut part) {
            // Nobody has written yet; or everybody who did is done.
            Ok(0) if !bytes.is_empty() => break,
            Ok(0) => {}
            Ok(read) => {
                bytes.extend_from_slice(&part[..read]);
                within(bytes.len(), most)?;
                continue;
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
        if begun.elapsed() >= patience {
            let seconds = patience.as_secs_f64();
            let what = format!("it is a pipe, and nobody has written it to its end within {seconds} s");
            return Err(Error::new(ErrorKind::TimedOut, what));
        }
        std::thread::sleep(PAUSE.min(patience));
    }
    String::from_utf8(bytes).map_err(|_| Error::new(ErrorKind::InvalidData, "it is not UTF-8"))
}

fn read_all(path: &Path, most: usize) -> Result<String> {
    let mut text = String::new();
    let most_and_one = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    File::open(path)?.take(most_and_one).read_to_string(&mut text)?;
    within(text.len(), most)?;
    Ok(text)
}

fn within(bytes: usize, most: usize) -> Result<()> {
    let what = || format!("it is larger than {most} bytes, the most that is read");
    if bytes > most { Err(Error::new(ErrorKind::FileTooLarge, what())) } else { Ok(()) }
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
        // Nobody is left who waits at it, and would take a part of what is written now.
        let long = "0123456789".repeat(100_000);
        for (most, text, expected) in [(5, "12345", true), (4, "12345", false), (1_000_000, &long, true)] {
            let (path_of_writer, written) = (path.clone(), text.to_owned());
            // Whoever reads may have had enough before it is all written.
            let writer = std::thread::spawn(move || drop(std::fs::write(path_of_writer, written)));
            assert_eq!(read_text(&path, most).is_ok_and(|read| read == text), expected);
            writer.join().unwrap();
        }
    }
}
