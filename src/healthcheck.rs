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
#[non_exhaustive]
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
    pub fn advice(&self) -> &'static str {
        match self {
            Unhealthy::Unauthorized { reason } => {
                advice_for(reason, &SIGNS_OF_REFUSAL).unwrap_or(CHECK_THE_KEY)
            }
            Unhealthy::NotFound { .. } => {
                "check the address, and the name of the dataset, index, bucket or stream"
            }
            Unhealthy::Unusable { advice, .. } => advice,
            Unhealthy::Down { reason } => advice_for_trouble(reason).unwrap_or(CHECK_THE_ADDRESS),
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

/// What to do where our credentials are not accepted.
pub(crate) const CHECK_THE_KEY: &str = "check the key, token or password, and what it may do";

/// What to do where nothing more is known.
pub(crate) const CHECK_THE_ADDRESS: &str =
    "check the address and the network; if both are right, wait: it is tried again";

/// Before the place to which there is no connection. A colon and a space end that, and what follows is the cause.
pub(crate) const CANNOT_CONNECT_TO: &str = "cannot connect to ";

/// What a reason has in it, in small letters, and what then is to be done; the first that fits.
type Signs<const N: usize> = [(&'static [&'static str], &'static str); N];

const SIGNS_OF_REFUSAL: Signs<2> = [
    (
        &["authorization violation", "authentication"],
        "NATS does not let us in: check the user and password, token, nkey or credentials (on Fly.io ORG and ACCESS_TOKEN)",
    ),
    (&["permissions violation"], "NATS lets us in, but not do this: allow the user these subjects"),
];

const SIGNS_OF_TROUBLE: Signs<10> = [
    (
        &[
            "the name is not found",
            "the name cannot be looked up",
            "failed to lookup address",
            "has no address",
            "name or service not known",
        ],
        "the name has no address: check how it is spelt, and the DNS of this machine",
    ),
    (
        &["is of an unknown authority", "unknownissuer", "unknown issuer", "self-signed", "unknown ca"],
        "its certificate is of an authority that is not known here: give that as tls.ca_file (NATS_CA for NATS)",
    ),
    (
        &["is for another name", "notvalidforname", "not valid for name"],
        "its certificate is for another name: use the name that stands in it",
    ),
    (
        &["certificate expired", "expired", "is not valid yet"],
        "its certificate is out of date, or the clock of this machine is wrong",
    ),
    (
        &["does not speak tls", "corrupt message", "invalidcontenttype", "wrong version"],
        "it does not speak TLS at this port: check the port, or use an address without TLS (http://, nats://)",
    ),
    (
        &["certificate", "tls", "handshake"],
        "TLS fails: check tls.ca_file, tls.crt_file and tls.key_file, and whether this port speaks TLS",
    ),
    (&["connection refused"], "nothing listens there: check the host and the port, and whether it runs"),
    (
        &["no answer within", "timed out", "unreachable", "no route"],
        "nothing answers: check the address, and whether a firewall or a private network is in between",
    ),
    (
        &["closed the connection", "connection reset", "invalid http", "cannot be read", "invalid message"],
        "something else than expected answers there: check the port, and whether it needs TLS",
    ),
    (
        &["answers 429", "answers 5", "status 429", "status 5"],
        "the destination has a problem of its own, or too many requests: wait, it is tried again; look at its status page",
    ),
];

/// What to do about a destination that does not answer, for these reasons.
pub(crate) fn advice_for_trouble(reason: &str) -> Option<&'static str> {
    advice_for(reason, &SIGNS_OF_TROUBLE)
}

fn advice_for<const N: usize>(reason: &str, signs: &Signs<N>) -> Option<&'static str> {
    let reason = without_place(reason).to_lowercase();
    signs.iter().find(|(words, _)| words.iter().any(|word| reason.contains(word))).map(|(_, advice)| *advice)
}

/// The reason without the place to which there is no connection: in its name any word may stand. See
/// [`HttpError::Connect`](crate::http::HttpError::Connect).
fn without_place(reason: &str) -> String {
    let parts = reason.split_once(CANNOT_CONNECT_TO);
    let parts = parts.and_then(|(before, place)| Some((before, place.split_once(": ")?.1)));
    parts.map_or_else(|| reason.to_owned(), |(before, cause)| format!("{before}{cause}"))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::HttpError;

    #[test]
    fn the_name_of_the_place_gives_no_advice() {
        for place in [
            "tls.example:443",
            "expired.certificate.example:80 (through proxy.http, unless no_proxy names it)",
        ] {
            let connect =
                |reason: &str| HttpError::Connect { place: place.to_owned(), reason: reason.to_owned() };
            for (reason, words) in [
                ("connection refused", "nothing listens there"),
                ("timed out", "firewall"),
                ("its certificate has expired: it was valid until 2001-01-01", "out of date"),
                ("its certificate is for another name: for a, not for b", "another name"),
                ("whatever", "check the address and the network"),
            ] {
                let error = connect(reason).to_string();
                for reason in [format!("cannot sign the request: {error}"), error] {
                    let down = Unhealthy::Down { reason };
                    assert!(down.advice().contains(words), "{down}: {}", down.advice());
                }
            }
        }
    }

    #[test]
    fn each_kind_of_failure_has_its_own_advice() {
        let down = |reason: &str| Unhealthy::Down { reason: reason.to_owned() };
        let refused = |reason: &str| Unhealthy::Unauthorized { reason: reason.to_owned() };
        for (unhealthy, words) in [
            (down("cannot connect to x:443: the name is not found"), "the name has no address"),
            (down("cannot connect to NATS: the name x has no address"), "the name has no address"),
            (down("invalid peer certificate: UnknownIssuer"), "tls.ca_file (NATS_CA"),
            (down("its certificate is not trusted: it is of an unknown authority"), "tls.ca_file (NATS_CA"),
            (down("its certificate is for another name: for a, not for b"), "another name"),
            (down("its certificate has expired: it was valid until 2001-01-01"), "out of date"),
            (down("cannot connect to x:1: it does not speak TLS"), "does not speak TLS at this port"),
            (down("cannot connect to x:1: timed out"), "firewall"),
            (down("invalid peer certificate: NotValidForName"), "another name"),
            (down("invalid peer certificate: Expired"), "out of date"),
            (down("received corrupt message of type InvalidContentType"), "does not speak TLS"),
            (down("a TLS handshake failed"), "TLS fails"),
            (down("cannot connect to x:1: connection refused"), "nothing listens there"),
            (down("no answer within 10 s"), "firewall"),
            (down("the server has closed the connection"), "something else than expected"),
            (down("the destination answers 503 Service Unavailable"), "a problem of its own"),
            (down("the destination answers 502: cannot connect to tls: no"), "a problem of its own"),
            (down("whatever"), "check the address and the network"),
            (refused("NATS: 'Authorization Violation'"), "ORG and ACCESS_TOKEN"),
            (refused("Permissions Violation for Subscription"), "allow the user these subjects"),
            (refused("401 Unauthorized"), "check the key"),
            (Unhealthy::NotFound { reason: "404".to_owned() }, "name of the dataset"),
        ] {
            assert!(unhealthy.advice().contains(words), "{unhealthy}: {}", unhealthy.advice());
        }
    }
}
