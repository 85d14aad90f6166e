//! [`RunningTopology`]: tasks that move events, and how they start, are replaced, and end.

use super::books::{Books, Report};
use super::buffer::disk::{DiskSettings, OpenedDisk};
use super::buffer::{BufferSender, DiskBuffer, buffer_on};
use super::dead_letters::DeadLetters;
use super::graph::{Consumer, Fanout, OpenSources, TransformNode};
use super::memory::{Memory, Plan, SinkMemory};
use super::observer::Observer;
use super::tap::Tap;
use super::{Builder, BuiltSink, Planned, StartError, Topology, TopologyOptions};
use crate::config::{Config, DEAD_LETTERS, Problem, Problems};
use crate::healthcheck::Healthcheck;
use crate::nats::OVERLAP;
use std::any::Any;
use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::sync::{CancellationToken, DropGuard};

/// Tasks that move events. Dropped, they end at once, and what they hold is lost; see
/// [`RunningTopology::stop`].
///
/// ```
/// use log_shipper::config::{Config, Registry};
/// use log_shipper::env::Env;
/// use log_shipper::topology::{Topology, TopologyOptions};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let load = |sink: &str| {
///     let text = format!("sources.in = {{ type = 'stdin' }}\n[sinks.{sink}]\ntype = 'blackhole'\ninputs = ['in']");
///     Config::from_toml(&text, "vector.toml", &Registry::builtin(), &Env::default())
/// };
/// let mut running = Topology::start(load("one")?, &TopologyOptions::default(), std::future::pending::<()>()).await?;
/// // Another configuration: what has not changed keeps running.
/// running.reload(load("two")?).await?;
/// assert!(running.failures().is_empty());
/// let report = running.stop(Duration::from_secs(5)).await;
/// assert!(report.to_string().contains("sink two: received 0"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct RunningTopology {
    /// Each ends with what was wrong, if something was.
    tasks: JoinSet<Option<String>>,
    /// The sources from which something may still come.
    open_sources: OpenSources,
    /// Which of them pass on what transforms hold back: those must have ended before the consumers go.
    flush_tasks: HashSet<Id>,
    /// Which of them are sinks, but for those of dead letters, which go last.
    sink_tasks: HashSet<Id>,
    /// Apart from the others, because nobody waits for them at the end.
    healthchecks: JoinSet<Result<(), Problem>>,
    /// The components that ended before their time.
    failures: Vec<String>,
    shutdown: CancellationToken,
    books: Books,
    tap: Tap,
    observer: Observer,
    /// Dropped with the rest.
    _end_is_seen: DropGuard,
    graph: Graph,
    memory: Memory,
    options: TopologyOptions,
    /// Buffers on disk that are open.
    disks: Vec<DiskBuffer>,
    /// Transforms that are no longer there, and may still hold something.
    retired: Vec<Weak<TransformNode>>,
    end: End,
    last_moments: LastMoments,
}

/// How far the end is, once the last source has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    No,
    /// Flushes that have begun are brought to their end.
    Flushing,
    /// Nothing comes any more but what transforms hold back.
    WindingUp,
}

/// What runs, and how it is connected.
#[derive(Debug, Default)]
pub(super) struct Graph {
    sources: HashMap<String, SourceNode>,
    transforms: HashMap<String, Placed>,
    sinks: HashMap<String, SinkNode>,
    dead_letters: Option<SinkNode>,
}

#[derive(Debug)]
struct SourceNode {
    fingerprint: Option<u64>,
    fanout: Fanout,
    stop: CancellationToken,
}

#[derive(Debug)]
struct Placed {
    fingerprint: Option<u64>,
    inputs: Vec<String>,
    node: Arc<TransformNode>,
    /// Ends its flushes.
    stop: CancellationToken,
}

#[derive(Debug)]
struct SinkNode {
    fingerprint: Option<u64>,
    inputs: Vec<String>,
    buffer: BufferSender,
    memory: SinkMemory,
    handle: Option<Arc<dyn Any + Send + Sync>>,
}

/// What a reload has changed: components as they stand in the configuration, `sinks.loki`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Changes {
    /// Those that were not there.
    pub added: Vec<String>,
    /// Those that have other options than before. Other inputs alone are no restart.
    pub changed: Vec<String>,
    /// Those that are no longer there.
    pub removed: Vec<String>,
}

impl Changes {
    fn note<T, U>(&mut self, kind: &str, old: &HashMap<String, T>, new: &[Planned<U>]) {
        for planned in new.iter().filter(|planned| planned.built.is_some()) {
            let list = if old.contains_key(&planned.id) { &mut self.changed } else { &mut self.added };
            list.push(format!("{kind}.{}", planned.id));
        }
        let is_gone = |id: &&String| !new.iter().any(|planned| planned.id == **id);
        self.removed.extend(old.keys().filter(is_gone).map(|id| format!("{kind}.{id}")));
    }
}

impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts = [("added", &self.added), ("changed", &self.changed), ("removed", &self.removed)];
        let parts: Vec<_> = parts
            .into_iter()
            .filter(|(_, ids)| !ids.is_empty())
            .map(|(what, ids)| format!("{what} {}", ids.join(", ")))
            .collect();
        f.write_str(if parts.is_empty() { "no component is different" } else { "" })?;
        f.write_str(&parts.join("; "))
    }
}

/// How long a source that takes the place of another may take until it is ready, before the other one is
/// stopped all the same: what it reads from is then not there, or it does not tell.
const CHANGE_OVER: Duration = Duration::from_secs(10);

/// How long the end takes, once the deadline has passed.
#[derive(Clone, Copy, Debug)]
struct LastMoments {
    /// At most, for requests under way to be dropped.
    requests: Duration,
    /// At most, for the disk to take what is left.
    writes: Duration,
}

impl LastMoments {
    /// Somebody who gives little time to stop is about to kill us when it is over.
    fn after(deadline: Duration) -> LastMoments {
        let (requests, writes) = if deadline < Duration::from_secs(10) { (200, 700) } else { (1000, 5000) };
        LastMoments { requests: Duration::from_millis(requests), writes: Duration::from_millis(writes) }
    }
}

/// How long it takes until the runtime has dropped a request after its sink.
const DROP_OF_REQUESTS: Duration = Duration::from_millis(50);

/// Which components run already and stay as they are.
impl Graph {
    pub(super) fn keeps_source(&self, id: &str, fingerprint: Option<u64>) -> bool {
        fingerprint.is_some() && self.sources.get(id).is_some_and(|node| node.fingerprint == fingerprint)
    }

    pub(super) fn keeps_transform(&self, id: &str, fingerprint: Option<u64>) -> bool {
        fingerprint.is_some() && self.transforms.get(id).is_some_and(|node| node.fingerprint == fingerprint)
    }

    pub(super) fn keeps_dead_letters(&self, fingerprint: Option<u64>) -> bool {
        fingerprint.is_some()
            && self.dead_letters.as_ref().is_some_and(|node| node.fingerprint == fingerprint)
    }

    pub(super) fn keeps_sink(&self, id: &str, fingerprint: Option<u64>) -> bool {
        fingerprint.is_some() && self.sinks.get(id).is_some_and(|node| node.fingerprint == fingerprint)
    }
}

impl Graph {
    /// What is different in this topology.
    fn changes(&self, topology: &Topology) -> Changes {
        let mut changes = Changes::default();
        changes.note("sources", &self.sources, &topology.sources);
        changes.note("transforms", &self.transforms, &topology.transforms);
        changes.note("sinks", &self.sinks, &topology.sinks);
        let list = match (&self.dead_letters, &topology.dead_letters) {
            (None, Some(_)) => Some(&mut changes.added),
            (Some(_), Some(planned)) if planned.built.is_some() => Some(&mut changes.changed),
            (Some(_), None) => Some(&mut changes.removed),
            _ => None,
        };
        list.into_iter().for_each(|list| list.push(DEAD_LETTERS.to_owned()));
        changes
    }

    /// Who takes the events of each output, by its name.
    fn consumers(&self) -> HashMap<String, Vec<Consumer>> {
        let mut consumers: HashMap<String, Vec<Consumer>> = HashMap::new();
        let sinks = self.sinks.values().map(|sink| (&sink.inputs, Consumer::Sink(sink.buffer.clone())));
        let transforms = self
            .transforms
            .values()
            .map(|transform| (&transform.inputs, Consumer::Transform(Arc::clone(&transform.node))));
        for (inputs, consumer) in sinks.chain(transforms) {
            for input in inputs {
                consumers.entry(input.clone()).or_default().push(consumer.clone());
            }
        }
        consumers
    }

    /// Every output by its name.
    fn outputs(&self) -> impl Iterator<Item = (&String, &Fanout)> {
        let sources = self.sources.iter().map(|(id, source)| (id, &source.fanout));
        let transforms = self.transforms.values().flat_map(|transform| &transform.node.fanouts);
        sources.chain(transforms.map(|(name, fanout)| (name, fanout)))
    }

    /// The transforms in steps: each after all that feed it.
    fn transforms_in_order(&self) -> Vec<Vec<Arc<TransformNode>>> {
        let mut rest: Vec<&Placed> = self.transforms.values().collect();
        let mut steps = Vec::new();
        while !rest.is_empty() {
            let is_fed = |placed: &&Placed| {
                let feeds = |(name, _): &(String, Fanout)| placed.inputs.contains(name);
                rest.iter().any(|other| other.node.fanouts.iter().any(feeds))
            };
            // Without circles there is always one that nobody feeds any more.
            let (fed, step): (Vec<&Placed>, Vec<&Placed>) = rest.iter().copied().partition(is_fed);
            steps.push(step.iter().map(|placed| Arc::clone(&placed.node)).collect());
            rest = if step.is_empty() { Vec::new() } else { fed };
        }
        steps
    }
}

// === starting and reloading ===

/// A buffer on disk that has to be opened.
struct MissingDisk {
    sink: String,
    /// Where the sink stands in the configuration.
    path: String,
    settings: DiskSettings,
}

/// Opens them, each by the id of its sink.
async fn open_disks(missing: Vec<MissingDisk>) -> Result<HashMap<String, OpenedDisk>, StartError> {
    let mut opened = HashMap::new();
    let mut problems = Vec::new();
    for MissingDisk { sink, path, settings } in missing {
        // It looks at all that is there.
        match tokio::task::spawn_blocking(move || settings.open()).await {
            Ok(Ok(disk)) => drop(opened.insert(sink, disk)),
            Ok(Err(error)) => problems.push(Problem::at(format!("{path}.buffer"), error.to_string())),
            Err(error) => problems.push(Problem::at(format!("{path}.buffer"), error.to_string())),
        }
    }
    match problems.is_empty() {
        true => Ok(opened),
        false => Err(StartError::Build { problems: Problems(problems) }),
    }
}

impl RunningTopology {
    pub(super) async fn start(
        topology: Topology,
        options: &TopologyOptions,
    ) -> Result<RunningTopology, StartError> {
        let observer = Observer::new(&topology.books, &topology.tap, &topology.shutdown);
        let mut running = RunningTopology {
            tasks: JoinSet::new(),
            open_sources: topology.open_sources.clone(),
            flush_tasks: HashSet::new(),
            sink_tasks: HashSet::new(),
            healthchecks: JoinSet::new(),
            failures: Vec::new(),
            shutdown: topology.shutdown.clone(),
            books: topology.books.clone(),
            tap: topology.tap.clone(),
            _end_is_seen: observer.ended().clone().drop_guard(),
            observer,
            graph: Graph::default(),
            memory: topology.memory.clone(),
            options: options.clone(),
            disks: Vec::new(),
            retired: Vec::new(),
            end: End::No,
            last_moments: LastMoments::after(Duration::MAX),
        };
        running.take(topology).await?;
        Ok(running)
    }

    /// Goes over to another configuration. Components that are the same in both go on as they are; those that
    /// have changed are replaced, and no event is lost: what waits in front of a sink is for the one that takes
    /// its place, a source is stopped when its successor is ready, and what a transform holds back is passed
    /// on. What a removed component still has is brought to its end in the background. With a new `nats`
    /// source outside of a queue group, the messages of a moment may come twice.
    ///
    /// # Errors
    /// As [`Topology::start`], or if the topology is about to end; everything then goes on as it was.
    pub async fn reload(&mut self, config: Config) -> Result<Changes, StartError> {
        if self.end != End::No || self.shutdown.is_cancelled() {
            return Err(StartError::Ending);
        }
        let books = self.books.mark();
        let options = self.options.clone();
        let builder = Builder::new(
            &config,
            &options,
            self.books.clone(),
            self.tap.clone(),
            self.open_sources.clone(),
            self.shutdown.clone(),
            self.memory.clone(),
        );
        let taken = match builder.build(config, &self.graph).await {
            Ok(topology) => self.take(topology).await,
            Err(error) => Err(error),
        };
        // What has not come to be has no books.
        taken.inspect_err(|_| self.books.forget_since(books))
    }

    /// Asks the new sinks how they are, if that decides, and puts the topology in place of what runs.
    async fn take(&mut self, mut topology: Topology) -> Result<Changes, StartError> {
        let require_healthy = topology.require_healthy;
        let sinks = topology.sinks.iter_mut().chain(&mut topology.dead_letters);
        self.check(sinks, require_healthy).await?;
        let mut disks = open_disks(self.missing_disks(&topology)).await?;
        let changes = self.graph.changes(&topology);
        let Topology { sources, transforms, sinks, dead_letters, components, plan, sources_wait, .. } =
            topology;
        self.books.describe(components, dead_letters.as_ref().map(|planned| &planned.id));
        plan.announce();
        self.books.set_memory_limit(plan.limit());
        let mut old = std::mem::take(&mut self.graph);
        self.graph.dead_letters = dead_letters.and_then(|planned| {
            let disk = disks.remove(&planned.id);
            let (node, _) = self.place_sink(&planned.id, old.dead_letters.take(), planned.built, disk)?;
            Some(SinkNode { fingerprint: planned.fingerprint, ..node })
        });
        if self.graph.dead_letters.is_none() {
            // Of sinks that are no longer there as well: what they still refuse goes nowhere.
            self.books.forget_dead_letters();
        }
        for planned in sinks {
            let disk = disks.remove(&planned.id);
            let node = self.place_sink(&planned.id, old.sinks.remove(&planned.id), planned.built, disk);
            let Some((node, task)) = node else { continue };
            self.sink_tasks.extend(task);
            let letters = self.graph.dead_letters.as_ref();
            let letters = letters.map(|letters| DeadLetters::new(&planned.id, letters.buffer.clone()));
            let counts = self.books.sink(&planned.id);
            counts.set_dead_letters(letters);
            counts.set_sources_wait(sources_wait);
            let node = SinkNode { fingerprint: planned.fingerprint, inputs: planned.inputs, ..node };
            self.graph.sinks.insert(planned.id, node);
        }
        self.share_memory(&plan);
        let mut replaced = Vec::new();
        for Planned { id, inputs, fingerprint, built } in transforms {
            let predecessor = old.transforms.remove(&id);
            let (node, stop) = match (built, predecessor) {
                (None, Some(kept)) => (kept.node, kept.stop),
                (None, None) => continue,
                (Some(node), predecessor) => {
                    replaced.extend(predecessor);
                    let stop = CancellationToken::new();
                    self.flush_now_and_then(&node, stop.clone());
                    (node, stop)
                }
            };
            self.graph.transforms.insert(id, Placed { fingerprint, inputs, node, stop });
        }
        let mut started = Vec::new();
        for Planned { id, fingerprint, built, .. } in sources {
            let predecessor = old.sources.remove(&id);
            let node = match (built, predecessor) {
                (None, Some(kept)) => kept,
                (None, None) => continue,
                (Some(built), predecessor) => {
                    let (ready, stop) = (built.ready, built.stop.clone());
                    started.push((id.clone(), built.source, ready, stop, predecessor));
                    SourceNode { fingerprint, fanout: built.fanout, stop: built.stop }
                }
            };
            self.graph.sources.insert(id, node);
        }

        let consumers = self.graph.consumers();
        let of = |name: &String| consumers.get(name).map(Vec::as_slice).unwrap_or_default();
        self.graph.outputs().for_each(|(name, fanout)| fanout.set(of(name)));
        // What is still in a component that another has replaced goes where the other's events go; one that
        // was removed keeps its consumers until it is empty.
        let is_there: HashSet<&String> = self.graph.outputs().map(|(name, _)| name).collect();
        for (name, fanout) in replaced.iter().flat_map(|placed| &placed.node.fanouts) {
            if is_there.contains(name) {
                fanout.set(of(name));
            }
        }
        for (id, _, _, _, predecessor) in &started {
            predecessor.iter().for_each(|source| source.fanout.set(of(id)));
        }
        drop(consumers);

        for (id, source, ready, stopped, predecessor) in started {
            let status = ready.status().clone();
            self.books.source(&id).set_status(status.clone());
            let predecessor = predecessor.map(|source| source.stop);
            self.tasks.spawn(async move {
                let change_over = async {
                    let Some(predecessor) = predecessor else { return };
                    tokio::select! {
                        () = async { ready.wait().await; tokio::time::sleep(OVERLAP).await } => {}
                        // Another one, which is ready, has taken its place in turn.
                        () = stopped.cancelled() => {}
                        () = tokio::time::sleep(CHANGE_OVER) => {}
                    }
                    predecessor.cancel();
                };
                let (result, ()) = tokio::join!(source, change_over);
                if result.is_ok() && !stopped.is_cancelled() {
                    status.ended();
                }
                result.err().map(|error| format!("source {id}: {error}"))
            });
        }
        old.sources.values().for_each(|source| source.stop.cancel());
        for placed in replaced.into_iter().chain(old.transforms.into_values()) {
            placed.stop.cancel();
            self.retired.push(Arc::downgrade(&placed.node));
            let task = self.tasks.spawn(async move {
                placed.node.finish().await;
                None
            });
            self.flush_tasks.insert(task.id());
        }
        self.retired.retain(|node| node.strong_count() > 0);
        Ok(changes)
    }

    /// Gives each sink its share, which those that run already may not have yet.
    fn share_memory(&self, plan: &Plan) {
        for (id, share) in plan.shares() {
            let letters = self.graph.dead_letters.as_ref().filter(|_| id == DEAD_LETTERS);
            if let Some(node) = letters.or_else(|| self.graph.sinks.get(id)) {
                node.memory.set(share);
                node.buffer.set_capacity(share.buffer);
            }
        }
    }

    /// Starts a sink that has been built, in front of it the buffer of the one whose place it takes.
    fn place_sink(
        &mut self,
        id: &str,
        predecessor: Option<SinkNode>,
        built: Option<BuiltSink>,
        opened: Option<OpenedDisk>,
    ) -> Option<(SinkNode, Option<Id>)> {
        let Some(BuiltSink { sink, buffer: settings, disk, memory, status, .. }) = built else {
            return predecessor.map(|kept| (kept, None));
        };
        self.books.sink(id).set_status(status);
        let (sender, input) = match predecessor {
            None => match disk.as_ref().and_then(|disk| self.open_disk(disk)) {
                Some(sender) => {
                    let input = sender.hand_over(settings);
                    (sender, input)
                }
                None => buffer_on(settings, opened, self.books.sink(id)),
            },
            Some(old) => {
                old.buffer.set_disk(disk.as_ref(), opened);
                if let Some(handle) = old.handle {
                    sink.succeed(handle);
                }
                let input = old.buffer.hand_over(settings);
                (old.buffer, input)
            }
        };
        self.disks.retain(DiskBuffer::is_open);
        if !self.disks.iter().any(|disk| disk.is_of(&sender)) {
            self.disks.extend(sender.disk());
        }
        let handle = sink.handle();
        let name = id.to_owned();
        let task = self
            .tasks
            .spawn(async move { sink.run(input).await.err().map(|error| format!("sink {name}: {error}")) });
        Some((
            SinkNode { fingerprint: None, inputs: Vec::new(), buffer: sender, memory, handle },
            Some(task.id()),
        ))
    }

    /// The buffers on disk that no component of ours has open already.
    fn missing_disks(&self, topology: &Topology) -> Vec<MissingDisk> {
        let running = |id: &str| self.graph.sinks.get(id).map(|node| &node.buffer);
        let sinks = topology
            .sinks
            .iter()
            .map(|planned| (planned, running(&planned.id), format!("sinks.{}", planned.id)));
        let dead_letters = self.graph.dead_letters.as_ref().map(|node| &node.buffer);
        let dead_letters =
            topology.dead_letters.iter().map(|planned| (planned, dead_letters, planned.id.clone()));
        let missing = sinks.chain(dead_letters).filter_map(|(planned, running, path)| {
            let settings = planned.built.as_ref()?.disk.clone()?;
            let is_open =
                running.is_some_and(|buffer| buffer.disk().is_some()) || self.open_disk(&settings).is_some();
            (!is_open).then(|| MissingDisk { sink: planned.id.clone(), path, settings })
        });
        missing.collect()
    }

    /// The buffer in this directory, if a sink that was removed is not done with it yet.
    fn open_disk(&self, settings: &DiskSettings) -> Option<BufferSender> {
        self.disks.iter().find_map(|disk| disk.sender(settings))
    }

    /// Waits until what is in memory of buffers on disk has been written. Nothing runs any more.
    async fn close_disks(&mut self) {
        let closed = futures::future::join_all(self.disks.iter().map(DiskBuffer::close));
        if tokio::time::timeout(self.last_moments.writes, closed).await.is_err() {
            self.books.give_up();
            for disk in &self.disks {
                let (sink, lost) = (disk.sink(), disk.give_up());
                if lost > 0 {
                    tracing::error!(
                        sink,
                        "the disk buffer takes too long to write what is left: {lost} events are lost"
                    );
                }
            }
        }
        self.disks.clear();
    }

    /// Lets a transform that holds events back pass on those that have waited long enough.
    fn flush_now_and_then(&mut self, node: &Arc<TransformNode>, stop: CancellationToken) {
        let Some(every) = node.flush_every else { return };
        let node = Arc::clone(node);
        let task = self.tasks.spawn(async move {
            // A flush that has begun is brought to its end: what is on its way would be lost otherwise.
            while tokio::time::timeout(every, stop.cancelled()).await.is_err() {
                node.flush().await;
            }
            None
        });
        self.flush_tasks.insert(task.id());
    }

    async fn check(
        &mut self,
        sinks: impl Iterator<Item = &mut Planned<BuiltSink>>,
        require: bool,
    ) -> Result<(), StartError> {
        while self.healthchecks.try_join_next().is_some() {}
        let mut required = JoinSet::new();
        let checks = if require { &mut required } else { &mut self.healthchecks };
        for sink in sinks {
            let Some(BuiltSink { check, .. }) = &mut sink.built else { continue };
            // One that is only done when it is asked for has been asked for.
            let is_wanted = |healthcheck: &Healthcheck| require || healthcheck.is_for_start();
            let Some(healthcheck) = check.healthcheck.take().filter(is_wanted) else {
                continue;
            };
            let (id, component, timeout) = (sink.id.clone(), check.component.clone(), check.timeout);
            checks.spawn(async move {
                let (result, _) = healthcheck.run(timeout).await;
                match &result {
                    Ok(()) => tracing::info!(sink = id, "healthcheck passed"),
                    Err(error) => {
                        tracing::error!(sink = id, "healthcheck failed: {error}; {}", error.advice());
                    }
                }
                result.map_err(|error| Problem::at(component, format!("healthcheck failed: {error}")))
            });
        }
        let mut problems = Vec::new();
        while let Some(result) = required.join_next().await {
            problems.extend(result.ok().and_then(Result::err));
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(StartError::Unhealthy { problems: Problems(problems) }),
        }
    }
}

// === running and stopping ===

impl RunningTopology {
    /// What has become of the events so far.
    pub fn counts(&self) -> Report {
        let mut report = self.books.snapshot();
        report.failures.clone_from(&self.failures);
        report
    }

    /// The books, to be looked at while the topology runs.
    pub fn books(&self) -> Books {
        self.books.clone()
    }

    /// All that can be seen of the topology from outside, while it runs and afterwards.
    pub fn observer(&self) -> Observer {
        self.observer.clone()
    }

    /// Stops the sources when it is cancelled, as [`RunningTopology::stop`] does at first.
    pub fn stopper(&self) -> CancellationToken {
        self.shutdown.clone()
    }

    /// Waits until every component has ended: after [`RunningTopology::stop`], or because all sources came to
    /// their end by themselves. A component that fails, or panics, stops the sources: half a topology must not
    /// go on as if all were well. Safe to cancel.
    pub async fn finished(&mut self) {
        loop {
            if self.end == End::No && self.open_sources.is_empty() {
                self.end = End::Flushing;
                self.observer.ended().cancel();
                self.graph.transforms.values().for_each(|placed| placed.stop.cancel());
            }
            if self.end == End::Flushing && self.flush_tasks.is_empty() {
                self.end = End::WindingUp;
                self.wind_up();
            }
            if self.end == End::WindingUp && self.sink_tasks.is_empty() {
                // Nobody is left who could refuse anything.
                self.books.forget_dead_letters();
                self.graph.dead_letters = None;
            }
            let ended = tokio::select! {
                ended = self.tasks.join_next_with_id() => ended,
                () = self.open_sources.changed(), if self.end == End::No => continue,
            };
            let Some(ended) = ended else { return };
            let id = ended.as_ref().map_or_else(JoinError::id, |(id, _)| *id);
            self.flush_tasks.remove(&id);
            self.sink_tasks.remove(&id);
            let failure = match ended {
                Ok((_, failure)) => failure,
                Err(error) => Some(format!("a component has panicked: {error}")),
            };
            if let Some(failure) = failure {
                tracing::error!("{failure}");
                self.failures.push(failure);
                self.shutdown.cancel();
            }
        }
    }

    /// After the last source: what transforms hold back is passed on, and then nothing feeds the sinks any
    /// more, so that they deliver what they have, and end.
    fn wind_up(&mut self) {
        let sinks = std::mem::take(&mut self.graph.sinks);
        let fanouts: Vec<_> = self.graph.outputs().map(|(_, fanout)| fanout.clone()).collect();
        let mut waiting = self.graph.transforms_in_order();
        self.tasks.spawn(async move {
            while !waiting.is_empty() {
                let ready = waiting.remove(0);
                futures::future::join_all(ready.iter().map(|node| node.finish())).await;
            }
            fanouts.iter().for_each(|fanout| fanout.set(&[]));
            drop(sinks);
            None
        });
    }

    /// Waits until everything has ended by itself, or a component has failed: then
    /// [`RunningTopology::stop`] gives the others a deadline. Safe to cancel.
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
        self.last_moments = LastMoments::after(deadline);
        self.shutdown.cancel();
        if tokio::time::timeout(deadline, self.finished()).await.is_err() {
            self.give_up().await;
        }
        self.close_disks().await;
        self.counts()
    }

    /// Ends everything at once. Returns the closed books.
    pub async fn abort(&mut self) -> Report {
        self.give_up().await;
        self.close_disks().await;
        self.counts()
    }

    async fn give_up(&mut self) {
        self.books.give_up();
        // Their tasks are all that keeps them.
        let retired: Vec<_> = self.retired.iter().filter_map(Weak::upgrade).collect();
        self.tasks.shutdown().await;
        let nodes = self.graph.transforms.values().map(|placed| Arc::clone(&placed.node));
        nodes.chain(retired).for_each(|node| node.give_up());
        // The requests under way are tasks of the sinks' own; the runtime drops them a moment after their
        // sink, and with them their receipts.
        let on_disk: HashSet<String> = self.disks.iter().filter_map(DiskBuffer::sink).collect();
        let settled = async {
            while self.counts().sinks.iter().any(|(id, sink)| sink.buffered > 0 && !on_disk.contains(id)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let settled = tokio::time::timeout(self.last_moments.requests, settled);
        // Of what is buffered on disk, nobody can tell how much is in requests, and in those from memory.
        let dropped = async {
            if !on_disk.is_empty() {
                tokio::time::sleep(DROP_OF_REQUESTS).await;
            }
        };
        let _ = tokio::join!(settled, dropped);
    }
}
