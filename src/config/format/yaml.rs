//! YAML 1.2 with its core schema (`yes` is a string), anchors, aliases and merge keys.

use super::references::{Syntax, quote};
use super::{Key, Kind, MAX_DEPTH, MAX_NODES, Node, SyntaxError};
use saphyr::{Scalar, ScalarStyle};
use saphyr_parser::{Event, Marker, Parser};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::ops::Range;
use toml::Value;

/// Where each line begins, to make a parser's lines and columns into bytes.
struct Bytes<'a> {
    text: &'a str,
    lines: Vec<usize>,
    is_ascii: bool,
    /// A line, a column in it and its byte: the next place is mostly one after it.
    last: (usize, usize, usize),
}

impl Bytes<'_> {
    fn new(text: &str) -> Bytes<'_> {
        let after_break = |(at, byte): (usize, &u8)| match byte {
            b'\n' => Some(at + 1),
            b'\r' if text.as_bytes().get(at + 1) != Some(&b'\n') => Some(at + 1),
            _ => None,
        };
        let lines = text.as_bytes().iter().enumerate().filter_map(after_break);
        let lines = std::iter::once(0).chain(lines).collect();
        Bytes { text, lines, is_ascii: text.is_ascii(), last: (0, 0, 0) }
    }

    fn at(&mut self, marker: &Marker) -> usize {
        let line = marker.line().saturating_sub(1);
        let Some(start) = self.lines.get(line) else { return self.text.len() };
        if self.is_ascii {
            return (start + marker.col()).min(self.text.len());
        }
        let (column, from) = match self.last {
            (known, column, at) if known == line && column <= marker.col() => (column, at),
            _ => (0, *start),
        };
        let rest = &self.text[from..];
        let at = rest.char_indices().nth(marker.col() - column).map_or(self.text.len(), |(at, _)| from + at);
        self.last = (line, marker.col(), at);
        at
    }
}

/// A list or a table that is not at its end yet.
struct Open {
    node: Node,
    anchor: usize,
    /// The key that waits for its value.
    key: Option<Key>,
    /// How many levels there are inside.
    depth: usize,
}

pub(super) fn parse(text: &str) -> Result<Node, SyntaxError> {
    let error = match load(text, text, &BTreeMap::new()) {
        Ok((root, _)) => return Ok(root),
        Err(error) => error,
    };
    // In Vector, whose references are resolved before the text is parsed, `[${NAME}]` needs no quotes. It is only
    // where this was all that was wrong that they have found their places.
    let quoted = quote(text, Syntax::Yaml);
    match load(&quoted.text, text, &quoted.references) {
        Ok((root, found)) if found > 0 && found == quoted.references.len() => Ok(root),
        _ => Err(error),
    }
}

/// The tree, and how many of the references have become values of it. `written` is the text as it came.
fn load(
    text: &str,
    written: &str,
    references: &BTreeMap<usize, Range<usize>>,
) -> Result<(Node, usize), SyntaxError> {
    let mut load = Load {
        bytes: Bytes::new(text),
        open: Vec::new(),
        anchors: HashMap::new(),
        root: None,
        nodes: 0,
        written,
        references,
        found: 0,
    };
    let mut parser = Parser::new_from_str(text);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| {
            let at = load.bytes.at(error.marker());
            SyntaxError::new(error.info().to_owned(), at..at)
        })?;
        let span = load.bytes.at(&span.start)..load.bytes.at(&span.end);
        load.event(event, span)?;
    }
    let root = load.root.unwrap_or(Node { span: 0..0, kind: Kind::Null });
    Ok((merge(root)?, load.found))
}

struct Load<'a> {
    bytes: Bytes<'a>,
    open: Vec<Open>,
    /// What has an anchor, with its levels.
    anchors: HashMap<usize, (Node, usize)>,
    root: Option<Node>,
    nodes: usize,
    written: &'a str,
    /// What has been replaced by strings, by where it begins.
    references: &'a BTreeMap<usize, Range<usize>>,
    found: usize,
}

impl Load<'_> {
    fn event(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), SyntaxError> {
        match event {
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentEnd => Ok(()),
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(SyntaxError::new("a second document; expected one in a file", span))
            }
            Event::DocumentStart(_) => Ok(()),
            Event::SequenceStart(anchor, _) => self.start(Kind::List(Vec::new()), anchor, span),
            Event::MappingStart(anchor, _) => self.start(Kind::Table(Vec::new()), anchor, span),
            Event::SequenceEnd | Event::MappingEnd => {
                let Some(mut open) = self.open.pop() else { return Ok(()) };
                open.node.span.end = span.end.max(open.node.span.start);
                self.finish(open.node, open.anchor, open.depth + 1)
            }
            Event::Scalar(_, _, anchor, _) if self.references.contains_key(&span.start) => {
                self.found += 1;
                let reference = self.references[&span.start].clone();
                let kind = Kind::Scalar(Value::String(self.written[reference].to_owned()));
                self.finish(Node { span, kind }, anchor, 0)
            }
            Event::Scalar(text, style, anchor, tag) => {
                let kind = match Scalar::parse_from_cow_and_metadata(text, style, tag.as_ref()) {
                    Some(Scalar::Null) => Kind::Null,
                    Some(Scalar::Boolean(switch)) => Kind::Scalar(Value::Boolean(switch)),
                    Some(Scalar::Integer(number)) => Kind::Scalar(Value::Integer(number)),
                    Some(Scalar::FloatingPoint(number)) => {
                        float(&self.bytes.text[span.clone()], number.0, style, &span)?
                    }
                    Some(Scalar::String(text)) => Kind::Scalar(Value::String(text.into_owned())),
                    None => return Err(SyntaxError::new("not what its tag says", span)),
                };
                self.finish(Node { span, kind }, anchor, 0)
            }
            Event::Alias(anchor) => {
                let Some((node, depth)) = self.anchors.get(&anchor) else {
                    return Err(SyntaxError::new("an alias of what has no end yet", span));
                };
                let (kind, depth) = (node.kind.clone(), *depth);
                self.nodes += count(&kind);
                self.finish(Node { span, kind }, 0, depth)
            }
        }
    }

    fn start(&mut self, kind: Kind, anchor: usize, span: Range<usize>) -> Result<(), SyntaxError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(SyntaxError::new("nested too deeply", span));
        }
        self.open.push(Open { node: Node { span, kind }, anchor, key: None, depth: 0 });
        Ok(())
    }

    /// Puts a node that is complete into what it stands in.
    fn finish(&mut self, node: Node, anchor: usize, depth: usize) -> Result<(), SyntaxError> {
        self.nodes += 1;
        // Aliases of aliases can be deeper than anything that is written down.
        if self.open.len() + depth > MAX_DEPTH {
            return Err(SyntaxError::new("nested too deeply", node.span));
        }
        if anchor > 0 {
            self.nodes += count(&node.kind);
            self.anchors.insert(anchor, (node.clone(), depth));
        }
        if self.nodes > MAX_NODES {
            return Err(SyntaxError::new("more values than a configuration can have", node.span));
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.depth = parent.depth.max(depth);
        match (&mut parent.node.kind, parent.key.take()) {
            (Kind::List(items), _) => items.push(node),
            (Kind::Table(entries), Some(key)) => entries.push((key, node)),
            (_, _) => {
                let span = node.span;
                let name = match node.kind {
                    Kind::Scalar(Value::String(name)) => name,
                    // `80: x` and `true: x`: a key is always text.
                    Kind::Scalar(_) | Kind::Null => self.bytes.text[span.clone()].trim().to_owned(),
                    _ => return Err(SyntaxError::new("a list or a table cannot be a key", span)),
                };
                parent.key = Some(Key { name, span });
            }
        }
        Ok(())
    }
}

/// A number with a fraction; a whole one that does not fit is none.
fn float(text: &str, number: f64, style: ScalarStyle, span: &Range<usize>) -> Result<Kind, SyntaxError> {
    let is_whole = style == ScalarStyle::Plain
        && text.trim_start_matches(['+', '-']).bytes().all(|byte| byte.is_ascii_digit());
    if is_whole {
        return Err(SyntaxError::new("a whole number that is too large", span.clone()));
    }
    Ok(Kind::Scalar(Value::Float(number)))
}

fn count(kind: &Kind) -> usize {
    match kind {
        Kind::List(items) => items.iter().map(|item| 1 + count(&item.kind)).sum(),
        Kind::Table(entries) => entries.iter().map(|(_, node)| 1 + count(&node.kind)).sum(),
        _ => 0,
    }
}

/// `<<: *defaults`: the keys of other tables, where they are not there already.
fn merge(node: Node) -> Result<Node, SyntaxError> {
    let kind = match node.kind {
        Kind::List(items) => Kind::List(items.into_iter().map(merge).collect::<Result<_, _>>()?),
        Kind::Table(entries) => {
            let mut own: Vec<(Key, Node)> = Vec::with_capacity(entries.len());
            let mut merged = Vec::new();
            for (key, value) in entries {
                let value = merge(value)?;
                if key.name != "<<" {
                    own.push((key, value));
                    continue;
                }
                let tables = match value.kind {
                    Kind::List(items) => items,
                    kind => vec![Node { kind, span: value.span }],
                };
                for table in tables {
                    let Kind::Table(entries) = table.kind else {
                        return Err(SyntaxError::new("`<<` takes a table, or a list of them", table.span));
                    };
                    merged.extend(entries);
                }
            }
            // Of several tables the first one counts.
            let mut known: HashSet<String> = match merged.is_empty() {
                true => HashSet::new(),
                false => own.iter().map(|(key, _)| key.name.clone()).collect(),
            };
            own.extend(merged.into_iter().filter(|(key, _)| known.insert(key.name.clone())));
            Kind::Table(own)
        }
        kind => kind,
    };
    Ok(Node { kind, span: node.span })
}
