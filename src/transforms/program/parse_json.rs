//! The most usual programs, `. = parse_json!(.message)` and `. |= object!(parse_json!(.message))`, recognised where
//! a program begins with one: the text of the message becomes the event's, or its fields do, without a tree of
//! either.
//!
//! Whatever is not the simple case, a string that is one JSON object, is left to VRL.

use crate::event::{Field, LogEvent, Path, Segment, json};
use serde::de::IgnoredAny;
use std::borrow::Cow;
use vrl::parser::ast::{
    Assignment, AssignmentOp, AssignmentTarget, Container, Expr, FunctionCall, Opcode, Program, Query,
    QueryTarget, RootExpr,
};
use vrl::path::{OwnedSegment, PathPrefix};

/// A program's first statement, if it is `. = parse_json!(.message)` or `. |= object!(parse_json!(.message))`, or one
/// that comes to the same as long as the message is an object: with `string!`, `object!`, `merge` or `??`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParseJson {
    /// The message.
    path: Path,
    /// Whether its fields join the event's, and do not replace them all.
    is_merge: bool,
    /// Whether an event with another message is to stay as it is: `parse_json(.message) ?? .`.
    or_stays: bool,
    /// Where the statement ends in the program.
    pub(super) end: usize,
    /// Whether there is more of the program.
    pub(super) has_more: bool,
}

impl ParseJson {
    /// Looks at the first statement of a program.
    pub(super) fn recognise(program: &Program) -> Option<ParseJson> {
        let statement = program.0.first()?;
        let RootExpr::Expr(expression) = statement.inner() else { return None };
        let Expr::Assignment(assignment) = expression.inner() else { return None };
        let Assignment::Single { target, op, expr } = assignment.inner() else { return None };
        let AssignmentTarget::Query(query) = target.inner() else { return None };
        if !path_in_event(query)?.is_empty() {
            return None;
        }
        let (is_merge, field) = new_root(expr.inner())?;
        let is_merge = is_merge || *op == AssignmentOp::Merge;
        let segments = field.iter().map(|segment| match segment {
            OwnedSegment::Field(name) => Segment::Field(name.as_str().into()),
            OwnedSegment::Index(position) => Segment::Index(*position),
        });
        let path = Path::from_segments(segments.collect());
        let or_stays = !is_merge && or_root(expr.inner());
        Some(ParseJson { path, is_merge, or_stays, end: statement.end(), has_more: program.0.len() > 1 })
    }

    /// The event after this statement, if it is a simple case; it owes no receipts.
    pub(super) fn apply(&self, event: &LogEvent) -> Option<LogEvent> {
        let text = event.get(&self.path).and_then(Field::as_str);
        if let Some(text) = text.as_deref().filter(|text| text.trim_ascii_start().starts_with('{'))
            && let Ok(parsed) = event.with_json_text(text.into())
        {
            return if self.is_merge { merged(event, &parsed) } else { Some(parsed) };
        }
        // Plain text among JSON: nothing happens to it.
        let stays = self.or_stays && matches!(event.root(), Field::Json(_)) && !text.is_some_and(may_be_json);
        stays.then(|| event.without_receipts())
    }
}

/// More fields than these are left to VRL, which looks them up in a map.
const MOST_FIELDS: usize = 64;

/// The event with the other's fields in place of its own of the same names; it owes no receipts.
fn merged(event: &LogEvent, other: &LogEvent) -> Option<LogEvent> {
    let Field::Json(text) = other.root() else { return None };
    let mut fields: Vec<(Cow<'_, str>, &str)> = Vec::new();
    for (key, value) in json::members(text) {
        let name = json::unescape(key);
        match fields.iter().position(|(other, _)| *other == name) {
            Some(earlier) => fields[earlier].1 = value,
            None if fields.len() == MOST_FIELDS => return None,
            None => fields.push((name, value)),
        }
    }
    let changes: Vec<_> = fields.iter().map(|(name, value)| (name.as_ref(), Some(value))).collect();
    let mut event = event.without_receipts();
    event.replace_root_fields(&changes);
    Some(event)
}

/// Whether a parser could take this for JSON. VRL's ignores a byte order mark.
fn may_be_json(text: Cow<'_, str>) -> bool {
    serde_json::from_str::<IgnoredAny>(text.trim_start_matches('\u{feff}')).is_ok()
}

/// Whether the expression is a field's JSON or, if that is none, the event.
fn or_root(expression: &Expr) -> bool {
    let Expr::Op(op) = expression else { return false };
    let is_root = match op.2.inner() {
        Expr::Query(query) => path_in_event(query).is_some_and(<[_]>::is_empty),
        _ => false,
    };
    let is_plain = match op.0.inner() {
        Expr::FunctionCall(call) => {
            !call.abort_on_error && matches!(argument_of(call, "parse_json"), Some(Expr::Query(_)))
        }
        _ => false,
    };
    *op.1.inner() == Opcode::Err && is_root && is_plain
}

/// The field whose JSON the expression comes to, or, if that is so, whose JSON it joins to the event.
fn new_root(expression: &Expr) -> Option<(bool, &[OwnedSegment])> {
    match expression {
        Expr::Op(op) if *op.1.inner() == Opcode::Err => new_root(op.0.inner()),
        Expr::FunctionCall(call) if call.ident.inner().as_ref() == "merge" => match call.arguments.as_slice()
        {
            [to, from] if to.inner().ident.is_none() && from.inner().ident.is_none() => {
                let Expr::Query(to) = to.inner().expr.inner() else { return None };
                let is_root = path_in_event(to)?.is_empty();
                is_root.then_some((true, parsed_field(from.inner().expr.inner())?))
            }
            _ => None,
        },
        _ => Some((false, parsed_field(expression)?)),
    }
}

/// The field that the expression parses.
fn parsed_field(expression: &Expr) -> Option<&[OwnedSegment]> {
    match expression {
        // The right side is what happens otherwise.
        Expr::Op(op) if *op.1.inner() == Opcode::Err => parsed_field(op.0.inner()),
        Expr::Container(container) => match container.inner() {
            Container::Group(group) => parsed_field(group.0.inner()),
            _ => None,
        },
        Expr::FunctionCall(call) => match argument_of(call, "parse_json") {
            Some(argument) => text_field(argument),
            None => parsed_field(argument_of(call, "object")?),
        },
        _ => None,
    }
}

/// The field that the expression is the text of.
fn text_field(expression: &Expr) -> Option<&[OwnedSegment]> {
    match expression {
        Expr::Query(query) => path_in_event(query).filter(|path| !path.is_empty()),
        Expr::FunctionCall(call) => text_field(argument_of(call, "string")?),
        _ => None,
    }
}

/// The argument of a call of this function with only one.
fn argument_of<'a>(call: &'a FunctionCall, function: &str) -> Option<&'a Expr> {
    match call.arguments.as_slice() {
        [argument] if call.ident.inner().as_ref() == function && call.closure.is_none() => {
            Some(argument.inner().expr.inner())
        }
        _ => None,
    }
}

fn path_in_event(query: &Query) -> Option<&[OwnedSegment]> {
    match query.target.inner() {
        QueryTarget::External(PathPrefix::Event) => Some(&query.path.inner().segments),
        _ => None,
    }
}
