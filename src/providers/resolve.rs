//! [`resolve`]: what an environment makes of the table.

use super::{PROVIDERS, Provider, State, Variable};
use crate::config::provider_options;
use crate::env::{Env, EnvError};
use toml::Table;

/// A provider in an environment.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Resolved {
    /// The provider.
    pub provider: &'static Provider,
    /// Whether it is on, and what is missing.
    pub state: State,
    /// Each of its variables, with the name under which it is set, if it is.
    pub variables: Vec<(&'static Variable, Option<&'static str>)>,
    /// The options of its sink if it is on, `type` among them, without `inputs`. Variables stand in it as `${NAME}`:
    /// no secret is in it.
    /// [`SinkEntry::from_table_with_env`](crate::config::SinkEntry::from_table_with_env) makes a sink of it.
    pub options: Option<Table>,
    /// Set variables that cannot be right, in words.
    pub warnings: Vec<String>,
}

/// Every provider in this environment, in the table's order: which are on, off or incomplete, and with what settings.
///
/// ```
/// use log_shipper::env::Env;
/// use log_shipper::providers::{State, resolve};
///
/// let env = Env::from_pairs([("HONEYCOMB_API_KEY", "s3cr3t"), ("HONEYCOMB_DATASET", "logs")]);
/// let resolved = resolve(&env)?;
/// let on: Vec<_> = resolved.iter().filter(|resolved| resolved.state == State::On).collect();
/// assert_eq!(on.len(), 1);
/// let options = on[0].options.as_ref().ok_or("on, without options")?;
/// assert_eq!(options["type"].as_str(), Some("honeycomb"));
/// assert_eq!(options["dataset"].as_str(), Some("${HONEYCOMB_DATASET}"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// If a variable cannot be read.
pub fn resolve(env: &Env) -> Result<Vec<Resolved>, EnvError> {
    PROVIDERS.iter().map(|provider| provider.resolve(env)).collect()
}

impl Provider {
    /// It in this environment, as [`resolve`] says it of all.
    ///
    /// # Errors
    /// If a variable cannot be read.
    pub fn resolve(&'static self, env: &Env) -> Result<Resolved, EnvError> {
        let state = self.state(env)?;
        let variables = self.variables.iter().map(|variable| Ok((variable, variable.set_as(env)?)));
        let variables = variables.collect::<Result<Vec<_>, EnvError>>()?;
        let is_on = state == State::On;
        let options = is_on.then(|| provider_options(self, env)).transpose()?;
        let warnings = if is_on { self.unexpected(env)? } else { Vec::new() };
        Ok(Resolved { provider: self, state, variables, options, warnings })
    }

    /// Warnings for values that cannot be right.
    fn unexpected(&self, env: &Env) -> Result<Vec<String>, EnvError> {
        let mut warnings = Vec::new();
        for variable in self.variables {
            let (Some(expects), Some(name)) = (variable.expects, variable.set_as(env)?) else { continue };
            if env.get(name)?.is_some_and(|value| !(expects.fits)(&value)) {
                let title = self.title;
                warnings.push(format!(
                    "{name} is not {}: {title} would take what we send and throw it away",
                    expects.what
                ));
            }
        }
        Ok(warnings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Registry, SinkEntry};

    #[test]
    fn each_provider_that_is_on_has_the_options_of_a_sink_that_can_be_made() {
        let names = PROVIDERS.iter().flat_map(|provider| provider.variables).map(|variable| variable.name);
        let env = Env::from_pairs(names.map(|name| (name, "https://a.example")));
        for Resolved { provider, state, variables, options, .. } in resolve(&env).unwrap() {
            assert_eq!(state, State::On, "{}", provider.name);
            assert!(variables.iter().all(|(variable, set_as)| *set_as == Some(variable.name)));
            let options = options.unwrap();
            assert_eq!(options["type"].as_str(), Some(provider.sink));
            assert!(!options.contains_key("inputs"), "{}", provider.name);
        }
        // Nothing of the environment is in the options; what makes a sink of them puts it there.
        let env =
            Env::from_pairs([("HONEYCOMB_API_KEY", "s3cr3t"), ("HONEYCOMB_DATASET", "dataset-of-ours")]);
        let resolved = resolve(&env).unwrap();
        let honeycomb = resolved.iter().find(|resolved| resolved.provider.name == "honeycomb").unwrap();
        let options = honeycomb.options.clone().unwrap();
        let text = options.to_string();
        assert!(!text.contains("s3cr3t") && !text.contains("dataset-of-ours"), "{text}");
        SinkEntry::from_table_with_env("honeycomb", options, &Registry::builtin(), &env).unwrap();
    }

    #[test]
    fn without_variables_all_are_off_and_have_no_options() {
        let resolved = resolve(&Env::default()).unwrap();
        assert_eq!(resolved.len(), PROVIDERS.len());
        assert!(resolved.iter().all(|resolved| resolved.state == State::Off && resolved.options.is_none()));
    }

    #[test]
    fn one_that_is_incomplete_says_what_is_missing_and_has_no_options() {
        let env = Env::from_pairs([("HONEYCOMB_DATASET", "x")]);
        let honeycomb = super::super::find("honeycomb").unwrap().resolve(&env).unwrap();
        assert_eq!(honeycomb.state, State::Incomplete(vec!["HONEYCOMB_API_KEY".to_owned()]));
        assert!(honeycomb.options.is_none());
    }
}
