//! How an HTTP destination is asked whether it is well and knows us.

use super::client::{SendError, SigningClient};
use super::verdict::{describe, secrets_of};
use crate::healthcheck::{Healthcheck, Unhealthy};
use crate::redact::Redactor;
use crate::secret::SensitiveString;
use bytes::Bytes;
use http::{Request, Response};
use std::fmt::{self, Debug};

type Judge = Box<dyn Fn(&Response<Bytes>) -> Result<(), Unhealthy> + Send + Sync>;

/// A healthcheck's request and the judgement of its answer.
pub struct HealthcheckRequest {
    pub(super) requests: Vec<Request<Bytes>>,
    is_only_asked_for: bool,
    judge: Judge,
}

impl HealthcheckRequest {
    /// What to ask, and whether the answer shows a healthy destination; if not, why.
    pub fn new(
        request: Request<Bytes>,
        judge: impl Fn(&Response<Bytes>) -> Result<(), Unhealthy> + Send + Sync + 'static,
    ) -> HealthcheckRequest {
        HealthcheckRequest { requests: vec![request], is_only_asked_for: false, judge: Box::new(judge) }
    }

    /// See [`Healthcheck::only_if_asked_for`].
    #[must_use]
    pub fn only_if_asked_for(self) -> HealthcheckRequest {
        HealthcheckRequest { is_only_asked_for: true, ..self }
    }

    /// Another one to ask, if those before are not well: of several endpoints, one is enough.
    #[must_use]
    pub fn or(mut self, request: Request<Bytes>) -> HealthcheckRequest {
        self.requests.push(request);
        self
    }
}

impl Debug for HealthcheckRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HealthcheckRequest").field("requests", &self.requests).finish_non_exhaustive()
    }
}

/// Any 2xx is healthy; 401, 403 and 407 are about our credentials, 404 and a redirect about the address.
///
/// # Errors
/// If the answer is no success.
pub fn judge_2xx(response: &Response<Bytes>) -> Result<(), Unhealthy> {
    let reason = describe(response);
    match response.status().as_u16() {
        200..=299 => Ok(()),
        401..=403 | 407 => Err(Unhealthy::Unauthorized { reason }),
        300..=399 | 404 => Err(Unhealthy::NotFound { reason }),
        _ => Err(Unhealthy::Down { reason: format!("the destination answers {reason}") }),
    }
}

/// As [`judge_2xx`], for a request that has nothing in it: a destination that finds fault with that (400) has
/// let our credentials pass.
///
/// # Errors
/// If the answer shows anything else.
pub fn judge_empty(response: &Response<Bytes>) -> Result<(), Unhealthy> {
    if response.status() == 400 { Ok(()) } else { judge_2xx(response) }
}

pub(super) fn healthcheck(
    client: SigningClient,
    check: HealthcheckRequest,
    secrets: Vec<SensitiveString>,
) -> Healthcheck {
    let HealthcheckRequest { requests, is_only_asked_for, judge } = check;
    // Without a user and password, which a URI of the user's may have.
    let host = |request: &Request<Bytes>| {
        let authority = request.uri().authority()?.as_str();
        Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host).to_owned())
    };
    let endpoint = requests.iter().filter_map(host).collect::<Vec<_>>().join(", ");
    let hide = move |reason: String, request: &Request<Bytes>| {
        let own = secrets.iter().map(SensitiveString::expose);
        Redactor::new(secrets_of(request).chain(own)).hide(&reason)
    };
    let check = Healthcheck::new(endpoint, async move {
        let mut result = Ok(());
        for mut request in requests {
            result = match client.send(&mut request).await {
                Ok(response) => {
                    judge(&response).map_err(|unhealthy| unhealthy.map(|reason| hide(reason, &request)))
                }
                Err(error @ SendError::NotText { .. }) => Err(Unhealthy::Down { reason: error.to_string() }),
                Err(SendError::Sign { source }) => {
                    Err(Unhealthy::Unauthorized { reason: source.to_string() })
                }
                Err(SendError::Http { source }) => Err(Unhealthy::Down { reason: source.to_string() }),
            };
            if result.is_ok() {
                break;
            }
        }
        result
    });
    if is_only_asked_for { check.only_if_asked_for() } else { check }
}
