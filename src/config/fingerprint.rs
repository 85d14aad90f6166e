//! A component's fingerprint: what stands for all that it is made from.

use crate::env::Env;
use seahash::SeaHasher;
use std::fs::File;
use std::hash::{Hash, Hasher};
use std::io::Read;
use std::path::Path;
use toml::{Table, Value};

/// A file larger than this, in bytes, is known by its name alone.
const MAX_FILE: u64 = 1 << 20;

/// The fingerprint of a component's options, whose references are resolved: of its type, of all that is in
/// its table but `inputs`, of the options for all components but those of the API, and of the files that it names under `file`,
/// `path` or `..._file`.
pub(super) fn fingerprint(name: &str, options: &Table, global: &Table, env: &Env) -> u64 {
    let mut hasher = SeaHasher::new();
    name.hash(&mut hasher);
    // What a sink writes to is no part of what it is made from.
    let reads_files = env.placeholder().is_none() && name != "file";
    for (table, is_own) in [(options, true), (global, false)] {
        let is_left_out = |key: &str| key == if is_own { "inputs" } else { "api" };
        let mut keys: Vec<_> = table.iter().filter(|(key, _)| !is_left_out(key)).collect();
        keys.sort_by_key(|(key, _)| key.as_str());
        for (key, value) in keys {
            add(key, value, reads_files && is_own, &mut hasher);
        }
        0_u8.hash(&mut hasher);
    }
    hasher.finish()
}

fn add(key: &str, value: &Value, reads_files: bool, hasher: &mut SeaHasher) {
    key.hash(hasher);
    std::mem::discriminant(value).hash(hasher);
    match value {
        Value::String(text) => {
            text.hash(hasher);
            let is_file =
                matches!(key, "file" | "files" | "path") || key.ends_with("_file") || key.ends_with("_path");
            if reads_files && is_file {
                content(text).hash(hasher);
            }
        }
        Value::Integer(number) => number.hash(hasher),
        Value::Float(number) => number.to_bits().hash(hasher),
        Value::Boolean(switch) => switch.hash(hasher),
        Value::Datetime(datetime) => datetime.to_string().hash(hasher),
        Value::Array(items) => {
            items.len().hash(hasher);
            // What is in a list has the list's name: `files = ["a.vrl"]` has none of its own.
            items.iter().for_each(|item| add(key, item, reads_files, hasher));
        }
        Value::Table(table) => {
            let mut entries: Vec<_> = table.iter().collect();
            entries.sort_by_key(|(key, _)| key.as_str());
            entries.len().hash(hasher);
            entries.into_iter().for_each(|(key, value)| add(key, value, reads_files, hasher));
        }
    }
}

/// What is in the file, if it is one and not too large.
pub(crate) fn content(path: impl AsRef<Path>) -> Option<Vec<u8>> {
    let path = path.as_ref();
    // A pipe or a device would be opened or read for ever, or be read empty.
    let is_file = std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.len() <= MAX_FILE);
    if !is_file {
        return None;
    }
    let mut content = Vec::new();
    File::open(path).ok()?.take(MAX_FILE).read_to_end(&mut content).ok()?;
    Some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(options: &str, global: &str) -> u64 {
        fingerprint("t", &options.parse().unwrap(), &global.parse().unwrap(), &Env::default())
    }

    #[test]
    fn is_another_if_anything_is_that_counts() {
        let one = of("a = 1\nb.c = 'x'", "");
        assert_eq!(one, of("b.c = 'x'\na = 1\ninputs = ['y']", ""));
        assert_eq!(one, of("b.c = 'x'\na = 1", "api.enabled = true"));
        for (options, global) in [
            ("a = 2\nb.c = 'x'", ""),
            ("a = '1'\nb.c = 'x'", ""),
            ("a = 1", ""),
            ("a = 1\nb.c = 'x'", "d = 1"),
        ] {
            assert_ne!(one, of(options, global), "{options}");
        }
    }

    /// To open one waits for whoever writes.
    #[test]
    fn a_pipe_is_not_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::spawn(move || sender.send(content(path)));
        assert_eq!(receiver.recv_timeout(std::time::Duration::from_secs(20)), Ok(None));
    }

    #[test]
    fn follows_the_files_it_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program.vrl");
        for key in ["file", "tls.ca_file", "auth.credentials_file.path"] {
            let options = format!("{key} = '{}'", path.display());
            std::fs::write(&path, "one").unwrap();
            let one = of(&options, "");
            assert_eq!(one, of(&options, ""));
            std::fs::write(&path, "two").unwrap();
            assert_ne!(one, of(&options, ""), "{key}");
        }
        let options = format!("files = ['{}']", path.display());
        let two = of(&options, "");
        std::fs::write(&path, "three").unwrap();
        assert_ne!(two, of(&options, ""));
        // A directory and nothing at all are known by their names.
        let _ = of("path = '/'\nfile = '/nowhere'", "");
    }
}
