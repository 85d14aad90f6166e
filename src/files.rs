//! Files that are read whole: a bound keeps a wrong path (`/dev/zero`, a disk's image) from filling the memory.

use std::io::{Error, ErrorKind, Read, Result};
use std::path::Path;

/// The text of a file of at most so many bytes.
///
/// # Errors
/// If it cannot be read, is longer, or is not UTF-8.
pub(crate) fn read_text(path: &Path, most: usize) -> Result<String> {
    let mut text = String::new();
    let most_and_one = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    std::fs::File::open(path)?.take(most_and_one).read_to_string(&mut text)?;
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
        for path in [path.as_path(), Path::new("/dev/zero")] {
            let error = read_text(path, 4).unwrap_err().to_string();
            assert_eq!(error, "it is larger than 4 bytes, the most that is read");
        }
    }
}
