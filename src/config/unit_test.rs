//! `[[tests]]`: what a configuration's author expects of its transforms, as in Vector. `log-shipper test` runs
//! them.

use crate::transforms::AnyCondition;
use serde::Deserialize;
use toml::{Table, Value};

/// One test of transforms.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct UnitTest {
    /// What it is called.
    pub name: String,
    /// An event that is put in; the same as one of `inputs`.
    pub input: Option<TestInput>,
    /// The events that are put in, in this order.
    #[serde(default)]
    pub inputs: Vec<TestInput>,
    /// What is expected to come out.
    #[serde(default)]
    pub outputs: Vec<TestOutput>,
    /// Outputs of transforms that nothing may come out of.
    #[serde(default)]
    pub no_outputs_from: Vec<String>,
}

/// An event that is put into a transform.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestInput {
    /// The id of the transform.
    pub insert_at: String,
    /// What makes the event. Default: `raw`.
    #[serde(default, rename = "type")]
    pub kind: InputKind,
    /// For `raw`: its message.
    pub value: Option<String>,
    /// For `vrl`: a program whose event it is.
    pub source: Option<String>,
    /// For `log`: its fields, by their paths.
    #[schemars(with = "Option<std::collections::BTreeMap<String, serde_json::Value>>")]
    pub log_fields: Option<Table>,
}

/// What makes an event for a test.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[non_exhaustive]
pub enum InputKind {
    /// A message, and the time.
    #[default]
    Raw,
    /// A program of VRL.
    Vrl,
    /// Fields.
    Log,
}

/// What is expected to come out of transforms.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TestOutput {
    /// The output of a transform, or several whose events are taken together: `id`, or `id.name` for a named one.
    pub extract_from: OneOrMany,
    /// What must hold, each for one of the events that come out of them. Without any: that one comes.
    #[serde(default)]
    pub conditions: Vec<AnyCondition>,
}

/// A word, or a list of words.
#[derive(Clone, Debug, Deserialize, schemars::JsonSchema)]
#[serde(untagged, expecting = "expected a name or a list of names")]
pub enum OneOrMany {
    /// A word.
    One(String),
    /// A list.
    Many(Vec<String>),
}

impl OneOrMany {
    /// As a list.
    pub fn as_slice(&self) -> &[String] {
        match self {
            OneOrMany::One(name) => std::slice::from_ref(name),
            OneOrMany::Many(names) => names,
        }
    }
}

impl UnitTest {
    /// All events that are put in.
    pub fn all_inputs(&self) -> impl Iterator<Item = &TestInput> {
        self.input.iter().chain(&self.inputs)
    }
}

impl TestInput {
    /// The fields of a `log` input, as dotted paths and values.
    pub fn fields(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.log_fields.iter().flatten()
    }
}
