//! The events, as the bytes that publish them.

use crate::support::publisher::{Publisher, fly_event, frame};
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
