//! What is at which path.

use super::health::{health, readiness};
use super::status::{Health, History, Reason, TopologyStatus};
use super::{Shared, guard, page, tail};
use crate::event::Timestamp;
use crate::http_server::Endless;
use crate::topology::PROMETHEUS_CONTENT_TYPE;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Json, Router};
use futures::stream::unfold;
use serde::Serialize;
use std::convert::Infallible;
use std::sync::Arc;

/// What there is, for whoever asks for something else.
const ROUTES: &[(&str, &str)] = &[
    ("/", "the status page"),
    ("/live", "200 while the process answers"),
    ("/ready", "200 while every source is connected"),
    ("/health", "200 while logs can flow; 503 with the reasons otherwise"),
    ("/metrics", "the counts of all components, for Prometheus"),
    ("/api/status", "how every component gets on"),
    ("/api/history", "the last hour of every component"),
    ("/api/events", "what /api/status says, every second, as server-sent events"),
    ("/api/tail?subject=logs.>", "the events that come in, as server-sent events; only with api.tail"),
];

pub(super) fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/live", get(live))
        .route("/ready", get(ready))
        .route("/health", get(healthy))
        .route("/metrics", get(metrics))
        .route("/api/status", get(status))
        .route("/api/history", get(history))
        .route("/api/events", get(events))
        .route("/api/tail", get(tail::tail))
        .fallback(not_found)
        .with_state(shared)
        .merge(page::router())
        .layer(axum::middleware::from_fn(guard::guard))
}

/// Whether it is well. Vector's checks ask for `ok`.
#[derive(Serialize)]
struct Answer {
    ok: bool,
    healthy: bool,
    reasons: Vec<Reason>,
}

fn answer(Health { healthy, reasons }: Health) -> Response {
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(Answer { ok: healthy, healthy, reasons })).into_response()
}

async fn live() -> Json<serde_json::Value> {
    Json(serde_json::json!({ "ok": true }))
}

async fn ready(State(shared): State<Arc<Shared>>) -> Response {
    let observer = &shared.observer;
    answer(readiness(&observer.books().components(), observer.is_stopping(), Timestamp::now()))
}

async fn healthy(State(shared): State<Arc<Shared>>) -> Response {
    let observer = &shared.observer;
    answer(health(&observer.books().components(), observer.is_stopping(), Timestamp::now()))
}

async fn metrics(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, PROMETHEUS_CONTENT_TYPE)], shared.observer.books().snapshot().to_prometheus())
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<TopologyStatus> {
    Json(shared.sampler.status(&shared.observer, shared.shows_events()))
}

async fn history(State(shared): State<Arc<Shared>>) -> Json<History> {
    Json(shared.sampler.to_json())
}

/// The first at once, and then one every second.
async fn events(State(shared): State<Arc<Shared>>) -> impl IntoResponse {
    let said = shared.sampler.listen();
    let now = shared.sampler.status(&shared.observer, shared.shows_events());
    let first = serde_json::to_string(&now).ok().map(Arc::<str>::from);
    let stream = unfold((first, said), |(first, mut said)| async {
        let text = match first {
            Some(first) => first,
            None => {
                said.changed().await.ok()?;
                Arc::clone(&said.borrow_and_update())
            }
        };
        let event = Event::default().event("status").data(text);
        Some((Ok::<_, Infallible>(event), (None, said)))
    });
    (Extension(Endless), Sse::new(stream))
}

#[derive(Serialize)]
struct NotFound {
    error: &'static str,
    routes: std::collections::BTreeMap<&'static str, &'static str>,
}

async fn not_found() -> impl IntoResponse {
    let routes = ROUTES.iter().copied().collect();
    (StatusCode::NOT_FOUND, Json(NotFound { error: "not found", routes }))
}
