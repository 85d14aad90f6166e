//! What the library leaves to the program around it, read in its sources: the process, its signals, its logger, its
//! environment; and that nothing in it is shared by two topologies of one process.

use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// What only a program may do, and why a library must not.
const THE_PROGRAMS: &[(&str, &str)] = &[
    ("process::exit", "ends the process of whoever embeds us"),
    ("process::abort", "ends the process of whoever embeds us"),
    ("tokio::signal", "takes a signal that is the program's; a shutdown is any future"),
    ("libc::signal", "takes a signal that is the program's"),
    ("set_global_default", "there is one logger in a process, and it is the program's"),
    ("set_default(", "the program chooses who takes what is logged"),
    ("tracing_subscriber", "the program chooses who takes what is logged"),
    ("set_hook", "what a panic prints is the program's"),
    ("install_default", "the process's TLS is the program's"),
    ("env::var", "the environment is read by `Env`, which the program hands in"),
    ("env::args", "the command line is the program's"),
    ("env::set_", "the environment is the program's"),
    ("env::current_dir", "paths are the configuration's"),
    ("thread_local!", "a runtime's thread works for every topology"),
];

/// Where they are allowed, and why.
const ALLOWED: &[(&str, &str, &str)] =
    &[("src/env.rs", "env::var", "`Env::from_process`, which only a program calls")];

/// What of a `static` could be one topology's to change and another's to see; a `LazyLock` is written once, by itself.
const MUTABLE: &[&str] = &[
    "Mutex",
    "RwLock",
    "Atomic",
    "OnceLock",
    "OnceCell",
    "LazyCell",
    "RefCell",
    "Cell<",
    "Notify",
    "Semaphore",
    "static mut",
];

/// Those that may be, and why.
const SHARED: &[(&str, &str, &str)] = &[
    ("src/testing/ports.rs", "NEXT", "each port is given out once in the process of a test"),
    ("src/tls.rs", "PROVIDER", "set once, to the one value that it can have: the algorithms of TLS"),
    ("src/tls.rs", "ROOTS", "set once, from the system's certificates, which are the machine's"),
];

/// The sources of the library: all but the program's, and without tests.
fn sources() -> Vec<(String, Vec<String>)> {
    let mut files = Vec::new();
    let mut todo = vec![PathBuf::from(ROOT).join("src")];
    while let Some(path) = todo.pop() {
        if path.is_dir() {
            todo.extend(std::fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files.sort();
    let name = |path: &Path| path.strip_prefix(ROOT).unwrap().to_str().unwrap().to_owned();
    let files = files.iter().map(|path| (name(path), library_lines(&std::fs::read_to_string(path).unwrap())));
    let is_programs = |name: &str| name.starts_with("src/cli/") || name == "src/main.rs";
    files
        .filter(|(name, _)| !is_programs(name) && !name.ends_with("tests.rs") && !name.contains("/tests/"))
        .collect()
}

/// The lines up to the tests; comments are empty.
fn library_lines(text: &str) -> Vec<String> {
    let lines: Vec<_> = text.lines().collect();
    let is_tests = |at: usize| {
        lines[at] == "#[cfg(test)]" && lines.get(at + 1).is_some_and(|l| l.starts_with("mod tests {"))
    };
    let end = (0..lines.len()).find(|&at| is_tests(at)).unwrap_or(lines.len());
    lines[..end]
        .iter()
        .map(|line| if line.trim_start().starts_with("//") { "" } else { line }.to_owned())
        .collect()
}

/// Where in these sources the library does what is the program's.
fn found(sources: &[(String, Vec<String>)]) -> Vec<(String, usize, &'static str, &'static str)> {
    let mut found = Vec::new();
    for (file, lines) in sources {
        for (at, line) in lines.iter().enumerate() {
            let here = THE_PROGRAMS.iter().filter(|(what, _)| line.contains(what));
            found.extend(here.map(|(what, why)| (file.clone(), at + 1, *what, *why)));
        }
    }
    found
}

/// The statics in these sources that can change: file, line and name.
fn shared(sources: &[(String, Vec<String>)]) -> Vec<(String, usize, String)> {
    let mut shared = Vec::new();
    for (file, lines) in sources {
        for (at, line) in lines.iter().enumerate() {
            // `static NAME: Type = ...`, whatever stands before it, and its type on the next line too.
            let Some(rest) = line
                .split_once("static ")
                .filter(|(before, _)| !before.ends_with('\''))
                .map(|(_, rest)| rest)
            else {
                continue;
            };
            let name = rest.trim_start_matches("mut ").split(':').next().unwrap_or_default();
            let statement = format!("{line} {}", lines.get(at + 1).map_or("", String::as_str));
            let is_name = name.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_');
            let statement = if line.contains(';') { line } else { &statement };
            if is_name && MUTABLE.iter().any(|word| statement.contains(word)) {
                shared.push((file.clone(), at + 1, name.to_owned()));
            }
        }
    }
    shared
}

#[test]
fn what_is_looked_for_is_found() {
    let text = "\
use std::process;
// std::process::exit(1) is in a comment
fn stop() { std::process::exit(1) }
pub(crate) static SEEN: Mutex<Vec<u8>> = Mutex::new(Vec::new());
static WORD: &'static str = \"AtomicU64\";
static COUNT:
    AtomicU64 = AtomicU64::new(0);
fn name() -> &'static str { \"\" }
static REGEX: LazyLock<Regex> = LazyLock::new(regex);
#[cfg(test)]
mod tests {
    fn f() { std::process::abort() }
}
";
    let sources = [("src/x.rs".to_owned(), library_lines(text))];
    let found: Vec<_> = found(&sources).into_iter().map(|(_, line, what, _)| (line, what)).collect();
    assert_eq!(found, [(3, "process::exit")]);
    let shared: Vec<_> = shared(&sources).into_iter().map(|(_, line, name)| (line, name)).collect();
    assert_eq!(shared, [(4, "SEEN".to_owned()), (5, "WORD".to_owned()), (6, "COUNT".to_owned())]);
}

#[test]
fn the_library_leaves_the_process_to_the_program() {
    let sources = sources();
    assert!(sources.len() > 150, "{} files are not all", sources.len());
    let found = found(&sources);
    let is_allowed = |file: &str, what: &str| ALLOWED.iter().any(|(f, w, _)| *f == file && *w == what);
    let bad: Vec<_> = found
        .iter()
        .filter(|(file, _, what, _)| !is_allowed(file, what))
        .map(|(file, line, what, why)| format!("{file}:{line}: {what}: {why}"))
        .collect();
    assert!(bad.is_empty(), "{bad:#?}");
    for (file, what, _) in ALLOWED {
        assert!(found.iter().any(|(f, _, w, _)| f == file && w == what), "{file} has no {what} any more");
    }
}

#[test]
fn two_topologies_share_nothing_that_changes() {
    let shared = shared(&sources());
    let known: Vec<_> = SHARED.iter().map(|(file, name, _)| (*file, *name)).collect();
    let names: Vec<_> = shared.iter().map(|(file, _, name)| (file.as_str(), name.as_str())).collect();
    let bad: Vec<_> = shared.iter().filter(|(file, _, name)| !known.contains(&(file, name))).collect();
    assert!(bad.is_empty(), "state that every topology of the process shares: {bad:#?}");
    for known in known {
        assert!(names.contains(&known), "{known:?} is not there any more");
    }
}

/// Compiles only if the type goes wherever a task goes.
fn goes_anywhere<T: Send + Sync + 'static>() {}
fn goes_to_a_task<T: Send + 'static>() {}

#[test]
fn what_is_embedded_goes_from_task_to_task() {
    use log_shipper::{
        config, env, event, finalizer, nats, providers, secret, sinks, sources, template, topology,
    };
    goes_anywhere::<config::Config>();
    goes_anywhere::<config::Registry>();
    goes_anywhere::<config::Problems>();
    goes_anywhere::<config::SinkEntry>();
    goes_anywhere::<config::SourceEntry>();
    goes_anywhere::<config::TransformEntry>();
    goes_anywhere::<env::Env>();
    goes_anywhere::<event::LogEvent>();
    goes_anywhere::<finalizer::EventFinalizers>();
    goes_anywhere::<nats::SubjectFilter>();
    goes_anywhere::<providers::Resolved>();
    goes_anywhere::<secret::SensitiveString>();
    goes_anywhere::<sinks::ChannelSink>();
    goes_anywhere::<sources::EventSender>();
    goes_anywhere::<template::Template>();
    goes_anywhere::<topology::Observer>();
    goes_anywhere::<topology::Report>();
    goes_anywhere::<topology::StartError>();
    goes_anywhere::<topology::TopologyOptions>();
    // Their components are one task's at a time.
    goes_to_a_task::<topology::Topology>();
    goes_to_a_task::<topology::RunningTopology>();
    goes_to_a_task::<topology::EventSink>();
    goes_to_a_task::<topology::EventStream>();
}
