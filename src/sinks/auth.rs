//! How a sink shows who it is: Vector's `auth` option of HTTP sinks.

use super::http_sink::Signer;
use crate::aws::{self, AwsAuth};
use crate::config::{Result, SinkContext};
use crate::http::HttpClient;
use crate::secret::SensitiveString;
use base64::Engine;
use http::Request;
use http::header::AUTHORIZATION;
use schemars::JsonSchema;
use serde::Deserialize;
use std::sync::Arc;
use zeroize::Zeroizing;

/// The `auth` table.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(tag = "strategy", rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Auth {
    /// `Authorization: Basic`, with both in base64.
    Basic {
        /// The user, which may be half of a key.
        user: SensitiveString,
        /// The password.
        password: SensitiveString,
    },
    /// `Authorization: Bearer`.
    Bearer {
        /// The token.
        token: SensitiveString,
    },
    /// Any other `Authorization`.
    Custom {
        /// The whole value of the header.
        value: SensitiveString,
    },
    /// AWS's signature (SigV4), which also others than AWS ask for.
    Aws {
        /// Who we are there.
        #[serde(default)]
        auth: Box<AwsAuth>,
        /// The service, by the name that signatures have for it: `es`, `execute-api`.
        service: String,
        /// The region that is signed for, where a sink has an option of its own for that.
        #[serde(skip)]
        region: Option<String>,
    },
}

impl Auth {
    /// The URL without the user and password that stand in it, and these; `None` if there are none.
    pub(super) fn take_from_url(url: &str) -> Option<(String, Auth)> {
        let start = url.find("://")? + 3;
        let end = url[start..].find(['/', '?', '#']).map_or(url.len(), |at| start + at);
        let at = start + url[start..end].rfind('@')?;
        let (user, password) = url[start..at].split_once(':').unwrap_or((&url[start..at], ""));
        let decode = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let auth = Auth::Basic { user: decode(user).into(), password: decode(password).into() };
        Some((format!("{}{}", &url[..start], &url[at + 1..]), auth))
    }

    /// Whether it can be used: for a sink's `configure`.
    ///
    /// # Errors
    /// If a secret has a character that no header can carry, or AWS's options do not fit together.
    pub fn check(&self) -> Result<()> {
        match self {
            Auth::Aws { auth, .. } => auth.check(),
            _ => self.authorize(Request::builder()).map(drop),
        }
    }

    /// The request with its `Authorization` header; a signature comes later, when there is a body to sign.
    ///
    /// # Errors
    /// If a secret has a character that no header can carry.
    pub fn authorize(&self, builder: http::request::Builder) -> Result<http::request::Builder> {
        let value = match self {
            Auth::Basic { user, password } => {
                let pair = Zeroizing::new(format!("{}:{}", user.expose(), password.expose()));
                let encoded = base64::engine::general_purpose::STANDARD.encode(pair.as_bytes());
                SensitiveString::from(encoded).to_header("Basic ")?
            }
            Auth::Bearer { token } => token.to_header("Bearer ")?,
            Auth::Custom { value } => value.to_header("")?,
            Auth::Aws { .. } => return Ok(builder),
        };
        Ok(builder.header(AUTHORIZATION, value))
    }

    /// The secrets that a header has in another form, and that an answer may repeat as they are.
    pub(super) fn secrets(&self) -> impl Iterator<Item = &SensitiveString> {
        let encoded = match self {
            // A short user is a word that an answer may have for other reasons.
            Auth::Basic { user, password } if user.expose().len() < 12 => vec![password],
            Auth::Basic { user, password } => vec![user, password],
            _ => Vec::new(),
        };
        encoded.into_iter()
    }

    /// What signs requests, if this is AWS's way.
    ///
    /// # Errors
    /// If there is no region, or AWS's options do not fit together.
    pub fn signer(&self, cx: &SinkContext, client: &HttpClient) -> Result<Option<Arc<dyn Signer>>> {
        let Auth::Aws { auth, service, region } = self else { return Ok(None) };
        let region = aws::region(region.as_deref().or(auth.region.as_deref()), auth, &cx.env)?;
        Ok(Some(Arc::new(auth.signer(service, &region, &cx.env, client)?)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn makes_each_header() {
        for (text, expected) in [
            ("strategy = 'basic'\nuser = 'USER'\npassword = 'PASS'", "Basic VVNFUjpQQVNT"),
            ("strategy = 'bearer'\ntoken = 'T \"$'", "Bearer T \"$"),
            ("strategy = 'custom'\nvalue = 'Token x'", "Token x"),
        ] {
            let auth: Auth = toml::from_str(text).unwrap();
            let request = auth.authorize(Request::builder()).unwrap().body(()).unwrap();
            assert_eq!(request.headers()[AUTHORIZATION], expected);
            assert!(!format!("{auth:?}").contains("PASS"));
        }
        let error = toml::from_str::<Auth>("strategy = 'digest'").unwrap_err();
        assert!(error.message().contains("`basic`, `bearer`, `custom`, `aws`"), "{error}");
    }
}
