//! A web app that streams a subject: each event is a server-sent event.
//!
//! ```text
//! NATS_URL=nats://localhost:4222 cargo run --example axum_tail
//! curl -N -G --data-urlencode 'subject=logs.web.>' http://127.0.0.1:3000/tail
//! ```
//!
//! Without NATS_URL there is a broker in this process, with an app that says hello.

use axum::Router;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::routing::get;
use futures::{Stream, StreamExt};
use log_shipper::config::{Registry, SourceEntry};
use log_shipper::env::Env;
use log_shipper::testing::Broker;
use log_shipper::topology::{EventStream, TopologyOptions};
use std::convert::Infallible;
use std::error::Error;
use std::time::Duration;

/// What is asked for in the URL.
#[derive(serde::Deserialize)]
struct Asked {
    #[serde(default = "everything")]
    subject: String,
}

fn everything() -> String {
    "logs.>".to_owned()
}

type Refused = (StatusCode, String);

/// Each answer has a source of its own, which ends when the browser goes away and the stream is dropped.
async fn tail(
    State(nats): State<String>,
    Query(asked): Query<Asked>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Refused> {
    let options = [
        ("type", "nats".into()),
        ("url", nats.into()),
        ("connection_name", "axum_tail".into()),
        ("subject", asked.subject.into()),
        ("decoding", toml::Table::from_iter([("codec".to_owned(), "json".into())]).into()),
    ];
    let table = options.map(|(name, value): (_, toml::Value)| (name.to_owned(), value)).into_iter().collect();
    let source = SourceEntry::from_table("tail", table, &Registry::builtin())
        .map_err(|problems| (StatusCode::BAD_REQUEST, format!("{problems}\n")))?;
    let events = EventStream::start(source, &TopologyOptions::default())
        .await
        .map_err(|error| (StatusCode::BAD_REQUEST, format!("{error}\n")))?;
    let answers = events.map(|event| Ok(Event::default().data(event.json())));
    Ok(Sse::new(answers).keep_alive(KeepAlive::default()))
}

/// A NATS server for whoever has none.
async fn start_broker() -> std::io::Result<String> {
    let broker = Broker::start().await?;
    let url = broker.url();
    tokio::spawn(async move {
        loop {
            broker.publish("logs.web.lhr.machine1", r#"{"message":"hello"}"#);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    Ok(url)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let nats = match Env::from_process().get("NATS_URL")? {
        Some(url) => url,
        None => start_broker().await?,
    };
    let address = std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}/tail", listener.local_addr()?);
    let app = Router::new().route("/tail", get(tail)).with_state(nats);
    Ok(axum::serve(listener, app).await?)
}
