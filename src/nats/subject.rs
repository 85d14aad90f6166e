//! NATS subjects and the filters that select them.
//!
//! A subject is a list of tokens separated by dots, such as `logs.web.error`.
//! A filter is a subject in which a token may be a wildcard: `*` stands for
//! exactly one token, `>` for one or more tokens at the end. A `*` or `>`
//! within a longer token is an ordinary character, as it is to a NATS server.

use std::fmt;
use std::str::FromStr;

use memchr::memchr;
use snafu::{Snafu, ensure};

/// Why a text is not a NATS subject filter.
#[derive(Debug, Clone, PartialEq, Eq, Snafu)]
#[non_exhaustive]
pub enum SubjectError {
    /// The subject has no characters at all.
    #[snafu(display("the subject is empty, expected tokens separated by dots such as \"logs.web\""))]
    Empty,

    /// Two dots have nothing between them, or a dot begins or ends the subject.
    #[snafu(display(
        "token {position} of subject {subject:?} is empty, expected a token before and after every dot"
    ))]
    EmptyToken {
        /// The subject as it was given.
        subject: String,
        /// Which token is empty, counted from one.
        position: usize,
    },

    /// A character separates words or lines in the NATS protocol, or does not print.
    #[snafu(display(
        "subject {subject:?} contains {character:?} at byte {offset}, expected no whitespace and no control characters"
    ))]
    ForbiddenCharacter {
        /// The subject as it was given.
        subject: String,
        /// The first character that may not be there.
        character: char,
        /// Where that character starts, in bytes.
        offset: usize,
    },

    /// The wildcard `>` has tokens after it.
    #[snafu(display(
        "token {position} of subject {subject:?} is the wildcard \">\", expected it only as the last token"
    ))]
    FullWildcardNotLast {
        /// The subject as it was given.
        subject: String,
        /// Which token is the wildcard, counted from one.
        position: usize,
    },
}

/// A NATS subject pattern that is known to be valid.
///
/// Two filters are equal when they are written alike.
///
/// ```
/// use log_shipper::nats::SubjectFilter;
///
/// let filter = SubjectFilter::parse("logs.*.ord.>").unwrap();
/// assert!(filter.matches("logs.web.ord.3d8d9930b32189"));
/// assert!(!filter.matches("logs.web.ams.3d8d9930b32189"));
/// assert!(SubjectFilter::parse("logs.>.ord").is_err());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubjectFilter {
    pattern: Box<str>,
    /// Most filters of a busy connection have no wildcard, and then a match is
    /// one comparison.
    is_literal: bool,
}

impl SubjectFilter {
    /// Checks `pattern` and keeps it as a filter.
    ///
    /// # Errors
    ///
    /// Refuses an empty pattern, empty tokens, whitespace and control
    /// characters (those of Unicode, not only of ASCII), and a `>` that is not
    /// the last token.
    pub fn parse(pattern: &str) -> Result<SubjectFilter, SubjectError> {
        check_characters(pattern)?;
        check_tokens(pattern)?;
        Ok(SubjectFilter { pattern: pattern.into(), is_literal: !pattern.split('.').any(is_wildcard) })
    }

    /// The filter as it was written.
    pub fn as_str(&self) -> &str {
        &self.pattern
    }

    /// Whether this filter selects `subject`.
    ///
    /// The subject is taken to be one that a message was published to, so it is
    /// not checked again. It is compared byte by byte and nothing is allocated.
    pub fn matches(&self, subject: &str) -> bool {
        if self.is_literal {
            return *self.pattern == *subject;
        }
        let mut pattern = self.pattern.as_bytes();
        let mut subject = subject.as_bytes();
        loop {
            let (wanted, pattern_rest) = split_token(pattern);
            if wanted == b">" {
                return !subject.is_empty();
            }
            let (token, subject_rest) = split_token(subject);
            let token_matches = match wanted {
                b"*" => !token.is_empty(),
                literal => literal == token,
            };
            if !token_matches {
                return false;
            }
            match (pattern_rest, subject_rest) {
                (None, None) => return true,
                (Some(next_pattern), Some(next_subject)) => {
                    pattern = next_pattern;
                    subject = next_subject;
                }
                _ => return false,
            }
        }
    }

    /// Whether there is a subject that both filters select.
    pub fn overlaps(&self, other: &SubjectFilter) -> bool {
        let mut ours = self.pattern.as_bytes();
        let mut theirs = other.pattern.as_bytes();
        loop {
            let (our_token, our_rest) = split_token(ours);
            let (their_token, their_rest) = split_token(theirs);
            // Both sides have a token left here, which is all that `>` asks for.
            if our_token == b">" || their_token == b">" {
                return true;
            }
            if our_token != their_token && our_token != b"*" && their_token != b"*" {
                return false;
            }
            match (our_rest, their_rest) {
                (None, None) => return true,
                (Some(our_next), Some(their_next)) => {
                    ours = our_next;
                    theirs = their_next;
                }
                _ => return false,
            }
        }
    }
}

impl fmt::Display for SubjectFilter {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(&self.pattern)
    }
}

impl FromStr for SubjectFilter {
    type Err = SubjectError;

    fn from_str(pattern: &str) -> Result<SubjectFilter, SubjectError> {
        SubjectFilter::parse(pattern)
    }
}

/// Whether a message can be published to `subject`: it has the form of a filter
/// and none of its tokens is a wildcard.
pub fn is_valid_subject(subject: &str) -> bool {
    !subject.contains(is_forbidden)
        && subject.split('.').all(|token| !token.is_empty() && !is_wildcard(token))
}

fn check_characters(subject: &str) -> Result<(), SubjectError> {
    match subject.char_indices().find(|(_, c)| is_forbidden(*c)) {
        None => Ok(()),
        Some((offset, character)) => ForbiddenCharacterSnafu { subject, character, offset }.fail(),
    }
}

fn check_tokens(subject: &str) -> Result<(), SubjectError> {
    ensure!(!subject.is_empty(), EmptySnafu);
    let mut full_wildcard = None;
    for (position, token) in (1_usize..).zip(subject.split('.')) {
        ensure!(!token.is_empty(), EmptyTokenSnafu { subject, position });
        if let Some(position) = full_wildcard {
            return FullWildcardNotLastSnafu { subject, position }.fail();
        }
        if token == ">" {
            full_wildcard = Some(position);
        }
    }
    Ok(())
}

fn is_forbidden(character: char) -> bool {
    character.is_whitespace() || character.is_control()
}

fn is_wildcard(token: &str) -> bool {
    token == "*" || token == ">"
}

/// The first token, and what follows its dot if there is one.
///
/// A dot is never a part of a longer UTF-8 sequence, so bytes can be cut there.
fn split_token(subject: &[u8]) -> (&[u8], Option<&[u8]>) {
    match memchr(b'.', subject) {
        None => (subject, None),
        Some(dot) => (&subject[..dot], Some(&subject[dot + 1..])),
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use proptest::sample::select;
    use proptest::test_runner::RngSeed;

    use super::*;

    fn filter(pattern: &str) -> SubjectFilter {
        SubjectFilter::parse(pattern).expect("the test's filter is valid")
    }

    #[test]
    fn parse_accepts_what_nats_accepts() {
        #[track_caller]
        fn check(pattern: &str) {
            let parsed = SubjectFilter::parse(pattern).expect(pattern);
            assert_eq!(parsed.as_str(), pattern);
            assert_eq!(parsed.to_string(), pattern);
            assert_eq!(pattern.parse(), Ok(parsed));
        }
        check("logs");
        check("logs.web.error");
        check("*");
        check(">");
        check("*.*");
        check("logs.*.>");
        check("lo*gs.a>.>b.**.>>");
        check("$JS.API.INFO");
        check("журнал.ошибка");
    }

    #[test]
    fn parse_refuses_and_says_why() {
        #[track_caller]
        fn check(pattern: &str, message: &str) {
            let error = SubjectFilter::parse(pattern).expect_err(pattern);
            assert_eq!(error.to_string(), message);
        }
        check("", "the subject is empty, expected tokens separated by dots such as \"logs.web\"");
        check(".logs", "token 1 of subject \".logs\" is empty, expected a token before and after every dot");
        check("logs.", "token 2 of subject \"logs.\" is empty, expected a token before and after every dot");
        check(
            "logs..web",
            "token 2 of subject \"logs..web\" is empty, expected a token before and after every dot",
        );
        check(
            "logs.>.",
            "token 3 of subject \"logs.>.\" is empty, expected a token before and after every dot",
        );
        check(
            "logs web",
            "subject \"logs web\" contains ' ' at byte 4, expected no whitespace and no control characters",
        );
        check(
            "logs\r\n",
            "subject \"logs\\r\\n\" contains '\\r' at byte 4, expected no whitespace and no control characters",
        );
        check(
            "\0",
            "subject \"\\0\" contains '\\0' at byte 0, expected no whitespace and no control characters",
        );
        check(
            "logs\u{a0}web",
            "subject \"logs\\u{a0}web\" contains '\\u{a0}' at byte 4, expected no whitespace and no control characters",
        );
        check(
            "logs.>.web",
            "token 2 of subject \"logs.>.web\" is the wildcard \">\", expected it only as the last token",
        );
        check(">.>", "token 1 of subject \">.>\" is the wildcard \">\", expected it only as the last token");
    }

    #[test]
    fn matches_by_token() {
        #[track_caller]
        fn check(pattern: &str, subject: &str, expected: bool) {
            assert_eq!(filter(pattern).matches(subject), expected, "{pattern} {subject}");
        }
        check("logs", "logs", true);
        check("logs", "log", false);
        check("logs", "logs.web", false);
        check("logs", "LOGS", false);
        check("*", "logs", true);
        check("*", "logs.web", false);
        check("*", "", false);
        check(">", "logs", true);
        check(">", "logs.web.error", true);
        check(">", "", false);
        check("logs.*", "logs", false);
        check("logs.*", "logs.web", true);
        check("logs.*", "logs.web.error", false);
        check("logs.*.error", "logs.web.error", true);
        check("logs.*.error", "logs.web.info", false);
        check("*.web", "logs.web", true);
        check("*.web", "logs.webs", false);
        check("logs.>", "logs", false);
        check("logs.>", "logs.web", true);
        check("logs.>", "logs.web.error", true);
        check("logs.>", "logsx.web", false);
        check("*.>", "logs", false);
        check("*.>", "logs.web", true);
        check("lo*", "logs", false);
        check("lo*", "lo*", true);
        check("*.a>", "logs.ab", false);
        check("журнал.*", "журнал.ошибка", true);
    }

    #[test]
    fn overlaps_when_a_subject_is_shared() {
        #[track_caller]
        fn check(ours: &str, theirs: &str, expected: bool) {
            assert_eq!(filter(ours).overlaps(&filter(theirs)), expected, "{ours} {theirs}");
        }
        check("logs", "logs", true);
        check("logs", "metrics", false);
        check("logs", "*", true);
        check("logs", ">", true);
        check("logs", "logs.>", false);
        check("logs.*", "*.web", true);
        check("logs.*", "logs.*.*", false);
        check("logs.*.error", "logs.web.>", true);
        check("logs.web.>", "logs.db.>", false);
        check("logs.>", "*.*.error", true);
        check("*.*.*", "logs.>", true);
        check("*.*", "*.*.>", false);
        check("lo*", "logs", false);
    }

    #[test]
    fn publish_subjects_have_no_wildcards() {
        #[track_caller]
        fn check(subject: &str, expected: bool) {
            assert_eq!(is_valid_subject(subject), expected, "{subject:?}");
        }
        check("logs", true);
        check("logs.web.error", true);
        check("lo*.a>", true);
        check("журнал", true);
        check("", false);
        check(".", false);
        check("logs.", false);
        check("logs..web", false);
        check("*", false);
        check("logs.*.error", false);
        check("logs.>", false);
        check("logs web", false);
        check("logs\tweb", false);
        check("logs\u{7f}", false);
    }

    /// What `matches` means, with no thought for speed.
    fn naive_matches(pattern: &str, subject: &str) -> bool {
        let wanted: Vec<&str> = pattern.split('.').collect();
        let tokens: Vec<&str> = subject.split('.').collect();
        let (fixed, length_fits) = match wanted.split_last() {
            Some((&">", fixed)) => (fixed, tokens.len() > fixed.len()),
            _ => (&wanted[..], tokens.len() == wanted.len()),
        };
        length_fits && fixed.iter().zip(&tokens).all(|(w, t)| *w == "*" || w == t)
    }

    /// Few tokens, so that what is generated often matches.
    fn any_filter() -> impl Strategy<Value = String> {
        (vec(select(vec!["a", "b", "*", "*", "a*"]), 0..4), select(vec!["a", "b", "*", ">"])).prop_map(
            |(mut tokens, last)| {
                tokens.push(last);
                tokens.join(".")
            },
        )
    }

    fn any_subject() -> impl Strategy<Value = String> {
        vec(select(vec!["a", "a", "b", "a*"]), 1..6).prop_map(|tokens| tokens.join("."))
    }

    /// Every subject of at most five tokens that filters from `any_filter` can tell apart.
    fn all_subjects() -> Vec<String> {
        let mut subjects: Vec<String> = ["a", "b", "a*"].map(String::from).to_vec();
        let mut longest = subjects.clone();
        for _ in 1..5 {
            longest = longest
                .iter()
                .flat_map(|head| ["a", "b", "a*"].map(|token| format!("{head}.{token}")))
                .collect();
            subjects.extend_from_slice(&longest);
        }
        subjects
    }

    /// The same cases on every run, and no file left behind by a failure.
    fn laws() -> ProptestConfig {
        ProptestConfig {
            cases: 256,
            rng_seed: RngSeed::Fixed(4222),
            failure_persistence: None,
            ..ProptestConfig::default()
        }
    }

    proptest! {
        #![proptest_config(laws())]

        #[test]
        fn matches_agrees_with_the_naive_model(pattern in any_filter(), subject in any_subject()) {
            prop_assert_eq!(
                filter(&pattern).matches(&subject),
                naive_matches(&pattern, &subject)
            );
        }

        #[test]
        fn a_literal_filter_matches_only_itself(literal in any_subject(), other in any_subject()) {
            prop_assert!(filter(&literal).matches(&literal));
            prop_assert_eq!(filter(&literal).matches(&other), literal == other);
        }

        #[test]
        fn overlap_is_symmetric(ours in any_filter(), theirs in any_filter()) {
            let (ours, theirs) = (filter(&ours), filter(&theirs));
            prop_assert_eq!(ours.overlaps(&theirs), theirs.overlaps(&ours));
            prop_assert!(ours.overlaps(&ours));
        }

        #[test]
        fn a_subject_that_both_match_is_an_overlap(
            ours in any_filter(),
            theirs in any_filter(),
            subject in any_subject(),
        ) {
            let (ours, theirs) = (filter(&ours), filter(&theirs));
            let both_match = ours.matches(&subject) && theirs.matches(&subject);
            prop_assert!(!both_match || ours.overlaps(&theirs));
        }

        #[test]
        fn overlap_is_exactly_a_shared_subject(ours in any_filter(), theirs in any_filter()) {
            let (ours, theirs) = (filter(&ours), filter(&theirs));
            let shared = all_subjects()
                .iter()
                .any(|subject| ours.matches(subject) && theirs.matches(subject));
            prop_assert_eq!(ours.overlaps(&theirs), shared);
        }

        #[test]
        fn any_text_is_parsed_or_refused(text in "[a*>. \t\u{0}é]{0,8}", subject in any::<String>()) {
            let parsed = SubjectFilter::parse(&text);
            let has_wildcard = text.split('.').any(is_wildcard);
            prop_assert_eq!(is_valid_subject(&text), parsed.is_ok() && !has_wildcard);
            if let Ok(filter) = parsed {
                prop_assert_eq!(filter.as_str(), &text);
                filter.matches(&subject);
            }
        }
    }
}
