//! `examples/configs/every-option.toml`: a configuration with every component and, as comments, every option.

use super::Page;
use super::components::{own_options, schema};
use super::options::{OptionRow, rows};
use crate::config::{ComponentInfo, ComponentKind, Registry};
use std::collections::BTreeSet;
use toml::{Table, Value};

const HEAD: &str = "\
Every component and every option: not to be used whole, but to take lines from. It loads as it is.

  ##         what the option below it does, and what holds without it
  # a = b    an option that is not set: <string> stands for a text and <integer> for a number, | is between what it
             may be, and [] stands for each table of a list

  validate   log-shipper validate --no-environment -c every-option.toml
  change     everything: take the components that you need into a file of your own, with your addresses and keys

Printed from the code by `log-shipper docs --out .`: change it there. `docs/src/reference` has the same as tables.";

/// What a comment takes of a line, in characters.
const WIDTH: usize = 120;

/// The sink that is shown with the options that all sinks have, and all sinks over HTTP.
const IN_FULL: &str = "http";

pub(super) fn page(registry: &Registry) -> Page {
    let whole = registry.schema().into();
    let is_global = |name: &str| ComponentKind::ALL.iter().all(|kind| kind.plural() != name);
    let mut text = format!("{}\n", comment("#", HEAD));
    text.push_str(&options(&Table::new(), &rows(&whole, is_global)));
    for kind in ComponentKind::ALL {
        for info in registry.components(kind) {
            text.push_str(&component(registry, kind, &info));
        }
    }
    Page { path: "examples/configs/every-option.toml".to_owned(), text }
}

fn component(registry: &Registry, kind: ComponentKind, info: &ComponentInfo) -> String {
    let ComponentInfo { name, summary, example, .. } = info;
    let inputs = match kind {
        ComponentKind::Source => "",
        // So that nothing is without a reader.
        _ if *name == "blackhole" => "inputs = [\"*\"]\n",
        _ => "inputs = [\"in\"]\n",
    };
    // There is a sink `nats` too, and no two components have one id.
    let id = if kind == ComponentKind::Source && *name == "nats" { "in" } else { name };
    let (mut rows, is_http) = own_options(registry, kind, name);
    let mut others = String::new();
    if kind == ComponentKind::Sink {
        if *name == IN_FULL {
            let is_wanted = |option: &str| !matches!(option, "type" | "inputs");
            rows = super::options::rows(&schema(registry, kind, name), is_wanted);
        } else {
            let of = if is_http { "all sinks over HTTP" } else { "all sinks" };
            others = comment("##", &format!("And the options of {of}, which [sinks.{IN_FULL}] has."));
        }
    }
    let example: Table = example.parse().unwrap_or_default();
    format!(
        "\n{}[{}.{id}]\ntype = \"{name}\"\n{inputs}{}{others}",
        comment("#", summary),
        kind.plural(),
        options(&example, &rows)
    )
}

/// Each option with what it does: those of the example as they are there, and others as comments.
fn options(example: &Table, rows: &[OptionRow]) -> String {
    let mut set = Vec::new();
    leaves("", example, &mut set);
    let paths: BTreeSet<_> = rows.iter().map(|row| row.path.as_str()).collect();
    let (mut text, mut seen) = (String::new(), BTreeSet::new());
    for row in rows {
        let required = if row.is_required { "Required. " } else { "" };
        let about = format!("{required}{}", row.about);
        let values: Vec<_> =
            set.extract_if(.., |(path, _)| option_of(path, &paths) == Some(row.path.as_str())).collect();
        let inner = format!("{}.", row.path);
        let has_more = paths.range(inner.as_str()..).next().is_some_and(|path| path.starts_with(&inner));
        if has_more && row.kind == "table" {
            text.push_str(&comment("##", &format!("{}: {about}", row.path)));
        } else {
            text.push_str(&comment("##", &about));
            if values.is_empty() || !seen.insert(&row.path) {
                text.push_str(&format!("# {} = {}\n", row.path, kinds(&row.kind)));
            }
        }
        for (path, value) in values {
            text.push_str(&format!("{path} = {value}\n"));
        }
    }
    text
}

/// Which option a value belongs to: it, or the table that it is in, if what that has is not fixed, as with labels.
fn option_of<'a>(path: &'a str, options: &BTreeSet<&str>) -> Option<&'a str> {
    let tables = path.rmatch_indices('.').map(|(end, _)| &path[..end]);
    std::iter::once(path).chain(tables).find(|path| options.contains(path))
}

/// The values of a table, each with its dotted path.
fn leaves(prefix: &str, table: &Table, into: &mut Vec<(String, Value)>) {
    for (key, value) in table {
        let path = format!("{prefix}{key}");
        match value {
            Value::Table(table) => leaves(&format!("{path}."), table, into),
            value => into.push((path, value.clone())),
        }
    }
}

/// What an option may be, as it would be written.
fn kinds(kinds: &str) -> String {
    if kinds.is_empty() {
        return "<value>".to_owned();
    }
    let kind = |kind: &str| match kind.strip_prefix('`') {
        Some(word) => format!("\"{}\"", word.trim_end_matches('`')),
        None if kind == "boolean" => "true | false".to_owned(),
        None => match kind.strip_prefix("list of ") {
            Some(items) => format!("[<{}>, ...]", items.trim_end_matches('s')),
            None => format!("<{kind}>"),
        },
    };
    kinds.split(" or ").map(kind).collect::<Vec<_>>().join(" | ")
}

/// A text as lines of a comment, each of its own lines wrapped.
fn comment(mark: &str, text: &str) -> String {
    let mut comment = String::new();
    for line in text.lines() {
        let mut wrapped = mark.to_owned();
        // What stands below one another stays so.
        for word in line.split(' ') {
            if wrapped.chars().count() + 1 + word.chars().count() > WIDTH {
                comment.push_str(&format!("{wrapped}\n"));
                wrapped = mark.to_owned();
            }
            wrapped.push(' ');
            wrapped.push_str(word);
        }
        comment.push_str(&format!("{}\n", wrapped.trim_end()));
    }
    comment
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The lines of a table, up to the next one.
    fn section<'a>(text: &'a str, head: &str) -> &'a str {
        let (_, rest) = text.split_once(&format!("\n[{head}]\n")).unwrap_or_else(|| panic!("no [{head}]"));
        rest.split("\n[").next().unwrap()
    }

    /// Whether an option stands there: set, as a comment, or as the head of what it holds.
    fn has(section: &str, option: &str) -> bool {
        section.lines().map(|line| line.trim_start_matches(['#', ' '])).any(|line| {
            let rest = line.strip_prefix(option).unwrap_or_default();
            [" = ", ": ", "."].iter().any(|end| rest.starts_with(end))
        })
    }

    #[test]
    fn every_option_of_every_component_stands_there() {
        let registry = Registry::builtin();
        let text = page(&registry).text;
        let config: Table = text.parse().unwrap();
        let mut count = 0;
        for kind in ComponentKind::ALL {
            for info in registry.components(kind) {
                let id = if (kind, info.name) == (ComponentKind::Source, "nats") { "in" } else { info.name };
                let own = section(&text, &format!("{}.{id}", kind.plural()));
                let in_full = section(&text, "sinks.http");
                let schema = schema(&registry, kind, info.name);
                for (option, about) in schema["properties"].as_object().unwrap() {
                    let is_shared = kind == ComponentKind::Sink
                        && info.name != IN_FULL
                        && !own_options(&registry, kind, info.name).0.iter().any(|row| row.path == *option);
                    let is_there = has(if is_shared { in_full } else { own }, option);
                    assert!(is_there || about["deprecated"] == true, "{kind:?} {}: {option}", info.name);
                    count += 1;
                }
                let mut table = config[kind.plural()][id].as_table().unwrap().clone();
                table.remove("type");
                table.remove("inputs");
                assert_eq!(table, info.example.parse::<Table>().unwrap(), "{kind:?} {}", info.name);
            }
        }
        assert!(count > 400, "{count}");
    }

    #[test]
    fn lines_are_wrapped_and_what_is_short_stays_as_it_is() {
        let long = "word ".repeat(50);
        let comment = comment("##", &format!("  a    b\n\n{long}"));
        assert!(comment.starts_with("##   a    b\n##\n## word"), "{comment}");
        assert!(comment.lines().all(|line| line.len() <= WIDTH), "{comment}");
        assert_eq!(comment.matches("word").count(), 50);
    }

    #[test]
    fn what_an_option_may_be_is_written_as_its_value_would_be() {
        for (kind, expected) in [
            ("integer", "<integer>"),
            ("boolean or table", "true | false | <table>"),
            ("`none` or `gzip` or table", r#""none" | "gzip" | <table>"#),
            ("list of strings", "[<string>, ...]"),
            ("", "<value>"),
        ] {
            assert_eq!(kinds(kind), expected, "{kind}");
        }
    }
}
