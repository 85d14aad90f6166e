//! `${NAME}` in the values of a configuration: Vector's six forms and `$$`; and `SECRET[backend.key]`.
//!
//! Values are interpolated after the text has been parsed, so that no secret can break the syntax
//! around it, and what comes in is not looked at again.

use super::secrets::{Secrets, parse_secret};
use crate::env::Env;
use crate::template::Template;

/// Resolves the references of one value.
///
/// | form | unset | set, but empty |
/// |---|---|---|
/// | `$NAME`, `${NAME}` | an error | empty |
/// | `${NAME:-default}` | the default | the default |
/// | `${NAME-default}` | the default | empty |
/// | `${NAME:?message}` | an error | an error |
/// | `${NAME?message}` | an error | empty |
/// | `$$` | a dollar sign | |
///
/// Anything else with a `$` stays as it is.
///
/// # Errors
/// One for each reference that has no value.
pub fn interpolate(text: &str, env: &Env) -> Result<String, Vec<String>> {
    Lookup { env, secrets: None }.resolve(text, false, &mut Vec::new())
}

/// Where references are looked up.
pub(super) struct Lookup<'a> {
    pub env: &'a Env,
    /// `None`: references to secrets stay as they are.
    pub secrets: Option<&'a Secrets>,
}

impl Lookup<'_> {
    /// Resolves the references of one value; in a template, what comes in is escaped. `used` gets every
    /// value that came in, so that no message repeats it.
    pub(super) fn resolve(
        &self,
        text: &str,
        is_template: bool,
        used: &mut Vec<String>,
    ) -> Result<String, Vec<String>> {
        let mut out = String::with_capacity(text.len());
        let mut errors = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find(['$', 'S']) {
            out.push_str(&rest[..at]);
            let here = &rest[at..];
            if let Some(after) = here.strip_prefix("$$") {
                out.push('$');
                rest = after;
                continue;
            }
            let secrets = self.secrets.and_then(|secrets| Some((secrets, parse_secret(here)?)));
            let (value, default, after) = match (secrets, parse(here)) {
                (Some((secrets, (secret, after))), _) => (secrets.get(&secret, self.env), None, after),
                (None, Some((reference, after))) => {
                    let default = reference.modifier.map(|(_, default)| default);
                    (reference.resolve(self.env), default, after)
                }
                (None, None) => {
                    out.push_str(&here[..1]);
                    rest = &here[1..];
                    continue;
                }
            };
            match value {
                Ok(value) => {
                    out.push_str(&if is_template { Template::escape(&value) } else { value.clone() });
                    // A default stands in the text itself, for all to see.
                    if Some(value.as_str()) != default {
                        used.push(value);
                    }
                }
                Err(error) => errors.push(error),
            }
            rest = after;
        }
        out.push_str(rest);
        if errors.is_empty() { Ok(out) } else { Err(errors) }
    }
}

/// Whether the whole text is one reference, to a variable or a secret.
pub(super) fn is_reference(text: &str) -> bool {
    let after = match text.starts_with('$') {
        true => parse(text).map(|(_, after)| after),
        false => parse_secret(text).map(|(_, after)| after),
    };
    after == Some("")
}

/// The length of the reference to a variable at the start.
pub(super) fn reference_len(text: &str) -> Option<usize> {
    parse(text).map(|(_, after)| text.len() - after.len())
}

struct Reference<'a> {
    name: &'a str,
    /// What follows the name inside the braces: `:-`, `-`, `:?` or `?` and the rest.
    modifier: Option<(&'a str, &'a str)>,
}

/// The reference at the start of the text and what follows it.
fn parse(text: &str) -> Option<(Reference<'_>, &str)> {
    if !text.starts_with('$') {
        return None;
    }
    let Some(inner) = text.strip_prefix("${") else {
        let name = leading_name(&text[1..])?;
        return Some((Reference { name, modifier: None }, &text[1 + name.len()..]));
    };
    let name = leading_name(inner)?;
    let after_name = &inner[name.len()..];
    if let Some(after) = after_name.strip_prefix('}') {
        return Some((Reference { name, modifier: None }, after));
    }
    let operator = [":-", "-", ":?", "?"].into_iter().find(|operator| after_name.starts_with(operator))?;
    let (argument, after) = after_name[operator.len()..].split_once('}')?;
    Some((Reference { name, modifier: Some((operator, argument)) }, after))
}

/// The name at the start: letters, digits, `_` and `.`, as many as there are.
fn leading_name(text: &str) -> Option<&str> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == '.')).unwrap_or(text.len());
    (end > 0).then(|| &text[..end])
}

impl Reference<'_> {
    fn resolve(&self, env: &Env) -> Result<String, String> {
        let name = self.name;
        let value = env.lookup(name).map_err(|error| error.to_string())?;
        let is_empty = value.as_ref().is_some_and(String::is_empty);
        match (value, self.modifier) {
            (None, Some((":-" | "-", default))) => Ok(default.to_owned()),
            (Some(_), Some((":-", default))) if is_empty => Ok(default.to_owned()),
            (Some(_), Some((":?", message))) if is_empty => {
                Err(format!("environment variable {name} is empty: {message}"))
            }
            (Some(value), _) => Ok(value),
            (None, _) if env.placeholder().is_some() => Ok(env.placeholder().unwrap_or_default().to_owned()),
            (None, Some((_, message))) => Err(format!("environment variable {name} is not set: {message}")),
            (None, None) => Err(format!(
                "environment variable {name} is not set; set it, or give a default with ${{{name}:-default}}"
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn env() -> Env {
        Env::from_pairs([("A", "1"), ("EMPTY", ""), ("SECRET", "p\"q\\z$A ${A} #{'"), ("A.B", "dotted")])
    }

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(interpolate(text, &env()).as_deref(), Ok(expected), "{text}");
    }

    #[test]
    fn resolves_the_six_forms() {
        check("plain", "plain");
        check("$A-${A}", "1-1");
        check("${A:-d}${A-d}${A:?e}${A?e}", "1111");
        check("[${NONE:-d}][${NONE-d}]", "[d][d]");
        check("[${EMPTY:-d}][${EMPTY-d}][${EMPTY?e}][$EMPTY]", "[d][][][]");
        check("$A.B", "dotted");
        check("${NONE:-$A}", "$A");
        check("cost: $$5 $$A $ ${} ${A", "cost: $5 $A $ ${} ${A");
    }

    #[test]
    fn values_are_not_looked_at_again() {
        check("<${SECRET}>", "<p\"q\\z$A ${A} #{'>");
    }

    #[test]
    fn names_every_reference_without_a_value() {
        let errors = interpolate("$NONE ${EMPTY:?give it} ${OTHER?please}", &env()).unwrap_err();
        assert_eq!(errors.len(), 3);
        assert!(errors[0].contains("NONE is not set"));
        assert!(errors[1].contains("EMPTY is empty: give it"));
        assert!(errors[2].contains("OTHER is not set: please"));
    }

    proptest! {
        #[test]
        fn any_secret_arrives_as_it_is(secret in any::<String>().prop_filter("empty is special", |s| !s.contains('\0'))) {
            let env = Env::from_pairs([("S", secret.as_str())]);
            prop_assert_eq!(interpolate("[${S}]", &env), Ok(format!("[{secret}]")));
        }

        #[test]
        fn text_without_a_dollar_stays(text in "[^$]*") {
            prop_assert_eq!(interpolate(&text, &Env::default()), Ok(text.clone()));
        }

        #[test]
        fn never_panics(text in "[$a{}:?\\-é. ]{0,16}") {
            let _ = interpolate(&text, &Env::default());
        }
    }
}
