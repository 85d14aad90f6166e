//! Events that a program sends: a source made in code.

use crate::config::{Result, Source, SourceConfig, SourceContext};
use crate::event::LogEvent;
use async_trait::async_trait;
use futures::Sink;
use snafu::Snafu;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;

/// The most events that are passed on together.
const CHUNK: usize = 1_000;

/// A source of the events that the program itself sends, and the end to send them into; `capacity` events may wait
/// between the two. When every clone of the sender is gone, or closed, the source has ended.
///
/// The receipts of an event go with it: what a sink answers comes to whoever gave it
/// [`EventFinalizers`](crate::finalizer::EventFinalizers).
///
/// # Panics
/// If `capacity` is 0.
pub fn channel(capacity: usize) -> (EventSender, ChannelSource) {
    let (sender, receiver) = mpsc::channel(capacity);
    (EventSender(PollSender::new(sender)), ChannelSource(Mutex::new(Some(receiver))))
}

/// Sends events to a [`ChannelSource`]: a [`futures::Sink`]. A send waits while the channel is full, and through it the
/// buffers of the topology behind it.
#[derive(Clone, Debug)]
pub struct EventSender(PollSender<LogEvent>);

/// The source has ended, so that an event can go nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Snafu)]
#[snafu(display("the event goes nowhere: its topology has ended"))]
pub struct Ended;

impl Sink<LogEvent> for EventSender {
    type Error = Ended;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.0.poll_reserve(cx).map_err(|_| Ended)
    }

    fn start_send(mut self: Pin<&mut Self>, event: LogEvent) -> Result<(), Ended> {
        self.0.send_item(event).map_err(|_| Ended)
    }

    /// There is nothing to flush: an event that was sent is with the source. Whether it was delivered, its receipt says.
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        self.0.close();
        Poll::Ready(Ok(()))
    }
}

/// The source of [`channel`].
#[derive(Debug)]
pub struct ChannelSource(Mutex<Option<mpsc::Receiver<LogEvent>>>);

#[async_trait]
impl SourceConfig for ChannelSource {
    async fn build(&self, cx: SourceContext) -> Result<Source> {
        let receiver = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        let receiver = receiver.ok_or("this end of the channel is in use already; make another channel")?;
        Ok(Box::pin(run(receiver, cx)))
    }

    fn can_acknowledge(&self) -> bool {
        true
    }
}

async fn run(mut receiver: mpsc::Receiver<LogEvent>, cx: SourceContext) -> Result<()> {
    cx.ready.set();
    loop {
        let mut events = Vec::new();
        tokio::select! {
            _ = receiver.recv_many(&mut events, CHUNK) => {}
            // What has been sent is still passed on; whoever sends more is told that it goes nowhere.
            () = cx.shutdown.cancelled(), if !receiver.is_closed() => {
                receiver.close();
                continue;
            }
        }
        if events.is_empty() {
            return Ok(());
        }
        cx.output.send(events).await;
    }
}
