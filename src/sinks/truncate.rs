//! Events that are larger than a destination takes: their message is cut, with a word on how much is gone.

use crate::event::LogEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// What becomes of an event that is larger than the destination takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Oversized {
    /// Its message is cut so that it fits, and the event is counted as truncated.
    #[default]
    Truncate,
    /// It is rejected.
    Reject,
}

/// The text in at most so many bytes, cut at a character's boundary, with a marker that says how many
/// bytes are gone: `... [truncated 1234 bytes]`. Nothing of it, if there is no room for the marker.
pub fn truncate(text: &str, most: usize) -> Cow<'_, str> {
    if text.len() <= most {
        return Cow::Borrowed(text);
    }
    // The marker for all of it is as long as any.
    let marker = |gone: usize| format!("... [truncated {gone} bytes]");
    let kept = text.floor_char_boundary(most.saturating_sub(marker(text.len()).len()));
    if kept == 0 {
        return Cow::Borrowed("");
    }
    Cow::Owned(format!("{}{}", &text[..kept], marker(text.len() - kept)))
}

/// The event with a message of so many bytes, if its own is longer.
pub(super) fn with_shorter_message(event: &LogEvent, most: usize) -> Option<LogEvent> {
    // Most events are as a whole no longer than that, and need not be looked into.
    let message = if event.body_size() > most { event.message() } else { None };
    let message = message.filter(|message| message.len() > most)?;
    Some(event.with_message(&truncate(&message, most)))
}

/// Encodes an event into at most `limit` bytes, with a shorter message where that is needed and helps;
/// says whether the message was cut. What is still too large afterwards is for others to refuse.
pub(super) fn encode_within<E>(
    event: &LogEvent,
    limit: usize,
    out: &mut Vec<u8>,
    mut encode: impl FnMut(&LogEvent, &mut Vec<u8>) -> Result<(), E>,
) -> Result<bool, E> {
    let start = out.len();
    encode(event, out)?;
    let size = out.len() - start;
    let message = if size > limit { event.message() } else { None };
    let Some(message) = message else { return Ok(false) };
    // First as if every byte of the message took its share of the whole, escapes and all; then, each byte
    // that goes takes at least itself away.
    let mut most = usize::try_from(message.len() as u64 * limit as u64 / size as u64).unwrap_or(limit);
    for _ in 0..2 {
        out.truncate(start);
        let cut = truncate(&message, most);
        encode(&event.with_message(&cut), out)?;
        match (out.len() - start).checked_sub(limit) {
            None | Some(0) => return Ok(true),
            Some(excess) => most = cut.len().saturating_sub(excess),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn says_how_much_is_gone() {
        assert_eq!(truncate("short", 5), "short");
        let long = "é".repeat(50);
        assert_eq!(truncate(&long, 42), format!("{}... [truncated 84 bytes]", "é".repeat(8)));
        assert_eq!(truncate(&long, 5), "", "no room for the marker");
    }

    proptest! {
        #[test]
        fn fits_and_is_a_beginning(text in any::<String>(), most in 0..200usize) {
            let cut = truncate(&text, most);
            prop_assert!(cut.len() <= most);
            let kept = cut.split("... [truncated ").next().unwrap_or_default();
            prop_assert!(text.starts_with(kept));
        }

        /// A limit that leaves room for the marker and for what is not the message is kept.
        #[test]
        fn an_event_is_cut_to_the_limit(message in "[\"\\\\a-zé\n🚀]{0,400}", limit in 150..300usize) {
            let text = serde_json::json!({"n": 1, "message": message, "timestamp": "2026-11-22T05:00:00Z"}).to_string();
            let event = LogEvent::from_json(text.clone().into()).unwrap();
            let mut out = b"before".to_vec();
            let copy = |event: &LogEvent, out: &mut Vec<u8>| {
                out.extend_from_slice(event.json().as_bytes());
                Ok::<_, ()>(())
            };
            let is_cut = encode_within(&event, limit, &mut out, copy).unwrap();
            prop_assert_eq!(is_cut, text.len() > limit);
            let sent: serde_json::Value = serde_json::from_slice(&out[6..]).unwrap();
            prop_assert!(out.len() - 6 <= limit);
            prop_assert_eq!(sent["n"].as_u64(), Some(1));
            if !is_cut {
                prop_assert_eq!(sent["message"].as_str(), Some(message.as_str()));
            }
        }
    }
}
