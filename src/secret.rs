//! [`SensitiveString`]: a secret from its parsing to the wire.

use http::HeaderValue;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use snafu::{ResultExt, Snafu};
use std::borrow::Cow;
use std::fmt;
use zeroize::Zeroizing;

/// Text that must not be seen: `Debug` prints a placeholder, there is no `Display` and no
/// `Serialize`, and its memory is overwritten when it is dropped.
///
/// ```
/// use log_shipper::secret::SensitiveString;
///
/// let token = SensitiveString::from("s3cr3t");
/// assert!(!format!("{token:?}").contains("s3cr3t"));
/// let header = token.to_header("Bearer ").unwrap();
/// assert!(header.is_sensitive());
/// assert_eq!(header, "Bearer s3cr3t");
/// ```
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SensitiveString(Zeroizing<String>);

/// A secret cannot stand in an HTTP header.
#[derive(Debug, Snafu)]
#[snafu(display(
    "the secret has a character that no HTTP header can carry, such as a line break; check how it was set"
))]
pub struct HeaderError {
    source: http::header::InvalidHeaderValue,
}

impl SensitiveString {
    /// The secret itself: to be written to the wire, or compared.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// `prefix` and the secret as a header value that HTTP libraries do not log.
    ///
    /// # Errors
    /// If the secret has a character that no header can carry.
    pub fn to_header(&self, prefix: &str) -> Result<HeaderValue, HeaderError> {
        let text = Zeroizing::new(format!("{prefix}{}", self.expose()));
        let mut value = HeaderValue::from_str(&text).context(HeaderSnafu)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

impl From<String> for SensitiveString {
    fn from(text: String) -> SensitiveString {
        SensitiveString(Zeroizing::new(text))
    }
}

impl From<&str> for SensitiveString {
    fn from(text: &str) -> SensitiveString {
        SensitiveString::from(text.to_owned())
    }
}

impl<'de> Deserialize<'de> for SensitiveString {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SensitiveString, D::Error> {
        String::deserialize(deserializer).map(SensitiveString::from)
    }
}

impl JsonSchema for SensitiveString {
    fn schema_name() -> Cow<'static, str> {
        "SensitiveString".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({"type": "string", "format": "password", "writeOnly": true})
    }

    fn inline_schema() -> bool {
        true
    }
}

impl fmt::Debug for SensitiveString {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("\"**REDACTED**\"")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hides_itself() {
        let secret = SensitiveString::from("hunter2");
        assert_eq!(format!("{secret:?}"), "\"**REDACTED**\"");
        let header = secret.to_header("Bearer ").unwrap();
        assert_eq!(header.as_bytes(), b"Bearer hunter2");
        assert!(!format!("{header:?}").contains("hunter2"));
        let error = SensitiveString::from("hun\nter2").to_header("").unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hun"));
    }
}
