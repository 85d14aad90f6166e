//! What looks like a misspelt variable.

use super::source::OWN_SERVER;
use super::{api, bodies};
use crate::env::{Env, EnvError};
use crate::providers::PROVIDERS;

/// Warnings for variables that are empty, and for those whose name is nearly that of one we know.
pub(super) fn misspelt(env: &Env) -> Result<Vec<String>, EnvError> {
    let of_providers = PROVIDERS.iter().flat_map(|provider| provider.variables);
    let of_providers = of_providers.flat_map(|variable| [Some(variable.name), variable.or]).flatten();
    let known = CORE.iter().chain(OWN_SERVER).chain(bodies::VARIABLES).chain(api::VARIABLES).copied();
    let known: Vec<&str> = known.chain(of_providers).collect();
    let mut warnings = Vec::new();
    for name in env.names() {
        let base = name.strip_suffix("_FILE").unwrap_or(name);
        if known.contains(&base) || base.starts_with(bodies::ENRICH) {
            if env.lookup(name)?.is_some_and(|value| value.is_empty()) && env.get(base)?.is_none() {
                warnings.push(format!("{name} is empty, which counts as not set"));
            }
            continue;
        }
        let near = known.iter().filter(|known| known.len() > 6 && is_near(base, known));
        let nearest = near.min_by_key(|known| strsim::damerau_levenshtein(base, known));
        if let Some(nearest) = nearest
            && env.get(nearest)?.is_none()
        {
            warnings.push(format!("{name} is not known; did you mean {nearest}?"));
        }
    }
    Ok(warnings)
}

fn is_near(name: &str, known: &str) -> bool {
    // The beginning is what tells one product from another.
    name.get(..3) == known.get(..3) && strsim::damerau_levenshtein(name, known) <= 2
}

/// The variables that are no provider's.
const CORE: &[&str] = &[
    "ORG",
    "ACCESS_TOKEN",
    "SUBJECT",
    "SUBJECT_EXCLUDE",
    "QUEUE",
    "NETWORK",
    "NATS_TLS_FIRST",
    "DATA_DIR",
    "BUFFER_MAX_SIZE",
    "JETSTREAM_STREAM",
    "JETSTREAM_CONSUMER",
    "DEAD_LETTERS",
    "DEAD_LETTERS_SUBJECT",
    crate::topology::MEMORY_LIMIT,
];
