//! What applications write into a log line: stack traces over several lines, JSON and logfmt in the message,
//! levels, colours, and what nobody should see.
//!
//! The steps, in their order, each of them off unless it is asked for:
//!
//! 1. lines of one app are left out: the shipper's own, lest an error feed itself
//! 2. `ansi`: colours are taken out of the message
//! 3. `multiline`: lines of one instance that belong together become one event
//! 4. `parse`: JSON or logfmt in the message is lifted into the event
//! 5. `level`: the level that the line names takes the place of the default
//! 6. `redact`: what looks like personal data or a secret is replaced by a marker
//! 7. constant fields are added
//!
//! Each works on the event's text and builds no tree. `vrl` writes the same steps for a stock Vector: both forms
//! share their regular expressions, and a test compares what they do.

mod ansi;
mod level;
mod multiline;
mod options;
mod parse;
mod redact;
mod vrl;

#[cfg(feature = "cli")]
pub(crate) use ansi::escape_sequences;
pub use multiline::MultilineConfig;
pub(crate) use options::is_own_field;
pub use options::{BodyError, BodyOptions};
pub use parse::LogParse;
pub use redact::{Redaction, RedactionError};
pub(crate) use vrl::{ansi_program, ends_when, others_condition, program, starts_when};

use crate::event::{LogEvent, Path, json};
use crate::finalizer::EventStatus;
use multiline::Joiner;
use regex::Regex;
use std::sync::LazyLock;
use tokio::time::Instant;

/// The fields of the root that are Fly's own: nothing in a line overwrites or redacts them.
pub const RESERVED: [&str; 5] = ["event", "fly", "host", "log", "timestamp"];

static MESSAGE: LazyLock<Path> = LazyLock::new(|| Path::root_field("message"));

/// The steps at work on a stream of events. Made by [`BodyOptions::build`].
#[derive(Debug)]
pub struct Bodies {
    options: BodyOptions,
    joiner: Option<Joiner>,
}

/// What became of a chunk.
#[derive(Debug, Default)]
pub struct Passed {
    /// The events that are ready.
    pub events: Vec<LogEvent>,
    /// How many were left out as lines of the excluded app.
    pub excluded: usize,
    /// How many have become part of another event.
    pub joined: usize,
}

impl Bodies {
    fn new(options: BodyOptions) -> Bodies {
        let joiner = options.multiline.enabled.then(|| Joiner::new(options.multiline));
        Bodies { options, joiner }
    }

    /// Takes a chunk of events and gives back what is ready at this moment.
    pub fn pass(&mut self, events: Vec<LogEvent>, now: Instant) -> Passed {
        let mut passed = Passed { events: Vec::with_capacity(events.len()), ..Passed::default() };
        events.into_iter().for_each(|event| self.push(event, now, &mut passed));
        passed
    }

    /// Takes one event, and adds what is ready at this moment.
    pub fn push(&mut self, mut event: LogEvent, now: Instant, passed: &mut Passed) {
        if self.options.exclude_app.as_deref().is_some_and(|app| is_of(&event, app)) {
            passed.excluded += 1;
            // What nobody wants has not failed.
            event.take_finalizers().answer(EventStatus::Delivered);
            return;
        }
        if self.options.strip_ansi {
            event.edit(ansi::strip);
        }
        let ready = passed.events.len();
        match &mut self.joiner {
            None => passed.events.push(event),
            Some(joiner) => {
                joiner.push(event, now, passed);
                joiner.expire(now, passed);
            }
        }
        self.finish(&mut passed.events[ready..]);
    }

    /// When [`Bodies::flush`] has something to do, if no more events come.
    pub fn deadline(&self) -> Option<Instant> {
        self.joiner.as_ref()?.deadline()
    }

    /// What has waited long enough for lines that belong to it.
    pub fn flush(&mut self, now: Instant) -> Passed {
        self.release(|joiner, passed| joiner.expire(now, passed))
    }

    /// All that waits: no more events come.
    pub fn flush_all(&mut self) -> Passed {
        self.release(Joiner::flush_all)
    }

    fn release(&mut self, release: impl FnOnce(&mut Joiner, &mut Passed)) -> Passed {
        let mut passed = Passed::default();
        if let Some(joiner) = &mut self.joiner {
            release(joiner, &mut passed);
        }
        self.finish(&mut passed.events);
        passed
    }

    fn finish(&self, events: &mut [LogEvent]) {
        if self.options.changes_fields() {
            events.iter_mut().for_each(|event| event.edit(|text| self.fields(text)));
        }
    }

    /// The steps behind the joiner.
    fn fields(&self, text: &str) -> Option<String> {
        let options = &self.options;
        let mut edited: Option<String> = None;
        let mut step = |step: &dyn Fn(&str) -> Option<String>| {
            if let Some(text) = step(edited.as_deref().unwrap_or(text)) {
                edited = Some(text);
            }
        };
        if options.log_parse != LogParse::Off {
            step(&|text| parse::lift(text, options.log_parse));
        }
        if options.detect_level {
            step(&level::detect);
        }
        if !options.redact.is_empty() {
            step(&|text| redact::redact(text, &options.redact));
        }
        if !options.enrich.is_empty() {
            step(&|text| Some(enrich(text, options)));
        }
        edited
    }
}

/// Whether an event is a line of this app. Its subject says so without a look into it.
fn is_of(event: &LogEvent, app: &str) -> bool {
    let of_subject = |subject: &str| {
        let (first, rest) = subject.strip_prefix("logs.")?.split_once('.')?;
        rest.contains('.').then(|| first == app)
    };
    event.subject().and_then(of_subject).unwrap_or_else(|| event.app().as_deref() == Some(app))
}

/// The object with the constant fields.
fn enrich(text: &str, options: &BodyOptions) -> String {
    let fields: Vec<_> =
        options.enrich.iter().map(|(name, value)| (name.as_str(), Some(json::string(value)))).collect();
    json::replace(text, &fields)
}

/// An object as text, member by member.
struct Object(String);

impl Object {
    fn with_capacity(bytes: usize) -> Object {
        let mut text = String::with_capacity(bytes);
        text.push('{');
        Object(text)
    }

    /// A member with its key as it is written between quotes.
    fn push(&mut self, key: &str, value: &str) {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        self.0.push('"');
        self.0.push_str(key);
        self.0.push_str("\":");
        self.0.push_str(value);
    }

    /// A member of this name.
    fn push_name(&mut self, name: &str, value: &str) {
        let quoted = json::string(name);
        self.push(&quoted[1..quoted.len() - 1], value);
    }

    fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

/// The text of the message that an event's text has, between its quotes and with its escapes; `None` if it is
/// no string.
fn raw_message(text: &str) -> Option<&str> {
    let message = json::get(text, &MESSAGE)?;
    message.strip_prefix('"')?.strip_suffix('"')
}

/// A regular expression of ours.
fn regex(pattern: &str) -> Regex {
    Regex::new(pattern).expect("a regular expression that is part of the program")
}

#[cfg(test)]
mod tests;
