//! [`BodyOptions`]: which steps, as a configuration says it.

use super::{Bodies, LogParse, MultilineConfig, RESERVED, Redaction};
use schemars::JsonSchema;
use serde::Deserialize;
use snafu::{Snafu, ensure};
use std::collections::BTreeMap;

/// What is done to log lines. Everything is off by default.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BodyOptions {
    /// The app whose lines are left out, and counted as excluded. Default: none.
    pub exclude_app: Option<String>,
    /// Whether colours, and other escape sequences for terminals, are taken out of the message. Default: false.
    pub strip_ansi: bool,
    /// Whether lines of one instance that belong together, such as stack traces, become one event. Default: false.
    pub multiline: MultilineConfig,
    /// What is lifted out of the message into the event. Default: `off`.
    pub log_parse: LogParse,
    /// Whether the level that a line names becomes `log.level`, if that is missing or Fly's default, `info`. Default:
    /// false.
    pub detect_level: bool,
    /// What is replaced by a marker in the message and in what was lifted out of it: `email`, `ip`, `ipv4`, `ipv6`,
    /// `uuid`, `credit_card`, `us_social_security_number`, `jwt`, `bearer`, or a `/regular expression/`. Default:
    /// nothing.
    pub redact: Vec<Redaction>,
    /// Fields that every event gets, by name. Default: none.
    pub enrich: BTreeMap<String, String>,
}

/// The options cannot work.
#[derive(Debug, Snafu)]
#[non_exhaustive]
pub enum BodyError {
    /// A constant field would take the place of what the event says of itself.
    #[snafu(display("enrich.{name}: `{name}` is the event's own; choose another name"))]
    ReservedField {
        /// The field.
        name: String,
    },
    /// A constant field has no name.
    #[snafu(display("enrich: a field without a name; expected one such as `env`"))]
    NamelessField,
    /// No app.
    #[snafu(display("exclude_app: empty; expected the name of an app"))]
    EmptyApp,
}

impl BodyOptions {
    /// The steps at work; none if everything is off.
    ///
    /// # Errors
    /// If the options cannot work.
    pub fn build(&self) -> Result<Option<Bodies>, BodyError> {
        ensure!(self.exclude_app.as_deref() != Some(""), EmptyAppSnafu);
        for name in self.enrich.keys() {
            ensure!(!name.is_empty(), NamelessFieldSnafu);
            ensure!(!is_own_field(name), ReservedFieldSnafu { name });
        }
        let is_on =
            self.exclude_app.is_some() || self.strip_ansi || self.multiline.enabled || self.changes_fields();
        Ok(is_on.then(|| Bodies::new(self.clone())))
    }

    /// Whether a step behind the joiner is on.
    pub(crate) fn changes_fields(&self) -> bool {
        self.log_parse != LogParse::Off
            || self.detect_level
            || !self.redact.is_empty()
            || !self.enrich.is_empty()
    }
}

/// Whether a constant must not take this field's place.
pub(crate) fn is_own_field(name: &str) -> bool {
    name == "message" || RESERVED.contains(&name)
}
