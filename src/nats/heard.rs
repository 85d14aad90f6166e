//! [`Heard`]: what one read from a connection to JetStream has brought.

use super::connection_log::ConnectionLog;
use super::jetstream_api::{AckSubject, Status, status};
use super::link::{Info, Link, LinkError, is_permissions_violation};
use super::message::Message;
use super::protocol::{Op, parse, shown};
use std::ops::Range;

/// What one read has brought.
#[derive(Default)]
pub(super) struct Heard {
    /// Each with the subject for its acknowledgement, and what that says.
    pub(super) messages: Vec<(Message, Box<str>, AckSubject)>,
    /// Of requests for messages, by their numbers; with the status in words.
    pub(super) statuses: Vec<(u64, Status, String)>,
    /// To questions: number, status, text.
    pub(super) answers: Vec<(u64, Option<u16>, Vec<u8>)>,
    pub(super) infos: Vec<Info>,
    pub(super) pongs: u32,
}

/// Our number of the subscription on which messages come, and what is said of requests for them.
pub(super) const MESSAGES: u64 = 1;
/// Our number of the subscription on which questions are answered.
const ANSWERS: u64 = 2;

/// What a user must be allowed.
const NEEDED: &str =
    "; the user must be allowed to publish to $JS.API.CONSUMER.> and $JS.ACK.>, and to subscribe to _INBOX.>";

impl Heard {
    /// Takes every whole operation from what has been read, and what was wrong behind them.
    pub(super) fn take(link: &mut Link, log: &ConnectionLog) -> (Heard, Result<(), LinkError>) {
        let mut heard = Heard::default();
        let (mut at, mut messages) = (0, Vec::new());
        let taken = loop {
            let rest = &link.input[at..];
            let (op, length) = match parse(rest) {
                Ok(Some(parsed)) => parsed,
                Ok(None) => break Ok(()),
                Err(error) => break Err(error.into()),
            };
            match op {
                Op::Message { sid: MESSAGES, subject, reply, headers, payload } => {
                    let shift = |range: Range<usize>| range.start + at..range.end + at;
                    if let Some(ack) = AckSubject::parse(&rest[reply.clone()]) {
                        messages.push((shift(subject), shift(reply), shift(payload), ack));
                    } else if let Some((code, text)) = status(&rest[headers])
                        && let Some(number) = last_number(&rest[subject])
                    {
                        let words = format!("{code} {}", shown(text.as_bytes()));
                        heard.statuses.push((number, Status::new(code, text), words));
                    }
                }
                Op::Message { sid: ANSWERS, subject, headers, payload, .. } => {
                    let code = status(&rest[headers]).map(|(code, _)| code);
                    heard.answers.extend(
                        last_number(&rest[subject]).map(|number| (number, code, rest[payload].to_vec())),
                    );
                }
                Op::Message { .. } | Op::Ok => {}
                Op::Ping => link.output.extend_from_slice(b"PONG\r\n"),
                Op::Pong => {
                    link.unanswered = link.unanswered.saturating_sub(1);
                    heard.pongs += 1;
                }
                Op::Info(range) => heard.infos.extend(serde_json::from_slice::<Info>(&rest[range])),
                Op::Error(range) => {
                    let mut message = shown(&rest[range]);
                    // Only this leaves the connection open; but what asks nothing, or hears no answer, cannot
                    // read either.
                    let is_vital = message.contains("$JS.API.CONSUMER.") || message.contains("_INBOX.");
                    match is_permissions_violation(&message) && !is_vital {
                        // What we would ask of the stream is only for a warning.
                        true if message.contains("$JS.API.STREAM.INFO.") => {}
                        true => log.refused(&message),
                        false => {
                            message.push_str(if is_vital { NEEDED } else { "" });
                            break Err(LinkError::Refused { message });
                        }
                    }
                }
            }
            at += length;
        };
        let block = link.take_block(at);
        heard.messages.reserve_exact(messages.len());
        for (subject, reply, payload, ack) in messages {
            let message =
                Message { subscription: 0, subject: block.text(subject), payload: block.slice(payload) };
            heard.messages.push((message, Box::from(&*block.text(reply)), ack));
        }
        (heard, taken)
    }
}

/// The number that a subject of our inbox ends with.
fn last_number(subject: &[u8]) -> Option<u64> {
    let token = subject.rsplit(|byte| *byte == b'.').next()?;
    std::str::from_utf8(token).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::connector::Role;
    use proptest::prelude::*;
    use tokio::io::duplex;

    fn take(input: &[u8]) -> (Heard, Result<(), LinkError>, usize) {
        let mut link = Link::new(Box::new(duplex(1).0));
        link.input.extend_from_slice(input);
        let (heard, taken) = Heard::take(
            &mut link,
            &ConnectionLog::new("test", Role::Consumer, crate::status::Status::default()),
        );
        (heard, taken, link.input.len())
    }

    #[test]
    fn messages_statuses_and_answers_are_told_apart() {
        let input = "MSG logs.a 1 $JS.ACK.S.C.1.7.8.1700.9 2\r\n{}\r\n\
            HMSG logs.b 1 $JS.ACK.S.C.2.8.9.1700.0 12 14\r\nNATS/1.0\r\n\r\n{}\r\n\
            HMSG _INBOX.x.m.3 1 24 24\r\nNATS/1.0 404 Nothing\r\n\r\n\r\n\
            MSG logs.c 1 other.reply 2\r\n{}\r\n\
            HMSG _INBOX.x.a.4 2 16 16\r\nNATS/1.0 503\r\n\r\n\r\nMSG _INBOX.x.a.5 2 2\r\n{}\r\nMSG a 3 0\r\n\r\nPING\r\nMSG logs";
        let (heard, taken, left) = take(input.as_bytes());
        assert!(taken.is_ok() && left == "MSG logs".len(), "{taken:?}");
        let places: Vec<_> = heard.messages.iter().map(|(_, _, ack)| ack.stream_sequence).collect();
        assert_eq!(places, [7, 8]);
        assert_eq!(heard.statuses, [(3, Status::Ended, "404 Nothing".to_owned())]);
        assert_eq!(heard.answers, [(4, Some(503), vec![]), (5, None, b"{}".to_vec())]);
    }

    #[test]
    fn what_keeps_us_from_reading_ends_the_connection() {
        for (subject, ends) in [
            ("$JS.API.CONSUMER.INFO.S.C", true),
            ("_INBOX.x.m.*", true),
            ("$JS.ACK.S.C.1", false),
            ("$JS.API.STREAM.INFO.S", false),
        ] {
            let line = format!("-ERR 'Permissions Violation for Publish to \"{subject}\"'\r\n");
            let (_, taken, _) = take(line.as_bytes());
            match taken {
                Ok(()) => assert!(!ends, "{subject}"),
                Err(error) => assert!(ends && error.to_string().contains("must be allowed"), "{error}"),
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_without_a_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..200),
            line in "(MSG|HMSG|-ERR|INFO) [a-z$.J0-9]{0,8} [12] ([$]JS.ACK[.0-9a-z]{0,30} )?[0-9]{1,2}( [0-9]{1,2})?\r\n[a-zA-Z/0-9 .\r\n]{0,40}",
        ) {
            let _ = take(&bytes);
            let _ = take(line.as_bytes());
        }
    }
}
