//! How the values of a field become one: [`Merger`], and [`Merged`], the tree of them that an event becomes.

use crate::event::{Path, Segment};
use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::Deserialize;
use std::cmp::Ordering;
use std::collections::{BTreeMap, HashSet};
use vrl::value::{KeyString, ObjectMap, Value};

/// How the values of a field are merged: Vector's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum MergeStrategy {
    /// An array of all values.
    Array,
    /// Strings, with spaces between them; or the elements of arrays, one after the other, among which single
    /// values stand as elements if an array came first.
    Concat,
    /// Strings, with line breaks between them.
    ConcatNewline,
    /// Strings, with nothing between them.
    ConcatRaw,
    /// The first value.
    Discard,
    /// An array of all different values, with those in arrays and objects instead of the arrays and objects.
    FlatUnique,
    /// The array with most elements; the first one of several.
    LongestArray,
    /// The greatest number.
    Max,
    /// The least number.
    Min,
    /// The last value that is not null.
    Retain,
    /// The array with the fewest elements; the first one of several.
    ShortestArray,
    /// The sum of numbers.
    Sum,
}

/// The strategies by their fields: a tree of the steps of their paths.
#[derive(Clone, Debug, Default)]
pub(super) struct Strategies {
    here: Option<MergeStrategy>,
    below: BTreeMap<Box<str>, Strategies>,
}

impl Strategies {
    /// Adds one. Where strategies are given for a field and for one in it, that of the outer one counts.
    ///
    /// # Errors
    /// If the path goes through an array.
    pub(super) fn insert(&mut self, path: &Path, strategy: MergeStrategy) -> Result<(), ()> {
        let mut place = self;
        for segment in path.segments() {
            let Segment::Field(name) = segment else { return Err(()) };
            place = place.below.entry(name.clone()).or_default();
        }
        place.here = Some(strategy);
        Ok(())
    }
}

/// A number as it came: as in Vector, integers stay exact until a fraction comes.
#[derive(Clone, Copy, Debug)]
enum Number {
    Integer(i64),
    Float(f64),
}

impl Number {
    fn of(value: &Value) -> Option<Number> {
        match value {
            Value::Integer(number) => Some(Number::Integer(*number)),
            Value::Float(number) => Some(Number::Float(number.into_inner())),
            _ => None,
        }
    }

    fn as_float(self) -> f64 {
        match self {
            Number::Integer(number) => number as f64,
            Number::Float(number) => number,
        }
    }

    /// `None` if the sum is no number that JSON can write.
    fn plus(self, other: Number) -> Option<Number> {
        if let (Number::Integer(one), Number::Integer(other)) = (self, other)
            && let Some(sum) = one.checked_add(other)
        {
            return Some(Number::Integer(sum));
        }
        let sum = self.as_float() + other.as_float();
        sum.is_finite().then_some(Number::Float(sum))
    }

    /// The other one if it compares so with this one. An integer that takes the place of a fraction becomes
    /// one.
    fn or(self, other: Number, is_so: impl Fn(Ordering) -> bool) -> Number {
        match (self, other) {
            (Number::Integer(one), Number::Integer(two)) if is_so(two.cmp(&one)) => other,
            (Number::Integer(_), Number::Integer(_)) => self,
            _ if is_so(other.as_float().total_cmp(&self.as_float())) => Number::Float(other.as_float()),
            _ => self,
        }
    }

    fn into_value(self) -> Value {
        match self {
            Number::Integer(number) => Value::Integer(number),
            Number::Float(number) => Value::from_f64_or_zero(number),
        }
    }
}

/// The values of one field so far.
#[derive(Debug)]
enum Merger {
    First(Value),
    Last(Value),
    Sum(Number),
    Max(Number),
    Min(Number),
    Array(Vec<Value>),
    Text(String, &'static str),
    Elements(Vec<Value>),
    Longest(Vec<Value>),
    Shortest(Vec<Value>),
    /// In the order in which they came.
    Unique(Vec<Value>, HashSet<Value>),
    /// The first and the last time.
    Span(DateTime<Utc>, DateTime<Utc>),
}

/// A value is of a type that its strategy cannot merge; it is left out.
#[derive(Debug, PartialEq, Eq)]
struct Mismatch;

impl Merger {
    /// For the first value of a field with a strategy.
    fn new(strategy: MergeStrategy, value: Value) -> Result<Merger, Mismatch> {
        let number = Number::of(&value).ok_or(Mismatch);
        let text = |value: Value, between| match value.to_str_lossy() {
            Some(text) => Ok(Merger::Text(text.into_owned(), between)),
            None => Err(Mismatch),
        };
        Ok(match (strategy, value) {
            (MergeStrategy::Array, value) => Merger::Array(vec![value]),
            (MergeStrategy::Concat, Value::Array(elements)) => Merger::Elements(elements),
            (MergeStrategy::Concat, value) => text(value, " ")?,
            (MergeStrategy::ConcatNewline, value) => text(value, "\n")?,
            (MergeStrategy::ConcatRaw, value) => text(value, "")?,
            (MergeStrategy::Discard, value) => Merger::First(value),
            (MergeStrategy::FlatUnique, value) => {
                let mut merger = Merger::Unique(Vec::new(), HashSet::new());
                merger.add(value)?;
                merger
            }
            (MergeStrategy::LongestArray, Value::Array(elements)) => Merger::Longest(elements),
            (MergeStrategy::ShortestArray, Value::Array(elements)) => Merger::Shortest(elements),
            (MergeStrategy::LongestArray | MergeStrategy::ShortestArray, _) => return Err(Mismatch),
            (MergeStrategy::Max, _) => Merger::Max(number?),
            (MergeStrategy::Min, _) => Merger::Min(number?),
            (MergeStrategy::Retain, value) => Merger::Last(value),
            (MergeStrategy::Sum, _) => Merger::Sum(number?),
        })
    }

    /// For the first value of a field without one: numbers are summed, of times the first and the last are
    /// kept, and of all else the first.
    fn by_default(value: Value) -> Merger {
        match (Number::of(&value), value) {
            (Some(number), _) => Merger::Sum(number),
            (None, Value::Timestamp(time)) => Merger::Span(time, time),
            (None, value) => Merger::First(value),
        }
    }

    /// Adds a later value.
    fn add(&mut self, value: Value) -> Result<(), Mismatch> {
        let number = Number::of(&value).ok_or(Mismatch);
        match (self, value) {
            (Merger::First(_), _) | (Merger::Last(_), Value::Null) => {}
            (Merger::Last(last), value) => *last = value,
            (Merger::Sum(sum), _) => *sum = sum.plus(number?).ok_or(Mismatch)?,
            (Merger::Max(most), _) => *most = most.or(number?, Ordering::is_gt),
            (Merger::Min(least), _) => *least = least.or(number?, Ordering::is_lt),
            (Merger::Elements(all), Value::Array(elements)) => all.extend(elements),
            (Merger::Array(all) | Merger::Elements(all), value) => all.push(value),
            (Merger::Text(text, between), value) => {
                let more = value.to_str_lossy().ok_or(Mismatch)?;
                text.push_str(between);
                text.push_str(&more);
            }
            (Merger::Longest(longest), Value::Array(elements)) => {
                if elements.len() > longest.len() {
                    *longest = elements;
                }
            }
            (Merger::Shortest(shortest), Value::Array(elements)) => {
                if elements.len() < shortest.len() {
                    *shortest = elements;
                }
            }
            (Merger::Unique(all, known), value) => {
                let values = match value {
                    Value::Array(elements) => elements,
                    Value::Object(members) => members.into_values().collect(),
                    single => vec![single],
                };
                all.extend(values.into_iter().filter(|value| known.insert(value.clone())));
            }
            (Merger::Span(_, last), Value::Timestamp(time)) => *last = time,
            (Merger::Longest(_) | Merger::Shortest(_) | Merger::Span(..), _) => return Err(Mismatch),
        }
        Ok(())
    }

    /// What the values have become, and for a span its end.
    fn finish(self) -> (Value, Option<Value>) {
        let value = match self {
            Merger::First(value) | Merger::Last(value) => value,
            Merger::Sum(number) | Merger::Max(number) | Merger::Min(number) => number.into_value(),
            Merger::Text(text, _) => Value::from(text),
            Merger::Array(values)
            | Merger::Elements(values)
            | Merger::Longest(values)
            | Merger::Shortest(values)
            | Merger::Unique(values, _) => Value::Array(values),
            Merger::Span(first, last) => return (Value::Timestamp(first), Some(Value::Timestamp(last))),
        };
        (value, None)
    }
}

/// Events that are becoming one.
#[derive(Debug, Default)]
pub(super) struct Merged(BTreeMap<KeyString, Node>);

#[derive(Debug)]
enum Node {
    /// Its members are merged each by itself.
    Object(Merged),
    Field(Merger),
}

impl Node {
    fn new(value: Value, strategies: &Strategies, mismatches: &mut Vec<KeyString>) -> Result<Node, Mismatch> {
        Ok(match (strategies.here, value) {
            (Some(strategy), value) => Node::Field(Merger::new(strategy, value)?),
            (None, Value::Object(members)) => {
                let mut merged = Merged::default();
                merged.add(members, strategies, mismatches);
                Node::Object(merged)
            }
            (None, value) => Node::Field(Merger::by_default(value)),
        })
    }
}

impl Merged {
    /// Adds an event; the names of fields whose values could not be merged go to the mismatches.
    pub(super) fn add(
        &mut self,
        object: ObjectMap,
        strategies: &Strategies,
        mismatches: &mut Vec<KeyString>,
    ) {
        let none = Strategies::default();
        for (key, value) in object {
            let strategies = strategies.below.get(key.as_str()).unwrap_or(&none);
            match (self.0.get_mut(&key), value) {
                (None, value) => match Node::new(value, strategies, mismatches) {
                    Ok(node) => drop(self.0.insert(key, node)),
                    // A later value may begin.
                    Err(Mismatch) => mismatches.push(key),
                },
                (Some(Node::Object(merged)), Value::Object(members)) => {
                    merged.add(members, strategies, mismatches);
                }
                // What came first decides whether a field is an object.
                (Some(Node::Object(_)), _) => mismatches.push(key),
                (Some(Node::Field(merger)), value) => {
                    if merger.add(value).is_err() {
                        mismatches.push(key);
                    }
                }
            }
        }
    }

    /// The object that the events have become.
    pub(super) fn finish(self) -> Value {
        let mut object = ObjectMap::new();
        let mut ends = Vec::new();
        for (key, node) in self.0 {
            let value = match node {
                Node::Object(merged) => merged.finish(),
                Node::Field(merger) => {
                    let (value, end) = merger.finish();
                    ends.extend(end.map(|end| (format!("{key}_end"), end)));
                    value
                }
            };
            object.insert(key, value);
        }
        for (key, end) in ends {
            // A field that the events have themselves stays.
            object.entry(key.into()).or_insert(end);
        }
        Value::Object(object)
    }
}
