//! [`PROVIDERS`]: which secrets of the environment switch which destination on, as one table of data.
//! Help, `providers`, the tables of the README and of `docs/src/destinations.md`, `vector.toml.example` and the
//! generated configuration are printed from it. The names are fly-log-shipper's.
//!
//! [`resolve`] says what an environment makes of it.

mod resolve;
mod table;

pub use resolve::{Resolved, resolve};
pub use table::PROVIDERS;

use crate::env::{Env, EnvError};

/// A destination that is switched on by secrets of the environment.
#[derive(Debug)]
#[non_exhaustive]
pub struct Provider {
    /// Its name, and the id of its sink.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The variables that it reads.
    pub variables: &'static [Variable],
    /// The `type` of its sink.
    pub sink: &'static str,
    /// The sink's options: dotted path and value. One that names a variable which is not set is left out.
    pub set: &'static [(&'static str, Setting)],
    /// Programs of a `remap` transform in front of the sink, for what the sink itself does not do.
    pub remap: &'static [Remap],
    /// Whether JSON in the message is lifted into the event unless the environment says otherwise, as
    /// fly-log-shipper does for it.
    pub lifts_json: bool,
    /// Where the destination finds what an event says of itself.
    pub places: Places,
    /// What its page in the book says beside all this, in Markdown.
    pub notes: &'static str,
}

/// A variable that a provider reads.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// An older name that is read as well.
    pub or: Option<&'static str>,
    /// Whether the provider is on without it.
    pub need: Need,
    /// What it holds.
    pub about: &'static str,
    /// Others read it too, so that it alone does not mean this provider.
    pub is_shared: bool,
    /// Whether a value can be right; a wrong one is warned about.
    pub expects: Option<Expects>,
}

/// Whether a provider needs a variable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// The provider is off without it.
    Required,
    /// The provider is off if all of these are missing; it may have a value all the same.
    OneOf(Option<&'static str>),
    /// It may be missing; then it has this value, if there is one.
    Optional(Option<&'static str>),
}

/// A form that a value must have, where the vendor says nothing if it has another.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Expects {
    /// What it is.
    pub what: &'static str,
    /// Whether a value has it.
    pub fits: fn(&str) -> bool,
}

/// The value of an option. A `${NAME}` in a text is one of the provider's variables.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Setting {
    /// Text.
    Text(&'static str),
    /// A list of this one text.
    List(&'static str),
    /// Text, unless this variable is set.
    Unless(&'static str, &'static str),
    /// A number.
    Integer(i64),
    /// A switch.
    Bool(bool),
}

/// A line of a program.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Remap {
    /// The line.
    pub program: &'static str,
    /// Only if this variable is set, and the host in it does not belong to this domain.
    pub unless_host: Option<(&'static str, &'static str)>,
}

/// Where a destination finds an event's time, level and origin: paths in what it receives for an event.
/// Empty is nowhere.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub struct Places {
    /// When it happened.
    pub time: &'static str,
    /// In this form.
    pub time_form: TimeForm,
    /// How serious it is.
    pub level: &'static str,
    /// The host.
    pub host: &'static str,
    /// The Fly app.
    pub app: &'static str,
    /// The Fly region.
    pub region: &'static str,
    /// The Fly machine.
    pub instance: &'static str,
}

/// How a destination wants a time written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TimeForm {
    /// RFC 3339, as in the event.
    Rfc3339,
    /// Seconds, with a fraction.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

impl TimeForm {
    /// The form in words.
    pub const fn as_str(self) -> &'static str {
        match self {
            TimeForm::Rfc3339 => "RFC 3339",
            TimeForm::Seconds => "seconds",
            TimeForm::Millis => "milliseconds",
            TimeForm::Micros => "microseconds",
            TimeForm::Nanos => "nanoseconds",
        }
    }
}

impl Variable {
    /// Whether the provider is off without it, or without it and its alternatives.
    pub const fn is_required(&self) -> bool {
        matches!(self.need, Need::Required | Need::OneOf(_))
    }

    /// Its value when it is not set.
    pub const fn default(&self) -> Option<&'static str> {
        match self.need {
            Need::Required => None,
            Need::OneOf(default) | Need::Optional(default) => default,
        }
    }

    /// The name under which it is set, if it is.
    ///
    /// # Errors
    /// If it cannot be read.
    pub fn set_as(&self, env: &Env) -> Result<Option<&'static str>, EnvError> {
        for name in [Some(self.name), self.or].into_iter().flatten() {
            if env.get(name)?.is_some() {
                return Ok(Some(name));
            }
        }
        Ok(None)
    }
}

/// Whether a provider is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Every variable that it needs is set.
    On,
    /// None of its variables is set.
    Off,
    /// Some are set, but these are missing; of one with alternatives, all are named.
    Incomplete(Vec<String>),
}

impl Provider {
    /// Whether it is on in this environment.
    ///
    /// # Errors
    /// If a variable cannot be read.
    pub fn state(&self, env: &Env) -> Result<State, EnvError> {
        let mut missing = Vec::new();
        let mut any_set = false;
        let mut alternatives = Vec::new();
        let mut any_alternative = false;
        for variable in self.variables {
            let is_set = variable.set_as(env)?.is_some();
            any_set |= is_set && !variable.is_shared;
            match variable.need {
                Need::Required if !is_set => missing.push(variable.name.to_owned()),
                Need::OneOf(_) => {
                    any_alternative |= is_set;
                    alternatives.push(variable.name);
                }
                _ => {}
            }
        }
        if !any_alternative && !alternatives.is_empty() {
            missing.push(alternatives.join(" or "));
        }
        Ok(match (missing.is_empty(), any_set) {
            (true, _) => State::On,
            (false, true) => State::Incomplete(missing),
            (false, false) => State::Off,
        })
    }
}

/// The provider of this name.
pub fn find(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

/// The variables that the sink of this name and type has its key, and its address, from: none if it is no
/// provider's, or if the environment does not switch that on.
pub(crate) fn variables_of(id: &str, sink: &str, env: &Env) -> Vec<&'static str> {
    let is_on = |provider: &&Provider| provider.sink == sink && matches!(provider.state(env), Ok(State::On));
    let Some(provider) = find(id).filter(is_on) else { return Vec::new() };
    let required = provider.variables.iter().filter(|variable| variable.is_required());
    required.filter_map(|variable| variable.set_as(env).ok().flatten()).collect()
}

/// The advice with the variables that it is about.
pub(crate) fn with_variables(advice: &str, variables: &[&str]) -> String {
    match variables {
        [] => advice.to_owned(),
        variables => format!("{advice} ({})", variables.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_of_the_environment_knows_its_variables() {
        let env = Env::from_pairs([("HTTP_URL", "http://h"), ("HTTP_TOKEN", "t"), ("AXIOM_TOKEN", "t")]);
        assert_eq!(variables_of("http", "http", &env), ["HTTP_URL", "HTTP_TOKEN"]);
        // Another sink that is called so, a provider that is off, and what is none.
        for (id, sink) in [("http", "loki"), ("axiom", "axiom"), ("mine", "http")] {
            assert!(variables_of(id, sink, &env).is_empty(), "{id}");
        }
        assert_eq!(with_variables("check it", &["A", "B"]), "check it (A, B)");
        assert_eq!(with_variables("check it", &[]), "check it");
    }
    use std::collections::{BTreeMap, BTreeSet};

    fn variables(provider: &Provider) -> impl Iterator<Item = &'static str> {
        provider.variables.iter().flat_map(|variable| [Some(variable.name), variable.or]).flatten()
    }

    #[test]
    fn names_are_unique_and_in_order() {
        assert!(PROVIDERS.is_sorted_by_key(|provider| provider.name));
        let names: BTreeSet<_> = PROVIDERS.iter().map(|provider| provider.name).collect();
        assert_eq!(names.len(), PROVIDERS.len());
        let mut readers: BTreeMap<_, usize> = BTreeMap::new();
        PROVIDERS.iter().flat_map(variables).for_each(|name| *readers.entry(name).or_default() += 1);
        let all = PROVIDERS.iter().flat_map(|provider| provider.variables);
        for variable in all.filter(|variable| !variable.is_shared) {
            assert_eq!(readers[variable.name], 1, "{} is another provider's as well", variable.name);
        }
    }

    #[test]
    fn each_is_off_without_on_with_all_and_incomplete_without_one() {
        for provider in PROVIDERS {
            assert_eq!(provider.state(&Env::default()).unwrap(), State::Off, "{}", provider.name);
            let needed: Vec<_> =
                provider.variables.iter().filter(|variable| variable.is_required()).collect();
            assert!(!needed.is_empty(), "{} would always be on", provider.name);
            let all = Env::from_pairs(needed.iter().map(|variable| (variable.name, "x")));
            assert_eq!(provider.state(&all).unwrap(), State::On, "{}", provider.name);
            for left_out in needed.iter().filter(|variable| variable.need == Need::Required) {
                let some = provider.variables.iter().filter(|variable| variable.name != left_out.name);
                let env = Env::from_pairs(some.clone().map(|variable| (variable.name, "x")));
                let expected = match some.filter(|variable| !variable.is_shared).count() {
                    0 => State::Off,
                    _ => State::Incomplete(vec![left_out.name.to_owned()]),
                };
                let state = provider.state(&env).unwrap();
                assert_eq!(state, expected, "{} without {}", provider.name, left_out.name);
            }
            // Of alternatives, each is enough, and none is not.
            let is_alternative = |variable: &&Variable| matches!(variable.need, Need::OneOf(_));
            let others: Vec<_> =
                provider.variables.iter().filter(|variable| !is_alternative(variable)).collect();
            for alternative in provider.variables.iter().filter(is_alternative) {
                let some = others.iter().copied().chain([alternative]);
                let env = Env::from_pairs(some.map(|variable| (variable.name, "x")));
                assert_eq!(provider.state(&env).unwrap(), State::On, "{}", alternative.name);
                let env = Env::from_pairs(others.iter().map(|variable| (variable.name, "x")));
                assert_ne!(provider.state(&env).unwrap(), State::On, "{}", provider.name);
            }
        }
    }

    #[test]
    fn old_names_and_files_are_read() {
        let better_stack = find("better_stack").unwrap();
        let env = Env::from_pairs([("LOGTAIL_TOKEN", "x")]);
        assert_eq!(better_stack.state(&env).unwrap(), State::On);
        assert_eq!(better_stack.variables[0].set_as(&env).unwrap(), Some("LOGTAIL_TOKEN"));
        assert_eq!(better_stack.state(&Env::from_pairs([("LOGTAIL_TOKEN", "")])).unwrap(), State::Off);
    }

    #[test]
    fn settings_name_their_own_variables_only() {
        for provider in PROVIDERS {
            for (path, setting) in provider.set {
                let (Setting::Text(text) | Setting::List(text) | Setting::Unless(_, text)) = setting else {
                    continue;
                };
                for (at, _) in text.match_indices("${") {
                    let name = text[at + 2..].split('}').next().unwrap();
                    let known = provider.variables.iter().any(|variable| variable.name == name);
                    assert!(known, "{}: {path} uses {name}", provider.name);
                }
            }
        }
    }
}
