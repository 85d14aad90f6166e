//! A table to a value, with every mistake in it.

use super::Problem;
use serde::de::DeserializeOwned;
use std::collections::BTreeSet;
use toml::{Table, Value};

/// Takes these keys out of the table into one of their own.
pub(crate) fn take_keys(table: &mut Table, keys: &[&str]) -> Table {
    keys.iter().filter_map(|key| Some(((*key).to_owned(), table.remove(*key)?))).collect()
}

/// Makes a value of a table. The deserialiser stops at its first mistake; to find them all, the key
/// that was wrong is taken out and the rest is tried again.
pub(crate) fn deserialize<T: DeserializeOwned>(mut table: Table) -> Result<T, Vec<Problem>> {
    let mut problems: Vec<Problem> = Vec::new();
    let mut removed = BTreeSet::new();
    loop {
        let error = match serde_path_to_error::deserialize(Value::Table(table.clone())) {
            Ok(value) if problems.is_empty() => return Ok(value),
            Ok(_) => return Err(problems),
            Err(error) => error,
        };
        let message = error.inner().message().trim_end();
        // What the TOML library says where an option that is one of several words holds something else.
        let is_no_word = message == "invalid type: unit variant, expected string only";
        let message = if is_no_word { "invalid type, expected a string" } else { message }.to_owned();
        let mut path = error.path().to_string();
        if path == "." {
            path.clear();
        }
        // An unknown field at the root is named in the message only.
        let unknown = message
            .strip_prefix("unknown field `")
            .and_then(|rest| rest.split_once('`'))
            .map(|(name, _)| name);
        if let Some(name) = unknown
            && !path.split('.').any(|part| part == name)
        {
            path = Problem::at(name, "").below(&path).path;
        }
        let missing = message.strip_prefix("missing field `").and_then(|rest| rest.strip_suffix('`'));
        // What is missing because it was wrong has been told already.
        if missing.is_none_or(|name| !removed.contains(&Problem::at(name, "").below(&path).path)) {
            problems.push(Problem::at(path.clone(), message.clone()));
        }
        let is_new = missing.is_none() && !path.is_empty() && removed.insert(path.clone());
        if !is_new || !remove_path(&mut table, &path) {
            return Err(problems);
        }
    }
}

fn remove_path(table: &mut Table, path: &str) -> bool {
    match path.split_once('.') {
        None => table.remove(path.split('[').next().unwrap_or(path)).is_some(),
        Some((first, rest)) => match table.get_mut(first) {
            Some(Value::Table(inner)) => remove_path(inner, rest) || table.remove(first).is_some(),
            _ => table.remove(first.split('[').next().unwrap_or(first)).is_some(),
        },
    }
}
