//! Which events are shown.

use super::line;
use crate::event::{Level, Semantics};
use regex::Regex;

/// What an event must be to be shown: of each list, one; an empty one allows all.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) apps: Vec<String>,
    pub(super) regions: Vec<String>,
    pub(super) instances: Vec<String>,
    /// At least as serious as this.
    pub(super) level: Option<Level>,
    pub(super) text: Option<Pattern>,
}

/// What a message must have in it.
#[derive(Clone, Debug)]
pub(super) enum Pattern {
    Plain(String),
    Regex(Regex),
}

impl Pattern {
    /// Plain text; between slashes, a regular expression.
    pub(super) fn parse(text: &str) -> Result<Pattern, String> {
        let inner = text.strip_prefix('/').and_then(|rest| rest.strip_suffix('/'));
        match inner.filter(|inner| !inner.is_empty()) {
            Some(inner) => Regex::new(inner).map(Pattern::Regex).map_err(|error| error.to_string()),
            None => Ok(Pattern::Plain(text.to_owned())),
        }
    }

    fn fits(&self, text: &str) -> bool {
        match self {
            Pattern::Plain(plain) => text.contains(plain.as_str()),
            Pattern::Regex(regex) => regex.is_match(text),
        }
    }
}

impl Filter {
    /// Whether an event is shown.
    pub(super) fn allows(&self, event: &Semantics<'_>) -> bool {
        let is_one_of = |names: &[String], name: Option<std::borrow::Cow<'_, str>>| {
            names.is_empty() || name.is_some_and(|name| names.iter().any(|wanted| *wanted == *name))
        };
        is_one_of(&self.apps, event.app())
            && is_one_of(&self.regions, event.region())
            && is_one_of(&self.instances, event.instance())
            && self.level.is_none_or(|least| event.level().is_some_and(|level| level >= least))
            && self.text.as_ref().is_none_or(|pattern| {
                // Colours in the middle of a word would hide it.
                event.message().is_some_and(|message| pattern.fits(&line::without_escapes(&message)))
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::LogEvent;
    use bytes::Bytes;

    const EVENT: &str = r#"{"fly":{"app":{"name":"web","instance":"1a"},"region":"ord"},"log":{"level":"warn"},"message":"GET \u001b[31m/a\u001b[0mbc 500"}"#;

    #[track_caller]
    fn check(filter: Filter, text: &str, expected: bool) {
        let event = LogEvent::from_json(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        assert_eq!(filter.allows(&event.semantics()), expected, "{filter:?} {text}");
    }

    #[test]
    fn each_condition_must_hold() {
        let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        check(Filter::default(), EVENT, true);
        check(Filter::default(), "{}", true);
        check(Filter { apps: names(&["api", "web"]), ..Filter::default() }, EVENT, true);
        check(Filter { apps: names(&["api"]), ..Filter::default() }, EVENT, false);
        check(Filter { apps: names(&["api"]), ..Filter::default() }, "{}", false);
        check(Filter { regions: names(&["ord"]), ..Filter::default() }, EVENT, true);
        check(Filter { regions: names(&["ams"]), ..Filter::default() }, EVENT, false);
        check(Filter { instances: names(&["1a"]), ..Filter::default() }, EVENT, true);
        check(Filter { apps: names(&["web"]), instances: names(&["1"]), ..Filter::default() }, EVENT, false);
        for (level, expected) in [(Level::Info, true), (Level::Warn, true), (Level::Error, false)] {
            check(Filter { level: Some(level), ..Filter::default() }, EVENT, expected);
        }
        check(Filter { level: Some(Level::Trace), ..Filter::default() }, r#"{"message":"x"}"#, false);
        for (text, expected) in [
            ("GET /abc", true),
            ("get", false),
            ("/(?i)get .*5\\d\\d$/", true),
            ("/^5/", false),
            ("/a", true),
            ("/", true),
        ] {
            let pattern = Pattern::parse(text).unwrap();
            check(Filter { text: Some(pattern), ..Filter::default() }, EVENT, expected);
        }
        assert!(Pattern::parse("/(/").is_err());
        // The library's own bound: 10 MiB of memory. The command line's parser names the argument.
        assert!(Pattern::parse("/(a{1000}){1000}/").is_err_and(|error| error.contains("exceeds size limit")));
    }
}
