//! [`Acks`]: acknowledgements on their way, each written again until the server has it.

use super::link::Link;
use std::time::Duration;

/// What a message's consumer is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ack {
    /// It is delivered.
    Delivered,
    /// Not now: again after this time.
    Again(Duration),
    /// Never again.
    Never,
    /// It is still on its way.
    InProgress,
}

/// Acknowledgements have no answer, but a `PING` behind them has: what it confirms has left the connection.
/// What is not confirmed when the connection is lost is written again on the next one.
#[derive(Debug, Default)]
pub(super) struct Acks {
    /// Not written yet.
    waiting: Vec<u8>,
    /// Written, and not confirmed.
    written: Vec<u8>,
    /// How many answers to our `PING`s come until that to the one behind what is written.
    pongs: Option<u32>,
}

impl Acks {
    /// Adds one, to the subject that the message names.
    pub(super) fn push(&mut self, subject: &str, ack: Ack) {
        let delayed;
        let payload = match ack {
            Ack::Delivered => "+ACK",
            Ack::Never => "+TERM",
            Ack::InProgress => "+WPI",
            Ack::Again(delay) => {
                delayed = format!("-NAK {{\"delay\":{}}}", delay.as_nanos());
                &delayed
            }
        };
        let mut digits = itoa::Buffer::new();
        let length = digits.format(payload.len());
        for part in ["PUB ", subject, " ", length, "\r\n", payload, "\r\n"] {
            self.waiting.extend_from_slice(part.as_bytes());
        }
    }

    /// Writes what waits, unless something that was written before is still to be confirmed: what comes
    /// until then goes together.
    pub(super) fn write(&mut self, link: &mut Link) {
        if self.waiting.is_empty() || self.pongs.is_some() {
            return;
        }
        link.write(&[&self.waiting, b"PING\r\n"]);
        link.unanswered += 1;
        self.pongs = Some(link.unanswered);
        std::mem::swap(&mut self.written, &mut self.waiting);
    }

    /// An answer to a `PING` of ours has come.
    pub(super) fn pong(&mut self) {
        self.pongs = self.pongs.and_then(|pongs| pongs.checked_sub(1)).filter(|pongs| *pongs > 0);
        if self.pongs.is_none() {
            self.written.clear();
        }
    }

    /// The connection is lost.
    pub(super) fn disconnected(&mut self) {
        self.written.append(&mut self.waiting);
        std::mem::swap(&mut self.written, &mut self.waiting);
        self.pongs = None;
    }

    /// The consumer that they are for is no longer there.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
    }

    /// Whether the server has them all.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.written.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::duplex;

    fn written(link: &mut Link) -> String {
        String::from_utf8(link.output.split().to_vec()).unwrap()
    }

    #[test]
    fn are_written_again_until_they_are_confirmed() {
        let mut link = Link::new(Box::new(duplex(1).0));
        let mut acks = Acks::default();
        acks.write(&mut link);
        assert_eq!(written(&mut link), "");
        acks.push("a", Ack::Delivered);
        acks.push("b", Ack::Again(Duration::from_millis(1)));
        // A PING of somebody else's is on its way already.
        link.unanswered = 1;
        acks.write(&mut link);
        let first = "PUB a 4\r\n+ACK\r\nPUB b 22\r\n-NAK {\"delay\":1000000}\r\nPING\r\n";
        assert_eq!(written(&mut link), first);
        acks.push("c", Ack::Never);
        acks.write(&mut link);
        assert_eq!(written(&mut link), "", "the first are not confirmed yet");
        acks.pong();
        acks.write(&mut link);
        assert_eq!(written(&mut link), "", "that was the other PING's");
        acks.pong();
        acks.write(&mut link);
        assert_eq!(written(&mut link), "PUB c 5\r\n+TERM\r\nPING\r\n");
        acks.push("d", Ack::InProgress);
        acks.disconnected();
        let mut link = Link::new(Box::new(duplex(1).0));
        acks.write(&mut link);
        assert_eq!(written(&mut link), "PUB c 5\r\n+TERM\r\nPUB d 4\r\n+WPI\r\nPING\r\n");
        assert!(!acks.is_empty());
        acks.pong();
        assert!(acks.is_empty());
    }
}
