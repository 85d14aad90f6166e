//! How a sink shows who it is: Vector's `auth` option of HTTP sinks.

use crate::secret::SensitiveString;
use base64::Engine;
use http::HeaderValue;
use serde::Deserialize;
use zeroize::Zeroizing;

/// The `auth` table.
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "strategy", rename_all = "snake_case", deny_unknown_fields)]
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

    /// The value of the `Authorization` header.
    ///
    /// # Errors
    /// If a secret has a character that no header can carry.
    pub fn header(&self) -> Result<HeaderValue, crate::secret::HeaderError> {
        match self {
            Auth::Basic { user, password } => {
                let pair = Zeroizing::new(format!("{}:{}", user.expose(), password.expose()));
                let encoded = base64::engine::general_purpose::STANDARD.encode(pair.as_bytes());
                SensitiveString::from(encoded).to_header("Basic ")
            }
            Auth::Bearer { token } => token.to_header("Bearer "),
            Auth::Custom { value } => value.to_header(""),
        }
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
            assert_eq!(auth.header().unwrap(), expected);
            assert!(!format!("{auth:?}").contains("PASS"));
        }
        let error = toml::from_str::<Auth>("strategy = 'aws'").unwrap_err();
        assert!(error.message().contains("`basic`, `bearer`, `custom`"), "{error}");
    }
}
