//! A table to a value, with every mistake in it.

use super::Problem;
use super::format::join;
use super::suggest::suggest;
use crate::env::PLACEHOLDER;
use serde::de::DeserializeOwned;
use serde_path_to_error::Segment;
use std::collections::BTreeSet;
use toml::{Table, Value};

/// A step down a tree.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Step {
    Key(String),
    Index(usize),
}

/// Where the values stand that were wholly one reference to a variable or a secret: text that may have to be
/// a number or a switch.
pub(crate) type References = BTreeSet<Vec<Step>>;

/// The steps as they stand in messages: `a.b[0]`.
pub(super) fn to_path(steps: &[Step]) -> String {
    steps.iter().fold(String::new(), |path, step| match step {
        Step::Key(key) => join(&path, key),
        Step::Index(index) => format!("{path}[{index}]"),
    })
}

/// Takes these keys out of the table into one of their own.
pub(crate) fn take_keys(table: &mut Table, keys: &[&str]) -> Table {
    keys.iter().filter_map(|key| Some(((*key).to_owned(), table.remove(*key)?))).collect()
}

/// Makes a value of a table. The deserialiser stops at its first mistake; to find them all, the key
/// that was wrong is taken out and the rest is tried again. Where the text of a reference is no text that
/// the option can be, it is tried as a number, a switch or a list.
pub(crate) fn deserialize<T: DeserializeOwned>(
    mut table: Table,
    references: &References,
) -> Result<T, Vec<Problem>> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut removed = BTreeSet::new();
    loop {
        let mistake = match attempt::<T>(&table) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => return Err(problems),
            Err(mistake) => mistake,
        };
        if let Some(retyped) = retype::<T>(&table, &mistake, references) {
            table = retyped;
            continue;
        }
        let path = to_path(&mistake.steps);
        let missing = mistake.message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        // What is missing because it was wrong has been told already.
        if missing.is_none_or(|name| !removed.contains(&join(&path, name))) {
            problems.push(Problem::at(path.clone(), suggest(&mistake.message, &[])));
        }
        let is_new = missing.is_none() && !path.is_empty() && removed.insert(path);
        if !is_new || !remove(&mut table, &mistake.steps) {
            return Err(problems);
        }
    }
}

struct Mistake {
    steps: Vec<Step>,
    message: String,
}

fn attempt<T: DeserializeOwned>(table: &Table) -> Result<T, Mistake> {
    let error = match serde_path_to_error::deserialize(Value::Table(table.clone())) {
        Ok(value) => return Ok(value),
        Err(error) => error,
    };
    let message = error.inner().message().trim_end();
    // What the TOML library says where an option that is one of several words holds something else.
    let is_no_word = message == "invalid type: unit variant, expected string only";
    let message = if is_no_word { "invalid type, expected a string" } else { message };
    // A type of Rust's says nothing to those who write a configuration.
    let mut message = match message.split_once(", expected a nonzero ") {
        Some((wrong, _)) => format!("{wrong}, expected at least 1"),
        None => message.to_owned(),
    };
    let steps = error.path().iter().filter_map(|segment| match segment {
        Segment::Seq { index } => Some(Step::Index(*index)),
        Segment::Map { key } => Some(Step::Key(key.clone())),
        Segment::Enum { .. } | Segment::Unknown => None,
    });
    let mut steps: Vec<_> = steps.collect();
    if message == "invalid socket address syntax" {
        let value = get(table, &steps).and_then(Value::as_str).unwrap_or_default();
        message = format!(
            "`{value}` is no address; expected an IP address and a port (ADDRESS:PORT), such as 127.0.0.1:8686 or [::]:8686"
        );
    }
    // An unknown field at the root is named in the message only.
    let unknown =
        message.strip_prefix("unknown field `").and_then(|rest| rest.split_once('`')).map(|(name, _)| name);
    if let Some(name) = unknown
        && !steps.iter().any(|step| *step == Step::Key(name.to_owned()))
    {
        steps.push(Step::Key(name.to_owned()));
    }
    Err(Mistake { steps, message })
}

/// The table with the texts of references as what they say, if that mends the mistake: as few of them as
/// do. Nothing that was text before becomes something else unless the option cannot be text.
fn retype<T: DeserializeOwned>(table: &Table, mistake: &Mistake, references: &References) -> Option<Table> {
    if mistake.message.starts_with("missing field") || mistake.message.starts_with("unknown field") {
        return None;
    }
    // What stands for a variable that is not here may have to be a number or a switch.
    let placeholders = [Value::Integer(1), Value::Boolean(true)];
    placeholders.iter().find_map(|placeholder| retype_with::<T>(table, mistake, references, placeholder))
}

fn retype_with<T: DeserializeOwned>(
    table: &Table,
    mistake: &Mistake,
    references: &References,
    placeholder: &Value,
) -> Option<Table> {
    // Beyond so many, each is tried alone, and all together.
    const MOST_COMBINED: usize = 6;
    let parse = |text: &str| if text == PLACEHOLDER { Some(placeholder.clone()) } else { parse(text) };
    let typed = |steps: &&Vec<Step>| {
        let is_there = steps.starts_with(&mistake.steps) || mistake.steps.starts_with(steps);
        let value = get(table, steps).filter(|_| is_there)?.as_str().and_then(parse)?;
        Some(((*steps).clone(), value))
    };
    let candidates: Vec<_> = references.iter().filter_map(|steps| typed(&steps)).collect();
    let all = (1_usize << candidates.len().min(usize::BITS as usize - 1)) - 1;
    let mut subsets: Vec<usize> = match candidates.len() {
        len @ 0..=MOST_COMBINED => (1..1 << len).collect(),
        len => (0..len.min(usize::BITS as usize - 1)).map(|bit| 1 << bit).chain([all]).collect(),
    };
    subsets.sort_by_key(|subset| subset.count_ones());
    subsets.into_iter().find_map(|subset| {
        let chosen = || candidates.iter().enumerate().filter(|(bit, _)| subset >> bit & 1 == 1);
        let mut retyped = table.clone();
        for (_, (steps, value)) in chosen() {
            put(&mut retyped, steps, value.clone());
        }
        let is_mended = match attempt::<T>(&retyped) {
            Ok(_) => true,
            Err(next) => {
                next.steps != mistake.steps
                    && chosen().all(|(_, (steps, _))| {
                        !next.steps.starts_with(steps) && !steps.starts_with(&next.steps)
                    })
            }
        };
        is_mended.then_some(retyped)
    })
}

/// A text as a number, a switch or a list.
fn parse(text: &str) -> Option<Value> {
    let text = text.trim();
    if let Ok(number) = text.parse() {
        return Some(Value::Integer(number));
    }
    if let Ok(switch) = text.parse() {
        return Some(Value::Boolean(switch));
    }
    if text.starts_with('[') {
        let table: Table = format!("value = {text}").parse().ok()?;
        return table.into_iter().map(|(_, value)| value).next().filter(Value::is_array);
    }
    text.parse().ok().filter(|number: &f64| number.is_finite()).map(Value::Float)
}

fn get<'a>(table: &'a Table, steps: &[Step]) -> Option<&'a Value> {
    let (Step::Key(first), rest) = steps.split_first()? else { return None };
    rest.iter().try_fold(table.get(first)?, |value, step| match step {
        Step::Key(key) => value.get(key),
        Step::Index(index) => value.get(index),
    })
}

fn put(table: &mut Table, steps: &[Step], new: Value) {
    let Some((Step::Key(first), rest)) = steps.split_first() else { return };
    let found = rest.iter().try_fold(table.get_mut(first), |value, step| {
        let value = value?;
        Some(match step {
            Step::Key(key) => value.get_mut(key),
            Step::Index(index) => value.get_mut(index),
        })
    });
    if let Some(Some(value)) = found {
        *value = new;
    }
}

/// Takes out what is there, with the list that it is in.
fn remove(table: &mut Table, steps: &[Step]) -> bool {
    let Some((Step::Key(first), rest)) = steps.split_first() else { return false };
    if let Some(Value::Table(inner)) = table.get_mut(first)
        && !rest.is_empty()
        && remove(inner, rest)
    {
        return true;
    }
    table.remove(first).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::secret::SensitiveString;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Options {
        port: Option<u16>,
        password: Option<SensitiveString>,
        ratio: Option<f64>,
        names: Option<Vec<String>>,
        either: Option<Either>,
    }

    #[derive(Debug, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Switch(bool),
        Table { enabled: bool, timeout: f64, name: String },
    }

    fn load(text: &str, references: &[&str]) -> Result<Options, Vec<Problem>> {
        let steps = |path: &&str| path.split('.').map(|key| Step::Key(key.to_owned())).collect();
        deserialize(text.parse().unwrap(), &references.iter().map(steps).collect())
    }

    #[test]
    fn the_text_of_a_reference_becomes_what_the_option_wants() {
        let text = "port = '80'\npassword = '12345'\nratio = '2'\nnames = '[\"1\", \"2\"]'";
        let all = ["port", "password", "ratio", "names"];
        let options = load(text, &all).unwrap();
        assert_eq!(options.port, Some(80));
        assert_eq!(options.password.unwrap().expose(), "12345");
        assert_eq!(options.ratio, Some(2.0));
        assert_eq!(options.names.unwrap(), ["1", "2"]);

        let text = "either = {enabled = 'true', timeout = '3', name = '5'}";
        let either = load(text, &["either.enabled", "either.timeout", "either.name"]).unwrap().either;
        let expected =
            matches!(&either, Some(Either::Table { enabled: true, timeout: 3.0, name }) if name == "5");
        assert!(expected, "{either:?}");
        let either = load("either = 'true'", &["either"]).unwrap().either;
        assert!(matches!(either, Some(Either::Switch(true))), "{either:?}");
    }

    #[test]
    fn what_is_no_reference_stays_text() {
        let problems = load("port = '80'\nratio = 'x'", &["ratio"]).unwrap_err();
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert!(problems[0].to_string().starts_with("port: invalid type: string \"80\""), "{problems:?}");
    }

    #[test]
    fn a_missing_field_makes_no_number_of_a_password() {
        #[derive(Debug, Deserialize)]
        #[allow(dead_code)]
        struct Needs {
            uri: String,
            password: String,
        }
        let references = [vec![Step::Key("password".to_owned())]].into_iter().collect();
        let problems = deserialize::<Needs>("password = '1'".parse().unwrap(), &references).unwrap_err();
        assert_eq!(problems.len(), 1);
        assert_eq!(problems[0].message, "missing field `uri`");
    }
}
