//! [`Letters`]: files of dead letters, and what a line of them is.
//!
//! A shipper may be writing to such a file while we read it, and rename it. So each is opened once, and is as long
//! as it was then.

use super::Failure;
use crate::event::{LogEvent, Path as FieldPath, Timestamp};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// The most bytes of a line: twice the largest message that NATS has.
const MAX_LINE: usize = 128 << 20;

/// Files of dead letters, which may be read several times.
#[derive(Debug)]
pub(super) struct Letters(Vec<Input>);

#[derive(Debug)]
struct Input {
    name: String,
    path: PathBuf,
    content: Content,
}

#[derive(Debug)]
enum Content {
    /// A file, and so much of it.
    File(File, u64),
    /// What can be read only once.
    Memory(Vec<u8>),
}

/// A line of a file.
pub(super) struct Line<'a> {
    pub file: &'a str,
    pub number: u64,
    /// What it is, or why it is no letter.
    pub letter: Result<Letter, String>,
}

/// An event that a sink has refused.
pub(super) struct Letter {
    pub sink: String,
    pub status: Option<u16>,
    pub reason: String,
    pub event: LogEvent,
}

impl Letters {
    /// Opens these files; `-` is standard input.
    ///
    /// # Errors
    /// If one cannot be read, is named twice, or holds something else than text.
    pub(super) fn open(paths: &[PathBuf]) -> Result<Letters, Failure> {
        let mut inputs: Vec<Input> = Vec::new();
        for path in paths {
            let name = if path == Path::new("-") { "standard input".into() } else { path.to_string_lossy() };
            let fail = |what: &str| Failure::Failed(format!("{name}: {what}"));
            let content = Content::open(path).map_err(|error| fail(&format!("cannot be read: {error}")))?;
            if inputs.iter().any(|other| other.content.is_same_file(&content)) {
                return Err(fail("is named twice, and its letters would be sent twice"));
            }
            let mut start = [0; 4];
            let read = content.reader().read(&mut start).unwrap_or_default();
            if start[..read].starts_with(b"\x1f\x8b") || start[..read] == *b"\x28\xb5\x2f\xfd" {
                return Err(fail(
                    "is compressed; decompress it: `gzip -dc FILE | log-shipper replay -`, or `zstd -dc`",
                ));
            }
            inputs.push(Input { name: name.into_owned(), path: path.clone(), content });
        }
        Ok(Letters(inputs))
    }

    /// Every line that is not empty, from the first file's first on.
    pub(super) fn read(&self) -> impl Iterator<Item = Line<'_>> {
        self.0.iter().flat_map(|input| {
            let mut reader = BufReader::with_capacity(64 << 10, input.content.reader());
            let mut number = 0;
            let mut is_broken = false;
            std::iter::from_fn(move || {
                loop {
                    if is_broken {
                        return None;
                    }
                    number += 1;
                    let letter = match next_line(&mut reader) {
                        Ok(None) => return None,
                        Ok(Some(line)) if line.trim_ascii().is_empty() => continue,
                        Ok(Some(line)) => Letter::parse(&line),
                        Err(error) => {
                            is_broken = error.kind() != io::ErrorKind::FileTooLarge;
                            Err(format!("cannot be read: {error}"))
                        }
                    };
                    return Some(Line { file: &input.name, number, letter });
                }
            })
        })
    }

    /// Whether this is one of the files, or would be the newest of a set of old ones that one of them is part of.
    pub(super) fn is_read(&self, path: &Path) -> bool {
        let absolute = |path: &Path| {
            let parent = path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new("."));
            let parent = parent.canonicalize().unwrap_or_else(|_| parent.to_owned());
            parent.join(path.file_name().unwrap_or_default()).to_string_lossy().into_owned()
        };
        let newest = absolute(path);
        let content = File::open(path).and_then(Content::of).ok();
        let is_again = path.extension().is_some_and(|extension| extension == "again");
        self.0.iter().any(|input| {
            // Nobody knows which file comes through a pipe.
            if matches!(input.content, Content::Memory(_)) {
                return !is_again;
            }
            let known = absolute(&input.path);
            let number = known.strip_prefix(&newest).map(|rest| rest.strip_prefix('.'));
            let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            known == newest
                || number.flatten().is_some_and(is_number)
                || content.as_ref().is_some_and(|content| content.is_same_file(&input.content))
        })
    }
}

impl Content {
    fn open(path: &Path) -> io::Result<Content> {
        Content::of(match path == Path::new("-") {
            true => File::from(io::stdin().as_fd().try_clone_to_owned()?),
            false => File::open(path)?,
        })
    }

    fn of(mut file: File) -> io::Result<Content> {
        let metadata = file.metadata()?;
        if metadata.is_file() {
            return Ok(Content::File(file, metadata.len()));
        }
        // A pipe, which can be read once; a directory says so.
        let mut content = Vec::new();
        file.read_to_end(&mut content)?;
        Ok(Content::Memory(content))
    }

    fn reader(&self) -> Box<dyn Read + Send + '_> {
        match self {
            Content::File(file, length) => Box::new(Section { file, at: 0, end: *length }),
            Content::Memory(content) => Box::new(content.as_slice()),
        }
    }

    fn is_same_file(&self, other: &Content) -> bool {
        let identity = |content: &Content| match content {
            Content::File(file, _) => file.metadata().ok().map(|file| (file.dev(), file.ino())),
            Content::Memory(_) => None,
        };
        identity(self).is_some_and(|own| identity(other) == Some(own))
    }
}

/// A part of a file, which several may read at once.
struct Section<'a> {
    file: &'a File,
    at: u64,
    end: u64,
}

impl Read for Section<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.end - self.at).unwrap_or(usize::MAX).min(buffer.len());
        let read = self.file.read_at(&mut buffer[..left], self.at)?;
        self.at += read as u64;
        Ok(read)
    }
}

/// The next line with its end; `None` after the last one.
fn next_line(reader: &mut impl BufRead) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    reader.by_ref().take(MAX_LINE as u64).read_until(b'\n', &mut line)?;
    if line.len() == MAX_LINE && !line.ends_with(b"\n") {
        reader.skip_until(b'\n')?;
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "the line is longer than 128 MiB"));
    }
    Ok((!line.is_empty()).then_some(line))
}

impl Letter {
    fn parse(line: &[u8]) -> Result<Letter, String> {
        let is_cut_off = !line.ends_with(b"\n");
        let now = Timestamp::now();
        let text = std::str::from_utf8(line.trim_ascii()).map_err(|_| "it is no text (UTF-8)".to_owned())?;
        let letter = LogEvent::from_json_text(text.to_owned().into(), now).map_err(|_| match is_cut_off {
            true => "it is cut off: the last line, without an end".to_owned(),
            false => "it is no JSON object".to_owned(),
        })?;
        let get = |name: &str| letter.get(&FieldPath::root_field(name));
        let text = |name: &str| get(name).and_then(|field| field.as_str()).map(|text| text.into_owned());
        let missing = |name: &str| format!("it is no dead letter: it has no `{name}`");
        let sink = text("sink").ok_or_else(|| missing("sink"))?;
        let event = get("event").ok_or_else(|| missing("event"))?;
        let received = get("received").and_then(|field| field.as_timestamp()).unwrap_or(now);
        // One with as many levels as an event may have stands in its letter as a string.
        let event = event.as_str().unwrap_or_else(|| event.to_json()).into_owned();
        let event = LogEvent::from_json_text(event.into(), received);
        let mut event = event.map_err(|_| "its `event` is no JSON object".to_owned())?;
        if let Some(subject) = text("subject") {
            event = event.with_subject(subject.into());
        }
        let status = get("status").and_then(|status| status.to_text().parse().ok());
        Ok(Letter { sink, status, reason: text("reason").unwrap_or_default(), event })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letters(text: impl Into<Vec<u8>>) -> Letters {
        let content = Content::Memory(text.into());
        Letters(vec![Input { name: "f".into(), path: "-".into(), content }])
    }

    #[test]
    fn lines_are_letters_or_are_told() {
        let deep = format!("{}1{}", "{\"a\":".repeat(127), "}".repeat(127));
        let deep = format!("{{\"sink\":\"s\",\"event\":{}}}\n", serde_json::to_string(&deep).unwrap());
        for (line, expected) in [
            ("{\"sink\":\"s\",\"event\":{\"a\": 1.0}}\n", Ok("{\"a\": 1.0}")),
            ("{\"event\":{},\"sink\":\"s\"}", Ok("{}")),
            (deep.as_str(), Ok("{\"a\":{\"a\":")),
            ("{\"sink\":\"s\",\"eve", Err("cut off")),
            ("{\"sink\":\"s\",\"eve\n", Err("no JSON object")),
            ("{\"sink\":\"s\"}\n", Err("no `event`")),
            ("{\"sink\":7,\"event\":{}}\n", Err("no `sink`")),
            ("{\"sink\":\"s\",\"event\":\"text\"}\n", Err("its `event` is no JSON object")),
            ("{\"sink\":\"s\",\"event\":null}\n", Err("its `event` is no JSON object")),
            ("[]\n", Err("no JSON object")),
        ] {
            let text = format!("\n  \n{line}");
            let all = letters(text);
            let mut lines = all.read();
            let found = lines.next().unwrap();
            assert_eq!(found.number, 3);
            match (found.letter, expected) {
                (Ok(letter), Ok(expected)) => assert!(letter.event.json().starts_with(expected), "{line}"),
                (Err(reason), Err(expected)) => assert!(reason.contains(expected), "{line}: {reason}"),
                (found, _) => panic!("{line}: {:?}", found.map(|letter| letter.sink)),
            }
            assert!(lines.next().is_none());
        }
        // Which file it is that comes through a pipe, nobody knows.
        let pipe = letters("");
        let is_read = ["d.jsonl", "d.jsonl.again"].map(|path| pipe.is_read(Path::new(path)));
        assert_eq!(is_read, [true, false]);
        assert!(letters(b"\xff\xfe\n".to_vec()).read().next().unwrap().letter.is_err());
    }

    #[test]
    fn a_letter_keeps_what_is_known_of_its_event() {
        let line = r#"{"sink":"loki","reason":"a \"bad\" line","subject":"logs.a","received":"2026-01-02T03:04:05.000000006Z","status":400,"event":{}}"#;
        let letter = letters(line).read().next().unwrap().letter.unwrap_or_else(|reason| panic!("{reason}"));
        assert_eq!((letter.sink.as_str(), letter.status), ("loki", Some(400)));
        assert_eq!(letter.reason, "a \"bad\" line");
        assert_eq!(letter.event.subject(), Some("logs.a"));
        assert_eq!(letter.event.received().to_rfc3339(), "2026-01-02T03:04:05.000000006Z");
    }

    #[test]
    fn a_file_is_as_long_as_it_was_and_belongs_to_its_set() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("dead.jsonl");
        let old = dir.path().join("dead.jsonl.3");
        let line = "{\"sink\":\"s\",\"event\":{}}\n";
        std::fs::write(&old, line).unwrap();
        let letters =
            Letters::open(std::slice::from_ref(&old)).map_err(|error| format!("{error:?}")).unwrap();
        std::fs::write(&old, line.repeat(3)).unwrap();
        std::fs::rename(&old, dir.path().join("dead.jsonl.4")).unwrap();
        assert_eq!((letters.read().count(), letters.read().count()), (1, 1));
        assert!(letters.is_read(&path) && letters.is_read(&old));
        assert!(letters.is_read(&dir.path().join("dead.jsonl.4")), "the same file by another name");
        assert!(!letters.is_read(&dir.path().join("dead")));
        assert!(!letters.is_read(&dir.path().join("dead.jsonl.again")));
        std::fs::write(&path, b"\x1f\x8b\x08\x00").unwrap();
        let both = [path.clone(), dir.path().join("dead.jsonl.4")];
        for (paths, words) in
            [(&both[..], "is compressed"), (&[both[1].clone(), both[1].clone()], "named twice")]
        {
            let error = format!("{:?}", Letters::open(paths).err());
            assert!(error.contains(words), "{error}");
        }
    }
}
