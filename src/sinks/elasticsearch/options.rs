//! The tables and words of the options.

use crate::aws::AwsAuth;
use crate::secret::SensitiveString;
use crate::sinks::Auth;
use crate::template::Template;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// As other sinks' authentication, but that the options of `aws` stand beside the strategy.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(try_from = "toml::Table")]
#[schemars(with = "EsAuthTable")]
pub(super) struct EsAuth(pub(super) Auth);

/// What `auth` is in a configuration.
#[derive(JsonSchema)]
#[serde(tag = "strategy", rename_all = "snake_case", deny_unknown_fields)]
#[expect(dead_code, reason = "it is only the schema")]
pub(super) enum EsAuthTable {
    /// A user and a password.
    Basic {
        /// The user.
        user: SensitiveString,
        /// The password.
        password: SensitiveString,
    },
    /// A token, as `Authorization: Bearer`.
    Bearer {
        /// The token.
        token: SensitiveString,
    },
    /// Any other `Authorization`.
    Custom {
        /// The whole value of the header.
        value: SensitiveString,
    },
    /// AWS's signature.
    Aws(Box<AwsAuth>),
}

impl TryFrom<toml::Table> for EsAuth {
    type Error = toml::de::Error;

    fn try_from(mut table: toml::Table) -> Result<EsAuth, toml::de::Error> {
        if table.get("strategy").and_then(toml::Value::as_str) != Some("aws") {
            return table.try_into().map(EsAuth);
        }
        table.remove("strategy");
        // The service is worked out when all options are known.
        Ok(EsAuth(Auth::Aws { auth: Box::new(table.try_into()?), service: String::new(), region: None }))
    }
}

#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AwsOptions {
    /// The region. Default: as AWS's tools find it.
    pub(super) region: Option<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OpenSearchService {
    #[default]
    Managed,
    Serverless,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::config::schema::old_words(&["normal"]))]
pub(super) enum Mode {
    #[default]
    #[serde(alias = "normal")]
    Bulk,
    DataStream,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ApiVersion {
    #[default]
    Auto,
    V6,
    V7,
    V8,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct BulkOptions {
    /// `index`, `create` or `update`; a template. Default: `index`.
    pub(super) action: Template,
    /// The index; a template. Default: `vector-%Y.%m.%d`, by the event's own time.
    pub(super) index: Option<Template>,
    /// The index for an event that lacks a field of the template.
    pub(super) template_fallback_index: Option<String>,
    /// The document's version; a template.
    pub(super) version: Option<Template>,
    /// How the version counts. Default: `internal`.
    pub(super) version_type: VersionType,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(transform = crate::config::schema::old_words(&["external_gt"]))]
pub(super) enum VersionType {
    #[default]
    Internal,
    #[serde(alias = "external_gt")]
    External,
    ExternalGte,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct DataStreamOptions {
    /// The first part of its name; a template. Default: `logs`.
    pub(super) r#type: Template,
    /// The second part; a template. Default: `generic`.
    pub(super) dataset: Template,
    /// The last part; a template. Default: `default`.
    pub(super) namespace: Template,
    /// Whether the event's own `data_stream` decides. Default: true.
    pub(super) auto_routing: bool,
    /// Whether the event gets a `data_stream` that says where it went. Default: true.
    pub(super) sync_fields: bool,
}

/// A string or several.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "expected a string or an array of strings")]
pub(super) enum Strings {
    /// One.
    One(String),
    Many(Vec<String>),
}

impl Default for BulkOptions {
    fn default() -> BulkOptions {
        BulkOptions {
            action: Template::literal("index"),
            index: None,
            template_fallback_index: None,
            version: None,
            version_type: VersionType::default(),
        }
    }
}

impl Default for DataStreamOptions {
    fn default() -> DataStreamOptions {
        DataStreamOptions {
            r#type: Template::literal("logs"),
            dataset: Template::literal("generic"),
            namespace: Template::literal("default"),
            auto_routing: true,
            sync_fields: true,
        }
    }
}

pub(super) fn default_doc_type() -> String {
    "_doc".to_owned()
}

impl Strings {
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        let all = match self {
            Strings::One(text) => std::slice::from_ref(text),
            Strings::Many(texts) => texts.as_slice(),
        };
        all.iter().map(String::as_str)
    }
}
