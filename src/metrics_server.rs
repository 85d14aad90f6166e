//! A page of metrics over HTTP/1.1: `GET /metrics` and nothing else. What it shows is somebody else's.
//!
//! It may be reached by anybody, so that everything is bounded: how many connections there are, how long each
//! lasts, how large a request's head may be. A body is not read. Of too many connections the oldest is closed:
//! a scrape takes milliseconds, and whoever holds a connection open has no need of it.

use bytes::Bytes;
use http::header::{ALLOW, AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// The most connections at once.
const MAX_CONNECTIONS: usize = 64;

/// The most bytes of a request's head.
const MAX_HEAD: usize = 16 << 10;

/// How long a connection may last, and how long the head of its request may take.
const CONNECTION: Duration = Duration::from_secs(10);
const HEAD: Duration = Duration::from_secs(5);

/// What is shown, and to whom.
pub(crate) struct Page {
    /// Makes the text.
    pub render: Box<dyn Fn() -> String + Send + Sync>,
    /// The type of the text.
    pub content_type: &'static str,
    /// The `Authorization` that a request must have; `None`: anybody may see it.
    pub authorization: Option<HeaderValue>,
}

/// Serves the page until it is dropped.
pub(crate) async fn serve(listener: &TcpListener, page: Arc<Page>) {
    let mut connections = JoinSet::new();
    let mut handles: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            // No more files may be open; that may pass.
            tokio::time::sleep(Duration::from_millis(100)).await;
            continue;
        };
        while connections.try_join_next().is_some() {}
        handles.retain(|handle| !handle.is_finished());
        while handles.len() >= MAX_CONNECTIONS {
            handles.pop_front().iter().for_each(AbortHandle::abort);
        }
        let page = Arc::clone(&page);
        handles.push_back(connections.spawn(async move {
            // Whoever takes longer than that, or breaks off, gets no more.
            let _ = tokio::time::timeout(CONNECTION, connection(stream, page)).await;
        }));
    }
}

async fn connection(stream: TcpStream, page: Arc<Page>) {
    let answer = service_fn(move |request| {
        let response = answer(&request, &page);
        async move { Ok::<_, Infallible>(response) }
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD).max_buf_size(MAX_HEAD).keep_alive(false);
    let _ = server.serve_connection(TokioIo::new(stream), answer).await;
}

fn answer(request: &Request<Incoming>, page: &Page) -> Response<Full<Bytes>> {
    let plain = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response
    };
    let known = page.authorization.as_ref();
    let given = request.headers().get(AUTHORIZATION);
    if known.is_some_and(|known| !given.is_some_and(|given| is_same(known, given))) {
        let mut response = plain(StatusCode::UNAUTHORIZED, "not for you\n");
        response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static("Basic"));
        return response;
    }
    if request.uri().path() != "/metrics" {
        return plain(StatusCode::NOT_FOUND, "there is only /metrics\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    let mut response = Response::new(Full::from((page.render)()));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(page.content_type));
    response
}

/// Whether they are the same, in a time that does not tell how much of them is.
fn is_same(known: &HeaderValue, given: &HeaderValue) -> bool {
    let (known, given) = (known.as_bytes(), given.as_bytes());
    let difference = known.iter().zip(given).fold(0, |all, (known, given)| all | (known ^ given));
    known.len() == given.len() && difference == 0
}
