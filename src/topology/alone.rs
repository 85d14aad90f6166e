//! One component by itself: a sink that a program sends events into, a source whose events it takes.

use super::{Books, Check, Report, RunningTopology, StartError, Topology, TopologyOptions};
use crate::config::{BufferConfig, Config, SinkEntry, SourceEntry};
use crate::event::LogEvent;
use crate::sinks::{self, EventReceiver};
use crate::sources::{self, ChannelSource, Ended, EventSender};
use futures::{FutureExt, Sink, Stream};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// The ids of what stands at the other end of a component that runs by itself.
const PROGRAM: &str = "program";

/// As many events may wait in each step between a component and the program.
const CAPACITY: usize = 1_000;

/// A sink by itself, with its buffer, its retries and its books: a [`futures::Sink`] of events, and what any stream of
/// events can be forwarded to. Closing it waits until everything is delivered, or given up; dropped, it ends at once.
///
/// Its buffer is that of its entry (`buffer`), which on disk is below [`TopologyOptions::data_dir`]. Each topology takes the
/// memory of the process for its own: a program with many of them gives each a part, as `MEMORY_LIMIT` in the options' `env`.
///
/// ```
/// use futures::{SinkExt, StreamExt, stream};
/// use log_shipper::config::{Registry, SinkEntry};
/// use log_shipper::event::{LogEvent, Timestamp};
/// use log_shipper::topology::{EventSink, TopologyOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let table = toml::from_str("type = 'blackhole'")?;
/// let entry = SinkEntry::from_table("out", table, &Registry::builtin())?;
/// let mut sink = EventSink::start(entry, &TopologyOptions::default()).await?;
/// let events = ["one", "two"].map(|text| Ok(LogEvent::from_message(text.as_bytes(), Timestamp::now())));
/// stream::iter(events).forward(&mut sink).await?;
/// assert!(sink.counts().to_string().contains("sink out: received 2, delivered 2"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EventSink {
    sender: EventSender,
    alone: Alone,
}

/// A source by itself, with its reconnections and its books: a [`futures::Stream`] of events, which ends with the source.
/// It takes no more than it is asked for, but for some thousand events on their way, so that a slow program slows it down.
/// Dropped, it ends at once.
///
/// Who is done with an event answers its receipts, as [`sinks::channel`] says.
///
/// ```
/// use futures::StreamExt;
/// use log_shipper::config::{Registry, SourceEntry};
/// use log_shipper::topology::{EventStream, TopologyOptions};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let table = toml::from_str("type = 'demo_logs'\nformat = 'fly'\ninterval = 0.0\ncount = 3")?;
/// let entry = SourceEntry::from_table("in", table, &Registry::builtin())?;
/// let events = EventStream::start(entry, &TopologyOptions::default()).await?;
/// let apps: Vec<_> = events.filter_map(async |event| event.app().map(Into::<String>::into)).collect().await;
/// assert_eq!(apps.len(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct EventStream {
    events: EventReceiver,
    alone: Alone,
}

/// A topology of two, which a task brings to its end. Dropped, it is stopped at once.
#[derive(Debug)]
struct Alone {
    books: Books,
    stopper: CancellationToken,
    /// How long the rest may take, once somebody wants the end.
    deadline: Option<oneshot::Sender<Duration>>,
    end: JoinHandle<Report>,
    /// The closed books, once the end has been seen.
    closed: Option<Report>,
}

impl Alone {
    fn new(mut running: RunningTopology) -> Alone {
        let (books, stopper) = (running.books(), running.stopper());
        let (deadline, told) = oneshot::channel();
        let end = tokio::spawn(async move {
            let deadline = tokio::select! {
                () = running.finished() => Duration::ZERO,
                told = told => told.unwrap_or_default(),
            };
            running.stop(deadline).await
        });
        Alone { books, stopper, deadline: Some(deadline), end, closed: None }
    }

    fn counts(&self) -> Report {
        self.closed.clone().unwrap_or_else(|| self.books.snapshot())
    }

    /// Waits for the end.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<&Report> {
        if self.closed.is_none() {
            let end = futures::ready!(self.end.poll_unpin(cx));
            self.closed = Some(end.unwrap_or_else(|error| {
                let mut report = self.books.snapshot();
                report.failures.push(error.to_string());
                report
            }));
        }
        Poll::Ready(self.closed.get_or_insert_default())
    }

    async fn stop(mut self, deadline: Duration) -> Report {
        // It may have come to its end by itself.
        let _ = self.deadline.take().map(|sender| sender.send(deadline));
        std::future::poll_fn(|cx| self.poll_end(cx).map(Report::clone)).await
    }
}

/// A sink that is fed by the program.
fn with_program(source: ChannelSource, mut sink: SinkEntry) -> Config {
    sink.options.inputs = vec![PROGRAM.to_owned()];
    let mut config = Config::default().source(PROGRAM, source);
    config.sinks.push(sink);
    config
}

impl EventSink {
    /// Builds the sink and starts it. Its `inputs` have no meaning here. Does not wait for the network, unless it is
    /// required to be healthy.
    ///
    /// # Errors
    /// If it cannot be built, or is not healthy and has to be.
    pub async fn start(sink: SinkEntry, options: &TopologyOptions) -> Result<EventSink, StartError> {
        let (sender, source) = sources::channel(CAPACITY);
        let config = with_program(source, sink);
        Ok(EventSink {
            sender,
            alone: Alone::new(Topology::start(config, options, std::future::pending::<()>()).await?),
        })
    }

    /// What there is to ask of the sink, without starting it.
    ///
    /// # Errors
    /// If it cannot be built.
    pub async fn check(sink: SinkEntry, options: &TopologyOptions) -> Result<Check, StartError> {
        let (component, timeout) = (format!("sinks.{}", sink.id), sink.options.healthcheck.timeout);
        let (_sender, source) = sources::channel(1);
        let topology = Topology::build(with_program(source, sink), options).await?;
        let check = topology.into_checks().into_iter().find(|check| check.component == component);
        Ok(check.unwrap_or(Check { component, healthcheck: None, timeout }))
    }

    /// What has become of the events so far.
    pub fn counts(&self) -> Report {
        self.alone.counts()
    }

    /// Takes no more events, delivers what there is for at most `deadline`, and gives up the rest. Returns the closed
    /// books, with why the sink has failed, if it has.
    pub async fn stop(self, deadline: Duration) -> Report {
        drop(self.sender);
        self.alone.stop(deadline).await
    }
}

impl Sink<LogEvent> for EventSink {
    type Error = Ended;

    fn poll_ready(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        Pin::new(&mut self.sender).poll_ready(cx)
    }

    fn start_send(mut self: Pin<&mut Self>, event: LogEvent) -> Result<(), Ended> {
        Pin::new(&mut self.sender).start_send(event)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        Pin::new(&mut self.sender).poll_flush(cx)
    }

    /// Waits until everything is delivered, or given up: what of it, the counts say. A sink that has failed is an error, and
    /// [`Report::failures`] says why.
    fn poll_close(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        futures::ready!(Pin::new(&mut self.sender).poll_close(cx))?;
        let report = futures::ready!(self.alone.poll_end(cx));
        Poll::Ready(if report.failures.is_empty() { Ok(()) } else { Err(Ended) })
    }
}

impl EventStream {
    /// Builds the source and starts it. Does not wait for the network.
    ///
    /// # Errors
    /// If it cannot be built.
    pub async fn start(source: SourceEntry, options: &TopologyOptions) -> Result<EventStream, StartError> {
        let (sink, events) = sinks::channel(CAPACITY);
        let mut config = Config::default().sink(PROGRAM, &[&source.id], sink);
        // Nothing is lost to a slow program, whatever the options say of buffers: the source waits for it.
        config.sinks.iter_mut().for_each(|sink| sink.options.buffer = BufferConfig::waiting(CAPACITY));
        config.sources.push(source);
        Ok(EventStream {
            events,
            alone: Alone::new(Topology::start(config, options, std::future::pending::<()>()).await?),
        })
    }

    /// What has come so far. When the stream has ended, [`Report::failures`] says whether its source has failed, and why.
    pub fn counts(&self) -> Report {
        self.alone.counts()
    }

    /// Tells the source to take what has been sent to it, and to end. The stream still gives what there is, and ends
    /// then.
    pub fn shut_down(&self) {
        self.alone.stopper.cancel();
    }

    /// Takes no more events, ends the source, and gives it up after `deadline`. What the program has not taken is counted
    /// as dropped; a source that waits for receipts sends it again. Returns the closed books.
    pub async fn stop(self, deadline: Duration) -> Report {
        drop(self.events);
        self.alone.stop(deadline).await
    }
}

impl Stream for EventStream {
    type Item = LogEvent;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<LogEvent>> {
        let event = futures::ready!(Pin::new(&mut self.events).poll_next(cx));
        if event.is_none() {
            futures::ready!(self.alone.poll_end(cx));
        }
        Poll::Ready(event)
    }
}
