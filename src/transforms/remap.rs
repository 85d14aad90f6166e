//! `remap`: events changed by a program of VRL, the Vector Remap Language.
//!
//! An event that is text stays text, but for the fields that the program changes (see `program`). VRL's functions
//! that wait for the network are not here (`http_request`, `dns_lookup`, `reverse_dns`): a transform runs where
//! its events come from and holds them up, and these functions need a runtime of several threads. Nor are those that
//! Vector adds to VRL (enrichment tables, secrets).
//!
//! A program is its user's, and what bounds it is the language: there is no loop but over what is there (`for_each`,
//! `map_values`), no recursion, and its expressions take time linear in the text; so it ends. How long it takes and how
//! large its values become is bounded by nothing else: one that doubles a text forty times needs a terabyte. What comes of
//! it is bounded where it is used: by the largest event of a sink, and by the depth that text may have. `get_env_var` reads the process's environment, as in Vector.

use super::condition::Runtime;
use super::program::{Access, Failure, Program, time_zone};
use crate::config::{ComponentInfo, Problem, Problems, Result, Transform, TransformConfig, TransformContext};
use crate::env::MAX_FILE;
use crate::event::{Field, LogEvent, Path};
use crate::files::read_text;
use crate::log_limit::LogLimit;
use crate::topology::{OutputNames, Outputs};
use schemars::JsonSchema;
use serde::Deserialize;
use std::path::PathBuf;
use vrl::value::{KeyString, Value};

/// The configuration of the `remap` transform: Vector's.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RemapConfig {
    /// The program. Either this, `file` or `files`.
    source: Option<String>,
    /// A file that the program is in.
    file: Option<PathBuf>,
    /// Files that hold it together, in this order.
    files: Option<Vec<PathBuf>>,
    /// Whether an event is dropped that the program fails on. Default: false, and it goes on as it came.
    drop_on_error: bool,
    /// Whether an event is dropped that the program aborts on. Default: true.
    drop_on_abort: Option<bool>,
    /// Whether what would be dropped goes to the output `dropped` instead, as it came and with the reason in
    /// its field `metadata`. Default: false.
    reroute_dropped: bool,
    /// The time zone of dates that name none: `local` or a name of the IANA database. Default: the global one.
    timezone: Option<String>,
    /// Vector's choice of a runtime: there is one.
    runtime: Option<Runtime>,
}

impl RemapConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "remap",
        "Change events with a program of VRL, the Vector Remap Language.",
        "source = \".dt = del(.timestamp)\"",
    );

    /// A `remap` of this program, with everything else as it is by default.
    pub fn new(source: impl Into<String>) -> RemapConfig {
        RemapConfig { source: Some(source.into()), ..RemapConfig::default() }
    }

    /// The program, and the option that it comes from; a file of at most 1 MiB.
    fn program(&self) -> Result<(&'static str, String), Vec<Problem>> {
        let read = |option: &str, path: &PathBuf| {
            read_text(path, MAX_FILE)
                .map_err(|error| Problem::at(option, format!("{}: cannot be read: {error}", path.display())))
        };
        match (&self.source, &self.file, &self.files) {
            (Some(source), None, None) => Ok(("source", source.clone())),
            (None, Some(path), None) => Ok(("file", read("file", path).map_err(|problem| vec![problem])?)),
            (None, None, Some(paths)) => {
                let (mut program, mut problems) = (Vec::new(), Vec::new());
                for (index, path) in paths.iter().enumerate() {
                    match read(&format!("files[{index}]"), path) {
                        Ok(text) => program.push(text),
                        Err(problem) => problems.push(problem),
                    }
                }
                if problems.is_empty() { Ok(("files", program.join("\n"))) } else { Err(problems) }
            }
            (None, None, None) => Err(vec![Problem::at(
                "source",
                "missing; expected a program of VRL such as `.dt = del(.timestamp)`, or a `file` with one",
            )]),
            _ => Err(vec![Problem::at(
                "source",
                "`source`, `file` and `files` exclude each other; keep one of them",
            )]),
        }
    }
}

impl TransformConfig for RemapConfig {
    fn build(&self, cx: &TransformContext) -> Result<Box<dyn Transform>> {
        let mut problems = Vec::new();
        let timezone = self.timezone.as_deref().or(cx.timezone.as_deref());
        let timezone = time_zone(timezone).unwrap_or_else(|error| {
            problems.push(Problem::at("timezone", error));
            Default::default()
        });
        let program = match self.program() {
            Err(more) => {
                problems.extend(more);
                None
            }
            Ok((option, source)) => match Program::compile(&source, Access::ReadWrite, timezone) {
                Err(error) => {
                    problems.push(Problem::at(option, format!("the program does not compile:\n{error}")));
                    None
                }
                Ok((program, warnings)) => {
                    if let Some(warnings) = warnings {
                        tracing::warn!(component = cx.id, "{option}: VRL's compiler warns:\n{warnings}");
                    }
                    Some(program)
                }
            },
        };
        let Some(program) = program.filter(|_| problems.is_empty()) else {
            return Err(Problems(problems).into());
        };
        Ok(Box::new(Remap {
            program,
            on_error: After::new(self.drop_on_error, self.reroute_dropped),
            on_abort: After::new(self.drop_on_abort.unwrap_or(true), self.reroute_dropped),
            id: cx.id.clone(),
            message: key_path(&cx.log_schema.message_key),
            reason: key_path(&cx.log_schema.metadata_key).field("dropped"),
            failed: LogLimit::every_10_s(),
        }))
    }

    fn outputs(&self) -> OutputNames {
        let named = if self.reroute_dropped { vec!["dropped".to_owned()] } else { Vec::new() };
        OutputNames { has_default: true, named }
    }
}

/// The path that a key of the `log_schema` is.
fn key_path(key: &str) -> Path {
    Path::parse(key).unwrap_or_else(|_| Path::root_field(key))
}

/// What becomes of an event that the program ended on before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum After {
    PassOn,
    Drop,
    Reroute,
}

impl After {
    fn new(drop: bool, reroute: bool) -> After {
        match (drop, reroute) {
            (false, _) => After::PassOn,
            (true, false) => After::Drop,
            (true, true) => After::Reroute,
        }
    }
}

/// Where rerouted events go, of the named outputs.
const DROPPED: usize = 0;

struct Remap {
    program: Program,
    on_error: After,
    on_abort: After,
    id: String,
    /// Where the message stands.
    message: Path,
    /// Where the reason stands for which an event is rerouted.
    reason: Path,
    failed: LogLimit,
}

impl Transform for Remap {
    fn transform(&mut self, mut event: LogEvent, outputs: &mut Outputs) {
        let keeps_original = self.on_error != After::Drop || self.on_abort != After::Drop;
        // A failed program leaves text as it is; of a tree it may have changed a part.
        let is_tree = matches!(event.root(), Field::Value(_));
        let original =
            (is_tree && keeps_original && self.program.can_fail()).then(|| event.without_receipts());
        match self.program.run(&mut event) {
            Ok(None) => outputs.push(event),
            Ok(Some(Value::Array(none))) if none.is_empty() => outputs.discard(event),
            Ok(Some(root)) => {
                split(event, root, &self.message).into_iter().for_each(|event| outputs.push(event));
            }
            Err(failure) => {
                if let Some(mut original) = original {
                    original = original.with_finalizers(event.take_finalizers());
                    event = original;
                }
                self.fail(event, &failure, outputs);
            }
        }
    }
}

impl Remap {
    fn fail(&self, mut event: LogEvent, failure: &Failure, outputs: &mut Outputs) {
        let after = if failure.is_abort() { self.on_abort } else { self.on_error };
        if !failure.is_abort() {
            outputs.counts().add_errors(1);
        }
        if after != After::Reroute
            && let Some(unsaid) = self.failed.allow()
        {
            let reason = failure.reason();
            let what = if after == After::Drop { "dropped" } else { "passed on as it came" };
            tracing::warn!(component = self.id, reason, unsaid, "an event was {what}: {failure}");
        }
        match after {
            After::PassOn => outputs.push(event),
            After::Drop if failure.is_abort() => outputs.discard(event),
            After::Drop => outputs.fail(event),
            After::Reroute => {
                self.annotate(&mut event, failure);
                outputs.push_to(DROPPED, event);
            }
        }
    }

    /// Says in an event why it is rerouted, as Vector does: `{"metadata": {"dropped": {...}}}`.
    fn annotate(&self, event: &mut LogEvent, failure: &Failure) {
        let dropped = [
            ("reason", failure.reason()),
            ("message", &failure.message()),
            ("component_id", &self.id),
            ("component_type", RemapConfig::INFO.name),
            ("component_kind", "transform"),
        ];
        let dropped: Value =
            Value::Object(dropped.map(|(key, text)| (KeyString::from(key), Value::from(text))).into());
        event.insert(&self.reason, dropped);
    }
}

/// The events that one has become which is no object any more: an array is one for each of its elements, and what is
/// no object there is the message of one, at this path. Each owes the receipts of the event.
pub(crate) fn split(event: LogEvent, root: Value, message: &Path) -> Vec<LogEvent> {
    let mut elements = match root {
        Value::Array(elements) => elements,
        other => vec![other],
    };
    let become_event = |mut event: LogEvent, element| {
        event.set_value(match element {
            object @ Value::Object(_) => object,
            other => other.at_path(&message.to_vrl()),
        });
        event
    };
    let last = elements.pop();
    let mut events: Vec<_> =
        elements.into_iter().map(|element| become_event(event.clone(), element)).collect();
    events.extend(last.map(|last| become_event(event, last)));
    events
}

#[cfg(test)]
mod tests;
