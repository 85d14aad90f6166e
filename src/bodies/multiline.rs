//! Lines that belong together: stack traces, and whatever is indented.
//!
//! Applications write a trace line by line, and each line comes as an event of its own, between those of others.
//! Two regular expressions say what belongs together. A line that *continues* is indented, or looks like a part of a
//! trace. A line that looks like a beginning belongs to the one before it all the same if that is *open*: Python
//! names the exception only after its trace, Rust and Node.js say what happened in the line behind the place.
//! Vector has no such thing, but two `reduce` transforms, one behind the other, do the same.

use super::{MESSAGE, Passed, regex};
use crate::config::BoolOr;
use crate::event::{Field, LogEvent, json};
use lru::LruCache;
use regex::Regex;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::LazyLock;
use std::time::Duration;
use tokio::time::Instant;

/// A line that goes on with the one before it.
pub(super) const CONTINUES: &str = concat!(
    r"^(?:[ \t]|\s*$",
    // Java, Python, .NET
    r"|Caused by: |Suppressed: |During handling of the above exception|The above exception was the direct cause|--- End of ",
    // Go: a frame is a function's whole name, and what it was called with
    r"|goroutine [0-9]+ |created by [^\s]+|exit status [0-9]+$|\[signal SIG",
    r"|(?:panic|[A-Za-z0-9_./-]+\.[A-Za-z0-9_.*()\[\]·-]*)\([^\n]*\)$",
    // Rust
    r"|note: run with `RUST_BACKTRACE|note: Some details are omitted|stack backtrace:$",
    // Ruby: a frame, and no message behind it
    r"|[^\s:]+:[0-9]+:in [`\x27][^`\x27]*\x27$",
    // Node.js, and the end of an object that is written over several lines
    r"|Node\.js v[0-9]|[~^]+$|[}\])]+[,;]?$)",
);

/// Lines behind which there must be more, whatever it looks like.
pub(super) const OPEN: &str = concat!(
    // Python
    r"^Traceback \(most recent call last\):(?:\n[ \t][^\n]*)*$",
    r"|(?:another exception occurred|the direct cause of the following exception):\s*$",
    // Rust
    r"|^thread \x27[^\n]*\x27 (?:\([0-9]+\) )?panicked at [^\n]*:[0-9]+:[0-9]+:$",
    // Node.js: the place, and the line with marks below it
    r"|^(?:file://|node:|/)[^\s:]*:[0-9]+$|\n[ \t]*[~^]+[~^ \t]*\s*$",
);

static CONTINUES_REGEX: LazyLock<Regex> = LazyLock::new(|| regex(CONTINUES));
static OPEN_REGEX: LazyLock<Regex> = LazyLock::new(|| regex(OPEN));

/// How lines are joined: a boolean or a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "BoolOr<MultilineTable>")]
#[schemars(with = "BoolOr<MultilineTable>")]
pub struct MultilineConfig {
    /// Whether they are. Default: false; true for a table.
    pub enabled: bool,
    /// How long an event waits for more lines after its last one. Default: 1 s.
    pub timeout: Duration,
    /// How many lines an event has at most. Default: 1,000.
    pub max_lines: usize,
    /// How many bytes its message has at most, but for a single line that is longer. Default: 256 KiB.
    pub max_bytes: usize,
}

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct MultilineTable {
    /// How long an event waits for more lines after its last one, 1 to 60,000. Default: 1,000.
    #[schemars(range(min = 1, max = 60_000))]
    timeout_ms: Option<u64>,
    /// How many lines an event has at most. Default: 1,000.
    #[schemars(range(min = 1))]
    max_lines: Option<usize>,
    /// How many bytes its message has at most, but for a single line that is longer. Default: 262,144.
    #[schemars(range(min = 1))]
    max_bytes: Option<usize>,
}

impl Default for MultilineConfig {
    fn default() -> MultilineConfig {
        MultilineConfig {
            enabled: false,
            timeout: Duration::from_secs(1),
            max_lines: 1000,
            max_bytes: 256 << 10,
        }
    }
}

impl TryFrom<BoolOr<MultilineTable>> for MultilineConfig {
    type Error = String;

    fn try_from(either: BoolOr<MultilineTable>) -> Result<MultilineConfig, String> {
        let default = MultilineConfig::default();
        let table = match either {
            BoolOr::Bool(enabled) => return Ok(MultilineConfig { enabled, ..default }),
            BoolOr::Table(table) => table,
        };
        for (option, value) in [("max_lines", table.max_lines), ("max_bytes", table.max_bytes)] {
            if value == Some(0) {
                return Err(format!("{option}: 0 is no line; expected at least 1"));
            }
        }
        Ok(MultilineConfig {
            enabled: true,
            timeout: table.timeout_ms.map_or(Ok(default.timeout), timeout)?,
            max_lines: table.max_lines.unwrap_or(default.max_lines),
            max_bytes: table.max_bytes.unwrap_or(default.max_bytes),
        })
    }
}

/// A timeout that makes sense: every event waits for so long.
pub(super) fn timeout(millis: u64) -> Result<Duration, String> {
    match millis {
        1..=60_000 => Ok(Duration::from_millis(millis)),
        _ => Err(format!("timeout_ms: {millis} is no time to wait; expected 1 to 60000 milliseconds")),
    }
}

/// As many instances are waited for at once; the one that has been silent for longest is passed on first.
const MOST_GROUPS: usize = 10_000;
/// As many bytes wait at once.
const MOST_BYTES: usize = 16 << 20;

/// Joins lines, each instance's by themselves.
#[derive(Debug)]
pub(super) struct Joiner {
    config: MultilineConfig,
    /// By app and instance. The one to which a line came last is the most recent.
    groups: LruCache<Box<str>, Group>,
    bytes: usize,
}

/// An event that waits for more lines.
#[derive(Debug)]
struct Group {
    /// Its first line's; it takes over the receipts of the others.
    event: LogEvent,
    /// All lines, if the event has a message.
    text: String,
    lines: usize,
    /// Where in the text the line stands that looks like a beginning, the last of them.
    beginning: usize,
    last: Instant,
}

impl Group {
    /// How many bytes it holds in memory, about.
    fn size(&self) -> usize {
        self.event.size() + self.text.len()
    }
}

impl Joiner {
    pub(super) fn new(config: MultilineConfig) -> Joiner {
        Joiner { config, groups: LruCache::unbounded(), bytes: 0 }
    }

    /// Takes a line, and passes on what it does not belong to.
    pub(super) fn push(&mut self, mut event: LogEvent, now: Instant, passed: &mut Passed) {
        let key = key(&event);
        let Some(line) = event.get(&MESSAGE).and_then(Field::as_str).map(|line| line.into_owned()) else {
            // Without a message it is no line, but lines before it have ended.
            self.release(&key, passed);
            passed.events.push(event);
            return;
        };
        let continues = CONTINUES_REGEX.is_match(&line);
        if let Some(group) = self.groups.get_mut(&key) {
            let has_room =
                group.lines < self.config.max_lines && group.text.len() + line.len() < self.config.max_bytes;
            if has_room && (continues || OPEN_REGEX.is_match(&group.text[group.beginning..])) {
                group.text.push('\n');
                if !continues {
                    group.beginning = group.text.len();
                }
                group.text.push_str(&line);
                group.lines += 1;
                group.last = now;
                self.bytes += line.len() + 1;
                let merged = event.take_finalizers();
                group.event.add_finalizers(merged);
                passed.joined += 1;
            } else {
                self.release(&key, passed);
                self.hold(key, event, line, now);
            }
        } else {
            self.hold(key, event, line, now);
        }
        while self.groups.len() > MOST_GROUPS || self.bytes > MOST_BYTES {
            self.release_oldest(passed);
        }
    }

    fn hold(&mut self, key: Box<str>, mut event: LogEvent, line: String, now: Instant) {
        // Of a machine that says little, it may wait for long, and would keep all that was read with it.
        event.detach();
        let group = Group { event, text: line, lines: 1, beginning: 0, last: now };
        self.bytes += group.size();
        self.groups.put(key, group);
    }

    /// Passes on what has waited for the timeout.
    pub(super) fn expire(&mut self, now: Instant, passed: &mut Passed) {
        while self.deadline().is_some_and(|deadline| deadline <= now) {
            self.release_oldest(passed);
        }
    }

    /// When the next event has waited long enough.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.groups.peek_lru().map(|(_, group)| group.last + self.config.timeout)
    }

    pub(super) fn flush_all(&mut self, passed: &mut Passed) {
        while !self.groups.is_empty() {
            self.release_oldest(passed);
        }
    }

    fn release_oldest(&mut self, passed: &mut Passed) {
        if let Some((_, group)) = self.groups.pop_lru() {
            self.pass(group, passed);
        }
    }

    fn release(&mut self, key: &str, passed: &mut Passed) {
        if let Some(group) = self.groups.pop(key) {
            self.pass(group, passed);
        }
    }

    fn pass(&mut self, group: Group, passed: &mut Passed) {
        self.bytes -= group.size();
        let mut event = group.event;
        if group.lines > 1 {
            event.replace_root_fields(&[("message", Some(json::string(&group.text)))]);
        }
        passed.events.push(event);
    }
}

/// Whose line it is.
fn key(event: &LogEvent) -> Box<str> {
    let origin = event.semantics();
    let (app, instance) = (origin.app().unwrap_or_default(), origin.instance().unwrap_or_default());
    [&*app, "\n", &*instance].concat().into()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::finalizer::{BatchNotifier, EventFinalizers, EventStatus};
    use std::sync::Arc;

    fn line(instance: &str, message: &str) -> LogEvent {
        let text =
            serde_json::json!({"fly": {"app": {"name": "a", "instance": instance}}, "message": message});
        LogEvent::from_json(text.to_string().into()).unwrap()
    }

    fn messages(passed: &Passed) -> Vec<String> {
        passed.events.iter().map(|event| event.message().unwrap().into_owned()).collect()
    }

    fn joiner(config: MultilineConfig) -> Joiner {
        Joiner::new(MultilineConfig { enabled: true, ..config })
    }

    /// What these lines become, each of them one instance's.
    fn join(lines: &[&str]) -> Vec<String> {
        let mut joiner = joiner(MultilineConfig::default());
        let mut passed = Passed::default();
        let now = Instant::now();
        lines.iter().for_each(|text| joiner.push(line("1", text), now, &mut passed));
        joiner.flush_all(&mut passed);
        assert_eq!(joiner.bytes, 0);
        assert_eq!(passed.joined + passed.events.len(), lines.len());
        messages(&passed)
    }

    /// Traces as they are written, one event each.
    pub(in super::super) const TRACES: [&str; 12] = [
        "Exception in thread \"main\" java.lang.IllegalStateException: no\n\tat com.example.A.b(A.java:5)\n\tat com.example.A.main(A.java:3)\nCaused by: java.io.IOException: yes\n\tat com.example.C.d(C.java:9)\n\t... 2 more",
        "Traceback (most recent call last):\n  File \"/app/a.py\", line 3, in <module>\n    f()\n    ~^^\n  File \"/app/a.py\", line 1, in f\n    return int(\"x\")\nValueError: invalid literal for int() with base 10: 'x'",
        "Traceback (most recent call last):\n  File \"/app/a.py\", line 3, in <module>\n    {}[1]\nKeyError: 1\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"/app/a.py\", line 5, in <module>\n    raise RuntimeError(\"no\")\nRuntimeError: no",
        "TypeError: Cannot read properties of undefined (reading 'x')\n    at f (/app/index.js:3:9)\n    at Object.<anonymous> (/app/index.js:5:1) {\n  code: 'E'\n}",
        "/app/index.js:3\n    throw new Error('boom')\n    ^\n\nError: boom\n    at f (/app/index.js:3:9)\n\nNode.js v20.0.0",
        "/app/index.js:3\nthrow new Error('boom')\n^\n\nError: boom\n    at Object.<anonymous> (/app/index.js:3:7)\n\nNode.js v20.0.0",
        "panic: runtime error: index out of range [5] with length 3\n\ngoroutine 1 [running]:\nmain.(*T).f(0xc000012028, {0x7f, 0x3})\n\t/app/main.go:8 +0x1d\nmain.main()\n\t/app/main.go:4 +0x39\ncreated by net/http.(*Server).Serve in goroutine 1\n\t/usr/lib/go/net/http/server.go:3285 +0x4b4\nexit status 2",
        "thread 'main' panicked at src/main.rs:2:5:\nboom: it is so\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace",
        "thread 'main' (1234) panicked at src/main.rs:2:5:\nindex out of bounds\nstack backtrace:\n   0: std::panicking::begin_panic_handler\n             at /rustc/abc/library/std/src/panicking.rs:1:2\n   1: app::main\nnote: Some details are omitted, run with `RUST_BACKTRACE=full` for a verbose backtrace.",
        "a.rb:3:in 'f': boom (RuntimeError)\n\tfrom a.rb:6:in 'block in <main>'\n\tfrom a.rb:6:in '<main>'",
        "NoMethodError (undefined method `x' for nil:NilClass):\n  \napp/controllers/a_controller.rb:3:in `show'\napp/middleware/b.rb:9:in `call'",
        "{\n  \"level\": \"error\",\n  \"a\": [\n    1\n  ]\n}",
    ];

    #[test]
    fn a_trace_is_one_event() {
        for trace in TRACES {
            let lines: Vec<_> =
                ["before", "GET / 200"].into_iter().chain(trace.split('\n')).chain(["after"]).collect();
            assert_eq!(join(&lines), ["before", "GET / 200", trace, "after"]);
            // And right behind another one.
            let lines: Vec<_> = trace.split('\n').chain(trace.split('\n')).collect();
            assert_eq!(join(&lines), [trace, trace]);
        }
    }

    #[test]
    fn lines_that_begin_stay_apart() {
        let lines = [
            "INFO a",
            "note: this",
            "ValueError: x",
            "main.go: done (5)",
            "f(x) = 5",
            "{\"a\":1}",
            "- item",
            "http://a.b/c?d=(e)",
            "/app/x.js:3 is bad",
        ];
        assert_eq!(join(&lines), lines);
    }

    #[test]
    fn fifty_instances_at_once() {
        let mut joiner = joiner(MultilineConfig::default());
        let mut passed = Passed::default();
        let now = Instant::now();
        let traces: Vec<Vec<_>> = (0..50).map(|n| TRACES[n % TRACES.len()].split('\n').collect()).collect();
        let longest = traces.iter().map(Vec::len).max().unwrap();
        for row in 0..longest {
            for (instance, trace) in traces.iter().enumerate() {
                if let Some(text) = trace.get(row) {
                    joiner.push(line(&instance.to_string(), text), now, &mut passed);
                }
            }
        }
        assert_eq!(passed.events.len(), 0);
        joiner.flush_all(&mut passed);
        assert_eq!(passed.events.len(), 50);
        for event in &passed.events {
            let instance: usize = event.instance().unwrap().parse().unwrap();
            assert_eq!(event.message().unwrap(), TRACES[instance % TRACES.len()]);
        }
    }

    #[test]
    fn an_event_waits_for_the_timeout_after_its_last_line() {
        let mut joiner =
            joiner(MultilineConfig { timeout: Duration::from_millis(100), ..MultilineConfig::default() });
        let (mut passed, start) = (Passed::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        joiner.push(line("1", "a"), start, &mut passed);
        joiner.push(line("2", "b"), after(10), &mut passed);
        joiner.push(line("1", " a"), after(50), &mut passed);
        assert_eq!(joiner.deadline(), Some(after(110)));
        joiner.expire(after(109), &mut passed);
        assert_eq!(messages(&passed), [""; 0]);
        joiner.expire(after(110), &mut passed);
        assert_eq!(messages(&passed), ["b"]);
        joiner.expire(after(150), &mut passed);
        assert_eq!(messages(&passed), ["b", "a\n a"]);
        assert_eq!((joiner.deadline(), passed.joined), (None, 1));
    }

    #[test]
    fn lines_bytes_and_instances_are_bounded() {
        let limits = MultilineConfig { max_lines: 3, max_bytes: 20, ..MultilineConfig::default() };
        let mut limited = joiner(limits);
        let (mut passed, now) = (Passed::default(), Instant::now());
        [" a", " b", " c", " d", " 01234567890123456", " e", " f"]
            .iter()
            .for_each(|text| limited.push(line("1", text), now, &mut passed));
        limited.flush_all(&mut passed);
        assert_eq!(messages(&passed), [" a\n b\n c", " d", " 01234567890123456", " e\n f"]);

        let mut many = joiner(MultilineConfig::default());
        let mut passed = Passed::default();
        (0..MOST_GROUPS + 5).for_each(|n| many.push(line(&n.to_string(), "x"), now, &mut passed));
        assert_eq!((passed.events.len(), many.groups.len()), (5, MOST_GROUPS));
        let mut passed = Passed::default();
        let mut large = joiner(MultilineConfig::default());
        let text = "x".repeat(1 << 20);
        (0..20).for_each(|n| large.push(line(&n.to_string(), &text), now, &mut passed));
        // Each is there as its event and as text to be added to.
        assert_eq!((passed.events.len(), large.groups.len()), (13, 7));
        assert!(large.bytes <= MOST_BYTES);
        large.flush_all(&mut passed);
        assert_eq!(large.bytes, 0);
    }

    #[test]
    fn receipts_of_joined_lines_are_answered_together() {
        let mut joiner = joiner(MultilineConfig::default());
        let (mut passed, now) = (Passed::default(), Instant::now());
        let mut receivers = Vec::new();
        for text in ["a", " b", " c"] {
            let (batch, receiver) = BatchNotifier::new_with_receiver();
            receivers.push(receiver);
            let event = line("1", text).with_finalizers(EventFinalizers::new(Arc::clone(&batch)));
            joiner.push(event, now, &mut passed);
        }
        joiner.flush_all(&mut passed);
        assert!(receivers.iter_mut().all(|receiver| receiver.try_recv().is_err()));
        passed.events.remove(0).take_finalizers().answer(EventStatus::Rejected);
        for mut receiver in receivers {
            assert_eq!(receiver.try_recv(), Ok(EventStatus::Rejected));
        }
    }

    #[test]
    fn what_has_no_message_is_passed_on_and_ends_the_lines_before_it() {
        let mut joiner = joiner(MultilineConfig::default());
        let (mut passed, now) = (Passed::default(), Instant::now());
        joiner.push(line("1", "a"), now, &mut passed);
        let without = r#"{"fly":{"app":{"name":"a","instance":"1"}},"message":{"b":1}}"#;
        joiner.push(LogEvent::from_json(without.into()).unwrap(), now, &mut passed);
        assert_eq!(messages(&passed), ["a", r#"{"b":1}"#]);
    }

    #[track_caller]
    fn config(text: &str) -> Result<MultilineConfig, String> {
        let table: toml::Table = text.parse().unwrap();
        table["multiline"].clone().try_into().map_err(|error| error.to_string())
    }

    #[test]
    fn is_a_switch_or_a_table() {
        assert!(config("multiline = true").unwrap().enabled && !config("multiline = false").unwrap().enabled);
        let table = config("multiline = { timeout_ms = 5, max_lines = 2, max_bytes = 3 }").unwrap();
        let timeout = Duration::from_millis(5);
        assert_eq!(table, MultilineConfig { enabled: true, timeout, max_lines: 2, max_bytes: 3 });
        for (text, words) in [
            ("multiline = { timeout_ms = 0 }", "expected 1 to 60000 milliseconds"),
            ("multiline = { max_lines = 0 }", "max_lines: 0 is no line"),
            ("multiline = { lines = 0 }", "expected true, false or a table"),
        ] {
            let error = config(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
