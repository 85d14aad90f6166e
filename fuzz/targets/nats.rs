//! What a server may send, and what a user may write: bytes of the protocol, subjects, lists of servers.

#![no_main]

use libfuzzer_sys::fuzz_target;
use log_shipper::nats::protocol::{Op, parse};
use log_shipper::nats::{Servers, SubjectFilter};

fuzz_target!(|input: &[u8]| {
    let mut rest = input;
    while let Ok(Some((op, length))) = parse(rest) {
        assert!(length > 0 && length <= rest.len());
        let ranges = match &op {
            Op::Message { subject, reply, headers, payload, .. } => vec![subject, reply, headers, payload],
            Op::Info(range) | Op::Error(range) => vec![range],
            Op::Ping | Op::Pong | Op::Ok => vec![],
        };
        for range in ranges {
            assert!(range.start <= range.end && range.end <= length, "{range:?} of {length}");
        }
        // It is the same whatever follows, and not there before it is whole.
        assert_eq!(parse(&rest[..length]), Ok(Some((op, length))));
        assert_eq!(parse(&rest[..length - 1]), Ok(None));
        rest = &rest[length..];
    }
    let Ok(text) = std::str::from_utf8(input) else { return };
    let _ = Servers::parse(text);
    if let Ok(filter) = SubjectFilter::parse(text)
        && !text.contains(['*', '>'])
    {
        assert!(filter.matches(text), "{text:?} does not match itself");
    }
});
