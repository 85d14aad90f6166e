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
    if environment.off > 0 {
        tracing::info!(
            "{} off, because none of their secrets is set (`log-shipper providers` lists them)",
            plural(environment.off as u64, "other destination is", "other destinations are")
        );
    }
}
