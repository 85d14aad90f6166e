//! Any template with any event: it renders the same from text and from a tree, and escaped text is itself.

#![no_main]

use libfuzzer_sys::fuzz_target;
use log_shipper::event::{LogEvent, Timestamp};
use log_shipper::template::Template;

fuzz_target!(|input: (&str, &str, i64)| {
    let (text, body, nanos) = input;
    let escaped = Template::parse(&Template::escape(text)).expect("escaped text is a template");
    assert_eq!(escaped.as_static(), Some(text));
    assert_eq!(Template::literal(text).as_static(), Some(text));

    let time = Timestamp::from_nanos(nanos);
    let Ok(event) = LogEvent::from_json_at(body.to_owned().into(), time) else { return };
    let mut tree = event.clone();
    tree.value_mut();
    if let Ok(template) = Template::parse(text) {
        let (from_text, from_tree) = (template.render(&event), template.render(&tree));
        assert_eq!(from_text.is_ok(), from_tree.is_ok());
        // A nested value or a number may be written otherwise in a tree.
        if !body.contains(['[', '.', 'e', 'E']) && body.matches('{').count() == 1 && !has_long_number(body) {
            assert_eq!(from_text, from_tree);
        }
        if let Some(text) = template.as_static() {
            assert_eq!(from_text.as_deref(), Ok(text));
        }
    }
    if let Ok(uri) = Template::parse_uri(text)
        && let Ok(rendered) = uri.render_uri(&event)
        && uri.paths().next().is_some()
    {
        let path = rendered.split(['?', '#']).next().unwrap_or_default();
        assert!(!path.split('/').any(|segment| matches!(segment, "." | "..")), "{rendered}");
    }
});

/// Whether a number may be more than an integer holds, or a zero with a sign.
fn has_long_number(body: &str) -> bool {
    body.contains('-') || body.split(|c: char| !c.is_ascii_digit()).any(|digits| digits.len() > 18)
}
