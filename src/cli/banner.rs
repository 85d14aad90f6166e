//! What `run` says at its start: what it reads, where that goes, and what is off.

use super::plural;
use crate::config::{Config, Environment};
use crate::providers::Need;

/// What the configuration reads and where that goes. Of an environment, [`environment`] has said the rest.
pub(super) fn configuration(config: &Config, is_environment: bool) {
    for source in &config.sources {
        let about = source.config.about().map(|about| format!(": {about}")).unwrap_or_default();
        tracing::info!("reading source {} ({}){about}", source.id, source.r#type);
    }
    if is_environment {
        return;
    }
    let named = |id: &str, name: &str| format!("{id} ({name})");
    let transforms: Vec<_> =
        config.transforms.iter().map(|transform| named(&transform.id, &transform.r#type)).collect();
    if !transforms.is_empty() {
        tracing::info!("transforms: {}", transforms.join(", "));
    }
    let sinks: Vec<_> = config.sinks.iter().map(|sink| named(&sink.id, &sink.r#type)).collect();
    tracing::info!("shipping to {}: {}", plural(sinks.len() as u64, "sink", "sinks"), sinks.join(", "));
}

/// Which destinations the environment switches on, and by which secrets; what is off; what looks like a mistake, as a
/// destination that lacks a secret.
pub(super) fn environment(environment: &Environment) {
    for provider in &environment.enabled {
        let named = |need: fn(Need) -> bool, separator: &str| {
            let variables = provider.variables.iter().filter(|variable| need(variable.need));
            variables.map(|variable| variable.name).collect::<Vec<_>>().join(separator)
        };
        let required = named(|need| need == Need::Required, ", ");
        let alternatives = named(|need| matches!(need, Need::OneOf(_)), " or ");
        let secrets: Vec<_> =
            [required, alternatives].into_iter().filter(|names| !names.is_empty()).collect();
        tracing::info!("shipping to {} ({})", provider.title, secrets.join(", "));
    }
    for warning in &environment.warnings {
        tracing::warn!("{warning}");
    }
    if let Some(words) = off(environment.enabled.len(), environment.off) {
        tracing::info!("{words}");
    }
}

/// How many destinations are off; they are the others only beside one that is on.
fn off(enabled: usize, off: usize) -> Option<String> {
    let other = if enabled == 0 { "" } else { "other " };
    let (are, their) = match off {
        0 => return None,
        1 => ("destination is", "its"),
        _ => ("destinations are", "their"),
    };
    Some(format!(
        "{off} {other}{are} off, because none of {their} secrets is set (`log-shipper providers` lists them)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_destinations_that_are_off_are_the_others_only_beside_one_that_is_on() {
        for (on, how_many, expected) in [
            (0, 25, Some("25 destinations are off, because none of their")),
            (1, 24, Some("24 other destinations are off, because none of their")),
            (24, 1, Some("1 other destination is off, because none of its")),
            (25, 0, None),
        ] {
            let words = off(on, how_many);
            let beginning = words.as_deref().and_then(|words| words.split(" secrets").next());
            assert_eq!(beginning, expected, "{on} on, {how_many} off");
        }
    }
}
