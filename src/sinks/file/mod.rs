//! `file`: events appended to files whose path is a template.
//!
//! - this file: the options, and the way of an event to its file
//! - `open`: an open file, and how it is written to
//! - `rotate`: old files beside it

mod open;
mod rotate;

use super::codec::{EncodingConfig, FramingConfig};
use super::compression::{Algorithm, Compression};
use super::request::{Backoff, RequestConfig};
use crate::config::{ComponentInfo, Problem, Result, Seconds, SinkConfig, SinkContext, StreamSink};
use crate::event::LogEvent;
use crate::healthcheck::Healthcheck;
use crate::log_limit::LogLimit;
use crate::status::Status;
use crate::template::Template;
use crate::topology::{BufferReceiver, Outcome, Receipts, SinkCounts};
use async_trait::async_trait;
use open::OpenFile;
use rotate::Removed;
pub(crate) use rotate::RotateConfig;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::HashMap;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A sink that appends events to files.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FileConfig {
    /// The path; a template, so that `{{ fly.app.name }}-%F.log` is a file for each app and day.
    /// Directories are made. An event whose path would have a `..` is rejected.
    path: Template,
    /// The directory that no file may be outside of, an absolute path; a `path` that begins with no `/` is in it.
    /// Default: what of `path` is fixed.
    base_dir: Option<String>,
    /// Whether an event may decide everything about the path, even a `..` in it. Default: false.
    #[serde(default)]
    dangerously_allow_unconfined_template_resolution: bool,
    /// How an event is written.
    encoding: EncodingConfig,
    /// How events are separated. Default: a line for each.
    framing: Option<FramingConfig>,
    /// `none`, `gzip` or `zstd`: each write is a member (a frame) of its own, which every
    /// decompressor reads as one file. Default: `none`.
    #[serde(default = "no_compression")]
    compression: Compression,
    /// Seconds after its last event at which a file is closed. Default: 30; for dead letters, 1.
    #[serde(default = "default_idle_timeout")]
    idle_timeout_secs: Seconds,
    /// When a file is put aside and another one begun. Default: never; for dead letters, at 64 MiB, with 8 files.
    /// Ours.
    rotate: Option<RotateConfig>,
}

fn no_compression() -> Compression {
    Algorithm::None.into()
}

fn default_idle_timeout() -> Seconds {
    Seconds(Duration::from_secs(30))
}

impl FileConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "file",
        "Append events to files, by template.",
        "path = \"/var/log/fly/{{ fly.app.name }}-%F.log\"\nencoding.codec = \"json\"",
    );
}

impl FileConfig {
    fn sink(&self, id: &str, status: Status) -> FileSink {
        let mut config = self.clone();
        if !self.dangerously_allow_unconfined_template_resolution {
            config.path.confine();
        }
        FileSink {
            id: id.to_owned(),
            config,
            open: HashMap::new(),
            holds_letters: false,
            removed_bytes: 0,
            failed_log: LogLimit::every_10_s(),
            status,
            reject_log: LogLimit::every_10_s(),
            removed_log: LogLimit::every_10_s(),
        }
    }

    /// The path with the directory that it is in: a template, as a path is.
    fn place(&self) -> PathBuf {
        Path::new(self.base_dir.as_deref().unwrap_or_default()).join(self.path.as_str())
    }

    /// Looks whether the path, if it is the same for every event, can never be a file.
    fn check_path(&self) -> Result<(), String> {
        let Some(path) = self.path.as_static() else { return Ok(()) };
        let path = Path::new(self.base_dir.as_deref().unwrap_or_default()).join(path);
        let found = std::fs::metadata(&path);
        let path = path.display();
        match found {
            Ok(found) if found.is_dir() => Err(format!("path: {path} is a directory; expected a file")),
            Err(error) if is_hopeless(error.kind()) => {
                Err(format!("path: {path} cannot be a file: {error}; expected the path of a file"))
            }
            // One that is not there yet is made, and what is wrong otherwise may be mended.
            _ => Ok(()),
        }
    }
}

impl SinkConfig for FileConfig {
    fn build(&self, cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)> {
        if matches!(self.compression.algorithm, Algorithm::Zlib | Algorithm::Snappy) {
            return Err("compression: a file can be written with none, gzip or zstd".into());
        }
        if self.base_dir.as_ref().is_some_and(|base| !Path::new(base).is_absolute()) {
            return Err("base_dir: not an absolute path; expected one such as /var/log/fly".into());
        }
        self.check_path()?;
        Ok((Box::new(self.sink(&cx.id, cx.status.clone())), None))
    }

    fn warnings(&self) -> Vec<Problem> {
        if self.dangerously_allow_unconfined_template_resolution || self.base_dir.is_some() {
            return Vec::new();
        }
        let said = self.path.clone().confine();
        said.map(|message| Problem::at("path", format!("{message}; or set base_dir"))).into_iter().collect()
    }

    fn avoid_files(&mut self, is_taken: &dyn Fn(&Path) -> bool) -> Option<PathBuf> {
        let base = PathBuf::from(self.base_dir.as_deref().unwrap_or_default());
        loop {
            let is_known = self.path.as_static().map(|path| is_taken(&base.join(path)));
            if is_known == Some(false) {
                break;
            }
            let Ok(path) = Template::parse(&format!("{}.again", self.path.as_str())) else { break };
            self.path = path;
            // Nobody knows which files a template will be.
            if is_known.is_none() {
                break;
            }
        }
        Some(self.place())
    }
}

struct FileSink {
    id: String,
    config: FileConfig,
    open: HashMap<String, OpenFile>,
    /// What is written are dead letters.
    holds_letters: bool,
    /// Bytes of letters in files that have been removed.
    removed_bytes: u64,
    failed_log: LogLimit,
    status: Status,
    reject_log: LogLimit,
    removed_log: LogLimit,
}

/// How many files are open at once: fewer than any system allows.
const MAX_OPEN: usize = 256;

/// Whether no attempt can succeed, because of what the path is.
fn is_hopeless(kind: io::ErrorKind) -> bool {
    use io::ErrorKind::{InvalidFilename, InvalidInput, IsADirectory, NotADirectory};
    matches!(kind, InvalidFilename | InvalidInput | IsADirectory | NotADirectory)
}

#[async_trait]
impl StreamSink for FileSink {
    async fn run(mut self: Box<Self>, mut input: BufferReceiver) -> Result<()> {
        self.holds_letters = input.counts().holds_letters();
        input.counts().announce_letters(&self.config.place().to_string_lossy());
        let idle = self.config.idle_timeout_secs.0;
        let mut sweep = tokio::time::interval(idle);
        loop {
            let events = tokio::select! {
                events = input.recv() => events,
                now = sweep.tick() => {
                    self.open.retain(|_, file| now.duration_since(file.used()) < idle);
                    continue;
                }
            };
            let Some(events) = events else { return Ok(()) };
            let mut by_path: HashMap<String, Vec<LogEvent>> = HashMap::new();
            for event in events {
                match self.path(&event) {
                    Ok(path) => by_path.entry(path).or_default().push(event),
                    Err(reason) => {
                        if let Some(unsaid) = self.reject_log.allow() {
                            tracing::error!(sink = self.id, unsaid, "rejected: {reason}");
                        }
                        input.counts().room_for_dead_letters().await;
                        input.counts().settle_events(vec![event], &Outcome::unsent(reason));
                    }
                }
            }
            // All of them before the first is written: an event that waits is counted if its sink is ended.
            let mut encoded = Vec::new();
            for (path, events) in by_path {
                let writes = self.encode(events, input.counts());
                encoded.extend(writes.into_iter().map(|(out, receipts)| (path.clone(), out, receipts)));
            }
            for (path, out, mut receipts) in encoded {
                let outcome = match self.append(&path, out).await {
                    Ok(bytes) => {
                        input.counts().meters().add_sent_bytes(bytes);
                        Outcome::Delivered
                    }
                    Err(error) => {
                        input.counts().room_for_dead_letters().await;
                        Outcome::unsent(format!("cannot write to {path}: {error}"))
                    }
                };
                receipts.settle(&outcome);
            }
        }
    }
}

impl FileSink {
    /// The path for an event. What the event brings in must not lead out of where the template says.
    fn path(&self, event: &LogEvent) -> Result<String, String> {
        let config = &self.config;
        let path = config.path.render(event).map_err(|error| error.to_string())?;
        let climbs = Path::new(&path).components().any(|component| component == Component::ParentDir);
        let jumps = path.starts_with('/') && !config.path.as_str().starts_with('/');
        let escapes = (climbs || jumps) && !config.dangerously_allow_unconfined_template_resolution;
        if escapes || path.contains('\0') || path.is_empty() {
            return Err(format!(
                "the path {path:?} is empty, or the event has brought in a `..`, a NUL or a `/` at its start"
            ));
        }
        let Some(base) = &config.base_dir else { return Ok(path) };
        let joined = Path::new(base).join(&path);
        match joined.starts_with(base) || config.dangerously_allow_unconfined_template_resolution {
            true => Ok(joined.to_string_lossy().into_owned()),
            false => Err(format!("the path {path:?} is not in base_dir")),
        }
    }

    /// What is written at once, with its receipts: all of the events, or as many as a file may have.
    fn encode(&self, events: Vec<LogEvent>, counts: &Arc<SinkCounts>) -> Vec<(Vec<u8>, Receipts)> {
        let framing = self.framing();
        let most = self.config.rotate.map_or(usize::MAX, RotateConfig::max_bytes);
        let mut writes = Vec::new();
        let (mut out, mut receipts) = (Vec::new(), Receipts::new(Arc::clone(counts)));
        for event in events {
            let start = out.len();
            self.config.encoding.encode(&event, &mut out);
            out.extend_from_slice(framing.terminator());
            if out.len() > most && start > 0 {
                let next = out.split_off(start);
                writes.push((std::mem::replace(&mut out, next), receipts));
                receipts = Receipts::new(Arc::clone(counts));
            }
            receipts.push(event);
        }
        writes.push((out, receipts));
        writes
    }

    fn framing(&self) -> &FramingConfig {
        self.config.framing.as_ref().unwrap_or(&FramingConfig::NewlineDelimited)
    }

    /// Appends the text, and says how many bytes that were, however long it takes: a full disk may be emptied, a directory mended. Until
    /// then the buffer fills.
    ///
    /// # Errors
    /// If there can never be a file of this name.
    async fn append(&mut self, path: &str, out: Vec<u8>) -> io::Result<usize> {
        let mut backoff = Backoff::new(&RequestConfig::default());
        let packed = self.config.compression.compress(out.into()).map_err(io::Error::other)?;
        while let Err(error) = self.try_append(path, &packed).await {
            // Perhaps it is the number of open files.
            self.open.clear();
            if is_hopeless(error.kind()) {
                if let Some(unsaid) = self.reject_log.allow() {
                    tracing::error!(sink = self.id, unsaid, "rejected: cannot write to {path}: {error}");
                }
                return Err(error);
            }
            // A path is rendered from an event.
            let advice = "check the disk and who may write there";
            self.status.failing_with(format!("cannot write: {error}"), Some(format!("to {path}")), advice);
            if let Some(unsaid) = self.failed_log.allow() {
                tracing::error!(sink = self.id, unsaid, "cannot write to {path}, will try again: {error}");
            }
            tokio::time::sleep(backoff.pause()).await;
        }
        Ok(packed.len())
    }

    async fn try_append(&mut self, path: &str, packed: &[u8]) -> io::Result<()> {
        if self.open.len() >= MAX_OPEN {
            self.open.clear();
        }
        let mut file = match self.open.remove(path) {
            Some(file) => file,
            None => self.open(path).await?,
        };
        if let Some(rotate) = self.config.rotate
            && file.is_full(packed.len(), rotate.max_bytes())
        {
            drop(file);
            let mut removed = Removed::default();
            let put_aside = rotate.put_aside(Path::new(path), &mut removed).await;
            self.tell_removed(&removed);
            put_aside?;
            // Another path may be what an old file is called now.
            self.open.clear();
            file = self.open(path).await?;
        }
        file.append(Path::new(path), packed).await?;
        self.open.insert(path.to_owned(), file);
        Ok(())
    }

    /// Letters that were in a file that went are gone for good.
    fn tell_removed(&mut self, removed: &Removed) {
        if !self.holds_letters || removed.bytes == 0 {
            return;
        }
        self.removed_bytes += removed.bytes;
        if let Some(unsaid) = self.removed_log.allow() {
            let (sink, path) = (&self.id, removed.path.display());
            tracing::error!(
                sink,
                unsaid,
                "removed {path}, the oldest file of dead letters, to make room for new ones: {} bytes of letters \
                 are gone, {} since the start; move such files away in time, or set rotate.max_files",
                removed.bytes,
                self.removed_bytes
            );
        }
    }

    async fn open(&self, path: &str) -> io::Result<OpenFile> {
        // In a compressed file nobody sees where a line ends.
        let is_plain = self.config.compression.algorithm == Algorithm::None;
        let terminator = if is_plain { self.framing().terminator() } else { &[] };
        OpenFile::open(Path::new(path), terminator, self.holds_letters).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_event_leads_out_of_the_directory() {
        let switch = "dangerously_allow_unconfined_template_resolution = true";
        for (options, app, expected) in [
            ("path = '/logs/{{ app }}.log'", "web", Some("/logs/web.log")),
            ("path = '/logs/{{ app }}.log'", "a/web", Some("/logs/a/web.log")),
            ("path = '/logs/{{ app }}.log'", "../web", None),
            ("path = '{{ app }}.log'", "/etc/web", None),
            ("path = '{{ app }}.log'\nbase_dir = '/logs'", "web", Some("/logs/web.log")),
            ("path = '{{ app }}.log'\nbase_dir = '/logs'", "/etc/web", None),
            ("path = '{{ app }}.log'\nbase_dir = '/logs'", "../web", None),
            ("path = '/logs/{{ app }}.log'\nbase_dir = '/logs'", "web", Some("/logs/web.log")),
            ("path = '/logs-2/{{ app }}.log'\nbase_dir = '/logs'", "web", None),
            (&format!("path = '/logs/{{{{ app }}}}.log'\n{switch}"), "../web", Some("/logs/../web.log")),
        ] {
            let config: FileConfig = toml::from_str(&format!("{options}\nencoding.codec = 'json'")).unwrap();
            let event = LogEvent::from_json(serde_json::json!({"app": app}).to_string().into()).unwrap();
            let found = config.sink("out", Status::default()).path(&event);
            assert_eq!(found.as_deref().ok(), expected, "{options} with {app}: {found:?}");
        }
    }

    fn sink(options: &str) -> FileSink {
        let config: FileConfig = toml::from_str(&format!("{options}\nencoding.codec = 'text'")).unwrap();
        config.sink("out", Status::default())
    }

    fn events(numbers: std::ops::Range<usize>) -> Vec<LogEvent> {
        let event = |n| LogEvent::from_json(format!("{{\"message\":\"line {n:03}\"}}").into()).unwrap();
        numbers.map(event).collect()
    }

    /// Writes the events as one chunk of them is written.
    async fn write(sink: &mut FileSink, path: &Path, numbers: std::ops::Range<usize>) {
        let counts = Arc::default();
        for (out, mut receipts) in sink.encode(events(numbers), &counts) {
            sink.append(path.to_str().unwrap(), out).await.unwrap();
            receipts.settle(&Outcome::Delivered);
        }
    }

    /// What is in the files, decompressed, the oldest first, and how long each is.
    fn read(path: &Path, decompress: impl Fn(Vec<u8>) -> String) -> (String, Vec<usize>) {
        let numbered = |n: usize| PathBuf::from(format!("{}.{n}", path.display()));
        let mut paths: Vec<_> = (1..).map(numbered).take_while(|path| path.exists()).collect();
        paths.insert(0, path.to_owned());
        let files: Vec<_> = paths.iter().rev().map(|path| std::fs::read(path).unwrap()).collect();
        let lengths = files.iter().map(Vec::len).collect();
        (files.into_iter().map(decompress).collect(), lengths)
    }

    fn lines(numbers: std::ops::Range<usize>) -> String {
        numbers.map(|n| format!("line {n:03}\n")).collect()
    }

    #[tokio::test]
    async fn full_files_are_put_aside_also_after_a_restart_and_for_each_path() {
        let dir = tempfile::tempdir().unwrap();
        let plain = |bytes| String::from_utf8(bytes).unwrap();
        // Nine bytes a line: three of them to a file.
        let options =
            format!("path = '{}/x'\nrotate = {{max_bytes = 30, max_files = 100}}", dir.path().display());
        let paths = ["a", "b", "sub/c"].map(|name| dir.path().join(name));
        let mut next = 0;
        for chunk in [1, 2, 3, 4, 10, 1] {
            // Another sink each time: it learns from the file how long that is.
            let mut sink = sink(&options);
            for path in &paths {
                write(&mut sink, path, next..next + chunk).await;
            }
            next += chunk;
        }
        for path in &paths {
            let (text, lengths) = read(path, plain);
            assert_eq!(text, lines(0..next));
            assert!(
                lengths.len() >= 7 && lengths.iter().all(|length| (9..=30).contains(length)),
                "{lengths:?}"
            );
        }
        // A line that is longer than a file has one of its own.
        let mut sink = sink(&options.replace("30", "5"));
        write(&mut sink, &dir.path().join("d"), 0..3).await;
        assert_eq!(read(&dir.path().join("d"), plain), (lines(0..3), vec![9, 9, 9]));
    }

    #[tokio::test]
    async fn compressed_files_are_put_aside_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.gz");
        let options = format!("path = '{}'\ncompression = 'gzip'\nrotate.max_bytes = 200", path.display());
        for n in 0..20 {
            write(&mut sink(&options), &path, n * 5..n * 5 + 5).await;
        }
        let gunzip = |bytes: Vec<u8>| {
            let mut text = String::new();
            std::io::Read::read_to_string(&mut flate2::read::MultiGzDecoder::new(&*bytes), &mut text)
                .unwrap();
            text
        };
        let (text, lengths) = read(&path, gunzip);
        let (first, count) = (100 - text.lines().count(), lengths.len());
        // Eight files at most; of the newest nothing is missing.
        assert_eq!(text, lines(first..100));
        assert!(count == 8 && lengths.iter().all(|length| *length <= 200), "{lengths:?}");
    }

    #[tokio::test]
    async fn a_line_that_a_crash_has_cut_off_spoils_no_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::fs::write(&path, "line 000\nline 0").unwrap();
        write(&mut sink(&format!("path = '{}'", path.display())), &path, 2..3).await;
        write(&mut sink(&format!("path = '{}'", path.display())), &path, 3..4).await;
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "line 000\nline 0\nline 002\nline 003\n");
    }

    #[tokio::test]
    async fn what_is_no_file_is_written_to_and_never_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        std::os::unix::fs::symlink("/dev/full", &path).unwrap();
        let mut full = sink(&format!("path = '{}'\nrotate.max_bytes = 10", path.display()));
        let writing = tokio::spawn({
            let path = path.clone();
            async move { write(&mut full, &path, 0..3).await }
        });
        // There is no room until somebody makes some; then it is written once.
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(path.is_symlink() && !dir.path().join("x.1").exists());
        std::fs::remove_file(&path).unwrap();
        tokio::time::timeout(Duration::from_secs(20), writing).await.unwrap().unwrap();
        let (text, lengths) = read(&path, |bytes| String::from_utf8(bytes).unwrap());
        assert_eq!((text, lengths), (lines(0..3), vec![9, 9, 9]));
    }
}
