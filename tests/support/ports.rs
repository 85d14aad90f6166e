//! Free ports for servers that must be able to come back on the same port.

use std::net::TcpListener;
use std::sync::atomic::{AtomicU32, Ordering};

// A port from the range the kernel gives to outgoing connections could be
// taken by one of those while a server is down, so ports come from below it.
const FIRST: u32 = 15_000;
const COUNT: u32 = 17_000;

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A loopback port nobody listens on, given out once in this process.
pub fn free_port() -> u16 {
    // Test binaries that run at the same time start at different places.
    let start = std::process::id().wrapping_mul(613) % COUNT;
    for _ in 0..COUNT {
        let step = NEXT.fetch_add(1, Ordering::Relaxed);
        let port = u16::try_from(FIRST + (start + step) % COUNT).expect("a port is below 65536");
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no free port between {FIRST} and {}", FIRST + COUNT);
}
