//! Going over to a new configuration while events flow: at SIGHUP, and with `--watch-config` when a file
//! changes that the configuration comes from.

use super::Failure;
use super::config_args::Mistakes;
use crate::api::ApiServer;
use crate::config::Config;
use crate::config::files::expand;
use crate::config::fingerprint::content;
use crate::env::Env;
use crate::topology::RunningTopology;
use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::Notify;

/// How long files must have been left alone: an editor, or a deployment, writes them one after another.
const QUIET: Duration = Duration::from_millis(100);

/// How long that is waited for, where something is always written.
const LONGEST_QUIET: Duration = Duration::from_millis(500);

/// Reloads a running topology when it is asked to.
pub(super) struct Reloader {
    hangup: Signal,
    watch: Option<Watch>,
    env: Env,
    read: Arc<dyn Fn() -> Result<Config, Mistakes> + Send + Sync>,
}

impl Reloader {
    /// Catches SIGHUP from now on. `read` reads the configuration anew.
    pub(super) fn new(
        watch: Option<Watch>,
        env: Env,
        read: impl Fn() -> Result<Config, Mistakes> + Send + Sync + 'static,
    ) -> Result<Reloader, Failure> {
        let hangup = signal(SignalKind::hangup()).map_err(Failure::failed)?;
        Ok(Reloader { hangup, watch, env, read: Arc::new(read) })
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

    /// Reloads, or says why not; then everything goes on as it was. Safe to cancel.
    pub(super) async fn reload(&self, running: &mut RunningTopology, api: &mut ApiServer) {
        // In a thread of its own: files and secret backends may take their time, and events flow meanwhile.
        let read = Arc::clone(&self.read);
        let config = match tokio::task::spawn_blocking(move || read()).await {
            Ok(Ok(config)) => config,
            Ok(Err(Mistakes::Files(problems) | Mistakes::Unread(problems))) => return refuse(&problems),
            Ok(Err(Mistakes::Environment(error))) => return refuse(&error),
            Err(error) => return refuse(&error),
        };
        for warning in &config.warnings {
            tracing::warn!("{warning}");
        }
        let options = config.global.api.on_machine(&self.env);
        match running.reload(config).await {
            Ok(changes) => {
                let of_api = if api.reload(&options) { "the API is different; " } else { "" };
                tracing::info!("reloaded: {of_api}{changes}");
            }
            Err(error) => refuse(&error),
        }
    }
}

fn refuse(error: &dyn std::fmt::Display) {
    tracing::error!("the new configuration is refused, and the old one goes on: {error}");
}

/// Looks after the files that a configuration comes from.
pub(super) struct Watch {
    /// Files, directories and patterns.
    paths: Vec<PathBuf>,
    /// Stands for what is in them.
    contents: u64,
    changed: Arc<Notify>,
    _watcher: RecommendedWatcher,
}

impl Watch {
    /// Looks after these files, directories and patterns, and the files that variables of the environment name.
    pub(super) fn new<'a>(paths: impl Iterator<Item = &'a PathBuf>, env: &Env) -> Result<Watch, Failure> {
        let mut paths: Vec<_> = paths.cloned().collect();
        let files = env.names().filter(|name| name.ends_with("_FILE"));
        // Not every such variable is a file of ours, or a file at all.
        let files = files.filter_map(|name| Some(PathBuf::from(env.get(name).ok()??)));
        paths.extend(files.filter(|path| path.is_file()));
        let changed = Arc::new(Notify::new());
        let notify = Arc::clone(&changed);
        let fail = |error: notify::Error| Failure::Failed(format!("--watch-config: {error}"));
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // To read a file is an event as well.
            if event.is_ok_and(|event| !event.kind.is_access()) {
                notify.notify_one();
            }
        })
        .map_err(fail)?;
        for (directory, mode) in paths.iter().map(|path| directory(path)).collect::<BTreeMap<_, _>>() {
            watcher.watch(&directory, mode).map_err(fail)?;
        }
        let contents = contents(&paths);
        Ok(Watch { paths, contents, changed, _watcher: watcher })
    }

    /// Waits until something else is in the files.
    async fn changed(&mut self) {
        loop {
            self.changed.notified().await;
            let quiet = async { while tokio::time::timeout(QUIET, self.changed.notified()).await.is_ok() {} };
            let _ = tokio::time::timeout(LONGEST_QUIET, quiet).await;
            // Other files of the directory change too.
            let now = contents(&self.paths);
            if now != self.contents {
                self.contents = now;
                return;
            }
        }
    }
}

/// What to watch for a file, a directory or a pattern: a directory, because a file is often replaced by another
/// one of its name.
fn directory(path: &Path) -> (PathBuf, RecursiveMode) {
    if path.is_dir() {
        return (path.to_owned(), RecursiveMode::Recursive);
    }
    let is_pattern = |path: &Path| path.to_str().is_some_and(|text| text.contains('*'));
    let parent = path.ancestors().skip(1).find(|parent| !is_pattern(parent)).unwrap_or(Path::new(""));
    let mode = match path.parent().is_some_and(is_pattern) {
        true => RecursiveMode::Recursive,
        false => RecursiveMode::NonRecursive,
    };
    (if parent == Path::new("") { PathBuf::from(".") } else { parent.to_owned() }, mode)
}

/// A number that stands for what is in these files, directories and patterns.
fn contents(paths: &[PathBuf]) -> u64 {
    fn add(path: &Path, hasher: &mut DefaultHasher) {
        if let Ok(entries) = std::fs::read_dir(path) {
            let entries: BTreeSet<_> = entries.flatten().map(|entry| entry.path()).collect();
            entries.iter().for_each(|path| add(path, hasher));
            return;
        }
        path.hash(hasher);
        content(path).hash(hasher);
    }
    let mut hasher = DefaultHasher::new();
    paths.iter().flat_map(|path| expand(path)).for_each(|path| add(&path, &mut hasher));
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watches_directories_and_sees_what_is_in_files() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::create_dir(root.join("a")).unwrap();
        std::fs::write(root.join("a/x.toml"), "1").unwrap();
        for (path, expected, mode) in [
            ("a", "a", RecursiveMode::Recursive),
            ("a/x.toml", "a", RecursiveMode::NonRecursive),
            ("a/*.toml", "a", RecursiveMode::NonRecursive),
            ("*/x.toml", "", RecursiveMode::Recursive),
        ] {
            assert_eq!(directory(&root.join(path)), (root.join(expected), mode), "{path}");
            let before = contents(&[root.join(path)]);
            assert_eq!(before, contents(&[root.join(path)]));
            std::fs::write(root.join("a/x.toml"), path).unwrap();
            assert_ne!(before, contents(&[root.join(path)]), "{path}");
        }
        assert_eq!(directory(Path::new("x.toml")).0, Path::new("."));
    }
}
