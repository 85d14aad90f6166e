//! `log-shipper graph`: a configuration's topology as a picture.

use super::config_args::ConfigArgs;
use super::{Failure, print, print_warnings};
use crate::config::{ComponentKind, Config, Registry, SinkEntry};
use crate::env::{Env, PLACEHOLDER};
use crate::topology::Description;
use clap::ValueEnum;

/// `graph`'s arguments.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  log-shipper graph -c vector.toml\n  log-shipper graph -c vector.toml --format dot | dot -Tsvg > topology.svg"
)]
pub(super) struct Args {
    #[command(flatten)]
    config: ConfigArgs,
    /// The format.
    #[arg(long, value_enum, default_value = "mermaid")]
    format: Format,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Format {
    /// For Markdown, as GitHub and GitLab show it.
    Mermaid,
    /// For Graphviz.
    Dot,
}

pub(super) fn run(args: &Args, registry: &Registry, env: &Env) -> Result<(), Failure> {
    // A picture needs no secrets.
    let config = args.config.load(registry, &env.with_placeholder(PLACEHOLDER), print_warnings)?;
    print(&draw(&Graph::new(&config), args.format))?;
    Ok(())
}

/// Components and who feeds whom.
struct Graph {
    nodes: Vec<Description>,
    /// From, the output's name if it has one, and to.
    edges: Vec<(String, Option<String>, String)>,
}

impl Graph {
    fn new(config: &Config) -> Graph {
        let of_transforms = config.transforms.iter().map(|entry| (&entry.id, &entry.inputs));
        let of_sinks = config.sinks.iter().map(|entry| (&entry.id, &entry.options.inputs));
        let edges = of_transforms.chain(of_sinks).flat_map(|(id, inputs)| {
            inputs.iter().map(move |input| match input.split_once('.') {
                Some((from, name)) => (from.to_owned(), Some(name.to_owned()), id.clone()),
                None => (input.clone(), None, id.clone()),
            })
        });
        let refused = config.dead_letters.iter().flat_map(|letters| {
            let to = |sink: &SinkEntry| (sink.id.clone(), Some("refused".to_owned()), letters.id.clone());
            config.sinks.iter().map(to)
        });
        Graph { edges: edges.chain(refused).collect(), nodes: config.components() }
    }

    /// A name for the node of this id that both languages take, whatever is in the id.
    fn name(&self, id: &str) -> String {
        let at = self.nodes.iter().position(|node| node.id == id).unwrap_or_default();
        format!("n{at}")
    }
}

fn draw(graph: &Graph, format: Format) -> String {
    match format {
        Format::Mermaid => mermaid(graph),
        Format::Dot => dot(graph),
    }
}

fn mermaid(graph: &Graph) -> String {
    let escape = |text: &str| text.replace('&', "&amp;").replace('"', "&quot;").replace('<', "&lt;");
    let mut out = String::from("flowchart LR\n");
    for Description { kind, id, r#type: name, .. } in &graph.nodes {
        let (open, close) = match kind {
            ComponentKind::Source => ("([", "])"),
            ComponentKind::Transform => ("[", "]"),
            ComponentKind::Sink => ("[/", "/]"),
        };
        let (node, id) = (graph.name(id), escape(id));
        out += &format!("    {node}{open}\"{id}<br><small>{}</small>\"{close}\n", escape(name));
    }
    for (from, name, to) in &graph.edges {
        let label = name.as_ref().map(|name| format!("|\"{}\"|", escape(name))).unwrap_or_default();
        out += &format!("    {} -->{label} {}\n", graph.name(from), graph.name(to));
    }
    out
}

fn dot(graph: &Graph) -> String {
    let escape = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let mut out = String::from("digraph {\n    rankdir = LR\n");
    for Description { kind, id, r#type: name, .. } in &graph.nodes {
        let shape = match kind {
            ComponentKind::Source => "cds",
            ComponentKind::Transform => "box",
            ComponentKind::Sink => "folder",
        };
        let (node, id) = (graph.name(id), escape(id));
        out += &format!("    {node} [shape = {shape}, label = \"{id}\\n{}\"]\n", escape(name));
    }
    for (from, name, to) in &graph.edges {
        let label = name.as_ref().map(|name| format!(" [label = \"{}\"]", escape(name))).unwrap_or_default();
        out += &format!("    {} -> {}{label}\n", graph.name(from), graph.name(to));
    }
    out + "}\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "
        sources.in = {type = 'stdin'}
        transforms.'a \"b\"' = {type = 'route', inputs = ['in'], route.errors = '.level == \"error\"'}
        sinks.out = {type = 'blackhole', inputs = ['a \"b\".errors', 'in']}
        dead_letters = {type = 'file', path = 'dead.jsonl'}
    ";

    #[test]
    fn draws_what_feeds_what() {
        let config = Config::from_toml(TEXT, "test.toml", &Registry::builtin(), &Env::default()).unwrap();
        let graph = Graph::new(&config);
        assert_eq!(
            draw(&graph, Format::Mermaid),
            "flowchart LR\n    n0([\"in<br><small>stdin</small>\"])\n    n1[\"a &quot;b&quot;<br><small>route</small>\"]\n    \
             n2[/\"out<br><small>blackhole</small>\"/]\n    n3[/\"dead_letters<br><small>file</small>\"/]\n    \
             n0 --> n1\n    n1 -->|\"errors\"| n2\n    n0 --> n2\n    n2 -->|\"refused\"| n3\n"
        );
        assert_eq!(
            draw(&graph, Format::Dot),
            "digraph {\n    rankdir = LR\n    n0 [shape = cds, label = \"in\\nstdin\"]\n    \
             n1 [shape = box, label = \"a \\\"b\\\"\\nroute\"]\n    n2 [shape = folder, label = \"out\\nblackhole\"]\n    \
             n3 [shape = folder, label = \"dead_letters\\nfile\"]\n    \
             n0 -> n1\n    n1 -> n2 [label = \"errors\"]\n    n0 -> n2\n    n2 -> n3 [label = \"refused\"]\n}\n"
        );
    }
}
