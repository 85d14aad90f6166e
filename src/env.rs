//! [`Env`]: the one way to read the environment.

use crate::files::{is_pipe, read_text};
use crate::secret::SensitiveString;
use snafu::{ResultExt, Snafu};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// The longest file that holds a secret, in bytes.
pub(crate) const MAX_FILE: usize = 1 << 20;

/// What stands for a variable that is not set where a configuration is looked at without its environment: it
/// fits wherever a URL or a word does.
pub(crate) const PLACEHOLDER: &str = "https://placeholder.invalid";

/// The environment's variables, or a map that stands for them. A variable `NAME` may also be given
/// as `NAME_FILE`, the path of a file that holds its value. Cheap to clone.
///
/// ```
/// use log_shipper::env::Env;
///
/// let env = Env::from_pairs([("LOKI_URL", "https://loki.example"), ("QUEUE", "")]);
/// assert_eq!(env.get("LOKI_URL").unwrap().as_deref(), Some("https://loki.example"));
/// // Empty counts as not set.
/// assert_eq!(env.get("QUEUE").unwrap(), None);
/// ```
#[derive(Clone, Default)]
pub struct Env(Arc<Inner>);

#[derive(Default)]
struct Inner {
    variables: BTreeMap<String, OsString>,
    /// What has been read from files, so that a secret can be traced back to its file.
    files: Mutex<Vec<(PathBuf, SensitiveString)>>,
    /// Held by whoever reads a pipe that an option names.
    pipe: Mutex<()>,
    /// The value of every variable that is not set.
    placeholder: Option<String>,
}

/// A variable cannot be read.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum EnvError {
    /// Its value is not text.
    #[snafu(display("environment variable {name}: its value is not UTF-8; expected text"))]
    NotUtf8 {
        /// The variable.
        name: String,
    },
    /// It is given as a file that can't be read.
    #[snafu(display("environment variable {name}_FILE: cannot read {}: {source}; expected a file that holds the value of {name}", path.display()))]
    File {
        /// The variable, without `_FILE`.
        name: String,
        /// The path that it holds.
        path: PathBuf,
        /// Why it can't be read.
        source: std::io::Error,
    },
}

impl Env {
    /// The environment of this process. Variables whose name is not UTF-8 are left out. `HOSTNAME`, which
    /// shells have but do not hand on, is the system's name for the host where it is not set.
    pub fn from_process() -> Env {
        let variables =
            std::env::vars_os().filter_map(|(name, value)| Some((name.into_string().ok()?, value)));
        let mut variables: BTreeMap<_, _> = variables.collect();
        if !variables.contains_key("HOSTNAME")
            && let Some(name) = host_name()
        {
            variables.insert("HOSTNAME".to_owned(), name.into());
        }
        Env(Arc::new(Inner { variables, ..Inner::default() }))
    }

    /// An environment of these variables.
    pub fn from_pairs<N: Into<String>, V: Into<OsString>>(pairs: impl IntoIterator<Item = (N, V)>) -> Env {
        let variables = pairs.into_iter().map(|(name, value)| (name.into(), value.into()));
        Env(Arc::new(Inner { variables: variables.collect(), ..Inner::default() }))
    }

    /// The same environment, but a reference to a variable that is not set and has no default gives this
    /// value.
    #[must_use]
    pub fn with_placeholder(&self, value: &str) -> Env {
        let variables = self.0.variables.clone();
        Env(Arc::new(Inner { variables, placeholder: Some(value.to_owned()), ..Inner::default() }))
    }

    /// The value of a variable, or of the file that `NAME_FILE` names, one line break at its end
    /// taken off; an empty value counts as not set.
    ///
    /// # Errors
    /// If the value is not UTF-8 or the file cannot be read.
    pub fn get(&self, name: &str) -> Result<Option<String>, EnvError> {
        Ok(self.read(name)?.filter(|value| !value.is_empty()))
    }

    /// The same, but an empty value counts as set.
    ///
    /// # Errors
    /// As [`Env::get`].
    pub fn lookup(&self, name: &str) -> Result<Option<String>, EnvError> {
        self.read(name)
    }

    /// What stands for a variable that is not set and has no default; see [`Env::with_placeholder`].
    pub(crate) fn placeholder(&self) -> Option<&str> {
        self.0.placeholder.as_deref()
    }

    fn read(&self, name: &str) -> Result<Option<String>, EnvError> {
        let value = self.plain(name)?;
        if value.as_ref().is_some_and(|value| !value.is_empty()) {
            return Ok(value);
        }
        let Some(path) = self.plain(&format!("{name}_FILE"))?.filter(|path| !path.is_empty()) else {
            return Ok(value);
        };
        let path = PathBuf::from(path);
        if let Some(known) = self.of_pipe(&path) {
            return Ok(Some(known.expose().to_owned()));
        }
        let text = read_secret(&path).context(FileSnafu { name, path: &path })?;
        let entry = (path, SensitiveString::from(text.as_str()));
        let mut files = self.files();
        // Some variables are read again and again.
        if !files.contains(&entry) {
            files.push(entry);
        }
        Ok(Some(text))
    }

    /// The secret as it is now: read anew if it came from a file that can still be read, else as it
    /// was given.
    pub fn refresh(&self, secret: &SensitiveString) -> SensitiveString {
        let path = self.files().iter().find(|(_, value)| value == secret).map(|(path, _)| path.clone());
        let path = path.filter(|path| !is_pipe(path));
        let text = path.and_then(|path| read_secret(&path).ok());
        text.map_or_else(|| secret.clone(), SensitiveString::from)
    }

    /// What is in a file that an option names, such as that of a key: read anew each time, but for a pipe, which gives what
    /// it has once.
    pub(crate) fn read_file(&self, path: &Path) -> std::io::Result<SensitiveString> {
        if !is_pipe(path) {
            return read_text(path, MAX_FILE).map(SensitiveString::from);
        }
        // Two that read one pipe would share what it gives, and those who wait would become ever more: a connection is
        // tried again sooner than a pipe is given up.
        let Ok(_turn) = self.0.pipe.try_lock() else {
            let what = "it is a pipe, and is being read already";
            return Err(std::io::Error::new(std::io::ErrorKind::WouldBlock, what));
        };
        if let Some(known) = self.of_pipe(path) {
            return Ok(known);
        }
        let text = SensitiveString::from(read_text(path, MAX_FILE)?);
        self.files().push((path.to_owned(), text.clone()));
        Ok(text)
    }

    /// What this pipe has given.
    fn of_pipe(&self, path: &Path) -> Option<SensitiveString> {
        let is_known = |(known, _): &&(PathBuf, SensitiveString)| known == path;
        self.files().iter().find(is_known).filter(|_| is_pipe(path)).map(|(_, text)| text.clone())
    }

    /// The names of all variables, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.variables.keys().map(String::as_str)
    }

    fn plain(&self, name: &str) -> Result<Option<String>, EnvError> {
        let value = self.0.variables.get(name).map(|value| value.clone().into_string());
        value.transpose().map_err(|_| EnvError::NotUtf8 { name: name.to_owned() })
    }

    fn files(&self) -> std::sync::MutexGuard<'_, Vec<(PathBuf, SensitiveString)>> {
        self.0.files.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Names only: a value may be a secret.
impl std::fmt::Debug for Env {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// The host's name, where the system has it in a file: on Linux.
fn host_name() -> Option<String> {
    let names = ["/proc/sys/kernel/hostname", "/etc/hostname"];
    let name = names.iter().find_map(|path| std::fs::read_to_string(path).ok())?;
    Some(name.trim().to_owned()).filter(|name| !name.is_empty())
}

fn read_secret(path: &std::path::Path) -> std::io::Result<String> {
    let mut text = read_text(path, MAX_FILE)?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pipe_that_an_option_names_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let writer = std::thread::spawn({
            let path = path.clone();
            move || std::fs::write(path, "-----BEGIN X-----\n")
        });
        let env = Env::default();
        for _ in 0..2 {
            assert_eq!(env.read_file(&path).unwrap().expose(), "-----BEGIN X-----\n");
        }
        writer.join().unwrap().unwrap();
        // Nobody else gets a part of it.
        let path = dir.path().join("other");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        std::thread::scope(|scope| {
            // Whoever looks whether it has begun may be in its way.
            let first = scope.spawn(|| {
                loop {
                    match env.read_file(&path) {
                        Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
                        read => break read.unwrap(),
                    }
                }
            });
            while env.0.pipe.try_lock().is_ok() && !first.is_finished() {
                std::thread::yield_now();
            }
            assert_eq!(env.read_file(&path).unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
            std::fs::write(&path, "one").unwrap();
            assert_eq!(first.join().unwrap().expose(), "one");
        });
        assert_eq!(env.read_file(&path).unwrap().expose(), "one");
        // A file may change.
        let path = dir.path().join("file");
        for text in ["one", "two"] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(env.read_file(&path).unwrap().expose(), text);
        }
    }

    #[test]
    fn reads_values_and_files() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, " fm2_a,b \"$\" \n").unwrap();
        let file = path.to_str().unwrap();
        let env = Env::from_pairs([("A", "1"), ("EMPTY", ""), ("B_FILE", file), ("EMPTY_FILE", file)]);
        assert_eq!(env.get("A").unwrap().as_deref(), Some("1"));
        assert_eq!(env.get("NONE").unwrap(), None);
        assert_eq!(env.get("B").unwrap().as_deref(), Some(" fm2_a,b \"$\" "));
        assert_eq!(env.get("EMPTY").unwrap().as_deref(), Some(" fm2_a,b \"$\" "));
        assert_eq!(format!("{env:?}"), r#"{"A", "B_FILE", "EMPTY", "EMPTY_FILE"}"#);
    }

    #[test]
    fn a_pipe_is_read_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pipe");
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        let written = path.clone();
        let writer = std::thread::spawn(move || std::fs::write(written, "token\n").unwrap());
        let env = Env::from_pairs([("A_FILE", &path)]);
        for _ in 0..2 {
            assert_eq!(env.get("A").unwrap().as_deref(), Some("token"));
        }
        writer.join().unwrap();
        let secret = SensitiveString::from("token");
        assert_eq!(env.refresh(&secret), secret);
    }

    #[test]
    fn empty_is_not_set() {
        let env = Env::from_pairs([("EMPTY", "")]);
        assert_eq!(env.get("EMPTY").unwrap(), None);
        assert_eq!(env.lookup("EMPTY").unwrap().as_deref(), Some(""));
    }

    #[test]
    fn says_which_file_it_cannot_read() {
        let env = Env::from_pairs([("A_FILE", "/nowhere/token")]);
        let error = env.get("A").unwrap_err().to_string();
        assert!(error.contains("A_FILE") && error.contains("/nowhere/token"), "{error}");
    }

    #[test]
    fn a_secret_from_a_file_is_read_anew() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        std::fs::write(&path, "old\n").unwrap();
        let env = Env::from_pairs([("TOKEN_FILE", path.to_str().unwrap()), ("PLAIN", "fixed")]);
        let secret = SensitiveString::from(env.get("TOKEN").unwrap().unwrap());
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(env.refresh(&secret).expose(), "new");
        std::fs::remove_file(&path).unwrap();
        assert_eq!(env.refresh(&secret).expose(), "old");
        assert_eq!(env.refresh(&"fixed".into()).expose(), "fixed");
    }
}
