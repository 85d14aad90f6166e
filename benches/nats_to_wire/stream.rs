//! The events, as the bytes that publish them.

use crate::Result;
use crate::receiver::{IN_JSON, numbers};
use crate::support::publisher::{Publisher, fly_event, frame};
use serde::Deserialize;
use std::path::Path;
use std::time::Duration;
use tokio::time::interval;

const TICK: Duration = Duration::from_millis(2);
/// What is written at once where nothing limits the rate.
const PIECE: usize = 1 << 20;

/// Events with the numbers from 0 on.
pub struct Stream {
    pub events: u64,
    /// Bytes of all events, without what the protocol puts around them.
    pub bytes: u64,
    // Made once and before measuring, for making them takes the processor
    // from the program measured.
    lines: Vec<u8>,
}

impl Stream {
    /// The stream of these subjects and events.
    pub fn new(events: impl Iterator<Item = (String, String)>) -> Self {
        let mut stream = Self { events: 0, bytes: 0, lines: Vec::new() };
        for (subject, event) in events {
            stream.events += 1;
            stream.bytes += event.len() as u64;
            frame(&mut stream.lines, &subject, event.as_bytes());
        }
        stream
    }

    /// Made-up events in the shape Fly sends them.
    pub fn generated(events: u64) -> Self {
        Self::new((0..events).map(fly_event))
    }

    /// The events of a file, one a line; their numbers must be those from 0 on, in any order.
    pub fn from_file(path: &Path, most: usize) -> Result<Self> {
        let text =
            std::fs::read_to_string(path).map_err(|error| format!("the input cannot be read: {error}"))?;
        let mut events = Vec::new();
        let mut found = Vec::new();
        for (index, line) in text.lines().take(most).enumerate() {
            let subject =
                subject_of(line).map_err(|what| format!("line {} of the input: {what}", index + 1))?;
            found.extend(numbers(line.as_bytes(), IN_JSON));
            events.push((subject, line.to_owned()));
        }
        found.sort_unstable();
        if events.is_empty() || !found.into_iter().eq(0..events.len() as u64) {
            return Err(
                "the input needs one `\"n\":<number>` in each line, and each number from 0 on once".into()
            );
        }
        Ok(Self::new(events.into_iter()))
    }

    /// Bytes of an event.
    pub fn average(&self) -> f64 {
        self.bytes as f64 / self.events as f64
    }

    /// How much waits in the server for a subscriber that takes nothing, at most.
    pub fn most_pending(&self) -> usize {
        // The lines to subscribers are a little longer than those of the publisher.
        2 * self.lines.len() + PIECE
    }

    /// Publishes everything: so many events a second, or as fast as the server takes them.
    pub async fn publish(&self, publisher: &mut Publisher, rate: Option<u64>) {
        match rate {
            Some(rate) => self.publish_steadily(publisher, rate).await,
            None => {
                for piece in self.lines.chunks(PIECE) {
                    publisher.publish_framed(piece).await;
                }
            }
        }
        publisher.flush().await;
    }

    /// A piece in each tick; it may end inside an event, which is all the same to the server.
    async fn publish_steadily(&self, publisher: &mut Publisher, rate: u64) {
        let mut ticks = interval(TICK);
        let events_a_tick = rate as f64 * TICK.as_secs_f64();
        let piece = (self.lines.len() as f64 / self.events as f64 * events_a_tick).ceil() as usize;
        for piece in self.lines.chunks(piece) {
            ticks.tick().await;
            publisher.publish_framed(piece).await;
        }
    }
}

/// The subject that Fly would publish the event on.
fn subject_of(line: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Event {
        fly: Fly,
    }
    #[derive(Deserialize)]
    struct Fly {
        app: App,
        region: String,
    }
    #[derive(Deserialize)]
    struct App {
        name: String,
        instance: String,
    }
    let Event { fly } = serde_json::from_str(line).map_err(|error| error.to_string())?;
    for token in [&fly.app.name, &fly.region, &fly.app.instance] {
        if token.is_empty() || token.contains(|c: char| c.is_whitespace() || ".*>".contains(c)) {
            return Err(format!("`{token}` cannot stand in a subject"));
        }
    }
    Ok(format!("logs.{}.{}.{}", fly.app.name, fly.region, fly.app.instance))
}
