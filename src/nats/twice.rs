//! [`Twice`]: tells what two connections have both brought.

use super::message::Message;
use foldhash::fast::RandomState;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hash, Hasher};

/// What one connection has brought while another was subscribed to the same: hashes of messages, each with how
/// often it came. Messages have no number by which to know them, and two of them may well be alike, so that each
/// that is here stands for one of the other connection's.
#[derive(Debug, Default)]
pub(super) struct Twice {
    brought: HashMap<u64, u32>,
    /// Drawn at random, so that nobody can write messages that are taken for others.
    hasher: RandomState,
}

impl Twice {
    /// Takes note of a message of the one connection.
    pub(super) fn note(&mut self, message: &Message) {
        *self.brought.entry(self.hash(message)).or_default() += 1;
    }

    /// Whether this message of the other connection is one that has been noted; that one is then forgotten.
    pub(super) fn take(&mut self, message: &Message) -> bool {
        let hash = self.hash(message);
        let Some(times) = self.brought.get_mut(&hash) else { return false };
        *times -= 1;
        if *times == 0 {
            self.brought.remove(&hash);
        }
        true
    }

    /// With the subscription, because subjects that overlap bring a message several times on one connection.
    fn hash(&self, message: &Message) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        message.subscription.hash(&mut hasher);
        message.subject.as_bytes().hash(&mut hasher);
        message.payload.as_bytes().hash(&mut hasher);
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn message(subscription: usize, subject: &str, payload: &'static [u8]) -> Message {
        Message { subscription, subject: subject.into(), payload: Bytes::from_static(payload).into() }
    }

    #[test]
    fn each_message_stands_for_one_of_the_other_connection() {
        let mut twice = Twice::default();
        let (tick, tock) = (message(0, "a", b"tick"), message(0, "a", b"tock"));
        [&tick, &tick, &tock].into_iter().for_each(|message| twice.note(message));
        assert_eq!([&tick, &tock, &tick].map(|message| twice.take(message)), [true; 3]);
        assert_eq!([&tick, &tock].map(|message| twice.take(message)), [false; 2]);
        assert!(twice.brought.is_empty());
    }

    #[test]
    fn another_subject_payload_or_subscription_is_another_message() {
        let mut twice = Twice::default();
        twice.note(&message(0, "ab", b"c"));
        for other in
            [message(1, "ab", b"c"), message(0, "a", b"bc"), message(0, "ab", b""), message(0, "ab", b"\xff")]
        {
            assert!(!twice.take(&other), "{other:?}");
        }
        assert!(twice.take(&message(0, "ab", b"c")));
    }

    proptest! {
        /// Whatever one connection has brought and the other brings, in any order: what is left is what the first
        /// did not have, as often as that.
        #[test]
        fn what_is_left_is_the_difference(first in prop::collection::vec(0..6usize, 0..40), second in prop::collection::vec(0..6usize, 0..40)) {
            let mut twice = Twice::default();
            let nth = |n: usize| message(0, "s", [b"0", b"1", b"2", b"3", b"4", b"5"][n]);
            first.iter().for_each(|n| twice.note(&nth(*n)));
            let left: Vec<_> = second.iter().filter(|n| !twice.take(&nth(**n))).collect();
            for n in 0..6 {
                let count = |list: &[usize]| list.iter().filter(|other| **other == n).count();
                let expected = count(&second).saturating_sub(count(&first));
                prop_assert_eq!(left.iter().filter(|other| ***other == n).count(), expected);
            }
        }
    }
}
