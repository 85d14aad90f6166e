//! The same steps for a stock Vector: programs and conditions of VRL, with the same regular expressions.
//!
//! What differs: numbers beyond 64 bits become floats, as in all that Vector reads; and `reduce` waits for an open
//! event in each of its two transforms.

use super::{BodyOptions, LogParse, RESERVED, ansi, level, multiline, parse};
use crate::event::Level;
use std::fmt::Write;

/// Takes colours out.
pub(crate) fn ansi_program() -> String {
    format!(
        "message, error = string(.message)\nif error == null {{ .message = replace(message, {}, \"\") }}\n",
        literal(ansi::ANSI)
    )
}

/// Whether an event is another app's.
pub(crate) fn others_condition(app: &str) -> String {
    format!(".fly.app.name != {}", string(app))
}

/// `starts_when` of the first `reduce`: whether a line begins an event.
pub(crate) fn starts_when() -> String {
    format!("!match(string(.message) ?? \"-\", {})", literal(multiline::CONTINUES))
}

/// `ends_when` of the second one: whether nothing must follow.
pub(crate) fn ends_when() -> String {
    format!("!match(string(.message) ?? \"-\", {})", literal(multiline::OPEN))
}

/// The steps behind the joiner: the source of a `remap`; nothing if they are all off.
pub(crate) fn program(options: &BodyOptions) -> Option<String> {
    if !options.changes_fields() {
        return None;
    }
    let mut out = String::new();
    if options.log_parse != LogParse::Off {
        lift(options.log_parse, &mut out);
    }
    if options.detect_level {
        detect_level(&mut out);
    }
    if !options.redact.is_empty() {
        redact(options, &mut out);
    }
    for (name, value) in &options.enrich {
        push(&mut out, format_args!(".{} = {}\n", string(name), string(value)));
    }
    Some(out)
}

fn lift(mode: LogParse, out: &mut String) {
    out.push_str(
        "# What the message holds becomes fields. What is Fly's stays: a clash comes to stand under `app`.\n\
         line = string(.message) ?? \"\"\ntext = \"\"\nfound = null\n",
    );
    if mode.has_json() {
        push(
            out,
            format_args!(
                "parts = parse_regex(line, {}) ?? {{}}\n\
                 found = parse_json(string(parts.json) ?? \"\") ?? null\n\
                 if is_object(found) {{\n  \
                   text = strip_whitespace(string(parts.before) ?? \"\") + \" \" + strip_whitespace(string(parts.after) ?? \"\")\n  \
                   text = strip_whitespace(text)\n\
                 }}\n",
                literal(parse::OBJECT)
            ),
        );
    }
    if mode.has_logfmt() {
        push(
            out,
            format_args!(
                "if !is_object(found) && match(line, {}) {{\n  \
                   pairs = {{}}\n  \
                   for_each(parse_regex_all(line, {}) ?? []) -> |_index, pair| {{\n    \
                     value = string(pair.value) ?? \"\"\n    \
                     if starts_with(value, \"\\\"\") {{ value = string(parse_json(value) ?? value) ?? value }}\n    \
                     pairs = set!(pairs, [pair.key], value)\n  \
                   }}\n  \
                   found = pairs\n\
                 }}\n",
                literal(parse::LOGFMT),
                literal(parse::PAIR)
            ),
        );
    }
    let reserved = RESERVED.map(string).join(", ");
    push(
        out,
        format_args!(
            "fields = object(found) ?? {{}}\n\
             if is_object(found) {{\n  \
               own = [{reserved}]\n  \
               if text != \"\" {{ own = push(own, \"message\") }}\n  \
               app = filter(fields) -> |name, _value| {{ includes(own, name) }}\n  \
               if !is_empty(app) {{\n    \
                 if exists(fields.app) {{ app.app = fields.app }}\n    \
                 fields = filter(fields) -> |name, _value| {{ !includes(own, name) }}\n    \
                 fields.app = app\n  \
               }}\n  \
               del(.message)\n  \
               if text != \"\" {{\n    .message = text\n  }} else if !exists(fields.message) && is_string(fields.msg) {{\n    .message = fields.msg\n  }}\n  \
               . |= fields\n\
             }}\n"
        ),
    );
}

fn detect_level(out: &mut String) {
    push(
        out,
        format_args!(
            "# The level that a line names, where there is only the default.\n\
             if (is_null(.log.level) || .log.level == {}) && (is_null(.log) || is_object(.log)) {{\n  \
               line = string(.message) ?? \"\"\n",
            string(level::DEFAULT)
        ),
    );
    let names =
        level::FIELDS.map(|names| names.iter().map(|name| segment(name)).collect::<Vec<_>>().join("."));
    let of_event = names[..4].iter().map(|name| format!(".{name}")).chain([".app.log.level".to_owned()]);
    let of_line = names.iter().map(|name| format!("fields.{name}"));
    push(
        out,
        format_args!(
            "  parts = parse_regex(line, {}) ?? {{}}\n  \
               fields = object(parse_json(string(parts.json) ?? \"\") ?? {{}}) ?? {{}}\n  \
               pair = parse_regex(line, {}) ?? {{}}\n  \
               start = parse_regex(line, {}) ?? {{}}\n  \
               bracket = parse_regex(line, {}) ?? {{}}\n  \
               level = \"\"\n  \
               for_each([\n    {},\n    {},\n    pair.word, start.bracket, start.capitals, bracket.word,\n  ]) -> |_index, value| {{\n    \
                 word = \"\"\n    \
                 if is_string(value) || is_integer(value) {{ word = downcase(to_string(value) ?? \"\") }}\n    \
                 if level == \"\" {{\n      \
                   level = ",
            literal(parse::OBJECT),
            literal(level::PAIR),
            literal(level::START),
            literal(level::BRACKET),
            of_event.collect::<Vec<_>>().join(", "),
            of_line.collect::<Vec<_>>().join(", "),
        ),
    );
    for level in Level::ALL {
        let words =
            Level::WORDS.iter().filter(|(_, other)| *other == level).map(|(word, _)| (*word).to_owned());
        let numbers = (0..=99).filter(|number| Level::from_number(*number) == Some(level));
        // As `05` and as `5`.
        let numbers = numbers.map(|number| format!("{}{number}", if number < 10 { "0?" } else { "" }));
        let all = words.chain(numbers).collect::<Vec<_>>().join("|");
        push(
            out,
            format_args!(
                "if match(word, {}) {{ {} }} else ",
                literal(&format!("^(?:{all})$")),
                string(level.as_str())
            ),
        );
    }
    out.push_str("{ \"\" }\n    }\n  }\n  if level != \"\" { .log.level = level }\n}\n");
}

fn redact(options: &BodyOptions, out: &mut String) {
    out.push_str("# What nobody should see; Fly's own fields stay as they are.\nown = {}\n");
    for name in RESERVED {
        push(out, format_args!("if exists(.{name}) {{ own.{name} = .{name} }}\n"));
    }
    for redaction in &options.redact {
        let filters = redaction.patterns().map(literal).collect::<Vec<_>>().join(", ");
        let marker = string(redaction.marker());
        push(
            out,
            format_args!(
                ". = redact(., filters: [{filters}], redactor: {{ \"type\": \"text\", \"replacement\": {marker} }})\n"
            ),
        );
    }
    out.push_str(". |= own\n");
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = out.write_fmt(text);
}

/// A regular expression between VRL's quotes, which have no escape for themselves.
fn literal(pattern: &str) -> String {
    let mut out = String::from("r'");
    let mut is_escaped = false;
    for c in pattern.chars() {
        match c {
            '\'' if is_escaped => {
                out.pop();
                out.push_str("\\x27");
            }
            '\'' => out.push_str("\\x27"),
            '\n' => out.push_str(if is_escaped { "n" } else { "\\n" }),
            c => out.push(c),
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    out.push('\'');
    out
}

/// A string between double quotes, in which braces would be a template.
fn string(text: impl AsRef<str>) -> String {
    let mut out = String::from("\"");
    for c in text.as_ref().chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '{' => out.push_str("\\{"),
            '}' => out.push_str("\\}"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

/// A name as one step of a path.
fn segment(name: &str) -> String {
    let is_plain = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_plain { name.to_owned() } else { string(name) }
}
