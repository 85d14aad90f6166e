//! Answers of vendors who take JSON over plain HTTP, and say in the body what they have refused. They say how
//! many events that were, and not which: none is sent twice.

use crate::sinks::verdict::{Verdict, shorten};
use bytes::Bytes;
use http::Response;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// What the answer means for a batch.
pub(super) fn verdict(response: &Response<Bytes>) -> Verdict {
    let refused = match response.status().as_u16() {
        200..=299 => openobserve(response.body()),
        400 => baselime(response.body()),
        406 => logflare(response.body()),
        _ => None,
    };
    match refused {
        Some((count, reason)) if count > 0 => Verdict::RejectedSome { count, reason: shorten(&reason) },
        Some(_) => Verdict::Delivered,
        None => Verdict::of_status(response),
    }
}

/// OpenObserve answers 200 whatever it stored: `{"code":200,"status":[{"failed":1,"error":"..."}]}`.
/// Source: openobserve's handler of log ingestion.
fn openobserve(body: &[u8]) -> Option<(usize, String)> {
    #[derive(Deserialize)]
    struct Answer {
        status: Vec<Stream>,
    }
    #[derive(Deserialize)]
    struct Stream {
        failed: usize,
        #[serde(default)]
        error: Value,
    }
    // Most answers are others', and most of OpenObserve's say that nothing has failed.
    memchr::memmem::find(body, b"\"failed\"")?;
    let streams = serde_json::from_slice::<Answer>(body).ok()?.status;
    let error = streams.iter().find(|stream| stream.failed > 0).map(|stream| text(&stream.error));
    let failed = streams.iter().map(|stream| stream.failed).fold(0, usize::saturating_add);
    Some((failed, error.unwrap_or_default()))
}

/// Baselime names the invalid events of a batch, and takes the others. Source: baselime's events API.
fn baselime(body: &[u8]) -> Option<(usize, String)> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        invalid: Vec<&'a RawValue>,
    }
    let invalid = serde_json::from_slice::<Answer>(body).ok()?.invalid;
    // Names of fields would be about the request as a whole.
    let is_event = |value: &&RawValue| value.get().starts_with('{');
    let first = invalid.first().filter(|_| invalid.iter().all(is_event))?;
    Some((invalid.len(), raw_text(first)))
}

/// Logflare lists the errors of events that do not fit their table, and takes the others. Source: logflare's log
/// controller; that there is an error for each event is unverified.
fn logflare(body: &[u8]) -> Option<(usize, String)> {
    #[derive(Deserialize)]
    struct Answer<'a> {
        #[serde(borrow)]
        message: Vec<&'a RawValue>,
    }
    let errors = serde_json::from_slice::<Answer>(body).ok()?.message;
    let first = errors.first()?;
    Some((errors.len(), raw_text(first)))
}

/// The text of a value that stands in the answer as it came, so that a long list of small ones takes little memory.
fn raw_text(value: &RawValue) -> String {
    serde_json::from_str::<String>(value.get()).unwrap_or_else(|_| shorten(value.get()))
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::verdict::describe;

    #[test]
    fn reads_what_vendors_refuse() {
        for (status, body, refused) in [
            (200, r#"{"code":200,"status":[{"name":"a","successful":3,"failed":0}]}"#, 0),
            (200, r#"{"code":200,"status":[{"failed":2,"error":"too old"},{"failed":1}]}"#, 3),
            (200, r#"{"code":200,"status":[{"failed":9,"error":{"x":1}}]}"#, 9),
            (200, r#"{"failed":"many"}"#, 0),
            (202, "", 0),
            (400, r#"{"message":"Invalid","invalid":[{"index":1},{"index":2}]}"#, 2),
            (406, r#"{"message":["type of `a` is wrong"]}"#, 1),
        ] {
            let response =
                Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).unwrap();
            match verdict(&response) {
                Verdict::Delivered => assert_eq!(refused, 0, "{body}"),
                Verdict::RejectedSome { count, .. } => assert_eq!(count, refused, "{body}"),
                other => panic!("{body}: {other:?}"),
            }
        }
        for (status, body) in [
            (400, "no JSON"),
            (400, r#"{"invalid":[]}"#),
            (400, r#"{"invalid":["api_key"]}"#),
            (406, r#"{"message":"no"}"#),
        ] {
            let response =
                Response::builder().status(status).body(Bytes::from_static(body.as_bytes())).unwrap();
            assert_eq!(verdict(&response), Verdict::Rejected { reason: describe(&response) });
        }
    }
}
