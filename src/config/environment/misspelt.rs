//! What looks like a misspelt variable.

use super::bodies;
use super::variables::{VARIABLES, VariableGroup};
use crate::env::{Env, EnvError};
use crate::providers::PROVIDERS;

/// The names of all variables that are read, but for those with the prefix `ENRICH_` and those of proxies. Each may
/// also be given as `NAME_FILE`.
pub fn variables() -> Vec<&'static str> {
    let of_providers = PROVIDERS.iter().flat_map(|provider| provider.variables);
    let of_providers = of_providers.flat_map(|variable| [Some(variable.name), variable.or]).flatten();
    // Those of the platform are not the user's to set right.
    let of_users = VARIABLES.iter().filter(|variable| variable.group != VariableGroup::Platform);
    let of_users = of_users.map(|variable| variable.name).filter(|name| !name.ends_with("..."));
    of_users.chain(of_providers).collect()
}

/// Warnings for variables that are empty, and for those whose name is nearly that of one we know.
pub(super) fn misspelt(env: &Env) -> Result<Vec<String>, EnvError> {
    let known = variables();
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
        let Some(nearest) = nearest else { continue };
        warnings.push(match env.get(nearest)? {
            None => format!("{name} is not known; did you mean {nearest}?"),
            Some(_) => format!("{name} is not read; did you mean {nearest}, which is set?"),
        });
    }
    Ok(warnings)
}

fn is_near(name: &str, known: &str) -> bool {
    // The beginning is what tells one product from another.
    name.get(..3) == known.get(..3) && strsim::damerau_levenshtein(name, known) <= 2
}
