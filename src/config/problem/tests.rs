use super::*;

fn rendered(source: &Arc<Source>, words: &str) -> String {
    let at = source.text.find(words).unwrap();
    let problem = Problem::at("sinks.a.x", "wrong").in_source(source, at..at + words.len());
    problem.render(Severity::Error, false)
}

#[test]
fn shows_the_line_and_the_place_in_it() {
    let source = Arc::new(Source::new("f.toml", "a = 1\nb = 'é', compresion = 'x'\n", Vec::new()));
    let expected = "\
error: sinks.a.x: wrong
 --> f.toml:2:10
  |
2 | b = 'é', compresion = 'x'
  |          ^^^^^^^^^^";
    assert_eq!(rendered(&source, "compresion"), expected);
    let problem = Problem::new("odd").render(Severity::Warning, false);
    assert_eq!(problem, "warning: odd");
    let file = Problem { file: Some("f".to_owned()), ..Problem::new("gone") };
    assert_eq!(file.render(Severity::Error, false), "error: f: gone");
}

#[test]
fn a_message_of_several_lines_is_below() {
    let source = Arc::new(Source::new("f.toml", "source = 'x'\n", Vec::new()));
    let problem = Problem::at("t", "first\n  second\n  third\n").in_source(&source, 9..12);
    let text = problem.render(Severity::Error, false);
    assert!(text.starts_with("error: t: first\n --> f.toml:1:10\n"), "{text}");
    assert!(text.ends_with("^^^\n  second\n  third"), "{text}");
}

#[test]
fn secrets_are_left_out_of_the_line() {
    let text = "auth = {token = 's3cr3t', strategi = 'bearer', password = 's3cr3t'}\n";
    let secret = |from: usize| {
        let at = from + text[from..].find("'s3cr3t'").unwrap();
        at..at + 8
    };
    let (first, second) = (secret(0), secret(30));
    let source = Arc::new(Source::new("f.toml", text, vec![second, first]));
    let expected =
        "1 | auth = {token = …, strategi = 'bearer', password = …}\n  |                    ^^^^^^^^";
    let shown = rendered(&source, "strategi");
    assert!(shown.ends_with(expected), "{shown}");
    for words in ["'s3cr3t'", "s3cr3t', strategi", "password = 's3cr3t'}"] {
        assert!(!rendered(&source, words).contains("s3cr3t"), "{words}");
    }
}

#[test]
fn a_broken_text_shows_no_secret_either() {
    for line in [
        "token = 's3cr3t",
        "x = {password = 's3cr3t",
        "url: http://u:s3cr3t@h [",
        "\"api_key\": \"s3cr3t\\q\"",
    ] {
        let source = Arc::new(Source::broken("f", line));
        let problem = Problem::new("wrong").in_source(&source, 3..line.len());
        let shown = problem.render(Severity::Error, false);
        assert!(!shown.contains("s3cr3t") && shown.contains('…'), "{shown}");
    }
}

proptest::proptest! {
    #[test]
    fn any_place_of_any_text_can_be_shown(
        text in "[a-c\\né\\r\\t ☃]{0,30}",
        spans in proptest::collection::vec((0_usize..40, 0_usize..20), 0..4),
    ) {
        let ranges: Vec<_> = spans.iter().map(|(at, len)| *at..at + len).collect();
        let source = Arc::new(Source::new("f", &text, ranges.clone()));
        for range in ranges.into_iter().chain(std::iter::once(0..0)) {
            let _ = Problem::new("x").in_source(&source, range).render(Severity::Error, true);
        }
    }
}
