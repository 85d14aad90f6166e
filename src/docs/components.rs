//! A page for each kind of component, and one for the options that all sinks have.

use super::Page;
use super::options::{OptionRow, rows, table};
use crate::config::{ComponentInfo, ComponentKind, Registry, SINK_OPTIONS};
use crate::sinks::http_sink::HTTP_OPTIONS;
use serde_json::Value;

pub(super) fn pages(registry: &Registry) -> Vec<Page> {
    let mut pages: Vec<_> = ComponentKind::ALL.iter().map(|kind| page(registry, *kind)).collect();
    pages.push(sink_options(registry));
    pages
}

/// The schema of a component's table.
pub(super) fn schema(registry: &Registry, kind: ComponentKind, name: &str) -> Value {
    registry.component_schema(kind, name).map(Value::from).unwrap_or_default()
}

/// Whether the kernel of HTTP sinks runs it.
fn is_http(schema: &Value) -> bool {
    HTTP_OPTIONS.iter().all(|name| schema.pointer(&format!("/properties/{name}")).is_some())
}

/// Whether this option is one that stands on the page of what all sinks over HTTP have: those of the kernel, and `auth`
/// where it is the kernel's.
fn is_of_http(option: &str, schema: &Value, http: &Value) -> bool {
    let auth = "/properties/auth";
    HTTP_OPTIONS.contains(&option) || option == "auth" && schema.pointer(auth) == http.pointer(auth)
}

/// The component's own options, without those of all components, of all sinks and of all HTTP sinks.
pub(super) fn own_options(registry: &Registry, kind: ComponentKind, name: &str) -> (Vec<OptionRow>, bool) {
    let schema = schema(registry, kind, name);
    let is_http = is_http(&schema);
    let http = self::schema(registry, ComponentKind::Sink, "http");
    let is_own = |option: &str| {
        let is_of_all = matches!(option, "type" | "inputs");
        let is_of_sinks = kind == ComponentKind::Sink && SINK_OPTIONS.contains(&option);
        let is_of_http = is_http && is_of_http(option, &schema, &http);
        !(is_of_all || is_of_sinks || is_of_http)
    };
    (rows(&schema, is_own), is_http)
}

fn page(registry: &Registry, kind: ComponentKind) -> Page {
    let title = match kind {
        ComponentKind::Source => "Sources",
        ComponentKind::Transform => "Transforms",
        ComponentKind::Sink => "Sinks",
    };
    let components = registry.components(kind);
    let mut text = format!("# {title}\n\n");
    for ComponentInfo { name, summary, .. } in &components {
        text.push_str(&format!("- [`{name}`](#{name}): {summary}\n"));
    }
    text.push_str(match kind {
        ComponentKind::Source => "\nNames of options are Vector's; what Vector does not have says \"ours\".\n",
        ComponentKind::Transform => {
            "\nEach also has `inputs`: the sources and transforms whose events it gets. Names of options are Vector's.\n"
        }
        ComponentKind::Sink => {
            "\nEach also has `inputs`, and [the options that all sinks have](sink-options.md). Names of options are Vector's; what Vector does not have says \"ours\".\n"
        }
    });
    for info in components {
        text.push_str(&section(registry, kind, &info));
    }
    Page::new(format!("reference/{}.md", kind.plural()), text)
}

fn section(registry: &Registry, kind: ComponentKind, info: &ComponentInfo) -> String {
    let ComponentInfo { name, summary, example, notes } = info;
    let inputs = if kind == ComponentKind::Source { "" } else { "inputs = [\"in\"]\n" };
    let table_of = kind.plural();
    let example = if example.is_empty() { String::new() } else { format!("{}\n", example.trim_end()) };
    let mut text = format!(
        "\n## {name}\n\n{summary}\n\n```toml\n[{table_of}.{name}]\ntype = \"{name}\"\n{inputs}{example}```\n"
    );
    let (options, is_http) = own_options(registry, kind, name);
    if !options.is_empty() {
        text.push_str(&format!("\n{}", table(&options)));
    }
    if is_http {
        text.push_str("\nAnd [the options of sinks over HTTP](sink-options.md#sinks-over-http).\n");
    }
    if !notes.is_empty() {
        text.push_str(&format!("\n{}\n", notes.trim_end()));
    }
    text
}

/// What every sink has, and what every sink over HTTP has beside that.
fn sink_options(registry: &Registry) -> Page {
    let schema = schema(registry, ComponentKind::Sink, "http");
    let common = rows(&schema, |name| SINK_OPTIONS.contains(&name));
    let http = rows(&schema, |name| is_of_http(name, &schema, &schema));
    let text = format!(
        "# Options of all sinks\n\nEvery sink has these beside its own.\n\n{}\n\
         ## Sinks over HTTP\n\nEvery sink that sends requests has these too. What it does with answers is in \
         [What becomes of an answer](../answers.md). The defaults of `batch` and `compression` are the sink's own, and `auth` is for \
         those that have no key of their own (`http`, `loki`).\n\n{}",
        table(&common),
        table(&http)
    );
    Page::new("reference/sink-options.md", text)
}
