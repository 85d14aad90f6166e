//! An HTTP/1.1 destination on loopback that answers as the test says.

use super::ports::free_port;
use super::{Reply, Request};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::future::pending;
use std::net::Ipv4Addr;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{sleep, timeout};

/// How long a test waits for requests before it fails.
const REQUESTS_WITHIN: Duration = Duration::from_secs(20);
const PORTS_TRIED: usize = 10;
/// How long to wait when the system has no socket to give.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// So much of a body is shown of requests that were not those that were awaited.
const SHOWN: usize = 300;

/// A destination over HTTP/1.1 on loopback: it answers as the test says, and remembers every request, also while it is
/// stopped. It ends when it is dropped.
///
/// Each request takes the next reply of those that were queued ([`HttpServer::push`]). When there is none left, it is
/// answered with the default ([`HttpServer::default_reply`], [`HttpServer::respond_with`]), which is 200 and the body
/// `{}` at first. What a sink asks at its start to know how the destination is takes a reply as well; without
/// `healthcheck.enabled = false` the first one may be for that.
///
/// ```
/// use futures::SinkExt;
/// use log_shipper::config::{Registry, SinkEntry};
/// use log_shipper::event::{LogEvent, Timestamp};
/// use log_shipper::testing::{HttpServer, Reply};
/// use log_shipper::topology::{EventSink, TopologyOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let server = HttpServer::start().await;
/// server.push(Reply::status(400).body("no such dataset"));
/// let table = toml::from_str(&format!(
///     "type = 'axiom'\nurl = '{}'\ntoken = 'secret'\ndataset = 'web'\nbatch.max_events = 1\nhealthcheck.enabled = false",
///     server.url("")
/// ))?;
/// let entry = SinkEntry::from_table("out", table, &Registry::builtin())?;
/// let mut sink = EventSink::start(entry, &TopologyOptions::default()).await?;
/// sink.send(LogEvent::from_message(b"refused", Timestamp::now())).await?;
/// server.wait_for(1).await;
/// sink.send(LogEvent::from_message(b"taken", Timestamp::now())).await?;
/// sink.close().await?;
///
/// let requests = server.requests();
/// assert_eq!(requests[1].header("authorization"), Some("Bearer secret"));
/// assert_eq!(requests[1].json_lines()[0]["message"], "taken");
/// let (_, counts) = &sink.counts().sinks[0];
/// assert_eq!((counts.delivered, counts.rejected), (1, 1));
/// # Ok(())
/// # }
/// ```
pub struct HttpServer {
    shared: Arc<Shared>,
    port: u16,
    running: Option<Running>,
}

type Responder = Arc<dyn Fn(&Request) -> Reply + Send + Sync>;

struct Script {
    requests: Vec<Request>,
    queue: VecDeque<Reply>,
    otherwise: Responder,
}

struct Shared {
    script: Mutex<Script>,
    remembers: bool,
    count: watch::Sender<usize>,
    connections: AtomicUsize,
}

impl Shared {
    fn script(&self) -> MutexGuard<'_, Script> {
        // A responder that panicked must not hide its panic behind a second one.
        self.script.lock().unwrap_or_else(PoisonError::into_inner)
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
        if !self.remembers {
            let (queued, respond) = {
                let mut script = self.script();
                (script.queue.pop_front(), Arc::clone(&script.otherwise))
            };
            return queued.unwrap_or_else(|| respond(&request));
        }
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

impl fmt::Debug for HttpServer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpServer").field("port", &self.port).finish_non_exhaustive()
    }
}

impl HttpServer {
    /// Starts a server that answers everything with 200 and the body `{}`.
    ///
    /// # Panics
    ///
    /// If it finds no free port.
    pub async fn start() -> HttpServer {
        let (listener, port) = listen().await;
        HttpServer::serve(listener, port, true, Arc::new(|_| Reply::status(200).body("{}")))
    }

    /// The same on a port known before, as of a destination that comes up late: see [`free_port`](super::free_port).
    ///
    /// # Panics
    ///
    /// If somebody else has the port.
    pub async fn start_on(port: u16) -> HttpServer {
        let listener = listen_on(port).await;
        HttpServer::serve(listener, port, true, Arc::new(|_| Reply::status(200).body("{}")))
    }

    /// Starts a server that shows each request to this function, answers as it says, and remembers none: for more of
    /// them than fit into memory. Requests that come at once are shown at once.
    ///
    /// # Panics
    ///
    /// If it finds no free port.
    pub async fn start_without_memory(
        respond: impl Fn(&Request) -> Reply + Send + Sync + 'static,
    ) -> HttpServer {
        let (listener, port) = listen().await;
        HttpServer::serve(listener, port, false, Arc::new(respond))
    }

    fn serve(listener: TcpListener, port: u16, remembers: bool, otherwise: Responder) -> HttpServer {
        let shared = Arc::new(Shared {
            script: Mutex::new(Script { requests: Vec::new(), queue: VecDeque::new(), otherwise }),
            remembers,
            count: watch::Sender::new(0),
            connections: AtomicUsize::new(0),
        });
        let mut server = HttpServer { shared, port, running: None };
        server.run(listener);
        server
    }

    fn run(&mut self, listener: TcpListener) {
        self.running = Some(Running::start(listener, Arc::clone(&self.shared)));
    }

    /// Closes the port and all connections; it returns when they are closed.
    pub async fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop().await;
        }
    }

    /// Listens again on the same port, with the script and the requests kept.
    ///
    /// # Panics
    ///
    /// If it is running, or somebody else has taken the port.
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

    /// Replies with what the function says when the queue is empty. It is called with the server locked, one
    /// request after the other, so it must not ask the server itself.
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
    ///
    /// # Panics
    ///
    /// If they do not come within 20 seconds; it says which there were. If the server remembers none.
    pub async fn wait_for(&self, n: usize) -> Vec<Request> {
        self.wait(&format!("{n} requests"), |requests| requests.len() >= n).await
    }

    /// Waits until the condition holds and returns all requests. The condition
    /// is called with the server locked, so it must not ask the server itself.
    ///
    /// # Panics
    ///
    /// If it does not hold within 20 seconds; it says which requests there were. If the server remembers none.
    pub async fn wait_until(&self, condition: impl FnMut(&[Request]) -> bool) -> Vec<Request> {
        self.wait("the awaited requests", condition).await
    }

    async fn wait(&self, what: &str, mut condition: impl FnMut(&[Request]) -> bool) -> Vec<Request> {
        assert!(self.shared.remembers, "a server without memory has no requests to wait for");
        let mut count = self.shared.count.subscribe();
        let found = timeout(REQUESTS_WITHIN, async {
            loop {
                // Marked as seen before looking, so that no request slips between.
                count.borrow_and_update();
                // Looked at in place, for copying all of them each time would add up.
                if condition(&self.shared.script().requests) {
                    return;
                }
                // It cannot fail: the sender lives in `self`.
                let _ = count.changed().await;
            }
        });
        if found.await.is_err() {
            panic!(
                "{what} did not come within {REQUESTS_WITHIN:?}; there were:\n{}",
                summary(&self.requests())
            );
        }
        self.requests()
    }
}

fn summary(requests: &[Request]) -> String {
    let line = |request: &Request| {
        let Request { method, path_and_query, raw_body, .. } = request;
        let start = String::from_utf8_lossy(&raw_body[..raw_body.len().min(SHOWN)]);
        format!("{method} {path_and_query} ({} bytes) {start}", raw_body.len())
    };
    match requests {
        [] => "no request at all".to_owned(),
        _ => requests.iter().map(line).collect::<Vec<_>>().join("\n"),
    }
}

/// The task that accepts connections; dropping this stops it.
struct Running {
    stop: oneshot::Sender<()>,
    task: JoinHandle<()>,
}

impl Running {
    fn start(listener: TcpListener, shared: Arc<Shared>) -> Running {
        let (stop, mut stopped) = oneshot::channel();
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    // It resolves too when the other half is dropped.
                    _ = &mut stopped => break,
                    accepted = listener.accept() => match accepted {
                        Ok((stream, _)) => {
                            connections.spawn(serve_connection(stream, Arc::clone(&shared)));
                        }
                        // Trying again at once would only burn the processor.
                        Err(_) => sleep(ACCEPT_PAUSE).await,
                    },
                    // Ended connections are let go of as they end.
                    Some(_) = connections.join_next() => {}
                }
            }
            // The port first, so that no client comes back in between.
            drop(listener);
            connections.shutdown().await;
        });
        Running { stop, task }
    }

    async fn stop(self) {
        drop(self.stop);
        // It fails only with the runtime, and then everything is closed.
        let _ = self.task.await;
    }
}

async fn serve_connection(stream: TcpStream, shared: Arc<Shared>) {
    // A socket that refuses the option still works.
    let _ = stream.set_nodelay(true);
    let connection = shared.connections.fetch_add(1, Ordering::Relaxed);
    let reset = Notify::new();
    let service = service_fn(|request| {
        let (shared, reset) = (&shared, &reset);
        async move {
            let mut reply = shared.handle(connection, request).await;
            while let Reply::Late(pause, later) = reply {
                sleep(pause).await;
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
            let _ = stream.set_zero_linger();
        }
    }
}

async fn listen() -> (TcpListener, u16) {
    for _ in 0..PORTS_TRIED {
        let port = free_port();
        // Another process may take the port in between; then the next one is tried.
        if let Ok(listener) = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await {
            return (listener, port);
        }
    }
    panic!("no free port for an HTTP server");
}

async fn listen_on(port: u16) -> TcpListener {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    listener.unwrap_or_else(|error| panic!("port {port} cannot be listened on: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::{HttpClient, HttpError, ProxyConfig};
    use crate::tls::TlsConfig;
    use bytes::Bytes;

    const LIMIT: Duration = Duration::from_secs(10);

    /// Sends a request, and gives the status and the body of the answer.
    async fn ask(
        server: &HttpServer,
        body: &'static str,
        limit: Duration,
    ) -> Result<(u16, Bytes), HttpError> {
        let client = HttpClient::new(&TlsConfig::default(), &ProxyConfig::default(), LIMIT).unwrap();
        let request = http::Request::post(server.url("/in?a=b")).body(Bytes::from(body)).unwrap();
        let response = client.send(request, limit).await?;
        Ok((response.status().as_u16(), response.into_body()))
    }

    #[tokio::test]
    async fn replies_are_taken_in_order_and_then_the_default_one() {
        let server = HttpServer::start().await;
        server.push(Reply::status(503));
        server.push(Reply::status(201).body("made").late(Duration::from_millis(20)));
        assert_eq!(server.queued(), 2);
        assert_eq!(ask(&server, "1", LIMIT).await.unwrap(), (503, "".into()));
        let asked = Instant::now();
        assert_eq!(ask(&server, "2", LIMIT).await.unwrap(), (201, "made".into()));
        assert!(asked.elapsed() >= Duration::from_millis(20));
        assert_eq!(ask(&server, "3", LIMIT).await.unwrap(), (200, "{}".into()));
        server.respond_with(|request| Reply::status(if request.text() == "4" { 404 } else { 202 }));
        assert_eq!(ask(&server, "4", LIMIT).await.unwrap().0, 404);
        assert_eq!(ask(&server, "5", LIMIT).await.unwrap().0, 202);
        assert_eq!(server.queued(), 0);
        let requests = server.requests();
        let bodies: Vec<_> = requests.iter().map(Request::text).collect();
        assert_eq!(bodies, ["1", "2", "3", "4", "5"]);
        assert!(requests.iter().all(|request| request.path_and_query == "/in?a=b"));
    }

    #[tokio::test]
    async fn it_may_never_answer_or_break_off() {
        let server = HttpServer::start().await;
        server.push(Reply::Reset);
        assert!(ask(&server, "1", LIMIT).await.is_err());
        server.push(Reply::Never);
        let never = ask(&server, "2", Duration::from_millis(50)).await;
        assert!(matches!(never, Err(HttpError::Timeout { .. })), "{never:?}");
        assert_eq!(server.wait_for(2).await.len(), 2);
    }

    #[tokio::test]
    async fn it_comes_back_on_its_port_and_has_forgotten_nothing() {
        let mut server = HttpServer::start().await;
        ask(&server, "1", LIMIT).await.unwrap();
        server.stop().await;
        server.push(Reply::status(418));
        assert!(ask(&server, "lost", LIMIT).await.is_err());
        server.start_again().await;
        assert_eq!(ask(&server, "2", LIMIT).await.unwrap().0, 418);
        let bodies: Vec<_> = server.requests().iter().map(Request::text).collect();
        assert_eq!(bodies, ["1", "2"]);
    }

    #[tokio::test]
    async fn without_memory_it_shows_what_comes() {
        let (sender, mut receiver) = watch::channel(String::new());
        let server = HttpServer::start_without_memory(move |request| {
            sender.send_replace(request.text());
            Reply::status(204)
        });
        let server = server.await;
        assert_eq!(ask(&server, "1", LIMIT).await.unwrap().0, 204);
        assert_eq!(*receiver.borrow_and_update(), "1");
        server.push(Reply::status(503));
        assert_eq!(ask(&server, "2", LIMIT).await.unwrap().0, 503);
        assert_eq!((server.queued(), server.requests().len()), (0, 0));
    }

    #[tokio::test]
    #[should_panic(expected = "a server without memory has no requests to wait for")]
    async fn without_memory_there_is_nothing_to_wait_for() {
        HttpServer::start_without_memory(|_| Reply::status(204)).await.wait_for(1).await;
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "1 requests did not come within 20s; there were:\nno request at all")]
    async fn what_does_not_come_is_told() {
        HttpServer::start().await.wait_for(1).await;
    }
}
