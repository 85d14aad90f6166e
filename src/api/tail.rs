//! `/api/tail`: the events that come in, for people who look at them now.

use super::Shared;
use crate::http_server::Endless;
use crate::nats::SubjectFilter;
use crate::topology::{TapReceiver, TappedEvent};
use axum::Extension;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures::stream::unfold;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Interval, interval};

/// How often it is told how many events were left out, and that the connection is there.
const TOLD_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Deserialize)]
pub(super) struct Wanted {
    subject: Option<String>,
}

/// An event as a line of the tail.
#[derive(Debug, Serialize)]
struct Line {
    time: String,
    subject: Option<String>,
    app: Option<String>,
    region: Option<String>,
    instance: Option<String>,
    level: Option<&'static str>,
    message: String,
}

impl From<TappedEvent> for Line {
    fn from(event: TappedEvent) -> Line {
        Line {
            time: event.time.to_rfc3339(),
            subject: event.subject,
            app: event.app,
            region: event.region,
            instance: event.instance,
            level: event.level.map(|level| level.as_str()),
            message: event.message,
        }
    }
}

const OFF: &str = "the tail is off, because it shows logs to whoever reaches this address; switch it on with `tail = true` \
                   in the table `api`, or API_TAIL=true\n";

pub(super) async fn tail(State(shared): State<Arc<Shared>>, Query(wanted): Query<Wanted>) -> Response {
    if !shared.shows_events() {
        return (StatusCode::FORBIDDEN, OFF).into_response();
    }
    let subject = wanted.subject.filter(|subject| !subject.is_empty());
    let filter = match SubjectFilter::parse(subject.as_deref().unwrap_or(">")) {
        Ok(filter) => filter,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("subject: {error}\n")).into_response(),
    };
    let watched = Watched { events: shared.observer.tap().look(filter), told: interval(TOLD_EVERY), shared };
    let stream = unfold(watched, |mut watched| async {
        let event = watched.next().await?;
        Some((Ok::<_, Infallible>(event), watched))
    });
    (Extension(Endless), Sse::new(stream)).into_response()
}

struct Watched {
    events: TapReceiver,
    told: Interval,
    shared: Arc<Shared>,
}

impl Watched {
    /// The next line, or how many were left out; nothing once the tail has been switched off.
    async fn next(&mut self) -> Option<Event> {
        tokio::select! {
            biased;
            // First, so that it is told also while lines come without a pause.
            _ = self.told.tick() => match self.events.take_skipped() {
                _ if !self.shared.shows_events() => None,
                0 => Some(Event::default().comment("")),
                skipped => Some(Event::default().event("skipped").data(format!("{{\"skipped\":{skipped}}}"))),
            },
            event = self.events.next() => {
                let text = serde_json::to_string(&Line::from(event?)).ok()?;
                Some(Event::default().event("line").data(text))
            }
        }
    }
}
