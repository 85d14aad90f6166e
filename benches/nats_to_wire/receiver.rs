//! The destination: an HTTP server that notes the number of each event it gets.

use crate::support::http_server::CountingServer;
use memchr::memmem::find_iter;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How an event's number stands in a body. A message that holds JSON itself has its quotes escaped
/// once more than the event has, so it never matches.
pub const IN_JSON: &[u8] = b"\"n\":";
/// The same where the event itself is text inside JSON.
pub const IN_ESCAPED_JSON: &[u8] = b"\\\"n\\\":";

/// A destination that takes everything and looks for events with the numbers from 0 on.
pub struct Receiver {
    server: CountingServer,
    arrivals: Arc<Arrivals>,
}

impl Receiver {
    pub async fn start(key: &'static [u8], events: u64) -> Self {
        let arrivals = Arc::new(Arrivals::new(key, events));
        let seen = arrivals.clone();
        let server = CountingServer::start(move |request| seen.take(&request.body())).await;
        Self { server, arrivals }
    }

    pub fn url(&self) -> String {
        self.server.url("")
    }

    /// Waits until every event is here, and gives up after `patience` without any request.
    pub async fn wait(&self, patience: Duration) {
        let arrivals = &self.arrivals;
        // Whether all came is looked at when the sender has stopped.
        self.server.wait_until(patience, || arrivals.state().distinct == arrivals.events).await;
    }

    /// Bytes of bodies as they came over the wire.
    pub fn bytes(&self) -> u64 {
        self.server.bytes()
    }

    /// How many events have not come.
    pub fn missing(&self) -> u64 {
        self.arrivals.events - self.arrivals.state().distinct
    }

    /// How many came more often than they were sent.
    pub fn repeated(&self) -> u64 {
        let state = self.arrivals.state();
        state.total - state.distinct
    }

    /// Events a second since then. The last request is left out, because what is in it may have waited
    /// for its batch's timeout.
    pub fn rate_since(&self, start: Instant) -> f64 {
        let state = self.arrivals.state();
        let Some((at, events)) = state.before_last.or(state.last) else { return 0.0 };
        events as f64 / at.duration_since(start).as_secs_f64()
    }

    pub async fn stop(&mut self) {
        self.server.stop().await;
    }
}

/// Which events have arrived.
struct Arrivals {
    key: &'static [u8],
    events: u64,
    state: Mutex<State>,
}

struct State {
    // One bit for each event, so that a repeated one hides no lost one.
    seen: Vec<u64>,
    distinct: u64,
    total: u64,
    /// When the last request came, and how many events were here then.
    last: Option<(Instant, u64)>,
    before_last: Option<(Instant, u64)>,
}

impl Arrivals {
    fn new(key: &'static [u8], events: u64) -> Self {
        let words = usize::try_from(events.div_ceil(64)).expect("events fit in memory");
        let state = State { seen: vec![0; words], distinct: 0, total: 0, last: None, before_last: None };
        Self { key, events, state: Mutex::new(state) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no body panicked")
    }

    /// Notes the number of each event in a body, whatever format surrounds it.
    fn take(&self, body: &[u8]) {
        let mut state = self.state();
        for n in numbers(body, self.key) {
            state.total += 1;
            // A number that nobody sent counts as an event too many.
            if n < self.events {
                state.note(n);
            }
        }
        state.before_last = state.last;
        state.last = Some((Instant::now(), state.distinct));
    }
}

impl State {
    fn note(&mut self, n: u64) {
        let word = &mut self.seen[usize::try_from(n / 64).expect("events fit in memory")];
        let bit = 1 << (n % 64);
        self.distinct += u64::from(*word & bit == 0);
        *word |= bit;
    }
}

/// The number behind each occurrence of the key.
pub fn numbers<'a>(body: &'a [u8], key: &'a [u8]) -> impl Iterator<Item = u64> {
    find_iter(body, key).map(move |at| {
        let digits = body[at + key.len()..].trim_ascii_start();
        digits
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .fold(0, |n: u64, digit| n.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')))
    })
}
