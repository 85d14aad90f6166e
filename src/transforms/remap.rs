//! `remap`: assignments of VRL that move or copy fields.
//!
//! This is the part of VRL that needs no tree: what the providers' configurations use to rename a
//! field. A program with anything else is refused with its line.

use crate::config::{ComponentInfo, Result, Transform, TransformConfig, TransformContext};
use crate::event::{LogEvent, Path};
use serde::Deserialize;
use vrl::value::Value;

/// The configuration of the `remap` transform.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RemapConfig {
    /// The program: lines of the form `.a = .b`, `.a = del(.b)` or `if exists(.b) { .a = del(.b) }`.
    source: String,
}

impl RemapConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "remap",
        "Move and copy fields: `.a = .b`, `.a = del(.b)`. The rest of VRL is not here yet.",
        "source = \".dt = del(.timestamp)\"",
    );
}

impl TransformConfig for RemapConfig {
    fn build(&self, _cx: &TransformContext) -> Result<Box<dyn Transform>> {
        let mut statements = Vec::new();
        let mut problems = Vec::new();
        for (index, line) in self.source.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            match Statement::parse(line) {
                Some(statement) => statements.push(statement),
                None => problems.push(format!(
                    "source, line {}: `{line}` is not understood; expected `.a = .b`, `.a = del(.b)` or `if exists(.b) {{ .a = del(.b) }}`, the part of VRL that this version has",
                    index + 1
                )),
            }
        }
        if problems.is_empty() { Ok(Box::new(Remap { statements })) } else { Err(problems.join("; ").into()) }
    }
}

#[derive(Debug, PartialEq)]
struct Statement {
    to: Path,
    from: Path,
    /// `del(.b)`: the field goes.
    is_move: bool,
    /// `if exists(.b)`: without it, a missing field is null.
    if_exists: bool,
}

impl Statement {
    fn parse(text: &str) -> Option<Statement> {
        if let Some(rest) = text.strip_prefix("if") {
            let (condition, block) = rest.trim().split_once('{')?;
            let path = condition.trim().strip_prefix("exists(")?.strip_suffix(')')?;
            let statement = Statement::parse(block.trim().strip_suffix('}')?.trim())?;
            let is_same = parse_path(path)? == statement.from && !statement.if_exists;
            return is_same.then_some(Statement { if_exists: true, ..statement });
        }
        let (to, from) = text.split_once('=')?;
        let from = from.trim();
        let inner = from.strip_prefix("del(").and_then(|rest| rest.strip_suffix(')'));
        Some(Statement {
            to: parse_path(to)?,
            from: parse_path(inner.unwrap_or(from))?,
            is_move: inner.is_some(),
            if_exists: false,
        })
    }

    fn run(&self, event: &mut LogEvent) {
        let exists = event.get(&self.from).is_some();
        if !exists && self.if_exists {
            return;
        }
        if let (true, true, Some(from), Some(to)) =
            (exists, self.is_move, self.from.as_root_field(), self.to.as_root_field())
        {
            return event.rename_root_field(from, to);
        }
        let value = event.value_mut();
        let (from, to) = (self.from.to_vrl(), self.to.to_vrl());
        let field = if self.is_move { value.remove(&from, false) } else { value.get(&from).cloned() };
        value.insert(&to, field.unwrap_or(Value::Null));
    }
}

fn parse_path(text: &str) -> Option<Path> {
    text.trim().strip_prefix('.').and_then(|path| Path::parse(path).ok())
}

struct Remap {
    statements: Vec<Statement>,
}

impl Transform for Remap {
    fn transform(&mut self, mut event: LogEvent, output: &mut Vec<LogEvent>) {
        self.statements.iter().for_each(|statement| statement.run(&mut event));
        output.push(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, text: &str, expected: &str) {
        let config = RemapConfig { source: source.to_owned() };
        let mut remap = config.build(&TransformContext { id: "test".into() }).unwrap();
        for is_tree in [false, true] {
            let mut event = LogEvent::from_json(text.to_owned().into()).unwrap();
            if is_tree {
                event.value_mut();
            }
            let mut output = Vec::new();
            remap.transform(event, &mut output);
            let seen: serde_json::Value = serde_json::from_str(&output[0].json()).unwrap();
            assert_eq!(seen, serde_json::from_str::<serde_json::Value>(expected).unwrap(), "{source}");
        }
    }

    #[test]
    fn moves_and_copies() {
        check(".dt = del(.timestamp)", r#"{"timestamp":"x","a":1}"#, r#"{"dt":"x","a":1}"#);
        check(".dt = del(.timestamp)", r#"{"timestamp":"x","dt":1}"#, r#"{"dt":"x"}"#);
        check(".dt = del(.timestamp)", r#"{"a":1}"#, r#"{"a":1,"dt":null}"#);
        check("if exists(.timestamp) { .dt = del(.timestamp) }", r#"{"a":1}"#, r#"{"a":1}"#);
        check("if exists(.t) { .dt = del(.t) }", r#"{"t":1}"#, r#"{"dt":1}"#);
        check(
            "\n# a comment\n.level = .log.level\n",
            r#"{"log":{"level":"x"}}"#,
            r#"{"log":{"level":"x"},"level":"x"}"#,
        );
        check(".a.b = del(.c)\n.d = .a", r#"{"c":1}"#, r#"{"a":{"b":1},"d":{"b":1}}"#);
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let config = RemapConfig { source: ".a = .b\n. = parse_json!(.message)\n.x = 1".to_owned() };
        let error = config.build(&TransformContext { id: "test".into() }).err().unwrap().to_string();
        assert!(error.contains("line 2") && error.contains("line 3"), "{error}");
    }
}
