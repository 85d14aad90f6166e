//! The table of the dead letters: what it need not say, and what it must not.

use crate::config::{DEAD_LETTERS_DEFAULTS, Problem};
use toml::{Table, Value};

/// Adds what the table of the dead letters need not say.
///
/// # Errors
/// If it says what it must not.
pub(super) fn set_defaults(name: &str, table: &mut Table) -> Result<(), Vec<Problem>> {
    if table.contains_key("inputs") {
        let message = "it gets what the other sinks have refused, and has no inputs; remove this";
        return Err(vec![Problem::at("inputs", message)]);
    }
    let problems = unreadable_letters(name, table);
    if !problems.is_empty() {
        return Err(problems);
    }
    table.insert("inputs".to_owned(), Value::Array(Vec::new()));
    let mut default = |key: &str, value: Value| {
        if !table.contains_key(key) {
            table.insert(key.to_owned(), value);
        }
    };
    if DEAD_LETTERS_DEFAULTS.contains(&name) {
        let encoding: Table = [("codec".to_owned(), Value::from("json"))].into_iter().collect();
        default("encoding", encoding.into());
    }
    if name == "file" {
        default("rotate", Table::new().into());
        // Letters are rare, and whoever moves the file away wants no more of them in it.
        default("idle_timeout_secs", Value::from(1));
    }
    Ok(())
}

/// What would make letters of which nobody, and no `replay`, could read the event.
fn unreadable_letters(name: &str, table: &Table) -> Vec<Problem> {
    let option = |table_name: &str, key: &str| table.get(table_name).and_then(|options| options.get(key));
    let mut problems = Vec::new();
    if let Some(Value::String(codec)) = option("encoding", "codec")
        && codec != "json"
    {
        let message =
            format!("`{codec}` does not write a letter whole, so that it could be replayed; expected `json`");
        problems.push(Problem::at("encoding.codec", message));
    }
    if name != "file" {
        return problems;
    }
    // What `replay` reads is a letter a line.
    if option("encoding", "json").and_then(|json| json.get("pretty")) == Some(&Value::Boolean(true)) {
        let message = "`replay` reads a letter from one line; remove this";
        problems.push(Problem::at("encoding.json.pretty", message));
    }
    if let Some(Value::String(method)) = option("framing", "method")
        && method != "newline_delimited"
    {
        let message =
            format!("`{method}`: `replay` reads a letter from one line; expected `newline_delimited`");
        problems.push(Problem::at("framing.method", message));
    }
    problems
}
