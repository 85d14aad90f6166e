//! The words by which an event is found to be worth a message.

use crate::list;
use regex::{RegexBuilder, RegexSet, RegexSetBuilder};
use schemars::JsonSchema;
use serde::Deserialize;

/// Words and regular expressions, one of which a message must have.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "KeywordsOption")]
#[schemars(with = "KeywordsOption")]
pub(super) struct Keywords(RegexSet);

#[derive(Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected words, divided by commas, or an array of words")]
enum KeywordsOption {
    Text(String),
    Many(Vec<String>),
}

impl TryFrom<KeywordsOption> for Keywords {
    type Error = String;

    fn try_from(option: KeywordsOption) -> Result<Keywords, String> {
        let items = match option {
            KeywordsOption::Text(text) => split(&text)?,
            KeywordsOption::Many(items) => items,
        };
        let patterns = items.iter().map(|item| pattern(item)).collect::<Result<Vec<_>, _>>()?;
        if patterns.is_empty() {
            return Err("keywords: empty; expected words such as `panic, out of memory`, or /regex/".into());
        }
        let set = RegexSetBuilder::new(&patterns).size_limit(REGEX_BYTES).build();
        set.map(Keywords).map_err(|error| {
            let error = error.to_string();
            let last = error.lines().last().unwrap_or_default();
            let reason = last.trim_start_matches("error: ");
            // The set does not say which of them it is.
            let is_bad = |pattern: &str| RegexBuilder::new(pattern).size_limit(REGEX_BYTES).build().is_err();
            let bad = items.iter().zip(&patterns).find(|(_, pattern)| is_bad(pattern));
            match bad {
                Some((item, _)) => format!("keywords: `{}` is no regular expression: {reason}", item.trim()),
                None => format!("keywords: together they are too much for one expression: {reason}"),
            }
        })
    }
}

/// The memory that they may take together: whoever writes them may not know what a `{1000}` costs.
const REGEX_BYTES: usize = 4 << 20;

impl Keywords {
    /// Whether one of them is in the text.
    pub(super) fn are_in(&self, text: &str) -> bool {
        self.0.is_match(text)
    }
}

/// A word stands for itself, in capitals or not; what is between slashes is a regular expression, with an `i`
/// behind them for capitals or not.
fn pattern(item: &str) -> Result<String, String> {
    let item = item.trim();
    if item.is_empty() {
        return Err("keywords: an empty word is in every message; take it out".into());
    }
    let expression = item.strip_prefix('/').and_then(|rest| rest.rsplit_once('/'));
    Ok(match expression {
        Some(("", _)) => return Err("keywords: `//` is in every message; take it out".into()),
        Some((expression, "")) => expression.replace("\\/", "/"),
        Some((expression, "i")) => format!("(?i){}", expression.replace("\\/", "/")),
        Some((_, flags)) => {
            return Err(format!("keywords: `{flags}` after a regular expression; expected nothing, or `i`"));
        }
        None => format!("(?i){}", regex::escape(item)),
    })
}

/// The items of a list: divided by commas that stand outside of slashes, or as fly-log-shipper had it, a list
/// of VRL's regular expressions, `[r'SIGTERM', r'reboot']`.
fn split(text: &str) -> Result<Vec<String>, String> {
    let text = text.trim();
    if let Some(list) = text.strip_prefix('[') {
        let list =
            list.strip_suffix(']').ok_or("keywords: a list begins with `[` and does not end with `]`")?;
        return vrl_list(list);
    }
    Ok(list::split(text))
}

/// The items of a VRL list of regular expressions and strings.
fn vrl_list(list: &str) -> Result<Vec<String>, String> {
    let mut items = Vec::new();
    let mut rest = list.trim_start();
    while !rest.is_empty() {
        let (is_regex, quote, inner) = match rest.as_bytes() {
            [b'r', b'\'', ..] => (true, '\'', &rest[2..]),
            [b's', b'\'', ..] => (false, '\'', &rest[2..]),
            [b'"', ..] => (false, '"', &rest[1..]),
            _ => {
                return Err("keywords: in a list, expected r'regex' or \"word\", divided by commas".into());
            }
        };
        let mut is_escaped = false;
        let end = inner.find(|c| {
            let ends = c == quote && !is_escaped;
            is_escaped = c == '\\' && !is_escaped;
            ends
        });
        let end = end.ok_or_else(|| format!("keywords: a `{quote}` begins and does not end"))?;
        let item = inner[..end].replace(&format!("\\{quote}"), &quote.to_string());
        items.push(if is_regex { format!("/{}/", item.replace('/', "\\/")) } else { item });
        rest = inner[end + 1..].trim_start();
        rest = match rest.strip_prefix(',') {
            Some(more) => more.trim_start(),
            None if rest.is_empty() => rest,
            None => return Err("keywords: in a list, expected a comma between two items".into()),
        };
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Keywords, String> {
        Keywords::try_from(KeywordsOption::Text(text.to_owned()))
    }

    #[test]
    fn finds_words_and_expressions() {
        for (keywords, found, not_found) in [
            ("panic", "Kernel PANIC!", "pan ic"),
            ("a.b, out of memory", "Out of memory: killed", "axb"),
            ("/re(boot|start)ing/, x", "restarting now", "Rebooting"),
            ("/re(boot|start)ing/i", "Rebooting", "reboot"),
            ("/a{1,3}b,c/", "aab,c", "b,c"),
            (r"/a\/b/", "a/b", "ab"),
            ("[r'SIGTERM', r'reboot']", "got SIGTERM", "sigterm"),
            (r#"[r'it\'s/x', "Word",]"#, "it's/x", "its"),
            (r#"[r'it\'s/x', "Word",]"#, "a word", "wor"),
            ("a/b", "A/B", "ab"),
            ("größe", "GRÖSSE größe", "groesse"),
        ] {
            let keywords = parse(keywords).unwrap();
            assert!(keywords.are_in(found), "{keywords:?} in {found}");
            assert!(!keywords.are_in(not_found), "{keywords:?} in {not_found}");
        }
    }

    #[test]
    fn says_what_is_wrong() {
        for (keywords, words) in [
            ("", "keywords: empty"),
            (" , ,", "keywords: empty"),
            ("[]", "keywords: empty"),
            ("//", "in every message"),
            ("/(/", "`/(/` is no regular expression: unclosed group"),
            (
                "panic, /(a{1000}){1000}/",
                "`/(a{1000}){1000}/` is no regular expression: Compiled regex exceeds size limit",
            ),
            ("/a/x", "`x` after a regular expression"),
            ("[r'a'", "does not end with `]`"),
            ("[r'a]", "begins and does not end"),
            ("[r'a' r'b']", "expected a comma"),
            ("[a]", "expected r'regex'"),
        ] {
            let error = parse(keywords).unwrap_err();
            assert!(error.contains(words), "{keywords}: {error}");
        }
    }

    proptest! {
        #[test]
        fn a_word_is_found_in_itself(word in "[^,/\\[\\s][^,]{0,20}") {
            let text = format!("before {} after", word.trim());
            prop_assert!(parse(&word).unwrap().are_in(&text));
        }

        #[test]
        fn never_panics(text in any::<String>()) {
            let _ = parse(&text);
        }
    }
}
