//! [`Healthcheck`]: one look at a destination before, or beside, the first events.

use futures::future::BoxFuture;
use snafu::Snafu;
use std::fmt;
use std::time::{Duration, Instant};

/// One look at a destination: does it answer, does it know us? Asks nothing before it is run.
pub struct Healthcheck {
    endpoint: String,
    is_only_asked_for: bool,
    check: BoxFuture<'static, Result<(), Unhealthy>>,
}

/// Why a destination is not well: what a person has to do differs.
#[derive(Clone, Debug, PartialEq, Eq, Snafu)]
pub enum Unhealthy {
    /// It answers, but does not accept our credentials.
    #[snafu(display("the destination does not accept our credentials: {reason}"))]
    Unauthorized {
        /// What it says.
        reason: String,
    },
    /// It answers, but what we send to is not there: a wrong path, dataset, bucket.
    #[snafu(display("what we send to is not there: {reason}"))]
    NotFound {
        /// What it says.
        reason: String,
    },
    /// It answers, but cannot be used as it is: somebody has to change it, or the configuration.
    #[snafu(display("{reason}"))]
    Unusable {
        /// What it is, and what is expected.
        reason: String,
        /// What a person can do about it.
        advice: &'static str,
    },
    /// It does not answer, or is not well itself.
    #[snafu(display("{reason}"))]
    Down {
        /// What we found.
        reason: String,
    },
}

impl Unhealthy {
    /// The result in two words at most, for a table.
    pub const fn summary(&self) -> &'static str {
        match self {
            Unhealthy::Unauthorized { .. } => "bad key",
            Unhealthy::NotFound { .. } => "not found",
            Unhealthy::Unusable { .. } => "unusable",
            Unhealthy::Down { .. } => "down",
        }
    }

    /// What a person can do about it.
    pub const fn advice(&self) -> &'static str {
        match self {
            Unhealthy::Unauthorized { .. } => "check the key, token or password, and what it may do",
            Unhealthy::NotFound { .. } => {
                "check the address, and the name of the dataset, index, bucket or stream"
            }
            Unhealthy::Unusable { advice, .. } => advice,
            Unhealthy::Down { .. } => {
                "check the address and the network; if both are right, wait: it is tried again"
            }
        }
    }

    /// The same with its text changed, as to take a secret out.
    #[must_use]
    pub fn map(self, change: impl FnOnce(String) -> String) -> Unhealthy {
        match self {
            Unhealthy::Unauthorized { reason } => Unhealthy::Unauthorized { reason: change(reason) },
            Unhealthy::NotFound { reason } => Unhealthy::NotFound { reason: change(reason) },
            Unhealthy::Unusable { reason, advice } => Unhealthy::Unusable { reason: change(reason), advice },
            Unhealthy::Down { reason } => Unhealthy::Down { reason: change(reason) },
        }
    }
}

impl Healthcheck {
    /// A look at this endpoint, which is shown and must hold no secret.
    pub fn new(
        endpoint: impl Into<String>,
        check: impl Future<Output = Result<(), Unhealthy>> + Send + 'static,
    ) -> Healthcheck {
        Healthcheck { endpoint: endpoint.into(), is_only_asked_for: false, check: Box::pin(check) }
    }

    /// The same, but not at every start: for a look that the destination may take for a request like others.
    #[must_use]
    pub fn only_if_asked_for(self) -> Healthcheck {
        Healthcheck { is_only_asked_for: true, ..self }
    }

    /// Whether it is done at a start.
    pub fn is_for_start(&self) -> bool {
        !self.is_only_asked_for
    }

    /// Where it looks.
    pub fn endpoint(&self) -> &str {
        &self.endpoint
    }

    /// Looks; how long it took stands beside the result.
    pub async fn run(self, timeout: Duration) -> (Result<(), Unhealthy>, Duration) {
        let start = Instant::now();
        let late = Unhealthy::Down { reason: format!("no answer within {} s", timeout.as_secs_f64()) };
        let result = tokio::time::timeout(timeout, self.check).await.unwrap_or(Err(late));
        (result, start.elapsed())
    }
}

impl fmt::Debug for Healthcheck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Healthcheck({})", self.endpoint)
    }
}
