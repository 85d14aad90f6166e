//! Going over to a new configuration while events flow: at SIGHUP, and with `--watch-config` when a file
//! changes that the configuration comes from.

use super::Failure;
use super::config_args::Mistakes;
use crate::config::Config;
use crate::env::Env;
use crate::topology::RunningTopology;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// How long files must have been left alone: an editor, or a deployment, writes them one after another.
const QUIET: Duration = Duration::from_millis(100);

/// Reloads a running topology when it is asked to.
pub(super) struct Reloader<'a> {
    hangup: Signal,
    watch: Option<Watch>,
    read: Box<dyn Fn() -> Result<Config, Mistakes> + 'a>,
}

impl<'a> Reloader<'a> {
    /// Catches SIGHUP from now on. `read` reads the configuration anew.
    pub(super) fn new(
        watch: Option<Watch>,
        read: impl Fn() -> Result<Config, Mistakes> + 'a,
    ) -> Result<Reloader<'a>, Failure> {
        let hangup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
        Ok(Reloader { hangup, watch, read: Box::new(read) })
    }

    /// Waits until somebody wants a reload. Safe to cancel.
    pub(super) async fn wanted(&mut self) {
        let changed = async {
            match &mut self.watch {
                Some(watch) => watch.changed().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = self.hangup.recv() => {}
            () = changed => {}
        }
    }

    /// Reloads, or says why not; then everything goes on as it was.
    pub(super) async fn reload(&self, running: &mut RunningTopology) {
        let config = match (self.read)() {
            Ok(config) => config,
            Err(Mistakes::Files(problems)) => return refuse(&problems),
            Err(Mistakes::Environment(error)) => return refuse(&error),
        };
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        match running.reload(config).await {
            Ok(changes) => tracing::info!("reloaded: {changes}"),
            Err(error) => refuse(&error),
        }
    }
}

fn refuse(error: &dyn std::fmt::Display) {
    tracing::error!("the new configuration is refused, and the old one goes on: {error}");
}

/// Looks after the files that a configuration comes from.
pub(super) struct Watch {
    files: Vec<PathBuf>,
    /// Stands for what is in them.
    contents: u64,
    changed: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Looks after these files, those in these directories, and those that variables of the environment name.
    pub(super) fn new<'a>(paths: impl Iterator<Item = &'a PathBuf>, env: &Env) -> Result<Watch, Failure> {
        let mut files: Vec<_> = paths.cloned().collect();
        for name in env.names().filter(|name| name.ends_with("_FILE")) {
            files.extend(env.get(name).map_err(Failure::config)?.map(PathBuf::from));
        }
        let changed = Arc::new(Notify::new());
        let notify = Arc::clone(&changed);
        let fail = |error: notify::Error| Failure::Failed(format!("--watch-config: {error}"));
        let mut watcher = notify::recommended_watcher(move |_| notify.notify_one()).map_err(fail)?;
        // Directories, because a file is often replaced by another one of its name.
        let directory = |path: &PathBuf| match path.is_dir() {
            true => path.clone(),
            false => path.parent().filter(|parent| *parent != Path::new("")).unwrap_or(Path::new(".")).into(),
        };
        for directory in files.iter().map(directory).collect::<BTreeSet<_>>() {
            let mode = if files.contains(&directory) {
                RecursiveMode::Recursive
            } else {
                RecursiveMode::NonRecursive
            };
            watcher.watch(&directory, mode).map_err(fail)?;
        }
        let contents = contents(&files);
        Ok(Watch { files, contents, changed, _watcher: watcher })
    }

    /// Waits until something else is in the files.
    async fn changed(&mut self) {
        loop {
            self.changed.notified().await;
            while tokio::time::timeout(QUIET, self.changed.notified()).await.is_ok() {}
            // Other files of the directory change too, and reading ours is an event as well.
            let now = contents(&self.files);
            if now != self.contents {
                self.contents = now;
                return;
            }
        }
    }
}

/// A number that stands for what is in these files and directories.
fn contents(paths: &[PathBuf]) -> u64 {
    fn add(path: &Path, hasher: &mut DefaultHasher) {
        if let Ok(entries) = std::fs::read_dir(path) {
            let entries: BTreeSet<_> = entries.flatten().map(|entry| entry.path()).collect();
            entries.iter().for_each(|path| add(path, hasher));
            return;
        }
        path.hash(hasher);
        std::fs::read(path).ok().hash(hasher);
    }
    let mut hasher = DefaultHasher::new();
    paths.iter().for_each(|path| add(path, &mut hasher));
    hasher.finish()
}
