//! `log-shipper run`

use super::config_args::ConfigArgs;
use super::machines::{app_without_queue, warn_of_duplicates};
use super::pulse::Pulse;
use super::reload::{Reloader, Watch};
use super::{Failure, banner, start_failure};
use crate::api::ApiServer;
use crate::config::{Registry, Seconds};
use crate::env::Env;
use crate::topology::{RunningTopology, Topology, TopologyOptions};
use std::num::NonZero;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// `run`'s arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  ACCESS_TOKEN=... LOKI_URL=... LOKI_USERNAME=... LOKI_PASSWORD=... log-shipper run\n  log-shipper run -c vector.yaml\n  log-shipper run -C /etc/vector"
)]
pub(crate) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// Do not start unless every healthcheck passes.
    #[arg(short, long)]
    require_healthy: bool,
    /// Go over to a changed configuration by itself, as at SIGHUP: when one of its files changes, or one that a
    /// variable NAME_FILE names.
    #[arg(short, long)]
    watch_config: bool,
    /// Seconds for delivering what is left after a signal to stop. Default: 60 with a configuration, 4
    /// without, because Fly.io allows 5.
    #[arg(long, value_name = "SECONDS")]
    graceful_shutdown_limit_secs: Option<f64>,
    /// Threads that carry events. One carries hundreds of thousands a second, and costs least; bodies are
    /// compressed in threads of their own. More are for transforms that compute a lot.
    #[arg(short, long, default_value = "1")]
    threads: NonZero<usize>,
    /// Seconds between two lines that say how many events came and went.
    #[arg(long, hide = true, value_name = "SECONDS", default_value = "60")]
    pulse_secs: f64,
}

/// Fly.io kills a machine five seconds after the signal to stop.
const ENVIRONMENT_SHUTDOWN: Duration = Duration::from_secs(4);
/// Vector's.
const CONFIG_SHUTDOWN: Duration = Duration::from_secs(60);

pub(super) fn run(args: &Args, registry: &Arc<Registry>, env: &Env) -> Result<(), Failure> {
    let is_environment = args.config.is_environment();
    let config = args.config.load(registry, env, banner::environment)?;
    banner::configuration(&config, is_environment);
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    let deadline = match args.graceful_shutdown_limit_secs.map(Seconds::try_from).transpose() {
        Ok(Some(seconds)) => seconds.0,
        Ok(None) if is_environment => ENVIRONMENT_SHUTDOWN,
        Ok(None) => CONFIG_SHUTDOWN,
        Err(error) => return Err(Failure::Config(format!("--graceful-shutdown-limit-secs: {error}"))),
    };
    let pulse_every = Seconds::try_from(args.pulse_secs)
        .map_err(|error| Failure::Config(format!("--pulse-secs: {error}")))?
        .0;
    let options = TopologyOptions::default().with_require_healthy(args.require_healthy).with_env(env.clone());
    let api = config.global.api.on_machine(env);
    block_on(args.threads, async {
        let mut signals = StopSignals::catch()?;
        let watch = args.watch_config.then(|| Watch::new(args.config.paths(), env)).transpose()?;
        let reloader = {
            let (args, registry, env) = (args.config.clone(), Arc::clone(registry), env.clone());
            Reloader::new(watch, env.clone(), move || args.read(&registry, &env, banner::environment))?
        };
        if is_environment
            && let Some(app) = app_without_queue(env).map_err(|error| Failure::Config(error.to_string()))?
        {
            tokio::spawn(warn_of_duplicates(app));
        }
        // Waits only for healthchecks that are required to pass.
        let running = tokio::select! {
            started = Topology::start(config, &options, std::future::pending::<()>()) => started.map_err(|error| start_failure(&error, env))?,
            () = signals.next() => return Ok(()),
        };
        let pulse = Pulse::new(running.books(), pulse_every);
        // It stays until the end: how the end gets on can be seen, too.
        let mut api = ApiServer::start(running.observer(), &api);
        run_to_the_end(running, signals, deadline, Some((reloader, &mut api)), Some(pulse)).await
    })
}

/// Runs in a runtime with so many threads.
pub(super) fn block_on<T>(
    threads: NonZero<usize>,
    future: impl Future<Output = Result<T, Failure>>,
) -> Result<T, Failure> {
    // A single thread hands nothing to another: no wake-ups, and no counts that two processors fight over.
    let mut builder = match threads.get() {
        1 => Builder::new_current_thread(),
        _ => Builder::new_multi_thread(),
    };
    let runtime = builder.worker_threads(threads.get()).enable_all().build().map_err(Failure::failed)?;
    let result = runtime.block_on(future);
    // Standard input may be waiting for a line in a thread of its own; nobody waits for that.
    runtime.shutdown_background();
    result
}

/// SIGTERM and SIGINT. They are caught from the moment this is made, which is before anything runs: a
/// signal that comes early must not end the program before it has delivered what it has.
pub(super) struct StopSignals {
    terminate: Signal,
    interrupt: Signal,
}

impl StopSignals {
    pub(super) fn catch() -> Result<StopSignals, Failure> {
        let catch = |kind| signal(kind).map_err(Failure::failed);
        Ok(StopSignals {
            terminate: catch(SignalKind::terminate())?,
            interrupt: catch(SignalKind::interrupt())?,
        })
    }

    pub(super) async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

/// Waits for a signal, or for the end of all input; then stops, and reports the books.
pub(super) async fn run_to_the_end(
    mut running: RunningTopology,
    mut signals: StopSignals,
    deadline: Duration,
    mut reloader: Option<(Reloader, &mut ApiServer)>,
    mut pulse: Option<Pulse>,
) -> Result<(), Failure> {
    loop {
        let reload_wanted = async {
            match &mut reloader {
                Some((reloader, _)) => reloader.wanted().await,
                None => std::future::pending().await,
            }
        };
        let beat = async {
            match &mut pulse {
                Some(pulse) => pulse.beat().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = running.ended() => break,
            () = beat => {}
            () = signals.next() => {
                tracing::info!("stopping: delivering what is left, for at most {} s", deadline.as_secs_f64());
                break;
            }
            () = reload_wanted => {}
        }
        let Some((reloader, api)) = &mut reloader else { continue };
        // Healthchecks that must pass take time, which a signal to stop does not leave.
        tokio::select! {
            () = reloader.reload(&mut running, api) => {}
            () = signals.next() => break,
        }
    }
    let stopped = tokio::select! {
        report = running.stop(deadline) => Some(report),
        () = signals.next() => None,
    };
    let report = match stopped {
        Some(report) => report,
        None => {
            tracing::warn!("second signal: stopping at once");
            running.abort().await
        }
    };
    for line in report.to_string().lines() {
        tracing::info!("{line}");
    }
    match (running.failures(), report.has_losses()) {
        ([first, ..], _) => Err(Failure::Failed(format!("ended, because a component failed: {first}"))),
        ([], false) => Ok(()),
        ([], true) => {
            Err(Failure::Failed("not everything was delivered before the end; see the counts above".into()))
        }
    }
}
