//! What happens to a connection, said to a person.

use super::connector::Role;
use super::link::LinkError;
use crate::log_limit::LogLimit;

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
}

impl ConnectionLog {
    pub(super) fn new(id: &str, role: Role) -> ConnectionLog {
        ConnectionLog {
            role,
            source: (role != Role::Publisher).then(|| id.to_owned()),
            sink: (role == Role::Publisher).then(|| id.to_owned()),
            refused: LogLimit::every_10_s(),
            failed: LogLimit::every_10_s(),
            lost: LogLimit::every_10_s(),
        }
    }

    pub(super) fn connected(&self) {
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
                if let Some(unsaid) = self.failed.allow() {
                    tracing::warn!(
                        source = self.source,
                        sink = self.sink,
                        unsaid,
                        "cannot connect to NATS at {server}, will try again: {error}"
                    );
                }
            }
        }
    }

    pub(super) fn disconnected(&self, error: &LinkError) {
        if let Some(unsaid) = self.lost.allow() {
            tracing::warn!(
                source = self.source,
                sink = self.sink,
                unsaid,
                "the connection to NATS is lost, connecting again: {error}"
            );
        }
    }

    pub(super) fn refused(&self, reason: &str) {
        if let Some(unsaid) = self.refused.allow() {
            tracing::error!(
                source = self.source,
                sink = self.sink,
                unsaid,
                "NATS refuses us ({reason}); check the user, the token or password, and what they may {}. Will try again, with the secret as it is then",
                match self.role {
                    Role::Reader => "subscribe to",
                    Role::Consumer =>
                        "publish to ($JS.API.CONSUMER.> and $JS.ACK.>) and subscribe to (_INBOX.>)",
                    Role::Publisher => "publish to",
                }
            );
        }
    }
}
