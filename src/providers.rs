//! [`PROVIDERS`]: which secrets of the environment switch which destination on, as one table of data.
//! Help, `providers`, the README's table, `vector.toml.example` and the generated configuration are
//! printed from it. The names are fly-log-shipper's.

use crate::env::{Env, EnvError};

/// A destination that is switched on by secrets of the environment.
#[derive(Debug)]
pub struct Provider {
    /// Its name, and the id of its sink.
    pub name: &'static str,
    /// What people call it.
    pub title: &'static str,
    /// The variables that it reads.
    pub variables: &'static [Variable],
    /// The `type` of its sink.
    pub sink: &'static str,
    /// The sink's options: dotted path and value.
    pub set: &'static [(&'static str, Setting)],
    /// A program of the `remap` transform in front of the sink.
    pub remap: Option<&'static str>,
}

/// A variable that a provider reads.
#[derive(Clone, Copy, Debug)]
pub struct Variable {
    /// Its name.
    pub name: &'static str,
    /// An older name that is read as well.
    pub or: Option<&'static str>,
    /// Its value when it is not set; without one, the variable is required.
    pub default: Option<&'static str>,
    /// What it holds.
    pub about: &'static str,
}

/// The value of an option. A `${NAME}` in a text is one of the provider's variables.
#[derive(Clone, Copy, Debug)]
pub enum Setting {
    /// Text.
    Text(&'static str),
    /// A number.
    Integer(i64),
    /// A switch.
    Bool(bool),
}

use Setting::{Bool, Integer, Text};

const fn required(name: &'static str, about: &'static str) -> Variable {
    Variable { name, or: None, default: None, about }
}

const fn optional(name: &'static str, default: &'static str, about: &'static str) -> Variable {
    Variable { name, or: None, default: Some(default), about }
}

impl Variable {
    const fn or(self, old: &'static str) -> Variable {
        Variable { or: Some(old), ..self }
    }

    /// Whether the provider is off without it.
    pub const fn is_required(&self) -> bool {
        self.default.is_none()
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
    /// Some are set, but these are missing.
    Incomplete(Vec<&'static str>),
}

impl Provider {
    /// Whether it is on in this environment.
    ///
    /// # Errors
    /// If a variable cannot be read.
    pub fn state(&self, env: &Env) -> Result<State, EnvError> {
        let mut missing = Vec::new();
        let mut any_set = false;
        for variable in self.variables {
            let is_set = variable.set_as(env)?.is_some();
            any_set |= is_set;
            if !is_set && variable.is_required() {
                missing.push(variable.name);
            }
        }
        Ok(match (missing.is_empty(), any_set) {
            (true, _) => State::On,
            (false, true) => State::Incomplete(missing),
            (false, false) => State::Off,
        })
    }
}

/// A batch of this size costs little memory, and a larger one is hardly cheaper to send.
const BATCH_BYTES: (&str, Setting) = ("batch.max_bytes", Integer(1_000_000));
/// Vector refuses templates that begin with a field unless it is told that this is meant.
const UNCONFINED: (&str, Setting) = ("dangerously_allow_unconfined_template_resolution", Bool(true));

/// Every provider, by name.
pub const PROVIDERS: &[Provider] = &[
    Provider {
        name: "axiom",
        title: "Axiom",
        variables: &[required("AXIOM_TOKEN", "API token"), required("AXIOM_DATASET", "dataset")],
        sink: "axiom",
        set: &[
            ("token", Text("${AXIOM_TOKEN}")),
            ("dataset", Text("${AXIOM_DATASET}")),
            ("compression", Text("gzip")),
            BATCH_BYTES,
        ],
        remap: None,
    },
    Provider {
        name: "better_stack",
        title: "Better Stack (Logtail)",
        variables: &[
            required("BETTER_STACK_SOURCE_TOKEN", "source token").or("LOGTAIL_TOKEN"),
            optional("BETTER_STACK_INGESTING_HOST", "in.logs.betterstack.com", "ingesting host"),
        ],
        sink: "http",
        set: &[
            ("uri", Text("https://${BETTER_STACK_INGESTING_HOST}")),
            ("encoding.codec", Text("json")),
            ("auth.strategy", Text("bearer")),
            ("auth.token", Text("${BETTER_STACK_SOURCE_TOKEN}")),
            BATCH_BYTES,
        ],
        // Better Stack reads an event's time from `dt`.
        remap: Some("if exists(.timestamp) { .dt = del(.timestamp) }"),
    },
    Provider {
        name: "datadog",
        title: "Datadog",
        variables: &[
            required("DATADOG_API_KEY", "API key"),
            optional("DATADOG_SITE", "datadoghq.com", "site"),
        ],
        sink: "datadog_logs",
        set: &[
            ("default_api_key", Text("${DATADOG_API_KEY}")),
            ("site", Text("${DATADOG_SITE}")),
            ("compression", Text("gzip")),
            BATCH_BYTES,
        ],
        remap: None,
    },
    Provider {
        name: "honeycomb",
        title: "Honeycomb",
        variables: &[required("HONEYCOMB_API_KEY", "API key"), required("HONEYCOMB_DATASET", "dataset")],
        sink: "honeycomb",
        set: &[
            ("api_key", Text("${HONEYCOMB_API_KEY}")),
            ("dataset", Text("${HONEYCOMB_DATASET}")),
            ("compression", Text("gzip")),
            BATCH_BYTES,
        ],
        remap: None,
    },
    Provider {
        name: "http",
        title: "Any HTTP server",
        variables: &[
            required("HTTP_URL", "URL that takes JSON arrays"),
            required("HTTP_TOKEN", "bearer token"),
        ],
        sink: "http",
        set: &[
            ("uri", Text("${HTTP_URL}")),
            ("encoding.codec", Text("json")),
            ("auth.strategy", Text("bearer")),
            ("auth.token", Text("${HTTP_TOKEN}")),
            BATCH_BYTES,
        ],
        remap: None,
    },
    Provider {
        name: "loki",
        title: "Grafana Loki",
        variables: &[
            required("LOKI_URL", "address, without the path"),
            required("LOKI_USERNAME", "user"),
            required("LOKI_PASSWORD", "password or token"),
        ],
        sink: "loki",
        set: &[
            ("endpoint", Text("${LOKI_URL}")),
            ("auth.strategy", Text("basic")),
            ("auth.user", Text("${LOKI_USERNAME}")),
            ("auth.password", Text("${LOKI_PASSWORD}")),
            ("encoding.codec", Text("json")),
            ("compression", Text("gzip")),
            ("labels.event_provider", Text("{{ event.provider }}")),
            ("labels.fly_region", Text("{{ fly.region }}")),
            ("labels.fly_app_name", Text("{{ fly.app.name }}")),
            ("labels.fly_app_instance", Text("{{ fly.app.instance }}")),
            ("labels.host", Text("{{ host }}")),
            ("labels.level", Text("{{ log.level }}")),
            BATCH_BYTES,
            UNCONFINED,
        ],
        remap: None,
    },
];

/// The provider of this name.
pub fn find(name: &str) -> Option<&'static Provider> {
    PROVIDERS.iter().find(|provider| provider.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn variables(provider: &Provider) -> impl Iterator<Item = &'static str> {
        provider.variables.iter().flat_map(|variable| [Some(variable.name), variable.or]).flatten()
    }

    #[test]
    fn names_are_unique_and_in_order() {
        assert!(PROVIDERS.is_sorted_by_key(|provider| provider.name));
        let names: BTreeSet<_> = PROVIDERS.iter().map(|provider| provider.name).collect();
        assert_eq!(names.len(), PROVIDERS.len());
        let all: Vec<_> = PROVIDERS.iter().flat_map(variables).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len(), "two providers share a variable");
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
            for left_out in &needed {
                let some = provider.variables.iter().filter(|variable| variable.name != left_out.name);
                let env = Env::from_pairs(some.map(|variable| (variable.name, "x")));
                let expected = match provider.variables.len() {
                    1 => State::Off,
                    _ => State::Incomplete(vec![left_out.name]),
                };
                assert_eq!(
                    provider.state(&env).unwrap(),
                    expected,
                    "{} without {}",
                    provider.name,
                    left_out.name
                );
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
                let Text(text) = setting else { continue };
                for (at, _) in text.match_indices("${") {
                    let name = text[at + 2..].split('}').next().unwrap();
                    let known = provider.variables.iter().any(|variable| variable.name == name);
                    assert!(known, "{}: {path} uses {name}", provider.name);
                }
            }
        }
    }
}
