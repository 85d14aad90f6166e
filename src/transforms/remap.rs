//! `remap`: assignments of VRL that move or copy fields, or write the time in another form.
//!
//! This is the part of VRL that needs no tree: what the providers' configurations use to give a field the
//! name and form that a vendor reads. A program with anything else is refused with its line.

use crate::config::{ComponentInfo, Result, Transform, TransformConfig, TransformContext};
use crate::event::{Field, LogEvent, Path, Timestamp, json};
use crate::topology::Outputs;
use schemars::JsonSchema;
use serde::Deserialize;
use vrl::value::Value;

/// The configuration of the `remap` transform.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RemapConfig {
    /// The program: lines of the form `.a = .b`, `.a = del(.b)`, `.a = "text"`, `.a = now()` or `.a =
    /// to_unix_timestamp(parse_timestamp(.b, "%+") ?? now(), unit: "milliseconds")`, each by itself or in `if
    /// exists(.c) { ... }` or `if is_null(.c) { ... }`.
    source: String,
}

impl RemapConfig {
    pub(crate) const INFO: ComponentInfo = ComponentInfo::new(
        "remap",
        "Move and copy fields, write times: `.a = .b`, `.a = del(.b)`. The rest of VRL is not here yet.",
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
                    "source, line {}: `{line}` is not understood; expected `.a = .b`, `.a = del(.b)`, `.a = \"text\"` or `.a = now()`, by itself or in `if exists(.c) {{ ... }}` or `if is_null(.c) {{ ... }}`, the part of VRL that this version has",
                    index + 1
                )),
            }
        }
        if problems.is_empty() { Ok(Box::new(Remap { statements })) } else { Err(problems.join("; ").into()) }
    }
}

/// One line of a program.
#[derive(Debug, PartialEq)]
struct Statement {
    condition: Option<Condition>,
    to: Path,
    value: Expression,
}

#[derive(Debug, PartialEq)]
enum Condition {
    Exists(Path),
    IsNull(Path),
}

#[derive(Debug, PartialEq)]
enum Expression {
    /// `.b`: a missing field is null.
    Copy(Path),
    /// `del(.b)`
    Move(Path),
    /// `"text"`, without escapes.
    Text(String),
    /// `now()`: when the event was received.
    Now,
    /// `to_unix_timestamp(parse_timestamp(.b, "%+") ?? now(), unit: "...")`, with nanoseconds divided by this.
    UnixTime(Path, i64),
}

impl Statement {
    fn parse(line: &str) -> Option<Statement> {
        let text = compact(line);
        let (condition, assignment) = match text.strip_prefix("if ") {
            None => (None, text.as_str()),
            Some(rest) => {
                let (condition, block) = rest.split_once('{')?;
                let (name, path) = condition.strip_suffix(')')?.split_once('(')?;
                let path = parse_path(path)?;
                let condition = match name {
                    "exists" => Condition::Exists(path),
                    "is_null" => Condition::IsNull(path),
                    _ => return None,
                };
                (Some(condition), block.strip_suffix('}')?)
            }
        };
        let (to, value) = assignment.split_once('=')?;
        Some(Statement { condition, to: parse_path(to)?, value: Expression::parse(value)? })
    }

    fn run(&self, event: &mut LogEvent) {
        let applies = match &self.condition {
            None => true,
            Some(Condition::Exists(path)) => event.get(path).is_some(),
            Some(Condition::IsNull(path)) => event.get(path).is_none_or(Field::is_null),
        };
        if !applies {
            return;
        }
        let value = match &self.value {
            Expression::Text(text) => json_string(text),
            Expression::Now => json_string(&event.received().to_rfc3339()),
            Expression::UnixTime(from, divisor) => {
                let field = event.get(from).and_then(|field| match field {
                    Field::Value(Value::Timestamp(_)) => field.as_timestamp(),
                    _ => Timestamp::parse_rfc3339(&field.as_str()?),
                });
                field.unwrap_or(event.received()).nanos().div_euclid(*divisor).to_string()
            }
            Expression::Copy(from) => event.get(from).map_or("null".into(), Field::to_json).into_owned(),
            Expression::Move(from) => {
                if let (Some(from), Some(to), true) =
                    (from.as_root_field(), self.to.as_root_field(), event.get(from).is_some())
                {
                    return event.rename_root_field(from, to);
                }
                let field = event.value_mut().remove(&from.to_vrl(), false).unwrap_or(Value::Null);
                event.value_mut().insert(&self.to.to_vrl(), field);
                return;
            }
        };
        event.set(&self.to, &value);
    }
}

impl Expression {
    fn parse(text: &str) -> Option<Expression> {
        if text == "now()" {
            return Some(Expression::Now);
        }
        if let Some(inner) = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) {
            return (!inner.contains(['"', '\\'])).then(|| Expression::Text(inner.to_owned()));
        }
        if let Some(path) = text.strip_prefix("del(").and_then(|rest| rest.strip_suffix(')')) {
            return parse_path(path).map(Expression::Move);
        }
        if let Some(rest) = text.strip_prefix("to_unix_timestamp") {
            let (call, rest) = rest.split_once("(parse_timestamp(")?;
            let (path, unit) = rest.split_once(",\"%+\")??now(),unit:\"")?;
            // VRL wants to be told what happens if nanoseconds are too many for a number, and only then.
            let divisor = match (call, unit.strip_suffix("\")")?) {
                ("", "seconds") => 1_000_000_000,
                ("", "milliseconds") => 1_000_000,
                ("", "microseconds") => 1_000,
                ("!", "nanoseconds") => 1,
                _ => return None,
            };
            return Some(Expression::UnixTime(parse_path(path)?, divisor));
        }
        parse_path(text).map(Expression::Copy)
    }
}

/// The line without white space outside of quotes, but for one space where it divides what would otherwise be
/// read as one: two words, or a path and what follows it.
fn compact(line: &str) -> String {
    let is_word = |c: Option<char>| c.is_some_and(|c| c.is_alphanumeric() || "_\"])".contains(c));
    let begins = |c: char| c.is_alphanumeric() || "_\".[".contains(c);
    let (mut out, mut is_quoted, mut has_space, mut is_escaped) = (String::new(), false, false, false);
    for c in line.chars() {
        if !is_quoted && c.is_whitespace() {
            has_space = true;
            continue;
        }
        // `if .a` and `= .b` are no paths that go on.
        if has_space && is_word(out.chars().last()) && begins(c) {
            out.push(' ');
        }
        has_space = false;
        is_quoted ^= c == '"' && !is_escaped;
        is_escaped = is_quoted && c == '\\' && !is_escaped;
        out.push(c);
    }
    out
}

fn json_string(text: &str) -> String {
    let mut out = Vec::new();
    json::write_string(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

fn parse_path(text: &str) -> Option<Path> {
    text.strip_prefix('.').and_then(|path| Path::parse(path).ok())
}

struct Remap {
    statements: Vec<Statement>,
}

impl Transform for Remap {
    fn transform(&mut self, mut event: LogEvent, outputs: &mut Outputs) {
        self.statements.iter().for_each(|statement| statement.run(&mut event));
        outputs.push(event);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(source: &str, text: &str, expected: &str) {
        let config = RemapConfig { source: source.to_owned() };
        let mut remap = config.build(&TransformContext::default()).unwrap();
        for is_tree in [false, true] {
            let received = Timestamp::from_nanos(1_795_323_600_000_137_000);
            let mut event = LogEvent::from_json_at(text.to_owned().into(), received).unwrap();
            if is_tree {
                event.value_mut();
            }
            let mut outputs = Outputs::new(0, Default::default());
            remap.transform(event, &mut outputs);
            let seen: serde_json::Value = serde_json::from_str(&outputs.take().0[0].json()).unwrap();
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
        check("if exists(.log.level) { .level = .log.level }", r#"{"n":1}"#, r#"{"n":1}"#);
        check(
            "if exists(.log.level) { .level = .log.level }",
            r#"{"log":{"level":"x"},"level":1}"#,
            r#"{"log":{"level":"x"},"level":"x"}"#,
        );
        let missing = "if is_null(.fly.app.name) { .fly.app.name = \"no app\" }";
        check(missing, r#"{"a":1}"#, r#"{"a":1,"fly":{"app":{"name":"no app"}}}"#);
        check(missing, r#"{"fly":{"app":{"name":"x"}}}"#, r#"{"fly":{"app":{"name":"x"}}}"#);
        check(".a = .b", r#"{"a":1}"#, r#"{"a":null}"#);
        check(r#".a = ."user -  id""#, r#"{"user -  id":1}"#, r#"{"a":1,"user -  id":1}"#);
        check(".a.b = del(.c)\n.d = .a", r#"{"c":1}"#, r#"{"a":{"b":1},"d":{"b":1}}"#);
    }

    #[test]
    fn writes_times() {
        let received = "2026-11-22T05:00:00.000137000Z";
        let now = ".t = now()";
        check("if is_null(.t) { .t = now() }", r#"{"t":"x"}"#, r#"{"t":"x"}"#);
        check("if is_null(.t) { .t = now() }", r#"{"t":null}"#, &format!(r#"{{"t":"{received}"}}"#));
        check(now, "{}", &format!(r#"{{"t":"{received}"}}"#));
        for (unit, expected) in [
            ("seconds", "1795323600"),
            ("milliseconds", "1795323600500"),
            ("microseconds", "1795323600500000"),
            ("nanoseconds", "1795323600500000000"),
        ] {
            let call = if unit == "nanoseconds" { "!" } else { "" };
            let source = format!(
                r#".u = to_unix_timestamp{call}(parse_timestamp(.t, "%+") ?? now(), unit: "{unit}")"#
            );
            let time = "2026-11-22T07:30:00.5+02:30";
            check(&source, &format!(r#"{{"t":"{time}"}}"#), &format!(r#"{{"t":"{time}","u":{expected}}}"#));
        }
        let source = r#".u = to_unix_timestamp(parse_timestamp(.t, "%+") ?? now(), unit: "microseconds")"#;
        for odd in ["1795323600", "\"yesterday\"", "null"] {
            check(source, &format!(r#"{{"t":{odd}}}"#), &format!(r#"{{"t":{odd},"u":1795323600000137}}"#));
        }
    }

    #[test]
    fn refuses_what_it_does_not_understand() {
        let config = RemapConfig { source: ".a = .b\n. = parse_json!(.message)\n.x = 1\nif starts_with(.a) { .b = .a }\n.a = to_unix_timestamp(.b)\n.a b = .c\n.a = .log .level".to_owned() };
        let error = config.build(&TransformContext::default()).err().unwrap().to_string();
        for line in ["line 2", "line 3", "line 4", "line 5", "line 6", "line 7"] {
            assert!(error.contains(line), "{error}");
        }
    }
}
