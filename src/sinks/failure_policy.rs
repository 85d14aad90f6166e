//! [`FailurePolicy`]: the user's word on what becomes of a batch that is answered with this or that status.

use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;

/// The `failure_policy` table of a sink.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(try_from = "BTreeMap<String, FailureAction>")]
#[schemars(
    with = "BTreeMap<String, FailureAction>",
    extend("propertyNames" = {"pattern": "^(?!413$)([345]xx|[345][0-9][0-9])$"})
)]
pub struct FailurePolicy {
    statuses: BTreeMap<u16, FailureAction>,
    /// By the hundreds.
    classes: BTreeMap<u16, FailureAction>,
}

/// What becomes of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailureAction {
    /// It is sent again after a pause, until `request.retry_attempts` or `request.give_up_after_secs` is used up.
    Retry,
    /// The destination refuses us, and a person has to mend that: an alarm, and the batch is held for
    /// `request.hold_secs`.
    Hold,
    /// It is refused at once, and becomes a dead letter if there are any.
    Reject,
}

impl FailurePolicy {
    /// What the user says of this status; a status itself comes before its class.
    pub fn action(&self, status: u16) -> Option<FailureAction> {
        self.statuses.get(&status).or_else(|| self.classes.get(&(status / 100))).copied()
    }
}

impl TryFrom<BTreeMap<String, FailureAction>> for FailurePolicy {
    type Error = String;

    fn try_from(table: BTreeMap<String, FailureAction>) -> Result<FailurePolicy, String> {
        let mut policy = FailurePolicy::default();
        for (key, action) in table {
            match (key.strip_suffix("xx"), key.parse()) {
                (Some("3" | "4" | "5"), _) => {
                    policy.classes.insert(u16::from(key.as_bytes()[0] - b'0'), action);
                }
                (_, Ok(413)) => {
                    return Err("failure_policy: 413 says that a batch is too large, and it is sent in two; leave it out".into());
                }
                (_, Ok(status @ 300..=599)) => {
                    policy.statuses.insert(status, action);
                }
                _ => {
                    return Err(format!(
                        "failure_policy: `{key}` is no status of a failure; expected one from 300 to 599, such as `404`, or a class: `3xx`, `4xx`, `5xx`"
                    ));
                }
            }
        }
        Ok(policy)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use FailureAction::{Hold, Reject, Retry};

    fn policy(text: &str) -> Result<FailurePolicy, String> {
        toml::from_str(text).map_err(|error: toml::de::Error| error.message().to_owned())
    }

    #[test]
    fn a_status_comes_before_its_class() {
        let policy = policy("404 = 'reject'\n4xx = 'hold'\n503 = 'retry'\n5xx = 'reject'").unwrap();
        for (status, action) in [
            (200, None),
            (302, None),
            (400, Some(Hold)),
            (404, Some(Reject)),
            (499, Some(Hold)),
            (500, Some(Reject)),
            (503, Some(Retry)),
        ] {
            assert_eq!(policy.action(status), action, "{status}");
        }
        assert_eq!(FailurePolicy::default().action(404), None);
    }

    #[test]
    fn mistakes_are_told_with_what_was_expected() {
        for (text, words) in [
            ("404 = 'drop'", "expected one of `retry`, `hold`, `reject`"),
            ("200 = 'retry'", "`200` is no status of a failure; expected one from 300 to 599"),
            ("2xx = 'retry'", "or a class: `3xx`, `4xx`, `5xx`"),
            ("unauthorized = 'hold'", "`unauthorized` is no status"),
            ("4XX = 'hold'", "`4XX` is no status"),
            ("413 = 'hold'", "sent in two"),
        ] {
            let error = policy(text).unwrap_err();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
