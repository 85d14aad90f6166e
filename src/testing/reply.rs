//! What the server answers.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use std::time::Duration;

/// What an [`HttpServer`](super::HttpServer) does about one request.
///
/// ```
/// use log_shipper::testing::Reply;
/// use std::time::Duration;
///
/// let wait_a_second = Reply::status(429).header("Retry-After", "1");
/// let slow = Reply::status(200).body(r#"{"ok":true}"#).late(Duration::from_millis(50));
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Reply {
    /// Answers; [`Reply::status`] makes one.
    Answer {
        /// The status.
        status: StatusCode,
        /// The headers, without those that HTTP itself needs.
        headers: HeaderMap,
        /// The body, as it goes over the wire.
        body: Bytes,
    },
    /// Takes the request and never answers.
    Never,
    /// Takes the request and resets the connection.
    Reset,
    /// Takes the request, and replies after so long.
    Late(Duration, Box<Reply>),
}

impl Reply {
    /// The same after so long.
    #[must_use]
    pub fn late(self, pause: Duration) -> Reply {
        Reply::Late(pause, Box::new(self))
    }

    /// An answer with this status and no body.
    ///
    /// # Panics
    ///
    /// If it is no status: less than 100, or more than 999.
    pub fn status(status: u16) -> Reply {
        let Ok(status) = StatusCode::from_u16(status) else { panic!("{status} is no status") };
        Reply::Answer { status, headers: HeaderMap::new(), body: Bytes::new() }
    }

    /// The same answer with one more header.
    ///
    /// # Panics
    ///
    /// If it is no answer, or the header is none that can be sent.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> Reply {
        let Reply::Answer { headers, .. } = &mut self else {
            panic!("{self:?} has no headers");
        };
        let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) else {
            panic!("`{name}: {value}` is no header");
        };
        headers.append(name, value);
        self
    }

    /// The same answer with this body.
    ///
    /// # Panics
    ///
    /// If it is no answer.
    #[must_use]
    pub fn body(mut self, text: impl Into<Bytes>) -> Reply {
        let Reply::Answer { body, .. } = &mut self else {
            panic!("{self:?} has no body");
        };
        *body = text.into();
        self
    }
}
