//! Who feeds whom: inputs that no component is, circles, and events that nobody takes.

use super::format::join;
use super::problem::Place;
use super::suggest::nearest;
use super::{Config, Problem, WildcardMatching};
use crate::topology::OutputNames;
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Each component's id with its table and its place, also of those that could not be made.
pub(super) type Ids = BTreeMap<String, (&'static str, Place)>;

/// A component that could not be made, and what it says of its inputs.
pub(super) struct Broken {
    pub kind: &'static str,
    pub id: String,
    pub inputs: Vec<String>,
}

/// Resolves the inputs of every component, and finds what is wrong with them. What is odd goes to the
/// configuration's warnings. An input that a placeholder stands for may be any component.
pub(super) fn connect(
    config: &mut Config,
    ids: &Ids,
    broken: &[Broken],
    placeholder: Option<&str>,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (kind, words) in [("sources", "it would have no events"), ("sinks", "its events would go nowhere")] {
        if !ids.values().any(|(known, _)| *known == kind) {
            problems.push(Problem::at(kind, format!("none: {words}; add at least one")));
        }
    }
    let mut producers = Producers::new(config, ids);
    let is_relaxed = config.global.wildcard_matching == WildcardMatching::Relaxed;
    let mut feeds: HashMap<String, BTreeSet<String>> = HashMap::new();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let transforms = config.transforms.iter_mut().map(|entry| ("transforms", &entry.id, &mut entry.inputs));
    let sinks = config.sinks.iter_mut().map(|entry| ("sinks", &entry.id, &mut entry.options.inputs));
    let mut of_broken: Vec<_> =
        broken.iter().map(|entry| (entry.kind, &entry.id, entry.inputs.clone())).collect();
    let of_broken = of_broken.iter_mut().filter(|(kind, ..)| *kind != "sources");
    let of_broken = of_broken.map(|(kind, id, inputs)| (*kind, *id, inputs));
    for (kind, id, inputs) in transforms.chain(sinks).chain(of_broken) {
        let path = join(&join(kind, id), "inputs");
        if inputs.is_empty() {
            let message = "empty: expected the ids of the components that feed it";
            problems.push(Problem::at(path.clone(), message));
        }
        let mut resolved = BTreeSet::new();
        for (index, input) in inputs.iter().enumerate() {
            if placeholder.is_some_and(|placeholder| input.contains(placeholder)) {
                producers.is_complete = false;
                continue;
            }
            let fits = |output: &&Output| glob(input, &output.name) && output.component != *id;
            let found: Vec<_> = producers.outputs.iter().filter(fits).collect();
            let is_pattern = input.contains('*');
            if found.is_empty() && !(is_pattern && is_relaxed) && !producers.may_have(input) {
                problems.push(Problem::at(format!("{path}[{index}]"), producers.unknown(input, id)));
            }
            for output in found {
                resolved.insert(output.name.clone());
                taken.insert(output.component.clone());
                feeds.entry(id.clone()).or_default().insert(output.component.clone());
            }
            // A component with mistakes of its own is fed, and feeds, all the same.
            taken.extend(producers.broken.iter().filter(|id| input.starts_with(id.as_str())).cloned());
        }
        *inputs = resolved.into_iter().collect();
    }
    for id in feeds.keys().filter(|id| reaches(&feeds, id)) {
        let kind = ids.get(id).map_or("transforms", |(kind, _)| *kind);
        let message = format!("`{id}` feeds itself through its inputs; break the circle");
        problems.push(Problem::at(join(&join(kind, id), "inputs"), message));
    }
    problems.sort_by(|a, b| a.path.cmp(&b.path));
    // Whom a component with mistakes would have fed or taken from, nobody knows.
    if producers.is_complete {
        for output in producers.components.iter().filter(|id| !taken.contains(*id)) {
            let kind = ids.get(output).map_or("sources", |(kind, _)| *kind);
            let message =
                format!("no component takes the events of `{output}`; name it in `inputs`, or remove it");
            config.warnings.push(config.places.place(Problem::at(join(kind, output), message)));
        }
    }
    problems
}

struct Output {
    /// What an input calls it.
    name: String,
    component: String,
}

/// Where events can be taken from.
struct Producers {
    outputs: Vec<Output>,
    /// The ids of sources and transforms.
    components: Vec<String>,
    /// Transforms without an output of their own name, with those that they have.
    named: BTreeMap<String, Vec<String>>,
    /// Sources and transforms that could not be made: nobody knows their outputs.
    broken: Vec<String>,
    is_complete: bool,
}

impl Producers {
    fn new(config: &Config, ids: &Ids) -> Producers {
        let mut producers = Producers {
            outputs: Vec::new(),
            components: Vec::new(),
            named: BTreeMap::new(),
            broken: Vec::new(),
            is_complete: true,
        };
        let sources = config.sources.iter().map(|entry| (&entry.id, OutputNames::default()));
        let transforms = config.transforms.iter().map(|entry| (&entry.id, entry.config.outputs()));
        for (id, outputs) in sources.chain(transforms) {
            let named: Vec<_> = outputs.named.iter().map(|name| format!("{id}.{name}")).collect();
            let default = outputs.has_default.then(|| id.clone());
            let names = default.into_iter().chain(named.iter().cloned());
            producers.outputs.extend(names.map(|name| Output { name, component: id.clone() }));
            producers.components.push(id.clone());
            producers.named.insert(id.clone(), named);
        }
        for (id, (kind, _)) in ids {
            let is_made = producers.named.contains_key(id) || config.sinks.iter().any(|sink| sink.id == *id);
            producers.is_complete &= is_made;
            if !is_made && *kind != "sinks" {
                producers.broken.push(id.clone());
            }
        }
        producers
    }

    /// Whether the input may be an output of a component that could not be made.
    fn may_have(&self, input: &str) -> bool {
        let is_of = |id: &String| match input.strip_prefix(id.as_str()) {
            Some(rest) => rest.is_empty() || rest.starts_with('.'),
            None => input.contains('*'),
        };
        self.broken.iter().any(is_of)
    }

    /// Why there is no such input.
    fn unknown(&self, input: &str, id: &str) -> String {
        let is_producer = self.components.iter().any(|known| known == id);
        if is_producer && (input == id || input.strip_prefix(id).is_some_and(|rest| rest.starts_with('.'))) {
            return format!("`{id}` cannot take its own events; break the circle");
        }
        if let Some(named) = self.named.get(input) {
            return format!("`{input}` has no output of its own name, only {}", list(named.iter()));
        }
        let owner = input.split_once('.').and_then(|(owner, _)| Some((owner, self.named.get(owner)?)));
        if let Some((owner, named)) = owner {
            let outputs: Vec<_> = self.outputs.iter().filter(|output| output.component == owner).collect();
            return match named.is_empty() {
                true => format!("`{owner}` has no named outputs; take `{owner}`"),
                false => format!(
                    "`{owner}` has no output `{input}`, only {}",
                    list(outputs.iter().map(|output| &output.name))
                ),
            };
        }
        // One with mistakes of its own is there all the same.
        let names = self.outputs.iter().map(|output| &output.name).chain(&self.broken);
        let known: BTreeSet<_> = names.map(String::as_str).filter(|name| *name != id).collect();
        match nearest(input, known.iter().copied()) {
            _ if known.is_empty() => format!("no component is called `{input}`; there are no sources yet"),
            Some(near) => format!("no component is called `{input}`; did you mean `{near}`?"),
            None => {
                let known: Vec<_> = known.into_iter().map(str::to_owned).collect();
                format!("no component is called `{input}`, expected one of {}", list(known.iter()))
            }
        }
    }
}

fn list<'a>(names: impl Iterator<Item = &'a String>) -> String {
    names.map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
}

/// Whether the component is among its own inputs, or among theirs.
fn reaches(feeds: &HashMap<String, BTreeSet<String>>, id: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![id];
    while let Some(from) = next.pop() {
        for input in feeds.get(from).into_iter().flatten() {
            if input == id {
                return true;
            }
            if seen.insert(input) {
                next.push(input);
            }
        }
    }
    false
}

/// Whether the name fits the pattern, in which `*` stands for any characters.
pub(super) fn glob(pattern: &str, name: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return pattern == name };
    let Some(mut name) = name.strip_prefix(first) else { return false };
    let parts: Vec<&str> = rest.split('*').collect();
    let (last, middle) = parts.split_last().unwrap_or((&"", &[]));
    for part in middle {
        let Some(at) = name.find(part) else { return false };
        name = &name[at + part.len()..];
    }
    name.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs() {
        for (pattern, name, expected) in [
            ("a", "a", true),
            ("a", "b", false),
            ("*", "x", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*c", "abc", true),
            ("a*b*c", "aXbYc", true),
            ("a*b", "ac", false),
            ("*b*", "abc", true),
            ("ab*b", "ab", false),
        ] {
            assert_eq!(glob(pattern, name), expected, "{pattern} {name}");
        }
    }
}
