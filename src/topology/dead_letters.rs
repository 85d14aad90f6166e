//! [`DeadLetters`]: events that a sink has refused for good, on their way to where somebody can look at them.
//!
//! A dead letter is an event of its own: a JSON object with the event as it came, the sink that refused it, the
//! reason, the status of the destination's answer, how often it was sent, and the time. It goes to a sink like any
//! other, which nothing else feeds; what that refuses is lost, and its source hears that it has failed.

use super::buffer::BufferSender;
use super::outcome::Rejection;
use crate::event::{LogEvent, Timestamp, json};
use crate::finalizer::EventStatus;

/// Where the refused events of one sink go.
#[derive(Clone, Debug)]
pub(super) struct DeadLetters {
    sink: String,
    buffer: BufferSender,
}

impl DeadLetters {
    pub(super) fn new(sink: &str, buffer: BufferSender) -> DeadLetters {
        DeadLetters { sink: sink.to_owned(), buffer }
    }

    /// Waits until there is room for more.
    pub(super) async fn room(&self) {
        self.buffer.room().await;
    }

    /// Makes letters of these events. Their receipts say that they were refused, once the letters have been
    /// written; if one is lost, they say that the event may be tried again.
    pub(super) fn write(&self, events: Vec<LogEvent>, rejection: &Rejection) {
        let now = Timestamp::now();
        let letters = events.into_iter().map(|mut event| {
            let finalizers = event.take_finalizers();
            finalizers.note(EventStatus::Rejected);
            self.letter(&event, rejection, now).with_finalizers(finalizers)
        });
        self.buffer.send_now(letters.collect());
    }

    fn letter(&self, event: &LogEvent, rejection: &Rejection, now: Timestamp) -> LogEvent {
        let mut text = Vec::with_capacity(event.body_size() + 256);
        let mut string = |name: &str, value: &str| {
            text.extend_from_slice(if text.is_empty() { b"{\"" } else { b",\"" });
            text.extend_from_slice(name.as_bytes());
            text.extend_from_slice(b"\":");
            json::write_string(value, &mut text);
        };
        string("timestamp", &now.to_rfc3339());
        string("sink", &self.sink);
        string("reason", &rejection.reason);
        if let Some(subject) = event.subject() {
            string("subject", subject);
        }
        string("received", &event.received().to_rfc3339());
        if let Some(status) = rejection.status {
            text.extend_from_slice(format!(",\"status\":{status}").as_bytes());
        }
        text.extend_from_slice(format!(",\"attempts\":{},\"event\":", rejection.attempts).as_bytes());
        let head = text.len();
        text.extend_from_slice(event.json().as_bytes());
        text.push(b'}');
        let letter = letter_of(&text, now).unwrap_or_else(|| {
            // With as many levels as an event may have, it has one too many here: it goes as a string.
            text.truncate(head);
            json::write_string(&event.json(), &mut text);
            text.push(b'}');
            letter_of(&text, now).unwrap_or_else(|| LogEvent::from_message(&text, now))
        });
        letter.with_subject(event.subject().unwrap_or_default().into())
    }
}

fn letter_of(text: &[u8], now: Timestamp) -> Option<LogEvent> {
    LogEvent::from_json_text(String::from_utf8_lossy(text).into_owned().into(), now).ok()
}

#[cfg(test)]
mod tests {
    use super::super::buffer::{BufferSettings, Capacity, WhenFull, buffer};
    use super::*;
    use crate::finalizer::{BatchNotifier, EventFinalizers};
    use crate::topology::{Outcome, SinkCounts};
    use std::sync::Arc;

    #[tokio::test]
    async fn a_letter_has_the_event_and_its_receipts() {
        let settings =
            BufferSettings { capacity: Capacity::Events(10), when_full: WhenFull::Block, acknowledges: true };
        let (sender, mut receiver) = buffer(settings, Arc::default());
        let dead_letters = DeadLetters::new("loki", sender);
        let deep = format!("{}1{}", "{\"a\":".repeat(127), "}".repeat(127));
        for (text, status, written) in [
            ("{\"n\": 1}", Some(400), "{\"n\": 1}"),
            (deep.as_str(), None, &*serde_json::to_string(&deep).unwrap()),
        ] {
            let (batch, mut answer) = BatchNotifier::new_with_receiver();
            let event = LogEvent::from_json(text.to_owned().into()).unwrap();
            let event = event.with_subject("logs.a".into()).with_finalizers(EventFinalizers::new(batch));
            let rejection = Rejection { reason: "a \"bad\" line".into(), status, attempts: 3 };
            dead_letters.write(vec![event], &rejection);
            let letters = receiver.recv().await.unwrap();
            let json = letters[0].json().into_owned();
            assert!(
                json.starts_with("{\"timestamp\":\"20") && json.ends_with(&format!("\"event\":{written}}}")),
                "{json}"
            );
            let letter: serde_json::Value = serde_json::from_str(&json).unwrap();
            let fields = (&letter["sink"], &letter["reason"], &letter["subject"], letter["status"].as_u64());
            let expected =
                (&"loki".into(), &"a \"bad\" line".into(), &"logs.a".into(), status.map(u64::from));
            assert_eq!(fields, expected);
            assert!(answer.try_recv().is_err(), "answered before the letter was written");
            SinkCounts::default().settle_events(letters, &Outcome::Delivered);
            assert_eq!(answer.try_recv(), Ok(EventStatus::Rejected));
        }
    }
}
