//! The topology: a [`Config`] as running tasks.
//!
//! - this file: [`Topology`], components that have been built
//! - `running`: [`RunningTopology`]: starting, reloading and stopping them
//! - `graph`: the way of a chunk to its consumers
//! - `buffer`: the bounded queue in front of each sink; [`disk`]: the part of it that is on disk
//! - `outputs`: where a transform puts its events
//! - `counts`, `books`: the books; `outcome`, `receipts`: what sinks answer, by which they are kept
//! - `dead_letters`: where refused events go
//! - `memory`: what each sink may hold
//! - `metrics`: what is measured beside the books, and the page that Prometheus reads
//! - `alone`: [`EventSink`] and [`EventStream`], one component by itself
//! - `observer`: what can be seen of it from outside; `tap`: the events themselves

mod alone;
mod books;
mod buffer;
mod counts;
mod dead_letters;
mod graph;
mod memory;
mod metrics;
mod observer;
mod outcome;
mod outputs;
mod receipts;
mod running;
mod tap;

pub use alone::{EventSink, EventStream};
pub use books::{Books, Component, Description, Report, Totals};
pub use buffer::disk;
pub use buffer::{BufferReceiver, BufferSender, BufferSettings, Capacity, WhenFull, buffer, disk_buffer};
pub use counts::{
    SinkCounts, SinkSnapshot, SourceCounts, SourceSnapshot, TransformCounts, TransformSnapshot,
};
pub use graph::SourceSender;
pub use memory::SinkMemory;
pub use metrics::{BufferFill, Family, MetricKind, Origin, PROMETHEUS_CONTENT_TYPE, metric_families};
pub(crate) use metrics::{ErrorKind, Failure, Held, SinkMeters};
pub use observer::Observer;
pub use outcome::{DropReason, Outcome, Rejection};
pub use outputs::{OutputNames, Outputs};
pub use receipts::Receipts;
pub use running::{Changes, RunningTopology};
pub use tap::{TAP_EVENTS_PER_SECOND, Tap, TapReceiver, TappedEvent};

use crate::config::{
    Config, HealthcheckConfig, Places, Problem, Problems, Ready, SinkContext, SinkEntry, Source,
    SourceContext, SourceEntry, StreamSink, TransformContext, TransformEntry,
};
use crate::env::Env;
use crate::healthcheck::{Healthcheck, Unhealthy};
use crate::http::ProxyConfig;
use crate::memory::{ByteSize, LimitOrigin, MemoryLimit};
use crate::status::Status;
use disk::DiskSettings;
use graph::{Fanout, OpenSources, TransformNode};
use memory::{Memory, Plan};
use running::Graph;
use snafu::Snafu;
use std::collections::HashSet;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How a topology is run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TopologyOptions {
    /// What a full buffer does where the configuration names no policy: block, as in Vector, or drop
    /// the oldest, so that no sink can hold up another.
    pub when_full: WhenFull,
    /// Whether a failed healthcheck ends the start.
    pub require_healthy: bool,
    /// The environment: proxies, `MEMORY_LIMIT`, and secrets that are read anew.
    pub env: Env,
    /// Where buffers on disk are, if the configuration names no `data_dir`. Default: Vector's, `/var/lib/vector/`.
    pub data_dir: Option<PathBuf>,
}

impl Default for TopologyOptions {
    fn default() -> TopologyOptions {
        TopologyOptions {
            when_full: WhenFull::Block,
            require_healthy: false,
            env: Env::default(),
            data_dir: None,
        }
    }
}

impl TopologyOptions {
    /// The same with this policy for full buffers.
    #[must_use]
    pub fn with_when_full(self, when_full: WhenFull) -> TopologyOptions {
        TopologyOptions { when_full, ..self }
    }

    /// The same, but a failed healthcheck ends the start, or does not.
    #[must_use]
    pub fn with_require_healthy(self, require_healthy: bool) -> TopologyOptions {
        TopologyOptions { require_healthy, ..self }
    }

    /// The same with this environment.
    #[must_use]
    pub fn with_env(self, env: Env) -> TopologyOptions {
        TopologyOptions { env, ..self }
    }

    /// The same with buffers on disk below this directory.
    #[must_use]
    pub fn with_data_dir(self, data_dir: impl Into<PathBuf>) -> TopologyOptions {
        TopologyOptions { data_dir: Some(data_dir.into()), ..self }
    }
}

/// A topology does not start, or not with a new configuration. A `main` that returns it says so in plain words, as it does
/// with [`Problems`].
#[derive(Snafu)]
#[non_exhaustive]
pub enum StartError {
    /// Components that cannot be built.
    #[snafu(display("{problems}"))]
    Build {
        /// Why, for each.
        problems: Problems,
    },
    /// A topology that is about to end takes no other configuration.
    #[snafu(display("the topology is about to end, and takes no other configuration; start it anew"))]
    Ending,
    /// Healthchecks failed that were required to pass.
    #[snafu(display("{problems}"))]
    Unhealthy {
        /// Why, for each.
        problems: Problems,
    },
}

impl fmt::Debug for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Components that have been built and do not run yet.
///
/// ```
/// use log_shipper::config::{Config, Registry};
/// use log_shipper::env::Env;
/// use log_shipper::topology::{Topology, TopologyOptions};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let text = r#"
///     [sources.in]
///     type = "demo_logs"
///     format = "fly"
///     interval = 0.0
///     count = 3
///
///     [sinks.out]
///     type = "blackhole"
///     inputs = ["in"]
/// "#;
/// let config = Config::from_toml(text, "vector.toml", &Registry::builtin(), &Env::default())?;
/// let mut running = Topology::start(config, &TopologyOptions::default(), std::future::pending::<()>()).await?;
/// running.finished().await;
/// let report = running.stop(Duration::from_secs(5)).await;
/// assert!(report.to_string().contains("sink out: received 3, delivered 3"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Topology {
    sources: Vec<Planned<BuiltSource>>,
    transforms: Vec<Planned<Arc<TransformNode>>>,
    sinks: Vec<Planned<BuiltSink>>,
    dead_letters: Option<Planned<BuiltSink>>,
    /// All components, for their books.
    components: Vec<Description>,
    books: Books,
    tap: Tap,
    open_sources: OpenSources,
    shutdown: CancellationToken,
    require_healthy: bool,
    /// Whether there is a source that waits for deliveries.
    sources_wait: bool,
    memory: Memory,
    plan: Plan,
}

/// A component as a configuration wants it.
#[derive(Debug)]
struct Planned<T> {
    id: String,
    inputs: Vec<String>,
    fingerprint: Option<u64>,
    /// Nothing if one that runs already is kept.
    built: Option<T>,
}

struct BuiltSink {
    sink: Box<dyn StreamSink>,
    buffer: BufferSettings,
    disk: Option<DiskSettings>,
    memory: SinkMemory,
    status: Status,
    check: Check,
}

struct BuiltSource {
    source: Source,
    fanout: Fanout,
    stop: CancellationToken,
    ready: Ready,
    check: Check,
}

/// What there is to ask of a component.
#[derive(Debug)]
#[non_exhaustive]
pub struct Check {
    /// Where it stands in the configuration: `sinks.loki`.
    pub component: String,
    /// What to ask; nothing if the component has nothing, or if its healthcheck is off.
    pub healthcheck: Option<Healthcheck>,
    /// How long it may take.
    pub timeout: Duration,
}

impl Check {
    /// Asks, for as long as it may take. What has nothing to ask is well.
    ///
    /// # Errors
    /// Why it is not well.
    pub async fn run(self) -> Result<(), Unhealthy> {
        match self.healthcheck {
            Some(healthcheck) => healthcheck.run(self.timeout).await.0,
            None => Ok(()),
        }
    }
}

impl fmt::Debug for BuiltSink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuiltSink").field("check", &self.check).finish_non_exhaustive()
    }
}

impl fmt::Debug for BuiltSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BuiltSource").field("check", &self.check).finish_non_exhaustive()
    }
}

impl Topology {
    /// Builds every component. Nothing runs yet, and nothing waits for the network.
    ///
    /// # Errors
    /// Every component that cannot be built.
    pub async fn build(config: Config, options: &TopologyOptions) -> Result<Topology, StartError> {
        let (books, tap) = (Books::default(), Tap::default());
        let (open_sources, shutdown) = (OpenSources::default(), CancellationToken::new());
        Builder::new(&config, options, books, tap, open_sources, shutdown, Memory::at_start())
            .build(config, &Graph::default())
            .await
    }

    /// What there is to ask of the sources and the sinks, instead of starting them.
    pub fn into_checks(self) -> Vec<Check> {
        let sources = self.sources.into_iter().filter_map(|source| Some(source.built?.check));
        let sinks = self.sinks.into_iter().chain(self.dead_letters);
        sources.chain(sinks.filter_map(|sink| Some(sink.built?.check))).collect()
    }

    /// Builds every component and starts them in the runtime that this is called in: sinks first, sources last. Waits
    /// for the network only if healthchecks are required to pass.
    ///
    /// When `shutdown` completes, the sources stop, and the sinks deliver what there is:
    /// [`RunningTopology::finished`] waits for that, and [`RunningTopology::stop`] gives it a deadline. It is any future:
    /// `tokio::signal::ctrl_c()`, a token's, the receiving end of a channel; [`std::future::pending`] for a topology
    /// that only `stop` ends.
    ///
    /// # Errors
    /// Every component that cannot be built, or every failed healthcheck that was required to pass.
    pub async fn start<F>(
        config: Config,
        options: &TopologyOptions,
        shutdown: F,
    ) -> Result<RunningTopology, StartError>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let running = RunningTopology::start(Topology::build(config, options).await?, options).await?;
        let (stopper, ended) = (running.stopper(), running.observer().ended().clone());
        tokio::spawn(async move {
            tokio::select! {
                _ = shutdown => stopper.cancel(),
                () = ended.cancelled() => {}
            }
        });
        Ok(running)
    }
}

/// What each sink may hold: of what the configuration says, the environment, or the system.
fn plan_memory(config: &Config, options: &TopologyOptions, memory: &Memory) -> Result<Plan, Problem> {
    let limit = match config.global.memory_limit {
        Some(ByteSize(bytes)) => Some(MemoryLimit { bytes, origin: LimitOrigin::Option }),
        None => {
            let problem = |reason: String| Problem::at("", format!("MEMORY_LIMIT: {reason}"));
            let text = options.env.get(MEMORY_LIMIT).map_err(|error| problem(error.to_string()))?;
            let size = text.map(|text| text.parse::<ByteSize>()).transpose().map_err(problem)?;
            size.map(|ByteSize(bytes)| MemoryLimit { bytes, origin: LimitOrigin::Variable })
        }
    };
    let sinks = config.sinks.iter().chain(&config.dead_letters);
    let buffers =
        sinks.map(|sink| (sink.id.clone(), sink.options.buffer.settings(options.when_full).capacity));
    memory.plan(limit, &buffers.collect::<Vec<_>>()).map_err(|reason| match config.global.memory_limit {
        Some(_) => Problem::at("memory_limit", reason),
        None => Problem::at("", format!("{MEMORY_LIMIT}: {reason}")),
    })
}

/// The variable with the process's memory.
pub(crate) const MEMORY_LIMIT: &str = "MEMORY_LIMIT";

/// Builds what does not run yet, and collects what is wrong.
struct Builder<'a> {
    options: &'a TopologyOptions,
    topology: Topology,
    problems: Vec<Problem>,
    places: Places,
    proxy: ProxyConfig,
    healthchecks: bool,
    acknowledges: bool,
    data_dir: PathBuf,
    transform: TransformContext,
}

impl Builder<'_> {
    fn new<'a>(
        config: &Config,
        options: &'a TopologyOptions,
        books: Books,
        tap: Tap,
        open_sources: OpenSources,
        shutdown: CancellationToken,
        memory: Memory,
    ) -> Builder<'a> {
        let mut problems = Vec::new();
        let env_proxy = ProxyConfig::from_env(&options.env).unwrap_or_else(|error| {
            problems.push(Problem::at("proxy", error.to_string()));
            ProxyConfig::default()
        });
        let global = &config.global;
        let plan = plan_memory(config, options, &memory).unwrap_or_else(|problem| {
            problems.push(problem);
            Plan::default()
        });
        let require_healthy = options.require_healthy || global.healthchecks.require_healthy;
        let topology = Topology {
            sources: Vec::new(),
            transforms: Vec::new(),
            sinks: Vec::new(),
            dead_letters: None,
            components: Vec::new(),
            books,
            tap,
            open_sources,
            shutdown,
            require_healthy,
            sources_wait: config.sources.iter().any(|source| source.config.can_acknowledge()),
            memory,
            plan,
        };
        let transform = TransformContext::new("", global);
        let proxy = global.proxy.or(&env_proxy);
        Builder {
            options,
            topology,
            problems,
            places: config.places.clone(),
            proxy,
            healthchecks: global.healthchecks.enabled,
            acknowledges: global.acknowledgements.enabled.unwrap_or(true),
            data_dir: match (&global.data_dir, &options.data_dir) {
                (None, Some(directory)) => directory.clone(),
                _ => global.data_dir().to_owned(),
            },
            transform,
        }
    }

    async fn build(mut self, config: Config, running: &Graph) -> Result<Topology, StartError> {
        self.check_ids(&config);
        self.check_inputs(&config);
        self.topology.components = config.components();
        let Config { sources, transforms, sinks, dead_letters, .. } = config;
        if let Some(entry) = dead_letters {
            let is_kept = running.keeps_dead_letters(entry.fingerprint);
            let built = if is_kept { Ok(None) } else { self.sink(entry.id.clone(), &entry).map(Some) };
            if sinks.iter().any(|sink| sink.id == entry.id) {
                let path = format!("sinks.{}", entry.id);
                self.problems
                    .push(Problem::at(path, "this id is that of the dead letters; take another one"));
            }
            match built {
                Ok(built) => {
                    let SinkEntry { id, fingerprint, .. } = entry;
                    let planned = Planned { id, inputs: Vec::new(), fingerprint, built };
                    self.topology.dead_letters = Some(planned);
                }
                Err(error) => {
                    let problems = self.places.of_component("", &entry.id, error);
                    self.problems.extend(problems);
                }
            }
        }
        for entry in sinks {
            let is_kept = running.keeps_sink(&entry.id, entry.fingerprint);
            let component = format!("sinks.{}", entry.id);
            let built = if is_kept { Ok(None) } else { self.sink(component, &entry).map(Some) };
            self.plan(
                |topology| &mut topology.sinks,
                "sinks",
                entry.id,
                entry.options.inputs,
                entry.fingerprint,
                built,
            );
        }
        for entry in transforms {
            let is_kept = running.keeps_transform(&entry.id, entry.fingerprint);
            let built = if is_kept { Ok(None) } else { self.transform(&entry).map(Some) };
            self.plan(
                |topology| &mut topology.transforms,
                "transforms",
                entry.id,
                entry.inputs,
                entry.fingerprint,
                built,
            );
        }
        for entry in sources {
            let is_kept = running.keeps_source(&entry.id, entry.fingerprint);
            let built = if is_kept { Ok(None) } else { self.source(&entry).await.map(Some) };
            self.plan(
                |topology| &mut topology.sources,
                "sources",
                entry.id,
                Vec::new(),
                entry.fingerprint,
                built,
            );
        }
        match self.problems.is_empty() {
            true => Ok(self.topology),
            false => Err(StartError::Build { problems: Problems(self.problems) }),
        }
    }

    /// No two components may have one id: of a text that is known already, but not of what is made in code.
    fn check_ids(&mut self, config: &Config) {
        let mut known = HashSet::new();
        let sources = config.sources.iter().map(|entry| ("sources", &entry.id));
        let transforms = config.transforms.iter().map(|entry| ("transforms", &entry.id));
        let sinks = config.sinks.iter().map(|entry| ("sinks", &entry.id));
        for (kind, id) in sources.chain(transforms).chain(sinks) {
            if !known.insert(id) {
                let message = "another component has the same id; ids must differ, so rename one of them";
                self.problems.push(Problem::at(format!("{kind}.{id}"), message));
            }
        }
    }

    /// Every input must be an output of somebody, and nobody may feed himself.
    fn check_inputs(&mut self, config: &Config) {
        let sources = config.sources.iter().map(|source| source.id.clone());
        let outputs = |entry: &TransformEntry| entry.config.outputs().inputs(&entry.id);
        let transforms = config.transforms.iter().flat_map(outputs);
        let known: HashSet<String> = sources.chain(transforms).collect();
        let of_sinks = config.sinks.iter().flat_map(|sink| &sink.options.inputs);
        let of_transforms = config.transforms.iter().flat_map(|transform| &transform.inputs);
        for input in of_sinks.chain(of_transforms).filter(|input| !known.contains(*input)) {
            self.problems.push(Problem::at(format!("inputs.{input}"), "no component has this id"));
        }
        // Without circles there is always one that none of the rest feeds.
        let mut rest: Vec<&TransformEntry> = config.transforms.iter().collect();
        let is_fed = |rest: &[&TransformEntry], transform: &TransformEntry| {
            rest.iter().flat_map(|other| outputs(other)).any(|output| transform.inputs.contains(&output))
        };
        while let Some(next) = rest.iter().position(|transform| !is_fed(&rest, transform)) {
            rest.swap_remove(next);
        }
        if let Some(transform) = rest.first() {
            let path = format!("transforms.{}", transform.id);
            self.problems.push(Problem::at(path, "the transforms feed each other in a circle"));
        }
    }

    fn plan<T>(
        &mut self,
        list: fn(&mut Topology) -> &mut Vec<Planned<T>>,
        kind: &str,
        id: String,
        inputs: Vec<String>,
        fingerprint: Option<u64>,
        built: crate::config::Result<Option<T>>,
    ) {
        match built {
            Ok(built) => list(&mut self.topology).push(Planned { id, inputs, fingerprint, built }),
            Err(error) => self.problems.extend(self.places.of_component(kind, &id, error)),
        }
    }

    /// `component` is its place in the configuration.
    fn sink(&self, component: String, entry: &SinkEntry) -> crate::config::Result<BuiltSink> {
        let options = &entry.options;
        let settings = options.buffer.settings(self.options.when_full);
        let share = self.topology.plan.share(&entry.id, settings.capacity);
        let memory = self.topology.memory.of_sink(&share);
        // Its own, as that of a source is.
        let status = Status::default();
        let cx = SinkContext {
            id: entry.id.clone(),
            proxy: options.proxy.or(&self.proxy),
            healthcheck: options.healthcheck.clone(),
            env: self.options.env.clone(),
            books: self.topology.books.clone(),
            memory: memory.clone(),
            status: status.clone(),
        };
        let (sink, healthcheck) = entry.config.build(&cx)?;
        let is_checked = self.healthchecks && options.healthcheck.enabled;
        Ok(BuiltSink {
            sink,
            buffer: BufferSettings {
                acknowledges: options.acknowledgements.enabled.unwrap_or(self.acknowledges),
                capacity: share.buffer,
                ..settings
            },
            disk: options.buffer.disk(&self.data_dir, &entry.id),
            memory,
            status,
            check: Check {
                component,
                healthcheck: healthcheck.filter(|_| is_checked),
                timeout: options.healthcheck.timeout,
            },
        })
    }

    fn transform(&self, entry: &TransformEntry) -> crate::config::Result<Arc<TransformNode>> {
        let cx = TransformContext { id: entry.id.clone(), ..self.transform.clone() };
        let transform = entry.config.build(&cx)?;
        let counts = self.topology.books.transform(&entry.id);
        Ok(Arc::new(TransformNode::new(&entry.id, &entry.config.outputs(), transform, counts)))
    }

    /// It takes `self` mutably, because what is built can be sent to another thread, and not be shared with one: a
    /// topology may be started in any task.
    async fn source(&mut self, entry: &SourceEntry) -> crate::config::Result<BuiltSource> {
        let env = &self.options.env;
        let counts = self.topology.books.source(&entry.id);
        // Its own, so that it says nothing for the one that it is to take the place of, nor that one for it.
        let status = Status::default();
        let ready = Ready::new(status.clone());
        let (fanout, stop) = (Fanout::default(), self.topology.shutdown.child_token());
        let cx = SourceContext {
            id: entry.id.clone(),
            output: SourceSender::new(
                counts,
                status,
                fanout.clone(),
                self.topology.tap.clone(),
                &self.topology.open_sources,
            ),
            shutdown: stop.clone(),
            ready: ready.clone(),
            env: env.clone(),
        };
        let source = entry.config.build(cx).await?;
        let check = Check {
            component: format!("sources.{}", entry.id),
            healthcheck: entry.config.healthcheck(env)?,
            timeout: HealthcheckConfig::default().timeout,
        };
        Ok(BuiltSource { source, fanout, stop, ready, check })
    }
}
