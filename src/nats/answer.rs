//! [`Answer`]: what became of a message that was published.

use super::protocol::shown;
use serde::Deserialize;
use std::borrow::Cow;
use std::fmt;

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The server, or the stream, has it.
    Published,
    /// The connection was lost first: it may have arrived, or not.
    Lost,
    /// It was not written, since too many before it were not confirmed.
    Unsent,
    /// Not now.
    Retry {
        /// Why.
        reason: String,
    },
    /// The user may not publish to its subject. A person can mend that.
    Forbidden,
    /// Never.
    Rejected {
        /// Why.
        reason: String,
    },
}

/// Of a server's answer to a question, or of a stream's to a message.
#[derive(Debug, Deserialize)]
pub(super) struct ApiError {
    /// As HTTP has them.
    code: u16,
    #[serde(default)]
    pub(super) err_code: u32,
    #[serde(default)]
    description: String,
}

/// A stream's answer to a message: `{"stream": "S", "seq": 1}`, with `"duplicate": true` if it has one of
/// this id already.
#[derive(Debug, Deserialize)]
struct PubAck<'a> {
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    error: Option<ApiError>,
}

/// The answer to a question for the names of streams.
#[derive(Debug, Deserialize)]
struct StreamNames {
    streams: Option<Vec<String>>,
    error: Option<ApiError>,
}

/// "resource limits exceeded for account", with code 400: until something is deleted, or the limit raised.
const ACCOUNT_IS_FULL: u32 = 10002;
/// "duplicate message id is in process", with code 409: the first copy of a message that was published again
/// is still on its way into the stream. Whether it gets there, the answer to a later copy says.
const COPY_IS_UNDER_WAY: u32 = 10158;

impl ApiError {
    /// 4xx is for good (a message larger than the stream takes, a stream that is sealed), but for those that
    /// will pass as 5xx does: no leader, no room in the stream or on the disk.
    fn into_answer(self) -> Answer {
        let reason = self.to_string();
        match (self.code, self.err_code) {
            (408 | 429, _) | (_, ACCOUNT_IS_FULL | COPY_IS_UNDER_WAY) => Answer::Retry { reason },
            (400..500, _) => Answer::Rejected { reason },
            _ => Answer::Retry { reason },
        }
    }
}

impl fmt::Display for ApiError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It may repeat what others have named: a stream, a subject.
        let description = shown(self.description.as_bytes());
        write!(f, "JetStream answers {}, {}: {description}", self.code, self.err_code)
    }
}

/// What a message's answer says, unless it is no stream's: then that may still come.
///
/// Source: docs.nats.io, "JetStream wire API reference"; the codes are those of nats-server's
/// `server/errors.json`.
pub(super) fn pub_ack(payload: &[u8]) -> Option<Answer> {
    // The answer of a server of which nobody wants the message has headers only (status 503).
    if payload.is_empty() {
        return Some(Answer::Retry { reason: "no stream takes its subject (no responders)".into() });
    }
    match serde_json::from_slice(payload).ok()? {
        PubAck { error: Some(error), .. } => Some(error.into_answer()),
        PubAck { stream, .. } => (!stream.is_empty()).then_some(Answer::Published),
    }
}

/// Whether there is a stream, by the answer to a question for names.
pub(super) fn stream_names(payload: &[u8]) -> Option<Answer> {
    if payload.is_empty() {
        return Some(Answer::Rejected { reason: "JetStream is not enabled on the server".into() });
    }
    match serde_json::from_slice(payload).ok()? {
        StreamNames { error: Some(error), .. } => Some(error.into_answer()),
        StreamNames { streams: Some(streams), .. } if !streams.is_empty() => Some(Answer::Published),
        StreamNames { .. } => {
            let reason = "no JetStream stream takes the subject; create one (nats stream add)".into();
            Some(Answer::Rejected { reason })
        }
    }
}

/// The subject that the user may not publish to, if that is what the server's error says:
/// `Permissions Violation for Publish to "subject"`.
pub(super) fn forbidden_subject(error: &[u8]) -> Option<String> {
    let error = std::str::from_utf8(error).ok()?;
    let (_, quoted) = error.split_once("Permissions Violation for Publish to \"")?;
    unquote(quoted.rsplit_once('"')?.0)
}

/// The text that Go's `%q` has written.
fn unquote(quoted: &str) -> Option<String> {
    let mut text = String::with_capacity(quoted.len());
    let mut rest = quoted.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            text.push(character);
            continue;
        }
        let digits = match rest.next()? {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            other => {
                text.push(other);
                continue;
            }
        };
        let digits: String = rest.by_ref().take(digits).collect();
        text.push(char::from_u32(u32::from_str_radix(&digits, 16).ok()?)?);
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_streams_answer_says_what_became_of_a_message() {
        let published = Some(Answer::Published);
        assert_eq!(pub_ack(br#"{"stream":"S","seq":7}"#), published);
        assert_eq!(pub_ack(br#"{"stream":"S","seq":7,"domain":"d","duplicate":true}"#), published);
        for (code, err_code, is_final) in [
            (400, 10054, true),
            (400, 10002, false),
            (404, 10059, true),
            (408, 10167, false),
            (409, 10158, false),
            (409, 10200, true),
            (429, 10167, false),
            (503, 10077, false),
        ] {
            let text = format!(
                r#"{{"error":{{"code":{code},"err_code":{err_code},"description":"x"}},"stream":"S","seq":0}}"#
            );
            let answer = pub_ack(text.as_bytes()).unwrap();
            let reason = format!("JetStream answers {code}, {err_code}: x");
            let expected = if is_final { Answer::Rejected { reason } } else { Answer::Retry { reason } };
            assert_eq!(answer, expected);
        }
        assert!(matches!(pub_ack(b""), Some(Answer::Retry { .. })));
        for other in ["hello", "{}", "[]", r#"{"stream":"","seq":1}"#] {
            assert_eq!(pub_ack(other.as_bytes()), None, "{other} is no stream's answer");
        }
    }

    #[test]
    fn what_jetstream_says_is_fit_for_a_line_of_the_log() {
        let description = format!("a\nb\u{1b}[31m{}", "x".repeat(10_000));
        let answer = serde_json::json!({"error": {"code": 400, "description": description}}).to_string();
        for read in [pub_ack, stream_names] {
            let Some(Answer::Rejected { reason }) = read(answer.as_bytes()) else { panic!("no answer") };
            assert!(reason.starts_with("JetStream answers 400, 0: a b [31mxxx"), "{reason}");
            assert!(reason.len() < 300, "{} bytes", reason.len());
        }
    }

    #[test]
    fn the_names_of_streams_say_whether_there_is_one() {
        let says = |text: &str| match stream_names(text.as_bytes()) {
            Some(Answer::Rejected { reason }) => reason,
            other => format!("{other:?}"),
        };
        assert_eq!(says(r#"{"total":1,"streams":["S"]}"#), "Some(Published)");
        for text in [r#"{"total":0,"streams":[]}"#, r#"{"total":0,"streams":null}"#] {
            assert!(says(text).contains("create one"), "{text}");
        }
        assert!(says("").contains("not enabled"));
        assert!(says(r#"{"error":{"code":400,"description":"bad"}}"#).contains("bad"));
    }

    #[test]
    fn a_forbidden_subject_is_read_as_go_quotes_it() {
        let read = |error: &str| forbidden_subject(error.as_bytes());
        assert_eq!(read(" 'Permissions Violation for Publish to \"a.b\"'").as_deref(), Some("a.b"));
        assert_eq!(
            read(r#"'Permissions Violation for Publish to "a\"b\\.é日\u200b\U000e0001"'"#).as_deref(),
            Some("a\"b\\.é日\u{200b}\u{e0001}")
        );
        assert_eq!(read("'Permissions Violation for Subscription to \"a\"'"), None);
        assert_eq!(read("'Permissions Violation for Publish to \"a\\"), None);
    }
}
