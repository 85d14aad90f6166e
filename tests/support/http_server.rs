//! The destination of [`log_shipper::testing`], and one that only counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;

pub use log_shipper::testing::{HttpServer, Reply, Request};

/// A server that answers everything with 200 and keeps nothing but counts.
pub struct CountingServer {
    counts: Arc<Counts>,
    server: HttpServer,
}

#[derive(Default)]
struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
    changed: watch::Sender<()>,
}

impl CountingServer {
    /// Starts the server; the function is called with each request.
    pub async fn start(on_request: impl Fn(&Request) + Send + Sync + 'static) -> Self {
        let counts = Arc::<Counts>::default();
        let shared = counts.clone();
        let server = HttpServer::start_without_memory(move |request| {
            on_request(request);
            let length = u64::try_from(request.raw_body.len()).expect("a length fits");
            shared.bytes.fetch_add(length, Ordering::Relaxed);
            shared.requests.fetch_add(1, Ordering::Relaxed);
            shared.changed.send_replace(());
            Reply::status(200).body("{}")
        });
        Self { counts, server: server.await }
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        self.server.url(path)
    }

    /// How many requests were taken.
    pub fn requests(&self) -> u64 {
        self.counts.requests.load(Ordering::Relaxed)
    }

    /// How many bytes of bodies came over the wire.
    pub fn bytes(&self) -> u64 {
        self.counts.bytes.load(Ordering::Relaxed)
    }

    /// Waits until the condition holds, and gives up (`false`) after `patience`
    /// without any request.
    pub async fn wait_until(&self, patience: Duration, mut condition: impl FnMut() -> bool) -> bool {
        let mut changed = self.counts.changed.subscribe();
        loop {
            // Marked as seen before looking, so that no request slips between.
            changed.borrow_and_update();
            if condition() {
                return true;
            }
            if timeout(patience, changed.changed()).await.is_err() {
                return false;
            }
        }
    }

    /// Closes the port and all connections.
    pub async fn stop(&mut self) {
        self.server.stop().await;
    }
}
