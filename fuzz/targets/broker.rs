//! What a client may send to the broker of tests and the demo: it answers the same however the bytes are cut into reads.

#![no_main]

use libfuzzer_sys::fuzz_target;
use log_shipper::testing::broker_answers;

fuzz_target!(|input: (&[u8], u16)| {
    let (bytes, cut) = input;
    let whole = broker_answers(&[bytes]);
    let (first, second) = bytes.split_at(usize::from(cut).min(bytes.len()));
    assert_eq!(broker_answers(&[first, second]), whole);
    // Behind a subscription to everything, each message that it takes comes back.
    let _ = broker_answers(&[b"CONNECT {\"verbose\":false}\r\nSUB > 1\r\nSUB > queue 2\r\n", bytes]);
});
