//! [`AwsAuth`]: Vector's `auth` table of AWS's sinks.

use super::AwsSigner;
use crate::config::{Result, Seconds};
use crate::env::Env;
use crate::http::HttpClient;
use crate::secret::SensitiveString;
use schemars::JsonSchema;
use serde::Deserialize;
use std::time::Duration;

/// Who we are at AWS: keys, a file with keys, or what the environment gives; and a role to take on with
/// them.
///
/// Where no key and no file is named, the places are those of AWS's own libraries, in their order:
/// `AWS_ACCESS_KEY_ID` and `AWS_SECRET_ACCESS_KEY` (with `AWS_SESSION_TOKEN`), the profile in
/// `~/.aws/credentials` and `~/.aws/config`, `AWS_WEB_IDENTITY_TOKEN_FILE` with `AWS_ROLE_ARN`, a
/// container's credentials (`AWS_CONTAINER_CREDENTIALS_*`), the instance's metadata service. The first one
/// that is there counts. Keys without an end are read anew every five minutes, so that changed ones take
/// effect.
#[derive(Clone, Debug, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct AwsAuth {
    /// The key's id.
    pub access_key_id: Option<SensitiveString>,
    /// The key.
    pub secret_access_key: Option<SensitiveString>,
    /// The token that a key for some hours comes with.
    pub session_token: Option<SensitiveString>,
    /// A file of profiles, instead of AWS's own.
    pub credentials_file: Option<String>,
    /// The profile. Default: `AWS_PROFILE`, else `default`.
    pub profile: Option<String>,
    /// The ARN of a role to take on.
    pub assume_role: Option<String>,
    /// The external id that the role asks for.
    pub external_id: Option<String>,
    /// The name of the session with the role. Default: `AWS_ROLE_SESSION_NAME`, else `log-shipper`.
    pub session_name: Option<String>,
    /// The region whose token service (STS) is asked. Default: that of the sink; its address may be
    /// given as `AWS_ENDPOINT_URL_STS`.
    pub region: Option<String>,
    /// How long the search for keys may take, in seconds. Default: 5.
    pub load_timeout_secs: Option<Seconds>,
    /// How the metadata services of the instance or container are asked.
    pub imds: Imds,
}

/// The `auth.imds` table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Imds {
    /// How often it is asked. Default: 4.
    pub max_attempts: u32,
    /// Seconds until there is a connection. Default: 1.
    pub connect_timeout_seconds: Seconds,
    /// Seconds from there to the answer. Default: 1.
    pub read_timeout_seconds: Seconds,
}

impl Default for Imds {
    fn default() -> Imds {
        let second = Seconds(Duration::from_secs(1));
        Imds { max_attempts: 4, connect_timeout_seconds: second, read_timeout_seconds: second }
    }
}

impl AwsAuth {
    /// Whether the options fit together.
    ///
    /// # Errors
    /// If one of them is missing or is in the way of another.
    pub fn check(&self) -> Result<()> {
        let has_keys = self.access_key_id.is_some();
        let is_role = |arn: &str| arn.starts_with("arn:") && arn.contains(":role/");
        let problem = if has_keys != self.secret_access_key.is_some() {
            "auth.access_key_id and auth.secret_access_key go together; set both or none"
        } else if self.session_token.is_some() && !has_keys {
            "auth.session_token: it comes with a key; set auth.access_key_id and auth.secret_access_key as well"
        } else if has_keys && (self.credentials_file.is_some() || self.profile.is_some()) {
            "auth: there is a key, and a file or profile with keys as well; keep one of them"
        } else if self.assume_role.as_deref().is_some_and(|arn| !is_role(arn)) {
            "auth.assume_role: not the ARN of a role; expected one such as arn:aws:iam::123456789012:role/logs"
        } else if self.assume_role.is_none() && self.external_id.is_some() {
            "auth.external_id: there is no role that could ask for it; set auth.assume_role, or leave it out"
        } else if self.imds.max_attempts == 0 {
            "auth.imds.max_attempts: 0 is too little; expected at least 1"
        } else {
            return Ok(());
        };
        Err(problem.into())
    }

    /// What signs requests to a service in a region, by the name that signatures have for it: `s3`, `logs`,
    /// `es`. Nothing is asked or read before the first request.
    ///
    /// # Errors
    /// If the options do not fit together, or the environment cannot be read; or if this is a build without the
    /// feature `aws`.
    pub fn signer(&self, service: &str, region: &str, env: &Env, client: &HttpClient) -> Result<AwsSigner> {
        self.check()?;
        super::credentials::signer(self, service, region, env, client)
    }

    #[cfg(feature = "aws")]
    pub(super) fn load_timeout(&self) -> Duration {
        self.load_timeout_secs.map_or(Duration::from_secs(5), |seconds| seconds.0)
    }
}
