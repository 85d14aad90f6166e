//! The bulk API's lines and answers.

use crate::event::json;
use crate::sinks::codec::Splice;
use crate::sinks::verdict::{EntryVerdict, Verdict, shorten};
use bytes::Bytes;
use http::Response;
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;
use std::fmt;

/// As many documents' answers are of a size that is read whole.
pub(in crate::sinks) const MAX_DOCUMENTS: usize = 10_000;

/// What is done with a document.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::sinks) enum Action {
    Index,
    Create,
    Update,
}

impl Action {
    /// The action of this name.
    ///
    /// # Errors
    /// If there is none.
    pub(super) fn parse(name: &str) -> Result<Action, String> {
        match name {
            "index" => Ok(Action::Index),
            "create" => Ok(Action::Create),
            "update" => Ok(Action::Update),
            _ => Err(format!("`{name}` is unknown; expected `index`, `create` or `update`")),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Action::Index => "index",
            Action::Create => "create",
            Action::Update => "update",
        }
    }
}

/// Appends the line before a document, without its end.
pub(in crate::sinks) fn write_action(
    action: Action,
    index: &str,
    doc_type: Option<&str>,
    more: &[(&str, Cow<'_, str>)],
    out: &mut Vec<u8>,
) {
    let mut line = Splice::open(out);
    let mut members = Splice::open(line.key(action.as_str()));
    members.string("_index", index);
    if let Some(doc_type) = doc_type {
        members.string("_type", doc_type);
    }
    for (name, value) in more {
        match *name {
            // It has been checked to be a number.
            "version" => members.key(name).extend_from_slice(value.as_bytes()),
            _ => json::write_string(value, members.key(name)),
        }
    }
    members.close();
    line.close();
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    errors: bool,
    #[serde(default)]
    items: Vec<Entry>,
}

/// `{"create": {"status": 201}}`: a map of one, and as such, without the room of a map: there may be many.
struct Entry(Option<(Box<str>, Item)>);

impl<'de> Deserialize<'de> for Entry {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Entry, D::Error> {
        struct First;
        impl<'de> Visitor<'de> for First {
            type Value = Entry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an action and what became of it")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Entry, A::Error> {
                let first = map.next_entry()?;
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Entry(first))
            }
        }
        deserializer.deserialize_map(First)
    }
}

#[derive(Deserialize)]
struct Item {
    #[serde(default)]
    status: u16,
    /// An object with a type and a reason, or, from other servers, a text.
    #[serde(default)]
    error: serde_json::Value,
}

/// What the answer to a bulk request of so many documents means: documents that are stored or that were
/// there already are delivered, 429 and 5xx come again, any other status is that document's alone.
pub(in crate::sinks) fn verdict(response: &Response<Bytes>, documents: usize) -> Verdict {
    if !response.status().is_success() {
        return Verdict::of_status(response);
    }
    let answer = match serde_json::from_slice::<Answer>(response.body()) {
        Ok(answer) => answer,
        // Some of it has failed, and the answer is too long to say what: halves have shorter ones.
        Err(_) if has_errors(response.body()) => return Verdict::TooLarge,
        Err(_) => return Verdict::Delivered,
    };
    if !answer.errors || answer.items.len() != documents {
        return if answer.errors { Verdict::TooLarge } else { Verdict::Delivered };
    }
    let entry = |Entry(item)| match item {
        None => EntryVerdict::Delivered,
        Some((action, item)) => match item.status {
            200..=299 => EntryVerdict::Delivered,
            // It has come before, and the answer was lost.
            409 if &*action == "create" => EntryVerdict::Delivered,
            429 | 500..=599 => EntryVerdict::Retry,
            status => EntryVerdict::Rejected {
                status: Some(status),
                reason: format!("status {status}: {}", reason(&item.error)),
            },
        },
    };
    Verdict::Partial(answer.items.into_iter().map(entry).collect())
}

/// Whether an answer that cannot be read as a whole says that something has failed.
fn has_errors(body: &[u8]) -> bool {
    let Some(at) = memchr::memmem::find(body, b"\"errors\"") else { return false };
    let rest: Vec<u8> =
        body[at..].iter().filter(|byte| !byte.is_ascii_whitespace()).take(13).copied().collect();
    rest == b"\"errors\":true"
}

fn reason(error: &serde_json::Value) -> String {
    let text = |name: &str| error.get(name).and_then(serde_json::Value::as_str).unwrap_or_default();
    match error {
        serde_json::Value::Object(_) => shorten(&format!("{}: {}", text("type"), text("reason"))),
        serde_json::Value::String(text) => shorten(text),
        _ => "no reason given".to_owned(),
    }
}
