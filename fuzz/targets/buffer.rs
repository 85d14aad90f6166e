//! What may be in a file of a buffer on disk, after whatever has happened to the disk.

#![no_main]

use libfuzzer_sys::fuzz_target;
use log_shipper::event::{LogEvent, Timestamp};
use log_shipper::topology::disk::{read_segment, write_segment};

fuzz_target!(|input: (Vec<Vec<&[u8]>>, Vec<(usize, u8)>, &[u8])| {
    let (blocks, damage, noise) = input;
    // Noise alone is no panic.
    let _ = read_segment(noise);
    let event = |message: &&[u8]| LogEvent::from_message(message, Timestamp::from_nanos(message.len() as i64));
    let blocks: Vec<Vec<LogEvent>> =
        blocks.iter().map(|messages| messages.iter().map(event).collect()).collect();
    let mut bytes = write_segment(7, &blocks);
    let texts = |bytes: &[u8]| -> Vec<String> {
        read_segment(bytes).iter().map(|event| event.json().into_owned()).collect()
    };
    let written: Vec<String> = blocks.iter().flatten().map(|event| event.json().into_owned()).collect();
    assert_eq!(texts(&bytes), written);
    for (at, bits) in damage {
        if let Some(byte) = bytes.get_mut(at) {
            *byte ^= bits;
        }
    }
    // What is read of a damaged one was written, in this order.
    let mut rest = written.iter();
    for text in texts(&bytes) {
        assert!(rest.any(|known| *known == text), "{text} was not written");
    }
});
