//! The status page's files, which are part of the binary.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::get;

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";

/// Each file: its path, its type, and what is in it.
const FILES: &[(&str, &str, &[u8])] = &[
    ("/", HTML, include_bytes!("page/index.html")),
    ("/style.css", STYLE, include_bytes!("page/style.css")),
    ("/favicon.svg", "image/svg+xml", include_bytes!("page/favicon.svg")),
    ("/app.js", SCRIPT, include_bytes!("page/app.js")),
    ("/cards.js", SCRIPT, include_bytes!("page/cards.js")),
    ("/charts.js", SCRIPT, include_bytes!("page/charts.js")),
    ("/component.js", SCRIPT, include_bytes!("page/component.js")),
    ("/dom.js", SCRIPT, include_bytes!("page/dom.js")),
    ("/feed.js", SCRIPT, include_bytes!("page/feed.js")),
    ("/format.js", SCRIPT, include_bytes!("page/format.js")),
    ("/health.js", SCRIPT, include_bytes!("page/health.js")),
    ("/history.js", SCRIPT, include_bytes!("page/history.js")),
    ("/tail.js", SCRIPT, include_bytes!("page/tail.js")),
    ("/topology.js", SCRIPT, include_bytes!("page/topology.js")),
    ("/uplot/uPlot.iife.min.js", SCRIPT, include_bytes!("page/uplot/uPlot.iife.min.js")),
    ("/uplot/uPlot.min.css", STYLE, include_bytes!("page/uplot/uPlot.min.css")),
    ("/uplot/LICENSE", TEXT, include_bytes!("page/uplot/LICENSE")),
];

/// What serves them.
pub(super) fn router() -> Router {
    let files = FILES.iter().map(|(path, content_type, content)| {
        // Another version may be there after the next start.
        let head = [(CONTENT_TYPE, *content_type), (CACHE_CONTROL, "no-cache")];
        (*path, get(move || async move { (head, *content) }))
    });
    files.fold(Router::new(), |router, (path, file)| router.route(path, file))
}
