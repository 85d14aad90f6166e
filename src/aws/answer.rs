//! [`AwsError`]: the error in an answer, in XML or in JSON.

use crate::sinks::shorten;
use bytes::Bytes;
use http::Response;
use serde::Deserialize;
use std::fmt;

/// What AWS says of a request that it refuses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct AwsError {
    /// The error's name, such as `NoSuchBucket` or `ThrottlingException`; empty if the answer has none.
    pub code: String,
    /// Its words for people.
    pub message: String,
}

#[derive(Deserialize)]
struct JsonError {
    #[serde(rename = "__type")]
    kind: String,
    #[serde(default, alias = "Message")]
    message: String,
}

impl AwsError {
    /// The error in this answer. Services that speak XML have it in `Code` and `Message`, those that
    /// speak JSON in `__type` (with a namespace before a `#`) and `message`.
    pub fn of(response: &Response<Bytes>) -> AwsError {
        let text = String::from_utf8_lossy(response.body());
        if let Ok(error) = serde_json::from_str::<JsonError>(&text) {
            let code = error.kind.rsplit('#').next().unwrap_or_default();
            return AwsError { code: shorten(code), message: shorten(&error.message) };
        }
        let element = |name: &str| {
            let (_, rest) = text.split_once(&format!("<{name}>"))?;
            rest.split_once(&format!("</{name}>")).map(|(inner, _)| shorten(inner))
        };
        AwsError {
            code: element("Code").unwrap_or_default(),
            message: element("Message").unwrap_or_default(),
        }
    }
}

impl fmt::Display for AwsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.code, self.message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_both_forms() {
        for (body, code, message) in [
            (
                "<?xml version=\"1.0\"?><Error><Code>SlowDown</Code><Message>Please reduce\nyour rate</Message></Error>",
                "SlowDown",
                "Please reduce your rate",
            ),
            (
                r#"{"__type":"ThrottlingException","message":"Rate exceeded"}"#,
                "ThrottlingException",
                "Rate exceeded",
            ),
            (r#"{"__type":"com.amazon#AccessDenied","Message":"no"}"#, "AccessDenied", "no"),
            (r#"{"__type":"X"}"#, "X", ""),
            ("<html>Bad Gateway</html>", "", ""),
            ("", "", ""),
        ] {
            let error = AwsError::of(&Response::new(Bytes::copy_from_slice(body.as_bytes())));
            assert_eq!((error.code.as_str(), error.message.as_str()), (code, message), "{body}");
        }
    }
}
