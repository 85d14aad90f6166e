//! [`AnyCondition`]: what `filter`, `route` and others ask of an event.

use super::program::{Access, Program, time_zone};
use crate::config::{Problem, Problems, Result, TransformContext};
use crate::event::LogEvent;
use crate::log_limit::LogLimit;
use serde::Deserialize;
use std::fmt;
use vrl::value::Value;

/// A condition in a configuration, as in Vector: an expression of VRL, or a table with a `type`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(try_from = "TextOrTable")]
#[schemars(with = "TextOrTable")]
#[non_exhaustive]
pub enum AnyCondition {
    /// An expression of VRL that is true or false: `.log.level == "error"`.
    Vrl(String),
    /// Whether the event is a log: all of them are.
    IsLog,
    /// Whether it is a metric: none is.
    IsMetric,
    /// Whether it is a trace: none is.
    IsTrace,
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(
    untagged,
    expecting = "expected an expression of VRL, or a table such as `{ type = \"vrl\", source = \"...\" }`"
)]
enum TextOrTable {
    Text(String),
    Table(ConditionTable),
}

#[derive(Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
struct ConditionTable {
    /// `vrl` for an expression; `is_log` holds for every event, `is_metric` and `is_trace` for none.
    #[schemars(extend("enum" = ["vrl", "remap", "is_log", "is_metric", "is_trace"]))]
    r#type: String,
    /// An expression of VRL that is true or false.
    source: Option<String>,
    /// Vector's choice of a runtime: there is one.
    #[expect(dead_code, reason = "it is read so that any other runtime is refused")]
    runtime: Option<Runtime>,
}

/// How programs are run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum Runtime {
    /// The only way there is: by walking the program's tree.
    Ast,
}

impl TryFrom<TextOrTable> for AnyCondition {
    type Error = String;

    fn try_from(either: TextOrTable) -> Result<AnyCondition, String> {
        let table = match either {
            TextOrTable::Text(source) => return Ok(AnyCondition::Vrl(source)),
            TextOrTable::Table(table) => table,
        };
        match (table.r#type.as_str(), table.source) {
            // `remap` is what Vector called it once.
            ("vrl" | "remap", Some(source)) => Ok(AnyCondition::Vrl(source)),
            ("vrl" | "remap", None) => {
                Err("source: missing; expected an expression of VRL such as `.log.level == \"error\"`".into())
            }
            ("is_log", None) => Ok(AnyCondition::IsLog),
            ("is_metric", None) => Ok(AnyCondition::IsMetric),
            ("is_trace", None) => Ok(AnyCondition::IsTrace),
            (name @ ("is_log" | "is_metric" | "is_trace"), Some(_)) => {
                Err(format!("source: the type `{name}` has none; leave it out"))
            }
            ("datadog_search", _) => Err(
                "type: `datadog_search` is not supported; write the condition in VRL, with the type `vrl`"
                    .into(),
            ),
            (other, _) => Err(format!(
                "type: `{other}` is unknown; expected `vrl`, `is_log`, `is_metric` or `is_trace`"
            )),
        }
    }
}

impl AnyCondition {
    /// Makes the condition for the component of this context; `option` is its name there, for messages.
    ///
    /// # Errors
    /// A [`Problem`] at that option: the compiler's messages if the expression is none, or is not always true
    /// or false, or changes the event; or the component's time zone.
    pub fn build(&self, option: &str, cx: &TransformContext) -> Result<Condition> {
        self.compile(option, cx).map_err(|problem| Problems(vec![problem]).into())
    }

    /// The same, for whoever has several of them, and all their mistakes to tell.
    pub(super) fn compile(&self, option: &str, cx: &TransformContext) -> Result<Condition, Problem> {
        let source = match self {
            AnyCondition::Vrl(source) => source,
            other => return Ok(Condition(Test::Always(*other == AnyCondition::IsLog))),
        };
        let timezone = time_zone(cx.timezone.as_deref()).map_err(|error| Problem::at("timezone", error))?;
        let (program, warnings) = Program::compile(source, Access::ReadOnly, timezone)
            .map_err(|error| Problem::at(option, format!("the condition does not compile:\n{error}")))?;
        if !program.is_boolean() {
            let message = "the condition is not always true or false; end it with a comparison such as `.log.level == \"error\"`, or say what to do with an error, such as `?? false`";
            return Err(Problem::at(option, message));
        }
        if let Some(warnings) = warnings {
            tracing::warn!(component = cx.id, "{option}: the condition's compiler warns:\n{warnings}");
        }
        let vrl = Vrl { program, name: format!("{}.{option}", cx.id), failed: LogLimit::every_10_s() };
        Ok(Condition(Test::Vrl(Box::new(vrl))))
    }
}

/// A condition at work.
#[derive(Debug)]
pub struct Condition(Test);

enum Test {
    Always(bool),
    Vrl(Box<Vrl>),
}

#[derive(Debug)]
struct Vrl {
    program: Program,
    /// What the log calls it: `errors.condition`.
    name: String,
    failed: LogLimit,
}

impl fmt::Debug for Test {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Test::Always(answer) => answer.fmt(f),
            Test::Vrl(vrl) => vrl.name.fmt(f),
        }
    }
}

impl Condition {
    /// Whether it holds for this event; if not, why.
    ///
    /// # Errors
    /// The expression's own error, as `assert!` has one, or that it is false.
    pub fn explain(&mut self, event: &LogEvent) -> Result<(), String> {
        match &mut self.0 {
            Test::Always(true) => Ok(()),
            Test::Always(false) => Err("the event is a log".to_owned()),
            Test::Vrl(vrl) => match vrl.program.evaluate(event) {
                Ok(Value::Boolean(true)) => Ok(()),
                Ok(_) => Err("it does not hold".to_owned()),
                Err(failure) => Err(failure.message()),
            },
        }
    }

    /// Whether it holds for this event. An expression that fails says no, as in Vector, and the log tells why.
    pub fn check(&mut self, event: &LogEvent) -> bool {
        match &mut self.0 {
            Test::Always(answer) => *answer,
            Test::Vrl(vrl) => match vrl.program.evaluate(event) {
                Ok(answer) => answer == Value::Boolean(true),
                Err(failure) => {
                    if let Some(unsaid) = vrl.failed.allow() {
                        tracing::warn!(
                            condition = vrl.name,
                            unsaid,
                            "the condition failed, and does not hold: {failure}"
                        );
                    }
                    false
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn parse(toml: &str) -> Result<AnyCondition, String> {
        #[derive(Deserialize)]
        struct Options {
            condition: AnyCondition,
        }
        toml::from_str::<Options>(toml).map(|options| options.condition).map_err(|error| error.to_string())
    }

    #[track_caller]
    fn check(condition: &str, text: &str, expected: bool) {
        let condition = parse(&format!("condition = {condition}")).unwrap();
        let mut condition = condition.build("condition", &TransformContext::default()).unwrap();
        let mut event = LogEvent::from_json(Bytes::copy_from_slice(text.as_bytes())).unwrap();
        assert_eq!(condition.check(&event), expected, "as text");
        assert!(matches!(event.root(), crate::event::Field::Json(_)), "a tree was made");
        event.value_mut();
        assert_eq!(condition.check(&event), expected, "as a tree");
    }

    #[test]
    fn conditions_hold_or_not() {
        check(r#"'.a == 1'"#, r#"{"a":1}"#, true);
        check(r#"'.a == 1'"#, r#"{"a":2,"a":1}"#, true);
        check(r#"'.a.b == "x" || exists(.c)'"#, r#"{"a":{"b":"y"},"c":null}"#, true);
        check(r#"'.a.b == "x" || exists(.c)'"#, r#"{"a":[]}"#, false);
        check(r#"'length(.) == 2'"#, r#"{"a":[],"b":1}"#, true);
        check(r#"'. == {"a": 1}'"#, r#"{"a":1}"#, true);
        check(r#"'%a == null'"#, "{}", true);
        check(r#"'x = .a; x == 1'"#, r#"{"a":1}"#, true);
        // What fails does not hold.
        check(r#"'contains(string!(.a), "x")'"#, r#"{"a":1}"#, false);
        check(r#"'contains(string!(.a), "x")'"#, r#"{"a":"text"}"#, true);
        check(r#"'if .a == 1 { abort }; true'"#, r#"{"a":1}"#, false);
        check(r#"{ type = "vrl", source = ".a == 1", runtime = "ast" }"#, r#"{"a":1}"#, true);
        check(r#"{ type = "is_log" }"#, "{}", true);
        check(r#"{ type = "is_metric" }"#, "{}", false);
        check(r#"{ type = "is_trace" }"#, "{}", false);
    }

    #[test]
    fn what_is_no_condition_is_refused() {
        for (toml, expected) in [
            ("condition = 7", "expected an expression of VRL"),
            ("condition = { type = \"vrl\" }", "source: missing"),
            ("condition = { type = \"is_log\", source = \"true\" }", "leave it out"),
            ("condition = { type = \"datadog_search\", source = \"*\" }", "write the condition in VRL"),
            ("condition = { type = \"x\" }", "type: `x` is unknown"),
        ] {
            let error = parse(toml).unwrap_err();
            assert!(error.contains(expected), "{error}");
        }
        for (source, expected) in [
            (".a ==", "route.x: the condition does not compile:\nerror[E204]"),
            (".a", "route.x: the condition is not always true or false"),
            (".a = 1; true", "read-only"),
            ("contains(.a, \"x\")", "error[E"),
            ("dns_lookup(\"x\") == 1", "undefined function"),
        ] {
            let condition = AnyCondition::Vrl(source.to_owned());
            let error =
                condition.build("route.x", &TransformContext::default()).map(drop).unwrap_err().to_string();
            assert!(error.contains(expected), "{source}: {error}");
        }
        let cx = TransformContext { timezone: Some("Mars/North".to_owned()), ..TransformContext::default() };
        let error = AnyCondition::Vrl("true".to_owned()).build("condition", &cx).map(drop).unwrap_err();
        assert!(error.to_string().contains("timezone: `Mars/North` is no time zone"), "{error}");
    }
}
