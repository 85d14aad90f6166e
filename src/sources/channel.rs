//! Events that a program sends: a source made in code.

use crate::config::{Result, Source, SourceConfig, SourceContext};
use crate::event::LogEvent;
use crate::topology::SourceSender;
use async_trait::async_trait;
use futures::{FutureExt, Sink};
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
#[non_exhaustive]
#[snafu(display("the event goes nowhere: its topology has ended"))]
pub struct Ended;

impl Sink<LogEvent> for EventSender {
    type Error = Ended;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        // Some combinators ask once more on the way to the close.
        if self.0.is_closed() {
            return Poll::Ready(Ok(()));
        }
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
        // Room that was asked for and not used is a sender, too: the source would wait for it.
        self.0.abort_send();
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

async fn run(receiver: mpsc::Receiver<LogEvent>, cx: SourceContext) -> Result<()> {
    cx.ready.set();
    let mut sent = Sent { receiver, output: cx.output };
    loop {
        let mut events = Vec::new();
        tokio::select! {
            _ = sent.receiver.recv_many(&mut events, CHUNK) => {}
            // What has been sent is still passed on; whoever sends more is told that it goes nowhere.
            () = cx.shutdown.cancelled(), if !sent.receiver.is_closed() => {
                sent.receiver.close();
                continue;
            }
        }
        if events.is_empty() {
            return Ok(());
        }
        sent.output.send(events).await;
    }
}

/// What the program has sent, and where it goes.
struct Sent {
    receiver: mpsc::Receiver<LogEvent>,
    output: SourceSender,
}

/// What is left was sent before somebody gave it all up: it is passed on without waiting, so that each of them is counted
/// by those who have no room for it.
impl Drop for Sent {
    fn drop(&mut self) {
        self.receiver.close();
        let mut events = Vec::new();
        while let Ok(event) = self.receiver.try_recv() {
            events.push(event);
        }
        if !events.is_empty() {
            let _ = self.output.send(events).now_or_never();
        }
    }
}
