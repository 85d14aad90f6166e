//! Free ports for servers that must be able to come back on the same port.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU32, Ordering};

// A port from the range the kernel gives to outgoing connections could be
// taken by one of those while a server is down, so ports come from below it.
const FIRST: u16 = 15_000;
const COUNT: u16 = 17_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A port of 127.0.0.1 that nobody listens on, given out once in this process: for a server that comes up late, or not
/// at all. It is none of those that the kernel gives to outgoing connections, so that it stays free.
///
/// # Panics
///
/// If there is none among those from 15000 to 31999.
pub fn free_port() -> u16 {
    // Test binaries that run at the same time start at different places.
    let start = std::process::id().wrapping_mul(613) % u32::from(COUNT);
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let offset = start.wrapping_add(step) % u32::from(COUNT);
        // It is less than COUNT.
        let port = FIRST + u16::try_from(offset).unwrap_or_default();
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
    panic!("no free port from {FIRST} to {}", FIRST + COUNT - 1);
}
