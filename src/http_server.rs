//! The one HTTP/1.1 server: the API's, and that of the sink `prometheus_exporter`. What it serves is a [`Router`].
//!
//! It may be reached by anybody, so that everything is bounded: how many connections there are, how long each
//! lasts, how large a request's head may be, how long a client may take nothing of what it asked for. A body is not
//! read. Of too many connections the oldest of whoever has most is closed: a request takes milliseconds, and whoever holds
//! a connection open has no need of it. Only an answer that never ends ([`Endless`]) may last, and of those there are a few.

use crate::log_limit::LogLimit;
use crate::topology::{Books, PROMETHEUS_CONTENT_TYPE};
use axum::Router;
use axum::extract::Request;
use axum::http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio_io_timeout::TimeoutStream;

/// The most connections at once, and how many of them may have an answer without end.
const MAX_CONNECTIONS: usize = 64;
const MAX_ENDLESS: usize = 16;

/// The most bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;

/// How long a connection may last, how long the head of its request may take, and how long the client may take
/// nothing of an answer.
const CONNECTION: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(5);
const WRITE: Duration = Duration::from_secs(10);

/// How long it waits, at first and at most, before it tries again to open a port.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Marks a response, among its extensions, whose body has no end: its connection may last.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Endless;

/// The connections there are, the oldest first.
#[derive(Debug, Default)]
struct Connections(Mutex<VecDeque<Connection>>);

#[derive(Debug)]
struct Connection {
    peer: IpAddr,
    task: AbortHandle,
    is_endless: Arc<AtomicBool>,
}

impl Connections {
    fn all(&self) -> MutexGuard<'_, VecDeque<Connection>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes room for one more.
    fn make_room(&self) {
        let mut all = self.all();
        all.retain(|connection| !connection.task.is_finished());
        while all.len() >= MAX_CONNECTIONS {
            // There are fewer without end than that.
            let is_short = |connection: &&Connection| !connection.is_endless.load(Ordering::Relaxed);
            let of = |peer: IpAddr| all.iter().filter(is_short).filter(|other| other.peer == peer).count();
            // Of those who have as many, the one who has had them for longest.
            let greedy = all.iter().filter(is_short).rev().max_by_key(|one| of(one.peer)).map(|one| one.peer);
            let oldest = all.iter().position(|one| is_short(&one) && Some(one.peer) == greedy);
            all.remove(oldest.unwrap_or(0)).iter().for_each(|connection| connection.task.abort());
        }
    }

    /// This one lasts, and the oldest such one goes if they are too many.
    fn set_endless(&self, is_endless: &AtomicBool) {
        let all = self.all();
        is_endless.store(true, Ordering::Relaxed);
        let endless = |connection: &&Connection| {
            connection.is_endless.load(Ordering::Relaxed) && !connection.task.is_finished()
        };
        let many = all.iter().filter(endless).count().saturating_sub(MAX_ENDLESS);
        all.iter().filter(endless).take(many).for_each(|connection| connection.task.abort());
    }
}

/// Serves until it is dropped.
pub(crate) async fn serve(listener: &TcpListener, router: Router) {
    let mut tasks = JoinSet::new();
    let connections = Arc::<Connections>::default();
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            // No more files may be open; that may pass.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        while tasks.try_join_next().is_some() {}
        connections.make_room();
        let is_endless = Arc::<AtomicBool>::default();
        let served = connection(stream, router.clone(), Arc::clone(&connections), Arc::clone(&is_endless));
        let task = tasks.spawn(served);
        connections.all().push_back(Connection { peer: peer.ip(), task, is_endless });
    }
}

async fn connection(
    stream: TcpStream,
    router: Router,
    connections: Arc<Connections>,
    is_endless: Arc<AtomicBool>,
) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE));
    let router = TowerToHyperService::new(router);
    let answer = service_fn(|request| {
        let answer = router.call(request);
        async {
            let response = answer.await?;
            if response.extensions().get::<Endless>().is_some() {
                connections.set_endless(&is_endless);
            }
            Ok::<Response, std::convert::Infallible>(response)
        }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD).keep_alive(false);
    let mut served = pin!(server.serve_connection(TokioIo::new(Box::pin(stream)), answer));
    tokio::select! {
        _ = &mut served => return,
        () = tokio::time::sleep(CONNECTION) => {}
    }
    // Whoever takes longer than that, or breaks off, gets no more.
    if is_endless.load(Ordering::Relaxed) {
        let _ = served.await;
    }
}

/// What listens, as the log names it.
#[derive(Clone, Debug)]
pub(crate) struct Named {
    /// The sink's id; nothing for the API.
    pub sink: Option<String>,
    /// What is there: `the API is`.
    pub there: &'static str,
    /// What is not there: `no API`.
    pub missing: &'static str,
    /// Which page to look at.
    pub path: &'static str,
    /// What to do if somebody else has the port.
    pub advice: &'static str,
}

/// Opens the port, however long it takes: whoever has it may go, and logs are shipped without it.
pub(crate) async fn listen(address: SocketAddr, named: &Named) -> TcpListener {
    let mut pause = FIRST_PAUSE;
    let failed_log = LogLimit::every_minute();
    let Named { sink, there, missing, path, advice } = named;
    loop {
        match TcpListener::bind(address).await {
            Ok(listener) => {
                let address = listener.local_addr().unwrap_or(address);
                tracing::info!(sink, "{there} at http://{address}{path}");
                return listener;
            }
            Err(error) => {
                if let Some(unsaid) = failed_log.allow() {
                    let why = match error.kind() {
                        io::ErrorKind::AddrInUse => {
                            format!("somebody listens on {address} already; {advice}")
                        }
                        _ => format!("cannot listen on {address}: {error}; {advice}"),
                    };
                    tracing::error!(sink, unsaid, "{missing}, will try again: {why}");
                }
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// A page of metrics: `GET /metrics` and nothing else.
pub(crate) struct MetricsPage {
    books: Books,
    /// The `Authorization` that a request must have; `None`: anybody may see it.
    authorization: Option<HeaderValue>,
}

impl MetricsPage {
    /// The page of these books, for whoever brings this `Authorization`, or for anybody.
    pub(crate) fn of(books: &Books, authorization: Option<HeaderValue>) -> MetricsPage {
        MetricsPage { books: books.clone(), authorization }
    }

    /// What serves it.
    pub(crate) fn router(self) -> Router {
        let page = Arc::new(self);
        Router::new().fallback(move |request: Request| {
            let response = page.answer(&request);
            async { response }
        })
    }

    fn answer(&self, request: &Request) -> Response {
        let given = request.headers().get(AUTHORIZATION);
        let is_known = |known: &HeaderValue| given.is_some_and(|given| is_same(known, given));
        if !self.authorization.as_ref().is_none_or(is_known) {
            let header = [(WWW_AUTHENTICATE, "Basic")];
            return (StatusCode::UNAUTHORIZED, header, "not for you\n").into_response();
        }
        if request.uri().path() != "/metrics" {
            return (StatusCode::NOT_FOUND, "there is only /metrics\n").into_response();
        }
        if request.method() != Method::GET && request.method() != Method::HEAD {
            return (StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")], "only GET\n").into_response();
        }
        ([(CONTENT_TYPE, PROMETHEUS_CONTENT_TYPE)], self.books.snapshot().to_prometheus()).into_response()
    }
}

/// Whether they are the same, in a time that does not tell how much of them is.
fn is_same(known: &HeaderValue, given: &HeaderValue) -> bool {
    let (known, given) = (known.as_bytes(), given.as_bytes());
    let difference = known.iter().zip(given).fold(0, |all, (known, given)| all | (known ^ given));
    known.len() == given.len() && difference == 0
}
