//! What happens to a connection, said to a person, and noted in its component's [`Status`].

use super::connector::Role;
use super::link::LinkError;
use crate::healthcheck::{CHECK_THE_ADDRESS, advice_for_trouble};
use crate::log_limit::LogLimit;
use crate::status::{Doubt, Status};
use std::time::Duration;

/// What happens to a connection, said once, and not more often than every ten seconds.
#[derive(Debug)]
pub(super) struct ConnectionLog {
    role: Role,
    /// The component's id; it has the one or the other.
    source: Option<String>,
    sink: Option<String>,
    refused: LogLimit,
    failed: LogLimit,
    lost: LogLimit,
    status: Status,
}

impl ConnectionLog {
    pub(super) fn new(id: &str, role: Role, status: Status) -> ConnectionLog {
        ConnectionLog {
            role,
            source: (role != Role::Publisher).then(|| id.to_owned()),
            sink: (role == Role::Publisher).then(|| id.to_owned()),
            refused: LogLimit::every_10_s(),
            failed: LogLimit::every_10_s(),
            lost: LogLimit::every_10_s(),
            status,
        }
    }

    pub(super) fn connected(&self) {
        // That of a consumer is ready when that is found, and that of a sink has delivered nothing yet.
        if self.role == Role::Reader {
            self.status.working();
        }
        tracing::info!(source = self.source, sink = self.sink, "connected to NATS");
    }

    pub(super) fn will_stop(&self) {
        tracing::info!(
            source = self.source,
            sink = self.sink,
            "the NATS server is about to stop; it will send us to another"
        );
    }

    pub(super) fn cannot_connect(&self, server: &str, error: &LinkError) {
        match error {
            LinkError::Refused { message } => self.refused(message),
            LinkError::Auth { source } => {
                self.status.failing(format!("cannot sign in to NATS: {source}"), "check the credentials");
                if let Some(unsaid) = self.refused.allow() {
                    tracing::error!(
                        source = self.source,
                        sink = self.sink,
                        unsaid,
                        "cannot sign in to NATS, will try again: {source}"
                    );
                }
            }
            error => {
                let advice = advice_for_trouble(&error.to_string()).unwrap_or(CHECK_THE_ADDRESS);
                self.status.failing(format!("cannot connect to NATS at {server}: {error}"), advice);
                if let Some(unsaid) = self.failed.allow() {
                    tracing::warn!(
                        source = self.source,
                        sink = self.sink,
                        unsaid,
                        "cannot connect to NATS at {server}, will try again: {error}; {advice}"
                    );
                }
            }
        }
    }

    pub(super) fn disconnected(&self, error: &LinkError) {
        let advice =
            "wait: it connects again; if that happens often, look at the server's log for slow consumers";
        self.status.failing(format!("the connection to NATS is lost: {error}"), advice);
        if let Some(unsaid) = self.lost.allow() {
            tracing::warn!(
                source = self.source,
                sink = self.sink,
                unsaid,
                "the connection to NATS is lost, connecting again: {error}"
            );
        }
    }

    /// A subscription goes on, on a fresh connection: nothing to worry about, unless the server was about to stop.
    pub(super) fn renewed(&self, is_move: bool) {
        self.status.working();
        match is_move {
            true => tracing::info!(source = self.source, sink = self.sink, "moved to another NATS server"),
            false => tracing::debug!(
                source = self.source,
                sink = self.sink,
                "no message has come for a while; the subscription goes on, on a fresh connection"
            ),
        }
    }

    /// `doubt`: nothing has come for so long that the first one may be dead.
    pub(super) fn cannot_renew(&self, error: &LinkError, doubt: Option<Doubt>) {
        let text = format!("cannot open a second connection to NATS: {error}");
        let advice = "nothing, while messages come: a quiet subscription is renewed, and that is tried again";
        match doubt {
            Some(doubt) => self.status.doubtful(doubt, text, advice),
            None => self.status.note(text, advice),
        }
        tracing::debug!(
            source = self.source,
            sink = self.sink,
            "cannot open a second connection to NATS; the first one goes on: {error}"
        );
    }

    /// Something has come on the connection that was doubted.
    pub(super) fn is_alive(&self) {
        self.status.working();
    }

    pub(super) fn was_dead(&self, silence: Duration) {
        let text = format!("the connection to NATS was dead for {:.0} s", silence.as_secs_f64());
        self.status.note(text, "nothing: a fresh one has taken its place");
        if let Some(unsaid) = self.lost.allow() {
            tracing::warn!(
                source = self.source,
                sink = self.sink,
                unsaid,
                "the connection to NATS was dead: nothing had come for {:.0} s, nor does it answer; a fresh one has taken its place",
                silence.as_secs_f64()
            );
        }
    }

    pub(super) fn refused(&self, reason: &str) {
        let advice =
            format!("check the user, the token or password, and what they may {}", self.permissions());
        self.status.failing(format!("NATS refuses us: {reason}"), advice);
        if let Some(unsaid) = self.refused.allow() {
            tracing::error!(
                source = self.source,
                sink = self.sink,
                unsaid,
                "NATS refuses us ({reason}); check the user, the token or password, and what they may {}. Will try again, with the secret as it is then",
                self.permissions()
            );
        }
    }

    /// What a server must let us do.
    fn permissions(&self) -> &'static str {
        match self.role {
            Role::Reader => "subscribe to",
            Role::Consumer => "publish to ($JS.API.CONSUMER.> and $JS.ACK.>) and subscribe to (_INBOX.>)",
            Role::Publisher => "publish to",
        }
    }
}
