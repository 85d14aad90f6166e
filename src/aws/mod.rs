//! AWS: who we are there, where its services are, and the signature under a request (SigV4), which
//! other services of its protocols want as well.
//!
//! - this file: regions and endpoints
//! - `auth`: [`AwsAuth`], the `auth` table
//! - `credentials`: where keys come from; `no_credentials`: a build without the feature `aws`
//! - `profile`: the files of AWS's command line tool
//! - `context`: what the signing library asks of its surroundings
//! - `signer`: [`AwsSigner`]
//! - `answer`: [`AwsError`], what an error of AWS's says

mod answer;
mod auth;
#[cfg(feature = "aws")]
mod context;
#[cfg(feature = "aws")]
mod credentials;
#[cfg(not(feature = "aws"))]
#[path = "no_credentials.rs"]
mod credentials;
mod profile;
#[cfg(feature = "aws")]
mod signer;

pub use answer::AwsError;
pub use auth::{AwsAuth, Imds};
#[cfg(not(feature = "aws"))]
pub use credentials::AwsSigner;
#[cfg(feature = "aws")]
pub use signer::AwsSigner;

use crate::config::Result;
use crate::env::Env;
use crate::sinks::http_sink::check_endpoint;
use url::Url;

/// The region of a service: the option, else `AWS_REGION`, `AWS_DEFAULT_REGION`, or what the profile says.
/// (AWS's own libraries go on to ask the instance's metadata service. Nothing here waits for the network at
/// the start, so this does not.)
///
/// # Errors
/// If there is none, it is none, or a file of profiles cannot be read.
pub fn region(option: Option<&str>, auth: &AwsAuth, env: &Env) -> Result<String> {
    let mut region = option.map(str::to_owned);
    for variable in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        if region.is_none() {
            region = env.get(variable)?;
        }
    }
    if region.is_none() {
        region = profile::load(auth, env)?.get("region").map(str::to_owned);
    }
    let Some(region) = region else {
        return Err("region: missing; set it, or AWS_REGION, to one such as us-east-1".into());
    };
    let is_name = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    match !region.is_empty() && is_name(&region) {
        true => Ok(region),
        false => Err(format!("region: `{region}` is none; expected one such as us-east-1").into()),
    }
}

/// The address of a service: the option, else the first of these variables, else `AWS_ENDPOINT_URL`, which
/// is for all services; else AWS's own in the region. `service` is the first part of its name.
///
/// # Errors
/// If it is not a URL, or AWS has no such region.
pub fn endpoint(
    option: Option<&str>,
    variables: &[&str],
    service: &str,
    region: &str,
    env: &Env,
) -> Result<Endpoint> {
    if let Some(url) = option {
        return Endpoint::parse("endpoint", url);
    }
    if let Some(endpoint) = Endpoint::from_env(variables, env)? {
        return Ok(endpoint);
    }
    if region == "auto" {
        return Err(
            "region: `auto` goes with an endpoint; set that, or a region of AWS's such as us-east-1".into()
        );
    }
    // Source: AWS's list of partitions.
    let domain = match region.split('-').next().unwrap_or_default() {
        "cn" => "amazonaws.com.cn",
        "eusc" => "amazonaws.eu",
        "us" if region.starts_with("us-isob-") => "sc2s.sgov.gov",
        "us" if region.starts_with("us-isof-") => "csp.hci.ic.gov",
        "us" if region.starts_with("us-iso-") => "c2s.ic.gov",
        "eu" if region.starts_with("eu-isoe-") => "cloud.adc-e.uk",
        _ => "amazonaws.com",
    };
    Endpoint::parse("region", &format!("https://{service}.{region}.{domain}"))
}

/// Where a service is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// An endpoint from the option of this name.
    ///
    /// # Errors
    /// If it is not a URL of HTTP, or has a user, a password or a query in it.
    pub fn parse(option: &str, url: &str) -> Result<Endpoint> {
        check_endpoint(option, url)?;
        let parsed = Url::parse(url).map_err(|error| format!("{option}: not a URL: {error}"))?;
        if parsed.query().is_some() || parsed.fragment().is_some() {
            return Err(format!("{option}: it has a `?` or `#`; expected a URL that ends before it").into());
        }
        Ok(Endpoint(parsed))
    }

    fn from_env(variables: &[&str], env: &Env) -> Result<Option<Endpoint>> {
        for name in variables.iter().chain(&["AWS_ENDPOINT_URL"]) {
            if let Some(url) = env.get(name)? {
                return Endpoint::parse(name, &url).map(Some);
            }
        }
        Ok(None)
    }

    /// Its host, without a port, in small letters.
    pub fn host(&self) -> &str {
        self.0.host_str().unwrap_or_default()
    }

    /// Whether it is reached through TLS.
    pub fn is_https(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The same endpoint with a name in front of its host; `None` if the host is an address, which has no
    /// names below it.
    pub fn below(&self, name: &str) -> Option<Endpoint> {
        let mut url = self.0.clone();
        url.domain()?;
        url.set_host(Some(&format!("{name}.{}", self.host()))).ok()?;
        Some(Endpoint(url))
    }

    /// The URI of a path, which begins with `/` and is percent-encoded.
    pub fn uri(&self, path: &str) -> String {
        format!("{}{path}", self.0.as_str().trim_end_matches('/'))
    }
}
