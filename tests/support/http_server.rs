//! An HTTP/1.1 destination on loopback that answers as the test says.

use super::ports::free_port;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::io::Read;
use std::pin::pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::timeout;

const REQUESTS_WITHIN: Duration = Duration::from_secs(20);
const PORTS_TRIED: usize = 10;

/// What the server does about one request.
#[derive(Clone, Debug)]
pub enum Reply {
    Answer {
        status: StatusCode,
        headers: HeaderMap,
        body: Bytes,
    },
    /// Takes the request and never answers.
    Never,
    /// Takes the request and resets the connection.
    Reset,
    /// Takes the request, and replies after so long.
    Late(Duration, Box<Reply>),
}

impl Reply {
    /// The same after so long.
    pub fn late(self, pause: Duration) -> Self {
        Self::Late(pause, Box::new(self))
    }

    /// An answer with this status and no body.
    pub fn status(status: u16) -> Self {
        Self::Answer {
            status: StatusCode::from_u16(status).expect("a valid status"),
            headers: HeaderMap::new(),
            body: Bytes::new(),
        }
    }

    /// The same answer with one more header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        let Self::Answer { headers, .. } = &mut self else {
            panic!("{self:?} has no headers");
        };
        let name: HeaderName = name.parse().expect("a valid header name");
        let value: HeaderValue = value.parse().expect("a valid header value");
        headers.append(name, value);
        self
    }

    /// The same answer with this body.
    pub fn body(mut self, text: impl Into<Bytes>) -> Self {
        let Self::Answer { body, .. } = &mut self else {
            panic!("{self:?} has no body");
        };
        *body = text.into();
        self
    }
}

/// A request the server has taken in whole.
#[derive(Clone, Debug)]
pub struct Request {
    pub method: Method,
    pub path_and_query: String,
    pub headers: HeaderMap,
    /// The body as it came over the wire.
    pub raw_body: Bytes,
    /// Number of the connection it came over, from 0 on.
    pub connection: usize,
    /// When its last byte was here.
    pub at: Instant,
}

impl Request {
    /// The value of a header, if it is there and is text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body after undoing its `Content-Encoding`.
    pub fn body(&self) -> Vec<u8> {
        decode(self.header("content-encoding"), &self.raw_body)
    }

    /// The decoded body as text.
    pub fn text(&self) -> String {
        String::from_utf8(self.body()).expect("a body of UTF-8")
    }

    /// The decoded body as one JSON document.
    pub fn json(&self) -> serde_json::Value {
        let body = self.body();
        serde_json::from_slice(&body).unwrap_or_else(|error| {
            panic!("a body that is no JSON ({error}): {}", String::from_utf8_lossy(&body))
        })
    }

    /// The decoded body as JSON documents, one a line.
    pub fn json_lines(&self) -> Vec<serde_json::Value> {
        self.text()
            .lines()
            .map(|line| {
                serde_json::from_str(line)
                    .unwrap_or_else(|error| panic!("a line that is no JSON ({error}): {line}"))
            })
            .collect()
    }
}

fn decode(encoding: Option<&str>, raw: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    let read = match encoding {
        None | Some("identity") => return raw.to_vec(),
        Some("gzip") => flate2::read::MultiGzDecoder::new(raw).read_to_end(&mut body),
        Some("deflate") => flate2::read::ZlibDecoder::new(raw).read_to_end(&mut body),
        Some("zstd") => {
            zstd::stream::read::Decoder::new(raw).and_then(|mut decoder| decoder.read_to_end(&mut body))
        }
        Some("snappy") => {
            return snap::raw::Decoder::new().decompress_vec(raw).expect("a block of snappy");
        }
        Some(other) => panic!("a body with the unknown encoding {other}"),
    };
    read.unwrap_or_else(|error| panic!("a body that is no {}: {error}", encoding.unwrap_or("")));
    body
}

type Responder = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

struct Script {
    requests: Vec<Request>,
    queue: VecDeque<Reply>,
    otherwise: Responder,
}

struct Shared {
    script: Mutex<Script>,
    count: watch::Sender<usize>,
    connections: AtomicUsize,
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        // A responder that panicked must not hide its panic behind a second one.
        self.script.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }

    async fn handle(&self, connection: usize, request: hyper::Request<Incoming>) -> Reply {
        let (parts, body) = request.into_parts();
        // The client left in the middle of its request, so nobody waits for an answer.
        let Ok(body) = body.collect().await else {
            return Reply::Never;
        };
        let request = Request {
            method: parts.method,
            path_and_query: parts.uri.path_and_query().map_or_else(String::new, ToString::to_string),
            headers: parts.headers,
            raw_body: body.to_bytes(),
            connection,
            at: Instant::now(),
        };
        let (reply, count) = {
            let mut script = self.script();
            let reply = match script.queue.pop_front() {
                Some(reply) => reply,
                None => (script.otherwise)(&request),
            };
            script.requests.push(request);
            (reply, script.requests.len())
        };
        // Requests of two connections may come here in either order.
        self.count.send_modify(|seen| *seen = count.max(*seen));
        reply
    }
}

/// A scripted server that remembers every request, also while it is stopped.
pub struct HttpServer {
    shared: Arc<Shared>,
    port: u16,
    running: Option<Running>,
}

impl HttpServer {
    /// Starts a server that answers everything with 200 and the body `{}`.
    pub async fn start() -> Self {
        let (listener, port) = listen().await;
        Self::serve(listener, port)
    }

    /// The same on a port known before, as of a destination that comes up late.
    pub async fn start_on(port: u16) -> Self {
        Self::serve(listen_on(port).await, port)
    }

    fn serve(listener: TcpListener, port: u16) -> Self {
        let shared = Arc::new(Shared {
            script: Mutex::new(Script {
                requests: Vec::new(),
                queue: VecDeque::new(),
                otherwise: Arc::new(|_| Reply::status(200).body("{}")),
            }),
            count: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
        });
        let mut server = Self { shared, port, running: None };
        server.run(listener);
        server
    }

    fn run(&mut self, listener: TcpListener) {
        let shared = self.shared.clone();
        self.running = Some(Running::start(listener, move |stream| {
            let shared = shared.clone();
            let connection = shared.connections.fetch_add(1, Ordering::Relaxed);
            serve_connection(stream, move |request| {
                let shared = shared.clone();
                async move { shared.handle(connection, request).await }
            })
        }));
    }

    /// Closes the port and all connections; it returns when they are closed.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Listens again on the same port, with the script and the requests kept.
    pub async fn start_again(&mut self) {
        assert!(self.running.is_none(), "the server is already running");
        let listener = listen_on(self.port).await;
        self.run(listener);
    }

    /// The port, which stays the same when the server stops and starts again.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address of a path, as `url("/ingest")`; with `url("")` there is none.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// Queues the reply to one request, after those queued before.
    pub fn push(&self, reply: Reply) {
        self.shared.script().queue.push_back(reply);
    }

    /// Replies so when the queue is empty.
    pub fn default_reply(&self, reply: Reply) {
        self.respond_with(move |_| reply.clone());
    }

    /// Replies with what the function says when the queue is empty. It too is
    /// called with the server locked.
    pub fn respond_with(&self, respond: impl Fn(&Request) -> Reply + Send + Sync + 'static) {
        self.shared.script().otherwise = Arc::new(respond);
    }

    /// How many of the queued replies no request has taken yet.
    pub fn queued(&self) -> usize {
        self.shared.script().queue.len()
    }

    /// All requests so far, in the order they were taken.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.script().requests.clone()
    }

    /// Waits until there are at least `n` requests and returns all.
    pub async fn wait_for(&self, n: usize) -> Vec<Request> {
        self.wait(&format!("{n} requests"), |requests| requests.len() >= n).await
    }

    /// Waits until the condition holds and returns all requests. The condition
    /// is called with the server locked, so it must not ask the server itself.
    pub async fn wait_until(&self, condition: impl FnMut(&[Request]) -> bool) -> Vec<Request> {
        self.wait("the awaited requests", condition).await
    }

    async fn wait(&self, what: &str, mut condition: impl FnMut(&[Request]) -> bool) -> Vec<Request> {
        let mut count = self.shared.count.subscribe();
        let found = timeout(REQUESTS_WITHIN, async {
            loop {
                // Marked as seen before looking, so that no request slips between.
                count.borrow_and_update();
                // Looked at in place, for copying all of them each time would add up.
                let found = condition(&self.shared.script().requests);
                if found {
                    return self.requests();
                }
                count.changed().await.expect("the sender lives in self");
            }
        });
        match found.await {
            Ok(requests) => requests,
            Err(_) => panic!(
                "{what} did not come within {REQUESTS_WITHIN:?}; there were:\n{}",
                summary(&self.requests())
            ),
        }
    }
}

fn summary(requests: &[Request]) -> String {
    let lines: Vec<String> = requests
        .iter()
        .map(|request| {
            let start = &request.raw_body[..request.raw_body.len().min(300)];
            format!(
                "{} {} ({} bytes) {}",
                request.method,
                request.path_and_query,
                request.raw_body.len(),
                String::from_utf8_lossy(start)
            )
        })
        .collect();
    if lines.is_empty() { "no request at all".to_owned() } else { lines.join("\n") }
}

/// A server that answers everything with 200 and keeps nothing but counts.
pub struct CountingServer {
    counts: Arc<Counts>,
    port: u16,
    running: Option<Running>,
}

struct Counts {
    requests: AtomicU64,
    bytes: AtomicU64,
    changed: watch::Sender<()>,
}

impl CountingServer {
    /// Starts the server; the function is called with the `Content-Encoding` and the body of each request,
    /// as it came over the wire.
    pub async fn start(on_body: impl Fn(Option<&str>, &[u8]) + Send + Sync + 'static) -> Self {
        let (listener, port) = listen().await;
        let counts = Arc::new(Counts {
            requests: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            changed: watch::Sender::new(()),
        });
        let on_body = Arc::new(on_body);
        let shared = counts.clone();
        let running = Running::start(listener, move |stream| {
            let counts = shared.clone();
            let on_body = on_body.clone();
            serve_connection(stream, move |request| {
                let counts = counts.clone();
                let on_body = on_body.clone();
                async move { counts.handle(request, &*on_body).await }
            })
        });
        Self { counts, port, running: Some(running) }
    }

    /// The address of a path.
    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
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
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }
}

impl Counts {
    async fn handle(
        &self,
        request: hyper::Request<Incoming>,
        on_body: &(dyn Fn(Option<&str>, &[u8]) + Sync),
    ) -> Reply {
        let (parts, body) = request.into_parts();
        let Ok(body) = body.collect().await else {
            return Reply::Never;
        };
        let raw = body.to_bytes();
        let encoding = parts.headers.get(header::CONTENT_ENCODING);
        on_body(encoding.map(|encoding| encoding.to_str().expect("the name of an encoding")), &raw);
        let length = u64::try_from(raw.len()).expect("a length fits");
        self.bytes.fetch_add(length, Ordering::Relaxed);
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.changed.send_replace(());
        Reply::status(200).body("{}")
    }
}

/// The task that accepts connections; dropping this stops it.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    fn start<F>(listener: TcpListener, mut serve: impl FnMut(TcpStream) -> F + Send + 'static) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    // It resolves too when the other half is dropped.
                    _ = &mut stopped => break,
                    accepted = listener.accept() => {
                        let (stream, _) = accepted.expect("a connection to accept");
                        let _ = stream.set_nodelay(true);
                        connections.spawn(serve(stream));
                    }
                    // Ended connections are let go of as they end.
                    Some(_) = connections.join_next() => {}
                }
            }
            // The port first, so that no client comes back in between.
            drop(listener);
            connections.shutdown().await;
        });
        Self { stop, task }
    }

    async fn stop(self) {
        drop(self.stop);
        timeout(REQUESTS_WITHIN, self.task)
            .await
            .expect("the server stops in time")
            .expect("the server did not panic");
    }
}

async fn serve_connection<F, Fut>(stream: TcpStream, handle: F)
where
    F: Fn(hyper::Request<Incoming>) -> Fut,
    Fut: Future<Output = Reply>,
{
    let reset = Notify::new();
    let service = service_fn(|request| {
        let reply = handle(request);
        let reset = &reset;
        async move {
            let mut reply = reply.await;
            while let Reply::Late(pause, later) = reply {
                tokio::time::sleep(pause).await;
                reply = *later;
            }
            match reply {
                Reply::Answer { status, headers, body } => {
                    let mut response = hyper::Response::new(Full::new(body));
                    *response.status_mut() = status;
                    *response.headers_mut() = headers;
                    Ok::<_, Infallible>(response)
                }
                Reply::Never | Reply::Late(..) => pending().await,
                Reply::Reset => {
                    reset.notify_one();
                    pending().await
                }
            }
        }
    });
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    let mut asked = pin!(reset.notified());
    tokio::select! {
        // A client that goes away in the middle is part of what tests do.
        _ = &mut connection => {}
        () = &mut asked => {
            let stream = connection.into_parts().io.into_inner();
            // Closing without lingering sends a reset instead of an orderly end.
            stream.set_zero_linger().expect("an option of an open socket");
        }
    }
}

async fn listen() -> (TcpListener, u16) {
    for _ in 0..PORTS_TRIED {
        let port = free_port();
        // Another process may take the port in between; then the next one is tried.
        if let Ok(listener) = TcpListener::bind(("127.0.0.1", port)).await {
            return (listener, port);
        }
    }
    panic!("no free port for an HTTP server");
}

async fn listen_on(port: u16) -> TcpListener {
    TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap_or_else(|error| panic!("port {port} cannot be listened on: {error}"))
}
