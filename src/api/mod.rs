//! The HTTP API of a running topology: how it gets on, for orchestrators, Prometheus, people and `log-shipper top`.
//!
//! - this file: [`ApiServer`], which opens and moves the port, and [`serve`], for a program with a port of its own
//! - `routes`: what is at which path
//! - `guard`: who may ask at all
//! - `health`: whether logs can flow
//! - `status`: what `/api/status` says, as types; `snapshot`: how that comes from the books
//! - `history`: rates of the last seconds, and the last hour
//! - `sampler`: looks at the books every second
//! - `tail`: the events themselves, if that is switched on
//! - `page`: the status page's files
//!
//! Everything is read: there is no route that changes anything, so that a page of somebody else's, open in a browser
//! that reaches this port, has nothing to write to. Nothing shows a secret; the events are shown only with
//! `api.tail`.

mod guard;
mod health;
mod history;
mod page;
mod routes;
mod sampler;
mod snapshot;
pub mod status;
mod tail;

use crate::config::ApiOptions;
use crate::http_server::{MetricsPage, Named, listen, serve as serve_http};
use crate::topology::Observer;
use sampler::Sampler;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What every route can see.
#[derive(Debug)]
struct Shared {
    observer: Observer,
    sampler: Sampler,
    tail: AtomicBool,
}

impl Shared {
    fn shows_events(&self) -> bool {
        self.tail.load(Ordering::Relaxed)
    }
}

/// The API of a topology, on ports that it opens itself. Dropped, it closes them.
///
/// A port that somebody else has is tried again and again, and the log says so: logs are shipped without it.
#[derive(Debug)]
pub struct ApiServer {
    observer: Observer,
    options: Option<ApiOptions>,
    shared: Option<Arc<Shared>>,
    sampling: Option<Task>,
    api: Option<(SocketAddr, Task)>,
    metrics: Option<(SocketAddr, Task)>,
}

/// A task that ends when this is dropped.
#[derive(Debug)]
struct Task(JoinHandle<()>);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Task {
    Task(tokio::spawn(future))
}

impl ApiServer {
    /// Opens the ports that the options name, in a while: nothing waits for it. Needs a tokio runtime.
    pub fn start(observer: Observer, options: &ApiOptions) -> ApiServer {
        let mut server =
            ApiServer { observer, options: None, shared: None, sampling: None, api: None, metrics: None };
        server.reload(options);
        server
    }

    /// Goes over to other options, if they are others: whether they are. A port that stays the same stays open.
    pub fn reload(&mut self, options: &ApiOptions) -> bool {
        if self.options.as_ref() == Some(options) {
            return false;
        }
        self.options = Some(options.clone());
        let address = options.enabled.then(|| options.address());
        if let Some(address) = address.filter(|address| options.tail && !address.ip().is_loopback()) {
            tracing::warn!(
                "api.tail is on and {address} is no loopback address: whoever reaches it can read the logs"
            );
        }
        self.metrics = place(self.metrics.take(), options.metrics_address, |address, old| {
            let page = MetricsPage::of(self.observer.books(), None);
            spawn(async move {
                end(old).await;
                let name = Named {
                    sink: None,
                    there: "metrics are",
                    missing: "no page of metrics",
                    path: "/metrics",
                    advice: "set another METRICS_ADDRESS (`api.metrics_address`), or `off`",
                };
                serve_http(&listen(address, &name).await, page.router()).await;
            })
        });
        if address.is_none() {
            (self.api, self.sampling, self.shared) = (None, None, None);
            return true;
        }
        let shared = match &self.shared {
            Some(shared) => Arc::clone(shared),
            None => {
                let shared = share(&self.observer);
                self.sampling = Some(spawn(sample(Arc::clone(&shared))));
                self.shared = Some(Arc::clone(&shared));
                shared
            }
        };
        shared.tail.store(options.tail, Ordering::Relaxed);
        self.api = place(self.api.take(), address, |address, old| {
            spawn(async move {
                end(old).await;
                let name = Named {
                    sink: None,
                    there: "the API is",
                    missing: "no API",
                    path: "/",
                    advice: "set another API_ADDRESS (`api.address`), or `off`",
                };
                serve_http(&listen(address, &name).await, routes::router(shared)).await;
            })
        });
        true
    }
}

/// What listens at this address: what did already, or something new that begins with the [`end`] of the other.
fn place(
    old: Option<(SocketAddr, Task)>,
    address: Option<SocketAddr>,
    start: impl FnOnce(SocketAddr, Option<Task>) -> Task,
) -> Option<(SocketAddr, Task)> {
    let address = address?;
    match old {
        Some(old) if old.0 == address => Some(old),
        old => Some((address, start(address, old.map(|(_, task)| task)))),
    }
}

/// Ends what has listened so far: its port may be in the way of the next, as that of all addresses is.
async fn end(task: Option<Task>) {
    if let Some(mut task) = task {
        task.0.abort();
        // It was aborted, which is an error to whoever waits.
        let _ = (&mut task.0).await;
    }
}

/// Serves the API of a topology on a port that is open already, until it is dropped: for a program that has a
/// topology in it. Of the options only `tail` counts.
///
/// ```no_run
/// use log_shipper::api;
/// use log_shipper::config::ApiOptions;
/// use log_shipper::topology::RunningTopology;
///
/// # async fn run(running: RunningTopology) -> std::io::Result<()> {
/// let listener = tokio::net::TcpListener::bind("127.0.0.1:8686").await?;
/// let observer = running.observer();
/// tokio::spawn(async move { api::serve(&listener, observer, &ApiOptions::default()).await });
/// # Ok(())
/// # }
/// ```
pub async fn serve(listener: &TcpListener, observer: Observer, options: &ApiOptions) {
    let shared = share(&observer);
    shared.tail.store(options.tail, Ordering::Relaxed);
    tokio::join!(sample(Arc::clone(&shared)), serve_http(listener, routes::router(shared)));
}

fn share(observer: &Observer) -> Arc<Shared> {
    let sampler = Sampler::new(observer);
    Arc::new(Shared { observer: observer.clone(), sampler, tail: AtomicBool::new(false) })
}

/// Looks at the books every second, for ever.
async fn sample(shared: Arc<Shared>) {
    let mut ticks = tokio::time::interval(sampler::EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        shared.sampler.sample(&shared.observer, shared.shows_events());
    }
}
