//! Options under names that they once had: they are read, and the new name is told.

use super::Problem;
use super::deserialize::{References, Step};
use toml::{Table, Value};

/// Old and new dotted names of options that any component may have.
pub(super) const EVERYWHERE: &[(&str, &str)] =
    &[("tls.ca_path", "tls.ca_file"), ("tls.crt_path", "tls.crt_file"), ("tls.key_path", "tls.key_file")];

/// Puts what stands under an old name under the new one; gives a warning for each.
///
/// # Errors
/// If an option stands under both names.
pub(super) fn rename(
    table: &mut Table,
    own: &[(&str, &str)],
    references: &mut References,
) -> Result<Vec<Problem>, Vec<Problem>> {
    let (mut warnings, mut problems) = (Vec::new(), Vec::new());
    for (old, new) in own.iter().chain(EVERYWHERE) {
        let Some(value) = take(table, old) else { continue };
        let (from, to) = (steps(old), steps(new));
        let moved: Vec<_> = references
            .iter()
            .filter_map(|path| Some([&to, path.strip_prefix(&from[..])?].concat()))
            .collect();
        references.extend(moved);
        if put(table, new, value) {
            warnings.push(Problem::at(*old, format!("the old name of `{new}`; use that")));
        } else {
            let message = format!("the old name of `{new}`, which is there as well; keep that one");
            problems.push(Problem::at(*old, message));
        }
    }
    if problems.is_empty() { Ok(warnings) } else { Err(problems) }
}

fn steps(path: &str) -> Vec<Step> {
    path.split('.').map(|key| Step::Key(key.to_owned())).collect()
}

fn take(table: &mut Table, path: &str) -> Option<Value> {
    match path.split_once('.') {
        None => table.remove(path),
        Some((first, rest)) => take(table.get_mut(first)?.as_table_mut()?, rest),
    }
}

/// Whether there was room. Of two tables the members are taken together, and those of the new name stay.
fn put(table: &mut Table, path: &str, value: Value) -> bool {
    if let Some((first, rest)) = path.split_once('.') {
        let inner = table.entry(first).or_insert_with(|| Value::Table(Table::new()));
        return inner.as_table_mut().is_some_and(|inner| put(inner, rest, value));
    }
    match (table.get_mut(path), value) {
        (None, value) => drop(table.insert(path.to_owned(), value)),
        (Some(Value::Table(known)), Value::Table(more)) => {
            for (key, value) in more {
                known.entry(key).or_insert(value);
            }
        }
        (Some(_), _) => return false,
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_old_name_stands_for_the_new_one() {
        let own = [("host", "endpoint"), ("headers", "request.headers")];
        let text = "host = 'h'\nheaders = {a = '1', b = '2'}\nrequest.headers.b = '3'\ntls.ca_path = 'x'";
        let mut table: Table = text.parse().unwrap();
        let warnings = rename(&mut table, &own, &mut References::new()).unwrap();
        let expected: Table =
            "endpoint = 'h'\nrequest.headers = {a = '1', b = '3'}\ntls.ca_file = 'x'".parse().unwrap();
        assert_eq!(table, expected);
        assert_eq!(warnings.len(), 3);
        assert_eq!(warnings[0].to_string(), "host: the old name of `endpoint`; use that");

        let mut table: Table = "host = 'h'\nendpoint = 'e'".parse().unwrap();
        let problems = rename(&mut table, &own, &mut References::new()).unwrap_err();
        assert!(problems[0].to_string().contains("keep that one"), "{problems:?}");
        assert_eq!(rename(&mut "x = 1".parse().unwrap(), &own, &mut References::new()), Ok(vec![]));
    }
}
