//! Events for the program itself: a sink made in code.

use crate::config::{Result, SinkConfig, SinkContext, StreamSink};
use crate::event::LogEvent;
use crate::healthcheck::Healthcheck;
use crate::topology::{BufferReceiver, Receipts, SinkCounts};
use async_trait::async_trait;
use futures::Stream;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// A sink that gives its events to the program, and the end where they come out; `capacity` events may wait between the
/// two. It counts an event as delivered when the program has taken it. It has no buffer on disk: that cannot tell whether
/// the program is done with an event.
///
/// An event brings its receipts along. Who is done with one answers:
/// `event.take_finalizers().answer(EventStatus::Delivered)`. One that is dropped counts as
/// [`Errored`](crate::finalizer::EventStatus::Errored), so that a source that waits for receipts (JetStream) sends it
/// again; for others it makes no difference.
///
/// # Panics
/// If `capacity` is 0.
pub fn channel(capacity: usize) -> (ChannelSink, EventReceiver) {
    let (sender, receiver) = mpsc::channel(capacity);
    (ChannelSink(Mutex::new(Some(sender))), EventReceiver(receiver))
}

/// Receives events from a [`ChannelSink`]: a [`futures::Stream`], which ends with the sink.
#[derive(Debug)]
pub struct EventReceiver(mpsc::Receiver<Waiting>);

impl Stream for EventReceiver {
    type Item = LogEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LogEvent>> {
        self.0.poll_recv(cx).map(|waiting| waiting?.take())
    }
}

/// An event that the program has not taken yet. Dropped, it is counted as any other sink's.
#[derive(Debug)]
struct Waiting {
    event: Option<LogEvent>,
    counts: Arc<SinkCounts>,
}

impl Waiting {
    fn take(mut self) -> Option<LogEvent> {
        let event = self.event.take()?;
        self.counts.hand_over(&event);
        Some(event)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(event) = self.event.take() {
            Receipts::new(Arc::clone(&self.counts)).push(event);
        }
    }
}

/// The sink of [`channel`].
#[derive(Debug)]
pub struct ChannelSink(Mutex<Option<mpsc::Sender<Waiting>>>);

impl SinkConfig for ChannelSink {
    fn build(&self, cx: &SinkContext) -> Result<(Box<dyn StreamSink>, Option<Healthcheck>)> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let sender = sender.ok_or("this end of the channel is in use already; make another channel")?;
        Ok((Box::new(Running { id: cx.id.clone(), sender }), None))
    }
}

struct Running {
    id: String,
    sender: mpsc::Sender<Waiting>,
}

#[async_trait]
impl StreamSink for Running {
    async fn run(self: Box<Self>, mut input: BufferReceiver) -> Result<()> {
        if input.counts().snapshot().is_durable {
            return Err(
                "a buffer on disk cannot tell what the program is done with; let it be in memory".into()
            );
        }
        while let Some(events) = input.recv().await {
            let counts = input.counts();
            let waiting = |event| Waiting { event: Some(event), counts: Arc::clone(counts) };
            let chunk: Vec<_> = events.into_iter().map(waiting).collect();
            for waiting in chunk {
                if self.sender.send(waiting).await.is_err() {
                    tracing::info!(
                        sink = self.id,
                        "nobody receives its events any more; what comes is dropped, and counted"
                    );
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}
