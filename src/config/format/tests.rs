use super::*;
use proptest::prelude::*;

fn parse(text: &str, format: Format) -> Result<Document, Vec<String>> {
    Document::parse("f", text, format).map_err(|problems| problems.iter().map(ToString::to_string).collect())
}

#[track_caller]
fn fails(format: Format, text: &str, expected: &str) {
    let problems = parse(text, format).unwrap_err().join("\n");
    assert!(problems.contains(expected), "{problems}\nshould contain\n{expected}");
}

/// What stands at the key and at the value of a path.
#[track_caller]
fn spans<'a>(document: &Document, text: &'a str, path: &str) -> (&'a str, &'a str) {
    let place = document.places.get(path).unwrap_or_else(|| panic!("{path} in {document:?}"));
    let cut = |span: &Option<Range<usize>>| span.clone().map_or("", |span| &text[span]);
    (cut(&place.key), cut(&place.value))
}

const TOML: &str = "'é' = 'ä'\r\na.b = 1 # x\nlist = [1, 'zwö']\n[t.\"x y\"]\nc = 2.5\nd = true\n";
const YAML: &str = "é: ä\r\na: {b: 1} # x\nlist:\n- 1\n- zwö\nt:\n  x y:\n    c: 2.5\n    d: true\n";
const JSON: &str = "{\"é\": \"ä\",\r\n \"a\": {\"b\": 1}, \"list\": [1, \"zwö\"],\n \"t\": {\"x y\": {\"c\": 2.5, \"d\": true}}, \"n\": null}";

#[test]
fn the_three_formats_say_the_same_and_know_where() {
    let toml = parse(TOML, Format::Toml).unwrap();
    for (text, format) in [(TOML, Format::Toml), (YAML, Format::Yaml), (JSON, Format::Json)] {
        let document = parse(text, format).unwrap();
        assert_eq!(document.table, toml.table, "{format:?}");
        for (path, key, value) in [
            ("a.b", "b", "1"),
            ("t.\"x y\".c", "c", "2.5"),
            ("t.\"x y\".d", "d", "true"),
            ("list[0]", "", "1"),
        ] {
            let (found_key, found) = spans(&document, text, path);
            assert_eq!((found_key.trim_matches('"'), found), (key, value), "{format:?} {path}");
        }
        let (_, found) = spans(&document, text, "list[1]");
        assert_eq!(found.trim_matches(['"', '\'']), "zwö", "{format:?}");
        let (key, found) = spans(&document, text, "\"é\"");
        assert_eq!(
            (key.trim_matches(['"', '\'']), found.trim_matches(['"', '\''])),
            ("é", "ä"),
            "{format:?}"
        );
    }
}

#[test]
fn yaml_has_its_core_schema_anchors_and_merge_keys() {
    let text = "a: yes\nb: 0x10\nc: ~\nd: 'true'\ne: 1e3\nf: 80\n80: x\nbase: &b {x: 1, y: 2}\n\
                m:\n  <<: *b\n  y: 3\nl: [*b]\ntext: |\n  one: 1\n    two\n";
    let document = parse(text, Format::Yaml).unwrap();
    let expected = "a = 'yes'\nb = 16\nd = 'true'\ne = 1000.0\nf = 80\n80 = 'x'\nbase = {x = 1, y = 2}\n\
                    m = {x = 1, y = 3}\nl = [{x = 1, y = 2}]\ntext = \"one: 1\\n  two\\n\"\n";
    assert_eq!(document.table, expected.parse().unwrap());
    assert_eq!(spans(&document, text, "m.y"), ("y", "3"));
    assert_eq!(parse("\u{feff}a: 1", Format::Yaml).unwrap().table, "a = 1".parse().unwrap());
    assert!(parse("", Format::Yaml).unwrap().table.is_empty());
    assert!(parse("# nothing\n", Format::Yaml).unwrap().table.is_empty());
}

#[test]
fn a_reference_needs_no_quotes() {
    let toml = "port = ${PORT:-80} # ${X}\na = \"${Y}\"\nb = '''\n${Z} '' '''\nlist = [$A, ${B-é}]\n";
    let document = parse(toml, Format::Toml).unwrap();
    let value = |path: &str| document.table[path].as_str().unwrap();
    assert_eq!((value("port"), value("a"), value("b")), ("${PORT:-80}", "${Y}", "${Z} '' "));
    assert_eq!(document.table["list"], vec!["$A", "${B-é}"].into());
    assert_eq!(spans(&document, toml, "port"), ("port", "${PORT:-80}"));
    assert_eq!(spans(&document, toml, "list[1]").1, "${B-é}");
    let json = "{\"port\": ${PORT}, \"a\": \"x\\\"${Y}\"}";
    let document = parse(json, Format::Json).unwrap();
    assert_eq!(document.table["port"].as_str(), Some("${PORT}"));
    assert_eq!(document.table["a"].as_str(), Some("x\"${Y}"));
    let document = parse("port: ${PORT:-80}\n", Format::Yaml).unwrap();
    assert_eq!(document.table["port"].as_str(), Some("${PORT:-80}"));
    fails(Format::Toml, "${KEY} = 1", "f:1:1: a reference to a variable cannot be a key");
    fails(Format::Json, "{${KEY}: 1}", "f:1:2: a reference to a variable cannot be a key");
    fails(Format::Toml, "a = x${KEY}", "f:1:5: ");
}

#[test]
fn says_what_is_wrong_and_where() {
    fails(Format::Toml, "[a\nb = 1\nb = 2\n", "f:1:");
    fails(Format::Toml, "a = 1\na = 2\n", "f:2:1: duplicate key");
    fails(Format::Toml, "a = 99999999999999999999\n", "f:1:5: ");
    fails(Format::Yaml, "a: 1\na: 2\n", "f:2:1: the key `a` stands here twice");
    fails(Format::Yaml, "a: [1\nb: 2\n", "f:");
    fails(Format::Yaml, "a: 99999999999999999999\n", "f:1:4: a whole number that is too large");
    fails(Format::Yaml, "- 1\n", "expected a table of options");
    fails(Format::Yaml, "a: [~]", "f:1:5: a list cannot have a null in it");
    fails(Format::Yaml, "a: 1\n---\nb: 1\n", "a second document");
    fails(Format::Yaml, "? [a]\n: 1\n", "cannot be a key");
    fails(Format::Yaml, "a: *b\n", "f:1:");
    fails(Format::Json, "{\"a\": 1,}", "f:1:");
    fails(Format::Json, "{\"a\": 1, \"a\": 2}", "f:1:10: the key `a` stands here twice");
    fails(Format::Json, "// x\n{}", "f:1:");
    fails(Format::Json, "{'a': 1}", "f:1:");
    fails(Format::Json, "", "expected a JSON object");
    fails(Format::Json, "[1]", "expected a table of options");
}

#[test]
fn no_text_is_too_deep_or_too_large_for_the_stack() {
    let deep = 50_000;
    let nested = |open: &str, close: &str| format!("{}1{}", open.repeat(deep), close.repeat(deep));
    let mut chain = "a0: &a0 [1]\n".to_owned();
    for level in 1..5_000 {
        chain += &format!("a{level}: &a{level} [*a{}]\n", level - 1);
    }
    let mut bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1]\n".to_owned();
    for level in 1..20 {
        let last = level - 1;
        bomb += &format!("a{level}: &a{level} [{}]\n", format!("*a{last},").repeat(9));
    }
    for (text, format) in [
        (format!("a = {}", nested("[", "]")), Format::Toml),
        (format!("a = {}", nested("{a=", "}")), Format::Toml),
        (format!("{}a = 1", "a.".repeat(deep)), Format::Toml),
        (format!("[{}a]", "a.".repeat(deep)), Format::Toml),
        (nested("[", "]"), Format::Json),
        (nested("{\"a\":", "}"), Format::Json),
        (nested("[", "]"), Format::Yaml),
        (nested("{a: ", "}"), Format::Yaml),
        (nested("- ", ""), Format::Yaml),
        (nested("? ", ""), Format::Yaml),
        (chain, Format::Yaml),
        (bomb, Format::Yaml),
        ("[".repeat(deep), Format::Json),
        ("x".repeat(MAX_BYTES + 1), Format::Toml),
    ] {
        parse(&text, format).unwrap_err();
    }
}

#[test]
fn formats_by_name() {
    for (name, format) in [
        ("a.toml", Some(Format::Toml)),
        ("/x.y/a.yaml", Some(Format::Yaml)),
        ("a.YML", Some(Format::Yaml)),
        ("a.json", Some(Format::Json)),
        ("a.txt", None),
        ("a", None),
    ] {
        assert_eq!(Format::of_name(name), format, "{name}");
    }
}

/// A tree that all three formats can write.
fn tree() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        any::<i64>().prop_map(Value::Integer),
        any::<bool>().prop_map(Value::Boolean),
        (-1e15..1e15_f64).prop_map(Value::Float),
        "[ -~\\néßø☃\"'$#:{}-]{0,12}".prop_map(Value::String),
    ];
    leaf.prop_recursive(4, 24, 4, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            table(inner).prop_map(Value::Table),
        ]
    })
}

fn table(inner: impl Strategy<Value = Value>) -> impl Strategy<Value = Table> {
    let key = "[a-zé \"'.$-]{1,6}".prop_filter("`<<` merges", |key| key != "<<");
    prop::collection::vec((key, inner), 0..4).prop_map(|entries| entries.into_iter().collect())
}

/// Block style, with the strings as JSON has them: that is YAML too.
fn to_yaml(value: &Value, indent: usize, out: &mut String) {
    let pad = "  ".repeat(indent);
    match value {
        Value::Table(table) if !table.is_empty() => {
            for (key, value) in table {
                out.push_str(&format!("\n{pad}{}:", serde_json::to_string(key).unwrap()));
                to_yaml(value, indent + 1, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for item in items {
                out.push_str(&format!("\n{pad}-"));
                to_yaml(item, indent + 1, out);
            }
        }
        other => out.push_str(&format!(" {}", serde_json::to_string(other).unwrap())),
    }
}

proptest! {
    #[test]
    fn the_same_tree_in_each_format_is_the_same(table in table(tree())) {
        let toml = ::toml::to_string(&table);
        let json = serde_json::to_string_pretty(&table).unwrap();
        let mut yaml = String::new();
        to_yaml(&Value::Table(table.clone()), 0, &mut yaml);
        prop_assert_eq!(&parse(&json, Format::Json).unwrap().table, &table, "{}", json);
        prop_assert_eq!(&parse(&json, Format::Yaml).unwrap().table, &table, "{}", json);
        prop_assert_eq!(&parse(&yaml, Format::Yaml).unwrap().table, &table, "{}", yaml);
        if let Ok(toml) = toml {
            prop_assert_eq!(&parse(&toml, Format::Toml).unwrap().table, &table, "{}", toml);
        }
    }

    #[test]
    fn no_text_makes_it_panic(text in "([\\[\\]{}:,\"'$#|>&*!?%@`~<=. \\r\\n\\t-]|[a-c1é☃]|\\$\\{A\\}|: |- |'''|\"\"\"){0,40}") {
        for format in [Format::Toml, Format::Yaml, Format::Json] {
            let _ = parse(&text, format);
        }
    }

    #[test]
    fn what_is_quoted_keeps_its_length(text in "[a\"'#$\\n\\\\{}A-Cé=]{0,30}") {
        for syntax in [references::Syntax::Toml, references::Syntax::Json] {
            prop_assert_eq!(references::quote(&text, syntax).text.len(), text.len());
        }
    }
}
