//! Calls of the API, and what their answers mean.
//!
//! Source: docs.aws.amazon.com/AmazonCloudWatchLogs/latest/APIReference/CommonErrors.html

use crate::aws::{AwsError, Endpoint};
use crate::config::Result;
use crate::healthcheck::Unhealthy;
use crate::sinks::{HealthcheckRequest, Verdict};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{Request, Response};
use serde::Deserialize;

/// A call, without its arguments, which are a JSON body.
pub(super) fn call(endpoint: &Endpoint, operation: &str) -> http::request::Builder {
    Request::post(endpoint.uri("/"))
        .header(CONTENT_TYPE, "application/x-amz-json-1.1")
        .header("x-amz-target", format!("Logs_20140328.{operation}"))
}

/// What an error means for the batch. Most have the status 400, so that their names say more.
pub(super) fn judge(response: &Response<Bytes>) -> Verdict {
    let error = AwsError::of(response);
    match error.code.as_str() {
        "InternalFailure"
        | "OperationAbortedException"
        | "RequestExpired"
        | "RequestTimeout"
        | "RequestTimeTooSkewed"
        | "ServiceUnavailableException"
        | "Throttling"
        | "ThrottlingException" => Verdict::Retry { after: None },
        "AccessDenied"
        | "AccessDeniedException"
        | "ExpiredToken"
        | "ExpiredTokenException"
        | "IncompleteSignature"
        | "IncompleteSignatureException"
        | "InvalidClientTokenId"
        | "InvalidSignatureException"
        | "MissingAuthenticationToken"
        | "MissingAuthenticationTokenException"
        | "NotAuthorized"
        | "OptInRequired"
        | "SignatureDoesNotMatch"
        | "UnrecognizedClientException" => Verdict::Unauthorized,
        code => match Verdict::of_status(response) {
            Verdict::Rejected { .. } if !code.is_empty() => Verdict::Rejected { reason: error.to_string() },
            verdict => verdict,
        },
    }
}

/// What the answer to a call means that makes something. If it is refused, as for a key or a limit of the
/// account, a person can mend that, and the events are good.
pub(super) fn judge_made(response: &Response<Bytes>) -> Verdict {
    if response.status().is_success() || AwsError::of(response).code == "ResourceAlreadyExistsException" {
        return Verdict::Delivered;
    }
    match judge(response) {
        Verdict::Rejected { .. } => Verdict::Unauthorized,
        verdict => verdict,
    }
}

/// The events that were not taken, in the order of the request.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Rejected {
    too_old_log_event_end_index: usize,
    expired_log_event_end_index: usize,
    too_new_log_event_start_index: Option<usize>,
}

impl Rejected {
    /// Those that the answer names, if there are any.
    pub(super) fn of(response: &Response<Bytes>) -> Option<Rejected> {
        #[derive(Deserialize)]
        struct Answer {
            #[serde(rename = "rejectedLogEventsInfo")]
            rejected: Option<Rejected>,
        }
        serde_json::from_slice::<Answer>(response.body()).ok()?.rejected
    }

    /// Why the event at this position was not taken.
    pub(super) fn reason(self, position: usize) -> Option<&'static str> {
        if position < self.too_old_log_event_end_index {
            Some("CloudWatch does not take events that are older than 14 days")
        } else if position < self.expired_log_event_end_index {
            Some("CloudWatch does not take events that are older than what the group keeps (its retention)")
        } else if self.too_new_log_event_start_index.is_some_and(|start| position >= start) {
            Some("CloudWatch does not take events of more than two hours ahead")
        } else {
            None
        }
    }
}

/// Asks whether we are known, and for a group, if one has to be there. Vector takes the first group whose
/// name begins so.
pub(super) fn healthcheck(endpoint: &Endpoint, group: Option<String>) -> Result<HealthcheckRequest> {
    let arguments = match &group {
        Some(group) => serde_json::json!({"logGroupNamePrefix": group}),
        None => serde_json::json!({"limit": 1}),
    };
    let request = call(endpoint, "DescribeLogGroups").body(arguments.to_string().into())?;
    Ok(HealthcheckRequest::new(request, move |response| {
        if !response.status().is_success() {
            return Err(match judge(response) {
                Verdict::Unauthorized => Unhealthy::Unauthorized { reason: describe(response) },
                _ => Unhealthy::Down { reason: describe(response) },
            });
        }
        match &group {
            Some(group) if !has_group(response, group) => Err(Unhealthy::NotFound {
                reason: format!("there is no log group `{group}`, and create_missing_group is false"),
            }),
            _ => Ok(()),
        }
    }))
}

fn describe(response: &Response<Bytes>) -> String {
    let error = AwsError::of(response);
    match error.code.is_empty() {
        true => crate::sinks::describe(response),
        false => error.to_string(),
    }
}

/// The groups are sorted by name, so that the one whose name is the prefix itself is among the first.
fn has_group(response: &Response<Bytes>, name: &str) -> bool {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Answer {
        log_groups: Vec<Group>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Group {
        log_group_name: String,
    }
    let answer = serde_json::from_slice::<Answer>(response.body());
    answer.is_ok_and(|answer| answer.log_groups.iter().any(|group| group.log_group_name == name))
}
