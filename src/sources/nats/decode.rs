//! [`Decoder`]: messages to events.

use super::DecodingCodec;
use crate::event::{LogEvent, Path, Timestamp};
use crate::nats::{Message, Payload, SubjectFilter};

/// The size of a block that a slow stream's messages are slices of.
const LEAST_BLOCK: usize = 16 << 10;

/// Messages to events.
#[derive(Debug)]
pub(super) struct Decoder {
    pub(super) subjects: Vec<SubjectFilter>,
    pub(super) has_queue: bool,
    pub(super) exclude: Vec<SubjectFilter>,
    pub(super) codec: DecodingCodec,
    pub(super) subject_key: Option<Path>,
}

#[derive(Debug, Default)]
pub(super) struct Decoded {
    pub(super) events: Vec<LogEvent>,
    pub(super) excluded: usize,
    pub(super) undecodable: usize,
}

impl Decoder {
    /// Whether a message on this subscription is one that we want; one that is excluded is counted.
    fn wants(&self, message: &Message, decoded: &mut Decoded) -> bool {
        let subject = &*message.subject;
        // Subjects may overlap, and then the server sends a message once for each of them. In a queue
        // group it sends it once in all, on any of them.
        let earlier = if self.has_queue { &[] } else { &self.subjects[..message.subscription] };
        if earlier.iter().any(|earlier| earlier.matches(subject)) {
            return false;
        }
        let is_excluded = self.excludes(message);
        decoded.excluded += usize::from(is_excluded);
        !is_excluded
    }

    /// Whether a message is to be left out.
    pub(super) fn excludes(&self, message: &Message) -> bool {
        self.exclude.iter().any(|filter| filter.matches(&message.subject))
    }

    /// The events of a chunk.
    pub(super) fn decode(&self, mut messages: Vec<Message>) -> Decoded {
        let received = Timestamp::now();
        let mut decoded = Decoded::default();
        let size = |messages: &[Message]| -> usize {
            messages.iter().map(|message| message.subject.len() + message.payload.as_bytes().len()).sum()
        };
        let all = size(&messages);
        messages.retain(|message| self.wants(message, &mut decoded));
        // A message is a slice of a block that was read. If most of that is not wanted, what is gets memory
        // of its own, so that a buffer full of events is not a multiple of its size.
        let chooses = !self.exclude.is_empty() || self.subjects.len() > 1 && !self.has_queue;
        if chooses && size(&messages) < all.max(LEAST_BLOCK) / 2 {
            messages.iter_mut().for_each(Message::detach);
            messages.shrink_to_fit();
        }
        decoded.events.reserve_exact(messages.len());
        for message in messages {
            let (event, is_decoded) = self.event(message, received);
            decoded.undecodable += usize::from(!is_decoded);
            decoded.events.push(event);
        }
        decoded
    }

    /// The event of a message, and whether the payload was what the codec says.
    pub(super) fn event(&self, message: Message, received: Timestamp) -> (LogEvent, bool) {
        let Message { subject, payload, .. } = message;
        let mut is_decoded = true;
        let mut event = match self.codec {
            DecodingCodec::Json => {
                let checked = match payload {
                    Payload::Text(text) => LogEvent::from_json_text(text, received).map_err(Payload::Text),
                    binary @ Payload::Binary(_) => Err(binary),
                };
                checked.unwrap_or_else(|payload| {
                    is_decoded = false;
                    LogEvent::from_text(payload.as_bytes(), Some(&subject), received)
                })
            }
            DecodingCodec::Bytes => {
                let mut event = LogEvent::from_message(payload.as_bytes(), received);
                event.insert_missing(&Path::root_field("source_type"), "nats");
                event
            }
        };
        if let Some(path) = &self.subject_key {
            event.insert_missing(path, &subject);
        }
        (event.with_subject(subject), is_decoded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::json::MAX_DEPTH;

    fn filters(texts: &[&str]) -> Vec<SubjectFilter> {
        texts.iter().map(|text| SubjectFilter::parse(text).unwrap()).collect()
    }

    fn message(subscription: usize, subject: &str, payload: &[u8]) -> Message {
        Message {
            subscription,
            subject: subject.into(),
            payload: bytes::Bytes::copy_from_slice(payload).into(),
        }
    }

    #[test]
    fn a_message_for_two_subjects_is_one_event() {
        let subjects = filters(&["logs.a.>", "logs.*.ord.*", ">"]);
        let decoder = Decoder {
            subjects,
            has_queue: false,
            exclude: vec![],
            codec: DecodingCodec::Json,
            subject_key: None,
        };
        for (subject, copies) in [("logs.a.ord.1", 3), ("logs.b.ord.1", 2), ("logs.b.ams.1", 1)] {
            let copies = (3 - copies..3).map(|subscription| message(subscription, subject, b"{}"));
            let events: usize = copies.map(|copy| decoder.decode(vec![copy]).events.len()).sum();
            assert_eq!(events, 1, "{subject}");
        }
    }

    #[track_caller]
    fn check(decoder: &Decoder, subject: &str, payload: &[u8], expected: &str) {
        let decoded = decoder.decode(vec![message(0, subject, payload)]);
        let text = decoded.events[0].json().into_owned();
        let at = text.find("\"timestamp\":\"").filter(|_| expected.contains("TIME"));
        let text = match at {
            Some(at) => format!("{}TIME{}", &text[..at + 13], &text[at + 43..]),
            None => text,
        };
        assert_eq!(text, expected);
    }

    #[test]
    fn an_object_stays_as_it_came_and_anything_else_becomes_a_message() {
        let mut decoder = Decoder {
            subjects: filters(&["logs.>"]),
            has_queue: false,
            exclude: vec![],
            codec: DecodingCodec::Json,
            subject_key: None,
        };
        check(&decoder, "logs.a.ord.1", br#"{ "a" : 1 }"#, r#"{ "a" : 1 }"#);
        let fly = r#""fly":{"app":{"instance":"1","name":"a"},"region":"ord"}"#;
        check(&decoder, "logs.a.ord.1", b"x", &format!(r#"{{"message":"x",{fly},"timestamp":"TIME"}}"#));
        decoder.subject_key = Some(Path::parse("subject").unwrap());
        check(&decoder, "logs.a.ord.1", br#"{"a":1}"#, r#"{"a":1,"subject":"logs.a.ord.1"}"#);
        check(&decoder, "logs.a.ord.1", br#"{"subject":1}"#, r#"{"subject":1}"#);
        check(&decoder, "logs.a.ord.1", br#"{}"#, r#"{"subject":"logs.a.ord.1"}"#);
        decoder.codec = DecodingCodec::Bytes;
        check(
            &decoder,
            "s",
            br#"{"a":1}"#,
            r#"{"message":"{\"a\":1}","timestamp":"TIME","source_type":"nats","subject":"s"}"#,
        );
    }

    /// One level more than an event may have, or any number of them: the text is kept whole, as a message.
    #[test]
    fn what_is_nested_too_deeply_becomes_a_message() {
        let decoder = Decoder {
            subjects: filters(&[">"]),
            has_queue: false,
            exclude: vec![],
            codec: DecodingCodec::Json,
            subject_key: None,
        };
        for (depth, is_object) in
            [(MAX_DEPTH - 1, true), (MAX_DEPTH, true), (MAX_DEPTH + 1, false), (100_000, false)]
        {
            for (open, close) in [("{\"a\":", "}"), ("[", "]")] {
                let inner = depth - 1;
                let payload = format!("{{\"a\":{}1{}}}", open.repeat(inner), close.repeat(inner));
                let decoded = decoder.decode(vec![message(0, "logs", payload.as_bytes())]);
                let [event] = &decoded.events[..] else { panic!("one event") };
                if is_object {
                    assert_eq!(event.json(), payload);
                } else {
                    let event: serde_json::Value = serde_json::from_str(&event.json()).unwrap();
                    assert_eq!(event["message"], payload, "{depth} levels");
                }
            }
        }
    }

    #[test]
    fn excluded_subjects_are_counted_and_left_out() {
        let decoder = Decoder {
            subjects: filters(&["logs.>"]),
            has_queue: false,
            exclude: filters(&["logs.noisy.>", "logs.*.ord.*"]),
            codec: DecodingCodec::Json,
            subject_key: None,
        };
        let subjects = ["logs.a.ams.1", "logs.noisy.ams.1", "logs.a.ord.1", "logs.b.syd.2"];
        let decoded = decoder.decode(subjects.map(|subject| message(0, subject, b"{}")).into());
        assert_eq!((decoded.events.len(), decoded.excluded), (2, 2));
        assert_eq!(decoded.events[1].app().as_deref(), Some("b"));
    }
}
