//! The book, the README and what stands beside `deploy/`: every page is in the table of contents, every link leads
//! somewhere, every configuration loads, every command runs, and what is printed from the code is what the code prints.
//!
//! - [`markdown`]: pages, their blocks, links and headings
//! - [`shell`]: a page's commands, run in a place of their own
//!
//! A block whose fence says `skip` is left alone, and a comment in front of it says why:
//! `<!-- skip: the reason -->`. A configuration whose fence says `part` is a part of one; the rest is added.

mod markdown;
mod shell;
#[path = "../support/mod.rs"]
mod support;

use futures::stream::{self, StreamExt};
use log_shipper::config::{Config, ConfigFile, Registry, VARIABLES};
use log_shipper::env::Env;
use log_shipper::providers::PROVIDERS;
use markdown::{Block, Page, pages, root};
use std::collections::BTreeSet;
use std::path::Path;
use toml::{Table, Value};

/// The blocks of a page in these languages that are not left alone.
fn blocks<'a>(page: &'a Page, languages: &'a [&str]) -> impl Iterator<Item = &'a Block> {
    page.blocks.iter().filter(|block| languages.contains(&block.language.as_str()) && !block.has("skip"))
}

#[test]
fn every_page_is_in_the_table_of_contents_and_every_link_leads_somewhere() {
    let pages = pages();
    let book = root().join("docs/src");
    let summary = pages.iter().find(|page| page.path == book.join("SUMMARY.md")).unwrap();
    let listed: Vec<_> = summary.links.iter().map(|link| book.join(&link.target)).collect();
    let there: BTreeSet<_> = pages.iter().map(|page| page.path.clone()).collect();
    for page in there.iter().filter(|path| path.starts_with(&book) && **path != summary.path) {
        let count = listed.iter().filter(|path| *path == page).count();
        assert_eq!(count, 1, "{}: so often in docs/src/SUMMARY.md", page.display());
    }
    let mut checked = 0;
    for page in &pages {
        for link in page.links.iter().filter(|link| !link.target.contains("://")) {
            let place = format!("{}:{}: {}", page.path.display(), link.line, link.target);
            let (file, anchor) = link.target.split_once('#').unwrap_or((&link.target, ""));
            let path = match file {
                "" => page.path.clone(),
                file => page.path.parent().unwrap().join(file).canonicalize().expect(&place),
            };
            // Of the book's pages only those that are in it have an address there.
            let is_within = !page.path.starts_with(&book) || path.starts_with(&book);
            assert!(is_within, "{place}: it leads out of the book");
            if !anchor.is_empty() {
                let there = pages.iter().find(|other| other.path == path).expect(&place);
                assert!(
                    there.anchors.contains(anchor),
                    "{place}: no such heading; there are {:?}",
                    there.anchors
                );
            }
            checked += 1;
        }
        for include in &page.includes {
            assert!(
                page.path.parent().unwrap().join(include).is_file(),
                "{}: {include}",
                page.path.display()
            );
        }
    }
    assert!(checked > 100, "{checked}");
}

#[test]
fn what_is_printed_from_the_code_is_what_the_code_prints() {
    let dir = tempfile::tempdir().unwrap();
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_log-shipper"));
    let output = command.env_clear().args(["docs", "--out"]).arg(dir.path()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed = [markdown::files(dir.path()), markdown::files_of(dir.path(), "toml")].concat();
    assert!(printed.len() > PROVIDERS.len(), "{printed:?}");
    let read = |path: &Path| std::fs::read_to_string(path).unwrap_or_default();
    let names: BTreeSet<_> = printed.iter().map(|path| path.strip_prefix(dir.path()).unwrap()).collect();
    let old = markdown::files(&root().join("docs/src"))
        .into_iter()
        .filter(|path| read(path).starts_with("<!-- Printed from the code"));
    let old: Vec<_> = old.collect();
    let is_gone = |path: &Path| !names.contains(path.strip_prefix(root()).unwrap());
    let gone: Vec<_> = old.iter().filter(|path| is_gone(path)).collect();
    let differ: Vec<_> =
        names.iter().filter(|name| read(&dir.path().join(name)) != read(&root().join(name))).collect();
    assert!(
        differ.is_empty() && gone.is_empty(),
        "what is printed from the code is not as the code prints it; run: cargo run -- docs --out ., and remove {gone:?}. \
         They are: {differ:?}"
    );
}

#[test]
fn every_configuration_loads() {
    let (registry, env) =
        (Registry::builtin(), Env::default().with_placeholder("https://placeholder.invalid"));
    let mut count = 0;
    for page in pages() {
        for block in blocks(&page, &["toml", "yaml", "json"]) {
            let place = format!("{}:{}", page.path.display(), block.line);
            let text = match block.language.as_str() {
                "toml" => complete(&block.text, block.has("part"), &registry).expect(&place),
                _ => block.text.clone(),
            };
            // Events are JSON as well.
            if block.language == "json" && !text.contains("\"sinks\"") {
                serde_json::from_str::<serde_json::Value>(&text).expect(&place);
                continue;
            }
            let file = ConfigFile::new(&format!("page.{}", block.language), &text);
            let config = Config::from_files(&[file], &registry, &env);
            let config = config.unwrap_or_else(|problems| panic!("{place}: {problems}\n{text}"));
            let problems = config.check_transforms();
            assert!(problems.is_empty(), "{place}: {problems:?}");
            count += 1;
        }
    }
    assert!(count > 60, "{count}");
    let wrong =
        "[sinks.a]\ntype = 'http'\ninputs = ['x']\nuri = 'http://h'\nencoding.codec = 'json'\nnope = 1\n";
    let wrong = complete(wrong, false, &registry).unwrap();
    assert!(Config::from_toml(&wrong, "page.toml", &registry, &env).is_err());
}

/// The text with what a configuration needs beside it: sources for inputs that are not there, a sink for what has none; of
/// a part also what a component needs.
fn complete(text: &str, is_part: bool, registry: &Registry) -> Result<String, toml::de::Error> {
    let mut table: Table = text.parse()?;
    if is_part {
        complete_components(&mut table, registry);
    }
    let names = |table: &Table, kind: &str| -> BTreeSet<String> {
        let components = table.get(kind).and_then(Value::as_table);
        components.into_iter().flatten().map(|(id, _)| id.clone()).collect()
    };
    let mut wanted = BTreeSet::new();
    for kind in ["transforms", "sinks"] {
        for (_, component) in table.get(kind).and_then(Value::as_table).into_iter().flatten() {
            let inputs = component.get("inputs").and_then(Value::as_array);
            wanted.extend(inputs.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned));
        }
    }
    let there: BTreeSet<_> = names(&table, "sources").union(&names(&table, "transforms")).cloned().collect();
    for id in
        wanted.iter().filter(|id| !there.contains(id.split('.').next().unwrap_or(id)) && !id.contains('*'))
    {
        let source: Table = "type = 'demo_logs'\nformat = 'fly'".parse()?;
        let sources = table.entry("sources").or_insert_with(|| Table::new().into());
        sources.as_table_mut().unwrap().insert(id.clone(), source.into());
    }
    if names(&table, "sources").is_empty() {
        let sources: Table = "in = { type = 'demo_logs', format = 'fly' }".parse()?;
        table.insert("sources".into(), sources.into());
    }
    if names(&table, "sinks").is_empty() {
        let sinks: Table = "rest = { type = 'blackhole', inputs = ['*'] }".parse()?;
        table.insert("sinks".into(), sinks.into());
    }
    Ok(toml::to_string(&table).expect("it was TOML"))
}

/// Types, inputs and what must be said, for components of a part that do not say it.
fn complete_components(table: &mut Table, registry: &Registry) {
    use log_shipper::config::ComponentKind;
    for kind in ComponentKind::ALL {
        for (id, component) in
            table.get_mut(kind.plural()).and_then(Value::as_table_mut).into_iter().flatten()
        {
            let component = component.as_table_mut().unwrap();
            let known = registry.components(kind);
            let name = component.get("type").and_then(Value::as_str).unwrap_or(id).to_owned();
            let info = known.iter().find(|info| info.name == name);
            let info = info.or_else(|| known.iter().find(|info| info.name == "http")).expect("a type for it");
            component.entry("type").or_insert_with(|| info.name.into());
            if kind != ComponentKind::Source {
                component.entry("inputs").or_insert_with(|| vec!["in"].into());
            }
            for (option, value) in info.example.parse::<Table>().unwrap() {
                component.entry(option).or_insert(value);
            }
        }
    }
}

/// Each block is in a language that some test looks at, and what none runs says why.
#[test]
fn what_is_not_run_says_why() {
    let known = ["sh", "toml", "yaml", "json", "rust", "log", "text", "vrl"];
    let mut left_alone = Vec::new();
    for page in pages() {
        for block in &page.blocks {
            let place = format!("{}:{}", page.path.display(), block.line);
            let language = &block.language;
            assert!(known.contains(&language.as_str()), "{place}: `{language}` is none of {known:?}");
            let flags: &[&str] = match language.as_str() {
                "sh" | "yaml" | "json" => &["skip"],
                "toml" => &["skip", "part"],
                "rust" => &["no_run", "ignore"],
                _ => &[],
            };
            assert!(
                block.flags.iter().all(|flag| flags.contains(&flag.as_str())),
                "{place}: {:?}",
                block.flags
            );
            // Those are compiled as what they include.
            assert!(
                !block.has("ignore") || block.text.starts_with("{{#include "),
                "{place}: it is not compiled"
            );
            if block.has("skip") {
                assert!(
                    block.reason.is_some(),
                    "{place}: a comment `<!-- skip: why -->` belongs in front of it"
                );
                left_alone.push(place);
            }
        }
    }
    assert!(left_alone.len() <= 8, "{left_alone:#?}");
}

/// Each line of a block `log` is one that the program writes: its parts between `...` are in the code.
#[test]
fn lines_of_the_log_are_those_of_the_program() {
    let code: String = markdown::files_of(&root().join("src"), "rs")
        .iter()
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    // Long texts stand on several lines.
    let code = code.lines().map(str::trim).collect::<Vec<_>>().join("\n").replace("\\\n", "");
    let mut count = 0;
    for page in pages() {
        let lines = blocks(&page, &["log"]).flat_map(|block| block.text.lines());
        for line in lines {
            let parts: Vec<_> = line.split("...").map(str::trim).filter(|part| part.len() > 2).collect();
            assert!(!parts.is_empty(), "{line}");
            for part in parts {
                assert!(code.contains(part), "{}: the program does not write {part:?}", page.path.display());
            }
            count += 1;
        }
    }
    assert!(count > 20, "{count}");
}

/// Variables that a command sets are variables that something reads.
#[test]
fn every_variable_that_is_set_is_known() {
    let of_providers = PROVIDERS.iter().flat_map(|provider| provider.variables);
    let mut known: BTreeSet<&str> =
        of_providers.flat_map(|variable| [Some(variable.name), variable.or]).flatten().collect();
    known.extend(VARIABLES.iter().map(|variable| variable.name));
    // What is no variable of ours.
    known.extend(["VECTOR", "ARGS"]);
    let pattern = regex::Regex::new(r"(?m)(?:^|[\s(])([A-Z][A-Z0-9_]{2,})=").unwrap();
    let mut count = 0;
    for page in pages() {
        for block in page.blocks.iter().filter(|block| block.language == "sh") {
            for name in pattern.captures_iter(&block.text).map(|found| found.get(1).unwrap().as_str()) {
                let base = name.strip_suffix("_FILE").unwrap_or(name);
                let is_known = known.contains(base) || base.starts_with("ENRICH_");
                assert!(is_known, "{}:{}: nothing reads {name}", page.path.display(), block.line);
                count += 1;
            }
        }
    }
    assert!(count > 60, "{count}");
}

#[tokio::test]
async fn every_command_runs() {
    let servers = shell::Servers::start().await;
    let mut pages = pages();
    // Of the files for deploying, tests/deploy knows more.
    pages.retain(|page| !page.path.ends_with("deploy/README.md") && blocks(page, &["sh"]).next().is_some());
    let count: usize = pages.iter().map(|page| blocks(page, &["sh"]).count()).sum();
    assert!(count > 40, "{count}");
    let runs = pages.iter().map(|page| shell::try_run(page, &servers));
    let failures: Vec<_> =
        stream::iter(runs).buffer_unordered(4).filter_map(async |ended| ended.err()).collect().await;
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// What the quick start publishes arrives.
#[tokio::test]
async fn the_quick_start_ships() {
    let servers = shell::Servers::start().await;
    let path = root().join("docs/src/quick-start-nats.md");
    let page = Page::parse(&path, &std::fs::read_to_string(&path).unwrap());
    shell::try_run(&page, &servers).await.unwrap();
    let events: Vec<_> =
        servers.http.requests().iter().filter(|one| one.method == "POST").map(|one| one.text()).collect();
    let events = events.join("\n");
    for words in [
        r#""message": "hello", "level": "warn""#,
        r#"{"message":"a line that is no JSON","fly":{"app":{"instance":"machine1","name":"my-app"},"region":"lhr"}"#,
    ] {
        assert!(events.contains(words), "{words} is not in {events}");
    }
}

#[tokio::test]
async fn a_wrong_command_is_found() {
    let servers = shell::Servers::start().await;
    for wrong in [
        "log-shipper validate --nope",
        "log-shipper nope",
        "log-shipper list sinks | nope",
        "log-shipper run -c nope.toml",
    ] {
        let page = Page::parse(Path::new("wrong.md"), &format!("```sh\n{wrong}\n```\n"));
        assert!(shell::try_run(&page, &servers).await.is_err(), "{wrong}");
    }
}
