//! The topology: a [`Config`] as running tasks.
//!
//! - this file: [`Topology::start`], [`RunningTopology::stop`], the way of a chunk to its consumers
//! - `buffer`: the bounded queue in front of each sink
//! - `counts`: the books

mod buffer;
mod counts;
mod outputs;

pub use buffer::{BufferReceiver, BufferSender, BufferSettings, Capacity, WhenFull, buffer};
pub use counts::{
    DropReason, Outcome, Receipts, SinkCounts, SinkSnapshot, SourceCounts, SourceSnapshot, TransformCounts,
    TransformSnapshot,
};
pub use outputs::{OutputNames, Outputs};

use crate::config::{
    Config, HealthcheckConfig, Problem, Problems, SinkContext, Source, SourceContext, SourceEntry,
    StreamSink, Transform, TransformContext,
};
use crate::env::Env;
use crate::event::LogEvent;
use crate::healthcheck::Healthcheck;
use crate::http::ProxyConfig;
use futures::future::BoxFuture;
use snafu::Snafu;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How a topology is run.
#[derive(Clone, Debug)]
pub struct TopologyOptions {
    /// What a full buffer does where the configuration names no policy: block, as in Vector, or drop
    /// the oldest, so that no sink can hold up another.
    pub when_full: WhenFull,
    /// Whether a failed healthcheck ends the start.
    pub require_healthy: bool,
    /// The environment: proxies, and secrets that are read anew.
    pub env: Env,
}

impl Default for TopologyOptions {
    fn default() -> TopologyOptions {
        TopologyOptions { when_full: WhenFull::Block, require_healthy: false, env: Env::default() }
    }
}

/// A topology does not start.
#[derive(Debug, Snafu)]
pub enum StartError {
    /// Components that cannot be built.
    #[snafu(display("{problems}"))]
    Build {
        /// Why, for each.
        problems: Problems,
    },
    /// Healthchecks failed that were required to pass.
    #[snafu(display("{problems}"))]
    Unhealthy {
        /// Why, for each.
        problems: Problems,
    },
}

/// Components that have been built and do not run yet.
#[derive(Debug)]
pub struct Topology {
    shutdown: CancellationToken,
    books: Books,
    sinks: Vec<BuiltSink>,
    sources: Vec<BuiltSource>,
    require_healthy: bool,
}

struct BuiltSink {
    id: String,
    sink: Box<dyn StreamSink>,
    input: BufferReceiver,
    check: Check,
}

/// What there is to ask of a component.
#[derive(Debug)]
pub struct Check {
    /// Where it stands in the configuration: `sinks.loki`.
    pub component: String,
    /// What to ask; nothing if the component has nothing, or if its healthcheck is off.
    pub healthcheck: Option<Healthcheck>,
    /// How long it may take.
    pub timeout: Duration,
}

struct BuiltSource {
    id: String,
    check: Check,
    source: Source,
}

impl fmt::Debug for BuiltSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

impl fmt::Debug for BuiltSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.id)
    }
}

/// Tasks that move events. Dropped, they end at once, and what they hold is lost; see
/// [`RunningTopology::stop`].
#[derive(Debug)]
pub struct RunningTopology {
    tasks: JoinSet<Option<String>>,
    /// Apart from the others, because nobody waits for them at the end.
    healthchecks: JoinSet<Result<(), Problem>>,
    /// The components that ended before their time.
    failures: Vec<String>,
    shutdown: CancellationToken,
    books: Books,
}

/// The books of every source and sink of a topology; a clone shows the same ones.
#[derive(Clone, Debug, Default)]
pub struct Books {
    sources: Vec<(String, Arc<SourceCounts>)>,
    sinks: Vec<(String, Arc<SinkCounts>)>,
}

/// The books of a topology at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Every source by id.
    pub sources: Vec<(String, SourceSnapshot)>,
    /// Every sink by id.
    pub sinks: Vec<(String, SinkSnapshot)>,
}

impl Books {
    /// The books now.
    pub fn snapshot(&self) -> Report {
        Report {
            sources: self.sources.iter().map(|(id, counts)| (id.clone(), counts.snapshot())).collect(),
            sinks: self.sinks.iter().map(|(id, counts)| (id.clone(), counts.snapshot())).collect(),
        }
    }
}

impl Report {
    /// Whether events were lost that nobody chose to lose: dropped at the shutdown's deadline or by a
    /// faulty sink, or still on their way.
    pub fn has_losses(&self) -> bool {
        self.sinks.iter().any(|(_, sink)| {
            sink.dropped_for(DropReason::Shutdown) + sink.dropped_for(DropReason::Unanswered) + sink.buffered
                > 0
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sources = self.sources.iter().map(|(id, source)| format!("source {id}: {source}"));
        let sinks = self.sinks.iter().map(|(id, sink)| format!("sink {id}: {sink}"));
        f.write_str(&sources.chain(sinks).collect::<Vec<_>>().join("\n"))
    }
}

// === the way of a chunk ===

/// Where a source's events go: to every consumer that names the source among its inputs.
#[derive(Clone, Debug)]
pub struct SourceSender {
    counts: Arc<SourceCounts>,
    fanout: Fanout,
}

impl SourceSender {
    /// Passes a chunk on. Waits while the buffer of a consumer is full whose policy is to block.
    pub async fn send(&self, events: Vec<LogEvent>) {
        self.counts.add_received(events.len(), events.iter().map(LogEvent::body_size).sum());
        self.fanout.send(events).await;
        // A source with much to read would go on until its buffers are full, and a policy that drops would
        // drop, while the sinks wait for their turn in the same thread.
        tokio::task::yield_now().await;
    }

    /// The source's books.
    pub fn counts(&self) -> &SourceCounts {
        &self.counts
    }
}

#[derive(Clone, Debug)]
struct Fanout(Arc<[Consumer]>);

#[derive(Debug)]
enum Consumer {
    Sink(BufferSender),
    /// Runs where its events come from: no task, no queue.
    Transform(SharedTransform, Fanout),
}

#[derive(Clone)]
struct SharedTransform(Arc<Mutex<Box<dyn Transform>>>);

impl fmt::Debug for SharedTransform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transform")
    }
}

impl Fanout {
    async fn send(&self, events: Vec<LogEvent>) {
        let Some((last, others)) = self.0.split_last() else {
            SinkCounts::default().settle_events(events, Outcome::Delivered);
            return;
        };
        for consumer in others {
            consumer.send(events.clone()).await;
        }
        last.send(events).await;
    }
}

impl Consumer {
    fn send(&self, events: Vec<LogEvent>) -> BoxFuture<'_, ()> {
        match self {
            Consumer::Sink(buffer) => Box::pin(buffer.send(events)),
            Consumer::Transform(transform, fanout) => {
                let mut outputs = Outputs::new(0, Arc::default());
                {
                    let mut transform = transform.0.lock().unwrap_or_else(PoisonError::into_inner);
                    events.into_iter().for_each(|event| transform.transform(event, &mut outputs));
                }
                Box::pin(fanout.send(outputs.take().0))
            }
        }
    }
}

// === starting and stopping ===

impl Topology {
    /// Builds every component. Nothing runs yet, and nothing waits for the network.
    ///
    /// # Errors
    /// Every component that cannot be built.
    pub async fn build(config: Config, options: &TopologyOptions) -> Result<Topology, StartError> {
        let mut topology = Topology {
            shutdown: CancellationToken::new(),
            books: Books::default(),
            sinks: Vec::new(),
            sources: Vec::new(),
            require_healthy: options.require_healthy || config.global.healthchecks.require_healthy,
        };
        let mut problems = Vec::new();
        let mut fail =
            |path: String, error: &dyn fmt::Display| problems.push(Problem::at(path, error.to_string()));

        let env_proxy = ProxyConfig::from_env(&options.env).unwrap_or_else(|error| {
            fail("proxy".to_owned(), &error);
            ProxyConfig::default()
        });
        let mut consumers = Consumers::default();
        for entry in config.sinks {
            let cx = SinkContext {
                id: entry.id.clone(),
                proxy: entry.options.proxy.or(&config.global.proxy).or(&env_proxy),
                healthcheck: entry.options.healthcheck.clone(),
                env: options.env.clone(),
            };
            let (sink, healthcheck) = match entry.config.build(&cx) {
                Ok(built) => built,
                Err(error) => {
                    fail(format!("sinks.{}", entry.id), &error);
                    continue;
                }
            };
            let counts = Arc::new(SinkCounts::default());
            let (sender, input) =
                buffer(entry.options.buffer.settings(options.when_full), Arc::clone(&counts));
            consumers.add(&entry.options.inputs, || Consumer::Sink(sender.clone()));
            let is_checked = config.global.healthchecks.enabled && cx.healthcheck.enabled;
            let healthcheck = healthcheck.filter(|_| is_checked);
            let component = format!("sinks.{}", entry.id);
            let check = Check { component, healthcheck, timeout: cx.healthcheck.timeout };
            topology.books.sinks.push((entry.id.clone(), counts));
            topology.sinks.push(BuiltSink { id: entry.id, sink, input, check });
        }

        let mut transforms = Vec::new();
        for entry in config.transforms {
            match entry
                .config
                .build(&TransformContext { id: entry.id.clone(), ..TransformContext::default() })
            {
                Err(error) => fail(format!("transforms.{}", entry.id), &error),
                Ok(transform) => {
                    let shared = SharedTransform(Arc::new(Mutex::new(transform)));
                    transforms.push((entry.id, entry.inputs, shared));
                }
            }
        }
        // A transform can be connected once everybody whom it feeds is; without circles one always can.
        while !transforms.is_empty() {
            let feeds_another = |id: &String| transforms.iter().any(|(_, inputs, _)| inputs.contains(id));
            let Some(next) = transforms.iter().position(|(id, _, _)| !feeds_another(id)) else {
                fail(
                    format!("transforms.{}", transforms[0].0),
                    &"the transforms feed each other in a circle",
                );
                break;
            };
            let (id, inputs, transform) = transforms.swap_remove(next);
            let fanout = consumers.take(&id);
            consumers.add(&inputs, || Consumer::Transform(transform.clone(), fanout.clone()));
        }

        for SourceEntry { id, config: source, .. } in config.sources {
            let counts = Arc::new(SourceCounts::default());
            topology.books.sources.push((id.clone(), Arc::clone(&counts)));
            let cx = SourceContext {
                id: id.clone(),
                output: SourceSender { counts, fanout: consumers.take(&id) },
                shutdown: topology.shutdown.clone(),
                env: options.env.clone(),
            };
            let component = format!("sources.{id}");
            let built = source.build(cx).await;
            match built.and_then(|built| Ok((built, source.healthcheck(&options.env)?))) {
                Ok((source, healthcheck)) => {
                    let check =
                        Check { component, healthcheck, timeout: HealthcheckConfig::default().timeout };
                    topology.sources.push(BuiltSource { id, check, source });
                }
                Err(error) => fail(component, &error),
            }
        }
        for id in consumers.0.keys() {
            fail(format!("inputs.{id}"), &"no component has this id");
        }
        if problems.is_empty() {
            Ok(topology)
        } else {
            let placed = problems.into_iter().map(|problem| config.places.place(problem));
            Err(StartError::Build { problems: Problems(placed.collect()) })
        }
    }

    /// What there is to ask of the sources and the sinks, instead of starting them.
    pub fn into_checks(self) -> Vec<Check> {
        let sources = self.sources.into_iter().map(|source| source.check);
        sources.chain(self.sinks.into_iter().map(|sink| sink.check)).collect()
    }

    /// Builds every component and starts them: sinks first, sources last. Waits for the network only
    /// if healthchecks are required to pass.
    ///
    /// # Errors
    /// Every component that cannot be built, or every failed healthcheck that was required to pass.
    pub async fn start(config: Config, options: &TopologyOptions) -> Result<RunningTopology, StartError> {
        let topology = Topology::build(config, options).await?;
        let Topology { shutdown, books, mut sinks, sources, require_healthy } = topology;
        let mut running = RunningTopology {
            tasks: JoinSet::new(),
            healthchecks: JoinSet::new(),
            failures: Vec::new(),
            shutdown,
            books,
        };
        let healthchecks = sinks.iter_mut().filter_map(|sink| {
            let healthcheck = sink.check.healthcheck.take().filter(Healthcheck::is_for_start)?;
            Some((sink.id.clone(), healthcheck, sink.check.timeout))
        });
        running.check(healthchecks.collect(), require_healthy).await?;
        for BuiltSink { id, sink, input, .. } in sinks {
            running
                .tasks
                .spawn(async move { sink.run(input).await.err().map(|error| format!("sink {id}: {error}")) });
        }
        for BuiltSource { id, source, .. } in sources {
            running
                .tasks
                .spawn(async move { source.await.err().map(|error| format!("source {id}: {error}")) });
        }
        Ok(running)
    }
}

/// Who takes the events of each component.
#[derive(Default)]
struct Consumers(HashMap<String, Vec<Consumer>>);

impl Consumers {
    fn add(&mut self, inputs: &[String], consumer: impl Fn() -> Consumer) {
        for input in inputs {
            self.0.entry(input.clone()).or_default().push(consumer());
        }
    }

    fn take(&mut self, id: &str) -> Fanout {
        Fanout(self.0.remove(id).unwrap_or_default().into())
    }
}

impl RunningTopology {
    async fn check(
        &mut self,
        healthchecks: Vec<(String, Healthcheck, Duration)>,
        require: bool,
    ) -> Result<(), StartError> {
        for (id, healthcheck, timeout) in healthchecks {
            self.healthchecks.spawn(async move {
                let (result, _) = healthcheck.run(timeout).await;
                match &result {
                    Ok(()) => tracing::info!(sink = id, "healthcheck passed"),
                    Err(error) => {
                        tracing::error!(sink = id, "healthcheck failed: {error}; {}", error.advice());
                    }
                }
                result.map_err(|error| {
                    Problem::at(format!("sinks.{id}"), format!("healthcheck failed: {error}"))
                })
            });
        }
        if !require {
            return Ok(());
        }
        let mut problems = Vec::new();
        while let Some(result) = self.healthchecks.join_next().await {
            problems.extend(result.ok().and_then(Result::err));
        }
        if problems.is_empty() { Ok(()) } else { Err(StartError::Unhealthy { problems: Problems(problems) }) }
    }

    /// Tells the sources to stop, from elsewhere: [`RunningTopology::finished`] then comes true when
    /// everything has been delivered.
    pub fn stopper(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// The books, for as long as one likes.
    pub fn books(&self) -> Books {
        self.books.clone()
    }

    /// The books now.
    pub fn report(&self) -> Report {
        self.books.snapshot()
    }

    /// Waits until every source has ended by itself and every sink has delivered what it had. A
    /// component that fails stops the sources: half a topology would look as if all were well.
    pub async fn finished(&mut self) {
        while let Some(ended) = self.tasks.join_next().await {
            let failure = ended.unwrap_or_else(|error| Some(format!("a component has panicked: {error}")));
            if let Some(failure) = failure {
                tracing::error!("{failure}");
                self.failures.push(failure);
                self.shutdown.cancel();
            }
        }
    }

    /// Waits until everything has ended by itself, or a component has failed: then
    /// [`RunningTopology::stop`] gives the others a deadline.
    pub async fn ended(&mut self) {
        tokio::select! {
            () = self.shutdown.clone().cancelled_owned() => {}
            () = self.finished() => {}
        }
    }

    /// What has failed so far; see [`RunningTopology::finished`].
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// Stops the sources, lets the sinks deliver what there is for at most `deadline`, and gives up
    /// the rest. Returns the closed books.
    pub async fn stop(&mut self, deadline: Duration) -> Report {
        self.shutdown.cancel();
        if tokio::time::timeout(deadline, self.finished()).await.is_err() {
            self.give_up().await;
        }
        self.report()
    }

    /// Ends everything at once. Returns the closed books.
    pub async fn abort(&mut self) -> Report {
        self.give_up().await;
        self.report()
    }

    async fn give_up(&mut self) {
        for (_, counts) in &self.books.sinks {
            counts.give_up();
        }
        self.tasks.shutdown().await;
        // The requests under way are tasks of the sinks' own; the runtime drops them a moment after their
        // sink, and with them their receipts.
        let settled = async {
            while self.report().sinks.iter().any(|(_, sink)| sink.buffered > 0) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(1), settled).await;
    }
}
