//! Confinement: what an event may decide where a template says where something goes.
//!
//! Whoever writes logs is often not who runs the shipper. So Vector since 0.57 wants a template that names a place (a
//! key, a path, an index, a subject) to begin with fixed text, and rejects events by which it would leave that
//! place; `dangerously_allow_unconfined_template_resolution` switches both off for a sink.
//!
//! Older configurations have no such switch, and ran. What Vector refuses at the start is therefore a warning here
//! that names the switch, but for the one thing that would send a key to a stranger: a field in the host of a URI.
//! At work the rule holds as in Vector: no `..` between slashes, unless the switch is set.
//!
//! Source: Vector's upgrade guide for 0.57. Of Loki's labels only the names are places, as in Vector since 0.58. That
//! parts of the time are no fixed text is unverified.

use super::{Part, Template};
use chrono::format::Item;

/// Vector's option.
pub(crate) const SWITCH: &str = "dangerously_allow_unconfined_template_resolution";

impl Template {
    /// From now on, events by which the text would have a `..` between its slashes are rejected. What there is to say
    /// about the template, if an event decides how it begins.
    pub(crate) fn confine(&mut self) -> Option<String> {
        self.is_confined = true;
        self.begins_with_a_field().then(|| {
            format!(
                "an event decides how this begins, which Vector refuses since 0.57; begin it with fixed text, or set {SWITCH} = true if it is meant"
            )
        })
    }

    /// The same for a URI, whose values are encoded when it is rendered.
    ///
    /// # Errors
    /// If an event could choose the host.
    pub(crate) fn confine_uri(&mut self) -> Result<Option<String>, String> {
        self.is_confined = true;
        if self.paths().next().is_none() {
            return Ok(None);
        }
        let literal = self.fixed_beginning();
        if !literal.split_once("://").is_some_and(|(_, rest)| rest.contains('/')) {
            return Err(format!(
                "an event could choose the host; put a `/` between the host and the first field, or set {SWITCH} = true"
            ));
        }
        Ok(self.text.contains(['?', '#']).then(|| {
            format!(
                "it has fields, and a `?` or `#`, which Vector refuses since 0.57; here values are encoded, so that none adds a parameter. Set {SWITCH} = true if Vector is to run it"
            )
        }))
    }

    fn begins_with_a_field(&self) -> bool {
        // A directory that is the root of all confines nothing.
        self.paths().next().is_some() && matches!(self.fixed_beginning(), "" | "/")
    }

    /// The text before the first field or part of the time.
    pub(crate) fn fixed_beginning(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(text)) => text,
            Some(Part::Time(items)) => match items.first() {
                Some(Item::Literal(text)) => text,
                Some(Item::OwnedLiteral(text)) => text,
                _ => "",
            },
            _ => "",
        }
    }
}

/// Whether the text has a way up between its slashes.
pub(super) fn climbs(text: &str) -> bool {
    text.split(['/', '\\']).any(|segment| segment == "..")
}

#[cfg(test)]
mod tests {
    use super::super::RenderError;
    use super::*;
    use crate::event::LogEvent;

    fn event(value: &str) -> LogEvent {
        LogEvent::from_json(serde_json::json!({"v": value, "dot": "."}).to_string().into()).unwrap()
    }

    #[test]
    fn a_template_without_a_fixed_beginning_is_told_of() {
        for (text, is_confined) in [
            ("", true),
            ("fixed/%F", true),
            ("%F", true),
            ("logs/{{ v }}/%F/", true),
            ("date=%F/{{ v }}", true),
            ("{{ v }}/%F/", false),
            ("%F/{{ v }}", false),
            ("/{{ v }}", false),
        ] {
            let said = Template::parse(text).unwrap().confine();
            assert_eq!(said.is_none(), is_confined, "{text}: {said:?}");
            assert!(said.is_none_or(|said| said.contains(SWITCH)));
        }
    }

    #[test]
    fn an_event_does_not_lead_out_of_its_place() {
        for (text, value, is_in) in [
            ("logs/{{ v }}/x", "app", true),
            ("logs/{{ v }}/x", "a/b", true),
            ("logs/{{ v }}/x", "a..b/..c/d..", true),
            ("logs/{{ v }}/x", "..", false),
            ("logs/{{ v }}/x", "a/../../b", false),
            ("logs/{{ v }}", "a\\..\\b", false),
            ("logs/.{{ v }}", ".", false),
            ("logs/{{ v }}{{ dot }}", ".", false),
            ("{{ v }}", "../../etc/passwd", false),
            ("../{{ v }}", "x", false),
        ] {
            let mut template = Template::parse(text).unwrap();
            assert!(template.render(&event(value)).is_ok(), "{text} with {value:?}, not confined");
            template.confine();
            let rendered = template.render(&event(value));
            assert_eq!(rendered.is_ok(), is_in, "{text} with {value:?}: {rendered:?}");
            assert!(rendered.is_ok() || matches!(rendered, Err(RenderError::Escapes { .. })));
        }
        let mut fixed = Template::parse("../fixed").unwrap();
        assert_eq!(fixed.confine(), None);
        assert_eq!(fixed.render(&event("")).unwrap(), "../fixed");
    }

    #[test]
    fn no_event_chooses_the_host_of_a_uri() {
        for (text, expected) in [
            ("https://h/x?y", "fine"),
            ("https://h/{{ v }}", "fine"),
            ("https://h/{{ v }}/%F", "fine"),
            ("https://{{ v }}/x", "refused"),
            ("https://h{{ v }}/x", "refused"),
            ("https://h:{{ v }}/x", "refused"),
            ("{{ v }}", "refused"),
            ("https://h/x?tenant={{ v }}", "told"),
            ("https://h/{{ v }}#x", "told"),
        ] {
            let found = match Template::parse_uri(text).unwrap().confine_uri() {
                Ok(None) => "fine",
                Ok(Some(_)) => "told",
                Err(_) => "refused",
            };
            assert_eq!(found, expected, "{text}");
        }
    }
}
