//! The options for all components: those that Vector has beside its components' tables, and how several
//! files' are taken together.

use super::Problem;
use super::format::join;
use super::problem::Places;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

/// The `api` table. Read so that Vector's configurations load; nothing listens yet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ApiOptions {
    /// Whether Vector's API listens. Default: false.
    pub enabled: bool,
    /// The address that it listens on. Vector's default: `127.0.0.1:8686`.
    pub address: Option<std::net::SocketAddr>,
    /// Whether Vector serves a page to try its API on.
    pub playground: Option<bool>,
    /// Whether Vector answers GraphQL.
    pub graphql: Option<bool>,
}

/// The `schema` table. Without effect: what it switches on is Vector's own.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct SchemaOptions {
    /// Whether Vector checks the types of events.
    pub enabled: bool,
    /// Whether it refuses a configuration for that.
    pub validation: bool,
    /// Whether a field has its meaning by a name space of its own.
    pub log_namespace: Option<bool>,
}

/// The `telemetry` table. Without effect.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryOptions {
    /// Which tags Vector's metrics have.
    pub tags: TelemetryTags,
}

/// The `telemetry.tags` table.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryTags {
    /// Whether metrics have the tag `service`.
    pub emit_service: bool,
    /// Whether metrics have the tag `source`.
    pub emit_source: bool,
}

/// Whether an input with a `*` may fit no component at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum WildcardMatching {
    /// It may not. The default.
    #[default]
    Strict,
    /// It may.
    Relaxed,
}

/// Takes the tables of several files together. An option that two of them give different values is told
/// with both places.
pub(super) fn merge(
    known: &mut Table,
    more: Table,
    path: &str,
    known_places: &Places,
    places: &Places,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    for (key, value) in more {
        let path = join(path, &key);
        match (known.get_mut(&key), value) {
            (None, value) => drop(known.insert(key, value)),
            (Some(Value::Table(known)), Value::Table(more)) => {
                problems.extend(merge(known, more, &path, known_places, places));
            }
            (Some(known), value) if *known == value => {}
            (Some(_), _) => {
                let first = known_places.get(&path).map(|place| place.to_words()).unwrap_or_default();
                let message = format!("it has another value in {first}; keep one of the two");
                problems.push(places.place(Problem::at(path, message)));
            }
        }
    }
    problems
}
