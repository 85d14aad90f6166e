//! What an answer says about a batch, and what of it may be shown.

use crate::redact::one_line;
use bytes::Bytes;
use http::header::RETRY_AFTER;
use http::{Request, Response};
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What an answer says about a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Verdict {
    /// The destination has it.
    Delivered,
    /// It has some: one verdict for each entry, in order. Those that are missing count as delivered.
    Partial(Vec<EntryVerdict>),
    /// It has refused so many entries for good and has the others, and it does not say which are which. So many
    /// count as rejected; but where there are dead letters, all of the batch become one, so that there may be more
    /// letters than rejected events.
    RejectedSome {
        /// How many it has refused.
        count: usize,
        /// Why, for the log.
        reason: String,
    },
    /// Not now; the destination may say after how long.
    Retry {
        /// The pause that it asks for.
        after: Option<Duration>,
    },
    /// Too much for one request: the batch is sent in two.
    TooLarge,
    /// The destination refuses us, not the events: a key that it does not know, an address where
    /// nobody listens. The batch is held and tried again, because a person can mend that.
    Unauthorized,
    /// Never.
    Rejected {
        /// Why, for the log.
        reason: String,
    },
    /// The destination lacks something that we may make: these requests, in order, and then the batch again.
    Missing {
        /// What makes it; a judge that says anything but [`Verdict::Delivered`] decides for the batch.
        first: Vec<SideRequest>,
    },
    /// It has the batch, but says only later whether it keeps it: ask now and then. A judge that says
    /// [`Verdict::Retry`] has not heard yet; after the last time, the batch is sent again.
    Confirm {
        /// What to ask.
        ask: Box<SideRequest>,
        /// The pause before each time.
        every: Duration,
        /// How many times.
        times: usize,
    },
}

/// A request beside that of a batch, and what its answer means.
#[derive(Clone)]
pub struct SideRequest {
    /// What to send.
    pub request: Request<Bytes>,
    /// What the answer says.
    pub judge: fn(&Response<Bytes>) -> Verdict,
}

/// Without headers and the path, in which there may be keys.
impl fmt::Debug for SideRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SideRequest({} to {:?})", self.request.method(), self.request.uri().host())
    }
}

impl PartialEq for SideRequest {
    /// The same thing to the same place.
    fn eq(&self, other: &SideRequest) -> bool {
        let parts = |side: &SideRequest| (side.request.method().clone(), side.request.uri().clone());
        parts(self) == parts(other) && self.request.body() == other.request.body()
    }
}

impl Eq for SideRequest {}

/// What an answer says about one entry of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryVerdict {
    /// The destination has it.
    Delivered,
    /// Not now.
    Retry,
    /// Never.
    Rejected {
        /// Its own status, where the destination gives one for each.
        status: Option<u16>,
        /// Why, for the log.
        reason: String,
    },
}

impl Verdict {
    /// The verdict with its reasons changed, as to take secrets out of them.
    pub(super) fn map_reasons(self, change: impl Fn(String) -> String) -> Verdict {
        match self {
            Verdict::Rejected { reason } => Verdict::Rejected { reason: change(reason) },
            Verdict::RejectedSome { count, reason } => {
                Verdict::RejectedSome { count, reason: change(reason) }
            }
            Verdict::Partial(mut entries) => {
                for entry in &mut entries {
                    if let EntryVerdict::Rejected { reason, .. } = entry {
                        *reason = change(std::mem::take(reason));
                    }
                }
                Verdict::Partial(entries)
            }
            other => other,
        }
    }

    /// What a status means where the vendor says nothing else: 2xx is delivered; 408, 429 and 5xx are
    /// tried again, as `Retry-After` says; 413 is too large; 401, 402 (somebody has to pay), 403, 404, 407 and
    /// redirects are held; anything else is rejected, with the beginning of the answer as the reason.
    pub fn of_status(response: &Response<Bytes>) -> Verdict {
        match response.status().as_u16() {
            200..=299 => Verdict::Delivered,
            408 | 429 | 500 | 502..=599 => Verdict::Retry { after: retry_after(response, SystemTime::now()) },
            413 => Verdict::TooLarge,
            300..=399 | 401..=404 | 407 => Verdict::Unauthorized,
            _ => Verdict::Rejected { reason: describe(response) },
        }
    }
}

/// The beginning of a destination's text, without control characters: fit for a line of the log.
pub fn shorten(text: &str) -> String {
    shorten_to(text, 300)
}

/// The same, of so many characters.
pub(crate) fn shorten_to(text: &str, most: usize) -> String {
    one_line(text, most)
}

/// Why a request was in vain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Reason {
    /// Our own words; without secrets.
    pub(super) text: String,
    /// What the destination said, if it said something: that may repeat what it was sent, also events.
    pub(super) answer: Option<String>,
}

impl Reason {
    /// What an answer says: its status, and the beginning of its body.
    pub(super) fn of(response: &Response<Bytes>) -> Reason {
        let answer = shorten(&String::from_utf8_lossy(response.body()));
        Reason {
            text: format!("status {}", response.status()),
            answer: Some(answer).filter(|answer| !answer.is_empty()),
        }
    }

    /// The same with both of its parts changed, as to take secrets out of them.
    pub(super) fn map(self, change: impl Fn(String) -> String) -> Reason {
        Reason { text: change(self.text), answer: self.answer.map(change) }
    }
}

/// Both parts, for a person who may read everything: the log, a dead letter.
impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Some(answer) => write!(f, "{}: {answer}", self.text),
            None => f.write_str(&self.text),
        }
    }
}

impl From<String> for Reason {
    fn from(text: String) -> Reason {
        Reason { text, answer: None }
    }
}

/// The status and the beginning of the body.
pub fn describe(response: &Response<Bytes>) -> String {
    Reason::of(response).to_string()
}

/// `Retry-After`: seconds, or a date (RFC 9110 section 10.2.3).
pub(super) fn retry_after(response: &Response<Bytes>, now: SystemTime) -> Option<Duration> {
    let text = response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let date = chrono::DateTime::parse_from_rfc2822(text).ok()?;
    let date = UNIX_EPOCH + Duration::from_secs(u64::try_from(date.timestamp()).ok()?);
    Some(date.duration_since(now).unwrap_or_default())
}

/// What of a request is a secret, and may be repeated by a destination; it must not reach the log that way.
pub(super) fn secrets_of(request: &Request<Bytes>) -> impl Iterator<Item = &str> {
    let values = request.headers().values().filter(|value| value.is_sensitive());
    let values = values.filter_map(|value| value.to_str().ok());
    let of_headers = values.flat_map(|value| [Some(value), value.split_once(' ').map(|(_, secret)| secret)]);
    // A key may stand in a query.
    let query = request.uri().query().unwrap_or_default();
    let of_query = query.split(['&', '=']).filter(|part| part.len() >= LONG);
    of_headers.flatten().chain(of_query)
}

/// Letters of what may be a key, and is no ordinary word.
const LONG: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::redact::Redactor;
    use http::HeaderValue;

    fn hide_secrets(text: &str, request: &Request<Bytes>) -> String {
        Redactor::new(secrets_of(request)).hide(text)
    }

    fn response(status: u16, headers: &[(&str, &str)], body: &str) -> Response<Bytes> {
        let builder = headers
            .iter()
            .fold(Response::builder().status(status), |builder, (name, value)| builder.header(*name, *value));
        builder.body(Bytes::copy_from_slice(body.as_bytes())).unwrap()
    }

    #[test]
    fn statuses_have_their_usual_meaning() {
        let retry = Verdict::Retry { after: None };
        for (status, verdict) in [
            (200, Verdict::Delivered),
            (204, Verdict::Delivered),
            (301, Verdict::Unauthorized),
            (401, Verdict::Unauthorized),
            (403, Verdict::Unauthorized),
            (404, Verdict::Unauthorized),
            (408, retry.clone()),
            (413, Verdict::TooLarge),
            (429, retry.clone()),
            (500, retry.clone()),
            (503, retry),
        ] {
            assert_eq!(Verdict::of_status(&response(status, &[], "")), verdict, "{status}");
        }
        for status in [400, 422, 501] {
            assert!(
                matches!(Verdict::of_status(&response(status, &[], "")), Verdict::Rejected { .. }),
                "{status}"
            );
        }
    }

    #[test]
    fn reads_retry_after() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_767);
        for (text, expected) in [
            ("3", Some(3)),
            (" 120 ", Some(120)),
            ("Sun, 06 Nov 1994 08:49:37 GMT", Some(10)),
            ("Sun, 06 Nov 1994 08:49:00 GMT", Some(0)),
            ("-1", None),
            ("soon", None),
        ] {
            let after = retry_after(&response(429, &[("retry-after", text)], ""), now);
            assert_eq!(after.map(|after| after.as_secs()), expected, "{text}");
        }
        assert_eq!(retry_after(&response(429, &[], ""), now), None);
    }

    #[test]
    fn an_answer_is_described_shortly_and_without_our_keys() {
        let text = describe(&response(400, &[], &format!("bad\n\x1b[31m key s3cr3t {}", "x".repeat(5000))));
        assert!(
            text.starts_with("status 400 Bad Request: bad  [31m key s3cr3t x") && text.len() < 400,
            "{text}"
        );
        let mut request = Request::new(Bytes::new());
        let mut key = HeaderValue::from_static("Bearer s3cr3t");
        key.set_sensitive(true);
        request.headers_mut().insert("authorization", key);
        assert!(!hide_secrets(&text, &request).contains("s3cr3t"));
    }

    #[test]
    fn what_a_destination_says_is_kept_apart_from_our_words() {
        // Also where it looks like ours.
        let body = "status 200 OK: user@example.org has signed in";
        let reason = Reason::of(&response(503, &[], body));
        assert_eq!(
            (reason.text.as_str(), reason.answer.as_deref()),
            ("status 503 Service Unavailable", Some(body))
        );
        assert_eq!(reason.to_string(), format!("status 503 Service Unavailable: {body}"));
        assert_eq!(Reason::of(&response(503, &[], " \n")).answer, None);
        let hidden = reason.map(|text| text.replace("user", "**").replace("50", "**"));
        assert_eq!(
            hidden.to_string(),
            "status **3 Service Unavailable: status 200 OK: **@example.org has signed in"
        );
    }

    #[test]
    fn parts_of_secrets_are_hidden_too() {
        let mut request =
            Request::post("https://h/in?source=0123456789abcdef&a=b").body(Bytes::new()).unwrap();
        let mut dsn = HeaderValue::from_static("https://s3cr3t-s3cr3t@uptrace.dev/1");
        dsn.set_sensitive(true);
        request.headers_mut().insert("uptrace-dsn", dsn);
        for (text, shown) in [
            ("bad key s3cr3t-s3cr3t.", "bad key **REDACTED**."),
            ("no source 0123456789abcdef", "no source **REDACTED**"),
            ("cut off: s3cr3t-s", "cut off: **REDACTED**"),
            ("a=b and s3c", "a=b and s3c"),
        ] {
            assert_eq!(hide_secrets(text, &request), shown);
        }
    }
}
