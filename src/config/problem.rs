//! [`Problem`]: a mistake in a configuration, its place, and how it is shown.

use super::Error;
use super::format::join;
use crate::env::PLACEHOLDER;
use crate::secret::SensitiveString;
use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};
use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::Arc;

/// One mistake in a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Problem {
    /// The file, if it is in one.
    pub file: Option<String>,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// The column in that line, in characters from 1.
    pub column: Option<usize>,
    /// Where in the configuration: `sinks.loki.endpoint`.
    pub path: String,
    /// What is wrong, what was expected, what to do.
    pub message: String,
    /// What to show of the file.
    pub(super) shown: Option<Box<(Arc<Source>, Range<usize>)>>,
}

/// Every mistake of a configuration.
#[derive(Clone, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problem {
    /// A mistake of a whole component.
    pub fn new(message: impl Into<String>) -> Problem {
        Problem::at("", message)
    }

    /// A mistake in the option at this path.
    pub fn at(path: impl Into<String>, message: impl Into<String>) -> Problem {
        Problem {
            file: None,
            line: None,
            column: None,
            path: path.into(),
            message: message.into(),
            shown: None,
        }
    }

    /// The same mistake, its path below `parent`.
    #[must_use]
    pub fn below(mut self, parent: &str) -> Problem {
        self.path = match (parent, self.path.as_str()) {
            (parent, "") => parent.to_owned(),
            ("", path) => path.to_owned(),
            (parent, path) if path.starts_with('[') => format!("{parent}{path}"),
            (parent, path) => format!("{parent}.{path}"),
        };
        self
    }

    /// The same mistake, at this place of a text.
    pub(super) fn in_source(mut self, source: &Arc<Source>, span: Range<usize>) -> Problem {
        let (line, column) = source.position(span.start);
        self.file = Some(source.name.clone());
        (self.line, self.column) = (Some(line), Some(column));
        self.shown = Some(Box::new((Arc::clone(source), span)));
        self
    }

    /// The problem without these values, in whose place it says what they are.
    pub(super) fn without<'a>(mut self, values: impl Iterator<Item = &'a str>, what: &str) -> Problem {
        for value in values.filter(|value| !value.is_empty()) {
            for quoted in [format!("{value:?}"), format!("`{value}`")] {
                self.message = self.message.replace(&quoted, what);
            }
            let escaped = format!("{value:?}");
            // A program's compiler shows lines.
            let lines = value.lines().filter(|line| *line != value);
            // A short value would be found in ordinary words; serde quotes what it repeats.
            for part in
                [value, escaped.trim_matches('"')].into_iter().chain(lines).filter(|part| part.len() > 3)
            {
                self.message = self.message.replace(part, what);
            }
        }
        self
    }

    /// The problem as a compiler shows it, with what stands at its place: what looks like a secret there is
    /// left out. `coloured`: with a terminal's colours.
    pub fn render(&self, level: Severity, coloured: bool) -> String {
        let (first, rest) = self.message.split_once('\n').unwrap_or((&self.message, ""));
        let separator = if self.path.is_empty() { "" } else { ": " };
        let mut title = format!("{}{separator}{first}", self.path);
        let level = match level {
            Severity::Error => Level::ERROR,
            Severity::Warning => Level::WARNING,
        };
        let renderer = if coloured { Renderer::styled().hyperlink(false) } else { Renderer::plain() };
        let mut text = match self.shown.as_deref() {
            Some((source, span)) => {
                let (excerpt, span, line) = source.excerpt(span);
                let snippet = Snippet::source(excerpt)
                    .line_start(line)
                    .path(source.name.as_str())
                    .annotation(AnnotationKind::Primary.span(span));
                renderer.render(&[level.primary_title(title).element(snippet)])
            }
            None => {
                if let Some(file) = &self.file {
                    title = format!("{file}: {title}");
                }
                renderer.render(&[level
                    .primary_title(title)
                    .elements(Vec::<Snippet<'_, annotate_snippets::Annotation<'_>>>::new())])
            }
        };
        // What has lines of its own, such as a program's diagnostics, keeps them.
        if !rest.trim().is_empty() {
            text.push('\n');
            text.push_str(rest.trim_end());
        }
        text
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// It keeps the configuration from being used.
    Error,
    /// It works, but should be written otherwise.
    Warning,
}

impl Problems {
    /// Every problem as a compiler shows it; see [`Problem::render`].
    pub fn render(&self, coloured: bool) -> String {
        let shown: Vec<_> = self.0.iter().map(|problem| problem.render(Severity::Error, coloured)).collect();
        shown.join("\n\n")
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{file}:")?;
            for number in [self.line, self.column].into_iter().flatten() {
                write!(f, "{number}:")?;
            }
            f.write_str(" ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "\n" };
            write!(f, "{separator}{problem}")?;
        }
        Ok(())
    }
}

/// What a `main` that returns them prints.
impl fmt::Debug for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Problems {}

// === texts and places ===

/// A configuration's text, and where in it there are secrets.
#[derive(PartialEq, Eq)]
pub(super) struct Source {
    name: String,
    text: String,
    /// Where not to look, in order.
    secrets: Vec<Range<usize>>,
}

impl Source {
    pub(super) fn new(name: &str, text: &str, mut secrets: Vec<Range<usize>>) -> Source {
        secrets.sort_by_key(|range| range.start);
        Source { name: name.to_owned(), text: text.to_owned(), secrets }
    }

    /// A text that cannot be parsed, of which nobody knows what is a secret: of each line it shows what stands
    /// before the first `=` or `:`, and nothing if there is none, or if that has quotes.
    pub(super) fn broken(name: &str, text: &str) -> Source {
        let mut secrets = Vec::new();
        let mut start = 0;
        for line in text.split_inclusive('\n') {
            let end = line.trim_end().len();
            let is_header = line.trim_start().starts_with('[') || end == 0;
            let shown = match line.find(['=', ':', '"', '\'']) {
                Some(at) if line[at..].starts_with(['=', ':']) => (at + 1).min(end),
                None if is_header => end,
                Some(_) | None => line.len() - line.trim_start().len(),
            };
            if shown < end {
                secrets.push(start + shown..start + end);
            }
            start += line.len();
        }
        Source::new(name, text, secrets)
    }

    /// The line, and the column in characters, both from 1.
    fn position(&self, at: usize) -> (usize, usize) {
        let before = &self.text[..floor(&self.text, at)];
        let line = before.rfind('\n').map_or(0, |at| at + 1);
        (before.bytes().filter(|byte| *byte == b'\n').count() + 1, before[line..].chars().count() + 1)
    }

    /// The lines of a span without secrets, the span in them, and the first line's number. A span of many
    /// lines is shown by its first one.
    fn excerpt(&self, span: &Range<usize>) -> (String, Range<usize>, usize) {
        let text = self.text.as_str();
        let start = floor(text, span.start);
        let first = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let end = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let span = start..floor(text, span.end).clamp(start, end);
        let (mut excerpt, mut shown) = (String::new(), span.clone());
        let mut at = first;
        for secret in self.secrets.iter().filter(|secret| secret.start < end && secret.end > first) {
            let secret = floor(text, secret.start).max(at)..floor(text, secret.end).min(end);
            if secret.start >= secret.end {
                continue;
            }
            excerpt.push_str(&text[at..secret.start]);
            let here = excerpt.len();
            excerpt.push('…');
            at = secret.end;
            for (edge, shown, inside) in
                [(span.start, &mut shown.start, here), (span.end, &mut shown.end, here + '…'.len_utf8())]
            {
                if secret.contains(&edge) {
                    *shown = inside + first;
                } else if edge >= secret.end {
                    // From here on everything is as much farther to the front.
                    *shown = (edge - at) + excerpt.len() + first;
                }
            }
        }
        excerpt.push_str(&text[at..end]);
        let shown = shown.start - first..shown.end.max(shown.start) - first;
        let line = text[..first].bytes().filter(|byte| *byte == b'\n').count() + 1;
        (excerpt, shown, line)
    }
}

/// The nearest character's beginning that is not after `at`.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at)
}

impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

/// Where a key stands, and its value.
#[derive(Clone, Debug)]
pub(super) struct Place {
    pub(super) source: Arc<Source>,
    /// None for what is in a list.
    pub(super) key: Option<Range<usize>>,
    /// None for a table, which may be in many places.
    pub(super) value: Option<Range<usize>>,
}

impl Place {
    /// `file:line:column`.
    pub(super) fn to_words(&self) -> String {
        let (line, column) =
            self.source.position(self.key.as_ref().or(self.value.as_ref()).map_or(0, |span| span.start));
        format!("{}:{line}:{column}", self.source.name)
    }
}

/// Where everything of a configuration stands, by its path.
#[derive(Clone, Default)]
pub struct Places {
    by_path: HashMap<String, Place>,
    /// Values that came in from the environment or a secret backend: no message repeats them.
    hidden: Vec<SensitiveString>,
}

impl Places {
    /// The problem with its file, line and column: those of its path, or of the nearest thing above it that
    /// is written down. One that has a file already stays as it is.
    pub fn place(&self, problem: Problem) -> Problem {
        if problem.file.is_some() {
            return problem;
        }
        let mut path = problem.path.as_str();
        let found = loop {
            if let Some(place) = self.by_path.get(path) {
                break Some((place, path.len() == problem.path.len()));
            }
            match path.rfind(['.', '[']) {
                Some(at) => path = &path[..at],
                None => break None,
            }
        };
        let Some((place, is_exact)) = found else { return problem };
        // A mistake in a name is in the key; a mistake of something inside that is missing is too.
        let is_name = problem.message.starts_with("unknown field") || !is_exact;
        let value = place.value.as_ref().filter(|_| !is_name || place.key.is_none());
        let span = value.or(place.key.as_ref()).cloned().unwrap_or(0..0);
        problem.in_source(&Arc::clone(&place.source), span)
    }

    /// The problems of a component that cannot be built, placed. Those of [`Problems`] have paths of their
    /// own below the component. `kind` is the component's table: `sinks`.
    pub fn of_component(&self, kind: &str, id: &str, error: Error) -> Vec<Problem> {
        let problems = match error.downcast::<Problems>() {
            Ok(problems) => problems.0,
            Err(error) => vec![Problem::new(error.to_string())],
        };
        let path = join(kind, id);
        let hide = |problem: Problem| {
            let hidden = self.hidden.iter().map(SensitiveString::expose);
            problem.without(hidden, "(a value from the environment)")
        };
        problems.into_iter().map(|problem| self.place(hide(problem).below(&path))).collect()
    }

    /// Keeps these values out of what [`Places::of_component`] says.
    pub(super) fn hide(&mut self, values: &[String]) {
        let new = values
            .iter()
            .filter(|value| !value.is_empty() && *value != PLACEHOLDER)
            .map(|value| SensitiveString::from(value.as_str()));
        for value in new {
            if !self.hidden.contains(&value) {
                self.hidden.push(value);
            }
        }
    }

    /// Whether something is written down at this path.
    pub fn has(&self, path: &str) -> bool {
        self.by_path.contains_key(path)
    }

    pub(super) fn get(&self, path: &str) -> Option<&Place> {
        self.by_path.get(path)
    }

    /// Adds what is not there yet, below `parent`.
    pub(super) fn extend_below(&mut self, parent: &str, others: &Places) {
        for (path, place) in &others.by_path {
            let path = Problem::at(path.as_str(), "").below(parent).path;
            self.by_path.entry(path).or_insert_with(|| place.clone());
        }
    }

    /// Adds what is not there yet.
    pub(super) fn extend(&mut self, others: &Places) {
        self.extend_below("", others);
    }

    /// The places below this path, their paths without it.
    pub(super) fn below(&self, parent: &str) -> Places {
        let rest = |path: &str| {
            let rest = path.strip_prefix(parent)?;
            match rest.strip_prefix('.') {
                Some(rest) => Some(rest.to_owned()),
                None => (rest.is_empty() || rest.starts_with('[')).then(|| rest.to_owned()),
            }
        };
        self.by_path.iter().filter_map(|(path, place)| Some((rest(path)?, place.clone()))).collect()
    }

    pub(super) fn insert(&mut self, path: String, place: Place) {
        self.by_path.entry(path).or_insert(place);
    }
}

impl FromIterator<(String, Place)> for Places {
    fn from_iter<I: IntoIterator<Item = (String, Place)>>(places: I) -> Places {
        let mut all = Places::default();
        places.into_iter().for_each(|(path, place)| all.insert(path, place));
        all
    }
}

impl fmt::Debug for Places {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Places({})", self.by_path.len())
    }
}

/// Words in an option's name whose value nobody should see.
const SECRET_WORDS: &[&str] = &[
    "token",
    "pass",
    "secret",
    "credential",
    "seed",
    "webhook",
    "license",
    "api_key",
    "apikey",
    "access_key",
    "account_key",
    "ingestion_key",
    "private_key",
    "shared_key",
    "key_file",
];

/// Whether it has a URL that says who we are.
pub(super) fn is_secret_url(text: &str) -> bool {
    text.split_once("://").is_some_and(|(_, rest)| {
        let lower = rest.to_ascii_lowercase();
        let path = lower.split_once(['/', '?']).map_or("", |(_, path)| path);
        rest.contains('@')
            || rest.starts_with("hooks.")
            || path.contains("webhook")
            || path.contains("key=")
            || SECRET_WORDS.iter().any(|word| path.contains(word))
    })
}

/// Whether the option at this path may hold a secret.
pub(crate) fn is_secret(path: &str) -> bool {
    let path = path.to_ascii_lowercase();
    let last = path.rsplit('.').next().unwrap_or(&path);
    SECRET_WORDS.iter().any(|word| path.contains(word))
        // A name with a slip in it may have been meant as one.
        || last.split('_').any(|name| SECRET_WORDS.iter().any(|word| is_slip(name, word)))
        || last == "key"
        || last.contains("auth")
        || path.contains("headers.")
}

/// Whether this is the word with one letter too few, too many, another, or two that have changed places.
fn is_slip(name: &str, word: &str) -> bool {
    word.len() >= 5 && strsim::damerau_levenshtein(name, word) == 1
}

#[cfg(test)]
mod tests;
