//! [`Pulls`]: the requests for messages that a server has of us.

use super::jetstream_api::{ConsumerConfig, PullOptions, Status};
use serde_json::json;
use std::collections::VecDeque;
use std::time::Duration;
use tokio::time::Instant;

/// Requests for messages, in the order in which they are served.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    requests: VecDeque<Pull>,
    /// The next message is larger than what we ask for at once.
    is_too_large: bool,
    /// It is larger than what anybody may ask for.
    is_stuck: bool,
}

#[derive(Clone, Copy, Debug)]
struct Pull {
    number: u64,
    /// How many messages are still to come.
    remaining: usize,
    /// When the server has forgotten it for certain.
    until: Instant,
    /// It asks for one message, however large.
    is_for_one: bool,
}

/// What is asked for at once.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    batch: usize,
    /// 0 is no limit.
    max_bytes: usize,
    expires: Duration,
    is_for_one: bool,
}

/// How long a request waits for messages.
const EXPIRES: Duration = Duration::from_secs(30);
/// How often the server says that it is there while it has none; twice this without a word is too long.
pub(super) const HEARTBEAT: Duration = Duration::from_millis(2500);

impl Pulls {
    /// The next request, when half of what was asked for has come.
    pub(super) fn next(&mut self, options: &PullOptions, limits: &ConsumerConfig) -> Option<Request> {
        let wanted = limits.batch(options.batch);
        let expected: usize = self.requests.iter().map(|pull| pull.remaining).sum();
        if expected > wanted / 2 {
            return None;
        }
        let is_for_one = std::mem::take(&mut self.is_too_large);
        let (batch, max_bytes) = match is_for_one {
            true => (1, limits.max_bytes(0)),
            false => (wanted - expected, limits.max_bytes(options.max_bytes)),
        };
        Some(Request { batch, max_bytes, expires: limits.expires(EXPIRES), is_for_one })
    }

    /// A request has been written.
    pub(super) fn push(&mut self, number: u64, request: &Request, now: Instant) {
        let until = now + request.expires + 2 * HEARTBEAT;
        let Request { batch: remaining, is_for_one, .. } = *request;
        self.requests.push_back(Pull { number, remaining, until, is_for_one });
    }

    /// So many messages have come.
    pub(super) fn delivered(&mut self, mut messages: usize) {
        while messages > 0
            && let Some(first) = self.requests.front_mut()
        {
            let of_first = first.remaining.min(messages);
            first.remaining -= of_first;
            messages -= of_first;
            if first.remaining == 0 {
                self.requests.pop_front();
            }
        }
    }

    /// The server has said something of a request; whether that is one of ours.
    pub(super) fn heard(&mut self, number: u64, status: Status) -> bool {
        let Some(index) = self.requests.iter().position(|pull| pull.number == number) else { return false };
        let is_too_large = status == Status::TooLarge;
        self.is_stuck = is_too_large && self.requests[index].is_for_one;
        if status != Status::Heartbeat {
            self.requests.remove(index);
        }
        self.is_too_large |= is_too_large;
        true
    }

    /// Whether the request that was just heard of could not be made for a larger message.
    pub(super) fn is_stuck(&self) -> bool {
        self.is_stuck
    }

    /// Leaves out those that the server has forgotten, if it has not told.
    pub(super) fn forget_old(&mut self, now: Instant) {
        self.requests.retain(|pull| pull.until > now);
    }

    pub(super) fn clear(&mut self) {
        self.requests.clear();
        self.is_too_large = false;
    }

    pub(super) fn is_empty(&self) -> bool {
        self.requests.is_empty()
    }
}

impl Request {
    /// As JetStream wants it.
    pub(super) fn text(&self) -> String {
        let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
        let mut text = json!({
            "batch": self.batch,
            "expires": nanos(self.expires),
            // At most half of that is allowed.
            "idle_heartbeat": nanos(HEARTBEAT.min(self.expires / 3)),
        });
        if self.max_bytes > 0 {
            text["max_bytes"] = self.max_bytes.into();
        }
        text.to_string()
    }
}
