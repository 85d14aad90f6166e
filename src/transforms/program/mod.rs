//! Programs of VRL, the Vector Remap Language: compiled once, run on one event after the other.
//!
//! - this file: [`Program`]
//! - `parse_json`: the most usual first statement, without a tree
//! - `target`: an event as VRL sees it: its text, of which only what the program names becomes a tree

mod parse_json;
mod target;

use crate::event::{Field, LogEvent, Path, json};
use parse_json::ParseJson;
use std::fmt;
use target::{Beside, Changes, TextTarget, TreeTarget};
use vrl::compiler::state::RuntimeState;
use vrl::compiler::{CompilationResult, CompileConfig, Context, ExpressionError, Target, TargetValueRef};
use vrl::compiler::{TimeZone, TypeState, compile_with_state};
#[cfg(feature = "cli")]
use vrl::diagnostic::Diagnostic;
use vrl::diagnostic::{DiagnosticMessage, Formatter, Note};
use vrl::path::{OwnedSegment, OwnedTargetPath, PathPrefix};
use vrl::value::Value;

/// A compiled program, with the memory that it runs in.
#[derive(Debug)]
pub struct Program {
    program: vrl::compiler::Program,
    /// The fields of the root that the program names.
    fields: json::Lookup,
    /// Whether it names something beside the event (`%name`).
    names_metadata: bool,
    timezone: TimeZone,
    state: RuntimeState,
    /// Its first statement, if there is a shorter way for that one.
    first: Option<First>,
}

/// A first statement with a way of its own, and the program that follows it.
#[derive(Debug)]
struct First {
    statement: ParseJson,
    rest: Option<Box<Program>>,
}

/// Whether a program may change the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// It may, as in `remap`.
    ReadWrite,
    /// It may not, as in a condition.
    ReadOnly,
}

/// How a program ended before its time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure(ExpressionError);

/// What a program came to.
#[derive(Clone, Debug, PartialEq)]
pub struct Done {
    /// The value of its last expression.
    pub result: Value,
    /// What the event has become, if that is no object any more. The event itself is then as it was.
    pub root: Option<Value>,
}

/// The time zone of that name: `local`, or one of the IANA database.
///
/// # Errors
/// If there is no such time zone.
pub fn time_zone(name: Option<&str>) -> Result<TimeZone, String> {
    let name = name.unwrap_or("local");
    TimeZone::parse(name).ok_or_else(|| {
        format!("`{name}` is no time zone; expected `local` or a name such as `Europe/Amsterdam`")
    })
}

impl Program {
    /// Compiles a program, and gives the compiler's warnings with it.
    ///
    /// # Errors
    /// The compiler's messages, as it shows them.
    pub fn compile(
        source: &str,
        access: Access,
        timezone: TimeZone,
    ) -> Result<(Program, Option<String>), String> {
        let compiled = compile(source, access, &TypeState::default())?;
        let warnings = (!compiled.warnings.is_empty())
            .then(|| Formatter::new(source, compiled.warnings).to_string().trim().to_owned());
        let mut program = Program::new(compiled.program, timezone);
        if access == Access::ReadWrite {
            program.first = First::find(source, timezone);
        }
        Ok((program, warnings))
    }

    fn new(program: vrl::compiler::Program, timezone: TimeZone) -> Program {
        let info = program.info();
        let mut paths = info.target_queries.iter().chain(&info.target_assignments);
        let names_metadata = paths.any(|path| path.prefix == PathPrefix::Metadata);
        let mut names: Vec<_> =
            info.target_queries.iter().chain(&info.target_assignments).filter_map(root_field).collect();
        names.sort_unstable();
        names.dedup();
        let fields = json::Lookup::new(names.into_iter().map(Path::root_field));
        Program { fields, names_metadata, timezone, state: RuntimeState::default(), program, first: None }
    }

    /// Whether its last expression is a boolean, whatever the event.
    pub fn is_boolean(&self) -> bool {
        self.program.final_type_info().result.is_boolean()
    }

    /// Whether it can end before its time.
    pub fn can_fail(&self) -> bool {
        let info = self.program.info();
        info.fallible || info.abortable
    }

    /// Runs the program for its result alone.
    ///
    /// # Errors
    /// If it fails, or aborts.
    pub fn evaluate(&mut self, event: &LogEvent) -> Result<Value, Failure> {
        let beside = Beside::of(event, self.names_metadata);
        match event.root() {
            Field::Json(text) => {
                let mut target = TextTarget::new(text, &self.fields, beside);
                resolve(&self.program, &mut self.state, self.timezone, &mut target)
            }
            Field::Value(value) => {
                let mut target = TreeTarget::new(value, beside);
                resolve(&self.program, &mut self.state, self.timezone, &mut target)
            }
        }
    }

    /// Runs the program on the event. Text stays text, but for the fields that the program changes. What the event
    /// has become is given back if that is no object any more; the event itself is then of no use.
    ///
    /// # Errors
    /// If it fails, or aborts: text is then as it was, and a tree is what the program has made of it so far.
    pub fn run(&mut self, event: &mut LogEvent) -> Result<Option<Value>, Failure> {
        if let Some(first) = &mut self.first
            && let Some(mut parsed) = first.statement.apply(event)
        {
            let root = match &mut first.rest {
                Some(rest) => rest.run(&mut parsed)?,
                None => None,
            };
            *event = parsed.with_finalizers(event.take_finalizers());
            return Ok(root);
        }
        self.run_for_result(event).map(|done| done.root)
    }

    /// The same, with the value of the last expression.
    ///
    /// # Errors
    /// As [`Program::run`].
    pub fn run_for_result(&mut self, event: &mut LogEvent) -> Result<Done, Failure> {
        let beside = Beside::of(event, self.names_metadata);
        let (result, changes, metadata) = match event.root() {
            Field::Json(text) => {
                let mut target = TextTarget::new(text, &self.fields, beside);
                let result = resolve(&self.program, &mut self.state, self.timezone, &mut target)?;
                let (changes, metadata) = target.into_changes();
                (result, changes, metadata)
            }
            Field::Value(_) => {
                let value = event.value_mut();
                let Beside { mut metadata, mut secrets } = beside;
                let mut target = TargetValueRef { value, metadata: &mut metadata, secrets: &mut secrets };
                let result = resolve(&self.program, &mut self.state, self.timezone, &mut target)?;
                let changes = match value {
                    Value::Object(_) => Changes::None,
                    _ => Changes::Root(std::mem::replace(value, Value::Object(Default::default()))),
                };
                (result, changes, metadata)
            }
        };
        if self.names_metadata {
            event.set_metadata(metadata);
        }
        let root = match changes {
            Changes::None => None,
            Changes::Fields(fields) => {
                write_back(event, fields);
                None
            }
            Changes::Root(object @ Value::Object(_)) => {
                event.set_value(object);
                None
            }
            Changes::Root(other) => Some(other),
        };
        Ok(Done { result, root })
    }
}

impl First {
    /// The first statement of a program that compiles.
    fn find(source: &str, timezone: TimeZone) -> Option<First> {
        let statement = ParseJson::recognise(&vrl::parser::parse(source).ok()?)?;
        if !statement.has_more {
            return Some(First { statement, rest: None });
        }
        // The rest is compiled with all that the compiler knows after the first statement, and where it stands, so
        // that its messages are the same.
        let (before, rest) = source.split_at_checked(statement.end)?;
        let alone = compile(before, Access::ReadWrite, &TypeState::default()).ok()?;
        let blank = before.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' });
        let rest = match rest.trim_start_matches([' ', '\t']).strip_prefix(';') {
            Some(after) => format!("{}{after}", " ".repeat(rest.len() - after.len())),
            None => rest.to_owned(),
        };
        let rest = blank.collect::<String>() + &rest;
        let state = alone.program.final_type_info().state;
        let rest = compile(&rest, Access::ReadWrite, &state).ok()?;
        Some(First { statement, rest: Some(Box::new(Program::new(rest.program, timezone))) })
    }
}

/// The first step of a path, if it is into the event.
fn root_field(path: &OwnedTargetPath) -> Option<&str> {
    match (path.prefix, path.path.segments.first()) {
        (PathPrefix::Event, Some(OwnedSegment::Field(name))) => Some(name.as_str()),
        _ => None,
    }
}

fn compile(source: &str, access: Access, state: &TypeState) -> Result<CompilationResult, String> {
    let mut config = CompileConfig::default();
    if access == Access::ReadOnly {
        config.set_read_only();
    }
    compile_with_state(source, &vrl::stdlib::all(), state, config)
        .map_err(|errors| Formatter::new(source, errors).to_string().trim().to_owned())
}

/// What VRL's own runtime does but for a look at the whole event, which would make a tree of it.
fn resolve(
    program: &vrl::compiler::Program,
    state: &mut RuntimeState,
    timezone: TimeZone,
    target: &mut dyn Target,
) -> Result<Value, Failure> {
    let result = program.resolve(&mut Context::new(target, state, &timezone));
    state.clear();
    match result {
        Ok(value) | Err(ExpressionError::Return { value, .. }) => Ok(value),
        Err(error) => Err(Failure(error)),
    }
}

/// Puts changed fields into a text. A value that JSON has no form for (a time, an expression, bytes, too many
/// levels) would be another for the next transform if it were text, and so makes a tree of the event.
fn write_back(event: &mut LogEvent, fields: Vec<(&str, Option<Value>)>) {
    if fields
        .iter()
        .any(|(_, value)| value.as_ref().is_some_and(|value| !is_json(value, json::MAX_DEPTH - 1)))
    {
        if let Value::Object(object) = event.value_mut() {
            for (name, value) in fields {
                match value {
                    Some(value) => object.insert(name.into(), value),
                    None => object.remove(name),
                };
            }
        }
        return;
    }
    let json: Vec<_> = fields
        .iter()
        .map(|(name, value)| {
            (*name, value.as_ref().map(|value| serde_json::to_string(value).unwrap_or_default()))
        })
        .collect();
    event.replace_root_fields(&json);
}

/// Whether the value is the same once it has been written as JSON and read again, where so many more levels may be
/// read.
fn is_json(value: &Value, levels: usize) -> bool {
    match value {
        Value::Boolean(_) | Value::Integer(_) | Value::Null | Value::String(_) => true,
        Value::Bytes(bytes) => std::str::from_utf8(bytes).is_ok(),
        Value::Float(number) => number.is_finite(),
        Value::Timestamp(_) | Value::Regex(_) => false,
        Value::Object(_) | Value::Array(_) if levels == 0 => false,
        Value::Object(object) => object.values().all(|value| is_json(value, levels - 1)),
        Value::Array(array) => array.iter().all(|value| is_json(value, levels - 1)),
    }
}

impl Failure {
    /// Whether the program ended itself, by `abort`.
    pub fn is_abort(&self) -> bool {
        !matches!(self.0, ExpressionError::Error { .. } | ExpressionError::Break { .. })
    }

    /// `abort` or `error`.
    pub fn reason(&self) -> &'static str {
        if self.is_abort() { "abort" } else { "error" }
    }

    /// Why: of an error that the program's author worded, the author's words.
    pub fn message(&self) -> String {
        let mut worded = self.0.notes().into_iter().filter_map(|note| match note {
            Note::UserErrorMessage(words) => Some(words),
            _ => None,
        });
        worded.next_back().unwrap_or_else(|| self.0.to_string())
    }

    /// The same with the place in the program, as VRL shows it.
    #[cfg(feature = "cli")]
    pub fn show(&self, source: &str) -> String {
        let shown = Formatter::new(source, vec![Diagnostic::from(self.0.clone())]);
        shown.to_string().trim().to_owned()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message())
    }
}

impl std::error::Error for Failure {}

#[cfg(test)]
mod tests;
