//! The status page's files, which are part of the binary.

use axum::Router;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::routing::get;

/// Each file: its path, its type, and what is in it.
const FILES: &[(&str, &str, &[u8])] = &[("/", "text/html; charset=utf-8", include_bytes!("page/index.html"))];

/// What serves them.
pub(super) fn router() -> Router {
    let files = FILES.iter().map(|(path, content_type, content)| {
        // Another version may be there after the next start.
        let head = [(CONTENT_TYPE, *content_type), (CACHE_CONTROL, "no-cache")];
        (*path, get(move || async move { (head, *content) }))
    });
    files.fold(Router::new(), |router, (path, file)| router.route(path, file))
}
