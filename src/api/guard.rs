//! Who may ask at all: what a browser is told to ask for by somebody else's page is refused, and so is whatever is
//! not a question.

use axum::extract::Request;
use axum::http::header::{ALLOW, CACHE_CONTROL, HOST};
use axum::http::uri::Authority;
use axum::http::{HeaderName, HeaderValue, Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::net::IpAddr;

/// What browsers are told of every answer. The page's scripts, styles and pictures are files of ours.
const HEADERS: &[(&str, &str)] = &[
    (
        "content-security-policy",
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-resource-policy", "same-origin"),
    ("cross-origin-opener-policy", "same-origin"),
];

/// Refuses what nobody should ask, and passes on the rest.
pub(super) async fn guard(request: Request, next: Next) -> Response {
    let mut response = match refusal(&request) {
        Some(refusal) => refusal,
        None => next.run(request).await,
    };
    let headers = response.headers_mut();
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

fn refusal(request: &Request) -> Option<Response> {
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let text = "only GET: nothing can be changed here\n";
        return Some((StatusCode::METHOD_NOT_ALLOWED, [(ALLOW, "GET, HEAD")], text).into_response());
    }
    // Without one it is no browser that asks.
    let mut hosts = request.headers().get_all(HOST).into_iter();
    let is_ours = |host: &HeaderValue| host.to_str().is_ok_and(is_host_ours);
    let target = request.uri().authority();
    if !hosts.all(is_ours) || !target.is_none_or(|target| is_host_ours(target.as_str())) {
        let text = "not the name of this host: ask by its IP address, as localhost, by a name without a dot, or by one \
                    that ends in .internal, .flycast, .local or .localhost. A proxy before it must set Host so\n";
        return Some((StatusCode::MISDIRECTED_REQUEST, text).into_response());
    }
    let site = request.headers().get("sec-fetch-site").map(HeaderValue::as_bytes);
    if site == Some(b"cross-site") && request.uri().path().starts_with("/api/") {
        return Some((StatusCode::FORBIDDEN, "not for pages of other hosts\n").into_response());
    }
    None
}

/// Whether no stranger can give this name to an address of ours: a page of his, whose name he lets stand for this
/// machine, could otherwise read what is here.
fn is_host_ours(host: &str) -> bool {
    let Ok(authority) = host.parse::<Authority>() else { return false };
    // Behind an address in brackets the parser takes anything.
    if host.split_once(']').is_some_and(|(_, rest)| !rest.is_empty() && !rest.starts_with(':')) {
        return false;
    }
    let name = authority.host().trim_end_matches('.').to_ascii_lowercase();
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return true;
    }
    let private = [".internal", ".flycast", ".local", ".localhost"];
    !name.is_empty() && (!name.contains('.') || private.iter().any(|end| name.ends_with(end)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_a_stranger_can_have_is_none_of_ours() {
        for host in [
            "localhost",
            "localhost:8686",
            "LOCALHOST:1",
            "127.0.0.1:8686",
            "[::1]:8686",
            "[fdaa:0:1::3]",
            "10.1.2.3",
            "my-shipper.internal:8686",
            "iad.my-shipper.internal.",
            "shipper.flycast",
            "log-shipper:8686",
            "log-shipper.logs.svc.cluster.local:8686",
        ] {
            assert!(is_host_ours(host), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8686",
            "localhost.evil.example",
            "127.0.0.1.evil.example",
            "internal.evil.example",
            "evilinternal.com",
            "a b",
            "localhost/..",
            "[::1].evil.example",
        ] {
            assert!(!is_host_ours(host), "{host}");
        }
    }
}
